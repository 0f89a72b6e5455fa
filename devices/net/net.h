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

/* One published port. Addresses are text, empty for the default (host: 127.0.0.1; guest: the DHCP address). Both are of
 * one family: a port on an IPv6 address of the host leads to an IPv6 address of the guest, which must be given. */
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
    bool restricted;      /* no traffic beyond DHCP and hostfwd; the gateway answers ARP and ping */
    bool ipv6;            /* on by default in both command lines */
    const char *hostname; /* DHCP host name for the guest, or NULL */
    /* Name server that DHCP gives to the guest. NULL, or an address in 10.0.2.0/24: a virtual one, which forwards to
     * the first server in the host's resolv.conf. Otherwise the guest asks that server itself. */
    const char *dns;
    /* Called in the child when its sockets are bound, to install its seccomp filter (sandbox_enter(SANDBOX_NET)). Must
     * not be NULL: libslirp never runs unconfined. */
    int (*confine)(struct err *e);
};

/*
 * The user network: libslirp in a process of its own, frames over shared rings. Must be called before any thread is
 * started (it forks). The child has no more than its rings, its sockets, read access to resolv.conf and a seccomp
 * filter, and dies with its parent. Ports are bound before this returns: a port in use is an error that names it.
 * Without libslirp: -ENOTSUP.
 *
 * When the child ends, the back end says so once, and takes and gives no more frames; the machine goes on.
 */
int net_user_prepare(struct net_backend **out, const struct net_user_config *cfg, struct err *e);
/* Attaches a prepared back end to the loop. */
int net_user_start(struct net_backend *n, struct loop *l, struct err *e);

#endif
