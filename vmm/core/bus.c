/*
 * MMIO dispatch: a table of devices sorted by address, complete before the first vCPU runs and constant afterwards.
 * What the guest may do wrong here (holes, odd sizes, misaligned accesses) is decided once, so that a device's read
 * and write see only accesses that they declared.
 */
#include "vmm/core/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/util.h"

struct bus {
    struct device **sorted;   /* by base address */
    struct device **attached; /* in order of attachment */
    unsigned n;
};

int bus_create(struct bus **out)
{
    struct bus *b = calloc(1, sizeof(*b));

    if (!b)
        return -ENOMEM;
    *out = b;
    return 0;
}

void bus_destroy(struct bus *b)
{
    if (!b)
        return;
    for (unsigned i = b->n; i-- > 0;)
        b->attached[i]->desc->ops->destroy(b->attached[i]);
    free(b->sorted);
    free(b->attached);
    free(b);
}

int bus_attach(struct bus *b, struct device *d, gpa_t base)
{
    uint64_t size = d->desc->size;
    struct device **grown;
    unsigned at = 0;

    if (size == 0 || base.v + (size - 1) < base.v)
        return -EINVAL;
    for (unsigned i = 0; i < b->n; i++) {
        const struct device *o = b->sorted[i];

        if (base.v - o->base.v < o->desc->size || o->base.v - base.v < size)
            return -EEXIST;
        if (o->base.v < base.v)
            at = i + 1;
    }
    grown = reallocarray(b->sorted, b->n + 1, sizeof(struct device *));
    if (!grown)
        return -ENOMEM;
    b->sorted = grown;
    grown = reallocarray(b->attached, b->n + 1, sizeof(struct device *));
    if (!grown)
        return -ENOMEM;
    b->attached = grown;

    d->base = base;
    memmove(&b->sorted[at + 1], &b->sorted[at], (b->n - at) * sizeof(struct device *));
    b->sorted[at] = d;
    b->attached[b->n++] = d;
    return 0;
}

/* The device that holds all of [a, a+size), or NULL. */
static struct device *bus_find(const struct bus *b, gpa_t a, unsigned size)
{
    unsigned lo = 0, hi = b->n;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        struct device *d = b->sorted[mid];

        if (a.v < d->base.v)
            hi = mid;
        else if (a.v - d->base.v >= d->desc->size)
            lo = mid + 1;
        else
            return range_within(a.v - d->base.v, size, d->desc->size) ? d : NULL;
    }
    return NULL;
}

static bool bus_access_ok(const struct device *d, uint64_t off, unsigned size)
{
    return is_pow2(size) && size <= 8 && off % size == 0 && size >= d->desc->min_access;
}

static void bus_lock(struct device *d)
{
    if (!(d->desc->flags & DEVICE_SELF_LOCKED))
        pthread_mutex_lock(&d->lock);
}

static void bus_unlock(struct device *d)
{
    if (!(d->desc->flags & DEVICE_SELF_LOCKED))
        pthread_mutex_unlock(&d->lock);
}

static uint64_t size_mask(unsigned size)
{
    return UINT64_MAX >> (64 - 8 * size);
}

int bus_read(struct bus *b, unsigned cpu, gpa_t a, unsigned size, uint64_t *val)
{
    struct device *d = bus_find(b, a, size);
    unsigned step;
    uint64_t off;

    *val = 0;
    if (!d)
        return -ENXIO;
    off = a.v - d->base.v;
    if (!bus_access_ok(d, off, size))
        return 0;
    step = MIN(size, (unsigned)d->desc->max_access);
    bus_lock(d);
    for (unsigned i = 0; i < size; i += step)
        *val |= (d->desc->ops->read(d, cpu, off + i, step) & size_mask(step)) << (8 * i);
    bus_unlock(d);
    return 0;
}

int bus_write(struct bus *b, unsigned cpu, gpa_t a, unsigned size, uint64_t val)
{
    struct device *d = bus_find(b, a, size);
    unsigned step;
    uint64_t off;

    if (!d)
        return -ENXIO;
    off = a.v - d->base.v;
    if (!bus_access_ok(d, off, size))
        return 0;
    step = MIN(size, (unsigned)d->desc->max_access);
    bus_lock(d);
    for (unsigned i = 0; i < size; i += step)
        d->desc->ops->write(d, cpu, off + i, step, val >> (8 * i) & size_mask(step));
    bus_unlock(d);
    return 0;
}

static void bus_call(struct device *d, void (*op)(struct device *d))
{
    if (!op)
        return;
    bus_lock(d);
    op(d);
    bus_unlock(d);
}

void bus_reset(struct bus *b)
{
    for (unsigned i = 0; i < b->n; i++)
        bus_call(b->attached[i], b->attached[i]->desc->ops->reset);
}

void bus_pause(struct bus *b)
{
    for (unsigned i = 0; i < b->n; i++)
        bus_call(b->attached[i], b->attached[i]->desc->ops->pause);
}

void bus_resume(struct bus *b)
{
    for (unsigned i = 0; i < b->n; i++)
        bus_call(b->attached[i], b->attached[i]->desc->ops->resume);
}

void bus_for_each(struct bus *b, void (*fn)(void *opaque, struct device *d), void *opaque)
{
    for (unsigned i = 0; i < b->n; i++)
        fn(opaque, b->sorted[i]);
}
