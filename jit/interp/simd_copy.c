/*
 * Interpreter: Advanced SIMD moves: DUP, INS, UMOV, SMOV, permutations, tables, EXT, immediates, bitwise logic, and
 * register moves between the FP and the general file.
 */
#include "jit/a64/simd_imm.h"
#include "jit/interp/simd.h"

static void splat(struct arm64_cpu *c, uint32_t insn, unsigned sz, uint64_t v)
{
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, sz); i++)
        lane_set(&r, sz, i, v);
    c->v[a64_rd(insn)] = r;
}

static uint64_t imm5_lane(struct arm64_cpu *c, uint32_t insn)
{
    return lane_get(&c->v[a64_rn(insn)], a64_simd_imm5_size(insn), a64_simd_imm5_index(insn));
}

A64_EXEC(dup_elem_v)
{
    splat(c, insn, a64_simd_imm5_size(insn), imm5_lane(c, insn));
    return A64_NEXT;
}

A64_EXEC(dup_elem_s)
{
    simd_set_scalar(c, insn, imm5_lane(c, insn));
    return A64_NEXT;
}

A64_EXEC(dup_gen)
{
    splat(c, insn, a64_simd_imm5_size(insn), a64_x(c, a64_rn(insn)));
    return A64_NEXT;
}

A64_EXEC(ins_gen)
{
    lane_set(&c->v[a64_rd(insn)], a64_simd_imm5_size(insn), a64_simd_imm5_index(insn), a64_x(c, a64_rn(insn)));
    return A64_NEXT;
}

A64_EXEC(ins_elem)
{
    unsigned sz = a64_simd_imm5_size(insn);
    uint64_t v = lane_get(&c->v[a64_rn(insn)], sz, bits32(insn, 14, 11) >> sz);
    lane_set(&c->v[a64_rd(insn)], sz, a64_simd_imm5_index(insn), v);
    return A64_NEXT;
}

A64_EXEC(umov)
{
    a64_set_x(c, a64_rd(insn), imm5_lane(c, insn));
    return A64_NEXT;
}

A64_EXEC(smov)
{
    uint64_t v = (uint64_t)sext64(imm5_lane(c, insn), 8u << a64_simd_imm5_size(insn));
    a64_set_x(c, a64_rd(insn), simd_q(insn) ? v : (uint32_t)v);
    return A64_NEXT;
}

/* ---- permutations ---- */

#define PERMUTE(name, lane_n, lane_m, from_m)                                                                          \
    A64_EXEC(name)                                                                                                     \
    {                                                                                                                  \
        unsigned sz = simd_size(insn), lanes = simd_lanes(insn, sz);                                                   \
        const arm64_vreg *n = &c->v[a64_rn(insn)], *m = &c->v[a64_rm(insn)];                                           \
        arm64_vreg r = {0};                                                                                            \
        for (unsigned i = 0; i < lanes; i++)                                                                           \
            lane_set(&r, sz, i, from_m ? lane_get(m, sz, lane_m) : lane_get(n, sz, lane_n));                           \
        c->v[a64_rd(insn)] = r;                                                                                        \
        return A64_NEXT;                                                                                               \
    }

PERMUTE(uzp1, 2 * i, 2 * i - lanes, i >= lanes / 2)
PERMUTE(uzp2, 2 * i + 1, 2 * i + 1 - lanes, i >= lanes / 2)
PERMUTE(trn1, i, i - 1, i & 1)
PERMUTE(trn2, i + 1, i, i & 1)
PERMUTE(zip1, i / 2, i / 2, i & 1)
PERMUTE(zip2, (lanes + i) / 2, (lanes + i) / 2, i & 1)

A64_EXEC(ext)
{
    unsigned bytes = simd_lanes(insn, 0), pos = bits32(insn, 14, 11);
    uint8_t both[32];
    arm64_vreg r = {0};
    memcpy(both, &c->v[a64_rn(insn)], bytes);
    memcpy(both + bytes, &c->v[a64_rm(insn)], bytes);
    memcpy(&r, both + pos, bytes);
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* Bits 14:13: number of table registers less one. */
static enum a64_next table(struct arm64_cpu *c, uint32_t insn, bool keep)
{
    unsigned size = (bits32(insn, 14, 13) + 1) * 16, n = a64_rn(insn);
    arm64_vreg r = {0};
    for (unsigned i = 0; i < simd_lanes(insn, 0); i++) {
        unsigned at = c->v[a64_rm(insn)].b[i];
        if (at < size)
            r.b[i] = c->v[(n + at / 16) & 31].b[at % 16];
        else if (keep)
            r.b[i] = c->v[a64_rd(insn)].b[i];
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(tbl)
{
    return table(c, insn, false);
}

A64_EXEC(tbx)
{
    return table(c, insn, true);
}

/* ---- immediates ---- */

/* In `expr`, d is the old value. */
#define IMM(name, expr)                                                                                                \
    A64_EXEC(name)                                                                                                     \
    {                                                                                                                  \
        uint64_t imm = a64_simd_imm(insn);                                                                             \
        for (unsigned i = 0; i < 2; i++) {                                                                             \
            uint64_t d = c->v[a64_rd(insn)].d[i];                                                                      \
            (void)d;                                                                                                   \
            c->v[a64_rd(insn)].d[i] = i && !simd_q(insn) ? 0 : (expr);                                                 \
        }                                                                                                              \
        return A64_NEXT;                                                                                               \
    }

IMM(movi_w, imm)
IMM(movi_h, imm)
IMM(movi_msl, imm)
IMM(movi_b, imm)
IMM(movi_d, imm)
IMM(mvni_w, imm)
IMM(mvni_h, imm)
IMM(mvni_msl, imm)
IMM(fmov_imm_vh, imm)
IMM(fmov_imm_vs, imm)
IMM(fmov_imm_vd, imm)
IMM(orr_imm_w, d | imm)
IMM(orr_imm_h, d | imm)
/* These immediates come inverted. */
IMM(bic_imm_w, d &imm)
IMM(bic_imm_h, d &imm)

/* ---- bitwise ---- */

#define LOGIC(name, expr)                                                                                              \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        arm64_vreg *rd = &c->v[a64_rd(insn)];                                                                          \
        for (unsigned i = 0; i < 2; i++) {                                                                             \
            uint64_t n = c->v[a64_rn(insn)].d[i], m = c->v[a64_rm(insn)].d[i], d = rd->d[i];                           \
            (void)n, (void)m, (void)d;                                                                                 \
            rd->d[i] = i && !simd_q(insn) ? 0 : (expr);                                                                \
        }                                                                                                              \
        return A64_NEXT;                                                                                               \
    }

LOGIC(and, n &m)
LOGIC(bic, n & ~m)
LOGIC(orr, n | m)
LOGIC(orn, n | ~m)
LOGIC(eor, n ^ m)
LOGIC(bsl, (n & d) | (m & ~d))
LOGIC(bit, (n & m) | (d & ~m))
LOGIC(bif, (d & m) | (n & ~m))
LOGIC(not, ~n)

/* ---- FP and general registers ---- */

A64_EXEC(fmov_w2s)
{
    simd_set_scalar(c, insn, (uint32_t)a64_x(c, a64_rn(insn)));
    return A64_NEXT;
}

A64_EXEC(fmov_x2d)
{
    simd_set_scalar(c, insn, a64_x(c, a64_rn(insn)));
    return A64_NEXT;
}

A64_EXEC(fmov_g2h)
{
    simd_set_scalar(c, insn, (uint16_t)a64_x(c, a64_rn(insn)));
    return A64_NEXT;
}

A64_EXEC(fmov_x2hi)
{
    c->v[a64_rd(insn)].d[1] = a64_x(c, a64_rn(insn));
    return A64_NEXT;
}

A64_EXEC(fmov_s2w)
{
    a64_set_x(c, a64_rd(insn), c->v[a64_rn(insn)].s[0]);
    return A64_NEXT;
}

A64_EXEC(fmov_d2x)
{
    a64_set_x(c, a64_rd(insn), c->v[a64_rn(insn)].d[0]);
    return A64_NEXT;
}

A64_EXEC(fmov_h2g)
{
    a64_set_x(c, a64_rd(insn), c->v[a64_rn(insn)].h[0]);
    return A64_NEXT;
}

A64_EXEC(fmov_hi2x)
{
    a64_set_x(c, a64_rd(insn), c->v[a64_rn(insn)].d[1]);
    return A64_NEXT;
}
