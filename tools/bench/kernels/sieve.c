/* Primes by the sieve of Eratosthenes: strided byte stores. */
#include "tools/bench/kernels/kernel.h"

#include <string.h>

#define LIMIT 100000

static uint8_t composite[LIMIT];

uint64_t kernel(unsigned rounds)
{
    uint64_t sum = 0;

    for (unsigned r = 0; r < rounds; r++) {
        memset(composite, 0, sizeof(composite));
        for (unsigned i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            sum += i;
            for (unsigned k = i * 2; k < LIMIT; k += i)
                composite[k] = 1;
        }
    }
    return sum;
}
