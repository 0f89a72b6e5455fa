/*
 * What addresses of the guest's network lead to on the host: a process beside the user network's own, which has the
 * user's rights and starts commands or connects to sockets. Private to devices/net.
 */
#ifndef PIPIT_DEVICES_NET_GUESTFWD_H
#define PIPIT_DEVICES_NET_GUESTFWD_H

#include "devices/net/net.h"

#define GUESTFWD_DIR_MAX 64

struct guestfwd {
    char dir[GUESTFWD_DIR_MAX]; /* a socket "0", "1", ... for each, and a copy of resolv.conf as etc/resolv.conf */
    int life;                   /* the relay ends, and takes the folder with it, when this is closed */
};

/* Forks the relay, which takes connections from the calling process alone. Single-threaded callers only. */
int guestfwd_start(struct guestfwd *g, const struct net_user_config *cfg, struct err *e);

#endif
