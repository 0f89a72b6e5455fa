/*
 * QEMU's firmware configuration device (docs/specs/fw_cfg.rst in its sources), in the form that arm64 boards have: what
 * the machine tells its firmware, as numbered items, some of which are files by name. The firmware copies them through
 * a data register or by DMA, and never changes one.
 *
 *   0x00  data: the next bytes of the item, in their order, whatever the width
 *   0x08  selector, 16 bits, big-endian
 *   0x10  DMA: address of a descriptor, 64 bits, big-endian; a write of the lower half starts it
 */
#ifndef PIPIT_DEVICES_FW_CFG_H
#define PIPIT_DEVICES_FW_CFG_H

#include "vmm/core/device.h"

#define FW_CFG_SIZE 0x18

/* Items with numbers of their own. */
enum {
    FW_CFG_NB_CPUS = 0x05, /* 16 bits */
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_MENU = 0x0e, /* 16 bits */
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15, /* with its NUL */
};

#define FW_CFG_NAME_SIZE 56 /* of a file, with its NUL */
#define FW_CFG_MAX_FILES 32

/* The bytes stay the caller's, and must stay as they are as long as the device lives. */
struct fw_cfg_item {
    const char *file; /* NULL: the item of this number */
    uint16_t key;
    const void *data;
    uint32_t len;
};

/* -ENOMEM, -EINVAL (a name that is too long or twice there), -ENOSPC (more files than FW_CFG_MAX_FILES). */
int fw_cfg_create(struct device **out, struct mem *m, const struct fw_cfg_item *items, unsigned n);

#endif
