/* The two processes of the user network, and what is between them. Private to devices/net. */
#ifndef PIPIT_DEVICES_NET_NET_USER_H
#define PIPIT_DEVICES_NET_NET_USER_H

#include "devices/net/net.h"
#include "devices/net/ring.h"

#define NET_USER_CHILD_FD 3 /* where the child has its socket to the parent */

/* Shared memory of the two. */
struct net_user_mem {
    struct net_ring_mem to_guest;
    struct net_ring_mem from_guest;
};

/* The first thing that the child says on the socket, once: whether it is ready. All later bytes on the socket, in both
 * directions, are wake-ups and mean nothing by themselves. */
struct net_user_status {
    int32_t code; /* positive errno, 0 when the child is ready */
    char msg[512];
};

/* The child's life. `sock` is the stream socket to the parent; every other descriptor above 2 is closed. */
_Noreturn void net_user_child(const struct net_user_config *cfg, struct net_user_mem *mem, int sock, int parent_pid);

#endif
