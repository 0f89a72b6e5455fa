/*
 * bench: requests on an image as fast as it takes them, to measure the block layer without a guest.
 *
 * As users of qemu-img know it, and with --random for requests at random places instead of one behind the other. What
 * is read or written matters to nobody: with -w, the image's content is lost.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "devices/block/engine.h"
#include "vmm/img/img.h"

#define DEPTH_MAX 1024

struct bench;

struct bench_slot {
    struct bench *t;
    struct block_req req;
    struct iovec iov;
    uint8_t *buf;
};

struct bench {
    struct img *m;
    struct block *b;
    uint64_t count, started, over; /* requests; flushes are not counted */
    uint64_t buffer, step, at, start;
    uint64_t flush_interval, unflushed; /* requests; 0: no flushes */
    uint64_t seed;
    unsigned depth, in_flight, nidle;
    unsigned pattern;
    bool write, random, no_drain, flush_due;
    int result;
    uint8_t *memory;
    struct bench_slot *slot, **idle;
};

static void bench_done(struct block_req *r, int result)
{
    struct bench_slot *s = container_of(r, struct bench_slot, req);
    struct bench *t = s->t;

    if (r->op != BLOCK_FLUSH) {
        t->over++;
        if (t->flush_interval && ++t->unflushed == t->flush_interval)
            t->flush_due = true;
    }
    if (result < 0 && t->result == 0)
        t->result = result;
    t->in_flight--;
    t->idle[t->nidle++] = s;
}

/* Where the next request goes: whole, inside the image. */
static uint64_t bench_next(struct bench *t)
{
    uint64_t size = block_size(t->b), at = t->at;

    if (t->random) {
        t->seed ^= t->seed << 13;
        t->seed ^= t->seed >> 7;
        t->seed ^= t->seed << 17;
        return t->start + t->seed % ((size - t->start) / t->buffer) * t->buffer;
    }
    t->at = (at + t->step) % size;
    if (t->at > size - t->buffer)
        t->at = t->start;
    return at;
}

static void bench_submit(struct bench *t, enum block_op op)
{
    struct bench_slot *s = t->idle[--t->nidle];

    s->req = (struct block_req){.op = op, .done = bench_done};
    if (op != BLOCK_FLUSH) {
        s->req.offset = bench_next(t);
        s->req.len = t->buffer;
        s->iov = (struct iovec){s->buf, t->buffer};
        s->req.iov = &s->iov;
        s->req.niov = 1;
        t->started++;
    }
    t->in_flight++;
    block_submit(t->b, &s->req);
}

static void bench_fill(struct bench *t)
{
    block_plug(t->b);
    while (t->nidle && t->result == 0) {
        if (t->flush_due && !t->no_drain && t->in_flight)
            break; /* until all that it is to make durable is over */
        if (t->flush_due) {
            t->flush_due = false;
            t->unflushed = 0;
            bench_submit(t, BLOCK_FLUSH);
            if (!t->no_drain)
                break;
        } else if (t->started < t->count) {
            bench_submit(t, t->write ? BLOCK_WRITE : BLOCK_READ);
        } else {
            break;
        }
    }
    block_unplug(t->b);
}

static int bench_run(struct bench *t)
{
    struct timespec from, to;

    if (!t->m->quiet) {
        printf("Sending %llu %s requests, %llu bytes each, %u in parallel (starting at offset %llu, ",
               (unsigned long long)t->count, t->write ? "write" : "read", (unsigned long long)t->buffer, t->depth,
               (unsigned long long)t->start);
        if (t->random)
            printf("at random)\n");
        else
            printf("step size %llu)\n", (unsigned long long)t->step);
        if (t->flush_interval)
            printf("Sending flush every %llu %srequests\n", (unsigned long long)t->flush_interval,
                   t->no_drain ? "" : "drained ");
        fflush(stdout);
    }
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (;;) {
        bench_fill(t);
        if (!t->in_flight)
            break;
        block_pump(t->m->engine);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (t->result < 0)
        return img_fail(t->m, "Failed request: %s", strerror(-t->result));
    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("Run completed in %.3f seconds.\n", seconds);
    if (!t->m->quiet && seconds > 0)
        printf("%.0f requests/s, %.1f MiB/s\n", (double)t->over / seconds,
               (double)t->over * (double)t->buffer / (1 << 20) / seconds);
    return 0;
}

static int bench_slots(struct bench *t)
{
    t->memory = aligned_alloc(4096, align_up(t->buffer * t->depth, 4096));
    t->slot = calloc(t->depth, sizeof(*t->slot));
    t->idle = calloc(t->depth, sizeof(struct bench_slot *));
    if (!t->memory || !t->slot || !t->idle)
        return img_fail(t->m, "no memory for %u buffers of %llu bytes", t->depth, (unsigned long long)t->buffer);
    memset(t->memory, (int)t->pattern, t->buffer * t->depth);
    for (unsigned i = 0; i < t->depth; i++) {
        t->slot[i] = (struct bench_slot){.t = t, .buf = t->memory + (size_t)i * t->buffer};
        t->idle[t->nidle++] = &t->slot[i];
    }
    return 0;
}

static int bench_on(struct bench *t, const char *path, const char *format, const char *cache)
{
    struct img *m = t->m;

    if (img_cache(m, cache, &m->source) || img_cache(m, cache, &m->target) ||
        img_open(m, &t->b, path, format, t->write, m->backing))
        return 1;
    int status;
    if (t->start > block_size(t->b) || block_size(t->b) - t->start < t->buffer)
        status = img_fail(m, "%s: %llu bytes at offset %llu do not lie inside it", path, (unsigned long long)t->buffer,
                          (unsigned long long)t->start);
    else
        status = bench_slots(t) || bench_run(t);
    block_close(t->b);
    free(t->memory);
    free(t->slot);
    free(t->idle);
    return status;
}

static int use_engine(struct img *m, const char *name)
{
    struct err e = {0};

    if (strcmp(name, "io_uring") != 0 && strcmp(name, "threads") != 0)
        return img_usage(m, "-i takes io_uring or threads, not %s", name);
    if (!strcmp(name, block_engine_name(m->engine)))
        return 0;
    if (!strcmp(name, "io_uring"))
        return img_fail(m, "this host gives no io_uring");
    block_engine_destroy(m->engine);
    m->engine = NULL;
    return block_engine_create(&m->engine, m->loop, true, &e) < 0 ? img_fail(m, "%s", e.msg) : 0;
}

int img_bench(struct img *m)
{
    enum { FLUSH_INTERVAL = 1, NO_DRAIN, PATTERN, RANDOM };
    static const struct option longs[] = {{"flush-interval", required_argument, NULL, FLUSH_INTERVAL},
                                          {"no-drain", no_argument, NULL, NO_DRAIN},
                                          {"pattern", required_argument, NULL, PATTERN},
                                          {"random", no_argument, NULL, RANDOM},
                                          IMG_LONG_COMMON};
    struct bench t = {.m = m, .count = 75000, .buffer = 4096, .seed = 0x9e3779b97f4a7c15};
    const char *format = NULL, *cache = "writeback";
    uint64_t depth = 64, pattern = 0;
    int c, status = 0;

    while (status == 0 && (c = getopt_long(m->argc, m->argv, "c:d:f:i:no:qs:S:t:wUh", longs, NULL)) >= 0) {
        switch (c) {
        case 'c': status = img_number(m, "request count", 1, UINT32_MAX, &t.count); break;
        case 'd': status = img_number(m, "queue depth", 1, DEPTH_MAX, &depth); break;
        case 'f': format = optarg; break;
        case 'i': status = use_engine(m, optarg); break;
        case 'n': status = use_engine(m, "io_uring"); break;
        case 'o': status = img_size(m, optarg, &t.start); break;
        case 's': status = img_size(m, optarg, &t.buffer); break;
        case 'S': status = img_size(m, optarg, &t.step); break;
        case 't': cache = optarg; break;
        case 'w': t.write = true; break;
        case FLUSH_INTERVAL: status = img_number(m, "flush interval", 1, UINT32_MAX, &t.flush_interval); break;
        case NO_DRAIN: t.no_drain = true; break;
        case PATTERN: status = img_number(m, "pattern", 0, 255, &pattern); break;
        case RANDOM: t.random = true; break;
        default: status = img_common_option(m, c); break;
        }
    }
    if (status)
        return status;
    if (optind != m->argc - 1)
        return img_usage(m, "Expecting one image file name");
    if (t.buffer == 0 || t.buffer % 512 || t.buffer > MIB(64) || t.start % 512 || t.step % 512)
        return img_usage(m,
                         "offset, step and buffer size are multiples of 512 bytes; a buffer has 512 bytes to 64 MiB");
    if (t.flush_interval && (!t.write || t.flush_interval < depth))
        return img_usage(m, "--flush-interval wants -w, and no less than the queue depth");
    if (t.random && t.step)
        return img_usage(m, "--random and -S do not go together");
    t.depth = (unsigned)depth;
    t.pattern = (unsigned)pattern;
    t.at = t.start;
    t.step = t.step ? t.step : t.buffer;
    return bench_on(&t, m->argv[optind], format, cache);
}
