/*
 * Differential tests of instruction semantics: random instructions of every EL0 row, with random register, flag and
 * memory contents, run by the executor under test and by a reference; both must agree in everything a program sees.
 *
 * A test program gives a run function and calls diff_main. The reference is the peer (user-mode emulation running
 * tests/diff/runner.c), or the interpreter. diff.c drives, diff_gen.c makes cases, diff_env.c is the CPU's
 * surroundings.
 */
#ifndef PIPIT_TESTS_DIFF_H
#define PIPIT_TESTS_DIFF_H

#include "arch/arm64/cpu.h"
#include "jit/a64/decode.h"
#include "jit/ops.h"
#include "tests/lib/diff_file.h"

/* ---- the CPU and its flat memory (diff_env.c) ---- */

#define DIFF_ZVA_SIZE 64u /* bytes of a DC ZVA block; the peer for DC ZVA has the same */

struct diff_env {
    struct arm64_cpu cpu; /* with ops that reach only what is below */
    uint8_t mem[DIFF_MEM_SIZE];
    uint64_t window;     /* address of mem */
    const uint8_t *code; /* image at DIFF_CODE */
    size_t code_size;
    bool stopped; /* the case is over, with... */
    uint32_t sig; /* ...this signal */

    bool monitor; /* exclusive monitor */
    uint64_t monitor_va;
    unsigned monitor_size;

    bool probe;            /* note where accesses go instead of making them */
    uint64_t access_va;    /* the lowest */
    unsigned access_size;  /* bytes from there to the end of the highest; 0: no access */
    unsigned access_flags; /* of the first */
};

void diff_env_load(struct diff_env *e, const struct diff_state *s);
void diff_env_save(const struct diff_env *e, struct diff_state *s);
/* Runs e from cpu.pc with the interpreter until it stops. */
void diff_run_interp(struct diff_env *e);
void diff_stop(struct diff_env *e, uint32_t sig);
/* The registers that MRS and MSR of the cases name: NZCV, FPCR, FPSR. False: another one. */
bool diff_sysreg_read(const struct arm64_cpu *c, uint32_t enc, uint64_t *val);
bool diff_sysreg_write(struct arm64_cpu *c, uint32_t enc, uint64_t val);
/* The word at va of the code image; false outside of it. */
bool diff_fetch(const struct diff_env *e, uint64_t va, uint32_t *insn);

/* ---- cases (diff_gen.c) ---- */

struct diff_case {
    enum a64_row row;
    uint32_t insn; /* the one under test */
    uint32_t code[3];
    struct diff_state in;
};

/* Rows that a program at EL0 can execute, with effects that both sides show. */
bool diff_row_at_el0(enum a64_row row);
/* Makes a case of `row` for slot `slot` of `slots`; false where random choices led nowhere (try again). */
bool diff_gen(struct diff_case *c, enum a64_row row, unsigned slot, unsigned slots, struct diff_env *scratch);
void diff_seed(uint64_t seed);

/* ---- driver (diff.c) ---- */

struct diff_config {
    const char *name;
    /* Runs from e->cpu.pc until e->stopped; memory and code are reached through e->cpu.ops, or as e->mem and e->code.
     */
    void (*run)(struct diff_env *e);
    /* Or NULL: the code image, at DIFF_CODE, is another one from now on. */
    void (*new_code)(const uint8_t *code, size_t size);
    bool against_peer; /* else against the interpreter */
    unsigned cases;    /* for each row, unless --cases says otherwise */
};

/* Options: --cases N, --seed N, --row NAME. Returns the exit status. */
int diff_main(int argc, char **argv, const struct diff_config *cfg);

#endif
