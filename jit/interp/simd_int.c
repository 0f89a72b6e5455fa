/*
 * Interpreter: Advanced SIMD integer arithmetic of equal lanes: three same, two-register, across lanes, pairwise.
 */
#include "jit/interp/simd.h"

/* NAME_v, and with _BOTH also the scalar NAME_s. `sgn` says how the operands' lanes extend. */
#define V3(name, sgn, expr)                                                                                            \
    SIMD_OP(name, expr)                                                                                                \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        unsigned sz = simd_size(insn);                                                                                 \
        return simd_map(c, insn, sz, simd_lanes(insn, sz), sgn, &c->v[a64_rn(insn)], &c->v[a64_rm(insn)], op_##name);  \
    }

#define BOTH3(name, sgn, expr)                                                                                         \
    V3(name, sgn, expr)                                                                                                \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        return simd_map(c, insn, simd_size(insn), 1, sgn, &c->v[a64_rn(insn)], &c->v[a64_rm(insn)], op_##name);        \
    }

/* Signed and unsigned forms of one operation. */
#define V3_SU(s, u, expr)                                                                                              \
    V3(s, true, expr)                                                                                                  \
    V3(u, false, expr)

/*
 * Shift by a register: the low byte of b is the signed amount, negative to the right. Values of at most 65 bits are
 * gone, but for their sign, after 66 places.
 */
SIMD_INLINE i128 shift_reg(struct arm64_cpu *c, i128 a, i128 b, unsigned bits, bool sgn, bool round, bool sat)
{
    int s = (int8_t)(uint64_t)b;
    if (s >= 0) {
        if ((unsigned)s < bits)
            a = simd_shl(a, (unsigned)s);
        else
            a = !sat || !a ? 0 : a > 0 ? simd_pow2(100) : -simd_pow2(100);
        return sat ? simd_sat(c, a, bits, sgn) : a;
    }
    unsigned n = MIN((unsigned)-s, 66u);
    return (round ? a + simd_pow2(n - 1) : a) >> n;
}

/* (a * b * 2 [+ rounding]) >> bits, and with an addend; 2 * a * b fits 128 bits with room. */
SIMD_INLINE i128 doubling_high(struct arm64_cpu *c, i128 acc, i128 prod, unsigned bits, bool round)
{
    i128 v = simd_shl(acc, bits) + 2 * prod + (round ? simd_pow2(bits - 1) : 0);
    return simd_sat(c, v >> bits, bits, true);
}

static i128 poly_mul8(unsigned a, unsigned b)
{
    unsigned r = 0;
    for (unsigned i = 0; i < 8; i++)
        r ^= b >> i & 1 ? a << i : 0;
    return r;
}

#define ONES(cond) ((cond) ? -1 : 0)

V3_SU(shadd, uhadd, (a + b) >> 1)
V3_SU(srhadd, urhadd, (a + b + 1) >> 1)
V3_SU(shsub, uhsub, (a - b) >> 1)
V3_SU(smax, umax, MAX(a, b))
V3_SU(smin, umin, MIN(a, b))
V3_SU(sabd, uabd, a > b ? a - b : b - a)
V3_SU(saba, uaba, d + (a > b ? a - b : b - a))
BOTH3(sqadd, true, simd_sat(c, a + b, bits, true))
BOTH3(uqadd, false, simd_sat(c, a + b, bits, false))
BOTH3(sqsub, true, simd_sat(c, a - b, bits, true))
BOTH3(uqsub, false, simd_sat(c, a - b, bits, false))
BOTH3(cmgt, true, ONES(a > b))
BOTH3(cmhi, false, ONES(a > b))
BOTH3(cmge, true, ONES(a >= b))
BOTH3(cmhs, false, ONES(a >= b))
BOTH3(cmeq, false, ONES(a == b))
BOTH3(cmtst, false, ONES(a &b))
BOTH3(sshl, true, shift_reg(c, a, b, bits, true, false, false))
BOTH3(ushl, false, shift_reg(c, a, b, bits, false, false, false))
BOTH3(srshl, true, shift_reg(c, a, b, bits, true, true, false))
BOTH3(urshl, false, shift_reg(c, a, b, bits, false, true, false))
BOTH3(sqshl, true, shift_reg(c, a, b, bits, true, false, true))
BOTH3(uqshl, false, shift_reg(c, a, b, bits, false, false, true))
BOTH3(sqrshl, true, shift_reg(c, a, b, bits, true, true, true))
BOTH3(uqrshl, false, shift_reg(c, a, b, bits, false, true, true))
BOTH3(add, false, a + b)
BOTH3(sub, false, a - b)
V3(mla, true, d + a * b)
V3(mls, true, d - a * b)
V3(mul, true, a *b)
V3(pmul, false, poly_mul8((unsigned)a, (unsigned)b))
BOTH3(sqdmulh, true, doubling_high(c, 0, a *b, bits, false))
BOTH3(sqrdmulh, true, doubling_high(c, 0, a *b, bits, true))
BOTH3(sqrdmlah, true, doubling_high(c, d, a *b, bits, true))
BOTH3(sqrdmlsh, true, doubling_high(c, d, -(a *b), bits, true))

/* By element, of the same operations: every lane of m is the element. */
#define ELEMENT(name)                                                                                                  \
    A64_EXEC(name##_e)                                                                                                 \
    {                                                                                                                  \
        unsigned sz = simd_size(insn);                                                                                 \
        arm64_vreg m = simd_element(c, insn);                                                                          \
        return simd_map(c, insn, sz, simd_lanes(insn, sz), true, &c->v[a64_rn(insn)], &m, op_##name);                  \
    }
#define ELEMENT_BOTH(name)                                                                                             \
    ELEMENT(name)                                                                                                      \
    A64_EXEC(name##_es)                                                                                                \
    {                                                                                                                  \
        arm64_vreg m = simd_element(c, insn);                                                                          \
        return simd_map(c, insn, simd_size(insn), 1, true, &c->v[a64_rn(insn)], &m, op_##name);                        \
    }

ELEMENT(mul)
ELEMENT(mla)
ELEMENT(mls)
ELEMENT_BOTH(sqdmulh)
ELEMENT_BOTH(sqrdmulh)
ELEMENT_BOTH(sqrdmlah)
ELEMENT_BOTH(sqrdmlsh)

/* ---- pairwise ---- */

/* Pairs of n:m concatenated. */
#define PAIR3(name, op, sgn)                                                                                           \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        unsigned sz = simd_size(insn), lanes = simd_lanes(insn, sz);                                                   \
        arm64_vreg even = {0}, odd = {0};                                                                              \
        for (unsigned i = 0; i < lanes; i++) {                                                                         \
            const arm64_vreg *v = &c->v[i < lanes / 2 ? a64_rn(insn) : a64_rm(insn)];                                  \
            unsigned at = 2 * i % lanes;                                                                               \
            lane_set(&even, sz, i, lane_get(v, sz, at));                                                               \
            lane_set(&odd, sz, i, lane_get(v, sz, at + 1));                                                            \
        }                                                                                                              \
        return simd_map(c, insn, sz, lanes, sgn, &even, &odd, op_##op);                                                \
    }

PAIR3(addp, add, false)
PAIR3(smaxp, smax, true)
PAIR3(umaxp, umax, false)
PAIR3(sminp, smin, true)
PAIR3(uminp, umin, false)

A64_EXEC(addp_pair_s)
{
    const arm64_vreg *n = &c->v[a64_rn(insn)];
    simd_set_scalar(c, insn, n->d[0] + n->d[1]);
    return A64_NEXT;
}

/* ---- two registers ---- */

#define V2(name, sgn, expr)                                                                                            \
    SIMD_OP(name, expr)                                                                                                \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        unsigned sz = simd_size(insn);                                                                                 \
        const arm64_vreg *n = &c->v[a64_rn(insn)];                                                                     \
        return simd_map(c, insn, sz, simd_lanes(insn, sz), sgn, n, n, op_##name);                                      \
    }
#define BOTH2(name, sgn, expr)                                                                                         \
    V2(name, sgn, expr)                                                                                                \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        const arm64_vreg *n = &c->v[a64_rn(insn)];                                                                     \
        return simd_map(c, insn, simd_size(insn), 1, sgn, n, n, op_##name);                                            \
    }

static i128 leading_zeros(i128 a, unsigned bits)
{
    uint64_t v = (uint64_t)a << (64 - bits);
    return v ? __builtin_clzll(v) : (int)bits;
}

static i128 reverse_bits8(unsigned a)
{
    a = (a & 0x0f) << 4 | a >> 4;
    a = (a & 0x33) << 2 | (a >> 2 & 0x33);
    return (a & 0x55) << 1 | (a >> 1 & 0x55);
}

BOTH2(cmgt0, true, ONES(a > 0))
BOTH2(cmge0, true, ONES(a >= 0))
BOTH2(cmeq0, true, ONES(a == 0))
BOTH2(cmle0, true, ONES(a <= 0))
BOTH2(cmlt0, true, ONES(a < 0))
BOTH2(abs, true, a < 0 ? -a : a)
BOTH2(neg, true, -a)
BOTH2(sqabs, true, simd_sat(c, a < 0 ? -a : a, bits, true))
BOTH2(sqneg, true, simd_sat(c, -a, bits, true))
/* The operand's sign is the other's opposite: one of the two is extended again. */
BOTH2(suqadd, true, simd_sat(c, d + (a & (simd_pow2(bits) - 1)), bits, true))
BOTH2(usqadd, false, simd_sat(c, d + sext64((uint64_t)a, bits), bits, false))
V2(cls, true, leading_zeros(a < 0 ? ~a : a, bits) - 1)
V2(clz, false, leading_zeros(a, bits))
V2(cnt, false, __builtin_popcountll((uint64_t)a))

A64_EXEC(rbit_v) /* its size field is 1, its lanes are bytes */
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, 0); i++)
        r.b[i] = (uint8_t)reverse_bits8(c->v[a64_rn(insn)].b[i]);
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* Reverses the elements of sz within containers. */
static enum a64_next reverse(struct arm64_cpu *c, uint32_t insn, unsigned container)
{
    unsigned sz = simd_size(insn), flip = (1u << (container - sz)) - 1;
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, sz); i++)
        lane_set(&r, sz, i, lane_get(&c->v[a64_rn(insn)], sz, i ^ flip));
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(rev64_v)
{
    return reverse(c, insn, 3);
}

A64_EXEC(rev32_v)
{
    return reverse(c, insn, 2);
}

A64_EXEC(rev16_v)
{
    return reverse(c, insn, 1);
}

/* Sums of neighbours into lanes twice as wide. */
static enum a64_next add_pairs_long(struct arm64_cpu *c, uint32_t insn, bool sgn, bool accumulate)
{
    unsigned sz = simd_size(insn);
    const arm64_vreg *n = &c->v[a64_rn(insn)];
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, sz + 1); i++) {
        i128 v = lane_int(n, sz, 2 * i, sgn) + lane_int(n, sz, 2 * i + 1, sgn);
        if (accumulate)
            v += lane_int(&c->v[a64_rd(insn)], sz + 1, i, false);
        lane_set(&r, sz + 1, i, (uint64_t)v);
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(saddlp_v)
{
    return add_pairs_long(c, insn, true, false);
}

A64_EXEC(uaddlp_v)
{
    return add_pairs_long(c, insn, false, false);
}

A64_EXEC(sadalp_v)
{
    return add_pairs_long(c, insn, true, true);
}

A64_EXEC(uadalp_v)
{
    return add_pairs_long(c, insn, false, true);
}

/* ---- narrowing ---- */

/* `sgn_in` extends the source, `sgn_out` bounds the result; `sat` says whether to saturate at all. */
SIMD_INLINE uint64_t narrow(struct arm64_cpu *c, uint32_t insn, unsigned lanes, bool sgn_in, bool sgn_out, bool sat)
{
    unsigned sz = simd_size(insn);
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++) {
        i128 v = lane_int(&c->v[a64_rn(insn)], sz + 1, i, sgn_in);
        lane_set(&r, sz, i, (uint64_t)(sat ? simd_sat(c, v, 8u << sz, sgn_out) : v));
    }
    return r.d[0];
}

#define NARROW(name, sgn_in, sgn_out, sat)                                                                             \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        simd_set_narrow(c, insn, narrow(c, insn, 8u >> simd_size(insn), sgn_in, sgn_out, sat));                        \
        return A64_NEXT;                                                                                               \
    }
#define NARROW_BOTH(name, sgn_in, sgn_out)                                                                             \
    NARROW(name, sgn_in, sgn_out, true)                                                                                \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        simd_set_scalar(c, insn, narrow(c, insn, 1, sgn_in, sgn_out, true));                                           \
        return A64_NEXT;                                                                                               \
    }

NARROW(xtn, false, false, false)
NARROW_BOTH(sqxtn, true, true)
NARROW_BOTH(uqxtn, false, false)
NARROW_BOTH(sqxtun, true, false)

/* ---- across lanes ---- */

SIMD_INLINE enum a64_next across(struct arm64_cpu *c, uint32_t insn, bool sgn, unsigned widen, simd_op op)
{
    unsigned sz = simd_size(insn);
    const arm64_vreg *n = &c->v[a64_rn(insn)];
    i128 acc = lane_int(n, sz, 0, sgn);
    arm64_vreg r = {0};
    for (unsigned i = 1; i < simd_lanes(insn, sz); i++)
        acc = op(c, acc, lane_int(n, sz, i, sgn), 0, 8u << sz);
    lane_set(&r, sz + widen, 0, (uint64_t)acc);
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

#define ACROSS(name, op, sgn, widen)                                                                                   \
    A64_EXEC(name)                                                                                                     \
    {                                                                                                                  \
        return across(c, insn, sgn, widen, op_##op);                                                                   \
    }

ACROSS(addv, add, false, 0)
ACROSS(saddlv, add, true, 1)
ACROSS(uaddlv, add, false, 1)
ACROSS(smaxv, smax, true, 0)
ACROSS(umaxv, umax, false, 0)
ACROSS(sminv, smin, true, 0)
ACROSS(uminv, umin, false, 0)
