/*
 * Exceptions where the architecture is definite and other emulators are not: SP alignment checks, a misaligned PC that
 * is not mapped either, a store-exclusive that is misaligned and would fail anyway, the syndrome of a trapped MSR
 * (immediate). priority.expect has the lines.
 */
#include "tests/guest/guest.h"

#define CODE 0x0000200000000000ul
#define DATA 0x0000008000000000ul
#define NONE 0x0000008000008000ul

static u8 data[PAGE] __attribute__((aligned(4096)));

SNIPPET(s_br, "br x0");
SNIPPET(s_stxr, "stxr w2, x1, [x0]");
SNIPPET(s_daifset, "msr daifset, #3");
SNIPPET(s_daifclr, "msr daifclr, #12");
SNIPPET(s_sp_ldr, "add sp, x0, #0\n ldr x1, [sp]");
SNIPPET(s_sp_stp, "add sp, x0, #0\n stp x1, x1, [sp, #-16]!");
SNIPPET(s_sp_add, "add sp, x0, #0\n add x1, sp, #16");
SNIPPET(s_sp_q, "add sp, x0, #0\n ldr q0, [sp, #32]");
SNIPPET(s_sp_prfm, "add sp, x0, #0\n ldxr x1, [sp]");

static void at(const char *name, int el, char *code, u64 x0)
{
    struct run r = {
        .pc = CODE + (u64)(code - user_start), .spsr = el ? SPSR_EL1T : SPSR_EL0, .sp_el0 = DATA + PAGE, .x = {x0}};
    struct frame *f = &run_frame;

    run(&r);
    if (RUN_DONE(*f)) {
        print("%s el%d: done\n", name, (u64)el);
        return;
    }
    print("%s el%d: vec %x esr %x elr +%x spsr %x", name, (u64)el, f->vec, f->esr, f->elr - (code == s_br ? 0 : r.pc),
          f->spsr);
    if (f->esr >> 26 != 0x26 && f->esr >> 26 != 0x18)
        print(" far %x", f->far);
    print("\n");
}

static void all(void)
{
    for (int el = 0; el < 2; el++) {
        at("sp ldr 8", el, s_sp_ldr, DATA + 8);
        at("sp ldr 1", el, s_sp_ldr, DATA + 1);
        at("sp ldr 16", el, s_sp_ldr, DATA + 16);
        at("sp ldr none", el, s_sp_ldr, NONE + 8);
        at("sp stp", el, s_sp_stp, DATA + 24);
        at("sp add", el, s_sp_add, DATA + 8);
        at("sp q", el, s_sp_q, DATA + 4);
        at("sp ldxr", el, s_sp_prfm, DATA + 8);
    }
}

int main(void)
{
    u64 *root = pt_flat();

    pt_page(root, CODE, (u64)user_start, PTE_NORMAL | PTE_AP(3));
    pt_page(root, DATA, (u64)data, PTE_NORMAL | PTE_AP(1));
    mmu_on(root, pt_new());
    for (int el = 0; el < 2; el++) {
        at("pc none", el, s_br, NONE + 2);
        at("stxr", el, s_stxr, DATA + 4);
    }
    at("daifset", 0, s_daifset, 0);
    at("daifclr", 0, s_daifclr, 0);
    print("-- SA0 SA\n");
    all();
    print("-- SA\n");
    msr("sctlr_el1", SCTLR_ON & ~SCTLR_SA0);
    isb();
    all();
    print("-- SA0\n");
    msr("sctlr_el1", SCTLR_ON & ~SCTLR_SA);
    isb();
    all();
    print("end\n");
    return 0;
}
