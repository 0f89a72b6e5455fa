/*
 * Accesses to guest memory that may fault, for the runtime's own C code (user mode). Each is a few instructions
 * without a stack frame; a fault in them is turned into a return value by moving the instruction pointer.
 */
#ifndef PIPIT_JIT_RT_ACCESS_H
#define PIPIT_JIT_RT_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True where the access faulted. Sizes are 1, 2, 4, 8 and 16 bytes; guest memory may be unaligned. */
bool jit_access_load(uint64_t va, void *dst, unsigned size);
bool jit_access_store(uint64_t va, const void *src, unsigned size);
/* Compare and swap, atomic: `expected` gets what was there. Aligned. */
bool jit_access_cas(uint64_t va, void *expected, const void *desired, unsigned size);
/* Any number of bytes; one side is the guest's. Words of 4 bytes at aligned addresses are copied whole. */
bool jit_access_copy(void *dst, const void *src, size_t len);

/* Is this instruction one of the above? Then where it goes on when it faults, or zero. */
uintptr_t jit_access_recover(uintptr_t ip);

#endif
