/*
 * MMIO dispatch. Devices are attached before the first vCPU runs; look-up is a binary search without a lock.
 */
#ifndef PIPIT_CORE_BUS_H
#define PIPIT_CORE_BUS_H

#include "vmm/core/device.h"

struct bus;

int bus_create(struct bus **out);
/* Destroys the attached devices too (their ops->destroy), last attached first. */
void bus_destroy(struct bus *b);
/* The bus owns the device from here. -EEXIST where it overlaps another; the device is not taken then. */
int bus_attach(struct bus *b, struct device *d, gpa_t base);
/* Access of 1, 2, 4 or 8 bytes by vCPU `cpu`. -ENXIO where nothing is mapped: the caller raises an external abort. */
int bus_read(struct bus *b, unsigned cpu, gpa_t a, unsigned size, uint64_t *val);
int bus_write(struct bus *b, unsigned cpu, gpa_t a, unsigned size, uint64_t val);
void bus_reset(struct bus *b);
/* See struct device_ops. */
void bus_pause(struct bus *b);
void bus_resume(struct bus *b);
/* Calls fn for each device in order of address. */
void bus_for_each(struct bus *b, void (*fn)(void *opaque, struct device *d), void *opaque);

#endif
