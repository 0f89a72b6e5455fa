/*
 * virtio-net (virtio 1.2, 5.1): one receive and one transmit queue, plain frames without offloads.
 *
 * Receive: the back end offers a frame; without a buffer for it we say no, the back end keeps it, and the driver's
 * next notification makes the back end go on. The ring is looked at again after notifications are switched on, so a
 * buffer added in between is not missed and reception cannot freeze.
 *
 * Transmit: frames go out as iovecs on guest RAM. A back end that is full leaves the chain in the ring until it says
 * that it is writable.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtio/transport.h"
#include "virtio/virtio.h"
#include "vmm/base/log.h"

#define NET_F_MAC BIT64(5)
#define NET_F_STATUS BIT64(16)

#define NET_RX 0
#define NET_TX 1
#define NET_QUEUE_MAX 256
#define NET_HDR_LEN 12
#define NET_HDR_NUM_BUFFERS 10
#define NET_CFG_MAC 0
#define NET_CFG_STATUS 6
#define NET_CFG_LEN 8
#define NET_S_LINK_UP 1
#define NET_TX_SEGS 64
#define NET_ETH_MIN 14
#define NET_TX_BUDGET (2 * NET_QUEUE_MAX)

struct net {
    struct virtio_device vd;
    struct net_backend *backend;
    bool rx_waiting; /* the back end keeps a frame until resume() */
    bool tx_waiting; /* the back end will call writable() */
    struct virtq_chain chain;
};

static struct net *net_of(struct virtio_device *vd)
{
    return container_of(vd, struct net, vd);
}

/* --- receive --- */

/* A receive buffer in n->chain; none there: notifications are on, and were so before the last look. */
static bool net_rx_pop(struct net *n)
{
    struct virtq *q = &n->vd.vq[NET_RX];

    if (virtio_pop(&n->vd, NET_RX, &n->chain))
        return true;
    while (n->vd.running && virtq_enable_notify(q))
        if (virtio_pop(&n->vd, NET_RX, &n->chain))
            return true;
    return false;
}

static bool net_receive(void *opaque, const uint8_t *frame, size_t len)
{
    struct net *n = opaque;
    struct virtq *q = &n->vd.vq[NET_RX];
    uint8_t hdr[NET_HDR_LEN] = {[NET_HDR_NUM_BUFFERS] = 1};

    /* Without a driver the cable is out: frames are lost. */
    if (!n->vd.running || !q->size)
        return true;
    if (n->vd.paused || !net_rx_pop(n)) {
        n->rx_waiting = n->vd.running;
        return !n->vd.running;
    }
    if (n->chain.in_len < NET_HDR_LEN || n->chain.in_len - NET_HDR_LEN < len) {
        virtq_unpop(q);
        log_guest(n->vd.name, "a frame of %zu bytes does not fit the driver's buffer and is dropped", len);
        return true;
    }
    struct iovec *in = virtq_chain_in(&n->chain);
    virtq_iov_put(in, n->chain.nin, 0, hdr, sizeof(hdr));
    virtq_iov_put(in, n->chain.nin, sizeof(hdr), frame, len);
    virtq_wrote(n->vd.transport->mem, in, n->chain.nin);
    virtq_push(q, n->chain.head, (uint32_t)(sizeof(hdr) + len));
    virtio_interrupt(&n->vd, NET_RX);
    return true;
}

static void net_rx_resume(struct net *n)
{
    if (!n->rx_waiting)
        return;
    n->rx_waiting = false;
    n->backend->ops->resume(n->backend);
}

/* --- transmit --- */

/* The chain in n->chain; false where the back end has no room now. */
static bool net_send(struct net *n)
{
    struct virtq_chain *c = &n->chain;
    struct iovec iov[NET_TX_SEGS];
    size_t len = c->out_len > NET_HDR_LEN ? c->out_len - NET_HDR_LEN : 0;

    if (len < NET_ETH_MIN || len > NET_FRAME_MAX) {
        log_guest(n->vd.name, "a frame of %zu bytes from the driver is dropped", len);
        return true;
    }
    int k = virtq_iov_slice(c->iov, c->nout, NET_HDR_LEN, len, iov, NET_TX_SEGS);
    if (k < 0) {
        log_guest(n->vd.name, "a frame in more than %d pieces is dropped", NET_TX_SEGS);
        return true;
    }
    /* The header asks for offloads only, and none are negotiated. */
    return n->backend->ops->send(n->backend, iov, (unsigned)k) != -EAGAIN;
}

static void net_transmit(struct net *n)
{
    struct virtq *q = &n->vd.vq[NET_TX];
    unsigned budget = NET_TX_BUDGET;

    do {
        virtq_disable_notify(q);
        while (!n->tx_waiting && virtio_pop(&n->vd, NET_TX, &n->chain)) {
            /* Before the call: a back end that becomes writable meanwhile clears it. */
            n->tx_waiting = true;
            if (!net_send(n)) {
                virtq_unpop(q);
                goto out;
            }
            n->tx_waiting = false;
            virtq_push(q, n->chain.head, 0);
            if (--budget == 0) {
                n->vd.transport->ops->renotify(n->vd.transport, NET_TX);
                goto out;
            }
        }
    } while (!n->tx_waiting && n->vd.running && virtq_enable_notify(q));
out:
    virtio_interrupt(&n->vd, NET_TX);
}

static void net_writable(void *opaque)
{
    struct net *n = opaque;

    n->tx_waiting = false;
    if (n->vd.running && n->vd.vq[NET_TX].size)
        n->vd.transport->ops->renotify(n->vd.transport, NET_TX);
}

/* --- the device --- */

static void net_notify(struct virtio_device *vd, unsigned queue)
{
    struct net *n = net_of(vd);

    if (queue == NET_RX)
        net_rx_resume(n);
    else if (!n->tx_waiting)
        net_transmit(n);
}

static void net_reset(struct virtio_device *vd)
{
    struct net *n = net_of(vd);

    /* A frame that the back end kept is dropped, now that nobody is there: it must not wait for this driver's end. */
    net_rx_resume(n);
}

static void net_destroy(struct virtio_device *vd)
{
    struct net *n = net_of(vd);

    n->backend->frontend = (struct net_frontend){0};
    free(n);
}

static const struct virtio_device_ops net_ops = {
    .notify = net_notify,
    .reset = net_reset,
    .destroy = net_destroy,
};

int virtio_net_create(struct virtio_device **out, struct net_backend *backend, const uint8_t mac[6])
{
    struct net *n = calloc(1, sizeof(*n));

    if (!n)
        return -ENOMEM;
    n->backend = backend;
    n->vd = (struct virtio_device){
        .ops = &net_ops,
        .name = "virtio-net",
        .id = VIRTIO_ID_NET,
        .nqueues = 2,
        .queue_max = NET_QUEUE_MAX,
        .features = NET_F_MAC | NET_F_STATUS,
        .config_len = NET_CFG_LEN,
    };
    memcpy(n->vd.config + NET_CFG_MAC, mac, 6);
    le16_put(n->vd.config + NET_CFG_STATUS, NET_S_LINK_UP);
    backend->frontend = (struct net_frontend){.receive = net_receive, .writable = net_writable, .opaque = n};
    *out = &n->vd;
    return 0;
}
