/*
 * Which clusters of the file are in use: refcounts, the search for free clusters, and giving them back.
 *
 * A refcount goes up in memory at once. It goes down only when the tables in the file no longer refer to the cluster
 * (a commit has passed since) and no request that may still use it is in flight; until then the cluster is in nobody's
 * hands. So a crash leaks clusters and never lets two owners have one.
 */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

static uint64_t refcount_max(const struct qcow2 *q)
{
    return UINT64_MAX >> (64 - (1U << q->h.refcount_order));
}

static uint64_t refcount_load(const struct qcow2 *q, const uint8_t *p, uint64_t i)
{
    switch (q->h.refcount_order) {
    case 0: return p[i / 8] >> i % 8 & 1;
    case 1: return p[i / 4] >> i % 4 * 2 & 3;
    case 2: return p[i / 2] >> i % 2 * 4 & 15;
    case 3: return p[i];
    case 4: return be16_get(p + i * 2);
    case 5: return be32_get(p + i * 4);
    default: return be64_get(p + i * 8);
    }
}

static void store_bits(uint8_t *p, unsigned shift, unsigned mask, uint64_t v)
{
    *p = (uint8_t)((*p & ~(mask << shift)) | (unsigned)v << shift);
}

static void refcount_store(const struct qcow2 *q, uint8_t *p, uint64_t i, uint64_t v)
{
    switch (q->h.refcount_order) {
    case 0: store_bits(p + i / 8, i % 8, 1, v); break;
    case 1: store_bits(p + i / 4, i % 4 * 2, 3, v); break;
    case 2: store_bits(p + i / 2, i % 2 * 4, 15, v); break;
    case 3: p[i] = (uint8_t)v; break;
    case 4: be16_put(p + i * 2, (uint16_t)v); break;
    case 5: be32_put(p + i * 4, (uint32_t)v); break;
    default: be64_put(p + i * 8, v); break;
    }
}

static uint64_t slice_refcounts(const struct qcow2 *q)
{
    return (q->slice_size * 8) >> q->h.refcount_order;
}

/* The slice with a cluster's refcount, NULL where there is no refcount block. */
static int refcount_slice(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, struct q_slice **out, uint64_t *index)
{
    uint64_t block = cluster >> q->refblock_bits, in = cluster & (BIT64(q->refblock_bits) - 1);
    uint64_t n = slice_refcounts(q);

    *out = NULL;
    *index = in % n;
    if (block >= q->nreftable)
        return 0;
    uint64_t host = q->reftable[block] & QCOW2_REFTABLE_MASK;
    if (!host)
        return 0;
    if (!q_host_ok(q, host))
        return q_corrupt(q, "a refcount block at offset 0x%llx", (unsigned long long)host);
    return q_slice_get(q, host + in / n * q->slice_size, Q_SLICE_REFCOUNT, w, out);
}

int q_refcount_get(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, uint64_t *value)
{
    struct q_slice *s;
    uint64_t i;
    int rc = refcount_slice(q, cluster, w, &s, &i);

    if (rc == 0)
        *value = s ? refcount_load(q, s->data, i) : 0;
    return rc;
}

int q_refcount_add(struct qcow2 *q, uint64_t cluster, int64_t delta, struct q_waiter *w)
{
    struct q_slice *s;
    uint64_t i;
    int rc = refcount_slice(q, cluster, w, &s, &i);

    if (rc < 0)
        return rc;
    uint64_t old = s ? refcount_load(q, s->data, i) : 0, max = refcount_max(q);
    if (delta < 0 ? old < (uint64_t)-delta : !s)
        return q_corrupt(q, "cluster %llu is in use and its refcount is %llu", (unsigned long long)cluster,
                         (unsigned long long)old);
    if (delta > 0 && (uint64_t)delta > max - old)
        return -ERANGE;
    refcount_store(q, s->data, i, old + (uint64_t)delta);
    q_slice_dirty(s);
    if (old + (uint64_t)delta == 0) {
        q->free_hint = MIN(q->free_hint, cluster);
        q_slices_drop(q, cluster << q->cluster_bits, q->cluster_size);
        q_unpacked_drop(q);
        if (q->packed_offset >> q->cluster_bits == cluster)
            q->packed_offset = 0;
    }
    return 0;
}

static bool touches(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return alen && blen && a < b + blen && b < a + alen;
}

bool q_meta_touched(const struct qcow2 *q, uint64_t host, uint64_t len)
{
    return host < q->cluster_size || touches(host, len, q->h.l1_offset, (uint64_t)q->h.l1_size * 8) ||
           touches(host, len, q->h.reftable_offset, (uint64_t)q->h.reftable_clusters << q->cluster_bits) ||
           touches(host, len, q->h.snapshots_offset, q->h.nsnapshots ? 1 : 0);
}

static void reftable_put(struct qcow2 *q, uint64_t i, uint64_t entry)
{
    q->reftable[i] = entry;
    if (q->reftable_dirty_from == q->reftable_dirty_to) {
        q->reftable_dirty_from = i;
        q->reftable_dirty_to = i + 1;
    } else {
        q->reftable_dirty_from = MIN(q->reftable_dirty_from, i);
        q->reftable_dirty_to = MAX(q->reftable_dirty_to, i + 1);
    }
}

/* A refcount block of zeroes at this offset, in memory. */
static int refblock_new(struct qcow2 *q, uint64_t host)
{
    struct q_slice *s;
    int rc = 0;

    for (uint64_t at = 0; rc == 0 && at < q->cluster_size; at += q->slice_size)
        rc = q_slice_new(q, host + at, Q_SLICE_REFCOUNT, &s);
    q->high_water = MAX(q->high_water, host + q->cluster_size);
    return rc;
}

/* The block lies in the first cluster that it counts and that is not passed yet: all of them are free. */
static int refblock_make(struct qcow2 *q, uint64_t cluster)
{
    uint64_t host = cluster << q->cluster_bits, block = cluster >> q->refblock_bits;
    int rc;

    if (q_meta_touched(q, host, q->cluster_size))
        return q_corrupt(q, "the header or a table has no refcount");
    rc = refblock_new(q, host);
    if (rc < 0)
        return rc;
    reftable_put(q, block, host);
    return q_refcount_add(q, cluster, 1, NULL);
}

/*
 * A larger refcount table. It and the blocks that count it lie behind everything that the old table can count; a
 * commit writes them and then lets the header point to them.
 */
static int reftable_grow(struct qcow2 *q)
{
    uint64_t first = q->nreftable << q->refblock_bits, entries, table, blocks = 1;

    entries = q->nreftable + q->nreftable / 2 + 1;
    for (;;) {
        table = (entries * 8 + q->cluster_size - 1) >> q->cluster_bits;
        blocks = (table + blocks + BIT64(q->refblock_bits) - 1) >> q->refblock_bits;
        if (blocks << q->refblock_bits < table + blocks)
            blocks++;
        if (q->nreftable + blocks <= table * q->cluster_size / 8)
            break;
        entries = q->nreftable + blocks;
    }
    if (table << q->cluster_bits > MAX(QCOW2_REFTABLE_BYTES_MAX, q->cluster_size) ||
        first + blocks + table >= BIT64(56 - q->cluster_bits))
        return -EFBIG;
    entries = table * q->cluster_size / 8;
    uint64_t *t = calloc(entries, sizeof(*t));
    if (!t)
        return -ENOMEM;
    memcpy(t, q->reftable, q->nreftable * sizeof(*t));
    for (uint64_t i = 0; i < blocks; i++) {
        int rc = refblock_new(q, (first + i) << q->cluster_bits);
        if (rc < 0) {
            free(t);
            return rc;
        }
        t[q->nreftable + i] = (first + i) << q->cluster_bits;
    }
    q_free_later(q, q->h.reftable_offset, q->h.reftable_clusters);
    free(q->reftable);
    q->reftable = t;
    q->nreftable = entries;
    q->h.reftable_offset = (first + blocks) << q->cluster_bits;
    q->h.reftable_clusters = (uint32_t)table;
    q->reftable_moved = q->header_dirty = true;
    q->high_water = MAX(q->high_water, q->h.reftable_offset + (table << q->cluster_bits));
    for (uint64_t i = 0; i < blocks + table; i++) {
        int rc = q_refcount_add(q, first + i, 1, NULL); /* their slices are in memory */
        if (rc < 0)
            return rc;
    }
    return 0;
}

int q_alloc_clusters(struct qcow2 *q, uint64_t want, uint64_t *got, uint64_t *host, bool *fresh, struct q_waiter *w)
{
    struct q_slice *s;
    uint64_t i, n;
    int rc;

    for (;;) {
        uint64_t c = q->free_hint;
        if (c >= BIT64(56 - q->cluster_bits) - 1)
            return -EFBIG;
        if (c >> q->refblock_bits >= q->nreftable || !q->reftable[c >> q->refblock_bits]) {
            rc = c >> q->refblock_bits >= q->nreftable ? reftable_grow(q) : refblock_make(q, c);
            if (rc < 0)
                return rc;
            continue;
        }
        rc = refcount_slice(q, c, w, &s, &i);
        if (rc < 0 || !s)
            return rc < 0 ? rc : -EIO;
        for (n = slice_refcounts(q); i < n && refcount_load(q, s->data, i); i++)
            c++;
        q->free_hint = c;
        if (i < n)
            break;
    }
    uint64_t first = q->free_hint;
    for (*got = 0; *got < want && i < n && !refcount_load(q, s->data, i); ++*got, i++)
        refcount_store(q, s->data, i, 1);
    q_slice_dirty(s);
    *host = first << q->cluster_bits;
    q->free_hint = first + *got;
    *fresh = *host >= q->high_water;
    q->high_water = MAX(q->high_water, *host + (*got << q->cluster_bits));
    if (q_meta_touched(q, *host, *got << q->cluster_bits))
        return q_corrupt(q, "the header or a table has no refcount");
    return 0;
}

void q_alloc_undo(struct qcow2 *q, uint64_t host, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (q_refcount_add(q, (host >> q->cluster_bits) + i, -1, NULL) < 0)
            q_free_later(q, host + (i << q->cluster_bits), 1);
}

int q_alloc_run(struct qcow2 *q, uint64_t n, uint64_t *host)
{
    uint64_t have = 0, got, at, start = 0;
    bool fresh;

    while (have < n) {
        int rc = Q_BLOCKING(q, q_alloc_clusters(q, n - have, &got, &at, &fresh, NULL));
        if (rc < 0) {
            if (have)
                q_alloc_undo(q, start, have);
            return rc;
        }
        if (have && at != start + (have << q->cluster_bits)) {
            /* Too short: given back later, and the search goes on behind it. */
            rc = q_free_later(q, start, have);
            if (rc < 0)
                return rc;
            have = 0;
        }
        if (!have)
            start = at;
        have += got;
    }
    *host = start;
    return 0;
}

int q_alloc_packed(struct qcow2 *q, uint64_t len, uint64_t *offset, struct q_waiter *w)
{
    uint64_t got, host, room = 0;
    bool fresh;
    int rc;

    if (q->packed_offset) {
        room = q->cluster_size - (q->packed_offset & (q->cluster_size - 1));
        rc = q_refcount_add(q, q->packed_offset >> q->cluster_bits, 1, w);
        if (rc == -ERANGE)
            room = 0;
        else if (rc < 0)
            return rc;
    }
    if (room >= len) {
        *offset = q->packed_offset;
    } else {
        rc = q_alloc_clusters(q, 1, &got, &host, &fresh, w);
        if (rc < 0 || !room || host != align_down(q->packed_offset, q->cluster_size) + q->cluster_size) {
            if (room)
                q_alloc_undo(q, align_down(q->packed_offset, q->cluster_size), 1);
            if (rc < 0)
                return rc;
            *offset = host;
        } else {
            *offset = q->packed_offset;
        }
    }
    q->packed_offset = *offset + len;
    if (q->packed_offset % q->cluster_size == 0)
        q->packed_offset = 0;
    return 0;
}

/* ---- giving back ---- */

int q_free_later(struct qcow2 *q, uint64_t host, uint64_t n)
{
    struct q_free *f = q->frees ? container_of(q->frees_end, struct q_free, next) : NULL;

    if (f && f->before == q->next_number && f->host + (f->n << q->cluster_bits) == host) {
        f->n += n;
        return 0;
    }
    f = malloc(sizeof(*f));
    if (!f)
        return -ENOMEM;
    *f = (struct q_free){.host = host, .n = n, .before = q->next_number};
    if (q->frees && q->frees_end)
        *q->frees_end = f;
    else
        q->frees = f;
    q->frees_end = &f->next;
    return 0;
}

void q_free_entry(struct qcow2 *q, uint64_t entry)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK, n = 1;

    if (entry & QCOW2_COMPRESSED) {
        uint64_t offset, len;
        q_packed_place(q, entry, &offset, &len);
        host = align_down(offset, q->cluster_size);
        n = ((offset + len - 1) >> q->cluster_bits) - (offset >> q->cluster_bits) + 1;
    }
    if (host)
        q_free_later(q, host, n);
}

static void free_again(struct q_waiter *w)
{
    struct qcow2 *q = container_of(w, struct qcow2, free_waiter);
    q->freeing = false;
    q_free_run(q);
}

void q_free_init(struct qcow2 *q)
{
    q->free_waiter.resume = free_again;
    q->frees_end = &q->frees;
    q->ready_end = &q->ready;
}

struct punch {
    struct block_req req;
    struct qcow2 *q;
    struct q_free *f;
};

static void ready_push(struct qcow2 *q, struct q_free *f)
{
    f->next = q->ready;
    if (!q->ready)
        q->ready_end = &f->next;
    q->ready = f;
}

static void punched(struct block_req *r, int result)
{
    struct punch *p = container_of(r, struct punch, req);
    struct qcow2 *q = p->q;

    (void)result; /* the space stays taken, no more */
    q->punching--;
    ready_push(q, p->f);
    free(p);
    q_free_run(q);
}

/* Gives the first n clusters of `f` back to the file system, before anybody may have them; they stay in use meanwhile.
 * False without memory. */
static bool punch_start(struct qcow2 *q, struct q_free *f, uint64_t n)
{
    struct punch *p = malloc(sizeof(*p));
    struct q_free *part = malloc(sizeof(*part));

    if (!p || !part) {
        free(p);
        free(part);
        return false;
    }
    *part = (struct q_free){.host = f->host, .n = n, .punched = true};
    *p = (struct punch){.req = {.op = BLOCK_DISCARD, .offset = f->host, .len = n << q->cluster_bits, .done = punched},
                        .q = q,
                        .f = part};
    f->host += n << q->cluster_bits;
    f->n -= n;
    q->punching++;
    block_submit(q->file, &p->req);
    return true;
}

static int free_some(struct qcow2 *q, struct q_free *f)
{
    uint64_t first = f->host >> q->cluster_bits, v, n = 0;
    int rc = q_refcount_get(q, first, &q->free_waiter, &v);

    if (rc == -EAGAIN)
        return rc;
    if (rc == 0 && v == 1 && !f->punched && q->file->can_discard) {
        while (n < f->n && q_refcount_get(q, first + n, NULL, &v) == 0 && v == 1)
            n++;
        if (punch_start(q, f, n))
            return 0;
    }
    rc = q_refcount_add(q, first, -1, &q->free_waiter);
    if (rc == -EAGAIN)
        return rc;
    f->host += q->cluster_size;
    f->n--;
    return 0;
}

void q_free_run(struct qcow2 *q)
{
    struct q_free *f;
    int rc = 0;

    if (q->freeing)
        return;
    q->freeing = true;
    while (rc == 0 && (f = q->ready)) {
        if (!f->punched && q->oldest_req && q->oldest_req->number < f->before)
            break;
        if (f->n)
            rc = free_some(q, f);
        if (f->n == 0) {
            q->ready = f->next;
            if (!q->ready)
                q->ready_end = &q->ready;
            free(f);
        }
    }
    q->freeing = rc == -EAGAIN;
}
