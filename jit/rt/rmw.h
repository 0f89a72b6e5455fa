/* What LSE's atomic memory operations make of a value. */
#ifndef PIPIT_JIT_RT_RMW_H
#define PIPIT_JIT_RT_RMW_H

#include "jit/ops.h"

static inline bool jit_rmw_less(uint64_t a, uint64_t b, unsigned size, bool sign)
{
    return sign ? sext64(a, size * 8) < sext64(b, size * 8) : a < b;
}

/* Both are zero-extended; bits above the size may be set in the result. */
static inline uint64_t jit_rmw_value(enum a64_rmw op, uint64_t old, uint64_t o, unsigned size)
{
    bool sign = op == A64_RMW_SMAX || op == A64_RMW_SMIN;

    switch (op) {
    case A64_RMW_SWP: return o;
    case A64_RMW_ADD: return old + o;
    case A64_RMW_CLR: return old & ~o;
    case A64_RMW_EOR: return old ^ o;
    case A64_RMW_SET: return old | o;
    case A64_RMW_SMAX:
    case A64_RMW_UMAX: return jit_rmw_less(old, o, size, sign) ? o : old;
    default: return jit_rmw_less(o, old, size, sign) ? o : old;
    }
}

#endif
