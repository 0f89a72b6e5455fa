/* Character back ends: what they share, and the two simple ones (a file, nothing). */
#include "devices/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/chardev_int.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

struct chardev_file {
    struct chardev c;
    int fd;
    atomic_bool failed;
};

void chardev_close(struct chardev *c)
{
    if (c)
        c->ops->close(c);
}

void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *f)
{
    if (c->nfrontends < CHARDEV_MAX_FRONTENDS)
        c->frontend[c->nfrontends++] = *f;
}

void chardev_resume(struct chardev *c)
{
    if (c->ops->resume)
        c->ops->resume(c);
}

void chardev_hold(struct chardev *c, bool hold)
{
    if (c->ops->hold)
        c->ops->hold(c, hold);
}

void chardev_queue_put(struct chardev_queue *q, uint16_t v)
{
    if (q->count < CHARDEV_QUEUE)
        q->item[(q->head + q->count++) % CHARDEV_QUEUE] = v;
}

static uint16_t queue_take(struct chardev_queue *q)
{
    uint16_t v = q->item[q->head];

    q->head = (q->head + 1) % CHARDEV_QUEUE;
    q->count--;
    return v;
}

void chardev_queue_deliver(struct chardev_queue *q, const struct chardev_frontend *f)
{
    uint8_t buf[256];

    while (q->count) {
        if (q->item[q->head] == CHARDEV_BREAK) {
            if (f && f->brk)
                f->brk(f->opaque);
            queue_take(q);
            continue;
        }
        size_t room = f ? MIN(f->room(f->opaque), sizeof(buf)) : sizeof(buf), n = 0;
        while (n < room && q->count && q->item[q->head] != CHARDEV_BREAK)
            buf[n++] = (uint8_t)queue_take(q);
        if (n == 0)
            return;
        if (f)
            f->receive(f->opaque, buf, n);
    }
}

size_t chardev_write(struct chardev *c, const uint8_t *p, size_t len)
{
    return c->ops->write(c, p, len);
}

/* A disk file never makes a writer wait for a reader, so this needs no buffer. */
static size_t file_write(struct chardev *c, const uint8_t *p, size_t len)
{
    struct chardev_file *f = container_of(c, struct chardev_file, c);
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(f->fd, p + done, len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            if (!atomic_exchange(&f->failed, true))
                log_error("serial", "the output file cannot be written: %s", strerror(errno));
            break;
        }
    }
    return len;
}

static void file_close(struct chardev *c)
{
    struct chardev_file *f = container_of(c, struct chardev_file, c);
    close(f->fd);
    free(f);
}

static const struct chardev_ops file_ops = {.write = file_write, .close = file_close};

int chardev_open_file(struct chardev **out, const char *path, struct err *e)
{
    struct chardev_file *f = calloc(1, sizeof(*f));
    int rc;

    if (!f)
        return err_set(e, ENOMEM, "no memory for the output file %s", path);
    f->c.ops = &file_ops;
    f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    if (f->fd < 0) {
        rc = err_set(e, errno, "cannot open the output file %s: %s", path, strerror(errno));
        free(f);
        return rc;
    }
    *out = &f->c;
    return 0;
}

static size_t null_write(struct chardev *c, const uint8_t *p, size_t len)
{
    (void)c;
    (void)p;
    return len;
}

static void null_close(struct chardev *c)
{
    free(c);
}

static const struct chardev_ops null_ops = {.write = null_write, .close = null_close};

int chardev_open_null(struct chardev **out)
{
    struct chardev *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->ops = &null_ops;
    *out = c;
    return 0;
}
