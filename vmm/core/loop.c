/*
 * The event loop, on epoll.
 *
 * Why epoll and not io_uring: epoll works in every container and under every seccomp policy, and what this loop waits
 * for (notifications, timers, a terminal, the network's doorbell) is readiness, which epoll tells as cheaply. Bulk I/O
 * is the block engine's, and that has its own io_uring; its completion descriptor is one of ours.
 *
 * Posted calls sit in a list under a mutex; an eventfd wakes the loop when the list becomes non-empty. Nodes come from
 * a stock made with the loop; malloc helps out when more than that many calls are waiting.
 *
 * A descriptor that is removed by a callback may still stand in the batch of events that epoll returned: it is marked
 * and freed after the batch.
 */
#include "vmm/core/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/base/list.h"
#include "vmm/base/log.h"

#define LOOP_BATCH 64
#define LOOP_STOCK 256

struct loop_fd {
    struct list link; /* in loop->fds, or loop->dead */
    struct loop *loop;
    int fd;
    unsigned events;
    bool removed;
    bool always; /* a regular file or /dev/null: epoll refuses it, reads and writes never wait */
    loop_fd_fn fn;
    void *opaque;
};

struct loop_timer {
    struct loop_fd *watch;
    int fd;
    loop_fn fn;
    void *opaque;
};

struct loop_call {
    struct loop_call *next;
    loop_fn fn;
    void *opaque;
};

struct loop {
    int epoll_fd;
    int wake_fd;
    atomic_bool stop;
    atomic_bool running;
    pthread_t runner; /* valid while running */
    bool dispatching;
    unsigned nalways; /* descriptors with `always` set */
    struct list fds, dead;
    pthread_mutex_t lock; /* guards the three below */
    struct loop_call *first, **last;
    struct loop_call *stock;
    struct loop_call nodes[LOOP_STOCK];
};

int loop_create(struct loop **out, struct err *e)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    struct loop *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return err_set(e, ENOMEM, "out of memory");
    list_init(&l->fds);
    list_init(&l->dead);
    pthread_mutex_init(&l->lock, NULL);
    l->last = &l->first;
    for (unsigned i = 0; i < LOOP_STOCK; i++) {
        l->nodes[i].next = l->stock;
        l->stock = &l->nodes[i];
    }
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        r = err_set(e, errno, "the event loop cannot be made: epoll_create1: %s", strerror(errno));
        goto free_loop;
    }
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        r = err_set(e, errno, "the event loop cannot be made: eventfd: %s", strerror(errno));
        goto close_epoll;
    }
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev) < 0) {
        r = err_set(e, errno, "the event loop cannot be made: epoll_ctl: %s", strerror(errno));
        goto close_wake;
    }
    *out = l;
    return 0;

close_wake:
    close(l->wake_fd);
close_epoll:
    close(l->epoll_fd);
free_loop:
    free(l);
    return r;
}

static void loop_free_list(struct list *list)
{
    list_for_each(p, list)
    {
        list_remove(p);
        free(list_entry(p, struct loop_fd, link));
    }
}

/* Gives a node back to the stock, or to malloc. Called with the lock held. */
static void loop_call_put(struct loop *l, struct loop_call *c)
{
    if (c >= l->nodes && c < l->nodes + LOOP_STOCK) {
        c->next = l->stock;
        l->stock = c;
    } else {
        free(c);
    }
}

void loop_destroy(struct loop *l)
{
    if (!l)
        return;
    while (l->first) {
        struct loop_call *c = l->first;

        l->first = c->next;
        loop_call_put(l, c);
    }
    loop_free_list(&l->fds);
    loop_free_list(&l->dead);
    close(l->wake_fd);
    close(l->epoll_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void loop_wake(struct loop *l)
{
    uint64_t one = 1;

    /* EAGAIN: the counter is full, so the loop will wake anyway. */
    while (write(l->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void loop_stop(struct loop *l)
{
    int saved_errno = errno; /* signal handlers call this */

    atomic_store(&l->stop, true);
    loop_wake(l);
    errno = saved_errno;
}

void loop_post(struct loop *l, loop_fn fn, void *opaque)
{
    struct loop_call *c;
    bool was_empty;

    pthread_mutex_lock(&l->lock);
    c = l->stock;
    if (c) {
        l->stock = c->next;
    } else {
        c = malloc(sizeof(*c));
        if (!c) {
            log_error("loop", "no memory for a posted call");
            abort();
        }
    }
    *c = (struct loop_call){.fn = fn, .opaque = opaque};
    was_empty = !l->first;
    *l->last = c;
    l->last = &c->next;
    pthread_mutex_unlock(&l->lock);
    if (was_empty)
        loop_wake(l);
}

/* Runs what was posted so far; calls posted meanwhile wake the loop again. */
static void loop_run_posted(struct loop *l)
{
    struct loop_call *c;
    uint64_t count;

    while (read(l->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&l->lock);
    c = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);
    while (c) {
        struct loop_call *next = c->next;

        c->fn(c->opaque);
        pthread_mutex_lock(&l->lock);
        loop_call_put(l, c);
        pthread_mutex_unlock(&l->lock);
        c = next;
    }
}

static unsigned events_from_epoll(uint32_t e)
{
    return (e & EPOLLIN ? LOOP_IN : 0) | (e & EPOLLOUT ? LOOP_OUT : 0) | (e & (EPOLLHUP | EPOLLERR) ? LOOP_HUP : 0);
}

static uint32_t events_to_epoll(unsigned e)
{
    return (e & LOOP_IN ? (uint32_t)EPOLLIN : 0) | (e & LOOP_OUT ? (uint32_t)EPOLLOUT : 0);
}

static bool loop_always_ready(const struct loop *l)
{
    if (!l->nalways)
        return false;
    list_for_each(p, &l->fds)
    {
        const struct loop_fd *f = list_entry(p, struct loop_fd, link);

        if (f->always && f->events)
            return true;
    }
    return false;
}

static void loop_dispatch_always(struct loop *l)
{
    struct list *p = l->fds.next;

    /* A callback may remove any descriptor; one that is removed sits in l->dead, so start over from the head then. */
    while (p != &l->fds) {
        struct loop_fd *f = list_entry(p, struct loop_fd, link);

        if (f->always && f->events) {
            f->fn(f->opaque, f->fd, f->events);
            if (!list_empty(&l->dead))
                return;
        }
        p = p->next;
    }
}

void loop_run(struct loop *l)
{
    struct epoll_event ev[LOOP_BATCH];

    l->runner = pthread_self();
    atomic_store(&l->running, true);
    while (!atomic_load(&l->stop)) {
        int n = epoll_wait(l->epoll_fd, ev, LOOP_BATCH, loop_always_ready(l) ? 0 : -1);

        if (n < 0 && errno != EINTR) {
            log_error("loop", "epoll_wait: %s", strerror(errno));
            abort();
        }
        l->dispatching = true;
        for (int i = 0; i < n && !atomic_load(&l->stop); i++) {
            struct loop_fd *f = ev[i].data.ptr;

            if (!f)
                loop_run_posted(l);
            else if (!f->removed)
                f->fn(f->opaque, f->fd, events_from_epoll(ev[i].events));
        }
        if (l->nalways && !atomic_load(&l->stop))
            loop_dispatch_always(l);
        l->dispatching = false;
        loop_free_list(&l->dead);
    }
    atomic_store(&l->running, false);
    atomic_store(&l->stop, false);
}

bool loop_is_mine(const struct loop *l)
{
    return !atomic_load(&l->running) || pthread_equal(l->runner, pthread_self());
}

int loop_fd_add(struct loop *l, struct loop_fd **out, int fd, unsigned events, loop_fd_fn fn, void *opaque)
{
    struct loop_fd *f = calloc(1, sizeof(*f));
    struct epoll_event ev = {.events = events_to_epoll(events), .data.ptr = f};

    if (!f)
        return -ENOMEM;
    *f = (struct loop_fd){.loop = l, .fd = fd, .events = events & (LOOP_IN | LOOP_OUT), .fn = fn, .opaque = opaque};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int r = -errno;

        if (r != -EPERM) {
            free(f);
            return r;
        }
        f->always = true;
        l->nalways++;
    }
    list_add_tail(&l->fds, &f->link);
    *out = f;
    return 0;
}

int loop_fd_modify(struct loop_fd *f, unsigned events)
{
    struct epoll_event ev = {.events = events_to_epoll(events), .data.ptr = f};

    if (!f->always && epoll_ctl(f->loop->epoll_fd, EPOLL_CTL_MOD, f->fd, &ev) < 0)
        return -errno;
    f->events = events & (LOOP_IN | LOOP_OUT);
    return 0;
}

void loop_fd_remove(struct loop_fd *f)
{
    struct loop *l = f->loop;

    if (f->always)
        l->nalways--;
    else
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
    list_remove(&f->link);
    f->removed = true;
    if (l->dispatching)
        list_add_tail(&l->dead, &f->link);
    else
        free(f);
}

static void loop_timer_expired(void *opaque, int fd, unsigned events)
{
    struct loop_timer *t = opaque;
    uint64_t count;

    (void)events;
    /* EAGAIN: another thread cancelled or re-armed it after epoll had seen it. */
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        t->fn(t->opaque);
}

int loop_timer_add(struct loop *l, struct loop_timer **out, loop_fn fn, void *opaque)
{
    struct loop_timer *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return -ENOMEM;
    t->fn = fn;
    t->opaque = opaque;
    t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (t->fd < 0) {
        r = -errno;
        goto free_timer;
    }
    r = loop_fd_add(l, &t->watch, t->fd, LOOP_IN, loop_timer_expired, t);
    if (r < 0)
        goto close_fd;
    *out = t;
    return 0;

close_fd:
    close(t->fd);
free_timer:
    free(t);
    return r;
}

void loop_timer_set(struct loop_timer *t, uint64_t host_ns)
{
    struct itimerspec its = {0};

    /* All zeroes would disarm it. */
    host_ns = host_ns ? host_ns : 1;
    its.it_value.tv_sec = (time_t)(host_ns / UINT64_C(1000000000));
    its.it_value.tv_nsec = (long)(host_ns % UINT64_C(1000000000));
    timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &its, NULL);
}

void loop_timer_cancel(struct loop_timer *t)
{
    static const struct itimerspec off;

    timerfd_settime(t->fd, 0, &off, NULL);
}

void loop_timer_remove(struct loop_timer *t)
{
    if (!t)
        return;
    loop_fd_remove(t->watch);
    close(t->fd);
    free(t);
}
