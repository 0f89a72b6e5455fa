/*
 * Immediates and element fields of FP and SIMD rows, decoded once for interpreter, translators and disassembler.
 */
#ifndef PIPIT_JIT_A64_SIMD_IMM_H
#define PIPIT_JIT_A64_SIMD_IMM_H

#include <stdint.h>

/* VFPExpandImm: the 8-bit immediate of FMOV as a value of 2 (log2 1), 4 (2) or 8 (3) bytes. */
static inline uint64_t a64_fp_imm(unsigned fmt, unsigned imm8)
{
    unsigned exp_bits = fmt == 1 ? 5 : fmt == 2 ? 8 : 11, frac_bits = (8u << fmt) - 1 - exp_bits;
    uint64_t sign = imm8 >> 7 & 1, b6 = imm8 >> 6 & 1;
    uint64_t rep = b6 ? (UINT64_C(1) << (exp_bits - 3)) - 1 : 0;
    uint64_t exp = (b6 ^ 1) << (exp_bits - 1) | rep << 2 | (imm8 >> 4 & 3);
    return sign << ((8u << fmt) - 1) | exp << frac_bits | (uint64_t)(imm8 & 15) << (frac_bits - 4);
}

/* The format (log2 of bytes: 1 half, 2 single, 3 double) of a scalar FP instruction, from its type field 23:22. */
static inline unsigned a64_fp_fmt(uint32_t insn)
{
    return insn >> 23 & 1 ? 1 : 2 + (insn >> 22 & 1);
}

/* The eight bytes that MOVI, MVNI, ORR, BIC and FMOV (vector, immediate) repeat; MVNI and BIC: already inverted. */
static inline uint64_t a64_simd_imm(uint32_t insn)
{
    uint64_t imm = (insn >> 16 & 7) << 5 | (insn >> 5 & 31);
    unsigned cmode = insn >> 12 & 15, op = insn >> 29 & 1, imm8 = (unsigned)imm;
    if (cmode < 8) {
        imm <<= (cmode >> 1) * 8;
        imm |= imm << 32;
    } else if (cmode < 12) {
        imm <<= (cmode >> 1 & 1) * 8;
        imm *= UINT64_C(0x0001000100010001);
    } else if (cmode < 14) {
        imm = cmode & 1 ? imm << 16 | 0xffff : imm << 8 | 0xff;
        imm |= imm << 32;
    } else if (cmode == 14) {
        if (op) {
            imm = 0;
            for (unsigned i = 0; i < 8; i++)
                imm |= imm8 >> i & 1 ? UINT64_C(0xff) << (i * 8) : 0;
        } else {
            imm *= UINT64_C(0x0101010101010101);
        }
        return imm;
    } else if (insn >> 11 & 1) {
        return a64_fp_imm(1, imm8) * UINT64_C(0x0001000100010001);
    } else if (op) {
        return a64_fp_imm(3, imm8);
    } else {
        return a64_fp_imm(2, imm8) * UINT64_C(0x0000000100000001);
    }
    return op ? ~imm : imm;
}

/* imm5 of DUP, INS, UMOV, SMOV (bits 20:16, the low four not all zero): element size log2 and index. */
static inline unsigned a64_simd_imm5_size(uint32_t insn)
{
    return (unsigned)__builtin_ctz(insn >> 16 & 31);
}

static inline unsigned a64_simd_imm5_index(uint32_t insn)
{
    return (insn >> 16 & 31) >> (a64_simd_imm5_size(insn) + 1);
}

/* By element: index and register for 16-bit (1), 32-bit (2) and 64-bit (3) elements. */
static inline unsigned a64_simd_elem_index(uint32_t insn, unsigned sz)
{
    unsigned h = insn >> 11 & 1, l = insn >> 21 & 1, m = insn >> 20 & 1;
    return sz == 1 ? h << 2 | l << 1 | m : sz == 2 ? h << 1 | l : h;
}

static inline unsigned a64_simd_elem_reg(uint32_t insn, unsigned sz)
{
    return insn >> 16 & (sz == 1 ? 15 : 31);
}

/* Shifts by immediate: element size log2 from immh (not 0), and immh:immb less the element's bits. */
static inline unsigned a64_simd_shift_size(uint32_t insn)
{
    return 31 - (unsigned)__builtin_clz(insn >> 19 & 15);
}

static inline unsigned a64_simd_shift_left(uint32_t insn)
{
    return (insn >> 16 & 127) - (8u << a64_simd_shift_size(insn));
}

static inline unsigned a64_simd_shift_right(uint32_t insn)
{
    return (16u << a64_simd_shift_size(insn)) - (insn >> 16 & 127);
}

#endif
