/*
 * Frames on a stream socket, each behind its length as a 32-bit number in network order: the way in which QEMU's
 * "-netdev stream" and "-netdev socket" speak, and passt and other programs that take over a guest's network.
 *
 * The peer is believed nothing: a length that no frame has ends the connection. What it sends is read into one buffer
 * and given to the guest from there; what the guest sends goes out as it lies in its memory, but for the rest of a
 * frame of which the socket took a part.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/net/net.h"
#include "devices/net/net_child.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define STREAM_LEN 4           /* bytes of a length */
#define STREAM_RX (256u << 10) /* read at once */
#define STREAM_SEGS 128        /* of a frame */
#define STREAM_TURN 2          /* reads before the loop serves others */
#define PASST_MS 20000

struct stream {
    struct net_backend backend;
    char what[128]; /* the peer's name, in messages */
    int fd;
    struct loop_fd *watch;
    unsigned events;
    bool dead;         /* no more traffic; said once */
    bool starved;      /* the guest has no room: resume() will come */
    bool blocked;      /* send returned -EAGAIN */
    bool reading;      /* in stream_receive: the front end may call resume from there */
    size_t start, end; /* of what was read and not yet given, in rx */
    size_t unsent;     /* bytes at the end of tx's first tx_len that are still to be sent */
    size_t tx_len;
    uint8_t tx[STREAM_LEN + NET_FRAME_MAX];
    uint8_t rx[STREAM_RX];
};

static struct stream *stream_of(struct net_backend *n)
{
    return container_of(n, struct stream, backend);
}

static void stream_unblock(struct stream *s)
{
    struct net_frontend *f = &s->backend.frontend;

    if (!s->blocked)
        return;
    s->blocked = false;
    if (f->writable)
        f->writable(f->opaque, 0);
}

static void stream_die(struct stream *s, const char *why)
{
    if (s->dead)
        return;
    s->dead = true;
    log_error("net", "%s %s: the guest's network is silent from now on", s->what, why);
    if (s->watch)
        loop_fd_remove(s->watch);
    s->watch = NULL;
    s->start = s->end = s->unsent = 0;
    stream_unblock(s);
    if (s->backend.frontend.link_down)
        s->backend.frontend.link_down(s->backend.frontend.opaque);
}

static void stream_watch(struct stream *s)
{
    unsigned events = (s->starved ? 0 : LOOP_IN) | (s->unsent || s->blocked ? LOOP_OUT : 0);

    if (!s->watch || events == s->events)
        return;
    loop_fd_modify(s->watch, events);
    s->events = events;
}

/* ---- from the peer ---- */

/* Gives whole frames to the guest, until it has no room or there are no more. */
static void stream_give(struct stream *s)
{
    struct net_frontend *f = &s->backend.frontend;
    uint32_t len;

    while (s->end - s->start >= STREAM_LEN) {
        memcpy(&len, s->rx + s->start, STREAM_LEN);
        len = ntohl(len);
        if (len == 0 || len > NET_FRAME_MAX) {
            stream_die(s, "sent what is no frame");
            return;
        }
        if (s->end - s->start < STREAM_LEN + len)
            break;
        s->starved = f->receive && !f->receive(f->opaque, s->rx + s->start + STREAM_LEN, len);
        if (s->starved)
            return;
        s->start += STREAM_LEN + len;
    }
    /* What is left is less than a frame: the buffer has room for the rest of it at its beginning. */
    memmove(s->rx, s->rx + s->start, s->end - s->start);
    s->end -= s->start;
    s->start = 0;
}

/* False where nothing more is to be had now. */
static bool stream_read(struct stream *s)
{
    ssize_t r = recv(s->fd, s->rx + s->end, sizeof(s->rx) - s->end, MSG_DONTWAIT);

    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (r <= 0) {
        stream_die(s, "has ended"); /* ECONNRESET: without having read all */
        return false;
    }
    s->end += (size_t)r;
    return true;
}

static void stream_receive(struct stream *s)
{
    if (s->reading)
        return;
    s->reading = true;
    stream_give(s);
    for (unsigned i = 0; i < STREAM_TURN && !s->dead && !s->starved && stream_read(s); i++)
        stream_give(s);
    s->reading = false;
    stream_watch(s);
}

/* ---- to the peer ---- */

/* The rest of a frame. False: not all of it. */
static bool stream_flush(struct stream *s)
{
    while (s->unsent) {
        ssize_t r = send(s->fd, s->tx + s->tx_len - s->unsent, s->unsent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return false; /* full; or gone, which the next read says */
        s->unsent -= (size_t)r;
    }
    return true;
}

static int stream_send(struct net_backend *n, unsigned queue, const struct net_hdr *hdr, const struct iovec *iov,
                       unsigned niov)
{
    struct stream *s = stream_of(n);
    struct iovec v[STREAM_SEGS + 1];
    struct msghdr m = {.msg_iov = v, .msg_iovlen = niov + 1};
    size_t total = STREAM_LEN, sent;
    uint32_t len;
    ssize_t r;

    (void)queue;
    (void)hdr; /* asks for nothing: this back end has no offloads */
    if (s->dead)
        return 0;
    if (niov > STREAM_SEGS)
        return -E2BIG;
    if (!stream_flush(s))
        goto full;
    for (unsigned i = 0; i < niov; i++)
        total += iov[i].iov_len;
    len = htonl((uint32_t)(total - STREAM_LEN));
    v[0] = (struct iovec){.iov_base = &len, .iov_len = STREAM_LEN};
    memcpy(v + 1, iov, niov * sizeof(*iov));
    do
        r = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r < 0 && (errno == EAGAIN || errno == ENOBUFS))
        goto full;
    if (r < 0)
        return -errno;
    sent = (size_t)r;
    /* The peer counts on the rest: it waits here, the frame's chain does not. */
    s->tx_len = 0;
    for (unsigned i = 0; i <= niov; i++) {
        size_t skip = MIN(sent, v[i].iov_len);

        memcpy(s->tx + s->tx_len, (uint8_t *)v[i].iov_base + skip, v[i].iov_len - skip);
        s->tx_len += v[i].iov_len - skip;
        sent -= skip;
    }
    s->unsent = s->tx_len;
    stream_watch(s);
    return 0;

full:
    s->blocked = true;
    stream_watch(s);
    return -EAGAIN;
}

/* ---- both ---- */

static void stream_event(void *opaque, int fd, unsigned events)
{
    struct stream *s = opaque;

    (void)fd;
    if (events & LOOP_OUT && stream_flush(s))
        stream_unblock(s);
    /* An end is reported as long as it lasts: what the guest had no room for is lost with it. */
    if (events & LOOP_HUP && s->starved)
        stream_die(s, "has ended");
    else if (events & (LOOP_IN | LOOP_HUP) && !s->starved)
        stream_receive(s);
    stream_watch(s);
}

static void stream_resume(struct net_backend *n, unsigned queue)
{
    struct stream *s = stream_of(n);

    (void)queue;
    s->starved = false;
    if (!s->dead)
        stream_receive(s);
}

static int stream_start(struct net_backend *n, struct loop *l, struct err *e)
{
    struct stream *s = stream_of(n);
    int r = loop_fd_add(l, &s->watch, s->fd, LOOP_IN, stream_event, s);

    s->events = LOOP_IN;
    return r ? err_set(e, -r, "the connection to %s cannot be watched: %s", s->what, strerror(-r)) : 0;
}

static void stream_destroy(struct net_backend *n)
{
    struct stream *s = stream_of(n);

    if (s->watch)
        loop_fd_remove(s->watch);
    close(s->fd);
    free(s);
}

static const struct net_backend_ops stream_ops = {
    .name = "stream",
    .start = stream_start,
    .send = stream_send,
    .resume = stream_resume,
    .destroy = stream_destroy,
};

/* A back end on a connected socket, which is the back end's even on failure. */
static int stream_create(struct net_backend **out, int fd, const char *what, struct err *e)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (!s) {
        close(fd);
        return err_set(e, ENOMEM, "out of memory");
    }
    s->backend.ops = &stream_ops;
    s->fd = fd;
    snprintf(s->what, sizeof(s->what), "%s", what);
    *out = &s->backend;
    return 0;
}

int net_stream_join(struct net_backend **out, const char *path, const char *what, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char peer[sizeof(a.sun_path) + 16];
    int fd;

    if (!*path || strlen(path) >= sizeof(a.sun_path))
        return err_set(e, ENAMETOOLONG, "a socket's path has from 1 to %zu characters: %s", sizeof(a.sun_path) - 1,
                       path);
    strcpy(a.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, errno, "no socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        int r = err_set(e, errno, "nothing answers at the socket %s: %s", path, strerror(errno));

        close(fd);
        return r;
    }
    snprintf(peer, sizeof(peer), "the network at %s", path);
    return stream_create(out, fd, what ? what : peer, e);
}

int net_stream_take(struct net_backend **out, int fd, struct err *e)
{
    int type, yes;
    socklen_t len = sizeof(type), yes_len = sizeof(yes);
    char what[48];

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &yes_len) < 0 || yes)
        return err_set(e, EINVAL, "descriptor %d is not a connected stream socket", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(e, errno, "descriptor %d: %s", fd, strerror(errno));
    snprintf(what, sizeof(what), "the network at descriptor %d", fd);
    return stream_create(out, fd, what, e);
}

/* ---- passt ---- */

/* "ADDRESS/PORT:PORT", or with ranges for ports. */
static int passt_forward(char *out, size_t size, const struct net_hostfwd *f, struct err *e)
{
    unsigned last = MAX(f->count, (uint16_t)1) - 1u;
    const char *addr = f->host_addr[0] ? f->host_addr : "127.0.0.1";

    if (f->guest_addr[0])
        return err_set(e, EINVAL, "passt leads published ports to the guest's own address, not to %s", f->guest_addr);
    if (last)
        snprintf(out, size, "%s/%u-%u:%u-%u", addr, f->host_port, f->host_port + last, f->guest_port,
                 f->guest_port + last);
    else
        snprintf(out, size, "%s/%u:%u", addr, f->host_port, f->guest_port);
    return 0;
}

/*
 * passt goes into the background when it is ready and its ports are bound, and ends when our end of the socket is
 * closed, by whatever ends us (passt(1), --fd).
 */
static int passt_run(char *const argv[], struct net_backend **out, struct err *e)
{
    char said[256];
    int sock, status = net_child_run(argv, &sock, said, sizeof(said), PASST_MS, e);

    if (status == -ENOENT)
        return err_set(e, ENOENT, "there is no program passt (Debian's package passt); the user network needs none");
    if (status < 0)
        return status;
    if (status == 0)
        return stream_create(out, sock, "passt", e);
    close(sock);
    return err_set(e, EIO, "passt ended with status %d%s%s", status, *said ? ": " : "", said);
}

int net_passt_start(struct net_backend **out, const struct net_hostfwd *fwd, unsigned nfwd, struct err *e)
{
    static char fd[] = "3";
    char **argv = calloc(2 * (size_t)nfwd + 8, sizeof(*argv));
    char(*text)[96] = calloc(nfwd + 1, sizeof(*text));
    bool udp = false;
    unsigned n = 0;
    int r = 0;

    _Static_assert(NET_CHILD_FD == 3, "--fd");
    if (!argv || !text) {
        r = err_set(e, ENOMEM, "out of memory");
        goto out;
    }
    argv[n++] = "passt";
    argv[n++] = "--quiet";
    argv[n++] = "--fd";
    argv[n++] = fd;
    for (unsigned i = 0; i < nfwd; i++) {
        if ((r = passt_forward(text[i], sizeof(text[i]), &fwd[i], e)) < 0)
            goto out;
        argv[n++] = fwd[i].udp ? "-u" : "-t";
        argv[n++] = text[i];
        udp |= fwd[i].udp;
    }
    /* Otherwise the numbers that are forwarded for TCP are for UDP too. */
    if (!udp) {
        argv[n++] = "-u";
        argv[n++] = "none";
    }
    r = passt_run(argv, out, e);
out:
    free(argv);
    free(text);
    return r;
}
