/*
 * Who executes guest code. The rest of user mode knows only this: state is whole whenever run() returns.
 */
#ifndef PIPIT_USER_EXECUTOR_H
#define PIPIT_USER_EXECUTOR_H

#include <stdint.h>

struct user_thread;

/* Once, before the first thread is created. */
void user_executor_init(void);
/* Makes t->cpu, and frees it. 0 or -ENOMEM. */
int user_executor_thread_create(struct user_thread *t);
void user_executor_thread_destroy(struct user_thread *t);
/* In the child of a fork, whose only thread is t. */
void user_executor_forked(struct user_thread *t);

/* Runs guest code until t->event is set or the CPU's exit_request is. */
void user_executor_run(struct user_thread *t);
/* Code in [start, start+len) changed or went away. From any thread. */
void user_executor_invalidate(uint64_t start, uint64_t len);

#endif
