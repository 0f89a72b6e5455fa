/*
 * Puts the guest's IPv4 fragments together before libslirp sees them.
 *
 * libslirp's own reassembly trusts a guest's offsets too far: pieces that overlap make it use memory that it has freed.
 * It gets whole datagrams only. Pieces may come in any order; a datagram with pieces that overlap is thrown away, as
 * Linux does it. What is kept is bounded, in number and in time.
 */
#ifndef PIPIT_DEVICES_NET_DEFRAG_H
#define PIPIT_DEVICES_NET_DEFRAG_H

#include <stdbool.h>
#include <stdint.h>

#define NET_DEFRAG_MAX 8      /* datagrams at once */
#define NET_DEFRAG_MS 30000   /* after that, an incomplete one is given up */
#define NET_DEFRAG_DATA 65536 /* bytes behind the header */
#define NET_DEFRAG_HEAD 74    /* Ethernet, and the longest IPv4 header */

struct net_defrag_entry {
    bool used;
    int64_t since_ms;
    uint8_t key[11]; /* source, destination, identification, protocol */
    uint32_t head;   /* bytes of the first piece's headers, which end at NET_DEFRAG_HEAD; 0: not here yet */
    uint32_t end;    /* where the last piece ends; 0: not here yet */
    uint32_t reach;  /* where the farthest piece ends */
    uint32_t blocks; /* of 8 bytes, that are here */
    uint64_t have[NET_DEFRAG_DATA / 8 / 64];
    uint8_t frame[NET_DEFRAG_HEAD + NET_DEFRAG_DATA];
};

/* Zero is its initial state. */
struct net_defrag {
    struct net_defrag_entry entry[NET_DEFRAG_MAX];
};

/* What is to go on instead of this frame, and its length: the frame itself; the whole datagram, when this was its last
 * missing piece (valid until the next call); or NULL. */
const uint8_t *net_defrag(struct net_defrag *d, const uint8_t *frame, uint32_t *len, int64_t now_ms);

#endif
