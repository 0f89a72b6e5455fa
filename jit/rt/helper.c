/* Instructions that generated code leaves to the interpreter, hints, and the host's share of FPCR and FPSR. */
#include "jit/interp/interp.h"
#include "jit/rt/rt.h"

/* Has the run loop something to do before the next instruction? */
static bool jit_must_leave(struct jit_vcpu *v)
{
    return v->attention || atomic_load_explicit(&v->cpu.exit_request, memory_order_relaxed) ||
           atomic_load_explicit(&v->jc_stale, memory_order_relaxed);
}

uint32_t jit_helper_interp(struct jit_vcpu *v, uint32_t insn)
{
    uint32_t ctx = v->ctx;
    uint64_t pc = v->cpu.pc;
    enum a64_next next = a64_interp_step(&v->cpu, insn);
    bool resync = v->resync;

    v->resync = false;
    /* On the usual way out pc is the next instruction, which is where the block goes on. */
    return next != A64_NEXT || v->cpu.pc != pc + 4 || v->ctx != ctx || resync || jit_must_leave(v);
}

/* SEV. In user mode threads come and go, and WFE does not sleep: there it is for this thread alone. */
static void jit_send_event(struct jit_vcpu *v)
{
    atomic_store(&v->cpu.event, true);
    if (v->jit->space->user)
        return;
    for (struct jit_vcpu *o = v->jit->vcpus; o; o = o->next) {
        if (o != v && !atomic_exchange(&o->cpu.event, true))
            v->jit->mem->wake(&o->cpu);
    }
}

int jit_hint(struct arm64_cpu *c, enum a64_hint h)
{
    struct jit_vcpu *v = jit_vcpu_of(c);

    switch (h) {
    case A64_HINT_WFI: v->attention |= JIT_ATTN_WAIT; break;
    case A64_HINT_WFE:
        if (!atomic_exchange(&c->event, false))
            v->attention |= JIT_ATTN_EVENT;
        break;
    case A64_HINT_SEVL: atomic_store(&c->event, true); break;
    case A64_HINT_SEV: jit_send_event(v); break;
    case A64_HINT_YIELD: v->attention |= JIT_ATTN_YIELD; break;
    }
    return 0;
}

/* ---- FPSR and MXCSR ---- */

#define MXCSR_MASKS 0x1f80u /* all exceptions masked */

/* MXCSR's sticky flags are IE DE ZE OE UE PE; FPSR's are IOC DZC OFC UFC IXC. */
void jit_fpsr_sync(struct arm64_cpu *c)
{
    struct jit_vcpu *v = jit_vcpu_of(c);
    uint32_t m = v->mxcsr & 0x3f;

    c->fpsr |= (m & 1) | (m >> 1 & 2) | (m >> 1 & 4) | (m >> 1 & 8) | (m >> 1 & 16);
    v->mxcsr &= ~0x3fu;
}

void jit_fpsr_changed(struct arm64_cpu *c)
{
    jit_vcpu_of(c)->mxcsr &= ~0x3fu;
}

void jit_fpcr_changed(struct arm64_cpu *c)
{
    /* FPCR.RMode 0 nearest, 1 up, 2 down, 3 zero; MXCSR.RC 0 nearest, 1 down, 2 up, 3 zero. */
    static const uint8_t rc[4] = {0, 2, 1, 3};
    struct jit_vcpu *v = jit_vcpu_of(c);

    v->mxcsr = (v->mxcsr & 0x3f) | MXCSR_MASKS | (uint32_t)rc[c->fpcr >> 22 & 3] << 13;
    v->jit->space->context_update(v);
}
