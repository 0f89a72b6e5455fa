/*
 * Interpreter rows: loads and stores of general registers, exclusives, ordered accesses and LSE atomics. Arm ARM C6.2.
 *
 * An access goes through struct a64_ops; registers (the base too, for write-back) change only after it succeeded. Where
 * the architecture leaves a choice (a load whose base is also its target, say) the base's write-back wins.
 */
#include "jit/interp/regs.h"

#define SCTLR_SA BIT64(3)
#define SCTLR_SA0 BIT64(4)
#define EC_SP_ALIGN 0x26

int a64_base(struct arm64_cpu *c, uint32_t insn, uint64_t *va)
{
    unsigned n = a64_rn(insn);

    *va = c->x[n];
    if (n == 31 && (*va & 15) && (c->sys.sctlr_el1 & (c->el ? SCTLR_SA : SCTLR_SA0))) {
        c->ops->exception(c, EC_SP_ALIGN, 0, 0);
        return A64_TRAPPED;
    }
    return 0;
}

unsigned a64_ordered_align(const struct arm64_cpu *c, uint64_t va, unsigned size)
{
    return arm64_has(c, ARM64_FEAT_LSE2) && (va & 15) + size <= 16 ? 0 : A64_MEM_ALIGNED;
}

static unsigned scale_of(uint32_t insn)
{
    return insn >> 30;
}

/* ---- single registers ---- */

/* A zero-extending load or a store of 1 << scale bytes at va. */
static int load_zero(struct arm64_cpu *c, uint32_t insn, uint64_t va, unsigned scale, unsigned flags)
{
    uint64_t v = 0;
    int r = c->ops->load(c, va, 1u << scale, &v, flags);
    if (!r)
        a64_set_x(c, a64_rd(insn), v);
    return r;
}

/* A sign-extending load of 1 << scale bytes; bit 22 set: into W. */
static int load_sign(struct arm64_cpu *c, uint32_t insn, uint64_t va, unsigned scale, unsigned flags)
{
    uint64_t v = 0;
    int r = c->ops->load(c, va, 1u << scale, &v, flags);
    if (r)
        return r;
    v = (uint64_t)sext64(v, 8u << scale);
    a64_set_x(c, a64_rd(insn), insn & BIT32(22) ? (uint32_t)v : v);
    return 0;
}

static int store(struct arm64_cpu *c, uint32_t insn, uint64_t va, unsigned scale, unsigned flags)
{
    uint64_t v = a64_x(c, a64_rd(insn));
    return c->ops->store(c, va, 1u << scale, &v, flags);
}

typedef int (*access_fn)(struct arm64_cpu *c, uint32_t insn, uint64_t va, unsigned scale, unsigned flags);

/* Base plus offset; `wback` writes the sum to the base, `post` accesses the base itself. */
static inline enum a64_next access_imm(struct arm64_cpu *c, uint32_t insn, access_fn fn, int64_t offset, bool wback,
                                       bool post, unsigned flags)
{
    uint64_t base, va;

    if (a64_base(c, insn, &base))
        return A64_JUMP;
    va = base + (uint64_t)offset;
    if (fn(c, insn, post ? base : va, scale_of(insn), flags))
        return A64_JUMP;
    if (wback)
        c->x[a64_rn(insn)] = va;
    return A64_NEXT;
}

static inline enum a64_next access_reg(struct arm64_cpu *c, uint32_t insn, access_fn fn)
{
    uint64_t base;

    if (a64_base(c, insn, &base) || fn(c, insn, base + a64_reg_offset(c, insn, scale_of(insn)), scale_of(insn), 0))
        return A64_JUMP;
    return A64_NEXT;
}

static int64_t scaled_imm12(uint32_t insn)
{
    return (int64_t)(insn >> 10 & 0xfff) << scale_of(insn);
}

#define ADDRESSING_ROWS(row, fn)                                                                                       \
    A64_EXEC(row##_unscaled)                                                                                           \
    {                                                                                                                  \
        return access_imm(c, insn, fn, a64_imm9(insn), false, false, 0);                                               \
    }                                                                                                                  \
    A64_EXEC(row##_post)                                                                                               \
    {                                                                                                                  \
        return access_imm(c, insn, fn, a64_imm9(insn), true, true, 0);                                                 \
    }                                                                                                                  \
    A64_EXEC(row##_pre)                                                                                                \
    {                                                                                                                  \
        return access_imm(c, insn, fn, a64_imm9(insn), true, false, 0);                                                \
    }                                                                                                                  \
    A64_EXEC(row##_unpriv)                                                                                             \
    {                                                                                                                  \
        return access_imm(c, insn, fn, a64_imm9(insn), false, false, A64_MEM_UNPRIV);                                  \
    }                                                                                                                  \
    A64_EXEC(row##_uimm)                                                                                               \
    {                                                                                                                  \
        return access_imm(c, insn, fn, scaled_imm12(insn), false, false, 0);                                           \
    }                                                                                                                  \
    A64_EXEC(row##_reg)                                                                                                \
    {                                                                                                                  \
        return access_reg(c, insn, fn);                                                                                \
    }
ADDRESSING_ROWS(str, store)
ADDRESSING_ROWS(ldr, load_zero)
ADDRESSING_ROWS(ldrs, load_sign)
ADDRESSING_ROWS(ldrsw, load_sign)

static uint64_t literal(const struct arm64_cpu *c, uint32_t insn)
{
    return c->pc + ((uint64_t)sext64(insn >> 5, 19) << 2);
}

A64_EXEC(ldr_lit)
{
    return load_zero(c, insn, literal(c, insn), insn & BIT32(30) ? 3 : 2, 0) ? A64_JUMP : A64_NEXT;
}

A64_EXEC(ldrsw_lit)
{
    uint32_t v;
    if (c->ops->load(c, literal(c, insn), 4, &v, 0))
        return A64_JUMP;
    a64_set_x(c, a64_rd(insn), (uint64_t)sext64(v, 32));
    return A64_NEXT;
}

/* Prefetches never fault and have no visible effect. */
#define PREFETCH_ROW(row)                                                                                              \
    A64_EXEC(row)                                                                                                      \
    {                                                                                                                  \
        (void)c;                                                                                                       \
        (void)insn;                                                                                                    \
        return A64_NEXT;                                                                                               \
    }
PREFETCH_ROW(prfm_lit)
PREFETCH_ROW(prfm_unscaled)
PREFETCH_ROW(prfm_reg)
PREFETCH_ROW(prfm_uimm)

/* ---- pairs ---- */

static int load_pair(struct arm64_cpu *c, uint32_t insn, uint64_t va)
{
    uint32_t w[2];
    uint64_t x[2];
    bool sf = a64_sf(insn);
    int r = sf ? c->ops->load(c, va, 16, x, A64_MEM_PAIR) : c->ops->load(c, va, 8, w, A64_MEM_PAIR);

    if (r)
        return r;
    a64_set_x(c, a64_rd(insn), sf ? x[0] : w[0]);
    a64_set_x(c, a64_ra(insn), sf ? x[1] : w[1]);
    return 0;
}

static int load_pair_sign(struct arm64_cpu *c, uint32_t insn, uint64_t va)
{
    uint32_t w[2];
    int r = c->ops->load(c, va, 8, w, A64_MEM_PAIR);

    if (r)
        return r;
    a64_set_x(c, a64_rd(insn), (uint64_t)sext64(w[0], 32));
    a64_set_x(c, a64_ra(insn), (uint64_t)sext64(w[1], 32));
    return 0;
}

static int store_pair(struct arm64_cpu *c, uint32_t insn, uint64_t va)
{
    uint64_t x[2] = {a64_x(c, a64_rd(insn)), a64_x(c, a64_ra(insn))};
    uint32_t w[2] = {(uint32_t)x[0], (uint32_t)x[1]};

    return a64_sf(insn) ? c->ops->store(c, va, 16, x, A64_MEM_PAIR) : c->ops->store(c, va, 8, w, A64_MEM_PAIR);
}

/* The offset counts elements of 4 (W, LDPSW) or 8 bytes. */
static inline enum a64_next access_pair(struct arm64_cpu *c, uint32_t insn,
                                        int (*fn)(struct arm64_cpu *c, uint32_t insn, uint64_t va), bool wback,
                                        bool post)
{
    uint64_t base, va;

    if (a64_base(c, insn, &base))
        return A64_JUMP;
    va = base + ((uint64_t)a64_imm7(insn) << (a64_sf(insn) ? 3 : 2));
    if (fn(c, insn, post ? base : va))
        return A64_JUMP;
    if (wback)
        c->x[a64_rn(insn)] = va;
    return A64_NEXT;
}

#define PAIR_ROWS(row, fn)                                                                                             \
    A64_EXEC(row##_off)                                                                                                \
    {                                                                                                                  \
        return access_pair(c, insn, fn, false, false);                                                                 \
    }                                                                                                                  \
    A64_EXEC(row##_pre)                                                                                                \
    {                                                                                                                  \
        return access_pair(c, insn, fn, true, false);                                                                  \
    }                                                                                                                  \
    A64_EXEC(row##_post)                                                                                               \
    {                                                                                                                  \
        return access_pair(c, insn, fn, true, true);                                                                   \
    }
PAIR_ROWS(stp, store_pair)
PAIR_ROWS(ldp, load_pair)
PAIR_ROWS(ldpsw, load_pair_sign)

A64_EXEC(stnp)
{
    return access_pair(c, insn, store_pair, false, false);
}
A64_EXEC(ldnp)
{
    return access_pair(c, insn, load_pair, false, false);
}

/* ---- acquire and release ---- */

/* These accesses take the base alone, or with imm9 (the LRCPC2 forms); bits 31:30 are the size in all of them. */
static inline enum a64_next access_ordered(struct arm64_cpu *c, uint32_t insn, access_fn fn, int64_t offset,
                                           unsigned flags)
{
    uint64_t va;

    if (a64_base(c, insn, &va))
        return A64_JUMP;
    va += (uint64_t)offset;
    flags |= a64_ordered_align(c, va, 1u << scale_of(insn));
    return fn(c, insn, va, scale_of(insn), flags) ? A64_JUMP : A64_NEXT;
}

A64_EXEC(stlr)
{
    return access_ordered(c, insn, store, 0, A64_MEM_RELEASE);
}
A64_EXEC(stllr)
{
    return access_ordered(c, insn, store, 0, A64_MEM_RELEASE);
}
A64_EXEC(ldar)
{
    return access_ordered(c, insn, load_zero, 0, A64_MEM_ACQUIRE);
}
A64_EXEC(ldlar)
{
    return access_ordered(c, insn, load_zero, 0, A64_MEM_ACQUIRE);
}
A64_EXEC(ldapr)
{
    return access_ordered(c, insn, load_zero, 0, A64_MEM_ACQUIRE);
}
A64_EXEC(stlur)
{
    return access_ordered(c, insn, store, a64_imm9(insn), A64_MEM_RELEASE);
}
A64_EXEC(ldapur)
{
    return access_ordered(c, insn, load_zero, a64_imm9(insn), A64_MEM_ACQUIRE);
}
A64_EXEC(ldapurs)
{
    return access_ordered(c, insn, load_sign, a64_imm9(insn), A64_MEM_ACQUIRE);
}
A64_EXEC(ldapursw)
{
    return access_ordered(c, insn, load_sign, a64_imm9(insn), A64_MEM_ACQUIRE);
}

/* ---- exclusives ---- */

#define EXCL_ORDERED BIT32(15)

A64_EXEC(ldxr)
{
    unsigned size = 1u << scale_of(insn);
    uint64_t va, v = 0;

    if (a64_base(c, insn, &va) ||
        c->ops->load_excl(c, va, size, &v,
                          a64_ordered_align(c, va, size) | (insn & EXCL_ORDERED ? A64_MEM_ACQUIRE : 0)))
        return A64_JUMP;
    a64_set_x(c, a64_rd(insn), v);
    return A64_NEXT;
}

static enum a64_next store_excl(struct arm64_cpu *c, uint32_t insn, uint64_t va, unsigned size, const void *src)
{
    uint32_t status;

    if (c->ops->store_excl(c, va, size, src, &status,
                           a64_ordered_align(c, va, size) | (insn & EXCL_ORDERED ? A64_MEM_RELEASE : 0)))
        return A64_JUMP;
    a64_set_w(c, a64_rm(insn), status);
    return A64_NEXT;
}

A64_EXEC(stxr)
{
    uint64_t va, v = a64_x(c, a64_rd(insn));

    return a64_base(c, insn, &va) ? A64_JUMP : store_excl(c, insn, va, 1u << scale_of(insn), &v);
}

/* Bit 30 is the element's size here; the pair is aligned as a whole. */
A64_EXEC(ldxp)
{
    bool sf = insn & BIT32(30);
    unsigned size = sf ? 16 : 8;
    uint64_t va, x[2];
    uint32_t w[2];

    if (a64_base(c, insn, &va) ||
        c->ops->load_excl(c, va, size, sf ? (void *)x : (void *)w,
                          a64_ordered_align(c, va, size) | (insn & EXCL_ORDERED ? A64_MEM_ACQUIRE : 0)))
        return A64_JUMP;
    a64_set_x(c, a64_rd(insn), sf ? x[0] : w[0]);
    a64_set_x(c, a64_ra(insn), sf ? x[1] : w[1]);
    return A64_NEXT;
}

A64_EXEC(stxp)
{
    bool sf = insn & BIT32(30);
    uint64_t va, x[2] = {a64_x(c, a64_rd(insn)), a64_x(c, a64_ra(insn))};
    uint32_t w[2] = {(uint32_t)x[0], (uint32_t)x[1]};

    if (a64_base(c, insn, &va))
        return A64_JUMP;
    return sf ? store_excl(c, insn, va, 16, x) : store_excl(c, insn, va, 8, w);
}

/* ---- LSE ---- */

/* CAS has its acquire bit at 22 and release at 15, the others at 23 and 22. */
static unsigned cas_flags(uint32_t insn)
{
    return (insn & BIT32(22) ? A64_MEM_ACQUIRE : 0) | (insn & BIT32(15) ? A64_MEM_RELEASE : 0);
}

A64_EXEC(cas)
{
    unsigned size = 1u << scale_of(insn);
    uint64_t va, expected = a64_x(c, a64_rm(insn)), desired = a64_x(c, a64_rd(insn));

    if (size < 8)
        expected &= BIT64(8 * size) - 1;
    if (a64_base(c, insn, &va) ||
        c->ops->cas(c, va, size, &expected, &desired, a64_ordered_align(c, va, size) | cas_flags(insn)))
        return A64_JUMP;
    a64_set_x(c, a64_rm(insn), expected);
    return A64_NEXT;
}

A64_EXEC(casp)
{
    unsigned s = a64_rm(insn), t = a64_rd(insn);
    bool sf = insn & BIT32(30);
    uint64_t va, ex[2] = {a64_x(c, s), a64_x(c, s + 1)}, dx[2] = {a64_x(c, t), a64_x(c, t + 1)};
    uint32_t ew[2] = {(uint32_t)ex[0], (uint32_t)ex[1]}, dw[2] = {(uint32_t)dx[0], (uint32_t)dx[1]};
    unsigned size = sf ? 16 : 8;

    if (a64_base(c, insn, &va) || c->ops->cas(c, va, size, sf ? (void *)ex : (void *)ew, sf ? (void *)dx : (void *)dw,
                                              a64_ordered_align(c, va, size) | cas_flags(insn)))
        return A64_JUMP;
    a64_set_x(c, s, sf ? ex[0] : ew[0]);
    a64_set_x(c, s + 1, sf ? ex[1] : ew[1]);
    return A64_NEXT;
}

static enum a64_next rmw(struct arm64_cpu *c, uint32_t insn, enum a64_rmw op)
{
    unsigned size = 1u << scale_of(insn);
    uint64_t va, old, operand = a64_x(c, a64_rm(insn));
    unsigned order = (insn & BIT32(23) ? A64_MEM_ACQUIRE : 0) | (insn & BIT32(22) ? A64_MEM_RELEASE : 0);

    if (size < 8)
        operand &= BIT64(8 * size) - 1;
    if (a64_base(c, insn, &va) || c->ops->rmw(c, va, size, op, operand, &old, a64_ordered_align(c, va, size) | order))
        return A64_JUMP;
    a64_set_x(c, a64_rd(insn), old);
    return A64_NEXT;
}

#define RMW_ROW(row, op)                                                                                               \
    A64_EXEC(row)                                                                                                      \
    {                                                                                                                  \
        return rmw(c, insn, op);                                                                                       \
    }
RMW_ROW(swp, A64_RMW_SWP)
RMW_ROW(ldadd, A64_RMW_ADD)
RMW_ROW(ldclr, A64_RMW_CLR)
RMW_ROW(ldeor, A64_RMW_EOR)
RMW_ROW(ldset, A64_RMW_SET)
RMW_ROW(ldsmax, A64_RMW_SMAX)
RMW_ROW(ldsmin, A64_RMW_SMIN)
RMW_ROW(ldumax, A64_RMW_UMAX)
RMW_ROW(ldumin, A64_RMW_UMIN)
