/* Exception entry and return, PSTATE writes, and the instructions that trap. */
#include "arch/arm64/arm64.h"
#include "jit/ops.h"
#include "tests/check.h"

static struct arm64_cpu cpu;
static unsigned context_changes, cleared;

static void on_context(struct arm64_cpu *c)
{
    (void)c;
    context_changes++;
}

static void clear_excl(struct arm64_cpu *c)
{
    (void)c;
    cleared++;
}

static const struct arm64_hooks hooks = {.context_changed = on_context};
static const struct a64_ops ops = {.clear_excl = clear_excl};

/* EL1h, interrupts on, PC and VBAR somewhere. */
static void setup(const char *model)
{
    arm64_set_hooks(&hooks);
    arm64_cpu_init(&cpu, arm64_model_find(model), 0);
    cpu.ops = &ops;
    cpu.pc = 0x1000;
    cpu.daif = 0;
    cpu.sys.vbar_el1 = 0x80000;
    context_changes = cleared = 0;
}

static void to_el0(void)
{
    arm64_set_el_sp(&cpu, 0, 0);
}

static void test_reset(void)
{
    setup("max");
    arm64_cpu_reset(&cpu);
    CHECK_EQ(cpu.el, 1);
    CHECK_EQ(cpu.spsel, 1);
    CHECK_EQ(cpu.daif, PSTATE_DAIF);
    CHECK_EQ(arm64_pstate(&cpu), 0x3c5);
    CHECK_EQ(cpu.sys.sctlr_el1, 0x30d00980);
    CHECK(cpu.ops == &ops);
    arm64_cpu_init(&cpu, arm64_model_find("max"), 37);
    CHECK_EQ(cpu.mpidr, 0x80000205);
}

static void test_sync_from_el1(void)
{
    setup("max");
    cpu.x[31] = 0x7000;
    arm64_set_nzcv(&cpu, PSTATE_N | PSTATE_C);
    cpu.pstate_misc = PSTATE_UAO | PSTATE_SSBS | PSTATE_IL;
    arm64_take_sync(&cpu, ARM64_EC_DABT_LOWER, 0x47, 0xdead000, 0x1000);
    CHECK_EQ(cpu.sys.esr_el1, 0x25u << 26 | BIT32(25) | 0x47);
    CHECK_EQ(cpu.sys.far_el1, 0xdead000);
    CHECK_EQ(cpu.sys.elr_el1, 0x1000);
    CHECK_EQ(cpu.sys.spsr_el1, PSTATE_N | PSTATE_C | PSTATE_UAO | PSTATE_SSBS | PSTATE_IL | 5);
    CHECK_EQ(cpu.pc, 0x80200);
    CHECK_EQ(cpu.x[31], 0x7000);
    /* SPAN resets to 1: PAN stays as it was; SSBS comes from DSSBS. */
    CHECK_EQ(cpu.pstate_misc, 0);
    CHECK_EQ(cpu.daif, PSTATE_DAIF);
    CHECK_EQ(context_changes, 1);
}

static void test_sync_from_el0(void)
{
    setup("max");
    cpu.x[31] = 0x7000; /* SP_EL1 */
    to_el0();
    cpu.x[31] = 0x4000; /* SP_EL0 */
    cpu.sys.sctlr_el1 &= ~BIT64(23);
    cpu.sys.sctlr_el1 |= BIT64(44);
    cpu.sys.far_el1 = 0x55;
    CHECK_EQ(arm64_call(&cpu, A64_CALL_SVC, 0x123), A64_TRAPPED);
    CHECK_EQ(cpu.sys.esr_el1, 0x15u << 26 | BIT32(25) | 0x123);
    CHECK_EQ(cpu.sys.elr_el1, 0x1004);
    CHECK_EQ(cpu.sys.far_el1, 0x55);
    CHECK_EQ(cpu.pc, 0x80400);
    CHECK_EQ(cpu.el, 1);
    CHECK_EQ(cpu.x[31], 0x7000);
    CHECK_EQ(cpu.sys.sp_el0, 0x4000);
    CHECK_EQ(cpu.pstate_misc, PSTATE_PAN | PSTATE_SSBS);
    arm64_undef(&cpu); /* and again, from EL1 */
    CHECK_EQ(cpu.sys.esr_el1, BIT32(25));
    CHECK_EQ(cpu.pc, 0x80200);
}

static void test_no_pan(void)
{
    setup("cortex-a57");
    to_el0();
    cpu.sys.sctlr_el1 &= ~BIT64(23);
    arm64_undef(&cpu);
    CHECK_EQ(cpu.pstate_misc, 0);
}

static void test_sp0_vector(void)
{
    setup("max");
    arm64_set_el_sp(&cpu, 1, 0);
    arm64_undef(&cpu);
    CHECK_EQ(cpu.pc, 0x80000);
    CHECK_EQ(cpu.sys.spsr_el1, 4);
}

static void test_interrupts(void)
{
    setup("max");
    CHECK(!arm64_take_interrupt(&cpu));
    atomic_store(&cpu.irq_lines, ARM64_LINE_IRQ);
    cpu.daif = PSTATE_I;
    CHECK(!arm64_take_interrupt(&cpu));
    cpu.daif = 0;
    cpu.sys.esr_el1 = 0x77;
    CHECK(arm64_take_interrupt(&cpu));
    CHECK_EQ(cpu.pc, 0x80280);
    CHECK_EQ(cpu.sys.elr_el1, 0x1000);
    CHECK_EQ(cpu.sys.esr_el1, 0x77);
    CHECK(!arm64_take_interrupt(&cpu)); /* masked on entry */
    setup("max");
    to_el0();
    atomic_store(&cpu.irq_lines, ARM64_LINE_IRQ | ARM64_LINE_FIQ);
    CHECK(arm64_take_interrupt(&cpu));
    CHECK_EQ(cpu.pc, 0x80500);
}

static void test_eret(void)
{
    setup("max");
    cpu.x[31] = 0x7000;
    cpu.sys.sp_el0 = 0x4000;
    cpu.sys.elr_el1 = 0x2004;
    cpu.sys.spsr_el1 = PSTATE_Z | PSTATE_PAN | PSTATE_I | PSTATE_SS;
    arm64_eret(&cpu);
    CHECK_EQ(cpu.el, 0);
    CHECK_EQ(cpu.pc, 0x2004);
    CHECK_EQ(cpu.x[31], 0x4000);
    CHECK_EQ(cpu.sys.sp_el1, 0x7000);
    /* SS is not taken: MDSCR_EL1.SS is 0 */
    CHECK_EQ(arm64_pstate(&cpu), PSTATE_Z | PSTATE_PAN | PSTATE_I);
    CHECK_EQ(cleared, 1);
    CHECK(cpu.event);
    CHECK_EQ(context_changes, 1);
    arm64_eret(&cpu); /* undefined at EL0 */
    CHECK_EQ(cpu.pc, 0x80400);
    CHECK_EQ(cpu.sys.esr_el1, BIT32(25));
}

static void test_eret_step(void)
{
    setup("max");
    cpu.sys.oslsr_el1 = 8;
    cpu.sys.mdscr_el1 = 1;
    cpu.sys.spsr_el1 = PSTATE_SS;
    arm64_eret(&cpu);
    CHECK_EQ(cpu.pstate_misc, PSTATE_SS);
}

static void test_eret_illegal(void)
{
    static const uint32_t bad[] = {0x10, 0x1, 0x2, 0x6, 0x8, 0x9, 0xc, 0xd, 0x1f};

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        setup("max");
        cpu.sys.elr_el1 = 0x3000;
        cpu.sys.spsr_el1 = bad[i] | PSTATE_N | PSTATE_F;
        arm64_eret(&cpu);
        CHECK_EQ(cpu.el, 1);
        CHECK_EQ(cpu.spsel, 1);
        CHECK_EQ(cpu.pc, 0x3000);
        CHECK_EQ(arm64_pstate(&cpu), PSTATE_N | PSTATE_F | PSTATE_IL | 5);
    }
}

static void test_eret_tagged(void)
{
    setup("max");
    cpu.sys.tcr_el1 = BIT64(37) | BIT64(38);
    cpu.sys.elr_el1 = UINT64_C(0x5500000000001000);
    arm64_eret(&cpu);
    CHECK_EQ(cpu.pc, 0x1000);
    setup("max");
    cpu.sys.tcr_el1 = BIT64(37) | BIT64(38);
    cpu.sys.elr_el1 = UINT64_C(0x55ffff8000001000);
    cpu.sys.spsr_el1 = 5;
    arm64_eret(&cpu);
    CHECK_EQ(cpu.pc, UINT64_C(0xffffff8000001000));
}

static void test_calls(void)
{
    setup("max");
    CHECK_EQ(arm64_call(&cpu, A64_CALL_BRK, 0x3e8), A64_TRAPPED);
    CHECK_EQ(cpu.sys.esr_el1, 0x3cu << 26 | BIT32(25) | 0x3e8);
    CHECK_EQ(cpu.sys.elr_el1, 0x1000);
    setup("max");
    CHECK_EQ(arm64_call(&cpu, A64_CALL_HVC, 0), A64_TRAPPED); /* no PSCI */
    CHECK_EQ(cpu.sys.esr_el1, BIT32(25));
    CHECK_EQ(arm64_call(&cpu, A64_CALL_HLT, 0), A64_TRAPPED);
    CHECK_EQ(cpu.sys.esr_el1, BIT32(25));
}

static void test_fp_access(void)
{
    setup("max");
    cpu.sys.cpacr_el1 = 3 << 20;
    CHECK_EQ(arm64_fp_access(&cpu), 0);
    cpu.sys.cpacr_el1 = 1 << 20;
    CHECK_EQ(arm64_fp_access(&cpu), 0);
    to_el0();
    CHECK_EQ(arm64_fp_access(&cpu), A64_TRAPPED);
    CHECK_EQ(cpu.sys.esr_el1, 0x7u << 26 | BIT32(25) | 0x1e00000);
    CHECK_EQ(cpu.sys.elr_el1, 0x1000);
    for (unsigned fpen = 0; fpen <= 2; fpen += 2) {
        cpu.sys.cpacr_el1 = (uint64_t)fpen << 20;
        CHECK_EQ(arm64_fp_access(&cpu), A64_TRAPPED);
    }
}

static void test_wfx(void)
{
    setup("max");
    cpu.sys.sctlr_el1 &= ~(BIT64(16) | BIT64(18));
    CHECK_EQ(arm64_wfx_trap(&cpu, false), 0);
    to_el0();
    CHECK_EQ(arm64_wfx_trap(&cpu, true), A64_TRAPPED);
    CHECK_EQ(cpu.sys.esr_el1, 1u << 26 | BIT32(25) | 0x1e00001);
    cpu.sys.sctlr_el1 |= BIT64(16);
    to_el0();
    CHECK_EQ(arm64_wfx_trap(&cpu, false), 0);
}

static void test_pstate_write(void)
{
    setup("max");
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 0xf, 6), 0);
    CHECK_EQ(cpu.daif, PSTATE_DAIF);
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 0x2, 7), 0);
    CHECK_EQ(cpu.daif, PSTATE_D | PSTATE_A | PSTATE_F);
    CHECK_EQ(arm64_pstate_write(&cpu, 0, 1, 4), 0);
    CHECK_EQ(cpu.pstate_misc, PSTATE_PAN);
    CHECK_EQ(context_changes, 1);
    CHECK_EQ(arm64_pstate_write(&cpu, 0, 1, 3), 0);
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 1, 2), 0);
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 1, 1), 0);
    CHECK_EQ(cpu.pstate_misc, PSTATE_PAN | PSTATE_UAO | PSTATE_DIT | PSTATE_SSBS);
    cpu.x[31] = 0x7000;
    cpu.sys.sp_el0 = 0x4000;
    CHECK_EQ(arm64_pstate_write(&cpu, 0, 0, 5), 0);
    CHECK_EQ(cpu.x[31], 0x4000);
    CHECK_EQ(arm64_pstate_write(&cpu, 0, 1, 5), 0);
    CHECK_EQ(cpu.x[31], 0x7000);
    CHECK_EQ(arm64_pstate_write(&cpu, 7, 1, 7), A64_TRAPPED);
    setup("cortex-a76"); /* PSTATE.SSBS, but no MSR SSBS */
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 1, 1), A64_TRAPPED);
    setup("cortex-a57");
    CHECK_EQ(arm64_pstate_write(&cpu, 0, 1, 4), A64_TRAPPED);
}

static void test_pstate_write_el0(void)
{
    setup("max");
    to_el0();
    cpu.sys.sctlr_el1 &= ~BIT64(9);
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 2, 7), A64_TRAPPED);
    /* op0 0, op2 7, op1 3, CRn 4, Rt 31, CRm 2, a write */
    CHECK_EQ(cpu.sys.esr_el1, 0x18u << 26 | BIT32(25) | 7 << 17 | 3 << 14 | 4 << 10 | 31 << 5 | 2 << 1);
    to_el0();
    cpu.sys.sctlr_el1 |= BIT64(9);
    CHECK_EQ(arm64_pstate_write(&cpu, 3, 2, 6), 0);
    CHECK_EQ(arm64_pstate_write(&cpu, 0, 1, 4), A64_TRAPPED);
    CHECK_EQ(cpu.sys.esr_el1, BIT32(25));
}

static void test_nzcv_image(void)
{
    setup("max");
    for (uint32_t f = 0; f < 16; f++) {
        arm64_set_nzcv(&cpu, f << 28);
        CHECK_EQ(arm64_nzcv(&cpu), f << 28);
    }
}

int main(void)
{
    RUN(test_reset);
    RUN(test_sync_from_el1);
    RUN(test_sync_from_el0);
    RUN(test_no_pan);
    RUN(test_sp0_vector);
    RUN(test_interrupts);
    RUN(test_eret);
    RUN(test_eret_step);
    RUN(test_eret_illegal);
    RUN(test_eret_tagged);
    RUN(test_calls);
    RUN(test_fp_access);
    RUN(test_wfx);
    RUN(test_pstate_write);
    RUN(test_pstate_write_el0);
    RUN(test_nzcv_image);
    return check_done();
}
