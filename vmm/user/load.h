/*
 * Puts a program into the guest's address space as the kernel does it: its segments, its interpreter's, and the vDSO.
 */
#ifndef PIPIT_USER_LOAD_H
#define PIPIT_USER_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct user_program {
    uint64_t entry;  /* of the program itself (AT_ENTRY) */
    uint64_t start;  /* where execution begins: the interpreter's entry, or the program's */
    uint64_t phdr;   /* AT_PHDR */
    uint64_t phnum;  /* AT_PHNUM */
    uint64_t base;   /* AT_BASE: the interpreter's bias, 0 without one */
    uint64_t lo, hi; /* of the program */
    uint64_t vdso;   /* AT_SYSINFO_EHDR */
    bool stack_exec;
};

/* `fd` is the program, open for reading; `name` what sentences call it. 0 or -errno with a sentence. */
int user_load(int fd, const char *name, struct user_program *out, struct err *e);

/* May the file at `path`, which is open as fd, be executed? 0, -EISDIR or -ENOEXEC for what is no file, or the kernel's
 * -errno; and the words for these, to follow a name. */
int user_load_allowed(const char *path, int fd);
const char *user_load_refusal(int r);

#endif
