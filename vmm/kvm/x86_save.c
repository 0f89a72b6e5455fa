/*
 * The save stream's sections: one a vCPU ("kvm-x86-vcpu"), and one of the VM ("kvm-x86": what CPUID said, interrupt
 * controllers, kvmclock). Parts are KVM's structures as they are, each with its size before it. They are read on a host
 * like the one that wrote them, or refused: what differs between hosts shows in CPUID, the sizes and the list of MSRs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/log.h"
#include "vmm/kvm/x86.h"

#define VCPU_SECTION "kvm-x86-vcpu"
#define VM_SECTION "kvm-x86"
#define SECTION_VERSION 1

static void x86_put(struct state_writer *w, const void *p, size_t size)
{
    state_put_u32(w, (uint32_t)size);
    state_put(w, p, size);
}

/* False where the stream has another size for it. */
static bool x86_take(struct state_reader *r, void *p, size_t size)
{
    if (state_get_u32(r) != size)
        return false;
    state_get(r, p, size);
    return true;
}

static void x86_put_msrs(struct state_writer *w, const struct x86_state *s)
{
    state_put_u32(w, s->nmsrs);
    for (unsigned i = 0; i < s->nmsrs; i++) {
        state_put_u32(w, s->msr[i].index);
        state_put_u64(w, s->msr[i].data);
    }
}

/* The stream must have the same MSRs in the same order: it comes from a host like this one. */
static bool x86_take_msrs(struct state_reader *r, const struct kvm_arch *a, struct x86_state *s)
{
    s->nmsrs = state_get_u32(r);
    if (s->nmsrs != a->nmsrs)
        return false;
    for (unsigned i = 0; i < s->nmsrs; i++) {
        s->msr[i] = (struct kvm_msr_entry){.index = state_get_u32(r)};
        s->msr[i].data = state_get_u64(r);
        if (s->msr[i].index != a->msr[i])
            return false;
    }
    return true;
}

/* A guest that is about to run guests of its own, or does, has state that is not saved here. Only cpu max lets it. */
static int x86_check_nested(struct kvm_vcpu *v)
{
    struct kvm_nested_state *s;
    bool used = false;
    int r = x86_nested_get(v, &s);

    if (r < 0 || !s)
        return r;
    if (s->format == KVM_STATE_NESTED_FORMAT_VMX)
        used = s->hdr.vmx.vmxon_pa != UINT64_MAX;
    else
        used = (s->flags & KVM_STATE_NESTED_GUEST_MODE) || !(s->flags & KVM_STATE_NESTED_GIF_SET);
    free(s);
    if (!used)
        return 0;
    log_error("kvm", "vCPU %u cannot be saved: its guest runs guests of its own", v->vcpu.index);
    return -ENOTSUP;
}

void kvm_arch_vcpu_save(struct vcpu *vcpu, struct state_writer *w)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    const struct kvm_arch *a = v->kvm->arch;
    struct x86_state s = {0};
    struct x86_tsc tsc = {0};
    int r = x86_state_alloc(&s, v->kvm);

    if (r == 0)
        r = x86_check_nested(v);
    if (r == 0)
        r = x86_state_get(v, &s);
    if (r == 0 && a->tsc_offset)
        r = x86_tsc_get(v, &tsc);
    if (r < 0)
        state_fail(w, r);
    state_begin(w, VCPU_SECTION, SECTION_VERSION);
    if (r == 0) {
        state_put_u32(w, vcpu->index);
        for (size_t i = 0; i < X86_NPARTS; i++)
            x86_put(w, (const char *)&s + x86_parts[i].off, x86_parts[i].size);
        x86_put(w, s.xsave, a->xsave_size);
        x86_put_msrs(w, &s);
        x86_put(w, &tsc, sizeof(tsc));
    }
    state_end(w);
    x86_state_free(&s);
}

static bool x86_take_state(struct state_reader *r, const struct kvm_vcpu *v, struct x86_state *s, struct x86_tsc *tsc)
{
    const struct kvm_arch *a = v->kvm->arch;

    if (state_get_u32(r) != v->vcpu.index)
        return false;
    for (size_t i = 0; i < X86_NPARTS; i++)
        if (!x86_take(r, (char *)s + x86_parts[i].off, x86_parts[i].size))
            return false;
    return x86_take(r, s->xsave, a->xsave_size) && x86_take_msrs(r, a, s) && x86_take(r, tsc, sizeof(*tsc));
}

int kvm_arch_vcpu_load(struct vcpu *vcpu, struct state_reader *r)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct x86_state s = {0};
    struct x86_tsc tsc;
    uint32_t version;
    int ret = x86_state_alloc(&s, v->kvm);

    if (ret == 0)
        ret = state_enter(r, VCPU_SECTION, &version);
    if (ret == 0 && (version != SECTION_VERSION || !x86_take_state(r, v, &s, &tsc)))
        ret = -EINVAL;
    if (ret == 0)
        ret = state_leave(r);
    if (ret == 0)
        ret = x86_state_set(v, &s);
    if (ret == 0 && v->kvm->arch->tsc_offset)
        ret = x86_tsc_load(v, &tsc);
    /* In a pause, it is the loaded time that stands still. */
    if (ret == 0)
        ret = x86_note_time(v);
    x86_state_free(&s);
    return ret;
}

void kvm_arch_save(struct accel *accel, struct state_writer *w)
{
    struct kvm *k = kvm_of(accel);
    struct kvm_irqchip chip[X86_NCHIPS];
    struct kvm_arch *a = k->arch;
    uint64_t clock = 0;
    int r = x86_chips_get(k, chip);

    if (r == 0)
        r = x86_clock_get(k, &clock);
    if (r < 0)
        state_fail(w, r);
    state_begin(w, VM_SECTION, SECTION_VERSION);
    if (r == 0) {
        x86_cpuid_set_cpu(a->cpuid, a->ncpuid, 0);
        x86_put(w, a->cpuid, a->ncpuid * sizeof(a->cpuid[0]));
        x86_put(w, chip, sizeof(chip));
        state_put_u64(w, clock);
    }
    state_end(w);
}

/* What CPUID said when the state was saved must be what it says here. */
static bool x86_same_cpuid(struct state_reader *r, struct kvm_arch *a)
{
    struct x86_cpuid c;

    if (state_get_u32(r) != a->ncpuid * sizeof(c))
        return false;
    x86_cpuid_set_cpu(a->cpuid, a->ncpuid, 0);
    for (unsigned i = 0; i < a->ncpuid; i++) {
        state_get(r, &c, sizeof(c));
        if (memcmp(&c, &a->cpuid[i], sizeof(c)) != 0)
            return false;
    }
    return true;
}

int kvm_arch_load(struct accel *accel, struct state_reader *r)
{
    struct kvm *k = kvm_of(accel);
    struct kvm_irqchip chip[X86_NCHIPS];
    uint32_t version;
    uint64_t clock;
    int ret = state_enter(r, VM_SECTION, &version);

    if (ret < 0)
        return ret;
    if (version != SECTION_VERSION)
        return -EINVAL;
    if (!x86_same_cpuid(r, k->arch)) {
        log_error("kvm", "the state is damaged, or its host's processor, kernel or number of vCPUs was another");
        return -EINVAL;
    }
    if (!x86_take(r, chip, sizeof(chip)))
        return -EINVAL;
    clock = state_get_u64(r);
    ret = state_leave(r);
    if (ret < 0)
        return ret;
    for (unsigned i = 0; i < X86_NCHIPS; i++)
        if (chip[i].chip_id != i)
            return -EINVAL;
    k->arch->paused_clock = clock;
    ret = x86_chips_set(k, chip);
    return ret < 0 ? ret : x86_clock_set(k, clock);
}
