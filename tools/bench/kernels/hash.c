/* A hash table with open addressing: multiplications, unpredictable loads. */
#include "tools/bench/kernels/kernel.h"

#include <string.h>

#define BITS 14

static uint64_t table[1 << BITS];

static size_t slot(uint64_t key)
{
    return key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BITS);
}

uint64_t kernel(unsigned rounds)
{
    uint64_t found = 0;

    for (unsigned r = 0; r < rounds; r++) {
        uint64_t state = r + 1;

        memset(table, 0, sizeof(table));
        for (unsigned i = 0; i < 1 << (BITS - 1); i++) {
            uint64_t key = kernel_random(&state);
            size_t at = slot(key);
            while (table[at] && table[at] != key)
                at = (at + 1) & ((1 << BITS) - 1);
            table[at] = key;
        }
        state = r + 1;
        for (unsigned i = 0; i < 1 << (BITS - 1); i++) {
            uint64_t key = kernel_random(&state) ^ (i & 1);
            size_t at = slot(key);
            while (table[at] && table[at] != key)
                at = (at + 1) & ((1 << BITS) - 1);
            found += table[at] == key;
        }
    }
    return found;
}
