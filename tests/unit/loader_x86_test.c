/*
 * Kernels for the micro machine: bzImage and ELF, made here field by field; what each refusal says and its exit
 * status; what the kernel finds in memory, read back by offsets of the boot protocols' documents; recognition of files.
 *
 * With the path of a real bzImage as its argument, it loads that instead, whole and cut.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

#include "arch/x86/boot.h"
#include "loader/loader.h"
#include "tests/check.h"
#include "vmm/base/util.h"

#define RAM_SIZE MIB(64)

static char dir[] = "/tmp/pipit-loader-x86-XXXXXX";
static char path[64];
static struct mem *ram;
static struct err err;

static void put(const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
}

static int load(struct loader_x86 *k)
{
    memset(&err, 0, sizeof(err));
    memset(k, 0xee, sizeof(*k));
    return loader_x86_load(k, ram, path, &err);
}

/* Loads bytes that must be refused with `code`, `status`, and a sentence that names the file and says `word`. */
static bool refused(const void *data, size_t size, int code, int status, const char *word)
{
    struct loader_x86 k;
    int r;

    put(data, size);
    r = load(&k);
    if (r == -code && err.code == code && err.status == status && strstr(err.msg, path) && strstr(err.msg, word))
        return true;
    printf("  got %d, status %d: %s\n", r, err.status, err.msg);
    return false;
}

static bool in_ram(uint64_t addr, const void *want, size_t len)
{
    const void *p = mem_read_ptr(ram, GPA(addr), len);

    return p && memcmp(p, want, len) == 0;
}

static uint64_t ram_get(uint64_t addr, unsigned len)
{
    uint64_t v = 0;

    if (mem_read(ram, GPA(addr), &v, len) < 0)
        abort();
    return v;
}

/* ---- bzImage ---- */

#define BZ_SETUP 2048 /* three sectors of setup */
#define BZ_KERNEL 4096
#define BZ_SIZE (BZ_SETUP + BZ_KERNEL)

static void bz_make(uint8_t *b)
{
    for (unsigned i = 0; i < BZ_SIZE; i++)
        b[i] = (uint8_t)(i * 5 | 1);
    memset(b, 0, 0x2d0);
    memcpy(b, "MZ", 2);
    b[0x1f1] = 3;
    le32_put(b + 0x1f4, BZ_KERNEL / 16);
    le16_put(b + 0x1fe, 0xaa55);
    b[0x200] = 0xeb;
    b[0x201] = 0x6a;
    memcpy(b + 0x202, "HdrS", 4);
    le16_put(b + 0x206, 0x20f);
    b[0x211] = 1;
    le32_put(b + 0x22c, 0x7fffffff);
    le32_put(b + 0x230, 0x200000);
    b[0x234] = 1;
    le16_put(b + 0x236, 0x7f);
    le32_put(b + 0x238, 100);
    le32_put(b + 0x248, 0x300);
    le32_put(b + 0x24c, 0x400);
    le64_put(b + 0x258, MIB(16));
    le32_put(b + 0x260, MIB(8));
    le32_put(b + 0x268, 0x12345678); /* kernel_info_offset: of a later version, carried along */
}

static void test_bzimage(void)
{
    struct loader_x86 k;
    uint8_t b[BZ_SIZE + 100] = {0};

    bz_make(b);
    put(b, sizeof(b)); /* signatures may follow */
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.format, LOADER_BZIMAGE);
    CHECK_EQ(k.entry.pc, MIB(16) + 0x200);
    CHECK_EQ(k.entry.arg, 0x7000);
    CHECK_EQ(k.entry.mode, VCPU_MODE_X86_LONG);
    CHECK_EQ(k.low, MIB(16));
    CHECK_EQ(k.high, MIB(24));
    CHECK_EQ(k.image_size, BZ_KERNEL);
    CHECK_EQ(k.initrd_end, UINT64_MAX);
    CHECK_EQ(k.cmdline_max, 100);
    CHECK(in_ram(MIB(16), b + BZ_SETUP, BZ_KERNEL));

    le16_put(b + 0x236, 0x01); /* nothing above 4 GiB */
    b[0x1f1] = 0;              /* means 4 */
    le32_put(b + 0x1f4, (BZ_KERNEL - 512) / 16);
    put(b, BZ_SIZE);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.initrd_end, 0x80000000);
    CHECK_EQ(k.image_size, BZ_KERNEL - 512);
    CHECK(in_ram(MIB(16), b + BZ_SETUP + 512, BZ_KERNEL - 512));

    bz_make(b);
    le64_put(b + 0x258, 0);   /* anywhere: the lowest aligned place above 1 MiB */
    le32_put(b + 0x260, 100); /* less than there is */
    put(b, BZ_SIZE);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.low, MIB(2));
    CHECK_EQ(k.high, MIB(2) + BZ_KERNEL);

    bz_make(b);
    b[0x234] = 0; /* not relocatable: only there */
    le32_put(b + 0x230, 0);
    put(b, BZ_SIZE);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.low, MIB(16));
}

/* Changes a good file. */
#define BZ_BAD(change, code, status, word)                                                                             \
    do {                                                                                                               \
        bz_make(b);                                                                                                    \
        change;                                                                                                        \
        CHECK(refused(b, sizeof(b), code, status, word));                                                              \
    } while (0)

static void test_bzimage_refused(void)
{
    uint8_t b[BZ_SIZE];

    BZ_BAD(le16_put(b + 0x236, 0x7e), ENOEXEC, ERR_STATUS_KERNEL_32BIT, "32-bit x86 Linux kernel (bzImage)");
    BZ_BAD(le16_put(b + 0x206, 0x20b), ENOEXEC, 0, "boot protocol 2.11");
    BZ_BAD(b[0x211] = 0, ENOEXEC, 0, "too old");
    BZ_BAD(le16_put(b + 0x1fe, 0), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "no boot flag");
    BZ_BAD(b[0x201] = 0x61, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "too short");
    BZ_BAD(le32_put(b + 0x1f4, BZ_KERNEL / 16 + 1), EINVAL, ERR_STATUS_KERNEL_DAMAGED,
           "speaks of 6160 bytes, there are 6144");
    BZ_BAD(le32_put(b + 0x1f4, UINT32_MAX), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated");
    BZ_BAD(b[0x1f1] = 255, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated");
    BZ_BAD(le32_put(b + 0x1f4, 0x200 / 16), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "payload");
    BZ_BAD(le32_put(b + 0x248, UINT32_MAX), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "payload");
    BZ_BAD(le32_put(b + 0x24c, BZ_KERNEL - 0x300 + 1), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "payload");
    BZ_BAD(le32_put(b + 0x230, 0x300000), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "alignment");
    BZ_BAD(le32_put(b + 0x230, 0), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "alignment");
    BZ_BAD((b[0x234] = 0, le64_put(b + 0x258, 0x1000)), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "first MiB");
    BZ_BAD(le32_put(b + 0x260, MIB(48) + 1), EFBIG, ERR_STATUS_MEMORY, "needs RAM from 16 to 65 MiB");
    BZ_BAD(le32_put(b + 0x260, UINT32_MAX), EFBIG, ERR_STATUS_MEMORY, "the guest has 64 MiB");
    BZ_BAD(le64_put(b + 0x258, UINT64_MAX), EFBIG, ERR_STATUS_MEMORY, "needs RAM");
    BZ_BAD(le64_put(b + 0x258, GIB(4)), EFBIG, ERR_STATUS_MEMORY, "needs RAM");
    /* Every cut of the file is noticed. */
    bz_make(b);
    for (size_t n = BZ_SIZE - 1; n >= 0x206; n -= 97)
        CHECK(refused(b, n, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated"));
    CHECK(refused(b, 0x204, ENOEXEC, ERR_STATUS_KERNEL_DAMAGED, "truncated"));
}

/* Boot parameters as the kernel reads them. */
static void test_zero_page(void)
{
    struct loader_x86_params p = {
        .cmdline = "console=ttyS0 quiet",
        .initrd_addr = 0x123456789000,
        .initrd_size = 0x2000000ff,
        .rsdp = 0xe0000,
        .seeded = true,
    };
    struct loader_x86 k;
    uint8_t b[BZ_SIZE], junk[0x1000];
    char longest[102];

    memset(junk, 0xff, sizeof(junk));
    CHECK_EQ(mem_write(ram, GPA(0x7000), junk, sizeof(junk)), 0);
    for (unsigned i = 0; i < sizeof(p.seed); i++)
        p.seed[i] = (uint8_t)(i + 1);
    bz_make(b);
    put(b, sizeof(b));
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);

    CHECK(in_ram(0x7000 + 0x1f1, b + 0x1f1, 0x1f4 - 0x1f1));
    CHECK(in_ram(0x7000 + 0x1fe, b + 0x1fe, 0x210 - 0x1fe));
    CHECK_EQ(ram_get(0x7000 + 0x1ef, 1), 0); /* sentinel */
    CHECK_EQ(ram_get(0x7000 + 0x210, 1), 0xff);
    CHECK_EQ(ram_get(0x7000 + 0x211, 1), 1);
    CHECK_EQ(ram_get(0x7000 + 0x214, 4), MIB(16));
    CHECK_EQ(ram_get(0x7000 + 0x218, 4), 0x56789000);
    CHECK_EQ(ram_get(0x7000 + 0x0c0, 4), 0x1234);
    CHECK_EQ(ram_get(0x7000 + 0x21c, 4), 0xff);
    CHECK_EQ(ram_get(0x7000 + 0x0c4, 4), 2);
    CHECK_EQ(ram_get(0x7000 + 0x228, 4), 0x20000);
    CHECK_EQ(ram_get(0x7000 + 0x0c8, 4), 0);
    CHECK_EQ(ram_get(0x7000 + 0x258, 8), MIB(16));
    CHECK_EQ(ram_get(0x7000 + 0x268, 4), 0x12345678);
    CHECK_EQ(ram_get(0x7000 + 0x26c, 4), 0); /* behind the header */
    CHECK_EQ(ram_get(0x7000 + 0x070, 8), 0xe0000);
    CHECK_EQ(ram_get(0x7000 + 0x1e8, 1), 3);
    CHECK_EQ(ram_get(0x7000 + 0x2d0, 8), 0);
    CHECK_EQ(ram_get(0x7000 + 0x2d8, 8), 0x9fc00);
    CHECK_EQ(ram_get(0x7000 + 0x2e0, 4), 1);
    CHECK_EQ(ram_get(0x7000 + 0x2e4 + 16, 4), 2);
    CHECK_EQ(ram_get(0x7000 + 0x2f8, 8), MIB(1));
    CHECK_EQ(ram_get(0x7000 + 0x300, 8), RAM_SIZE - MIB(1));
    CHECK(in_ram(0x20000, p.cmdline, strlen(p.cmdline) + 1));
    /* setup_data: one entry, SETUP_RNG_SEED. */
    CHECK_EQ(ram_get(0x7000 + 0x250, 8), 0x8000);
    CHECK_EQ(ram_get(0x8000, 8), 0);
    CHECK_EQ(ram_get(0x8008, 4), 9);
    CHECK_EQ(ram_get(0x800c, 4), 32);
    CHECK(in_ram(0x8010, p.seed, 32));

    p = (struct loader_x86_params){.initrd_addr = 1}; /* nothing at all */
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);
    CHECK_EQ(ram_get(0x7000 + 0x218, 8), 0);
    CHECK_EQ(ram_get(0x7000 + 0x250, 8), 0);
    CHECK_EQ(ram_get(0x7000 + 0x070, 8), 0);
    CHECK_EQ(ram_get(0x20000, 1), 0);

    memset(longest, 'c', sizeof(longest));
    longest[100] = '\0';
    p.cmdline = longest;
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);
    longest[100] = 'c';
    longest[101] = '\0';
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), -EINVAL);
    CHECK(strstr(err.msg, "has 101 characters, and this kernel takes 100"));
}

/* ---- ELF ---- */

#define ELF_SIZE 2048

struct elf {
    uint8_t b[ELF_SIZE];
    Elf64_Ehdr h;
    Elf64_Phdr ph[4];
    unsigned nph;
};

/* Two segments at 1 MiB (100 bytes and 300 of bss) and 2 MiB. */
static void elf_make(struct elf *f)
{
    memset(f, 0, sizeof(*f));
    for (unsigned i = 0; i < ELF_SIZE; i++)
        f->b[i] = (uint8_t)(i | 1);
    f->h = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = MIB(1) + 9,
        .e_phoff = 64,
        .e_ehsize = 64,
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    f->ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                            .p_offset = 512,
                            .p_vaddr = UINT64_C(0xffffffff80000000),
                            .p_paddr = MIB(1),
                            .p_filesz = 100,
                            .p_memsz = 400};
    f->ph[1] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = 1000, .p_vaddr = 0, .p_paddr = MIB(2), .p_filesz = 16, .p_memsz = 16};
}

/* Adds a note segment: first another note, then Xen's. */
static void elf_add_note(struct elf *f, uint32_t align, const void *desc, uint32_t desc_size)
{
    uint8_t *n = f->b + 1200, *p = n;

    memset(n, 0, 200);
    le32_put(p, 4);
    le32_put(p + 4, 5);
    le32_put(p + 8, 3);
    memcpy(p + 12, "GNU", 4);
    p += align_up(align_up(16, align) + 5, align);
    le32_put(p, 4);
    le32_put(p + 4, desc_size);
    le32_put(p + 8, 18);
    memcpy(p + 12, "Xen", 4);
    p += align_up(16, align);
    memcpy(p, desc, desc_size);
    p += desc_size;
    f->ph[f->h.e_phnum++] =
        (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 1200, .p_filesz = (uint64_t)(p - n), .p_align = align};
}

static void elf_put(struct elf *f)
{
    memcpy(f->b, &f->h, sizeof(f->h));
    memcpy(f->b + 64, f->ph, sizeof(f->ph));
    put(f->b, sizeof(f->b));
}

static void test_vmlinux(void)
{
    struct loader_x86_params p = {.cmdline = "ro", .rsdp = 0xe0000};
    struct loader_x86 k;
    uint8_t ff[400];
    struct elf f;

    memset(ff, 0xff, sizeof(ff));
    CHECK_EQ(mem_write(ram, GPA(MIB(1)), ff, sizeof(ff)), 0);
    elf_make(&f);
    elf_put(&f);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.format, LOADER_ELF);
    CHECK_EQ(k.entry.mode, VCPU_MODE_X86_LONG);
    CHECK_EQ(k.entry.pc, MIB(1) + 9);
    CHECK_EQ(k.entry.arg, 0x7000);
    CHECK_EQ(k.low, MIB(1));
    CHECK_EQ(k.high, MIB(2) + 16);
    CHECK_EQ(k.image_size, MIB(1) + 16);
    CHECK_EQ(k.initrd_end, RAM_SIZE);
    CHECK(in_ram(MIB(1), f.b + 512, 100));
    for (unsigned i = 100; i < 400; i++)
        CHECK_EQ(ram_get(MIB(1) + i, 1), 0);
    CHECK(in_ram(MIB(2), f.b + 1000, 16));

    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);
    CHECK_EQ(ram_get(0x7000 + 0x1fe, 2), 0xaa55);
    CHECK(in_ram(0x7000 + 0x202, "HdrS", 4));
    CHECK_EQ(ram_get(0x7000 + 0x206, 2), 0x20f);
    CHECK_EQ(ram_get(0x7000 + 0x210, 2), 0x1ff);
    CHECK_EQ(ram_get(0x7000 + 0x228, 4), 0x20000);

    f.h.e_entry = UINT64_C(0xffffffff80000010); /* virtual */
    elf_put(&f);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.entry.pc, MIB(1) + 16);
}

static void test_pvh(void)
{
    struct loader_x86_params p = {
        .cmdline = "pvh guest", .initrd_addr = MIB(32), .initrd_size = 0x1234, .rsdp = 0xe0000, .seeded = true};
    uint8_t desc[8] = {0x10, 0, 0x10, 0};
    struct loader_x86 k;
    struct elf f;

    for (unsigned variant = 0; variant < 4; variant++) {
        elf_make(&f);
        elf_add_note(&f, variant & 1 ? 8 : 4, desc, variant & 2 ? 8 : 4);
        elf_put(&f);
        CHECK_EQ(load(&k), 0);
        CHECK_EQ(k.entry.mode, VCPU_MODE_X86_PVH);
        CHECK_EQ(k.entry.pc, MIB(1) + 16);
        CHECK_EQ(k.entry.arg, 0x6000);
    }
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);
    CHECK_EQ(ram_get(0x6000, 4), 0x336ec578);
    CHECK_EQ(ram_get(0x6004, 4), 1);
    CHECK_EQ(ram_get(0x6008, 4), 0);
    CHECK_EQ(ram_get(0x600c, 4), 1);
    uint64_t module = ram_get(0x6010, 8), map = ram_get(0x6028, 8);
    CHECK_EQ(ram_get(module, 8), MIB(32));
    CHECK_EQ(ram_get(module + 8, 8), 0x1234);
    CHECK_EQ(ram_get(module + 16, 8), 0);
    CHECK(in_ram(ram_get(0x6018, 8), "pvh guest", 10));
    CHECK_EQ(ram_get(0x6020, 8), 0xe0000);
    CHECK_EQ(ram_get(0x6030, 4), 3);
    CHECK_EQ(ram_get(0x6034, 4), 0);
    CHECK_EQ(ram_get(map + 48, 8), MIB(1));
    CHECK_EQ(ram_get(map + 56, 8), RAM_SIZE - MIB(1));
    CHECK_EQ(ram_get(map + 64, 4), 1);
    CHECK(map + 72 <= 0x7000);
    p.initrd_size = 0;
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);
    CHECK_EQ(ram_get(0x600c, 4), 0);
    CHECK_EQ(ram_get(0x6010, 8), 0);
}

/* Changes a good file; the expression sees f. */
#define ELF_BAD(change, code, status, word)                                                                            \
    do {                                                                                                               \
        elf_make(&f);                                                                                                  \
        change;                                                                                                        \
        elf_put(&f);                                                                                                   \
        CHECK(refused(f.b, sizeof(f.b), code, status, word));                                                          \
    } while (0)

static void test_elf_refused(void)
{
    static const uint8_t desc[8] = {0x10, 0, 0x10, 0};
    static const uint8_t outside[8] = {0, 0, 0x30, 0};
    struct elf f;

    ELF_BAD(f.h.e_machine = EM_AARCH64, ENOEXEC, ERR_STATUS_KERNEL_ARCH, "ELF file for arm64, not an x86-64");
    ELF_BAD(f.h.e_machine = 243, ENOEXEC, ERR_STATUS_KERNEL_ARCH, "RISC-V");
    ELF_BAD(f.h.e_machine = EM_386, ENOEXEC, ERR_STATUS_KERNEL_32BIT, "32-bit x86");
    ELF_BAD((f.h.e_machine = EM_386, f.h.e_ident[EI_CLASS] = ELFCLASS32), ENOEXEC, ERR_STATUS_KERNEL_32BIT,
            "32-bit x86");
    ELF_BAD(f.h.e_ident[EI_CLASS] = ELFCLASS32, ENOEXEC, ERR_STATUS_KERNEL_32BIT, "32-bit ELF file for x86-64");
    ELF_BAD(f.h.e_type = ET_REL, ENOEXEC, 0, "not linked");
    ELF_BAD(f.h.e_phnum = 0, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "program headers");
    ELF_BAD(f.h.e_phoff = UINT64_MAX - 8, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "lie outside");
    ELF_BAD(f.ph[0].p_offset = UINT64_MAX, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated or damaged");
    ELF_BAD(f.ph[0].p_filesz = 401, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated or damaged");
    ELF_BAD(f.ph[0].p_paddr = 0x8000, EFBIG, ERR_STATUS_MEMORY, "outside of the guest's RAM from 0x100000");
    ELF_BAD(f.ph[0].p_paddr = RAM_SIZE - 399, EFBIG, ERR_STATUS_MEMORY, "to 0x4000000");
    ELF_BAD(f.ph[0].p_memsz = UINT64_MAX, EFBIG, ERR_STATUS_MEMORY, "outside of the guest's RAM");
    ELF_BAD(f.ph[1].p_paddr = MIB(1) + 399, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "overlap");
    ELF_BAD(f.h.e_entry = 0x1234, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "entry point 0x1234");
    ELF_BAD(elf_add_note(&f, 4, outside, 4), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "entry point 0x300000");
    ELF_BAD(elf_add_note(&f, 4, desc, 6), EINVAL, ERR_STATUS_KERNEL_DAMAGED, "note has 6 bytes");
    elf_make(&f);
    elf_put(&f);
    CHECK(refused(f.b, 63, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "inside its ELF header"));
}

/* Notes that lie about their sizes are no notes, and the file is entered as a vmlinux. */
static void test_notes_that_lie(void)
{
    static const uint8_t desc[8] = {0x10, 0, 0x10, 0};
    struct loader_x86 k;
    struct elf f;

    for (unsigned field = 0; field < 4; field++) {
        elf_make(&f);
        elf_add_note(&f, 4, desc, 4);
        if (field < 2)
            le32_put(f.b + 1200 + field * 4, UINT32_MAX - field);
        else if (field == 2)
            f.ph[2].p_filesz -= 1;
        else
            f.ph[2].p_offset = UINT64_MAX - 3;
        elf_put(&f);
        CHECK_EQ(load(&k), 0);
        CHECK_EQ(k.entry.mode, VCPU_MODE_X86_LONG);
    }
}

/* ---- other kinds ---- */

static void test_foreign(void)
{
    uint8_t b[2048] = {0};

    memcpy(b + 56, "ARM\x64", 4);
    CHECK(refused(b, sizeof(b), ENOEXEC, ERR_STATUS_KERNEL_ARCH, "arm64 Linux kernel (Image), not an x86-64"));
    memset(b, 0, sizeof(b));
    memcpy(b + 0x38, "RSC\x05", 4);
    CHECK(refused(b, sizeof(b), ENOEXEC, ERR_STATUS_KERNEL_ARCH, "RISC-V"));
    memset(b, 0, sizeof(b));
    memcpy(b, "MZ", 2);
    le32_put(b + 60, 128);
    memcpy(b + 128, "PE\0\0\x64\x86", 6);
    CHECK(refused(b, sizeof(b), ENOEXEC, 0, "EFI program for x86-64"));
    memcpy(b + 128, "PE\0\0\x4c\x01", 6);
    CHECK(refused(b, sizeof(b), ENOEXEC, ERR_STATUS_KERNEL_32BIT, "EFI program for 32-bit x86"));
    CHECK(refused("070701 and so on", 16, ENOEXEC, 0, "cpio archive"));
    CHECK(refused("just some text\n", 15, ENOEXEC, ERR_STATUS_KERNEL_DAMAGED, "not a kernel that pipit knows"));
    CHECK(refused("MZ", 2, ENOEXEC, ERR_STATUS_KERNEL_DAMAGED, "truncated"));
}

/* The other way round: x86 kernels on the arm64 board. */
static void test_arm64_refuses(void)
{
    struct loader_kernel k;
    uint8_t b[BZ_SIZE];

    bz_make(b);
    put(b, sizeof(b));
    CHECK_EQ(loader_kernel_load(&k, ram, path, GPA(0), RAM_SIZE, false, &err), -ENOEXEC);
    CHECK_EQ(err.status, ERR_STATUS_KERNEL_ARCH);
    CHECK(strstr(err.msg, "x86 Linux kernel (bzImage), not an arm64"));
}

/* ---- recognition ---- */

static bool probed(const void *data, size_t size, enum loader_arch arch, enum loader_format format, const char *what)
{
    struct loader_kind k;
    int r;

    put(data, size);
    r = loader_probe(&k, path, &err);
    if (r == 0 && k.arch == arch && k.format == format && strstr(k.what, what))
        return true;
    printf("  got %d: arch %d, format %d, %s\n", r, k.arch, k.format, k.what);
    return false;
}

#ifdef HAVE_ZLIB
static void test_probe_compressed(void)
{
    uint8_t b[BZ_SIZE] = {0}, once[2 * BZ_SIZE], twice[2 * BZ_SIZE];
    uint8_t *big = calloc(1, MIB(8)), *zbig = malloc(MIB(1));
    uLongf n = sizeof(once), n2 = sizeof(twice), nbig = MIB(1);
    z_stream z[3] = {{0}, {0}, {0}};
    uint8_t *in[] = {b, once, big}, *out[] = {once, twice, zbig};
    uLongf in_size[] = {sizeof(b), 0, MIB(8)}, *out_size[] = {&n, &n2, &nbig};

    memcpy(b + 56, "ARM\x64", 4);
    memcpy(big, b, sizeof(b));
    for (unsigned i = 0; i < 3; i++) {
        if (i == 1)
            in_size[1] = n;
        CHECK(deflateInit2(&z[i], 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) == Z_OK);
        z[i].next_in = in[i];
        z[i].avail_in = (uInt)in_size[i];
        z[i].next_out = out[i];
        z[i].avail_out = (uInt)*out_size[i];
        CHECK(deflate(&z[i], Z_FINISH) == Z_STREAM_END);
        *out_size[i] = z[i].total_out;
        deflateEnd(&z[i]);
    }
    CHECK(probed(once, n, LOADER_ARCH_ARM64, LOADER_ARM64_IMAGE, "arm64 Linux kernel"));
    CHECK(probed(twice, n2, LOADER_ARCH_ARM64, LOADER_ARM64_IMAGE, "arm64 Linux kernel"));
    CHECK(probed(zbig, nbig, LOADER_ARCH_ARM64, LOADER_ARM64_IMAGE, "arm64 Linux kernel"));
    CHECK(probed(once, 12, LOADER_ARCH_UNKNOWN, LOADER_UNKNOWN, "unknown"));
    free(big);
    free(zbig);
}
#endif

static void test_probe(void)
{
    uint8_t b[BZ_SIZE];
    struct loader_kind k;
    struct elf f;

    bz_make(b);
    CHECK(probed(b, sizeof(b), LOADER_ARCH_X86_64, LOADER_BZIMAGE, "an x86 Linux kernel (bzImage)"));
    le16_put(b + 0x236, 0);
    CHECK(probed(b, sizeof(b), LOADER_ARCH_X86_32, LOADER_BZIMAGE, "32-bit"));
    le16_put(b + 0x206, 0x200);
    CHECK(probed(b, sizeof(b), LOADER_ARCH_X86_64, LOADER_BZIMAGE, "bzImage"));
    elf_make(&f);
    elf_put(&f);
    CHECK(probed(f.b, sizeof(f.b), LOADER_ARCH_X86_64, LOADER_ELF, "an ELF file for x86-64"));
    f.h.e_machine = EM_AARCH64;
    elf_put(&f);
    CHECK(probed(f.b, sizeof(f.b), LOADER_ARCH_ARM64, LOADER_ELF, "an ELF file for arm64"));
    f.h.e_ident[EI_CLASS] = ELFCLASS32;
    elf_put(&f);
    CHECK(probed(f.b, sizeof(f.b), LOADER_ARCH_ARM32, LOADER_ELF, "a 32-bit ELF file for arm64"));
    f.h.e_machine = EM_S390;
    elf_put(&f);
    CHECK(probed(f.b, sizeof(f.b), LOADER_ARCH_OTHER, LOADER_ELF, "s390x"));
    memset(b, 0, sizeof(b));
    memcpy(b, "MZ\0\0zimg", 8);
    le32_put(b + 60, 128);
    memcpy(b + 128, "PE\0\0\x64\xaa", 6);
    CHECK(probed(b, sizeof(b), LOADER_ARCH_ARM64, LOADER_UNKNOWN, "an EFI zboot kernel for arm64"));
    memset(b, 0, 8);
    memcpy(b, "MZ", 2);
    memcpy(b + 128, "PE\0\0\x64\x50", 6);
    CHECK(probed(b, sizeof(b), LOADER_ARCH_OTHER, LOADER_UNKNOWN, "an EFI program for RISC-V"));
    CHECK(probed("hello", 5, LOADER_ARCH_UNKNOWN, LOADER_UNKNOWN, "unknown"));
    CHECK(probed("", 0, LOADER_ARCH_UNKNOWN, LOADER_UNKNOWN, "unknown"));
    unlink(path);
    CHECK_EQ(loader_probe(&k, path, &err), -ENOENT);
    CHECK(strstr(err.msg, path));
}

/* A FIFO is left alone: this would wait for ever for a writer otherwise, or take its bytes. */
static void test_probe_fifo(void)
{
    struct loader_kind k;

    CHECK(mkfifo(path, 0600) == 0);
    alarm(10);
    CHECK_EQ(loader_probe(&k, path, &err), 0);
    alarm(0);
    CHECK_EQ(k.arch, LOADER_ARCH_UNKNOWN);
    unlink(path);
    CHECK_EQ(loader_probe(&k, "/dev/zero", &err), 0);
    CHECK_EQ(k.arch, LOADER_ARCH_UNKNOWN);
}

/* ---- initrd ---- */

static void test_initrd(void)
{
    struct loader_x86 k = {.low = MIB(16), .high = MIB(24) + 5, .initrd_end = UINT64_MAX};
    uint64_t addr, size;
    struct mem *m;
    uint8_t b[5000];

    memset(b, 0x77, sizeof(b));
    put(b, sizeof(b));
    CHECK_EQ(loader_x86_initrd_load(ram, &k, path, &addr, &size, &err), 0);
    CHECK_EQ(addr, RAM_SIZE - 8192);
    CHECK_EQ(size, sizeof(b));
    CHECK(in_ram(addr, b, sizeof(b)));
    k.initrd_end = MIB(32);
    CHECK_EQ(loader_x86_initrd_load(ram, &k, path, &addr, &size, &err), 0);
    CHECK_EQ(addr, MIB(32) - 8192);
    k.high = MIB(32) - 4096; /* one page above the kernel is too little: below it, then */
    CHECK_EQ(loader_x86_initrd_load(ram, &k, path, &addr, &size, &err), 0);
    CHECK_EQ(addr, MIB(16) - 8192);
    k.low = MIB(1);
    CHECK_EQ(loader_x86_initrd_load(ram, &k, path, &addr, &size, &err), -EFBIG);
    CHECK_EQ(err.status, ERR_STATUS_MEMORY);
    CHECK(strstr(err.msg, path) && strstr(err.msg, "does not fit"));

    /* RAM above 4 GiB, where the kernel may be told so. */
    CHECK(mem_create(&m) == 0);
    CHECK(mem_add_ram(m, GPA(0), X86_RAM_LOW_MAX, NULL, &err) == 0);
    CHECK(mem_add_ram(m, GPA(X86_RAM_HIGH), GIB(1), NULL, &err) == 0);
    k = (struct loader_x86){.low = MIB(16), .high = MIB(24), .initrd_end = UINT64_MAX};
    CHECK_EQ(loader_x86_initrd_load(m, &k, path, &addr, &size, &err), 0);
    CHECK_EQ(addr, X86_RAM_LOW_MAX - 8192);
    k.low = MIB(1);
    k.high = X86_RAM_LOW_MAX;
    CHECK_EQ(loader_x86_initrd_load(m, &k, path, &addr, &size, &err), 0);
    CHECK_EQ(addr, GIB(5) - 8192);
    k.initrd_end = 0x80000000;
    CHECK_EQ(loader_x86_initrd_load(m, &k, path, &addr, &size, &err), -EFBIG);
    mem_destroy(m);
}

/* RAM that is not there, or hardly. */
static void test_little_ram(void)
{
    struct mem *full = ram;
    struct loader_x86 k;
    uint8_t b[BZ_SIZE];
    struct elf f;

    CHECK(mem_create(&ram) == 0);
    bz_make(b);
    put(b, sizeof(b));
    int none = load(&k);
    CHECK(mem_add_ram(ram, GPA(0), KIB(64), NULL, &err) == 0);
    int little = load(&k);
    elf_make(&f);
    elf_put(&f);
    int elf = load(&k);
    mem_destroy(ram);
    ram = full;
    CHECK_EQ(none, -EFBIG);
    CHECK_EQ(little, -EFBIG);
    CHECK_EQ(elf, -EFBIG);
    CHECK_EQ(err.status, ERR_STATUS_MEMORY);
}

/* ---- a kernel of a distribution ---- */

static const char *real;

static void test_real_kernel(void)
{
    struct loader_x86_params p = {.cmdline = "console=ttyS0", .rsdp = 0xe0000};
    struct loader_file file;
    struct loader_kind kind;
    struct loader_x86 k;

    CHECK_EQ(loader_probe(&kind, real, &err), 0);
    CHECK_EQ(kind.arch, LOADER_ARCH_X86_64);
    CHECK_EQ(kind.format, LOADER_BZIMAGE);
    CHECK_EQ(loader_file_open(&file, real, MIB(256), &err), 0);
    CHECK_EQ(loader_x86_load(&k, ram, real, &err), 0);
    CHECK_EQ(k.entry.pc, k.low + 0x200);
    CHECK_EQ(k.entry.mode, VCPU_MODE_X86_LONG);
    /* A signature may follow what the header counts. */
    uint64_t setup = (file.data[0x1f1] + UINT64_C(1)) * 512, end = setup + k.image_size;
    CHECK(end <= file.size && end + KIB(64) > file.size);
    CHECK(in_ram(k.low, file.data + setup, k.image_size));
    CHECK(k.high > k.low + k.image_size);
    CHECK_EQ(loader_x86_write_params(ram, &k, &p, &err), 0);
    printf("  %s: %u KiB at 0x%x, needs %u KiB, command line up to %u\n", real, (unsigned)(k.image_size >> 10),
           (unsigned)k.low, (unsigned)((k.high - k.low) >> 10), k.cmdline_max);
    /* Each file that is cut short is refused. */
    for (unsigned i = 1; i < 16; i++)
        CHECK(refused(file.data, end / 16 * i, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated"));
    CHECK(refused(file.data, end - 1, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated"));
    CHECK(refused(file.data, 1000, EINVAL, ERR_STATUS_KERNEL_DAMAGED, "truncated"));
    loader_file_close(&file);
}

int main(int argc, char **argv)
{
    uint64_t size = argc > 1 ? MIB(256) : RAM_SIZE;

    if (!mkdtemp(dir) || mem_create(&ram) < 0 || mem_add_ram(ram, GPA(0), size, NULL, &err) < 0) {
        printf("FAIL set-up\n");
        return 1;
    }
    snprintf(path, sizeof(path), "%s/kernel", dir);
    if (argc > 1) {
        real = argv[1];
        RUN(test_real_kernel);
    } else {
        RUN(test_bzimage);
        RUN(test_bzimage_refused);
        RUN(test_zero_page);
        RUN(test_vmlinux);
        RUN(test_pvh);
        RUN(test_elf_refused);
        RUN(test_notes_that_lie);
        RUN(test_foreign);
        RUN(test_arm64_refuses);
        RUN(test_probe);
        RUN(test_probe_fifo);
#ifdef HAVE_ZLIB
        RUN(test_probe_compressed);
#endif
        RUN(test_initrd);
        RUN(test_little_ram);
    }
    mem_destroy(ram);
    unlink(path);
    rmdir(dir);
    return check_done();
}
