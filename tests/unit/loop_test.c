/* The event loop: posted calls, timers, descriptors, removal inside callbacks, stop from other threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/core/loop.h"

static struct loop *l;
static atomic_uint calls;
static unsigned order[4], norder;

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *loop_thread(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void stop_cb(void *opaque)
{
    loop_stop(opaque);
}

static void count_cb(void *opaque)
{
    (void)opaque;
    atomic_fetch_add(&calls, 1);
}

#define POSTS 5000

static void *poster(void *opaque)
{
    for (int i = 0; i < POSTS; i++)
        loop_post(opaque, count_cb, NULL);
    return NULL;
}

static void posts_from_many_threads_all_run(void)
{
    pthread_t t, p[4];
    struct err e;

    CHECK(loop_create(&l, &e) == 0);
    atomic_store(&calls, 0);
    pthread_create(&t, NULL, loop_thread, l);
    for (int i = 0; i < 4; i++)
        pthread_create(&p[i], NULL, poster, l);
    for (int i = 0; i < 4; i++)
        pthread_join(p[i], NULL);
    loop_post(l, stop_cb, l); /* behind all others */
    pthread_join(t, NULL);
    CHECK_EQ(atomic_load(&calls), 4 * POSTS);
    loop_destroy(l);
}

static void stop_before_run_and_leftover_posts(void)
{
    struct err e;

    CHECK(loop_create(&l, &e) == 0);
    for (int i = 0; i < 1000; i++) /* more than the stock */
        loop_post(l, count_cb, NULL);
    loop_stop(l);
    loop_run(l);
    loop_post(l, stop_cb, l);
    loop_run(l); /* may run again */
    loop_post(l, count_cb, NULL);
    loop_destroy(l);
}

static struct loop_timer *timer[3];

static void timer_cb(void *opaque)
{
    order[norder++] = (unsigned)(uintptr_t)opaque;
    if (norder == 2)
        loop_stop(l);
}

static void timers_fire_once_in_order(void)
{
    uint64_t start = now_ns();
    struct err e;

    CHECK(loop_create(&l, &e) == 0);
    norder = 0;
    for (uintptr_t i = 0; i < 3; i++)
        CHECK(loop_timer_add(l, &timer[i], timer_cb, (void *)i) == 0);
    loop_timer_set(timer[0], start + 20000000);
    loop_timer_set(timer[1], start + 5000000);
    loop_timer_set(timer[2], start + 1000000);
    loop_timer_cancel(timer[2]);
    loop_run(l);
    CHECK_EQ(norder, 2);
    CHECK(order[0] == 1 && order[1] == 0);
    CHECK(now_ns() - start >= 20000000);

    norder = 1;
    loop_timer_set(timer[2], UINT64_MAX); /* never */
    loop_timer_set(timer[0], 0);          /* long past: at once */
    loop_run(l);
    CHECK_EQ(order[1], 0);
    for (int i = 0; i < 3; i++)
        loop_timer_remove(timer[i]);
    loop_destroy(l);
}

static struct loop_fd *watch[2];
static unsigned fd_calls;

static void remove_both(void *opaque, int fd, unsigned events)
{
    (void)opaque;
    (void)fd;
    fd_calls++;
    if (events & LOOP_IN) {
        loop_fd_remove(watch[0]);
        loop_fd_remove(watch[1]);
        loop_stop(l);
    }
}

static void removal_inside_a_batch(void)
{
    int a[2], b[2];
    struct err e;

    CHECK(loop_create(&l, &e) == 0);
    CHECK(pipe(a) == 0 && pipe(b) == 0);
    CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
    CHECK(loop_fd_add(l, &watch[0], a[0], LOOP_IN, remove_both, NULL) == 0);
    CHECK(loop_fd_add(l, &watch[1], b[0], LOOP_IN, remove_both, NULL) == 0);
    fd_calls = 0;
    loop_run(l);
    CHECK_EQ(fd_calls, 1);
    loop_destroy(l);
    close(a[0]);
    close(a[1]);
    close(b[0]);
    close(b[1]);
}

static unsigned last_events;

static void note_events(void *opaque, int fd, unsigned events)
{
    (void)opaque;
    (void)fd;
    last_events = events;
    loop_stop(l);
}

static void hangup_is_always_reported(void)
{
    struct loop_fd *f;
    int p[2];
    struct err e;

    CHECK(loop_create(&l, &e) == 0);
    CHECK(pipe(p) == 0);
    CHECK(loop_fd_add(l, &f, p[0], LOOP_IN, note_events, NULL) == 0);
    CHECK(loop_fd_modify(f, 0) == 0);
    close(p[1]);
    loop_run(l);
    CHECK_EQ(last_events, LOOP_HUP);
    loop_fd_remove(f);
    close(p[0]);
    CHECK(loop_fd_add(l, &f, p[0], LOOP_IN, note_events, NULL) == -EBADF);
    loop_destroy(l);
}

static struct loop_fd *null_watch;

static void read_to_end(void *opaque, int fd, unsigned events)
{
    char c;

    (void)opaque;
    CHECK(events == LOOP_IN);
    fd_calls++;
    if (read(fd, &c, 1) == 0) {
        loop_fd_remove(null_watch);
        loop_post(l, stop_cb, l);
    }
}

static void files_that_epoll_refuses_are_always_ready(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct err e;

    CHECK(loop_create(&l, &e) == 0);
    CHECK(loop_fd_add(l, &null_watch, fd, LOOP_IN, read_to_end, NULL) == 0);
    fd_calls = 0;
    loop_run(l);
    CHECK_EQ(fd_calls, 1);
    loop_destroy(l);
    close(fd);
}

int main(void)
{
    alarm(60);
    RUN(posts_from_many_threads_all_run);
    RUN(stop_before_run_and_leftover_posts);
    RUN(timers_fire_once_in_order);
    RUN(removal_inside_a_batch);
    RUN(hangup_is_always_reported);
    RUN(files_that_epoll_refuses_are_always_ready);
    return check_done();
}
