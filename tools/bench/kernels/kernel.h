/* What each kernel is: work of a fixed amount for each round, and a value that depends on all of it. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

#include <stddef.h>
#include <stdint.h>

uint64_t kernel(unsigned rounds);

/* A generator that is the same everywhere (Marsaglia, xorshift64). */
static inline uint64_t kernel_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#endif
