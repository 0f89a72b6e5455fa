/*
 * Network back ends: where virtio-net's frames go. Frames are whole Ethernet frames without a virtio header.
 *
 * All calls and callbacks are on the loop thread.
 */
#ifndef PIPIT_DEVICES_NET_NET_H
#define PIPIT_DEVICES_NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/err.h"
#include "vmm/core/loop.h"

#define NET_FRAME_MAX 65550 /* 64 KiB IP packet + Ethernet header: offloads may hand over that much */

struct net_backend;

struct net_frontend {
    /* One frame for the guest. False: no room now; the back end keeps the frame and waits for resume(). */
    bool (*receive)(void *opaque, const uint8_t *frame, size_t len);
    /* The back end can take frames again after a send that returned -EAGAIN. */
    void (*writable)(void *opaque);
    void *opaque;
};

struct net_backend_ops {
    const char *name;
    /* Takes one whole frame. 0, or -EAGAIN: nothing taken, writable() will be called. Other errors drop the frame. */
    int (*send)(struct net_backend *n, const struct iovec *iov, unsigned niov);
    void (*resume)(struct net_backend *n); /* the front end has receive buffers again */
    void (*destroy)(struct net_backend *n);
};

struct net_backend {
    const struct net_backend_ops *ops;
    struct net_frontend frontend;
};

/* One published port. Addresses are text, empty for the default (host: 127.0.0.1; guest: the DHCP address). */
struct net_hostfwd {
    bool udp;
    char host_addr[46];
    uint16_t host_port;
    char guest_addr[46];
    uint16_t guest_port;
};

struct net_user_config {
    const struct net_hostfwd *fwd;
    unsigned nfwd;
    bool restricted;      /* no traffic beyond DHCP, DNS and hostfwd */
    bool ipv6;            /* on by default in both command lines */
    const char *hostname; /* DHCP host name for the guest, or NULL */
    const char *dns;      /* name server to forward to; NULL: the host's resolv.conf */
};

/*
 * The user network: libslirp in a process of its own, frames over shared rings. Must be called before any thread is
 * started (it forks). The child has no more than its rings, its sockets and a seccomp filter, and dies with its
 * parent. Ports are bound before this returns: a port in use is an error that names it.
 */
int net_user_prepare(struct net_backend **out, const struct net_user_config *cfg, struct err *e);
/* Attaches a prepared back end to the loop. */
int net_user_start(struct net_backend *n, struct loop *l, struct err *e);

#endif
