/*
 * clone, clone3 and exit: threads and processes of the guest are the host's, with the guest's own flags.
 *
 * What shares memory (CLONE_VM: threads, vfork) gets a region and a host stack of its own. What does not is a copy of
 * everything, on the stack where it stood; only the calling thread goes on there, so all locks are held meanwhile.
 * CLONE_SETTLS concerns the guest's TPIDR_EL0 alone. A child begins with all signals blocked, and unblocks what the
 * guest does not block when it can take them.
 */
#include <errno.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/debug.h"
#include "vmm/user/executor.h"
#include "vmm/user/options.h"
#include "vmm/user/saved.h"
#include "vmm/user/seccomp.h"
#include "vmm/user/signal.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"

#define CLONE_ARGS_MIN 64  /* CLONE_ARGS_SIZE_VER0 */
#define HOST_STACK KIB(64) /* what clone3 is told: a lower end, which nothing reads */

/* One of the two calls, as the host gets it. */
struct request {
    uint64_t flags, stack, tls; /* the guest's */
    bool is_clone3;
    uint64_t ptid, ctid; /* clone */
    struct abi_clone_args args;
    uint64_t size; /* clone3 */
};

/* The host's call with the child's stack ending at `top` (0: where it is). In a child with a stack of its own,
 * child(arg) is called there and must not return. */
static long host_clone(struct request *q, uint64_t top, void (*child)(struct user_thread *), struct user_thread *arg)
{
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    register void (*fn)(struct user_thread *) __asm__("r12") = child;
    register struct user_thread *param __asm__("r13") = arg;
    long nr = __NR_clone, rdi, rsi, rdx = 0;

    if (q->is_clone3) {
        nr = __NR_clone3;
        q->args.flags = q->flags & ~(uint64_t)ABI_CLONE_SETTLS;
        q->args.tls = 0;
        q->args.stack = top ? top - HOST_STACK : 0;
        q->args.stack_size = top ? HOST_STACK : 0;
        rdi = (long)&q->args;
        rsi = (long)q->size;
    } else {
        rdi = (long)(q->flags & ~(uint64_t)ABI_CLONE_SETTLS);
        rsi = (long)top;
        rdx = (long)q->ptid;
        r10 = (long)q->ctid;
    }
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "test %%r12, %%r12\n"
                     "jz 1f\n"
                     "xor %%ebp, %%ebp\n"
                     "mov %%r13, %%rdi\n"
                     "call *%%r12\n"
                     "ud2\n"
                     "1:\n"
                     : "+a"(nr)
                     : "D"(rdi), "S"(rsi), "d"(rdx), "r"(r10), "r"(r8), "r"(fn), "r"(param)
                     : "rcx", "r11", "memory");
    return nr;
}

static void child_registers(struct arm64_cpu *c, const struct request *q)
{
    c->x[0] = 0;
    if (q->stack)
        c->x[31] = q->stack;
    if (q->flags & ABI_CLONE_SETTLS)
        c->sys.tpidr_el0 = q->tls;
}

/* ---- a child with its own memory ---- */

static int64_t fork_process(struct user_thread *t, struct request *q)
{
    long r;

    user_saved_publish(t, USER_SAVED_FORK);
    user_thread_lock_all(t);
    t->trace.forking = 1;
    r = host_clone(q, 0, NULL, NULL);
    t->trace.forking = 0;
    if (user_thread_unlock_all(t, r == 0))
        sys_die(126, "out of memory for the code of a forked process");
    if (r == 0) {
        user_thread_forked(t);
        if (q->flags & ABI_CLONE_CLEAR_SIGHAND)
            user_sighand_clear(t->sighand);
        t->held = 0;
        user_trace_child(t);
        child_registers(t->cpu, q);
        t->whole = true;
    }
    if (unlikely(user_debug_on))
        user_debug_forked(t, r, !(q->flags & ABI_CLONE_NEWPID));
    user_signal_apply_mask(t);
    return r == 0 ? -USER_NO_RESULT : r;
}

/* ---- a child in this memory ---- */

static void child_begin(struct user_thread *t)
{
    user_signal_stack_set(t);
    user_signal_apply_mask(t);
    user_thread_run(t);
}

static void child_begin_clear(struct user_thread *t)
{
    user_sighand_clear(t->sighand);
    child_begin(t);
}

static int64_t spawn(struct user_thread *t, struct request *q)
{
    struct user_thread *n = user_thread_create(t);
    long r;

    if (!n)
        return -ENOMEM;
    n->mask = t->mask;
    n->tagged = t->tagged;
    n->vfork = q->flags & ABI_CLONE_VFORK;
    n->filters = user_seccomp_get(t->filters);
    if (n->vfork) /* the alternate stack stays where the stack does (fork(2) of the kernel) */
        n->altstack = t->altstack;
    n->sighand = q->flags & ABI_CLONE_SIGHAND ? user_sighand_get(t->sighand) : user_sighand_copy(t->sighand);
    if (!n->sighand) {
        user_thread_destroy(n);
        return -ENOMEM;
    }
    child_registers(n->cpu, q);
    if (unlikely(user_debug_on))
        user_debug_cloned(t, n, q->flags & ABI_CLONE_THREAD);
    user_thread_link(n);
    r = host_clone(q, user_thread_top(n), q->flags & ABI_CLONE_CLEAR_SIGHAND ? child_begin_clear : child_begin, n);
    /* After vfork the child has gone, or runs another program. */
    if (r < 0 || (q->flags & ABI_CLONE_VFORK)) {
        user_thread_unlink(n);
        user_thread_destroy(n);
    }
    return r;
}

static int64_t clone_checked(struct user_thread *t, struct request *q)
{
    uint64_t old;
    int64_t r;

    user_signal_block(&old);
    if (t->gate.pending) {
        r = -SYS_RESTART;
    } else if (q->flags & ABI_CLONE_VM) {
        r = spawn(t, q);
    } else {
        return fork_process(t, q);
    }
    user_signal_unblock(&old);
    return r;
}

int64_t user_call_process_clone(struct user_thread *t, const uint64_t a[6])
{
    struct request q = {.flags = (uint32_t)a[0], .stack = a[1], .ptid = a[2], .tls = a[3], .ctid = a[4]};

    return clone_checked(t, &q);
}

int64_t user_call_process_clone3(struct user_thread *t, const uint64_t a[6])
{
    struct request q = {.is_clone3 = true, .size = a[1]};
    uint8_t extra;

    if (q.size > 4096)
        return -E2BIG;
    if (q.size < CLONE_ARGS_MIN)
        return -EINVAL;
    for (; q.size > sizeof(q.args); q.size--) {
        if (user_get8(a[0] + q.size - 1, &extra))
            return -EFAULT;
        if (extra)
            return -E2BIG;
    }
    if (user_copy_in(&q.args, a[0], q.size))
        return -EFAULT;
    if (!q.args.stack != !q.args.stack_size)
        return -EINVAL;
    q.flags = q.args.flags;
    q.stack = q.args.stack + q.args.stack_size;
    q.tls = q.args.tls;
    return clone_checked(t, &q);
}

int64_t user_call_process_exit(struct user_thread *t, const uint64_t a[6])
{
    if (unlikely(user_debug_on) && !user_debug_exits(t, (int)a[0], false))
        return -SYS_RESTART;
    if (user_strace_on)
        user_strace_finish(t, &user_calls[(uint32_t)t->cpu->x[8]]);
    if (user_thread_alone(t))
        user_saved_publish(t, USER_SAVED_LAST);
    user_thread_end(t, __NR_exit, (int)a[0]);
}

int64_t user_call_process_exit_group(struct user_thread *t, const uint64_t a[6])
{
    if (unlikely(user_debug_on) && !user_debug_exits(t, (int)a[0], true))
        return -SYS_RESTART;
    if (user_strace_on)
        user_strace_finish(t, &user_calls[(uint32_t)t->cpu->x[8]]);
    user_saved_publish(t, USER_SAVED_LAST);
    if (user_options.report)
        user_executor_report();
    user_thread_end(t, __NR_exit_group, (int)a[0]);
}
