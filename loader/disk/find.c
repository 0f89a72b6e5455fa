/*
 * Which kernel a disk boots. What the firmware would start comes first: a GRUB or systemd-boot in the ESP; then GRUB's
 * configuration, boot loader entries and extlinux.conf wherever they are; then the links and the newest kernel in /boot
 * of a system without a boot loader.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "loader/disk/disk_int.h"

#define FIND_CHUNK KIB(256)
#define FIND_MAX_VENDORS 16

/* ---- files that an entry names ---- */

/* A path as the boot loader sees it, or where the running system has it mounted. */
static const char *boot_path(struct fs *fs, const char *path)
{
    const char *other;

    if (fs_is_file(fs, path))
        return path;
    if (!strncmp(path, "/boot/", 6))
        other = path + 5;
    else
        other = disk_printf(fs->disk, "/boot%s%s", *path == '/' ? "" : "/", path);
    return other && fs_is_file(fs, other) ? other : NULL;
}

bool boot_set_kernel(struct boot_entry *b, struct fs *fs, const char *path)
{
    const char *found = boot_path(fs, path);

    if (!found)
        return false;
    b->kernel = (struct boot_file){fs, found};
    return true;
}

bool boot_add_initrd(struct boot_entry *b, struct fs *fs, const char *path)
{
    const char *found = boot_path(fs, path);

    if (!found || b->ninitrds == BOOT_MAX_INITRDS)
        return false;
    b->initrd[b->ninitrds++] = (struct boot_file){fs, found};
    return true;
}

/* ---- partitions ---- */

/* What a partition holds that nothing here reads; for the message. */
static const char *find_foreign(struct disk *d, const struct disk_part *p)
{
    static const struct {
        uint64_t at;
        const char *magic, *is;
    } known[] = {
        {0, "XFSB", "an XFS file system"},
        {0x10040, "_BHRfS_M", "a btrfs file system"},
        {0x400, "\x10\x20\xf5\xf2", "an F2FS file system"},
        {0x218, "LVM2 001", "an LVM volume"},
        {0, "LUKS\xba\xbe", "an encrypted volume"},
        {0, "hsqs", "a squashfs file system"},
        {0x8001, "CD001", "an ISO 9660 file system"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        char b[8];
        size_t n = strlen(known[i].magic);

        if (disk_part_read(d, p, known[i].at, b, n) == 0 && !memcmp(b, known[i].magic, n))
            return known[i].is;
    }
    return "nothing known";
}

static void find_partitions(struct disk *d)
{
    if (!gpt_read(d) && !mbr_read(d)) {
        disk_add_part(d, 0, 0, d->rq->size);
    }
    for (unsigned i = 0; i < d->nparts && !d->exhausted; i++) {
        struct disk_part *p = &d->part[i];

        if (ext_open(&p->fs, d, p) != -ENOENT)
            continue;
        if (fat_open(&p->fs, d, p) != -ENOENT)
            continue;
        p->is = find_foreign(d, p);
    }
}

/* ---- the ways to boot ---- */

static const char *folder_of(struct disk *d, const char *path)
{
    return disk_str(d, path, (size_t)(strrchr(path, '/') - path));
}

static bool try_grub(struct disk *d, struct fs *fs, const char *path, struct boot_entry *out)
{
    const char *folder = folder_of(d, path);

    return folder && fs_is_file(fs, path) && grub_boot(d, fs, path, folder, out);
}

struct vendors {
    struct disk *d;
    const char *name[FIND_MAX_VENDORS];
    unsigned n;
};

static int find_vendor(void *opaque, const char *name)
{
    struct vendors *v = opaque;

    if (name[0] != '.')
        v->name[v->n++] = disk_str(v->d, name, strlen(name));
    return v->n == FIND_MAX_VENDORS;
}

/* The ESP: EFI/VENDOR/grub.cfg is a stub that finds the real one. EFI/BOOT is for when no vendor is known. */
static bool try_esp(struct disk *d, struct fs *fs, struct boot_entry *out)
{
    struct vendors v = {.d = d};

    if (!fs_is_dir(fs, "/EFI"))
        return false;
    if (fs_is_dir(fs, "/EFI/systemd") && bls_boot(d, fs, "", out))
        return true;
    fs_list(fs, "/EFI", find_vendor, &v);
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < v.n; i++) {
            const char *path = v.name[i] ? disk_printf(d, "/EFI/%s/grub.cfg", v.name[i]) : NULL;

            if (path && (strcasecmp(v.name[i], "BOOT") == 0) == (pass == 1) && try_grub(d, fs, path, out))
                return true;
        }
    return false;
}

static bool try_configured(struct disk *d, struct fs *fs, struct boot_entry *out)
{
    static const char *const grub[] = {"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg",
                                       "/grub2/grub.cfg"};
    static const char *const roots[] = {"", "/boot"};
    static const char *const extlinux[] = {"/boot/extlinux/extlinux.conf", "/boot/extlinux.conf",
                                           "/extlinux/extlinux.conf", "/extlinux.conf"};

    for (unsigned i = 0; i < ARRAY_SIZE(grub); i++)
        if (try_grub(d, fs, grub[i], out))
            return true;
    for (unsigned i = 0; i < ARRAY_SIZE(roots); i++)
        if (bls_boot(d, fs, roots[i], out))
            return true;
    for (unsigned i = 0; i < ARRAY_SIZE(extlinux); i++)
        if (fs_is_file(fs, extlinux[i]) && extlinux_boot(d, fs, extlinux[i], out))
            return true;
    return false;
}

/* ---- a system without a boot loader ---- */

struct newest {
    struct disk *d;
    const char *name;
};

static int find_newest(void *opaque, const char *name)
{
    struct newest *n = opaque;

    if (strncmp(name, "vmlinuz-", 8) != 0 || strstr(name, "rescue") || strstr(name, ".old") || strstr(name, ".bak"))
        return 0;
    if (!n->name || boot_version_compare(name, n->name) > 0)
        n->name = disk_str(n->d, name, strlen(name));
    return 0;
}

/* The folder of the file system with the root, and so what root= says: that with /etc, or `fs` itself. */
static const char *find_root(struct disk *d, const struct fs *fs)
{
    const struct disk_part *p = fs->part;

    for (unsigned i = 0; i < d->nparts; i++)
        if (d->part[i].fs && fs_is_dir(d->part[i].fs, "/etc") && fs_is_dir(d->part[i].fs, "/usr")) {
            p = &d->part[i];
            break;
        }
    return p->uuid[0] ? disk_printf(d, "root=PARTUUID=%s rw", p->uuid) : "root=/dev/vda rw";
}

static bool take_plain(struct disk *d, struct fs *fs, const char *kernel, const char *const *initrds, unsigned n,
                       struct boot_entry *out)
{
    struct boot_entry b = {.from = kernel, .from_fs = fs};

    if (!boot_set_kernel(&b, fs, kernel))
        return false;
    for (unsigned i = 0; i < n && !b.ninitrds; i++)
        if (initrds[i])
            boot_add_initrd(&b, fs, initrds[i]);
    b.cmdline = find_root(d, fs);
    *out = b;
    return b.cmdline != NULL;
}

static bool try_links(struct disk *d, struct fs *fs, struct boot_entry *out)
{
    static const char *const kernels[] = {"/vmlinuz", "/boot/vmlinuz", "/boot/Image", "/Image"};
    static const char *const initrds[] = {"/initrd.img", "/boot/initrd.img", "/boot/initrd", "/initrd"};

    for (unsigned i = 0; i < ARRAY_SIZE(kernels); i++)
        if (fs_is_file(fs, kernels[i]) && take_plain(d, fs, kernels[i], initrds, ARRAY_SIZE(initrds), out))
            return true;
    return false;
}

static bool try_newest(struct disk *d, struct fs *fs, struct boot_entry *out)
{
    static const char *const folders[] = {"/boot", ""};

    for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
        struct newest n = {.d = d};
        const char *f = folders[i], *version;

        fs_list(fs, *f ? f : "/", find_newest, &n);
        if (!n.name)
            continue;
        version = n.name + strlen("vmlinuz-");

        const char *initrds[] = {
            disk_printf(d, "%s/initrd.img-%s", f, version), disk_printf(d, "%s/initramfs-%s.img", f, version),
            disk_printf(d, "%s/initrd-%s", f, version), disk_printf(d, "%s/initramfs-%s", f, version)};
        const char *kernel = disk_printf(d, "%s/%s", f, n.name);

        if (kernel && take_plain(d, fs, kernel, initrds, ARRAY_SIZE(initrds), out))
            return true;
    }
    return false;
}

static bool find_entry(struct disk *d, struct boot_entry *out)
{
    static bool (*const ways[])(struct disk * d, struct fs * fs, struct boot_entry * out) = {try_esp, try_configured,
                                                                                             try_links, try_newest};

    for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
        for (unsigned i = 0; i < d->nparts; i++)
            if (d->part[i].fs && !d->exhausted && ways[w](d, d->part[i].fs, out))
                return true;
    return false;
}

/* ---- the outcome ---- */

static int find_nothing(struct disk *d, struct err *e)
{
    char text[384] = "";
    size_t n = 0;

    if (d->exhausted)
        return err_set(e, E2BIG, "its tables and scripts take more work to read than any that boot");
    for (unsigned i = 0; i < d->nparts && n < sizeof(text) - 1; i++) {
        const struct disk_part *p = &d->part[i];
        const char *is = p->fs ? "no kernel" : p->is;

        if (p->number)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%spartition %u: %s", n ? ", " : "", p->number, is);
        else
            n += (size_t)snprintf(text + n, sizeof(text) - n, "no partition table, %s", is);
    }
    return err_set(e, ENOENT,
                   "no kernel was found: looked for grub.cfg, loader/entries, extlinux.conf and vmlinuz on ext4 and "
                   "FAT (%s)",
                   d->nparts ? text : "no partition is usable");
}

static int find_copy(struct disk *d, const struct boot_file *f, enum disk_file which, uint64_t *total, struct err *e)
{
    const struct disk_request *rq = d->rq;
    struct fs_node n;
    uint8_t *buf;
    int r = fs_walk(f->fs, f->path, &n);

    if (r < 0)
        return err_set(e, -r, "%s cannot be read from the image", f->path);
    if (n.size == 0)
        return err_set(e, EINVAL, "%s in the image is empty", f->path);
    if (n.size > rq->max_file || *total > rq->max_file - n.size)
        return err_set_status(e, ERR_STATUS_MEMORY, EFBIG, "%s in the image is larger than the guest's memory",
                              f->path);
    buf = malloc(FIND_CHUNK);
    if (!buf)
        return err_set(e, ENOMEM, "not enough memory to read %s", f->path);
    for (uint64_t off = 0; off < n.size && r >= 0;) {
        r = f->fs->ops->read(f->fs, &n, off, buf, (size_t)MIN(n.size - off, FIND_CHUNK));
        if (r == 0)
            r = -EIO;
        if (r < 0) {
            err_set(e, -r, "%s cannot be read from the image, it may be damaged", f->path);
            break;
        }
        off += (uint64_t)r;
        *total += (uint64_t)r;
        r = rq->put(rq->opaque, which, buf, (size_t)r);
        if (r < 0)
            err_set(e, -r, "no room for %s of the image", f->path);
    }
    free(buf);
    return MIN(r, 0);
}

static int find_copy_all(struct disk *d, const struct boot_entry *b, struct err *e)
{
    static const uint8_t zeroes[4];
    uint64_t total = 0;
    int r = find_copy(d, &b->kernel, DISK_KERNEL, &total, e);

    total = 0;
    for (unsigned i = 0; i < b->ninitrds && r >= 0; i++) {
        r = find_copy(d, &b->initrd[i], DISK_INITRD, &total, e);
        /* Archives in a row begin at multiples of four. */
        if (r >= 0 && i + 1 < b->ninitrds && total % 4)
            r = d->rq->put(d->rq->opaque, DISK_INITRD, zeroes, 4 - total % 4);
        total = align_up(total, 4);
    }
    return r;
}

static void find_describe(struct disk_boot *out, const struct boot_entry *b)
{
    const struct disk_part *p = b->from_fs->part;
    char part[32] = "";
    size_t n = 0;

    if (p->number)
        snprintf(part, sizeof(part), " on partition %u", p->number);
    snprintf(out->kernel, sizeof(out->kernel), "%s", b->kernel.path);
    for (unsigned i = 0; i < b->ninitrds && n < sizeof(out->initrd); i++)
        n += (size_t)snprintf(out->initrd + n, sizeof(out->initrd) - n, "%s%s", i ? " " : "", b->initrd[i].path);
    if (b->title && *b->title)
        snprintf(out->where, sizeof(out->where), "\"%.100s\" of %.100s%s", b->title, b->from, part);
    else
        snprintf(out->where, sizeof(out->where), "%.200s%s", b->from, part);
}

int disk_find_boot(struct disk_boot *out, const struct disk_request *rq, struct err *e)
{
    struct disk *d = malloc(sizeof(*d));
    struct boot_entry b;
    int r;

    memset(out, 0, sizeof(*out));
    if (!d)
        return err_set(e, ENOMEM, "not enough memory");
    disk_init(d, rq);
    find_partitions(d);
    if (!find_entry(d, &b)) {
        r = find_nothing(d, e);
        goto out;
    }
    if (strlen(b.cmdline) >= sizeof(out->cmdline)) {
        r = err_set(e, E2BIG, "the kernel command line in %s has %zu characters", b.from, strlen(b.cmdline));
        goto out;
    }
    strcpy(out->cmdline, b.cmdline);
    find_describe(out, &b);
    memcpy(out->warning, d->warning, sizeof(out->warning));
    r = find_copy_all(d, &b, e);
out:
    disk_free(d);
    free(d);
    return r;
}
