/* Exceptions, local APIC, IOAPIC and time: see guest.h. */
#include "tests/guest86/guest.h"

struct idt_gate {
    u16 low, selector, flags, middle;
    u32 high, reserved;
};
static struct idt_gate idt[256];
static irq_handler *handlers[256];
extern char interrupt_stubs[];
u64 trap_resume, trap_vector;
static int x2;

void irq_init(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u64)idt};

    for (u64 i = 0; i < 256 && !idt[i].selector; i++) {
        u64 at = (u64)interrupt_stubs + i * 16;

        idt[i] = (struct idt_gate){(u16)at, 8, 0x8e00, (u16)(at >> 16), 0, 0};
    }
    asm volatile("lidt %0" ::"m"(pointer));
}

void irq_set_handler(u8 vector, irq_handler *h)
{
    handlers[vector] = h;
}

void guest_interrupt(struct frame *f)
{
    u64 cr2;

    if (handlers[f->vector]) {
        handlers[f->vector](f);
    } else if (f->vector < 32 && trap_resume) {
        trap_vector = f->vector;
        f->rip = trap_resume;
        trap_resume = 0;
    } else {
        asm volatile("mov %%cr2, %0" : "=r"(cr2));
        print("FAIL interrupt: vector %lu, error 0x%lx at 0x%lx, cr2 0x%lx\n", f->vector, f->error, f->rip, cr2);
        guest_exit(1);
    }
}

static void spurious(struct frame *f)
{
    (void)f;
}

void lapic_init(int x2apic)
{
    u64 base = rdmsr(MSR_APIC_BASE);

    handlers[0xff] = spurious;
    x2 = x2apic;
    wrmsr(MSR_APIC_BASE, base | BIT(11) | (x2apic ? BIT(10) : 0));
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_SVR, 0x1ff);
}

u32 lapic_read(u32 reg)
{
    return x2 ? (u32)rdmsr(0x800 + reg / 16) : rd32(acpi.lapic + reg);
}

void lapic_write(u32 reg, u32 v)
{
    if (x2)
        wrmsr(0x800 + reg / 16, v);
    else
        wr32(acpi.lapic + reg, v);
}

u32 lapic_id(void)
{
    return x2 ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
}

void lapic_send(u32 apic_id, u32 command)
{
    if (x2) {
        wrmsr(0x800 + LAPIC_ICR / 16, (u64)apic_id << 32 | command);
        return;
    }
    wr32(acpi.lapic + LAPIC_ICR_HIGH, apic_id << 24);
    wr32(acpi.lapic + LAPIC_ICR, command);
    while (rd32(acpi.lapic + LAPIC_ICR) & BIT(12)) /* delivery status */
        cpu_relax();
}

u32 ioapic_read(u32 reg)
{
    wr32(acpi.ioapic, reg);
    return rd32(acpi.ioapic + 0x10);
}

void ioapic_write(u32 reg, u32 v)
{
    wr32(acpi.ioapic, reg);
    wr32(acpi.ioapic + 0x10, v);
}

void ioapic_route(u32 gsi, u64 entry)
{
    u32 reg = 0x10 + 2 * (gsi - acpi.ioapic_gsi);

    ioapic_write(reg, IOAPIC_MASKED);
    ioapic_write(reg + 1, (u32)(entry >> 32));
    ioapic_write(reg, (u32)entry);
}

/* ---- time: KVM's and the peer's local APIC timers count 1 GHz, divided by what the register says ---- */
#define LAPIC_HZ 1000000000ul

u64 tsc_per_ms(void)
{
    static u64 rate;
    u64 t0, t1;
    u32 n;

    if (rate)
        return rate;
    lapic_write(LAPIC_TIMER, LAPIC_MASKED | 0xff);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    lapic_write(LAPIC_TIMER_COUNT, ~0u);
    t0 = rdtsc();
    do {
        n = ~0u - lapic_read(LAPIC_TIMER_CURRENT);
        t1 = rdtsc();
    } while (n < LAPIC_HZ / 100);
    lapic_write(LAPIC_TIMER_COUNT, 0);
    rate = (t1 - t0) * (LAPIC_HZ / 1000) / n; /* 10 ms of cycles: no overflow */
    return rate;
}

int wait_for(volatile u64 *word, u64 value, u64 ms)
{
    u64 end = rdtsc() + ms * tsc_per_ms();

    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value && rdtsc() < end) {
        asm volatile("sti; nop; pause; cli" ::: "memory"); /* interrupts are let in behind the nop */
    }
    return __atomic_load_n(word, __ATOMIC_ACQUIRE) >= value;
}
