/* Inside the character back ends: what each of them implements. */
#ifndef PIPIT_DEVICES_CHARDEV_INT_H
#define PIPIT_DEVICES_CHARDEV_INT_H

#include "devices/chardev.h"

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

#endif
