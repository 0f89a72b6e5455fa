/*
 * The guest's first stack: strings, the auxiliary vector, environment and arguments, as the kernel leaves them.
 */
#ifndef PIPIT_USER_STACK_H
#define PIPIT_USER_STACK_H

#include <stdint.h>

#include "vmm/user/load.h"

struct arm64_model;

struct user_stack {
    uint64_t top; /* everything goes below; the process's own stack, so that the host's kernel grows it */
    /* NULL-terminated. Strings stay where they are if each follows the one before, as /proc shows them; else they are
     * copied, and the vectors changed. */
    const char **argv, **envp;
    const char *execfn; /* AT_EXECFN */
    const uint64_t *host_auxv;
    const struct user_program *program;
    const struct arm64_model *model;
    bool seeded; /* AT_RANDOM from `seed`, else the kernel's */
    uint64_t seed;
};

/* Where things are on it. */
struct user_stack_layout {
    uint64_t sp; /* to start with: argc, 16-byte aligned; 0: the stack is too small */
    uint64_t argv, envp, auxv, auxv_size;
};
struct user_stack_layout user_stack_build(const struct user_stack *s);

/* The value of `type` in a vector, or `missing`. */
uint64_t user_auxv_find(const uint64_t *auxv, uint64_t type, uint64_t missing);

#endif
