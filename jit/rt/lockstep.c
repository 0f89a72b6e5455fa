/*
 * Lockstep: a block by the interpreter, then as translated, from the same state.
 *
 * The interpreter comes first and changes no memory: its stores are a list, its loads look there first. It notes what
 * the state is at each branch that it takes and where it leaves the block, because only the translation knows which of
 * these lead out of it. Then the translation runs, on the real memory; its registers must be those of one such place,
 * and memory what the list says up to there. Where they are not, memory and registers are put back and all is done
 * again: a device may have written what both read. The same three times in a row is a fault; then the block's first
 * instruction alone is tried, the first two, and so on, which finds the one whose translation is wrong.
 *
 * What cannot be done twice (system registers, exceptions, barriers that wait) is a block of its own and not compared.
 * Nor is a block that meets device memory or a fault. Others that run at the same time would change what is compared:
 * a machine's other vCPUs stop for each block, and of a program with several threads nothing is compared.
 */
#include "jit/rt/lockstep.h"

#include <stdio.h>

#include "jit/a64/disasm.h"
#include "jit/interp/interp.h"
#include "jit/rt/access.h"
#include "jit/rt/rmw.h"

#define LOCKSTEP_STEPS 8192 /* instructions of a block's loop */
#define LOCKSTEP_ENDS 256
#define LOCKSTEP_STORES 2048
#define LOCKSTEP_WORDS 8192 /* a power of two, more than stores can touch */
#define LOCKSTEP_TRIES 3
#define LOCKSTEP_TURNS 64 /* of a long loop that are compared one by one, before it may go on by itself */

/* What is compared. */
struct lockstep_regs {
    uint64_t x[32], pc;
    uint32_t nzcv, fpcr, fpsr;
    arm64_vreg v[32];
};

struct lockstep_store {
    uint64_t at;
    unsigned size;
    uint8_t data[16], old[16];
};

/* Eight bytes of memory, and which of them were stored to. */
struct lockstep_word {
    uint64_t at;
    uint32_t round; /* of the table; others are free */
    uint8_t mask;
    uint8_t data[8];
};

struct jit_lockstep {
    const struct a64_ops *real;
    struct a64_ops ops;
    bool left;         /* the interpreter came upon something that is not to be done twice */
    uint8_t excl_size; /* a load-exclusive of this block; 0: none */
    uint64_t excl_addr;
    struct lockstep_regs start;
    struct arm64_sysregs sys; /* what an exception changes, at the start */
    uint8_t el, spsel;
    uint32_t daif, pstate_misc;
    unsigned nends, nstores;
    uint32_t round;
    uint64_t loop; /* block that is a long loop, and how many turns were compared */
    unsigned turns;
    struct lockstep_end {
        struct lockstep_regs regs;
        unsigned nstores;
    } end[LOCKSTEP_ENDS];
    struct lockstep_store store[LOCKSTEP_STORES];
    struct lockstep_word word[LOCKSTEP_WORDS];
};

/* ---- state ---- */

static void regs_get(struct lockstep_regs *r, const struct arm64_cpu *c)
{
    memcpy(r->x, c->x, sizeof(r->x));
    memcpy(r->v, c->v, sizeof(r->v));
    r->pc = c->pc;
    r->nzcv = arm64_nzcv(c);
    r->fpcr = c->fpcr;
    r->fpsr = c->fpsr;
}

static bool regs_equal(const struct lockstep_regs *a, const struct lockstep_regs *b)
{
    return a->pc == b->pc && a->nzcv == b->nzcv && a->fpcr == b->fpcr && a->fpsr == b->fpsr &&
           !memcmp(a->x, b->x, sizeof(a->x)) && !memcmp(a->v, b->v, sizeof(a->v));
}

static void save(struct jit_lockstep *l, struct jit_vcpu *v)
{
    const struct arm64_cpu *c = &v->cpu;

    jit_fpsr_sync(&v->cpu);
    regs_get(&l->start, c);
    l->sys = c->sys;
    l->el = c->el;
    l->spsel = c->spsel;
    l->daif = c->daif;
    l->pstate_misc = c->pstate_misc;
}

static void restore(const struct jit_lockstep *l, struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;

    memcpy(c->x, l->start.x, sizeof(c->x));
    memcpy(c->v, l->start.v, sizeof(c->v));
    c->pc = l->start.pc;
    arm64_set_nzcv(c, l->start.nzcv);
    c->fpcr = l->start.fpcr;
    c->fpsr = l->start.fpsr;
    c->sys = l->sys;
    c->el = l->el;
    c->spsel = l->spsel;
    c->daif = l->daif;
    c->pstate_misc = l->pstate_misc;
    jit_fpsr_changed(c);
    v->jit->space->context_update(v);
}

/* ---- memory as the interpreter has left it ---- */

static struct lockstep_word *word_of(struct jit_lockstep *l, uint64_t at, bool make)
{
    unsigned i = (unsigned)((at >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % LOCKSTEP_WORDS;

    while (l->word[i].round == l->round && l->word[i].at != at)
        i = (i + 1) % LOCKSTEP_WORDS;
    if (l->word[i].round == l->round)
        return &l->word[i];
    if (!make)
        return NULL;
    l->word[i] = (struct lockstep_word){.at = at, .round = l->round};
    return &l->word[i];
}

static void words_put(struct jit_lockstep *l, const struct lockstep_store *s)
{
    for (unsigned i = 0; i < s->size; i++) {
        struct lockstep_word *w = word_of(l, (s->at + i) & ~UINT64_C(7), true);
        w->data[(s->at + i) & 7] = s->data[i];
        w->mask |= (uint8_t)(1u << ((s->at + i) & 7));
    }
}

/* Host address of va, for an access within its page; zero: not plain memory. */
static uint64_t place(struct jit_lockstep *l, struct jit_vcpu *v, uint64_t va, bool write, unsigned flags)
{
    uint64_t at = v->jit->space->plain(v, va, write, flags);

    l->left |= !at;
    return at;
}

static void get(struct jit_lockstep *l, uint64_t at, uint8_t *to, unsigned n)
{
    if (jit_access_copy(to, (const void *)(uintptr_t)at, n)) {
        l->left = true;
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct lockstep_word *w = word_of(l, (at + i) & ~UINT64_C(7), false);
        if (w && w->mask >> ((at + i) & 7) & 1)
            to[i] = w->data[(at + i) & 7];
    }
}

static void put(struct jit_lockstep *l, uint64_t at, const uint8_t *from, unsigned n)
{
    struct lockstep_store *s = &l->store[l->nstores];

    if (l->nstores == LOCKSTEP_STORES || jit_access_copy(s->old, (const void *)(uintptr_t)at, n)) {
        l->left = true;
        return;
    }
    s->at = at;
    s->size = n;
    memcpy(s->data, from, n);
    words_put(l, s);
    l->nstores++;
}

/* Up to 16 bytes, to or from `buf`; A64_TRAPPED where that is not to be done twice. */
static int transfer(struct arm64_cpu *c, uint64_t va, unsigned size, uint8_t *buf, bool write, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    struct jit_lockstep *l = v->lockstep;
    unsigned first = MIN(size, 4096 - (unsigned)(va & 0xfff));
    uint64_t at[2] = {0};

    if ((flags & A64_MEM_ALIGNED) && (va & (size - 1)))
        l->left = true;
    for (unsigned i = 0; i < 1 + (first < size) && !l->left; i++)
        at[i] = place(l, v, i ? va + first : va, write, flags);
    for (unsigned i = 0; i < 1 + (first < size) && !l->left; i++) {
        if (write)
            put(l, at[i], i ? buf + first : buf, i ? size - first : first);
        else
            get(l, at[i], i ? buf + first : buf, i ? size - first : first);
    }
    return l->left ? A64_TRAPPED : 0;
}

/* ---- what the interpreter's instructions ask for ---- */

static int ls_leave(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->lockstep->left = true;
    return A64_TRAPPED;
}

static int ls_load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    return transfer(c, va, size, dst, false, flags);
}

static int ls_store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags)
{
    uint8_t buf[16];

    memcpy(buf, src, size);
    return transfer(c, va, size, buf, true, flags);
}

static int ls_rmw(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t operand, uint64_t *old,
                  unsigned flags)
{
    uint8_t buf[8] = {0};

    if (transfer(c, va, size, buf, false, flags | A64_MEM_ALIGNED))
        return A64_TRAPPED;
    *old = le64_get(buf);
    le64_put(buf, jit_rmw_value(op, *old, operand, size));
    return transfer(c, va, size, buf, true, flags | A64_MEM_ALIGNED);
}

static int ls_cas(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired, unsigned flags)
{
    uint8_t seen[16], next[16];
    bool same;

    if (transfer(c, va, size, seen, false, flags | A64_MEM_ALIGNED))
        return A64_TRAPPED;
    same = !memcmp(seen, expected, size);
    memcpy(expected, seen, size);
    /* Without a change it is a write all the same. */
    memcpy(next, same ? desired : seen, size);
    return transfer(c, va, size, next, true, flags | A64_MEM_ALIGNED);
}

static int ls_load_excl(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct jit_lockstep *l = jit_vcpu_of(c)->lockstep;

    l->excl_size = (uint8_t)size;
    l->excl_addr = va;
    return transfer(c, va, size, dst, false, flags | A64_MEM_ALIGNED);
}

/* Without its load-exclusive in the same block nobody knows. */
static int ls_store_excl(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                         unsigned flags)
{
    struct jit_lockstep *l = jit_vcpu_of(c)->lockstep;
    uint8_t buf[16];

    if (l->excl_size != size || l->excl_addr != va)
        return ls_leave(c);
    memcpy(buf, src, size);
    *status = 0;
    l->excl_size = 0;
    return transfer(c, va, size, buf, true, flags | A64_MEM_ALIGNED);
}

static void ls_clear_excl(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->lockstep->excl_size = 0;
}

static int ls_zero_block(struct arm64_cpu *c, uint64_t va)
{
    uint8_t zero[16] = {0};
    uint64_t block = va & ~(uint64_t)(JIT_ZVA_SIZE - 1);

    for (unsigned i = 0; i < JIT_ZVA_SIZE; i += sizeof(zero))
        if (transfer(c, block + i, sizeof(zero), zero, true, 0))
            return A64_TRAPPED;
    return 0;
}

static void ls_barrier(struct arm64_cpu *c, enum a64_barrier b)
{
    (void)c;
    (void)b; /* DMB: others are not here */
}

/* Those that jit_lockstep_alone lets in. */
static int ls_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    const struct jit_vcpu *v = jit_vcpu_of(c);

    if (v->jit->sysreg_plain(enc, c->el, false) < 0)
        return ls_leave(c);
    return v->lockstep->real->sysreg_read(c, enc, rt, val);
}

static int ls_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)enc;
    (void)rt;
    (void)val;
    return ls_leave(c);
}

static int ls_pstate_write(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    (void)op1;
    (void)crm;
    (void)op2;
    return ls_leave(c);
}

static void ls_undef(struct arm64_cpu *c)
{
    ls_leave(c);
}

static void ls_exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    (void)ec;
    (void)iss;
    (void)far;
    ls_leave(c);
}

static int ls_call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm)
{
    (void)kind;
    (void)imm;
    return ls_leave(c);
}

static int ls_hint(struct arm64_cpu *c, enum a64_hint h)
{
    (void)h;
    return ls_leave(c);
}

static int ls_fp_access(struct arm64_cpu *c)
{
    return jit_vcpu_of(c)->ctx & JIT_CTX_FP ? 0 : ls_leave(c);
}

static const struct a64_ops lockstep_ops = {
    .load = ls_load,
    .store = ls_store,
    .rmw = ls_rmw,
    .cas = ls_cas,
    .load_excl = ls_load_excl,
    .store_excl = ls_store_excl,
    .clear_excl = ls_clear_excl,
    .zero_block = ls_zero_block,
    .barrier = ls_barrier,
    .sysreg_read = ls_sysreg_read,
    .sysreg_write = ls_sysreg_write,
    .pstate_write = ls_pstate_write,
    .undef = ls_undef,
    .exception = ls_exception,
    .call = ls_call,
    .eret = ls_undef,
    .hint = ls_hint,
    .fp_access = ls_fp_access,
};

#define LS_ENC(insn) ((insn) >> 5 & 0xffff)
#define LS_DC_ZVA (1u << 14 | 3u << 11 | 7u << 7 | 4u << 3 | 1u)

bool jit_lockstep_alone(const struct jit *j, unsigned row, uint32_t insn, unsigned el)
{
    switch (row) {
    case A64_UNALLOCATED:
    case A64_udf:
    case A64_svc:
    case A64_hvc:
    case A64_smc:
    case A64_brk:
    case A64_hlt:
    case A64_eret:
    case A64_yield:
    case A64_wfe:
    case A64_wfi:
    case A64_sev:
    case A64_sevl:
    case A64_dsb:
    case A64_isb:
    case A64_sb:
    case A64_msr_uao:
    case A64_msr_pan:
    case A64_msr_spsel:
    case A64_msr_ssbs:
    case A64_msr_dit:
    case A64_msr_daifset:
    case A64_msr_daifclr:
    case A64_msr_reg:
    case A64_sysl: return true;
    case A64_sys: return LS_ENC(insn) != LS_DC_ZVA;
    case A64_mrs: return j->sysreg_plain(LS_ENC(insn), el, false) < 0;
    default: return false;
    }
}

/* ---- the interpreter's turn ---- */

static void note_end(struct jit_lockstep *l, const struct arm64_cpu *c)
{
    struct lockstep_end *end = &l->end[l->nends++];

    regs_get(&end->regs, c);
    end->nstores = l->nstores;
}

static void forget(struct jit_lockstep *l)
{
    l->left = false;
    l->excl_size = 0;
    l->nends = l->nstores = 0;
    l->round++;
}

/* Interprets block b's instructions up to where it is left; with `once`, or up to where its loop begins again. False:
 * more ends than there is room for, or l->left. The state is lost. */
static bool interpret(struct jit_lockstep *l, struct jit_vcpu *v, const struct jit_block *b, bool once)
{
    struct arm64_cpu *c = &v->cpu;
    uint32_t insn[JIT_BLOCK_MAX_INSNS];
    unsigned n = v->jit->space->read(b->host, insn, b->ninsns);
    uint64_t begin = c->pc;

    forget(l);
    l->left = n != b->ninsns;
    l->real = c->ops;
    c->ops = &l->ops;
    for (unsigned i = 0; i < LOCKSTEP_STEPS && !l->left && l->nends < LOCKSTEP_ENDS; i++) {
        uint64_t at = (c->pc - begin) / 4;
        bool jumped = a64_interp_step(c, insn[at]) != A64_NEXT;
        bool out = c->pc - begin >= n * UINT64_C(4) || (c->pc & 3);

        if (!l->left && (jumped || out))
            note_end(l, c);
        if (out || (once && c->pc == begin)) {
            c->ops = l->real;
            return !l->left;
        }
    }
    c->ops = l->real;
    return false;
}

/* The same from the saved state, which is the vCPU's again afterwards; *once: the translation must leave its loop. */
static bool oracle(struct jit_lockstep *l, struct jit_vcpu *v, const struct jit_block *b, bool *once)
{
    bool good;

    *once = l->loop == v->cpu.pc;
    if (*once && l->turns++ == LOCKSTEP_TURNS) {
        l->loop = 0;
        return false;
    }
    good = interpret(l, v, b, *once);
    restore(l, v);
    if (good || *once || l->left)
        return good;
    l->loop = v->cpu.pc;
    l->turns = 0;
    *once = true;
    good = interpret(l, v, b, true);
    restore(l, v);
    return good;
}

/* ---- comparing ---- */

/* Is memory what the first n stores have made of it? `at`: where not. */
static bool memory_equal(struct jit_lockstep *l, unsigned n, uint64_t *at)
{
    l->round++;
    for (unsigned i = 0; i < n; i++)
        words_put(l, &l->store[i]);
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < l->store[i].size; k++) {
            const struct lockstep_word *w;
            uint8_t byte;

            *at = l->store[i].at + k;
            w = word_of(l, *at & ~UINT64_C(7), false);
            if (jit_access_load(*at, &byte, 1) || byte != w->data[*at & 7])
                return false;
        }
    }
    return true;
}

static bool agree(struct jit_lockstep *l, const struct lockstep_regs *now)
{
    uint64_t at;

    for (unsigned i = 0; i < l->nends; i++)
        if (regs_equal(&l->end[i].regs, now) && memory_equal(l, l->end[i].nstores, &at))
            return true;
    return false;
}

/* Memory as it was at the start. */
static void undo(struct jit_lockstep *l)
{
    for (unsigned i = l->nstores; i-- > 0;)
        jit_access_copy((void *)(uintptr_t)l->store[i].at, l->store[i].old, l->store[i].size);
}

/* Executes b as translated; why it was left, with cpu.pc set also where that was by an exit that is not linked. */
static int execute(struct jit_vcpu *v, const struct jit_block *b, jit_enter_fn *enter)
{
    int why;

    jit_enter_page(v);
    why = enter(v, v->jit->rx + b->code);
    if (why == JIT_EXIT_LINK)
        v->cpu.pc = v->page + b->pc + (uint64_t)((int64_t)b->exit[v->link_exit].target * 4);
    return why;
}

enum verdict { AGREE, DIFFER, NOT_COMPARED };

/* One comparison from the vCPU's state; after DIFFER that is as it was, and l->end is what was expected. */
static enum verdict compare(struct jit_lockstep *l, struct jit_vcpu *v, struct jit_block *b, jit_enter_fn *enter,
                            int *why, struct lockstep_regs *got)
{
    bool once;

    save(l, v);
    if (!oracle(l, v, b, &once)) {
        *why = execute(v, b, enter);
        return NOT_COMPARED;
    }
    /* A loop's own branch looks at it. */
    if (once)
        atomic_fetch_or(&v->cpu.exit_request, ARM64_EXIT_SYNC);
    *why = execute(v, b, enter);
    jit_fpsr_sync(&v->cpu);
    regs_get(got, &v->cpu);
    if (agree(l, got))
        return AGREE;
    /* Anything else left it midway; a block that has written its own code goes on with what that was. */
    if ((*why != JIT_EXIT_LOOKUP && *why != JIT_EXIT_LINK) || b->dead)
        return NOT_COMPARED;
    undo(l);
    restore(l, v);
    return DIFFER;
}

static struct jit_block *block_of(struct jit *j, const uint8_t *code)
{
    struct jit_block_header h;

    memcpy(&h, code - sizeof(h), sizeof(h));
    return &j->block[h.block];
}

/* The number of the first instruction of b that makes a difference. */
static unsigned first_wrong(struct jit_lockstep *l, struct jit_vcpu *v, const struct jit_block *b, jit_enter_fn *enter)
{
    struct jit *j = v->jit;
    unsigned n = b->ninsns, k;
    struct lockstep_regs got;
    int why;

    for (k = 1; k < n; k++) {
        const uint8_t *code;

        j->limit = k;
        jit_invalidate(j, b->host, 4);
        code = jit_find(v);
        if (!code || compare(l, v, block_of(j, code), enter, &why, &got) == DIFFER)
            break;
        if (l->nends)
            undo(l);
        restore(l, v);
    }
    j->limit = 0;
    jit_invalidate(j, b->host, 4);
    return k - 1;
}

#define PUT(...) len += (size_t)snprintf(m->text + len, len < sizeof(m->text) ? sizeof(m->text) - len : 0, __VA_ARGS__)
#define PUT64(name, got, want)                                                                                         \
    do {                                                                                                               \
        if ((got) != (want))                                                                                           \
            PUT("\n%s is %016lx, not %016lx", name, (unsigned long)(got), (unsigned long)(want));                      \
    } while (0)

/* What differs from the place that comes nearest. */
static void describe(struct jit_lockstep *l, const struct lockstep_regs *got, struct jit_mismatch *m)
{
    const struct lockstep_end *end = &l->end[l->nends - 1];
    const struct lockstep_regs *want;
    size_t len = 0;
    uint64_t at;

    for (unsigned i = l->nends; i-- > 0;) {
        if (l->end[i].regs.pc == got->pc) {
            end = &l->end[i];
            break;
        }
    }
    want = &end->regs;
    PUT64("pc", got->pc, want->pc);
    for (unsigned i = 0; i < 32; i++) {
        char name[8];

        snprintf(name, sizeof(name), i == 31 ? "sp" : "x%u", i);
        PUT64(name, got->x[i], want->x[i]);
    }
    PUT64("nzcv", got->nzcv, want->nzcv);
    PUT64("fpcr", got->fpcr, want->fpcr);
    PUT64("fpsr", got->fpsr, want->fpsr);
    for (unsigned i = 0; i < 32; i++)
        if (memcmp(&got->v[i], &want->v[i], 16))
            PUT("\nv%u is %016lx%016lx, not %016lx%016lx", i, (unsigned long)got->v[i].d[1],
                (unsigned long)got->v[i].d[0], (unsigned long)want->v[i].d[1], (unsigned long)want->v[i].d[0]);
    if (!len && !memory_equal(l, end->nstores, &at))
        PUT("\nmemory differs at host address %016lx", (unsigned long)at);
}
#undef PUT64
#undef PUT

/* The same three times: says so, and lets the interpreter's state stand. */
static void report(struct jit_lockstep *l, struct jit_vcpu *v, const struct jit_block *b, jit_enter_fn *enter,
                   const struct lockstep_regs *got)
{
    struct jit *j = v->jit;
    struct jit_mismatch m = {.pc = v->cpu.pc, .ninsns = b->ninsns};
    uint32_t insn[JIT_BLOCK_MAX_INSNS] = {0};

    describe(l, got, &m);
    j->space->read(b->host, insn, b->ninsns);
    m.insn = first_wrong(l, v, b, enter);
    m.word = insn[m.insn];
    a64_disasm(m.name, sizeof(m.name), m.word, m.pc + m.insn * UINT64_C(4));
    if (j->mismatch)
        j->mismatch(j->mismatch_opaque, &v->cpu, &m);
    a64_interp_step(&v->cpu, insn[0]);
}

/* ---- the block ---- */

static int lockstep(struct jit_vcpu *v, struct jit_block *b, jit_enter_fn *enter)
{
    struct jit_lockstep *l = v->lockstep;
    struct lockstep_regs got;
    int why = -1;

    for (unsigned i = 0; i < LOCKSTEP_TRIES; i++) {
        switch (compare(l, v, b, enter, &why, &got)) {
        case AGREE: atomic_fetch_add_explicit(&v->jit->compared, 1, memory_order_relaxed); return why;
        case NOT_COMPARED: atomic_fetch_add_explicit(&v->jit->once, 1, memory_order_relaxed); return why;
        default: break;
        }
    }
    report(l, v, b, enter, &got);
    return JIT_EXIT_TRAP;
}

static bool room(struct jit_vcpu *v)
{
    if (!v->lockstep && (v->lockstep = jit_host_map(sizeof(*v->lockstep))))
        v->lockstep->ops = lockstep_ops;
    return v->lockstep;
}

int jit_lockstep_block(struct jit_vcpu *v, jit_enter_fn *enter, bool alone)
{
    struct jit *j = v->jit;
    const uint8_t *code = jit_find(v);
    struct jit_block *b;
    uint32_t insn;

    if (!code)
        return -1;
    b = block_of(j, code);
    insn = jit_insn(b->host);
    if (!alone || !room(v) || jit_lockstep_alone(j, a64_decode(insn), insn, v->cpu.el)) {
        atomic_fetch_add_explicit(&j->once, 1, memory_order_relaxed);
        return execute(v, b, enter);
    }
    return lockstep(v, b, enter);
}

void jit_lockstep_end(struct jit_vcpu *v)
{
    jit_host_unmap(v->lockstep, sizeof(*v->lockstep));
    v->lockstep = NULL;
}

void jit_lockstep(struct jit *j, jit_mismatch_fn *tell, void *opaque)
{
    j->mismatch = tell;
    j->mismatch_opaque = opaque;
}
