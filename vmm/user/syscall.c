/* The table of system calls and its dispatcher: see syscall.h. */
#include "vmm/user/syscall.h"

#include <errno.h>

#include "vmm/user/seccomp.h"
#include "vmm/user/signal.h"
#include "vmm/user/space.h"
#include "vmm/user/strace.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/vdso.h"

#define CALL_RT_SIGRETURN 139

#define CALL(nr, host_nr, call_name, kind, handler, text)                                                              \
    [nr] = {.name = #call_name, .fn = handler, .args = text, .host = host_nr, .class = USER_CALL_##kind},
const struct user_call user_calls[USER_CALL_COUNT] = {
#include "vmm/user/syscalls.def"
};
#undef CALL

static int64_t dispatch(struct user_thread *t, const struct user_call *call, uint64_t nr, const uint64_t a[6])
{
    int64_t ret;

    t->gate.judged = 0;
    /* The vDSO's functions enter no kernel on hardware, but for the return from signals. */
    if (unlikely(t->filters) && !(t->cpu->pc - user_vdso_base < SYS_PAGE && nr != CALL_RT_SIGRETURN)) {
        if (!user_seccomp_allows(t, nr, a, &ret))
            return ret;
        t->gate.judged = 1;
    }
    if (call->fn)
        return call->fn(t, a);
    if (call->class == USER_CALL_PASS)
        return sys_gate(call->host, a, &t->gate);
    return -ENOSYS;
}

void user_syscall(struct user_thread *t)
{
    static const struct user_call none;
    struct arm64_cpu *c = t->cpu;
    uint64_t nr = (uint32_t)c->x[8], a[6];
    const struct user_call *call = nr < USER_CALL_COUNT ? &user_calls[nr] : &none;
    int64_t ret;

    memcpy(a, c->x, sizeof(a));
    if (unlikely(user_strace_on)) {
        user_strace_enter(t, call, nr, a);
        ret = dispatch(t, call, nr, a);
        user_strace_leave(t, call, nr, a, ret);
    } else {
        ret = dispatch(t, call, nr, a);
    }
    if (ret == -SYS_RESTART)
        c->pc -= 4;
    else if (ret != -USER_NO_RESULT)
        c->x[0] = (uint64_t)ret;
}
