/*
 * seccomp filters by thread role, from one table: a row is a system call, the roles that may make it, and up to two
 * conditions on its arguments. What no row allows raises SIGSYS, whose handler says which thread called what, gives
 * the terminal back, and ends the process.
 *
 * All threads are made before any of them enters its role, and none is made later: a guest that resets keeps its vCPU
 * threads. The main thread waits, and takes the machine apart at the end: it may do what the loop and the workers do,
 * since it drains what they have begun.
 *
 * Filters compare register contents. An `int` argument's upper half is whatever the caller left there, so conditions
 * look at the lower 32 bits only.
 */
#include "vmm/service/sandbox.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/chardev.h"
#include "vmm/base/util.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) ||               \
    __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define SANDBOX_SANITIZERS 1
#else
#define SANDBOX_SANITIZERS 0
#endif

/* Roles as bits. */
#define R_MAIN BIT32(SANDBOX_MAIN)
#define R_VCPU BIT32(SANDBOX_VCPU)
#define R_LOOP (BIT32(SANDBOX_LOOP) | R_MAIN)
#define R_WORKER (BIT32(SANDBOX_WORKER) | R_MAIN)
#define R_NET (BIT32(SANDBOX_NET) | BIT32(SANDBOX_NET_GUESTFWD))
#define R_ALL (R_VCPU | R_LOOP | R_WORKER | R_NET | R_MAIN)

/* A condition: the bits of argument `arg` in `mask` have `value`; mask 0 is no condition. */
struct sandbox_cond {
    unsigned arg;
    uint32_t mask;
    uint32_t value;
};

struct sandbox_row {
    int nr;
    uint32_t roles;
    int deny;   /* an errno that the call returns instead of being allowed, or 0 */
    bool self;  /* argument 0 is this process */
    bool flash; /* only after sandbox_allow_flash */
    struct sandbox_cond cond[2];
    const char *name;
};

#define IS(arg, value)                                                                                                 \
    {                                                                                                                  \
        arg, UINT32_MAX, value                                                                                         \
    }
#define BITS(arg, mask, value)                                                                                         \
    {                                                                                                                  \
        arg, mask, value                                                                                               \
    }

#define ROW(call, who, ...)                                                                                            \
    {                                                                                                                  \
        .nr = SCMP_SYS(call), .name = #call, .roles = (who), ##__VA_ARGS__                                             \
    }
#define IF(...) .cond = {__VA_ARGS__}

static const struct sandbox_row sandbox_rows[] = {
    /* Waiting, waking and time. poll: a vCPU in WFI waits for its timer and its kick at once. */
    ROW(futex, R_ALL),
    ROW(poll, R_ALL),
    ROW(ppoll, R_ALL),
    ROW(nanosleep, R_ALL),
    ROW(clock_nanosleep, R_ALL),
    ROW(clock_gettime, R_ALL),
    ROW(clock_getres, R_ALL),
    ROW(gettimeofday, R_ALL),
    ROW(time, R_ALL),
    ROW(sched_yield, R_ALL),
    ROW(restart_syscall, R_ALL),
    ROW(timerfd_settime, R_MAIN | R_VCPU | R_LOOP),
    ROW(timerfd_gettime, R_VCPU | R_LOOP),
    ROW(epoll_wait, R_LOOP),
    ROW(epoll_pwait, R_LOOP),
    ROW(epoll_pwait2, R_LOOP),
    ROW(epoll_ctl, R_LOOP),

    /* Signals, all within this process. */
    ROW(rt_sigaction, R_ALL),
    ROW(rt_sigprocmask, R_ALL),
    ROW(rt_sigreturn, R_ALL),
    ROW(sigaltstack, R_ALL),
    ROW(tgkill, R_ALL, .self = true),
    ROW(kill, R_LOOP, .self = true), /* SIGTSTP, after the terminal has been restored */
    ROW(getpid, R_ALL),
    ROW(gettid, R_ALL),
    ROW(rt_sigtimedwait, R_MAIN),
    ROW(rt_sigsuspend, R_MAIN),
    ROW(rt_sigpending, R_MAIN),
    ROW(pause, R_MAIN),

    /* Memory: nothing becomes executable, no file is mapped. The JIT's cache is mapped before its filter. */
    ROW(mmap, R_ALL, IF(BITS(2, PROT_EXEC, 0), BITS(3, MAP_ANONYMOUS, MAP_ANONYMOUS))),
    ROW(mprotect, R_ALL, IF(BITS(2, PROT_EXEC, 0))),
    ROW(munmap, R_ALL),
    ROW(mremap, R_ALL),
    ROW(madvise, R_ALL),
    ROW(brk, R_ALL),
    ROW(membarrier, R_VCPU),

    /* The C library: thread ends, stdio, random numbers, arenas. */
    ROW(exit, R_ALL),
    ROW(exit_group, R_ALL),
    ROW(set_robust_list, R_ALL),
    ROW(rseq, R_ALL),
    ROW(getrandom, R_ALL),
    ROW(sched_getaffinity, R_ALL),
    ROW(getcpu, R_ALL),
    ROW(sysinfo, R_ALL),
    ROW(prctl, R_ALL, IF(IS(0, PR_SET_NAME))),
    /* libext2fs (1.47.2) believes no environment where a set-user-id program runs. */
    ROW(getuid, R_LOOP),
    ROW(geteuid, R_LOOP),
    ROW(getgid, R_LOOP),
    ROW(getegid, R_LOOP),
    ROW(prctl, R_LOOP, IF(IS(0, PR_GET_DUMPABLE))),
    ROW(fstat, R_ALL),
    ROW(newfstatat, R_ALL, IF(BITS(3, 0x1000 /* AT_EMPTY_PATH */, 0x1000))),
    ROW(lseek, R_ALL),

    /* Open descriptors. A vCPU writes to eventfds, the PL011's output and the log. */
    ROW(read, R_ALL),
    ROW(write, R_ALL),
    ROW(readv, R_LOOP | R_WORKER | R_NET),
    ROW(writev, R_ALL),
    ROW(close, R_LOOP | R_WORKER | R_NET),
    ROW(fcntl, R_LOOP | R_NET, IF(IS(1, F_GETFD))),
    ROW(fcntl, R_LOOP | R_NET, IF(IS(1, F_SETFD))),
    ROW(fcntl, R_LOOP | R_NET, IF(IS(1, F_GETFL))),
    ROW(fcntl, R_LOOP | R_NET, IF(IS(1, F_SETFL))),
    ROW(fcntl, R_MAIN, IF(IS(1, F_OFD_SETLK))), /* closing a disk, at the end */

    /* Disks. */
    ROW(pread64, R_LOOP | R_WORKER),
    ROW(pwrite64, R_LOOP | R_WORKER),
    ROW(preadv, R_LOOP | R_WORKER),
    ROW(pwritev, R_LOOP | R_WORKER),
    ROW(preadv2, R_LOOP | R_WORKER),
    ROW(pwritev2, R_LOOP | R_WORKER),
    ROW(pwrite64, R_VCPU, .flash = true), /* what firmware keeps, as it writes it */
    ROW(fdatasync, R_LOOP | R_WORKER),
    ROW(fsync, R_LOOP | R_WORKER),
    ROW(fallocate, R_LOOP | R_WORKER),
    ROW(io_uring_enter, R_MAIN | R_LOOP | R_WORKER), /* closing a disk writes its last changes */
    ROW(io_uring_register, R_MAIN, IF(IS(1, IORING_REGISTER_FILES_UPDATE))), /* closing a disk, at the end */
    ROW(ioctl, R_LOOP | R_WORKER, IF(IS(1, BLKDISCARD))),
    ROW(ioctl, R_LOOP | R_WORKER, IF(IS(1, BLKZEROOUT))),
    ROW(ioctl, R_LOOP | R_WORKER, IF(IS(1, BLKGETSIZE64))),
    ROW(ioctl, R_LOOP | R_WORKER, IF(IS(1, BLKSSZGET))),

    /* The terminal. */
    ROW(ioctl, R_LOOP | R_NET, IF(IS(1, TCGETS))), /* isatty too */
    ROW(ioctl, R_LOOP, IF(IS(1, TCSETS))),
    ROW(ioctl, R_LOOP, IF(IS(1, TCSETSW))),
    ROW(ioctl, R_LOOP, IF(IS(1, TCSETSF))),
    ROW(ioctl, R_LOOP, IF(IS(1, TIOCGWINSZ))),
    ROW(ioctl, R_LOOP, IF(IS(1, TIOCGPGRP))),
    /* A fatal signal's handler gives it back, on any thread; the C library looks whether that took effect. */
    ROW(ioctl, R_VCPU | R_WORKER, IF(IS(0, STDIN_FILENO), IS(1, TCSETS))),
    ROW(ioctl, R_VCPU | R_WORKER, IF(IS(0, STDIN_FILENO), IS(1, TCGETS))),

    /* The loop's sockets and its child. pidfd_send_signal reaches only what an open pidfd stands for. */
    ROW(recvfrom, R_LOOP | R_NET),
    ROW(recvmsg, R_LOOP | R_NET),
    ROW(sendto, R_LOOP | R_NET),
    ROW(sendmsg, R_LOOP | R_NET),
    ROW(shutdown, R_LOOP | R_NET),
    /* Clients of the control socket, which listens before there are filters. */
    ROW(accept4, R_LOOP),
    ROW(getsockopt, R_LOOP, IF(IS(1, SOL_SOCKET), IS(2, SO_PEERCRED))),
    ROW(wait4, R_LOOP),
    ROW(waitid, R_LOOP),
    ROW(pidfd_send_signal, R_LOOP),

    /* A tap: what the guest's driver accepts, and how many queues it uses. */
    ROW(ioctl, R_LOOP, IF(IS(1, TUNSETOFFLOAD))),
    ROW(ioctl, R_LOOP, IF(IS(1, TUNSETQUEUE))),

    /* The user network: Internet sockets, raw ones for ping only. if_nametoindex (a name server with a scope) tries a
     * local socket, and is told that there are none. Files: devices/net/net_user_child.c says which. */
    ROW(socket, R_NET, IF(IS(0, AF_INET), BITS(1, 0xf, SOCK_STREAM))),
    ROW(socket, R_NET, IF(IS(0, AF_INET), BITS(1, 0xf, SOCK_DGRAM))),
    ROW(socket, R_NET, IF(IS(0, AF_INET6), BITS(1, 0xf, SOCK_STREAM))),
    ROW(socket, R_NET, IF(IS(0, AF_INET6), BITS(1, 0xf, SOCK_DGRAM))),
    ROW(socket, R_NET, IF(BITS(1, 0xf, SOCK_RAW), IS(2, IPPROTO_ICMP))),
    ROW(socket, R_NET, IF(BITS(1, 0xf, SOCK_RAW), IS(2, IPPROTO_ICMPV6))),
    ROW(socket, BIT32(SANDBOX_NET), .deny = EAFNOSUPPORT, IF(IS(0, AF_UNIX))),
    /* To the relay of devices/net/guestfwd.c, whose folder is all that a path can name by then. */
    ROW(socket, BIT32(SANDBOX_NET_GUESTFWD), IF(IS(0, AF_UNIX), BITS(1, 0xf, SOCK_STREAM))),
    ROW(bind, R_NET),
    ROW(connect, R_NET),
    ROW(listen, R_NET),
    ROW(accept, R_NET),
    ROW(accept4, R_NET),
    ROW(getsockname, R_NET),
    ROW(getpeername, R_NET),
    ROW(getsockopt, R_NET),
    ROW(setsockopt, R_NET, IF(IS(1, SOL_SOCKET))),
    ROW(setsockopt, R_NET, IF(IS(1, IPPROTO_IP))),
    ROW(setsockopt, R_NET, IF(IS(1, IPPROTO_TCP))),
    ROW(setsockopt, R_NET, IF(IS(1, IPPROTO_IPV6))),
    ROW(ioctl, R_NET, IF(IS(1, FIONBIO))),
    ROW(ioctl, R_NET, IF(IS(1, FIONREAD))),
    ROW(stat, R_NET),
    ROW(newfstatat, R_NET),
    ROW(open, R_NET, IF(BITS(1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY))),
    ROW(openat, R_NET, IF(BITS(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY))),

    /* KVM. A vCPU's thread runs it and says where it stopped; device threads drive interrupt lines that have no irqfd.
     * A reset, on the loop thread, puts state back that was read before there were filters; a pause stops clocks. */
    ROW(ioctl, R_VCPU, IF(IS(1, KVM_RUN))),
    ROW(ioctl, R_VCPU | R_LOOP, IF(IS(1, KVM_IRQ_LINE))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_IRQFD))),
    /* Flash that answers commands is not mapped; after a reset it is. */
    ROW(ioctl, R_VCPU | R_LOOP, .flash = true, IF(IS(1, KVM_SET_USER_MEMORY_REGION))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_MP_STATE))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_VCPU_EVENTS))),
#if defined(__x86_64__)
    ROW(ioctl, R_VCPU, IF(IS(1, KVM_GET_REGS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_REGS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_GET_SREGS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_SREGS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_XCRS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_DEBUGREGS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_GET_LAPIC))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_LAPIC))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_XSAVE))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_MSRS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_NESTED_STATE))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_IRQCHIP))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_GET_CLOCK))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_CLOCK))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_GET_MSRS))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_GET_DEVICE_ATTR))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_DEVICE_ATTR))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_KVMCLOCK_CTRL))),
#elif defined(__aarch64__)
    /* An access that nothing answers is made an abort. */
    ROW(ioctl, R_VCPU, IF(IS(1, KVM_SET_VCPU_EVENTS))),
    ROW(ioctl, R_VCPU | R_LOOP, IF(IS(1, KVM_GET_ONE_REG))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_ONE_REG))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_ARM_VCPU_INIT))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_GET_DEVICE_ATTR))),
    ROW(ioctl, R_LOOP, IF(IS(1, KVM_SET_DEVICE_ATTR))),
#endif

    /* The main thread removes the files that it made, or gives translations their name. */
    ROW(unlink, R_MAIN),
    ROW(unlinkat, R_MAIN),
    ROW(renameat, R_MAIN),

#if SANDBOX_SANITIZERS
    /* Their runtimes read /proc/self and map the program to describe a fault, and go without the symbolizer that they
     * may not start; the leak check at exit walks the threads from a clone. */
    ROW(mmap, R_ALL, IF(BITS(2, PROT_EXEC, 0))),
    ROW(fork, R_ALL, .deny = EPERM),
    ROW(pipe, R_ALL, .deny = EPERM),
    ROW(pipe2, R_ALL, .deny = EPERM),
    ROW(open, R_ALL, IF(BITS(1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY))),
    ROW(openat, R_ALL, IF(BITS(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY))),
    ROW(close, R_ALL),
    ROW(fcntl, R_ALL, IF(IS(1, F_SETFD))),
    ROW(ioctl, R_ALL, IF(IS(1, TCGETS))),
    ROW(readlink, R_ALL),
    ROW(stat, R_ALL),
    ROW(newfstatat, R_ALL),
    ROW(getrusage, R_ALL),
    ROW(prlimit64, R_ALL),
    ROW(getuid, R_ALL),
    ROW(geteuid, R_ALL),
    ROW(getppid, R_ALL),
    ROW(prctl, R_ALL),
    ROW(sched_setaffinity, R_ALL),
    ROW(clone, R_MAIN),
    ROW(ptrace, R_MAIN),
    ROW(getdents, R_MAIN),
    ROW(getdents64, R_MAIN),
    ROW(process_vm_readv, R_ALL),
    ROW(tgkill, R_MAIN),
#endif
};

/* Names for the handler's line, beside those of the rows. */
#define FORBIDDEN(call)                                                                                                \
    {                                                                                                                  \
        SCMP_SYS(call), #call                                                                                          \
    }
static const struct {
    int nr;
    const char *name;
} sandbox_forbidden[] = {
    FORBIDDEN(clone),
    FORBIDDEN(clone3),
    FORBIDDEN(seccomp),
    FORBIDDEN(execve),
    FORBIDDEN(execveat),
    FORBIDDEN(fork),
    FORBIDDEN(vfork),
    FORBIDDEN(ptrace),
    FORBIDDEN(creat),
    FORBIDDEN(openat2),
    FORBIDDEN(socketpair),
    FORBIDDEN(pipe2),
    FORBIDDEN(dup),
    FORBIDDEN(dup2),
    FORBIDDEN(dup3),
    FORBIDDEN(access),
    FORBIDDEN(readlink),
    FORBIDDEN(getcwd),
    FORBIDDEN(chdir),
    FORBIDDEN(mkdir),
    FORBIDDEN(rename),
    FORBIDDEN(chmod),
    FORBIDDEN(setuid),
    FORBIDDEN(setgid),
    FORBIDDEN(mount),
    FORBIDDEN(unshare),
    FORBIDDEN(setns),
    FORBIDDEN(getdents64),
    FORBIDDEN(uname),
    FORBIDDEN(pkey_mprotect),
    FORBIDDEN(memfd_create),
    FORBIDDEN(statx),
    FORBIDDEN(prlimit64),
    FORBIDDEN(bpf),
    FORBIDDEN(userfaultfd),
    FORBIDDEN(perf_event_open),
    FORBIDDEN(ftruncate),
    FORBIDDEN(lstat),
    FORBIDDEN(io_uring_setup),
    FORBIDDEN(io_uring_register),
    FORBIDDEN(sched_setaffinity),
    FORBIDDEN(mlock),
    FORBIDDEN(process_vm_readv),
    FORBIDDEN(process_vm_writev),
};

static const char *const sandbox_role_names[] = {
    [SANDBOX_VCPU] = "vCPU",
    [SANDBOX_LOOP] = "loop",
    [SANDBOX_WORKER] = "worker",
    [SANDBOX_NET] = "network",
    [SANDBOX_NET_GUESTFWD] = "network",
    [SANDBOX_MAIN] = "main",
};

static bool sandbox_off, sandbox_flash;
static __thread enum sandbox_role sandbox_role;

void sandbox_disable(void)
{
    sandbox_off = true;
}

void sandbox_allow_flash(void)
{
    sandbox_flash = true;
}

/* One arena for all threads: before glibc gives memory of another one back, it opens a file in /proc to learn whether
 * it may (malloc/arena.c, shrink_heap). */
void sandbox_prepare(void)
{
    mallopt(M_ARENA_MAX, 1);
}

static const char *sandbox_call_name(int nr)
{
    for (size_t i = 0; i < ARRAY_SIZE(sandbox_forbidden); i++)
        if (sandbox_forbidden[i].nr == nr)
            return sandbox_forbidden[i].name;
    for (size_t i = 0; i < ARRAY_SIZE(sandbox_rows); i++)
        if (sandbox_rows[i].nr == nr)
            return sandbox_rows[i].name;
    return "a call without a name here";
}

/* Appends to a line that has room for `size` characters. Async-signal-safe, unlike snprintf. */
static size_t sandbox_append(char *line, size_t n, size_t size, const char *text)
{
    while (*text && n < size)
        line[n++] = *text++;
    return n;
}

/* SIGSYS of the filter. Interrupts anything, so it takes no lock, and no memory. */
static void sandbox_violation(int sig, siginfo_t *si, void *context)
{
    char line[200], digits[12];
    size_t n = 0, d = sizeof(digits) - 1;
    unsigned nr = (unsigned)si->si_syscall;
    ssize_t r;

    (void)context;
    digits[d] = 0;
    do
        digits[--d] = (char)('0' + nr % 10);
    while ((nr /= 10) && d);
    n = sandbox_append(line, n, sizeof(line), "pipit: sandbox: the ");
    n = sandbox_append(line, n, sizeof(line), sandbox_role_names[sandbox_role]);
    n = sandbox_append(line, n, sizeof(line), " role's filter forbids system call ");
    n = sandbox_append(line, n, sizeof(line), digits + d);
    n = sandbox_append(line, n, sizeof(line), " (");
    n = sandbox_append(line, n, sizeof(line), sandbox_call_name(si->si_syscall));
    n = sandbox_append(line, n, sizeof(line), ") with these arguments; ending\n");
    r = write(STDERR_FILENO, line, n);
    (void)r;
    /* The network's process has a copy of the saved settings, but the terminal is not its own to give back. */
    if (sandbox_role != SANDBOX_NET && sandbox_role != SANDBOX_NET_GUESTFWD)
        chardev_restore_terminal();
    /* SIGSYS is blocked here: raised now, it ends the process by its default action when this returns. */
    signal(sig, SIG_DFL);
    raise(sig);
}

static int sandbox_add(scmp_filter_ctx ctx, const struct sandbox_row *row)
{
    struct scmp_arg_cmp cmp[3];
    unsigned n = 0;

    if (row->self)
        cmp[n++] = (struct scmp_arg_cmp){0, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)getpid()};
    for (unsigned i = 0; i < ARRAY_SIZE(row->cond); i++) {
        const struct sandbox_cond *c = &row->cond[i];
        if (c->mask)
            cmp[n++] = (struct scmp_arg_cmp){c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value};
    }
    return seccomp_rule_add_array(ctx, row->deny ? SCMP_ACT_ERRNO((uint32_t)row->deny) : SCMP_ACT_ALLOW, row->nr, n,
                                  cmp);
}

static int sandbox_load(enum sandbox_role role)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    int r;

    if (!ctx)
        return -ENOMEM;
    /* Another architecture's calling convention has other numbers; nothing here uses one. */
    r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* Sorted: a vCPU's calls are frequent, and the filter is long. */
    if (!r)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; !r && i < ARRAY_SIZE(sandbox_rows); i++)
        if (sandbox_rows[i].roles & BIT32(role) && (sandbox_flash || !sandbox_rows[i].flash))
            r = sandbox_add(ctx, &sandbox_rows[i]);
    if (!r)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

int sandbox_enter(enum sandbox_role role, struct err *e)
{
    struct sigaction sa = {.sa_sigaction = sandbox_violation, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigset_t sys;
    int r;

    if (sandbox_off)
        return 0;
    sandbox_role = role;
    sigfillset(&sa.sa_mask);
    sigaction(SIGSYS, &sa, NULL);
    /* Blocked, it would end the process without the line. */
    sigemptyset(&sys);
    sigaddset(&sys, SIGSYS);
    pthread_sigmask(SIG_UNBLOCK, &sys, NULL);
    r = sandbox_load(role);
    if (r)
        return err_set(e, -r, "the %s role's seccomp filter cannot be installed: %s (--sandbox off does without)",
                       sandbox_role_names[role], strerror(-r));
    return 0;
}
