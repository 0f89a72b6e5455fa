/*
 * Writing metadata, in an order that leaves the file whole at any instant.
 *
 * A commit takes copies of everything that changed, all at one instant, and writes them in phases with a barrier
 * (fdatasync) between: refcounts; the refcount table or the header; L2 tables; the L1 table. So nothing in the file
 * refers to a cluster whose refcount, content or data is not there yet. The first barrier covers guest data as well:
 * tables only ever refer to data whose writing was over when the copies were taken. Clusters that lost their last
 * reference before the commit began are free when it has ended.
 *
 * Changes made meanwhile belong to the next commit. Flushes that come meanwhile share it.
 */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

static void commit_advance(struct qcow2 *q);

static bool l1_dirty(const struct qcow2 *q)
{
    return q->l1_dirty_from != q->l1_dirty_to;
}

bool q_commit_needed(const struct qcow2 *q)
{
    return q->ndirty || l1_dirty(q) || q->reftable_moved || q->header_dirty ||
           q->reftable_dirty_from != q->reftable_dirty_to;
}

/* ---- copies ---- */

static struct q_copy *copy_add(struct qcow2 *q, enum q_copy_list list, uint64_t offset, size_t len)
{
    struct q_copy *c = calloc(1, sizeof(*c));

    if (!c || !(c->data = aligned_alloc(512, align_up(len, 512)))) {
        free(c);
        return NULL;
    }
    c->q = q;
    c->offset = offset;
    c->iov = (struct iovec){c->data, len};
    c->next = q->commit.copy[list];
    q->commit.copy[list] = c;
    return c;
}

/* Table entries [from, to) of `n`, whole sectors of them. */
static bool copy_entries(struct qcow2 *q, enum q_copy_list list, uint64_t table, const uint64_t *entry, uint64_t n,
                         uint64_t from, uint64_t to)
{
    from = align_down(from, 64);
    to = align_up(to, 64);
    struct q_copy *c = copy_add(q, list, table + from * 8, (to - from) * 8);
    if (!c)
        return false;
    for (uint64_t i = from; i < to; i++)
        be64_put(c->data + (i - from) * 8, i < n ? entry[i] : 0);
    return true;
}

static bool copy_all(struct qcow2 *q)
{
    struct q_copy *c;

    for (struct q_slice *s = q->newest; s; s = s->older) {
        if (!s->dirty)
            continue;
        c = copy_add(q, s->kind == Q_SLICE_L2 ? Q_COPY_L2 : Q_COPY_REFCOUNTS, s->offset, q->slice_size);
        if (!c)
            return false;
        memcpy(c->data, s->data, q->slice_size);
        c->slice = s;
        s->writing = true;
        s->dirty = false;
        q->ndirty--;
    }
    if (q->reftable_moved &&
        !copy_entries(q, Q_COPY_REFCOUNTS, q->h.reftable_offset, q->reftable, q->nreftable, 0, q->nreftable))
        return false;
    if (!q->reftable_moved && q->reftable_dirty_from != q->reftable_dirty_to &&
        !copy_entries(q, Q_COPY_REFTABLE, q->h.reftable_offset, q->reftable, q->nreftable, q->reftable_dirty_from,
                      q->reftable_dirty_to))
        return false;
    if (q->header_dirty) {
        size_t len = MIN(q->cluster_size, KIB(4));
        c = copy_add(q, Q_COPY_REFTABLE, 0, len);
        if (!c)
            return false;
        qcow2_header_put(&q->h, q->head);
        memcpy(c->data, q->head, len);
    }
    if (l1_dirty(q) &&
        !copy_entries(q, Q_COPY_L1, q->h.l1_offset, q->l1, q->h.l1_size, q->l1_dirty_from, q->l1_dirty_to))
        return false;
    q->reftable_moved = q->header_dirty = false;
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    q->l1_dirty_from = q->l1_dirty_to = 0;
    return true;
}

/* Copies go; on failure what they were of counts as changed again. */
static void copies_drop(struct qcow2 *q, bool failed)
{
    for (unsigned list = 0; list < Q_COPY_LISTS; list++) {
        struct q_copy *c, *next;
        for (c = q->commit.copy[list]; c; c = next) {
            next = c->next;
            if (c->slice) {
                c->slice->writing = false;
                if (failed)
                    q_slice_dirty(c->slice);
            } else if (failed && list == Q_COPY_L1) {
                q->l1_dirty_from = 0;
                q->l1_dirty_to = q->h.l1_size;
            } else if (failed && list == Q_COPY_REFCOUNTS) {
                q->reftable_moved = q->header_dirty = true;
            } else if (failed) {
                q->header_dirty = true;
                q->reftable_dirty_from = 0;
                q->reftable_dirty_to = q->nreftable;
            }
            free(c->data);
            free(c);
        }
        q->commit.copy[list] = NULL;
    }
}

/* ---- phases ---- */

static void commit_part_done(struct qcow2 *q, int result)
{
    struct q_commit *c = &q->commit;

    if (result < 0 && c->result == 0)
        c->result = result;
    if (--c->pending == 0)
        commit_advance(q);
}

static void copy_written(struct block_req *r, int result)
{
    commit_part_done(container_of(r, struct q_copy, req)->q, result);
}

static void synced(struct block_req *r, int result)
{
    commit_part_done(container_of(r, struct qcow2, commit.sync), result);
}

static void write_copies(struct qcow2 *q, enum q_copy_list list)
{
    for (struct q_copy *c = q->commit.copy[list]; c; c = c->next) {
        c->req = (struct block_req){.op = BLOCK_WRITE,
                                    .offset = c->offset,
                                    .len = c->iov.iov_len,
                                    .iov = &c->iov,
                                    .niov = 1,
                                    .done = copy_written};
        q->commit.pending++;
        block_submit(q->file, &c->req);
    }
}

static void sync_file(struct qcow2 *q)
{
    if (q->ignore_flush)
        return;
    q->commit.sync = (struct block_req){.op = BLOCK_FLUSH, .done = synced};
    q->commit.pending++;
    block_submit(q->file, &q->commit.sync);
}

static void commit_phase(struct qcow2 *q)
{
    struct q_commit *c = &q->commit;
    bool l1 = c->copy[Q_COPY_L1], l2 = c->copy[Q_COPY_L2], table = c->copy[Q_COPY_REFTABLE];

    switch (c->phase) {
    case Q_COMMIT_REFCOUNTS: write_copies(q, Q_COPY_REFCOUNTS); break;
    case Q_COMMIT_SYNC_REFCOUNTS:
        if (table || l2 || l1)
            sync_file(q);
        break;
    case Q_COMMIT_REFTABLE: write_copies(q, Q_COPY_REFTABLE); break;
    case Q_COMMIT_SYNC_REFTABLE:
        if (table && (l2 || l1))
            sync_file(q);
        break;
    case Q_COMMIT_L2: write_copies(q, Q_COPY_L2); break;
    case Q_COMMIT_SYNC_L2:
        if (l2 && l1)
            sync_file(q);
        break;
    case Q_COMMIT_L1: write_copies(q, Q_COPY_L1); break;
    case Q_COMMIT_SYNC_L1: sync_file(q); break;
    case Q_COMMIT_IDLE: break;
    }
}

static void commit_end(struct qcow2 *q)
{
    struct q_commit *c = &q->commit;
    struct q_req *x = c->flushing, *next;

    copies_drop(q, c->result < 0);
    if (c->frees) {
        /* To those that wait for requests; after a failure, back to those that wait for a commit. */
        if (c->result < 0) {
            *c->frees_end = q->frees;
            if (!q->frees)
                q->frees_end = c->frees_end;
            q->frees = c->frees;
        } else {
            *q->ready_end = c->frees;
            q->ready_end = c->frees_end;
        }
        c->frees = NULL;
    }
    c->phase = Q_COMMIT_IDLE;
    c->flushing = NULL;
    int result = c->result;
    for (; x; x = next) {
        next = x->next_flush;
        x->result = result;
        x->pending = 0;
        q_req_finish(x);
    }
    q_free_run(q);
    q_wake(&q->commit_waiters);
    if (q->flush_first && c->phase == Q_COMMIT_IDLE)
        q_commit_start(q);
}

static void commit_advance(struct qcow2 *q)
{
    struct q_commit *c = &q->commit;
    struct block_engine *en = q->b.engine;

    en->plugged++;
    while (c->pending == 0 && c->phase != Q_COMMIT_IDLE) {
        if (c->phase == Q_COMMIT_SYNC_L1 || c->result < 0) {
            commit_end(q);
            break;
        }
        c->phase++;
        c->pending++; /* ours, while operations are started */
        commit_phase(q);
        c->pending--;
    }
    if (--en->plugged == 0)
        en->ops->flush(en);
}

void q_commit_start(struct qcow2 *q)
{
    struct q_commit *c = &q->commit;

    if (c->phase != Q_COMMIT_IDLE)
        return;
    c->result = 0;
    c->flushing = q->flush_first;
    q->flush_first = q->flush_last = NULL;
    c->frees = q->frees;
    c->frees_end = q->frees ? q->frees_end : NULL;
    q->frees = NULL;
    q->frees_end = &q->frees;
    if (!copy_all(q))
        c->result = -ENOMEM;
    c->phase = Q_COMMIT_REFCOUNTS;
    c->pending = 1;
    struct block_engine *en = q->b.engine;
    en->plugged++;
    if (c->result == 0)
        commit_phase(q);
    if (c->result < 0 || (c->pending == 1 && q->ignore_flush)) {
        /* Nothing may end inside: the end comes from the loop. */
        c->sync = (struct block_req){.op = BLOCK_READ, .done = synced}; /* of no bytes */
        c->pending++;
        block_submit(q->file, &c->sync);
    }
    if (--c->pending == 0)
        commit_advance(q);
    if (--en->plugged == 0)
        en->ops->flush(en);
}

void q_flush(struct q_req *x)
{
    struct qcow2 *q = x->q;

    x->next_flush = NULL;
    if (q->flush_first)
        q->flush_last->next_flush = x;
    else
        q->flush_first = x;
    q->flush_last = x;
    q_commit_start(q);
}

int q_commit_throttle(struct qcow2 *q, struct q_waiter *w)
{
    if (q->ndirty < q->slices_max / 2)
        return 0;
    if (q->ndirty >= q->slices_max / 4 * 3) {
        if (q->commit.phase == Q_COMMIT_IDLE && q->commit.result < 0) {
            int rc = q->commit.result; /* one request hears of it, the next tries again */
            q->commit.result = 0;
            return rc;
        }
        q_wait(&q->commit_waiters, w);
        q_commit_start(q);
        return -EAGAIN;
    }
    q_commit_start(q);
    return 0;
}

int q_commit_sync(struct qcow2 *q)
{
    int rc = 0;

    if (q->commit.phase == Q_COMMIT_IDLE)
        q->commit.result = 0;
    while (rc == 0 && (q_commit_needed(q) || q->frees || q->ready || q->punching || q->commit.phase)) {
        if (q->commit.phase == Q_COMMIT_IDLE && (q_commit_needed(q) || q->frees))
            q_commit_start(q);
        q_free_run(q);
        while (q->commit.phase || q->punching || q->freeing)
            block_pump(q->b.engine);
        rc = q->commit.result;
    }
    return rc;
}

int q_header_sync(struct qcow2 *q)
{
    q->header_dirty = true;
    return q_commit_sync(q);
}
