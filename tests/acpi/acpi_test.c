/*
 * ACPI tables, read back by a parser that shares nothing with the writer: addresses, lengths and checksums of each
 * table, every field that the machine relies on, and the AML as a tree.
 *
 * With a folder as its argument, it writes the tables of a small and of a large machine there for iasl (iasl.sh).
 */
#include "arch/acpi/acpi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/acpi/aml.h"
#include "tests/check.h"
#include "vmm/base/util.h"

#define BASE 0xe0000
#define ROOM 0x20000
#define MAX_DEVICES 32
#define MAX_CPUS 600

static struct mem *ram;
static struct err err;
static uint32_t apic_id[MAX_CPUS];
static struct acpi_device device[MAX_DEVICES];

static struct acpi_config config(unsigned ncpus, unsigned nvirtio)
{
    unsigned n = 0;

    device[n++] = (struct acpi_device){
        .name = "COM1", .hid = "PNP0501", .io = true, .base = 0x3f8, .size = 8, .interrupts = true, .gsi = 4};
    for (unsigned i = 0; i < nvirtio; i++) {
        device[n] = (struct acpi_device){.hid = "LNRO0005",
                                         .uid = i,
                                         .base = 0xd0000000 + i * 0x1000,
                                         .size = 0x200,
                                         .interrupts = true,
                                         .gsi = 5 + i,
                                         .dma = true};
        snprintf(device[n].name, sizeof(device[n].name), "VR%02X", i & 0xffu);
        n++;
    }
    device[n++] = (struct acpi_device){.name = "DBG0", .hid = "PIPT0001", .io = true, .base = 0x610, .size = 8};
    for (unsigned i = 0; i < ncpus; i++)
        apic_id[i] = i;
    return (struct acpi_config){
        .apic_id = apic_id,
        .ncpus = ncpus,
        .lapic_base = 0xfee00000,
        .ioapic_base = 0xfec00000,
        .sleep_control = 0x600,
        .sleep_status = 0x601,
        .reset = 0x602,
        .reset_value = 1,
        .s5_type = 5,
        .power_button_gsi = 3,
        .device = device,
        .ndevices = n,
    };
}

static int64_t build(const struct acpi_config *c)
{
    uint8_t *p = mem_write_begin(ram, GPA(BASE), ROOM);

    memset(p, 0xa5, ROOM);
    mem_write_end(ram, GPA(BASE), ROOM);
    memset(&err, 0, sizeof(err));
    return acpi_write(ram, BASE, ROOM, c, &err);
}

/* ---- reading ---- */

static const uint8_t *at(uint64_t a, uint64_t len)
{
    const uint8_t *p = a >= BASE && a < BASE + ROOM ? mem_read_ptr(ram, GPA(a), len) : NULL;

    if (!p) {
        printf("  nothing at 0x%" PRIx64 "\n", a);
        exit(1);
    }
    return p;
}

static bool sums_to_zero(const uint8_t *p, uint64_t len)
{
    uint8_t sum = 0;

    while (len--)
        sum += *p++;
    return sum == 0;
}

/* The table at `a` with this signature, its checksum right; NULL otherwise. */
static const uint8_t *table(uint64_t a, const char *signature, unsigned revision, uint32_t *len)
{
    const uint8_t *t = at(a, 36);

    *len = le32_get(t + 4);
    if (a % 16 || memcmp(t, signature, 4) || *len < 36 || t[8] != revision)
        return NULL;
    t = at(a, *len);
    return sums_to_zero(t, *len) && !memcmp(t + 10, "PIPIT PIPITVMM", 14) ? t : NULL;
}

static const uint8_t *find(const char *signature, unsigned revision, uint32_t *len)
{
    const uint8_t *rsdp = at(BASE, 36), *xsdt = table(le64_get(rsdp + 24), "XSDT", 1, len);
    unsigned n = xsdt ? (*len - 36) / 8 : 0;

    for (unsigned i = 0; i < n; i++) {
        const uint8_t *t = table(le64_get(xsdt + 36 + 8 * i), signature, revision, len);
        if (t)
            return t;
    }
    return NULL;
}

static const uint8_t *find_dsdt(uint32_t *len)
{
    const uint8_t *fadt = find("FACP", 6, len);

    return fadt ? table(le64_get(fadt + 140), "DSDT", 2, len) : NULL;
}

/* ---- tables ---- */

static void test_rsdp_and_xsdt(void)
{
    struct acpi_config c = config(2, 3);
    int64_t used = build(&c);
    const uint8_t *rsdp = at(BASE, 36), *xsdt;
    uint32_t len;

    CHECK(used > 36 && used < 4096);
    CHECK(!memcmp(rsdp, "RSD PTR ", 8));
    CHECK(sums_to_zero(rsdp, 20));
    CHECK(sums_to_zero(rsdp, 36));
    CHECK_EQ(rsdp[15], 2);
    CHECK_EQ(le32_get(rsdp + 16), 0);
    CHECK_EQ(le32_get(rsdp + 20), 36);
    xsdt = table(le64_get(rsdp + 24), "XSDT", 1, &len);
    CHECK(xsdt);
    CHECK_EQ(len, 36 + 2 * 8);
    CHECK_EQ(le64_get(rsdp + 24) + len, BASE + (uint64_t)used);
    CHECK(find("FACP", 6, &len) && find("APIC", 5, &len));
    CHECK_EQ(*at(BASE + (uint64_t)used, 1), 0xa5); /* nothing behind */
}

static bool is_port(const uint8_t *gas, uint64_t port)
{
    return gas[0] == 1 && gas[1] == 8 && gas[2] == 0 && gas[3] == 1 && le64_get(gas + 4) == port;
}

static void test_fadt(void)
{
    struct acpi_config c = config(1, 1);
    const uint8_t *t;
    uint32_t len, flags;

    CHECK(build(&c) > 0);
    t = find("FACP", 6, &len);
    CHECK(t);
    CHECK_EQ(len, 276);
    CHECK_EQ(t[131], 3);
    CHECK_EQ(le32_get(t + 36), 0);                 /* no FACS */
    CHECK_EQ(le32_get(t + 40), le64_get(t + 140)); /* DSDT, both ways */
    CHECK_EQ(t[45], 4);
    CHECK_EQ(le16_get(t + 46) | le32_get(t + 48), 0); /* no SCI, no SMI */
    CHECK_EQ(le16_get(t + 109), 0x24);                /* no VGA, no RTC; no 8042, no legacy devices */
    flags = le32_get(t + 112);
    CHECK(flags & BIT32(20)); /* hardware-reduced */
    CHECK(flags & BIT32(10)); /* reset register */
    CHECK(flags & BIT32(0));  /* WBINVD works */
    CHECK_EQ(flags & (BIT32(4) | BIT32(5)), BIT32(4) | BIT32(5));
    CHECK(is_port(t + 116, 0x602));
    CHECK_EQ(t[128], 1);
    CHECK(is_port(t + 244, 0x600));
    CHECK(is_port(t + 256, 0x601));
    CHECK(!memcmp(t + 268, "pipit\0\0\0", 8));
    /* All registers of fixed hardware are absent. */
    for (unsigned i = 52; i < 96; i++)
        CHECK_EQ(t[i], 0);
    for (unsigned i = 148; i < 244; i++)
        CHECK_EQ(t[i], 0);
}

static void test_madt(void)
{
    struct acpi_config c = config(300, 1);
    unsigned lapics = 0, x2apics = 0, ioapics = 0, nmis = 0, x2nmis = 0;
    const uint8_t *t;
    uint32_t len;

    apic_id[1] = 255; /* of a sparse topology */
    apic_id[299] = 0x12345;
    CHECK(build(&c) > 0);
    t = find("APIC", 5, &len);
    CHECK(t);
    CHECK_EQ(le32_get(t + 36), 0xfee00000);
    CHECK_EQ(le32_get(t + 40), 0);
    for (uint32_t off = 44; off < len; off += t[off + 1]) {
        const uint8_t *x = t + off;

        CHECK(x[1] >= 2 && x[1] <= len - off);
        switch (x[0]) {
        case 0:
            CHECK_EQ(x[1], 8);
            CHECK_EQ(apic_id[x[2]], x[3]);
            CHECK_EQ(le32_get(x + 4), 1);
            lapics++;
            break;
        case 9: {
            uint32_t uid = le32_get(x + 12);
            CHECK_EQ(x[1], 16);
            CHECK(uid < 300 && (uid >= 255 || uid == 1));
            CHECK_EQ(apic_id[uid], le32_get(x + 4));
            CHECK_EQ(le32_get(x + 8), 1);
            x2apics++;
            break;
        }
        case 1:
            CHECK_EQ(x[1], 12);
            CHECK_EQ(le32_get(x + 4), 0xfec00000);
            CHECK_EQ(le32_get(x + 8), 0);
            ioapics++;
            break;
        case 4:
            CHECK_EQ(x[1], 6);
            CHECK_EQ(x[2], 0xff);
            CHECK_EQ(le16_get(x + 3), 0);
            CHECK_EQ(x[5], 1);
            nmis++;
            break;
        case 10:
            CHECK_EQ(x[1], 12);
            CHECK_EQ(le32_get(x + 4), UINT32_MAX);
            CHECK_EQ(x[8], 1);
            x2nmis++;
            break;
        default: CHECK(false);
        }
    }
    CHECK_EQ(lapics, 254);
    CHECK_EQ(x2apics, 46);
    CHECK_EQ(ioapics, 1);
    CHECK_EQ(nmis, 1);
    CHECK_EQ(x2nmis, 1);

    c = config(4, 1);
    CHECK(build(&c) > 0);
    t = find("APIC", 5, &len);
    CHECK(t);
    CHECK_EQ(len, 44 + 4 * 8 + 12 + 6);
}

/* ---- AML ---- */

/* A package length at *p: the end of what it counts; moves *p behind it. NULL where that passes `end`. */
static const uint8_t *aml_package(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *start = *p;
    unsigned more;
    uint64_t len;

    if (start >= end)
        return NULL;
    more = start[0] >> 6;
    if ((uint64_t)(end - start) < 1 + more || (more && start[0] & 0x30))
        return NULL;
    len = more ? start[0] & 0xf : start[0] & 0x3f;
    for (unsigned i = 0; i < more; i++)
        len |= (uint64_t)start[1 + i] << (4 + 8 * i);
    *p = start + 1 + more;
    return len >= 1 + more && len <= (uint64_t)(end - start) ? start + len : NULL;
}

static bool aml_integer(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
    static const struct {
        uint8_t op, bytes;
    } ops[] = {{0x0a, 1}, {0x0b, 2}, {0x0c, 4}, {0x0e, 8}};

    *v = 0;
    if (*p < end && **p <= 1) {
        *v = *(*p)++;
        return true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        if (*p < end && **p == ops[i].op && end - *p > ops[i].bytes) {
            memcpy(v, *p + 1, ops[i].bytes);
            *p += 1 + ops[i].bytes;
            return true;
        }
    return false;
}

/* What a device of the namespace says. */
struct seen {
    char name[5], hid[16];
    uint64_t uid, cca;
    const uint8_t *crs;
    uint64_t crs_len;
};

static bool see_object(struct seen *s, const char *name, const uint8_t **p, const uint8_t *end)
{
    uint64_t v;

    if (!memcmp(name, "_HID", 4)) {
        if (**p != 0x0d || !memchr(*p, '\0', (size_t)(end - *p)) || strlen((const char *)*p) >= sizeof(s->hid))
            return false;
        strcpy(s->hid, (const char *)*p + 1);
        *p += strlen(s->hid) + 2;
        return true;
    }
    if (!memcmp(name, "_UID", 4))
        return aml_integer(p, end, &s->uid);
    if (!memcmp(name, "_CCA", 4))
        return aml_integer(p, end, &s->cca);
    if (!memcmp(name, "_CRS", 4) && **p == 0x11) {
        const uint8_t *buf_end;

        (*p)++;
        buf_end = aml_package(p, end);
        if (!buf_end || !aml_integer(p, buf_end, &v) || v != (uint64_t)(buf_end - *p))
            return false;
        s->crs = *p;
        s->crs_len = v;
        *p = buf_end;
        return true;
    }
    return false;
}

/* The device at *p (behind its operator). */
static bool see_device(struct seen *s, const uint8_t **p, const uint8_t *end)
{
    const uint8_t *dev_end = aml_package(p, end);

    memset(s, 0, sizeof(*s));
    if (!dev_end || dev_end - *p < 4)
        return false;
    memcpy(s->name, *p, 4);
    *p += 4;
    while (*p < dev_end) {
        const char *name = (const char *)*p + 1;

        if (**p != 0x08 || dev_end - *p < 6)
            return false;
        *p += 5;
        if (!see_object(s, name, p, dev_end))
            return false;
    }
    return *p == dev_end;
}

static bool crs_is(const struct seen *s, const char *bytes, uint64_t len)
{
    return s->crs_len == len && !memcmp(s->crs, bytes, len);
}

static void test_dsdt(void)
{
    struct acpi_config c = config(2, 3);
    const uint8_t *t, *p, *end, *sb;
    struct seen s[8];
    uint64_t v[4];
    unsigned n = 0;
    uint32_t len;

    device[3].level = true;
    c.power_button_gsi = 0;
    CHECK(build(&c) > 0);
    t = find_dsdt(&len);
    CHECK(t);
    p = t + 36;
    end = t + len;
    /* Name (_S5, Package (4) {5, 5, 0, 0}) */
    CHECK(!memcmp(p, "\x08_S5_\x12", 6));
    p += 6;
    const uint8_t *package = aml_package(&p, end);
    CHECK(package && *p++ == 4);
    for (unsigned i = 0; i < 4; i++)
        CHECK(aml_integer(&p, package, &v[i]));
    CHECK(p == package);
    CHECK(v[0] == 5 && v[1] == 5 && v[2] == 0 && v[3] == 0);
    /* Scope (_SB) with devices and nothing else, to the table's end. */
    CHECK(*p++ == 0x10);
    sb = aml_package(&p, end);
    CHECK(sb == end && !memcmp(p, "_SB_", 4));
    p += 4;
    while (p < sb) {
        CHECK(n < 8 && p[0] == 0x5b && p[1] == 0x82);
        p += 2;
        CHECK(see_device(&s[n++], &p, sb));
    }
    CHECK_EQ(n, 2 + 1 + 3 + 1);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(!strcmp(s[i].hid, "ACPI0007"));
        CHECK_EQ(s[i].uid, i);
        CHECK(!s[i].crs);
    }
    CHECK(!strcmp(s[0].name, "C000") && !strcmp(s[1].name, "C001"));
    CHECK(!strcmp(s[2].name, "COM1") && !strcmp(s[2].hid, "PNP0501"));
    CHECK(crs_is(&s[2], "\x47\x01\xf8\x03\xf8\x03\x01\x08\x89\x06\x00\x03\x01\x04\x00\x00\x00\x79\x00", 19));
    CHECK(!strcmp(s[3].name, "VR00") && !strcmp(s[3].hid, "LNRO0005"));
    CHECK_EQ(s[3].cca, 1);
    CHECK(crs_is(&s[3], "\x86\x09\x00\x01\x00\x00\x00\xd0\x00\x02\x00\x00\x89\x06\x00\x03\x01\x05\x00\x00\x00\x79\x00",
                 23));
    CHECK(crs_is(&s[5], "\x86\x09\x00\x01\x00\x20\x00\xd0\x00\x02\x00\x00\x89\x06\x00\x01\x01\x07\x00\x00\x00\x79\x00",
                 23));
    CHECK_EQ(s[5].uid, 2);
    CHECK(!strcmp(s[6].hid, "PIPT0001"));
    CHECK(crs_is(&s[6], "\x47\x01\x10\x06\x10\x06\x01\x08\x79\x00", 10));
    CHECK_EQ(s[6].cca, 0);
}

static void test_memory_above_4g(void)
{
    struct acpi_config c = config(1, 1);
    const uint8_t *t, *p, *end;
    struct seen s;
    uint32_t len;

    device[0].io = false;
    device[0].base = UINT64_C(0x123456789000);
    device[0].size = 0x2000;
    CHECK(build(&c) > 0);
    t = find_dsdt(&len);
    CHECK(t);
    p = memmem(t, len, "COM1", 4);
    CHECK(p);
    p -= 2; /* its package length has two bytes: the descriptor alone has 46 */
    end = t + len;
    CHECK(see_device(&s, &p, end));
    CHECK_EQ(s.crs_len, 46 + 9 + 2);
    CHECK_EQ(s.crs[0], 0x8a);
    CHECK_EQ(le16_get(s.crs + 1), 43);
    CHECK_EQ(s.crs[3], 0);
    CHECK_EQ(s.crs[4], 0x0d);
    CHECK_EQ(s.crs[5], 1);
    CHECK_EQ(le64_get(s.crs + 6), 0);
    CHECK_EQ(le64_get(s.crs + 14), 0x123456789000);
    CHECK_EQ(le64_get(s.crs + 22), 0x12345678afff);
    CHECK_EQ(le64_get(s.crs + 30), 0);
    CHECK_EQ(le64_get(s.crs + 38), 0x2000);
}

/* Package lengths change their own size: every length about the borders comes back. */
static void test_package_lengths(void)
{
    static const unsigned middle[] = {30, 62, 4093, 1048571};
    static uint8_t data[MIB(1) + 256];

    for (unsigned m = 0; m < ARRAY_SIZE(middle); m++)
        for (unsigned n = middle[m] - 12; n < middle[m] + 12; n++) {
            struct acpi_buf b = {.data = data, .size = sizeof(data)};
            uint64_t begun = aml_begin_scope(&b, "ABCD");
            const uint8_t *p = data + 1, *end;

            for (unsigned i = 4; i < n; i++)
                acpi_put_int(&b, i, 1);
            aml_end(&b, begun);
            CHECK(!b.overflow);
            end = aml_package(&p, data + b.used);
            CHECK(end == data + b.used);
            CHECK_EQ(end - p, n);
            CHECK(!memcmp(p, "ABCD\x04\x05", 6));
            CHECK_EQ(p[n - 1], (n - 1) & 0xff);
            /* The shortest form that holds it. */
            CHECK_EQ(p - data - 1, n + 1 < 64 ? 1 : n + 2 < 4096 ? 2 : n + 3 < 1048576 ? 3 : 4);
        }
}

static void test_integers(void)
{
    static const struct {
        uint64_t v;
        unsigned bytes;
    } t[] = {{0, 1},      {1, 1},       {2, 2},          {255, 2},       {256, 3},
             {0xffff, 3}, {0x10000, 5}, {UINT32_MAX, 5}, {BIT64(32), 9}, {UINT64_MAX, 9}};
    uint8_t data[16];

    for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
        struct acpi_buf b = {.data = data, .size = sizeof(data)};
        const uint8_t *p = data;
        uint64_t v;

        aml_int(&b, t[i].v);
        CHECK_EQ(b.used, t[i].bytes);
        CHECK(aml_integer(&p, data + b.used + 1, &v) && p == data + b.used);
        CHECK_EQ(v, t[i].v);
    }
}

/* ---- what does not work ---- */

/* The button, and the event device's method, which names it; nothing of both where there is none. */
static void test_power_button(void)
{
    static const char method[] = "\x14\x0d_EVT\x09\x86PWRB\x0a\x80";
    struct acpi_config c = config(1, 1);
    const uint8_t *t;
    uint32_t len;

    CHECK(build(&c) > 0);
    t = find_dsdt(&len);
    CHECK(t && memmem(t, len, method, sizeof(method) - 1));
    CHECK(memmem(t, len, "\x89\x06\x00\x03\x01\x03\x00\x00\x00", 9));
    c.power_button_gsi = 0;
    CHECK(build(&c) > 0);
    t = find_dsdt(&len);
    CHECK(t && !memmem(t, len, "PWRB", 4) && !memmem(t, len, "GED0", 4));
}

/* In any smaller room: an error, and not a byte behind it. */
static void test_too_small(void)
{
    struct acpi_config c = config(3, 4);
    int64_t used = build(&c);

    CHECK(used > 0);
    for (uint64_t room = 0; room < (uint64_t)used; room++) {
        uint8_t *p = mem_write_begin(ram, GPA(BASE), ROOM);

        memset(p, 0xa5, ROOM);
        CHECK_EQ(acpi_write(ram, BASE, room, &c, &err), -ENOSPC);
        for (unsigned i = 0; i < 64; i++)
            CHECK_EQ(p[room + i], 0xa5);
    }
    CHECK_EQ(acpi_write(ram, BASE, (uint64_t)used, &c, &err), used);
    /* As many vCPUs as anybody has, in the room that the machine gives. */
    c = config(MAX_CPUS, 19);
    CHECK(build(&c) > 0);
    CHECK_EQ(acpi_write(ram, BASE, KIB(16), &c, &err), -ENOSPC);
    CHECK(strstr(err.msg, "600 vCPUs and 21 devices do not fit in 16 KiB"));
}

static void test_refused(void)
{
    struct acpi_config c = config(1, 1);

#define BAD(change)                                                                                                    \
    do {                                                                                                               \
        c = config(1, 1);                                                                                              \
        change;                                                                                                        \
        CHECK_EQ(build(&c), -EINVAL);                                                                                  \
        CHECK_EQ(err.code, EINVAL);                                                                                    \
    } while (0)
    BAD(strcpy(device[0].name, "COM"));
    BAD(strcpy(device[0].name, "1COM"));
    BAD(strcpy(device[0].name, "com1"));
    BAD(memcpy(device[0].name, "COM12", 5));
    BAD(device[0].size = 0);
    BAD(device[0].size = 256);
    BAD(device[0].base = 0xfffc);
    BAD(device[1].base = UINT64_MAX - 3);
    c = config(1, 1);
    CHECK_EQ(acpi_write(ram, BASE + 8, ROOM, &c, &err), -EINVAL);
    CHECK_EQ(acpi_write(ram, GIB(4) - 16, 32, &c, &err), -EINVAL);
    CHECK_EQ(acpi_write(ram, MIB(64), ROOM, &c, &err), -EFAULT);
}

/* ---- files for iasl ---- */

static bool dump(const char *folder, const char *prefix, const char *name, const uint8_t *t, uint32_t len)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s-%s.aml", folder, prefix, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (!t || fd < 0 || write(fd, t, len) != (ssize_t)len) {
        printf("FAIL cannot write %s\n", path);
        return false;
    }
    close(fd);
    return true;
}

static bool dump_all(const char *folder, const char *prefix, const struct acpi_config *c)
{
    uint32_t dsdt_len, fadt_len, madt_len, xsdt_len;

    if (build(c) < 0)
        return false;
    const uint8_t *dsdt = find_dsdt(&dsdt_len), *fadt = find("FACP", 6, &fadt_len), *madt = find("APIC", 5, &madt_len);
    const uint8_t *xsdt = table(le64_get(at(BASE, 36) + 24), "XSDT", 1, &xsdt_len);
    return dump(folder, prefix, "dsdt", dsdt, dsdt_len) && dump(folder, prefix, "facp", fadt, fadt_len) &&
           dump(folder, prefix, "apic", madt, madt_len) && dump(folder, prefix, "xsdt", xsdt, xsdt_len);
}

static int dump_machines(const char *folder)
{
    struct acpi_config c = config(1, 4);

    if (!dump_all(folder, "small", &c))
        return 1;
    c = config(300, 19);
    device[3].level = true;
    device[4].base = UINT64_C(0x4000000000);
    return !dump_all(folder, "large", &c);
}

int main(int argc, char **argv)
{
    if (mem_create(&ram) < 0 || mem_add_ram(ram, GPA(0), MIB(2), NULL, &err) < 0) {
        printf("FAIL set-up\n");
        return 1;
    }
    if (argc > 1)
        return dump_machines(argv[1]);
    RUN(test_rsdp_and_xsdt);
    RUN(test_fadt);
    RUN(test_madt);
    RUN(test_dsdt);
    RUN(test_memory_above_4g);
    RUN(test_package_lengths);
    RUN(test_integers);
    RUN(test_power_button);
    RUN(test_too_small);
    RUN(test_refused);
    mem_destroy(ram);
    return check_done();
}
