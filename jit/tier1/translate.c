/* Tier 1: from guest code to a block. */
#include "jit/rt/lockstep.h"
#include "jit/rt/saved.h"
#include "jit/tier1/t1.h"

#include <cpuid.h>

t1_fn t1_table[A64_ROW_COUNT];
struct t1_host_features t1_have;

/* Does the kernel keep what AVX needs (Intel SDM volume 1, 13.3)? */
static bool t1_xcr0_has_avx(void)
{
    uint32_t lo, hi;

    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (lo & 6) == 6;
}

void jit_tier1_init(void)
{
    unsigned a, b, c, d;

    __cpuid(1, a, b, c, d);
    t1_have.avx = (c & bit_AVX) && (c & bit_OSXSAVE) && t1_xcr0_has_avx();
    t1_have.fma = t1_have.avx && (c & bit_FMA);
    t1_have.aes = c & bit_AES;
    t1_have.pclmul = c & bit_PCLMUL;
    b = 0;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    t1_have.sha = b & bit_SHA;
    t1_have.bmi2 = t1_have.avx && (b & bit_BMI2);
    t1_init_int();
    t1_init_mem();
    t1_init_flow();
    t1_init_fp();
    t1_init_simd();
    t1_init_sha();
    t1_init_crc();
}

uint64_t jit_saved_host(void)
{
    return (uint64_t)t1_have.fma | (uint64_t)t1_have.aes << 1 | (uint64_t)t1_have.pclmul << 2 |
           (uint64_t)t1_have.avx << 3 | (uint64_t)t1_have.sha << 4 | (uint64_t)t1_have.bmi2 << 5;
}

/* Rows after which control never comes back to the next instruction within the block. */
bool t1_ends(unsigned row)
{
    switch (row) {
    case A64_UNALLOCATED:
    case A64_b:
    case A64_bl:
    case A64_br:
    case A64_blr:
    case A64_ret:
    case A64_eret:
    case A64_svc:
    case A64_hvc:
    case A64_smc:
    case A64_brk:
    case A64_hlt:
    case A64_udf: return true;
    default: return false;
    }
}

void t1_decode_one(struct t1 *t, unsigned i)
{
    unsigned row = a64_decode(t->insn[i]);

    if (a64_rows[row].feature != ARM64_FEAT_BASE && !(t->v->cpu.model->features & BIT64(a64_rows[row].feature)))
        row = A64_UNALLOCATED;
    t->row[i] = (uint16_t)row;
}

/* Decodes up to the end of the block: an unconditional branch, an exception, the page's end, a breakpoint, or enough.
 */
static void t1_decode(struct t1 *t)
{
    unsigned room = (unsigned)(4096 - (t->b->pc & 0xfff)) / 4;
    unsigned max = t->j->space->read(t->b->host, t->insn, MIN(room, (unsigned)JIT_BLOCK_MAX_INSNS));

    for (unsigned i = 1; i < max && t->j->nbreaks; i++)
        if (jit_debug_breaks(t->j, t->b->pc + i * UINT64_C(4)))
            max = i;
    if (unlikely(t->j->limit))
        max = MIN(max, t->j->limit);
    for (t->n = 0; t->n < max;) {
        t1_decode_one(t, t->n);
        if (unlikely(t->j->tier == JIT_LOCKSTEP) &&
            jit_lockstep_alone(t->j, t->row[t->n], t->insn[t->n], !!(t->b->ctx & JIT_CTX_EL1))) {
            max = MAX(t->n, 1u);
            t->n = max;
            break;
        }
        if (t1_ends(t->row[t->n++]))
            break;
    }
    t1_loop(t, max);
}

/* No translator: the interpreter does it. Rows of SIMD and FP behind the loads and stores touch registers only. */
static void t1_fallback(struct t1 *t, unsigned row, uint32_t insn, bool trapped)
{
    t1_leave(t);
    t->flags_r14 = false;
    if (a64_rows[row].simd && row > A64_ld4r_post && !trapped) {
        x64_mov_imm(t->e, RDX, insn);
        x64_mov_imm(t->e, RAX, row);
        t1_call_thunk(t, t->j->thunk.simd);
    } else {
        t->sp_aligned = false;
        t1_interp(t, insn);
    }
    t1_genter(t);
    t1_share_none(t);
    t1_vforget(t);
}

/* Guest instruction t->i has its hot code between `from` and here: see rt/user.c. */
static void t1_map(struct t1 *t, const uint8_t *from)
{
    size_t len = (size_t)(t->e->p - from);

    for (; len >= UINT8_MAX; len -= UINT8_MAX)
        t->j->map[t->j->nmap++] = UINT8_MAX;
    t->j->map[t->j->nmap++] = (uint8_t)len;
}

static void t1_instruction(struct t1 *t)
{
    unsigned row = t->row[t->i];
    uint32_t insn = t->insn[t->i];
    bool simd = a64_rows[row].simd && !(t->b->ctx & JIT_CTX_FP);
    struct t1_vstate before = t->vreg.now;

    t->keep_flags = t->accessed = false;
    if (!t1_flags_stay(t))
        t->flags_r14 = false;
    if (simd || !t1_table[row] || !t1_table[row](t, insn))
        t1_fallback(t, row, insn, simd);
    if (!t->keep_flags)
        t->host_flags = false;
    t->lost |= t->flags_only && !t->host_flags;
    if (t->accessed && (before.dirty || t->greg.count || t->flags_only))
        t1_stub(t, T1_STUB_FAULT, NULL)->v = before;
}

/* The hot code of all instructions. */
static void t1_instructions(struct t1 *t)
{
    const uint8_t *from = t->e->p;

    if (t->planned)
        t1_head(t);
    for (t->i = 0; t->i < t->n; t->i++) {
        if (t->labels >> t->i & 1)
            t1_label(t);
        if (!t->ended)
            t1_instruction(t);
        if (t1_user(t))
            t1_map(t, from);
        from = t->e->p;
    }
    if (!t->ended) {
        t->i--;
        t1_exit(t, t->b->pc + t->n * 4);
    }
}

static void t1_begin(struct t1 *t, struct jit *j, struct jit_vcpu *v, struct jit_block *b, struct x64_emit *e)
{
    memset(t, 0, offsetof(struct t1, n));
    t->j = j;
    t->v = v;
    t->b = b;
    t->e = e;
    t->pin = jit_pin;
    e->p = e->base;
    j->nmap = b->map;
    b->nexits = 0;
    b->nrelocs = 0;
    t1_entry_nop(e);
}

/* All of the code, by the plan that was made, or by none. */
static void t1_translate(struct t1 *t, bool planned)
{
    struct t1_vregs v = t->vreg;
    struct t1_gregs g = t->greg;

    t1_begin(t, t->j, t->v, t->b, t->e);
    t->planned = planned;
    if (planned) {
        t->vreg = v;
        t->greg = g;
    }
    t1_instructions(t);
    t1_emit_stubs(t);
}

bool jit_tier1_translate(struct jit *j, struct jit_vcpu *v, struct jit_block *b, struct x64_emit *e)
{
    struct t1 t;

    t1_begin(&t, j, v, b, e);
    t1_decode(&t);
    if (!t.n)
        return false;
    t1_instructions(&t);
    if (t.loops && !j->unlinked && t1_plan(&t)) {
        struct t1_vregs v = t.vreg;
        struct t1_gregs g = t.greg;

        t1_translate(&t, true);
        if (t.lost) {
            t.carry = false;
            t.vreg = v;
            t.greg = g;
            t1_translate(&t, true);
        }
        if (e->overflow) {
            /* What is done without a plan is shorter. */
            e->overflow = false;
            t.carry = false;
            b->loop = 0;
            t1_translate(&t, false);
        }
    } else {
        t1_emit_stubs(&t);
    }
    b->ninsns = (uint8_t)t.n;
    if (!t1_user(&t)) {
        memcpy(j->map + b->map, t.insn, t.n * sizeof(*t.insn));
        j->nmap += t.n * (uint32_t)sizeof(*t.insn);
    } else if (j->saved.unsaved) {
        b->words = jit_saved_words(t.insn, t.n);
    }
    return !e->overflow;
}
