/*
 * Which host CPUs threads run on: lists in taskset's notation ("0,4-7", "0-15:2" for every second one), in the order in
 * which they were given.
 */
#ifndef PIPIT_MACHINE_AFFINITY_H
#define PIPIT_MACHINE_AFFINITY_H

#include <pthread.h>
#include <stdint.h>

#include "vmm/base/err.h"

#define AFFINITY_MAX_CPU 8191 /* the highest number that Linux can be configured for */

struct affinity {
    uint16_t *cpu; /* malloc'ed */
    unsigned n;
};

/* -EINVAL with a sentence that begins with `option`: not such a list, a CPU named twice, or one beyond any host's. */
int affinity_parse(struct affinity *a, const char *option, const char *text, struct err *e);
void affinity_free(struct affinity *a);
/* -EINVAL where the process may not run on one of them (sched_getaffinity). */
int affinity_check(const struct affinity *a, const char *option, struct err *e);
/* For a thread to be made: the CPU at `index` of the list alone; all of the list. 0 or a positive errno. */
int affinity_pin(const struct affinity *a, unsigned index, pthread_attr_t *attr);
int affinity_pin_all(const struct affinity *a, pthread_attr_t *attr);

#endif
