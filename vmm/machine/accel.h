/* Which accelerator runs a guest: by the guest's architecture, the host's, what was asked for and what is there. */
#ifndef PIPIT_MACHINE_ACCEL_H
#define PIPIT_MACHINE_ACCEL_H

#include <stdbool.h>

#include "vmm/machine/config.h"

/* What the choice depends on. */
struct accel_host {
    enum vm_arch arch;
    bool jit; /* built in */
    int (*kvm_probe)(struct err *e);
};
/* Where we are; tests point it to hosts that they make up. */
extern const struct accel_host *accel_host;

/*
 * Takes the first of c->accel_order (KVM, then the JIT, where it is empty) that can run the guest of `arch` here, and
 * says in c->accel_note why it is the JIT where KVM was to come first. Otherwise -errno, with the sentence and the
 * status of what is nearest: a KVM that is not there, rather than an accelerator of another architecture.
 */
int accel_choose(struct vm_config *c, enum vm_arch arch, struct err *e);

const char *accel_arch_name(enum vm_arch arch);

#endif
