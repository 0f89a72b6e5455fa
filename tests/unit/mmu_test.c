/* Stage 1 walks over tables made by hand: levels, permissions, faults, ASIDs, tags; PAN; AT; abort syndromes. */
#include "arch/arm64/arm64.h"
#include "jit/ops.h"
#include "tests/check.h"

#define RAM UINT64_C(0x40000000)
#define RAM_SIZE MIB(16)
#define L0 (RAM + 0x1000)
#define L1 (RAM + 0x2000)
#define L2 (RAM + 0x3000)
#define L3 (RAM + 0x4000)

#define VALID 1
#define TABLE 3
#define PAGE 3
#define AF BIT64(10)
#define NG BIT64(11)
#define AP_EL0 BIT64(6)
#define AP_RO BIT64(7)
#define PXN BIT64(53)
#define UXN BIT64(54)

#define SCTLR_M 1
#define TCR_BASE (UINT64_C(5) << 32 | UINT64_C(2) << 30 | BIT64(36) | 16 << 16 | 16) /* 48-bit halves and PAs */

#define R1 ARM64_PERM_R1
#define W1 ARM64_PERM_W1
#define X1 ARM64_PERM_X1
#define R0 ARM64_PERM_R0
#define W0 ARM64_PERM_W0
#define X0 ARM64_PERM_X0

static struct arm64_cpu cpu;
static struct mem *mem;
static struct arm64_xlat x;
static struct arm64_fault f;

static void put(uint64_t table, unsigned index, uint64_t desc)
{
    mem_write(mem, GPA(table + 8 * index), &desc, sizeof(desc));
}

/* MMU on; one path L0[0] -> L1[0] -> L2[0] -> L3[0] for both halves. */
static void setup(const char *model)
{
    static const uint8_t zero[4096];
    struct mem_options opt = {0};
    struct err e = {0};

    if (!mem) {
        mem_create(&mem);
        mem_add_ram(mem, GPA(RAM), RAM_SIZE, &opt, &e);
    }
    for (uint64_t t = L0; t <= L3; t += 0x1000)
        mem_write(mem, GPA(t), zero, sizeof(zero));
    put(L0, 0, L1 | TABLE);
    put(L1, 0, L2 | TABLE);
    put(L2, 0, L3 | TABLE);
    arm64_set_hooks(NULL);
    arm64_cpu_init(&cpu, arm64_model_find(model), 0);
    cpu.mem = mem;
    cpu.sys.sctlr_el1 |= SCTLR_M;
    cpu.sys.tcr_el1 = TCR_BASE;
    cpu.sys.ttbr0_el1 = L0 | UINT64_C(0x1234) << 48;
    cpu.sys.ttbr1_el1 = L0 | UINT64_C(0xabcd) << 48 | 1; /* CnP is no part of the address */
    cpu.sys.mair_el1 = 0xff00;                           /* 0: Device-nGnRnE, 1: Normal */
}

static int walk(uint64_t va)
{
    x = (struct arm64_xlat){0};
    f.fsc = 0xff;
    return arm64_walk(&cpu, mem, va, &x, &f);
}

static void test_off(void)
{
    setup("max");
    cpu.sys.sctlr_el1 &= ~(uint64_t)SCTLR_M;
    CHECK_EQ(walk(0x12345678), 0);
    CHECK_EQ(x.pa, 0x12345678);
    CHECK(x.device);
    CHECK_EQ(x.perm, R1 | W1 | X1 | R0 | W0 | X0);
    CHECK_EQ(walk(BIT64(48)), 1); /* beyond 48 bits */
    CHECK_EQ(f.fsc, 0);
}

static void test_page(void)
{
    setup("max");
    put(L3, 5, (RAM + 0x7000) | 1 << 2 | AF | PAGE | NG | UXN | PXN);
    CHECK_EQ(walk(0x5123), 0);
    CHECK_EQ(x.pa, RAM + 0x7123);
    CHECK_EQ(x.page_bits, 12);
    CHECK(x.ng);
    CHECK(!x.device);
    CHECK_EQ(x.asid, 0x1234);
    CHECK_EQ(x.perm, R1 | W1);
    CHECK_EQ(arm64_perm_fsc(&x), 0xf);
    cpu.sys.tcr_el1 |= BIT64(22); /* A1 */
    CHECK_EQ(walk(UINT64_C(0xffff000000005fff)), 0);
    CHECK_EQ(x.pa, RAM + 0x7fff);
    CHECK_EQ(x.asid, 0xabcd);
    cpu.sys.tcr_el1 &= ~BIT64(36); /* 8-bit ASIDs */
    CHECK_EQ(walk(0x5000), 0);
    CHECK_EQ(x.asid, 0xcd);
    put(L3, 5, (RAM + 0x7000) | AF | PAGE);
    CHECK_EQ(walk(0x5000), 0);
    CHECK(x.device);
    CHECK(!x.ng);
}

static void test_blocks(void)
{
    setup("max");
    put(L2, 1, UINT64_C(0x80200000) | AF | VALID);
    CHECK_EQ(walk(0x2abcde), 0);
    CHECK_EQ(x.pa, UINT64_C(0x802abcde));
    CHECK_EQ(x.page_bits, 21);
    CHECK_EQ(arm64_perm_fsc(&x), 0xe);
    put(L1, 2, UINT64_C(0x140000000) | AF | VALID);
    CHECK_EQ(walk(UINT64_C(0x81234567)), 0);
    CHECK_EQ(x.pa, UINT64_C(0x141234567));
    CHECK_EQ(x.page_bits, 30);
    CHECK_EQ(arm64_perm_fsc(&x), 0xd);
    put(L0, 1, AF | VALID); /* there are no 512 GiB blocks */
    CHECK_EQ(walk(BIT64(39)), 1);
    CHECK_EQ(f.fsc, 4);
}

static void test_sizes(void)
{
    setup("max");
    /* 39 bits: starts at level 1 */
    cpu.sys.tcr_el1 = (TCR_BASE & ~UINT64_C(0x3f)) | 25;
    cpu.sys.ttbr0_el1 = L1;
    put(L3, 0, (RAM + 0x7000) | AF | PAGE);
    CHECK_EQ(walk(0x10), 0);
    CHECK_EQ(x.pa, RAM + 0x7010);
    CHECK_EQ(walk(BIT64(39)), 1);
    CHECK_EQ(f.fsc, 4);
    /* 25 bits: 16 entries of level 2, in a table that needs only 128 bytes of alignment */
    cpu.sys.tcr_el1 = (TCR_BASE & ~UINT64_C(0x3f)) | 39;
    cpu.sys.ttbr0_el1 = L2 + 0x80;
    put(L2 + 0x80, 3, RAM | AF | VALID);
    CHECK_EQ(walk(3 * MIB(2) + 4), 0);
    CHECK_EQ(x.pa, RAM + 4);
    CHECK_EQ(walk(BIT64(25)), 1);
    CHECK_EQ(f.fsc, 4);
}

static void test_translation_faults(void)
{
    setup("max");
    CHECK_EQ(walk(0x5000), 1); /* empty level 3 entry */
    CHECK_EQ(f.fsc, 7);
    put(L3, 5, AF | VALID); /* the block encoding is reserved at level 3 */
    CHECK_EQ(walk(0x5000), 1);
    CHECK_EQ(f.fsc, 7);
    CHECK_EQ(walk(MIB(2)), 1);
    CHECK_EQ(f.fsc, 6);
    CHECK_EQ(walk(GIB(1)), 1);
    CHECK_EQ(f.fsc, 5);
    CHECK_EQ(walk(BIT64(39)), 1);
    CHECK_EQ(f.fsc, 4);
    CHECK_EQ(walk(BIT64(48)), 1); /* in neither half */
    CHECK_EQ(f.fsc, 4);
    CHECK_EQ(walk(UINT64_C(0xfffe000000000000)), 1);
    CHECK_EQ(f.fsc, 4);
    put(L3, 5, AF | PAGE);
    cpu.sys.tcr_el1 |= BIT64(7); /* EPD0 */
    CHECK_EQ(walk(0x5000), 1);
    CHECK_EQ(f.fsc, 4);
    CHECK_EQ(walk(UINT64_C(0xffff000000005000)), 0);
    cpu.sys.tcr_el1 |= BIT64(23); /* EPD1 */
    CHECK_EQ(walk(UINT64_C(0xffff000000005000)), 1);
    CHECK_EQ(f.fsc, 4);
}

static void test_other_faults(void)
{
    setup("max");
    put(L3, 5, RAM | PAGE);
    CHECK_EQ(walk(0x5000), 1);
    CHECK_EQ(f.fsc, 0xb); /* access flag */
    put(L2, 1, RAM | VALID);
    CHECK_EQ(walk(MIB(2)), 1);
    CHECK_EQ(f.fsc, 0xa);
    /* output beyond TCR.IPS (32 bits), level 3 and level 1 table */
    cpu.sys.tcr_el1 &= ~(UINT64_C(7) << 32);
    put(L3, 6, BIT64(32) | AF | PAGE);
    CHECK_EQ(walk(0x6000), 1);
    CHECK_EQ(f.fsc, 3);
    put(L1, 1, BIT64(33) | TABLE);
    CHECK_EQ(walk(GIB(1)), 1);
    CHECK_EQ(f.fsc, 1);
    cpu.sys.ttbr0_el1 = BIT64(40);
    CHECK_EQ(walk(0x5000), 1);
    CHECK_EQ(f.fsc, 0);
    /* tables outside of RAM */
    setup("max");
    put(L2, 1, UINT64_C(0x9000000) | TABLE);
    CHECK_EQ(walk(MIB(2)), 1);
    CHECK_EQ(f.fsc, 0x17);
    cpu.sys.ttbr0_el1 = 0;
    CHECK_EQ(walk(0), 1);
    CHECK_EQ(f.fsc, 0x14);
}

static void test_pa_size_of_model(void)
{
    setup("cortex-a76"); /* 40 bits */
    put(L3, 0, BIT64(40) | AF | PAGE);
    CHECK_EQ(walk(0), 1);
    CHECK_EQ(f.fsc, 3);
    put(L3, 0, BIT64(39) | AF | PAGE);
    CHECK_EQ(walk(0), 0);
}

static void test_tags(void)
{
    uint64_t low = UINT64_C(0x5a00000000005000), high = UINT64_C(0x5aff000000005000);

    setup("max");
    put(L3, 5, RAM | AF | PAGE);
    CHECK_EQ(walk(low), 1);
    CHECK_EQ(f.fsc, 4);
    cpu.sys.tcr_el1 |= BIT64(37);
    CHECK_EQ(walk(low), 0);
    CHECK_EQ(x.pa, RAM);
    CHECK_EQ(walk(high), 1);
    cpu.sys.tcr_el1 |= BIT64(38);
    CHECK_EQ(walk(high), 0);
}

struct perm_case {
    uint64_t leaf, table;
    uint8_t perm, wxn;
};

static void test_permissions(void)
{
    static const struct perm_case cases[] = {
        {0, 0, R1 | W1 | X1 | X0, R1 | W1 | X0},
        {AP_RO, 0, R1 | X1 | X0, R1 | X1 | X0},
        {AP_EL0, 0, R1 | W1 | R0 | W0 | X0, R1 | W1 | R0 | W0},
        {AP_EL0 | AP_RO, 0, R1 | X1 | R0 | X0, R1 | X1 | R0 | X0},
        {AP_EL0 | PXN | UXN, 0, R1 | W1 | R0 | W0, R1 | W1 | R0 | W0},
        {AP_RO | UXN, 0, R1 | X1, R1 | X1},
        {AP_EL0, BIT64(61), R1 | W1 | X1 | X0, R1 | W1 | X0},      /* APTable: no EL0 */
        {AP_EL0, BIT64(62), R1 | X1 | R0 | X0, R1 | X1 | R0 | X0}, /* APTable: read-only */
        {AP_RO, BIT64(59), R1 | X0, R1 | X0},                      /* PXNTable */
        {AP_RO, BIT64(60), R1 | X1, R1 | X1},                      /* UXNTable */
    };

    setup("max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        cpu.sys.tcr_el1 = TCR_BASE;
        cpu.sys.sctlr_el1 &= ~BIT64(19);
        put(L3, 0, RAM | AF | PAGE | cases[i].leaf);
        put(L1, 0, L2 | TABLE | cases[i].table);
        CHECK_EQ(walk(0), 0);
        CHECK_EQ(x.perm, cases[i].perm);
        cpu.sys.sctlr_el1 |= BIT64(19);
        CHECK_EQ(walk(0), 0);
        CHECK_EQ(x.perm, cases[i].wxn);
    }
    /* HPD0 turns the last case's table bit off. */
    cpu.sys.tcr_el1 |= BIT64(41);
    CHECK_EQ(walk(0), 0);
    CHECK_EQ(x.perm, R1 | X1 | X0);
}

static void test_permitted(void)
{
    setup("max");
    x.page_bits = 12;
    x.perm = R1 | W1 | X1 | R0;
    CHECK(arm64_permitted(&cpu, &x, ARM64_READ, 0));
    CHECK(!arm64_permitted(&cpu, &x, ARM64_WRITE, 0));
    CHECK(!arm64_permitted(&cpu, &x, ARM64_FETCH, 0));
    CHECK(arm64_permitted(&cpu, &x, ARM64_WRITE, 1));
    cpu.pstate_misc = PSTATE_PAN;
    CHECK(!arm64_permitted(&cpu, &x, ARM64_READ, 1));
    CHECK(!arm64_permitted(&cpu, &x, ARM64_WRITE, 1));
    CHECK(arm64_permitted(&cpu, &x, ARM64_FETCH, 1));
    CHECK(arm64_permitted(&cpu, &x, ARM64_READ, 0)); /* LDTR */
    x.perm = R1 | W1 | X0;
    CHECK(arm64_permitted(&cpu, &x, ARM64_READ, 1));
}

static void test_e0pd(void)
{
    uint64_t va = UINT64_C(0xffff000000000000);

    setup("max");
    put(L3, 0, RAM | AF | PAGE | AP_EL0 | AP_RO);
    cpu.sys.tcr_el1 |= BIT64(56);
    CHECK_EQ(walk(va), 0);
    CHECK_EQ(x.perm, R1 | X1);
    CHECK_EQ(walk(0), 0);
    CHECK_EQ(x.perm, R1 | X1 | R0 | X0);
    arm64_set_el_sp(&cpu, 0, 0);
    arm64_abort(&cpu, va, ARM64_READ, 0xf, false);
    CHECK_EQ(cpu.sys.esr_el1, 0x24u << 26 | BIT32(25) | 4);
}

static void test_abort(void)
{
    setup("max");
    cpu.pc = 0x8000;
    arm64_abort(&cpu, 0x1234, ARM64_READ, 0x7, false);
    CHECK_EQ(cpu.sys.esr_el1, 0x25u << 26 | BIT32(25) | 7);
    CHECK_EQ(cpu.sys.far_el1, 0x1234);
    CHECK_EQ(cpu.sys.elr_el1, 0x8000);
    arm64_abort(&cpu, 0x1234, ARM64_WRITE, ARM64_FSC_ALIGN, false);
    CHECK_EQ(cpu.sys.esr_el1, 0x25u << 26 | BIT32(25) | 0x61);
    arm64_abort(&cpu, 0x1234, ARM64_READ, 0x6, true);
    CHECK_EQ(cpu.sys.esr_el1, 0x25u << 26 | BIT32(25) | 0x146);
    arm64_set_el_sp(&cpu, 0, 0);
    arm64_abort(&cpu, 0x1234, ARM64_FETCH, 0xf, false);
    CHECK_EQ(cpu.sys.esr_el1, 0x20u << 26 | BIT32(25) | 0xf);
}

static uint64_t at(unsigned crm, unsigned op2, uint64_t va)
{
    arm64_sysreg_write(&cpu, SYSREG_ENC(1, 0, 7, crm, op2), 0, va);
    return cpu.sys.par_el1;
}

static void test_at(void)
{
    setup("max");
    put(L3, 5, (RAM + 0x7000) | 1 << 2 | 3 << 8 | AF | PAGE | AP_EL0 | AP_RO);
    uint64_t ok = UINT64_C(0xff) << 56 | (RAM + 0x7000) | BIT64(11) | 3 << 7;
    uint64_t denied = BIT64(11) | 0xf << 1 | 1;
    CHECK_EQ(at(8, 0, 0x5678), ok); /* S1E1R */
    CHECK_EQ(at(8, 1, 0x5678), denied);
    CHECK_EQ(at(8, 2, 0x5678), ok);
    CHECK_EQ(at(8, 3, 0x5678), denied);
    CHECK_EQ(at(9, 0, 0x5678), ok);
    cpu.pstate_misc |= PSTATE_PAN;
    CHECK_EQ(at(8, 0, 0x5678), ok);
    CHECK_EQ(at(9, 0, 0x5678), denied);
    CHECK_EQ(at(8, 0, 0x6000), BIT64(11) | 7 << 1 | 1);
    /* an external abort on the walk is taken */
    put(L2, 1, UINT64_C(0x9000000) | TABLE);
    cpu.sys.esr_el1 = 0;
    at(8, 0, MIB(2));
    CHECK_EQ(cpu.sys.esr_el1, 0x25u << 26 | BIT32(25) | 0x157);
    cpu.sys.sctlr_el1 &= ~(uint64_t)SCTLR_M;
    CHECK_EQ(at(8, 1, 0x1234567), 0x1234000 | BIT64(11) | 2 << 7);
}

int main(void)
{
    RUN(test_off);
    RUN(test_page);
    RUN(test_blocks);
    RUN(test_sizes);
    RUN(test_translation_faults);
    RUN(test_other_faults);
    RUN(test_pa_size_of_model);
    RUN(test_tags);
    RUN(test_permissions);
    RUN(test_permitted);
    RUN(test_e0pd);
    RUN(test_abort);
    RUN(test_at);
    mem_destroy(mem);
    return check_done();
}
