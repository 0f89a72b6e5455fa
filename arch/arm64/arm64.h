/*
 * The AArch64 privileged architecture around struct arm64_cpu: CPU models, exceptions, translation, system registers,
 * timers and PSCI. It reaches the JIT only through struct arm64_hooks.
 */
#ifndef PIPIT_ARM64_ARM64_H
#define PIPIT_ARM64_ARM64_H

#include "arch/arm64/cpu.h"
#include "vmm/base/err.h"
#include "vmm/core/clock.h"
#include "vmm/core/irq.h"
#include "vmm/core/loop.h"
#include "vmm/core/mem.h"
#include "vmm/core/state.h"

/* ---- models (model.c) ---- */
const struct arm64_model *arm64_model_find(const char *name); /* NULL: unknown */
/* Names in order, NULL after the last. */
const char *arm64_model_name(unsigned i);

/* ---- reset and state (cpu.c) ---- */
/* Zeroes and sets model, index, MPIDR (Aff0 = index % 16, Aff1 = index / 16); then resets. Hooks, gic, timer, psci are
 * set after. */
void arm64_cpu_init(struct arm64_cpu *c, const struct arm64_model *m, unsigned index);
/* Warm reset: EL1h, DAIF masked, MMU off, pc 0; keeps model, ops, links. */
void arm64_cpu_reset(struct arm64_cpu *c);
void arm64_cpu_save(const struct arm64_cpu *c, struct state_writer *w);
int arm64_cpu_load(struct arm64_cpu *c, struct state_reader *r);

/* ---- exceptions (exception.c), Arm ARM D1 ---- */
/* Exception classes, ESR_EL1.EC. */
#define ARM64_EC_UNKNOWN 0x00
#define ARM64_EC_WFX 0x01
#define ARM64_EC_FP 0x07
#define ARM64_EC_BTI 0x0d
#define ARM64_EC_ILLEGAL 0x0e
#define ARM64_EC_SVC64 0x15
#define ARM64_EC_HVC64 0x16
#define ARM64_EC_SMC64 0x17
#define ARM64_EC_SYSREG 0x18
#define ARM64_EC_IABT_LOWER 0x20
#define ARM64_EC_IABT_SAME 0x21
#define ARM64_EC_PC_ALIGN 0x22
#define ARM64_EC_DABT_LOWER 0x24
#define ARM64_EC_DABT_SAME 0x25
#define ARM64_EC_SP_ALIGN 0x26
#define ARM64_EC_FP_TRAP 0x2c
#define ARM64_EC_BREAKPOINT_LOWER 0x30
#define ARM64_EC_STEP_LOWER 0x32
#define ARM64_EC_WATCHPOINT_LOWER 0x34
#define ARM64_EC_BRK 0x3c

/* Takes a synchronous exception to EL1: `ec` as for the lower or same EL (the _LOWER forms are adjusted by current EL),
 * preferred return address `ret`. These match struct a64_ops. */
void arm64_take_sync(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far, uint64_t ret);
void arm64_exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far); /* ret = pc */
void arm64_undef(struct arm64_cpu *c);
/* Takes a pending unmasked IRQ or FIQ; false where none is deliverable. */
bool arm64_take_interrupt(struct arm64_cpu *c);
void arm64_eret(struct arm64_cpu *c); /* with the illegal-return rules */
int arm64_call(struct arm64_cpu *c, unsigned kind /* enum a64_call */, uint32_t imm16);
int arm64_fp_access(struct arm64_cpu *c);
int arm64_pstate_write(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2);
/* WFE or WFI at EL0 where SCTLR_EL1.nTWE or nTWI forbids it: raises the trap and returns A64_TRAPPED; else 0. */
int arm64_wfx_trap(struct arm64_cpu *c, bool wfe);

/* ---- translation (mmu.c), Arm ARM D8 ---- */
enum arm64_access { ARM64_READ, ARM64_WRITE, ARM64_FETCH };

struct arm64_xlat {
    uint64_t pa;       /* of va itself */
    uint8_t page_bits; /* log2 of the mapping: 12, 21, 30 */
    uint8_t perm;      /* ARM64_PERM_*: whole permissions, so that one walk fills all views */
    bool ng;           /* not global: belongs to `asid` */
    bool device;       /* Device memory: unaligned accesses fault */
    uint16_t asid;
};

struct arm64_fault {
    uint8_t fsc; /* fault status code, ESR ISS[5:0] */
};

/* Walks the tables of the EL1&0 regime (or the flat map with the MMU off). Returns 0 where the address is mapped with
 * the access flag set, whatever the permissions; otherwise 1 and *f. Reads tables through `m`. */
int arm64_walk(struct arm64_cpu *c, struct mem *m, uint64_t va, struct arm64_xlat *out, struct arm64_fault *f);
/* Permission of one access; el is the EL that it is checked as, PAN from PSTATE (not for EL0). On denial fills *f
 * (level is kept in f->fsc by the walk: pass the same xlat). */
bool arm64_permitted(const struct arm64_cpu *c, const struct arm64_xlat *x, enum arm64_access acc, unsigned el);
/* Raises the data or instruction abort with a full syndrome. `s1ptw` etc. never apply. cm: cache maintenance. */
void arm64_abort(struct arm64_cpu *c, uint64_t va, enum arm64_access acc, uint8_t fsc, bool cm);
/* Permission fault status for the level at which x was mapped. */
uint8_t arm64_perm_fsc(const struct arm64_xlat *x);
#define ARM64_FSC_ALIGN 0x21
#define ARM64_FSC_EXTERNAL 0x10

/* ---- hooks to the JIT ---- */
enum arm64_tlbi_kind { ARM64_TLBI_ALL, ARM64_TLBI_ASID, ARM64_TLBI_VA, ARM64_TLBI_VAA };

struct arm64_tlbi {
    enum arm64_tlbi_kind kind;
    bool broadcast; /* inner or outer shareable forms */
    uint16_t asid;
    uint64_t va;    /* sign extended, page aligned */
    uint64_t pages; /* 4 KiB pages from va (1, or more for range forms) */
};

struct arm64_hooks {
    void (*tlbi)(struct arm64_cpu *c, const struct arm64_tlbi *op);
    /* SCTLR, TTBRn, TCR, MAIR, CONTEXTIDR or PSTATE bits that translation depends on (EL, PAN, UAO) changed. */
    void (*context_changed)(struct arm64_cpu *c);
    /* IC IVAU (va, len bytes) or IC IALLU(IS) (len 0). */
    void (*icache_invalidate)(struct arm64_cpu *c, uint64_t va, uint64_t len);
    /* DC ops that must be permission checked: returns A64_TRAPPED where va is not mapped for it. */
    int (*dcache_check)(struct arm64_cpu *c, uint64_t va, bool write);
    /* FPCR was written (rounding mode, FZ, DN...). */
    void (*fpcr_changed)(struct arm64_cpu *c);
    /* FPSR must be brought up to date from the host before a read, or pushed after a write. */
    void (*fpsr_sync)(struct arm64_cpu *c);
    void (*fpsr_changed)(struct arm64_cpu *c);
};
/* One set for the process: a machine has one JIT. */
void arm64_set_hooks(const struct arm64_hooks *h);

/* ---- system registers (sysreg.c, sysreg.def) ---- */
#define SYSREG_ENC(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
int arm64_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val);
int arm64_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val);

/* For translators: a register whose read (or write) at `el` has no side effect and is not trapped by anything is a
 * plain 64-bit field at this offset of struct arm64_cpu; -1 otherwise. */
int arm64_sysreg_plain(uint32_t enc, unsigned el, bool write);
/* CTR_EL0 at EL1, where it is not trapped, and DCZID_EL0, which SCTLR_EL1.DZE and the EL decide. */
bool arm64_sysreg_const(struct arm64_cpu *c, uint32_t enc, uint64_t *value);

/* ---- generic timer (timer.c), Arm ARM D11 ---- */
#define ARM64_CNTFRQ 62500000u /* Hz: virtual ns / 16 */
struct arm64_timer;
/* PPI lines: virtual 27, physical 30. */
int arm64_timer_create(struct arm64_timer **out, struct arm64_cpu *c, struct clock *clk, struct loop *l,
                       struct irq_line virt, struct irq_line phys);
void arm64_timer_destroy(struct arm64_timer *t);
void arm64_timer_reset(struct arm64_timer *t);
uint64_t arm64_timer_count(struct arm64_timer *t); /* CNTVCT_EL0 (CNTVOFF is 0) */
/* After the clock was resumed or set: looks at both timers again and arms them anew. */
void arm64_timer_resync(struct arm64_timer *t);
/* TVAL, CTL and CVAL of one of the two timers (op2 of their encodings: 0, 1, 2), for sysreg.c. */
enum arm64_timer_which { ARM64_TIMER_VIRT, ARM64_TIMER_PHYS, ARM64_TIMER_COUNT };
uint64_t arm64_timer_read(struct arm64_timer *t, enum arm64_timer_which w, unsigned op2);
void arm64_timer_write(struct arm64_timer *t, enum arm64_timer_which w, unsigned op2, uint64_t val);
/* Part of arm64_cpu_save and arm64_cpu_load, inside their section. */
void arm64_timer_save(struct arm64_timer *t, struct state_writer *w);
void arm64_timer_load(struct arm64_timer *t, struct state_reader *r);

/* ---- PSCI 1.1 (psci.c), Arm DEN0022 ---- */
struct psci;
struct psci_ops {
    /* `index` made the call, and leaves the JIT at its next poll. */
    void (*system_off)(void *opaque, unsigned index);
    void (*system_reset)(void *opaque, unsigned index);
    /* Wakes vCPU `index`, which was reset and given pc and x0; called with its thread parked. */
    void (*cpu_on)(void *opaque, unsigned index);
    void *opaque;
};
int psci_create(struct psci **out, struct arm64_cpu **cpus, unsigned ncpus, const struct psci_ops *ops);
void psci_destroy(struct psci *p);
/* HVC/SMC #0 by `c`: reads x0..x3, writes x0. Unknown functions give NOT_SUPPORTED. */
void psci_call(struct psci *p, struct arm64_cpu *c);
bool psci_cpu_is_on(struct psci *p, unsigned index);
/* The thread of a vCPU that is not on says that it has parked and touches its state no more: only then may CPU_ON
 * reset it. Until then AFFINITY_INFO still says ON. */
void psci_cpu_parked(struct psci *p, unsigned index);
void psci_reset(struct psci *p); /* CPU 0 on, others off */
/* Which vCPUs are on: a section of its own. While no vCPU runs. */
void psci_save(struct psci *p, struct state_writer *w);
int psci_load(struct psci *p, struct state_reader *r);

#endif
