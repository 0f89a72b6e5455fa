/* The JIT as an accelerator: vCPUs of one machine on top of jit/ and arch/arm64. */
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

/* Lives as long as the accelerator. */
struct accel_jit_config {
    unsigned ncpus;
    const struct arm64_model *model;
    bool interp; /* the interpreter alone */
    struct mem *mem;
    struct bus *bus;
    struct clock *clock;
    struct loop *loop;
    struct gic *gic; /* made by the board once the vCPUs are there, and set before the first of them runs */
};

#ifdef HAVE_JIT
int accel_jit_create(struct accel **out, const struct accel_jit_config *cfg, struct err *e);
/* The architectural state of a vCPU made by this accelerator. */
struct arm64_cpu *accel_jit_cpu(struct vcpu *v);
#else
static inline int accel_jit_create(struct accel **out, const struct accel_jit_config *cfg, struct err *e)
{
    (void)out, (void)cfg;
    return err_set(e, ENOTSUP, "this pipit has no JIT");
}
static inline struct arm64_cpu *accel_jit_cpu(struct vcpu *v)
{
    (void)v;
    return NULL;
}
#endif

#endif
