/*
 * Interpreter: floating-point conversions, rounding to integral, scalar compare, select, fused multiply-add, immediate.
 */
#include "jit/interp/fp.h"

/* ---- rounding to integral ---- */

#define BOTH(name, expr)                                                                                               \
    FP_OP(name, expr)                                                                                                  \
    FP_SCALAR(name, name)                                                                                              \
    FP_VECTOR(name, name)

BOTH(frintn, softfp_round_int(fmt, a, SOFTFP_TIEEVEN, false, x))
BOTH(frintp, softfp_round_int(fmt, a, SOFTFP_POSINF, false, x))
BOTH(frintm, softfp_round_int(fmt, a, SOFTFP_NEGINF, false, x))
BOTH(frintz, softfp_round_int(fmt, a, SOFTFP_ZERO, false, x))
BOTH(frinta, softfp_round_int(fmt, a, SOFTFP_TIEAWAY, false, x))
BOTH(frintx, softfp_round_int(fmt, a, softfp_rmode(x), true, x))
BOTH(frinti, softfp_round_int(fmt, a, softfp_rmode(x), false, x))

#define FRINT_N(name, width, rm)                                                                                       \
    FP_OP(name, softfp_round_int_n(fmt, a, rm, width, x))                                                              \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        return fp_map_nm(c, insn, fp_sd(insn), 1, op_##name);                                                          \
    }                                                                                                                  \
    A64_EXEC(name##_v)                                                                                                 \
    {                                                                                                                  \
        return fp_map_nm(c, insn, fp_sd(insn), simd_lanes(insn, fp_sd(insn)), op_##name);                              \
    }

FRINT_N(frint32z, 32, SOFTFP_ZERO)
FRINT_N(frint32x, 32, softfp_rmode(x))
FRINT_N(frint64z, 64, SOFTFP_ZERO)
FRINT_N(frint64x, 64, softfp_rmode(x))

/* ---- to and from integers of the same width, in vector registers ---- */

/* The general-register forms: NAME_g, and NAME_gh for half. */
static enum a64_next to_gpr(struct arm64_cpu *c, uint32_t insn, unsigned fmt, unsigned fbits, bool uns,
                            enum softfp_round rm)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    uint64_t v = softfp_to_int(fmt, c->v[a64_rn(insn)].d[0], fbits, a64_sf(insn) ? 64 : 32, uns, rm, &x);
    c->fpsr |= x.exc;
    a64_set_x(c, a64_rd(insn), v);
    return A64_NEXT;
}

static enum a64_next from_gpr(struct arm64_cpu *c, uint32_t insn, unsigned fmt, unsigned fbits, bool uns)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    uint64_t v = a64_x(c, a64_rn(insn));
    if (!a64_sf(insn))
        v = uns ? (uint32_t)v : (uint64_t)sext64(v, 32);
    v = softfp_from_int(fmt, v, uns, fbits, &x);
    c->fpsr |= x.exc;
    simd_set_scalar(c, insn, v);
    return A64_NEXT;
}

#define TO_INT(name, uns, rm)                                                                                          \
    BOTH(name, softfp_to_int(fmt, a, 0, 8u << fmt, uns, rm, x))                                                        \
    A64_EXEC(name##_g)                                                                                                 \
    {                                                                                                                  \
        return to_gpr(c, insn, fp_sd(insn), 0, uns, rm);                                                               \
    }                                                                                                                  \
    A64_EXEC(name##_gh)                                                                                                \
    {                                                                                                                  \
        return to_gpr(c, insn, SOFTFP_H, 0, uns, rm);                                                                  \
    }

TO_INT(fcvtns, false, SOFTFP_TIEEVEN)
TO_INT(fcvtnu, true, SOFTFP_TIEEVEN)
TO_INT(fcvtps, false, SOFTFP_POSINF)
TO_INT(fcvtpu, true, SOFTFP_POSINF)
TO_INT(fcvtms, false, SOFTFP_NEGINF)
TO_INT(fcvtmu, true, SOFTFP_NEGINF)
TO_INT(fcvtzs, false, SOFTFP_ZERO)
TO_INT(fcvtzu, true, SOFTFP_ZERO)
TO_INT(fcvtas, false, SOFTFP_TIEAWAY)
TO_INT(fcvtau, true, SOFTFP_TIEAWAY)

BOTH(scvtf, softfp_from_int(fmt, (uint64_t)sext64(a, 8u << fmt), false, 0, x))
BOTH(ucvtf, softfp_from_int(fmt, a, true, 0, x))

#define FROM_GPR(name, uns)                                                                                            \
    A64_EXEC(name##_g)                                                                                                 \
    {                                                                                                                  \
        return from_gpr(c, insn, fp_sd(insn), 0, uns);                                                                 \
    }                                                                                                                  \
    A64_EXEC(name##_gh)                                                                                                \
    {                                                                                                                  \
        return from_gpr(c, insn, SOFTFP_H, 0, uns);                                                                    \
    }

FROM_GPR(scvtf, false)
FROM_GPR(ucvtf, true)

/* ---- fixed point: general registers (bits 15:10 are 64 - fraction bits), vectors (immh:immb as a right shift) ---- */

static unsigned gpr_fbits(uint32_t insn)
{
    return 64 - bits32(insn, 15, 10);
}

/* fbits travels as operand b. */
FP_OP(fixed_s, softfp_to_int(fmt, a, (unsigned)b, 8u << fmt, false, SOFTFP_ZERO, x))
FP_OP(fixed_u, softfp_to_int(fmt, a, (unsigned)b, 8u << fmt, true, SOFTFP_ZERO, x))
FP_OP(float_s, softfp_from_int(fmt, (uint64_t)sext64(a, 8u << fmt), false, (unsigned)b, x))
FP_OP(float_u, softfp_from_int(fmt, a, true, (unsigned)b, x))

static enum a64_next fixed(struct arm64_cpu *c, uint32_t insn, bool scalar, fp_op op)
{
    unsigned fmt = a64_simd_shift_size(insn);
    arm64_vreg fbits = {0};
    for (unsigned i = 0; i < 16u >> fmt; i++)
        lane_set(&fbits, fmt, i, a64_simd_shift_right(insn));
    return fp_map(c, insn, fmt, scalar ? 1 : simd_lanes(insn, fmt), &c->v[a64_rn(insn)], &fbits, op);
}

#define FIXED(name, opname, gpr)                                                                                       \
    A64_EXEC(name##_gx)                                                                                                \
    {                                                                                                                  \
        unsigned fmt = fp_sd(insn);                                                                                    \
        return gpr;                                                                                                    \
    }                                                                                                                  \
    A64_EXEC(name##_gxh)                                                                                               \
    {                                                                                                                  \
        unsigned fmt = SOFTFP_H;                                                                                       \
        return gpr;                                                                                                    \
    }                                                                                                                  \
    A64_EXEC(name##_iv)                                                                                                \
    {                                                                                                                  \
        return fixed(c, insn, false, op_##opname);                                                                     \
    }                                                                                                                  \
    A64_EXEC(name##_ivh)                                                                                               \
    {                                                                                                                  \
        return fixed(c, insn, false, op_##opname);                                                                     \
    }                                                                                                                  \
    A64_EXEC(name##_is)                                                                                                \
    {                                                                                                                  \
        return fixed(c, insn, true, op_##opname);                                                                      \
    }                                                                                                                  \
    A64_EXEC(name##_ish)                                                                                               \
    {                                                                                                                  \
        return fixed(c, insn, true, op_##opname);                                                                      \
    }

FIXED(fcvtzs, fixed_s, to_gpr(c, insn, fmt, gpr_fbits(insn), false, SOFTFP_ZERO))
FIXED(fcvtzu, fixed_u, to_gpr(c, insn, fmt, gpr_fbits(insn), true, SOFTFP_ZERO))
FIXED(scvtf, float_s, from_gpr(c, insn, fmt, gpr_fbits(insn), false))
FIXED(ucvtf, float_u, from_gpr(c, insn, fmt, gpr_fbits(insn), true))

A64_EXEC(fjcvtzs)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    bool z;
    a64_set_x(c, a64_rd(insn), softfp_to_int32_js(c->v[a64_rn(insn)].d[0], &z, &x));
    c->fpsr |= x.exc;
    a64_set_flags(c, false, z, false, false);
    return A64_NEXT;
}

/* ---- between formats ---- */

static enum a64_next convert(struct arm64_cpu *c, uint32_t insn, unsigned from, unsigned to)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    simd_set_scalar(c, insn, softfp_convert(from, to, c->v[a64_rn(insn)].d[0], softfp_rmode(&x), &x));
    c->fpsr |= x.exc;
    return A64_NEXT;
}

#define CONVERT(name, from, to)                                                                                        \
    A64_EXEC(name)                                                                                                     \
    {                                                                                                                  \
        return convert(c, insn, SOFTFP_##from, SOFTFP_##to);                                                           \
    }

CONVERT(fcvt_h2s, H, S)
CONVERT(fcvt_h2d, H, D)
CONVERT(fcvt_s2h, S, H)
CONVERT(fcvt_s2d, S, D)
CONVERT(fcvt_d2h, D, H)
CONVERT(fcvt_d2s, D, S)

A64_EXEC(fcvtl_v)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    unsigned to = fp_sd(insn);
    arm64_vreg n = simd_half(&c->v[a64_rn(insn)], simd_q(insn)), r = {0};
    for (unsigned i = 0; i < 16u >> to; i++)
        lane_set(&r, to, i, softfp_convert(to - 1, to, lane_get(&n, to - 1, i), softfp_rmode(&x), &x));
    c->fpsr |= x.exc;
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

static uint64_t narrow(struct arm64_cpu *c, uint32_t insn, unsigned lanes, bool odd)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    unsigned from = fp_sd(insn);
    arm64_vreg r = {0};
    for (unsigned i = 0; i < lanes; i++)
        lane_set(&r, from - 1, i,
                 softfp_convert(from, from - 1, lane_get(&c->v[a64_rn(insn)], from, i),
                                odd ? SOFTFP_ODD : softfp_rmode(&x), &x));
    c->fpsr |= x.exc;
    return r.d[0];
}

A64_EXEC(fcvtn_v)
{
    simd_set_narrow(c, insn, narrow(c, insn, 16u >> fp_sd(insn), false));
    return A64_NEXT;
}

A64_EXEC(fcvtxn_v)
{
    simd_set_narrow(c, insn, narrow(c, insn, 2, true));
    return A64_NEXT;
}

A64_EXEC(fcvtxn_s)
{
    simd_set_scalar(c, insn, narrow(c, insn, 1, true));
    return A64_NEXT;
}

/* ---- compare and select ---- */

static void compare(struct arm64_cpu *c, uint32_t insn, unsigned fmt, bool zero, bool signal_nans)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    unsigned nzcv = softfp_compare(fmt, c->v[a64_rn(insn)].d[0], zero ? 0 : c->v[a64_rm(insn)].d[0], signal_nans, &x);
    c->fpsr |= x.exc;
    arm64_set_nzcv(c, nzcv << 28);
}

static enum a64_next cond_compare(struct arm64_cpu *c, uint32_t insn, unsigned fmt, bool signal_nans)
{
    if (a64_cond(c, bits32(insn, 15, 12)))
        compare(c, insn, fmt, false, signal_nans);
    else
        arm64_set_nzcv(c, insn << 28);
    return A64_NEXT;
}

static enum a64_next select(struct arm64_cpu *c, uint32_t insn, unsigned fmt)
{
    unsigned from = a64_cond(c, bits32(insn, 15, 12)) ? a64_rn(insn) : a64_rm(insn);
    simd_set_scalar(c, insn, lane_get(&c->v[from], fmt, 0));
    return A64_NEXT;
}

/* Rows NAME_s and NAME_h from one statement that uses fmt. */
#define S_AND_H(name, stmt)                                                                                            \
    A64_EXEC(name##_s)                                                                                                 \
    {                                                                                                                  \
        unsigned fmt = fp_sd(insn);                                                                                    \
        stmt;                                                                                                          \
    }                                                                                                                  \
    A64_EXEC(name##_h)                                                                                                 \
    {                                                                                                                  \
        unsigned fmt = SOFTFP_H;                                                                                       \
        stmt;                                                                                                          \
    }

S_AND_H(fcmp, compare(c, insn, fmt, false, false); return A64_NEXT)
S_AND_H(fcmpe, compare(c, insn, fmt, false, true); return A64_NEXT)
S_AND_H(fcmp0, compare(c, insn, fmt, true, false); return A64_NEXT)
S_AND_H(fcmpe0, compare(c, insn, fmt, true, true); return A64_NEXT)
S_AND_H(fccmp, return cond_compare(c, insn, fmt, false))
S_AND_H(fccmpe, return cond_compare(c, insn, fmt, true))
S_AND_H(fcsel, return select(c, insn, fmt))
S_AND_H(fmov_imm, simd_set_scalar(c, insn, a64_fp_imm(fmt, bits32(insn, 20, 13))); return A64_NEXT)

/* ---- fused multiply-add: Va + Vn * Vm with signs ---- */

static enum a64_next muladd(struct arm64_cpu *c, uint32_t insn, unsigned fmt, bool neg_a, bool neg_n)
{
    struct softfp_ctx x = {.fpcr = c->fpcr};
    uint64_t a = lane_get(&c->v[a64_ra(insn)], fmt, 0), n = lane_get(&c->v[a64_rn(insn)], fmt, 0);
    uint64_t m = lane_get(&c->v[a64_rm(insn)], fmt, 0);
    simd_set_scalar(c, insn, softfp_muladd(fmt, neg_a ? softfp_neg(fmt, a) : a, neg_n ? softfp_neg(fmt, n) : n, m, &x));
    c->fpsr |= x.exc;
    return A64_NEXT;
}

S_AND_H(fmadd, return muladd(c, insn, fmt, false, false))
S_AND_H(fmsub, return muladd(c, insn, fmt, false, true))
S_AND_H(fnmadd, return muladd(c, insn, fmt, true, true))
S_AND_H(fnmsub, return muladd(c, insn, fmt, true, false))
