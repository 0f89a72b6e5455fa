/* A signal that comes while the handler of another returns is not lost: pairs of them, at all distances. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define SECONDS 2
#define PATIENCE 20 /* seconds */

static pthread_t to;
static _Atomic int got, done;

static void count(int sig)
{
    (void)sig;
    got++;
}

/* Have so many come? */
static bool arrive(int n)
{
    time_t end = time(NULL) + PATIENCE;

    while (got < n) {
        if (time(NULL) > end)
            return false;
        sched_yield();
    }
    return true;
}

static void *sender(void *arg)
{
    time_t end = time(NULL) + SECONDS;
    unsigned seed = 1;
    int n = 0;

    (void)arg;
    do {
        pthread_kill(to, SIGUSR1);
        seed = seed * 1103515245 + 12345;
        for (unsigned k = seed >> 16 & 0x3ff; k; k--)
            __asm__ volatile("");
        pthread_kill(to, SIGUSR2);
        n += 2;
    } while (arrive(n) && time(NULL) < end);
    if (got == n)
        printf("all have come\n");
    else
        printf("%d of %d\n", got, n);
    done = 1;
    return NULL;
}

int main(void)
{
    struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
    pthread_t t;

    to = pthread_self();
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGUSR2, &sa, NULL);
    pthread_create(&t, NULL, sender, NULL);
    while (!done)
        ;
    pthread_join(t, NULL);
    return 0;
}
