/*
 * The user network's addresses: what was written, defaults for the rest, and what cannot be together. The defaults are
 * those that QEMU's users know, at the same places in any other network: .2.2 the host, .2.3 the name server and .2.15
 * the guest, as far as the network has bits for them.
 */
#include "devices/net/user_addrs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_PART 0x0202u
#define DNS_PART 0x0203u
#define GUEST_PART 0x020fu
#define LENGTH_MIN 8
#define LENGTH_MAX 29 /* 6 addresses: room for the host, the name server and a guest */

static uint32_t mask_of(unsigned length)
{
    return ~UINT32_C(0) << (32 - length);
}

/* What stands behind the slash: a number of bits, or a mask; the number, or -1. */
static int parse_length(const char *s)
{
    struct in_addr a;
    char *end;
    unsigned long n;

    if (inet_pton(AF_INET, s, &a) == 1) {
        for (int i = LENGTH_MIN; i <= LENGTH_MAX; i++)
            if (ntohl(a.s_addr) == mask_of((unsigned)i))
                return i;
        return -1;
    }
    if (s[0] < '0' || s[0] > '9')
        return -1;
    n = strtoul(s, &end, 10);
    return !*end && n >= LENGTH_MIN && n <= LENGTH_MAX ? (int)n : -1;
}

/* The length that an address had before there were lengths (RFC 791, 3.2). */
static int class_length(uint32_t a)
{
    return !(a >> 31) ? 8 : !(a >> 30 & 1) ? 16 : 24;
}

static int parse_net(struct user_addrs *u, const char *text, struct err *e)
{
    char addr[INET_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    int length;

    if (n >= sizeof(addr))
        return err_set(e, EINVAL, "net=%s is not a network like 10.0.2.0/24", text);
    memcpy(addr, text, n);
    addr[n] = '\0';
    if (inet_pton(AF_INET, addr, &u->net) != 1)
        return err_set(e, EINVAL, "net=%s is not a network like 10.0.2.0/24", text);
    length = slash ? parse_length(slash + 1) : class_length(ntohl(u->net.s_addr));
    if (length < 0)
        return err_set(e, EINVAL, "net=%s: a network has from %d to %d bits, or a mask with so many", text, LENGTH_MIN,
                       LENGTH_MAX);
    u->mask.s_addr = htonl(mask_of((unsigned)length));
    u->net.s_addr &= u->mask.s_addr;
    if (!(ntohl(u->net.s_addr) >> 24) || ntohl(u->net.s_addr) >> 24 == 127 || ntohl(u->net.s_addr) >> 28 >= 0xe)
        return err_set(e, EINVAL, "net=%s: addresses of this kind are not for a network", text);
    return 0;
}

/* An address inside the network, or the default there. */
static int parse_inside(const struct user_addrs *u, const char *option, const char *text, uint32_t part,
                        struct in_addr *out, struct err *e)
{
    uint32_t rest;

    out->s_addr = u->net.s_addr | (htonl(part) & ~u->mask.s_addr);
    if (text && inet_pton(AF_INET, text, out) != 1)
        return err_set(e, EINVAL, "%s=%s is not an IPv4 address", option, text);
    rest = ntohl(out->s_addr & ~u->mask.s_addr);
    if ((out->s_addr & u->mask.s_addr) != u->net.s_addr)
        return err_set(e, EINVAL, "%s=%s is not in the guest's network", option, text);
    if (rest && rest != ~ntohl(u->mask.s_addr))
        return 0;
    if (text)
        return err_set(e, EINVAL, "%s=%s is the network's own address, or its broadcast address", option, text);
    return err_set(e, EINVAL, "in a network this small %s= has no default: name an address", option);
}

static int parse_dns4(struct user_addrs *u, const char *text, bool restricted, struct err *e)
{
    struct in_addr a;
    bool inside;

    inet_pton(AF_INET, text, &a);
    inside = (a.s_addr & u->mask.s_addr) == u->net.s_addr;
    if (inside)
        return parse_inside(u, "dns", text, DNS_PART, &u->dns, e);
    if (restricted)
        return err_set(e, EINVAL, "name server %s: a restricted network does not reach it", text);
    if (ntohl(a.s_addr) >> 24 == 127 || a.s_addr == 0)
        return err_set(
            e, EINVAL,
            "name server %s: the guest cannot reach this address; without one, it is served by the host's resolv.conf",
            text);
    u->dns = a;
    return 0;
}

static int parse_ipv4(struct user_addrs *u, const struct net_user_addrs *a, bool restricted, struct err *e)
{
    struct in_addr any;
    bool dns4 = a->dns && inet_pton(AF_INET, a->dns, &any) == 1;
    int r;

    if ((r = parse_net(u, a->net ? a->net : "10.0.2.0/24", e)) < 0 ||
        (r = parse_inside(u, "host", a->host, HOST_PART, &u->host, e)) < 0 ||
        (r = parse_inside(u, "dhcpstart", a->dhcpstart, GUEST_PART, &u->dhcpstart, e)) < 0 ||
        (r = dns4 ? parse_dns4(u, a->dns, restricted, e) : parse_inside(u, "dns", NULL, DNS_PART, &u->dns, e)) < 0)
        return r;
    if (u->host.s_addr == u->dhcpstart.s_addr)
        return err_set(e, EINVAL, "host= and dhcpstart= are one address: the gateway's and the guest's own");
    if (u->dns.s_addr != u->host.s_addr && u->dns.s_addr != u->dhcpstart.s_addr)
        return 0;
    if (a->dns)
        return err_set(e, EINVAL, "name server %s: this address is the gateway's or the guest's own", a->dns);
    return err_set(e, EINVAL, "the name server's default address is taken by host= or dhcpstart=: name it with dns=");
}

static int parse_addr6(const char *option, const char *text, struct in6_addr *out, struct err *e)
{
    if (text && inet_pton(AF_INET6, text, out) != 1)
        return err_set(e, EINVAL, "%s=%s is not an IPv6 address", option, text);
    return 0;
}

static int parse_net6(struct user_addrs *u, const char *text, struct err *e)
{
    char addr[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);

    if (slash && strcmp(slash, "/64") != 0)
        return err_set(e, EINVAL, "ipv6-net=%s: the prefix has 64 bits, or no guest takes an address from it", text);
    if (n < sizeof(addr)) {
        memcpy(addr, text, n);
        addr[n] = '\0';
    }
    if (n >= sizeof(addr) || inet_pton(AF_INET6, addr, &u->prefix6) != 1)
        return err_set(e, EINVAL, "ipv6-net=%s is not a network like fec0::/64", text);
    if (IN6_IS_ADDR_MULTICAST(&u->prefix6) || IN6_IS_ADDR_LINKLOCAL(&u->prefix6) || IN6_IS_ADDR_LOOPBACK(&u->prefix6) ||
        IN6_IS_ADDR_UNSPECIFIED(&u->prefix6))
        return err_set(e, EINVAL, "ipv6-net=%s: addresses of this kind are not for a network", text);
    memset(&u->prefix6.s6_addr[8], 0, 8);
    return 0;
}

/* RFC 4291, appendix A: the MAC with ff:fe in its middle and the universal bit the other way round. */
static void make_guest6(struct user_addrs *u, const uint8_t mac[6])
{
    uint8_t *p = &u->guest6.s6_addr[8];

    u->guest6 = u->prefix6;
    memcpy(p, mac, 3);
    p[0] ^= 2;
    p[3] = 0xff;
    p[4] = 0xfe;
    memcpy(p + 5, mac + 3, 3);
}

static int parse_ipv6(struct user_addrs *u, const struct net_user_addrs *a, const uint8_t mac[6], struct err *e)
{
    struct in6_addr any;
    const char *dns = a->dns6 ? a->dns6 : a->dns && inet_pton(AF_INET6, a->dns, &any) == 1 ? a->dns : NULL;
    int r = parse_net6(u, a->net6 ? a->net6 : "fec0::/64", e);

    if (r < 0)
        return r;
    u->host6 = u->dns6 = u->prefix6;
    u->host6.s6_addr[15] = 2;
    u->dns6.s6_addr[15] = 3;
    make_guest6(u, mac);
    if ((r = parse_addr6("ipv6-host", a->host6, &u->host6, e)) < 0 ||
        (r = parse_addr6("ipv6-dns", dns, &u->dns6, e)) < 0)
        return r;
    if (memcmp(&u->host6, &u->prefix6, 8) != 0)
        return err_set(e, EINVAL, "ipv6-host=%s is not in the guest's network", a->host6);
    if (!memcmp(&u->host6, &u->dns6, sizeof(u->host6)))
        return err_set(e, EINVAL, "ipv6-host= and ipv6-dns= are one address");
    return 0;
}

/* The first setting of a family that is off, or NULL. */
static const char *setting4(const struct net_user_addrs *a)
{
    return a->net ? "net=" : a->host ? "host=" : a->dhcpstart ? "dhcpstart=" : NULL;
}

static const char *setting6(const struct net_user_addrs *a)
{
    return a->net6 ? "ipv6-net=" : a->host6 ? "ipv6-host=" : a->dns6 ? "ipv6-dns=" : NULL;
}

int user_addrs_parse(struct user_addrs *out, const struct net_user_config *cfg, struct err *e)
{
    const struct net_user_addrs *a = &cfg->addrs;
    struct in_addr any;
    struct in6_addr any6;
    bool dns4 = a->dns && inet_pton(AF_INET, a->dns, &any) == 1;
    int r;

    memset(out, 0, sizeof(*out));
    if (cfg->no_ipv4 && !cfg->ipv6)
        return err_set(e, EINVAL, "a network without IPv4 and IPv6 carries nothing");
    if (a->dns && !dns4 && inet_pton(AF_INET6, a->dns, &any6) != 1)
        return err_set(e, EINVAL, "name server \"%s\" is not an IP address", a->dns);
    if (cfg->no_ipv4 && (setting4(a) || dns4))
        return err_set(e, EINVAL, "%s has no meaning: IPv4 is off", dns4 ? "an IPv4 name server" : setting4(a));
    if (!cfg->ipv6 && setting6(a))
        return err_set(e, EINVAL, "%s has no meaning: IPv6 is off", setting6(a));
    if (!cfg->ipv6 && a->dns && !dns4)
        return err_set(e, EINVAL, "name server %s: IPv6 is off", a->dns);
    if (!cfg->no_ipv4 && (r = parse_ipv4(out, a, cfg->restricted, e)) < 0)
        return r;
    return cfg->ipv6 ? parse_ipv6(out, a, cfg->mac, e) : 0;
}
