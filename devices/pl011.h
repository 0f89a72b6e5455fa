/* The Arm PrimeCell UART (PL011), DDI 0183, revision r1p4. */
#ifndef PIPIT_DEVICES_PL011_H
#define PIPIT_DEVICES_PL011_H

#include "devices/chardev.h"
#include "vmm/core/device.h"

/* The device borrows `c`, which must outlive it, and becomes one of its front ends. The machine sets device->irq. */
int pl011_create(struct device **out, struct chardev *c);

#endif
