/*
 * CPUID policy: from what an Intel and an AMD host's KVM might support to what guests of several shapes see. The
 * topology is read back the way that Linux reads it.
 */
#include <errno.h>

#include "arch/x86/cpuid.h"
#include "tests/check.h"
#include "vmm/base/util.h"

#define CAP 64

/* A host with two threads a core, 16 cores, and everything that the policy has an opinion of. */
static const struct x86_cpuid intel[] = {
    {0, 0, false, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69}, /* GenuineIntel */
    {1, 0, false, 0x000806f8, 0x1f400800, 0xfffa3223, 0x1f8bfbff},
    {4, 0, true, 0xfc004121, 0x02c0003f, 0x3f, 0},
    {4, 1, true, 0xfc004122, 0x01c0003f, 0x3f, 0},
    {4, 2, true, 0xfc01c143, 0x03c0003f, 0x7ff, 0},
    {4, 3, true, 0xfc1fc163, 0x04c0003f, 0x1bfff, 4},
    {4, 4, true, 0, 0, 0, 0},
    {6, 0, false, 4, 0, 0, 0},
    {7, 0, true, 2, 0xf3bfefff, 0x5b7effff, 0xffd14412},
    {7, 1, true, 0x1c30, 0, 0, 0},
    {0xa, 0, false, 0x07300402, 0, 0, 0x603},
    {0xb, 0, true, 1, 2, 0x100, 7},
    {0xb, 1, true, 7, 32, 0x201, 7},
    {0xb, 2, true, 0, 0, 2, 7},
    {0xd, 0, true, 0x2ff, 0x988, 0x988, 0},
    {0xd, 1, true, 0xf, 0x988, 0, 0},
    {0xd, 3, true, 0x40, 0x3c0, 0, 0},
    {0xd, 4, true, 0x40, 0x400, 0, 0},
    {0xd, 9, true, 8, 0xa80, 0, 0},
    {0x12, 0, true, 3, 0, 0, 0x241f},
    {0x14, 0, true, 1, 0xf, 7, 0},
    {0x1f, 0, true, 1, 2, 0x100, 7},
    {0x1f, 1, true, 7, 32, 0x201, 7},
    {0x80000000, 0, false, 0x80000008, 0, 0, 0},
    {0x80000001, 0, false, 0, 0, 0x121, 0x2c100800},
    {0x80000008, 0, false, 0x3934, 0, 0, 0},
    {0x40000000, 0, false, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d},
    {0x40000001, 0, false, 0x01007efb, 0, 0, 0},
};

static const struct x86_cpuid amd[] = {
    {0, 0, false, 0x10, 0x68747541, 0x444d4163, 0x69746e65}, /* AuthenticAMD */
    {1, 0, false, 0x00a20f10, 0x03100800, 0x7ef8320b, 0x178bfbff},
    {7, 0, true, 0, 0x219c95a9, 0x40069c, 0x10},
    {0xb, 0, true, 1, 2, 0x100, 3},
    {0xb, 1, true, 4, 16, 0x201, 3},
    {0xd, 0, true, 0x207, 0x988, 0x988, 0},
    {0x80000000, 0, false, 0x80000026, 0x68747541, 0x444d4163, 0x69746e65},
    {0x80000001, 0, false, 0x00a20f10, 0x20000000, 0x75c237ff, 0x2fd3fbff},
    {0x80000007, 0, false, 0, 0, 0, 0x100},
    {0x80000008, 0, false, 0x3030, 0x111ef657, 0x500f, 0},
    {0x8000000a, 0, false, 1, 0x8000, 0, 0x101bbcff},
    {0x8000001d, 0, true, 0x4121, 0x01c0003f, 0x3f, 0},
    {0x8000001d, 1, true, 0x4122, 0x01c0003f, 0x3f, 0},
    {0x8000001d, 2, true, 0x4143, 0x01c0003f, 0x3ff, 2},
    {0x8000001d, 3, true, 0x3c163, 0x03c0003f, 0x7fff, 1},
    {0x8000001d, 4, true, 0, 0, 0, 0},
    {0x8000001e, 0, false, 3, 0x101, 0, 0},
    {0x8000001f, 0, false, 1, 0xb3, 0, 0},
    {0x80000026, 0, true, 1, 2, 0x100, 3},
};

static struct x86_cpuid e[CAP];
static unsigned n;

static bool build(const struct x86_cpuid *host, unsigned count, unsigned ncpus, bool max)
{
    const struct x86_cpuid_config cfg = {.ncpus = ncpus, .max = max, .tsc_deadline = true};
    int r;

    memcpy(e, host, count * sizeof(*e));
    r = x86_cpuid_build(e, count, CAP, &cfg);
    n = r < 0 ? 0 : (unsigned)r;
    return r > 0;
}

static struct x86_cpuid leaf(uint32_t l, uint32_t index)
{
    const struct x86_cpuid *c = x86_cpuid_find(e, n, l, index);

    return c ? *c : (struct x86_cpuid){0};
}

/* Core number and count, as leaf 0xb or 0x1f has them: the ID without the bits of a core's threads. */
static bool topology(uint32_t l, unsigned cpu, unsigned ncpus)
{
    struct x86_cpuid thread = leaf(l, 0), core = leaf(l, 1), end = leaf(l, 2);

    return thread.ecx == 0x100 && thread.eax == 0 && thread.ebx == 1 && thread.edx == cpu && core.ecx == 0x201 &&
           core.ebx == ncpus && (1u << core.eax) >= ncpus && (1u << core.eax) < 2 * ncpus && core.edx == cpu &&
           (end.ecx & 0xff00) == 0 && end.ebx == 0;
}

static void intel_topology(void)
{
    static const unsigned shapes[] = {1, 2, 3, 4, 8, 17, 64, 255};

    for (unsigned s = 0; s < ARRAY_SIZE(shapes); s++) {
        unsigned ncpus = shapes[s], ids;

        CHECK(build(intel, ARRAY_SIZE(intel), ncpus, false));
        ids = (1u << leaf(0xb, 1).eax) - 1;
        for (unsigned cpu = 0; cpu < ncpus; cpu += 1 + cpu / 2) {
            x86_cpuid_set_cpu(e, n, cpu);
            CHECK(topology(0xb, cpu, ncpus));
            CHECK(topology(0x1f, cpu, ncpus));
            CHECK_EQ(leaf(1, 0).ebx >> 24, cpu);
        }
        CHECK_EQ(bits32(leaf(1, 0).ebx, 23, 16), ncpus);
        CHECK_EQ(bits32(leaf(1, 0).ebx, 15, 0), 0x0800);
        CHECK_EQ(bits32(leaf(1, 0).edx, 28, 28), ncpus > 1);
        for (unsigned i = 0; i < 4; i++) {
            CHECK_EQ(bits32(leaf(4, i).eax, 31, 26), MIN(ids, 63u));
            CHECK_EQ(bits32(leaf(4, i).eax, 25, 14), i < 3 ? 0 : ids);
            CHECK_EQ(leaf(4, i).ebx, intel[2 + i].ebx);
        }
        CHECK_EQ(leaf(4, 4).eax, 0);
        CHECK_EQ(leaf(0x80000008, 0).ecx, 0);
    }
}

static void amd_topology(void)
{
    for (unsigned ncpus = 1; ncpus <= 9; ncpus++) {
        CHECK(build(amd, ARRAY_SIZE(amd), ncpus, false));
        for (unsigned cpu = 0; cpu < ncpus; cpu++) {
            x86_cpuid_set_cpu(e, n, cpu);
            CHECK(topology(0xb, cpu, ncpus));
            CHECK_EQ(leaf(1, 0).ebx >> 24, cpu);
            CHECK_EQ(leaf(0x8000001e, 0).eax, cpu);
            CHECK_EQ(leaf(0x8000001e, 0).ebx, cpu); /* one thread a core */
            CHECK_EQ(leaf(0x8000001e, 0).ecx, 0);   /* one node */
        }
        CHECK_EQ(leaf(0x80000008, 0).ecx & 0xff, ncpus - 1);
        CHECK((1u << bits32(leaf(0x80000008, 0).ecx, 15, 12)) >= ncpus);
        CHECK_EQ(leaf(0x80000008, 0).eax, 0x3030);
        CHECK_EQ(bits32(leaf(0x80000001, 0).ecx, 1, 1), ncpus > 1);
        for (unsigned i = 0; i < 4; i++)
            CHECK_EQ(bits32(leaf(0x8000001d, i).eax, 25, 14), i < 3 ? 0 : ncpus - 1);
        CHECK_EQ(leaf(0x80000026, 0).ebx, 0);
        CHECK(!x86_cpuid_find(e, n, 0x1f, 0)); /* beyond the highest leaf */
    }
}

static void host_hides_what_is_not_there(void)
{
    CHECK(build(intel, ARRAY_SIZE(intel), 2, false));
    CHECK(leaf(1, 0).ecx & BIT32(31));    /* a guest */
    CHECK(leaf(1, 0).ecx & BIT32(24));    /* TSC deadline */
    CHECK(leaf(1, 0).ecx & BIT32(21));    /* x2APIC */
    CHECK(leaf(1, 0).ecx & BIT32(17));    /* PCID */
    CHECK(!(leaf(1, 0).ecx & BIT32(27))); /* OSXSAVE is the guest's to say */
    CHECK(!(leaf(1, 0).ecx & BIT32(5)));  /* VMX */
    CHECK(!(leaf(7, 0).ebx & BIT32(2)));  /* SGX */
    CHECK(!(leaf(7, 0).ebx & BIT32(14))); /* MPX */
    CHECK(!(leaf(7, 0).ebx & BIT32(25))); /* processor trace */
    CHECK(leaf(7, 0).ebx & BIT32(10));    /* INVPCID */
    CHECK(!(leaf(7, 0).ecx & BIT32(4)));  /* OSPKE */
    CHECK(!(leaf(7, 0).ecx & BIT32(30))); /* SGX launch control */
    CHECK(leaf(7, 0).edx & BIT32(29));    /* arch capabilities: as KVM has them */
    CHECK_EQ(leaf(0xd, 0).eax, 0x2e7);    /* no MPX state */
    CHECK_EQ(leaf(0xd, 0).ecx, 0xa88);    /* up to the end of the last component that is left */
    CHECK_EQ(leaf(0xd, 3).eax | leaf(0xd, 4).eax, 0);
    CHECK_EQ(leaf(0xd, 9).eax, 8);
    CHECK_EQ(leaf(0x12, 0).eax | leaf(0x14, 0).eax, 0);
    CHECK_EQ(leaf(0xa, 0).eax, 0x07300402); /* the PMU is KVM's to give */
    CHECK_EQ(leaf(0x40000001, 0).eax, 0x01007efb);

    CHECK(build(amd, ARRAY_SIZE(amd), 2, false));
    CHECK(!(leaf(0x80000001, 0).ecx & (BIT32(2) | BIT32(12)))); /* SVM, SKINIT */
    CHECK(leaf(0x80000001, 0).ecx & BIT32(22));                 /* extended topology */
    CHECK_EQ(leaf(0x8000000a, 0).eax | leaf(0x8000000a, 0).edx, 0);
    CHECK_EQ(leaf(0x8000001f, 0).eax, 0);
    CHECK_EQ(leaf(0x80000007, 0).edx, 0x100); /* invariant TSC */
}

static void max_hides_only_what_the_machine_lacks(void)
{
    CHECK(build(intel, ARRAY_SIZE(intel), 2, true));
    CHECK(leaf(1, 0).ecx & BIT32(5));
    CHECK(leaf(7, 0).ebx & BIT32(25));
    CHECK(leaf(0x14, 0).eax);
    CHECK(!(leaf(7, 0).ebx & BIT32(2)));
    CHECK_EQ(leaf(0x12, 0).eax, 0);
    CHECK_EQ(leaf(0xd, 0).eax, 0x2ff);
    CHECK(topology(0xb, 0, 2));
    CHECK(build(amd, ARRAY_SIZE(amd), 2, true));
    CHECK(leaf(0x80000001, 0).ecx & BIT32(2));
    CHECK(leaf(0x8000000a, 0).edx);
    CHECK_EQ(leaf(0x8000001f, 0).eax | leaf(0x8000001f, 0).ebx, 0); /* no encrypted guests */
}

/* What a host with tiles lists: all of it for a process that has them; for others the instructions, and of the state
 * nothing, or before Linux 6.4 one component of two. */
static void tiles_come_with_their_state(void)
{
    static const uint32_t states[] = {0, BIT32(17), BIT32(17) | BIT32(18)};

    for (unsigned i = 0; i < 2 * ARRAY_SIZE(states); i++) {
        uint32_t state = states[i / 2];
        const struct x86_cpuid host[] = {
            {0, 0, false, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69},
            {1, 0, false, 0x000806f8, 0x1f400800, 0xfffa3223, 0x1f8bfbff},
            {7, 0, true, 1, 0xf1bf07ab, 0x1b415f6e, 0xffd14412},
            {7, 1, true, 0x201c30, 0, 0, 0x4110},
            {0xd, 0, true, 0x2e7 | state, 0x988, 0x2b00, 0},
            {0xd, 1, true, 0x1f, 0, 0x1800, 0},
            {0xd, 2, true, 0x100, 0x240, 0, 0},
            {0xd, 9, true, 8, 0xa80, 0, 0},
            {0xd, 11, true, 0x10, 0, 1, 0},
            {0xd, 17, true, 0x40, 0xac0, 2, 0},
            {0xd, 18, true, 0x2000, 0xb00, 6, 0},
            {0x1d, 0, true, 1, 0, 0, 0},
            {0x1d, 1, true, 0x04002000, 0x00080040, 0x10, 0},
            {0x1e, 0, true, 0, 0x4010, 0, 0},
        };
        bool have = state == (BIT32(17) | BIT32(18));

        CHECK(build(host, ARRAY_SIZE(host), 2, i & 1));
        CHECK_EQ(leaf(7, 0).edx, have ? 0xffd14412 : 0xfc914412);
        CHECK_EQ(leaf(7, 1).eax, have ? 0x201c30 : 0x1c30);
        CHECK_EQ(leaf(7, 1).edx, have ? 0x4110 : 0x4010);
        CHECK_EQ(leaf(0xd, 0).eax, have ? 0x602e7 : 0x2e7);
        CHECK_EQ(leaf(0xd, 0).ecx, have || !state ? 0x2b00 : 0xa88); /* KVM's word where nothing is taken away */
        CHECK_EQ(leaf(0xd, 11).eax, 0x10);                           /* supervisor state is not XCR0's */
        if (state)
            CHECK_EQ(leaf(0xd, 18).eax, have ? 0x2000 : 0);
        CHECK_EQ(leaf(0x1d, 1).eax, have ? 0x04002000 : 0);
        CHECK_EQ(leaf(0x1e, 0).ebx, have ? 0x4010 : 0);
    }
}

/* A software KVM that lists extended states, INVPCID and AMD leaves, and supports neither XSAVE nor PCID. */
static void features_go_with_what_they_need(void)
{
    static struct x86_cpuid poor[ARRAY_SIZE(amd)];

    memcpy(poor, amd, sizeof(poor));
    poor[1].ecx &= ~(BIT32(26) | BIT32(17));
    CHECK(build(poor, ARRAY_SIZE(poor), 1, false));
    CHECK_EQ(leaf(0xd, 0).eax | leaf(0xd, 0).ebx, 0);
    CHECK(!(leaf(7, 0).ebx & BIT32(10)));
    CHECK_EQ(leaf(7, 0).ebx, amd[2].ebx & ~BIT32(10));
}

static void old_and_odd_lists(void)
{
    static const struct x86_cpuid tiny[] = {{0, 0, false, 1, 0x756e6547, 0x6c65746e, 0x49656e69},
                                            {1, 0, false, 0x6f0, 0x10800, 0x80202000, 0x78bfbff}};
    const struct x86_cpuid_config cfg = {.ncpus = 4};

    CHECK(build(tiny, 2, 4, false));
    CHECK_EQ(n, 2); /* no leaf beyond the highest */
    memcpy(e, intel, sizeof(intel));
    CHECK_EQ(x86_cpuid_build(e, ARRAY_SIZE(intel), ARRAY_SIZE(intel), &cfg), -ENOSPC);
}

int main(void)
{
    RUN(intel_topology);
    RUN(amd_topology);
    RUN(host_hides_what_is_not_there);
    RUN(max_hides_only_what_the_machine_lacks);
    RUN(tiles_come_with_their_state);
    RUN(features_go_with_what_they_need);
    RUN(old_and_odd_lists);
    return check_done();
}
