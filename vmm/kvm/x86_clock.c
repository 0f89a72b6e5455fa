/*
 * The guest's clocks: kvmclock, which KVM computes from the host's time, and the TSC, which runs with the host's plus
 * an offset. Both stand still while the machine is paused.
 *
 * The TSC is moved by its offset (KVM_VCPU_TSC_OFFSET, Linux 5.16) rather than by writing MSR 0x10: KVM takes a written
 * value that lies within a second of the expected one for an attempt to synchronize vCPUs, and ignores it. All vCPUs
 * move by the same amount, so that they agree afterwards as well as before.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "arch/x86/msr.h"
#include "vmm/base/log.h"
#include "vmm/kvm/x86.h"

static int x86_tsc_offset(struct kvm_vcpu *v, unsigned long request, uint64_t *offset)
{
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uintptr_t)offset,
    };

    return ioctl(v->fd, request, &attr) < 0 ? -errno : 0;
}

int x86_tsc_get(struct kvm_vcpu *v, struct x86_tsc *t)
{
    int r = x86_tsc_offset(v, KVM_GET_DEVICE_ATTR, &t->offset);

    return r < 0 ? r : x86_msr_get(v, X86_MSR_TSC, &t->now);
}

static int x86_tsc_move(struct kvm_vcpu *v, uint64_t by)
{
    uint64_t offset;
    int r = x86_tsc_offset(v, KVM_GET_DEVICE_ATTR, &offset);

    if (r < 0)
        return r;
    offset += by;
    return x86_tsc_offset(v, KVM_SET_DEVICE_ATTR, &offset);
}

int x86_tsc_load(struct kvm_vcpu *v, const struct x86_tsc *saved)
{
    struct kvm_arch *a = v->kvm->arch;
    struct x86_tsc t;
    int r = x86_tsc_get(v, &t);

    if (r < 0)
        return r;
    if (v->vcpu.index == 0)
        a->tsc_shift = t.offset + (saved->now - t.now) - saved->offset;
    return x86_tsc_move(v, saved->offset + a->tsc_shift - t.offset);
}

int x86_clock_get(struct kvm *k, uint64_t *ns)
{
    struct kvm_clock_data c = {0};

    if (ioctl(k->vm_fd, KVM_GET_CLOCK, &c) < 0)
        return -errno;
    *ns = c.clock;
    return 0;
}

int x86_clock_set(struct kvm *k, uint64_t ns)
{
    struct kvm_clock_data c = {.clock = ns};

    return ioctl(k->vm_fd, KVM_SET_CLOCK, &c) < 0 ? -errno : 0;
}

/* ---- pauses ---- */

#define LAPIC_TIMER_CURRENT 0x390

int x86_note_time(struct kvm_vcpu *v)
{
    struct kvm_lapic_state lapic;
    int r = v->vcpu.index == 0 ? x86_msr_get(v, X86_MSR_TSC, &v->kvm->arch->paused_tsc) : 0;

    if (r < 0)
        return r;
    if (ioctl(v->fd, KVM_GET_LAPIC, &lapic) < 0)
        return -errno;
    v->arch->paused_count = le32_get(&lapic.regs[LAPIC_TIMER_CURRENT]);
    return x86_msr_get(v, X86_MSR_TSC_DEADLINE, &v->arch->paused_deadline);
}

/* KVM starts a timer with the current count that it is given; a deadline is armed by being written. What is on its way
 * to the LAPIC must be there before: it is read and written as a whole. */
static int x86_restart_timer(struct kvm_vcpu *v)
{
    struct kvm_lapic_state lapic;

    if (v->arch->paused_deadline)
        return x86_msr_set(v, X86_MSR_TSC_DEADLINE, v->arch->paused_deadline);
    if (!v->arch->paused_count)
        return 0;
    if (ioctl(v->fd, KVM_GET_LAPIC, &lapic) < 0)
        return -errno;
    le32_put(&lapic.regs[LAPIC_TIMER_CURRENT], v->arch->paused_count);
    return ioctl(v->fd, KVM_SET_LAPIC, &lapic) < 0 ? -errno : 0;
}

void kvm_arch_pause(struct accel *a)
{
    struct kvm *k = kvm_of(a);

    if (x86_clock_get(k, &k->arch->paused_clock) < 0)
        log_error("kvm", "the guest's clock cannot be stopped");
    for (unsigned i = 0; i < k->cfg.ncpus; i++)
        if (x86_note_time(k->vcpu[i]) < 0)
            log_error("kvm", "the TSC and timer of vCPU %u cannot be stopped", i);
}

static void x86_rewind_tsc(struct kvm *k)
{
    uint64_t now;

    if (!k->arch->tsc_offset || x86_msr_get(k->vcpu[0], X86_MSR_TSC, &now) < 0)
        return;
    for (unsigned i = 0; i < k->cfg.ncpus; i++)
        if (x86_tsc_move(k->vcpu[i], k->arch->paused_tsc - now) < 0)
            log_error("kvm", "the TSC of vCPU %u goes on as if there had been no pause", i);
}

void kvm_arch_resume(struct accel *a)
{
    struct kvm *k = kvm_of(a);

    if (x86_clock_set(k, k->arch->paused_clock) < 0)
        log_error("kvm", "the guest's clock goes on as if there had been no pause");
    x86_rewind_tsc(k);
    kvm_irq_flush(k);
    for (unsigned i = 0; i < k->cfg.ncpus; i++) {
        if (x86_restart_timer(k->vcpu[i]) < 0)
            log_error("kvm", "the timer of vCPU %u goes on as if there had been no pause", i);
        /* Tells the guest's watchdogs that it was not its fault. Refused where the guest does not use kvmclock. */
        ioctl(k->vcpu[i]->fd, KVM_KVMCLOCK_CTRL, 0);
    }
}
