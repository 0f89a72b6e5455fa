/* MMIO dispatch: look-up, access rules, splitting, order of destruction. */
#include <errno.h>
#include <stdlib.h>

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/core/bus.h"

struct fake {
    struct device d;
    uint64_t off[8], val[8];
    unsigned size[8], n, cpu;
    unsigned resets;
};

static char destroyed[8];
static unsigned ndestroyed;

static uint64_t fake_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct fake *f = container_of(d, struct fake, d);

    f->cpu = cpu;
    f->n++;
    (void)size;
    return UINT64_C(0xffffffff00000000) | off; /* more bits than asked for: the bus cuts them */
}

static void fake_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct fake *f = container_of(d, struct fake, d);

    f->cpu = cpu;
    f->off[f->n % 8] = off;
    f->val[f->n % 8] = val;
    f->size[f->n % 8] = size;
    f->n++;
}

static void fake_reset(struct device *d)
{
    container_of(d, struct fake, d)->resets++;
}

static void fake_destroy(struct device *d)
{
    destroyed[ndestroyed++ % 8] = d->desc->name[0];
    free(container_of(d, struct fake, d));
}

static const struct device_ops fake_ops = {
    .read = fake_read, .write = fake_write, .reset = fake_reset, .destroy = fake_destroy};
static const struct device_desc desc_a = {
    .name = "a", .size = 0x1000, .min_access = 1, .max_access = 4, .ops = &fake_ops};
static const struct device_desc desc_b = {
    .name = "b", .size = 0x200, .min_access = 4, .max_access = 8, .flags = DEVICE_SELF_LOCKED, .ops = &fake_ops};

static struct fake *fake_new(const struct device_desc *desc)
{
    struct fake *f = calloc(1, sizeof(*f));

    device_init(&f->d, desc);
    return f;
}

static void dispatch_and_rules(void)
{
    struct bus *b;
    struct fake *a = fake_new(&desc_a), *c = fake_new(&desc_b), *dup = fake_new(&desc_b);
    uint64_t v = 1;

    CHECK(bus_create(&b) == 0);
    CHECK(bus_attach(b, &c->d, GPA(0xa000000)) == 0);
    CHECK(bus_attach(b, &a->d, GPA(0x9000000)) == 0);
    CHECK(bus_attach(b, &dup->d, GPA(0x9000f00)) == -EEXIST);
    CHECK(bus_attach(b, &dup->d, GPA(0x8ffff00)) == -EEXIST);
    CHECK(bus_attach(b, &dup->d, GPA(UINT64_MAX - 4)) == -EINVAL);
    fake_destroy(&dup->d);
    ndestroyed = 0;

    CHECK(bus_read(b, 3, GPA(0x9000ffc), 4, &v) == 0);
    CHECK_EQ(v, 0xffc);
    CHECK_EQ(a->cpu, 3);
    CHECK(bus_read(b, 0, GPA(0x9000ff8), 8, &v) == 0); /* two reads of four */
    CHECK_EQ(v, UINT64_C(0xffc00000ff8));
    CHECK(bus_read(b, 0, GPA(0x9000001), 2, &v) == 0); /* misaligned */
    CHECK_EQ(v, 0);
    CHECK(bus_read(b, 0, GPA(0x9001000), 4, &v) == -ENXIO);
    CHECK(bus_read(b, 0, GPA(0x8ffffff), 1, &v) == -ENXIO);
    CHECK(bus_read(b, 0, GPA(0x9000ffe), 4, &v) == -ENXIO); /* half outside */
    CHECK(bus_write(b, 0, GPA(0), 4, 1) == -ENXIO);

    a->n = 0;
    CHECK(bus_write(b, 1, GPA(0x9000010), 8, UINT64_C(0x1122334455667788)) == 0);
    CHECK_EQ(a->n, 2);
    CHECK_EQ(a->off[0], 0x10);
    CHECK_EQ(a->val[0], 0x55667788);
    CHECK_EQ(a->off[1], 0x14);
    CHECK_EQ(a->val[1], 0x11223344);
    CHECK_EQ(a->size[1], 4);
    CHECK(bus_write(b, 1, GPA(0x9000010), 1, 0x1234) == 0);
    CHECK_EQ(a->val[2], 0x34);

    CHECK(bus_write(b, 1, GPA(0xa000000), 2, 1) == 0); /* narrower than min_access */
    CHECK_EQ(c->n, 0);
    CHECK(bus_write(b, 1, GPA(0xa000008), 8, 5) == 0);
    CHECK_EQ(c->n, 1);
    CHECK_EQ(c->size[0], 8);

    bus_reset(b);
    CHECK_EQ(a->resets, 1);
    CHECK_EQ(c->resets, 1);
    bus_destroy(b);
    CHECK(destroyed[0] == 'a' && destroyed[1] == 'b'); /* last attached first */
}

static uint64_t last_base;
static unsigned seen;
static bool in_order;

static void visit(void *opaque, struct device *d)
{
    (void)opaque;
    in_order &= seen == 0 || d->base.v > last_base;
    last_base = d->base.v;
    seen++;
}

static void many_devices_sort(void)
{
    struct bus *b;
    uint64_t v;

    CHECK(bus_create(&b) == 0);
    for (unsigned i = 0; i < 32; i++) {
        unsigned slot = i * 13 % 32;

        CHECK(bus_attach(b, &fake_new(&desc_b)->d, GPA(0xa000000 + slot * 0x200)) == 0);
    }
    seen = 0;
    in_order = true;
    bus_for_each(b, visit, NULL);
    CHECK(in_order);
    CHECK_EQ(seen, 32);
    for (unsigned i = 0; i < 32; i++) {
        CHECK(bus_read(b, 0, GPA(0xa000000 + i * 0x200 + 0x10), 4, &v) == 0);
        CHECK_EQ(v, 0x10);
    }
    bus_destroy(b);
}

int main(void)
{
    RUN(dispatch_and_rules);
    RUN(many_devices_sort);
    return check_done();
}
