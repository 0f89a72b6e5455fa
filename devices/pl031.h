/* The Arm PrimeCell real time clock (PL031), DDI 0224. */
#ifndef PIPIT_DEVICES_PL031_H
#define PIPIT_DEVICES_PL031_H

#include "vmm/core/device.h"
#include "vmm/core/loop.h"

/* Counts the host's UTC seconds. The machine sets device->irq. */
int pl031_create(struct device **out, struct loop *l);

#endif
