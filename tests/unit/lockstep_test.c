/*
 * Lockstep finds translations that are wrong, and the instruction that is to blame: translators are replaced by wrong
 * ones here.
 */
#include <string.h>

#include "jit/tier1/t1.h"
#include "tests/check.h"
#include "tests/lib/user_env.h"

#define COUNT 64

static struct jit *jit;
static struct user_env_thread *thread;
static struct jit_mismatch found;
static unsigned mismatches;
static uint64_t memory[COUNT];

static void tell(void *opaque, struct arm64_cpu *c, const struct jit_mismatch *m)
{
    (void)opaque;
    (void)c;
    found = *m;
    mismatches++;
}

/* x0 = sum of COUNT values at x1 + 1 each, which it leaves at x1, too. */
static const uint32_t code[] = {
    0xd2800000,              /*  0 mov x0, #0 */
    0xd2800002 | COUNT << 5, /*  1 mov x2, #COUNT */
    0xf9400023,              /*  2 ldr x3, [x1] */
    0x91000463,              /*  3 add x3, x3, #1 */
    0xf8008423,              /*  4 str x3, [x1], #8 */
    0x8b030000,              /*  5 add x0, x0, x3 */
    0xf1000442,              /*  6 subs x2, x2, #1 */
    0x54ffff61,              /*  7 b.ne 2 */
    0xd4000001,              /*  8 svc #0 */
};

/* One more is a carry, and bit 63 is set in every other one. */
static uint64_t before(unsigned i)
{
    return i * UINT64_C(0x8123456700000000) + UINT32_MAX;
}

/* With `wrong` in the place of the row's translator, where it is not NULL. */
static uint64_t run(enum jit_tier tier, enum a64_row row, t1_fn wrong, struct jit_counts *n)
{
    uint64_t sum;

    mismatches = 0;
    memset(&found, 0, sizeof(found));
    for (unsigned i = 0; i < COUNT; i++)
        memory[i] = before(i);
    jit = user_env_jit(tier, 1u << 20);
    if (!jit)
        return 0;
    if (wrong)
        t1_table[row] = wrong; /* the table is made with each JIT */
    jit_lockstep(jit, tell, NULL);
    jit_seed(jit, 42);
    thread = user_env_thread(jit);
    thread->cpu->x[1] = (uint64_t)(uintptr_t)memory;
    thread->cpu->pc = (uint64_t)(uintptr_t)code;
    user_env_run(thread);
    sum = thread->cpu->x[0];
    jit_counts(jit, n);
    user_env_thread_end(thread);
    jit_destroy(jit);
    return sum;
}

static bool right(uint64_t sum)
{
    uint64_t want = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t value = before(i) + 1;

        want += value;
        if (memory[i] != value)
            return false;
    }
    return sum == want;
}

static void test_right(void)
{
    struct jit_counts n;

    CHECK(right(run(JIT_LOCKSTEP, A64_UNALLOCATED, NULL, &n)));
    CHECK_EQ(mismatches, 0);
    CHECK(n.compared > 0);
    CHECK_EQ(n.once, 1); /* SVC */
    CHECK(right(run(JIT_MIXED, A64_UNALLOCATED, NULL, &n)));
    CHECK(n.blocks > 0);
}

/* What is wrong in one value of many. */
static bool wrong_add(struct t1 *t, uint32_t insn)
{
    unsigned d = insn & 31;

    x64_alu_ri(t->e, true, ALU_ADD, t1_host(t, d), 1);
    x64_shift_ri(t->e, true, SH_SHL, t1_host(t, d), 1);
    x64_shift_ri(t->e, true, SH_SHR, t1_host(t, d), 1); /* bit 63 is lost */
    t1_wrote(t, d);
    return true;
}

static bool wrong_store(struct t1 *t, uint32_t insn)
{
    x64_store(t->e, false, t1_get(t, insn & 31, RAX), x64_m(t1_get(t, a64_rn(insn), RCX), 0)); /* four bytes */
    t1_writeback(t, a64_rn(insn), 8);
    return true;
}

static bool wrong_subs(struct t1 *t, uint32_t insn)
{
    unsigned d = insn & 31;

    x64_alu_ri(t->e, true, ALU_SUB, t1_host(t, d), 1);
    x64_u8(t->e, 0xf5); /* cmc: C is wrong; the loop ends as it should */
    t1_save_flags(t);
    t1_wrote(t, d);
    return true;
}

static void find(enum a64_row row, t1_fn wrong, unsigned insn, const char *text)
{
    struct jit_counts n;

    CHECK(right(run(JIT_LOCKSTEP, row, wrong, &n))); /* the interpreter's word counts */
    CHECK(mismatches > 0);
    CHECK_EQ((found.pc - (uint64_t)(uintptr_t)code) / 4 + found.insn, insn);
    CHECK_EQ(found.word, code[insn]);
    CHECK(strstr(found.text, text));
}

static void test_wrong_value(void)
{
    find(A64_add_imm, wrong_add, 3, "x3 is ");
}

static void test_wrong_memory(void)
{
    find(A64_str_post, wrong_store, 4, "memory differs");
}

static void test_wrong_flags(void)
{
    find(A64_subs_imm, wrong_subs, 6, "nzcv is ");
}

int main(void)
{
    user_env_init();
    RUN(test_right);
    RUN(test_wrong_value);
    RUN(test_wrong_memory);
    RUN(test_wrong_flags);
    return check_done();
}
