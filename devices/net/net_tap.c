/*
 * A network interface of the host (tap) as a back end: frames go between the kernel and guest RAM in one system call
 * each, without a copy of ours, and with their headers, so that checksums and the cutting of long TCP segments are left
 * to the kernel, or to the network card behind it, or are not done at all between guests.
 *
 * Each queue of the interface is a descriptor. The kernel spreads flows over those that are attached, so a queue that
 * the guest does not use is detached, and not watched.
 *
 * Nothing here spins: a queue whose guest has no buffers is not watched for frames until there are some, one that takes
 * no frames is watched until it does, and an interface that was removed is given up with a line in the log.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices/net/net_tap.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define TAP_TURN_FRAMES 128         /* of a queue, before the loop serves others */
#define TAP_TURN_BYTES (512u << 10) /* the same */

struct tap_queue {
    struct tap *t;
    unsigned index;
    int fd;
    struct loop_fd *watch; /* NULL: not in use, or gone */
    unsigned events;       /* of the watch */
    bool starved;          /* the guest has no buffers: resume() will come */
    unsigned blocked;      /* queues of the guest, as bits, whose send returned -EAGAIN */
    bool reading;          /* in tap_read: the front end may call resume from there */
};

struct tap {
    struct net_backend backend;
    struct loop *loop; /* NULL until it is started */
    char name[IFNAMSIZ];
    bool headers; /* frames have them */
    bool gone;    /* the interface; said once */
    unsigned nqueues, used;
    struct tap_queue q[NET_MAX_QUEUES];
    uint8_t frame[NET_FRAME_MAX]; /* one read without a header */
    size_t kept;                  /* its length where the guest had no room for it */
};

static struct tap *tap_of(struct net_backend *n)
{
    return container_of(n, struct tap, backend);
}

static void tap_unblock(struct tap_queue *q)
{
    struct net_frontend *f = &q->t->backend.frontend;
    unsigned blocked = q->blocked;

    q->blocked = 0;
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++)
        if (blocked & BIT32(i) && f->writable)
            f->writable(f->opaque, i);
}

static void tap_unwatch(struct tap_queue *q)
{
    if (q->watch)
        loop_fd_remove(q->watch);
    q->watch = NULL;
    tap_unblock(q);
}

static void tap_gone(struct tap *t)
{
    struct net_frontend *f = &t->backend.frontend;

    if (t->gone)
        return;
    t->gone = true;
    log_error("net", "%s is no longer there: the guest's network is silent from now on", t->name);
    for (unsigned i = 0; i < t->nqueues; i++)
        tap_unwatch(&t->q[i]);
    if (f->link_down)
        f->link_down(f->opaque);
}

/* Waits for what is of use now. */
static void tap_watch(struct tap_queue *q)
{
    unsigned events = (q->starved ? 0 : LOOP_IN) | (q->blocked ? LOOP_OUT : 0);

    if (!q->watch || events == q->events)
        return;
    loop_fd_modify(q->watch, events);
    q->events = events;
}

/* What a failed read or write means: false where it is the interface's end. */
static bool tap_alive(struct tap *t)
{
    /* EBADFD: detached, because it was removed; ENODEV, ENXIO: a macvtap's. */
    if (errno != EBADFD && errno != ENODEV && errno != ENXIO)
        return true;
    tap_gone(t);
    return false;
}

/* One frame, with its header, into the guest's memory. Its length, 0 where no more are to be had now. */
static size_t tap_read_into_guest(struct tap_queue *q)
{
    struct net_frontend *f = &q->t->backend.frontend;
    unsigned niov;
    const struct iovec *iov = f->room(f->opaque, q->index, &niov);
    ssize_t r;

    q->starved = !iov;
    if (!iov)
        return 0;
    r = readv(q->fd, iov, (int)niov);
    if (r < 0)
        tap_alive(q->t);
    f->filled(f->opaque, q->index, r > 0 ? (size_t)r : 0);
    return r > 0 ? (size_t)r : 0;
}

/* The same for an interface whose frames have no header. */
static size_t tap_read_plain(struct tap_queue *q)
{
    struct tap *t = q->t;
    struct net_frontend *f = &t->backend.frontend;
    size_t len = t->kept;

    if (!len) {
        ssize_t r = read(q->fd, t->frame, sizeof(t->frame));

        if (r < 0)
            tap_alive(t);
        if (r <= 0)
            return 0;
        len = (size_t)r;
    }
    q->starved = !f->receive(f->opaque, t->frame, len);
    t->kept = q->starved ? len : 0;
    return q->starved ? 0 : len;
}

static void tap_read(struct tap_queue *q)
{
    struct tap *t = q->t;
    size_t bytes = 0, len = 1;

    if (q->reading || !t->backend.frontend.receive)
        return;
    q->reading = true;
    /* What is left is there at the loop's next turn: the watch is level-triggered. */
    for (unsigned i = 0; len && i < TAP_TURN_FRAMES && bytes < TAP_TURN_BYTES && !t->gone; i++) {
        len = t->headers ? tap_read_into_guest(q) : tap_read_plain(q);
        bytes += len;
    }
    q->reading = false;
    tap_watch(q);
}

static void tap_event(void *opaque, int fd, unsigned events)
{
    struct tap_queue *q = opaque;

    (void)fd;
    if (events & LOOP_OUT)
        tap_unblock(q);
    if (events & LOOP_HUP) {
        /* An error is reported as long as it lasts: nothing can be waited for here any more. */
        tap_gone(q->t);
        return;
    }
    if (events & LOOP_IN && !q->starved)
        tap_read(q);
    else
        tap_watch(q);
}

static int tap_send(struct net_backend *n, unsigned queue, const struct net_hdr *hdr, const struct iovec *iov,
                    unsigned niov)
{
    struct tap *t = tap_of(n);
    /* A driver may send on queues that it did not ask for. */
    struct tap_queue *q = &t->q[queue < t->used ? queue : 0];
    struct iovec v[niov + 1];
    unsigned skip = t->headers ? 0 : 1;
    ssize_t r;

    if (t->gone)
        return 0;
    v[0] = (struct iovec){.iov_base = (void *)hdr, .iov_len = NET_HDR_LEN};
    memcpy(v + 1, iov, niov * sizeof(*iov));
    r = writev(q->fd, v + skip, (int)(niov + 1 - skip));
    if (r >= 0)
        return 0;
    if (errno != EAGAIN)
        return tap_alive(t) ? -errno : 0; /* EIO: the interface is down */
    q->blocked |= BIT32(queue);
    tap_watch(q);
    return -EAGAIN;
}

static void tap_resume(struct net_backend *n, unsigned queue)
{
    struct tap_queue *q = &tap_of(n)->q[queue];

    q->starved = false;
    if (q->t->kept && queue == 0)
        tap_read(q);
    else
        tap_watch(q);
}

/* ---- queues and offloads ---- */

static int tap_attach(struct tap_queue *q, bool attach)
{
    struct ifreq ifr = {.ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

    return ioctl(q->fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

/* Attaches the first `n` queues and detaches the others. */
static void tap_use(struct tap *t, unsigned n)
{
    for (unsigned i = 0; i < t->nqueues && !t->gone; i++) {
        struct tap_queue *q = &t->q[i];
        bool use = i < n;
        int r;

        if (use == (i < t->used))
            continue;
        if (!use) {
            tap_unwatch(q);
            q->starved = false;
        }
        r = tap_attach(q, use);
        if (r == 0 && use) {
            q->events = LOOP_IN;
            r = loop_fd_add(t->loop, &q->watch, q->fd, LOOP_IN, tap_event, q);
        }
        if (r < 0)
            log_error("net", "queue %u of %s cannot be %s: %s", i, t->name, use ? "used" : "given up", strerror(-r));
    }
    t->used = n;
}

static void tap_setup(struct net_backend *n, unsigned offloads, unsigned queues)
{
    struct tap *t = tap_of(n);

    if (t->gone)
        return;
    if (t->headers && net_tap_set_offloads(t->q[0].fd, offloads) < 0 && tap_alive(t))
        log_error("net", "%s refuses the offloads that the guest accepted: %s", t->name, strerror(errno));
    if (t->loop && t->nqueues > 1)
        tap_use(t, queues);
}

static int tap_start(struct net_backend *n, struct loop *l, struct err *e)
{
    struct tap *t = tap_of(n);
    int r;

    t->loop = l;
    t->used = t->nqueues;
    for (unsigned i = 0; i < t->nqueues; i++) {
        struct tap_queue *q = &t->q[i];

        q->events = LOOP_IN;
        r = loop_fd_add(l, &q->watch, q->fd, LOOP_IN, tap_event, q);
        if (r)
            return err_set(e, -r, "%s cannot be watched: %s", t->name, strerror(-r));
    }
    if (t->nqueues > 1)
        tap_use(t, 1);
    return 0;
}

static void tap_destroy(struct net_backend *n)
{
    struct tap *t = tap_of(n);

    for (unsigned i = 0; i < t->nqueues; i++) {
        if (t->q[i].watch)
            loop_fd_remove(t->q[i].watch);
        close(t->q[i].fd);
    }
    free(t);
}

static const struct net_backend_ops tap_ops = {
    .name = "tap",
    .start = tap_start,
    .send = tap_send,
    .resume = tap_resume,
    .setup = tap_setup,
    .destroy = tap_destroy,
};

int net_tap_open(struct net_backend **out, const struct net_tap_config *cfg, struct err *e)
{
    struct tap *t = calloc(1, sizeof(*t));
    struct net_tap_opened o = {0};
    int r;

    if (!t)
        return err_set(e, ENOMEM, "out of memory");
    r = net_tap_take(&o, cfg, e);
    if (r < 0) {
        free(t);
        return r;
    }
    t->backend.ops = &tap_ops;
    t->backend.queues = o.nfds;
    t->backend.takes = t->backend.gives = o.offloads;
    t->backend.mtu = o.mtu;
    t->headers = o.headers;
    t->nqueues = o.nfds;
    memcpy(t->name, o.name, sizeof(t->name));
    for (unsigned i = 0; i < o.nfds; i++)
        t->q[i] = (struct tap_queue){.t = t, .index = i, .fd = o.fd[i]};
    *out = &t->backend;
    return 0;
}
