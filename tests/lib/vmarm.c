/* See vmarm.h. */
#include "tests/lib/vmarm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/cfi_flash.h"
#include "vmm/base/util.h"

#define PATIENCE_SECONDS 20

struct recorder {
    struct device dev;
    struct vmarm *m;
};

static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

static void record(struct vmarm *m, const struct vmarm_access *a)
{
    unsigned n;

    pthread_mutex_lock(&recording);
    n = atomic_load(&m->naccesses);
    if (n < VMARM_MAX_ACCESSES)
        m->access[n] = *a;
    atomic_store(&m->naccesses, n + 1);
    pthread_mutex_unlock(&recording);
    if (m->on_access)
        m->on_access(m, a);
}

static uint64_t recorder_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct vmarm *m = container_of(d, struct recorder, dev)->m;
    uint64_t val = atomic_load(&m->answer);

    record(m, &(struct vmarm_access){.off = off, .size = size, .cpu = cpu, .val = val});
    return val;
}

static void recorder_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    record(container_of(d, struct recorder, dev)->m,
           &(struct vmarm_access){.write = true, .off = off, .size = size, .cpu = cpu, .val = val});
}

static void recorder_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
    free(container_of(d, struct recorder, dev));
}

static const struct device_ops recorder_ops = {
    .read = recorder_read, .write = recorder_write, .destroy = recorder_destroy};
static const struct device_desc recorder_desc = {.name = "mmio",
                                                 .size = 0x1000,
                                                 .min_access = 1,
                                                 .max_access = 8,
                                                 .flags = DEVICE_SELF_LOCKED,
                                                 .ops = &recorder_ops};

static bool attach(struct vmarm *m)
{
    struct recorder *r = calloc(1, sizeof(*r));

    if (!r)
        return false;
    device_init(&r->dev, &recorder_desc);
    r->m = m;
    return bus_attach(m->bus, &r->dev, GPA(VMARM_MMIO)) == 0;
}

static bool attach_flash(struct vmarm *m, struct err *e)
{
    struct cfi_flash_config c = {.mem = m->mem, .fd = -1};
    struct device *d;

    return mem_add_rom(m->mem, GPA(VMARM_FLASH), CFI_FLASH_SIZE, &c.rom, e) == 0 && cfi_flash_create(&d, &c) == 0 &&
           bus_attach(m->bus, d, GPA(VMARM_FLASH)) == 0;
}

const char *vmarm_unavailable(void)
{
    static struct err e;

    return kvm_probe(&e) < 0 ? e.msg : NULL;
}

bool vmarm_create(struct vmarm *m, unsigned ncpus, unsigned gic_version)
{
    struct err e = {0};
    struct kvm_config cfg = {
        .ncpus = ncpus,
        .gic_version = gic_version,
        .gic_dist = GPA(VMARM_GICD),
        .gic_redist = GPA(VMARM_GICR),
        .gic_cpuif = GPA(VMARM_GICC),
        .pmu_ppi = VMARM_PMU_PPI,
    };

    memset(m, 0, sizeof(*m));
    m->ncpus = ncpus;
    if (mem_create(&m->mem) < 0 || mem_add_ram(m->mem, GPA(VMARM_RAM), VMARM_RAM_SIZE, NULL, &e) < 0 ||
        bus_create(&m->bus) < 0 || !attach(m) || !attach_flash(m, &e))
        goto fail;
    cfg.mem = m->mem;
    cfg.bus = m->bus;
    if (kvm_create(&m->accel, &cfg, &e) < 0)
        goto fail;
    for (unsigned i = 0; i < ncpus; i++)
        if (m->accel->ops->vcpu_create(m->accel, i, &m->vcpu[i], &e) < 0)
            goto fail;
    if (m->accel->ops->complete(m->accel, &e) == 0)
        return true;
fail:
    printf("  the machine cannot be made: %s\n", e.msg);
    vmarm_destroy(m);
    return false;
}

void vmarm_destroy(struct vmarm *m)
{
    for (unsigned i = 0; i < m->ncpus; i++)
        if (m->vcpu[i])
            m->accel->ops->vcpu_destroy(m->vcpu[i]);
    if (m->accel)
        m->accel->ops->destroy(m->accel);
    bus_destroy(m->bus);
    mem_destroy(m->mem);
    memset(m, 0, sizeof(*m));
}

/* Level 1, blocks of 1 GiB (Arm ARM D8.3): attribute 0 never executed, attribute 1 inner shareable. */
static bool write_table(struct vmarm *m)
{
    const uint64_t blocks[] = {BIT64(54) | BIT64(53) | BIT64(10) | 1,
                               VMARM_RAM | BIT64(10) | UINT64_C(3) << 8 | UINT64_C(1) << 2 | 1};

    return mem_write(m->mem, GPA(VMARM_TABLE), blocks, sizeof(blocks)) == 0;
}

/* Word by word: the C library copies by SVE where there is one, and the emulation of QEMU 7.2 does not notice that
 * instructions which it has translated are overwritten by that. */
static bool write_code(struct vmarm *m, const void *code, size_t size)
{
    volatile uint32_t *to = mem_write_begin(m->mem, GPA(VMARM_CODE), size);

    for (size_t i = 0; to && i < size / sizeof(*to); i++)
        to[i] = le32_get((const uint8_t *)code + i * sizeof(*to));
    mem_write_end(m->mem, GPA(VMARM_CODE), size);
    return to;
}

bool vmarm_load(struct vmarm *m, const void *code, size_t size, uint64_t arg)
{
    const struct accel_ops *ops = m->accel->ops;
    const struct vcpu_entry entry = {.pc = VMARM_CODE, .arg = arg, .mode = VCPU_MODE_ARM64};
    struct err e = {0};
    int r = ops->reset(m->accel, &e);

    for (unsigned i = 0; i < m->ncpus && r == 0; i++)
        r = ops->vcpu_reset(m->vcpu[i], &e);
    if (r == 0)
        r = ops->vcpu_set_entry(m->vcpu[0], &entry, &e);
    if (r < 0 || !write_table(m) || !write_code(m, code, size)) {
        printf("  no start: %s\n", e.msg);
        return false;
    }
    atomic_store(&m->naccesses, 0);
    atomic_store(&m->late, false);
    atomic_store(&m->ended, false);
    return true;
}

/* ---- running ---- */

struct watch {
    struct vmarm *m;
    unsigned cpu;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void *watch(void *opaque)
{
    struct watch *w = opaque;
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    pthread_mutex_lock(&w->lock);
    while (!w->done && pthread_cond_timedwait(&w->cond, &w->lock, &until) == 0)
        ;
    if (!w->done) {
        atomic_store(&w->m->late, true);
        w->m->accel->ops->vcpu_kick(w->m->vcpu[w->cpu]);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

enum vcpu_exit vmarm_run(struct vmarm *m, unsigned cpu, bool kicks)
{
    struct watch w = {.m = m, .cpu = cpu, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    enum vcpu_exit x;
    pthread_t t;

    if (pthread_create(&t, NULL, watch, &w))
        return VCPU_EXIT_ERROR;
    do
        x = m->accel->ops->vcpu_run(m->vcpu[cpu]);
    while (x == VCPU_EXIT_KICK && !kicks && !atomic_load(&m->late) && !atomic_load(&m->ended));
    pthread_mutex_lock(&w.lock);
    w.done = true;
    pthread_cond_signal(&w.cond);
    pthread_mutex_unlock(&w.lock);
    pthread_join(t, NULL);
    return x;
}

struct other {
    struct vmarm *m;
    unsigned cpu;
    pthread_t thread;
};

static void *run_other(void *opaque)
{
    struct other *o = opaque;
    const struct accel_ops *ops = o->m->accel->ops;

    while (!atomic_load(&o->m->ended))
        if (ops->vcpu_run(o->m->vcpu[o->cpu]) != VCPU_EXIT_KICK) {
            atomic_store(&o->m->ended, true);
            ops->vcpu_kick(o->m->vcpu[0]);
        }
    return NULL;
}

enum vcpu_exit vmarm_run_all(struct vmarm *m, bool kicks)
{
    struct other o[VMARM_MAX_CPUS];
    enum vcpu_exit x;

    atomic_store(&m->ended, false);
    for (unsigned i = 1; i < m->ncpus; i++) {
        o[i] = (struct other){.m = m, .cpu = i};
        if (pthread_create(&o[i].thread, NULL, run_other, &o[i]))
            abort();
    }
    x = vmarm_run(m, 0, kicks);
    atomic_store(&m->ended, true);
    for (unsigned i = 1; i < m->ncpus; i++) {
        m->accel->ops->vcpu_kick(m->vcpu[i]);
        pthread_join(o[i].thread, NULL);
    }
    return x;
}

uint64_t vmarm_reg(struct vmarm *m, unsigned cpu, unsigned reg)
{
    uint64_t v = 0;
    int r = m->accel->ops->get_reg(m->vcpu[cpu], reg, &v, sizeof(v));

    if (r < 0)
        printf("  register %u: %s\n", reg, strerror(-r));
    return v;
}

uint64_t vmarm_peek(struct vmarm *m, uint64_t addr)
{
    uint64_t v = 0;

    if (mem_read(m->mem, GPA(addr), &v, sizeof(v)) < 0)
        printf("  no RAM at 0x%llx\n", (unsigned long long)addr);
    return v;
}
