/*
 * The guest's vDSO: a small arm64 ELF image with the names that libraries look for (vdso(7)). Its functions are system
 * calls, which the emulator answers without the kernel where the host's vDSO can.
 */
#ifndef PIPIT_USER_VDSO_H
#define PIPIT_USER_VDSO_H

#include <stdint.h>

#include "vmm/base/err.h"

/* Where it is; one page. */
extern uint64_t user_vdso_base;

/* Maps it; *at is its ELF header. Sets user_signal_trampoline. 0 or -errno with a sentence. */
int user_vdso_map(uint64_t *at, struct err *e);

#endif
