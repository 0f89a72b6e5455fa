/*
 * Interrupts: the generic timers, the controller's priorities, masks and pending states, software and level-triggered
 * interrupts. The same lines for GICv2 and GICv3.
 */
#include "tests/guest/guest.h"

#define PPI_VIRT 27
#define PPI_PHYS 30
#define SPI_UART 33
#define UART 0x09000000ul

static volatile unsigned got[16];
static volatile unsigned ngot;
static void (*volatile on_irq)(unsigned intid);

static int irq(struct frame *f)
{
    unsigned id;

    if ((f->vec & 0x180) != 0x80)
        return 0;
    id = gic_ack();
    if (ngot < ARRAY_SIZE(got))
        got[ngot++] = id;
    if ((id & 0x3ff) >= 1020)
        return 1;
    if (on_irq)
        on_irq(id & 0x3ff);
    gic_eoi(id);
    return 1;
}

static void irqs_on(void)
{
    asm volatile("msr daifclr, #2" ::: "memory");
}
static void irqs_off(void)
{
    asm volatile("msr daifset, #2" ::: "memory");
}

/* Lets interrupts in until `n` came, or a good while passed. */
static void wait_for(unsigned n)
{
    u64 end = mrs("cntvct_el0") + mrs("cntfrq_el0") * 2;

    irqs_on();
    while (ngot < n && mrs("cntvct_el0") < end)
        ;
    irqs_off();
}

static void show(const char *what)
{
    print("%s:", what);
    for (unsigned i = 0; i < ngot; i++)
        print(" %d", (u64)(got[i] & 0x3ff));
    print("\n");
    ngot = 0;
}

static void timer_off(unsigned id)
{
    if (id == PPI_VIRT)
        msr("cntv_ctl_el0", 0);
    if (id == PPI_PHYS)
        msr("cntp_ctl_el0", 0);
    isb();
}

static void fourth_off(unsigned id)
{
    if (ngot == 4)
        timer_off(id);
}

static void timers(void)
{
    u64 t0, t1, ms = mrs("cntfrq_el0") / 1000;

    on_irq = timer_off;
    gic_enable(PPI_VIRT, 0x80);
    gic_enable(PPI_PHYS, 0x80);
    for (int i = 0; i < 3; i++) {
        msr("cntv_tval_el0", ms);
        msr("cntv_ctl_el0", 1);
        wait_for(1);
        show("virtual");
        msr("cntp_cval_el0", mrs("cntpct_el0") + ms);
        msr("cntp_ctl_el0", 1);
        wait_for(1);
        show("physical");
    }
    /* WFI ends at a pending interrupt, masked or not, and not before the time. */
    msr("cntv_tval_el0", 5 * ms);
    t0 = mrs("cntvct_el0");
    msr("cntv_ctl_el0", 1);
    isb();
    while (!mrs("isr_el1"))
        asm volatile("wfi");
    t1 = mrs("cntvct_el0");
    print("wfi: early %d, istatus %x, isr %x, pending %d\n", (u64)(t1 - t0 < 5 * ms - ms / 100), mrs("cntv_ctl_el0"),
          mrs("isr_el1"), (u64)gic_pending(PPI_VIRT));
    wait_for(1);
    show("then");
    print("level gone: ctl %x isr %x pending %d\n", mrs("cntv_ctl_el0"), mrs("isr_el1"), (u64)gic_pending(PPI_VIRT));
    /* A masked timer says so and is silent. */
    msr("cntv_tval_el0", 0);
    msr("cntv_ctl_el0", 3);
    isb();
    print("masked: ctl %x isr %x\n", mrs("cntv_ctl_el0"), mrs("isr_el1"));
    msr("cntv_ctl_el0", 1);
    isb();
    wait_for(1);
    show("unmasked");
    /* CVAL and TVAL are two views. */
    msr("cntv_ctl_el0", 0);
    msr("cntv_cval_el0", mrs("cntvct_el0") + 1000000 * ms);
    print("tval: high half %x\n", mrs("cntv_tval_el0") >> 32);
    msr("cntv_tval_el0", -5l);
    u64 cv = mrs("cntv_cval_el0"), now = mrs("cntvct_el0");
    print("cval: %d\n", (u64)(cv < now && now - cv < 1000 * ms));
    /* A level that is still there comes again. */
    on_irq = fourth_off;
    msr("cntv_tval_el0", 0);
    msr("cntv_ctl_el0", 1);
    wait_for(4);
    show("again");
    gic_disable(PPI_VIRT);
    gic_disable(PPI_PHYS);
}

static void software(void)
{
    on_irq = 0;
    for (unsigned i = 0; i < 3; i++)
        gic_enable(i, 0x40 + i * 16);
    for (unsigned i = 0; i < 3; i++)
        gic_enable(40 + i, 0xa0 - i * 16);
    gic_sgi(0, 2);
    gic_sgi(0, 0);
    gic_set_pending(40);
    gic_set_pending(41);
    gic_set_pending(42);
    print("pending: %d %d %d %d\n", (u64)gic_pending(2), (u64)gic_pending(1), (u64)gic_pending(40),
          (u64)gic_pending(43));
    wait_for(5);
    show("by priority");
    /* The mask lets through what is more urgent than itself. */
    gic_pmr(0x90);
    gic_set_pending(40); /* 0xa0 */
    gic_set_pending(42); /* 0x80 */
    wait_for(1);
    show("mask 0x90");
    print("isr: %x\n", mrs("isr_el1"));
    gic_pmr(0xff);
    wait_for(1);
    show("mask 0xff");
    /* Not enabled: pending, silent. */
    gic_disable(41);
    gic_set_pending(41);
    print("disabled: pending %d isr %x\n", (u64)gic_pending(41), mrs("isr_el1"));
    gic_enable(41, 0x90);
    wait_for(1);
    show("enabled");
    print("spurious: %d\n", (u64)gic_ack() & 0x3ff);
    /* DAIF.I alone holds it. */
    gic_sgi(0, 1);
    print("held: isr %x, %d\n", mrs("isr_el1"), (u64)ngot);
    wait_for(1);
    show("released");
}

static void uart_quiet(unsigned id)
{
    if (id == SPI_UART)
        mmio_w32(UART + 0x38, 0);
}

/* Level-triggered from a device: the PL011's transmit interrupt, once a character has gone. */
static void device(void)
{
    on_irq = uart_quiet;
    gic_enable(SPI_UART, 0x80);
    print("uart\n");
    mmio_w32(UART + 0x38, 0x20);
    wait_for(1);
    show("uart");
    print("quiet: %d\n", (u64)gic_pending(SPI_UART));
    gic_disable(SPI_UART);
}

/* A more urgent interrupt interrupts the handler of another; an equal one does not. */
static void nested(unsigned id)
{
    if (id != 40)
        return;
    on_irq = 0;
    gic_set_pending(41);
    gic_set_pending(42);
    struct {
        u64 elr, spsr;
    } s = {mrs("elr_el1"), mrs("spsr_el1")};
    irqs_on();
    isb();
    for (int i = 0; i < 1000; i++)
        asm volatile("");
    irqs_off();
    msr("elr_el1", s.elr);
    msr("spsr_el1", s.spsr);
    got[ngot++] = 1000;
}

int main(void)
{
    u64 *root = pt_flat();

    mmu_on(root, pt_new());
    trap_hook = irq;
    gic_init();
    gic_cpu_init();
    timers();
    software();
    device();
    gic_enable(40, 0xa0);
    gic_enable(41, 0xa0);
    gic_enable(42, 0x40);
    on_irq = nested;
    gic_set_pending(40);
    wait_for(4);
    show("nested");
    print("end\n");
    return 0;
}
