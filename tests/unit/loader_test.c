/*
 * Kernels and initrds: every format that is loaded, every kind that is refused, and headers that lie. Files are made
 * in a directory of their own and removed at the end.
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
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "loader/loader.h"
#include "loader/unpack.h"
#include "tests/check.h"
#include "vmm/base/util.h"

#define RAM_BASE GIB(1)
#define RAM_SIZE MIB(64)

static char dir[] = "/tmp/pipit-loader-XXXXXX";
static char path[64];
static struct mem *ram;
static struct err err;

/* Writes the file under test; its path is in `path`. */
static void put(const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
}

static int load(struct loader_kernel *k)
{
    memset(&err, 0, sizeof(err));
    memset(k, 0xee, sizeof(*k));
    return loader_kernel_load(k, ram, path, GPA(RAM_BASE), RAM_SIZE, false, &err);
}

/* Loads bytes that must be refused with `code` and a sentence that names the file and says `word`. */
static bool refused(const void *data, size_t size, int code, const char *word)
{
    struct loader_kernel k;
    int r;

    put(data, size);
    r = load(&k);
    if (r == -code && err.code == code && strstr(err.msg, path) && strstr(err.msg, word))
        return true;
    printf("  got %d: %s\n", r, err.msg);
    return false;
}

/* ---- files ---- */

static void test_file_whole(void)
{
    struct loader_file f;
    uint8_t data[5000];

    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    put(data, sizeof(data));
    CHECK_EQ(loader_file_open(&f, path, sizeof(data), &err), 0);
    CHECK_EQ(f.size, sizeof(data));
    CHECK(memcmp(f.data, data, sizeof(data)) == 0);
    loader_file_close(&f);
    CHECK_EQ(loader_file_open(&f, path, sizeof(data) - 1, &err), -EFBIG);
    CHECK(strstr(err.msg, path) && strstr(err.msg, "4999 bytes"));
    CHECK(f.data == NULL);
}

static void test_file_errors(void)
{
    struct loader_file f;
    int fd;

    CHECK_EQ(loader_file_open(&f, "/nonexistent/kernel", MIB(1), &err), -ENOENT);
    CHECK(strstr(err.msg, "/nonexistent/kernel: No such file"));
    CHECK_EQ(loader_file_open(&f, dir, MIB(1), &err), -EISDIR);
    CHECK(strstr(err.msg, dir) && strstr(err.msg, "directory"));
    CHECK_EQ(loader_file_open(&f, "/dev/zero", MIB(1), &err), -EINVAL);
    CHECK(strstr(err.msg, "/dev/zero is a device"));
    put("", 0);
    CHECK_EQ(loader_file_open(&f, path, MIB(1), &err), -EINVAL);
    CHECK(strstr(err.msg, "is empty"));
    /* A sparse file of a terabyte is refused before anything is allocated. */
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)GIB(1024)) == 0);
    close(fd);
    CHECK_EQ(loader_file_open(&f, path, MIB(64), &err), -EFBIG);
    CHECK(strstr(err.msg, "larger than the 64 MiB"));
    if (geteuid() != 0) {
        CHECK(chmod(path, 0) == 0);
        CHECK_EQ(loader_file_open(&f, path, MIB(64), &err), -EACCES);
        CHECK(strstr(err.msg, "Permission denied"));
    }
    unlink(path);
}

static void test_file_pipe(void)
{
    struct loader_file f;
    char name[64];
    int p[2];

    CHECK(pipe2(p, O_CLOEXEC) == 0);
    CHECK_EQ(write(p[1], "through a pipe", 14), 14);
    close(p[1]);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[0]);
    CHECK_EQ(loader_file_open(&f, name, 14, &err), 0);
    CHECK_EQ(f.size, 14);
    CHECK(memcmp(f.data, "through a pipe", 14) == 0);
    loader_file_close(&f);
    close(p[0]);
}

/* ---- arm64 Image ---- */

#define IMG_SIZE 8192

static void image_make(uint8_t *img, uint64_t text_offset, uint64_t size, uint64_t flags)
{
    for (unsigned i = 0; i < IMG_SIZE; i++)
        img[i] = (uint8_t)(i >> 3);
    memset(img, 0, 64);
    le64_put(img + 8, text_offset);
    le64_put(img + 16, size);
    le64_put(img + 24, flags);
    memcpy(img + 56, "ARM\x64", 4);
}

static void test_image(void)
{
    uint8_t img[IMG_SIZE], back[IMG_SIZE];
    struct loader_kernel k;

    image_make(img, 0, MIB(3), 0xa);
    put(img, sizeof(img));
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.format, LOADER_ARM64_IMAGE);
    CHECK_EQ(k.entry, RAM_BASE);
    CHECK_EQ(k.low, RAM_BASE);
    CHECK_EQ(k.high, RAM_BASE + MIB(3));
    CHECK_EQ(mem_read(ram, GPA(RAM_BASE), back, sizeof(back)), 0);
    CHECK(memcmp(img, back, sizeof(img)) == 0);

    image_make(img, 0x80000, 100, 0); /* image_size less than the file */
    put(img, sizeof(img));
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.entry, RAM_BASE + 0x80000);
    CHECK_EQ(k.high, RAM_BASE + 0x80000 + IMG_SIZE);

    image_make(img, 0x1234, 0, UINT64_MAX); /* before 3.17: offset and flags mean nothing */
    put(img, sizeof(img));
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.entry, RAM_BASE + 0x80000);
}

static void test_image_refused(void)
{
    uint8_t img[IMG_SIZE];

    image_make(img, 0, MIB(1), 1);
    CHECK(refused(img, sizeof(img), ENOEXEC, "big-endian"));
    image_make(img, 0, MIB(1), 2 << 1);
    CHECK(refused(img, sizeof(img), ENOEXEC, "16K pages"));
    image_make(img, 0, MIB(1), 3 << 1);
    CHECK(refused(img, sizeof(img), ENOEXEC, "64K pages"));
    image_make(img, MIB(2), MIB(1), 0);
    CHECK(refused(img, sizeof(img), EINVAL, "text offset"));
    image_make(img, UINT64_MAX, MIB(1), 0);
    CHECK(refused(img, sizeof(img), EINVAL, "text offset"));
    image_make(img, 0, RAM_SIZE + 1, 0);
    CHECK(refused(img, sizeof(img), EFBIG, "MiB of RAM"));
    image_make(img, 0x80000, UINT64_MAX, 0);
    CHECK(refused(img, sizeof(img), EFBIG, "MiB of RAM"));
    image_make(img, 0, MIB(1), 0);
    CHECK(refused(img, 63, ENOEXEC, "truncated"));
    CHECK(refused(img, 1, ENOEXEC, "truncated"));
}

/* The PE section table tells a truncated kernel. */
static void test_image_truncated(void)
{
    uint8_t img[IMG_SIZE];
    struct loader_kernel k;

    image_make(img, 0, MIB(1), 0);
    memcpy(img, "MZ", 2);
    le32_put(img + 60, 64);
    memset(img + 64, 0, 200);
    memcpy(img + 64, "PE\0\0\x64\xaa", 6);
    le16_put(img + 64 + 6, 2);
    le16_put(img + 64 + 20, 16); /* optional header */
    uint8_t *sec = img + 64 + 24 + 16;
    le32_put(sec + 16, 4096);
    le32_put(sec + 20, 4096);
    le32_put(sec + 40 + 16, 100);
    le32_put(sec + 40 + 20, 1000);
    put(img, sizeof(img));
    CHECK_EQ(load(&k), 0);
    CHECK(refused(img, sizeof(img) - 1, EINVAL, "speaks of 8192 bytes, there are 8191"));
    CHECK(refused(img, 64 + 24 + 16 + 79, EINVAL, "inside its PE header"));
    le32_put(sec + 16, UINT32_MAX);
    le32_put(sec + 20, UINT32_MAX);
    CHECK(refused(img, sizeof(img), EINVAL, "truncated"));
    /* A PE offset that points nowhere is no PE file: the Image header decides. */
    le32_put(img + 60, UINT32_MAX);
    put(img, sizeof(img));
    CHECK_EQ(load(&k), 0);
}

/* ---- ELF ---- */

#define ELF_SIZE 1024

/* Two segments: 100 bytes and 300 of bss at +1 MiB, 16 bytes at +2 MiB; virtual addresses are elsewhere. */
static void elf_make(uint8_t *b, Elf64_Ehdr *h, Elf64_Phdr *ph)
{
    for (unsigned i = 0; i < ELF_SIZE; i++)
        b[i] = (uint8_t)(i | 1);
    *h = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_AARCH64,
        .e_version = EV_CURRENT,
        .e_entry = 0xffff000000001008,
        .e_phoff = 64,
        .e_ehsize = 64,
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 3,
    };
    memset(ph, 0, 3 * sizeof(*ph));
    ph[0].p_type = PT_NOTE;
    ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                         .p_offset = 512,
                         .p_vaddr = 0xffff000000001000,
                         .p_paddr = RAM_BASE + MIB(1),
                         .p_filesz = 100,
                         .p_memsz = 400};
    ph[2] = (Elf64_Phdr){.p_type = PT_LOAD,
                         .p_offset = 1008,
                         .p_vaddr = 0x1000,
                         .p_paddr = RAM_BASE + MIB(2),
                         .p_filesz = 16,
                         .p_memsz = 16};
    memcpy(b, h, sizeof(*h));
    memcpy(b + 64, ph, 3 * sizeof(*ph));
}

static void test_elf(void)
{
    uint8_t b[ELF_SIZE], back[400], ff[400];
    Elf64_Ehdr h;
    Elf64_Phdr ph[3];
    struct loader_kernel k;

    memset(ff, 0xff, sizeof(ff));
    CHECK_EQ(mem_write(ram, GPA(RAM_BASE + MIB(1)), ff, sizeof(ff)), 0);
    elf_make(b, &h, ph);
    put(b, sizeof(b));
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.format, LOADER_ELF);
    CHECK_EQ(k.entry, RAM_BASE + MIB(1) + 8);
    CHECK_EQ(k.low, RAM_BASE + MIB(1));
    CHECK_EQ(k.high, RAM_BASE + MIB(2) + 16);
    CHECK_EQ(mem_read(ram, GPA(RAM_BASE + MIB(1)), back, sizeof(back)), 0);
    CHECK(memcmp(back, b + 512, 100) == 0);
    for (unsigned i = 100; i < 400; i++)
        CHECK_EQ(back[i], 0);
    CHECK_EQ(mem_read(ram, GPA(RAM_BASE + MIB(2)), back, 16), 0);
    CHECK(memcmp(back, b + 1008, 16) == 0);
}

/* Changes one field of a good file; the expression sees h and ph. */
#define ELF_BAD(change, code, word)                                                                                    \
    do {                                                                                                               \
        elf_make(b, &h, ph);                                                                                           \
        change;                                                                                                        \
        memcpy(b, &h, sizeof(h));                                                                                      \
        memcpy(b + 64, ph, sizeof(ph));                                                                                \
        CHECK(refused(b, sizeof(b), code, word));                                                                      \
    } while (0)

static void test_elf_refused(void)
{
    uint8_t b[ELF_SIZE];
    Elf64_Ehdr h;
    Elf64_Phdr ph[3];

    ELF_BAD(h.e_machine = EM_X86_64, ENOEXEC, "for x86-64");
    ELF_BAD(h.e_machine = EM_ARM, ENOEXEC, "for 32-bit Arm");
    ELF_BAD(h.e_machine = 9999, ENOEXEC, "another machine");
    ELF_BAD((h.e_ident[EI_DATA] = ELFDATA2MSB, h.e_machine = 0xb700), ENOEXEC, "big-endian");
    ELF_BAD(h.e_ident[EI_CLASS] = ELFCLASS32, ENOEXEC, "32-bit");
    ELF_BAD(h.e_type = ET_REL, ENOEXEC, "not linked");
    ELF_BAD(h.e_phnum = 0, EINVAL, "program headers");
    ELF_BAD(h.e_phnum = 0xffff, EINVAL, "program headers");
    ELF_BAD(h.e_phentsize = 1, EINVAL, "program headers");
    ELF_BAD(h.e_phoff = UINT64_MAX - 8, EINVAL, "program headers lie outside");
    ELF_BAD(h.e_phoff = ELF_SIZE - 100, EINVAL, "program headers lie outside");
    ELF_BAD(h.e_entry = 0, EINVAL, "entry point");
    ELF_BAD(h.e_entry += 400, EINVAL, "entry point");
    ELF_BAD(h.e_entry += 1, EINVAL, "entry point");
    ELF_BAD((ph[1].p_type = 0, ph[2].p_type = 0), EINVAL, "no ELF segment");
    ELF_BAD(ph[1].p_filesz = 401, EINVAL, "outside of it");
    ELF_BAD((ph[1].p_filesz = UINT64_MAX, ph[1].p_memsz = UINT64_MAX), EINVAL, "outside of it");
    ELF_BAD(ph[1].p_offset = UINT64_MAX - 10, EINVAL, "outside of it");
    ELF_BAD(ph[1].p_offset = 1000, EINVAL, "outside of it");
    ELF_BAD(ph[1].p_paddr = 0, EFBIG, "outside of the guest's RAM");
    ELF_BAD(ph[1].p_paddr = RAM_BASE + RAM_SIZE - 399, EFBIG, "outside of the guest's RAM");
    ELF_BAD(ph[1].p_paddr = UINT64_MAX - 5, EFBIG, "use arch/arm64/boot/Image");
    ELF_BAD(ph[1].p_memsz = UINT64_MAX - RAM_BASE, EFBIG, "outside of the guest's RAM");
    ELF_BAD(ph[2].p_paddr = RAM_BASE + MIB(1) + 399, EINVAL, "overlap");
    elf_make(b, &h, ph);
    CHECK(refused(b, 63, EINVAL, "inside its ELF header"));
    CHECK(refused(b, 64, EINVAL, "program headers lie outside"));
    CHECK(refused(b, 10, ENOEXEC, "not a kernel"));
}

/* ---- other kinds ---- */

static void test_foreign(void)
{
    uint8_t b[2048] = {0};

    memcpy(b + 0x202, "HdrS", 4);
    memcpy(b, "MZ", 2); /* an x86 kernel with an EFI stub */
    CHECK(refused(b, sizeof(b), ENOEXEC, "x86 Linux kernel (bzImage)"));
    memset(b, 0, sizeof(b));
    memcpy(b + 0x38, "RSC\x05", 4);
    CHECK(refused(b, sizeof(b), ENOEXEC, "RISC-V Linux kernel"));
    memset(b, 0, sizeof(b));
    memcpy(b + 0x24, "\x18\x28\x6f\x01", 4);
    CHECK(refused(b, sizeof(b), ENOEXEC, "32-bit Arm Linux kernel"));
    memset(b, 0, sizeof(b));
    memcpy(b, "MZ", 2);
    le32_put(b + 60, 128);
    memcpy(b + 128, "PE\0\0\x64\x86", 6);
    CHECK(refused(b, sizeof(b), ENOEXEC, "EFI program for x86-64"));
    CHECK(refused("\xfd"
                  "7zXZ\0junk",
                  10, ENOEXEC, "compressed with xz"));
    CHECK(refused("070701 and so on", 16, ENOEXEC, "cpio archive"));
    CHECK(refused("just some text\n", 15, ENOEXEC, "not a kernel"));
}

static void test_flat(void)
{
    uint8_t b[5000], back[5000];
    struct loader_kernel k;

    memset(b, 0x5a, sizeof(b));
    memcpy(b, "\x1f\x8b\x08", 3); /* content is not looked at */
    put(b, sizeof(b));
    CHECK_EQ(loader_kernel_load(&k, ram, path, GPA(RAM_BASE), RAM_SIZE, true, &err), 0);
    CHECK_EQ(k.format, LOADER_FLAT);
    CHECK_EQ(k.entry, RAM_BASE + LOADER_FLAT_OFFSET);
    CHECK_EQ(k.high, RAM_BASE + LOADER_FLAT_OFFSET + sizeof(b));
    CHECK_EQ(mem_read(ram, GPA(k.low), back, sizeof(back)), 0);
    CHECK(memcmp(b, back, sizeof(b)) == 0);
    CHECK_EQ(loader_kernel_load(&k, ram, path, GPA(RAM_BASE), LOADER_FLAT_OFFSET + 4999, true, &err), -EFBIG);
}

/* ---- compression ---- */

/* Compresses into malloc'ed memory as `kind`; 0 bytes where the library is not there. */
static uint8_t *squeeze(enum unpack_kind kind, const void *data, size_t size, size_t *out_size)
{
    size_t cap = size + size / 2 + 1024;
    uint8_t *out = malloc(cap);

    *out_size = 0;
    (void)data;
#ifdef HAVE_ZLIB
    if (kind == UNPACK_GZIP) {
        z_stream z = {0};
        if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
            abort();
        z.next_in = (Bytef *)(uintptr_t)data;
        z.avail_in = (uInt)size;
        z.next_out = out;
        z.avail_out = (uInt)cap;
        if (deflate(&z, Z_FINISH) != Z_STREAM_END)
            abort();
        *out_size = z.total_out;
        deflateEnd(&z);
    }
#endif
#ifdef HAVE_ZSTD
    if (kind == UNPACK_ZSTD)
        *out_size = ZSTD_compress(out, cap, data, size, 19);
#endif
    if (*out_size == 0) /* enough for the format to be recognised */
        memcpy(out, kind == UNPACK_GZIP ? "\x1f\x8b\x08\0" : "\x28\xb5\x2f\xfd", *out_size = 4);
    return out;
}

static bool have(enum unpack_kind kind)
{
#ifdef HAVE_ZLIB
    if (kind == UNPACK_GZIP)
        return true;
#endif
#ifdef HAVE_ZSTD
    if (kind == UNPACK_ZSTD)
        return true;
#endif
    (void)kind;
    return false;
}

static size_t zboot_make(uint8_t *b, const char *comp, const uint8_t *payload, size_t size)
{
    memset(b, 0, 512);
    memcpy(b, "MZ\0\0zimg", 8);
    le32_put(b + 8, 512);
    le32_put(b + 12, (uint32_t)size);
    snprintf((char *)b + 24, 32, "%s", comp);
    memcpy(b + 512, payload, size);
    return 512 + size;
}

static void check_compressed(enum unpack_kind kind, const char *comp)
{
    uint8_t img[IMG_SIZE], file[4 * IMG_SIZE], back[IMG_SIZE];
    struct loader_kernel k;
    size_t n;
    uint8_t *z;

    image_make(img, 0, MIB(1), 0);
    z = squeeze(kind, img, sizeof(img), &n);
    memcpy(file, z, n);
    free(z);
    if (!have(kind)) {
        CHECK(refused(file, n, ENOTSUP, "was built without"));
        return;
    }
    put(file, n);
    CHECK_EQ(mem_write(ram, GPA(RAM_BASE), "\xff", 1), 0);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.format, LOADER_ARM64_IMAGE);
    CHECK_EQ(mem_read(ram, GPA(RAM_BASE), back, sizeof(back)), 0);
    CHECK(memcmp(img, back, sizeof(img)) == 0);
    for (size_t cut = 4; cut < n; cut += 7)
        CHECK(refused(file, cut, EINVAL, "truncated"));
    /* The kernel's build appends the size. */
    memcpy(file + n, "\0\x20\0\0", 4);
    put(file, n + 4);
    CHECK_EQ(load(&k), 0);

    z = squeeze(kind, img, sizeof(img), &n);
    n = zboot_make(file, comp, z, n);
    put(file, n);
    CHECK_EQ(load(&k), 0);
    CHECK_EQ(k.format, LOADER_ARM64_IMAGE);
    CHECK(refused(file, n - 1, EINVAL, "zboot header speaks"));
    le32_put(file + 8, UINT32_MAX);
    CHECK(refused(file, n, EINVAL, "zboot header speaks"));
    le32_put(file + 8, 512);
    le32_put(file + 12, UINT32_MAX);
    CHECK(refused(file, n, EINVAL, "zboot header speaks"));
    le32_put(file + 12, 0);
    CHECK(refused(file, n, EINVAL, "zboot header speaks"));
    free(z);
}

static void test_gzip(void)
{
    check_compressed(UNPACK_GZIP, "gzip");
}

static void test_zstd(void)
{
    check_compressed(UNPACK_ZSTD, "zstd");
}

static void test_zboot_other(void)
{
    uint8_t file[1024];
    size_t n = zboot_make(file, "xzkern", (const uint8_t *)"payload", 7);

    CHECK(refused(file, n, ENOTSUP, "compressed with 'xzkern'"));
    memset(file + 24, 'x', 32); /* no NUL */
    CHECK(refused(file, n, ENOTSUP, "compressed with 'xxxxxxxx"));
    memcpy(file + 24, "\x1b[2J", 5);
    CHECK(refused(file, n, ENOTSUP, "compressed with '?[2J'"));
}

/* A bomb: more than RAM comes out. */
static void check_bomb(enum unpack_kind kind)
{
    size_t n, size = RAM_SIZE + 1;
    void *zeros = calloc(1, size);
    uint8_t *z;

    if (!have(kind)) {
        free(zeros);
        return;
    }
    z = squeeze(kind, zeros, size, &n);
    free(zeros);
    CHECK(n < MIB(1));
    CHECK(refused(z, n, EFBIG, "decompresses to more than 64 MiB"));
    /* One byte less fits, and turns out to be no kernel. */
    zeros = calloc(1, size - 1);
    free(z);
    z = squeeze(kind, zeros, size - 1, &n);
    free(zeros);
    CHECK(refused(z, n, ENOEXEC, "not a kernel"));
    free(z);
}

static void test_bombs(void)
{
    check_bomb(UNPACK_GZIP);
    check_bomb(UNPACK_ZSTD);
}

static void test_layers(void)
{
    uint8_t img[IMG_SIZE];
    struct loader_kernel k;
    uint8_t *data = img, *z;
    size_t n = sizeof(img);

    if (!have(UNPACK_GZIP))
        return;
    image_make(img, 0, MIB(1), 0);
    for (unsigned i = 0; i < 4; i++) {
        z = squeeze(UNPACK_GZIP, data, n, &n);
        if (data != img)
            free(data);
        data = z;
        put(data, n);
        CHECK_EQ(load(&k), i < 3 ? 0 : -EINVAL);
    }
    CHECK(strstr(err.msg, "more than 3 times"));
    free(data);
}

static void test_damaged(void)
{
    uint8_t img[IMG_SIZE];
    struct loader_kernel k;
    size_t n;
    uint8_t *z;

    if (!have(UNPACK_GZIP))
        return;
    image_make(img, 0, MIB(1), 0);
    z = squeeze(UNPACK_GZIP, img, sizeof(img), &n);
    z[n - 6] ^= 1; /* the checksum */
    put(z, n);
    CHECK_EQ(load(&k), -EINVAL);
    CHECK(strstr(err.msg, "is damaged"));
    free(z);
}

/* ---- initrd ---- */

static void test_initrd(void)
{
    uint8_t b[5000], back[5000];
    uint64_t addr, size, low = RAM_BASE + MIB(1), high = RAM_BASE + MIB(2) + 100;

    memset(b, 0x77, sizeof(b));
    put(b, sizeof(b));
    CHECK_EQ(loader_initrd_load(ram, path, GPA(low), GPA(high), &addr, &size, &err), 0);
    CHECK_EQ(addr, RAM_BASE + MIB(2) - 8192); /* 5000 bytes, below +2 MiB+100 */
    CHECK_EQ(size, sizeof(b));
    CHECK_EQ(mem_read(ram, GPA(addr), back, sizeof(back)), 0);
    CHECK(memcmp(b, back, sizeof(b)) == 0);

    CHECK_EQ(loader_initrd_load(ram, path, GPA(low), GPA(low + 4999), &addr, &size, &err), -EFBIG);
    CHECK(strstr(err.msg, path) && strstr(err.msg, "does not fit"));
    /* The room is enough, but not at a page boundary. */
    CHECK_EQ(loader_initrd_load(ram, path, GPA(low + 8), GPA(low + 5100), &addr, &size, &err), -EFBIG);
    CHECK_EQ(loader_initrd_load(ram, path, GPA(high), GPA(low), &addr, &size, &err), -EFBIG);
    CHECK_EQ(loader_initrd_load(ram, path, GPA(0), GPA(100), &addr, &size, &err), -EFBIG);
    CHECK_EQ(loader_initrd_load(ram, path, GPA(0), GPA(MIB(1)), &addr, &size, &err), -EFAULT);
    unlink(path);
    CHECK_EQ(loader_initrd_load(ram, path, GPA(low), GPA(high), &addr, &size, &err), -ENOENT);
    CHECK(strstr(err.msg, path));
}

int main(void)
{
    if (!mkdtemp(dir) || mem_create(&ram) < 0 || mem_add_ram(ram, GPA(RAM_BASE), RAM_SIZE, NULL, &err) < 0) {
        printf("FAIL set-up\n");
        return 1;
    }
    snprintf(path, sizeof(path), "%s/kernel", dir);
    RUN(test_file_whole);
    RUN(test_file_errors);
    RUN(test_file_pipe);
    RUN(test_image);
    RUN(test_image_refused);
    RUN(test_image_truncated);
    RUN(test_elf);
    RUN(test_elf_refused);
    RUN(test_foreign);
    RUN(test_flat);
    RUN(test_gzip);
    RUN(test_zstd);
    RUN(test_zboot_other);
    RUN(test_bombs);
    RUN(test_layers);
    RUN(test_damaged);
    RUN(test_initrd);
    mem_destroy(ram);
    unlink(path);
    rmdir(dir);
    return check_done();
}
