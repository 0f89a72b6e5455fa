/*
 * 16550A: the serial port of a PC.
 *
 * Output goes to the back end at once. What that does not take stays in the transmit FIFO, and THRE stays clear until
 * it is empty, so that a guest that looks at THRE loses nothing. Input is taken only as far as the receive FIFO has
 * room, so the sender waits.
 *
 * Interrupts: in order of priority, line status (overrun, break), received data at the trigger level, character
 * time-out below it, transmitter empty, modem status. Time does not pass here, so the time-out comes with the input.
 * Transmitter empty is an event, not a state: reading IIR while that is what it shows, or writing THR, ends it, and
 * enabling it with the FIFO empty makes it anew (drivers test for this, and start sending by it). The line is edge
 * triggered on a PC, and each change of it costs a system call under KVM: it is set only when it changes.
 */
#include "devices/uart16550.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/util.h"

enum {
    UART_DATA, /* RBR and THR; divisor latch low with DLAB */
    UART_IER,  /* divisor latch high with DLAB */
    UART_IIR,  /* written: FCR */
    UART_LCR,
    UART_MCR,
    UART_LSR,
    UART_MSR,
    UART_SCR,
};

#define UART_IER_RDI 0x01  /* received data, time-out */
#define UART_IER_THRI 0x02 /* transmitter empty */
#define UART_IER_RLSI 0x04 /* line status */
#define UART_IER_MSI 0x08  /* modem status */
#define UART_IER_ALL 0x0f

#define UART_IIR_MSI 0x00
#define UART_IIR_NONE 0x01
#define UART_IIR_THRI 0x02
#define UART_IIR_RDI 0x04
#define UART_IIR_RLSI 0x06
#define UART_IIR_TIMEOUT 0x0c
#define UART_IIR_FIFO 0xc0

#define UART_FCR_ENABLE 0x01
#define UART_FCR_CLEAR_RX 0x02
#define UART_FCR_CLEAR_TX 0x04
#define UART_FCR_DMA 0x08
#define UART_FCR_TRIGGER 0xc0

#define UART_LCR_DLAB 0x80

#define UART_MCR_DTR 0x01
#define UART_MCR_RTS 0x02
#define UART_MCR_OUT1 0x04
#define UART_MCR_OUT2 0x08
#define UART_MCR_LOOP 0x10
#define UART_MCR_ALL 0x1f

#define UART_LSR_DR 0x01
#define UART_LSR_OE 0x02
#define UART_LSR_BI 0x10
#define UART_LSR_THRE 0x20
#define UART_LSR_TEMT 0x40
#define UART_LSR_FIFO_ERROR 0x80
#define UART_LSR_ERRORS 0x1e

#define UART_MSR_TERI 0x04 /* the ring indicator went off */
#define UART_MSR_CTS 0x10
#define UART_MSR_DSR 0x20
#define UART_MSR_RI 0x40
#define UART_MSR_DCD 0x80

#define UART_DIVISOR_RESET 12 /* 9600 baud; no line speed is simulated */
#define UART_FIFO 16

struct uart16550 {
    struct device dev;
    struct chardev *chr;
    uint16_t rx[UART_FIFO]; /* characters, their LSR error bits above */
    unsigned rx_head, rx_count;
    uint8_t tx[UART_FIFO]; /* what the back end did not take */
    unsigned tx_head, tx_count;
    uint16_t divisor;
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t msr_delta; /* low half of MSR: what changed since it was read */
    bool overrun;
    bool thr_event; /* the transmitter became empty, and nobody has seen it yet */
    bool line;      /* as the interrupt controller knows it */
};

static struct uart16550 *uart_of(struct device *d)
{
    return container_of(d, struct uart16550, dev);
}

static unsigned uart_depth(const struct uart16550 *u)
{
    return u->fcr & UART_FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned uart_trigger(const struct uart16550 *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & UART_FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* ---- interrupts ---- */

/* LSR as it reads. Errors are those of the character that is read next. */
static uint8_t uart_lsr(const struct uart16550 *u)
{
    uint8_t v = u->overrun ? UART_LSR_OE : 0;

    if (u->rx_count)
        v |= UART_LSR_DR | (u->rx[u->rx_head] >> 8 & UART_LSR_ERRORS);
    if (u->tx_count == 0)
        v |= UART_LSR_THRE | UART_LSR_TEMT;
    if (u->fcr & UART_FCR_ENABLE)
        for (unsigned i = 0; i < u->rx_count; i++)
            if (u->rx[(u->rx_head + i) % UART_FIFO] >> 8)
                v |= UART_LSR_FIFO_ERROR;
    return v;
}

/* The pending interrupt of the highest priority, as IIR shows it. */
static uint8_t uart_pending(const struct uart16550 *u)
{
    if (u->ier & UART_IER_RLSI && uart_lsr(u) & UART_LSR_ERRORS)
        return UART_IIR_RLSI;
    if (u->ier & UART_IER_RDI && u->rx_count)
        return u->rx_count >= uart_trigger(u) ? UART_IIR_RDI : UART_IIR_TIMEOUT;
    if (u->ier & UART_IER_THRI && u->thr_event)
        return UART_IIR_THRI;
    if (u->ier & UART_IER_MSI && u->msr_delta)
        return UART_IIR_MSI;
    return UART_IIR_NONE;
}

static void uart_update(struct uart16550 *u)
{
    bool level = uart_pending(u) != UART_IIR_NONE;

    if (level != u->line) {
        u->line = level;
        irq_set(&u->dev.irq, level);
    }
}

/* After a reset or a load nobody knows what the interrupt controller holds. */
static void uart_update_anyway(struct uart16550 *u)
{
    u->line = uart_pending(u) != UART_IIR_NONE;
    irq_set(&u->dev.irq, u->line);
}

/* ---- receiver ---- */

static void uart_rx_put(struct uart16550 *u, uint16_t v)
{
    if (u->rx_count == uart_depth(u)) {
        u->overrun = true;
        return;
    }
    u->rx[(u->rx_head + u->rx_count++) % UART_FIFO] = v;
}

static uint8_t uart_rx_get(struct uart16550 *u)
{
    bool was_full = u->rx_count == uart_depth(u);
    uint8_t c;

    if (u->rx_count == 0)
        return 0;
    c = (uint8_t)u->rx[u->rx_head];
    u->rx_head = (u->rx_head + 1) % UART_FIFO;
    u->rx_count--;
    uart_update(u);
    /* Once per FIFO, not per character: either it was full, or it is empty now. */
    if (was_full || u->rx_count == 0)
        chardev_resume(u->chr);
    return c;
}

static void uart_rx_flush(struct uart16550 *u)
{
    u->rx_head = u->rx_count = 0;
    chardev_resume(u->chr);
}

/* ---- transmitter ---- */

/* FIFO to back end. */
static void uart_tx_drain(struct uart16550 *u)
{
    while (u->tx_count) {
        if (chardev_write(u->chr, &u->tx[u->tx_head], 1) == 0)
            return;
        u->tx_head = (u->tx_head + 1) % UART_FIFO;
        u->tx_count--;
    }
}

static void uart_tx_flush(struct uart16550 *u)
{
    uart_tx_drain(u);
    u->tx_head = u->tx_count = 0;
    u->thr_event = true;
}

static void uart_tx_put(struct uart16550 *u, uint8_t c)
{
    /* The line falls before it rises again: an edge for each time the transmitter becomes empty. */
    u->thr_event = false;
    uart_update(u);
    if (u->mcr & UART_MCR_LOOP) {
        uart_rx_put(u, c);
    } else if (u->tx_count || chardev_write(u->chr, &c, 1) == 0) {
        if (u->tx_count < uart_depth(u))
            u->tx[(u->tx_head + u->tx_count++) % UART_FIFO] = c;
        uart_tx_drain(u);
    }
    u->thr_event = u->tx_count == 0;
}

/* ---- the back end's calls, on the loop thread ---- */

static size_t uart_room(void *opaque)
{
    struct uart16550 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    size_t n = u->mcr & UART_MCR_LOOP ? 0 : uart_depth(u) - u->rx_count;
    pthread_mutex_unlock(&u->dev.lock);
    return n;
}

static void uart_receive(void *opaque, const uint8_t *p, size_t len)
{
    struct uart16550 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    for (size_t i = 0; i < len; i++)
        uart_rx_put(u, p[i]);
    uart_update(u);
    pthread_mutex_unlock(&u->dev.lock);
}

static void uart_break(void *opaque)
{
    struct uart16550 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    uart_rx_put(u, UART_LSR_BI << 8);
    uart_update(u);
    pthread_mutex_unlock(&u->dev.lock);
}

static void uart_writable(void *opaque)
{
    struct uart16550 *u = opaque;

    pthread_mutex_lock(&u->dev.lock);
    if (u->tx_count) {
        uart_tx_drain(u);
        u->thr_event = u->tx_count == 0;
        uart_update(u);
    }
    pthread_mutex_unlock(&u->dev.lock);
}

/* ---- registers ---- */

/* The modem's lines: a peer that is always ready, or our own outputs in loop-back. */
static uint8_t uart_modem_lines(uint8_t mcr)
{
    uint8_t v = 0;

    if (!(mcr & UART_MCR_LOOP))
        return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
    if (mcr & UART_MCR_RTS)
        v |= UART_MSR_CTS;
    if (mcr & UART_MCR_DTR)
        v |= UART_MSR_DSR;
    if (mcr & UART_MCR_OUT1)
        v |= UART_MSR_RI;
    if (mcr & UART_MCR_OUT2)
        v |= UART_MSR_DCD;
    return v;
}

static uint8_t uart_read_iir(struct uart16550 *u)
{
    uint8_t v = uart_pending(u);

    if (v == UART_IIR_THRI) {
        u->thr_event = false;
        uart_update(u);
    }
    return v | (u->fcr & UART_FCR_ENABLE ? UART_IIR_FIFO : 0);
}

static uint8_t uart_read_lsr(struct uart16550 *u)
{
    uint8_t v = uart_lsr(u);

    if (v & UART_LSR_ERRORS) {
        u->overrun = false;
        if (u->rx_count)
            u->rx[u->rx_head] &= 0xff;
        uart_update(u);
    }
    return v;
}

static uint8_t uart_read_msr(struct uart16550 *u)
{
    uint8_t v = uart_modem_lines(u->mcr) | u->msr_delta;

    if (u->msr_delta) {
        u->msr_delta = 0;
        uart_update(u);
    }
    return v;
}

static uint64_t uart_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct uart16550 *u = uart_of(d);
    bool dlab = u->lcr & UART_LCR_DLAB;

    (void)cpu;
    (void)size;
    switch (off) {
    case UART_DATA: return dlab ? u->divisor & 0xff : uart_rx_get(u);
    case UART_IER: return dlab ? u->divisor >> 8 : u->ier;
    case UART_IIR: return uart_read_iir(u);
    case UART_LCR: return u->lcr;
    case UART_MCR: return u->mcr;
    case UART_LSR: return uart_read_lsr(u);
    case UART_MSR: return uart_read_msr(u);
    default: return u->scr;
    }
}

static void uart_write_ier(struct uart16550 *u, uint8_t v)
{
    uint8_t risen = v & (uint8_t)~u->ier;

    u->ier = v & UART_IER_ALL;
    if (risen & UART_IER_THRI)
        u->thr_event = u->tx_count == 0;
}

static void uart_write_fcr(struct uart16550 *u, uint8_t v)
{
    bool switched = (u->fcr ^ v) & UART_FCR_ENABLE;

    /* The other bits are taken only where the FIFOs are, or are being, enabled. */
    u->fcr = v & UART_FCR_ENABLE ? v & (UART_FCR_ENABLE | UART_FCR_DMA | UART_FCR_TRIGGER) : 0;
    if (switched || (v & UART_FCR_ENABLE && v & UART_FCR_CLEAR_RX))
        uart_rx_flush(u);
    if (switched || (v & UART_FCR_ENABLE && v & UART_FCR_CLEAR_TX))
        uart_tx_flush(u);
}

static void uart_write_mcr(struct uart16550 *u, uint8_t v)
{
    uint8_t was = uart_modem_lines(u->mcr), is, changed;

    v &= UART_MCR_ALL;
    is = uart_modem_lines(v);
    changed = was ^ is;
    /* Each delta bit lies four below its line's; the ring indicator's tells the trailing edge only. */
    u->msr_delta |= changed >> 4 & ~UART_MSR_TERI;
    if (was & changed & UART_MSR_RI)
        u->msr_delta |= UART_MSR_TERI;
    if (u->mcr & ~v & UART_MCR_LOOP)
        chardev_resume(u->chr);
    u->mcr = v;
}

static void uart_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct uart16550 *u = uart_of(d);
    bool dlab = u->lcr & UART_LCR_DLAB;
    uint8_t v = (uint8_t)val;

    (void)cpu;
    (void)size;
    switch (off) {
    case UART_DATA:
        if (dlab)
            u->divisor = (u->divisor & 0xff00) | v;
        else
            uart_tx_put(u, v);
        break;
    case UART_IER:
        if (dlab)
            u->divisor = (uint16_t)(v << 8) | (u->divisor & 0xff);
        else
            uart_write_ier(u, v);
        break;
    case UART_IIR: uart_write_fcr(u, v); break;
    case UART_LCR: u->lcr = v; break;
    case UART_MCR: uart_write_mcr(u, v); break;
    case UART_SCR: u->scr = v; break;
    default: break; /* LSR and MSR are for factory tests */
    }
    uart_update(u);
}

/* Registers as master reset leaves them; the FIFOs are the caller's. */
static void uart_init_registers(struct uart16550 *u)
{
    u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->msr_delta = 0;
    u->divisor = UART_DIVISOR_RESET;
    u->overrun = false;
    u->thr_event = true;
}

static void uart_reset(struct device *d)
{
    struct uart16550 *u = uart_of(d);

    uart_tx_flush(u);
    u->rx_head = u->rx_count = 0;
    uart_init_registers(u);
    uart_update_anyway(u);
    chardev_resume(u->chr);
}

static void uart_save(struct device *d, struct state_writer *w)
{
    struct uart16550 *u = uart_of(d);
    const uint8_t regs[] = {u->ier, u->fcr, u->lcr, u->mcr, u->scr, u->msr_delta, u->overrun, u->thr_event};

    state_put(w, regs, sizeof(regs));
    state_put_u16(w, u->divisor);
    state_put_u8(w, (uint8_t)u->rx_count);
    for (unsigned i = 0; i < u->rx_count; i++)
        state_put_u16(w, u->rx[(u->rx_head + i) % UART_FIFO]);
    state_put_u8(w, (uint8_t)u->tx_count);
    for (unsigned i = 0; i < u->tx_count; i++)
        state_put_u8(w, u->tx[(u->tx_head + i) % UART_FIFO]);
}

static int uart_load(struct device *d, struct state_reader *r)
{
    struct uart16550 *u = uart_of(d);
    uint8_t regs[8];

    u->rx_head = u->rx_count = u->tx_head = u->tx_count = 0;
    state_get(r, regs, sizeof(regs));
    u->ier = regs[0] & UART_IER_ALL;
    u->fcr = regs[1] & UART_FCR_ENABLE ? regs[1] & (UART_FCR_ENABLE | UART_FCR_DMA | UART_FCR_TRIGGER) : 0;
    u->lcr = regs[2];
    u->mcr = regs[3] & UART_MCR_ALL;
    u->scr = regs[4];
    u->msr_delta = regs[5] & 0xf;
    u->overrun = regs[6];
    u->thr_event = regs[7];
    u->divisor = state_get_u16(r);
    unsigned n = state_get_u8(r);
    if (n > uart_depth(u))
        return -EINVAL;
    for (u->rx_count = 0; u->rx_count < n; u->rx_count++)
        u->rx[u->rx_count] = state_get_u16(r) & (UART_LSR_ERRORS << 8 | 0xff);
    n = state_get_u8(r);
    if (n > uart_depth(u))
        return -EINVAL;
    for (u->tx_count = 0; u->tx_count < n; u->tx_count++)
        u->tx[u->tx_count] = state_get_u8(r);
    if (u->tx_count) {
        uart_tx_drain(u);
        u->thr_event = u->tx_count == 0;
    }
    uart_update_anyway(u);
    chardev_resume(u->chr);
    return 0;
}

static void uart_destroy(struct device *d)
{
    uart_tx_drain(uart_of(d));
    pthread_mutex_destroy(&d->lock);
    free(uart_of(d));
}

static const struct device_ops uart_ops = {
    .read = uart_read,
    .write = uart_write,
    .reset = uart_reset,
    .save = uart_save,
    .load = uart_load,
    .destroy = uart_destroy,
};

static const struct device_desc uart_desc = {
    .name = "uart16550",
    .compatible = "ns16550a",
    .size = 8,
    .min_access = 1,
    .max_access = 1,
    .ops = &uart_ops,
};

int uart16550_create(struct device **out, struct chardev *c)
{
    struct uart16550 *u = calloc(1, sizeof(*u));

    if (!u)
        return -ENOMEM;
    device_init(&u->dev, &uart_desc);
    u->chr = c;
    uart_init_registers(u);
    chardev_set_frontend(c, &(struct chardev_frontend){
                                .room = uart_room,
                                .receive = uart_receive,
                                .brk = uart_break,
                                .writable = uart_writable,
                                .opaque = u,
                            });
    *out = &u->dev;
    return 0;
}
