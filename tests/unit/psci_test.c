/* PSCI 1.1: discovery, CPU_ON and OFF, affinities, errors, and CPU_ON from many vCPUs at once. */
#include <pthread.h>

#include "arch/arm64/arm64.h"
#include "jit/ops.h"
#include "tests/check.h"

#define NCPUS 20
#define FN(n) (0x84000000u + (n))
#define FN64(n) (0xc4000000u + (n))
#define CPU_OFF FN(2)
#define CPU_ON FN64(3)
#define AFFINITY_INFO FN64(4)

static struct arm64_cpu cpus[NCPUS];
static struct arm64_cpu *list[NCPUS];
static struct psci *psci;
static unsigned offs, resets, hints;
static _Atomic unsigned started[NCPUS];
static unsigned caller;

static void system_off(void *opaque, unsigned i)
{
    (void)opaque;
    offs++;
    caller = i;
}

static void system_reset(void *opaque, unsigned i)
{
    (void)opaque;
    resets++;
    caller = i;
}

static void cpu_on(void *opaque, unsigned i)
{
    (void)opaque;
    started[i]++;
}

static int hint(struct arm64_cpu *c, enum a64_hint h)
{
    (void)c;
    hints += h == A64_HINT_WFI;
    return 0;
}

static const struct a64_ops ops = {.hint = hint};

static void setup(void)
{
    static const struct psci_ops psci_ops = {.system_off = system_off, .system_reset = system_reset, .cpu_on = cpu_on};

    for (unsigned i = 0; i < NCPUS; i++) {
        arm64_cpu_init(&cpus[i], arm64_model_find("max"), i);
        cpus[i].ops = &ops;
        list[i] = &cpus[i];
        started[i] = 0;
    }
    psci_destroy(psci);
    psci_create(&psci, list, NCPUS, &psci_ops);
    for (unsigned i = 0; i < NCPUS; i++)
        cpus[i].psci = psci;
    offs = resets = hints = 0;
    caller = NCPUS;
}

static int64_t call_from(struct arm64_cpu *c, uint32_t fn, uint64_t a, uint64_t b, uint64_t d)
{
    c->x[0] = fn;
    c->x[1] = a;
    c->x[2] = b;
    c->x[3] = d;
    if (arm64_call(c, fn & 1 ? A64_CALL_HVC : A64_CALL_SMC, 0))
        return INT64_MIN;
    return (int64_t)c->x[0];
}

static int64_t call(uint32_t fn, uint64_t a, uint64_t b, uint64_t d)
{
    return call_from(&cpus[0], fn, a, b, d);
}

static void test_discovery(void)
{
    setup();
    CHECK_EQ(call(FN(0), 0, 0, 0), 0x10001);
    CHECK_EQ(call(FN(6), 0, 0, 0), 2);
    CHECK_EQ(call(0x80000000, 0, 0, 0), 0x10001);
    CHECK_EQ(call(0x80000001, 0x80000000, 0, 0), 0);
    CHECK_EQ(call(0x80000001, 0x80008000, 0, 0), -1); /* ARCH_WORKAROUND_1 */
    CHECK_EQ(call(FN(0xa), CPU_ON, 0, 0), 0);
    CHECK_EQ(call(FN(0xa), FN(8), 0, 0), 0);
    CHECK_EQ(call(FN(0xa), 0x80000000, 0, 0), 0);
    CHECK_EQ(call(FN(0xa), FN(5), 0, 0), -1);
    CHECK_EQ(call(FN(0xa), FN64(8), 0, 0), -1);
    CHECK_EQ(call(FN(0x1f), 0, 0, 0), -1);
    CHECK_EQ(call(0x12345678, 0, 0, 0), -1);
    cpus[0].x[0] = FN(0);
    CHECK_EQ(arm64_call(&cpus[0], A64_CALL_HVC, 1), 0);
    CHECK_EQ(cpus[0].x[0], UINT64_MAX);
    arm64_set_el_sp(&cpus[0], 0, 0);
    CHECK_EQ(arm64_call(&cpus[0], A64_CALL_SMC, 0), A64_TRAPPED);
}

static void test_cpu_on(void)
{
    setup();
    CHECK(psci_cpu_is_on(psci, 0));
    CHECK(!psci_cpu_is_on(psci, 1));
    CHECK_EQ(call(AFFINITY_INFO, 1, 0, 0), 1);
    CHECK_EQ(call(AFFINITY_INFO, 0, 0, 0), 0);
    cpus[1].sys.sctlr_el1 = 1;
    CHECK_EQ(call(CPU_ON, 1, UINT64_C(0x123456780), UINT64_C(0xabcdef0123)), 0);
    CHECK_EQ(cpus[1].pc, UINT64_C(0x123456780));
    CHECK_EQ(cpus[1].x[0], UINT64_C(0xabcdef0123));
    CHECK_EQ(cpus[1].sys.sctlr_el1 & 1, 0);
    CHECK_EQ(started[1], 1);
    CHECK(psci_cpu_is_on(psci, 1));
    CHECK_EQ(call(AFFINITY_INFO, 1, 0, 0), 0);
    CHECK_EQ(call(CPU_ON, 1, 0, 0), -4);
    CHECK_EQ(call(CPU_ON, 0x100, 0, 0), 0); /* Aff1 1: the seventeenth */
    CHECK_EQ(started[16], 1);
    /* the 32-bit form sees only w registers */
    CHECK_EQ(call(FN(3), UINT64_C(0xff00000002), UINT64_C(0x1180000000), UINT64_C(0x1122334455)), 0);
    CHECK_EQ(cpus[2].pc, 0x80000000);
    CHECK_EQ(cpus[2].x[0], 0x22334455);
}

static void test_cpu_on_errors(void)
{
    setup();
    CHECK_EQ(call(CPU_ON, 0x10, 0, 0), -2);  /* Aff0 16 */
    CHECK_EQ(call(CPU_ON, 0x104, 0, 0), -2); /* the 21st */
    CHECK_EQ(call(CPU_ON, 0x80000001, 0, 0), -2);
    CHECK_EQ(call(CPU_ON, 1, 2, 0), -9);
    CHECK_EQ(call(CPU_ON, 0, 0, 0), -4);
    CHECK_EQ(call(AFFINITY_INFO, 1, 4, 0), -2);
    CHECK_EQ(call(AFFINITY_INFO, 0x104, 0, 0), -2);
    CHECK_EQ(call(AFFINITY_INFO, 0x100, 1, 0), 1); /* a cluster that is all off */
    CHECK_EQ(call(AFFINITY_INFO, 0, 1, 0), 0);
    CHECK_EQ(call(AFFINITY_INFO, 0x100, 2, 0), 0);
}

static void test_cpu_off(void)
{
    setup();
    CHECK_EQ(call(CPU_ON, 1, 0, 0), 0);
    call_from(&cpus[1], CPU_OFF, 0, 0, 0);
    CHECK(atomic_load(&cpus[1].exit_request) & ARM64_EXIT_KICK);
    CHECK(!psci_cpu_is_on(psci, 1));
    /* its thread still runs: it looks on, and cannot be started yet */
    CHECK_EQ(call(AFFINITY_INFO, 1, 0, 0), 0);
    CHECK_EQ(call(CPU_ON, 1, 0, 0), -4);
    psci_cpu_parked(psci, 1);
    CHECK_EQ(call(AFFINITY_INFO, 1, 0, 0), 1);
    CHECK_EQ(call(CPU_ON, 1, 0x4000, 0), 0);
    CHECK_EQ(started[1], 2);
    psci_cpu_parked(psci, 1); /* says nothing about one that is on */
    CHECK(psci_cpu_is_on(psci, 1));
    psci_reset(psci);
    CHECK(!psci_cpu_is_on(psci, 1));
    CHECK(psci_cpu_is_on(psci, 0));
}

static void test_system(void)
{
    setup();
    call(FN(8), 0, 0, 0);
    CHECK_EQ(offs, 1);
    CHECK_EQ(caller, 0);
    call_from(&cpus[2], FN(9), 0, 0, 0);
    CHECK_EQ(resets, 1);
    CHECK_EQ(caller, 2);
    CHECK(atomic_load(&cpus[2].exit_request) & ARM64_EXIT_KICK);
    call_from(&cpus[3], FN64(0x12), 0, 0, 0);
    CHECK_EQ(resets, 2);
    CHECK(atomic_load(&cpus[3].exit_request) & ARM64_EXIT_KICK);
    CHECK_EQ(caller, 3);
    CHECK_EQ(call(FN64(0x12), 1, 0, 0), -2);
    CHECK_EQ(call(FN64(0x12), 0x80000000, 0, 0), -1);
    CHECK_EQ(resets, 2);
    CHECK_EQ(call(FN64(1), 0, 0, 0), 0);
    CHECK_EQ(hints, 1);
}

static _Atomic unsigned won, busy;

static void *race(void *opaque)
{
    struct arm64_cpu *c = opaque;

    for (unsigned i = 4; i < NCPUS; i++) {
        int64_t ret = call_from(c, CPU_ON, i % 16 | (i / 16) << 8, 0x1000, c->index);
        if (ret == 0)
            won++;
        else if (ret == -4 || ret == -5)
            busy++;
    }
    return NULL;
}

static void test_race(void)
{
    pthread_t t[4];

    setup();
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, race, &cpus[i]);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(won, NCPUS - 4);
    CHECK_EQ(busy, 3 * (NCPUS - 4));
    for (unsigned i = 4; i < NCPUS; i++) {
        CHECK_EQ(started[i], 1);
        CHECK(cpus[i].x[0] < 4);
        CHECK_EQ(cpus[i].pc, 0x1000);
    }
}

int main(void)
{
    RUN(test_discovery);
    RUN(test_cpu_on);
    RUN(test_cpu_on_errors);
    RUN(test_cpu_off);
    RUN(test_system);
    RUN(test_race);
    psci_destroy(psci);
    return check_done();
}
