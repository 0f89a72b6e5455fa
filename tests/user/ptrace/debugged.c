/* What tests/user/ptrace.sh looks at with gdb: a loop, a watched variable, a signal, threads, and a long wait. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile int counter, handled;

static int work(int n)
{
    counter += n;
    return counter * 2;
}

static void on_usr1(int sig)
{
    handled = sig;
}

static void *thread(void *p)
{
    work(10);
    sleep(1);
    return p;
}

int main(int argc, char **argv)
{
    pthread_t t;
    double d = 1.5;

    if (argc > 1 && !strcmp(argv[1], "wait")) {
        printf("ready\n");
        fflush(stdout);
        return getchar() == EOF ? 1 : 0;
    }
    for (int i = 1; i <= 200; i++)
        work(0);
    for (int i = 1; i <= 3; i++)
        work(i);
    signal(SIGUSR1, on_usr1);
    raise(SIGUSR1);
    pthread_create(&t, NULL, thread, NULL);
    pthread_join(t, NULL);
    printf("counter %d handled %d %g\n", counter, handled, d);
    return 7;
}
