/*
 * GICv3 registers (Arm IHI 0069): the distributor, a redistributor of two 64 KiB frames a vCPU, and the CPU interface
 * as system registers. Affinity routing and system registers are always on; there are no LPIs, no ITS, no message-based
 * SPIs and one security state.
 */
#include "arch/arm64/gic_internal.h"

#include "arch/arm64/arm64.h"

#define FRAME_SIZE 0x10000
#define IIDR 0x0000043b /* implementer: Arm */

#define GICD_CTLR_ARE BIT32(4)
#define GICD_CTLR_DS BIT32(6)
#define IROUTER_IRM BIT64(31)
#define IROUTER_MASK UINT64_C(0xff80ffffff)
#define WAKER_PROCESSOR_SLEEP BIT32(1)
#define WAKER_CHILDREN_ASLEEP BIT32(2)

/* Peripheral and component identification at 0xffd0..0xffff of each frame; PIDR2 says architecture revision 3. */
static uint32_t id_read(uint32_t off, uint8_t part)
{
    static const uint8_t id[12] = {0x44, 0, 0, 0, 0, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1};
    unsigned i = (off - 0xffd0) / 4;

    return i == 4 ? part : id[i];
}

/* MPIDR-style affinity, Aff3 in bits 39..32, to the vCPU that has it. */
static unsigned cpu_at(const struct gic *g, uint64_t aff)
{
    for (unsigned i = 0; i < g->cfg.ncpus; i++) {
        if ((g->cpus[i].cpu->mpidr & UINT64_C(0xff00ffffff)) == aff)
            return i;
    }
    return GIC_NO_CPU;
}

void gicv3_reroute(struct gic *g, unsigned intid)
{
    uint64_t r = g->router[intid];

    gic_route(g, intid, r & IROUTER_IRM ? 0 : cpu_at(g, r & UINT64_C(0xff00ffffff)));
}

/* ---- distributor ---- */

static uint32_t dist_read32(struct gic *g, unsigned cpu, uint32_t off)
{
    switch (off) {
    case 0x0000: return g->ctlr | GICD_CTLR_ARE | GICD_CTLR_DS;
    /* ITLinesNumber; IDbits 10; A3V */
    case 0x0004: return (g->nbanks - 1) | 9u << 19 | BIT32(24);
    case 0x0008: return IIDR;
    default: break;
    }
    if (off >= 0x6000 + 8 * 32 && off < 0x6000 + 8 * g->nbanks * 32)
        return (uint32_t)(g->router[(off - 0x6000) / 8] >> (off & 4 ? 32 : 0));
    if (off >= 0xffd0)
        return id_read(off, 0x92);
    /* SGIs and PPIs belong to the redistributors. */
    if ((off < 0x400 && (off & 0x7f) == 0) || (off >= 0x400 && off < 0x420) || (off >= 0xc00 && off < 0xc08))
        return 0;
    return gic_common_read(g, cpu, off);
}

static void dist_write32(struct gic *g, unsigned cpu, uint32_t off, unsigned size, uint32_t val)
{
    if (off >= 0x6000 + 8 * 32 && off < 0x6000 + 8 * g->nbanks * 32) {
        if (size != 4)
            return;
        unsigned intid = (off - 0x6000) / 8;
        uint64_t *r = &g->router[intid];
        *r = off & 4 ? (*r & UINT32_MAX) | (uint64_t)val << 32 : (*r & ~(uint64_t)UINT32_MAX) | val;
        *r &= IROUTER_MASK;
        gicv3_reroute(g, intid);
        return;
    }
    if (off == 0) {
        if (size == 4) {
            g->ctlr = val & (GICD_CTLR_GRP0 | GICD_CTLR_GRP1);
            gic_update_all(g);
        }
        return;
    }
    if ((off < 0x400 && (off & 0x7f) < 4) || (off >= 0x400 && off < 0x420) || (off >= 0xc00 && off < 0xc08))
        return;
    gic_common_write(g, cpu, off, size, val);
}

typedef uint32_t (*read32_fn)(struct gic *g, unsigned cpu, uint32_t off);

/* A read of 1..8 bytes out of registers of 32 bits, none of which a read changes. */
static uint64_t read_words(read32_fn read32, struct gic *g, unsigned cpu, uint64_t off, unsigned size)
{
    uint32_t at = (uint32_t)off & ~3u;
    uint64_t val = read32(g, cpu, at);

    if (size == 8)
        val |= (uint64_t)read32(g, cpu, at + 4) << 32;
    return val >> (8 * (off & 3));
}

static uint64_t dist_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct gic *g = container_of(d, struct gic, dist);
    uint64_t val;

    gic_lock(g);
    val = read_words(dist_read32, g, cpu, off, size);
    gic_unlock(g, (int)cpu);
    return val;
}

static void dist_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct gic *g = container_of(d, struct gic, dist);

    gic_lock(g);
    dist_write32(g, cpu, (uint32_t)off, MIN(size, 4u), (uint32_t)val);
    if (size == 8)
        dist_write32(g, cpu, (uint32_t)off + 4, 4, (uint32_t)(val >> 32));
    gic_unlock(g, (int)cpu);
}

static const struct device_ops dist_ops = {
    .read = dist_read, .write = dist_write, .reset = gic_dist_reset, .destroy = gic_device_destroy};

const struct device_desc gicv3_dist_desc = {
    .name = "gicv3-dist",
    .size = FRAME_SIZE,
    .min_access = 1,
    .max_access = 8,
    .flags = DEVICE_SELF_LOCKED,
    .ops = &dist_ops,
};

/* ---- redistributors ---- */

static uint64_t redist_typer(const struct gic_cpu *gc)
{
    uint64_t aff = gc->cpu->mpidr;

    aff = (aff & 0xffffff) | (aff >> 8 & 0xff000000);
    return aff << 32 | (uint64_t)gc->index << 8 | (gc->index + 1 == gc->gic->cfg.ncpus ? BIT64(4) : 0);
}

/* `off` is inside the two frames of vCPU `target`. */
static uint32_t redist_read32(struct gic *g, unsigned target, uint32_t off)
{
    const struct gic_cpu *gc = &g->cpus[target];

    if (off >= FRAME_SIZE) {
        off -= FRAME_SIZE;
        if (off >= 0xffd0)
            return id_read(off, 0x93);
        if ((off < 0x400 && (off & 0x7f)) || (off >= 0x420 && off < 0xc00) || off >= 0xc08)
            return 0;
        return gic_common_read(g, target, off);
    }
    switch (off) {
    case 0x0004: return IIDR;
    case 0x0008: return (uint32_t)redist_typer(gc);
    case 0x000c: return (uint32_t)(redist_typer(gc) >> 32);
    case 0x0014: return gc->waker;
    default: return off >= 0xffd0 ? id_read(off, 0x93) : 0;
    }
}

static void redist_write32(struct gic *g, unsigned target, uint32_t off, unsigned size, uint32_t val)
{
    if (off >= FRAME_SIZE) {
        off -= FRAME_SIZE;
        if ((off < 0x400 && (off & 0x7f)) || (off >= 0x420 && off < 0xc00) || off >= 0xc08)
            return;
        gic_common_write(g, target, off, size, val);
    } else if (off == 0x0014 && size == 4) {
        /* Children follow at once. */
        g->cpus[target].waker = val & WAKER_PROCESSOR_SLEEP ? WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP : 0;
    }
}

static uint64_t redist_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct gic *g = container_of(d, struct gic, redist);
    unsigned target = (unsigned)(off / (2 * FRAME_SIZE));
    uint64_t val;

    if (target >= g->cfg.ncpus)
        return 0;
    off %= 2 * FRAME_SIZE;
    gic_lock(g);
    val = read_words(redist_read32, g, target, off, size);
    gic_unlock(g, (int)cpu);
    return val;
}

static void redist_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct gic *g = container_of(d, struct gic, redist);
    unsigned target = (unsigned)(off / (2 * FRAME_SIZE));

    if (target >= g->cfg.ncpus)
        return;
    off %= 2 * FRAME_SIZE;
    gic_lock(g);
    redist_write32(g, target, (uint32_t)off, MIN(size, 4u), (uint32_t)val);
    if (size == 8)
        redist_write32(g, target, (uint32_t)off + 4, 4, (uint32_t)(val >> 32));
    gic_unlock(g, (int)cpu);
}

static const struct device_ops redist_ops = {.read = redist_read, .write = redist_write, .destroy = gic_device_destroy};

const struct device_desc gicv3_redist_desc = {
    .name = "gicv3-redist",
    .size = 2 * FRAME_SIZE, /* for each vCPU */
    .min_access = 1,
    .max_access = 8,
    .flags = DEVICE_SELF_LOCKED,
    .ops = &redist_ops,
};

/* ---- CPU interface ---- */

#define ICC(crm, op2) SYSREG_ENC(3, 0, 12, crm, op2)
#define ICC_PMR SYSREG_ENC(3, 0, 4, 6, 0)
#define ICC_CTLR_CBPR BIT64(0)
#define ICC_CTLR_EOIMODE BIT64(1)

static void send_sgi(struct gic *g, unsigned target, unsigned intid, unsigned group)
{
    struct gic_bank *b = &g->cpus[target].bank;
    uint32_t m = BIT32(intid);

    /* A request for one group does not make an SGI of the other pending. */
    if ((b->group >> intid & 1) != group || (b->latch & m))
        return;
    b->latch |= m;
    gic_update_cpu(&g->cpus[target]);
}

/* ICC_SGInR: TargetList [15:0], Aff1, INTID [27:24], Aff2, IRM [40], RS [47:44], Aff3. */
static void sgi_write(struct gic_cpu *gc, uint64_t val, unsigned group)
{
    struct gic *g = gc->gic;
    unsigned intid = (unsigned)bits64(val, 27, 24);

    if (val & BIT64(40)) {
        for (unsigned i = 0; i < g->cfg.ncpus; i++) {
            if (i != gc->index)
                send_sgi(g, i, intid, group);
        }
        return;
    }
    uint64_t cluster = bits64(val, 55, 48) << 32 | bits64(val, 39, 32) << 16 | bits64(val, 23, 16) << 8;
    unsigned first = (unsigned)bits64(val, 47, 44) * 16;
    for (uint32_t list = val & 0xffff; list; list &= list - 1) {
        unsigned target = cpu_at(g, cluster | (first + (unsigned)__builtin_ctz(list)));
        if (target != GIC_NO_CPU)
            send_sgi(g, target, intid, group);
    }
}

static uint64_t icc_iar(struct gic_cpu *gc, unsigned group)
{
    if (gc->best_group != group || !gic_can_preempt(gc))
        return GIC_SPURIOUS;
    return gic_acknowledge(gc);
}

static uint64_t icc_hppir(const struct gic_cpu *gc, unsigned group)
{
    return gc->best_group == group ? gc->best : GIC_SPURIOUS;
}

static uint64_t icc_bpr1(const struct gic_cpu *gc)
{
    /* With a common binary point the register shows BPR0 plus one, saturated. */
    return gc->cbpr ? MIN(gc->bpr[0] + 1, 7) : gc->bpr[1];
}

static int icc_read(struct gic_cpu *gc, uint32_t enc, uint64_t *val)
{
    switch (enc) {
    case ICC_PMR: *val = gc->pmr; return 0;
    case ICC(8, 0): *val = icc_iar(gc, 0); return 0;
    case ICC(12, 0): *val = icc_iar(gc, 1); return 0;
    case ICC(8, 2): *val = icc_hppir(gc, 0); return 0;
    case ICC(12, 2): *val = icc_hppir(gc, 1); return 0;
    case ICC(8, 3): *val = gc->bpr[0]; return 0;
    case ICC(12, 3): *val = icc_bpr1(gc); return 0;
    case ICC(8, 4): *val = gc->apr[0]; return 0;
    case ICC(9, 0): *val = gc->apr[1]; return 0;
    case ICC(11, 3): *val = gic_running_prio(gc); return 0;
    /* PRIbits 5; IDbits 16; A3V */
    case ICC(12, 4):
        *val = (gc->cbpr ? ICC_CTLR_CBPR : 0) | (gc->eoimode ? ICC_CTLR_EOIMODE : 0) | 4 << 8 | BIT64(15);
        return 0;
    case ICC(12, 5): *val = 7; return 0; /* SRE, DFB, DIB: fixed */
    case ICC(12, 6): *val = gc->grpen[0]; return 0;
    case ICC(12, 7): *val = gc->grpen[1]; return 0;
    default: return -1;
    }
}

static int icc_write(struct gic_cpu *gc, uint32_t enc, uint64_t val)
{
    switch (enc) {
    case ICC_PMR: gc->pmr = val & GIC_PRIO_MASK; break;
    case ICC(8, 1): gic_end(gc, 0, val & 0xffffff); return 0;
    case ICC(12, 1): gic_end(gc, 1, val & 0xffffff); return 0;
    case ICC(8, 3): gic_set_bpr(gc, 0, val); break;
    case ICC(12, 3):
        if (!gc->cbpr)
            gic_set_bpr(gc, 1, val);
        break;
    case ICC(8, 4): gc->apr[0] = (uint32_t)val; break;
    case ICC(9, 0): gc->apr[1] = (uint32_t)val; break;
    case ICC(11, 1):
        if (gc->eoimode)
            gic_deactivate(gc, val & 0xffffff);
        return 0;
    case ICC(11, 5): sgi_write(gc, val, 1); return 0;
    case ICC(11, 6): return 0; /* for the other security state, of which there is none */
    case ICC(11, 7): sgi_write(gc, val, 0); return 0;
    case ICC(12, 4):
        gc->cbpr = val & ICC_CTLR_CBPR;
        gc->eoimode = val & ICC_CTLR_EOIMODE;
        break;
    case ICC(12, 5): return 0;
    case ICC(12, 6): gc->grpen[0] = val & 1; break;
    case ICC(12, 7): gc->grpen[1] = val & 1; break;
    default: return -1;
    }
    gic_update_cpu(gc);
    return 0;
}

int gic_icc_read(struct arm64_cpu *c, uint32_t enc, uint64_t *val)
{
    struct gic_cpu *gc = c->gic;

    if (!gc || gc->gic->cfg.version != 3)
        return -1;
    gic_lock(gc->gic);
    int ret = icc_read(gc, enc, val);
    gic_unlock(gc->gic, (int)gc->index);
    return ret;
}

int gic_icc_write(struct arm64_cpu *c, uint32_t enc, uint64_t val)
{
    struct gic_cpu *gc = c->gic;

    if (!gc || gc->gic->cfg.version != 3)
        return -1;
    gic_lock(gc->gic);
    int ret = icc_write(gc, enc, val);
    gic_unlock(gc->gic, (int)gc->index);
    return ret;
}
