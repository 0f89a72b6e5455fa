/*
 * The interpreter: executes decoded rows directly on struct arm64_cpu. It is the oracle for the translating tiers and
 * their fallback for rare instructions and faults.
 */
#ifndef PIPIT_JIT_INTERP_H
#define PIPIT_JIT_INTERP_H

#include "jit/a64/decode.h"
#include "jit/ops.h"

enum a64_next {
    A64_NEXT,  /* go on at pc + 4 (pc itself is not advanced by the row) */
    A64_JUMP,  /* pc was set: branch taken, exception taken, ERET */
    A64_LEAVE, /* pc was set or advanced; the run loop should look at exit_request before going on (WFI, MSR DAIF ...)
                */
};

/* One function a row; prototypes are made from the table. */
#define INSN(name, bits, feat, syntax) enum a64_next a64_exec_##name(struct arm64_cpu *c, uint32_t insn);
#define INSN_IF(name, bits, feat, syntax) INSN(name, bits, feat, syntax)
#include "jit/a64/insn_base.def"
#include "jit/a64/insn_simd.def"
#undef INSN
#undef INSN_IF

typedef enum a64_next (*a64_exec_fn)(struct arm64_cpu *c, uint32_t insn);
extern const a64_exec_fn a64_exec[A64_ROW_COUNT];

/*
 * Executes `insn`, which was fetched from c->pc: decodes, checks the CPU's features, FP access and BTI-free state, runs
 * the row and advances pc. Returns A64_JUMP or A64_LEAVE as the row did, and A64_NEXT when pc moved to pc + 4.
 */
enum a64_next a64_interp_step(struct arm64_cpu *c, uint32_t insn);

#endif
