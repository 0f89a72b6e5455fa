/*
 * All on the loop thread. Clients are processes of this user, and nevertheless not trusted: each has a line's length of
 * memory, their number is bounded, and one that says nothing makes way for the next.
 */
#include "vmm/service/life/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define CONTROL_MAX 16  /* connections, consoles included */
#define CONTROL_LINE 32 /* bytes of a command */
#define STOP_STEP_NS UINT64_C(700000000)

struct control {
    struct loop *loop;
    uid_t uid;
    int fd;
    struct loop_fd *watch; /* NULL: nobody is let in any more */
    struct chardev *hub;
    struct list conns; /* oldest first */
    unsigned n;        /* of them; those that became consoles are the hub's */
    struct loop_timer *stop_timer;
    const char *stop_keys; /* still to be pressed */
    struct control_ops ops;
};

struct conn {
    struct list link;
    struct control *control;
    int fd;
    struct loop_fd *watch;
    char line[CONTROL_LINE];
    size_t len;
    bool waits; /* for the machine's end */
};

static void conn_free(struct conn *k)
{
    list_remove(&k->link);
    k->control->n--;
    loop_fd_remove(k->watch);
    free(k);
}

static void conn_close(struct conn *k)
{
    close(k->fd);
    conn_free(k);
}

static void conn_answer(struct conn *k, const char *text)
{
    /* One that does not even take a line is not told. */
    if (send(k->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("control", "a client has gone away");
}

/* ---- commands ---- */

static void do_console(struct conn *k)
{
    struct control *c = k->control;
    int fd = k->fd;

    conn_answer(k, chardev_hub_clients(c->hub) ? "ok reads\n" : "ok types\n");
    conn_free(k);
    if (chardev_hub_attach(c->hub, fd) < 0)
        close(fd);
}

/* SysRq s, u, o: the first two take their time. */
static void stop_step(void *opaque)
{
    struct control *c = opaque;
    struct timespec now;

    if (!*c->stop_keys)
        return;
    chardev_hub_sysrq(c->hub, (uint8_t)*c->stop_keys++);
    clock_gettime(CLOCK_MONOTONIC, &now);
    loop_timer_set(c->stop_timer, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + STOP_STEP_NS);
}

static void do_stop(struct conn *k)
{
    struct control *c = k->control;

    k->waits = true;
    if (c->ops.button) {
        conn_answer(k, "ok acpi\n");
        c->ops.button(c->ops.opaque);
        return;
    }
    conn_answer(k, "ok sysrq\n");
    if (*c->stop_keys)
        return; /* on its way */
    c->stop_keys = "suo";
    stop_step(c);
}

static void do_quit(struct conn *k)
{
    k->waits = true;
    conn_answer(k, "ok\n");
    k->control->ops.quit(k->control->ops.opaque);
}

static void do_pause(struct conn *k)
{
    k->control->ops.pause(k->control->ops.opaque, !strcmp(k->line, "pause"));
    conn_answer(k, "ok\n");
    conn_close(k);
}

static void conn_command(struct conn *k)
{
    static const struct {
        const char *word;
        void (*run)(struct conn *k);
    } commands[] = {
        {"console", do_console}, {"stop", do_stop}, {"quit", do_quit}, {"pause", do_pause}, {"resume", do_pause}};

    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        if (!strcmp(k->line, commands[i].word)) {
            commands[i].run(k);
            return;
        }
    conn_answer(k, "error this is no command\n");
    conn_close(k);
}

static void conn_ready(void *opaque, int fd, unsigned events)
{
    struct conn *k = opaque;
    char buf[CONTROL_LINE];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(k);
        return;
    }
    /* What follows a command is not looked at. */
    for (ssize_t i = 0; i < n && !k->waits; i++) {
        if (buf[i] == '\n') {
            k->line[k->len] = '\0';
            conn_command(k);
            return;
        }
        if (k->len + 1 == sizeof(k->line)) {
            conn_answer(k, "error the line is too long\n");
            conn_close(k);
            return;
        }
        k->line[k->len++] = buf[i];
    }
}

/* ---- letting clients in ---- */

static bool is_ours(const struct control *c, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == c->uid || peer.uid == 0);
}

/* Ends the oldest connection that has not said what it wants. */
static bool make_room(struct control *c)
{
    list_for_each(l, &c->conns)
    {
        struct conn *k = list_entry(l, struct conn, link);

        if (!k->waits) {
            conn_close(k);
            return true;
        }
    }
    return false;
}

static void control_accept(void *opaque, int fd, unsigned events)
{
    struct control *c = opaque;
    struct conn *k;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (client < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        /* It would be reported again and again. */
        log_error("control", "no client can be let in any more: %s", strerror(errno));
        loop_fd_remove(c->watch);
        c->watch = NULL;
        return;
    }
    if (!is_ours(c, client) || (c->n + chardev_hub_clients(c->hub) >= CONTROL_MAX && !make_room(c)))
        goto refuse;
    k = calloc(1, sizeof(*k));
    if (!k)
        goto refuse;
    k->control = c;
    k->fd = client;
    if (loop_fd_add(c->loop, &k->watch, client, LOOP_IN, conn_ready, k) < 0) {
        free(k);
        goto refuse;
    }
    list_add_tail(&c->conns, &k->link);
    c->n++;
    return;
refuse:
    close(client);
}

int control_open(struct control **out, struct loop *l, int fd, struct chardev *hub, const struct control_ops *ops,
                 struct err *e)
{
    struct control *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        close(fd);
        return err_set(e, ENOMEM, "out of memory");
    }
    *c = (struct control){.loop = l, .uid = geteuid(), .fd = fd, .hub = hub, .ops = *ops, .stop_keys = ""};
    list_init(&c->conns);
    r = loop_timer_add(l, &c->stop_timer, stop_step, c);
    if (r == 0)
        r = loop_fd_add(l, &c->watch, fd, LOOP_IN, control_accept, c);
    if (r < 0) {
        control_close(c);
        return err_set(e, -r, "the control socket cannot be served: %s", strerror(-r));
    }
    *out = c;
    return 0;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    list_for_each(l, &c->conns) conn_free(list_entry(l, struct conn, link));
    if (c->watch)
        loop_fd_remove(c->watch);
    if (c->stop_timer)
        loop_timer_remove(c->stop_timer);
    close(c->fd);
    free(c);
}
