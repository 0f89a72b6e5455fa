/*
 * -strace: each system call of the guest on stderr, as strace(1) prints it.
 *
 * A line is begun when the call is made and ended with its result. Where another thread prints meanwhile, it ends the
 * open line with "<unfinished ...>", and the rest is printed as "<... name resumed>".
 */
#ifndef PIPIT_USER_STRACE_H
#define PIPIT_USER_STRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/user/syscall.h"

/* Set before the first thread runs, and then for good. */
extern bool user_strace_on;
/* Where lines go to; NULL: stderr. Opened for each of them, so that no descriptor is held. */
extern const char *user_strace_file;
/* Writes there. */
void user_log_write(const char *text, size_t len);

void user_strace_enter(struct user_thread *t, const struct user_call *call, uint64_t nr, const uint64_t a[6]);
void user_strace_leave(struct user_thread *t, const struct user_call *call, uint64_t nr, const uint64_t a[6],
                       int64_t ret);
/* Ends the line of a call that does not come back, before it is made. */
void user_strace_finish(struct user_thread *t, const struct user_call *call);
/* "--- SIGSEGV {si_signo=SIGSEGV, ...} ---" */
void user_strace_signal(const struct abi_siginfo *info);
/* Around fork. */
void user_strace_lock(void);
void user_strace_unlock(void);

#endif
