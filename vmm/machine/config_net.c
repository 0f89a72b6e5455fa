/* Settings of the user network that are text with parts: published ports and guestfwd. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "vmm/base/options.h"
#include "vmm/base/util.h"
#include "vmm/machine/config.h"

/* A piece of text that does not end in a NUL. */
struct piece {
    const char *s;
    size_t len;
};

static bool piece_is(struct piece p, const char *word)
{
    return p.len == strlen(word) && !memcmp(p.s, word, p.len);
}

static int parse_port(struct piece p, uint16_t *out)
{
    char text[6];
    uint64_t v;

    if (p.len == 0 || p.len >= sizeof(text))
        return -EINVAL;
    memcpy(text, p.s, p.len);
    text[p.len] = '\0';
    if (text_to_u64(text, &v) < 0 || v == 0 || v > 65535)
        return -EINVAL;
    *out = (uint16_t)v;
    return 0;
}

/* "PORT" or "FIRST-LAST". */
static int parse_ports(struct piece p, uint16_t *first, unsigned *count)
{
    const char *dash = memchr(p.s, '-', p.len);
    uint16_t last;

    *count = 1;
    if (!dash)
        return parse_port(p, first);
    if (parse_port((struct piece){p.s, (size_t)(dash - p.s)}, first) < 0 ||
        parse_port((struct piece){dash + 1, p.len - (size_t)(dash + 1 - p.s)}, &last) < 0 || last < *first)
        return -EINVAL;
    *count = last - *first + 1u;
    return 0;
}

/* Takes an address, with or without brackets; empty is allowed. */
static int parse_addr(struct piece p, char out[46])
{
    struct in6_addr any;

    if (p.len >= 2 && p.s[0] == '[' && p.s[p.len - 1] == ']') {
        p.s++;
        p.len -= 2;
    }
    if (p.len >= 46)
        return -EINVAL;
    memcpy(out, p.s, p.len);
    out[p.len] = '\0';
    if (p.len == 0 || inet_pton(AF_INET, out, &any) == 1 || inet_pton(AF_INET6, out, &any) == 1)
        return 0;
    return -EINVAL;
}

/* Splits "ADDR:PORT" at its last colon. */
static int parse_addr_port(struct piece p, char addr[46], uint16_t *port)
{
    const char *colon = memrchr(p.s, ':', p.len);

    if (!colon || parse_addr((struct piece){p.s, (size_t)(colon - p.s)}, addr) < 0)
        return -EINVAL;
    return parse_port((struct piece){colon + 1, p.len - (size_t)(colon + 1 - p.s)}, port);
}

/* Cuts `p` at colons outside brackets; how many parts there are, at most `max` + 1. */
static unsigned split(struct piece p, struct piece *part, unsigned max)
{
    unsigned n = 0;
    size_t begin = 0;
    bool inside = false;

    for (size_t i = 0; i <= p.len; i++) {
        if (i < p.len && (p.s[i] == '[' || p.s[i] == ']'))
            inside = p.s[i] == '[';
        if (i < p.len && (p.s[i] != ':' || inside))
            continue;
        if (n == max)
            return max + 1;
        part[n++] = (struct piece){p.s + begin, i - begin};
        begin = i + 1;
    }
    return n;
}

/* Of three parts the first or the second is an address. */
static bool looks_like_port(struct piece p)
{
    size_t digits = 0;

    while (digits < p.len && (p.s[digits] == '-' || (p.s[digits] >= '0' && p.s[digits] <= '9')))
        digits++;
    return p.len && digits == p.len;
}

static int publish_parts(const char *s, struct piece text, struct net_hostfwd *out, struct err *e)
{
    struct piece part[4], host_addr = {"", 0}, guest_addr = {"", 0};
    unsigned n = split(text, part, 4), host, ports, guest_ports;

    if (n < 2)
        return err_set(e, EINVAL, "--publish %s: give [ADDRESS:]HOSTPORT:GUESTPORT, 2222:22 for example", s);
    host = n == 4 || (n == 3 && !looks_like_port(part[0]));
    if (n > 4)
        return err_set(e, EINVAL, "--publish %s: the host's side is not an IP address and a port (IPv6 in brackets)",
                       s);
    if (host)
        host_addr = part[0];
    if (n - host == 3)
        guest_addr = part[n - 2];
    if (host && (parse_addr(host_addr, out->host_addr) < 0 || !out->host_addr[0]))
        return err_set(e, EINVAL, "--publish %s: the host's side is not an IP address and a port (IPv6 in brackets)",
                       s);
    if (n - host == 3 && (parse_addr(guest_addr, out->guest_addr) < 0 || !out->guest_addr[0]))
        return err_set(e, EINVAL, "--publish %s: the guest's side is not an IP address and a port", s);
    if (parse_ports(part[n - 1], &out->guest_port, &guest_ports) < 0)
        return err_set(e, EINVAL, "--publish %s: the guest's port is not a number from 1 to 65535, or two as a range",
                       s);
    if (parse_ports(part[host], &out->host_port, &ports) < 0)
        return err_set(e, EINVAL, "--publish %s: the host's port is not a number from 1 to 65535, or two as a range",
                       s);
    if (ports != guest_ports)
        return err_set(e, EINVAL, "--publish %s: %u ports of the host cannot lead to %u of the guest", s, ports,
                       guest_ports);
    if (ports > VM_MAX_PORTS)
        return err_set(e, EINVAL, "--publish %s: %u ports; at most %d can be published", s, ports, VM_MAX_PORTS);
    out->count = (uint16_t)ports;
    return 0;
}

int config_publish_parse(const char *s, struct net_hostfwd *out, struct err *e)
{
    const char *slash = strrchr(s, '/');
    struct piece text = {s, slash ? (size_t)(slash - s) : strlen(s)};

    *out = (struct net_hostfwd){0};
    if (slash && !strcmp(slash, "/udp"))
        out->udp = true;
    else if (slash && strcmp(slash, "/tcp") != 0)
        return err_set(e, EINVAL, "--publish %s: the protocol is tcp or udp, not \"%s\"", s, slash + 1);
    return publish_parts(s, text, out, e);
}

/* The first '-' outside brackets: it parts the two sides. */
static const char *find_dash(const char *s)
{
    bool inside = false;

    for (; *s; s++) {
        if (*s == '[' || *s == ']')
            inside = *s == '[';
        if (*s == '-' && !inside)
            return s;
    }
    return NULL;
}

int config_hostfwd_parse(const char *s, struct net_hostfwd *out, struct err *e)
{
    const char *p = s, *dash;
    bool v6;

    *out = (struct net_hostfwd){.count = 1};
    if (!strncmp(p, "udp:", 4))
        out->udp = true;
    else if (!strncmp(p, "unix:", 5))
        return err_set(e, EINVAL, "hostfwd=%s: a Unix socket cannot be published; tcp and udp ports can", s);
    else if (strncmp(p, "tcp:", 4) != 0 && *p != ':')
        return err_set(e, EINVAL, "hostfwd=%s: the protocol is tcp or udp", s);
    p += *p == ':' ? 1 : 4;
    dash = find_dash(p);
    if (!dash || parse_addr_port((struct piece){p, (size_t)(dash - p)}, out->host_addr, &out->host_port) < 0)
        return err_set(e, EINVAL, "hostfwd=%s: the host's side is not ADDRESS:PORT (the address may be empty)", s);
    if (parse_addr_port((struct piece){dash + 1, strlen(dash + 1)}, out->guest_addr, &out->guest_port) < 0)
        return err_set(e, EINVAL, "hostfwd=%s: the guest's side is not ADDRESS:PORT (the address may be empty)", s);
    v6 = strchr(out->guest_addr, ':') != NULL;
    if (!out->host_addr[0])
        strcpy(out->host_addr, v6 ? "::" : "0.0.0.0");
    return 0;
}

static int guestfwd_target(struct vm_config *c, const char *s, const char *target, struct net_guestfwd *out,
                           struct err *e)
{
    const char *colon;
    char *host;

    if (!strncmp(target, "cmd:", 4) && target[4]) {
        out->kind = NET_GUESTFWD_CMD;
        out->target = config_str(c, target + 4);
        return 0;
    }
    if (!strncmp(target, "unix:", 5)) {
        out->kind = NET_GUESTFWD_UNIX;
        out->target = config_str(c, target + 5);
        if (!target[5] || strlen(target + 5) > NET_GUESTFWD_PATH_MAX)
            return err_set(e, EINVAL, "guestfwd=%s: the path of a Unix socket has from 1 to %d characters", s,
                           NET_GUESTFWD_PATH_MAX);
        return 0;
    }
    if (strncmp(target, "tcp:", 4) != 0)
        return err_set(e, EINVAL, "guestfwd=%s: it leads to cmd:COMMAND, unix:PATH or tcp:HOST:PORT", s);
    target += 4;
    colon = strrchr(target, ':');
    if (!colon || colon == target || parse_port((struct piece){colon + 1, strlen(colon + 1)}, &out->target_port) < 0)
        return err_set(e, EINVAL, "guestfwd=%s: tcp: is followed by HOST:PORT", s);
    host = config_str(c, target);
    host[colon - target] = '\0';
    if (host[0] == '[' && colon[-1] == ']') {
        host[colon - target - 1] = '\0';
        host++;
    }
    out->kind = NET_GUESTFWD_TCP;
    out->target = host;
    return 0;
}

int config_guestfwd_parse(struct vm_config *c, const char *s, struct net_guestfwd *out, struct err *e)
{
    struct piece part[3];
    const char *dash = strchr(s, '-');
    unsigned n = dash ? split((struct piece){s, (size_t)(dash - s)}, part, 3) : 0, first;
    char addr[46];

    *out = (struct net_guestfwd){0};
    first = n == 3;
    if (n < 2 || n > 3 || (first && part[0].len && !piece_is(part[0], "tcp")))
        return err_set(e, EINVAL, "guestfwd=%s is not tcp:ADDRESS:PORT-TARGET", s);
    if (parse_addr(part[first], addr) < 0 || strlen(addr) >= sizeof(out->addr) || strchr(addr, ':'))
        return err_set(e, EINVAL, "guestfwd=%s: the guest's side is not an IPv4 address and a port", s);
    strcpy(out->addr, addr);
    if (parse_port(part[first + 1], &out->port) < 0)
        return err_set(e, EINVAL, "guestfwd=%s: the guest's port is not a number from 1 to 65535", s);
    return guestfwd_target(c, s, dash + 1, out, e);
}

static int add_hostfwd(struct vm_net *n, const char *what, const char *s, struct err *e)
{
    if (n->nfwd == VM_MAX_FWD)
        return err_set(e, ENOSPC, "%s: more than %d hostfwd", what, VM_MAX_FWD);
    return config_hostfwd_parse(s, &n->fwd[n->nfwd++], e);
}

static int add_guestfwd(struct vm_config *c, struct vm_net *n, const char *what, const char *s, struct err *e)
{
    if (n->nguestfwd == NET_GUESTFWD_MAX)
        return err_set(e, ENOSPC, "%s: more than %d guestfwd", what, NET_GUESTFWD_MAX);
    return config_guestfwd_parse(c, s, &n->guestfwd[n->nguestfwd++], e);
}

static int add_dnssearch(struct vm_config *c, struct vm_net *n, const char *what, const char *s, struct err *e)
{
    unsigned i = 0;

    while (n->dnssearch[i])
        i++;
    if (i == VM_MAX_SEARCH)
        return err_set(e, ENOSPC, "%s: more than %d dnssearch", what, VM_MAX_SEARCH);
    /* RFC 1035, 2.3.4, and what libslirp packs them into */
    if (!*s || strlen(s) > 253)
        return err_set(e, EINVAL, "%s: dnssearch=%s is no domain", what, s);
    n->dnssearch[i] = config_str(c, s);
    return 0;
}

int config_net_user(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const struct {
        const char *key;
        const char **to;
    } texts[] = {
        {"net", &n->addrs.net},       {"host", &n->addrs.host},     {"dhcpstart", &n->addrs.dhcpstart},
        {"dns", &n->addrs.dns},       {"ipv6-net", &n->addrs.net6}, {"ipv6-host", &n->addrs.host6},
        {"ipv6-dns", &n->addrs.dns6}, {"hostname", &n->hostname},   {"domainname", &n->domainname},
    };
    static const struct {
        const char *key;
        const char *why;
    } absent[] = {
        {"tftp", "a guest started from a kernel fetches no files to boot"},
        {"bootfile", "a guest started from a kernel fetches no files to boot"},
        {"tftp-server-name", "a guest started from a kernel fetches no files to boot"},
        {"smb", "guestfwd= leads to a file server of the host"},
        {"smbserver", "guestfwd= leads to a file server of the host"},
    };
    bool ipv4 = true;
    const char *s;
    unsigned pos;
    int r;

    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        if (options_find(o, absent[i].key))
            return err_set(e, EINVAL, "%s: \"%s\" is not supported: %s", what, absent[i].key, absent[i].why);
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
        if ((s = options_get(o, texts[i].key)))
            *texts[i].to = config_str(c, s);
    if ((r = options_get_bool(o, what, "restrict", &n->restricted, e)) < 0 ||
        (r = options_get_bool(o, what, "ipv4", &ipv4, e)) < 0 ||
        (r = options_get_bool(o, what, "ipv6", &n->ipv6, e)) < 0)
        return r;
    n->no_ipv4 = !ipv4;
    for (pos = 0; (s = options_next(o, "hostfwd", &pos));)
        if ((r = add_hostfwd(n, what, s, e)) < 0)
            return r;
    for (pos = 0; (s = options_next(o, "guestfwd", &pos));)
        if ((r = add_guestfwd(c, n, what, s, e)) < 0)
            return r;
    for (pos = 0; (s = options_next(o, "dnssearch", &pos));)
        if ((r = add_dnssearch(c, n, what, s, e)) < 0)
            return r;
    return 0;
}
