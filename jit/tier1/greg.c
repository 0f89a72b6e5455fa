/*
 * Tier 1: general registers of a loop's own.
 *
 * All blocks expect the same few guest registers in host registers (jit_pin) and the others in memory. A block that
 * may branch to its own start is translated twice: the first time says which registers the loop uses, and in the second
 * those that it uses most are in host registers, instead of pinned ones that it uses less. Those are in memory
 * meanwhile. The block's entry changes over, and each way out of the loop changes back: exits, slow paths before C
 * code runs (which change over again when they come back), and in user mode accesses that fault.
 */
#include "jit/tier1/t1.h"

#define T1_WORTH 2 /* uses in one turn: each entry and exit of the loop costs two moves for a register */

/* The guest register in host register h for all blocks, -1: none. */
static int t1_pinned(int h)
{
    for (int g = 0; g < 32; g++)
        if (jit_pin[g] == h)
            return g;
    return -1;
}

/* The register that `pin` has (or has not) in a host register, of which there are the most (or fewest) uses; -1: none.
 */
static int t1_extreme(const struct t1_gregs *r, bool in_host)
{
    int best = -1;

    for (int g = 0; g < 32; g++) {
        if ((r->pin[g] >= 0) != in_host)
            continue;
        if (best < 0 || (in_host ? r->uses[g] < r->uses[best] : r->uses[g] > r->uses[best]))
            best = g;
    }
    return best;
}

bool t1_gplan(struct t1 *t)
{
    struct t1_gregs *r = &t->greg;
    int spare = t1_user(t) ? R14 : -1; /* without a TLB nothing else has it */

    memcpy(r->pin, jit_pin, sizeof(r->pin));
    r->count = 0;
    for (;;) {
        int in = t1_extreme(r, false), out = t1_extreme(r, true), host;

        if (in < 0 || r->uses[in] < T1_WORTH)
            break;
        if (spare >= 0) {
            host = spare;
            spare = -1;
        } else if (jit_pin[out] >= 0 && r->uses[in] >= r->uses[out] + T1_WORTH) {
            host = r->pin[out];
            r->pin[out] = -1;
        } else {
            break;
        }
        r->pin[in] = (int8_t)host;
        r->guest[r->count] = (uint8_t)in;
        r->host[r->count] = (uint8_t)host;
        r->away[r->count++] = (int8_t)t1_pinned(host);
    }
    return r->count > 0;
}

/* Stores or loads what is in its place within the loop, or elsewhere. */
static void t1_gmove(struct t1 *t, bool store, bool loop)
{
    const struct t1_gregs *r = &t->greg;

    for (unsigned k = 0; k < r->count; k++) {
        int g = loop ? r->guest[k] : r->away[k];
        if (g >= 0)
            x64_rm(t->e, true, store ? 0x89 : 0x8b, r->host[k], t1_slot((unsigned)g));
    }
}

/* Changes over to the loop's registers, or back. */
static void t1_gchange(struct t1 *t, bool loop)
{
    t1_gmove(t, true, !loop);
    t1_gmove(t, false, loop);
}

void t1_ghead(struct t1 *t)
{
    t1_gchange(t, true);
    t->pin = t->greg.pin;
}

void t1_gleave(struct t1 *t)
{
    if (t->pin == jit_pin)
        return;
    if (t->greg.leave)
        x64_call_to(t->e, t->greg.leave);
    else
        t1_gchange(t, false);
    t->pin = jit_pin;
}

void t1_genter(struct t1 *t)
{
    if (!t->greg.count)
        return;
    if (t->greg.enter)
        x64_call_to(t->e, t->greg.enter);
    else
        t1_gmove(t, false, true);
    t->pin = t->greg.pin;
}

void t1_groutines(struct t1 *t)
{
    const uint8_t *leave = t->e->p, *enter;

    if (!t->greg.count)
        return;
    t1_gchange(t, false);
    x64_u8(t->e, 0xc3);
    enter = t->e->p;
    t1_gmove(t, false, true);
    x64_u8(t->e, 0xc3);
    t->greg.leave = leave;
    t->greg.enter = enter;
}
