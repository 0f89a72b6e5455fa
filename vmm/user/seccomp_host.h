/* A guest's seccomp filter for the host's kernel: see seccomp.h. */
#ifndef PIPIT_USER_SECCOMP_HOST_H
#define PIPIT_USER_SECCOMP_HOST_H

#include <stdint.h>

struct sock_filter;

/* Translates a checked program and installs it; does nothing where the kernel cannot take it. */
void user_seccomp_host_install(const struct sock_filter *insn, unsigned len, uint64_t flags);

#endif
