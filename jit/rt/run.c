/* A machine's vCPU: its run loop, software step, exclusive regions; making it and the JIT. */
#include "jit/interp/interp.h"
#include "jit/rt/lockstep.h"
#include "jit/rt/rt.h"

#include <errno.h>
#include <limits.h>

/* One instruction by the interpreter; false when the fetch trapped (state is the handler's then). */
static bool jit_interp_one(struct jit_vcpu *v)
{
    const uint8_t *p = v->jit->space->fetch(v);

    if (p)
        a64_interp_step(&v->cpu, jit_insn(p));
    return p;
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

static bool jit_may_run(struct jit_vcpu *v)
{
    return !v->attention && !atomic_load_explicit(&v->cpu.exit_request, memory_order_relaxed) &&
           !jit_deliverable(&v->cpu);
}

/* By the interpreter, at most n instructions. */
static void jit_interp_inside(struct jit_vcpu *v, unsigned n)
{
    jit_phase(v, JIT_PHASE_HELPER);
    for (; n && jit_may_run(v); n--)
        if (!jit_step(v)) {
            jit_enter(v);
            jit_interp_one(v);
        }
    jit_phase(v, JIT_PHASE_RUNTIME);
}

/* Runs inside until something outside is to be done. */
static void jit_run_inside(struct jit_vcpu *v)
{
    jit_enter_fn *enter = jit_enter_code(v->jit);
    const uint8_t *code = NULL;
    int why;

    while (jit_may_run(v)) {
        unsigned n = jit_mixed_turn(v);

        if (unlikely(n)) {
            jit_interp_inside(v, n);
            code = NULL;
            continue;
        }
        if (!code) {
            if (!jit_step(v))
                code = jit_find_again(v);
            continue;
        }
        jit_enter(v);
        jit_enter_page(v);
        jit_phase(v, JIT_PHASE_CODE);
        why = enter(v, code);
        jit_phase(v, JIT_PHASE_RUNTIME);
        if (unlikely(v->stats))
            v->stats->exits[why]++;
        switch (why) {
        case JIT_EXIT_LINK: code = jit_link(v); break;
        case JIT_EXIT_LOOKUP: code = jit_step(v) ? NULL : jit_find(v); break;
        default: code = NULL; break;
        }
    }
}

/* The other vCPUs stop for each block: each could change what is compared. */
static void jit_lockstep_inside(struct jit_vcpu *v)
{
    jit_phase(v, JIT_PHASE_HELPER);
    while (jit_may_run(v)) {
        atomic_store(&v->in_guest, 0);
        jit_region_begin(v);
        v->in_region = false; /* it ends with the block: an exclusive that needs one asks for its own */
        if (atomic_load(&v->tlbi_pending))
            jit_tlbi_apply(v);
        if (!jit_step(v))
            jit_lockstep_block(v, jit_enter_code(v->jit), true);
        jit_region_end(v);
        jit_go_inside(v);
    }
    jit_phase(v, JIT_PHASE_RUNTIME);
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
    jit_phase(v, JIT_PHASE_WAIT);
    if (attn & JIT_ATTN_EVENT)
        v->jit->mem->wait_event(&v->cpu);
    if (attn & JIT_ATTN_WAIT)
        v->jit->mem->wait(&v->cpu);
    jit_phase(v, JIT_PHASE_RUNTIME);
}

void jit_run(struct arm64_cpu *c)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    if (v->stats)
        v->stats->since = __builtin_ia32_rdtsc();
    jit_fpcr_changed(c); /* CPU_ON and others write the state from outside */
    for (;;) {
        uint32_t req = atomic_exchange(&c->exit_request, 0);

        if (atomic_load(&v->tlbi_pending))
            jit_tlbi_apply(v);
        if (req & ARM64_EXIT_KICK) {
            jit_phase(v, JIT_PHASE_RUNTIME);
            return;
        }
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
            v->jit->space->jc_clear(v);
        }
        jit_context_update(v);
        if (jit_deliverable(c))
            v->jit->mem->take_interrupt(c);
        if (v->jit->tier == JIT_INTERP)
            while (jit_may_run(v))
                jit_interp_inside(v, UINT_MAX);
        else if (v->jit->tier == JIT_LOCKSTEP)
            jit_lockstep_inside(v);
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

void jit_recheck(struct arm64_cpu *c)
{
    jit_cache_check(jit_vcpu_of(c)->jit);
}

/* ---- creation ---- */

int jit_create(struct jit **out, const struct jit_config *cfg, struct err *e)
{
    int ret = jit_new(out, cfg->tier, &jit_machine_space, cfg->code_size, e);

    if (ret)
        return ret;
    (*out)->mem = cfg->mem;
    (*out)->stats = cfg->stats;
    (*out)->tell = cfg->made;
    (*out)->tell_opaque = cfg->opaque;
    (*out)->sysreg_plain = cfg->mem->sysreg_plain;
    return 0;
}

void jit_use_saved(struct jit *j, const struct jit_saved_image *image, bool saves)
{
    j->image = *image;
    j->saves = saves;
}

int jit_vcpu_create(struct jit *j, unsigned index, struct arm64_cpu **out)
{
    size_t size = sizeof(struct jit_vcpu);
    void *memory = jit_host_map_large(&size);
    struct jit_vcpu *v = jit_vcpu_new(j, memory, size);

    if (!v)
        return -ENOMEM;
    v->cpu.index = index;
    v->helper[JIT_HELPER_MEM] = (void *)(uintptr_t)jit_helper_mem;
    if (j->stats && jit_stats_begin(v)) {
        jit_vcpu_destroy(&v->cpu);
        return -ENOMEM;
    }
    v->sctlr = UINT64_MAX; /* no value a guest can set: the first context update fills everything */
    *out = &v->cpu;
    return 0;
}
