/*
 * convert, dd and compare: whole images, or a stretch of one.
 *
 * Several buffers are on their way at once: each is read, looked through for zeroes (4 KiB at a time), and what is left
 * is written, in whatever order. Compressed images go by batches: read, compressed by several threads, written in
 * order.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "vmm/base/log.h"
#include "vmm/img/img.h"

#define SLOTS 8
#define SLOTS_MAX 16
#define SLOT_SIZE MIB(1)
#define ZERO_UNIT KIB(4)
#define ZERO_UNIT_MAX MIB(1)
#define BATCH 32
#define THREADS_MAX 8

struct convert;

struct slot {
    struct convert *v;
    struct block_req req;
    struct iovec iov;
    uint8_t *buf;
    uint64_t at, len, done; /* of the disk; bytes; bytes looked through */
    bool busy;
};

struct convert {
    struct img *m;
    struct block *in, *out;
    bool keep_zeroes;   /* the output has old content: zeroes must be written */
    bool overlay;       /* what the input's backing file has, the output's has, too */
    uint64_t zero_unit; /* zeroes are looked for in pieces of so many bytes; 0: all is data */
    uint64_t skip;      /* bytes of the input that come before the output's first */
    uint64_t new_size;  /* of an output that was made for this; 0: it was there */
    uint64_t finished;
    int result;
    unsigned nslots;
    struct slot slot[SLOTS_MAX];
};

static void slot_write(struct slot *s);

static void slot_end(struct slot *s, int result)
{
    s->busy = false;
    s->v->finished += s->len;
    if (result < 0 && s->v->result == 0)
        s->v->result = result;
}

static void slot_written(struct block_req *r, int result)
{
    struct slot *s = container_of(r, struct slot, req);

    if (result < 0)
        slot_end(s, result);
    else
        slot_write(s);
}

/* Where the run that begins at `at` ends: of units that are all zeroes, or of units that are not. */
static uint64_t run_end(const struct slot *s, uint64_t at, bool zeroes)
{
    uint64_t unit = s->v->zero_unit;

    while (at < s->len && img_is_zero(s->buf + at, MIN(unit, s->len - at)) == zeroes)
        at += MIN(unit, s->len - at);
    return at;
}

/* The next run without whole units of zeroes. */
static void slot_write(struct slot *s)
{
    bool all = s->v->keep_zeroes || !s->v->zero_unit;
    uint64_t from = all ? s->done : run_end(s, s->done, true), to = all ? s->len : run_end(s, from, false);

    s->done = to;
    if (from == s->len) {
        slot_end(s, 0);
        return;
    }
    s->iov = (struct iovec){s->buf + from, to - from};
    s->req = (struct block_req){
        .op = BLOCK_WRITE, .offset = s->at + from, .len = to - from, .iov = &s->iov, .niov = 1, .done = slot_written};
    block_submit(s->v->out, &s->req);
}

static void slot_was_read(struct block_req *r, int result)
{
    struct slot *s = container_of(r, struct slot, req);

    s->done = 0;
    if (result < 0)
        slot_end(s, result);
    else
        slot_write(s);
}

static void slot_read(struct slot *s, uint64_t at, uint64_t len)
{
    img_pace(s->v->m, len);
    s->busy = true;
    s->at = at;
    s->len = len;
    s->iov = (struct iovec){s->buf, len};
    s->req = (struct block_req){
        .op = BLOCK_READ, .offset = s->v->skip + at, .len = len, .iov = &s->iov, .niov = 1, .done = slot_was_read};
    block_submit(s->v->in, &s->req);
}

static struct slot *slot_free(struct convert *v)
{
    for (;;) {
        for (unsigned i = 0; i < v->nslots; i++)
            if (!v->slot[i].busy)
                return &v->slot[i];
        block_pump(v->m->engine);
    }
}

static void slots_drain(struct convert *v)
{
    for (unsigned i = 0; i < v->nslots; i++)
        while (v->slot[i].busy)
            block_pump(v->m->engine);
}

static int convert_plain(struct convert *v, uint64_t size)
{
    for (uint64_t at = 0; at < size && v->result == 0;) {
        struct block_extent x;
        struct block *layer;
        unsigned depth;
        int rc = img_status(v->in, v->skip + at, size - at, &x, &layer, &depth);
        if (rc < 0)
            return rc;
        bool below = v->overlay && layer != v->in;
        bool zero = v->zero_unit && (x.zero || (!x.present && !x.data));
        if (zero && v->keep_zeroes && !below)
            rc = block_run(v->out, BLOCK_WRITE_ZEROES, v->overlay ? 0 : BLOCK_REQ_UNMAP, at, x.len, NULL);
        if (rc < 0)
            return rc;
        uint64_t len = zero || below ? x.len : MIN(x.len, SLOT_SIZE);
        if (zero || below)
            v->finished += len;
        else
            slot_read(slot_free(v), at, len);
        at += len;
        img_progress(v->m, MIN(v->finished, size - 1), size);
    }
    slots_drain(v);
    return v->result;
}

/* ---- compressed ---- */

struct piece {
    uint8_t *in, *out;
    uint64_t at;
    size_t len;
    int result;
    struct block_req req;
    struct iovec iov;
    bool reading;
};

struct batch {
    struct piece piece[BATCH];
    unsigned n, threads, type;
    size_t cluster;
};

struct worker {
    struct batch *b;
    unsigned index;
};

static void piece_was_read(struct block_req *r, int result)
{
    struct piece *p = container_of(r, struct piece, req);
    p->result = result;
    p->reading = false;
}

static void *compress_some(void *opaque)
{
    const struct worker *w = opaque;
    struct batch *b = w->b;

    for (unsigned i = w->index; i < b->n; i += b->threads) {
        struct piece *p = &b->piece[i];
        if (p->result == 0 && img_is_zero(p->in, b->cluster))
            p->len = 0;
        else if (p->result == 0)
            p->result = qcow2_compress(b->type, p->in, b->cluster, p->out, b->cluster - 1, &p->len);
    }
    return NULL;
}

static int batch_run(struct convert *v, struct batch *b)
{
    struct worker w[THREADS_MAX];
    pthread_t t[THREADS_MAX];
    unsigned started = 0;
    int rc = 0;

    for (unsigned i = 0; i < b->n; i++)
        while (b->piece[i].reading)
            block_pump(v->m->engine);
    for (unsigned i = 0; i < b->threads; i++)
        w[i] = (struct worker){b, i};
    for (unsigned i = 1; i < b->threads && pthread_create(&t[i], NULL, compress_some, &w[i]) == 0; i++)
        started = i;
    compress_some(&w[0]);
    for (unsigned i = 1; i <= started; i++)
        pthread_join(t[i], NULL);
    for (unsigned i = started + 1; i < b->threads; i++)
        compress_some(&w[i]);
    for (unsigned i = 0; i < b->n && rc == 0; i++) {
        struct piece *p = &b->piece[i];
        if (p->result == 0 && p->len)
            rc = qcow2_write_compressed(v->out, p->at, p->out, p->len);
        else if (p->result == -ENOSPC)
            rc = block_run(v->out, BLOCK_WRITE, 0, p->at, MIN(b->cluster, block_size(v->out) - p->at), p->in);
        else
            rc = p->result;
    }
    b->n = 0;
    return rc;
}

static void batch_add(struct convert *v, struct batch *b, uint64_t at, uint64_t size)
{
    struct piece *p = &b->piece[b->n++];
    size_t len = MIN(b->cluster, size - at);

    img_pace(v->m, len);
    memset(p->in + len, 0, b->cluster - len);
    p->at = at;
    p->result = 0;
    p->reading = true;
    p->iov = (struct iovec){p->in, len};
    p->req = (struct block_req){
        .op = BLOCK_READ, .offset = at, .len = len, .iov = &p->iov, .niov = 1, .done = piece_was_read};
    block_submit(v->in, &p->req);
}

static int convert_compressed(struct convert *v, uint64_t size)
{
    const struct qcow2_header *h = qcow2_header(v->out);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct batch *b = calloc(1, sizeof(*b));
    int rc = b ? 0 : -ENOMEM;

    if (b) {
        b->cluster = BIT64(h->cluster_bits);
        b->type = h->compression;
        b->threads = (unsigned)MIN(MAX(cpus, 1L), (long)THREADS_MAX);
    }
    for (unsigned i = 0; b && i < BATCH; i++) {
        b->piece[i].in = aligned_alloc(512, b->cluster);
        b->piece[i].out = malloc(b->cluster);
        if (!b->piece[i].in || !b->piece[i].out)
            rc = -ENOMEM;
    }
    for (uint64_t at = 0; at < size && rc == 0;) {
        struct block_extent x;
        struct block *layer;
        unsigned depth;
        /* A cluster of the output is read whole where any of it may be data. */
        rc = img_status(v->in, at, size - at, &x, &layer, &depth);
        if (rc < 0)
            break;
        uint64_t n = (x.zero || (!x.present && !x.data)) ? align_down(x.len, b->cluster) : 0;
        if (at + x.len == size && (x.zero || (!x.present && !x.data)))
            n = x.len;
        if (!n) {
            batch_add(v, b, at, size);
            n = MIN(b->cluster, size - at);
        }
        at += n;
        if (b->n == BATCH || at >= size) {
            rc = batch_run(v, b);
            img_progress(v->m, MIN(at, size - 1), size);
        }
    }
    if (b && b->n) {
        int last = batch_run(v, b); /* also to let the reads end */
        rc = rc ? rc : last;
    }
    for (unsigned i = 0; b && i < BATCH; i++) {
        free(b->piece[i].in);
        free(b->piece[i].out);
    }
    free(b);
    return rc;
}

/* Copies `size` bytes. */
static int convert_run(struct convert *v, uint64_t size, bool compressed, const char *from, const char *to)
{
    int rc = 0;

    for (unsigned i = 0; i < v->nslots; i++) {
        v->slot[i].v = v;
        v->slot[i].buf = aligned_alloc(4096, SLOT_SIZE);
        if (!v->slot[i].buf)
            rc = -ENOMEM;
    }
    img_progress(v->m, 0, size ? size : 1);
    if (rc == 0)
        rc = compressed ? convert_compressed(v, size) : convert_plain(v, size);
    slots_drain(v);
    if (rc == 0)
        rc = block_run(v->out, BLOCK_FLUSH, 0, 0, 0, NULL);
    for (unsigned i = 0; i < v->nslots; i++)
        free(v->slot[i].buf);
    /* Direct I/O writes whole blocks, also at the end. */
    if (rc == 0 && v->new_size && !block_is_qcow2(v->out) && block_raw_length(v->out) > v->new_size &&
        block_raw_truncate(v->out, v->new_size) < 0)
        log_debug(to, "a device keeps its size");
    if (rc < 0)
        return img_fail(v->m, "error while converting %s to %s: %s", from, to, strerror(-rc));
    img_progress(v->m, 1, 1);
    return 0;
}

struct convert_args {
    const char *format, *target, *snapshot, *from, *to;
    bool compressed, existing, target_is_zero;
    uint64_t slots, zero_unit;
    struct img_new n;
};

static int open_target(struct convert *v, struct convert_args *a)
{
    if (a->existing) {
        if (img_open(v->m, &v->out, a->to, a->target, true, v->m->backing))
            return 1;
        if (block_size(v->out) < block_size(v->in))
            return img_fail(v->m, "%s is smaller than %s", a->to, a->from);
        v->keep_zeroes = !a->target_is_zero;
        return 0;
    }
    v->new_size = a->n.qcow2.size = block_size(v->in);
    if (img_new_open(v->m, &a->n, a->to, &v->out))
        return 1;
    /* A device has what it had; so has a qcow2 image's backing file. */
    v->overlay = a->n.backing;
    v->keep_zeroes = v->overlay || (a->n.format == BLOCK_FORMAT_RAW && block_raw_length(v->out) != a->n.qcow2.size);
    return 0;
}

static int convert(struct img *m, struct convert_args *a)
{
    struct convert v = {.m = m, .nslots = (unsigned)a->slots, .zero_unit = a->zero_unit};
    int status = 1;

    if (!(a->from = img_file(m, a->from, &a->format)) || img_open(m, &v.in, a->from, a->format, false, m->backing))
        return 1;
    if ((!a->snapshot || img_load_snapshot(m, v.in, a->snapshot) == 0) && open_target(&v, a) == 0)
        status = convert_run(&v, block_size(v.in), a->compressed, a->from, a->to);
    block_close(v.out);
    block_close(v.in);
    return status;
}

static int convert_options(struct img *m, struct convert_args *a, const char *list)
{
    if (img_format(m, a->target, &a->n.format) || (list && img_new_options(m, &a->n, list)))
        return 1;
    if (a->n.backing && (a->n.format == BLOCK_FORMAT_RAW || a->existing || a->compressed))
        return img_fail(m, "-B makes a new qcow2 image: not with -n, with -c, or without -O qcow2");
    if (a->n.backing && !a->n.backing_format)
        return img_fail(m, "-B wants the backing file's format: give -F raw or -F qcow2");
    if (a->target_is_zero && !a->existing)
        return img_fail(m, "--target-is-zero requires use of -n");
    if (a->compressed && a->zero_unit != ZERO_UNIT)
        return img_fail(m, "-c looks for zeroes by clusters; -S does not go with it");
    if (a->compressed && a->n.format != BLOCK_FORMAT_QCOW2)
        return img_fail(m, "Compression not supported for file format 'raw'");
    if (a->compressed && a->existing)
        return img_fail(m, "-c and -n do not go together");
    const char *missing = qcow2_compression_missing(a->n.qcow2.compression);
    if (a->compressed && missing)
        return img_fail(m, "this build has no %s, which -c needs", missing);
    return 0;
}

static int sparse_size(const struct img *m, uint64_t *out)
{
    if (img_size(m, optarg, out))
        return 1;
    if (*out % 512 || *out > ZERO_UNIT_MAX)
        return img_fail(m, "Invalid buffer size '%s' for sparse output: a multiple of 512 up to 1M, or 0", optarg);
    return 0;
}

int img_convert(struct img *m)
{
    enum { TARGET_IS_ZERO = 1 };
    static const struct option longs[] = {{"target-is-zero", no_argument, NULL, TARGET_IS_ZERO}, IMG_LONG_COMMON};
    struct convert_args a = {.target = "raw", .slots = SLOTS, .zero_unit = ZERO_UNIT};
    const char *list = NULL, *backing = NULL, *backing_format = NULL;
    int c, status = 0;

    img_new_init(&a.n);
    while (status == 0 && (c = getopt_long(m->argc, m->argv, "f:F:O:B:o:cnpql:m:r:WS:t:T:U", longs, NULL)) >= 0) {
        switch (c) {
        case 'f': a.format = optarg; break;
        case 'F': backing_format = optarg; break;
        case 'O': a.target = optarg; break;
        case 'B': backing = optarg; break;
        case 'o': list = optarg; break;
        case 'c': a.compressed = true; break;
        case 'n': a.existing = true; break;
        case 'l': a.snapshot = optarg; break;
        case 'm': status = img_number(m, "number of requests", 1, SLOTS_MAX, &a.slots); break;
        case 'r': status = img_rate(m, optarg); break;
        case 'S': status = sparse_size(m, &a.zero_unit); break;
        case 't': status = img_cache(m, optarg, &m->target); break;
        case 'T': status = img_cache(m, optarg, &m->source); break;
        case 'W': break; /* may write out of order: it always does */
        case TARGET_IS_ZERO: a.target_is_zero = true; break;
        default: status = img_common_option(m, c); break;
        }
    }
    if (status == 0 && list && (!strcmp(list, "help") || !strcmp(list, "?"))) {
        status = img_format(m, a.target, &a.n.format);
        if (status == 0)
            img_new_options_help(&a.n);
        return status;
    }
    if (status == 0 && optind != m->argc - 2)
        status = img_usage(m, "Must specify an image file and an output file name");
    if (status == 0) {
        a.from = m->argv[optind];
        a.to = m->argv[optind + 1];
        img_new_backing(&a.n, backing, backing_format);
        status = convert_options(m, &a, list);
    }
    if (status == 0)
        status = convert(m, &a);
    img_new_free(&a.n);
    return status;
}

/* ---- dd ---- */

struct dd {
    const char *format, *target, *from, *to;
    uint64_t block, count, skip; /* bytes; blocks, UINT64_MAX: all; blocks */
};

/* KEY=VALUE; 1 after a message. */
static int dd_operand(const struct img *m, struct dd *d, const char *text)
{
    const char *value = strchr(text, '=');
    size_t key = value ? (size_t)(value++ - text) : 0;

    if (key == 2 && !strncmp(text, "if", key)) {
        d->from = value;
        return 0;
    }
    if (key == 2 && !strncmp(text, "of", key)) {
        d->to = value;
        return 0;
    }
    if (key == 2 && !strncmp(text, "bs", key)) {
        if (img_size(m, value, &d->block))
            return 1;
        return d->block && d->block <= INT32_MAX ? 0 : img_fail(m, "Invalid number: '%s'", value);
    }
    if (key == 5 && !strncmp(text, "count", key))
        return img_size(m, value, &d->count);
    if (key == 4 && !strncmp(text, "skip", key))
        return img_size(m, value, &d->skip);
    return img_usage(m, "Unrecognized operand '%s': bs=, count=, if=, of= and skip= are known", text);
}

static int dd(struct img *m, const struct dd *d)
{
    struct convert v = {.m = m, .nslots = SLOTS, .zero_unit = ZERO_UNIT};
    struct img_new n;
    uint64_t wanted;
    int status = 1;

    img_new_init(&n);
    if (img_format(m, d->target, &n.format) || img_open(m, &v.in, d->from, d->format, false, m->backing))
        return 1;
    uint64_t size = block_size(v.in);
    if (__builtin_mul_overflow(d->skip, d->block, &v.skip) || v.skip > size) {
        img_fail(m, "%s: cannot skip to specified offset", d->from);
        v.skip = size;
    }
    if (__builtin_mul_overflow(d->count, d->block, &wanted))
        wanted = size;
    size = MIN(size - v.skip, wanted);
    /* A disk has whole sectors. */
    v.new_size = n.qcow2.size = align_up(size, 512);
    if (img_new_open(m, &n, d->to, &v.out) == 0) {
        v.keep_zeroes = n.format == BLOCK_FORMAT_RAW && block_raw_length(v.out) != n.qcow2.size;
        status = convert_run(&v, size, false, d->from, d->to);
    }
    block_close(v.out);
    block_close(v.in);
    return status;
}

int img_dd(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    struct dd d = {.target = "raw", .block = 512, .count = UINT64_MAX};
    int c, status = 0;

    while (status == 0 && (c = getopt_long(m->argc, m->argv, "f:O:Uh", longs, NULL)) >= 0) {
        switch (c) {
        case 'f': d.format = optarg; break;
        case 'O': d.target = optarg; break;
        default: status = img_common_option(m, c); break;
        }
    }
    for (int i = optind; i < m->argc && status == 0; i++)
        status = dd_operand(m, &d, m->argv[i]);
    if (status)
        return status;
    if (!d.from || !d.to)
        return img_usage(m, "Must specify both input and output file paths");
    return dd(m, &d);
}

/* ---- compare ---- */

/* Does an overlay, a cluster or a hole, say what is there? Where the images differ in that: 1 after a word. */
static int compare_places(struct img *m, struct block *a, struct block *b, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        struct block_extent x, y;
        struct block *layer;
        unsigned depth;
        int rc = img_status(a, at, size - at, &x, &layer, &depth);
        if (rc == 0)
            rc = img_status(b, at, MIN(size - at, x.len), &y, &layer, &depth);
        if (rc < 0) {
            img_fail(m, "Error while reading offset %llu: %s", (unsigned long long)at, strerror(-rc));
            return 3;
        }
        if ((x.present || x.data) != (y.present || y.data)) {
            if (!m->quiet)
                printf("Strict mode: Offset %llu block status mismatch!\n", (unsigned long long)at);
            return 1;
        }
        at += y.len;
    }
    return 0;
}

static int compare(struct img *m, struct block *a, struct block *b, bool strict)
{
    uint64_t size = MAX(block_size(a), block_size(b)), same = MIN(block_size(a), block_size(b));
    uint8_t *p = malloc(SLOT_SIZE), *q = malloc(SLOT_SIZE);
    int status = p && q ? 0 : 2;
    bool warned = block_size(a) == block_size(b);

    if (strict && !warned) {
        if (!m->quiet)
            printf("Strict mode: Image size mismatch!\n");
        status = 1;
    } else if (strict && status == 0) {
        status = compare_places(m, a, b, size);
    }
    img_progress(m, 0, size ? size : 1);
    for (uint64_t at = 0; at < size && status == 0;) {
        uint64_t n = MIN(SLOT_SIZE, at < same ? same - at : size - at);
        int rc;
        if (at >= same && !warned && !m->quiet)
            printf("Warning: Image size mismatch!\n");
        warned |= at >= same;
        memset(p, 0, n);
        memset(q, 0, n);
        rc = at < block_size(a) ? block_run(a, BLOCK_READ, 0, at, n, p) : 0;
        if (rc == 0 && at < block_size(b))
            rc = block_run(b, BLOCK_READ, 0, at, n, q);
        if (rc < 0) {
            img_fail(m, "Error while reading offset %llu: %s", (unsigned long long)at, strerror(-rc));
            status = 4;
        } else if (memcmp(p, q, n) != 0) {
            size_t i = 0;
            while (p[i] == q[i])
                i++;
            if (!m->quiet)
                printf("Content mismatch at offset %llu!\n", (unsigned long long)align_down(at + i, 512));
            status = 1;
        }
        at += n;
        img_progress(m, MIN(at, size - 1), size);
    }
    img_progress(m, 1, 1);
    if (status == 0 && !m->quiet)
        printf("Images are identical.\n");
    free(p);
    free(q);
    return status;
}

int img_compare(struct img *m)
{
    static const struct option longs[] = {IMG_LONG_COMMON};
    const char *format[2] = {NULL, NULL}, *path[2];
    struct block *a = NULL, *b = NULL;
    bool strict = false;
    int c, status = 2;

    while ((c = getopt_long(m->argc, m->argv, "f:F:pqsT:U", longs, NULL)) >= 0) {
        switch (c) {
        case 'f':
        case 'F': format[c == 'F'] = optarg; break;
        case 's': strict = true; break;
        case 'T':
            if (img_cache(m, optarg, &m->source))
                return 2;
            break;
        default:
            if (img_common_option(m, c))
                return 2;
        }
    }
    if (optind != m->argc - 2) {
        img_usage(m, "Expecting two image file names");
        return 2;
    }
    for (unsigned i = 0; i < 2; i++)
        if (!(path[i] = img_file(m, m->argv[optind + (int)i], &format[i])))
            return 2;
    if (img_open(m, &a, path[0], format[0], false, m->backing) == 0 &&
        img_open(m, &b, path[1], format[1], false, m->backing) == 0)
        status = compare(m, a, b, strict);
    block_close(a);
    block_close(b);
    return status;
}
