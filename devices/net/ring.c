/* The shared ring of frames; ring.h tells how it works. */
#include "devices/net/ring.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/util.h"

#define RING_HEADER 4u
#define RING_ENTRY(len) (RING_HEADER + (((len) + 3u) & ~3u))

_Static_assert((NET_RING_SIZE & (NET_RING_SIZE - 1)) == 0, "free-running counters need a power of two");
_Static_assert(RING_ENTRY((uint32_t)NET_FRAME_MAX) <= NET_RING_SIZE / 2, "a ring that is half free takes any frame");

void net_ring_init(struct net_ring *r, struct net_ring_mem *mem)
{
    *r = (struct net_ring){.mem = mem};
}

static void ring_copy_in(struct net_ring_mem *m, uint32_t at, const void *src, uint32_t len)
{
    uint32_t off = at & (NET_RING_SIZE - 1);
    uint32_t n = MIN(len, NET_RING_SIZE - off);

    memcpy(m->data + off, src, n);
    memcpy(m->data, (const uint8_t *)src + n, len - n);
}

static void ring_copy_out(const struct net_ring_mem *m, uint32_t at, void *dst, uint32_t len)
{
    uint32_t off = at & (NET_RING_SIZE - 1);
    uint32_t n = MIN(len, NET_RING_SIZE - off);

    memcpy(dst, m->data + off, n);
    memcpy((uint8_t *)dst + n, m->data, len - n);
}

/* Bytes in use as the producer sees it; *used is only set when 0 is returned. */
static int ring_producer_used(struct net_ring *r, uint32_t *used)
{
    uint32_t n = r->pos - atomic_load(&r->mem->tail);

    if (r->broken || n > NET_RING_SIZE || (n & 3)) {
        r->broken = true;
        return -EPROTO;
    }
    *used = n;
    return 0;
}

/* Bytes in use as the consumer sees it. */
static int ring_consumer_used(struct net_ring *r, uint32_t *used)
{
    uint32_t n = atomic_load(&r->mem->head) - r->pos;

    if (r->broken || n > NET_RING_SIZE || (n & 3)) {
        r->broken = true;
        return -EPROTO;
    }
    *used = n;
    return 0;
}

/*
 * A waiter stores its flag, then reads the peer's counter; the peer stores its counter, then reads the flag. All four
 * are sequentially consistent, so that at least one of the two sees the other's store. (No fences: the thread
 * sanitizer knows none.)
 */
static bool ring_announced(_Atomic uint32_t *flag)
{
    return atomic_load(flag) && atomic_exchange(flag, 0);
}

int net_ring_push(struct net_ring *r, const struct iovec *iov, unsigned niov)
{
    size_t total = 0;
    uint32_t len, used, at;
    int e;

    for (unsigned i = 0; i < niov; i++) {
        if (iov[i].iov_len > NET_FRAME_MAX - total)
            return -EMSGSIZE;
        total += iov[i].iov_len;
    }
    if (total == 0)
        return -EMSGSIZE;
    len = (uint32_t)total;
    e = ring_producer_used(r, &used);
    if (e)
        return e;
    if (RING_ENTRY(len) > NET_RING_SIZE - used) {
        atomic_store(&r->mem->producer_waits, 1);
        e = ring_producer_used(r, &used);
        if (e)
            return e;
        if (RING_ENTRY(len) > NET_RING_SIZE - used)
            return -EAGAIN;
        atomic_store(&r->mem->producer_waits, 0);
    }
    ring_copy_in(r->mem, r->pos, &len, RING_HEADER);
    at = r->pos + RING_HEADER;
    for (unsigned i = 0; i < niov; i++) {
        ring_copy_in(r->mem, at, iov[i].iov_base, (uint32_t)iov[i].iov_len);
        at += (uint32_t)iov[i].iov_len;
    }
    r->pos += RING_ENTRY(len);
    atomic_store(&r->mem->head, r->pos);
    return 0;
}

bool net_ring_fed(struct net_ring *r)
{
    return ring_announced(&r->mem->consumer_waits);
}

bool net_ring_congested(struct net_ring *r)
{
    uint32_t used;

    if (ring_producer_used(r, &used) || used <= NET_RING_SIZE / 2)
        return false;
    atomic_store(&r->mem->producer_waits, 1);
    return !ring_producer_used(r, &used) && used > NET_RING_SIZE / 2;
}

int net_ring_pop(struct net_ring *r, uint8_t *frame)
{
    uint32_t len, used;
    int e = ring_consumer_used(r, &used);

    if (e || used == 0)
        return e;
    ring_copy_out(r->mem, r->pos, &len, RING_HEADER);
    if (len == 0 || len > NET_FRAME_MAX || RING_ENTRY(len) > used) {
        r->broken = true;
        return -EPROTO;
    }
    ring_copy_out(r->mem, r->pos + RING_HEADER, frame, len);
    r->pos += RING_ENTRY(len);
    /* The producer may overwrite the entry once it sees this. */
    atomic_store(&r->mem->tail, r->pos);
    return (int)len;
}

bool net_ring_drained(struct net_ring *r)
{
    uint32_t used;

    if (!atomic_load(&r->mem->producer_waits) || ring_consumer_used(r, &used) || used > NET_RING_SIZE / 2)
        return false;
    return atomic_exchange(&r->mem->producer_waits, 0);
}

bool net_ring_idle(struct net_ring *r)
{
    uint32_t used;

    atomic_store(&r->mem->consumer_waits, 1);
    if (!ring_consumer_used(r, &used) && used == 0)
        return true;
    atomic_store(&r->mem->consumer_waits, 0);
    return false;
}
