/* The process: names, time, prctl, and the few calls of other CPUs' features. Clone and exec have files of their own.
 */
#include <errno.h>
#include <linux/prctl.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/clock.h"
#include "vmm/user/options.h"
#include "vmm/user/seccomp.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"

int64_t user_call_process_uname(struct user_thread *t, const uint64_t a[6])
{
    struct abi_utsname u;
    int64_t r = user_host_call(t, __NR_uname, &u);

    if (r)
        return r;
    memset(u.machine, 0, sizeof(u.machine));
    strcpy(u.machine, "aarch64");
    if (user_options.release) {
        memset(u.release, 0, sizeof(u.release));
        memcpy(u.release, user_options.release, strnlen(user_options.release, sizeof(u.release) - 1));
    }
    return user_copy_out(a[0], &u, sizeof(u)) ? -EFAULT : 0;
}

int64_t user_call_process_prctl(struct user_thread *t, const uint64_t a[6])
{
    switch ((int)a[0]) {
    /* Features that no CPU model has, and other architectures'. */
    case PR_SVE_SET_VL:
    case PR_SVE_GET_VL:
    case PR_PAC_RESET_KEYS:
    case 60: /* PR_PAC_SET_ENABLED_KEYS */
    case 61: /* PR_PAC_GET_ENABLED_KEYS */
    case 63: /* PR_SME_SET_VL */
    case 64: /* PR_SME_GET_VL */
    case PR_SET_TSC:
    case PR_GET_TSC:
    case 59: /* PR_SET_SYSCALL_USER_DISPATCH is x86's in 6.12 */ return -EINVAL;
    /* Without MTE this is all there is to it. */
    case PR_SET_TAGGED_ADDR_CTRL:
        if ((a[1] & ~(uint64_t)PR_TAGGED_ADDR_ENABLE) || a[2] || a[3] || a[4])
            return -EINVAL;
        t->tagged = a[1];
        return 0;
    case PR_GET_TAGGED_ADDR_CTRL: return a[1] || a[2] || a[3] || a[4] ? -EINVAL : t->tagged;
    case PR_SET_SECCOMP: return user_seccomp_prctl(t, a[1], a[2]);
    default: return user_host_call(t, __NR_prctl, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

/* No protection key is to be had without FEAT_S1POE. */
int64_t user_call_process_pkey_alloc(struct user_thread *t, const uint64_t a[6])
{
    (void)t;
    return a[0] || (a[1] & ~UINT64_C(3)) ? -EINVAL : -ENOSPC;
}

int64_t user_call_process_pkey_free(struct user_thread *t, const uint64_t a[6])
{
    (void)t;
    (void)a;
    return -EINVAL;
}

/* The kernel restarts what it interrupted by itself, behind the gate; a program that calls this has nothing to. */
int64_t user_call_process_restart_syscall(struct user_thread *t, const uint64_t a[6])
{
    (void)t;
    (void)a;
    return -EINTR;
}

int64_t user_call_time_clock_gettime(struct user_thread *t, const uint64_t a[6])
{
    int64_t ts[2], r;

    (void)t;
    r = user_clock_gettime((int)a[0], ts);
    return r ? r : user_copy_out(a[1], ts, sizeof(ts)) ? -EFAULT : 0;
}

int64_t user_call_time_gettimeofday(struct user_thread *t, const uint64_t a[6])
{
    int64_t tv[2], r;
    int32_t tz[2];

    (void)t;
    r = user_clock_gettimeofday(tv, tz);
    if (r)
        return r;
    if ((a[0] && user_copy_out(a[0], tv, sizeof(tv))) || (a[1] && user_copy_out(a[1], tz, sizeof(tz))))
        return -EFAULT;
    return 0;
}
