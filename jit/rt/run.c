/*
 * The run loop of a vCPU, and how vCPUs stop each other.
 *
 * A vCPU is either inside (in_guest = 1: it may touch guest memory and run generated code) or outside. It goes out
 * for whatever may take long or must not be interrupted by a flush: waiting, regions, TLB broadcasts. Whoever wants
 * the others outside sets j->region and their exit_request, and waits for in_guest to fall; whoever goes inside sets
 * in_guest first and looks at j->region afterwards, so that one of the two sees the other.
 */
#include "jit/interp/interp.h"
#include "jit/rt/rt.h"

#include <errno.h>

/* ---- regions ---- */

void jit_region_begin(struct jit_vcpu *v)
{
    struct jit *j = v->jit;

    jit_lock(&j->region_lock);
    atomic_store(&j->region, 1);
    for (struct jit_vcpu *o = j->vcpus; o; o = o->next) {
        if (o == v)
            continue;
        atomic_fetch_or(&o->cpu.exit_request, ARM64_EXIT_SYNC);
        while (atomic_load(&o->in_guest))
            jit_host_yield();
    }
    v->in_region = true;
}

void jit_region_end(struct jit_vcpu *v)
{
    v->in_region = false;
    atomic_store(&v->jit->region, 0);
    jit_unlock(&v->jit->region_lock);
}

static void jit_go_inside(struct jit_vcpu *v)
{
    for (;;) {
        atomic_store(&v->in_guest, 1);
        if (!atomic_load(&v->jit->region))
            return;
        atomic_store(&v->in_guest, 0);
        jit_lock(&v->jit->region_lock);
        jit_unlock(&v->jit->region_lock);
    }
}

/* One instruction by the interpreter; false when the fetch trapped (state is the handler's then). */
static bool jit_interp_one(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;
    const uint8_t *p;

    if (v->tbi[c->pc >> 55 & 1])
        c->pc = (uint64_t)sext64(c->pc, 56);
    if (c->pc & 3) {
        v->jit->mem->pc_align_fault(c);
        return false;
    }
    p = jit_fetch_ptr(v, c->pc);
    if (!p || jit_illegal_state(c))
        return false;
    a64_interp_step(c, jit_insn(p));
    return true;
}

#define JIT_EC_STEP 0x32 /* ESR_EL1.EC, as from a lower EL */
#define JIT_STEP_ISS 0x22
#define JIT_STEP_ISV BIT32(24) /* an instruction was stepped */
#define JIT_STEP_EX BIT32(6)   /* it was a load-exclusive */

static bool jit_is_load_excl(uint32_t insn)
{
    return (insn & 0x3f400000) == 0x08400000 && !(insn & BIT32(23));
}

/* Software step: executes one instruction, or raises the exception that follows it; false where none is asked for.
 * Only ERET begins a step, and that comes back to the run loop. A load-exclusive that wants the others stopped is
 * executed with its store-exclusive, as one step. */
static bool jit_step(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;
    uint32_t insn = 0;
    const uint8_t *p;

    if (likely(!(c->sys.mdscr_el1 & MDSCR_SS)))
        return false;
    if (!arm64_step_enabled(c, c->el, c->daif & PSTATE_D)) {
        v->step_iss = 0;
        return false;
    }
    if (!(c->pstate_misc & PSTATE_SS)) {
        c->ops->exception(c, JIT_EC_STEP, v->step_iss | JIT_STEP_ISS, 0);
        v->step_iss = 0;
        return true;
    }
    if (!(c->pc & 3)) {
        p = jit_fetch_ptr(v, c->pc);
        if (!p)
            return true; /* an instruction abort */
        insn = jit_insn(p);
    }
    jit_interp_one(v);
    /* An exception has cleared PSTATE.SS; a load-exclusive that waits for its region was not executed. */
    if ((c->pstate_misc & PSTATE_SS) && !(v->attention & JIT_ATTN_REGION)) {
        c->pstate_misc &= ~PSTATE_SS;
        v->step_iss = JIT_STEP_ISV | (jit_is_load_excl(insn) ? JIT_STEP_EX : 0);
    }
    return true;
}

/* A load-exclusive to its store-exclusive with the others stopped. The architecture promises progress only for
 * short sequences (Arm ARM B2.9.5), so a long one ends here with the monitor lost. */
#define JIT_REGION_INSNS 128

static void jit_run_region(struct jit_vcpu *v)
{
    jit_region_begin(v);
    /* While we waited for the region others may have done TLB maintenance and taken us for outside. Now nobody can. */
    if (atomic_load(&v->tlbi_pending))
        jit_tlbi_apply(v);
    for (unsigned i = 0; i < JIT_REGION_INSNS; i++) {
        if (!jit_interp_one(v) || !v->excl_valid || (v->attention & ~(uint32_t)JIT_ATTN_DSB))
            break;
    }
    v->excl_valid = false;
    jit_region_end(v);
}

/* ---- the loop ---- */

static bool jit_deliverable(struct arm64_cpu *c)
{
    return atomic_load_explicit(&c->irq_lines, memory_order_relaxed) && arm64_irq_deliverable(c);
}

/* Runs inside until something outside is to be done. */
static void jit_run_inside(struct jit_vcpu *v)
{
    int (*enter)(struct jit_vcpu *, const uint8_t *);
    struct arm64_cpu *c = &v->cpu;
    const uint8_t *code = NULL;
    const uint8_t *entry = v->jit->rx + (v->jit->thunk.enter - v->jit->rw);

    memcpy(&enter, &entry, sizeof(enter));
    while (!v->attention && !atomic_load_explicit(&c->exit_request, memory_order_relaxed) && !jit_deliverable(c)) {
        if (!code) {
            if (!jit_step(v))
                code = jit_find_again(v);
            continue;
        }
        switch (enter(v, code)) {
        case JIT_EXIT_LINK: code = jit_link(v); break;
        case JIT_EXIT_LOOKUP: code = jit_step(v) ? NULL : jit_find(v); break;
        default: code = NULL; break;
        }
    }
}

static void jit_interp_inside(struct jit_vcpu *v)
{
    struct arm64_cpu *c = &v->cpu;

    while (!v->attention && !atomic_load_explicit(&c->exit_request, memory_order_relaxed) && !jit_deliverable(c))
        if (!jit_step(v))
            jit_interp_one(v);
}

static void jit_attend(struct jit_vcpu *v)
{
    uint32_t attn = v->attention;

    v->attention = 0;
    if (attn & JIT_ATTN_DSB)
        jit_tlbi_wait(v);
    if (attn & JIT_ATTN_FLUSH) {
        jit_region_begin(v);
        jit_cache_flush(v->jit);
        jit_region_end(v);
    }
    if (attn & JIT_ATTN_REGION)
        jit_run_region(v);
    if (attn & JIT_ATTN_YIELD)
        jit_host_yield();
    if (attn & JIT_ATTN_WAIT)
        v->jit->mem->wait(&v->cpu);
}

void jit_run(struct arm64_cpu *c)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    jit_fpcr_changed(c); /* CPU_ON and others write the state from outside */
    for (;;) {
        uint32_t req = atomic_exchange(&c->exit_request, 0);

        if (atomic_load(&v->tlbi_pending))
            jit_tlbi_apply(v);
        if (req & ARM64_EXIT_KICK)
            return;
        if (v->attention) {
            jit_attend(v);
            continue;
        }
        jit_go_inside(v);
        /* Posted between the look above and going inside: the poster waits for us now. */
        if (atomic_load(&v->tlbi_pending)) {
            atomic_store(&v->in_guest, 0);
            continue;
        }
        if (atomic_load_explicit(&v->jc_stale, memory_order_relaxed)) {
            atomic_store_explicit(&v->jc_stale, 0, memory_order_relaxed);
            jit_jc_clear(v);
        }
        jit_context_update(v);
        if (jit_deliverable(c))
            v->jit->mem->take_interrupt(c);
        if (v->jit->tier == JIT_INTERP)
            jit_interp_inside(v);
        else
            jit_run_inside(v);
        atomic_store(&v->in_guest, 0);
    }
}

void jit_context_changed(struct arm64_cpu *c)
{
    jit_context_update(jit_vcpu_of(c));
}

void jit_reset(struct arm64_cpu *c)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    v->attention = 0; /* a WFI whose wait a kick came before, say */
    v->excl_valid = false;
    v->step_iss = 0;
    jit_fpsr_changed(c);
    jit_fpcr_changed(c);
}

void jit_flush(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->attention |= JIT_ATTN_FLUSH;
}

/* ---- creation ---- */

int jit_create(struct jit **out, const struct jit_config *cfg, struct err *e)
{
    static struct jit_lock tables;
    struct jit *j = jit_host_map(sizeof(*j));
    int ret;

    if (!j)
        return err_set(e, ENOMEM, "out of memory");
    j->tier = cfg->tier;
    j->mem = cfg->mem;
    jit_lock(&tables);
    a64_decode_init();
    jit_tier1_init();
    jit_unlock(&tables);
    ret = jit_cache_init(j, cfg->code_size, e);
    if (ret) {
        jit_host_unmap(j, sizeof(*j));
        return ret;
    }
    jit_thunks_emit(j);
    *out = j;
    return 0;
}

void jit_destroy(struct jit *j)
{
    if (!j)
        return;
    jit_cache_free(j);
    jit_host_unmap(j, sizeof(*j));
}

int jit_vcpu_create(struct jit *j, unsigned index, struct arm64_cpu **out)
{
    struct jit_vcpu *v = jit_host_map(sizeof(*v));

    if (!v)
        return -ENOMEM;
    v->jit = j;
    v->cpu.index = index;
    v->mxcsr = 0x1f80;
    v->host_mxcsr = 0x1f80;
    v->helper[JIT_HELPER_MEM] = (void *)(uintptr_t)jit_helper_mem;
    v->helper[JIT_HELPER_INTERP] = (void *)(uintptr_t)jit_helper_interp;
    v->exec = a64_exec;
    jit_consts_init(v->consts);
    v->sctlr = UINT64_MAX; /* no value a guest can set: the first context update fills everything */
    v->next = j->vcpus;
    j->vcpus = v;
    j->ncpus++;
    *out = &v->cpu;
    return 0;
}

void jit_vcpu_destroy(struct arm64_cpu *c)
{
    struct jit_vcpu *v = c ? jit_vcpu_of(c) : NULL;
    struct jit_vcpu **link;

    if (!v)
        return;
    for (link = &v->jit->vcpus; *link != v; link = &(*link)->next)
        ;
    *link = v->next;
    v->jit->ncpus--;
    jit_host_unmap(v, sizeof(*v));
}
