/*
 * The few functions of the C library that the compiler calls by itself and that the shared rooms use (jit, vmm/base,
 * arch/arm64's tables). Prototypes are those of the standard headers.
 *
 * Built with -fno-builtin, or a loop here would become a call of the function that it is.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

/* What is copied, cleared and compared here is mostly a few words: REP takes longer than that to begin. */
typedef uint64_t piece __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t word __attribute__((aligned(1), may_alias));
#define REP_FROM 512

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;

    if (n >= REP_FROM) {
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
        return dst;
    }
    for (; n >= 16; n -= 16, d += 16, s += 16)
        *(piece *)d = *(const piece *)s;
    if (n >= 8) {
        *(word *)d = *(const word *)s;
        n -= 8, d += 8, s += 8;
    }
    while (n--)
        *d++ = *s++;
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;

    if ((size_t)(d - s) >= n)
        return memcpy(dst, src, n);
    while (n--)
        d[n] = s[n];
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    unsigned char *d = dst;
    uint64_t all = (uint8_t)c * UINT64_C(0x0101010101010101);

    if (n >= REP_FROM) {
        __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
        return dst;
    }
    for (; n >= 16; n -= 16, d += 16)
        *(piece *)d = (piece){all, all};
    if (n >= 8) {
        *(word *)d = all;
        n -= 8, d += 8;
    }
    while (n--)
        *d++ = (unsigned char)c;
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *p = a, *q = b;

    for (; n >= 8 && *(const word *)p == *(const word *)q; n -= 8)
        p += 8, q += 8;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != q[i])
            return p[i] - q[i];
    }
    return 0;
}

void *memchr(const void *s, int c, size_t n)
{
    const unsigned char *p = s;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == (unsigned char)c)
            return (void *)(uintptr_t)(p + i);
    }
    return NULL;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n])
        n++;
    return n;
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;

    while (n < max && s[n])
        n++;
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char p = (unsigned char)a[i], q = (unsigned char)b[i];
        if (p != q || !p)
            return p - q;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strcpy(char *restrict dst, const char *restrict src)
{
    return memcpy(dst, src, strlen(src) + 1);
}

/* Compilers make one call of this out of strcpy and strlen of the same string. */
char *stpcpy(char *restrict dst, const char *restrict src)
{
    size_t len = strlen(src);

    return (char *)memcpy(dst, src, len + 1) + len;
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (!*s)
            return NULL;
    }
}

size_t strcspn(const char *s, const char *reject)
{
    size_t n = 0;

    while (s[n] && !strchr(reject, s[n]))
        n++;
    return n;
}

char *strrchr(const char *s, int c)
{
    const char *found = NULL;

    for (;; s++) {
        if (*s == (char)c)
            found = s;
        if (!*s)
            return (char *)(uintptr_t)found;
    }
}

static void swap_bytes(char *a, char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

/* Heap sort: in place, and no worse on input that somebody chose. */
void qsort(void *base, size_t count, size_t size, int (*cmp)(const void *, const void *))
{
    char *a = base;

    for (size_t start = count / 2, end = count; end > 1;) {
        if (start > 0)
            start--;
        else
            swap_bytes(a, a + --end * size, size);
        for (size_t root = start, child; (child = 2 * root + 1) < end; root = child) {
            if (child + 1 < end && cmp(a + child * size, a + (child + 1) * size) < 0)
                child++;
            if (cmp(a + root * size, a + child * size) >= 0)
                break;
            swap_bytes(a + root * size, a + child * size, size);
        }
    }
}

FILE *stderr;

/* Only ever to stderr: the self-check of the decode table. */
int fprintf(FILE *to, const char *fmt, ...)
{
    va_list ap;

    (void)to;
    va_start(ap, fmt);
    sys_vprint(2, fmt, ap);
    va_end(ap);
    return 0;
}

void abort(void)
{
    /* UD2 is caught by nobody: the emulator's own faults end it (vmm/user/signal). */
    __builtin_trap();
}
