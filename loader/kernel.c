/*
 * Kernels and initrds.
 *
 * A kernel is recognised by its content: compressed layers are peeled off first (unpack.c), then an arm64 Image or an
 * ELF64 file is placed. What is not for this machine is refused with a sentence that says what it is.
 *
 * arm64 Image: Linux, Documentation/arch/arm64/booting.rst. The header's fields are hints about memory only; what is
 * copied is the file's own bytes. Because the header's image_size includes zeroed memory, it cannot tell a truncated
 * file; the PE section table that EFI kernels carry can, so that is consulted where there is one.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "loader/loader.h"
#include "loader/unpack.h"
#include "vmm/base/util.h"

/* A kernel file with debug information is larger than what it loads, and may be larger than a small guest's RAM. */
#define KERNEL_FILE_MIN_LIMIT GIB(2)
/* gzip around zboot around gzip is the most that anybody could mean. */
#define KERNEL_MAX_LAYERS 3

#define IMAGE_HEADER_SIZE 64
#define IMAGE_TEXT_OFFSET 8
#define IMAGE_SIZE 16
#define IMAGE_FLAGS 24
#define IMAGE_MAGIC_OFFSET 56
#define IMAGE_MAGIC 0x644d5241u /* "ARM\x64" */
#define IMAGE_FLAG_BE BIT64(0)
#define IMAGE_FLAG_PAGE(f) bits64(f, 2, 1)
/* Before Linux 3.17 image_size was zero and text_offset not reliable. */
#define IMAGE_OLD_TEXT_OFFSET UINT64_C(0x80000)
#define IMAGE_BASE_ALIGN MIB(2)

#define PE_OFFSET 60 /* in the DOS header: place of "PE\0\0" */
#define PE_COFF_SIZE 24
#define PE_SECTION_SIZE 40
#define PE_MACHINE_ARM64 0xaa64

#define ELF_MAX_PHDRS 128

/* The bytes being looked at, and what messages call them. */
struct kernel_src {
    const uint8_t *data;
    uint64_t size;
    const char *name;
};

static bool kernel_has(const struct kernel_src *s, uint64_t off, const void *bytes, uint64_t len)
{
    return range_within(off, len, s->size) && memcmp(s->data + off, bytes, len) == 0;
}

/* ---- recognising what is not ours ---- */

static const struct {
    uint16_t machine;
    const char *name;
} pe_machines[] = {
    {0x014c, "32-bit x86"},    {0x8664, "x86-64"},     {0x01c0, "32-bit Arm"},
    {0x01c2, "32-bit Arm"},    {0x01c4, "32-bit Arm"}, {0xaa64, "arm64"},
    {0x5032, "32-bit RISC-V"}, {0x5064, "RISC-V"},     {0x6264, "LoongArch"},
};

static const struct {
    uint16_t machine;
    const char *name;
} elf_machines[] = {
    {EM_386, "32-bit x86"}, {EM_X86_64, "x86-64"}, {EM_ARM, "32-bit Arm"}, {EM_MIPS, "MIPS"}, {EM_PPC, "PowerPC"},
    {EM_PPC64, "PowerPC"},  {EM_S390, "s390x"},    {EM_SPARCV9, "SPARC"},  {243, "RISC-V"},   {258, "LoongArch"},
};

static const struct {
    uint64_t off;
    const char *bytes;
    unsigned len;
    const char *what;
} kernel_foreign[] = {
    {0x202, "HdrS", 4, "an x86 Linux kernel (bzImage)"},
    {0x30, "RISCV\0\0\0", 8, "a RISC-V Linux kernel"},
    {0x38, "RSC\x05", 4, "a RISC-V Linux kernel"},
    {0x24, "\x18\x28\x6f\x01", 4, "a 32-bit Arm Linux kernel (zImage)"},
    {0, "\x27\x05\x19\x56", 4, "a U-Boot uImage"},
    {0, "\xd0\x0d\xfe\xed", 4, "a device tree or FIT image"},
    {0, "BZh", 3, "compressed with bzip2"},
    {0,
     "\xfd"
     "7zXZ",
     5, "compressed with xz"},
    {0, "\x5d\0\0", 3, "compressed with lzma"},
    {0, "\x04\x22\x4d\x18", 4, "compressed with lz4"},
    {0, "\x02\x21\x4c\x18", 4, "compressed with lz4"},
    {0, "\x89LZO", 4, "compressed with lzo"},
    {0, "070701", 6, "a cpio archive, perhaps an initrd"},
    {0, "QFI\xfb", 4, "a qcow2 disk image"},
    {0, "!<arch>\n", 8, "an archive, perhaps a Debian package"},
};

/* Offset of the COFF header's "PE\0\0", or 0 where this is no PE file. */
static uint64_t pe_find(const struct kernel_src *s)
{
    uint64_t off;

    if (!kernel_has(s, 0, "MZ", 2) || s->size < PE_OFFSET + 4)
        return 0;
    off = le32_get(s->data + PE_OFFSET);
    return off != 0 && range_within(off, PE_COFF_SIZE, s->size) && memcmp(s->data + off, "PE\0\0", 4) == 0 ? off : 0;
}

static const char *pe_machine_name(uint16_t machine)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pe_machines); i++)
        if (pe_machines[i].machine == machine)
            return pe_machines[i].name;
    return "an unknown machine";
}

static int kernel_refuse(const struct kernel_src *s, struct err *e)
{
    uint64_t pe;

    for (unsigned i = 0; i < ARRAY_SIZE(kernel_foreign); i++)
        if (kernel_has(s, kernel_foreign[i].off, kernel_foreign[i].bytes, kernel_foreign[i].len))
            return err_set(e, ENOEXEC, "%s is %s, not an arm64 kernel", s->name, kernel_foreign[i].what);
    pe = pe_find(s);
    if (pe)
        return err_set(e, ENOEXEC, "%s is an EFI program for %s, not an arm64 Linux kernel", s->name,
                       pe_machine_name(le16_get(s->data + pe + 4)));
    return err_set(e, ENOEXEC,
                   "%s is not a kernel that pipit knows (arm64 Image, Image.gz, EFI zboot or ELF), or it is truncated",
                   s->name);
}

/* ---- arm64 Image ---- */

static bool image_probe(const struct kernel_src *s)
{
    return s->size >= IMAGE_HEADER_SIZE && le32_get(s->data + IMAGE_MAGIC_OFFSET) == IMAGE_MAGIC;
}

/* Does the file hold all that its PE sections claim? */
static int image_check_sections(const struct kernel_src *s, struct err *e)
{
    uint64_t pe = pe_find(s), table, end = 0;
    unsigned n;

    if (!pe)
        return 0;
    n = le16_get(s->data + pe + 6);
    table = pe + PE_COFF_SIZE + le16_get(s->data + pe + 20);
    if (!range_within(table, (uint64_t)n * PE_SECTION_SIZE, s->size))
        return err_set(e, EINVAL, "%s is truncated or damaged: it ends inside its PE header", s->name);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *sec = s->data + table + (uint64_t)i * PE_SECTION_SIZE;
        end = MAX(end, (uint64_t)le32_get(sec + 16) + le32_get(sec + 20));
    }
    if (end > s->size)
        return err_set(e, EINVAL, "%s is truncated: its header speaks of %" PRIu64 " bytes, there are %" PRIu64,
                       s->name, end, s->size);
    return 0;
}

static int image_check_flags(const struct kernel_src *s, uint64_t flags, struct err *e)
{
    if (flags & IMAGE_FLAG_BE)
        return err_set(e, ENOEXEC, "%s is a big-endian arm64 kernel; only little-endian ones run here", s->name);
    /* 0 says nothing (old kernels), 1 is 4K. */
    if (IMAGE_FLAG_PAGE(flags) >= 2)
        return err_set(e, ENOEXEC, "%s is an arm64 kernel built for %s pages; the CPU offers 4K pages only", s->name,
                       IMAGE_FLAG_PAGE(flags) == 2 ? "16K" : "64K");
    return 0;
}

static int image_load(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                      uint64_t ram_size, struct err *e)
{
    uint64_t text_offset = le64_get(s->data + IMAGE_TEXT_OFFSET);
    uint64_t image_size = le64_get(s->data + IMAGE_SIZE);
    uint64_t flags = le64_get(s->data + IMAGE_FLAGS);
    int r;

    if (image_size == 0) {
        text_offset = IMAGE_OLD_TEXT_OFFSET;
        flags = 0;
    }
    r = image_check_flags(s, flags, e);
    if (r < 0)
        return r;
    r = image_check_sections(s, e);
    if (r < 0)
        return r;
    if (text_offset >= IMAGE_BASE_ALIGN)
        return err_set(e, EINVAL, "%s is damaged: its text offset 0x%" PRIx64 " is 2 MiB or more", s->name,
                       text_offset);
    image_size = MAX(image_size, s->size);
    if (!range_within(text_offset, image_size, ram_size))
        return err_set(e, EFBIG, "%s needs %" PRIu64 " MiB of RAM for itself, and the guest has %" PRIu64, s->name,
                       (image_size >> 20) + 1, ram_size >> 20);
    r = mem_write(m, GPA(base + text_offset), s->data, s->size);
    if (r < 0)
        return err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, s->name, base + text_offset);
    *out = (struct loader_kernel){
        .format = LOADER_ARM64_IMAGE,
        .entry = base + text_offset,
        .low = base + text_offset,
        .high = base + text_offset + image_size,
    };
    return 0;
}

/* ---- ELF ---- */

static bool elf_probe(const struct kernel_src *s)
{
    return kernel_has(s, 0, ELFMAG, SELFMAG) && s->size >= EI_NIDENT + 4;
}

static const char *elf_machine_name(uint16_t machine)
{
    for (unsigned i = 0; i < ARRAY_SIZE(elf_machines); i++)
        if (elf_machines[i].machine == machine)
            return elf_machines[i].name;
    return "another machine";
}

static int elf_check_header(const struct kernel_src *s, Elf64_Ehdr *h, struct err *e)
{
    bool big = s->data[EI_DATA] == ELFDATA2MSB;
    uint16_t machine = le16_get(s->data + EI_NIDENT + 2);

    if (big)
        machine = __builtin_bswap16(machine);
    if (machine != EM_AARCH64)
        return err_set(e, ENOEXEC, "%s is an ELF file for %s, not for arm64", s->name, elf_machine_name(machine));
    if (big)
        return err_set(e, ENOEXEC, "%s is a big-endian arm64 ELF file; only little-endian ones run here", s->name);
    if (s->data[EI_CLASS] != ELFCLASS64)
        return err_set(e, ENOEXEC, "%s is a 32-bit ELF file; only 64-bit ones run here", s->name);
    if (s->size < sizeof(*h))
        return err_set(e, EINVAL, "%s is truncated: it ends inside its ELF header", s->name);
    memcpy(h, s->data, sizeof(*h));
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return err_set(e, ENOEXEC, "%s is an ELF file that is not linked (an object or core file)", s->name);
    if (h->e_phnum == 0 || h->e_phnum > ELF_MAX_PHDRS || h->e_phentsize != sizeof(Elf64_Phdr))
        return err_set(e, EINVAL, "%s is damaged: it has %u ELF program headers of %u bytes", s->name, h->e_phnum,
                       h->e_phentsize);
    if (!range_within(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), s->size))
        return err_set(e, EINVAL, "%s is truncated or damaged: its ELF program headers lie outside of it", s->name);
    return 0;
}

/* Reads the PT_LOAD headers that occupy memory into ph[]; checks each against file and RAM. Returns how many. */
static int elf_read_segments(const struct kernel_src *s, const Elf64_Ehdr *h, Elf64_Phdr ph[ELF_MAX_PHDRS],
                             uint64_t base, uint64_t ram_size, struct err *e)
{
    int n = 0;

    for (unsigned i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr *p = &ph[n];
        memcpy(p, s->data + h->e_phoff + i * sizeof(*p), sizeof(*p));
        if (p->p_type != PT_LOAD || p->p_memsz == 0)
            continue;
        if (p->p_filesz > p->p_memsz || !range_within(p->p_offset, p->p_filesz, s->size))
            return err_set(e, EINVAL, "%s is truncated or damaged: ELF segment %u lies outside of it", s->name, i);
        if (p->p_paddr < base || !range_within(p->p_paddr - base, p->p_memsz, ram_size))
            return err_set(e, EFBIG,
                           "%s has an ELF segment at physical address 0x%" PRIx64 " of %" PRIu64
                           " bytes, outside of the guest's RAM at 0x%" PRIx64 "%s",
                           s->name, p->p_paddr, p->p_memsz, base,
                           p->p_paddr >> 48 ? " (for a vmlinux, use arch/arm64/boot/Image instead)" : "");
        for (int k = 0; k < n; k++)
            if (p->p_paddr < ph[k].p_paddr + ph[k].p_memsz && ph[k].p_paddr < p->p_paddr + p->p_memsz)
                return err_set(e, EINVAL, "%s is damaged: its ELF segments overlap", s->name);
        n++;
    }
    return n ? n : err_set(e, EINVAL, "%s has no ELF segment to load", s->name);
}

static int elf_load_segment(struct mem *m, const struct kernel_src *s, const Elf64_Phdr *p)
{
    uint8_t *dst = mem_write_begin(m, GPA(p->p_paddr), p->p_memsz);

    if (!dst)
        return -EFAULT;
    memcpy(dst, s->data + p->p_offset, p->p_filesz);
    /* RAM may hold what ran before a reset. */
    memset(dst + p->p_filesz, 0, p->p_memsz - p->p_filesz);
    mem_write_end(m, GPA(p->p_paddr), p->p_memsz);
    return 0;
}

static int elf_load(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                    uint64_t ram_size, struct err *e)
{
    Elf64_Ehdr h;
    Elf64_Phdr ph[ELF_MAX_PHDRS];
    bool entry_found = false;
    int n, r;

    r = elf_check_header(s, &h, e);
    if (r < 0)
        return r;
    n = elf_read_segments(s, &h, ph, base, ram_size, e);
    if (n < 0)
        return n;
    *out = (struct loader_kernel){.format = LOADER_ELF, .low = UINT64_MAX};
    for (int i = 0; i < n; i++) {
        out->low = MIN(out->low, ph[i].p_paddr);
        out->high = MAX(out->high, ph[i].p_paddr + ph[i].p_memsz);
        /* The entry point is a virtual address. */
        if (!entry_found && h.e_entry >= ph[i].p_vaddr && h.e_entry - ph[i].p_vaddr < ph[i].p_memsz) {
            out->entry = h.e_entry - ph[i].p_vaddr + ph[i].p_paddr;
            entry_found = true;
        }
    }
    if (!entry_found || out->entry % 4 != 0)
        return err_set(e, EINVAL, "%s is damaged: its entry point 0x%" PRIx64 " is in none of its ELF segments",
                       s->name, (uint64_t)h.e_entry);
    for (int i = 0; i < n; i++) {
        r = elf_load_segment(m, s, &ph[i]);
        if (r < 0)
            return err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, s->name, (uint64_t)ph[i].p_paddr);
    }
    return 0;
}

/* ---- flat binary ---- */

static int flat_load(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                     uint64_t ram_size, struct err *e)
{
    int r;

    if (!range_within(LOADER_FLAT_OFFSET, s->size, ram_size))
        return err_set(e, EFBIG, "%s is larger than the guest's RAM", s->name);
    base += LOADER_FLAT_OFFSET;
    r = mem_write(m, GPA(base), s->data, s->size);
    if (r < 0)
        return err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, s->name, base);
    *out = (struct loader_kernel){.format = LOADER_FLAT, .entry = base, .low = base, .high = base + s->size};
    return 0;
}

/* ---- entry points ---- */

/* Peels compressed layers off `f` in place. */
static int kernel_unpack(struct loader_file *f, uint64_t limit, const char *path, struct err *e)
{
    for (unsigned layer = 0;; layer++) {
        enum unpack_kind kind = unpack_probe(f->data, f->size);
        uint8_t *data;
        uint64_t size;
        int r;

        if (kind == UNPACK_NONE)
            return 0;
        if (layer == KERNEL_MAX_LAYERS)
            return err_set(e, EINVAL, "%s is compressed more than %d times over", path, KERNEL_MAX_LAYERS);
        r = unpack(kind, f->data, f->size, limit, &data, &size, path, e);
        if (r < 0)
            return r;
        free(f->data);
        f->data = data;
        f->size = size;
    }
}

static int kernel_place(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                        uint64_t ram_size, struct err *e)
{
    if (image_probe(s))
        return image_load(out, m, s, base, ram_size, e);
    if (elf_probe(s))
        return elf_load(out, m, s, base, ram_size, e);
    return kernel_refuse(s, e);
}

int loader_kernel_load(struct loader_kernel *out, struct mem *m, const char *path, gpa_t ram_base, uint64_t ram_size,
                       bool flat, struct err *e)
{
    struct loader_file f;
    struct kernel_src src;
    int r = loader_file_open(&f, path, MAX(ram_size, KERNEL_FILE_MIN_LIMIT), e);

    if (r < 0)
        return r;
    if (!flat)
        r = kernel_unpack(&f, ram_size, path, e);
    if (r < 0)
        goto out;
    src = (struct kernel_src){f.data, f.size, path};
    r = flat ? flat_load(out, m, &src, ram_base.v, ram_size, e) : kernel_place(out, m, &src, ram_base.v, ram_size, e);
out:
    loader_file_close(&f);
    return r;
}

int loader_initrd_load(struct mem *m, const char *path, gpa_t low, gpa_t high, uint64_t *addr, uint64_t *size,
                       struct err *e)
{
    uint64_t room = high.v > low.v ? high.v - low.v : 0, at;
    struct loader_file f;
    int r = loader_file_open(&f, path, MAX(room, (uint64_t)1), e);

    if (r < 0)
        return r == -EFBIG ? err_set(e, EFBIG,
                                     "%s does not fit in the guest's RAM beside the kernel: %" PRIu64
                                     " MiB are free for an initrd",
                                     path, room >> 20)
                           : r;
    at = f.size <= high.v ? align_down(high.v - f.size, MEM_PAGE_SIZE) : 0;
    if (f.size > room || at < low.v) {
        r = err_set(e, EFBIG,
                    "%s does not fit in the guest's RAM beside the kernel: %" PRIu64 " MiB are free for an initrd",
                    path, room >> 20);
        goto out;
    }
    r = mem_write(m, GPA(at), f.data, f.size);
    if (r < 0) {
        err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, path, at);
        goto out;
    }
    *addr = at;
    *size = f.size;
out:
    loader_file_close(&f);
    return r;
}
