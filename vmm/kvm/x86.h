/* What the x86-64 files of this room share. */
#ifndef PIPIT_KVM_X86_H
#define PIPIT_KVM_X86_H

#include "arch/x86/cpuid.h"
#include "vmm/kvm/internal.h"

/* The IOAPIC's pins, which are the lines a device may have; and the in-kernel chips: two PICs, the IOAPIC. */
#define X86_NGSIS 24
#define X86_NCHIPS 3
#define X86_MAX_CPUID 256
#define X86_MAX_MSRS 512

/* A vCPU's whole state, as KVM hands it out. */
struct x86_state {
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_regs regs;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp_state;
    struct kvm_vcpu_events events;
    struct kvm_xsave *xsave;
    struct kvm_msr_entry *msr;
    unsigned nmsrs;
};

/* The VM's. */
struct kvm_arch {
    struct x86_cpuid cpuid[X86_MAX_CPUID]; /* the guest's, but for what differs by vCPU */
    unsigned ncpuid;
    uint32_t msr[X86_MAX_MSRS]; /* those of the state, in the order in which they are set */
    unsigned nmsrs;
    size_t xsave_size;
    bool xcrs;       /* the host has XSAVE, and a vCPU XCR0 */
    bool tsc_offset; /* KVM_VCPU_TSC_OFFSET is there; the TSC is none of `msr` then */
    struct kvm_irqchip power_on[X86_NCHIPS];
    uint64_t paused_clock, paused_tsc; /* kvmclock in ns and vCPU 0's TSC, at pause */
    uint64_t tsc_shift;                /* load: what to add to saved TSC offsets; set by vCPU 0 */
};

struct kvm_arch_vcpu {
    struct x86_state power_on;
    struct kvm_nested_state *no_nested; /* as it was at power-on; NULL where the guest cannot run guests of its own */
    /* The LAPIC timer at pause: what was left of its count, or its deadline; 0 where it did not run. */
    uint32_t paused_count;
    uint64_t paused_deadline;
};

/* ---- x86_state.c ---- */

/* The parts of struct x86_state that one request reads and another sets; xsave and MSRs come behind. */
struct x86_part {
    const char *name;
    unsigned long get, set;
    size_t off, size;
};
#define X86_NPARTS 7
extern const struct x86_part x86_parts[X86_NPARTS];

/* Which MSRs there are, before the first vCPU. */
int x86_state_init(struct kvm *k, struct err *e);
int x86_state_alloc(struct x86_state *s, const struct kvm *k);
void x86_state_free(struct x86_state *s);
/* Both log what failed; -errno. The vCPU does not run. */
int x86_state_get(struct kvm_vcpu *v, struct x86_state *s);
int x86_state_set(struct kvm_vcpu *v, const struct x86_state *s);

/* The state of guests that the guest runs, malloc'ed; NULL where it cannot. -errno. */
int x86_nested_get(struct kvm_vcpu *v, struct kvm_nested_state **out);

int x86_chips_get(struct kvm *k, struct kvm_irqchip chip[X86_NCHIPS]);
int x86_chips_set(struct kvm *k, const struct kvm_irqchip chip[X86_NCHIPS]);

/* ---- x86_msr.c ---- */

/* One; -errno, -ENOENT where there is none of that number. */
int x86_msr_get(struct kvm_vcpu *v, uint32_t msr, uint64_t *val);
int x86_msr_set(struct kvm_vcpu *v, uint32_t msr, uint64_t val);
/* Fills kvm_arch.msr. */
int x86_msrs_list(struct kvm *k, struct err *e);
/* All of those; `msr` has room for kvm_arch.nmsrs. -errno. */
int x86_msrs_get(struct kvm_vcpu *v, struct kvm_msr_entry *msr, unsigned *count);
int x86_msrs_set(struct kvm_vcpu *v, const struct kvm_msr_entry *msr, unsigned count);

/* ---- x86_clock.c ---- */

/* A vCPU's TSC, and what KVM adds to the host's to make it. */
struct x86_tsc {
    uint64_t now, offset;
};

/* With kvm_arch.tsc_offset only; -errno. Loading starts with vCPU 0; the others keep their distance to it. */
int x86_tsc_get(struct kvm_vcpu *v, struct x86_tsc *t);
int x86_tsc_load(struct kvm_vcpu *v, const struct x86_tsc *saved);
/* Keeps what resume gives back: the timer, and of vCPU 0 the TSC. -errno. */
int x86_note_time(struct kvm_vcpu *v);
int x86_clock_get(struct kvm *k, uint64_t *ns);
int x86_clock_set(struct kvm *k, uint64_t ns);

#endif
