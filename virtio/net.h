/* The halves of virtio-net: net.c (the device, transmit, control) and net_rx.c (receive). */
#ifndef PIPIT_VIRTIO_NET_H
#define PIPIT_VIRTIO_NET_H

#include "devices/net/net.h"
#include "virtio/transport.h"

#define NET_RX(pair) (2 * (pair))
#define NET_TX(pair) (2 * (pair) + 1)

struct net_rx;

struct net {
    struct virtio_device vd;
    struct net_backend *backend;
    unsigned pairs;                         /* offered */
    unsigned host_offloads, guest_offloads; /* accepted for sent, for received frames */
    bool mergeable;                         /* a received frame may span buffers */
    bool tx_waiting[NET_MAX_QUEUES];        /* the back end will call writable() */
    struct net_rx *rx;                      /* `pairs` of them */
    struct virtq_chain chain;
};

/* Does the header of a frame of `len` bytes hold together, and ask for nothing but `allowed` (NET_OFFLOAD_...)? */
bool net_hdr_asks(const struct net_hdr *h, size_t len, unsigned allowed);

int net_rx_alloc(struct net *n);
void net_rx_free(struct net *n);
/* The driver has added buffers. */
void net_rx_resume(struct net *n, unsigned pair);
/* Without a driver: drops what was kept, and lets the back end go on. */
void net_rx_reset(struct net *n, unsigned pair);

/* struct net_frontend's. */
bool net_rx_receive(void *opaque, const uint8_t *frame, size_t len);
const struct iovec *net_rx_room(void *opaque, unsigned pair, unsigned *niov);
void net_rx_filled(void *opaque, unsigned pair, size_t len);

#endif
