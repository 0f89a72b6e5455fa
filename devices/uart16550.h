/* The 16550A UART of a PC: National Semiconductor PC16550D data sheet. Eight byte-wide registers. */
#ifndef PIPIT_DEVICES_UART16550_H
#define PIPIT_DEVICES_UART16550_H

#include "devices/chardev.h"
#include "vmm/core/device.h"

/* The device borrows `c`, which must outlive it, and becomes one of its front ends. The machine sets device->irq. */
int uart16550_create(struct device **out, struct chardev *c);

#endif
