/*
 * Threads: their memory, the list of them, and the loop that each runs. See thread.h.
 *
 * Regions come in slabs and are used again; a thread gives its own back by its very last store before the exit
 * system call, after which it touches no memory.
 */
#include "vmm/user/thread.h"

#include <linux/mman.h>

#include "vmm/user/cpu.h"
#include "vmm/user/debug.h"
#include "vmm/user/executor.h"
#include "vmm/user/saved.h"
#include "vmm/user/seccomp.h"
#include "vmm/user/signal.h"
#include "vmm/user/space.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/uring.h"

/* ---- regions ---- */

#define SLAB_REGIONS 16

struct slab {
    struct slab *next;
    uint8_t *base;
    unsigned regions;
};

static struct slab *slabs;
static struct user_thread *threads;
static struct sys_lock lock; /* of both */

/* The first thread's slab has one region: most processes have one thread. */
static struct slab *slab_create(void)
{
    struct slab *s = sys_alloc(sizeof(*s));

    if (!s)
        return NULL;
    s->regions = slabs ? SLAB_REGIONS : 1;
    s->base = sys_map(s->regions * USER_REGION, USER_REGION, PROT_READ | PROT_WRITE);
    if (!s->base) {
        sys_free(s);
        return NULL;
    }
    for (unsigned i = 0; i < s->regions; i++) {
        struct user_thread *t = (struct user_thread *)(s->base + i * USER_REGION);
        struct abi_stack signal = user_thread_signal_stack(t);
        sys_call(__NR_mprotect, signal.sp + signal.size, SYS_PAGE, PROT_NONE);
    }
    s->next = slabs;
    slabs = s;
    return s;
}

static struct user_thread *slab_take(struct slab *s)
{
    for (unsigned i = 0; i < s->regions; i++) {
        struct user_thread *t = (struct user_thread *)(s->base + i * USER_REGION);
        uint32_t free = 0;
        if (atomic_compare_exchange_strong(&t->busy, &free, 1))
            return t;
    }
    return NULL;
}

static struct user_thread *region_take(void)
{
    struct user_thread *t = NULL;

    sys_lock(&lock);
    for (struct slab *s = slabs; s && !t; s = s->next)
        t = slab_take(s);
    if (!t) {
        struct slab *s = slab_create();
        t = s ? slab_take(s) : NULL;
    }
    sys_unlock(&lock);
    return t;
}

struct user_thread *user_thread_create(const struct user_thread *from)
{
    struct user_thread *t = region_take();

    if (!t)
        return NULL;
    memset(t, 0, offsetof(struct user_thread, busy));
    user_trace_init(t, from);
    if (!from)
        return t;
    if (user_executor_thread_create(t)) {
        atomic_store(&t->busy, 0);
        return NULL;
    }
    user_cpu_copy(t->cpu, from->cpu);
    return t;
}

void user_thread_link(struct user_thread *t)
{
    sys_lock(&lock);
    t->prev = NULL;
    t->next = threads;
    if (threads)
        threads->prev = t;
    threads = t;
    sys_unlock(&lock);
}

void user_thread_unlink(struct user_thread *t)
{
    sys_lock(&lock);
    if (t->prev)
        t->prev->next = t->next;
    else
        threads = t->next;
    if (t->next)
        t->next->prev = t->prev;
    sys_unlock(&lock);
}

void user_thread_list_lock(void)
{
    sys_lock(&lock);
}

void user_thread_list_unlock(void)
{
    sys_unlock(&lock);
}

unsigned user_thread_count(void)
{
    unsigned n = 0;

    for (struct user_thread *t = threads; t; t = t->next)
        n++;
    return n;
}

const void *user_thread_list(void)
{
    return &threads;
}

struct user_thread *user_thread_next(struct user_thread *t)
{
    return t ? t->next : threads;
}

bool user_thread_with(int32_t tid, void (*fn)(struct user_thread *t, void *opaque), void *opaque)
{
    struct user_thread *t;

    sys_lock(&lock);
    for (t = threads; t && t->tid != tid; t = t->next)
        ;
    if (t)
        fn(t, opaque);
    sys_unlock(&lock);
    return t;
}

bool user_thread_alone(const struct user_thread *t)
{
    return !t->prev && !t->next;
}

int32_t user_thread_filters_differ(const struct user_thread *t)
{
    int32_t tid = 0;

    sys_lock(&lock);
    for (struct user_thread *o = threads; o && !tid; o = o->next) {
        if (o != t && !user_seccomp_begins_with(t->filters, o->filters))
            tid = o->tid;
    }
    sys_unlock(&lock);
    return tid;
}

void user_thread_share_filters(struct user_thread *t)
{
    sys_lock(&lock);
    for (struct user_thread *o = threads; o; o = o->next) {
        if (o == t)
            continue;
        /* What it had is not freed: it may be running it. */
        o->filters = user_seccomp_get(t->filters);
    }
    sys_unlock(&lock);
}

void user_thread_destroy(struct user_thread *t)
{
    user_sighand_put(t->sighand);
    user_seccomp_put(t->filters);
    sys_free(t->rings);
    user_executor_thread_destroy(t);
    atomic_store_explicit(&t->busy, 0, memory_order_release);
}

/* ---- fork ---- */

void user_thread_lock_all(struct user_thread *t)
{
    user_strace_lock();
    sys_lock(&lock);
    user_sighand_lock(t->sighand);
    user_uring_lock();
    user_space_lock();
    user_executor_fork_begin(t);
    user_saved_lock();
    sys_memory_lock();
}

int user_thread_unlock_all(struct user_thread *t, bool child)
{
    int r;

    sys_memory_unlock();
    user_saved_unlock();
    r = user_executor_fork_end(t, child);
    user_space_unlock();
    user_uring_unlock(child);
    user_sighand_unlock(t->sighand);
    sys_unlock(&lock);
    user_strace_unlock();
    return r;
}

void user_thread_forked(struct user_thread *t)
{
    struct user_thread *next;

    for (struct user_thread *o = threads; o; o = next) {
        next = o->next;
        if (o == t)
            continue;
        o->cpu = NULL; /* the JIT has forgotten it */
        user_thread_destroy(o);
    }
    threads = t;
    t->prev = t->next = NULL;
    t->tid = (int32_t)sys_call(__NR_gettid);
    t->vfork = false;
    sys_free(t->rings); /* registered rings stay with the parent */
    t->rings = NULL;
    user_tracer_forked();
}

/* ---- running ---- */

void user_thread_run(struct user_thread *t)
{
    struct arm64_cpu *c = t->cpu;

    t->tid = (int32_t)sys_call(__NR_gettid);
    user_trace_begin(t);
    for (;;) {
        /* Cleared before the look: a signal that comes in between sets it again. */
        atomic_store_explicit(&c->exit_request, 0, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        if (unlikely(user_debug_on))
            user_debug_attend(t);
        if (user_signal_waits(t))
            user_signal_poll(t);
        t->event = USER_EVENT_NONE;
        if (unlikely(t->trace.resume & USER_RESUME_STEP)) {
            user_executor_step(t);
            user_trace_stepped(t);
        } else {
            user_executor_run(t);
        }
        if (t->event == USER_EVENT_FAULT) {
            struct user_fault f = t->fault;
            user_signal_force(t, &f);
        }
    }
}

void user_thread_enter(struct user_thread *t, void (*fn)(struct user_thread *t, uint64_t *arg), uint64_t *arg)
{
    __asm__ volatile("mov %[top], %%rsp\n"
                     "xor %%ebp, %%ebp\n"
                     "call *%[fn]\n"
                     "ud2\n"
                     :
                     : [top] "r"(user_thread_top(t)), [fn] "r"(fn), "D"(t), "S"(arg)
                     : "memory");
    __builtin_unreachable();
}

void user_thread_end(struct user_thread *t, long nr, int status)
{
    static _Atomic uint32_t nobody;
    _Atomic uint32_t *busy = t->vfork ? &nobody : &t->busy;
    uint64_t old;

    user_signal_block(&old);
    if (!t->vfork) {
        user_thread_unlink(t);
        user_sighand_put(t->sighand);
        user_seccomp_put(t->filters);
        sys_free(t->rings);
        user_executor_thread_destroy(t);
    }
    __asm__ volatile("movl $0, (%[busy])\n"
                     "syscall\n"
                     "ud2\n"
                     :
                     : [busy] "r"(busy), "a"(nr), "D"((long)status)
                     : "memory", "rcx", "r11");
    __builtin_unreachable();
}
