/* Disks as the settings have them: the engine that serves them, and each with its format and overlay. */
#ifndef PIPIT_MACHINE_DISKS_H
#define PIPIT_MACHINE_DISKS_H

#include "vmm/machine/config.h"

/* -ENOTSUP where the engine that was asked for is not allowed here. Its threads, if it has any, confine themselves. */
int disks_create_engine(struct block_engine **out, struct loop *l, const struct vm_config *c, struct err *e);
/* `d` is one of the config's, or a copy. */
int disks_open(struct block **out, struct block_engine *en, const struct vm_config *c, const struct vm_disk *d,
               struct err *e);
/* The machine cannot be started: an overlay that was made for it goes again. Before its name is given up. */
void disks_forget(const struct vm_config *c);

#endif
