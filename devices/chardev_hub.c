/*
 * A console for several: what the guest prints goes to the inner back end, to a log file, and to a ring from which each
 * attached connection is sent what it has not seen. A connection that does not read loses the oldest output; nobody
 * waits for it. How much is kept does not depend on how many look.
 *
 * Input comes from the inner back end, and from the connection that has been attached the longest; what others send is
 * thrown away. It is read only as the front end has room. Connections are the loop thread's; the ring has a lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/chardev_int.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define HUB_RING KIB(256)
#define HUB_BACKLOG KIB(4) /* of earlier output, for one that attaches */

struct hub {
    struct chardev c;
    struct loop *loop;
    struct chardev *inner;
    int log_fd;
    atomic_bool log_failed;

    struct list clients; /* oldest first */
    atomic_uint nclients;
    bool held;
    struct chardev_queue in, sysrq;

    pthread_mutex_t lock; /* what follows */
    bool posted;
    uint64_t head; /* bytes that were ever put into the ring */
    uint8_t ring[HUB_RING];
};

struct hub_client {
    struct list link;
    struct hub *hub;
    int fd;
    struct loop_fd *watch;
    unsigned events;
    uint64_t pos; /* bytes of the output that were sent or are lost */
    bool escaped;
};

static struct hub *hub_of(const struct chardev *c)
{
    return container_of((struct chardev *)(uintptr_t)c, struct hub, c);
}

/* ---- connections ---- */

static void client_close(struct hub_client *k)
{
    list_remove(&k->link);
    atomic_fetch_sub(&k->hub->nclients, 1);
    loop_fd_remove(k->watch);
    close(k->fd);
    free(k);
}

static bool client_types(const struct hub_client *k)
{
    return k->hub->clients.next == &k->link;
}

/* Copies what follows *pos, which moves past what is lost; 0: nothing. */
static size_t ring_read(struct hub *h, uint64_t *pos, uint8_t *buf, size_t size)
{
    size_t n, at;

    pthread_mutex_lock(&h->lock);
    if (h->head - *pos > HUB_RING)
        *pos = h->head - HUB_RING;
    at = *pos % HUB_RING;
    n = MIN(MIN(h->head - *pos, (uint64_t)size), (uint64_t)(HUB_RING - at));
    memcpy(buf, h->ring + at, n);
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* What it waits for: input that there is a place for, room in the socket. A reader's input is read to be thrown away.
 */
static void client_watch(struct hub_client *k, bool want_out)
{
    bool in = !client_types(k) || chardev_queue_room(&k->hub->in) >= 256;
    unsigned events = (in ? LOOP_IN : 0) | (want_out ? LOOP_OUT : 0);

    if (events != k->events && loop_fd_modify(k->watch, events) == 0)
        k->events = events;
}

/* Sends what the socket takes. False: the connection is over. */
static bool client_send(struct hub_client *k)
{
    uint8_t buf[4096];
    size_t n;

    while ((n = ring_read(k->hub, &k->pos, buf, sizeof(buf))) != 0) {
        ssize_t sent = send(k->fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            client_watch(k, true);
            return errno == EAGAIN;
        }
        k->pos += (uint64_t)sent;
    }
    client_watch(k, false);
    return true;
}

static void client_byte(struct hub_client *k, uint8_t b)
{
    if (!k->escaped && b == CHARDEV_HUB_ESCAPE) {
        k->escaped = true;
        return;
    }
    if (!k->escaped || b == CHARDEV_HUB_ESCAPE)
        chardev_queue_put(&k->hub->in, b);
    else if (b == 'b')
        chardev_queue_put(&k->hub->in, CHARDEV_BREAK);
    k->escaped = false;
}

static void hub_deliver(struct hub *h)
{
    if (h->held)
        return;
    chardev_queue_deliver(&h->in, chardev_input(&h->c));
    for (unsigned i = 0; i < h->c.nfrontends; i++)
        if (h->c.frontend[i].brk)
            chardev_queue_deliver(&h->sysrq, &h->c.frontend[i]);
}

static void client_ready(void *opaque, int fd, unsigned events)
{
    struct hub_client *k = opaque;
    uint8_t buf[256];
    ssize_t n = 1;

    if (events & (LOOP_IN | LOOP_HUP)) {
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            n = events & LOOP_HUP ? 0 : 1;
        else if (n > 0 && client_types(k)) {
            for (ssize_t i = 0; i < n; i++)
                client_byte(k, buf[i]);
            hub_deliver(k->hub);
        }
    }
    if (n <= 0 || !client_send(k))
        client_close(k);
}

int chardev_hub_attach(struct chardev *c, int fd)
{
    struct hub *h = hub_of(c);
    struct hub_client *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    *k = (struct hub_client){.hub = h, .fd = fd, .events = LOOP_IN};
    r = loop_fd_add(h->loop, &k->watch, fd, LOOP_IN, client_ready, k);
    if (r < 0) {
        free(k);
        return r;
    }
    list_add_tail(&h->clients, &k->link);
    atomic_fetch_add(&h->nclients, 1);
    pthread_mutex_lock(&h->lock);
    k->pos = h->head - MIN(h->head, HUB_BACKLOG);
    pthread_mutex_unlock(&h->lock);
    if (!client_send(k))
        client_watch(k, true); /* the next look at it finds that it is over */
    return 0;
}

unsigned chardev_hub_clients(const struct chardev *c)
{
    return atomic_load(&hub_of(c)->nclients);
}

bool chardev_hub_sysrq(struct chardev *c, uint8_t key)
{
    struct hub *h = hub_of(c);
    bool known = false;

    for (unsigned i = 0; i < h->c.nfrontends; i++)
        known |= h->c.frontend[i].brk != NULL;
    if (known) {
        chardev_queue_put(&h->sysrq, CHARDEV_BREAK);
        chardev_queue_put(&h->sysrq, key);
        hub_deliver(h);
    }
    return known;
}

/* ---- output ---- */

static void hub_flush(void *opaque)
{
    struct hub *h = opaque;

    pthread_mutex_lock(&h->lock);
    h->posted = false;
    pthread_mutex_unlock(&h->lock);
    list_for_each(l, &h->clients)
    {
        struct hub_client *k = list_entry(l, struct hub_client, link);

        if (!(k->events & LOOP_OUT) && !client_send(k))
            client_close(k);
    }
}

static void hub_log(struct hub *h, const uint8_t *p, size_t len)
{
    while (len && h->log_fd >= 0) {
        ssize_t n = write(h->log_fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (!atomic_exchange(&h->log_failed, true))
                log_error("console", "the log cannot be written: %s", strerror(errno));
            return;
        }
        p += n;
        len -= (size_t)n;
    }
}

static size_t hub_write(struct chardev *c, const uint8_t *p, size_t len)
{
    struct hub *h = hub_of(c);
    size_t done;
    bool post;

    len = chardev_write(h->inner, p, len);
    hub_log(h, p, len);
    pthread_mutex_lock(&h->lock);
    for (done = 0; done < len;) {
        size_t at = h->head % HUB_RING, n = MIN(len - done, (size_t)(HUB_RING - at));

        memcpy(h->ring + at, p + done, n);
        h->head += n;
        done += n;
    }
    post = len && atomic_load(&h->nclients) && !h->posted;
    h->posted |= post;
    pthread_mutex_unlock(&h->lock);
    if (post)
        loop_post(h->loop, hub_flush, h);
    return len;
}

/* ---- between the front ends and the inner back end ---- */

static size_t inner_room(void *opaque)
{
    const struct chardev_frontend *f = chardev_input(&((struct hub *)opaque)->c);

    return f ? f->room(f->opaque) : 0;
}

static void inner_receive(void *opaque, const uint8_t *p, size_t len)
{
    const struct chardev_frontend *f = chardev_input(&((struct hub *)opaque)->c);

    if (f)
        f->receive(f->opaque, p, len);
}

static void inner_brk(void *opaque)
{
    const struct chardev_frontend *f = chardev_input(&((struct hub *)opaque)->c);

    if (f && f->brk)
        f->brk(f->opaque);
}

static void inner_writable(void *opaque)
{
    chardev_tell_writable(&((struct hub *)opaque)->c);
}

static void hub_resumed(void *opaque)
{
    struct hub *h = opaque;

    hub_deliver(h);
    list_for_each(l, &h->clients)
    {
        struct hub_client *k = list_entry(l, struct hub_client, link);
        client_watch(k, k->events & LOOP_OUT);
    }
}

static void hub_resume(struct chardev *c)
{
    struct hub *h = hub_of(c);

    chardev_resume(h->inner);
    loop_post(h->loop, hub_resumed, h);
}

static void hub_hold(struct chardev *c, bool hold)
{
    struct hub *h = hub_of(c);

    h->held = hold;
    chardev_hold(h->inner, hold);
    hub_deliver(h);
}

static void hub_close(struct chardev *c)
{
    struct hub *h = hub_of(c);

    list_for_each(l, &h->clients)
    {
        struct hub_client *k = list_entry(l, struct hub_client, link);

        client_send(k);
        client_close(k);
    }
    chardev_close(h->inner);
    if (h->log_fd >= 0)
        close(h->log_fd);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static const struct chardev_ops hub_ops = {
    .write = hub_write, .resume = hub_resume, .hold = hub_hold, .close = hub_close};

int chardev_open_hub(struct chardev **out, struct loop *l, struct chardev *inner, int log_fd, struct err *e)
{
    struct hub *h = calloc(1, sizeof(*h));

    if (!h) {
        chardev_close(inner);
        if (log_fd >= 0)
            close(log_fd);
        return err_set(e, ENOMEM, "no memory for the console");
    }
    h->c.ops = &hub_ops;
    h->loop = l;
    h->inner = inner;
    h->log_fd = log_fd;
    list_init(&h->clients);
    pthread_mutex_init(&h->lock, NULL);
    chardev_set_frontend(inner, &(struct chardev_frontend){
                                    .room = inner_room,
                                    .receive = inner_receive,
                                    .brk = inner_brk,
                                    .writable = inner_writable,
                                    .opaque = h,
                                });
    *out = &h->c;
    return 0;
}
