/* A guest's seccomp filter for the host's kernel: see seccomp.h. */
#ifndef PIPIT_USER_SECCOMP_HOST_H
#define PIPIT_USER_SECCOMP_HOST_H

#include <stdint.h>

struct sock_filter;

/* Translates a checked program and installs it. What the kernel returns, which is a descriptor with
 * SECCOMP_FILTER_FLAG_NEW_LISTENER; -ENOMEM where the translation does not fit. */
int64_t user_seccomp_host_install(const struct sock_filter *insn, unsigned len, uint64_t flags);

#endif
