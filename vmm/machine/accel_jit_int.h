/* What the two files of the JIT accelerator share: accel_jit.c (vCPUs, waiting, power) and accel_jit_cpu.c (what a
 * running vCPU asks for). */
#ifndef PIPIT_MACHINE_ACCEL_JIT_INT_H
#define PIPIT_MACHINE_ACCEL_JIT_INT_H

#include <pthread.h>

#include "jit/jit.h"
#include "vmm/machine/accel_jit.h"
#include "vmm/machine/accel_jit_perf.h"
#include "vmm/machine/translations.h"

/* Why a vCPU left the guest's instructions; counted by its own thread. */
enum accel_jit_reason {
    ACCEL_JIT_MMIO_READ,
    ACCEL_JIT_MMIO_WRITE,
    ACCEL_JIT_CALL, /* HVC and SMC: PSCI */
    ACCEL_JIT_WAIT, /* WFI and WFE */
    ACCEL_JIT_INTERRUPT,
    ACCEL_JIT_KICK,
    ACCEL_JIT_REASONS
};

struct accel_jit_vcpu {
    struct vcpu vcpu;
    struct arm64_cpu *cpu;
    struct arm64_timer *timer;
    enum vcpu_exit exit;  /* what vcpu_run returns once the JIT has left; the vCPU's thread only */
    pthread_mutex_t lock; /* PSCI's may be taken inside; nothing else is */
    pthread_cond_t wake;
    uint64_t count[ACCEL_JIT_REASONS];
    uint64_t wfe_begin, wfe_end; /* CLOCK_MONOTONIC: a row of WFEs with little between them */
};

struct accel_jit {
    struct accel accel;
    struct accel_jit_config cfg;
    struct jit *jit;
    struct accel_jit_perf perf;
    uint64_t began, ticks_began; /* CLOCK_MONOTONIC and the time-stamp counter when it was made */
    struct translations translations;
    struct jit_saved_image saved; /* of them */
    uint8_t saved_key[JIT_SAVED_KEY];
    struct jit_mem_ops mem_ops;
    atomic_bool rom_hidden; /* ROM has become a device's since somebody looked */
    struct gic *gic;
    struct psci *psci;
    struct accel_jit_vcpu *vcpu[ACCEL_JIT_MAX_CPUS];
    struct arm64_cpu *cpu[ACCEL_JIT_MAX_CPUS]; /* theirs; the GIC keeps a pointer to this */
};

static inline struct accel_jit *accel_jit_of(struct vcpu *v)
{
    return container_of(v->accel, struct accel_jit, accel);
}

static inline struct accel_jit_vcpu *accel_jit_vcpu_of(struct vcpu *v)
{
    return container_of(v, struct accel_jit_vcpu, vcpu);
}

static inline void accel_jit_count(struct arm64_cpu *c, enum accel_jit_reason r)
{
    accel_jit_vcpu_of(c->machine)->count[r]++;
}

/* Fills a->mem_ops, sets arch/arm64's hooks and RAM's. */
void accel_jit_bind(struct accel_jit *a);
/* For struct arm64_cpu.ops of every vCPU. */
const struct a64_ops *accel_jit_ops(void);
uint64_t accel_jit_now(void); /* CLOCK_MONOTONIC, in nanoseconds */
/* --jit-stats; accel_jit_stats.c. */
void accel_jit_report_stats(const struct accel_jit *a);
/* accel_jit_saved.c: finds translations for a->jit, before the sandbox; writes those of the run, when no vCPU runs. */
int accel_jit_saved_open(struct accel_jit *a, struct err *e);
void accel_jit_saved_close(struct accel_jit *a);
/* Parks the vCPU in WFI, pauses it in WFE, ends such a pause; accel_jit.c. */
void accel_jit_wait(struct arm64_cpu *c);
void accel_jit_wait_event(struct arm64_cpu *c);
void accel_jit_send_event(struct arm64_cpu *c);

#endif
