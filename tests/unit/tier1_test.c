/*
 * Tier 1 against the interpreter: random short blocks from the decode table, on one flat page-mapped memory, with
 * registers full of interesting values. All state must agree afterwards: registers, flags, vectors, FPSR, memory,
 * and the exception if there was one. Every row that a block can contain must be reached.
 *
 * Arguments: cases a row (default 60) and a seed. A failure prints the seed, the instructions and the first difference.
 */
#include "jit/rt/rt.h"
#include "tests/check.h"
#include "tests/lib/jit_env.h"

#include <stdlib.h>

#define RAM_SIZE 0x10000u
#define RAM_BASE UINT64_C(0x40000000)
#define ALIAS_BASE UINT64_C(0x7fedc0000000) /* the same memory at another address */
#define CODE_OFF 0xf000u                    /* the last page */
#define MAX_INSNS 10

static struct jit_env env;
static uint8_t ram_image[RAM_SIZE];

static uint64_t rng_state;

static uint64_t rnd(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Code is not writable: what self-modifying blocks do before IC IVAU is not defined, and may be a loop. */
static bool map(const struct jit_env *e, uint64_t va, struct jit_xlat *x)
{
    x->pa = va - (va - ALIAS_BASE < RAM_SIZE ? ALIAS_BASE : RAM_BASE);
    if (x->pa >= CODE_OFF)
        x->perm &= (uint8_t) ~(ARM64_PERM_W0 | ARM64_PERM_W1);
    return x->pa < e->ram_size;
}

/* ---- cases ---- */

struct outcome {
    struct arm64_cpu cpu;
    uint8_t ram[RAM_SIZE];
    struct jit_env_event end;
};

static uint64_t interesting(void)
{
    static const uint64_t v[] = {0,
                                 1,
                                 UINT64_MAX,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 UINT64_C(0x7fffffffffffffff),
                                 UINT64_C(0x8000000000000000),
                                 UINT64_C(0x7ff8000000000001), /* NaNs, infinities, tiny and ordinary numbers */
                                 UINT64_C(0x7ff0000000000001),
                                 UINT64_C(0xfff0000000000000),
                                 UINT64_C(0x0010000000000000),
                                 UINT64_C(0x000fffffffffffff),
                                 UINT64_C(0x3ff0000000000000),
                                 UINT64_C(0xc008000000000000),
                                 UINT64_C(0x7f8000017fc00000),
                                 UINT64_C(0x0080000080800000),
                                 UINT64_C(0x3f800000bf000000),
                                 UINT64_C(0x007fffff00000001)};
    uint64_t r = rnd();
    switch (r >> 61) {
    case 0: return v[r % ARRAY_SIZE(v)];
    case 1: return (uint64_t)sext64(r, 8);
    case 2: return r & 0xff;
    case 3: return (v[r % ARRAY_SIZE(v)] & ~UINT64_C(0xff)) | (r >> 32 & 0xff);
    case 4: return (r & UINT64_C(0x800fffffffffffff)) | (UINT64_C(0x3f0) + (r >> 32) % 0x20) << 52;
    default: return rnd();
    }
}

/* A random encoding of a row; letters are fields. */
static uint32_t encode(const struct a64_row_info *row)
{
    for (unsigned tries = 0; tries < 1000; tries++) {
        uint32_t insn = ((uint32_t)rnd() & ~row->mask) | row->value;
        if (&a64_rows[a64_decode(insn)] == row)
            return insn;
    }
    return 0;
}

/* Rows that leave the block, wait, or whose meaning is the surroundings' own. */
static bool excluded(unsigned row)
{
    switch (row) {
    case A64_UNALLOCATED:
    case A64_eret:
    case A64_wfe:
    case A64_wfi:
    case A64_yield:
    case A64_sev:
    case A64_sevl: return true;
    default: return false;
    }
}

static bool jumps(unsigned row)
{
    return row == A64_b || row == A64_bl || row == A64_br || row == A64_blr || row == A64_ret || row == A64_b_cond ||
           row == A64_cbz || row == A64_cbnz || row == A64_tbz || row == A64_tbnz;
}

static const uint16_t plain_rows[] = {
    A64_ldr_uimm,    A64_str_uimm,   A64_ldr_unscaled, A64_str_unscaled, A64_ldrs_uimm,  A64_ldr_post,
    A64_str_pre,     A64_ldp_off,    A64_stp_off,      A64_ldp_post,     A64_stp_pre,    A64_ldr_fp_uimm,
    A64_str_fp_uimm, A64_ldp_fp_off, A64_stp_fp_off,   A64_add_imm,      A64_sub_imm,    A64_orr_sreg,
    A64_adds_imm,    A64_ldr_reg,    A64_ldr_fp_post,  A64_stp_fp_pre,   A64_ldrsw_uimm,
};

/* Short forward branches only, so that every block ends. */
static uint32_t tame(unsigned row, uint32_t insn)
{
    if (row == A64_b || row == A64_bl)
        return (insn & 0xfc000000u) | (1 + insn % 3);
    if (row == A64_tbz || row == A64_tbnz)
        return (insn & ~0x0007ffe0u) | (1 + (insn >> 5) % 3) << 5;
    if (row == A64_b_cond || row == A64_cbz || row == A64_cbnz)
        return (insn & ~0x00ffffe0u) | (1 + (insn >> 5) % 3) << 5;
    return insn;
}

static void random_state(struct arm64_cpu *c, bool plain_fpcr)
{
    for (unsigned r = 0; r < 32; r++)
        c->x[r] = rnd() & 1 ? interesting() : RAM_BASE + RAM_SIZE / 2 + (rnd() & 0xfff8) % (RAM_SIZE / 4);
    if (rnd() & 3)
        c->x[31] &= ~UINT64_C(15);
    for (unsigned r = 0; r < 32; r++) {
        c->v[r].d[0] = interesting();
        c->v[r].d[1] = interesting();
    }
    c->flags = 0;
    arm64_set_nzcv(c, (uint32_t)rnd());
    c->fpcr = plain_fpcr ? 0 : (uint32_t)rnd() & 0x07c80000u;
    c->fpsr = 0;
    c->pc = RAM_BASE + CODE_OFF + (rnd() % 64) * 4;
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

static bool one_case(struct arm64_cpu *ci, struct arm64_cpu *ct, struct jit *jt, unsigned row, bool plain_fpcr)
{
    static struct outcome oi, ot;
    struct arm64_cpu init;
    uint64_t seed = rng_state;
    unsigned n = 1 + (unsigned)(rnd() % MAX_INSNS), at = (unsigned)(rnd() % n), off;
    uint32_t code[MAX_INSNS + 4], base = (uint32_t)rnd() & 31;
    bool favour = rnd() & 1;

    memset(&init, 0, sizeof(init));
    random_state(&init, plain_fpcr);
    off = (unsigned)(init.pc - RAM_BASE);
    for (unsigned i = 0; i < n; i++) {
        unsigned r = i == at ? row : 1 + (unsigned)(rnd() % (A64_ROW_COUNT - 1));
        while (excluded(r) || (i != at && jumps(r)))
            r = 1 + (unsigned)(rnd() % (A64_ROW_COUNT - 1));
        /* With a favoured base, mostly plain accesses and what moves the base. */
        if (i != at && favour && rnd() % 4)
            r = plain_rows[rnd() % ARRAY_SIZE(plain_rows)];
        code[i] = tame(r, encode(&a64_rows[r]));
        /* Many accesses with one base, as compilers make them. */
        if (favour && rnd() % 4 && !strncmp(a64_rows[r].bits + 22, "nnnnn", 5)) {
            uint32_t other = (code[i] & ~0x3e0u) | base << 5;
            if (a64_decode(other) == r)
                code[i] = other;
        }
    }
    for (unsigned i = n; i < n + 4; i++)
        code[i] = 0xd4000001u; /* svc #0 */
    memcpy(ram_image + off, code, (n + 4) * 4);
    run_one(ci, &init, &oi);
    jit_invalidate(jt, env.ram + CODE_OFF, 4096);
    run_one(ct, &init, &ot);
    memset(ram_image + off, 0, (n + 4) * 4);
    if (!memcmp(&oi, &ot, sizeof(oi)))
        return true;
    if (failures_shown++ < 5) {
        printf("  seed %" PRIu64 ", row %s, fpcr %08x, pc %" PRIx64 ":\n", seed, a64_rows[row].name, init.fpcr,
               init.pc);
        for (unsigned i = 0; i < n; i++) {
            char text[128];
            a64_disasm(text, sizeof(text), code[i], init.pc + i * 4);
            printf("    %08x  %s (%s)\n", code[i], text, a64_rows[a64_decode(code[i])].name);
        }
        show_difference(&oi, &ot);
    }
    return false;
}

static void test_tier1_against_interpreter(void)
{
    struct jit *ji, *jt;
    struct arm64_cpu *ci, *ct;
    unsigned long cases = 0, bad = 0;
    unsigned rows = 0;

    for (unsigned i = 0; i < CODE_OFF; i += 8) {
        uint64_t v = interesting();
        memcpy(ram_image + i, &v, 8);
    }
    ci = make_cpu(JIT_INTERP, &ji);
    ct = make_cpu(JIT_TIER1, &jt);
    for (unsigned row = 1; row < A64_ROW_COUNT; row++) {
        if (excluded(row))
            continue;
        rows++;
        for (unsigned k = 0; k < cases_per_row; k++, cases++)
            bad += !one_case(ci, ct, jt, row, k % 4 != 0);
    }
    printf("  %u rows, %lu cases, %lu differences\n", rows, cases, bad);
    CHECK_EQ(bad, 0);
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

/* A block moved by its records must be what translating for the other address gives, byte for byte. */
static void test_relocation(void)
{
    static uint8_t moved[65536], made[65536], raw[65536];
    unsigned long kinds[3] = {0}, differing = 0;
    struct jit *j;
    struct arm64_cpu *c = make_cpu(JIT_TIER1, &j);
    struct jit_vcpu *v = (struct jit_vcpu *)(void *)c;

    jit_context_update(v);
    for (unsigned k = 0; k < 2000; k++) {
        uint8_t *code = env.ram + CODE_OFF;
        const struct jit_block *a, *b;

        for (unsigned i = 0; i < 1024; i++) {
            unsigned row = 1 + (unsigned)(rnd() % A64_ldumin);
            le32_put(code + i * 4, encode(&a64_rows[row]));
        }
        jit_invalidate(j, code, 4096);
        uint64_t off = CODE_OFF + (rnd() & 0xffc);
        a = translated(v, RAM_BASE + off);
        b = translated(v, ALIAS_BASE + off);
        if (!a || !b || v->attention) {
            /* The small cache is full. */
            v->attention = 0;
            jit_cache_flush(j);
            continue;
        }
        CHECK_EQ(b->code_size, a->code_size);
        jit_block_relocate(j, a, b->pc, b->code, moved);
        jit_block_relocate(j, b, b->pc, b->code, made);
        jit_block_relocate(j, a, a->pc, a->code, raw);
        CHECK(!memcmp(moved, made, b->code_size));
        CHECK(!memcmp(made, j->rw + b->code, b->code_size));
        differing += memcmp(raw, made, b->code_size) != 0;
        for (unsigned i = 0; i < a->nrelocs; i++)
            kinds[j->reloc[a->reloc + i].kind]++;
    }
    printf("  %lu guest addresses, %lu jump cache entries, %lu thunks; %lu blocks differed before\n",
           kinds[JIT_RELOC_GUEST_PC], kinds[JIT_RELOC_JC], kinds[JIT_RELOC_THUNK], differing);
    CHECK(kinds[JIT_RELOC_GUEST_PC] > 100 && kinds[JIT_RELOC_JC] > 100 && kinds[JIT_RELOC_THUNK] > 100);
    CHECK(differing > 1000);
    jit_vcpu_destroy(c);
    jit_destroy(j);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cases_per_row = (unsigned)strtoul(argv[1], NULL, 10);
    rng_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 88172645463325252u;
    a64_decode_init();
    if (!jit_env_init(&env, RAM_SIZE, map))
        return 1;
    RUN(test_tier1_against_interpreter);
    RUN(test_relocation);
    jit_env_free(&env);
    return check_done();
}
