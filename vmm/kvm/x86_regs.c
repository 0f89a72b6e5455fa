/*
 * Single registers by arch/x86/regs.h's numbers. Each is a place in one of four of KVM's structures; x87 and SSE
 * registers are taken from the XSAVE area, whose beginning has the layout of FXSAVE (Intel SDM volume 1, 10.5.1).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/msr.h"
#include "arch/x86/regs.h"
#include "vmm/kvm/x86.h"

#define FXSAVE_FTW 4
#define FXSAVE_FIP 8
#define FXSAVE_FDP 16
#define FXSAVE_ST0 32
#define FXSAVE_XMM0 160
#define XSAVE_XSTATE_BV 512
#define XSTATE_X87_SSE 0x3

enum x86_class { CLASS_NONE, CLASS_REGS, CLASS_SREGS, CLASS_XSAVE, CLASS_MSR };

/* `held` bytes at `off` of the structure; the register is as wide as `width` says, with zeroes above. */
struct x86_place {
    uint8_t class, width, held;
    uint16_t off;
};

#define IN_REGS(member, w)                                                                                             \
    {                                                                                                                  \
        CLASS_REGS, w, w, offsetof(struct kvm_regs, member)                                                            \
    }
#define IN_SREGS(member)                                                                                               \
    {                                                                                                                  \
        CLASS_SREGS, 8, 8, offsetof(struct kvm_sregs, member)                                                          \
    }
#define SELECTOR(member)                                                                                               \
    {                                                                                                                  \
        CLASS_SREGS, 4, 2, offsetof(struct kvm_sregs, member.selector)                                                 \
    }
#define IN_FXSAVE(w, held, off)                                                                                        \
    {                                                                                                                  \
        CLASS_XSAVE, w, held, off                                                                                      \
    }

static const struct x86_place x86_places[X86_NREGS] = {
    [X86_REG_RAX] = IN_REGS(rax, 8),
    [X86_REG_RBX] = IN_REGS(rbx, 8),
    [X86_REG_RCX] = IN_REGS(rcx, 8),
    [X86_REG_RDX] = IN_REGS(rdx, 8),
    [X86_REG_RSI] = IN_REGS(rsi, 8),
    [X86_REG_RDI] = IN_REGS(rdi, 8),
    [X86_REG_RBP] = IN_REGS(rbp, 8),
    [X86_REG_RSP] = IN_REGS(rsp, 8),
    [X86_REG_R8] = IN_REGS(r8, 8),
    [X86_REG_R9] = IN_REGS(r9, 8),
    [X86_REG_R10] = IN_REGS(r10, 8),
    [X86_REG_R11] = IN_REGS(r11, 8),
    [X86_REG_R12] = IN_REGS(r12, 8),
    [X86_REG_R13] = IN_REGS(r13, 8),
    [X86_REG_R14] = IN_REGS(r14, 8),
    [X86_REG_R15] = IN_REGS(r15, 8),
    [X86_REG_RIP] = IN_REGS(rip, 8),
    [X86_REG_EFLAGS] = IN_REGS(rflags, 4),
    [X86_REG_CS] = SELECTOR(cs),
    [X86_REG_SS] = SELECTOR(ss),
    [X86_REG_DS] = SELECTOR(ds),
    [X86_REG_ES] = SELECTOR(es),
    [X86_REG_FS] = SELECTOR(fs),
    [X86_REG_GS] = SELECTOR(gs),
    [X86_REG_FCTRL] = IN_FXSAVE(4, 2, 0),
    [X86_REG_FSTAT] = IN_FXSAVE(4, 2, 2),
    [X86_REG_FTAG] = IN_FXSAVE(4, 1, FXSAVE_FTW), /* a bit a register; see x86_full_tag */
    [X86_REG_FISEG] = IN_FXSAVE(4, 2, FXSAVE_FIP + 4),
    [X86_REG_FIOFF] = IN_FXSAVE(4, 4, FXSAVE_FIP),
    [X86_REG_FOSEG] = IN_FXSAVE(4, 2, FXSAVE_FDP + 4),
    [X86_REG_FOOFF] = IN_FXSAVE(4, 4, FXSAVE_FDP),
    [X86_REG_FOP] = IN_FXSAVE(4, 2, 6),
    [X86_REG_MXCSR] = IN_FXSAVE(4, 4, 24),
    [X86_REG_FS_BASE] = IN_SREGS(fs.base),
    [X86_REG_GS_BASE] = IN_SREGS(gs.base),
    [X86_REG_KERNEL_GS_BASE] = {CLASS_MSR, 8, 8, 0},
    [X86_REG_CR0] = IN_SREGS(cr0),
    [X86_REG_CR2] = IN_SREGS(cr2),
    [X86_REG_CR3] = IN_SREGS(cr3),
    [X86_REG_CR4] = IN_SREGS(cr4),
    [X86_REG_CR8] = IN_SREGS(cr8),
    [X86_REG_EFER] = IN_SREGS(efer),
};

/* CLASS_NONE where there is none of that number. */
static struct x86_place x86_find_place(unsigned reg)
{
    if (reg >= X86_REG_ST0 && reg < X86_REG_ST0 + 8)
        return (struct x86_place)IN_FXSAVE(10, 10, (uint16_t)(FXSAVE_ST0 + 16 * (reg - X86_REG_ST0)));
    if (reg >= X86_REG_XMM0 && reg < X86_REG_XMM0 + 16)
        return (struct x86_place)IN_FXSAVE(16, 16, (uint16_t)(FXSAVE_XMM0 + 16 * (reg - X86_REG_XMM0)));
    return reg < X86_NREGS ? x86_places[reg] : (struct x86_place){0};
}

/* The structure that holds a register. */
struct x86_holder {
    union {
        struct kvm_regs regs;
        struct kvm_sregs sregs;
        uint64_t msr;
    } small;
    struct kvm_xsave *xsave;
};

static char *x86_holder_data(struct x86_holder *h, const struct x86_place *p)
{
    return (p->class == CLASS_XSAVE ? (char *)h->xsave : (char *)&h->small) + p->off;
}

static int x86_read_holder(struct kvm_vcpu *v, const struct x86_place *p, struct x86_holder *h)
{
    size_t xsave_size = v->kvm->arch->xsave_size;
    int r = 0;

    switch (p->class) {
    case CLASS_REGS: r = ioctl(v->fd, KVM_GET_REGS, &h->small.regs); break;
    case CLASS_SREGS: r = ioctl(v->fd, KVM_GET_SREGS, &h->small.sregs); break;
    case CLASS_MSR: return x86_msr_get(v, X86_MSR_KERNEL_GS_BASE, &h->small.msr);
    default:
        h->xsave = calloc(1, xsave_size);
        if (!h->xsave)
            return -ENOMEM;
        r = ioctl(v->fd, xsave_size > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, h->xsave);
        break;
    }
    return r < 0 ? -errno : 0;
}

static int x86_write_holder(struct kvm_vcpu *v, const struct x86_place *p, struct x86_holder *h)
{
    int r;

    switch (p->class) {
    case CLASS_REGS: r = ioctl(v->fd, KVM_SET_REGS, &h->small.regs); break;
    case CLASS_SREGS: r = ioctl(v->fd, KVM_SET_SREGS, &h->small.sregs); break;
    case CLASS_MSR: return x86_msr_set(v, X86_MSR_KERNEL_GS_BASE, h->small.msr);
    default:
        /* Components that the area calls initial would be taken as such. */
        *((char *)h->xsave + XSAVE_XSTATE_BV) |= XSTATE_X87_SSE;
        r = ioctl(v->fd, KVM_SET_XSAVE, h->xsave);
        break;
    }
    return r < 0 ? -errno : 0;
}

/* Two bits a register, of which gdb looks at "empty" (3) alone; FXSAVE keeps a bit, set for what is not empty. */
static uint32_t x86_full_tag(uint8_t kept)
{
    uint32_t full = 0;

    for (unsigned i = 0; i < 8; i++)
        if (!(kept & BIT32(i)))
            full |= 3u << (2 * i);
    return full;
}

static uint8_t x86_kept_tag(uint32_t full)
{
    uint8_t kept = 0;

    for (unsigned i = 0; i < 8; i++)
        if ((full >> (2 * i) & 3) != 3)
            kept |= (uint8_t)BIT32(i);
    return kept;
}

int kvm_arch_get_reg(struct vcpu *vcpu, unsigned reg, void *buf, size_t len)
{
    struct x86_place p = x86_find_place(reg);
    struct x86_holder h = {0};
    uint32_t tag;
    int r;

    if (p.class == CLASS_NONE)
        return -ENOENT;
    if (len != p.width)
        return -EINVAL;
    r = x86_read_holder(kvm_vcpu_of(vcpu), &p, &h);
    if (r == 0) {
        memset(buf, 0, len);
        memcpy(buf, x86_holder_data(&h, &p), p.held);
        if (reg == X86_REG_FTAG) {
            tag = x86_full_tag(*(uint8_t *)buf);
            memcpy(buf, &tag, sizeof(tag));
        }
    }
    free(h.xsave);
    return r;
}

int kvm_arch_set_reg(struct vcpu *vcpu, unsigned reg, const void *buf, size_t len)
{
    struct x86_place p = x86_find_place(reg);
    struct x86_holder h = {0};
    uint8_t tag;
    int r;

    if (p.class == CLASS_NONE)
        return -ENOENT;
    if (len != p.width)
        return -EINVAL;
    if (reg == X86_REG_FTAG) {
        tag = x86_kept_tag(le32_get(buf));
        buf = &tag;
    }
    r = x86_read_holder(kvm_vcpu_of(vcpu), &p, &h);
    if (r == 0) {
        memcpy(x86_holder_data(&h, &p), buf, p.held);
        r = x86_write_holder(kvm_vcpu_of(vcpu), &p, &h);
    }
    free(h.xsave);
    return r;
}
