/* Changes to an image as a whole, with nothing in flight: its size, its backing file, forgetting its data. */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

static int fail(const struct qcow2 *q, int rc, const char *what, struct err *e)
{
    return err_set(e, -rc, "%s cannot be %s: %s", q->path, what, strerror(-rc));
}

/* A larger L1 table in a new place. */
static int grow_l1(struct qcow2 *q, uint64_t entries)
{
    uint64_t host, old = q->h.l1_offset, old_bytes = (uint64_t)q->h.l1_size * 8;
    uint64_t *l1 = calloc(entries, sizeof(*l1));
    int rc = l1 ? 0 : -ENOMEM;

    if (rc == 0 && q->h.l1_size)
        memcpy(l1, q->l1, old_bytes);
    if (rc == 0)
        rc = q_write_l1(q, l1, (uint32_t)entries, UINT64_MAX, &host);
    if (rc == 0)
        rc = q_commit_sync(q);
    if (rc < 0) {
        free(l1);
        return rc;
    }
    free(q->l1);
    q->l1 = l1;
    q->h.l1_offset = host;
    q->h.l1_size = (uint32_t)entries;
    rc = q_header_sync(q);
    return rc == 0 && old ? q_free_later(q, old, MAX((old_bytes + q->cluster_size - 1) >> q->cluster_bits, UINT64_C(1)))
                          : rc;
}

/* Entries from `cluster` on become absent. */
static int forget_from(struct qcow2 *q, uint64_t cluster, uint64_t end)
{
    int rc = 0;

    while (rc == 0 && cluster < end) {
        struct q_slice *s;
        unsigned index;
        rc = Q_BLOCKING(q, q_commit_throttle(q, NULL));
        if (rc == 0)
            rc = Q_BLOCKING(q, q_l2_get(q, cluster, NULL, &s, &index));
        if (rc == 0 && !s) {
            cluster = ((cluster >> q->l2_bits) + 1) << q->l2_bits;
            continue;
        }
        if (rc == 0)
            rc = Q_BLOCKING(q, q_l2_get_own(q, cluster, NULL, &s, &index));
        for (; rc == 0 && index < q_slice_entries(q) && cluster < end; index++, cluster++) {
            uint64_t entry = q_l2_entry(q, s, index);
            if (!entry && !q_l2_bitmap(q, s, index))
                continue;
            q_l2_put(q, s, index, 0, 0);
            q_free_entry(q, entry);
        }
    }
    return rc == 0 ? q_commit_sync(q) : rc;
}

/* What the disk gains reads as zeroes, whatever the last cluster or a longer backing file have there. */
static int zero_new(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint64_t end = align_up(from, q->cluster_size);

    if (q->backing && q->backing->size > from && to > end)
        end = MAX(end, MIN(to, q->backing->size));
    end = MIN(end, to);
    int rc = end > from ? block_run(&q->b, BLOCK_WRITE_ZEROES, BLOCK_REQ_UNMAP, from, end - from, NULL) : 0;
    return rc == 0 ? q_commit_sync(q) : rc;
}

int qcow2_resize(struct block *b, uint64_t size, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_header h = q->h;
    uint64_t old = q->h.size, table = BIT64(q->l2_bits + q->cluster_bits);
    int rc;

    h.size = size;
    if (size % 512 || qcow2_header_limits(&h))
        return err_set(e, EINVAL, "%s cannot have %llu bytes: %s", q->path, (unsigned long long)size,
                       size % 512 ? "that is not a multiple of 512" : qcow2_header_limits(&h));
    if (q->h.nsnapshots && (q->h.version < 3 || size < old))
        return err_set(e, ENOTSUP, "%s has snapshots, and can%s be resized", q->path,
                       q->h.version < 3 ? "not" : " only grow, not");
    rc = q_commit_sync(q);
    if (rc == 0 && size < old) {
        /* Whoever lets the disk grow again may count on zeroes in its last cluster. */
        rc = zero_new(q, size, MIN(old, align_up(size, q->cluster_size)));
        /* The size first: what lies behind it may go then. */
        if (rc < 0)
            return fail(q, rc, "resized", e);
        q->h.size = q->b.size = size;
        rc = q_header_sync(q);
        if (rc == 0)
            rc = forget_from(q, (size + q->cluster_size - 1) >> q->cluster_bits,
                             (old + q->cluster_size - 1) >> q->cluster_bits);
    } else if (rc == 0 && size > old) {
        uint64_t entries = (size + table - 1) / table;
        if (entries > q->h.l1_size)
            rc = grow_l1(q, entries);
        /* Zeroes first, where they can be put: a size that is in the file promises them. */
        q->b.size = size;
        if (rc == 0)
            rc = zero_new(q, old, size);
        q->h.size = size;
        if (rc == 0)
            rc = q_header_sync(q);
    }
    if (rc == 0)
        rc = q_commit_sync(q);
    return rc < 0 ? fail(q, rc, "resized", e) : 0;
}

/* Another header, its extensions made anew, in one write. */
static int rewrite_header(struct qcow2 *q, struct qcow2_header *h, const char *what, struct err *e)
{
    uint8_t *head = aligned_alloc(512, q->cluster_size);
    int rc = head ? q_commit_sync(q) : -ENOMEM;

    if (rc < 0)
        goto out;
    rc = qcow2_header_build(h, q->head, head, q->cluster_size, e);
    if (rc < 0) {
        free(head);
        return rc;
    }
    rc = block_run(q->file, BLOCK_WRITE, 0, 0, q->cluster_size, head);
    if (rc == 0)
        rc = block_run(q->file, BLOCK_FLUSH, 0, 0, 0, NULL);
    if (rc == 0) {
        q->h = *h;
        memcpy(q->head, head, q->cluster_size);
    }
out:
    free(head);
    return rc < 0 ? fail(q, rc, what, e) : 0;
}

int qcow2_set_backing(struct block *b, const char *backing, const char *format, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_header h = q->h;

    if (strlen(backing) > QCOW2_BACKING_NAME_MAX || (format && strlen(format) >= sizeof(h.backing_format)))
        return err_set(e, EINVAL, "the name of the backing file or of its format is too long");
    memcpy(h.backing, backing, strlen(backing) + 1);
    h.backing_format[0] = 0;
    if (format)
        memcpy(h.backing_format, format, strlen(format) + 1);
    return rewrite_header(q, &h, "given another backing file", e);
}

int qcow2_amend(struct block *b, unsigned version, bool lazy_refcounts, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_header h = q->h;

    if (version < h.version)
        return err_set(e, ENOTSUP, "%s stays version 3: `convert -o compat=0.10` makes an image of version 2", q->path);
    if (version < 3 && lazy_refcounts)
        return err_set(e, EINVAL, "version 2 (compat=0.10) has no lazy refcounts");
    h.version = version;
    h.compatible = (h.compatible & ~QCOW2_COMPAT_LAZY_REFCOUNTS) | (lazy_refcounts ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0);
    if (h.version == q->h.version && h.compatible == q->h.compatible)
        return 0;
    return rewrite_header(q, &h, "changed", e);
}

int qcow2_make_empty(struct block *b, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    int rc = q_commit_sync(q);

    if (rc == 0)
        rc = forget_from(q, 0, (q->h.size + q->cluster_size - 1) >> q->cluster_bits);
    if (rc == 0)
        rc = q_commit_sync(q);
    return rc < 0 ? fail(q, rc, "emptied", e) : 0;
}
