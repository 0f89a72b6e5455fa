/*
 * Names of system registers and system instructions for the disassembler. What is not here prints by its numbers.
 */
#include "jit/a64/disasm.h"
#include "vmm/base/util.h"

#define ENC(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))

static const struct {
    uint16_t enc;
    const char *name;
} regs[] = {
    {ENC(2, 0, 0, 2, 2), "mdscr_el1"},
    {ENC(2, 0, 1, 0, 4), "oslar_el1"},
    {ENC(2, 0, 1, 1, 4), "oslsr_el1"},
    {ENC(2, 0, 1, 3, 4), "osdlr_el1"},
    {ENC(3, 0, 0, 0, 0), "midr_el1"},
    {ENC(3, 0, 0, 0, 5), "mpidr_el1"},
    {ENC(3, 0, 0, 0, 6), "revidr_el1"},
    {ENC(3, 0, 0, 4, 0), "id_aa64pfr0_el1"},
    {ENC(3, 0, 0, 4, 1), "id_aa64pfr1_el1"},
    {ENC(3, 0, 0, 5, 0), "id_aa64dfr0_el1"},
    {ENC(3, 0, 0, 6, 0), "id_aa64isar0_el1"},
    {ENC(3, 0, 0, 6, 1), "id_aa64isar1_el1"},
    {ENC(3, 0, 0, 7, 0), "id_aa64mmfr0_el1"},
    {ENC(3, 0, 0, 7, 1), "id_aa64mmfr1_el1"},
    {ENC(3, 0, 0, 7, 2), "id_aa64mmfr2_el1"},
    {ENC(3, 0, 1, 0, 0), "sctlr_el1"},
    {ENC(3, 0, 1, 0, 1), "actlr_el1"},
    {ENC(3, 0, 1, 0, 2), "cpacr_el1"},
    {ENC(3, 0, 2, 0, 0), "ttbr0_el1"},
    {ENC(3, 0, 2, 0, 1), "ttbr1_el1"},
    {ENC(3, 0, 2, 0, 2), "tcr_el1"},
    {ENC(3, 0, 4, 0, 0), "spsr_el1"},
    {ENC(3, 0, 4, 0, 1), "elr_el1"},
    {ENC(3, 0, 4, 1, 0), "sp_el0"},
    {ENC(3, 0, 4, 2, 0), "spsel"},
    {ENC(3, 0, 4, 2, 2), "currentel"},
    {ENC(3, 0, 4, 2, 3), "pan"},
    {ENC(3, 0, 4, 2, 4), "uao"},
    {ENC(3, 0, 4, 6, 0), "icc_pmr_el1"},
    {ENC(3, 0, 5, 1, 0), "afsr0_el1"},
    {ENC(3, 0, 5, 1, 1), "afsr1_el1"},
    {ENC(3, 0, 5, 2, 0), "esr_el1"},
    {ENC(3, 0, 6, 0, 0), "far_el1"},
    {ENC(3, 0, 7, 4, 0), "par_el1"},
    {ENC(3, 0, 10, 2, 0), "mair_el1"},
    {ENC(3, 0, 10, 3, 0), "amair_el1"},
    {ENC(3, 0, 12, 0, 0), "vbar_el1"},
    {ENC(3, 0, 12, 1, 0), "isr_el1"},
    {ENC(3, 0, 12, 11, 1), "icc_dir_el1"},
    {ENC(3, 0, 12, 11, 3), "icc_rpr_el1"},
    {ENC(3, 0, 12, 11, 5), "icc_sgi1r_el1"},
    {ENC(3, 0, 12, 12, 0), "icc_iar1_el1"},
    {ENC(3, 0, 12, 12, 1), "icc_eoir1_el1"},
    {ENC(3, 0, 12, 12, 3), "icc_bpr1_el1"},
    {ENC(3, 0, 12, 12, 4), "icc_ctlr_el1"},
    {ENC(3, 0, 12, 12, 5), "icc_sre_el1"},
    {ENC(3, 0, 12, 12, 7), "icc_igrpen1_el1"},
    {ENC(3, 0, 13, 0, 1), "contextidr_el1"},
    {ENC(3, 0, 13, 0, 4), "tpidr_el1"},
    {ENC(3, 0, 14, 1, 0), "cntkctl_el1"},
    {ENC(3, 1, 0, 0, 0), "ccsidr_el1"},
    {ENC(3, 1, 0, 0, 1), "clidr_el1"},
    {ENC(3, 1, 0, 0, 7), "aidr_el1"},
    {ENC(3, 2, 0, 0, 0), "csselr_el1"},
    {ENC(3, 3, 0, 0, 1), "ctr_el0"},
    {ENC(3, 3, 0, 0, 7), "dczid_el0"},
    {ENC(3, 3, 4, 2, 0), "nzcv"},
    {ENC(3, 3, 4, 2, 1), "daif"},
    {ENC(3, 3, 4, 2, 5), "dit"},
    {ENC(3, 3, 4, 2, 6), "ssbs"},
    {ENC(3, 3, 4, 4, 0), "fpcr"},
    {ENC(3, 3, 4, 4, 1), "fpsr"},
    {ENC(3, 3, 9, 12, 0), "pmcr_el0"},
    {ENC(3, 3, 9, 13, 0), "pmccntr_el0"},
    {ENC(3, 3, 9, 14, 0), "pmuserenr_el0"},
    {ENC(3, 3, 13, 0, 2), "tpidr_el0"},
    {ENC(3, 3, 13, 0, 3), "tpidrro_el0"},
    {ENC(3, 3, 14, 0, 0), "cntfrq_el0"},
    {ENC(3, 3, 14, 0, 1), "cntpct_el0"},
    {ENC(3, 3, 14, 0, 2), "cntvct_el0"},
    {ENC(3, 3, 14, 2, 0), "cntp_tval_el0"},
    {ENC(3, 3, 14, 2, 1), "cntp_ctl_el0"},
    {ENC(3, 3, 14, 2, 2), "cntp_cval_el0"},
    {ENC(3, 3, 14, 3, 0), "cntv_tval_el0"},
    {ENC(3, 3, 14, 3, 1), "cntv_ctl_el0"},
    {ENC(3, 3, 14, 3, 2), "cntv_cval_el0"},
};

static const struct {
    uint16_t enc;
    bool reg;
    const char *name;
} instrs[] = {
    {ENC(1, 0, 7, 1, 0), false, "ic ialluis"},     {ENC(1, 0, 7, 5, 0), false, "ic iallu"},
    {ENC(1, 3, 7, 5, 1), true, "ic ivau"},         {ENC(1, 0, 7, 6, 1), true, "dc ivac"},
    {ENC(1, 0, 7, 6, 2), true, "dc isw"},          {ENC(1, 0, 7, 10, 2), true, "dc csw"},
    {ENC(1, 0, 7, 14, 2), true, "dc cisw"},        {ENC(1, 3, 7, 4, 1), true, "dc zva"},
    {ENC(1, 3, 7, 10, 1), true, "dc cvac"},        {ENC(1, 3, 7, 11, 1), true, "dc cvau"},
    {ENC(1, 3, 7, 12, 1), true, "dc cvap"},        {ENC(1, 3, 7, 14, 1), true, "dc civac"},
    {ENC(1, 0, 7, 8, 0), true, "at s1e1r"},        {ENC(1, 0, 7, 8, 1), true, "at s1e1w"},
    {ENC(1, 0, 7, 8, 2), true, "at s1e0r"},        {ENC(1, 0, 7, 8, 3), true, "at s1e0w"},
    {ENC(1, 0, 8, 3, 0), false, "tlbi vmalle1is"}, {ENC(1, 0, 8, 3, 1), true, "tlbi vae1is"},
    {ENC(1, 0, 8, 3, 2), true, "tlbi aside1is"},   {ENC(1, 0, 8, 3, 3), true, "tlbi vaae1is"},
    {ENC(1, 0, 8, 3, 5), true, "tlbi vale1is"},    {ENC(1, 0, 8, 3, 7), true, "tlbi vaale1is"},
    {ENC(1, 0, 8, 7, 0), false, "tlbi vmalle1"},   {ENC(1, 0, 8, 7, 1), true, "tlbi vae1"},
    {ENC(1, 0, 8, 7, 2), true, "tlbi aside1"},     {ENC(1, 0, 8, 7, 3), true, "tlbi vaae1"},
    {ENC(1, 0, 8, 7, 5), true, "tlbi vale1"},      {ENC(1, 0, 8, 7, 7), true, "tlbi vaale1"},
};

const char *a64_dis_sysreg(uint32_t enc)
{
    for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
        if (regs[i].enc == enc)
            return regs[i].name;
    }
    return NULL;
}

const char *a64_dis_sys(uint32_t enc, bool *reg)
{
    for (size_t i = 0; i < ARRAY_SIZE(instrs); i++) {
        if (instrs[i].enc == enc) {
            *reg = instrs[i].reg;
            return instrs[i].name;
        }
    }
    return NULL;
}
