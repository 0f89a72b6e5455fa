/*
 * Several processors: INIT and start-up IPIs, APIC IDs, IPIs to one, to all others and back, NMI to a halted CPU,
 * locked counters, a CPU that is started anew.
 *
 * Arguments: cpus=N.
 */
#include "tests/guest86/guest.h"

#define TRAMPOLINE 0x90000ul
#define ICR_NMI 0x4400
#define VECTOR_ONE 0x70
#define VECTOR_ALL 0x71
#define VECTOR_BACK 0x80 /* and the CPU's number: interrupts of one vector may become one */
#define ROUNDS 2000
#define LONG_MS 10000

static unsigned cpus;
static int x2;
static volatile u64 ready, worked, phase;
static u32 id_of[MAX_CPUS + 1];
static u64 one[MAX_CPUS + 1], all_count, nmi_count, back_count;
static u32 shared;
static u64 guarded;
static volatile u32 lock_next, lock_now;

static void on_one(struct frame *f)
{
    u32 id = lapic_id();

    (void)f;
    for (unsigned i = 0; i <= MAX_CPUS; i++) {
        if (id_of[i] == id && i < cpus)
            __atomic_fetch_add(&one[i], 1, __ATOMIC_RELEASE);
    }
    lapic_eoi();
}

static void on_all(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&all_count, 1, __ATOMIC_RELEASE);
    lapic_eoi();
}

static void on_back(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&back_count, 1, __ATOMIC_RELEASE);
    lapic_eoi();
}

static void on_nmi(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&nmi_count, 1, __ATOMIC_RELEASE);
}

/* A ticket lock around what is not atomic. */
static void work(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        asm volatile("lock incl %0" : "+m"(shared)::"memory");
        if (i % 16 == 0) {
            u32 ticket = __atomic_fetch_add(&lock_next, 1, __ATOMIC_ACQ_REL);

            while (__atomic_load_n(&lock_now, __ATOMIC_ACQUIRE) != ticket)
                cpu_relax();
            *(volatile u64 *)&guarded += 1;
            __atomic_store_n(&lock_now, ticket + 1, __ATOMIC_RELEASE);
        }
    }
    __atomic_fetch_add(&worked, 1, __ATOMIC_RELEASE);
}

/* Interrupts are let in only while the CPU is halted, from phase 2 on. */
void ap_main(u64 cpu)
{
    irq_init();
    lapic_init(x2);
    id_of[cpu] = lapic_id();
    __atomic_fetch_add(&ready, 1, __ATOMIC_RELEASE);
    while (phase < 1)
        cpu_relax();
    if (phase == 1)
        work();
    while (phase < 2)
        cpu_relax();
    while (phase < 3)
        asm volatile("sti; hlt; cli" ::: "memory");
    lapic_send(id_of[0], VECTOR_BACK + (u32)cpu);
    for (;;)
        asm volatile("cli; hlt" ::: "memory");
}

static void start(u32 id)
{
    lapic_send(id, ICR_INIT);
    wait_for(&ready, ~0ul, 10);
    lapic_send(id, ICR_STARTUP | TRAMPOLINE >> 12);
    wait_for(&ready, ~0ul, 1);
    lapic_send(id, ICR_STARTUP | TRAMPOLINE >> 12); /* a second one is of no effect to a CPU that runs */
}

static void test_start(void)
{
    unsigned matched = 0;
    u64 none;

    copy((void *)TRAMPOLINE, trampoline, (u64)(trampoline_end - trampoline));
    wait_for(&ready, 1, 20);
    none = ready;
    id_of[0] = lapic_id();
    for (unsigned i = 0; i < acpi.cpus && i < MAX_CPUS; i++) {
        if (acpi.apic_id[i] != id_of[0])
            start(acpi.apic_id[i]);
    }
    wait_for(&ready, cpus - 1, LONG_MS);
    wait_for(&ready, cpus, 20);
    check("smp-wait-for-sipi", !none, "%lu ran before", none);
    check("smp-start", ready == cpus - 1, "%lu of %u others", ready, cpus - 1);
    for (unsigned i = 0; i < cpus; i++) {
        for (unsigned j = 0; j < acpi.cpus && j < MAX_CPUS; j++)
            matched += id_of[i] == acpi.apic_id[j];
        for (unsigned j = 0; j < i; j++)
            matched -= id_of[i] == id_of[j];
    }
    check("smp-ids", matched == cpus, "%u of %u APIC IDs are the MADT's", matched, cpus);
}

static void test_work(void)
{
    phase = 1;
    work();
    wait_for(&worked, cpus, LONG_MS);
    check("smp-atomic", worked == cpus && shared == cpus * ROUNDS, "%u of %u", shared, cpus * ROUNDS);
    check("smp-lock", guarded == cpus * (ROUNDS / 16), "%lu of %u", guarded, cpus * (ROUNDS / 16));
}

static void test_ipi(void)
{
    u64 total = 0;
    unsigned exact = 0;

    irq_set_handler(VECTOR_ONE, on_one);
    irq_set_handler(VECTOR_ALL, on_all);
    for (unsigned i = 1; i < cpus; i++)
        irq_set_handler((u8)(VECTOR_BACK + i), on_back);
    irq_set_handler(2, on_nmi);
    phase = 2;
    for (unsigned i = 1; i < cpus; i++) {
        lapic_send(id_of[i], VECTOR_ONE);
        wait_for(&one[i], 1, LONG_MS);
    }
    for (unsigned i = 0; i < cpus; i++) {
        exact += one[i] == (i != 0);
        total += one[i];
    }
    check("ipi-one", exact == cpus, "%lu for %u", total, cpus - 1);
    lapic_send(0, ICR_ALL_BUT_SELF | VECTOR_ALL);
    wait_for(&all_count, cpus - 1, LONG_MS);
    wait_for(&all_count, cpus, 5);
    check("ipi-all-but-self", all_count == cpus - 1, "%lu", all_count);
    phase = 3;
    lapic_send(0, ICR_ALL_BUT_SELF | VECTOR_ALL); /* out of HLT */
    wait_for(&back_count, cpus - 1, LONG_MS);
    check("ipi-back", back_count == cpus - 1, "%lu from %u", back_count, cpus - 1);
    for (unsigned i = 1; i < cpus; i++)
        lapic_send(id_of[i], ICR_NMI);
    wait_for(&nmi_count, cpus - 1, LONG_MS);
    check("ipi-nmi", nmi_count == cpus - 1, "%lu, with interrupts off", nmi_count);
}

/* INIT takes a CPU from wherever it is; it begins at the trampoline again. */
static void test_restart(void)
{
    u64 before = ready;

    phase = 0;
    start(id_of[1]);
    wait_for(&ready, before + 1, LONG_MS);
    check("smp-restart", ready == before + 1 && id_of[cpus] == id_of[1], "%lu came, with APIC ID %u", ready - before,
          id_of[cpus]);
}

int main(void)
{
    int read = acpi_read();

    cpus = (unsigned)arg_number("cpus", 2);
    if (!check("acpi", read && acpi.cpus == cpus && cpus >= 2 && cpus <= MAX_CPUS, "%u CPUs", acpi.cpus))
        return 1;
    x2 = cpuid(1, 0).ecx >> 21 & 1;
    lapic_init(x2);
    tsc_per_ms();
    if (x2)
        check("x2apic", cpuid(0xb, 0).edx == lapic_id(), "ID %u, CPUID's %u", lapic_id(), cpuid(0xb, 0).edx);
    else
        skip("x2apic", "CPUID has none");
    test_start();
    if (ready != cpus - 1)
        return 1;
    test_work();
    test_ipi();
    test_restart();
    return 0;
}
