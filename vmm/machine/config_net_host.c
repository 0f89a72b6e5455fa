/*
 * Networks that are not the user network: their options, as `pipit run` writes them (--net tap=vm0,queues=2) and as
 * QEMU does (-netdev tap,id=net0,ifname=vm0,queues=2).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/config.h"

/* "3" or "3:4", with `most` at most. */
static int parse_fds(struct vm_net *n, const char *s, unsigned most, const char *what, struct err *e)
{
    const char *p = s;

    for (;;) {
        char *end;
        unsigned long fd = strtoul(p, &end, 10);

        if (end == p || *p < '0' || *p > '9' || (*end && *end != ':') || fd < 3 || fd > 0xfffff)
            return err_set(e, EINVAL, "%s: \"%s\" is not a number of an open file, from 3 on%s", what, s,
                           most > 1 ? ", or several with colons between" : "");
        if (n->nfds == most)
            return err_set(e, EINVAL, "%s: \"%s\": %u at most", what, s, most);
        n->fd[n->nfds++] = (int)fd;
        if (!*end)
            return 0;
        p = end + 1;
    }
}

static int parse_queues(struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *s = options_get(o, "queues");
    uint64_t v;

    if (!s)
        return 0;
    if (text_to_u64(s, &v) < 0 || v < 1 || v > NET_MAX_QUEUES)
        return err_set(e, EINVAL, "%s: queues=%s: 1 to %d are there", what, s, NET_MAX_QUEUES);
    if (n->nfds && v != n->nfds)
        return err_set(e, EINVAL, "%s: queues=%s with %u descriptors: each queue has one", what, s, n->nfds);
    n->queues = (unsigned)v;
    return 0;
}

bool config_net_forwards(const struct vm_net *n)
{
    return n->kind == VM_NET_USER || (n->kind == VM_NET_PASST && !n->socket);
}

/* ---- pipit run ---- */

static int run_passt(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *socket = options_get(o, "socket");

    n->kind = VM_NET_PASST;
    if (socket && !*socket)
        return err_set(e, EINVAL, "%s: socket= names nothing", what);
    n->socket = socket ? config_str(c, socket) : NULL;
    return 0;
}

int config_net_host(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *ifname = options_get(o, "tap"), *fd = options_get(o, "fd"), *bridge = options_get(o, "bridge");
    const char *helper = options_get(o, "helper"), *given;
    bool offload = true;
    int r;

    if (options_get(o, "type"))
        return run_passt(c, n, o, what, e);
    n->kind = bridge ? VM_NET_BRIDGE : VM_NET_TAP;
    if (!!ifname + !!fd + !!bridge != 1)
        return err_set(e, EINVAL, "%s: give one of tap=NAME, fd=N and bridge=NAME", what);
    given = ifname ? ifname : fd ? fd : bridge;
    if (!*given)
        return err_set(e, EINVAL, "%s: %s= names nothing", what, ifname ? "tap" : fd ? "fd" : "bridge");
    n->ifname = ifname ? config_str(c, ifname) : NULL;
    n->bridge = bridge ? config_str(c, bridge) : NULL;
    if (fd && (r = parse_fds(n, fd, NET_MAX_QUEUES, what, e)) < 0)
        return r;
    if (helper && !bridge)
        return err_set(e, EINVAL, "%s: helper= has a meaning with bridge= only", what);
    n->helper = helper ? config_str(c, helper) : NULL;
    if ((r = parse_queues(n, o, what, e)) < 0 || (r = options_get_bool(o, what, "offload", &offload, e)) < 0)
        return r;
    n->no_offload = !offload;
    return 0;
}

/* ---- QEMU ---- */

/* Scripts that QEMU runs to bring an interface up and down. */
static int refuse_script(struct options *o, const char *key, bool required, const char *what, struct err *e)
{
    const char *s = options_get(o, key);

    if (s ? !strcmp(s, "no") || !*s : !required)
        return 0;
    if (s)
        return err_set(e, EINVAL, "%s tap: %s=%s: no scripts are run here; %s=no says so", what, key, s, key);
    return err_set(e, EINVAL,
                   "%s tap: QEMU would run /etc/qemu-ifup, and no scripts are run here: give script=no, or join a "
                   "bridge with -netdev bridge,br=NAME",
                   what);
}

/* The kernel's own back end does nothing that is not done here. */
static int note_vhost(struct options *o, const char *what, struct err *e)
{
    bool vhost = false, forced = false;
    int r;

    if ((r = options_get_bool(o, what, "vhost", &vhost, e)) < 0 ||
        (r = options_get_bool(o, what, "vhostforce", &forced, e)) < 0)
        return r;
    if (forced || options_find(o, "vhostfd") || options_find(o, "vhostfds"))
        return err_set(e, EINVAL, "%s tap: vhost is not there; without vhostforce= and vhostfd= pipit moves the frames",
                       what);
    if (vhost)
        log_info("net", "vhost=on: pipit moves the frames itself");
    return 0;
}

static int qemu_tap(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *ifname = options_get(o, "ifname"), *fd = options_get(o, "fd"), *fds = options_get(o, "fds");
    const char *bridge = options_get(o, "br"), *helper = options_get(o, "helper");
    bool headers = true, elsewhere = fd || fds || helper || bridge;
    int r;

    if ((fd || fds) && (ifname || bridge || helper || (fd && fds)))
        return err_set(e, EINVAL, "%s tap: fd= and fds= leave nothing for %s", what,
                       ifname   ? "ifname="
                       : helper ? "helper="
                       : bridge ? "br="
                                : "each other");
    if (ifname && helper)
        return err_set(e, EINVAL, "%s tap: ifname= has no meaning with helper=", what);
    if (fd && (r = parse_fds(n, fd, 1, what, e)) < 0)
        return r;
    if (fds && (r = parse_fds(n, fds, NET_MAX_QUEUES, what, e)) < 0)
        return r;
    n->kind = helper || bridge ? VM_NET_BRIDGE : VM_NET_TAP;
    n->ifname = ifname ? config_str(c, ifname) : NULL;
    n->helper = helper ? config_str(c, helper) : NULL;
    n->bridge = n->kind == VM_NET_BRIDGE ? config_str(c, bridge ? bridge : "br0") : NULL;
    if ((r = refuse_script(o, "script", !elsewhere, what, e)) < 0 ||
        (r = refuse_script(o, "downscript", false, what, e)) < 0 || (r = note_vhost(o, what, e)) < 0 ||
        (r = options_get_bool(o, what, "vnet_hdr", &headers, e)) < 0)
        return r;
    n->no_offload = !headers;
    return parse_queues(n, o, what, e);
}

static int qemu_bridge(struct vm_config *c, struct vm_net *n, struct options *o)
{
    const char *bridge = options_get(o, "br"), *helper = options_get(o, "helper");

    n->kind = VM_NET_BRIDGE;
    n->bridge = config_str(c, bridge ? bridge : "br0");
    n->helper = helper ? config_str(c, helper) : NULL;
    return 0;
}

/* What QEMU's stream back end waits for, or does again, is not done here. */
static int refuse_waiting(struct options *o, const char *what, struct err *e)
{
    const char *again = options_get(o, "reconnect"), *again_ms = options_get(o, "reconnect-ms");
    bool server = false;
    int r = options_get_bool(o, what, "server", &server, e);

    if (r < 0)
        return r;
    if (server)
        return err_set(e, EINVAL, "%s stream: server=on is not supported; server=off joins a socket that is there",
                       what);
    if ((again && strcmp(again, "0") != 0) || (again_ms && strcmp(again_ms, "0") != 0))
        return err_set(e, EINVAL, "%s stream: reconnect= is not supported: a connection that ends is not made again",
                       what);
    return 0;
}

static int qemu_stream(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *type = options_get(o, "addr.type"), *path = options_get(o, "addr.path"),
               *fd = options_get(o, "addr.str");

    n->kind = VM_NET_STREAM;
    if (type && !strcmp(type, "unix") && path && *path)
        n->socket = config_str(c, path);
    else if (!type || strcmp(type, "fd") != 0 || !fd)
        return err_set(e, EINVAL, "%s stream: give addr.type=unix,addr.path=PATH, or addr.type=fd,addr.str=N", what);
    else if (parse_fds(n, fd, 1, what, e) < 0)
        return -EINVAL;
    return refuse_waiting(o, what, e);
}

static int qemu_socket(struct vm_net *n, struct options *o, const char *what, struct err *e)
{
    const char *fd = options_get(o, "fd");

    n->kind = VM_NET_STREAM;
    if (!fd)
        return err_set(e, EINVAL, "%s socket: fd=N is supported, and -netdev stream joins a socket by its path", what);
    return parse_fds(n, fd, 1, what, e);
}

int config_net_host_qemu(struct vm_config *c, struct vm_net *n, struct options *o, const char *type, const char *what,
                         struct err *e)
{
    if (!strcmp(type, "tap"))
        return qemu_tap(c, n, o, what, e);
    if (!strcmp(type, "bridge"))
        return qemu_bridge(c, n, o);
    if (!strcmp(type, "stream"))
        return qemu_stream(c, n, o, what, e);
    if (!strcmp(type, "socket"))
        return qemu_socket(n, o, what, e);
    return err_set(e, EINVAL, "%s %s is not supported; user, tap, bridge, stream and socket are", what, type);
}
