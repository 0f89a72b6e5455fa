/*
 * What the files of the arm64 half share: arm64.c (the VM, its vCPUs and their exits), arm64_regs.c (registers, state
 * and clocks), arm64_gic.c (the in-kernel interrupt controller).
 */
#ifndef PIPIT_KVM_ARM64_H
#define PIPIT_KVM_ARM64_H

#include "vmm/kvm/internal.h"

/* SPIs: INTIDs 32 up to here. */
#define KVM_ARM64_SPIS 256

struct kvm_arch {
    struct kvm_vcpu_init init; /* of every vCPU, but that only the first is not powered off */
    int gic_fd;                /* -1: not made yet */
    unsigned gic_version;
    bool paused;
    /* While paused: the virtual counter where the guest's time stands, and the physical one when it began. */
    uint64_t count, physical;
};

struct kvm_arch_vcpu {
    uint64_t mpidr;
};

static inline bool kvm_arm64_feature(const struct kvm *k, unsigned feature /* KVM_ARM_VCPU_* */)
{
    return k->arch->init.features[feature / 32] & BIT32(feature % 32);
}

/* ---- arm64_regs.c ---- */

/* A register by KVM's identifier, KVM_REG_SIZE(id) bytes; -errno. */
int kvm_reg_get(const struct kvm_vcpu *v, uint64_t id, void *buf);
int kvm_reg_set(const struct kvm_vcpu *v, uint64_t id, const void *buf);
/* The virtual counter of all vCPUs, at this moment. -errno. */
int kvm_count_get(const struct kvm *k, uint64_t *count);
int kvm_count_set(const struct kvm *k, uint64_t count);

/* ---- arm64_gic.c ---- */

int kvm_gic_create(struct kvm *k, struct err *e);
/* All vCPUs are there. */
int kvm_gic_complete(struct kvm *k, struct err *e);
/* The rest with no vCPU running. -errno. */
int kvm_gic_reset(struct kvm *k);
int kvm_gic_save(struct kvm *k, struct state_writer *w);
int kvm_gic_load(struct kvm *k, struct state_reader *r);

#endif
