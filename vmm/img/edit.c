/* resize, snapshot, rebase, commit: images that exist already. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/img/img.h"

#define PIECE MIB(1)

/* ---- resize ---- */

static int resize_raw(struct img *m, struct block *b, const char *path, uint64_t size)
{
    int rc = block_raw_truncate(b, size);
    return rc < 0 ? img_fail(m, "%s cannot be resized: %s", path, strerror(-rc)) : 0;
}

static int resize(struct img *m, struct block *b, const char *path, const char *text, bool shrink,
                  enum block_prealloc prealloc)
{
    uint64_t old = block_size(b), size, by;
    struct err e = {0};

    if (img_size(m, text + (*text == '+' || *text == '-'), &by))
        return 1;
    if (*text == '-' && by > old)
        return img_fail(m, "New image size must be positive");
    size = *text == '+' ? old + by : *text == '-' ? old - by : by;
    size = align_up(size, 512);
    if (size < old && !shrink) {
        img_fail(m, "warning: Shrinking an image will delete all data beyond the shrunken image's end. Before "
                    "performing such an operation, make sure there is no important data there.");
        return img_fail(m, "Use the --shrink option to perform a shrink operation.");
    }
    if (size == 0)
        return img_fail(m, "New image size must be positive");
    if (prealloc && size < old)
        return img_fail(m, "Preallocation can only be used for growing images");
    if (!block_is_qcow2(b) ? resize_raw(m, b, path, size) : qcow2_resize(b, size, &e) < 0)
        return block_is_qcow2(b) ? img_fail(m, "%s", e.msg) : 1;
    int rc = block_preallocate(b, prealloc, old, size);
    if (rc < 0)
        return img_fail(m, "%s is larger now, but cannot be preallocated: %s", path, strerror(-rc));
    if (!m->quiet)
        printf("Image resized.\n");
    return 0;
}

int img_resize(struct img *m)
{
    static const struct option longs[] = {
        {"shrink", no_argument, NULL, 's'}, {"preallocation", required_argument, NULL, 'P'}, IMG_LONG_COMMON};
    const char *format = NULL, *size = NULL;
    enum block_prealloc prealloc = BLOCK_PREALLOC_OFF;
    bool shrink = false;
    struct block *b;
    int c;

    /* The size may begin with a minus: it is looked at before the options are. */
    if (m->argc > 2 && m->argv[m->argc - 1][0] != '\0')
        size = m->argv[--m->argc];
    while ((c = getopt_long(m->argc, m->argv, "f:q", longs, NULL)) >= 0) {
        if (c == 'f')
            format = optarg;
        else if (c == 's')
            shrink = true;
        else if (c == 'P' ? img_prealloc(m, optarg, &prealloc) : img_common_option(m, c))
            return 1;
    }
    if (!size || optind != m->argc - 1)
        return img_usage(m, "Expecting image file name and size");
    if (img_open(m, &b, m->argv[optind], format, true, m->backing))
        return 1;
    int status = resize(m, b, m->argv[optind], size, shrink, prealloc);
    block_close(b);
    return status;
}

/* ---- snapshot ---- */

int img_snapshot(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *name = NULL;
    struct err e = {0};
    struct block *b;
    int c, what = 'l', given = 0, rc = 0;

    while ((c = getopt_long(m->argc, m->argv, "lc:a:d:qU", longs, NULL)) >= 0) {
        if (c == 'l' || c == 'c' || c == 'a' || c == 'd') {
            what = c;
            name = optarg;
            given++;
        } else if (img_common_option(m, c)) {
            return 1;
        }
    }
    if (given > 1)
        return img_usage(m, "Cannot mix '-l', '-a', '-c', '-d'");
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    const char *path = m->argv[optind];
    if (img_open(m, &b, path, NULL, what != 'l', BLOCK_BACKING_NONE))
        return 1;
    if (!block_is_qcow2(b)) {
        block_close(b);
        return img_fail(m, "%s is a raw image, which has no snapshots", path);
    }
    switch (what) {
    case 'l': img_snapshot_list(b); break;
    case 'c': rc = qcow2_snapshot_create(b, name, &e); break;
    case 'a': rc = qcow2_snapshot_apply(b, name, &e); break;
    default: rc = qcow2_snapshot_delete(b, name, &e); break;
    }
    block_close(b);
    if (rc < 0)
        return img_fail(m, "Could not %s snapshot '%s': %s",
                        what == 'c'   ? "create"
                        : what == 'a' ? "apply"
                                      : "delete",
                        name, e.msg);
    return 0;
}

/* ---- rebase ---- */

static int read_or_zero(struct block *b, uint64_t at, uint64_t n, uint8_t *p)
{
    uint64_t have = b && at < block_size(b) ? MIN(n, block_size(b) - at) : 0;

    memset(p + have, 0, n - have);
    return have ? block_run(b, BLOCK_READ, 0, at, have, p) : 0;
}

/* What the overlay shows of its old backing file and the new one has otherwise becomes the overlay's own. */
static int rebase_data(struct img *m, struct block *b, struct block *base)
{
    uint64_t size = block_size(b), unit = BIT64(qcow2_header(b)->cluster_bits);
    uint8_t *p = malloc(PIECE), *q = malloc(PIECE);
    int rc = p && q ? 0 : -ENOMEM;

    unit = MIN(unit, PIECE);
    for (uint64_t at = 0; at < size && rc == 0;) {
        struct block_extent x;
        rc = block_status(b, at, size - at, &x);
        if (rc < 0)
            break;
        uint64_t n = x.present ? x.len : MIN(x.len, unit - at % unit);
        if (!x.present) {
            rc = read_or_zero(qcow2_backing(b), at, n, p);
            if (rc == 0)
                rc = read_or_zero(base, at, n, q);
            if (rc == 0 && memcmp(p, q, n) != 0)
                rc = block_run(b, BLOCK_WRITE, 0, at, n, p);
        }
        at += n;
        img_progress(m, MIN(at, size - 1), size);
    }
    if (rc == 0)
        rc = block_run(b, BLOCK_FLUSH, 0, 0, 0, NULL);
    free(p);
    free(q);
    return rc;
}

static int rebase(struct img *m, const char *path, const char *format, const char *backing, const char *base_format,
                  bool unsafe)
{
    struct block *b = NULL, *base = NULL;
    struct err e = {0};
    int status = 1;

    if (img_open(m, &b, path, format, true, unsafe ? BLOCK_BACKING_NONE : m->backing))
        return 1;
    if (!block_is_qcow2(b)) {
        img_fail(m, "%s is a raw image, which has no backing file", path);
        goto out;
    }
    if (!unsafe) {
        char *full = *backing ? qcow2_backing_path(path, backing) : NULL;
        int rc = *backing ? img_open(m, &base, full ? full : backing, base_format, false, m->backing) : 0;
        free(full);
        if (rc)
            goto out;
        rc = rebase_data(m, b, base);
        if (rc < 0) {
            img_fail(m, "%s cannot be rebased: %s", path, strerror(-rc));
            goto out;
        }
    }
    if (qcow2_set_backing(b, backing, *backing ? base_format : NULL, &e) < 0)
        img_fail(m, "Could not change the backing file to '%s': %s", backing, e.msg);
    else
        status = 0;
    if (status == 0)
        img_progress(m, 1, 1);
out:
    block_close(base);
    block_close(b);
    return status;
}

int img_rebase(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *format = NULL, *backing = NULL, *base_format = NULL;
    bool unsafe = false;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "f:F:b:upqU", longs, NULL)) >= 0) {
        switch (c) {
        case 'f': format = optarg; break;
        case 'F': base_format = optarg; break;
        case 'b': backing = optarg; break;
        case 'u': unsafe = true; break;
        default:
            if (img_common_option(m, c))
                return 1;
        }
    }
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    if (!backing)
        return img_usage(m, "Use backing file (-b) option; -b '' makes the image stand alone");
    if (*backing && !base_format)
        return img_fail(m, "backing file specified without backing format: give -F raw or -F qcow2");
    return rebase(m, m->argv[optind], format, backing, base_format, unsafe);
}

/* ---- commit ---- */

static int commit_data(struct img *m, struct block *b, struct block *base)
{
    uint64_t size = block_size(b);
    uint8_t *p = malloc(PIECE);
    int rc = p ? 0 : -ENOMEM;

    for (uint64_t at = 0; at < size && rc == 0;) {
        struct block_extent x;
        rc = block_status(b, at, size - at, &x);
        if (rc < 0)
            break;
        uint64_t n = x.present && !x.zero ? MIN(x.len, PIECE) : x.len;
        if (x.present && x.zero) {
            rc = block_run(base, BLOCK_WRITE_ZEROES, BLOCK_REQ_UNMAP, at, n, NULL);
        } else if (x.present) {
            rc = block_run(b, BLOCK_READ, 0, at, n, p);
            if (rc == 0)
                rc = block_run(base, BLOCK_WRITE, 0, at, n, p);
        }
        at += n;
        img_progress(m, MIN(at, size - 1), size);
    }
    if (rc == 0)
        rc = block_run(base, BLOCK_FLUSH, 0, 0, 0, NULL);
    free(p);
    return rc;
}

/* The backing file of the image, for writing. Its size follows the overlay's. */
static int open_base(struct img *m, const char *path, const char *backing, const char *format, uint64_t size,
                     struct block **out)
{
    char *full = qcow2_backing_path(path, backing);
    struct err e = {0};
    int rc = 0;

    if (!full)
        return img_fail(m, "out of memory");
    if (img_open(m, out, full, *format ? format : NULL, true, m->backing)) {
        free(full);
        return 1;
    }
    if (block_size(*out) < size) {
        if (block_is_qcow2(*out)) {
            rc = qcow2_resize(*out, size, &e);
        } else {
            block_raw_truncate(*out, size);
            block_close(*out);
            *out = NULL;
            rc = img_open(m, out, full, "raw", true, m->backing) ? -EIO : 0;
        }
    }
    free(full);
    return rc < 0 ? img_fail(m, "the backing file cannot grow: %s", e.msg) : 0;
}

static int commit(struct img *m, const char *path, const char *format, bool keep)
{
    struct block *b = NULL, *base = NULL;
    char *backing = NULL, *base_format = NULL;
    struct err e = {0};
    int status = 1;

    /* A first look, under the rules for backing files. */
    if (img_open(m, &b, path, format, false, m->backing))
        return 1;
    if (!qcow2_backing(b)) {
        img_fail(m, "%s has no backing file", path);
        goto out;
    }
    backing = strdup(qcow2_header(b)->backing);
    base_format = strdup(qcow2_header(b)->backing_format);
    uint64_t size = block_size(b);
    block_close(b);
    b = NULL;
    if (!backing || !base_format || open_base(m, path, backing, base_format, size, &base))
        goto out;
    if (img_open(m, &b, path, "qcow2", true, BLOCK_BACKING_NONE))
        goto out;
    int rc = commit_data(m, b, base);
    if (rc < 0) {
        img_fail(m, "%s cannot be committed: %s", path, strerror(-rc));
        goto out;
    }
    if (!keep && qcow2_make_empty(b, &e) < 0) {
        img_fail(m, "%s", e.msg);
        goto out;
    }
    img_progress(m, 1, 1);
    if (!m->quiet)
        printf("Image committed.\n");
    status = 0;
out:
    block_close(b);
    block_close(base);
    free(backing);
    free(base_format);
    return status;
}

int img_commit(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *format = NULL;
    bool keep = false;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "f:dpq", longs, NULL)) >= 0) {
        if (c == 'f')
            format = optarg;
        else if (c == 'd')
            keep = true;
        else if (img_common_option(m, c))
            return 1;
    }
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    return commit(m, m->argv[optind], format, keep);
}
