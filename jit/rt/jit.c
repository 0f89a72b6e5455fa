/* Making and ending the JIT and its vCPUs: what machines and user mode have in common. */
#include "jit/interp/interp.h"
#include "jit/rt/lockstep.h"

#include <errno.h>

int jit_new(struct jit **out, enum jit_tier tier, const struct jit_space *space, size_t code_size, struct err *e)
{
    static struct jit_lock tables;
    struct jit *j = jit_host_map(sizeof(*j));
    int ret;

    if (!j)
        return err_set(e, ENOMEM, "out of memory");
    j->tier = tier;
    j->space = space;
    jit_lock(&tables);
    jit_tier1_init();
    jit_unlock(&tables);
    ret = jit_cache_init(j, code_size, space->user, e);
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

void jit_trace(struct jit *j, jit_entered_fn *entered, void *opaque, bool unlinked)
{
    j->entered = entered;
    j->entered_opaque = opaque;
    j->unlinked = unlinked;
}

void jit_seed(struct jit *j, uint64_t seed)
{
    j->seed = seed;
}

void jit_counts(const struct jit *j, struct jit_counts *out)
{
    *out = (struct jit_counts){.blocks = j->made,
                               .insns = j->made_insns,
                               .bytes = j->made_bytes,
                               .taken = j->taken,
                               .flushes = j->flushes,
                               .compared = j->compared,
                               .once = j->once,
                               .stops = j->regions};
}

struct jit_vcpu *jit_vcpu_new(struct jit *j, void *memory, size_t size)
{
    struct jit_vcpu *v = memory;

    if (!v)
        return NULL;
    v->jit = j;
    v->size = size;
    v->mxcsr = 0x1f80;
    v->host_mxcsr = 0x1f80;
    v->helper[JIT_HELPER_INTERP] = (void *)(uintptr_t)jit_helper_interp;
    v->exec = a64_exec;
    v->random = (j->seed + j->ncpus + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    jit_consts_init(v->consts);
    jit_lock(&j->region_lock);
    v->next = j->vcpus;
    j->vcpus = v;
    j->ncpus++;
    jit_unlock(&j->region_lock);
    return v;
}

void jit_vcpu_destroy(struct arm64_cpu *c)
{
    struct jit_vcpu *v = c ? jit_vcpu_of(c) : NULL;
    struct jit_vcpu **link;

    if (!v)
        return;
    jit_lock(&v->jit->region_lock);
    for (link = &v->jit->vcpus; *link != v; link = &(*link)->next)
        ;
    *link = v->next;
    v->jit->ncpus--;
    jit_unlock(&v->jit->region_lock);
    jit_host_unmap(v->stats, sizeof(*v->stats));
    jit_lockstep_end(v);
    jit_host_unmap(v, v->size);
}
