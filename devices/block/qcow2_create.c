/* New, empty qcow2 images. */
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* Refcount blocks and clusters of their table that count `clusters` and themselves. */
static void refcount_needs(const struct qcow2_create *c, uint64_t clusters, uint64_t *blocks, uint64_t *table)
{
    uint64_t per_block = BIT64(c->cluster_bits + 3 - c->refcount_order), size = BIT64(c->cluster_bits);

    *blocks = *table = 1;
    for (;;) {
        uint64_t b = div_up(clusters + *blocks + *table, per_block), t = div_up(b * 8, size);
        if (b <= *blocks && t <= *table)
            return;
        *blocks = MAX(b, *blocks);
        *table = MAX(t, *table);
    }
}

static uint64_t l1_entries(const struct qcow2_create *c)
{
    unsigned shift = 2 * c->cluster_bits - (c->extended_l2 ? 4 : 3);
    return div_up(c->size, BIT64(shift));
}

uint64_t qcow2_metadata_size(const struct qcow2_create *c, uint64_t data_clusters)
{
    uint64_t size = BIT64(c->cluster_bits), blocks, table;
    uint64_t l2 = l1_entries(c), l1 = div_up(l2 * 8, size), clusters = 1 + l1 + l2;

    refcount_needs(c, clusters + data_clusters, &blocks, &table);
    return (clusters + blocks + table) * size;
}

static void fill_header(struct qcow2_header *h, const struct qcow2_create *c)
{
    *h = (struct qcow2_header){
        .version = c->version,
        .cluster_bits = c->cluster_bits,
        .size = c->size,
        .refcount_order = c->refcount_order,
        .compression = c->compression,
    };
    if (c->compression != QCOW2_ZLIB)
        h->incompatible |= QCOW2_INCOMPAT_COMPRESSION;
    if (c->extended_l2)
        h->incompatible |= QCOW2_INCOMPAT_EXTENDED_L2;
    if (c->lazy_refcounts)
        h->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
}

static int check_settings(const struct qcow2_create *c, struct qcow2_header *h, struct err *e)
{
    const char *why = qcow2_header_limits(h);

    if (why)
        return err_set(e, EINVAL, "%s", why);
    if (c->size % 512)
        return err_set(e, EINVAL, "the size of the disk is not a multiple of 512 bytes");
    if (c->version < 3 && (c->refcount_order != 4 || h->incompatible || h->compatible))
        return err_set(e, EINVAL,
                       "version 2 (compat=0.10) has neither lazy refcounts, extended L2 entries, zstd nor refcounts of "
                       "other than 16 bits");
    if (c->extended_l2 && c->cluster_bits < 14)
        return err_set(e, EINVAL, "extended L2 entries need clusters of at least 16 KiB");
    if (c->backing && strlen(c->backing) > QCOW2_BACKING_NAME_MAX)
        return err_set(e, EINVAL, "the name of the backing file is too long");
    if (c->backing)
        memcpy(h->backing, c->backing, strlen(c->backing) + 1);
    if (c->backing_format) {
        if (strlen(c->backing_format) >= sizeof(h->backing_format))
            return err_set(e, EINVAL, "the name of the backing format is too long");
        memcpy(h->backing_format, c->backing_format, strlen(c->backing_format) + 1);
    }
    return 0;
}

static void refcount_one(uint8_t *block, unsigned order, uint64_t i)
{
    if (order < 3)
        block[i >> (3 - order)] |= (uint8_t)(1U << (i << order & 7));
    else
        block[((i + 1) << (order - 3)) - 1] = 1; /* the last byte: big-endian */
}

/* Header, refcount table, refcount blocks, L1 table, one behind the other. The header comes last: until then the file
 * is nothing. */
int qcow2_create(struct block *file, const struct qcow2_create *c, struct err *e)
{
    uint64_t size = BIT64(c->cluster_bits), blocks, table, entries, l1;
    uint8_t *cluster = NULL;
    struct qcow2_header h;
    int rc;

    fill_header(&h, c);
    rc = check_settings(c, &h, e);
    if (rc < 0)
        return rc;
    entries = l1_entries(c);
    l1 = MAX(div_up(entries * 8, size), UINT64_C(1));
    refcount_needs(c, 1 + l1, &blocks, &table);
    uint64_t used = 1 + table + blocks + l1, per_block = BIT64(c->cluster_bits + 3 - c->refcount_order);
    h.reftable_offset = size;
    h.reftable_clusters = (uint32_t)table;
    h.l1_offset = (1 + table + blocks) * size;
    h.l1_size = (uint32_t)entries;
    cluster = aligned_alloc(512, size);
    if (!cluster)
        return err_set(e, ENOMEM, "out of memory");
    rc = block_run(file, BLOCK_WRITE_ZEROES, 0, 0, used * size, NULL);
    for (uint64_t i = 0; rc == 0 && i < table; i++) {
        memset(cluster, 0, size);
        for (uint64_t j = 0; j < size / 8 && i * (size / 8) + j < blocks; j++)
            be64_put(cluster + j * 8, (1 + table + i * (size / 8) + j) * size);
        rc = block_run(file, BLOCK_WRITE, 0, (1 + i) * size, size, cluster);
    }
    for (uint64_t i = 0; rc == 0 && i < blocks; i++) {
        memset(cluster, 0, size);
        for (uint64_t j = 0; j < per_block && i * per_block + j < used; j++)
            refcount_one(cluster, c->refcount_order, j);
        rc = block_run(file, BLOCK_WRITE, 0, (1 + table + i) * size, size, cluster);
    }
    /* The file reaches to the end of the L1 table even where zeroes were not written. */
    memset(cluster, 0, size);
    if (rc == 0)
        rc = block_run(file, BLOCK_WRITE, 0, (used - 1) * size, size, cluster);
    if (rc < 0) {
        err_set(e, -rc, "cannot write: %s", strerror(-rc));
        goto out;
    }
    rc = qcow2_header_build(&h, NULL, cluster, size, e);
    if (rc < 0)
        goto out;
    rc = block_run(file, BLOCK_WRITE, 0, 0, size, cluster);
    if (rc == 0)
        rc = block_run(file, BLOCK_FLUSH, 0, 0, 0, NULL);
    if (rc < 0)
        err_set(e, -rc, "cannot write: %s", strerror(-rc));
out:
    free(cluster);
    return rc;
}
