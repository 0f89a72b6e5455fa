/* Descriptor table, page tables and memory map of a PC that no firmware has started. */
#include "arch/x86/boot.h"

#include <errno.h>

#include "vmm/base/util.h"

#define BOOT_PAGE 0x1000
#define BOOT_PDPT (X86_BOOT_PML4 + BOOT_PAGE)
#define BOOT_PD (BOOT_PDPT + BOOT_PAGE) /* the first of four */
#define BOOT_MAPPED_GIB 4
#define BOOT_TABLES_SIZE ((2 + BOOT_MAPPED_GIB) * BOOT_PAGE)
#define BOOT_TABLE_ENTRIES 512

#define BOOT_PTE_P 0x01
#define BOOT_PTE_RW 0x02
#define BOOT_PTE_A 0x20
#define BOOT_PTE_D 0x40
#define BOOT_PTE_PS 0x80

_Static_assert(X86_BOOT_PML4 + BOOT_TABLES_SIZE <= X86_BOOT_CMDLINE, "page tables run into the command line");
_Static_assert(X86_BOOT_CMDLINE + X86_BOOT_CMDLINE_SIZE <= X86_BOOT_EBDA, "command line runs out of RAM");
_Static_assert(X86_BOOT_ACPI + X86_BOOT_ACPI_SIZE <= X86_BOOT_KERNEL_MIN, "tables run into the kernel");

/* Flat segments with their accessed bits set, as a processor that loads them would; a busy task state segment. */
const uint64_t x86_boot_gdt[X86_BOOT_GDT_ENTRIES] = {
    [X86_BOOT_SEL_CODE32 / 8] = 0x00cf9b000000ffff,
    [X86_BOOT_SEL_CODE64 / 8] = 0x00af9b000000ffff,
    [X86_BOOT_SEL_DATA / 8] = 0x00cf93000000ffff,
    [X86_BOOT_SEL_TSS / 8] = 0x00008b0000000067,
    [X86_BOOT_SEL_TSS / 8 + 1] = 0,
};

int x86_boot_write_tables(struct mem *m)
{
    uint8_t *tables = mem_write_begin(m, GPA(X86_BOOT_PML4), BOOT_TABLES_SIZE);
    uint8_t *pdpt, *pd;

    if (!tables)
        return -EFAULT;
    pdpt = tables + BOOT_PAGE;
    pd = pdpt + BOOT_PAGE;
    /* What is left of an earlier run goes too. */
    memset(tables, 0, 2 * BOOT_PAGE);
    le64_put(tables, BOOT_PDPT | BOOT_PTE_P | BOOT_PTE_RW | BOOT_PTE_A);
    for (unsigned i = 0; i < BOOT_MAPPED_GIB; i++)
        le64_put(pdpt + i * 8, (BOOT_PD + i * BOOT_PAGE) | BOOT_PTE_P | BOOT_PTE_RW | BOOT_PTE_A);
    for (uint64_t i = 0; i < BOOT_MAPPED_GIB * BOOT_TABLE_ENTRIES; i++)
        le64_put(pd + i * 8, i * MIB(2) | BOOT_PTE_P | BOOT_PTE_RW | BOOT_PTE_A | BOOT_PTE_D | BOOT_PTE_PS);
    mem_write_end(m, GPA(X86_BOOT_PML4), BOOT_TABLES_SIZE);
    return mem_write(m, GPA(X86_BOOT_GDT), x86_boot_gdt, sizeof(x86_boot_gdt));
}

unsigned x86_boot_memory_map(const struct mem *m, struct x86_boot_range out[X86_BOOT_MAX_RANGES])
{
    unsigned n = 0;

    out[n++] = (struct x86_boot_range){0, X86_BOOT_EBDA, X86_BOOT_RANGE_RAM};
    out[n++] = (struct x86_boot_range){X86_BOOT_EBDA, X86_BOOT_KERNEL_MIN - X86_BOOT_EBDA, X86_BOOT_RANGE_RESERVED};
    for (unsigned i = 0; i < m->nregions; i++) {
        uint64_t end = m->region[i].base.v + m->region[i].size;
        uint64_t base = MAX(m->region[i].base.v, (uint64_t)X86_BOOT_KERNEL_MIN);

        if (base < end)
            out[n++] = (struct x86_boot_range){base, end - base, X86_BOOT_RANGE_RAM};
    }
    return n;
}
