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

#define NET_GUESTFWD_MAX 16       /* of one network */
#define NET_GUESTFWD_PATH_MAX 107 /* sun_path and its end */
#define NET_FRAME_MAX 65550       /* 64 KiB IP packet + Ethernet header: offloads may hand over that much */

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

/* Published ports, `count` of them in a row on both sides. Addresses are text, empty for the default (host: 127.0.0.1;
 * guest: the DHCP address, or of IPv6 the one that it makes of its prefix and MAC). Both are of one family. */
struct net_hostfwd {
    bool udp;
    char host_addr[46];
    uint16_t host_port;
    char guest_addr[46];
    uint16_t guest_port;
    uint16_t count; /* 0 means 1 */
};

enum net_guestfwd_kind { NET_GUESTFWD_CMD, NET_GUESTFWD_UNIX, NET_GUESTFWD_TCP };

/* An address and TCP port of the guest's network that leads to something on the host: each connection starts a command
 * with itself as standard input and output, or is joined to one to a socket. */
struct net_guestfwd {
    char addr[16]; /* empty: net | 0.0.0.4 */
    uint16_t port;
    enum net_guestfwd_kind kind;
    const char *target; /* for the shell, a path, or a host's name or address */
    uint16_t target_port;
};

/* The guest's network as the user wrote it. NULL: the default, which for all but the first of a family follows from
 * what was given for that: 10.0.2.0/24 with .2, .3 and .15; fec0::/64 with ::2 and ::3. */
struct net_user_addrs {
    const char *net;       /* "ADDRESS[/LENGTH]" or "ADDRESS/MASK"; without either, by the address's class */
    const char *host;      /* the gateway, which is the host */
    const char *dhcpstart; /* the guest's address */
    /* Name server that DHCP gives to the guest. NULL, or an address in the network: a virtual one, which forwards to
     * the first server in the host's resolv.conf. Otherwise the guest asks that server itself. IPv6 is taken as dns6.
     */
    const char *dns;
    const char *net6, *host6, *dns6;
};

struct net_user_config {
    const struct net_hostfwd *fwd;
    unsigned nfwd;
    const struct net_guestfwd *guestfwd;
    unsigned nguestfwd;
    bool restricted;      /* no traffic beyond DHCP, hostfwd and guestfwd; the gateway answers ARP and ping */
    bool no_ipv4;         /* IPv6 alone */
    bool ipv6;            /* on by default in both command lines */
    const char *hostname; /* DHCP host name for the guest, or NULL */
    struct net_user_addrs addrs;
    const char *domainname;       /* that DHCP tells the guest, or NULL */
    const char *const *dnssearch; /* domains, NULL at the end; or NULL */
    uint8_t mac[6];               /* the guest's */
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
