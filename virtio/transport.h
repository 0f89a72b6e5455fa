/*
 * What a virtio device and its transport know of each other. Devices never see mmio.
 *
 * Threads: all of a device (its ops, its virtqueues, its back end's callbacks) runs on the loop thread and needs no
 * lock. vCPUs touch only the transport's registers; the transport hands notifications, activation and reset over to
 * the loop thread. The one thing shared is the configuration space, changed through virtio_config_set.
 */
#ifndef PIPIT_VIRTIO_TRANSPORT_H
#define PIPIT_VIRTIO_TRANSPORT_H

#include "virtio/queue.h"
#include "vmm/base/util.h"
#include "vmm/core/loop.h"
#include "vmm/core/mem.h"
#include "vmm/core/state.h"

/* Device IDs (virtio 1.2, 5). */
#define VIRTIO_ID_NET 1
#define VIRTIO_ID_BLOCK 2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG 4

/* Device-independent features (6). */
#define VIRTIO_F_INDIRECT_DESC BIT64(28)
#define VIRTIO_F_EVENT_IDX BIT64(29)
#define VIRTIO_F_VERSION_1 BIT64(32)

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER 0x02
#define VIRTIO_STATUS_DRIVER_OK 0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED 0x80

#define VIRTIO_MAX_QUEUES 17 /* virtio-net: eight pairs and the control queue */
#define VIRTIO_CONFIG_MAX 64

struct virtio_device;

struct virtio_device_ops {
    /* DRIVER_OK: queues are latched. notify follows for each queue. */
    void (*start)(struct virtio_device *vd);
    void (*notify)(struct virtio_device *vd, unsigned queue);
    /* Returns with no request in flight; may complete requests into the queues. NULL: nothing is ever in flight. */
    void (*drain)(struct virtio_device *vd);
    /* Forgets the driver; comes after drain. */
    void (*reset)(struct virtio_device *vd);
    void (*destroy)(struct virtio_device *vd);
};

struct virtio_transport;

struct virtio_transport_ops {
    /* A used buffer notification is due. */
    void (*interrupt)(struct virtio_transport *t, unsigned queue);
    /* notify for `queue` once more, after the loop has served others: bounds what one call does. */
    void (*renotify)(struct virtio_transport *t, unsigned queue);
    /* Sets DEVICE_NEEDS_RESET and says so by a configuration interrupt. */
    void (*needs_reset)(struct virtio_transport *t);
    /* Copies into the configuration space, moves its generation and interrupts. */
    void (*config_set)(struct virtio_transport *t, unsigned off, const void *p, unsigned len);
};

struct virtio_transport {
    const struct virtio_transport_ops *ops;
    struct mem *mem;
    struct loop *loop;
};

struct virtio_device {
    const struct virtio_device_ops *ops;
    const char *name; /* in logs */
    uint32_t id;
    unsigned nqueues;
    uint16_t queue_max;
    uint64_t features;   /* offered beside those of the ring */
    uint64_t negotiated; /* valid while running */
    uint8_t config[VIRTIO_CONFIG_MAX];
    unsigned config_len;
    bool running; /* between start and reset, and not broken */
    bool
        paused; /* nothing is notified; the device takes nothing from its back end. Every queue is notified after it. */
    struct virtio_transport *transport;
    struct virtq vq[VIRTIO_MAX_QUEUES];
};

/* The driver broke a rule in `queue`: the device stops until it is reset. */
void virtio_device_break(struct virtio_device *vd, unsigned queue, const char *why);
/* virtq_pop that breaks the device where the ring is broken: true where a chain was taken. */
bool virtio_pop(struct virtio_device *vd, unsigned queue, struct virtq_chain *c);
/* Interrupts the driver where it wants that for what was pushed on `queue`. */
void virtio_interrupt(struct virtio_device *vd, unsigned queue);

#endif
