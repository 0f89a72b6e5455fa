/*
 * Several CPUs: PSCI, atomic counters by exclusives and by LSE, a lock, interrupts between CPUs, and TLB and
 * instruction-cache maintenance that reaches the others.
 */
#include "tests/guest/smp.h"

#define ROUNDS 20000ul

static volatile u64 counter __attribute__((aligned(64)));
static volatile u64 unlocked __attribute__((aligned(64)));
static volatile u64 lock __attribute__((aligned(64)));

/* ---- PSCI ---- */

static void psci_calls(void)
{
    print("version %x\n", psci(0x84000000, 0, 0, 0));
    print("features: on %x off %x system_off %x reset %x none %x\n", psci(0x8400000a, 0xc4000003, 0, 0),
          psci(0x8400000a, 0x84000002, 0, 0), psci(0x8400000a, 0x84000008, 0, 0), psci(0x8400000a, 0x84000009, 0, 0),
          psci(0x8400000a, 0x8400ffff, 0, 0));
    print("affinity: %x %x %x\n", psci(0xc4000004, 0, 0, 0), psci(0xc4000004, 1, 0, 0), psci(0xc4000004, 0x700, 0, 0));
    print("on again: %x %x\n", psci(PSCI_CPU_ON, 1, (u64)cpu_entry, 1), psci(PSCI_CPU_ON, 0, (u64)cpu_entry, 1));
    print("on none: %x\n", psci(PSCI_CPU_ON, 0x12345, (u64)cpu_entry, 1));
    print("migrate info: %x\n", psci(0x84000006, 0, 0, 0));
}

static void cpu_goes_off(u64 cpu)
{
    if (cpu == smp_n - 1) {
        store_release(&smp_finished[cpu], smp_generation);
        psci(0x84000002, 0, 0, 0);
    }
}

static void off_and_on(void)
{
    u64 last = smp_n - 1;

    smp_run(cpu_goes_off);
    while (psci(0xc4000004, last, 0, 0) == 0)
        asm volatile("yield");
    print("off: %x\n", psci(0xc4000004, last, 0, 0));
    smp_arrived = 0;
    smp_generation = 0;
    for (u64 i = 1; i < smp_n; i++)
        smp_finished[i] = 0;
    print("on: %x\n", psci(PSCI_CPU_ON, last, (u64)cpu_entry, last));
    while (load_acquire(&smp_arrived) != 1)
        asm volatile("yield");
    print("affinity: %x\n", psci(0xc4000004, last, 0, 0));
}

/* ---- atomics ---- */

static void job_exclusive(u64 cpu)
{
    (void)cpu;
    for (u64 i = 0; i < ROUNDS; i++)
        add_exclusive(&counter, 1);
}

static void job_exclusive_byte(u64 cpu)
{
    /* Neighbouring bytes of one word, one a CPU. */
    volatile u8 *p = (volatile u8 *)&counter + cpu;
    u32 v, fail;

    for (u64 i = 0; i < ROUNDS; i++)
        asm volatile("1: ldxrb %w0, %2\n add %w0, %w0, #1\n stxrb %w1, %w0, %2\n cbnz %w1, 1b"
                     : "=&r"(v), "=&r"(fail), "+Q"(*p)::"memory");
}

static void job_exclusive_pair(u64 cpu)
{
    static struct {
        u64 a, b;
    } pair __attribute__((aligned(16)));
    u64 a, b;
    u32 fail;

    (void)cpu;
    for (u64 i = 0; i < ROUNDS; i++)
        asm volatile("1: ldaxp %0, %1, %3\n add %0, %0, #1\n sub %1, %1, #1\n stlxp %w2, %0, %1, %3\n cbnz %w2, 1b"
                     : "=&r"(a), "=&r"(b), "=&r"(fail), "+Q"(pair)::"memory");
    if (a + b != 0)
        add_exclusive(&unlocked, 1);
    if (a == smp_n * ROUNDS)
        counter = a;
}

static void job_lock(u64 cpu)
{
    u64 t;

    (void)cpu;
    for (u64 i = 0; i < ROUNDS / 4; i++) {
        asm volatile("1: ldaxr %0, %1\n cbnz %0, 2f\n stxr %w0, %2, %1\n cbz %w0, 3f\n 2: yield\n b 1b\n 3:"
                     : "=&r"(t), "+Q"(lock)
                     : "r"(1ul)
                     : "memory");
        counter++; /* plain: the lock protects it */
        store_release(&lock, 0);
    }
}

#define LSE ".arch_extension lse\n"

static void job_ldadd(u64 cpu)
{
    u64 t;

    (void)cpu;
    for (u64 i = 0; i < ROUNDS; i++)
        asm volatile(LSE "ldadd %2, %0, %1" : "=r"(t), "+Q"(counter) : "r"(3ul) : "memory");
}

static void job_cas(u64 cpu)
{
    (void)cpu;
    for (u64 i = 0; i < ROUNDS; i++) {
        u64 old, seen;
        do {
            seen = old = counter;
            asm volatile(LSE "casal %0, %2, %1" : "+r"(seen), "+Q"(counter) : "r"(old + 5) : "memory");
        } while (seen != old);
    }
}

/* A token that only one CPU can hold is handed round by SWP. */
static void job_swp(u64 cpu)
{
    (void)cpu;
    for (u64 i = 0; i < ROUNDS / 4; i++) {
        u64 t;
        do
            asm volatile(LSE "swpa xzr, %0, %1" : "=r"(t), "+Q"(lock)::"memory");
        while (t == 0);
        counter++;
        asm volatile(LSE "swpl %0, xzr, %1" : "+r"(t), "+Q"(lock)::"memory");
    }
}

static void job_bits(u64 cpu)
{
    for (u64 i = 0; i < ROUNDS; i++) {
        asm volatile(LSE "stset %1, %0" : "+Q"(counter) : "r"(1ul << cpu) : "memory");
        asm volatile(LSE "stclr %1, %0" : "+Q"(counter) : "r"(1ul << cpu) : "memory");
        asm volatile(LSE "steor %1, %0" : "+Q"(counter) : "r"(256ul << cpu) : "memory");
        asm volatile(LSE "stsmax %1, %0" : "+Q"(unlocked) : "r"(i * SMP_MAX + cpu) : "memory");
    }
}

static void count(const char *name, void (*job)(u64))
{
    counter = unlocked = lock = 0;
    smp_run(job);
    print("%s: %d %d\n", name, counter, unlocked);
}

/* ---- interrupts ---- */

static volatile u64 bad;
static volatile u64 irqs[SMP_MAX];

static int irq(struct frame *f)
{
    unsigned id;

    if ((f->vec & 0x180) != 0x80)
        return 0;
    id = gic_ack();
    if ((id & 0x3ff) == 5)
        irqs[cpu_id()]++;
    gic_eoi(id);
    return 1;
}

/* Each CPU interrupts the next, in a ring; WFI waits for it. */
static void job_ring(u64 cpu)
{
    gic_cpu_init();
    gic_enable(5, 0x80);
    u64 round = 1;
    smp_meet(smp_n, &round);
    for (u64 i = 1; i <= 40; i++) {
        if (cpu == 0)
            gic_sgi(1 % (unsigned)smp_n, 5);
        while (irqs[cpu] != i) {
            asm volatile("wfi; msr daifclr, #2; isb; msr daifset, #2" ::: "memory");
        }
        if (cpu != 0)
            gic_sgi((unsigned)((cpu + 1) % smp_n), 5);
    }
}

static volatile u64 events, seen_events;

static void job_wfe(u64 cpu)
{
    if (cpu == 0) {
        for (u64 i = 1; i <= 50; i++) {
            events = i;
            asm volatile("dsb ish; sev" ::: "memory");
            while (load_acquire(&seen_events) < i * (smp_n - 1))
                ;
        }
    } else {
        for (u64 i = 1; i <= 50; i++) {
            while (load_acquire(&events) < i)
                asm volatile("wfe" ::: "memory");
            add_exclusive(&seen_events, 1);
        }
    }
}

/* ---- maintenance that others must see ---- */

#define SHARED 0x0000008000000000ul
static volatile u64 pages[2][512] __attribute__((aligned(4096)));
static u32 code[1024] __attribute__((aligned(4096)));
#define CODE 0x0000009000000000ul

/* CPU 0 remaps a page and invalidates by broadcast; afterwards nobody may see the old one. */
static void job_remap(u64 cpu)
{
    u64 round = 1;

    for (u64 i = 0; i < 60; i++) {
        smp_meet(smp_n, &round);
        if (ld64(SHARED + 8 * cpu) != i % 2)
            add_exclusive(&bad, 1);
        smp_meet(smp_n, &round);
        if (cpu == 0) {
            pt_page(smp_root, SHARED, (u64)pages[(i + 1) % 2], PTE_NORMAL);
            asm volatile("tlbi vae1is, %0; dsb ish; isb" ::"r"(SHARED >> 12) : "memory");
        }
    }
}

static u64 spared; /* what of CTR_EL0's IDC and DIC is made use of */

/* CPU 0 changes a function that all have called; the others do an ISB before they call it again. */
static void job_code(u64 cpu)
{
    u64 round = 1;

    for (u64 i = 0; i < 60; i++) {
        smp_meet(smp_n, &round);
        isb();
        for (int k = 0; k < 20; k++)
            if (((u64(*)(void))CODE)() != i)
                add_exclusive(&bad, 1);
        smp_meet(smp_n, &round);
        if (cpu == 0) {
            *(volatile u32 *)code = 0xd2800000u | (u32)(i + 1) << 5; /* MOVZ X0, #i+1 */
            if (!(spared & CTR_IDC))
                asm volatile("dc cvau, %0" ::"r"(code) : "memory");
            asm volatile("dsb ish" ::: "memory");
            if (!(spared & CTR_DIC))
                asm volatile("ic ivau, %0; dsb ish" ::"r"(CODE) : "memory");
            isb();
        }
    }
}

static void report(const char *name, void (*job)(u64))
{
    bad = smp_meeting = 0;
    smp_run(job);
    print("%s: %d bad\n", name, bad);
}

int main(void)
{
    smp_start();
    print("cpus %d\n", smp_n);
    psci_calls();
    count("exclusive", job_exclusive);
    count("bytes", job_exclusive_byte);
    count("pair", job_exclusive_pair);
    count("lock", job_lock);
    if (mrs("id_aa64isar0_el1") >> 20 & 15) {
        count("ldadd", job_ldadd);
        count("cas", job_cas);
        lock = 0;
        counter = unlocked = 0;
        lock = 1; /* the token */
        smp_run(job_swp);
        print("swp: %d\n", counter);
        count("bits", job_bits);
    }
    if (smp_n > 1) {
        trap_hook = irq;
        gic_init();
        report("sgi ring", job_ring);
        report("wfe", job_wfe);
        for (int i = 0; i < 512; i++)
            pages[1][i] = 1;
        pt_page(smp_root, SHARED, (u64)pages[0], PTE_NORMAL);
        code[0] = 0xd2800000;
        code[1] = 0xd65f03c0;
        pt_page(smp_root, CODE, (u64)code, PTE_NORMAL | PTE_AP(2));
        tlbi_all();
        asm volatile("ic ialluis; dsb ish; isb" ::: "memory");
        report("remap", job_remap);
        report("code", job_code);
        spared = mrs("ctr_el0");
        code[0] = 0xd2800000;
        asm volatile("dsb ish; ic ialluis; dsb ish; isb" ::: "memory");
        report("code, by CTR_EL0", job_code);
        off_and_on();
    }
    print("end\n");
    return 0;
}
