/* Random blocks: see blocks.h. */
#include "tests/lib/blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jit/a64/decode.h"

static uint64_t rng_state = 1;

void blocks_seed(uint64_t seed)
{
    rng_state = seed;
}

uint64_t blocks_state(void)
{
    return rng_state;
}

uint64_t blocks_rnd(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t blocks_interesting(void)
{
    static const uint64_t v[] = {0,
                                 1,
                                 UINT64_MAX,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 UINT64_C(0x7fffffffffffffff),
                                 UINT64_C(0x8000000000000000),
                                 UINT64_C(0x7ff8000000000001), /* NaNs, infinities, tiny and ordinary numbers */
                                 UINT64_C(0x7ff0000000000001),
                                 UINT64_C(0xfff0000000000000),
                                 UINT64_C(0x0010000000000000),
                                 UINT64_C(0x000fffffffffffff),
                                 UINT64_C(0x3ff0000000000000),
                                 UINT64_C(0xc008000000000000),
                                 UINT64_C(0x7f8000017fc00000),
                                 UINT64_C(0x0080000080800000),
                                 UINT64_C(0x3f800000bf000000),
                                 UINT64_C(0x007fffff00000001)};
    uint64_t r = blocks_rnd();
    switch (r >> 61) {
    case 0: return v[r % ARRAY_SIZE(v)];
    case 1: return (uint64_t)sext64(r, 8);
    case 2: return r & 0xff;
    case 3: return (v[r % ARRAY_SIZE(v)] & ~UINT64_C(0xff)) | (r >> 32 & 0xff);
    case 4: return (r & UINT64_C(0x800fffffffffffff)) | (UINT64_C(0x3f0) + (r >> 32) % 0x20) << 52;
    default: return blocks_rnd();
    }
}

uint32_t blocks_encode(unsigned r)
{
    const struct a64_row_info *row = &a64_rows[r];

    for (unsigned tries = 0; tries < 1000; tries++) {
        uint32_t insn = ((uint32_t)blocks_rnd() & ~row->mask) | row->value;
        if (&a64_rows[a64_decode(insn)] == row)
            return insn;
    }
    return 0;
}

bool blocks_excluded(unsigned row)
{
    switch (row) {
    case A64_UNALLOCATED:
    case A64_eret:
    case A64_wfe:
    case A64_wfi:
    case A64_yield:
    case A64_sev:
    case A64_sevl: return true;
    default: return false;
    }
}

static bool jumps(unsigned row)
{
    return row == A64_b || row == A64_bl || row == A64_br || row == A64_blr || row == A64_ret || row == A64_b_cond ||
           row == A64_cbz || row == A64_cbnz || row == A64_tbz || row == A64_tbnz;
}

static const uint16_t plain_rows[] = {
    A64_ldr_uimm,    A64_str_uimm,   A64_ldr_unscaled, A64_str_unscaled, A64_ldrs_uimm,  A64_ldr_post,
    A64_str_pre,     A64_ldp_off,    A64_stp_off,      A64_ldp_post,     A64_stp_pre,    A64_ldr_fp_uimm,
    A64_str_fp_uimm, A64_ldp_fp_off, A64_stp_fp_off,   A64_add_imm,      A64_sub_imm,    A64_orr_sreg,
    A64_adds_imm,    A64_ldr_reg,    A64_ldr_fp_post,  A64_stp_fp_pre,   A64_ldrsw_uimm,
};

/* Arithmetic, where flags live long or die soon, and accesses that they outlive. */
static const uint16_t flag_rows[] = {
    A64_adds_imm, A64_subs_imm, A64_adds_sreg, A64_subs_sreg, A64_subs_ereg, A64_ands_imm, A64_ands_sreg, A64_bics_sreg,
    A64_adcs,     A64_sbcs,     A64_adc,       A64_sbc,       A64_ccmp_reg,  A64_ccmp_imm, A64_ccmn_imm,  A64_csel,
    A64_csinc,    A64_csinv,    A64_csneg,     A64_movz,      A64_movn,      A64_movk,     A64_add_imm,   A64_sub_imm,
    A64_add_sreg, A64_orr_sreg, A64_eor_sreg,  A64_umulh,     A64_madd,      A64_ubfm,     A64_bfm,       A64_extr,
    A64_lslv,     A64_adrp,     A64_ldr_uimm,  A64_str_uimm,  A64_ldr_reg,   A64_str_reg,  A64_str_post,  A64_ldp_off,
    A64_stp_pre,  A64_crc32,    A64_crc32c,
};

/* Short forward branches only, so that every block ends. */
static uint32_t tame(unsigned row, uint32_t insn)
{
    if (row == A64_b || row == A64_bl)
        return (insn & 0xfc000000u) | (1 + insn % 3);
    if (row == A64_tbz || row == A64_tbnz)
        return (insn & ~0x0007ffe0u) | (1 + (insn >> 5) % 3) << 5;
    if (row == A64_b_cond || row == A64_cbz || row == A64_cbnz)
        return (insn & ~0x00ffffe0u) | (1 + (insn >> 5) % 3) << 5;
    return insn;
}

/* A store-exclusive for the load-exclusive, with other registers and the same base and size. */
static uint32_t partner(uint32_t load)
{
    const uint32_t registers = 0x1f7c1fu; /* Rs, Rt2, Rt */

    return (load & ~(BIT32(22) | registers)) | ((uint32_t)blocks_rnd() & registers);
}

/* What translators take together with the instruction at `at`: mostly what belongs to it, with a register of another
 * number now and then. */
static void cipher_neighbours(uint32_t *code, unsigned n, unsigned at)
{
    unsigned row = a64_decode(code[at]), odd = blocks_rnd() % 4 ? 0 : (unsigned)blocks_rnd() & 31;
    uint32_t d = a64_rd(code[at]), old = (uint32_t)blocks_rnd() & 31;

    if (at + 1 == n)
        return;
    if (row == A64_aese || row == A64_aesd) {
        code[at + 1] = (row == A64_aese ? 0x4e286800u : 0x4e287800u) | (d ^ odd) << 5 | d; /* aesmc, aesimc */
    } else if (row == A64_sha256h && at) {
        code[at - 1] = 0x4ea01c00u | d << 16 | d << 5 | (old ^ odd);                       /* mov */
        code[at + 1] = 0x5e005000u | (code[at] & 0x1f0000u) | old << 5 | a64_rn(code[at]); /* sha256h2 */
    }
}

/* The instruction with registers of the one before: its result made from its result, or one that is no move a move. */
static uint32_t related(uint32_t insn, uint32_t before)
{
    uint32_t other = insn, d = a64_rd(before);
    unsigned row = a64_decode(insn), kind = blocks_rnd() % 4;

    if (kind < 2)
        other = (insn & ~0x1fu) | d;
    if (kind == 1 && row != A64_movk && row != A64_movz && row != A64_movn)
        other = (other & ~0x3e0u) | d << 5;
    if (kind == 2 && row == A64_orr_sreg)
        other = (insn & 0x801f001fu) | 0x2a0003e0u;
    if (kind == 2 && row == A64_madd)
        other = insn | 0x7c00u; /* MUL */
    return a64_decode(other) == row ? other : insn;
}

unsigned blocks_make(uint32_t *code, unsigned row)
{
    unsigned n = 1 + (unsigned)(blocks_rnd() % BLOCKS_MAX), at = (unsigned)(blocks_rnd() % n);
    uint32_t base = (uint32_t)blocks_rnd() & 31, bases = blocks_rnd() % 3 ? 1 : 2 + (uint32_t)(blocks_rnd() % 4);
    bool favour = blocks_rnd() & 1, flags = !favour && blocks_rnd() % 4 == 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned r = i == at ? row : 1 + (unsigned)(blocks_rnd() % (A64_ROW_COUNT - 1));
        while (blocks_excluded(r) || (i != at && jumps(r)))
            r = 1 + (unsigned)(blocks_rnd() % (A64_ROW_COUNT - 1));
        /* With favoured bases, mostly plain accesses and what moves them. */
        if (i != at && favour && blocks_rnd() % 4)
            r = plain_rows[blocks_rnd() % ARRAY_SIZE(plain_rows)];
        if (i != at && flags)
            r = flag_rows[blocks_rnd() % ARRAY_SIZE(flag_rows)];
        code[i] = tame(r, blocks_encode(r));
        if (flags && !jumps(r))
            code[i] = related(code[i], i ? code[i - 1] : 0);
        if (favour && blocks_rnd() % 4 && !strncmp(a64_rows[r].bits + 22, "nnnnn", 5)) {
            uint32_t other = (code[i] & ~0x3e0u) | (base + blocks_rnd() % bases) % 32 << 5;
            if (a64_decode(other) == r)
                code[i] = other;
        }
    }
    /* Most load-exclusives have a store-exclusive behind them, some with an instruction in between. */
    if ((row == A64_ldxr || row == A64_ldxp) && at + 2 < n && blocks_rnd() % 4) {
        code[at + 1] = blocks_encode(A64_eor_sreg);
        code[at + 1 + blocks_rnd() % 2] = partner(code[at]);
    }
    cipher_neighbours(code, n, at);
    return n;
}

/* A branch that goes 1 to `most` instructions ahead. */
static uint32_t ahead(unsigned most)
{
    uint32_t d = 1 + (uint32_t)(blocks_rnd() % most), r = (uint32_t)(blocks_rnd() >> 32);

    switch (r >> 5 & 3) {
    case 0: return 0x54000000u | d << 5 | r % 14;                             /* b.cond */
    case 1: return 0x34000000u | (r & 0x81000000u) | d << 5 | (r & 31);       /* cbz, cbnz */
    case 2: return 0x36000000u | (r & 0x81f80000u) | d << 5 | (r & 31);       /* tbz, tbnz */
    default: return r & 0x100 ? 0x14000000u | d : 0x54000000u | d << 5 | 14u; /* b, b.al */
    }
}

/* The end of a loop's turn: counts register c down, and branches back where it is not zero. */
static void blocks_turn(uint32_t code[3], uint32_t c, uint32_t back)
{
    static const struct {
        uint32_t count, test, branch;
    } end[] = {
        {0xd1000400u, 0xd503201fu, 0xb5000000u}, /* sub c, c, #1; nop; cbnz c */
        {0xd503201fu, 0xf1000400u, 0x54000001u}, /* nop; subs c, c, #1; b.ne */
        {0xd503201fu, 0x71000400u, 0x54000001u}, /* the same of 32 bits */
        {0xd1000400u, 0xf100001fu, 0x54000008u}, /* sub c, c, #1; cmp c, #0; b.hi */
        {0xd1000400u, 0x6b1f001fu, 0x5400000cu}, /* sub c, c, #1; cmp c, wzr; b.gt */
        {0xd1000400u, 0xf240181fu, 0x54000001u}, /* sub c, c, #1; tst c, #127; b.ne */
        {0xd1000400u, 0xb100001fu, 0x54000001u}, /* sub c, c, #1; cmn c, #0; b.ne */
        {0xd1000800u, 0xb1000400u, 0x54000001u}, /* sub c, c, #2; adds c, c, #1; b.ne */
    };
    unsigned k = (unsigned)(blocks_rnd() % ARRAY_SIZE(end));

    for (unsigned i = 0; i < 2; i++) {
        uint32_t insn = i ? end[k].test : end[k].count;
        if (insn != 0xd503201fu)
            insn |= c << 5 | ((insn & 31) == 31 ? 0 : c);
        code[i] = insn;
    }
    code[2] = end[k].branch | back << 5 | (k ? 0 : c);
}

unsigned blocks_loop(uint32_t *code, unsigned n)
{
    static const uint8_t fields[] = {0, 5, 10, 16};
    uint32_t touched = BIT32(30), c = (uint32_t)blocks_rnd() % 30, back = (0u - n - BLOCKS_LOOP + 1) & 0x7ffff;

    /* A store-exclusive that was met before may fail for reasons of its own: its tagged address is known from then on.
     */
    for (unsigned i = 0; i < n; i++)
        if (a64_decode(code[i]) == A64_stxr || a64_decode(code[i]) == A64_stxp)
            return 31;
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < ARRAY_SIZE(fields); k++)
            touched |= UINT32_C(3) << (code[i] >> fields[k] & 31);
    for (unsigned k = 0; k < 30 && touched >> c & 1; k++)
        c = (c + 1) % 30;
    if (touched >> c & 1)
        return 31;
    for (unsigned k = 0; k < BLOCKS_LOOP - 5; k++) {
        unsigned at = (unsigned)(blocks_rnd() % (n + 1));
        memmove(&code[at + 1], &code[at], (n - at) * sizeof(*code));
        n++;
        code[at] = blocks_rnd() % 4 ? ahead(n - at) : 0xd503201fu;
    }
    code[n++] = 0xd503201fu; /* nop */
    code[n++] = 0xd503201fu;
    blocks_turn(&code[n], c, back);
    return c;
}

void blocks_print(const uint32_t *code, unsigned n, uint64_t pc)
{
    for (unsigned i = 0; i < n; i++) {
        char text[128];
        a64_disasm(text, sizeof(text), code[i], pc + i * 4);
        printf("    %08" PRIx32 "  %s (%s)\n", code[i], text, a64_rows[a64_decode(code[i])].name);
    }
}
