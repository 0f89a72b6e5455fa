/*
 * Virtual time is CLOCK_MONOTONIC minus an offset. Differences are taken modulo 2^64, so that a loaded snapshot's time
 * may lie ahead of the host's. Pause, resume and set come from one thread at a time (the machine's); readers need no
 * lock: while the clock is paused they take paused_at, and the offset is right before paused_at says "running".
 */
#include "vmm/core/clock.h"

#include <time.h>

static uint64_t clock_host(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

void clock_init(struct clock *c)
{
    atomic_store(&c->offset_ns, clock_host());
    atomic_store(&c->paused_at, UINT64_MAX);
}

uint64_t clock_now(const struct clock *c)
{
    uint64_t paused = atomic_load(&c->paused_at);

    return paused != UINT64_MAX ? paused : clock_host() - atomic_load(&c->offset_ns);
}

void clock_pause(struct clock *c)
{
    atomic_store(&c->paused_at, clock_now(c));
}

void clock_resume(struct clock *c)
{
    uint64_t paused = atomic_load(&c->paused_at);

    if (paused == UINT64_MAX)
        return;
    atomic_store(&c->offset_ns, clock_host() - paused);
    atomic_store(&c->paused_at, UINT64_MAX);
}

void clock_set(struct clock *c, uint64_t now_ns)
{
    if (atomic_load(&c->paused_at) != UINT64_MAX)
        atomic_store(&c->paused_at, now_ns);
    else
        atomic_store(&c->offset_ns, clock_host() - now_ns);
}

uint64_t clock_to_host(const struct clock *c, uint64_t virt_ns)
{
    uint64_t now = clock_now(c), host = clock_host(), delta;

    if (virt_ns <= now)
        return host;
    if (atomic_load(&c->paused_at) != UINT64_MAX)
        return UINT64_MAX;
    delta = virt_ns - now;
    /* Taken from the offset, not from delta: two readings of the clock would make the same deadline drift. */
    return delta > UINT64_MAX - host ? UINT64_MAX : virt_ns + atomic_load(&c->offset_ns);
}
