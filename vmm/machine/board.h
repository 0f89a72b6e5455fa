/*
 * What the machine asks of a board: what it is, and what it puts where. The machine makes everything that boards have
 * in common (create.c) and calls these in between, in the order in which they stand here. A board has no state of its
 * own beside struct machine.
 */
#ifndef PIPIT_MACHINE_BOARD_H
#define PIPIT_MACHINE_BOARD_H

#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/device.h"
#include "vmm/core/mem.h"
#include "vmm/machine/config.h"

struct machine;

struct board_ops {
    const char *name;
    enum vm_arch arch;
    const char *serial;              /* Linux's name of the first serial line */
    unsigned nslots;                 /* for virtio devices; at most VM_MAX_SLOTS */
    unsigned cmdline_max;            /* bytes that a kernel takes, without the NUL */
    uint64_t memory_min, memory_max; /* bytes */
    unsigned (*max_cpus)(const struct vm_config *c);

    int (*add_ram)(struct machine *m, const struct mem_options *opt, struct err *e);
    /* Makes m->accel with its interrupt controller where the board has it; vCPUs come afterwards. */
    int (*create_accel)(struct machine *m, struct err *e);
    /* Puts kernel, initrd and what describes the machine, its vCPUs too, into RAM, and fills m->boot. Called once,
     * before anything is sandboxed: it opens files. To dump the device tree it is called without an accelerator. */
    int (*load)(struct machine *m, struct err *e);
    /* Attaches every device to the machine's buses. */
    int (*attach_devices)(struct machine *m, struct err *e);

    /* Writes what describes the machine into RAM again, after a reset. Kernel and initrd are there again already. */
    int (*reload)(struct machine *m, struct err *e);
};

extern const struct board_ops virt_board;  /* arm64_virt.c */
extern const struct board_ops micro_board; /* x86_micro.c */

/* The board of a validated config, or of one whose machine is decided. */
const struct board_ops *board_find(enum vm_machine machine);

#endif
