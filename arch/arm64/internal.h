/*
 * What the files of arch/arm64 share among themselves: bits of control registers, and the JIT's hooks behind wrappers
 * that do nothing where no JIT has set them.
 */
#ifndef PIPIT_ARM64_INTERNAL_H
#define PIPIT_ARM64_INTERNAL_H

#include "arch/arm64/arm64.h"

#define SCTLR_M BIT64(0)
#define SCTLR_A BIT64(1)
#define SCTLR_C BIT64(2)
#define SCTLR_SA BIT64(3)
#define SCTLR_SA0 BIT64(4)
#define SCTLR_NAA BIT64(6)
#define SCTLR_ITD BIT64(7)
#define SCTLR_SED BIT64(8)
#define SCTLR_UMA BIT64(9)
#define SCTLR_EOS BIT64(11)
#define SCTLR_I BIT64(12)
#define SCTLR_DZE BIT64(14)
#define SCTLR_UCT BIT64(15)
#define SCTLR_NTWI BIT64(16)
#define SCTLR_NTWE BIT64(18)
#define SCTLR_WXN BIT64(19)
#define SCTLR_TSCXT BIT64(20)
#define SCTLR_EIS BIT64(22)
#define SCTLR_SPAN BIT64(23)
#define SCTLR_UCI BIT64(26)
#define SCTLR_NTLSMD BIT64(28)
#define SCTLR_LSMAOE BIT64(29)
#define SCTLR_DSSBS BIT64(44)
/* RES1 whatever the model: there is no AArch32, ExS or LSMAOC. */
#define SCTLR_RES1 (SCTLR_LSMAOE | SCTLR_NTLSMD | SCTLR_EIS | SCTLR_EOS | SCTLR_SED | SCTLR_ITD)

#define TCR_EPD0 BIT64(7)
#define TCR_A1 BIT64(22)
#define TCR_EPD1 BIT64(23)
#define TCR_AS BIT64(36)
#define TCR_TBI0 BIT64(37)
#define TCR_TBI1 BIT64(38)
#define TCR_HPD0 BIT64(41)
#define TCR_HPD1 BIT64(42)
#define TCR_TBID0 BIT64(51)
#define TCR_TBID1 BIT64(52)
#define TCR_E0PD0 BIT64(55)
#define TCR_E0PD1 BIT64(56)

#define MDSCR_TDCC BIT64(12)
#define OSLSR_OSLM BIT64(3) /* the OS lock is there */

#define CNTKCTL_EL0PCTEN BIT64(0)
#define CNTKCTL_EL0VCTEN BIT64(1)
#define CNTKCTL_EL0VTEN BIT64(8)
#define CNTKCTL_EL0PTEN BIT64(9)

/* ISS of a trapped MSR, MRS or system instruction (EC 0x18). */
static inline uint32_t arm64_sysreg_iss(uint32_t enc, unsigned rt, bool read)
{
    return bits32(enc, 15, 14) << 20 | bits32(enc, 2, 0) << 17 | bits32(enc, 13, 11) << 14 | bits32(enc, 10, 7) << 10 |
           (rt & 31) << 5 | bits32(enc, 6, 3) << 1 | (read ? 1 : 0);
}

extern const struct arm64_hooks *arm64_hooks; /* cpu.c; never NULL */

static inline void arm64_hook_context(struct arm64_cpu *c)
{
    if (arm64_hooks->context_changed)
        arm64_hooks->context_changed(c);
}

/* The part of PSTATE that translation depends on. */
static inline uint32_t arm64_context_bits(const struct arm64_cpu *c)
{
    return (c->pstate_misc & (PSTATE_PAN | PSTATE_UAO)) | (uint32_t)c->el << 2 | c->spsel;
}

/* sysreg.c: builds the look-up table; any number of calls from any thread. */
void arm64_sysreg_init(void);
/* mmu.c: the AT instruction `enc`; fills PAR_EL1. Returns A64_TRAPPED after an external abort on the walk. */
int arm64_at(struct arm64_cpu *c, uint32_t enc, uint64_t va);

#endif
