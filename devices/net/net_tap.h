/* A tap's two halves: net_tap.c moves frames, net_tap_take.c makes, finds or is given the interface. */
#ifndef PIPIT_DEVICES_NET_NET_TAP_H
#define PIPIT_DEVICES_NET_NET_TAP_H

#include <net/if.h>

#include "devices/net/net.h"

struct net_tap_opened {
    char name[IFNAMSIZ];
    int fd[NET_MAX_QUEUES]; /* not blocking; one a queue, all attached */
    unsigned nfds;
    bool headers;      /* frames begin with a struct net_hdr */
    unsigned offloads; /* for the device to offer */
    uint16_t mtu;      /* where it is not Ethernet's usual one, else 0 */
};

/* The interface that `cfg` asks for. What was made ends when its descriptors are closed. */
int net_tap_take(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e);
/* What the kernel may leave undone in frames that it gives. -errno, and errno is set. */
int net_tap_set_offloads(int fd, unsigned offloads);

#endif
