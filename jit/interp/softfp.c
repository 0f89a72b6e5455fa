/*
 * The soft-float core. Every operation unpacks to a struct num (a normalised 64-bit significand), computes with
 * 128-bit integers so that nothing but a sticky bit is lost, and rounds once in round_pack(). What differs between the
 * three formats is only `formats`.
 */
#include "jit/interp/softfp.h"

#include "vmm/base/util.h"

typedef unsigned __int128 u128;

static const struct format {
    uint8_t frac, exp; /* bits */
    int16_t bias;
} formats[4] = {
    [SOFTFP_H] = {10, 5, 15},
    [SOFTFP_S] = {23, 8, 127},
    [SOFTFP_D] = {52, 11, 1023},
};

enum kind { ZERO, FINITE, INF, QNAN, SNAN };

/* FINITE: frac * 2^(exp - 63), bit 63 of frac is set. */
struct num {
    enum kind kind;
    bool sign;
    int exp;
    uint64_t frac;
};

static uint64_t pack(unsigned fmt, bool sign, uint64_t magnitude)
{
    return (sign ? softfp_sign_bit(fmt) : 0) | magnitude;
}

static uint64_t inf_bits(unsigned fmt)
{
    return (BIT64(formats[fmt].exp) - 1) << formats[fmt].frac;
}

static uint64_t quiet_bit(unsigned fmt)
{
    return BIT64(formats[fmt].frac - 1);
}

static uint64_t default_nan(unsigned fmt)
{
    return inf_bits(fmt) | quiet_bit(fmt);
}

static uint64_t invalid(unsigned fmt, struct softfp_ctx *ctx)
{
    ctx->exc |= FPSR_IOC;
    return default_nan(fmt);
}

static bool is_nan(struct num n)
{
    return n.kind >= QNAN;
}

static bool flushes(unsigned fmt, const struct softfp_ctx *ctx)
{
    return ctx->fpcr & (fmt == SOFTFP_H ? FPCR_FZ16 : FPCR_FZ);
}

/* FPUnpackBase. Conversions (FPUnpackCV) clear FZ16 in the context they pass; AHP is set in it only by them. */
static struct num unpack_base(unsigned fmt, uint64_t v, bool alt_half, struct softfp_ctx *ctx)
{
    const struct format *f = &formats[fmt];
    uint64_t frac = v & (BIT64(f->frac) - 1), e = v >> f->frac & (BIT64(f->exp) - 1);
    struct num n = {.kind = FINITE, .sign = v & softfp_sign_bit(fmt)};

    if (e == 0) {
        if (frac && flushes(fmt, ctx)) {
            if (fmt != SOFTFP_H)
                ctx->exc |= FPSR_IDC;
            frac = 0;
        }
        if (!frac) {
            n.kind = ZERO;
        } else {
            int lz = __builtin_clzll(frac);
            n.frac = frac << lz;
            n.exp = 1 - f->bias - f->frac + 63 - lz;
        }
    } else if (e == BIT64(f->exp) - 1 && !alt_half) {
        n.kind = !frac ? INF : frac & quiet_bit(fmt) ? QNAN : SNAN;
    } else {
        n.frac = (frac | BIT64(f->frac)) << (63 - f->frac);
        n.exp = (int)e - f->bias;
    }
    return n;
}

static struct num unpack(unsigned fmt, uint64_t v, struct softfp_ctx *ctx)
{
    return unpack_base(fmt, v, false, ctx);
}

/* Should a magnitude with last kept bit `odd`, dropped bits `rem` and their half `half` be incremented? */
static bool rounds_up(enum softfp_round rm, bool sign, bool odd, uint64_t rem, uint64_t half)
{
    switch (rm) {
    case SOFTFP_TIEEVEN: return rem > half || (rem == half && odd);
    case SOFTFP_TIEAWAY: return rem >= half;
    case SOFTFP_POSINF: return rem && !sign;
    case SOFTFP_NEGINF: return rem && sign;
    case SOFTFP_ODD: return rem && !odd;
    default: return false;
    }
}

static bool overflows_to_inf(enum softfp_round rm, bool sign)
{
    switch (rm) {
    case SOFTFP_POSINF: return !sign;
    case SOFTFP_NEGINF: return sign;
    case SOFTFP_ZERO:
    case SOFTFP_ODD: return false;
    default: return true;
    }
}

/* Drops the low `shift` bits of frac, 1..; *rem and *half say what was lost. */
static uint64_t split(uint64_t frac, int shift, uint64_t *rem, uint64_t *half)
{
    if (shift > 64) {
        frac = 1; /* less than half */
        shift = 64;
    }
    *half = BIT64(shift - 1);
    *rem = shift == 64 ? frac : frac & (BIT64(shift) - 1);
    return shift == 64 ? 0 : frac >> shift;
}

/* FPRoundBase: frac * 2^(exp - 63) with bit 63 of frac set and bit 0 sticky. */
static uint64_t round_pack_base(unsigned fmt, bool sign, int exp, uint64_t frac, enum softfp_round rm, bool alt_half,
                                struct softfp_ctx *ctx)
{
    const struct format *f = &formats[fmt];
    int biased = exp + f->bias;
    int shift = 63 - f->frac;

    if (biased < 1) {
        if (flushes(fmt, ctx)) {
            ctx->exc |= FPSR_UFC;
            return pack(fmt, sign, 0);
        }
        shift += 1 - biased;
        biased = 0;
    }
    uint64_t rem, half, mant = split(frac, shift, &rem, &half);
    if (rem && !biased)
        ctx->exc |= FPSR_UFC; /* tiny before rounding, and inexact */
    mant += rounds_up(rm, sign, mant & 1, rem, half);
    /* A carry out of the fraction counts the exponent up by itself. */
    uint64_t out = mant + ((uint64_t)(biased ? biased - 1 : 0) << f->frac);
    uint64_t e = out >> f->frac;
    if (alt_half) {
        if (e >= BIT64(f->exp)) {
            ctx->exc |= FPSR_IOC;
            return pack(fmt, sign, softfp_sign_bit(fmt) - 1);
        }
    } else if (e >= BIT64(f->exp) - 1) {
        ctx->exc |= FPSR_OFC | FPSR_IXC;
        return pack(fmt, sign, inf_bits(fmt) - !overflows_to_inf(rm, sign));
    }
    if (rem)
        ctx->exc |= FPSR_IXC;
    return pack(fmt, sign, out);
}

static uint64_t round_pack(unsigned fmt, bool sign, int exp, uint64_t frac, struct softfp_ctx *ctx)
{
    return round_pack_base(fmt, sign, exp, frac, softfp_rmode(ctx), false, ctx);
}

/* frac * 2^(exp - 127), any frac but 0. */
static uint64_t round_pack_wide(unsigned fmt, bool sign, int exp, u128 frac, struct softfp_ctx *ctx)
{
    uint64_t hi = (uint64_t)(frac >> 64);
    int lz = hi ? __builtin_clzll(hi) : 64 + __builtin_clzll((uint64_t)frac);
    frac <<= lz;
    return round_pack(fmt, sign, exp - lz, (uint64_t)(frac >> 64) | ((uint64_t)frac != 0), ctx);
}

/* ---- NaNs ---- */

static uint64_t process_nan(unsigned fmt, struct num n, uint64_t v, struct softfp_ctx *ctx)
{
    if (n.kind == SNAN) {
        ctx->exc |= FPSR_IOC;
        v |= quiet_bit(fmt);
    }
    return ctx->fpcr & FPCR_DN ? default_nan(fmt) : v & (softfp_sign_bit(fmt) * 2 - 1);
}

/* FPProcessNaNs: signalling ones first, then in operand order. */
static bool process_nans(unsigned fmt, const struct num *n, const uint64_t *v, unsigned count, uint64_t *out,
                         struct softfp_ctx *ctx)
{
    for (enum kind k = SNAN; k >= QNAN; k--) {
        for (unsigned i = 0; i < count; i++) {
            if (n[i].kind == k) {
                *out = process_nan(fmt, n[i], v[i], ctx);
                return true;
            }
        }
    }
    return false;
}

/* Unpacks two operands; true where a NaN decides the result. */
static bool unpack_two(unsigned fmt, uint64_t a, uint64_t b, struct num n[2], uint64_t *out, struct softfp_ctx *ctx)
{
    uint64_t v[2] = {a, b};
    n[0] = unpack(fmt, a, ctx);
    n[1] = unpack(fmt, b, ctx);
    return process_nans(fmt, n, v, 2, out, ctx);
}

/* ---- addition and multiplication ---- */

/* Exact zero sums are negative only when rounding down. */
static uint64_t zero_sum(unsigned fmt, bool sa, bool sb, const struct softfp_ctx *ctx)
{
    return pack(fmt, sa == sb ? sa : softfp_rmode(ctx) == SOFTFP_NEGINF, 0);
}

static u128 shift_right_sticky(u128 v, int n)
{
    if (n == 0)
        return v;
    if (n > 127)
        return v != 0;
    return v >> n | ((v << (128 - n)) != 0);
}

/*
 * (-1)^sign * frac * 2^(exp - 127) twice, both normalised to bit 127 with at least 22 zero bits below: the shift by one
 * makes room for the carry, and a difference of close exponents stays exact. The sum is scaled by 2^scale.
 */
struct wide {
    bool sign;
    int exp;
    u128 frac;
};

static uint64_t add_wide(unsigned fmt, struct wide a, struct wide b, int scale, struct softfp_ctx *ctx)
{
    if (a.exp < b.exp) {
        struct wide t = a;
        a = b;
        b = t;
    }
    u128 fa = a.frac >> 1, fb = shift_right_sticky(b.frac >> 1, a.exp - b.exp), sum;
    bool sign = a.sign;
    if (a.sign == b.sign) {
        sum = fa + fb;
    } else if (fa >= fb) {
        sum = fa - fb;
    } else {
        sum = fb - fa;
        sign = b.sign;
    }
    if (!sum)
        return pack(fmt, softfp_rmode(ctx) == SOFTFP_NEGINF, 0);
    return round_pack_wide(fmt, sign, a.exp + 1 + scale, sum, ctx);
}

static struct wide widen(struct num n)
{
    return (struct wide){n.sign, n.exp, (u128)n.frac << 64};
}

static struct wide product(struct num a, struct num b)
{
    struct wide p = {a.sign != b.sign, a.exp + b.exp + 1, (u128)a.frac * b.frac};
    if (!(p.frac >> 127)) {
        p.frac <<= 1;
        p.exp--;
    }
    return p;
}

static uint64_t add_nums(unsigned fmt, struct num a, struct num b, struct softfp_ctx *ctx)
{
    if (a.kind == INF || b.kind == INF) {
        if (a.kind == b.kind && a.sign != b.sign)
            return invalid(fmt, ctx);
        return pack(fmt, a.kind == INF ? a.sign : b.sign, inf_bits(fmt));
    }
    if (a.kind == ZERO && b.kind == ZERO)
        return zero_sum(fmt, a.sign, b.sign, ctx);
    if (a.kind == ZERO)
        return round_pack(fmt, b.sign, b.exp, b.frac, ctx);
    if (b.kind == ZERO)
        return round_pack(fmt, a.sign, a.exp, a.frac, ctx);
    return add_wide(fmt, widen(a), widen(b), 0, ctx);
}

uint64_t softfp_add(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    struct num n[2];
    uint64_t out;
    if (unpack_two(fmt, a, b, n, &out, ctx))
        return out;
    return add_nums(fmt, n[0], n[1], ctx);
}

uint64_t softfp_sub(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    struct num n[2];
    uint64_t out;
    if (unpack_two(fmt, a, b, n, &out, ctx))
        return out;
    n[1].sign = !n[1].sign;
    return add_nums(fmt, n[0], n[1], ctx);
}

/* `x`: FMULX, where infinity times zero is two. */
static uint64_t mul(unsigned fmt, uint64_t a, uint64_t b, bool x, struct softfp_ctx *ctx)
{
    struct num n[2];
    uint64_t out;
    if (unpack_two(fmt, a, b, n, &out, ctx))
        return out;
    bool sign = n[0].sign != n[1].sign;
    bool inf = n[0].kind == INF || n[1].kind == INF, zero = n[0].kind == ZERO || n[1].kind == ZERO;
    if (inf && zero)
        return x ? pack(fmt, sign, (uint64_t)(formats[fmt].bias + 1) << formats[fmt].frac) : invalid(fmt, ctx);
    if (inf)
        return pack(fmt, sign, inf_bits(fmt));
    if (zero)
        return pack(fmt, sign, 0);
    struct wide p = product(n[0], n[1]);
    return round_pack_wide(fmt, p.sign, p.exp, p.frac, ctx);
}

uint64_t softfp_mul(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return mul(fmt, a, b, false, ctx);
}

uint64_t softfp_mulx(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return mul(fmt, a, b, true, ctx);
}

uint64_t softfp_muladd(unsigned fmt, uint64_t addend, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    uint64_t v[3] = {addend, a, b}, out;
    struct num n[3];
    for (unsigned i = 0; i < 3; i++)
        n[i] = unpack(fmt, v[i], ctx);
    bool inf = n[1].kind == INF || n[2].kind == INF, zero = n[1].kind == ZERO || n[2].kind == ZERO;
    bool sign = n[1].sign != n[2].sign;

    bool nan = process_nans(fmt, n, v, 3, &out, ctx);
    if (n[0].kind == QNAN && inf && zero)
        return invalid(fmt, ctx);
    if (nan)
        return out;
    if ((inf && zero) || (n[0].kind == INF && inf && n[0].sign != sign))
        return invalid(fmt, ctx);
    if (n[0].kind == INF || inf)
        return pack(fmt, inf ? sign : n[0].sign, inf_bits(fmt));
    if (zero) {
        if (n[0].kind == ZERO)
            return zero_sum(fmt, n[0].sign, sign, ctx);
        return round_pack(fmt, n[0].sign, n[0].exp, n[0].frac, ctx);
    }
    struct wide p = product(n[1], n[2]);
    if (n[0].kind == ZERO)
        return round_pack_wide(fmt, p.sign, p.exp, p.frac, ctx);
    return add_wide(fmt, widen(n[0]), p, 0, ctx);
}

/* Half to single without rounding, quieting or flags: each half is a normal single. */
static uint64_t half_to_single_exact(uint64_t v, const struct softfp_ctx *ctx)
{
    struct softfp_ctx quiet = {.fpcr = ctx->fpcr & FPCR_FZ16};
    struct num n = unpack(SOFTFP_H, v, &quiet);
    switch (n.kind) {
    case ZERO: return pack(SOFTFP_S, n.sign, 0);
    case FINITE: quiet.fpcr = 0; return round_pack(SOFTFP_S, n.sign, n.exp, n.frac, &quiet);
    default: return pack(SOFTFP_S, n.sign, inf_bits(SOFTFP_S) | (v & 0x3ff) << 13);
    }
}

uint64_t softfp_muladd_half(uint64_t addend, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return softfp_muladd(SOFTFP_S, addend, half_to_single_exact(a, ctx), half_to_single_exact(b, ctx), ctx);
}

/* ---- division and roots ---- */

uint64_t softfp_div(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    struct num n[2];
    uint64_t out;
    if (unpack_two(fmt, a, b, n, &out, ctx))
        return out;
    bool sign = n[0].sign != n[1].sign;
    if (n[0].kind == n[1].kind && n[0].kind != FINITE)
        return invalid(fmt, ctx);
    if (n[0].kind == INF || n[1].kind == ZERO) {
        if (n[0].kind != INF)
            ctx->exc |= FPSR_DZC;
        return pack(fmt, sign, inf_bits(fmt));
    }
    if (n[0].kind == ZERO || n[1].kind == INF)
        return pack(fmt, sign, 0);
    bool less = n[0].frac < n[1].frac;
    u128 num = (u128)n[0].frac << (63 + less);
    uint64_t q = (uint64_t)(num / n[1].frac);
    q |= (u128)q * n[1].frac != num;
    return round_pack(fmt, sign, n[0].exp - n[1].exp - less, q, ctx);
}

/* Floor of the square root; v >= 2^126. */
static uint64_t isqrt(u128 v)
{
    uint64_t r = 0;
    for (int i = 63; i >= 0; i--) {
        uint64_t t = r | BIT64(i);
        if ((u128)t * t <= v)
            r = t;
    }
    return r;
}

uint64_t softfp_sqrt(unsigned fmt, uint64_t a, struct softfp_ctx *ctx)
{
    struct num n = unpack(fmt, a, ctx);
    if (is_nan(n))
        return process_nan(fmt, n, a, ctx);
    if (n.kind == ZERO)
        return pack(fmt, n.sign, 0);
    if (n.sign)
        return invalid(fmt, ctx);
    if (n.kind == INF)
        return inf_bits(fmt);
    u128 v = (u128)n.frac << (63 + (n.exp & 1));
    uint64_t r = isqrt(v);
    r |= (u128)r * r != v;
    return round_pack(fmt, false, n.exp >> 1, r, ctx);
}

/* ---- comparison ---- */

/* Neither is a NaN: negative, zero or positive as a is less, equal, greater. */
static int order(struct num a, struct num b)
{
    int m;
    if (a.kind == ZERO && b.kind == ZERO)
        return 0;
    if (a.kind != ZERO && b.kind != ZERO && a.sign != b.sign)
        return a.sign ? -1 : 1;
    if (a.kind == ZERO)
        return b.sign ? 1 : -1;
    if (b.kind == ZERO)
        return a.sign ? -1 : 1;
    if (a.kind != b.kind)
        m = a.kind == INF ? 1 : -1;
    else if (a.kind == INF)
        m = 0;
    else if (a.exp != b.exp)
        m = a.exp > b.exp ? 1 : -1;
    else
        m = (a.frac > b.frac) - (a.frac < b.frac);
    return a.sign ? -m : m;
}

#define UNORDERED 2

static int compare(unsigned fmt, uint64_t a, uint64_t b, bool signal_nans, struct softfp_ctx *ctx)
{
    struct num x = unpack(fmt, a, ctx), y = unpack(fmt, b, ctx);
    if (is_nan(x) || is_nan(y)) {
        if (signal_nans || x.kind == SNAN || y.kind == SNAN)
            ctx->exc |= FPSR_IOC;
        return UNORDERED;
    }
    return order(x, y);
}

unsigned softfp_compare(unsigned fmt, uint64_t a, uint64_t b, bool signal_nans, struct softfp_ctx *ctx)
{
    switch (compare(fmt, a, b, signal_nans, ctx)) {
    case -1: return 8;
    case 0: return 6;
    case 1: return 2;
    default: return 3;
    }
}

bool softfp_eq(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return compare(fmt, a, b, false, ctx) == 0;
}

bool softfp_ge(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    int r = compare(fmt, a, b, true, ctx);
    return r == 0 || r == 1;
}

bool softfp_gt(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return compare(fmt, a, b, true, ctx) == 1;
}

static uint64_t max_min(unsigned fmt, uint64_t a, uint64_t b, bool min, struct softfp_ctx *ctx)
{
    struct num n[2], r;
    uint64_t out;
    if (unpack_two(fmt, a, b, n, &out, ctx))
        return out;
    if (n[0].kind == ZERO && n[1].kind == ZERO)
        return pack(fmt, min ? n[0].sign || n[1].sign : n[0].sign && n[1].sign, 0);
    int o = order(n[0], n[1]);
    r = (min ? o < 0 : o > 0) ? n[0] : n[1];
    if (r.kind == ZERO)
        return pack(fmt, r.sign, 0);
    if (r.kind == INF)
        return pack(fmt, r.sign, inf_bits(fmt));
    return round_pack(fmt, r.sign, r.exp, r.frac, ctx);
}

uint64_t softfp_max(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return max_min(fmt, a, b, false, ctx);
}

uint64_t softfp_min(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return max_min(fmt, a, b, true, ctx);
}

/* A quiet NaN on one side gives way to the number on the other. */
static uint64_t max_min_num(unsigned fmt, uint64_t a, uint64_t b, bool min, struct softfp_ctx *ctx)
{
    struct num x = unpack(fmt, a, ctx), y = unpack(fmt, b, ctx);
    if (x.kind == QNAN && y.kind != QNAN)
        a = pack(fmt, !min, inf_bits(fmt));
    else if (x.kind != QNAN && y.kind == QNAN)
        b = pack(fmt, !min, inf_bits(fmt));
    return max_min(fmt, a, b, min, ctx);
}

uint64_t softfp_maxnum(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return max_min_num(fmt, a, b, false, ctx);
}

uint64_t softfp_minnum(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return max_min_num(fmt, a, b, true, ctx);
}

/* ---- reciprocals ---- */

/* (constant - a * b) * 2^scale; infinity times zero counts as zero. */
static uint64_t step(unsigned fmt, uint64_t a, uint64_t b, struct num constant, int scale, struct softfp_ctx *ctx)
{
    struct num n[2];
    uint64_t out;
    if (unpack_two(fmt, softfp_neg(fmt, a), b, n, &out, ctx))
        return out;
    bool inf = n[0].kind == INF || n[1].kind == INF, zero = n[0].kind == ZERO || n[1].kind == ZERO;
    if (zero)
        return round_pack(fmt, false, constant.exp + scale, constant.frac, ctx);
    if (inf)
        return pack(fmt, n[0].sign != n[1].sign, inf_bits(fmt));
    return add_wide(fmt, widen(constant), product(n[0], n[1]), scale, ctx);
}

uint64_t softfp_recip_step(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return step(fmt, a, b, (struct num){FINITE, false, 1, BIT64(63)}, 0, ctx);
}

uint64_t softfp_rsqrt_step(unsigned fmt, uint64_t a, uint64_t b, struct softfp_ctx *ctx)
{
    return step(fmt, a, b, (struct num){FINITE, false, 1, UINT64_C(3) << 62}, -1, ctx);
}

/* RecipEstimate: 256 <= a < 512, so is the result. */
static unsigned recip_table(unsigned a)
{
    return ((1u << 19) / (a * 2 + 1) + 1) / 2;
}

/* RecipSqrtEstimate: 128 <= a < 512, the result is 256..511. */
static unsigned rsqrt_table(unsigned a)
{
    a = a < 256 ? a * 2 + 1 : ((a >> 1 << 1) + 1) * 2;
    unsigned b = 512;
    while (a * (b + 1) * (b + 1) < 1u << 28)
        b++;
    return (b + 1) / 2;
}

uint64_t softfp_recip_estimate(unsigned fmt, uint64_t a, struct softfp_ctx *ctx)
{
    const struct format *f = &formats[fmt];
    struct num n = unpack(fmt, a, ctx);
    if (is_nan(n))
        return process_nan(fmt, n, a, ctx);
    if (n.kind == INF)
        return pack(fmt, n.sign, 0);
    if (n.kind == ZERO) {
        ctx->exc |= FPSR_DZC;
        return pack(fmt, n.sign, inf_bits(fmt));
    }
    if (n.exp < -(f->bias + 1)) {
        ctx->exc |= FPSR_OFC | FPSR_IXC;
        return pack(fmt, n.sign, inf_bits(fmt) - !overflows_to_inf(softfp_rmode(ctx), n.sign));
    }
    if (flushes(fmt, ctx) && n.exp >= f->bias - 1) {
        ctx->exc |= FPSR_UFC;
        return pack(fmt, n.sign, 0);
    }
    int exp = f->bias - 1 - n.exp; /* -1 .. */
    uint64_t frac = (uint64_t)(recip_table((unsigned)(n.frac >> 55)) & 0xff) << 44;
    if (exp == 0)
        frac = BIT64(51) | frac >> 1;
    else if (exp == -1)
        frac = BIT64(50) | frac >> 2;
    return pack(fmt, n.sign, (uint64_t)MAX(exp, 0) << f->frac | frac >> (52 - f->frac));
}

uint64_t softfp_rsqrt_estimate(unsigned fmt, uint64_t a, struct softfp_ctx *ctx)
{
    const struct format *f = &formats[fmt];
    struct num n = unpack(fmt, a, ctx);
    if (is_nan(n))
        return process_nan(fmt, n, a, ctx);
    if (n.kind == ZERO) {
        ctx->exc |= FPSR_DZC;
        return pack(fmt, n.sign, inf_bits(fmt));
    }
    if (n.sign)
        return invalid(fmt, ctx);
    if (n.kind == INF)
        return 0;
    int e = n.exp + f->bias; /* the biased exponent, below 1 for denormals */
    unsigned est = rsqrt_table((unsigned)(n.frac >> (e & 1 ? 56 : 55)));
    uint64_t exp = (uint64_t)(3 * f->bias - 1 - e) >> 1;
    return exp << f->frac | (uint64_t)(est & 0xff) << (f->frac - 8);
}

uint64_t softfp_recip_exponent(unsigned fmt, uint64_t a, struct softfp_ctx *ctx)
{
    const struct format *f = &formats[fmt];
    struct num n = unpack(fmt, a, ctx);
    if (is_nan(n))
        return process_nan(fmt, n, a, ctx);
    uint64_t max = BIT64(f->exp) - 1, e = a >> f->frac & max;
    return pack(fmt, n.sign, (e ? ~e & max : max - 1) << f->frac);
}

uint32_t softfp_recip_estimate_u32(uint32_t a)
{
    return a >> 31 ? recip_table(a >> 23) << 23 : UINT32_MAX;
}

uint32_t softfp_rsqrt_estimate_u32(uint32_t a)
{
    return a >> 30 ? rsqrt_table(a >> 23) << 23 : UINT32_MAX;
}

/* ---- conversions ---- */

/* Rounds frac * 2^(exp - 63) to an integer magnitude; exp <= 63. */
static uint64_t to_magnitude(struct num n, enum softfp_round rm, bool *inexact)
{
    *inexact = false;
    if (n.exp == 63)
        return n.frac;
    uint64_t rem, half, mant = split(n.frac, 63 - n.exp, &rem, &half);
    *inexact = rem != 0;
    return mant + rounds_up(rm, n.sign, mant & 1, rem, half);
}

uint64_t softfp_round_int(unsigned fmt, uint64_t a, enum softfp_round rm, bool exact, struct softfp_ctx *ctx)
{
    struct num n = unpack(fmt, a, ctx);
    if (is_nan(n))
        return process_nan(fmt, n, a, ctx);
    if (n.kind == INF)
        return pack(fmt, n.sign, inf_bits(fmt));
    if (n.kind == ZERO)
        return pack(fmt, n.sign, 0);
    if (n.exp >= formats[fmt].frac)
        return round_pack(fmt, n.sign, n.exp, n.frac, ctx);
    bool inexact;
    uint64_t mant = to_magnitude(n, rm, &inexact);
    if (inexact && exact)
        ctx->exc |= FPSR_IXC;
    if (!mant)
        return pack(fmt, n.sign, 0);
    int lz = __builtin_clzll(mant);
    return round_pack(fmt, n.sign, 63 - lz, mant << lz, ctx);
}

uint64_t softfp_round_int_n(unsigned fmt, uint64_t a, enum softfp_round rm, unsigned width, struct softfp_ctx *ctx)
{
    const struct format *f = &formats[fmt];
    struct num n = unpack(fmt, a, ctx);
    if (n.kind == ZERO)
        return pack(fmt, n.sign, 0);
    bool inexact = false, fits = n.kind == FINITE && n.exp < 64;
    uint64_t mant = 0;
    if (fits) {
        mant = to_magnitude(n, rm, &inexact);
        fits = n.sign ? mant <= BIT64(width - 1) : mant < BIT64(width - 1);
    }
    if (!fits) {
        ctx->exc |= FPSR_IOC;
        return pack(fmt, true, (uint64_t)(f->bias + (int)width - 1) << f->frac);
    }
    if (inexact)
        ctx->exc |= FPSR_IXC;
    if (!mant)
        return pack(fmt, n.sign, 0);
    int lz = __builtin_clzll(mant);
    return round_pack(fmt, n.sign, 63 - lz, mant << lz, ctx);
}

uint64_t softfp_to_int(unsigned fmt, uint64_t a, unsigned fbits, unsigned width, bool uns, enum softfp_round rm,
                       struct softfp_ctx *ctx)
{
    struct num n = unpack(fmt, a, ctx);
    uint64_t ones = UINT64_MAX >> (64 - width);
    uint64_t limit = uns ? n.sign ? 0 : ones : (ones >> 1) + n.sign; /* of the magnitude */
    bool inexact = false;
    uint64_t mant = 0;

    if (is_nan(n)) {
        ctx->exc |= FPSR_IOC;
        return 0;
    }
    if (n.kind == ZERO)
        return 0;
    n.exp += (int)fbits;
    if (n.kind == INF || n.exp > 63 || (mant = to_magnitude(n, rm, &inexact)) > limit) {
        ctx->exc |= FPSR_IOC;
        mant = limit;
    } else if (inexact) {
        ctx->exc |= FPSR_IXC;
    }
    return (n.sign ? 0 - mant : mant) & ones;
}

uint32_t softfp_to_int32_js(uint64_t a, bool *z, struct softfp_ctx *ctx)
{
    struct num n = unpack(SOFTFP_D, a, ctx);
    uint64_t mant = 0;
    bool inexact = false, fits = true;

    *z = false;
    if (n.kind == ZERO) {
        *z = a == 0; /* neither minus zero nor a flushed denormal */
        return 0;
    }
    if (n.kind != FINITE) {
        ctx->exc |= FPSR_IOC;
        return 0;
    }
    if (n.exp > 63) {
        fits = false;
        mant = n.exp < 63 + 64 ? n.frac << (n.exp - 63) : 0;
    } else {
        mant = to_magnitude(n, SOFTFP_ZERO, &inexact);
        fits = n.sign ? mant <= BIT64(31) : mant < BIT64(31);
    }
    if (!fits)
        ctx->exc |= FPSR_IOC;
    else if (inexact)
        ctx->exc |= FPSR_IXC;
    else
        *z = true;
    return (uint32_t)(n.sign ? 0 - mant : mant);
}

uint64_t softfp_from_int(unsigned fmt, uint64_t v, bool uns, unsigned fbits, struct softfp_ctx *ctx)
{
    bool sign = !uns && v >> 63;
    if (!v)
        return 0;
    if (sign)
        v = 0 - v;
    int lz = __builtin_clzll(v);
    return round_pack(fmt, sign, 63 - lz - (int)fbits, v << lz, ctx);
}

/* FPConvert; conversions ignore FZ16 and obey AHP. */
uint64_t softfp_convert(unsigned from, unsigned to, uint64_t a, enum softfp_round rm, struct softfp_ctx *ctx)
{
    struct softfp_ctx cv = {.fpcr = ctx->fpcr & ~FPCR_FZ16};
    bool ahp = ctx->fpcr & FPCR_AHP, alt_to = to == SOFTFP_H && ahp;
    struct num n = unpack_base(from, a, from == SOFTFP_H && ahp, &cv);
    uint64_t out;

    if (is_nan(n)) {
        uint64_t frac = (a & (BIT64(formats[from].frac) - 1)) << (52 - formats[from].frac) >> (52 - formats[to].frac);
        if (alt_to)
            out = pack(to, n.sign, 0);
        else if (cv.fpcr & FPCR_DN)
            out = default_nan(to);
        else
            out = pack(to, n.sign, default_nan(to) | frac);
        if (n.kind == SNAN || alt_to)
            cv.exc |= FPSR_IOC;
    } else if (n.kind == INF) {
        out = pack(to, n.sign, alt_to ? softfp_sign_bit(to) - 1 : inf_bits(to));
        if (alt_to)
            cv.exc |= FPSR_IOC;
    } else if (n.kind == ZERO) {
        out = pack(to, n.sign, 0);
    } else {
        out = round_pack_base(to, n.sign, n.exp, n.frac, rm, alt_to, &cv);
    }
    ctx->exc |= cv.exc;
    return out;
}
