/*
 * Reads the ACPI tables from the RSDP down, and the DSDT's AML as far as naming devices takes: scopes, devices, and the
 * _HID and _CRS in them. An opcode that the walk does not know ends it and is told (acpi.aml_code). Sections are those
 * of the ACPI specification, 6.5.
 */
#include "tests/guest86/guest.h"

struct acpi acpi;

static u8 sum_of(const void *p, u64 n)
{
    const u8 *b = p;
    u8 sum = 0;

    while (n--)
        sum += *b++;
    return sum;
}

/* Whether [p, p + n) is told of by the boot protocol as anything but RAM to use. */
static int place_kept(const void *p, u64 n)
{
    u64 a = (u64)p;

    for (unsigned i = 0; i < boot.nmap; i++) {
        if (boot.map[i].type == MAP_USABLE && a < boot.map[i].addr + boot.map[i].size && boot.map[i].addr < a + n)
            return 0;
    }
    return 1;
}

static struct acpi_table *take_table(u64 addr)
{
    struct acpi_table *t = (void *)addr;

    acpi.tables++;
    if (!addr || t->length < sizeof(*t) || t->length > 0x100000 || sum_of(t, t->length))
        acpi.bad_sums++;
    if (!place_kept(t, t->length))
        acpi.bad_places++;
    return t;
}

/* ---- AML (chapter 20) ---- */
struct aml {
    const u8 *p, *end;
    int broken;
};

static u64 aml_bytes(struct aml *a, unsigned n)
{
    u64 v = 0;

    if ((u64)(a->end - a->p) < n) {
        a->broken = 1;
        a->p = a->end;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        v |= (u64)*a->p++ << 8 * i;
    return v;
}

/* 20.2.4: the package that begins here; `a` goes on behind it. */
static struct aml aml_package(struct aml *a)
{
    const u8 *start = a->p;
    u32 lead = (u32)aml_bytes(a, 1), more = lead >> 6;
    u64 n = more ? (lead & 0xf) | aml_bytes(a, more) << 4 : lead & 0x3f;
    struct aml in = {a->p, start + n, 0};

    if (n < (u64)(a->p - start) || n > (u64)(a->end - start)) {
        a->broken = 1;
        in.end = in.p;
        return in;
    }
    a->p = in.end;
    return in;
}

/* 20.2.2: the last segment of a name string. */
static void aml_name(struct aml *a, char out[5])
{
    u64 segments = 1;

    while (a->p < a->end && (*a->p == '\\' || *a->p == '^'))
        a->p++;
    if (a->p < a->end && *a->p == 0x2e) { /* DualNamePrefix */
        a->p++;
        segments = 2;
    } else if (a->p < a->end && *a->p == 0x2f) { /* MultiNamePrefix */
        a->p++;
        segments = aml_bytes(a, 1);
    } else if (a->p < a->end && *a->p == 0) { /* NullName */
        a->p++;
        segments = 0;
    }
    out[0] = 0;
    while (segments--) {
        for (int i = 0; i < 4; i++)
            out[i] = (char)aml_bytes(a, 1);
        out[4] = 0;
    }
}

struct aml_data {
    enum { AML_INTEGER, AML_STRING, AML_BUFFER, AML_PACKAGE } kind;
    u64 value;
    const u8 *bytes;
    u64 size;
};

/* 20.2.3: a data object. */
static struct aml_data aml_data(struct aml *a)
{
    struct aml_data d = {.kind = AML_INTEGER};
    struct aml in;
    u8 code = (u8)aml_bytes(a, 1);

    switch (code) {
    case 0x00: break;
    case 0x01: d.value = 1; break;
    case 0xff: d.value = ~0ul; break;
    case 0x0a: d.value = aml_bytes(a, 1); break;
    case 0x0b: d.value = aml_bytes(a, 2); break;
    case 0x0c: d.value = aml_bytes(a, 4); break;
    case 0x0e: d.value = aml_bytes(a, 8); break;
    case 0x0d:
        d.kind = AML_STRING;
        d.bytes = a->p;
        while (aml_bytes(a, 1))
            d.size++;
        break;
    case 0x11: /* Buffer: its size, and as many bytes as are given */
        in = aml_package(a);
        d.kind = AML_BUFFER;
        d.size = aml_data(&in).value;
        d.bytes = in.p;
        if (in.broken || d.size > (u64)(in.end - in.p))
            a->broken = 1;
        break;
    case 0x12: /* Package: its first element counts here */
        in = aml_package(a);
        d.kind = AML_PACKAGE;
        if (aml_bytes(&in, 1))
            d.value = aml_data(&in).value;
        break;
    default: a->p--; a->broken = 1;
    }
    return d;
}

/* 6.1.5: a compressed EISA ID. */
static void eisa_id(u64 v, char out[9])
{
    u32 id = __builtin_bswap32((u32)v);

    out[0] = (char)('@' + (id >> 26 & 0x1f));
    out[1] = (char)('@' + (id >> 21 & 0x1f));
    out[2] = (char)('@' + (id >> 16 & 0x1f));
    for (int i = 0; i < 4; i++)
        out[3 + i] = "0123456789ABCDEF"[id >> (12 - 4 * i) & 0xf];
    out[7] = 0;
}

/* 6.4: the resources of a device. */
static void read_resources(struct acpi_device *dev, const u8 *p, u64 size)
{
    const u8 *end = p + size;

    while (p + 3 <= end) {
        u8 tag = *p;
        const u8 *body = tag & 0x80 ? p + 3 : p + 1;
        u64 n = tag & 0x80 ? p[1] | (u64)p[2] << 8 : tag & 7u;

        if (n > (u64)(end - body))
            return;
        if (tag == 0x86 && n >= 9) { /* Memory32Fixed */
            dev->addr = rd32((u64)body + 1);
            dev->size = rd32((u64)body + 5);
        } else if (tag == 0x8a && n >= 43) { /* QWord address space: minimum, length */
            dev->addr = rd64((u64)body + 11);
            dev->size = rd64((u64)body + 35);
        } else if (tag == 0x89 && n >= 6) { /* Extended Interrupt */
            dev->edge = body[0] >> 1 & 1;
            dev->gsi = (int)rd32((u64)body + 2);
        } else if ((tag & 0xf8) == 0x20 && n >= 2) { /* IRQ */
            dev->gsi = __builtin_ctz(body[0] | (u32)body[1] << 8);
            dev->edge = n < 3 || (body[2] & 1);
        } else if ((tag & 0xf8) == 0x40 && n >= 7) { /* I/O port */
            dev->port = body[1] | (u32)body[2] << 8;
            dev->ports = body[6];
        } else if ((tag & 0xf8) == 0x48 && n >= 3) { /* fixed I/O port */
            dev->port = body[0] | (u32)body[1] << 8;
            dev->ports = body[2];
        } else if ((tag & 0xf8) == 0x78) { /* end */
            return;
        }
        p = body + n;
    }
}

static void aml_walk(struct aml *a, struct acpi_device *dev);

static void walk_device(struct aml *a)
{
    struct acpi_device none = {.gsi = -1}, *dev = &none;
    struct aml in = aml_package(a);

    if (acpi.devices < ARRAY_SIZE(acpi.device)) {
        dev = &acpi.device[acpi.devices++];
        *dev = none;
    }
    aml_name(&in, dev->name);
    aml_walk(&in, dev);
    a->broken |= in.broken;
}

static void walk_name(struct aml *a, struct acpi_device *dev)
{
    char name[5];
    struct aml_data d;

    aml_name(a, name);
    d = aml_data(a);
    if (a->broken)
        return;
    if (same(name, "_S5_", 4) && d.kind == AML_PACKAGE)
        acpi.s5 = (int)d.value;
    if (!dev)
        return;
    if (same(name, "_HID", 4) && d.kind == AML_STRING && d.size < sizeof(dev->hid))
        copy(dev->hid, d.bytes, d.size);
    else if (same(name, "_HID", 4) && d.kind == AML_INTEGER)
        eisa_id(d.value, dev->hid);
    else if (same(name, "_CRS", 4) && d.kind == AML_BUFFER)
        read_resources(dev, d.bytes, d.size);
}

/* 20.2.5: a term list, where objects are named; what is in methods is passed over. */
static void aml_walk(struct aml *a, struct acpi_device *dev)
{
    char name[5];
    struct aml in;
    const u8 *at;

    while (a->p < a->end && !a->broken) {
        at = a->p;
        u64 code = aml_bytes(a, 1);

        if (code == 0x5b)
            code = code << 8 | aml_bytes(a, 1);
        switch (code) {
        case 0x08: walk_name(a, dev); break;
        case 0x10: /* Scope */
            in = aml_package(a);
            aml_name(&in, name);
            aml_walk(&in, 0);
            a->broken |= in.broken;
            break;
        case 0x5b82: walk_device(a); break;
        case 0x06: /* Alias */
            aml_name(a, name);
            aml_name(a, name);
            break;
        case 0x15: /* External */
            aml_name(a, name);
            aml_bytes(a, 2);
            break;
        case 0x5b01: /* Mutex */
            aml_name(a, name);
            aml_bytes(a, 1);
            break;
        case 0x5b02: aml_name(a, name); break; /* Event */
        case 0x5b80:                           /* OperationRegion: space, offset, length */
            aml_name(a, name);
            aml_bytes(a, 1);
            aml_data(a);
            aml_data(a);
            break;
        case 0x14:   /* Method */
        case 0x5b81: /* Field */
        case 0x5b83: /* Processor */
        case 0x5b84: /* PowerResource */
        case 0x5b85: /* ThermalZone */
        case 0x5b86: /* IndexField */
        case 0x5b87: /* BankField */
        case 0xa0:   /* If */
        case 0xa1: /* Else */ aml_package(a); break;
        default: a->broken = 1;
        }
        if (a->broken && !acpi.aml_stop) {
            acpi.aml_stop = (u64)(at - (const u8 *)acpi.dsdt);
            acpi.aml_code = (u32)code;
        }
    }
}

/* ---- MADT (5.2.12) ---- */
static void read_madt(const struct acpi_table *t)
{
    const u8 *p = (const u8 *)t + 44, *end = (const u8 *)t + t->length;

    acpi.lapic = rd32((u64)t + 36);
    while (p + 2 <= end && p[1] >= 2 && p + p[1] <= end) {
        u32 id = ~0u;

        if (p[0] == 0 && rd32((u64)p + 4) & 1) { /* local APIC, enabled */
            id = p[3];
        } else if (p[0] == 9 && rd32((u64)p + 8) & 1) { /* local x2APIC, enabled */
            id = rd32((u64)p + 4);
        } else if (p[0] == 1 && !acpi.ioapic) {
            acpi.ioapic = rd32((u64)p + 4);
            acpi.ioapic_gsi = rd32((u64)p + 8);
        }
        if (id != ~0u) {
            if (acpi.cpus < MAX_CPUS)
                acpi.apic_id[acpi.cpus] = id;
            acpi.cpus++;
        }
        p += p[1];
    }
}

/* 5.2.5: the RSDP, where the boot protocol says or in the upper memory area. */
static u8 *find_rsdp(void)
{
    if (boot.rsdp)
        return same((void *)boot.rsdp, "RSD PTR ", 8) ? (u8 *)boot.rsdp : 0;
    for (u64 a = 0xe0000; a < 0x100000; a += 16) {
        if (same((void *)a, "RSD PTR ", 8))
            return (u8 *)a;
    }
    return 0;
}

int acpi_read(void)
{
    struct acpi_table *root, *t;
    unsigned wide;
    u64 entries;
    struct aml a;

    acpi.s5 = -1;
    acpi.rsdp = find_rsdp();
    if (!acpi.rsdp)
        return 0;
    wide = acpi.rsdp[15] >= 2;
    acpi.bad_sums += sum_of(acpi.rsdp, 20) != 0 || (wide && sum_of(acpi.rsdp, 36) != 0);
    acpi.bad_places += !place_kept(acpi.rsdp, 36);
    root = take_table(wide ? rd64((u64)acpi.rsdp + 24) : rd32((u64)acpi.rsdp + 16));
    if (acpi.bad_sums || !same(root->signature, wide ? "XSDT" : "RSDT", 4))
        return 0;
    entries = (root->length - sizeof(*root)) / (wide ? 8 : 4);
    for (u64 i = 0; i < entries; i++) {
        u64 at = (u64)(root + 1) + i * (wide ? 8 : 4);

        t = take_table(wide ? rd64(at) : rd32(at));
        if (same(t->signature, "FACP", 4))
            acpi.fadt = t;
        else if (same(t->signature, "APIC", 4))
            acpi.madt = t;
    }
    if (!acpi.fadt || !acpi.madt || acpi.bad_sums)
        return 0;
    read_madt(acpi.madt);
    acpi.dsdt = take_table(acpi.fadt->length >= FADT_X_DSDT + 8 && rd64((u64)acpi.fadt + FADT_X_DSDT)
                               ? rd64((u64)acpi.fadt + FADT_X_DSDT)
                               : rd32((u64)acpi.fadt + 40));
    if (acpi.bad_sums || !same(acpi.dsdt->signature, "DSDT", 4))
        return 0;
    a = (struct aml){(const u8 *)(acpi.dsdt + 1), (const u8 *)acpi.dsdt + acpi.dsdt->length, 0};
    aml_walk(&a, 0);
    return 1;
}

int acpi_write_gas(const u8 *gas, u8 value)
{
    u64 addr = rd64((u64)gas + 4);

    switch (gas[0]) {
    case 0: wr8(addr, value); return 0;
    case 1: outb((u16)addr, value); return 0;
    default: return -1;
    }
}
