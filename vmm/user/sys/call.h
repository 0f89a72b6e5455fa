/*
 * Raw system calls of the host: user mode has no libc (vmm/user/README.md). Each returns what the kernel returns, a
 * negative errno on failure. Numbers and structures are those of the kernel's own headers.
 */
#ifndef PIPIT_USER_SYS_CALL_H
#define PIPIT_USER_SYS_CALL_H

#include <asm/unistd.h>
#include <stdint.h>

/* The kernel leaves every register as it was but RAX (the result), RCX and R11. */
static inline long sys_call6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

/* sys_call(number, up to six arguments): integers and pointers, whatever their type. */
#define SYS_ARG(x) ((long)(x))
#define SYS_CALL0(n) sys_call6(n, 0, 0, 0, 0, 0, 0)
#define SYS_CALL1(n, a) sys_call6(n, SYS_ARG(a), 0, 0, 0, 0, 0)
#define SYS_CALL2(n, a, b) sys_call6(n, SYS_ARG(a), SYS_ARG(b), 0, 0, 0, 0)
#define SYS_CALL3(n, a, b, c) sys_call6(n, SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), 0, 0, 0)
#define SYS_CALL4(n, a, b, c, d) sys_call6(n, SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), 0, 0)
#define SYS_CALL5(n, a, b, c, d, e) sys_call6(n, SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), SYS_ARG(e), 0)
#define SYS_CALL6(n, a, b, c, d, e, f)                                                                                 \
    sys_call6(n, SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), SYS_ARG(e), SYS_ARG(f))
#define SYS_CALL_NTH(n, a, b, c, d, e, f, name, ...) name
#define sys_call(...)                                                                                                  \
    SYS_CALL_NTH(__VA_ARGS__, SYS_CALL6, SYS_CALL5, SYS_CALL4, SYS_CALL3, SYS_CALL2, SYS_CALL1, SYS_CALL0)(__VA_ARGS__)

/* Does a result name an error? */
static inline int sys_is_err(long r)
{
    return (unsigned long)r >= (unsigned long)-4095;
}

#endif
