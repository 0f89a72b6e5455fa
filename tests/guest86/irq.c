/*
 * Interrupts: the 16550's causes through the IOAPIC, masks and vectors, local APIC priorities, self IPIs, NMI, HLT.
 */
#include "tests/guest86/guest.h"

#define UART_RBR (PORT_UART + 0)
#define UART_IER (PORT_UART + 1)
#define UART_IIR (PORT_UART + 2)
#define UART_LCR (PORT_UART + 3)
#define UART_MCR (PORT_UART + 4)
#define UART_LSR (PORT_UART + 5)
#define UART_MSR (PORT_UART + 6)
#define UART_SCR (PORT_UART + 7)
#define UART_IER_RDI 1
#define UART_IER_THRI 2
#define UART_IIR_CAUSE 0x0f
#define UART_IIR_THRI 2
#define UART_LCR_8 3
#define UART_LCR_DLAB 0x80
#define UART_MCR_OUT2 8
#define UART_MCR_LOOP 0x10
#define UART_LSR_DR 1

#define VECTOR_UART 0x34
#define VECTOR_UART_OTHER 0x74
#define VECTOR_LOW 0x50
#define VECTOR_HIGH 0x90
#define SHORT_MS 20
#define LONG_MS 5000

static volatile u64 uart_count[2], low_count, high_count, nmi_count;
static volatile u64 order[2], arrived; /* low and high: which was when */
static volatile u8 uart_cause, uart_byte;

/* IIR and what it asks for: reading it ends a transmitter interrupt, taking the byte a receiver one. */
static void on_uart(struct frame *f)
{
    u8 cause = inb(UART_IIR) & UART_IIR_CAUSE;

    uart_cause = cause;
    if (cause == 4 || cause == 0xc)
        uart_byte = inb(UART_RBR);
    uart_count[f->vector == VECTOR_UART_OTHER]++;
    lapic_eoi();
}

static void on_ipi(struct frame *f)
{
    if (f->vector == VECTOR_LOW)
        low_count++;
    else
        high_count++;
    order[f->vector == VECTOR_HIGH] = ++arrived;
    lapic_eoi();
}

static void on_nmi(struct frame *f)
{
    (void)f;
    nmi_count++;
}

/* ---- the 16550 ---- */
static void test_uart_registers(void)
{
    u8 scratch, modem[2], low, high;

    outb(UART_SCR, 0xa5);
    scratch = inb(UART_SCR);
    outb(UART_LCR, UART_LCR_8 | UART_LCR_DLAB);
    outb(UART_RBR, 1);
    outb(UART_IER, 2);
    low = inb(UART_RBR);
    high = inb(UART_IER);
    outb(UART_RBR, 1); /* 115200 baud */
    outb(UART_IER, 0);
    outb(UART_LCR, UART_LCR_8);
    outb(UART_MCR, UART_MCR_LOOP | 0x0a); /* RTS, OUT2 */
    modem[0] = inb(UART_MSR) & 0xf0;
    outb(UART_MCR, UART_MCR_LOOP | 0x05); /* DTR, OUT1 */
    modem[1] = inb(UART_MSR) & 0xf0;
    outb(UART_MCR, UART_MCR_OUT2);
    check("uart-scratch", scratch == 0xa5, "0x%x", scratch);
    check("uart-divisor", low == 1 && high == 2, "0x%x%x", high, low);
    check("uart-modem", modem[0] == 0x90 && modem[1] == 0x60, "0x%x and 0x%x looped back", modem[0], modem[1]);
}

static void uart_route(u32 gsi, u64 entry)
{
    ioapic_route(gsi, (u64)lapic_id() << 56 | entry);
}

/* The transmitter is empty: enabling its interrupt makes one; returns how many came in all, within `ms`. */
static u64 uart_transmit(unsigned which, u64 ms)
{
    u64 before = uart_count[which];

    outb(UART_IER, UART_IER_THRI);
    wait_for(&uart_count[which], before + 1, ms);
    wait_for(&uart_count[which], before + 2, 2); /* no other */
    outb(UART_IER, 0);
    return uart_count[which] - before;
}

static void test_uart(u32 gsi)
{
    u64 n[4];
    u8 cause;

    irq_set_handler(VECTOR_UART, on_uart);
    irq_set_handler(VECTOR_UART_OTHER, on_uart);
    outb(UART_IER, 0);
    uart_route(gsi, VECTOR_UART);
    n[0] = uart_transmit(0, LONG_MS);
    cause = uart_cause;
    check("uart-transmit", n[0] == 1 && cause == UART_IIR_THRI, "%lu interrupts, IIR 0x%x", n[0], cause);
    n[0] = uart_transmit(0, LONG_MS);
    check("uart-transmit-again", n[0] == 1, "%lu interrupts", n[0]);
    uart_route(gsi, VECTOR_UART | IOAPIC_MASKED);
    n[0] = uart_transmit(0, SHORT_MS);
    inb(UART_IIR);
    check("ioapic-mask", n[0] == 0, "%lu interrupts", n[0]);
    uart_route(gsi, VECTOR_UART_OTHER);
    n[0] = uart_count[0];
    n[1] = uart_transmit(1, LONG_MS);
    check("ioapic-vector", uart_count[0] == n[0] && n[1] == 1, "%lu old, %lu new", uart_count[0] - n[0], n[1]);

    uart_route(gsi, VECTOR_UART);
    outb(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
    outb(UART_IER, UART_IER_RDI);
    n[0] = uart_count[0];
    outb(UART_RBR, 'p');
    wait_for(&uart_count[0], n[0] + 1, LONG_MS);
    n[1] = uart_count[0] - n[0];
    cause = inb(UART_LSR);
    outb(UART_IER, 0);
    outb(UART_MCR, UART_MCR_OUT2);
    check("uart-receive",
          n[1] == 1 && uart_byte == 'p' && (uart_cause == 4 || uart_cause == 0xc) && !(cause & UART_LSR_DR),
          "%lu interrupts, IIR 0x%x, byte 0x%x, then LSR 0x%x", n[1], uart_cause, uart_byte, cause);
    uart_route(gsi, VECTOR_UART | IOAPIC_MASKED);
}

/* ---- IOAPIC and local APIC ---- */
static void test_ioapic(void)
{
    u32 version = ioapic_read(1), pins = (version >> 16 & 0xff) + 1, open = 0;

    for (u32 i = 0; i < pins; i++)
        open += !(ioapic_read(0x10 + 2 * i) & IOAPIC_MASKED);
    check("ioapic", (version & 0xff) >= 0x11 && pins >= 24, "version 0x%x, %u pins", version & 0xff, pins);
    check("ioapic-reset", !open, "%u pins not masked", open);
}

static void test_priority(void)
{
    u64 before;

    irq_set_handler(VECTOR_LOW, on_ipi);
    irq_set_handler(VECTOR_HIGH, on_ipi);
    lapic_write(LAPIC_TPR, 0x60);
    lapic_send(lapic_id(), VECTOR_LOW);
    wait_for(&low_count, 1, 2);
    before = low_count;
    check("tpr-holds", !before && (lapic_read(LAPIC_IRR + 0x10 * (VECTOR_LOW / 32)) & BIT(VECTOR_LOW % 32)),
          "%lu interrupts, requested", before);
    lapic_send(lapic_id(), VECTOR_HIGH);
    wait_for(&high_count, 1, LONG_MS);
    lapic_write(LAPIC_TPR, 0);
    wait_for(&low_count, 1, LONG_MS);
    check("tpr-releases", low_count == 1 && high_count == 1 && order[0] == 2 && order[1] == 1,
          "the higher %lu., the lower %lu.", order[1], order[0]);
    /* Both requested with interrupts off: the higher vector first. */
    arrived = 0;
    lapic_send(lapic_id(), VECTOR_LOW);
    lapic_send(lapic_id(), VECTOR_HIGH);
    wait_for(&arrived, 2, LONG_MS);
    check("priority", order[0] == 2 && order[1] == 1, "the higher %lu., the lower %lu.", order[1], order[0]);
}

static void test_nmi(void)
{
    irq_set_handler(2, on_nmi);
    lapic_send(lapic_id(), 0x400);
    for (u64 end = rdtsc() + LONG_MS * tsc_per_ms(); !nmi_count && rdtsc() < end;)
        cpu_relax();
    check("nmi", nmi_count == 1, "%lu, with interrupts off", nmi_count);
}

/* HLT ends with an interrupt that is pending, and with one that comes: a one-shot timer. */
static void test_halt(void)
{
    u64 t0, ns;

    low_count = 0;
    lapic_send(lapic_id(), VECTOR_LOW);
    asm volatile("sti; hlt; cli" ::: "memory");
    check("halt-pending", low_count == 1, "%lu interrupts", low_count);
    lapic_write(LAPIC_TIMER, VECTOR_LOW);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    t0 = rdtsc();
    lapic_write(LAPIC_TIMER_COUNT, 20000000);
    asm volatile("sti; hlt; cli" ::: "memory");
    ns = (rdtsc() - t0) * 1000 / (tsc_per_ms() / 1000);
    check("halt-timer", low_count == 2 && ns >= 19000000 && ns < 2000000000, "%lu us", ns / 1000);
    lapic_write(LAPIC_TIMER, LAPIC_MASKED | VECTOR_LOW);
}

int main(void)
{
    u32 gsi = ~0u;
    int read = acpi_read();

    for (unsigned i = 0; i < acpi.devices; i++) {
        if (same(acpi.device[i].hid, "PNP0501", 8))
            gsi = (u32)acpi.device[i].gsi;
    }
    if (!check("acpi", read && acpi.ioapic && gsi < 24, "16550 at GSI %d", (int)gsi))
        return 1;
    test_ioapic();
    lapic_init(0);
    tsc_per_ms();
    test_uart_registers();
    test_uart(gsi);
    test_priority();
    test_nmi();
    test_halt();
    return 0;
}
