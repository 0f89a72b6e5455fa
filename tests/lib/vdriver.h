/*
 * A small virtio driver for tests: guest RAM, a loop thread, one virtio-mmio window and rings that the test fills as
 * it likes. Waits end after a few seconds, so that a test of a device that hangs fails.
 */
#ifndef PIPIT_TESTS_LIB_VDRIVER_H
#define PIPIT_TESTS_LIB_VDRIVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/transport.h"
#include "virtio/virtio.h"

#define VDRIVER_RAM UINT64_C(0x40000000)
#define VDRIVER_RAM_SIZE MIB(8)
#define VDRIVER_DATA (VDRIVER_RAM + MIB(1)) /* free for the test's buffers */

/* Places of ring q. */
#define VDRIVER_DESC(q) (VDRIVER_RAM + (uint64_t)(q)*0x10000)
#define VDRIVER_AVAIL(q) (VDRIVER_DESC(q) + 0x8000)
#define VDRIVER_USED(q) (VDRIVER_DESC(q) + 0xa000)

struct vdriver_seg {
    uint64_t addr;
    uint32_t len;
    bool write; /* the device writes it */
};

struct vdriver {
    struct mem *mem;
    struct loop *loop;
    pthread_t thread;
    bool running;
    struct device *dev;
    atomic_bool irq;
    atomic_uint irq_raised;
    uint16_t size;
    uint16_t next_desc[VIRTIO_MAX_QUEUES];
    uint16_t avail[VIRTIO_MAX_QUEUES];
    uint16_t seen[VIRTIO_MAX_QUEUES]; /* used entries taken by vdriver_used */
};

/* RAM and a loop that does not run yet; false where the host refuses. */
bool vdriver_open(struct vdriver *d);
/* The window around vdev. */
bool vdriver_attach(struct vdriver *d, struct virtio_device *vdev);
void vdriver_run_loop(struct vdriver *d);
void vdriver_stop_loop(struct vdriver *d);
/* Destroys the window and its device, stops the loop. */
void vdriver_detach(struct vdriver *d);
void vdriver_close(struct vdriver *d);

uint32_t vdriver_get(struct vdriver *d, uint64_t reg);
void vdriver_put(struct vdriver *d, uint64_t reg, uint32_t v);
uint64_t vdriver_config(struct vdriver *d, uint64_t off, unsigned size);

/* Reset, negotiate `features` (VERSION_1 is added), set up `nqueues` rings of `size`, DRIVER_OK. */
bool vdriver_init(struct vdriver *d, uint64_t features, unsigned nqueues, uint16_t size);
/* The same in steps. */
bool vdriver_negotiate(struct vdriver *d, uint64_t features);
void vdriver_queue(struct vdriver *d, unsigned q, uint16_t size, uint64_t desc, uint64_t avail, uint64_t used);

void vdriver_desc(struct vdriver *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
                  uint16_t next);
/* Puts `head` on the avail ring. */
void vdriver_offer(struct vdriver *d, unsigned q, uint16_t head);
/* A chain of descriptors, offered; its head. */
uint16_t vdriver_add(struct vdriver *d, unsigned q, const struct vdriver_seg *seg, unsigned n);
void vdriver_kick(struct vdriver *d, unsigned q);
uint16_t vdriver_used_idx(struct vdriver *d, unsigned q);
/* Waits for the next used element; false after the time-out. */
bool vdriver_used(struct vdriver *d, unsigned q, uint32_t *head, uint32_t *len);
/* Waits until a status bit shows. */
bool vdriver_wait_status(struct vdriver *d, uint32_t bit);

void vdriver_write(struct vdriver *d, uint64_t addr, const void *p, size_t len);
void vdriver_read(struct vdriver *d, uint64_t addr, void *p, size_t len);

#endif
