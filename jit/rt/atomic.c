/*
 * The parts of struct a64_ops that the runtime provides to a machine's interpreter: atomics, exclusives, barriers.
 *
 * Exclusives are exact. The translator makes a compare-and-swap of a pair with nothing but arithmetic between its
 * halves: there the value alone decides, so it may come back unseen (ABA). A load-exclusive that is only there to be
 * told of a change, before WFE, is a plain load. All others come here. With one vCPU the local monitor is enough. With
 * more, a load-exclusive asks for a region: every other vCPU is stopped and this one is interpreted up to its
 * store-exclusive, so no store by another vCPU can go unnoticed. A store-exclusive that belongs to a translated
 * load-exclusive on another path finds no monitor and fails; when that repeats, excl_slow sends the load-exclusives to
 * regions until one has succeeded.
 */
#include "jit/rt/monitor.h"
#include "jit/rt/rt.h"

/* ---- atomics ---- */

#define JIT_RMW(type, stype)                                                                                           \
    static uint64_t jit_rmw_##type(type *p, enum a64_rmw op, type o)                                                   \
    {                                                                                                                  \
        type old, next;                                                                                                \
        switch (op) {                                                                                                  \
        case A64_RMW_SWP: return __atomic_exchange_n(p, o, __ATOMIC_SEQ_CST);                                          \
        case A64_RMW_ADD: return __atomic_fetch_add(p, o, __ATOMIC_SEQ_CST);                                           \
        case A64_RMW_CLR: return __atomic_fetch_and(p, (type)~o, __ATOMIC_SEQ_CST);                                    \
        case A64_RMW_EOR: return __atomic_fetch_xor(p, o, __ATOMIC_SEQ_CST);                                           \
        case A64_RMW_SET: return __atomic_fetch_or(p, o, __ATOMIC_SEQ_CST);                                            \
        default: break;                                                                                                \
        }                                                                                                              \
        old = __atomic_load_n(p, __ATOMIC_RELAXED);                                                                    \
        do {                                                                                                           \
            bool less = op == A64_RMW_SMAX || op == A64_RMW_SMIN ? (stype)old < (stype)o : old < o;                    \
            bool max = op == A64_RMW_SMAX || op == A64_RMW_UMAX;                                                       \
            next = less == max ? o : old;                                                                              \
        } while (!__atomic_compare_exchange_n(p, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));              \
        return old;                                                                                                    \
    }
JIT_RMW(uint8_t, int8_t)
JIT_RMW(uint16_t, int16_t)
JIT_RMW(uint32_t, int32_t)
JIT_RMW(uint64_t, int64_t)

/* Where an access that reads and writes goes: 0, or A64_TRAPPED. A fault that a read would raise too is reported as a
 * read's (ESR_EL1.WnR). */
static int jit_rmw_ptr(struct jit_vcpu *v, uint64_t va, unsigned size, unsigned flags, uint8_t **host,
                       atomic_uchar **pflags)
{
    if ((va & (size - 1)) == 0 && jit_check(&v->cpu, va, false, flags))
        return A64_TRAPPED;
    return jit_atomic_ptr(v, va, size, flags, host, pflags);
}

static int jit_op_rmw(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t operand, uint64_t *old,
                      unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    atomic_uchar *pf;
    uint8_t *p;

    if (jit_rmw_ptr(v, va, size, flags, &p, &pf))
        return A64_TRAPPED;
    switch (size) {
    case 1: *old = jit_rmw_uint8_t(p, op, (uint8_t)operand); break;
    case 2: *old = jit_rmw_uint16_t((uint16_t *)(void *)p, op, (uint16_t)operand); break;
    case 4: *old = jit_rmw_uint32_t((uint32_t *)(void *)p, op, (uint32_t)operand); break;
    default: *old = jit_rmw_uint64_t((uint64_t *)(void *)p, op, operand); break;
    }
    jit_written(v, p, size, pf);
    return 0;
}

/* CMPXCHG16B: `expected` gets what was there. */
static void jit_cas16(uint8_t *p, uint64_t expected[2], const uint64_t desired[2])
{
    __asm__ volatile("lock cmpxchg16b %0"
                     : "+m"(*(unsigned char(*)[16])p), "+a"(expected[0]), "+d"(expected[1])
                     : "b"(desired[0]), "c"(desired[1])
                     : "cc", "memory");
}

#define JIT_CAS(type)                                                                                                  \
    do {                                                                                                               \
        type e_, d_;                                                                                                   \
        memcpy(&e_, expected, sizeof(e_));                                                                             \
        memcpy(&d_, desired, sizeof(d_));                                                                              \
        __atomic_compare_exchange_n((type *)(void *)p, &e_, d_, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
        memcpy(expected, &e_, sizeof(e_));                                                                             \
    } while (0)

static int jit_op_cas(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired,
                      unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    atomic_uchar *pf;
    uint8_t *p;

    if (jit_rmw_ptr(v, va, size, flags, &p, &pf))
        return A64_TRAPPED;
    switch (size) {
    case 1: JIT_CAS(uint8_t); break;
    case 2: JIT_CAS(uint16_t); break;
    case 4: JIT_CAS(uint32_t); break;
    case 8: JIT_CAS(uint64_t); break;
    default: {
        uint64_t ex[2], de[2];
        memcpy(ex, expected, 16);
        memcpy(de, desired, 16);
        jit_cas16(p, ex, de);
        memcpy(expected, ex, 16);
        break;
    }
    }
    jit_written(v, p, size, pf);
    return 0;
}

/* ---- exclusives ---- */

static int jit_op_load_excl(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    if (jit_excl_wants_region(v))
        return A64_TRAPPED;
    if (jit_load(c, va, size, dst, flags | A64_MEM_ALIGNED))
        return A64_TRAPPED;
    jit_excl_mark(v, va, size);
    return 0;
}

static int jit_op_store_excl(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                             unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    atomic_uchar *pf;
    uint8_t *p;

    *status = 1;
    /* Alignment and permission faults come whatever the monitor says. */
    if (jit_atomic_ptr(v, va, size, flags, &p, &pf))
        return A64_TRAPPED;
    if (jit_excl_holds(v, va, size)) {
        if (jit_store(c, va, size, src, flags | A64_MEM_ALIGNED))
            return A64_TRAPPED;
        *status = 0;
    }
    jit_excl_end(v, *status == 0);
    return 0;
}

static void jit_op_clear_excl(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->excl_valid = false;
}

/* ---- the rest ---- */

static void jit_dsb(struct jit_vcpu *v, unsigned work)
{
    if (work & JIT_DSB_TLBI)
        v->attention |= JIT_ATTN_DSB;
    if (work & JIT_DSB_RECHECK) {
        jit_cache_recheck(v);
        v->resync = true; /* the rest of the block would store where its probes before this led */
    }
}

static void jit_op_barrier(struct arm64_cpu *c, enum a64_barrier b)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    atomic_thread_fence(memory_order_seq_cst);
    if (b == A64_DSB && atomic_load_explicit(&v->dsb_work, memory_order_relaxed))
        jit_dsb(v, atomic_exchange(&v->dsb_work, 0));
    /* The rest of the block, and what it is linked to, may stand for instructions that are no longer there. */
    if (b == A64_ISB)
        v->resync = atomic_exchange(&v->remapped, false);
}

void jit_fill_ops(struct a64_ops *ops)
{
    ops->load = jit_load;
    ops->store = jit_store;
    ops->rmw = jit_op_rmw;
    ops->cas = jit_op_cas;
    ops->load_excl = jit_op_load_excl;
    ops->store_excl = jit_op_store_excl;
    ops->clear_excl = jit_op_clear_excl;
    ops->zero_block = jit_zero_block;
    ops->barrier = jit_op_barrier;
}
