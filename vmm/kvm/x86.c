/*
 * KVM on x86-64: the VM with its in-kernel LAPICs, IOAPIC and PICs, and vCPUs as firmware would leave them.
 *
 * Interrupt lines lead to the IOAPIC and nowhere else: the machine's ACPI tables say that there is no PIC, and a guest
 * that believes them never masks one, whose unmasked pins would reach it through LINT0. There is no PIT: kvmclock and
 * the TSC deadline timer need no calibration.
 *
 * Secondary vCPUs wait for INIT and SIPI inside the kernel.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/msr.h"
#include "vmm/base/log.h"
#include "vmm/kvm/x86.h"

/* Where Intel processors without unrestricted guest mode keep what real mode needs; below 4 GiB, not RAM, and not used
 * by anything else (three pages, and one below them). */
#define X86_TSS_ADDR 0xfffbd000u
#define X86_IDENTITY_MAP_ADDR 0xfffbc000u

#define X86_MAX_CPUS 255

#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LAPIC_MODE_NMI 0x400
#define LAPIC_MODE_EXTINT 0x700

const struct kvm_need kvm_arch_needs[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "interrupt controllers of its own"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "choice of what CPUID says"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "choice of where its task state segment lies"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR", "choice of where its identity map lies"},
    {KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER", "TSC deadline timer"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", "clock for guests that can be set"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "access to whether a vCPU has been started"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "access to a vCPU's pending events"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS", "access to a vCPU's debug registers"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "access to a vCPU's extended state"},
    {0, NULL, NULL},
};

long kvm_arch_vm_type(const struct kvm *k, struct err *e)
{
    (void)k;
    (void)e;
    return 0;
}

unsigned kvm_arch_lines(void)
{
    return X86_NGSIS;
}

uint32_t kvm_arch_line_irq(unsigned num)
{
    return num;
}

uint32_t kvm_arch_line_gsi(unsigned num)
{
    return num;
}

/* ---- the VM ---- */

/* Every pin of both PICs masked, as firmware leaves them that has told the guest of none. */
static int x86_mask_pics(struct kvm *k, struct kvm_irqchip chip[X86_NCHIPS])
{
    int r = x86_chips_get(k, chip);

    if (r < 0)
        return r;
    chip[KVM_IRQCHIP_PIC_MASTER].chip.pic.imr = 0xff;
    chip[KVM_IRQCHIP_PIC_SLAVE].chip.pic.imr = 0xff;
    return x86_chips_set(k, chip);
}

static int x86_create_chips(struct kvm *k, struct err *e)
{
    uint64_t identity = X86_IDENTITY_MAP_ADDR;
    int r;

    if (ioctl(k->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
        ioctl(k->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)X86_TSS_ADDR) < 0)
        return err_set(e, errno, "KVM does not take the places of its own tables: %s", strerror(errno));
    if (ioctl(k->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return err_set(e, errno, "KVM makes no interrupt controllers: %s", strerror(errno));
    r = x86_mask_pics(k, k->arch->power_on);
    return r < 0 ? err_set(e, -r, "the interrupt controllers cannot be set up: %s", strerror(-r)) : 0;
}

/* What KVM supports, made into what the guest sees. */
static int x86_build_cpuid(struct kvm *k, struct err *e)
{
    const struct x86_cpuid_config cfg = {
        .ncpus = k->cfg.ncpus,
        .max = k->cfg.cpu == KVM_CPU_MAX,
        .tsc_deadline = true,
    };
    struct kvm_cpuid2 *all = calloc(1, sizeof(*all) + X86_MAX_CPUID * sizeof(struct kvm_cpuid_entry2));
    int r;

    if (!all)
        return err_set(e, ENOMEM, "out of memory");
    all->nent = X86_MAX_CPUID;
    if (ioctl(k->dev_fd, KVM_GET_SUPPORTED_CPUID, all) < 0) {
        r = err_set(e, errno, "KVM does not say what CPUID it supports: %s", strerror(errno));
        goto out;
    }
    for (unsigned i = 0; i < all->nent; i++) {
        const struct kvm_cpuid_entry2 *c = &all->entries[i];

        k->arch->cpuid[i] = (struct x86_cpuid){
            .leaf = c->function,
            .index = c->index,
            .indexed = c->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = c->eax,
            .ebx = c->ebx,
            .ecx = c->ecx,
            .edx = c->edx,
        };
    }
    r = x86_cpuid_build(k->arch->cpuid, all->nent, X86_MAX_CPUID, &cfg);
    if (r < 0)
        err_set(e, -r, "this host's KVM supports more CPUID leaves than there is room for");
    else
        k->arch->ncpuid = (unsigned)r;
out:
    free(all);
    return MIN(r, 0);
}

int kvm_arch_create(struct kvm *k, struct err *e)
{
    int r;

    /* An APIC ID of 8 bits, of which one stands for all processors. */
    if (k->cfg.ncpus > X86_MAX_CPUS)
        return err_set_status(e, ERR_STATUS_CPUS, EINVAL, "%u vCPUs: %d are the most that can be numbered",
                              k->cfg.ncpus, X86_MAX_CPUS);
    k->arch = calloc(1, sizeof(*k->arch));
    if (!k->arch)
        return err_set(e, ENOMEM, "out of memory");
    if ((r = x86_create_chips(k, e)) < 0 || (r = x86_build_cpuid(k, e)) < 0)
        return r;
    return x86_state_init(k, e);
}

void kvm_arch_destroy(struct kvm *k)
{
    free(k->arch);
}

int kvm_arch_complete(struct accel *a, struct err *e)
{
    (void)a;
    (void)e;
    return 0;
}

int kvm_arch_reset(struct accel *a, struct err *e)
{
    struct kvm *k = kvm_of(a);
    int r = x86_chips_set(k, k->arch->power_on);

    return r < 0 ? err_set(e, -r, "the interrupt controllers cannot be reset: %s", strerror(-r)) : 0;
}

/* ---- vCPUs ---- */

static int x86_set_cpuid(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_arch *a = v->kvm->arch;
    struct kvm_cpuid2 *all = calloc(1, sizeof(*all) + a->ncpuid * sizeof(struct kvm_cpuid_entry2));
    int r = 0;

    if (!all)
        return err_set(e, ENOMEM, "out of memory for vCPU %u", v->vcpu.index);
    x86_cpuid_set_cpu(a->cpuid, a->ncpuid, v->vcpu.index);
    all->nent = a->ncpuid;
    for (unsigned i = 0; i < a->ncpuid; i++) {
        const struct x86_cpuid *c = &a->cpuid[i];

        all->entries[i] = (struct kvm_cpuid_entry2){
            .function = c->leaf,
            .index = c->index,
            .flags = c->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = c->eax,
            .ebx = c->ebx,
            .ecx = c->ecx,
            .edx = c->edx,
        };
    }
    if (ioctl(v->fd, KVM_SET_CPUID2, all) < 0)
        r = err_set(e, errno, "KVM does not take the CPUID of vCPU %u: %s", v->vcpu.index, strerror(errno));
    free(all);
    return r;
}

/* What firmware does to each processor: caches on, and the two local interrupt pins as the MP specification has them.
 */
static int x86_set_firmware_state(struct kvm_vcpu *v, struct err *e)
{
    static const struct {
        uint32_t msr;
        bool keep; /* the bits that KVM has set: features that the processor lacks */
        uint64_t val;
    } msrs[] = {
        {X86_MSR_MISC_ENABLE, true, X86_MISC_ENABLE_FAST_STRINGS},
        {X86_MSR_MTRR_DEF_TYPE, false, X86_MTRR_DEF_TYPE_ENABLE | X86_MTRR_WRITE_BACK},
        {X86_MSR_PAT, false, X86_PAT_RESET},
    };
    struct kvm_lapic_state lapic;
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
        uint64_t kept = 0;

        r = msrs[i].keep ? x86_msr_get(v, msrs[i].msr, &kept) : 0;
        if (r == 0)
            r = x86_msr_set(v, msrs[i].msr, kept | msrs[i].val);
        if (r < 0)
            return err_set(e, -r, "KVM does not set MSR 0x%x of vCPU %u: %s", msrs[i].msr, v->vcpu.index, strerror(-r));
    }
    if (ioctl(v->fd, KVM_GET_LAPIC, &lapic) < 0)
        return err_set(e, errno, "the LAPIC of vCPU %u cannot be read: %s", v->vcpu.index, strerror(errno));
    le32_put(&lapic.regs[LAPIC_LVT_LINT0], LAPIC_MODE_EXTINT);
    le32_put(&lapic.regs[LAPIC_LVT_LINT1], LAPIC_MODE_NMI);
    if (ioctl(v->fd, KVM_SET_LAPIC, &lapic) < 0)
        return err_set(e, errno, "the LAPIC of vCPU %u cannot be set: %s", v->vcpu.index, strerror(errno));
    return 0;
}

int kvm_arch_vcpu_create(struct kvm_vcpu *v, struct err *e)
{
    int r;

    v->arch = calloc(1, sizeof(*v->arch));
    if (!v->arch)
        return err_set(e, ENOMEM, "out of memory for vCPU %u", v->vcpu.index);
    if ((r = x86_set_cpuid(v, e)) < 0 || (r = x86_set_firmware_state(v, e)) < 0)
        return r;
    if (x86_state_alloc(&v->arch->power_on, v->kvm) < 0)
        return err_set(e, ENOMEM, "out of memory for vCPU %u", v->vcpu.index);
    r = x86_state_get(v, &v->arch->power_on);
    if (r == 0)
        r = x86_nested_get(v, &v->arch->no_nested);
    return r < 0 ? err_set(e, -r, "the state of vCPU %u cannot be read: %s", v->vcpu.index, strerror(-r)) : 0;
}

void kvm_arch_vcpu_destroy(struct kvm_vcpu *v)
{
    if (v->arch) {
        x86_state_free(&v->arch->power_on);
        free(v->arch->no_nested);
    }
    free(v->arch);
}

int kvm_arch_vcpu_reset(struct vcpu *vcpu, struct err *e)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    int r = x86_state_set(v, &v->arch->power_on);

    return r < 0 ? err_set(e, -r, "vCPU %u cannot be reset: %s", vcpu->index, strerror(-r)) : 0;
}

/* ---- exits ---- */

/* A string instruction makes `count` accesses to one port. */
static void x86_exit_port(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct bus *bus = v->kvm->cfg.pio;
    unsigned size = run->io.size;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    uint64_t since = kvm_stats_begin(v);

    for (unsigned i = 0; i < run->io.count; i++, data += size) {
        uint64_t val = 0;

        memcpy(&val, data, size);
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            if (bus)
                bus_write(bus, v->vcpu.index, GPA(run->io.port), size, val);
            continue;
        }
        if (!bus || bus_read(bus, v->vcpu.index, GPA(run->io.port), size, &val) < 0)
            val = UINT64_MAX;
        memcpy(data, &val, size);
    }
    kvm_stats_end(v, KVM_ACCESS_PORT, since);
}

int kvm_arch_vcpu_exit(struct kvm_vcpu *v)
{
    if (v->run->exit_reason != KVM_EXIT_IO)
        return -ENOSYS;
    x86_exit_port(v);
    return KVM_GO_ON;
}

/* Ones, and nothing else: what nobody answers on a PC's bus. */
void kvm_arch_vcpu_unmapped(struct kvm_vcpu *v)
{
    (void)v;
}

uint64_t kvm_arch_vcpu_pc(struct kvm_vcpu *v)
{
    struct kvm_regs regs;

    return ioctl(v->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

/* Basic exit reason 33 with the bit that says that no entry was made (Intel SDM volume 3, 27.8); VMEXIT_INVALID of the
 * AMD APM volume 2, appendix C. */
const char *kvm_arch_entry_failure(uint64_t reason)
{
    if (reason == 0x80000021 || reason == UINT64_MAX || reason == UINT32_MAX)
        return "the vCPU's state is not one that it accepts";
    return NULL;
}
