/*
 * qcow2 images behind the block interface: opening, making, and what only such images have. All calls but requests
 * block, and want nothing in flight. README.md tells how it works.
 */
#ifndef PIPIT_DEVICES_BLOCK_QCOW2_H
#define PIPIT_DEVICES_BLOCK_QCOW2_H

#include "devices/block/block.h"
#include "devices/block/qcow2_format.h"

/* Whose word opens a backing file. */
enum block_backing {
    BLOCK_BACKING_NEAR, /* recorded with its format, in the image's own directory or below it */
    BLOCK_BACKING_ALL,  /* whatever the image names */
    BLOCK_BACKING_NONE, /* never: as though the image had none */
};

struct qcow2_options {
    struct block_options block;
    enum block_backing backing;
    struct block *backing_block; /* given instead of opening one; becomes the image's, also on failure. NULL: none */
    bool temporary;              /* what is not in the file when it is closed need not be */
    bool repairing;              /* open although the image says that it is corrupt or dirty */
};

int qcow2_open(struct block **out, struct block_engine *en, const char *path, const struct qcow2_options *o,
               struct err *e);
/* On an open file (a container block, which becomes the image's, also on failure). */
int qcow2_open_on(struct block **out, struct block *file, const char *path, const struct qcow2_options *o,
                  struct err *e);

/* What the file at `path` begins like: BLOCK_FORMAT_QCOW2, else BLOCK_FORMAT_RAW. A negative errno where it cannot be
 * read, or is of a format that we do not have. */
int block_probe(const char *path, struct err *e);
/* `format` of the command line: the number, or -EINVAL with a sentence. */
int block_format_parse(const char *text, struct err *e);
/* Opens any format; BLOCK_FORMAT_PROBE guesses, and then keeps a raw image from beginning like another format. */
int block_open(struct block **out, struct block_engine *en, const char *path, enum block_format format,
               const struct qcow2_options *o, struct err *e);

/* Reads are `base`'s (which becomes the new block's, also on failure), writes go to a file without a name in TMPDIR or
 * /var/tmp and are gone when the block is closed. `path` names it in messages. */
int block_open_throwaway(struct block **out, struct block_engine *en, struct block *base, const char *path,
                         struct err *e);

bool block_is_qcow2(const struct block *b);
/* The recorded header; stays the block's. */
const struct qcow2_header *qcow2_header(const struct block *b);
struct block *qcow2_backing(struct block *b); /* NULL: none, or none was opened */
struct block *qcow2_file(struct block *b);
/* The backing file's name as the image means it: relative to the image's folder. malloc'ed; NULL without memory. */
char *qcow2_backing_path(const char *image, const char *backing);

struct qcow2_create {
    uint64_t size; /* bytes, a multiple of 512 */
    unsigned version, cluster_bits, refcount_order, compression;
    bool extended_l2, lazy_refcounts;
    const char *backing, *backing_format; /* NULL: none */
};
/* Writes an empty image into an empty or cut container block; fdatasync included. */
int qcow2_create(struct block *file, const struct qcow2_create *c, struct err *e);
/* Bytes that an image's metadata takes when all of `size` is allocated, and the refcounts of that. */
uint64_t qcow2_metadata_size(const struct qcow2_create *c, uint64_t data_clusters);

/* Compressed data of one cluster; -ENOSPC where it does not get smaller, -ENOTSUP without the library. */
int qcow2_compress(unsigned type, const uint8_t *in, size_t n, uint8_t *out, size_t room, size_t *len);
/* Exactly n bytes, else -EIO. */
int qcow2_decompress(unsigned type, const uint8_t *in, size_t len, uint8_t *out, size_t n);
/* NULL, or the name of what the build lacks for this compression. */
const char *qcow2_compression_missing(unsigned type);

/* Writes the cluster at `offset` compressed; `data` came from qcow2_compress. Durable after a flush. */
int qcow2_write_compressed(struct block *b, uint64_t offset, const uint8_t *data, size_t len);

struct qcow2_snapshot {
    char *id, *name;
    uint64_t l1_offset;
    uint32_t l1_size;
    uint32_t date_sec, date_nsec;
    uint64_t clock_nsec, vm_state_size, disk_size;
    uint64_t icount; /* UINT64_MAX: not recorded */
    uint8_t *extra;  /* as it stands in the file */
    uint32_t nextra;
};
struct qcow2_snapshots {
    struct qcow2_snapshot *list;
    unsigned n;
};
int qcow2_snapshots_read(struct block *b, struct qcow2_snapshots *s, struct err *e);
void qcow2_snapshots_free(struct qcow2_snapshots *s);
int qcow2_snapshot_create(struct block *b, const char *name, struct err *e);
int qcow2_snapshot_apply(struct block *b, const char *name, struct err *e);
int qcow2_snapshot_delete(struct block *b, const char *name, struct err *e);
/* Reads from now on are the snapshot's; the image must be open read-only. */
int qcow2_snapshot_load(struct block *b, const char *name, struct err *e);

int qcow2_resize(struct block *b, uint64_t size, struct err *e);
/* Records another backing file ("" for none) without looking at data. */
int qcow2_set_backing(struct block *b, const char *backing, const char *format, struct err *e);
/* Makes version 2 version 3, and sets or clears a mark for programs that postpone refcounts. */
int qcow2_amend(struct block *b, unsigned version, bool lazy_refcounts, struct err *e);
/* Forgets all data: every cluster reads from the backing file again. */
int qcow2_make_empty(struct block *b, struct err *e);

struct qcow2_check {
    uint64_t corruptions, leaks, check_errors;
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    uint64_t image_end;
};
/* Walks everything that the image refers to and compares with its refcounts. `say` (NULL: silent) gets a sentence for
 * each finding, some hundreds at most. With `fix_leaks` or `fix_all` the refcounts and flags are put right. */
int qcow2_check(struct block *b, struct qcow2_check *c, bool fix_leaks, bool fix_all,
                void (*say)(const char *text, bool corruption), struct err *e);

#endif
