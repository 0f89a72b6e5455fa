/*
 * What perf(1) is told of translated code: /tmp/perf-PID.map (-perfmap), and jit-PID.dump in the directory
 * where the process began (-jitdump). jit/perf.h has what is in them.
 */
#ifndef PIPIT_USER_PERF_MAP_H
#define PIPIT_USER_PERF_MAP_H

#include <stdint.h>

/* One caller at a time. */
void user_perf_map_add(uint64_t pc, const void *code, uint32_t size);
void user_jitdump_add(uint64_t pc, const void *code, uint32_t size);
/* In the child of a fork, whose files are others. */
void user_perf_map_forked(void);
void user_jitdump_forked(void);

#endif
