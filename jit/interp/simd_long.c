/*
 * Interpreter: Advanced SIMD integer operations on different lane widths: long, wide, narrowing high half, their
 * by-element forms, dot products and polynomial products.
 */
#include "jit/interp/simd.h"

/* Long: both sources are halves (upper with Q) of lanes half as wide. The operation sees the wide lane in d. */
#define LONG(name, sgn, expr)                                                                                          \
    SIMD_OP(name, expr)                                                                                                \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        unsigned sz = simd_size(insn);                                                                                 \
        arm64_vreg n = simd_half(&c->v[a64_rn(insn)], simd_q(insn)), m = simd_half(&c->v[a64_rm(insn)], simd_q(insn)); \
        return simd_map_long(c, insn, sz, 8u >> sz, sgn, &n, &m, op_##name);                                           \
    }
#define LONG_E(name, sgn)                                                                                              \
    A64_EXEC(name##_e)                                                                                                 \
    {                                                                                                                  \
        unsigned sz = simd_size(insn);                                                                                 \
        arm64_vreg n = simd_half(&c->v[a64_rn(insn)], simd_q(insn)), m = simd_element(c, insn);                        \
        return simd_map_long(c, insn, sz, 8u >> sz, sgn, &n, &m, op_##name);                                           \
    }
#define LONG_SU(s, u, expr)                                                                                            \
    LONG(s, true, expr)                                                                                                \
    LONG(u, false, expr)
#define LONG_SU_E(s, u, expr)                                                                                          \
    LONG_SU(s, u, expr)                                                                                                \
    LONG_E(s, true)                                                                                                    \
    LONG_E(u, false)
/* Saturating doubling: vector, scalar, and both by element. */
#define LONG_SAT(name, expr)                                                                                           \
    LONG(name, true, expr)                                                                                             \
    LONG_E(name, true)                                                                                                 \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        return simd_map_long(c, insn, simd_size(insn), 1, true, &c->v[a64_rn(insn)], &c->v[a64_rm(insn)], op_##name);  \
    }                                                                                                                  \
    A64_EXEC(name##_es)                                                                                                \
    {                                                                                                                  \
        arm64_vreg m = simd_element(c, insn);                                                                          \
        return simd_map_long(c, insn, simd_size(insn), 1, true, &c->v[a64_rn(insn)], &m, op_##name);                   \
    }

#define DIFF(a, b) ((a) > (b) ? (a) - (b) : (b) - (a))

LONG_SU(saddl, uaddl, a + b)
LONG_SU(ssubl, usubl, a - b)
LONG_SU(sabdl, uabdl, DIFF(a, b))
LONG_SU(sabal, uabal, d + DIFF(a, b))
LONG_SU_E(smull, umull, a *b)
LONG_SU_E(smlal, umlal, d + a * b)
LONG_SU_E(smlsl, umlsl, d - a * b)
LONG_SAT(sqdmull, simd_sat(c, 2 * a * b, bits, true))
LONG_SAT(sqdmlal, simd_sat(c, d + simd_sat(c, 2 * a * b, bits, true), bits, true))
LONG_SAT(sqdmlsl, simd_sat(c, d - simd_sat(c, 2 * a * b, bits, true), bits, true))

/* ---- wide: the first source has wide lanes ---- */

static enum a64_next wide(struct arm64_cpu *c, uint32_t insn, bool sgn, bool subtract)
{
    unsigned sz = simd_size(insn);
    arm64_vreg m = simd_half(&c->v[a64_rm(insn)], simd_q(insn)), r = {0};
    for (unsigned i = 0; i < 8u >> sz; i++) {
        i128 a = lane_int(&c->v[a64_rn(insn)], sz + 1, i, sgn), b = lane_int(&m, sz, i, sgn);
        lane_set(&r, sz + 1, i, (uint64_t)(subtract ? a - b : a + b));
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(saddw_v)
{
    return wide(c, insn, true, false);
}

A64_EXEC(uaddw_v)
{
    return wide(c, insn, false, false);
}

A64_EXEC(ssubw_v)
{
    return wide(c, insn, true, true);
}

A64_EXEC(usubw_v)
{
    return wide(c, insn, false, true);
}

/* ---- the high half of wide sums ---- */

static enum a64_next high_half(struct arm64_cpu *c, uint32_t insn, bool subtract, bool round)
{
    unsigned sz = simd_size(insn), bits = 8u << sz;
    arm64_vreg r = {0};
    for (unsigned i = 0; i < 8u >> sz; i++) {
        i128 a = lane_int(&c->v[a64_rn(insn)], sz + 1, i, false), b = lane_int(&c->v[a64_rm(insn)], sz + 1, i, false);
        i128 v = (subtract ? a - b : a + b) + (round ? simd_pow2(bits - 1) : 0);
        lane_set(&r, sz, i, (uint64_t)(v >> bits));
    }
    simd_set_narrow(c, insn, r.d[0]);
    return A64_NEXT;
}

A64_EXEC(addhn_v)
{
    return high_half(c, insn, false, false);
}

A64_EXEC(raddhn_v)
{
    return high_half(c, insn, false, true);
}

A64_EXEC(subhn_v)
{
    return high_half(c, insn, true, false);
}

A64_EXEC(rsubhn_v)
{
    return high_half(c, insn, true, true);
}

/* SHLL: by exactly the lane's width. */
A64_EXEC(shll_v)
{
    unsigned sz = simd_size(insn);
    arm64_vreg n = simd_half(&c->v[a64_rn(insn)], simd_q(insn)), r = {0};
    for (unsigned i = 0; i < 8u >> sz; i++)
        lane_set(&r, sz + 1, i, lane_get(&n, sz, i) << (8u << sz));
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* ---- dot products ---- */

static enum a64_next dot(struct arm64_cpu *c, uint32_t insn, bool sgn, const arm64_vreg *m)
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, 2); i++) {
        uint64_t acc = c->v[a64_rd(insn)].s[i];
        for (unsigned k = 4 * i; k < 4 * i + 4; k++)
            acc += (uint64_t)(lane_int(&c->v[a64_rn(insn)], 0, k, sgn) * lane_int(m, 0, k, sgn));
        r.s[i] = (uint32_t)acc;
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(sdot_v)
{
    return dot(c, insn, true, &c->v[a64_rm(insn)]);
}

A64_EXEC(udot_v)
{
    return dot(c, insn, false, &c->v[a64_rm(insn)]);
}

A64_EXEC(sdot_e)
{
    arm64_vreg m = simd_element(c, insn); /* four bytes */
    return dot(c, insn, true, &m);
}

A64_EXEC(udot_e)
{
    arm64_vreg m = simd_element(c, insn);
    return dot(c, insn, false, &m);
}

/* ---- polynomial products ---- */

static u128 poly_mul(uint64_t a, uint64_t b)
{
    u128 r = 0;
    for (unsigned i = 0; i < 64; i++)
        r ^= b >> i & 1 ? (u128)a << i : 0;
    return r;
}

A64_EXEC(pmull_b)
{
    arm64_vreg n = simd_half(&c->v[a64_rn(insn)], simd_q(insn)), m = simd_half(&c->v[a64_rm(insn)], simd_q(insn));
    for (unsigned i = 0; i < 8; i++)
        c->v[a64_rd(insn)].h[i] = (uint16_t)poly_mul(n.b[i], m.b[i]);
    return A64_NEXT;
}

A64_EXEC(pmull_d)
{
    unsigned q = simd_q(insn);
    u128 r = poly_mul(c->v[a64_rn(insn)].d[q], c->v[a64_rm(insn)].d[q]);
    c->v[a64_rd(insn)] = (arm64_vreg){.d = {(uint64_t)r, (uint64_t)(r >> 64)}};
    return A64_NEXT;
}
