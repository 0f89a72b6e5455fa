/*
 * The gdb stub (-g): what the rest of user mode tells it, and asks of it.
 *
 * There is no thread for it: a guest thread that has something to report stops all others and serves the debugger
 * itself until that lets the program go on (all-stop). A thread that is stopped waits in user_debug_attend, between two
 * guest instructions; one that waits in a system call stays there and stops behind it. The debugger's bytes wake a
 * thread by a signal that the guest never sees (user_debug_poked).
 *
 * Everything here but user_debug_on is for the debugged: callers look at that first.
 */
#ifndef PIPIT_USER_DEBUG_H
#define PIPIT_USER_DEBUG_H

#include "jit/user.h"
#include "vmm/user/thread.h"

/* A debugger is there. */
extern _Atomic bool user_debug_on;
/* Signals whose default ends or stops a process have our handler, because a debugger is or was there. */
extern bool user_debug_signals;

/* -g: a TCP port of the loopback interface, or the path of a socket to make, in which %d is the process. */
void user_debug_set_place(const char *place);
/* Between two instances of the emulator: the debugger follows through execve. The next word has two descriptors. */
#define USER_OPTION_DEBUG "-debug-fds"
void user_debug_set_passed(const char *descriptors);

/* Before signals are set up: is there to be a debugger? (not in a set-user-id program) */
void user_debug_prepare(bool secure);
/* The program is loaded and has not begun: waits for the debugger, and till that lets it go on. */
void user_debug_start(struct user_thread *t, uint64_t auxv, size_t auxv_size);

static inline bool user_debug_catches(int sig)
{
    const uint64_t ignored = ABI_SIGBIT(ABI_SIGCHLD) | ABI_SIGBIT(ABI_SIGCONT) | ABI_SIGBIT(ABI_SIGURG) |
                             ABI_SIGBIT(ABI_SIGWINCH) | ABI_SIGBIT(ABI_SIGKILL) | ABI_SIGBIT(ABI_SIGSTOP);
    return user_debug_signals && !(ignored & ABI_SIGBIT(sig));
}

/* ---- in the thread's own loop ---- */

/* Between two instructions, before signals are looked at: reports what there is to report, waits while stopped, and
 * delivers what the debugger gave. */
void user_debug_attend(struct user_thread *t);
/* A signal is about to be delivered: false where the debugger took it. It may have become another one. */
bool user_debug_signal(struct user_thread *t, struct abi_siginfo *info);
/* The JIT met a breakpoint, a watched access, or the end of a step. */
void user_debug_hit(struct user_thread *t, enum jit_debug why, uint64_t addr);

/* Around system calls: a thread within one need not be waited for. */
enum user_debug_state { USER_DEBUG_RUNS, USER_DEBUG_CALLS, USER_DEBUG_STOPPED };
static inline void user_debug_call_begin(struct user_thread *t)
{
    atomic_store(&t->debug.state, USER_DEBUG_CALLS);
}
static inline void user_debug_call_end(struct user_thread *t)
{
    /* Before exit_request is looked at, which is set before this is (user_debug's hold). */
    atomic_store(&t->debug.state, USER_DEBUG_RUNS);
}

/* In the signal handler: was it sent to wake the thread for the debugger? */
bool user_debug_poked(struct user_thread *t, const struct abi_siginfo *info);

/* ---- threads and processes ---- */

/* A thread `n` is about to begin; `same_process`: with CLONE_THREAD. */
void user_debug_cloned(struct user_thread *t, struct user_thread *n, bool same_process);
/* In the parent with the child's number, in the child with 0, or with -errno. `same_numbers`: not in a process
 * namespace of its own, where the debugger's number for it is not its own. */
void user_debug_forked(struct user_thread *t, long child, bool same_numbers);
/* The thread, or with `all` the process, is to end with this status; false: the call is to be made again. */
bool user_debug_exits(struct user_thread *t, int status, bool all);
/* The signal's default action is about to be done. */
void user_debug_signaled(struct user_thread *t, int sig);
/* Does the debugger want to follow into a program that takes this one's place? */
bool user_debug_follows_exec(const struct user_thread *t);
/* Before execve, with which all other threads end: false: the call is to be made again. After one that failed, undone.
 */
bool user_debug_exec_stage(struct user_thread *t);
void user_debug_exec_failed(struct user_thread *t);
/* The argument of USER_OPTION_DEBUG, where the debugger follows: its descriptors are made to stay. */
bool user_debug_exec_words(struct user_thread *t, char *words, size_t size);

#endif
