/*
 * A bank of NOR flash as the arm64 board has two of: what firmware runs from and keeps its variables in. The Common
 * Flash Interface (JEDEC JESD68) with Intel's command set (primary 0001), two 16-bit chips side by side on a 32-bit
 * bus.
 *
 * Reads of a bank that nobody has sent a command go straight to its bytes (struct mem_rom); writes come here. What the
 * guest programs and erases goes to the file first, and to the bank when it is there.
 */
#ifndef PIPIT_DEVICES_CFI_FLASH_H
#define PIPIT_DEVICES_CFI_FLASH_H

#include "vmm/core/device.h"

#define CFI_FLASH_SIZE UINT64_C(0x4000000) /* bytes of a bank */
#define CFI_FLASH_BLOCK UINT64_C(0x40000)  /* bytes that are erased at once */
#define CFI_FLASH_WIDTH 4                  /* bytes of its bus */

struct cfi_flash_config {
    struct mem *mem;
    struct mem_rom *rom; /* CFI_FLASH_SIZE bytes, filled already */
    int fd;              /* gets what is changed, at the same offsets; -1: nothing does. The device closes it. */
    bool read_only;      /* all blocks are locked, for good */
};

/* -ENOMEM; the descriptor is not taken then. */
int cfi_flash_create(struct device **out, const struct cfi_flash_config *cfg);

#endif
