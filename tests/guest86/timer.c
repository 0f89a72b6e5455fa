/*
 * Time: the local APIC's timer (one-shot, periodic, TSC deadline), its rate beside the TSC's, and KVM's paravirtual
 * clock (Linux's Documentation/virt/kvm/x86/msr.rst and cpuid.rst).
 *
 * Arguments: now=SECONDS, the wall clock's when the machine was started.
 */
#include "tests/guest86/guest.h"

#define VECTOR 0x60
#define LONG_MS 5000

static volatile u64 ticks;
static u64 last_tick;

static void on_tick(struct frame *f)
{
    (void)f;
    last_tick = rdtsc();
    ticks++;
    lapic_eoi();
}

static u64 us_between(u64 from, u64 to)
{
    return (to - from) * 1000 / tsc_per_ms();
}

static void test_one_shot(void)
{
    u64 t0, us;
    u32 first, second;

    ticks = 0;
    lapic_write(LAPIC_TIMER, VECTOR);
    t0 = rdtsc();
    lapic_write(LAPIC_TIMER_COUNT, 20000000);
    first = lapic_read(LAPIC_TIMER_CURRENT);
    second = lapic_read(LAPIC_TIMER_CURRENT);
    wait_for(&ticks, 1, LONG_MS);
    us = us_between(t0, last_tick);
    wait_for(&ticks, 2, 40);
    check("timer-counts", first < 20000000 && second < first, "%u then %u", first, second);
    check("timer-one-shot", ticks == 1 && us >= 19800 && us < 1000000 && !lapic_read(LAPIC_TIMER_CURRENT),
          "%lu interrupts, 20 ms took %lu us", ticks, us);
    ticks = 0;
    lapic_write(LAPIC_TIMER_COUNT, 5000000);
    lapic_write(LAPIC_TIMER_COUNT, 0);
    wait_for(&ticks, 1, 20);
    check("timer-stop", !ticks, "%lu interrupts after a count of 0", ticks);
}

static void test_periodic(void)
{
    u64 t0, us;

    ticks = 0;
    lapic_write(LAPIC_TIMER, LAPIC_PERIODIC | VECTOR);
    lapic_write(LAPIC_TIMER_DIVIDE, 0x3); /* by 16 */
    t0 = rdtsc();
    lapic_write(LAPIC_TIMER_COUNT, 5000000 / 16);
    wait_for(&ticks, 10, LONG_MS);
    us = us_between(t0, last_tick);
    lapic_write(LAPIC_TIMER, LAPIC_MASKED | VECTOR);
    lapic_write(LAPIC_TIMER_COUNT, 0);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    check("timer-periodic", ticks >= 10 && us >= 45000 && us < 2000000, "10 of 5 ms took %lu us", us);
    wait_for(&ticks, ~0ul, 100); /* some may be on their way, on a busy host for long */
    ticks = 0;
    wait_for(&ticks, 1, 20);
    check("timer-masked", !ticks, "%lu interrupts", ticks);
}

static void test_deadline(void)
{
    u64 t0, us, left;

    if (!(cpuid(1, 0).ecx & BIT(24))) {
        skip("timer-deadline", "CPUID has no TSC deadline");
        return;
    }
    ticks = 0;
    lapic_write(LAPIC_TIMER, LAPIC_DEADLINE | VECTOR);
    t0 = rdtsc();
    wrmsr(MSR_TSC_DEADLINE, t0 + 20 * tsc_per_ms());
    wait_for(&ticks, 1, LONG_MS);
    us = us_between(t0, last_tick);
    left = rdmsr(MSR_TSC_DEADLINE);
    check("timer-deadline", ticks == 1 && us >= 20000 && us < 1000000 && !left,
          "20 ms took %lu us, then the MSR is 0x%lx", us, left);
    ticks = 0;
    wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1);
    wait_for(&ticks, 1, LONG_MS);
    check("timer-deadline-past", ticks == 1, "%lu interrupts", ticks);
    lapic_write(LAPIC_TIMER, LAPIC_MASKED | VECTOR);
}

/* ---- KVM's clock ---- */
#define KVM_FEATURES 0x40000001
#define KVM_FEATURE_CLOCKSOURCE2 BIT(3)
#define KVM_FEATURE_STABLE BIT(24)
#define MSR_KVM_WALL_CLOCK 0x4b564d00
#define MSR_KVM_SYSTEM_TIME 0x4b564d01

static volatile struct {
    u32 version, pad;
    u64 tsc, system_time;
    u32 mul;
    signed char shift;
    u8 flags, pad2[2];
} pv NOINIT __attribute__((aligned(64)));
static volatile struct {
    u32 version, sec, nsec;
} wall NOINIT __attribute__((aligned(64)));

static u64 pv_ns(void)
{
    u64 ns, delta;
    u32 version;

    do {
        version = pv.version;
        asm volatile("lfence" ::: "memory");
        delta = rdtsc() - pv.tsc;
        delta = pv.shift < 0 ? delta >> -pv.shift : delta << pv.shift;
        ns = pv.system_time + (u64)((unsigned __int128)delta * pv.mul >> 32);
        asm volatile("lfence" ::: "memory");
    } while ((version & 1) || version != pv.version);
    return ns;
}

static void test_kvmclock(void)
{
    struct cpuid base = cpuid(0x40000000, 0), c;
    u64 last, now, back = 0, ns, at[4], least, most, sec, asked = arg_number("now", 0);
    u64 khz;

    if (!(cpuid(1, 0).ecx & BIT(31)) || base.ebx != 0x4b4d564b || base.eax < KVM_FEATURES) {
        skip("kvmclock", "CPUID names no KVM");
        return;
    }
    c = cpuid(KVM_FEATURES, 0);
    if (!check("kvmclock", c.eax & KVM_FEATURE_CLOCKSOURCE2, "features 0x%x", c.eax))
        return;
    fill((void *)&pv, 0, sizeof(pv));
    fill((void *)&wall, 0, sizeof(wall));
    wrmsr(MSR_KVM_SYSTEM_TIME, (u64)&pv | 1);
    wrmsr(MSR_KVM_WALL_CLOCK, (u64)&wall);
    info("version %u, mul 0x%x, shift %d, flags 0x%x, stable %u", pv.version, pv.mul, pv.shift, pv.flags,
         !!(c.eax & KVM_FEATURE_STABLE));
    check("kvmclock-page", pv.version && !(pv.version & 1) && pv.mul, "version %u", pv.version);
    last = pv_ns();
    for (unsigned i = 0; i < 2000; i++) {
        now = pv_ns();
        back += now < last;
        last = now;
    }
    check("kvmclock-monotonic", !back, "%lu of 2000 went back", back);
    /* 1e6 << 32 / mul, shifted: the TSC's rate as the clock has it, and as it was measured. */
    khz = (1000000ul << 32) / pv.mul;
    khz = pv.shift < 0 ? khz << -pv.shift : khz >> pv.shift;
    /* Each clock between readings of the other: whatever keeps the CPU from us in between counts for both. */
    at[0] = rdtsc();
    ns = pv_ns();
    at[1] = rdtsc();
    while (rdtsc() - at[1] < 50 * tsc_per_ms())
        ;
    at[2] = rdtsc();
    ns = pv_ns() - ns;
    at[3] = rdtsc();
    least = us_between(at[1], at[2]);
    most = us_between(at[0], at[3]);
    check("kvmclock-rate", ns / 1000 + least / 20 >= least && ns / 1000 <= most + most / 20,
          "%lu us, by the TSC %lu to %lu us; %lu and %lu kHz", ns / 1000, least, most, khz, tsc_per_ms());
    sec = wall.sec + (wall.nsec + pv_ns()) / 1000000000;
    check("kvmclock-wall", sec + 2 >= asked && sec < asked + 600, "%lu, started at %lu", sec, asked);
    wrmsr(MSR_KVM_SYSTEM_TIME, 0);
}

int main(void)
{
    int read = acpi_read();
    u64 last, now, back = 0;

    if (!check("acpi", read && acpi.lapic, "local APIC 0x%lx", acpi.lapic))
        return 1;
    lapic_init(0);
    irq_set_handler(VECTOR, on_tick);
    info("TSC %lu kHz by the local APIC's timer", tsc_per_ms());
    last = rdtsc();
    for (unsigned i = 0; i < 2000; i++) {
        now = rdtsc();
        back += now < last;
        last = now;
    }
    check("tsc-monotonic", !back, "%lu of 2000 went back", back);
    test_one_shot();
    test_periodic();
    test_deadline();
    test_kvmclock();
    return 0;
}
