/*
 * virtio-net's receive queues.
 *
 * A frame and its header go into one chain of the driver's buffers, or, where mergeable buffers were negotiated, into
 * as many as it takes, which the driver sees at once (5.1.6.4). Chains are taken from the ring until they have room,
 * and given back to it where there are not enough: the frame then waits, and the ring is looked at again after
 * notifications are switched on, so a buffer added in between is not missed and reception cannot freeze.
 *
 * A back end that reads frames itself gets the chains' own memory to read into, for a frame as long as the last one,
 * and behind that a spill that takes the rest of any longer one, which is copied: streams of long frames and of short
 * ones are received without a copy, and neither takes more chains than it fills. The header is read apart from the
 * frame, is looked at, and then copied, so that the driver never sees one that asks for what it did not accept.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtio/net.h"
#include "vmm/base/log.h"

#define RX_CHAINS 256 /* of one frame: a whole ring */
#define RX_ETH_MIN 14
#define RX_SPILL (NET_FRAME_MAX + 1) /* one more tells a frame that is too long for us from one that fits */

struct rx_chain {
    uint16_t head;
    uint32_t len;
};

struct net_rx {
    bool waiting; /* the back end waits for resume() */
    /* Chains that were taken from the ring. Outside of room() to filled() there are none. */
    struct rx_chain chain[RX_CHAINS];
    unsigned nchains;
    struct iovec seg[VIRTQ_SEGS_MAX]; /* their buffers */
    unsigned nsegs;
    size_t size; /* bytes of these */
    bool full;   /* no place for more */
    /* For a back end that reads by itself: header, buffers behind the header, spill. */
    struct iovec iov[VIRTQ_SEGS_MAX + 2];
    struct net_hdr hdr;
    size_t expect;  /* length of the last frame, header included */
    uint8_t *spill; /* RX_SPILL bytes */
    uint8_t *kept;  /* a frame that was read, for which there were no buffers: NET_FRAME_MAX bytes */
    size_t kept_len;
};

int net_rx_alloc(struct net *n)
{
    n->rx = calloc(n->pairs, sizeof(*n->rx));
    for (unsigned i = 0; n->rx && i < n->pairs; i++) {
        n->rx[i].spill = malloc(RX_SPILL);
        n->rx[i].kept = malloc(NET_FRAME_MAX);
        if (!n->rx[i].spill || !n->rx[i].kept) {
            net_rx_free(n);
            return -ENOMEM;
        }
    }
    return n->rx ? 0 : -ENOMEM;
}

void net_rx_free(struct net *n)
{
    for (unsigned i = 0; n->rx && i < n->pairs; i++) {
        free(n->rx[i].spill);
        free(n->rx[i].kept);
    }
    free(n->rx);
    n->rx = NULL;
}

/* One more chain. False: there is none, and notifications are on, and were so before the last look; or no place is left
 * for it. */
static bool rx_take(struct net *n, unsigned pair)
{
    struct net_rx *rx = &n->rx[pair];
    struct virtq *q = &n->vd.vq[NET_RX(pair)];
    struct virtq_chain *c = &n->chain;

    rx->full = rx->nchains == RX_CHAINS;
    if (rx->full)
        return false;
    while (!virtio_pop(&n->vd, NET_RX(pair), c))
        if (!n->vd.running || !virtq_enable_notify(q))
            return false;
    rx->full = c->nin > VIRTQ_SEGS_MAX - rx->nsegs;
    if (rx->full) {
        virtq_unpop(q, 1);
        return false;
    }
    rx->chain[rx->nchains++] = (struct rx_chain){.head = c->head, .len = c->in_len};
    memcpy(rx->seg + rx->nsegs, virtq_chain_in(c), c->nin * sizeof(*c->iov));
    rx->nsegs += c->nin;
    rx->size += c->in_len;
    return true;
}

/* Room for `need` bytes: as many chains as that takes, or one where they may not be merged. */
static bool rx_gather(struct net *n, unsigned pair, size_t need)
{
    struct net_rx *rx = &n->rx[pair];

    if (!rx->nchains)
        rx_take(n, pair);
    while (n->mergeable && rx->nchains && rx->size < need && rx_take(n, pair))
        ;
    return rx->size >= need;
}

/* Gives all chains back. */
static void rx_release(struct net *n, unsigned pair)
{
    struct net_rx *rx = &n->rx[pair];

    virtq_unpop(&n->vd.vq[NET_RX(pair)], rx->nchains);
    rx->nchains = rx->nsegs = 0;
    rx->size = 0;
}

/* Hands a frame of `len` bytes to the driver, header included, whose bytes behind the header are in the buffers. */
static void rx_commit(struct net *n, unsigned pair, struct net_hdr *hdr, size_t len)
{
    struct net_rx *rx = &n->rx[pair];
    struct virtq *q = &n->vd.vq[NET_RX(pair)];
    size_t left = len;
    unsigned k;

    for (k = 0; k < rx->nchains && left; k++) {
        uint32_t part = (uint32_t)MIN((size_t)rx->chain[k].len, left);

        virtq_put(q, k, rx->chain[k].head, part);
        left -= part;
    }
    hdr->num_buffers = (uint16_t)k;
    virtq_iov_put(rx->seg, rx->nsegs, 0, hdr, NET_HDR_LEN);
    virtq_wrote(n->vd.transport->mem, rx->seg, rx->nsegs);
    virtq_unpop(q, rx->nchains - k);
    rx->nchains = rx->nsegs = 0;
    rx->size = 0;
    virtq_publish(q, k);
    virtio_interrupt(&n->vd, NET_RX(pair));
}

/* A frame that no buffers will ever be enough for: all that a frame may have, or that a ring has, have been looked at.
 */
static bool rx_hopeless(const struct net *n, unsigned pair)
{
    const struct net_rx *rx = &n->rx[pair];

    return rx->nchains && (!n->mergeable || rx->full || rx->nchains >= n->vd.vq[NET_RX(pair)].size);
}

/* A frame that is in our memory. False: it has to wait. */
static bool rx_put(struct net *n, unsigned pair, struct net_hdr *hdr, const uint8_t *frame, size_t len)
{
    struct net_rx *rx = &n->rx[pair];

    if (!rx_gather(n, pair, NET_HDR_LEN + len)) {
        bool drop = rx_hopeless(n, pair);

        rx_release(n, pair);
        if (drop)
            log_guest(n->vd.name, "a frame of %zu bytes does not fit the driver's buffers and is dropped", len);
        return drop || !n->vd.running;
    }
    virtq_iov_put(rx->seg, rx->nsegs, NET_HDR_LEN, frame, len);
    rx_commit(n, pair, hdr, NET_HDR_LEN + len);
    return true;
}

/* Is there a driver that receives? Without one the cable is out: frames are lost. */
static bool rx_running(const struct net *n, unsigned pair)
{
    return n->vd.running && n->vd.vq[NET_RX(pair)].size;
}

bool net_rx_receive(void *opaque, const uint8_t *frame, size_t len)
{
    struct net *n = opaque;
    struct net_hdr hdr = {.flags = n->guest_offloads & NET_OFFLOAD_CSUM ? NET_HDR_F_DATA_VALID : 0};

    if (!rx_running(n, 0))
        return true;
    n->rx[0].waiting = n->vd.paused || !rx_put(n, 0, &hdr, frame, len);
    return !n->rx[0].waiting;
}

/* The frame that was kept, if any, is with the driver. */
static bool rx_put_kept(struct net *n, unsigned pair)
{
    struct net_rx *rx = &n->rx[pair];

    if (rx->kept_len && !rx_put(n, pair, &rx->hdr, rx->kept, rx->kept_len))
        return false;
    rx->kept_len = 0;
    return true;
}

const struct iovec *net_rx_room(void *opaque, unsigned pair, unsigned *niov)
{
    struct net *n = opaque;
    struct net_rx *rx = &n->rx[pair];
    unsigned k = 0;

    if (rx_running(n, pair)) {
        rx->waiting = n->vd.paused || !rx_put_kept(n, pair);
        if (!rx->waiting) {
            rx_gather(n, pair, MAX(rx->expect, (size_t)NET_HDR_LEN));
            rx->waiting = !rx->nchains && n->vd.running;
        }
        if (rx->waiting)
            return NULL;
    }
    rx->iov[k++] = (struct iovec){.iov_base = &rx->hdr, .iov_len = NET_HDR_LEN};
    if (rx->size > NET_HDR_LEN) /* the slice is never in more pieces than the whole */
        k += (unsigned)virtq_iov_slice(rx->seg, rx->nsegs, NET_HDR_LEN, rx->size - NET_HDR_LEN, rx->iov + k,
                                       VIRTQ_SEGS_MAX);
    /* One call takes no more than 1024 (UIO_MAXIOV): buffers as small as that are not filled without a copy. */
    if (k > VIRTQ_SEGS_MAX - 1) {
        rx_release(n, pair);
        k = 1;
    }
    rx->iov[k++] = (struct iovec){.iov_base = rx->spill, .iov_len = RX_SPILL};
    *niov = k;
    return rx->iov;
}

/* `len` bytes of frame were read, of which the buffers have what is not in the spill: takes them all out, so that they
 * can wait. */
static void rx_keep(struct net *n, unsigned pair, size_t len, size_t spilt)
{
    struct net_rx *rx = &n->rx[pair];

    if (spilt < len)
        virtq_iov_get(rx->seg, rx->nsegs, NET_HDR_LEN, rx->kept, len - spilt);
    memcpy(rx->kept + (len - spilt), rx->spill, spilt);
    rx->kept_len = len;
    rx->waiting = true;
}

void net_rx_filled(void *opaque, unsigned pair, size_t len)
{
    struct net *n = opaque;
    struct net_rx *rx = &n->rx[pair];
    size_t frame = len > NET_HDR_LEN ? len - NET_HDR_LEN : 0;
    size_t room = rx->size > NET_HDR_LEN ? rx->size - NET_HDR_LEN : 0;
    size_t spilt = frame > room ? frame - room : 0;

    if (!len) {
        rx_release(n, pair);
        return;
    }
    if (!rx_running(n, pair) || frame < RX_ETH_MIN || frame > NET_FRAME_MAX ||
        !net_hdr_asks(&rx->hdr, frame, n->guest_offloads))
        goto drop;
    rx->hdr.flags &= NET_HDR_F_NEEDS_CSUM;
    rx->expect = len;
    if (!spilt) {
        rx_commit(n, pair, &rx->hdr, len);
        return;
    }
    if (rx_gather(n, pair, len)) {
        virtq_iov_put(rx->seg, rx->nsegs, NET_HDR_LEN + room, rx->spill, spilt);
        rx_commit(n, pair, &rx->hdr, len);
        return;
    }
    if (rx_hopeless(n, pair))
        log_guest(n->vd.name, "a frame of %zu bytes does not fit the driver's buffers and is dropped", frame);
    else
        rx_keep(n, pair, frame, spilt);
drop:
    /* They may have been written all the same. */
    virtq_wrote(n->vd.transport->mem, rx->seg, rx->nsegs);
    rx_release(n, pair);
}

void net_rx_resume(struct net *n, unsigned pair)
{
    struct net_rx *rx = &n->rx[pair];

    if (!rx->waiting || (rx->kept_len && !rx_put_kept(n, pair)))
        return;
    rx->waiting = false;
    n->backend->ops->resume(n->backend, pair);
}

void net_rx_reset(struct net *n, unsigned pair)
{
    struct net_rx *rx = &n->rx[pair];

    rx->kept_len = 0;
    rx->expect = 0;
    if (rx->waiting) {
        rx->waiting = false;
        n->backend->ops->resume(n->backend, pair);
    }
}
