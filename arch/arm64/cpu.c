/*
 * Reset, and the save stream, of one vCPU. The section "arm64-cpu" holds architectural state only: identification comes
 * from the model, which the stream names so that a machine of another model refuses it.
 */
#include <errno.h>

#include "arch/arm64/internal.h"

#define SECTION "arm64-cpu"
#define SECTION_VERSION 1

static const struct arm64_hooks no_hooks;
const struct arm64_hooks *arm64_hooks = &no_hooks;

void arm64_set_hooks(const struct arm64_hooks *h)
{
    arm64_hooks = h ? h : &no_hooks;
}

void arm64_cpu_init(struct arm64_cpu *c, const struct arm64_model *m, unsigned index)
{
    arm64_sysreg_init();
    memset(c, 0, sizeof(*c));
    atomic_init(&c->exit_request, 0);
    atomic_init(&c->irq_lines, 0);
    c->model = m;
    c->index = index;
    c->mpidr = BIT64(31) | (index / 16) << 8 | index % 16;
    arm64_cpu_reset(c);
}

void arm64_cpu_reset(struct arm64_cpu *c)
{
    memset(c->x, 0, sizeof(c->x));
    memset(c->v, 0, sizeof(c->v));
    memset(&c->sys, 0, sizeof(c->sys));
    c->pc = 0;
    arm64_set_nzcv(c, 0);
    c->el = 1;
    c->spsel = 1;
    c->daif = PSTATE_DAIF;
    c->pstate_misc = 0;
    c->fpcr = 0;
    c->fpsr = 0;
    c->event = false;
    c->sys.sctlr_el1 = SCTLR_RES1 | SCTLR_SPAN | SCTLR_TSCXT;
    c->sys.oslsr_el1 = OSLSR_OSLM | OSLSR_OSLK;
    c->sys.cntfrq_el0 = ARM64_CNTFRQ;
}

void arm64_cpu_save(const struct arm64_cpu *c, struct state_writer *w)
{
    state_begin(w, SECTION, SECTION_VERSION);
    state_put_u32(w, c->index);
    state_put_u64(w, c->model->midr);
    state_put_u64(w, c->model->features);
    for (unsigned i = 0; i < ARRAY_SIZE(c->x); i++)
        state_put_u64(w, c->x[i]);
    state_put_u64(w, c->pc);
    state_put_u32(w, arm64_pstate(c));
    state_put_u32(w, c->fpcr);
    state_put_u32(w, c->fpsr);
    state_put_u8(w, c->event);
    for (unsigned i = 0; i < ARRAY_SIZE(c->v); i++) {
        state_put_u64(w, c->v[i].d[0]);
        state_put_u64(w, c->v[i].d[1]);
    }
    /* struct arm64_sysregs is an array of 64-bit values by another name. */
    for (size_t off = 0; off < sizeof(c->sys); off += sizeof(uint64_t))
        state_put_u64(w, le64_get((const char *)&c->sys + off));
    if (c->timer)
        arm64_timer_save(c->timer, w);
    state_end(w);
}

int arm64_cpu_load(struct arm64_cpu *c, struct state_reader *r)
{
    uint32_t version;
    int ret = state_enter(r, SECTION, &version);
    if (ret)
        return ret;
    if (version != SECTION_VERSION || state_get_u32(r) != c->index || state_get_u64(r) != c->model->midr ||
        state_get_u64(r) != c->model->features)
        return -EINVAL;
    for (unsigned i = 0; i < ARRAY_SIZE(c->x); i++)
        c->x[i] = state_get_u64(r);
    c->pc = state_get_u64(r);
    uint32_t pstate = state_get_u32(r);
    unsigned el = bits32(pstate, 3, 2);
    if (el > 1 || (el == 0 && (pstate & PSTATE_SP)))
        return -EINVAL;
    arm64_set_nzcv(c, pstate);
    c->daif = pstate & PSTATE_DAIF;
    c->pstate_misc =
        pstate & (PSTATE_PAN | PSTATE_UAO | PSTATE_DIT | PSTATE_SSBS | PSTATE_BTYPE | PSTATE_SS | PSTATE_IL);
    /* x[31] and the banked pointers were saved as they stood, so no switch happens here. */
    c->el = (uint8_t)el;
    c->spsel = pstate & PSTATE_SP;
    c->fpcr = state_get_u32(r);
    c->fpsr = state_get_u32(r);
    c->event = state_get_u8(r);
    for (unsigned i = 0; i < ARRAY_SIZE(c->v); i++) {
        c->v[i].d[0] = state_get_u64(r);
        c->v[i].d[1] = state_get_u64(r);
    }
    for (size_t off = 0; off < sizeof(c->sys); off += sizeof(uint64_t))
        le64_put((char *)&c->sys + off, state_get_u64(r));
    if (c->timer)
        arm64_timer_load(c->timer, r);
    ret = state_leave(r);
    if (ret)
        return ret;
    arm64_hook_context(c);
    if (arm64_hooks->fpcr_changed)
        arm64_hooks->fpcr_changed(c);
    if (arm64_hooks->fpsr_changed)
        arm64_hooks->fpsr_changed(c);
    return 0;
}
