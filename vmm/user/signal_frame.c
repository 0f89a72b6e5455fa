/*
 * Signal frames as arch/arm64/kernel/signal.c lays them out: siginfo and ucontext on the guest's stack, in the
 * context's reserved area the FP/SIMD record, after a fault the syndrome, and a terminator; above all that a frame
 * record, so that unwinders find the interrupted frame.
 */
#include <errno.h>
#include <string.h>

#include "jit/ops.h"
#include "vmm/user/access.h"
#include "vmm/user/cpu.h"
#include "vmm/user/executor.h"
#include "vmm/user/proc.h"
#include "vmm/user/signal.h"
#include "vmm/user/syscall.h"

uint64_t user_signal_trampoline;

/* What a program may set of PSTATE beside the flags. */
#define PSTATE_USER (PSTATE_DIT | PSTATE_SSBS | PSTATE_BTYPE)
/* What must be zero in a context that is returned to: mode, masks, and the bits of AArch32. */
#define PSTATE_FORBIDDEN (BIT32(4) | PSTATE_EL | PSTATE_SP | PSTATE_DAIF)

/* ---- the alternate stack ---- */

static bool on_altstack(const struct user_thread *t, uint64_t sp)
{
    if (t->altstack.flags & (int32_t)ABI_SS_AUTODISARM)
        return false;
    return t->altstack.size && sp > t->altstack.sp && sp - t->altstack.sp <= t->altstack.size;
}

/* What sigaltstack(2) and the frame show. */
static struct abi_stack altstack_shown(const struct user_thread *t)
{
    struct abi_stack s = t->altstack;

    if (!s.size)
        s.flags |= ABI_SS_DISABLE;
    else if (on_altstack(t, t->cpu->x[31]))
        s.flags |= ABI_SS_ONSTACK;
    return s;
}

static int altstack_set(struct user_thread *t, const struct abi_stack *n)
{
    int32_t mode = n->flags & ~(int32_t)ABI_SS_AUTODISARM;

    if (on_altstack(t, t->cpu->x[31]))
        return -EPERM;
    if (mode != 0 && mode != ABI_SS_ONSTACK && mode != ABI_SS_DISABLE)
        return -EINVAL;
    if (mode == ABI_SS_DISABLE) {
        t->altstack = (struct abi_stack){.flags = n->flags & (int32_t)ABI_SS_AUTODISARM};
        return 0;
    }
    if (n->size < ABI_MINSIGSTKSZ)
        return -ENOMEM;
    t->altstack = (struct abi_stack){.sp = n->sp, .size = n->size, .flags = n->flags & (int32_t)ABI_SS_AUTODISARM};
    return 0;
}

int64_t user_call_sigaltstack(struct user_thread *t, const uint64_t a[6])
{
    struct abi_stack old = altstack_shown(t), n;

    if (a[0]) {
        if (user_copy_in(&n, a[0], sizeof(n)))
            return -EFAULT;
        int r = altstack_set(t, &n);
        if (r)
            return r;
    }
    return a[1] && user_copy_out(a[1], &old, sizeof(old)) ? -EFAULT : 0;
}

/* ---- building ---- */

static void put_records(const struct user_thread *t, uint8_t *p)
{
    const struct arm64_cpu *c = t->cpu;
    struct abi_fpsimd_context fp = {.head = {ABI_FPSIMD_MAGIC, sizeof(fp)}, .fpsr = c->fpsr, .fpcr = c->fpcr};

    memcpy(fp.v, c->v, sizeof(fp.v));
    memcpy(p, &fp, sizeof(fp));
    p += sizeof(fp);
    if (t->fault_code) {
        struct abi_esr_context esr = {.head = {ABI_ESR_MAGIC, sizeof(esr)}, .esr = t->fault_code};
        memcpy(p, &esr, sizeof(esr));
        p += sizeof(esr);
    }
    memset(p, 0, sizeof(struct abi_context_head));
}

static void fill_frame(const struct user_thread *t, const struct abi_siginfo *info, struct abi_rt_sigframe *f)
{
    const struct arm64_cpu *c = t->cpu;
    struct abi_sigcontext *m = &f->uc.mcontext;

    memset(f, 0, sizeof(*f));
    f->info = *info;
    f->uc.stack = altstack_shown(t);
    f->uc.sigmask = t->restore_mask ? t->saved_mask : t->mask;
    m->fault_address = t->fault_address;
    memcpy(m->regs, c->x, sizeof(m->regs));
    m->sp = c->x[31];
    m->pc = c->pc;
    m->pstate = arm64_nzcv(c) | (c->pstate_misc & PSTATE_USER);
    put_records(t, m->reserved);
}

int user_signal_frame_push(struct user_thread *t, const struct abi_siginfo *info, const struct abi_sigaction *sa)
{
    struct arm64_cpu *c = t->cpu;
    struct abi_frame_record record = {c->x[29], c->x[30]};
    struct abi_rt_sigframe frame;
    uint64_t sp = c->x[31], record_at, frame_at;

    if ((sa->flags & ABI_SA_ONSTACK) && t->altstack.size && !on_altstack(t, sp))
        sp = t->altstack.sp + t->altstack.size;
    record_at = align_down(sp - sizeof(record), 16);
    frame_at = record_at - sizeof(frame);
    user_executor_fp_sync(c);
    fill_frame(t, info, &frame);
    if (user_copy_out(frame_at, &frame, sizeof(frame)) || user_copy_out(record_at, &record, sizeof(record)))
        return -EFAULT;

    if (t->altstack.flags & (int32_t)ABI_SS_AUTODISARM)
        t->altstack = (struct abi_stack){0};
    c->x[0] = (uint64_t)info->signo;
    if (sa->flags & ABI_SA_SIGINFO) {
        c->x[1] = frame_at + offsetof(struct abi_rt_sigframe, info);
        c->x[2] = frame_at + offsetof(struct abi_rt_sigframe, uc);
    }
    c->x[29] = record_at;
    c->x[30] = sa->flags & ABI_SA_RESTORER ? sa->restorer : user_signal_trampoline;
    c->x[31] = frame_at;
    c->pc = sa->handler;
    c->pstate_misc &= ~PSTATE_BTYPE;
    c->ops->clear_excl(c);
    return 0;
}

/* ---- returning ---- */

/* Finds the FP/SIMD record; what is behind a record that this CPU has not is skipped as the kernel would refuse it. */
static int load_records(struct arm64_cpu *c, const uint8_t *p, size_t left)
{
    struct abi_context_head h;
    struct abi_fpsimd_context fp;
    bool seen = false;

    for (;; p += h.size, left -= h.size) {
        if (left < sizeof(h))
            return -EFAULT;
        memcpy(&h, p, sizeof(h));
        if (!h.magic)
            return seen && !h.size ? 0 : -EFAULT;
        if (h.size < sizeof(h) || h.size > left || h.size % 16)
            return -EFAULT;
        switch (h.magic) {
        case ABI_FPSIMD_MAGIC:
            if (seen || h.size != sizeof(fp))
                return -EFAULT;
            memcpy(&fp, p, sizeof(fp));
            memcpy(c->v, fp.v, sizeof(fp.v));
            c->fpsr = fp.fpsr & USER_FPSR_MASK;
            c->fpcr = fp.fpcr & USER_FPCR_MASK;
            user_executor_fp_changed(c);
            seen = true;
            break;
        case ABI_ESR_MAGIC: break;
        default: return -EFAULT;
        }
    }
}

int user_signal_frame_pop(struct user_thread *t)
{
    struct arm64_cpu *c = t->cpu;
    struct abi_rt_sigframe f;
    const struct abi_sigcontext *m = &f.uc.mcontext;

    int r;

    if ((c->x[31] & 15) || user_copy_in(&f, c->x[31], sizeof(f)))
        return -EFAULT;
    /* First of all: a signal that came before the return meets the handler's mask. */
    r = user_signal_set_mask(t, f.uc.sigmask);
    if (r)
        return r;
    memcpy(c->x, m->regs, sizeof(m->regs));
    c->x[31] = m->sp;
    c->pc = m->pc;
    arm64_set_nzcv(c, (uint32_t)m->pstate);
    c->pstate_misc = (c->pstate_misc & ~PSTATE_USER) | ((uint32_t)m->pstate & PSTATE_USER);
    c->ops->clear_excl(c);
    t->whole = true;
    if (m->pstate & PSTATE_FORBIDDEN)
        return -EFAULT;
    if (load_records(c, m->reserved, sizeof(m->reserved)))
        return -EFAULT;
    /* As the kernel: what sigaltstack would refuse is not restored, and no error. */
    altstack_set(t, &f.uc.stack);
    return 0;
}

struct above {
    uint64_t addr;
    bool found;
};

static void look_above(void *opaque, const struct user_proc_mapping *m)
{
    struct above *a = opaque;

    a->found |= m->end > a->addr;
}

/* The code of a bad frame's SIGSEGV: not whether the address is mapped, but whether anything is at or above it
 * (arm64_notify_segfault of the kernel). */
static int bad_frame_code(uint64_t sp)
{
    struct above a = {.addr = sp & (BIT64(56) - 1)};

    if (user_proc_for_each_mapping(look_above, &a))
        return ABI_SEGV_ACCERR; /* no /proc: the stack is nearly always there */
    return a.found ? ABI_SEGV_ACCERR : ABI_SEGV_MAPERR;
}

int64_t user_call_rt_sigreturn(struct user_thread *t, const uint64_t a[6])
{
    uint64_t sp = t->cpu->x[31];
    int r;

    (void)a;
    r = user_signal_frame_pop(t);
    if (r == -SYS_RESTART)
        return r;
    if (r) {
        t->fault = (struct user_fault){.sig = ABI_SIGSEGV, .code = bad_frame_code(sp), .addr = sp};
        t->event = USER_EVENT_FAULT;
    }
    return -USER_NO_RESULT;
}
