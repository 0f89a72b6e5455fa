/*
 * Interrupt state, priorities and delivery, common to GICv2 and GICv3.
 *
 * An interrupt is pending when it is latched (an edge, a write to ISPENDR, an SGI) or, if level sensitive, while its
 * line is high. The best pending interrupt of each vCPU is kept in gic_cpu.best and recomputed, over the banks' bit
 * masks, when something that it depends on changes; IAR, EOI and SGIs touch one vCPU only. The result drives irq_lines
 * of struct arm64_cpu, which the vCPU reads without the lock.
 *
 * An SPI whose routing names several vCPUs goes to the first of them.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/arm64/gic_internal.h"

#define SECTION "gic"
#define SECTION_VERSION 1
#define SGI_MASK 0xffffu

void gic_lock(struct gic *g)
{
    pthread_mutex_lock(&g->lock);
}

void gic_unlock(struct gic *g, int self)
{
    uint64_t kicks = g->kicks;

    g->kicks = 0;
    pthread_mutex_unlock(&g->lock);
    if (self >= 0)
        kicks &= ~BIT64(self);
    while (unlikely(kicks)) {
        g->cfg.kick(g->cfg.opaque, (unsigned)__builtin_ctzll(kicks));
        kicks &= kicks - 1;
    }
}

struct gic_bank *gic_bank_at(struct gic *g, unsigned cpu, unsigned n)
{
    if (n >= g->nbanks)
        return NULL;
    return n == 0 ? &g->cpus[cpu].bank : &g->spi[n];
}

/* ---- priorities ---- */

/* The part of a priority that decides on preemption. */
static uint8_t group_mask(const struct gic_cpu *gc, unsigned group)
{
    unsigned bpr = gc->bpr[0];

    /* Group 1's binary point counts from one further (Arm IHI 0069, 4.8.5). */
    if (group == 1 && !gc->cbpr)
        bpr = gc->bpr[1] - 1u;
    return (uint8_t)(0xffu << (bpr + 1));
}

uint8_t gic_running_prio(const struct gic_cpu *gc)
{
    uint32_t apr = gc->apr[0] | gc->apr[1];

    return apr ? (uint8_t)(__builtin_ctz(apr) << GIC_PRIO_SHIFT) : GIC_PRIO_IDLE;
}

bool gic_can_preempt(const struct gic_cpu *gc)
{
    if (gc->best == GIC_SPURIOUS || gc->best_prio >= gc->pmr)
        return false;
    uint8_t running = gic_running_prio(gc);
    if (running == GIC_PRIO_IDLE)
        return true;
    uint8_t mask = group_mask(gc, gc->best_group);
    return (gc->best_prio & mask) < (running & mask);
}

void gic_set_bpr(struct gic_cpu *gc, unsigned group, uint64_t val)
{
    uint8_t v = val & 7, min = group ? GIC_BPR1_MIN : GIC_BPR0_MIN;

    gc->bpr[group] = MAX(v, min);
}

/* ---- delivery ---- */

static uint32_t bank_pending(const struct gic_bank *b)
{
    return b->latch | (b->line & ~b->edge);
}

/* Tells the vCPU what its lines are now. */
static void signal_cpu(struct gic_cpu *gc)
{
    struct arm64_cpu *c = gc->cpu;
    uint32_t lines = 0;

    if (gic_can_preempt(gc)) {
        bool fiq = gc->best_group == 0 && (gc->gic->cfg.version == 3 || gc->fiqen);
        lines = fiq ? ARM64_LINE_FIQ : ARM64_LINE_IRQ;
    }
    uint32_t before = atomic_load_explicit(&c->irq_lines, memory_order_relaxed);
    if (lines == before)
        return;
    atomic_store_explicit(&c->irq_lines, lines, memory_order_release);
    if (lines) {
        /* Sequentially consistent against the vCPU's own "set waiting, look at irq_lines" in WFI. */
        atomic_fetch_or(&c->exit_request, ARM64_EXIT_IRQ);
        gc->gic->kicks |= BIT64(gc->index);
    }
}

void gic_update_cpu(struct gic_cpu *gc)
{
    struct gic *g = gc->gic;
    /* What each bit of `group` lets through: both the distributor's and the interface's enables. */
    bool en0 = (g->ctlr & GICD_CTLR_GRP0) && gc->grpen[0];
    bool en1 = (g->ctlr & GICD_CTLR_GRP1) && gc->grpen[1];

    gc->best = GIC_SPURIOUS;
    gc->best_prio = GIC_PRIO_IDLE;
    if (en0 || en1) {
        for (unsigned n = 0; n < g->nbanks; n++) {
            const struct gic_bank *b = n ? &g->spi[n] : &gc->bank;
            uint32_t m = bank_pending(b) & b->enabled & ~b->active & gc->route[n];

            m &= (en1 ? b->group : 0) | (en0 ? ~b->group : 0);
            for (; m; m &= m - 1) {
                unsigned bit = (unsigned)__builtin_ctz(m);
                if (b->prio[bit] < gc->best_prio) {
                    gc->best = (uint16_t)(n * 32 + bit);
                    gc->best_prio = b->prio[bit];
                    gc->best_group = b->group >> bit & 1;
                }
            }
        }
    }
    signal_cpu(gc);
}

void gic_update_all(struct gic *g)
{
    for (unsigned i = 0; i < g->cfg.ncpus; i++)
        gic_update_cpu(&g->cpus[i]);
}

void gic_update_bank(struct gic *g, unsigned cpu, unsigned n)
{
    if (n == 0)
        gic_update_cpu(&g->cpus[cpu]);
    else
        gic_update_all(g);
}

void gic_route(struct gic *g, unsigned intid, unsigned cpu)
{
    for (unsigned i = 0; i < g->cfg.ncpus; i++) {
        uint32_t *r = &g->cpus[i].route[intid / 32];
        bool was = *r & BIT32(intid % 32);

        if (was == (i == cpu))
            continue;
        *r ^= BIT32(intid % 32);
        gic_update_cpu(&g->cpus[i]);
    }
}

static void set_line(struct gic_bank *b, unsigned bit, bool level)
{
    uint32_t m = BIT32(bit);

    if (level && !(b->line & m))
        b->latch |= b->edge & m;
    b->line = level ? b->line | m : b->line & ~m;
}

static void spi_set(void *opaque, unsigned intid, bool level)
{
    struct gic *g = opaque;
    unsigned n = intid / 32;
    uint32_t m = BIT32(intid % 32);

    gic_lock(g);
    if (level != !!(g->spi[n].line & m)) {
        set_line(&g->spi[n], intid % 32, level);
        for (unsigned i = 0; i < g->cfg.ncpus; i++) {
            if (g->cpus[i].route[n] & m)
                gic_update_cpu(&g->cpus[i]);
        }
    }
    gic_unlock(g, -1);
}

static void ppi_set(void *opaque, unsigned intid, bool level)
{
    struct gic_cpu *gc = opaque;

    gic_lock(gc->gic);
    set_line(&gc->bank, intid, level);
    gic_update_cpu(gc);
    gic_unlock(gc->gic, -1);
}

struct irq_line gic_spi_line(struct gic *g, unsigned spi)
{
    if (spi >= g->cfg.nspis)
        return (struct irq_line){0};
    return (struct irq_line){.set = spi_set, .opaque = g, .num = 32 + spi};
}

struct irq_line gic_ppi_line(struct gic *g, unsigned cpu, unsigned intid)
{
    if (cpu >= g->cfg.ncpus || intid < 16 || intid > 31)
        return (struct irq_line){0};
    return (struct irq_line){.set = ppi_set, .opaque = &g->cpus[cpu], .num = intid};
}

/* ---- the CPU interface's verbs ---- */

uint32_t gic_acknowledge(struct gic_cpu *gc)
{
    struct gic *g = gc->gic;
    uint32_t intid = gc->best, m = BIT32(intid % 32);
    struct gic_bank *b = gic_bank_at(g, gc->index, intid / 32);
    uint8_t prio = gc->best_prio & group_mask(gc, gc->best_group);

    gc->apr[gc->best_group] |= BIT32(prio >> GIC_PRIO_SHIFT);
    b->active |= m;
    b->latch &= ~m;
    if (g->cfg.version == 2 && intid < 16 && gc->sgi_source[intid]) {
        unsigned src = (unsigned)__builtin_ctz(gc->sgi_source[intid]);
        gc->sgi_source[intid] &= (uint8_t)(gc->sgi_source[intid] - 1);
        if (gc->sgi_source[intid])
            b->latch |= m;
        intid |= src << 10;
    }
    gic_update_cpu(gc);
    return intid;
}

static void deactivate(struct gic_cpu *gc, uint32_t intid)
{
    struct gic *g = gc->gic;
    struct gic_bank *b = gic_bank_at(g, gc->index, intid / 32);
    uint32_t m = BIT32(intid % 32);

    if (!b || !(b->active & m))
        return;
    b->active &= ~m;
    /* An SPI may have been routed elsewhere while it was active. */
    if (intid >= 32 && !(gc->route[intid / 32] & m)) {
        for (unsigned i = 0; i < g->cfg.ncpus; i++) {
            if (g->cpus[i].route[intid / 32] & m)
                gic_update_cpu(&g->cpus[i]);
        }
    }
}

void gic_end(struct gic_cpu *gc, unsigned group, uint32_t intid)
{
    /* Special INTIDs end nothing, nor does an end of a group that is not the running one. */
    uint32_t all = gc->apr[0] | gc->apr[1];
    uint32_t running = all & (~all + 1);

    if ((intid >= 1020 && intid <= GIC_SPURIOUS) || !(gc->apr[group] & running))
        return;
    gc->apr[group] &= ~running;
    if (!gc->eoimode)
        deactivate(gc, intid);
    gic_update_cpu(gc);
}

void gic_deactivate(struct gic_cpu *gc, uint32_t intid)
{
    deactivate(gc, intid);
    gic_update_cpu(gc);
}

/* ---- registers of the same layout in distributor and redistributor ---- */

/* Offsets 0x080..0x3ff are 32 words each of one bit an interrupt. */
enum bits_class { IGROUPR = 1, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER };

static uint32_t bits_read(const struct gic_bank *b, unsigned class)
{
    switch (class) {
    case IGROUPR: return b->group;
    case ISENABLER:
    case ICENABLER: return b->enabled;
    case ISPENDR:
    case ICPENDR: return bank_pending(b);
    default: return b->active;
    }
}

static void bits_write(struct gic *g, struct gic_bank *b, unsigned class, uint32_t val, bool sgis)
{
    /* SGIs are always enabled in v2, where their pending state has registers of its own. */
    uint32_t v2_sgis = sgis && g->cfg.version == 2 ? SGI_MASK : 0;

    switch (class) {
    case IGROUPR: b->group = val; break;
    case ISENABLER: b->enabled |= val; break;
    case ICENABLER: b->enabled &= ~(val & ~v2_sgis); break;
    case ISPENDR: b->latch |= val & ~v2_sgis; break;
    case ICPENDR: b->latch &= ~(val & ~v2_sgis); break;
    case ISACTIVER: b->active |= val; break;
    default: b->active &= ~val; break;
    }
}

static uint32_t icfgr_read(const struct gic_bank *b, unsigned half)
{
    uint32_t val = 0;

    for (unsigned i = 0; i < 16; i++)
        val |= (b->edge >> (half * 16 + i) & 1) << (2 * i + 1);
    return val;
}

static void icfgr_write(struct gic_bank *b, unsigned half, uint32_t val)
{
    for (unsigned i = 0; i < 16; i++) {
        uint32_t m = BIT32(half * 16 + i);
        b->edge = val & BIT32(2 * i + 1) ? b->edge | m : b->edge & ~m;
    }
}

uint32_t gic_common_read(struct gic *g, unsigned cpu, uint32_t off)
{
    struct gic_bank *b;
    uint32_t val = 0;

    if (off >= 0x080 && off < 0x400) {
        b = gic_bank_at(g, cpu, (off & 0x7f) / 4);
        return b ? bits_read(b, off >> 7) : 0;
    }
    if (off >= 0x400 && off < 0x800) {
        b = gic_bank_at(g, cpu, (off - 0x400) / 32);
        for (unsigned i = 0; b && i < 4; i++)
            val |= (uint32_t)b->prio[(off & 0x1c) + i] << (8 * i);
        return val;
    }
    if (off >= 0xc00 && off < 0xd00) {
        b = gic_bank_at(g, cpu, (off - 0xc00) / 8);
        return b ? icfgr_read(b, off >> 2 & 1) : 0;
    }
    return 0;
}

void gic_common_write(struct gic *g, unsigned cpu, uint32_t off, unsigned size, uint32_t val)
{
    struct gic_bank *b;
    unsigned n;

    if (off >= 0x400 && off < 0x800) {
        n = (off - 0x400) / 32;
        b = gic_bank_at(g, cpu, n);
        if (!b)
            return;
        for (unsigned i = 0; i < size; i++)
            b->prio[(off + i) & 31] = (uint8_t)(val >> (8 * i)) & GIC_PRIO_MASK;
    } else if (size != 4) {
        return;
    } else if (off >= 0x080 && off < 0x400) {
        n = (off & 0x7f) / 4;
        b = gic_bank_at(g, cpu, n);
        if (!b)
            return;
        bits_write(g, b, off >> 7, val, n == 0);
    } else if (off >= 0xc04 && off < 0xd00) { /* ICFGR0, the SGIs', is read-only */
        n = (off - 0xc00) / 8;
        b = gic_bank_at(g, cpu, n);
        if (!b)
            return;
        icfgr_write(b, off >> 2 & 1, val);
    } else {
        return;
    }
    gic_update_bank(g, cpu, n);
}

/* ---- life ---- */

unsigned gic_version(const struct arm64_cpu *c)
{
    const struct gic_cpu *gc = c->gic;
    return gc ? gc->gic->cfg.version : 0;
}

static void reset_bank(struct gic_bank *b)
{
    uint32_t line = b->line; /* the inputs are not ours to reset */

    *b = (struct gic_bank){.line = line};
}

/* Derives the routes from the registers. A zero IROUTER is affinity 0.0.0.0; a zero target byte is nobody. */
static void reroute_all(struct gic *g)
{
    for (unsigned intid = 32; intid < g->nbanks * 32; intid++) {
        if (g->cfg.version == 3)
            gicv3_reroute(g, intid);
        else
            gicv2_reroute(g, intid);
    }
}

void gic_reset(struct gic *g)
{
    gic_lock(g);
    g->ctlr = 0;
    for (unsigned n = 1; n < g->nbanks; n++)
        reset_bank(&g->spi[n]);
    memset(g->router, 0, sizeof(g->router));
    for (unsigned i = 0; i < g->cfg.ncpus; i++) {
        struct gic_cpu *gc = &g->cpus[i];

        reset_bank(&gc->bank);
        gc->bank.edge = SGI_MASK;
        gc->bank.enabled = g->cfg.version == 2 ? SGI_MASK : 0;
        memset(gc->route, 0, sizeof(gc->route));
        gc->route[0] = UINT32_MAX;
        memset(gc->sgi_source, 0, sizeof(gc->sgi_source));
        gc->pmr = 0;
        gc->bpr[0] = GIC_BPR0_MIN;
        gc->bpr[1] = GIC_BPR1_MIN;
        gc->grpen[0] = gc->grpen[1] = false;
        gc->cbpr = gc->eoimode = gc->fiqen = gc->ackctl = false;
        gc->apr[0] = gc->apr[1] = 0;
        gc->waker = 0x6; /* ProcessorSleep, ChildrenAsleep */
    }
    reroute_all(g);
    gic_update_all(g);
    gic_unlock(g, -1);
}

void gic_dist_reset(struct device *d)
{
    gic_reset(container_of(d, struct gic, dist));
}

void gic_device_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
}

int gic_create(struct gic **out, const struct gic_config *cfg)
{
    unsigned max = cfg->version == 2 ? GIC_MAX_CPUS_V2 : GIC_MAX_CPUS;

    if ((cfg->version != 2 && cfg->version != 3) || !cfg->ncpus || cfg->ncpus > max || cfg->nspis % 32 ||
        cfg->nspis > GIC_MAX_SPIS)
        return -EINVAL;
    struct gic *g = calloc(1, sizeof(*g) + cfg->ncpus * sizeof(g->cpus[0]));
    if (!g)
        return -ENOMEM;
    pthread_mutex_init(&g->lock, NULL);
    g->cfg = *cfg;
    g->nbanks = 1 + cfg->nspis / 32;
    for (unsigned i = 0; i < cfg->ncpus; i++) {
        g->cpus[i].gic = g;
        g->cpus[i].cpu = cfg->cpus[i];
        g->cpus[i].index = i;
        cfg->cpus[i]->gic = &g->cpus[i];
    }
    gic_reset(g);
    *out = g;
    return 0;
}

void gic_destroy(struct gic *g)
{
    if (!g)
        return;
    for (unsigned i = 0; i < g->cfg.ncpus; i++)
        g->cfg.cpus[i]->gic = NULL;
    pthread_mutex_destroy(&g->lock);
    free(g);
}

int gic_attach(struct gic *g, struct bus *b, gpa_t dist, gpa_t redist_or_cpuif)
{
    bool v3 = g->cfg.version == 3;
    int ret;

    device_init(&g->dist, v3 ? &gicv3_dist_desc : &gicv2_dist_desc);
    g->redist_desc = v3 ? gicv3_redist_desc : gicv2_cpuif_desc;
    if (v3)
        g->redist_desc.size = g->cfg.ncpus * gicv3_redist_desc.size;
    device_init(&g->redist, &g->redist_desc);
    ret = bus_attach(b, &g->dist, dist);
    if (!ret)
        ret = bus_attach(b, &g->redist, redist_or_cpuif);
    return ret;
}

/* ---- save stream ---- */

static void save_bank(const struct gic_bank *b, struct state_writer *w)
{
    state_put_u32(w, b->group);
    state_put_u32(w, b->enabled);
    state_put_u32(w, b->latch);
    state_put_u32(w, b->line);
    state_put_u32(w, b->edge);
    state_put_u32(w, b->active);
    state_put(w, b->prio, sizeof(b->prio));
}

static void load_bank(struct gic_bank *b, struct state_reader *r)
{
    b->group = state_get_u32(r);
    b->enabled = state_get_u32(r);
    b->latch = state_get_u32(r);
    b->line = state_get_u32(r);
    b->edge = state_get_u32(r);
    b->active = state_get_u32(r);
    state_get(r, b->prio, sizeof(b->prio));
    for (unsigned i = 0; i < ARRAY_SIZE(b->prio); i++)
        b->prio[i] &= GIC_PRIO_MASK;
}

void gic_save(struct gic *g, struct state_writer *w)
{
    gic_lock(g);
    state_begin(w, SECTION, SECTION_VERSION);
    state_put_u32(w, g->cfg.version);
    state_put_u32(w, g->cfg.ncpus);
    state_put_u32(w, g->cfg.nspis);
    state_put_u32(w, g->ctlr);
    for (unsigned n = 1; n < g->nbanks; n++)
        save_bank(&g->spi[n], w);
    for (unsigned intid = 32; intid < g->nbanks * 32; intid++)
        state_put_u64(w, g->router[intid]);
    for (unsigned i = 0; i < g->cfg.ncpus; i++) {
        const struct gic_cpu *gc = &g->cpus[i];

        save_bank(&gc->bank, w);
        state_put(w, gc->sgi_source, sizeof(gc->sgi_source));
        state_put_u8(w, gc->pmr);
        state_put_u8(w, gc->bpr[0]);
        state_put_u8(w, gc->bpr[1]);
        state_put_u8(w, (uint8_t)(gc->grpen[0] | gc->grpen[1] << 1 | gc->cbpr << 2 | gc->eoimode << 3 | gc->fiqen << 4 |
                                  gc->ackctl << 5));
        state_put_u32(w, gc->apr[0]);
        state_put_u32(w, gc->apr[1]);
        state_put_u32(w, gc->waker);
    }
    state_end(w);
    gic_unlock(g, -1);
}

int gic_load(struct gic *g, struct state_reader *r)
{
    uint32_t version;
    int ret = state_enter(r, SECTION, &version);

    if (ret)
        return ret;
    if (version != SECTION_VERSION || state_get_u32(r) != g->cfg.version || state_get_u32(r) != g->cfg.ncpus ||
        state_get_u32(r) != g->cfg.nspis)
        return -EINVAL;
    gic_lock(g);
    g->ctlr = state_get_u32(r) & (GICD_CTLR_GRP0 | GICD_CTLR_GRP1);
    for (unsigned n = 1; n < g->nbanks; n++)
        load_bank(&g->spi[n], r);
    for (unsigned intid = 32; intid < g->nbanks * 32; intid++)
        g->router[intid] = state_get_u64(r);
    for (unsigned i = 0; i < g->cfg.ncpus; i++) {
        struct gic_cpu *gc = &g->cpus[i];

        load_bank(&gc->bank, r);
        state_get(r, gc->sgi_source, sizeof(gc->sgi_source));
        gc->pmr = state_get_u8(r) & GIC_PRIO_MASK;
        gic_set_bpr(gc, 0, state_get_u8(r));
        gic_set_bpr(gc, 1, state_get_u8(r));
        uint8_t flags = state_get_u8(r);
        gc->grpen[0] = flags & 1;
        gc->grpen[1] = flags & 2;
        gc->cbpr = flags & 4;
        gc->eoimode = flags & 8;
        gc->fiqen = flags & 16;
        gc->ackctl = flags & 32;
        gc->apr[0] = state_get_u32(r);
        gc->apr[1] = state_get_u32(r);
        gc->waker = state_get_u32(r) & 6;
    }
    reroute_all(g);
    gic_update_all(g);
    gic_unlock(g, -1);
    return state_leave(r);
}
