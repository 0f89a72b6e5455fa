/*
 * Firmware: what is in the two banks of flash, and what it is told through the configuration device, which the user's
 * own files make the machine have without firmware too. Files are opened
 * before anything is sandboxed; devices are made of them when the bus is there.
 */
#ifndef PIPIT_MACHINE_FIRMWARE_H
#define PIPIT_MACHINE_FIRMWARE_H

#include "devices/cfi_flash.h"
#include "vmm/machine/machine.h"

#define FIRMWARE_BANKS 2 /* mem->rom[i]: code, variables */

/* Fills the machine's ROM. Virtio slots stand at `slots`, `stride` bytes each. */
int firmware_load(struct firmware **out, struct machine *m, uint64_t slots, uint64_t stride, struct err *e);
/* After the devices are gone; NULL is taken. */
void firmware_close(struct firmware *f);

int firmware_create_bank(struct device **out, struct firmware *f, unsigned i, struct err *e);
int firmware_create_config(struct device **out, struct firmware *f, struct machine *m, struct err *e);

#endif
