/*
 * Tier 1 against the interpreter: random short blocks from the decode table, on one flat page-mapped memory, with
 * registers full of interesting values. All state must agree afterwards: registers, flags, vectors, FPSR, memory,
 * and the exception if there was one. Every row that a block can contain must be reached.
 *
 * Arguments: cases a row (default 60) and a seed. A failure prints the seed, the instructions and the first difference.
 */
#include "jit/rt/rt.h"
#include "jit/tier1/t1.h"
#include "tests/check.h"
#include "tests/lib/blocks.h"
#include "tests/lib/jit_env.h"

#include <stdlib.h>

#define RAM_SIZE 0x10000u
#define RAM_BASE UINT64_C(0x40000000)
#define ALIAS_BASE UINT64_C(0x7fedc0000000) /* the same memory at another address */
#define CODE_OFF 0xf000u                    /* the last page */

static struct jit_env env;
static uint8_t ram_image[RAM_SIZE];

static uint64_t exec_from = CODE_OFF; /* where memory holds code */

/* Code is not writable and data not executable: what self-modifying blocks do before IC IVAU is not defined, and may be
 * a loop; and stores to pages with translations go another way, on which store-exclusives may fail. */
static bool map(const struct jit_env *e, uint64_t va, struct jit_xlat *x)
{
    x->pa = va - (va - ALIAS_BASE < RAM_SIZE ? ALIAS_BASE : RAM_BASE);
    x->perm &= (uint8_t)(x->pa >= exec_from ? ~(ARM64_PERM_W0 | ARM64_PERM_W1) : ~(ARM64_PERM_X0 | ARM64_PERM_X1));
    return x->pa < e->ram_size;
}

/* ---- cases ---- */

struct outcome {
    struct arm64_cpu cpu;
    uint8_t ram[RAM_SIZE];
    struct jit_env_event end;
};

static void random_state(struct arm64_cpu *c, bool plain_fpcr)
{
    for (unsigned r = 0; r < 32; r++)
        c->x[r] = blocks_rnd() & 1 ? blocks_interesting()
                                   : RAM_BASE + RAM_SIZE / 2 + (blocks_rnd() & 0xfff8) % (RAM_SIZE / 4);
    if (blocks_rnd() & 3)
        c->x[31] &= ~UINT64_C(15);
    for (unsigned r = 0; r < 32; r++) {
        c->v[r].d[0] = blocks_interesting();
        c->v[r].d[1] = blocks_interesting();
    }
    c->flags = 0;
    arm64_set_nzcv(c, (uint32_t)blocks_rnd());
    c->fpcr = plain_fpcr ? 0 : (uint32_t)blocks_rnd() & 0x07c80000u;
    c->fpsr = 0;
    c->pc = RAM_BASE + CODE_OFF + (blocks_rnd() % 64) * 4;
}

static void run_one(struct arm64_cpu *c, const struct arm64_cpu *init, struct outcome *o)
{
    memcpy(env.ram, ram_image, RAM_SIZE);
    memcpy(c->x, init->x, sizeof(c->x));
    memcpy(c->v, init->v, sizeof(c->v));
    c->pc = init->pc;
    c->flags = init->flags;
    c->fpcr = init->fpcr;
    c->fpsr = 0;
    c->sys.sctlr_el1 = 1u << 4; /* SA0 */
    jit_fpsr_sync(c);
    c->fpsr = 0;
    jit_fpcr_changed(c);
    c->ops->clear_excl(c);
    memset(&env.event, 0, sizeof(env.event));
    jit_run(c);
    jit_fpsr_sync(c);
    memset(o, 0, sizeof(*o));
    memcpy(o->cpu.x, c->x, sizeof(c->x));
    memcpy(o->cpu.v, c->v, sizeof(c->v));
    arm64_set_nzcv(&o->cpu, arm64_nzcv(c));
    o->cpu.fpsr = c->fpsr;
    memcpy(o->ram, env.ram, RAM_SIZE);
    memcpy(&o->end, &env.event[0], sizeof(o->end));
}

static void show_difference(const struct outcome *a, const struct outcome *b)
{
    for (unsigned r = 0; r < 32; r++) {
        if (a->cpu.x[r] != b->cpu.x[r])
            printf("  x%u: interpreter %016" PRIx64 ", tier 1 %016" PRIx64 "\n", r, a->cpu.x[r], b->cpu.x[r]);
        if (memcmp(&a->cpu.v[r], &b->cpu.v[r], 16))
            printf("  v%u: interpreter %016" PRIx64 "_%016" PRIx64 ", tier 1 %016" PRIx64 "_%016" PRIx64 "\n", r,
                   a->cpu.v[r].d[1], a->cpu.v[r].d[0], b->cpu.v[r].d[1], b->cpu.v[r].d[0]);
    }
    if (a->cpu.flags != b->cpu.flags)
        printf("  flags: interpreter %08x, tier 1 %08x\n", arm64_nzcv(&a->cpu), arm64_nzcv(&b->cpu));
    if (a->cpu.fpsr != b->cpu.fpsr)
        printf("  fpsr: interpreter %08x, tier 1 %08x\n", a->cpu.fpsr, b->cpu.fpsr);
    if (memcmp(&a->end, &b->end, sizeof(a->end)))
        printf("  end: interpreter %u %x %x far %" PRIx64 " pc %" PRIx64 ", tier 1 %u %x %x far %" PRIx64 " pc %" PRIx64
               "\n",
               a->end.kind, a->end.a, a->end.b, a->end.far, a->end.pc, b->end.kind, b->end.a, b->end.b, b->end.far,
               b->end.pc);
    for (unsigned i = 0; i < RAM_SIZE; i++) {
        if (a->ram[i] != b->ram[i]) {
            printf("  memory at %x: interpreter %02x, tier 1 %02x\n", i, a->ram[i], b->ram[i]);
            break;
        }
    }
}

static struct arm64_cpu *make_cpu(enum jit_tier tier, struct jit **j)
{
    struct arm64_cpu *c;

    *j = jit_env_jit(&env, tier, 4u << 20);
    c = *j ? jit_env_cpu(&env, *j, 0) : NULL;
    if (!c)
        exit(1);
    return c;
}

static unsigned cases_per_row = 60;
static unsigned failures_shown;

static bool one_case(struct arm64_cpu *ci, struct arm64_cpu *ct, struct jit *jt, unsigned row, bool plain_fpcr,
                     bool elsewhere)
{
    static struct outcome oi, ot;
    struct arm64_cpu init;
    uint64_t seed = blocks_state();
    uint32_t code[BLOCKS_MAX + BLOCKS_LOOP + 4];
    unsigned n, off, counter;

    memset(&init, 0, sizeof(init));
    random_state(&init, plain_fpcr);
    off = (unsigned)(init.pc - RAM_BASE);
    n = blocks_make(code, row);
    counter = blocks_rnd() % 4 ? 31 : blocks_loop(code, n);
    if (counter < 31) {
        init.x[counter] = 1 + blocks_rnd() % 5;
        n += BLOCKS_LOOP;
    }
    for (unsigned i = n; i < n + 4; i++)
        code[i] = 0xd4000001u; /* svc #0 */
    memcpy(ram_image + off, code, (n + 4) * 4);
    run_one(ci, &init, &oi);
    jit_invalidate(jt, env.ram + CODE_OFF, 4096);
    run_one(ct, &init, &ot);
    /* The same blocks where the guest has the same code elsewhere. */
    if (elsewhere && !memcmp(&oi, &ot, sizeof(oi))) {
        init.pc += ALIAS_BASE - RAM_BASE;
        run_one(ci, &init, &oi);
        run_one(ct, &init, &ot);
    }
    memset(ram_image + off, 0, (n + 4) * 4);
    if (!memcmp(&oi, &ot, sizeof(oi)))
        return true;
    if (failures_shown++ < 5) {
        printf("  seed %" PRIu64 ", row %s, fpcr %08x, pc %" PRIx64 ":\n", seed, a64_rows[row].name, init.fpcr,
               init.pc);
        blocks_print(code, n, init.pc);
        show_difference(&oi, &ot);
    }
    return false;
}

static void test_tier1_against_interpreter(void)
{
    struct jit *ji, *jt;
    struct arm64_cpu *ci, *ct;
    struct t1_host_features have;
    unsigned long cases = 0, bad = 0, loops = 0;
    unsigned rows = 0;

    for (unsigned i = 0; i < CODE_OFF; i += 8) {
        uint64_t v = blocks_interesting();
        memcpy(ram_image + i, &v, 8);
    }
    ci = make_cpu(JIT_INTERP, &ji);
    ct = make_cpu(JIT_TIER1, &jt);
    have = t1_have;
    for (unsigned row = 1; row < A64_ROW_COUNT; row++) {
        if (blocks_excluded(row))
            continue;
        rows++;
        for (unsigned k = 0; k < cases_per_row; k++, cases++) {
            /* One in five as on a host with SSE only. */
            t1_have = k % 5 ? have : (struct t1_host_features){0};
            bad += !one_case(ci, ct, jt, row, k % 4 != 0, k % 3 == 0);
            loops += jt->block[jt->nblocks - 1].loop != 0;
        }
    }
    t1_have = have;
    printf("  %u rows, %lu cases, %lu loops with registers of their own, %lu differences\n", rows, cases, loops, bad);
    CHECK_EQ(bad, 0);
    CHECK(loops > cases / 20);
    jit_vcpu_destroy(ci);
    jit_vcpu_destroy(ct);
    jit_destroy(ji);
    jit_destroy(jt);
}

/* Host flags last over what writes no register: memory does not have the flags of the first comparison. */
static void test_flags_over_no_result(void)
{
    static const uint32_t code[] = {
        0xeb02003fu, /* cmp x1, x2 */
        0xaa0303ffu, /* mov xzr, x3 */
        0x8b04007fu, /* add xzr, x3, x4 */
        0x9a9f97e5u, /* cset x5, hi */
        0xeb04007fu, /* cmp x3, x4 */
        0xd4000001u, /* svc #0 */
    };
    static struct outcome oi, ot;
    struct jit *ji, *jt;
    struct arm64_cpu *ci = make_cpu(JIT_INTERP, &ji), *ct = make_cpu(JIT_TIER1, &jt), init;

    for (unsigned k = 0; k < 64; k++) {
        memset(&init, 0, sizeof(init));
        random_state(&init, true);
        memcpy(ram_image + (init.pc - RAM_BASE), code, sizeof(code));
        run_one(ci, &init, &oi);
        jit_invalidate(jt, env.ram + CODE_OFF, 4096);
        run_one(ct, &init, &ot);
        memset(ram_image + (init.pc - RAM_BASE), 0, sizeof(code));
        CHECK(!memcmp(&oi, &ot, sizeof(oi)));
    }
    jit_vcpu_destroy(ci);
    jit_vcpu_destroy(ct);
    jit_destroy(ji);
    jit_destroy(jt);
}

static const struct jit_block *translated(struct jit_vcpu *v, uint64_t pc)
{
    v->cpu.pc = pc;
    return jit_find(v) ? &v->jit->block[v->jit->nblocks - 1] : NULL;
}

/* A block moved by its records must be what translating at the other place gives, byte for byte. */
static void test_relocation(void)
{
    static uint8_t moved[65536];
    unsigned long thunks = 0, differing = 0;
    struct jit *j;
    struct arm64_cpu *c = make_cpu(JIT_TIER1, &j);
    struct jit_vcpu *v = (struct jit_vcpu *)(void *)c;

    exec_from = CODE_OFF - 4096;
    jit_context_update(v);
    for (unsigned k = 0; k < 2000; k++) {
        uint8_t *code = env.ram + CODE_OFF;
        const struct jit_block *a, *b;

        for (unsigned i = 0; i < 1024; i++) {
            unsigned row = 1 + (unsigned)(blocks_rnd() % A64_ldumin);
            le32_put(code + i * 4, blocks_encode(row));
        }
        memcpy(code - 4096, code, 4096);
        jit_invalidate(j, code - 4096, 8192);
        uint64_t off = CODE_OFF + (blocks_rnd() & 0xffc);
        a = translated(v, RAM_BASE + off);
        b = translated(v, RAM_BASE + off - 4096);
        if (!a || !b || v->attention) {
            /* The small cache is full. */
            v->attention = 0;
            jit_cache_flush(j);
            continue;
        }
        CHECK(a != b);
        CHECK_EQ(b->code_size, a->code_size);
        jit_block_relocate(j, a, a->pc, b->code, moved);
        CHECK(!memcmp(moved, j->rw + b->code, b->code_size));
        differing += memcmp(j->rw + a->code, j->rw + b->code, b->code_size) != 0;
        for (unsigned i = 0; i < a->nrelocs; i++)
            CHECK_EQ(j->reloc[a->reloc + i].kind, JIT_RELOC_THUNK);
        thunks += a->nrelocs;
    }
    printf("  %lu thunks; %lu blocks differed before\n", thunks, differing);
    CHECK(thunks > 1000 && differing > 1000);
    exec_from = CODE_OFF;
    jit_vcpu_destroy(c);
    jit_destroy(j);
}

/* Code that is mapped elsewhere, too, is translated once; code that changed is again, also where nobody said which. */
static void test_sharing(void)
{
    uint8_t *other = env.ram + CODE_OFF - 4096;
    struct jit *j;
    struct arm64_cpu *c = make_cpu(JIT_TIER1, &j);
    struct jit_vcpu *v = (struct jit_vcpu *)(void *)c;
    const struct jit_block *a, *d;
    unsigned shared = 0;

    exec_from = CODE_OFF - 4096;
    jit_context_update(v);
    for (unsigned k = 0; k < 300; k++) {
        for (unsigned i = 0; i < 2048; i++)
            le32_put(other + i * 4, blocks_encode(1 + (unsigned)(blocks_rnd() % A64_ldumin)));
        jit_invalidate(j, other, 8192);
        uint64_t off = CODE_OFF + (blocks_rnd() & 0xffc), made;
        d = translated(v, RAM_BASE + off - 4096);
        a = translated(v, RAM_BASE + off);
        if (!a || !d || v->attention) {
            v->attention = 0;
            jit_cache_flush(j);
            continue;
        }
        made = j->made;
        CHECK(translated(v, ALIAS_BASE + off) == a && j->made == made);
        shared++;
        le32_put(env.ram + off + (a->ninsns - 1u) * 4, le32_get(env.ram + off + (a->ninsns - 1u) * 4) ^ 0x20);
        CHECK(!a->dead);
        jit_cache_check(j);
        CHECK(a->dead && !d->dead);
        le32_put(other + (off & 0xfff), le32_get(other + (off & 0xfff)) ^ 0x20);
        jit_invalidate(j, other, 4096);
        CHECK(d->dead);
        made = j->made;
        CHECK(!translated(v, ALIAS_BASE + off) || j->made == made + 1);
        v->attention = 0;
    }
    CHECK(shared > 100);
    exec_from = CODE_OFF;
    jit_vcpu_destroy(c);
    jit_destroy(j);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cases_per_row = (unsigned)strtoul(argv[1], NULL, 10);
    blocks_seed(argc > 2 ? strtoull(argv[2], NULL, 10) : 88172645463325252u);
    if (!jit_env_init(&env, RAM_SIZE, map))
        return 1;
    RUN(test_tier1_against_interpreter);
    RUN(test_flags_over_no_result);
    RUN(test_relocation);
    RUN(test_sharing);
    jit_env_free(&env);
    return check_done();
}
