/*
 * Core files: what is left of a guest that ends by a signal whose default is to dump core, for debuggers of arm64.
 */
#ifndef PIPIT_USER_CORE_H
#define PIPIT_USER_CORE_H

#include "vmm/user/thread.h"

/* Writes one where RLIMIT_CORE, the signal and the process (PR_SET_DUMPABLE) allow it: to the path that
 * kernel.core_pattern tells, or, where that is a program, to core.PID in the working directory. */
void user_core_dump(struct user_thread *t, const struct abi_siginfo *info);

#endif
