/*
 * Calls that wait under another signal mask, and epoll's events, which x86-64 packs.
 *
 * The mask goes to the kernel without the signals that must stay open (USER_SYNC_SIGNALS). Where a signal ended the
 * wait, its handler runs under the temporary mask and the frame keeps the old one, as in the kernel.
 */
#include <errno.h>
#include <linux/eventpoll.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/signal.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"
#include "vmm/user/wait_mask.h"

/* ---- temporary masks ---- */

int user_wait_mask_take(struct user_wait_mask *m, uint64_t va, uint64_t size)
{
    *m = (struct user_wait_mask){.given = va != 0};
    if (!va)
        return 0;
    if (size != sizeof(m->guest))
        return -EINVAL;
    if (user_get64(va, &m->guest))
        return -EFAULT;
    m->host = m->guest & ~USER_SYNC_SIGNALS;
    return 0;
}

/* The pair of pointer and size that pselect6 and io_pgetevents take. */
static int mask_take_pair(struct user_wait_mask *m, uint64_t va)
{
    uint64_t pair[2] = {0};

    if (va && user_copy_in(pair, va, sizeof(pair)))
        return -EFAULT;
    return user_wait_mask_take(m, pair[0], pair[1]);
}

uint64_t user_wait_mask_host(const struct user_wait_mask *m)
{
    return m->given ? (uint64_t)(uintptr_t)&m->host : 0;
}

bool user_wait_mask_interrupts(struct user_thread *t, const struct user_wait_mask *m)
{
    if (!m->given)
        return false;
    if (t->held & ~m->guest) {
        user_signal_temporary_mask(t, m->guest);
        return true;
    }
    t->wait_mask = m->guest;
    t->waits = true;
    return false;
}

int64_t user_wait_mask_end(struct user_thread *t, const struct user_wait_mask *m, int64_t r)
{
    /* What only the wait let through came in it, also where the call says how much was done before. */
    bool caught = t->gate.pending && t->info.signo && (t->mask & ~m->guest & ABI_SIGBIT(t->info.signo));

    t->waits = false;
    if (m->given && (r == -EINTR || caught))
        user_signal_temporary_mask(t, m->guest);
    return r;
}

int64_t user_call_wait_ppoll(struct user_thread *t, const uint64_t a[6])
{
    struct user_wait_mask m;
    int r = user_wait_mask_take(&m, a[3], a[4]);

    if (r)
        return r;
    if (user_wait_mask_interrupts(t, &m))
        return -EINTR;
    return user_wait_mask_end(t, &m,
                              user_host_call(t, __NR_ppoll, a[0], a[1], a[2], user_wait_mask_host(&m), sizeof(m.host)));
}

/* A call whose sixth argument points at a signal mask and its size. */
static int64_t wait_with_pair(struct user_thread *t, const uint64_t a[6], long nr)
{
    struct user_wait_mask m;
    int r = mask_take_pair(&m, a[5]);

    if (r)
        return r;
    if (user_wait_mask_interrupts(t, &m))
        return -EINTR;
    uint64_t pair[2] = {user_wait_mask_host(&m), sizeof(m.host)};
    return user_wait_mask_end(t, &m, user_host_call(t, nr, a[0], a[1], a[2], a[3], a[4], pair));
}

int64_t user_call_wait_pselect6(struct user_thread *t, const uint64_t a[6])
{
    return wait_with_pair(t, a, __NR_pselect6);
}

int64_t user_call_wait_io_pgetevents(struct user_thread *t, const uint64_t a[6])
{
    return wait_with_pair(t, a, __NR_io_pgetevents);
}

/* ---- epoll ---- */

int64_t user_call_file_epoll_ctl(struct user_thread *t, const uint64_t a[6])
{
    struct abi_epoll_event g;
    struct epoll_event h;

    if ((int)a[1] == EPOLL_CTL_DEL)
        return user_host_call(t, __NR_epoll_ctl, a[0], a[1], a[2], 0);
    if (user_copy_in(&g, a[3], sizeof(g)))
        return -EFAULT;
    h.events = g.events;
    h.data = g.data;
    return user_host_call(t, __NR_epoll_ctl, a[0], a[1], a[2], &h);
}

/* The kernel wrote `n` packed events at va, where there is room for as many of the guest's: from the last to the first
 * each gets to its place. */
static int64_t spread_events(uint64_t va, int64_t n)
{
    struct epoll_event h;

    for (int64_t i = n - 1; i >= 0; i--) {
        if (user_copy_in(&h, va + (uint64_t)i * sizeof(h), sizeof(h)))
            return -EFAULT;
        struct abi_epoll_event g = {.events = h.events, .data = h.data};
        if (user_copy_out(va + (uint64_t)i * sizeof(g), &g, sizeof(g)))
            return -EFAULT;
    }
    return n;
}

static int64_t epoll_wait(struct user_thread *t, long nr, const uint64_t a[6])
{
    struct user_wait_mask m;
    int64_t r = user_wait_mask_take(&m, a[4], a[5]);

    if (r)
        return r;
    if (user_wait_mask_interrupts(t, &m))
        return -EINTR;
    r = user_wait_mask_end(t, &m,
                           user_host_call(t, nr, a[0], a[1], a[2], a[3], user_wait_mask_host(&m), sizeof(m.host)));
    return r > 0 ? spread_events(a[1], r) : r;
}

int64_t user_call_file_epoll_pwait(struct user_thread *t, const uint64_t a[6])
{
    return epoll_wait(t, __NR_epoll_pwait, a);
}

int64_t user_call_file_epoll_pwait2(struct user_thread *t, const uint64_t a[6])
{
    return epoll_wait(t, __NR_epoll_pwait2, a);
}
