/*
 * The JIT's face to its users: a machine (vmm/machine/accel_jit.c) or user mode. Guest code is AArch64, the host
 * x86-64.
 */
#ifndef PIPIT_JIT_JIT_H
#define PIPIT_JIT_JIT_H

#include <stddef.h>

#include "arch/arm64/cpu.h"
#include "jit/ops.h"
#include "vmm/base/err.h"

struct jit;
struct jit_vcpu;

enum jit_tier { JIT_INTERP, JIT_TIER1 };

/* Where a machine's memory comes from. Views of one translation; perm is ARM64_PERM_*. */
struct jit_xlat {
    uint64_t pa;
    uint8_t page_bits;
    uint8_t perm;
    bool ng;
    bool device;
    uint16_t asid;
};

struct jit_mem_ops {
    /* 0, or A64_TRAPPED after the abort was raised. acc: 0 read, 1 write, 2 fetch; el: what it is checked as. */
    int (*translate)(struct arm64_cpu *c, uint64_t va, unsigned acc, unsigned el, struct jit_xlat *out);
    void (*align_fault)(struct arm64_cpu *c, uint64_t va, bool write);
    /* Host address of the 4 KiB RAM page at pa and its flags byte (vmm/core/mem.h), or NULL: device memory. */
    uint8_t *(*ram_page)(void *opaque, uint64_t pa, atomic_uchar **flags);
    /* 0, or A64_TRAPPED after an external abort was raised. */
    int (*mmio_read)(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t *val);
    int (*mmio_write)(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t val);
    /* Takes a deliverable interrupt, if any. */
    bool (*take_interrupt)(struct arm64_cpu *c);
    /* Parks the vCPU in WFI until an interrupt line or exit_request is set. */
    void (*wait)(struct arm64_cpu *c);
    int (*sysreg_plain)(uint32_t enc, unsigned el, bool write);
    void *opaque;
};

struct jit_config {
    enum jit_tier tier;
    unsigned ncpus;
    size_t code_size; /* bytes of code cache; 0: default */
    const struct jit_mem_ops *mem;
};

int jit_create(struct jit **out, const struct jit_config *cfg, struct err *e);
void jit_destroy(struct jit *j);

#endif
