/*
 * Model-specific registers: single ones, and all those that KVM keeps for a vCPU (KVM_GET_MSR_INDEX_LIST), which are
 * read and set in batches: KVM takes less than 256 at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/msr.h"
#include "vmm/base/log.h"
#include "vmm/kvm/x86.h"

#define X86_MSR_BATCH 64

/* Room for a batch behind its head. */
union x86_msr_batch {
    struct kvm_msrs head;
    uint8_t room[sizeof(struct kvm_msrs) + X86_MSR_BATCH * sizeof(struct kvm_msr_entry)];
};

/* One request for `n` registers, which may be answered in part: how many, or -errno. */
static int x86_msr_batch(struct kvm_vcpu *v, unsigned long request, struct kvm_msr_entry *msr, unsigned n)
{
    union x86_msr_batch b = {.head.nmsrs = n};
    int r;

    memcpy(b.head.entries, msr, n * sizeof(*msr));
    r = ioctl(v->fd, request, &b);
    if (r < 0)
        return -errno;
    memcpy(msr, b.head.entries, n * sizeof(*msr));
    return r;
}

int x86_msr_get(struct kvm_vcpu *v, uint32_t msr, uint64_t *val)
{
    struct kvm_msr_entry m = {.index = msr};
    int r = x86_msr_batch(v, KVM_GET_MSRS, &m, 1);

    *val = m.data;
    return r == 1 ? 0 : r < 0 ? r : -ENOENT;
}

int x86_msr_set(struct kvm_vcpu *v, uint32_t msr, uint64_t val)
{
    struct kvm_msr_entry m = {.index = msr, .data = val};
    int r = x86_msr_batch(v, KVM_SET_MSRS, &m, 1);

    return r == 1 ? 0 : r < 0 ? r : -ENOENT;
}

/* The deadline is set last, behind the LAPIC and everything else. The TSC is kept apart where it can be. */
static void x86_add_msr(struct kvm_arch *a, uint32_t msr, bool deadline)
{
    if ((msr == X86_MSR_TSC_DEADLINE) == deadline && !(msr == X86_MSR_TSC && a->tsc_offset))
        a->msr[a->nmsrs++] = msr;
}

int x86_msrs_list(struct kvm *k, struct err *e)
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

/* One that this vCPU does not have after all (its CPUID lacks the feature) leaves the list for good. */
static void x86_drop_msr(struct kvm_arch *a, unsigned i)
{
    log_debug("kvm", "MSR 0x%x is listed and cannot be read", a->msr[i]);
    a->nmsrs--;
    memmove(&a->msr[i], &a->msr[i + 1], (a->nmsrs - i) * sizeof(a->msr[0]));
}

int x86_msrs_get(struct kvm_vcpu *v, struct kvm_msr_entry *msr, unsigned *count)
{
    struct kvm_arch *a = v->kvm->arch;
    unsigned done = 0;

    while (done < a->nmsrs) {
        unsigned n = MIN(a->nmsrs - done, (unsigned)X86_MSR_BATCH);
        int r;

        for (unsigned i = 0; i < n; i++)
            msr[done + i] = (struct kvm_msr_entry){.index = a->msr[done + i]};
        r = x86_msr_batch(v, KVM_GET_MSRS, &msr[done], n);
        if (r < 0)
            return r;
        done += (unsigned)r;
        if ((unsigned)r < n)
            x86_drop_msr(a, done);
    }
    *count = done;
    return 0;
}

/* KVM refuses some of those that it lists even the value that they have. */
static bool x86_msr_has(struct kvm_vcpu *v, const struct kvm_msr_entry *msr)
{
    uint64_t val;

    return x86_msr_get(v, msr->index, &val) == 0 && val == msr->data;
}

int x86_msrs_set(struct kvm_vcpu *v, const struct kvm_msr_entry *msr, unsigned count)
{
    struct kvm_msr_entry batch[X86_MSR_BATCH];

    for (unsigned done = 0; done < count;) {
        unsigned n = MIN(count - done, (unsigned)X86_MSR_BATCH);
        int r;

        memcpy(batch, &msr[done], n * sizeof(*msr));
        r = x86_msr_batch(v, KVM_SET_MSRS, batch, n);
        if (r < 0)
            return r;
        done += (unsigned)r;
        if ((unsigned)r == n)
            continue;
        if (!x86_msr_has(v, &msr[done])) {
            log_error("kvm", "vCPU %u: MSR 0x%x does not take the value 0x%llx", v->vcpu.index, msr[done].index,
                      (unsigned long long)msr[done].data);
            return -EINVAL;
        }
        done++;
    }
    return 0;
}
