/*
 * The A64 decode table and the disassembler: rows do not overlap undeclared, every row is found by words made from it,
 * reserved encodings are unallocated, bitmask immediates, and the text of known words.
 */
#include <stdlib.h>
#include <string.h>

#include "jit/a64/decode.h"
#include "tests/check.h"
#include "vmm/base/util.h"

static uint64_t seed = 88172645463325252u;

static uint32_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static bool row_matches(const struct a64_row_info *r, uint32_t insn)
{
    return (insn & r->mask) == r->value && (!r->valid || r->valid(insn));
}

/*
 * Rows may share words only where one has more fixed bits (it wins). Where a predicate keeps two of the same number
 * apart, random words must confirm it.
 */
static void rows_overlap_only_by_declaration(void)
{
    unsigned bad = 0;

    for (unsigned i = 1; i < A64_ROW_COUNT; i++) {
        for (unsigned j = i + 1; j < A64_ROW_COUNT; j++) {
            const struct a64_row_info *a = &a64_rows[i], *b = &a64_rows[j];
            uint32_t both = a->mask | b->mask;
            if (((a->value ^ b->value) & a->mask & b->mask) ||
                __builtin_popcount(a->mask) != __builtin_popcount(b->mask))
                continue;
            bool together = !a->valid && !b->valid;
            for (unsigned k = 0; k < 2000 && !together; k++) {
                uint32_t w = a->value | b->value | (next_random() & ~both);
                together = row_matches(a, w) && row_matches(b, w);
            }
            if (together)
                printf("  %s and %s overlap\n", a->name, b->name);
            bad += together;
        }
    }
    CHECK_EQ(bad, 0);
}

/* Every word must decode to the row with the most fixed bits among those that match, and each row must be reachable. */
static void rows_decode_to_themselves(void)
{
    for (unsigned i = 1; i < A64_ROW_COUNT; i++) {
        const struct a64_row_info *r = &a64_rows[i];
        unsigned hits = 0;
        CHECK_EQ(strlen(r->bits), 32);
        CHECK_EQ(r->value & ~r->mask, 0);
        for (unsigned k = 0; k < 20000 && hits < 50; k++) {
            uint32_t w = r->value | (next_random() & ~r->mask);
            if (!row_matches(r, w))
                continue;
            unsigned got = a64_decode(w);
            if (got != i) {
                CHECK(got != A64_UNALLOCATED);
                CHECK(row_matches(&a64_rows[got], w));
                CHECK(__builtin_popcount(a64_rows[got].mask) > __builtin_popcount(r->mask));
            }
            hits += got == i;
        }
        if (!hits)
            printf("  %s is never decoded\n", r->name);
        CHECK(hits);
    }
}

/* The index finds what a scan of all rows finds. */
static void random_words_decode_as_by_scan(void)
{
    for (unsigned k = 0; k < 200000; k++) {
        uint32_t w = next_random();
        unsigned best = A64_UNALLOCATED;
        for (unsigned i = 1; i < A64_ROW_COUNT; i++) {
            if (row_matches(&a64_rows[i], w) &&
                (!best || __builtin_popcount(a64_rows[i].mask) > __builtin_popcount(a64_rows[best].mask)))
                best = i;
        }
        CHECK_EQ(a64_decode(w), best);
    }
}

static void reserved_encodings_are_unallocated(void)
{
    static const uint32_t words[] = {
        0x12400000, /* and w, N set */
        0x9240fc00, /* and x, all ones */
        0x52c00000, /* movz w, lsl 32 */
        0x32800000, /* opc 1 of move wide */
        0x53400000, /* ubfm w with N */
        0xd3000000, /* ubfm x without N */
        0x53008000, /* ubfm w, imms 32 */
        0x13808000, /* extr w, lsb 32 */
        0x0bc00000, /* add, ror */
        0x0b008000, /* add w, lsl 32 */
        0x0a008000, /* and w, lsl 32 */
        0x0b201400, /* add, extended, shift 5 */
        0x0b600000, /* add, extended, opt 1 */
        0x1ac04c00, /* crc32x of a W register */
        0x9ac04000, /* crc32b of an X register */
        0x08217c00, /* casp, odd Rs */
        0x08207c01, /* casp, odd Rt */
        0x88a07800, /* cas with Rt2 not 31 */
        0xe8400000, /* ldp, opc 3 */
        0xf8600800, /* ldr, register offset, option 0 */
        0xb8e06800, /* ldrs, size 2, into W */
        0xd61f0001, /* br, op4 */
        0xd61f0800, /* braa */
        0x54000010, /* bc.eq */
        0xd4000000, /* exception, LL 0 */
        0xd5033bff, /* sb with CRm */
        0xd500421f, /* cfinv with CRm */
        0x91800000, /* addg */
        0x5ac00c00, /* rev w with the opcode of the X form */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        if (a64_decode(words[i]))
            printf("  %08x is %s\n", words[i], a64_rows[a64_decode(words[i])].name);
        CHECK_EQ(a64_decode(words[i]), A64_UNALLOCATED);
    }
}

/* By the definition: a run of ones of each length, rotated, in each element size. */
static void bitmask_immediates(void)
{
    unsigned found = 0;
    uint64_t w, t;

    for (unsigned n = 0; n < 2; n++) {
        for (unsigned imms = 0; imms < 64; imms++) {
            unsigned esize = n           ? 64
                             : imms < 32 ? 32
                             : imms < 48 ? 16
                             : imms < 56 ? 8
                             : imms < 60 ? 4
                             : imms < 62 ? 2
                                         : 0;
            for (unsigned immr = 0; immr < 64; immr++) {
                bool ok = a64_bitmask(n, imms, immr, true, 64, &w, &t);
                if (!esize || (imms & (esize - 1)) == esize - 1) {
                    CHECK(!ok);
                    continue;
                }
                CHECK(ok);
                unsigned len = (imms & (esize - 1)) + 1, rot = immr & (esize - 1);
                for (unsigned b = 0; b < 64; b++)
                    CHECK_EQ(w >> b & 1, ((b + rot) & (esize - 1)) < len);
                CHECK_EQ(a64_bitmask(n, imms, immr, true, 32, &w, &t), !n);
                found++;
            }
        }
    }
    CHECK(found > 5334); /* rotations by more than the element repeat patterns: at least the 5334 distinct ones */
    CHECK(a64_bitmask(1, 63, 0, false, 64, &w, &t));
    CHECK_EQ(w, UINT64_MAX);
    CHECK_EQ(t, UINT64_MAX);
    CHECK(a64_bitmask(1, 7, 60, false, 64, &w, &t)); /* ubfiz #4, #8 */
    CHECK_EQ(w, 0xff0);
    CHECK_EQ(t, 0xfff);
}

struct word {
    uint32_t insn;
    const char *text;
};

static void disassembly_of_known_words(void)
{
    static const struct word words[] = {
#define WORD(insn, text) {insn, text},
#include "tests/decode/base_words.def"
#include "tests/decode/simd_words.def"
#undef WORD
    };
    unsigned bad = 0;
    char buf[160];

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        int n = a64_disasm(buf, sizeof(buf), words[i].insn, 0);
        CHECK_EQ(strlen(buf), n);
        for (char *p = buf; *p; p++) {
            if (*p == '\t')
                *p = ' ';
        }
        if (strcmp(buf, words[i].text)) {
            printf("  %08x: \"%s\", not \"%s\"\n", words[i].insn, buf, words[i].text);
            bad++;
        }
    }
    CHECK_EQ(bad, 0);
}

static void disassembly_of_pc_relative_words(void)
{
    static const struct word words[] = {
        {0x10000021, "adr\tx1, 0x1004"},     {0x90000002, "adrp\tx2, 0x1000"},
        {0x14000040, "b\t0x1108"},           {0x94000000, "bl\t0x100c"},
        {0x54000041, "b.ne\t0x1018"},        {0x5400006e, "b.al\t0x1020"},
        {0x34000103, "cbz\tw3, 0x1038"},     {0xb500021f, "cbnz\txzr, 0x105c"},
        {0x36180085, "tbz\tw5, #3, 0x1030"}, {0xb74000e6, "tbnz\tx6, #40, 0x1040"},
        {0x18000107, "ldr\tw7, 0x1048"},     {0x58000128, "ldr\tx8, 0x1050"},
        {0x98000149, "ldrsw\tx9, 0x1058"},   {0xd8000173, "prfm\tpstl2strm, 0x1060"},
    };
    char buf[160];

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        a64_disasm(buf, sizeof(buf), words[i].insn, 0x1000 + 4 * i);
        if (strcmp(buf, words[i].text))
            printf("  %08x: \"%s\", not \"%s\"\n", words[i].insn, buf, words[i].text);
        CHECK(!strcmp(buf, words[i].text));
    }
}

/* No template leaves a directive unexpanded, and a short buffer is respected. */
static void every_template_expands(void)
{
    char buf[160], small[8];

    for (unsigned i = 1; i < A64_ROW_COUNT; i++) {
        for (unsigned k = 0; k < 200; k++) {
            uint32_t w = a64_rows[i].value | (next_random() & ~a64_rows[i].mask);
            int n = a64_disasm(buf, sizeof(buf), w, 0x400000);
            CHECK_EQ(strlen(buf), n);
            if (!n || strchr(buf, '<') || strchr(buf, '?'))
                printf("  %s, %08x: \"%s\"\n", a64_rows[i].name, w, buf);
            CHECK(n && !strchr(buf, '<') && !strchr(buf, '?'));
            CHECK_EQ(a64_disasm(small, sizeof(small), w, 0x400000), n);
            CHECK(strlen(small) < sizeof(small));
        }
    }
}

int main(void)
{
    RUN(rows_overlap_only_by_declaration);
    RUN(rows_decode_to_themselves);
    RUN(random_words_decode_as_by_scan);
    RUN(reserved_encodings_are_unallocated);
    RUN(bitmask_immediates);
    RUN(disassembly_of_known_words);
    RUN(disassembly_of_pc_relative_words);
    RUN(every_template_expands);
    return check_done();
}
