/*
 * The gdb stub's hold on threads: who reports, who serves, who stays. See debug.h.
 *
 * `stopped` says that one thread has the stage: it reports and serves the debugger. It has set exit_request of all
 * others, and waits until each is either at rest or in a system call, behind which it comes to rest before guest code
 * goes on. Meanwhile it holds the lock of the list of threads, so that none comes or goes. Whoever has something to
 * report at the same time waits for the stage, and looks then whether it still is so.
 *
 * Threads are woken by SIGFPE, for which the guest's threads always have our handler and which they never block: by
 * bytes that the debugger sends (SIGIO's mechanism), and by us, to get a thread out of a system call. A call that was
 * interrupted by this is made again without the guest seeing it.
 */
#include "vmm/user/debug.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>

#include "vmm/service/gdbstub/signals.h"
#include "vmm/user/debug_parts.h"
#include "vmm/user/executor.h"
#include "vmm/user/signal.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define SI_QUEUE (-1)
#define SI_SIGIO (-5)
#define WAIT_STEPS 2000 /* of a millisecond, for threads to come to rest */
#define SETTLE_STEPS 200

_Atomic bool user_debug_on;
bool user_debug_signals;
struct debug user_debug;

static const char *place;
static const char *passed;
static uint64_t cookie; /* knows our own signals from the guest's */

/* ---- beginning and end ---- */

void user_debug_set_place(const char *p)
{
    place = p;
}

void user_debug_set_passed(const char *descriptors)
{
    passed = descriptors;
}

void user_debug_prepare(bool secure)
{
    if (secure)
        place = passed = NULL;
    if (!place && !passed)
        return;
    user_debug_signals = true;
    sys_call(__NR_getrandom, &cookie, sizeof(cookie), 0);
}

/* "CONNECTION,SESSION" */
static bool join_passed(void)
{
    const char *p = passed;
    uint64_t link, session;

    if (!rsp_take_range(&p, &link, &session) || *p || link > INT32_MAX || session > INT32_MAX)
        return false;
    return !user_debug_session_join((int)session) && (user_debug_link = (int)link) >= 0;
}

static int stop(struct user_thread *t);

void user_debug_start(struct user_thread *t, uint64_t auxv, size_t auxv_size)
{
    if (!place && !passed)
        return;
    user_debug.pid = (int32_t)sys_call(__NR_getpid);
    t->tid = (int32_t)sys_call(__NR_gettid);
    rsp_init(&user_debug.rsp);
    user_debug_set_auxv(auxv, auxv_size);
    if (passed) {
        if (!join_passed())
            return;
        t->debug.why = DEBUG_EXEC;
    } else {
        user_debug_link_open(place);
        if (user_debug_session_create())
            sys_die(126, "out of memory for the debugger");
        t->debug.why = DEBUG_START;
    }
    user_debug_on = true;
}

void user_debug_end(void)
{
    user_executor_debug_end();
    user_debug_files_close();
    user_debug_session_close();
    user_debug_link_close();
    for (struct user_thread *o = user_thread_next(NULL); o; o = user_thread_next(o)) {
        if (o->debug.off)
            continue;
        o->debug.held = o->debug.step = false;
        user_executor_step_next(o, false);
    }
    user_debug_on = false;
}

/* ---- waking ---- */

bool user_debug_poked(struct user_thread *t, const struct abi_siginfo *info)
{
    bool link = info->code == SI_SIGIO && (int32_t)info->rest[1] == user_debug_link;

    if (info->signo != ABI_SIGFPE || (!link && (info->code != SI_QUEUE || info->rest[1] != cookie)))
        return false;
    if (link)
        atomic_store(&user_debug.bytes_wait, true);
    atomic_fetch_or(&t->cpu->exit_request, ARM64_EXIT_KICK);
    return true;
}

static void nap(void)
{
    static const int64_t millisecond[2] = {0, 1000000};

    sys_call(__NR_nanosleep, millisecond, NULL);
}

static void poke(const struct user_thread *t)
{
    struct abi_siginfo info = {.signo = ABI_SIGFPE, .code = SI_QUEUE};

    info.rest[0] = (uint64_t)(uint32_t)user_debug.pid;
    info.rest[1] = cookie;
    sys_call(__NR_rt_tgsigqueueinfo, user_debug.pid, t->tid, ABI_SIGFPE, &info);
}

/* ---- threads ---- */

struct user_thread *user_debug_next(struct user_thread *t)
{
    do
        t = user_thread_next(t);
    while (t && (t->debug.off || !t->tid));
    return t;
}

struct user_thread *user_debug_thread(int64_t tid)
{
    struct user_thread *t = user_debug_next(NULL);

    while (t && t->tid != tid)
        t = user_debug_next(t);
    return t;
}

bool user_debug_settle(struct user_thread *t)
{
    for (unsigned i = 0; i < SETTLE_STEPS && atomic_load(&t->debug.state) != USER_DEBUG_STOPPED; i++) {
        poke(t);
        nap();
    }
    return atomic_load(&t->debug.state) == USER_DEBUG_STOPPED;
}

/* Those that were made and have not begun are waited for, too: a debugger that finds a thread later takes it for one
 * that runs. Beginning needs no lock that we hold. */
static void hold_others(struct user_thread *t)
{
    for (struct user_thread *o = user_thread_next(NULL); o; o = user_thread_next(o)) {
        if (o != t && !o->debug.off)
            atomic_fetch_or(&o->cpu->exit_request, ARM64_EXIT_KICK);
    }
    for (struct user_thread *o = user_thread_next(NULL); o; o = user_thread_next(o)) {
        for (unsigned i = 0; o != t && !o->debug.off && i < WAIT_STEPS + 100; i++) {
            if (atomic_load(&o->debug.state) != USER_DEBUG_RUNS && __atomic_load_n(&o->tid, __ATOMIC_RELAXED))
                break;
            if (i < 100)
                sys_call(__NR_sched_yield);
            else
                nap();
        }
    }
}

/* ---- the stage ---- */

static void read_bytes(struct user_thread *t);

static void sleep_till_resumed(uint32_t seen)
{
    sys_call(__NR_futex, &user_debug.resumes, FUTEX_WAIT, seen, NULL);
}

/* Stays while the program is stopped, or this thread is held. */
static void rest(struct user_thread *t)
{
    atomic_store(&t->debug.state, USER_DEBUG_STOPPED);
    for (;;) {
        uint32_t seen = atomic_load(&user_debug.resumes);
        if (!atomic_load(&user_debug.stopped)) {
            if (!t->debug.held)
                break;
            if (atomic_load(&user_debug.bytes_wait))
                read_bytes(t);
        }
        sleep_till_resumed(seen);
    }
    atomic_store(&t->debug.state, USER_DEBUG_RUNS);
}

static bool stage_try(struct user_thread *t)
{
    uint32_t free = 0;

    if (!atomic_compare_exchange_strong(&user_debug.stopped, &free, 1))
        return false;
    atomic_store(&t->debug.state, USER_DEBUG_STOPPED);
    user_thread_list_lock();
    user_debug_link_watch(false);
    hold_others(t);
    return true;
}

static void wake_all(void)
{
    atomic_fetch_add(&user_debug.resumes, 1);
    sys_call(__NR_futex, &user_debug.resumes, FUTEX_WAKE, INT32_MAX);
}

static void stage_leave(void)
{
    if (user_debug_on)
        user_debug_link_watch(true);
    user_thread_list_unlock();
    atomic_store(&user_debug.stopped, 0);
    wake_all();
}

/* Takes the stage when it is free and the thread not held. False: there is no debugger any more. */
static bool stage_take(struct user_thread *t)
{
    while (user_debug_on) {
        if (!t->debug.held && stage_try(t))
            return true;
        rest(t);
    }
    return false;
}

/* Of threads that had something to report while another did: what they meet again by themselves is forgotten, signals
 * are kept. */
static void forget(const struct user_thread *t)
{
    for (struct user_thread *o = user_thread_next(NULL); o; o = user_thread_next(o)) {
        if (o != t && (o->debug.why == DEBUG_BREAK || o->debug.why == DEBUG_READ || o->debug.why == DEBUG_WRITE ||
                       o->debug.why == DEBUG_STEP))
            o->debug.why = DEBUG_NOTHING;
    }
}

/* Reports what is in t->debug.why, and serves. Returns the signal that t is to get, or 0. */
static int stop(struct user_thread *t)
{
    int sig = t->debug.why == DEBUG_SIGNAL ? t->debug.info.signo : 0;

    if (!stage_take(t) || !t->debug.why) {
        if (user_debug_on) {
            stage_leave();
            sig = 0;
        }
        t->debug.why = DEBUG_NOTHING;
        atomic_store(&t->debug.state, USER_DEBUG_RUNS);
        return sig;
    }
    user_debug.event = user_debug.general = t;
    user_debug.resumed = NULL;
    t->debug.signal = 0;
    user_debug_report(t);
    user_debug_serve(t);
    forget(t);
    if (!user_debug_on) /* gone: a signal takes its course */
        t->debug.signal = t->debug.why == DEBUG_SIGNAL ? t->debug.info.signo : 0;
    t->debug.why = DEBUG_NOTHING;
    stage_leave();
    rest(t);
    sig = t->debug.signal;
    t->debug.signal = 0;
    if (user_debug_on)
        user_executor_step_next(t, t->debug.step);
    return sig;
}

/* The debugger sent something while the program ran: byte 3, or nothing and has gone. */
static void read_bytes(struct user_thread *t)
{
    atomic_store(&user_debug.bytes_wait, false);
    if (!stage_try(t))
        return;
    if (!user_debug_link_has_bytes()) {
        stage_leave();
        return;
    }
    bool held = t->debug.held;
    int byte = user_debug_link_get();
    enum rsp_event e = byte < 0 ? RSP_NOTHING : rsp_feed(&user_debug.rsp, (uint8_t)byte);
    if (byte < 0) {
        user_debug_session_leave(true);
        user_debug_end();
        stage_leave();
    } else if (e == RSP_BREAK) {
        t->debug.held = false;
        t->debug.why = DEBUG_INTERRUPT;
        stage_leave();
    } else {
        stage_leave();
        t->debug.held = held;
        atomic_store(&user_debug.bytes_wait, user_debug_link_has_bytes());
    }
}

static void give_signal(struct user_thread *t, int sig)
{
    struct abi_siginfo info = {.signo = sig, .code = ABI_SI_USER, .pid = user_debug.pid};

    if (sig == t->debug.info.signo)
        info = t->debug.info;
    user_signal_deliver(t, &info);
    /* A step leads to the handler's first instruction. */
    if (user_debug_on && t->debug.step) {
        user_executor_step_next(t, false);
        t->debug.why = DEBUG_STEP;
    }
}

void user_debug_attend(struct user_thread *t)
{
    if (t->debug.off)
        return;
    for (;;) {
        int sig = 0;
        if (atomic_load(&user_debug.bytes_wait))
            read_bytes(t);
        if (t->debug.why && t->debug.why != DEBUG_SIGNAL) {
            sig = stop(t);
        } else if (user_debug_on && (atomic_load(&user_debug.stopped) || t->debug.held)) {
            rest(t);
            sig = t->debug.signal;
            t->debug.signal = 0;
            if (user_debug_on)
                user_executor_step_next(t, t->debug.step);
        } else {
            break;
        }
        if (sig)
            give_signal(t, sig);
    }
    atomic_store(&t->debug.state, USER_DEBUG_RUNS);
}

bool user_debug_signal(struct user_thread *t, struct abi_siginfo *info)
{
    int sig;

    if (t->debug.off || (user_debug.pass & ABI_SIGBIT(info->signo)))
        return true;
    t->debug.why = DEBUG_SIGNAL;
    t->debug.info = *info;
    sig = stop(t);
    if (!sig)
        return false;
    if (sig == info->signo)
        *info = t->debug.info; /* the debugger may have written to it */
    else
        *info = (struct abi_siginfo){.signo = sig, .code = ABI_SI_USER, .pid = user_debug.pid};
    info->signo = sig;
    if (user_debug_on && t->debug.step) {
        user_executor_step_next(t, false);
        t->debug.why = DEBUG_STEP;
        atomic_fetch_or(&t->cpu->exit_request, ARM64_EXIT_KICK);
    }
    return true;
}

void user_debug_hit(struct user_thread *t, enum jit_debug why, uint64_t addr)
{
    static const uint8_t reason[] = {[JIT_DEBUG_BREAK] = DEBUG_BREAK,
                                     [JIT_DEBUG_READ] = DEBUG_READ,
                                     [JIT_DEBUG_WRITE] = DEBUG_WRITE,
                                     [JIT_DEBUG_STEP] = DEBUG_STEP};

    if (why == JIT_DEBUG_STEP) {
        /* It met something else, which is told instead. */
        bool other = t->event != USER_EVENT_NONE || t->debug.why;
        if (!other && addr - t->debug.range[0] < t->debug.range[1] - t->debug.range[0]) {
            user_executor_step_next(t, true);
            return;
        }
        if (other)
            return;
    }
    t->debug.why = reason[why];
    t->debug.addr = addr;
    atomic_fetch_or_explicit(&t->cpu->exit_request, ARM64_EXIT_KICK, memory_order_relaxed);
}

/* ---- threads and processes ---- */

void user_debug_cloned(struct user_thread *t, struct user_thread *n, bool same_process)
{
    memset(&n->debug, 0, sizeof(n->debug));
    n->debug.off = t->debug.off || !same_process;
    atomic_store(&n->debug.state, USER_DEBUG_CALLS); /* until it has begun */
    if (n->debug.off)
        user_executor_undebugged(n);
}

static void child_begins(struct user_thread *t, bool follow)
{
    atomic_store(&user_debug.stopped, 0);
    atomic_store(&user_debug.bytes_wait, false);
    t->debug.held = t->debug.step = false;
    if (!follow) {
        user_debug_end();
        t->debug.off = false;
        return;
    }
    user_debug.pid = (int32_t)sys_call(__NR_getpid);
    t->debug.why = DEBUG_NOTHING;
    /* On the stage till the debugger has decided. */
    stage_try(t);
    user_debug.event = user_debug.general = t;
    user_debug.resumed = NULL;
    if (user_debug_session_wait())
        user_debug_serve(t);
    else
        user_debug_end();
    stage_leave();
    rest(t);
    if (user_debug_on)
        user_executor_step_next(t, t->debug.step);
}

void user_debug_forked(struct user_thread *t, long child, bool same_numbers)
{
    const uint32_t needs = DEBUG_HAS_FORK | DEBUG_HAS_PROCESSES;
    bool follow = (user_debug.has & needs) == needs && !t->debug.off && same_numbers;

    if (child == 0) {
        t->tid = (int32_t)sys_call(__NR_gettid);
        child_begins(t, follow);
    } else if (child > 0 && follow && user_debug_session_add(child)) {
        t->debug.why = DEBUG_FORK;
        t->debug.child = (int32_t)child;
        atomic_fetch_or(&t->cpu->exit_request, ARM64_EXIT_KICK);
    }
}

static bool somebody_runs(const struct user_thread *t)
{
    for (struct user_thread *o = user_debug_next(NULL); o; o = user_debug_next(o)) {
        if (o != t && !o->debug.held)
            return true;
    }
    return false;
}

/* The last word, on the stage; others stay until the process has gone. */
static void last_word(char kind, unsigned value)
{
    struct rsp *r = &user_debug.rsp;
    uint8_t byte = (uint8_t)value;

    rsp_begin(r);
    rsp_put(r, &kind, 1);
    rsp_hex(r, &byte, 1);
    if (user_debug.has & DEBUG_HAS_PROCESSES) {
        rsp_text(r, ";process:");
        rsp_number(r, (uint64_t)user_debug.pid);
    }
    rsp_end(r);
    user_debug_link_send(r->out, r->out_len);
    user_debug_session_leave(false);
    user_thread_list_unlock();
}

/* For a system call that is to be made once the stage is free: else it is made again. */
static bool stage_call(struct user_thread *t)
{
    if (!t->debug.held && stage_try(t))
        return true;
    atomic_fetch_or(&t->cpu->exit_request, ARM64_EXIT_KICK);
    return false;
}

bool user_debug_exits(struct user_thread *t, int status, bool all)
{
    if (t->debug.off)
        return true;
    if (!stage_call(t))
        return false;
    if (all || user_thread_alone(t)) {
        last_word('W', (unsigned)status & 0xff);
        return true;
    }
    if (!(user_debug.has & DEBUG_HAS_NONE_LEFT) || somebody_runs(t)) {
        stage_leave();
    } else {
        t->debug.off = true;
        t->debug.why = DEBUG_NONE_LEFT;
        user_debug.event = user_debug.general = user_debug_next(NULL);
        user_debug_report(t);
        user_debug_serve(t);
        stage_leave();
    }
    atomic_store(&t->debug.state, USER_DEBUG_CALLS);
    return true;
}

bool user_debug_exec_stage(struct user_thread *t)
{
    return t->debug.off || stage_call(t);
}

void user_debug_exec_failed(struct user_thread *t)
{
    if (t->debug.off)
        return;
    user_debug_exec_keep(false);
    stage_leave();
    atomic_store(&t->debug.state, USER_DEBUG_CALLS);
}

void user_debug_signaled(struct user_thread *t, int sig)
{
    const uint64_t stops = ABI_SIGBIT(ABI_SIGTSTP) | ABI_SIGBIT(ABI_SIGTTIN) | ABI_SIGBIT(ABI_SIGTTOU);

    if (!t->debug.off && user_debug_catches(sig) && !(stops & ABI_SIGBIT(sig)) && stage_take(t))
        last_word('X', gdb_signal_from_linux((unsigned)sig));
}
