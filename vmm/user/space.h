/*
 * What the emulator must know of the guest's address space beside what the host knows: which pages are executable to
 * the guest, so that a jump to data faults, and which are the emulator's own.
 */
#ifndef PIPIT_USER_SPACE_H
#define PIPIT_USER_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* [start, start+len) became executable, or is not any more (and its translations are dropped). Page aligned. */
void user_space_exec_add(uint64_t start, uint64_t len);
void user_space_exec_remove(uint64_t start, uint64_t len);
/* The contents of [start, start+len) changed under the translations. */
void user_space_exec_changed(uint64_t start, uint64_t len);
/* The executable range that holds addr. */
bool user_space_exec_find(uint64_t addr, uint64_t *lo, uint64_t *hi);
/* Changes whenever a range is removed: what user_space_exec_find said before may be wrong. */
extern _Atomic uint32_t user_space_epoch;

/* Around fork, see sys_memory_lock(). */
void user_space_lock(void);
void user_space_unlock(void);

/* PER_LINUX's READ_IMPLIES_EXEC is in force. */
void user_space_set_read_implies_exec(bool on);

/* The system calls (space_calls.c); each returns what the kernel would. */
struct user_thread;
int64_t user_space_mmap(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_munmap(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_mprotect(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_mremap(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_madvise(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_shmat(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_pkey_mprotect(struct user_thread *t, const uint64_t a[6]);

#endif
