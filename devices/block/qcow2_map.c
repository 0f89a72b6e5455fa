/* From guest offsets to places in the file: L1, L2, and what their entries mean. */
#include <stdarg.h>
#include <stdio.h>

#include "devices/block/qcow2_int.h"
#include "vmm/base/log.h"

int q_corrupt(struct qcow2 *q, const char *fmt, ...)
{
    char text[160];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_guest(q->path, "the image is corrupt: %s", text);
    if (!q->corrupt && !q->b.read_only) {
        q->corrupt = true;
        if (q->h.version >= 3) {
            q->h.incompatible |= QCOW2_INCOMPAT_CORRUPT;
            q->header_dirty = true;
        }
    }
    return -EIO;
}

unsigned q_slice_entries(const struct qcow2 *q)
{
    return (unsigned)(q->slice_size / q->l2_entry_size);
}

uint64_t q_l2_entry(const struct qcow2 *q, const struct q_slice *s, unsigned index)
{
    return be64_get(s->data + (size_t)index * q->l2_entry_size);
}

uint64_t q_l2_bitmap(const struct qcow2 *q, const struct q_slice *s, unsigned index)
{
    return q->extended ? be64_get(s->data + (size_t)index * q->l2_entry_size + 8) : 0;
}

void q_l2_put(struct qcow2 *q, struct q_slice *s, unsigned index, uint64_t entry, uint64_t bitmap)
{
    be64_put(s->data + (size_t)index * q->l2_entry_size, entry);
    if (q->extended)
        be64_put(s->data + (size_t)index * q->l2_entry_size + 8, bitmap);
    q_slice_dirty(s);
}

bool q_host_ok(const struct qcow2 *q, uint64_t host)
{
    return host % q->cluster_size == 0 && host != 0 && range_within(host, q->cluster_size, BIT64(56));
}

/* The slice of the table at `table` that has the guest cluster's entry. */
static uint64_t slice_offset(const struct qcow2 *q, uint64_t table, uint64_t cluster, unsigned *index)
{
    uint64_t n = cluster & (BIT64(q->l2_bits) - 1);
    unsigned entries = q_slice_entries(q);

    *index = (unsigned)(n % entries);
    return table + n / entries * q->slice_size;
}

int q_l2_get(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, struct q_slice **out, unsigned *index)
{
    uint64_t l1i = cluster >> q->l2_bits;

    *out = NULL;
    if (l1i >= q->h.l1_size)
        return q_corrupt(q, "the L1 table ends before guest cluster %llu", (unsigned long long)cluster);
    uint64_t table = q->l1[l1i] & QCOW2_OFFSET_MASK;
    if (!table) {
        *index = (unsigned)((cluster & (BIT64(q->l2_bits) - 1)) % q_slice_entries(q));
        return 0;
    }
    if (!q_host_ok(q, table))
        return q_corrupt(q, "an L2 table at offset 0x%llx", (unsigned long long)table);
    return q_slice_get(q, slice_offset(q, table, cluster, index), Q_SLICE_L2, w, out);
}

static void l1_put(struct qcow2 *q, unsigned index, uint64_t entry)
{
    q->l1[index] = entry;
    if (q->l1_dirty_from == q->l1_dirty_to) {
        q->l1_dirty_from = index;
        q->l1_dirty_to = index + 1;
    } else {
        q->l1_dirty_from = MIN(q->l1_dirty_from, index);
        q->l1_dirty_to = MAX(q->l1_dirty_to, index + 1);
    }
}

/* A table for this image alone: empty, or with the content of one that snapshots share. */
static int l2_make(struct qcow2 *q, unsigned l1i, uint64_t old, struct q_waiter *w)
{
    unsigned n = (unsigned)(q->cluster_size / q->slice_size);
    struct q_slice *from[64], *s;
    uint64_t got, host;
    bool fresh, wait = false;
    int rc;

    for (unsigned i = 0; old && i < n; i++) {
        rc = q_slice_get(q, old + i * q->slice_size, Q_SLICE_L2, wait ? NULL : w, &from[i]);
        if (rc == -EAGAIN)
            wait = true;
        else if (rc < 0)
            return wait ? -EAGAIN : rc; /* the waiter stands in a list: it finds the error again */
    }
    if (wait)
        return -EAGAIN;
    for (unsigned i = 0; old && i < n; i++)
        from[i]->pins++;
    rc = q_alloc_clusters(q, 1, &got, &host, &fresh, w);
    for (unsigned i = 0; rc == 0 && i < n; i++) {
        rc = q_slice_new(q, host + i * q->slice_size, Q_SLICE_L2, &s);
        if (rc == 0 && old)
            memcpy(s->data, from[i]->data, q->slice_size);
        if (rc < 0) {
            q_slices_drop(q, host, q->cluster_size);
            q_alloc_undo(q, host, 1);
        }
    }
    for (unsigned i = 0; old && i < n; i++)
        from[i]->pins--;
    if (rc < 0)
        return rc;
    if (old && (rc = q_free_later(q, old, 1)) < 0)
        return rc;
    l1_put(q, l1i, host | QCOW2_COPIED);
    return 0;
}

int q_l2_get_own(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, struct q_slice **out, unsigned *index)
{
    uint64_t l1i = cluster >> q->l2_bits;

    if (l1i >= q->h.l1_size)
        return q_corrupt(q, "the L1 table ends before guest cluster %llu", (unsigned long long)cluster);
    uint64_t table = q->l1[l1i] & QCOW2_OFFSET_MASK;
    if (table && !q_host_ok(q, table))
        return q_corrupt(q, "an L2 table at offset 0x%llx", (unsigned long long)table);
    if (!table || !(q->l1[l1i] & QCOW2_COPIED)) {
        int rc = l2_make(q, (unsigned)l1i, table, w);
        if (rc < 0)
            return rc;
    }
    return q_l2_get(q, cluster, w, out, index);
}

enum q_type q_entry_type(const struct qcow2 *q, uint64_t entry, uint64_t bitmap, unsigned subcluster)
{
    if (entry & QCOW2_COMPRESSED)
        return Q_PACKED;
    if (q->extended) {
        if (bitmap >> subcluster & 1)
            return Q_DATA;
        return bitmap >> (32 + subcluster) & 1 ? Q_ZEROES : Q_ABSENT;
    }
    if (q->h.version >= 3 && entry & QCOW2_ZERO)
        return Q_ZEROES;
    return entry & QCOW2_OFFSET_MASK ? Q_DATA : Q_ABSENT;
}

/* The file offset of guest offset `at` where its type is Q_DATA; -EIO. */
static int data_place(struct qcow2 *q, uint64_t entry, uint64_t bitmap, uint64_t at, uint64_t *host)
{
    uint64_t place = entry & QCOW2_OFFSET_MASK;

    if (!q_host_ok(q, place))
        return q_corrupt(q, "data at offset 0x%llx", (unsigned long long)place);
    if (q->extended && (uint32_t)bitmap & (uint32_t)(bitmap >> 32))
        return q_corrupt(q, "a subcluster has data and is zero");
    *host = place + (at & (q->cluster_size - 1));
    return 0;
}

int q_map(struct qcow2 *q, uint64_t at, uint64_t len, struct q_waiter *w, struct q_map *m)
{
    uint64_t cluster = at >> q->cluster_bits, unit = BIT64(q->extended ? q->subcluster_bits : q->cluster_bits);
    struct q_slice *s;
    unsigned index;
    int rc = q_l2_get(q, cluster, w, &s, &index);

    if (rc < 0)
        return rc;
    m->len = 0;
    if (!s) {
        uint64_t table = BIT64(q->l2_bits + q->cluster_bits);
        *m = (struct q_map){.type = Q_ABSENT, .len = MIN(len, table - (at & (table - 1)))};
        return 0;
    }
    for (unsigned entries = q_slice_entries(q); index < entries && m->len < len;) {
        uint64_t here = at + m->len, in = here & (q->cluster_size - 1), host = 0;
        uint64_t entry = q_l2_entry(q, s, index), bitmap = q_l2_bitmap(q, s, index);
        enum q_type type = q_entry_type(q, entry, bitmap, (unsigned)(in >> q->subcluster_bits));

        if (type == Q_DATA && (rc = data_place(q, entry, bitmap, here, &host)) < 0)
            return m->len ? 0 : rc;
        if (m->len == 0) {
            m->type = type;
            m->host = host;
            m->entry = entry;
        } else if (type != m->type || type == Q_PACKED || (type == Q_DATA && host != m->host + m->len)) {
            break;
        }
        m->len += unit - (here & (unit - 1));
        if (type == Q_PACKED)
            m->len = q->cluster_size - (at & (q->cluster_size - 1));
        if (((at + m->len) & (q->cluster_size - 1)) == 0)
            index++;
    }
    m->len = MIN(m->len, len);
    return 0;
}
