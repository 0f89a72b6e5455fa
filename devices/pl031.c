/*
 * PL031 real time clock (Arm DDI 0224): a counter of seconds, a match register, an interrupt.
 *
 * The counter is the host's UTC plus an offset that a write to LR sets. It is always running: CR reads 1, and
 * writing 1 there, which restarts the counter in hardware, has no effect. The match is a loop timer; the interrupt
 * is raised when the counter becomes equal to MR.
 */
#include "devices/pl031.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/util.h"

enum {
    PL031_DR = 0x00,
    PL031_MR = 0x04,
    PL031_LR = 0x08,
    PL031_CR = 0x0c,
    PL031_IMSC = 0x10,
    PL031_RIS = 0x14,
    PL031_MIS = 0x18,
    PL031_ICR = 0x1c,
    PL031_ID = 0xfe0,
};

#define NS_PER_S UINT64_C(1000000000)

struct pl031 {
    struct device dev;
    struct loop_timer *timer;
    uint32_t offset; /* seconds added to the host's, modulo 2^32 */
    uint32_t mr, lr, imsc, ris;
    bool paused, late; /* the match came while paused */
};

/* PeriphID0-3, PCellID0-3: part 0x031, designer 0x41. */
static const uint8_t pl031_id[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

static struct pl031 *pl031_of(struct device *d)
{
    return container_of(d, struct pl031, dev);
}

static uint64_t time_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint32_t pl031_now(const struct pl031 *p)
{
    return (uint32_t)(time_ns(CLOCK_REALTIME) / NS_PER_S) + p->offset;
}

static void pl031_update(struct pl031 *p)
{
    irq_set(&p->dev.irq, p->ris & p->imsc);
}

/* Sets the timer for the second that MR names; a match that has passed comes again after 2^32 seconds. */
static void pl031_arm(struct pl031 *p)
{
    uint32_t left = p->mr - pl031_now(p);

    if (left == 0) {
        p->ris = 1;
        loop_timer_cancel(p->timer);
        return;
    }
    uint64_t into_second = time_ns(CLOCK_REALTIME) % NS_PER_S;
    loop_timer_set(p->timer, time_ns(CLOCK_MONOTONIC) + (uint64_t)left * NS_PER_S - into_second);
}

static void pl031_expired(void *opaque)
{
    struct pl031 *p = opaque;

    pthread_mutex_lock(&p->dev.lock);
    if (p->paused) {
        p->late = true;
        pthread_mutex_unlock(&p->dev.lock);
        return;
    }
    /* The host's clock may have been set since: less than half the range ahead means not yet. */
    uint32_t left = p->mr - pl031_now(p);
    if (left == 0 || left > INT32_MAX)
        p->ris = 1;
    else
        pl031_arm(p);
    pl031_update(p);
    pthread_mutex_unlock(&p->dev.lock);
}

static uint64_t pl031_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct pl031 *p = pl031_of(d);

    (void)cpu;
    (void)size;
    if (off >= PL031_ID && off % 4 == 0)
        return pl031_id[(off - PL031_ID) / 4];
    switch (off) {
    case PL031_DR: return pl031_now(p);
    case PL031_MR: return p->mr;
    case PL031_LR: return p->lr;
    case PL031_CR: return 1;
    case PL031_IMSC: return p->imsc;
    case PL031_RIS: return p->ris;
    case PL031_MIS: return p->ris & p->imsc;
    default: return 0;
    }
}

static void pl031_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct pl031 *p = pl031_of(d);
    uint32_t v = (uint32_t)val;

    (void)cpu;
    (void)size;
    switch (off) {
    case PL031_MR:
        p->mr = v;
        pl031_arm(p);
        break;
    case PL031_LR:
        p->lr = v;
        p->offset += v - pl031_now(p);
        pl031_arm(p);
        break;
    case PL031_IMSC: p->imsc = v & 1; break;
    case PL031_ICR: p->ris &= ~v; break;
    default: break;
    }
    pl031_update(p);
}

static void pl031_reset(struct device *d)
{
    struct pl031 *p = pl031_of(d);

    /* The clock itself keeps the time that the guest set, as one with a battery does. */
    p->mr = p->imsc = p->ris = 0;
    loop_timer_cancel(p->timer);
    pl031_update(p);
}

/* The time of day goes on meanwhile. */
static void pl031_pause(struct device *d)
{
    pl031_of(d)->paused = true;
}

static void pl031_resume(struct device *d)
{
    struct pl031 *p = pl031_of(d);

    p->paused = false;
    if (p->late)
        p->ris = 1;
    p->late = false;
    pl031_update(p);
}

static void pl031_save(struct device *d, struct state_writer *w)
{
    struct pl031 *p = pl031_of(d);

    state_put_u32(w, p->offset);
    state_put_u32(w, p->mr);
    state_put_u32(w, p->lr);
    state_put_u32(w, p->imsc);
    state_put_u32(w, p->ris);
}

static int pl031_load(struct device *d, struct state_reader *r)
{
    struct pl031 *p = pl031_of(d);

    p->offset = state_get_u32(r);
    p->mr = state_get_u32(r);
    p->lr = state_get_u32(r);
    p->imsc = state_get_u32(r) & 1;
    p->ris = state_get_u32(r) & 1;
    pl031_arm(p);
    pl031_update(p);
    return 0;
}

static void pl031_destroy(struct device *d)
{
    struct pl031 *p = pl031_of(d);

    loop_timer_remove(p->timer);
    pthread_mutex_destroy(&d->lock);
    free(p);
}

static const struct device_ops pl031_ops = {
    .read = pl031_read,
    .write = pl031_write,
    .reset = pl031_reset,
    .pause = pl031_pause,
    .resume = pl031_resume,
    .save = pl031_save,
    .load = pl031_load,
    .destroy = pl031_destroy,
};

static const struct device_desc pl031_desc = {
    .name = "pl031",
    .compatible = "arm,pl031\0arm,primecell",
    .size = 0x1000,
    .min_access = 1,
    .max_access = 4,
    .ops = &pl031_ops,
};

int pl031_create(struct device **out, struct loop *l)
{
    struct pl031 *p = calloc(1, sizeof(*p));
    int rc;

    if (!p)
        return -ENOMEM;
    device_init(&p->dev, &pl031_desc);
    rc = loop_timer_add(l, &p->timer, pl031_expired, p);
    if (rc < 0) {
        free(p);
        return rc;
    }
    *out = &p->dev;
    return 0;
}
