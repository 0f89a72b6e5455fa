/*
 * What a kernel file is, told by its content, and the sentences for those that are for another machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/kernel.h"
#include "loader/unpack.h"
#include "vmm/base/util.h"

#define PE_OFFSET 60 /* in the DOS header: place of "PE\0\0" */
#define PE_COFF_SIZE 24

#define IMAGE_HEADER_SIZE 64

#define BZIMAGE_VERSION 0x206
#define BZIMAGE_XLOADFLAGS 0x236
#define BZIMAGE_XLF_KERNEL_64 0x1
#define BZIMAGE_VERSION_XLF 0x20c /* the first with xloadflags */

/* All that is looked at lies in the first kilobytes. */
#define PROBE_SIZE KIB(64)
#define PROBE_MAX_LAYERS 3

struct kind_machine {
    uint16_t machine;
    enum loader_arch arch;
    const char *name;
};

static const struct kind_machine pe_machines[] = {
    {0x014c, LOADER_ARCH_X86_32, "32-bit x86"},   {0x8664, LOADER_ARCH_X86_64, "x86-64"},
    {0x01c0, LOADER_ARCH_ARM32, "32-bit Arm"},    {0x01c2, LOADER_ARCH_ARM32, "32-bit Arm"},
    {0x01c4, LOADER_ARCH_ARM32, "32-bit Arm"},    {0xaa64, LOADER_ARCH_ARM64, "arm64"},
    {0x5032, LOADER_ARCH_OTHER, "32-bit RISC-V"}, {0x5064, LOADER_ARCH_OTHER, "RISC-V"},
    {0x6264, LOADER_ARCH_OTHER, "LoongArch"},     {0, LOADER_ARCH_OTHER, "an unknown machine"},
};

static const struct kind_machine elf_machines[] = {
    {EM_AARCH64, LOADER_ARCH_ARM64, "arm64"},   {EM_X86_64, LOADER_ARCH_X86_64, "x86-64"},
    {EM_386, LOADER_ARCH_X86_32, "32-bit x86"}, {EM_ARM, LOADER_ARCH_ARM32, "32-bit Arm"},
    {EM_MIPS, LOADER_ARCH_OTHER, "MIPS"},       {EM_PPC, LOADER_ARCH_OTHER, "PowerPC"},
    {EM_PPC64, LOADER_ARCH_OTHER, "PowerPC"},   {EM_S390, LOADER_ARCH_OTHER, "s390x"},
    {EM_SPARCV9, LOADER_ARCH_OTHER, "SPARC"},   {243, LOADER_ARCH_OTHER, "RISC-V"},
    {258, LOADER_ARCH_OTHER, "LoongArch"},      {0, LOADER_ARCH_OTHER, "another machine"},
};

/* The row of `machine`, or the last one. */
static const struct kind_machine *kind_machine_find(const struct kind_machine *row, uint16_t machine)
{
    while (row->machine && row->machine != machine)
        row++;
    return row;
}

/* What lies at fixed places of files that are neither ELF, arm64 Image nor bzImage. */
static const struct {
    uint64_t off;
    const char *bytes;
    unsigned len;
    enum loader_arch arch;
    const char *what;
} kind_foreign[] = {
    {0x30, "RISCV\0\0\0", 8, LOADER_ARCH_OTHER, "a RISC-V Linux kernel"},
    {0x38, "RSC\x05", 4, LOADER_ARCH_OTHER, "a RISC-V Linux kernel"},
    {0x24, "\x18\x28\x6f\x01", 4, LOADER_ARCH_ARM32, "a 32-bit Arm Linux kernel (zImage)"},
    {0, "\x27\x05\x19\x56", 4, LOADER_ARCH_UNKNOWN, "a U-Boot uImage"},
    {0, "\xd0\x0d\xfe\xed", 4, LOADER_ARCH_UNKNOWN, "a device tree or FIT image"},
    {0, "BZh", 3, LOADER_ARCH_UNKNOWN, "compressed with bzip2"},
    {0,
     "\xfd"
     "7zXZ",
     5, LOADER_ARCH_UNKNOWN, "compressed with xz"},
    {0, "\x5d\0\0", 3, LOADER_ARCH_UNKNOWN, "compressed with lzma"},
    {0, "\x04\x22\x4d\x18", 4, LOADER_ARCH_UNKNOWN, "compressed with lz4"},
    {0, "\x02\x21\x4c\x18", 4, LOADER_ARCH_UNKNOWN, "compressed with lz4"},
    {0, "\x89LZO", 4, LOADER_ARCH_UNKNOWN, "compressed with lzo"},
    {0, "070701", 6, LOADER_ARCH_UNKNOWN, "a cpio archive, perhaps an initrd"},
    {0, "QFI\xfb", 4, LOADER_ARCH_UNKNOWN, "a qcow2 disk image"},
    {0, "!<arch>\n", 8, LOADER_ARCH_UNKNOWN, "an archive, perhaps a Debian package"},
};

bool kernel_has(const struct kernel_src *s, uint64_t off, const void *bytes, uint64_t len)
{
    return range_within(off, len, s->size) && memcmp(s->data + off, bytes, len) == 0;
}

uint64_t kernel_find_pe(const struct kernel_src *s)
{
    uint64_t off;

    if (!kernel_has(s, 0, "MZ", 2) || s->size < PE_OFFSET + 4)
        return 0;
    off = le32_get(s->data + PE_OFFSET);
    return off != 0 && range_within(off, PE_COFF_SIZE, s->size) && memcmp(s->data + off, "PE\0\0", 4) == 0 ? off : 0;
}

__attribute__((format(printf, 4, 5))) static void kind_set(struct loader_kind *out, enum loader_arch arch,
                                                           enum loader_format format, const char *fmt, ...)
{
    va_list ap;

    out->arch = arch;
    out->format = format;
    va_start(ap, fmt);
    vsnprintf(out->what, sizeof(out->what), fmt, ap);
    va_end(ap);
}

static void kind_of_elf(struct loader_kind *out, const struct kernel_src *s)
{
    bool big = s->data[EI_DATA] == ELFDATA2MSB, narrow = s->data[EI_CLASS] != ELFCLASS64;
    uint16_t machine = le16_get(s->data + EI_NIDENT + 2);
    const struct kind_machine *k = kind_machine_find(elf_machines, big ? __builtin_bswap16(machine) : machine);

    if (big)
        kind_set(out, LOADER_ARCH_OTHER, LOADER_ELF, "a big-endian ELF file for %s", k->name);
    else if (narrow && k->arch == LOADER_ARCH_ARM64)
        kind_set(out, LOADER_ARCH_ARM32, LOADER_ELF, "a 32-bit ELF file for arm64");
    else if (narrow && k->arch == LOADER_ARCH_X86_64)
        kind_set(out, LOADER_ARCH_X86_32, LOADER_ELF, "a 32-bit ELF file for x86-64");
    else
        kind_set(out, k->arch, LOADER_ELF, "an ELF file for %s", k->name);
}

static void kind_of_bzimage(struct loader_kind *out, const struct kernel_src *s)
{
    bool tells = s->size >= BZIMAGE_XLOADFLAGS + 2 && le16_get(s->data + BZIMAGE_VERSION) >= BZIMAGE_VERSION_XLF;

    if (tells && !(le16_get(s->data + BZIMAGE_XLOADFLAGS) & BZIMAGE_XLF_KERNEL_64))
        kind_set(out, LOADER_ARCH_X86_32, LOADER_BZIMAGE, "a 32-bit x86 Linux kernel (bzImage)");
    else
        kind_set(out, LOADER_ARCH_X86_64, LOADER_BZIMAGE, "an x86 Linux kernel (bzImage)");
}

void kernel_identify(struct loader_kind *out, const struct kernel_src *s)
{
    uint64_t pe = kernel_find_pe(s);
    const struct kind_machine *k = kind_machine_find(pe_machines, pe ? le16_get(s->data + pe + 4) : 0);

    if (s->size >= IMAGE_HEADER_SIZE && kernel_has(s, 56, "ARM\x64", 4)) {
        kind_set(out, LOADER_ARCH_ARM64, LOADER_ARM64_IMAGE, "an arm64 Linux kernel (Image)");
        return;
    }
    if (kernel_has(s, 0, ELFMAG, SELFMAG) && s->size >= EI_NIDENT + 4) {
        kind_of_elf(out, s);
        return;
    }
    if (kernel_has(s, 0x202, "HdrS", 4)) {
        kind_of_bzimage(out, s);
        return;
    }
    if (unpack_probe(s->data, s->size) == UNPACK_ZBOOT) {
        kind_set(out, k->arch, LOADER_UNKNOWN, "an EFI zboot kernel for %s", k->name);
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(kind_foreign); i++)
        if (kernel_has(s, kind_foreign[i].off, kind_foreign[i].bytes, kind_foreign[i].len)) {
            kind_set(out, kind_foreign[i].arch, LOADER_UNKNOWN, "%s", kind_foreign[i].what);
            return;
        }
    if (pe)
        kind_set(out, k->arch, LOADER_UNKNOWN, "an EFI program for %s", k->name);
    else
        kind_set(out, LOADER_ARCH_UNKNOWN, LOADER_UNKNOWN, "unknown");
}

int kernel_refuse(const struct kernel_src *s, const struct loader_kind *kind, enum loader_arch want, struct err *e)
{
    bool arm = want == LOADER_ARCH_ARM64;
    const char *wanted = arm ? "an arm64" : "an x86-64";
    enum err_status status = ERR_STATUS_NONE;

    if (!strcmp(kind->what, "unknown"))
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, ENOEXEC,
                              "%s is not a kernel that pipit knows (%s), or it is truncated", s->name,
                              arm ? "arm64 Image, Image.gz, EFI zboot or ELF" : "x86-64 bzImage or ELF");
    if (kind->arch == (arm ? LOADER_ARCH_ARM32 : LOADER_ARCH_X86_32))
        status = ERR_STATUS_KERNEL_32BIT;
    else if (kind->arch != LOADER_ARCH_UNKNOWN && kind->arch != want)
        status = ERR_STATUS_KERNEL_ARCH;
    return err_set_status(e, status, ENOEXEC, "%s is %s, not %s Linux kernel", s->name, kind->what, wanted);
}

/* ---- a file on disk ---- */

/* Reads what `path` begins with; 0 bytes for what cannot be read twice. */
static ssize_t probe_read(const char *path, uint8_t *buf, size_t size, struct err *e)
{
    struct stat st;
    ssize_t n;
    int fd;

    /* A FIFO is not even opened: its writer would find it closed again. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return 0;
    fd = file_open_path(path, O_NONBLOCK);
    if (fd < 0)
        return err_set(e, errno, "cannot open %s: %s", path, strerror(errno));
    n = pread(fd, buf, size, 0);
    if (n < 0)
        n = err_set(e, errno, "cannot read %s: %s", path, strerror(errno));
    close(fd);
    return n;
}

int loader_probe(struct loader_kind *out, const char *path, struct err *e)
{
    uint8_t *buf = malloc(2 * PROBE_SIZE), *head = buf, *spare = buf + PROBE_SIZE;
    struct kernel_src s = {.name = path};
    ssize_t n;

    if (!buf)
        return err_set(e, ENOMEM, "not enough memory to look at %s", path);
    n = probe_read(path, head, PROBE_SIZE, e);
    s.size = n > 0 ? (uint64_t)n : 0;
    for (unsigned layer = 0; layer < PROBE_MAX_LAYERS; layer++) {
        uint64_t got = unpack_head(head, s.size, spare, PROBE_SIZE);
        uint8_t *swap = head;

        if (got == 0)
            break;
        s.size = got;
        head = spare;
        spare = swap;
    }
    s.data = head;
    kernel_identify(out, &s);
    free(buf);
    return n < 0 ? (int)n : 0;
}
