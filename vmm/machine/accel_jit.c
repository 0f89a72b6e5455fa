/*
 * The JIT as an accelerator: vCPUs, waiting, power states and what they are made of. What a running vCPU asks for is in
 * accel_jit_cpu.c.
 *
 * A vCPU that waits, in WFI, WFE or for CPU_ON, sleeps on its own condition. Whoever gives it a reason (irq_lines,
 * exit_request, the event register, PSCI's state) sets that first and then signals under the vCPU's lock, so no
 * wake-up is lost.
 */
#include "vmm/machine/accel_jit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "jit/trace.h"
#include "vmm/base/log.h"
#include "vmm/machine/accel_jit_int.h"

/* ---- waiting ---- */

void accel_jit_wait(struct arm64_cpu *c)
{
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(c->machine);

    accel_jit_count(c, ACCEL_JIT_WAIT);
    pthread_mutex_lock(&v->lock);
    while (!atomic_load(&c->irq_lines) && !atomic_load(&c->exit_request))
        pthread_cond_wait(&v->wake, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

static void accel_jit_wake(struct accel_jit_vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    pthread_cond_signal(&v->wake);
    pthread_mutex_unlock(&v->lock);
}

/*
 * WFE may end at any time, so how long it pauses is a matter of cost. What it waits for is mostly a store by the holder
 * of a lock, which sends no event here and is soon done: the vCPU gives way, so that the holder can run. Where it comes
 * back to WFE again and again for longer than that takes, it sleeps, for as long as the event stream that kernels set
 * up would let it.
 */
#define NS_PER_S UINT64_C(1000000000)
#define ACCEL_JIT_WFE_GAP 20000       /* ns that may lie between two WFEs of a row */
#define ACCEL_JIT_WFE_PATIENCE 100000 /* ns of a row before it sleeps */
#define ACCEL_JIT_WFE_SLEEP 100000

uint64_t accel_jit_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void accel_jit_wait_event(struct arm64_cpu *c)
{
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(c->machine);
    uint64_t now = accel_jit_now(), until = now + ACCEL_JIT_WFE_SLEEP;
    const struct timespec t = {.tv_sec = (time_t)(until / NS_PER_S), .tv_nsec = (long)(until % NS_PER_S)};
    int r = 0;

    accel_jit_count(c, ACCEL_JIT_WAIT);
    if (now - v->wfe_end > ACCEL_JIT_WFE_GAP)
        v->wfe_begin = now;
    if (now - v->wfe_begin < ACCEL_JIT_WFE_PATIENCE || atomic_load(&c->irq_lines)) {
        sched_yield(); /* also for who masks an interrupt while it waits */
    } else {
        pthread_mutex_lock(&v->lock);
        while (r == 0 && !atomic_load(&c->event) && !atomic_load(&c->irq_lines) && !atomic_load(&c->exit_request))
            r = pthread_cond_clockwait(&v->wake, &v->lock, CLOCK_MONOTONIC, &t);
        pthread_mutex_unlock(&v->lock);
    }
    atomic_store(&c->event, false);
    v->wfe_end = accel_jit_now();
}

void accel_jit_send_event(struct arm64_cpu *c)
{
    accel_jit_wake(accel_jit_vcpu_of(c->machine));
}

static void accel_jit_kick(struct vcpu *vcpu)
{
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(vcpu);

    atomic_fetch_or(&v->cpu->exit_request, ARM64_EXIT_KICK);
    accel_jit_wake(v);
}

/* The GIC has set irq_lines and exit_request, which is all that a vCPU in generated code looks at. */
static void accel_jit_irq(void *opaque, unsigned index)
{
    struct accel_jit *a = opaque;

    accel_jit_wake(a->vcpu[index]);
}

/* ---- power ---- */

/* On the thread of vCPU `index`, which PSCI makes leave the JIT. */
static void accel_jit_system_off(void *opaque, unsigned index)
{
    struct accel_jit *a = opaque;

    a->vcpu[index]->exit = VCPU_EXIT_POWEROFF;
}

static void accel_jit_system_reset(void *opaque, unsigned index)
{
    struct accel_jit *a = opaque;

    a->vcpu[index]->exit = VCPU_EXIT_RESET;
}

static void accel_jit_cpu_on(void *opaque, unsigned index)
{
    struct accel_jit *a = opaque;

    accel_jit_wake(a->vcpu[index]);
}

/* Waits until the guest has turned the vCPU on; false where it was kicked first. */
static bool accel_jit_wait_on(struct accel_jit *a, struct accel_jit_vcpu *v)
{
    bool on;

    /* From here on CPU_ON may reset it. */
    psci_cpu_parked(a->psci, v->vcpu.index);
    pthread_mutex_lock(&v->lock);
    while (!(on = psci_cpu_is_on(a->psci, v->vcpu.index)) && !(atomic_load(&v->cpu->exit_request) & ARM64_EXIT_KICK))
        pthread_cond_wait(&v->wake, &v->lock);
    pthread_mutex_unlock(&v->lock);
    if (!on)
        atomic_fetch_and(&v->cpu->exit_request, ~(uint32_t)ARM64_EXIT_KICK);
    return on;
}

/* ---- vCPUs ---- */

static int accel_jit_vcpu_create(struct accel *accel, unsigned index, struct vcpu **out, struct err *e)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);
    struct accel_jit_vcpu *v = calloc(1, sizeof(*v));

    if (!v || jit_vcpu_create(a->jit, index, &v->cpu)) {
        free(v);
        return err_set(e, ENOMEM, "out of memory for vCPU %u", index);
    }
    v->vcpu = (struct vcpu){.accel = accel, .index = index};
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->wake, NULL);
    v->cpu->ops = accel_jit_ops();
    arm64_cpu_init(v->cpu, a->cfg.model, index);
    v->cpu->ops = accel_jit_ops();
    v->cpu->machine = &v->vcpu;
    v->cpu->mem = a->cfg.mem;
    a->vcpu[index] = v;
    a->cpu[index] = v->cpu;
    *out = &v->vcpu;
    return 0;
}

/* Undoes accel_jit_complete. What it made knows all vCPUs, so it goes before the first of them does. */
static void accel_jit_take_apart(struct accel_jit *a)
{
    psci_destroy(a->psci);
    a->psci = NULL;
    for (unsigned i = 0; i < a->cfg.ncpus; i++)
        if (a->vcpu[i]) {
            arm64_timer_destroy(a->vcpu[i]->timer);
            a->vcpu[i]->timer = NULL;
        }
    if (a->gic)
        gic_destroy(a->gic);
    a->gic = NULL;
}

static void accel_jit_vcpu_destroy(struct vcpu *vcpu)
{
    struct accel_jit *a = accel_jit_of(vcpu);
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(vcpu);

    accel_jit_take_apart(a);
    a->vcpu[vcpu->index] = NULL;
    jit_vcpu_destroy(v->cpu);
    pthread_cond_destroy(&v->wake);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

static int accel_jit_vcpu_reset(struct vcpu *vcpu, struct err *e)
{
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(vcpu);

    (void)e;
    v->exit = VCPU_EXIT_KICK;
    arm64_timer_reset(v->timer);
    arm64_cpu_reset(v->cpu);
    jit_reset(v->cpu);
    return 0;
}

static int accel_jit_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry, struct err *e)
{
    struct arm64_cpu *c = accel_jit_vcpu_of(vcpu)->cpu;

    (void)e;
    c->pc = entry->pc;
    c->x[0] = entry->arg;
    return 0;
}

static enum vcpu_exit accel_jit_vcpu_run(struct vcpu *vcpu)
{
    struct accel_jit *a = accel_jit_of(vcpu);
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(vcpu);
    enum vcpu_exit exit;

    if (!psci_cpu_is_on(a->psci, vcpu->index) && !accel_jit_wait_on(a, v))
        return VCPU_EXIT_KICK;
    jit_run(v->cpu);
    exit = v->exit;
    v->exit = VCPU_EXIT_KICK;
    if (exit == VCPU_EXIT_KICK)
        accel_jit_count(v->cpu, ACCEL_JIT_KICK);
    return exit;
}

/* Where the register is, for those that are a field of their own; else NULL. */
static void *accel_jit_reg_field(struct arm64_cpu *c, unsigned reg)
{
    if (reg <= ARM64_REG_SP)
        return &c->x[reg - ARM64_REG_X0];
    if (reg >= ARM64_REG_V0 && reg < ARM64_REG_FPSR)
        return &c->v[reg - ARM64_REG_V0];
    switch (reg) {
    case ARM64_REG_PC: return &c->pc;
    case ARM64_REG_FPSR: return &c->fpsr;
    case ARM64_REG_FPCR: return &c->fpcr;
    default: return NULL;
    }
}

static int accel_jit_get_reg(struct vcpu *vcpu, unsigned reg, void *buf, size_t len)
{
    struct arm64_cpu *c = accel_jit_vcpu_of(vcpu)->cpu;
    const void *field = accel_jit_reg_field(c, reg);
    uint64_t v;

    if (!arm64_reg_size(reg))
        return -ENOENT;
    if (len != arm64_reg_size(reg))
        return -EINVAL;
    v = reg == ARM64_REG_MPIDR ? c->mpidr : arm64_pstate(c);
    memcpy(buf, field ? field : &v, len);
    return 0;
}

static int accel_jit_set_reg(struct vcpu *vcpu, unsigned reg, const void *buf, size_t len)
{
    struct arm64_cpu *c = accel_jit_vcpu_of(vcpu)->cpu;

    if (!arm64_reg_size(reg))
        return -ENOENT;
    if (len != arm64_reg_size(reg) || reg == ARM64_REG_MPIDR)
        return -EINVAL;
    if (reg == ARM64_REG_PSTATE)
        arm64_set_nzcv(c, le32_get(buf));
    else
        memcpy(accel_jit_reg_field(c, reg), buf, len);
    if (reg == ARM64_REG_FPSR)
        jit_fpsr_changed(c);
    else if (reg == ARM64_REG_FPCR)
        jit_fpcr_changed(c);
    return 0;
}

/* ---- the machine's share ---- */

static int accel_jit_create_gic(struct accel_jit *a, struct err *e)
{
    const struct gic_config g = {
        .version = a->cfg.gic_version,
        .ncpus = a->cfg.ncpus,
        .nspis = a->cfg.gic_nspis,
        .cpus = a->cpu,
        .kick = accel_jit_irq,
        .opaque = a,
    };
    int r = gic_create(&a->gic, &g);

    if (r == 0)
        r = gic_attach(a->gic, a->cfg.bus, a->cfg.gic_dist, a->cfg.gic_redist);
    return r < 0 ? err_set(e, -r, "the interrupt controller cannot be made: %s", strerror(-r)) : 0;
}

static int accel_jit_create_timers(struct accel_jit *a, struct err *e)
{
    for (unsigned i = 0; i < a->cfg.ncpus; i++) {
        struct accel_jit_vcpu *v = a->vcpu[i];
        int r = arm64_timer_create(&v->timer, v->cpu, a->cfg.clock, a->cfg.loop,
                                   gic_ppi_line(a->gic, i, a->cfg.ppi_timer_virt),
                                   gic_ppi_line(a->gic, i, a->cfg.ppi_timer_phys));

        if (r < 0)
            return err_set(e, -r, "the timer of vCPU %u cannot be made: %s", i, strerror(-r));
    }
    return 0;
}

static int accel_jit_complete(struct accel *accel, struct err *e)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);
    const struct psci_ops ops = {
        .system_off = accel_jit_system_off,
        .system_reset = accel_jit_system_reset,
        .cpu_on = accel_jit_cpu_on,
        .opaque = a,
    };
    int r = accel_jit_create_gic(a, e);

    if (r == 0)
        r = accel_jit_create_timers(a, e);
    if (r < 0)
        return r;
    r = psci_create(&a->psci, a->cpu, a->cfg.ncpus, &ops);
    return r < 0 ? err_set(e, -r, "PSCI cannot be made: %s", strerror(-r)) : 0;
}

static int accel_jit_reset(struct accel *accel, struct err *e)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);

    (void)e;
    gic_reset(a->gic);
    psci_reset(a->psci);
    return 0;
}

/* The GIC takes levels; what a device on an edge triggered line does is a level too. */
static int accel_jit_irq_line(struct accel *accel, unsigned num, bool edge, struct irq_line *out, struct err *e)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);

    (void)edge;
    if (num >= a->cfg.gic_nspis)
        return err_set(e, EINVAL, "the interrupt controller has no SPI %u", num);
    *out = gic_spi_line(a->gic, num);
    return 0;
}

/* The machine's clock stood still; the host's timers did not. */
static void accel_jit_resume(struct accel *accel)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);

    for (unsigned i = 0; i < a->cfg.ncpus; i++)
        arm64_timer_resync(a->vcpu[i]->timer);
}

/* ---- state ---- */

static void accel_jit_vcpu_save(struct vcpu *vcpu, struct state_writer *w)
{
    struct arm64_cpu *c = accel_jit_vcpu_of(vcpu)->cpu;

    jit_fpsr_sync(c);
    arm64_cpu_save(c, w);
}

static int accel_jit_vcpu_load(struct vcpu *vcpu, struct state_reader *r)
{
    struct accel_jit_vcpu *v = accel_jit_vcpu_of(vcpu);
    int ret = arm64_cpu_load(v->cpu, r);

    v->exit = VCPU_EXIT_KICK;
    jit_loaded(v->cpu);
    return ret;
}

static void accel_jit_save(struct accel *accel, struct state_writer *w)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);

    gic_save(a->gic, w);
    psci_save(a->psci, w);
}

static int accel_jit_load(struct accel *accel, struct state_reader *r)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);
    int ret = gic_load(a->gic, r);

    return ret < 0 ? ret : psci_load(a->psci, r);
}

/* The JIT marks pages dirty always, when a vCPU is given fast write access to one. */
static int accel_jit_dirty_log(struct accel *accel, bool on)
{
    (void)accel;
    (void)on;
    return 0;
}

static int accel_jit_dirty_sync(struct accel *accel)
{
    jit_write_protect(container_of(accel, struct accel_jit, accel)->jit);
    return 0;
}

static void accel_jit_report(struct accel *accel)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);
    uint64_t sum[ACCEL_JIT_REASONS] = {0};
    struct jit_counts n;

    jit_counts(a->jit, &n);
    for (unsigned i = 0; i < a->cfg.ncpus; i++)
        for (unsigned r = 0; r < ACCEL_JIT_REASONS; r++)
            sum[r] += a->vcpu[i]->count[r];
    log_info("jit",
             "device reads %" PRIu64 ", device writes %" PRIu64 ", calls %" PRIu64 ", waits %" PRIu64
             ", interrupts %" PRIu64 ", kicks %" PRIu64 ", stops of all vCPUs %" PRIu64,
             sum[ACCEL_JIT_MMIO_READ], sum[ACCEL_JIT_MMIO_WRITE], sum[ACCEL_JIT_CALL], sum[ACCEL_JIT_WAIT],
             sum[ACCEL_JIT_INTERRUPT], sum[ACCEL_JIT_KICK], n.stops);
    log_info("jit",
             "%" PRIu64 " blocks translated, of %" PRIu64 " instructions, into %" PRIu64
             " KiB of code, which was full %" PRIu64 " times; %" PRIu64 " saved ones used",
             n.blocks, n.insns, n.bytes >> 10, n.flushes, n.taken);
    if (a->cfg.tier == VM_TIER_LOCKSTEP)
        log_info("jit", "lockstep: %" PRIu64 " blocks compared, %" PRIu64 " executed once", n.compared, n.once);
    if (a->cfg.stats)
        accel_jit_report_stats(a);
}

/* ---- perf(1) ---- */

/* Under the JIT's lock. */
static void accel_jit_made(void *opaque, uint64_t pc, unsigned insns, const void *code, uint32_t size)
{
    struct accel_jit *a = opaque;

    (void)insns;
    accel_jit_perf_add(&a->perf, pc, code, size);
}

/* A line of the log for each of the text: it is cut by lines where two vCPUs write at once. */
static void accel_jit_entered(void *opaque, const struct arm64_cpu *c)
{
    const struct accel_jit *a = opaque;
    char text[JIT_TRACE_MAX];

    jit_trace_text(text, c, a->cfg.trace_exec, a->cfg.trace_cpu);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
        log_info("jit", "%.*s", (int)(end - line), line);
}

/* Nothing that comes after it can be trusted. */
static void accel_jit_mismatch(void *opaque, struct arm64_cpu *c, const struct jit_mismatch *m)
{
    (void)opaque;
    log_error("jit",
              "vCPU %u: the block of %u instructions at %016" PRIx64 " is translated wrongly, at %016" PRIx64
              " first: %08x %s%s",
              c->index, m->ninsns, m->pc, m->pc + m->insn * UINT64_C(4), m->word, m->name, m->text);
    accel_jit_vcpu_of(c->machine)->exit = VCPU_EXIT_ERROR;
    atomic_fetch_or(&c->exit_request, ARM64_EXIT_KICK);
}

static void accel_jit_destroy(struct accel *accel)
{
    struct accel_jit *a = container_of(accel, struct accel_jit, accel);

    a->cfg.mem->invalidate = NULL;
    a->cfg.mem->rom_switched = NULL;
    accel_jit_saved_close(a);
    jit_destroy(a->jit);
    accel_jit_perf_close(&a->perf);
    free(a);
}

static const struct accel_ops accel_jit_accel_ops = {
    .name = "jit",
    .caps = ACCEL_CAP_DIRTY_LOG | ACCEL_CAP_STATE,
    .destroy = accel_jit_destroy,
    .vcpu_create = accel_jit_vcpu_create,
    .vcpu_destroy = accel_jit_vcpu_destroy,
    .complete = accel_jit_complete,
    .reset = accel_jit_reset,
    .vcpu_reset = accel_jit_vcpu_reset,
    .vcpu_set_entry = accel_jit_set_entry,
    .vcpu_run = accel_jit_vcpu_run,
    .vcpu_kick = accel_jit_kick,
    .irq_line = accel_jit_irq_line,
    .resume = accel_jit_resume,
    .dirty_log = accel_jit_dirty_log,
    .dirty_sync = accel_jit_dirty_sync,
    .vcpu_save = accel_jit_vcpu_save,
    .vcpu_load = accel_jit_vcpu_load,
    .save = accel_jit_save,
    .load = accel_jit_load,
    .get_reg = accel_jit_get_reg,
    .set_reg = accel_jit_set_reg,
    .report = accel_jit_report,
};

int accel_jit_create(struct accel **out, const struct accel_jit_config *cfg, struct err *e)
{
    static const enum jit_tier tiers[] = {[VM_TIER_INTERP] = JIT_INTERP,
                                          [VM_TIER_1] = JIT_TIER1,
                                          [VM_TIER_LOCKSTEP] = JIT_LOCKSTEP,
                                          [VM_TIER_MIXED] = JIT_MIXED};
    struct accel_jit *a = calloc(1, sizeof(*a));
    struct jit_config jc;
    int ret;

    if (!a)
        return err_set(e, ENOMEM, "out of memory");
    a->accel.ops = &accel_jit_accel_ops;
    a->cfg = *cfg;
    a->translations = (struct translations){.dir = -1, .fresh = -1};
    a->began = accel_jit_now();
    a->ticks_began = __builtin_ia32_rdtsc();
    accel_jit_bind(a);
    jc = (struct jit_config){.tier = tiers[cfg->tier],
                             .mem = &a->mem_ops,
                             .stats = cfg->stats,
                             .made = cfg->perf_map || cfg->jitdump ? accel_jit_made : NULL,
                             .opaque = a};
    ret = accel_jit_perf_open(&a->perf, cfg->perf_map, cfg->jitdump, e);
    if (ret == 0)
        ret = jit_create(&a->jit, &jc, e);
    if (ret == 0 && cfg->saved)
        ret = accel_jit_saved_open(a, e);
    if (ret) {
        accel_jit_destroy(&a->accel);
        return ret;
    }
    jit_lockstep(a->jit, accel_jit_mismatch, a);
    jit_seed(a->jit, cfg->seed);
    jit_trace(a->jit, cfg->trace_exec || cfg->trace_cpu ? accel_jit_entered : NULL, a, cfg->trace_unlinked);
    *out = &a->accel;
    return 0;
}
