/*
 * Interpreter: floating-point arithmetic and comparisons on lanes, scalar and vector, by element, pairwise and across.
 */
#include "jit/interp/fp.h"

static uint64_t ones_if(unsigned fmt, bool cond)
{
    return cond ? UINT64_MAX >> (64 - (8u << fmt)) : 0;
}

#define VECTOR(name, expr)                                                                                             \
    FP_OP(name, expr)                                                                                                  \
    FP_VECTOR(name, name)
#define BOTH(name, expr)                                                                                               \
    VECTOR(name, expr)                                                                                                 \
    FP_SCALAR(name, name)

BOTH(fadd, softfp_add(fmt, a, b, x))
BOTH(fsub, softfp_sub(fmt, a, b, x))
BOTH(fmul, softfp_mul(fmt, a, b, x))
BOTH(fmulx, softfp_mulx(fmt, a, b, x))
BOTH(fdiv, softfp_div(fmt, a, b, x))
BOTH(fmax, softfp_max(fmt, a, b, x))
BOTH(fmin, softfp_min(fmt, a, b, x))
BOTH(fmaxnm, softfp_maxnum(fmt, a, b, x))
BOTH(fminnm, softfp_minnum(fmt, a, b, x))
BOTH(fabd, softfp_abs(fmt, softfp_sub(fmt, a, b, x)))
BOTH(fabs, softfp_abs(fmt, a))
BOTH(fneg, softfp_neg(fmt, a))
BOTH(fsqrt, softfp_sqrt(fmt, a, x))
VECTOR(fmla, softfp_muladd(fmt, d, a, b, x))
VECTOR(fmls, softfp_muladd(fmt, d, softfp_neg(fmt, a), b, x))
FP_OP(fnmul, softfp_neg(fmt, softfp_mul(fmt, a, b, x)))
FP_SCALAR(fnmul, fnmul)
FP_OP(fmov, a)
FP_SCALAR(fmov, fmov)

BOTH(frecps, softfp_recip_step(fmt, a, b, x))
BOTH(frsqrts, softfp_rsqrt_step(fmt, a, b, x))
BOTH(frecpe, softfp_recip_estimate(fmt, a, x))
BOTH(frsqrte, softfp_rsqrt_estimate(fmt, a, x))
FP_OP(frecpx, softfp_recip_exponent(fmt, a, x))
FP_SCALAR(frecpx, frecpx)

BOTH(fcmeq, ones_if(fmt, softfp_eq(fmt, a, b, x)))
BOTH(fcmge, ones_if(fmt, softfp_ge(fmt, a, b, x)))
BOTH(fcmgt, ones_if(fmt, softfp_gt(fmt, a, b, x)))
BOTH(facge, ones_if(fmt, softfp_ge(fmt, softfp_abs(fmt, a), softfp_abs(fmt, b), x)))
BOTH(facgt, ones_if(fmt, softfp_gt(fmt, softfp_abs(fmt, a), softfp_abs(fmt, b), x)))
BOTH(fcmeq0, ones_if(fmt, softfp_eq(fmt, a, 0, x)))
BOTH(fcmge0, ones_if(fmt, softfp_ge(fmt, a, 0, x)))
BOTH(fcmgt0, ones_if(fmt, softfp_gt(fmt, a, 0, x)))
BOTH(fcmle0, ones_if(fmt, softfp_ge(fmt, 0, a, x)))
BOTH(fcmlt0, ones_if(fmt, softfp_gt(fmt, 0, a, x)))

A64_EXEC(urecpe_v)
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, 2); i++)
        r.s[i] = softfp_recip_estimate_u32(c->v[a64_rn(insn)].s[i]);
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(ursqrte_v)
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, 2); i++)
        r.s[i] = softfp_rsqrt_estimate_u32(c->v[a64_rn(insn)].s[i]);
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* ---- by element ---- */

static arm64_vreg element(struct arm64_cpu *c, uint32_t insn, unsigned fmt)
{
    uint64_t e = lane_get(&c->v[a64_simd_elem_reg(insn, fmt)], fmt, a64_simd_elem_index(insn, fmt));
    arm64_vreg r = {0};
    for (unsigned i = 0; i < 16u >> fmt; i++)
        lane_set(&r, fmt, i, e);
    return r;
}

SIMD_INLINE enum a64_next by_element(struct arm64_cpu *c, uint32_t insn, unsigned fmt, bool scalar, fp_op op)
{
    arm64_vreg m = element(c, insn, fmt);
    return fp_map(c, insn, fmt, scalar ? 1 : simd_lanes(insn, fmt), &c->v[a64_rn(insn)], &m, op);
}

#define ELEMENT(name)                                                                                                  \
    A64_EXEC(name##_e)                                                                                                 \
    {                                                                                                                  \
        return by_element(c, insn, fp_sd(insn), false, op_##name);                                                     \
    }                                                                                                                  \
    A64_EXEC(name##_eh)                                                                                                \
    {                                                                                                                  \
        return by_element(c, insn, SOFTFP_H, false, op_##name);                                                        \
    }                                                                                                                  \
    A64_EXEC(name##_es)                                                                                                \
    {                                                                                                                  \
        return by_element(c, insn, fp_sd(insn), true, op_##name);                                                      \
    }                                                                                                                  \
    A64_EXEC(name##_esh)                                                                                               \
    {                                                                                                                  \
        return by_element(c, insn, SOFTFP_H, true, op_##name);                                                         \
    }

ELEMENT(fmla)
ELEMENT(fmls)
ELEMENT(fmul)
ELEMENT(fmulx)

/* ---- pairwise and across ---- */

SIMD_INLINE enum a64_next pairwise(struct arm64_cpu *c, uint32_t insn, unsigned fmt, fp_op op)
{
    unsigned lanes = simd_lanes(insn, fmt);
    arm64_vreg even = {0}, odd = {0};
    for (unsigned i = 0; i < lanes; i++) {
        const arm64_vreg *v = &c->v[i < lanes / 2 ? a64_rn(insn) : a64_rm(insn)];
        unsigned at = 2 * i % lanes;
        lane_set(&even, fmt, i, lane_get(v, fmt, at));
        lane_set(&odd, fmt, i, lane_get(v, fmt, at + 1));
    }
    return fp_map(c, insn, fmt, lanes, &even, &odd, op);
}

SIMD_INLINE enum a64_next pair_scalar(struct arm64_cpu *c, uint32_t insn, unsigned fmt, fp_op op)
{
    arm64_vreg odd = {.d = {lane_get(&c->v[a64_rn(insn)], fmt, 1), 0}};
    return fp_map(c, insn, fmt, 1, &c->v[a64_rn(insn)], &odd, op);
}

#define PAIRWISE(name, opname)                                                                                         \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        return pairwise(c, insn, fp_sd(insn), op_##opname);                                                            \
    }                                                                                                                  \
    A64_EXEC(name##_vh)                                                                                                \
    {                                                                                                                  \
        return pairwise(c, insn, SOFTFP_H, op_##opname);                                                               \
    }                                                                                                                  \
    A64_EXEC(name##_pair_s)                                                                                            \
    {                                                                                                                  \
        return pair_scalar(c, insn, fp_sd(insn), op_##opname);                                                         \
    }                                                                                                                  \
    A64_EXEC(name##_pair_h)                                                                                            \
    {                                                                                                                  \
        return pair_scalar(c, insn, SOFTFP_H, op_##opname);                                                            \
    }

PAIRWISE(faddp, fadd)
PAIRWISE(fmaxp, fmax)
PAIRWISE(fminp, fmin)
PAIRWISE(fmaxnmp, fmaxnm)
PAIRWISE(fminnmp, fminnm)

/* Reduce(): halves first, so the order of NaNs is that of a tree. */
SIMD_INLINE enum a64_next across(struct arm64_cpu *c, uint32_t insn, unsigned fmt, unsigned lanes, fp_op op)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    uint64_t v[8];
    for (unsigned i = 0; i < lanes; i++)
        v[i] = lane_get(&c->v[a64_rn(insn)], fmt, i);
    for (; lanes > 1; lanes /= 2) {
        for (unsigned i = 0; i < lanes / 2; i++)
            v[i] = op(fmt, v[2 * i], v[2 * i + 1], 0, &x);
    }
    c->fpsr |= x.exc;
    simd_set_scalar(c, insn, v[0]);
    return A64_NEXT;
}

#define ACROSS(name, opname)                                                                                           \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        return across(c, insn, SOFTFP_S, 4, op_##opname);                                                              \
    }                                                                                                                  \
    A64_EXEC(name##_h)                                                                                                 \
    {                                                                                                                  \
        return across(c, insn, SOFTFP_H, simd_lanes(insn, SOFTFP_H), op_##opname);                                     \
    }

ACROSS(fmaxv, fmax)
ACROSS(fminv, fmin)
ACROSS(fmaxnmv, fmaxnm)
ACROSS(fminnmv, fminnm)

/* ---- half products added to single ---- */

/* `upper`: the second half of the sources' halves; m is a vector, or an element in all lanes. */
static enum a64_next fma_long(struct arm64_cpu *c, uint32_t insn, bool upper, bool negate, const arm64_vreg *m)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    unsigned lanes = simd_lanes(insn, SOFTFP_S), at = upper ? lanes : 0;
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++) {
        uint64_t a = c->v[a64_rn(insn)].h[at + i];
        r.s[i] = (uint32_t)softfp_muladd_half(c->v[a64_rd(insn)].s[i], negate ? softfp_neg(SOFTFP_H, a) : a,
                                              m->h[at + i], &x);
    }
    c->fpsr |= x.exc;
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

#define FMA_LONG(name, upper, negate)                                                                                  \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        return fma_long(c, insn, upper, negate, &c->v[a64_rm(insn)]);                                                  \
    }                                                                                                                  \
    A64_EXEC(name##_e)                                                                                                 \
    {                                                                                                                  \
        arm64_vreg m = element(c, insn, SOFTFP_H);                                                                     \
        return fma_long(c, insn, upper, negate, &m);                                                                   \
    }

FMA_LONG(fmlal, false, false)
FMA_LONG(fmlsl, false, true)
FMA_LONG(fmlal2, true, false)
FMA_LONG(fmlsl2, true, true)

/* ---- complex numbers: pairs of lanes, real part first ---- */

/* rot counts quarter turns. */
static enum a64_next complex_muladd(struct arm64_cpu *c, uint32_t insn, unsigned rot, const arm64_vreg *m)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    unsigned fmt = simd_size(insn);
    const arm64_vreg *n = &c->v[a64_rn(insn)], *d = &c->v[a64_rd(insn)];
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, fmt); i += 2) {
        uint64_t factor = lane_get(n, fmt, i + (rot & 1));
        uint64_t re = lane_get(m, fmt, i + (rot & 1)), im = lane_get(m, fmt, i + !(rot & 1));
        if (rot == 1 || rot == 2)
            re = softfp_neg(fmt, re);
        if (rot >= 2)
            im = softfp_neg(fmt, im);
        lane_set(&r, fmt, i, softfp_muladd(fmt, lane_get(d, fmt, i), factor, re, &x));
        lane_set(&r, fmt, i + 1, softfp_muladd(fmt, lane_get(d, fmt, i + 1), factor, im, &x));
    }
    c->fpsr |= x.exc;
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(fcmla_v)
{
    return complex_muladd(c, insn, bits32(insn, 12, 11), &c->v[a64_rm(insn)]);
}

A64_EXEC(fcmla_e)
{
    unsigned fmt = simd_size(insn);
    unsigned index = fmt == SOFTFP_H ? (insn >> 11 & 1) << 1 | (insn >> 21 & 1) : insn >> 11 & 1;
    arm64_vreg m = {0};
    for (unsigned i = 0; i < 16u >> fmt; i++)
        lane_set(&m, fmt, i, lane_get(&c->v[a64_rm(insn)], fmt, 2 * index + (i & 1)));
    return complex_muladd(c, insn, bits32(insn, 14, 13), &m);
}

/* Bit 12: 0 turns by 90 degrees, 1 by 270. */
A64_EXEC(fcadd_v)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    unsigned fmt = simd_size(insn), turn = insn >> 12 & 1;
    const arm64_vreg *n = &c->v[a64_rn(insn)], *m = &c->v[a64_rm(insn)];
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, fmt); i += 2) {
        uint64_t re = lane_get(m, fmt, i + 1), im = lane_get(m, fmt, i);
        if (turn)
            im = softfp_neg(fmt, im);
        else
            re = softfp_neg(fmt, re);
        lane_set(&r, fmt, i, softfp_add(fmt, lane_get(n, fmt, i), re, &x));
        lane_set(&r, fmt, i + 1, softfp_add(fmt, lane_get(n, fmt, i + 1), im, &x));
    }
    c->fpsr |= x.exc;
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}
