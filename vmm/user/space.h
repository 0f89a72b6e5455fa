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
/*
 * Around a system call that unmaps [start, start+len). What was known of the pages goes with them, if they go, and
 * before another thread can have mapped the same addresses and said what is there now: the first one holds the lock and
 * returns true where anything is known; then the second one is due, with what has gone.
 */
bool user_space_unmap_begin(uint64_t start, uint64_t len);
void user_space_unmap_end(uint64_t start, uint64_t len);
/* The executable range that holds addr. */
bool user_space_exec_find(uint64_t addr, uint64_t *lo, uint64_t *hi);
/* Changes whenever a range is removed: what user_space_exec_find said before may be wrong. */
extern _Atomic uint32_t user_space_epoch;

/* ---- shared memory that is mapped more than once (space_views.c) ---- */

/* What a mapping shows: an inode, or memory without one. */
struct user_space_object {
    uint64_t device, number;
};
#define USER_SPACE_ANONYMOUS UINT64_MAX     /* device: numbered here */
#define USER_SPACE_SEGMENT (UINT64_MAX - 1) /* device: of shmget */

/* The object that a new shared mapping of fd shows; -1: anonymous. */
struct user_space_object user_space_object_of(int fd);
/* [start, start+len) shows the object from this offset on, or nothing shared any more. */
void user_space_view_add(uint64_t start, uint64_t len, struct user_space_object object, uint64_t offset);
void user_space_view_remove(uint64_t start, uint64_t len);
/* The same under the lock, for space.c; and whether anything of the range is shared. */
void user_space_view_cut(uint64_t start, uint64_t len);
bool user_space_view_any(uint64_t start, uint64_t len);
/* What is shown at addr, where that is shared. */
bool user_space_view_find(uint64_t addr, struct user_space_object *object, uint64_t *offset);
/* Where [offset, offset+len) of the object is shown, all in one view: `hint`, or else the first; 0: nowhere. */
uint64_t user_space_view_where(const struct user_space_object *object, uint64_t offset, uint64_t len, uint64_t hint);
/* The first piece, from address `at` on, of the segment that shmat put at addr. */
bool user_space_view_segment(uint64_t addr, uint64_t at, uint64_t *start, uint64_t *end);
/* IC IVAU: [addr, addr+len), within one page, may be new code, by whichever address it is executed. */
void user_space_code_written(uint64_t addr, uint64_t len);

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
int64_t user_space_remap_file_pages(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_shmdt(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_shmat(struct user_thread *t, const uint64_t a[6]);
int64_t user_space_pkey_mprotect(struct user_thread *t, const uint64_t a[6]);

#endif
