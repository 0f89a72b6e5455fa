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

/* `serial`: at most 20 bytes, may be NULL. The device borrows `b`, which must outlive it. */
int virtio_blk_create(struct virtio_device **out, struct block *b, const char *serial);
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
