/*
 * Registers of an arm64 vCPU: one by its number, all of them for the save stream, and the counter that is the guest's
 * time.
 *
 * What a vCPU has is what KVM_GET_REG_LIST lists; the save stream carries identifiers and values as KVM gives them, so
 * that a kernel that knows more registers needs no change here. On load each one is written. One that refuses must have
 * the value already: identification registers, the vector lengths and the like belong to the host, and a stream from a
 * different one is refused by name.
 *
 * The virtual counter is one for the VM (the kernel keeps an offset to the host's), and is not among those: it is
 * written last, so that all vCPUs agree. So is the physical one, where the kernel keeps an offset for that too
 * (Linux 6.4); it runs on in a pause, and is only carried along in the stream.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arm64/regs.h"
#include "vmm/base/log.h"
#include "vmm/kvm/arm64.h"

#define KVM_CORE(size, field) (KVM_REG_ARM64 | KVM_REG_ARM_CORE | (size) | KVM_REG_ARM_CORE_REG(field))
#define KVM_CORE_U64(field) KVM_CORE(KVM_REG_SIZE_U64, field)

/* PSTATE.M: EL1 with its own stack pointer, rather than SP_EL0. */
#define KVM_PSTATE_MODE 0xf
#define KVM_PSTATE_EL1H 0x5

#define KVM_MPIDR_EL1 ARM64_SYS_REG(3, 0, 0, 0, 5)

/* Masks of the performance monitors, each with two names: written to one, ones set bits; to the other, they clear. */
static const struct kvm_mask {
    uint64_t set, clear;
} kvm_masks[] = {
    {ARM64_SYS_REG(3, 3, 9, 12, 1), ARM64_SYS_REG(3, 3, 9, 12, 2)}, /* PMCNTENSET_EL0, PMCNTENCLR_EL0 */
    {ARM64_SYS_REG(3, 0, 9, 14, 1), ARM64_SYS_REG(3, 0, 9, 14, 2)}, /* PMINTENSET_EL1, PMINTENCLR_EL1 */
    {ARM64_SYS_REG(3, 3, 9, 14, 3), ARM64_SYS_REG(3, 3, 9, 12, 3)}, /* PMOVSSET_EL0, PMOVSCLR_EL0 */
};

/* SVE registers of 2048 bits are the largest. */
#define KVM_REG_MAX 256

int kvm_reg_get(const struct kvm_vcpu *v, uint64_t id, void *buf)
{
    struct kvm_one_reg r = {.id = id, .addr = (uintptr_t)buf};

    return ioctl(v->fd, KVM_GET_ONE_REG, &r) < 0 ? -errno : 0;
}

int kvm_reg_set(const struct kvm_vcpu *v, uint64_t id, const void *buf)
{
    struct kvm_one_reg r = {.id = id, .addr = (uintptr_t)buf};

    return ioctl(v->fd, KVM_SET_ONE_REG, &r) < 0 ? -errno : 0;
}

/* ---- by number ---- */

/* KVM's identifier of the stack pointer in use. */
static int kvm_sp_id(const struct kvm_vcpu *v, uint64_t *id)
{
    uint64_t pstate;
    int r = kvm_reg_get(v, KVM_CORE_U64(regs.pstate), &pstate);

    *id = r == 0 && (pstate & KVM_PSTATE_MODE) == KVM_PSTATE_EL1H ? KVM_CORE_U64(sp_el1) : KVM_CORE_U64(regs.sp);
    return r;
}

/* -ENOENT for no register; otherwise its identifier, but for vectors of a vCPU that has SVE. */
static int kvm_reg_id(const struct kvm_vcpu *v, unsigned reg, uint64_t *id)
{
    switch (reg) {
    case ARM64_REG_SP: return kvm_sp_id(v, id);
    case ARM64_REG_PC: *id = KVM_CORE_U64(regs.pc); return 0;
    case ARM64_REG_PSTATE: *id = KVM_CORE_U64(regs.pstate); return 0;
    case ARM64_REG_FPSR: *id = KVM_CORE(KVM_REG_SIZE_U32, fp_regs.fpsr); return 0;
    case ARM64_REG_FPCR: *id = KVM_CORE(KVM_REG_SIZE_U32, fp_regs.fpcr); return 0;
    case ARM64_REG_MPIDR: *id = KVM_MPIDR_EL1; return 0;
    default: break;
    }
    if (reg < ARM64_REG_SP)
        *id = KVM_CORE_U64(regs.regs[0]) + (reg - ARM64_REG_X0) * 2; /* in words of 32 bits */
    else if (reg >= ARM64_REG_V0 && reg < ARM64_REG_FPSR)
        *id = KVM_CORE(KVM_REG_SIZE_U128, fp_regs.vregs[0]) + (reg - ARM64_REG_V0) * 4;
    else
        return -ENOENT;
    return 0;
}

static int kvm_reg_find(const struct kvm_vcpu *v, unsigned reg, size_t len, uint64_t *id, bool *vector)
{
    unsigned size = arm64_reg_size(reg);

    if (!size)
        return -ENOENT;
    if (len != size)
        return -EINVAL;
    *vector = size == 16 && kvm_arm64_feature(v->kvm, KVM_ARM_VCPU_SVE);
    if (*vector) {
        *id = KVM_REG_ARM64_SVE_ZREG(reg - ARM64_REG_V0, 0);
        return 0;
    }
    return kvm_reg_id(v, reg, id);
}

int kvm_arch_get_reg(struct vcpu *vcpu, unsigned reg, void *buf, size_t len)
{
    const struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    uint8_t z[KVM_REG_MAX];
    bool vector;
    uint64_t id;
    int r = kvm_reg_find(v, reg, len, &id, &vector);

    if (r == 0)
        r = kvm_reg_get(v, id, vector ? z : buf);
    if (r == 0 && vector)
        memcpy(buf, z, len); /* V is the low end of Z */
    return r;
}

int kvm_arch_set_reg(struct vcpu *vcpu, unsigned reg, const void *buf, size_t len)
{
    const struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    uint8_t z[KVM_REG_MAX] = {0}; /* a write to V zeroes the rest of Z (Arm ARM B1.2.1) */
    bool vector;
    uint64_t id;
    int r = kvm_reg_find(v, reg, len, &id, &vector);

    if (r < 0)
        return r;
    if (reg == ARM64_REG_MPIDR)
        return -EINVAL;
    if (vector)
        memcpy(z, buf, len);
    return kvm_reg_set(v, id, vector ? z : buf);
}

/* ---- the guest's time ---- */

/* malloc'ed; NULL with errno. */
static struct kvm_reg_list *kvm_reg_list(const struct kvm_vcpu *v)
{
    struct kvm_reg_list probe = {0}, *l;

    if (ioctl(v->fd, KVM_GET_REG_LIST, &probe) < 0 && errno != E2BIG)
        return NULL;
    l = malloc(sizeof(*l) + probe.n * sizeof(l->reg[0]));
    if (!l)
        return NULL;
    l->n = probe.n;
    if (ioctl(v->fd, KVM_GET_REG_LIST, l) < 0) {
        free(l);
        return NULL;
    }
    return l;
}

static bool kvm_has_physical_count(const struct kvm *k)
{
    struct kvm_reg_list *l = kvm_reg_list(k->vcpu[0]);
    bool has = false;

    for (uint64_t i = 0; l && i < l->n; i++)
        has |= l->reg[i] == KVM_REG_ARM_PTIMER_CNT;
    free(l);
    return has;
}

/* 0 where the kernel has none for the VM. */
static int kvm_physical_get(const struct kvm *k, uint64_t *count)
{
    *count = 0;
    return kvm_has_physical_count(k) ? kvm_reg_get(k->vcpu[0], KVM_REG_ARM_PTIMER_CNT, count) : 0;
}

int kvm_count_get(const struct kvm *k, uint64_t *count)
{
    return kvm_reg_get(k->vcpu[0], KVM_REG_ARM_TIMER_CNT, count);
}

int kvm_count_set(const struct kvm *k, uint64_t count)
{
    return kvm_reg_set(k->vcpu[0], KVM_REG_ARM_TIMER_CNT, &count);
}

void kvm_arch_pause(struct accel *a)
{
    struct kvm *k = kvm_of(a);
    int r;

    if (k->arch->paused)
        return;
    r = kvm_count_get(k, &k->arch->count);
    if (r == 0)
        r = kvm_physical_get(k, &k->arch->physical);
    if (r < 0)
        log_warn("kvm", "the guest's clock does not stand still in the pause: %s", strerror(-r));
    k->arch->paused = r == 0;
}

void kvm_arch_resume(struct accel *a)
{
    struct kvm *k = kvm_of(a);
    int r = k->arch->paused ? kvm_count_set(k, k->arch->count) : 0;

    if (r < 0)
        log_warn("kvm", "the guest's clock does not go on where it stood before the pause: %s", strerror(-r));
    k->arch->paused = false;
}

/* ---- all of them ---- */

/* What is not the vCPU's own, or has another name that is saved. */
static bool kvm_reg_saved(uint64_t id)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kvm_masks); i++)
        if (id == kvm_masks[i].clear)
            return false;
    return id != KVM_REG_ARM_TIMER_CNT && id != KVM_REG_ARM_PTIMER_CNT;
}

static int kvm_save_regs(const struct kvm_vcpu *v, const struct kvm_reg_list *l, struct state_writer *w)
{
    uint8_t value[KVM_REG_MAX];

    for (uint64_t i = 0; i < l->n; i++) {
        uint64_t id = l->reg[i];
        int r;

        if (!kvm_reg_saved(id))
            continue;
        r = KVM_REG_SIZE(id) <= sizeof(value) ? kvm_reg_get(v, id, value) : -EOVERFLOW;
        if (r < 0)
            return r;
        state_put_u64(w, id);
        state_put(w, value, KVM_REG_SIZE(id));
    }
    state_put_u64(w, 0); /* no register has this number */
    return 0;
}

void kvm_arch_vcpu_save(struct vcpu *vcpu, struct state_writer *w)
{
    const struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct kvm_reg_list *l = kvm_reg_list(v);
    struct kvm_vcpu_events events;
    struct kvm_mp_state mp;
    int r;

    if (!l || ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0 || ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) < 0) {
        state_fail(w, -errno);
        free(l);
        return;
    }
    state_begin(w, "kvm-arm64-vcpu", 1);
    state_put_u32(w, mp.mp_state);
    state_put_u8(w, events.exception.serror_pending);
    state_put_u8(w, events.exception.serror_has_esr);
    state_put_u64(w, events.exception.serror_esr);
    r = kvm_save_regs(v, l, w);
    if (r < 0)
        state_fail(w, r);
    state_end(w);
    free(l);
}

static int kvm_load_reg(const struct kvm_vcpu *v, uint64_t id, const uint8_t *value)
{
    static const uint64_t ones = UINT64_MAX;
    uint8_t now[KVM_REG_MAX];
    int r = 0;

    /* To older kernels both names are the whole mask (before Linux 6.7). */
    for (unsigned i = 0; i < ARRAY_SIZE(kvm_masks); i++)
        if (id == kvm_masks[i].set)
            r = kvm_reg_set(v, kvm_masks[i].clear, &ones);
    if (r == 0)
        r = kvm_reg_set(v, id, value);
    if (r == 0 || (kvm_reg_get(v, id, now) == 0 && !memcmp(now, value, KVM_REG_SIZE(id))))
        return 0;
    log_error("kvm", "vCPU %u: register 0x%llx does not take the saved value: %s", v->vcpu.index,
              (unsigned long long)id, strerror(-r));
    return -EINVAL;
}

static int kvm_load_regs(const struct kvm_vcpu *v, struct state_reader *r)
{
    uint64_t id;

    while ((id = state_get_u64(r)) != 0) {
        uint8_t value[KVM_REG_MAX];
        int ret;

        if ((id & KVM_REG_ARCH_MASK) != KVM_REG_ARM64 || KVM_REG_SIZE(id) > sizeof(value))
            return -EINVAL;
        state_get(r, value, KVM_REG_SIZE(id));
        ret = kvm_load_reg(v, id, value);
        if (ret < 0)
            return ret;
    }
    return 0;
}

int kvm_arch_vcpu_load(struct vcpu *vcpu, struct state_reader *r)
{
    const struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct kvm_vcpu_events events = {0};
    struct kvm_mp_state mp;
    uint32_t version;
    int ret;

    if ((ret = state_enter(r, "kvm-arm64-vcpu", &version)) < 0)
        return ret;
    if (version != 1)
        return -EINVAL;
    mp.mp_state = state_get_u32(r);
    events.exception.serror_pending = state_get_u8(r);
    events.exception.serror_has_esr = state_get_u8(r);
    events.exception.serror_esr = state_get_u64(r);
    if ((ret = kvm_load_regs(v, r)) < 0 || (ret = state_leave(r)) < 0)
        return ret;
    if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0 || ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
        return -errno;
    return 0;
}

/* ---- what the vCPUs share ---- */

void kvm_arch_save(struct accel *a, struct state_writer *w)
{
    struct kvm *k = kvm_of(a);
    uint64_t count = k->arch->count, physical = k->arch->physical;
    int r = k->arch->paused ? 0 : kvm_count_get(k, &count);

    if (r == 0 && !k->arch->paused)
        r = kvm_physical_get(k, &physical);
    state_begin(w, "kvm-arm64", 1);
    state_put_u64(w, count);
    state_put_u64(w, physical);
    if (r == 0)
        r = kvm_gic_save(k, w);
    if (r < 0)
        state_fail(w, r);
    state_end(w);
}

int kvm_arch_load(struct accel *a, struct state_reader *r)
{
    struct kvm *k = kvm_of(a);
    uint32_t version;
    uint64_t count, physical;
    int ret;

    if ((ret = state_enter(r, "kvm-arm64", &version)) < 0)
        return ret;
    if (version != 1)
        return -EINVAL;
    count = state_get_u64(r);
    physical = state_get_u64(r);
    if ((ret = kvm_gic_load(k, r)) < 0 || (ret = state_leave(r)) < 0)
        return ret;
    k->arch->count = count;
    k->arch->physical = physical;
    if (physical && kvm_has_physical_count(k) && (ret = kvm_reg_set(k->vcpu[0], KVM_REG_ARM_PTIMER_CNT, &physical)) < 0)
        return ret;
    return kvm_count_set(k, count);
}
