/*
 * The command line and the environment of pipit-aarch64, and what the kernel says beside them.
 *
 * Started by the kernel's binfmt_misc (AT_EXECFN is then the program's own name), the arguments are the program's path,
 * with flag P its argv[0], and its arguments; there are no options, but environment variables count. A set-user-id
 * program (AT_SECURE) does not listen to these either.
 */
#ifndef PIPIT_USER_ARGS_H
#define PIPIT_USER_ARGS_H

#include <stdint.h>

#define USER_STATUS_USAGE 1 /* as the program whose name we also have */
#define USER_STATUS_CANNOT_RUN 126
#define USER_STATUS_NOT_FOUND 127
#define USER_NO_FD UINT64_MAX

struct user_args {
    const char **argv;    /* all words */
    const uint64_t *auxv; /* the host's */
    int64_t fd;           /* the program, open already; -1: not */
    const char *path;     /* the program, AT_EXECFN */
    const char *argv0;
    const char **arguments, **envp; /* the guest's */
};

/* `stack` is what the kernel left (sys/start.h). Fills user_options, too. Ends the process with a sentence on words
 * that cannot be, and where only a question was asked (-version, -help, -register). */
void user_args_read(struct user_args *s, uint64_t *stack);

/* The value of a variable; NULL: it is not set. */
const char *user_args_variable(const char *const *envp, const char *name);

#endif
