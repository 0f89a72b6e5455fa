/*
 * Checking an image: everything that it refers to is walked through and counted, and compared with its refcounts.
 *
 * Repair: leaks are given back where they are; anything worse gets a whole new set of refcounts, made from what was
 * counted, behind the end of the file, and then the header points to it. Entries that point nowhere sensible cannot be
 * repaired.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/block/qcow2_int.h"

#define CLUSTERS_MAX BIT64(28) /* what may be counted: 1 GiB of counters */
#define SAY_MAX 300

struct check {
    struct qcow2 *q;
    struct qcow2_check *c;
    void (*say)(const char *text, bool corruption);
    unsigned said;
    uint32_t *count; /* references of each cluster */
    uint64_t n;      /* clusters of the file */
    uint8_t *seen;   /* tables of one tree, a bit a cluster */
    uint64_t *table; /* one cluster of entries */
    uint64_t expected;
    bool broken; /* something that new refcounts do not repair */
};

__attribute__((format(printf, 3, 4))) static void found(struct check *k, bool corruption, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    if (corruption)
        k->c->corruptions++;
    else
        k->c->leaks++;
    if (!k->say || k->said++ >= SAY_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    k->say(text, corruption);
}

/* Counts a reference to a range of the file. */
static void refer(struct check *k, uint64_t offset, uint64_t len, const char *what)
{
    unsigned bits = k->q->cluster_bits;

    if (!len)
        return;
    uint64_t first = offset >> bits, last = (offset + len - 1) >> bits;
    if (last >= k->n) {
        found(k, true, "%s at offset 0x%llx lies behind the end of the file", what, (unsigned long long)offset);
        k->broken = true;
        last = k->n - 1;
    }
    for (uint64_t i = first; i <= last && i < k->n; i++)
        if (k->count[i] != UINT32_MAX)
            k->count[i]++;
}

static void stray(struct check *k, uint64_t offset, const char *what)
{
    found(k, true, "%s at the impossible offset 0x%llx", what, (unsigned long long)offset);
    k->broken = true;
}

static int read_entries(struct check *k, uint64_t offset, uint64_t *t, uint64_t n)
{
    int rc = block_run(k->q->file, BLOCK_READ, 0, offset, n * 8, t);

    for (uint64_t i = 0; rc == 0 && i < n; i++)
        t[i] = be64_get(&t[i]);
    if (rc < 0)
        k->c->check_errors++;
    return rc;
}

static void check_data(struct check *k, uint64_t entry, uint64_t bitmap, bool active)
{
    struct qcow2 *q = k->q;
    uint64_t host = entry & QCOW2_OFFSET_MASK, len;

    if (entry & QCOW2_COMPRESSED) {
        q_packed_place(q, entry, &host, &len);
        if (active) {
            k->c->compressed_clusters++;
            k->c->allocated_clusters++;
            k->c->fragmented_clusters++;
        }
        if (entry & QCOW2_COPIED)
            found(k, true, "the compressed cluster at offset 0x%llx has the flag of a single reference",
                  (unsigned long long)host);
        /* The last sector may reach behind what was written. */
        uint64_t end = (k->n << q->cluster_bits);
        refer(k, host, host < end ? MIN(len, end - host) : len, "compressed data");
        return;
    }
    if (q->extended && (uint32_t)bitmap & (uint32_t)(bitmap >> 32)) {
        found(k, true, "a subcluster of the cluster at offset 0x%llx has data and is zero", (unsigned long long)host);
        k->broken = true;
    }
    if (!host) {
        if (q->extended && (uint32_t)bitmap)
            stray(k, host, "data");
        return;
    }
    if (!q_host_ok(q, host)) {
        stray(k, host, "data");
        return;
    }
    if (active) {
        k->c->allocated_clusters++;
        if (k->expected && host != k->expected)
            k->c->fragmented_clusters++;
        k->expected = host + q->cluster_size;
    }
    refer(k, host, q->cluster_size, "data");
}

/* A tree: an L1 table, its L2 tables, their data. */
static void check_tree(struct check *k, const uint64_t *l1, uint64_t n, bool active)
{
    struct qcow2 *q = k->q;
    unsigned step = q->l2_entry_size / 8;

    memset(k->seen, 0, k->n / 8 + 1);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t table = l1[i] & QCOW2_OFFSET_MASK, cluster = table >> q->cluster_bits;
        if (!table)
            continue;
        if (!q_host_ok(q, table)) {
            stray(k, table, "an L2 table");
            continue;
        }
        refer(k, table, q->cluster_size, "an L2 table");
        if (cluster >= k->n)
            continue;
        if (k->seen[cluster / 8] >> cluster % 8 & 1) {
            found(k, true, "the L2 table at offset 0x%llx is used twice", (unsigned long long)table);
            k->broken = true;
            continue;
        }
        k->seen[cluster / 8] |= (uint8_t)(1U << cluster % 8);
        if (read_entries(k, table, k->table, q->cluster_size / 8) < 0)
            continue;
        for (uint64_t j = 0; j < q->cluster_size / 8; j += step)
            check_data(k, k->table[j], step == 2 ? k->table[j + 1] : 0, active);
    }
}

static void check_snapshots(struct check *k)
{
    struct qcow2 *q = k->q;
    struct qcow2_snapshots s;
    uint64_t len = 0;

    if (!q->h.nsnapshots)
        return;
    if (qcow2_snapshots_read(&q->b, &s, NULL) < 0) {
        stray(k, q->h.snapshots_offset, "a damaged snapshot table");
        return;
    }
    for (unsigned i = 0; i < s.n; i++) {
        struct qcow2_snapshot *t = &s.list[i];
        uint64_t *l1 = calloc(MAX(t->l1_size, 1U), 8);
        len += align_up(40 + t->nextra + strlen(t->id) + strlen(t->name), 8);
        refer(k, t->l1_offset, (uint64_t)t->l1_size * 8, "a snapshot's L1 table");
        if (!l1)
            k->c->check_errors++;
        else if (t->l1_size && read_entries(k, t->l1_offset, l1, t->l1_size) == 0)
            check_tree(k, l1, t->l1_size, false);
        free(l1);
    }
    refer(k, q->h.snapshots_offset, len, "the snapshot table");
    qcow2_snapshots_free(&s);
}

/* Persistent bitmaps: a directory, a table and data for each. */
static void check_bitmaps(struct check *k)
{
    struct qcow2 *q = k->q;
    uint64_t len = q->h.bitmaps_len;
    uint8_t *dir;

    if (!(q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS) || !q->h.nbitmaps)
        return;
    if (q->h.nbitmaps > QCOW2_BITMAPS_MAX || len > MIB(64) || !q_host_ok(q, q->h.bitmaps_offset) ||
        !(dir = malloc(len + 24))) {
        stray(k, q->h.bitmaps_offset, "a bitmap directory");
        return;
    }
    refer(k, q->h.bitmaps_offset, len, "the bitmap directory");
    if (block_run(q->file, BLOCK_READ, 0, q->h.bitmaps_offset, len, dir) < 0)
        k->c->check_errors++;
    else
        for (uint64_t i = 0, at = 0; i < q->h.nbitmaps && at + 24 <= len; i++) {
            uint64_t table = be64_get(dir + at), n = be32_get(dir + at + 8);
            at += align_up(24 + (uint64_t)be32_get(dir + at + 20) + be16_get(dir + at + 18), 8);
            uint64_t *t = n <= MIB(64) / 8 && q_host_ok(q, table) ? calloc(n + 1, 8) : NULL;
            if (!t) {
                stray(k, table, "a bitmap table");
                continue;
            }
            refer(k, table, n * 8, "a bitmap table");
            if (n && read_entries(k, table, t, n) == 0)
                for (uint64_t j = 0; j < n; j++)
                    if (t[j] & QCOW2_OFFSET_MASK)
                        refer(k, t[j] & QCOW2_OFFSET_MASK, q->cluster_size, "a bitmap");
            free(t);
        }
    free(dir);
}

/* All but the refcount table and its blocks. */
static void count_all(struct check *k)
{
    struct qcow2 *q = k->q;

    refer(k, 0, q->cluster_size, "the header");
    refer(k, q->h.l1_offset, (uint64_t)q->h.l1_size * 8, "the L1 table");
    check_tree(k, q->l1, q->h.l1_size, true);
    check_snapshots(k);
    check_bitmaps(k);
}

/* The flags of the active tables against what was counted. */
static void check_flags(struct check *k)
{
    struct qcow2 *q = k->q;
    unsigned step = q->l2_entry_size / 8;

    for (uint64_t i = 0; i < q->h.l1_size; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK;
        if (!table || !q_host_ok(q, table) || table >> q->cluster_bits >= k->n)
            continue;
        if (!!(q->l1[i] & QCOW2_COPIED) != (k->count[table >> q->cluster_bits] == 1))
            found(k, true, "the flag of a single reference is wrong for the L2 table at offset 0x%llx",
                  (unsigned long long)table);
        if (read_entries(k, table, k->table, q->cluster_size / 8) < 0)
            continue;
        for (uint64_t j = 0; j < q->cluster_size / 8; j += step) {
            uint64_t entry = k->table[j], host = entry & QCOW2_OFFSET_MASK;
            if (entry & QCOW2_COMPRESSED || !host || host >> q->cluster_bits >= k->n)
                continue;
            if (!!(entry & QCOW2_COPIED) != (k->count[host >> q->cluster_bits] == 1))
                found(k, true, "the flag of a single reference is wrong for data at offset 0x%llx",
                      (unsigned long long)host);
        }
    }
}

static uint64_t refcount_at(const struct qcow2 *q, const uint8_t *p, uint64_t i)
{
    unsigned order = q->h.refcount_order;
    uint64_t v = 0;

    if (order < 3)
        return p[i << order >> 3] >> (i << order & 7) & ((1U << (1U << order)) - 1);
    for (unsigned b = 0; b < 1U << (order - 3); b++)
        v = v << 8 | p[(i << (order - 3)) + b];
    return v;
}

static void refcount_put(const struct qcow2 *q, uint8_t *p, uint64_t i, uint64_t v)
{
    unsigned order = q->h.refcount_order;

    if (order < 3) {
        p[i << order >> 3] |= (uint8_t)(v << (i << order & 7));
        return;
    }
    for (unsigned n = 1U << (order - 3), b = 0; b < n; b++)
        p[(i << (order - 3)) + b] = (uint8_t)(v >> 8 * (n - 1 - b));
}

/* Compares what the file says of block `i` with what was counted; block == NULL: it has no refcounts. */
static void compare_block(struct check *k, uint64_t i, const uint8_t *block)
{
    struct qcow2 *q = k->q;

    for (uint64_t j = 0; j < BIT64(q->refblock_bits); j++) {
        uint64_t cluster = (i << q->refblock_bits) + j, is = block ? refcount_at(q, block, j) : 0;
        uint64_t want = cluster < k->n ? k->count[cluster] : 0;
        if (cluster >= k->n && !block)
            break;
        if (is != want)
            found(k, is < want, "cluster %llu has refcount %llu and %llu references", (unsigned long long)cluster,
                  (unsigned long long)is, (unsigned long long)want);
        if (is || want)
            k->c->image_end = MAX(k->c->image_end, (cluster + 1) << q->cluster_bits);
    }
}

/* Counts the refcount structures themselves and compares everything. */
static int compare(struct check *k)
{
    struct qcow2 *q = k->q;
    uint64_t *reftable = calloc(q->nreftable, 8);
    uint8_t *block = aligned_alloc(512, q->cluster_size);
    uint64_t blocks = MAX((k->n + BIT64(q->refblock_bits) - 1) >> q->refblock_bits, UINT64_C(1));
    int rc = reftable && block ? 0 : -ENOMEM;

    if (rc == 0)
        rc = read_entries(k, q->h.reftable_offset, reftable, q->nreftable);
    if (rc == 0) {
        refer(k, q->h.reftable_offset, (uint64_t)q->h.reftable_clusters << q->cluster_bits, "the refcount table");
        for (uint64_t i = 0; i < q->nreftable; i++) {
            reftable[i] &= QCOW2_REFTABLE_MASK;
            if (!reftable[i])
                continue;
            if (!q_host_ok(q, reftable[i]) || reftable[i] >> q->cluster_bits >= k->n ||
                k->count[reftable[i] >> q->cluster_bits]) {
                found(k, true, "the refcount block at offset 0x%llx lies elsewhere or on something else",
                      (unsigned long long)reftable[i]);
                reftable[i] = 0;
                continue;
            }
            refer(k, reftable[i], q->cluster_size, "a refcount block");
        }
    }
    for (uint64_t i = 0; rc == 0 && i < MAX(blocks, q->nreftable); i++) {
        uint64_t host = i < q->nreftable ? reftable[i] : 0;
        if (host && block_run(q->file, BLOCK_READ, 0, host, q->cluster_size, block) < 0) {
            k->c->check_errors++;
            continue;
        }
        if (host || i < blocks)
            compare_block(k, i, host ? block : NULL);
    }
    free(reftable);
    free(block);
    return rc;
}

/* ---- repair ---- */

/* New refcounts for what count_all has counted, behind the end of the file. */
static int rebuild(struct check *k)
{
    struct qcow2 *q = k->q;
    uint64_t per_block = BIT64(q->refblock_bits), blocks = 1, table = 1, max, host;
    uint8_t *p = aligned_alloc(512, q->cluster_size);
    int rc = 0;

    if (!p)
        return -ENOMEM;
    max = UINT64_MAX >> (64 - (1U << q->h.refcount_order));
    for (uint64_t i = 0; i < k->n; i++)
        if (k->count[i] > max)
            rc = -ERANGE;
    for (;;) {
        uint64_t b = (k->n + blocks + table + per_block - 1) / per_block;
        uint64_t t = (b * 8 + q->cluster_size - 1) >> q->cluster_bits;
        if (b <= blocks && t <= table)
            break;
        blocks = MAX(b, blocks);
        table = MAX(t, table);
    }
    if (table << q->cluster_bits > MAX(QCOW2_REFTABLE_BYTES_MAX, q->cluster_size))
        rc = -EFBIG;
    for (uint64_t i = 0; rc == 0 && i < blocks; i++) {
        memset(p, 0, q->cluster_size);
        for (uint64_t j = 0; j < per_block; j++) {
            uint64_t c = i * per_block + j;
            refcount_put(q, p, j, c < k->n ? k->count[c] : c < k->n + blocks + table);
        }
        rc = block_run(q->file, BLOCK_WRITE, 0, (k->n + i) << q->cluster_bits, q->cluster_size, p);
    }
    host = (k->n + blocks) << q->cluster_bits;
    uint64_t entries = table << q->cluster_bits >> 3;
    uint64_t *t = calloc(entries, 8);
    if (!t)
        rc = -ENOMEM;
    for (uint64_t i = 0; rc == 0 && i < table; i++) {
        memset(p, 0, q->cluster_size);
        for (uint64_t j = 0; j < q->cluster_size / 8; j++) {
            uint64_t b = i * (q->cluster_size / 8) + j;
            t[b] = b < blocks ? (k->n + b) << q->cluster_bits : 0;
            be64_put(p + j * 8, t[b]);
        }
        rc = block_run(q->file, BLOCK_WRITE, 0, host + (i << q->cluster_bits), q->cluster_size, p);
    }
    if (rc == 0)
        rc = block_run(q->file, BLOCK_FLUSH, 0, 0, 0, NULL);
    free(p);
    if (rc < 0) {
        free(t);
        return rc;
    }
    /* No slice of the old blocks may be found again. */
    for (uint64_t i = 0; i < q->nreftable; i++)
        if (q->reftable[i])
            q_slices_drop(q, align_down(q->reftable[i], q->cluster_size), q->cluster_size);
    free(q->reftable);
    q->reftable = t;
    q->nreftable = entries;
    q->h.reftable_offset = host;
    q->h.reftable_clusters = (uint32_t)table;
    q->free_hint = 0;
    q->packed_offset = 0;
    q->high_water = MAX(q->high_water, host + (table << q->cluster_bits));
    return q_header_sync(q);
}

static int fix_leaks(struct check *k)
{
    struct qcow2 *q = k->q;
    int rc = 0;

    for (uint64_t i = 0; rc == 0 && i < q->nreftable << q->refblock_bits; i++) {
        uint64_t v, want = i < k->n ? k->count[i] : 0;
        if (!q->reftable[i >> q->refblock_bits]) {
            i |= BIT64(q->refblock_bits) - 1;
            continue;
        }
        rc = Q_BLOCKING(q, q_commit_throttle(q, NULL));
        if (rc == 0)
            rc = Q_BLOCKING(q, q_refcount_get(q, i, NULL, &v));
        if (rc == 0 && v > want) {
            rc = Q_BLOCKING(q, q_refcount_add(q, i, -(int64_t)(v - want), NULL));
            k->c->leaks_fixed++;
        }
    }
    return rc == 0 ? q_commit_sync(q) : rc;
}

static int repair(struct check *k, bool fix_all)
{
    struct qcow2_check *c = k->c;
    int rc = 0;

    if (!c->corruptions)
        return c->leaks ? fix_leaks(k) : 0;
    if (!fix_all)
        return c->leaks ? fix_leaks(k) : 0;
    /* What refers to the file's outside is left as it is; all else is counted again without the old refcounts. */
    struct qcow2_check again = {0};
    k->c = &again;
    k->say = NULL;
    memset(k->count, 0, k->n * sizeof(*k->count));
    count_all(k);
    k->c = c;
    rc = rebuild(k);
    if (rc == 0)
        rc = q_fix_copied(k->q);
    if (rc == 0) {
        c->leaks_fixed = c->leaks;
        c->corruptions_fixed = c->corruptions - MIN(again.corruptions, c->corruptions);
    }
    return rc;
}

int qcow2_check(struct block *b, struct qcow2_check *c, bool leaks, bool all, void (*say)(const char *, bool),
                struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct check k = {.q = q, .c = c, .say = say};
    int rc = b->read_only ? 0 : q_commit_sync(q);

    *c = (struct qcow2_check){.total_clusters = (q->h.size + q->cluster_size - 1) >> q->cluster_bits};
    if (rc < 0)
        return err_set(e, -rc, "%s cannot be written: %s", q->path, strerror(-rc));
    k.n = (block_raw_length(q->file) + q->cluster_size - 1) >> q->cluster_bits;
    if (k.n > CLUSTERS_MAX)
        return err_set(e, EFBIG, "%s has more than %llu clusters, too many to count", q->path,
                       (unsigned long long)CLUSTERS_MAX);
    k.n = MAX(k.n, UINT64_C(1));
    k.count = calloc(k.n, sizeof(*k.count));
    k.seen = malloc(k.n / 8 + 1);
    k.table = aligned_alloc(512, q->cluster_size);
    if (!k.count || !k.seen || !k.table) {
        rc = -ENOMEM;
        goto out;
    }
    count_all(&k);
    rc = compare(&k);
    if (rc == 0)
        check_flags(&k);
    if (rc == 0 && (leaks || all) && !b->read_only)
        rc = repair(&k, all);
    if (rc == 0 && all && !b->read_only && c->corruptions == c->corruptions_fixed &&
        q->h.incompatible & (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT)) {
        q->h.incompatible &= ~(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
        q->corrupt = false;
        rc = q_header_sync(q);
    }
out:
    free(k.count);
    free(k.seen);
    free(k.table);
    return rc < 0 ? err_set(e, -rc, "%s cannot be checked: %s", q->path, strerror(-rc)) : 0;
}
