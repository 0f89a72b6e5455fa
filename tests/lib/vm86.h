/*
 * A small x86-64 machine for tests of the KVM accelerator: RAM from 0, long mode or PVH entry at VM86_CODE, and two
 * devices that write down what the guest does with them.
 *
 *   VM86_MMIO, 4 KiB    accesses are recorded; reads give `answer`
 *   port VM86_PORT, 16  likewise
 *   port VM86_EXIT      a write sets `exit` and ends vm86_run
 *
 * Only one recorded access is under way at a time, so that `access` is in order whichever vCPU makes them.
 */
#ifndef PIPIT_TESTS_LIB_VM86_H
#define PIPIT_TESTS_LIB_VM86_H

#include <stdatomic.h>
#include <stdbool.h>

#include "vmm/core/bus.h"
#include "vmm/core/vcpu.h"
#include "vmm/kvm/kvm.h"

#define VM86_CODE 0x100000
#define VM86_RAM 0x400000
#define VM86_MMIO 0xd0000000
#define VM86_PORT 0x600
#define VM86_EXIT 0xf4
#define VM86_MAX_CPUS 4
#define VM86_MAX_ACCESSES 256

struct vm86_access {
    bool port, write;
    uint64_t addr; /* from the device's beginning */
    unsigned size, cpu;
    uint64_t val;
};

struct vm86 {
    struct mem *mem;
    struct bus *bus, *pio;
    struct accel *accel;
    unsigned ncpus;
    struct vcpu *vcpu[VM86_MAX_CPUS];
    struct vm86_access access[VM86_MAX_ACCESSES];
    atomic_uint naccesses; /* counts on where `access` is full */
    _Atomic uint64_t answer;
    atomic_int exit; /* -1: not yet */
    atomic_bool late;
    /* Called with each recorded access, by the vCPU that makes it. */
    void (*on_access)(struct vm86 *m, const struct vm86_access *a);
};

/* Why there is no KVM to test here, or NULL. The sentence lives on. */
const char *vm86_unavailable(void);

/* `cfg`: NULL, or one whose cpu and stats are taken. False with a printed reason. */
bool vm86_create(struct vm86 *m, unsigned ncpus, const struct kvm_config *cfg);
void vm86_destroy(struct vm86 *m);
/* Resets the machine, puts code at VM86_CODE and vCPU 0 in front of it, and forgets what was recorded. */
bool vm86_load(struct vm86 *m, const void *code, size_t size, enum vcpu_mode mode, uint64_t arg);
/* Runs a vCPU on the calling thread until the guest writes VM86_EXIT, vcpu_run leaves for anything but a kick, or 20
 * seconds are over (`late`, VCPU_EXIT_KICK). */
enum vcpu_exit vm86_run(struct vm86 *m, unsigned cpu);

uint64_t vm86_reg(struct vm86 *m, unsigned cpu, unsigned reg);

/* Nanoseconds, monotonic. */
uint64_t vm86_now(void);

#endif
