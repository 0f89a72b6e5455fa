/* ptrace(2) of a guest: requests, see trace.h. */
#include <asm/ptrace-abi.h>
#include <errno.h>
#include <linux/ptrace.h>

#include "vmm/user/access.h"
#include "vmm/user/proc.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"
#include "vmm/user/trace.h"

/* The host does these itself, in stops that are ours. */
#define OPTIONS_HOST                                                                                                   \
    (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT |   \
     PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP)
#define OPTIONS_KNOWN (OPTIONS_HOST | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP)

/* Requests with the same numbers on both. */
#ifndef PTRACE_SYSEMU
#define PTRACE_SYSEMU 31
#define PTRACE_SYSEMU_SINGLESTEP 32
#endif

#define UNTAGGED(va) ((va) & (BIT64(56) - 1))

#define TRACE_AT(e, field) ((e)->thread + offsetof(struct user_thread, trace.field))
#define GET_TRACE(e, field, to) user_tracee_read((e), TRACE_AT(e, field), (to), sizeof(*(to)))
#define PUT_TRACE(e, field, from) user_tracee_write((e), TRACE_AT(e, field), (from), sizeof(*(from)))

static int64_t host(const struct user_tracee *e, uint64_t request, uint64_t addr, uint64_t data)
{
    return sys_call(__NR_ptrace, request, e->tid, addr, data);
}

/* ---- beginnings and ends ---- */

static int64_t trace_me(struct user_thread *t)
{
    int64_t r = sys_call(__NR_ptrace, PTRACE_TRACEME, 0, 0, 0);

    if (r)
        return r;
    t->trace.watch |= USER_WATCH_TRACED;
    t->trace.options = t->trace.seized = t->trace.resume = 0;
    return 0;
}

static uint64_t host_options(uint64_t guest)
{
    /* An exec must always be known of: the new program makes stops, too. */
    return (guest & OPTIONS_HOST) | PTRACE_O_TRACEEXEC;
}

static int64_t attach(struct user_thread *t, uint64_t request, int32_t tid, uint64_t addr, uint64_t options)
{
    bool seize = request == PTRACE_SEIZE;
    struct user_tracee *e;
    int64_t r;

    if (seize && (addr || (options & ~(uint64_t)OPTIONS_KNOWN)))
        return -EIO;
    /* Where its memory cannot be read, the host says why it cannot be traced. */
    if (user_tracer_is_ours(tid) == 0)
        return -EPERM;
    r = sys_call(__NR_ptrace, request, tid, 0, seize ? host_options(options) : 0);
    if (r)
        return r;
    e = user_tracer_add(t, tid);
    if (!e) {
        sys_call(__NR_ptrace, PTRACE_DETACH, tid, 0, 0);
        return -ENOMEM;
    }
    e->seized = seize;
    e->options = seize ? (uint32_t)options : 0;
    return 0;
}

static int64_t set_options(struct user_tracee *e, uint64_t options)
{
    uint32_t bits = (uint32_t)options;
    int64_t r;

    if (options & ~(uint64_t)OPTIONS_KNOWN)
        return -EINVAL;
    r = host(e, PTRACE_SETOPTIONS, 0, host_options(options));
    if (r)
        return r;
    e->options = bits;
    if (e->thread)
        PUT_TRACE(e, options, &bits);
    return 0;
}

/* ---- going on ---- */

/* The answer to a stop of the tracee's own: which signal it is to take, with which siginfo. */
static int answer(const struct user_thread *t, const struct user_tracee *e, int32_t sig)
{
    struct abi_siginfo info;
    uint32_t kind;
    int r = GET_TRACE(e, kind, &kind);

    if (!r)
        r = GET_TRACE(e, info, &info);
    if (!r && sig && kind == USER_STOP_SIGNAL && info.signo != sig) {
        info = (struct abi_siginfo){.signo = sig, .code = ABI_SI_USER};
        info.pid = (int32_t)sys_call(__NR_getpid);
        info.uid = (uint32_t)sys_call(__NR_getuid);
        r = PUT_TRACE(e, info, &info);
    }
    (void)t;
    return r ? r : PUT_TRACE(e, signal, &sig);
}

static int64_t resume(struct user_thread *t, struct user_tracee *e, uint64_t request, uint64_t signal)
{
    uint32_t how = request == PTRACE_SYSCALL             ? USER_RESUME_SYSCALL
                   : request == PTRACE_SINGLESTEP        ? USER_RESUME_STEP
                   : request == PTRACE_SYSEMU            ? USER_RESUME_EMULATE
                   : request == PTRACE_SYSEMU_SINGLESTEP ? USER_RESUME_EMULATE | USER_RESUME_STEP
                                                         : 0;
    int32_t sig = (int32_t)signal;
    int64_t r;

    if (signal > ABI_NSIG)
        return -EIO;
    if (e->foreign) {
        r = host(e, request, 0, signal);
        e->stopped = r != 0;
        return r;
    }
    e->resume = how;
    if (e->thread)
        PUT_TRACE(e, resume, &how);
    if (e->direct) {
        r = host(e, PTRACE_CONT, 0, signal);
    } else {
        r = answer(t, e, sig);
        if (!r)
            r = host(e, PTRACE_POKEUSR, HOST_RIP * 8, (uint64_t)(uintptr_t)user_trace_halt_end);
        if (!r)
            r = host(e, PTRACE_CONT, 0, 0);
    }
    e->stopped = r != 0;
    return r;
}

static int64_t detach(struct user_thread *t, struct user_tracee *e, uint64_t signal)
{
    uint32_t watch, none = 0, one = 1;
    int64_t r;

    if (signal > ABI_NSIG)
        return -EIO;
    if (!e->foreign && e->thread && !GET_TRACE(e, watch, &watch)) {
        watch &= ~USER_WATCH_TRACED;
        PUT_TRACE(e, resume, &none);
        PUT_TRACE(e, hw_changed, &one);
        PUT_TRACE(e, watch, &watch);
    }
    if (!e->foreign && !e->direct) {
        r = answer(t, e, (int32_t)signal);
        if (!r)
            host(e, PTRACE_POKEUSR, HOST_RIP * 8, (uint64_t)(uintptr_t)user_trace_halt_end);
        signal = 0;
    }
    r = host(e, PTRACE_DETACH, 0, signal);
    if (!r)
        user_tracer_remove(e->tid);
    return r;
}

/* ---- what a stop is about ---- */

static int64_t get_siginfo(const struct user_tracee *e, uint64_t va)
{
    struct abi_siginfo info;
    uint32_t kind;
    int r;

    if (e->direct)
        return host(e, PTRACE_GETSIGINFO, 0, va);
    r = GET_TRACE(e, kind, &kind);
    if (!r && kind == USER_STOP_PARK)
        return -EINVAL; /* a group stop */
    if (!r)
        r = GET_TRACE(e, info, &info);
    if (r)
        return r;
    return user_copy_out(va, &info, sizeof(info)) ? -EFAULT : 0;
}

static int64_t set_siginfo(const struct user_tracee *e, uint64_t va)
{
    struct abi_siginfo info;

    if (e->direct)
        return host(e, PTRACE_SETSIGINFO, 0, va);
    if (user_copy_in(&info, va, sizeof(info)))
        return -EFAULT;
    return PUT_TRACE(e, info, &info);
}

static int64_t get_message(const struct user_tracee *e, uint64_t va)
{
    uint64_t message;

    if (e->direct)
        return host(e, PTRACE_GETEVENTMSG, 0, va);
    int r = GET_TRACE(e, message, &message);
    if (r)
        return r;
    return user_put64(va, message) ? -EFAULT : 0;
}

static int64_t signal_mask(const struct user_tracee *e, bool set, uint64_t size, uint64_t va)
{
    uint64_t at = e->thread + offsetof(struct user_thread, mask), mask;
    uint32_t changed = 1;
    int r;

    if (size != sizeof(mask))
        return -EINVAL;
    if (e->foreign)
        return host(e, set ? PTRACE_SETSIGMASK : PTRACE_GETSIGMASK, size, va);
    if (!e->thread)
        return -ESRCH;
    if (!set) {
        r = user_tracee_read(e, at, &mask, sizeof(mask));
        if (r)
            return r;
        return user_put64(va, mask) ? -EFAULT : 0;
    }
    if (user_get64(va, &mask))
        return -EFAULT;
    mask &= ~(ABI_SIGBIT(ABI_SIGKILL) | ABI_SIGBIT(ABI_SIGSTOP));
    r = user_tracee_write(e, at, &mask, sizeof(mask));
    return r ? r : PUT_TRACE(e, mask_changed, &changed);
}

static int64_t poke(const struct user_tracee *e, uint64_t request, uint64_t addr, uint64_t data)
{
    int64_t r = host(e, request, addr, data);

    if (!r && !e->foreign)
        user_tracer_poked(e->tid, addr, sizeof(data));
    return r;
}

/* ---- other ways to write to a tracee's code ---- */

int64_t user_call_trace_pwrite64(struct user_thread *t, const uint64_t a[6])
{
    int64_t r = user_host_call(t, __NR_pwrite64, a[0], a[1], a[2], a[3]);
    int32_t pid = unlikely(user_tracer_active()) && r > 0 ? user_proc_memory_of((int)a[0]) : 0;

    if (pid)
        user_tracer_poked(pid, a[3], (uint64_t)r);
    return r;
}

int64_t user_call_trace_process_vm_writev(struct user_thread *t, const uint64_t a[6])
{
    int64_t r = user_host_call(t, __NR_process_vm_writev, a[0], a[1], a[2], a[3], a[4], a[5]);
    uint64_t part[2], left = r > 0 ? (uint64_t)r : 0;

    for (uint64_t i = 0; left && i < a[4]; i++) {
        if (user_copy_in(part, a[3] + i * sizeof(part), sizeof(part)))
            break;
        part[1] = MIN(part[1], left);
        user_tracer_poked((int32_t)a[0], part[0], part[1]);
        left -= part[1];
    }
    return r;
}

/* ---- requests ---- */

/* Of a tracee that stands still. */
static int64_t request_stopped(struct user_thread *t, struct user_tracee *e, const uint64_t a[6])
{
    uint64_t request = a[0], addr = a[2], data = a[3];

    switch (request) {
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA: return host(e, request, UNTAGGED(addr), data);
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA: return poke(e, request, UNTAGGED(addr), data);
    case PTRACE_CONT:
    case PTRACE_SYSCALL:
    case PTRACE_SINGLESTEP:
    case PTRACE_SYSEMU:
    case PTRACE_SYSEMU_SINGLESTEP: return resume(t, e, request, data);
    case PTRACE_DETACH: return detach(t, e, data);
    case PTRACE_SETOPTIONS: return set_options(e, data);
    case PTRACE_GETEVENTMSG: return get_message(e, data);
    case PTRACE_GETSIGINFO: return get_siginfo(e, data);
    case PTRACE_SETSIGINFO: return set_siginfo(e, data);
    case PTRACE_GETREGSET: return user_regset_get(e, addr, data);
    case PTRACE_SETREGSET: return user_regset_set(e, addr, data);
    case PTRACE_GET_SYSCALL_INFO: return user_regset_syscall_info(e, addr, data);
    case PTRACE_GETSIGMASK: return signal_mask(e, false, addr, data);
    case PTRACE_SETSIGMASK: return signal_mask(e, true, addr, data);
    /* The host has the same filters in the same order; the programs themselves are translated there. */
    case PTRACE_SECCOMP_GET_METADATA:
    case PTRACE_PEEKSIGINFO:
    case PTRACE_GET_RSEQ_CONFIGURATION: return host(e, request, addr, data);
    case PTRACE_LISTEN: {
        int64_t r = e->direct ? host(e, request, 0, 0) : -EIO;
        e->stopped = r != 0;
        return r;
    }
    default: return -EIO; /* arm64 has no others */
    }
}

int64_t user_call_ptrace(struct user_thread *t, const uint64_t a[6])
{
    int32_t tid = (int32_t)a[1];
    struct user_tracee *e;

    switch (a[0]) {
    case PTRACE_TRACEME: return trace_me(t);
    case PTRACE_ATTACH:
    case PTRACE_SEIZE: return attach(t, a[0], tid, a[2], a[3]);
    default: break;
    }
    e = user_tracer_find(t, tid);
    if (!e)
        return -ESRCH;
    if (a[0] == PTRACE_KILL)
        return host(e, PTRACE_KILL, 0, 0);
    if (a[0] == PTRACE_INTERRUPT)
        return e->seized ? host(e, PTRACE_INTERRUPT, 0, 0) : -EIO;
    return e->stopped ? request_stopped(t, e, a) : -ESRCH;
}
