/*
 * Reassembly by a map of the 8-byte blocks that have come: fragment offsets count in these (RFC 791).
 */
#include "devices/net/defrag.h"

#include <stddef.h>
#include <string.h>

#include "vmm/base/util.h"

#define ETH_HEAD 14
#define ETH_IPV4 0x0800
#define IP_HEAD_MIN 20
#define IP_LENGTH_MAX 65535
#define IP_DONT_FRAGMENT 0x4000
#define IP_MORE 0x2000
#define IP_OFFSET 0x1fff

/* A checked copy of what a piece's header says. */
struct piece {
    const uint8_t *ip;
    uint32_t head, offset, len; /* bytes */
    bool more;
    uint8_t key[11];
};

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* RFC 1071; 0 over a header whose checksum is right. */
static uint32_t ip_checksum(const uint8_t *ip, uint32_t len)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i + 1 < len; i += 2)
        sum += get16(ip + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static bool piece_parse(struct piece *p, const uint8_t *frame, uint32_t len)
{
    const uint8_t *ip = frame + ETH_HEAD;
    uint32_t total = get16(ip + 2), flags = get16(ip + 6);

    len -= ETH_HEAD;
    p->ip = ip;
    p->head = (ip[0] & 0xfu) * 4;
    if (ip[0] >> 4 != 4 || p->head < IP_HEAD_MIN || p->head > len || total <= p->head || total > len)
        return false;
    if (ip_checksum(ip, p->head) != 0 || flags & ~(uint32_t)(IP_DONT_FRAGMENT | IP_MORE | IP_OFFSET))
        return false;
    p->more = flags & IP_MORE;
    p->offset = (flags & IP_OFFSET) * 8;
    p->len = total - p->head;
    if (p->offset + p->len > IP_LENGTH_MAX - p->head || (p->more && p->len % 8))
        return false;
    memcpy(p->key, ip + 12, 8);
    memcpy(p->key + 8, ip + 4, 2);
    p->key[10] = ip[9];
    return true;
}

/* The datagram's entry; a new one takes the place of the oldest where there is none. */
static struct net_defrag_entry *defrag_find(struct net_defrag *d, const struct piece *p, int64_t now_ms)
{
    struct net_defrag_entry *best = &d->entry[0];

    for (unsigned i = 0; i < NET_DEFRAG_MAX; i++) {
        struct net_defrag_entry *e = &d->entry[i];
        if (e->used && now_ms - e->since_ms > NET_DEFRAG_MS)
            e->used = false;
        if (e->used && memcmp(e->key, p->key, sizeof(e->key)) == 0)
            return e;
        if (best->used && (!e->used || e->since_ms < best->since_ms))
            best = e;
    }
    memset(best, 0, offsetof(struct net_defrag_entry, frame));
    best->used = true;
    best->since_ms = now_ms;
    memcpy(best->key, p->key, sizeof(best->key));
    return best;
}

/* False: the piece contradicts what is here. */
static bool defrag_add(struct net_defrag_entry *e, const struct piece *p)
{
    uint32_t end = p->offset + p->len;

    if (e->end && (!p->more || end > e->end))
        return false;
    if (!p->more) {
        if (e->reach > end)
            return false;
        e->end = end;
    }
    e->reach = MAX(e->reach, end);
    for (uint32_t b = p->offset / 8; b < (end + 7) / 8; b++) {
        if (e->have[b / 64] & 1ull << b % 64)
            return false;
        e->have[b / 64] |= 1ull << b % 64;
        e->blocks++;
    }
    memcpy(e->frame + NET_DEFRAG_HEAD + p->offset, p->ip + p->head, p->len);
    if (p->offset == 0) {
        e->head = ETH_HEAD + p->head;
        memcpy(e->frame + NET_DEFRAG_HEAD - e->head, p->ip - ETH_HEAD, e->head);
    }
    return true;
}

/* The whole frame, under the first piece's header. */
static const uint8_t *defrag_finish(struct net_defrag_entry *e, uint32_t *len)
{
    uint8_t *frame = e->frame + NET_DEFRAG_HEAD - e->head, *ip = frame + ETH_HEAD;
    uint32_t head = e->head - ETH_HEAD;

    e->used = false;
    if (head + e->end > IP_LENGTH_MAX)
        return NULL;
    put16(ip + 2, head + e->end);
    put16(ip + 6, 0);
    put16(ip + 10, 0);
    put16(ip + 10, ip_checksum(ip, head));
    *len = e->head + e->end;
    return frame;
}

const uint8_t *net_defrag(struct net_defrag *d, const uint8_t *frame, uint32_t *len, int64_t now_ms)
{
    struct net_defrag_entry *e;
    struct piece p;

    if (*len < ETH_HEAD + IP_HEAD_MIN || get16(frame + 12) != ETH_IPV4 ||
        (get16(frame + ETH_HEAD + 6) & ~(uint32_t)IP_DONT_FRAGMENT) == 0)
        return frame;
    if (!piece_parse(&p, frame, *len))
        return NULL;
    e = defrag_find(d, &p, now_ms);
    if (!defrag_add(e, &p)) {
        e->used = false;
        return NULL;
    }
    if (!e->end || e->blocks != (e->end + 7) / 8)
        return NULL;
    return defrag_finish(e, len);
}
