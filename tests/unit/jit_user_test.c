/*
 * The JIT in user mode: faults and where they are reported, tagged addresses, mappings and code that change, exclusives
 * among threads and between processes, fork, and how a run is stopped. Each test runs on tier 1.
 *
 * Guest programs are a few instructions in memory of this process; SVC 0 ends the run, other immediates call back.
 */
#include "jit/rt/rt.h"
#include "tests/check.h"
#include "tests/lib/user_env.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_MDWE /* Linux 6.3 */
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

#define PAGE 4096u

/* Encodings. */
#define MOVZ(d, imm) (0xd2800000u | (uint32_t)(imm) << 5 | (d))
#define ADD(d, n, imm) (0x91000000u | (uint32_t)(imm) << 10 | (n) << 5 | (d))
#define SUB(d, n, imm) (0xd1000000u | (uint32_t)(imm) << 10 | (n) << 5 | (d))
#define ADDR(d, n, m) (0x8b000000u | (m) << 16 | (n) << 5 | (d))
#define MOV(d, m) (0xaa0003e0u | (m) << 16 | (d))
#define BR(n) (0xd61f0000u | (n) << 5)
#define BLR(n) (0xd63f0000u | (n) << 5)
#define RET 0xd65f03c0u
#define B(off) (0x14000000u | ((uint32_t)(off)&0x3ffffff))
#define BL(off) (0x94000000u | ((uint32_t)(off)&0x3ffffff))
#define CBZ(t, off) (0xb4000000u | ((uint32_t)(off)&0x7ffff) << 5 | (t))
#define CBNZ(t, off) (0xb5000000u | ((uint32_t)(off)&0x7ffff) << 5 | (t))
#define SVC(imm) (0xd4000001u | (uint32_t)(imm) << 5)
#define LDR(t, n) (0xf9400000u | (n) << 5 | (t))
#define STR(t, n) (0xf9000000u | (n) << 5 | (t))
#define LDXR(t, n) (0xc85f7c00u | (n) << 5 | (t))
#define STXR(s, t, n) (0xc8007c00u | (s) << 16 | (n) << 5 | (t))
#define LDADD(s, t, n) (0xf8200000u | (s) << 16 | (n) << 5 | (t))
#define MRS(t, op1, n, m, op2) (0xd5380000u | (op1) << 16 | (n) << 12 | (m) << 8 | (op2) << 5 | (t))
#define MSR_FPCR(t) (0xd51b4400u | (t))
#define DC_ZVA(t) (0xd50b7420u | (t))
#define IC_IVAU(t) (0xd50b7520u | (t))
#define DSB 0xd5033f9fu
#define ISB 0xd5033fdfu

/* Pages: without access, two that are written, without, two that are only read, without. */
static uint8_t *data;
static uint32_t *code;
#define CODE_PAGES 256u
#define DATA_PAGES 7u

static struct jit *jit;
static struct user_env_thread *thread;

static void *map(size_t pages, int prot)
{
    void *p = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        printf("no memory\n");
        exit(1);
    }
    return p;
}

static void put(uint32_t *at, const uint32_t *insn, unsigned n)
{
    memcpy(at, insn, n * 4);
    jit_user_invalidate(jit, (uint64_t)(uintptr_t)at, n * 4);
}
#define PUT(at, ...)                                                                                                   \
    do {                                                                                                               \
        const uint32_t insn_[] = {__VA_ARGS__};                                                                        \
        put(at, insn_, ARRAY_SIZE(insn_));                                                                             \
    } while (0)

static uint64_t addr(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

static struct user_env_thread *make_thread(void)
{
    struct user_env_thread *t = user_env_thread(jit);

    if (!t) {
        printf("no memory\n");
        exit(1);
    }
    return t;
}

static void begin(size_t code_size)
{
    jit = user_env_jit(JIT_TIER1, code_size);
    if (!jit)
        exit(1);
    thread = make_thread();
    user_env.svc = NULL;
    user_env.fault = NULL;
    user_env.executable = NULL;
    atomic_store(&user_env.signals, 0);
}

static void end(void)
{
    user_env_thread_end(thread);
    jit_destroy(jit);
}

/* Runs from `pc`; false unless SVC 0 ended it. */
static bool run(struct user_env_thread *t, const void *pc)
{
    t->cpu->pc = addr(pc);
    user_env_run(t);
    return t->event.kind == USER_ENV_CALL && t->event.b == 0;
}

static bool faulted(const struct user_env_thread *t, const void *pc, int signo, int why, uint64_t where, bool write)
{
    const struct user_env_event *e = &t->event;
    bool ok = e->kind == USER_ENV_FAULT && e->pc == addr(pc) && e->fault.signo == signo && e->fault.code == why &&
              e->fault.addr == where && e->fault.write == write && !e->fault.fetch;

    if (!ok)
        printf("  event %u at %" PRIx64 " (not %" PRIx64 "): signal %d/%d at %" PRIx64 " (not %" PRIx64 ")%s\n",
               e->kind, e->pc, addr(pc), e->fault.signo, e->fault.code, e->fault.addr, where,
               e->fault.write ? ", write" : "");
    return ok;
}

/* ---- faults ---- */

/* Accesses with base x1 (register offsets: plus x2, which is zero). */
static const struct access {
    const char *name;
    uint32_t insn;
    unsigned bytes;
    enum { LOAD, STORE, ORDERED_LOAD, ORDERED_STORE, ATOMIC } kind; /* the last three must be aligned */
} accesses[] = {
    {"ldrb", 0x39400020, 1, LOAD},
    {"ldrh", 0x79400020, 2, LOAD},
    {"ldr w", 0xb9400020, 4, LOAD},
    {"ldr x", 0xf9400020, 8, LOAD},
    {"ldrsb", 0x39800020, 1, LOAD},
    {"ldrsh", 0x79800020, 2, LOAD},
    {"ldrsw", 0xb9800020, 4, LOAD},
    {"ldr x6", 0xf9400026, 8, LOAD}, /* a register that no host register holds */
    {"ldr x post", 0xf8408420, 8, LOAD},
    {"ldr x pre", 0xf8400c20, 8, LOAD},
    {"ldr x, x2", 0xf8626820, 8, LOAD},
    {"ldp w", 0x29400c20, 8, LOAD},
    {"ldp x", 0xa9400c20, 16, LOAD},
    {"ldp x6", 0xa9401c26, 16, LOAD},
    {"ldp x post", 0xa8c10c20, 16, LOAD},
    {"ldp x1", 0xa9400c21, 16, LOAD}, /* the base is the first target */
    {"ldp x3, x1", 0xa9400423, 16, LOAD},
    {"ldpsw", 0x69400c20, 8, LOAD},
    {"ldr b", 0x3d400020, 1, LOAD},
    {"ldr h", 0x7d400020, 2, LOAD},
    {"ldr s", 0xbd400020, 4, LOAD},
    {"ldr d", 0xfd400020, 8, LOAD},
    {"ldr q", 0x3dc00020, 16, LOAD},
    {"ldr q, x2", 0x3ce26820, 16, LOAD},
    {"ldp s", 0x2d400c20, 8, LOAD},
    {"ldp d", 0x6d400c20, 16, LOAD},
    {"ldp q", 0xad400c20, 32, LOAD},
    {"ldp q post", 0xacc10c20, 32, LOAD},
    {"ld1 4", 0x4c402020, 64, LOAD},
    {"ld1 1 post", 0x4cdf7020, 16, LOAD},
    {"ld1r", 0x4d40cc20, 8, LOAD},
    {"ld4", 0x4c400020, 64, LOAD},
    {"ldar w", 0x88dffc20, 4, ORDERED_LOAD},
    {"ldar x", 0xc8dffc20, 8, ORDERED_LOAD},
    {"ldaxr", 0xc85ffc20, 8, ORDERED_LOAD},
    {"strb", 0x39000020, 1, STORE},
    {"strh", 0x79000020, 2, STORE},
    {"str w", 0xb9000020, 4, STORE},
    {"str x", 0xf9000020, 8, STORE},
    {"str x post", 0xf8008420, 8, STORE},
    {"str x pre", 0xf8000c20, 8, STORE},
    {"str x, x2", 0xf8226820, 8, STORE},
    {"stp w", 0x29000c20, 8, STORE},
    {"stp x", 0xa9000c20, 16, STORE},
    {"stp x pre", 0xa9800c20, 16, STORE},
    {"str b", 0x3d000020, 1, STORE},
    {"str h", 0x7d000020, 2, STORE},
    {"str s", 0xbd000020, 4, STORE},
    {"str d", 0xfd000020, 8, STORE},
    {"str q", 0x3d800020, 16, STORE},
    {"stp d", 0x6d000c20, 16, STORE},
    {"stp q", 0xad000c20, 32, STORE},
    {"st1 4", 0x4c002020, 64, STORE},
    {"st4", 0x4c000020, 64, STORE},
    {"stlr w", 0x889ffc20, 4, ORDERED_STORE},
    {"stlr x", 0xc89ffc20, 8, ORDERED_STORE},
    {"ldadd", 0xf8200023, 8, ATOMIC},
    {"swp w", 0xb8208023, 4, ATOMIC},
    {"cas", 0xc8a07c23, 8, ATOMIC},
    {"casp", 0x48207c22, 16, ATOMIC},
    {"ldset", 0xf8203023, 8, ATOMIC},
};

static void set_registers(struct arm64_cpu *c, uint64_t base)
{
    for (unsigned i = 0; i < 31; i++)
        c->x[i] = UINT64_C(0x0101010101010101) * i;
    for (unsigned i = 0; i < 32; i++)
        c->v[i] = (arm64_vreg){.d = {i, ~(uint64_t)i}};
    c->x[31] = addr(data + PAGE);
    c->x[1] = base;
    c->x[2] = 0;
    arm64_set_nzcv(c, PSTATE_N | PSTATE_C);
}

/* What an instruction that faulted must have left alone: registers but its targets, flags. */
static bool kept(const struct arm64_cpu *c, uint64_t base, bool targets_too)
{
    for (unsigned i = 0; i < 31; i++) {
        uint64_t want = i == 1 ? base : i == 2 ? 0 : UINT64_C(0x0101010101010101) * i;
        bool target = i == 0 || i == 3 || i == 6 || i == 7;
        if (c->x[i] != want && (targets_too || !target)) {
            printf("  x%u is %" PRIx64 ", not %" PRIx64 "\n", i, c->x[i], want);
            return false;
        }
    }
    return arm64_nzcv(c) == (PSTATE_N | PSTATE_C);
}

/* One access at `base`; `bad` is the first address that it cannot have, or 0. */
static bool access_one(const struct access *a, uint64_t base, uint64_t bad, bool readable)
{
    static const char *const pairs[] = {"ldp", "stp", "ld1 ", "ld4", "st1", "st4"};
    bool several = false, write = a->kind == STORE || a->kind == ORDERED_STORE || a->kind == ATOMIC;

    for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++)
        several |= !strncmp(a->name, pairs[i], strlen(pairs[i]));
    PUT(code, 0xd503201f, a->insn, SVC(0));
    set_registers(thread->cpu, base);
    run(thread, code);
    if (a->kind >= ORDERED_LOAD && (base & (a->bytes - 1)))
        return faulted(thread, code + 1, SIGBUS, BUS_ADRALN, base, write) && kept(thread->cpu, base, true);
    if (!bad)
        return thread->event.kind == USER_ENV_CALL;
    /* What a read would have met too is reported as a read (ESR_EL1.WnR). */
    if (a->kind == ATOMIC && !readable)
        write = false;
    return faulted(thread, code + 1, SIGSEGV, SEGV_ACCERR, bad, write) && kept(thread->cpu, base, !several);
}

/* Each access at each distance from a page without access, before and behind it, and on pages that are only read. */
static void test_page_ends(void)
{
    uint64_t low = addr(data + PAGE), high = low + 2 * PAGE, ro = addr(data + 5 * PAGE);
    unsigned long places = 0;

    begin(0);
    for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
        const struct access *a = &accesses[i];
        bool write = a->kind != LOAD && a->kind != ORDERED_LOAD;

        for (unsigned k = 0; k <= a->bytes; k++, places += 3) {
            bool ok = access_one(a, high - k, k < a->bytes ? high : 0, false) &&
                      access_one(a, low - k, k ? low - k : 0, false) && access_one(a, ro - k, write ? ro - k : 0, true);
            if (!ok)
                printf("  %s, %u bytes before the end of a page\n", a->name, k);
            CHECK(ok);
        }
    }
    printf("  %u accesses, %lu places, %u signals\n", (unsigned)ARRAY_SIZE(accesses), places,
           atomic_load(&user_env.signals));
    end();
}

/* Addresses that are not there, not canonical, the kernel's; DC ZVA reports the address in its register. */
static void test_addresses(void)
{
    static const uint64_t far[] = {0,
                                   8,
                                   UINT64_C(0x0000800000000000),
                                   UINT64_C(0x0001000000000000),
                                   UINT64_C(0x00ff000000000000),
                                   UINT64_C(0x0040000000000000)};

    begin(0);
    PUT(code, LDR(0, 1), SVC(0));
    PUT(code + 8, STR(0, 1), SVC(0));
    PUT(code + 16, LDADD(0, 0, 1), SVC(0));
    for (unsigned i = 0; i < ARRAY_SIZE(far); i++) {
        for (unsigned k = 0; k < 3; k++) {
            thread->cpu->x[1] = far[i];
            CHECK(!run(thread, code + k * 8));
            CHECK(faulted(thread, code + k * 8, SIGSEGV, SEGV_MAPERR, far[i], k == 1));
        }
    }
    /* Bit 55 says that the address is the kernel's: an ignored top byte does not make it the guest's. */
    thread->cpu->x[1] = UINT64_C(0x5580000000000000);
    CHECK(!run(thread, code));
    CHECK(faulted(thread, code, SIGSEGV, SEGV_MAPERR, UINT64_C(0x5580000000000000), false));
    thread->cpu->x[1] = UINT64_C(0xffff800000000000);
    CHECK(!run(thread, code));
    CHECK(thread->event.kind == USER_ENV_FAULT && thread->event.fault.signo == SIGSEGV);

    PUT(code, DC_ZVA(1), SVC(0));
    thread->cpu->x[1] = addr(data + 3 * PAGE) + 0x123;
    CHECK(!run(thread, code));
    CHECK(faulted(thread, code, SIGSEGV, SEGV_ACCERR, addr(data + 3 * PAGE) + 0x123, true));
    memset(data + PAGE, 0xff, 192);
    thread->cpu->x[1] = addr(data + PAGE) + 0x57;
    CHECK(run(thread, code));
    CHECK(data[PAGE + 63] == 0xff && data[PAGE + 64] == 0 && data[PAGE + 127] == 0 && data[PAGE + 128] == 0xff);
    end();
}

/* Beyond the end of a file that was cut off: SIGBUS. */
static void test_sigbus(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    uint8_t *p;

    begin(0);
    CHECK(fd >= 0 && !ftruncate(fd, 2 * PAGE));
    p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED && !ftruncate(fd, PAGE));
    PUT(code, LDR(0, 1), SVC(0));
    thread->cpu->x[1] = addr(p) + PAGE - 4;
    CHECK(!run(thread, code));
    CHECK(faulted(thread, code, SIGBUS, BUS_ADRERR, addr(p) + PAGE, false));
    /* The same for code. */
    CHECK(!run(thread, p + PAGE));
    CHECK(thread->event.fault.fetch && thread->event.fault.signo == SIGBUS);
    munmap(p, 2 * PAGE);
    close(fd);
    end();
}

static unsigned served;

static bool serve_mapping(struct arm64_cpu *c, const struct jit_fault *f)
{
    served++;
    (void)c;
    return !mprotect((void *)(uintptr_t)(f->addr & ~UINT64_C(0xfff)), PAGE, PROT_READ | PROT_WRITE);
}

static bool serve_elsewhere(struct arm64_cpu *c, const struct jit_fault *f)
{
    (void)f;
    served++;
    c->pc = addr(code + 32);
    return true;
}

/* A handler may make the address good, or go elsewhere; and the next access is at full speed again. */
static void test_served_faults(void)
{
    uint8_t *p = map(64, PROT_NONE);

    begin(0);
    /* x1 goes over 64 pages in steps of 1024 bytes; each is written and read back. */
    PUT(code, STR(1, 1), LDR(3, 1), ADDR(4, 4, 3), ADD(1, 1, 1024), SUB(2, 2, 1), CBNZ(2, -5), SVC(0));
    PUT(code + 32, MOVZ(5, 77), SVC(0));
    served = 0;
    user_env.fault = serve_mapping;
    thread->cpu->x[1] = addr(p);
    thread->cpu->x[2] = 64 * 4;
    thread->cpu->x[4] = 0;
    CHECK(run(thread, code));
    CHECK_EQ(served, 64);
    CHECK_EQ(thread->cpu->x[4], 256 * addr(p) + 1024 * (255 * 256 / 2));
    /* One signal for generated code, one for the interpreter. */
    CHECK_EQ(atomic_load(&user_env.signals), 128);
    user_env.fault = serve_elsewhere;
    thread->cpu->x[1] = addr(data);
    thread->cpu->x[5] = 0;
    CHECK(run(thread, code));
    CHECK_EQ(thread->cpu->x[5], 77);
    munmap(p, 64 * PAGE);
    end();
}

/* An access with a tag is slow once a place; where there are many, everywhere but at first. */
static void test_tags(void)
{
    uint64_t p = addr(data + PAGE);
    unsigned before;

    begin(0);
    /* Loads, stores, a pair that writes its base back, a vector and an atomic, 1000 times, tags changing. */
    PUT(code, ADDR(1, 3, 4), STR(5, 1), LDR(6, 1), ADDR(7, 7, 6), 0xa9bf1825 /* stp x5, x6, [x1, #-16]! */,
        0x3cc10420 /* ldr q0, [x1], #16 */, LDADD(8, 9, 1), ADDR(4, 4, 10), ADD(5, 5, 1), SUB(2, 2, 1), CBNZ(2, -10),
        SVC(0));
    thread->cpu->x[2] = 1000;
    thread->cpu->x[3] = p + 64;
    thread->cpu->x[4] = UINT64_C(0x0100000000000000);
    thread->cpu->x[10] = UINT64_C(0x0100000000000000);
    thread->cpu->x[5] = thread->cpu->x[7] = 0;
    thread->cpu->x[8] = 1;
    CHECK(run(thread, code));
    CHECK_EQ(thread->cpu->x[7], 1000 * 999 / 2);
    CHECK_EQ(le64_get(data + PAGE + 64), 1000);
    CHECK_EQ(le64_get(data + PAGE + 48), 999);
    /* The base was written back with its tag. */
    CHECK_EQ(thread->cpu->x[1], (p + 64) | (thread->cpu->x[4] - UINT64_C(0x0100000000000000)));
    CHECK_EQ(jit->nmasked, 5);
    CHECK_EQ(atomic_load(&user_env.signals), 5);

    /* More places than the table has. */
    for (unsigned i = 0; i < 2000; i++)
        code[i] = LDR(6, 1);
    code[2000] = SVC(0);
    jit_user_invalidate(jit, addr(code), 8004);
    thread->cpu->x[1] = p | UINT64_C(0x7f00000000000000);
    CHECK(run(thread, code));
    before = atomic_load(&user_env.signals);
    CHECK(before < 600);
    CHECK(run(thread, code));
    CHECK(atomic_load(&user_env.signals) - before < 100);
    before = atomic_load(&user_env.signals);
    CHECK(run(thread, code));
    CHECK_EQ(atomic_load(&user_env.signals), before);

    /* A tagged address that is bad is reported with its tag; branch targets lose theirs. */
    thread->cpu->x[1] = addr(data) | UINT64_C(0x3300000000000000);
    CHECK(!run(thread, code));
    CHECK(faulted(thread, code, SIGSEGV, SEGV_ACCERR, thread->cpu->x[1], false));
    PUT(code, BR(1), SVC(1));
    PUT(code + 64, SVC(0));
    thread->cpu->x[1] = addr(code + 64) | UINT64_C(0xab00000000000000);
    CHECK(run(thread, code));
    CHECK_EQ(thread->cpu->pc, addr(code + 64));
    end();
}

/* ---- mappings and code that change ---- */

static _Atomic uint64_t not_executable;

static bool executable(uint64_t va)
{
    return (va & ~UINT64_C(0xfff)) != atomic_load(&not_executable);
}

static bool fetch_faulted(const struct user_env_thread *t, uint64_t pc, int signo, int why)
{
    const struct user_env_event *e = &t->event;
    bool ok = e->kind == USER_ENV_FAULT && e->fault.fetch && e->pc == pc && e->fault.addr == pc &&
              e->fault.signo == signo && e->fault.code == why;

    if (!ok)
        printf("  event %u at %" PRIx64 " (not %" PRIx64 "): signal %d/%d at %" PRIx64 "\n", e->kind, e->pc, pc,
               e->fault.signo, e->fault.code, e->fault.addr);
    return ok;
}

/* A caller is linked to a callee on another page, which is unmapped, replaced, and made data. */
static void test_remapping(void)
{
    uint32_t *f = map(1, PROT_READ | PROT_WRITE), *caller = code + 1024;
    int32_t to = (int32_t)((f - (caller + 2)));

    begin(0);
    user_env.executable = executable;
    if (labs((long)(f - caller)) > 1 << 24) { /* too far for BL */
        munmap(f, PAGE);
        f = code + 8 * 1024;
        to = (int32_t)(f - (caller + 2));
    }
    PUT(f, ADD(0, 0, 1), RET);
    PUT(caller, MOV(19, 30), MOVZ(2, 100), BL(to), SUB(2, 2, 1), CBNZ(2, -2), MOV(30, 19), SVC(0));
    thread->cpu->x[0] = 0;
    CHECK(run(thread, caller));
    CHECK_EQ(thread->cpu->x[0], 100);
    /* Other code in its place. */
    CHECK(mmap(f, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == f);
    f[0] = ADD(0, 0, 2);
    f[1] = RET;
    jit_user_invalidate(jit, addr(f), PAGE);
    thread->cpu->x[0] = 0;
    CHECK(run(thread, caller));
    CHECK_EQ(thread->cpu->x[0], 200);
    /* No longer executable: the call is done, and the fault is there. */
    atomic_store(&not_executable, addr(f));
    jit_user_invalidate(jit, addr(f), PAGE);
    CHECK(!run(thread, caller));
    CHECK(fetch_faulted(thread, addr(f), SIGSEGV, SEGV_ACCERR));
    CHECK_EQ(thread->cpu->x[30], addr(caller + 3));
    atomic_store(&not_executable, 0);
    CHECK(run(thread, caller));
    /* Gone, by a large range. */
    munmap(f, PAGE);
    jit_user_invalidate(jit, 0, BIT64(47));
    CHECK(!run(thread, caller));
    CHECK(fetch_faulted(thread, addr(f), SIGSEGV, SEGV_MAPERR));
    CHECK(mmap(f, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == f);
    end();
}

/* Jumps to nowhere. */
static void test_wild_jumps(void)
{
    /* The third is far below where the kernel and the sanitizers put mappings that ask for no place. */
    const uint64_t to[] = {0, 4, UINT64_C(0x30000000), UINT64_C(0x00ff800000000000), UINT64_C(0x80)};

    begin(0);
    PUT(code, BR(1), SVC(1));
    for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
        for (unsigned k = 0; k < 2; k++) { /* again, by the jump cache */
            thread->cpu->x[1] = to[i];
            CHECK(!run(thread, code));
            CHECK(fetch_faulted(thread, (uint64_t)sext64(to[i], 56), SIGSEGV, SEGV_MAPERR));
        }
    }
    thread->cpu->x[1] = UINT64_MAX;
    CHECK(!run(thread, code));
    CHECK(fetch_faulted(thread, UINT64_MAX, SIGBUS, BUS_ADRALN));
    thread->cpu->x[1] = addr(code) + 2;
    CHECK(!run(thread, code));
    CHECK(fetch_faulted(thread, addr(code) + 2, SIGBUS, BUS_ADRALN));
    end();
}

/* Code is written through one mapping and executed through another, which IC IVAU names. */
static void test_two_mappings(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    uint32_t *w, *x;

    begin(0);
    CHECK(fd >= 0 && !ftruncate(fd, PAGE));
    w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    x = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(w != MAP_FAILED && x != MAP_FAILED);
    w[0] = ADD(0, 0, 1);
    w[1] = RET;
    /* Calls x22, stores the word in w23 through x21, invalidates, calls again. */
    PUT(code, BLR(22), 0xb90002b7 /* str w23, [x21] */, DSB, IC_IVAU(22), DSB, ISB, BLR(22), SVC(0));
    for (unsigned i = 2; i < 100; i++) {
        thread->cpu->x[0] = 0;
        thread->cpu->x[21] = addr(w);
        thread->cpu->x[22] = addr(x);
        thread->cpu->x[23] = ADD(0, 0, i);
        CHECK(run(thread, code));
        CHECK_EQ(thread->cpu->x[0], i - 1 + i);
    }
    munmap(w, PAGE);
    munmap(x, PAGE);
    jit_user_invalidate(jit, addr(x), PAGE);
    close(fd);
    end();
}

/* Code that writes the instruction behind its own ISB. */
static void test_own_block(void)
{
    begin(0);
    for (unsigned i = 1; i < 20; i++) {
        PUT(code, 0xb90002b7 /* str w23, [x21] */, DSB, IC_IVAU(21), DSB, ISB, MOVZ(0, 0), SVC(0));
        thread->cpu->x[21] = addr(code + 5);
        thread->cpu->x[23] = MOVZ(0, 7);
        CHECK(run(thread, code));
        CHECK_EQ(thread->cpu->x[0], 7);
    }
    end();
}

/* More code than the cache holds. */
static void test_small_cache(void)
{
    begin(1);
    for (unsigned round = 0; round < 3; round++) {
        /* Blocks of two instructions that lead to each other over 200 pages. */
        uint32_t *last = code + 200 * 1024;
        for (uint32_t *p = code; p < last; p += 2) {
            p[0] = ADD(0, 0, 1 + round);
            p[1] = B(1);
        }
        last[0] = SVC(0);
        jit_user_invalidate(jit, addr(code), 201 * PAGE);
        thread->cpu->x[0] = 0;
        CHECK(run(thread, code));
        CHECK_EQ(thread->cpu->x[0], 200 * 512 * (1 + round));
    }
    printf("  the cache was emptied %lu times\n", (unsigned long)jit->flushes);
    CHECK(jit->flushes > 3);
    end();
}

/* ---- calls and registers ---- */

static bool count_svc(struct arm64_cpu *c, uint32_t imm)
{
    if (imm == 0)
        return false;
    c->x[0] += imm;
    c->x[28] = c->pc; /* of the SVC */
    return true;
}

/* SVC is served without leaving for good, with all state whole; FPCR and constants. */
static void test_calls(void)
{
    begin(0);
    user_env.svc = count_svc;
    PUT(code, MOVZ(2, 1000), MOVZ(0, 0), ADD(0, 0, 1), SVC(3), SUB(2, 2, 1), CBNZ(2, -3), SVC(0));
    CHECK(run(thread, code));
    CHECK_EQ(thread->cpu->x[0], 4000);
    CHECK_EQ(thread->cpu->x[28], addr(code + 3));
    /* DCZID_EL0, TPIDR_EL0. */
    PUT(code, MRS(0, 3, 0, 0, 7), 0xd51bd041 /* msr tpidr_el0, x1 */, MRS(2, 3, 13, 0, 2), SVC(0));
    thread->cpu->x[1] = 4711;
    CHECK(run(thread, code));
    CHECK_EQ(thread->cpu->x[0], 4);
    CHECK_EQ(thread->cpu->x[2], 4711);
    /* 1/3 rounded to nearest, up, and by the interpreter (FZ): blocks of another kind, in another jump cache. */
    PUT(code, MSR_FPCR(1), 0x1e611800 /* fdiv d0, d0, d1 */, 0x9e660000 /* fmov x0, d0 */, RET);
    PUT(code + 16, BL(-16), SVC(0));
    for (unsigned k = 0; k < 4; k++) {
        thread->cpu->v[0].d[0] = UINT64_C(0x3ff0000000000000);
        thread->cpu->v[1].d[0] = UINT64_C(0x4008000000000000);
        thread->cpu->x[1] = k == 1 ? 1u << 22 : k == 2 ? 1u << 24 : 0;
        CHECK(run(thread, code + 16));
        CHECK_EQ(thread->cpu->x[0], UINT64_C(0x3fd5555555555555) + (k == 1));
    }
    end();
}

/* Not a signal: the thread sanitizer holds those back from code that it does not know. */
static void *kick_soon(void *arg)
{
    (void)arg;
    usleep(3000);
    atomic_fetch_or(&thread->cpu->exit_request, ARM64_EXIT_KICK);
    return NULL;
}

/* Loops of every kind are left when somebody asks, with the pc inside. */
static void test_kick(void)
{
    uint32_t *far = code + 5 * 1024;
    pthread_t kicker;

    begin(0);
    for (unsigned k = 0; k < 5; k++) {
        switch (k) {
        case 0: PUT(code, B(0)); break;
        case 1: PUT(code, ADD(0, 0, 1), CBZ(31, -1)); break;
        case 2: PUT(code, BR(1)); break;
        case 3:
            PUT(code, B(far - code));
            PUT(far, B(code - far));
            break;
        default: PUT(code, MOV(30, 1), RET); break;
        }
        thread->cpu->x[1] = addr(code);
        CHECK_EQ(pthread_create(&kicker, NULL, kick_soon, NULL), 0);
        CHECK(!run(thread, code));
        pthread_join(kicker, NULL);
        CHECK_EQ(thread->event.kind, USER_ENV_NONE);
        CHECK(thread->cpu->pc - addr(code) < 8 || thread->cpu->pc == addr(far));
    }
    end();
}

/* ---- threads ---- */

#define MAX_THREADS 8

struct job {
    pthread_t id;
    uint64_t x[8]; /* x0..x7 at the start, and at the end */
    const void *pc;
    bool ok;
};

static void *job_main(void *arg)
{
    struct job *job = arg;
    struct user_env_thread *t;

    user_env_init();
    t = make_thread();
    memcpy(t->cpu->x, job->x, sizeof(job->x));
    job->ok = run(t, job->pc);
    memcpy(job->x, t->cpu->x, sizeof(job->x));
    user_env_thread_end(t);
    return NULL;
}

static bool run_jobs(struct job *jobs, unsigned n)
{
    bool ok = true;

    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&jobs[i].id, NULL, job_main, &jobs[i]))
            exit(1);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(jobs[i].id, NULL);
        ok &= jobs[i].ok;
    }
    return ok;
}

/* x1 counts what is at x0: by a pair that the translator knows, and by one with an access in between. */
static void put_counters(void)
{
    PUT(code, LDXR(2, 0), ADD(2, 2, 1), STXR(3, 2, 0), CBNZ(3, -3), SUB(1, 1, 1), CBNZ(1, -5), SVC(0));
    PUT(code + 16, LDXR(2, 0), LDR(4, 5), ADDR(2, 2, 4), STXR(3, 2, 0), CBNZ(3, -4), SUB(1, 1, 1), CBNZ(1, -6), SVC(0));
}

static void test_exclusive_counters(void)
{
    struct job jobs[4];
    uint64_t *counter = (uint64_t *)(void *)(data + PAGE);

    begin(0);
    put_counters();
    counter[0] = 0;
    counter[8] = 1;
    for (unsigned i = 0; i < 4; i++)
        jobs[i] = (struct job){.x = {addr(counter), i & 1 ? 3000 : 200000, 0, 0, 0, addr(&counter[8])},
                               .pc = code + (i & 1) * 16};
    CHECK(run_jobs(jobs, 4));
    CHECK_EQ(counter[0], 2 * 203000);
    end();
}

/*
 * A stack of nodes that are taken off and put back: LDXR of the head, LDR of the first node's next, STXR. With
 * compare-and-swap alone a node that was taken and put back meanwhile would make the head what nobody owns (ABA).
 */
static void test_exclusive_stack(void)
{
    struct job jobs[4];
    uint64_t *head = (uint64_t *)(void *)(data + PAGE), *nodes = head + 16, n = 0;

    begin(0);
    PUT(code, LDXR(2, 0), CBZ(2, 11) /* empty */, LDR(3, 2), STXR(4, 3, 0), CBNZ(4, -4), /* x2 is ours */
        LDXR(3, 0), STR(3, 2), STXR(4, 2, 0), CBNZ(4, -3), ADD(5, 5, 1), SUB(1, 1, 1), CBNZ(1, -11), SVC(0));
    for (unsigned i = 0; i < 3; i++)
        nodes[i * 8] = i < 2 ? addr(&nodes[(i + 1) * 8]) : 0;
    head[0] = addr(nodes);
    for (unsigned i = 0; i < 4; i++)
        jobs[i] = (struct job){.x = {addr(head), 1500}, .pc = code};
    CHECK(run_jobs(jobs, 4));
    for (uint64_t p = head[0]; p && n < 10; p = *(uint64_t *)(uintptr_t)p)
        n++;
    CHECK_EQ(n, 3);
    /* One that runs while others hold all three gets none. */
    n = 0;
    for (unsigned i = 0; i < 4; i++)
        n += jobs[i].x[5];
    CHECK(n > 0);
    end();
}

/* Two processes count in memory that they share. */
static void test_exclusive_processes(void)
{
    uint64_t *counter = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t pid;

    CHECK(counter != MAP_FAILED);
    begin(0);
    put_counters();
    counter[8] = 1;
    jit_user_fork_begin(thread->cpu);
    pid = fork();
    CHECK(pid >= 0 && !jit_user_fork_end(thread->cpu, pid == 0));
    for (unsigned k = 0; k < 2; k++) {
        thread->cpu->x[0] = addr(counter);
        thread->cpu->x[1] = 100000;
        thread->cpu->x[5] = addr(&counter[8]);
        if (!run(thread, code + k * 16) && pid == 0)
            _exit(1);
    }
    if (pid == 0)
        _exit(0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK_EQ(counter[0], 400000);
    munmap(counter, PAGE);
    end();
}

/* Code that changes under threads that run it: each sees one word or the other, and in the end the new one. */
static void *changer(void *arg)
{
    uint32_t *at = arg;

    for (unsigned i = 0; i < 3000; i++) {
        __atomic_store_n(at, ADD(4, 4, 1 + (i & 1)), __ATOMIC_SEQ_CST);
        jit_user_invalidate(jit, addr(at), 4);
    }
    return NULL;
}

static void test_changing_code(void)
{
    struct job jobs[3];
    pthread_t id;

    begin(0);
    PUT(code, ADD(4, 4, 1), ADD(0, 0, 1), SUB(1, 1, 1), CBNZ(1, -3), SVC(0));
    for (unsigned i = 0; i < 3; i++)
        jobs[i] = (struct job){.x = {0, 3000000}, .pc = code};
    CHECK(!pthread_create(&id, NULL, changer, code));
    CHECK(run_jobs(jobs, 3));
    pthread_join(id, NULL);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(jobs[i].x[0], 3000000);
        CHECK(jobs[i].x[4] >= 3000000 && jobs[i].x[4] <= 6000000);
    }
    thread->cpu->x[4] = 0;
    thread->cpu->x[1] = 100;
    CHECK(run(thread, code));
    CHECK_EQ(thread->cpu->x[4], 200);
    end();
}

/* A loop that keeps vectors in host registers, and branches to itself without leaving its block. */
static void *ender(void *arg)
{
    uint32_t *at = arg;

    usleep(20000);
    __atomic_store_n(at, SVC(0), __ATOMIC_SEQ_CST);
    jit_user_invalidate(jit, addr(at), 4);
    return NULL;
}

static void test_changing_loop(void)
{
    const double one = 1;
    pthread_t id;
    double sum;

    begin(0);
    PUT(code, 0x1e612800u /* fadd d0, d0, d1 */, ADD(0, 0, 1), B(-2));
    memset(thread->cpu->v, 0, sizeof(thread->cpu->v));
    memcpy(&thread->cpu->v[1], &one, sizeof(one));
    thread->cpu->x[0] = 0;
    CHECK(!pthread_create(&id, NULL, ender, &code[2]));
    CHECK(run(thread, code));
    pthread_join(id, NULL);
    memcpy(&sum, &thread->cpu->v[0], sizeof(sum));
    CHECK(thread->cpu->x[0] > 1 && sum == (double)thread->cpu->x[0]);
    end();
}

static bool wait_svc(struct arm64_cpu *c, uint32_t imm)
{
    if (imm == 0)
        return false;
    jit_user_outside(c);
    usleep(1000);
    jit_user_inside(c);
    return true;
}

/* Threads come and go, wait outside, and run through a cache that is emptied again and again. */
static void test_threads_and_flushes(void)
{
    struct job jobs[4];
    uint32_t *last = code + 200 * 1024;

    begin(1);
    user_env.svc = wait_svc;
    for (uint32_t *p = code; p < last; p += 2) {
        p[0] = ADD(2, 2, 1);
        p[1] = (p - code) % (32 * 1024) ? B(1) : SVC(1);
    }
    last[0] = SVC(0);
    jit_user_invalidate(jit, addr(code), 201 * PAGE);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++)
            jobs[i] = (struct job){.pc = code};
        CHECK(run_jobs(jobs, 4));
        for (unsigned i = 0; i < 4; i++)
            CHECK_EQ(jobs[i].x[2], 200 * 512);
    }
    CHECK(jit->flushes > 3);
    CHECK_EQ(jit->ncpus, 1);
    end();
}

/* ---- fork ---- */

static pid_t forked;

static bool fork_svc(struct arm64_cpu *c, uint32_t imm)
{
    int ret;

    if (imm == 0)
        return false;
    jit_user_outside(c);
    jit_user_fork_begin(c);
    forked = fork();
    ret = jit_user_fork_end(c, forked == 0);
    jit_user_inside(c);
    c->x[0] = (uint64_t)(forked == 0);
    return ret == 0;
}

/* Parent and child go on from the same place, and make and change code of their own at the same addresses. */
static bool fork_and_differ(void)
{
    int status;
    bool ok, child;

    begin(0);
    user_env.svc = fork_svc;
    PUT(code, ADD(1, 1, 1), SVC(1), CBNZ(0, 2), B(8), /* child */ BL(28), SVC(0));
    PUT(code + 11, /* parent */ BL(37), SVC(0));
    PUT(code + 32, ADD(2, 2, 1), RET);
    PUT(code + 48, ADD(2, 2, 10), RET);
    thread->cpu->x[1] = thread->cpu->x[2] = 0;
    ok = run(thread, code);
    child = forked == 0;
    ok &= thread->cpu->x[1] == 1 && thread->cpu->x[2] == (child ? 1 : 10);
    /* Now each changes the same instruction to something else, many times, while the other does. */
    for (unsigned i = 1; ok && i < 300; i++) {
        unsigned by = i * 4 + (child ? 1 : 2);
        PUT(code + 32, ADD(2, 2, by), RET);
        PUT(code + 64, BL(-32), SVC(0));
        thread->cpu->x[2] = 0;
        ok &= run(thread, code + 64) && thread->cpu->x[2] == by;
    }
    if (child)
        _exit(!ok);
    ok &= waitpid(forked, &status, 0) == forked && status == 0;
    return ok;
}

static void test_fork(void)
{
    CHECK(fork_and_differ());
    CHECK(!jit->host.shared);
    end();
}

/* The same where memory that is writable and executable is refused: a process of its own, as that is for good. */
static void test_fork_without_wx(void)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
            _exit(77);
        _exit(fork_and_differ() && jit->host.shared ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        printf("skip test_fork_without_wx: this kernel has no PR_SET_MDWE\n");
        return;
    }
    CHECK_EQ(status, 0);
}

int main(void)
{
    code = map(CODE_PAGES, PROT_READ | PROT_WRITE);
    data = map(DATA_PAGES, PROT_NONE);
    mprotect(data + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE);
    mprotect(data + 4 * PAGE, 2 * PAGE, PROT_READ);
    user_env_init();
    RUN(test_page_ends);
    RUN(test_addresses);
    RUN(test_sigbus);
    RUN(test_served_faults);
    RUN(test_tags);
    RUN(test_remapping);
    RUN(test_wild_jumps);
    RUN(test_two_mappings);
    RUN(test_own_block);
    RUN(test_small_cache);
    RUN(test_calls);
    RUN(test_kick);
    RUN(test_exclusive_counters);
    RUN(test_exclusive_stack);
    RUN(test_exclusive_processes);
    RUN(test_changing_code);
    RUN(test_changing_loop);
    RUN(test_threads_and_flushes);
    RUN(test_fork);
    RUN(test_fork_without_wx);
    return check_done();
}
