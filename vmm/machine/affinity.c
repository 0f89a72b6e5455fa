/* Lists of host CPUs. Sets are CPU_ALLOC's, as large as any host needs. */
#include "vmm/machine/affinity.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define AFFINITY_NCPUS (AFFINITY_MAX_CPU + 1)

struct affinity_set {
    cpu_set_t *set;
    size_t size;
};

static bool set_alloc(struct affinity_set *s)
{
    s->size = CPU_ALLOC_SIZE(AFFINITY_NCPUS);
    s->set = CPU_ALLOC(AFFINITY_NCPUS);
    if (s->set)
        CPU_ZERO_S(s->size, s->set);
    return s->set;
}

/* A number at *p, which moves behind it. */
static bool parse_number(const char **p, unsigned *out)
{
    unsigned v = 0;

    if (**p < '0' || **p > '9')
        return false;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        v = v * 10 + (unsigned)(**p - '0');
        if (v > AFFINITY_MAX_CPU)
            return false;
    }
    *out = v;
    return true;
}

/* "N", "N-M" or "N-M:STEP" at *p. */
static bool parse_range(const char **p, unsigned *first, unsigned *last, unsigned *step)
{
    *step = 1;
    if (!parse_number(p, first))
        return false;
    *last = *first;
    if (**p != '-')
        return true;
    (*p)++;
    if (!parse_number(p, last) || *last < *first)
        return false;
    if (**p != ':')
        return true;
    (*p)++;
    return parse_number(p, step) && *step > 0;
}

/* Appends a range to the list; -EEXIST with the CPU that is named twice. */
static int add_range(struct affinity *a, struct affinity_set *seen, unsigned first, unsigned last, unsigned step,
                     unsigned *twice)
{
    for (unsigned cpu = first; cpu <= last; cpu += step) {
        if (CPU_ISSET_S(cpu, seen->size, seen->set)) {
            *twice = cpu;
            return -EEXIST;
        }
        CPU_SET_S(cpu, seen->size, seen->set);
        a->cpu[a->n++] = (uint16_t)cpu;
    }
    return 0;
}

int affinity_parse(struct affinity *a, const char *option, const char *text, struct err *e)
{
    unsigned first, last, step, twice = 0;
    struct affinity_set seen;
    const char *p = text;
    int r = 0;

    *a = (struct affinity){.cpu = calloc(AFFINITY_NCPUS, sizeof(*a->cpu))};
    if (!set_alloc(&seen) || !a->cpu) {
        r = err_set(e, ENOMEM, "out of memory");
        goto out;
    }
    for (;;) {
        if (!parse_range(&p, &first, &last, &step) || (*p && *p != ',')) {
            r = err_set(e, EINVAL, "%s %s is not a list of host CPUs: 0,2 or 4-7 or 0-6:2", option, text);
            goto out;
        }
        if (add_range(a, &seen, first, last, step, &twice) < 0) {
            r = err_set(e, EINVAL, "%s %s names host CPU %u twice", option, text, twice);
            goto out;
        }
        if (!*p++)
            break;
    }
out:
    CPU_FREE(seen.set);
    if (r < 0)
        affinity_free(a);
    return r;
}

void affinity_free(struct affinity *a)
{
    free(a->cpu);
    *a = (struct affinity){0};
}

int affinity_check(const struct affinity *a, const char *option, struct err *e)
{
    struct affinity_set may;
    int r = 0;

    if (!a->n)
        return 0;
    if (!set_alloc(&may))
        return err_set(e, ENOMEM, "out of memory");
    if (sched_getaffinity(0, may.size, may.set) < 0)
        r = err_set(e, errno, "%s: the host does not say on which CPUs we may run: %s", option, strerror(errno));
    for (unsigned i = 0; r == 0 && i < a->n; i++)
        if (!CPU_ISSET_S(a->cpu[i], may.size, may.set))
            r = err_set(e, EINVAL, "%s: host CPU %u is not there, or this process may not run on it", option,
                        a->cpu[i]);
    CPU_FREE(may.set);
    return r;
}

static int pin(const uint16_t *cpu, unsigned n, pthread_attr_t *attr)
{
    struct affinity_set s;
    int r;

    if (!set_alloc(&s))
        return ENOMEM;
    for (unsigned i = 0; i < n; i++)
        CPU_SET_S(cpu[i], s.size, s.set);
    r = pthread_attr_setaffinity_np(attr, s.size, s.set);
    CPU_FREE(s.set);
    return r;
}

int affinity_pin(const struct affinity *a, unsigned index, pthread_attr_t *attr)
{
    return pin(&a->cpu[index], 1, attr);
}

int affinity_pin_all(const struct affinity *a, pthread_attr_t *attr)
{
    return pin(a->cpu, a->n, attr);
}
