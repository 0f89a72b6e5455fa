/*
 * Interpreter: AES, SHA-1, SHA-256, SHA-512 and SHA-3 instructions (FIPS 197, FIPS 180-4, Arm ARM C7.2 and J1).
 */
#include "jit/interp/simd.h"

static const uint8_t sbox[256] = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76, 0xca, 0x82, 0xc9,
    0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0, 0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f,
    0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15, 0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07,
    0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75, 0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3,
    0x29, 0xe3, 0x2f, 0x84, 0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58,
    0xcf, 0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8, 0x51, 0xa3,
    0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2, 0xcd, 0x0c, 0x13, 0xec, 0x5f,
    0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73, 0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88,
    0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb, 0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac,
    0x62, 0x91, 0x95, 0xe4, 0x79, 0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a,
    0xae, 0x08, 0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a, 0x70,
    0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e, 0xe1, 0xf8, 0x98, 0x11,
    0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf, 0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42,
    0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16,
};

static const uint8_t inverse_sbox[256] = {
    0x52, 0x09, 0x6a, 0xd5, 0x30, 0x36, 0xa5, 0x38, 0xbf, 0x40, 0xa3, 0x9e, 0x81, 0xf3, 0xd7, 0xfb, 0x7c, 0xe3, 0x39,
    0x82, 0x9b, 0x2f, 0xff, 0x87, 0x34, 0x8e, 0x43, 0x44, 0xc4, 0xde, 0xe9, 0xcb, 0x54, 0x7b, 0x94, 0x32, 0xa6, 0xc2,
    0x23, 0x3d, 0xee, 0x4c, 0x95, 0x0b, 0x42, 0xfa, 0xc3, 0x4e, 0x08, 0x2e, 0xa1, 0x66, 0x28, 0xd9, 0x24, 0xb2, 0x76,
    0x5b, 0xa2, 0x49, 0x6d, 0x8b, 0xd1, 0x25, 0x72, 0xf8, 0xf6, 0x64, 0x86, 0x68, 0x98, 0x16, 0xd4, 0xa4, 0x5c, 0xcc,
    0x5d, 0x65, 0xb6, 0x92, 0x6c, 0x70, 0x48, 0x50, 0xfd, 0xed, 0xb9, 0xda, 0x5e, 0x15, 0x46, 0x57, 0xa7, 0x8d, 0x9d,
    0x84, 0x90, 0xd8, 0xab, 0x00, 0x8c, 0xbc, 0xd3, 0x0a, 0xf7, 0xe4, 0x58, 0x05, 0xb8, 0xb3, 0x45, 0x06, 0xd0, 0x2c,
    0x1e, 0x8f, 0xca, 0x3f, 0x0f, 0x02, 0xc1, 0xaf, 0xbd, 0x03, 0x01, 0x13, 0x8a, 0x6b, 0x3a, 0x91, 0x11, 0x41, 0x4f,
    0x67, 0xdc, 0xea, 0x97, 0xf2, 0xcf, 0xce, 0xf0, 0xb4, 0xe6, 0x73, 0x96, 0xac, 0x74, 0x22, 0xe7, 0xad, 0x35, 0x85,
    0xe2, 0xf9, 0x37, 0xe8, 0x1c, 0x75, 0xdf, 0x6e, 0x47, 0xf1, 0x1a, 0x71, 0x1d, 0x29, 0xc5, 0x89, 0x6f, 0xb7, 0x62,
    0x0e, 0xaa, 0x18, 0xbe, 0x1b, 0xfc, 0x56, 0x3e, 0x4b, 0xc6, 0xd2, 0x79, 0x20, 0x9a, 0xdb, 0xc0, 0xfe, 0x78, 0xcd,
    0x5a, 0xf4, 0x1f, 0xdd, 0xa8, 0x33, 0x88, 0x07, 0xc7, 0x31, 0xb1, 0x12, 0x10, 0x59, 0x27, 0x80, 0xec, 0x5f, 0x60,
    0x51, 0x7f, 0xa9, 0x19, 0xb5, 0x4a, 0x0d, 0x2d, 0xe5, 0x7a, 0x9f, 0x93, 0xc9, 0x9c, 0xef, 0xa0, 0xe0, 0x3b, 0x4d,
    0xae, 0x2a, 0xf5, 0xb0, 0xc8, 0xeb, 0xbb, 0x3c, 0x83, 0x53, 0x99, 0x61, 0x17, 0x2b, 0x04, 0x7e, 0xba, 0x77, 0xd6,
    0x26, 0xe1, 0x69, 0x14, 0x63, 0x55, 0x21, 0x0c, 0x7d,
};

/* ---- AES: the state is a 4x4 matrix in columns ---- */

/* Byte (row, column) comes from column + row (encryption) or column - row (decryption). */
static enum a64_next aes_round(struct arm64_cpu *c, uint32_t insn, const uint8_t *box, unsigned step)
{
    const arm64_vreg *n = &c->v[a64_rn(insn)], *d = &c->v[a64_rd(insn)];
    arm64_vreg r;
    for (unsigned i = 0; i < 16; i++) {
        unsigned from = (i + step * (i % 4)) % 16;
        r.b[i] = box[n->b[from] ^ d->b[from]];
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(aese)
{
    return aes_round(c, insn, sbox, 4);
}

A64_EXEC(aesd)
{
    return aes_round(c, insn, inverse_sbox, 12);
}

static uint8_t gf_mul(unsigned a, unsigned b)
{
    unsigned r = 0;
    for (; b; b >>= 1) {
        r ^= b & 1 ? a : 0;
        a = a << 1 ^ (a & 0x80 ? 0x11b : 0);
    }
    return (uint8_t)r;
}

/* Each column times the circulant matrix with this first row. */
static enum a64_next mix_columns(struct arm64_cpu *c, uint32_t insn, const uint8_t row[4])
{
    const arm64_vreg *n = &c->v[a64_rn(insn)];
    arm64_vreg r = {0};
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned k = 0; k < 4; k++)
            r.b[i] ^= gf_mul(n->b[(i & ~3u) + (i + k) % 4], row[k]);
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(aesmc)
{
    return mix_columns(c, insn, (const uint8_t[]){2, 3, 1, 1});
}

A64_EXEC(aesimc)
{
    return mix_columns(c, insn, (const uint8_t[]){14, 11, 13, 9});
}

/* ---- SHA-1 and SHA-256 ---- */

static uint32_t ror32(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static uint64_t ror64(uint64_t v, unsigned n)
{
    return v >> n | v << (-n & 63);
}

static uint64_t choose(uint64_t x, uint64_t y, uint64_t z)
{
    return (x & (y ^ z)) ^ z;
}

static uint64_t parity(uint64_t x, uint64_t y, uint64_t z)
{
    return x ^ y ^ z;
}

static uint64_t majority(uint64_t x, uint64_t y, uint64_t z)
{
    return (x & y) | ((x | y) & z);
}

/* Four rounds: d holds A..D, n holds E, m the schedule plus constants. */
static enum a64_next sha1_rounds(struct arm64_cpu *c, uint32_t insn, uint64_t (*f)(uint64_t, uint64_t, uint64_t))
{
    arm64_vreg x = c->v[a64_rd(insn)], w = c->v[a64_rm(insn)];
    uint32_t e = c->v[a64_rn(insn)].s[0];
    for (unsigned i = 0; i < 4; i++) {
        uint32_t t = e + ror32(x.s[0], 27) + (uint32_t)f(x.s[1], x.s[2], x.s[3]) + w.s[i];
        e = x.s[3];
        x.s[3] = x.s[2];
        x.s[2] = ror32(x.s[1], 2);
        x.s[1] = x.s[0];
        x.s[0] = t;
    }
    c->v[a64_rd(insn)] = x;
    return A64_NEXT;
}

A64_EXEC(sha1c)
{
    return sha1_rounds(c, insn, choose);
}

A64_EXEC(sha1p)
{
    return sha1_rounds(c, insn, parity);
}

A64_EXEC(sha1m)
{
    return sha1_rounds(c, insn, majority);
}

A64_EXEC(sha1h)
{
    simd_set_scalar(c, insn, ror32(c->v[a64_rn(insn)].s[0], 2));
    return A64_NEXT;
}

A64_EXEC(sha1su0)
{
    const arm64_vreg *d = &c->v[a64_rd(insn)], *n = &c->v[a64_rn(insn)], *m = &c->v[a64_rm(insn)];
    arm64_vreg r = {.d = {d->d[0] ^ d->d[1] ^ m->d[0], d->d[1] ^ n->d[0] ^ m->d[1]}};
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(sha1su1)
{
    const arm64_vreg *d = &c->v[a64_rd(insn)], *n = &c->v[a64_rn(insn)];
    arm64_vreg r;
    for (unsigned i = 0; i < 4; i++)
        r.s[i] = ror32(d->s[i] ^ (i < 3 ? n->s[i + 1] : 0), 31);
    r.s[3] ^= ror32(r.s[0], 31);
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* Four rounds on A..D (x) and E..H (y). */
static void sha256_rounds(arm64_vreg *x, arm64_vreg *y, const arm64_vreg *w)
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t s1 = ror32(y->s[0], 6) ^ ror32(y->s[0], 11) ^ ror32(y->s[0], 25);
        uint32_t s0 = ror32(x->s[0], 2) ^ ror32(x->s[0], 13) ^ ror32(x->s[0], 22);
        uint32_t t = y->s[3] + s1 + (uint32_t)choose(y->s[0], y->s[1], y->s[2]) + w->s[i];
        uint32_t e = t + x->s[3], a = t + s0 + (uint32_t)majority(x->s[0], x->s[1], x->s[2]);
        for (unsigned k = 3; k > 0; k--) {
            x->s[k] = x->s[k - 1];
            y->s[k] = y->s[k - 1];
        }
        x->s[0] = a;
        y->s[0] = e;
    }
}

A64_EXEC(sha256h)
{
    arm64_vreg x = c->v[a64_rd(insn)], y = c->v[a64_rn(insn)];
    sha256_rounds(&x, &y, &c->v[a64_rm(insn)]);
    c->v[a64_rd(insn)] = x;
    return A64_NEXT;
}

A64_EXEC(sha256h2)
{
    arm64_vreg x = c->v[a64_rn(insn)], y = c->v[a64_rd(insn)];
    sha256_rounds(&x, &y, &c->v[a64_rm(insn)]);
    c->v[a64_rd(insn)] = y;
    return A64_NEXT;
}

A64_EXEC(sha256su0)
{
    const arm64_vreg *d = &c->v[a64_rd(insn)], *n = &c->v[a64_rn(insn)];
    arm64_vreg r;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t t = i < 3 ? d->s[i + 1] : n->s[0];
        r.s[i] = d->s[i] + (ror32(t, 7) ^ ror32(t, 18) ^ t >> 3);
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

A64_EXEC(sha256su1)
{
    const arm64_vreg *d = &c->v[a64_rd(insn)], *n = &c->v[a64_rn(insn)], *m = &c->v[a64_rm(insn)];
    arm64_vreg r;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t t = i < 2 ? m->s[i + 2] : r.s[i - 2];
        r.s[i] = d->s[i] + (i < 3 ? n->s[i + 1] : m->s[0]) + (ror32(t, 17) ^ ror32(t, 19) ^ t >> 10);
    }
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* ---- SHA-512 ---- */

static uint64_t ror3(uint64_t v, unsigned a, unsigned b, unsigned c)
{
    return ror64(v, a) ^ ror64(v, b) ^ ror64(v, c);
}

A64_EXEC(sha512h)
{
    const arm64_vreg *w = &c->v[a64_rd(insn)], *x = &c->v[a64_rn(insn)], *y = &c->v[a64_rm(insn)];
    uint64_t hi = choose(y->d[1], x->d[0], x->d[1]) + ror3(y->d[1], 14, 18, 41) + w->d[1];
    uint64_t t = hi + y->d[0];
    uint64_t lo = choose(t, y->d[1], x->d[0]) + ror3(t, 14, 18, 41) + w->d[0];
    c->v[a64_rd(insn)] = (arm64_vreg){.d = {lo, hi}};
    return A64_NEXT;
}

A64_EXEC(sha512h2)
{
    const arm64_vreg *w = &c->v[a64_rd(insn)], *x = &c->v[a64_rn(insn)], *y = &c->v[a64_rm(insn)];
    uint64_t hi = majority(x->d[0], y->d[1], y->d[0]) + ror3(y->d[0], 28, 34, 39) + w->d[1];
    uint64_t lo = majority(hi, y->d[0], y->d[1]) + ror3(hi, 28, 34, 39) + w->d[0];
    c->v[a64_rd(insn)] = (arm64_vreg){.d = {lo, hi}};
    return A64_NEXT;
}

static uint64_t sha512_sigma0(uint64_t v)
{
    return ror64(v, 1) ^ ror64(v, 8) ^ v >> 7;
}

static uint64_t sha512_sigma1(uint64_t v)
{
    return ror64(v, 19) ^ ror64(v, 61) ^ v >> 6;
}

A64_EXEC(sha512su0)
{
    arm64_vreg *w = &c->v[a64_rd(insn)];
    uint64_t x = c->v[a64_rn(insn)].d[0];
    *w = (arm64_vreg){.d = {w->d[0] + sha512_sigma0(w->d[1]), w->d[1] + sha512_sigma0(x)}};
    return A64_NEXT;
}

A64_EXEC(sha512su1)
{
    const arm64_vreg *x = &c->v[a64_rn(insn)], *y = &c->v[a64_rm(insn)], *w = &c->v[a64_rd(insn)];
    arm64_vreg r = {
        .d = {w->d[0] + sha512_sigma1(x->d[0]) + y->d[0], w->d[1] + sha512_sigma1(x->d[1]) + y->d[1]},
    };
    c->v[a64_rd(insn)] = r;
    return A64_NEXT;
}

/* ---- SHA-3 ---- */

#define SHA3(name, expr)                                                                                               \
    A64_EXEC(name)                                                                                                     \
    {                                                                                                                  \
        arm64_vreg r;                                                                                                  \
        for (unsigned i = 0; i < 2; i++) {                                                                             \
            uint64_t n = c->v[a64_rn(insn)].d[i], m = c->v[a64_rm(insn)].d[i], a = c->v[a64_ra(insn)].d[i];            \
            (void)a;                                                                                                   \
            r.d[i] = (expr);                                                                                           \
        }                                                                                                              \
        c->v[a64_rd(insn)] = r;                                                                                        \
        return A64_NEXT;                                                                                               \
    }

SHA3(eor3, n ^ m ^ a)
SHA3(bcax, n ^ (m & ~a))
SHA3(rax1, n ^ ror64(m, 63))
SHA3(xar, ror64(n ^ m, bits32(insn, 15, 10)))
