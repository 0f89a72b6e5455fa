/* Many threads at once: signals among them, robust and priority-inheriting locks, fork and exec in the middle of it,
 * cancellation, timers, futexes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 100

static pthread_t threads[THREADS];
static _Atomic int stop, ready;

static void start(void *(*fn)(void *), int n)
{
    pthread_attr_t a;

    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 256 << 10);
    ready = stop = 0;
    for (intptr_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], &a, fn, (void *)i))
            printf("thread %d cannot be made\n", (int)i);
    pthread_attr_destroy(&a);
}

static void join(int n)
{
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

/* ---- signals from each thread to all others, on their own stacks ---- */

static _Atomic int signalled[THREADS];
static _Thread_local int number;
static _Atomic uint64_t atomics[16];

static void count(int sig, siginfo_t *si, void *uc)
{
    (void)uc;
    if (si->si_code == SI_QUEUE && si->si_value.sival_int == sig)
        atomic_fetch_add(&signalled[number], 1);
}

static int queue_to(pthread_t t, int sig)
{
    union sigval v = {.sival_int = sig};
    int r;

    while ((r = pthread_sigqueue(t, sig, v)) == EAGAIN)
        sched_yield();
    return r;
}

#define SENDS 20

static void *storm(void *arg)
{
    stack_t ss = {.ss_size = 64 << 10};
    double x = 1.0, y = 0;
    uint64_t sum = 0;

    number = (int)(intptr_t)arg;
    ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    sigaltstack(&ss, NULL);
    atomic_fetch_add(&ready, 1);
    while (ready < THREADS)
        sched_yield();
    for (int i = 0; i < SENDS; i++) {
        int to = (number + i * 7 + 1) % THREADS;
        if (queue_to(threads[to], SIGRTMIN + i % 3))
            printf("cannot send to %d\n", to);
        for (int k = 0; k < 300; k++) {
            atomic_fetch_add(&atomics[k % 16], 1);
            sum += (uint64_t)k * sum + 1;
            x = x * 1.0000001 + 0.5;
            y += x / (k + 1);
        }
    }
    /* All that were sent have arrived, before the thread may end. */
    while (signalled[number] < SENDS)
        sched_yield();
    ss.ss_flags = SS_DISABLE;
    sigaltstack(&ss, NULL);
    munmap(ss.ss_sp, 64 << 10);
    if (y < x || sum == 0)
        printf("wrong sums\n");
    return NULL;
}

static void signals(void)
{
    struct sigaction sa = {.sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    uint64_t sum = 0;
    int got = 0;

    for (int i = 0; i < 3; i++)
        sigaction(SIGRTMIN + i, &sa, NULL);
    start(storm, THREADS);
    join(THREADS);
    for (int i = 0; i < THREADS; i++)
        got += signalled[i];
    for (int i = 0; i < 16; i++)
        sum += atomics[i];
    printf("signals %d, atomics %llu\n", got, (unsigned long long)sum);
}

/* ---- robust and priority-inheriting locks ---- */

static pthread_mutex_t robust, inherit, robust_inherit;
static long guarded[3];
static _Atomic int owner_died;

static void lock_once(pthread_mutex_t *m, long *n, bool die)
{
    int r = pthread_mutex_lock(m);

    if (r == EOWNERDEAD) {
        owner_died++;
        r = pthread_mutex_consistent(m);
    }
    if (r) {
        printf("lock: %s\n", strerror(r));
        return;
    }
    ++*n;
    if (!die)
        pthread_mutex_unlock(m);
}

static void *locker(void *arg)
{
    int i = (int)(intptr_t)arg;

    for (int k = 0; k < 50; k++) {
        lock_once(&robust, &guarded[0], false);
        lock_once(&inherit, &guarded[1], false);
        lock_once(&robust_inherit, &guarded[2], false);
    }
    /* Every tenth ends with a lock in its hands. */
    if (i % 10 == 3)
        lock_once(&robust, &guarded[0], true);
    else if (i % 10 == 6)
        lock_once(&robust_inherit, &guarded[2], true);
    return NULL;
}

static void mutex_init(pthread_mutex_t *m, int protocol, int kind)
{
    pthread_mutexattr_t a;

    pthread_mutexattr_init(&a);
    pthread_mutexattr_setprotocol(&a, protocol);
    pthread_mutexattr_setrobust(&a, kind);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(m, &a);
    pthread_mutexattr_destroy(&a);
}

static void locks(void)
{
    pthread_mutex_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r, status;

    mutex_init(&robust, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST);
    mutex_init(&inherit, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
    mutex_init(&robust_inherit, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST);
    start(locker, THREADS);
    join(THREADS);
    lock_once(&robust, &guarded[0], false);
    lock_once(&robust_inherit, &guarded[2], false);
    printf("locks %ld %ld %ld, owners died %d\n", guarded[0], guarded[1], guarded[2], owner_died);

    /* The same when a process is killed. */
    for (int protocol = 0; protocol < 2; protocol++) {
        mutex_init(shared, protocol ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST);
        pid_t pid = fork();
        if (!pid) {
            pthread_mutex_lock(shared);
            raise(SIGKILL);
        }
        waitpid(pid, &status, 0);
        r = pthread_mutex_lock(shared);
        printf("lock of a killed process: %s\n", r == EOWNERDEAD ? "EOWNERDEAD" : strerror(r));
        pthread_mutex_consistent(shared);
        pthread_mutex_unlock(shared);
    }
    munmap(shared, 4096);
}

/* ---- fork and exec while threads allocate, map, lock and are signalled ---- */

static void *load(void *arg)
{
    unsigned seed = (unsigned)(intptr_t)arg + 1;

    while (!stop) {
        size_t n = 100 + rand_r(&seed) % 5000;
        char *p = malloc(n), *m;
        memset(p, 1, n);
        free(p);
        m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        m[seed % 8192] = 1;
        munmap(m, 8192);
        if (seed % 7 == 0)
            sched_yield();
    }
    return NULL;
}

static void *child_thread(void *arg)
{
    return malloc((size_t)(intptr_t)arg);
}

static void forks(char **argv)
{
    int sum = 0, status;

    start(load, 12);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        if (!pid) {
            pthread_t t;
            void *p;
            /* Each half of the children goes on with threads, or with another program. */
            if (i % 2) {
                execl("/proc/self/exe", argv[0], "child", NULL);
                _exit(99);
            }
            pthread_create(&t, NULL, child_thread, (void *)(intptr_t)(i + 10));
            pthread_join(t, &p);
            _exit(p ? 1 : 0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            printf("fork: %s\n", strerror(errno));
        else if (WIFEXITED(status))
            sum += WEXITSTATUS(status);
        else
            printf("child %d: status %x\n", i, status);
    }
    /* A process with threads is replaced as a whole, by any of them. */
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (!pid) {
            execl("/proc/self/exe", argv[0], "exec", NULL);
            _exit(98);
        }
        waitpid(pid, &status, 0);
        sum += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    }
    stop = 1;
    join(12);
    printf("forks %d\n", sum);
}

static void *exec_other(void *arg)
{
    pause_ms(20);
    execl("/proc/self/exe", arg, "child", NULL);
    _exit(97);
}

static _Noreturn void exec_under_load(char **argv)
{
    pthread_t t;

    start(load, 12);
    pthread_create(&t, NULL, exec_other, argv[0]);
    for (;;)
        pause();
}

/* ---- cancellation ---- */

static _Atomic int cleaned;
static sem_t never;

static void clean(void *arg)
{
    (void)arg;
    atomic_fetch_add(&cleaned, 1);
}

static void *cancelled(void *arg)
{
    int i = (int)(intptr_t)arg, fd[2];
    volatile uint64_t n = 0;
    char c;

    pthread_cleanup_push(clean, NULL);
    if (i % 4 == 0)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    atomic_fetch_add(&ready, 1);
    switch (i % 4) {
    case 0:
        for (;;)
            n++;
    case 1:
        for (;;)
            sem_wait(&never);
    case 2:
        if (!pipe(fd))
            while (read(fd[0], &c, 1) >= 0)
                ;
        break;
    default:
        for (;;) {
            n++;
            pthread_testcancel();
        }
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancellation(void)
{
    int gone = 0;
    void *r;

    sem_init(&never, 0, 0);
    start(cancelled, THREADS);
    while (ready < THREADS)
        sched_yield();
    for (int i = 0; i < THREADS; i++)
        pthread_cancel(threads[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &r);
        gone += r == PTHREAD_CANCELED;
    }
    printf("cancelled %d, cleaned %d\n", gone, cleaned);
}

/* ---- timers: of the process, of a thread, and by threads ---- */

static _Atomic int ticks[3];

static void tick(int sig, siginfo_t *si, void *uc)
{
    (void)sig;
    (void)uc;
    atomic_fetch_add(&ticks[si->si_value.sival_int], 1);
}

static void tick_thread(union sigval v)
{
    atomic_fetch_add(&ticks[v.sival_int], 1);
}

static void timers(void)
{
    struct sigaction sa = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerspec its = {{0, 1000000}, {0, 1000000}};
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
    timer_t t[3];
    uint64_t n = 0;

    sigaction(SIGRTMIN + 4, &sa, NULL);
    timer_create(CLOCK_MONOTONIC, &ev, &t[0]);
    ev.sigev_notify = SIGEV_THREAD_ID;
    ev.sigev_value.sival_int = 1;
    ev._sigev_un._tid = gettid();
    timer_create(CLOCK_REALTIME, &ev, &t[1]);
    memset(&ev, 0, sizeof(ev));
    ev.sigev_notify = SIGEV_THREAD;
    ev.sigev_notify_function = tick_thread;
    ev.sigev_value.sival_int = 2;
    timer_create(CLOCK_MONOTONIC, &ev, &t[2]);
    for (int i = 0; i < 3; i++)
        timer_settime(t[i], 0, &its, NULL);
    while (ticks[0] < 20 || ticks[1] < 20 || ticks[2] < 20)
        n += n * 3 + 1;
    for (int i = 0; i < 3; i++)
        timer_delete(t[i]);
    printf("timers tick\n");
}

/* ---- futexes: a token that goes round, and a wait that is requeued ---- */

static _Atomic uint32_t token, gate, gate2;

static long futex(_Atomic uint32_t *word, int op, uint32_t value, uintptr_t value2, void *word2)
{
    return syscall(SYS_futex, word, op, value, value2, word2, 0);
}

static void *ring(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg, t;

    for (uint32_t round = 0; round < 20; round++) {
        while ((t = token) != round * 20 + me)
            futex(&token, FUTEX_WAIT_PRIVATE, t, 0, NULL);
        token = t + 1;
        futex(&token, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, NULL);
    }
    atomic_fetch_add(&ready, 1);
    while (!gate)
        futex(&gate, FUTEX_WAIT_PRIVATE, 0, 0, NULL);
    return NULL;
}

static void futexes(void)
{
    long moved;

    start(ring, 20);
    while (ready < 20)
        pause_ms(1);
    pause_ms(20);
    moved = futex(&gate, FUTEX_CMP_REQUEUE_PRIVATE, 1, 100, &gate2);
    if (moved < 0)
        printf("requeue: %s\n", strerror(errno));
    gate = 1;
    while (futex(&gate2, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, NULL) > 0 ||
           futex(&gate, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, NULL) > 0)
        ;
    join(20);
    printf("token %u\n", token);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && !strcmp(argv[1], "child"))
        return 2;
    if (argc > 1 && !strcmp(argv[1], "exec"))
        exec_under_load(argv);
    signals();
    locks();
    forks(argv);
    cancellation();
    timers();
    futexes();
    return 0;
}
