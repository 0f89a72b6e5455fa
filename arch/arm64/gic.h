/*
 * Generic interrupt controllers, v2 and v3 (GICv3 with system-register CPU interface, one redistributor a vCPU, no
 * LPIs). SPIs are driven by struct irq_line with num = INTID; PPIs by gic_ppi_line. The GIC tells a vCPU by setting
 * irq_lines/exit_request and calling the kick function. It is a leaf in the lock order.
 */
#ifndef PIPIT_ARM64_GIC_H
#define PIPIT_ARM64_GIC_H

#include "arch/arm64/cpu.h"
#include "vmm/core/bus.h"

struct gic;

struct gic_config {
    unsigned version; /* 2 or 3; version 2 takes at most 8 vCPUs */
    unsigned ncpus;
    unsigned nspis; /* a multiple of 32 */
    struct arm64_cpu **cpus;
    void (*kick)(void *opaque, unsigned cpu); /* wakes a vCPU from WFI */
    void *opaque;
};

int gic_create(struct gic **out, const struct gic_config *cfg);
void gic_destroy(struct gic *g);
/* Attaches the distributor (whose reset is gic_reset), and the redistributors (v3) or the CPU interface (v2), to the
 * bus; the GIC outlives it. */
int gic_attach(struct gic *g, struct bus *b, gpa_t dist, gpa_t redist_or_cpuif);
struct irq_line gic_spi_line(struct gic *g, unsigned spi); /* spi 0 is INTID 32 */
struct irq_line gic_ppi_line(struct gic *g, unsigned cpu, unsigned intid);
/* 2 or 3; 0 where `c` has no GIC. */
unsigned gic_version(const struct arm64_cpu *c);
void gic_reset(struct gic *g);
void gic_save(struct gic *g, struct state_writer *w);
int gic_load(struct gic *g, struct state_reader *r);

/* ICC_* registers for sysreg.c: 0 done, -1 no such register (v2, or not implemented). */
int gic_icc_read(struct arm64_cpu *c, uint32_t enc, uint64_t *val);
int gic_icc_write(struct arm64_cpu *c, uint32_t enc, uint64_t val);

#endif
