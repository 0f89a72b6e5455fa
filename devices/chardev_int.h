/* Inside the character back ends: what each of them implements. */
#ifndef PIPIT_DEVICES_CHARDEV_INT_H
#define PIPIT_DEVICES_CHARDEV_INT_H

#include "devices/chardev.h"

#define CHARDEV_QUEUE 4096
#define CHARDEV_BREAK 0x100 /* an entry of the queue that is no byte */

/* Input on its way to a front end. Loop thread. */
struct chardev_queue {
    unsigned head, count;
    uint16_t item[CHARDEV_QUEUE];
};

/* Bytes that the queue takes; what is put beyond is lost. */
static inline unsigned chardev_queue_room(const struct chardev_queue *q)
{
    return CHARDEV_QUEUE - q->count;
}
void chardev_queue_put(struct chardev_queue *q, uint16_t v);
/* As much as `f` has room for; all of it, to nobody, where f is NULL. */
void chardev_queue_deliver(struct chardev_queue *q, const struct chardev_frontend *f);

struct chardev_ops {
    size_t (*write)(struct chardev *c, const uint8_t *p, size_t len);
    void (*resume)(struct chardev *c);          /* NULL: no input */
    void (*hold)(struct chardev *c, bool hold); /* NULL: calls no front end by itself */
    void (*close)(struct chardev *c);
};

struct chardev {
    const struct chardev_ops *ops;
    unsigned nfrontends;
    struct chardev_frontend frontend[CHARDEV_MAX_FRONTENDS];
};

/* The one that gets the input, or NULL. */
static inline const struct chardev_frontend *chardev_input(const struct chardev *c)
{
    return c->nfrontends ? &c->frontend[c->nfrontends - 1] : NULL;
}

static inline void chardev_tell_writable(const struct chardev *c)
{
    for (unsigned i = 0; i < c->nfrontends; i++)
        if (c->frontend[i].writable)
            c->frontend[i].writable(c->frontend[i].opaque);
}

#endif
