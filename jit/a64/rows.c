/*
 * The A64 decode table: the bit strings of insn_*.def as mask and value pairs, and what bits cannot say. Everything
 * here is constant.
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
