/*
 * The kernel from the first disk's image, where none is named. Look-up happens before the machine is chosen, since the
 * kernel decides that.
 */
#ifndef PIPIT_MACHINE_DISK_BOOT_H
#define PIPIT_MACHINE_DISK_BOOT_H

#include "vmm/base/err.h"
#include "vmm/machine/config.h"

/* Fills in what the user has not given of c->kernel, c->initrd and the command line, and c->boot_note, which says what
 * was taken. The files are provided to the loader. `advice`: what else can be done where there is none, a sentence.
 * Forks and waits: before any thread. */
int disk_boot_find(struct vm_config *c, bool cmdline_given, const char *advice, struct err *e);

/* A console for that kernel, whose command line may have been made for another machine: `words`, where it does not name
 * the console `name`. */
void disk_boot_console(struct vm_config *c, const char *name, const char *words);

#endif
