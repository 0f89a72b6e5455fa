/*
 * The micro board: its RAM, its devices, and what lies in RAM when the first CPU starts.
 *
 * There is no firmware. The kernel finds boot_params or start_info, descriptor and page tables and ACPI where
 * arch/x86/boot.h has them; all are written anew before each start, since a kernel may have used their place.
 */
#include "vmm/machine/x86_micro.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arch/acpi/acpi.h"
#include "arch/x86/boot.h"
#include "devices/acpi_power.h"
#include "devices/debug.h"
#include "devices/uart16550.h"
#include "vmm/base/util.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine/devices.h"
#include "vmm/machine/machine.h"

static unsigned micro_max_cpus(const struct vm_config *c)
{
    (void)c;
    return MICRO_MAX_CPUS;
}

static int micro_add_ram(struct machine *m, const struct mem_options *opt, struct err *e)
{
    uint64_t low = MIN(m->cfg->memory, X86_RAM_LOW_MAX), high = m->cfg->memory - low;
    int r = mem_add_ram(m->mem, GPA(0), low, opt, e);

    return r < 0 || !high ? r : mem_add_ram(m->mem, GPA(X86_RAM_HIGH), high, opt, e);
}

static int micro_create_accel(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    const struct kvm_config kvm = {
        .ncpus = c->cpus,
        .mem = m->mem,
        .bus = m->bus,
        .pio = m->pio,
        .cpu = !strcmp(c->cpu, "max") ? KVM_CPU_MAX : KVM_CPU_HOST,
        .stats = c->stats,
    };

    return kvm_create(&m->accel, &kvm, e);
}

/* ---- devices ---- */

static int micro_attach_port(struct machine *m, struct device *d, unsigned port, unsigned gsi, struct err *e)
{
    const struct device_place at = {.bus = m->pio, .base = port, .irq = gsi};

    return devices_attach(m, d, &at, e);
}

static int micro_attach_power(struct machine *m, struct err *e)
{
    const struct acpi_power_events ev = {
        .off = m->events.on_poweroff, .reset = m->events.on_reset, .opaque = m->events.opaque};
    struct device *d;
    int r = acpi_power_create(&d, &ev);

    return r < 0 ? err_set(e, -r, "out of memory") : micro_attach_port(m, d, MICRO_POWER, DEVICE_NO_IRQ, e);
}

static int micro_attach_debug(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    const struct debug_events ev = {.exit = m->events.on_exit, .opaque = m->events.opaque};
    struct device *d;
    int r = 0;

    if (c->debug_device) {
        r = debug_create(&d, &ev);
        r = r < 0 ? err_set(e, -r, "out of memory") : micro_attach_port(m, d, MICRO_DEBUG, DEVICE_NO_IRQ, e);
    }
    if (r == 0 && c->isa_exit.size) {
        r = debug_create_isa_exit(&d, c->isa_exit.size, &ev);
        r = r < 0 ? err_set(e, -r, "out of memory") : micro_attach_port(m, d, c->isa_exit.port, DEVICE_NO_IRQ, e);
    }
    return r;
}

static uint64_t micro_slot_base(unsigned slot)
{
    return MICRO_VIRTIO + (uint64_t)slot * MICRO_VIRTIO_STRIDE;
}

/* The list of what the board has; KVM brings LAPICs, IOAPIC and the timers in them. */
static int micro_attach_devices(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct device *d;
    int r;

    r = uart16550_create(&d, devices_serial(m));
    if (r < 0)
        return err_set(e, -r, "the 16550 cannot be made: %s", strerror(-r));
    /* Driven by its level, which serves a guest that programs the pin for either trigger. */
    if ((r = micro_attach_port(m, d, MICRO_UART, MICRO_GSI_UART, e)) < 0 || (r = micro_attach_power(m, e)) < 0 ||
        (r = m->accel->ops->irq_line(m->accel, MICRO_GSI_POWER_BUTTON, true, &m->power_button, e)) < 0 ||
        (r = micro_attach_debug(m, e)) < 0)
        return r;
    for (unsigned i = 0; i < c->ndevices; i++) {
        unsigned slot = (unsigned)c->device[i].slot;
        const struct device_place at = {
            .bus = m->bus, .base = micro_slot_base(slot), .irq = MICRO_GSI_VIRTIO + slot, .edge = true};

        r = devices_attach_virtio(m, &c->device[i], &at, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- ACPI ---- */

/* The devices above as the DSDT says them; slots in order of address, so that the guest counts its disks in the order
 * of the command line. */
static unsigned micro_describe(const struct vm_config *c, struct acpi_device out[MICRO_SLOTS + 2])
{
    unsigned n = 0;

    out[n++] = (struct acpi_device){.name = "COM1",
                                    .hid = "PNP0501",
                                    .io = true,
                                    .base = MICRO_UART,
                                    .size = MICRO_UART_SIZE,
                                    .interrupts = true,
                                    .gsi = MICRO_GSI_UART};
    if (c->debug_device)
        out[n++] = (struct acpi_device){
            .name = "DBG0", .hid = "PIPT0001", .io = true, .base = MICRO_DEBUG, .size = MICRO_DEBUG_SIZE};
    for (unsigned slot = 0; slot < MICRO_SLOTS; slot++)
        for (unsigned i = 0; i < c->ndevices; i++)
            if (c->device[i].slot == (int)slot) {
                out[n] = (struct acpi_device){.hid = "LNRO0005",
                                              .uid = slot,
                                              .base = micro_slot_base(slot),
                                              .size = MICRO_VIRTIO_SIZE,
                                              .interrupts = true,
                                              .gsi = MICRO_GSI_VIRTIO + slot,
                                              .dma = true};
                snprintf(out[n].name, sizeof(out[n].name), "VR%02u", slot % 100);
                n++;
            }
    return n;
}

static int micro_write_acpi(struct machine *m, struct err *e)
{
    struct acpi_device device[MICRO_SLOTS + 2];
    uint32_t apic_id[MICRO_MAX_CPUS];
    struct acpi_config a = {
        .apic_id = apic_id,
        .ncpus = m->cfg->cpus,
        .lapic_base = MICRO_LAPIC,
        .ioapic_base = MICRO_IOAPIC,
        .sleep_control = MICRO_POWER + ACPI_POWER_SLEEP_CONTROL,
        .sleep_status = MICRO_POWER + ACPI_POWER_SLEEP_STATUS,
        .reset = MICRO_POWER + ACPI_POWER_RESET,
        .reset_value = ACPI_POWER_RESET_VALUE,
        .s5_type = ACPI_POWER_S5,
        .power_button_gsi = MICRO_GSI_POWER_BUTTON,
        .device = device,
    };
    int64_t r;

    for (unsigned i = 0; i < a.ncpus; i++)
        apic_id[i] = i; /* as KVM numbers vCPUs */
    a.ndevices = micro_describe(m->cfg, device);
    r = acpi_write(m->mem, X86_BOOT_ACPI, X86_BOOT_ACPI_SIZE, &a, e);
    return r < 0 ? (int)r : 0;
}

/* ---- RAM ---- */

/* All but kernel and initrd, with a fresh seed. */
static int micro_write_boot(struct machine *m, struct err *e)
{
    struct loader_x86_params p = {
        .cmdline = m->cfg->cmdline,
        .initrd_addr = m->boot.initrd.addr,
        .initrd_size = m->boot.initrd.size,
        .rsdp = X86_BOOT_ACPI,
        .seeded = true,
    };
    int r;

    if (getrandom(p.seed, sizeof(p.seed), 0) != (ssize_t)sizeof(p.seed))
        return err_set(e, errno, "the host gives no random numbers: %s", strerror(errno));
    r = x86_boot_write_tables(m->mem);
    if (r < 0)
        return err_set(e, -r, "the boot tables do not fit in memory");
    r = micro_write_acpi(m, e);
    return r < 0 ? r : loader_x86_write_params(m->mem, &m->boot.x86, &p, e);
}

static int micro_load(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct loader_x86 *k = &m->boot.x86;
    int r = loader_x86_load(k, m->mem, c->kernel, e);

    if (r < 0)
        return r;
    m->boot.entry = k->entry;
    m->boot.kernel = (struct machine_image){.addr = k->low, .size = k->image_size};
    if (c->initrd) {
        r = loader_x86_initrd_load(m->mem, k, c->initrd, &m->boot.initrd.addr, &m->boot.initrd.size, e);
        if (r < 0)
            return r;
        m->boot.initrd.file_size = m->boot.initrd.size;
    }
    return micro_write_boot(m, e);
}

const struct board_ops micro_board = {
    .name = "micro",
    .arch = VM_ARCH_X86,
    .serial = "ttyS0",
    .nslots = MICRO_SLOTS,
    .cmdline_max = 2047, /* COMMAND_LINE_SIZE of x86 Linux, less the NUL; a bzImage may say less */
    .memory_min = MIB(16),
    .memory_max = MICRO_MEMORY_MAX,
    .max_cpus = micro_max_cpus,
    .add_ram = micro_add_ram,
    .create_accel = micro_create_accel,
    .load = micro_load,
    .attach_devices = micro_attach_devices,
    .reload = micro_write_boot,
};
