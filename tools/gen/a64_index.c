/*
 * Makes the index of the A64 decoder (jit/a64/index.h) from the rows, as C on stdout. Runs while pipit is built.
 *
 * Lists that are equal are stored once, and so are tables of buckets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/a64/decode.h"
#include "jit/a64/index.h"

#define DIVIDE_ABOVE 3 /* rows */
#define POOL_MAX A64_DIVIDED
#define LIST_MAX 256

struct list {
    uint16_t row[LIST_MAX];
    unsigned count;
};

static uint16_t order[A64_ROW_COUNT]; /* rows, most fixed bits first */
static unsigned rows;

static uint16_t pool[POOL_MAX]; /* rows; each list ends with A64_UNALLOCATED */
static unsigned pool_used;
static uint16_t tops[A64_TOP_COUNT];
static uint16_t subs[A64_TOP_COUNT][A64_SUB_COUNT];
static unsigned subs_used;

static void fail(const char *what)
{
    fprintf(stderr, "a64_index: %s\n", what);
    exit(1);
}

static void find_order(void)
{
    for (int fixed = 32; fixed >= 0; fixed--)
        for (unsigned r = 1; r < A64_ROW_COUNT; r++)
            if (__builtin_popcount(a64_rows[r].mask) == fixed)
                order[rows++] = (uint16_t)r;
}

/* The rows that match some word whose bits under `mask` are `value`. */
static void find_list(struct list *l, uint32_t mask, uint32_t value)
{
    l->count = 0;
    for (unsigned k = 0; k < rows; k++) {
        const struct a64_row_info *r = &a64_rows[order[k]];
        if ((r->value ^ value) & r->mask & mask)
            continue;
        if (l->count == LIST_MAX - 1)
            fail("a list is too long");
        l->row[l->count++] = order[k];
        if ((r->mask & ~mask) == 0 && !r->valid)
            break; /* matches them all */
    }
    l->row[l->count] = A64_UNALLOCATED;
}

static uint16_t place_list(const struct list *l)
{
    unsigned n = l->count + 1;

    for (unsigned i = 0; i + n <= pool_used; i++)
        if (!memcmp(&pool[i], l->row, n * sizeof(pool[0])))
            return (uint16_t)i;
    if (pool_used + n > POOL_MAX)
        fail("the lists are too many");
    memcpy(&pool[pool_used], l->row, n * sizeof(pool[0]));
    pool_used += n;
    return (uint16_t)(pool_used - n);
}

static uint16_t place_table(uint32_t top)
{
    const uint32_t mask = (uint32_t)(A64_TOP_COUNT - 1) << A64_TOP_SHIFT | (A64_SUB_COUNT - 1) << A64_SUB_SHIFT;
    uint16_t *table = subs[subs_used];
    struct list l;

    for (uint32_t i = 0; i < A64_SUB_COUNT; i++) {
        find_list(&l, mask, top | i << A64_SUB_SHIFT);
        table[i] = place_list(&l);
    }
    for (unsigned k = 0; k < subs_used; k++)
        if (!memcmp(subs[k], table, sizeof(subs[0])))
            return (uint16_t)(k | A64_DIVIDED);
    return (uint16_t)(subs_used++ | A64_DIVIDED);
}

static void find_tops(void)
{
    struct list l;

    for (uint32_t i = 0; i < A64_TOP_COUNT; i++) {
        find_list(&l, (uint32_t)(A64_TOP_COUNT - 1) << A64_TOP_SHIFT, i << A64_TOP_SHIFT);
        tops[i] = l.count > DIVIDE_ABOVE ? place_table(i << A64_TOP_SHIFT) : place_list(&l);
    }
}

static void print_buckets(const uint16_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        printf("%s%u,", i % 16 ? " " : "\n    ", b[i]);
}

int main(void)
{
    find_order();
    find_tops();
    printf("/* Made by tools/gen/a64_index.c. */\nstatic const uint16_t a64_tops[A64_TOP_COUNT] = {");
    print_buckets(tops, A64_TOP_COUNT);
    printf("};\nstatic const uint16_t a64_subs[][A64_SUB_COUNT] = {");
    for (unsigned k = 0; k < subs_used; k++) {
        printf("{");
        print_buckets(subs[k], A64_SUB_COUNT);
        printf("},\n");
    }
    printf("};\nstatic const struct a64_entry a64_pool[] = {\n");
    for (unsigned i = 0; i < pool_used; i++) {
        const struct a64_row_info *r = &a64_rows[pool[i]];
        printf("    {0x%08x, 0x%08x, %u, %d},\n", r->mask, r->value, pool[i], r->valid != NULL);
    }
    printf("};\n");
    return fflush(stdout) != 0;
}
