/* Virtual time: nanoseconds since the machine was made, stopped while the machine is paused. Thread safe. */
#ifndef PIPIT_CORE_CLOCK_H
#define PIPIT_CORE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct clock {
    _Atomic uint64_t offset_ns; /* subtracted from CLOCK_MONOTONIC while running */
    _Atomic uint64_t paused_at; /* virtual ns when paused, UINT64_MAX while running */
};

void clock_init(struct clock *c);
uint64_t clock_now(const struct clock *c);
void clock_pause(struct clock *c);
void clock_resume(struct clock *c);
/* Sets virtual time (snapshot load). */
void clock_set(struct clock *c, uint64_t now_ns);
/* CLOCK_MONOTONIC nanoseconds at which virtual time reaches `virt_ns`: now where it has passed, UINT64_MAX (never)
 * while paused. */
uint64_t clock_to_host(const struct clock *c, uint64_t virt_ns);

#endif
