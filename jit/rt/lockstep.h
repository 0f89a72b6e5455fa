/*
 * The tier for finding faults in the others: every block is executed twice, by the interpreter and as translated, and
 * what they leave is compared. And the tier that goes to and fro between both at random.
 */
#ifndef PIPIT_JIT_RT_LOCKSTEP_H
#define PIPIT_JIT_RT_LOCKSTEP_H

#include "jit/rt/rt.h"

typedef int jit_enter_fn(struct jit_vcpu *v, const uint8_t *code);

static inline jit_enter_fn *jit_enter_code(const struct jit *j)
{
    const uint8_t *entry = j->rx + (j->thunk.enter - j->rw);
    jit_enter_fn *enter;

    memcpy(&enter, &entry, sizeof(enter));
    return enter;
}

/* Must the instruction be a block of its own, since it cannot be done twice? */
bool jit_lockstep_alone(const struct jit *j, unsigned row, uint32_t insn, unsigned el);

/* Executes the block at cpu.pc; why that was left (enum jit_exit_reason, with cpu.pc set also for JIT_EXIT_LINK), or -1
 * where an exception was taken instead. `alone`: nobody else executes guest code meanwhile, so it can be compared. */
int jit_lockstep_block(struct jit_vcpu *v, jit_enter_fn *enter, bool alone);

void jit_lockstep_end(struct jit_vcpu *v);

/* ---- JIT_MIXED ---- */

static inline uint64_t jit_random(struct jit_vcpu *v)
{
    /* Marsaglia, "Xorshift RNGs", 2003. */
    v->random ^= v->random << 13;
    v->random ^= v->random >> 7;
    v->random ^= v->random << 17;
    return v->random >> 16;
}

/* May what leads to guest address pc find it without the run loop from here on? JIT_MIXED comes by there for a quarter
 * of all, always the same in a run. */
static inline bool jit_may_link(const struct jit *j, uint64_t pc)
{
    if (likely(!j->unlinked && j->tier <= JIT_TIER1))
        return true;
    return !j->unlinked && j->tier == JIT_MIXED && ((pc ^ j->seed) * UINT64_C(0x9e3779b97f4a7c15)) >> 62;
}

/* How many instructions the interpreter does next, instead of translations. */
static inline unsigned jit_mixed_turn(struct jit_vcpu *v)
{
    uint64_t r;

    if (likely(v->jit->tier != JIT_MIXED))
        return 0;
    r = jit_random(v);
    return r % 4 ? 0 : 1 + r / 4 % 64;
}

#endif
