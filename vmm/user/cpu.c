/*
 * struct a64_ops for user mode. Loads and stores are single host instructions at the guest's own address; the top byte
 * is ignored (TCR_EL1.TBI0 is 1 under Linux). Atomic operations are locked host instructions, which must be naturally
 * aligned as the architecture asks of the models here (none has FEAT_LSE2).
 *
 * Exclusives: a load-exclusive remembers address and value, the store-exclusive is a compare-and-swap against it.
 */
#include "vmm/user/cpu.h"

#include "jit/ops.h"
#include "vmm/user/access.h"
#include "vmm/user/clock.h"
#include "vmm/user/executor.h"
#include "vmm/user/sys/call.h"

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

    (void)c;
    t->fault = *f;
    t->event = USER_EVENT_FAULT;
}

static uint32_t abort_syndrome(enum user_access_kind kind, uint32_t status)
{
    uint32_t ec = kind == USER_ACCESS_FETCH ? 0x20u : EC_DATA_ABORT;

    return ec << 26 | USER_ESR_IL | (kind == USER_ACCESS_WRITE ? ESR_WNR : 0) | status;
}

void user_cpu_access_fault(struct arm64_cpu *c, uint64_t va, enum user_access_kind kind)
{
    const struct user_fault *a = &user_self()->access;
    struct user_fault f = {.sig = a->sig, .code = a->code, .addr = a->addr};

    if (a->code == ABI_SI_KERNEL) { /* not an address of the host's: nothing is mapped there */
        f.code = ABI_SEGV_MAPERR;
        f.addr = va;
    }
    if (a->sig == ABI_SIGBUS)
        f.esr = abort_syndrome(kind, DFSC_EXTERNAL);
    else
        f.esr = abort_syndrome(kind, f.code == ABI_SEGV_ACCERR ? DFSC_PERM : DFSC_MAP);
    user_cpu_fault(c, &f);
}

/* The host address of an access; false after raising the fault of one that cannot be. */
static bool reach(struct arm64_cpu *c, uint64_t *va, unsigned size, unsigned flags, enum user_access_kind kind)
{
    if (unlikely((flags & A64_MEM_ALIGNED) && (*va & (size - 1)))) {
        user_cpu_fault(c, &(struct user_fault){ABI_SIGBUS, ABI_BUS_ADRALN, *va, abort_syndrome(kind, DFSC_ALIGN)});
        return false;
    }
    *va &= BIT64(56) - 1;
    if (unlikely(*va >= USER_TASK_SIZE || USER_TASK_SIZE - *va < size)) {
        user_cpu_fault(c, &(struct user_fault){ABI_SIGSEGV, ABI_SEGV_MAPERR, *va, abort_syndrome(kind, DFSC_MAP)});
        return false;
    }
    return true;
}

static int faulted(struct arm64_cpu *c, uint64_t va, enum user_access_kind kind)
{
    user_cpu_access_fault(c, va, kind);
    return A64_TRAPPED;
}

/* ---- plain accesses ---- */

static int read_bytes(uint64_t va, unsigned size, void *dst)
{
    switch (size) {
    case 1: return user_get8(va, dst);
    case 2: return user_get16(va, dst);
    case 4: return user_get32(va, dst);
    case 8: return user_get64(va, dst);
    default: return user_get128(va, dst);
    }
}

static int write_bytes(uint64_t va, unsigned size, const void *src)
{
    switch (size) {
    case 1: return user_put8(va, *(const uint8_t *)src);
    case 2: return user_put16(va, le16_get(src));
    case 4: return user_put32(va, le32_get(src));
    case 8: return user_put64(va, le64_get(src));
    default: return user_put128(va, src);
    }
}

/* x86-64 orders loads before loads, stores before stores, and loads before stores: only a store-release that a later
 * load-acquire must not pass needs a fence. */
static void release_fence(unsigned flags)
{
    if (flags & A64_MEM_RELEASE)
        atomic_thread_fence(memory_order_seq_cst);
}

static int load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    if (!reach(c, &va, size, flags, USER_ACCESS_READ))
        return A64_TRAPPED;
    return likely(!read_bytes(va, size, dst)) ? 0 : faulted(c, va, USER_ACCESS_READ);
}

static int store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags)
{
    if (!reach(c, &va, size, flags, USER_ACCESS_WRITE))
        return A64_TRAPPED;
    if (unlikely(write_bytes(va, size, src)))
        return faulted(c, va, USER_ACCESS_WRITE);
    release_fence(flags);
    return 0;
}

static int zero_block(struct arm64_cpu *c, uint64_t va)
{
    unsigned size = 4u << (c->model->dczid & 15);

    va = align_down(va, size);
    if (!reach(c, &va, size, 0, USER_ACCESS_WRITE))
        return A64_TRAPPED;
    return user_clear(va, size) ? faulted(c, va, USER_ACCESS_WRITE) : 0;
}

/* ---- atomic accesses ---- */

/* Compares and swaps size bytes; *expected is zero-extended. */
static int swap_if(uint64_t va, unsigned size, void *expected, const void *desired)
{
    switch (size) {
    case 1: return user_cas8(va, expected, *(const uint8_t *)desired);
    case 2: return user_cas16(va, expected, le16_get(desired));
    case 4: return user_cas32(va, expected, le32_get(desired));
    case 8: return user_cas64(va, expected, le64_get(desired));
    default: {
        uint64_t want[2];
        memcpy(want, desired, sizeof(want));
        return user_cas128(va, expected, want);
    }
    }
}

static uint64_t rmw_result(enum a64_rmw op, uint64_t old, uint64_t arg, unsigned size)
{
    int64_t so = sext64(old, size * 8), sa = sext64(arg, size * 8);

    switch (op) {
    case A64_RMW_SWP: return arg;
    case A64_RMW_ADD: return old + arg;
    case A64_RMW_CLR: return old & ~arg;
    case A64_RMW_EOR: return old ^ arg;
    case A64_RMW_SET: return old | arg;
    case A64_RMW_SMAX: return so > sa ? old : arg;
    case A64_RMW_SMIN: return so < sa ? old : arg;
    case A64_RMW_UMAX: return MAX(old, arg);
    default: return MIN(old, arg);
    }
}

static int rmw(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t arg, uint64_t *old,
               unsigned flags)
{
    uint64_t seen = 0, was, result;

    if (!reach(c, &va, size, flags, USER_ACCESS_WRITE))
        return A64_TRAPPED;
    if (read_bytes(va, size, &seen))
        return faulted(c, va, USER_ACCESS_WRITE);
    do {
        was = seen;
        result = rmw_result(op, was, arg, size);
        if (swap_if(va, size, &seen, &result))
            return faulted(c, va, USER_ACCESS_WRITE);
    } while (seen != was);
    *old = was;
    return 0;
}

static int cas(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired, unsigned flags)
{
    if (!reach(c, &va, size, flags, USER_ACCESS_WRITE))
        return A64_TRAPPED;
    return swap_if(va, size, expected, desired) ? faulted(c, va, USER_ACCESS_WRITE) : 0;
}

static int load_excl(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    struct user_monitor *m = &user_self()->monitor;

    m->size = 0;
    if (load(c, va, size, dst, flags))
        return A64_TRAPPED;
    m->va = va;
    m->size = size;
    memcpy(m->value, dst, size);
    return 0;
}

static int store_excl(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                      unsigned flags)
{
    struct user_monitor *m = &user_self()->monitor;
    bool held = m->size == size && m->va == va;
    uint64_t seen[2] = {0};

    m->size = 0;
    *status = 1;
    if (!reach(c, &va, size, flags, USER_ACCESS_WRITE))
        return A64_TRAPPED;
    if (!held)
        return 0;
    memcpy(seen, m->value, size);
    if (swap_if(va, size, seen, src))
        return faulted(c, va, USER_ACCESS_WRITE);
    *status = memcmp(seen, m->value, size) != 0;
    return 0;
}

static void clear_excl(struct arm64_cpu *c)
{
    (void)c;
    user_self()->monitor.size = 0;
}

static void barrier(struct arm64_cpu *c, enum a64_barrier b)
{
    (void)c;
    if (b == A64_DMB || b == A64_DSB)
        atomic_thread_fence(memory_order_seq_cst);
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

static int sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    (void)rt;
    switch (enc) {
    case ENC_NZCV: *val = arm64_nzcv(c); return 0;
    case ENC_FPCR: *val = c->fpcr; return 0;
    case ENC_FPSR: *val = c->fpsr; return 0;
    case ENC_TPIDR: *val = c->sys.tpidr_el0; return 0;
    case ENC_TPIDRRO: *val = 0; return 0;
    case ENC_CTR: *val = c->model->ctr; return 0;
    case ENC_DCZID: *val = c->model->dczid; return 0;
    case ENC_CNTFRQ: *val = USER_CNTFRQ; return 0;
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
    default: return id_register(c->model, enc, val) ? 0 : undefined(c);
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

    if (!reach(c, &va, 1, 0, USER_ACCESS_READ))
        return A64_TRAPPED;
    return user_get8(va, &byte) ? faulted(c, va, USER_ACCESS_READ) : 0;
}

static int sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)rt;
    switch (enc) {
    case ENC_NZCV: arm64_set_nzcv(c, (uint32_t)val); return 0;
    case ENC_FPCR: c->fpcr = (uint32_t)val & USER_FPCR_MASK; return 0;
    case ENC_FPSR: c->fpsr = (uint32_t)val & USER_FPSR_MASK; return 0;
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
        user_executor_invalidate(align_down(val & (BIT64(56) - 1), line), line);
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
        user_cpu_fault(c, &(struct user_fault){ABI_SIGBUS, ABI_BUS_ADRALN, c->x[31], USER_ESR_SP_ALIGN});
    else
        undef(c);
}

static int call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm16)
{
    (void)imm16;
    switch (kind) {
    case A64_CALL_SVC: user_self()->event = USER_EVENT_SYSCALL; return 0;
    case A64_CALL_BRK:
        user_cpu_fault(c, &(struct user_fault){.sig = ABI_SIGTRAP, .code = ABI_TRAP_BRKPT, .addr = c->pc});
        return A64_TRAPPED;
    default: return undefined(c);
    }
}

/* A thread that waits for an event gives way: the event stream wakes it soon on hardware, too. */
static int hint(struct arm64_cpu *c, enum a64_hint h)
{
    (void)c;
    if (h == A64_HINT_WFE || h == A64_HINT_WFI || h == A64_HINT_YIELD)
        sys_call(__NR_sched_yield);
    return 0;
}

static int fp_access(struct arm64_cpu *c)
{
    (void)c;
    return 0;
}

static const struct a64_ops ops = {
    .load = load,
    .store = store,
    .rmw = rmw,
    .cas = cas,
    .load_excl = load_excl,
    .store_excl = store_excl,
    .clear_excl = clear_excl,
    .zero_block = zero_block,
    .barrier = barrier,
    .sysreg_read = sysreg_read,
    .sysreg_write = sysreg_write,
    .pstate_write = pstate_write,
    .undef = undef,
    .exception = exception,
    .call = call,
    .eret = undef,
    .hint = hint,
    .fp_access = fp_access,
};

#define SCTLR_SA0 BIT64(4)
#define SCTLR_DZE BIT64(14)

void user_cpu_init(struct arm64_cpu *c, const struct arm64_model *model)
{
    memset(c, 0, sizeof(*c));
    c->ops = &ops;
    c->model = model;
    c->sys.sctlr_el1 = SCTLR_SA0 | SCTLR_DZE;
    arm64_set_nzcv(c, 0);
    if (arm64_has(c, ARM64_FEAT_SSBS))
        c->pstate_misc |= PSTATE_SSBS;
}

void user_cpu_copy(struct arm64_cpu *c, const struct arm64_cpu *from)
{
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
