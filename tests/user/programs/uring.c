/*
 * io_uring entries with what arm64 and x86-64 have different (open flags, epoll's events), on rings of every form, by
 * descriptors, copies of them and registered indices, in children and threads; and that entries are as they were
 * afterwards.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define NO_MMAP (1u << 14) /* newer than some headers */
#define NO_SQARRAY (1u << 16)
#define REGISTERED_FD_ONLY (1u << 15)
#define OP_FIXED_FD_INSTALL 54
#define OP_EPOLL_WAIT 59

#define ENTRIES 8

struct ring {
    int fd;
    unsigned flags, enter; /* of io_uring_enter */
    struct io_uring_params p;
    char *sq, *cq, *sqes;
    size_t stride, ring_size;
    unsigned tail;
};

static char dir[] = "/tmp/pipit-uring-XXXXXX";

static const char *error(long r)
{
    return r < 0 ? strerror((int)-r) : "ok";
}

static long result(long r)
{
    return r < 0 ? -errno : r;
}

/* 0 or -errno. */
static int ring_open(struct ring *r, unsigned flags)
{
    char *memory = NULL;

    *r = (struct ring){.flags = flags, .stride = flags & IORING_SETUP_SQE128 ? 128 : 64, .p.flags = flags};
    r->p.cq_entries = flags & IORING_SETUP_CQSIZE ? 1024 : 0;
    r->ring_size = flags & IORING_SETUP_CQSIZE ? 20480 : 4096;
    if (flags & NO_MMAP) {
        memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        uint64_t rings = (uintptr_t)memory, entries = (uintptr_t)memory + 4096;
        memcpy((char *)&r->p.sq_off + sizeof(r->p.sq_off) - 8, &entries, 8);
        memcpy((char *)&r->p.cq_off + sizeof(r->p.cq_off) - 8, &rings, 8);
    }
    r->fd = (int)result(syscall(SYS_io_uring_setup, ENTRIES, &r->p));
    if (r->fd < 0)
        return r->fd;
    if (flags & REGISTERED_FD_ONLY)
        r->enter = IORING_ENTER_REGISTERED_RING;
    if (memory) {
        r->sq = r->cq = memory;
        r->sqes = memory + 4096;
    } else {
        r->sq = r->cq =
            mmap(NULL, r->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
        r->sqes = mmap(NULL, ENTRIES * r->stride, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
        if (r->sq == MAP_FAILED || r->sqes == MAP_FAILED)
            return -errno;
    }
    return 0;
}

static void ring_close(struct ring *r)
{
    if (!(r->flags & REGISTERED_FD_ONLY))
        close(r->fd);
    munmap(r->sq, r->ring_size);
    munmap(r->sqes, 4096);
}

static uint32_t *word(struct ring *r, uint32_t offset)
{
    return (uint32_t *)(r->sq + offset);
}

/* The entry to fill next; with an array it is not at the place that has its number. */
static struct io_uring_sqe *next(struct ring *r, unsigned ahead)
{
    unsigned place = (r->tail + ahead) & (ENTRIES - 1), index = place;
    struct io_uring_sqe *e;

    if (!(r->flags & NO_SQARRAY)) {
        index = (place * 3 + 1) & (ENTRIES - 1);
        word(r, r->p.sq_off.array)[place] = index;
    }
    e = (struct io_uring_sqe *)(r->sqes + index * r->stride);
    return e;
}

static struct io_uring_sqe *fill(struct ring *r, unsigned ahead, int op, int fd, const void *addr, unsigned len)
{
    struct io_uring_sqe *e = next(r, ahead);

    memset(e, 0, sizeof(*e));
    e->opcode = (uint8_t)op;
    e->fd = fd;
    e->addr = (uintptr_t)addr;
    e->len = len;
    e->user_data = 100 + ahead;
    return e;
}

static void publish(struct ring *r, unsigned n)
{
    r->tail += n;
    __atomic_store_n(word(r, r->p.sq_off.tail), r->tail, __ATOMIC_RELEASE);
}

/* The result of the operation with this number; others come in any order and are dropped. */
static int take(struct ring *r, unsigned number)
{
    uint32_t *head = word(r, r->p.cq_off.head), *tail = word(r, r->p.cq_off.tail), h = *head;
    int res = -ENODATA;

    for (; h != __atomic_load_n(tail, __ATOMIC_ACQUIRE); h++) {
        struct io_uring_cqe *c = (struct io_uring_cqe *)(r->cq + r->p.cq_off.cqes) + (h & (r->p.cq_entries - 1));
        if (c->user_data == 100 + number)
            res = c->res;
    }
    __atomic_store_n(head, h, __ATOMIC_RELEASE);
    return res;
}

/* The fence: the kernel's thread looks at the tail before it says that it sleeps. */
static long enter(struct ring *r, unsigned n, unsigned wait)
{
    unsigned flags = r->enter | (wait ? IORING_ENTER_GETEVENTS : 0);

    atomic_thread_fence(memory_order_seq_cst);
    if ((r->flags & IORING_SETUP_SQPOLL) &&
        (__atomic_load_n(word(r, r->p.sq_off.flags), __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP))
        flags |= IORING_ENTER_SQ_WAKEUP;
    return result(syscall(SYS_io_uring_enter, r->fd, n, wait, flags, NULL, 0));
}

/* Submits the one entry that is filled, and checks that it is what it was. */
static int run(struct ring *r)
{
    struct io_uring_sqe *e = next(r, 0), before = *e;
    long n;

    publish(r, 1);
    n = enter(r, 1, 1);
    if (n != 1)
        return n < 0 ? (int)n : -EIO;
    if (memcmp(&before, e, sizeof(before)) != 0)
        printf("the entry has changed\n");
    return take(r, 0);
}

static int run_open(struct ring *r, const char *path, int flags)
{
    struct io_uring_sqe *e = fill(r, 0, IORING_OP_OPENAT, AT_FDCWD, path, 0600);

    e->open_flags = (uint32_t)flags;
    return run(r);
}

static int run_openat2(struct ring *r, const char *path, uint64_t flags, size_t size)
{
    struct open_how how[2] = {{.flags = flags}, {0}};
    struct io_uring_sqe *e = fill(r, 0, IORING_OP_OPENAT2, AT_FDCWD, path, (unsigned)size);
    int res;

    e->off = (uintptr_t)how;
    res = run(r);
    if (how[0].flags != flags)
        printf("open_how has changed\n");
    return res;
}

static void show_flags(const char *what, int fd)
{
    int fl = fd < 0 ? 0 : fcntl(fd, F_GETFL);

    printf("  %s %s: directory %d nofollow %d direct %d access %d\n", what, error(fd), !!(fl & O_DIRECTORY),
           !!(fl & O_NOFOLLOW), !!(fl & O_DIRECT), fl & O_ACCMODE);
    if (fd >= 0)
        close(fd);
}

static void opening(struct ring *r)
{
    show_flags("open", run_open(r, "file", O_RDWR));
    show_flags("directory", run_open(r, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    show_flags("file as directory", run_open(r, "file", O_RDONLY | O_DIRECTORY));
    show_flags("link", run_open(r, "link", O_RDONLY));
    show_flags("link not followed", run_open(r, "link", O_RDONLY | O_NOFOLLOW));
    show_flags("file not followed", run_open(r, "file", O_RDONLY | O_NOFOLLOW));
    show_flags("direct", run_open(r, "file", O_WRONLY | O_DIRECT));
    show_flags("path", run_open(r, "link", O_PATH | O_NOFOLLOW));
    show_flags("nowhere", run_open(r, "nowhere", O_RDONLY | O_DIRECTORY));
    show_flags("bad address", run_open(r, (char *)16, O_RDONLY | O_DIRECTORY));
    show_flags("openat2 directory", run_openat2(r, ".", O_RDONLY | O_DIRECTORY, sizeof(struct open_how)));
    show_flags("openat2 not followed", run_openat2(r, "link", O_RDONLY | O_NOFOLLOW, sizeof(struct open_how)));
    show_flags("openat2 direct", run_openat2(r, "file", O_RDONLY | O_DIRECT, 2 * sizeof(struct open_how)));
    show_flags("openat2 short", run_openat2(r, ".", O_RDONLY | O_DIRECTORY, 8));
    show_flags("openat2 long", run_openat2(r, ".", O_RDONLY | O_DIRECTORY, 1 << 20));
    show_flags("openat2 unknown flag", run_openat2(r, ".", O_RDONLY | (UINT64_C(1) << 40), sizeof(struct open_how)));
}

static void events(struct ring *r)
{
    int ep = epoll_create1(0), ev = eventfd(3, 0), n, res;
    struct epoll_event in = {.events = EPOLLIN, .data.u64 = UINT64_C(0x1122334455667788)}, out[2];
    struct io_uring_sqe *e = fill(r, 0, IORING_OP_EPOLL_CTL, ep, &in, EPOLL_CTL_ADD);

    e->off = (uint64_t)ev;
    res = run(r);
    memset(out, 0xee, sizeof(out));
    n = epoll_wait(ep, out, 2, 0);
    printf("  epoll add %s: %d events %x data %llx\n", error(res), n, out[0].events, (long long)out[0].data.u64);
    in.data.u64 = UINT64_C(0x8877665544332211);
    e = fill(r, 0, IORING_OP_EPOLL_CTL, ep, &in, EPOLL_CTL_MOD);
    e->off = (uint64_t)ev;
    res = run(r);
    n = epoll_wait(ep, out, 2, 0);
    printf("  epoll modify %s: %d data %llx\n", error(res), n, (long long)out[0].data.u64);
    e = fill(r, 0, IORING_OP_EPOLL_CTL, ep, NULL, EPOLL_CTL_DEL);
    e->off = (uint64_t)ev;
    res = run(r);
    printf("  epoll remove %s: %d\n", error(res), epoll_wait(ep, out, 2, 0));
    e = fill(r, 0, IORING_OP_EPOLL_CTL, ep, (void *)16, EPOLL_CTL_ADD);
    e->off = (uint64_t)ev;
    printf("  epoll bad address %s\n", error(run(r)));
    close(ep);
    close(ev);
}

static void others(struct ring *r)
{
    struct statx sx = {0};
    struct io_uring_sqe *e = fill(r, 0, IORING_OP_STATX, AT_FDCWD, "link", STATX_BASIC_STATS);
    int fd, res, pages;
    char *p, exe[128] = "", here[128] = "";

    e->off = (uintptr_t)&sx;
    e->statx_flags = AT_SYMLINK_NOFOLLOW;
    res = run(r);
    printf("  statx %s mode %o size %d\n", error(res), sx.stx_mode, (int)sx.stx_size);
    fd = run_open(r, "/proc/self/exe", O_RDONLY);
    snprintf(here, sizeof(here), "/proc/self/fd/%d", fd);
    printf("  exe %s %s\n", error(fd), readlink(here, exe, sizeof(exe) - 1) > 0 ? strrchr(exe, '/') : "");
    fill(r, 0, IORING_OP_CLOSE, fd, NULL, 0);
    res = run(r);
    printf("  close %s, again %s\n", error(res), error(result(close(fd))));
    fill(r, 0, IORING_OP_CLOSE, 4000, NULL, 0);
    printf("  close what is not open %s\n", error(run(r)));
    p = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = 1;
    e = fill(r, 0, IORING_OP_MADVISE, -1, p, 8192);
    e->fadvise_advice = MADV_DONTNEED;
    res = run(r);
    pages = p[0];
    printf("  madvise %s, then %d\n", error(res), pages);
    fill(r, 0, 200, -1, NULL, 0);
    printf("  unknown operation %s\n", error(run(r)));
}

/* Several at once, linked: one that fails ends the others; and one that is submitted again without being filled. */
static void chains(struct ring *r)
{
    int results[3], n;
    struct io_uring_sqe *e = fill(r, 0, IORING_OP_OPENAT, AT_FDCWD, ".", 0);

    e->open_flags = O_DIRECTORY;
    e->flags = IOSQE_IO_LINK;
    e = fill(r, 1, IORING_OP_OPENAT, AT_FDCWD, "file", 0);
    e->open_flags = O_DIRECTORY;
    e->flags = IOSQE_IO_LINK;
    fill(r, 2, IORING_OP_OPENAT, AT_FDCWD, "file", 0);
    publish(r, 3);
    n = (int)enter(r, 2, 0); /* the third is linked to, but comes by a call of its own */
    n += 10 * (int)enter(r, 5, 0);
    enter(r, 0, 3);
    uint32_t *head = word(r, r->p.cq_off.head), *tail = word(r, r->p.cq_off.tail), h = *head;
    memset(results, 0, sizeof(results));
    for (; h != __atomic_load_n(tail, __ATOMIC_ACQUIRE); h++) {
        struct io_uring_cqe *c = (struct io_uring_cqe *)(r->cq + r->p.cq_off.cqes) + (h & (r->p.cq_entries - 1));
        results[c->user_data - 100] = c->res;
    }
    __atomic_store_n(head, h, __ATOMIC_RELEASE);
    printf("  chain %d: %s, %s, %s\n", n, error(results[0]), error(results[1]), error(results[2]));
    close(results[0]);
    close(results[2]);
    if (r->flags & (NO_SQARRAY | IORING_SETUP_SQPOLL))
        return;
    e = fill(r, 0, IORING_OP_OPENAT, AT_FDCWD, ".", 0);
    e->open_flags = O_DIRECTORY | O_NOFOLLOW;
    uint32_t index = word(r, r->p.sq_off.array)[r->tail & (ENTRIES - 1)];
    for (int i = 0; i < 3; i++) {
        word(r, r->p.sq_off.array)[r->tail & (ENTRIES - 1)] = index;
        publish(r, 1);
        n = (int)enter(r, 1, 1);
        show_flags("the same again", take(r, 0));
    }
    word(r, r->p.sq_off.array)[r->tail & (ENTRIES - 1)] = 1000; /* dropped */
    publish(r, 1);
    n = (int)enter(r, 1, 0);
    printf("  index out of range %d, dropped %u\n", n, *word(r, r->p.sq_off.dropped));
}

static void forms(void)
{
    static const struct {
        unsigned flags;
        const char *name;
    } rows[] = {
        {0, "plain"},
        {IORING_SETUP_SQE128, "large entries"},
        {NO_SQARRAY, "no array"},
        {NO_MMAP, "memory of the program's"},
        {NO_MMAP | NO_SQARRAY | IORING_SETUP_SQE128, "memory of the program's, no array, large entries"},
        {NO_MMAP | REGISTERED_FD_ONLY, "no descriptor"},
        {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "one issuer"},
        {IORING_SETUP_SQPOLL, "polled"},
        {IORING_SETUP_SQPOLL | NO_MMAP | IORING_SETUP_SINGLE_ISSUER, "polled, memory of the program's"},
        {IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, "cooperative"},
    };
    struct ring r;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int bad = ring_open(&r, rows[i].flags);
        printf("%s: %s\n", rows[i].name, error(bad));
        if (bad)
            continue;
        opening(&r);
        events(&r);
        others(&r);
        chains(&r);
        ring_close(&r);
    }
    for (int i = 0; i < 3000; i++) {
        int fd = (int)syscall(SYS_io_uring_setup, 1, &(struct io_uring_params){0});
        if (fd < 0 || close(fd))
            printf("ring %d: %s\n", i, strerror(errno));
    }
}

static void refused(void)
{
    struct ring r;

    printf("unknown flag %s\n", error(ring_open(&r, 1u << 31)));
    printf("bad parameters %s\n", error(result(syscall(SYS_io_uring_setup, 4, (void *)16))));
    printf("not a ring %s\n", error(result(syscall(SYS_io_uring_enter, 0, 1, 0, 0, NULL, 0))));
    printf("not open %s\n", error(result(syscall(SYS_io_uring_enter, 4000, 1, 0, 0, NULL, 0))));
    printf("not registered %s\n",
           error(result(syscall(SYS_io_uring_enter, 3, 1, 0, IORING_ENTER_REGISTERED_RING, NULL, 0))));
    printf("registered beyond %s\n",
           error(result(syscall(SYS_io_uring_enter, 300, 1, 0, IORING_ENTER_REGISTERED_RING, NULL, 0))));
#ifdef __aarch64__ /* as where a thread of the kernel's may not be had */
    int sqpoll = ring_open(&r, IORING_SETUP_SQPOLL | IORING_SETUP_IOPOLL);
    if (sqpoll != -EPERM)
        printf("a thread of the kernel's: %s\n", error(sqpoll));
    /* The kernel would write packed events whenever they come: this is as in 6.12, which has it not. */
    struct {
        struct io_uring_probe head;
        struct io_uring_probe_op ops[OP_EPOLL_WAIT + 1];
    } probe = {0};
    if (!ring_open(&r, 0)) {
        fill(&r, 0, OP_EPOLL_WAIT, epoll_create1(0), &probe, 1);
        if (run(&r) != -EINVAL)
            printf("events of epoll\n");
        long probed = result(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_PROBE, &probe, OP_EPOLL_WAIT + 1));
        if (probed || !(probe.ops[IORING_OP_OPENAT].flags & IO_URING_OP_SUPPORTED) ||
            (probe.ops[OP_EPOLL_WAIT].flags & IO_URING_OP_SUPPORTED))
            printf("probe %s\n", error(probed));
        ring_close(&r);
    }
#endif
    printf("polled and cooperative %s\n", error(ring_open(&r, IORING_SETUP_SQPOLL | IORING_SETUP_COOP_TASKRUN)));
    if (ring_open(&r, IORING_SETUP_R_DISABLED))
        return;
    struct io_uring_restriction allow[2] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_OPENAT},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS}};
    fill(&r, 0, IORING_OP_NOP, -1, NULL, 0);
    publish(&r, 1);
    printf("disabled %s", error(enter(&r, 1, 0)));
    printf(", restricted %s",
           error(result(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_RESTRICTIONS, allow, 2))));
    printf(", enabled %s", error(result(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0))));
    printf(", %ld", enter(&r, 1, 1));
    printf(" %s\n", error(take(&r, 0)));
    show_flags("allowed", run_open(&r, ".", O_DIRECTORY));
    show_flags("not allowed", run_openat2(&r, ".", O_DIRECTORY, sizeof(struct open_how)));
    ring_close(&r);
}

static void *submitter(void *arg)
{
    struct ring *r = arg;

    for (int i = 0; i < 50; i++) {
        struct ring own;
        if (ring_open(&own, 0))
            return "no ring";
        int fd = run_open(&own, ".", O_DIRECTORY), none = run_open(&own, "file", O_DIRECTORY);
        if (fd < 0 || none != -ENOTDIR)
            return "wrong";
        close(fd);
        ring_close(&own);
    }
    return !r || run_open(r, "file", O_DIRECTORY) == -ENOTDIR ? "right" : "wrong";
}

static void reached(void)
{
    struct ring r, copy;
    struct io_uring_rsrc_update u = {.offset = -1u};
    pthread_t t[3];
    void *said;
    int status;

    if (ring_open(&r, 0))
        return;
    copy = r;
    copy.fd = dup(r.fd);
    show_flags("by a copy", run_open(&copy, ".", O_DIRECTORY | O_NOFOLLOW));
    r.tail = copy.tail;
    u.data = (uint64_t)copy.fd;
    long n = result(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_RING_FDS, &u, 1));
    printf("registered %ld at %u\n", n, u.offset);
    close(copy.fd);
    copy.fd = (int)u.offset;
    copy.enter = IORING_ENTER_REGISTERED_RING;
    show_flags("by its index", run_open(&copy, ".", O_DIRECTORY | O_NOFOLLOW));
    r.tail = copy.tail;
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        show_flags("in a child", run_open(&r, ".", O_DIRECTORY | O_NOFOLLOW));
        copy.tail = r.tail;
        printf("index in a child %s\n", error(run_open(&copy, ".", O_DIRECTORY)));
        pid = vfork();
        if (!pid)
            _exit(result(syscall(SYS_io_uring_enter, r.fd, 0, 0, 0, NULL, 0)) == 0 ? 5 : 6);
        waitpid(pid, &status, 0);
        _exit(WEXITSTATUS(status));
    }
    waitpid(pid, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
    r.tail = *word(&r, r.p.sq_off.tail);
    printf("left by the child %ld\n", enter(&r, ENTRIES, 1));
    show_flags("which opens", take(&r, 0));
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, submitter, i ? NULL : &r);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &said);
        printf("in a thread %s\n", (const char *)said);
    }
    char *moved = mremap(r.sqes, 4096, 4096, MREMAP_MAYMOVE);
    printf("entries moved %d\n", moved != MAP_FAILED);
    int s[2] = {-1, -1}, bad = socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } cm = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {"x", 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cm, .msg_controllen = sizeof(cm.room)};
    memcpy(CMSG_DATA(&cm.head), &r.fd, sizeof(int));
    printf("sent to others %d %s\n", bad, error(result(sendmsg(s[0], &m, 0))));
    ring_close(&r);
}

/* A descriptor that is in the ring's table only, and one that is made of it. */
static void direct_descriptors(void)
{
    struct ring r;
    int table[4] = {-1, -1, -1, -1};
    struct io_uring_sqe *e;

    if (ring_open(&r, 0))
        return;
    printf("table %s\n", error(result(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, table, 4))));
    e = fill(&r, 0, IORING_OP_OPENAT, AT_FDCWD, ".", 0);
    e->open_flags = O_DIRECTORY;
    e->file_index = 2;
    printf("into the table %s\n", error(run(&r)));
    e = fill(&r, 0, OP_FIXED_FD_INSTALL, 1, NULL, 0);
    e->flags = IOSQE_FIXED_FILE;
    int fd = run(&r);
    show_flags("out of it", fd == -EINVAL ? -ENOSYS : fd);
    e = fill(&r, 0, IORING_OP_OPENAT, AT_FDCWD, "file", 0);
    e->open_flags = O_DIRECTORY;
    e->file_index = 3;
    printf("into the table %s\n", error(run(&r)));
    ring_close(&r);
}

static pthread_mutex_t filling = PTHREAD_MUTEX_INITIALIZER;

/* Fills under a lock and submits without it, so that whichever call comes first takes what others have filled. */
static void *sharer(void *arg)
{
    struct ring *r = arg;

    for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&filling);
        while (r->tail - __atomic_load_n(word(r, r->p.sq_off.head), __ATOMIC_ACQUIRE) >= ENTRIES)
            sched_yield();
        struct io_uring_sqe *e = fill(r, 0, i % 3 ? IORING_OP_OPENAT : IORING_OP_NOP, AT_FDCWD, "file", 0);
        e->open_flags = i % 3 ? O_DIRECTORY : 0;
        e->user_data = i % 3;
        publish(r, 1);
        pthread_mutex_unlock(&filling);
        if (enter(r, 1, 0) > 1)
            return "wrong";
    }
    return "right";
}

static void shared(void)
{
    struct ring r;
    pthread_t t[3];
    int right = 0, wrong = 0;
    void *said;

    if (ring_open(&r, IORING_SETUP_CQSIZE))
        return;
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, sharer, &r);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &said);
        printf("sharing %s\n", (const char *)said);
    }
    while (enter(&r, ENTRIES, 0) > 0)
        ;
    enter(&r, 0, 900);
    uint32_t h = *word(&r, r.p.cq_off.head), tail = *word(&r, r.p.cq_off.tail);
    for (; h != tail; h++) {
        struct io_uring_cqe *c = (struct io_uring_cqe *)(r.cq + r.p.cq_off.cqes) + (h & (r.p.cq_entries - 1));
        *(c->res == (c->user_data ? -ENOTDIR : 0) ? &right : &wrong) += 1;
    }
    printf("shared: %d right, %d wrong\n", right, wrong);
    ring_close(&r);
}

static _Atomic int caught;

static void on_signal(int sig)
{
    caught = sig;
}

static void waiting(void)
{
    struct ring r;
    sigset_t none, all;
    struct itimerval soon = {.it_value.tv_usec = 20000};
    struct {
        uint64_t mask;
        uint32_t size, pad;
        uint64_t ts;
    } arg = {0};
    struct timespec ts = {.tv_nsec = 1000000};
    uint64_t mask = 0;

    if (ring_open(&r, 0))
        return;
    signal(SIGALRM, on_signal);
    sigemptyset(&none);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    long n = result(syscall(SYS_io_uring_enter, r.fd, 0, 1, IORING_ENTER_GETEVENTS, &mask, sizeof(mask)));
    printf("wait under a mask %s, caught %d\n", error(n), caught);
    caught = 0;
    setitimer(ITIMER_REAL, &soon, NULL);
    arg.mask = (uintptr_t)&mask;
    arg.size = 8;
    /* One entry, and two results that are waited for: the count comes back, and the handler has run. */
    struct io_uring_sqe *e = fill(&r, 0, IORING_OP_OPENAT, AT_FDCWD, ".", 0);
    e->open_flags = O_DIRECTORY;
    publish(&r, 1);
    n = result(
        syscall(SYS_io_uring_enter, r.fd, 1, 2, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg)));
    printf("submit and wait %ld, caught %d\n", n, caught);
    show_flags("opened", take(&r, 0));
    arg.ts = (uintptr_t)&ts;
    n = result(
        syscall(SYS_io_uring_enter, r.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg)));
    printf("wait with an end %s\n", error(n));
    arg.size = 4;
    n = result(
        syscall(SYS_io_uring_enter, r.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg)));
    printf("wait with half a mask %s\n", error(n));
    n = result(
        syscall(SYS_io_uring_enter, r.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(mask)));
    printf("wait with half an argument %s\n", error(n));
    sigprocmask(SIG_SETMASK, &none, NULL);
    ring_close(&r);
}

static _Atomic int stop;

/* Writes over the entries, the indices and the tail while they are submitted. */
static void *scribble(void *arg)
{
    struct ring *r = arg;
    uint32_t x = 1;

    while (!stop) {
        x = x * 1664525 + 1013904223;
        volatile char *e = r->sqes + (x >> 8) % ENTRIES * 64;
        switch (x >> 28) {
        case 0: *(volatile uint32_t *)(e + 28) = x; break;
        case 1: *(volatile uint8_t *)e = (x >> 12 & 1) ? IORING_OP_OPENAT2 : IORING_OP_EPOLL_CTL; break;
        case 2: *(volatile uint64_t *)(e + 8) = x; break;
        case 3: *(volatile uint64_t *)(e + 16) = (uintptr_t)(x & 0x1000 ? dir : NULL); break;
        case 4: *(volatile uint32_t *)(e + 24) = x >> 16; break;
        case 5: word(r, r->p.sq_off.array)[(x >> 8) % ENTRIES] = (x >> 16) % (ENTRIES + 2); break;
        case 6: *(volatile uint8_t *)e = IORING_OP_OPENAT; break;
        default: break;
        }
    }
    return NULL;
}

static void hostile(void)
{
    struct ring r;
    pthread_t t;

    fflush(stdout);
    pid_t pid = fork(); /* what it opens goes with it */
    if (!pid) {
        if (ring_open(&r, 0))
            _exit(1);
        pthread_create(&t, NULL, scribble, &r);
        for (int i = 0; i < 3000; i++) {
            for (unsigned n = 0; n < 4; n++) {
                struct io_uring_sqe *e = fill(&r, n, IORING_OP_OPENAT, -1, dir, 0);
                e->open_flags = O_DIRECTORY | O_NOFOLLOW;
            }
            publish(&r, 4);
            enter(&r, i % 7 ? 4 : 100, 0);
            take(&r, 0);
            if (i % 256 == 0)
                close_range(r.fd + 1, ~0u, 0);
        }
        stop = 1;
        pthread_join(t, NULL);
        _exit(7);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("hostile %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

int main(void)
{
    struct ring r;

    setvbuf(stdout, NULL, _IOLBF, 0);
    int bad = ring_open(&r, 0);
    if (bad) {
        printf("io_uring: %s\n", error(bad));
        return 0;
    }
    ring_close(&r);
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    int fd = open("file", O_CREAT | O_WRONLY, 0600);
    if (fd < 0 || write(fd, "0123456789", 10) != 10 || close(fd) || symlink("file", "link"))
        return 1;
    forms();
    refused();
    reached();
    shared();
    direct_descriptors();
    waiting();
    hostile();
    unlink("file");
    unlink("link");
    printf("rmdir %s\n", error(result(chdir("/") | rmdir(dir))));
    return 0;
}
