/*
 * Shared by the interpreter's FP and SIMD files: row functions, lanes, saturation. Only included there.
 *
 * Lane arithmetic is done on 128-bit integers, so that sums, halves and products of 64-bit lanes need no special cases;
 * a result is cut to the lane when it is stored. The drivers are always inlined with a constant operation, which makes
 * one loop of each instruction.
 */
#ifndef PIPIT_JIT_INTERP_SIMD_H
#define PIPIT_JIT_INTERP_SIMD_H

#include <string.h>

#include "jit/a64/simd_imm.h"
#include "jit/interp/regs.h"
#include "jit/interp/softfp.h"
#include "vmm/base/util.h"

typedef __int128 i128;
typedef unsigned __int128 u128;

#define SIMD_INLINE static inline __attribute__((always_inline))

/* Element size log2 (0 byte .. 3 double word) in bits 23:22, Q in bit 30. */
SIMD_INLINE unsigned simd_size(uint32_t insn)
{
    return insn >> 22 & 3;
}

SIMD_INLINE unsigned simd_q(uint32_t insn)
{
    return insn >> 30 & 1;
}

/* Lanes of a vector operation. */
SIMD_INLINE unsigned simd_lanes(uint32_t insn, unsigned sz)
{
    return (8u << simd_q(insn)) >> sz;
}

SIMD_INLINE uint64_t lane_get(const arm64_vreg *v, unsigned sz, unsigned i)
{
    switch (sz) {
    case 0: return v->b[i];
    case 1: return v->h[i];
    case 2: return v->s[i];
    default: return v->d[i];
    }
}

SIMD_INLINE void lane_set(arm64_vreg *v, unsigned sz, unsigned i, uint64_t x)
{
    switch (sz) {
    case 0: v->b[i] = (uint8_t)x; break;
    case 1: v->h[i] = (uint16_t)x; break;
    case 2: v->s[i] = (uint32_t)x; break;
    default: v->d[i] = x; break;
    }
}

/* A lane's value, sign- or zero-extended. */
SIMD_INLINE i128 lane_int(const arm64_vreg *v, unsigned sz, unsigned i, bool sgn)
{
    uint64_t x = lane_get(v, sz, i);
    return sgn ? (i128)sext64(x, 8u << sz) : (i128)x;
}

/* The 64 bits that a widening operation reads: the upper half for the "2" forms (Q). */
SIMD_INLINE arm64_vreg simd_half(const arm64_vreg *v, bool upper)
{
    return (arm64_vreg){.d = {v->d[upper], 0}};
}

/* Narrow results go to the lower half (upper half zeroed) or, with Q, to the upper one. */
SIMD_INLINE void simd_set_narrow(struct arm64_cpu *c, uint32_t insn, uint64_t x)
{
    arm64_vreg *d = &c->v[a64_rd(insn)];
    if (simd_q(insn))
        d->d[1] = x;
    else
        *d = (arm64_vreg){.d = {x, 0}};
}

SIMD_INLINE void simd_set_scalar(struct arm64_cpu *c, uint32_t insn, uint64_t x)
{
    c->v[a64_rd(insn)] = (arm64_vreg){.d = {x, 0}};
}

SIMD_INLINE i128 simd_pow2(unsigned n)
{
    return (i128)((u128)1 << n);
}

/* Left shift of a possibly negative number. */
SIMD_INLINE i128 simd_shl(i128 a, unsigned n)
{
    return (i128)((u128)a << n);
}

SIMD_INLINE i128 simd_clamp(struct arm64_cpu *c, i128 v, i128 lo, i128 hi)
{
    if (v < lo || v > hi) {
        c->fpsr |= FPSR_QC;
        return v < lo ? lo : hi;
    }
    return v;
}

SIMD_INLINE i128 simd_sat(struct arm64_cpu *c, i128 v, unsigned bits, bool sgn)
{
    return sgn ? simd_clamp(c, v, -simd_pow2(bits - 1), simd_pow2(bits - 1) - 1)
               : simd_clamp(c, v, 0, simd_pow2(bits) - 1);
}

/* By element: the element of Vm, in all lanes. */
SIMD_INLINE arm64_vreg simd_element(struct arm64_cpu *c, uint32_t insn)
{
    unsigned sz = simd_size(insn);
    uint64_t e = lane_get(&c->v[a64_simd_elem_reg(insn, sz)], sz, a64_simd_elem_index(insn, sz));
    arm64_vreg r = {0};
    for (unsigned i = 0; i < 16u >> sz; i++)
        lane_set(&r, sz, i, e);
    return r;
}

/* Lane operations: a and b are operands, d the old destination lane, bits the lane's width. */
typedef i128 (*simd_op)(struct arm64_cpu *c, i128 a, i128 b, i128 d, unsigned bits);

#define SIMD_OP(name, expr)                                                                                            \
    SIMD_INLINE i128 op_##name(struct arm64_cpu *c, i128 a, i128 b, i128 d, unsigned bits)                             \
    {                                                                                                                  \
        (void)c, (void)a, (void)b, (void)d, (void)bits;                                                                \
        return expr;                                                                                                   \
    }

SIMD_INLINE enum a64_next simd_map(struct arm64_cpu *c, uint32_t insn, unsigned sz, unsigned lanes, bool sgn,
                                   const arm64_vreg *n, const arm64_vreg *m, simd_op op)
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++)
        lane_set(&r, sz, i,
                 (uint64_t)op(c, lane_int(n, sz, i, sgn), lane_int(m, sz, i, sgn),
                              lane_int(&c->v[a64_rd(insn)], sz, i, sgn), 8u << sz));
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* Widening: n and m lanes of sz, destination lanes twice as wide, always eight bytes of source. */
SIMD_INLINE enum a64_next simd_map_long(struct arm64_cpu *c, uint32_t insn, unsigned sz, unsigned lanes, bool sgn,
                                        const arm64_vreg *n, const arm64_vreg *m, simd_op op)
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++)
        lane_set(&r, sz + 1, i,
                 (uint64_t)op(c, lane_int(n, sz, i, sgn), lane_int(m, sz, i, sgn),
                              lane_int(&c->v[a64_rd(insn)], sz + 1, i, sgn), 16u << sz));
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

#endif
