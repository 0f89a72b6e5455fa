/*
 * Sleep control, sleep status and reset registers. The one sleeping state is S5, off, which nothing wakes from: the
 * status register stays zero. What is written with other values is ignored, as hardware does with a SLP_TYP that it has
 * not.
 */
#include "devices/acpi_power.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/util.h"

#define SLEEP_CONTROL_SLP_EN 0x20
#define SLEEP_CONTROL_SLP_TYP(v) ((v) >> 2 & 7)

struct acpi_power {
    struct device dev;
    struct acpi_power_events ev;
};

static struct acpi_power *acpi_power_of(struct device *d)
{
    return container_of(d, struct acpi_power, dev);
}

static uint64_t acpi_power_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    (void)d;
    (void)cpu;
    (void)off;
    (void)size;
    return 0;
}

static void acpi_power_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct acpi_power *p = acpi_power_of(d);

    (void)cpu;
    (void)size;
    if (off == ACPI_POWER_SLEEP_CONTROL && (val & SLEEP_CONTROL_SLP_EN) && SLEEP_CONTROL_SLP_TYP(val) == ACPI_POWER_S5)
        p->ev.off(p->ev.opaque);
    else if (off == ACPI_POWER_RESET && val == ACPI_POWER_RESET_VALUE)
        p->ev.reset(p->ev.opaque);
}

static void acpi_power_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
    free(acpi_power_of(d));
}

static const struct device_ops acpi_power_ops = {
    .read = acpi_power_read,
    .write = acpi_power_write,
    .destroy = acpi_power_destroy,
};

static const struct device_desc acpi_power_desc = {
    .name = "acpi-power",
    .size = ACPI_POWER_SIZE,
    .min_access = 1,
    .max_access = 1,
    .ops = &acpi_power_ops,
};

int acpi_power_create(struct device **out, const struct acpi_power_events *ev)
{
    struct acpi_power *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    device_init(&p->dev, &acpi_power_desc);
    p->ev = *ev;
    *out = &p->dev;
    return 0;
}
