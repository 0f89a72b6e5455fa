/*
 * Requests on a qcow2 image, and reading.
 *
 * A request walks through its range. Each stretch that the tables map to one place becomes a child request on the file
 * (or on the backing image), and all of them are in flight at once. Where a table is not in memory the request parks;
 * when it is resumed it goes on at the byte where it stood.
 */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

static void req_resume(struct q_waiter *w);

void q_req_finish(struct q_req *x)
{
    struct qcow2 *q = x->q;
    struct block_req *r = x->r;
    int result = x->result;
    bool inside = x->running;

    *(x->newer ? &x->newer->older : &q->newest_req) = x->older;
    *(x->older ? &x->older->newer : &q->oldest_req) = x->newer;
    free(x);
    q_free_run(q);
    if (inside)
        block_finish_later(r, result);
    else
        block_finish(r, result);
}

/* All of the data is where it belongs. */
static void req_over(struct q_req *x)
{
    struct qcow2 *q = x->q;
    bool changes = x->r->op == BLOCK_WRITE || x->r->op == BLOCK_WRITE_ZEROES;

    if (x->result == 0 && (x->r->op == BLOCK_FLUSH || (changes && !q->writeback)) && !q->b.read_only &&
        (!q->ignore_flush || q_commit_needed(q))) {
        x->running = false; /* a commit never ends inside */
        x->pending = 1;
        q_flush(x);
        return;
    }
    q_req_finish(x);
}

void q_req_done(struct q_req *x)
{
    if (--x->pending == 0 && !x->parked && !x->running && (x->pos == x->r->len || x->result < 0))
        req_over(x);
}

/* Part of a request's data, where that lies in several places. */
struct child {
    struct block_req req;
    struct q_req *x;
    struct iovec iov[];
};

static void part_done(struct q_req *x, int result)
{
    if (result < 0 && x->result == 0)
        x->result = result;
    q_req_done(x);
}

static void child_done(struct block_req *r, int result)
{
    struct child *c = container_of(r, struct child, req);
    struct q_req *x = c->x;

    free(c);
    part_done(x, result);
}

static void whole_done(struct block_req *r, int result)
{
    part_done(container_of(r, struct q_req, whole), result);
}

unsigned q_iov_part(const struct block_req *r, uint64_t from, uint64_t len, struct iovec *iov)
{
    unsigned n = 0;

    for (unsigned i = 0; i < r->niov && len; i++) {
        if (from >= r->iov[i].iov_len) {
            from -= r->iov[i].iov_len;
            continue;
        }
        size_t part = MIN((uint64_t)r->iov[i].iov_len - from, len);
        if (iov)
            iov[n] = (struct iovec){(uint8_t *)r->iov[i].iov_base + from, part};
        n++;
        from = 0;
        len -= part;
    }
    return n;
}

int q_req_part(struct q_req *x, struct block *b, uint64_t offset, uint64_t len)
{
    struct block_req *part = &x->whole;

    if (len == x->r->len) {
        *part = (struct block_req){.iov = x->r->iov, .niov = x->r->niov, .done = whole_done};
    } else {
        unsigned n = q_iov_part(x->r, x->pos, len, NULL);
        struct child *c = malloc(sizeof(*c) + n * sizeof(struct iovec));
        if (!c)
            return -ENOMEM;
        c->x = x;
        q_iov_part(x->r, x->pos, len, c->iov);
        part = &c->req;
        *part = (struct block_req){.iov = c->iov, .niov = n, .done = child_done};
    }
    part->op = x->r->op;
    part->offset = offset;
    part->len = len;
    x->pending++;
    x->pos += len;
    block_submit(b, part);
    return 0;
}

/* Copies into the request's buffers, zeroes where `data` is NULL. */
static void req_fill(const struct block_req *r, uint64_t from, uint64_t len, const uint8_t *data)
{
    for (unsigned i = 0; i < r->niov && len; i++) {
        if (from >= r->iov[i].iov_len) {
            from -= r->iov[i].iov_len;
            continue;
        }
        size_t part = MIN((uint64_t)r->iov[i].iov_len - from, len);
        uint8_t *to = (uint8_t *)r->iov[i].iov_base + from;
        if (data) {
            memcpy(to, data, part);
            data += part;
        } else {
            memset(to, 0, part);
        }
        from = 0;
        len -= part;
    }
}

bool q_reads_zero(struct qcow2 *q, uint64_t at, uint64_t len)
{
    struct q_map m;

    for (uint64_t end = at + len; at < end; at += m.len) {
        if (q_map(q, at, end - at, NULL, &m) < 0)
            return false;
        if (m.type == Q_DATA || m.type == Q_PACKED || (m.type == Q_ABSENT && q->backing && at < q->backing->size))
            return false;
    }
    return true;
}

static int read_absent(struct q_req *x, uint64_t at, uint64_t len)
{
    struct block *backing = x->q->backing;
    uint64_t size = backing ? backing->size : 0;

    if (at < size)
        return q_req_part(x, backing, at, MIN(len, size - at));
    req_fill(x->r, x->pos, len, NULL);
    x->pos += len;
    return 0;
}

/* The compressed clusters behind this one: what a large request wants next is loaded meanwhile. */
static void read_ahead(struct q_req *x, uint64_t at)
{
    struct qcow2 *q = x->q;
    uint64_t end = x->r->offset + x->r->len;
    const uint8_t *data;
    struct q_map m;

    for (unsigned i = 1; i < q->nunpacked / 2; i++) {
        at = align_down(at, q->cluster_size) + q->cluster_size;
        if (at >= end || q_map(q, at, 1, NULL, &m) < 0 || m.type != Q_PACKED)
            return;
        q_unpacked_get(q, m.entry, NULL, &data);
    }
}

static int read_packed(struct q_req *x, uint64_t at, const struct q_map *m)
{
    const uint8_t *data;
    int rc = q_unpacked_get(x->q, m->entry, &x->wait, &data);

    if (rc == -EAGAIN)
        read_ahead(x, at);
    if (rc < 0)
        return rc;
    req_fill(x->r, x->pos, m->len, data + (at & (x->q->cluster_size - 1)));
    x->pos += m->len;
    return 0;
}

static int step_read(struct q_req *x)
{
    uint64_t at = x->r->offset + x->pos;
    struct q_map m;
    int rc = q_map(x->q, at, x->r->len - x->pos, &x->wait, &m);

    if (rc < 0)
        return rc;
    switch (m.type) {
    case Q_ABSENT: return read_absent(x, at, m.len);
    case Q_DATA: return q_req_part(x, x->q->file, m.host, m.len);
    case Q_PACKED: return read_packed(x, at, &m);
    case Q_ZEROES: break;
    }
    req_fill(x->r, x->pos, m.len, NULL);
    x->pos += m.len;
    return 0;
}

static int req_step(struct q_req *x)
{
    switch (x->r->op) {
    case BLOCK_READ: return step_read(x);
    case BLOCK_WRITE: return q_step_write(x);
    case BLOCK_WRITE_ZEROES: return q_step_zeroes(x);
    case BLOCK_DISCARD: return q_step_discard(x);
    case BLOCK_FLUSH: break;
    }
    return -EOPNOTSUPP;
}

/* On through the range, as far as it goes. */
static void req_walk(struct q_req *x)
{
    int rc = 0;

    while (x->pos < x->r->len && x->result == 0 && rc == 0)
        rc = req_step(x);
    x->parked = rc == -EAGAIN;
    if (rc < 0 && rc != -EAGAIN && x->result == 0)
        x->result = rc;
}

static void req_resume(struct q_waiter *w)
{
    struct q_req *x = container_of(w, struct q_req, wait);
    struct block_engine *en = x->q->b.engine;

    x->parked = false;
    en->plugged++;
    req_walk(x);
    if (x->pending == 0 && !x->parked)
        req_over(x);
    if (--en->plugged == 0)
        en->ops->flush(en);
}

void q_start(struct block *b, struct block_req *r)
{
    struct qcow2 *q = qcow2_of(b);
    struct q_req *x = malloc(sizeof(*x));

    if (!x) {
        block_finish_later(r, -ENOMEM);
        return;
    }
    *x = (struct q_req){.q = q, .r = r, .wait.resume = req_resume, .number = q->next_number++, .older = q->newest_req};
    *(q->newest_req ? &q->newest_req->newer : &q->oldest_req) = x;
    q->newest_req = x;
    engine_io(r)->qreq = x;
    if (r->op == BLOCK_FLUSH)
        x->pos = r->len; /* nothing to walk through */
    b->engine->plugged++;
    if (r->op != BLOCK_READ && r->op != BLOCK_FLUSH && q->corrupt)
        x->result = -EIO;
    x->running = true;
    req_walk(x);
    if (x->pending == 0 && !x->parked && (x->pos == r->len || x->result < 0))
        req_over(x);
    else
        x->running = false;
    if (--b->engine->plugged == 0)
        b->engine->ops->flush(b->engine);
}
