/*
 * The surroundings of a CPU in differential tests: a window of memory, the code image, an exclusive monitor, and the
 * handful of registers of EL0 that both sides can be asked about. Whatever would leave the program stops the case.
 */
#include "jit/interp/interp.h"
#include "tests/lib/diff.h"

#define MAX_STEPS 16
#define SYSREG(op1, crn, crm, op2) (3u << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define ENC_NZCV SYSREG(3u, 4u, 2u, 0u)
#define ENC_FPCR SYSREG(3u, 4u, 4u, 0u)
#define ENC_FPSR SYSREG(3u, 4u, 4u, 1u)

static struct diff_env *env_of(struct arm64_cpu *c)
{
    return container_of(c, struct diff_env, cpu);
}

void diff_stop(struct diff_env *e, uint32_t sig)
{
    e->stopped = true;
    e->sig = sig;
}

/* Adds an access to those of the instruction that is probed; it reads zeros, and nobody looks at what it writes. */
static uint8_t *note_access(struct diff_env *e, uint64_t va, unsigned size, unsigned flags)
{
    static uint8_t nowhere[DIFF_MEM_SIZE];

    if (!e->access_size) {
        e->access_va = va;
        e->access_size = size;
        e->access_flags = flags;
    } else {
        /* Several accesses of an instruction lie close together, on either side of the first. */
        uint64_t before = (int64_t)(e->access_va - va) > 0 ? e->access_va - va : 0;
        e->access_va -= before;
        e->access_size = (unsigned)MAX(e->access_size + before, va - e->access_va + size);
    }
    return memset(nowhere, 0, sizeof(nowhere));
}

/* The host address of an access, or NULL after stopping the case. */
static uint8_t *reach(struct arm64_cpu *c, uint64_t va, unsigned size, bool write, unsigned flags)
{
    struct diff_env *e = env_of(c);

    if (e->probe)
        return note_access(e, va, size, flags);
    if ((flags & A64_MEM_ALIGNED) && (va & (size - 1))) {
        diff_stop(e, DIFF_SIG_BUS);
        return NULL;
    }
    if (range_within(va - e->window, size, DIFF_MEM_SIZE))
        return e->mem + (va - e->window);
    if (!write && range_within(va - DIFF_CODE, size, e->code_size))
        return (uint8_t *)(uintptr_t)(e->code + (va - DIFF_CODE));
    diff_stop(e, DIFF_SIG_SEGV);
    return NULL;
}

static int load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    const uint8_t *p = reach(c, va, size, false, flags);
    if (!p)
        return A64_TRAPPED;
    memcpy(dst, p, size);
    return 0;
}

static int store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags)
{
    uint8_t *p = reach(c, va, size, true, flags);
    if (!p)
        return A64_TRAPPED;
    memcpy(p, src, size);
    return 0;
}

static uint64_t rmw_result(enum a64_rmw op, uint64_t old, uint64_t arg, unsigned size)
{
    int64_t so = sext64(old, size * 8), sa = sext64(arg, size * 8);

    switch (op) {
    case A64_RMW_SWP: return arg;
    case A64_RMW_ADD: return old + arg;
    case A64_RMW_CLR: return old & ~arg;
    case A64_RMW_EOR: return old ^ arg;
    case A64_RMW_SET: return old | arg;
    case A64_RMW_SMAX: return so > sa ? old : arg;
    case A64_RMW_SMIN: return so < sa ? old : arg;
    case A64_RMW_UMAX: return MAX(old, arg);
    default: return MIN(old, arg);
    }
}

static int rmw(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t arg, uint64_t *old,
               unsigned flags)
{
    uint8_t *p = reach(c, va, size, true, flags);
    if (!p)
        return A64_TRAPPED;
    *old = 0;
    memcpy(old, p, size);
    uint64_t v = rmw_result(op, *old, arg, size);
    memcpy(p, &v, size);
    return 0;
}

static int cas(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired, unsigned flags)
{
    uint8_t *p = reach(c, va, size, true, flags);
    if (!p)
        return A64_TRAPPED;
    bool equal = !memcmp(p, expected, size);
    memcpy(expected, p, size);
    if (equal)
        memcpy(p, desired, size);
    return 0;
}

static int load_excl(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct diff_env *e = env_of(c);
    if (load(c, va, size, dst, flags))
        return A64_TRAPPED;
    e->monitor = true;
    e->monitor_va = va;
    e->monitor_size = size;
    return 0;
}

static int store_excl(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                      unsigned flags)
{
    struct diff_env *e = env_of(c);
    uint8_t *p = reach(c, va, size, true, flags);
    if (!p)
        return A64_TRAPPED;
    *status = !(e->monitor && e->monitor_va == va && e->monitor_size == size);
    e->monitor = false;
    if (!*status)
        memcpy(p, src, size);
    return 0;
}

static void clear_excl(struct arm64_cpu *c)
{
    env_of(c)->monitor = false;
}

static int zero_block(struct arm64_cpu *c, uint64_t va)
{
    uint8_t *p = reach(c, align_down(va, DIFF_ZVA_SIZE), DIFF_ZVA_SIZE, true, 0);

    if (!p)
        return A64_TRAPPED;
    memset(p, 0, DIFF_ZVA_SIZE);
    return 0;
}

static void barrier(struct arm64_cpu *c, enum a64_barrier b)
{
    (void)c;
    (void)b;
}

bool diff_sysreg_read(const struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    switch (enc) {
    case ENC_NZCV: *val = arm64_nzcv(c); return true;
    case ENC_FPCR: *val = c->fpcr; return true;
    case ENC_FPSR: *val = c->fpsr; return true;
    default: return false;
    }
}

bool diff_sysreg_write(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    switch (enc) {
    case ENC_NZCV: arm64_set_nzcv(c, (uint32_t)val); return true;
    case ENC_FPCR: c->fpcr = (uint32_t)val; return true;
    case ENC_FPSR: c->fpsr = (uint32_t)val; return true;
    default: return false;
    }
}

static int sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    (void)rt;
    if (diff_sysreg_read(c, enc, val))
        return 0;
    diff_stop(env_of(c), DIFF_SIG_ILL);
    return A64_TRAPPED;
}

static int sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)rt;
    if (diff_sysreg_write(c, enc, val))
        return 0;
    diff_stop(env_of(c), DIFF_SIG_ILL);
    return A64_TRAPPED;
}

static int pstate_write(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    (void)op1;
    (void)crm;
    (void)op2;
    diff_stop(env_of(c), DIFF_SIG_ILL);
    return A64_TRAPPED;
}

static void undef(struct arm64_cpu *c)
{
    diff_stop(env_of(c), DIFF_SIG_ILL);
}

/* Of the other exceptions only SP alignment can happen here. */
static void exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    (void)ec;
    (void)iss;
    (void)far;
    diff_stop(env_of(c), DIFF_SIG_BUS);
}

static int call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm16)
{
    (void)imm16;
    diff_stop(env_of(c), kind == A64_CALL_BRK ? DIFF_SIG_TRAP : DIFF_SIG_ILL);
    return A64_TRAPPED;
}

static void eret(struct arm64_cpu *c)
{
    diff_stop(env_of(c), DIFF_SIG_ILL);
}

static int hint(struct arm64_cpu *c, enum a64_hint h)
{
    (void)c;
    (void)h;
    return 0;
}

static int fp_access(struct arm64_cpu *c)
{
    (void)c;
    return 0;
}

static const struct a64_ops ops = {
    .load = load,
    .store = store,
    .rmw = rmw,
    .cas = cas,
    .load_excl = load_excl,
    .store_excl = store_excl,
    .clear_excl = clear_excl,
    .zero_block = zero_block,
    .barrier = barrier,
    .sysreg_read = sysreg_read,
    .sysreg_write = sysreg_write,
    .pstate_write = pstate_write,
    .undef = undef,
    .exception = exception,
    .call = call,
    .eret = eret,
    .hint = hint,
    .fp_access = fp_access,
};

/* Every feature but LSE2: the peer reports unaligned atomics as the architecture without it does. */
static const struct arm64_model model = {.name = "diff", .features = ~BIT64(ARM64_FEAT_LSE2)};

#define SCTLR_EL0_USUAL (BIT64(4) | BIT64(14)) /* SA0, DZE: as Linux sets them */

void diff_env_load(struct diff_env *e, const struct diff_state *s)
{
    struct arm64_cpu *c = &e->cpu;

    c->ops = &ops;
    c->model = &model;
    c->el = 0;
    c->sys.sctlr_el1 = SCTLR_EL0_USUAL;
    memcpy(c->x, s->x, sizeof(c->x));
    memcpy(c->v, s->v, sizeof(c->v));
    c->pc = s->pc;
    arm64_set_nzcv(c, s->nzcv);
    c->fpcr = s->fpcr;
    c->fpsr = s->fpsr;
    memcpy(e->mem, s->mem, sizeof(e->mem));
    e->window = s->window;
    e->stopped = e->monitor = e->probe = false;
    e->access_size = 0;
    e->sig = 0;
}

void diff_env_save(const struct diff_env *e, struct diff_state *s)
{
    const struct arm64_cpu *c = &e->cpu;

    memcpy(s->x, c->x, sizeof(s->x));
    memcpy(s->v, c->v, sizeof(s->v));
    s->pc = c->pc;
    s->window = e->window;
    s->nzcv = arm64_nzcv(c);
    s->fpcr = c->fpcr;
    s->fpsr = c->fpsr;
    s->sig = e->sig;
    memcpy(s->mem, e->mem, sizeof(s->mem));
}

bool diff_fetch(const struct diff_env *e, uint64_t va, uint32_t *insn)
{
    if (!range_within(va - DIFF_CODE, 4, e->code_size))
        return false;
    *insn = le32_get(e->code + (va - DIFF_CODE));
    return true;
}

void diff_run_interp(struct diff_env *e)
{
    uint32_t insn;

    for (unsigned i = 0; i < MAX_STEPS && !e->stopped; i++) {
        if (diff_fetch(e, e->cpu.pc, &insn))
            a64_interp_step(&e->cpu, insn);
        else
            diff_stop(e, DIFF_SIG_SEGV);
    }
}
