/*
 * The tracer's side of ptrace: its tracees, and which of the host's stops the guest is to see; trace.h has the whole
 * picture.
 *
 * A tracee belongs to the thread that traces it, as in the kernel; the list is for all threads of the process.
 */
#include <asm/ptrace-abi.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <string.h>

#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"
#include "vmm/user/trace.h"

#define EVENT_OF(code) ((code) >> 8)
#define SIGNAL_OF(code) ((int)((code)&0xff))
#define IMAGE_BYTES 512 /* headers, with the note of the build id */

/* ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: what an interrupted call has in RAX. */
#define RESTART_FIRST 512
#define RESTART_LAST 516

static struct user_tracee *tracees;
static struct sys_lock lock;

/* ---- the list ---- */

void user_tracer_forked(void)
{
    tracees = NULL;
    lock = (struct sys_lock){0};
}

struct user_tracee *user_tracer_find(const struct user_thread *t, int32_t tid)
{
    struct user_tracee *e;

    if (!tracees)
        return NULL;
    sys_lock(&lock);
    for (e = tracees; e && (e->tid != tid || e->tracer != t->tid); e = e->next)
        ;
    sys_unlock(&lock);
    return e;
}

struct user_tracee *user_tracer_add(const struct user_thread *t, int32_t tid)
{
    struct user_tracee *e;

    user_tracer_remove(tid);
    e = sys_alloc(sizeof(*e));
    if (!e)
        return NULL;
    e->tid = tid;
    e->tracer = t->tid;
    sys_lock(&lock);
    e->next = tracees;
    tracees = e;
    sys_unlock(&lock);
    return e;
}

void user_tracer_remove(int32_t tid)
{
    struct user_tracee **link, *e = NULL;

    if (!tracees)
        return;
    sys_lock(&lock);
    for (link = &tracees; *link && (*link)->tid != tid; link = &(*link)->next)
        ;
    if (*link) {
        e = *link;
        *link = e->next;
    }
    sys_unlock(&lock);
    sys_free(e);
}

/* ---- a tracee's memory ---- */

static int copy_words(int32_t tid, uint64_t addr, uint8_t *buf, uint64_t len, bool write)
{
    uint64_t word;
    long r = 0;

    for (uint64_t n; len && !r; addr += n, buf += n, len -= n) {
        uint64_t at = align_down(addr, sizeof(word)), off = addr - at;
        n = MIN(len, sizeof(word) - off);
        r = sys_call(__NR_ptrace, PTRACE_PEEKDATA, tid, at, &word);
        if (!r && write) {
            memcpy((uint8_t *)&word + off, buf, n);
            r = sys_call(__NR_ptrace, PTRACE_POKEDATA, tid, at, word);
        } else if (!r) {
            memcpy(buf, (uint8_t *)&word + off, n);
        }
    }
    return (int)r;
}

static int copy(int32_t tid, uint64_t addr, void *buf, uint64_t len, bool write)
{
    struct iovec local = {buf, len}, remote = {(void *)(uintptr_t)addr, len};
    long r = sys_call(write ? __NR_process_vm_writev : __NR_process_vm_readv, tid, &local, 1, &remote, 1, 0);

    if (r == (long)len)
        return 0;
    /* A sandbox may forbid these calls and allow ptrace. */
    if (r == -ENOSYS || r == -EPERM)
        return copy_words(tid, addr, buf, len, write);
    return r < 0 ? (int)r : -EFAULT;
}

int user_tracee_read(const struct user_tracee *e, uint64_t addr, void *buf, uint64_t len)
{
    return copy(e->tid, addr, buf, len, false);
}

int user_tracee_write(const struct user_tracee *e, uint64_t addr, const void *buf, uint64_t len)
{
    uint8_t *p;

    memcpy(&p, &buf, sizeof(p));
    return copy(e->tid, addr, p, len, true);
}

int user_tracer_is_ours(int32_t tid)
{
    extern const char __ehdr_start[] __attribute__((visibility("hidden")));
    uint8_t image[IMAGE_BYTES];
    int r = copy(tid, (uint64_t)(uintptr_t)__ehdr_start, image, sizeof(image), false);

    if (r == -EFAULT)
        return 0;
    return r ? r : !memcmp(image, __ehdr_start, sizeof(image));
}

#define AREA(field) ((uint64_t)(uintptr_t)&user_trace_area + offsetof(struct user_trace_area, field))
#define TRACE_AT(e, field) ((e)->thread + offsetof(struct user_thread, trace.field))
/* A word of its struct user_trace. */
#define PUT_TRACE(e, field, value)                                                                                     \
    put((e), TRACE_AT(e, field), &(__typeof__(((struct user_trace *)0)->field)){value},                                \
        sizeof(((struct user_trace *)0)->field))

/* A tracee whose memory has gone is about to end: the next wait says so. */
static void put(const struct user_tracee *e, uint64_t addr, const void *buf, size_t len)
{
    (void)user_tracee_write(e, addr, buf, len);
}

bool user_tracer_active(void)
{
    return tracees;
}

void user_tracer_poked(int32_t tid, uint64_t addr, uint64_t len)
{
    struct user_trace_area m;
    struct user_tracee e = {.tid = tid};

    if (!len || user_tracer_is_ours(tid) != 1 || copy(tid, (uint64_t)(uintptr_t)&user_trace_area, &m, sizeof(m), false))
        return;
    uint32_t n = m.poked, i = n % USER_POKES;
    m.poke[i].addr = addr;
    m.poke[i].len = len;
    put(&e, AREA(poke) + i * sizeof(m.poke[0]), &m.poke[i], sizeof(m.poke[0]));
    n++;
    put(&e, AREA(poked), &n, sizeof(n));
}

/* ---- stops of the host ---- */

struct stop {
    struct user_tracee *e;
    uint32_t code;
    uint64_t regs[HOST_REGS];
    struct abi_siginfo info;
    bool group; /* a group stop: it has no siginfo */
    struct user_thread thread;
};

static long host(long request, int32_t tid, uint64_t addr, const void *data)
{
    return sys_call(__NR_ptrace, request, tid, addr, data);
}

/* The guest does not see this one. */
static bool go_on(const struct stop *s, int sig)
{
    sys_call(__NR_ptrace, PTRACE_CONT, s->e->tid, 0, sig);
    return false;
}

static bool show(const struct stop *s, bool direct)
{
    s->e->stopped = true;
    s->e->direct = direct;
    return true;
}

static uint32_t restart_code(const struct stop *s)
{
    uint64_t code = -s->regs[HOST_RAX];

    if (!sys_gate_returns(s->regs[HOST_RIP]) || (int64_t)s->regs[HOST_ORIG_RAX] < 0)
        return 0;
    return code >= RESTART_FIRST && code <= RESTART_LAST ? (uint32_t)code : 0;
}

/* The signal that it has stopped for is replaced by ours, which makes its handler look into struct user_trace. */
static bool inject(const struct stop *s, uint32_t what)
{
    struct abi_siginfo ours = {.signo = ABI_SIGSEGV, .code = USER_TRACE_CODE};
    uint32_t code = restart_code(s);

    if (what == USER_INJECT_SIGNAL)
        put(s->e, TRACE_AT(s->e, injected), &s->info, sizeof(s->info));
    PUT_TRACE(s->e, inject, what);
    if (code)
        PUT_TRACE(s->e, restart, code);
    host(PTRACE_SETSIGINFO, s->e->tid, 0, &ours);
    return go_on(s, ABI_SIGSEGV);
}

/* It stands anywhere: it shall come to where its state is whole. `park`: the code of the stop there, where the host has
 * none. */
static bool kick(const struct stop *s, uint32_t park)
{
    PUT_TRACE(s->e, park, park);
    s->e->kicking = true;
    sys_call(__NR_tkill, s->e->tid, ABI_SIGSEGV);
    return go_on(s, 0);
}

/* At the HLT. */
static bool halted(const struct stop *s, uint32_t *code)
{
    const struct user_trace *tr = &s->thread.trace;

    if (tr->kind != USER_STOP_PARK || !s->e->seized) {
        *code = tr->code;
        if (tr->kind == USER_STOP_SIGNAL)
            PUT_TRACE(s->e, shown, 1);
        return show(s, false);
    }
    host(PTRACE_INTERRUPT, s->e->tid, 0, NULL);
    sys_call(__NR_ptrace, PTRACE_POKEUSR, s->e->tid, HOST_RIP * 8, user_trace_halt_end);
    return go_on(s, 0);
}

/* A new program begins, and is not loaded yet. */
static bool exec_stop(struct stop *s, uint32_t *code)
{
    struct user_tracee *e = s->e;
    struct user_trace_area m = {.exec = 1, .options = e->options, .seized = e->seized, .resume = e->resume};
    uint64_t former = 0;

    if (EVENT_OF(s->code)) {
        host(PTRACE_GETEVENTMSG, e->tid, 0, &former);
        if ((int32_t)former != e->tid)
            user_tracer_remove((int32_t)former);
    }
    if (e->options & PTRACE_O_TRACEEXEC)
        m.code = ABI_SIGTRAP | PTRACE_EVENT_EXEC << 8;
    else if (!e->seized)
        m.code = ABI_SIGTRAP;
    m.message = former;
    if (e->foreign) {
        if (!m.code)
            return go_on(s, 0);
        *code = m.code;
        return show(s, true);
    }
    put(e, (uint64_t)(uintptr_t)&user_trace_area, &m, offsetof(struct user_trace_area, poked));
    return go_on(s, 0);
}

/* Before the program's first instruction there is no thread yet. */
static bool early_stop(struct stop *s, uint32_t *code)
{
    uint32_t event = EVENT_OF(s->code), one = 1;

    if (event == PTRACE_EVENT_EXEC || (!event && SIGNAL_OF(s->code) == ABI_SIGTRAP))
        return exec_stop(s, code);
    if (event == PTRACE_EVENT_STOP || SIGNAL_OF(s->code) == ABI_SIGSTOP) {
        put(s->e, AREA(kick), &one, sizeof(one));
        put(s->e, AREA(park), &s->code, sizeof(s->code));
        put(s->e, AREA(exec), &one, sizeof(one));
        return go_on(s, 0);
    }
    return event ? show(s, true) : go_on(s, SIGNAL_OF(s->code));
}

/* A child that a fork of its parent's attached: nothing of it has run. */
static bool is_newborn(const struct stop *s)
{
    if (s->thread.tid == 0)
        return true;
    return s->thread.trace.forking && s->regs[HOST_RAX] == 0;
}

static bool newborn_stop(struct stop *s)
{
    struct user_tracee *e = s->e;
    bool event = EVENT_OF(s->code) == PTRACE_EVENT_STOP;

    e->options = s->thread.trace.options;
    e->seized = event;
    PUT_TRACE(e, seized, event);
    PUT_TRACE(e, born, event ? PTRACE_EVENT_STOP : ABI_SIGSTOP);
    return go_on(s, 0);
}

static bool event_stop(struct stop *s)
{
    struct user_tracee *e = s->e;
    uint64_t message = 0;

    switch (EVENT_OF(s->code)) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_CLONE:
        host(PTRACE_GETEVENTMSG, e->tid, 0, &message);
        PUT_TRACE(e, message, message);
        PUT_TRACE(e, event, EVENT_OF(s->code));
        return go_on(s, 0);
    case PTRACE_EVENT_STOP: return s->thread.trace.parked ? show(s, true) : kick(s, 0);
    default: return show(s, true);
    }
}

/* Signals that go their way in the tracee's emulator without being shown: its own faults, and those that are to meet
 * the kernel's default action. */
static bool is_internal(const struct stop *s)
{
    int sig = s->info.signo;

    if ((USER_SYNC_SIGNALS & ABI_SIGBIT(sig)) || s->thread.trace.raw == (uint32_t)sig)
        return true;
    return s->info.code > 0 && (sig == ABI_SIGILL || sig == ABI_SIGTRAP || sig == ABI_SIGSYS);
}

static bool signal_stop(struct stop *s, uint32_t *code)
{
    struct user_tracee *e = s->e;

    if (s->group)
        return s->thread.trace.parked ? show(s, true) : kick(s, s->code);
    if (s->info.signo == ABI_SIGSEGV && s->regs[HOST_RIP] == (uint64_t)(uintptr_t)user_trace_halt_insn &&
        s->info.code == ABI_SI_KERNEL)
        return halted(s, code);
    if (s->info.signo == ABI_SIGSEGV && s->info.code == ABI_SI_TKILL && e->kicking) {
        e->kicking = false;
        return inject(s, USER_INJECT_KICK);
    }
    return is_internal(s) ? go_on(s, s->info.signo) : inject(s, USER_INJECT_SIGNAL);
}

/* From now on the tracee makes stops; the host's ptrace has attached it. */
static void adopt(struct stop *s)
{
    struct user_tracee *e = s->e;

    if (s->thread.trace.watch & USER_WATCH_TRACED)
        return;
    s->thread.trace.watch |= USER_WATCH_TRACED;
    PUT_TRACE(e, options, e->options);
    PUT_TRACE(e, seized, e->seized);
    PUT_TRACE(e, resume, 0);
    PUT_TRACE(e, watch, s->thread.trace.watch);
}

bool user_tracer_stopped(const struct user_thread *t, int32_t tid, uint32_t *code)
{
    struct stop s = {.e = user_tracer_find(t, tid), .code = *code};
    uint32_t started = 0;

    /* A child's job control, or another thread's tracee. */
    if (host(PTRACE_GETREGS, tid, 0, s.regs))
        return true;
    if (!s.e)
        s.e = user_tracer_add(t, tid);
    if (!s.e)
        return true;
    s.e->foreign = user_tracer_is_ours(tid) != 1;
    if (EVENT_OF(s.code) == PTRACE_EVENT_EXEC)
        return exec_stop(&s, code);
    if (s.e->foreign)
        return show(&s, true);
    (void)user_tracee_read(s.e, AREA(started), &started, sizeof(started));
    if (!started)
        return early_stop(&s, code);
    s.e->thread = align_down(s.regs[HOST_RSP] - 1, USER_REGION);
    if (user_tracee_read(s.e, s.e->thread, &s.thread, sizeof(s.thread)) || s.thread.trace.self != s.e->thread) {
        s.e->thread = 0;
        return EVENT_OF(s.code) ? show(&s, true) : go_on(&s, SIGNAL_OF(s.code));
    }
    s.group = !EVENT_OF(s.code) && host(PTRACE_GETSIGINFO, tid, 0, &s.info) == -EINVAL;
    if (is_newborn(&s) && (EVENT_OF(s.code) == PTRACE_EVENT_STOP || SIGNAL_OF(s.code) == ABI_SIGSTOP))
        return newborn_stop(&s);
    adopt(&s);
    return EVENT_OF(s.code) ? event_stop(&s) : signal_stop(&s, code);
}

/* ---- waiting for one of several ---- */

bool user_tracer_has_others(const struct user_thread *t, int32_t tid)
{
    bool found = false;

    if (!tracees)
        return false;
    sys_lock(&lock);
    for (struct user_tracee *e = tracees; e; e = e->next)
        found |= e->tracer == t->tid && e->tid != tid && !e->stopped;
    sys_unlock(&lock);
    return found;
}

static int32_t next_running(const struct user_thread *t, int32_t above)
{
    int32_t best = 0;

    sys_lock(&lock);
    for (struct user_tracee *e = tracees; e; e = e->next)
        if (e->tracer == t->tid && !e->stopped && e->tid > above && (!best || e->tid < best))
            best = e->tid;
    sys_unlock(&lock);
    return best;
}

void user_tracer_serve_others(const struct user_thread *t, int32_t tid)
{
    for (int32_t o = 0; (o = next_running(t, o));) {
        struct {
            int32_t signo, error, code, pad;
            int32_t pid;
            uint32_t uid;
            int32_t status;
            uint8_t rest[100];
        } info = {.pid = 0};
        if (o == tid)
            continue;
        /* Looked at and left: what the guest is to see is for a wait of its own. */
        long r = sys_call(__NR_waitid, P_PID, o, &info, WSTOPPED | WNOHANG | WNOWAIT | __WALL, NULL);
        uint32_t code = (uint32_t)info.status;
        struct user_tracee *e = user_tracer_find(t, o);
        if (r || !info.pid || !e)
            continue;
        if (user_tracer_stopped(t, o, &code))
            e->stopped = false;
    }
}
