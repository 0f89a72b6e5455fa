/*
 * Internal snapshots: the table of them, and making, applying and deleting one.
 *
 * A snapshot is a copy of an L1 table; what that refers to has one more reference. References are counted up before
 * anything in the file uses them and down after nothing does, so that being killed in between leaks clusters at worst.
 * The flags that say "refcount is one" cannot change at the same instant as the refcounts: while they may differ, the
 * image has its dirty bit, and whoever opens it next puts both right. Version 2 has no such bit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "devices/block/qcow2_int.h"

#define SNAPSHOT_FIXED 40
#define SNAPSHOT_EXTRA 24 /* what we write */
#define SNAPSHOT_EXTRA_MAX 1024

void qcow2_snapshots_free(struct qcow2_snapshots *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        free(s->list[i].id);
        free(s->list[i].name);
        free(s->list[i].extra);
    }
    free(s->list);
    *s = (struct qcow2_snapshots){0};
}

static int bad_table(const struct qcow2 *q, struct err *e)
{
    return err_set(e, EINVAL, "%s: its snapshot table is damaged", q->path);
}

static int read_part(struct qcow2 *q, uint64_t at, size_t n, void *out, struct err *e)
{
    int rc = n ? block_run(q->file, BLOCK_READ, 0, at, n, out) : 0;
    return rc < 0 ? err_set(e, -rc, "%s: its snapshot table cannot be read: %s", q->path, strerror(-rc)) : 0;
}

static int read_one(struct qcow2 *q, uint64_t *at, struct qcow2_snapshot *s, struct err *e)
{
    uint8_t p[SNAPSHOT_FIXED];
    int rc = read_part(q, *at, sizeof(p), p, e);

    if (rc < 0)
        return rc;
    uint16_t nid = be16_get(p + 12), nname = be16_get(p + 14);
    s->l1_offset = be64_get(p);
    s->l1_size = be32_get(p + 8);
    s->date_sec = be32_get(p + 16);
    s->date_nsec = be32_get(p + 20);
    s->clock_nsec = be64_get(p + 24);
    s->vm_state_size = be32_get(p + 32);
    s->nextra = be32_get(p + 36);
    s->disk_size = q->h.size;
    s->icount = UINT64_MAX;
    if (s->nextra > SNAPSHOT_EXTRA_MAX || s->l1_size > QCOW2_L1_BYTES_MAX / 8 || s->l1_offset % q->cluster_size ||
        !range_within(s->l1_offset, (uint64_t)s->l1_size * 8, BIT64(56)))
        return bad_table(q, e);
    s->extra = calloc(1, MAX(s->nextra, 1U));
    s->id = calloc(1, nid + 1U);
    s->name = calloc(1, nname + 1U);
    if (!s->extra || !s->id || !s->name)
        return err_set(e, ENOMEM, "out of memory");
    *at += sizeof(p);
    if ((rc = read_part(q, *at, s->nextra, s->extra, e)) < 0 ||
        (rc = read_part(q, *at + s->nextra, nid, s->id, e)) < 0 ||
        (rc = read_part(q, *at + s->nextra + nid, nname, s->name, e)) < 0)
        return rc;
    *at = align_up(*at + s->nextra + nid + nname, 8);
    if (s->nextra >= 8)
        s->vm_state_size = be64_get(s->extra);
    if (s->nextra >= 16)
        s->disk_size = be64_get(s->extra + 8);
    if (s->nextra >= 24)
        s->icount = be64_get(s->extra + 16);
    unsigned shift = q->l2_bits + q->cluster_bits;
    if (s->disk_size > INT64_MAX || s->disk_size >> shift > s->l1_size ||
        (s->disk_size & (BIT64(shift) - 1) && s->disk_size >> shift == s->l1_size))
        return bad_table(q, e);
    return 0;
}

int qcow2_snapshots_read(struct block *b, struct qcow2_snapshots *s, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    uint64_t at = q->h.snapshots_offset;
    int rc = 0;

    *s = (struct qcow2_snapshots){.list = calloc(MAX(q->h.nsnapshots, 1U), sizeof(*s->list))};
    if (!s->list)
        return err_set(e, ENOMEM, "out of memory");
    while (rc == 0 && s->n < q->h.nsnapshots) {
        rc = read_one(q, &at, &s->list[s->n++], e);
        if (rc == 0 && at - q->h.snapshots_offset > QCOW2_SNAPSHOT_TABLE_MAX)
            rc = bad_table(q, e);
    }
    if (rc < 0)
        qcow2_snapshots_free(s);
    return rc;
}

static const char *text(const char *s)
{
    return s ? s : "";
}

/* By id, else by name. */
static int find(const struct qcow2 *q, const struct qcow2_snapshots *s, const char *name, struct err *e)
{
    for (unsigned i = 0; i < s->n; i++)
        if (!strcmp(text(s->list[i].id), name))
            return (int)i;
    for (unsigned i = 0; i < s->n; i++)
        if (!strcmp(text(s->list[i].name), name))
            return (int)i;
    return err_set(e, ENOENT, "%s has no snapshot \"%s\"", q->path, name);
}

static int failed(const struct qcow2 *q, int rc, const char *what, struct err *e)
{
    return err_set(e, -rc, "%s: the snapshot cannot be %s: %s", q->path, what, strerror(-rc));
}

/* ---- trees of references ---- */

static int add_refs(struct qcow2 *q, uint64_t host, uint64_t n, int delta)
{
    int rc = 0;

    if (delta < 0)
        return q_free_later(q, host, n);
    for (uint64_t i = 0; rc == 0 && i < n; i++)
        rc = Q_BLOCKING(q, q_refcount_add(q, (host >> q->cluster_bits) + i, delta, NULL));
    return rc;
}

static int entry_refs(struct qcow2 *q, uint64_t entry, int delta)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK, n = 1;

    if (entry & QCOW2_COMPRESSED) {
        uint64_t offset, len;
        q_packed_place(q, entry, &offset, &len);
        host = align_down(offset, q->cluster_size);
        n = ((offset + len - 1) >> q->cluster_bits) - (offset >> q->cluster_bits) + 1;
    }
    return host ? add_refs(q, host, n, delta) : 0;
}

static int throttle(struct qcow2 *q)
{
    return Q_BLOCKING(q, q_commit_throttle(q, NULL));
}

/* Everything that an L1 table refers to gets a reference more or less. */
static int tree_refs(struct qcow2 *q, const uint64_t *l1, uint32_t n, int delta)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        uint64_t table = l1[i] & QCOW2_OFFSET_MASK;
        if (!table)
            continue;
        if (!q_host_ok(q, table))
            return q_corrupt(q, "an L2 table at offset 0x%llx", (unsigned long long)table);
        for (uint64_t at = 0; rc == 0 && at < q->cluster_size; at += q->slice_size) {
            struct q_slice *s = NULL;
            rc = throttle(q);
            if (rc == 0)
                rc = Q_BLOCKING(q, q_slice_get(q, table + at, Q_SLICE_L2, NULL, &s));
            if (rc < 0 || !s)
                break;
            s->pins++;
            for (unsigned j = 0; rc == 0 && j < q_slice_entries(q); j++)
                rc = entry_refs(q, q_l2_entry(q, s, j), delta);
            s->pins--;
        }
        if (rc == 0)
            rc = add_refs(q, table, 1, delta);
    }
    return rc;
}

/* The flags that say "refcount is one", after refcounts changed. Tables that are shared are changed too: the flags are
 * the active image's alone. */
static int copied_flag(struct qcow2 *q, uint64_t *entry)
{
    uint64_t host = *entry & QCOW2_OFFSET_MASK, v = 0;
    int rc = 0;

    if (host && !(*entry & QCOW2_COMPRESSED))
        rc = Q_BLOCKING(q, q_refcount_get(q, host >> q->cluster_bits, NULL, &v));
    *entry = (*entry & ~QCOW2_COPIED) | (v == 1 ? QCOW2_COPIED : 0);
    return rc;
}

static int slice_flags(struct qcow2 *q, uint64_t offset)
{
    struct q_slice *s = NULL;
    int rc = throttle(q);

    if (rc == 0)
        rc = Q_BLOCKING(q, q_slice_get(q, offset, Q_SLICE_L2, NULL, &s));
    if (rc < 0 || !s)
        return rc;
    s->pins++;
    for (unsigned j = 0; rc == 0 && j < q_slice_entries(q); j++) {
        uint64_t old = q_l2_entry(q, s, j), entry = old;
        if (!old)
            continue;
        rc = copied_flag(q, &entry);
        if (rc == 0 && entry != old)
            q_l2_put(q, s, j, entry, q_l2_bitmap(q, s, j));
    }
    s->pins--;
    return rc;
}

int q_fix_copied(struct qcow2 *q)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < q->h.l1_size; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK;
        if (!table)
            continue;
        if (!q_host_ok(q, table))
            return q_corrupt(q, "an L2 table at offset 0x%llx", (unsigned long long)table);
        uint64_t entry = q->l1[i];
        rc = copied_flag(q, &entry);
        for (uint64_t at = 0; rc == 0 && at < q->cluster_size; at += q->slice_size)
            rc = slice_flags(q, table + at);
        if (rc == 0 && entry != q->l1[i]) {
            q->l1[i] = entry;
            q->l1_dirty_from = 0;
            q->l1_dirty_to = q->h.l1_size;
        }
    }
    return rc == 0 ? q_commit_sync(q) : rc;
}

/* A table of 8-byte entries into clusters of its own; their offset in *host. */
int q_write_l1(struct qcow2 *q, const uint64_t *l1, uint32_t n, uint64_t keep, uint64_t *host)
{
    uint64_t bytes = align_up(MAX((uint64_t)n * 8, UINT64_C(1)), q->cluster_size);
    uint8_t *p = aligned_alloc(512, bytes);
    int rc = p ? q_alloc_run(q, bytes >> q->cluster_bits, host) : -ENOMEM;

    if (rc == 0) {
        memset(p, 0, bytes);
        for (uint32_t i = 0; i < n; i++)
            be64_put(p + (size_t)i * 8, l1[i] & keep);
        rc = block_run(q->file, BLOCK_WRITE, 0, *host, bytes, p);
    }
    free(p);
    return rc;
}

/* ---- the table ---- */

static size_t entry_size(const struct qcow2_snapshot *s)
{
    return align_up(
        SNAPSHOT_FIXED + MAX(s->nextra, (uint32_t)SNAPSHOT_EXTRA) + strlen(text(s->id)) + strlen(text(s->name)), 8);
}

static void entry_put(const struct qcow2_snapshot *s, uint8_t *p)
{
    uint32_t nextra = MAX(s->nextra, (uint32_t)SNAPSHOT_EXTRA);
    size_t nid = strlen(s->id), nname = strlen(s->name);

    be64_put(p, s->l1_offset);
    be32_put(p + 8, s->l1_size);
    be16_put(p + 12, (uint16_t)nid);
    be16_put(p + 14, (uint16_t)nname);
    be32_put(p + 16, s->date_sec);
    be32_put(p + 20, s->date_nsec);
    be64_put(p + 24, s->clock_nsec);
    be32_put(p + 32, s->vm_state_size > UINT32_MAX ? UINT32_MAX : (uint32_t)s->vm_state_size);
    be32_put(p + 36, nextra);
    p += SNAPSHOT_FIXED;
    if (s->nextra)
        memcpy(p, s->extra, s->nextra);
    be64_put(p, s->vm_state_size);
    be64_put(p + 8, s->disk_size);
    be64_put(p + 16, s->icount);
    memcpy(p + nextra, s->id, nid);
    memcpy(p + nextra + nid, s->name, nname);
}

/* Writes the list and lets the header point to it. */
static int write_table(struct qcow2 *q, const struct qcow2_snapshots *s)
{
    uint64_t old = q->h.snapshots_offset, old_len = 0, host = 0, len = 0;
    struct qcow2_snapshots before;
    uint8_t *p;
    int rc = qcow2_snapshots_read(&q->b, &before, NULL);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < before.n; i++)
        old_len += align_up(SNAPSHOT_FIXED + before.list[i].nextra + strlen(text(before.list[i].id)) +
                                strlen(text(before.list[i].name)),
                            8);
    qcow2_snapshots_free(&before);
    for (unsigned i = 0; i < s->n; i++)
        len += entry_size(&s->list[i]);
    if (len) {
        uint64_t room = align_up(len, q->cluster_size);
        p = aligned_alloc(512, room);
        if (!p)
            return -ENOMEM;
        memset(p, 0, room);
        for (unsigned i = 0, at = 0; i < s->n; at += entry_size(&s->list[i++]))
            entry_put(&s->list[i], p + at);
        rc = q_alloc_run(q, room >> q->cluster_bits, &host);
        if (rc == 0)
            rc = block_run(q->file, BLOCK_WRITE, 0, host, room, p);
        free(p);
        if (rc < 0)
            return rc;
    }
    /* Refcounts and the table are in the file before the header is. */
    rc = q_commit_sync(q);
    if (rc < 0)
        return rc;
    q->h.snapshots_offset = host;
    q->h.nsnapshots = s->n;
    rc = q_header_sync(q);
    if (rc == 0 && old_len)
        rc = q_free_later(q, old, (old_len + q->cluster_size - 1) >> q->cluster_bits);
    return rc;
}

static int writable(struct qcow2 *q, struct err *e)
{
    if (q->b.read_only)
        return err_set(e, EROFS, "%s is open read-only", q->path);
    int rc = q_commit_sync(q);
    return rc < 0 ? err_set(e, -rc, "%s cannot be written: %s", q->path, strerror(-rc)) : 0;
}

/* From where refcounts and flags may differ, or more be counted than is used, to where all is in the file. */
static int mark_dirty(struct qcow2 *q, bool dirty)
{
    if (q->h.version < 3)
        return 0;
    q->h.incompatible = (q->h.incompatible & ~QCOW2_INCOMPAT_DIRTY) | (dirty ? QCOW2_INCOMPAT_DIRTY : 0);
    return q_header_sync(q);
}

int qcow2_snapshot_create(struct block *b, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_snapshots s;
    struct timespec now;
    char id[16];
    unsigned top = 0;
    int rc = writable(q, e);

    if (rc == 0)
        rc = qcow2_snapshots_read(b, &s, e);
    if (rc < 0)
        return rc;
    if (strlen(name) > UINT16_MAX || s.n == QCOW2_SNAPSHOTS_MAX) {
        rc = err_set(e, EINVAL, s.n == QCOW2_SNAPSHOTS_MAX ? "there are too many snapshots" : "the name is too long");
        goto out;
    }
    for (unsigned i = 0; i < s.n; i++)
        top = MAX(top, (unsigned)strtoul(text(s.list[i].id), NULL, 10));
    snprintf(id, sizeof(id), "%u", top + 1);
    clock_gettime(CLOCK_REALTIME, &now);
    struct qcow2_snapshot new = {
        .id = strdup(id),
        .name = strdup(name),
        .l1_size = q->h.l1_size,
        .date_sec = (uint32_t)now.tv_sec,
        .date_nsec = (uint32_t)now.tv_nsec,
        .disk_size = q->h.size,
        .icount = UINT64_MAX,
    };
    struct qcow2_snapshot *list = realloc(s.list, (s.n + 1) * sizeof(*list));
    if (list)
        s.list = list;
    if (!list || !new.id || !new.name) {
        free(new.id);
        free(new.name);
        rc = err_set(e, ENOMEM, "out of memory");
        goto out;
    }
    s.list[s.n++] = new;
    rc = mark_dirty(q, true);
    if (rc == 0)
        rc = tree_refs(q, q->l1, q->h.l1_size, 1);
    if (rc == 0)
        rc = q_commit_sync(q);
    if (rc == 0)
        rc = q_fix_copied(q);
    if (rc == 0)
        rc = q_write_l1(q, q->l1, q->h.l1_size, ~QCOW2_COPIED, &s.list[s.n - 1].l1_offset);
    if (rc == 0)
        rc = write_table(q, &s);
    if (rc == 0)
        rc = q_commit_sync(q);
    if (rc == 0)
        rc = mark_dirty(q, false);
    if (rc < 0)
        failed(q, rc, "made", e);
out:
    qcow2_snapshots_free(&s);
    return rc;
}

static int read_l1(struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t **out)
{
    uint64_t *l1 = calloc(MAX(s->l1_size, 1U), sizeof(*l1));
    int rc = 0;

    if (!l1)
        return -ENOMEM;
    if (s->l1_size)
        rc = block_run(q->file, BLOCK_READ, 0, s->l1_offset, (uint64_t)s->l1_size * 8, l1);
    for (uint32_t i = 0; i < s->l1_size; i++)
        l1[i] = be64_get(&l1[i]) & ~QCOW2_COPIED;
    if (rc < 0)
        free(l1);
    else
        *out = l1;
    return rc;
}

int qcow2_snapshot_load(struct block *b, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_snapshots s;
    uint64_t *l1;
    int rc = qcow2_snapshots_read(b, &s, e), i;

    if (rc < 0)
        return rc;
    i = rc = find(q, &s, name, e);
    if (rc >= 0) {
        rc = read_l1(q, &s.list[i], &l1);
        if (rc < 0) {
            failed(q, rc, "read", e);
        } else {
            free(q->l1);
            q->l1 = l1;
            q->h.l1_size = s.list[i].l1_size;
            q->h.l1_offset = s.list[i].l1_offset;
            q->h.size = q->b.size = s.list[i].disk_size;
        }
    }
    qcow2_snapshots_free(&s);
    return rc < 0 ? rc : 0;
}

/* The image becomes what the snapshot is: a copy of its L1 table, which the header then points to. */
static int apply(struct qcow2 *q, const struct qcow2_snapshot *s)
{
    uint64_t *l1, *old = q->l1, host, old_offset = q->h.l1_offset;
    uint32_t old_size = q->h.l1_size;
    int rc = read_l1(q, s, &l1);

    if (rc < 0)
        return rc;
    rc = mark_dirty(q, true);
    if (rc == 0)
        rc = tree_refs(q, l1, s->l1_size, 1);
    if (rc == 0)
        rc = q_write_l1(q, l1, s->l1_size, ~QCOW2_COPIED, &host);
    if (rc == 0)
        rc = q_commit_sync(q);
    if (rc < 0) {
        free(l1);
        return rc;
    }
    q->l1 = l1;
    q->h.l1_offset = host;
    q->h.l1_size = s->l1_size;
    q->h.size = q->b.size = s->disk_size;
    rc = q_header_sync(q);
    if (rc == 0)
        rc = tree_refs(q, old, old_size, -1);
    if (rc == 0)
        rc = q_free_later(q, old_offset,
                          MAX(((uint64_t)old_size * 8 + q->cluster_size - 1) >> q->cluster_bits, UINT64_C(1)));
    free(old);
    if (rc == 0)
        rc = q_commit_sync(q);
    if (rc == 0)
        rc = q_fix_copied(q);
    return rc == 0 ? mark_dirty(q, false) : rc;
}

int qcow2_snapshot_apply(struct block *b, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_snapshots s;
    int rc = writable(q, e), i;

    if (rc == 0)
        rc = qcow2_snapshots_read(b, &s, e);
    if (rc < 0)
        return rc;
    i = rc = find(q, &s, name, e);
    if (rc >= 0) {
        rc = apply(q, &s.list[i]);
        if (rc < 0)
            failed(q, rc, "applied", e);
    }
    qcow2_snapshots_free(&s);
    return rc;
}

int qcow2_snapshot_delete(struct block *b, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    struct qcow2_snapshots s;
    uint64_t *l1 = NULL;
    int rc = writable(q, e), i;

    if (rc == 0)
        rc = qcow2_snapshots_read(b, &s, e);
    if (rc < 0)
        return rc;
    i = rc = find(q, &s, name, e);
    if (rc < 0)
        goto out;
    rc = read_l1(q, &s.list[i], &l1);
    if (rc == 0) {
        struct qcow2_snapshot gone = s.list[i];
        memmove(&s.list[i], &s.list[i + 1], (s.n - (unsigned)i - 1) * sizeof(gone));
        s.n--;
        rc = mark_dirty(q, true);
        if (rc == 0)
            rc = write_table(q, &s);
        if (rc == 0)
            rc = tree_refs(q, l1, gone.l1_size, -1);
        if (rc == 0)
            rc = q_free_later(q, gone.l1_offset,
                              MAX(((uint64_t)gone.l1_size * 8 + q->cluster_size - 1) >> q->cluster_bits, UINT64_C(1)));
        free(gone.id);
        free(gone.name);
        free(gone.extra);
    }
    if (rc == 0)
        rc = q_commit_sync(q);
    if (rc == 0)
        rc = q_fix_copied(q);
    if (rc == 0)
        rc = mark_dirty(q, false);
    if (rc < 0)
        failed(q, rc, "deleted", e);
out:
    free(l1);
    qcow2_snapshots_free(&s);
    return rc;
}
