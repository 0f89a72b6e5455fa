/*
 * A thread of the guest, which is a thread of the host: its CPU, what signals it blocks and waits for, and where it
 * stands between two runs of guest code.
 *
 * Every thread runs on a region of memory of its own, USER_REGION bytes and aligned to that: this structure at the
 * bottom, the stack that signal handlers use, a guard page, and the emulator's stack, which grows down from the top.
 * So the stack pointer says which thread this is, and neither FS nor GS is needed.
 */
#ifndef PIPIT_USER_THREAD_H
#define PIPIT_USER_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/arm64/cpu.h"
#include "vmm/user/abi.h"
#include "vmm/user/sys/gate.h"
#include "vmm/user/trace.h"

#define USER_REGION KIB(256)
#define USER_SIGNAL_STACK KIB(64)

/* A synchronous exception as the kernel reports it; esr 0: none is shown to the guest. */
struct user_fault {
    int sig, code;
    uint64_t addr;
    uint32_t esr;
    uint32_t value, nr; /* SIGSYS: si_errno and the system call */
};

/* Why guest code was left, beside a signal. */
enum user_event { USER_EVENT_NONE, USER_EVENT_FAULT };

/* Signals that the host raises for accesses of ours: they are never blocked there, whatever the guest blocks. */
#define USER_SYNC_SIGNALS (ABI_SIGBIT(ABI_SIGSEGV) | ABI_SIGBIT(ABI_SIGBUS) | ABI_SIGBIT(ABI_SIGFPE))
#define USER_SYNC_COUNT 3
/* Signals whose default is to dump core: they have our handler, too, unless they are ignored, because the host's core
 * file would be the emulator's. */
#define USER_CORE_SIGNALS                                                                                              \
    (USER_SYNC_SIGNALS | ABI_SIGBIT(ABI_SIGQUIT) | ABI_SIGBIT(ABI_SIGILL) | ABI_SIGBIT(ABI_SIGTRAP) |                  \
     ABI_SIGBIT(ABI_SIGABRT) | ABI_SIGBIT(ABI_SIGXCPU) | ABI_SIGBIT(ABI_SIGXFSZ) | ABI_SIGBIT(ABI_SIGSYS))

/* What a debugger knows of a thread (debug.h). All but `state` belong to the thread itself while it runs, and to the
 * thread that serves the debugger while that has stopped it. */
struct user_debug_thread {
    _Atomic uint32_t state; /* enum user_debug_state */
    bool off;               /* it is not debugged: a child in this memory */
    bool held;              /* it stays when others are resumed */
    bool step;
    uint64_t range[2]; /* with step: on until the PC is outside */
    uint8_t why;       /* enum user_debug_why: what it has to report */
    uint64_t addr;     /* with it */
    int32_t child;
    int32_t signal;          /* to be delivered when it goes on; 0: none */
    struct abi_siginfo info; /* of the signal that was reported last */
};

struct user_space_object;

/* What a signal does; shared by threads made with CLONE_SIGHAND. */
struct user_sighand;

struct user_thread {
    struct arm64_cpu *cpu;
    enum user_event event;
    struct user_fault fault; /* with USER_EVENT_FAULT: what the guest did */
    bool whole;              /* the system call wrote more of the CPU than X0 */

    /* thread.fault_address and fault_code of the kernel: what signal frames show. */
    uint64_t fault_address;
    uint32_t fault_code;

    struct user_sighand *sighand;
    uint64_t mask;       /* as the guest set it */
    uint64_t saved_mask; /* what a signal frame saves while restore_mask is set (sigsuspend, ppoll ...) */
    bool restore_mask;
    bool waits; /* in a system call that waits under another mask, wait_mask */
    uint64_t wait_mask;
    struct sys_gate_state
        gate; /* pending: `info` is to be delivered, and all others are blocked on the host till then */
    struct user_filter *filters;     /* seccomp, the newest */
    struct user_space_object *rings; /* io_uring: what it has registered (uring.h); NULL: nothing */
    struct abi_siginfo info;
    uint64_t held; /* USER_SYNC_SIGNALS that came from other processes while the guest blocks them */
    struct abi_siginfo held_info[USER_SYNC_COUNT];
    struct abi_stack altstack;

    struct user_trace trace;
    struct user_debug_thread debug;

    bool tagged;                                     /* PR_TAGGED_ADDR_ENABLE: system calls take tagged addresses */
    unsigned strace_word, strace_arg, strace_column; /* how far the line of the present call is printed */
    int32_t tid;
    struct user_thread *prev, *next; /* all that share this memory */
    bool vfork;                      /* whoever made it waits for its end, and then gives its region back */

    _Atomic uint32_t busy; /* the region is in use; cleared by the very last instruction of the thread */
};

/* The calling thread. */
static inline struct user_thread *user_self(void)
{
    uint64_t sp;

    __asm__("mov %%rsp, %0" : "=r"(sp));
    return (struct user_thread *)align_down(sp, USER_REGION);
}

static inline uint64_t user_thread_top(const struct user_thread *t)
{
    return (uint64_t)(uintptr_t)t + USER_REGION;
}

static inline struct abi_stack user_thread_signal_stack(struct user_thread *t)
{
    uint64_t base = align_up((uint64_t)(uintptr_t)t + sizeof(*t), 4096);
    return (struct abi_stack){.sp = base, .size = USER_SIGNAL_STACK};
}

/* ---- thread.c ---- */

/* A region with a thread whose CPU is a copy of `from`'s (NULL: it has none yet); not in the list yet. NULL: out of
 * memory. */
struct user_thread *user_thread_create(const struct user_thread *from);
/* Into the list of threads, and out of it. */
void user_thread_link(struct user_thread *t);
void user_thread_unlink(struct user_thread *t);
/* For the last words of a process: how many there are, and each of them (NULL: the first), without a lock. */
unsigned user_thread_count(void);
struct user_thread *user_thread_next(struct user_thread *t);
/* Where the first one is kept: the same place of the image in every process of this program. */
const void *user_thread_list(void);
/* While this is held, threads neither come nor go: whoever would wait. */
void user_thread_list_lock(void);
void user_thread_list_unlock(void);
/* Calls fn for the thread with this number; false: there is none. It does not end meanwhile. */
bool user_thread_with(int32_t tid, void (*fn)(struct user_thread *t, void *opaque), void *opaque);
/* Is it the only one that shares this memory? */
bool user_thread_alone(const struct user_thread *t);
/* A thread whose seccomp filters t's do not begin with, so that it cannot get t's; 0: there is none. */
int32_t user_thread_filters_differ(const struct user_thread *t);
/* All threads get t's seccomp filters. */
void user_thread_share_filters(struct user_thread *t);
/* A thread that never ran, or whose process has gone: gives everything back. */
void user_thread_destroy(struct user_thread *t);
/* The child of a fork has only the calling thread. */
void user_thread_forked(struct user_thread *t);
void user_thread_lock_all(struct user_thread *t);
/* In parent and child; -errno: the child cannot run guest code. */
int user_thread_unlock_all(struct user_thread *t, bool child);

/* Runs the guest; on the thread's own stack. */
__attribute__((noreturn)) void user_thread_run(struct user_thread *t);
/* Leaves the stack that the kernel gave for the thread's own, where it calls fn(t, arg), which must not return. */
__attribute__((noreturn)) void user_thread_enter(struct user_thread *t,
                                                 void (*fn)(struct user_thread *t, uint64_t *arg), uint64_t *arg);
/* Ends the calling thread by the system call `nr` (exit or exit_group). */
__attribute__((noreturn)) void user_thread_end(struct user_thread *t, long nr, int status);

#endif
