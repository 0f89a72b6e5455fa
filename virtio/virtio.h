/*
 * What the machine needs to know of virtio: one constructor a device, one for the transport.
 */
#ifndef PIPIT_VIRTIO_VIRTIO_H
#define PIPIT_VIRTIO_VIRTIO_H

#include "devices/block/block.h"
#include "devices/chardev.h"
#include "devices/net/net.h"
#include "vmm/core/device.h"
#include "vmm/core/loop.h"
#include "vmm/core/mem.h"

struct virtio_device;

/* What becomes of a request that the host's image fails. */
enum virtio_blk_error {
    VIRTIO_BLK_REPORT, /* the guest is told */
    VIRTIO_BLK_IGNORE, /* the guest is told that it went well */
    VIRTIO_BLK_STOP,   /* it is kept, and tried again after the next pause */
    VIRTIO_BLK_ENOSPC, /* STOP where there is no room, REPORT otherwise */
};

struct virtio_blk_policy {
    enum virtio_blk_error write, read; /* write: flushes and zeroes too */
    bool no_discard;                   /* the image keeps its size, whatever the guest has no use for */
    /* The first request is kept: to pause the machine. On the loop thread. */
    void (*stop)(void *opaque, bool write, int error);
    void *opaque;
};

/* `serial`: at most 20 bytes, may be NULL. The device borrows `b`, which must outlive it. `policy` may be NULL: all is
 * reported. */
int virtio_blk_create(struct virtio_device **out, struct block *b, const char *serial,
                      const struct virtio_blk_policy *policy);
/* The device borrows `n`; mac is 6 bytes. */
int virtio_net_create(struct virtio_device **out, struct net_backend *n, const uint8_t mac[6]);
int virtio_console_create(struct virtio_device **out, struct chardev *c);
int virtio_rng_create(struct virtio_device **out);

/*
 * A virtio-mmio (version 2) slot around `vdev`, which it owns from here; NULL makes an empty slot (device ID 0).
 * Queue notifications are handed to the loop thread through an eventfd. A driver's reset waits for the loop thread:
 * the loop runs as long as vCPUs do. On an error `vdev` stays the caller's.
 */
int virtio_mmio_create(struct device **out, struct virtio_device *vdev, struct mem *m, struct loop *l);

#endif
