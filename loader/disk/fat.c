/*
 * FAT12, FAT16 and FAT32 with long names, read only (Microsoft's "FAT File System Specification", 1.03; UEFI's ESP is
 * one). The number of clusters says which of the three it is. Chains are walked with a bound, the number of clusters,
 * so that one that bites its tail ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "loader/disk/disk_int.h"

#define FAT12_MAX 4085 /* fewer clusters than that */
#define FAT16_MAX 65525
#define FAT_DIR_MAX MIB(2) /* 65536 entries */
#define FAT_ENTRY 32
#define FAT_LONG_CHARS 13
#define FAT_LONG_MAX 20 /* entries of one name */
#define FAT_ATTR_VOLUME 0x08
#define FAT_ATTR_DIR 0x10
#define FAT_ATTR_LONG 0x0f
#define FAT_CASE_BASE 0x08
#define FAT_CASE_EXT 0x10
#define FAT_ROOT_FIXED UINT64_MAX /* the root of FAT12 and FAT16, which is no chain */

struct fat {
    struct fs fs;
    unsigned bits; /* 12, 16 or 32 */
    uint32_t cluster_size;
    uint32_t clusters; /* numbered from 2 */
    uint64_t table, table_size, root, root_size, data;
    uint32_t root_cluster;
    /* Where the last read of a file ended: sequential reads do not walk its chain again. */
    uint32_t hint_first, hint_index, hint_cluster;
};

/* A name that is being put together from its entries, the last of which comes first. */
struct fat_long {
    uint16_t text[FAT_LONG_MAX * FAT_LONG_CHARS];
    unsigned left; /* entries still to come; 0 with `n`: whole */
    unsigned n;
    uint8_t sum;
};

struct fat_found {
    char name[FAT_LONG_MAX * FAT_LONG_CHARS * 3 + 1], alias[16];
    struct fs_node node;
};

static struct fat *fat_of(struct fs *fs)
{
    return container_of(fs, struct fat, fs);
}

static int fat_part_read(struct fat *f, uint64_t off, void *buf, size_t len)
{
    return disk_part_read(f->fs.disk, f->fs.part, off, buf, len);
}

/* The cluster behind `c`: 0 at the chain's end and where the table says nonsense; or a negative errno. */
static int64_t fat_next(struct fat *f, uint32_t c)
{
    uint64_t off = f->bits == 12 ? c + c / 2 : (uint64_t)c * (f->bits / 8);
    uint8_t b[4] = {0};
    unsigned n = f->bits == 32 ? 4 : 2;
    uint32_t next;
    int r;

    if (!range_within(off, n, f->table_size))
        return 0;
    r = fat_part_read(f, f->table + off, b, n);
    if (r < 0)
        return r;
    next = f->bits == 32 ? le32_get(b) & 0x0fffffff : le16_get(b);
    if (f->bits == 12)
        next = c & 1 ? next >> 4 : next & 0xfff;
    return next >= 2 && next - 2 < f->clusters ? next : 0;
}

/* Reads from a chain (or the fixed root); short where that ends. */
static int fat_chain_read(struct fat *f, uint64_t first, uint64_t off, uint8_t *buf, size_t len)
{
    uint32_t index, want = (uint32_t)MIN(off / f->cluster_size, (uint64_t)UINT32_MAX);
    size_t done = 0;
    int64_t c;
    int r;

    if (first == FAT_ROOT_FIXED) {
        size_t n = off < f->root_size ? MIN(len, (size_t)(f->root_size - off)) : 0;

        r = fat_part_read(f, f->root + off, buf, n);
        return r < 0 ? r : (int)n;
    }
    if (first < 2 || first - 2 >= f->clusters || want >= f->clusters)
        return 0;
    c = (int64_t)first;
    index = 0;
    if (f->hint_first == first && f->hint_index <= want) {
        c = f->hint_cluster;
        index = f->hint_index;
    }
    for (; index < want; index++)
        if ((c = fat_next(f, (uint32_t)c)) <= 0)
            return (int)c;
    while (done < len) {
        uint64_t in = (off + done) % f->cluster_size;
        size_t n = MIN(len - done, (size_t)(f->cluster_size - in));

        r = fat_part_read(f, f->data + (uint64_t)(c - 2) * f->cluster_size + in, buf + done, n);
        if (r < 0)
            return r;
        done += n;
        f->hint_first = (uint32_t)first;
        f->hint_index = index;
        f->hint_cluster = (uint32_t)c;
        if (done == len)
            break;
        if (++index >= f->clusters || (c = fat_next(f, (uint32_t)c)) < 0)
            return c < 0 ? (int)c : (int)done;
        if (c == 0)
            break;
    }
    return (int)done;
}

/* ---- names ---- */

static uint8_t fat_sum(const uint8_t *name)
{
    uint8_t sum = 0;

    for (int i = 0; i < 11; i++)
        sum = (uint8_t)((sum >> 1 | sum << 7) + name[i]);
    return sum;
}

static void fat_long_add(struct fat_long *l, const uint8_t *e)
{
    static const uint8_t places[FAT_LONG_CHARS] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
    unsigned order = e[0] & 0x3f;

    if (e[0] & 0x40) {
        l->n = order <= FAT_LONG_MAX ? order : 0;
        l->left = l->n;
        l->sum = e[13];
    }
    if (!l->n || order != l->left || order == 0 || e[13] != l->sum) {
        l->n = 0;
        return;
    }
    l->left--;
    for (unsigned i = 0; i < FAT_LONG_CHARS; i++)
        l->text[l->left * FAT_LONG_CHARS + i] = le16_get(e + places[i]);
}

/* UTF-16 to UTF-8; what is outside the first plane is of no use in a name that we look for. */
static void fat_long_text(const struct fat_long *l, char *out)
{
    for (unsigned i = 0; i < l->n * FAT_LONG_CHARS && l->text[i]; i++) {
        uint16_t c = l->text[i];

        if (c < 0x80) {
            *out++ = (char)c;
        } else if (c < 0x800) {
            *out++ = (char)(0xc0 | c >> 6);
            *out++ = (char)(0x80 | (c & 0x3f));
        } else {
            *out++ = (char)(0xe0 | c >> 12);
            *out++ = (char)(0x80 | (c >> 6 & 0x3f));
            *out++ = (char)(0x80 | (c & 0x3f));
        }
    }
    *out = '\0';
}

static void fat_short_text(const uint8_t *e, char *out)
{
    for (int i = 0; i < 11; i++) {
        bool lower = e[12] & (i < 8 ? FAT_CASE_BASE : FAT_CASE_EXT);
        char c = (char)(i == 0 && e[0] == 0x05 ? 0xe5 : e[i]);

        if (i == 8 && e[8] != ' ')
            *out++ = '.';
        if (c != ' ')
            *out++ = lower && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    *out = '\0';
}

/* ---- directories ---- */

static void fat_fill(const struct fat *f, const uint8_t *e, struct fs_node *out)
{
    uint32_t first = le16_get(e + 26) | (f->bits == 32 ? (uint32_t)le16_get(e + 20) << 16 : 0);

    out->type = e[11] & FAT_ATTR_DIR ? FS_DIR : FS_FILE;
    out->id = first;
    out->aux = 0;
    out->size = out->type == FS_FILE ? le32_get(e + 28) : 0;
}

/* Calls fn for each entry until it returns nonzero. */
static int fat_each(struct fat *f, const struct fs_node *dir, int (*fn)(void *opaque, const struct fat_found *x),
                    void *opaque)
{
    struct fat_found *x = malloc(sizeof(*x));
    struct fat_long l = {.n = 0};
    int r = x ? 0 : -ENOMEM;

    for (uint64_t off = 0; r == 0 && off < FAT_DIR_MAX; off += FAT_ENTRY) {
        uint8_t e[FAT_ENTRY];

        r = fat_chain_read(f, dir->id, off, e, sizeof(e));
        if (r < (int)sizeof(e) || e[0] == 0) {
            r = r < 0 ? r : 0;
            break;
        }
        r = 0;
        if (e[0] == 0xe5) {
            l.n = 0;
        } else if ((e[11] & 0x3f) == FAT_ATTR_LONG) {
            fat_long_add(&l, e);
        } else {
            if (!(e[11] & FAT_ATTR_VOLUME) && e[0] != '.') {
                fat_short_text(e, x->alias);
                strcpy(x->name, x->alias);
                if (l.n && !l.left && l.sum == fat_sum(e))
                    fat_long_text(&l, x->name);
                fat_fill(f, e, &x->node);
                r = fn(opaque, x);
            }
            l.n = 0;
        }
    }
    free(x);
    return r;
}

struct fat_search {
    const char *name;
    struct fs_node *out;
};

static int fat_match(void *opaque, const struct fat_found *x)
{
    struct fat_search *s = opaque;

    if (strcasecmp(s->name, x->name) != 0 && strcasecmp(s->name, x->alias) != 0)
        return 0;
    *s->out = x->node;
    return 1;
}

static int fat_lookup(struct fs *fs, const struct fs_node *dir, const char *name, struct fs_node *out)
{
    struct fat_search s = {name, out};
    int r = fat_each(fat_of(fs), dir, fat_match, &s);

    return r == 0 ? -ENOENT : MIN(r, 0);
}

struct fat_listing {
    fs_list_fn fn;
    void *opaque;
};

static int fat_say(void *opaque, const struct fat_found *x)
{
    const struct fat_listing *l = opaque;

    return l->fn(l->opaque, x->name);
}

static int fat_list(struct fs *fs, const struct fs_node *dir, fs_list_fn fn, void *opaque)
{
    struct fat_listing l = {fn, opaque};

    return fat_each(fat_of(fs), dir, fat_say, &l);
}

static int fat_root(struct fs *fs, struct fs_node *out)
{
    struct fat *f = fat_of(fs);

    *out = (struct fs_node){.type = FS_DIR, .id = f->bits == 32 ? f->root_cluster : FAT_ROOT_FIXED};
    return 0;
}

static int fat_read(struct fs *fs, const struct fs_node *file, uint64_t off, void *buf, size_t len)
{
    if (off >= file->size)
        return 0;
    len = MIN(MIN(len, (size_t)(file->size - off)), (size_t)INT32_MAX);
    return fat_chain_read(fat_of(fs), file->id, off, buf, len);
}

static void fat_close(struct fs *fs)
{
    free(fat_of(fs));
}

static const struct fs_ops fat_ops = {
    .root = fat_root,
    .lookup = fat_lookup,
    .list = fat_list,
    .read = fat_read,
    .close = fat_close,
};

/* ---- opening ---- */

static void fat_identity(struct fat *f, const uint8_t *b)
{
    const uint8_t *x = b + (f->bits == 32 ? 66 : 38); /* its own signature, then identity and label */
    int n = 11;

    if (x[0] != 0x29 && x[0] != 0x28)
        return;
    snprintf(f->fs.uuid, sizeof(f->fs.uuid), "%04X-%04X", le16_get(x + 3), le16_get(x + 1));
    while (n && x[4 + n] == ' ')
        n--;
    memcpy(f->fs.label, x + 5, (size_t)n);
}

static bool fat_geometry(struct fat *f, const uint8_t *b, uint64_t part_size)
{
    uint32_t sector = le16_get(b + 11), per_cluster = b[13], reserved = le16_get(b + 14), tables = b[16];
    uint32_t root_entries = le16_get(b + 17), total = le16_get(b + 19), table = le16_get(b + 22);
    uint64_t root_at, data_at, entries;

    if (sector < 512 || sector > 4096 || !is_pow2(sector) || !is_pow2(per_cluster) || !reserved || !tables ||
        tables > 4)
        return false;
    total = total ? total : le32_get(b + 32);
    table = table ? table : le32_get(b + 36);
    root_at = reserved + (uint64_t)tables * table;
    data_at = root_at + ((uint64_t)root_entries * FAT_ENTRY + sector - 1) / sector;
    if (!table || data_at >= total || (uint64_t)total * sector > part_size)
        return false;
    f->cluster_size = sector * per_cluster;
    f->clusters = (uint32_t)((total - data_at) / per_cluster);
    f->bits = f->clusters < FAT12_MAX ? 12 : f->clusters < FAT16_MAX ? 16 : 32;
    f->table = (uint64_t)reserved * sector;
    f->table_size = (uint64_t)table * sector;
    f->root = root_at * sector;
    f->root_size = (uint64_t)root_entries * FAT_ENTRY;
    f->data = data_at * sector;
    f->root_cluster = le32_get(b + 44);
    /* A table that is too short for its clusters ends them. */
    entries = f->table_size * 8 / f->bits;
    if (entries < 3 || (f->bits == 32) != (root_entries == 0))
        return false;
    f->clusters = (uint32_t)MIN((uint64_t)f->clusters, entries - 2);
    return true;
}

int fat_open(struct fs **out, struct disk *d, struct disk_part *p)
{
    uint8_t b[512];
    struct fat *f;

    if (p->size < 512 || disk_part_read(d, p, 0, b, sizeof(b)) < 0 || le16_get(b + 510) != 0xaa55)
        return -ENOENT;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    if (!fat_geometry(f, b, p->size)) {
        free(f);
        return -ENOENT;
    }
    f->fs.ops = &fat_ops;
    f->fs.disk = d;
    f->fs.part = p;
    fat_identity(f, b);
    *out = &f->fs;
    return 0;
}
