/*
 * Shared by the interpreter's floating-point files: drivers that run one softfp operation on lanes. In single and
 * double rows bit 22 tells the format; half rows have functions of their own.
 */
#ifndef PIPIT_JIT_INTERP_FP_H
#define PIPIT_JIT_INTERP_FP_H

#include "jit/interp/simd.h"

/* a, b: operands, d: old destination lane; all of format fmt. */
typedef uint64_t (*fp_op)(unsigned fmt, uint64_t a, uint64_t b, uint64_t d, struct softfp_ctx *x);

#define FP_OP(name, expr)                                                                                              \
    SIMD_INLINE uint64_t op_##name(unsigned fmt, uint64_t a, uint64_t b, uint64_t d, struct softfp_ctx *x)             \
    {                                                                                                                  \
        (void)fmt, (void)a, (void)b, (void)d, (void)x;                                                                 \
        return expr;                                                                                                   \
    }

SIMD_INLINE unsigned fp_sd(uint32_t insn)
{
    return SOFTFP_S + (insn >> 22 & 1);
}

SIMD_INLINE enum a64_next fp_map(struct arm64_cpu *c, uint32_t insn, unsigned fmt, unsigned lanes, const arm64_vreg *n,
                                 const arm64_vreg *m, fp_op op)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++)
        lane_set(&r, fmt, i,
                 op(fmt, lane_get(n, fmt, i), lane_get(m, fmt, i), lane_get(&c->v[a64_rd(insn)], fmt, i), &x));
    c->fpsr |= x.exc;
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

SIMD_INLINE enum a64_next fp_map_nm(struct arm64_cpu *c, uint32_t insn, unsigned fmt, unsigned lanes, fp_op op)
{
    return fp_map(c, insn, fmt, lanes, &c->v[a64_rn(insn)], &c->v[a64_rm(insn)], op);
}

/* NAME_s, NAME_h: scalar. NAME_v, NAME_vh: vector. `opname` is an FP_OP; operations of one operand ignore b. */
#define FP_SCALAR(name, opname)                                                                                        \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        return fp_map_nm(c, insn, fp_sd(insn), 1, op_##opname);                                                        \
    }                                                                                                                  \
    A64_EXEC(name##_h)                                                                                                 \
    {                                                                                                                  \
        return fp_map_nm(c, insn, SOFTFP_H, 1, op_##opname);                                                           \
    }
#define FP_VECTOR(name, opname)                                                                                        \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        return fp_map_nm(c, insn, fp_sd(insn), simd_lanes(insn, fp_sd(insn)), op_##opname);                            \
    }                                                                                                                  \
    A64_EXEC(name##_vh)                                                                                                \
    {                                                                                                                  \
        return fp_map_nm(c, insn, SOFTFP_H, simd_lanes(insn, SOFTFP_H), op_##opname);                                  \
    }

#endif
