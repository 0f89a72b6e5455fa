/* io_uring_setup, io_uring_enter and io_uring_register: see uring.h. */
#include <errno.h>
#include <linux/mman.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"
#include "vmm/user/uring.h"
#include "vmm/user/wait_mask.h"

/*
 * IORING_SETUP_SQPOLL: the kernel's thread would take entries as the guest wrote them. The ring gets none, and says for
 * ever that its thread sleeps (IORING_SQ_NEED_WAKEUP), so that the guest calls to wake it: that submits what waits.
 * What else is as with the thread: all entries are taken, whatever becomes of the first ones, and whoever calls.
 */
#define POLLED_FLAGS (IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_SINGLE_ISSUER)

static bool set_asleep(int64_t fd, const struct io_uring_params *p)
{
    uint64_t size = align_up(p->sq_off.flags + sizeof(uint32_t), SYS_PAGE);
    long at;

    if (p->flags & USER_URING_SETUP_NO_MMAP)
        return !user_put32(user_uring_rings_address(p) + p->sq_off.flags, IORING_SQ_NEED_WAKEUP);
    at = sys_call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    if (sys_is_err(at))
        return false;
    atomic_store((_Atomic uint32_t *)(uintptr_t)((uint64_t)at + p->sq_off.flags), IORING_SQ_NEED_WAKEUP);
    sys_call(__NR_munmap, at, size);
    return true;
}

int64_t user_call_uring_setup(struct user_thread *t, const uint64_t a[6])
{
    struct io_uring_params p;
    uint32_t polled = 0;
    int64_t r;

    if (user_copy_in(&p, a[1], sizeof(p)))
        return -EFAULT;
    if (p.flags & ~USER_URING_SETUP_KNOWN)
        return -EINVAL;
    if (p.flags & IORING_SETUP_SQPOLL) {
        /* Nobody would look for the ends of what is polled for. As without privilege before 5.11. */
        if (p.flags & IORING_SETUP_IOPOLL)
            return -EPERM;
        if (p.flags & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_DEFER_TASKRUN))
            return -EINVAL;
        polled = p.flags & (POLLED_FLAGS | IORING_SETUP_SUBMIT_ALL);
        p.flags = (p.flags & ~POLLED_FLAGS) | IORING_SETUP_SUBMIT_ALL;
    }
    r = user_host_call(t, __NR_io_uring_setup, a[0], &p);
    if (r < 0)
        return r;
    int error = polled && !set_asleep(r, &p) ? -EPERM : 0;
    if (polled)
        p.flags = (p.flags & ~IORING_SETUP_SUBMIT_ALL) | polled;
    if (!error && user_copy_out(a[1], &p, sizeof(p)))
        error = -EFAULT;
    else if (!error && !user_uring_add(t, (int)r, &p))
        error = -ENOMEM;
    if (!error)
        return r;
    if (!(p.flags & USER_URING_SETUP_REGISTERED_FD_ONLY))
        sys_call(__NR_close, r);
    return error;
}

/* ---- io_uring_enter ---- */

/* What io_uring_enter's last two arguments say, with a signal mask for the host in place of the guest's. */
struct waiting {
    struct user_wait_mask mask;
    struct io_uring_getevents_arg ext;
    uint64_t arg;
    int error; /* of the mask */
};

static void waiting_take(struct waiting *w, const uint64_t a[6])
{
    *w = (struct waiting){.arg = a[4]};
    if (!(a[3] & IORING_ENTER_GETEVENTS))
        return;
    if (!(a[3] & IORING_ENTER_EXT_ARG)) {
        w->error = user_wait_mask_take(&w->mask, a[4], a[5]);
        w->arg = user_wait_mask_host(&w->mask);
    } else if (a[5] == sizeof(w->ext) && !user_copy_in(&w->ext, a[4], sizeof(w->ext))) {
        w->error = user_wait_mask_take(&w->mask, w->ext.sigmask, w->ext.sigmask_sz);
        w->ext.sigmask = user_wait_mask_host(&w->mask);
        w->arg = (uint64_t)(uintptr_t)&w->ext;
    }
}

static int64_t enter(struct user_thread *t, const uint64_t a[6], uint32_t count, const struct waiting *w)
{
    if (w->error)
        return w->error;
    if (user_wait_mask_interrupts(t, &w->mask))
        return -EINTR;
    return user_wait_mask_end(t, &w->mask,
                              user_host_call(t, __NR_io_uring_enter, a[0], count, a[2], a[3], w->arg, a[5]));
}

static int64_t submit(struct user_thread *t, const uint64_t a[6], uint32_t count)
{
    return user_host_call(t, __NR_io_uring_enter, a[0], count, 0, a[3] & ~(uint64_t)IORING_ENTER_GETEVENTS, 0, 0);
}

/*
 * Submits up to `count` entries. The lock is held from the first look at them to the end of the call, so that no other
 * thread's call takes entries that this one has seen, or sees them converted. *whole: that may be left
 * to the call that waits, and is, where nothing is to be converted and nobody else is there.
 */
static int64_t submit_converted(struct user_thread *t, const uint64_t a[6], struct user_uring *ring, uint32_t count,
                                bool *whole)
{
    struct user_uring_change *changes;
    int64_t r;

    sys_lock(&ring->lock);
    r = user_uring_convert(ring, count, &changes);
    *whole = *whole && r == count && !changes && ((ring->flags & IORING_SETUP_SINGLE_ISSUER) || user_thread_alone(t));
    if (r >= 0 && !*whole) {
        r = submit(t, a, (uint32_t)r);
        user_uring_put_back(changes);
    }
    sys_unlock(&ring->lock);
    return r;
}

/*
 * Submission and wait are two calls where an entry was converted, because the guest may use it again as soon as the
 * kernel has taken it, and where a signal mask is given, because the kernel tells only of the first how it ended.
 */
int64_t user_call_uring_enter(struct user_thread *t, const uint64_t a[6])
{
    uint32_t count = (uint32_t)a[1];
    struct user_uring *ring;
    struct waiting w;
    bool whole = true;
    int64_t r = 0;

    if (a[3] & USER_URING_ENTER_EXT_ARG_REG)
        return -EINVAL;
    waiting_take(&w, a);
    if (!count && !(a[3] & IORING_ENTER_SQ_WAKEUP))
        return enter(t, a, 0, &w);
    ring = user_uring_get(t, (uint32_t)a[0], a[3] & IORING_ENTER_REGISTERED_RING);
    if (ring) {
        bool polled = ring->flags & IORING_SETUP_SQPOLL;
        whole = !polled && count;
        if (polled || count)
            r = submit_converted(t, a, ring, polled ? ring->entries : count, &whole);
        user_uring_put(ring);
        if (polled && r >= 0)
            r = count;
    }
    if (!count && !r)
        return enter(t, a, 0, &w);
    if (whole && !w.mask.given && !w.error)
        return enter(t, a, count, &w);
    if (whole)
        r = submit(t, a, count);
    if (r == count && (a[3] & IORING_ENTER_GETEVENTS))
        enter(t, a, 0, &w);
    return r;
}

/* ---- io_uring_register ---- */

/* The kernel has put the index into each element. */
static void note_registered(struct user_thread *t, uint64_t va, int64_t n)
{
    struct io_uring_rsrc_update u;

    for (int64_t i = 0; i < n; i++) {
        if (!user_copy_in(&u, va + (uint64_t)i * sizeof(u), sizeof(u)) && u.offset < USER_URING_REGISTERED)
            t->rings[u.offset] = user_space_object_of((int)u.data);
    }
}

/* What user_uring_convert() refuses is not supported. */
static void hide_operation(uint64_t va, uint32_t n, unsigned op)
{
    uint64_t at = va + offsetof(struct io_uring_probe, ops) + op * sizeof(struct io_uring_probe_op) +
                  offsetof(struct io_uring_probe_op, flags);
    uint16_t flags;

    if (op < n && !user_get16(at, &flags))
        user_put16(at, flags & (uint16_t)~IO_URING_OP_SUPPORTED);
}

int64_t user_call_uring_register(struct user_thread *t, const uint64_t a[6])
{
    uint32_t op = (uint32_t)a[1] & ~USER_URING_REGISTER_USE_REGISTERED_RING;
    int64_t r;

    /* 6.12 has it not; it moves a ring to other memory. */
    if (op == USER_URING_REGISTER_RESIZE_RINGS)
        return -EINVAL;
    if (op == IORING_REGISTER_RING_FDS && !user_uring_registered(t))
        return -ENOMEM;
    r = user_host_call(t, __NR_io_uring_register, a[0], a[1], a[2], a[3]);
    if (op == IORING_REGISTER_RING_FDS && r > 0)
        note_registered(t, a[2], r);
    if (op == IORING_REGISTER_PROBE && !r)
        hide_operation(a[2], (uint32_t)a[3], USER_URING_OP_EPOLL_WAIT);
    return r;
}
