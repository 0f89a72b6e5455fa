/*
 * Interpreter: loads and stores of SIMD&FP registers, single, in pairs and as structures.
 *
 * Registers and the base are written only after every access of the instruction succeeded, so a fault leaves the state
 * as it was. A pair is one access with A64_MEM_PAIR where its size allows, so that both halves fault together.
 */
#include "jit/interp/simd.h"

/* One register of 1 << scale bytes. */
static enum a64_next access_one(struct arm64_cpu *c, uint32_t insn, bool load, unsigned scale, uint64_t va)
{
    arm64_vreg v = {0};
    if (!load)
        return c->ops->store(c, va, 1u << scale, &c->v[a64_rd(insn)], 0) ? A64_JUMP : A64_NEXT;
    if (c->ops->load(c, va, 1u << scale, &v, 0))
        return A64_JUMP;
    c->v[a64_rd(insn)] = v;
    return A64_NEXT;
}

/* Bits 31:30 size, bit 23 says 16 bytes. */
static unsigned scale_of(uint32_t insn)
{
    return insn >> 30 | (insn >> 21 & 4);
}

static bool is_load(uint32_t insn)
{
    return insn >> 22 & 1;
}

static enum a64_next unscaled(struct arm64_cpu *c, uint32_t insn)
{
    uint64_t va;
    if (a64_base(c, insn, &va))
        return A64_JUMP;
    return access_one(c, insn, is_load(insn), scale_of(insn), va + (uint64_t)a64_imm9(insn));
}

/* Bit 11 tells pre- from post-index. */
static enum a64_next indexed(struct arm64_cpu *c, uint32_t insn)
{
    uint64_t va, next;
    if (a64_base(c, insn, &va))
        return A64_JUMP;
    next = va + (uint64_t)a64_imm9(insn);
    if (access_one(c, insn, is_load(insn), scale_of(insn), insn & BIT32(11) ? next : va) != A64_NEXT)
        return A64_JUMP;
    c->x[a64_rn(insn)] = next;
    return A64_NEXT;
}

static enum a64_next uimm(struct arm64_cpu *c, uint32_t insn)
{
    unsigned scale = scale_of(insn);
    uint64_t va;
    if (a64_base(c, insn, &va))
        return A64_JUMP;
    return access_one(c, insn, is_load(insn), scale, va + ((uint64_t)bits32(insn, 21, 10) << scale));
}

static enum a64_next reg_offset(struct arm64_cpu *c, uint32_t insn)
{
    unsigned scale = scale_of(insn);
    uint64_t va;
    if (a64_base(c, insn, &va))
        return A64_JUMP;
    return access_one(c, insn, is_load(insn), scale, va + a64_reg_offset(c, insn, scale));
}

#define ALIAS(name, fn)                                                                                                \
    A64_EXEC(name)                                                                                                     \
    {                                                                                                                  \
        return fn(c, insn);                                                                                            \
    }

ALIAS(str_fp_unscaled, unscaled)
ALIAS(ldr_fp_unscaled, unscaled)
ALIAS(str_fp_post, indexed)
ALIAS(ldr_fp_post, indexed)
ALIAS(str_fp_pre, indexed)
ALIAS(ldr_fp_pre, indexed)
ALIAS(str_fp_uimm, uimm)
ALIAS(ldr_fp_uimm, uimm)
ALIAS(str_fp_reg, reg_offset)
ALIAS(ldr_fp_reg, reg_offset)

A64_EXEC(ldr_fp_lit)
{
    return access_one(c, insn, true, 2 + (insn >> 30), c->pc + (uint64_t)(sext64(insn >> 5, 19) * 4));
}

/* ---- pairs ---- */

/* Bits 24:23: 0 no-allocate, 1 post, 2 offset, 3 pre. */
static enum a64_next pair(struct arm64_cpu *c, uint32_t insn)
{
    unsigned scale = 2 + (insn >> 30), mode = insn >> 23 & 3, size = 1u << scale, t2 = a64_ra(insn);
    uint64_t va, next;
    uint8_t buf[32];
    int trapped;

    if (a64_base(c, insn, &va))
        return A64_JUMP;
    next = va + ((uint64_t)a64_imm7(insn) << scale);
    if (mode != 1)
        va = next;
    if (is_load(insn)) {
        arm64_vreg a = {0}, b = {0};
        if (size < 16)
            trapped = c->ops->load(c, va, 2 * size, buf, A64_MEM_PAIR);
        else
            trapped = c->ops->load(c, va, 16, buf, 0) || c->ops->load(c, va + 16, 16, buf + 16, 0);
        if (trapped)
            return A64_JUMP;
        memcpy(&a, buf, size);
        memcpy(&b, buf + size, size);
        c->v[a64_rd(insn)] = a;
        c->v[t2] = b;
    } else {
        memcpy(buf, &c->v[a64_rd(insn)], size);
        memcpy(buf + size, &c->v[t2], size);
        if (size < 16)
            trapped = c->ops->store(c, va, 2 * size, buf, A64_MEM_PAIR);
        else
            trapped = c->ops->store(c, va, 16, buf, 0) || c->ops->store(c, va + 16, 16, buf + 16, 0);
        if (trapped)
            return A64_JUMP;
    }
    if (mode & 1)
        c->x[a64_rn(insn)] = next;
    return A64_NEXT;
}

ALIAS(stnp_fp, pair)
ALIAS(stp_fp_post, pair)
ALIAS(stp_fp_off, pair)
ALIAS(stp_fp_pre, pair)
ALIAS(ldnp_fp, pair)
ALIAS(ldp_fp_post, pair)
ALIAS(ldp_fp_off, pair)
ALIAS(ldp_fp_pre, pair)

/* ---- structures ---- */

/* Post-index: Rm, or the number of bytes transferred where Rm is 31. */
static void write_back(struct arm64_cpu *c, uint32_t insn, bool post, uint64_t bytes)
{
    if (post)
        c->x[a64_rn(insn)] += a64_rm(insn) == 31 ? bytes : c->x[a64_rm(insn)];
}

/*
 * Multiple structures: `rpt` runs of `selem` registers. Each element is an access of its own, in memory order. Stores
 * before a faulting one stay, as the architecture allows.
 */
static enum a64_next multi(struct arm64_cpu *c, uint32_t insn, unsigned rpt, unsigned selem, bool post)
{
    unsigned sz = insn >> 10 & 3, lanes = simd_lanes(insn, sz), t = a64_rd(insn);
    arm64_vreg regs[4] = {0};
    uint64_t va, at;

    if (a64_base(c, insn, &va))
        return A64_JUMP;
    at = va;
    for (unsigned r = 0; r < rpt; r++) {
        for (unsigned e = 0; e < lanes; e++) {
            for (unsigned s = 0; s < selem; s++, at += 1u << sz) {
                unsigned k = r + s;
                if (is_load(insn) ? c->ops->load(c, at, 1u << sz, &regs[k].b[e << sz], 0)
                                  : c->ops->store(c, at, 1u << sz, &c->v[(t + k) & 31].b[e << sz], 0))
                    return A64_JUMP;
            }
        }
    }
    if (is_load(insn)) {
        for (unsigned k = 0; k < MAX(rpt, selem); k++)
            c->v[(t + k) & 31] = regs[k];
    }
    write_back(c, insn, post, at - va);
    return A64_NEXT;
}

#define MULTI(name, rpt, selem)                                                                                        \
    A64_EXEC(st##name)                                                                                                 \
    {                                                                                                                  \
        return multi(c, insn, rpt, selem, false);                                                                      \
    }                                                                                                                  \
    A64_EXEC(ld##name)                                                                                                 \
    {                                                                                                                  \
        return multi(c, insn, rpt, selem, false);                                                                      \
    }                                                                                                                  \
    A64_EXEC(st##name##_post)                                                                                          \
    {                                                                                                                  \
        return multi(c, insn, rpt, selem, true);                                                                       \
    }                                                                                                                  \
    A64_EXEC(ld##name##_post)                                                                                          \
    {                                                                                                                  \
        return multi(c, insn, rpt, selem, true);                                                                       \
    }

MULTI(1x1, 1, 1)
MULTI(1x2, 2, 1)
MULTI(1x3, 3, 1)
MULTI(1x4, 4, 1)
MULTI(2, 1, 2)
MULTI(3, 1, 3)
MULTI(4, 1, 4)

/* One lane of `selem` registers. */
static enum a64_next one_lane(struct arm64_cpu *c, uint32_t insn, unsigned selem, bool post)
{
    unsigned sz = insn >> 14 & 3, index = simd_q(insn) << 3 | (insn >> 10 & 7), t = a64_rd(insn);
    uint64_t va, val[4] = {0};

    if (sz == 2 && (insn >> 10 & 1)) /* the low size bit set means 64-bit lanes */
        sz = 3;
    index >>= sz;
    if (a64_base(c, insn, &va))
        return A64_JUMP;
    for (unsigned s = 0; s < selem; s++) {
        uint64_t at = va + (s << sz);
        if (is_load(insn) ? c->ops->load(c, at, 1u << sz, &val[s], 0)
                          : c->ops->store(c, at, 1u << sz, &c->v[(t + s) & 31].b[index << sz], 0))
            return A64_JUMP;
    }
    if (is_load(insn)) {
        for (unsigned s = 0; s < selem; s++)
            lane_set(&c->v[(t + s) & 31], sz, index, val[s]);
    }
    write_back(c, insn, post, selem << sz);
    return A64_NEXT;
}

/* One element of memory to all lanes, `selem` times. */
static enum a64_next replicate(struct arm64_cpu *c, uint32_t insn, unsigned selem, bool post)
{
    unsigned sz = insn >> 10 & 3, t = a64_rd(insn);
    uint64_t va, val[4] = {0};

    if (a64_base(c, insn, &va))
        return A64_JUMP;
    for (unsigned s = 0; s < selem; s++) {
        if (c->ops->load(c, va + (s << sz), 1u << sz, &val[s], 0))
            return A64_JUMP;
    }
    for (unsigned s = 0; s < selem; s++) {
        arm64_vreg r = {0};
        for (unsigned i = 0; i < simd_lanes(insn, sz); i++)
            lane_set(&r, sz, i, val[s]);
        c->v[(t + s) & 31] = r;
    }
    write_back(c, insn, post, selem << sz);
    return A64_NEXT;
}

#define LANE(n)                                                                                                        \
    A64_EXEC(st##n##_lane)                                                                                             \
    {                                                                                                                  \
        return one_lane(c, insn, n, false);                                                                            \
    }                                                                                                                  \
    A64_EXEC(ld##n##_lane)                                                                                             \
    {                                                                                                                  \
        return one_lane(c, insn, n, false);                                                                            \
    }                                                                                                                  \
    A64_EXEC(st##n##_lane_post)                                                                                        \
    {                                                                                                                  \
        return one_lane(c, insn, n, true);                                                                             \
    }                                                                                                                  \
    A64_EXEC(ld##n##_lane_post)                                                                                        \
    {                                                                                                                  \
        return one_lane(c, insn, n, true);                                                                             \
    }                                                                                                                  \
    A64_EXEC(ld##n##r)                                                                                                 \
    {                                                                                                                  \
        return replicate(c, insn, n, false);                                                                           \
    }                                                                                                                  \
    A64_EXEC(ld##n##r_post)                                                                                            \
    {                                                                                                                  \
        return replicate(c, insn, n, true);                                                                            \
    }

LANE(1)
LANE(2)
LANE(3)
LANE(4)
