/*
 * Random instructions of the rows that differ by exception level; rows_gen.py writes them. One line a case: registers
 * afterwards, or the exception. The cases of phase 0 run with the MMU off, those of phase 1 with it on.
 */
#include "tests/guest/guest.h"

#define CODE 0x0000200000000000ul
#define PAGE_RW0 0x0000008000001000ul
#define PAGE_RO0 0x0000008000003000ul
#define PAGE_RW1 0x0000008000005000ul
#define PAGE_NONE 0x0000008000007000ul

struct row {
    const char *name;
    char mode;
    u8 phase;
    u32 word;
    u64 x[4];
};

static u8 data[3 * PAGE] __attribute__((aligned(4096)));
extern u32 rows_code[];

#include ROWS_INC /* from rows_gen.py */

static u64 hash_data(void)
{
    u64 h = 0;

    for (unsigned i = 0; i < sizeof(data); i += 8)
        h = (h ^ *(volatile u64 *)(data + i)) * 0x100000001b3ul;
    return h;
}

static void one(unsigned n, const struct row *r, u64 code)
{
    struct frame *f = &run_frame;
    u64 pc = code + (u64)(rows_code + r->word) - (u64)user_start;
    struct run run_args = {.pc = pc,
                           .spsr = (r->mode == 'u'   ? SPSR_EL0
                                    : r->mode == 't' ? SPSR_EL1T
                                                     : SPSR_EL1H) |
                                   6ul << 28,
                           .sp_el0 = (u64)data + PAGE,
                           .x = {r->x[0], r->x[1], r->x[2], r->x[3]}};
    u64 ec;

    run(&run_args);
    ec = f->esr >> 26;
    print("%d %s %c: ", (u64)n, r->name, r->mode);
    if (RUN_DONE(*f)) {
        print("done %x %x %x spsr %x vec %x", f->x[0], f->x[1], f->x[3], f->spsr, f->vec);
    } else {
        print("esr %x elr +%x spsr %x vec %x", f->esr, f->elr - pc, f->spsr, f->vec);
        if (ec == 0x20 || ec == 0x21 || ec == 0x22 || ec == 0x24 || ec == 0x25)
            print(" far %x", f->far);
    }
    if (r->phase)
        print(" data %x", hash_data());
    print("\n");
    /* What a case may have left. */
    msr("cpacr_el1", 3 << 20);
    msr("sctlr_el1", r->phase ? SCTLR_ON | SCTLR_DZE | SCTLR_UCI : SCTLR_BASE | SCTLR_DZE | SCTLR_UCI);
    isb();
}

int main(void)
{
    u64 *root = pt_flat();

    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (u8)(i * 37);
    msr("sctlr_el1", SCTLR_BASE | SCTLR_DZE | SCTLR_UCI);
    isb();
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].phase == 0)
            one(i, &rows[i], (u64)user_start);
    for (u64 i = 0; i < (u64)(user_end - user_start); i += PAGE)
        pt_page(root, CODE + i, (u64)user_start + i, PTE_NORMAL | PTE_AP(3));
    pt_page(root, PAGE_RW0, (u64)data, PTE_NORMAL | PTE_AP(1));
    pt_page(root, PAGE_RO0, (u64)data + PAGE, PTE_NORMAL | PTE_AP(3));
    pt_page(root, PAGE_RW1, (u64)data + 2 * PAGE, PTE_NORMAL);
    mmu_on(root, pt_new());
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].phase == 1)
            one(i, &rows[i], CODE);
    print("end\n");
    return 0;
}
