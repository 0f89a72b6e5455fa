/* resize, snapshot, rebase, commit: images that exist already. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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
    const char *path = img_file(m, m->argv[optind], &format);
    if (!path || img_open(m, &b, path, format, true, m->backing))
        return 1;
    int status = resize(m, b, path, size, shrink, prealloc);
    block_close(b);
    return status;
}

/* ---- snapshot ---- */

int img_load_snapshot(struct img *m, struct block *b, const char *text)
{
    struct options o = {0};
    struct err e = {0};
    int status = 0;

    if (!strncmp(text, "snapshot.", 9)) {
        if (options_parse(&o, text, NULL, &e) < 0)
            return img_fail(m, "-l %s: %s", text, e.msg);
        const char *name = options_get(&o, "snapshot.name"), *id = options_get(&o, "snapshot.id");
        if (options_unused(&o) || (!name && !id))
            status = img_usage(m, "-l takes a name, snapshot.name=NAME or snapshot.id=ID, not %s", text);
        text = id ? id : name; /* both are looked for alike */
    }
    if (status == 0 && !block_is_qcow2(b))
        status = img_fail(m, "Failed to load snapshot: a raw image has none");
    if (status == 0 && qcow2_snapshot_load(b, text, &e) < 0)
        status = img_fail(m, "Failed to load snapshot: %s", e.msg);
    options_free(&o);
    return status;
}

int img_snapshot(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *name = NULL, *format = NULL;
    struct err e = {0};
    struct block *b;
    int c, what = 'l', given = 0, rc = 0;

    while ((c = getopt_long(m->argc, m->argv, "lc:a:d:f:qU", longs, NULL)) >= 0) {
        if (c == 'l' || c == 'c' || c == 'a' || c == 'd') {
            what = c;
            name = optarg;
            given++;
        } else if (c == 'f') {
            format = optarg;
        } else if (img_common_option(m, c)) {
            return 1;
        }
    }
    if (given > 1)
        return img_usage(m, "Cannot mix '-l', '-a', '-c', '-d'");
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    const char *path = img_file(m, m->argv[optind], &format);
    if (!path || img_open(m, &b, path, format, what != 'l', BLOCK_BACKING_NONE))
        return 1;
    if (!block_is_qcow2(b)) {
        block_close(b);
        return what == 'l' ? 0 : img_fail(m, "%s is a raw image, which has no snapshots", path);
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

    while ((c = getopt_long(m->argc, m->argv, "f:F:b:upqt:T:U", longs, NULL)) >= 0) {
        switch (c) {
        case 't':
        case 'T':
            if (img_cache(m, optarg, c == 't' ? &m->target : &m->source))
                return 1;
            break;
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
    const char *path = img_file(m, m->argv[optind], &format);
    return path ? rebase(m, path, format, backing, base_format, unsafe) : 1;
}

/* ---- commit ---- */

struct commit {
    char *base, *format; /* of the backing file that gets the data */
    unsigned layers;     /* images above it */
};

enum above { BELOW, ZEROES, DATA };

/* What the layers above the base say of a stretch, which gets as long as that is true. */
static int status_above(struct block *b, unsigned layers, uint64_t at, uint64_t *len, enum above *out)
{
    for (unsigned i = 0;; i++, b = qcow2_backing(b)) {
        struct block_extent x;
        int rc = block_status(b, at, *len, &x);
        if (rc < 0)
            return rc;
        *len = x.len;
        *out = !x.present ? BELOW : x.zero ? ZEROES : DATA;
        if (x.present || i + 1 == layers)
            return 0;
        /* Behind the end of a short layer are zeroes, whatever the base has there. */
        if (at >= block_size(qcow2_backing(b))) {
            *out = ZEROES;
            return 0;
        }
        *len = MIN(*len, block_size(qcow2_backing(b)) - at);
    }
}

static int commit_data(struct img *m, struct block *b, unsigned layers, struct block *base)
{
    uint64_t size = block_size(b);
    uint8_t *p = malloc(PIECE);
    int rc = p ? 0 : -ENOMEM;

    for (uint64_t at = 0; at < size && rc == 0;) {
        uint64_t n = size - at;
        enum above what;
        rc = status_above(b, layers, at, &n, &what);
        if (rc < 0)
            break;
        if (what == ZEROES) {
            rc = block_run(base, BLOCK_WRITE_ZEROES, BLOCK_REQ_UNMAP, at, n, NULL);
        } else if (what == DATA) {
            n = MIN(n, PIECE);
            img_pace(m, n);
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

/* The file that gets the data, for writing. Its size follows the overlay's. */
static int open_base(struct img *m, const struct commit *c, uint64_t size, struct block **out)
{
    struct err e = {0};
    int rc = 0;

    if (img_open(m, out, c->base, c->format && *c->format ? c->format : NULL, true, m->backing))
        return 1;
    if (block_size(*out) < size) {
        if (block_is_qcow2(*out)) {
            rc = qcow2_resize(*out, size, &e);
        } else {
            block_raw_truncate(*out, size);
            block_close(*out);
            *out = NULL;
            rc = img_open(m, out, c->base, "raw", true, m->backing) ? -EIO : 0;
        }
    }
    return rc < 0 ? img_fail(m, "the backing file cannot grow: %s", e.msg) : 0;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Looks for the base below `b`, which is `path`: the file `wanted`, or the next one. */
static int find_base(struct img *m, struct block *b, const char *path, const char *wanted, struct commit *c)
{
    char *at = strdup(path);

    if (!qcow2_backing(b)) {
        free(at);
        return img_fail(m, "%s has no backing file", path);
    }
    for (c->layers = 1; at && qcow2_backing(b); c->layers++, b = qcow2_backing(b)) {
        const struct qcow2_header *h = qcow2_header(b);
        char *next = qcow2_backing_path(at, h->backing);
        free(at);
        at = next;
        if (!at || (wanted && strcmp(h->backing, wanted) != 0 && !same_file(at, wanted)))
            continue;
        c->base = at;
        c->format = strdup(h->backing_format);
        return c->format ? 0 : img_fail(m, "out of memory");
    }
    bool memory = at;
    free(at);
    return memory ? img_fail(m, "Did not find '%s' in the backing chain of '%s'", wanted, path)
                  : img_fail(m, "out of memory");
}

/* The overlay keeps what it has with `keep`, and where the base is further down: those between need it. */
static int commit(struct img *m, const char *path, const char *format, const char *wanted, bool keep)
{
    struct block *b = NULL, *base = NULL;
    struct commit c = {0};
    struct err e = {0};
    int status = 1;

    /* A first look, under the rules for backing files. */
    if (img_open(m, &b, path, format, false, m->backing))
        return 1;
    status = find_base(m, b, path, wanted, &c);
    uint64_t size = block_size(b);
    block_close(b);
    b = NULL;
    if (status)
        goto out;
    status = 1;
    if (open_base(m, &c, size, &base))
        goto out;
    /* We hold the base's lock ourselves: those above it are read without. */
    m->no_lock = c.layers > 1;
    if (img_open(m, &b, path, "qcow2", c.layers == 1, c.layers > 1 ? m->backing : BLOCK_BACKING_NONE))
        goto out;
    int rc = commit_data(m, b, c.layers, base);
    if (rc < 0) {
        img_fail(m, "%s cannot be committed: %s", path, strerror(-rc));
        goto out;
    }
    if (!keep && c.layers == 1 && qcow2_make_empty(b, &e) < 0) {
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
    free(c.base);
    free(c.format);
    return status;
}

int img_commit(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *format = NULL, *base = NULL, *path;
    bool keep = false;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "b:f:dpqr:t:", longs, NULL)) >= 0) {
        switch (c) {
        case 'b':
            base = optarg;
            keep = true; /* as QEMU's qemu-img has it */
            break;
        case 'd': keep = true; break;
        case 'f': format = optarg; break;
        case 'r':
            if (img_rate(m, optarg))
                return 1;
            break;
        case 't':
            if (img_cache(m, optarg, &m->target))
                return 1;
            break;
        default:
            if (img_common_option(m, c))
                return 1;
        }
    }
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    path = img_file(m, m->argv[optind], &format);
    return path ? commit(m, path, format, base, keep) : 1;
}

/* ---- amend ---- */

static int amend_options(struct img *m, struct block *b, struct options *o)
{
    static const char *const fixed[] = {"cluster_size", "compression_type", "extended_l2", "preallocation",
                                        "refcount_bits"};
    const struct qcow2_header *h = qcow2_header(b);
    bool lazy = h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    unsigned version = h->version;
    struct err e = {0};
    uint64_t size = block_size(b);
    const char *s;

    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
        if (options_get(o, fixed[i]))
            return img_fail(m, "%s cannot be changed: convert makes an image with another", fixed[i]);
    if (options_get(o, "backing_file") || options_get(o, "backing_fmt"))
        return img_fail(m, "Cannot amend the backing file: use rebase");
    if ((s = options_get(o, "compat")) && img_compat(m, s, &version))
        return 1;
    if (options_get_bool(o, "-o", "lazy_refcounts", &lazy, &e) < 0)
        return img_fail(m, "%s", e.msg);
    if ((s = options_get(o, "size")) && img_size(m, s, &size))
        return 1;
    if ((s = options_unused(o)))
        return img_fail(m, "Invalid parameter '%s'", s);
    size = align_up(size, 512);
    if (size < block_size(b))
        return img_fail(m, "size= only grows an image: use resize --shrink");
    if (qcow2_amend(b, version, lazy, &e) < 0 || (size > block_size(b) && qcow2_resize(b, size, &e) < 0))
        return img_fail(m, "%s", e.msg);
    return 0;
}

int img_amend(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *format = NULL, *list = NULL;
    struct options o;
    struct err e = {0};
    struct block *b;
    int c;

    while ((c = getopt_long(m->argc, m->argv, "f:o:pqt:", longs, NULL)) >= 0) {
        if (c == 'f')
            format = optarg;
        else if (c == 'o')
            list = optarg;
        else if (c == 't' ? img_cache(m, optarg, &m->target) : img_common_option(m, c))
            return 1;
    }
    if (!list)
        return img_usage(m, "Must specify options (-o)");
    if (!strcmp(list, "help") || !strcmp(list, "?")) {
        printf("Supported options:\n  compat=1.1             - version 3 of one of version 2\n"
               "  lazy_refcounts=<on|off>- refcounts may be postponed by programs that do so\n"
               "  size=<size>            - of the disk, no less than it is\n");
        return 0;
    }
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    const char *path = img_file(m, m->argv[optind], &format);
    if (!path || img_open(m, &b, path, format, true, m->backing))
        return 1;
    int status = 1;
    if (!block_is_qcow2(b)) {
        img_fail(m, "%s is a raw image, which has no options", path);
    } else if (options_parse(&o, list, NULL, &e) < 0) {
        img_fail(m, "-o %s: %s", list, e.msg);
    } else {
        status = amend_options(m, b, &o);
        options_free(&o);
    }
    img_progress(m, 1, 1);
    block_close(b);
    return status;
}
