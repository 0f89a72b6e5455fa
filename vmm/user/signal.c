/* Dispositions, masks, and what is delivered when: see signal.h. */
#include "vmm/user/signal.h"

#include <errno.h>
#include <linux/resource.h>

#include "vmm/user/access.h"
#include "vmm/user/core.h"
#include "vmm/user/debug.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/gate.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"

#define UNBLOCKABLE (ABI_SIGBIT(ABI_SIGKILL) | ABI_SIGBIT(ABI_SIGSTOP))
/* Their default action is none (SIGCONT has had its effect when it was sent). */
#define DEFAULT_IGNORED                                                                                                \
    (ABI_SIGBIT(ABI_SIGCHLD) | ABI_SIGBIT(ABI_SIGCONT) | ABI_SIGBIT(ABI_SIGURG) | ABI_SIGBIT(ABI_SIGWINCH))
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

struct user_sighand {
    _Atomic uint32_t refs;
    struct sys_lock lock;
    struct abi_sigaction action[ABI_NSIG + 1]; /* by signal number */
};

static bool is_sync(int sig)
{
    return USER_SYNC_SIGNALS & ABI_SIGBIT(sig);
}

/* ---- dispositions ---- */

struct user_sighand *user_sighand_create(void)
{
    struct user_sighand *s = sys_alloc(sizeof(*s));
    struct abi_sigaction host;

    if (!s)
        return NULL;
    s->refs = 1;
    for (int sig = 1; sig <= ABI_NSIG; sig++) {
        /* Across execve only "ignored" stays. */
        if (!sys_call(__NR_rt_sigaction, sig, NULL, &host, sizeof(uint64_t)) && host.handler == ABI_SIG_IGN)
            s->action[sig].handler = ABI_SIG_IGN;
        if ((USER_CORE_SIGNALS & ABI_SIGBIT(sig)) || user_debug_catches(sig))
            user_host_signal_install(sig, &s->action[sig]);
    }
    return s;
}

struct user_sighand *user_sighand_get(struct user_sighand *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

struct user_sighand *user_sighand_copy(struct user_sighand *s)
{
    struct user_sighand *n = sys_alloc(sizeof(*n));

    if (!n)
        return NULL;
    sys_lock(&s->lock);
    memcpy(n->action, s->action, sizeof(n->action));
    sys_unlock(&s->lock);
    n->refs = 1;
    return n;
}

void user_sighand_put(struct user_sighand *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1)
        sys_free(s);
}

void user_sighand_clear(struct user_sighand *s)
{
    for (int sig = 1; sig <= ABI_NSIG; sig++) {
        if (s->action[sig].handler != ABI_SIG_IGN)
            s->action[sig] = (struct abi_sigaction){0};
        if ((USER_CORE_SIGNALS & ABI_SIGBIT(sig)) || user_debug_catches(sig)) /* the kernel has reset these, too */
            user_host_signal_install(sig, &s->action[sig]);
    }
}

void user_sighand_lock(struct user_sighand *s)
{
    sys_lock(&s->lock);
}

void user_sighand_unlock(struct user_sighand *s)
{
    sys_unlock(&s->lock);
}

int64_t user_call_rt_sigaction(struct user_thread *t, const uint64_t a[6])
{
    struct user_sighand *s = t->sighand;
    struct abi_sigaction act, old;
    int sig = (int)a[0];

    if (a[3] != sizeof(uint64_t))
        return -EINVAL;
    if (a[1] && user_copy_in(&act, a[1], sizeof(act)))
        return -EFAULT;
    if (sig < 1 || sig > ABI_NSIG || (a[1] && (UNBLOCKABLE & ABI_SIGBIT(sig))))
        return -EINVAL;
    /* A signal that came before must meet the disposition that was. */
    if (a[1] && t->gate.pending)
        return -SYS_RESTART;
    sys_lock(&s->lock);
    old = s->action[sig];
    if (a[1]) {
        act.flags &= ABI_SA_KNOWN;
        act.mask &= ~UNBLOCKABLE;
        s->action[sig] = act;
        user_host_signal_install(sig, &act);
    }
    sys_unlock(&s->lock);
    return a[2] && user_copy_out(a[2], &old, sizeof(old)) ? -EFAULT : 0;
}

/* ---- masks ---- */

/*
 * Through the gate: while a caught signal waits to be delivered, all others must stay blocked, because there is room
 * for one; user_signal_poll sets the mask after it. The guest's filters have no say in it, not even those that the host
 * has.
 */
static int set_host_mask(struct user_thread *t, uint64_t mask)
{
    uint32_t judged = t->gate.judged;
    int r;

    t->gate.judged = 1;
    r = (int)user_host_call(t, __NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof(mask));
    t->gate.judged = judged;
    return r;
}

void user_signal_apply_mask(struct user_thread *t)
{
    set_host_mask(t, t->mask & ~USER_SYNC_SIGNALS);
}

int user_signal_set_mask(struct user_thread *t, uint64_t mask)
{
    int r;

    mask &= ~UNBLOCKABLE;
    r = set_host_mask(t, mask & ~USER_SYNC_SIGNALS);
    if (!r)
        t->mask = mask;
    return r;
}

void user_signal_export(struct user_thread *t, bool restore)
{
    struct user_sighand *s = t->sighand;

    if (restore)
        user_signal_apply_mask(t);
    else
        set_host_mask(t, t->mask);
    for (int sig = 1; sig <= ABI_NSIG; sig++) {
        if (!is_sync(sig) || s->action[sig].handler != ABI_SIG_IGN)
            continue;
        struct abi_sigaction host = {.handler = ABI_SIG_IGN};
        if (restore)
            user_host_signal_install(sig, &s->action[sig]);
        else
            sys_call(__NR_rt_sigaction, sig, &host, NULL, sizeof(uint64_t));
    }
}

static void fill_sets(const struct user_thread *t, const struct user_sighand *s, struct user_signal_sets *out)
{
    *out = (struct user_signal_sets){.blocked = t->waits ? t->wait_mask : t->mask, .host_blocks = t->gate.pending};
    for (int sig = 1; sig <= ABI_NSIG; sig++) {
        if (s->action[sig].handler == ABI_SIG_IGN)
            out->ignored |= ABI_SIGBIT(sig);
        else if (s->action[sig].handler != ABI_SIG_DFL)
            out->caught |= ABI_SIGBIT(sig);
    }
}

static void sets_of(struct user_thread *t, void *opaque)
{
    struct user_sighand *s = t->sighand;

    sys_lock(&s->lock);
    fill_sets(t, s, opaque);
    sys_unlock(&s->lock);
}

/* More threads than this are not looked through: what is read there may run in circles. */
#define THREADS_MOST 4096

bool user_signal_sets_there(const struct user_signal_reader *r, int32_t tid, struct user_signal_sets *out)
{
    uint64_t at = (uint64_t)(uintptr_t)user_thread_list() + (uint64_t)r->moved;
    struct user_sighand s;
    struct user_thread t;

    if (!r->read(r, at, &at, sizeof(at)))
        return false;
    for (unsigned i = 0; at && i < THREADS_MOST; i++, at = (uint64_t)(uintptr_t)t.next) {
        if (!r->read(r, at, &t, sizeof(t)))
            return false;
        if (t.tid != tid)
            continue;
        if (!r->read(r, (uint64_t)(uintptr_t)t.sighand, &s, sizeof(s)))
            return false;
        fill_sets(&t, &s, out);
        return true;
    }
    return false;
}

bool user_signal_sets(int32_t tid, struct user_signal_sets *out)
{
    return user_thread_with(tid ? tid : (int32_t)sys_call(__NR_getpid), sets_of, out);
}

void user_signal_block(uint64_t *old)
{
    uint64_t mask = ~USER_SYNC_SIGNALS;

    sys_call(__NR_rt_sigprocmask, SIG_SETMASK, &mask, old, sizeof(mask));
}

void user_signal_unblock(const uint64_t *old)
{
    sys_call(__NR_rt_sigprocmask, SIG_SETMASK, old, NULL, sizeof(*old));
}

void user_signal_temporary_mask(struct user_thread *t, uint64_t mask)
{
    t->saved_mask = t->mask;
    t->mask = mask & ~UNBLOCKABLE;
    t->restore_mask = true;
}

int64_t user_call_rt_sigprocmask(struct user_thread *t, const uint64_t a[6])
{
    uint64_t set, old = t->mask, next, bits;
    int64_t r;

    if (a[3] != sizeof(set))
        return -EINVAL;
    if (a[1]) {
        if (user_get64(a[1], &set))
            return -EFAULT;
        switch ((int)a[0]) {
        case SIG_BLOCK: next = old | set; break;
        case SIG_UNBLOCK: next = old & ~set; break;
        case SIG_SETMASK: next = set; break;
        default: return -EINVAL;
        }
        next &= ~UNBLOCKABLE;
        bits = next & ~USER_SYNC_SIGNALS;
        /* Through the gate: a signal that comes before this must be delivered before it. */
        r = user_host_call(t, __NR_rt_sigprocmask, SIG_SETMASK, &bits, 0, sizeof(bits));
        if (r)
            return r;
        t->mask = next;
    }
    return a[2] && user_put64(a[2], old) ? -EFAULT : 0;
}

int64_t user_call_rt_sigpending(struct user_thread *t, const uint64_t a[6])
{
    uint64_t set = 0;

    if (a[1] > sizeof(set))
        return -EINVAL;
    sys_call(__NR_rt_sigpending, &set, sizeof(set));
    set = (set | t->held) & t->mask;
    return user_copy_out(a[0], &set, a[1]) ? -EFAULT : 0;
}

int64_t user_call_rt_sigsuspend(struct user_thread *t, const uint64_t a[6])
{
    uint64_t set;
    int64_t r;

    if (a[1] != sizeof(set))
        return -EINVAL;
    if (user_get64(a[0], &set))
        return -EFAULT;
    set &= ~UNBLOCKABLE;
    if (t->held & ~set) {
        user_signal_temporary_mask(t, set);
        return -EINTR;
    }
    uint64_t bits = set & ~USER_SYNC_SIGNALS;
    t->wait_mask = set;
    t->waits = true;
    r = user_host_call(t, __NR_rt_sigsuspend, &bits, sizeof(bits));
    t->waits = false;
    /* Restarted where a signal came that the old mask lets through; else the handler runs under the new one. */
    if (r == -EINTR)
        user_signal_temporary_mask(t, set);
    return r;
}

static int held_slot(int sig)
{
    return sig == ABI_SIGSEGV ? 0 : sig == ABI_SIGBUS ? 1 : 2;
}

/* Signals that we hold are taken here; for the others the kernel waits. */
int64_t user_call_rt_sigtimedwait(struct user_thread *t, const uint64_t a[6])
{
    uint64_t set;

    if (a[3] == sizeof(set) && t->held) {
        if (user_get64(a[0], &set))
            return -EFAULT;
        for (int sig = 1; sig <= 31; sig++) {
            if (!(t->held & set & ABI_SIGBIT(sig)))
                continue;
            if (a[1] && user_copy_out(a[1], &t->held_info[held_slot(sig)], sizeof(struct abi_siginfo)))
                return -EFAULT;
            t->held &= ~ABI_SIGBIT(sig);
            return sig;
        }
    }
    return user_host_call(t, __NR_rt_sigtimedwait, a[0], a[1], a[2], a[3]);
}

/* ---- delivery ---- */

static void hold(struct user_thread *t, const struct abi_siginfo *info)
{
    uint64_t bit = ABI_SIGBIT(info->signo);

    if (!(t->held & bit))
        t->held_info[held_slot(info->signo)] = *info;
    t->held |= bit;
}

void user_signal_caught(struct user_thread *t, const struct abi_siginfo *info)
{
    if (is_sync(info->signo) && (t->gate.pending || (t->mask & ABI_SIGBIT(info->signo)))) {
        hold(t, info);
        return;
    }
    t->info = *info;
    atomic_store_explicit(&t->gate.pending, 1, memory_order_relaxed);
    atomic_fetch_or_explicit(&t->cpu->exit_request, ARM64_EXIT_KICK, memory_order_relaxed);
}

/* Addresses without the byte that EL0's accesses ignore. */
#define TAG_MASK (BIT64(56) - 1)

static bool has_fault_address(const struct abi_siginfo *i)
{
    return i->code > 0 && i->code != ABI_SI_KERNEL && (i->signo == ABI_SIGSEGV || i->signo == ABI_SIGBUS);
}

/* Back to the kernel, for this thread: it comes again when the host's mask lets it. */
static void send_again(const struct abi_siginfo *info)
{
    long pid = sys_call(__NR_getpid), tid = sys_call(__NR_gettid);

    if (sys_call(__NR_rt_tgsigqueueinfo, pid, tid, info->signo, info))
        sys_call(__NR_tgkill, pid, tid, info->signo);
}

/* The kernel's own default action, for this very signal: it ends or stops the process, or nothing happens. */
static void default_action(struct user_thread *t, const struct abi_siginfo *info, bool forced)
{
    struct abi_sigaction dfl = {0};
    int sig = info->signo;
    uint64_t mask = t->mask & ~USER_SYNC_SIGNALS & ~ABI_SIGBIT(sig);

    bool here = user_core_dump(t, info) == USER_CORE_WRITTEN_HERE;
    if (unlikely(user_debug_on))
        user_debug_signaled(t, sig);
    if (forced || (USER_CORE_SIGNALS & ABI_SIGBIT(sig)) || user_debug_catches(sig)) {
        /* The kernel's core file would be the emulator's: there is none, or one page of it that goes with us. */
        struct rlimit limit;
        if (!sys_call(__NR_prlimit64, 0, RLIMIT_CORE, NULL, &limit)) {
            limit.rlim_cur = here && user_core_status() ? SYS_PAGE : 0;
            sys_call(__NR_prlimit64, 0, RLIMIT_CORE, &limit, NULL);
        }
        sys_call(__NR_rt_sigaction, sig, &dfl, NULL, sizeof(uint64_t));
    }
    uint64_t all = UINT64_MAX;
    user_trace_park(t, sig, true);
    sys_call(__NR_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
    send_again(info);
    sys_call(__NR_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
    if (user_debug_catches(sig)) /* it has stopped us, and we go on */
        user_host_signal_install(sig, &dfl);
    user_trace_park(t, sig, false);
    user_signal_apply_mask(t);
}

/* Runs the guest's handler of `signal`, or does what stands in its place. */
static void deliver(struct user_thread *t, const struct abi_siginfo *signal)
{
    struct abi_siginfo copy = *signal, *info = &copy;
    struct user_sighand *s = t->sighand;
    struct abi_sigaction sa;
    uint64_t blocked;

    sys_lock(&s->lock);
    sa = s->action[info->signo];
    if (sa.handler > ABI_SIG_IGN && (sa.flags & ABI_SA_RESETHAND)) {
        s->action[info->signo].handler = ABI_SIG_DFL;
        user_host_signal_install(info->signo, &s->action[info->signo]);
    }
    sys_unlock(&s->lock);
    if (sa.handler == ABI_SIG_IGN)
        return;
    /* Nothing happens, and so nobody is shown anything. */
    if (sa.handler == ABI_SIG_DFL && (DEFAULT_IGNORED & ABI_SIGBIT(info->signo)))
        return;
    if (sa.handler == ABI_SIG_DFL) { /* another thread changed it since */
        default_action(t, info, false);
        return;
    }
    if (!(sa.flags & ABI_SA_EXPOSE_TAGBITS) && has_fault_address(info))
        info->addr &= TAG_MASK;
    if (unlikely(t->trace.restarting))
        user_trace_handler(t, sa.flags);
    if (user_signal_frame_push(t, info, &sa)) {
        /* No room for the frame: SIGSEGV, which is fatal where it was SIGSEGV that found no room. */
        struct user_fault f = {.sig = ABI_SIGSEGV, .code = ABI_SI_KERNEL};
        if (info->signo == ABI_SIGSEGV) {
            sys_lock(&s->lock);
            s->action[ABI_SIGSEGV].handler = ABI_SIG_DFL;
            sys_unlock(&s->lock);
        }
        user_signal_force(t, &f);
        return;
    }
    blocked = sa.mask | (sa.flags & ABI_SA_NODEFER ? 0 : ABI_SIGBIT(info->signo));
    t->mask |= blocked;
    t->restore_mask = false;
    if (unlikely(t->trace.resume & USER_RESUME_STEP))
        user_trace_entered(t);
}

void user_signal_deliver(struct user_thread *t, const struct abi_siginfo *info)
{
    deliver(t, info);
    user_signal_apply_mask(t);
}

bool user_signal_is_default(const struct user_thread *t, int sig)
{
    return t->sighand->action[sig].handler == ABI_SIG_DFL;
}

void user_signal_kill(struct user_thread *t, int sig)
{
    struct abi_siginfo info = {.signo = sig, .code = ABI_SI_KERNEL};

    default_action(t, &info, true);
}

void user_signal_force(struct user_thread *t, const struct user_fault *f)
{
    struct abi_siginfo info = {.signo = f->sig, .error = (int32_t)f->value, .code = f->code, .addr = f->addr};
    struct user_sighand *s = t->sighand;
    bool fatal;

    if (f->sig == ABI_SIGSYS) {
        info.call.nr = f->nr;
        info.call.arch = ABI_AUDIT_ARCH;
    }
    if (user_strace_on)
        user_strace_signal(&info);
    t->fault_address = f->esr ? f->addr & TAG_MASK : 0;
    t->fault_code = f->esr;
    if (unlikely(user_debug_on)) {
        if (!user_debug_signal(t, &info))
            return;
        if (info.signo != f->sig) {
            user_signal_deliver(t, &info);
            return;
        }
    }
    sys_lock(&s->lock);
    fatal = s->action[f->sig].handler <= ABI_SIG_IGN || (t->mask & ABI_SIGBIT(f->sig));
    if (fatal)
        s->action[f->sig].handler = ABI_SIG_DFL;
    sys_unlock(&s->lock);
    if (fatal)
        t->mask &= ~ABI_SIGBIT(f->sig);
    if (unlikely(t->trace.watch & USER_WATCH_TRACED) && !user_trace_signal(t, &info)) {
        user_signal_apply_mask(t);
        return;
    }
    if (fatal && info.signo == f->sig) {
        default_action(t, &info, true);
        return;
    }
    deliver(t, &info);
    user_signal_apply_mask(t);
}

bool user_signal_restarts(const struct user_thread *t)
{
    int sig = t->info.signo;

    return sig < 1 || sig > ABI_NSIG || t->sighand->action[sig].flags & ABI_SA_RESTART;
}

static void deliver_all(struct user_thread *t)
{
    struct abi_siginfo info;

    while (t->gate.pending || (t->held & ~t->mask)) {
        if (t->gate.pending) {
            info = t->info;
            atomic_store_explicit(&t->gate.pending, 0, memory_order_relaxed);
            if (!info.signo) /* a tracer's kick */
                continue;
            /* A fault came after it, whose handler blocks it: the host's mask is full till we have set it anew. */
            if (t->mask & ABI_SIGBIT(info.signo)) {
                if (is_sync(info.signo))
                    hold(t, &info);
                else
                    send_again(&info);
                continue;
            }
        } else {
            int sig = __builtin_ctzll(t->held & ~t->mask) + 1;
            info = t->held_info[held_slot(sig)];
            t->held &= ~ABI_SIGBIT(sig);
        }
        if (user_strace_on)
            user_strace_signal(&info);
        if (unlikely(t->trace.watch & USER_WATCH_TRACED) && !user_trace_signal(t, &info))
            continue;
        if (likely(!user_debug_on) || user_debug_signal(t, &info))
            deliver(t, &info);
    }
}

void user_signal_poll(struct user_thread *t)
{
    bool changed = user_signal_waits(t);

    do
        deliver_all(t);
    while (user_trace_poll(t));
    if (t->restore_mask) {
        t->mask = t->saved_mask;
        t->restore_mask = false;
    }
    if (changed)
        user_signal_apply_mask(t);
}
