/*
 * ext2, ext3 and ext4 by libext2fs, over the disk's own reads. The library trusts the superblock's sizes more than a
 * hostile image deserves: they are checked here before it sees them. It reads without replaying the journal; what a
 * machine that was not shut down had not written back to its place is not seen, and that is said.
 */
#include <errno.h>
#include <stdio.h>

#include "loader/disk/disk_int.h"

#define SB_OFFSET 1024
#define SB_SIZE 1024
#define SB_MAGIC 56
#define SB_INCOMPAT_RECOVER BIT32(2)
#define EXT_MAX_GROUPS BIT64(18)

#ifdef HAVE_EXT2FS

#include <ext2fs/ext2fs.h>
#include <stdlib.h>

struct ext {
    struct fs fs;
    ext2_filsys lib;
    /* The file read last stays open, with the blocks' map that the library has of it. */
    ext2_file_t file;
    ext2_ino_t file_ino;
};

static struct ext *ext_of(struct fs *fs)
{
    return container_of(fs, struct ext, fs);
}

/* ---- the library's view of the partition ---- */

static struct struct_io_manager ext_io;
/* Its open gets a name only. */
static __thread struct ext *ext_opening;

static errcode_t ext_io_open(const char *name, int flags, io_channel *out)
{
    io_channel c = calloc(1, sizeof(*c));

    (void)flags;
    if (!c || !(c->name = strdup(name))) {
        free(c);
        return EXT2_ET_NO_MEMORY;
    }
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->manager = &ext_io;
    c->block_size = 1024;
    c->refcount = 1;
    c->private_data = ext_opening;
    *out = c;
    return 0;
}

static errcode_t ext_io_close(io_channel c)
{
    if (--c->refcount > 0)
        return 0;
    free(c->name);
    free(c);
    return 0;
}

static errcode_t ext_io_set_blksize(io_channel c, int size)
{
    c->block_size = size;
    return 0;
}

/* `count` is blocks, or bytes where it is negative. */
static errcode_t ext_io_read(io_channel c, unsigned long long block, int count, void *buf)
{
    struct ext *x = c->private_data;
    uint64_t size = (uint64_t)c->block_size;
    uint64_t len = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * size;

    if (block > x->fs.part->size / size || disk_part_read(x->fs.disk, x->fs.part, block * size, buf, (size_t)len) < 0)
        return EXT2_ET_SHORT_READ;
    return 0;
}

static errcode_t ext_io_read_32(io_channel c, unsigned long block, int count, void *buf)
{
    return ext_io_read(c, block, count, buf);
}

static errcode_t ext_io_write(io_channel c, unsigned long long block, int count, const void *buf)
{
    (void)c, (void)block, (void)count, (void)buf;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t ext_io_write_32(io_channel c, unsigned long block, int count, const void *buf)
{
    return ext_io_write(c, block, count, buf);
}

static errcode_t ext_io_flush(io_channel c)
{
    (void)c;
    return 0;
}

static struct struct_io_manager ext_io = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "pipit",
    .open = ext_io_open,
    .close = ext_io_close,
    .set_blksize = ext_io_set_blksize,
    .read_blk = ext_io_read_32,
    .write_blk = ext_io_write_32,
    .flush = ext_io_flush,
    .read_blk64 = ext_io_read,
    .write_blk64 = ext_io_write,
};

/* ---- files and folders ---- */

static int ext_node(struct ext *x, ext2_ino_t ino, struct fs_node *out)
{
    struct ext2_inode inode;

    if (ino == 0 || ino > x->lib->super->s_inodes_count || ext2fs_read_inode(x->lib, ino, &inode))
        return -EIO;
    *out = (struct fs_node){
        .type = LINUX_S_ISDIR(inode.i_mode)   ? FS_DIR
                : LINUX_S_ISREG(inode.i_mode) ? FS_FILE
                : LINUX_S_ISLNK(inode.i_mode) ? FS_LINK
                                              : FS_OTHER,
        .id = ino,
        .size = EXT2_I_SIZE(&inode),
    };
    return 0;
}

static int ext_root(struct fs *fs, struct fs_node *out)
{
    return ext_node(ext_of(fs), EXT2_ROOT_INO, out);
}

static int ext_lookup(struct fs *fs, const struct fs_node *dir, const char *name, struct fs_node *out)
{
    struct ext *x = ext_of(fs);
    ext2_ino_t ino;

    if (ext2fs_lookup(x->lib, (ext2_ino_t)dir->id, name, (int)strlen(name), NULL, &ino))
        return -ENOENT;
    return ext_node(x, ino, out);
}

struct ext_listing {
    fs_list_fn fn;
    void *opaque;
    int result;
};

static int ext_say(struct ext2_dir_entry *e, int offset, int block_size, char *buf, void *opaque)
{
    struct ext_listing *l = opaque;
    char name[EXT2_NAME_LEN + 1];
    int len = ext2fs_dirent_name_len(e);

    (void)offset, (void)block_size, (void)buf;
    if (!e->inode || len <= 0 || len > EXT2_NAME_LEN)
        return 0;
    memcpy(name, e->name, (size_t)len);
    name[len] = '\0';
    l->result = l->fn(l->opaque, name);
    return l->result ? DIRENT_ABORT : 0;
}

static int ext_list(struct fs *fs, const struct fs_node *dir, fs_list_fn fn, void *opaque)
{
    struct ext_listing l = {fn, opaque, 0};

    if (ext2fs_dir_iterate(ext_of(fs)->lib, (ext2_ino_t)dir->id, 0, NULL, ext_say, &l))
        return -EIO;
    return l.result;
}

/* A short link's target is in the inode, where a file has its block map. */
static int ext_read_link(struct ext *x, const struct fs_node *link, char *buf, size_t len)
{
    struct ext2_inode inode;

    if (ext2fs_read_inode(x->lib, (ext2_ino_t)link->id, &inode))
        return -EIO;
    if (!ext2fs_is_fast_symlink(&inode))
        return -ENOENT;
    len = MIN(len, sizeof(inode.i_block));
    memcpy(buf, inode.i_block, len);
    return (int)len;
}

static int ext_read(struct fs *fs, const struct fs_node *file, uint64_t off, void *buf, size_t len)
{
    struct ext *x = ext_of(fs);
    unsigned got = 0;

    if (file->type == FS_LINK) {
        int r = ext_read_link(x, file, buf, len);

        if (r != -ENOENT)
            return r;
    }
    if (x->file_ino != file->id) {
        if (x->file)
            ext2fs_file_close(x->file);
        x->file = NULL;
        x->file_ino = 0;
        if (ext2fs_file_open(x->lib, (ext2_ino_t)file->id, 0, &x->file))
            return -EIO;
        x->file_ino = (ext2_ino_t)file->id;
    }
    if (ext2fs_file_llseek(x->file, off, EXT2_SEEK_SET, NULL) ||
        ext2fs_file_read(x->file, buf, (unsigned)MIN(len, (size_t)INT32_MAX), &got))
        return fs->disk->exhausted ? -E2BIG : -EIO;
    return (int)got;
}

static void ext_close(struct fs *fs)
{
    struct ext *x = ext_of(fs);

    if (x->file)
        ext2fs_file_close(x->file);
    ext2fs_free(x->lib);
    free(x);
}

static const struct fs_ops ext_ops = {
    .root = ext_root,
    .lookup = ext_lookup,
    .list = ext_list,
    .read = ext_read,
    .close = ext_close,
};

static void ext_identity(struct ext *x, const uint8_t *sb)
{
    const uint8_t *u = sb + 104;

    snprintf(x->fs.uuid, sizeof(x->fs.uuid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    memcpy(x->fs.label, sb + 120, 16);
}

static int ext_start(struct fs **out, struct disk *d, struct disk_part *p, const uint8_t *sb)
{
    struct ext *x = calloc(1, sizeof(*x));
    errcode_t ec;

    if (!x)
        return -ENOMEM;
    x->fs.ops = &ext_ops;
    x->fs.disk = d;
    x->fs.part = p;
    ext_opening = x;
    ec = ext2fs_open("disk", EXT2_FLAG_64BITS, 0, 0, &ext_io, &x->lib);
    ext_opening = NULL;
    if (ec) {
        free(x);
        p->is = "an ext file system that libext2fs cannot read";
        return -EIO;
    }
    ext_identity(x, sb);
    if (le32_get(sb + 96) & SB_INCOMPAT_RECOVER)
        snprintf(d->warning, sizeof(d->warning),
                 "its file system was not unmounted, and was read without what is only in its journal");
    *out = &x->fs;
    return 0;
}

#else

static int ext_start(struct fs **out, struct disk *d, struct disk_part *p, const uint8_t *sb)
{
    (void)out, (void)d, (void)sb;
    p->is = "an ext file system, which this pipit cannot read (built without libext2fs)";
    return -ENOTSUP;
}

#endif

int ext_open(struct fs **out, struct disk *d, struct disk_part *p)
{
    uint8_t sb[SB_SIZE];
    uint64_t blocks, groups, per_group, size;
    uint32_t log;

    if (p->size < SB_OFFSET + SB_SIZE || disk_part_read(d, p, SB_OFFSET, sb, sizeof(sb)) < 0 ||
        le16_get(sb + SB_MAGIC) != 0xef53)
        return -ENOENT;
    log = le32_get(sb + 24);
    per_group = le32_get(sb + 32);
    blocks = le32_get(sb + 4);
    if (le32_get(sb + 96) & 0x80) /* 64bit */
        blocks |= (uint64_t)le32_get(sb + 336) << 32;
    p->is = "a damaged ext file system";
    if (log > 6 || per_group == 0)
        return -EIO;
    size = UINT64_C(1024) << log;
    groups = blocks / per_group + 1;
    if (blocks > p->size / size || groups > EXT_MAX_GROUPS)
        return -EIO;
    return ext_start(out, d, p, sb);
}
