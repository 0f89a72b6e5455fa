/*
 * How long this process has been at it: since exec, since its first vCPU ran, and on the CPU. For whoever measures
 * how fast a guest starts. Thread safe.
 */
#ifndef PIPIT_BASE_UPTIME_H
#define PIPIT_BASE_UPTIME_H

#include <stdint.h>

/*
 * The first thing in main. Linux tells no one when exec was, except in hundredths of a second; so it is taken to have
 * been as long ago as the process has used CPU time. That counts the kernel's part of exec, the dynamic linker and
 * constructors; it misses what they waited for (a disk, another process's turn), and counts what the process did before
 * exec, which is little between fork and exec, but all of a script that ends in "exec pipit".
 */
void uptime_mark_exec(void);
/* Before the first vCPU runs; later calls change nothing. */
void uptime_mark_vcpu(void);

/* Nanoseconds; 0 where there was no mark yet. */
uint64_t uptime_since_exec(void);
uint64_t uptime_since_vcpu(void);
/* CPU time of all threads of this process, a guest's own included where KVM runs it. */
uint64_t uptime_cpu(void);

#endif
