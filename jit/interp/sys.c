/*
 * Interpreter rows: exceptions, hints, barriers, system registers and system instructions. What they mean is decided
 * behind struct a64_ops; here is which of them end the run of instructions (see enum a64_next).
 */
#include "jit/interp/regs.h"

#define SCTLR_DZE BIT64(14) /* EL0 may use DC ZVA */
#define EC_SYSREG 0x18
#define ENC_DC_ZVA (1u << 14 | 3u << 11 | 7u << 7 | 4u << 3 | 1u)
#define ENC_OP0_OP1(enc) ((enc) >> 11)

/* After an op that served the instruction: the run loop should look around before the next one. */
static enum a64_next leave(struct arm64_cpu *c)
{
    c->pc += 4;
    return A64_LEAVE;
}

static enum a64_next undefined(struct arm64_cpu *c)
{
    c->ops->undef(c);
    return A64_JUMP;
}

/* ---- exceptions ---- */

static enum a64_next call(struct arm64_cpu *c, uint32_t insn, enum a64_call kind)
{
    return c->ops->call(c, kind, insn >> 5 & 0xffff) ? A64_JUMP : leave(c);
}

A64_EXEC(svc)
{
    return call(c, insn, A64_CALL_SVC);
}

A64_EXEC(hvc)
{
    return c->el == 0 ? undefined(c) : call(c, insn, A64_CALL_HVC);
}

A64_EXEC(smc)
{
    return c->el == 0 ? undefined(c) : call(c, insn, A64_CALL_SMC);
}

A64_EXEC(brk)
{
    return call(c, insn, A64_CALL_BRK);
}

A64_EXEC(hlt)
{
    return call(c, insn, A64_CALL_HLT);
}

A64_EXEC(udf)
{
    (void)insn;
    return undefined(c);
}

/* ERET may unmask interrupts: the loop should look. */
A64_EXEC(eret)
{
    (void)insn;
    if (c->el == 0)
        return undefined(c);
    c->ops->eret(c);
    return A64_LEAVE;
}

/* ---- hints and barriers ---- */

A64_EXEC(hint)
{
    (void)c;
    (void)insn;
    return A64_NEXT;
}

/* YIELD, WFE and WFI give the loop a chance to stop or to deliver what woke them. */
static enum a64_next waiting_hint(struct arm64_cpu *c, enum a64_hint h)
{
    return c->ops->hint(c, h) ? A64_JUMP : leave(c);
}

A64_EXEC(yield)
{
    (void)insn;
    return waiting_hint(c, A64_HINT_YIELD);
}
A64_EXEC(wfe)
{
    (void)insn;
    return waiting_hint(c, A64_HINT_WFE);
}
A64_EXEC(wfi)
{
    (void)insn;
    return waiting_hint(c, A64_HINT_WFI);
}
A64_EXEC(sev)
{
    (void)insn;
    return c->ops->hint(c, A64_HINT_SEV) ? A64_JUMP : A64_NEXT;
}
A64_EXEC(sevl)
{
    (void)insn;
    return c->ops->hint(c, A64_HINT_SEVL) ? A64_JUMP : A64_NEXT;
}

A64_EXEC(clrex)
{
    (void)insn;
    c->ops->clear_excl(c);
    return A64_NEXT;
}

A64_EXEC(dsb)
{
    (void)insn;
    c->ops->barrier(c, A64_DSB);
    return A64_NEXT;
}

/* CRm bits 9:8 say which accesses are ordered: 1 loads, 2 stores, else all. */
A64_EXEC(dmb)
{
    unsigned types = insn >> 8 & 3;
    c->ops->barrier(c, types == 1 ? A64_DMB_LD : types == 2 ? A64_DMB_ST : A64_DMB);
    return A64_NEXT;
}

A64_EXEC(isb)
{
    (void)insn;
    c->ops->barrier(c, A64_ISB);
    return A64_NEXT;
}

A64_EXEC(sb)
{
    (void)insn;
    c->ops->barrier(c, A64_SB);
    return A64_NEXT;
}

/* ---- PSTATE fields ---- */

static enum a64_next pstate(struct arm64_cpu *c, uint32_t insn, bool look)
{
    if (c->ops->pstate_write(c, insn >> 16 & 7, insn >> 8 & 15, insn >> 5 & 7))
        return A64_JUMP;
    return look ? leave(c) : A64_NEXT;
}

/* UAO, PAN and SPSel change what memory accesses mean; clearing DAIF bits may let an interrupt in. */
A64_EXEC(msr_uao)
{
    return pstate(c, insn, true);
}
A64_EXEC(msr_pan)
{
    return pstate(c, insn, true);
}
A64_EXEC(msr_spsel)
{
    return pstate(c, insn, true);
}
A64_EXEC(msr_daifclr)
{
    return pstate(c, insn, true);
}
A64_EXEC(msr_daifset)
{
    return pstate(c, insn, false);
}
A64_EXEC(msr_ssbs)
{
    return pstate(c, insn, false);
}
A64_EXEC(msr_dit)
{
    return pstate(c, insn, false);
}

/* ---- system registers ---- */

static uint32_t sysreg_enc(uint32_t insn)
{
    return insn >> 5 & 0xffff;
}

A64_EXEC(mrs)
{
    uint64_t v;
    if (c->ops->sysreg_read(c, sysreg_enc(insn), a64_rd(insn), &v))
        return A64_JUMP;
    a64_set_x(c, a64_rd(insn), v);
    return A64_NEXT;
}

/* Of the registers that EL0 can reach (op0 3, op1 3) only DAIF concerns the loop; all others may. */
A64_EXEC(msr_reg)
{
    uint32_t enc = sysreg_enc(insn);
    if (c->ops->sysreg_write(c, enc, a64_rd(insn), a64_x(c, a64_rd(insn))))
        return A64_JUMP;
    bool daif = enc == (3u << 14 | 3u << 11 | 4u << 7 | 2u << 3 | 1u);
    return ENC_OP0_OP1(enc) != (3 << 3 | 3) || daif ? leave(c) : A64_NEXT;
}

/* DC ZVA is a store; at EL0 it may be trapped. */
static enum a64_next dc_zva(struct arm64_cpu *c, uint32_t insn)
{
    if (c->el == 0 && !(c->sys.sctlr_el1 & SCTLR_DZE)) {
        /* ISS of a trapped system instruction: Op0 Op2 Op1 CRn Rt CRm direction (Arm ARM D17.2.37). */
        c->ops->exception(c, EC_SYSREG, 1u << 20 | 1u << 17 | 3u << 14 | 7u << 10 | a64_rd(insn) << 5 | 4u << 1, 0);
        return A64_JUMP;
    }
    return c->ops->zero_block(c, a64_x(c, a64_rd(insn))) ? A64_JUMP : A64_NEXT;
}

A64_EXEC(sys)
{
    uint32_t enc = sysreg_enc(insn);
    if (enc == ENC_DC_ZVA)
        return dc_zva(c, insn);
    if (c->ops->sysreg_write(c, enc, a64_rd(insn), a64_x(c, a64_rd(insn))))
        return A64_JUMP;
    /* What becomes of caches (CRn 7) and translations (CRn 8) shows after an ISB at the latest. */
    return (enc >> 7 & 15) == 7 || (enc >> 7 & 15) == 8 ? A64_NEXT : leave(c);
}

A64_EXEC(sysl)
{
    return a64_exec_mrs(c, insn);
}
