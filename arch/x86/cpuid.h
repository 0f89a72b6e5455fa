/*
 * What CPUID tells a guest: a pure function of what the host's KVM supports and of the machine's shape.
 *
 * Sources: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Linux, Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef PIPIT_ARCH_X86_CPUID_H
#define PIPIT_ARCH_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

/* One answer. `indexed`: it is given only where ECX holds `index`; otherwise whatever ECX holds. */
struct x86_cpuid {
    uint32_t leaf, index;
    bool indexed;
    uint32_t eax, ebx, ecx, edx;
};

/* A processor's packages have one thread a core, and the machine has one package. */
struct x86_cpuid_config {
    unsigned ncpus;
    bool max;          /* everything that is supported, nested virtualization too */
    bool tsc_deadline; /* the LAPIC's timer has the deadline mode, which no supported leaf says */
};

/*
 * Makes the `n` supported leaves in `e` (room for `cap`) the guest's, in place; the same for all vCPUs but for
 * x86_cpuid_set_cpu. Returns how many there are then, or -ENOSPC.
 */
int x86_cpuid_build(struct x86_cpuid *e, unsigned n, unsigned cap, const struct x86_cpuid_config *cfg);
/* The leaves that hold a processor's own number, which is its APIC ID. */
void x86_cpuid_set_cpu(struct x86_cpuid *e, unsigned n, unsigned cpu);

/* The leaf, or NULL. */
struct x86_cpuid *x86_cpuid_find(struct x86_cpuid *e, unsigned n, uint32_t leaf, uint32_t index);

#endif
