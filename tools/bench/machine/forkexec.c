/* forkexec COUNT PROGRAM: what fork, exec and wait of a program take; prints the nanoseconds of one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int one(char *program)
{
    char *argv[] = {program, NULL};
    int status;
    pid_t child = fork();

    if (child == 0) {
        execv(program, argv);
        _exit(127);
    }
    return child < 0 || waitpid(child, &status, 0) != child || status;
}

int main(int argc, char **argv)
{
    int count = argc == 3 ? atoi(argv[1]) : 0;
    uint64_t start;

    if (count < 1 || one(argv[2])) {
        fprintf(stderr, "usage: forkexec COUNT PROGRAM\n");
        return 2;
    }
    start = now();
    for (int i = 0; i < count; i++)
        if (one(argv[2]))
            return 1;
    printf("%llu\n", (unsigned long long)((now() - start) / (uint64_t)count));
    return 0;
}
