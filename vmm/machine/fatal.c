/*
 * The handlers restore the terminal and then die by the same signal, so that whoever waits for us, and a core dump, see
 * what happened. They run on any thread, at any instruction: no lock, no memory, only calls that every thread's seccomp
 * filter has. SIGSYS is the sandbox's own (vmm/service/sandbox.c), which does the same after its line.
 */
#include "vmm/machine/fatal.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

#include "devices/chardev.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel_jit.h"

#define FATAL_STACK 16384 /* with the widest vector registers, a signal frame is 11 KiB */

static __thread char fatal_stack[FATAL_STACK];

/* Images of translations are files: where one is cut off, reads go on as reads of nothing. */
static bool fatal_recover(ucontext_t *u)
{
#if defined(__x86_64__)
    uintptr_t to = accel_jit_recover((uintptr_t)u->uc_mcontext.gregs[REG_RIP]);

    if (to)
        u->uc_mcontext.gregs[REG_RIP] = (greg_t)to;
    return to;
#else
    (void)u;
    return false;
#endif
}

static struct sigaction fatal_old_bus; /* a sanitizer's, which reports what is not ours */

static void fatal_on_signal(int sig, siginfo_t *info, void *context)
{
    if (sig == SIGBUS && fatal_recover(context))
        return;
    if (sig == SIGBUS && fatal_old_bus.sa_flags & SA_SIGINFO) {
        fatal_old_bus.sa_sigaction(sig, info, context);
        return;
    }
    chardev_restore_terminal();
    /* All signals are blocked here: raised now, this one ends the process when the handler returns. */
    signal(sig, SIG_DFL);
    raise(sig);
}

void fatal_handle_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGQUIT, SIGXCPU};
    struct sigaction sa = {.sa_sigaction = fatal_on_signal, .sa_flags = SA_ONSTACK | SA_SIGINFO}, old;

    /* SIGTTOU too: a process in the background may then set the terminal. */
    sigfillset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        if (sigaction(signals[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL)
            sigaction(signals[i], &sa, NULL);
    if (sigaction(SIGBUS, NULL, &old) == 0 && (old.sa_flags & SA_SIGINFO) && old.sa_sigaction != fatal_on_signal) {
        fatal_old_bus = old;
        sigaction(SIGBUS, &sa, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);
}

void fatal_enter_thread(void)
{
    stack_t st = {.ss_sp = fatal_stack, .ss_size = sizeof(fatal_stack)}, old;

    if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE))
        sigaltstack(&st, NULL);
}
