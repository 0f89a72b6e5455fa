/*
 * Character back ends for PL011 and virtio-console: the terminal, a file, nothing.
 *
 * Output may be written from any thread. Input arrives on the loop thread through the front end's receive callback,
 * only as much as its room callback allows, so that a slow guest makes the terminal wait instead of losing keys.
 */
#ifndef PIPIT_DEVICES_CHARDEV_H
#define PIPIT_DEVICES_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/loop.h"

struct chardev;

struct chardev_frontend {
    size_t (*room)(void *opaque);                                /* bytes that receive would take now */
    void (*receive)(void *opaque, const uint8_t *p, size_t len); /* len <= room */
    void (*brk)(void *opaque);                                   /* a BREAK condition; may be NULL */
    void *opaque;
};

/* What the user typed behind Ctrl-A. */
enum chardev_escape { CHARDEV_ESC_QUIT, CHARDEV_ESC_HELP, CHARDEV_ESC_BREAK, CHARDEV_ESC_MONITOR };

struct chardev_stdio_options {
    bool escapes; /* honour Ctrl-A x, h, b, c and Ctrl-A Ctrl-A */
    bool raw;     /* put a terminal in raw mode (restored at close, on any exit path, and on SIGTSTP/SIGCONT) */
    void (*on_escape)(void *opaque, enum chardev_escape what);
    void *opaque;
};

int chardev_open_stdio(struct chardev **out, struct loop *l, const struct chardev_stdio_options *o, struct err *e);
int chardev_open_file(struct chardev **out, const char *path, struct err *e); /* output only, created or truncated */
int chardev_open_null(struct chardev **out);
void chardev_close(struct chardev *c);

/* Several front ends may share one back end for output; the last one set gets the input. */
void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *f);
/* The front end has room again. */
void chardev_resume(struct chardev *c);
void chardev_write(struct chardev *c, const uint8_t *p, size_t len);

#endif
