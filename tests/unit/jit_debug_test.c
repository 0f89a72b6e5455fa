/*
 * What a debugger asks of the JIT in user mode: breakpoints in code that is translated and linked already, watched
 * accesses of all kinds, single steps; on tier 1 and in the interpreter.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/check.h"
#include "tests/lib/user_env.h"

#define MOVZ(d, imm) (0xd2800000u | (uint32_t)(imm) << 5 | (d))
#define ADD(d, n, imm) (0x91000000u | (uint32_t)(imm) << 10 | (n) << 5 | (d))
#define SUB(d, n, imm) (0xd1000000u | (uint32_t)(imm) << 10 | (n) << 5 | (d))
#define B(off) (0x14000000u | ((uint32_t)(off)&0x3ffffff))
#define CBNZ(t, off) (0xb5000000u | ((uint32_t)(off)&0x7ffff) << 5 | (t))
#define SVC(imm) (0xd4000001u | (uint32_t)(imm) << 5)
#define LDR(t, n) (0xf9400000u | (n) << 5 | (t))
#define STR(t, n) (0xf9000000u | (n) << 5 | (t))
#define STP(t, t2, n) (0xa9000000u | (t2) << 10 | (n) << 5 | (t))
#define LDXR(t, n) (0xc85f7c00u | (n) << 5 | (t))
#define STXR(s, t, n) (0xc8007c00u | (s) << 16 | (n) << 5 | (t))
#define LDADD(s, t, n) (0xf8200000u | (s) << 16 | (n) << 5 | (t))
#define DC_ZVA(t) (0xd50b7420u | (t))

static enum jit_tier tier;
static struct jit *jit;
static struct user_env_thread *thread;
static uint32_t *code;
static uint64_t data[32] __attribute__((aligned(64)));

static uint64_t addr(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

static void begin(const uint32_t *insn, unsigned n)
{
    jit = user_env_jit(tier, 0);
    thread = jit ? user_env_thread(jit) : NULL;
    if (!thread)
        exit(1);
    user_env.svc = NULL;
    memset(data, 0, sizeof(data));
    memcpy(code, insn, n * 4);
    thread->cpu->pc = addr(code);
    thread->cpu->x[1] = addr(data);
}
#define BEGIN(...)                                                                                                     \
    const uint32_t insn_[] = {__VA_ARGS__};                                                                            \
    begin(insn_, ARRAY_SIZE(insn_))

static void end(void)
{
    user_env_thread_end(thread);
    jit_destroy(jit);
}

/* Goes on; did it end with this, at the instruction of this number? */
static bool stops(enum jit_debug why, unsigned at)
{
    user_env_run(thread);
    if (thread->event.kind == USER_ENV_DEBUG && thread->event.a == why && thread->cpu->pc == addr(&code[at]))
        return true;
    printf("  event %u/%u at %ld\n", thread->event.kind, thread->event.a, (long)(thread->cpu->pc - addr(code)) / 4);
    return false;
}

static bool ends(void)
{
    user_env_run(thread);
    return thread->event.kind == USER_ENV_CALL && thread->event.b == 0;
}

/* Leaves the breakpoint behind as debuggers do. */
static bool step_over(unsigned at)
{
    if (jit_user_break(jit, addr(&code[at]), 1, false))
        return false;
    jit_user_step_next(thread->cpu, true);
    return stops(JIT_DEBUG_STEP, at + 1) && !jit_user_break(jit, addr(&code[at]), 1, true);
}

static void breakpoints(void)
{
    /* A loop of 1000 rounds: the middle of a block, the target of a linked jump, the entry. */
    BEGIN(MOVZ(0, 1000), ADD(2, 2, 1), ADD(3, 3, 1), SUB(0, 0, 1), CBNZ(0, -3), SVC(0));
    CHECK(ends()); /* everything is translated and linked */
    CHECK_EQ(thread->cpu->x[2], 1000);
    for (unsigned at = 0; at < 5; at++) {
        thread->cpu->pc = addr(code);
        thread->cpu->x[2] = 0;
        CHECK(!jit_user_break(jit, addr(&code[at]), 1, true));
        CHECK_EQ(jit_user_break_kinds(jit, addr(&code[at])), 1);
        CHECK(stops(JIT_DEBUG_BREAK, at));
        CHECK(stops(JIT_DEBUG_BREAK, at)); /* nothing was executed */
        if (at != 4 && at != 0) {
            for (unsigned i = 1; i < 10; i++) {
                CHECK(step_over(at));
                CHECK(stops(JIT_DEBUG_BREAK, at));
                CHECK_EQ(thread->cpu->x[2], i + (at > 1));
            }
        }
        CHECK(!jit_user_break(jit, addr(&code[at]), 1, false));
        CHECK(ends());
        CHECK_EQ(thread->cpu->x[2], 1000);
    }
    end();
}

static void kinds(void)
{
    BEGIN(MOVZ(0, 1), SVC(0));
    CHECK(!jit_user_break(jit, addr(code), 1, true));
    CHECK(!jit_user_break(jit, addr(code), 2, true));
    CHECK_EQ(jit_user_break_kinds(jit, addr(code)), 3);
    CHECK(!jit_user_break(jit, addr(code), 1, false));
    CHECK(stops(JIT_DEBUG_BREAK, 0));
    CHECK(!jit_user_break(jit, addr(code), 2, false));
    CHECK(ends());
    int r = 0;
    unsigned n = 0;
    for (; n < 100000 && !r; n++)
        r = jit_user_break(jit, addr(code) + 4 * UINT64_C(100000) - n * 4, 1, true);
    CHECK(r < 0 && n > 1000);
    CHECK(!jit_user_break(jit, addr(code) + 4 * UINT64_C(100000), 2, true)); /* one that is there */
    jit_user_debug_end(jit);
    CHECK_EQ(jit_user_break_kinds(jit, addr(code) + 4 * UINT64_C(100000)), 0);
    thread->cpu->pc = addr(code);
    CHECK(ends());
    end();
}

static void points(void)
{
    BEGIN(LDR(2, 1), STR(2, 1), ADD(3, 3, 1), MOVZ(0, 2), SVC(0));
    const struct jit_watch own[] = {
        {addr(&code[2]), 4, JIT_WATCH(JIT_DEBUG_BREAK)},
        {addr(data) + 7, 1, JIT_WATCH(JIT_DEBUG_WRITE)},
    };
    struct user_env_thread *first = thread, *other = user_env_thread(jit);

    CHECK(other);
    CHECK(ends()); /* translated */
    first->cpu->pc = addr(code);
    jit_user_points(first->cpu, own, 2);
    CHECK(stops(JIT_DEBUG_POINT, 1));
    CHECK_EQ(first->event.fault.addr, addr(data) + 7);
    CHECK(stops(JIT_DEBUG_POINT, 1)); /* nothing was executed */
    jit_user_points(first->cpu, NULL, 0);
    jit_user_step_next(first->cpu, true);
    CHECK(stops(JIT_DEBUG_STEP, 2));
    jit_user_points(first->cpu, own, 2);
    CHECK(stops(JIT_DEBUG_POINT, 2));
    CHECK_EQ(first->cpu->x[3], 1);
    thread = other; /* they are the first one's alone */
    other->cpu->pc = addr(code);
    other->cpu->x[1] = addr(data);
    CHECK(ends());
    thread = first;
    CHECK(stops(JIT_DEBUG_POINT, 2));
    jit_user_points(first->cpu, own, 0);
    CHECK(ends());
    CHECK_EQ(first->cpu->x[3], 2);
    user_env_thread_end(other);
    end();
}

static void watched(void)
{
    BEGIN(LDR(2, 1), STR(2, 1), STP(2, 3, 1), LDADD(2, 3, 1), DC_ZVA(1), LDXR(4, 1), STXR(5, 4, 1), SVC(0));
    static const enum jit_debug all[] = {JIT_DEBUG_READ,  JIT_DEBUG_WRITE, JIT_DEBUG_WRITE, JIT_DEBUG_WRITE,
                                         JIT_DEBUG_WRITE, JIT_DEBUG_READ,  JIT_DEBUG_WRITE};
    const unsigned both = JIT_WATCH(JIT_DEBUG_READ) | JIT_WATCH(JIT_DEBUG_WRITE);

    CHECK(ends());
    /* The last byte of the word, by every instruction: each stops, and once it is let by goes on. */
    thread->cpu->pc = addr(code);
    thread->cpu->x[2] = 1;
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        CHECK(!jit_user_watch(jit, addr(data) + 7, 1, both, true));
        CHECK(stops(all[i], i));
        CHECK_EQ(thread->event.fault.addr, addr(data) + 7);
        CHECK(!jit_user_watch(jit, addr(data) + 7, 1, both, false));
        jit_user_step_next(thread->cpu, true);
        if (i == 5) { /* the pair together */
            CHECK(stops(JIT_DEBUG_STEP, thread->cpu->pc == addr(&code[5]) ? i + 1 : i + 2));
            break;
        }
        CHECK(stops(JIT_DEBUG_STEP, i + 1));
    }
    /* Its neighbours are nobody's. */
    thread->cpu->pc = addr(code);
    CHECK(!jit_user_watch(jit, addr(data) - 8, 8, both, true));
    CHECK(!jit_user_watch(jit, addr(data) + 64, 8, both, true));
    CHECK(ends());
    /* Reads only, writes only. */
    jit_user_debug_end(jit);
    thread->cpu->pc = addr(code);
    CHECK(!jit_user_watch(jit, addr(data), 8, JIT_WATCH(JIT_DEBUG_WRITE), true));
    CHECK(stops(JIT_DEBUG_WRITE, 1));
    jit_user_debug_end(jit);
    thread->cpu->pc = addr(&code[1]);
    CHECK(!jit_user_watch(jit, addr(data), 8, JIT_WATCH(JIT_DEBUG_READ), true));
    CHECK(stops(JIT_DEBUG_READ, 3));
    end();
}

static void steps(void)
{
    BEGIN(MOVZ(0, 5), SUB(0, 0, 1), CBNZ(0, -1), B(1), SVC(0));
    static const uint8_t way[] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 3, 4};

    for (unsigned i = 0; i < sizeof(way); i++) {
        jit_user_step_next(thread->cpu, true);
        CHECK(stops(JIT_DEBUG_STEP, way[i]));
    }
    CHECK(ends());
    /* Not for those whom it does not concern. */
    CHECK(!jit_user_break(jit, addr(&code[1]), 1, true));
    jit_user_undebugged(thread->cpu);
    thread->cpu->pc = addr(code);
    CHECK(ends());
    end();
}

int main(void)
{
    user_env_init();
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return 1;
    for (tier = JIT_INTERP; tier <= JIT_TIER1; tier++) {
        RUN(breakpoints);
        RUN(kinds);
        RUN(watched);
        RUN(steps);
        RUN(points);
    }
    return check_done();
}
