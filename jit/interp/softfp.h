/*
 * Exact A64 floating point on half, single and double, as the Arm ARM's shared pseudocode defines it (J1, FPAdd,
 * FPMulAdd, FPRound, FPToFixed ...): NaN propagation and default NaN, FPCR.RMode, FZ, FZ16 and AHP, tininess before
 * rounding, cumulative flags. FPCR.AH and trapped exceptions do not exist here.
 *
 * All functions are pure: values are bit patterns in the low bits of a uint64_t (higher bits are ignored on entry and
 * zero on return), FPCR comes from the context, and flags are added to the context's `exc` in FPSR positions.
 */
#ifndef PIPIT_JIT_INTERP_SOFTFP_H
#define PIPIT_JIT_INTERP_SOFTFP_H

#include <stdbool.h>
#include <stdint.h>

#define FPSR_IOC 0x1u
#define FPSR_DZC 0x2u
#define FPSR_OFC 0x4u
#define FPSR_UFC 0x8u
#define FPSR_IXC 0x10u
#define FPSR_IDC 0x80u
#define FPSR_QC 0x8000000u

#define FPCR_FZ16 0x80000u
#define FPCR_RMODE_SHIFT 22
#define FPCR_FZ 0x1000000u
#define FPCR_DN 0x2000000u
#define FPCR_AHP 0x4000000u

/* Formats; the value is log2 of the size in bytes. */
enum softfp_fmt { SOFTFP_H = 1, SOFTFP_S = 2, SOFTFP_D = 3 };

/* The first four are FPCR.RMode. */
enum softfp_round {
    SOFTFP_TIEEVEN,
    SOFTFP_POSINF,
    SOFTFP_NEGINF,
    SOFTFP_ZERO,
    SOFTFP_TIEAWAY,
    SOFTFP_ODD,
};

struct softfp_ctx {
    uint32_t fpcr;
    uint32_t exc; /* FPSR bits, accumulated */
};

static inline enum softfp_round softfp_rmode(const struct softfp_ctx *ctx)
{
    return (enum softfp_round)(ctx->fpcr >> FPCR_RMODE_SHIFT & 3);
}

static inline uint64_t softfp_sign_bit(unsigned fmt)
{
    return UINT64_C(1) << ((8u << fmt) - 1);
}

static inline uint64_t softfp_neg(unsigned fmt, uint64_t a)
{
    return a ^ softfp_sign_bit(fmt);
}

static inline uint64_t softfp_abs(unsigned fmt, uint64_t a)
{
    return a & (softfp_sign_bit(fmt) - 1);
}

uint64_t softfp_add(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_sub(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_mul(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_mulx(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_div(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_max(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_min(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_maxnum(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_minnum(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_sqrt(unsigned fmt, uint64_t a, struct softfp_ctx *ctx);
/* addend + a * b, rounded once. */
uint64_t softfp_muladd(unsigned fmt, uint64_t addend, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
/* The addend is single, a and b are half (FMLAL). */
uint64_t softfp_muladd_half(uint64_t addend, uint64_t a, uint64_t b, struct softfp_ctx *ctx);

/* Newton steps 2 - a * b and (3 - a * b) / 2, and the table estimates. */
uint64_t softfp_recip_step(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_rsqrt_step(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
uint64_t softfp_recip_estimate(unsigned fmt, uint64_t a, struct softfp_ctx *ctx);
uint64_t softfp_rsqrt_estimate(unsigned fmt, uint64_t a, struct softfp_ctx *ctx);
uint64_t softfp_recip_exponent(unsigned fmt, uint64_t a, struct softfp_ctx *ctx);
uint32_t softfp_recip_estimate_u32(uint32_t a);
uint32_t softfp_rsqrt_estimate_u32(uint32_t a);

/* NZCV in bits 3..0. */
unsigned softfp_compare(unsigned fmt, uint64_t a, uint64_t b, bool signal_nans, struct softfp_ctx *ctx);
bool softfp_eq(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
bool softfp_ge(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);
bool softfp_gt(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx);

/* To an integral value in the same format; `exact` sets IXC where the value changes (FRINTX). */
uint64_t softfp_round_int(unsigned fmt, uint64_t a, enum softfp_round rm, bool exact, struct softfp_ctx *ctx);
/* FRINT32, FRINT64: as above with IXC, and the most negative integer of `width` bits where it does not fit. */
uint64_t softfp_round_int_n(unsigned fmt, uint64_t a, enum softfp_round rm, unsigned width, struct softfp_ctx *ctx);
/* a * 2^fbits to an integer of `width` bits (16, 32, 64), saturating; zero-extended. */
uint64_t softfp_to_int(unsigned fmt, uint64_t a, unsigned fbits, unsigned width, bool uns, enum softfp_round rm,
                       struct softfp_ctx *ctx);
/* FJCVTZS: modulo 2^32; *z is PSTATE.Z. */
uint32_t softfp_to_int32_js(uint64_t a, bool *z, struct softfp_ctx *ctx);
/* v / 2^fbits; v is sign-extended to 64 bits unless uns. Rounds by FPCR. */
uint64_t softfp_from_int(unsigned fmt, uint64_t v, bool uns, unsigned fbits, struct softfp_ctx *ctx);
uint64_t softfp_convert(unsigned from, unsigned to, uint64_t a, enum softfp_round rm, struct softfp_ctx *ctx);

#endif
