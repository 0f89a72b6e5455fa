/*
 * Registers of vCPU 0 at the entry of a boot protocol. Page tables and descriptor table lie where arch/x86/boot.h says;
 * the hidden parts of segment registers are taken from the same descriptors.
 *
 * No interrupt descriptor table: an exception before the guest has one is a triple fault, and that a reset.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/boot.h"
#include "vmm/kvm/x86.h"

#define CR0_PE BIT64(0)
#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_WP BIT64(16)
#define CR0_PG BIT64(31)
#define CR4_PAE BIT64(5)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define RFLAGS_FIXED BIT64(1)

/* A descriptor of the boot GDT as the processor holds it (Intel SDM volume 3, 3.4.5). */
static struct kvm_segment x86_segment(unsigned selector)
{
    uint64_t d = x86_boot_gdt[selector / 8];
    uint32_t limit = (uint32_t)(bits64(d, 15, 0) | bits64(d, 51, 48) << 16);
    bool pages = bits64(d, 55, 55);

    return (struct kvm_segment){
        .base = bits64(d, 39, 16) | bits64(d, 63, 56) << 24,
        .limit = pages ? limit << 12 | 0xfff : limit,
        .selector = (uint16_t)selector,
        .type = (uint8_t)bits64(d, 43, 40),
        .s = (uint8_t)bits64(d, 44, 44),
        .dpl = (uint8_t)bits64(d, 46, 45),
        .present = (uint8_t)bits64(d, 47, 47),
        .avl = (uint8_t)bits64(d, 52, 52),
        .l = (uint8_t)bits64(d, 53, 53),
        .db = (uint8_t)bits64(d, 54, 54),
        .g = pages,
    };
}

static void x86_set_segments(struct kvm_sregs *s, unsigned code)
{
    s->cs = x86_segment(code);
    s->ds = s->es = s->fs = s->gs = s->ss = x86_segment(X86_BOOT_SEL_DATA);
    s->tr = x86_segment(X86_BOOT_SEL_TSS);
    s->ldt = (struct kvm_segment){.unusable = 1};
    s->gdt = (struct kvm_dtable){.base = X86_BOOT_GDT, .limit = X86_BOOT_GDT_ENTRIES * 8 - 1};
    s->idt = (struct kvm_dtable){0};
}

int kvm_arch_vcpu_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry, struct err *e)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct kvm_regs regs = {.rip = entry->pc, .rflags = RFLAGS_FIXED};
    struct kvm_sregs s;

    if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
        return err_set(e, errno, "the system registers of vCPU %u cannot be read: %s", vcpu->index, strerror(errno));
    switch (entry->mode) {
    case VCPU_MODE_X86_LONG:
        regs.rsi = entry->arg;
        x86_set_segments(&s, X86_BOOT_SEL_CODE64);
        s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
        s.cr3 = X86_BOOT_PML4;
        s.cr4 = CR4_PAE;
        s.efer = EFER_LME | EFER_LMA;
        break;
    case VCPU_MODE_X86_PVH:
        regs.rbx = entry->arg;
        x86_set_segments(&s, X86_BOOT_SEL_CODE32);
        s.cr0 = CR0_PE | CR0_ET;
        s.cr3 = s.cr4 = s.efer = 0;
        break;
    default: return err_set(e, EINVAL, "an x86-64 vCPU has no boot protocol %d", (int)entry->mode);
    }
    if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
        return err_set(e, errno, "the registers of vCPU %u cannot be set: %s", vcpu->index, strerror(errno));
    return 0;
}
