/*
 * The JIT's runtime: what a jump may hit, what TLB and instruction cache maintenance drop, and several vCPUs at once
 * (exclusives, self-modifying code, TLB maintenance by others, a code cache that is too small).
 *
 * Guest programs are a few instructions; SVC calls back into the test on the vCPU's thread, SVC 0 ends the run.
 * Addresses are translated by a table of the test's own, one entry for each page of a small window.
 */
#include "jit/rt/rt.h"
#include "tests/check.h"
#include "tests/lib/jit_env.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define VA UINT64_C(0x40000000)
#define PAGES 512u
#define RAM_SIZE (PAGES * 4096u)
#define MAX_CPUS JIT_ENV_CPUS

/* Encodings. */
#define MOVZ(d, imm) (0xd2800000u | (uint32_t)(imm) << 5 | (d))
#define ADD(d, n, imm) (0x91000000u | (uint32_t)(imm) << 10 | (n) << 5 | (d))
#define SUB(d, n, imm) (0xd1000000u | (uint32_t)(imm) << 10 | (n) << 5 | (d))
#define MOV(d, m) (0xaa0003e0u | (m) << 16 | (d))
#define BR(n) (0xd61f0000u | (n) << 5)
#define BLR(n) (0xd63f0000u | (n) << 5)
#define RET 0xd65f03c0u
#define B(off) (0x14000000u | ((uint32_t)(off)&0x3ffffff))
#define CBNZ(t, off) (0xb5000000u | ((uint32_t)(off)&0x7ffff) << 5 | (t))
#define SVC(imm) (0xd4000001u | (uint32_t)(imm) << 5)
#define LDR(t, n) (0xf9400000u | (n) << 5 | (t))
#define STR(t, n) (0xf9000000u | (n) << 5 | (t))
#define STRW(t, n) (0xb9000000u | (n) << 5 | (t))
#define LDXR(t, n) (0xc85f7c00u | (n) << 5 | (t))
#define STXR(s, t, n) (0xc8007c00u | (s) << 16 | (n) << 5 | (t))
#define LDXP(t, u, n) (0xc87f0000u | (u) << 10 | (n) << 5 | (t))
#define STXP(s, t, u, n) (0xc8200000u | (s) << 16 | (u) << 10 | (n) << 5 | (t))
#define LDXP32(t, u, n) (LDXP(t, u, n) & ~0x40000000u)
#define STXP32(s, t, u, n) (STXP(s, t, u, n) & ~0x40000000u)
#define LDADD(s, t, n) (0xf8200000u | (s) << 16 | (n) << 5 | (t))
#define DSB 0xd5033f9fu
#define ISB 0xd5033fdfu
#define WFI 0xd503207fu
#define WFE 0xd503205fu
#define SEV 0xd503209fu
#define FDIV 0x1e611800u /* d0 = d0 / d1 */

static struct jit_env env;
static _Atomic uint32_t map[PAGES]; /* page of RAM, or NOWHERE */
#define NOWHERE UINT32_MAX
static unsigned page_bits = 12;
static bool global;

static struct jit *jit;
static struct arm64_cpu *cpu[MAX_CPUS];
static unsigned ncpus;
static atomic_bool stopping;

static void (*on_svc)(struct arm64_cpu *c, uint32_t imm);

static bool map_page(const struct jit_env *e, uint64_t va, struct jit_xlat *x)
{
    uint64_t page = (va - VA) >> 12;
    uint32_t to = page < PAGES ? atomic_load(&map[page]) : NOWHERE;

    (void)e;
    x->pa = (uint64_t)to << 12 | (va & 0xfff);
    x->page_bits = (uint8_t)page_bits;
    x->ng = !global;
    return to != NOWHERE;
}

static unsigned waits;

static void op_wait(struct arm64_cpu *c)
{
    (void)c;
    waits++;
}

static bool kick_in_hint;

static int op_hint(struct arm64_cpu *c, enum a64_hint h)
{
    if (kick_in_hint)
        atomic_fetch_or(&c->exit_request, ARM64_EXIT_KICK);
    return jit_hint(c, h);
}

static int op_call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm)
{
    if (imm == 0) {
        jit_env_stop(c, JIT_ENV_CALL, kind, 0, 0);
        return A64_TRAPPED;
    }
    on_svc(c, imm);
    return 0;
}

/* ---- the bench ---- */

static void put(uint32_t page, unsigned off, const uint32_t *code, unsigned n)
{
    memcpy(env.ram + page * 4096 + off, code, n * 4);
}
#define PUT(page, off, ...)                                                                                            \
    do {                                                                                                               \
        const uint32_t code_[] = {__VA_ARGS__};                                                                        \
        put(page, off, code_, ARRAY_SIZE(code_));                                                                      \
    } while (0)

static bool begin(unsigned n, size_t code_size)
{
    memset(env.ram, 0, RAM_SIZE);
    for (unsigned i = 0; i < PAGES; i++) {
        atomic_store(&map[i], i);
        atomic_store(&env.flags[i], 0);
    }
    page_bits = 12;
    on_svc = NULL;
    atomic_store(&stopping, false);
    ncpus = n;
    jit = jit_env_jit(&env, JIT_TIER1, code_size);
    if (!jit)
        return false;
    for (unsigned i = 0; i < n; i++) {
        cpu[i] = jit_env_cpu(&env, jit, i);
        if (!cpu[i])
            return false;
        cpu[i]->pc = VA;
        jit_fpcr_changed(cpu[i]);
    }
    return true;
}

static void end(void)
{
    for (unsigned i = 0; i < ncpus; i++)
        jit_vcpu_destroy(cpu[i]);
    jit_destroy(jit);
}

static void run_at(unsigned i, uint64_t pc)
{
    cpu[i]->pc = pc;
    jit_run(cpu[i]);
}

static void *run_thread(void *arg)
{
    jit_run(arg);
    return NULL;
}

/* Runs all vCPUs until each has ended; false when one did by something else than SVC 0. */
static bool run_all(void)
{
    pthread_t t[MAX_CPUS];
    bool ok = true;

    for (unsigned i = 0; i < ncpus; i++)
        pthread_create(&t[i], NULL, run_thread, cpu[i]);
    for (unsigned i = 0; i < ncpus; i++) {
        pthread_join(t[i], NULL);
        ok &= env.event[i].kind == JIT_ENV_CALL;
    }
    return ok;
}

static bool fetch_aborted(unsigned i)
{
    return env.event[i].kind == JIT_ENV_ABORT && env.event[i].a == JIT_ENV_FETCH;
}

/* ---- jumps ---- */

/* Addresses that no instruction can have, in places of the jump cache that are empty: an alignment fault each, where a
 * branch leads there and where an exception returns there. */
static void test_odd_targets(void)
{
    CHECK(begin(1, 0));
    PUT(0, 0, BR(0));
    for (unsigned id = 0; id < 64; id++) {
        for (unsigned shift = 0; shift < 64; shift += 2) {
            uint64_t to = ~((uint64_t)id << shift);
            for (unsigned directly = 0; directly < 2; directly++) {
                cpu[0]->x[0] = to;
                run_at(0, directly ? to : VA);
                if (to & 3) {
                    CHECK_EQ(env.event[0].kind, JIT_ENV_PC_ALIGN);
                } else {
                    CHECK(fetch_aborted(0));
                }
                CHECK_EQ(env.event[0].far, to);
            }
        }
    }
    end();
}

#define MEETS (1u + JIT_JC_SIZE * 4 / 4096) /* the page that takes page 1's first places in the jump cache */
_Static_assert(MEETS < PAGES, "within the window");

/* Code of another address space is not reached through any spelling of its address, be it in its first or, displaced,
 * in its second place. */
static void foreign_code(bool displaced)
{
    CHECK(begin(1, 0));
    PUT(0, 0, BR(0));
    PUT(1, 0, MOVZ(1, 77), SVC(0));
    PUT(MEETS, 0, MOVZ(1, 78), SVC(0));
    run_at(0, VA + 0x1000);
    CHECK_EQ(cpu[0]->x[1], 77);
    if (displaced) {
        run_at(0, VA + MEETS * 4096);
        CHECK_EQ(cpu[0]->x[1], 78);
    }
    cpu[0]->sys.ttbr0_el1 = UINT64_C(2) << 48;
    jit_context_changed(cpu[0]);
    atomic_store(&map[1], NOWHERE);
    for (unsigned k = 0; k < 48 * 256; k++) {
        uint64_t to = (VA + 0x1000) ^ (uint64_t)(k / 48) << (16 + k % 48);
        if (to - VA >= RAM_SIZE) {
            cpu[0]->x[0] = to;
            run_at(0, VA);
            CHECK(fetch_aborted(0));
            CHECK_EQ(env.event[0].far, to);
        }
    }
    end();
}

static void test_foreign_code(void)
{
    foreign_code(false);
    foreign_code(true);
}

/* Two pages whose code meets in the jump cache, called in turns: both stay in it, and both are dropped. */
static void test_meeting_code(void)
{
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_VA, .asid = 0, .pages = 1};
    struct jit_vcpu *v;

    CHECK(begin(1, 0));
    v = jit_vcpu_of(cpu[0]);
    CHECK(!jit_stats_begin(v));
    PUT(0, 0, BLR(4), BLR(5), SUB(2, 2, 1), CBNZ(2, -3), SVC(0));
    PUT(1, 0, ADD(0, 0, 1), RET);
    PUT(2, 0, ADD(0, 0, 2), RET);
    PUT(MEETS, 0, ADD(1, 1, 1), RET);
    PUT(MEETS + 1, 0, ADD(1, 1, 2), RET);
    cpu[0]->x[4] = VA + 0x1000;
    cpu[0]->x[5] = VA + MEETS * 4096;
    cpu[0]->x[2] = 1000;
    run_at(0, VA);
    CHECK_EQ(cpu[0]->x[0], 1000);
    CHECK_EQ(cpu[0]->x[1], 1000);
    CHECK(v->stats->exits[JIT_EXIT_LOOKUP] < 20);
    for (unsigned k = 0; k < 8; k++) {
        uint64_t x0 = cpu[0]->x[0], x1 = cpu[0]->x[1], swap = cpu[0]->x[4];

        /* What was called last has the first place. */
        cpu[0]->x[4] = cpu[0]->x[5];
        cpu[0]->x[5] = swap;
        if (k & 4) {
            atomic_store(&map[MEETS], MEETS + (k >> 1 & 1));
            r.va = VA + MEETS * 4096;
        } else {
            atomic_store(&map[1], 1 + (k >> 1 & 1));
            r.va = VA + 0x1000;
        }
        jit_tlbi(cpu[0], &r, false);
        cpu[0]->x[2] = 1;
        run_at(0, VA);
        CHECK_EQ(cpu[0]->x[0] - x0, atomic_load(&map[1]));
        CHECK_EQ(cpu[0]->x[1] - x1, atomic_load(&map[MEETS]) - MEETS + 1);
    }
    end();
}

/* ---- maintenance on one vCPU ---- */

/* One page of a block mapping is named: the code of all its pages goes. */
static void test_block_mapping(void)
{
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_VA, .asid = 0, .va = VA + 0x9000, .pages = 1};

    CHECK(begin(1, 0));
    page_bits = 21;
    PUT(0, 0, MOVZ(0, 1), BLR(1), SVC(0));
    PUT(5, 0, MOVZ(0, 2), RET);
    PUT(6, 0, MOVZ(0, 3), RET);
    cpu[0]->x[1] = VA + 0x5000;
    run_at(0, VA);
    run_at(0, VA);
    CHECK_EQ(cpu[0]->x[0], 2);
    /* Another address space in between makes the TLB forget; what was called stays known. */
    cpu[0]->sys.ttbr0_el1 = UINT64_C(2) << 48;
    jit_context_changed(cpu[0]);
    cpu[0]->sys.ttbr0_el1 = 0;
    jit_context_changed(cpu[0]);
    atomic_store(&map[5], 6);
    jit_tlbi(cpu[0], &r, false);
    run_at(0, VA);
    CHECK_EQ(cpu[0]->x[0], 3);
    end();
}

/* All translations go, also while the numbers that tell code before from code afterwards are used up. */
static void test_tlbi_all(void)
{
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_ALL};

    CHECK(begin(1, 0));
    PUT(0, 0, LDR(0, 1), BLR(5), SVC(0));
    for (unsigned i = 0; i < 2; i++) {
        PUT(5 + i, 0, MOVZ(2, 5 + i), RET);
        env.ram[0x7000 + i * 0x1000] = (uint8_t)(7 + i);
    }
    cpu[0]->x[1] = VA + 0x7000;
    cpu[0]->x[5] = VA + 0x5000;
    for (unsigned k = 0; k < JIT_SALT_MAX + 4096; k++) {
        bool look = k % 1024 < 2 || k + 32 > JIT_SALT_MAX;

        atomic_store(&map[5], 5 + (k & 1));
        atomic_store(&map[7], 7 + (k & 1));
        jit_tlbi(cpu[0], &r, false);
        if (look)
            run_at(0, VA);
        if (look && (cpu[0]->x[0] != 7 + (k & 1) || cpu[0]->x[2] != 5 + (k & 1))) {
            CHECK_EQ(k, 0);
            break;
        }
    }
    end();
}

/* With 8-bit ASIDs the upper half of TTBR's field means nothing. */
static void test_short_asid(void)
{
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_ASID, .asid = 5};

    CHECK(begin(1, 0));
    PUT(0, 0, LDR(0, 1), SVC(0));
    env.ram[0x5000] = 1;
    env.ram[0x6000] = 2;
    cpu[0]->x[1] = VA + 0x5000;
    cpu[0]->sys.ttbr0_el1 = UINT64_C(0x0105) << 48;
    jit_context_changed(cpu[0]);
    run_at(0, VA);
    CHECK_EQ(cpu[0]->x[0], 1);
    atomic_store(&map[5], 6);
    jit_tlbi(cpu[0], &r, false);
    run_at(0, VA);
    CHECK_EQ(cpu[0]->x[0], 2);
    end();
}

static void svc_invalidate(struct arm64_cpu *c, uint32_t imm)
{
    (void)c;
    (void)imm;
    jit_invalidate(jit, env.ram, 4096);
}

/* Straight-line code that changes itself further down and synchronises. */
static void test_isb(void)
{
    CHECK(begin(1, 0));
    on_svc = svc_invalidate;
    PUT(0, 0, STRW(2, 1), DSB, SVC(1), DSB, ISB, MOVZ(0, 1), SVC(0));
    cpu[0]->x[1] = VA + 20;
    cpu[0]->x[2] = MOVZ(0, 2);
    run_at(0, VA);
    CHECK_EQ(cpu[0]->x[0], 2);
    PUT(0, 0x100, STRW(2, 1), DSB, ISB, MOVZ(0, 1), SVC(0));
    cpu[0]->x[1] = VA + 0x100 + 12;
    run_at(0, VA + 0x100);
    CHECK_EQ(cpu[0]->x[0], 2);
    end();
}

/* A reset finds a vCPU that was about to wait; another writes FPCR from outside, as CPU_ON does. */
static void test_reset(void)
{
    CHECK(begin(1, 0));
    PUT(0, 0, WFI, SVC(0));
    PUT(1, 0, FDIV, SVC(0));
    kick_in_hint = true;
    waits = 0;
    run_at(0, VA);
    kick_in_hint = false;
    jit_reset(cpu[0]);
    run_at(0, VA + 4);
    CHECK_EQ(waits, 0);

    cpu[0]->fpcr = 1u << 22; /* towards plus infinity */
    jit_fpcr_changed(cpu[0]);
    cpu[0]->fpcr = 0;
    jit_context_changed(cpu[0]);
    cpu[0]->v[0].d[0] = UINT64_C(0x3ff0000000000000);
    cpu[0]->v[1].d[0] = UINT64_C(0x4008000000000000);
    run_at(0, VA + 0x1000);
    CHECK_EQ(cpu[0]->v[0].d[0], UINT64_C(0x3fd5555555555555));
    end();
}

/* ---- several vCPUs ---- */

#define COUNT 3000

/* Exclusives and atomics of all vCPUs on two words. */
static void test_counters(void)
{
    uint64_t v[2];

    CHECK(begin(MAX_CPUS, 0));
    for (unsigned i = 0; i < ncpus; i++) {
        cpu[i]->x[1] = VA + 0x8000;
        cpu[i]->x[5] = VA + 0x8008;
        cpu[i]->x[6] = 1;
        cpu[i]->x[7] = COUNT;
    }
    PUT(0, 0, LDXR(2, 1), ADD(2, 2, 1), STXR(3, 2, 1), CBNZ(3, -3), LDADD(6, 4, 5), SUB(7, 7, 1), CBNZ(7, -6), SVC(0));
    CHECK(run_all());
    memcpy(v, env.ram + 0x8000, sizeof(v));
    CHECK_EQ(v[0], COUNT * MAX_CPUS);
    CHECK_EQ(v[1], COUNT * MAX_CPUS);
    end();
}

/* Pairs of words and of doublewords: the halves go up together, and what one vCPU read, another may not have changed.
 */
static void test_pair_counters(void)
{
    static const uint32_t loads[2] = {LDXP32(2, 3, 1), LDXP(2, 3, 1)};
    static const uint32_t stores[2] = {STXP32(4, 2, 3, 1), STXP(4, 2, 3, 1)};

    for (unsigned wide = 0; wide < 2; wide++) {
        uint64_t v[2] = {0};

        CHECK(begin(MAX_CPUS, 0));
        for (unsigned i = 0; i < ncpus; i++) {
            cpu[i]->x[1] = VA + 0x8000;
            cpu[i]->x[7] = COUNT;
        }
        PUT(0, 0, loads[wide], ADD(2, 2, 1), ADD(3, 3, 2), stores[wide], CBNZ(4, -4), SUB(7, 7, 1), CBNZ(7, -6),
            SVC(0));
        CHECK(run_all());
        memcpy(v, env.ram + 0x8000, 16);
        CHECK_EQ(v[0], wide ? COUNT * MAX_CPUS : (uint64_t)COUNT * MAX_CPUS * 2 << 32 | COUNT * MAX_CPUS);
        CHECK_EQ(v[1], wide ? COUNT * MAX_CPUS * 2 : 0);
        /* Translated: the interpreter would have stopped the others each time. */
        CHECK(jit->regions < COUNT);
        end();
    }
}

/* Three wait with a load-exclusive and WFE for what the fourth writes, and stop nobody by it. */
static void test_wait_for_change(void)
{
    CHECK(begin(MAX_CPUS, 0));
    PUT(0, 0, LDXR(2, 1), CBNZ(2, 3), WFE, B(-3), SVC(0));
    PUT(1, 0, MOVZ(8, 60000), SUB(8, 8, 1), CBNZ(8, -1), STR(5, 1), SVC(0));
    for (unsigned i = 0; i < ncpus; i++)
        cpu[i]->x[1] = VA + 0x8000;
    cpu[3]->pc = VA + 0x1000;
    cpu[3]->x[5] = 7;
    CHECK(run_all());
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(cpu[i]->x[2], 7);
    CHECK_EQ(jit->regions, 0);
    end();
}

static unsigned wakes;

static void op_wake(struct arm64_cpu *c)
{
    (void)c;
    wakes++;
}

/* SEV reaches all vCPUs, and wakes those whose event register it sets. */
static void test_event(void)
{
    CHECK(begin(MAX_CPUS, 0));
    PUT(0, 0, SEV, SVC(0));
    PUT(1, 0, WFE, MOVZ(0, 1), SVC(0));
    wakes = 0;
    run_at(0, VA);
    CHECK_EQ(wakes, MAX_CPUS - 1);
    run_at(1, VA + 0x1000);
    CHECK(!atomic_load(&cpu[1]->event) && atomic_load(&cpu[2]->event));
    run_at(0, VA);
    CHECK_EQ(wakes, MAX_CPUS);
    CHECK_EQ(cpu[1]->x[0], 1);
    end();
}

/* vCPU 0 rewrites a function and publishes which; the others call it and never see an older one than published. */
static bool say_ic;
static _Atomic uint32_t published;
static atomic_uint stale;

static void svc_smc(struct arm64_cpu *c, uint32_t imm)
{
    switch (imm) {
    case 1: /* writer: the store has been made */
        if (say_ic)
            jit_invalidate(jit, env.ram + 0x3000, 4);
        atomic_store(&published, (uint32_t)c->x[9]);
        break;
    case 2: c->x[10] = atomic_load(&published); break;
    default:
        if (c->x[0] < c->x[10])
            atomic_fetch_add(&stale, 1);
        c->x[7] = !atomic_load(&stopping);
        break;
    }
}

static void *stop_later(void *arg)
{
    struct timespec t = {.tv_nsec = 400 * 1000 * 1000};

    (void)arg;
    nanosleep(&t, NULL);
    atomic_store(&stopping, true);
    return NULL;
}

static bool run_a_while(void)
{
    pthread_t t;
    bool ok;

    pthread_create(&t, NULL, stop_later, NULL);
    ok = run_all();
    pthread_join(t, NULL);
    return ok;
}

static void smc_by_others(bool ic)
{
    CHECK(begin(3, 0));
    say_ic = ic;
    on_svc = svc_smc;
    atomic_store(&published, 0);
    atomic_store(&stale, 0);
    /* Writer: x9 counts, x2 is MOVZ X0, #x9. */
    PUT(0, 0, ADD(9, 9, 1), ADD(2, 2, 32), STRW(2, 1), DSB, SVC(1), DSB, SUB(7, 7, 1), CBNZ(7, -7), SVC(0));
    PUT(1, 0, SVC(2), ISB, BLR(5), SVC(3), CBNZ(7, -4), SVC(0));
    PUT(3, 0, MOVZ(0, 0), RET);
    cpu[0]->x[1] = VA + 0x3000;
    cpu[0]->x[2] = MOVZ(0, 0);
    cpu[0]->x[7] = 20000;
    for (unsigned i = 1; i < ncpus; i++) {
        cpu[i]->pc = VA + 0x1000;
        cpu[i]->x[5] = VA + 0x3000;
    }
    CHECK(run_a_while());
    CHECK_EQ(atomic_load(&stale), 0);
    end();
}

static void test_smc_by_others(void)
{
    smc_by_others(true);
}

/* CTR_EL0.DIC: a DSB is enough. */
static void test_smc_without_ic(void)
{
    smc_by_others(false);
}

/* vCPU 1 runs, in the middle of what vCPU 0 executes. */
static int op_other_runs(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t *val)
{
    (void)c;
    (void)va;
    (void)pa;
    (void)size;
    run_at(1, VA + 0x1000);
    *val = cpu[1]->x[0];
    return 0;
}

/* A block stores beside a function, which shows that the page may be written; then another vCPU translates and calls
 * the function; then the block stores to that, before or behind a DSB. */
static void smc_midway(bool behind)
{
    CHECK(begin(2, 0));
    atomic_store(&map[9], PAGES); /* no RAM */
    env.mem.mmio_read = op_other_runs;
    PUT(0, 0, STR(9, 1) | 64 / 8 << 10, LDR(3, 6), behind ? DSB : STRW(2, 1), behind ? STRW(2, 1) : DSB, DSB, SVC(0));
    PUT(1, 0, BLR(5), SVC(0));
    PUT(3, 0, MOVZ(0, 5), RET);
    cpu[0]->x[1] = VA + 0x3000;
    cpu[0]->x[2] = MOVZ(0, 6);
    cpu[0]->x[6] = VA + 0x9000;
    cpu[1]->x[5] = VA + 0x3000;
    run_at(0, VA);
    CHECK_EQ(env.event[0].kind, JIT_ENV_CALL);
    CHECK_EQ(cpu[0]->x[3], 5);
    run_at(1, VA + 0x1000);
    CHECK_EQ(cpu[1]->x[0], 6);
    end();
}

static void test_smc_midway(void)
{
    int (*was)(struct arm64_cpu *, uint64_t, uint64_t, unsigned, uint64_t *) = env.mem.mmio_read;

    smc_midway(false);
    smc_midway(true);
    env.mem.mmio_read = was;
}

/*
 * vCPU 0 moves a page to and fro between two places and says TLBI and DSB; then the place that it came from is
 * nobody's, and a write that still arrives there is wrong. The others increment words of the page by exclusives, which
 * run in regions, or by atomics.
 */
#define MOVED 16u
#define PLACE 32u

static atomic_uint lost;

static void svc_move(struct arm64_cpu *c, uint32_t imm)
{
    static uint64_t was[8];
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_VA, .asid = 0, .va = VA + MOVED * 4096, .pages = 1};
    uint32_t at = PLACE + (uint32_t)(c->x[9] & 1);

    if (imm == 1) {
        atomic_store(&map[MOVED], at);
        jit_tlbi(c, &r, true);
    } else if (imm == 2) { /* behind the DSB: from now on the other place stays as it is */
        memcpy(was, env.ram + (at ^ 1) * 4096, sizeof(was));
    } else {
        if (memcmp(was, env.ram + (at ^ 1) * 4096, sizeof(was)))
            atomic_fetch_add(&lost, 1);
        c->x[7] = !atomic_load(&stopping);
    }
}

static void svc_go_on(struct arm64_cpu *c, uint32_t imm)
{
    if (imm == 3)
        c->x[7] = !atomic_load(&stopping);
    else
        svc_move(c, imm);
}

static void test_tlbi_and_regions(void)
{
    CHECK(begin(MAX_CPUS, 0));
    on_svc = svc_go_on;
    atomic_store(&lost, 0);
    atomic_store(&map[MOVED], PLACE);
    PUT(0, 0, ADD(9, 9, 1), SVC(1), DSB, SVC(2), MOVZ(8, 3000), SUB(8, 8, 1), CBNZ(8, -1), SVC(4), CBNZ(7, -8), SVC(0));
    PUT(1, 0, LDXR(2, 1), ADD(2, 2, 1), STXR(3, 2, 1), SVC(3), CBNZ(7, -4), SVC(0));
    PUT(2, 0, LDADD(6, 2, 1), LDR(4, 1), ADD(4, 4, 1), STR(4, 5), SVC(3), CBNZ(7, -5), SVC(0));
    for (unsigned i = 1; i < ncpus; i++) {
        cpu[i]->pc = VA + (i == 3 ? 0x2000 : 0x1000);
        cpu[i]->x[1] = VA + MOVED * 4096 + i * 8;
        cpu[i]->x[5] = VA + MOVED * 4096 + i * 8 + 32;
        cpu[i]->x[6] = 1;
    }
    CHECK(run_a_while());
    CHECK_EQ(atomic_load(&lost), 0);
    end();
}

/* ---- maintenance of an address space that another vCPU is not in ---- */

static void enter_space(struct arm64_cpu *c, uint64_t asid)
{
    c->sys.ttbr0_el1 = asid << 48;
    jit_context_changed(c);
}

/* Does a request by vCPU 0 make vCPU 1, which looks as if it ran, leave its code? 0, 1; -1: vCPU 0 is told otherwise.
 */
static int tlbi_disturbs(enum jit_flush kind, uint16_t asid, unsigned page)
{
    struct jit_tlbi_request r = {.kind = (uint8_t)kind, .asid = asid, .va = VA + page * 4096, .pages = 1};
    struct jit_vcpu *o = jit_vcpu_of(cpu[1]), *v = jit_vcpu_of(cpu[0]);
    bool pending, leaves;

    atomic_store(&cpu[1]->exit_request, 0);
    atomic_store(&o->in_guest, 1);
    atomic_store(&v->dsb_work, 0);
    jit_tlbi(cpu[0], &r, true);
    atomic_store(&o->in_guest, 0);
    pending = atomic_load(&o->tlbi_pending);
    leaves = atomic_load(&cpu[1]->exit_request) & ARM64_EXIT_SYNC;
    return (atomic_load(&v->dsb_work) == JIT_DSB_TLBI) == pending && pending == leaves ? pending : -1;
}

static void test_tlbi_elsewhere(void)
{
    static const enum jit_flush kind[] = {JIT_FLUSH_VA, JIT_FLUSH_ASID};
    static const unsigned many[] = {0, JIT_TLBI_QUEUE - 4, 2 * JIT_TLBI_QUEUE};

    CHECK(begin(2, 0));
    PUT(0, 0, LDR(0, 1), BLR(5), SVC(0));
    PUT(5, 0, MOVZ(2, 5), RET);
    PUT(6, 0, MOVZ(2, 6), RET);
    env.ram[0x7000] = 7;
    env.ram[0x8000] = 8;
    cpu[1]->x[1] = VA + 0x7000;
    cpu[1]->x[5] = VA + 0x5000;
    for (unsigned k = 0; k < ARRAY_SIZE(kind) * ARRAY_SIZE(many); k++) {
        atomic_store(&map[5], 5);
        atomic_store(&map[7], 7);
        jit_loaded(cpu[1]); /* as new */
        enter_space(cpu[1], 2);
        run_at(1, VA);
        CHECK_EQ(cpu[1]->x[0] << 8 | cpu[1]->x[2], 0x705);
        enter_space(cpu[1], 1);
        atomic_store(&map[5], 6);
        atomic_store(&map[7], 8);
        CHECK_EQ(tlbi_disturbs(kind[k & 1], 2, 5), 0);
        CHECK_EQ(tlbi_disturbs(kind[k & 1], 2, 7), 0);
        for (unsigned i = 0; i < many[k / 2]; i++)
            CHECK_EQ(tlbi_disturbs(JIT_FLUSH_VA, 3, 100 + i), 0);
        enter_space(cpu[1], 2);
        run_at(1, VA);
        CHECK_EQ(cpu[1]->x[0] << 8 | cpu[1]->x[2], 0x806);
    }
    CHECK_EQ(tlbi_disturbs(JIT_FLUSH_VA, 2, 5), 1);
    run_at(1, VA);
    CHECK_EQ(tlbi_disturbs(JIT_FLUSH_VAA, 3, 5), 1);
    run_at(1, VA);
    CHECK_EQ(tlbi_disturbs(JIT_FLUSH_ALL, 0, 0), 1);
    run_at(1, VA);
    /* Pages that are in every address space. */
    global = true;
    jit_loaded(cpu[1]);
    run_at(1, VA);
    CHECK_EQ(tlbi_disturbs(JIT_FLUSH_VA, 3, 5), 1);
    run_at(1, VA);
    CHECK_EQ(tlbi_disturbs(JIT_FLUSH_ASID, 3, 5), 0);
    global = false;
    end();
}

/*
 * vCPU 0 moves a page of data and one of code of address space 2 to and fro, with TLBI and DSB, and looks for stores
 * where the data no longer is; the others enter that space and leave it.
 */
static atomic_uint begun, done;

static void svc_elsewhere(struct arm64_cpu *c, uint32_t imm)
{
    static uint64_t was[8];
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_VA, .asid = 2, .va = VA + MOVED * 4096, .pages = 2};
    uint32_t at = (uint32_t)(c->x[9] & 1);

    switch (imm) {
    case 1:
        atomic_store(&begun, (unsigned)c->x[9]);
        atomic_store(&map[MOVED], PLACE + at);
        atomic_store(&map[MOVED + 1], PLACE + 2 + at);
        jit_tlbi(c, &r, true);
        break;
    case 2:
        atomic_store(&done, (unsigned)c->x[9]);
        memcpy(was, env.ram + (PLACE + (at ^ 1)) * 4096, sizeof(was));
        break;
    case 3:
        if (memcmp(was, env.ram + (PLACE + (at ^ 1)) * 4096, sizeof(was)))
            atomic_fetch_add(&lost, 1);
        c->x[7] = !atomic_load(&stopping);
        break;
    case 4:
        enter_space(c, 2);
        c->x[10] = atomic_load(&done);
        break;
    default: /* what was called is of the last move, where there was no other since */
        if (c->x[0] != (c->x[10] & 1) && atomic_load(&begun) == c->x[10])
            atomic_fetch_add(&stale, 1);
        enter_space(c, 1);
        c->x[7] = !atomic_load(&stopping);
        break;
    }
}

static void test_moves_elsewhere(void)
{
    CHECK(begin(3, 0));
    on_svc = svc_elsewhere;
    atomic_store(&lost, 0);
    atomic_store(&stale, 0);
    atomic_store(&begun, 0);
    atomic_store(&done, 0);
    atomic_store(&map[MOVED], PLACE);
    atomic_store(&map[MOVED + 1], PLACE + 2);
    PUT(PLACE + 2, 0, MOVZ(0, 0), RET);
    PUT(PLACE + 3, 0, MOVZ(0, 1), RET);
    PUT(0, 0, ADD(9, 9, 1), SVC(1), DSB, SVC(2), MOVZ(8, 300), SUB(8, 8, 1), CBNZ(8, -1), SVC(3), CBNZ(7, -8), SVC(0));
    PUT(1, 0, SVC(4), LDADD(6, 2, 1), BLR(5), SVC(5), MOVZ(8, 30), SUB(8, 8, 1), CBNZ(8, -1), CBNZ(7, -7), SVC(0));
    enter_space(cpu[0], 9);
    for (unsigned i = 1; i < ncpus; i++) {
        cpu[i]->pc = VA + 0x1000;
        cpu[i]->x[1] = VA + MOVED * 4096 + i * 8;
        cpu[i]->x[5] = VA + (MOVED + 1) * 4096;
        cpu[i]->x[6] = 1;
        enter_space(cpu[i], 1);
    }
    CHECK(run_a_while());
    CHECK_EQ(atomic_load(&lost), 0);
    CHECK_EQ(atomic_load(&stale), 0);
    CHECK(atomic_load(&done) > 10);
    end();
}

/* Much more code than the cache holds, address spaces that come and go, TLB maintenance: every call counts once. */
#define CODE_PAGES 64u

static void svc_churn(struct arm64_cpu *c, uint32_t imm)
{
    struct jit_tlbi_request r = {.kind = JIT_FLUSH_VA, .asid = 3, .va = VA + 0x10000, .pages = 4};

    (void)imm;
    c->x[20]++;
    c->sys.ttbr0_el1 = (c->x[20] % 5) << 48;
    jit_context_changed(c);
    if (c->x[20] % 8 == 0)
        jit_tlbi(c, &r, true);
}

static void test_small_cache(void)
{
    /* Each function of a code page: X0 += 1, thrice, with a branch to the next of 40 in its page. */
    CHECK(begin(3, 1));
    on_svc = svc_churn;
    for (unsigned p = 0; p < CODE_PAGES; p++) {
        for (unsigned k = 0; k < 100; k++)
            PUT(16 + p, k * 40, ADD(0, 0, 1), LDR(3, 4), STR(3, 5), LDR(3, 5), STR(3, 5), LDR(3, 5), STR(3, 5),
                STR(3, 5), STR(3, 5), k == 99 ? RET : B(1));
    }
    PUT(0, 0, MOV(21, 19), SVC(1), MOVZ(11, CODE_PAGES), MOV(12, 13), BLR(12), ADD(12, 12, 1u << 12 | 1),
        SUB(11, 11, 1), CBNZ(11, -3), SUB(7, 7, 1), CBNZ(7, -8), SVC(0));
    for (unsigned i = 0; i < ncpus; i++) {
        cpu[i]->x[7] = 30;
        cpu[i]->x[4] = VA + 0x1000;
        cpu[i]->x[5] = VA + 0x2000 + i * 0x1000;
        cpu[i]->x[13] = VA + 0x10000;
    }
    CHECK(run_all());
    for (unsigned i = 0; i < ncpus; i++)
        CHECK_EQ(cpu[i]->x[0], 30u * CODE_PAGES * 100);
    CHECK(jit->flushes > 2);
    end();
}

/* ---- FPSR ---- */

static void test_fpsr_write(void)
{
    CHECK(begin(1, 0));
    PUT(0, 0, FDIV, SVC(0));
    cpu[0]->v[0].d[0] = UINT64_C(0x3ff0000000000000);
    cpu[0]->v[1].d[0] = UINT64_C(0x4008000000000000);
    run_at(0, VA);
    cpu[0]->fpsr = 0;
    jit_fpsr_changed(cpu[0]);
    jit_fpsr_sync(cpu[0]);
    CHECK_EQ(cpu[0]->fpsr, 0);
    end();
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!jit_env_init(&env, RAM_SIZE, map_page))
        return 1;
    env.mem.wait = op_wait;
    env.mem.wake = op_wake;
    env.ops.hint = op_hint;
    env.ops.call = op_call;
    RUN(test_odd_targets);
    RUN(test_foreign_code);
    RUN(test_meeting_code);
    RUN(test_block_mapping);
    RUN(test_tlbi_all);
    RUN(test_short_asid);
    RUN(test_isb);
    RUN(test_reset);
    RUN(test_counters);
    RUN(test_pair_counters);
    RUN(test_wait_for_change);
    RUN(test_event);
    RUN(test_smc_by_others);
    RUN(test_smc_without_ic);
    RUN(test_smc_midway);
    RUN(test_tlbi_and_regions);
    RUN(test_tlbi_elsewhere);
    RUN(test_moves_elsewhere);
    RUN(test_small_cache);
    RUN(test_fpsr_write);
    jit_env_free(&env);
    return check_done();
}
