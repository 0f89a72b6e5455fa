/*
 * \_S5, which makes a kernel think that it can power off, and \_SB with the processors and the board's devices.
 *
 * Processors are devices of their own (8.4, ACPI0007) whose _UID is the one in the MADT. Linux's virtio-mmio driver
 * takes LNRO0005; its 8250 driver takes PNP0501.
 */
#include "arch/acpi/dsdt.h"

#include <stdio.h>

#include "arch/acpi/aml.h"

/* Of names "C000" to "CFFF"; more processors are in the MADT only. */
#define DSDT_MAX_CPUS 0x1000
#define DSDT_NOTIFY_PRESSED 0x80 /* 4.8.3.1.2 */

static void dsdt_put_s5(struct acpi_buf *b, uint8_t type)
{
    uint64_t package;

    aml_name(b, "_S5_");
    package = aml_begin_package(b, 4); /* 7.4.2: SLP_TYPa, SLP_TYPb, reserved */
    aml_int(b, type);
    aml_int(b, type);
    aml_int(b, 0);
    aml_int(b, 0);
    aml_end(b, package);
}

static void dsdt_put_cpu(struct acpi_buf *b, unsigned uid)
{
    char name[16];
    uint64_t device;

    snprintf(name, sizeof(name), "C%03X", uid & (DSDT_MAX_CPUS - 1));
    device = aml_begin_device(b, name);
    aml_name(b, "_HID");
    aml_string(b, "ACPI0007");
    aml_name(b, "_UID");
    aml_int(b, uid);
    aml_end(b, device);
}

static void dsdt_put_device(struct acpi_buf *b, const struct acpi_device *d)
{
    uint64_t device = aml_begin_device(b, d->name), crs;

    aml_name(b, "_HID");
    aml_string(b, d->hid);
    aml_name(b, "_UID");
    aml_int(b, d->uid);
    if (d->dma) {
        aml_name(b, "_CCA");
        aml_int(b, 1);
    }
    aml_name(b, "_CRS");
    crs = aml_begin_resources(b);
    if (d->io)
        aml_io(b, (uint16_t)d->base, (uint8_t)d->size);
    else
        aml_memory(b, d->base, d->size);
    if (d->interrupts)
        aml_interrupt(b, d->gsi, d->level);
    aml_end_resources(b, crs);
    aml_end(b, device);
}

/* The button (PNP0C0C), and the device whose interrupt is its press: a generic event device (5.6.9), which calls _EVT
 * with the interrupt's number. */
static void dsdt_put_power_button(struct acpi_buf *b, unsigned gsi)
{
    uint64_t device = aml_begin_device(b, "PWRB"), part;

    aml_name(b, "_HID");
    aml_string(b, "PNP0C0C");
    aml_name(b, "_UID");
    aml_int(b, 0);
    aml_end(b, device);

    device = aml_begin_device(b, "GED0");
    aml_name(b, "_HID");
    aml_string(b, "ACPI0013");
    aml_name(b, "_UID");
    aml_int(b, 0);
    aml_name(b, "_CRS");
    part = aml_begin_resources(b);
    aml_interrupt(b, gsi, false);
    aml_end_resources(b, part);
    part = aml_begin_method(b, "_EVT");
    aml_notify(b, "PWRB", DSDT_NOTIFY_PRESSED);
    aml_end(b, part);
    aml_end(b, device);
}

uint64_t acpi_put_dsdt(struct acpi_buf *b, const struct acpi_config *c)
{
    uint64_t start = acpi_table_begin(b, "DSDT", 2); /* 2: integers of 64 bits */
    uint64_t sb;

    dsdt_put_s5(b, c->s5_type);
    sb = aml_begin_scope(b, "_SB_");
    for (unsigned i = 0; i < c->ncpus && i < DSDT_MAX_CPUS; i++)
        dsdt_put_cpu(b, i);
    for (unsigned i = 0; i < c->ndevices; i++)
        dsdt_put_device(b, &c->device[i]);
    if (c->power_button_gsi)
        dsdt_put_power_button(b, c->power_button_gsi);
    aml_end(b, sb);
    acpi_table_end(b, start);
    return start;
}
