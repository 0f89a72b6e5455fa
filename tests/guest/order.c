/*
 * Memory ordering between two CPUs: results that the architecture forbids are counted, and there may be none. A JIT on
 * a host with a stronger order can still fail here, in store buffering above all. order.expect has the lines.
 */
#include "tests/guest/smp.h"

#define ROUNDS 20000ul
#define PAIRS 1000ul

static volatile u64 x __attribute__((aligned(64))), y __attribute__((aligned(64)));
static volatile u64 r0 __attribute__((aligned(64))), r1 __attribute__((aligned(64)));
static volatile u64 bad;

static void mp_dmb(u64 cpu)
{
    if (cpu == 0)
        for (u64 i = 1; i <= ROUNDS; i++) {
            x = i;
            asm volatile("dmb ishst" ::: "memory");
            y = i;
        }
    if (cpu == 1)
        for (u64 f = 0; f != ROUNDS;) {
            f = y;
            asm volatile("dmb ishld" ::: "memory");
            if (x < f)
                bad++;
        }
}

static void mp_release(u64 cpu)
{
    if (cpu == 0)
        for (u64 i = 1; i <= ROUNDS; i++) {
            x = i;
            store_release(&y, i);
        }
    if (cpu == 1)
        for (u64 f = 0; f != ROUNDS;) {
            f = load_acquire(&y);
            if (x < f)
                bad++;
        }
}

/* Store buffering: both reading zero is forbidden with a DMB between, and with STLR then LDAR. */
static void sb(u64 cpu, int release)
{
    u64 round = 1;

    if (cpu > 1)
        return;
    for (u64 i = 0; i < PAIRS; i++) {
        smp_meet(2, &round);
        if (cpu == 0)
            x = y = 0;
        smp_meet(2, &round);
        volatile u64 *mine = cpu ? &y : &x, *other = cpu ? &x : &y, *r = cpu ? &r1 : &r0;
        if (release) {
            store_release(mine, 1);
            *r = load_acquire(other);
        } else {
            *mine = 1;
            asm volatile("dmb ish" ::: "memory");
            *r = *other;
        }
        smp_meet(2, &round);
        if (cpu == 0 && r0 == 0 && r1 == 0)
            bad++;
    }
}
static void sb_dmb(u64 cpu)
{
    sb(cpu, 0);
}
static void sb_release(u64 cpu)
{
    sb(cpu, 1);
}

/* A 64-bit and a 128-bit (exclusive) store are seen whole. */
static struct {
    u64 a, b;
} whole __attribute__((aligned(16)));

static void tearing(u64 cpu)
{
    if (cpu == 0)
        for (u64 i = 1; i <= ROUNDS; i++) {
            u64 v = i * 0x100000001ul, a, b;
            u32 fail;
            x = v;
            asm volatile("1: ldxp %0, %1, %3\n stxp %w2, %4, %4, %3\n cbnz %w2, 1b"
                         : "=&r"(a), "=&r"(b), "=&r"(fail), "+Q"(whole)
                         : "r"(v)
                         : "memory");
            y = i;
        }
    if (cpu == 1)
        while (y != ROUNDS) {
            u64 v = x, a, b;
            u32 fail;
            if ((v & 0xffffffff) != v >> 32)
                bad++;
            /* A load pair is whole if its store-exclusive succeeds. */
            asm volatile("1: ldxp %0, %1, %3\n stxp %w2, %0, %1, %3\n cbnz %w2, 1b"
                         : "=&r"(a), "=&r"(b), "=&r"(fail), "+Q"(whole)::"memory");
            if (a != b)
                bad++;
        }
}

static void litmus(const char *name, void (*job)(u64))
{
    x = y = bad = smp_meeting = 0;
    smp_run(job);
    print("%s: %d forbidden\n", name, bad);
}

int main(void)
{
    smp_start();
    litmus("mp dmb", mp_dmb);
    litmus("mp release", mp_release);
    litmus("sb dmb", sb_dmb);
    litmus("sb release", sb_release);
    litmus("tearing", tearing);
    print("end\n");
    return 0;
}
