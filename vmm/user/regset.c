/*
 * Register sets of a stopped tracee as arch/arm64/kernel/ptrace.c lays them out, read from and written to its
 * struct user_thread and struct arm64_cpu.
 */
#include <elf.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/cpu.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"
#include "vmm/user/trace.h"

#define REGSET_HW_BREAK 0x402
#define REGSET_HW_WATCH 0x403
#define REGSET_SYSTEM_CALL 0x404

#define HW_SLOTS 16 /* in the layout */
#define HW_ARCH 6u  /* ID_AA64DFR0_EL1.DebugVer: Armv8.0 */

#define PSTATE_USER (PSTATE_N | PSTATE_Z | PSTATE_C | PSTATE_V | PSTATE_DIT | PSTATE_SSBS | PSTATE_BTYPE)
/* AArch32's state bit, and the exception level: what the kernel refuses or clears. */
#define PSTATE_MODE (BIT32(4) | PSTATE_EL | PSTATE_SP)

struct general_regs {
    uint64_t x[31], sp, pc, pstate;
};

struct fpsimd_state {
    uint64_t v[32][2];
    uint32_t fpsr, fpcr, reserved[2];
};

struct hw_state {
    uint32_t info, pad;
    struct {
        uint64_t addr;
        uint32_t ctrl, pad;
    } reg[HW_SLOTS];
};

union regset {
    struct general_regs regs;
    struct fpsimd_state fp;
    uint64_t tls[2];
    int32_t nr;
    struct hw_state hw;
};

struct state {
    struct user_thread thread;
    struct arm64_cpu cpu;
};

static int load(const struct user_tracee *e, struct state *s)
{
    int r;

    if (e->foreign)
        return -EIO;
    r = user_tracee_read(e, e->thread, &s->thread, sizeof(s->thread));
    if (r)
        return r;
    if (s->thread.trace.self != e->thread || !s->thread.cpu)
        return -ESRCH;
    return user_tracee_read(e, (uint64_t)(uintptr_t)s->thread.cpu, &s->cpu, sizeof(s->cpu));
}

/* A CPU's fields in a tracee. */
#define PUT_CPU(e, s, field)                                                                                           \
    user_tracee_write(e, (uint64_t)(uintptr_t)(s)->thread.cpu + offsetof(struct arm64_cpu, field), &(s)->cpu.field,    \
                      sizeof((s)->cpu.field))

/* ---- debug registers ---- */

static struct user_hw_point *points(struct user_trace *tr, uint64_t type, unsigned *n)
{
    *n = type == REGSET_HW_BREAK ? USER_HW_BREAKS : USER_HW_WATCHES;
    return type == REGSET_HW_BREAK ? tr->hw : tr->hw + USER_HW_BREAKS;
}

static void fill_points(const struct state *s, uint64_t type, struct hw_state *out)
{
    struct user_trace tr = s->thread.trace;
    unsigned n;
    const struct user_hw_point *p = points(&tr, type, &n);

    out->info = HW_ARCH << 8 | n;
    for (unsigned i = 0; i < n; i++) {
        out->reg[i].addr = p[i].addr;
        out->reg[i].ctrl = p[i].ctrl;
    }
}

/* What the kernel takes (ptrace_hbp_fill_attr_ctrl, arch_bp_generic_fields), as it shows it afterwards. */
static int check_point(uint64_t type, uint64_t addr, uint32_t ctrl, struct user_hw_point *p)
{
    uint32_t bytes = USER_HW_BYTES(ctrl);

    if (addr >= USER_TASK_SIZE)
        return -EINVAL;
    if (!(ctrl & USER_HW_ENABLED)) {
        *p = (struct user_hw_point){addr, p->ctrl & ~USER_HW_ENABLED};
        return 0;
    }
    if ((type == REGSET_HW_BREAK) != (USER_HW_TYPE(ctrl) == 0))
        return -EINVAL;
    /* One run of bytes; of an instruction, all four. */
    if (!bytes || ((bytes >> __builtin_ctz(bytes)) & ((bytes >> __builtin_ctz(bytes)) + 1)))
        return -EINVAL;
    if (type == REGSET_HW_BREAK && bytes != 0xf)
        return -EINVAL;
    if (type == REGSET_HW_WATCH)
        bytes = bytes << (addr & 7) & 0xff;
    *p = (struct user_hw_point){align_down(addr, type == REGSET_HW_BREAK ? 4 : 8),
                                bytes << 5 | USER_HW_TYPE(ctrl) << 3 | USER_HW_EL0 | USER_HW_ENABLED};
    return 0;
}

static int store_points(const struct user_tracee *e, struct state *s, uint64_t type, const struct hw_state *in)
{
    struct user_trace *tr = &s->thread.trace;
    uint64_t at = e->thread + offsetof(struct user_thread, trace);
    unsigned n;
    struct user_hw_point *p = points(tr, type, &n);
    int r = 0;

    for (unsigned i = 0; !r && i < n; i++)
        r = check_point(type, in->reg[i].addr, in->reg[i].ctrl, &p[i]);
    for (unsigned i = n; !r && i < HW_SLOTS; i++)
        r = in->reg[i].ctrl & USER_HW_ENABLED ? -ENOSPC : 0;
    /* Those before a bad one count, as they do in the kernel. */
    tr->hw_changed = 1;
    if (user_tracee_write(e, at + offsetof(struct user_trace, hw), tr->hw, sizeof(tr->hw)) ||
        user_tracee_write(e, at + offsetof(struct user_trace, hw_changed), &tr->hw_changed, sizeof(tr->hw_changed)))
        return -ESRCH;
    return r;
}

/* ---- conversion ---- */

static int fill(const struct state *s, uint64_t type, union regset *r, uint64_t *size)
{
    const struct arm64_cpu *c = &s->cpu;

    memset(r, 0, sizeof(*r));
    switch (type) {
    case NT_PRSTATUS:
        memcpy(r->regs.x, c->x, sizeof(r->regs.x));
        r->regs.sp = c->x[31];
        r->regs.pc = c->pc;
        r->regs.pstate = arm64_nzcv(c) | (c->pstate_misc & PSTATE_USER);
        *size = sizeof(r->regs);
        return 0;
    case NT_FPREGSET:
        memcpy(r->fp.v, c->v, sizeof(r->fp.v));
        r->fp.fpsr = c->fpsr;
        r->fp.fpcr = c->fpcr;
        *size = sizeof(r->fp);
        return 0;
    case NT_ARM_TLS:
        r->tls[0] = c->sys.tpidr_el0;
        *size = sizeof(r->tls);
        return 0;
    case REGSET_SYSTEM_CALL:
        r->nr = s->thread.trace.nr;
        *size = sizeof(r->nr);
        return 0;
    case REGSET_HW_BREAK:
    case REGSET_HW_WATCH:
        fill_points(s, type, &r->hw);
        *size = sizeof(r->hw);
        return 0;
    default: return -EINVAL;
    }
}

static int store(const struct user_tracee *e, struct state *s, uint64_t type, const union regset *r)
{
    struct arm64_cpu *c = &s->cpu;
    int bad = 0;

    switch (type) {
    case NT_PRSTATUS:
        if (r->regs.pstate & PSTATE_MODE)
            return -EINVAL;
        memcpy(c->x, r->regs.x, sizeof(r->regs.x));
        c->x[31] = r->regs.sp;
        c->pc = r->regs.pc;
        arm64_set_nzcv(c, (uint32_t)r->regs.pstate);
        c->pstate_misc =
            (c->pstate_misc & ~PSTATE_USER) | ((uint32_t)r->regs.pstate & (PSTATE_DIT | PSTATE_SSBS | PSTATE_BTYPE));
        bad = PUT_CPU(e, s, x);
        bad = bad ? bad : PUT_CPU(e, s, pc);
        bad = bad ? bad : PUT_CPU(e, s, flags);
        return bad ? bad : PUT_CPU(e, s, pstate_misc);
    case NT_FPREGSET:
        memcpy(c->v, r->fp.v, sizeof(r->fp.v));
        c->fpsr = r->fp.fpsr & USER_FPSR_MASK;
        c->fpcr = r->fp.fpcr & USER_FPCR_MASK;
        bad = PUT_CPU(e, s, v);
        bad = bad ? bad : PUT_CPU(e, s, fpsr);
        return bad ? bad : PUT_CPU(e, s, fpcr);
    case NT_ARM_TLS: c->sys.tpidr_el0 = r->tls[0]; return PUT_CPU(e, s, sys.tpidr_el0);
    case REGSET_SYSTEM_CALL:
        return user_tracee_write(e, e->thread + offsetof(struct user_thread, trace.nr), &r->nr, sizeof(r->nr));
    default: return store_points(e, s, type, &r->hw);
    }
}

/* ---- requests ---- */

struct vector {
    uint64_t base, len;
};

/* What both requests begin with: the guest's vector, its length cut to that of the set, and the set as it is. */
static int begin(const struct user_tracee *e, uint64_t type, uint64_t iov, struct vector *v, struct state *s,
                 union regset *set)
{
    uint64_t size;
    int r;

    if (user_copy_in(v, iov, sizeof(*v)))
        return -EFAULT;
    r = load(e, s);
    if (!r)
        r = fill(s, type, set, &size);
    if (r)
        return r;
    if (v->len % 4 || (v->len % 8 && size % 8 == 0))
        return -EINVAL;
    v->len = MIN(v->len, size);
    return 0;
}

int64_t user_regset_get(const struct user_tracee *e, uint64_t type, uint64_t iov)
{
    struct vector v;
    struct state s;
    union regset set;
    int r = begin(e, type, iov, &v, &s, &set);

    if (r)
        return r;
    return user_copy_out(v.base, &set, v.len) || user_copy_out(iov, &v, sizeof(v)) ? -EFAULT : 0;
}

int64_t user_regset_set(const struct user_tracee *e, uint64_t type, uint64_t iov)
{
    struct vector v;
    struct state s;
    union regset set;
    int r = begin(e, type, iov, &v, &s, &set);

    if (!r && user_copy_in(&set, v.base, v.len))
        r = -EFAULT;
    if (!r)
        r = store(e, &s, type, &set);
    if (r)
        return r;
    return user_copy_out(iov, &v, sizeof(v)) ? -EFAULT : 0;
}

int64_t user_regset_syscall_info(const struct user_tracee *e, uint64_t size, uint64_t va)
{
    struct ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE, .arch = ABI_AUDIT_ARCH};
    uint64_t used = offsetof(struct ptrace_syscall_info, entry);
    const struct user_trace *tr;
    struct state s;
    int r = load(e, &s);

    if (r)
        return r;
    tr = &s.thread.trace;
    info.instruction_pointer = s.cpu.pc;
    info.stack_pointer = s.cpu.x[31];
    /* As the kernel, which knows its stops apart by PTRACE_O_TRACESYSGOOD's bit. */
    bool good = tr->options & PTRACE_O_TRACESYSGOOD;
    enum user_trace_kind kind = e->direct ? USER_STOP_NONE : tr->kind;
    if (kind == USER_STOP_ENTRY && good) {
        info.op = PTRACE_SYSCALL_INFO_ENTRY;
        info.entry.nr = (uint64_t)(int64_t)tr->nr;
        memcpy(info.entry.args, s.cpu.x, sizeof(info.entry.args));
        used = offsetof(struct ptrace_syscall_info, entry.args) + sizeof(info.entry.args);
    } else if (kind == USER_STOP_EXIT && good) {
        info.op = PTRACE_SYSCALL_INFO_EXIT;
        info.exit.rval = (int64_t)s.cpu.x[0];
        info.exit.is_error = sys_is_err((long)s.cpu.x[0]) != 0;
        used = offsetof(struct ptrace_syscall_info, exit.is_error) + sizeof(info.exit.is_error);
    } else if (kind == USER_STOP_SECCOMP) {
        info.op = PTRACE_SYSCALL_INFO_SECCOMP;
        info.seccomp.nr = (uint64_t)(int64_t)tr->nr;
        memcpy(info.seccomp.args, s.cpu.x, sizeof(info.seccomp.args));
        info.seccomp.ret_data = (uint32_t)tr->message;
        used = offsetof(struct ptrace_syscall_info, seccomp.ret_data) + sizeof(info.seccomp.ret_data);
    }
    return user_copy_out(va, &info, MIN(size, used)) ? -EFAULT : (int64_t)used;
}
