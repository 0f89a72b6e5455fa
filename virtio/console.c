/*
 * virtio-console (virtio 1.2, 5.3): one port, queue 0 to the driver and queue 1 from it.
 *
 * Both directions wait for each other side: input is taken from the back end as the driver supplies buffers, output
 * stays in the ring while the back end has no room.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtio/transport.h"
#include "virtio/virtio.h"

#define CONSOLE_RX 0
#define CONSOLE_TX 1
#define CONSOLE_QUEUE_MAX 64
#define CONSOLE_CFG_LEN 12
#define CONSOLE_ROOM 512
#define CONSOLE_TX_BUDGET (4 * CONSOLE_QUEUE_MAX)

struct console {
    struct virtio_device vd;
    struct chardev *chr;
    size_t tx_done; /* bytes of the chain at the head of the transmit ring that the back end has taken */
    struct virtq_chain chain;
};

static struct console *console_of(struct virtio_device *vd)
{
    return container_of(vd, struct console, vd);
}

/* --- input --- */

static size_t console_room(void *opaque)
{
    struct console *c = opaque;

    if (!c->vd.running || !c->vd.vq[CONSOLE_RX].size)
        return 0;
    if (!virtio_pop(&c->vd, CONSOLE_RX, &c->chain)) {
        if (!c->vd.running || !virtq_enable_notify(&c->vd.vq[CONSOLE_RX]) || !virtio_pop(&c->vd, CONSOLE_RX, &c->chain))
            return 0;
    }
    virtq_unpop(&c->vd.vq[CONSOLE_RX], 1);
    if (c->chain.in_len == 0) {
        virtio_device_break(&c->vd, CONSOLE_RX, "a receive buffer without room");
        return 0;
    }
    return MIN((size_t)c->chain.in_len, (size_t)CONSOLE_ROOM);
}

static void console_receive(void *opaque, const uint8_t *p, size_t len)
{
    struct console *c = opaque;

    /* The driver may have changed the ring since room() looked. */
    while (len && virtio_pop(&c->vd, CONSOLE_RX, &c->chain)) {
        size_t n = virtq_iov_put(virtq_chain_in(&c->chain), c->chain.nin, 0, p, len);
        virtq_wrote(c->vd.transport->mem, virtq_chain_in(&c->chain), c->chain.nin);
        virtq_push(&c->vd.vq[CONSOLE_RX], c->chain.head, (uint32_t)n);
        p += n;
        len -= n;
    }
    virtio_interrupt(&c->vd, CONSOLE_RX);
}

/* --- output --- */

/* The chain in c->chain from c->tx_done on; true when the back end has all of it. */
static bool console_send(struct console *c)
{
    struct virtq_chain *ch = &c->chain;
    size_t skip = c->tx_done;

    for (unsigned i = 0; i < ch->nout; i++) {
        size_t len = ch->iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        size_t n = chardev_write(c->chr, (const uint8_t *)ch->iov[i].iov_base + skip, len - skip);
        c->tx_done += n;
        if (n < len - skip)
            return false;
        skip = 0;
    }
    c->tx_done = 0;
    return true;
}

static void console_transmit(struct console *c)
{
    struct virtq *q = &c->vd.vq[CONSOLE_TX];
    unsigned budget = CONSOLE_TX_BUDGET;

    do {
        virtq_disable_notify(q);
        while (virtio_pop(&c->vd, CONSOLE_TX, &c->chain)) {
            if (!console_send(c)) {
                virtq_unpop(q, 1);
                goto out;
            }
            virtq_push(q, c->chain.head, 0);
            if (--budget == 0) {
                c->vd.transport->ops->renotify(c->vd.transport, CONSOLE_TX);
                goto out;
            }
        }
    } while (c->vd.running && virtq_enable_notify(q));
out:
    virtio_interrupt(&c->vd, CONSOLE_TX);
}

static void console_writable(void *opaque)
{
    struct console *c = opaque;
    if (c->vd.running && c->vd.vq[CONSOLE_TX].size)
        console_transmit(c);
}

static void console_notify(struct virtio_device *vd, unsigned queue)
{
    struct console *c = console_of(vd);
    if (queue == CONSOLE_RX)
        chardev_resume(c->chr);
    else
        console_transmit(c);
}

static void console_reset(struct virtio_device *vd)
{
    console_of(vd)->tx_done = 0;
}

static void console_destroy(struct virtio_device *vd)
{
    free(console_of(vd));
}

static const struct virtio_device_ops console_ops = {
    .notify = console_notify,
    .reset = console_reset,
    .destroy = console_destroy,
};

int virtio_console_create(struct virtio_device **out, struct chardev *chr)
{
    struct console *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->chr = chr;
    c->vd = (struct virtio_device){
        .ops = &console_ops,
        .name = "virtio-console",
        .id = VIRTIO_ID_CONSOLE,
        .nqueues = 2,
        .queue_max = CONSOLE_QUEUE_MAX,
        .config_len = CONSOLE_CFG_LEN,
    };
    chardev_set_frontend(chr, &(struct chardev_frontend){
                                  .room = console_room,
                                  .receive = console_receive,
                                  .writable = console_writable,
                                  .opaque = c,
                              });
    *out = &c->vd;
    return 0;
}
