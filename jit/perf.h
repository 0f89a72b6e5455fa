/*
 * What perf(1) is told of translated code, as bytes for a file; who runs the JIT writes it. A line of /tmp/perf-PID.map
 * (the kernel's tools/perf/Documentation/jit-interface.txt) has a block's place, size and the guest's address;
 * jit-PID.dump (jitdump-specification.txt there) has the code, too. perf finds that file by its name, in the record of
 * its mapping: its writer maps a page of it executable.
 */
#ifndef PIPIT_JIT_PERF_H
#define PIPIT_JIT_PERF_H

#include <stddef.h>
#include <stdint.h>

#define JIT_PERF_LINE_MAX 80

/* A line of the map; its length. */
size_t jit_perf_line(char *line, uint64_t pc, const void *code, uint32_t size);

struct jit_dump_header {
    uint32_t magic, version, total_size, elf_mach, pad, pid;
    uint64_t timestamp, flags;
};

struct jit_dump_load {
    uint32_t id, total_size;
    uint64_t timestamp;
    uint32_t pid, tid;
    uint64_t vma, code_addr, code_size, code_index;
    char name[24]; /* with its NUL; total_size counts what of it is used */
};

/* Times are CLOCK_MONOTONIC's nanoseconds: `perf record -k mono`. */
void jit_dump_begin(struct jit_dump_header *h, uint32_t pid, uint64_t time);
/* The record of a block, whose code comes behind it in the file; r->pid, tid, timestamp and code_index are the
 * caller's. How many bytes of it there are. */
size_t jit_dump_add(struct jit_dump_load *r, uint64_t pc, const void *code, uint32_t size);

#endif
