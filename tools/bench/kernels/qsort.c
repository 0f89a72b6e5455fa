/* Quicksort with its comparison through a function pointer. */
#include "tools/bench/kernels/kernel.h"

#define COUNT 8192

static uint32_t item[COUNT];

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int descending(const void *a, const void *b)
{
    return ascending(b, a);
}

static void sort(uint32_t *v, long n, int (*compare)(const void *, const void *))
{
    while (n > 1) {
        uint32_t pivot = v[n / 2];
        long lo = 0, hi = n - 1;

        while (lo <= hi) {
            while (compare(&v[lo], &pivot) < 0)
                lo++;
            while (compare(&v[hi], &pivot) > 0)
                hi--;
            if (lo <= hi) {
                uint32_t other = v[lo];
                v[lo++] = v[hi];
                v[hi--] = other;
            }
        }
        sort(v, hi + 1, compare);
        v += lo;
        n -= lo;
    }
}

uint64_t kernel(unsigned rounds)
{
    uint64_t state = 1, sum = 0;

    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned i = 0; i < COUNT; i++)
            item[i] = (uint32_t)kernel_random(&state);
        sort(item, COUNT, r & 1 ? ascending : descending);
        for (unsigned i = 0; i < COUNT; i++)
            sum = sum * 31 + item[i];
    }
    return sum;
}
