/* Room for data before there is any: of a raw file by the file system, of a qcow2 image by mapped clusters, too. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devices/block/qcow2_int.h"

static const uint8_t zeroes[KIB(64)] __attribute__((aligned(4096)));

static int raw_preallocate(struct block *b, enum block_prealloc how, uint64_t from, uint64_t to)
{
    if (block_raw_length(b) < to) {
        int rc = block_raw_truncate(b, to);
        if (rc < 0)
            return rc;
    }
    if (how == BLOCK_PREALLOC_FALLOC)
        return fallocate(block_raw_fd(b), 0, (off_t)from, (off_t)(to - from)) < 0 ? -errno : 0;
    for (uint64_t n; how == BLOCK_PREALLOC_FULL && from < to; from += n) {
        ssize_t rc = pwrite(block_raw_fd(b), zeroes, MIN(to - from, sizeof(zeroes)), (off_t)from);
        if (rc <= 0)
            return rc < 0 ? -errno : -EIO;
        n = (uint64_t)rc;
    }
    return 0;
}

/* Clusters in a row for entries of one slice that have none, from `cluster` on; *n entries are passed. */
static int map_some(struct qcow2 *q, enum block_prealloc how, uint64_t cluster, uint64_t max, uint64_t *n)
{
    struct q_slice *s = NULL;
    uint64_t got, host, want = 0;
    unsigned index;
    bool fresh;
    int rc = Q_BLOCKING(q, q_commit_throttle(q, NULL));

    if (rc == 0)
        rc = Q_BLOCKING(q, q_l2_get_own(q, cluster, NULL, &s, &index));
    if (rc < 0 || !s)
        return rc < 0 ? rc : -EIO;
    while (want < max && index + want < q_slice_entries(q) && !q_l2_entry(q, s, index + (unsigned)want) &&
           !q_l2_bitmap(q, s, index + (unsigned)want))
        want++;
    *n = 1;
    if (!want) /* has something already */
        return 0;
    s->pins++;
    rc = Q_BLOCKING(q, q_alloc_clusters(q, want, &got, &host, &fresh, NULL));
    if (rc == 0) {
        uint64_t end = host + (got << q->cluster_bits);
        /* Clusters that had another life have its data. */
        if (!fresh)
            rc = block_run(q->file, BLOCK_WRITE_ZEROES, 0, host, end - host, NULL);
        if (rc == 0)
            rc = raw_preallocate(q->file, how, host, end);
        for (*n = 0; rc == 0 && *n < got; ++*n)
            q_l2_put(q, s, index + (unsigned)*n, (host + (*n << q->cluster_bits)) | QCOW2_COPIED,
                     q->extended ? UINT32_MAX : 0);
        if (rc < 0)
            q_alloc_undo(q, host, got);
    }
    s->pins--;
    return rc;
}

static int qcow2_preallocate(struct qcow2 *q, enum block_prealloc how, uint64_t from, uint64_t to)
{
    uint64_t cluster = align_up(from, q->cluster_size) >> q->cluster_bits, n;
    uint64_t end = align_up(to, q->cluster_size) >> q->cluster_bits;

    if (q->backing)
        return -ENOTSUP;
    for (; cluster < end; cluster += n) {
        int rc = map_some(q, how, cluster, end - cluster, &n);
        if (rc < 0)
            return rc;
    }
    return q_commit_sync(q);
}

int block_preallocate(struct block *b, enum block_prealloc how, uint64_t from, uint64_t to)
{
    if (how == BLOCK_PREALLOC_OFF || from >= to)
        return 0;
    if (block_is_qcow2(b))
        return qcow2_preallocate(qcow2_of(b), how, from, to);
    return how == BLOCK_PREALLOC_METADATA ? -ENOTSUP : raw_preallocate(b, how, from, to);
}
