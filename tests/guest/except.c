/*
 * Every synchronous exception that EL0 and EL1 can raise, with the syndrome, fault address, return address and saved
 * state that the architecture prescribes.
 */
#include "tests/guest/guest.h"

/* Where the test code is mapped: readable and executable at both ELs. */
#define CODE 0x0000200000000000ul
/* Data pages and faults, by what is special about them. */
#define RW0 0x0000008000000000ul   /* EL0 read/write */
#define RO0 0x0000008000001000ul   /* EL0 read-only */
#define RW1 0x0000008000002000ul   /* EL1 read/write */
#define RO1 0x0000008000003000ul   /* EL1 read-only */
#define NOAF3 0x0000008000004000ul /* access flag clear, a page */
#define XN0 0x0000008000005000ul   /* UXN */
#define XN1 0x0000008000006000ul   /* PXN */
#define X0 0x0000008000007000ul    /* executable at EL0 only */
#define NONE3 0x0000008000008000ul /* no page */
#define LAST 0x000000800000f000ul  /* a page before a hole */
#define FIRST 0x0000008000012000ul /* a page after a hole */
#define ADDR3 0x0000008000014000ul /* output address too large */
#define NONE2 0x0000008000200000ul /* no level 3 table */
#define NOAF2 0x0000008000400000ul /* access flag clear, 2 MiB */
#define RO1_2 0x0000008000600000ul /* EL1 read-only, 2 MiB */
#define ADDR2 0x0000008000800000ul
#define TADDR3 0x0000008000a00000ul /* the level 3 table's address is too large */
#define NONE1 0x0000008040000000ul  /* no level 2 table */
#define NOAF1 0x0000008080000000ul
#define RO1_1 0x00000080c0000000ul
#define ADDR1 0x0000008100000000ul
#define NONE0 0x0000100000000000ul /* no level 1 table */
#define HOLE 0x0100000000000000ul  /* between the two ranges */
#define HIGH 0xffff000000000000ul  /* TTBR1's range, empty */

static u8 data[2 * PAGE] __attribute__((aligned(4096)));

static u64 spsr_bits; /* set in, or (BIT(9), D) cleared from, the SPSR that at() uses */

static void line(const char *name, char mode)
{
    struct frame *f = &run_frame;
    u64 ec = f->esr >> 26;

    print("%s %c: ", name, mode);
    if (RUN_DONE(*f)) {
        print("done x0 %x\n", f->x[0]);
        return;
    }
    print("vec %x esr %x elr ", f->vec, f->esr);
    if (f->elr - CODE < 2 * PAGE)
        print("+%x", f->elr - CODE);
    else
        print("%x", f->elr);
    print(" spsr %x pst %x x0 %x", f->spsr, f->pst, f->x[0]);
    if (ec == 0x20 || ec == 0x21 || ec == 0x22 || ec == 0x24 || ec == 0x25)
        print(" far %x", f->far);
    print("\n");
}

/* Runs a snippet at EL0 ('u'), EL1 with SP_EL0 ('t') or EL1 ('k'). */
static void at(const char *name, char mode, char *code, u64 x0, u64 x1)
{
    u64 mode_spsr = mode == 'u' ? SPSR_EL0 : mode == 't' ? SPSR_EL1T : SPSR_EL1H;
    struct run r = {
        .pc = CODE + (u64)(code - user_start),
        .spsr = mode_spsr ^ (spsr_bits | 5ul << 28),
        .sp_el0 = RW0 + PAGE,
        .x = {x0, x1, 0x22, 0x33},
    };

    run(&r);
    line(name, mode);
}

static void both(const char *name, char *code, u64 x0, u64 x1)
{
    at(name, 'u', code, x0, x1);
    at(name, 'k', code, x0, x1);
}

static void sctlr(u64 set, u64 clear)
{
    msr("sctlr_el1", (SCTLR_ON | set) & ~clear);
    isb();
    tlbi_all();
}

/* ---- code under test; x0 and x1 are arguments ---- */
SNIPPET(s_udf, "udf #0x1234");
SNIPPET(s_unalloc, ".inst 0x1b000000 | 0x60000000"); /* no such data-processing form */
SNIPPET(s_svc, "svc #0x1234");
SNIPPET(s_hlt, "hlt #0x55");
SNIPPET(s_brk, "nop\n brk #0xabcd");
SNIPPET(s_ldr, "ldr x0, [x0]");
SNIPPET(s_ldrb, "ldrb w0, [x0]");
SNIPPET(s_str, "str x1, [x0]");
SNIPPET(s_strb_post, "strb w1, [x0], #8");
SNIPPET(s_ldr_pre, "ldr x1, [x0, #16]!");
SNIPPET(s_ldp, "ldp x1, x2, [x0]\n mov x0, x1");
SNIPPET(s_stp_post, "stp x1, x1, [x0], #16");
SNIPPET(s_ldr_q, "ldr q0, [x0]\n mov x0, v0.d[1]");
SNIPPET(s_ldrsw, "ldrsw x0, [x0]");
SNIPPET(s_ld1, "ld1 {v0.4s, v1.4s}, [x0]");
SNIPPET(s_ldtr, "ldtr x0, [x0]");
SNIPPET(s_sttr, "sttr x1, [x0]");
SNIPPET(s_ldxr, "ldxr x0, [x0]");
SNIPPET(s_ldaxp, "ldaxp x1, x2, [x0]");
SNIPPET(s_ldar, "ldar w0, [x0]");
SNIPPET(s_stlr, "stlr x1, [x0]");
SNIPPET(s_ldadd, ".arch_extension lse\n ldadd x1, x0, [x0]");
SNIPPET(s_zva, "dc zva, x0");
SNIPPET(s_prfm, "prfm pldl1keep, [x0]");
SNIPPET(s_br, "br x0");
SNIPPET(s_blr, "blr x0");
SNIPPET(s_ret, "ret x0");
SNIPPET(s_fadd, "fadd d0, d0, d0");
SNIPPET(s_ldr_s, "ldr s0, [x0]");
SNIPPET(s_fmov, "fmov d0, x0");
SNIPPET(s_fpcr, "mrs x0, fpcr\n mov x0, #1");
SNIPPET(s_mrs_sctlr, "mrs x7, sctlr_el1\n mov x0, #1");
SNIPPET(s_msr_vbar, "msr vbar_el1, x3");
SNIPPET(s_mrs_midr, "mrs x5, midr_el1\n mov x0, #1");
SNIPPET(s_mrs_el2, "mrs x5, hcr_el2");
SNIPPET(s_msr_el3, "msr scr_el3, x5");
SNIPPET(s_mrs_none, "mrs x5, S3_0_C15_C15_7");
SNIPPET(s_mrs_ctr, "mrs x9, ctr_el0\n mov x0, #1");
SNIPPET(s_mrs_dczid, "mrs x9, dczid_el0\n mov x0, #1");
SNIPPET(s_mrs_daif, "mrs x4, daif\n mov x0, x4");
SNIPPET(s_msr_daif, "msr daif, x4");
SNIPPET(s_daifset, "msr daifset, #3");
SNIPPET(s_spsel, "msr spsel, #1");
SNIPPET(s_currentel, "mrs x2, currentel\n mov x0, x2");
SNIPPET(s_cntvct, "mrs x6, cntvct_el0\n mov x0, #1");
SNIPPET(s_cntpct, "mrs x6, cntpct_el0\n mov x0, #1");
SNIPPET(s_cntfrq, "mrs x6, cntfrq_el0\n mov x0, #1");
SNIPPET(s_cntv_ctl, "mrs x6, cntv_ctl_el0\n mov x0, #1");
SNIPPET(s_cntp_tval, "msr cntp_tval_el0, x6\n mov x0, #1");
SNIPPET(s_tpidrro_w, "msr tpidrro_el0, x6\n mov x0, #1");
SNIPPET(s_tpidr, "mov x6, #77\n msr tpidr_el0, x6\n mrs x0, tpidr_el0");
SNIPPET(s_wfi, "wfi\n mov x0, #1");
SNIPPET(s_wfe, "sevl\n wfe\n mov x0, #1");
SNIPPET(s_cvau, "dc cvau, x0\n mov x0, #1");
SNIPPET(s_civac, "dc civac, x0\n mov x0, #1");
SNIPPET(s_ivau, "ic ivau, x0\n mov x0, #1");
SNIPPET(s_ialluis, "ic ialluis\n mov x0, #1");
SNIPPET(s_isw, "dc isw, x2\n mov x0, #1");
SNIPPET(s_tlbi, "tlbi vmalle1\n mov x0, #1");
SNIPPET(s_at, "at s1e1r, x0\n mov x0, #1");
SNIPPET(s_eret, "eret");
SNIPPET(s_smc, "smc #1");
SNIPPET(s_eret_to, "msr elr_el1, x0\n msr spsr_el1, x1\n mov x0, #7\n eret");
SNIPPET(s_nop, "nop");
SNIPPET(s_pan_ldr, ".arch_extension pan\n msr pan, #1\n ldr x0, [x0]");
SNIPPET(s_pan_str, "msr pan, #1\n str x1, [x0]");
SNIPPET(s_pan_ldtr, "msr pan, #1\n ldtr x0, [x0]");
SNIPPET(s_pan_ldadd, "msr pan, #1\n ldadd x1, x0, [x0]");
SNIPPET(s_uao_ldtr, ".inst 0xd500417f // msr uao, #1\n ldtr x0, [x0]");
SNIPPET(s_uao_sttr, ".inst 0xd500417f\n sttr x1, [x0]");

static void instructions(void)
{
    both("udf", s_udf, 0, 0);
    both("unallocated", s_unalloc, 0, 0);
    both("svc", s_svc, 0, 0);
    at("svc", 't', s_svc, 0, 0);
    both("hlt", s_hlt, 0, 0);
    both("brk", s_brk, 0, 0);
    at("eret", 'u', s_eret, 0, 0);
    at("smc", 'u', s_smc, 0, 0);
}

static void aborts(void)
{
    static const struct {
        const char *name;
        u64 va;
    } places[] = {
        {"rw0", RW0},     {"ro0", RO0},     {"rw1", RW1},     {"ro1", RO1},       {"noaf3", NOAF3},
        {"none3", NONE3}, {"none2", NONE2}, {"noaf2", NOAF2}, {"ro1-2", RO1_2},   {"none1", NONE1},
        {"noaf1", NOAF1}, {"ro1-1", RO1_1}, {"none0", NONE0}, {"hole", HOLE},     {"high", HIGH},
        {"addr3", ADDR3}, {"addr2", ADDR2}, {"addr1", ADDR1}, {"taddr3", TADDR3},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        u64 va = places[i].va + 0x128;
        print("-- %s\n", places[i].name);
        both("ldrb", s_ldrb, va, 0);
        both("str", s_str, va, 5);
        at("ldtr", 'k', s_ldtr, va, 0);
        at("sttr", 'k', s_sttr, va, 6);
        both("ldr_pre", s_ldr_pre, va - 16, 0);
        both("strb_post", s_strb_post, va, 0);
        both("ldp", s_ldp, va, 0);
        both("stp_post", s_stp_post, va, 0);
        both("ldr_q", s_ldr_q, va + 8, 0);
        both("ldrsw", s_ldrsw, va, 0);
        both("ldxr", s_ldxr, va, 0);
        both("ldar", s_ldar, va, 0);
        both("stlr", s_stlr, va, 0);
        at("dc zva", 'k', s_zva, va, 0);
        both("prfm", s_prfm, va, 0);
    }
    print("-- fetch\n");
    both("br none3", s_br, NONE3, 0);
    both("br none2", s_br, NONE2 + 8, 0);
    both("blr none1", s_blr, NONE1, 0);
    both("ret none0", s_ret, NONE0, 0);
    both("br high", s_br, HIGH, 0);
    both("br hole", s_br, HOLE, 0);
    both("br uxn", s_br, XN0, 0);
    both("br pxn", s_br, XN1, 0);
    both("br x0", s_br, X0, 0);
    both("br rw0", s_br, RW0, 0);
    both("br noaf3", s_br, NOAF3, 0);
    both("br noaf2", s_br, NOAF2, 0);
    both("br noaf1", s_br, NOAF1, 0);
    at("br rw1", 'u', s_br, RW1, 0);
    at("br ro1-1", 'u', s_br, RO1_1, 0);
    both("br last", s_br, LAST + PAGE - 4, 0); /* a NOP, then nothing */
    sctlr(SCTLR_WXN, 0);
    both("wxn br rw0", s_br, RW0, 0);
    sctlr(0, 0);
}

static void alignment(void)
{
    print("-- alignment\n");
    both("ldr", s_ldr, RW0 + 1, 0);
    both("ldxr", s_ldxr, RW0 + 4, 0);
    both("ldaxp", s_ldaxp, RW0 + 8, 0);
    both("pc", s_br, CODE + 2, 0);
    sctlr(SCTLR_A, 0);
    both("A ldr", s_ldr, RW0 + 4, 0);
    both("A ldrb", s_ldrb, RW0 + 3, 0);
    both("A str", s_str, RW0 + 1, 0);
    both("A ldp", s_ldp, RW0 + 4, 0);
    both("A ldp8", s_ldp, RW0 + 8, 0);
    both("A ldrsw", s_ldrsw, RW0 + 2, 0);
    both("A ldr_pre", s_ldr_pre, RW0 + 1, 0);
    both("A ld1", s_ld1, RW0 + 4, 0);
    both("A ld1", s_ld1, RW0 + 2, 0);
    both("A ldr none", s_ldr, NONE3 + 1, 0); /* alignment comes first */
    at("A ldtr", 'k', s_ldtr, RW0 + 1, 0);
    sctlr(0, 0);
    print("-- page crossing\n");
    both("ldr last", s_ldr, LAST + PAGE - 4, 0);
    both("str last", s_str, LAST + PAGE - 1, 1);
    both("ldp last", s_ldp, LAST + PAGE - 8, 0);
    both("ldr_q last", s_ldr_q, LAST + PAGE - 8, 0);
    both("ldr first", s_ldr, FIRST - 4, 0);
    both("str first", s_str, FIRST - 7, 0x1122334455667788);
    both("stp first", s_stp_post, FIRST - 8, 0);
    both("ldr rw0-ro0", s_ldr, RO0 - 4, 0);
    both("str rw0-ro0", s_str, RO0 - 4, 0x5555555555555555);
    both("ldr after", s_ldr, RO0 - 8, 0); /* nothing of the store above is there */
}

static void traps(void)
{
    print("-- traps\n");
    sctlr(0, SCTLR_UMA | SCTLR_DZE | SCTLR_UCT | SCTLR_UCI | SCTLR_NTWI | SCTLR_NTWE);
    msr("cntkctl_el1", 0);
    both("mrs sctlr", s_mrs_sctlr, 0, 0);
    at("msr vbar", 'u', s_msr_vbar, 0, 0);
    both("mrs midr", s_mrs_midr, 0, 0);
    both("mrs hcr_el2", s_mrs_el2, 0, 0);
    both("msr scr_el3", s_msr_el3, 0, 0);
    at("mrs none", 'u', s_mrs_none, 0, 0);
    both("mrs ctr", s_mrs_ctr, 0, 0);
    both("mrs dczid", s_mrs_dczid, 0, 0);
    both("mrs daif", s_mrs_daif, 0, 0);
    at("msr daif", 'u', s_msr_daif, 0, 0);
    at("spsel", 'u', s_spsel, 0, 0);
    both("currentel", s_currentel, 0, 0);
    both("cntvct", s_cntvct, 0, 0);
    both("cntpct", s_cntpct, 0, 0);
    both("cntfrq", s_cntfrq, 0, 0);
    both("cntv_ctl", s_cntv_ctl, 0, 0);
    at("cntp_tval", 'u', s_cntp_tval, 0, 0);
    both("tpidrro write", s_tpidrro_w, 0, 0);
    both("tpidr", s_tpidr, 0, 0);
    at("wfi", 'u', s_wfi, 0, 0);
    both("dc zva", s_zva, RW0, 0);
    both("dc cvau", s_cvau, RW0, 0);
    both("dc civac", s_civac, RW0, 0);
    both("ic ivau", s_ivau, RW0, 0);
    at("ic ialluis", 'u', s_ialluis, 0, 0);
    at("dc isw", 'u', s_isw, 0, 0);
    at("tlbi", 'u', s_tlbi, 0, 0);
    at("at", 'u', s_at, 0, 0);
    sctlr(SCTLR_UMA | SCTLR_DZE | SCTLR_UCT | SCTLR_UCI | SCTLR_NTWI | SCTLR_NTWE, 0);
    msr("cntkctl_el1", 3);
    at("open mrs ctr", 'u', s_mrs_ctr, 0, 0);
    at("open mrs dczid", 'u', s_mrs_dczid, 0, 0);
    at("open mrs daif", 'u', s_mrs_daif, 0, 0);
    at("open daifset", 'u', s_daifset, 0, 0);
    at("open cntvct", 'u', s_cntvct, 0, 0);
    at("open cntpct", 'u', s_cntpct, 0, 0);
    at("open cntfrq", 'u', s_cntfrq, 0, 0);
    at("open cntv_ctl", 'u', s_cntv_ctl, 0, 0);
    at("open wfe", 'u', s_wfe, 0, 0);
    at("open dc zva", 'u', s_zva, RW0, 0);
    at("open dc zva ro0", 'u', s_zva, RO0, 0);
    at("open dc cvau", 'u', s_cvau, RW0, 0);
    at("open ic ivau", 'u', s_ivau, RW0, 0);
    sctlr(0, 0);
    print("-- fp\n");
    for (u64 fpen = 0; fpen < 4; fpen++) {
        msr("cpacr_el1", fpen << 20);
        isb();
        both("fadd", s_fadd, 0, 0);
        both("ldr_s", s_ldr_s, NONE3, 0); /* the trap comes before the abort */
        both("fmov", s_fmov, 0, 0);
        both("fpcr", s_fpcr, 0, 0);
    }
    msr("cpacr_el1", 3 << 20);
    isb();
}

static void returns(void)
{
    u64 nop = CODE + (u64)(s_nop - user_start);

    print("-- eret\n");
    at("to el0", 'k', s_eret_to, nop, 0x3c0);
    at("to el1t", 'k', s_eret_to, nop, 0x3c4);
    at("to el1h", 't', s_eret_to, nop, 0x800003c5);
    at("to el2h", 'k', s_eret_to, nop, 0x3c9);
    at("to el3t", 'k', s_eret_to, nop, 0x600003cc);
    at("bad mode", 'k', s_eret_to, nop, 0x3c1);
    at("bad mode", 't', s_eret_to, nop, 0x3c2);
    at("bad mode 6", 'k', s_eret_to, nop, 0x3c6);
    at("il set", 'k', s_eret_to, nop, 0x1003c5);
    at("il set el0", 'k', s_eret_to, nop, 0x1003c0);
    at("misaligned", 'k', s_eret_to, nop + 2, 0x3c0);
    at("unmapped", 'k', s_eret_to, NONE2, 0x3c0);
    at("il unmapped", 'k', s_eret_to, NONE2, 0x3cd);
}

static void pan_uao(void)
{
    u64 mmfr1 = mrs("id_aa64mmfr1_el1"), mmfr2 = mrs("id_aa64mmfr2_el1"), isar0 = mrs("id_aa64isar0_el1");

    if (isar0 >> 20 & 15) {
        print("-- lse\n");
        both("ldadd ro0", s_ldadd, RO0, 1);
        both("ldadd none", s_ldadd, NONE3, 1);
        both("ldadd rw1", s_ldadd, RW1 + 0x100, 1);
    }
    if (mmfr1 >> 20 & 15) {
        print("-- pan\n");
        at("ldr rw0", 'k', s_pan_ldr, RW0, 0);
        at("str rw0", 'k', s_pan_str, RW0, 0);
        at("ldr ro0", 'k', s_pan_ldr, RO0, 0);
        at("ldr rw1", 'k', s_pan_ldr, RW1 + 0x80, 0);
        at("ldtr rw0", 'k', s_pan_ldtr, RW0 + 0x80, 0);
        at("ldadd rw0", 'k', s_pan_ldadd, RW0, 0);
        spsr_bits = BIT(22);
        both("spsr ldr rw0", s_ldr, RW0 + 0x80, 0);
        spsr_bits = 0;
        sctlr(0, SCTLR_SPAN);
        both("span svc", s_svc, 0, 0);
        sctlr(0, 0);
    }
    if (mmfr2 >> 4 & 15) {
        print("-- uao\n");
        at("ldtr rw1", 'k', s_uao_ldtr, RW1 + 0x80, 0);
        at("sttr rw1", 'k', s_uao_sttr, RW1, 3);
        at("sttr ro1", 'k', s_uao_sttr, RO1, 3);
    }
}

/* Software step: one instruction, then EC 0x32 or 0x33; what an instruction raises itself comes first. */
static void step(void)
{
    print("-- step\n");
    msr("oslar_el1", 0);
    msr("mdscr_el1", 1);
    isb();
    for (int k = 0; k < 2; k++) {
        char mode = k ? 'k' : 'u';
        /* At EL1 it takes KDE, and PSTATE.D clear. */
        u64 d = k ? BIT(9) : 0;
        if (k) {
            msr("mdscr_el1", 1 | BIT(13));
            isb();
        }
        spsr_bits = BIT(21) | d;
        at("nop", mode, s_nop, 0, 0);
        at("ldr_pre", mode, s_ldr_pre, RW0, 0);
        at("br", mode, s_br, CODE + (u64)(s_nop - user_start), 0);
        at("ldxr", mode, s_ldxr, RW0, 0);
        at("svc", mode, s_svc, 0, 0);
        at("brk", mode, s_brk, 0, 0);
        at("udf", mode, s_udf, 0, 0);
        at("ldr none", mode, s_ldr, NONE3, 0);
        at("pc", mode, s_br, CODE + 2, 0);
        at("br none", mode, s_br, NONE3, 0);
        spsr_bits = d; /* SS clear: the exception comes at once */
        at("no ss", mode, s_nop, 0, 0);
        spsr_bits = BIT(21);
        at("masked", mode, s_nop, 0, 0); /* by PSTATE.D, which EL0 does not ask */
    }
    spsr_bits = 0;
    msr("mdscr_el1", 0);
    isb();
    at("off", 'u', s_nop, 0, 0);
}

int main(void)
{
    u64 *root = pt_flat(), pa = (u64)data;
    u64 rw0 = PTE_NORMAL | PTE_AP(1), big = BIT(40); /* more than IPS allows */

    for (u64 i = 0; i < (u64)(user_end - user_start); i += PAGE)
        pt_page(root, CODE + i, (u64)user_start + i, PTE_NORMAL | PTE_AP(3));
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (u8)i;
    /* A NOP at the end of the page. */
    *(volatile u32 *)(data + PAGE - 4) = 0xd503201f;
    pt_page(root, RW0, pa, rw0);
    pt_page(root, RO0, pa + PAGE, PTE_NORMAL | PTE_AP(3));
    pt_page(root, RW1, pa, PTE_NORMAL | PTE_AP(0));
    pt_page(root, RO1, pa, PTE_NORMAL | PTE_AP(2));
    pt_page(root, NOAF3, pa, (PTE_NORMAL | PTE_AP(1)) & ~PTE_AF);
    pt_page(root, XN0, pa, PTE_NORMAL | PTE_AP(3) | PTE_UXN);
    pt_page(root, XN1, pa, PTE_NORMAL | PTE_AP(3) | PTE_PXN);
    pt_page(root, X0, (u64)user_start, PTE_NORMAL | PTE_AP(2) | PTE_PXN);
    pt_page(root, LAST, pa, PTE_NORMAL | PTE_AP(1));
    pt_page(root, FIRST, pa, PTE_NORMAL | PTE_AP(1));
    pt_page(root, ADDR3, big, rw0);
    pt_set(root, NOAF2, 2, 0x40000000 | (rw0 & ~PTE_AF));
    pt_set(root, RO1_2, 2, 0x40000000 | PTE_NORMAL | PTE_AP(2));
    pt_set(root, ADDR2, 2, big | rw0);
    pt_set(root, TADDR3, 2, big | PTE_VALID | PTE_PAGE);
    pt_set(root, NOAF1, 1, 0x40000000 | (rw0 & ~PTE_AF));
    pt_set(root, RO1_1, 1, 0x40000000 | PTE_NORMAL | PTE_AP(2));
    pt_set(root, ADDR1, 1, big | rw0);
    mmu_on(root, pt_new());

    instructions();
    aborts();
    alignment();
    traps();
    returns();
    pan_uao();
    step();
    print("end\n");
    return 0;
}
