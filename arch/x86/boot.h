/*
 * The micro machine's RAM when its first instruction runs: what firmware would have left there, at fixed places below
 * 1 MiB that no kernel is loaded to.
 *
 *   0x000500  global descriptor table
 *   0x006000  PVH start_info, its memory map and module list (one page)
 *   0x007000  Linux boot_params, the "zero page"
 *   0x008000  Linux setup_data (one page)
 *   0x009000  page tables of long mode: PML4, PDPT, four page directories
 *   0x020000  kernel command line (64 KiB)
 *   0x09fc00  end of conventional memory; reserved from here to 1 MiB
 *   0x0e0000  ACPI: RSDP, then the tables (128 KiB)
 *   0x100000  kernel, initrd
 *
 * Sources: Linux, Documentation/arch/x86/boot.rst (64-bit boot protocol: selectors 0x10 and 0x18, identity mapping);
 * Xen, docs/misc/pvh.pandoc (32-bit entry); Intel SDM volume 3, 3.4.5 (descriptors), 4.5 (4-level paging).
 */
#ifndef PIPIT_ARCH_X86_BOOT_H
#define PIPIT_ARCH_X86_BOOT_H

#include <stdint.h>

#include "vmm/core/mem.h"

#define X86_BOOT_GDT 0x500
#define X86_BOOT_START_INFO 0x6000
#define X86_BOOT_START_INFO_SIZE 0x1000
#define X86_BOOT_ZERO_PAGE 0x7000
#define X86_BOOT_SETUP_DATA 0x8000
#define X86_BOOT_SETUP_DATA_SIZE 0x1000
#define X86_BOOT_PML4 0x9000 /* CR3 in long mode */
#define X86_BOOT_CMDLINE 0x20000
#define X86_BOOT_CMDLINE_SIZE 0x10000 /* NUL included */
#define X86_BOOT_EBDA 0x9fc00
#define X86_BOOT_ACPI 0xe0000 /* the RSDP */
#define X86_BOOT_ACPI_SIZE 0x20000
#define X86_BOOT_KERNEL_MIN 0x100000

/* RAM is at 0 up to here, and what is more at X86_RAM_HIGH: devices lie between. */
#define X86_RAM_LOW_MAX UINT64_C(0xc0000000)
#define X86_RAM_HIGH UINT64_C(0x100000000)

/* Selectors. The task state segment has base 0 and limit 0x67, as PVH asks; in long mode its descriptor takes two. */
#define X86_BOOT_SEL_CODE32 0x08
#define X86_BOOT_SEL_CODE64 0x10
#define X86_BOOT_SEL_DATA 0x18
#define X86_BOOT_SEL_TSS 0x20
#define X86_BOOT_GDT_ENTRIES 6
/* As it is written to X86_BOOT_GDT; the segment registers' hidden parts must agree with it. */
extern const uint64_t x86_boot_gdt[X86_BOOT_GDT_ENTRIES];

/*
 * Writes the GDT and page tables that map the first 4 GiB to themselves with 2 MiB pages, which every processor with
 * long mode has: RAM, virtio, IOAPIC and LAPIC. -EFAULT where RAM does not reach that far.
 */
int x86_boot_write_tables(struct mem *m);

/* Types of the e820 map; PVH's memory map uses the same. */
#define X86_BOOT_RANGE_RAM 1
#define X86_BOOT_RANGE_RESERVED 2

struct x86_boot_range {
    uint64_t addr, size;
    uint32_t type;
};

#define X86_BOOT_MAX_RANGES (MEM_MAX_REGIONS + 2)
/* What is RAM, in order of address. Returns how many ranges. */
unsigned x86_boot_memory_map(const struct mem *m, struct x86_boot_range out[X86_BOOT_MAX_RANGES]);

#endif
