/*
 * Interpreter rows: integer data processing and branches. Arm ARM C6.2, pseudocode in J1.
 */
#include "jit/interp/regs.h"

/* ---- add and subtract ---- */

/* AddWithCarry on 32 or 64 bits; sets the flags where `flags`. The result is zero-extended. */
static uint64_t add_carry(struct arm64_cpu *c, bool sf, uint64_t x, uint64_t y, unsigned carry, bool flags)
{
    uint64_t r;

    if (sf) {
        r = x + y + carry;
        if (flags)
            a64_set_flags(c, r >> 63, r == 0, r < x || (carry && r == x), (~(x ^ y) & (x ^ r)) >> 63);
    } else {
        uint64_t wide = (uint64_t)(uint32_t)x + (uint32_t)y + carry;
        r = (uint32_t)wide;
        if (flags)
            a64_set_flags(c, r >> 31, r == 0, wide >> 32, (~(x ^ y) & (x ^ r)) >> 31 & 1);
    }
    return r;
}

static uint64_t shifted(const struct arm64_cpu *c, uint32_t insn, unsigned amount)
{
    uint64_t v = a64_x(c, a64_rm(insn));
    unsigned kind = insn >> 22 & 3;

    if (a64_sf(insn)) {
        switch (kind) {
        case 0: return v << amount;
        case 1: return v >> amount;
        case 2: return (uint64_t)((int64_t)v >> amount);
        default: return v >> amount | v << (-amount & 63);
        }
    }
    uint32_t w = (uint32_t)v;
    switch (kind) {
    case 0: return w << amount;
    case 1: return w >> amount;
    case 2: return (uint32_t)((int32_t)w >> amount);
    default: return w >> amount | w << (-amount & 31);
    }
}

static uint64_t shifted_operand(const struct arm64_cpu *c, uint32_t insn)
{
    return shifted(c, insn, insn >> 10 & 63);
}

static uint64_t extended_operand(const struct arm64_cpu *c, uint32_t insn)
{
    return a64_extend(a64_x(c, a64_rm(insn)), insn >> 13 & 7, insn >> 10 & 7);
}

static uint64_t imm12_operand(uint32_t insn)
{
    return (uint64_t)(insn >> 10 & 0xfff) << (insn & BIT32(22) ? 12 : 0);
}

/* The four operations on first operand x; the caller stores the result. */
static uint64_t do_add(struct arm64_cpu *c, uint32_t insn, uint64_t x, uint64_t y, bool flags)
{
    return add_carry(c, a64_sf(insn), x, y, 0, flags);
}

static uint64_t do_sub(struct arm64_cpu *c, uint32_t insn, uint64_t x, uint64_t y, bool flags)
{
    return add_carry(c, a64_sf(insn), x, ~y, 1, flags);
}

/* Immediate and extended forms read SP as Rn; those that leave the flags alone also write it. */
#define ARITH_ROWS(op)                                                                                                 \
    A64_EXEC(op##_imm)                                                                                                 \
    {                                                                                                                  \
        c->x[a64_rd(insn)] = do_##op(c, insn, c->x[a64_rn(insn)], imm12_operand(insn), false);                         \
        return A64_NEXT;                                                                                               \
    }                                                                                                                  \
    A64_EXEC(op##s_imm)                                                                                                \
    {                                                                                                                  \
        a64_set_x(c, a64_rd(insn), do_##op(c, insn, c->x[a64_rn(insn)], imm12_operand(insn), true));                   \
        return A64_NEXT;                                                                                               \
    }                                                                                                                  \
    A64_EXEC(op##_sreg)                                                                                                \
    {                                                                                                                  \
        a64_set_x(c, a64_rd(insn), do_##op(c, insn, a64_x(c, a64_rn(insn)), shifted_operand(c, insn), false));         \
        return A64_NEXT;                                                                                               \
    }                                                                                                                  \
    A64_EXEC(op##s_sreg)                                                                                               \
    {                                                                                                                  \
        a64_set_x(c, a64_rd(insn), do_##op(c, insn, a64_x(c, a64_rn(insn)), shifted_operand(c, insn), true));          \
        return A64_NEXT;                                                                                               \
    }                                                                                                                  \
    A64_EXEC(op##_ereg)                                                                                                \
    {                                                                                                                  \
        c->x[a64_rd(insn)] = do_##op(c, insn, c->x[a64_rn(insn)], extended_operand(c, insn), false);                   \
        return A64_NEXT;                                                                                               \
    }                                                                                                                  \
    A64_EXEC(op##s_ereg)                                                                                               \
    {                                                                                                                  \
        a64_set_x(c, a64_rd(insn), do_##op(c, insn, c->x[a64_rn(insn)], extended_operand(c, insn), true));             \
        return A64_NEXT;                                                                                               \
    }
ARITH_ROWS(add)
ARITH_ROWS(sub)

static enum a64_next with_carry(struct arm64_cpu *c, uint32_t insn, uint64_t invert, bool flags)
{
    uint64_t r = add_carry(c, a64_sf(insn), a64_x(c, a64_rn(insn)), a64_x(c, a64_rm(insn)) ^ invert,
                           !(c->flags & ARM64_FLAG_NOTC), flags);
    a64_set_x(c, a64_rd(insn), r);
    return A64_NEXT;
}

A64_EXEC(adc)
{
    return with_carry(c, insn, 0, false);
}
A64_EXEC(adcs)
{
    return with_carry(c, insn, 0, true);
}
A64_EXEC(sbc)
{
    return with_carry(c, insn, UINT64_MAX, false);
}
A64_EXEC(sbcs)
{
    return with_carry(c, insn, UINT64_MAX, true);
}

static enum a64_next cond_compare(struct arm64_cpu *c, uint32_t insn, uint64_t y, bool sub)
{
    if (a64_cond(c, insn >> 12 & 15))
        add_carry(c, a64_sf(insn), a64_x(c, a64_rn(insn)), sub ? ~y : y, sub ? 1 : 0, true);
    else
        arm64_set_nzcv(c, insn << 28);
    return A64_NEXT;
}

A64_EXEC(ccmn_reg)
{
    return cond_compare(c, insn, a64_x(c, a64_rm(insn)), false);
}
A64_EXEC(ccmn_imm)
{
    return cond_compare(c, insn, insn >> 16 & 31, false);
}
A64_EXEC(ccmp_reg)
{
    return cond_compare(c, insn, a64_x(c, a64_rm(insn)), true);
}
A64_EXEC(ccmp_imm)
{
    return cond_compare(c, insn, insn >> 16 & 31, true);
}

/* ---- logic ---- */

static void flags_of_logic(struct arm64_cpu *c, uint32_t insn, uint64_t r)
{
    if (a64_sf(insn))
        a64_set_flags(c, r >> 63, r == 0, false, false);
    else
        a64_set_flags(c, r >> 31 & 1, (uint32_t)r == 0, false, false);
}

static uint64_t bitmask_operand(uint32_t insn)
{
    uint64_t wmask = 0, tmask;

    a64_bitmask(insn >> 22 & 1, insn >> 10 & 63, insn >> 16 & 63, true, a64_sf(insn) ? 64 : 32, &wmask, &tmask);
    return wmask;
}

/* The immediate forms that leave the flags alone write SP. */
#define LOGIC_IMM_ROW(row, op)                                                                                         \
    A64_EXEC(row)                                                                                                      \
    {                                                                                                                  \
        uint64_t r = a64_x(c, a64_rn(insn)) op bitmask_operand(insn);                                                  \
        c->x[a64_rd(insn)] = a64_sf(insn) ? r : (uint32_t)r;                                                           \
        return A64_NEXT;                                                                                               \
    }
LOGIC_IMM_ROW(and_imm, &)
LOGIC_IMM_ROW(orr_imm, |)
LOGIC_IMM_ROW(eor_imm, ^)

A64_EXEC(ands_imm)
{
    uint64_t r = a64_x(c, a64_rn(insn)) & bitmask_operand(insn);
    flags_of_logic(c, insn, r);
    a64_set_r(c, insn, a64_rd(insn), r);
    return A64_NEXT;
}

#define LOGIC_SREG_ROW(row, op, flags)                                                                                 \
    A64_EXEC(row)                                                                                                      \
    {                                                                                                                  \
        uint64_t r = a64_x(c, a64_rn(insn)) op shifted_operand(c, insn);                                               \
        if (flags)                                                                                                     \
            flags_of_logic(c, insn, r);                                                                                \
        a64_set_r(c, insn, a64_rd(insn), r);                                                                           \
        return A64_NEXT;                                                                                               \
    }
LOGIC_SREG_ROW(and_sreg, &, false)
LOGIC_SREG_ROW(orr_sreg, |, false)
LOGIC_SREG_ROW(eor_sreg, ^, false)
LOGIC_SREG_ROW(ands_sreg, &, true)
LOGIC_SREG_ROW(bic_sreg, &~, false)
LOGIC_SREG_ROW(orn_sreg, | ~, false)
LOGIC_SREG_ROW(eon_sreg, ^~, false)
LOGIC_SREG_ROW(bics_sreg, &~, true)

/* ---- moves, bit fields ---- */

A64_EXEC(adr)
{
    uint64_t imm = (uint64_t)sext64(insn >> 5, 19) << 2 | (insn >> 29 & 3);
    a64_set_x(c, a64_rd(insn), c->pc + imm);
    return A64_NEXT;
}

A64_EXEC(adrp)
{
    uint64_t imm = (uint64_t)sext64(insn >> 5, 19) << 2 | (insn >> 29 & 3);
    a64_set_x(c, a64_rd(insn), (c->pc & ~UINT64_C(0xfff)) + (imm << 12));
    return A64_NEXT;
}

static unsigned hw_shift(uint32_t insn)
{
    return (insn >> 21 & 3) * 16;
}

static uint64_t imm16_shifted(uint32_t insn)
{
    return (uint64_t)(insn >> 5 & 0xffff) << hw_shift(insn);
}

A64_EXEC(movn)
{
    a64_set_r(c, insn, a64_rd(insn), ~imm16_shifted(insn));
    return A64_NEXT;
}

A64_EXEC(movz)
{
    a64_set_r(c, insn, a64_rd(insn), imm16_shifted(insn));
    return A64_NEXT;
}

A64_EXEC(movk)
{
    uint64_t keep = a64_x(c, a64_rd(insn)) & ~(UINT64_C(0xffff) << hw_shift(insn));
    a64_set_r(c, insn, a64_rd(insn), keep | imm16_shifted(insn));
    return A64_NEXT;
}

/* The common part of SBFM, BFM, UBFM: the rotated source's field lands in `dst` where wmask and tmask say. */
static enum a64_next bitfield(struct arm64_cpu *c, uint32_t insn, bool sign, bool keep)
{
    unsigned r = insn >> 16 & 63, s = insn >> 10 & 63, size = a64_sf(insn) ? 64 : 32;
    uint64_t wmask = 0, tmask = 0, src = a64_x(c, a64_rn(insn)), dst = keep ? a64_x(c, a64_rd(insn)) : 0, rot;

    a64_bitmask(insn >> 22 & 1, s, r, false, size, &wmask, &tmask);
    if (a64_sf(insn))
        rot = src >> r | src << (-r & 63);
    else
        rot = (uint32_t)src >> r | (uint32_t)src << (-r & 31);
    uint64_t bot = (dst & ~wmask) | (rot & wmask);
    uint64_t top = sign ? -(src >> s & 1) : dst;
    a64_set_r(c, insn, a64_rd(insn), (top & ~tmask) | (bot & tmask));
    return A64_NEXT;
}

A64_EXEC(sbfm)
{
    return bitfield(c, insn, true, false);
}
A64_EXEC(bfm)
{
    return bitfield(c, insn, false, true);
}
A64_EXEC(ubfm)
{
    return bitfield(c, insn, false, false);
}

A64_EXEC(extr)
{
    unsigned lsb = insn >> 10 & 63;
    uint64_t lo = a64_x(c, a64_rm(insn)), hi = a64_x(c, a64_rn(insn)), r;

    if (a64_sf(insn))
        r = lsb ? lo >> lsb | hi << (64 - lsb) : lo;
    else
        r = ((uint64_t)(uint32_t)lo | hi << 32) >> lsb;
    a64_set_r(c, insn, a64_rd(insn), r);
    return A64_NEXT;
}

/* ---- conditional select ---- */

static enum a64_next cond_select(struct arm64_cpu *c, uint32_t insn, uint64_t otherwise)
{
    uint64_t r = a64_cond(c, insn >> 12 & 15) ? a64_x(c, a64_rn(insn)) : otherwise;
    a64_set_r(c, insn, a64_rd(insn), r);
    return A64_NEXT;
}

A64_EXEC(csel)
{
    return cond_select(c, insn, a64_x(c, a64_rm(insn)));
}
A64_EXEC(csinc)
{
    return cond_select(c, insn, a64_x(c, a64_rm(insn)) + 1);
}
A64_EXEC(csinv)
{
    return cond_select(c, insn, ~a64_x(c, a64_rm(insn)));
}
A64_EXEC(csneg)
{
    return cond_select(c, insn, -a64_x(c, a64_rm(insn)));
}

/* ---- one source ---- */

static uint64_t reverse_bits(uint64_t v)
{
    v = (v >> 1 & UINT64_C(0x5555555555555555)) | (v & UINT64_C(0x5555555555555555)) << 1;
    v = (v >> 2 & UINT64_C(0x3333333333333333)) | (v & UINT64_C(0x3333333333333333)) << 2;
    v = (v >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (v & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
    return __builtin_bswap64(v);
}

static unsigned leading_zeros(uint64_t v, bool sf)
{
    if (sf)
        return v ? (unsigned)__builtin_clzll(v) : 64;
    return (uint32_t)v ? (unsigned)__builtin_clz((uint32_t)v) : 32;
}

A64_EXEC(rbit)
{
    uint64_t r = reverse_bits(a64_x(c, a64_rn(insn)));
    a64_set_x(c, a64_rd(insn), a64_sf(insn) ? r : r >> 32);
    return A64_NEXT;
}

A64_EXEC(rev16)
{
    uint64_t v = a64_x(c, a64_rn(insn)), odd = UINT64_C(0x00ff00ff00ff00ff);
    a64_set_r(c, insn, a64_rd(insn), (v >> 8 & odd) | (v & odd) << 8);
    return A64_NEXT;
}

A64_EXEC(rev_w)
{
    a64_set_w(c, a64_rd(insn), __builtin_bswap32(a64_w(c, a64_rn(insn))));
    return A64_NEXT;
}

A64_EXEC(rev32)
{
    uint64_t v = __builtin_bswap64(a64_x(c, a64_rn(insn)));
    a64_set_x(c, a64_rd(insn), v >> 32 | v << 32);
    return A64_NEXT;
}

A64_EXEC(rev_x)
{
    a64_set_x(c, a64_rd(insn), __builtin_bswap64(a64_x(c, a64_rn(insn))));
    return A64_NEXT;
}

A64_EXEC(clz)
{
    a64_set_x(c, a64_rd(insn), leading_zeros(a64_x(c, a64_rn(insn)), a64_sf(insn)));
    return A64_NEXT;
}

/* Copies of the sign bit below it: leading zeros of where neighbours differ. */
A64_EXEC(cls)
{
    uint64_t v = a64_x(c, a64_rn(insn));
    unsigned n = a64_sf(insn) ? leading_zeros(v ^ (uint64_t)((int64_t)v >> 1), true)
                              : leading_zeros((uint32_t)v ^ (uint32_t)((int32_t)v >> 1), false);
    a64_set_x(c, a64_rd(insn), n - 1);
    return A64_NEXT;
}

/* ---- two sources ---- */

A64_EXEC(udiv)
{
    uint64_t x = a64_x(c, a64_rn(insn)), y = a64_x(c, a64_rm(insn));
    if (!a64_sf(insn)) {
        x = (uint32_t)x;
        y = (uint32_t)y;
    }
    a64_set_x(c, a64_rd(insn), y ? x / y : 0);
    return A64_NEXT;
}

/* Division by zero gives 0; the quotient that does not fit (MIN / -1) wraps to MIN. */
A64_EXEC(sdiv)
{
    uint64_t x = a64_x(c, a64_rn(insn)), y = a64_x(c, a64_rm(insn)), r;
    if (!a64_sf(insn)) {
        x = (uint64_t)sext64(x, 32);
        y = (uint64_t)sext64(y, 32);
    }
    if (y == 0)
        r = 0;
    else if (y == UINT64_MAX)
        r = -x;
    else
        r = (uint64_t)((int64_t)x / (int64_t)y);
    a64_set_r(c, insn, a64_rd(insn), r);
    return A64_NEXT;
}

/* Shift by register, kind as in shift fields, the amount taken modulo the width. */
static enum a64_next shift_variable(struct arm64_cpu *c, uint32_t insn, unsigned kind)
{
    uint64_t v = a64_x(c, a64_rn(insn)), r;
    unsigned n = (unsigned)a64_x(c, a64_rm(insn)) & (a64_sf(insn) ? 63 : 31);

    if (!a64_sf(insn))
        v = kind == 2 ? (uint64_t)sext64(v, 32) : (uint32_t)v;
    switch (kind) {
    case 0: r = v << n; break;
    case 1: r = v >> n; break;
    case 2: r = (uint64_t)((int64_t)v >> n); break;
    default: r = a64_sf(insn) ? v >> n | v << (-n & 63) : v >> n | v << (-n & 31); break;
    }
    a64_set_r(c, insn, a64_rd(insn), r);
    return A64_NEXT;
}

A64_EXEC(lslv)
{
    return shift_variable(c, insn, 0);
}
A64_EXEC(lsrv)
{
    return shift_variable(c, insn, 1);
}
A64_EXEC(asrv)
{
    return shift_variable(c, insn, 2);
}
A64_EXEC(rorv)
{
    return shift_variable(c, insn, 3);
}

/* CRC with the reflected polynomial, no inversion before or after. */
static enum a64_next crc(struct arm64_cpu *c, uint32_t insn, uint32_t poly)
{
    uint32_t acc = a64_w(c, a64_rn(insn));
    uint64_t data = a64_x(c, a64_rm(insn));

    for (unsigned bytes = 1u << (insn >> 10 & 3); bytes; bytes--, data >>= 8) {
        acc ^= (uint8_t)data;
        for (unsigned i = 0; i < 8; i++)
            acc = acc >> 1 ^ (acc & 1 ? poly : 0);
    }
    a64_set_w(c, a64_rd(insn), acc);
    return A64_NEXT;
}

A64_EXEC(crc32)
{
    return crc(c, insn, 0xedb88320);
}
A64_EXEC(crc32c)
{
    return crc(c, insn, 0x82f63b78);
}

/* ---- three sources ---- */

A64_EXEC(madd)
{
    a64_set_r(c, insn, a64_rd(insn), a64_x(c, a64_ra(insn)) + a64_x(c, a64_rn(insn)) * a64_x(c, a64_rm(insn)));
    return A64_NEXT;
}

A64_EXEC(msub)
{
    a64_set_r(c, insn, a64_rd(insn), a64_x(c, a64_ra(insn)) - a64_x(c, a64_rn(insn)) * a64_x(c, a64_rm(insn)));
    return A64_NEXT;
}

static uint64_t product_signed(const struct arm64_cpu *c, uint32_t insn)
{
    return (uint64_t)((int64_t)(int32_t)a64_w(c, a64_rn(insn)) * (int32_t)a64_w(c, a64_rm(insn)));
}

static uint64_t product_unsigned(const struct arm64_cpu *c, uint32_t insn)
{
    return (uint64_t)a64_w(c, a64_rn(insn)) * a64_w(c, a64_rm(insn));
}

A64_EXEC(smaddl)
{
    a64_set_x(c, a64_rd(insn), a64_x(c, a64_ra(insn)) + product_signed(c, insn));
    return A64_NEXT;
}
A64_EXEC(smsubl)
{
    a64_set_x(c, a64_rd(insn), a64_x(c, a64_ra(insn)) - product_signed(c, insn));
    return A64_NEXT;
}
A64_EXEC(umaddl)
{
    a64_set_x(c, a64_rd(insn), a64_x(c, a64_ra(insn)) + product_unsigned(c, insn));
    return A64_NEXT;
}
A64_EXEC(umsubl)
{
    a64_set_x(c, a64_rd(insn), a64_x(c, a64_ra(insn)) - product_unsigned(c, insn));
    return A64_NEXT;
}

A64_EXEC(smulh)
{
    __int128 p = (__int128)(int64_t)a64_x(c, a64_rn(insn)) * (int64_t)a64_x(c, a64_rm(insn));
    a64_set_x(c, a64_rd(insn), (uint64_t)(p >> 64));
    return A64_NEXT;
}

A64_EXEC(umulh)
{
    unsigned __int128 p = (unsigned __int128)a64_x(c, a64_rn(insn)) * a64_x(c, a64_rm(insn));
    a64_set_x(c, a64_rd(insn), (uint64_t)(p >> 64));
    return A64_NEXT;
}

/* ---- flag manipulation ---- */

A64_EXEC(cfinv)
{
    (void)insn;
    c->flags ^= ARM64_FLAG_NOTC;
    return A64_NEXT;
}

/* Between Arm's result of a floating-point comparison and the alternative (x86-like) one, C6.2 AXFLAG, XAFLAG. */
A64_EXEC(axflag)
{
    uint32_t f = arm64_nzcv(c);
    (void)insn;
    a64_set_flags(c, false, f & (PSTATE_Z | PSTATE_V), (f & PSTATE_C) && !(f & PSTATE_V), false);
    return A64_NEXT;
}

A64_EXEC(xaflag)
{
    uint32_t f = arm64_nzcv(c);
    bool z = f & PSTATE_Z, cf = f & PSTATE_C;
    (void)insn;
    a64_set_flags(c, !cf && !z, z && cf, cf || z, !cf && z);
    return A64_NEXT;
}

A64_EXEC(rmif)
{
    unsigned r = insn >> 15 & 63;
    uint64_t v = a64_x(c, a64_rn(insn));
    uint32_t mask = insn << 28, bits = (uint32_t)(v >> r | v << (-r & 63)) << 28;
    arm64_set_nzcv(c, (arm64_nzcv(c) & ~mask) | (bits & mask));
    return A64_NEXT;
}

/* N, Z and V as of an 8- or 16-bit value in the low bits; C stays. */
static enum a64_next setf(struct arm64_cpu *c, uint32_t insn, unsigned msb)
{
    uint32_t v = a64_w(c, a64_rn(insn));
    a64_set_flags(c, v >> msb & 1, (v & ((2u << msb) - 1)) == 0, !(c->flags & ARM64_FLAG_NOTC),
                  (v >> msb ^ v >> (msb + 1)) & 1);
    return A64_NEXT;
}

A64_EXEC(setf8)
{
    return setf(c, insn, 7);
}
A64_EXEC(setf16)
{
    return setf(c, insn, 15);
}

/* ---- branches ---- */

static enum a64_next branch_if(struct arm64_cpu *c, uint32_t insn, bool taken, unsigned width)
{
    if (!taken)
        return A64_NEXT;
    c->pc += (uint64_t)sext64(insn >> 5, width) << 2;
    return A64_JUMP;
}

A64_EXEC(b)
{
    c->pc += (uint64_t)sext64(insn, 26) << 2;
    return A64_JUMP;
}

A64_EXEC(bl)
{
    c->x[30] = c->pc + 4;
    c->pc += (uint64_t)sext64(insn, 26) << 2;
    return A64_JUMP;
}

A64_EXEC(b_cond)
{
    return branch_if(c, insn, a64_cond(c, insn & 15), 19);
}

static uint64_t tested_register(const struct arm64_cpu *c, uint32_t insn)
{
    uint64_t v = a64_x(c, a64_rd(insn));
    return a64_sf(insn) ? v : (uint32_t)v;
}

A64_EXEC(cbz)
{
    return branch_if(c, insn, tested_register(c, insn) == 0, 19);
}
A64_EXEC(cbnz)
{
    return branch_if(c, insn, tested_register(c, insn) != 0, 19);
}

static bool tested_bit(const struct arm64_cpu *c, uint32_t insn)
{
    return a64_x(c, a64_rd(insn)) >> ((insn >> 26 & 32) | (insn >> 19 & 31)) & 1;
}

A64_EXEC(tbz)
{
    return branch_if(c, insn, !tested_bit(c, insn), 14);
}
A64_EXEC(tbnz)
{
    return branch_if(c, insn, tested_bit(c, insn), 14);
}

A64_EXEC(br)
{
    c->pc = a64_x(c, a64_rn(insn));
    return A64_JUMP;
}

A64_EXEC(blr)
{
    uint64_t target = a64_x(c, a64_rn(insn));
    c->x[30] = c->pc + 4;
    c->pc = target;
    return A64_JUMP;
}

A64_EXEC(ret)
{
    c->pc = a64_x(c, a64_rn(insn));
    return A64_JUMP;
}
