/*
 * A mutex on a futex word: 0 free, 1 held, 2 held and waited for (Drepper, "Futexes are tricky"). Not recursive.
 * The memory may be shared by a vfork child, so the futex is not a private one. Signal handlers take no lock.
 */
#ifndef PIPIT_USER_SYS_LOCK_H
#define PIPIT_USER_SYS_LOCK_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>

#include "vmm/user/sys/call.h"

struct sys_lock {
    _Atomic int word;
};

static inline void sys_lock(struct sys_lock *l)
{
    int v = 0;

    if (atomic_compare_exchange_strong_explicit(&l->word, &v, 1, memory_order_acquire, memory_order_relaxed))
        return;
    if (v != 2)
        v = atomic_exchange_explicit(&l->word, 2, memory_order_acquire);
    while (v) {
        sys_call(__NR_futex, &l->word, FUTEX_WAIT, 2, NULL);
        v = atomic_exchange_explicit(&l->word, 2, memory_order_acquire);
    }
}

static inline void sys_unlock(struct sys_lock *l)
{
    if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
        sys_call(__NR_futex, &l->word, FUTEX_WAKE, 1);
}

#endif
