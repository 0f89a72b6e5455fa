/* The C library's memcpy, of short and long pieces. */
#include "tools/bench/kernels/kernel.h"

#include <string.h>

#define SIZE 32768

static uint8_t from[SIZE * 2], to[SIZE * 2];

uint64_t kernel(unsigned rounds)
{
    uint64_t state = 1, sum = 0;

    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)kernel_random(&state);
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned i = 0; i < 256; i++) {
            uint64_t x = kernel_random(&state);
            memcpy(to + x % SIZE, from + (x >> 16) % SIZE, (x >> 32) % (i % 16 ? 64 : SIZE));
        }
        sum = sum * 3 + to[r % SIZE];
    }
    return sum;
}
