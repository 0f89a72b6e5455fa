/* The ACPI power registers: what powers off, what resets, and that nothing else does. */
#include "devices/acpi_power.h"
#include "tests/check.h"
#include "vmm/core/bus.h"

#define BASE 0x600

static struct bus *bus;
static unsigned offs, resets;

static void on_off(void *opaque)
{
    (void)opaque;
    offs++;
}

static void on_reset(void *opaque)
{
    (void)opaque;
    resets++;
}

static bool attach(void)
{
    static const struct acpi_power_events ev = {.off = on_off, .reset = on_reset};
    struct device *d;

    offs = resets = 0;
    return bus_create(&bus) == 0 && acpi_power_create(&d, &ev) == 0 && bus_attach(bus, d, GPA(BASE)) == 0;
}

static void out(unsigned port, unsigned size, uint64_t v)
{
    bus_write(bus, 0, GPA(BASE + port), size, v);
}

static void s5_powers_off(void)
{
    CHECK(attach());
    out(ACPI_POWER_SLEEP_CONTROL, 1, ACPI_POWER_S5 << 2); /* without SLP_EN */
    CHECK_EQ(offs, 0);
    for (unsigned type = 0; type < 8; type++)
        if (type != ACPI_POWER_S5)
            out(ACPI_POWER_SLEEP_CONTROL, 1, type << 2 | 0x20);
    CHECK_EQ(offs, 0);
    out(ACPI_POWER_SLEEP_CONTROL, 1, ACPI_POWER_S5 << 2 | 0x20);
    CHECK(offs == 1 && resets == 0);
    bus_destroy(bus);
}

static void one_value_resets(void)
{
    CHECK(attach());
    for (unsigned v = 0; v < 256; v++)
        if (v != ACPI_POWER_RESET_VALUE)
            out(ACPI_POWER_RESET, 1, v);
    CHECK_EQ(resets, 0);
    out(ACPI_POWER_SLEEP_STATUS, 1, ACPI_POWER_RESET_VALUE);
    CHECK_EQ(resets, 0);
    out(ACPI_POWER_RESET, 1, ACPI_POWER_RESET_VALUE);
    CHECK(resets == 1 && offs == 0);
    bus_destroy(bus);
}

static void registers_read_zero(void)
{
    uint64_t v = 1;

    CHECK(attach());
    for (unsigned port = 0; port < ACPI_POWER_SIZE; port++) {
        CHECK(bus_read(bus, 0, GPA(BASE + port), 1, &v) == 0);
        CHECK_EQ(v, 0);
    }
    CHECK(bus_read(bus, 0, GPA(BASE + ACPI_POWER_SIZE), 1, &v) < 0);
    bus_destroy(bus);
}

int main(void)
{
    RUN(s5_powers_off);
    RUN(one_value_resets);
    RUN(registers_read_zero);
    return check_done();
}
