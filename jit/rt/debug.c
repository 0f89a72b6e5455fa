/*
 * What a debugger asks of the JIT in user mode: see jit/user.h.
 *
 * A breakpoint is an address at which no block begins and which no block contains: setting one kills the blocks around
 * it, the translator ends blocks before it, and whoever looks the address up is sent to the debugger (jit_user_fetch).
 * A direct jump may be linked to a block that died at it; that leads to the look-up, too.
 */
#include "jit/rt/rt.h"

#include <errno.h>

#define JIT_BREAK_KINDS UINT64_C(3)

/* Index of the first breakpoint at or behind pc. */
static unsigned jit_debug_index(const struct jit *j, uint64_t pc)
{
    unsigned lo = 0, hi = j->nbreaks;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if ((j->breaks[mid] & ~JIT_BREAK_KINDS) < pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

unsigned jit_user_break_kinds(const struct jit *j, uint64_t pc)
{
    unsigned i = jit_debug_index(j, pc);

    return i < j->nbreaks && (j->breaks[i] & ~JIT_BREAK_KINDS) == pc ? j->breaks[i] & JIT_BREAK_KINDS : 0;
}

bool jit_debug_find(const struct jit *j, uint64_t pc)
{
    return jit_user_break_kinds(j, pc);
}

int jit_user_break(struct jit *j, uint64_t pc, unsigned kinds, bool set)
{
    unsigned i, was, next;
    int ret = 0;

    jit_lock(&j->lock);
    i = jit_debug_index(j, pc);
    was = jit_user_break_kinds(j, pc);
    next = set ? was | kinds : was & ~kinds;
    if (!was && next && j->nbreaks == JIT_BREAKS) {
        ret = -ENOSPC;
    } else if (!was && next) {
        memmove(&j->breaks[i + 1], &j->breaks[i], (j->nbreaks - i) * sizeof(j->breaks[0]));
        j->breaks[i] = pc | next;
        j->nbreaks++;
    } else if (was && next) {
        j->breaks[i] = pc | next;
    } else if (was) {
        j->nbreaks--;
        memmove(&j->breaks[i], &j->breaks[i + 1], (j->nbreaks - i) * sizeof(j->breaks[0]));
    }
    jit_unlock(&j->lock);
    /* Without it the blocks that end here stay right, but are short. */
    if (!ret)
        jit_user_invalidate(j, pc, 4);
    return ret;
}

int jit_user_watch(struct jit *j, uint64_t addr, uint64_t len, unsigned kinds, bool set)
{
    unsigned i = 0;

    while (i < j->nwatches && (j->watch[i].addr != addr || j->watch[i].len != len || j->watch[i].kinds != kinds))
        i++;
    if (set && i == JIT_WATCHES)
        return -ENOSPC;
    if (set && i == j->nwatches)
        j->watch[j->nwatches++] = (struct jit_watch){addr, len, kinds};
    else if (!set && i < j->nwatches)
        j->watch[i] = j->watch[--j->nwatches];
    return 0;
}

void jit_user_debug_end(struct jit *j)
{
    while (j->nbreaks)
        jit_user_break(j, j->breaks[j->nbreaks - 1] & ~JIT_BREAK_KINDS, JIT_BREAK_KINDS, false);
    j->nwatches = 0;
}

void jit_user_step_next(struct arm64_cpu *c, bool step)
{
    jit_vcpu_of(c)->stepping = step;
}

void jit_user_undebugged(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->undebugged = true;
}

void jit_user_points(struct arm64_cpu *c, const struct jit_watch *point, unsigned n)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    v->npoints = MIN(n, JIT_POINTS);
    for (unsigned i = 0; i < v->npoints; i++)
        v->point[i] = point[i];
}

/* The instruction is to have no effect, and the debugger to be told. */
static bool jit_debug_tell(struct jit_vcpu *v, enum jit_debug why, uint64_t addr)
{
    v->excl_valid = false; /* as an exception return does (Arm ARM B2.9.4) */
    v->jit->user->debug(&v->cpu, why, addr);
    return true;
}

/* What of [va, va+size) one of n watches, for any of these kinds; NULL. */
static const struct jit_watch *jit_debug_meets(const struct jit_watch *w, unsigned n, uint64_t va, uint64_t size,
                                               unsigned kinds)
{
    for (; n; n--, w++) {
        if ((w->kinds & kinds) && va + size > w->addr && va < w->addr + w->len)
            return w;
    }
    return NULL;
}

bool jit_debug_fetch(struct jit_vcpu *v, uint64_t pc)
{
    if (jit_debug_meets(v->point, v->npoints, pc, 4, JIT_WATCH(JIT_DEBUG_BREAK)))
        return jit_debug_tell(v, JIT_DEBUG_POINT, pc);
    if (!v->undebugged && jit_debug_breaks(v->jit, pc))
        return jit_debug_tell(v, JIT_DEBUG_BREAK, pc);
    return false;
}

bool jit_debug_access(struct jit_vcpu *v, uint64_t va, uint64_t size, unsigned kinds)
{
    const struct jit *j = v->jit;
    const struct jit_watch *w = jit_debug_meets(v->point, v->npoints, va, size, kinds);

    if (w)
        return jit_debug_tell(v, JIT_DEBUG_POINT, MAX(va, w->addr));
    w = jit_debug_meets(j->watch, v->undebugged ? 0 : j->nwatches, va, size, kinds);
    if (!w)
        return false;
    return jit_debug_tell(v, w->kinds & kinds & JIT_WATCH(JIT_DEBUG_WRITE) ? JIT_DEBUG_WRITE : JIT_DEBUG_READ,
                          MAX(va, w->addr));
}
