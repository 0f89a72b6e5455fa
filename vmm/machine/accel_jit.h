/*
 * The JIT as an accelerator for arm64 guests: vCPUs on top of jit/ and arch/arm64, with the GIC, the generic timers and
 * PSCI of arch/arm64 behind it, as KVM has its own.
 */
#ifndef PIPIT_MACHINE_ACCEL_JIT_H
#define PIPIT_MACHINE_ACCEL_JIT_H

#include <errno.h>
#include <stdbool.h>

#include "arch/arm64/arm64.h"
#include "arch/arm64/gic.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/clock.h"
#include "vmm/core/loop.h"
#include "vmm/core/mem.h"
#include "vmm/core/vcpu.h"
#include "vmm/machine/config.h"

#define ACCEL_JIT_MAX_CPUS 8

struct accel_jit_config {
    unsigned ncpus; /* at most ACCEL_JIT_MAX_CPUS */
    const struct arm64_model *model;
    enum vm_tier tier;
    uint64_t seed;                              /* VM_TIER_MIXED */
    bool trace_exec, trace_cpu, trace_unlinked; /* jit_trace */
    bool stats;                                 /* count and time what the JIT does, for the report */
    bool perf_map, jitdump;                     /* /tmp/perf-PID.map, jit-PID.dump */
    bool saved;                                 /* translations are kept, and earlier ones used */
    const char *translations;                   /* where, as translations.h has it */
    struct mem *mem;
    struct bus *bus; /* takes the GIC's registers */
    struct clock *clock;
    struct loop *loop;
    unsigned gic_version;
    unsigned gic_nspis;
    gpa_t gic_dist, gic_redist; /* version 2: the CPU interface in gic_redist */
    unsigned ppi_timer_virt, ppi_timer_phys;
};

#ifdef HAVE_JIT
int accel_jit_create(struct accel **out, const struct accel_jit_config *cfg, struct err *e);
/* In a handler of SIGBUS: where the instruction at `ip` goes on, which read a file that somebody has cut off; or zero.
 */
uintptr_t accel_jit_recover(uintptr_t ip);
#else
static inline uintptr_t accel_jit_recover(uintptr_t ip)
{
    (void)ip;
    return 0;
}

static inline int accel_jit_create(struct accel **out, const struct accel_jit_config *cfg, struct err *e)
{
    (void)out;
    (void)cfg;
    return err_set_status(e, ERR_STATUS_ACCEL_ARCH, ENOTSUP, "this pipit is built without the JIT");
}
#endif

#endif
