/*
 * Interpreter: Advanced SIMD shifts by immediate. The amount is in immh:immb, whose top set bit is the lane size.
 */
#include "jit/interp/simd.h"

/* The operation finds the amount in b. */
SIMD_INLINE enum a64_next shift(struct arm64_cpu *c, uint32_t insn, bool scalar, bool sgn, unsigned amount, simd_op op)
{
    unsigned sz = a64_simd_shift_size(insn);
    arm64_vreg r = {0};
    for (unsigned i = 0; i < (scalar ? 1 : simd_lanes(insn, sz)); i++)
        lane_set(&r, sz, i,
                 (uint64_t)op(c, lane_int(&c->v[a64_rn(insn)], sz, i, sgn), amount,
                              lane_int(&c->v[a64_rd(insn)], sz, i, sgn), 8u << sz));
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

#define SHIFT(name, dir, sgn, expr)                                                                                    \
    SIMD_OP(name, expr)                                                                                                \
    A64_EXEC(name##_iv)                                                                                                \
    {                                                                                                                  \
        return shift(c, insn, false, sgn, a64_simd_shift_##dir(insn), op_##name);                                      \
    }                                                                                                                  \
    A64_EXEC(name##_is)                                                                                                \
    {                                                                                                                  \
        return shift(c, insn, true, sgn, a64_simd_shift_##dir(insn), op_##name);                                       \
    }

SIMD_INLINE i128 round_shift(i128 a, i128 n)
{
    return (a + simd_pow2((unsigned)n - 1)) >> n;
}

/* Inserts: the bits of d that the shifted value does not cover stay. */
SIMD_INLINE i128 insert(i128 d, i128 v, i128 mask)
{
    return (d & ~mask) | (v & mask);
}

SHIFT(sshr, right, true, a >> b)
SHIFT(ushr, right, false, a >> b)
SHIFT(ssra, right, true, d + (a >> b))
SHIFT(usra, right, false, d + (a >> b))
SHIFT(srshr, right, true, round_shift(a, b))
SHIFT(urshr, right, false, round_shift(a, b))
SHIFT(srsra, right, true, d + round_shift(a, b))
SHIFT(ursra, right, false, d + round_shift(a, b))
SHIFT(sri, right, false, insert(d, a >> b, (simd_pow2(bits) - 1) >> b))
SHIFT(shl, left, false, simd_shl(a, (unsigned)b))
SHIFT(sli, left, false, insert(d, simd_shl(a, (unsigned)b), simd_shl(-1, (unsigned)b)))
SHIFT(sqshl, left, true, simd_sat(c, simd_shl(a, (unsigned)b), bits, true))
SHIFT(uqshl, left, false, simd_sat(c, simd_shl(a, (unsigned)b), bits, false))
SHIFT(sqshlu, left, true, simd_sat(c, simd_shl(a, (unsigned)b), bits, false))

/* ---- narrowing right shifts ---- */

SIMD_INLINE uint64_t narrow(struct arm64_cpu *c, uint32_t insn, unsigned lanes, bool sgn_in, bool sgn_out, bool sat,
                            bool round)
{
    unsigned sz = a64_simd_shift_size(insn), n = a64_simd_shift_right(insn);
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++) {
        i128 v = lane_int(&c->v[a64_rn(insn)], sz + 1, i, sgn_in);
        v = round ? round_shift(v, n) : v >> n;
        lane_set(&r, sz, i, (uint64_t)(sat ? simd_sat(c, v, 8u << sz, sgn_out) : v));
    }
    return r.d[0];
}

#define NARROW(name, sgn_in, sgn_out, sat, round)                                                                      \
    A64_EXEC(name##_iv)                                                                                                \
    {                                                                                                                  \
        simd_set_narrow(c, insn, narrow(c, insn, 8u >> a64_simd_shift_size(insn), sgn_in, sgn_out, sat, round));       \
        return A64_NEXT;                                                                                               \
    }
#define NARROW_BOTH(name, sgn_in, sgn_out, round)                                                                      \
    NARROW(name, sgn_in, sgn_out, true, round)                                                                         \
    A64_EXEC(name##_is)                                                                                                \
    {                                                                                                                  \
        simd_set_scalar(c, insn, narrow(c, insn, 1, sgn_in, sgn_out, true, round));                                    \
        return A64_NEXT;                                                                                               \
    }

NARROW(shrn, false, false, false, false)
NARROW(rshrn, false, false, false, true)
NARROW_BOTH(sqshrn, true, true, false)
NARROW_BOTH(sqrshrn, true, true, true)
NARROW_BOTH(uqshrn, false, false, false)
NARROW_BOTH(uqrshrn, false, false, true)
NARROW_BOTH(sqshrun, true, false, false)
NARROW_BOTH(sqrshrun, true, false, true)

/* ---- long left shifts ---- */

static enum a64_next shift_long(struct arm64_cpu *c, uint32_t insn, bool sgn)
{
    unsigned sz = a64_simd_shift_size(insn);
    arm64_vreg n = simd_half(&c->v[a64_rn(insn)], simd_q(insn)), r = {0};
    for (unsigned i = 0; i < 8u >> sz; i++)
        lane_set(&r, sz + 1, i, (uint64_t)simd_shl(lane_int(&n, sz, i, sgn), a64_simd_shift_left(insn)));
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(sshll_iv)
{
    return shift_long(c, insn, true);
}

A64_EXEC(ushll_iv)
{
    return shift_long(c, insn, false);
}
