/*
 * Character back ends for PL011 and virtio-console: the terminal, a file, nothing, and a hub before one of these.
 *
 * Output may be written from any thread and never waits: what the descriptor does not take at once is kept in a
 * bounded buffer that the loop thread empties. Input arrives on the loop thread through the front end's receive
 * callback, only as much as its room callback allows, so that a slow guest makes the sender wait instead of losing
 * keys. Callbacks are called on the loop thread without any lock of the back end held.
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
    void (*writable)(void *opaque); /* chardev_write has room again after it fell short; may be NULL */
    void *opaque;
};

/* What the user typed behind Ctrl-A. A BREAK has gone to the front end already when it is told. */
enum chardev_escape { CHARDEV_ESC_QUIT, CHARDEV_ESC_HELP, CHARDEV_ESC_BREAK, CHARDEV_ESC_MONITOR, CHARDEV_ESC_PAUSE };

struct chardev_stdio_options {
    bool escapes; /* honour Ctrl-A x, h, b, c, p and Ctrl-A Ctrl-A */
    bool raw;     /* put a terminal in raw mode (restored at close, at exit, and around SIGTSTP/SIGCONT) */
    void (*on_escape)(void *opaque, enum chardev_escape what);
    void *opaque;
};

/* At most one at a time. Ignores SIGPIPE in the whole process: a reader that went away is an error of the write. */
int chardev_open_stdio(struct chardev **out, struct loop *l, const struct chardev_stdio_options *o, struct err *e);
int chardev_open_file(struct chardev **out, const char *path, struct err *e); /* output only, created or truncated */
int chardev_open_null(struct chardev **out);
/*
 * A console that several look at: all that `inner` (which becomes the hub's, also on failure) gets also goes to the
 * open file log_fd (which becomes the hub's; -1: none) and to attached connections. chardev_hub.c tells how.
 */
int chardev_open_hub(struct chardev **out, struct loop *l, struct chardev *inner, int log_fd, struct err *e);
#define CHARDEV_HUB_ESCAPE                                                                                             \
    0xff /* in what a connection sends: twice for the byte itself, and before 'b' for a BREAK                          \
          */
/* Takes over a connected, non-blocking socket, which it closes at its end: the latest output, then all there is, and
 * input if it is the first of those attached. On the loop thread. -ENOMEM, and then it is still the caller's. */
int chardev_hub_attach(struct chardev *hub, int fd);
/* Connections that are attached. */
unsigned chardev_hub_clients(const struct chardev *hub);
/* A BREAK and a key, to the front end that knows BREAKs; false where there is none. On the loop thread. */
bool chardev_hub_sysrq(struct chardev *hub, uint8_t key);
/* Writes what is still buffered, as long as the descriptor takes some of it within a second, and restores the
 * terminal. On the loop thread, or when the loop does not run any more. */
void chardev_close(struct chardev *c);

#define CHARDEV_MAX_FRONTENDS 4
/* Several front ends (CHARDEV_MAX_FRONTENDS; more are ignored) may share one back end for output; the last one set
 * gets the input. Before the loop runs. */
void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *f);
/* The front end has room again. From any thread. */
void chardev_resume(struct chardev *c);
/* While held, no input reaches the front end and none is told that there is room; what the user types behind Ctrl-A is
 * still told. On the loop thread. */
void chardev_hold(struct chardev *c, bool hold);
/* Takes as much as fits and returns how much; where that is not all, writable() will be called. */
size_t chardev_write(struct chardev *c, const uint8_t *p, size_t len);

/* Gives the terminal back as it was found; async-signal-safe, for handlers of fatal signals. Safe to call always. */
void chardev_restore_terminal(void);

#endif
