/* The shape of the decoder's index, for the decoder and for the program that makes it (tools/gen/a64_index.c). */
#ifndef PIPIT_JIT_A64_INDEX_H
#define PIPIT_JIT_A64_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#define A64_TOP_SHIFT 21 /* bits 31..21 */
#define A64_TOP_COUNT 2048
#define A64_SUB_SHIFT 10 /* bits 15..10 */
#define A64_SUB_COUNT 64

/* A bucket is the number of a list's first element, or the number of a table of A64_SUB_COUNT buckets with this bit. */
#define A64_DIVIDED 0x8000u

/* One element of a list. The last one of each list matches every word: A64_UNALLOCATED. */
struct a64_entry {
    uint32_t mask, value;
    uint16_t row;
    bool checked; /* the row has a predicate */
};

#endif
