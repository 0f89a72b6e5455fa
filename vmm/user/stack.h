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
    const char *const *argv, *const *envp; /* NULL-terminated; the strings stay where they are */
    const char *execfn;                    /* AT_EXECFN */
    const uint64_t *host_auxv;
    const struct user_program *program;
    const struct arm64_model *model;
};

/* Builds it; returns the stack pointer to start with, 16-byte aligned at argc. */
uint64_t user_stack_build(const struct user_stack *s);

/* The value of `type` in a vector, or `missing`. */
uint64_t user_auxv_find(const uint64_t *auxv, uint64_t type, uint64_t missing);

#endif
