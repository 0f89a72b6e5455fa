/*
 * Inside devices/block: what a format (raw) asks of an engine, and what both keep in a request.
 *
 * An engine carries out one elementary operation of a request at a time. It calls the format's step() on the loop
 * thread with the outcome, and step() starts the next operation or finishes the request. Everything but the pool's
 * workers runs on the loop thread.
 */
#ifndef PIPIT_DEVICES_BLOCK_ENGINE_H
#define PIPIT_DEVICES_BLOCK_ENGINE_H

#include "devices/block/block.h"
#include "vmm/base/util.h"

enum engine_op { ENGINE_READV, ENGINE_WRITEV, ENGINE_FDATASYNC, ENGINE_FALLOCATE };

/* The elementary operation that a request stands at; lives in block_req.engine. */
struct engine_io {
    struct block_req *next; /* in a list of the engine's */
    struct block *block;
    const struct iovec *iov;
    uint64_t offset;
    uint64_t len; /* ENGINE_FALLOCATE */
    uint32_t niov;
    int32_t mode;   /* ENGINE_FALLOCATE */
    int32_t result; /* on its way back */
    uint8_t op;     /* enum engine_op */
    uint8_t phase;  /* the format's */
    union {         /* the format's own; NULL at the start */
        struct raw_slow *slow;
        struct q_req *qreq;
    };
};
_Static_assert(sizeof(struct engine_io) <= sizeof(((struct block_req *)0)->engine), "engine_io outgrew block_req");

static inline struct engine_io *engine_io(struct block_req *r)
{
    return (struct engine_io *)(void *)r->engine;
}

/* A first-in, first-out list of requests. */
struct engine_list {
    struct block_req *first, *last;
};

static inline void engine_list_add(struct engine_list *l, struct block_req *r)
{
    engine_io(r)->next = NULL;
    if (l->first)
        engine_io(l->last)->next = r;
    else
        l->first = r;
    l->last = r;
}

static inline struct block_req *engine_list_take(struct engine_list *l)
{
    struct block_req *r = l->first;
    if (r)
        l->first = engine_io(r)->next;
    return r;
}

struct engine_ops {
    const char *name;
    /* A descriptor becomes usable; the slot that stands for it goes to *slot. */
    int (*add_file)(struct block_engine *en, int fd, int *slot);
    void (*remove_file)(struct block_engine *en, int slot);
    /* Starts the request's engine_io; step is called later, never from inside. */
    void (*start)(struct block_engine *en, struct block_req *r);
    /* What was started since the last flush goes to the kernel. */
    void (*flush)(struct block_engine *en);
    /* Blocks until at least one operation is over, and calls step for those that are. */
    void (*wait)(struct block_engine *en);
    void (*destroy)(struct block_engine *en);
};

struct block_engine {
    const struct engine_ops *ops;
    struct loop *loop;
    unsigned plugged;
    struct loop_timer *later;   /* fires at once: tells what was refused, flushes what could not be */
    struct engine_list refused; /* finished without any operation */
};

struct block_ops {
    /* Starts a request that passed the checks of block_submit. */
    void (*start)(struct block *b, struct block_req *r);
    /* An engine's report; NULL for formats that work on other blocks. */
    void (*step)(struct block *b, struct block_req *r, int result);
    /* What lies at `offset`; blocks. */
    int (*status)(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x);
    void (*close)(struct block *b);
};

struct block {
    const struct block_ops *ops;
    struct block_engine *engine;
    int fd, slot;
    uint64_t size;
    bool read_only;
    bool can_discard;
    unsigned in_flight;
};

/* Tells the caller; the request is the caller's again when this returns. */
void block_finish(struct block_req *r, int result);
/* The same, from the loop. */
void block_finish_later(struct block_req *r, int result);
/* Makes the loop call flush soon. */
void block_flush_later(struct block_engine *en);
/* Blocks until something that is in flight on the engine is over; callbacks run inside. */
void block_pump(struct block_engine *en);
/* An engine's report: the request's operation is over. */
void block_step(struct block_req *r, int result);

int engine_uring_create(struct block_engine **out, struct loop *l);
int engine_threads_create(struct block_engine **out, struct loop *l, struct err *e);
/* Calls what block_engine_set_thread_init was given. */
void engine_thread_init(void);

#endif
