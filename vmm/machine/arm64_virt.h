/*
 * The arm64 `virt` board: the addresses and interrupts of QEMU's board of that name, so that firmware and bare-metal
 * programs written for it find things where they expect them. Each range that QEMU's board uses has a row here, also
 * where nothing is attached yet: what comes later finds its place free.
 */
#ifndef PIPIT_MACHINE_ARM64_VIRT_H
#define PIPIT_MACHINE_ARM64_VIRT_H

#include <stdint.h>

enum virt_range {
    VIRT_FLASH,
    VIRT_GIC_DIST,
    VIRT_GIC_CPUIF,
    VIRT_GIC_ITS,
    VIRT_GIC_REDIST,
    VIRT_UART,
    VIRT_RTC,
    VIRT_FW_CFG,
    VIRT_GPIO,
    VIRT_DEBUG,
    VIRT_VIRTIO,
    VIRT_PLATFORM,
    VIRT_PCI_MMIO,
    VIRT_PCI_PIO,
    VIRT_PCI_ECAM,
    VIRT_RAM,
    VIRT_HIGH_REDIST,
    VIRT_HIGH_PCI_ECAM,
    VIRT_HIGH_PCI_MMIO,
    VIRT_RANGES
};

struct virt_map {
    uint64_t base, size;
};
extern const struct virt_map virt_map[VIRT_RANGES];

#define VIRT_SLOTS 32
#define VIRT_VIRTIO_STRIDE 0x200
#define VIRT_MEMORY_MAX (UINT64_C(255) << 30) /* RAM ends at 256 GiB */

/* Shared peripheral interrupts: SPI 0 is INTID 32. */
#define VIRT_SPI_UART 1
#define VIRT_SPI_RTC 2
#define VIRT_SPI_VIRTIO 16 /* plus the slot */
#define VIRT_NSPIS 256

/* PPIs of the generic timer. */
#define VIRT_PPI_TIMER_VIRT 27
#define VIRT_PPI_TIMER_PHYS 30
/* Of the performance counters, where there are any. */
#define VIRT_PPI_PMU 23

#endif
