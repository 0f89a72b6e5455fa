/*
 * User mode: guest addresses are host addresses.
 *
 * Faults. Generated code and the accesses of access.c fault as host code does. For generated code the handler finds the
 * block by the host's pc and the guest instruction by the block's map: one byte for each guest instruction, the length
 * of its hot code. Where vector registers hold guest state, a landing of the block's stores it on the way out. At that
 * point all guest state is as before the instruction (a load of several registers may have changed some, as the
 * architecture allows), so the thread leaves generated code with what the registers hold, and the interpreter does the
 * instruction again. It meets the fault in an access of its own, which knows the exact address; or it succeeds, because
 * the address was tagged or the mapping came back.
 *
 * Mappings change only through the guest's system calls, and code through IC IVAU: both say jit_user_invalidate, which
 * kills blocks. So direct jumps lead to other pages too: whoever comes by one enters a dead block and is sent to the
 * dispatcher, which looks at the mapping anew.
 *
 * Exclusives are as in atomic.c, but that the store is a compare-and-swap with what the load read: exact among the
 * threads of this address space, by value where others share the memory.
 */
#include "jit/interp/interp.h"
#include "jit/rt/access.h"
#include "jit/rt/lockstep.h"
#include "jit/rt/monitor.h"
#include "jit/rt/rmw.h"
#include "jit/rt/rt.h"

#include <errno.h>
#include <limits.h>

/* siginfo, struct sigcontext and traps of the host (asm-generic/siginfo.h, asm/sigcontext.h, asm/trapnr.h). */
#define JIT_SIGBUS 7
#define JIT_SIGSEGV 11
#define JIT_SEGV_MAPERR 1
#define JIT_SEGV_ACCERR 2
#define JIT_BUS_ADRALN 1
#define JIT_GREG_RIP 16
#define JIT_GREG_TRAPNO 20
#define JIT_TRAP_GP 13

#define JIT_SCTLR_SA0 BIT64(4)
#define JIT_SCTLR_DZE BIT64(14)
#define JIT_FPCR_RMODE (BIT32(22) | BIT32(23))

/* The top byte is ignored; bit 55 says which half an address is in (Arm ARM D5.1.4). */
static uint64_t jit_user_untag(uint64_t va)
{
    return (uint64_t)sext64(va, 56);
}

/* ---- faults ---- */

static int jit_user_raise(struct jit_vcpu *v, const struct jit_fault *f)
{
    v->excl_valid = false; /* as an exception return does (Arm ARM B2.9.4) */
    v->jit->user->fault(&v->cpu, f);
    return A64_TRAPPED;
}

/* An access to [va, va + size) faulted in access.c: v->fault has what the host said. */
static struct jit_fault jit_user_describe(const struct jit_vcpu *v, uint64_t va, uint64_t size, bool write)
{
    struct jit_fault f = v->fault;
    uint64_t at = f.addr - jit_user_untag(va);

    /* The host names no address where it is not canonical. */
    f.addr = !v->fault_gp && at < size ? va + at : va;
    if (v->fault_gp)
        f.code = JIT_SEGV_MAPERR;
    f.write = write;
    return f;
}

static int jit_user_abort(struct jit_vcpu *v, uint64_t va, unsigned size, bool write)
{
    struct jit_fault f = jit_user_describe(v, va, size, write);
    return jit_user_raise(v, &f);
}

static int jit_user_align_fault(struct jit_vcpu *v, uint64_t va, bool write)
{
    return jit_user_raise(v,
                          &(struct jit_fault){.addr = va, .signo = JIT_SIGBUS, .code = JIT_BUS_ADRALN, .write = write});
}

/* The block whose code holds this offset in the cache; blocks lie there in the order of their numbers. */
static struct jit_block *jit_user_block_at(struct jit *j, uint32_t offset)
{
    uint32_t lo = 1, hi = __atomic_load_n(&j->nblocks, __ATOMIC_ACQUIRE);

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (j->block[mid].code <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 1 && offset - j->block[lo - 1].code < j->block[lo - 1].code_size ? &j->block[lo - 1] : NULL;
}

/* The number of the guest instruction whose hot code holds this offset from the block's entry; -1: none. */
static int jit_user_insn_at(const struct jit *j, const struct jit_block *b, uint32_t offset)
{
    const uint8_t *map = j->map + b->map;
    uint32_t at = JIT_ENTRY_NOP;

    for (int i = 0; i < b->ninsns; i++) {
        do
            at += *map;
        while (*map++ == UINT8_MAX);
        if (offset < at)
            return offset < JIT_ENTRY_NOP ? -1 : i;
    }
    return -1;
}

/* Where the thread leaves b that faulted in its instruction number insn. */
static const uint8_t *jit_user_landing(const struct jit *j, const struct jit_block *b, unsigned insn)
{
    const uint8_t *p = j->rw + b->code + b->code_size - 1;
    struct jit_landing l;

    for (unsigned k = *p; k > 0; k--) {
        p -= sizeof(l);
        memcpy(&l, p, sizeof(l));
        if (l.insn == insn)
            return j->rx + b->code + l.code;
    }
    return j->rx + (j->thunk.fault - j->rw);
}

bool jit_user_fault(struct arm64_cpu *c, int signo, int code, uint64_t addr, uint64_t *greg)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    struct jit *j = v->jit;
    uintptr_t ip = greg[JIT_GREG_RIP], recover = jit_access_recover(ip);
    uint64_t offset = ip - (uintptr_t)j->rx;
    struct jit_block *b;
    int insn;

    if (!recover) {
        b = offset < j->size ? jit_user_block_at(j, (uint32_t)offset) : NULL;
        insn = b ? jit_user_insn_at(j, b, (uint32_t)offset - b->code) : -1;
        if (insn < 0)
            return false;
        c->pc = b->pc + (uint64_t)insn * 4;
        recover = (uintptr_t)jit_user_landing(j, b, (unsigned)insn);
    }
    v->fault = (struct jit_fault){.addr = addr, .signo = signo, .code = code};
    v->fault_gp = signo == JIT_SIGSEGV && greg[JIT_GREG_TRAPNO] == JIT_TRAP_GP;
    greg[JIT_GREG_RIP] = recover;
    return true;
}

/* ---- accesses ---- */

#define JIT_READ JIT_WATCH(JIT_DEBUG_READ)
#define JIT_WRITE JIT_WATCH(JIT_DEBUG_WRITE)

static int jit_user_load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    if ((flags & A64_MEM_ALIGNED) && (va & (size - 1)))
        return jit_user_align_fault(v, va, false);
    if (jit_debug_watched(v, jit_user_untag(va), size, JIT_READ))
        return A64_TRAPPED;
    return unlikely(jit_access_load(jit_user_untag(va), dst, size)) ? jit_user_abort(v, va, size, false) : 0;
}

static int jit_user_store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    if ((flags & A64_MEM_ALIGNED) && (va & (size - 1)))
        return jit_user_align_fault(v, va, true);
    if (jit_debug_watched(v, jit_user_untag(va), size, JIT_WRITE))
        return A64_TRAPPED;
    if (unlikely(jit_access_store(jit_user_untag(va), src, size)))
        return jit_user_abort(v, va, size, true);
    if (flags & A64_MEM_RELEASE)
        atomic_thread_fence(memory_order_seq_cst);
    return 0;
}

/* A fault reports the address in the register (FAR_EL1), not the block's. */
static int jit_user_zero_block(struct arm64_cpu *c, uint64_t va)
{
    static const uint8_t zero[JIT_ZVA_SIZE];
    struct jit_vcpu *v = jit_vcpu_of(c);
    uint64_t block = jit_user_untag(va) & ~(uint64_t)(JIT_ZVA_SIZE - 1);

    if (jit_debug_watched(v, block, sizeof(zero), JIT_WRITE))
        return A64_TRAPPED;
    if (!jit_access_copy((void *)(uintptr_t)block, zero, sizeof(zero)))
        return 0;
    v->fault.addr = jit_user_untag(va);
    return jit_user_abort(v, va, 1, true);
}

/* A fault that a read would raise too is reported as a read's (ESR_EL1.WnR). */
static int jit_user_rmw(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t operand,
                        uint64_t *old, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    uint64_t seen = 0, was, next;

    (void)flags;
    if (va & (size - 1))
        return jit_user_align_fault(v, va, true);
    if (jit_debug_watched(v, jit_user_untag(va), size, JIT_READ | JIT_WRITE))
        return A64_TRAPPED;
    if (jit_access_load(jit_user_untag(va), &seen, size))
        return jit_user_abort(v, va, size, false);
    do {
        was = seen;
        next = jit_rmw_value(op, was, operand, size);
        if (jit_access_cas(jit_user_untag(va), &seen, &next, size))
            return jit_user_abort(v, va, size, true);
    } while (seen != was);
    *old = was;
    return 0;
}

static int jit_user_cas(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired,
                        unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    uint8_t seen[16];

    (void)flags;
    if (va & (size - 1))
        return jit_user_align_fault(v, va, true);
    if (jit_debug_watched(v, jit_user_untag(va), size, JIT_READ | JIT_WRITE))
        return A64_TRAPPED;
    if (jit_access_load(jit_user_untag(va), seen, size))
        return jit_user_abort(v, va, size, false);
    return jit_access_cas(jit_user_untag(va), expected, desired, size) ? jit_user_abort(v, va, size, true) : 0;
}

/* ---- exclusives and barriers ---- */

static int jit_user_load_excl(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    if (va & (size - 1))
        return jit_user_align_fault(v, va, false);
    if (jit_excl_wants_region(v))
        return A64_TRAPPED;
    if (jit_user_load(c, va, size, dst, flags))
        return A64_TRAPPED;
    memcpy(v->excl_data, dst, size);
    jit_excl_mark(v, va, size);
    return 0;
}

static int jit_user_store_excl(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                               unsigned flags)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    bool held = jit_excl_holds(v, va, size);
    uint8_t seen[16];

    (void)flags;
    if (va & (size - 1))
        return jit_user_align_fault(v, va, true);
    if (jit_debug_watched(v, jit_user_untag(va), size, JIT_WRITE))
        return A64_TRAPPED;
    memcpy(seen, v->excl_data, size);
    /* Faults come whatever the monitor says; without it, what is there is at the most replaced by itself. */
    if (jit_access_cas(jit_user_untag(va), seen, held ? src : seen, size))
        return jit_user_abort(v, va, size, true);
    *status = !held || memcmp(seen, v->excl_data, size);
    jit_excl_end(v, *status == 0);
    return 0;
}

static void jit_user_clear_excl(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->excl_valid = false;
}

static void jit_user_barrier(struct arm64_cpu *c, enum a64_barrier b)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    atomic_thread_fence(memory_order_seq_cst);
    if (b == A64_ISB) {
        /* The rest of the block may stand for instructions that are no longer there. */
        uint32_t kills = atomic_load_explicit(&v->jit->kills, memory_order_relaxed);
        v->resync = v->kills != kills;
        v->kills = kills;
    }
}

void jit_user_fill_ops(struct a64_ops *ops)
{
    ops->load = jit_user_load;
    ops->store = jit_user_store;
    ops->rmw = jit_user_rmw;
    ops->cas = jit_user_cas;
    ops->load_excl = jit_user_load_excl;
    ops->store_excl = jit_user_store_excl;
    ops->clear_excl = jit_user_clear_excl;
    ops->zero_block = jit_user_zero_block;
    ops->barrier = jit_user_barrier;
}

/* ---- what the code cache asks ---- */

static const uint8_t *jit_user_fetch(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;
    const struct jit_user_ops *ops = v->jit->user;
    struct jit_fault f = {.signo = JIT_SIGSEGV, .code = JIT_SEGV_ACCERR, .fetch = true};
    uint64_t region;
    uint32_t insn;

    c->pc = jit_user_untag(c->pc);
    f.addr = c->pc;
    if (c->pc & 3) {
        f.signo = JIT_SIGBUS;
        f.code = JIT_BUS_ADRALN;
    } else {
        /* Before the look: jit_user_invalidate may pass over regions that are not marked. */
        region = c->pc >> 21 & (JIT_CODE_REGIONS - 1);
        if (!(atomic_load(&v->jit->code_regions[region / 64]) & BIT64(region % 64)))
            atomic_fetch_or(&v->jit->code_regions[region / 64], BIT64(region % 64));
        if (jit_access_load(c->pc, &insn, 4)) {
            f = jit_user_describe(v, c->pc, 4, false);
            f.fetch = true;
        } else if (ops->executable(ops->opaque, c->pc)) {
            return jit_debug_stops(v, c->pc) ? NULL : (const uint8_t *)(uintptr_t)c->pc;
        }
    }
    jit_user_raise(v, &f);
    return NULL;
}

static unsigned jit_user_words(const uint8_t *host, uint32_t *insn, unsigned n)
{
    return jit_access_copy(insn, host, n * 4) ? 0 : n;
}

/* Whether it faults shows when it is accessed. */
static uint64_t jit_user_plain(struct jit_vcpu *v, uint64_t va, bool write, unsigned flags)
{
    (void)v;
    (void)write;
    (void)flags;
    return jit_user_untag(va);
}

static void jit_user_context(struct jit_vcpu *v)
{
    v->ctx = JIT_CTX_USER | JIT_CTX_FP | JIT_CTX_ZVA | JIT_CTX_SPALIGN |
             (v->cpu.fpcr & ~JIT_FPCR_RMODE ? 0 : JIT_CTX_FPFAST);
}

/* Entries are zero when empty. That is the tag of pc 0, which goes by the look-up. */
static void jit_user_jc_empty(struct jit_vcpu *v)
{
    const struct jit *j = v->jit;

    for (unsigned i = 0; i < 2; i++)
        v->jc[i][0].code = v->jc[i][jit_jc_second(0, 0, true)].code = jit_jc_miss(j);
}

static void jit_user_jc_clear(struct jit_vcpu *v)
{
    for (unsigned i = 0; i < 2; i++)
        memset(v->jc[i], 0, sizeof(v->jc[i][0]) << (JIT_JC_USER_BITS + 1));
    jit_user_jc_empty(v);
}

static void jit_user_jc_insert(struct jit_vcpu *v, uint64_t pc, const uint8_t *code)
{
    if (pc)
        jit_jc_put(v->jc[jit_jc_of(v->ctx)], (struct jit_jc_entry){.tag = pc, .code = code}, jit_jc_index(pc, true),
                   true);
}

static void jit_user_page_add(struct jit_vcpu *v, struct jit_page *p)
{
    (void)v;
    (void)p;
}

static void jit_user_page_drop(struct jit *j, struct jit_page *p)
{
    (void)j;
    (void)p;
}

static const struct jit_space jit_user_space = {
    .user = true,
    .fetch = jit_user_fetch,
    .read = jit_user_words,
    .plain = jit_user_plain,
    .context_update = jit_user_context,
    .jc_insert = jit_user_jc_insert,
    .jc_clear = jit_user_jc_clear,
    .page_add = jit_user_page_add,
    .page_drop = jit_user_page_drop,
};

void jit_user_invalidate(struct jit *j, uint64_t addr, uint64_t len)
{
    const uint64_t region = MIB(2);
    uint64_t end = addr + len;

    /* Whoever has fetched before this and not made its block yet fetches again. */
    atomic_fetch_add(&j->changes, 1);
    if (len >= region * JIT_CODE_REGIONS) {
        jit_invalidate(j, (const uint8_t *)(uintptr_t)addr, len);
        return;
    }
    for (uint64_t next; addr < end; addr = next) {
        uint64_t r = addr / region & (JIT_CODE_REGIONS - 1);
        next = MIN(align_down(addr, region) + region, end);
        if (atomic_load(&j->code_regions[r / 64]) & BIT64(r % 64))
            jit_invalidate(j, (const uint8_t *)(uintptr_t)addr, next - addr);
    }
}

/* ---- tagged addresses ---- */

static unsigned jit_user_masked_slot(const struct jit *j, uint64_t pc)
{
    unsigned i = (unsigned)(pc >> 2) % JIT_MASKED;

    while (j->masked[i] && j->masked[i] != pc)
        i = (i + 1) % JIT_MASKED;
    return i;
}

bool jit_user_masked(const struct jit *j, uint64_t pc)
{
    if (likely(!j->nmasked))
        return false;
    return j->nmasked >= JIT_MASKED / 4 * 3 || j->masked[jit_user_masked_slot(j, pc)];
}

static void jit_user_mask(struct jit *j, uint64_t pc)
{
    unsigned i;

    jit_lock(&j->lock);
    i = jit_user_masked_slot(j, pc);
    if (!j->masked[i] && j->nmasked < JIT_MASKED / 4 * 3) {
        j->masked[i] = pc;
        j->nmasked++;
    }
    jit_unlock(&j->lock);
    jit_invalidate(j, (const uint8_t *)(uintptr_t)pc, 4);
}

/* ---- the loop ---- */

/* One instruction by the interpreter: true when it was executed and the next one is behind it. */
static bool jit_user_step(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;
    uint64_t pc;
    uint32_t insn;

    if (!jit_user_fetch(v))
        return false;
    pc = c->pc;
    if (jit_access_load(pc, &insn, 4)) {
        jit_user_abort(v, pc, 4, false);
        return false;
    }
    return a64_interp_step(c, insn) == A64_NEXT;
}

/* A guest access in generated code faulted. */
static void jit_user_again(struct jit_vcpu *v)
{
    uint64_t pc = v->cpu.pc;
    bool tagged = v->fault_gp;

    if (jit_user_step(v) && tagged)
        jit_user_mask(v->jit, pc);
}

static bool jit_user_may_run(struct jit_vcpu *v)
{
    return !v->attention && !atomic_load_explicit(&v->cpu.exit_request, memory_order_relaxed);
}

static void jit_user_interpret(struct jit_vcpu *v, unsigned n)
{
    for (; n && jit_user_may_run(v); n--) {
        jit_enter(v);
        jit_user_step(v);
    }
}

static void jit_user_run_tier1(struct jit_vcpu *v)
{
    jit_enter_fn *enter = jit_enter_code(v->jit);
    const uint8_t *code = NULL;

    while (jit_user_may_run(v) && !atomic_load_explicit(&v->jc_stale, memory_order_relaxed)) {
        unsigned n = jit_mixed_turn(v);

        if (unlikely(n)) {
            jit_user_interpret(v, n);
            code = NULL;
            continue;
        }
        if (!code) {
            code = jit_find_again(v);
            continue;
        }
        jit_enter(v);
        switch (enter(v, code)) {
        case JIT_EXIT_LINK: code = jit_link(v); break;
        case JIT_EXIT_LOOKUP: code = jit_find(v); break;
        case JIT_EXIT_FAULT:
            jit_user_again(v);
            code = NULL;
            break;
        default: code = NULL; break;
        }
    }
}

static void jit_user_run_lockstep(struct jit_vcpu *v)
{
    while (jit_user_may_run(v) && !atomic_load_explicit(&v->jc_stale, memory_order_relaxed))
        if (jit_lockstep_block(v, jit_enter_code(v->jit), atomic_load(&v->jit->ncpus) == 1) == JIT_EXIT_FAULT)
            jit_user_again(v);
}

/* As for machines: the architecture promises progress for short sequences only. A system call may wait for others, and
 * is none of them. */
#define JIT_REGION_INSNS 128

static void jit_user_run_region(struct jit_vcpu *v)
{
    uint32_t insn;

    jit_region_begin(v);
    for (unsigned i = 0; i < JIT_REGION_INSNS; i++) {
        if (jit_access_load(jit_user_untag(v->cpu.pc), &insn, 4) || a64_decode(insn) == A64_svc)
            break;
        jit_user_step(v);
        if (!v->excl_valid || v->attention)
            break;
    }
    v->excl_valid = false;
    jit_region_end(v);
}

/* One instruction for a debugger; an exclusive one waits for the region, in which it and its pair are executed. */
static void jit_user_run_step(struct jit_vcpu *v)
{
    jit_user_step(v);
    if (v->attention & JIT_ATTN_REGION)
        return;
    v->stepping = false;
    v->jit->user->debug(&v->cpu, JIT_DEBUG_STEP, v->cpu.pc);
}

static void jit_user_attend(struct jit_vcpu *v)
{
    uint32_t attn = v->attention;

    v->attention = 0;
    if (attn & JIT_ATTN_FLUSH) {
        jit_region_begin(v);
        jit_cache_flush(v->jit);
        jit_region_end(v);
    }
    if (attn & JIT_ATTN_REGION) {
        jit_user_run_region(v);
        if (v->stepping) {
            v->stepping = false;
            v->jit->user->debug(&v->cpu, JIT_DEBUG_STEP, v->cpu.pc);
        }
    }
    if (attn & (JIT_ATTN_YIELD | JIT_ATTN_EVENT | JIT_ATTN_WAIT))
        jit_host_yield();
}

void jit_user_run(struct arm64_cpu *c)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    jit_fpcr_changed(c); /* the state may have been written from outside */
    for (;;) {
        if (atomic_exchange(&c->exit_request, 0) & ARM64_EXIT_KICK)
            return;
        if (v->attention) {
            jit_user_attend(v);
            continue;
        }
        jit_go_inside(v);
        if (atomic_load_explicit(&v->jc_stale, memory_order_relaxed)) {
            atomic_store_explicit(&v->jc_stale, 0, memory_order_relaxed);
            jit_user_jc_clear(v);
        }
        if (unlikely(v->stepping))
            jit_user_run_step(v);
        else if (v->jit->tier == JIT_INTERP || jit_debug_interprets(v))
            jit_user_interpret(v, UINT_MAX);
        else if (v->jit->tier == JIT_LOCKSTEP)
            jit_user_run_lockstep(v);
        else
            jit_user_run_tier1(v);
        atomic_store(&v->in_guest, 0);
    }
}

/* A load-exclusive does not wait for a region: the others go on between two steps in any case, and the store compares.
 */
void jit_user_step_one(struct arm64_cpu *c)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    jit_fpcr_changed(c);
    jit_go_inside(v);
    v->in_region = true;
    jit_user_step(v);
    v->in_region = false;
    v->attention &= ~JIT_ATTN_REGION;
    atomic_store(&v->in_guest, 0);
}

void jit_user_outside(struct arm64_cpu *c)
{
    atomic_store_explicit(&jit_vcpu_of(c)->in_guest, 0, memory_order_release);
}

void jit_user_inside(struct arm64_cpu *c)
{
    jit_go_inside(jit_vcpu_of(c));
}

uint32_t jit_helper_svc(struct jit_vcpu *v, uint32_t imm)
{
    struct arm64_cpu *c = &v->cpu;
    uint32_t ctx = v->ctx;

    if (c->ops->call(c, A64_CALL_SVC, imm))
        return 1;
    c->pc += 4;
    /* The cache may have been emptied while we were outside. */
    return v->ctx != ctx || !jit_user_may_run(v) || atomic_load_explicit(&v->jc_stale, memory_order_relaxed);
}

/* ---- creation, fork ---- */

int jit_user_create(struct jit **out, const struct jit_user_config *cfg, struct err *e)
{
    int ret = jit_new(out, cfg->tier, &jit_user_space, cfg->code_size, e);

    if (ret)
        return ret;
    (*out)->user = cfg->ops;
    (*out)->tell = cfg->ops->made;
    (*out)->tell_opaque = cfg->ops->opaque;
    (*out)->sysreg_plain = cfg->ops->sysreg_plain;
    return 0;
}

int jit_user_vcpu_create(struct jit *j, struct arm64_cpu **out)
{
    struct jit_vcpu *v = jit_vcpu_new(j, jit_host_map(JIT_VCPU_USER_SIZE), JIT_VCPU_USER_SIZE);

    if (!v)
        return -ENOMEM;
    v->helper[JIT_HELPER_SVC] = (void *)(uintptr_t)jit_helper_svc;
    /* What Linux sets for EL0: SP alignment is checked, DC ZVA is allowed, FP is on. */
    v->cpu.sys.sctlr_el1 = JIT_SCTLR_SA0 | JIT_SCTLR_DZE;
    v->cpu.sys.cpacr_el1 = 3u << 20;
    jit_user_context(v);
    jit_user_jc_empty(v);
    *out = &v->cpu;
    return 0;
}

void jit_user_fork_begin(struct arm64_cpu *c)
{
    struct jit *j = jit_vcpu_of(c)->jit;

    jit_lock(&j->region_lock);
    jit_lock(&j->lock);
}

int jit_user_fork_end(struct arm64_cpu *c, bool child)
{
    struct jit_vcpu *v = jit_vcpu_of(c), *o, *next;
    struct jit *j = v->jit;
    int ret = 0;

    if (child) {
        for (o = j->vcpus; o; o = next) {
            next = o->next;
            if (o != v) {
                jit_lockstep_end(o);
                jit_host_unmap(o, o->size);
            }
        }
        j->vcpus = v;
        v->next = NULL;
        j->ncpus = 1;
        if (j->host.shared) {
            ret = jit_host_code_fork(&j->host, j->code_start);
            jit_cache_empty(j);
        }
    }
    jit_unlock(&j->lock);
    jit_unlock(&j->region_lock);
    return ret;
}
