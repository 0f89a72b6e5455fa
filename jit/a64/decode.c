/*
 * The A64 decoder: turns the bit strings of insn_*.def into mask and value pairs, and finds the row of a word.
 *
 * Look-up goes by bits 31..21 (2048 buckets). A bucket that still holds many rows is divided by bits 15..10. What is
 * left is a short list of rows, most fixed bits first, compared one after the other. The lists are built once.
 */
#include "jit/a64/decode.h"

#include "vmm/base/util.h"

/* ---- what bits cannot say: predicates of INSN_IF rows ---- */

static bool sf(uint32_t insn)
{
    return insn >> 31;
}

/* and_imm and the like: a reserved pattern, or a 64-bit one in a 32-bit instruction. */
static bool if_bitmask(uint32_t insn)
{
    uint64_t wmask, tmask;
    return a64_bitmask(insn >> 22 & 1, insn >> 10 & 63, insn >> 16 & 63, true, sf(insn) ? 64 : 32, &wmask, &tmask);
}

static bool if_move_wide(uint32_t insn)
{
    return sf(insn) || !(insn & BIT32(22));
}

/* N equals sf; 32-bit forms have positions below 32. */
static bool if_bitfield(uint32_t insn)
{
    return sf(insn) == (insn >> 22 & 1) && (sf(insn) || !(insn & (BIT32(21) | BIT32(15))));
}

static bool if_extract(uint32_t insn)
{
    return sf(insn) == (insn >> 22 & 1) && (sf(insn) || !(insn & BIT32(15)));
}

static bool if_shifted_logical(uint32_t insn)
{
    return sf(insn) || !(insn & BIT32(15));
}

/* No rotates. */
static bool if_shifted_arith(uint32_t insn)
{
    return (insn >> 22 & 3) != 3 && if_shifted_logical(insn);
}

static bool if_extended(uint32_t insn)
{
    return (insn >> 10 & 7) <= 4;
}

/* The X form takes an X register, the others a W register. */
static bool if_crc(uint32_t insn)
{
    return sf(insn) == ((insn >> 10 & 3) == 3);
}

#define a64_if_and_imm if_bitmask
#define a64_if_orr_imm if_bitmask
#define a64_if_eor_imm if_bitmask
#define a64_if_ands_imm if_bitmask
#define a64_if_movn if_move_wide
#define a64_if_movz if_move_wide
#define a64_if_movk if_move_wide
#define a64_if_sbfm if_bitfield
#define a64_if_bfm if_bitfield
#define a64_if_ubfm if_bitfield
#define a64_if_extr if_extract
#define a64_if_and_sreg if_shifted_logical
#define a64_if_bic_sreg if_shifted_logical
#define a64_if_orr_sreg if_shifted_logical
#define a64_if_orn_sreg if_shifted_logical
#define a64_if_eor_sreg if_shifted_logical
#define a64_if_eon_sreg if_shifted_logical
#define a64_if_ands_sreg if_shifted_logical
#define a64_if_bics_sreg if_shifted_logical
#define a64_if_add_sreg if_shifted_arith
#define a64_if_adds_sreg if_shifted_arith
#define a64_if_sub_sreg if_shifted_arith
#define a64_if_subs_sreg if_shifted_arith
#define a64_if_add_ereg if_extended
#define a64_if_adds_ereg if_extended
#define a64_if_sub_ereg if_extended
#define a64_if_subs_ereg if_extended
#define a64_if_crc32 if_crc
#define a64_if_crc32c if_crc

#include "jit/a64/decode_simd.h"

/* ---- the rows ---- */

#define B1(s, i, c) ((uint32_t)((s)[i] c) << (31 - (i)))
#define B4(s, i, c) (B1(s, i, c) | B1(s, i + 1, c) | B1(s, i + 2, c) | B1(s, i + 3, c))
#define B16(s, i, c) (B4(s, i, c) | B4(s, i + 4, c) | B4(s, i + 8, c) | B4(s, i + 12, c))
#define VALUE(s) (B16(s, 0, == '1') | B16(s, 16, == '1'))
#define MASK(s) (VALUE(s) | B16(s, 0, == '0') | B16(s, 16, == '0'))

#define ROW(row, bitstr, feat, text, is_simd, pred)                                                                    \
    [A64_##row] = {.name = #row,                                                                                       \
                   .bits = bitstr,                                                                                     \
                   .syntax = text,                                                                                     \
                   .mask = MASK(bitstr),                                                                               \
                   .value = VALUE(bitstr),                                                                             \
                   .feature = ARM64_FEAT_##feat,                                                                       \
                   .simd = is_simd,                                                                                    \
                   .valid = pred},

#define INSN(name, bits, feat, syntax) ROW(name, bits, feat, syntax, false, NULL)
#define INSN_IF(name, bits, feat, syntax) ROW(name, bits, feat, syntax, false, a64_if_##name)
const struct a64_row_info a64_rows[A64_ROW_COUNT] = {
    [A64_UNALLOCATED] = {.name = "unallocated", .bits = "--------------------------------", .syntax = ""},
#include "jit/a64/insn_base.def"
#undef INSN
#undef INSN_IF
#define INSN(name, bits, feat, syntax) ROW(name, bits, feat, syntax, true, NULL)
#define INSN_IF(name, bits, feat, syntax) ROW(name, bits, feat, syntax, true, a64_if_##name)
#include "jit/a64/insn_simd.def"
#undef INSN
#undef INSN_IF
};

/* ---- the index ---- */

#define TOP_SHIFT 21 /* bits 31..21 */
#define TOP_COUNT 2048
#define SUB_SHIFT 10 /* bits 15..10 */
#define SUB_COUNT 64
#define SUB_MAX 1024    /* divided buckets */
#define DIVIDE_ABOVE 3  /* rows */
#define POOL_MAX 131072 /* list elements */

/* Rows pool[first..first+count); or, where count is DIVIDED, the table subs[first]. */
struct bucket {
    uint32_t first;
    uint32_t count;
};
#define DIVIDED UINT32_MAX

static struct bucket tops[TOP_COUNT];
static struct bucket subs[SUB_MAX][SUB_COUNT];
static uint16_t pool[POOL_MAX];
static uint32_t pool_used, subs_used;

/* The table is fixed at build time: rows that do not fit are a programming error, which no test program outlives. */
static void table_check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

/* Calls with each value of `width` bits at `shift` that row r can have there. */
#define FOR_EACH_INDEX(i, r, shift, width)                                                                             \
    for (uint32_t _free = ~a64_rows[r].mask >> (shift) & ((1u << (width)) - 1), _s = 0, _more = 1, i;                  \
         _more && (i = (a64_rows[r].value >> (shift) & ((1u << (width)) - 1)) | _s, true);                             \
         _s = (_s - _free) & _free, _more = _s != 0)

static void fill_lists(struct bucket *to, const uint16_t *rows, unsigned count, unsigned shift, unsigned width)
{
    for (unsigned k = 0; k < count; k++) {
        FOR_EACH_INDEX(i, rows[k], shift, width)
        {
            to[i].count++;
        }
    }
    for (unsigned i = 0; i < 1u << width; i++) {
        table_check(to[i].count <= POOL_MAX - pool_used);
        to[i].first = pool_used;
        pool_used += to[i].count;
        to[i].count = 0;
    }
    for (unsigned k = 0; k < count; k++) {
        FOR_EACH_INDEX(i, rows[k], shift, width)
        {
            pool[to[i].first + to[i].count++] = rows[k];
        }
    }
}

void a64_decode_init(void)
{
    uint16_t order[A64_ROW_COUNT];
    unsigned n = 0;

    if (pool_used)
        return;
    for (int fixed = 32; fixed >= 0; fixed--)
        for (unsigned r = 1; r < A64_ROW_COUNT; r++)
            if (__builtin_popcount(a64_rows[r].mask) == fixed)
                order[n++] = (uint16_t)r;
    fill_lists(tops, order, n, TOP_SHIFT, 11);
    for (unsigned i = 0; i < TOP_COUNT; i++) {
        if (tops[i].count <= DIVIDE_ABOVE)
            continue;
        table_check(subs_used < SUB_MAX);
        fill_lists(subs[subs_used], &pool[tops[i].first], tops[i].count, SUB_SHIFT, 6);
        tops[i] = (struct bucket){.first = subs_used++, .count = DIVIDED};
    }
}

enum a64_row a64_decode(uint32_t insn)
{
    struct bucket b = tops[insn >> TOP_SHIFT];

    if (b.count == DIVIDED)
        b = subs[b.first][insn >> SUB_SHIFT & (SUB_COUNT - 1)];
    for (uint32_t k = 0; k < b.count; k++) {
        const struct a64_row_info *r = &a64_rows[pool[b.first + k]];
        if ((insn & r->mask) == r->value && (!r->valid || r->valid(insn)))
            return (enum a64_row)pool[b.first + k];
    }
    return A64_UNALLOCATED;
}

static uint64_t ones(unsigned n)
{
    return n ? UINT64_MAX >> (64 - n) : 0;
}

static uint64_t replicate(uint64_t elem, unsigned esize)
{
    for (; esize < 64; esize *= 2)
        elem |= elem << esize;
    return elem;
}

bool a64_bitmask(unsigned n, unsigned imms, unsigned immr, bool immediate, unsigned datasize, uint64_t *wmask,
                 uint64_t *tmask)
{
    unsigned size_bits = n << 6 | (~imms & 63);
    if (size_bits < 2)
        return false;
    unsigned len = 31 - (unsigned)__builtin_clz(size_bits), esize = 1u << len, levels = esize - 1;
    if (esize > datasize || (immediate && (imms & levels) == levels))
        return false;
    unsigned s = imms & levels, r = immr & levels, d = (s - r) & levels;
    uint64_t welem = ones(s + 1);
    if (r)
        welem = (welem >> r | welem << (esize - r)) & ones(esize);
    *wmask = replicate(welem, esize) & ones(datasize);
    *tmask = replicate(ones(d + 1), esize) & ones(datasize);
    return true;
}
