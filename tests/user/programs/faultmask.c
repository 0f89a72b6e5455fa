/* While the handler of a fault runs, the signals of its mask stay away, also one that came just before; none is lost.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#define SECONDS 2
#define PATIENCE 20 /* seconds */
#define PAGE 65536

#define TEN(x) x x x x x x x x x x

static volatile int *page, steps;
static pthread_t to;
static volatile sig_atomic_t in_fault, within;
static _Atomic int got, done;

static void fault(int sig)
{
    (void)sig;
    in_fault = 1;
    mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE);
    for (volatile int k = 0; k < 100; k++)
        ;
    in_fault = 0;
}

static void count(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;

    (void)info;
    /* What it interrupted may not have begun yet: its mask tells. */
    if (in_fault || sigismember(&uc->uc_sigmask, sig))
        within = 1;
    got++;
}

static void *sender(void *arg)
{
    time_t end = time(NULL) + SECONDS, late = end + PATIENCE;
    unsigned seed = 1;
    int n = 0;

    (void)arg;
    do {
        seed = seed * 1103515245 + 12345;
        for (unsigned k = seed >> 16 & 0x3ff; k; k--)
            __asm__ volatile("");
        pthread_kill(to, SIGUSR1);
        n++;
        while (got < n && time(NULL) < late)
            sched_yield();
    } while (time(NULL) < end);
    printf(got == n ? "all have come\n" : "some did not come\n");
    done = 1;
    return NULL;
}

int main(void)
{
    struct sigaction sa = {.sa_handler = fault}, sb = {.sa_sigaction = count, .sa_flags = SA_RESTART | SA_SIGINFO};
    pthread_t t;

    page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    to = pthread_self();
    sigfillset(&sa.sa_mask);
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGUSR1, &sb, NULL);
    pthread_create(&t, NULL, sender, NULL);
    while (!done) {
        mprotect((void *)page, PAGE, PROT_NONE);
        /* Much code without a branch before the fault: what comes there may be noticed only at the fault. */
        TEN(TEN(TEN(steps++;)))
        *page = 1;
    }
    pthread_join(t, NULL);
    printf(within ? "a masked signal came within the handler\n" : "none within the handler\n");
    return 0;
}
