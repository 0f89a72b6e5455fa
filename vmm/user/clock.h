/*
 * Time without entering the kernel: the host's own vDSO, called for the guest's clock_gettime and its counter.
 */
#ifndef PIPIT_USER_CLOCK_H
#define PIPIT_USER_CLOCK_H

#include <stdint.h>

/* `vdso`: AT_SYSINFO_EHDR of the host, 0 where it has none; then the system calls serve. */
void user_clock_init(uint64_t vdso);

/* struct timespec of two 64-bit words. 0 or -errno. */
long user_clock_gettime(int clock, int64_t ts[2]);
/* Either pointer may be NULL. */
long user_clock_gettimeofday(int64_t tv[2], int32_t tz[2]);

/* CNTVCT_EL0: nanoseconds of CLOCK_MONOTONIC. */
uint64_t user_clock_counter(void);

#endif
