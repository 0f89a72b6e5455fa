/*
 * -perfmap: /tmp/perf-PID.map, by which perf(1) names translated code (the kernel's tools/perf/Documentation/
 * jit-interface.txt): a line a block, with its place, size, and the guest's address.
 */
#ifndef PIPIT_USER_PERF_MAP_H
#define PIPIT_USER_PERF_MAP_H

#include <stdint.h>

/* jit_user_ops.made */
void user_perf_map_add(void *opaque, uint64_t pc, const void *code, uint32_t size);

#endif
