/* Several CPUs: the others are started by PSCI and run what CPU 0 gives them. */
#ifndef PIPIT_TESTS_GUEST_SMP_H
#define PIPIT_TESTS_GUEST_SMP_H

#include "tests/guest/guest.h"

#define SMP_MAX 8

static u64 *smp_root;
static u64 smp_n = 1; /* CPUs running */
static void (*volatile smp_job)(u64 cpu);
static volatile u64 smp_generation, smp_arrived;
static volatile u64 smp_finished[SMP_MAX];

/* Adds by LDXR and STXR; returns the old value. */
static inline u64 add_exclusive(volatile u64 *p, u64 v)
{
    u64 old, new;
    u32 fail;

    asm volatile("1: ldaxr %0, %3\n"
                 "add %1, %0, %4\n"
                 "stlxr %w2, %1, %3\n"
                 "cbnz %w2, 1b"
                 : "=&r"(old), "=&r"(new), "=&r"(fail), "+Q"(*p)
                 : "r"(v)
                 : "memory");
    return old;
}

static inline u64 load_acquire(volatile u64 *p)
{
    u64 v;
    asm volatile("ldar %0, %1" : "=r"(v) : "Q"(*p) : "memory");
    return v;
}
static inline void store_release(volatile u64 *p, u64 v)
{
    asm volatile("stlr %1, %0" : "=Q"(*p) : "r"(v) : "memory");
}

void cpu_main(u64 cpu)
{
    u64 seen = 0;

    mmu_on(smp_root, smp_root);
    add_exclusive(&smp_arrived, 1);
    for (;;) {
        while (load_acquire(&smp_generation) == seen)
            asm volatile("wfe");
        seen++;
        smp_job(cpu);
        store_release(&smp_finished[cpu], seen);
        asm volatile("dsb ish; sev" ::: "memory");
    }
}

static void smp_begin(void (*job)(u64 cpu))
{
    smp_job = job;
    store_release(&smp_generation, smp_generation + 1);
    asm volatile("dsb ish; sev" ::: "memory");
}

static void smp_wait(void)
{
    for (u64 i = 1; i < smp_n; i++)
        while (load_acquire(&smp_finished[i]) != smp_generation)
            asm volatile("wfe");
}

/* Runs job(cpu) on every CPU; returns when all are done. */
static inline void smp_run(void (*job)(u64 cpu))
{
    smp_begin(job);
    job(0);
    smp_wait();
}

/* All of the first `n` CPUs meet here; `round` counts from 1 and is kept by the caller, one a CPU. */
static volatile u64 smp_meeting;
static inline void smp_meet(u64 n, u64 *round)
{
    add_exclusive(&smp_meeting, 1);
    while (load_acquire(&smp_meeting) < n * *round)
        asm volatile("yield");
    ++*round;
}

extern char cpu_entry[];

/* Turns on the MMU and every CPU that there is. */
static void smp_start(void)
{
    smp_root = pt_flat();
    mmu_on(smp_root, smp_root);
    while (smp_n < SMP_MAX && psci(PSCI_CPU_ON, smp_n, (u64)cpu_entry, smp_n) == 0)
        smp_n++;
    while (load_acquire(&smp_arrived) != smp_n - 1)
        asm volatile("yield");
}

#endif
