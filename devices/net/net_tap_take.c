/*
 * Where a tap comes from: made or opened by name (/dev/net/tun, Linux's Documentation/networking/tuntap.rst), made and
 * joined to a bridge, made and joined by a set-user-id helper for users without the right to, or opened by whoever
 * started us.
 *
 * The helper is QEMU's: qemu-bridge-helper --use-vnet --br=BRIDGE --fd=SOCKET, which looks into /etc/qemu/bridge.conf
 * whether its caller may join that bridge, and hands the tap's descriptor over the socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/net/net_child.h"
#include "devices/net/net_tap.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define TAP_HELPER_MS 20000
#define TAP_ETHERNET_MTU 1500

int net_tap_set_offloads(int fd, unsigned offloads)
{
    unsigned long f = 0;

    if (offloads & NET_OFFLOAD_CSUM)
        f |= TUN_F_CSUM;
    if (offloads & NET_OFFLOAD_TSO4)
        f |= TUN_F_TSO4;
    if (offloads & NET_OFFLOAD_TSO6)
        f |= TUN_F_TSO6;
    if (offloads & NET_OFFLOAD_ECN)
        f |= TUN_F_TSO_ECN;
    return ioctl(fd, TUNSETOFFLOAD, f) < 0 ? -errno : 0;
}

/* ---- an interface by name ---- */

static int tun_open(struct err *e)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return err_set(e, errno, "there is no /dev/net/tun: the host's kernel lacks the tun module (modprobe tun)");
    return err_set(e, errno, "/dev/net/tun cannot be opened: %s", strerror(errno));
}

/* Attaches fd to the interface; *name may be a pattern, and becomes the name. -errno. */
static int tun_attach(int fd, char name[IFNAMSIZ], bool multi)
{
    struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0))};

    memcpy(ifr.ifr_name, name, IFNAMSIZ);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0)
        return -errno;
    memcpy(name, ifr.ifr_name, IFNAMSIZ);
    return 0;
}

/* Why an interface called `name` was not to be had. */
static int tap_refused(int code, const char *name, bool there, unsigned queues, struct err *e)
{
    if (code == EPERM && !there)
        return err_set(e, code,
                       "there is no interface %s, and making one takes the right to (CAP_NET_ADMIN): as root, ip "
                       "tuntap add dev %s mode tap user NAME makes it for a user",
                       name, name);
    if (code == EPERM)
        return err_set(e, code, "interface %s is another user's, and taking it needs CAP_NET_ADMIN", name);
    if (code == EBUSY)
        return err_set(e, code, "interface %s is in use by another program", name);
    if (code == EINVAL && there && queues > 1)
        return err_set(e, code,
                       "interface %s is not a tap, or not one with several queues (ip tuntap add dev %s mode tap "
                       "multi_queue)",
                       name, name);
    if (code == EINVAL && there)
        return err_set(e, code, "interface %s is not a tap", name);
    if (code == E2BIG)
        return err_set(e, code, "interface %s has no more queues to give", name);
    return err_set(e, code, "interface %s cannot be made: %s", name, strerror(code));
}

/* Opens `queues` descriptors for the interface called o->name, or one named after that pattern. *code: errno of the
 * kernel's refusal, for which no sentence is set; -1 is returned then. */
static int tap_open_queues(struct net_tap_opened *o, unsigned queues, int *code, struct err *e)
{
    *code = 0;
    for (unsigned i = 0; i < queues; i++) {
        int fd = tun_open(e), r;

        if (fd < 0) {
            *code = e->code == EACCES || e->code == EPERM ? e->code : 0;
            return fd;
        }
        o->fd[o->nfds++] = fd;
        r = tun_attach(fd, o->name, queues > 1);
        /* One that was made for several can be used with one. */
        if (r == -EINVAL && queues == 1)
            r = tun_attach(fd, o->name, true);
        if (r < 0) {
            *code = -r;
            return -1;
        }
    }
    return 0;
}

static void tap_close(struct net_tap_opened *o)
{
    for (unsigned i = 0; i < o->nfds; i++)
        close(o->fd[i]);
    o->nfds = 0;
}

/* A socket to say things about interfaces to. */
static int link_socket(struct err *e)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? err_set(e, errno, "no socket: %s", strerror(errno)) : fd;
}

static int link_get(int sock, unsigned long what, const char *name, struct ifreq *ifr)
{
    memset(ifr, 0, sizeof(*ifr));
    snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
    return ioctl(sock, what, ifr) < 0 ? -errno : 0;
}

/* -errno. */
static int link_up(int sock, const char *name)
{
    struct ifreq ifr;
    int r = link_get(sock, SIOCGIFFLAGS, name, &ifr);

    if (r < 0 || ifr.ifr_flags & IFF_UP)
        return r;
    ifr.ifr_flags |= IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

static int tap_by_name(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e)
{
    unsigned queues = MAX(cfg->queues, 1u);
    bool there = cfg->ifname && if_nametoindex(cfg->ifname);
    int sock, code, r;
    struct ifreq ifr;

    if (cfg->ifname && (!*cfg->ifname || strlen(cfg->ifname) >= IFNAMSIZ || strpbrk(cfg->ifname, "/% \t:")))
        return err_set(e, EINVAL, "\"%s\" cannot be an interface's name", cfg->ifname);
    snprintf(o->name, sizeof(o->name), "%s", cfg->ifname ? cfg->ifname : "tap%d");
    r = tap_open_queues(o, queues, &code, e);
    if (r < 0 && code && cfg->ifname)
        return tap_refused(code, cfg->ifname, there, queues, e);
    if (r < 0 && code)
        return err_set(e, code, "a new interface takes the right to make one (CAP_NET_ADMIN): %s", strerror(code));
    if (r < 0)
        return r;
    sock = link_socket(e);
    if (sock < 0)
        return sock;
    if (!there) {
        r = link_up(sock, o->name);
        if (r < 0)
            err_set(e, -r, "interface %s was made, but cannot be brought up: %s", o->name, strerror(-r));
        else
            log_info("net", "interface %s was made, and is there while the machine runs", o->name);
    } else if (link_get(sock, SIOCGIFFLAGS, o->name, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP)) {
        log_warn("net", "interface %s is down; to let frames through: ip link set %s up", o->name, o->name);
    }
    close(sock);
    return r;
}

/* ---- a new interface on a bridge ---- */

/* Joins the interface o->name to the bridge, and brings it up. */
static int bridge_join(int sock, const struct net_tap_opened *o, const char *bridge, struct err *e)
{
    struct ifreq ifr, mtu;
    int r;

    /* A bridge without an address of its own takes the lowest of its members': not one that comes and goes. */
    if (link_get(sock, SIOCGIFHWADDR, o->name, &ifr) == 0) {
        ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
        ioctl(sock, SIOCSIFHWADDR, &ifr);
    }
    /* It also has the smallest MTU of its members'. */
    if (link_get(sock, SIOCGIFMTU, bridge, &mtu) == 0 && mtu.ifr_mtu != TAP_ETHERNET_MTU) {
        snprintf(mtu.ifr_name, sizeof(mtu.ifr_name), "%s", o->name);
        if (ioctl(sock, SIOCSIFMTU, &mtu) < 0)
            log_warn("net", "interface %s does not take the MTU of bridge %s: %s", o->name, bridge, strerror(errno));
    }
    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", bridge);
    ifr.ifr_ifindex = (int)if_nametoindex(o->name);
    if (ioctl(sock, SIOCBRADDIF, &ifr) < 0) {
        if (errno == EOPNOTSUPP || errno == EINVAL)
            return err_set(e, errno, "interface %s is not a bridge", bridge);
        return err_set(e, errno, "bridge %s takes no interface: %s", bridge, strerror(errno));
    }
    r = link_up(sock, o->name);
    return r < 0 ? err_set(e, -r, "interface %s cannot be brought up: %s", o->name, strerror(-r)) : 0;
}

/* 1 where that takes a right that we do not have. */
static int bridge_directly(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e)
{
    int sock, code, r;

    snprintf(o->name, sizeof(o->name), "tap%%d");
    r = tap_open_queues(o, MAX(cfg->queues, 1u), &code, e);
    if (r < 0 && (code == EPERM || code == EACCES)) {
        tap_close(o);
        return 1;
    }
    if (r < 0)
        return code ? tap_refused(code, o->name, false, cfg->queues, e) : r;
    sock = link_socket(e);
    if (sock < 0)
        return sock;
    r = bridge_join(sock, o, cfg->bridge, e);
    close(sock);
    return r;
}

/* QEMU's helper where distributions put it, or NULL. */
static const char *bridge_helper(void)
{
    static const char *const where[] = {"/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"};

    for (unsigned i = 0; i < ARRAY_SIZE(where); i++)
        if (access(where[i], X_OK) == 0)
            return where[i];
    return NULL;
}

/* The descriptor that the helper sends with one byte; -1 where it sent none. */
static int receive_fd(int sock)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t r;
    int fd;

    do
        r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (r < 0 && errno == EINTR);
    struct cmsghdr *c = r > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
        return -1;
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

static int bridge_by_helper(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e)
{
    const char *helper = cfg->helper ? cfg->helper : bridge_helper();
    char bridge[IFNAMSIZ + 8], fd[24], said[256];
    char *argv[] = {(char *)helper, "--use-vnet", bridge, fd, NULL};
    int sock, status;

    if (!helper)
        return err_set(
            e, EPERM,
            "bridge %s: joining it takes CAP_NET_ADMIN or QEMU's helper, and qemu-bridge-helper is not there "
            "(Debian's package qemu-system-common)",
            cfg->bridge);
    if (cfg->queues > 1)
        return err_set(e, EPERM, "bridge %s: %s gives one queue; several take CAP_NET_ADMIN", cfg->bridge, helper);
    snprintf(bridge, sizeof(bridge), "--br=%s", cfg->bridge);
    snprintf(fd, sizeof(fd), "--fd=%d", NET_CHILD_FD);
    status = net_child_run(argv, &sock, said, sizeof(said), TAP_HELPER_MS, e);
    if (status < 0)
        return status;
    int tap = receive_fd(sock);
    close(sock);
    if (status != 0 || tap < 0) {
        struct stat st;
        bool set_uid = stat(helper, &st) == 0 && st.st_mode & S_ISUID;

        if (tap >= 0)
            close(tap);
        return err_set(e, EPERM, "bridge %s: %s failed%s%s%s", cfg->bridge, helper, *said ? ": " : "", said,
                       set_uid || geteuid() == 0 ? "" : " (it is not set-user-id root)");
    }
    o->fd[o->nfds++] = tap;
    return 0;
}

static int tap_on_bridge(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e)
{
    int r = 1;

    if (!*cfg->bridge || strlen(cfg->bridge) >= IFNAMSIZ || !if_nametoindex(cfg->bridge))
        return err_set(e, ENODEV, "there is no bridge %s", cfg->bridge);
    if (!cfg->helper)
        r = bridge_directly(o, cfg, e);
    return r > 0 ? bridge_by_helper(o, cfg, e) : r;
}

/* ---- descriptors from elsewhere ---- */

static int tap_by_fds(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e)
{
    for (unsigned i = 0; i < cfg->nfds; i++) {
        int fd = cfg->fd[i];

        if (fcntl(fd, F_GETFD) < 0)
            return err_set(e, EBADF, "descriptor %d is not open", fd);
        for (unsigned j = 0; j < i; j++)
            if (fd == cfg->fd[j])
                return err_set(e, EINVAL, "descriptor %d is given to two queues", fd);
        o->fd[o->nfds++] = fd;
    }
    return 0;
}

/* ---- what all have in common ---- */

/* Looks at a descriptor, and makes it fit. */
static int tap_prepare(struct net_tap_opened *o, unsigned i, struct err *e)
{
    struct ifreq ifr = {0};
    int fd = o->fd[i], size = NET_HDR_LEN, flags;

    if (ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP))
        return err_set(e, EINVAL, "descriptor %d is not a tap", fd);
    if (!(ifr.ifr_flags & IFF_NO_PI))
        return err_set(e, EINVAL, "descriptor %d is a tap with packet information (open it with IFF_NO_PI)", fd);
    bool headers = ifr.ifr_flags & IFF_VNET_HDR;
    if (i && (strncmp(o->name, ifr.ifr_name, IFNAMSIZ) != 0 || headers != o->headers))
        return err_set(e, EINVAL, "descriptors %d and %d are of different interfaces", o->fd[0], fd);
    memcpy(o->name, ifr.ifr_name, IFNAMSIZ);
    o->headers = headers;
    if (headers && ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
        return err_set(e, errno, "interface %s does not take headers of %d bytes: %s", o->name, size, strerror(errno));
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(e, errno, "descriptor %d: %s", fd, strerror(errno));
    return 0;
}

/* Which offloads the kernel has, and the interface's MTU. */
static void tap_look(struct net_tap_opened *o, bool no_offload)
{
    struct ifreq ifr;
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (o->headers && !no_offload && net_tap_set_offloads(o->fd[0], NET_OFFLOAD_ALL) == 0)
        o->offloads = NET_OFFLOAD_ALL;
    if (o->headers)
        net_tap_set_offloads(o->fd[0], 0); /* until a driver accepts them */
    if (sock >= 0 && link_get(sock, SIOCGIFMTU, o->name, &ifr) == 0 && ifr.ifr_mtu != TAP_ETHERNET_MTU &&
        ifr.ifr_mtu >= 68 && ifr.ifr_mtu <= UINT16_MAX)
        o->mtu = (uint16_t)ifr.ifr_mtu;
    if (sock >= 0)
        close(sock);
}

int net_tap_take(struct net_tap_opened *o, const struct net_tap_config *cfg, struct err *e)
{
    int r;

    if (cfg->nfds)
        r = tap_by_fds(o, cfg, e);
    else if (cfg->bridge)
        r = tap_on_bridge(o, cfg, e);
    else
        r = tap_by_name(o, cfg, e);
    for (unsigned i = 0; r >= 0 && i < o->nfds; i++)
        r = tap_prepare(o, i, e);
    if (r < 0) {
        tap_close(o);
        return r;
    }
    tap_look(o, cfg->no_offload);
    return 0;
}
