/* The PL011: registers, FIFOs, interrupts, input and output through a back end that the test plays. */
#include "devices/pl011.h"

#include <string.h>

#include "devices/chardev_int.h"
#include "tests/check.h"
#include "vmm/base/util.h"

#define DR 0x000
#define RSR 0x004
#define FR 0x018
#define LCR_H 0x02c
#define CR 0x030
#define IFLS 0x034
#define IMSC 0x038
#define RIS 0x03c
#define MIS 0x040
#define ICR 0x044

#define FR_RXFE 0x10
#define FR_TXFF 0x20
#define FR_RXFF 0x40
#define FR_TXFE 0x80
#define INT_RX 0x10
#define INT_TX 0x20
#define INT_RT 0x40
#define INT_BE 0x200

static struct device *dev;
static bool irq;

static struct {
    struct chardev c;
    size_t budget, n;
    char out[256];
    unsigned resumed;
} be;

static size_t be_write(struct chardev *c, const uint8_t *p, size_t len)
{
    (void)c;
    len = MIN(len, MIN(be.budget, sizeof(be.out) - be.n));
    memcpy(be.out + be.n, p, len);
    be.n += len;
    be.budget -= len;
    return len;
}

static void be_resume(struct chardev *c)
{
    (void)c;
    be.resumed++;
}

static void be_close(struct chardev *c)
{
    (void)c;
}

static const struct chardev_ops be_ops = {.write = be_write, .resume = be_resume, .close = be_close};

static void on_irq(void *opaque, unsigned num, bool level)
{
    (void)opaque;
    (void)num;
    irq = level;
}

static uint32_t get(uint64_t off)
{
    return (uint32_t)dev->desc->ops->read(dev, 0, off, 4);
}

static void put(uint64_t off, uint32_t v)
{
    dev->desc->ops->write(dev, 0, off, 4, v);
}

static const struct chardev_frontend *fe(void)
{
    return &be.c.frontend[0];
}

static void receive(const char *s)
{
    fe()->receive(fe()->opaque, (const uint8_t *)s, strlen(s));
}

static size_t room(void)
{
    return fe()->room(fe()->opaque);
}

static void start(bool fifo)
{
    be.budget = SIZE_MAX;
    be.n = be.resumed = 0;
    dev->desc->ops->reset(dev);
    put(LCR_H, fifo ? 0x70 : 0x60);
    put(CR, 0x301);
    be.resumed = 0;
}

static void test_identity(void)
{
    static const uint8_t id[] = {0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    dev->desc->ops->reset(dev);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(get(0xfe0 + 4 * i), id[i]);
    CHECK_EQ(get(CR), 0x300);
    CHECK_EQ(get(IFLS), 0x12);
    CHECK_EQ(get(FR) & (FR_RXFE | FR_TXFE | FR_RXFF | FR_TXFF), FR_RXFE | FR_TXFE);
    CHECK(!memcmp(dev->desc->compatible, "arm,pl011\0arm,primecell", 24));
}

static void test_output(void)
{
    start(true);
    put(DR, 'h');
    put(DR, 'i');
    CHECK_EQ(be.n, 2);
    CHECK(!memcmp(be.out, "hi", 2));
    CHECK_EQ(get(RIS) & INT_TX, INT_TX);
    CHECK(!irq);
    put(IMSC, INT_TX);
    CHECK(irq);
    CHECK_EQ(get(MIS), INT_TX);
    put(ICR, INT_TX);
    CHECK(!irq);
}

/* A back end without room shows as a full FIFO; what is in it goes out later. */
static void test_output_waits(void)
{
    start(true);
    be.budget = 0;
    for (unsigned i = 0; i < 16; i++) {
        CHECK_EQ(get(FR) & FR_TXFF, 0);
        put(DR, 'a' + i);
    }
    CHECK_EQ(get(FR) & (FR_TXFF | FR_TXFE), FR_TXFF);
    put(DR, '!'); /* lost, as in hardware */
    put(ICR, 0x7ff);
    be.budget = 3;
    fe()->writable(fe()->opaque);
    CHECK_EQ(be.n, 3);
    CHECK_EQ(get(FR) & (FR_TXFF | FR_TXFE), 0);
    CHECK_EQ(get(RIS) & INT_TX, 0); /* 13 left, the level is 8 */
    be.budget = SIZE_MAX;
    fe()->writable(fe()->opaque);
    CHECK_EQ(be.n, 16);
    CHECK(!memcmp(be.out, "abcdefghijklmnop", 16));
    CHECK_EQ(get(RIS) & INT_TX, INT_TX);
    CHECK_EQ(get(FR) & FR_TXFE, FR_TXFE);
}

static void test_input_levels(void)
{
    start(true);
    put(IMSC, INT_RX | INT_RT);
    CHECK_EQ(room(), 16);
    receive("abc");
    CHECK_EQ(get(MIS), INT_RT); /* below the level of 8 */
    CHECK(irq);
    receive("defgh");
    CHECK_EQ(get(MIS) & INT_RX, INT_RX);
    CHECK_EQ(room(), 8);
    CHECK_EQ(get(DR), 'a');
    CHECK_EQ(get(MIS) & INT_RX, 0);
    for (int c = 'b'; c <= 'h'; c++) {
        CHECK(irq);
        CHECK_EQ(get(DR), c);
    }
    CHECK(!irq);
    CHECK_EQ(get(FR) & FR_RXFE, FR_RXFE);
    CHECK(be.resumed > 0);
    CHECK_EQ(get(DR), 0);
    /* Another level: 1/8 of 16. */
    put(IFLS, 0);
    receive("xy");
    CHECK_EQ(get(MIS) & INT_RX, INT_RX);
}

static void test_input_full(void)
{
    start(true);
    receive("0123456789abcdef");
    CHECK_EQ(room(), 0);
    CHECK_EQ(get(FR) & FR_RXFF, FR_RXFF);
    CHECK_EQ(be.resumed, 0);
    get(DR);
    CHECK_EQ(be.resumed, 1);
    CHECK_EQ(room(), 1);
}

static void test_without_fifo(void)
{
    start(false);
    put(IMSC, INT_RX);
    CHECK_EQ(room(), 1);
    receive("z");
    CHECK(irq);
    CHECK_EQ(room(), 0);
    CHECK_EQ(get(FR) & FR_RXFF, FR_RXFF);
    CHECK_EQ(get(DR), 'z');
    CHECK(!irq);
}

static void test_break(void)
{
    start(true);
    put(IMSC, INT_BE | INT_RX | INT_RT);
    fe()->brk(fe()->opaque);
    receive("s");
    CHECK_EQ(get(RIS) & INT_BE, INT_BE);
    CHECK_EQ(get(DR), 0x400);
    CHECK_EQ(get(RSR), 4);
    CHECK_EQ(get(DR), 's');
    CHECK_EQ(get(RSR), 0);
    put(ICR, INT_BE);
    CHECK(!irq);
}

static void test_loopback(void)
{
    start(true);
    put(CR, 0x381);
    put(DR, 'q');
    CHECK_EQ(be.n, 0);
    CHECK_EQ(get(DR), 'q');
}

static void test_fifo_switch_flushes(void)
{
    start(true);
    receive("abc");
    put(LCR_H, 0x60);
    CHECK_EQ(get(FR) & FR_RXFE, FR_RXFE);
    CHECK_EQ(get(RIS) & (INT_RX | INT_RT), 0);
}

static void test_odd_accesses(void)
{
    start(true);
    for (unsigned off = 0; off < 0x1000; off++) {
        dev->desc->ops->read(dev, 0, off, 1);
        if (off != CR && off != LCR_H)
            dev->desc->ops->write(dev, 0, off, 1, 0xff);
    }
    CHECK_EQ(get(0xfe0), 0x11);
}

int main(void)
{
    be.c.ops = &be_ops;
    be.budget = SIZE_MAX;
    if (pl011_create(&dev, &be.c) < 0)
        return 1;
    dev->irq = (struct irq_line){.set = on_irq};
    RUN(test_identity);
    RUN(test_output);
    RUN(test_output_waits);
    RUN(test_input_levels);
    RUN(test_input_full);
    RUN(test_without_fifo);
    RUN(test_break);
    RUN(test_loopback);
    RUN(test_fifo_switch_flushes);
    RUN(test_odd_accesses);
    dev->desc->ops->destroy(dev);
    return check_done();
}
