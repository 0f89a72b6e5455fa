/*
 * The A64 decode table. An instruction is a row of insn_*.def:
 *
 *   INSN(add_imm, "z0010001ssiiiiiiiiiiiinnnnnddddd", BASE, "add ...")
 *
 * name, 32 characters for bits 31..0 (0 and 1 fixed, letters are fields, '-' ignored), the feature that provides it
 * (ARM64_FEAT_*), and the disassembler's template. Rows are exact: what a row matches is an allocated encoding. Where
 * bits cannot say that, INSN_IF names a predicate `static bool a64_if_NAME(uint32_t insn)` of decode.c. Rows do not
 * overlap, unless the more specific one carries more fixed bits (it then wins); a test checks this.
 *
 * The same rows drive the interpreter (a64_exec_NAME), the translator, the disassembler and the random tests.
 *
 * The template is the assembly text, with directives in angle brackets. Its first space becomes a tab.
 *   alt|alt        alternatives; the first one whose condition holds is used (aliases go first)
 *   ?c&c:text      the condition of an alternative: F=9 or F!=9 (number), F=G or F!=G (fields), @name (a predicate
 *                  of disasm*.c). F is one or more field letters of the row; several are concatenated, high first.
 *   <kF>           the value of field F, printed as kind k says:
 *                    x w  general register, 31 is the zero register     X W  31 is the stack pointer
 *                    r R  x or w (X or W) by field z                    l    x if field S is 3, else w
 *                    b h s d q v  SIMD register (v takes what follows as arrangement: <vd>.16b)
 *                    u  decimal    #  "#" and decimal    -  "#" and signed decimal (F sign-extended)
 *                    0  "#" and hexadecimal    c  condition    C  inverted condition
 *                    p  F sign-extended, times 4, plus pc, in hexadecimal
 *                  F may be followed by operations, applied in order: *N, +N, /N, ^G (shift left by field G) and
 *                  ~N (N minus the value).
 *   <,kF>          the same after ", ", but nothing at all if the value is 0
 *   <?F:a,b,c>     the item of the list that the value of F selects; items are plain text and may be empty
 *   <$name>        printed by the function `name` of disasm*.c
 */
#ifndef PIPIT_JIT_A64_DECODE_H
#define PIPIT_JIT_A64_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/arm64/cpu.h"

enum a64_row {
    A64_UNALLOCATED,
#define INSN(name, bits, feat, syntax) A64_##name,
#define INSN_IF(name, bits, feat, syntax) A64_##name,
#include "jit/a64/insn_base.def"
#include "jit/a64/insn_simd.def"
#undef INSN
#undef INSN_IF
    A64_ROW_COUNT
};

struct a64_row_info {
    const char *name;
    const char *bits;   /* 32 characters, bit 31 first */
    const char *syntax; /* disassembler template */
    uint32_t mask, value;
    uint8_t feature;              /* enum arm64_feature */
    bool simd;                    /* from insn_simd.def: needs the FP access check */
    bool (*valid)(uint32_t insn); /* NULL: the bits say all */
};

extern const struct a64_row_info a64_rows[A64_ROW_COUNT];

/* The row of an instruction word, A64_UNALLOCATED where there is none. Features are not considered. */
enum a64_row a64_decode(uint32_t insn);

/* One line of assembly without newline; pc for PC-relative operands. Returns what snprintf would. */
int a64_disasm(char *buf, size_t size, uint32_t insn, uint64_t pc);

/* Register fields. 31 means XZR or SP by row. */
static inline unsigned a64_rd(uint32_t insn)
{
    return insn & 31;
}
static inline unsigned a64_rn(uint32_t insn)
{
    return insn >> 5 & 31;
}
static inline unsigned a64_rm(uint32_t insn)
{
    return insn >> 16 & 31;
}
static inline unsigned a64_ra(uint32_t insn)
{
    return insn >> 10 & 31;
}

/* DecodeBitMasks of the Arm ARM (J1, aarch64/instrs/integer/bitmasks) for logical immediates and bit fields. False for
 * a reserved combination. */
bool a64_bitmask(unsigned n, unsigned imms, unsigned immr, bool immediate, unsigned datasize, uint64_t *wmask,
                 uint64_t *tmask);

#endif
