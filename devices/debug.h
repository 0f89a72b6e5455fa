/*
 * Devices by which a guest talks to whoever runs it: it prints a mark with the time, and ends the VMM with a status of
 * its choice. Both work on a bus of ports as on one of memory.
 */
#ifndef PIPIT_DEVICES_DEBUG_H
#define PIPIT_DEVICES_DEBUG_H

#include "vmm/core/device.h"

/* Called on the vCPU's thread with the device's lock held; returns, and the guest may go on for a while. */
struct debug_events {
    void (*exit)(void *opaque, unsigned status); /* 0 to 255: the process's exit status */
    void *opaque;
};

/*
 * pipit's own, 8 bytes. A write at 0 logs its value (32 bits) as one line,
 *     pipit: debug 0x2a: 7.123 ms since exec, 1.234 ms since the first vCPU started, 5.678 ms of our CPU time
 * and a write at 4, of any width, ends the VMM with its low 8 bits. Reads give zero.
 */
int debug_create(struct device **out, const struct debug_events *ev);

/*
 * What QEMU calls isa-debug-exit: a write of v anywhere in its `size` bytes (1 to 8) ends the VMM with status
 * (v << 1) | 1, cut to 8 bits, so that no guest can report success by accident. Reads give zero.
 */
int debug_create_isa_exit(struct device **out, unsigned size, const struct debug_events *ev);

#endif
