/*
 * A vCPU's whole state and the interrupt controllers', read out of KVM and put back: for a reset (to what it was at
 * power-on), and for the save stream (x86_save.c).
 *
 * The parts are rows of a table. They are set in its order and read in the opposite one: KVM_GET_VCPU_EVENTS and
 * KVM_GET_MP_STATE may move what is pending into registers, so they come first, and setting registers clears what is
 * pending, so events are set behind them. System registers go in first, as they say what mode the LAPIC is in; MSRs
 * last, as the TSC deadline wants the LAPIC's timer mode. Before all that the vCPU leaves whatever guest of its own it
 * ran: with VMX on, KVM takes no CR4 that would switch it off.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/log.h"
#include "vmm/kvm/x86.h"

#define X86_XSAVE_MIN sizeof(struct kvm_xsave)

#define PART(member, what)                                                                                             \
    {                                                                                                                  \
#member, KVM_GET_##what, KVM_SET_##what, offsetof(struct x86_state, member),                                   \
            sizeof(((struct x86_state *)0)->member)                                                                    \
    }
const struct x86_part x86_parts[X86_NPARTS] = {
    PART(sregs, SREGS), PART(xcrs, XCRS),         PART(debugregs, DEBUGREGS), PART(regs, REGS),
    PART(lapic, LAPIC), PART(mp_state, MP_STATE), PART(events, VCPU_EVENTS),
};

int x86_state_init(struct kvm *k, struct err *e)
{
    int size = kvm_check(k, KVM_CAP_XSAVE2);

    k->arch->xsave_size = MAX((size_t)size, X86_XSAVE_MIN);
    k->arch->xcrs = kvm_check(k, KVM_CAP_XCRS);
    k->arch->tsc_offset = kvm_check(k, KVM_CAP_VCPU_ATTRIBUTES);
    if (!k->arch->tsc_offset)
        log_debug("kvm", "no TSC offsets: the guest's TSC runs on during pauses");
    return x86_msrs_list(k, e);
}

int x86_state_alloc(struct x86_state *s, const struct kvm *k)
{
    s->xsave = calloc(1, k->arch->xsave_size);
    s->msr = calloc(k->arch->nmsrs, sizeof(*s->msr));
    return s->xsave && s->msr ? 0 : -ENOMEM;
}

void x86_state_free(struct x86_state *s)
{
    free(s->xsave);
    free(s->msr);
}

static int x86_failed(const struct kvm_vcpu *v, const char *verb, const char *part, int r)
{
    log_error("kvm", "vCPU %u: its %s cannot be %s: %s", v->vcpu.index, part, verb, strerror(-r));
    return r;
}

static bool x86_has_part(const struct kvm_vcpu *v, const struct x86_part *p)
{
    return p->get != KVM_GET_XCRS || v->kvm->arch->xcrs;
}

int x86_state_get(struct kvm_vcpu *v, struct x86_state *s)
{
    unsigned long get_xsave = v->kvm->arch->xsave_size > X86_XSAVE_MIN ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
    int r;

    for (size_t i = X86_NPARTS; i-- > 0;)
        if (x86_has_part(v, &x86_parts[i]) && ioctl(v->fd, x86_parts[i].get, (char *)s + x86_parts[i].off) < 0)
            return x86_failed(v, "read", x86_parts[i].name, -errno);
    if (ioctl(v->fd, get_xsave, s->xsave) < 0)
        return x86_failed(v, "read", "xsave", -errno);
    r = x86_msrs_get(v, s->msr, &s->nmsrs);
    if (r < 0)
        return x86_failed(v, "read", "msrs", r);
    return 0;
}

int x86_nested_get(struct kvm_vcpu *v, struct kvm_nested_state **out)
{
    int size = v->kvm->cfg.cpu == KVM_CPU_MAX ? kvm_check(v->kvm, KVM_CAP_NESTED_STATE) : 0;
    struct kvm_nested_state *s;
    int r;

    *out = NULL;
    if ((size_t)size < sizeof(*s))
        return 0;
    s = calloc(1, (size_t)size);
    if (!s)
        return -ENOMEM;
    s->size = (uint32_t)size;
    if (ioctl(v->fd, KVM_GET_NESTED_STATE, s) < 0) {
        r = -errno;
        free(s);
        return r;
    }
    *out = s;
    return 0;
}

int x86_state_set(struct kvm_vcpu *v, const struct x86_state *s)
{
    int r;

    if (v->arch->no_nested && ioctl(v->fd, KVM_SET_NESTED_STATE, v->arch->no_nested) < 0)
        return x86_failed(v, "set", "nested", -errno);
    for (size_t i = 0; i < X86_NPARTS; i++)
        if (x86_has_part(v, &x86_parts[i]) && ioctl(v->fd, x86_parts[i].set, (const char *)s + x86_parts[i].off) < 0)
            return x86_failed(v, "set", x86_parts[i].name, -errno);
    if (ioctl(v->fd, KVM_SET_XSAVE, s->xsave) < 0)
        return x86_failed(v, "set", "xsave", -errno);
    r = x86_msrs_set(v, s->msr, s->nmsrs);
    return r < 0 ? x86_failed(v, "set", "msrs", r) : 0;
}

int x86_chips_get(struct kvm *k, struct kvm_irqchip chip[X86_NCHIPS])
{
    for (unsigned i = 0; i < X86_NCHIPS; i++) {
        chip[i] = (struct kvm_irqchip){.chip_id = i};
        if (ioctl(k->vm_fd, KVM_GET_IRQCHIP, &chip[i]) < 0)
            return -errno;
    }
    return 0;
}

int x86_chips_set(struct kvm *k, const struct kvm_irqchip chip[X86_NCHIPS])
{
    for (unsigned i = 0; i < X86_NCHIPS; i++)
        if (ioctl(k->vm_fd, KVM_SET_IRQCHIP, &chip[i]) < 0)
            return -errno;
    return 0;
}
