/*
 * What gic.c (interrupt state, priorities, delivery), gicv2.c and gicv3.c (register maps) share.
 *
 * Interrupts live in banks of 32, one bit each. Bank 0 is private to a vCPU (16 SGIs, 16 PPIs); banks from 1 on hold
 * SPIs. Everything is guarded by gic->lock; functions here are called with it held unless they say otherwise. There is
 * one security state (GICD_CTLR.DS is 1): group 0 and group 1 are two priorities streams, signalled as FIQ and IRQ.
 */
#ifndef PIPIT_ARM64_GIC_INTERNAL_H
#define PIPIT_ARM64_GIC_INTERNAL_H

#include "arch/arm64/gic.h"

#define GIC_MAX_CPUS 64
#define GIC_MAX_CPUS_V2 8
#define GIC_MAX_SPIS 960
#define GIC_MAX_BANKS (1 + GIC_MAX_SPIS / 32)
#define GIC_SPURIOUS 1023
#define GIC_NO_CPU 0xff

/* Five priority bits, all of them preemption levels: 32 levels, one active-priorities register a group. */
#define GIC_PRIO_MASK 0xf8
#define GIC_PRIO_SHIFT 3
#define GIC_PRIO_IDLE 0xff
#define GIC_BPR0_MIN 2
#define GIC_BPR1_MIN 3

/* GICD_CTLR.EnableGrp0/1: the same in v2 and in v3 with one security state. */
#define GICD_CTLR_GRP0 BIT32(0)
#define GICD_CTLR_GRP1 BIT32(1)

struct gic_bank {
    uint32_t group; /* 1: group 1 */
    uint32_t enabled;
    uint32_t latch; /* pending by edge or by software */
    uint32_t line;  /* level of the input */
    uint32_t edge;  /* 1: edge triggered */
    uint32_t active;
    uint8_t prio[32];
};

struct gic_cpu {
    struct gic *gic;
    struct arm64_cpu *cpu;
    unsigned index;
    struct gic_bank bank;          /* SGIs and PPIs */
    uint32_t route[GIC_MAX_BANKS]; /* SPIs that go to this vCPU; [0] is all ones */
    uint8_t sgi_source[16];        /* v2: vCPUs that have sent it */

    uint8_t pmr;
    uint8_t bpr[2];
    bool grpen[2];
    bool cbpr, eoimode;
    bool fiqen, ackctl; /* v2 */
    uint32_t apr[2];    /* active priorities: bit n is level n << GIC_PRIO_SHIFT */
    uint32_t waker;     /* v3: GICR_WAKER */

    /* Cached by gic_update_cpu: the best pending interrupt that is enabled on the way here. */
    uint16_t best; /* GIC_SPURIOUS: none */
    uint8_t best_prio, best_group;
};

struct gic {
    pthread_mutex_t lock;
    struct gic_config cfg;
    unsigned nbanks;                    /* the private one included */
    uint32_t ctlr;                      /* GICD_CTLR enables */
    uint64_t kicks;                     /* vCPUs to kick when the lock is dropped */
    struct gic_bank spi[GIC_MAX_BANKS]; /* [0] unused */
    uint64_t router[GIC_MAX_SPIS + 32]; /* v3: GICD_IROUTER; v2: GICD_ITARGETSR byte. By INTID */
    struct device_desc redist_desc;     /* its size depends on the number of vCPUs */
    struct device dist, redist;         /* redist: v2's CPU interface */
    struct gic_cpu cpus[];
};

void gic_lock(struct gic *g);
/* Drops the lock, then kicks whom gic_update_cpu has marked, but for `self` (-1: nobody is). */
void gic_unlock(struct gic *g, int self);

/* NULL: no such bank. */
struct gic_bank *gic_bank_at(struct gic *g, unsigned cpu, unsigned n);
void gic_update_cpu(struct gic_cpu *gc);
void gic_update_all(struct gic *g);
/* After a change to bank n as seen by `cpu`. */
void gic_update_bank(struct gic *g, unsigned cpu, unsigned n);
/* Sends SPI `intid` to `cpu` (GIC_NO_CPU: nowhere). */
void gic_route(struct gic *g, unsigned intid, unsigned cpu);

/* The CPU interface's verbs. */
/* Could gc->best be taken now? */
bool gic_can_preempt(const struct gic_cpu *gc);
uint8_t gic_running_prio(const struct gic_cpu *gc);
/* Acknowledges gc->best, which can preempt, and returns it (v2: with the SGI's source in bits 12..10). */
uint32_t gic_acknowledge(struct gic_cpu *gc);
/* Priority drop of `group`, and deactivation of `intid` unless EOImode splits them. */
void gic_end(struct gic_cpu *gc, unsigned group, uint32_t intid);
void gic_deactivate(struct gic_cpu *gc, uint32_t intid);
void gic_set_bpr(struct gic_cpu *gc, unsigned group, uint64_t val);

/* Registers that the distributor and v3's redistributor have at the same offsets, 0x080..0xcff: one bit, one byte or
 * two bits an interrupt. `size` is 1, 2 or 4 for priorities, else 4. */
uint32_t gic_common_read(struct gic *g, unsigned cpu, uint32_t off);
void gic_common_write(struct gic *g, unsigned cpu, uint32_t off, unsigned size, uint32_t val);

/* Device operations that both versions share. The devices are part of struct gic. */
void gic_dist_reset(struct device *d);
void gic_device_destroy(struct device *d);

extern const struct device_desc gicv2_dist_desc, gicv2_cpuif_desc, gicv3_dist_desc, gicv3_redist_desc;
/* Recomputes routes from gic->router. */
void gicv2_reroute(struct gic *g, unsigned intid);
void gicv3_reroute(struct gic *g, unsigned intid);

#endif
