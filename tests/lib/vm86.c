/* See vm86.h. */
#include "tests/lib/vm86.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arch/x86/boot.h"
#include "vmm/base/util.h"

#define PATIENCE_NS UINT64_C(20000000000)

struct recorder {
    struct device dev;
    struct vm86 *m;
    bool port;
};

static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

static void record(struct vm86 *m, const struct vm86_access *a)
{
    unsigned n;

    pthread_mutex_lock(&recording);
    n = atomic_load(&m->naccesses);
    if (n < VM86_MAX_ACCESSES)
        m->access[n] = *a;
    atomic_store(&m->naccesses, n + 1);
    pthread_mutex_unlock(&recording);
    if (m->on_access)
        m->on_access(m, a);
}

static uint64_t recorder_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct recorder *r = container_of(d, struct recorder, dev);
    uint64_t val = atomic_load(&r->m->answer);

    record(r->m, &(struct vm86_access){.port = r->port, .addr = off, .size = size, .cpu = cpu, .val = val});
    return val;
}

static void recorder_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct recorder *r = container_of(d, struct recorder, dev);

    record(r->m,
           &(struct vm86_access){.port = r->port, .write = true, .addr = off, .size = size, .cpu = cpu, .val = val});
}

static uint64_t exit_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    (void)d;
    (void)cpu;
    (void)off;
    (void)size;
    return 0;
}

static void exit_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct vm86 *m = container_of(d, struct recorder, dev)->m;

    (void)cpu;
    (void)off;
    (void)size;
    atomic_store(&m->exit, (int)(val & 0xff));
    for (unsigned i = 0; i < m->ncpus; i++)
        m->accel->ops->vcpu_kick(m->vcpu[i]);
}

static void recorder_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
    free(container_of(d, struct recorder, dev));
}

static const struct device_ops recorder_ops = {
    .read = recorder_read, .write = recorder_write, .destroy = recorder_destroy};
static const struct device_ops exit_ops = {.read = exit_read, .write = exit_write, .destroy = recorder_destroy};
static const struct device_desc mmio_desc = {.name = "mmio",
                                             .size = 0x1000,
                                             .min_access = 1,
                                             .max_access = 8,
                                             .flags = DEVICE_SELF_LOCKED,
                                             .ops = &recorder_ops};
static const struct device_desc port_desc = {
    .name = "port", .size = 16, .min_access = 1, .max_access = 4, .flags = DEVICE_SELF_LOCKED, .ops = &recorder_ops};
static const struct device_desc exit_desc = {
    .name = "exit", .size = 4, .min_access = 1, .max_access = 4, .flags = DEVICE_SELF_LOCKED, .ops = &exit_ops};

static bool attach(struct vm86 *m, struct bus *b, const struct device_desc *desc, uint64_t base, bool port)
{
    struct recorder *r = calloc(1, sizeof(*r));

    if (!r)
        return false;
    device_init(&r->dev, desc);
    r->m = m;
    r->port = port;
    return bus_attach(b, &r->dev, GPA(base)) == 0;
}

const char *vm86_unavailable(void)
{
    static struct err e;

    return kvm_probe(&e) < 0 ? e.msg : NULL;
}

bool vm86_create(struct vm86 *m, unsigned ncpus, const struct kvm_config *wish)
{
    struct err e = {0};
    struct kvm_config cfg = {.ncpus = ncpus};

    memset(m, 0, sizeof(*m));
    m->ncpus = ncpus;
    atomic_store(&m->exit, -1);
    if (mem_create(&m->mem) < 0 || mem_add_ram(m->mem, GPA(0), VM86_RAM, NULL, &e) < 0 || bus_create(&m->bus) < 0 ||
        bus_create(&m->pio) < 0 || !attach(m, m->bus, &mmio_desc, VM86_MMIO, false) ||
        !attach(m, m->pio, &port_desc, VM86_PORT, true) || !attach(m, m->pio, &exit_desc, VM86_EXIT, true))
        goto fail;
    if (wish) {
        cfg.cpu = wish->cpu;
        cfg.stats = wish->stats;
    }
    cfg.mem = m->mem;
    cfg.bus = m->bus;
    cfg.pio = m->pio;
    if (kvm_create(&m->accel, &cfg, &e) < 0)
        goto fail;
    for (unsigned i = 0; i < ncpus; i++)
        if (m->accel->ops->vcpu_create(m->accel, i, &m->vcpu[i], &e) < 0)
            goto fail;
    if (m->accel->ops->complete(m->accel, &e) == 0)
        return true;
fail:
    printf("  the machine cannot be made: %s\n", e.msg);
    vm86_destroy(m);
    return false;
}

void vm86_destroy(struct vm86 *m)
{
    for (unsigned i = 0; i < m->ncpus; i++)
        if (m->vcpu[i])
            m->accel->ops->vcpu_destroy(m->vcpu[i]);
    if (m->accel)
        m->accel->ops->destroy(m->accel);
    bus_destroy(m->bus);
    bus_destroy(m->pio);
    mem_destroy(m->mem);
}

static void vm86_forget(struct vm86 *m)
{
    atomic_store(&m->naccesses, 0);
    atomic_store(&m->exit, -1);
    atomic_store(&m->late, false);
}

bool vm86_load(struct vm86 *m, const void *code, size_t size, enum vcpu_mode mode, uint64_t arg)
{
    const struct vcpu_entry entry = {.pc = VM86_CODE, .arg = arg, .mode = mode};
    struct err e = {0};

    vm86_forget(m);
    if (x86_boot_write_tables(m->mem) < 0 || mem_write(m->mem, GPA(VM86_CODE), code, size) < 0 ||
        m->accel->ops->reset(m->accel, &e) < 0)
        goto fail;
    for (unsigned i = 0; i < m->ncpus; i++)
        if (m->accel->ops->vcpu_reset(m->vcpu[i], &e) < 0)
            goto fail;
    if (m->accel->ops->vcpu_set_entry(m->vcpu[0], &entry, &e) == 0)
        return true;
fail:
    printf("  %s\n", e.msg);
    return false;
}

struct watchdog {
    struct vm86 *m;
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
};

static void *watch(void *opaque)
{
    struct watchdog *w = opaque;
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(PATIENCE_NS / 1000000000);
    pthread_mutex_lock(&w->lock);
    while (!w->done && pthread_cond_timedwait(&w->done_cond, &w->lock, &until) == 0)
        ;
    if (!w->done) {
        atomic_store(&w->m->late, true);
        for (unsigned i = 0; i < w->m->ncpus; i++)
            w->m->accel->ops->vcpu_kick(w->m->vcpu[i]);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

enum vcpu_exit vm86_run(struct vm86 *m, unsigned cpu)
{
    struct watchdog w = {.m = m, .lock = PTHREAD_MUTEX_INITIALIZER, .done_cond = PTHREAD_COND_INITIALIZER};
    enum vcpu_exit x = VCPU_EXIT_KICK;
    pthread_t t;

    if (pthread_create(&t, NULL, watch, &w) != 0)
        abort();
    while (x == VCPU_EXIT_KICK && atomic_load(&m->exit) < 0 && !atomic_load(&m->late))
        x = m->accel->ops->vcpu_run(m->vcpu[cpu]);
    pthread_mutex_lock(&w.lock);
    w.done = true;
    pthread_cond_signal(&w.done_cond);
    pthread_mutex_unlock(&w.lock);
    pthread_join(t, NULL);
    if (atomic_load(&m->late))
        printf("  vCPU %u did not come to its end; it is at 0x%llx\n", cpu, (unsigned long long)vm86_reg(m, cpu, 16));
    return x;
}

uint64_t vm86_reg(struct vm86 *m, unsigned cpu, unsigned reg)
{
    uint64_t v = 0;

    if (m->accel->ops->get_reg(m->vcpu[cpu], reg, &v, sizeof(v)) < 0)
        return UINT64_MAX;
    return v;
}

uint64_t vm86_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}
