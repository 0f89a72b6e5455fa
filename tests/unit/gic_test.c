/* GICv3 and GICv2: registers, acknowledge and end, priorities, routing, SGIs, groups, save and load, threads. */
#include <pthread.h>
#include <unistd.h>

#include "arch/arm64/arm64.h"
#include "arch/arm64/gic.h"
#include "tests/check.h"

#define NCPUS 3
#define NSPIS 64
#define DIST UINT64_C(0x8000000)
#define CPUIF UINT64_C(0x8010000)
#define REDIST UINT64_C(0x80a0000)

#define PMR SYSREG_ENC(3, 0, 4, 6, 0)
#define ICC(crm, op2) SYSREG_ENC(3, 0, 12, crm, op2)
#define IAR0 ICC(8, 0)
#define EOIR0 ICC(8, 1)
#define BPR0 ICC(8, 3)
#define DIR ICC(11, 1)
#define RPR ICC(11, 3)
#define SGI1R ICC(11, 5)
#define SGI0R ICC(11, 7)
#define IAR1 ICC(12, 0)
#define EOIR1 ICC(12, 1)
#define HPPIR1 ICC(12, 2)
#define BPR1 ICC(12, 3)
#define CTLR ICC(12, 4)
#define IGRPEN0 ICC(12, 6)
#define IGRPEN1 ICC(12, 7)
#define AP1R0 ICC(9, 0)

#define GICC_IAR 0x0c
#define GICC_EOIR 0x10

static struct arm64_cpu cpus[NCPUS];
static struct arm64_cpu *list[NCPUS];
static struct gic *gic;
static struct bus *bus;
static _Atomic unsigned kicks[NCPUS];

static void kick(void *opaque, unsigned cpu)
{
    (void)opaque;
    kicks[cpu]++;
}

static uint64_t rd(unsigned cpu, uint64_t a, unsigned size)
{
    uint64_t v = 0;
    bus_read(bus, cpu, GPA(a), size, &v);
    return v;
}

static void wr(unsigned cpu, uint64_t a, uint32_t v)
{
    bus_write(bus, cpu, GPA(a), 4, v);
}

static void wrb(unsigned cpu, uint64_t a, uint8_t v)
{
    bus_write(bus, cpu, GPA(a), 1, v);
}

static uint64_t icc(unsigned cpu, uint32_t enc)
{
    uint64_t v = UINT64_MAX;
    gic_icc_read(&cpus[cpu], enc, &v);
    return v;
}

static void set(unsigned cpu, uint32_t enc, uint64_t v)
{
    gic_icc_write(&cpus[cpu], enc, v);
}

static unsigned lines(unsigned cpu)
{
    return atomic_load(&cpus[cpu].irq_lines);
}

static uint64_t sgi_frame(unsigned cpu)
{
    return REDIST + cpu * 0x20000u + 0x10000;
}

static void spi(unsigned intid, bool level)
{
    struct irq_line l = gic_spi_line(gic, intid - 32);
    irq_set(&l, level);
}

static void ppi(unsigned cpu, unsigned intid, bool level)
{
    struct irq_line l = gic_ppi_line(gic, cpu, intid);
    irq_set(&l, level);
}

/* A GIC whose interrupts are all enabled, of group `group`, priority 0xa0, level sensitive; SPIs go to vCPU 0. */
static void setup(unsigned v, unsigned group)
{
    struct gic_config cfg = {.version = v, .ncpus = NCPUS, .nspis = NSPIS, .cpus = list, .kick = kick};

    bus_destroy(bus);
    gic_destroy(gic);
    gic = NULL;
    bus = NULL;
    for (unsigned i = 0; i < NCPUS; i++) {
        arm64_cpu_init(&cpus[i], arm64_model_find("max"), i);
        list[i] = &cpus[i];
        kicks[i] = 0;
    }
    gic_create(&gic, &cfg);
    bus_create(&bus);
    gic_attach(gic, bus, GPA(DIST), GPA(v == 3 ? REDIST : CPUIF));
    wr(0, DIST, 3);
    for (unsigned n = 1; n <= NSPIS / 32; n++) {
        wr(0, DIST + 0x80 + 4 * n, group ? UINT32_MAX : 0);
        wr(0, DIST + 0x100 + 4 * n, UINT32_MAX);
    }
    for (unsigned i = 0; i < NSPIS; i += 4) {
        wr(0, DIST + 0x420 + i, 0xa0a0a0a0);
        if (v == 2)
            wr(0, DIST + 0x820 + i, 0x01010101);
    }
    for (unsigned c = 0; c < NCPUS; c++) {
        uint64_t f = v == 3 ? sgi_frame(c) : DIST;
        wr(c, f + 0x80, group ? UINT32_MAX : 0);
        wr(c, f + 0x100, UINT32_MAX);
        for (unsigned i = 0; i < 32; i += 4)
            wr(c, f + 0x400 + i, 0xa0a0a0a0);
        if (v == 3) {
            wr(c, REDIST + c * 0x20000u + 0x14, 0);
            set(c, PMR, 0xf0);
            set(c, IGRPEN0, 1);
            set(c, IGRPEN1, 1);
        } else {
            wr(c, CPUIF, 3);
            wr(c, CPUIF + 4, 0xf0);
        }
    }
}

static void test_v3_identity(void)
{
    setup(3, 1);
    CHECK_EQ(gic_version(&cpus[0]), 3);
    CHECK_EQ(rd(0, DIST, 4), 0x53);                  /* DS, ARE, both groups */
    CHECK_EQ(rd(0, DIST + 4, 4) & 0x1f, NSPIS / 32); /* ITLinesNumber */
    CHECK_EQ(rd(0, DIST + 4, 4) >> 17 & 1, 0);       /* no LPIs */
    CHECK_EQ(rd(0, DIST + 0xffe8, 4) >> 4 & 15, 3);
    CHECK_EQ(rd(0, REDIST + 0xffe8, 4) >> 4 & 15, 3);
    CHECK_EQ(rd(0, REDIST + 8, 8), 0);
    CHECK_EQ(rd(0, REDIST + 0x20008, 8), UINT64_C(1) << 32 | 1 << 8);
    CHECK_EQ(rd(0, REDIST + 0x40008, 8), UINT64_C(2) << 32 | 2 << 8 | 1 << 4); /* the last */
    CHECK_EQ(rd(0, REDIST + 0x4000c, 4), 2);
    CHECK_EQ(rd(0, REDIST + 0x14, 4), 0);
    wr(1, REDIST + 0x14, 2);
    CHECK_EQ(rd(0, REDIST + 0x14, 4), 6);
    CHECK_EQ(icc(0, ICC(12, 5)), 7);
    CHECK_EQ(icc(0, CTLR), 0x8400);
    uint64_t v;
    CHECK(gic_icc_read(&cpus[0], ICC(9, 1), &v) != 0);
    CHECK(gic_icc_write(&cpus[0], IAR1, 0) != 0);
}

static void test_v3_registers(void)
{
    setup(3, 1);
    wr(0, DIST + 0x184, 0xf0); /* ICENABLER1 */
    CHECK_EQ(rd(0, DIST + 0x104, 4), 0xffffff0f);
    CHECK_EQ(rd(0, DIST + 0x184, 4), 0xffffff0f);
    wr(0, DIST + 0x100, 0xff); /* private: RAZ/WI here */
    CHECK_EQ(rd(0, DIST + 0x100, 4), 0);
    CHECK_EQ(rd(0, DIST + 0x80, 4), 0);
    wrb(0, DIST + 0x425, 0x5f);
    CHECK_EQ(rd(0, DIST + 0x424, 4), 0xa0a058a0); /* five priority bits */
    CHECK_EQ(rd(0, DIST + 0x425, 1) & 0xff, 0x58);
    wrb(0, DIST + 0x104, 0); /* not a byte register */
    CHECK_EQ(rd(0, DIST + 0x104, 4), 0xffffff0f);
    wr(0, DIST + 0xc08, 0xaaaaaaaa);
    CHECK_EQ(rd(0, DIST + 0xc08, 4), 0xaaaaaaaa);
    CHECK_EQ(rd(0, sgi_frame(1) + 0xc00, 4), 0xaaaaaaaa); /* SGIs are edges */
    wr(0, sgi_frame(1) + 0xc00, 0);
    CHECK_EQ(rd(0, sgi_frame(1) + 0xc00, 4), 0xaaaaaaaa);
    CHECK_EQ(rd(0, sgi_frame(1) + 0xc04, 4), 0);
    bus_write(bus, 0, GPA(DIST + 0x6000 + 8 * 40), 8, UINT64_C(0xff0100000002));
    CHECK_EQ(rd(0, DIST + 0x6000 + 8 * 40, 8), UINT64_C(0x0100000002));
    CHECK_EQ(rd(0, DIST + 0x6004 + 8 * 40, 4), 1);
    /* beyond the last interrupt */
    wr(0, DIST + 0x10c, UINT32_MAX);
    CHECK_EQ(rd(0, DIST + 0x10c, 4), 0);
    CHECK_EQ(rd(0, DIST + 0x6000 + 8 * 96, 8), 0);
    CHECK_EQ(rd(0, DIST + 0x7ff8, 8), 0);
}

static void test_v3_level(void)
{
    setup(3, 1);
    spi(40, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(lines(1), 0);
    CHECK_EQ(kicks[0], 1);
    CHECK(atomic_load(&cpus[0].exit_request) & ARM64_EXIT_IRQ);
    CHECK_EQ(rd(0, DIST + 0x204, 4), 0x100);
    CHECK_EQ(icc(0, HPPIR1), 40);
    CHECK_EQ(icc(0, IAR0), 1023);
    CHECK_EQ(icc(0, IAR1), 40);
    CHECK_EQ(lines(0), 0);
    CHECK_EQ(rd(0, DIST + 0x304, 4), 0x100);
    CHECK_EQ(icc(0, RPR), 0xa0);
    CHECK_EQ(icc(0, AP1R0), BIT32(20));
    CHECK_EQ(icc(0, IAR1), 1023);
    set(0, EOIR1, 1023); /* ends nothing */
    CHECK_EQ(icc(0, RPR), 0xa0);
    set(0, EOIR1, 40);
    CHECK_EQ(icc(0, RPR), 0xff);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ); /* still high: pending again */
    CHECK_EQ(icc(0, IAR1), 40);
    spi(40, false);
    set(0, EOIR1, 40);
    CHECK_EQ(lines(0), 0);
    CHECK_EQ(icc(0, IAR1), 1023);
    spi(40, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    spi(40, false); /* goes away before it is taken */
    CHECK_EQ(lines(0), 0);
}

static void test_v3_edge(void)
{
    setup(3, 1);
    wr(0, DIST + 0xc08, 0xaaaaaaaa);
    spi(40, true);
    spi(40, false);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ); /* latched */
    CHECK_EQ(icc(0, IAR1), 40);
    spi(40, true); /* while active: pending afterwards */
    CHECK_EQ(lines(0), 0);
    set(0, EOIR1, 40);
    CHECK_EQ(icc(0, IAR1), 40);
    set(0, EOIR1, 40);
    CHECK_EQ(icc(0, IAR1), 1023); /* a high line is no edge */
    wr(0, DIST + 0x204, 0x100);   /* ISPENDR */
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    wr(0, DIST + 0x284, 0x100);
    CHECK_EQ(lines(0), 0);
}

static void test_v3_priorities(void)
{
    setup(3, 1);
    wrb(0, DIST + 0x400 + 41, 0x80);
    wrb(0, DIST + 0x400 + 42, 0x40);
    spi(40, true);
    CHECK_EQ(icc(0, IAR1), 40);
    spi(43, true); /* same priority: waits */
    CHECK_EQ(lines(0), 0);
    spi(41, true); /* preempts */
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(icc(0, IAR1), 41);
    set(0, PMR, 0x40);
    spi(42, true); /* not below the mask */
    CHECK_EQ(lines(0), 0);
    set(0, PMR, 0x48);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(icc(0, IAR1), 42);
    CHECK_EQ(icc(0, RPR), 0x40);
    set(0, PMR, 0xf0);
    for (unsigned i = 40; i <= 42; i++)
        spi(i, false);
    set(0, EOIR1, 42);
    CHECK_EQ(icc(0, RPR), 0x80);
    set(0, EOIR1, 41);
    CHECK_EQ(icc(0, RPR), 0xa0);
    CHECK_EQ(lines(0), 0);
    set(0, EOIR1, 40);
    CHECK_EQ(icc(0, IAR1), 43);
}

static void test_v3_binary_point(void)
{
    setup(3, 1);
    CHECK_EQ(icc(0, BPR0), 2);
    CHECK_EQ(icc(0, BPR1), 3);
    set(0, BPR1, 0);
    CHECK_EQ(icc(0, BPR1), 3); /* the least */
    set(0, BPR1, 6);           /* groups [7:6] */
    wrb(0, DIST + 0x400 + 41, 0x80);
    wrb(0, DIST + 0x400 + 42, 0x60);
    spi(40, true);
    CHECK_EQ(icc(0, IAR1), 40);
    CHECK_EQ(icc(0, RPR), 0x80);
    spi(41, true); /* the same group priority */
    CHECK_EQ(lines(0), 0);
    spi(42, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    set(0, CTLR, 1); /* CBPR */
    CHECK_EQ(icc(0, BPR1), 3);
}

static void test_v3_eoimode(void)
{
    setup(3, 1);
    set(0, CTLR, 2);
    spi(40, true);
    CHECK_EQ(icc(0, IAR1), 40);
    set(0, EOIR1, 40);
    CHECK_EQ(icc(0, RPR), 0xff);
    CHECK_EQ(rd(0, DIST + 0x304, 4), 0x100); /* still active */
    CHECK_EQ(lines(0), 0);
    set(0, DIR, 40);
    CHECK_EQ(rd(0, DIST + 0x304, 4), 0);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    set(0, DIR, 0xffffff); /* no such interrupt */
}

static void test_v3_groups(void)
{
    setup(3, 1);
    wr(0, DIST + 0x84, ~0x200u); /* 41 is group 0 */
    spi(41, true);
    CHECK_EQ(lines(0), ARM64_LINE_FIQ);
    CHECK_EQ(icc(0, IAR1), 1023);
    CHECK_EQ(icc(0, IAR0), 41);
    spi(41, false);
    set(0, EOIR1, 41); /* of the other group: ignored */
    CHECK_EQ(icc(0, RPR), 0xa0);
    set(0, EOIR0, 41);
    CHECK_EQ(icc(0, RPR), 0xff);
    spi(41, true);
    set(0, IGRPEN0, 0);
    CHECK_EQ(lines(0), 0);
    set(0, IGRPEN0, 1);
    wr(0, DIST, 2); /* EnableGrp0 off */
    CHECK_EQ(lines(0), 0);
    spi(40, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    wr(0, DIST, 0);
    CHECK_EQ(lines(0), 0);
}

static void test_v3_routing(void)
{
    setup(3, 1);
    bus_write(bus, 0, GPA(DIST + 0x6000 + 8 * 40), 8, 2);
    spi(40, true);
    CHECK_EQ(lines(0), 0);
    CHECK_EQ(lines(2), ARM64_LINE_IRQ);
    bus_write(bus, 0, GPA(DIST + 0x6000 + 8 * 40), 8, 1); /* moves while pending */
    CHECK_EQ(lines(2), 0);
    CHECK_EQ(lines(1), ARM64_LINE_IRQ);
    bus_write(bus, 0, GPA(DIST + 0x6000 + 8 * 40), 8, 7); /* nobody */
    CHECK_EQ(lines(1), 0);
    bus_write(bus, 0, GPA(DIST + 0x6000 + 8 * 40), 8, BIT64(31)); /* any */
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    ppi(1, 27, true);
    CHECK_EQ(lines(1), ARM64_LINE_IRQ);
    CHECK_EQ(icc(1, IAR1), 27);
    ppi(1, 27, false);
    set(1, EOIR1, 27);
    CHECK_EQ(lines(1), 0);
    CHECK(!gic_ppi_line(gic, 1, 32).set);
    CHECK(!gic_ppi_line(gic, NCPUS, 27).set);
    CHECK(!gic_spi_line(gic, NSPIS).set);
}

static void test_v3_sgi(void)
{
    setup(3, 1);
    set(0, SGI1R, 5 << 24 | 6); /* to 1 and 2 */
    CHECK_EQ(lines(0), 0);
    CHECK_EQ(lines(1), ARM64_LINE_IRQ);
    CHECK_EQ(kicks[1], 1);
    CHECK_EQ(kicks[2], 1);
    CHECK_EQ(icc(1, IAR1), 5);
    set(1, EOIR1, 5);
    CHECK_EQ(lines(1), 0);
    CHECK_EQ(icc(2, IAR1), 5);
    set(2, EOIR1, 5);
    set(1, SGI1R, BIT64(40) | 3 << 24); /* all but self */
    CHECK_EQ(icc(0, IAR1), 3);
    CHECK_EQ(icc(1, IAR1), 1023);
    CHECK_EQ(icc(2, IAR1), 3);
    set(0, EOIR1, 3);
    set(0, SGI0R, 1); /* not a group 0 SGI */
    CHECK_EQ(lines(0), 0);
    set(0, SGI1R, 1 << 16 | 1); /* Aff1 1: nobody */
    CHECK_EQ(lines(0), 0);
    set(0, SGI1R, 0xf << 24 | 1); /* to itself: no kick needed */
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(icc(0, IAR1), 15);
}

static void test_v2_identity(void)
{
    setup(2, 0);
    CHECK_EQ(gic_version(&cpus[0]), 2);
    CHECK_EQ(rd(0, DIST + 4, 4), NSPIS / 32 | (NCPUS - 1) << 5);
    CHECK_EQ(rd(0, DIST + 0xfe8, 4) >> 4 & 15, 2);
    for (unsigned c = 0; c < NCPUS; c++)
        CHECK_EQ(rd(c, DIST + 0x800, 4), 0x01010101u << c); /* how a vCPU finds its own number */
    CHECK_EQ(rd(0, CPUIF + 0xfc, 4) >> 16 & 15, 2);
    uint64_t v;
    CHECK(gic_icc_read(&cpus[0], IAR1, &v) != 0);
    CHECK_EQ(rd(0, DIST + 0x2000, 4), 0);
    wr(1, DIST + 0x180, UINT32_MAX); /* SGIs cannot be disabled; banked */
    CHECK_EQ(rd(1, DIST + 0x100, 4), 0xffff);
    CHECK_EQ(rd(0, DIST + 0x100, 4), UINT32_MAX);
}

static void test_v2_flow(void)
{
    setup(2, 0);
    spi(40, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ); /* group 0, and no FIQEn */
    CHECK_EQ(rd(0, CPUIF + 0x18, 4), 40);
    CHECK_EQ(rd(0, CPUIF + GICC_IAR, 4), 40);
    CHECK_EQ(rd(0, CPUIF + 0x14, 4), 0xa0);
    CHECK_EQ(rd(0, CPUIF + GICC_IAR, 4), 1023);
    spi(40, false);
    wr(0, CPUIF + GICC_EOIR, 40);
    CHECK_EQ(rd(0, CPUIF + 0x14, 4), 0xff);
    CHECK_EQ(lines(0), 0);
    wr(0, CPUIF, 3 | 8); /* FIQEn */
    spi(40, true);
    CHECK_EQ(lines(0), ARM64_LINE_FIQ);
    wr(0, CPUIF, 3 | 1 << 9); /* EOImode */
    CHECK_EQ(rd(0, CPUIF + GICC_IAR, 4), 40);
    wr(0, CPUIF + GICC_EOIR, 40);
    CHECK_EQ(rd(0, DIST + 0x304, 4), 0x100);
    wr(0, CPUIF + 0x1000, 40);
    CHECK_EQ(rd(0, DIST + 0x304, 4), 0);
}

static void test_v2_groups(void)
{
    setup(2, 1);
    spi(40, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(rd(0, CPUIF + GICC_IAR, 4), 1022);
    CHECK_EQ(rd(0, CPUIF + 0x20, 4), 40); /* AIAR */
    spi(40, false);
    wr(0, CPUIF + 0x24, 40);
    CHECK_EQ(rd(0, CPUIF + 0x14, 4), 0xff);
    wr(0, CPUIF, 3 | 4); /* AckCtl */
    spi(40, true);
    CHECK_EQ(rd(0, CPUIF + GICC_IAR, 4), 40);
    wr(0, CPUIF + GICC_EOIR, 40);
    CHECK_EQ(rd(0, CPUIF + 0x14, 4), 0xff);
}

static void test_v2_targets(void)
{
    setup(2, 0);
    wrb(0, DIST + 0x800 + 40, 0xfc); /* bits of vCPUs that are not there are not kept */
    CHECK_EQ(rd(0, DIST + 0x800 + 40, 1), 4);
    spi(40, true);
    CHECK_EQ(lines(2), ARM64_LINE_IRQ);
    wrb(0, DIST + 0x800 + 40, 6); /* two: the first */
    CHECK_EQ(lines(2), 0);
    CHECK_EQ(lines(1), ARM64_LINE_IRQ);
    wrb(0, DIST + 0x800 + 40, 0);
    CHECK_EQ(lines(1), 0);
}

static void test_v2_sgi(void)
{
    setup(2, 0);
    wr(0, DIST + 0xf00, 4 << 16 | 9);
    wr(1, DIST + 0xf00, 4 << 16 | 9);
    CHECK_EQ(lines(2), ARM64_LINE_IRQ);
    CHECK_EQ(rd(2, DIST + 0xf28, 4), 0x300); /* SGI 9 from 0 and 1 */
    CHECK_EQ(rd(2, CPUIF + GICC_IAR, 4), 9);
    wr(2, CPUIF + GICC_EOIR, 9);
    CHECK_EQ(rd(2, CPUIF + GICC_IAR, 4), 1 << 10 | 9);
    wr(2, CPUIF + GICC_EOIR, 1 << 10 | 9);
    CHECK_EQ(lines(2), 0);
    wr(2, DIST + 0xf00, 1 << 24 | 1); /* all but self */
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(lines(1), ARM64_LINE_IRQ);
    CHECK_EQ(lines(2), 0);
    wr(2, DIST + 0xf00, 2 << 24 | 1); /* self */
    CHECK_EQ(lines(2), ARM64_LINE_IRQ);
    wrb(2, DIST + 0xf11, 4); /* CPENDSGIR */
    CHECK_EQ(lines(2), 0);
}

static void test_v2_single(void)
{
    struct gic_config cfg = {.version = 2, .ncpus = 1, .nspis = 32, .cpus = list, .kick = kick};

    setup(2, 0);
    bus_destroy(bus);
    gic_destroy(gic);
    bus = NULL;
    gic_create(&gic, &cfg);
    bus_create(&bus);
    gic_attach(gic, bus, GPA(DIST), GPA(CPUIF));
    wr(0, DIST, 1);
    wr(0, CPUIF, 1);
    wr(0, CPUIF + 4, 0xf0);
    wr(0, DIST + 0x104, UINT32_MAX);
    CHECK_EQ(rd(0, DIST + 0x800, 4), 0);
    spi(33, true);
    CHECK_EQ(lines(0), ARM64_LINE_IRQ);
    CHECK_EQ(rd(0, CPUIF + GICC_IAR, 4), 33);
}

static void test_config(void)
{
    struct gic *g;
    struct gic_config bad[] = {
        {.version = 1, .ncpus = 1, .nspis = 32, .cpus = list},  {.version = 2, .ncpus = 9, .nspis = 32, .cpus = list},
        {.version = 3, .ncpus = 0, .nspis = 32, .cpus = list},  {.version = 3, .ncpus = 1, .nspis = 33, .cpus = list},
        {.version = 3, .ncpus = 1, .nspis = 992, .cpus = list},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(gic_create(&g, &bad[i]) < 0);
}

static void test_reset(void)
{
    setup(3, 1);
    spi(40, true);
    icc(0, IAR1);
    bus_reset(bus);
    CHECK_EQ(lines(0), 0);
    CHECK_EQ(rd(0, DIST, 4), 0x50);
    CHECK_EQ(rd(0, DIST + 0x104, 4), 0);
    CHECK_EQ(rd(0, DIST + 0x304, 4), 0);
    CHECK_EQ(icc(0, RPR), 0xff);
    CHECK_EQ(rd(0, DIST + 0x204, 4), 0x100); /* the line is still high */
}

static void test_save(void)
{
    for (unsigned v = 2; v <= 3; v++) {
        FILE *f = tmpfile();
        struct state_writer *w = NULL;
        struct state_reader *r = NULL;

        CHECK(f);
        setup(v, v == 3);
        spi(40, true);
        wrb(0, DIST + 0x400 + 41, 0x80);
        CHECK_EQ(v == 3 ? icc(0, IAR1) : rd(0, CPUIF + GICC_IAR, 4), 40);
        spi(41, true);
        CHECK_EQ(state_writer_open(&w, fileno(f)), 0);
        gic_save(gic, w);
        CHECK_EQ(state_writer_finish(w), 0);
        gic_reset(gic);
        CHECK_EQ(lines(0), 0);
        lseek(fileno(f), 0, SEEK_SET);
        CHECK_EQ(state_reader_open(&r, fileno(f)), 0);
        CHECK_EQ(gic_load(gic, r), 0);
        CHECK_EQ(state_reader_finish(r), 0);
        fclose(f);
        CHECK_EQ(lines(0), ARM64_LINE_IRQ);
        CHECK_EQ(v == 3 ? icc(0, IAR1) : rd(0, CPUIF + GICC_IAR, 4), 41);
        CHECK_EQ(rd(0, DIST + 0x304, 4), 0x300);
    }
}

/* Hostile accesses: every offset, every size, all-ones and zeroes; nothing may crash. */
static void test_sweep(void)
{
    for (unsigned v = 2; v <= 3; v++) {
        setup(v, 1);
        uint64_t other = v == 3 ? REDIST : CPUIF, len = v == 3 ? 0x60000 : 0x10000;
        for (unsigned size = 1; size <= 8; size *= 2) {
            for (uint64_t off = 0; off < len; off += size) {
                uint64_t val;
                for (unsigned i = 0; i < 2; i++) {
                    bus_write(bus, 2, GPA(other + off), size, i ? 0 : UINT64_MAX);
                    bus_read(bus, 2, GPA(other + off), size, &val);
                    if (off < 0x10000) {
                        bus_write(bus, 1, GPA(DIST + off), size, i ? 0 : UINT64_MAX);
                        bus_read(bus, 1, GPA(DIST + off), size, &val);
                    }
                }
            }
        }
        for (uint32_t enc = 0xc000; enc <= 0xffff; enc++) {
            uint64_t val;
            gic_icc_write(&cpus[1], enc, UINT64_MAX);
            gic_icc_read(&cpus[1], enc, &val);
        }
        gic_reset(gic);
    }
    CHECK_EQ(lines(0), 0);
}

#define ROUNDS 2000

static void *sender(void *opaque)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        spi(40 + (i & 1), true);
        spi(40 + (i & 1), false);
        ppi(2, 27, i & 1);
        set(1, SGI1R, 1);
    }
    return opaque;
}

static _Atomic bool done;

static void *taker(void *opaque)
{
    unsigned *taken = opaque;

    while (!done || lines(0)) {
        uint64_t intid = icc(0, IAR1);
        if (intid == 1023)
            continue;
        (*taken)++;
        set(0, EOIR1, intid);
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t a, b;
    unsigned taken = 0;

    setup(3, 1);
    wr(0, DIST + 0xc08, 0xaaaaaaaa); /* edges: none is lost for good */
    done = false;
    pthread_create(&b, NULL, taker, &taken);
    pthread_create(&a, NULL, sender, NULL);
    pthread_join(a, NULL);
    done = true;
    pthread_join(b, NULL);
    CHECK(taken >= 3 && taken <= 2 * ROUNDS);
    CHECK_EQ(lines(0), 0);
    CHECK_EQ(icc(0, RPR), 0xff);
}

int main(void)
{
    RUN(test_v3_identity);
    RUN(test_v3_registers);
    RUN(test_v3_level);
    RUN(test_v3_edge);
    RUN(test_v3_priorities);
    RUN(test_v3_binary_point);
    RUN(test_v3_eoimode);
    RUN(test_v3_groups);
    RUN(test_v3_routing);
    RUN(test_v3_sgi);
    RUN(test_v2_identity);
    RUN(test_v2_flow);
    RUN(test_v2_groups);
    RUN(test_v2_targets);
    RUN(test_v2_sgi);
    RUN(test_v2_single);
    RUN(test_config);
    RUN(test_reset);
    RUN(test_save);
    RUN(test_sweep);
    RUN(test_threads);
    bus_destroy(bus);
    gic_destroy(gic);
    return check_done();
}
