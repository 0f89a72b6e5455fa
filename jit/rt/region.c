/*
 * How vCPUs stop each other.
 *
 * A vCPU is either inside (in_guest = 1: it may touch guest memory and run generated code) or outside. It goes out
 * for whatever may take long or must not be interrupted by a flush: waiting, regions, TLB broadcasts. Whoever wants
 * the others outside sets j->region and their exit_request, and waits for in_guest to fall; whoever goes inside sets
 * in_guest first and looks at j->region afterwards, so that one of the two sees the other.
 */
#include "jit/rt/rt.h"

void jit_region_begin(struct jit_vcpu *v)
{
    struct jit *j = v->jit;

    jit_lock(&j->region_lock);
    j->regions++;
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

void jit_go_inside(struct jit_vcpu *v)
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
