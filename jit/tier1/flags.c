/*
 * Tier 1: which flags anybody looks at.
 *
 * Memory has the guest's flags wherever something outside of generated code may see them: at an access that may fault,
 * where the interpreter is called, and where the block is left. Flags that are set again before need not go there.
 */
#include "jit/tier1/t1.h"

enum t1_effect {
    T1_SEES,     /* may leave generated code, or is not known */
    T1_KEEPS,    /* neither reads nor disturbs host flags */
    T1_DISTURBS, /* host flags are not the guest's any more */
    T1_READS,    /* ... reads host flags and keeps them */
    T1_LAST,     /* ... reads host flags and disturbs them */
    T1_SETS,     /* all four, whatever they were */
    T1_CHANGES,  /* all four, from what they were */
};

bool t1_is_mov(uint32_t insn)
{
    return (insn & 0x7fe0ffe0u) == 0x2a0003e0u; /* ORR Rd, ZR, Rm */
}

bool t1_is_lea(uint32_t insn)
{
    return (insn & 0x7fe00000u) == 0x0b000000u && bits32(insn, 15, 10) <= 3 && a64_rn(insn) != 31 && a64_rm(insn) != 31;
}

bool t1_is_shlx(uint32_t insn)
{
    return (insn & 0x7f200000u) == 0x0b000000u && bits32(insn, 23, 22) < 3 && bits32(insn, 15, 10) &&
           a64_rn(insn) != 31 && a64_rm(insn) != 31 && t1_have.bmi2;
}

/* What the translators in int.c and crc.c do to host flags that are the guest's. */
static enum t1_effect t1_effect(const struct t1 *t, unsigned row, uint32_t insn)
{
    switch (row) {
    case A64_adr:
    case A64_adrp:
    case A64_movz:
    case A64_movn: return T1_KEEPS;
    case A64_add_imm:
    case A64_sub_imm:
        return a64_rd(insn) != a64_rn(insn) || !(insn >> 31) || t1_host(t, a64_rd(insn)) >= 0 ? T1_KEEPS : T1_DISTURBS;
    case A64_add_sreg: return t1_is_lea(insn) || t1_is_shlx(insn) ? T1_KEEPS : T1_DISTURBS;
    case A64_orr_sreg: return t1_is_mov(insn) ? T1_KEEPS : T1_DISTURBS;
    case A64_umulh: return t1_have.bmi2 ? T1_KEEPS : T1_DISTURBS;
    case A64_madd: return t1_have.bmi2 && insn >> 31 && a64_ra(insn) == 31 ? T1_KEEPS : T1_DISTURBS;
    case A64_crc32:
    case A64_crc32c: return t1_crc_keeps_flags(insn) ? T1_KEEPS : T1_DISTURBS;
    case A64_csel:
    case A64_csinc:
    case A64_csinv:
    case A64_csneg: return T1_READS;
    case A64_adc:
    case A64_sbc: return T1_LAST;
    case A64_adcs:
    case A64_sbcs:
    case A64_ccmp_reg:
    case A64_ccmp_imm:
    case A64_ccmn_reg:
    case A64_ccmn_imm: return T1_CHANGES;
    case A64_adds_imm:
    case A64_subs_imm:
    case A64_adds_sreg:
    case A64_subs_sreg:
    case A64_adds_ereg:
    case A64_subs_ereg:
    case A64_ands_imm:
    case A64_ands_sreg:
    case A64_bics_sreg: return T1_SETS;
    case A64_sub_sreg:
    case A64_add_ereg:
    case A64_sub_ereg:
    case A64_and_imm:
    case A64_orr_imm:
    case A64_eor_imm:
    case A64_and_sreg:
    case A64_bic_sreg:
    case A64_orn_sreg:
    case A64_eor_sreg:
    case A64_eon_sreg:
    case A64_movk:
    case A64_ubfm:
    case A64_sbfm:
    case A64_bfm:
    case A64_extr:
    case A64_lslv:
    case A64_lsrv:
    case A64_asrv:
    case A64_rorv:
    case A64_msub:
    case A64_smaddl:
    case A64_smsubl:
    case A64_umaddl:
    case A64_umsubl:
    case A64_smulh:
    case A64_clz:
    case A64_rev_w:
    case A64_rev32:
    case A64_rev_x: return T1_DISTURBS;
    default: return T1_SEES;
    }
}

enum t1_need t1_flags_need(const struct t1 *t)
{
    bool host = true, read = false;

    for (unsigned k = t->i + 1; k < t->n; k++) {
        enum t1_effect effect = t1_effect(t, t->row[k], t->insn[k]);

        if (t->labels >> k & 1)
            return T1_NEED_ALL; /* host flags are not the guest's for all who come there */
        if (effect == T1_SETS)
            return read ? T1_NEED_HOST : T1_NEED_NONE;
        if (k == t->turn && t->carry && host)
            return T1_NEED_TURN;
        if (effect == T1_SEES)
            return T1_NEED_ALL;
        if (effect >= T1_READS && !host)
            return T1_NEED_ALL;
        if (effect == T1_CHANGES)
            return T1_NEED_HOST;
        read |= effect >= T1_READS;
        host &= effect == T1_KEEPS || effect == T1_READS;
    }
    return T1_NEED_ALL;
}

/* Loads and stores, but atomic ones. */
static bool t1_is_access(uint32_t insn)
{
    return (insn & 0x3a000000u) == 0x28000000u ||
           ((insn & 0x3a000000u) == 0x38000000u && (insn & 0x01200c00u) != 0x00200000u);
}

/* Can host flags be had again behind the instruction: a comparison, or a step of a counter? */
static bool t1_sets_again(const struct t1 *t, unsigned k)
{
    uint32_t insn = t->insn[k];

    switch (t->row[k]) {
    case A64_subs_imm:
    case A64_adds_imm: return a64_rd(insn) == 31 || a64_rd(insn) == a64_rn(insn);
    case A64_subs_sreg:
    case A64_adds_sreg:
    case A64_subs_ereg:
    case A64_adds_ereg:
    case A64_ands_imm:
    case A64_ands_sreg: return a64_rd(insn) == 31;
    default: return false;
    }
}

bool t1_flags_plan(struct t1 *t)
{
    if (!t->turn || t->turn >= t->n || t->row[t->turn] != A64_b_cond || !t1_sets_again(t, t->turn - 1))
        return false;
    for (unsigned k = 0; k < t->turn; k++)
        if (t1_turns(t, k))
            return false; /* that one is taken more often */
    for (unsigned k = 0; !t->carry; k++) {
        enum t1_effect effect = t1_effect(t, t->row[k], t->insn[k]);

        t->carry = effect == T1_SETS || effect == T1_CHANGES;
        if (!t->carry && effect != T1_KEEPS && effect != T1_READS && !(t1_user(t) && t1_is_access(t->insn[k])))
            break;
    }
    return t->carry;
}

bool t1_flags_again(const struct t1 *t)
{
    for (unsigned k = t->i + 1; k < t->n && !(t->labels >> k & 1); k++) {
        enum t1_effect effect = t1_effect(t, t->row[k], t->insn[k]);

        if (effect == T1_READS || effect == T1_LAST || effect == T1_CHANGES || t->row[k] == A64_b_cond)
            return true;
        if (effect != T1_KEEPS)
            return false;
    }
    return false;
}

/* An access that takes R14 only for accesses that follow it, and leaves flags in memory alone. */
static bool t1_is_plain(unsigned row, uint32_t insn)
{
    switch (row) {
    case A64_ldr_uimm:
    case A64_str_uimm:
    case A64_ldr_unscaled:
    case A64_str_unscaled:
    case A64_ldr_pre:
    case A64_str_pre:
    case A64_ldr_post:
    case A64_str_post:
    case A64_ldr_reg:
    case A64_str_reg:
    case A64_ldp_off:
    case A64_stp_off:
    case A64_ldp_pre:
    case A64_stp_pre:
    case A64_ldp_post:
    case A64_stp_post: return a64_rn(insn) != 31; /* SP is checked: what comes back from there has lost R14 */
    default: return false;
    }
}

bool t1_flags_stay(const struct t1 *t)
{
    unsigned row = t->row[t->i];

    return t1_is_plain(row, t->insn[t->i]) || t1_effect(t, row, t->insn[t->i]) != T1_SEES;
}

/* A condition of one flag, or the carry of an addition. */
static bool t1_reads_one(unsigned row, uint32_t insn)
{
    switch (row) {
    case A64_csel:
    case A64_csinc:
    case A64_csinv:
    case A64_csneg: return bits32(insn, 15, 12) < 8;
    case A64_adc:
    case A64_sbc:
    case A64_adcs:
    case A64_sbcs: return true;
    default: return false;
    }
}

bool t1_flags_cross(const struct t1 *t)
{
    bool access = false;

    for (unsigned k = t->i + 1; k < t->n && !t1_user(t) && !t->share[0].valid && !(t->labels >> k & 1); k++) {
        enum t1_effect effect = t1_effect(t, t->row[k], t->insn[k]);

        if (t1_is_plain(t->row[k], t->insn[k]))
            access = true;
        else if (effect >= T1_READS)
            return access && t1_reads_one(t->row[k], t->insn[k]);
        else if (effect == T1_SEES)
            return false;
    }
    return false;
}
