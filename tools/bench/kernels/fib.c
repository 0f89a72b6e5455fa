/* Calls and returns. */
#include "tools/bench/kernels/kernel.h"

static uint64_t __attribute__((noinline)) fib(uint64_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

uint64_t kernel(unsigned rounds)
{
    uint64_t sum = 0;

    for (unsigned r = 0; r < rounds; r++)
        sum += fib(22 + r % 2);
    return sum;
}
