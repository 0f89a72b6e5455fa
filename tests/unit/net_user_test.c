/*
 * The user network, driven as the guest would: a hand-made Ethernet client on the back end asks for an address, pings
 * the gateway, and talks UDP both ways through it, all on the loopback interface. Then what goes wrong: a port in use,
 * bad addresses, a front end without room, a full ring, a child that is killed.
 */
#include "devices/net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/service/sandbox.h"

#define GUEST_IP 0x0a00020f
#define GATEWAY_IP 0x0a000202
#define WAIT_NS UINT64_C(10000000000)

static const uint8_t guest_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

/* The guest. */
static struct {
    struct net_backend *net;
    struct loop *loop;
    struct loop_timer *timeout;
    bool (*want)(const uint8_t *f, size_t len); /* ends the wait */
    bool timed_out;
    bool no_room;  /* refuse frames */
    bool writable; /* was told so */
    uint8_t gateway_mac[6];
    uint8_t frame[2048]; /* the wanted one */
    size_t len;
    unsigned received;
    uint32_t lease; /* what DHCP is to give, or 0 for the default */
    uint32_t last;  /* the first payload word of the latest UDP frame */
} g;

static int confine(struct err *e)
{
    return sandbox_enter(SANDBOX_NET, e);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool on_receive(void *opaque, const uint8_t *frame, size_t len)
{
    (void)opaque;
    if (g.no_room)
        return false;
    g.received++;
    if (len >= 46 && frame[23] == 17)
        g.last = le32_get(frame + 42);
    if (g.want && len <= sizeof(g.frame) && g.want(frame, len)) {
        memcpy(g.frame, frame, len);
        g.len = len;
        g.want = NULL;
        loop_stop(g.loop);
    }
    return true;
}

static void on_writable(void *opaque, unsigned queue)
{
    (void)queue;
    (void)opaque;
    g.writable = true;
    loop_stop(g.loop);
}

static void on_timeout(void *opaque)
{
    (void)opaque;
    g.timed_out = true;
    loop_stop(g.loop);
}

/* Runs the loop until something stops it; false after `ns`. */
static bool run_loop(uint64_t ns)
{
    g.timed_out = false;
    loop_timer_set(g.timeout, now_ns() + ns);
    loop_run(g.loop);
    loop_timer_cancel(g.timeout);
    return !g.timed_out;
}

static bool wait_frame(bool (*want)(const uint8_t *, size_t))
{
    g.want = want;
    return run_loop(WAIT_NS);
}

static bool start(const struct net_user_config *c)
{
    struct net_user_config cfg = *c;
    struct err e = {0};

    memset(&g, 0, sizeof(g));
    cfg.confine = confine;
    if (net_user_prepare(&g.net, &cfg, &e) || loop_create(&g.loop, &e) ||
        loop_timer_add(g.loop, &g.timeout, on_timeout, NULL)) {
        printf("  %s\n", e.msg);
        return false;
    }
    g.net->frontend = (struct net_frontend){.receive = on_receive, .writable = on_writable};
    return net_user_start(g.net, g.loop, &e) == 0;
}

static void stop(void)
{
    g.net->ops->destroy(g.net);
    loop_timer_remove(g.timeout);
    loop_destroy(g.loop);
}

/* --- frames ----------------------------------------------------------------------------------------------------------
 */

static void be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void be32(uint8_t *p, uint32_t v)
{
    be16(p, v >> 16);
    be16(p + 2, v & 0xffff);
}

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) << 16 | get16(p + 2);
}

static uint32_t checksum(const uint8_t *p, size_t len)
{
    uint32_t s = 0;

    for (size_t i = 0; i < len; i++)
        s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return ~s & 0xffff;
}

static int send_frame(uint8_t *f, size_t len)
{
    const struct net_hdr hdr = {0};
    struct iovec iov[2] = {{f, 14}, {f + 14, len - 14}};
    return g.net->ops->send(g.net, 0, &hdr, iov, 2);
}

/* Ethernet and IPv4 headers around `len` bytes at f + 34; the frame's length. */
static size_t wrap_ip(uint8_t *f, const uint8_t *mac, uint32_t src, uint32_t dst, uint8_t proto, size_t len)
{
    memcpy(f, mac, 6);
    memcpy(f + 6, guest_mac, 6);
    be16(f + 12, 0x0800);
    memset(f + 14, 0, 20);
    f[14] = 0x45;
    be16(f + 16, (uint32_t)len + 20);
    f[22] = 64;
    f[23] = proto;
    be32(f + 26, src);
    be32(f + 30, dst);
    be16(f + 24, checksum(f + 14, 20));
    return len + 34;
}

static int send_udp(uint32_t dst, uint16_t sport, uint16_t dport, const void *data, size_t len)
{
    uint8_t f[1514];

    be16(f + 34, sport);
    be16(f + 36, dport);
    be16(f + 38, (uint32_t)len + 8);
    be16(f + 40, 0); /* no checksum */
    memcpy(f + 42, data, len);
    return send_frame(f, wrap_ip(f, g.gateway_mac, GUEST_IP, dst, 17, len + 8));
}

static bool is_ip(const uint8_t *f, size_t len, uint8_t proto)
{
    return len >= 42 && get16(f + 12) == 0x0800 && f[14] == 0x45 && f[23] == proto;
}

static bool is_dhcp(const uint8_t *f, size_t len)
{
    return is_ip(f, len, 17) && len >= 42 + 240 && get16(f + 36) == 68 && get32(f + 46) == 0x12345678;
}

static bool is_arp_reply(const uint8_t *f, size_t len)
{
    return len >= 42 && get16(f + 12) == 0x0806 && get16(f + 20) == 2;
}

static bool is_echo_reply(const uint8_t *f, size_t len)
{
    return is_ip(f, len, 1) && f[34] == 0;
}

static bool is_udp(const uint8_t *f, size_t len)
{
    return is_ip(f, len, 17);
}

static bool is_syn(const uint8_t *f, size_t len)
{
    return is_ip(f, len, 6) && len >= 54 && f[47] == 0x02;
}

/* The value of a DHCP option in g.frame, or NULL. */
static const uint8_t *dhcp_option(uint8_t code, uint8_t *len)
{
    size_t at = 42 + 240;

    while (at + 2 <= g.len && g.frame[at] != 255) {
        uint8_t n = g.frame[at + 1];
        if (g.frame[at] == 0) {
            at++;
            continue;
        }
        if (at + 2 + n > g.len)
            break;
        if (g.frame[at] == code) {
            *len = n;
            return g.frame + at + 2;
        }
        at += 2u + n;
    }
    return NULL;
}

static bool dhcp_exchange(uint8_t type, uint8_t answer)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t f[400] = {0}, *b = f + 42, *o = b + 240, n;
    const uint8_t *v;

    be16(f + 34, 68);
    be16(f + 36, 67);
    be16(f + 38, 8 + 300);
    b[0] = b[1] = 1;
    b[2] = 6;
    be32(b + 4, 0x12345678);
    memcpy(b + 28, guest_mac, 6);
    be32(b + 236, 0x63825363);
    o[0] = 53;
    o[1] = 1;
    o[2] = type;
    o[3] = 50;
    o[4] = 4;
    be32(o + 5, GUEST_IP);
    o[9] = 255;
    if (send_frame(f, wrap_ip(f, all, 0, 0xffffffff, 17, 8 + 300)) || !wait_frame(is_dhcp))
        return false;
    v = dhcp_option(53, &n);
    return v && n == 1 && v[0] == answer && get32(g.frame + 58) == (g.lease ? g.lease : GUEST_IP);
}

/* Gets the address, and the gateway's hardware address. */
static bool configure(void)
{
    uint8_t f[60] = {0};

    if (!dhcp_exchange(1, 2) || !dhcp_exchange(3, 5))
        return false;
    memset(f, 0xff, 6);
    memcpy(f + 6, guest_mac, 6);
    be16(f + 12, 0x0806);
    be16(f + 14, 1);
    be16(f + 16, 0x0800);
    f[18] = 6;
    f[19] = 4;
    be16(f + 20, 1);
    memcpy(f + 22, guest_mac, 6);
    be32(f + 28, GUEST_IP);
    be32(f + 38, GATEWAY_IP);
    if (send_frame(f, sizeof(f)) || !wait_frame(is_arp_reply) || get32(g.frame + 28) != GATEWAY_IP)
        return false;
    memcpy(g.gateway_mac, g.frame + 22, 6);
    return true;
}

/* --- sockets of the host
 * ---------------------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* A socket on the loopback interface, and its port. */
static int open_socket(int type, uint16_t *port)
{
    struct sockaddr_in a = loopback(0);
    struct timeval tv = {.tv_sec = 10};
    socklen_t len = sizeof(a);
    int s = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) || getsockname(s, (struct sockaddr *)&a, &len))
        return -1;
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    *port = ntohs(a.sin_port);
    return s;
}

/* A port that nobody had a moment ago. */
static uint16_t free_port(int type)
{
    uint16_t port = 0;
    int s = open_socket(type, &port);

    close(s);
    return port;
}

static pid_t only_child(void)
{
    char path[64], text[64] = {0};
    int fd;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* --- tests
 * ------------------------------------------------------------------------------------------------------------ */

static void dhcp_gives_the_usual_network(void)
{
    const uint8_t *v;
    uint8_t n;

    CHECK(start(&(struct net_user_config){.ipv6 = true, .hostname = "guest-name"}));
    CHECK(dhcp_exchange(1, 2));
    v = dhcp_option(1, &n);
    CHECK(v && n == 4 && get32(v) == 0xffffff00);
    v = dhcp_option(3, &n);
    CHECK(v && n == 4 && get32(v) == GATEWAY_IP);
    v = dhcp_option(6, &n);
    CHECK(v && n == 4 && get32(v) == 0x0a000203);
    v = dhcp_option(12, &n);
    CHECK(v && n == 10 && memcmp(v, "guest-name", 10) == 0);
    CHECK(configure());
    stop();
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left behind */
}

static void name_server_is_handed_out(void)
{
    const uint8_t *v;
    uint8_t n;

    CHECK(start(&(struct net_user_config){.addrs.dns = "192.0.2.53"}));
    CHECK(dhcp_exchange(1, 2));
    v = dhcp_option(6, &n);
    CHECK(v && n == 4 && get32(v) == 0xc0000235);
    stop();
}

static void gateway_answers_ping(void)
{
    uint8_t f[98] = {0};

    CHECK(start(&(struct net_user_config){0}));
    CHECK(configure());
    f[34] = 8;
    be16(f + 38, 0x1234);
    be16(f + 40, 1);
    be16(f + 36, checksum(f + 34, 64));
    CHECK_EQ(send_frame(f, wrap_ip(f, g.gateway_mac, GUEST_IP, GATEWAY_IP, 1, 64)), 0);
    CHECK(wait_frame(is_echo_reply));
    CHECK_EQ(get16(g.frame + 38), 0x1234);
    CHECK_EQ(get32(g.frame + 26), GATEWAY_IP);
    stop();
}

static void udp_reaches_the_host_and_comes_back(void)
{
    uint16_t port;
    int s = open_socket(SOCK_DGRAM, &port);
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    char text[64] = {0};

    CHECK(s >= 0);
    CHECK(start(&(struct net_user_config){0}));
    CHECK(configure());
    CHECK_EQ(send_udp(GATEWAY_IP, 4000, port, "question", 8), 0);
    CHECK_EQ(recvfrom(s, text, sizeof(text), 0, (struct sockaddr *)&from, &len), 8);
    CHECK(memcmp(text, "question", 8) == 0);
    CHECK_EQ(sendto(s, "the answer", 10, 0, (struct sockaddr *)&from, len), 10);
    CHECK(wait_frame(is_udp));
    CHECK_EQ(get16(g.frame + 34), port);
    CHECK_EQ(get16(g.frame + 36), 4000);
    CHECK(memcmp(g.frame + 42, "the answer", 10) == 0);
    stop();
    close(s);
}

/* Sends a datagram whose checksum is the pseudo header's sum plus `wrong`, and leaves the rest to be made. */
static int send_unsummed(uint16_t port, size_t len, uint32_t wrong, bool asks)
{
    static uint8_t f[NET_FRAME_MAX];
    struct net_hdr hdr = {.flags = asks ? NET_HDR_F_NEEDS_CSUM : 0, .csum_start = 34, .csum_offset = 6};
    struct iovec iov[3];
    uint8_t pseudo[12] = {0};
    size_t total;

    for (size_t i = 0; i < len; i++)
        f[42 + i] = (uint8_t)(i * 31 + len);
    be16(f + 34, 3333);
    be16(f + 36, port);
    be16(f + 38, (uint32_t)len + 8);
    be32(pseudo, GUEST_IP);
    be32(pseudo + 4, GATEWAY_IP);
    pseudo[9] = 17;
    be16(pseudo + 10, (uint32_t)len + 8);
    be16(f + 40, (~checksum(pseudo, 12) + wrong) & 0xffff);
    total = wrap_ip(f, g.gateway_mac, GUEST_IP, GATEWAY_IP, 17, len + 8);
    /* In pieces that begin and end at odd places. */
    iov[0] = (struct iovec){f, 37};
    iov[1] = (struct iovec){f + 37, 4};
    iov[2] = (struct iovec){f + 41, total - 41};
    return g.net->ops->send(g.net, 0, &hdr, iov, 3);
}

static void checksums_are_made_for_the_guest(void)
{
    static const size_t lens[] = {1, 2, 3, 4, 5, 1472, 8191, 60001};
    static uint8_t buf[NET_FRAME_MAX];
    uint16_t port;
    int s = open_socket(SOCK_DGRAM, &port);

    CHECK(s >= 0);
    CHECK(start(&(struct net_user_config){.confine = confine}) && configure());
    CHECK(g.net->takes & NET_OFFLOAD_CSUM);
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        /* The first two are dropped: nobody asked for the sum to be made, or it was begun wrongly. */
        CHECK_EQ(send_unsummed(port, 77, 0, false), 0);
        CHECK_EQ(send_unsummed(port, 77, 5, true), 0);
        CHECK_EQ(send_unsummed(port, lens[i], 0, true), 0);
        CHECK_EQ(recv(s, buf, sizeof(buf), 0), (ssize_t)lens[i]);
        CHECK_EQ(buf[lens[i] - 1], (uint8_t)((lens[i] - 1) * 31 + lens[i]));
    }
    close(s);
    stop();
}

static void restricted_network_does_not_reach_the_host(void)
{
    uint16_t port;
    int s = open_socket(SOCK_DGRAM, &port);
    struct pollfd p = {.fd = s, .events = POLLIN};

    CHECK(start(&(struct net_user_config){.restricted = true}));
    CHECK(configure());
    CHECK_EQ(send_udp(GATEWAY_IP, 4000, port, "question", 8), 0);
    CHECK_EQ(poll(&p, 1, 300), 0);
    stop();
    close(s);
}

static void published_udp_port_leads_to_the_guest(void)
{
    struct net_hostfwd fwd = {.udp = true, .host_port = free_port(SOCK_DGRAM), .guest_port = 53};
    struct sockaddr_in to = loopback(fwd.host_port);
    uint16_t port;
    int s = open_socket(SOCK_DGRAM, &port);
    char text[64];

    CHECK(start(&(struct net_user_config){.fwd = &fwd, .nfwd = 1}));
    CHECK(configure());
    CHECK_EQ(sendto(s, "hello guest", 11, 0, (struct sockaddr *)&to, sizeof(to)), 11);
    CHECK(wait_frame(is_udp));
    CHECK_EQ(get16(g.frame + 36), 53);
    CHECK_EQ(get32(g.frame + 30), GUEST_IP);
    CHECK(memcmp(g.frame + 42, "hello guest", 11) == 0);
    CHECK_EQ(send_udp(get32(g.frame + 26), 53, (uint16_t)get16(g.frame + 34), "hello host", 10), 0);
    CHECK_EQ(recv(s, text, sizeof(text), 0), 10);
    CHECK(memcmp(text, "hello host", 10) == 0);
    stop();
    close(s);
}

static void published_tcp_port_leads_to_the_guest(void)
{
    struct net_hostfwd fwd = {.host_port = free_port(SOCK_STREAM), .guest_port = 22};
    struct sockaddr_in to = loopback(fwd.host_port);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(start(&(struct net_user_config){.fwd = &fwd, .nfwd = 1, .restricted = true}));
    CHECK(configure());
    CHECK_EQ(connect(s, (struct sockaddr *)&to, sizeof(to)), 0);
    CHECK(wait_frame(is_syn));
    CHECK_EQ(get16(g.frame + 36), 22);
    CHECK_EQ(get32(g.frame + 30), GUEST_IP);
    stop();
    close(s);
}

static int refused(const struct net_user_config *c, struct err *e)
{
    struct net_user_config cfg = *c;
    struct net_backend *n = NULL;

    cfg.confine = confine;
    *e = (struct err){0};
    return net_user_prepare(&n, &cfg, e);
}

static void bad_settings_are_named(void)
{
    uint16_t tcp, udp;
    int s = open_socket(SOCK_STREAM, &tcp), d = open_socket(SOCK_DGRAM, &udp);
    struct net_hostfwd f = {.host_port = tcp, .guest_port = 22};
    struct net_user_config cfg = {.fwd = &f, .nfwd = 1, .ipv6 = true};
    struct err e;
    char want[64];

    CHECK_EQ(listen(s, 1), 0);
    CHECK_EQ(refused(&cfg, &e), -EADDRINUSE);
    snprintf(want, sizeof(want), "TCP port %u on 127.0.0.1 is in use", tcp);
    CHECK(strcmp(e.msg, want) == 0);
    f = (struct net_hostfwd){.udp = true, .host_port = udp, .guest_port = 22};
    CHECK_EQ(refused(&cfg, &e), -EADDRINUSE);
    snprintf(want, sizeof(want), "UDP port %u on 127.0.0.1 is in use", udp);
    CHECK(strcmp(e.msg, want) == 0);
    f = (struct net_hostfwd){.host_addr = "192.0.2.1", .host_port = 1234, .guest_port = 22};
    CHECK_EQ(refused(&cfg, &e), -EADDRNOTAVAIL);
    CHECK(strstr(e.msg, "192.0.2.1"));
    f = (struct net_hostfwd){.host_addr = "nonsense", .host_port = 1234, .guest_port = 22};
    CHECK_EQ(refused(&cfg, &e), -EINVAL);
    CHECK(strstr(e.msg, "nonsense"));
    f = (struct net_hostfwd){.host_port = (uint16_t)(tcp - 2), .guest_port = 22, .count = 3};
    CHECK_EQ(refused(&cfg, &e), -EADDRINUSE); /* the third of a range; the first may be anybody's */
    CHECK(strstr(e.msg, "is in use"));
    f = (struct net_hostfwd){.host_addr = "::1", .host_port = 1234, .guest_port = 22};
    cfg.ipv6 = false;
    CHECK_EQ(refused(&cfg, &e), -EINVAL);
    CHECK(strcmp(e.msg, "port 1234 on ::1: IPv6 is off in the guest's network") == 0);
    f = (struct net_hostfwd){.host_port = 1234, .guest_addr = "::1", .guest_port = 22};
    CHECK_EQ(refused(&cfg, &e), -EINVAL);
    CHECK(strstr(e.msg, "\"::1\" is not an IPv4 address of the guest"));
    cfg = (struct net_user_config){.addrs.dns = "127.0.0.53"};
    CHECK_EQ(refused(&cfg, &e), -EINVAL);
    CHECK(strstr(e.msg, "127.0.0.53"));
    cfg = (struct net_user_config){.addrs.dns = "example.org"};
    CHECK_EQ(refused(&cfg, &e), -EINVAL);
    CHECK(strstr(e.msg, "example.org"));
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    close(s);
    close(d);
}

/* Settings of addresses, and what the sentence about them has in it. */
static void addresses_that_cannot_be(void)
{
    static const struct {
        struct net_user_addrs a;
        bool no_ipv4, no_ipv6;
        const char *why;
    } bad[] = {
        {{.net = "10.0.2.0/33"}, .why = "from 8 to 29 bits"},
        {{.net = "10.0.2.0/255.0.255.0"}, .why = "from 8 to 29 bits"},
        {{.net = "10.0.2/24"}, .why = "net=10.0.2/24"},
        {{.net = "127.0.0.0/8"}, .why = "not for a network"},
        {{.net = "224.0.0.0/24"}, .why = "not for a network"},
        {{.host = "10.0.3.2"}, .why = "host=10.0.3.2 is not in the guest's network"},
        {{.host = "10.0.2.0"}, .why = "the network's own address"},
        {{.host = "gateway"}, .why = "host=gateway is not an IPv4 address"},
        {{.dhcpstart = "10.0.2.255"}, .why = "broadcast"},
        {{.host = "10.0.2.15"}, .why = "are one address"},
        {{.host = "10.0.2.3"}, .why = "name it with dns="},
        {{.dns = "10.0.2.2"}, .why = "the gateway's or the guest's own"},
        {{.net = "192.168.5.0/28"}, .why = "dhcpstart= has no default"},
        {{.net6 = "fd00::/48"}, .why = "the prefix has 64 bits"},
        {{.net6 = "fe80::"}, .why = "not for a network"},
        {{.host6 = "fd00::1"}, .why = "ipv6-host=fd00::1 is not in the guest's network"},
        {{.host6 = "fec0::3"}, .why = "ipv6-host= and ipv6-dns= are one address"},
        {{.dns6 = "name"}, .why = "ipv6-dns=name"},
        {{.net = "10.0.2.0/24"}, .no_ipv4 = true, .why = "net= has no meaning: IPv4 is off"},
        {{.host6 = "fec0::9"}, .no_ipv6 = true, .why = "ipv6-host= has no meaning: IPv6 is off"},
        {{0}, .no_ipv4 = true, .no_ipv6 = true, .why = "without IPv4 and IPv6"},
    };
    struct err e;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct net_user_config cfg = {.addrs = bad[i].a, .no_ipv4 = bad[i].no_ipv4, .ipv6 = !bad[i].no_ipv6};

        CHECK_EQ(refused(&cfg, &e), -EINVAL);
        if (!strstr(e.msg, bad[i].why))
            printf("  %u: %s\n", i, e.msg);
        CHECK(strstr(e.msg, bad[i].why));
    }
}

/* The network's own address inside the guest's network, and one outside it: libslirp says no. */
static void guestfwd_in_bad_places(void)
{
    static const char *const addrs[] = {"10.0.2.2", "10.0.2.3", "10.0.3.100"};
    struct net_guestfwd f = {.port = 80, .kind = NET_GUESTFWD_CMD, .target = "true"};
    struct net_user_config cfg = {.guestfwd = &f, .nguestfwd = 1};
    struct err e;

    for (unsigned i = 0; i < ARRAY_SIZE(addrs); i++) {
        strcpy(f.addr, addrs[i]);
        CHECK_EQ(refused(&cfg, &e), -EINVAL);
        CHECK(strstr(e.msg, addrs[i]) && strstr(e.msg, "is not in the guest's network"));
    }
}

static void dhcp_gives_another_network(void)
{
    static const char *const search[] = {"a.test", "b.test", NULL};
    const uint8_t *v;
    uint8_t n;

    CHECK(start(&(struct net_user_config){.addrs.net = "192.168.76.0/255.255.255.0",
                                          .addrs.dhcpstart = "192.168.76.9",
                                          .domainname = "d.test",
                                          .dnssearch = search}));
    g.lease = 0xc0a84c09;
    CHECK(dhcp_exchange(1, 2));
    v = dhcp_option(3, &n);
    CHECK(v && n == 4 && get32(v) == 0xc0a84c02);
    v = dhcp_option(6, &n);
    CHECK(v && n == 4 && get32(v) == 0xc0a84c03);
    v = dhcp_option(15, &n);
    CHECK(v && n == 6 && memcmp(v, "d.test", 6) == 0);
    v = dhcp_option(119, &n); /* RFC 3397; "test" the second time is a pointer */
    CHECK(v && n > 8 && memcmp(v, "\1a\4test\0\1b", 10) == 0);
    stop();
}

static void no_filter_no_network(void)
{
    struct net_backend *n = NULL;
    struct net_user_config cfg = {0};
    struct err e = {0};

    CHECK_EQ(net_user_prepare(&n, &cfg, &e), -EINVAL);
}

/* A guest that does not take frames makes the child stop, and gets what is in the ring, in order, later. */
static void frames_wait_for_the_guest(void)
{
    struct net_hostfwd fwd = {.udp = true, .host_port = free_port(SOCK_DGRAM), .guest_port = 53};
    struct sockaddr_in to = loopback(fwd.host_port);
    uint16_t port;
    int s = open_socket(SOCK_DGRAM, &port);
    unsigned before;

    CHECK(start(&(struct net_user_config){.fwd = &fwd, .nfwd = 1}));
    CHECK(configure());
    g.no_room = true;
    for (uint32_t i = 0; i < 50; i++) {
        uint8_t data[1000] = {0};
        le32_put(data, i);
        CHECK_EQ(sendto(s, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)), sizeof(data));
    }
    before = g.received;
    CHECK(!run_loop(200000000));
    CHECK_EQ(g.received, before);
    g.no_room = false;
    g.want = is_udp;
    g.net->ops->resume(g.net, 0);
    CHECK(!g.want);
    CHECK_EQ(le32_get(g.frame + 42), 0);
    while (g.received < before + 50)
        CHECK(wait_frame(is_udp));
    CHECK_EQ(g.last, 49);
    stop();
    close(s);
}

/* More than the ring holds: send says so, writable() comes, and all frames arrive. The receiver reads in between, or
 * its own buffer would lose them. */
static void guest_waits_for_the_ring(void)
{
    uint16_t port;
    int s = open_socket(SOCK_DGRAM, &port), big = 4 << 20;
    uint8_t data[1400] = {0};
    unsigned blocked = 0;
    uint32_t seen = 0;

    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
    CHECK(start(&(struct net_user_config){0}));
    CHECK(configure());
    for (uint32_t i = 0; i < 20000 || !blocked; i++) {
        int r;
        CHECK(i < 2000000);
        be32(data, i);
        while ((r = send_udp(GATEWAY_IP, 4000, port, data, sizeof(data))) == -EAGAIN) {
            blocked++;
            g.writable = false;
            CHECK(run_loop(WAIT_NS));
            CHECK(g.writable);
        }
        CHECK_EQ(r, 0);
        while (recv(s, data, sizeof(data), MSG_DONTWAIT) > 0)
            seen++;
    }
    CHECK(seen > 0);
    stop();
    close(s);
}

/* Frames that are no frames: the child sorts them out. */
static void garbage_from_the_guest_is_survived(void)
{
    uint32_t x = 2463534242u;
    uint8_t f[1514];

    CHECK(start(&(struct net_user_config){.ipv6 = true}));
    CHECK(configure());
    for (unsigned i = 0; i < 20000; i++) {
        size_t len;
        for (unsigned k = 0; k < sizeof(f); k += 4) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            le32_put(f + MIN(k, (unsigned)sizeof(f) - 4), x);
        }
        len = 14 + x % 1500;
        memcpy(f, g.gateway_mac, 6);
        be16(f + 12, (uint32_t[]){0x0800, 0x0806, 0x86dd, x & 0xffff}[i & 3]);
        if ((i & 3) == 0) {
            f[14] = 0x45;
            f[23] = (uint8_t)(uint32_t[]){1, 6, 17, 2}[(i >> 2) & 3];
            be32(f + 26, GUEST_IP);
            be32(f + 30, GATEWAY_IP);
            be16(f + 16, (uint32_t)len - 14);
            be16(f + 24, 0);
            be16(f + 24, checksum(f + 14, 20));
        }
        while (send_frame(f, len) == -EAGAIN)
            CHECK(run_loop(WAIT_NS));
    }
    /* And it still answers. */
    CHECK(only_child() > 0);
    memset(f, 0, sizeof(f));
    f[34] = 8;
    be16(f + 38, 0x4321);
    be16(f + 36, checksum(f + 34, 64));
    CHECK_EQ(send_frame(f, wrap_ip(f, g.gateway_mac, GUEST_IP, GATEWAY_IP, 1, 64)), 0);
    do
        CHECK(wait_frame(is_echo_reply));
    while (get16(g.frame + 38) != 0x4321);
    stop();
}

static void killed_child_leaves_a_silent_link(void)
{
    pid_t child;
    uint8_t data[1000] = {0};

    CHECK(start(&(struct net_user_config){0}));
    CHECK(configure());
    child = only_child();
    CHECK(child > 0);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK(!run_loop(300000000)); /* nothing but the timer */
    for (unsigned i = 0; i < 3000; i++)
        CHECK_EQ(send_udp(GATEWAY_IP, 4000, 9, data, sizeof(data)), 0);
    g.net->ops->resume(g.net, 0);
    stop();
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

/* A child that does not run any more (stopped) must not keep the parent from ending. */
static void stopped_child_is_killed_at_the_end(void)
{
    pid_t child;

    CHECK(start(&(struct net_user_config){0}));
    child = only_child();
    CHECK(child > 0);
    CHECK_EQ(kill(child, SIGSTOP), 0);
    stop();
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
    struct net_backend *n;
    struct net_user_config cfg = {.confine = confine};
    struct err e = {0};

    setvbuf(stdout, NULL, _IONBF, 0); /* nothing that a child could print again */
    if (net_user_prepare(&n, &cfg, &e) == -ENOTSUP) {
        printf("ok   without libslirp the user network is refused: %s\n1 passed, 0 failed\n", e.msg);
        return 0;
    }
    n->ops->destroy(n);
    RUN(dhcp_gives_the_usual_network);
    RUN(name_server_is_handed_out);
    RUN(gateway_answers_ping);
    RUN(udp_reaches_the_host_and_comes_back);
    RUN(checksums_are_made_for_the_guest);
    RUN(restricted_network_does_not_reach_the_host);
    RUN(published_udp_port_leads_to_the_guest);
    RUN(published_tcp_port_leads_to_the_guest);
    RUN(bad_settings_are_named);
    RUN(addresses_that_cannot_be);
    RUN(guestfwd_in_bad_places);
    RUN(dhcp_gives_another_network);
    RUN(no_filter_no_network);
    RUN(frames_wait_for_the_guest);
    RUN(guest_waits_for_the_ring);
    RUN(garbage_from_the_guest_is_survived);
    RUN(killed_child_leaves_a_silent_link);
    RUN(stopped_child_is_killed_at_the_end);
    return check_done();
}
