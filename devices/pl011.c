/*
 * PL011 UART (Arm DDI 0183).
 *
 * Characters move at once: a byte written to DR goes to the back end, and while that has no room into the transmit
 * FIFO, which then fills and shows as TXFF. Input is taken from the back end as the receive FIFO has room. Baud rate
 * and line settings are stored and have no effect; as on QEMU's `virt`, the UART also works before CR enables it,
 * because much bare-metal code counts on that.
 *
 * Interrupts are latched by events, as in hardware: RX when the FIFO reaches its trigger level, TX when it falls
 * through its level, RT (receive time-out) when input has ended below the level. Time does not pass here, so RT comes
 * with the input.
 */
#include "devices/pl011.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/util.h"

enum {
    PL011_DR = 0x000,
    PL011_RSR = 0x004,
    PL011_FR = 0x018,
    PL011_ILPR = 0x020,
    PL011_IBRD = 0x024,
    PL011_FBRD = 0x028,
    PL011_LCR_H = 0x02c,
    PL011_CR = 0x030,
    PL011_IFLS = 0x034,
    PL011_IMSC = 0x038,
    PL011_RIS = 0x03c,
    PL011_MIS = 0x040,
    PL011_ICR = 0x044,
    PL011_DMACR = 0x048,
    PL011_ID = 0xfe0,
};

#define PL011_DR_BE 0x400 /* break */
#define PL011_DR_OE 0x800 /* overrun */
#define PL011_DR_ERRORS 0xf00

#define PL011_FR_CTS 0x001
#define PL011_FR_DSR 0x002
#define PL011_FR_DCD 0x004
#define PL011_FR_BUSY 0x008
#define PL011_FR_RXFE 0x010
#define PL011_FR_TXFF 0x020
#define PL011_FR_RXFF 0x040
#define PL011_FR_TXFE 0x080

#define PL011_LCR_H_FEN 0x10
#define PL011_CR_LBE 0x80
#define PL011_CR_RESET 0x300 /* TXE, RXE */
#define PL011_IFLS_RESET 0x12

#define PL011_INT_RX 0x010
#define PL011_INT_TX 0x020
#define PL011_INT_RT 0x040
#define PL011_INT_BE 0x200
#define PL011_INT_OE 0x400
#define PL011_INT_ALL 0x7ff

#define PL011_FIFO 16

struct pl011 {
    struct device dev;
    struct chardev *chr;
    uint16_t rx[PL011_FIFO]; /* characters with their error bits, as DR shows them */
    unsigned rx_head, rx_count;
    uint8_t tx[PL011_FIFO]; /* what the back end did not take */
    unsigned tx_head, tx_count;
    uint32_t rsr, ilpr, ibrd, fbrd, lcr_h, cr, ifls, imsc, ris, dmacr;
};

/* PeriphID0-3, PCellID0-3: part 0x011, designer 0x41, revision 1. */
static const uint8_t pl011_id[] = {0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

static struct pl011 *pl011_of(struct device *d)
{
    return container_of(d, struct pl011, dev);
}

static void pl011_update(struct pl011 *u)
{
    irq_set(&u->dev.irq, u->ris & u->imsc);
}

/* Without FEN the FIFOs are one character deep. */
static unsigned pl011_depth(const struct pl011 *u)
{
    return u->lcr_h & PL011_LCR_H_FEN ? PL011_FIFO : 1;
}

/* A trigger level of IFLS in characters: 1/8, 1/4, 1/2, 3/4, 7/8. */
static unsigned pl011_level(const struct pl011 *u, unsigned shift)
{
    static const uint8_t level[8] = {2, 4, 8, 12, 14, 14, 14, 14};
    return u->lcr_h & PL011_LCR_H_FEN ? level[u->ifls >> shift & 7] : 1;
}

static void pl011_rx_put(struct pl011 *u, uint16_t v)
{
    if (u->rx_count == pl011_depth(u)) {
        u->rsr |= PL011_DR_OE >> 8;
        u->ris |= PL011_INT_OE;
        return;
    }
    u->rx[(u->rx_head + u->rx_count++) % PL011_FIFO] = v;
    u->ris |= u->rx_count >= pl011_level(u, 3) ? PL011_INT_RX : PL011_INT_RT;
    if (v & PL011_DR_BE)
        u->ris |= PL011_INT_BE;
}

static uint32_t pl011_rx_get(struct pl011 *u)
{
    bool was_full = u->rx_count == pl011_depth(u);

    if (u->rx_count == 0)
        return 0;
    uint16_t v = u->rx[u->rx_head];
    u->rx_head = (u->rx_head + 1) % PL011_FIFO;
    u->rx_count--;
    u->rsr = (v & PL011_DR_ERRORS) >> 8;
    if (u->rx_count < pl011_level(u, 3))
        u->ris &= ~PL011_INT_RX;
    if (u->rx_count == 0)
        u->ris &= ~PL011_INT_RT;
    pl011_update(u);
    /* Once per FIFO, not per character: either it was full, or it is empty now. */
    if (was_full || u->rx_count == 0)
        chardev_resume(u->chr);
    return v;
}

static void pl011_rx_flush(struct pl011 *u)
{
    u->rx_head = u->rx_count = 0;
    u->ris &= ~(PL011_INT_RX | PL011_INT_RT);
    chardev_resume(u->chr);
}

/* FIFO to back end. */
static void pl011_tx_drain(struct pl011 *u)
{
    while (u->tx_count) {
        if (chardev_write(u->chr, &u->tx[u->tx_head], 1) == 0)
            return;
        u->tx_head = (u->tx_head + 1) % PL011_FIFO;
        u->tx_count--;
    }
}

static void pl011_tx_put(struct pl011 *u, uint8_t c)
{
    if (u->cr & PL011_CR_LBE) {
        pl011_rx_put(u, c);
        u->ris |= PL011_INT_TX;
        return;
    }
    if (u->tx_count == 0 && chardev_write(u->chr, &c, 1) == 1) {
        u->ris |= PL011_INT_TX;
        return;
    }
    if (u->tx_count < pl011_depth(u))
        u->tx[(u->tx_head + u->tx_count++) % PL011_FIFO] = c;
    pl011_tx_drain(u);
    if (u->tx_count <= pl011_level(u, 0))
        u->ris |= PL011_INT_TX;
    else
        u->ris &= ~PL011_INT_TX;
}

/* --- the back end's calls, on the loop thread --- */

static size_t pl011_room(void *opaque)
{
    struct pl011 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    size_t n = u->cr & PL011_CR_LBE ? 0 : pl011_depth(u) - MIN(u->rx_count, pl011_depth(u));
    pthread_mutex_unlock(&u->dev.lock);
    return n;
}

static void pl011_receive(void *opaque, const uint8_t *p, size_t len)
{
    struct pl011 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    for (size_t i = 0; i < len; i++)
        pl011_rx_put(u, p[i]);
    pl011_update(u);
    pthread_mutex_unlock(&u->dev.lock);
}

static void pl011_break(void *opaque)
{
    struct pl011 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    pl011_rx_put(u, PL011_DR_BE);
    pl011_update(u);
    pthread_mutex_unlock(&u->dev.lock);
}

static void pl011_writable(void *opaque)
{
    struct pl011 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    if (u->tx_count) {
        pl011_tx_drain(u);
        if (u->tx_count <= pl011_level(u, 0))
            u->ris |= PL011_INT_TX;
        pl011_update(u);
    }
    pthread_mutex_unlock(&u->dev.lock);
}

/* --- registers --- */

static uint32_t pl011_flags(const struct pl011 *u)
{
    uint32_t v = PL011_FR_CTS | PL011_FR_DSR | PL011_FR_DCD;

    if (u->rx_count == 0)
        v |= PL011_FR_RXFE;
    if (u->rx_count >= pl011_depth(u))
        v |= PL011_FR_RXFF;
    if (u->tx_count == 0)
        v |= PL011_FR_TXFE;
    else
        v |= PL011_FR_BUSY;
    if (u->tx_count >= pl011_depth(u))
        v |= PL011_FR_TXFF;
    return v;
}

static uint64_t pl011_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct pl011 *u = pl011_of(d);

    (void)cpu;
    (void)size;
    if (off >= PL011_ID && off % 4 == 0)
        return pl011_id[(off - PL011_ID) / 4];
    switch (off) {
    case PL011_DR: return pl011_rx_get(u);
    case PL011_RSR: return u->rsr;
    case PL011_FR: return pl011_flags(u);
    case PL011_ILPR: return u->ilpr;
    case PL011_IBRD: return u->ibrd;
    case PL011_FBRD: return u->fbrd;
    case PL011_LCR_H: return u->lcr_h;
    case PL011_CR: return u->cr;
    case PL011_IFLS: return u->ifls;
    case PL011_IMSC: return u->imsc;
    case PL011_RIS: return u->ris;
    case PL011_MIS: return u->ris & u->imsc;
    case PL011_DMACR: return u->dmacr;
    default: return 0;
    }
}

static void pl011_write_lcr_h(struct pl011 *u, uint32_t v)
{
    /* Switching the FIFOs on or off empties them. */
    if ((u->lcr_h ^ v) & PL011_LCR_H_FEN) {
        pl011_tx_drain(u);
        u->tx_head = u->tx_count = 0;
        pl011_rx_flush(u);
    }
    u->lcr_h = v & 0xff;
}

static void pl011_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct pl011 *u = pl011_of(d);
    uint32_t v = (uint32_t)val;

    (void)cpu;
    (void)size;
    switch (off) {
    case PL011_DR: pl011_tx_put(u, (uint8_t)v); break;
    case PL011_RSR: u->rsr = 0; break;
    case PL011_ILPR: u->ilpr = v & 0xff; break;
    case PL011_IBRD: u->ibrd = v & 0xffff; break;
    case PL011_FBRD: u->fbrd = v & 0x3f; break;
    case PL011_LCR_H: pl011_write_lcr_h(u, v); break;
    case PL011_CR: {
        uint32_t old = u->cr;
        u->cr = v & 0xffff;
        if ((old & ~u->cr) & PL011_CR_LBE)
            chardev_resume(u->chr);
        break;
    }
    case PL011_IFLS: u->ifls = v & 0x3f; break;
    case PL011_IMSC: u->imsc = v & PL011_INT_ALL; break;
    case PL011_ICR: u->ris &= ~v; break;
    case PL011_DMACR: u->dmacr = v & 7; break;
    default: break;
    }
    pl011_update(u);
}

static void pl011_reset(struct device *d)
{
    struct pl011 *u = pl011_of(d);

    pl011_tx_drain(u);
    u->tx_head = u->tx_count = 0;
    u->rx_head = u->rx_count = 0;
    u->rsr = u->ilpr = u->ibrd = u->fbrd = u->lcr_h = u->imsc = u->ris = u->dmacr = 0;
    u->cr = PL011_CR_RESET;
    u->ifls = PL011_IFLS_RESET;
    pl011_update(u);
    chardev_resume(u->chr);
}

static void pl011_save(struct device *d, struct state_writer *w)
{
    struct pl011 *u = pl011_of(d);
    const uint32_t regs[] = {u->rsr, u->ilpr, u->ibrd, u->fbrd, u->lcr_h, u->cr, u->ifls, u->imsc, u->ris, u->dmacr};

    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        state_put_u32(w, regs[i]);
    state_put_u8(w, (uint8_t)u->rx_count);
    for (unsigned i = 0; i < u->rx_count; i++)
        state_put_u16(w, u->rx[(u->rx_head + i) % PL011_FIFO]);
    state_put_u8(w, (uint8_t)u->tx_count);
    for (unsigned i = 0; i < u->tx_count; i++)
        state_put_u8(w, u->tx[(u->tx_head + i) % PL011_FIFO]);
}

static int pl011_load(struct device *d, struct state_reader *r)
{
    struct pl011 *u = pl011_of(d);
    uint32_t *regs[] = {&u->rsr, &u->ilpr, &u->ibrd, &u->fbrd, &u->lcr_h,
                        &u->cr,  &u->ifls, &u->imsc, &u->ris,  &u->dmacr};

    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        *regs[i] = state_get_u32(r);
    u->rx_head = u->tx_head = 0;
    u->rx_count = state_get_u8(r);
    if (u->rx_count > PL011_FIFO) {
        u->rx_count = u->tx_count = 0;
        return -EINVAL;
    }
    for (unsigned i = 0; i < u->rx_count; i++)
        u->rx[i] = state_get_u16(r);
    u->tx_count = state_get_u8(r);
    if (u->tx_count > PL011_FIFO) {
        u->rx_count = u->tx_count = 0;
        return -EINVAL;
    }
    for (unsigned i = 0; i < u->tx_count; i++)
        u->tx[i] = state_get_u8(r);
    pl011_tx_drain(u);
    pl011_update(u);
    chardev_resume(u->chr);
    return 0;
}

static void pl011_destroy(struct device *d)
{
    pl011_tx_drain(pl011_of(d));
    pthread_mutex_destroy(&d->lock);
    free(pl011_of(d));
}

static const struct device_ops pl011_ops = {
    .read = pl011_read,
    .write = pl011_write,
    .reset = pl011_reset,
    .save = pl011_save,
    .load = pl011_load,
    .destroy = pl011_destroy,
};

static const struct device_desc pl011_desc = {
    .name = "pl011",
    .compatible = "arm,pl011\0arm,primecell",
    .size = 0x1000,
    .min_access = 1,
    .max_access = 4,
    .ops = &pl011_ops,
};

int pl011_create(struct device **out, struct chardev *c)
{
    struct pl011 *u = calloc(1, sizeof(*u));

    if (!u)
        return -ENOMEM;
    device_init(&u->dev, &pl011_desc);
    u->chr = c;
    u->cr = PL011_CR_RESET;
    u->ifls = PL011_IFLS_RESET;
    chardev_set_frontend(c, &(struct chardev_frontend){
                                .room = pl011_room,
                                .receive = pl011_receive,
                                .brk = pl011_break,
                                .writable = pl011_writable,
                                .opaque = u,
                            });
    *out = &u->dev;
    return 0;
}
