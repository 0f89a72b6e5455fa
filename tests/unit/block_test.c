/* Raw images on both engines: data, the ends of files, zeroes, locks, errors. */
#include "devices/block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/util.h"

#define IMAGE_SIZE MIB(4)

static struct loop *loop;
static struct block_engine *engine;
static bool threads;
static char dir[] = "/tmp/pipit-block-XXXXXX", path[64];
static unsigned thread_inits;
static pthread_mutex_t inits_lock = PTHREAD_MUTEX_INITIALIZER;

struct wait {
    struct block_req req;
    int result;
    bool done;
    unsigned order;
};
static unsigned order;

static void on_done(struct block_req *req, int result)
{
    struct wait *w = container_of(req, struct wait, req);
    w->result = result;
    w->done = true;
    w->order = ++order;
}

static void on_thread_init(void)
{
    pthread_mutex_lock(&inits_lock);
    thread_inits++;
    pthread_mutex_unlock(&inits_lock);
}

static struct block *open_image(const struct block_options *o, struct err *e)
{
    struct block *b = NULL;
    return block_open_raw(&b, engine, path, o, e) == 0 ? b : NULL;
}

static bool make_image(off_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = ftruncate(fd, size) == 0;
    close(fd);
    return ok;
}

static void start(struct block *b, struct wait *w, enum block_op op, uint64_t off, uint64_t len,
                  const struct iovec *iov, unsigned niov)
{
    *w = (struct wait){.req = {.op = op, .offset = off, .len = len, .iov = iov, .niov = niov, .done = on_done}};
    block_submit(b, &w->req);
}

static int run(struct block *b, enum block_op op, uint64_t off, uint64_t len, void *buf)
{
    struct iovec iov = {buf, len};
    struct wait w;

    start(b, &w, op, off, len, buf ? &iov : NULL, buf ? 1 : 0);
    if (w.done)
        return -EDEADLK; /* done must not be called from within */
    block_drain(b);
    return w.done ? w.result : -EDEADLK;
}

static const struct block_options rw = {.writeback = true}, ro = {.read_only = true, .writeback = true};

static void test_read_and_write(void)
{
    static uint8_t a[MIB(1)], b[MIB(1)];
    struct err e = {0};

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, &e);
    CHECK(d);
    CHECK_EQ(block_size(d), IMAGE_SIZE);
    CHECK(!block_read_only(d));
    for (size_t i = 0; i < sizeof(a); i++)
        a[i] = (uint8_t)(i * 7 + i / 4096);
    CHECK_EQ(run(d, BLOCK_WRITE, 512, sizeof(a), a), 0);
    CHECK_EQ(run(d, BLOCK_FLUSH, 0, 0, NULL), 0);
    CHECK_EQ(run(d, BLOCK_READ, 512, sizeof(b), b), 0);
    CHECK(!memcmp(a, b, sizeof(a)));
    /* Scattered. */
    struct iovec iov[3] = {{b, 100}, {b + 1000, 412}, {b + 8192, 1024}};
    struct wait w;
    start(d, &w, BLOCK_READ, 512, 1536, iov, 3);
    block_drain(d);
    CHECK_EQ(w.result, 0);
    CHECK(!memcmp(b, a, 100) && !memcmp(b + 1000, a + 100, 412) && !memcmp(b + 8192, a + 512, 1024));
    block_close(d);
}

static void test_bounds(void)
{
    static uint8_t buf[8192];

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    CHECK_EQ(run(d, BLOCK_READ, IMAGE_SIZE - 512, 512, buf), 0);
    CHECK_EQ(run(d, BLOCK_READ, IMAGE_SIZE, 512, buf), -EINVAL);
    CHECK_EQ(run(d, BLOCK_WRITE, IMAGE_SIZE - 512, 1024, buf), -EINVAL);
    CHECK_EQ(run(d, BLOCK_READ, UINT64_MAX - 511, 1024, buf), -EINVAL);
    CHECK_EQ(run(d, BLOCK_DISCARD, 0, UINT64_MAX, NULL), -EINVAL);
    CHECK_EQ(run(d, BLOCK_WRITE_ZEROES, 512, UINT64_MAX, NULL), -EINVAL);
    CHECK_EQ(run(d, BLOCK_READ, 0, 0, NULL), 0);
    block_close(d);
    struct stat st;
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_size, IMAGE_SIZE);
}

static void test_many_in_flight(void)
{
    enum { N = 1000 };
    static struct wait w[N];
    static uint8_t buf[N][512];
    static struct iovec iov[N];

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    for (unsigned pass = 0; pass < 2; pass++) {
        block_plug(d);
        for (unsigned i = 0; i < N; i++) {
            memset(buf[i], pass ? 0 : (int)(i % 251), 512);
            iov[i] = (struct iovec){buf[i], 512};
            start(d, &w[i], pass ? BLOCK_READ : BLOCK_WRITE, i * 512, 512, &iov[i], 1);
        }
        block_unplug(d);
        block_drain(d);
        for (unsigned i = 0; i < N; i++) {
            CHECK(w[i].done);
            CHECK_EQ(w[i].result, 0);
            CHECK_EQ(buf[i][0], i % 251);
            CHECK_EQ(buf[i][511], i % 251);
        }
    }
    block_close(d);
}

static void stop_loop(void *opaque)
{
    (void)opaque;
    loop_stop(loop);
}

static void on_done_stop(struct block_req *req, int result)
{
    on_done(req, result);
    stop_loop(NULL);
}

/* Completions come by the loop, not only by draining; so do refusals. */
static void test_loop_completes(void)
{
    uint8_t buf[512];
    struct iovec iov = {buf, 512};
    struct wait w = {.req = {.op = BLOCK_READ, .len = 512, .iov = &iov, .niov = 1, .done = on_done_stop}};
    struct wait bad = {
        .req = {.op = BLOCK_READ, .offset = 1 << 30, .len = 512, .iov = &iov, .niov = 1, .done = on_done_stop}};

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    block_submit(d, &w.req);
    loop_run(loop);
    CHECK(w.done);
    CHECK_EQ(w.result, 0);
    block_submit(d, &bad.req);
    CHECK(!bad.done);
    loop_run(loop);
    CHECK(bad.done);
    CHECK_EQ(bad.result, -EINVAL);
    block_close(d);
}

static void test_read_only(void)
{
    uint8_t buf[512] = {0};

    CHECK(make_image(IMAGE_SIZE));
    CHECK_EQ(chmod(path, 0400), 0);
    struct block *d = open_image(&ro, NULL);
    CHECK(d);
    CHECK(block_read_only(d));
    CHECK(!block_can_discard(d));
    CHECK_EQ(run(d, BLOCK_READ, 0, 512, buf), 0);
    CHECK_EQ(run(d, BLOCK_WRITE, 0, 512, buf), -EROFS);
    CHECK_EQ(run(d, BLOCK_WRITE_ZEROES, 0, 512, NULL), -EROFS);
    CHECK_EQ(run(d, BLOCK_DISCARD, 0, 512, NULL), -EROFS);
    CHECK_EQ(run(d, BLOCK_FLUSH, 0, 0, NULL), 0);
    block_close(d);
}

static void test_odd_size(void)
{
    uint8_t buf[512];
    struct stat st;

    /* The last sector is whole, with zeroes where the file has nothing, until it is written. */
    CHECK(make_image(512 * 3 + 100));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    CHECK_EQ(block_size(d), 512 * 4);
    memset(buf, 0xff, sizeof(buf));
    CHECK_EQ(run(d, BLOCK_READ, 512 * 3, 512, buf), 0);
    for (unsigned i = 0; i < sizeof(buf); i++)
        CHECK_EQ(buf[i], 0);
    CHECK(stat(path, &st) == 0 && st.st_size == 512 * 3 + 100);
    memset(buf, 0x5a, sizeof(buf));
    CHECK_EQ(run(d, BLOCK_WRITE, 512 * 3, 512, buf), 0);
    CHECK(stat(path, &st) == 0 && st.st_size == 512 * 4);
    block_close(d);
}

static void test_truncated_behind_our_back(void)
{
    uint8_t buf[4096];

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    memset(buf, 0x5a, sizeof(buf));
    CHECK_EQ(run(d, BLOCK_WRITE, 0, 1024, buf), 0);
    CHECK_EQ(truncate(path, 1024), 0);
    memset(buf, 0xff, sizeof(buf));
    CHECK_EQ(run(d, BLOCK_READ, 512, 4096, buf), 0);
    CHECK_EQ(buf[511], 0x5a);
    CHECK_EQ(buf[512], 0);
    CHECK_EQ(buf[4095], 0);
    CHECK_EQ(run(d, BLOCK_READ, 8192, 512, buf), 0);
    block_close(d);
}

static void test_discard_and_zeroes(void)
{
    static uint8_t buf[MIB(2)];
    struct wait w;

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    for (unsigned unmap = 0; unmap < 2; unmap++) {
        memset(buf, 0xee, sizeof(buf));
        CHECK_EQ(run(d, BLOCK_WRITE, 0, sizeof(buf), buf), 0);
        w = (struct wait){.req = {.op = BLOCK_WRITE_ZEROES,
                                  .flags = unmap ? BLOCK_REQ_UNMAP : 0,
                                  .offset = 512,
                                  .len = MIB(1) + 1024,
                                  .done = on_done}};
        block_submit(d, &w.req);
        block_drain(d);
        CHECK_EQ(w.result, 0);
        CHECK_EQ(run(d, BLOCK_READ, 0, sizeof(buf), buf), 0);
        CHECK_EQ(buf[511], 0xee);
        for (size_t i = 512; i < 512 + MIB(1) + 1024; i++)
            CHECK_EQ(buf[i], 0);
        CHECK_EQ(buf[512 + MIB(1) + 1024], 0xee);
    }
    if (block_can_discard(d)) {
        struct stat before, after;
        CHECK_EQ(run(d, BLOCK_FLUSH, 0, 0, NULL), 0);
        CHECK_EQ(stat(path, &before), 0);
        CHECK_EQ(run(d, BLOCK_DISCARD, 0, sizeof(buf), NULL), 0);
        CHECK_EQ(stat(path, &after), 0);
        CHECK(after.st_blocks < before.st_blocks);
        CHECK_EQ(after.st_size, before.st_size);
    }
    block_close(d);
}

static void test_write_through(void)
{
    uint8_t buf[512] = {1};
    const struct block_options wt = {.writeback = false};

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&wt, NULL);
    CHECK(d);
    CHECK_EQ(run(d, BLOCK_WRITE, 0, 512, buf), 0);
    CHECK_EQ(run(d, BLOCK_WRITE_ZEROES, 0, 512, NULL), 0);
    block_close(d);
}

/* O_DIRECT with buffers that it refuses. */
static void test_direct_unaligned(void)
{
    static uint8_t buf[MIB(3)] __attribute__((aligned(4096)));
    const struct block_options direct = {.direct = true, .writeback = true};
    struct err e = {0};

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&direct, &e);
    if (!d) {
        CHECK_EQ(e.code, EINVAL); /* a file system without direct I/O */
        return;
    }
    for (size_t i = 0; i < MIB(2); i++)
        buf[3 + i] = (uint8_t)(i * 13 + i / 512);
    CHECK_EQ(run(d, BLOCK_WRITE, 4096, MIB(2), buf + 3), 0);
    memmove(buf, buf + 3, MIB(2));
    static uint8_t back[MIB(2) + 1];
    CHECK_EQ(run(d, BLOCK_READ, 4096, MIB(2), back + 1), 0);
    CHECK(!memcmp(back + 1, buf, MIB(2)));
    block_close(d);
}

/* O_DIRECT with pieces of blocks, many at once that share blocks: none is lost, and nothing around them changes. */
static void test_direct_parts_of_blocks(void)
{
    enum { PARTS = 200, LEN = 300, START = 777 };
    static uint8_t model[IMAGE_SIZE], back[IMAGE_SIZE];
    const struct block_options direct = {.direct = true, .writeback = true};
    static struct wait w[PARTS];
    static struct iovec iov[PARTS];
    struct err e = {0};

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&direct, &e);
    if (!d) {
        CHECK_EQ(e.code, EINVAL); /* a file system without direct I/O */
        return;
    }
    memset(model, 0xa5, sizeof(model));
    CHECK_EQ(run(d, BLOCK_WRITE, 0, sizeof(model), model), 0);
    for (unsigned i = 0; i < PARTS; i++) {
        unsigned n = i * 77 % PARTS; /* neighbours do not come one behind the other */
        uint64_t at = START + (uint64_t)n * LEN, len = LEN;
        if (i % 9 == 0) { /* whole blocks, elsewhere */
            at = KIB(128) + KIB(4) * i;
            len = KIB(4);
        }
        memset(model + at, (int)i + 1, len);
        iov[i] = (struct iovec){model + at, len};
        start(d, &w[i], BLOCK_WRITE, at, len, &iov[i], 1);
    }
    block_drain(d);
    for (unsigned i = 0; i < PARTS; i++)
        CHECK(w[i].done && w[i].result == 0);
    CHECK_EQ(run(d, BLOCK_READ, 0, sizeof(back), back), 0);
    CHECK(!memcmp(back, model, sizeof(model)));
    memset(back, 0, sizeof(back));
    CHECK_EQ(run(d, BLOCK_READ, 1001, 70000, back), 0);
    CHECK(!memcmp(back, model + 1001, 70000));
    /* The last bytes, over the last block's edge. */
    CHECK_EQ(run(d, BLOCK_WRITE, IMAGE_SIZE - 513, 513, model), 0);
    memcpy(model + IMAGE_SIZE - 513, model, 513);
    CHECK_EQ(run(d, BLOCK_READ, IMAGE_SIZE - 5000, 5000, back), 0);
    CHECK(!memcmp(back, model + IMAGE_SIZE - 5000, 5000));
    CHECK_EQ(block_raw_length(d), IMAGE_SIZE);
    block_close(d);
}

static void test_two_writers_are_refused(void)
{
    struct err e = {0};

    CHECK(make_image(IMAGE_SIZE));
    struct block *a = open_image(&rw, NULL);
    CHECK(a);
    CHECK(!open_image(&rw, &e));
    CHECK_EQ(e.code, EBUSY);
    CHECK(strstr(e.msg, path) && strstr(e.msg, "in use by another process"));
    CHECK(!open_image(&ro, NULL));
    block_close(a);
    a = open_image(&ro, NULL);
    CHECK(a);
    struct block *b = open_image(&ro, NULL);
    CHECK(b);
    CHECK(!open_image(&rw, NULL));
    block_close(a);
    block_close(b);
    a = open_image(&rw, NULL);
    CHECK(a);
    block_close(a);
}

/* The places that QEMU's file driver locks. */
static void test_locks_are_where_others_look(void)
{
    CHECK(make_image(IMAGE_SIZE));
    struct block *a = open_image(&rw, NULL);
    CHECK(a);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    for (off_t at = 100; at < 210; at++) {
        struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
        CHECK_EQ(fcntl(fd, F_OFD_GETLK, &fl), 0);
        bool want = at == 100 || at == 101 || at == 201 || at == 203;
        CHECK_EQ(fl.l_type != F_UNLCK, want);
    }
    close(fd);
    block_close(a);
}

static void test_bad_files(void)
{
    struct err e = {0};
    char keep[sizeof(path)];

    memcpy(keep, path, sizeof(path));
    snprintf(path, sizeof(path), "%s/none", dir);
    CHECK(!open_image(&rw, &e));
    CHECK_EQ(e.code, ENOENT);
    CHECK(strstr(e.msg, path));
    snprintf(path, sizeof(path), "%s", dir);
    CHECK(!open_image(&ro, &e));
    CHECK_EQ(e.code, EINVAL);
    snprintf(path, sizeof(path), "%s/fifo", dir);
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK(!open_image(&ro, &e)); /* does not hang */
    CHECK_EQ(e.code, EINVAL);
    unlink(path);
    memcpy(path, keep, sizeof(path));
}

/* A host that takes no more bytes: the request fails, the process lives. */
static void test_file_size_limit(void)
{
    uint8_t buf[4096] = {0};
    struct rlimit old, lim;

    CHECK(make_image(IMAGE_SIZE));
    struct block *d = open_image(&rw, NULL);
    CHECK(d);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    lim = old;
    lim.rlim_cur = MIB(1);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
    int far = run(d, BLOCK_WRITE, MIB(2), 4096, buf), near = run(d, BLOCK_WRITE, 0, 4096, buf);
    /* Up to the limit, the rest of a request that crosses it is refused. */
    int across = run(d, BLOCK_WRITE, MIB(1) - 512, 4096, buf);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_EQ(far, -EFBIG);
    CHECK_EQ(near, 0);
    CHECK_EQ(across, -EFBIG);
    block_close(d);
}

static void engine_tests(void)
{
    RUN(test_read_and_write);
    RUN(test_bounds);
    RUN(test_many_in_flight);
    RUN(test_loop_completes);
    RUN(test_read_only);
    RUN(test_odd_size);
    RUN(test_truncated_behind_our_back);
    RUN(test_discard_and_zeroes);
    RUN(test_write_through);
    RUN(test_direct_unaligned);
    RUN(test_direct_parts_of_blocks);
    RUN(test_two_writers_are_refused);
    RUN(test_locks_are_where_others_look);
    RUN(test_bad_files);
    RUN(test_file_size_limit);
}

static void test_thread_init_runs(void)
{
    pthread_mutex_lock(&inits_lock);
    unsigned n = thread_inits;
    pthread_mutex_unlock(&inits_lock);
    CHECK_EQ(n, threads ? 4 : 0);
}

int main(void)
{
    if (!mkdtemp(dir) || loop_create(&loop, NULL) < 0)
        return 1;
    snprintf(path, sizeof(path), "%s/disk", dir);
    for (unsigned i = 0; i < 2; i++) {
        threads = i;
        block_engine_set_thread_init(threads ? on_thread_init : NULL);
        if (block_engine_create(&engine, loop, threads, NULL) < 0)
            return 1;
        printf("engine %s\n", block_engine_name(engine));
        threads = !strcmp(block_engine_name(engine), "threads");
        engine_tests();
        if (i)
            RUN(test_thread_init_runs);
        block_engine_destroy(engine);
    }
    loop_destroy(loop);
    unlink(path);
    rmdir(dir);
    return check_done();
}
