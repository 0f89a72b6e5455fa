/*
 * Hostile qcow2 images: opening, reading, mapping, the snapshot table, checking and repairing, and writing into them.
 * Backing files are never opened. The input is the file; its last byte says which of these come.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "devices/block/qcow2.h"
#include "vmm/base/log.h"

#define PIECE KIB(64)
#define FILE_MAX MIB(64) /* a sparse file may not become large */

static struct loop *loop;
static struct block_engine *engine;

/* A file that answers at once: no engine, no threads. */
static void file_start(struct block *b, struct block_req *r)
{
    uint64_t at = r->offset;
    int rc = r->op == BLOCK_WRITE && !range_within(at, r->len, FILE_MAX) ? -ENOSPC : 0;

    for (unsigned i = 0; i < r->niov && rc == 0; i++) {
        char *p = r->iov[i].iov_base;
        size_t len = r->iov[i].iov_len;
        ssize_t n = r->op == BLOCK_READ ? pread(b->fd, p, len, (off_t)at) : pwrite(b->fd, p, len, (off_t)at);
        if (r->op == BLOCK_READ)
            memset(p + MAX(n, 0), 0, len - (size_t)MAX(n, 0));
        else if (n != (ssize_t)len)
            rc = -ENOSPC;
        at += len;
    }
    block_finish_later(r, rc);
}

static void file_close(struct block *b)
{
    close(b->fd);
    free(b);
}

static const struct block_ops file_ops = {.start = file_start, .close = file_close};

static struct block *file_open(const uint8_t *data, size_t size)
{
    struct block *b = calloc(1, sizeof(*b));
    int fd = memfd_create("qcow2", MFD_CLOEXEC);

    if (!b || fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    *b = (struct block){.ops = &file_ops, .engine = engine, .fd = fd, .size = BIT64(56)};
    return b;
}

static void read_all(struct block *b, uint8_t *buf)
{
    uint64_t size = block_size(b), at = 0;
    struct block_extent x;

    for (unsigned i = 0; i < 64 && at < size; i++) {
        block_run(b, BLOCK_READ, 0, at, MIN(size - at, PIECE), buf);
        if (block_status(b, at, size - at, &x) < 0)
            break;
        if (x.len == 0 || x.len > size - at)
            abort();
        at += x.len;
    }
    if (size > PIECE)
        block_run(b, BLOCK_READ, 0, size - PIECE, PIECE, buf);
}

static void write_some(struct block *b, uint8_t *buf, unsigned how)
{
    uint64_t size = block_size(b), n = MIN(size, PIECE);

    memset(buf, 0x5a, PIECE);
    block_run(b, BLOCK_WRITE, 0, 0, MIN(n, UINT64_C(1024)), buf);
    block_run(b, BLOCK_WRITE, 0, size - n, n, buf);
    block_run(b, how & 1 ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, how & 2 ? BLOCK_REQ_UNMAP : 0, 0, n, NULL);
    block_run(b, BLOCK_FLUSH, 0, 0, 0, NULL);
    block_run(b, BLOCK_WRITE, 0, size / 2 / 512 * 512, MIN(n, size - size / 2 / 512 * 512), buf);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_set_level(LOG_ERROR);
    log_set_fd(-1);
    if (loop_create(&loop, NULL) < 0 || block_engine_create(&engine, loop, true, NULL) < 0)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[PIECE];
    unsigned how = size ? data[size - 1] : 0;
    struct qcow2_options o = {.backing = BLOCK_BACKING_NONE, .repairing = how & 4};
    struct qcow2_snapshots s;
    struct qcow2_check k;
    struct err e;
    struct block *b;

    o.block.read_only = how & 8;
    o.block.writeback = true;
    if (size > MIB(1) || qcow2_open_on(&b, file_open(data, size), "image", &o, &e) < 0)
        return 0;
    if (qcow2_snapshots_read(b, &s, &e) == 0)
        qcow2_snapshots_free(&s);
    if (how & 16)
        qcow2_check(b, &k, how & 32, how & 64, NULL, &e);
    read_all(b, buf);
    if (!o.block.read_only && block_size(b) >= 512)
        write_some(b, buf, how);
    if (how & 128 && !o.block.read_only) {
        qcow2_snapshot_create(b, "s", &e);
        qcow2_snapshot_delete(b, "s", &e);
        qcow2_resize(b, align_down(block_size(b), 512) + 4096, &e);
    }
    block_close(b);
    return 0;
}
