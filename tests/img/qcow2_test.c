/*
 * qcow2 under load: random requests, many in flight, with a model of what the disk must hold; and what a crash leaves.
 *
 * Crashes are shown without luck: a block between the format and the file records every write, discard and flush. A
 * host that loses power keeps what was over before the last flush that ended, and any part of the rest: for many
 * instants such files are made, checked, and their content compared with what had been flushed.
 *
 *   qcow2_test                         all of this, on images of several shapes
 *   qcow2_test load FILE SEED COUNT    COUNT random requests on an image; then FILE.model is what it must equal
 *   qcow2_test crash FILE LOG SEED     writes until killed; LOG is for `verify`
 *   qcow2_test verify FILE LOG         is what LOG says was flushed in the image?
 */
#include "devices/block/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "tests/check.h"

#define UNIT 4096 /* the load's smallest piece */
#define DEPTH 16
#define OP_UNITS 64

static struct loop *loop;
static struct block_engine *engine;
/* In memory where there is such a place: thousands of flushes to a disk take minutes and show nothing more. */
static char dir[] = "/dev/shm/pipit-qcow2-XXXXXX";
static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

/* ---- a recording file ---- */

struct record {
    enum block_op op;
    uint64_t offset, len;
    uint8_t *data;
    int64_t started, ended; /* event numbers; -1: not yet */
};
struct recorder {
    struct block b;
    struct block *raw;
    struct record *rec;
    size_t n, max;
    int64_t events;
};
struct rec_req {
    struct block_req req;
    struct block_req *up;
    struct recorder *r;
    size_t index;
};

static void rec_done(struct block_req *req, int result)
{
    struct rec_req *q = container_of(req, struct rec_req, req);
    struct recorder *r = q->r;

    if (q->index != SIZE_MAX)
        r->rec[q->index].ended = r->events++;
    block_finish(q->up, result);
    free(q);
}

static void rec_start(struct block *b, struct block_req *up)
{
    struct recorder *r = container_of(b, struct recorder, b);
    struct rec_req *q = calloc(1, sizeof(*q));

    q->req = (struct block_req){.op = up->op,
                                .flags = up->flags,
                                .offset = up->offset,
                                .len = up->len,
                                .iov = up->iov,
                                .niov = up->niov,
                                .done = rec_done};
    q->up = up;
    q->r = r;
    q->index = SIZE_MAX;
    if (up->op != BLOCK_READ) {
        if (r->n == r->max) {
            r->max = r->max ? 2 * r->max : 1024;
            r->rec = realloc(r->rec, r->max * sizeof(*r->rec));
        }
        q->index = r->n++;
        struct record *x = &r->rec[q->index];
        *x = (struct record){.op = up->op, .offset = up->offset, .len = up->len, .started = r->events++, .ended = -1};
        if (up->op == BLOCK_WRITE) {
            x->data = malloc(up->len);
            uint64_t at = 0;
            for (unsigned i = 0; i < up->niov; at += up->iov[i++].iov_len)
                memcpy(x->data + at, up->iov[i].iov_base, up->iov[i].iov_len);
        }
    }
    block_submit(r->raw, &q->req);
}

static void rec_close(struct block *b)
{
    struct recorder *r = container_of(b, struct recorder, b);
    block_close(r->raw);
}

static const struct block_ops rec_ops = {.start = rec_start, .close = rec_close};

static void rec_free(struct recorder *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->rec[i].data);
    free(r->rec);
}

/* ---- the load and its model ---- */

/* What happened to each unit: the numbers of the operations on it, in order. Their content is their number, or zeroes.
 */
struct unit_op {
    uint32_t number; /* 0: before the load */
    bool zero;
    int64_t ended;
};
struct unit {
    struct unit_op *op;
    unsigned n;
    bool busy;
};
struct load {
    struct block *b;
    struct unit *unit;
    uint64_t units;
    uint32_t next; /* operation number */
    unsigned in_flight, failed;
    bool discards;
    int log;
    int64_t clock; /* events; the recorder's where there is one */
    int64_t *clock_of;
    int64_t *flush_started, *flush_ended;
    unsigned nflush;
};
struct op {
    struct load *l;
    struct block_req req;
    struct iovec iov[2];
    uint8_t *buf;
    uint64_t first, n;
    uint32_t number;
    unsigned flush;
};

static int64_t tick(struct load *l)
{
    return (*l->clock_of)++;
}

static void log_line(struct load *l, const char *fmt, unsigned long a, unsigned long b, unsigned long c,
                     unsigned long d)
{
    char text[100];
    if (l->log < 0)
        return;
    int n = snprintf(text, sizeof(text), fmt, a, b, c, d);
    if (write(l->log, text, (size_t)n) != n)
        l->failed++;
}

static void op_done(struct block_req *req, int result)
{
    struct op *o = container_of(req, struct op, req);
    struct load *l = o->l;
    int64_t now = tick(l);

    if (result < 0 && l->failed++ == 0)
        printf("  request %u fails: %s\n", o->number, strerror(-result));
    if (req->op == BLOCK_FLUSH) {
        if (result == 0)
            l->flush_ended[o->flush] = now;
        log_line(l, "F %lu\n", o->flush, 0, 0, 0);
    } else {
        for (uint64_t i = o->first; i < o->first + o->n; i++) {
            l->unit[i].op[l->unit[i].n - 1].ended = now;
            l->unit[i].busy = false;
        }
        log_line(l, "D %lu\n", o->number, 0, 0, 0);
    }
    l->in_flight--;
    free(o->buf);
    free(o);
}

static void fill(uint8_t *p, uint64_t first, uint64_t n, uint32_t number)
{
    for (uint64_t i = 0; i < n * UNIT / 8; i++)
        le64_put(p + i * 8, (uint64_t)number << 32 | (uint32_t)(first + i / (UNIT / 8)));
}

static void one_op(struct load *l)
{
    struct op *o = calloc(1, sizeof(*o));
    uint64_t kind = rnd(100);

    o->l = l;
    o->req.done = op_done;
    l->in_flight++;
    if (kind < 4) {
        o->req.op = BLOCK_FLUSH;
        o->flush = l->nflush++;
        l->flush_started = realloc(l->flush_started, l->nflush * sizeof(int64_t));
        l->flush_ended = realloc(l->flush_ended, l->nflush * sizeof(int64_t));
        l->flush_ended[o->flush] = -1;
        l->flush_started[o->flush] = tick(l);
        log_line(l, "f %lu\n", o->flush, 0, 0, 0);
        block_submit(l->b, &o->req);
        return;
    }
    for (unsigned tries = 0;; tries++) {
        o->n = 1 + (rnd(4) ? rnd(3) : rnd(OP_UNITS));
        o->n = MIN(o->n, l->units);
        o->first = rnd(l->units - o->n + 1);
        bool busy = false;
        for (uint64_t i = o->first; i < o->first + o->n; i++)
            busy |= l->unit[i].busy;
        if (!busy)
            break;
        if (tries == 50) {
            l->in_flight--;
            free(o);
            return;
        }
    }
    bool zero = kind < 25;
    o->number = ++l->next;
    o->req.offset = o->first * UNIT;
    o->req.len = o->n * UNIT;
    for (uint64_t i = o->first; i < o->first + o->n; i++) {
        struct unit *u = &l->unit[i];
        u->busy = true;
        u->op = realloc(u->op, (u->n + 1) * sizeof(*u->op));
        u->op[u->n++] = (struct unit_op){.number = o->number, .zero = zero, .ended = -1};
    }
    log_line(l, "W %lu %lu %lu %lu\n", o->number, o->first, o->n, zero);
    if (zero) {
        o->req.op = BLOCK_WRITE_ZEROES;
        o->req.flags = rnd(2) ? BLOCK_REQ_UNMAP : 0;
    } else {
        o->req.op = BLOCK_WRITE;
        o->buf = malloc(o->req.len);
        fill(o->buf, o->first, o->n, o->number);
        uint64_t cut = rnd(o->n + 1) * UNIT; /* in two buffers, perhaps */
        o->iov[0] = (struct iovec){o->buf, cut};
        o->iov[1] = (struct iovec){o->buf + cut, o->req.len - cut};
        o->req.iov = o->iov;
        o->req.niov = 2;
    }
    block_submit(l->b, &o->req);
}

static void load_init(struct load *l, struct block *b, int64_t *clock, int log)
{
    *l = (struct load){.b = b, .units = block_size(b) / UNIT, .log = log};
    l->clock_of = clock ? clock : &l->clock;
    l->unit = calloc(l->units, sizeof(*l->unit));
}

static void load_run(struct load *l, unsigned count, bool forever)
{
    while (l->next < count || forever) {
        while (l->in_flight >= DEPTH)
            block_pump(engine);
        one_op(l);
        if (rnd(3) == 0 && l->in_flight)
            block_pump(engine);
    }
    while (l->in_flight)
        block_pump(engine);
}

static void load_free(struct load *l)
{
    for (uint64_t i = 0; i < l->units; i++)
        free(l->unit[i].op);
    free(l->unit);
    free(l->flush_started);
    free(l->flush_ended);
}

/* Which operation's content is this unit? 0 for zeroes, -1 for nonsense. */
static int64_t unit_number(const uint8_t *p, uint64_t i)
{
    uint64_t v = le64_get(p);

    for (unsigned j = 8; j < UNIT; j += 8)
        if (le64_get(p + j) != v)
            return -1;
    if (v && (uint32_t)v != (uint32_t)i)
        return -1;
    return (int64_t)(v >> 32);
}

/* Is the unit's content that of operation `from` of its list or a later one? from == -1: or what was there before. */
static bool unit_ok(const struct unit *u, int64_t number, int from, int to)
{
    if (from < 0 && number == 0)
        return true;
    for (int k = MAX(from, 0); k < to; k++)
        if (number == (u->op[k].zero ? 0 : (int64_t)u->op[k].number))
            return true;
    return false;
}

static unsigned compare_model(struct load *l, struct block *b)
{
    static uint8_t buf[OP_UNITS * UNIT];
    unsigned bad = 0;

    for (uint64_t at = 0; at < l->units; at += OP_UNITS) {
        uint64_t n = MIN(l->units - at, (uint64_t)OP_UNITS);
        if (block_run(b, BLOCK_READ, 0, at * UNIT, n * UNIT, buf) < 0)
            return 1000;
        for (uint64_t i = 0; i < n; i++) {
            const struct unit *u = &l->unit[at + i];
            if (!unit_ok(u, unit_number(buf + i * UNIT, at + i), (int)u->n - 1, (int)u->n) && bad++ == 0)
                printf("  unit %" PRIu64 " holds %" PRId64 "\n", at + i, unit_number(buf + i * UNIT, at + i));
        }
    }
    return bad;
}

/* ---- images ---- */

struct shape {
    const char *name;
    struct qcow2_create c;
};
static const struct shape shapes[] = {
    {"default", {.size = MIB(24), .version = 3, .cluster_bits = 16, .refcount_order = 4}},
    {"small clusters", {.size = MIB(8), .version = 3, .cluster_bits = 9, .refcount_order = 4}},
    {"version 2", {.size = MIB(16) + 4096, .version = 2, .cluster_bits = 12, .refcount_order = 4}},
    {"extended L2", {.size = MIB(24), .version = 3, .cluster_bits = 17, .refcount_order = 4, .extended_l2 = true}},
    {"one-bit refcounts", {.size = MIB(16), .version = 3, .cluster_bits = 13, .refcount_order = 0}},
    {"64-bit refcounts", {.size = MIB(16), .version = 3, .cluster_bits = 10, .refcount_order = 6}},
};

static struct block *container(const char *path, bool fresh)
{
    const struct block_options o = {.writeback = true, .container = true};
    struct block *b = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (fresh ? O_TRUNC : 0), 0600);

    return fd < 0 || block_open_raw_fd(&b, engine, fd, path, &o, NULL) < 0 ? NULL : b;
}

static struct block *open_path(const char *path, bool read_only)
{
    const struct qcow2_options o = {.block = {.writeback = true, .read_only = read_only}, .backing = BLOCK_BACKING_ALL};
    struct err e = {0};
    struct block *b = NULL;

    if (qcow2_open(&b, engine, path, &o, &e) < 0)
        printf("  %s\n", e.msg);
    return b;
}

static void say(const char *text, bool corruption)
{
    printf("  %s: %s\n", corruption ? "corruption" : "leak", text);
}

static bool is_sound(struct block *b, bool leaks_too)
{
    struct qcow2_check k;

    if (qcow2_check(b, &k, false, false, NULL, NULL) < 0)
        return false;
    if (!k.corruptions && !k.check_errors && (!leaks_too || !k.leaks))
        return true;
    qcow2_check(b, &k, false, false, say, NULL);
    return false;
}

static const struct shape *shape;

static void test_load(void)
{
    char path[64];
    struct load l;

    snprintf(path, sizeof(path), "%s/load", dir);
    rng = 0x1234567 + shape->c.cluster_bits;
    struct block *file = container(path, true), *b;
    CHECK(file);
    CHECK_EQ(qcow2_create(file, &shape->c, NULL), 0);
    block_close(file);
    CHECK((b = open_path(path, false)));
    load_init(&l, b, NULL, -1);
    load_run(&l, 3000, false);
    CHECK_EQ(l.failed, 0);
    CHECK_EQ(compare_model(&l, b), 0);
    block_close(b);
    CHECK((b = open_path(path, true)));
    CHECK_EQ(compare_model(&l, b), 0);
    CHECK(is_sound(b, true));
    block_close(b);
    load_free(&l);
}

/* The file at event `cut`, with a random part of what no flush had secured. */
static bool make_crashed(const struct recorder *r, const char *path, int64_t cut)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int64_t secured = -1;
    bool ok = fd >= 0;

    for (size_t i = 0; i < r->n; i++)
        if (r->rec[i].op == BLOCK_FLUSH && r->rec[i].ended >= 0 && r->rec[i].ended < cut)
            secured = MAX(secured, r->rec[i].started);
    unsigned chance = (unsigned)rnd(4); /* from nothing to everything of the rest */
    for (size_t i = 0; i < r->n && ok; i++) {
        const struct record *x = &r->rec[i];
        bool sure = x->ended >= 0 && x->ended < secured;
        if (x->op == BLOCK_FLUSH || x->started >= cut || (!sure && rnd(3) >= chance))
            continue;
        if (x->op == BLOCK_WRITE)
            ok = pwrite(fd, x->data, x->len, (off_t)x->offset) == (ssize_t)x->len;
        else if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)x->offset, (off_t)x->len) < 0)
            ok = errno == EOPNOTSUPP;
    }
    if (fd >= 0)
        close(fd);
    return ok;
}

/* All that had been flushed by event `cut` is there. */
static unsigned compare_flushed(const struct load *l, struct block *b, int64_t cut)
{
    static uint8_t buf[OP_UNITS * UNIT];
    int64_t flushed = -1;
    unsigned bad = 0;

    for (unsigned i = 0; i < l->nflush; i++)
        if (l->flush_ended[i] >= 0 && l->flush_ended[i] < cut)
            flushed = MAX(flushed, l->flush_started[i]);
    for (uint64_t at = 0; at < l->units; at += OP_UNITS) {
        uint64_t n = MIN(l->units - at, (uint64_t)OP_UNITS);
        if (block_run(b, BLOCK_READ, 0, at * UNIT, n * UNIT, buf) < 0)
            return 1000;
        for (uint64_t i = 0; i < n; i++) {
            const struct unit *u = &l->unit[at + i];
            int from = -1;
            for (unsigned k = 0; k < u->n; k++)
                if (u->op[k].ended >= 0 && u->op[k].ended < flushed)
                    from = (int)k;
            /* A write that was under way may be there in part. */
            int64_t number = unit_number(buf + i * UNIT, at + i);
            bool pending = from + 1 < (int)u->n;
            if (!unit_ok(u, number, from, (int)u->n) && !(number == -1 && pending) && bad++ == 0)
                printf("  unit %" PRIu64 " holds %" PRId64 " after a crash at event %" PRId64 "\n", at + i, number,
                       cut);
        }
    }
    return bad;
}

static void test_crashes(void)
{
    char path[64], crashed[64];
    struct recorder r = {.events = 0};
    const struct qcow2_options o = {.block = {.writeback = true}, .backing = BLOCK_BACKING_ALL};
    struct load l;
    struct block *b;

    snprintf(path, sizeof(path), "%s/crash", dir);
    snprintf(crashed, sizeof(crashed), "%s/crashed", dir);
    rng = 0x7654321 + shape->c.cluster_bits;
    r.raw = container(path, true);
    CHECK(r.raw);
    r.b = (struct block){.ops = &rec_ops,
                         .engine = engine,
                         .fd = block_raw_fd(r.raw),
                         .size = block_size(r.raw),
                         .can_discard = block_can_discard(r.raw)};
    CHECK_EQ(qcow2_create(&r.b, &shape->c, NULL), 0);
    int64_t begin = r.events;
    CHECK_EQ(qcow2_open_on(&b, &r.b, path, &o, NULL), 0);
    load_init(&l, b, &r.events, -1);
    load_run(&l, 700, false);
    CHECK_EQ(l.failed, 0);
    CHECK_EQ(compare_model(&l, b), 0);
    block_close(b);
    unsigned unsound = 0, lost = 0;
    for (unsigned i = 0; i < 60 && !unsound && !lost; i++) {
        int64_t cut = begin + (int64_t)rnd((uint64_t)(r.events - begin) + 1);
        CHECK(make_crashed(&r, crashed, cut));
        struct block *c = open_path(crashed, true);
        CHECK(c);
        unsound += !is_sound(c, false);
        lost += compare_flushed(&l, c, cut);
        block_close(c);
    }
    CHECK_EQ(unsound, 0);
    CHECK_EQ(lost, 0);
    load_free(&l);
    rec_free(&r);
}

/* ---- for scripts ---- */

static int do_load(const char *path, uint64_t seed, unsigned count)
{
    static uint8_t buf[UNIT];
    char model[4096];
    struct load l;
    struct block *b = open_path(path, false);

    if (!b)
        return 1;
    rng = seed * 2654435761U + 88172645463325252U;
    load_init(&l, b, NULL, -1);
    /* Units start as whatever the image has: the model's file says which ones the load wrote. */
    snprintf(model, sizeof(model), "%s.model", path);
    int fd = open(model, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)block_size(b)) < 0)
        return 1;
    load_run(&l, count, false);
    for (uint64_t i = 0; i < l.units; i++) {
        const struct unit *u = &l.unit[i];
        if (!u->n)
            continue;
        memset(buf, 0, sizeof(buf));
        if (!u->op[u->n - 1].zero)
            fill(buf, i, 1, u->op[u->n - 1].number);
        if (pwrite(fd, buf, UNIT, (off_t)(i * UNIT)) != UNIT)
            return 1;
    }
    close(fd);
    block_close(b);
    load_free(&l);
    return l.failed != 0;
}

static int do_crash(const char *path, const char *log, uint64_t seed)
{
    struct load l;
    struct block *b = open_path(path, false);
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (!b || fd < 0)
        return 1;
    rng = seed * 2654435761U + 88172645463325252U;
    load_init(&l, b, NULL, fd);
    load_run(&l, 0, true);
    return 1;
}

static void verify_line(struct load *l, const char *line, uint32_t *op_first, uint32_t *op_n, size_t max)
{
    unsigned long a, b, c, d;

    if (sscanf(line, "W %lu %lu %lu %lu", &a, &b, &c, &d) == 4 && a < max && b + c <= l->units) {
        op_first[a] = (uint32_t)b;
        op_n[a] = (uint32_t)c;
        for (uint64_t i = b; i < b + c; i++) {
            struct unit *u = &l->unit[i];
            u->op = realloc(u->op, (u->n + 1) * sizeof(*u->op));
            u->op[u->n++] = (struct unit_op){.number = (uint32_t)a, .zero = d, .ended = -1};
        }
    } else if (sscanf(line, "D %lu", &a) == 1 && a < max) {
        int64_t now = l->clock++;
        for (uint64_t i = op_first[a]; i < op_first[a] + (uint64_t)op_n[a]; i++)
            for (unsigned k = 0; k < l->unit[i].n; k++)
                if (l->unit[i].op[k].number == a)
                    l->unit[i].op[k].ended = now;
    } else if (sscanf(line, "f %lu", &a) == 1) {
        l->nflush = (unsigned)a + 1;
        l->flush_started = realloc(l->flush_started, l->nflush * sizeof(int64_t));
        l->flush_ended = realloc(l->flush_ended, l->nflush * sizeof(int64_t));
        l->flush_started[a] = l->clock++;
        l->flush_ended[a] = -1;
    } else if (sscanf(line, "F %lu", &a) == 1 && a < l->nflush) {
        l->flush_ended[a] = l->clock++;
    }
}

static int do_verify(const char *path, const char *log)
{
    enum { MAX_OPS = 4000000 };
    uint32_t *first = calloc(MAX_OPS, sizeof(*first)), *n = calloc(MAX_OPS, sizeof(*n));
    struct block *b = open_path(path, true);
    FILE *f = fopen(log, "re");
    char line[128];
    struct load l;

    if (!b || !f || !first || !n)
        return 1;
    load_init(&l, b, NULL, -1);
    while (fgets(line, sizeof(line), f))
        verify_line(&l, line, first, n, MAX_OPS);
    fclose(f);
    unsigned bad = compare_flushed(&l, b, INT64_MAX);
    printf("%u flushes, %u units lost\n", l.nflush, bad);
    block_close(b);
    free(first);
    free(n);
    load_free(&l);
    return bad != 0;
}

static void remove_files(void)
{
    static const char *const names[] = {"load", "crash", "crashed"};
    char path[64];

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(int argc, char **argv)
{
    if (loop_create(&loop, NULL) < 0)
        return 1;
    if (argc > 1) {
        if (block_engine_create(&engine, loop, false, NULL) < 0)
            return 1;
        int status = 2;
        if (argc == 5 && !strcmp(argv[1], "load"))
            status = do_load(argv[2], strtoull(argv[3], NULL, 0), (unsigned)strtoul(argv[4], NULL, 0));
        if (argc == 5 && !strcmp(argv[1], "crash"))
            status = do_crash(argv[2], argv[3], strtoull(argv[4], NULL, 0));
        if (argc == 4 && !strcmp(argv[1], "verify"))
            status = do_verify(argv[2], argv[3]);
        block_engine_destroy(engine);
        loop_destroy(loop);
        return status;
    }
    if (access("/dev/shm", W_OK) < 0)
        memcpy(dir, "/tmp/pipit-qcow2-XXXXXX", sizeof("/tmp/pipit-qcow2-XXXXXX"));
    if (!mkdtemp(dir))
        return 1;
    for (unsigned threads = 0; threads < 2; threads++) {
        if (block_engine_create(&engine, loop, threads, NULL) < 0)
            return 1;
        for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
            shape = &shapes[i];
            printf("%s, %s\n", block_engine_name(engine), shape->name);
            RUN(test_load);
            RUN(test_crashes);
        }
        block_engine_destroy(engine);
    }
    remove_files();
    loop_destroy(loop);
    return check_done();
}
