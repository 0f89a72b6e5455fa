/*
 * A small arm64 machine for tests of the KVM accelerator: RAM, a bank of flash without a file, the GIC that the host
 * gives, and one device that writes down what the guest does with it.
 *
 *   VMARM_FLASH, 64 MiB   devices/cfi_flash.h; the tests fill it through mem->rom[0]
 *   VMARM_MMIO, 4 KiB     accesses are recorded; reads give `answer`
 *
 * A guest ends its run by PSCI SYSTEM_OFF. The page at VMARM_TABLE maps the first GiB as a device's and the second,
 * where RAM is, as cached memory (tests/kvm/arm64_guest.h uses it).
 */
#ifndef PIPIT_TESTS_LIB_VMARM_H
#define PIPIT_TESTS_LIB_VMARM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "vmm/core/bus.h"
#include "vmm/core/vcpu.h"
#include "vmm/kvm/kvm.h"

#define VMARM_FLASH 0x04000000
#define VMARM_GICD 0x08000000
#define VMARM_GICC 0x08010000
#define VMARM_GICR 0x080a0000
#define VMARM_MMIO 0x09000000
#define VMARM_RAM 0x40000000
#define VMARM_RAM_SIZE 0x400000
#define VMARM_TABLE 0x40000000
#define VMARM_CODE 0x40010000
#define VMARM_DATA 0x40100000 /* for the guest's own use */
#define VMARM_PMU_PPI 23
#define VMARM_MAX_CPUS 4
#define VMARM_MAX_ACCESSES 256

struct vmarm_access {
    bool write;
    uint64_t off;
    unsigned size, cpu;
    uint64_t val;
};

struct vmarm {
    struct mem *mem;
    struct bus *bus;
    struct accel *accel;
    unsigned ncpus;
    struct vcpu *vcpu[VMARM_MAX_CPUS];
    struct vmarm_access access[VMARM_MAX_ACCESSES];
    atomic_uint naccesses; /* counts on where `access` is full */
    _Atomic uint64_t answer;
    atomic_bool late, ended;
    /* Called with each recorded access, by the vCPU that makes it. */
    void (*on_access)(struct vmarm *m, const struct vmarm_access *a);
};

/* Why there is no KVM to test here, or NULL. The sentence lives on. */
const char *vmarm_unavailable(void);

/* False with a printed reason. gic_version: 0 for the host's. */
bool vmarm_create(struct vmarm *m, unsigned ncpus, unsigned gic_version);
void vmarm_destroy(struct vmarm *m);
/* Resets the machine, puts code at VMARM_CODE and vCPU 0 in front of it, and forgets what was recorded. X0: `arg`. */
bool vmarm_load(struct vmarm *m, const void *code, size_t size, uint64_t arg);
/* Runs a vCPU on the calling thread until vcpu_run leaves for anything but a kick, or for a kick where `kicks` is set,
 * or 20 seconds are over (`late`, VCPU_EXIT_KICK). */
enum vcpu_exit vmarm_run(struct vmarm *m, unsigned cpu, bool kicks);
/* Runs the vCPUs from 1 on, on threads of their own, and vCPU 0 here, until one leaves as above; `kicks` is for vCPU 0.
 * What vCPU 0 left for. */
enum vcpu_exit vmarm_run_all(struct vmarm *m, bool kicks);

/* A register of 8 bytes. */
uint64_t vmarm_reg(struct vmarm *m, unsigned cpu, unsigned reg);
/* A word of RAM. */
uint64_t vmarm_peek(struct vmarm *m, uint64_t addr);

#endif
