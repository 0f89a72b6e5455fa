/* Opening, closing and making qcow2 images; their backing files. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/qcow2_int.h"
#include "vmm/base/log.h"

#define CACHE_BUDGET MIB(4)
#define CHAIN_MAX 64

static int open_image(struct block **out, struct block *file, const char *path, const struct qcow2_options *o,
                      unsigned depth, struct err *e);

static void q_destroy(struct qcow2 *q)
{
    struct q_free *f;

    block_drain(q->file); /* tables may be on their way into the cache */
    while ((f = q->frees ? q->frees : q->ready)) {
        *(q->frees ? &q->frees : &q->ready) = f->next;
        free(f);
    }
    if (q->hash)
        q_cache_free(q);
    block_close(q->backing);
    block_close(q->file);
    free(q->head);
    free(q->l1);
    free(q->reftable);
    free(q->path);
    free(q);
}

static void q_close(struct block *b)
{
    struct qcow2 *q = qcow2_of(b);

    if (q->temporary) {
        /* Operations of a commit, or of giving space back, may still be on their way. */
        while (q->commit.phase || q->punching)
            block_pump(b->engine);
    } else if (!b->read_only) {
        int rc = q_commit_sync(q);
        if (rc < 0)
            log_error(q->path, "its last changes cannot be written: %s", strerror(-rc));
    }
    q_destroy(q);
}

static int q_status(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x)
{
    struct qcow2 *q = qcow2_of(b);
    struct q_map m;
    int rc = Q_BLOCKING(q, q_map(q, offset, len, NULL, &m));

    if (rc < 0)
        return rc;
    x->len = m.len;
    x->present = m.type != Q_ABSENT;
    x->zero = m.type == Q_ZEROES || (m.type == Q_ABSENT && !q->backing);
    x->data = m.type == Q_DATA || m.type == Q_PACKED;
    x->compressed = m.type == Q_PACKED;
    x->located = m.type == Q_DATA;
    x->offset = m.host;
    if (m.type == Q_ABSENT && q->backing) {
        if (offset >= q->backing->size)
            x->zero = true;
        else
            x->len = MIN(x->len, q->backing->size - offset);
    }
    return 0;
}

static const struct block_ops q_ops = {.start = q_start, .status = q_status, .close = q_close};

bool block_is_qcow2(const struct block *b)
{
    return b->ops == &q_ops;
}

const struct qcow2_header *qcow2_header(const struct block *b)
{
    return &container_of(b, const struct qcow2, b)->h;
}

struct block *qcow2_backing(struct block *b)
{
    return block_is_qcow2(b) ? qcow2_of(b)->backing : NULL;
}

struct block *qcow2_file(struct block *b)
{
    return qcow2_of(b)->file;
}

/* ---- tables ---- */

static int read_table(struct qcow2 *q, uint64_t offset, uint64_t n, uint64_t **out)
{
    uint64_t *t = calloc(MAX(n, UINT64_C(1)), sizeof(*t));
    int rc = 0;

    if (!t)
        return -ENOMEM;
    if (n)
        rc = block_run(q->file, BLOCK_READ, 0, offset, n * sizeof(*t), t);
    if (rc < 0) {
        free(t);
        return rc;
    }
    for (uint64_t i = 0; i < n; i++)
        t[i] = be64_get(&t[i]);
    *out = t;
    return 0;
}

static int load_tables(struct qcow2 *q, struct err *e)
{
    int rc = read_table(q, q->h.l1_offset, q->h.l1_size, &q->l1);

    if (rc == 0) {
        q->nreftable = ((uint64_t)q->h.reftable_clusters << q->cluster_bits) / 8;
        if (!q->b.read_only)
            rc = read_table(q, q->h.reftable_offset, q->nreftable, &q->reftable);
    }
    if (rc < 0)
        return err_set(e, -rc, "%s: its tables cannot be read: %s", q->path, strerror(-rc));
    for (uint64_t i = 0; q->reftable && i < q->nreftable; i++)
        q->reftable[i] &= QCOW2_REFTABLE_MASK;
    return 0;
}

static int load_header(struct qcow2 *q, struct err *e)
{
    uint8_t first[512];
    int rc = block_run(q->file, BLOCK_READ, 0, 0, sizeof(first), first);

    if (rc < 0)
        return err_set(e, -rc, "cannot read %s: %s", q->path, strerror(-rc));
    rc = qcow2_header_parse(first, &q->h, q->path, e);
    if (rc < 0)
        return rc;
    q->cluster_size = BIT64(q->h.cluster_bits);
    q->head = aligned_alloc(512, q->cluster_size);
    if (!q->head)
        return err_set(e, ENOMEM, "no memory for %s", q->path);
    rc = block_run(q->file, BLOCK_READ, 0, 0, q->cluster_size, q->head);
    if (rc < 0)
        return err_set(e, -rc, "cannot read %s: %s", q->path, strerror(-rc));
    return qcow2_header_extensions(q->head, q->cluster_size, &q->h, q->path, e);
}

static void set_geometry(struct qcow2 *q)
{
    q->cluster_bits = q->h.cluster_bits;
    q->extended = q->h.incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
    q->l2_entry_size = q->extended ? 16 : 8;
    q->l2_bits = q->cluster_bits - (q->extended ? 4 : 3);
    q->refblock_bits = q->cluster_bits + 3 - q->h.refcount_order;
    q->subcluster_bits = q->cluster_bits - (q->extended ? 5 : 0);
}

/* ---- backing files ---- */

char *qcow2_backing_path(const char *image, const char *backing)
{
    const char *slash = strrchr(image, '/');
    char *path = NULL;

    if (!strncmp(backing, "file:", 5))
        backing += 5;
    if (*backing == '/' || !slash)
        return strdup(backing);
    return asprintf(&path, "%.*s%s", (int)(slash - image + 1), image, backing) < 0 ? NULL : path;
}

/* Is `path` in the folder of `image`, or below it, symbolic links followed? */
static bool is_near(const char *image, const char *path)
{
    char *a = realpath(image, NULL), *b = realpath(path, NULL);
    char *slash = a ? strrchr(a, '/') : NULL;
    bool near = slash && b && !strncmp(a, b, (size_t)(slash - a) + 1);

    free(a);
    free(b);
    return near;
}

/* Have we come back to a file that is open already, further up? */
static bool in_chain(const struct stat *st, const ino_t *ino, const dev_t *dev, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (st->st_ino == ino[i] && st->st_dev == dev[i])
            return true;
    return false;
}

static ino_t chain_ino[CHAIN_MAX];
static dev_t chain_dev[CHAIN_MAX];

static int backing_format(struct qcow2 *q, const char *path, const struct qcow2_options *o, struct err *e)
{
    const char *f = q->h.backing_format;

    if (*f && strcmp(f, "raw") != 0 && strcmp(f, "qcow2") != 0)
        return err_set(e, ENOTSUP, "%s: its backing file %s has format %s; raw and qcow2 are supported", q->path, path,
                       f);
    if (*f)
        return strcmp(f, "raw") ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
    if (o->backing != BLOCK_BACKING_ALL)
        return err_set(e, EPERM,
                       "%s does not record the format of its backing file %s, and a guest may have written what it "
                       "begins with; backing=on opens it all the same",
                       q->path, path);
    return block_probe(path, e);
}

static int open_backing(struct qcow2 *q, const struct qcow2_options *o, unsigned depth, struct err *e)
{
    struct qcow2_options bo = {.backing = o->backing, .block = o->block};
    struct block *file;
    struct stat st;
    char *path;
    int rc, format;

    if (!*q->h.backing || o->backing == BLOCK_BACKING_NONE)
        return 0;
    path = qcow2_backing_path(q->path, q->h.backing);
    if (!path)
        return err_set(e, ENOMEM, "no memory for %s", q->path);
    if (stat(path, &st) < 0) {
        rc = err_set(e, errno, "%s: its backing file %s cannot be opened: %s", q->path, path, strerror(errno));
        goto out;
    }
    if (o->backing == BLOCK_BACKING_NEAR && !is_near(q->path, path)) {
        rc = err_set(e, EPERM,
                     "%s names %s as its backing file, which is not in the image's own folder; backing=on allows that",
                     q->path, path);
        goto out;
    }
    if (depth + 1 == CHAIN_MAX || in_chain(&st, chain_ino, chain_dev, depth + 1)) {
        rc = err_set(e, ELOOP, "%s: the chain of backing files %s", path,
                     depth + 1 == CHAIN_MAX ? "is too long" : "is a loop");
        goto out;
    }
    chain_ino[depth + 1] = st.st_ino;
    chain_dev[depth + 1] = st.st_dev;
    format = rc = backing_format(q, path, o, e);
    if (rc < 0)
        goto out;
    bo.block.read_only = true;
    bo.block.guard_magic = false;
    bo.block.container = format == BLOCK_FORMAT_QCOW2;
    rc = block_open_raw(&file, q->b.engine, path, &bo.block, e);
    if (rc == 0 && format == BLOCK_FORMAT_QCOW2)
        rc = open_image(&q->backing, file, path, &bo, depth + 1, e);
    else if (rc == 0)
        q->backing = file;
    if (rc < 0)
        err_prefix(e, "the backing file of %s", q->path);
out:
    free(path);
    return rc;
}

/* ---- opening ---- */

/* Before the first change: marks that others set and we do not keep true go. */
static int prepare_writing(struct qcow2 *q, const struct qcow2_options *o, struct err *e)
{
    int rc;

    if (q->h.incompatible & QCOW2_INCOMPAT_CORRUPT && !o->repairing)
        return err_set(e, EIO, "%s is marked corrupt and is not written to; `pipit-img check -r all` may repair it",
                       q->path);
    if (q->h.incompatible & QCOW2_INCOMPAT_DIRTY && !o->repairing) {
        struct qcow2_check c;
        log_warn(q->path, "it was not closed; its refcounts are made anew");
        rc = qcow2_check(&q->b, &c, true, true, NULL, e);
        if (rc < 0)
            return rc;
        if (c.corruptions > c.corruptions_fixed || c.check_errors)
            return err_set(e, EIO, "%s was not closed and cannot be repaired", q->path);
        q->h.incompatible &= ~QCOW2_INCOMPAT_DIRTY;
        q->header_dirty = true;
    }
    if (q->h.autoclear) {
        q->h.autoclear = 0;
        q->header_dirty = true;
    }
    if (!q->header_dirty || o->repairing)
        return 0;
    rc = q_header_sync(q);
    return rc < 0 ? err_set(e, -rc, "cannot write the header of %s: %s", q->path, strerror(-rc)) : 0;
}

static int open_image(struct block **out, struct block *file, const char *path, const struct qcow2_options *o,
                      unsigned depth, struct err *e)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    int rc;

    if (!q) {
        block_close(file);
        block_close(o->backing_block);
        return err_set(e, ENOMEM, "no memory for %s", path);
    }
    q->b = (struct block){.ops = &q_ops, .engine = file->engine, .fd = -1, .slot = -1};
    q->b.read_only = o->block.read_only;
    q->file = file;
    q->backing = o->backing_block;
    q->writeback = o->block.writeback;
    q->ignore_flush = o->block.ignore_flush;
    q->temporary = o->temporary;
    q_free_init(q);
    q->path = strdup(path);
    if (!q->path) {
        rc = err_set(e, ENOMEM, "no memory for %s", path);
        goto fail;
    }
    rc = load_header(q, e);
    if (rc < 0)
        goto fail;
    q->b.size = q->h.size;
    q->b.can_discard = true;
    set_geometry(q);
    q->high_water = align_up(block_raw_length(file), q->cluster_size);
    if (q_cache_init(q, CACHE_BUDGET) < 0) {
        rc = err_set(e, ENOMEM, "no memory for %s", path);
        goto fail;
    }
    rc = load_tables(q, e);
    if (rc == 0 && !q->b.read_only)
        rc = prepare_writing(q, o, e);
    if (rc == 0 && !q->backing)
        rc = open_backing(q, o, depth, e);
    if (rc < 0)
        goto fail;
    *out = &q->b;
    return 0;

fail:
    q_destroy(q);
    return rc;
}

int qcow2_open_on(struct block **out, struct block *file, const char *path, const struct qcow2_options *o,
                  struct err *e)
{
    struct stat st;

    if (fstat(block_raw_fd(file), &st) == 0) {
        chain_ino[0] = st.st_ino;
        chain_dev[0] = st.st_dev;
    }
    return open_image(out, file, path, o, 0, e);
}

int qcow2_open(struct block **out, struct block_engine *en, const char *path, const struct qcow2_options *o,
               struct err *e)
{
    struct block_options bo = o->block;
    struct block *file;

    bo.container = true;
    bo.guard_magic = false;
    bo.writeback = true; /* commits flush */
    int rc = block_open_raw(&file, en, path, &bo, e);
    if (rc < 0) {
        block_close(o->backing_block);
        return rc;
    }
    return qcow2_open_on(out, file, path, o, e);
}

int block_format_parse(const char *text, struct err *e)
{
    if (!strcmp(text, "raw"))
        return BLOCK_FORMAT_RAW;
    if (!strcmp(text, "qcow2"))
        return BLOCK_FORMAT_QCOW2;
    return err_set(e, EINVAL, "format %s is not supported; raw and qcow2 are", text);
}

/* A guest would see such a file's bytes for a disk. */
static int refuse_foreign(const char *path, const uint8_t *head, size_t n, struct err *e)
{
    static const struct {
        const char *name, *magic;
        size_t at;
    } formats[] = {
        {"VMDK", "KDMV", 0}, {"VHDX", "vhdxfile", 0}, {"VHD", "conectix", 0}, {"VDI", "\x7f\x10\xda\xbe", 0x40}};

    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        size_t len = strlen(formats[i].magic);
        if (n >= formats[i].at + len && !memcmp(head + formats[i].at, formats[i].magic, len))
            return err_set(
                e, ENOTSUP,
                "%s is a %s image; raw and qcow2 are supported (with raw as its format, it is taken as it is)", path,
                formats[i].name);
    }
    return 0;
}

int block_probe(const char *path, struct err *e)
{
    uint8_t head[0x48];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return err_set(e, errno, "cannot open %s: %s", path, strerror(errno));
    ssize_t n = pread(fd, head, sizeof(head), 0);
    close(fd);
    if (n >= QCOW2_MAGIC_LEN && !memcmp(head, QCOW2_MAGIC, QCOW2_MAGIC_LEN))
        return BLOCK_FORMAT_QCOW2;
    int rc = refuse_foreign(path, head, n < 0 ? 0 : (size_t)n, e);
    return rc < 0 ? rc : BLOCK_FORMAT_RAW;
}

int block_open(struct block **out, struct block_engine *en, const char *path, enum block_format format,
               const struct qcow2_options *o, struct err *e)
{
    struct block_options bo = o->block;
    int f = format;

    if (format == BLOCK_FORMAT_PROBE)
        f = block_probe(path, e);
    if (f < 0)
        return f;
    if (f == BLOCK_FORMAT_QCOW2)
        return qcow2_open(out, en, path, o, e);
    bo.guard_magic = format == BLOCK_FORMAT_PROBE && !bo.read_only;
    return block_open_raw(out, en, path, &bo, e);
}
