/*
 * Translation: page sizes, table attributes, region sizes, ASIDs, every form of TLBI as seen through remapped pages,
 * AT.
 *
 * A page is mapped to A, read, mapped to B, invalidated by the form under test, and must then read as B. What the
 * architecture leaves open (the value between the two) is not printed.
 */
#include "tests/guest/guest.h"

#define V 0x0000008000000000ul
#define V2M 0x0000008000200000ul
#define V1G 0x0000008040000000ul
#define CODE 0x0000200000000000ul /* .user, for both ELs */
#define HI 0xffff800000000000ul

static volatile u64 page[8][512] __attribute__((aligned(4096)));
static volatile u64 big[2 * 512] __attribute__((aligned(4096)));
static u64 *root, *root1;

#define PA(n) ((u64)page[n])
#define RW1 (PTE_NORMAL | PTE_UXN | PTE_PXN)
#define RW0 (RW1 | PTE_AP(1))

SNIPPET(s_ldr, "ldr x0, [x0]");
SNIPPET(s_str, "str x1, [x0]");
SNIPPET(s_nop, "nop");

/* Reads (or writes) at EL1 through run(): the value, or the fault status with the top bit set. */
static u64 try_el(u64 spsr, char *code, u64 va, u64 v)
{
    struct run r = {.pc = (u64)code, .spsr = spsr, .x = {va, v}};

    run(&r);
    return RUN_DONE(run_frame) ? run_frame.x[0] : BIT(63) | (run_frame.esr & 0x7f);
}
static u64 try_ld(u64 va)
{
    return try_el(SPSR_EL1H, s_ldr, va, 0);
}
static u64 try_st(u64 va)
{
    return try_el(SPSR_EL1H, s_str, va, 1) >> 63 ? BIT(63) | (run_frame.esr & 0x7f) : 0;
}

static void tlbi_va(const char *name, void (*op)(u64 arg), u64 attr, u64 va, u64 asid)
{
    u64 a, b;

    for (int i = 0; i < 3; i++) {
        pt_page(root, va, PA(0), attr);
        tlbi_all();
        a = ld64(va + 8);
        pt_page(root, va, PA(1), attr);
        op((va >> 12 & 0xffffffffffful) | asid << 48);
        dsb();
        isb();
        b = ld64(va + 8);
        if (i == 2)
            print("%s: %x %x\n", name, a, b);
    }
}

#define TLBI(name, insn)                                                                                               \
    static void name(u64 x)                                                                                            \
    {                                                                                                                  \
        asm volatile("tlbi " insn ::"r"(x) : "memory");                                                                \
    }
#define TLBI_SYS(name, where, value)                                                                                   \
    static void name(u64 x)                                                                                            \
    {                                                                                                                  \
        asm volatile("sys #0, c8, " where ", %0" ::"r"(value) : "memory");                                             \
    }
/* The operand of a range form: (num + 1) << (5 * scale + 1) pages of 4 KiB, from `before` pages before that of x. */
static u64 range(u64 x, u64 scale, u64 num, u64 before)
{
    return (x & 0xffff000000000000ul) | 1ul << 46 | scale << 44 | num << 39 | ((x - before) & 0x1ffffffffful);
}
TLBI(op_vmalle1, "vmalle1 // %0")
TLBI(op_vae1, "vae1, %0")
TLBI(op_aside1, "aside1, %0")
TLBI(op_vaae1, "vaae1, %0")
TLBI(op_vale1, "vale1, %0")
TLBI(op_vaale1, "vaale1, %0")
TLBI(op_vmalle1is, "vmalle1is // %0")
TLBI(op_vae1is, "vae1is, %0")
TLBI(op_aside1is, "aside1is, %0")
TLBI(op_vaae1is, "vaae1is, %0")
TLBI(op_vale1is, "vale1is, %0")
TLBI(op_vaale1is, "vaale1is, %0")

/* Outer shareable and range forms, by their encodings: assemblers of Armv8.0 do not know the names. */
TLBI_SYS(op_vmalle1os, "c1, #0", x)
TLBI_SYS(op_vae1os, "c1, #1", x)
TLBI_SYS(op_aside1os, "c1, #2", x)
TLBI_SYS(op_vaae1os, "c1, #3", x)
TLBI_SYS(op_vale1os, "c1, #5", x)
TLBI_SYS(op_vaale1os, "c1, #7", x)
/* Two pages, of which the tested one is the second; 128 pages, of which it is the 101st. */
TLBI_SYS(op_rvae1, "c6, #1", range(x, 0, 0, 1))
TLBI_SYS(op_rvaae1, "c6, #3", range(x, 0, 0, 1))
TLBI_SYS(op_rvale1, "c6, #5", range(x, 1, 1, 100))
TLBI_SYS(op_rvaale1, "c6, #7", range(x, 1, 1, 100))
TLBI_SYS(op_rvae1is, "c2, #1", range(x, 1, 1, 100))
TLBI_SYS(op_rvaae1is, "c2, #3", range(x, 0, 0, 1))
TLBI_SYS(op_rvale1is, "c2, #5", range(x, 0, 0, 1))
TLBI_SYS(op_rvaale1is, "c2, #7", range(x, 0, 0, 1))
TLBI_SYS(op_rvae1os, "c5, #1", range(x, 0, 0, 1))
TLBI_SYS(op_rvaae1os, "c5, #3", range(x, 1, 1, 100))
TLBI_SYS(op_rvale1os, "c5, #5", range(x, 0, 0, 1))
TLBI_SYS(op_rvaale1os, "c5, #7", range(x, 0, 0, 1))

struct form {
    const char *name;
    void (*op)(u64);
    int by_asid;
};

static void tlbi_try(const struct form *f)
{
    msr("ttbr0_el1", (u64)root | 5ul << 48);
    isb();
    if (!f->by_asid) {
        print("global ");
        tlbi_va(f->name, f->op, RW1, V + 0x85000, 5);
        print("high ");
        u64 *save = root;
        root = root1;
        tlbi_va(f->name, f->op, RW1, HI + 0x85000, 5);
        root = save;
    }
    print("asid ");
    tlbi_va(f->name, f->op, RW1 | PTE_NG, V + 0x86000, 5);
}

static void tlbi_forms(void)
{
    static const struct form forms[] = {
        {"vmalle1", op_vmalle1, 0},     {"vae1", op_vae1, 0},       {"aside1", op_aside1, 1},
        {"vaae1", op_vaae1, 0},         {"vale1", op_vale1, 0},     {"vaale1", op_vaale1, 0},
        {"vmalle1is", op_vmalle1is, 0}, {"vae1is", op_vae1is, 0},   {"aside1is", op_aside1is, 1},
        {"vaae1is", op_vaae1is, 0},     {"vale1is", op_vale1is, 0}, {"vaale1is", op_vaale1is, 0},
    };

    static const struct form later[] = {
        {"vmalle1os", op_vmalle1os, 0}, {"vae1os", op_vae1os, 0},       {"aside1os", op_aside1os, 1},
        {"vaae1os", op_vaae1os, 0},     {"vale1os", op_vale1os, 0},     {"vaale1os", op_vaale1os, 0},
        {"rvae1", op_rvae1, 0},         {"rvaae1", op_rvaae1, 0},       {"rvale1", op_rvale1, 0},
        {"rvaale1", op_rvaale1, 0},     {"rvae1is", op_rvae1is, 0},     {"rvaae1is", op_rvaae1is, 0},
        {"rvale1is", op_rvale1is, 0},   {"rvaale1is", op_rvaale1is, 0}, {"rvae1os", op_rvae1os, 0},
        {"rvaae1os", op_rvaae1os, 0},   {"rvale1os", op_rvale1os, 0},   {"rvaale1os", op_rvaale1os, 0},
    };
    u64 tlb = mrs("id_aa64isar0_el1") >> 56 & 15; /* 1: outer shareable forms; 2: range forms too */

    for (unsigned i = 0; i < ARRAY_SIZE(forms); i++)
        tlbi_try(&forms[i]);
    for (unsigned i = 0; i < (tlb == 0 ? 0 : tlb == 1 ? 6 : ARRAY_SIZE(later)); i++)
        tlbi_try(&later[i]);
    msr("ttbr0_el1", root);
    isb();
}

static void asids(void)
{
    u64 *other = pt_flat();

    pt_page(root, V, PA(0), RW1 | PTE_NG);
    pt_page(other, V, PA(1), RW1 | PTE_NG);
    pt_page(root, V + PAGE, PA(2), RW1);
    pt_page(other, V + PAGE, PA(2), RW1);
    pt_page(root, V + 2 * PAGE, PA(3), RW1 | PTE_NG);
    tlbi_all();
    print("asids:");
    for (int i = 0; i < 4; i++) {
        msr("ttbr0_el1", (u64)root | 1ul << 48);
        isb();
        print(" %x %x %x", ld64(V), ld64(V + PAGE), try_ld(V + 2 * PAGE));
        msr("ttbr0_el1", (u64)other | 0x8001ul << 48);
        isb();
        print(" %x %x %x", ld64(V), ld64(V + PAGE), try_ld(V + 2 * PAGE));
    }
    /* The ASID from TTBR1 (TCR.A1); the tables stay. */
    msr("ttbr0_el1", root);
    msr("tcr_el1", TCR_ON | TCR_A1);
    tlbi_all();
    for (u64 a = 1; a < 4; a++) {
        msr("ttbr1_el1", (u64)root1 | a << 48);
        isb();
        pt_page(root, V, PA(a & 1), RW1 | PTE_NG);
        print(" %x", ld64(V));
    }
    msr("tcr_el1", TCR_ON);
    msr("ttbr1_el1", root1);
    tlbi_all();
    print("\n");
}

/* Entries that were invalid, or had no access flag, are not in a TLB: making them good needs no TLBI. */
static void no_tlbi(void)
{
    u64 va = V + 0x10000;

    print("no tlbi:");
    for (int i = 0; i < 3; i++, va += PAGE) {
        print(" %x", try_ld(va));
        pt_page(root, va, PA(i), RW1);
        isb();
        print(" %x", try_ld(va));
    }
    for (int i = 0; i < 3; i++, va += PAGE) {
        pt_page(root, va, PA(i), RW1 & ~PTE_AF);
        isb();
        print(" %x", try_ld(va));
        pt_page(root, va, PA(i), RW1);
        isb();
        print(" %x", try_ld(va));
    }
    /* Level 2, 1 and 0 entries. */
    print(" %x", try_ld(V + 0x800000));
    pt_page(root, V + 0x800000, PA(4), RW1);
    isb();
    print(" %x", try_ld(V + 0x800000));
    print(" %x", try_ld(V + 0x140000000));
    pt_page(root, V + 0x140000000, PA(5), RW1);
    isb();
    print(" %x", try_ld(V + 0x140000000));
    print(" %x", try_ld(0x0000600000000000));
    pt_page(root, 0x0000600000000000, PA(6), RW1);
    isb();
    print(" %x\n", try_ld(0x0000600000000000));
}

static void unmap(void)
{
    u64 va = V + 0x20000;

    print("unmap:");
    for (int i = 0; i < 4; i++) {
        pt_page(root, va, PA(i), RW1);
        isb();
        print(" %x", try_ld(va));
        pt_set(root, va, 3, 0);
        op_vae1is(va >> 12);
        dsb();
        isb();
        print(" %x", try_ld(va));
    }
    print("\nread-only:");
    for (int i = 0; i < 4; i++) {
        pt_page(root, va, PA(7), RW1);
        op_vale1is(va >> 12);
        dsb();
        isb();
        print(" %x", try_st(va + 64));
        pt_page(root, va, PA(7), RW1 | PTE_AP(2));
        op_vale1is(va >> 12);
        dsb();
        isb();
        print(" %x %x", try_st(va + 64), try_ld(va));
    }
    print("\n");
}

static void blocks(void)
{
    u64 pa = (u64)big & ~0x1ffffful, off = (u64)big - pa, gig = (u64)big & ~0x3ffffffful, goff = (u64)big - gig;

    big[0] = 0xb10c;
    big[1000] = 0xb10d;
    pt_set(root, V2M, 2, pa | RW1);
    pt_set(root, V1G, 1, gig | RW1);
    isb();
    print("blocks: %x %x %x %x\n", ld64(V2M + off), ld64(V2M + off + 8000), ld64(V1G + goff), ld64(V1G + goff + 8000));
    st64(V2M + off, 0xb20c);
    st64(V1G + goff + 8000, 0xb20d);
    print("written: %x %x\n", big[0], big[1000]);
    /* Splits the 2 MiB block into pages, one of them elsewhere, the right way: break, then make. */
    pt_set(root, V2M, 2, 0);
    op_vae1is(V2M >> 12);
    dsb();
    u64 *t = pt_new();
    for (u64 i = 0; i < 512; i++)
        t[i] = (pa + i * PAGE) | RW1 | PTE_PAGE;
    t[off >> 12] = PA(2) | RW1 | PTE_PAGE;
    pt_set(root, V2M, 2, (u64)t | PTE_VALID | PTE_PAGE);
    isb();
    print("split: %x %x\n", ld64(V2M + off), ld64(V2M + off + 8000));
    /* And back; an address in the middle names the whole block. */
    pt_set(root, V2M, 2, 0);
    for (u64 i = 0; i < 512; i++)
        op_vae1is((V2M >> 12) + i);
    dsb();
    pt_set(root, V2M, 2, pa | RW1);
    isb();
    print("joined: %x %x\n", ld64(V2M + off), ld64(V2M + off + 8000));
    pt_set(root, V2M, 2, 0);
    op_vae1((V2M + 0x123000) >> 12);
    dsb();
    isb();
    print("gone: %x %x\n", try_ld(V2M), try_ld(V2M + off));
    pt_set(root, V1G, 1, 0);
    op_vae1((V1G + 0x12345000) >> 12);
    dsb();
    isb();
    print("gone: %x %x\n", try_ld(V1G), try_ld(V1G + goff));
}

/* APTable, PXNTable and UXNTable restrict what lies below. */
static void table_bits(void)
{
    u64 va = V + 0xc0000000, *l2 = pt_new(), *l3 = pt_new();
    char *ldr0 = (char *)CODE + (s_ldr - user_start), *str0 = (char *)CODE + (s_str - user_start);

    l3[va >> 12 & 511] = (u64)user_start | PTE_PAGE | (PTE_NORMAL | PTE_AP(1));
    l3[(va >> 12 & 511) + 1] = (u64)user_start | PTE_PAGE | (PTE_NORMAL | PTE_AP(3));
    l3[(va >> 12 & 511) + 2] = PA(7) | PTE_PAGE | RW0;
    l2[va >> 21 & 511] = (u64)l3 | PTE_VALID | PTE_PAGE;
    for (u64 bits = 0; bits < 16; bits++) {
        pt_set(root, va, 1, (u64)l2 | PTE_VALID | PTE_PAGE | bits << 59);
        tlbi_all();
        u64 d = va + 2 * PAGE;
        print("table %x: ld %x %x st %x %x", bits, try_ld(d) >> 63, try_el(SPSR_EL0, ldr0, d, 0) >> 63,
              try_st(d + 64) >> 63, try_el(SPSR_EL0, str0, d + 64, 1) >> 63);
        /* Fetches: from a page that EL0 may write, and from a read-only one. */
        for (u64 p = 0; p < 2; p++) {
            char *code = (char *)(va + p * PAGE + (u64)(s_nop - user_start));
            print(" x %x %x", try_el(SPSR_EL1H, code, 0, 0), try_el(SPSR_EL0, code, 0, 0));
        }
        print("\n");
    }
    pt_set(root, va, 1, 0);
    tlbi_all();
}

/* Smaller regions start at lower levels; what is beyond them faults. */
static void regions(void)
{
    /* For a region of up to 39 bits the table that TTBR0 names is level 1: take root's first one. */
    u64 *l1 = (u64 *)(root[0] & PTE_ADDR), bits;

    for (bits = 40; bits >= 32; bits -= 4) {
        msr("ttbr0_el1", bits > 39 ? root : l1);
        msr("tcr_el1", TCR_BASE | TCR_T0SZ(64 - bits) | TCR_T1SZ(16));
        tlbi_all();
        print("region %d: %x %x %x\n", bits, ld64(PA(1)), try_ld(1ul << bits), try_ld((1ul << bits) + PA(1)));
    }
    msr("ttbr0_el1", l1);
    msr("tcr_el1", TCR_BASE | TCR_T0SZ(25) | TCR_T1SZ(16));
    tlbi_all();
    print("region 39: %x %x\n", ld64(PA(1)), try_ld((1ul << 39) + PA(1)));
    msr("ttbr0_el1", root);
    msr("tcr_el1", TCR_ON | TCR_EPD1);
    tlbi_all();
    pt_page(root1, HI, PA(4), RW1);
    print("epd1: %x", try_ld(HI));
    msr("tcr_el1", TCR_ON);
    tlbi_all();
    print(" %x\n", try_ld(HI));
    /* Tagged addresses. */
    print("tbi: %x", try_ld(PA(1) | 0x5aul << 56));
    msr("tcr_el1", TCR_ON | TCR_TBI0);
    tlbi_all();
    print(" %x %x", try_ld(PA(1) | 0x5aul << 56), try_ld(PA(1) | 0xfful << 56));
    print(" %x far %x\n", try_ld(V + 0x3f000 + (0x77ul << 56)), run_frame.far);
    msr("tcr_el1", TCR_ON);
    tlbi_all();
}

#define AT(op, va)                                                                                                     \
    ({                                                                                                                 \
        asm volatile("at " op ", %0; isb" ::"r"(va) : "memory");                                                       \
        u64 _p = mrs("par_el1");                                                                                       \
        /* F, FST, PTW and S; or address and attributes (emulators differ in shareability) */                          \
        _p & 1 ? _p & 0x37f : _p & 0xff00fffffffff001ul;                                                               \
    })

static void at(void)
{
    u64 va = V + 0x60000,
        what[] = {RW1, RW0, RW1 | PTE_AP(2), RW1 | PTE_AP(3), RW1 & ~PTE_AF, RW1 & ~(3ul << 8), PTE_DEVICE, 0};

    for (unsigned i = 0; i < ARRAY_SIZE(what); i++, va += PAGE) {
        pt_set(root, va, 3, what[i] ? PA(i % 8) | what[i] | PTE_PAGE : 0);
        isb();
        print("at %x: %x %x %x %x\n", what[i], AT("s1e1r", va + 0x123), AT("s1e1w", va), AT("s1e0r", va),
              AT("s1e0w", va));
    }
    print("at: %x %x\n", AT("s1e1r", 0x0000700000000000ul), AT("s1e1r", 0x1234567812345678ul));
}

int main(void)
{
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 512; k++)
            page[i][k] = 0xa0 + (u64)i;
    root = pt_flat();
    root1 = pt_new();
    for (u64 i = 0; i < (u64)(user_end - user_start); i += PAGE)
        pt_page(root, CODE + i, (u64)user_start + i, PTE_NORMAL | PTE_AP(3));
    mmu_on(root, root1);
    tlbi_forms();
    asids();
    no_tlbi();
    unmap();
    blocks();
    table_bits();
    regions();
    at();
    /* Off and on again. */
    msr("sctlr_el1", SCTLR_BASE);
    isb();
    print("off: %x", ld64(PA(3)));
    mmu_on(root, root1);
    print(" on: %x\nend\n", ld64(V + PAGE));
    return 0;
}
