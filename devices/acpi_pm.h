/*
 * The ports by which a guest of a hardware-reduced ACPI platform powers off and resets (ACPI 6.3, 4.8.3.6 and 4.8.3.7):
 * sleep control, sleep status, reset, one byte each. The tables must say what is below.
 */
#ifndef PIPIT_DEVICES_ACPI_PM_H
#define PIPIT_DEVICES_ACPI_PM_H

#include "vmm/core/device.h"

#define ACPI_PM_SLEEP_CONTROL 0
#define ACPI_PM_SLEEP_STATUS 1
#define ACPI_PM_RESET 2

#define ACPI_PM_S5_TYPE 5 /* SLP_TYP that powers off */
#define ACPI_PM_RESET_VALUE 1

/* Called on the vCPU's thread with the device's lock held; they return, and the guest may go on for a while. */
struct acpi_pm_events {
    void (*poweroff)(void *opaque);
    void (*reset)(void *opaque);
    void *opaque;
};

int acpi_pm_create(struct device **out, const struct acpi_pm_events *ev);

#endif
