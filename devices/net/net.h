/*
 * Network back ends: where virtio-net's frames go. Frames are whole Ethernet frames.
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

/*
 * What goes before a frame where offloads are agreed on: virtio_net_hdr of virtio 1.2, 5.1.6, which Linux's tap takes
 * and gives as it is. Little-endian, as both hosts are.
 */
struct net_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
    uint16_t num_buffers; /* between device and driver only */
};
#define NET_HDR_LEN 12
_Static_assert(sizeof(struct net_hdr) == NET_HDR_LEN, "the header has no holes");

#define NET_HDR_F_NEEDS_CSUM 0x01 /* the checksum at csum_start + csum_offset is still to be made */
#define NET_HDR_F_DATA_VALID 0x02 /* of a received frame: its checksums need no look */
#define NET_HDR_GSO_NONE 0
#define NET_HDR_GSO_TCPV4 1 /* more than one segment: TCP over IPv4, over IPv6 */
#define NET_HDR_GSO_TCPV6 4
#define NET_HDR_GSO_ECN 0x80 /* beside one of these */

/* Work on frames that one side may leave to the other. TSO4 and TSO6 need CSUM; ECN is TSO of segments with CWR. */
#define NET_OFFLOAD_CSUM 0x1
#define NET_OFFLOAD_TSO4 0x2
#define NET_OFFLOAD_TSO6 0x4
#define NET_OFFLOAD_ECN 0x8
#define NET_OFFLOAD_ALL 0xf

#define NET_MAX_QUEUES 8 /* pairs of queues of one network */

struct net_backend;

/* The device. Queues are counted from 0; a back end with one knows no other than 0. */
struct net_frontend {
    /* One frame for the guest, with nothing left to be done to it, on queue 0. False: no room now; the back end keeps
     * the frame and waits for resume(). */
    bool (*receive)(void *opaque, const uint8_t *frame, size_t len);
    /*
     * The same without a copy, for back ends that read frames with their headers. room() gives iovecs that together
     * take any header and frame, valid until filled(), which must follow and says how much came: 0 is nothing. NULL:
     * no room now, resume() will be called.
     */
    const struct iovec *(*room)(void *opaque, unsigned queue, unsigned *niov);
    void (*filled)(void *opaque, unsigned queue, size_t len);
    /* The back end can take frames again after a send that returned -EAGAIN. */
    void (*writable)(void *opaque, unsigned queue);
    /* There will be no more frames: the cable is out, for good. */
    void (*link_down)(void *opaque);
    void *opaque;
};

struct net_backend_ops {
    const char *name;
    /* Attaches a prepared back end to the loop. */
    int (*start)(struct net_backend *n, struct loop *l, struct err *e);
    /* Takes one whole frame. `hdr` asks for offloads that the back end has said to have, and is consistent with the
     * frame's length. 0, or -EAGAIN: nothing taken, writable() will be called. Other errors drop the frame. */
    int (*send)(struct net_backend *n, unsigned queue, const struct net_hdr *hdr, const struct iovec *iov,
                unsigned niov);
    void (*resume)(struct net_backend *n, unsigned queue); /* the front end has receive buffers again */
    /* What the guest takes from now on, and on how many queues. NULL: neither changes anything. */
    void (*setup)(struct net_backend *n, unsigned offloads, unsigned queues);
    void (*destroy)(struct net_backend *n);
};

struct net_backend {
    const struct net_backend_ops *ops;
    struct net_frontend frontend;
    unsigned takes; /* NET_OFFLOAD_... that send() does for the guest */
    unsigned
        gives; /* and those that it may leave to the guest; with CSUM the frames of receive() are known to be right */
    unsigned queues; /* at most; 0 counts as 1 */
    uint16_t mtu;    /* of the network behind it where the guest should know; or 0 */
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

/* One of: the name of an interface, a bridge, descriptors; or nothing, for an interface that the kernel names. */
struct net_tap_config {
    const char *ifname; /* a tap that is there, or is made where we may */
    const char *bridge; /* to join with a new tap, which the helper makes where we may not */
    const char *helper; /* program to ask first; NULL: QEMU's, where it is needed */
    const int *fd;      /* taps that somebody else has opened: ours from here, one a queue */
    unsigned nfds;
    unsigned queues; /* 0 is 1; of descriptors nfds counts */
    bool no_offload; /* all frames whole */
};

/* A tap interface of the host. Before any thread is started: it may start the helper. The sentence of an error says
 * what to do about missing rights. */
int net_tap_open(struct net_backend **out, const struct net_tap_config *cfg, struct err *e);

/*
 * Frames on a stream socket, each behind its length (passt's and QEMU's way): to whoever listens at `path`, called
 * `what` in messages where that is known, else NULL; or to the other end of fd, which is ours from here.
 */
int net_stream_join(struct net_backend **out, const char *path, const char *what, struct err *e);
int net_stream_take(struct net_backend **out, int fd, struct err *e);
/* The same to a passt of our own, which leads the ports to the guest and ends with us. Before any thread is started. */
int net_passt_start(struct net_backend **out, const struct net_hostfwd *fwd, unsigned nfwd, struct err *e);

#endif
