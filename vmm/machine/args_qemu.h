/* Shared by the two halves of QEMU's command line: args_qemu.c (the machine), args_qemu_devices.c (what is in it). */
#ifndef PIPIT_MACHINE_ARGS_QEMU_H
#define PIPIT_MACHINE_ARGS_QEMU_H

#include "vmm/base/options.h"
#include "vmm/machine/args.h"

#define QEMU_MAX_IDS 96

enum qemu_id_kind { QEMU_ID_DRIVE, QEMU_ID_NETDEV, QEMU_ID_CHARDEV, QEMU_ID_RNG, QEMU_ID_DEVICE };

/* A named back end (or device), and where the config has it. */
struct qemu_id {
    enum qemu_id_kind kind;
    const char *id; /* "" for one without a name */
    unsigned index;
    bool used;   /* a device has it */
    bool joined; /* a drive: by a -device, so that its own turn makes no second one */
    bool legacy; /* -net user: takes the next -net nic */
};

enum qemu_target { QEMU_ANY, QEMU_AARCH64, QEMU_X86_64 };

struct qemu_args {
    struct vm_config *c;
    enum qemu_target target;
    struct qemu_id id[QEMU_MAX_IDS];
    unsigned nids;
    unsigned drives_seen;             /* -drive options taken in the second pass */
    bool snapshot;                    /* for all drives that do not say otherwise */
    bool snapshot_said[VM_MAX_SLOTS]; /* this one does */
    bool machine_none, nodefaults, nographic, display_none;
    bool serial_given, append_given;
    unsigned nserials;
    bool flash_given[2];
    bool net_given; /* any of -netdev, -nic, -net */
    bool pci_noted;
    bool done; /* a list or help was printed */
};

typedef int (*qemu_set_fn)(struct qemu_args *a, const char *v, struct err *e);

/* First pass: back ends and their names. Second pass, when all names are known: devices, in command-line order. */
int qemu_pflash(struct qemu_args *a, const char *v, struct err *e);
int qemu_drive(struct qemu_args *a, const char *v, struct err *e);
int qemu_drive_device(struct qemu_args *a, const char *v, struct err *e);
int qemu_hda(struct qemu_args *a, const char *v, struct err *e);
int qemu_cdrom(struct qemu_args *a, const char *v, struct err *e); /* a read-only disk: the board has no other drives */
int qemu_netdev(struct qemu_args *a, const char *v, struct err *e);
int qemu_nic(struct qemu_args *a, const char *v, struct err *e); /* second pass */
int qemu_net(struct qemu_args *a, const char *v, struct err *e);
int qemu_net_device(struct qemu_args *a, const char *v, struct err *e);
int qemu_chardev(struct qemu_args *a, const char *v, struct err *e);
int qemu_object(struct qemu_args *a, const char *v, struct err *e);
int qemu_serial(struct qemu_args *a, const char *v, struct err *e); /* second pass: may name a chardev */
int qemu_device_help(struct qemu_args *a, const char *v, struct err *e);
int qemu_device(struct qemu_args *a, const char *v, struct err *e);

/* What no option asked for but QEMU gives, and what was named but is of no use. */
int qemu_settle_devices(struct qemu_args *a, struct err *e);

/* 0 where every item of `o` was understood; otherwise -EINVAL that names the first one that was not. */
int qemu_options_done(struct options *o, const char *what, struct err *e);

#endif
