/*
 * Memory of our own.
 *
 * The guest's addresses are the host's, so each page that the emulator holds is one that the guest must not get, see or
 * unmap: sys_map() keeps them in a sorted list of ranges. The heap on top is a free list for each power of two, in
 * pieces of CHUNK bytes that are never given back; larger requests are mappings of their own. A header of 16 bytes
 * before each block holds its size.
 */
#include <linux/mman.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"

/* ---- ranges ---- */

struct range {
    uint64_t start, end;
};

/* Set by the linker: the image as it is mapped. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* The list lives in a reserved table, because it cannot ask the heap that it serves. Mappings are few: the image,
 * chunks, slabs of threads, code memory. */
#define MAX_RANGES 4096
static struct {
    uint64_t count;
    struct range range[MAX_RANGES];
} owned;
static struct sys_lock ranges_lock;

/* Index of the first range that ends above addr. */
static size_t find(uint64_t addr)
{
    size_t lo = 0, hi = owned.count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (owned.range[mid].end <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool range_add(uint64_t start, uint64_t end)
{
    size_t i = find(start);
    bool before = i > 0 && owned.range[i - 1].end == start, after = i < owned.count && owned.range[i].start == end;

    if (before && after) {
        owned.range[i - 1].end = owned.range[i].end;
        memmove(&owned.range[i], &owned.range[i + 1], (--owned.count - i) * sizeof(owned.range[0]));
    } else if (before) {
        owned.range[i - 1].end = end;
    } else if (after) {
        owned.range[i].start = start;
    } else {
        if (owned.count == MAX_RANGES)
            return false;
        memmove(&owned.range[i + 1], &owned.range[i], (owned.count++ - i) * sizeof(owned.range[0]));
        owned.range[i] = (struct range){start, end};
    }
    return true;
}

/* [start, end) lies within one range. */
static bool range_remove(uint64_t start, uint64_t end)
{
    size_t i = find(start);
    struct range old = owned.range[i];

    if (old.start < start && old.end > end) {
        if (owned.count == MAX_RANGES)
            return false;
        memmove(&owned.range[i + 1], &owned.range[i], (owned.count++ - i) * sizeof(owned.range[0]));
        owned.range[i].end = start;
        owned.range[i + 1].start = end;
    } else if (old.start < start) {
        owned.range[i].end = start;
    } else if (old.end > end) {
        owned.range[i].start = end;
    } else {
        memmove(&owned.range[i], &owned.range[i + 1], (--owned.count - i) * sizeof(owned.range[0]));
    }
    return true;
}

bool sys_owned_next(uint64_t addr, uint64_t *start, uint64_t *end)
{
    sys_lock(&ranges_lock);
    size_t i = find(addr);
    bool found = i < owned.count;
    if (found) {
        *start = owned.range[i].start;
        *end = owned.range[i].end;
    }
    sys_unlock(&ranges_lock);
    return found;
}

_Static_assert(sizeof(owned) == SYS_OWNED_TABLE, "sys.h");

const void *sys_owned_table(void)
{
    return &owned;
}

bool sys_owns(uint64_t addr, uint64_t len)
{
    uint64_t start, end;

    return len && sys_owned_next(addr, &start, &end) && (start <= addr || start - addr < len);
}

void sys_memory_init(void)
{
    range_add(align_down((uint64_t)(uintptr_t)__ehdr_start, SYS_PAGE), align_up((uint64_t)(uintptr_t)_end, SYS_PAGE));
}

/* ---- pages ---- */

void *sys_map(size_t size, size_t align, int prot)
{
    size_t slack = align > SYS_PAGE ? align - SYS_PAGE : 0;
    long p = sys_call(__NR_mmap, 0, size + slack, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t start, at;
    bool ok;

    if (sys_is_err(p))
        return NULL;
    start = (uint64_t)p;
    at = align_up(start, align);
    if (at != start)
        sys_call(__NR_munmap, start, at - start);
    if (at + size != start + size + slack)
        sys_call(__NR_munmap, at + size, start + slack - at);
    sys_lock(&ranges_lock);
    ok = range_add(at, at + size);
    sys_unlock(&ranges_lock);
    if (!ok) {
        sys_call(__NR_munmap, at, size);
        return NULL;
    }
    return (void *)(uintptr_t)at;
}

void sys_unmap(void *p, size_t size)
{
    uint64_t at = (uint64_t)(uintptr_t)p;
    bool ok;

    if (!p)
        return;
    /* Unmapped under the lock: nobody may be given these pages while they still count as ours, or the reverse. */
    sys_lock(&ranges_lock);
    ok = range_remove(at, at + size);
    if (ok)
        sys_call(__NR_munmap, at, size);
    sys_unlock(&ranges_lock);
}

/* ---- the heap ---- */

#define CHUNK MIB(1)
#define MIN_SHIFT 5  /* blocks of 32 bytes, header included */
#define MAX_SHIFT 16 /* above: a mapping */

struct block {
    uint64_t size; /* of the block, header included */
    struct block *next;
};
#define HEADER 16

static struct block *free_list[MAX_SHIFT + 1];
static uint8_t *fresh, *fresh_end;
static struct sys_lock heap_lock;

static unsigned shift_of(size_t size)
{
    unsigned s = MIN_SHIFT;

    while ((UINT64_C(1) << s) < size)
        s++;
    return s;
}

static struct block *take(unsigned shift)
{
    size_t size = UINT64_C(1) << shift;
    struct block *b = free_list[shift];

    if (b) {
        free_list[shift] = b->next;
        return b;
    }
    if ((size_t)(fresh_end - fresh) < size) {
        /* What is left of the old chunk serves smaller requests. */
        for (unsigned s = MAX_SHIFT; s >= MIN_SHIFT; s--) {
            while ((size_t)(fresh_end - fresh) >= UINT64_C(1) << s) {
                b = (struct block *)fresh;
                b->next = free_list[s];
                free_list[s] = b;
                fresh += UINT64_C(1) << s;
            }
        }
        fresh = sys_map(CHUNK, SYS_PAGE, PROT_READ | PROT_WRITE);
        fresh_end = fresh ? fresh + CHUNK : NULL;
        if (!fresh)
            return NULL;
    }
    b = (struct block *)fresh;
    fresh += size;
    return b;
}

void *sys_alloc(size_t size)
{
    struct block *b;

    if (size > SIZE_MAX / 2)
        return NULL;
    size += HEADER;
    if (size > UINT64_C(1) << MAX_SHIFT) {
        size = align_up(size, SYS_PAGE);
        b = sys_map(size, SYS_PAGE, PROT_READ | PROT_WRITE);
        if (!b)
            return NULL;
    } else {
        unsigned shift = shift_of(size);
        size = UINT64_C(1) << shift;
        sys_lock(&heap_lock);
        b = take(shift);
        sys_unlock(&heap_lock);
        if (!b)
            return NULL;
        memset(b, 0, size);
    }
    b->size = size;
    return (uint8_t *)b + HEADER;
}

void sys_free(void *p)
{
    struct block *b;

    if (!p)
        return;
    b = (struct block *)((uint8_t *)p - HEADER);
    if (b->size > UINT64_C(1) << MAX_SHIFT) {
        sys_unmap(b, b->size);
        return;
    }
    unsigned shift = shift_of(b->size);
    sys_lock(&heap_lock);
    b->next = free_list[shift];
    free_list[shift] = b;
    sys_unlock(&heap_lock);
}

bool sys_grow(void **array, size_t *room, size_t want, size_t size)
{
    size_t n = *room ? *room : 8;
    void *p;

    if (want <= *room)
        return true;
    while (n < want)
        n *= 2;
    p = sys_alloc(n * size);
    if (!p)
        return false;
    if (*array)
        memcpy(p, *array, *room * size);
    sys_free(*array);
    *array = p;
    *room = n;
    return true;
}

void sys_memory_lock(void)
{
    sys_lock(&heap_lock);
    sys_lock(&ranges_lock);
}

void sys_memory_unlock(void)
{
    sys_unlock(&ranges_lock);
    sys_unlock(&heap_lock);
}
