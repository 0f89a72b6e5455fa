/*
 * GICv2 registers (Arm IHI 0048): distributor and memory-mapped CPU interface, without Security Extensions but with
 * both groups. At most eight vCPUs. Which vCPU's banked registers are meant follows from who makes the access.
 */
#include "arch/arm64/gic_internal.h"

#define GICD_IIDR 0x0200143b
#define GICC_IIDR 0x0202143b

#define GICC_CTLR_GRP0 BIT32(0)
#define GICC_CTLR_GRP1 BIT32(1)
#define GICC_CTLR_ACKCTL BIT32(2)
#define GICC_CTLR_FIQEN BIT32(3)
#define GICC_CTLR_CBPR BIT32(4)
#define GICC_CTLR_EOIMODE BIT32(9)
#define GIC_OTHER_GROUP 1022 /* the best interrupt is of group 1, to be taken through the aliased registers */

void gicv2_reroute(struct gic *g, unsigned intid)
{
    /* With one vCPU there are no targets to choose from: GICD_ITARGETSR reads as zero. */
    uint32_t targets = g->cfg.ncpus == 1 ? 1 : (uint32_t)g->router[intid] & 0xff;

    gic_route(g, intid, targets ? (unsigned)__builtin_ctz(targets) : GIC_NO_CPU);
}

/* ---- distributor ---- */

/* GICD_ITARGETSR, a byte: for SGIs and PPIs it names the reader. */
static uint8_t target_read(const struct gic *g, unsigned cpu, unsigned intid)
{
    if (intid < 32)
        return g->cfg.ncpus > 1 ? (uint8_t)BIT32(cpu) : 0;
    return intid < g->nbanks * 32 && g->cfg.ncpus > 1 ? (uint8_t)g->router[intid] : 0;
}

static void target_write(struct gic *g, unsigned intid, uint8_t val)
{
    if (intid < 32 || intid >= g->nbanks * 32 || g->cfg.ncpus == 1)
        return;
    g->router[intid] = val & (BIT32(g->cfg.ncpus) - 1);
    gicv2_reroute(g, intid);
}

static uint32_t dist_read32(struct gic *g, unsigned cpu, uint32_t off)
{
    static const uint8_t id[12] = {0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1};
    uint32_t val = 0;

    switch (off) {
    case 0x000: return g->ctlr;
    case 0x004: return (g->nbanks - 1) | (g->cfg.ncpus - 1) << 5;
    case 0x008: return GICD_IIDR;
    default: break;
    }
    if (off >= 0x800 && off < 0xc00) {
        for (unsigned i = 0; i < 4; i++)
            val |= (uint32_t)target_read(g, cpu, off - 0x800 + i) << (8 * i);
        return val;
    }
    if (off >= 0xf10 && off < 0xf30) {
        for (unsigned i = 0; i < 4; i++)
            val |= (uint32_t)g->cpus[cpu].sgi_source[(off & 0xc) + i] << (8 * i);
        return val;
    }
    if (off >= 0xfd0)
        return id[(off - 0xfd0) / 4];
    return gic_common_read(g, cpu, off);
}

static void set_sources(struct gic_cpu *gc, unsigned intid, uint8_t sources)
{
    uint32_t m = BIT32(intid);

    gc->sgi_source[intid] = sources;
    gc->bank.latch = sources ? gc->bank.latch | m : gc->bank.latch & ~m;
    gic_update_cpu(gc);
}

/* GICD_SGIR: filter [25:24], targets [23:16], INTID [3:0]. */
static void sgir_write(struct gic *g, unsigned cpu, uint32_t val)
{
    uint32_t all = BIT32(g->cfg.ncpus) - 1, targets;
    unsigned intid = val & 15;

    switch (bits32(val, 25, 24)) {
    case 0: targets = bits32(val, 23, 16) & all; break;
    case 1: targets = all & ~BIT32(cpu); break;
    case 2: targets = BIT32(cpu); break;
    default: return;
    }
    for (; targets; targets &= targets - 1) {
        struct gic_cpu *gc = &g->cpus[__builtin_ctz(targets)];
        set_sources(gc, intid, (uint8_t)(gc->sgi_source[intid] | BIT32(cpu)));
    }
}

static void dist_write32(struct gic *g, unsigned cpu, uint32_t off, unsigned size, uint32_t val)
{
    struct gic_cpu *gc = &g->cpus[cpu];

    if (off >= 0x800 && off < 0xc00) {
        for (unsigned i = 0; i < size; i++)
            target_write(g, off - 0x800 + i, (uint8_t)(val >> (8 * i)));
    } else if (off >= 0xf10 && off < 0xf30) {
        for (unsigned i = 0; i < size; i++) {
            unsigned intid = (off + i) & 15;
            uint8_t v = (uint8_t)(val >> (8 * i)), was = gc->sgi_source[intid];
            uint8_t cpus = (uint8_t)(BIT32(g->cfg.ncpus) - 1);
            set_sources(gc, intid, off < 0xf20 ? was & (uint8_t)~v : was | (v & cpus));
        }
    } else if (off == 0xf00 && size == 4) {
        sgir_write(g, cpu, val);
    } else if (off == 0 && size == 4) {
        g->ctlr = val & (GICD_CTLR_GRP0 | GICD_CTLR_GRP1);
        gic_update_all(g);
    } else {
        gic_common_write(g, cpu, off, size, val);
    }
}

static uint64_t dist_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct gic *g = container_of(d, struct gic, dist);
    uint64_t val = 0;

    (void)size;
    if (cpu >= g->cfg.ncpus || off >= 0x1000)
        return 0;
    gic_lock(g);
    val = dist_read32(g, cpu, (uint32_t)off & ~3u) >> (8 * (off & 3));
    gic_unlock(g, (int)cpu);
    return val;
}

static void dist_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct gic *g = container_of(d, struct gic, dist);

    if (cpu >= g->cfg.ncpus || off >= 0x1000)
        return;
    gic_lock(g);
    dist_write32(g, cpu, (uint32_t)off, size, (uint32_t)val);
    gic_unlock(g, (int)cpu);
}

static const struct device_ops dist_ops = {
    .read = dist_read, .write = dist_write, .reset = gic_dist_reset, .destroy = gic_device_destroy};

const struct device_desc gicv2_dist_desc = {
    .name = "gicv2-dist",
    .size = 0x10000,
    .min_access = 1,
    .max_access = 4,
    .flags = DEVICE_SELF_LOCKED,
    .ops = &dist_ops,
};

/* ---- CPU interface ---- */

static uint32_t cpuif_iar(struct gic_cpu *gc, bool alias)
{
    if (!gic_can_preempt(gc) || (alias && gc->best_group == 0))
        return GIC_SPURIOUS;
    if (!alias && gc->best_group == 1 && !gc->ackctl)
        return GIC_OTHER_GROUP;
    return gic_acknowledge(gc);
}

static uint32_t cpuif_hppir(const struct gic_cpu *gc, bool alias)
{
    if (gc->best == GIC_SPURIOUS || (alias && gc->best_group == 0))
        return GIC_SPURIOUS;
    if (!alias && gc->best_group == 1 && !gc->ackctl)
        return GIC_OTHER_GROUP;
    uint32_t src = gc->best < 16 && gc->sgi_source[gc->best] ? (uint32_t)__builtin_ctz(gc->sgi_source[gc->best]) : 0;
    return gc->best | src << 10;
}

/* The group whose interrupt is running: GICC_EOIR ends either. */
static unsigned running_group(const struct gic_cpu *gc)
{
    uint32_t all = gc->apr[0] | gc->apr[1];

    return gc->apr[1] & all & (~all + 1) ? 1 : 0;
}

static uint32_t cpuif_ctlr(const struct gic_cpu *gc)
{
    return (gc->grpen[0] ? GICC_CTLR_GRP0 : 0) | (gc->grpen[1] ? GICC_CTLR_GRP1 : 0) |
           (gc->ackctl ? GICC_CTLR_ACKCTL : 0) | (gc->fiqen ? GICC_CTLR_FIQEN : 0) | (gc->cbpr ? GICC_CTLR_CBPR : 0) |
           (gc->eoimode ? GICC_CTLR_EOIMODE : 0);
}

static uint32_t cpuif_read32(struct gic_cpu *gc, uint32_t off)
{
    switch (off) {
    case 0x00: return cpuif_ctlr(gc);
    case 0x04: return gc->pmr;
    case 0x08: return gc->bpr[0];
    case 0x0c: return cpuif_iar(gc, false);
    case 0x14: return gic_running_prio(gc);
    case 0x18: return cpuif_hppir(gc, false);
    case 0x1c: return gc->bpr[1];
    case 0x20: return cpuif_iar(gc, true);
    case 0x28: return cpuif_hppir(gc, true);
    case 0xd0: return gc->apr[0];
    case 0xe0: return gc->apr[1];
    case 0xfc: return GICC_IIDR;
    default: return 0;
    }
}

static void cpuif_write32(struct gic_cpu *gc, uint32_t off, uint32_t val)
{
    switch (off) {
    case 0x00:
        gc->grpen[0] = val & GICC_CTLR_GRP0;
        gc->grpen[1] = val & GICC_CTLR_GRP1;
        gc->ackctl = val & GICC_CTLR_ACKCTL;
        gc->fiqen = val & GICC_CTLR_FIQEN;
        gc->cbpr = val & GICC_CTLR_CBPR;
        gc->eoimode = val & GICC_CTLR_EOIMODE;
        break;
    case 0x04: gc->pmr = val & GIC_PRIO_MASK; break;
    case 0x08: gic_set_bpr(gc, 0, val); break;
    case 0x10: gic_end(gc, running_group(gc), val & 0x3ff); return;
    case 0x1c: gic_set_bpr(gc, 1, val); break;
    case 0x24: gic_end(gc, 1, val & 0x3ff); return;
    case 0xd0: gc->apr[0] = val; break;
    case 0xe0: gc->apr[1] = val; break;
    case 0x1000:
        if (gc->eoimode)
            gic_deactivate(gc, val & 0x3ff);
        return;
    default: return;
    }
    gic_update_cpu(gc);
}

static uint64_t cpuif_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct gic *g = container_of(d, struct gic, redist);
    uint64_t val;

    (void)size;
    if (cpu >= g->cfg.ncpus)
        return 0;
    gic_lock(g);
    val = cpuif_read32(&g->cpus[cpu], (uint32_t)off);
    gic_unlock(g, (int)cpu);
    return val;
}

static void cpuif_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct gic *g = container_of(d, struct gic, redist);

    (void)size;
    if (cpu >= g->cfg.ncpus)
        return;
    gic_lock(g);
    cpuif_write32(&g->cpus[cpu], (uint32_t)off, (uint32_t)val);
    gic_unlock(g, (int)cpu);
}

static const struct device_ops cpuif_ops = {.read = cpuif_read, .write = cpuif_write, .destroy = gic_device_destroy};

const struct device_desc gicv2_cpuif_desc = {
    .name = "gicv2-cpuif",
    .size = 0x10000,
    .min_access = 4,
    .max_access = 4,
    .flags = DEVICE_SELF_LOCKED,
    .ops = &cpuif_ops,
};
