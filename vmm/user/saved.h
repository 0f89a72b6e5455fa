/*
 * Saved translations: what this program translates of the guest's files is there for the next process that maps them.
 *
 * For each ELF file that the guest maps executable there is one image (jit/rt/saved.h), named after a hash of the
 * file's first page and size and of all else that translations depend on: this emulator's build, the CPU model, the
 * host's CPU. It is looked for when the first block is wanted, and written anew with what is new at fork, execve and
 * the end of the process, when that is enough to be worth it. Blocks are used only where the guest's instructions are
 * those that they were made from, so neither a file that changed nor a private copy of it nor a wrong name can make a
 * run wrong.
 *
 * Images hold code that later processes run, so it matters who can write them: see saved_store.c.
 */
#ifndef PIPIT_USER_SAVED_H
#define PIPIT_USER_SAVED_H

#include <stdbool.h>
#include <stdint.h>

#include "jit/user.h"

struct user_thread;

/* Once, with the environment. `secure`: a set-user-id program, which uses nothing of its caller's. */
void user_saved_init(const char *const *envp, bool secure);

/* [start, start+len) maps the file from `offset` on and is executable; what was there before is not any more. */
void user_saved_mapped(int fd, uint64_t start, uint64_t len, uint64_t offset);
void user_saved_unmapped(uint64_t start, uint64_t len);

/* jit_user_ops.saved */
bool user_saved_find(void *opaque, uint64_t va, struct jit_saved_place *out);

/* Writes images that lack at least `least` blocks, and a sixteenth of what they have. Not in a thread that another one
 * waits for (vfork). */
void user_saved_publish(const struct user_thread *t, uint32_t least);
#define USER_SAVED_LAST 8  /* this program ends */
#define USER_SAVED_FORK 64 /* before its children do the same */

/* Around fork. */
void user_saved_lock(void);
void user_saved_unlock(void);

#endif
