/*
 * KVM as an accelerator: /dev/kvm runs guests of the host's architecture.
 *
 * kvm.c opens the device and makes the VM, vcpu.c runs vCPUs, memory.c owns memory slots and the dirty log, irq.c
 * interrupt lines and doorbells, stats.c the counters; x86*.c and arm64*.c are the architectures, of which only the
 * host's is compiled. This room knows no machine: what the guest reaches is on the buses that the config names.
 *
 * Threads: vcpu_run on the vCPU's own; vcpu_kick, interrupt lines and doorbells from any; the rest while no vCPU runs.
 */
#ifndef PIPIT_KVM_KVM_H
#define PIPIT_KVM_KVM_H

#include <stdbool.h>

#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/mem.h"
#include "vmm/core/vcpu.h"

enum kvm_cpu {
    KVM_CPU_HOST, /* what this host's KVM offers, less what suits few guests: nested virtualization, and the like */
    KVM_CPU_MAX,  /* everything that this host's KVM supports */
};

/* Copied by kvm_create; what it points at outlives the accelerator. */
struct kvm_config {
    unsigned ncpus;  /* vCPUs that will be created, with the indexes 0..ncpus-1 */
    struct mem *mem; /* with all its RAM */
    struct bus *bus; /* MMIO */
    struct bus *pio; /* x86 I/O ports; NULL: there are none */
    enum kvm_cpu cpu;
    bool stats; /* measure the time spent in devices, for report */

    /* arm64 */
    unsigned gic_version; /* 2 or 3; 0: 3 where the host has it, else 2 */
    gpa_t gic_dist;
    gpa_t gic_redist; /* version 3: 128 KiB a vCPU */
    gpa_t gic_cpuif;  /* version 2 */
    unsigned pmu_ppi; /* INTID of the performance counters' interrupt */
};

/*
 * Opens /dev/kvm, checks capabilities, makes the VM, its in-kernel interrupt controller and its memory slots. Installs
 * a handler for the signal that kicks vCPUs (SIGRTMIN). Errors name the cause and carry its exit status.
 */
int kvm_create(struct accel **out, const struct kvm_config *cfg, struct err *e);

/* 0 where this host's KVM can be used; otherwise why not, as a sentence with its exit status. Leaves nothing open. */
int kvm_probe(struct err *e);

/* arm64: what this host gives. */
unsigned kvm_arm64_gic_version(const struct accel *a); /* 2 or 3 */
bool kvm_arm64_has_pmu(const struct accel *a);

#endif
