/*
 * One machine: everything that belongs to it, built by machine_create in one visible order and taken apart in the
 * reverse one. Members are NULL until their step; machine_destroy takes any prefix.
 */
#ifndef PIPIT_MACHINE_MACHINE_H
#define PIPIT_MACHINE_MACHINE_H

#include "devices/block/block.h"
#include "devices/chardev.h"
#include "devices/net/net.h"
#include "loader/loader.h"
#include "vmm/core/bus.h"
#include "vmm/core/clock.h"
#include "vmm/core/irq.h"
#include "vmm/core/loop.h"
#include "vmm/core/mem.h"
#include "vmm/core/vcpu.h"
#include "vmm/machine/board.h"
#include "vmm/machine/config.h"

/* A piece of guest RAM as it was before the guest ran: the bytes of a file and zeroes, or a copy. */
struct machine_image {
    uint64_t addr, size;
    const char *path;
    bool kept;
    uint8_t *copy; /* NULL: the file has it */
    int fd;
    uint64_t file_size; /* bytes of the file, which are at addr as they are in it, zeroes behind them; 0: not known */
    uint64_t digest;    /* of the file, as it was */
};

struct machine_boot {
    struct vcpu_entry entry;
    struct machine_image kernel, initrd;
    uint64_t dtb_addr, dtb_size;
    void *dtb;             /* malloc'ed; NULL on a board without a device tree */
    struct loader_x86 x86; /* of an x86 board */
};

struct firmware; /* firmware.h */

/* What the machine tells whoever runs it. All may be called on any thread, with a device's lock held. */
struct machine_events {
    void (*on_escape)(void *opaque, enum chardev_escape what);
    void (*on_exit)(void *opaque, unsigned status); /* the guest ends us with a status of its choice, 0 to 255 */
    void (*on_disk_error)(void *opaque);            /* the machine is to be paused */
    void (*on_poweroff)(void *opaque);
    void (*on_reset)(void *opaque);
    void *opaque;
};

/* Which disk it is that wants the machine to be paused. */
struct machine_disk_stop {
    struct machine *m;
    unsigned index;
};

struct machine {
    const struct vm_config *cfg;
    struct machine_events events;
    const struct board_ops *board;
    struct net_backend *net[VM_MAX_SLOTS];
    struct clock clock;
    struct loop *loop;
    struct mem *mem;
    struct machine_boot boot;
    struct firmware *firmware; /* NULL: none */
    struct bus *bus;
    struct bus *pio; /* x86 ports; NULL on another board */
    struct accel *accel;
    unsigned gic_version; /* arm64: 2 or 3, once the accelerator is there */
    bool has_pmu;         /* arm64: the vCPUs have performance counters */
    struct vcpu **vcpu;   /* cfg->cpus of them */
    struct block_engine *engine;
    struct block *disk[VM_MAX_SLOTS];
    struct machine_disk_stop disk_stop[VM_MAX_SLOTS];
    struct chardev *chardev[VM_MAX_CHARDEVS];
    struct irq_line power_button; /* connected on a board that has one: each rise is a press */
    struct chardev *nowhere;      /* for a serial line that nothing is connected to */
};

/*
 * Builds the machine; it starts the threads of the block engine, and no others. Before anything else it forks the
 * user network's processes; after that it blocks SIGINT, SIGTERM and SIGHUP for the threads to come.
 * On failure nothing is left (machine_destroy has been called).
 */
int machine_create(struct machine *m, const struct vm_config *cfg, const struct machine_events *ev, struct err *e);
/* No vCPU and no loop may be running. */
void machine_destroy(struct machine *m);
/* Everything back to power-on, RAM images included. On the loop thread, with no vCPU running. */
int machine_reset(struct machine *m, struct err *e);

/* Devices quiet, clocks stopped, until machine_resume. On the loop thread, with no vCPU running before that. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);

/* images.c: keeps what kernel and initrd were, writes them into RAM again, gives them up. Before the loader forgets. */
int machine_keep_images(struct machine *m, struct err *e);
int machine_restore_images(struct machine *m, struct err *e);
void machine_forget_images(struct machine *m);

/* Closes the serial back ends, which restores the terminal: the part of teardown that must happen whatever hangs. */
void machine_close_chardevs(struct machine *m);
/* Writes the device tree of `cfg` to cfg->dump_dtb without building devices. */
int machine_dump_dtb(const struct vm_config *cfg, struct err *e);

/* Builds the machine, runs it to its end and takes it apart. Returns the process's exit status. */
int machine_main(const struct vm_config *cfg);

/* Beside these: enum err_status (vmm/base/err.h), and 3 for a reset with --no-reboot. */
#define MACHINE_EXIT_OK 0
#define MACHINE_EXIT_FAILURE 1
#define MACHINE_EXIT_USAGE 2

#endif
