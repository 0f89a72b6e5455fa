/*
 * ptrace of a guest by a guest: what the tracee keeps of it (tracee.c), and the tracer's requests and waits (tracer.c,
 * regset.c).
 *
 * The host's ptrace is underneath: it knows who may trace whom, whose parent sees what, and what happens when one of
 * the two ends. But its stops are the emulator's: anywhere in translated code, for signals of ours, at calls of ours.
 * So what a guest tracer sees are stops that its tracee makes itself, where the guest's state is whole: it fills in
 * struct user_trace and executes the one HLT of user_trace_halt, which is a SIGSEGV that nothing can block. The
 * tracer's emulator, in its wait calls, knows that stop by its address, reads status, registers and siginfo from the
 * tracee's memory, and steps over the instruction when the guest resumes. All other stops of the host are passed over
 * there:
 *
 *   a signal       is put into user_trace.injected and delivered as a SIGSEGV of ours (USER_TRACE_CODE), whose handler
 *                  keeps it like any signal; the tracee makes a stop of it before it delivers it
 *   PTRACE_EVENT_STOP, a group stop
 *                  the same SIGSEGV without a signal makes the thread leave what it is in ("kick"); it halts, is
 *                  interrupted again and then stands in the host's own stop, at a place where its state is whole
 *   faults of accesses, and signals that are to have the kernel's default action
 *                  go on as they are
 *   fork, clone    the tracee makes the event's stop when it has given back the locks of a fork
 *   vfork, exit    are shown as they are: the state is whole there
 *   exec           the new program's emulator makes the stop when the program is loaded
 *
 * Which is the tracee's struct user_thread says its stack pointer; that it is one of ours, the build id in its image,
 * which is linked to a fixed address. A process that is none of ours can be traced by the host's own requests, but has
 * no arm64 registers: PTRACE_ATTACH and PTRACE_SEIZE refuse it (EPERM), and what a tracee executes of the host's own
 * programs is shown as the host has it, with EIO for register sets.
 *
 * A thread that is not traced pays nothing: system calls look at `watch`, which is also that of -strace.
 */
#ifndef PIPIT_USER_TRACE_H
#define PIPIT_USER_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/user/abi.h"

struct user_thread;

/* user_trace.watch */
#define USER_WATCH_STRACE 1u
#define USER_WATCH_TRACED 2u

/* user_trace.resume: how the tracer let it go on. */
#define USER_RESUME_SYSCALL 1u
#define USER_RESUME_STEP 2u
#define USER_RESUME_EMULATE 4u /* PTRACE_SYSEMU: the call is not made */

/* user_trace.inject */
#define USER_INJECT_SIGNAL 1u
#define USER_INJECT_KICK 2u

/* si_code of the SIGSEGV that carries these; negative, as processes may send it. */
#define USER_TRACE_CODE (-0x706970)

enum user_trace_kind {
    USER_STOP_NONE,
    USER_STOP_SIGNAL, /* info is the signal; goes on with `signal` (0: none) */
    USER_STOP_ENTRY,
    USER_STOP_EXIT,
    USER_STOP_SECCOMP,
    USER_STOP_EVENT,
    USER_STOP_PARK, /* kicked: not shown where the host has a stop for it */
};

/* Debug registers as the tracer wrote them: DBGBVRn and DBGWVRn, and of DBGBCRn and DBGWCRn what Linux knows
 * (encode_ctrl_reg in asm/hw_breakpoint.h). As many as most machines have. */
#define USER_HW_BREAKS 6u
#define USER_HW_WATCHES 4u
#define USER_HW_ENABLED 1u
#define USER_HW_EL0 (2u << 1)
#define USER_HW_TYPE(ctrl) ((ctrl) >> 3 & 3u) /* 0: execute; 1: load, 2: store, 3: both */
#define USER_HW_BYTES(ctrl) ((ctrl) >> 5 & 0xffu)
struct user_hw_point {
    uint64_t addr;
    uint32_t ctrl;
};

/* In struct user_thread. The tracer writes it while the thread stands in a stop of the host. */
struct user_trace {
    uint64_t self; /* the address of its thread: a region in use */
    uint32_t watch;
    uint32_t options; /* PTRACE_O_*, as the guest set them */
    uint32_t seized;
    uint32_t resume;

    /* The stop that it stands in. */
    uint32_t kind;
    uint32_t code; /* of the wait status: signal, and the event above */
    uint64_t message;
    int32_t signal; /* the tracer's answer */
    uint32_t shown; /* the tracer has waited for it */
    int32_t nr;     /* the system call, which the tracer may change; -1: in none, or to be skipped */
    struct abi_siginfo info;

    /* What the tracer's emulator asks for. */
    uint32_t inject, kick;
    uint32_t park;    /* code of a stop for a kick where the host has none */
    uint32_t event;   /* PTRACE_EVENT_FORK or _CLONE, with `message` */
    uint32_t born;    /* attached by its parent's fork: SIGSTOP, or another value for PTRACE_EVENT_STOP */
    uint32_t restart; /* the kernel's code for the system call that `inject` interrupted (ERESTARTSYS ...) */
    struct abi_siginfo injected;

    /* What the tracee tells it. */
    uint32_t forking;      /* in clone without CLONE_VM: a copy of this with result 0 is a child that has not run */
    uint32_t parked;       /* the host's stop is at a place where the state is whole */
    uint32_t mask_changed; /* PTRACE_SETSIGMASK: user_thread.mask is not the host's yet */
    uint32_t hw_changed;   /* `hw` is not the JIT's yet */
    struct user_hw_point hw[USER_HW_BREAKS + USER_HW_WATCHES]; /* breakpoints, watchpoints */

    uint32_t raw; /* a signal that the kernel shall take its default action for */

    uint32_t restarting; /* the call at restart_pc is made again, unless a handler runs first: its code */
    uint64_t restart_pc;
    bool rechecked; /* the call was shown by SECCOMP_RET_TRACE */
    bool queued;    /* `waiting` came while another signal was pending: SIGSTOP, which cannot be blocked */
    struct abi_siginfo waiting;
};

/* What concerns a whole process, at the same address in all of one build. */
#define USER_POKES 32
struct user_trace_area {
    uint32_t started; /* threads are in use; before, the tracer leaves word here */
    uint32_t exec;    /* traced from the first instruction on */
    uint32_t options, seized, resume;
    uint32_t code; /* of the stop for the exec; 0: none */
    uint64_t message;
    uint32_t kick, park;
    /* Memory that the tracer wrote to: the tracer counts `poked`, the tracee `served`; the last USER_POKES are here. */
    _Atomic uint32_t poked, served;
    struct {
        uint64_t addr, len;
    } poke[USER_POKES];
};
extern struct user_trace_area user_trace_area;

/* ---- the tracee ---- */

/* A new thread's, zeroed otherwise; `from`: its creator (NULL: none). */
void user_trace_init(struct user_thread *t, const struct user_thread *from);
/* Before the first instruction of a thread: the stop that its being attached to means. */
void user_trace_begin(struct user_thread *t);
/* The same in the child of a fork, which has a copy of the parent's. */
void user_trace_child(struct user_thread *t);
/* Before the first instruction of a process. */
void user_trace_exec(struct user_thread *t);
/* In the host's handler: a SIGSEGV with USER_TRACE_CODE. False: it is not the tracer's. */
bool user_trace_caught(struct user_thread *t);
/* Before a signal is delivered: false where the tracer has dropped it; else *info may have changed. */
bool user_trace_signal(struct user_thread *t, struct abi_siginfo *info);
/* After signals were delivered: stops that were asked for. True: look for signals again. */
bool user_trace_poll(struct user_thread *t);
/* A handler with these sa_flags begins: does the interrupted call end instead of being restarted? */
void user_trace_handler(struct user_thread *t, uint64_t sa_flags);
/* Around what the kernel does to the thread as a default action. */
void user_trace_park(struct user_thread *t, int sig, bool begin);
/* The stop before a system call: false where it is to be skipped. */
bool user_trace_enter(struct user_thread *t);
/* SECCOMP_RET_TRACE: false where nobody is told. */
bool user_trace_seccomp(struct user_thread *t, uint32_t data);
/* PTRACE_O_SUSPEND_SECCOMP: filters are out of force. */
bool user_trace_suspends_seccomp(const struct user_thread *t);
/* The stops after it; X0 is set. */
void user_trace_leave(struct user_thread *t);
/* A handler is about to begin, in a single step. */
void user_trace_entered(struct user_thread *t);
/* After one instruction was executed on its own. */
void user_trace_stepped(struct user_thread *t);

/* ---- the tracer ---- */

/* The host's HLT. */
extern const char user_trace_halt_insn[] __attribute__((visibility("hidden")));
extern const char user_trace_halt_end[] __attribute__((visibility("hidden")));
/* struct user_regs_struct of the host, in words (asm/user_64.h). */
enum { HOST_RAX = 10, HOST_ORIG_RAX = 15, HOST_RIP = 16, HOST_RSP = 19, HOST_REGS = 27 };

struct user_tracee {
    struct user_tracee *next;
    int32_t tid, tracer; /* the tracer's thread */
    uint32_t options, resume;
    bool seized;
    bool foreign;    /* not one of ours */
    bool stopped;    /* as the guest sees it */
    bool direct;     /* in a stop of the host's own, not at the HLT */
    bool kicking;    /* a SIGSEGV of ours is on its way */
    uint64_t thread; /* its struct user_thread */
};

/* ---- tracer.c ---- */

/* This process is no tracer any more. */
void user_tracer_forked(void);
/* The calling thread's tracee, or NULL. */
struct user_tracee *user_tracer_find(const struct user_thread *t, int32_t tid);
struct user_tracee *user_tracer_add(const struct user_thread *t, int32_t tid);
void user_tracer_remove(int32_t tid);
/* Does a process run this very emulator? 1 or 0, or -errno. */
int user_tracer_is_ours(int32_t tid);
/* A wait of the host's says that `tid` has stopped, with this code (its status >> 8). True: the guest is to see the
 * stop, as *code; false: it has gone on. */
bool user_tracer_stopped(const struct user_thread *t, int32_t tid, uint32_t *code);
/* Has the thread running tracees beside `tid`? Their stops must be looked at while it waits for that one alone. */
bool user_tracer_has_others(const struct user_thread *t, int32_t tid);
void user_tracer_serve_others(const struct user_thread *t, int32_t tid);
/* Does this process trace any? */
bool user_tracer_active(void);
/* Memory of a process was written to. */
void user_tracer_poked(int32_t tid, uint64_t addr, uint64_t len);

/* Memory of a tracee: 0 or -errno. */
int user_tracee_read(const struct user_tracee *e, uint64_t addr, void *buf, uint64_t len);
int user_tracee_write(const struct user_tracee *e, uint64_t addr, const void *buf, uint64_t len);
/* PTRACE_GETREGSET and PTRACE_SETREGSET of a stopped one; `iov` is the guest's. */
int64_t user_regset_get(const struct user_tracee *e, uint64_t type, uint64_t iov);
int64_t user_regset_set(const struct user_tracee *e, uint64_t type, uint64_t iov);
/* PTRACE_GET_SYSCALL_INFO. */
int64_t user_regset_syscall_info(const struct user_tracee *e, uint64_t size, uint64_t va);

#endif
