/* create and measure: new images and their options. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/img/img.h"

void img_new_init(struct img_new *n)
{
    *n = (struct img_new){
        .format = BLOCK_FORMAT_RAW,
        .qcow2 = {.size = UINT64_MAX, .version = 3, .cluster_bits = 16, .refcount_order = 4},
    };
}

void img_new_free(struct img_new *n)
{
    free(n->backing);
    free(n->backing_format);
}

static void set_text(char **to, const char *from)
{
    free(*to);
    *to = strdup(from);
}

void img_new_backing(struct img_new *n, const char *backing, const char *format)
{
    if (backing)
        set_text(&n->backing, backing);
    if (format)
        set_text(&n->backing_format, format);
}

static int power_of_two(const struct img *m, const char *what, uint64_t v, uint64_t min, uint64_t max, unsigned *bits)
{
    if (!is_pow2(v) || v < min || v > max)
        return img_fail(m, "%s must be a power of two between %llu and %llu", what, (unsigned long long)min,
                        (unsigned long long)max);
    *bits = (unsigned)__builtin_ctzll(v);
    return 0;
}

int img_prealloc(const struct img *m, const char *text, enum block_prealloc *out)
{
    static const char *const names[] = {[BLOCK_PREALLOC_OFF] = "off",
                                        [BLOCK_PREALLOC_METADATA] = "metadata",
                                        [BLOCK_PREALLOC_FALLOC] = "falloc",
                                        [BLOCK_PREALLOC_FULL] = "full"};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(text, names[i])) {
            *out = (enum block_prealloc)i;
            return 0;
        }
    return img_fail(m, "preallocation is off, metadata, falloc or full, not %s", text);
}

void img_new_options_help(const struct img_new *n)
{
    static const struct {
        const char *name, *what;
        bool raw;
    } list[] = {
        {"backing_file=<str>", "file whose content shows where this image has none", false},
        {"backing_fmt=<str>", "format of that: raw or qcow2", false},
        {"cluster_size=<size>", "512 to 2M (65536)", false},
        {"compat=<str>", "0.10 (v2) or 1.1 (v3, the default)", false},
        {"compression_type=<str>", "zlib (the default) or zstd", false},
        {"extended_l2=<on|off>", "subclusters, a 32nd of a cluster each", false},
        {"lazy_refcounts=<on|off>", "refcounts may be postponed by programs that do so", false},
        {"preallocation=<str>", "off, falloc or full; of qcow2 metadata, too", true},
        {"refcount_bits=<num>", "1 to 64 (16)", false},
        {"size=<size>", "of the disk", true},
    };

    printf("Supported options:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        if (list[i].raw || n->format == BLOCK_FORMAT_QCOW2)
            printf("  %-23s- %s\n", list[i].name, list[i].what);
}

int img_compat(const struct img *m, const char *text, unsigned *version)
{
    if (!strcmp(text, "0.10") || !strcmp(text, "v2"))
        *version = 2;
    else if (!strcmp(text, "1.1") || !strcmp(text, "v3"))
        *version = 3;
    else
        return img_fail(m, "compat=%s is neither 0.10 nor 1.1", text);
    return 0;
}

static int new_options(struct img *m, struct img_new *n, struct options *o)
{
    struct qcow2_create *q = &n->qcow2;
    struct err e = {0};
    const char *s;
    uint64_t v;

    if ((s = options_get(o, "size")) && img_size(m, s, &q->size))
        return 1;
    if (n->format == BLOCK_FORMAT_RAW)
        goto rest;
    if ((s = options_get(o, "backing_file")))
        set_text(&n->backing, s);
    if ((s = options_get(o, "backing_fmt")))
        set_text(&n->backing_format, s);
    if ((s = options_get(o, "compat")) && img_compat(m, s, &q->version))
        return 1;
    if ((s = options_get(o, "cluster_size")) &&
        (img_size(m, s, &v) || power_of_two(m, "cluster_size", v, 512, MIB(2), &q->cluster_bits)))
        return 1;
    if ((s = options_get(o, "refcount_bits")) &&
        (text_to_u64(s, &v) < 0 || power_of_two(m, "refcount_bits", v, 1, 64, &q->refcount_order)))
        return text_to_u64(s, &v) < 0 ? img_fail(m, "refcount_bits=%s is no number", s) : 1;
    if (options_get_bool(o, "-o", "lazy_refcounts", &q->lazy_refcounts, &e) < 0 ||
        options_get_bool(o, "-o", "extended_l2", &q->extended_l2, &e) < 0)
        return img_fail(m, "%s", e.msg);
    if ((s = options_get(o, "compression_type"))) {
        if (strcmp(s, "zlib") != 0 && strcmp(s, "zstd") != 0)
            return img_fail(m, "compression_type=%s is neither zlib nor zstd", s);
        q->compression = !strcmp(s, "zstd") ? QCOW2_ZSTD : QCOW2_ZLIB;
    }
    if ((s = options_get(o, "encryption")) && strcmp(s, "off") != 0)
        return img_fail(m, "encrypted images are not supported");
rest:
    if ((s = options_get(o, "preallocation")) && img_prealloc(m, s, &n->prealloc))
        return 1;
    if ((s = options_unused(o)))
        return img_fail(m, "Invalid parameter '%s'", s);
    return 0;
}

int img_new_options(struct img *m, struct img_new *n, const char *text)
{
    struct options o;
    struct err e = {0};

    if (options_parse(&o, text, NULL, &e) < 0)
        return img_fail(m, "-o %s: %s", text, e.msg);
    int status = new_options(m, n, &o);
    options_free(&o);
    return status;
}

/* Would making `path` destroy the file that it is to be an overlay of? */
static int refuse_own_backing(const struct img *m, const struct img_new *n, const char *path)
{
    char *full = n->backing ? qcow2_backing_path(path, n->backing) : NULL;
    struct stat a, b;
    bool same = full && stat(full, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;

    free(full);
    return same ? img_fail(m, "%s: an image cannot be its own backing file", path) : 0;
}

/* The size that an image without one of its own has: its backing file's. */
static int size_of_backing(struct img *m, struct img_new *n, const char *path, bool unsafe)
{
    struct block *b;
    char *full;

    if (!n->backing || (unsafe && n->qcow2.size != UINT64_MAX))
        return 0;
    full = qcow2_backing_path(path, n->backing);
    if (!full)
        return img_fail(m, "out of memory");
    int status = img_open(m, &b, full, n->backing_format, false, m->backing);
    free(full);
    if (status)
        return status;
    if (n->qcow2.size == UINT64_MAX)
        n->qcow2.size = block_size(b);
    block_close(b);
    return 0;
}

int img_new_open(struct img *m, const struct img_new *n, const char *path, struct block **out)
{
    struct block_options bo = m->target;
    struct qcow2_create q = n->qcow2;
    struct block *file = NULL;
    struct err e = {0};
    if (refuse_own_backing(m, n, path))
        return 1;
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | (bo.direct ? O_DIRECT : 0);
    int fd = open(path, flags, 0644), rc;

    if (fd < 0)
        return img_fail(m, "%s: Could not create '%s': %s", path, path, strerror(errno));
    bo.container = true;
    q.backing = n->backing;
    q.backing_format = n->backing_format;
    rc = block_open_raw_fd(&file, m->engine, fd, path, &bo, &e);
    if (rc == 0) {
        rc = block_raw_truncate(file, 0);
        if (rc == 0 && n->format == BLOCK_FORMAT_RAW)
            rc = block_raw_truncate(file, q.size);
        if (rc == -EINVAL) /* a device keeps its size */
            rc = 0;
        if (rc < 0)
            err_set(&e, -rc, "%s", strerror(-rc));
    }
    if (rc == 0 && n->format == BLOCK_FORMAT_QCOW2)
        rc = qcow2_create(file, &q, &e);
    if (rc < 0) {
        block_close(file);
        return img_fail(m, "%s: %s", path, e.msg);
    }
    struct block *b = file;
    const struct qcow2_options o = {.block = m->target, .backing = m->backing};
    if (n->format == BLOCK_FORMAT_QCOW2 && (out || n->prealloc) && qcow2_open_on(&b, file, path, &o, &e) < 0)
        return img_fail(m, "%s: %s", path, e.msg);
    rc = block_preallocate(b, n->prealloc, 0, q.size);
    if (rc < 0 || !out)
        block_close(b);
    else
        *out = b;
    return rc < 0 ? img_fail(m, "%s: cannot preallocate: %s", path, strerror(-rc)) : 0;
}

static void say_formatting(const struct img *m, const struct img_new *n, const char *path)
{
    const struct qcow2_create *q = &n->qcow2;

    if (m->quiet)
        return;
    if (n->format == BLOCK_FORMAT_RAW) {
        printf("Formatting '%s', fmt=raw size=%llu\n", path, (unsigned long long)q->size);
        return;
    }
    printf("Formatting '%s', fmt=qcow2 cluster_size=%llu extended_l2=%s compression_type=%s size=%llu", path,
           (unsigned long long)BIT64(q->cluster_bits), q->extended_l2 ? "on" : "off",
           q->compression == QCOW2_ZSTD ? "zstd" : "zlib", (unsigned long long)q->size);
    if (n->backing)
        printf(" backing_file=%s backing_fmt=%s", n->backing, n->backing_format);
    printf(" lazy_refcounts=%s refcount_bits=%u\n", q->lazy_refcounts ? "on" : "off", 1U << q->refcount_order);
}

static int create(struct img *m, struct img_new *n, const char *path, const char *size, bool unsafe)
{
    if (n->backing && n->prealloc)
        return img_fail(m, "%s: Backing file and preallocation cannot be used at the same time", path);
    if (n->prealloc == BLOCK_PREALLOC_METADATA && n->format == BLOCK_FORMAT_RAW)
        return img_fail(m, "%s: a raw image has no metadata: preallocation is off, falloc or full", path);
    if (n->backing && n->format == BLOCK_FORMAT_RAW)
        return img_fail(m, "%s: Backing file not supported for file format 'raw'", path);
    if (n->backing && !n->backing_format)
        return img_fail(m, "%s: Backing file specified without backing format: give -F raw or -F qcow2", path);
    if (size && img_size(m, size, &n->qcow2.size))
        return 1;
    if (refuse_own_backing(m, n, path))
        return 1;
    if (size_of_backing(m, n, path, unsafe))
        return 1;
    if (n->qcow2.size == UINT64_MAX)
        return img_fail(m, "%s: Image creation needs a size parameter", path);
    n->qcow2.size = align_up(n->qcow2.size, 512);
    say_formatting(m, n, path);
    return img_new_open(m, n, path, NULL);
}

int img_create(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *format = "raw", *list[16];
    unsigned nlist = 0;
    struct img_new n;
    bool unsafe = false;
    int c, status = 0;

    img_new_init(&n);
    while (status == 0 && (c = getopt_long(m->argc, m->argv, "f:b:F:o:quU", longs, NULL)) >= 0) {
        switch (c) {
        case 'f': format = optarg; break;
        case 'b': set_text(&n.backing, optarg); break;
        case 'F': set_text(&n.backing_format, optarg); break;
        case 'u': unsafe = true; break;
        case 'o':
            if (nlist == ARRAY_SIZE(list))
                status = img_fail(m, "too many -o");
            else
                list[nlist++] = optarg;
            break;
        default: status = img_common_option(m, c); break;
        }
    }
    if (status == 0)
        status = img_format(m, format, &n.format);
    for (unsigned i = 0; i < nlist && status == 0; i++) {
        if (!strcmp(list[i], "help") || !strcmp(list[i], "?")) {
            img_new_options_help(&n);
            img_new_free(&n);
            return 0;
        }
        status = img_new_options(m, &n, list[i]);
    }
    if (status == 0 && (optind >= m->argc || optind + 2 < m->argc))
        status = img_usage(m, "Expecting image file name and size");
    if (status == 0)
        status = create(m, &n, m->argv[optind], optind + 1 < m->argc ? m->argv[optind + 1] : NULL, unsafe);
    img_new_free(&n);
    return status;
}

/* ---- measure ---- */

/* Clusters of the new image that will have data. */
static int count_data(struct img *m, struct block *b, uint64_t cluster, uint64_t *n)
{
    uint64_t next = 0; /* the first cluster not counted */

    *n = 0;
    for (uint64_t at = 0; at < block_size(b);) {
        struct block_extent x;
        struct block *layer;
        unsigned depth;
        int rc = img_status(b, at, block_size(b) - at, &x, &layer, &depth);
        if (rc < 0)
            return img_fail(m, "cannot read the image: %s", strerror(-rc));
        if (!x.zero && (x.data || x.present)) {
            uint64_t first = MAX(at / cluster, next), end = (at + x.len + cluster - 1) / cluster;
            *n += end > first ? end - first : 0;
            next = MAX(next, end);
        }
        at += x.len;
    }
    return 0;
}

/* `bitmaps`: the source is of a kind that can have bitmaps, which are not copied. */
static void measure_print(const struct img *m, uint64_t required, uint64_t full, bool bitmaps)
{
    struct img_json j = {.first = true};

    if (!m->json) {
        printf("required size: %llu\nfully allocated size: %llu\n", (unsigned long long)required,
               (unsigned long long)full);
        if (bitmaps)
            printf("bitmaps size: 0\n");
        return;
    }
    img_json_open(&j, NULL, '{');
    if (bitmaps)
        img_json_number(&j, "bitmaps", 0);
    img_json_number(&j, "required", required);
    img_json_number(&j, "fully-allocated", full);
    img_json_close(&j, '}');
}

int img_measure(struct img *m)
{
    static const struct option longs[] = {{"size", required_argument, NULL, 's'}, IMG_LONG_COMMON};
    const char *format = NULL, *target = "raw", *size = NULL, *list = NULL, *snapshot = NULL, *path;
    struct block *b = NULL;
    struct img_new n;
    int c, status = 0;

    img_new_init(&n);
    while (status == 0 && (c = getopt_long(m->argc, m->argv, "f:O:o:l:U", longs, NULL)) >= 0) {
        switch (c) {
        case 'f': format = optarg; break;
        case 'l': snapshot = optarg; break;
        case 'O': target = optarg; break;
        case 'o': list = optarg; break;
        case 's': size = optarg; break;
        default: status = img_common_option(m, c); break;
        }
    }
    if (status == 0)
        status = img_format(m, target, &n.format);
    if (status == 0 && list)
        status = img_new_options(m, &n, list);
    if (status == 0 && (size ? optind != m->argc : optind != m->argc - 1))
        status = img_usage(m, "Either --size N or one filename must be specified");
    if (status == 0 && size)
        status = img_size(m, size, &n.qcow2.size);
    else if (status == 0)
        status = !(path = img_file(m, m->argv[optind], &format)) || img_open(m, &b, path, format, false, m->backing);
    if (status == 0 && snapshot)
        status = b ? img_load_snapshot(m, b, snapshot) : img_usage(m, "-l needs an image");
    if (status == 0) {
        uint64_t cluster = BIT64(n.qcow2.cluster_bits), used = 0;
        if (b)
            n.qcow2.size = block_size(b);
        uint64_t all = (n.qcow2.size + cluster - 1) / cluster;
        if (n.format == BLOCK_FORMAT_RAW) {
            measure_print(m, n.qcow2.size, n.qcow2.size, false);
        } else {
            uint64_t meta = qcow2_metadata_size(&n.qcow2, all);
            status = b ? count_data(m, b, cluster, &used) : 0;
            if (n.prealloc == BLOCK_PREALLOC_FALLOC || n.prealloc == BLOCK_PREALLOC_FULL)
                used = all;
            if (status == 0)
                measure_print(m, meta + used * cluster, meta + all * cluster,
                              b && block_is_qcow2(b) && qcow2_header(b)->version >= 3);
        }
    }
    block_close(b);
    img_new_free(&n);
    return status;
}
