/*
 * The local exclusive monitor of the interpreter's exclusives (Arm ARM B2.10), for machines and user mode alike: what
 * was marked, whether the other vCPUs must stop meanwhile, and when translated pairs have failed too often.
 */
#ifndef PIPIT_JIT_RT_MONITOR_H
#define PIPIT_JIT_RT_MONITOR_H

#include "jit/rt/rt.h"

/* Store-exclusives that may fail in a row before load-exclusives are left to the interpreter. */
#define JIT_EXCL_PATIENCE 16

/* True where a load-exclusive must wait for a region: the instruction is then executed again at the same pc, inside. */
static inline bool jit_excl_wants_region(struct jit_vcpu *v)
{
    if ((atomic_load_explicit(&v->jit->ncpus, memory_order_relaxed) <= 1 && !v->excl_slow) || v->in_region)
        return false;
    v->attention |= JIT_ATTN_REGION;
    return true;
}

static inline void jit_excl_mark(struct jit_vcpu *v, uint64_t va, unsigned size)
{
    v->excl_valid = true;
    v->excl_addr = va;
    v->excl_size = (uint8_t)size;
}

static inline bool jit_excl_holds(const struct jit_vcpu *v, uint64_t va, unsigned size)
{
    return v->excl_valid && v->excl_addr == va && v->excl_size == size;
}

/* A store-exclusive is over; it has stored, or not. */
static inline void jit_excl_end(struct jit_vcpu *v, bool stored)
{
    if (stored) {
        v->excl_fails = 0;
        v->excl_slow = 0;
    } else if (++v->excl_fails >= JIT_EXCL_PATIENCE) {
        v->excl_slow = 1;
    }
    v->excl_valid = false;
}

#endif
