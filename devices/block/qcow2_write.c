/*
 * Writing, zeroing and discarding.
 *
 * A stretch that lies in clusters of this image alone is written in place. Anything else gets new clusters: they are
 * taken, filled (the guest's data, and before and behind it what was there), and only then put into the L2 table in
 * memory; commits carry that to the file. While clusters are being filled, other writes to the same guest clusters
 * wait; reads still find what was there.
 */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

#define COW_BYTES_MAX MIB(64) /* in buffers of all requests together */

/* ---- writes that change tables ---- */

struct alloc_write {
    struct q_alloc a;
    struct q_req *x;
    uint64_t at, len; /* the guest's data: offset in the disk, bytes */
    size_t nhead, ntail;
    uint8_t *buf; /* head, then tail */
    struct block_req read[2], write;
    struct iovec read_iov[2];
    unsigned reading;
    int result;
    unsigned niov;
    struct iovec iov[];
};

static struct q_alloc *alloc_find(struct qcow2 *q, uint64_t first, uint64_t n)
{
    for (struct q_alloc *a = q->allocs; a; a = a->next)
        if (first < a->guest + a->n && a->guest < first + n)
            return a;
    return NULL;
}

/* Waits for writers that are filling the cluster. */
static int alloc_conflict(struct qcow2 *q, uint64_t cluster, struct q_waiter *w)
{
    struct q_alloc *a = alloc_find(q, cluster, 1);

    if (!a)
        return 0;
    q_wait(&a->waiters, w);
    return -EAGAIN;
}

static void alloc_end(struct alloc_write *aw)
{
    struct qcow2 *q = aw->x->q;
    struct q_req *x = aw->x;
    struct q_waiters waiters = aw->a.waiters;

    *aw->a.link = aw->a.next;
    if (aw->a.next)
        aw->a.next->link = aw->a.link;
    aw->a.l2->pins--;
    q->cow_bytes -= aw->nhead + aw->ntail;
    if (aw->result < 0 && x->result == 0)
        x->result = aw->result;
    free(aw->buf);
    free(aw);
    q_wake(&waiters);
    q_wake(&q->cow_waiters);
    q_req_done(x);
}

/* Subclusters of cluster number i of the write that got data. */
static uint32_t data_subclusters(const struct qcow2 *q, const struct alloc_write *aw, uint64_t i)
{
    uint64_t start = (aw->a.guest + i) << q->cluster_bits;
    uint64_t from = MAX(aw->at - aw->nhead, start), to = MIN(aw->at + aw->len + aw->ntail, start + q->cluster_size);
    unsigned lo = (unsigned)((from - start) >> q->subcluster_bits);
    unsigned hi = (unsigned)((to - start + BIT64(q->subcluster_bits) - 1) >> q->subcluster_bits);

    return (uint32_t)(BIT64(hi) - BIT64(lo));
}

static void alloc_link(struct alloc_write *aw)
{
    struct qcow2 *q = aw->x->q;

    for (uint64_t i = 0; i < aw->a.n; i++) {
        unsigned index = aw->a.index + (unsigned)i;
        uint64_t old = q_l2_entry(q, aw->a.l2, index), bitmap = q_l2_bitmap(q, aw->a.l2, index);
        if (q->extended) {
            if (old & QCOW2_COMPRESSED)
                bitmap = 0;
            uint64_t data = data_subclusters(q, aw, i);
            bitmap = (bitmap | data) & ~(data << 32);
        }
        q_l2_put(q, aw->a.l2, index, (aw->a.host + (i << q->cluster_bits)) | QCOW2_COPIED, bitmap);
        if (!aw->a.reuse)
            q_free_entry(q, old);
    }
}

static void alloc_written(struct block_req *r, int result)
{
    struct alloc_write *aw = container_of(r, struct alloc_write, write);

    if (result < 0) {
        aw->result = result;
        if (!aw->a.reuse)
            q_free_later(aw->x->q, aw->a.host, aw->a.n);
    } else {
        alloc_link(aw);
    }
    alloc_end(aw);
}

static void alloc_submit(struct alloc_write *aw)
{
    struct qcow2 *q = aw->x->q;

    aw->write = (struct block_req){
        .op = BLOCK_WRITE,
        .offset = aw->a.host + (aw->at - aw->nhead - (aw->a.guest << q->cluster_bits)),
        .len = aw->nhead + aw->len + aw->ntail,
        .iov = aw->iov,
        .niov = aw->niov,
        .done = alloc_written,
    };
    block_submit(q->file, &aw->write);
}

static void alloc_was_read(struct alloc_write *aw, int result)
{
    if (result < 0)
        aw->result = result;
    if (--aw->reading)
        return;
    if (aw->result < 0) {
        if (!aw->a.reuse)
            q_free_later(aw->x->q, aw->a.host, aw->a.n);
        alloc_end(aw);
        return;
    }
    alloc_submit(aw);
}

static void head_was_read(struct block_req *r, int result)
{
    alloc_was_read(container_of(r, struct alloc_write, read[0]), result);
}

static void tail_was_read(struct block_req *r, int result)
{
    alloc_was_read(container_of(r, struct alloc_write, read[1]), result);
}

/* What was before or behind the data, as the guest sees it, into the buffer; zeroes behind the disk's end. */
static void alloc_read(struct alloc_write *aw, unsigned i, uint64_t at, size_t n, uint8_t *buf)
{
    struct qcow2 *q = aw->x->q;
    uint64_t have = at < q->b.size ? MIN((uint64_t)n, q->b.size - at) : 0;

    memset(buf + have, 0, n - have);
    if (!have || q_reads_zero(q, at, have)) {
        memset(buf, 0, have);
        return;
    }
    aw->read_iov[i] = (struct iovec){buf, have};
    aw->read[i] = (struct block_req){.op = BLOCK_READ,
                                     .offset = at,
                                     .len = have,
                                     .iov = &aw->read_iov[i],
                                     .niov = 1,
                                     .done = i ? tail_was_read : head_was_read};
    aw->reading++;
    block_submit(&q->b, &aw->read[i]);
}

/* How far the stretch that is filled reaches before `at`, in the first cluster, and behind `end` in the last. */
static void alloc_margins(struct qcow2 *q, uint64_t at, uint64_t end, bool whole_head, bool whole_tail, size_t *head,
                          size_t *tail)
{
    uint64_t sub = BIT64(q->subcluster_bits);
    uint64_t h = whole_head ? q->cluster_size : sub, t = whole_tail ? q->cluster_size : sub;

    *head = at & (h - 1);
    *tail = (t - (end & (t - 1))) & (t - 1);
}

/* Does a new cluster for this entry take all of the old one's content along? */
static bool entry_moves_whole(const struct qcow2 *q, uint64_t entry)
{
    return !q->extended || entry & (QCOW2_COMPRESSED | QCOW2_OFFSET_MASK);
}

static int alloc_start(struct q_req *x, const struct q_alloc *want, bool fresh, uint64_t at, uint64_t len)
{
    struct qcow2 *q = x->q;
    uint64_t first = q_l2_entry(q, want->l2, want->index);
    uint64_t last = q_l2_entry(q, want->l2, want->index + (unsigned)want->n - 1);
    size_t head, tail;

    alloc_margins(q, at, at + len, !want->reuse && entry_moves_whole(q, first),
                  !want->reuse && entry_moves_whole(q, last), &head, &tail);
    if (want->reuse && !q->extended)
        alloc_margins(q, at, at + len, true, true, &head, &tail);
    /* What was never written reads as zeroes in the file, too. */
    if (fresh && !q->extended && q_reads_zero(q, at - head, MIN(head, q->b.size)) &&
        (at + len >= q->b.size || q_reads_zero(q, at + len, MIN((uint64_t)tail, q->b.size - at - len))))
        head = tail = 0;
    unsigned niov = q_iov_part(x->r, x->pos, len, NULL);
    struct alloc_write *aw = calloc(1, sizeof(*aw) + (niov + 2) * sizeof(struct iovec));
    if (!aw || (head + tail && !(aw->buf = aligned_alloc(512, align_up(head + tail, 512))))) {
        free(aw);
        return -ENOMEM;
    }
    aw->a = *want;
    aw->x = x;
    aw->at = at;
    aw->len = len;
    aw->nhead = head;
    aw->ntail = tail;
    if (head)
        aw->iov[aw->niov++] = (struct iovec){aw->buf, head};
    aw->niov += q_iov_part(x->r, x->pos, len, aw->iov + aw->niov);
    if (tail)
        aw->iov[aw->niov++] = (struct iovec){aw->buf + head, tail};
    aw->a.next = q->allocs;
    aw->a.link = &q->allocs;
    if (q->allocs)
        q->allocs->link = &aw->a.next;
    q->allocs = &aw->a;
    aw->a.l2->pins++;
    q->cow_bytes += head + tail;
    x->pending++;
    x->pos += len;
    aw->reading = 1;
    if (head)
        alloc_read(aw, 0, at - head, head, aw->buf);
    if (tail)
        alloc_read(aw, 1, at + len, tail, aw->buf + head);
    if (--aw->reading == 0)
        alloc_submit(aw);
    return 0;
}

/* ---- writes in place ---- */

/* Bytes from `at` on, at most len, that can be written where they are. */
static uint64_t in_place(struct qcow2 *q, const struct q_slice *s, unsigned index, uint64_t at, uint64_t len,
                         uint64_t *host)
{
    uint64_t n = 0, unit = BIT64(q->subcluster_bits);

    for (unsigned entries = q_slice_entries(q); n < len && index < entries;) {
        uint64_t here = at + n, in = here & (q->cluster_size - 1), entry = q_l2_entry(q, s, index);
        uint64_t place = (entry & QCOW2_OFFSET_MASK) + in;

        if (!(entry & QCOW2_COPIED) ||
            q_entry_type(q, entry, q_l2_bitmap(q, s, index), (unsigned)(in >> q->subcluster_bits)) != Q_DATA)
            break;
        if (n == 0)
            *host = place;
        else if (place != *host + n || alloc_find(q, here >> q->cluster_bits, 1))
            break;
        n += unit - (here & (unit - 1));
        if (((at + n) & (q->cluster_size - 1)) == 0)
            index++;
    }
    return MIN(n, len);
}

static int write_in_place(struct q_req *x, uint64_t host, uint64_t len)
{
    struct qcow2 *q = x->q;

    if (!q_host_ok(q, align_down(host, q->cluster_size)) || !range_within(host, len, BIT64(56)) ||
        q_meta_touched(q, host, len))
        return q_corrupt(q, "data at offset 0x%llx", (unsigned long long)host);
    return q_req_part(x, q->file, host, len);
}

static bool entry_is_ours(uint64_t entry)
{
    return entry & QCOW2_COPIED && entry & QCOW2_OFFSET_MASK && !(entry & QCOW2_COMPRESSED);
}

/* Clusters from the first on, in one slice, that need a new place. */
static uint64_t clusters_to_move(struct qcow2 *q, const struct q_slice *s, unsigned index, uint64_t cluster,
                                 uint64_t max)
{
    uint64_t n = 1;

    while (n < max && index + n < q_slice_entries(q) && !entry_is_ours(q_l2_entry(q, s, index + (unsigned)n)) &&
           !alloc_find(q, cluster + n, 1))
        n++;
    return n;
}

int q_step_write(struct q_req *x)
{
    struct qcow2 *q = x->q;
    uint64_t at = x->r->offset + x->pos, left = x->r->len - x->pos, cluster = at >> q->cluster_bits;
    uint64_t host = 0, len, clusters = ((at + left - 1) >> q->cluster_bits) - cluster + 1;
    struct q_alloc want = {.guest = cluster};
    struct q_slice *s;
    bool fresh = false;
    int rc = q->corrupt ? -EIO : q_commit_throttle(q, &x->wait);

    if (rc == 0)
        rc = alloc_conflict(q, cluster, &x->wait);
    if (rc == 0)
        rc = q_l2_get(q, cluster, &x->wait, &s, &want.index);
    if (rc < 0)
        return rc;
    if (s && q->l1[cluster >> q->l2_bits] & QCOW2_COPIED) {
        len = in_place(q, s, want.index, at, left, &host);
        if (len)
            return write_in_place(x, host, len);
    }
    if (q->cow_bytes > COW_BYTES_MAX) {
        q_wait(&q->cow_waiters, &x->wait);
        return -EAGAIN;
    }
    rc = q_l2_get_own(q, cluster, &x->wait, &want.l2, &want.index);
    if (rc < 0)
        return rc;
    uint64_t entry = q_l2_entry(q, want.l2, want.index);
    if (entry_is_ours(entry)) {
        want.reuse = true;
        want.n = 1;
        want.host = entry & QCOW2_OFFSET_MASK;
        if (!q_host_ok(q, want.host) || q_meta_touched(q, want.host, q->cluster_size))
            return q_corrupt(q, "data at offset 0x%llx", (unsigned long long)want.host);
    } else {
        clusters = clusters_to_move(q, want.l2, want.index, cluster, clusters);
        want.l2->pins++;
        rc = q_alloc_clusters(q, clusters, &want.n, &want.host, &fresh, &x->wait);
        want.l2->pins--;
        if (rc < 0)
            return rc;
    }
    len = MIN(left, ((cluster + want.n) << q->cluster_bits) - at);
    /* In a cluster of extended entries that stays, subclusters with data are not filled again. */
    if (want.reuse && q->extended) {
        uint64_t sub = BIT64(q->subcluster_bits);
        struct q_map m;
        uint64_t run = sub - (at & (sub - 1));
        while (run < len && q_map(q, at + run, 1, NULL, &m) == 0 && m.type != Q_DATA)
            run += sub;
        len = MIN(len, run);
    }
    rc = alloc_start(x, &want, fresh, at, len);
    if (rc < 0 && !want.reuse)
        q_alloc_undo(q, want.host, want.n);
    return rc;
}

int q_write_packed(struct qcow2 *q, uint64_t cluster, const uint8_t *data, size_t len)
{
    struct q_slice *s = NULL;
    unsigned index, offset_bits = 62 - (q->cluster_bits - 8);
    uint64_t offset;
    int rc = Q_BLOCKING(q, q_commit_throttle(q, NULL));

    if (rc == 0)
        rc = Q_BLOCKING(q, q_l2_get_own(q, cluster, NULL, &s, &index));
    if (rc < 0 || !s)
        return rc < 0 ? rc : -EIO;
    s->pins++;
    rc = Q_BLOCKING(q, q_alloc_packed(q, len, &offset, NULL));
    if (rc == 0)
        rc = block_run(q->file, BLOCK_WRITE, 0, offset, len, (void *)(uintptr_t)data);
    if (rc == 0) {
        uint64_t old = q_l2_entry(q, s, index);
        uint64_t sectors = ((offset & 511) + len + 511) / 512;
        q_l2_put(q, s, index, QCOW2_COMPRESSED | (sectors - 1) << offset_bits | offset, 0);
        q_free_entry(q, old);
    }
    s->pins--;
    return rc;
}

int qcow2_write_compressed(struct block *b, uint64_t offset, const uint8_t *data, size_t len)
{
    struct qcow2 *q = qcow2_of(b);

    if (b->read_only || q->corrupt)
        return b->read_only ? -EROFS : -EIO;
    if (offset % q->cluster_size || offset >= b->size || len == 0 || len >= q->cluster_size)
        return -EINVAL;
    return q_write_packed(q, offset >> q->cluster_bits, data, len);
}

/* ---- zeroes and discards ---- */

static const uint8_t zeroes[KIB(64)] __attribute__((aligned(4096)));

struct zero_write {
    struct block_req req;
    struct q_req *x;
    struct iovec iov[];
};

static void zeroes_written(struct block_req *r, int result)
{
    struct zero_write *z = container_of(r, struct zero_write, req);
    struct q_req *x = z->x;

    if (result < 0 && x->result == 0)
        x->result = result;
    free(z);
    q_req_done(x);
}

/* Part of a cluster, or all of one that no flag can make zero: as data. */
static int zeroes_as_data(struct q_req *x, uint64_t at, uint64_t len)
{
    struct qcow2 *q = x->q;
    unsigned n = (unsigned)((len + sizeof(zeroes) - 1) / sizeof(zeroes));
    struct q_map m;

    for (uint64_t done = 0; done < len; done += m.len) {
        int rc = q_map(q, at + done, len - done, &x->wait, &m);
        if (rc < 0)
            return rc;
        if (!(m.type == Q_ZEROES || (m.type == Q_ABSENT && !(q->backing && at + done < q->backing->size))))
            break;
        if (done + m.len >= len) { /* they are there already */
            x->pos += len;
            return 0;
        }
    }
    struct zero_write *z = calloc(1, sizeof(*z) + n * sizeof(struct iovec));
    if (!z)
        return -ENOMEM;
    z->x = x;
    for (unsigned i = 0; i < n; i++)
        z->iov[i] = (struct iovec){(void *)zeroes, MIN(sizeof(zeroes), len - i * sizeof(zeroes))};
    z->req = (struct block_req){
        .op = BLOCK_WRITE, .offset = at, .len = len, .iov = z->iov, .niov = n, .done = zeroes_written};
    x->pending++;
    x->pos += len;
    block_submit(&q->b, &z->req);
    return 0;
}

/* The rest of the range that one missing L2 table covers. */
static void skip_table(struct q_req *x, uint64_t at, uint64_t left)
{
    uint64_t table = BIT64(x->q->l2_bits + x->q->cluster_bits);
    x->pos += MIN(left, table - (at & (table - 1)));
}

/* What an entry becomes whose cluster shall read as zeroes. */
static void zero_entry(struct qcow2 *q, struct q_slice *s, unsigned index, uint64_t cluster, bool unmap)
{
    uint64_t entry = q_l2_entry(q, s, index), bitmap = q_l2_bitmap(q, s, index);
    uint64_t all = UINT64_C(0xffffffff) << 32;
    bool shows = q->backing && cluster << q->cluster_bits < q->backing->size;

    if (!unmap && entry_is_ours(entry)) {
        if (q->extended ? bitmap != all : !(entry & QCOW2_ZERO))
            q_l2_put(q, s, index, q->extended ? entry : entry | QCOW2_ZERO, all);
        return;
    }
    if (!(entry & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED)) &&
        (!shows || (q->extended ? bitmap == all : entry & QCOW2_ZERO)))
        return;
    q_l2_put(q, s, index, q->extended ? 0 : QCOW2_ZERO, all);
    q_free_entry(q, entry);
}

/* Whole clusters at the request's position, those of one slice. */
static int change_clusters(struct q_req *x, uint64_t at, uint64_t left, uint64_t clusters, bool unmap)
{
    struct qcow2 *q = x->q;
    uint64_t cluster = at >> q->cluster_bits, n;
    struct q_slice *s;
    unsigned index;
    int rc = q_l2_get(q, cluster, &x->wait, &s, &index);

    if (rc < 0)
        return rc;
    if (!s && !(q->backing && at < q->backing->size)) {
        skip_table(x, at, left);
        return 0;
    }
    rc = q_l2_get_own(q, cluster, &x->wait, &s, &index);
    if (rc < 0)
        return rc;
    for (n = 0; n < clusters && index + n < q_slice_entries(q); n++) {
        if (n && alloc_find(q, cluster + n, 1))
            break;
        zero_entry(q, s, index + (unsigned)n, cluster + n, unmap);
    }
    x->pos += MIN(left, n << q->cluster_bits);
    return 0;
}

/* Version 2 has no mark for zeroes: without a backing file, absent clusters are. */
static int change_clusters_v2(struct q_req *x, uint64_t at, uint64_t left)
{
    struct qcow2 *q = x->q;
    struct q_slice *s;
    unsigned index;
    int rc = q_l2_get(q, at >> q->cluster_bits, &x->wait, &s, &index);

    if (rc < 0)
        return rc;
    if (!s) {
        skip_table(x, at, left);
        return 0;
    }
    rc = q_l2_get_own(q, at >> q->cluster_bits, &x->wait, &s, &index);
    if (rc < 0)
        return rc;
    uint64_t entry = q_l2_entry(q, s, index);
    if (entry) {
        q_l2_put(q, s, index, 0, 0);
        q_free_entry(q, entry);
    }
    x->pos += MIN(left, q->cluster_size);
    return 0;
}

static int step_prepare(struct q_req *x, uint64_t at)
{
    struct qcow2 *q = x->q;
    int rc = q->corrupt ? -EIO : q_commit_throttle(q, &x->wait);

    return rc < 0 ? rc : alloc_conflict(q, at >> q->cluster_bits, &x->wait);
}

int q_step_zeroes(struct q_req *x)
{
    struct qcow2 *q = x->q;
    uint64_t at = x->r->offset + x->pos, left = x->r->len - x->pos, in = at & (q->cluster_size - 1);
    bool to_end = at + left == q->b.size;
    uint64_t clusters = (left + (to_end ? q->cluster_size - 1 : 0)) >> q->cluster_bits;
    int rc = step_prepare(x, at);

    if (rc < 0)
        return rc;
    if (in || clusters == 0)
        return zeroes_as_data(x, at, MIN(left, q->cluster_size - in));
    if (q->h.version >= 3)
        return change_clusters(x, at, left, clusters, x->r->flags & BLOCK_REQ_UNMAP);
    if (q->backing && at < q->backing->size)
        return zeroes_as_data(x, at, MIN(left, q->cluster_size));
    return change_clusters_v2(x, at, left);
}

int q_step_discard(struct q_req *x)
{
    struct qcow2 *q = x->q;
    uint64_t at = x->r->offset + x->pos, left = x->r->len - x->pos, in = at & (q->cluster_size - 1);
    bool to_end = at + left == q->b.size;
    uint64_t clusters = (left + (to_end ? q->cluster_size - 1 : 0)) >> q->cluster_bits;
    int rc = step_prepare(x, at);

    if (rc < 0)
        return rc;
    if (in || clusters == 0) { /* only whole clusters can go */
        x->pos += MIN(left, q->cluster_size - in);
        return 0;
    }
    if (q->h.version >= 3)
        return change_clusters(x, at, left, clusters, true);
    if (q->backing && at < q->backing->size) {
        x->pos += MIN(left, q->cluster_size);
        return 0;
    }
    return change_clusters_v2(x, at, left);
}
