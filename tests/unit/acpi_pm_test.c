/* Power off and reset by ACPI's registers: what does it, and that nothing else does. */
#include "devices/acpi_pm.h"

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/core/bus.h"

static struct bus *bus;
static unsigned offs, resets;

static void on_poweroff(void *opaque)
{
    (void)opaque;
    offs++;
}

static void on_reset(void *opaque)
{
    (void)opaque;
    resets++;
}

static void test_sleep_control(void)
{
    for (unsigned v = 0; v < 256; v++) {
        offs = 0;
        CHECK_EQ(bus_write(bus, 0, GPA(0x600), 1, v), 0);
        CHECK_EQ(offs, (v & 0x20) && (v >> 2 & 7) == 5);
    }
    CHECK_EQ(resets, 0);
}

static void test_reset(void)
{
    offs = resets = 0;
    for (unsigned v = 0; v < 256; v++)
        CHECK_EQ(bus_write(bus, 0, GPA(0x602), 1, v), 0);
    CHECK_EQ(resets, 1);
    CHECK_EQ(offs, 0);
}

/* A kernel clears the wake status before it sleeps, and polls it afterwards. */
static void test_status(void)
{
    uint64_t v = 0xff;

    offs = resets = 0;
    CHECK_EQ(bus_write(bus, 0, GPA(0x601), 1, 0x80), 0);
    CHECK_EQ(bus_read(bus, 0, GPA(0x601), 1, &v), 0);
    CHECK_EQ(v & 0x80, 0);
    CHECK_EQ(offs + resets, 0);
}

int main(void)
{
    struct acpi_pm_events ev = {.poweroff = on_poweroff, .reset = on_reset};
    struct device *d;

    if (bus_create(&bus) < 0 || acpi_pm_create(&d, &ev) < 0 || bus_attach(bus, d, GPA(0x600)) < 0)
        return 1;
    RUN(test_sleep_control);
    RUN(test_reset);
    RUN(test_status);
    bus_destroy(bus);
    return check_done();
}
