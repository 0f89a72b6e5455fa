/* Runs the kernel that it is linked with: main ROUNDS. Prints the kernel's value and the CPU time in ns. */
#include "tools/bench/kernels/kernel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    uint64_t begin, value;

    if (argc != 2)
        return 2;
    begin = now();
    value = kernel((unsigned)strtoul(argv[1], NULL, 10));
    printf("%016" PRIx64 " %" PRIu64 "\n", value, now() - begin);
    return 0;
}
