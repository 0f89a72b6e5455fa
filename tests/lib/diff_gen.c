/*
 * Makes random cases for differential tests. Fields are random within what the row allows and the architecture
 * defines; addresses are then steered into the memory window, up to its very ends, or just beyond the memory: the
 * interpreter is asked where the accesses would go, and the base register moved by the difference.
 */
#include "tests/lib/diff.h"

#define ENC_OF(op1, crn, crm, op2) (((op1) << 11 | (crn) << 7 | (crm) << 3 | (op2)) << 5)
#define FPCR_BITS 0x07c80000u /* AHP DN FZ RMode FZ16 */
#define FPSR_BITS 0x0800009fu
#define TRIES 200
#define BEYOND 64u /* bytes behind and before the area that accesses go to */

static uint64_t rng_state = 1;

void diff_seed(uint64_t seed)
{
    rng_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static uint64_t rnd64(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint32_t rnd(uint32_t below)
{
    return (uint32_t)(rnd64() >> 32) % below;
}

/* ---- values ---- */

static uint64_t rnd_integer(void)
{
    static const uint64_t edges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000};

    switch (rnd(8)) {
    case 0: return edges[rnd(ARRAY_SIZE(edges))];
    case 1: return -edges[rnd(ARRAY_SIZE(edges))];
    case 2: return UINT64_C(0x7fffffffffffffff) + rnd(3) - 1;
    case 3: return (uint32_t)rnd64();
    case 4: return (uint64_t)(int64_t)(int32_t)rnd64();
    case 5: return rnd64() >> rnd(64);
    default: return rnd64();
    }
}

/* A floating-point number of `size` bytes, special ones often. */
static uint64_t rnd_float(unsigned size)
{
    unsigned mant = size == 2 ? 10 : size == 4 ? 23 : 52, bits = size * 8, exps = bits - 1 - mant;
    uint64_t sign = rnd64() & BIT64(bits - 1), frac = rnd64() & (BIT64(mant) - 1), max = BIT64(exps) - 1, e;

    switch (rnd(12)) {
    case 0: return sign;                                        /* zero */
    case 1: return sign | max << mant;                          /* infinity */
    case 2: return sign | max << mant | BIT64(mant - 1) | frac; /* quiet NaN */
    case 3: return sign | max << mant | (frac >> 1) | 1;        /* signalling NaN */
    case 4: return sign | frac >> rnd(mant);                    /* subnormal */
    case 5: return sign | BIT64(mant) | (frac & rnd(4));        /* least normal */
    case 6: return sign | (max - 1) << mant | frac;             /* greatest */
    case 7:                                                     /* an integer or half of one */
    case 8:
        e = max / 2 + rnd(mant);
        return sign | e << mant | (frac >> rnd(mant) << (mant - MIN(mant, 1 + rnd(4))) & (BIT64(mant) - 1));
    case 9: e = max / 2 + rnd(66); return sign | MIN(e, max) << mant | frac;
    case 10: e = max / 2 - 4 + rnd(8); return sign | e << mant | frac;
    default: return rnd64() & (size == 8 ? UINT64_MAX : BIT64(bits) - 1);
    }
}

static void rnd_vector(uint64_t v[2])
{
    unsigned size = 2u << rnd(3), what = rnd(4);
    uint8_t bytes[16];

    if (what == 0) {
        v[0] = rnd_integer();
        v[1] = rnd_integer();
        return;
    }
    for (unsigned i = 0; i < 16; i += size) {
        uint64_t e = what == 1 ? rnd_integer() : rnd_float(size);
        memcpy(bytes + i, &e, size);
    }
    memcpy(v, bytes, 16);
}

static void rnd_state(struct diff_state *s, bool simd)
{
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < 32; i++)
        s->x[i] = i && rnd(8) == 0 ? s->x[rnd(i)] : rnd_integer();
    s->x[31] &= ~UINT64_C(15);
    if (s->x[31] - DIFF_STACK < DIFF_STACK_SIZE)
        s->x[31] += DIFF_STACK_SIZE;
    for (unsigned i = 0; i < 32; i++) {
        if (i && rnd(8) == 0)
            memcpy(s->v[i], s->v[rnd(i)], 16);
        else
            rnd_vector(s->v[i]);
    }
    s->nzcv = (uint32_t)rnd64() & 0xf0000000u;
    if (simd) {
        s->fpcr = rnd(2) ? (uint32_t)rnd64() & FPCR_BITS : 0;
        s->fpsr = rnd(4) ? 0 : (uint32_t)rnd64() & FPSR_BITS;
    }
    for (unsigned i = 0; i < DIFF_MEM_SIZE; i += 16) {
        uint64_t v[2];
        rnd_vector(v);
        memcpy(s->mem + i, v, 16);
    }
}

/* ---- instructions ---- */

static bool name_has(enum a64_row row, const char *part)
{
    return strstr(a64_rows[row].name, part);
}

static bool name_starts(enum a64_row row, const char *part)
{
    return !strncmp(a64_rows[row].name, part, strlen(part));
}

static bool has_field(enum a64_row row, char letter)
{
    return strchr(a64_rows[row].bits, letter);
}

bool diff_row_at_el0(enum a64_row row)
{
    switch (row) {
    case A64_UNALLOCATED:
    /* The kernel's answer, or none. */
    case A64_svc:
    case A64_hvc:
    case A64_smc:
    case A64_hlt:
    /* EL1 only. */
    case A64_eret:
    case A64_msr_uao:
    case A64_msr_pan:
    case A64_msr_spsel:
    case A64_msr_daifset:
    case A64_msr_daifclr:
    case A64_sysl:
    /* PSTATE bits that nothing else shows. */
    case A64_msr_ssbs:
    case A64_msr_dit: return false;
    default: return true;
    }
}

/* Combinations whose result the architecture leaves open (CONSTRAINED UNPREDICTABLE). */
static bool unpredictable(enum a64_row row, uint32_t w)
{
    unsigned t = a64_rd(w), u = a64_ra(w), n = a64_rn(w), s = a64_rm(w);
    bool pair = has_field(row, 'u');

    if (name_starts(row, "ld") && pair && t == u)
        return true;
    if ((name_has(row, "_pre") || name_has(row, "_post")) && n != 31 && (n == t || (pair && n == u)))
        return true;
    if (name_starts(row, "stx") && (s == t || (pair && s == u) || (s == n && n != 31)))
        return true;
    return false;
}

static uint32_t put(uint32_t w, unsigned lo, unsigned width, uint32_t v)
{
    uint32_t m = (uint32_t)((BIT64(width) - 1) << lo);
    return (w & ~m) | (v << lo & m);
}

/* A distance in words from slot word `at` to the fourth word of some slot nearby. */
static uint32_t rnd_distance(unsigned at)
{
    return (uint32_t)(4 * ((int)rnd(3800) - 1900) + 3 - (int)at);
}

/* Random fields; then those that must stay within what the test can run. */
static uint32_t rnd_insn(enum a64_row row, unsigned at)
{
    const struct a64_row_info *r = &a64_rows[row];
    uint32_t w = (uint32_t)rnd64(), should_be_one = 0;

    for (unsigned i = 0; i < 32; i++)
        should_be_one |= r->bits[i] == '-' ? BIT32(31 - i) : 0;
    for (unsigned lo = 0; lo <= 16; lo += lo == 5 ? 11 : 5) { /* register fields at 0, 5 and 16 */
        if (rnd(8) == 0)
            w = put(w, lo, 5, 31);
        else if (rnd(8) == 0)
            w = put(w, lo, 5, w >> 5);
    }
    if (rnd(8) == 0)
        w = put(w, 10, 6, rnd(2) ? 0 : 31);
    w = r->value | ((w | should_be_one) & ~r->mask);

    switch (row) {
    case A64_b:
    case A64_bl: return put(w, 0, 26, rnd_distance(at));
    case A64_b_cond:
    case A64_cbz:
    case A64_cbnz: return put(w, 5, 19, rnd_distance(at));
    case A64_tbz:
    case A64_tbnz: return put(w, 5, 14, rnd_distance(at));
    case A64_br:
    case A64_blr:
    case A64_ret: return a64_rn(w) == 31 ? put(w, 5, 5, rnd(31)) : w;
    case A64_brk: return DIFF_BRK;
    case A64_mrs:
    case A64_msr_reg: {
        static const uint32_t regs[] = {ENC_OF(3, 4, 2, 0), ENC_OF(3, 4, 4, 0), ENC_OF(3, 4, 4, 1)};
        return (w & ~(BIT32(20) - 32)) | BIT32(19) | regs[rnd(ARRAY_SIZE(regs))];
    }
    case A64_sys: return (r->value | ENC_OF(3, 7, 4, 1)) | rnd(31); /* dc zva */
    default: break;
    }
    if (name_has(row, "_lit"))
        w = put(w, 5, 19, rnd_distance(at));
    return w;
}

/* Registers that must hold something particular. */
static void prepare_registers(struct diff_case *c, unsigned slots)
{
    struct diff_state *s = &c->in;
    unsigned t = a64_rd(c->insn), n = a64_rn(c->insn);

    if (c->row == A64_br || c->row == A64_blr || c->row == A64_ret)
        s->x[n] = DIFF_CODE + DIFF_MARGIN + DIFF_SLOT * rnd(slots) + 12;
    if (c->row == A64_msr_reg && t != 31) {
        if ((c->insn & 0xffe0) == (ENC_OF(3, 4, 4, 0) & 0xffe0))
            s->x[t] &= FPCR_BITS;
        else if ((c->insn & 0xffe0) == (ENC_OF(3, 4, 4, 1) & 0xffe0))
            s->x[t] &= FPSR_BITS;
    }
}

/* ---- addresses ---- */

/* Where does the instruction under test access memory? False if nowhere. */
static bool probe(struct diff_env *e, const struct diff_case *c)
{
    static uint8_t image[2 * DIFF_MARGIN];
    uint64_t pc = DIFF_CODE + DIFF_MARGIN;
    struct diff_state s = c->in;

    le32_put(image + DIFF_MARGIN, c->insn);
    s.pc = pc;
    diff_env_load(e, &s);
    e->code = image;
    e->code_size = sizeof(image);
    e->probe = true;
    e->cpu.fpcr = 0;
    diff_run_interp(e);
    e->probe = false;
    return e->access_size;
}

static bool accesses_in(const struct diff_env *e, uint64_t from, uint64_t size)
{
    return range_within(e->access_va - from, e->access_size, size) &&
           (!(e->access_flags & A64_MEM_ALIGNED) || !(e->access_va & (e->access_size - 1)));
}

/* The address that the accesses shall begin at: in the window or, `beyond`, behind or before the area. */
static uint64_t rnd_address(uint64_t window, const struct diff_env *e, bool beyond)
{
    uint64_t va = window + rnd(DIFF_MEM_SIZE - e->access_size + 1);

    if (window == DIFF_MEM_ACROSS && e->access_size > 1 && rnd(2))
        va = window + DIFF_MEM_SIZE / 2 - 1 - rnd(e->access_size - 1);
    if (beyond)
        va = window == DIFF_MEM_HIGH ? DIFF_AREA_END + rnd(BEYOND) : DIFF_AREA - e->access_size - rnd(BEYOND);
    return e->access_flags & A64_MEM_ALIGNED ? align_down(va, e->access_size) : va;
}

/*
 * Moves the base register so that the accesses fall into the window or, where `may_fault`, some of them beyond the
 * area: as a whole, because what is left of an access after it faulted in part is not defined.
 */
static bool steer(struct diff_case *c, struct diff_env *e, bool may_fault)
{
    unsigned base = c->row == A64_sys ? a64_rd(c->insn) : a64_rn(c->insn);
    bool beyond = may_fault && c->in.window != DIFF_MEM_ACROSS && rnd(8) == 0;
    uint64_t *reg = &c->in.x[base];

    /* An instruction that looks at a literal or at no memory needs no steering; a jump leaves the probe's image. */
    if (!probe(e, c) || name_has(c->row, "_lit"))
        return true;
    *reg += rnd_address(c->in.window, e, beyond) - e->access_va;
    if (base == 31)
        *reg &= ~UINT64_C(15);
    if (!probe(e, c))
        return false;
    if (beyond)
        return accesses_in(e, DIFF_AREA_END, 2 * BEYOND) || accesses_in(e, DIFF_AREA - 2 * BEYOND, 2 * BEYOND);
    return accesses_in(e, c->in.window, DIFF_MEM_SIZE);
}

/* Half of the compare-and-swaps should find what they expect. */
static void make_cas_succeed(struct diff_case *c, const struct diff_env *e)
{
    unsigned s = a64_rm(c->insn), size = e->access_size;
    uint64_t v[2] = {s == 31 ? 0 : c->in.x[s], s >= 30 ? 0 : c->in.x[s + 1]};
    uint32_t w[2] = {(uint32_t)v[0], (uint32_t)v[1]};

    if (rnd(2) || !accesses_in(e, c->in.window, DIFF_MEM_SIZE))
        return;
    uint8_t *p = c->in.mem + (e->access_va - c->in.window);
    if (c->row == A64_casp && size == 8)
        memcpy(p, w, 8);
    else
        memcpy(p, v, size);
}

/*
 * A store-exclusive follows a load-exclusive of the same size and place, into the zero register (and, for a pair, a
 * register that the store does not use).
 */
static uint32_t matching_load(uint32_t w)
{
    uint32_t used = BIT32(a64_rm(w)) | BIT32(a64_rn(w)) | BIT32(a64_rd(w)) | BIT32(a64_ra(w)) | BIT32(31);
    bool pair = w & BIT32(21);

    w |= BIT32(22);
    w = put(w, 16, 5, 31);
    w = put(w, 0, 5, 31);
    return pair ? put(w, 10, 5, (uint32_t)__builtin_ctz(~used)) : w;
}

bool diff_gen(struct diff_case *c, enum a64_row row, unsigned slot, unsigned slots, struct diff_env *scratch)
{
    static const uint64_t windows[] = {DIFF_MEM_LOW, DIFF_MEM_ACROSS, DIFF_MEM_HIGH};
    bool exclusive = row == A64_stxr || row == A64_stxp, after_load = exclusive && rnd(8);
    unsigned at = after_load ? 1 : 0;

    for (unsigned i = 0; i < TRIES; i++) {
        c->row = row;
        c->insn = rnd_insn(row, at);
        if (a64_decode(c->insn) != row || unpredictable(row, c->insn))
            continue;
        rnd_state(&c->in, a64_rows[row].simd);
        c->in.pc = DIFF_CODE + DIFF_MARGIN + (uint64_t)DIFF_SLOT * slot;
        c->in.window = windows[rnd(ARRAY_SIZE(windows))];
        prepare_registers(c, slots);
        /* Whether a store-exclusive that fails anyway faults is left open (Arm ARM, AArch64.ExclusiveMonitorsPass). */
        if (!steer(c, scratch, !exclusive || after_load))
            continue;
        if (row == A64_cas || row == A64_casp)
            make_cas_succeed(c, scratch);
        c->code[0] = c->code[1] = c->code[2] = DIFF_BRK;
        c->code[at] = c->insn;
        if (after_load)
            c->code[0] = matching_load(c->insn);
        return true;
    }
    return false;
}
