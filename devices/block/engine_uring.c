/*
 * The io_uring engine.
 *
 * The ring is made disabled, given a table for the image files, restricted to the operations below on files of that
 * table, and only then enabled: code that took over this process could not use it for anything else. The table's
 * entries can still be replaced, because images are opened after the engine is made.
 *
 * Entries are prepared by start() and handed to the kernel by flush(), many with one system call. The ring's own
 * descriptor becomes readable when completions wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "vmm/base/log.h"

#define URING_ENTRIES 256
#define URING_FILES 128 /* images and their backing files */

struct uring {
    struct block_engine en;
    struct io_uring ring;
    struct loop_fd *watch;
    unsigned prepared;          /* entries not yet submitted */
    unsigned in_kernel;         /* bounded by the completion queue's size */
    struct engine_list waiting; /* for room */
    bool file_used[URING_FILES];
};

static const uint8_t uring_sqe_ops[] = {IORING_OP_READ,   IORING_OP_READV, IORING_OP_WRITE,
                                        IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};

static struct uring *uring_of(struct block_engine *en)
{
    return container_of(en, struct uring, en);
}

static void uring_prepare(struct uring *u, struct io_uring_sqe *sqe, struct block_req *r)
{
    const struct engine_io *io = engine_io(r);
    int slot = io->block->slot;

    switch ((enum engine_op)io->op) {
    case ENGINE_READV:
        /* A single buffer spares the kernel a copy of the iovec. */
        if (io->niov == 1 && io->iov->iov_len <= INT32_MAX)
            io_uring_prep_read(sqe, slot, io->iov->iov_base, (unsigned)io->iov->iov_len, io->offset);
        else
            io_uring_prep_readv(sqe, slot, io->iov, io->niov, io->offset);
        break;
    case ENGINE_WRITEV:
        if (io->niov == 1 && io->iov->iov_len <= INT32_MAX)
            io_uring_prep_write(sqe, slot, io->iov->iov_base, (unsigned)io->iov->iov_len, io->offset);
        else
            io_uring_prep_writev(sqe, slot, io->iov, io->niov, io->offset);
        break;
    case ENGINE_FDATASYNC: io_uring_prep_fsync(sqe, slot, IORING_FSYNC_DATASYNC); break;
    case ENGINE_FALLOCATE: io_uring_prep_fallocate(sqe, slot, io->mode, (off_t)io->offset, (off_t)io->len); break;
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(sqe, r);
    u->prepared++;
    u->in_kernel++;
}

static void uring_flush(struct block_engine *en)
{
    struct uring *u = uring_of(en);

    while (u->prepared) {
        int rc = io_uring_submit(&u->ring);
        if (rc > 0) {
            u->prepared -= MIN((unsigned)rc, u->prepared);
            continue;
        }
        if (rc == -EINTR)
            continue;
        /* The kernel is short of memory or wants completions taken first: once more from the loop. */
        if (rc != -EAGAIN && rc != -EBUSY && rc != 0)
            log_guest("block", "io_uring_submit: %s", strerror(-rc));
        block_flush_later(en);
        return;
    }
}

/* Room for one more entry, or NULL. */
static struct io_uring_sqe *uring_sqe(struct uring *u)
{
    if (u->in_kernel >= u->ring.cq.ring_entries)
        return NULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (!sqe) {
        uring_flush(&u->en);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

static void uring_start(struct block_engine *en, struct block_req *r)
{
    struct uring *u = uring_of(en);
    struct io_uring_sqe *sqe = u->waiting.first ? NULL : uring_sqe(u);

    if (sqe)
        uring_prepare(u, sqe, r);
    else
        engine_list_add(&u->waiting, r);
}

static void uring_reap(struct uring *u)
{
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe;

    u->en.plugged++;
    while (io_uring_peek_cqe(&u->ring, &cqe) == 0 && cqe) {
        struct block_req *r = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        u->in_kernel--;
        block_step(r, result);
    }
    while (u->waiting.first && (sqe = uring_sqe(u)))
        uring_prepare(u, sqe, engine_list_take(&u->waiting));
    if (--u->en.plugged == 0)
        uring_flush(&u->en);
}

static void uring_ready(void *opaque, int fd, unsigned events)
{
    (void)fd;
    (void)events;
    uring_reap(opaque);
}

static void uring_wait(struct block_engine *en)
{
    struct uring *u = uring_of(en);
    int rc = io_uring_submit_and_wait(&u->ring, 1);

    if (rc > 0)
        u->prepared -= MIN((unsigned)rc, u->prepared);
    uring_reap(u);
}

static int uring_add_file(struct block_engine *en, int fd, int *slot)
{
    struct uring *u = uring_of(en);

    for (int i = 0; i < URING_FILES; i++) {
        if (u->file_used[i])
            continue;
        int rc = io_uring_register_files_update(&u->ring, (unsigned)i, &fd, 1);
        if (rc < 0)
            return rc;
        u->file_used[i] = true;
        *slot = i;
        return 0;
    }
    return -EMFILE;
}

static void uring_remove_file(struct block_engine *en, int slot)
{
    struct uring *u = uring_of(en);
    int none = -1;

    if (io_uring_register_files_update(&u->ring, (unsigned)slot, &none, 1) < 0)
        log_warn("block", "an image stays open in the ring until the end");
    else
        u->file_used[slot] = false;
}

static void uring_destroy(struct block_engine *en)
{
    struct uring *u = uring_of(en);

    if (u->watch)
        loop_fd_remove(u->watch);
    io_uring_queue_exit(&u->ring);
    free(u);
}

static const struct engine_ops uring_ops = {
    .name = "io_uring",
    .add_file = uring_add_file,
    .remove_file = uring_remove_file,
    .start = uring_start,
    .flush = uring_flush,
    .wait = uring_wait,
    .destroy = uring_destroy,
};

/* liburing 2.3 declares these two registrations but does not export them. */
static int uring_register(struct io_uring *ring, unsigned op, void *arg, unsigned n)
{
    return syscall(__NR_io_uring_register, ring->ring_fd, op, arg, n) < 0 ? -errno : 0;
}

static int uring_restrict(struct io_uring *ring)
{
    struct io_uring_restriction res[ARRAY_SIZE(uring_sqe_ops) + 3];
    unsigned n = 0;

    memset(res, 0, sizeof(res));
    for (unsigned i = 0; i < ARRAY_SIZE(uring_sqe_ops); i++, n++) {
        res[n].opcode = IORING_RESTRICTION_SQE_OP;
        res[n].sqe_op = uring_sqe_ops[i];
    }
    res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
    res[n++].sqe_flags = IOSQE_FIXED_FILE;
    res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    res[n++].sqe_flags = IOSQE_FIXED_FILE;
    res[n].opcode = IORING_RESTRICTION_REGISTER_OP;
    res[n++].register_op = IORING_REGISTER_FILES_UPDATE;
    return uring_register(ring, IORING_REGISTER_RESTRICTIONS, res, n);
}

int engine_uring_create(struct block_engine **out, struct loop *l)
{
    struct uring *u = calloc(1, sizeof(*u));
    struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED};
    int files[URING_FILES];
    int rc;

    if (!u)
        return -ENOMEM;
    u->en = (struct block_engine){.ops = &uring_ops, .loop = l};
    rc = io_uring_queue_init_params(URING_ENTRIES, &u->ring, &params);
    if (rc < 0)
        goto free_engine;
    for (unsigned i = 0; i < URING_FILES; i++)
        files[i] = -1;
    rc = io_uring_register_files(&u->ring, files, URING_FILES);
    if (rc < 0)
        goto exit_ring;
    rc = uring_restrict(&u->ring);
    if (rc < 0)
        goto exit_ring;
    rc = uring_register(&u->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (rc < 0)
        goto exit_ring;
    rc = loop_fd_add(l, &u->watch, u->ring.ring_fd, LOOP_IN, uring_ready, u);
    if (rc < 0)
        goto exit_ring;
    *out = &u->en;
    return 0;

exit_ring:
    io_uring_queue_exit(&u->ring);
free_engine:
    free(u);
    return rc;
}
