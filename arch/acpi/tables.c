/*
 * RSDP, XSDT, FADT and MADT (ACPI 6.3, chapter 5), and what ties the tables together.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/acpi/acpi.h"
#include "arch/acpi/buf.h"
#include "arch/acpi/dsdt.h"
#include "vmm/base/util.h"

#define RSDP_SIZE 36
#define RSDP_V1_SIZE 20
#define RSDP_CHECKSUM 8
#define RSDP_XSDT 24
#define RSDP_EXTENDED_CHECKSUM 32

#define FADT_REVISION 6
#define FADT_MINOR 3
#define FADT_SIZE 276
/* Offsets into the FADT (table 5-33). */
#define FADT_DSDT 40
#define FADT_PM_PROFILE 45
#define FADT_P_LVL2_LAT 96
#define FADT_P_LVL3_LAT 98
#define FADT_IAPC_BOOT_ARCH 109
#define FADT_FLAGS 112
#define FADT_RESET_REG 116
#define FADT_RESET_VALUE 128
#define FADT_MINOR_VERSION 131
#define FADT_X_DSDT 140
#define FADT_SLEEP_CONTROL 244
#define FADT_SLEEP_STATUS 256
#define FADT_HYPERVISOR 268

#define FADT_PM_PROFILE_ENTERPRISE_SERVER 4
#define FADT_NO_C2 0x0fff /* latencies that say that there is no such state */
#define FADT_NO_C3 0x0fff
#define FADT_BOOT_NO_VGA 0x04
#define FADT_BOOT_NO_CMOS_RTC 0x20
#define FADT_WBINVD 0x1
#define FADT_PROC_C1 0x4
#define FADT_PWR_BUTTON 0x10 /* set: no such button in fixed hardware */
#define FADT_SLP_BUTTON 0x20
#define FADT_RESET_REG_SUP 0x400
#define FADT_HEADLESS 0x1000
#define FADT_HW_REDUCED 0x100000

#define GAS_SYSTEM_IO 1
#define GAS_BYTE 1

#define MADT_REVISION 5
#define MADT_LAPIC 0
#define MADT_IOAPIC 1
#define MADT_LAPIC_NMI 4
#define MADT_X2APIC 9
#define MADT_X2APIC_NMI 10
#define MADT_ENABLED 1
#define MADT_LINT1 1
#define MADT_ALL_LAPICS 0xff
#define MADT_ALL_X2APICS 0xffffffff
/* APIC and processor numbers from here on need the x2APIC entries. */
#define MADT_LAPIC_LIMIT 255

/* A register of one byte among the ports, as a generic address structure (5.2.3.2). */
static void fadt_patch_port(struct acpi_buf *b, uint64_t at, uint16_t port)
{
    acpi_patch_int(b, at, GAS_SYSTEM_IO, 1);
    acpi_patch_int(b, at + 1, 8, 1); /* bits, from bit 0 */
    acpi_patch_int(b, at + 3, GAS_BYTE, 1);
    acpi_patch_int(b, at + 4, port, 8);
}

static uint64_t acpi_put_fadt(struct acpi_buf *b, const struct acpi_config *c, uint64_t dsdt)
{
    uint64_t t = acpi_table_begin(b, "FACP", FADT_REVISION);

    acpi_put_zeroes(b, FADT_SIZE - ACPI_HEADER_SIZE);
    acpi_patch_int(b, t + FADT_DSDT, dsdt, 4);
    acpi_patch_int(b, t + FADT_X_DSDT, dsdt, 8);
    acpi_patch_int(b, t + FADT_PM_PROFILE, FADT_PM_PROFILE_ENTERPRISE_SERVER, 1);
    acpi_patch_int(b, t + FADT_P_LVL2_LAT, FADT_NO_C2, 2);
    acpi_patch_int(b, t + FADT_P_LVL3_LAT, FADT_NO_C3, 2);
    /* No 8042 and no devices of the first PCs either: their bits are clear. */
    acpi_patch_int(b, t + FADT_IAPC_BOOT_ARCH, FADT_BOOT_NO_VGA | FADT_BOOT_NO_CMOS_RTC, 2);
    acpi_patch_int(b, t + FADT_FLAGS,
                   FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG_SUP | FADT_HEADLESS |
                       FADT_HW_REDUCED,
                   4);
    fadt_patch_port(b, t + FADT_RESET_REG, c->reset);
    acpi_patch_int(b, t + FADT_RESET_VALUE, c->reset_value, 1);
    acpi_patch_int(b, t + FADT_MINOR_VERSION, FADT_MINOR, 1);
    fadt_patch_port(b, t + FADT_SLEEP_CONTROL, c->sleep_control);
    fadt_patch_port(b, t + FADT_SLEEP_STATUS, c->sleep_status);
    acpi_patch_int(b, t + FADT_HYPERVISOR, le64_get("pipit\0\0"), 8);
    acpi_table_end(b, t);
    return t;
}

static void madt_put_cpu(struct acpi_buf *b, uint32_t uid, uint32_t apic_id)
{
    bool wide = uid >= MADT_LAPIC_LIMIT || apic_id >= MADT_LAPIC_LIMIT;

    acpi_put_int(b, wide ? MADT_X2APIC : MADT_LAPIC, 1);
    if (wide) {
        acpi_put_int(b, 16, 1);
        acpi_put_zeroes(b, 2);
        acpi_put_int(b, apic_id, 4);
        acpi_put_int(b, MADT_ENABLED, 4);
        acpi_put_int(b, uid, 4);
    } else {
        acpi_put_int(b, 8, 1);
        acpi_put_int(b, uid, 1);
        acpi_put_int(b, apic_id, 1);
        acpi_put_int(b, MADT_ENABLED, 4);
    }
}

/* Non-maskable interrupts reach all processors by LINT1, edge triggered and active high as the bus says. */
static void madt_put_nmi(struct acpi_buf *b, bool wide)
{
    acpi_put_int(b, MADT_LAPIC_NMI, 1);
    acpi_put_int(b, 6, 1);
    acpi_put_int(b, MADT_ALL_LAPICS, 1);
    acpi_put_zeroes(b, 2);
    acpi_put_int(b, MADT_LINT1, 1);
    if (!wide)
        return;
    acpi_put_int(b, MADT_X2APIC_NMI, 1);
    acpi_put_int(b, 12, 1);
    acpi_put_zeroes(b, 2);
    acpi_put_int(b, MADT_ALL_X2APICS, 4);
    acpi_put_int(b, MADT_LINT1, 1);
    acpi_put_zeroes(b, 3);
}

static uint64_t acpi_put_madt(struct acpi_buf *b, const struct acpi_config *c)
{
    uint64_t t = acpi_table_begin(b, "APIC", MADT_REVISION);
    bool wide = false;

    acpi_put_int(b, c->lapic_base, 4);
    acpi_put_zeroes(b, 4); /* flags: no 8259 */
    for (unsigned i = 0; i < c->ncpus; i++) {
        madt_put_cpu(b, i, c->apic_id[i]);
        wide |= i >= MADT_LAPIC_LIMIT || c->apic_id[i] >= MADT_LAPIC_LIMIT;
    }
    acpi_put_int(b, MADT_IOAPIC, 1);
    acpi_put_int(b, 12, 1);
    acpi_put_zeroes(b, 2); /* its APIC number, of the bus that no longer is */
    acpi_put_int(b, c->ioapic_base, 4);
    acpi_put_int(b, 0, 4); /* its first GSI */
    madt_put_nmi(b, wide);
    acpi_table_end(b, t);
    return t;
}

static void acpi_finish_rsdp(struct acpi_buf *b, uint64_t xsdt)
{
    acpi_patch_int(b, RSDP_XSDT, xsdt, 8);
    acpi_checksum(b, 0, RSDP_V1_SIZE, RSDP_CHECKSUM);
    acpi_checksum(b, 0, RSDP_SIZE, RSDP_EXTENDED_CHECKSUM);
}

static bool acpi_name_is_one(const char name[5])
{
    for (unsigned i = 0; i < 4; i++)
        if (!(name[i] == '_' || (name[i] >= 'A' && name[i] <= 'Z') || (i > 0 && name[i] >= '0' && name[i] <= '9')))
            return false;
    return name[4] == '\0';
}

static int acpi_check(const struct acpi_config *c, struct err *e)
{
    for (unsigned i = 0; i < c->ndevices; i++) {
        const struct acpi_device *d = &c->device[i];

        if (!acpi_name_is_one(d->name))
            return err_set(e, EINVAL, "ACPI device %u has no name", i);
        if (d->size == 0 || d->base + (d->size - 1) < d->base ||
            (d->io && (d->size > 255 || !range_within(d->base, d->size, KIB(64)))))
            return err_set(e, EINVAL, "ACPI device %s cannot be at 0x%" PRIx64, d->name, d->base);
    }
    return 0;
}

/* Revision 2 (5.2.5.3); the RSDT's address stays zero. */
static void acpi_put_rsdp(struct acpi_buf *b)
{
    acpi_put(b, "RSD PTR ", 8);
    acpi_put_zeroes(b, 1); /* checksum of the first 20 bytes */
    acpi_put(b, "PIPIT ", 6);
    acpi_put_int(b, 2, 1);
    acpi_put_zeroes(b, 4);
    acpi_put_int(b, RSDP_SIZE, 4);
    acpi_put_zeroes(b, 12);
}

static void acpi_put_all(struct acpi_buf *b, uint64_t base, const struct acpi_config *c)
{
    uint64_t dsdt, table[2], xsdt;

    acpi_put_rsdp(b);
    dsdt = acpi_put_dsdt(b, c);
    table[0] = acpi_put_fadt(b, c, base + dsdt);
    table[1] = acpi_put_madt(b, c);
    xsdt = acpi_table_begin(b, "XSDT", 1);
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        acpi_put_int(b, base + table[i], 8);
    acpi_table_end(b, xsdt);
    acpi_finish_rsdp(b, base + xsdt);
}

int64_t acpi_write(struct mem *m, uint64_t base, uint64_t size, const struct acpi_config *c, struct err *e)
{
    struct acpi_buf b = {.size = size};
    int r = acpi_check(c, e);

    if (r < 0)
        return r;
    if (base % 16 || !range_within(base, size, GIB(4)))
        return err_set(e, EINVAL, "ACPI tables cannot be at 0x%" PRIx64, base);
    b.data = mem_write_begin(m, GPA(base), size);
    if (!b.data)
        return err_set(e, EFAULT, "there is no RAM for ACPI tables at 0x%" PRIx64, base);
    acpi_put_all(&b, base, c);
    mem_write_end(m, GPA(base), b.used);
    if (b.overflow)
        return err_set(e, ENOSPC, "the ACPI tables of %u vCPUs and %u devices do not fit in %" PRIu64 " KiB", c->ncpus,
                       c->ndevices, size >> 10);
    return (int64_t)b.used;
}
