/* Devices as boards attach them: made from the config, connected to the accelerator's interrupt controller. */
#ifndef PIPIT_MACHINE_DEVICES_H
#define PIPIT_MACHINE_DEVICES_H

#include "vmm/machine/machine.h"

#define DEVICE_NO_IRQ UINT32_MAX

/* Where a device goes. */
struct device_place {
    struct bus *bus;
    uint64_t base;
    unsigned irq; /* SPI or GSI, or DEVICE_NO_IRQ */
    bool edge;
};

/* Connects the interrupt and attaches; takes `d` in any case. */
int devices_attach(struct machine *m, struct device *d, const struct device_place *at, struct err *e);
/* Makes the virtio device of one entry of the config, with its mmio transport, and attaches it. */
int devices_attach_virtio(struct machine *m, const struct vm_device *v, const struct device_place *at, struct err *e);
/* What the serial line of the board talks to. */
struct chardev *devices_serial(struct machine *m);

#endif
