/*
 * A machine's control socket. A client sends one line and is answered by one: "ok ..." or "error ...".
 *
 *   console   the connection becomes a console (devices/chardev.h); the answer says "types" or "reads"
 *   pause     the machine is paused, and goes on with
 *   resume
 *   stop      the guest is asked to power off; the answer says how, "acpi" or "sysrq"; the connection ends when the
 * machine has quit      the machine is ended; likewise
 */
#ifndef PIPIT_SERVICE_LIFE_CONTROL_H
#define PIPIT_SERVICE_LIFE_CONTROL_H

#include "devices/chardev.h"

struct control;

/* Called on the loop thread. */
struct control_ops {
    void (*quit)(void *opaque); /* ends the machine */
    void (*pause)(void *opaque, bool pause);
    void (*button)(void *opaque); /* presses its power button; NULL: it has none, and is asked by SysRq */
    void *opaque;
};

/* `fd` listens, and becomes the control's, also on failure. `hub` is the console. Before the loop runs. */
int control_open(struct control **out, struct loop *l, int fd, struct chardev *hub, const struct control_ops *ops,
                 struct err *e);
/* When the loop does not run any more. Connections stay open until the process ends, which tells the clients. */
void control_close(struct control *c);

#endif
