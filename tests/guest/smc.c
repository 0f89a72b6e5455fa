/*
 * Self-modifying code: with the maintenance that the architecture asks for (DC CVAU, IC IVAU, or what CTR_EL0 leaves of
 * them), new instructions run, however hot the old ones were, wherever in a page they are, through whichever address
 * they were written, at both ELs.
 */
#include "tests/guest/guest.h"

#define CODE 0x0000200000000000ul  /* two pages, for both ELs, read-only */
#define ALIAS 0x0000300000000000ul /* the same two pages, writable */
#define COPY 0x0000400000000000ul  /* and again, executable */
#define HIGH 0xffff000000200000ul

#define INSN_RET 0xd65f03c0u
#define INSN_NOP 0xd503201fu
#define INSN_MOVZ(rd, imm) (0xd2800000u | (u32)(imm) << 5 | (rd))
#define INSN_ADD(rd, imm) (0x91000000u | (u32)(imm) << 10 | (rd) << 5 | (rd))
#define INSN_SVC(imm) (0xd4000001u | (u32)(imm) << 5)
#define INSN_B(off) (0x14000000u | ((u32)((off) >> 2) & 0x3ffffff))

static u8 mem[2 * PAGE] __attribute__((aligned(4096)));

static void poke(u64 va, u32 insn)
{
    *(volatile u32 *)va = insn;
}

static u64 spared; /* what of CTR_EL0's IDC and DIC is made use of */

/* Cleans and invalidates [va, va + len) as the manual's sequence does; `exec` is where it will run. */
static void sync(u64 write, u64 exec, u64 len)
{
    for (u64 i = 0; i < len && !(spared & CTR_IDC); i += 64)
        asm volatile("dc cvau, %0" ::"r"(write + i) : "memory");
    dsb();
    for (u64 i = 0; i < len && !(spared & CTR_DIC); i += 64)
        asm volatile("ic ivau, %0" ::"r"(exec + i) : "memory");
    dsb();
    isb();
}

static u64 call(u64 va, u64 x0)
{
    return ((u64(*)(u64))va)(x0);
}

static u64 call_el0(u64 va, u64 x0)
{
    struct run r = {.pc = va, .spsr = SPSR_EL0, .x = {x0}};

    run(&r);
    return RUN_DONE(run_frame) ? run_frame.x[0] : BIT(63) | run_frame.esr;
}

/* f(x) = x + n, patched to other n. */
static void patch_immediate(u64 off)
{
    u64 sum = 0;

    poke(ALIAS + off, INSN_ADD(0, 0));
    poke(ALIAS + off + 4, INSN_RET);
    for (u64 n = 0; n < 50; n++) {
        poke(ALIAS + off, INSN_ADD(0, n));
        sync((ALIAS + off) & ~63ul, (CODE + off) & ~63ul, 128);
        for (int i = 0; i < 200; i++)
            sum += call(CODE + off, (u64)i);
    }
    print("immediate at +%x: %x\n", off, sum);
}

/* A block that straddles the page boundary; each half is patched in turn. */
static void patch_straddle(void)
{
    u64 a = PAGE - 16, sum = 0;

    for (u64 i = 0; i < 8; i++)
        poke(ALIAS + a + i * 4, INSN_ADD(0, 1));
    poke(ALIAS + a + 32, INSN_RET);
    sync(ALIAS + PAGE - 64, CODE + PAGE - 64, 128);
    for (u64 n = 0; n < 64; n++) {
        poke(ALIAS + a + n % 8 * 4, INSN_ADD(0, n));
        sync(ALIAS + PAGE - 64, CODE + PAGE - 64, 128);
        for (int i = 0; i < 100; i++)
            sum = sum * 3 + call(CODE + a, n);
    }
    print("straddle: %x\n", sum);
}

/* A loop's back edge and a call's target are patched: linked blocks must come apart. */
static void patch_links(void)
{
    u64 b = 0x400, sum = 0;

    for (u64 n = 0; n < 20; n++) {
        u64 target = 0x800 + n % 5 * 64;
        poke(ALIAS + b, INSN_B((long)(target - b)));
        poke(ALIAS + target, INSN_ADD(0, n));
        poke(ALIAS + target + 4, INSN_B(0x700 - (long)(target + 4)));
        poke(ALIAS + 0x700, n % 3 ? INSN_RET : INSN_ADD(0, 1000));
        poke(ALIAS + 0x704, INSN_RET);
        sync(ALIAS, CODE, PAGE);
        for (int i = 0; i < 300; i++)
            sum += call(CODE + b, 1);
    }
    print("links: %x\n", sum);
}

/* Data beside code in one page, written at every step. */
static void data_beside_code(void)
{
    volatile u64 *d = (volatile u64 *)(ALIAS + 0x200);
    u64 sum = 0;

    poke(ALIAS, INSN_ADD(0, 7));
    poke(ALIAS + 4, INSN_RET);
    sync(ALIAS, CODE, 64);
    *d = 0;
    for (u64 i = 0; i < 20000; i++) {
        *d += call(CODE, i);
        sum ^= *d;
    }
    print("beside: %x %x\n", *d, sum);
}

/* One IC IALLU for many changes, and code seen through two virtual addresses. */
static void whole_cache(int shareable)
{
    u64 sum = 0;

    for (u64 n = 1; n < 40; n++) {
        for (u64 o = 0; o < 2 * PAGE; o += 512) {
            poke(ALIAS + o, INSN_MOVZ(0, n * 16 + o / 512));
            poke(ALIAS + o + 4, INSN_RET);
        }
        dsb();
        if (shareable)
            asm volatile("ic ialluis" ::: "memory");
        else
            asm volatile("ic iallu" ::: "memory");
        dsb();
        isb();
        for (u64 o = 0; o < 2 * PAGE; o += 512)
            sum = sum * 5 + call(CODE + o, 0) + call(COPY + o, 0);
    }
    print("iallu%s: %x\n", shareable ? "is" : "", sum);
}

static void at_el0(void)
{
    u64 sum = 0;

    poke(ALIAS + 0x104, INSN_SVC(0xffff));
    for (u64 n = 0; n < 30; n++) {
        poke(ALIAS + 0x100, INSN_ADD(0, n));
        sync(ALIAS + 0x100, CODE + 0x100, 64);
        for (int i = 0; i < 50; i++)
            sum = sum * 3 + call_el0(CODE + 0x100, n);
    }
    print("el0: %x\n", sum);
}

/* The page below the code is exchanged by TLBI alone: other memory, other instructions. */
static void remap(u64 *root)
{
    u64 sum = 0;

    poke(ALIAS, INSN_MOVZ(0, 0x11));
    poke(ALIAS + 4, INSN_RET);
    poke(ALIAS + PAGE, INSN_MOVZ(0, 0x22));
    poke(ALIAS + PAGE + 4, INSN_RET);
    sync(ALIAS, CODE, 2 * PAGE);
    for (u64 n = 0; n < 50; n++) {
        pt_page(root, CODE, (u64)mem + n % 2 * PAGE, PTE_NORMAL | PTE_AP(3));
        tlbi_all();
        for (int i = 0; i < 50; i++)
            sum = sum * 3 + call(CODE, 0);
    }
    pt_page(root, CODE, (u64)mem, PTE_NORMAL | PTE_AP(3));
    tlbi_all();
    print("remap: %x\n", sum);
}

static void tlbi_page(u64 va)
{
    dsb();
    asm volatile("tlbi vaae1, %0" ::"r"(va >> 12 & (BIT(44) - 1)) : "memory");
    dsb();
    isb();
}

/* The same in the upper half, page by page, as kernels do it; every other time a page that is not executed goes, too.
 */
static void remap_high(u64 *root1)
{
    u64 sum = 0, *data = pt_page(root1, HIGH + PAGE, (u64)mem, PTE_NORMAL | PTE_PXN | PTE_UXN);
    u64 *code = pt_page(root1, HIGH, (u64)mem, PTE_NORMAL | PTE_AP(2) | PTE_UXN);

    for (u64 n = 0; n < 50; n++) {
        *code = 0;
        tlbi_page(HIGH);
        *code = ((u64)mem + n % 2 * PAGE) | PTE_NORMAL | PTE_AP(2) | PTE_UXN | PTE_PAGE;
        if (n & 1) {
            *data = 0;
            tlbi_page(HIGH + PAGE);
            *data = ((u64)mem + n % 3 / 2 * PAGE) | PTE_NORMAL | PTE_PXN | PTE_UXN | PTE_PAGE;
        }
        dsb();
        isb();
        for (int i = 0; i < 50; i++)
            sum = sum * 3 + call(HIGH, 0) + *(volatile u32 *)(HIGH + PAGE);
    }
    print("remap, upper half: %x\n", sum);
}

int main(void)
{
    u64 *root = pt_flat(), *root1 = pt_new();

    for (u64 i = 0; i < 2 * PAGE; i += PAGE) {
        pt_page(root, CODE + i, (u64)mem + i, PTE_NORMAL | PTE_AP(3));
        pt_page(root, COPY + i, (u64)mem + i, PTE_NORMAL | PTE_AP(3));
        pt_page(root, ALIAS + i, (u64)mem + i, PTE_NORMAL | PTE_PXN | PTE_UXN);
    }
    mmu_on(root, root1);
    patch_immediate(0);
    patch_immediate(0x7f8);
    patch_immediate(PAGE - 4);
    patch_immediate(PAGE - 8);
    patch_straddle();
    patch_links();
    data_beside_code();
    spared = mrs("ctr_el0");
    patch_immediate(0x7f8);
    patch_immediate(PAGE - 8);
    patch_straddle();
    patch_links();
    data_beside_code();
    at_el0();
    spared = 0;
    whole_cache(0);
    whole_cache(1);
    at_el0();
    remap(root);
    remap_high(root1);
    print("end\n");
    return 0;
}
