/*
 * struct a64_ops for user mode: the JIT's memory operations (jit_user_fill_ops), and here the system registers of EL0
 * and the exceptions. System calls are served within the operation, so that generated code goes on behind them.
 */
#include "vmm/user/cpu.h"

#include "jit/user.h"
#include "vmm/user/access.h"
#include "vmm/user/clock.h"
#include "vmm/user/debug.h"
#include "vmm/user/executor.h"
#include "vmm/user/signal.h"
#include "vmm/user/space.h"
#include "vmm/user/syscall.h"

#define EC_DATA_ABORT 0x24u
#define DFSC_MAP 0x07u
#define DFSC_PERM 0x0fu
#define DFSC_ALIGN 0x21u
#define DFSC_EXTERNAL 0x10u
#define ESR_WNR BIT32(6)

/* ---- faults ---- */

void user_cpu_fault(struct arm64_cpu *c, const struct user_fault *f)
{
    struct user_thread *t = user_self();

    t->fault = *f;
    t->event = USER_EVENT_FAULT;
    atomic_fetch_or_explicit(&c->exit_request, ARM64_EXIT_KICK, memory_order_relaxed);
}

static uint32_t abort_syndrome(enum user_access_kind kind, uint32_t status)
{
    uint32_t ec = kind == USER_ACCESS_FETCH ? 0x20u : EC_DATA_ABORT;

    return ec << 26 | USER_ESR_IL | (kind == USER_ACCESS_WRITE ? ESR_WNR : 0) | status;
}

void user_cpu_access_fault(struct arm64_cpu *c, const struct jit_fault *j)
{
    enum user_access_kind kind = j->fetch ? USER_ACCESS_FETCH : j->write ? USER_ACCESS_WRITE : USER_ACCESS_READ;
    struct user_fault f = {.sig = j->signo, .code = j->code, .addr = j->addr};

    if (j->signo == ABI_SIGBUS && j->fetch && j->code == ABI_BUS_ADRALN)
        f.esr = USER_ESR_PC_ALIGN;
    else if (j->signo == ABI_SIGBUS)
        f.esr = abort_syndrome(kind, j->code == ABI_BUS_ADRALN ? DFSC_ALIGN : DFSC_EXTERNAL);
    else
        f.esr = abort_syndrome(kind, j->code == ABI_SEGV_ACCERR ? DFSC_PERM : DFSC_MAP);
    user_cpu_fault(c, &f);
}

/* ---- system registers ---- */

#define ENC(op1, crn, crm, op2) (3u << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define ENC_SYS(op1, crn, crm, op2) (1u << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define ENC_NZCV ENC(3u, 4u, 2u, 0u)
#define ENC_FPCR ENC(3u, 4u, 4u, 0u)
#define ENC_FPSR ENC(3u, 4u, 4u, 1u)
#define ENC_DIT ENC(3u, 4u, 2u, 5u)
#define ENC_SSBS ENC(3u, 4u, 2u, 6u)
#define ENC_TPIDR ENC(3u, 13u, 0u, 2u)
#define ENC_TPIDRRO ENC(3u, 13u, 0u, 3u)
#define ENC_CTR ENC(3u, 0u, 0u, 1u)
#define ENC_DCZID ENC(3u, 0u, 0u, 7u)
#define ENC_CNTFRQ ENC(3u, 14u, 0u, 0u)
#define ENC_CNTVCT ENC(3u, 14u, 0u, 2u)
#define ENC_IC_IVAU ENC_SYS(3u, 7u, 5u, 1u)
#define ENC_DC_CVAC ENC_SYS(3u, 7u, 10u, 1u)
#define ENC_DC_CVAU ENC_SYS(3u, 7u, 11u, 1u)
#define ENC_DC_CVAP ENC_SYS(3u, 7u, 12u, 1u)
#define ENC_DC_CVADP ENC_SYS(3u, 7u, 13u, 1u)
#define ENC_DC_CIVAC ENC_SYS(3u, 7u, 14u, 1u)

static void undef(struct arm64_cpu *c)
{
    user_cpu_fault(c, &(struct user_fault){.sig = ABI_SIGILL, .code = ABI_ILL_ILLOPC, .addr = c->pc});
}

static int undefined(struct arm64_cpu *c)
{
    undef(c);
    return A64_TRAPPED;
}

/* What Linux emulates of the identification registers (HWCAP_CPUID): fields that concern user space, the others as
 * on a CPU that has nothing (Documentation/arch/arm64/cpu-feature-registers.rst). */
static bool id_register(const struct arm64_model *m, uint32_t enc, uint64_t *val)
{
    switch (enc) {
    case ENC(0u, 0u, 0u, 0u): *val = m->midr; break;
    case ENC(0u, 0u, 0u, 5u): *val = BIT64(31); break; /* MPIDR_EL1 */
    case ENC(0u, 0u, 0u, 6u): *val = m->revidr; break;
    case ENC(0u, 0u, 4u, 0u): *val = (m->id_aa64pfr0 & UINT64_C(0x000f000000ff0000)) | 0x11; break;
    case ENC(0u, 0u, 4u, 1u): *val = m->id_aa64pfr1 & 0xff; break;
    case ENC(0u, 0u, 5u, 0u): *val = 0x6; break;
    case ENC(0u, 0u, 6u, 0u): *val = m->id_aa64isar0 & UINT64_C(0xf0fffffff0fffff0); break;
    case ENC(0u, 0u, 6u, 1u): *val = m->id_aa64isar1; break;
    case ENC(0u, 0u, 6u, 2u): *val = m->id_aa64isar2; break;
    case ENC(0u, 0u, 7u, 0u): *val = 0xff000000; break;
    case ENC(0u, 0u, 7u, 2u): *val = m->id_aa64mmfr2 & UINT64_C(0x0000000f00000000); break;
    default:
        /* The rest of the space CRn 0, CRm 0 and 2 to 7 reads as zero; CRm 1 is AArch32's. */
        if ((enc & ~0x3fu) != ENC(0u, 0u, 0u, 0u) || (enc & 0x38) == 0 || (enc & 0x38) == 8)
            return false;
        *val = 0;
        break;
    }
    return true;
}

int user_cpu_sysreg_plain(uint32_t enc, unsigned el, bool write)
{
    (void)el;
    (void)write;
    return enc == ENC_TPIDR ? (int)offsetof(struct arm64_cpu, sys.tpidr_el0) : -1;
}

bool user_cpu_sysreg_const(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    switch (enc) {
    case ENC_TPIDRRO: *val = 0; return true;
    case ENC_CTR: *val = c->model->ctr; return true;
    case ENC_DCZID: *val = c->model->dczid; return true;
    case ENC_CNTFRQ: *val = USER_CNTFRQ; return true;
    default: return id_register(c->model, enc, val);
    }
}

static int sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    (void)rt;
    switch (enc) {
    case ENC_NZCV: *val = arm64_nzcv(c); return 0;
    case ENC_FPCR: *val = c->fpcr; return 0;
    case ENC_FPSR:
        user_executor_fp_sync(c);
        *val = c->fpsr;
        return 0;
    case ENC_TPIDR: *val = c->sys.tpidr_el0; return 0;
    case ENC_CNTVCT: *val = user_clock_counter(); return 0;
    case ENC_DIT:
        if (!arm64_has(c, ARM64_FEAT_DIT))
            return undefined(c);
        *val = c->pstate_misc & PSTATE_DIT;
        return 0;
    case ENC_SSBS:
        if (!arm64_has(c, ARM64_FEAT_SSBS))
            return undefined(c);
        *val = c->pstate_misc & PSTATE_SSBS;
        return 0;
    default: return user_cpu_sysreg_const(c, enc, val) ? 0 : undefined(c);
    }
}

static void set_misc(struct arm64_cpu *c, uint32_t bit, bool on)
{
    c->pstate_misc = on ? c->pstate_misc | bit : c->pstate_misc & ~bit;
}

/* Cleaning data to the point of unification is nothing (CTR_EL0.IDC); it faults where a load would. */
static int clean(struct arm64_cpu *c, uint64_t va)
{
    uint8_t byte;

    return c->ops->load(c, va, sizeof(byte), &byte, 0);
}

static int sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)rt;
    switch (enc) {
    case ENC_NZCV: arm64_set_nzcv(c, (uint32_t)val); return 0;
    case ENC_FPCR:
        user_executor_fp_sync(c);
        c->fpcr = (uint32_t)val & USER_FPCR_MASK;
        user_executor_fp_changed(c);
        return 0;
    case ENC_FPSR:
        c->fpsr = (uint32_t)val & USER_FPSR_MASK;
        user_executor_fp_changed(c);
        return 0;
    case ENC_TPIDR: c->sys.tpidr_el0 = val; return 0;
    case ENC_DIT:
        if (!arm64_has(c, ARM64_FEAT_DIT))
            return undefined(c);
        set_misc(c, PSTATE_DIT, val & PSTATE_DIT);
        return 0;
    case ENC_SSBS:
        if (!arm64_has(c, ARM64_FEAT_SSBS))
            return undefined(c);
        set_misc(c, PSTATE_SSBS, val & PSTATE_SSBS);
        return 0;
    case ENC_IC_IVAU: {
        uint64_t line = 4u << (c->model->ctr & 15);
        user_space_code_written(align_down(val & (BIT64(56) - 1), line), line);
        return 0;
    }
    case ENC_DC_CVAC:
    case ENC_DC_CVAU:
    case ENC_DC_CIVAC: return clean(c, val);
    case ENC_DC_CVAP: return arm64_has(c, ARM64_FEAT_DPB) ? clean(c, val) : undefined(c);
    case ENC_DC_CVADP: return arm64_has(c, ARM64_FEAT_DPB2) ? clean(c, val) : undefined(c);
    default: return undefined(c);
    }
}

/* MSR (immediate): SSBS is op1 3 op2 1, DIT op1 3 op2 2. The others are for EL1. */
static int pstate_write(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    if (op1 == 3 && op2 == 1 && arm64_has(c, ARM64_FEAT_SSBS))
        set_misc(c, PSTATE_SSBS, crm & 1);
    else if (op1 == 3 && op2 == 2 && arm64_has(c, ARM64_FEAT_DIT))
        set_misc(c, PSTATE_DIT, crm & 1);
    else
        return undefined(c);
    return 0;
}

/* ---- exceptions and hints ---- */

#define EC_SP_ALIGN 0x26

static void exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    (void)iss;
    (void)far;
    if (ec == EC_SP_ALIGN)
        user_cpu_fault(c, &(struct user_fault){
                              .sig = ABI_SIGBUS, .code = ABI_BUS_ADRALN, .addr = c->x[31], .esr = USER_ESR_SP_ALIGN});
    else
        undef(c);
}

/* 0 where generated code can go on behind the SVC: nothing but X0 and memory changed, and nothing waits. */
static int system_call(struct arm64_cpu *c)
{
    struct user_thread *t = user_self();
    uint64_t pc = c->pc;

    jit_user_outside(c);
    c->pc = pc + 4;
    t->whole = false;
    if (unlikely(user_debug_on))
        user_debug_call_begin(t);
    user_syscall(t);
    if (unlikely(user_debug_on))
        user_debug_call_end(t);
    if (likely(!t->whole && c->pc == pc + 4 && !t->event && !user_signal_waits(t) &&
               !atomic_load_explicit(&c->exit_request, memory_order_relaxed))) {
        c->pc = pc;
        jit_user_inside(c);
        return 0;
    }
    atomic_fetch_or_explicit(&c->exit_request, ARM64_EXIT_KICK, memory_order_relaxed);
    return A64_TRAPPED;
}

static int call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm16)
{
    (void)imm16;
    switch (kind) {
    case A64_CALL_SVC: return system_call(c);
    case A64_CALL_BRK:
        user_cpu_fault(c, &(struct user_fault){.sig = ABI_SIGTRAP, .code = ABI_TRAP_BRKPT, .addr = c->pc});
        return A64_TRAPPED;
    default: return undefined(c);
    }
}

static int fp_access(struct arm64_cpu *c)
{
    (void)c;
    return 0;
}

static struct a64_ops ops = {
    .sysreg_read = sysreg_read,
    .sysreg_write = sysreg_write,
    .pstate_write = pstate_write,
    .undef = undef,
    .exception = exception,
    .call = call,
    .eret = undef,
    .hint = jit_hint,
    .fp_access = fp_access,
};

void user_cpu_ops_init(void)
{
    jit_user_fill_ops(&ops);
}

void user_cpu_init(struct arm64_cpu *c, const struct arm64_model *model)
{
    c->ops = &ops;
    c->model = model;
    arm64_set_nzcv(c, 0);
    if (arm64_has(c, ARM64_FEAT_SSBS))
        c->pstate_misc |= PSTATE_SSBS;
}

void user_cpu_copy(struct arm64_cpu *c, struct arm64_cpu *from)
{
    user_executor_fp_sync(from);
    user_cpu_init(c, from->model);
    memcpy(c->x, from->x, sizeof(c->x));
    memcpy(c->v, from->v, sizeof(c->v));
    c->pc = from->pc;
    c->flags = from->flags;
    c->pstate_misc = from->pstate_misc;
    c->fpcr = from->fpcr;
    c->fpsr = from->fpsr;
    c->sys.tpidr_el0 = from->sys.tpidr_el0;
}
