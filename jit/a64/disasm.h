/*
 * Inside the disassembler: what the functions and predicates that templates name (<$name>, ?@name) work with.
 * Those of base rows are in disasm_base.c, those of SIMD rows in disasm_simd.c.
 */
#ifndef PIPIT_JIT_A64_DISASM_H
#define PIPIT_JIT_A64_DISASM_H

#include "jit/a64/decode.h"

struct a64_dis {
    char *buf;
    size_t size;
    size_t len; /* of the whole text, whether it fits or not */
    uint32_t insn;
    uint64_t pc;
    const struct a64_row_info *row;
};

__attribute__((format(printf, 2, 3))) void a64_dis_put(struct a64_dis *d, const char *fmt, ...);
/* Field of the row by its letters (n of them), concatenated, high first; 0 for a letter that the row has not. The
 * width in bits goes to *width where that is not NULL. */
uint64_t a64_dis_field(const struct a64_dis *d, const char *letters, size_t n, unsigned *width);
/* A one-letter field. */
unsigned a64_dis_get(const struct a64_dis *d, char letter);
/* A general register: x or w, 31 as zr or sp. */
void a64_dis_gpr(struct a64_dis *d, unsigned r, bool is64, bool sp);
const char *a64_dis_cond(unsigned cond);

struct a64_dis_fn {
    const char *name;
    void (*print)(struct a64_dis *d);
};

struct a64_dis_pred {
    const char *name;
    bool (*holds)(const struct a64_dis *d);
};

/* Each ends with a NULL name. */
extern const struct a64_dis_fn a64_dis_base_fns[], a64_dis_simd_fns[];
extern const struct a64_dis_pred a64_dis_base_preds[], a64_dis_simd_preds[];

/* Name of a system register (enc as in jit/ops.h), or NULL. */
const char *a64_dis_sysreg(uint32_t enc);
/* Name of a SYS instruction ("dc cvac"), or NULL; *reg: whether it takes a register. */
const char *a64_dis_sys(uint32_t enc, bool *reg);

#endif
