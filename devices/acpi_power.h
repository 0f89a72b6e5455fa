/* The registers by which ACPI powers a hardware-reduced machine off and resets it (ACPI 6.3, 4.8.3.6 and 4.8.3.7). */
#ifndef PIPIT_DEVICES_ACPI_POWER_H
#define PIPIT_DEVICES_ACPI_POWER_H

#include "vmm/core/device.h"

/* Ports from the device's base, one byte each. */
#define ACPI_POWER_SLEEP_CONTROL 0
#define ACPI_POWER_SLEEP_STATUS 1
#define ACPI_POWER_RESET 2
#define ACPI_POWER_SIZE 3

/* What the tables say: SLP_TYP of \_S5, and the value that resets. */
#define ACPI_POWER_S5 5
#define ACPI_POWER_RESET_VALUE 0x01

/* Called on the vCPU's thread with the device's lock held; returns, and the guest may go on for a while. */
struct acpi_power_events {
    void (*off)(void *opaque);
    void (*reset)(void *opaque);
    void *opaque;
};

int acpi_power_create(struct device **out, const struct acpi_power_events *ev);

#endif
