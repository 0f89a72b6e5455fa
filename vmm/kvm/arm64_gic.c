/*
 * The in-kernel GIC: a GICv3 where the host has one, a GICv2 where that is all there is, or where the user asks for one
 * and the host's GICv3 can serve as such.
 *
 * The controller's state is what its registers say, through the kernel's device attributes: the same list is walked to
 * save it, to load it, and to put it back to power-on. Enables and active states are cleared before they are set, since
 * a write of zeroes to a set-register changes nothing; the pending registers' attributes take exactly what is written
 * on a GICv3, and on a GICv2 are cleared first like the others (Documentation/virt/kvm/devices/arm-vgic-v3.rst and
 * arm-vgic.rst). Levels of input lines can be read and written on a GICv3 only; on a GICv2 the devices behind the lines
 * drive them again when they are loaded, and those of the timers and counters are the kernel's own.
 *
 * There are no LPIs, hence no tables in guest memory.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/log.h"
#include "vmm/kvm/arm64.h"

#define GIC_MAX_CPUS_V2 8
#define GIC_INTIDS (32 + KVM_ARM64_SPIS)

/* Distributor, and the SGI frame of a redistributor, which has the first 32 interrupts at the same offsets. */
#define GICD_CTLR 0x0000
#define GICD_IIDR 0x0008
#define GICD_IGROUPR 0x0080
#define GICD_ISENABLER 0x0100
#define GICD_ICENABLER 0x0180
#define GICD_ISPENDR 0x0200
#define GICD_ICPENDR 0x0280
#define GICD_ISACTIVER 0x0300
#define GICD_ICACTIVER 0x0380
#define GICD_IPRIORITYR 0x0400
#define GICD_ITARGETSR 0x0800 /* v2 */
#define GICD_ICFGR 0x0c00
#define GICD_CPENDSGIR 0x0f10 /* v2 */
#define GICD_SPENDSGIR 0x0f20 /* v2 */
#define GICD_IROUTER 0x6000   /* v3 */
#define GICR_SGI_FRAME 0x10000

/* GICv2 CPU interface. */
#define GICC_CTLR 0x00
#define GICC_PMR 0x04
#define GICC_BPR 0x08
#define GICC_ABPR 0x1c
#define GICC_APR 0xd0

/* GICv3 CPU interface: op0 is 3, op1 is 0. */
#define ICC(crn, crm, op2) (3u << 14 | (crn) << 7 | (crm) << 3 | (op2))
#define ICC_PMR_EL1 ICC(4, 6, 0)
#define ICC_BPR0_EL1 ICC(12, 8, 3)
#define ICC_AP0R_EL1(n) ICC(12, 8, 4u | (n))
#define ICC_AP1R_EL1(n) ICC(12, 9, n)
#define ICC_BPR1_EL1 ICC(12, 12, 3)
#define ICC_CTLR_EL1 ICC(12, 12, 4)
#define ICC_SRE_EL1 ICC(12, 12, 5)
#define ICC_IGRPEN0_EL1 ICC(12, 12, 6)
#define ICC_IGRPEN1_EL1 ICC(12, 12, 7)
#define ICC_CTLR_PRIBITS(v) (bits32((uint32_t)(v), 10, 8) + 1)
/* ICC_CTLR_EL1 beside EOImode and CBPR: what the CPU interface is. */
#define ICC_CTLR_FIXED UINT64_C(0xfffffffffffffffc)

struct gic_reg {
    uint32_t group; /* KVM_DEV_ARM_VGIC_GRP_* */
    uint64_t attr;
    uint64_t keep;  /* bits that a reset leaves as they are */
    uint64_t reset; /* the others after a reset */
    bool clears;    /* all ones are written before loading and resetting; not saved */
};

#define GIC_REG(g, a, ...) ((struct gic_reg){.group = (g), .attr = (a), ##__VA_ARGS__})

/* One walk over the registers; the first error ends it. */
struct gic_walk {
    struct kvm *k;
    int (*visit)(struct gic_walk *g, const struct gic_reg *reg);
    struct state_writer *w;
    struct state_reader *r;
    int error;
};

/* ---- device attributes ---- */

static bool gic_wide(uint32_t group)
{
    return group == KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
}

static int gic_get(const struct kvm *k, uint32_t group, uint64_t attr, uint64_t *val)
{
    uint32_t narrow = 0;
    struct kvm_device_attr a = {
        .group = group, .attr = attr, .addr = gic_wide(group) ? (uintptr_t)val : (uintptr_t)&narrow};

    if (ioctl(k->arch->gic_fd, KVM_GET_DEVICE_ATTR, &a) < 0)
        return -errno;
    if (!gic_wide(group))
        *val = narrow;
    return 0;
}

static int gic_set(const struct kvm *k, uint32_t group, uint64_t attr, uint64_t val)
{
    uint32_t narrow = (uint32_t)val;
    struct kvm_device_attr a = {
        .group = group, .attr = attr, .addr = gic_wide(group) ? (uintptr_t)&val : (uintptr_t)&narrow};

    return ioctl(k->arch->gic_fd, KVM_SET_DEVICE_ATTR, &a) < 0 ? -errno : 0;
}

/* ---- making it ---- */

static bool gic_supported(const struct kvm *k, unsigned version)
{
    struct kvm_create_device d = {
        .type = version == 3 ? KVM_DEV_TYPE_ARM_VGIC_V3 : KVM_DEV_TYPE_ARM_VGIC_V2,
        .flags = KVM_CREATE_DEVICE_TEST,
    };

    return ioctl(k->vm_fd, KVM_CREATE_DEVICE, &d) == 0;
}

static int gic_choose_version(struct kvm *k, struct err *e)
{
    unsigned want = k->cfg.gic_version, version = want ? want : gic_supported(k, 3) ? 3 : 2;

    if (!gic_supported(k, version))
        return err_set_status(e, ERR_STATUS_KVM_CAPABILITY, ENOTSUP,
                              want == 2
                                  ? "this host's KVM makes no GICv2: its own controller is a GICv3 without that mode"
                              : want ? "this host's KVM makes no GICv3: its own controller is a GICv2"
                                     : "this host's KVM makes neither a GICv3 nor a GICv2");
    if (version == 2 && k->cfg.ncpus > GIC_MAX_CPUS_V2)
        return err_set_status(e, ERR_STATUS_CPUS, EINVAL,
                              "%u vCPUs: a GICv2, all that this host's KVM makes, serves %d", k->cfg.ncpus,
                              GIC_MAX_CPUS_V2);
    k->arch->gic_version = version;
    return 0;
}

static int gic_set_addr(const struct kvm *k, uint64_t type, gpa_t addr)
{
    struct kvm_device_attr a = {.group = KVM_DEV_ARM_VGIC_GRP_ADDR, .attr = type, .addr = (uintptr_t)&addr.v};

    return ioctl(k->arch->gic_fd, KVM_SET_DEVICE_ATTR, &a) < 0 ? -errno : 0;
}

int kvm_gic_create(struct kvm *k, struct err *e)
{
    struct kvm_create_device d = {0};
    int r = gic_choose_version(k, e);
    bool v3;

    if (r < 0)
        return r;
    v3 = k->arch->gic_version == 3;
    d.type = v3 ? KVM_DEV_TYPE_ARM_VGIC_V3 : KVM_DEV_TYPE_ARM_VGIC_V2;
    if (ioctl(k->vm_fd, KVM_CREATE_DEVICE, &d) < 0)
        return err_set(e, errno, "KVM makes no GICv%u: %s", k->arch->gic_version, strerror(errno));
    k->arch->gic_fd = (int)d.fd;
    if ((r = gic_set(k, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, GIC_INTIDS)) < 0 ||
        (r = gic_set_addr(k, v3 ? KVM_VGIC_V3_ADDR_TYPE_DIST : KVM_VGIC_V2_ADDR_TYPE_DIST, k->cfg.gic_dist)) < 0 ||
        (r = gic_set_addr(k, v3 ? KVM_VGIC_V3_ADDR_TYPE_REDIST : KVM_VGIC_V2_ADDR_TYPE_CPU,
                          v3 ? k->cfg.gic_redist : k->cfg.gic_cpuif)) < 0)
        return err_set(e, -r, "KVM does not place the GICv%u: %s", k->arch->gic_version, strerror(-r));
    return 0;
}

/* The controller's revision is confirmed before anything else is written, as KVM asks for. */
int kvm_gic_complete(struct kvm *k, struct err *e)
{
    struct kvm_device_attr init = {.group = KVM_DEV_ARM_VGIC_GRP_CTRL, .attr = KVM_DEV_ARM_VGIC_CTRL_INIT};
    uint64_t iidr = 0;
    int r = ioctl(k->arch->gic_fd, KVM_SET_DEVICE_ATTR, &init) < 0 ? -errno : 0;

    if (r == 0)
        r = gic_get(k, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, GICD_IIDR, &iidr);
    if (r == 0)
        r = gic_set(k, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, GICD_IIDR, iidr);
    return r < 0 ? err_set(e, -r, "KVM does not start the GICv%u: %s", k->arch->gic_version, strerror(-r)) : 0;
}

/* ---- the registers ---- */

static void gic_visit(struct gic_walk *g, struct gic_reg reg)
{
    if (g->error == 0)
        g->error = g->visit(g, &reg);
}

/* Registers with `bits` bits an interrupt, for INTIDs from `first` to below `end`; `proto` is the register of INTID 0.
 */
static void gic_visit_array(struct gic_walk *g, struct gic_reg proto, unsigned bits, unsigned first, unsigned end)
{
    uint64_t base = proto.attr;

    for (unsigned word = first * bits / 32; word < end * bits / 32; word++) {
        proto.attr = base + 4 * word;
        gic_visit(g, proto);
    }
}

/*
 * What every interrupt has, for INTIDs from `first` to below `end`: `at` is the attribute of the frame's offset 0. KVM
 * has all interrupts in group 1 when it has made a GICv3, and in group 0 of a GICv2.
 */
static void gic_visit_intids(struct gic_walk *g, uint32_t group, uint64_t at, unsigned first, unsigned end)
{
    bool v3 = g->k->arch->gic_version == 3;

    gic_visit_array(g, GIC_REG(group, at + GICD_ICENABLER, .clears = true), 1, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_ICPENDR, .clears = true), 1, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_ICACTIVER, .clears = true), 1, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_IGROUPR, .reset = v3 ? UINT32_MAX : 0), 1, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_IPRIORITYR), 8, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_ICFGR), 2, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_ISPENDR), 1, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_ISACTIVER), 1, first, end);
    gic_visit_array(g, GIC_REG(group, at + GICD_ISENABLER), 1, first, end);
}

/* Input levels of INTIDs `first` and the 31 behind it. */
static void gic_visit_levels(struct gic_walk *g, uint64_t cpu, unsigned first)
{
    gic_visit(g, GIC_REG(KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO,
                         cpu | VGIC_LEVEL_INFO_LINE_LEVEL << KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_SHIFT | first));
}

static void gic_visit_icc(struct gic_walk *g, uint64_t cpu)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
    uint64_t ctlr = 0;
    unsigned aprs;

    if (g->error == 0)
        g->error = gic_get(g->k, group, cpu | ICC_CTLR_EL1, &ctlr);
    /* 5, 6 or 7 bits of priority have 1, 2 or 4 words of active priorities. */
    aprs = 1u << (MAX(ICC_CTLR_PRIBITS(ctlr), 5u) - 5);
    gic_visit(g, GIC_REG(group, cpu | ICC_SRE_EL1, .keep = UINT64_MAX));
    gic_visit(g, GIC_REG(group, cpu | ICC_CTLR_EL1, .keep = ICC_CTLR_FIXED));
    gic_visit(g, GIC_REG(group, cpu | ICC_PMR_EL1));
    gic_visit(g, GIC_REG(group, cpu | ICC_BPR0_EL1));
    gic_visit(g, GIC_REG(group, cpu | ICC_BPR1_EL1));
    for (unsigned i = 0; i < aprs; i++) {
        gic_visit(g, GIC_REG(group, cpu | ICC_AP0R_EL1(i)));
        gic_visit(g, GIC_REG(group, cpu | ICC_AP1R_EL1(i)));
    }
    gic_visit(g, GIC_REG(group, cpu | ICC_IGRPEN0_EL1));
    gic_visit(g, GIC_REG(group, cpu | ICC_IGRPEN1_EL1));
}

/* MPIDR's affinity fields as the attributes have them: Aff3, Aff2, Aff1, Aff0 in the upper word. */
static uint64_t gic_v3_cpu(const struct kvm_vcpu *v)
{
    uint64_t mpidr = v->arch->mpidr;

    return (bits64(mpidr, 39, 32) << 24 | bits64(mpidr, 23, 0)) << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT;
}

static void gic_walk_v3(struct gic_walk *g)
{
    const uint32_t dist = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;

    gic_visit_intids(g, dist, 0, 32, GIC_INTIDS);
    gic_visit_array(g, GIC_REG(dist, GICD_IROUTER), 64, 32, GIC_INTIDS);
    for (unsigned i = 32; i < GIC_INTIDS; i += 32)
        gic_visit_levels(g, 0, i);
    for (unsigned i = 0; i < g->k->cfg.ncpus; i++) {
        uint64_t cpu = gic_v3_cpu(g->k->vcpu[i]);

        gic_visit_intids(g, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, cpu | GICR_SGI_FRAME, 0, 32);
        gic_visit_levels(g, cpu, 0);
        gic_visit_icc(g, cpu);
    }
}

static void gic_walk_v2(struct gic_walk *g)
{
    const uint32_t dist = KVM_DEV_ARM_VGIC_GRP_DIST_REGS, cpuif = KVM_DEV_ARM_VGIC_GRP_CPU_REGS;

    gic_visit_intids(g, dist, 0, 32, GIC_INTIDS);
    gic_visit_array(g, GIC_REG(dist, GICD_ITARGETSR), 8, 32, GIC_INTIDS);
    for (unsigned i = 0; i < g->k->cfg.ncpus; i++) {
        uint64_t cpu = (uint64_t)i << KVM_DEV_ARM_VGIC_CPUID_SHIFT;

        gic_visit_intids(g, dist, cpu, 0, 32);
        /* Who has sent each SGI: a byte each. */
        gic_visit_array(g, GIC_REG(dist, cpu | GICD_CPENDSGIR, .clears = true), 8, 0, 16);
        gic_visit_array(g, GIC_REG(dist, cpu | GICD_SPENDSGIR), 8, 0, 16);
        gic_visit(g, GIC_REG(cpuif, cpu | GICC_PMR));
        gic_visit(g, GIC_REG(cpuif, cpu | GICC_BPR));
        gic_visit(g, GIC_REG(cpuif, cpu | GICC_ABPR));
        gic_visit_array(g, GIC_REG(cpuif, cpu | GICC_APR), 32, 0, 4);
        gic_visit(g, GIC_REG(cpuif, cpu | GICC_CTLR));
    }
}

/* In the order in which they can be written. */
static int gic_walk(struct gic_walk *g)
{
    gic_visit(g, GIC_REG(KVM_DEV_ARM_VGIC_GRP_DIST_REGS, GICD_IIDR, .keep = UINT32_MAX));
    gic_visit(g, GIC_REG(KVM_DEV_ARM_VGIC_GRP_DIST_REGS, GICD_CTLR));
    if (g->k->arch->gic_version == 3)
        gic_walk_v3(g);
    else
        gic_walk_v2(g);
    return g->error;
}

/* ---- what is done with them ---- */

static int gic_reset_reg(struct gic_walk *g, const struct gic_reg *reg)
{
    uint64_t val = reg->reset;

    if (reg->clears) {
        val = UINT32_MAX;
    } else if (reg->keep) {
        int r = gic_get(g->k, reg->group, reg->attr, &val);

        if (r < 0)
            return r;
        val = (val & reg->keep) | (reg->reset & ~reg->keep);
    }
    return gic_set(g->k, reg->group, reg->attr, val);
}

int kvm_gic_reset(struct kvm *k)
{
    struct gic_walk g = {.k = k, .visit = gic_reset_reg};

    return gic_walk(&g);
}

static int gic_save_reg(struct gic_walk *g, const struct gic_reg *reg)
{
    uint64_t val;
    int r;

    if (reg->clears)
        return 0;
    r = gic_get(g->k, reg->group, reg->attr, &val);
    if (r == 0)
        state_put_u64(g->w, val);
    return r;
}

int kvm_gic_save(struct kvm *k, struct state_writer *w)
{
    struct gic_walk g = {.k = k, .visit = gic_save_reg, .w = w};

    state_put_u32(w, k->arch->gic_version);
    state_put_u32(w, k->cfg.ncpus);
    state_put_u32(w, KVM_ARM64_SPIS);
    return gic_walk(&g);
}

static int gic_load_reg(struct gic_walk *g, const struct gic_reg *reg)
{
    uint64_t val = reg->clears ? UINT32_MAX : state_get_u64(g->r);
    int r = gic_set(g->k, reg->group, reg->attr, val);

    if (r < 0)
        log_error("kvm", "GIC register 0x%llx of group %u does not take the saved value 0x%llx: %s",
                  (unsigned long long)reg->attr, reg->group, (unsigned long long)val, strerror(-r));
    return r;
}

int kvm_gic_load(struct kvm *k, struct state_reader *r)
{
    struct gic_walk g = {.k = k, .visit = gic_load_reg, .r = r};
    uint32_t version = state_get_u32(r), ncpus = state_get_u32(r), spis = state_get_u32(r);

    if (version != k->arch->gic_version || ncpus != k->cfg.ncpus || spis != KVM_ARM64_SPIS)
        return -EINVAL;
    return gic_walk(&g);
}
