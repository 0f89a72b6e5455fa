/*
 * wait4 and waitid. Stops of a tracee that are the emulator's business alone go on from here, unseen (tracer.c), so
 * that a wait may end several times on the host and once for the guest.
 */
#include <errno.h>
#include <linux/wait.h>

#include "vmm/user/access.h"
#include "vmm/user/signal.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"
#include "vmm/user/trace.h"

#define STATUS_STOPPED 0x7f
#define STATUS_CONTINUED 0xffff
#define CLD_TRAPPED 4
#define CLD_STOPPED 5
#define CLD_CONTINUED 6

#define NAP_SHORTEST 20000 /* ns */
#define NAP_LONGEST 1000000

struct child_info {
    int32_t signo, error, code, pad;
    int32_t pid;
    uint32_t uid;
    int32_t status;
    uint8_t rest[100];
};
_Static_assert(sizeof(struct child_info) == 128, "siginfo");

/*
 * The host's wait for one process `pid`, where the thread traces others that run: their stops must be served
 * meanwhile, or this one might wait for them (a region of the JIT wants all threads of its process outside). Without
 * a way to wait for the two kinds at once it looks again and again, less and less often.
 */
static int64_t wait_serving(struct user_thread *t, long nr, const uint64_t a[6], unsigned options, int32_t pid)
{
    uint64_t b[6] = {a[0], a[1], a[2], a[3], a[4], a[5]};
    const struct child_info *info = (const struct child_info *)(uintptr_t)a[2];
    int64_t r;

    b[options] |= WNOHANG;
    for (long nap = NAP_SHORTEST;; nap = MIN(nap * 2, NAP_LONGEST)) {
        r = sys_gate(nr, b, &t->gate);
        if (r || (nr == __NR_waitid && info->pid))
            return r;
        user_tracer_serve_others(t, pid);
        int64_t ts[2] = {0, nap};
        sys_call(__NR_nanosleep, ts, NULL);
        if (t->gate.pending)
            return user_signal_restarts(t) ? -SYS_RESTART : -EINTR;
        if (!user_tracer_has_others(t, pid))
            return sys_gate(nr, a, &t->gate);
    }
}

static int64_t wait_host(struct user_thread *t, long nr, const uint64_t a[6], unsigned options, int32_t pid)
{
    if (likely(pid <= 0 || (a[options] & WNOHANG) || !user_tracer_has_others(t, pid)))
        return sys_gate(nr, a, &t->gate);
    return wait_serving(t, nr, a, options, pid);
}

int64_t user_call_child_wait4(struct user_thread *t, const uint64_t a[6])
{
    int32_t status = 0;
    uint64_t b[6] = {a[0], (uint64_t)(uintptr_t)&status, a[2], a[3]};
    int64_t r;

    for (;;) {
        r = wait_host(t, __NR_wait4, b, 2, (int32_t)a[0]);
        if (r <= 0)
            return r;
        uint32_t code = (uint32_t)status >> 8;
        if ((status & 0xff) == STATUS_STOPPED) {
            if (!user_tracer_stopped(t, (int32_t)r, &code))
                continue;
            status = (int32_t)(code << 8 | STATUS_STOPPED);
        } else if (status != STATUS_CONTINUED) {
            user_tracer_remove((int32_t)r);
        }
        return a[1] && user_put32(a[1], (uint32_t)status) ? -EFAULT : r;
    }
}

int64_t user_call_child_waitid(struct user_thread *t, const uint64_t a[6])
{
    struct child_info info;
    uint64_t b[6] = {a[0], a[1], (uint64_t)(uintptr_t)&info, a[3], a[4]};
    int64_t r;

    for (;;) {
        info = (struct child_info){0};
        r = wait_host(t, __NR_waitid, b, 3, (int)a[0] == P_PID ? (int32_t)a[1] : -1);
        if (r < 0)
            return r;
        uint32_t code = (uint32_t)info.status;
        if (info.code == CLD_TRAPPED || info.code == CLD_STOPPED) {
            if (!user_tracer_stopped(t, info.pid, &code))
                continue;
            info.status = (int32_t)code;
        } else if (info.pid && info.code != CLD_CONTINUED && !(a[3] & WNOWAIT)) {
            user_tracer_remove(info.pid);
        }
        /* The kernel writes the fields and not what lies between. */
        if (a[2] && (user_copy_out(a[2], &info, 12) || user_copy_out(a[2] + 16, &info.pid, 12)))
            return -EFAULT;
        return r;
    }
}
