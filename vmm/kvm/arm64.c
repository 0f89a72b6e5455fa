/*
 * KVM on arm64: the VM and its vCPUs.
 *
 * A vCPU is the host's own (KVM_ARM_PREFERRED_TARGET), with everything that KVM offers of it: performance counters,
 * SVE at all vector lengths, pointer authentication. The interrupt controller, the generic timers and PSCI are the
 * kernel's; all vCPUs but the first begin powered off, wait inside KVM_RUN, and are started there by CPU_ON. Power off
 * and reset come out as system events.
 *
 * The guest's physical address space has as many bits as its RAM needs and no more: the fewer there are, the fewer
 * levels the second stage of translation walks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "vmm/base/log.h"
#include "vmm/kvm/arm64.h"

/* Without KVM_CAP_ARM_VM_IPA_SIZE a VM has this many (Documentation/virt/kvm/api.rst, 4.2). */
#define KVM_IPA_DEFAULT 40
#define KVM_IPA_MIN 32

#define KVM_MPIDR_EL1 ARM64_SYS_REG(3, 0, 0, 0, 5)

const struct kvm_need kvm_arch_needs[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "interrupt controller"},
    {KVM_CAP_DEVICE_CTRL, "KVM_CAP_DEVICE_CTRL", "way to set up an interrupt controller"},
    {KVM_CAP_ONE_REG, "KVM_CAP_ONE_REG", "access to registers"},
    {KVM_CAP_ARM_PSCI_0_2, "KVM_CAP_ARM_PSCI_0_2", "PSCI, by which guests start processors and power off"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "access to vCPUs' power states"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "access to pending aborts (Linux 4.19 has)"},
    {0, NULL, NULL},
};

/* Optional features of a vCPU, each there where all its capabilities are. */
static const struct {
    unsigned feature;
    int cap[2];
} kvm_features[] = {
    {KVM_ARM_VCPU_PMU_V3, {KVM_CAP_ARM_PMU_V3, KVM_CAP_ARM_PMU_V3}},
    {KVM_ARM_VCPU_SVE, {KVM_CAP_ARM_SVE, KVM_CAP_ARM_SVE}},
    /* Only together. */
    {KVM_ARM_VCPU_PTRAUTH_ADDRESS, {KVM_CAP_ARM_PTRAUTH_ADDRESS, KVM_CAP_ARM_PTRAUTH_GENERIC}},
    {KVM_ARM_VCPU_PTRAUTH_GENERIC, {KVM_CAP_ARM_PTRAUTH_ADDRESS, KVM_CAP_ARM_PTRAUTH_GENERIC}},
};

/* ---- the VM ---- */

static unsigned kvm_ram_bits(const struct mem *m)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < m->nregions; i++)
        last = MAX(last, m->region[i].base.v + (m->region[i].size - 1));
    return last ? 64 - (unsigned)__builtin_clzll(last) : 0;
}

long kvm_arch_vm_type(const struct kvm *k, struct err *e)
{
    int limit = ioctl(k->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);
    unsigned most = limit > 0 ? (unsigned)limit : KVM_IPA_DEFAULT, bits = kvm_ram_bits(k->cfg.mem);

    if (bits > most)
        return err_set_status(e, ERR_STATUS_MEMORY, ENOMEM,
                              "%llu MiB of memory: they end beyond the %u bits of address that this host's KVM gives",
                              (unsigned long long)(mem_ram_size(k->cfg.mem) >> 20), most);
    return limit > 0 ? (long)KVM_VM_TYPE_ARM_IPA_SIZE(MAX(bits, (unsigned)KVM_IPA_MIN)) : 0;
}

unsigned kvm_arch_lines(void)
{
    return KVM_ARM64_SPIS;
}

uint32_t kvm_arch_line_irq(unsigned num)
{
    return KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (num + 32);
}

/* The kernel's default routing: GSI n is SPI n. */
uint32_t kvm_arch_line_gsi(unsigned num)
{
    return num;
}

static void kvm_choose_features(struct kvm *k)
{
    struct kvm_vcpu_init *init = &k->arch->init;

    init->features[0] |= BIT32(KVM_ARM_VCPU_PSCI_0_2);
    for (unsigned i = 0; i < ARRAY_SIZE(kvm_features); i++)
        if (kvm_check(k, kvm_features[i].cap[0]) && kvm_check(k, kvm_features[i].cap[1]))
            init->features[kvm_features[i].feature / 32] |= BIT32(kvm_features[i].feature % 32);
}

/* Has KVM come to us where it cannot decode an access, rather than fail KVM_RUN (Linux 5.5). */
static void kvm_enable_nisv(const struct kvm *k)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_ARM_NISV_TO_USER};

    if (kvm_check(k, KVM_CAP_ARM_INJECT_EXT_DABT) && kvm_check(k, KVM_CAP_ARM_NISV_TO_USER) &&
        ioctl(k->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
        log_debug("kvm", "KVM_CAP_ARM_NISV_TO_USER: %s", strerror(errno));
}

int kvm_arch_create(struct kvm *k, struct err *e)
{
    k->arch = calloc(1, sizeof(*k->arch));
    if (!k->arch)
        return err_set(e, ENOMEM, "out of memory");
    k->arch->gic_fd = -1;
    if (ioctl(k->vm_fd, KVM_ARM_PREFERRED_TARGET, &k->arch->init) < 0)
        return err_set_status(e, ERR_STATUS_KVM_CAPABILITY, errno,
                              "this host's KVM makes no vCPUs like the processor that it runs on: %s", strerror(errno));
    kvm_choose_features(k);
    kvm_enable_nisv(k);
    return kvm_gic_create(k, e);
}

void kvm_arch_destroy(struct kvm *k)
{
    if (k->arch && k->arch->gic_fd >= 0)
        close(k->arch->gic_fd);
    free(k->arch);
}

bool kvm_arm64_has_pmu(const struct accel *a)
{
    return kvm_arm64_feature(container_of(a, const struct kvm, accel), KVM_ARM_VCPU_PMU_V3);
}

unsigned kvm_arm64_gic_version(const struct accel *a)
{
    return container_of(a, const struct kvm, accel)->arch->gic_version;
}

/* ---- vCPUs ---- */

/* Also takes a vCPU back to its reset state. */
static int kvm_vcpu_init(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_vcpu_init init = v->kvm->arch->init;

    if (v->vcpu.index > 0)
        init.features[0] |= BIT32(KVM_ARM_VCPU_POWER_OFF);
    if (ioctl(v->fd, KVM_ARM_VCPU_INIT, &init) < 0)
        return err_set(e, errno, "KVM does not reset vCPU %u: %s", v->vcpu.index, strerror(errno));
    return 0;
}

int kvm_arch_vcpu_create(struct kvm_vcpu *v, struct err *e)
{
    int sve = KVM_ARM_VCPU_SVE, r;

    v->arch = calloc(1, sizeof(*v->arch));
    if (!v->arch)
        return err_set(e, ENOMEM, "out of memory for vCPU %u", v->vcpu.index);
    r = kvm_vcpu_init(v, e);
    if (r < 0)
        return r;
    if (kvm_arm64_feature(v->kvm, KVM_ARM_VCPU_SVE) && ioctl(v->fd, KVM_ARM_VCPU_FINALIZE, &sve) < 0)
        return err_set(e, errno, "KVM gives vCPU %u no SVE: %s", v->vcpu.index, strerror(errno));
    r = kvm_reg_get(v, KVM_MPIDR_EL1, &v->arch->mpidr);
    return r < 0 ? err_set(e, -r, "vCPU %u has no number: %s", v->vcpu.index, strerror(-r)) : 0;
}

void kvm_arch_vcpu_destroy(struct kvm_vcpu *v)
{
    free(v->arch);
}

/* The counters' overflow interrupt, a PPI of each vCPU. */
static int kvm_pmu_complete(const struct kvm_vcpu *v, struct err *e)
{
    uint32_t intid = v->kvm->cfg.pmu_ppi;
    struct kvm_device_attr attr[] = {
        {.group = KVM_ARM_VCPU_PMU_V3_CTRL, .attr = KVM_ARM_VCPU_PMU_V3_IRQ, .addr = (uintptr_t)&intid},
        {.group = KVM_ARM_VCPU_PMU_V3_CTRL, .attr = KVM_ARM_VCPU_PMU_V3_INIT},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(attr); i++)
        if (ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr[i]) < 0)
            return err_set(e, errno, "KVM gives vCPU %u no performance counters: %s", v->vcpu.index, strerror(errno));
    return 0;
}

int kvm_arch_complete(struct accel *a, struct err *e)
{
    struct kvm *k = kvm_of(a);
    int r = kvm_gic_complete(k, e);

    for (unsigned i = 0; i < k->cfg.ncpus && r == 0 && kvm_arm64_has_pmu(a); i++)
        r = kvm_pmu_complete(k->vcpu[i], e);
    return r;
}

int kvm_arch_reset(struct accel *a, struct err *e)
{
    int r = kvm_gic_reset(kvm_of(a));

    return r < 0 ? err_set(e, -r, "KVM does not reset the interrupt controller: %s", strerror(-r)) : 0;
}

int kvm_arch_vcpu_reset(struct vcpu *vcpu, struct err *e)
{
    return kvm_vcpu_init(kvm_vcpu_of(vcpu), e);
}

/* Arm64's boot protocol wants what a reset leaves: EL1h, interrupts masked, MMU off. */
int kvm_arch_vcpu_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry, struct err *e)
{
    int r = kvm_arch_set_reg(vcpu, ARM64_REG_PC, &entry->pc, sizeof(entry->pc));

    if (r == 0)
        r = kvm_arch_set_reg(vcpu, ARM64_REG_X0, &entry->arg, sizeof(entry->arg));
    return r < 0 ? err_set(e, -r, "vCPU %u takes no entry point: %s", vcpu->index, strerror(-r)) : 0;
}

/* ---- exits ---- */

/* Has the guest's access end in an external abort, as one to a bus that nobody answers on. */
static int kvm_inject_abort(const struct kvm_vcpu *v)
{
    struct kvm_vcpu_events events = {.exception.ext_dabt_pending = 1};

    return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ? -errno : 0;
}

/* As on this board under the JIT. A kernel that cannot inject one has the access end as on a PC. */
void kvm_arch_vcpu_unmapped(struct kvm_vcpu *v)
{
    kvm_inject_abort(v);
}

/*
 * The processor describes loads and stores of one general register, and nothing else: for a pair, a vector or a form
 * with write-back KVM does not know what was accessed how. Drivers use no such instructions on devices.
 */
static int kvm_exit_nisv(struct kvm_vcpu *v)
{
    unsigned long long addr = v->run->arm_nisv.fault_ipa, pc = kvm_arch_vcpu_pc(v);
    int r = kvm_inject_abort(v);

    if (r < 0) {
        log_error("kvm", "vCPU %u at 0x%llx: no abort for an access that KVM cannot decode, to 0x%llx: %s",
                  v->vcpu.index, pc, addr, strerror(-r));
        return VCPU_EXIT_ERROR;
    }
    log_guest("kvm",
              "vCPU %u at 0x%llx: KVM cannot decode an access to 0x%llx (a pair, vector or write-back form); it "
              "gets an external abort",
              v->vcpu.index, pc, addr);
    return KVM_GO_ON;
}

int kvm_arch_vcpu_exit(struct kvm_vcpu *v)
{
    return v->run->exit_reason == KVM_EXIT_ARM_NISV ? kvm_exit_nisv(v) : -ENOSYS;
}

uint64_t kvm_arch_vcpu_pc(struct kvm_vcpu *v)
{
    uint64_t pc = 0;

    kvm_arch_get_reg(&v->vcpu, ARM64_REG_PC, &pc, sizeof(pc));
    return pc;
}

const char *kvm_arch_entry_failure(uint64_t reason)
{
    return reason & KVM_EXIT_FAIL_ENTRY_CPU_UNSUPPORTED
               ? "this host has processors of several kinds, and the thread came to one of another kind than the vCPU's"
               : NULL;
}
