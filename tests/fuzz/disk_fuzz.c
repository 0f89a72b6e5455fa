/*
 * libFuzzer target: what a disk image boots. The first byte chooses: a whole disk, as it goes through partition tables,
 * file systems and boot loaders' files to the bytes of a kernel; or one such file alone, on a file system that has it.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/text_fs.h"

#define FUZZ_MAX_FILE MIB(1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_disk {
    const uint8_t *data;
    uint64_t got[2];
};

static int fuzz_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    const struct fuzz_disk *d = opaque;

    memcpy(buf, d->data + off, len);
    return 0;
}

static int fuzz_put(void *opaque, enum disk_file which, const void *data, size_t len)
{
    struct fuzz_disk *d = opaque;

    (void)data;
    d->got[which] += len;
    return 0;
}

static void fuzz_whole(const uint8_t *data, size_t size)
{
    struct fuzz_disk d = {.data = data};
    struct disk_request rq = {
        .size = size, .read = fuzz_read, .put = fuzz_put, .opaque = &d, .max_file = FUZZ_MAX_FILE};
    struct disk_boot *b = malloc(sizeof(*b));
    struct err e = {0};
    int r = b ? disk_find_boot(b, &rq, &e) : 0;

    /* A refusal has its sentence; what was found is a kernel, and everything in bounds. */
    if (!b || (r < 0 && (e.code != -r || !e.msg[0])) || (r >= 0 && (!d.got[DISK_KERNEL] || !b->kernel[0])) ||
        d.got[DISK_KERNEL] > FUZZ_MAX_FILE || d.got[DISK_INITRD] > FUZZ_MAX_FILE + 4 ||
        strnlen(b->cmdline, sizeof(b->cmdline)) == sizeof(b->cmdline))
        abort();
    free(b);
}

static void fuzz_file(unsigned kind, const char *text, size_t size)
{
    static const char *const paths[] = {"/grub/grub.cfg", "/loader/entries/a-1.conf", "/extlinux.conf"};
    static struct text_fs t;
    struct boot_entry b = {.title = NULL};
    bool found;

    text_fs_init(&t);
    text_fs_add(&t, paths[kind], text, size);
    text_fs_add(&t, "/grub/grubenv", "saved_entry=1\n", 14);
    text_fs_add(&t, "/vmlinuz", "kernel", 6);
    text_fs_add(&t, "/initrd", "initrd", 6);
    if (kind == 1)
        text_fs_add(&t, "/grub/grub.cfg", "blscfg", 6);
    found = kind == 2 ? extlinux_boot(&t.disk, t.fs, paths[2], &b) : grub_boot(&t.disk, t.fs, paths[0], "/grub", &b);
    if (found && (!b.kernel.path || !b.cmdline || !b.from || b.ninitrds > BOOT_MAX_INITRDS))
        abort();
    text_fs_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 3)
        fuzz_file((data[0] & 3) - 1, (const char *)data + 1, size - 1);
    else
        fuzz_whole(data + 1, size - 1);
    return 0;
}
