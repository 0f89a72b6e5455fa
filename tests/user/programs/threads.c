/* Threads and processes: creation, joining, locks, thread-local data, cancellation, fork among threads, vfork, spawn.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 100
#define ROUNDS 200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_long atomic_sum;
static long locked_sum;
static _Thread_local int mine = 7;

static void *adder(void *arg)
{
    long n = (long)(intptr_t)arg;

    mine += (int)n;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&atomic_sum, n);
        pthread_mutex_lock(&lock);
        locked_sum += n;
        pthread_mutex_unlock(&lock);
    }
    return (void *)(intptr_t)mine;
}

static void many(void)
{
    pthread_t t[THREADS];
    void *r;
    long results = 0;

    for (long i = 0; i < THREADS; i++) {
        if (pthread_create(&t[i], NULL, adder, (void *)(intptr_t)i))
            printf("thread %ld cannot be made\n", i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], &r);
        results += (long)(intptr_t)r;
    }
    printf("sums %ld %ld, results %ld, mine %d\n", atomic_load(&atomic_sum), locked_sum, results, mine);
}

static sem_t started;
static void *sleeper(void *arg)
{
    (void)arg;
    sem_post(&started);
    for (;;)
        pause();
    return NULL;
}

static void cancelling(void)
{
    pthread_t t;
    void *r;

    sem_init(&started, 0, 0);
    pthread_create(&t, NULL, sleeper, NULL);
    sem_wait(&started);
    pthread_cancel(t);
    pthread_join(t, &r);
    printf("cancelled %d\n", r == PTHREAD_CANCELED);
}

static pthread_mutex_t robust;
static void *die_with_lock(void *arg)
{
    pthread_mutex_lock(&robust);
    return arg;
}

static void robust_lock(void)
{
    pthread_mutexattr_t a;
    pthread_t t;

    pthread_mutexattr_init(&a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &a);
    pthread_create(&t, NULL, die_with_lock, NULL);
    pthread_join(t, NULL);
    int r = pthread_mutex_lock(&robust);
    printf("owner died %d, consistent %d\n", r == EOWNERDEAD, pthread_mutex_consistent(&robust));
}

static atomic_int seen;
static void on_signal(int sig)
{
    (void)sig;
    atomic_fetch_add(&seen, 1);
}

static atomic_int stop;
static void *spinner(void *arg)
{
    while (!atomic_load(&stop))
        sched_yield();
    return arg;
}

/* Each thread gets what is sent to it; a fork among running threads makes a process with one. */
static void signals_and_fork(void)
{
    pthread_t t[8];
    int status, good = 0;

    signal(SIGUSR1, on_signal);
    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, spinner, NULL);
    for (int i = 0; i < 8; i++)
        pthread_kill(t[i], SIGUSR1);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (!pid) {
            pthread_t one;
            void *r = NULL;
            /* The child is a whole process: it can make threads again. */
            atomic_store(&stop, 1);
            pthread_create(&one, NULL, spinner, (void *)1);
            pthread_join(one, &r);
            _exit(r == (void *)1 ? 40 + i : 1);
        }
        waitpid(pid, &status, 0);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 40 + i;
    }
    while (atomic_load(&seen) < 8)
        sched_yield();
    atomic_store(&stop, 1);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    printf("signals %d, forks %d\n", atomic_load(&seen), good);
}

static void spawning(const char *self)
{
    char *const args[] = {(char *)self, "child", "with words", NULL};
    char *const none[] = {"x", NULL};
    pid_t pid;
    int status, r;
    extern char **environ;

    r = posix_spawn(&pid, "/nowhere/at/all", NULL, NULL, none, environ);
    printf("spawn of nothing %d\n", r == ENOENT);
    r = posix_spawn(&pid, self, NULL, NULL, args, environ);
    waitpid(pid, &status, 0);
    printf("spawn %d\n", r);
    printf("spawned %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    r = posix_spawnp(&pid, "true", NULL, NULL, none, environ);
    waitpid(pid, &status, 0);
    printf("spawn of a host's program %d %d\n", r, WIFEXITED(status) ? WEXITSTATUS(status) : -1);

    volatile int shared = 1;
    pid = vfork();
    if (!pid) {
        shared = 2;
        _exit(9);
    }
    waitpid(pid, &status, 0);
    printf("vfork %d shared %d\n", WEXITSTATUS(status), shared);
}

static void *leave_all(void *arg)
{
    (void)arg;
    usleep(10000);
    printf("exit from a thread\n");
    exit(23);
}

static void *thread_exits(void *arg)
{
    (void)arg;
    usleep(20000);
    _exit(31);
}

static void endings(void)
{
    pthread_t t;
    int status;
    pid_t pid = fork();

    if (!pid) {
        pthread_create(&t, NULL, thread_exits, NULL);
        pthread_exit(NULL); /* the process lives on without its first thread */
    }
    waitpid(pid, &status, 0);
    printf("first thread gone: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    pthread_create(&t, NULL, leave_all, NULL);
    pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1 && !strcmp(argv[1], "child")) {
        printf("child %d \"%s\"\n", argc, argv[2]);
        return 17;
    }
    many();
    cancelling();
    robust_lock();
    signals_and_fork();
    spawning(argv[0]);
    endings();
    return 1;
}
