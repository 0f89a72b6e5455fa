/* What the command line and the environment ask for (tools/pipit-aarch64.c fills it in before the guest starts). */
#ifndef PIPIT_USER_OPTIONS_H
#define PIPIT_USER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "jit/jit.h"

/* Between two instances of the emulator: the next word is the number of the descriptor that the program is open as. */
#define USER_OPTION_EXECFD "-exec-fd"

struct user_options {
    const struct arm64_model *model;
    bool report; /* blocks are counted, and told at the end */
    enum jit_tier tier;
    uint64_t jit_seed; /* JIT_MIXED */
    bool perf_map, jitdump;
    bool log_code;                   /* -d in_asm */
    bool log_exec, log_cpu, nochain; /* -d's of these names */
    bool seeded;                     /* AT_RANDOM is made from `seed` */
    uint64_t seed;
    const char *translations; /* the folder for saved ones, or "off"; NULL: where there is one */
    const char *release;      /* uname's; NULL: the host's */
    const char *const *self;  /* the words that start this emulator with the same options, NULL at the end */
    bool by_binfmt;           /* started by the kernel for an arm64 program: execve finds us again */
};
extern struct user_options user_options;

#endif
