/*
 * ACPI for machines without firmware: a hardware-reduced platform (ACPI 6.3, section 4.1), described by the list of
 * what the board has. RSDP, XSDT, FADT, MADT and DSDT, and nothing that a kernel does not need to find its CPUs,
 * interrupt controllers and devices, to power off and to reset.
 */
#ifndef PIPIT_ARCH_ACPI_ACPI_H
#define PIPIT_ARCH_ACPI_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/mem.h"

/* A device of the DSDT's \_SB: one range of ports or memory, and at most one interrupt. */
struct acpi_device {
    char name[5];    /* its name in the namespace: four of A to Z, 0 to 9 and _, not beginning with a digit */
    const char *hid; /* _HID: "PNP0501", "LNRO0005" */
    unsigned uid;    /* _UID: distinct among devices of one _HID */
    bool io;         /* ports, below 64 Ki; otherwise memory */
    uint64_t base, size;
    bool interrupts;
    unsigned gsi;
    bool level; /* level triggered; otherwise edge. Active high, not shared. */
    bool dma;   /* reads and writes RAM, coherently (_CCA) */
};

struct acpi_config {
    const uint32_t *apic_id; /* one a vCPU, in the order of starting; _UID counts from 0 */
    unsigned ncpus;
    uint32_t lapic_base, ioapic_base;
    /* Ports of one byte each: the sleep registers (4.8.3.7), and what resets the machine when reset_value is written.
     */
    uint16_t sleep_control, sleep_status, reset;
    uint8_t reset_value;
    uint8_t s5_type;           /* the value of SLP_TYP that powers off, 0 to 7 */
    unsigned power_button_gsi; /* an edge is a press of the power button; 0: there is none */
    const struct acpi_device *device;
    unsigned ndevices;
};

/*
 * Writes RSDP and tables into [base, base + size) of RAM, the RSDP at base; base is a multiple of 16 and the end lies
 * below 4 GiB. Returns how many bytes they take, -ENOSPC where there is too much for the room, -EFAULT, -EINVAL for a
 * name that is none or a device out of its address space.
 */
int64_t acpi_write(struct mem *m, uint64_t base, uint64_t size, const struct acpi_config *c, struct err *e);

#endif
