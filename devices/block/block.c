/*
 * What all formats and engines share: the choice of the engine, the checks on a request, counting and draining.
 */
#include "devices/block/block.h"

#include <errno.h>
#include <signal.h>

#include "devices/block/engine.h"
#include "vmm/base/log.h"

static void (*thread_init)(void);

void block_engine_set_thread_init(void (*fn)(void))
{
    thread_init = fn;
}

void engine_thread_init(void)
{
    if (thread_init)
        thread_init();
}

static void block_later(void *opaque);

int block_engine_create(struct block_engine **out, struct loop *l, bool force_threads, struct err *e)
{
    struct block_engine *en;
    int rc = -EPERM;

    /* A file size limit is an error of the write that meets it, not the end of the process. */
    signal(SIGXFSZ, SIG_IGN);
    if (!force_threads) {
        rc = engine_uring_create(&en, l);
        if (rc < 0)
            log_debug("block", "io_uring is refused (%s), threads do its work", strerror(-rc));
    }
    if (rc < 0)
        rc = engine_threads_create(&en, l, e);
    if (rc < 0)
        return rc;
    rc = loop_timer_add(l, &en->later, block_later, en);
    if (rc < 0) {
        en->ops->destroy(en);
        return err_set(e, -rc, "the block engine cannot be made: %s", strerror(-rc));
    }
    *out = en;
    return 0;
}

const char *block_engine_name(const struct block_engine *en)
{
    return en->ops->name;
}

void block_engine_destroy(struct block_engine *en)
{
    if (!en)
        return;
    loop_timer_remove(en->later);
    en->ops->destroy(en);
}

void block_close(struct block *b)
{
    if (!b)
        return;
    block_drain(b);
    b->ops->close(b);
}

uint64_t block_size(const struct block *b)
{
    return b->size;
}

bool block_read_only(const struct block *b)
{
    return b->read_only;
}

bool block_can_discard(const struct block *b)
{
    return b->can_discard && !b->read_only;
}

void block_finish(struct block_req *r, int result)
{
    engine_io(r)->block->in_flight--;
    r->done(r, result);
}

static void block_tell_refused(struct block_engine *en)
{
    struct engine_list now = en->refused;
    struct block_req *r;

    en->refused.first = NULL;
    while ((r = engine_list_take(&now)))
        block_finish(r, engine_io(r)->result);
}

static void block_later(void *opaque)
{
    struct block_engine *en = opaque;

    block_tell_refused(en);
    en->ops->flush(en);
}

void block_flush_later(struct block_engine *en)
{
    loop_timer_set(en->later, 0);
}

void block_finish_later(struct block_req *r, int result)
{
    struct block_engine *en = engine_io(r)->block->engine;

    engine_io(r)->result = result;
    if (!en->refused.first)
        loop_timer_set(en->later, 0);
    engine_list_add(&en->refused, r);
}

void block_step(struct block_req *r, int result)
{
    struct block *b = engine_io(r)->block;
    b->ops->step(b, r, result);
}

void block_submit(struct block *b, struct block_req *r)
{
    struct engine_io *io = engine_io(r);
    bool ranged = r->op != BLOCK_FLUSH;

    memset(io, 0, sizeof(*io));
    io->block = b;
    b->in_flight++;
    if (ranged && !range_within(r->offset, r->len, b->size)) {
        block_finish_later(r, -EINVAL);
        return;
    }
    if (b->read_only && r->op != BLOCK_READ && r->op != BLOCK_FLUSH) {
        block_finish_later(r, -EROFS);
        return;
    }
    if (ranged && r->len == 0) {
        block_finish_later(r, 0);
        return;
    }
    b->ops->start(b, r);
    if (!b->engine->plugged)
        b->engine->ops->flush(b->engine);
}

void block_plug(struct block *b)
{
    b->engine->plugged++;
}

void block_unplug(struct block *b)
{
    if (--b->engine->plugged == 0)
        b->engine->ops->flush(b->engine);
}

void block_pump(struct block_engine *en)
{
    if (en->refused.first) {
        block_tell_refused(en);
        return;
    }
    en->ops->flush(en);
    en->ops->wait(en);
}

void block_drain(struct block *b)
{
    while (b->in_flight)
        block_pump(b->engine);
}

struct block_wait {
    struct block_req req;
    bool done;
    int result;
};

static void block_run_done(struct block_req *r, int result)
{
    struct block_wait *w = container_of(r, struct block_wait, req);
    w->result = result;
    w->done = true;
}

int block_run(struct block *b, enum block_op op, uint32_t flags, uint64_t offset, uint64_t len, void *buf)
{
    struct iovec iov = {buf, len};
    struct block_wait w = {
        .req = {.op = op, .flags = flags, .offset = offset, .len = len, .done = block_run_done},
    };

    if (buf) {
        w.req.iov = &iov;
        w.req.niov = 1;
    }
    block_submit(b, &w.req);
    while (!w.done)
        block_pump(b->engine);
    return w.result;
}

int block_status(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x)
{
    if (len == 0 || !range_within(offset, len, b->size))
        return -EINVAL;
    memset(x, 0, sizeof(*x));
    return b->ops->status(b, offset, len, x);
}
