/*
 * A ring of frames in memory shared by two processes: one producer, one consumer, no lock, no trust.
 *
 * An entry is a 32-bit length and the frame's bytes, padded to 4. head and tail count bytes from the ring's beginning
 * and run freely; what is in between is filled. Each side keeps its own counter to itself and reads the peer's, as it
 * reads everything in the ring, once, and checks that copy: a counter or length that cannot be marks the ring broken
 * for good, and nothing outside the ring is ever touched. A frame's bytes may change while they are copied out; they
 * are hostile anyway, and what the caller gets is a copy.
 *
 * Waking up: the ring only tells when the peer has to be woken, how is the caller's matter. A side that is about to
 * wait announces it (net_ring_idle, net_ring_congested, a push without room) and looks once more; the other side, when
 * it has moved its counter, asks whether somebody waits (net_ring_fed, net_ring_drained). Full barriers on both sides
 * make sure that one of the two sees the other's step.
 */
#ifndef PIPIT_DEVICES_NET_RING_H
#define PIPIT_DEVICES_NET_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/net/net.h"

#define NET_RING_SIZE (1u << 20) /* bytes; a power of two, so that the counters may wrap */

/* The shared part; zero is its initial state. Each counter has a cache line of its own. */
struct net_ring_mem {
    _Alignas(64) _Atomic uint32_t head;           /* written by the producer */
    _Alignas(64) _Atomic uint32_t tail;           /* written by the consumer */
    _Alignas(64) _Atomic uint32_t consumer_waits; /* for an entry */
    _Alignas(64) _Atomic uint32_t producer_waits; /* until half of the ring is free */
    _Alignas(64) uint8_t data[NET_RING_SIZE];
};

/* One side's view. */
struct net_ring {
    struct net_ring_mem *mem;
    uint32_t pos; /* this side's counter; the one in `mem` is only told to the peer */
    bool broken;  /* the peer wrote nonsense; nothing works any more */
};

/* Both sides begin on memory that is all zero. */
void net_ring_init(struct net_ring *r, struct net_ring_mem *mem);

/* The producer. Puts one frame in: 0; -EAGAIN without room (the consumer will then see that the producer waits);
 * -EMSGSIZE for an empty frame or one above NET_FRAME_MAX; -EPROTO when the ring is broken. */
int net_ring_push(struct net_ring *r, const struct iovec *iov, unsigned niov);
/* Must the consumer be woken? To be asked after pushes. */
bool net_ring_fed(struct net_ring *r);
/* Is more than half of the ring filled? If so, the consumer will see that the producer waits. */
bool net_ring_congested(struct net_ring *r);

/* The consumer. Takes one frame out, into NET_FRAME_MAX bytes at `frame`: its length; 0 when there is none; -EPROTO
 * when the ring is broken. */
int net_ring_pop(struct net_ring *r, uint8_t *frame);
/* Must the producer be woken? To be asked after pops. */
bool net_ring_drained(struct net_ring *r);
/* Announces that the consumer is about to wait. False: an entry came meanwhile (or the ring is broken), do not. */
bool net_ring_idle(struct net_ring *r);

#endif
