/* perf(1)'s files of a machine's translations: /tmp/perf-PID.map, and jit-PID.dump in the current folder. */
#ifndef PIPIT_MACHINE_ACCEL_JIT_PERF_H
#define PIPIT_MACHINE_ACCEL_JIT_PERF_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct accel_jit_perf {
    int map, dump; /* descriptors; -1: none */
    uint64_t count;
    void *mark; /* the page of the dump by which perf finds it */
};

/* Makes the files. Before the sandbox, in which nothing is opened. */
int accel_jit_perf_open(struct accel_jit_perf *p, bool map, bool dump, struct err *e);
void accel_jit_perf_close(struct accel_jit_perf *p);
/* A block was made; one caller at a time. */
void accel_jit_perf_add(struct accel_jit_perf *p, uint64_t pc, const void *code, uint32_t size);

#endif
