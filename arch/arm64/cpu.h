/*
 * Architectural state of one AArch64 vCPU, as the JIT, the interpreter, gdb and the save stream see it.
 *
 * The JIT addresses this structure from generated code: x[] comes first, and fields used on hot paths follow soon.
 * State here is whole at every poll and every exit of every tier: nothing else needs to be asked.
 *
 * Threads: the vCPU's own thread owns all fields; others may only touch those that are atomic.
 */
#ifndef PIPIT_ARM64_CPU_H
#define PIPIT_ARM64_CPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/util.h"

struct arm64_cpu;
struct a64_ops;

/* A 128-bit SIMD register. Element 0 is the least significant. */
typedef union {
    uint8_t b[16];
    uint16_t h[8];
    uint32_t s[4];
    uint64_t d[2];
    float f32[4];
    double f64[2];
} arm64_vreg __attribute__((aligned(16)));

/*
 * NZCV is kept as the host's LAHF/SETO image, so that generated code saves and restores it in three instructions:
 * bit 15 N (SF), bit 14 Z (ZF), bit 8 = NOT C (CF has the sense of an x86 borrow), bit 0 V (OF). Other bits are junk.
 * Use arm64_nzcv()/arm64_set_nzcv().
 */
#define ARM64_FLAG_N 0x8000u
#define ARM64_FLAG_Z 0x4000u
#define ARM64_FLAG_NOTC 0x0100u
#define ARM64_FLAG_V 0x0001u

/* PSTATE bits as in SPSR_EL1 (Arm ARM C5.2.18). */
#define PSTATE_N BIT32(31)
#define PSTATE_Z BIT32(30)
#define PSTATE_C BIT32(29)
#define PSTATE_V BIT32(28)
#define PSTATE_DIT BIT32(24)
#define PSTATE_UAO BIT32(23)
#define PSTATE_PAN BIT32(22)
#define PSTATE_SS BIT32(21)
#define PSTATE_IL BIT32(20)
#define PSTATE_SSBS BIT32(12)
#define PSTATE_BTYPE (BIT32(10) | BIT32(11))
#define PSTATE_D BIT32(9)
#define PSTATE_A BIT32(8)
#define PSTATE_I BIT32(7)
#define PSTATE_F BIT32(6)
#define PSTATE_DAIF (PSTATE_D | PSTATE_A | PSTATE_I | PSTATE_F)
#define PSTATE_EL (BIT32(2) | BIT32(3))
#define PSTATE_SP BIT32(0)

/* exit_request bits: why a vCPU should leave translated code at its next poll. */
#define ARM64_EXIT_IRQ 0x1  /* irq_lines changed */
#define ARM64_EXIT_KICK 0x2 /* the machine wants the thread */
#define ARM64_EXIT_SYNC 0x4 /* the JIT runtime wants it (TLB broadcast, exclusive region) */

/* irq_lines bits. */
#define ARM64_LINE_IRQ 0x1
#define ARM64_LINE_FIQ 0x2

/* What a translation permits, at EL1 and at EL0; PAN is applied on top. */
#define ARM64_PERM_R1 0x01 /* EL1 may read ... (PAN not applied: see below) */
#define ARM64_PERM_W1 0x02
#define ARM64_PERM_X1 0x04
#define ARM64_PERM_R0 0x08 /* EL0 may read ... */
#define ARM64_PERM_W0 0x10
#define ARM64_PERM_X0 0x20

/* Instruction-set features that rows of the decode table and ID registers are gated by. */
enum arm64_feature {
    ARM64_FEAT_BASE,
    ARM64_FEAT_FP,
    ARM64_FEAT_ASIMD,
    ARM64_FEAT_CRC32,
    ARM64_FEAT_AES,
    ARM64_FEAT_PMULL,
    ARM64_FEAT_SHA1,
    ARM64_FEAT_SHA256,
    ARM64_FEAT_SHA512,
    ARM64_FEAT_SHA3,
    ARM64_FEAT_LSE,
    ARM64_FEAT_LSE2,
    ARM64_FEAT_RDM,
    ARM64_FEAT_DOTPROD,
    ARM64_FEAT_FP16,
    ARM64_FEAT_FHM,
    ARM64_FEAT_JSCVT,
    ARM64_FEAT_FCMA,
    ARM64_FEAT_LRCPC,
    ARM64_FEAT_LRCPC2,
    ARM64_FEAT_FLAGM,
    ARM64_FEAT_FLAGM2,
    ARM64_FEAT_FRINTTS,
    ARM64_FEAT_DIT,
    ARM64_FEAT_SSBS,
    ARM64_FEAT_SB,
    ARM64_FEAT_PAN,
    ARM64_FEAT_PAN2, /* AT S1E1RP, S1E1WP */
    ARM64_FEAT_UAO,
    ARM64_FEAT_BTI,
    ARM64_FEAT_DPB,
    ARM64_FEAT_DPB2,
    ARM64_FEAT_TLBIOS,
    ARM64_FEAT_TLBIRANGE,
    ARM64_FEAT_COUNT
};

/* EL1/EL0 system registers that are plain storage (their side effects live in arch/arm64/sysreg.c). */
struct arm64_sysregs {
    uint64_t sctlr_el1, actlr_el1, cpacr_el1;
    uint64_t ttbr0_el1, ttbr1_el1, tcr_el1, mair_el1, amair_el1;
    uint64_t vbar_el1, elr_el1, spsr_el1, esr_el1, far_el1, par_el1, afsr0_el1, afsr1_el1;
    uint64_t contextidr_el1, tpidr_el0, tpidrro_el0, tpidr_el1;
    uint64_t sp_el0, sp_el1; /* the one not selected; the selected one is x[31] (see arm64_cpu.x) */
    uint64_t csselr_el1, cntkctl_el1, mdscr_el1, osdlr_el1, oslsr_el1;
    uint64_t cntfrq_el0, scxtnum_el0, scxtnum_el1, mdccint_el1, oseccr_el1, dbgclaim;
    uint64_t dbgbvr[16], dbgbcr[16], dbgwvr[16], dbgwcr[16];
};

/* Identification, set once from the CPU model. */
struct arm64_model {
    const char *name;  /* "cortex-a72" ... */
    uint64_t features; /* BIT64(enum arm64_feature) */
    uint64_t midr, revidr, ctr, dczid, clidr, aidr;
    uint64_t ccsidr[8]; /* by CSSELR.Level:InD */
    uint64_t id_aa64pfr0, id_aa64pfr1, id_aa64isar0, id_aa64isar1, id_aa64isar2;
    uint64_t id_aa64mmfr0, id_aa64mmfr1, id_aa64mmfr2, id_aa64dfr0;
};

struct arm64_cpu {
    /* X0..X30; x[31] is the stack pointer in use (never XZR). */
    uint64_t x[32];
    uint64_t pc;
    uint16_t flags;       /* see ARM64_FLAG_* */
    uint8_t el;           /* 0 or 1 */
    uint8_t spsel;        /* PSTATE.SP */
    uint32_t daif;        /* PSTATE_D|A|I|F bits in place */
    uint32_t pstate_misc; /* PAN, UAO, DIT, SSBS, BTYPE, SS, IL bits in place */
    _Atomic uint32_t exit_request;
    _Atomic uint32_t irq_lines;
    uint32_t fpcr;
    uint32_t fpsr;  /* cumulative flags may still be in the host's MXCSR while translated code runs */
    uint32_t index; /* vCPU number */
    arm64_vreg v[32];

    struct arm64_sysregs sys;

    const struct a64_ops *ops;
    const struct arm64_model *model;
    uint64_t mpidr;

    void *gic;     /* struct gic_cpu, arch/arm64/gic.h */
    void *timer;   /* struct arm64_timer */
    void *psci;    /* struct psci */
    void *machine; /* the accelerator's vCPU (struct vcpu) */
    void *mem;     /* struct mem: what AT instructions walk; NULL: none */

    atomic_bool event; /* the event register (WFE, SEV); other vCPUs set it */
};

/* NZCV in PSTATE position (bits 31..28). */
static inline uint32_t arm64_nzcv(const struct arm64_cpu *c)
{
    uint32_t f = c->flags;
    return (f & ARM64_FLAG_N ? PSTATE_N : 0) | (f & ARM64_FLAG_Z ? PSTATE_Z : 0) |
           (f & ARM64_FLAG_NOTC ? 0 : PSTATE_C) | (f & ARM64_FLAG_V ? PSTATE_V : 0);
}

static inline void arm64_set_nzcv(struct arm64_cpu *c, uint32_t pstate)
{
    c->flags = (uint16_t)((pstate & PSTATE_N ? ARM64_FLAG_N : 0) | (pstate & PSTATE_Z ? ARM64_FLAG_Z : 0) |
                          (pstate & PSTATE_C ? 0 : ARM64_FLAG_NOTC) | (pstate & PSTATE_V ? ARM64_FLAG_V : 0));
}

/* The whole PSTATE in SPSR format. */
static inline uint32_t arm64_pstate(const struct arm64_cpu *c)
{
    return arm64_nzcv(c) | c->pstate_misc | c->daif | (uint32_t)c->el << 2 | c->spsel;
}

static inline bool arm64_has(const struct arm64_cpu *c, enum arm64_feature f)
{
    return c->model->features & BIT64(f);
}

#define MDSCR_SS BIT64(0)
#define MDSCR_KDE BIT64(13)
#define OSLSR_OSLK BIT64(1)

/* Are software step exceptions enabled at `el` with PSTATE.D as given (Arm ARM D2.12)? Where they are, PSTATE.SS 1
 * means that one instruction is executed, 0 that the exception is next. */
static inline bool arm64_step_enabled(const struct arm64_cpu *c, unsigned el, bool d)
{
    if (likely(!(c->sys.mdscr_el1 & MDSCR_SS)))
        return false;
    if ((c->sys.oslsr_el1 & OSLSR_OSLK) || (c->sys.osdlr_el1 & 1))
        return false;
    return el == 0 || ((c->sys.mdscr_el1 & MDSCR_KDE) && !d);
}

/* Is an unmasked interrupt waiting? */
static inline bool arm64_irq_deliverable(struct arm64_cpu *c)
{
    uint32_t l = atomic_load_explicit(&c->irq_lines, memory_order_acquire);
    return ((l & ARM64_LINE_IRQ) && !(c->daif & PSTATE_I)) || ((l & ARM64_LINE_FIQ) && !(c->daif & PSTATE_F));
}

/* Switches the stack pointer in use when EL or PSTATE.SP changes: banks x[31], then loads the new one. */
static inline void arm64_set_el_sp(struct arm64_cpu *c, unsigned el, unsigned spsel)
{
    if (c->el == 1 && c->spsel)
        c->sys.sp_el1 = c->x[31];
    else
        c->sys.sp_el0 = c->x[31];
    c->el = (uint8_t)el;
    c->spsel = (uint8_t)spsel;
    c->x[31] = el == 1 && spsel ? c->sys.sp_el1 : c->sys.sp_el0;
}

#endif
