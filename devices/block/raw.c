/*
 * Raw images: regular files and block devices, byte for byte.
 *
 * A request is a small state machine whose phase says what its current operation was for. The plain case is one
 * operation straight on the caller's buffers. The rare ones (a short transfer, a buffer that O_DIRECT refuses, zeroes
 * that the file system cannot make by itself) use a raw_slow, allocated when first needed and of fixed size.
 *
 * O_DIRECT wants whole blocks of the file system's device. A read of less goes through a buffer of our own; a write of
 * less reads the blocks, changes its part and writes them back, and no other write runs beside it: it could be lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "devices/block/raw_lock.h"
#include "vmm/base/log.h"

#define SECTOR 512
#define ZERO_CHUNK KIB(64)
#define ZERO_CHUNKS 16
#define BOUNCE_SIZE MIB(1)
#define BOUNCE_ALIGN 4096
#define SLOW_IOVS 128

#define CONTAINER_MAX BIT64(56) /* more than any format can address */

enum raw_phase {
    PHASE_DATA,   /* on the caller's buffers, or what is left of them */
    PHASE_BOUNCE, /* through slow->bounce */
    PHASE_FILL,   /* slow->bounce gets what is around a write's data */
    PHASE_SYNC,   /* the last fdatasync */
    PHASE_DISCARD,
    PHASE_ZERO_PUNCH, /* the file system deallocates */
    PHASE_ZERO_RANGE, /* the file system zeroes */
    PHASE_ZERO_WRITE, /* we do */
};

struct raw_slow {
    uint8_t *bounce;     /* BOUNCE_SIZE bytes, or NULL */
    size_t head, n, len; /* bytes in it before the caller's, of the caller's, and altogether */
    size_t filled;       /* PHASE_FILL */
    struct iovec iov[SLOW_IOVS];
};

struct raw {
    struct block b;
    bool direct, writeback, ignore_flush, guard_magic;
    unsigned align;          /* O_DIRECT: of offsets and lengths, bytes; else 1 */
    unsigned writing;        /* requests on their way that change the file */
    bool alone;              /* the one on its way writes parts of blocks */
    struct engine_list held; /* wait for it, or are such and wait for others */
    char *path;
};

static const uint8_t zeroes[ZERO_CHUNK] __attribute__((aligned(4096)));

static struct raw *raw_of(struct block *b)
{
    return container_of(b, struct raw, b);
}

static void raw_go(struct raw *w, struct block_req *r);

static bool raw_changes(const struct block_req *r)
{
    return r->op == BLOCK_WRITE || r->op == BLOCK_WRITE_ZEROES || r->op == BLOCK_DISCARD;
}

static bool raw_partial(const struct raw *w, const struct block_req *r)
{
    return (r->op == BLOCK_WRITE || r->op == BLOCK_READ) && (r->offset | r->len) % w->align;
}

static void raw_admit(struct raw *w)
{
    while (w->held.first && !w->alone && !(w->writing && raw_partial(w, w->held.first))) {
        struct block_req *r = engine_list_take(&w->held);
        w->writing++;
        w->alone = raw_partial(w, r);
        raw_go(w, r);
    }
}

/* The request has no more to do with the file. */
static void raw_leave(struct raw *w, struct block_req *r)
{
    struct engine_io *io = engine_io(r);

    if (io->slow) {
        free(io->slow->bounce);
        free(io->slow);
        io->slow = NULL;
    }
    if (!raw_changes(r) || w->align == 1)
        return;
    w->writing--;
    w->alone = false;
    raw_admit(w);
}

static void raw_finish(struct block_req *r, int result)
{
    raw_leave(raw_of(engine_io(r)->block), r);
    block_finish(r, result);
}

/* Also from where a request is submitted. */
static void raw_no_memory(struct block_req *r)
{
    raw_leave(raw_of(engine_io(r)->block), r);
    block_finish_later(r, -ENOMEM);
}

static void raw_op(struct raw *w, struct block_req *r, enum raw_phase phase, enum engine_op op)
{
    struct engine_io *io = engine_io(r);
    io->phase = (uint8_t)phase;
    io->op = (uint8_t)op;
    w->b.engine->ops->start(w->b.engine, r);
}

static bool raw_need_slow(struct block_req *r)
{
    struct engine_io *io = engine_io(r);
    if (!io->slow)
        io->slow = calloc(1, sizeof(*io->slow));
    return io->slow;
}

/* Data is where it belongs; in write-through mode it must be durable too. */
static void raw_written(struct raw *w, struct block_req *r)
{
    if (r->op == BLOCK_READ || w->writeback)
        raw_finish(r, 0);
    else
        raw_op(w, r, PHASE_SYNC, ENGINE_FDATASYNC);
}

/* Bytes finished of a request that goes through its range from front to back. */
static uint64_t raw_progress(struct block_req *r)
{
    return engine_io(r)->offset - r->offset;
}

/* Copies between the caller's buffers, from where the request stands, and the bounce buffer. */
static void raw_bounce_copy(struct block_req *r, size_t len)
{
    struct raw_slow *slow = engine_io(r)->slow;
    uint8_t *p = slow->bounce + slow->head;
    uint64_t at = raw_progress(r);

    for (unsigned i = 0; i < r->niov && len; i++) {
        if (at >= r->iov[i].iov_len) {
            at -= r->iov[i].iov_len;
            continue;
        }
        uint8_t *q = (uint8_t *)r->iov[i].iov_base + at;
        size_t n = MIN(r->iov[i].iov_len - at, len);
        if (r->op == BLOCK_READ)
            memcpy(q, p, n);
        else
            memcpy(p, q, n);
        p += n;
        len -= n;
        at = 0;
    }
}

/* What a truncated file no longer holds reads as zeroes. */
static void raw_zero_fill(struct block_req *r)
{
    uint64_t at = raw_progress(r);

    for (unsigned i = 0; i < r->niov; i++) {
        if (at >= r->iov[i].iov_len) {
            at -= r->iov[i].iov_len;
            continue;
        }
        memset((uint8_t *)r->iov[i].iov_base + at, 0, r->iov[i].iov_len - at);
        at = 0;
    }
}

/* Bytes [from, slow->len) of the bounce buffer, from or to the file. The request stands at slow->head. */
static void raw_bounce_op(struct raw *w, struct block_req *r, enum raw_phase phase, enum engine_op op, size_t from)
{
    struct engine_io *io = engine_io(r);
    struct raw_slow *slow = io->slow;

    slow->iov[0] = (struct iovec){.iov_base = slow->bounce + from, .iov_len = slow->len - from};
    io->iov = slow->iov;
    io->niov = 1;
    io->offset = io->offset - slow->head + from; /* until raw_bounce_back */
    raw_op(w, r, phase, op);
}

static void raw_bounce_back(struct block_req *r, size_t from)
{
    struct engine_io *io = engine_io(r);
    io->offset = io->offset - from + io->slow->head;
}

/* The next stretch through the bounce buffer, in whole blocks. */
static void raw_bounce_next(struct raw *w, struct block_req *r)
{
    struct engine_io *io = engine_io(r);
    struct raw_slow *slow;
    uint64_t at = io->offset, end = r->offset + r->len;

    if (!raw_need_slow(r) || (!io->slow->bounce && !(io->slow->bounce = aligned_alloc(BOUNCE_ALIGN, BOUNCE_SIZE)))) {
        raw_no_memory(r);
        return;
    }
    slow = io->slow;
    slow->head = at % w->align;
    end = MIN(end, at - slow->head + BOUNCE_SIZE);
    slow->n = end - at;
    slow->len = align_up(slow->head + slow->n, w->align);
    slow->filled = 0;
    if (r->op == BLOCK_READ) {
        raw_bounce_op(w, r, PHASE_BOUNCE, ENGINE_READV, 0);
    } else if (slow->head + slow->n == slow->len && slow->head == 0) {
        raw_bounce_copy(r, slow->n);
        raw_bounce_op(w, r, PHASE_BOUNCE, ENGINE_WRITEV, 0);
    } else {
        raw_bounce_op(w, r, PHASE_FILL, ENGINE_READV, 0);
    }
}

/* Until the file ends, or all is there. */
static void raw_step_fill(struct raw *w, struct block_req *r, int result)
{
    struct raw_slow *slow = engine_io(r)->slow;

    raw_bounce_back(r, slow->filled);
    if (result < 0) {
        raw_finish(r, result);
        return;
    }
    slow->filled += (size_t)result;
    if (result && slow->filled < slow->len && slow->filled % w->align == 0) {
        raw_bounce_op(w, r, PHASE_FILL, ENGINE_READV, slow->filled);
        return;
    }
    memset(slow->bounce + slow->filled, 0, slow->len - slow->filled);
    raw_bounce_copy(r, slow->n);
    raw_bounce_op(w, r, PHASE_BOUNCE, ENGINE_WRITEV, 0);
}

/* The rest of the caller's buffers after a short transfer; as many of them as slow->iov holds. */
static void raw_data_rest(struct raw *w, struct block_req *r)
{
    struct engine_io *io = engine_io(r);
    uint64_t at = raw_progress(r);

    if (!raw_need_slow(r)) {
        raw_no_memory(r);
        return;
    }
    io->iov = io->slow->iov;
    io->niov = 0;
    for (unsigned i = 0; i < r->niov && io->niov < SLOW_IOVS; i++) {
        if (at >= r->iov[i].iov_len) {
            at -= r->iov[i].iov_len;
            continue;
        }
        io->slow->iov[io->niov++] = (struct iovec){
            .iov_base = (uint8_t *)r->iov[i].iov_base + at,
            .iov_len = r->iov[i].iov_len - at,
        };
        at = 0;
    }
    raw_op(w, r, PHASE_DATA, r->op == BLOCK_READ ? ENGINE_READV : ENGINE_WRITEV);
}

static void raw_step_data(struct raw *w, struct block_req *r, int result)
{
    struct engine_io *io = engine_io(r);
    bool bounce = io->phase == PHASE_BOUNCE;

    if (result == -EINVAL && w->direct && !bounce) {
        raw_bounce_next(w, r);
        return;
    }
    if (bounce)
        raw_bounce_back(r, 0);
    if (result < 0) {
        raw_finish(r, result);
        return;
    }
    if (bounce) /* of the caller's bytes */
        result = (size_t)result > io->slow->head ? (int)MIN((size_t)result - io->slow->head, io->slow->n) : 0;
    if (result == 0) {
        if (r->op == BLOCK_READ)
            raw_zero_fill(r);
        raw_finish(r, r->op == BLOCK_READ ? 0 : -EIO);
        return;
    }
    if (bounce && r->op == BLOCK_READ)
        raw_bounce_copy(r, (size_t)result);
    io->offset += (unsigned)result;
    if (raw_progress(r) == r->len)
        raw_written(w, r);
    else if (bounce)
        raw_bounce_next(w, r);
    else
        raw_data_rest(w, r);
}

static void raw_zero_write(struct raw *w, struct block_req *r)
{
    struct engine_io *io = engine_io(r);
    uint64_t left = r->len - raw_progress(r);

    if (!raw_need_slow(r)) {
        raw_no_memory(r);
        return;
    }
    io->iov = io->slow->iov;
    for (io->niov = 0; io->niov < ZERO_CHUNKS && left; io->niov++) {
        size_t n = MIN(left, ZERO_CHUNK);
        io->slow->iov[io->niov] = (struct iovec){.iov_base = (void *)zeroes, .iov_len = n};
        left -= n;
    }
    raw_op(w, r, PHASE_ZERO_WRITE, ENGINE_WRITEV);
}

static void raw_step_zero_write(struct raw *w, struct block_req *r, int result)
{
    if (result <= 0) {
        raw_finish(r, result < 0 ? result : -EIO);
        return;
    }
    engine_io(r)->offset += (unsigned)result;
    if (raw_progress(r) == r->len)
        raw_written(w, r);
    else
        raw_zero_write(w, r);
}

static void raw_fallocate(struct raw *w, struct block_req *r, enum raw_phase phase, int mode)
{
    struct engine_io *io = engine_io(r);
    io->mode = mode | FALLOC_FL_KEEP_SIZE;
    io->len = r->len;
    raw_op(w, r, phase, ENGINE_FALLOCATE);
}

static void raw_step(struct block *b, struct block_req *r, int result)
{
    struct raw *w = raw_of(b);
    struct engine_io *io = engine_io(r);

    if (result == -EINTR || result == -EAGAIN) {
        b->engine->ops->start(b->engine, r);
        if (!b->engine->plugged)
            b->engine->ops->flush(b->engine);
        return;
    }
    b->engine->plugged++;
    switch ((enum raw_phase)io->phase) {
    case PHASE_DATA:
    case PHASE_BOUNCE: raw_step_data(w, r, result); break;
    case PHASE_FILL: raw_step_fill(w, r, result); break;
    case PHASE_SYNC: raw_finish(r, result); break;
    /* A discard is a hint. */
    case PHASE_DISCARD: raw_finish(r, result == -EOPNOTSUPP ? 0 : result); break;
    case PHASE_ZERO_PUNCH:
    case PHASE_ZERO_RANGE:
        if (result == -EOPNOTSUPP || result == -EINVAL)
            raw_zero_write(w, r);
        else if (result < 0)
            raw_finish(r, result);
        else
            raw_written(w, r);
        break;
    case PHASE_ZERO_WRITE: raw_step_zero_write(w, r, result); break;
    }
    if (--b->engine->plugged == 0)
        b->engine->ops->flush(b->engine);
}

/* The first bytes of formats that are told by them: what an image opened as raw on a guess must not become. */
static bool raw_writes_magic(const struct block_req *r)
{
    uint8_t head[4] = {0};
    size_t n = 0;

    if (r->op != BLOCK_WRITE || r->offset >= sizeof(head))
        return false;
    n = (size_t)r->offset;
    for (unsigned i = 0; i < r->niov && n < sizeof(head); i++) {
        size_t part = MIN(r->iov[i].iov_len, sizeof(head) - n);
        memcpy(head + n, r->iov[i].iov_base, part);
        n += part;
    }
    return !memcmp(head, "QFI\xfb", sizeof(head));
}

static void raw_go(struct raw *w, struct block_req *r)
{
    struct block *b = &w->b;
    struct engine_io *io = engine_io(r);

    io->offset = r->offset;
    switch (r->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        if (raw_partial(w, r)) {
            raw_bounce_next(w, r);
            break;
        }
        io->iov = r->iov;
        io->niov = r->niov;
        raw_op(w, r, PHASE_DATA, r->op == BLOCK_READ ? ENGINE_READV : ENGINE_WRITEV);
        break;
    case BLOCK_FLUSH:
        if (w->ignore_flush || b->read_only)
            block_finish_later(r, 0);
        else
            raw_op(w, r, PHASE_SYNC, ENGINE_FDATASYNC);
        break;
    case BLOCK_DISCARD: raw_fallocate(w, r, PHASE_DISCARD, FALLOC_FL_PUNCH_HOLE); break;
    case BLOCK_WRITE_ZEROES:
        if (r->flags & BLOCK_REQ_UNMAP && b->can_discard)
            raw_fallocate(w, r, PHASE_ZERO_PUNCH, FALLOC_FL_PUNCH_HOLE);
        else
            raw_fallocate(w, r, PHASE_ZERO_RANGE, FALLOC_FL_ZERO_RANGE);
        break;
    default: block_finish_later(r, -EOPNOTSUPP); break;
    }
}

static void raw_start(struct block *b, struct block_req *r)
{
    struct raw *w = raw_of(b);

    if (w->guard_magic && raw_writes_magic(r)) {
        log_guest(w->path,
                  "the guest would make this raw disk begin like a qcow2 image; give format=raw to allow that");
        block_finish_later(r, -EPERM);
    } else if (w->align > 1 && raw_changes(r)) {
        engine_list_add(&w->held, r);
        raw_admit(w);
    } else {
        raw_go(w, r);
    }
}

static void raw_close(struct block *b)
{
    struct raw *w = raw_of(b);

    /* The ring holds the file a little longer (a second, in Linux 6.1), and would hold the locks as long. */
    raw_unlock(b->fd);
    b->engine->ops->remove_file(b->engine, b->slot);
    close(b->fd);
    free(w->path);
    free(w);
}

/* Data or a hole, in whole sectors, where the file system tells. */
static int raw_status(struct block *b, uint64_t offset, uint64_t len, struct block_extent *x)
{
    off_t data = lseek(b->fd, (off_t)offset, SEEK_DATA);

    x->present = x->located = true;
    x->offset = offset;
    x->len = len;
    x->data = true;
    if (data < 0) {
        x->zero = errno == ENXIO; /* nothing but a hole from here on */
        x->data = !x->zero;
    } else if ((uint64_t)data >= align_up(offset + 1, SECTOR)) {
        x->len = MIN(len, align_down((uint64_t)data, SECTOR) - offset);
        x->zero = true;
        x->data = false;
    } else {
        off_t hole = lseek(b->fd, (off_t)offset, SEEK_HOLE);
        if (hole > data)
            x->len = MIN(len, align_up((uint64_t)hole, SECTOR) - offset);
    }
    return 0;
}

static const struct block_ops raw_ops = {
    .start = raw_start,
    .step = raw_step,
    .status = raw_status,
    .close = raw_close,
};

uint64_t block_raw_length(const struct block *b)
{
    off_t end = lseek(b->fd, 0, SEEK_END);
    return end < 0 ? 0 : (uint64_t)end;
}

int block_raw_truncate(struct block *b, uint64_t len)
{
    return ftruncate(b->fd, (off_t)len) < 0 ? -errno : 0;
}

int block_raw_fd(const struct block *b)
{
    return b->fd;
}

static int raw_open_file(const char *path, const struct block_options *o, struct err *e)
{
    /* O_NONBLOCK keeps the open of a FIFO from hanging. */
    int flags = (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | (o->direct ? O_DIRECT : 0);
    int fd = open(path, flags);

    if (fd < 0 && errno == EINVAL && o->direct)
        return err_set(e, EINVAL, "disk %s: its file system does not support direct I/O", path);
    if (fd < 0)
        return err_set(e, errno, "cannot open disk %s%s: %s", path, o->read_only ? "" : " for writing",
                       strerror(errno));
    return fd;
}

/* Regular files and block devices only. The size in bytes goes to *size, in whole sectors: what the file lacks of its
 * last one reads as zeroes, and is there once it is written. */
static int raw_probe(int fd, const char *path, const struct block_options *o, uint64_t *size, bool *regular,
                     struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_set(e, errno, "cannot examine disk %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, EINVAL, "disk %s is neither a regular file nor a block device", path);
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return err_set(e, errno, "cannot tell the size of disk %s: %s", path, strerror(errno));
    *size = o->container ? CONTAINER_MAX : align_up((uint64_t)end, SECTOR);
    if (*size == 0 && !o->may_be_empty)
        return err_set(e, EINVAL, "disk %s is empty", path);
    *regular = S_ISREG(st.st_mode);
    /* io_uring would fail with EAGAIN instead of waiting. */
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0 || fcntl(fd, F_SETFL, fl & ~O_NONBLOCK) < 0)
        return err_set(e, errno, "cannot set up disk %s: %s", path, strerror(errno));
    return 0;
}

/* What O_DIRECT wants of offsets and lengths here: found by trying, where there is something to read. */
static unsigned raw_alignment(int fd)
{
    void *buf = aligned_alloc(BOUNCE_ALIGN, BOUNCE_ALIGN);
    unsigned align = BOUNCE_ALIGN;

    if (buf && pread(fd, buf, SECTOR, 0) == SECTOR)
        align = SECTOR;
    free(buf);
    return align;
}

int block_open_raw_fd(struct block **out, struct block_engine *en, int fd, const char *path,
                      const struct block_options *o, struct err *e)
{
    struct raw *w = calloc(1, sizeof(*w));
    bool regular = false;
    int rc;

    if (!w || !(w->path = strdup(path))) {
        rc = err_set(e, ENOMEM, "no memory for disk %s", path);
        goto close_file;
    }
    w->direct = o->direct;
    w->writeback = o->writeback;
    w->ignore_flush = o->ignore_flush;
    w->guard_magic = o->guard_magic;
    w->b = (struct block){.ops = &raw_ops, .engine = en, .fd = fd, .read_only = o->read_only};
    rc = raw_probe(fd, path, o, &w->b.size, &regular, e);
    if (rc < 0)
        goto close_file;
    rc = o->no_lock ? 0 : raw_lock(fd, path, o->read_only, e);
    if (rc < 0)
        goto close_file;
    w->align = o->direct ? raw_alignment(fd) : 1;
    if (!o->read_only && !o->container && w->b.size % w->align) {
        rc = err_set(e, EINVAL, "disk %s: direct I/O wants a size that is a multiple of %u bytes here", path, w->align);
        goto close_file;
    }
    /* Punching behind the end changes nothing and tells whether the file system can. */
    if (!o->read_only)
        w->b.can_discard = !regular || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                 (off_t)align_up(block_raw_length(&w->b), MIB(1)), BOUNCE_ALIGN) == 0;
    rc = en->ops->add_file(en, fd, &w->b.slot);
    if (rc < 0) {
        err_set(e, -rc, "cannot hand disk %s to the block engine: %s", path, strerror(-rc));
        goto close_file;
    }
    *out = &w->b;
    return 0;

close_file:
    close(fd);
    if (w)
        free(w->path);
    free(w);
    return rc;
}

int block_open_raw(struct block **out, struct block_engine *en, const char *path, const struct block_options *o,
                   struct err *e)
{
    int fd = raw_open_file(path, o, e);
    return fd < 0 ? fd : block_open_raw_fd(out, en, fd, path, o, e);
}
