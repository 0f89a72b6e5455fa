/*
 * Block back ends: asynchronous requests on a disk image, raw or qcow2. README.md says how the parts fit.
 *
 * Requests are submitted on the loop thread; done() is called on the loop thread, never from within block_submit.
 * Buffers stay the caller's and pinned until done.
 */
#ifndef PIPIT_DEVICES_BLOCK_BLOCK_H
#define PIPIT_DEVICES_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/err.h"
#include "vmm/core/loop.h"

struct block;
struct block_engine; /* io_uring, or a thread pool where io_uring is denied */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

#define BLOCK_REQ_UNMAP 0x1 /* with BLOCK_WRITE_ZEROES: the range may be deallocated */

struct block_req {
    enum block_op op;
    uint32_t flags;
    uint64_t offset; /* bytes */
    uint64_t len;    /* bytes; equals the sum of iov for reads and writes */
    const struct iovec *iov;
    unsigned niov;
    /* 0 or a negative errno (-EIO, -ENOSPC, -EROFS ...). */
    void (*done)(struct block_req *req, int result);
    void *opaque;
    uint64_t engine[8]; /* the engine's own */
};

struct block_options {
    bool read_only;
    bool direct;       /* O_DIRECT */
    bool writeback;    /* false: each write is followed by fdatasync (cache=writethrough) */
    bool ignore_flush; /* cache=unsafe */
    bool no_lock;      /* look at an image that is in use */
    bool container;    /* another format's file: as long as it needs to be, zeroes behind its end, may be empty */
    bool may_be_empty; /* a disk without a sector: for tools */
    bool guard_magic;  /* writes that would make the image begin like another format fail with EPERM */
};

enum block_format { BLOCK_FORMAT_PROBE, BLOCK_FORMAT_RAW, BLOCK_FORMAT_QCOW2 };

/* What block_status says of a stretch. */
struct block_extent {
    uint64_t len; /* bytes for which it is true */
    bool data;    /* read from a file */
    bool zero;    /* reads as zeroes */
    bool present; /* this image says what is there, not its backing file */
    bool compressed;
    bool located; /* `offset` tells where in this image's file the bytes are */
    uint64_t offset;
};

/* Chooses io_uring (ring created disabled, restricted, then enabled) or, where that is refused, a pool of threads.
 * `force_threads` is for tests and for --block-engine threads. */
int block_engine_create(struct block_engine **out, struct loop *l, bool force_threads, struct err *e);
const char *block_engine_name(const struct block_engine *en); /* "io_uring" or "threads" */
void block_engine_destroy(struct block_engine *en);
/* What each thread of a pool calls first (its seccomp filter); set before block_engine_create. */
void block_engine_set_thread_init(void (*fn)(void));

/* Opens a raw image (regular file or block device) with O_CLOEXEC; locks as QEMU does so that two writers are refused.
 * The format is what the caller says: it is never guessed from the content. */
int block_open_raw(struct block **out, struct block_engine *en, const char *path, const struct block_options *o,
                   struct err *e);
/* The same with a descriptor, which becomes the block's (also on failure); `path` names it in messages. */
int block_open_raw_fd(struct block **out, struct block_engine *en, int fd, const char *path,
                      const struct block_options *o, struct err *e);
/* Bytes of the file now (0 where that cannot be told); to cut or lengthen it. With nothing in flight. */
uint64_t block_raw_length(const struct block *b);
int block_raw_truncate(struct block *b, uint64_t len);
int block_raw_fd(const struct block *b);
/* Waits for requests in flight, then closes. */
void block_close(struct block *b);

uint64_t block_size(const struct block *b); /* bytes */
bool block_read_only(const struct block *b);
bool block_can_discard(const struct block *b);
void block_submit(struct block *b, struct block_req *req);
/* For tools and start-up: submits, waits and returns the outcome. `buf` has `len` bytes, or is NULL where the operation
 * takes none. */
int block_run(struct block *b, enum block_op op, uint32_t flags, uint64_t offset, uint64_t len, void *buf);
enum block_prealloc {
    BLOCK_PREALLOC_OFF,
    BLOCK_PREALLOC_METADATA, /* qcow2: clusters are mapped, the file has holes */
    BLOCK_PREALLOC_FALLOC,   /* the file system reserves the room */
    BLOCK_PREALLOC_FULL,     /* zeroes are written */
};
/* Room for bytes [from, to) of the disk, which has no data there (a new image, or the end of one that grew). Blocks,
 * with nothing in flight. 0 or a negative errno: -ENOTSUP for raw metadata, and for an image with a backing file. */
int block_preallocate(struct block *b, enum block_prealloc how, uint64_t from, uint64_t to);
/* What lies at `offset`; at least one byte and at most `len`. Blocks, with nothing in flight. 0 or a negative errno. */
int block_status(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x);
/* Between plug and unplug (loop thread, they nest) requests gather, to be started with one system call. */
void block_plug(struct block *b);
void block_unplug(struct block *b);
/* Waits until nothing is in flight (reset, pause); done() callbacks run inside. */
void block_drain(struct block *b);

#endif
