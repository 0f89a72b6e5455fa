/*
 * The handler of all host signals. It runs on the thread's signal stack, takes no lock and calls no guest code.
 *
 * A synchronous signal comes from an access of ours to the guest's memory (access.h), or from the emulator's own
 * mistake, which ends the process with a sentence. Everything else was sent to the guest.
 */
#include <asm/sigcontext.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/ucontext.h>

#include "vmm/user/access.h"
#include "vmm/user/debug.h"
#include "vmm/user/executor.h"
#include "vmm/user/seccomp.h"
#include "vmm/user/signal.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/gate.h"
#include "vmm/user/sys/sys.h"

_Static_assert(sizeof(siginfo_t) == sizeof(struct abi_siginfo), "siginfo");

__asm__(".pushsection .text\n"
        ".globl user_host_sigreturn\n"
        ".hidden user_host_sigreturn\n"
        ".type user_host_sigreturn, @function\n"
        "user_host_sigreturn:\n"
        "    mov $15, %eax\n" /* rt_sigreturn */
        "    syscall\n"
        "    ud2\n"
        ".size user_host_sigreturn, . - user_host_sigreturn\n"
        ".popsection\n");
void user_host_sigreturn(void) __attribute__((visibility("hidden")));

/* The JIT takes the host's registers in this order, which is also that of a libc's greg[]. */
_Static_assert(offsetof(struct sigcontext, rip) == 16 * 8 && offsetof(struct sigcontext, trapno) == 20 * 8,
               "sigcontext");

/* May the kernel have raised it for what this thread just did? A queued signal may carry any code, but finds the thread
 * behind the gate. */
static bool is_synchronous(int sig, const struct abi_siginfo *info, uint64_t pc)
{
    bool kind = sig == ABI_SIGSEGV || sig == ABI_SIGBUS || sig == ABI_SIGFPE || sig == ABI_SIGILL || sig == ABI_SIGTRAP;

    return kind && info->code > 0 && !sys_gate_returns(pc);
}

static void own_fault(int sig, const struct abi_siginfo *info, uint64_t pc)
{
    extern const char __ehdr_start[] __attribute__((visibility("hidden")));

    sys_print(2, "pipit-aarch64: internal error: signal %d at image+%#lx, address %#lx, guest pc %#lx\n", sig,
              (unsigned long)(pc - (uint64_t)(uintptr_t)__ehdr_start), (unsigned long)info->addr,
              (unsigned long)user_self()->cpu->pc);
    for (;;)
        sys_call(__NR_exit_group, 126);
}

static void on_signal(int sig, struct abi_siginfo *info, struct ucontext *uc)
{
    struct user_thread *t = user_self();
    uint64_t pc = uc->uc_mcontext.rip, ax = uc->uc_mcontext.rax, landing;

    if (is_synchronous(sig, info, pc)) {
        landing = user_access_landing(pc);
        if (!landing) {
            if (!user_executor_fault(t, sig, info->code, info->addr, (uint64_t *)&uc->uc_mcontext))
                own_fault(sig, info, pc);
            return;
        }
        uc->uc_mcontext.r11 = 1;
        uc->uc_mcontext.rip = landing;
        return;
    }
    if (unlikely(user_debug_on) && user_debug_poked(t, info)) {
        if (!t->gate.pending)
            sys_gate_again(&pc, ax);
        uc->uc_mcontext.rip = pc;
        return;
    }
    /* The kernel's copy of a filter refused the call: the guest's handler gives it a result. */
    if (sig == ABI_SIGSYS && info->code == ABI_SYS_SECCOMP && sys_gate_returns(pc)) {
        user_seccomp_convert(t, info);
        uc->uc_mcontext.rax = (uint64_t)-USER_NO_RESULT;
        ax = uc->uc_mcontext.rax;
    }
    if (sig != ABI_SIGSEGV || info->code != USER_TRACE_CODE || !user_trace_caught(t))
        user_signal_caught(t, info);
    if (t->gate.pending) {
        if (t->info.signo)
            uc->uc_sigmask = ~USER_SYNC_SIGNALS;
        /* It has our handler for the debugger's sake only: where that drops it, nothing has happened. */
        if (user_debug_catches(sig) && user_signal_is_default(t, sig))
            sys_gate_again(&pc, ax);
        sys_gate_leave(&pc, &ax);
        uc->uc_mcontext.rip = pc;
        uc->uc_mcontext.rax = ax;
    }
}

void user_host_signal_install(int sig, const struct abi_sigaction *guest)
{
    struct abi_sigaction host = {.flags = guest->flags & (ABI_SA_NOCLDSTOP | ABI_SA_NOCLDWAIT | ABI_SA_RESTART)};

    bool core = guest->handler == ABI_SIG_DFL && ((USER_CORE_SIGNALS & ABI_SIGBIT(sig)) || user_debug_catches(sig));

    if (guest->handler > ABI_SIG_IGN || (USER_SYNC_SIGNALS & ABI_SIGBIT(sig)) || core) {
        host.handler = (uint64_t)(uintptr_t)on_signal;
        host.flags |= SA_SIGINFO | SA_ONSTACK;
    } else {
        host.handler = guest->handler;
    }
    host.flags |= SA_RESTORER;
    host.restorer = (uint64_t)(uintptr_t)user_host_sigreturn;
    host.mask = ~USER_SYNC_SIGNALS;
    sys_call(__NR_rt_sigaction, sig, &host, NULL, sizeof(uint64_t));
}

void user_signal_stack_set(struct user_thread *t)
{
    struct abi_stack s = user_thread_signal_stack(t);

    sys_call(__NR_sigaltstack, &s, NULL);
}
