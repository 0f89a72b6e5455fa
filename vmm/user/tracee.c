/* The tracee's side of ptrace: stops that it makes, see trace.h. */
#include <errno.h>
#include <linux/ptrace.h>
#include <string.h>

#include "jit/user.h"
#include "vmm/user/access.h"
#include "vmm/user/executor.h"
#include "vmm/user/signal.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"
#include "vmm/user/trace.h"

#define EVENT_CODE(event) (ABI_SIGTRAP | (uint32_t)(event) << 8)
#define SYSGOOD 0x80u
#define TRAP_TRACE 2

/* What the kernel's restart codes are called there: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK.
 */
#define RESTART_SYS 512
#define RESTART_NOINTR 513
#define RESTART_NOHAND 514
#define RESTART_BLOCK 516

struct user_trace_area user_trace_area;

/* Returns 0 behind the instruction where a tracer has moved the PC there, 1 where the fault came to us: nobody traces.
 */
int user_trace_halt(void) __attribute__((visibility("hidden")));
__asm__(".pushsection .text\n"
        ".globl user_trace_halt, user_trace_halt_insn, user_trace_halt_end\n"
        ".hidden user_trace_halt, user_trace_halt_insn, user_trace_halt_end\n"
        ".type user_trace_halt, @function\n"
        "user_trace_halt:\n"
        "    xor %r11d, %r11d\n"
        "user_trace_halt_insn:\n"
        "    hlt\n"
        "user_trace_halt_end:\n"
        "    mov %r11d, %eax\n"
        "    ret\n"
        ".size user_trace_halt, . - user_trace_halt\n"
        ".popsection\n"
        ".pushsection user_extable, \"a\"\n"
        ".balign 4\n"
        ".long user_trace_halt_insn - .\n"
        ".long user_trace_halt_end - .\n"
        ".popsection\n");

static bool is_traced(const struct user_thread *t)
{
    return t->trace.watch & USER_WATCH_TRACED;
}

/* ---- stops ---- */

/* Translations of memory that the tracer wrote go. Threads may do it at once, and then do it twice. */
static void serve_pokes(void)
{
    struct user_trace_area *m = &user_trace_area;
    uint32_t end = atomic_load(&m->poked), at = atomic_load(&m->served);

    if (at == end)
        return;
    if (end - at > USER_POKES)
        user_executor_invalidate(0, USER_TASK_SIZE);
    else
        for (; at != end; at++)
            user_executor_invalidate(m->poke[at % USER_POKES].addr, m->poke[at % USER_POKES].len);
    atomic_store(&m->served, end);
}

/* The tracer's debug registers become the JIT's. Those of a thread that nobody traces are gone. */
static void take_points(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;
    struct jit_watch point[USER_HW_BREAKS + USER_HW_WATCHES];
    unsigned n = 0;

    if (!is_traced(t))
        memset(tr->hw, 0, sizeof(tr->hw));
    for (unsigned i = 0; i < ARRAY_SIZE(tr->hw); i++) {
        uint32_t ctrl = tr->hw[i].ctrl, bytes = USER_HW_BYTES(ctrl);
        if (!(ctrl & USER_HW_ENABLED) || !bytes)
            continue;
        if (i < USER_HW_BREAKS)
            point[n++] = (struct jit_watch){align_down(tr->hw[i].addr, 4), 4, JIT_WATCH(JIT_DEBUG_BREAK)};
        else
            point[n++] = (struct jit_watch){align_down(tr->hw[i].addr, 8) + (unsigned)__builtin_ctz(bytes),
                                            (unsigned)__builtin_popcount(bytes),
                                            (USER_HW_TYPE(ctrl) & 1 ? JIT_WATCH(JIT_DEBUG_READ) : 0) |
                                                (USER_HW_TYPE(ctrl) & 2 ? JIT_WATCH(JIT_DEBUG_WRITE) : 0)};
    }
    tr->hw_changed = 0;
    user_executor_points(t, point, n);
}

static void before_stop(struct user_thread *t)
{
    if (t->cpu)
        user_executor_fp_sync(t->cpu);
}

/* The tracer may have changed anything. */
static void after_stop(struct user_thread *t)
{
    user_executor_fp_changed(t->cpu);
    t->whole = true;
    if (t->trace.mask_changed) {
        t->trace.mask_changed = 0;
        user_signal_apply_mask(t);
    }
    if (t->trace.hw_changed)
        take_points(t);
    serve_pokes();
}

/* Stands still until the tracer lets the thread go on. False: nobody traces it any more. */
static bool halt(struct user_thread *t, enum user_trace_kind kind, uint32_t code, uint64_t message)
{
    struct user_trace *tr = &t->trace;
    bool gone;

    tr->kind = kind;
    tr->code = code;
    tr->message = message;
    tr->signal = 0;
    tr->shown = 0;
    before_stop(t);
    gone = user_trace_halt();
    tr->kind = USER_STOP_NONE;
    if (gone) {
        tr->watch &= ~USER_WATCH_TRACED;
        tr->resume = 0;
        tr->hw_changed = 1;
    }
    after_stop(t);
    return !gone;
}

/* A stop of ours, as ptrace_notify makes it: its siginfo names the thread itself. */
static bool notify(struct user_thread *t, enum user_trace_kind kind, uint32_t code, uint64_t message)
{
    t->trace.info = (struct abi_siginfo){.signo = ABI_SIGTRAP, .code = (int32_t)code};
    t->trace.info.pid = t->tid;
    t->trace.info.uid = (uint32_t)sys_call(__NR_getuid);
    return halt(t, kind, code, message);
}

static void send_self(struct user_thread *t, const struct abi_siginfo *info)
{
    sys_call(__NR_rt_tgsigqueueinfo, sys_call(__NR_getpid), t->tid, info->signo, info);
}

bool user_trace_signal(struct user_thread *t, struct abi_siginfo *info)
{
    struct user_trace *tr = &t->trace;

    tr->info = *info;
    /* The tracer has gone: as if it had never been there, but the kernel drops a signal that it has waited for. */
    if (!halt(t, USER_STOP_SIGNAL, (uint32_t)info->signo, 0))
        return !tr->shown;
    if (tr->signal < 1 || tr->signal > ABI_NSIG)
        return false;
    *info = tr->info;
    info->signo = tr->signal;
    if (!(t->mask & ABI_SIGBIT(info->signo)))
        return true;
    /* Blocked meanwhile: it waits. */
    if (USER_SYNC_SIGNALS & ABI_SIGBIT(info->signo))
        user_signal_caught(t, info);
    else
        send_self(t, info);
    return false;
}

/* ---- asked for from outside ---- */

/* Guest code and system calls end soon; unlike a signal, nothing is blocked meanwhile. */
static void leave_soon(struct user_thread *t)
{
    if (!t->gate.pending) {
        t->info.signo = 0;
        atomic_store_explicit(&t->gate.pending, 1, memory_order_relaxed);
    }
    if (t->cpu)
        atomic_fetch_or_explicit(&t->cpu->exit_request, ARM64_EXIT_KICK, memory_order_relaxed);
}

bool user_trace_caught(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;
    uint32_t what = tr->inject;

    tr->inject = 0;
    if (what == USER_INJECT_KICK) {
        tr->kick = 1;
        leave_soon(t);
    } else if (what == USER_INJECT_SIGNAL && t->gate.pending && t->info.signo) {
        tr->waiting = tr->injected;
        tr->queued = true;
        leave_soon(t);
    } else if (what == USER_INJECT_SIGNAL) {
        user_signal_caught(t, &tr->injected);
    }
    return what;
}

void user_trace_park(struct user_thread *t, int sig, bool begin)
{
    if (!is_traced(t))
        return;
    if (begin)
        before_stop(t);
    else
        after_stop(t);
    t->trace.raw = begin ? (uint32_t)sig : 0;
    t->trace.parked = begin;
}

bool user_trace_poll(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;

    tr->restarting = 0;
    if (tr->queued) {
        tr->queued = false;
        t->info = tr->waiting;
        atomic_store_explicit(&t->gate.pending, 1, memory_order_relaxed);
        return true;
    }
    if (!tr->kick)
        return false;
    tr->kick = 0;
    if (!is_traced(t))
        return false;
    /* The tracer's emulator makes the host stop it again, behind the instruction. */
    tr->parked = 1;
    halt(t, USER_STOP_PARK, tr->park, 0);
    tr->parked = 0;
    return true;
}

/* ---- beginnings ---- */

void user_trace_init(struct user_thread *t, const struct user_thread *from)
{
    t->trace.self = (uint64_t)(uintptr_t)t;
    t->trace.nr = -1;
    if (from) {
        t->trace.options = from->trace.options;
        t->trace.seized = from->trace.seized;
    }
}

void user_trace_begin(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;

    if (user_strace_on)
        tr->watch |= USER_WATCH_STRACE;
    if (!tr->born)
        return;
    tr->watch |= USER_WATCH_TRACED;
    if (tr->born == ABI_SIGSTOP) {
        tr->waiting = (struct abi_siginfo){.signo = ABI_SIGSTOP, .code = ABI_SI_USER};
        tr->queued = true;
    } else {
        tr->kick = 1;
    }
    tr->born = 0;
    leave_soon(t);
}

void user_trace_child(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;

    tr->watch &= ~USER_WATCH_TRACED;
    tr->resume = tr->event = tr->kick = 0;
    tr->queued = false;
    take_points(t);
    user_trace_begin(t);
}

void user_trace_exec(struct user_thread *t)
{
    struct user_trace_area *m = &user_trace_area;
    struct user_trace *tr = &t->trace;

    m->started = 1;
    if (!m->exec)
        return;
    tr->watch |= USER_WATCH_TRACED;
    tr->options = m->options;
    tr->seized = m->seized;
    tr->resume = m->resume;
    tr->nr = (int32_t)USER_CALL_EXECVE;
    if (m->code > 0xff)
        notify(t, USER_STOP_EVENT, m->code, m->message);
    user_trace_leave(t);
    if (m->code == ABI_SIGTRAP) {
        tr->waiting = (struct abi_siginfo){.signo = ABI_SIGTRAP, .code = ABI_SI_USER};
        tr->waiting.pid = t->tid;
        tr->queued = true;
        leave_soon(t);
    }
    if (m->kick) {
        tr->kick = 1;
        tr->park = m->park;
        leave_soon(t);
    }
}

/* ---- system calls ---- */

static bool call_stop(struct user_thread *t, enum user_trace_kind kind, uint64_t message)
{
    struct arm64_cpu *c = t->cpu;
    struct user_trace *tr = &t->trace;
    uint64_t x7 = c->x[7];
    uint32_t code = ABI_SIGTRAP | (tr->options & PTRACE_O_TRACESYSGOOD ? SYSGOOD : 0);
    bool traced;

    /* X7 says which of the two it is (report_syscall in arch/arm64/kernel/ptrace.c). */
    c->x[7] = kind == USER_STOP_EXIT;
    traced = notify(t, kind, code, message);
    c->x[7] = x7;
    if (traced && tr->signal) {
        struct abi_siginfo info = {.signo = tr->signal, .code = ABI_SI_KERNEL};
        send_self(t, &info);
    }
    return traced;
}

bool user_trace_enter(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;

    tr->nr = (int32_t)t->cpu->x[8];
    tr->restart = 0;
    tr->event = 0;
    tr->rechecked = false;
    if (!is_traced(t))
        return true;
    before_stop(t); /* vfork's event is a stop of the host within the call */
    if (!(tr->resume & (USER_RESUME_SYSCALL | USER_RESUME_EMULATE)))
        return true;
    bool skip = tr->resume & USER_RESUME_EMULATE;
    /* Not to be told from a call that the tracer makes -1 of to skip it (el0_svc_common of the kernel). */
    if (tr->nr == -1)
        t->cpu->x[0] = (uint64_t)-ENOSYS;
    call_stop(t, USER_STOP_ENTRY, PTRACE_EVENTMSG_SYSCALL_ENTRY);
    return !skip && tr->nr != -1;
}

bool user_trace_suspends_seccomp(const struct user_thread *t)
{
    return is_traced(t) && (t->trace.options & PTRACE_O_SUSPEND_SECCOMP);
}

bool user_trace_seccomp(struct user_thread *t, uint32_t data)
{
    struct user_trace *tr = &t->trace;

    if (!is_traced(t) || !(tr->options & PTRACE_O_TRACESECCOMP))
        return false;
    if (!tr->rechecked)
        notify(t, USER_STOP_SECCOMP, EVENT_CODE(PTRACE_EVENT_SECCOMP), data);
    return true;
}

void user_trace_leave(struct user_thread *t)
{
    struct user_trace *tr = &t->trace;

    if (is_traced(t)) {
        after_stop(t);
        if (tr->event)
            notify(t, USER_STOP_EVENT, EVENT_CODE(tr->event), tr->message);
        if (tr->resume & USER_RESUME_SYSCALL)
            call_stop(t, USER_STOP_EXIT, PTRACE_EVENTMSG_SYSCALL_EXIT);
    }
    tr->event = 0;
    tr->nr = -1;
}

void user_trace_handler(struct user_thread *t, uint64_t sa_flags)
{
    struct user_trace *tr = &t->trace;
    struct arm64_cpu *c = t->cpu;
    uint32_t code = tr->restarting;

    if (c->pc == tr->restart_pc &&
        (code == RESTART_NOHAND || code == RESTART_BLOCK || (code == RESTART_SYS && !(sa_flags & ABI_SA_RESTART)))) {
        c->x[0] = (uint64_t)-EINTR;
        c->pc += 4;
    }
    tr->restarting = 0;
}

/* ---- single steps ---- */

void user_trace_entered(struct user_thread *t)
{
    notify(t, USER_STOP_EVENT, ABI_SIGTRAP, 0);
}

void user_trace_stepped(struct user_thread *t)
{
    struct user_fault f = {.sig = ABI_SIGTRAP, .code = TRAP_TRACE, .addr = t->cpu->pc};

    if (!t->event && !t->trace.restarting && (t->trace.resume & USER_RESUME_STEP))
        user_signal_force(t, &f);
}
