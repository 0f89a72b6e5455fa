/*
 * What instruction semantics need from their surroundings. The interpreter and the translators' helpers call these;
 * a machine binds them to arch/arm64 and jit/rt's soft TLB, user mode to the host's own address space and kernel.
 *
 * Convention: int functions return 0, or A64_TRAPPED when an exception was taken instead: then cpu->pc and PSTATE
 * are those of the handler and the instruction must have no further effect. cpu->pc is the address of the current
 * instruction whenever one of these is called.
 */
#ifndef PIPIT_JIT_OPS_H
#define PIPIT_JIT_OPS_H

#include "arch/arm64/cpu.h"

#define A64_TRAPPED 1

/* Access flags. */
#define A64_MEM_UNPRIV 0x1  /* LDTR/STTR: checked as EL0 unless UAO */
#define A64_MEM_ALIGNED 0x2 /* must be naturally aligned, whatever SCTLR.A says (exclusives, LSE, acquire/release) */
#define A64_MEM_ACQUIRE 0x4
#define A64_MEM_RELEASE 0x8
#define A64_MEM_PAIR                                                                                                   \
    0x10 /* 16-byte access made of two 8-byte (or 8 of two 4-byte) elements: alignment is the element's */

enum a64_rmw {
    A64_RMW_SWP,
    A64_RMW_ADD,
    A64_RMW_CLR,
    A64_RMW_EOR,
    A64_RMW_SET,
    A64_RMW_SMAX,
    A64_RMW_SMIN,
    A64_RMW_UMAX,
    A64_RMW_UMIN
};

enum a64_barrier { A64_DMB, A64_DMB_LD, A64_DMB_ST, A64_DSB, A64_ISB, A64_SB };
enum a64_hint { A64_HINT_YIELD, A64_HINT_WFE, A64_HINT_WFI, A64_HINT_SEV, A64_HINT_SEVL };
enum a64_call { A64_CALL_SVC, A64_CALL_HVC, A64_CALL_SMC, A64_CALL_BRK, A64_CALL_HLT };

struct a64_ops {
    /* Data accesses of 1, 2, 4, 8 or 16 bytes. Little-endian. SP alignment (SCTLR.SA) is the instruction's own check.
     */
    int (*load)(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags);
    int (*store)(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags);
    /* Atomic read-modify-write of 1, 2, 4 or 8 bytes; *old gets the zero-extended former value. */
    int (*rmw)(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t operand, uint64_t *old,
               unsigned flags);
    /* Compare and swap of 1..16 bytes. `expected` is replaced by what was there. */
    int (*cas)(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired, unsigned flags);
    /* Exclusives of 1..16 bytes; *status: 0 stored, 1 not. */
    int (*load_excl)(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags);
    int (*store_excl)(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                      unsigned flags);
    void (*clear_excl)(struct arm64_cpu *c);
    /* DC ZVA: zeroes the block (DCZID_EL0) that holds va. */
    int (*zero_block)(struct arm64_cpu *c, uint64_t va);
    void (*barrier)(struct arm64_cpu *c, enum a64_barrier b);

    /* MRS, MSR (register) and SYS/SYSL. `enc` is bits 20..5 of the instruction: o0:op1:CRn:CRm:op2 with op0 in full
     * (16 bits: op0<<14|op1<<11|CRn<<7|CRm<<3|op2). Register access rights and traps are the callee's. */
    int (*sysreg_read)(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val);
    int (*sysreg_write)(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val);
    /* MSR (immediate): op1, CRm, op2 of the instruction. */
    int (*pstate_write)(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2);

    /* Synchronous exceptions. undef: UNDEFINED at the current instruction. exception: any other class, with ISS; far is
     * valid for aborts and alignment faults. These always trap. */
    void (*undef)(struct arm64_cpu *c);
    void (*exception)(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far);
    int (*call)(struct arm64_cpu *c, enum a64_call kind,
                uint32_t imm16); /* 0: served (PSCI), execution goes on at pc+4 */
    void (*eret)(struct arm64_cpu *c);
    int (*hint)(struct arm64_cpu *c, enum a64_hint h);
    /* FP/SIMD access check (CPACR_EL1.FPEN); called by the interpreter before each FP or SIMD instruction. */
    int (*fp_access)(struct arm64_cpu *c);
};

#endif
