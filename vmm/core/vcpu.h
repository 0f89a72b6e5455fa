/*
 * The accelerator seam: KVM and the JIT implement it, everything else knows only this.
 *
 * One thread runs one vCPU: vcpu_run is called again and again on it. MMIO and port accesses are dispatched inside
 * through the buses; vcpu_run leaves only for what the machine must decide. kick makes a running vcpu_run return
 * VCPU_EXIT_KICK soon and a later one return at once; it may be called from any thread and from a signal handler.
 *
 * The accelerator also has what the architecture keeps beside its CPUs: the interrupt controller, the CPUs' timers, and
 * the power states of vCPUs. All vCPUs' threads call vcpu_run from the beginning; one that the guest has not started
 * (PSCI CPU_ON, INIT and SIPI), or has turned off, waits inside.
 *
 * Order: create (the accelerator's own function), vcpu_create for each, complete, irq_line, vcpu_set_entry of vCPU 0,
 * then vcpu_run. "With no vCPU running" means that every vcpu_run has returned.
 */
#ifndef PIPIT_CORE_VCPU_H
#define PIPIT_CORE_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/irq.h"
#include "vmm/core/mem.h"
#include "vmm/core/state.h"

struct accel;
struct vcpu;

enum vcpu_exit {
    VCPU_EXIT_KICK,     /* kicked; run again unless the machine wants otherwise */
    VCPU_EXIT_POWEROFF, /* the guest asked for power off (PSCI SYSTEM_OFF) */
    VCPU_EXIT_RESET,    /* the guest asked for a reset (PSCI SYSTEM_RESET), or was reset (x86 triple fault) */
    VCPU_EXIT_DEBUG,    /* breakpoint or single step */
    VCPU_EXIT_ERROR,    /* the accelerator cannot go on; logged */
};

/* In what state a boot protocol wants vCPU 0. */
enum vcpu_mode {
    VCPU_MODE_ARM64,    /* MMU off, interrupts masked (Linux Documentation/arch/arm64/booting.rst) */
    VCPU_MODE_X86_LONG, /* long mode with the boot page tables and GDT (Documentation/arch/x86/boot.rst, 64-bit) */
    VCPU_MODE_X86_PVH,  /* 32-bit protected mode, paging off (Xen docs/misc/pvh.pandoc) */
};

struct vcpu_entry {
    uint64_t pc;
    uint64_t arg; /* X0; RSI; EBX */
    enum vcpu_mode mode;
};

/* What an accelerator can do. */
#define ACCEL_CAP_DIRTY_LOG 0x1
#define ACCEL_CAP_DEBUG 0x2
#define ACCEL_CAP_STATE 0x4 /* save and load, of vCPUs and of the rest */

/* Functions marked "optional" may be NULL, and then do nothing or stand for a capability that is not there. */
struct accel_ops {
    const char *name; /* "kvm", "jit" */
    uint32_t caps;
    void (*destroy)(struct accel *a); /* after all its vCPUs */

    /* `index` counts from 0; vCPU 0 starts at the entry point. */
    int (*vcpu_create)(struct accel *a, unsigned index, struct vcpu **out, struct err *e);
    void (*vcpu_destroy)(struct vcpu *v);
    /* Makes what needs all vCPUs. Optional. */
    int (*complete)(struct accel *a, struct err *e);

    /* Back to power-on, with no vCPU running: `reset` for the interrupt controller, timers and power states, then
     * vcpu_reset for each vCPU. vCPU 0 then wants its entry again. */
    int (*reset)(struct accel *a, struct err *e);
    int (*vcpu_reset)(struct vcpu *v, struct err *e);
    /* For vCPU 0, before it runs. */
    int (*vcpu_set_entry)(struct vcpu *v, const struct vcpu_entry *entry, struct err *e);

    enum vcpu_exit (*vcpu_run)(struct vcpu *v);
    void (*vcpu_kick)(struct vcpu *v);

    /* A line of the interrupt controller for a device: SPI number on arm64 (0 is INTID 32), GSI on x86. */
    int (*irq_line)(struct accel *a, unsigned num, bool edge, struct irq_line *out, struct err *e);
    /* From here on a 4-byte guest write of `value` to `addr` signals eventfd `fd` and does not reach the bus. Devices
     * must take the write from the bus as well. -errno. Optional, both or none. */
    int (*doorbell_add)(struct accel *a, int fd, gpa_t addr, uint32_t value);
    void (*doorbell_remove)(struct accel *a, int fd, gpa_t addr, uint32_t value);

    /* The guest's clocks stand still between the two; with no vCPU running. Optional. */
    void (*pause)(struct accel *a);
    void (*resume)(struct accel *a);

    /* ACCEL_CAP_DIRTY_LOG, with no vCPU running. dirty_sync moves what was logged since the last one into
     * MEM_PAGE_DIRTY of the pages' flags. Whoever wants it takes it from there before a vCPU runs again; what is
     * written from then on is logged anew. -errno. */
    int (*dirty_log)(struct accel *a, bool on);
    int (*dirty_sync)(struct accel *a);

    /* ACCEL_CAP_STATE, with no vCPU running: a section a vCPU, and those of the rest (interrupt controller, clocks).
     * -EINVAL for a stream that is not ours. */
    void (*vcpu_save)(struct vcpu *v, struct state_writer *w);
    int (*vcpu_load)(struct vcpu *v, struct state_reader *r);
    void (*save)(struct accel *a, struct state_writer *w);
    int (*load)(struct accel *a, struct state_reader *r);

    /* One architectural register by its number in the gdb/KVM-neutral list of arch/<arch>/regs.h; -ENOENT, -EINVAL. */
    int (*get_reg)(struct vcpu *v, unsigned reg, void *buf, size_t len);
    int (*set_reg)(struct vcpu *v, unsigned reg, const void *buf, size_t len);

    /* Logs why vCPUs left the guest, and how often. With no vCPU running. */
    void (*report)(struct accel *a);
};

struct accel {
    const struct accel_ops *ops;
};

struct vcpu {
    struct accel *accel;
    unsigned index;
};

#endif
