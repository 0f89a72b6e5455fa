/*
 * The unit tests' harness: a test program defines functions, runs each with RUN, and returns check_done(), which
 * prints "N passed, N failed". A failed CHECK prints the place and the expression, and ends that test function.
 */
#ifndef PIPIT_TESTS_CHECK_H
#define PIPIT_TESTS_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Built with the address or the thread sanitizer: slow, with memory of its own at places that are free otherwise. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define CHECK_TSAN 1
#else
#define CHECK_TSAN 0
#endif
#if CHECK_TSAN || defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define CHECK_SANITIZED 1
#else
#define CHECK_SANITIZED 0
#endif

static unsigned check_passed, check_failed;
static bool check_bad;

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("  %s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                                              \
            check_bad = true;                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

/* Integers; `got` first. */
#define CHECK_EQ(got, want)                                                                                            \
    do {                                                                                                               \
        uint64_t _g = (uint64_t)(got), _w = (uint64_t)(want);                                                          \
        if (_g != _w) {                                                                                                \
            printf("  %s:%d: %s is 0x%" PRIx64 ", not 0x%" PRIx64 "\n", __FILE__, __LINE__, #got, _g, _w);             \
            check_bad = true;                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

#define RUN(fn)                                                                                                        \
    do {                                                                                                               \
        check_bad = false;                                                                                             \
        fn();                                                                                                          \
        printf("%s %s\n", check_bad ? "FAIL" : "ok  ", #fn);                                                           \
        fflush(stdout); /* a sanitizer that aborts at the end of the program drops what is buffered */                 \
        if (check_bad)                                                                                                 \
            check_failed++;                                                                                            \
        else                                                                                                           \
            check_passed++;                                                                                            \
    } while (0)

static inline int check_done(void)
{
    printf("%u passed, %u failed\n", check_passed, check_failed);
    return check_failed != 0;
}

#endif
