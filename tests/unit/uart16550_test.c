/*
 * The 16550A: what drivers probe, FIFOs, each interrupt and how it ends, the save stream; the test plays the back end.
 */
#include "devices/uart16550.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/chardev_int.h"
#include "tests/check.h"
#include "vmm/base/util.h"

/* Registers. */
#define RBR 0
#define THR 0
#define IER 1
#define IIR 2
#define FCR 2
#define LCR 3
#define MCR 4
#define LSR 5
#define MSR 6
#define SCR 7

#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_BI 0x10
#define LSR_EMPTY 0x60
#define LSR_FIFO_ERROR 0x80

static struct device *dev;
static bool irq;
static unsigned edges;

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
    edges += level && !irq;
    irq = level;
}

static uint8_t get(uint64_t off)
{
    return (uint8_t)dev->desc->ops->read(dev, 0, off, 1);
}

static void put(uint64_t off, uint8_t v)
{
    dev->desc->ops->write(dev, 0, off, 1, v);
}

static const struct chardev_frontend *fe(void)
{
    return &be.c.frontend[be.c.nfrontends - 1];
}

static void receive(const char *s)
{
    fe()->receive(fe()->opaque, (const uint8_t *)s, strlen(s));
}

static size_t room(void)
{
    return fe()->room(fe()->opaque);
}

static void start(uint8_t fcr)
{
    be.budget = SIZE_MAX;
    be.n = be.resumed = 0;
    dev->desc->ops->reset(dev);
    put(LCR, 0x03);
    put(FCR, fcr);
    edges = 0;
    be.resumed = 0;
}

static void test_reset_values(void)
{
    start(0);
    dev->desc->ops->reset(dev);
    CHECK_EQ(get(IER), 0);
    CHECK_EQ(get(IIR), 0x01);
    CHECK_EQ(get(LCR), 0);
    CHECK_EQ(get(MCR), 0);
    CHECK_EQ(get(LSR), LSR_EMPTY);
    CHECK_EQ(get(MSR), 0xb0);
    CHECK_EQ(dev->desc->size, 8);
    put(LCR, 0x80);
    CHECK_EQ(get(0), 12);
    CHECK_EQ(get(1), 0);
}

/* The questions that Linux's 8250 driver asks to tell a 16550A from its relatives (8250_port.c). */
static void test_probe(void)
{
    start(0);
    put(IER, 0);
    CHECK_EQ(get(IER), 0);
    put(IER, 0xff);
    CHECK_EQ(get(IER), 0x0f); /* no XScale, no sleep mode */
    put(IER, 0);
    put(MCR, 0x10 | 0x0a); /* loop-back, OUT2 and RTS */
    CHECK_EQ(get(MSR) & 0xf0, 0x90);
    put(MCR, 0);
    put(LCR, 0xbf);
    put(2, 0); /* EFR of a 16650 */
    put(LCR, 0);
    put(FCR, 0x01);
    CHECK_EQ(get(IIR) >> 6, 3);
    put(LCR, 0x80);
    CHECK(get(2) != 0); /* would be EFR */
    put(LCR, 0xbf);
    CHECK(get(2) != 0);
    put(LCR, 0);
    put(FCR, 0x01 | 0x20); /* 64-byte FIFO of a 16750 */
    CHECK_EQ(get(IIR) >> 5, 6);
    put(FCR, 0);
    CHECK_EQ(get(IIR), 0x01);
    put(SCR, 0xa5);
    CHECK_EQ(get(SCR), 0xa5);
    put(LCR, 0x80);
    put(0, 0x34);
    put(1, 0x12);
    CHECK_EQ(get(0), 0x34);
    CHECK_EQ(get(1), 0x12);
    put(LCR, 0x03);
    CHECK_EQ(get(IER), 0);
    CHECK_EQ(be.n, 0);
}

/* Enabling the transmitter's interrupt raises it each time, reading IIR ends it: the driver's test for broken chips. */
static void test_thre_rearms(void)
{
    start(0xc1);
    put(IER, 0x02);
    CHECK(irq);
    CHECK_EQ(get(IIR), 0xc2);
    CHECK(!irq);
    CHECK_EQ(get(IIR), 0xc1);
    put(IER, 0x02); /* already enabled: nothing new */
    CHECK(!irq);
    put(IER, 0);
    put(IER, 0x02);
    CHECK(irq);
    CHECK_EQ(get(IIR), 0xc2);
    /* Each character sent makes an edge of its own, also where the last was not seen. */
    edges = 0;
    put(THR, 'a');
    CHECK(irq);
    put(THR, 'b');
    CHECK(irq);
    CHECK_EQ(edges, 2);
    CHECK(!memcmp(be.out, "ab", 2));
    put(IER, 0);
    CHECK(!irq);
}

/* A back end without room shows as a transmitter that is not empty; nothing is lost. */
static void test_output_waits(void)
{
    start(0xc1);
    put(IER, 0x02);
    get(IIR);
    be.budget = 0;
    for (unsigned i = 0; i < 16; i++)
        put(THR, 'a' + i);
    CHECK_EQ(get(LSR) & LSR_EMPTY, 0);
    CHECK(!irq);
    put(THR, '!'); /* lost, as in hardware: THRE was clear */
    be.budget = 3;
    fe()->writable(fe()->opaque);
    CHECK_EQ(be.n, 3);
    CHECK_EQ(get(LSR) & LSR_EMPTY, 0);
    CHECK(!irq);
    put(IER, 0);
    put(IER, 0x02); /* not empty: enabling is no event */
    CHECK(!irq);
    be.budget = SIZE_MAX;
    fe()->writable(fe()->opaque);
    CHECK_EQ(be.n, 16);
    CHECK(!memcmp(be.out, "abcdefghijklmnop", 16));
    CHECK_EQ(get(LSR) & LSR_EMPTY, LSR_EMPTY);
    CHECK(irq);
    CHECK_EQ(get(IIR), 0xc2);
}

static void test_input_levels(void)
{
    static const unsigned level[] = {1, 4, 8, 14};

    for (unsigned t = 0; t < 4; t++) {
        start((uint8_t)(0x01 | t << 6));
        put(IER, 0x01);
        CHECK_EQ(room(), 16);
        for (unsigned i = 1; i <= 16; i++) {
            receive("x");
            CHECK(irq);
            CHECK_EQ(get(IIR), i >= level[t] ? 0xc4 : 0xcc);
        }
        CHECK_EQ(room(), 0);
        for (unsigned i = 16; i > 0; i--) {
            CHECK_EQ(get(IIR), i >= level[t] ? 0xc4 : 0xcc);
            CHECK_EQ(get(LSR) & LSR_DR, LSR_DR);
            CHECK_EQ(get(RBR), 'x');
            /* The sender is called back once when there is room again, and once when all is read. */
            CHECK_EQ(be.resumed, i > 1 ? 1 : 2);
        }
        CHECK(!irq);
        CHECK_EQ(get(IIR), 0xc1);
        CHECK_EQ(get(LSR), LSR_EMPTY);
        CHECK_EQ(get(RBR), 0);
    }
}

static void test_input_order(void)
{
    start(0x01);
    receive("hel");
    CHECK_EQ(get(RBR), 'h');
    receive("lo");
    for (const char *p = "ello"; *p; p++)
        CHECK_EQ(get(RBR), *p);
}

static void test_without_fifo(void)
{
    start(0);
    put(IER, 0x01);
    CHECK_EQ(room(), 1);
    receive("z");
    CHECK(irq);
    CHECK_EQ(get(IIR), 0x04);
    CHECK_EQ(room(), 0);
    CHECK_EQ(get(RBR), 'z');
    CHECK(!irq);
    be.budget = 0;
    put(THR, 'q');
    CHECK_EQ(get(LSR) & LSR_EMPTY, 0);
    be.budget = 1;
    fe()->writable(fe()->opaque);
    CHECK_EQ(be.out[0], 'q');
}

static void test_overrun(void)
{
    start(0x01);
    put(IER, 0x04);
    receive("0123456789abcdef");
    CHECK(!irq);
    receive("g");
    CHECK(irq);
    CHECK_EQ(get(IIR), 0xc6);
    CHECK_EQ(get(LSR) & (LSR_DR | LSR_OE), LSR_DR | LSR_OE);
    CHECK(!irq);
    CHECK_EQ(get(LSR) & LSR_OE, 0);
    CHECK_EQ(get(RBR), '0');
}

/* A break is a zero character that carries its error until LSR is read, when it is its turn. */
static void test_break(void)
{
    start(0x01);
    put(IER, 0x05);
    receive("a");
    fe()->brk(fe()->opaque);
    receive("s");
    CHECK_EQ(get(LSR), LSR_EMPTY | LSR_DR | LSR_FIFO_ERROR);
    CHECK_EQ(get(IIR), 0xc4);
    CHECK_EQ(get(RBR), 'a');
    CHECK_EQ(get(IIR), 0xc6);
    CHECK_EQ(get(LSR), LSR_EMPTY | LSR_DR | LSR_BI | LSR_FIFO_ERROR);
    CHECK_EQ(get(LSR), LSR_EMPTY | LSR_DR);
    CHECK_EQ(get(IIR), 0xc4);
    CHECK_EQ(get(RBR), 0);
    CHECK_EQ(get(RBR), 's');
    CHECK(!irq);
}

static void test_priorities(void)
{
    start(0x01);
    put(IER, 0x0f);
    CHECK_EQ(get(IIR), 0xc2);
    put(MCR, 0x10); /* loop-back with all outputs off: CTS, DSR and DCD fall */
    CHECK_EQ(get(IIR), 0xc0);
    CHECK_EQ(get(MSR), 0x0b);
    CHECK_EQ(get(MSR), 0);
    CHECK(!irq);
    put(THR, 'l');
    CHECK_EQ(be.n, 0);
    CHECK_EQ(get(IIR), 0xc4); /* data before the transmitter */
    CHECK_EQ(get(RBR), 'l');
    CHECK_EQ(get(IIR), 0xc2);
    CHECK_EQ(get(IIR), 0xc1);
    put(MCR, 0x14); /* RI comes: no delta; goes: TERI */
    CHECK_EQ(get(MSR), 0x40);
    put(MCR, 0x10);
    CHECK_EQ(get(MSR), 0x04);
    CHECK_EQ(room(), 0);
    be.resumed = 0;
    put(MCR, 0);
    CHECK_EQ(be.resumed, 1);
    CHECK_EQ(room(), 16);
}

static void test_fifo_clear(void)
{
    start(0x01);
    put(IER, 0x01);
    receive("abc");
    put(FCR, 0x03);
    CHECK_EQ(get(LSR) & LSR_DR, 0);
    CHECK(!irq);
    receive("abc");
    put(FCR, 0x00); /* switched off */
    CHECK_EQ(get(LSR) & LSR_DR, 0);
    be.budget = 0;
    put(FCR, 0x01);
    put(THR, 'x');
    put(FCR, 0x05);
    CHECK_EQ(get(LSR) & LSR_EMPTY, LSR_EMPTY);
    be.budget = SIZE_MAX;
    fe()->writable(fe()->opaque);
    CHECK_EQ(be.n, 0);
}

/* The line is set when it changes, and not at every access: a call costs a system call. */
static void test_line_changes_only(void)
{
    start(0x01);
    put(IER, 0x01);
    receive("abcdefgh");
    CHECK_EQ(edges, 1);
    for (unsigned i = 0; i < 7; i++)
        get(RBR);
    CHECK_EQ(edges, 1);
    CHECK(irq);
    get(RBR);
    CHECK(!irq);
}

static int stream(void)
{
    return memfd_create("state", MFD_CLOEXEC);
}

static void test_save_and_load(void)
{
    struct state_writer *w;
    struct state_reader *r;
    uint32_t version;
    int fd = stream();

    CHECK(fd >= 0);
    start(0x81);
    put(IER, 0x07);
    put(MCR, 0x0b);
    put(SCR, 0x77);
    get(IIR);
    receive("in");
    fe()->brk(fe()->opaque);
    be.budget = 0;
    put(THR, 'o');
    put(THR, 'k');
    CHECK(state_writer_open(&w, fd) == 0);
    state_begin(w, dev->desc->name, 1);
    dev->desc->ops->save(dev, w);
    state_end(w);
    CHECK(state_writer_finish(w) == 0);

    start(0);
    be.n = 0;
    CHECK(!irq);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK(state_reader_open(&r, fd) == 0);
    CHECK(state_enter(r, dev->desc->name, &version) == 0);
    be.budget = 1;
    CHECK(dev->desc->ops->load(dev, r) == 0);
    CHECK(state_leave(r) == 0);
    CHECK(state_reader_finish(r) == 0);
    CHECK(irq);
    CHECK_EQ(be.n, 1);
    CHECK_EQ(get(LSR), LSR_DR | LSR_FIFO_ERROR);
    CHECK_EQ(get(IIR), 0xcc);
    CHECK_EQ(get(IER), 7);
    CHECK_EQ(get(MCR), 0x0b);
    CHECK_EQ(get(SCR), 0x77);
    be.budget = SIZE_MAX;
    fe()->writable(fe()->opaque);
    CHECK(!memcmp(be.out, "ok", 2));
    CHECK_EQ(get(RBR), 'i');
    CHECK_EQ(get(RBR), 'n');
    CHECK_EQ(get(LSR) & LSR_BI, LSR_BI);
    close(fd);
}

/* Streams that are not ours: any byte may say anything. */
static void test_load_nonsense(void)
{
    for (unsigned seed = 0; seed < 512; seed++) {
        struct state_writer *w;
        struct state_reader *r;
        uint32_t version;
        int fd = stream();

        CHECK(state_writer_open(&w, fd) == 0);
        state_begin(w, "uart16550", 1);
        for (unsigned i = 0; i < 64; i++)
            state_put_u8(w, (uint8_t)(seed * 37 + i * (seed | 1)));
        state_end(w);
        CHECK(state_writer_finish(w) == 0);
        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
        CHECK(state_reader_open(&r, fd) == 0);
        CHECK(state_enter(r, "uart16550", &version) == 0);
        int rc = dev->desc->ops->load(dev, r);
        CHECK(rc == 0 || rc == -EINVAL);
        (void)state_reader_finish(r);
        close(fd);
        CHECK(room() <= 16);
        put(LCR, 0); /* DLAB may be set */
        for (unsigned i = 0; i < 20; i++)
            get(RBR);
        CHECK_EQ(get(LSR) & LSR_DR, 0);
    }
}

static void test_any_access(void)
{
    uint32_t x = 1;

    start(0);
    for (unsigned i = 0; i < 100000; i++) {
        x = x * 1103515245 + 12345;
        if (x >> 31)
            put(x >> 8 & 7, (uint8_t)(x >> 16));
        else
            get(x >> 8 & 7);
        if ((x >> 20 & 7) == 0 && room() > 0)
            receive("r");
        be.n = 0;
        be.budget = x >> 24 & 3;
        CHECK(room() <= 16);
    }
}

int main(void)
{
    be.c.ops = &be_ops;
    be.budget = SIZE_MAX;
    if (uart16550_create(&dev, &be.c) < 0)
        return 1;
    dev->irq = (struct irq_line){.set = on_irq};
    RUN(test_reset_values);
    RUN(test_probe);
    RUN(test_thre_rearms);
    RUN(test_output_waits);
    RUN(test_input_levels);
    RUN(test_input_order);
    RUN(test_without_fifo);
    RUN(test_overrun);
    RUN(test_break);
    RUN(test_priorities);
    RUN(test_fifo_clear);
    RUN(test_line_changes_only);
    RUN(test_save_and_load);
    RUN(test_load_nonsense);
    RUN(test_any_access);
    dev->desc->ops->destroy(dev);
    return check_done();
}
