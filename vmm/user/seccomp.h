/*
 * Seccomp filters of the guest.
 *
 * They are written for arm64's numbers and for the guest's own calls, so they are run here, on each call as the guest
 * made it, before anything is converted. What they allow goes through a second gate (sys/gate.h). The same filters,
 * translated, are given to the host's kernel, too: these let everything pass that does not come through the first
 * gate, and so concern neither calls that were judged already nor the emulator's own; but after execve, when the new
 * program's emulator knows of no filter, its calls go through the first gate, and the kernel judges them.
 *
 * SECCOMP_RET_USER_NOTIF is the kernel's alone: a call that is to be notified goes through the first gate, too. So who
 * listens sees it with the arguments that the host gets; calls that need none of the host's are not notified.
 */
#ifndef PIPIT_USER_SECCOMP_H
#define PIPIT_USER_SECCOMP_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/user/syscall.h"

struct user_filter;

/* What a call's filters decide: true: make it. False: *ret is its result, or t->event was set. */
bool user_seccomp_allows(struct user_thread *t, uint64_t nr, const uint64_t a[6], int64_t *ret);

/* Is `other` where the chain `f` began, or somewhere on its way? */
bool user_seccomp_begins_with(const struct user_filter *f, const struct user_filter *other);

/* For clone: the child has the same filters. */
struct user_filter *user_seccomp_get(struct user_filter *f);
void user_seccomp_put(struct user_filter *f);

/* ioctl(SECCOMP_IOCTL_NOTIF_RECV): a call of a guest's with arm64's number and architecture. */
int64_t user_seccomp_receive(struct user_thread *t, const uint64_t a[6]);

USER_CALL_DECLARE(seccomp);
/* prctl(PR_SET_SECCOMP, mode, program) */
int64_t user_seccomp_prctl(struct user_thread *t, uint64_t mode, uint64_t program);

/* In the host's handler: a SIGSYS of the translated filter becomes the guest's. */
void user_seccomp_convert(const struct user_thread *t, struct abi_siginfo *info);

#endif
