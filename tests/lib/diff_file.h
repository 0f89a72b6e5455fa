/*
 * The differential tests' case file, shared by the generator (host) and the runner (AArch64, under the peer).
 *
 * A file is the header, the code image, then `count` states: what to load into the CPU before each case. The runner
 * answers with a header and `count` states: what was there when each case stopped. A case is up to three instructions
 * in a slot of four words at its pc; the fourth word, and every word outside of slots, is BRK #0, which is where cases
 * stop. Memory is a window of 256 bytes, whose contents are part of the state. It lies in one of three places of an
 * area outside of which nothing is mapped: at the area's start, at its end, or across the boundary of two pages.
 */
#ifndef PIPIT_TESTS_DIFF_FILE_H
#define PIPIT_TESTS_DIFF_FILE_H

#include <stdint.h>

#define DIFF_MAGIC 0x66696470u
#define DIFF_CODE UINT64_C(0x1000000000) /* address of the code image */
#define DIFF_MARGIN 0x8000u              /* bytes of BRK before and after the slots */
#define DIFF_SLOT 16u                    /* bytes */
#define DIFF_AREA UINT64_C(0x2000100000)
#define DIFF_AREA_SIZE 0x20000u /* bytes; half of it is a multiple of any page size */
#define DIFF_AREA_END (DIFF_AREA + DIFF_AREA_SIZE)
#define DIFF_MEM_SIZE 256u /* bytes of the window */
#define DIFF_MEM_LOW DIFF_AREA
#define DIFF_MEM_ACROSS (DIFF_AREA + DIFF_AREA_SIZE / 2 - DIFF_MEM_SIZE / 2)
#define DIFF_MEM_HIGH (DIFF_AREA_END - DIFF_MEM_SIZE)
#define DIFF_STACK UINT64_C(0x3000000000) /* the runner's signal stack; no case has its SP there */
#define DIFF_STACK_SIZE 0x10000u
#define DIFF_BRK 0xd4200000u

/* How a case stopped: the signal that Linux would deliver. */
#define DIFF_SIG_ILL 4
#define DIFF_SIG_TRAP 5
#define DIFF_SIG_BUS 7
#define DIFF_SIG_SEGV 11

struct diff_header {
    uint32_t magic, count;
    uint64_t code_size; /* bytes of the image: margins and slots */
};

struct diff_state {
    uint64_t x[32]; /* x[31] is SP */
    uint64_t pc;
    uint64_t window; /* one of DIFF_MEM_* */
    uint32_t nzcv;   /* bits 31..28 */
    uint32_t fpcr, fpsr;
    uint32_t sig; /* of results */
    uint64_t v[32][2];
    uint8_t mem[DIFF_MEM_SIZE];
};

#endif
