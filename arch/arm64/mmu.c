/*
 * Stage 1 translation of the EL1&0 regime: Arm ARM D8, 4K granule, up to 48-bit addresses, 16-bit ASIDs.
 *
 * Nothing is cached here: the JIT's soft TLB keeps what a walk returns. A walk returns whole permissions for both ELs,
 * so that one walk fills every view of a page; PAN and the EL of the access are applied by arm64_permitted. Descriptors
 * are read with single 64-bit loads, as other vCPUs change them at any time.
 */
#include "arch/arm64/internal.h"
#include "jit/ops.h"

#define FSC_ADDR_SIZE 0x00 /* each plus the level */
#define FSC_TRANSLATION 0x04
#define FSC_ACCESS_FLAG 0x08
#define FSC_PERMISSION 0x0c
#define FSC_WALK_EXTERNAL 0x14

#define DESC_VALID BIT64(0)
#define DESC_TABLE BIT64(1) /* at level 3: page */
#define DESC_AP_EL0 BIT64(6)
#define DESC_AP_RO BIT64(7)
#define DESC_AF BIT64(10)
#define DESC_NG BIT64(11)
#define DESC_PXN BIT64(53)
#define DESC_UXN BIT64(54)
#define DESC_PXNTABLE BIT64(59)
#define DESC_UXNTABLE BIT64(60)
#define DESC_APTABLE_NOEL0 BIT64(61)
#define DESC_APTABLE_RO BIT64(62)
#define DESC_ADDR UINT64_C(0x0000fffffffff000)

/* What AT reports beside struct arm64_xlat. */
struct attrs {
    uint8_t mair;
    uint8_t sh;
};

/* Physical address bits by ID_AA64MMFR0.PARange and TCR.IPS. */
static const uint8_t pa_bits[8] = {32, 36, 40, 42, 44, 48, 48, 48};

static int fault(struct arm64_fault *f, unsigned fsc)
{
    f->fsc = (uint8_t)fsc;
    return 1;
}

/* FEAT_E0PD: EL0 has no access to the half that va lies in. */
static bool e0pd_denies(const struct arm64_cpu *c, uint64_t va)
{
    return (c->sys.tcr_el1 & (va & BIT64(55) ? TCR_E0PD1 : TCR_E0PD0)) && bits64(c->model->id_aa64mmfr2, 63, 60) &&
           (c->sys.sctlr_el1 & SCTLR_M);
}

/* SCTLR_EL1.M is 0: flat, full access, Device memory for data. */
static int walk_flat(struct arm64_cpu *c, uint64_t va, struct arm64_xlat *out, struct arm64_fault *f,
                     struct attrs *attrs)
{
    unsigned top = c->sys.tcr_el1 & (va & BIT64(55) ? TCR_TBI1 : TCR_TBI0) ? 55 : 63;
    unsigned size = pa_bits[c->model->id_aa64mmfr0 & 7];

    if (bits64(va, top, size))
        return fault(f, FSC_ADDR_SIZE);
    *out = (struct arm64_xlat){.pa = bits64(va, top, 0),
                               .page_bits = 12,
                               .perm = ARM64_PERM_R1 | ARM64_PERM_W1 | ARM64_PERM_X1 | ARM64_PERM_R0 | ARM64_PERM_W0 |
                                       ARM64_PERM_X0,
                               .device = true};
    *attrs = (struct attrs){.mair = 0, .sh = 2};
    return 0;
}

/* Permissions of a leaf; `desc` carries the hierarchical bits of its tables as well. */
static uint8_t leaf_perm(const struct arm64_cpu *c, uint64_t desc, uint64_t table)
{
    bool ro = (desc & DESC_AP_RO) || (table & DESC_APTABLE_RO);
    bool el0 = (desc & DESC_AP_EL0) && !(table & DESC_APTABLE_NOEL0);
    uint8_t perm = ARM64_PERM_R1 | ARM64_PERM_X1 | ARM64_PERM_X0;

    if (!ro)
        perm |= ARM64_PERM_W1;
    if (el0)
        perm |= ro ? ARM64_PERM_R0 : ARM64_PERM_R0 | ARM64_PERM_W0;
    /* What EL0 can write EL1 never executes. */
    if ((desc & DESC_PXN) || (table & DESC_PXNTABLE) || (perm & ARM64_PERM_W0))
        perm &= (uint8_t)~ARM64_PERM_X1;
    if ((desc & DESC_UXN) || (table & DESC_UXNTABLE))
        perm &= (uint8_t)~ARM64_PERM_X0;
    if (c->sys.sctlr_el1 & SCTLR_WXN) {
        if (perm & ARM64_PERM_W1)
            perm &= (uint8_t)~ARM64_PERM_X1;
        if (perm & ARM64_PERM_W0)
            perm &= (uint8_t)~ARM64_PERM_X0;
    }
    return perm;
}

static inline __attribute__((always_inline)) int walk(struct arm64_cpu *c, struct mem *m, uint64_t va,
                                                      struct arm64_xlat *out, struct arm64_fault *f,
                                                      struct attrs *attrs)
{
    uint64_t tcr = c->sys.tcr_el1;

    if (unlikely(!(c->sys.sctlr_el1 & SCTLR_M)))
        return walk_flat(c, va, out, f, attrs);

    bool high = va & BIT64(55);
    unsigned tsz = (unsigned)(high ? bits64(tcr, 21, 16) : bits64(tcr, 5, 0));
    uint64_t ttbr = high ? c->sys.ttbr1_el1 : c->sys.ttbr0_el1;
    /* Out of range: taken as the nearest legal size (CONSTRAINED UNPREDICTABLE, D8.2.3). */
    tsz = tsz < 16 ? 16 : tsz > 39 ? 39 : tsz;
    unsigned in_bits = 64 - tsz;

    /* All bits from the top one that counts down to the input size equal the half's bit. */
    unsigned top = tcr & (high ? TCR_TBI1 : TCR_TBI0) ? 56 : 64;
    int64_t ext = (int64_t)(va << (64 - top)) >> (64 - top + in_bits);
    if (ext != (high ? -1 : 0) || (tcr & (high ? TCR_EPD1 : TCR_EPD0)))
        return fault(f, FSC_TRANSLATION);

    unsigned size = MIN(pa_bits[bits64(tcr, 34, 32)], pa_bits[c->model->id_aa64mmfr0 & 7]);
    unsigned level = 4 - (1 + (in_bits - 13) / 9);
    unsigned shift = 12 + 9 * (3 - level);
    uint64_t table = bits64(ttbr, 47, 1) << 1;
    uint64_t index = bits64(va, in_bits - 1, shift);
    uint64_t hier = 0, desc;

    if (table >> size)
        return fault(f, FSC_ADDR_SIZE);
    table &= ~(BIT64(in_bits - shift + 3) - 1);
    for (;; level++) {
        gpa_t at = GPA(table + index * 8);
        const struct mem_region *r = mem_find_direct(m, at, 8);
        if (unlikely(!r))
            return fault(f, FSC_WALK_EXTERNAL + level);
        desc = __atomic_load_n((const uint64_t *)(const void *)(r->host + (at.v - r->base.v)), __ATOMIC_ACQUIRE);
        if (!(desc & DESC_VALID))
            return fault(f, FSC_TRANSLATION + level);
        if (level == 3 || !(desc & DESC_TABLE))
            break;
        table = desc & DESC_ADDR;
        if (table >> size)
            return fault(f, FSC_ADDR_SIZE + level);
        hier |= desc;
        shift -= 9;
        index = bits64(va, shift + 8, shift);
    }
    if (level == 3 ? !(desc & DESC_TABLE) : level == 0)
        return fault(f, FSC_TRANSLATION + level);
    uint64_t page = BIT64(shift) - 1;
    uint64_t pa = desc & DESC_ADDR & ~page;
    if (pa >> size)
        return fault(f, FSC_ADDR_SIZE + level);
    if (!(desc & DESC_AF))
        return fault(f, FSC_ACCESS_FLAG + level);

    if ((tcr & (high ? TCR_HPD1 : TCR_HPD0)) && bits64(c->model->id_aa64mmfr1, 15, 12))
        hier = 0;
    uint64_t asid = (tcr & TCR_A1 ? c->sys.ttbr1_el1 : c->sys.ttbr0_el1) >> 48;
    attrs->mair = (uint8_t)(c->sys.mair_el1 >> (8 * bits64(desc, 4, 2)));
    attrs->sh = (uint8_t)bits64(desc, 9, 8);
    out->pa = pa | (va & page);
    out->page_bits = (uint8_t)shift;
    out->perm = leaf_perm(c, desc, hier);
    out->ng = desc & DESC_NG;
    out->device = !(attrs->mair & 0xf0);
    out->asid = (uint16_t)(tcr & TCR_AS ? asid : asid & 0xff);
    /* arm64_abort reports a denial by E0PD as the translation fault that it is. */
    if (unlikely(e0pd_denies(c, va)))
        out->perm &= ARM64_PERM_R1 | ARM64_PERM_W1 | ARM64_PERM_X1;
    return 0;
}

int arm64_walk(struct arm64_cpu *c, struct mem *m, uint64_t va, struct arm64_xlat *out, struct arm64_fault *f)
{
    struct attrs attrs;
    return walk(c, m, va, out, f, &attrs);
}

static bool permitted(const struct arm64_xlat *x, enum arm64_access acc, unsigned el, bool pan)
{
    static const uint8_t need[3][2] = {
        {ARM64_PERM_R0, ARM64_PERM_R1}, {ARM64_PERM_W0, ARM64_PERM_W1}, {ARM64_PERM_X0, ARM64_PERM_X1}};

    if (!(x->perm & need[acc][el]))
        return false;
    /* PAN (D8.4.6.2): EL1 data accesses to what EL0 can access are denied. R0 stands for AP[1]. */
    return !(el == 1 && pan && acc != ARM64_FETCH && (x->perm & ARM64_PERM_R0));
}

bool arm64_permitted(const struct arm64_cpu *c, const struct arm64_xlat *x, enum arm64_access acc, unsigned el)
{
    /* With the MMU off there are no permissions. */
    return permitted(x, acc, el, (c->pstate_misc & PSTATE_PAN) && (c->sys.sctlr_el1 & SCTLR_M));
}

uint8_t arm64_perm_fsc(const struct arm64_xlat *x)
{
    return (uint8_t)(FSC_PERMISSION + 3 - (x->page_bits - 12) / 9);
}

void arm64_abort(struct arm64_cpu *c, uint64_t va, enum arm64_access acc, uint8_t fsc, bool cm)
{
    uint32_t iss = fsc;

    /* What EL0 may not touch because of E0PD looks unmapped. */
    if (c->el == 0 && (fsc & 0x3c) == FSC_PERMISSION && e0pd_denies(c, va))
        iss = FSC_TRANSLATION;
    if (acc == ARM64_FETCH) {
        arm64_take_sync(c, ARM64_EC_IABT_LOWER, iss, va, c->pc);
        return;
    }
    if (acc == ARM64_WRITE || cm)
        iss |= BIT32(6); /* WnR: set for cache maintenance too */
    if (cm)
        iss |= BIT32(8);
    arm64_take_sync(c, ARM64_EC_DABT_LOWER, iss, va, c->pc);
}

#define PAR_F BIT64(0)
#define PAR_RES1 BIT64(11)

int arm64_at(struct arm64_cpu *c, uint32_t enc, uint64_t va)
{
    unsigned op2 = enc & 7;
    bool pan = bits32(enc, 6, 3) == 9; /* S1E1RP, S1E1WP */
    unsigned el = op2 & 2 ? 0 : 1;
    enum arm64_access acc = op2 & 1 ? ARM64_WRITE : ARM64_READ;
    struct arm64_xlat x;
    struct arm64_fault f = {.fsc = FSC_WALK_EXTERNAL};
    struct attrs attrs;
    static struct mem none;

    if (walk(c, c->mem ? c->mem : &none, va, &x, &f, &attrs)) {
        if ((f.fsc & 0x3c) == FSC_WALK_EXTERNAL) {
            arm64_abort(c, va, acc, f.fsc, true);
            return A64_TRAPPED;
        }
    } else if (!(c->sys.sctlr_el1 & SCTLR_M) || permitted(&x, acc, el, pan && (c->pstate_misc & PSTATE_PAN))) {
        /* Device and Non-cacheable memory is outer shareable whatever the descriptor says. */
        unsigned sh = x.device || attrs.mair == 0x44 ? 2 : attrs.sh;
        c->sys.par_el1 = (uint64_t)attrs.mair << 56 | (x.pa & DESC_ADDR) | PAR_RES1 | (uint64_t)sh << 7;
        return 0;
    } else {
        f.fsc = el == 0 && e0pd_denies(c, va) ? FSC_TRANSLATION : arm64_perm_fsc(&x);
    }
    c->sys.par_el1 = PAR_F | PAR_RES1 | (uint64_t)f.fsc << 1;
    return 0;
}
