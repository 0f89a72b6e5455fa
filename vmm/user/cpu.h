/*
 * The guest's CPU in user mode: its operations bound to the process's own memory (struct a64_ops), the registers that
 * EL0 can read, and its faults.
 */
#ifndef PIPIT_USER_CPU_H
#define PIPIT_USER_CPU_H

#include "arch/arm64/cpu.h"
#include "vmm/user/thread.h"

/* Exception syndromes (ESR_EL1) of what EL0 can do; data aborts are made from the access. */
#define USER_ESR_IL BIT32(25)
#define USER_ESR_PC_ALIGN (0x22u << 26 | USER_ESR_IL)
#define USER_ESR_SP_ALIGN (0x26u << 26 | USER_ESR_IL)
#define USER_ESR_FETCH_MAP (0x20u << 26 | USER_ESR_IL | 0x07)
#define USER_ESR_FETCH_PERM (0x20u << 26 | USER_ESR_IL | 0x0f)

/* Bits of FPCR and FPSR that are kept. */
#define USER_FPCR_MASK 0x07f79f00u
#define USER_FPSR_MASK 0xf800009fu

enum user_access_kind { USER_ACCESS_READ, USER_ACCESS_WRITE, USER_ACCESS_FETCH };

struct jit_fault;

/* Once, before the first CPU runs. */
void user_cpu_ops_init(void);
/* A fresh CPU becomes EL0 as Linux leaves it to programs. */
void user_cpu_init(struct arm64_cpu *c, const struct arm64_model *model);

/* For a new thread: all that the guest can see of `from`. */
void user_cpu_copy(struct arm64_cpu *c, struct arm64_cpu *from);

/* The guest did something that the kernel answers with a signal; pc is that of the instruction. */
void user_cpu_fault(struct arm64_cpu *c, const struct user_fault *f);
/* So did an access of its. */
void user_cpu_access_fault(struct arm64_cpu *c, const struct jit_fault *f);

/* System registers that translators may read themselves (jit_user_ops). */
int user_cpu_sysreg_plain(uint32_t enc, unsigned el, bool write);
bool user_cpu_sysreg_const(struct arm64_cpu *c, uint32_t enc, uint64_t *val);

/* AT_HWCAP and AT_HWCAP2 of a model. */
uint64_t user_hwcap(const struct arm64_model *m);
uint64_t user_hwcap2(const struct arm64_model *m);
/* The names of these bits, in /proc/cpuinfo's order and words, with a space before each; returns the length. */
int user_hwcap_names(const struct arm64_model *m, char *buf, size_t size);

/* CNTFRQ_EL0: the counter counts nanoseconds (user_clock_counter). */
#define USER_CNTFRQ UINT64_C(1000000000)

#endif
