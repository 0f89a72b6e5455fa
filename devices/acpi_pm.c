/*
 * Power off and reset. Nothing here sleeps and wakes, so the wake status is never set, and other sleep types than that
 * of S5 are not in the tables and do nothing.
 */
#include "devices/acpi_pm.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/util.h"

#define ACPI_PM_SIZE 3

#define ACPI_PM_CONTROL_SLP_TYP(v) bits32(v, 4, 2)
#define ACPI_PM_CONTROL_SLP_EN 0x20

struct acpi_pm {
    struct device dev;
    struct acpi_pm_events ev;
};

static struct acpi_pm *acpi_pm_of(struct device *d)
{
    return container_of(d, struct acpi_pm, dev);
}

static uint64_t acpi_pm_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    (void)d, (void)cpu, (void)off, (void)size;
    return 0;
}

static void acpi_pm_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct acpi_pm *pm = acpi_pm_of(d);
    uint32_t v = (uint32_t)val;

    (void)cpu, (void)size;
    if (off == ACPI_PM_SLEEP_CONTROL && v & ACPI_PM_CONTROL_SLP_EN && ACPI_PM_CONTROL_SLP_TYP(v) == ACPI_PM_S5_TYPE)
        pm->ev.poweroff(pm->ev.opaque);
    else if (off == ACPI_PM_RESET && v == ACPI_PM_RESET_VALUE)
        pm->ev.reset(pm->ev.opaque);
}

/* There is no state: what is written takes effect at once. */
static void acpi_pm_save(struct device *d, struct state_writer *w)
{
    (void)d, (void)w;
}

static int acpi_pm_load(struct device *d, struct state_reader *r)
{
    (void)d, (void)r;
    return 0;
}

static void acpi_pm_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
    free(acpi_pm_of(d));
}

static const struct device_ops acpi_pm_ops = {
    .read = acpi_pm_read,
    .write = acpi_pm_write,
    .save = acpi_pm_save,
    .load = acpi_pm_load,
    .destroy = acpi_pm_destroy,
};

static const struct device_desc acpi_pm_desc = {
    .name = "acpi-pm",
    .size = ACPI_PM_SIZE,
    .min_access = 1,
    .max_access = 1,
    .ops = &acpi_pm_ops,
};

int acpi_pm_create(struct device **out, const struct acpi_pm_events *ev)
{
    struct acpi_pm *pm = calloc(1, sizeof(*pm));

    if (!pm)
        return -ENOMEM;
    device_init(&pm->dev, &acpi_pm_desc);
    pm->ev = *ev;
    *out = &pm->dev;
    return 0;
}
