/*
 * Core files: what is left of a guest that ends by a signal whose default is to dump core, for debuggers of arm64.
 */
#ifndef PIPIT_USER_CORE_H
#define PIPIT_USER_CORE_H

#include "vmm/user/thread.h"

enum user_core_file {
    USER_CORE_NONE,
    USER_CORE_WRITTEN,
    USER_CORE_WRITTEN_HERE, /* and the kernel would have made one in the working directory, too */
};

/* Writes one where RLIMIT_CORE, the signal and the process (PR_SET_DUMPABLE) allow it: to the path that
 * kernel.core_pattern tells, or, where that is a program or a socket, to core.PID in the working directory. */
enum user_core_file user_core_dump(struct user_thread *t, const struct abi_siginfo *info);

/*
 * Behind USER_CORE_WRITTEN_HERE, when nothing is left but to end by the signal: arranges that the kernel says of this
 * process that it dumped core (WCOREDUMP, CLD_DUMPED), which it does where it wrote a file itself. False: it cannot be
 * had.
 */
bool user_core_status(void);

#endif
