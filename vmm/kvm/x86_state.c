/*
 * A vCPU's whole state and the interrupt controllers', read out of KVM and put back: for a reset (to what it was at
 * power-on), and for the save stream (x86_save.c).
 *
 * The parts are rows of a table. They are set in its order and read in the opposite one: KVM_GET_VCPU_EVENTS and
 * KVM_GET_MP_STATE may move what is pending into registers, so they come first, and setting registers clears what is
 * pending, so events are set behind them. System registers go in first, as they say what mode the LAPIC is in; MSRs
 * last, as the TSC deadline wants the LAPIC's timer mode.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/msr.h"
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

/* ---- MSRs ---- */

/* The deadline is set last. The TSC is kept apart where it can be. */
static void x86_add_msr(struct kvm_arch *a, uint32_t msr, bool deadline)
{
    if ((msr == X86_MSR_TSC_DEADLINE) == deadline && !(msr == X86_MSR_TSC && a->tsc_offset))
        a->msr[a->nmsrs++] = msr;
}

static int x86_list_msrs(struct kvm *k, struct err *e)
{
    struct kvm_msr_list *list = calloc(1, sizeof(*list) + sizeof(k->arch->msr));
    int r = 0;

    if (!list)
        return err_set(e, ENOMEM, "out of memory");
    list->nmsrs = X86_MAX_MSRS;
    if (ioctl(k->dev_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
        r = err_set(e, errno, "KVM does not say which MSRs it keeps: %s", strerror(errno));
    for (unsigned deadline = 0; r == 0 && deadline < 2; deadline++)
        for (unsigned i = 0; i < list->nmsrs; i++)
            x86_add_msr(k->arch, list->indices[i], deadline);
    free(list);
    return r;
}

/* KVM_GET_MSRS and KVM_SET_MSRS of one register. */
static int x86_one_msr(struct kvm_vcpu *v, unsigned long request, uint32_t msr, uint64_t *val)
{
    _Alignas(struct kvm_msrs) uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)] = {0};
    struct kvm_msrs *m = (struct kvm_msrs *)room;
    int r;

    m->nmsrs = 1;
    m->entries[0] = (struct kvm_msr_entry){.index = msr, .data = *val};
    r = ioctl(v->fd, request, m);
    *val = m->entries[0].data;
    return r == 1 ? 0 : r < 0 ? -errno : -ENOENT;
}

int x86_msr_get(struct kvm_vcpu *v, uint32_t msr, uint64_t *val)
{
    *val = 0;
    return x86_one_msr(v, KVM_GET_MSRS, msr, val);
}

int x86_msr_set(struct kvm_vcpu *v, uint32_t msr, uint64_t val)
{
    return x86_one_msr(v, KVM_SET_MSRS, msr, &val);
}

/* Reads all; one that this vCPU does not have after all (its CPUID lacks the feature) leaves the list for good. */
static int x86_get_msrs(struct kvm_vcpu *v, struct kvm_msrs *m)
{
    struct kvm_arch *a = v->kvm->arch;

    for (;;) {
        int r;

        m->nmsrs = a->nmsrs;
        for (unsigned i = 0; i < a->nmsrs; i++)
            m->entries[i] = (struct kvm_msr_entry){.index = a->msr[i]};
        r = ioctl(v->fd, KVM_GET_MSRS, m);
        if (r < 0)
            return -errno;
        if ((unsigned)r >= a->nmsrs)
            return 0;
        log_debug("kvm", "MSR 0x%x is listed and cannot be read", a->msr[r]);
        a->nmsrs--;
        memmove(&a->msr[r], &a->msr[r + 1], (a->nmsrs - (unsigned)r) * sizeof(uint32_t));
    }
}

static int x86_set_msrs(struct kvm_vcpu *v, const struct kvm_msrs *m)
{
    int r = ioctl(v->fd, KVM_SET_MSRS, m);

    if (r < 0)
        return -errno;
    if ((unsigned)r == m->nmsrs)
        return 0;
    log_error("kvm", "vCPU %u: MSR 0x%x does not take the value 0x%llx", v->vcpu.index, m->entries[r].index,
              (unsigned long long)m->entries[r].data);
    return -EINVAL;
}

/* ---- the whole ---- */

int x86_state_init(struct kvm *k, struct err *e)
{
    int size = kvm_check(k, KVM_CAP_XSAVE2);

    k->arch->xsave_size = MAX((size_t)size, X86_XSAVE_MIN);
    k->arch->tsc_offset = kvm_check(k, KVM_CAP_VCPU_ATTRIBUTES);
    if (!k->arch->tsc_offset)
        log_debug("kvm", "no TSC offsets: the guest's TSC runs on during pauses");
    return x86_list_msrs(k, e);
}

int x86_state_alloc(struct x86_state *s, const struct kvm *k)
{
    s->xsave = calloc(1, k->arch->xsave_size);
    s->msrs = calloc(1, sizeof(*s->msrs) + k->arch->nmsrs * sizeof(struct kvm_msr_entry));
    return s->xsave && s->msrs ? 0 : -ENOMEM;
}

void x86_state_free(struct x86_state *s)
{
    free(s->xsave);
    free(s->msrs);
}

static int x86_failed(const struct kvm_vcpu *v, const char *verb, const char *part, int r)
{
    log_error("kvm", "vCPU %u: its %s cannot be %s: %s", v->vcpu.index, part, verb, strerror(-r));
    return r;
}

int x86_state_get(struct kvm_vcpu *v, struct x86_state *s)
{
    unsigned long get_xsave = v->kvm->arch->xsave_size > X86_XSAVE_MIN ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
    int r;

    for (size_t i = X86_NPARTS; i-- > 0;)
        if (ioctl(v->fd, x86_parts[i].get, (char *)s + x86_parts[i].off) < 0)
            return x86_failed(v, "read", x86_parts[i].name, -errno);
    if (ioctl(v->fd, get_xsave, s->xsave) < 0)
        return x86_failed(v, "read", "xsave", -errno);
    r = x86_get_msrs(v, s->msrs);
    if (r < 0)
        return x86_failed(v, "read", "msrs", r);
    return 0;
}

int x86_state_set(struct kvm_vcpu *v, const struct x86_state *s)
{
    int r;

    for (size_t i = 0; i < X86_NPARTS; i++)
        if (ioctl(v->fd, x86_parts[i].set, (const char *)s + x86_parts[i].off) < 0)
            return x86_failed(v, "set", x86_parts[i].name, -errno);
    if (ioctl(v->fd, KVM_SET_XSAVE, s->xsave) < 0)
        return x86_failed(v, "set", "xsave", -errno);
    r = x86_set_msrs(v, s->msrs);
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
