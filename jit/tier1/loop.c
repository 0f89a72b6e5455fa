/*
 * Tier 1: loops.
 *
 * A block that may branch to its own start is translated twice where that pays: the first time says what it does with
 * which registers, and the second has them in host registers by a plan that holds for the whole loop.
 *
 * A block whose branches lead back to its start, and that has vector instructions, is translated as far as its own
 * branches ahead reach, even behind unconditional ones: what they lead to are labels within the block, so that V
 * registers stay where they are. Each label is translated for one way of holding them (struct t1_vstate) that suits all
 * who come there; who has them otherwise makes up for it on its own edge, behind the block's hot part.
 */
#include "jit/tier1/t1.h"

#include <limits.h>

bool t1_plan(struct t1 *t)
{
    bool v = t1_vplan(t), g = t1_gplan(t), f = t1_flags_plan(t);

    return v || g || f;
}

/* Dead blocks' no-op is at the head, too. */
void t1_head(struct t1 *t)
{
    t1_vhead(t);
    t1_ghead(t);
    if (t->carry) {
        t1_load_flags(t);
        t->host_flags = t->flags_only = true;
    }
    while ((uintptr_t)(t->e->p - t->e->base) % JIT_ENTRY_ALIGN)
        x64_u8(t->e, 0x90);
    t->b->loop = (uint16_t)(t->e->p - t->e->base);
    t1_entry_nop(t->e);
}

void t1_back(struct t1 *t)
{
    t1_vconvert(t, &t->vreg.head);
    x64_jmp_to(t->e, t->e->base + t->b->loop);
}

/* The distance in instructions of a direct branch without link; 0: not one, or one to itself. */
static inline int t1_distance(uint32_t insn)
{
    if ((insn & 0x1c000000u) != 0x14000000u) /* most are no branches, exceptions or system instructions */
        return 0;
    if ((insn & 0xfc000000u) == 0x14000000u) /* B */
        return (int)sext64(bits32(insn, 25, 0), 26);
    if ((insn & 0xff000000u) == 0x54000000u || (insn & 0x7e000000u) == 0x34000000u) /* B.cond, CBZ, CBNZ */
        return (int)sext64(bits32(insn, 23, 5), 19);
    if ((insn & 0x7e000000u) == 0x36000000u) /* TBZ, TBNZ */
        return (int)sext64(bits32(insn, 18, 5), 14);
    return 0;
}

bool t1_turns(const struct t1 *t, unsigned i)
{
    int d = t1_distance(t->insn[i]);

    return d < 0 && (unsigned)-d == i;
}

void t1_loop(struct t1 *t, unsigned max)
{
    unsigned n = t->n, i;
    uint64_t reach = 1, labels = 0;
    bool simd = false;

    t->labels = 0;
    t->carry = false;
    t->turn = UINT_MAX;
    for (i = max; i-- > 0;) {
        if (t1_turns(t, i)) {
            t->turn = i;
            break;
        }
    }
    if (t->turn == UINT_MAX || t->j->unlinked)
        return;
    t->turn = UINT_MAX;
    for (i = 0; i < max && reach >> i; i++) {
        int d = t1_distance(t->insn[i]);

        if (i >= n)
            t1_decode_one(t, i);
        if (!(reach >> i & 1))
            continue;
        simd |= a64_rows[t->row[i]].simd;
        if (t1_turns(t, i))
            t->turn = i;
        if (d > 0 && i + (unsigned)d < max) {
            labels |= BIT64(i + (unsigned)d);
            reach |= BIT64(i + (unsigned)d);
        }
        if (!t1_ends(t->row[i]) && i + 1 < max)
            reach |= BIT64(i + 1);
    }
    if (t->turn == UINT_MAX || !simd)
        return;
    t->n = i;
    t->labels = labels;
}

bool t1_is_label(const struct t1 *t, uint64_t target)
{
    uint64_t i = (target - t->b->pc) / 4;

    return i > t->i && i < t->n && t->labels >> i & 1;
}

void t1_jump(struct t1 *t, uint64_t target, uint8_t *from)
{
    t->lost |= t->flags_only;
    t->jump[t->njumps++] =
        (struct t1_jump){.from = from, .label = (unsigned)((target - t->b->pc) / 4), .v = t->vreg.now};
}

/* What both ways of holding V registers can become at little cost. */
static void t1_meet(struct t1_vstate *a, const struct t1_vstate *b)
{
    a->dirty &= b->dirty;
    for (unsigned v = 0; v < 32; v++) {
        if (!(a->dirty & BIT32(v)))
            a->valid[v] = MIN(a->valid[v], b->valid[v]);
        else if (a->valid[v] != b->valid[v])
            a->valid[v] = 16; /* zeroes above fewer bytes are not what the other has */
    }
}

/* May who has V registers as in `a` go where they are expected to be as in `to`? */
static bool t1_suits(const struct t1_vstate *a, const struct t1_vstate *to)
{
    bool ok = a->dirty == to->dirty;

    for (unsigned v = 0; v < 32; v++)
        ok = ok && a->valid[v] >= to->valid[v];
    return ok;
}

void t1_label(struct t1 *t)
{
    struct t1_vstate at = t->vreg.now;
    bool some = !t->ended;

    t->lost |= some && t->flags_only;
    for (unsigned k = 0; k < t->njumps; k++) {
        if (t->jump[k].label != t->i)
            continue;
        if (some)
            t1_meet(&at, &t->jump[k].v);
        else
            at = t->jump[k].v;
        some = true;
    }
    if (!some)
        return;
    if (!t->ended)
        t1_vconvert(t, &at);
    for (unsigned k = 0; k < t->njumps; k++) {
        if (t->jump[k].label != t->i)
            continue;
        if (t1_suits(&t->jump[k].v, &at)) {
            x64_bind(t->e, t->jump[k].from);
        } else {
            struct t1_stub *s = t1_stub(t, T1_STUB_EDGE, t->jump[k].from);
            s->v = t->jump[k].v;
            s->info = k;
            s->back = t->e->p;
            t->jump[k].v = at;
        }
    }
    t->vreg.now = at;
    t1_within(t);
    t->ended = t->host_flags = t->flags_r14 = t->sp_aligned = false;
    t1_share_none(t);
}

void t1_edge(struct t1 *t, const struct t1_stub *s)
{
    t1_vconvert(t, &t->jump[s->info].v);
    x64_jmp_to(t->e, s->back);
}
