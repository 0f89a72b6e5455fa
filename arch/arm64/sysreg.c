/*
 * MRS, MSR (register), SYS and SYSL at EL0 and EL1.
 *
 * sysreg.def is the list; here are the functions that its rows name, and an index from the 16-bit encoding to the row,
 * built once. A register is a row and a place to keep it: most are fields of struct arm64_cpu and need no code.
 *
 * Access is decided in the order of the Arm ARM's pseudocode: no such register or no right at this EL is UNDEFINED
 * (EC 0), then EL0 traps (EC 0x18), then the access itself, which may trap too (FP registers, cache maintenance).
 */
#include <pthread.h>

#include "arch/arm64/gic.h"
#include "arch/arm64/internal.h"
#include "jit/ops.h"

#define R1 1
#define W1 2
#define R0 4
#define W0 8

/* No AArch32, 52-bit addresses, hardware access flag or dirty state. */
#define TCR_MASK                                                                                                       \
    (UINT64_C(0xffffffff) | UINT64_C(0x7) << 32 | TCR_AS | TCR_TBI0 | TCR_TBI1 | TCR_HPD0 | TCR_HPD1 | TCR_TBID0 |     \
     TCR_TBID1 | TCR_E0PD0 | TCR_E0PD1)

/* Each returns 0 or A64_TRAPPED. */
typedef int (*sysreg_read_fn)(struct arm64_cpu *c, uint32_t enc, uint64_t *val);
typedef int (*sysreg_write_fn)(struct arm64_cpu *c, uint32_t enc, uint64_t val);
/* Is this access, at EL0, trapped to EL1? */
typedef bool (*sysreg_trap_fn)(const struct arm64_cpu *c, bool write);

enum kind { KIND_NONE, KIND_STORE, KIND_ARRAY, KIND_MODEL, KIND_FUNC };

struct sysreg {
    uint16_t enc;
    uint8_t kind;
    uint8_t access;
    uint8_t feature;
    uint16_t off; /* in struct arm64_cpu, or for KIND_MODEL in struct arm64_model */
    uint64_t mask;
    sysreg_read_fn read;
    sysreg_write_fn write;
    sysreg_trap_fn trap;
};

static int undef(struct arm64_cpu *c)
{
    arm64_undef(c);
    return A64_TRAPPED;
}

static uint64_t *store(struct arm64_cpu *c, size_t off)
{
    return (uint64_t *)(void *)((char *)c + off);
}

/* ---- traps from EL0 ---- */

static bool t_uct(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.sctlr_el1 & SCTLR_UCT);
}

static bool t_uci(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.sctlr_el1 & SCTLR_UCI);
}

static bool t_dze(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.sctlr_el1 & SCTLR_DZE);
}

static bool t_uma(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.sctlr_el1 & SCTLR_UMA);
}

static bool t_tscxt(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return c->sys.sctlr_el1 & SCTLR_TSCXT;
}

static bool t_tdcc(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return c->sys.mdscr_el1 & MDSCR_TDCC;
}

static bool t_cntfrq(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.cntkctl_el1 & (CNTKCTL_EL0PCTEN | CNTKCTL_EL0VCTEN));
}

static bool t_cntpct(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.cntkctl_el1 & CNTKCTL_EL0PCTEN);
}

static bool t_cntvct(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.cntkctl_el1 & CNTKCTL_EL0VCTEN);
}

static bool t_cntp(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.cntkctl_el1 & CNTKCTL_EL0PTEN);
}

static bool t_cntv(const struct arm64_cpu *c, bool write)
{
    (void)write;
    return !(c->sys.cntkctl_el1 & CNTKCTL_EL0VTEN);
}

/* ---- constants and identification ---- */

static int r_zero(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)c;
    (void)enc;
    *val = 0;
    return 0;
}

static int w_nop(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)c;
    (void)enc;
    (void)val;
    return 0;
}

static int r_pfr0(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->model->id_aa64pfr0 | (gic_version(c) == 3 ? BIT64(24) : 0);
    return 0;
}

static int r_ccsidr(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->sys.csselr_el1 < ARRAY_SIZE(c->model->ccsidr) ? c->model->ccsidr[c->sys.csselr_el1] : 0;
    return 0;
}

/* Machines notice each store to what they have translated. */
#define CTR_DIC BIT64(29)

static int r_ctr(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->model->ctr | CTR_DIC;
    return 0;
}

static int r_dczid(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->model->dczid;
    if (c->el == 0 && t_dze(c, true))
        *val |= BIT64(4); /* DZP */
    return 0;
}

/* ---- control ---- */

static bool has_scxtnum(const struct arm64_cpu *c)
{
    return bits64(c->model->id_aa64pfr0, 59, 56) >= 2;
}

static int w_sctlr(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    uint64_t rw = SCTLR_M | SCTLR_A | SCTLR_C | SCTLR_SA | SCTLR_SA0 | SCTLR_UMA | SCTLR_I | SCTLR_DZE | SCTLR_UCT |
                  SCTLR_NTWI | SCTLR_NTWE | SCTLR_WXN | SCTLR_UCI;
    uint64_t res1 = SCTLR_RES1;

    (void)enc;
    *(arm64_has(c, ARM64_FEAT_PAN) ? &rw : &res1) |= SCTLR_SPAN;
    *(has_scxtnum(c) ? &rw : &res1) |= SCTLR_TSCXT;
    if (arm64_has(c, ARM64_FEAT_SSBS))
        rw |= SCTLR_DSSBS;
    if (arm64_has(c, ARM64_FEAT_LSE2))
        rw |= SCTLR_NAA;
    val = (val & rw) | res1;
    if (val != c->sys.sctlr_el1) {
        c->sys.sctlr_el1 = val;
        arm64_hook_context(c);
    }
    return 0;
}

static int r_scxtnum(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    if (!has_scxtnum(c))
        return undef(c);
    *val = bits32(enc, 13, 11) == 0 ? c->sys.scxtnum_el1 : c->sys.scxtnum_el0;
    return 0;
}

static int w_scxtnum(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    if (!has_scxtnum(c))
        return undef(c);
    *(bits32(enc, 13, 11) == 0 ? &c->sys.scxtnum_el1 : &c->sys.scxtnum_el0) = val;
    return 0;
}

static int r_isr(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    uint32_t lines = atomic_load_explicit(&c->irq_lines, memory_order_acquire);

    (void)enc;
    *val = (lines & ARM64_LINE_IRQ ? BIT64(7) : 0) | (lines & ARM64_LINE_FIQ ? BIT64(6) : 0);
    return 0;
}

/* ---- PSTATE ---- */

static int r_sp_el0(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    if (!c->spsel)
        return undef(c);
    *val = c->sys.sp_el0;
    return 0;
}

static int w_sp_el0(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    if (!c->spsel)
        return undef(c);
    c->sys.sp_el0 = val;
    return 0;
}

static int r_spsel(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->spsel;
    return 0;
}

static int w_spsel(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    return arm64_pstate_write(c, 0, val & 1, 5);
}

static int r_currentel(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = (uint64_t)c->el << 2;
    return 0;
}

/* PAN, UAO, DIT and SSBS: one bit each, at its place in PSTATE. */
static int r_misc(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    static const uint32_t bit[8] = {[3] = PSTATE_PAN, [4] = PSTATE_UAO, [5] = PSTATE_DIT, [6] = PSTATE_SSBS};

    if (bit[enc & 7] == PSTATE_SSBS && bits64(c->model->id_aa64pfr1, 7, 4) < 2)
        return undef(c);
    *val = c->pstate_misc & bit[enc & 7];
    return 0;
}

static int w_misc(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    switch (enc & 7) {
    case 3: return arm64_pstate_write(c, 0, (val & PSTATE_PAN) != 0, 4);
    case 4: return arm64_pstate_write(c, 0, (val & PSTATE_UAO) != 0, 3);
    case 5: return arm64_pstate_write(c, 3, (val & PSTATE_DIT) != 0, 2);
    default: return arm64_pstate_write(c, 3, (val & PSTATE_SSBS) != 0, 1);
    }
}

static int r_nzcv(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = arm64_nzcv(c);
    return 0;
}

static int w_nzcv(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    arm64_set_nzcv(c, (uint32_t)val);
    return 0;
}

static int r_daif(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->daif;
    return 0;
}

static int w_daif(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    c->daif = (uint32_t)val & PSTATE_DAIF;
    return 0;
}

/* ---- floating point ---- */

#define FPCR_FZ16 BIT32(19)
#define FPCR_MASK 0x07c00000u /* AHP, DN, FZ, RMode; exceptions do not trap */
#define FPSR_MASK 0x0800009fu /* QC and the cumulative flags; NZCV belongs to AArch32 */

static int r_fpcr(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    if (arm64_fp_access(c))
        return A64_TRAPPED;
    *val = c->fpcr;
    return 0;
}

static int w_fpcr(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    if (arm64_fp_access(c))
        return A64_TRAPPED;
    c->fpcr = (uint32_t)val & (arm64_has(c, ARM64_FEAT_FP16) ? FPCR_MASK | FPCR_FZ16 : FPCR_MASK);
    if (arm64_hooks->fpcr_changed)
        arm64_hooks->fpcr_changed(c);
    return 0;
}

static int r_fpsr(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    if (arm64_fp_access(c))
        return A64_TRAPPED;
    if (arm64_hooks->fpsr_sync)
        arm64_hooks->fpsr_sync(c);
    *val = c->fpsr;
    return 0;
}

static int w_fpsr(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    if (arm64_fp_access(c))
        return A64_TRAPPED;
    c->fpsr = (uint32_t)val & FPSR_MASK;
    if (arm64_hooks->fpsr_changed)
        arm64_hooks->fpsr_changed(c);
    return 0;
}

/* ---- timer, interrupt controller, debug ---- */

static int r_count(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->timer ? arm64_timer_count(c->timer) : 0;
    return 0;
}

static int r_timer(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    *val = c->timer ? arm64_timer_read(c->timer, bits32(enc, 6, 3) == 3 ? ARM64_TIMER_VIRT : ARM64_TIMER_PHYS, enc & 7)
                    : 0;
    return 0;
}

static int w_timer(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    if (c->timer)
        arm64_timer_write(c->timer, bits32(enc, 6, 3) == 3 ? ARM64_TIMER_VIRT : ARM64_TIMER_PHYS, enc & 7, val);
    return 0;
}

static int r_icc(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    return gic_icc_read(c, enc, val) ? undef(c) : 0;
}

static int w_icc(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    return gic_icc_write(c, enc, val) ? undef(c) : 0;
}

static int w_oslar(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    c->sys.oslsr_el1 = OSLSR_OSLM | (val & 1 ? OSLSR_OSLK : 0);
    return 0;
}

static int r_claimset(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)c;
    (void)enc;
    *val = 0xff; /* eight claim bits */
    return 0;
}

static int w_claimset(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    c->sys.dbgclaim |= val & 0xff;
    return 0;
}

static int r_claimclr(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    (void)enc;
    *val = c->sys.dbgclaim;
    return 0;
}

static int w_claimclr(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    c->sys.dbgclaim &= ~(val & 0xff);
    return 0;
}

/* ---- caches ---- */

#define LINE 64 /* bytes, CTR_EL0 */

static int dcache(struct arm64_cpu *c, uint64_t va, bool write)
{
    return arm64_hooks->dcache_check ? arm64_hooks->dcache_check(c, va, write) : 0;
}

/* Caches are coherent: clean and invalidate only fault. */
static int w_dc_clean(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    return dcache(c, val, false);
}

static int w_dc_ivac(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    return dcache(c, val, true);
}

static int w_dc_zva(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    return c->ops ? c->ops->zero_block(c, val) : undef(c);
}

static int w_ic_ivau(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    if (dcache(c, val, false))
        return A64_TRAPPED;
    if (arm64_hooks->icache_invalidate)
        arm64_hooks->icache_invalidate(c, align_down(val, LINE), LINE);
    return 0;
}

static int w_ic_all(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    (void)enc;
    (void)val;
    if (arm64_hooks->icache_invalidate)
        arm64_hooks->icache_invalidate(c, 0, 0);
    return 0;
}

/* ---- TLB maintenance ---- */

static uint16_t tlbi_asid(const struct arm64_cpu *c, uint64_t val)
{
    return (uint16_t)bits64(val, c->sys.tcr_el1 & TCR_AS ? 63 : 55, 48);
}

/* Operand: ASID [63:48], TTL [47:44], VA[55:12] [43:0]. */
static int w_tlbi(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    static const uint8_t kind[8] = {ARM64_TLBI_ALL, ARM64_TLBI_VA, ARM64_TLBI_ASID, ARM64_TLBI_VAA,
                                    ARM64_TLBI_ALL, ARM64_TLBI_VA, ARM64_TLBI_ALL,  ARM64_TLBI_VAA};
    struct arm64_tlbi op = {
        .kind = kind[enc & 7],
        .broadcast = bits32(enc, 6, 3) != 7,
        .asid = tlbi_asid(c, val),
        .va = (uint64_t)sext64(val << 12, 56),
        .pages = 1,
    };

    if (arm64_hooks->tlbi)
        arm64_hooks->tlbi(c, &op);
    return 0;
}

/* Operand: ASID [63:48], TG [47:46], SCALE [45:44], NUM [43:39], TTL [38:37], VA[48:12] [36:0]. */
static int w_tlbi_range(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    struct arm64_tlbi op = {
        .kind = enc & 2 ? ARM64_TLBI_VAA : ARM64_TLBI_VA,
        .broadcast = bits32(enc, 6, 3) != 6,
        .asid = tlbi_asid(c, val),
        .va = (uint64_t)sext64(val << 12, 49),
        .pages = (bits64(val, 43, 39) + 1) << (5 * bits64(val, 45, 44) + 1),
    };

    /* Another granule than the 4K of the tables: no entry is of that kind. */
    if (bits64(val, 47, 46) == 1 && arm64_hooks->tlbi)
        arm64_hooks->tlbi(c, &op);
    return 0;
}

/* ---- the table ---- */

static int w_context(struct arm64_cpu *c, uint32_t enc, uint64_t val); /* looks its row up in the table */

#define STORE(name, op0, op1, crn, crm, op2, acc, feat, field, mask_, write_, trap_)                                   \
    {.enc = SYSREG_ENC(op0, op1, crn, crm, op2),                                                                       \
     .kind = KIND_STORE,                                                                                               \
     .access = (acc),                                                                                                  \
     .feature = ARM64_FEAT_##feat,                                                                                     \
     .off = offsetof(struct arm64_cpu, field),                                                                         \
     .mask = (mask_),                                                                                                  \
     .write = (write_),                                                                                                \
     .trap = (trap_)},
#define ARRAY(name, op0, op1, crn, op2, acc, field)                                                                    \
    {.enc = SYSREG_ENC(op0, op1, crn, 0, op2),                                                                         \
     .kind = KIND_ARRAY,                                                                                               \
     .access = (acc),                                                                                                  \
     .off = offsetof(struct arm64_cpu, field)},
#define MODEL(name, op0, op1, crn, crm, op2, trap_, field)                                                             \
    {.enc = SYSREG_ENC(op0, op1, crn, crm, op2),                                                                       \
     .kind = KIND_MODEL,                                                                                               \
     .access = R1,                                                                                                     \
     .off = offsetof(struct arm64_model, field),                                                                       \
     .trap = (trap_)},
#define FUNC(name, op0, op1, crn, crm, op2, acc, feat, read_, write_, trap_)                                           \
    {.enc = SYSREG_ENC(op0, op1, crn, crm, op2),                                                                       \
     .kind = KIND_FUNC,                                                                                                \
     .access = (acc),                                                                                                  \
     .feature = ARM64_FEAT_##feat,                                                                                     \
     .read = (read_),                                                                                                  \
     .write = (write_),                                                                                                \
     .trap = (trap_)},

static const struct sysreg sysregs[] = {
    {.kind = KIND_NONE}, /* index 0: no such register */
    /* index 1: the identification space that no row names */
    {.enc = SYSREG_ENC(3, 0, 0, 1, 0), .kind = KIND_FUNC, .access = R1, .read = r_zero},
#include "arch/arm64/sysreg.def"
};

#define INDEX_ID_ZERO 1
static uint8_t sysreg_index[65536];
static pthread_once_t sysreg_once = PTHREAD_ONCE_INIT;
_Static_assert(ARRAY_SIZE(sysregs) <= 256, "the index holds bytes");

static void build_index(void)
{
    for (unsigned crm = 1; crm <= 7; crm++) {
        for (unsigned op2 = 0; op2 <= 7; op2++)
            sysreg_index[SYSREG_ENC(3, 0, 0, crm, op2)] = INDEX_ID_ZERO;
    }
    for (unsigned i = INDEX_ID_ZERO + 1; i < ARRAY_SIZE(sysregs); i++) {
        unsigned n = sysregs[i].kind == KIND_ARRAY ? 16 : 1;
        for (unsigned crm = 0; crm < n; crm++)
            sysreg_index[sysregs[i].enc + (crm << 3)] = (uint8_t)i;
    }
}

void arm64_sysreg_init(void)
{
    pthread_once(&sysreg_once, build_index);
}

/* NULL after the exception was taken. */
static const struct sysreg *find(struct arm64_cpu *c, uint32_t enc, unsigned rt, bool write)
{
    const struct sysreg *d = &sysregs[sysreg_index[enc & 0xffff]];
    unsigned need = c->el ? (write ? W1 : R1) : (write ? W0 : R0);

    if (!(d->access & need) || enc > 0xffff || !arm64_has(c, d->feature)) {
        arm64_undef(c);
        return NULL;
    }
    if (c->el == 0 && d->trap && d->trap(c, write)) {
        arm64_take_sync(c, ARM64_EC_SYSREG, arm64_sysreg_iss(enc, rt, !write), 0, c->pc);
        return NULL;
    }
    return d;
}

/* The element of a debug register array, or NULL where the model has fewer. */
static uint64_t *array_at(struct arm64_cpu *c, const struct sysreg *d, uint32_t enc)
{
    unsigned n = bits32(enc, 6, 3);
    bool watch = (enc & 7) >= 6;

    if (n > (watch ? bits64(c->model->id_aa64dfr0, 23, 20) : bits64(c->model->id_aa64dfr0, 15, 12)))
        return NULL;
    return store(c, d->off) + n;
}

int arm64_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    const struct sysreg *d = find(c, enc, rt, false);
    const uint64_t *at;

    if (!d)
        return A64_TRAPPED;
    switch (d->kind) {
    case KIND_STORE: *val = *store(c, d->off); return 0;
    case KIND_MODEL: memcpy(val, (const char *)c->model + d->off, sizeof(*val)); return 0;
    case KIND_ARRAY:
        at = array_at(c, d, enc);
        if (!at)
            return undef(c);
        *val = *at;
        return 0;
    default: return d->read(c, enc, val);
    }
}

int arm64_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    const struct sysreg *d = find(c, enc, rt, true);
    uint64_t *at;

    if (!d)
        return A64_TRAPPED;
    switch (d->kind) {
    case KIND_STORE:
        at = store(c, d->off);
        val = (*at & ~d->mask) | (val & d->mask);
        if (d->write)
            return d->write(c, enc, val);
        *at = val;
        return 0;
    case KIND_ARRAY:
        at = array_at(c, d, enc);
        if (!at)
            return undef(c);
        *at = val;
        return 0;
    default: return d->write(c, enc, val);
    }
}

/* A stored register that translation, or the state blocks are keyed by, depends on. */
static int w_context(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    uint64_t *at = store(c, sysregs[sysreg_index[enc]].off);

    if (*at != val) {
        *at = val;
        arm64_hook_context(c);
    }
    return 0;
}

int arm64_sysreg_plain(uint32_t enc, unsigned el, bool write)
{
    arm64_sysreg_init();
    if (enc > 0xffff)
        return -1;
    const struct sysreg *d = &sysregs[sysreg_index[enc]];
    unsigned need = el ? (write ? W1 : R1) : (write ? W0 : R0);

    /* Blocks are keyed by EL and SPSel; the caller asks about EL1 for SPSel 1, where SP_EL0 is banked away. */
    if (enc == SYSREG_ENC(3, 0, 4, 1, 0))
        return el ? (int)offsetof(struct arm64_cpu, sys.sp_el0) : -1;
    if (d->kind != KIND_STORE || !(d->access & need) || (el == 0 && d->trap) || d->feature != ARM64_FEAT_BASE)
        return -1;
    if (write && (d->write || d->mask != UINT64_MAX))
        return -1;
    return d->off;
}

bool arm64_sysreg_const(struct arm64_cpu *c, uint32_t enc, uint64_t *value)
{
    if (enc == SYSREG_ENC(3, 3, 0, 0, 1) && c->el)
        return r_ctr(c, enc, value) == 0;
    return enc == SYSREG_ENC(3, 3, 0, 0, 7) && r_dczid(c, enc, value) == 0;
}
