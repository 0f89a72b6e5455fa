/*
 * A memory-mapped device: a const descriptor, and an instance that embeds struct device.
 *
 * Locking: bus dispatch takes `lock` around read and write; a device's own callbacks on the loop thread take it too.
 * Interrupt controllers, whose registers are banked by vCPU, lock for themselves (DEVICE_SELF_LOCKED).
 */
#ifndef PIPIT_CORE_DEVICE_H
#define PIPIT_CORE_DEVICE_H

#include <pthread.h>
#include <stdint.h>

#include "vmm/core/irq.h"
#include "vmm/core/mem.h"
#include "vmm/core/state.h"

struct device;

/* A 4-byte write of `value` at `off` that does nothing but tick eventfd `fd`: whoever dispatches accesses may tick it
 * without asking the device, which takes the write as well. */
struct device_doorbell {
    uint64_t off;
    uint32_t value;
    int fd; /* the device's */
};
#define DEVICE_MAX_DOORBELLS 17

struct device_ops {
    /* `off` is inside the device and naturally aligned for `size` (1, 2, 4 or 8 bytes, within min/max_access).
     * `cpu` is the index of the vCPU that makes the access. */
    uint64_t (*read)(struct device *d, unsigned cpu, uint64_t off, unsigned size);
    void (*write)(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val);
    /* Makes the device's doorbells, and says how many, or -errno. Asked once, before the loop runs. NULL: there are
     * none. */
    int (*doorbells)(struct device *d, struct device_doorbell out[DEVICE_MAX_DOORBELLS]);
    void (*reset)(struct device *d);
    /* Between the two the device changes neither guest memory nor its line, and has nothing in flight. On the loop
     * thread, with no vCPU running. NULL: it does nothing by itself. */
    void (*pause)(struct device *d);
    void (*resume)(struct device *d);
    void (*save)(struct device *d, struct state_writer *w);
    int (*load)(struct device *d, struct state_reader *r); /* -EINVAL for a stream that is not ours */
    void (*destroy)(struct device *d);                     /* frees the instance */
};

#define DEVICE_SELF_LOCKED 0x1

struct device_desc {
    const char *name;       /* also the section name in the save stream and the prefix in logs */
    const char *compatible; /* device-tree compatible string list, NUL separated; NULL: no generic node */
    uint64_t size;          /* bytes of address space */
    uint8_t min_access;     /* bytes; narrower or misaligned accesses read zero and are ignored */
    uint8_t max_access;     /* bytes; a wider access is split by the bus */
    uint32_t flags;
    const struct device_ops *ops;
};

struct device {
    const struct device_desc *desc;
    gpa_t base; /* set by bus_attach */
    struct irq_line irq;
    pthread_mutex_t lock;
};

static inline void device_init(struct device *d, const struct device_desc *desc)
{
    d->desc = desc;
    d->irq = (struct irq_line){0};
    pthread_mutex_init(&d->lock, NULL);
}

#endif
