/* The firmware configuration device: items by number and by name, the data register, DMA, and what is hostile in it. */
#include "devices/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/core/bus.h"

#define BASE UINT64_C(0x9020000)
#define RAM UINT64_C(0x40000000)
#define RAM_SIZE UINT64_C(0x10000)
#define ERROR 1
#define READ 2
#define SKIP 4
#define SELECT 8
#define WRITE 16

static struct mem *mem;
static struct bus *bus;
static struct device *dev;

static void begin(const struct fw_cfg_item *items, unsigned n)
{
    struct err e;

    CHECK_EQ(mem_create(&mem), 0);
    CHECK_EQ(mem_add_ram(mem, GPA(RAM), RAM_SIZE, NULL, &e), 0);
    CHECK_EQ(bus_create(&bus), 0);
    CHECK_EQ(fw_cfg_create(&dev, mem, items, n), 0);
    CHECK_EQ(bus_attach(bus, dev, GPA(BASE)), 0);
}

static void end(void)
{
    bus_destroy(bus);
    mem_destroy(mem);
}

static void choose(uint16_t key)
{
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + 8), 2, htobe16(key)), 0);
}

static uint64_t take(unsigned size)
{
    uint64_t v = 0;

    return bus_read(bus, 0, GPA(BASE), size, &v) == 0 ? v : UINT64_C(0xbadbadbadbad);
}

/* Starts a transfer whose descriptor is at RAM; what is in its control word afterwards. */
static uint32_t dma(uint32_t control, uint32_t len, uint64_t to)
{
    uint8_t d[16];
    uint32_t answer;

    control = htobe32(control);
    len = htobe32(len);
    to = htobe64(to);
    memcpy(d, &control, 4);
    memcpy(d + 4, &len, 4);
    memcpy(d + 8, &to, 8);
    if (mem_write(mem, GPA(RAM), d, sizeof(d)) < 0 || bus_write(bus, 0, GPA(BASE + 16), 8, htobe64(RAM)) < 0 ||
        mem_read(mem, GPA(RAM), &answer, sizeof(answer)) < 0)
        return 0xbadbad;
    return be32toh(answer);
}

static const struct fw_cfg_item items[] = {
    {.key = FW_CFG_NB_CPUS, .data = "\4\0", .len = 2},
    {.file = "opt/b", .data = "second", .len = 6},
    {.file = "bootorder", .data = "first", .len = 6},
    {.file = "opt/empty", .data = "", .len = 0},
};

static void items_are_read(void)
{
    begin(items, ARRAY_SIZE(items));
    CHECK_EQ(take(4), 0x554d4551); /* the signature is what is selected at first */
    choose(1);
    CHECK_EQ(take(4), 3);
    CHECK_EQ(take(4), 0);
    choose(FW_CFG_NB_CPUS);
    CHECK_EQ(take(1), 4);
    CHECK_EQ(take(1), 0);
    CHECK_EQ(take(8), 0);
    choose(0x7777);
    CHECK_EQ(take(8), 0);
    choose(0xffff);
    CHECK_EQ(take(8), 0);
    end();
}

static void files_have_names(void)
{
    static const char *const names[] = {"bootorder", "opt/b", "opt/empty"};
    static const char *const texts[] = {"first", "second", ""};

    begin(items, ARRAY_SIZE(items));
    choose(0x19);
    CHECK_EQ(be32toh((uint32_t)take(4)), 3);
    for (unsigned i = 0; i < 3; i++) {
        char name[56], text[8] = "";
        uint32_t size = be32toh((uint32_t)take(4));
        uint16_t key = be16toh((uint16_t)take(2));

        take(2);
        for (unsigned k = 0; k < 7; k++)
            le64_put(name + k * 8, take(8));
        CHECK(!strcmp(name, names[i]));
        CHECK_EQ(dma((uint32_t)key << 16 | SELECT | READ, size, RAM + 0x100), 0);
        mem_read(mem, GPA(RAM + 0x100), text, size);
        CHECK(!strcmp(text, texts[i]));
        /* The directory again, behind what was read of it. */
        CHECK_EQ(dma(0x19 << 16 | SELECT | SKIP, 4 + 64 * (i + 1), 0), 0);
    }
    CHECK_EQ(take(8), 0);
    end();
}

static void dma_copies_and_skips(void)
{
    char buf[16];
    uint64_t v = 0;

    begin(items, ARRAY_SIZE(items));
    CHECK_EQ(bus_read(bus, 0, GPA(BASE + 16), 8, &v), 0);
    CHECK_EQ(be64toh(v), UINT64_C(0x51454d5520434647));
    memset(buf, 'x', sizeof(buf));
    mem_write(mem, GPA(RAM + 0x200), buf, sizeof(buf));
    /* 0x21: the second name in order. Behind the item's end are zeroes, and no more than was asked for. */
    CHECK_EQ(dma(0x21 << 16 | SELECT | SKIP, 2, 0), 0);
    CHECK_EQ(dma(READ, 8, RAM + 0x200), 0);
    mem_read(mem, GPA(RAM + 0x200), buf, sizeof(buf));
    CHECK(!memcmp(buf, "cond\0\0\0\0xxxxxxxx", 16));
    /* In two halves. */
    v = htobe32(READ);
    mem_write(mem, GPA(RAM), &v, 4);
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + 16), 4, 0), 0);
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + 20), 4, htobe32((uint32_t)RAM)), 0);
    mem_read(mem, GPA(RAM), &v, 4);
    CHECK_EQ((uint32_t)v, 0);
    end();
}

static void hostile_transfers(void)
{
    uint64_t v;

    begin(items, ARRAY_SIZE(items));
    CHECK_EQ(dma(0x21 << 16 | SELECT | READ, 8, 0), ERROR);
    CHECK_EQ(dma(0x21 << 16 | SELECT | READ, 8, RAM + RAM_SIZE - 4), ERROR);
    CHECK_EQ(dma(0x21 << 16 | SELECT | READ, 8, UINT64_MAX - 3), ERROR);
    CHECK_EQ(dma(0x21 << 16 | SELECT | READ, UINT32_MAX, RAM), ERROR);
    CHECK_EQ(dma(0x21 << 16 | SELECT | WRITE, 8, RAM + 0x100), ERROR);
    /* All of RAM, the descriptor too: then the answer. */
    CHECK_EQ(dma(0x21 << 16 | SELECT | READ, RAM_SIZE, RAM), 0);
    /* The place in an item does not wrap. */
    CHECK_EQ(dma(0x21 << 16 | SELECT | SKIP, UINT32_MAX, 0), 0);
    CHECK_EQ(dma(SKIP, 2, 0), 0);
    CHECK_EQ(take(8), 0);
    /* Descriptors that are nowhere, or not in one piece. */
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + 16), 8, 0), 0);
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + 16), 8, htobe64(RAM + RAM_SIZE - 8)), 0);
    CHECK_EQ(bus_write(bus, 0, GPA(BASE + 16), 8, UINT64_MAX), 0);
    /* Odd widths and places. */
    for (uint64_t off = 0; off < FW_CFG_SIZE; off++)
        for (unsigned size = 1; size <= 8; size *= 2)
            if (off % size == 0 && off + size <= FW_CFG_SIZE && off != 16 && off != 20) {
                CHECK_EQ(bus_write(bus, 0, GPA(BASE + off), size, UINT64_MAX), 0);
                CHECK_EQ(bus_read(bus, 0, GPA(BASE + off), size, &v), 0);
            }
    dev->desc->ops->reset(dev);
    CHECK_EQ(take(4), 0x554d4551);
    end();
}

static void bad_names_are_refused(void)
{
    const struct fw_cfg_item twice[] = {{.file = "a", .data = "", .len = 0}, {.file = "a", .data = "", .len = 0}};
    const struct fw_cfg_item empty[] = {{.file = "", .data = "", .len = 0}};
    char name[FW_CFG_NAME_SIZE + 1];
    struct fw_cfg_item many[FW_CFG_MAX_FILES + 1];

    memset(name, 'n', sizeof(name));
    name[FW_CFG_NAME_SIZE] = '\0';
    for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = (struct fw_cfg_item){.file = "x", .data = "", .len = 0};
    CHECK_EQ(fw_cfg_create(&dev, NULL, twice, 2), -EINVAL);
    CHECK_EQ(fw_cfg_create(&dev, NULL, empty, 1), -EINVAL);
    CHECK_EQ(fw_cfg_create(&dev, NULL, &(struct fw_cfg_item){.file = name, .data = "", .len = 0}, 1), -EINVAL);
    CHECK_EQ(fw_cfg_create(&dev, NULL, many, ARRAY_SIZE(many)), -ENOSPC);
}

int main(void)
{
    RUN(items_are_read);
    RUN(files_have_names);
    RUN(dma_copies_and_skips);
    RUN(hostile_transfers);
    RUN(bad_names_are_refused);
    return check_done();
}
