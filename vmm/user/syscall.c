/* The table of system calls and its dispatcher: see syscall.h. */
#include "vmm/user/syscall.h"

#include <errno.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/seccomp.h"
#include "vmm/user/signal.h"
#include "vmm/user/space.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/vdso.h"

#define CALL_PTRACE 117
#define CALL_RT_SIGRETURN 139
#define CALL_PRCTL 167
#define CALL_SHMAT 196
#define CALL_SHMDT 197
#define CALL_BRK 214
#define CALL_MREMAP 216
#define CALL_CLONE 220
#define CALL_MMAP 222

#define CALL(nr, host_nr, call_name, kind, handler, text)                                                              \
    [nr] = {.name = #call_name, .fn = handler, .args = text, .host = host_nr, .class = USER_CALL_##kind},
const struct user_call user_calls[USER_CALL_COUNT] = {
#include "vmm/user/syscalls.def"
};
#undef CALL

/* Is the argument that this word describes one that the kernel takes as an address? */
static bool is_pointer(const char *word, size_t n)
{
    static const char *const plain[] = {"d",     "u",        "x",      "o",      "fd",         "at",   "sig",
                                        "proto", "socktype", "openfl", "sockfl", "cloneflags", "open", "futex"};

    if (n > 1 && word[1] == ':')
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (strlen(plain[i]) == n && !memcmp(plain[i], word, n))
            return false;
    }
    return true;
}

/*
 * The tagged address ABI (Documentation/arch/arm64/tagged-address-abi.rst): a thread that asked for it may give tagged
 * addresses to system calls, but for those that say where something shall be. What is within structures is left as
 * it is.
 */
static void untag(const struct user_call *call, uint64_t nr, uint64_t a[6])
{
    const char *p = call->args;

    if (nr == CALL_BRK || nr == CALL_MMAP || nr == CALL_SHMAT || nr == CALL_SHMDT || nr == CALL_PRCTL ||
        nr == CALL_CLONE)
        return;
    for (unsigned i = 0; i < 6 && *p; i++) {
        const char *end = strchr(p, ' ');
        size_t n = end ? (size_t)(end - p) : strlen(p);
        if (is_pointer(p, n) && !(nr == CALL_MREMAP && i == 4))
            a[i] = user_untagged(a[i]);
        p += n + (p[n] == ' ');
    }
}

static int64_t dispatch(struct user_thread *t, const struct user_call *call, uint64_t nr, const uint64_t a[6])
{
    uint64_t plain[6];
    int64_t ret;

    t->gate.judged = 0;
    /* The vDSO's functions enter no kernel on hardware, but for the return from signals. */
    if (unlikely(t->filters) && !(t->cpu->pc - user_vdso_base < SYS_PAGE && nr != CALL_RT_SIGRETURN)) {
        if (!user_seccomp_allows(t, nr, a, &ret))
            return ret;
    }
    if (unlikely(t->tagged) && call->args) {
        memcpy(plain, a, sizeof(plain));
        untag(call, nr, plain);
        a = plain;
    }
    if (call->fn)
        return call->fn(t, a);
    if (call->class == USER_CALL_PASS)
        return sys_gate(call->host, a, &t->gate);
    return -ENOSYS;
}

/* What is left to do where X0 does not simply get the result. */
static void end_call(struct user_thread *t, int64_t ret)
{
    struct arm64_cpu *c = t->cpu;
    /* A tracer's emulator interrupted it, and knows how the kernel would go on. */
    uint32_t code = ret == -SYS_RESTART || ret == -EINTR ? t->trace.restart : 0;

    t->trace.restart = 0;
    if (code || ret == -SYS_RESTART) {
        c->pc -= 4;
        t->trace.restarting = code;
        t->trace.restart_pc = c->pc;
    } else if (ret != -USER_NO_RESULT) {
        c->x[0] = (uint64_t)ret;
    }
}

static int64_t make_call(struct user_thread *t, uint64_t nr)
{
    static const struct user_call none;
    const struct user_call *call = nr < USER_CALL_COUNT ? &user_calls[nr] : &none;
    uint64_t a[6];
    int64_t ret;

    memcpy(a, t->cpu->x, sizeof(a));
    if (!user_strace_on)
        return dispatch(t, call, nr, a);
    user_strace_enter(t, call, nr, a);
    ret = dispatch(t, call, nr, a);
    user_strace_leave(t, call, nr, a, ret);
    return ret;
}

#define ERESTARTNOINTR 513 /* what the kernel calls it there */

/* With -strace or a tracer, or both. The number is the tracer's to change; handlers find it in X8. */
static void watched_call(struct user_thread *t)
{
    struct arm64_cpu *c = t->cpu;
    uint64_t x0, x8, nr;
    int64_t ret;

    if (user_trace_enter(t)) {
        do {
            x0 = c->x[0];
            x8 = c->x[8];
            c->x[8] = nr = (uint32_t)t->trace.nr;
            ret = make_call(t, nr);
            if (ret != -USER_NO_RESULT)
                c->x[8] = x8;
        } while (ret == -USER_CALL_AGAIN && t->trace.nr != -1);
        if (ret == -SYS_RESTART || (ret == -EINTR && t->trace.restart)) {
            /* The stop after the call shows the kernel's code; then the registers are those before the call. */
            uint64_t shown = (uint64_t) - (int64_t)(t->trace.restart ? t->trace.restart : ERESTARTNOINTR);
            c->x[0] = shown;
            user_trace_leave(t);
            if (c->x[0] == shown) {
                c->x[0] = x0;
                end_call(t, -SYS_RESTART);
            }
            t->trace.restart = 0;
            return;
        }
        if (ret != -USER_CALL_AGAIN)
            end_call(t, ret);
    }
    user_trace_leave(t);
}

void user_syscall(struct user_thread *t)
{
    static const struct user_call none;
    struct arm64_cpu *c = t->cpu;
    uint64_t nr = (uint32_t)c->x[8], a[6];
    int64_t ret;

    if (unlikely(t->trace.watch)) {
        watched_call(t);
        return;
    }
    memcpy(a, c->x, sizeof(a));
    ret = dispatch(t, nr < USER_CALL_COUNT ? &user_calls[nr] : &none, nr, a);
    if (likely(ret >= 0))
        c->x[0] = (uint64_t)ret;
    else
        end_call(t, ret);
}
