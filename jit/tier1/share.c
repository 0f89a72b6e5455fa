/*
 * Tier 1: looking around among a block's loads and stores. What is missed here, or seen where it is not, costs time
 * only.
 */
#include "jit/tier1/t1.h"

#define T1_SHARE_SPAN 512 /* bytes that one probe may cover */

struct t1_form {
    bool store, moves; /* moves: the base is written back */
    unsigned bytes;
    int64_t off, by;
};

/* Immediate-offset loads and stores, single and pairs, general and V registers. False for all else. */
static bool t1_form(uint32_t insn, struct t1_form *f)
{
    bool v = insn >> 26 & 1;
    unsigned mode = bits32(insn, 24, 23), shift;

    memset(f, 0, sizeof(*f));
    if ((insn & 0x3a000000u) == 0x28000000u) { /* pairs */
        shift = v ? 2 + (insn >> 30) : 2 + (insn >> 31);
        f->store = !(insn >> 22 & 1);
        f->bytes = 2u << shift;
        f->off = sext64(bits32(insn, 21, 15), 7) * (1 << shift);
        f->moves = mode & 1;
        f->by = f->moves ? f->off : 0;
        if (mode == 1)
            f->off = 0;
        return true;
    }
    if ((insn & 0x3a000000u) != 0x38000000u)
        return false;
    shift = v ? insn >> 30 | (insn >> 23 & 1) << 2 : insn >> 30;
    if (!v && shift == 3 && (insn >> 23 & 1))
        return false; /* PRFM */
    f->store = v ? !(insn >> 22 & 1) : bits32(insn, 23, 22) == 0;
    f->bytes = 1u << shift;
    if (insn >> 24 & 1) {
        f->off = (int64_t)bits32(insn, 21, 10) << shift;
        return true;
    }
    if (insn >> 21 & 1 || bits32(insn, 11, 10) == 2)
        return false; /* register offset, unprivileged */
    f->off = sext64(bits32(insn, 20, 12), 9);
    f->moves = insn >> 10 & 1;
    f->by = f->moves ? f->off : 0;
    if (bits32(insn, 11, 10) == 1)
        f->off = 0;
    return true;
}

/* Does instruction k, which is no form of t1_form, write general register n? Not all that do not are known. */
static bool t1_may_write(const struct t1 *t, unsigned k, unsigned n)
{
    uint32_t insn = t->insn[k];

    if ((insn & 31) != n)
        return false;
    switch (t->row[k]) {
    case A64_b_cond:
    case A64_cbz:
    case A64_cbnz:
    case A64_tbz:
    case A64_tbnz:
    case A64_str_reg: return false;
    case A64_add_imm:
    case A64_sub_imm:
    case A64_add_ereg:
    case A64_sub_ereg:
    case A64_and_imm:
    case A64_orr_imm:
    case A64_eor_imm: return true;
    default: return n != T1_SP;
    }
}

bool t1_look_ahead(const struct t1 *t, unsigned n, bool write, int64_t *lo, int64_t *hi)
{
    struct t1_form f;
    int64_t moved = t1_form(t->insn[t->i], &f) ? f.by : 0;
    bool found = false;

    for (unsigned k = t->i + 1; k < t->n; k++) {
        uint32_t insn = t->insn[k];

        if (t1_form(insn, &f)) {
            if (a64_rn(insn) == n) {
                int64_t from = moved + f.off, to = from + f.bytes;
                if (MAX(*hi, to) - MIN(*lo, from) > T1_SHARE_SPAN || (f.store && !write))
                    break;
                *lo = MIN(*lo, from);
                *hi = MAX(*hi, to);
                found = true;
                moved += f.by;
            }
            if (!f.store && !(insn >> 26 & 1) && (insn & 31) == n)
                break;
        } else if ((insn & 31) == n && a64_rn(insn) == n && (t->row[k] == A64_add_imm || t->row[k] == A64_sub_imm)) {
            int64_t imm = (int64_t)bits32(insn, 21, 10) << (insn >> 22 & 1) * 12;
            moved += t->row[k] == A64_add_imm ? imm : -imm;
        } else if (t1_may_write(t, k, n) || !t1_table[t->row[k]]) {
            break;
        }
    }
    return found;
}

unsigned t1_shared(const struct t1 *t, unsigned n, int64_t lo, int64_t hi, bool write)
{
    unsigned k;

    for (k = 0; k < JIT_SHARES; k++) {
        const struct t1_share *s = &t->share[k];
        if (s->valid && s->base == n && lo >= s->lo && hi <= s->hi && (s->write || !write))
            break;
    }
    return k;
}

unsigned t1_share_for(const struct t1 *t, unsigned n)
{
    unsigned k;

    for (k = 0; k < JIT_SHARES; k++)
        if (t->share[k].valid && t->share[k].base == n)
            return k;
    for (k = 0; k < JIT_SHARES - 1; k++) {
        struct t1_share s = t->share[k];
        if (!s.valid || !t1_look_ahead(t, s.base, s.write, &s.lo, &s.hi))
            break;
    }
    return k;
}

/* Does instruction k write general register n? */
static bool t1_writes(const struct t1 *t, unsigned k, unsigned n)
{
    uint32_t insn = t->insn[k];
    struct t1_form f;

    if (!t1_form(insn, &f))
        return t1_may_write(t, k, n);
    if (f.moves && a64_rn(insn) == n)
        return true;
    if (f.store || insn >> 26 & 1)
        return false;
    return (insn & 31) == n || ((insn & 0x3a000000u) == 0x28000000u && bits32(insn, 14, 10) == n);
}

/* A pair of registers of 64 bits from or to memory that is not the stack's. */
static bool t1_moves_pair(uint32_t insn, unsigned a, bool load)
{
    return (insn & 0xfe400000u) == (load ? 0xa8400000u : 0xa8000000u) && (insn & 31) == a &&
           bits32(insn, 14, 10) == a + 1 && !(load && (a64_rn(insn) == T1_SP || a64_rn(insn) == 29));
}

bool t1_pair_copied(const struct t1 *t, unsigned a, bool load)
{
    bool loop = t->turn < t->n;
    unsigned far = loop ? t->n - 1 : load ? t->n - 1 - t->i : t->i;

    if (load && !t1_moves_pair(t->insn[t->i], a, true))
        return false;
    for (unsigned d = 1; d <= far; d++) {
        unsigned k = (t->i + (load ? d : t->n - d)) % t->n;

        if (t1_moves_pair(t->insn[k], a, !load))
            return true;
        if (t1_writes(t, k, a) || t1_writes(t, k, a + 1))
            return false;
    }
    return false;
}
