/*
 * Tier 1: SHA-1 and SHA-256 by the host's SHA extensions, SHA-512 and SHA-3 by what every host has.
 *
 * A64 has A to D and E to H in one register each, A lowest, and round constants added beforehand; the host has A, B, E,
 * F and C, D, G, H, or A highest, and for SHA-1 adds the constants itself.
 */
#include "jit/tier1/simd.h"

#define SHA_38(op) X64_OP(0, 0x38, op)
#define SHA1RNDS4 X64_OP(0, 0x3a, 0xcc)
#define SHA256RNDS2 SHA_38(0xcb) /* XMM0 has the schedule */
#define SHA256MSG1 SHA_38(0xcc)
#define SHA256MSG2 SHA_38(0xcd)
#define SSE_SHUFPS SSE_PS(0xc6)
#define SSE_PALIGNR SSE_66_3A(0x0f)
#define SSE_PADDD SSE_66(0xfe)
#define SSE_PADDQ SSE_66(0xd4)

static bool t1_vdone16(struct t1 *t, uint32_t insn)
{
    return t1_vdone(t, insn | BIT32(30));
}

/* XMM x op= Vv with an immediate. */
static void t1_vwith_imm(struct t1 *t, uint32_t op, int x, unsigned v, uint8_t imm)
{
    sse_rr(t->e, op, x, t1_vin(t, v, 16, XMM5));
    x64_u8(t->e, imm);
}

/* Rotates the elements of 2^size bytes of XMM x right by n; XMM5 is lost. */
static void t1_ror_x(struct t1 *t, unsigned size, int x, unsigned n)
{
    uint8_t op = size == 2 ? 0x72 : 0x73;

    if (!n)
        return;
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM5, x);
    sse_shift(t->e, op, 2, x, n);
    sse_shift(t->e, op, 6, XMM5, (8u << size) - n);
    sse_rr(t->e, SSE_POR, x, XMM5);
}

/* ---- SHA-1 ---- */

/* SHA1C, SHA1P, SHA1M: Vd has A to D, Sn E, Vm the schedule. */
static bool t1_sha1_rounds(struct t1 *t, uint32_t insn)
{
    static const uint32_t k[3] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc};
    unsigned f = bits32(insn, 13, 12);

    if (!t1_have.sha)
        return false;
    x64_mov_imm(t->e, RAX, (uint32_t)-k[f]);
    sse_rr(t->e, SSE_MOVD_LOAD, XMM1, RAX);
    sse_rri(t->e, SSE_PSHUFD, XMM1, XMM1, 0);
    t1_vwith(t, SSE_PADDD, XMM1, a64_rm(insn));
    t1_vget(t, XMM2, a64_rn(insn));
    sse_shift(t->e, 0x73, 7, XMM2, 12);
    sse_rri(t->e, SSE_PSHUFD, XMM1, XMM1, 0x1b);
    sse_rr(t->e, SSE_PADDD, XMM1, XMM2);
    t1_vwith_imm(t, SSE_PSHUFD, XMM0, a64_rd(insn), 0x1b);
    sse_rri(t->e, SHA1RNDS4, XMM0, XMM1, (uint8_t)f);
    sse_rri(t->e, SSE_PSHUFD, XMM0, XMM0, 0x1b);
    return t1_vdone16(t, insn);
}

static bool t1_sha1h(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM1, a64_rn(insn));
    t1_ror_x(t, 2, XMM1, 2);
    t1_vput(t, a64_rd(insn), XMM1, 4);
    t->keep_flags = true;
    return true;
}

static bool t1_sha1su0(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rn(insn));
    t1_vwith_imm(t, SSE_PALIGNR, XMM0, a64_rd(insn), 8);
    t1_vwith(t, SSE_PXOR, XMM0, a64_rd(insn));
    t1_vwith(t, SSE_PXOR, XMM0, a64_rm(insn));
    return t1_vdone16(t, insn);
}

/* The last word of four wants the first one's result. */
static bool t1_sha1su1(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rn(insn));
    sse_shift(t->e, 0x73, 3, XMM0, 4);
    t1_vwith(t, SSE_PXOR, XMM0, a64_rd(insn));
    t1_ror_x(t, 2, XMM0, 31);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM1, XMM0);
    sse_shift(t->e, 0x73, 7, XMM1, 12);
    t1_ror_x(t, 2, XMM1, 31);
    sse_rr(t->e, SSE_PXOR, XMM0, XMM1);
    return t1_vdone16(t, insn);
}

/* ---- SHA-256 ---- */

/* x = n's elements that the lower half of imm names, then m's. */
static void t1_shufps(struct t1 *t, int x, int n, int m, uint8_t imm)
{
    if (t1_have.avx) {
        vex_rrr(t->e, false, SSE_SHUFPS, x, n, m);
    } else {
        if (x != n)
            sse_rr(t->e, SSE_MOVAPS_LOAD, x, n);
        sse_rr(t->e, SSE_SHUFPS, x, m);
    }
    x64_u8(t->e, imm);
}

/* Four rounds: A, B, E, F are in XMM3 after two of them, and in XMM2 after all. */
static void t1_sha256_rounds(struct t1 *t, unsigned abcd, unsigned efgh, unsigned w)
{
    int x, y;

    t1_vget(t, XMM0, w);
    x = t1_vin(t, abcd, 16, XMM1);
    y = t1_vin(t, efgh, 16, XMM4);
    t1_shufps(t, XMM2, y, x, 0x11);
    t1_shufps(t, XMM3, y, x, 0xbb);
    sse_rr(t->e, SHA256RNDS2, XMM3, XMM2);
    sse_rri(t->e, SSE_PSHUFD, XMM0, XMM0, 0x0e);
    sse_rr(t->e, SHA256RNDS2, XMM2, XMM3);
}

/* Is what follows SHA256H of the same rounds? It takes A to D as they were: the copy made just before this one. */
static bool t1_sha256_pair(const struct t1 *t, uint32_t insn)
{
    unsigned d = a64_rd(insn), n = a64_rn(insn), m = a64_rm(insn), old;
    uint32_t next;

    if (t->i == 0 || t->labels >> t->i & 1 || !t1_goes_on(t) || t->row[t->i + 1] != A64_sha256h2 || d == n || d == m)
        return false;
    next = t->insn[t->i + 1];
    old = a64_rn(next);
    /* MOV Vold.16b, Vd.16b, an alias of ORR */
    return old != d && old != n && old != m && a64_rd(next) == n && a64_rm(next) == m &&
           t->insn[t->i - 1] == (0x4ea01c00u | d << 16 | d << 5 | old);
}

static bool t1_sha256h(struct t1 *t, uint32_t insn)
{
    int x = t1_vout(t, a64_rd(insn));

    if (!t1_have.sha)
        return false;
    t1_sha256_rounds(t, a64_rd(insn), a64_rn(insn), a64_rm(insn));
    t1_shufps(t, x, XMM2, XMM3, 0xbb);
    t1_vput(t, a64_rd(insn), x, 16);
    if (t1_sha256_pair(t, insn))
        t->fused = t->i + 1;
    t->keep_flags = true;
    return true;
}

static bool t1_sha256h2(struct t1 *t, uint32_t insn)
{
    int x = t1_vout(t, a64_rd(insn));

    if (!t1_have.sha)
        return false;
    if (!t1_fused(t))
        t1_sha256_rounds(t, a64_rn(insn), a64_rd(insn), a64_rm(insn));
    t1_shufps(t, x, XMM2, XMM3, 0x11);
    t1_vput(t, a64_rd(insn), x, 16);
    t->keep_flags = true;
    return true;
}

static bool t1_sha256su0(struct t1 *t, uint32_t insn)
{
    if (!t1_have.sha)
        return false;
    t1_vget(t, XMM0, a64_rd(insn));
    t1_vwith(t, SHA256MSG1, XMM0, a64_rn(insn));
    return t1_vdone16(t, insn);
}

static bool t1_sha256su1(struct t1 *t, uint32_t insn)
{
    if (!t1_have.sha)
        return false;
    t1_vget(t, XMM0, a64_rm(insn));
    t1_vwith_imm(t, SSE_PALIGNR, XMM0, a64_rn(insn), 4);
    t1_vwith(t, SSE_PADDD, XMM0, a64_rd(insn));
    t1_vwith(t, SHA256MSG2, XMM0, a64_rm(insn));
    return t1_vdone16(t, insn);
}

/* ---- SHA-512: two rounds in general registers, the schedule by vectors ---- */

static struct x64_mem t1_vlane(struct t1 *t, unsigned v, unsigned lane)
{
    return x64_m(RBP, t1_v(t, v).disp + (int32_t)lane * 8);
}

/* RCX = the exclusive or of RAX rotated right by three numbers. */
static void t1_sha512_sum(struct t1 *t, const uint8_t by[3])
{
    x64_mov_rr(t->e, true, RCX, RAX);
    x64_shift_ri(t->e, true, SH_ROR, RCX, by[2] - by[1]);
    x64_alu_rr(t->e, true, ALU_XOR, RCX, RAX);
    x64_shift_ri(t->e, true, SH_ROR, RCX, by[1] - by[0]);
    x64_alu_rr(t->e, true, ALU_XOR, RCX, RAX);
    x64_shift_ri(t->e, true, SH_ROR, RCX, by[0]);
}

/* Vd = the lower half in RCX and the upper one in XMM1. */
static bool t1_sha512_done(struct t1 *t, uint32_t insn)
{
    x64_rr(t->e, true, SSE_MOVD_LOAD, XMM0, RCX);
    sse_rr(t->e, SSE_PUNPCKLQDQ, XMM0, XMM1);
    t1_vdone16(t, insn);
    t->keep_flags = false;
    return true;
}

static bool t1_sha512h(struct t1 *t, uint32_t insn)
{
    static const uint8_t by[3] = {14, 18, 41};
    unsigned w = a64_rd(insn), x = a64_rn(insn), y = a64_rm(insn);

    for (unsigned round = 0; round < 2; round++) {
        struct x64_mem f = round ? t1_vlane(t, y, 1) : t1_vlane(t, x, 0),
                       g = round ? t1_vlane(t, x, 0) : t1_vlane(t, x, 1);

        if (round == 0)
            x64_load(t->e, true, RAX, t1_vlane(t, y, 1));
        t1_sha512_sum(t, by);
        x64_load(t->e, true, RDX, f); /* choose: ((f ^ g) & e) ^ g */
        x64_alu_rm(t->e, true, ALU_XOR, RDX, g);
        x64_alu_rr(t->e, true, ALU_AND, RDX, RAX);
        x64_alu_rm(t->e, true, ALU_XOR, RDX, g);
        x64_alu_rr(t->e, true, ALU_ADD, RCX, RDX);
        x64_alu_rm(t->e, true, ALU_ADD, RCX, t1_vlane(t, w, 1 - round));
        if (round == 0) {
            x64_rr(t->e, true, SSE_MOVD_LOAD, XMM1, RCX);
            x64_load(t->e, true, RAX, t1_vlane(t, y, 0));
            x64_alu_rr(t->e, true, ALU_ADD, RAX, RCX);
        }
    }
    return t1_sha512_done(t, insn);
}

static bool t1_sha512h2(struct t1 *t, uint32_t insn)
{
    static const uint8_t by[3] = {28, 34, 39};
    unsigned w = a64_rd(insn), x = a64_rn(insn), y = a64_rm(insn);

    for (unsigned round = 0; round < 2; round++) {
        struct x64_mem b = t1_vlane(t, y, 1), c = round ? t1_vlane(t, y, 0) : t1_vlane(t, x, 0);

        if (round == 0)
            x64_load(t->e, true, RAX, t1_vlane(t, y, 0));
        t1_sha512_sum(t, by);
        x64_load(t->e, true, RDX, b); /* majority: (b ^ c) & a and b & c, which have no bit in common */
        x64_alu_rm(t->e, true, ALU_XOR, RDX, c);
        x64_alu_rr(t->e, true, ALU_AND, RDX, RAX);
        x64_alu_rr(t->e, true, ALU_ADD, RCX, RDX);
        x64_load(t->e, true, RDX, b);
        x64_alu_rm(t->e, true, ALU_AND, RDX, c);
        x64_alu_rr(t->e, true, ALU_ADD, RCX, RDX);
        x64_alu_rm(t->e, true, ALU_ADD, RCX, t1_vlane(t, w, 1 - round));
        if (round == 0) {
            x64_rr(t->e, true, SSE_MOVD_LOAD, XMM1, RCX);
            x64_mov_rr(t->e, true, RAX, RCX);
        }
    }
    return t1_sha512_done(t, insn);
}

/* XMM0 = the exclusive or of XMM0 rotated right by two numbers and shifted right by a third. */
static void t1_sha512_sigma(struct t1 *t, unsigned ror1, unsigned ror2, unsigned shr)
{
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM1, XMM0);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM2, XMM0);
    t1_ror_x(t, 3, XMM0, ror1);
    t1_ror_x(t, 3, XMM1, ror2);
    sse_shift(t->e, 0x73, 2, XMM2, shr);
    sse_rr(t->e, SSE_PXOR, XMM0, XMM1);
    sse_rr(t->e, SSE_PXOR, XMM0, XMM2);
}

static bool t1_sha512su0(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rn(insn));
    t1_vwith_imm(t, SSE_PALIGNR, XMM0, a64_rd(insn), 8);
    t1_sha512_sigma(t, 1, 8, 7);
    t1_vwith(t, SSE_PADDQ, XMM0, a64_rd(insn));
    return t1_vdone16(t, insn);
}

static bool t1_sha512su1(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rn(insn));
    t1_sha512_sigma(t, 19, 61, 6);
    t1_vwith(t, SSE_PADDQ, XMM0, a64_rm(insn));
    t1_vwith(t, SSE_PADDQ, XMM0, a64_rd(insn));
    return t1_vdone16(t, insn);
}

/* ---- SHA-3 ---- */

static bool t1_eor3(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rn(insn));
    t1_vwith(t, SSE_PXOR, XMM0, a64_rm(insn));
    t1_vwith(t, SSE_PXOR, XMM0, a64_ra(insn));
    return t1_vdone16(t, insn);
}

static bool t1_bcax(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_ra(insn));
    t1_vwith(t, SSE_PANDN, XMM0, a64_rm(insn));
    t1_vwith(t, SSE_PXOR, XMM0, a64_rn(insn));
    return t1_vdone16(t, insn);
}

static bool t1_rax1(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rm(insn));
    t1_ror_x(t, 3, XMM0, 63);
    t1_vwith(t, SSE_PXOR, XMM0, a64_rn(insn));
    return t1_vdone16(t, insn);
}

static bool t1_xar(struct t1 *t, uint32_t insn)
{
    t1_vget(t, XMM0, a64_rn(insn));
    t1_vwith(t, SSE_PXOR, XMM0, a64_rm(insn));
    t1_ror_x(t, 3, XMM0, bits32(insn, 15, 10));
    return t1_vdone16(t, insn);
}

void t1_init_sha(void)
{
    t1_table[A64_sha1c] = t1_table[A64_sha1p] = t1_table[A64_sha1m] = t1_sha1_rounds;
    t1_table[A64_sha1h] = t1_sha1h;
    t1_table[A64_sha1su0] = t1_sha1su0;
    t1_table[A64_sha1su1] = t1_sha1su1;
    t1_table[A64_sha256h] = t1_sha256h;
    t1_table[A64_sha256h2] = t1_sha256h2;
    t1_table[A64_sha256su0] = t1_sha256su0;
    t1_table[A64_sha256su1] = t1_sha256su1;
    t1_table[A64_sha512h] = t1_sha512h;
    t1_table[A64_sha512h2] = t1_sha512h2;
    t1_table[A64_sha512su0] = t1_sha512su0;
    t1_table[A64_sha512su1] = t1_sha512su1;
    t1_table[A64_eor3] = t1_eor3;
    t1_table[A64_bcax] = t1_bcax;
    t1_table[A64_rax1] = t1_rax1;
    t1_table[A64_xar] = t1_xar;
}
