/*
 * What is kept in memory of an image: slices of L2 tables and refcount blocks, and clusters that were decompressed.
 *
 * Slices are found by their offset in the file. Those that nobody changed leave when the budget is used up, the longest
 * unused first; changed ones stay until a commit has written them, and commits begin before they fill the budget.
 */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

#define SLICE_MIN KIB(4)
#define SLICES_PER_TABLE 16
#define UNPACKED_BUDGET MIB(4)

void q_wait(struct q_waiters *l, struct q_waiter *w)
{
    if (!w)
        return;
    w->next = NULL;
    if (l->first)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
}

void q_wake(struct q_waiters *l)
{
    struct q_waiter *w = l->first, *next;

    l->first = l->last = NULL;
    for (; w; w = next) {
        next = w->next;
        w->resume(w);
    }
}

int q_cache_init(struct qcow2 *q, size_t budget)
{
    q->slice_size = MIN(q->cluster_size, MAX(SLICE_MIN, q->cluster_size / SLICES_PER_TABLE));
    q->slices_max = (unsigned)MAX(budget / q->slice_size, (size_t)4 * SLICES_PER_TABLE);
    unsigned hashes = 64;
    while (hashes < q->slices_max)
        hashes *= 2;
    q->hash_mask = hashes - 1;
    q->hash = calloc(hashes, sizeof(*q->hash));
    q->nunpacked = (unsigned)MIN(MAX(UNPACKED_BUDGET / q->cluster_size, 4U), (uint64_t)Q_UNPACKED_MAX);
    return q->hash ? 0 : -ENOMEM;
}

static struct q_slice **slice_bucket(struct qcow2 *q, uint64_t offset)
{
    return &q->hash[(offset / q->slice_size * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & q->hash_mask];
}

static void slice_unlink(struct q_slice *s)
{
    struct qcow2 *q = s->q;
    struct q_slice **p = slice_bucket(q, s->offset);

    while (*p != s)
        p = &(*p)->hash_next;
    *p = s->hash_next;
    if (s->newer)
        s->newer->older = s->older;
    else
        q->newest = s->older;
    if (s->older)
        s->older->newer = s->newer;
    else
        q->oldest = s->newer;
}

static void slice_link_newest(struct q_slice *s)
{
    struct qcow2 *q = s->q;

    s->newer = NULL;
    s->older = q->newest;
    *(q->newest ? &q->newest->newer : &q->oldest) = s;
    q->newest = s;
}

static void slice_touch(struct q_slice *s)
{
    struct qcow2 *q = s->q;

    if (q->newest == s)
        return;
    s->newer->older = s->older;
    *(s->older ? &s->older->newer : &q->oldest) = s->newer;
    slice_link_newest(s);
}

static void slice_free(struct q_slice *s)
{
    slice_unlink(s);
    s->q->nslices--;
    free(s->data);
    free(s);
}

static bool slice_idle(const struct q_slice *s)
{
    return !s->loading && !s->dirty && !s->writing && !s->pins;
}

void q_cache_free(struct qcow2 *q)
{
    for (struct q_slice *s = q->newest, *older; s; s = older) {
        older = s->older;
        free(s->data);
        free(s);
    }
    free(q->hash);
    for (unsigned i = 0; i < Q_UNPACKED_MAX; i++) {
        free(q->unpacked[i].data);
        free(q->unpacked[i].packed);
    }
}

static struct q_slice *slice_find(struct qcow2 *q, uint64_t offset)
{
    struct q_slice *s = *slice_bucket(q, offset);
    while (s && s->offset != offset)
        s = s->hash_next;
    return s;
}

static struct q_slice *slice_add(struct qcow2 *q, uint64_t offset, enum q_slice_kind kind)
{
    /* A few steps only: where all old ones are in use, the cache grows for a while. */
    struct q_slice *s = q->oldest, *newer;
    for (unsigned i = 0; q->nslices >= q->slices_max && s && i < 32; i++, s = newer) {
        newer = s->newer;
        if (slice_idle(s))
            slice_free(s);
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->data = aligned_alloc(MIN(q->slice_size, SLICE_MIN), q->slice_size);
    if (!s->data) {
        free(s);
        return NULL;
    }
    s->q = q;
    s->offset = offset;
    s->kind = kind;
    struct q_slice **bucket = slice_bucket(q, offset);
    s->hash_next = *bucket;
    *bucket = s;
    slice_link_newest(s);
    q->nslices++;
    return s;
}

static void slice_loaded(struct block_req *r, int result)
{
    struct q_slice *s = container_of(r, struct q_slice, req);

    s->loading = false;
    s->error = result;
    s->pins++;
    q_wake(&s->waiters);
    s->pins--;
}

int q_slice_get(struct qcow2 *q, uint64_t offset, enum q_slice_kind kind, struct q_waiter *w, struct q_slice **out)
{
    struct q_slice *s = slice_find(q, offset);

    if (s && s->kind != kind && !s->loading)
        return q_corrupt(q, "two kinds of tables lie at offset 0x%llx", (unsigned long long)offset);
    if (!s) {
        s = slice_add(q, offset, kind);
        if (!s)
            return -ENOMEM;
        s->loading = true;
        s->iov = (struct iovec){s->data, q->slice_size};
        s->req = (struct block_req){
            .op = BLOCK_READ, .offset = offset, .len = q->slice_size, .iov = &s->iov, .niov = 1, .done = slice_loaded};
        block_submit(q->file, &s->req);
    }
    if (s->loading) {
        q_wait(&s->waiters, w);
        return -EAGAIN;
    }
    if (s->error) {
        int rc = s->error;
        if (slice_idle(s))
            slice_free(s);
        return rc;
    }
    slice_touch(s);
    *out = s;
    return 0;
}

int q_slice_new(struct qcow2 *q, uint64_t offset, enum q_slice_kind kind, struct q_slice **out)
{
    struct q_slice *s = slice_find(q, offset);

    if (s && (s->loading || s->dirty || s->writing || s->pins))
        return q_corrupt(q, "the new table at offset 0x%llx is in use", (unsigned long long)offset);
    if (s)
        slice_free(s);
    s = slice_add(q, offset, kind);
    if (!s)
        return -ENOMEM;
    memset(s->data, 0, q->slice_size);
    q_slice_dirty(s);
    *out = s;
    return 0;
}

void q_slice_dirty(struct q_slice *s)
{
    if (!s->dirty)
        s->q->ndirty++;
    s->dirty = true;
}

void q_slices_drop(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    for (uint64_t at = align_down(offset, q->slice_size); at < offset + len; at += q->slice_size) {
        struct q_slice *s = slice_find(q, at);
        if (!s || s->loading || s->writing || s->pins)
            continue;
        if (s->dirty)
            q->ndirty--;
        slice_free(s);
    }
}

/* ---- compressed clusters ---- */

void q_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len)
{
    unsigned offset_bits = 62 - (q->cluster_bits - 8);

    *offset = entry & (BIT64(offset_bits) - 1);
    uint64_t sectors = bits64(entry, 61, offset_bits) + 1;
    *len = sectors * 512 - (*offset & 511);
}

static void unpacked_loaded(struct block_req *r, int result)
{
    struct q_unpacked *u = container_of(r, struct q_unpacked, req);

    u->loading = false;
    u->error = result;
    if (result == 0)
        u->error = qcow2_decompress(u->q->h.compression, u->packed + u->skip, u->npacked, u->data, u->q->cluster_size);
    q_wake(&u->waiters);
}

static int unpacked_start(struct q_unpacked *u, uint64_t entry)
{
    struct qcow2 *q = u->q;
    uint64_t offset, len;

    q_packed_place(q, entry, &offset, &len);
    if (offset < q->cluster_size || !range_within(offset, len, BIT64(56)))
        return q_corrupt(q, "compressed data at offset 0x%llx", (unsigned long long)offset);
    if (!u->data)
        u->data = malloc(q->cluster_size);
    if (!u->packed)
        u->packed = aligned_alloc(512, 2 * q->cluster_size + 1024);
    if (!u->data || !u->packed)
        return -ENOMEM;
    u->entry = entry;
    u->loading = true;
    u->error = 0;
    u->skip = offset & 511;
    u->npacked = len;
    u->iov = (struct iovec){u->packed, u->skip + len};
    u->req = (struct block_req){.op = BLOCK_READ,
                                .offset = offset - u->skip,
                                .len = u->skip + len,
                                .iov = &u->iov,
                                .niov = 1,
                                .done = unpacked_loaded};
    block_submit(q->file, &u->req);
    return 0;
}

int q_unpacked_get(struct qcow2 *q, uint64_t entry, struct q_waiter *w, const uint8_t **data)
{
    struct q_unpacked *u = NULL, *loading = NULL;

    entry &= ~QCOW2_COPIED;
    for (unsigned i = 0; i < q->nunpacked; i++) {
        struct q_unpacked *v = &q->unpacked[i];
        if (v->entry == entry) {
            u = v;
            break;
        }
        if (v->loading)
            loading = v;
        else if (!u || v->used < u->used)
            u = v;
    }
    if (!u) {
        if (!loading)
            return -EIO; /* there is no room at all */
        q_wait(&loading->waiters, w);
        return -EAGAIN;
    }
    u->used = ++q->unpacked_clock;
    u->q = q;
    if (u->entry != entry) {
        int rc = unpacked_start(u, entry);
        if (rc < 0)
            return rc;
    }
    if (u->loading) {
        q_wait(&u->waiters, w);
        return -EAGAIN;
    }
    if (u->error) {
        int rc = u->error;
        u->entry = 0;
        return rc;
    }
    *data = u->data;
    return 0;
}

void q_unpacked_drop(struct qcow2 *q)
{
    for (unsigned i = 0; i < q->nunpacked; i++)
        if (!q->unpacked[i].loading)
            q->unpacked[i].entry = 0;
}
