/* From the process's first instruction to the program (tools/pipit-aarch64.c). */
#ifndef PIPIT_USER_SYS_START_H
#define PIPIT_USER_SYS_START_H

#include <stdint.h>

/* Called once, on the kernel's stack: `stack` is argc, argv, NULL, environment, NULL, auxiliary vector. */
__attribute__((noreturn)) void user_start(uint64_t *stack);

#endif
