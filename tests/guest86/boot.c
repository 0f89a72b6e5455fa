/*
 * The boot protocol and what it tells: registers at the entry, memory map, command line, initrd, ACPI tables.
 *
 * Arguments: mem=BYTES cpus=N slots=N (virtio devices that answer), initrd=BYTES and sum=HEX (of its content, as
 * sum_of() does it), nonce=WORD (echoed). micro=1: the places that the machine `micro` promises.
 */
#include "tests/guest86/guest.h"

#define RAM_LOW_MAX 0xc0000000ul
#define CR4_MCE 0x40ul
#define EBDA 0x9fc00ul

static void check_entry(void)
{
    if (entry.how == ENTRY_PVH) {
        check("entry-mode", (entry.cr0 & 0x80000001) == 1 && !entry.efer, "PVH: cr0 0x%lx, efer 0x%lx", entry.cr0,
              entry.efer);
        /* The host's machine checks stay on in a guest (KVM on SVM), and an emulated SVM may let the guest see that. */
        check("entry-cr4", (entry.cr4 & ~CR4_MCE) == 0, "0x%lx", entry.cr4);
    } else {
        check("entry-mode", (entry.cr0 & 0x80000001) == 0x80000001 && (entry.efer & 0x500) == 0x500,
              "64-bit: cr0 0x%lx, efer 0x%lx", entry.cr0, entry.efer);
        check("entry-segments", entry.cs == 0x10 && entry.ds == 0x18 && entry.es == 0x18 && entry.ss == 0x18,
              "cs 0x%lx, ds 0x%lx, es 0x%lx, ss 0x%lx", entry.cs, entry.ds, entry.es, entry.ss);
    }
    check("entry-interrupts-off", !(entry.flags & 0x200), "flags 0x%lx", entry.flags);
}

/* ---- memory map ---- */
static int usable(u64 addr, u64 size)
{
    for (unsigned i = 0; i < boot.nmap; i++) {
        if (boot.map[i].type == MAP_USABLE && addr >= boot.map[i].addr && addr - boot.map[i].addr < boot.map[i].size &&
            size <= boot.map[i].size - (addr - boot.map[i].addr))
            return 1;
    }
    return 0;
}

static void check_map(void)
{
    u64 mem = arg_number("mem", 0), total = 0, top = 0, end;
    u64 low = mem < RAM_LOW_MAX ? mem : RAM_LOW_MAX;
    int apart = 1;

    for (unsigned i = 0; i < boot.nmap; i++) {
        info("map 0x%lx + 0x%lx type %u", boot.map[i].addr, boot.map[i].size, boot.map[i].type);
        end = boot.map[i].addr + boot.map[i].size;
        if (boot.map[i].type == MAP_USABLE) {
            total += boot.map[i].size;
            top = end > top ? end : top;
        }
        for (unsigned j = 0; j < i; j++) {
            if (boot.map[i].addr < boot.map[j].addr + boot.map[j].size && boot.map[j].addr < end)
                apart = 0;
        }
    }
    check("map-apart", boot.nmap > 0 && apart, "%u ranges", boot.nmap);
    check("map-size", total <= mem && total + (1ul << 20) >= mem, "%lu KiB of %lu KiB usable", total >> 10, mem >> 10);
    check("map-low", usable(0x1000, EBDA - 0x1000) && !usable(0xa0000, 1) && !usable(0xf0000, 1),
          "up to the EBDA, and no upper memory area");
    check("map-program", usable((u64)image_start, (u64)(memory_end - image_start)), "up to 0x%lx", (u64)memory_end);
    check("map-hole", !usable(low, 1) && !usable(0xfee00000, 1), "nothing between 0x%lx and 4 GiB", low);
    check("map-top", top <= (mem > low ? 4 * GIB + mem - low : low), "0x%lx", top);
}

/* Words at the ends of each range and at a stride through it: all are RAM, no two are the same. */
static void check_ram(void)
{
    u64 step, places = 0, wrong = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < boot.nmap; i++) {
            u64 at = boot.map[i].addr, end = at + boot.map[i].size;

            if (boot.map[i].type != MAP_USABLE || at < (1ul << 20))
                continue;
            if (at < (u64)memory_end)
                at = (u64)memory_end;
            if (boot.initrd_size && at < boot.initrd && end > boot.initrd)
                end = boot.initrd & ~(PAGE - 1); /* it is at the end of the low range */
            step = (end - at) / 16 & ~7ul;
            for (; at <= end - 8; at += step) {
                if (pass) {
                    places++;
                    wrong += rd64(at) != ~at;
                } else {
                    wrong += rd64(at) != 0; /* lazily mapped: it comes as zeros */
                    wr64(at, ~at);
                }
            }
            at = (end - 8) & ~7ul;
            if (pass)
                wrong += rd64(at) != ~at;
            else
                wr64(at, ~at);
        }
    }
    check("ram", places && !wrong, "%lu places, %lu wrong", places, wrong);
}

/* ---- command line and initrd ---- */
/* FNV-1a, 64 bits. */
static u64 sum_of(const u8 *p, u64 n)
{
    u64 h = 0xcbf29ce484222325;

    while (n--)
        h = (h ^ *p++) * 0x100000001b3;
    return h;
}

static void check_handed(void)
{
    u64 size = arg_number("initrd", 0), sum = arg_number("sum", 0);

    info("cmdline [%s]", boot.cmdline);
    check("cmdline", arg("nonce") != 0, "%lu bytes", len_of(boot.cmdline));
    if (!size) {
        check("initrd", !boot.initrd_size, "none asked, %lu bytes told", boot.initrd_size);
        return;
    }
    check("initrd-size", boot.initrd_size == size, "%lu of %lu bytes at 0x%lx", boot.initrd_size, size, boot.initrd);
    check("initrd-place",
          usable(boot.initrd, size) && (boot.initrd >= (u64)memory_end || boot.initrd + size <= (u64)image_start),
          "in RAM, apart from the program");
    check("initrd-content", boot.initrd_size == size && sum_of((u8 *)boot.initrd, size) == sum, "sum 0x%lx", sum);
}

/* ---- ACPI ---- */
static void check_tables(void)
{
    int read = acpi_read(), listed = 0;
    u32 flags;

    check("rsdp", acpi.rsdp != 0 && (boot.rsdp || !arg_number("micro", 0)), "at 0x%lx, told 0x%lx", (u64)acpi.rsdp,
          boot.rsdp);
    if (!check("acpi-tables", read && !acpi.bad_sums, "%u tables, %u bad checksums", acpi.tables, acpi.bad_sums))
        return;
    check("acpi-places", !acpi.bad_places, "%u tables in usable RAM", acpi.bad_places);
    flags = rd32((u64)acpi.fadt + FADT_FLAGS);
    check("fadt", flags & FADT_FLAGS_HW_REDUCED, "revision %u, flags 0x%x: hardware-reduced", acpi.fadt->revision,
          flags);
    check("fadt-reset", (flags & FADT_FLAGS_RESET_REG) && rd64((u64)acpi.fadt + FADT_RESET_REG + 4),
          "register at 0x%lx", rd64((u64)acpi.fadt + FADT_RESET_REG + 4));
    check("fadt-sleep",
          rd64((u64)acpi.fadt + FADT_SLEEP_CONTROL + 4) != 0 && rd64((u64)acpi.fadt + FADT_SLEEP_STATUS + 4) != 0,
          "control at 0x%lx", rd64((u64)acpi.fadt + FADT_SLEEP_CONTROL + 4));
    check("madt-cpus", acpi.cpus == arg_number("cpus", 1), "%u", acpi.cpus);
    for (unsigned i = 0; i < acpi.cpus && i < MAX_CPUS; i++)
        listed += acpi.apic_id[i] == cpuid(1, 0).ebx >> 24;
    check("madt-this-cpu", listed == 1, "APIC ID %u is there %d times", cpuid(1, 0).ebx >> 24, listed);
    check("madt-apics", acpi.lapic == (rdmsr(MSR_APIC_BASE) & ~0xffful) && acpi.ioapic,
          "local 0x%lx, IOAPIC 0x%lx, GSI %u", acpi.lapic, acpi.ioapic, acpi.ioapic_gsi);
    check("aml", !acpi.aml_stop, "%u devices, stopped at 0x%lx, code 0x%x", acpi.devices, acpi.aml_stop, acpi.aml_code);
}

static void check_devices(void)
{
    unsigned virtio = 0, alive = 0, apart = 1, promised = 1, uart = 0;
    u32 pins = (ioapic_read(1) >> 16 & 0xff) + 1;

    for (unsigned i = 0; i < acpi.devices; i++) {
        const struct acpi_device *d = &acpi.device[i];

        if (same(d->hid, "LNRO0005", 9)) {
            u32 id = rd32(d->addr + 8);

            info("virtio-mmio %s 0x%lx + 0x%lx GSI %d %s: device %u", d->name, d->addr, d->size, d->gsi,
                 d->edge ? "edge" : "level", id);
            virtio++;
            alive += rd32(d->addr) == 0x74726976 && id != 0;
            if (d->size < 0x100 || d->gsi < 0 || (u32)d->gsi >= acpi.ioapic_gsi + pins)
                apart = 0;
            for (unsigned j = 0; j < i; j++) {
                if (acpi.device[j].addr == d->addr || acpi.device[j].gsi == d->gsi)
                    apart = 0;
            }
            if (d->addr != 0xd0000000 + (u64)(d->gsi - 5) * 0x1000 || d->size != 0x200 || !d->edge)
                promised = 0;
        } else if (same(d->hid, "PNP0501", 8)) {
            info("16550 %s 0x%x + %u GSI %d", d->name, d->port, d->ports, d->gsi);
            uart += d->port == PORT_UART && d->ports == 8 && d->gsi == 4;
        } else {
            info("device %s [%s]", d->name, d->hid);
        }
    }
    check("dsdt-virtio", alive == arg_number("slots", 0), "%u described, %u with a device", virtio, alive);
    check("dsdt-virtio-apart", apart, "ranges and GSIs");
    if (arg_number("micro", 0))
        check("dsdt-virtio-places", promised, "0xd0000000 + i * 0x1000, GSI 5 + i, edge");
    check("dsdt-uart", uart == 1, "0x3f8, GSI 4");
}

int main(void)
{
    check_entry();
    check_map();
    check_ram();
    check_handed();
    check_tables();
    if (acpi.ioapic)
        check_devices();
    return 0;
}
