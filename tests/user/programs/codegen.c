/* Programs that write code: with pages that are writable and executable, that are made so in turns, or that are mapped
 * twice; in many threads; code that is dropped, mapped over, moved, copied by fork and written by the kernel. A
 * function here returns a constant, so that one which is out of date is seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define RWX (RW | PROT_EXEC)

typedef uint32_t (*function)(void);

#define FUNCTION 16 /* bytes, at the most */

static size_t make(uint8_t *at, uint32_t value)
{
#ifdef __aarch64__
    uint32_t code[3] = {0x52800000 | (value & 0xffff) << 5, 0x72a00000 | value >> 16 << 5, 0xd65f03c0};
#else
    uint8_t code[6] = {0xb8, value & 0xff, value >> 8 & 0xff, value >> 16 & 0xff, value >> 24, 0xc3};
#endif
    memcpy(at, code, sizeof(code));
    return sizeof(code);
}

static void flush(void *at, size_t len)
{
    __builtin___clear_cache((char *)at, (char *)at + len);
}

static uint32_t call(void *at)
{
    function f;

    memcpy(&f, &at, sizeof(f));
    return f();
}

static uint8_t *map(size_t len, int prot, int flags, int fd)
{
    void *p = mmap(NULL, len, prot, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

    if (p == MAP_FAILED) {
        printf("mmap: %s\n", strerror(errno));
        exit(1);
    }
    return p;
}

static void check(const char *what, uint32_t got, uint32_t want)
{
    static const char *last;

    if (got != want && last != what) /* one line is enough */
        printf("%s: %x, not %x\n", what, got, want);
    last = got == want ? last : what;
}

/* ---- in several threads, each in its own way, side by side in memory ---- */

#define WORKERS 12
#define ROUNDS 300

static uint8_t *arena;

static void *worker(void *arg)
{
    uint32_t id = (uint32_t)(uintptr_t)arg, v = id * 7919;
    uint8_t *page = arena + id * PAGE;

    for (int round = 0; round < ROUNDS; round++) {
        uint8_t *at = page + (unsigned)round * 64 % PAGE;
        if (id % 3 == 1 && mprotect(page, PAGE, RW))
            printf("mprotect: %s\n", strerror(errno));
        v = v * 1664525 + 1013904223;
        flush(at, make(at, v));
        if (id % 3 == 1 && mprotect(page, PAGE, RX))
            printf("mprotect: %s\n", strerror(errno));
        check("worker", call(at), v);
        if (id % 3 == 2 && round % 10 == 9) {
            madvise(page, PAGE, MADV_DONTNEED);
            prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, page, PAGE, "code");
        }
    }
    return NULL;
}

static void workers(void)
{
    pthread_t t[WORKERS];

    arena = map(WORKERS * PAGE, RWX, MAP_PRIVATE, -1);
    for (uintptr_t i = 0; i < WORKERS; i++)
        pthread_create(&t[i], NULL, worker, (void *)i);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(t[i], NULL);
    munmap(arena, WORKERS * PAGE);
    printf("workers are done\n");
}

/* ---- one thread writes what others execute, when they are told ---- */

static _Atomic uint32_t generation;
static _Atomic int seen[4];

static void synchronize(void)
{
#ifdef __aarch64__
    __asm__ volatile("isb" ::: "memory");
#else
    uint32_t a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
#endif
}

static void *follower(void *arg)
{
    int me = (int)(intptr_t)arg;
    uint32_t g;

    while ((g = generation) != UINT32_MAX) {
        if (!g) {
            sched_yield();
            continue;
        }
        synchronize();
        check("follower", call(arena), g);
        seen[me]++;
        while (generation == g)
            sched_yield();
        seen[me]++;
    }
    return NULL;
}

static void followers(void)
{
    pthread_t t[4];

    arena = map(PAGE, RWX, MAP_PRIVATE, -1);
    for (intptr_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, follower, (void *)i);
    for (uint32_t g = 1; g <= 200; g++) {
        flush(arena, make(arena, g));
        generation = g;
        for (int i = 0; i < 4; i++)
            while (seen[i] != (int)g * 2 - 1)
                sched_yield();
        generation = 0;
        for (int i = 0; i < 4; i++)
            while (seen[i] != (int)g * 2)
                sched_yield();
    }
    generation = UINT32_MAX;
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    munmap(arena, PAGE);
    printf("followers are done\n");
}

/* ---- the same memory twice: written here, executed there ---- */

static void both(const char *what, uint8_t *w, uint8_t *x)
{
    for (uint32_t i = 1; i < 50; i++) {
        uint8_t *at = w + i * 64 % PAGE;
        size_t n = make(at, i * 0x10001);
        /* The cache is physically indexed and tagged: either address will do (CTR_EL0.L1Ip). */
        flush(i % 2 ? at : x + (at - w), n);
        check(what, call(x + (at - w)), i * 0x10001);
        n = make(at, i);
        flush(at, n);
        check(what, call(x + (at - w)), i);
    }
}

static void twice(void)
{
    int fd = memfd_create("code", MFD_CLOEXEC), shm;
    uint8_t *w, *x, *y;

    if (fd < 0 || ftruncate(fd, 4 * PAGE))
        printf("memfd: %s\n", strerror(errno));
    w = map(4 * PAGE, RW, MAP_SHARED, fd);
    x = map(4 * PAGE, RX, MAP_SHARED, fd);
    both("memfd", w, x);
    both("memfd's last page", w + 3 * PAGE, x + 3 * PAGE);

    /* Views with offsets of their own, and one that becomes executable later. */
    y = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 2 * PAGE);
    mprotect(y, 2 * PAGE, RX);
    both("offset", w + 2 * PAGE, y);
    both("three views", w + 3 * PAGE, y + PAGE);
    check("third view", call(x + 3 * PAGE + 64), call(y + PAGE + 64));
    munmap(y, 2 * PAGE);

    /* Moved, and in the place of other code. */
    make(w + PAGE, 0x1111);
    flush(w + PAGE, FUNCTION);
    check("before", call(x + PAGE), 0x1111);
    y = mremap(x + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, x);
    if (y != x)
        printf("mremap: %s\n", strerror(errno));
    check("moved", call(x), 0x1111);
    both("moved", w + PAGE, x);
    munmap(x, 4 * PAGE);
    munmap(w, 4 * PAGE);
    close(fd);

    /* Anonymous shared memory, duplicated. */
    w = map(PAGE, RWX, MAP_SHARED, -1);
    x = mremap(w, 0, PAGE, MREMAP_MAYMOVE);
    if (x == MAP_FAILED)
        printf("mremap: %s\n", strerror(errno));
    else
        both("duplicate", w, x);
    munmap(w, PAGE);
    munmap(x, PAGE);

    shm = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0700);
    w = shmat(shm, NULL, 0);
    x = shmat(shm, NULL, SHM_EXEC);
    shmctl(shm, IPC_RMID, NULL);
    if (w == (void *)-1 || x == (void *)-1)
        printf("shmat: %s\n", strerror(errno));
    else
        both("segment", w, x);
    shmdt(w);
    shmdt(x);
    printf("two views are done\n");
}

/* ---- code that goes away ---- */

static sigjmp_buf back;

static void fault(int sig, siginfo_t *si, void *uc)
{
    (void)uc;
    (void)si;
    siglongjmp(back, sig);
}

/* 0, or the signal that ended the call. */
static int faults(void *at)
{
    int sig = sigsetjmp(back, 1);

    if (!sig)
        call(at);
    return sig;
}

static void changes(void)
{
    struct sigaction sa = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO}, old[2];
    uint8_t *p = map(4 * PAGE, RWX, MAP_PRIVATE, -1), code[FUNCTION];
    struct iovec from = {code, sizeof(code)}, to = {p, sizeof(code)};
    int fd[2], status;
    pid_t pid;

    sigaction(SIGSEGV, &sa, &old[0]);
    sigaction(SIGILL, &sa, &old[1]);
    flush(p, make(p, 1));
    check("first", call(p), 1);

    /* Written by the kernel, and flushed. */
    make(code, 2);
    if (pipe(fd) || write(fd[1], code, sizeof(code)) != sizeof(code) || read(fd[0], p, sizeof(code)) != sizeof(code))
        printf("pipe: %s\n", strerror(errno));
    flush(p, sizeof(code));
    check("read", call(p), 2);
    make(code, 3);
    if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) == sizeof(code)) {
        flush(p, sizeof(code));
        check("process_vm_writev", call(p), 3);
    }

    /* What is dropped reads as zeros, which are no instruction of either machine that returns. */
    flush(p, make(p, 4));
    check("before it is dropped", call(p), 4);
    madvise(p, PAGE, MADV_DONTNEED);
#ifdef __aarch64__
    printf("dropped: %s\n", faults(p) == SIGILL ? "not there" : "still there");
#else
    printf("dropped: %s\n", p[0] == 0 ? "not there" : "still there");
#endif
    flush(p, make(p, 5));
    check("after it was dropped", call(p), 5);

    for (int i = 0; i < 50; i++) {
        mprotect(p, PAGE, i % 2 ? PROT_NONE : RW);
        if (faults(p) != SIGSEGV)
            printf("executed without the right\n");
        mprotect(p, PAGE, RX);
        check("right again", call(p), 5);
    }

    /* Mapped over. */
    if (mmap(p, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p)
        printf("mmap: %s\n", strerror(errno));
    flush(p, make(p, 6));
    check("mapped over", call(p), 6);
    munmap(p, PAGE);
    printf("unmapped: %d\n", faults(p) == SIGSEGV);

    /* An unmap that fails leaves everything. */
    flush(p + PAGE, make(p + PAGE, 7));
    check("before an unmap that fails", call(p + PAGE), 7);
    printf("unmap: %d\n", munmap(p + PAGE + 1, PAGE));
    check("after an unmap that failed", call(p + PAGE), 7);

    /* A child's code is its own. */
    pid = fork();
    if (!pid) {
        flush(p + PAGE, make(p + PAGE, 8));
        _exit(call(p + PAGE) == 8 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    printf("child %x\n", status);
    check("after the child", call(p + PAGE), 7);
    pid = vfork();
    if (!pid)
        _exit(call(p + PAGE) == 7 ? 0 : 1);
    waitpid(pid, &status, 0);
    printf("child %x\n", status);
    munmap(p + PAGE, 3 * PAGE);
    sigaction(SIGSEGV, &old[0], NULL);
    sigaction(SIGILL, &old[1], NULL);
}

/* ---- address space as runtimes take it: far more than there is memory ---- */

static void reservations(void)
{
    static const unsigned bits[] = {32, 36, 40, 43, 45};

    for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        size_t n = 1ul << bits[i];
        uint8_t *p = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            printf("2^%u: %s\n", bits[i], strerror(errno));
            continue;
        }
        /* A little of it at both ends and in the middle is code. */
        for (unsigned k = 0; k < 3; k++) {
            uint8_t *at = p + (n - PAGE) / 2 / PAGE * PAGE * k;
            if (mmap(at, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
                printf("2^%u, piece %u: %s\n", bits[i], k, strerror(errno));
            flush(at, make(at, bits[i] * 3 + k));
            check("reserved", call(at), bits[i] * 3 + k);
        }
        mprotect(p, n, PROT_NONE);
        munmap(p, n);
    }
    printf("reservations are done\n");
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    workers();
    followers();
    twice();
    changes();
    reservations();
    return 0;
}
