/*
 * Exception entry and return, and the instructions that cause them: Arm ARM D1. All exceptions are taken to EL1.
 */
#include "arch/arm64/internal.h"
#include "jit/ops.h"

#define VECTOR_SYNC 0x000
#define VECTOR_IRQ 0x080
#define VECTOR_FIQ 0x100
#define VECTOR_SAME_SP0 0x000
#define VECTOR_SAME_SPX 0x200
#define VECTOR_LOWER 0x400

#define ESR_IL BIT32(25) /* a 32-bit instruction: all of A64 */

/* AArch64.TakeException: everything but the syndrome. */
static void take(struct arm64_cpu *c, unsigned vector, uint64_t ret)
{
    uint32_t before = arm64_context_bits(c);
    uint32_t misc = c->pstate_misc & ~(PSTATE_UAO | PSTATE_SS | PSTATE_IL | PSTATE_BTYPE);

    if (c->el == 0)
        vector += VECTOR_LOWER;
    else
        vector += c->spsel ? VECTOR_SAME_SPX : VECTOR_SAME_SP0;
    c->sys.spsr_el1 = arm64_pstate(c);
    /* An instruction that was executed, an SVC, has had its software step (D2.12.5). */
    if (ret != c->pc)
        c->sys.spsr_el1 &= ~(uint64_t)PSTATE_SS;
    c->sys.elr_el1 = ret;
    if (arm64_has(c, ARM64_FEAT_PAN) && !(c->sys.sctlr_el1 & SCTLR_SPAN))
        misc |= PSTATE_PAN;
    if (arm64_has(c, ARM64_FEAT_SSBS))
        misc = (misc & ~PSTATE_SSBS) | (c->sys.sctlr_el1 & SCTLR_DSSBS ? PSTATE_SSBS : 0);
    c->pstate_misc = misc;
    c->daif = PSTATE_DAIF;
    arm64_set_el_sp(c, 1, 1);
    c->pc = c->sys.vbar_el1 + vector;
    if (arm64_context_bits(c) != before)
        arm64_hook_context(c);
}

void arm64_take_sync(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far, uint64_t ret)
{
    switch (ec) {
    case ARM64_EC_IABT_LOWER:
    case ARM64_EC_IABT_SAME:
    case ARM64_EC_DABT_LOWER:
    case ARM64_EC_DABT_SAME:
    case ARM64_EC_WATCHPOINT_LOWER:
    case ARM64_EC_WATCHPOINT_LOWER | 1:
        ec = (ec & ~1u) | c->el;
        c->sys.far_el1 = far;
        break;
    case ARM64_EC_PC_ALIGN: c->sys.far_el1 = far; break;
    case ARM64_EC_BREAKPOINT_LOWER:
    case ARM64_EC_BREAKPOINT_LOWER | 1:
    case ARM64_EC_STEP_LOWER:
    case ARM64_EC_STEP_LOWER | 1: ec = (ec & ~1u) | c->el; break;
    default: break; /* FAR_EL1 would be UNKNOWN: it stays */
    }
    c->sys.esr_el1 = (uint64_t)(ec << 26 | ESR_IL | (iss & (ESR_IL - 1)));
    take(c, VECTOR_SYNC, ret);
}

void arm64_exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    arm64_take_sync(c, ec, iss, far, c->pc);
}

void arm64_undef(struct arm64_cpu *c)
{
    arm64_take_sync(c, ARM64_EC_UNKNOWN, 0, 0, c->pc);
}

bool arm64_take_interrupt(struct arm64_cpu *c)
{
    uint32_t lines = atomic_load_explicit(&c->irq_lines, memory_order_acquire);

    if ((lines & ARM64_LINE_FIQ) && !(c->daif & PSTATE_F))
        take(c, VECTOR_FIQ, c->pc);
    else if ((lines & ARM64_LINE_IRQ) && !(c->daif & PSTATE_I))
        take(c, VECTOR_IRQ, c->pc);
    else
        return false;
    return true;
}

/* AArch64.BranchAddr: with top-byte-ignore in force for instruction fetch the PC loses its tag. */
static uint64_t branch_addr(const struct arm64_cpu *c, uint64_t va)
{
    bool high = va & BIT64(55);
    uint64_t tbi = high ? TCR_TBI1 : TCR_TBI0;

    if (!(c->sys.tcr_el1 & tbi))
        return va;
    return (uint64_t)sext64(va, 56);
}

void arm64_eret(struct arm64_cpu *c)
{
    if (c->el == 0) {
        arm64_undef(c);
        return;
    }
    uint32_t before = arm64_context_bits(c);
    uint32_t spsr = (uint32_t)c->sys.spsr_el1;
    uint32_t mode = spsr & 0x1f;
    uint32_t keep = 0; /* bits of pstate_misc that SPSR does not set */
    uint32_t from = PSTATE_PAN;
    /* DebugExceptionReturnSS: PSTATE.SS comes from SPSR where stepping begins with this return. */
    bool ss = (spsr & PSTATE_SS) && !arm64_step_enabled(c, 1, c->daif & PSTATE_D) &&
              arm64_step_enabled(c, bits32(mode, 3, 2), spsr & PSTATE_D);

    if (!arm64_has(c, ARM64_FEAT_PAN))
        from = 0;
    if (mode == 0x0 || mode == 0x4 || mode == 0x5) {
        from |= PSTATE_IL;
        from |= arm64_has(c, ARM64_FEAT_UAO) ? PSTATE_UAO : 0;
        from |= arm64_has(c, ARM64_FEAT_DIT) ? PSTATE_DIT : 0;
        from |= arm64_has(c, ARM64_FEAT_SSBS) ? PSTATE_SSBS : 0;
        from |= arm64_has(c, ARM64_FEAT_BTI) ? PSTATE_BTYPE : 0;
        c->pstate_misc = (spsr & from) | (ss ? PSTATE_SS : 0);
        arm64_set_el_sp(c, mode >> 2, mode & 1);
    } else {
        /* Illegal return (D1.6.4): EL and SP stay, IL is set, and what is UNKNOWN keeps its value. */
        keep = c->pstate_misc & (PSTATE_UAO | PSTATE_DIT | PSTATE_SSBS);
        c->pstate_misc = keep | (spsr & from) | PSTATE_IL;
    }
    arm64_set_nzcv(c, spsr);
    c->daif = spsr & PSTATE_DAIF;
    c->pc = branch_addr(c, c->sys.elr_el1);
    atomic_store_explicit(&c->event, true, memory_order_relaxed); /* SendEventLocal */
    if (c->ops && c->ops->clear_excl)
        c->ops->clear_excl(c);
    if (arm64_context_bits(c) != before)
        arm64_hook_context(c);
}

/* SMCCC and PSCI are served for immediate 0; other immediates find nobody. */
static int firmware_call(struct arm64_cpu *c, uint32_t imm16)
{
    if (c->el == 0 || !c->psci) {
        arm64_undef(c);
        return A64_TRAPPED;
    }
    if (imm16 == 0)
        psci_call(c->psci, c);
    else
        c->x[0] = UINT64_MAX;
    return 0;
}

int arm64_call(struct arm64_cpu *c, unsigned kind, uint32_t imm16)
{
    switch (kind) {
    case A64_CALL_SVC: arm64_take_sync(c, ARM64_EC_SVC64, imm16 & 0xffff, 0, c->pc + 4); return A64_TRAPPED;
    case A64_CALL_HVC:
    case A64_CALL_SMC: return firmware_call(c, imm16 & 0xffff);
    case A64_CALL_BRK: arm64_take_sync(c, ARM64_EC_BRK, imm16 & 0xffff, 0, c->pc); return A64_TRAPPED;
    default: arm64_undef(c); return A64_TRAPPED; /* HLT: halting debug is never allowed */
    }
}

int arm64_fp_access(struct arm64_cpu *c)
{
    unsigned fpen = (unsigned)bits64(c->sys.cpacr_el1, 21, 20);

    if (likely(fpen == 3 || (fpen == 1 && c->el == 1)))
        return 0;
    arm64_take_sync(c, ARM64_EC_FP, 0x1e00000, 0, c->pc); /* CV, COND 0xe */
    return A64_TRAPPED;
}

int arm64_wfx_trap(struct arm64_cpu *c, bool wfe)
{
    if (c->el != 0 || (c->sys.sctlr_el1 & (wfe ? SCTLR_NTWE : SCTLR_NTWI)))
        return 0;
    arm64_take_sync(c, ARM64_EC_WFX, 0x1e00000 | (wfe ? 1 : 0), 0, c->pc);
    return A64_TRAPPED;
}

static int set_misc(struct arm64_cpu *c, enum arm64_feature feat, unsigned min_el, uint32_t bit, unsigned crm)
{
    if (!arm64_has(c, feat) || c->el < min_el) {
        arm64_undef(c);
        return A64_TRAPPED;
    }
    uint32_t before = arm64_context_bits(c);
    c->pstate_misc = (c->pstate_misc & ~bit) | (crm & 1 ? bit : 0);
    if (arm64_context_bits(c) != before)
        arm64_hook_context(c);
    return 0;
}

static int set_daif(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    if (c->el == 0 && !(c->sys.sctlr_el1 & SCTLR_UMA)) {
        uint32_t enc = SYSREG_ENC(0, op1, 4, crm & 15, op2);
        arm64_take_sync(c, ARM64_EC_SYSREG, arm64_sysreg_iss(enc, 31, false), 0, c->pc);
        return A64_TRAPPED;
    }
    uint32_t mask = (crm & 15) << 6;
    c->daif = op2 == 6 ? c->daif | mask : c->daif & ~mask;
    return 0;
}

int arm64_pstate_write(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    switch (op1 << 3 | op2) {
    case 0 << 3 | 3: return set_misc(c, ARM64_FEAT_UAO, 1, PSTATE_UAO, crm);
    case 0 << 3 | 4: return set_misc(c, ARM64_FEAT_PAN, 1, PSTATE_PAN, crm);
    case 0 << 3 | 5:
        if (c->el == 0)
            break;
        if (c->spsel != (crm & 1)) {
            arm64_set_el_sp(c, 1, crm & 1);
            arm64_hook_context(c);
        }
        return 0;
    case 3 << 3 | 1:
        if (bits64(c->model->id_aa64pfr1, 7, 4) < 2) /* SSBS level 1 has no MSR */
            break;
        return set_misc(c, ARM64_FEAT_SSBS, 0, PSTATE_SSBS, crm);
    case 3 << 3 | 2: return set_misc(c, ARM64_FEAT_DIT, 0, PSTATE_DIT, crm);
    case 3 << 3 | 6:
    case 3 << 3 | 7: return set_daif(c, op1, crm, op2);
    default: break;
    }
    arm64_undef(c);
    return A64_TRAPPED;
}
