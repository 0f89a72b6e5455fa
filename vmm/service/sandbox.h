/*
 * seccomp filters, one a thread role, installed by the thread itself as its first act. A forbidden call ends the
 * process (SIGSYS) after one line on stderr that names the role and the call. Built with libseccomp.
 */
#ifndef PIPIT_SERVICE_SANDBOX_H
#define PIPIT_SERVICE_SANDBOX_H

#include "vmm/base/err.h"

enum sandbox_role {
    SANDBOX_VCPU,         /* runs guest code: futex, timers, memory protection of its own pages; no files, no sockets */
    SANDBOX_LOOP,         /* devices: read/write on open descriptors, io_uring_enter, epoll, timerfd; opens nothing */
    SANDBOX_WORKER,       /* block thread pool: pread/pwrite/fdatasync/fallocate on open descriptors */
    SANDBOX_NET,          /* the user-network process: sockets, poll; no files but what it holds */
    SANDBOX_NET_GUESTFWD, /* the same, and Unix sockets: guestfwd's, which are all that its root has */
    SANDBOX_MAIN, /* the main thread once the machine runs: waits, joins, restores the terminal, unlinks its files */
};

/* What cannot be done under a filter; once, before there is a second thread. */
void sandbox_prepare(void);
/* vCPUs write what is in the machine's flash. Before any of them enters its role. */
void sandbox_allow_flash(void);
/* Installs the filter of `role` on the calling thread (no_new_privs first). */
int sandbox_enter(enum sandbox_role role, struct err *e);
/* --sandbox off: sandbox_enter does nothing from here on. For debugging; documented. */
void sandbox_disable(void);

#endif
