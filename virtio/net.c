/*
 * virtio-net (virtio 1.2, 5.1): pairs of a receive and a transmit queue, and a control queue where there are several.
 *
 * Receive (net_rx.c): a back end that is full of frames is told to wait where the driver has no buffers; the driver's
 * next notification makes it go on.
 *
 * Transmit: frames go out as iovecs on guest RAM behind a checked copy of their header. A back end that is full leaves
 * the chain in the ring until it says that it is writable.
 *
 * Offloads are offered where the back end has them. What the driver accepted of those for received frames is the
 * back end's to know; what it accepted for sent ones is what its headers may ask for.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtio/net.h"
#include "virtio/virtio.h"
#include "vmm/base/log.h"

#define NET_F_CSUM BIT64(0)
#define NET_F_GUEST_CSUM BIT64(1)
#define NET_F_MTU BIT64(3)
#define NET_F_MAC BIT64(5)
#define NET_F_GUEST_TSO4 BIT64(7)
#define NET_F_GUEST_TSO6 BIT64(8)
#define NET_F_GUEST_ECN BIT64(9)
#define NET_F_HOST_TSO4 BIT64(11)
#define NET_F_HOST_TSO6 BIT64(12)
#define NET_F_HOST_ECN BIT64(13)
#define NET_F_MRG_RXBUF BIT64(15)
#define NET_F_STATUS BIT64(16)
#define NET_F_CTRL_VQ BIT64(17)
#define NET_F_MQ BIT64(22)

#define NET_QUEUE_MAX 256
#define NET_CFG_MAC 0
#define NET_CFG_STATUS 6
#define NET_CFG_PAIRS 8
#define NET_CFG_MTU 10
#define NET_CFG_LEN 12
#define NET_S_LINK_UP 1
#define NET_TX_SEGS 64
#define NET_ETH_MIN 14
#define NET_TX_BUDGET (2 * NET_QUEUE_MAX)

/* Control queue (5.1.6.5). */
#define NET_CTRL_MQ 4
#define NET_CTRL_MQ_VQ_PAIRS_SET 0
#define NET_CTRL_OK 0
#define NET_CTRL_ERR 1

static const struct net_offload {
    unsigned offload;
    unsigned needs; /* offloads of which one must be there too (5.1.3.1) */
    uint64_t host, guest;
    uint8_t gso; /* the header's gso_type */
} net_offloads[] = {
    {NET_OFFLOAD_CSUM, 0, NET_F_CSUM, NET_F_GUEST_CSUM, 0},
    {NET_OFFLOAD_TSO4, NET_OFFLOAD_CSUM, NET_F_HOST_TSO4, NET_F_GUEST_TSO4, NET_HDR_GSO_TCPV4},
    {NET_OFFLOAD_TSO6, NET_OFFLOAD_CSUM, NET_F_HOST_TSO6, NET_F_GUEST_TSO6, NET_HDR_GSO_TCPV6},
    {NET_OFFLOAD_ECN, NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6, NET_F_HOST_ECN, NET_F_GUEST_ECN, NET_HDR_GSO_ECN},
};

static struct net *net_of(struct virtio_device *vd)
{
    return container_of(vd, struct net, vd);
}

bool net_hdr_asks(const struct net_hdr *h, size_t len, unsigned allowed)
{
    uint8_t gso = h->gso_type;

    if (h->flags & NET_HDR_F_NEEDS_CSUM) {
        /* The two bytes of the checksum are inside the frame; the sum of two 16-bit numbers fits. */
        if (!(allowed & NET_OFFLOAD_CSUM) || (size_t)h->csum_start + h->csum_offset + 2 > len)
            return false;
    }
    if (gso == NET_HDR_GSO_NONE)
        return true;
    /* Segments get checksums of their own (5.1.6.2.1), and are of some length. */
    if (!(h->flags & NET_HDR_F_NEEDS_CSUM) || !h->gso_size)
        return false;
    if (gso & NET_HDR_GSO_ECN && !(allowed & NET_OFFLOAD_ECN))
        return false;
    gso &= (uint8_t)~NET_HDR_GSO_ECN;
    return (gso == NET_HDR_GSO_TCPV4 && allowed & NET_OFFLOAD_TSO4) ||
           (gso == NET_HDR_GSO_TCPV6 && allowed & NET_OFFLOAD_TSO6);
}

/* --- transmit --- */

/* The chain in n->chain; false where the back end has no room now. */
static bool net_send(struct net *n, unsigned pair)
{
    struct virtq_chain *c = &n->chain;
    struct iovec iov[NET_TX_SEGS];
    struct net_hdr hdr;
    size_t len = c->out_len > NET_HDR_LEN ? c->out_len - NET_HDR_LEN : 0;

    if (len < NET_ETH_MIN || len > NET_FRAME_MAX) {
        log_guest(n->vd.name, "a frame of %zu bytes from the driver is dropped", len);
        return true;
    }
    virtq_iov_get(c->iov, c->nout, 0, &hdr, NET_HDR_LEN);
    if (!net_hdr_asks(&hdr, len, n->host_offloads)) {
        log_guest(n->vd.name, "a frame whose header asks for what was not agreed on is dropped");
        return true;
    }
    /* A hint only, and the other flags are for received frames. */
    hdr.hdr_len = (uint16_t)MIN((size_t)hdr.hdr_len, len);
    hdr.flags &= NET_HDR_F_NEEDS_CSUM;
    hdr.num_buffers = 0;
    int k = virtq_iov_slice(c->iov, c->nout, NET_HDR_LEN, len, iov, NET_TX_SEGS);
    if (k < 0) {
        log_guest(n->vd.name, "a frame in more than %d pieces is dropped", NET_TX_SEGS);
        return true;
    }
    return n->backend->ops->send(n->backend, pair, &hdr, iov, (unsigned)k) != -EAGAIN;
}

static void net_transmit(struct net *n, unsigned pair)
{
    unsigned queue = NET_TX(pair), budget = NET_TX_BUDGET;
    struct virtq *q = &n->vd.vq[queue];
    bool *waiting = &n->tx_waiting[pair];

    do {
        virtq_disable_notify(q);
        while (!*waiting && virtio_pop(&n->vd, queue, &n->chain)) {
            /* Before the call: a back end that becomes writable meanwhile clears it. */
            *waiting = true;
            if (!net_send(n, pair)) {
                virtq_unpop(q, 1);
                goto out;
            }
            *waiting = false;
            virtq_push(q, n->chain.head, 0);
            if (--budget == 0) {
                n->vd.transport->ops->renotify(n->vd.transport, queue);
                goto out;
            }
        }
    } while (!*waiting && n->vd.running && virtq_enable_notify(q));
out:
    virtio_interrupt(&n->vd, queue);
}

static void net_writable(void *opaque, unsigned pair)
{
    struct net *n = opaque;

    n->tx_waiting[pair] = false;
    if (n->vd.running && n->vd.vq[NET_TX(pair)].size)
        n->vd.transport->ops->renotify(n->vd.transport, NET_TX(pair));
}

static void net_link_down(void *opaque)
{
    struct net *n = opaque;
    const uint8_t status[2] = {0};

    n->vd.transport->ops->config_set(n->vd.transport, NET_CFG_STATUS, status, sizeof(status));
}

/* --- control --- */

/* Tells the back end what the driver takes, on how many queues. */
static void net_setup(struct net *n, unsigned pairs)
{
    if (n->backend->ops->setup)
        n->backend->ops->setup(n->backend, n->guest_offloads, pairs);
}

static uint8_t net_command(struct net *n)
{
    const struct virtq_chain *c = &n->chain;
    struct {
        uint8_t class, command;
        uint16_t pairs;
    } cmd;

    if (virtq_iov_get(c->iov, c->nout, 0, &cmd, sizeof(cmd)) != sizeof(cmd) || cmd.class != NET_CTRL_MQ ||
        cmd.command != NET_CTRL_MQ_VQ_PAIRS_SET || !(n->vd.negotiated & NET_F_MQ))
        return NET_CTRL_ERR;
    if (cmd.pairs < 1 || cmd.pairs > n->pairs) {
        log_guest(n->vd.name, "the driver asks for %u pairs of queues of %u", cmd.pairs, n->pairs);
        return NET_CTRL_ERR;
    }
    for (unsigned i = 0; i < cmd.pairs; i++)
        if (!n->vd.vq[NET_RX(i)].size || !n->vd.vq[NET_TX(i)].size) {
            log_guest(n->vd.name, "the driver asks for a pair of queues that it has not set up");
            return NET_CTRL_ERR;
        }
    net_setup(n, cmd.pairs);
    return NET_CTRL_OK;
}

static void net_control(struct net *n, unsigned queue)
{
    struct virtq *q = &n->vd.vq[queue];

    do {
        virtq_disable_notify(q);
        while (virtio_pop(&n->vd, queue, &n->chain)) {
            struct iovec *in = virtq_chain_in(&n->chain);
            uint8_t ack = net_command(n);
            size_t len = virtq_iov_put(in, n->chain.nin, 0, &ack, sizeof(ack));

            virtq_wrote(n->vd.transport->mem, in, n->chain.nin);
            virtq_push(q, n->chain.head, (uint32_t)len);
        }
    } while (n->vd.running && virtq_enable_notify(q));
    virtio_interrupt(&n->vd, queue);
}

/* --- the device --- */

/* The control queue stands behind all pairs where the driver knows of several, else behind the first (5.1.2). */
static unsigned net_control_queue(const struct net *n)
{
    if (!(n->vd.negotiated & NET_F_CTRL_VQ))
        return UINT32_MAX;
    return n->vd.negotiated & NET_F_MQ ? 2 * n->pairs : 2;
}

static void net_notify(struct virtio_device *vd, unsigned queue)
{
    struct net *n = net_of(vd);
    unsigned pair = queue / 2;

    if (queue == net_control_queue(n))
        net_control(n, queue);
    else if (pair >= n->pairs)
        return; /* without control queue there is none */
    else if (queue == NET_RX(pair))
        net_rx_resume(n, pair);
    else if (!n->tx_waiting[pair])
        net_transmit(n, pair);
}

/* The offloads whose features were accepted, without those that lack what they need. */
static unsigned net_accepted(const struct net *n, bool host)
{
    unsigned accepted = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(net_offloads); i++) {
        const struct net_offload *o = &net_offloads[i];

        if (n->vd.negotiated & (host ? o->host : o->guest) && (!o->needs || accepted & o->needs))
            accepted |= o->offload;
    }
    return accepted;
}

static void net_start(struct virtio_device *vd)
{
    struct net *n = net_of(vd);

    n->host_offloads = net_accepted(n, true);
    n->guest_offloads = net_accepted(n, false);
    n->mergeable = vd->negotiated & NET_F_MRG_RXBUF;
    net_setup(n, 1);
}

static void net_reset(struct virtio_device *vd)
{
    struct net *n = net_of(vd);

    n->host_offloads = n->guest_offloads = 0;
    net_setup(n, 1);
    /* A frame that somebody kept is dropped, now that nobody is there: it must not wait for this driver's end. */
    for (unsigned i = 0; i < n->pairs; i++)
        net_rx_reset(n, i);
}

static void net_destroy(struct virtio_device *vd)
{
    struct net *n = net_of(vd);

    n->backend->frontend = (struct net_frontend){0};
    net_rx_free(n);
    free(n);
}

static const struct virtio_device_ops net_ops = {
    .start = net_start,
    .notify = net_notify,
    .reset = net_reset,
    .destroy = net_destroy,
};

static uint64_t net_features(const struct net *n)
{
    uint64_t features = NET_F_MAC | NET_F_STATUS | NET_F_MRG_RXBUF;

    for (unsigned i = 0; i < ARRAY_SIZE(net_offloads); i++) {
        const struct net_offload *o = &net_offloads[i];

        features |= n->backend->takes & o->offload ? o->host : 0;
        features |= n->backend->gives & o->offload ? o->guest : 0;
    }
    if (n->pairs > 1)
        features |= NET_F_CTRL_VQ | NET_F_MQ;
    if (n->backend->mtu)
        features |= NET_F_MTU;
    return features;
}

int virtio_net_create(struct virtio_device **out, struct net_backend *backend, const uint8_t mac[6])
{
    struct net *n = calloc(1, sizeof(*n));

    if (!n)
        return -ENOMEM;
    n->backend = backend;
    n->pairs = MAX(backend->queues, 1u);
    if (net_rx_alloc(n) < 0) {
        free(n);
        return -ENOMEM;
    }
    n->vd = (struct virtio_device){
        .ops = &net_ops,
        .name = "virtio-net",
        .id = VIRTIO_ID_NET,
        .nqueues = 2 * n->pairs + (n->pairs > 1),
        .queue_max = NET_QUEUE_MAX,
        .features = net_features(n),
        .config_len = NET_CFG_LEN,
    };
    memcpy(n->vd.config + NET_CFG_MAC, mac, 6);
    le16_put(n->vd.config + NET_CFG_STATUS, NET_S_LINK_UP);
    le16_put(n->vd.config + NET_CFG_PAIRS, (uint16_t)n->pairs);
    le16_put(n->vd.config + NET_CFG_MTU, backend->mtu);
    backend->frontend = (struct net_frontend){
        .receive = net_rx_receive,
        .room = net_rx_room,
        .filled = net_rx_filled,
        .writable = net_writable,
        .link_down = net_link_down,
        .opaque = n,
    };
    *out = &n->vd;
    return 0;
}
