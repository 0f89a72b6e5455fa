/*
 * Signals of the guest.
 *
 * The guest's dispositions and masks are the host's wherever the kernel can do the work: a default or ignored signal is
 * so on the host, a caught one has our handler with the guest's SA_RESTART, SA_NOCLDSTOP and SA_NOCLDWAIT, and what the
 * guest blocks is blocked. Only SIGSEGV, SIGBUS and SIGFPE always have our handler and are never blocked, because
 * accesses of ours may raise them.
 *
 * The handler (host_signal.c) does not run guest code: it keeps the signal in user_thread.info, blocks all others till
 * that is delivered, so that the kernel queues them, and makes guest code or a system call end soon. The signal
 * is delivered between two guest instructions (user_signal_poll), with a frame as the arm64 kernel makes it.
 */
#ifndef PIPIT_USER_SIGNAL_H
#define PIPIT_USER_SIGNAL_H

#include "vmm/user/thread.h"

/* Before the first thread runs: takes over what execve left, and installs the handler of synchronous signals. */
struct user_sighand *user_sighand_create(void);
/* For clone: a shared or an own copy; NULL: out of memory. */
struct user_sighand *user_sighand_get(struct user_sighand *s);
struct user_sighand *user_sighand_copy(struct user_sighand *s);
void user_sighand_put(struct user_sighand *s);
/* CLONE_CLEAR_SIGHAND: caught signals get their default action. */
void user_sighand_clear(struct user_sighand *s);
/* Around fork. */
void user_sighand_lock(struct user_sighand *s);
void user_sighand_unlock(struct user_sighand *s);
/* Before execve: what the guest ignores or blocks of the synchronous signals is so on the host; undone by `restore`. */
void user_signal_export(struct user_thread *t, bool restore);

/* The thread's host mask from the guest's; where a signal waits to be delivered, when it has been. */
void user_signal_apply_mask(struct user_thread *t);
/* Sets the guest's mask, and the host's. -SYS_RESTART: a signal must be delivered first, nothing has changed. */
int user_signal_set_mask(struct user_thread *t, uint64_t mask);
/* Blocks all but the synchronous signals on the host; `old` gets what was. */
void user_signal_block(uint64_t *old);
void user_signal_unblock(const uint64_t *old);
/* What a thread has blocked, and ignores and catches, in the bits of a signal set. */
struct user_signal_sets {
    uint64_t blocked, ignored, caught;
    bool host_blocks; /* the host's mask is ours for the moment, else the guest's but for USER_SYNC_SIGNALS */
};
/* tid 0: the first one. False: there is none. */
bool user_signal_sets(int32_t tid, struct user_signal_sets *out);
/* Reads memory of another process of this very program; false: it may not. */
struct user_signal_reader {
    bool (*read)(const struct user_signal_reader *r, uint64_t va, void *out, size_t len);
    uint64_t pid;
    int64_t moved; /* its image's address less ours */
};
/* The same for a thread there; what is read may be anything. */
bool user_signal_sets_there(const struct user_signal_reader *r, int32_t tid, struct user_signal_sets *out);
/* The alternate stack of the calling thread for host handlers. */
void user_signal_stack_set(struct user_thread *t);

/* Is there anything for user_signal_poll to do? */
static inline bool user_signal_waits(const struct user_thread *t)
{
    return t->gate.pending || (t->held & ~t->mask) || t->restore_mask;
}
/* Will the call that the pending signal interrupts be made again (SA_RESTART)? */
bool user_signal_restarts(const struct user_thread *t);
/* Delivers what is pending, and puts a temporary mask back. Between guest instructions. */
void user_signal_poll(struct user_thread *t);
/* Runs the guest's handler for a signal that a debugger gives, or does what stands in its place. */
void user_signal_deliver(struct user_thread *t, const struct abi_siginfo *info);
/* Has the guest left the signal's action as it was? */
bool user_signal_is_default(const struct user_thread *t, int sig);
/* Ends the process by the signal, whatever the guest made of it. */
void user_signal_kill(struct user_thread *t, int sig);
/* The signal of a synchronous exception at the present PC. */
void user_signal_force(struct user_thread *t, const struct user_fault *f);
/* For a system call that waits with another mask: the mask is `mask` until a signal was delivered or the call ends. */
void user_signal_temporary_mask(struct user_thread *t, uint64_t mask);

/* From the host's handler. */
void user_signal_caught(struct user_thread *t, const struct abi_siginfo *info);

/* The guest's frames (signal_frame.c): 0 or -EFAULT. */
int user_signal_frame_push(struct user_thread *t, const struct abi_siginfo *info, const struct abi_sigaction *sa);
int user_signal_frame_pop(struct user_thread *t);
/* Where handlers without SA_RESTORER return to: __kernel_rt_sigreturn of the vDSO. */
extern uint64_t user_signal_trampoline;

/* System calls. */
int64_t user_call_rt_sigaction(struct user_thread *t, const uint64_t a[6]);
int64_t user_call_rt_sigprocmask(struct user_thread *t, const uint64_t a[6]);
int64_t user_call_rt_sigpending(struct user_thread *t, const uint64_t a[6]);
int64_t user_call_rt_sigsuspend(struct user_thread *t, const uint64_t a[6]);
int64_t user_call_rt_sigtimedwait(struct user_thread *t, const uint64_t a[6]);
int64_t user_call_rt_sigreturn(struct user_thread *t, const uint64_t a[6]);
int64_t user_call_sigaltstack(struct user_thread *t, const uint64_t a[6]);

/* host_signal.c */
void user_host_signal_install(int sig, const struct abi_sigaction *guest);

#endif
