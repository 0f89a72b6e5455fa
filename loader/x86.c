/*
 * Kernels for the micro machine, and what they find when they start.
 *
 * A bzImage is entered in long mode with boot_params, Linux's "zero page" (Documentation/arch/x86/zero-page.rst). An
 * ELF file that carries Xen's PHYS32_ENTRY note is entered in 32-bit mode with an hvm_start_info (Xen,
 * docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h); one that does not is taken for a vmlinux, and
 * entered as a bzImage is. The payload of a bzImage is the kernel's own business.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/x86/boot.h"
#include "loader/kernel.h"
#include "vmm/base/util.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18

/* boot_params. */
#define PARAMS_SIZE 0x1000
#define PARAMS_ACPI_RSDP 0x070
#define PARAMS_EXT_RAMDISK_IMAGE 0x0c0
#define PARAMS_EXT_RAMDISK_SIZE 0x0c4
#define PARAMS_E820_ENTRIES 0x1e8
#define PARAMS_HEADER 0x1f1
#define PARAMS_BOOT_FLAG 0x1fe
#define PARAMS_HEADER_MAGIC 0x202
#define PARAMS_VERSION 0x206
#define PARAMS_TYPE_OF_LOADER 0x210
#define PARAMS_LOADFLAGS 0x211
#define PARAMS_CODE32_START 0x214
#define PARAMS_RAMDISK_IMAGE 0x218
#define PARAMS_RAMDISK_SIZE 0x21c
#define PARAMS_CMD_LINE_PTR 0x228
#define PARAMS_KERNEL_ALIGNMENT 0x230
#define PARAMS_CMDLINE_SIZE 0x238
#define PARAMS_SETUP_DATA 0x250
#define PARAMS_E820_TABLE 0x2d0
#define PARAMS_E820_SIZE 20

#define PARAMS_LOADER_UNDEFINED 0xff
#define PARAMS_LOADED_HIGH 0x01

/* struct setup_data: next, type, len, data. */
#define SETUP_DATA_TYPE 8
#define SETUP_DATA_LEN 12
#define SETUP_DATA_DATA 16
#define SETUP_RNG_SEED 9

/* Linux's COMMAND_LINE_SIZE on x86, NUL not counted. A vmlinux has no header that says so. */
#define VMLINUX_CMDLINE_MAX 2047

/* hvm_start_info, version 1, and what lies behind it in the same page. */
#define START_INFO_MAGIC 0x336ec578
#define START_INFO_VERSION 4
#define START_INFO_NR_MODULES 12
#define START_INFO_MODLIST 16
#define START_INFO_CMDLINE 24
#define START_INFO_RSDP 32
#define START_INFO_MEMMAP 40
#define START_INFO_MEMMAP_ENTRIES 48
#define START_INFO_SIZE 56
#define START_INFO_MODULE 64 /* our place for the one module */
#define START_INFO_MODULE_SIZE 32
#define START_INFO_RANGES 128 /* our place for the memory map */
#define START_INFO_RANGE_SIZE 24

_Static_assert(START_INFO_RANGES + X86_BOOT_MAX_RANGES * START_INFO_RANGE_SIZE <= X86_BOOT_START_INFO_SIZE,
               "start_info does not fit in its page");
_Static_assert(SETUP_DATA_DATA + LOADER_X86_SEED_SIZE <= X86_BOOT_SETUP_DATA_SIZE, "setup_data does not fit");
_Static_assert(PARAMS_HEADER + LOADER_X86_HEADER_SIZE <= PARAMS_E820_TABLE, "setup header runs into the memory map");

/* The end of the RAM that begins at 0. */
static uint64_t x86_low_ram_end(const struct mem *m)
{
    const struct mem_region *r = mem_find(m, GPA(0), 1);

    return r ? MIN(r->size, X86_RAM_LOW_MAX) : 0;
}

/* ---- ELF ---- */

static int x86_entry_outside(const struct kernel_src *s, uint64_t entry, struct err *e)
{
    return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                          "%s is damaged: its entry point 0x%" PRIx64 " is in none of its ELF segments", s->name,
                          entry);
}

/* Fills out->entry from a PVH note. *found: there is one. */
static int x86_find_pvh_entry(struct loader_x86 *out, const struct elf_file *f, const struct kernel_src *s, bool *found,
                              struct err *e)
{
    uint32_t size;
    const uint8_t *desc = elf_find_note(f, s, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &size);

    *found = desc != NULL;
    if (!desc)
        return 0;
    if (size != 4 && size != 8)
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is damaged: its PVH entry note has %u bytes",
                              s->name, size);
    out->entry.pc = size == 4 ? le32_get(desc) : le64_get(desc);
    if (!elf_holds(f, out->entry.pc))
        return x86_entry_outside(s, out->entry.pc, e);
    out->entry.mode = VCPU_MODE_X86_PVH;
    out->entry.arg = X86_BOOT_START_INFO;
    out->cmdline_max = X86_BOOT_CMDLINE_SIZE - 1;
    return 0;
}

/* The header that a vmlinux's boot_params carry in place of the bzImage's own. */
static void x86_make_setup_header(struct loader_x86 *out)
{
    uint8_t *h = out->setup_header;

    le16_put(h + PARAMS_BOOT_FLAG - PARAMS_HEADER, 0xaa55);
    memcpy(h + PARAMS_HEADER_MAGIC - PARAMS_HEADER, "HdrS", 4);
    le16_put(h + PARAMS_VERSION - PARAMS_HEADER, 0x20f);
    h[PARAMS_LOADFLAGS - PARAMS_HEADER] = PARAMS_LOADED_HIGH;
    le32_put(h + PARAMS_KERNEL_ALIGNMENT - PARAMS_HEADER, MIB(16));
    le32_put(h + PARAMS_CMDLINE_SIZE - PARAMS_HEADER, VMLINUX_CMDLINE_MAX);
}

static int x86_load_elf(struct loader_x86 *out, struct mem *m, const struct kernel_src *s, uint64_t ram_end,
                        struct err *e)
{
    uint64_t base = X86_BOOT_KERNEL_MIN;
    struct elf_file f;
    bool pvh;
    int r = elf_read(&f, s, base, ram_end > base ? ram_end - base : 0, "", e);

    if (r < 0)
        return r;
    *out = (struct loader_x86){
        .format = LOADER_ELF,
        .low = f.low,
        .high = f.high,
        .image_size = f.high - f.low,
        .initrd_end = ram_end,
    };
    r = x86_find_pvh_entry(out, &f, s, &pvh, e);
    if (r < 0)
        return r;
    if (!pvh) {
        /* A vmlinux's entry point is a physical address; others' may be a virtual one. */
        out->entry.pc = f.h.e_entry;
        if (!elf_holds(&f, f.h.e_entry) && !elf_translate(&f, f.h.e_entry, &out->entry.pc))
            return x86_entry_outside(s, f.h.e_entry, e);
        out->entry.mode = VCPU_MODE_X86_LONG;
        out->entry.arg = X86_BOOT_ZERO_PAGE;
        out->cmdline_max = VMLINUX_CMDLINE_MAX;
        x86_make_setup_header(out);
    }
    return elf_write(&f, s, m, e);
}

/* ---- loading ---- */

int loader_x86_load(struct loader_x86 *out, struct mem *m, const char *path, struct err *e)
{
    uint64_t ram_end = x86_low_ram_end(m);
    struct loader_kind kind;
    struct loader_file f;
    struct kernel_src s;
    int r = kernel_open(&f, path, mem_ram_size(m), true, e);

    if (r < 0)
        return r;
    s = (struct kernel_src){f.data, f.size, path, f.unpacked};
    kernel_identify(&kind, &s);
    if (kind.arch == LOADER_ARCH_X86_64 && kind.format == LOADER_BZIMAGE)
        r = bzimage_load(out, m, &s, ram_end, e);
    else if (kind.arch == LOADER_ARCH_X86_64 && kind.format == LOADER_ELF)
        r = x86_load_elf(out, m, &s, ram_end, e);
    else
        r = kernel_refuse(&s, &kind, LOADER_ARCH_X86_64, e);
    loader_file_close(&f);
    return r;
}

int loader_x86_initrd_load(struct mem *m, const struct loader_x86 *k, const char *path, uint64_t *addr, uint64_t *size,
                           struct err *e)
{
    uint64_t low = align_up(k->high, MEM_PAGE_SIZE), end = MIN(x86_low_ram_end(m), k->initrd_end);
    /* Above the kernel, below the kernel (an ELF file may lie anywhere), above 4 GiB. */
    struct initrd_window w[3] = {
        {low, end},
        {X86_BOOT_KERNEL_MIN, MIN(align_down(k->low, MEM_PAGE_SIZE), end)},
    };
    unsigned n = 2;

    for (unsigned i = 0; i < m->nregions && n < ARRAY_SIZE(w); i++)
        if (m->region[i].base.v >= X86_RAM_HIGH)
            w[n++] = (struct initrd_window){m->region[i].base.v,
                                            MIN(m->region[i].base.v + m->region[i].size, k->initrd_end)};
    return initrd_load(m, path, w, n, addr, size, e);
}

/* ---- what the kernel finds ---- */

static int x86_write_cmdline(struct mem *m, const struct loader_x86 *k, const char *cmdline, struct err *e)
{
    uint64_t len = strlen(cmdline);
    int r;

    if (len > k->cmdline_max)
        return err_set(e, EINVAL, "the kernel command line has %" PRIu64 " characters, and this kernel takes %u", len,
                       k->cmdline_max);
    r = mem_write(m, GPA(X86_BOOT_CMDLINE), cmdline, len + 1);
    return r < 0 ? err_set(e, -r, "the kernel command line does not fit in RAM") : 0;
}

/* Writes the seed where the kernel looks for it, and erases it once read. */
static int x86_write_seed(struct mem *m, const struct loader_x86_params *p)
{
    uint8_t d[SETUP_DATA_DATA + LOADER_X86_SEED_SIZE] = {0};

    le32_put(d + SETUP_DATA_TYPE, SETUP_RNG_SEED);
    le32_put(d + SETUP_DATA_LEN, LOADER_X86_SEED_SIZE);
    memcpy(d + SETUP_DATA_DATA, p->seed, LOADER_X86_SEED_SIZE);
    return mem_write(m, GPA(X86_BOOT_SETUP_DATA), d, sizeof(d));
}

static int x86_write_boot_params(struct mem *m, const struct loader_x86 *k, const struct loader_x86_params *p)
{
    struct x86_boot_range range[X86_BOOT_MAX_RANGES];
    unsigned n = x86_boot_memory_map(m, range);
    uint8_t *z = mem_write_begin(m, GPA(X86_BOOT_ZERO_PAGE), PARAMS_SIZE);
    uint64_t addr = p->initrd_size ? p->initrd_addr : 0;
    int r = 0;

    if (!z)
        return -EFAULT;
    memset(z, 0, PARAMS_SIZE);
    memcpy(z + PARAMS_HEADER, k->setup_header, sizeof(k->setup_header));
    z[PARAMS_TYPE_OF_LOADER] = PARAMS_LOADER_UNDEFINED;
    le32_put(z + PARAMS_CODE32_START, (uint32_t)k->low);
    le32_put(z + PARAMS_CMD_LINE_PTR, X86_BOOT_CMDLINE);
    le32_put(z + PARAMS_RAMDISK_IMAGE, (uint32_t)addr);
    le32_put(z + PARAMS_RAMDISK_SIZE, (uint32_t)p->initrd_size);
    le32_put(z + PARAMS_EXT_RAMDISK_IMAGE, (uint32_t)(addr >> 32));
    le32_put(z + PARAMS_EXT_RAMDISK_SIZE, (uint32_t)(p->initrd_size >> 32));
    le64_put(z + PARAMS_ACPI_RSDP, p->rsdp);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *entry = z + PARAMS_E820_TABLE + i * PARAMS_E820_SIZE;

        le64_put(entry, range[i].addr);
        le64_put(entry + 8, range[i].size);
        le32_put(entry + 16, range[i].type);
    }
    z[PARAMS_E820_ENTRIES] = (uint8_t)n;
    le64_put(z + PARAMS_SETUP_DATA, p->seeded ? X86_BOOT_SETUP_DATA : 0);
    if (p->seeded)
        r = x86_write_seed(m, p);
    mem_write_end(m, GPA(X86_BOOT_ZERO_PAGE), PARAMS_SIZE);
    return r;
}

static int x86_write_start_info(struct mem *m, const struct loader_x86_params *p)
{
    struct x86_boot_range range[X86_BOOT_MAX_RANGES];
    unsigned n = x86_boot_memory_map(m, range);
    uint8_t *z = mem_write_begin(m, GPA(X86_BOOT_START_INFO), X86_BOOT_START_INFO_SIZE);

    if (!z)
        return -EFAULT;
    memset(z, 0, X86_BOOT_START_INFO_SIZE);
    le32_put(z, START_INFO_MAGIC);
    le32_put(z + START_INFO_VERSION, 1);
    le64_put(z + START_INFO_CMDLINE, X86_BOOT_CMDLINE);
    le64_put(z + START_INFO_RSDP, p->rsdp);
    if (p->initrd_size) {
        le32_put(z + START_INFO_NR_MODULES, 1);
        le64_put(z + START_INFO_MODLIST, X86_BOOT_START_INFO + START_INFO_MODULE);
        le64_put(z + START_INFO_MODULE, p->initrd_addr);
        le64_put(z + START_INFO_MODULE + 8, p->initrd_size);
    }
    le64_put(z + START_INFO_MEMMAP, X86_BOOT_START_INFO + START_INFO_RANGES);
    le32_put(z + START_INFO_MEMMAP_ENTRIES, n);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *entry = z + START_INFO_RANGES + i * START_INFO_RANGE_SIZE;

        le64_put(entry, range[i].addr);
        le64_put(entry + 8, range[i].size);
        le32_put(entry + 16, range[i].type);
    }
    mem_write_end(m, GPA(X86_BOOT_START_INFO), X86_BOOT_START_INFO_SIZE);
    return 0;
}

int loader_x86_write_params(struct mem *m, const struct loader_x86 *k, const struct loader_x86_params *p, struct err *e)
{
    int r = x86_write_cmdline(m, k, p->cmdline ? p->cmdline : "", e);

    if (r < 0)
        return r;
    r = k->entry.mode == VCPU_MODE_X86_PVH ? x86_write_start_info(m, p) : x86_write_boot_params(m, k, p);
    return r < 0 ? err_set(e, -r, "the boot parameters do not fit in RAM") : 0;
}
