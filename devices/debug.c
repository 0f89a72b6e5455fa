/*
 * Debug devices. What a guest prints is for people and scripts that measure: a burst goes through whole, a flood is
 * cut to DEBUG_LINES a second, and the next line that is printed is preceded by one that tells how many were not.
 */
#include "devices/debug.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/log.h"
#include "vmm/base/uptime.h"
#include "vmm/base/util.h"

enum {
    DEBUG_PRINT = 0,
    DEBUG_EXIT = 4,
    DEBUG_SIZE = 8,
};

#define DEBUG_LINES 100

struct debug {
    struct device dev;
    struct device_desc desc; /* isa-debug-exit: with a size of its own */
    struct debug_events ev;
    time_t second; /* the one that `printed` counts in */
    unsigned printed, missed;
};

static struct debug *debug_of(struct device *d)
{
    return container_of(d, struct debug, dev);
}

static double debug_ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static bool debug_may_print(struct debug *g)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec != g->second) {
        g->second = now.tv_sec;
        g->printed = 0;
        if (g->missed)
            log_warn("debug", "%u more writes of the guest left out", g->missed);
        g->missed = 0;
    }
    if (g->printed == DEBUG_LINES) {
        g->missed++;
        return false;
    }
    g->printed++;
    return true;
}

static void debug_print(struct debug *g, uint32_t value)
{
    uint64_t exec = uptime_since_exec(), vcpu = uptime_since_vcpu(), cpu = uptime_cpu();
    char obj[32];

    if (!debug_may_print(g))
        return;
    snprintf(obj, sizeof(obj), "debug 0x%x", value);
    log_info(obj, "%.3f ms since exec, %.3f ms since the first vCPU started, %.3f ms of our CPU time", debug_ms(exec),
             debug_ms(vcpu), debug_ms(cpu));
}

static uint64_t debug_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    (void)d, (void)cpu, (void)off, (void)size;
    return 0;
}

static void debug_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct debug *g = debug_of(d);

    (void)cpu, (void)size;
    if (off == DEBUG_PRINT)
        debug_print(g, (uint32_t)val);
    else if (off == DEBUG_EXIT)
        g->ev.exit(g->ev.opaque, val & 0xff);
}

static void debug_write_isa_exit(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct debug *g = debug_of(d);

    (void)cpu, (void)off, (void)size;
    g->ev.exit(g->ev.opaque, (val << 1 | 1) & 0xff);
}

/* Neither has state that a guest sees. */
static void debug_save(struct device *d, struct state_writer *w)
{
    (void)d, (void)w;
}

static int debug_load(struct device *d, struct state_reader *r)
{
    (void)d, (void)r;
    return 0;
}

static void debug_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
    free(debug_of(d));
}

static const struct device_ops debug_ops = {
    .read = debug_read,
    .write = debug_write,
    .save = debug_save,
    .load = debug_load,
    .destroy = debug_destroy,
};

static const struct device_desc debug_desc = {
    .name = "debug",
    .compatible = "pipit,debug",
    .size = DEBUG_SIZE,
    .min_access = 1,
    .max_access = 4,
    .ops = &debug_ops,
};

static const struct device_ops debug_isa_exit_ops = {
    .read = debug_read,
    .write = debug_write_isa_exit,
    .save = debug_save,
    .load = debug_load,
    .destroy = debug_destroy,
};

static const struct device_desc debug_isa_exit_desc = {
    .name = "isa-debug-exit",
    .min_access = 1,
    .max_access = 8,
    .ops = &debug_isa_exit_ops,
};

static int debug_make(struct device **out, const struct device_desc *desc, uint64_t size, const struct debug_events *ev)
{
    struct debug *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    g->desc = *desc;
    g->desc.size = size;
    device_init(&g->dev, &g->desc);
    g->ev = *ev;
    *out = &g->dev;
    return 0;
}

int debug_create(struct device **out, const struct debug_events *ev)
{
    return debug_make(out, &debug_desc, DEBUG_SIZE, ev);
}

int debug_create_isa_exit(struct device **out, unsigned size, const struct debug_events *ev)
{
    if (size < 1 || size > 8)
        return -EINVAL;
    return debug_make(out, &debug_isa_exit_desc, size, ev);
}
