/* Inside the qcow2 format; README.md tells how the parts work together. Everything runs on the loop thread. */
#ifndef PIPIT_DEVICES_BLOCK_QCOW2_INT_H
#define PIPIT_DEVICES_BLOCK_QCOW2_INT_H

#include <errno.h>

#include "devices/block/engine.h"
#include "devices/block/qcow2.h"

struct qcow2;

/*
 * Something that cannot go on: it stands in a list, and resume() is called once, when trying again makes sense.
 * A function that takes a waiter and returns -EAGAIN has put it in such a list; with a NULL waiter nothing is put
 * anywhere, and the caller pumps the engine and tries again.
 */
struct q_waiter {
    struct q_waiter *next;
    void (*resume)(struct q_waiter *w);
};
struct q_waiters {
    struct q_waiter *first, *last;
};
void q_wait(struct q_waiters *l, struct q_waiter *w);
void q_wake(struct q_waiters *l);

/* A piece of an L2 table or refcount block in memory. */
enum q_slice_kind { Q_SLICE_L2, Q_SLICE_REFCOUNT };
struct q_slice {
    struct qcow2 *q;
    struct q_slice *hash_next, *newer, *older;
    uint64_t offset; /* in the file */
    uint8_t *data;
    enum q_slice_kind kind;
    bool loading, dirty, writing;
    int error; /* loading failed */
    unsigned pins;
    struct q_waiters waiters;
    struct block_req req;
    struct iovec iov;
};

/* A decompressed cluster. */
struct q_unpacked {
    struct qcow2 *q;
    uint64_t entry; /* the L2 entry that it came from; 0: unused */
    uint64_t used;  /* when, in lookups */
    bool loading;
    int error;
    uint8_t *data, *packed;
    size_t skip, npacked;
    struct q_waiters waiters;
    struct block_req req;
    struct iovec iov;
};
#define Q_UNPACKED_MAX 16

/* Clusters that are being written for the first time and do not stand in the L2 table yet. */
struct q_alloc {
    struct q_alloc *next, **link;
    uint64_t guest; /* first guest cluster */
    uint64_t host;  /* offset in the file */
    uint64_t n;     /* clusters */
    bool reuse;     /* the host cluster is the guest cluster's already */
    struct q_slice *l2;
    unsigned index;
    struct q_waiters waiters;
};

/* Clusters that lose a reference once no table in the file and no request in flight can use it. */
struct q_free {
    struct q_free *next;
    uint64_t host, n; /* offset; clusters */
    uint64_t before;  /* requests with smaller numbers must be over */
    bool punched;     /* the file has a hole there already */
};

struct q_req {
    struct q_waiter wait;
    struct qcow2 *q;
    struct block_req *r;
    struct q_req *newer, *older;
    uint64_t number;
    uint64_t pos; /* bytes that are on their way */
    unsigned pending;
    int result;
    bool parked, running;
    struct q_req *next_flush;
    struct block_req whole; /* all of it, where that lies in one place */
};

/* A piece of metadata as it was when a commit began. */
struct q_copy {
    struct q_copy *next;
    struct q_slice *slice; /* or NULL */
    struct qcow2 *q;
    uint64_t offset;
    struct block_req req;
    struct iovec iov;
    uint8_t *data;
};

enum q_commit_phase {
    Q_COMMIT_IDLE,
    Q_COMMIT_REFCOUNTS, /* refcount blocks, the body of a new refcount table */
    Q_COMMIT_SYNC_REFCOUNTS,
    Q_COMMIT_REFTABLE, /* refcount table entries, the header */
    Q_COMMIT_SYNC_REFTABLE,
    Q_COMMIT_L2,
    Q_COMMIT_SYNC_L2,
    Q_COMMIT_L1,
    Q_COMMIT_SYNC_L1,
};
enum q_copy_list { Q_COPY_REFCOUNTS, Q_COPY_REFTABLE, Q_COPY_L2, Q_COPY_L1, Q_COPY_LISTS };

struct q_commit {
    enum q_commit_phase phase;
    struct q_copy *copy[Q_COPY_LISTS];
    struct q_free *frees, **frees_end; /* queued before it began */
    struct q_req *flushing;            /* requests that it completes */
    unsigned pending;
    int result;
    struct block_req sync;
};

struct qcow2 {
    struct block b;
    struct block *file, *backing;
    struct qcow2_header h;
    char *path;
    bool writeback, ignore_flush, temporary, corrupt;
    uint8_t *head; /* the first cluster */

    unsigned cluster_bits, l2_bits, refblock_bits; /* entries of a table, log2 */
    unsigned l2_entry_size;
    uint64_t cluster_size;
    bool extended;
    unsigned subcluster_bits;

    uint64_t *l1; /* host-endian */
    unsigned l1_dirty_from, l1_dirty_to;
    uint64_t *reftable;
    uint64_t nreftable; /* entries */
    uint64_t reftable_dirty_from, reftable_dirty_to;
    bool reftable_moved, header_dirty;

    size_t slice_size;
    unsigned nslices, slices_max, ndirty;
    struct q_slice **hash;
    unsigned hash_mask;
    struct q_slice *newest, *oldest;

    struct q_unpacked unpacked[Q_UNPACKED_MAX];
    unsigned nunpacked;
    uint64_t unpacked_clock;

    uint64_t free_hint;     /* cluster number where the search for free clusters begins */
    uint64_t high_water;    /* clusters from this offset on were never written */
    uint64_t packed_offset; /* room for compressed data: next byte; 0: none */
    struct q_alloc *allocs;
    size_t cow_bytes; /* in buffers of copy-on-write */
    struct q_waiters cow_waiters;
    struct q_req *newest_req, *oldest_req;
    uint64_t next_number;
    struct q_free *frees, **frees_end; /* wait for a commit */
    struct q_free *ready, **ready_end; /* wait for requests */
    struct q_waiter free_waiter;
    bool freeing;
    unsigned punching;
    struct q_commit commit;
    struct q_req *flush_first, *flush_last; /* for the next commit */
    struct q_waiters commit_waiters;
};

static inline struct qcow2 *qcow2_of(struct block *b)
{
    return container_of(b, struct qcow2, b);
}

/* ---- qcow2_cache.c ---- */
int q_cache_init(struct qcow2 *q, size_t budget);
void q_cache_free(struct qcow2 *q);
/* The slice at `offset` of the file (a multiple of slice_size); -EAGAIN while it is loading. */
int q_slice_get(struct qcow2 *q, uint64_t offset, enum q_slice_kind kind, struct q_waiter *w, struct q_slice **out);
/* A new, dirty slice of zeroes in place of whatever the cache has of that offset. */
int q_slice_new(struct qcow2 *q, uint64_t offset, enum q_slice_kind kind, struct q_slice **out);
void q_slice_dirty(struct q_slice *s);
/* The file's bytes in this range are no table any longer. */
void q_slices_drop(struct qcow2 *q, uint64_t offset, uint64_t len);
/* What a compressed L2 entry stands for. */
int q_unpacked_get(struct qcow2 *q, uint64_t entry, struct q_waiter *w, const uint8_t **data);
void q_unpacked_drop(struct qcow2 *q);
void q_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len);

/* ---- qcow2_map.c ---- */
enum q_type { Q_ABSENT, Q_ZEROES, Q_DATA, Q_PACKED };
struct q_map {
    enum q_type type;
    uint64_t host;  /* Q_DATA: offset of the first byte */
    uint64_t len;   /* bytes for which it holds, one after the other in the file too */
    uint64_t entry; /* the first cluster's */
};
/* What is at guest offset `at`, for at most `len` bytes. -EAGAIN, -EIO. */
int q_map(struct qcow2 *q, uint64_t at, uint64_t len, struct q_waiter *w, struct q_map *m);
/* The L2 slice of a guest cluster as it is (NULL where there is no table) and the entry's index in it. */
int q_l2_get(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, struct q_slice **out, unsigned *index);
/* The same, in a table that is this image's alone, made where there is none. */
int q_l2_get_own(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, struct q_slice **out, unsigned *index);
uint64_t q_l2_entry(const struct qcow2 *q, const struct q_slice *s, unsigned index);
uint64_t q_l2_bitmap(const struct qcow2 *q, const struct q_slice *s, unsigned index);
void q_l2_put(struct qcow2 *q, struct q_slice *s, unsigned index, uint64_t entry, uint64_t bitmap);
unsigned q_slice_entries(const struct qcow2 *q);
enum q_type q_entry_type(const struct qcow2 *q, uint64_t entry, uint64_t bitmap, unsigned subcluster);
/* Is this a place where a guest cluster's data can be? */
bool q_host_ok(const struct qcow2 *q, uint64_t host);
/* Says so, and allows no more writes; -EIO. */
__attribute__((format(printf, 2, 3))) int q_corrupt(struct qcow2 *q, const char *fmt, ...);

/* ---- qcow2_request.c ---- */
void q_start(struct block *b, struct block_req *r);
void q_req_done(struct q_req *x);   /* a part is over: goes on or finishes */
void q_req_finish(struct q_req *x); /* tells the caller */
/* Reads or writes the next `len` bytes of a request at `offset` of another block; -ENOMEM. */
int q_req_part(struct q_req *x, struct block *b, uint64_t offset, uint64_t len);
/* Bytes [from, from+len) of the request's buffers into iov; their number. A NULL iov counts. */
unsigned q_iov_part(const struct block_req *r, uint64_t from, uint64_t len, struct iovec *iov);
/* What the guest would read from [at, at+len) is zeroes, as far as the tables in memory tell without reading. */
bool q_reads_zero(struct qcow2 *q, uint64_t at, uint64_t len);

/* ---- qcow2_write.c ---- */
/* Blocking: one guest cluster's data, compressed already. */
int q_write_packed(struct qcow2 *q, uint64_t cluster, const uint8_t *data, size_t len);
int q_step_write(struct q_req *x);
int q_step_zeroes(struct q_req *x);
int q_step_discard(struct q_req *x);

/* ---- qcow2_refcount.c ---- */
int q_refcount_get(struct qcow2 *q, uint64_t cluster, struct q_waiter *w, uint64_t *value);
/* Adds `delta`; -ERANGE where the width does not hold the result. */
int q_refcount_add(struct qcow2 *q, uint64_t cluster, int64_t delta, struct q_waiter *w);
/* 1 to `want` free clusters in a row, whose refcounts become one; their offset in *host. */
int q_alloc_clusters(struct qcow2 *q, uint64_t want, uint64_t *got, uint64_t *host, bool *fresh, struct q_waiter *w);
/* Takes back what was just allocated and never used. */
void q_alloc_undo(struct qcow2 *q, uint64_t host, uint64_t n);
/* Room for `len` bytes of compressed data. */
int q_alloc_packed(struct qcow2 *q, uint64_t len, uint64_t *offset, struct q_waiter *w);
/* One reference to n clusters goes once the tables in the file no longer have it. */
int q_free_later(struct qcow2 *q, uint64_t host, uint64_t n);
/* The clusters behind an L2 entry. A lack of memory leaks them. */
void q_free_entry(struct qcow2 *q, uint64_t entry);
void q_free_init(struct qcow2 *q);
/* Does the file's range touch the header, the L1, refcount or snapshot table? */
bool q_meta_touched(const struct qcow2 *q, uint64_t host, uint64_t len);
/* Frees what is free of all users. */
void q_free_run(struct qcow2 *q);

/* ---- qcow2_commit.c ---- */
/* `x` finishes when everything so far is in the file, durably unless flushes are ignored. */
void q_flush(struct q_req *x);
void q_commit_start(struct qcow2 *q);
/* Is there so much unwritten metadata that a writer must wait? -EAGAIN. */
int q_commit_throttle(struct qcow2 *q, struct q_waiter *w);
int q_commit_sync(struct qcow2 *q);
bool q_commit_needed(const struct qcow2 *q);

/* ---- qcow2_snapshot.c ---- */
/* Flags of single references, as the refcounts say; commits. */
int q_fix_copied(struct qcow2 *q);
/* `n` entries, of each the bits of `keep`, into clusters of their own; their offset in *host. */
int q_write_l1(struct qcow2 *q, const uint64_t *l1, uint32_t n, uint64_t keep, uint64_t *host);

/* Calls that block: tries again until it is not -EAGAIN. */
#define Q_BLOCKING(q, call)                                                                                            \
    ({                                                                                                                 \
        int _rc;                                                                                                       \
        while ((_rc = (call)) == -EAGAIN)                                                                              \
            block_pump((q)->b.engine);                                                                                 \
        _rc;                                                                                                           \
    })
/* The header as it is in memory, into the file, durably. */
int q_header_sync(struct qcow2 *q);
/* `n` clusters in a row, by blocking. */
int q_alloc_run(struct qcow2 *q, uint64_t n, uint64_t *host);

#endif
