/*
 * Who executes guest code: the JIT (jit/user.h), one for all threads that share the address space. The rest of user
 * mode knows only this: state is whole whenever run() returns, and while a system call is served.
 */
#ifndef PIPIT_USER_EXECUTOR_H
#define PIPIT_USER_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct arm64_cpu;
struct jit_saved_writer;
struct user_thread;
struct jit_watch;

/* Once, before the first thread gets a CPU. 0 or -errno. */
int user_executor_init(struct err *e);
/* Makes t->cpu, and frees it. 0 or -ENOMEM. */
int user_executor_thread_create(struct user_thread *t);
void user_executor_thread_destroy(struct user_thread *t);

/* Around fork, in the thread that forks; `child`: -errno where it cannot go on. */
void user_executor_fork_begin(struct user_thread *t);
int user_executor_fork_end(struct user_thread *t, bool child);

/* Runs guest code and serves its system calls until a fault (t->event) or exit_request. */
void user_executor_run(struct user_thread *t);
/* One guest instruction, or none where exit_request or a fault comes first. */
void user_executor_step(struct user_thread *t);
/* Code in [start, start+len) changed or went away. From any thread. */
void user_executor_invalidate(uint64_t start, uint64_t len);

/* How many blocks were translated, and how many came from saved translations; and prints it. */
void user_executor_counts(uint64_t *made, uint64_t *taken);
void user_executor_report(void);
/* Adds blocks to an image of saved translations: jit_saved_add_blocks. */
void user_executor_save(struct jit_saved_writer *w, uint64_t lo, uint64_t hi, uint64_t offset);

/* For a debugger: see jit/user.h. `kinds` are JIT_WATCH()'s. */
int user_executor_break(uint64_t pc, unsigned kinds, bool set);
unsigned user_executor_break_kinds(uint64_t pc);
int user_executor_watch(uint64_t addr, uint64_t len, unsigned kinds, bool set);
void user_executor_debug_end(void);
void user_executor_step_next(struct user_thread *t, bool step);
void user_executor_points(struct user_thread *t, const struct jit_watch *point, unsigned n);
void user_executor_undebugged(struct user_thread *t);

/* In a signal handler: the fault was a guest access; registers are changed so that the handler can return. */
bool user_executor_fault(struct user_thread *t, int sig, int code, uint64_t addr, uint64_t *greg);

/* c->fpsr is about to be read; FPSR or FPCR were written. */
void user_executor_fp_sync(struct arm64_cpu *c);
void user_executor_fp_changed(struct arm64_cpu *c);

#endif
