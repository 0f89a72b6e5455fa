/*
 * The accelerator seam: KVM and the JIT implement it, everything else knows only this.
 *
 * One thread runs one vCPU: vcpu_run is called again and again on it. MMIO is dispatched inside through the bus;
 * vcpu_run leaves only for what the machine must decide. kick makes a running vcpu_run return VCPU_EXIT_KICK soon and
 * a later one return at once; it may be called from any thread and from a signal handler.
 */
#ifndef PIPIT_CORE_VCPU_H
#define PIPIT_CORE_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct accel;
struct vcpu;

enum vcpu_exit {
    VCPU_EXIT_KICK,     /* kicked; run again unless the machine wants otherwise */
    VCPU_EXIT_POWEROFF, /* the guest asked for power off (PSCI SYSTEM_OFF) */
    VCPU_EXIT_RESET,    /* the guest asked for a reset (PSCI SYSTEM_RESET) */
    VCPU_EXIT_DEBUG,    /* breakpoint or single step */
    VCPU_EXIT_ERROR,    /* the accelerator cannot go on; logged */
};

/* What an accelerator can do. */
#define ACCEL_CAP_DIRTY_LOG 0x1
#define ACCEL_CAP_DEBUG 0x2

struct accel_ops {
    const char *name; /* "kvm", "jit" */
    uint32_t caps;
    void (*destroy)(struct accel *a); /* after all its vCPUs */
    /* `index` counts from 0; vCPU 0 starts at the entry point, others wait for PSCI CPU_ON. */
    int (*vcpu_create)(struct accel *a, unsigned index, struct vcpu **out, struct err *e);
    void (*vcpu_destroy)(struct vcpu *v);
    /* Back to the architectural reset state; called with the vCPU not running. */
    void (*vcpu_reset)(struct vcpu *v);
    /* Entry point and argument registers of the boot protocol, for vCPU 0. */
    void (*vcpu_set_entry)(struct vcpu *v, uint64_t pc, uint64_t x0);
    enum vcpu_exit (*vcpu_run)(struct vcpu *v);
    void (*vcpu_kick)(struct vcpu *v);
    /* One architectural register by its number in the gdb/KVM-neutral list of arch/<arch>/regs.h; -ENOENT, -EINVAL. */
    int (*get_reg)(struct vcpu *v, unsigned reg, void *buf, size_t len);
    int (*set_reg)(struct vcpu *v, unsigned reg, const void *buf, size_t len);
};

struct accel {
    const struct accel_ops *ops;
};

struct vcpu {
    struct accel *accel;
    unsigned index;
};

#endif
