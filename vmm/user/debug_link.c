/*
 * The connection to the debugger: a TCP port of the loopback interface, or a socket of the file system. Other users of
 * the host must not get hold of the program: who connects by TCP is looked up in the kernel's list of connections, and
 * the file is made for its owner alone.
 */
#include <asm/byteorder.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/in.h>
#include <linux/socket.h>
#include <linux/un.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/args.h"
#include "vmm/user/debug_parts.h"
#include "vmm/user/own_fd.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define AF_UNIX 1
#define AF_INET 2
#define SOCK_STREAM 1
#define SOCK_CLOEXEC 02000000
#define SOL_SOCKET 1
#define SO_REUSEADDR 2
#define SO_PEERCRED 17
#define TCP_NODELAY 1
#define MSG_DONTWAIT 0x40
#define MSG_PEEK 2
#define MSG_NOSIGNAL 0x4000
#define LOOPBACK 0x7f000001u

int user_debug_link = -1;

static char buf[512];
static size_t have, at;

/* ---- who may ---- */

static uint64_t hex(const char **p)
{
    uint64_t v = 0;

    rsp_take_number(p, &v);
    return v;
}

static const char *word(const char *p, unsigned n)
{
    for (;; n--) {
        while (*p == ' ')
            p++;
        if (!n || !*p)
            return p;
        while (*p && *p != ' ')
            p++;
    }
}

/* A line of /proc/net/tcp: is it the end of the connection from port `from` to port `to`? Then its user. */
static bool line_user(const char *line, unsigned from, unsigned to, uint64_t *uid)
{
    const char *p = word(line, 1);
    uint64_t local = hex(&p), local_port, port;

    p += *p == ':';
    local_port = hex(&p);
    p = word(line, 2);
    hex(&p);
    p += *p == ':';
    port = hex(&p);
    if (local != __cpu_to_be32(LOOPBACK) || local_port != from || port != to)
        return false;
    *uid = 0;
    for (p = word(line, 7); *p >= '0' && *p <= '9'; p++)
        *uid = *uid * 10 + (uint64_t)(*p - '0');
    return true;
}

static bool tcp_user(unsigned from, unsigned to, uint64_t *uid)
{
    char text[4096];
    long fd = sys_call(__NR_openat, AT_FDCWD, "/proc/net/tcp", O_RDONLY | O_CLOEXEC, 0), n;
    size_t len = 0;
    bool found = false;

    if (fd < 0)
        return false;
    while (!found && (n = sys_call(__NR_read, fd, text + len, sizeof(text) - 1 - len)) > 0) {
        len += (size_t)n;
        text[len] = '\0';
        char *line = text, *end;
        for (; !found && (end = strchr(line, '\n')); line = end + 1) {
            *end = '\0';
            found = line_user(line, from, to, uid);
        }
        len -= (size_t)(line - text);
        memmove(text, line, len);
    }
    sys_call(__NR_close, fd);
    return found;
}

static bool may_connect(int fd, bool tcp, unsigned port)
{
    struct sockaddr_in from;
    struct {
        int32_t pid;
        uint32_t uid, gid;
    } peer;
    int len = tcp ? (int)sizeof(from) : (int)sizeof(peer);
    uint64_t uid = UINT64_MAX;

    if (tcp) {
        if (!sys_call(__NR_getpeername, fd, &from, &len) && !tcp_user(__be16_to_cpu(from.sin_port), port, &uid))
            sys_print(2, "pipit-aarch64: a debugger that connected was turned away: /proc/net/tcp does not say whose "
                         "it is (-g PATH needs no /proc)\n");
    } else if (!sys_call(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &len)) {
        uid = peer.uid;
    }
    return uid == 0 || uid == (uint64_t)sys_call(__NR_getuid);
}

/* ---- opening ---- */

static bool is_port(const char *place, unsigned *port)
{
    unsigned v = 0;

    for (const char *p = place; *p; p++) {
        if (*p < '0' || *p > '9' || v > 65535)
            return false;
        v = v * 10 + (unsigned)(*p - '0');
    }
    *port = v;
    return place[0] && v <= 65535;
}

__attribute__((noreturn)) static void cannot(const char *place, const char *what, long r)
{
    sys_die(USER_STATUS_CANNOT_RUN, "-g %s: %s: %s", place, what, sys_error_text((int)-r));
}

static int listen_tcp(const char *place, unsigned port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = __cpu_to_be16(port), .sin_addr.s_addr = __cpu_to_be32(LOOPBACK)};
    int one = 1;
    long fd = sys_call(__NR_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        cannot(place, "no socket", fd);
    sys_call(__NR_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    r = sys_call(__NR_bind, fd, &addr, sizeof(addr));
    if (!r)
        r = sys_call(__NR_listen, fd, 1);
    if (r)
        cannot(place, "the port cannot be had", r);
    return (int)fd;
}

/* %d becomes the number of the process, %% a percent sign. */
static void expand(const char *place, char *path, size_t size)
{
    size_t n = 0;

    for (const char *p = place; *p && n + 16 < size; p++) {
        if (p[0] == '%' && p[1] == 'd')
            n += (size_t)snprintf(path + n, size - n, "%ld", sys_call(__NR_getpid));
        else
            path[n++] = *p;
        if (p[0] == '%' && (p[1] == 'd' || p[1] == '%'))
            p++;
    }
    path[n] = '\0';
}

static int listen_path(const char *place, struct sockaddr_un *addr)
{
    char path[512];
    long fd = sys_call(__NR_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r, mask;

    expand(place, path, sizeof(path));
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr->sun_path))
        cannot(place, "the socket cannot be made", -ENAMETOOLONG);
    strcpy(addr->sun_path, path);
    if (fd < 0)
        cannot(place, "no socket", fd);
    /* Of a socket that nobody listens at any more, the file stays. */
    r = sys_call(__NR_connect, fd, addr, sizeof(*addr));
    if (r == -ECONNREFUSED)
        sys_call(__NR_unlinkat, AT_FDCWD, path, 0);
    mask = sys_call(__NR_umask, 0177);
    r = sys_call(__NR_bind, fd, addr, sizeof(*addr));
    sys_call(__NR_umask, mask);
    if (!r)
        r = sys_call(__NR_listen, fd, 1);
    if (r)
        cannot(place, "the socket cannot be made", r);
    return (int)fd;
}

void user_debug_link_open(const char *place)
{
    struct sockaddr_un addr;
    unsigned port = 0;
    bool tcp = is_port(place, &port);
    int at_fd = tcp ? listen_tcp(place, port) : listen_path(place, &addr), one = 1;
    long fd;

    for (;;) {
        fd = sys_call(__NR_accept4, at_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -EINTR || fd == -ECONNABORTED)
            continue;
        if (fd < 0)
            cannot(place, "no debugger", fd);
        if (may_connect((int)fd, tcp, port))
            break;
        sys_call(__NR_close, fd);
    }
    sys_call(__NR_close, at_fd);
    if (!tcp)
        sys_call(__NR_unlinkat, AT_FDCWD, addr.sun_path, 0);
    else
        sys_call(__NR_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    user_debug_link = (int)fd;
    user_own_fd_add(&user_debug_link);
}

/* ---- bytes ---- */

/* At the most what the peer has sent; 0: it has gone, or nothing is there. */
static bool fill(int flags)
{
    long n;

    if (at < have)
        return true;
    do
        n = sys_call(__NR_recvfrom, user_debug_link, buf, sizeof(buf), flags, NULL, NULL);
    while (n == -EINTR);
    at = 0;
    have = n > 0 ? (size_t)n : 0;
    return have || (n == -EAGAIN && flags);
}

int user_debug_link_get(void)
{
    if (user_debug_link < 0 || !fill(0))
        return -1;
    return (uint8_t)buf[at++];
}

bool user_debug_link_has_bytes(void)
{
    char byte;
    long n;

    if (user_debug_link < 0)
        return false;
    if (at < have)
        return true;
    n = sys_call(__NR_recvfrom, user_debug_link, &byte, 1, MSG_DONTWAIT | MSG_PEEK, NULL, NULL);
    return n != -EAGAIN && n != -EINTR; /* also its end */
}

void user_debug_link_send(const char *bytes, size_t n)
{
    while (n && user_debug_link >= 0) {
        long r = sys_call(__NR_sendto, user_debug_link, bytes, n, MSG_NOSIGNAL, NULL, 0);
        if (r == -EINTR)
            continue;
        if (r <= 0)
            return; /* the next read says so */
        bytes += r;
        n -= (size_t)r;
    }
}

void user_debug_link_watch(bool on)
{
    struct f_owner_ex owner = {.type = F_OWNER_PID, .pid = (int)sys_call(__NR_getpid)};

    if (user_debug_link < 0)
        return;
    if (on) {
        sys_call(__NR_fcntl, user_debug_link, F_SETOWN_EX, &owner);
        sys_call(__NR_fcntl, user_debug_link, F_SETSIG, ABI_SIGFPE);
    }
    sys_call(__NR_fcntl, user_debug_link, F_SETFL, O_RDWR | (on ? FASYNC : 0));
    /* What came before that. */
    if (on && user_debug_link_has_bytes())
        atomic_store(&user_debug.bytes_wait, true);
}

void user_debug_link_close(void)
{
    /* Not its flags: another process may have it, too. */
    user_own_fd_close(&user_debug_link);
    at = have = 0;
}
