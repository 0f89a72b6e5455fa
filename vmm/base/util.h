/*
 * Small helpers that every folder may use: bit fields, alignment, little-endian access.
 * No state, no allocation.
 */
#ifndef PIPIT_BASE_UTIL_H
#define PIPIT_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT64(n) (UINT64_C(1) << (n))
#define BIT32(n) (UINT32_C(1) << (n))
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* MIN and MAX evaluate their arguments once. */
#define MIN(a, b)                                                                                                      \
    ({                                                                                                                 \
        __typeof__(a) _min_a = (a);                                                                                    \
        __typeof__(b) _min_b = (b);                                                                                    \
        _min_a < _min_b ? _min_a : _min_b;                                                                             \
    })
#define MAX(a, b)                                                                                                      \
    ({                                                                                                                 \
        __typeof__(a) _max_a = (a);                                                                                    \
        __typeof__(b) _max_b = (b);                                                                                    \
        _max_a > _max_b ? _max_a : _max_b;                                                                             \
    })

/* Bits hi..lo of x, right aligned; 0 <= lo <= hi <= 63. */
static inline uint64_t bits64(uint64_t x, unsigned hi, unsigned lo)
{
    return (x >> lo) & (UINT64_MAX >> (63 - (hi - lo)));
}

static inline uint32_t bits32(uint32_t x, unsigned hi, unsigned lo)
{
    return (x >> lo) & (UINT32_MAX >> (31 - (hi - lo)));
}

/* Sign-extends the low `width` bits of x; 1 <= width <= 64. */
static inline int64_t sext64(uint64_t x, unsigned width)
{
    return (int64_t)(x << (64 - width)) >> (64 - width);
}

static inline bool is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* `a` is a power of two; align_up wraps to 0 at the top, callers check. */
static inline uint64_t align_down(uint64_t x, uint64_t a)
{
    return x & ~(a - 1);
}

static inline uint64_t align_up(uint64_t x, uint64_t a)
{
    return (x + a - 1) & ~(a - 1);
}

/* Is [off, off+len) inside [0, size)? Compared by subtraction, so nothing wraps. */
static inline bool range_within(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* Unaligned little-endian access; both supported hosts are little-endian. */
static inline uint16_t le16_get(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t le32_get(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t le64_get(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void le16_put(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void le32_put(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void le64_put(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

#endif
