/*
 * The event loop: one thread that serves descriptors, timers and posted calls for all devices.
 *
 * Callbacks run on the loop thread, one at a time. loop_timer_set/cancel, loop_post and loop_stop may be called from
 * any thread; the fd calls only before loop_run or on the loop thread.
 */
#ifndef PIPIT_CORE_LOOP_H
#define PIPIT_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct loop;
struct loop_fd;
struct loop_timer;

#define LOOP_IN 0x1
#define LOOP_OUT 0x2
#define LOOP_HUP 0x4 /* always reported */

typedef void (*loop_fd_fn)(void *opaque, int fd, unsigned events);
typedef void (*loop_fn)(void *opaque);

int loop_create(struct loop **out, struct err *e);
void loop_destroy(struct loop *l);
/* Runs until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* True on the loop thread, and on any thread while loop_run is not running: nothing else touches the loop's objects. */
bool loop_is_mine(const struct loop *l);
/* Makes the loop call fn(opaque) soon. Never blocks, never fails after loop_create; calls may be posted from signal
 * handlers only through loop_stop. */
void loop_post(struct loop *l, loop_fn fn, void *opaque);

int loop_fd_add(struct loop *l, struct loop_fd **out, int fd, unsigned events, loop_fd_fn fn, void *opaque);
int loop_fd_modify(struct loop_fd *f, unsigned events);
/* The descriptor itself stays the caller's. No callback runs after this returns (on the loop thread). */
void loop_fd_remove(struct loop_fd *f);

/* A one-shot timer. Each has a timerfd of its own: arming is one system call from any thread, and needs no wake-up. */
int loop_timer_add(struct loop *l, struct loop_timer **out, loop_fn fn, void *opaque);
/* Fires once when CLOCK_MONOTONIC reaches host_ns (see clock_to_host); at once where that has passed. */
void loop_timer_set(struct loop_timer *t, uint64_t host_ns);
void loop_timer_cancel(struct loop_timer *t);
void loop_timer_remove(struct loop_timer *t);

#endif
