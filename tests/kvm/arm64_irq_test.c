/*
 * Interrupts under an arm64 host's KVM: lines of both kinds, the generic timer's, the performance counters' and those
 * that vCPUs send each other reach the guest; doorbells reach their eventfd and nothing else; a reset leaves nothing.
 */
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "tests/check.h"
#include "tests/kvm/arm64_guest.h"
#include "tests/lib/vmarm.h"
#include "vmm/base/util.h"

static struct vmarm m;

static bool start(const uint8_t *begin, const uint8_t *end)
{
    return vmarm_load(&m, begin, (size_t)(end - begin), kvm_arm64_gic_version(m.accel));
}
#define START(name) CHECK(start(guest_##name, guest_##name##_end))

/*
 * The pattern of the programs below: `before` sets up, then X20 interrupts are waited for. The handler tells the device
 * the INTID at offset 8, does `handle`, and counts X20 down. Interrupts are masked while X20 is looked at, so that WFI
 * finds one that came before.
 */
#define INTERRUPTED(spi, count, before, handle)                                                                        \
    "mov x28, x0\n"                                                                                                    \
    "vectors 6f\n"                                                                                                     \
    "memory\n"                                                                                                         \
    "device x19\n"                                                                                                     \
    "mov x20, #" #count "\n"                                                                                           \
    "gic " #spi "\n" before "1: msr daifset, #2\n"                                                                     \
    "cbz x20, 2f\n"                                                                                                    \
    "wfi\n"                                                                                                            \
    "msr daifclr, #2\n"                                                                                                \
    "isb\n"                                                                                                            \
    "b 1b\n"                                                                                                           \
    "2: off\n"                                                                                                         \
    "3: ack 21\n"                                                                                                      \
    "str w21, [x19, #8]\n" handle "eoi 21\n"                                                                           \
    "sub x20, x20, #1\n"                                                                                               \
    "eret\n"                                                                                                           \
    "4: mrs x21, esr_el1\n"                                                                                            \
    "str x21, [x19, #0x100]\n"                                                                                         \
    "off\n"                                                                                                            \
    "table 6, 4b, 3b\n"

/* INTIDs that were acknowledged, in order. */
static bool acknowledged(unsigned intid, unsigned count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < MIN(atomic_load(&m.naccesses), (unsigned)VMARM_MAX_ACCESSES); i++) {
        if (!m.access[i].write || m.access[i].off != 8)
            continue;
        if (m.access[i].val != intid) {
            printf("  INTID %llu was acknowledged\n", (unsigned long long)m.access[i].val);
            return false;
        }
        n++;
    }
    if (n != count)
        printf("  %u interrupts\n", n);
    return n == count;
}

/* ---- lines ---- */

static struct irq_line line;

/* Offset 0: the guest is ready for an interrupt. Offset 8: it has it. */
static void drive_line(struct vmarm *vm, const struct vmarm_access *a)
{
    (void)vm;
    if (a->off == 0)
        irq_set(&line, true);
    if (a->off == 0 && a->val)
        irq_set(&line, false);
    if (a->off == 8)
        irq_set(&line, false);
}

GUEST(edge, INTERRUPTED(16, 3, "mov x22, #1\nstr x22, [x19]\n", "cmp x20, #1\nb.eq 5f\nstr x22, [x19]\n5:\n"))

static void edges_are_counted(void)
{
    struct err e = {0};

    START(edge);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, 16, true, &line, &e), 0);
    m.on_access = drive_line;
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    m.on_access = NULL;
    CHECK(acknowledged(48, 3));
}

/* Raised until the guest has acknowledged it: no second one comes. Then again. */
GUEST(level, INTERRUPTED(17, 2, "str xzr, [x19]\n", "cmp x20, #1\nb.eq 5f\nstr xzr, [x19]\n5:\n"))

static void levels_last_until_lowered(void)
{
    struct err e = {0};

    START(level);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, 17, false, &line, &e), 0);
    m.on_access = drive_line;
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    m.on_access = NULL;
    CHECK(acknowledged(49, 2));
    CHECK(m.accel->ops->irq_line(m.accel, 256, false, &line, &e) < 0);
}

/* ---- the vCPU's own ---- */

GUEST(timer, INTERRUPTED(16, 3,
                         "mov x22, #20000\n"
                         "msr cntv_tval_el0, x22\n"
                         "mov x22, #1\n"
                         "msr cntv_ctl_el0, x22\n",
                         "mov x22, #20000\n"
                         "msr cntv_tval_el0, x22\n"
                         "cmp x20, #1\n"
                         "b.ne 5f\n"
                         "msr cntv_ctl_el0, xzr\n"
                         "5: isb\n"))

static void virtual_timer(void)
{
    START(timer);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK(acknowledged(27, 3));
}

/* A counter of software increments, one before its overflow; then the cycle counter, twice. What a reset leaves in
 * these registers is unknown. */
GUEST(pmu, INTERRUPTED(16, 1,
                       "mov x23, #-1\n"
                       "msr pmcntenclr_el0, x23\n"
                       "msr pmintenclr_el1, x23\n"
                       "msr pmovsclr_el0, x23\n"
                       "msr pmevtyper0_el0, xzr\n"
                       "mov w24, w23\n"
                       "msr pmevcntr0_el0, x24\n"
                       "msr pmccfiltr_el0, xzr\n"
                       "msr pmccntr_el0, xzr\n"
                       "imm x23, ((1 << 31) | 1)\n"
                       "msr pmcntenset_el0, x23\n"
                       "mov x24, #1\n"
                       "msr pmintenset_el1, x24\n"
                       "mov x23, #0x41\n" /* PMCR_EL0: on, and the cycle counter has 64 bits */
                       "msr pmcr_el0, x23\n"
                       "isb\n"
                       "msr pmswinc_el0, x24\n"
                       "isb\n"
                       "mrs x23, pmccntr_el0\n"
                       "str x23, [x19, #0x10]\n"
                       "mrs x23, pmccntr_el0\n"
                       "str x23, [x19, #0x18]\n",
                       "mov x22, #1\n"
                       "msr pmintenclr_el1, x22\n"
                       "msr pmovsclr_el0, x22\n"
                       "isb\n"))

static void performance_counters(void)
{
    uint64_t cycles[2] = {0};

    if (!kvm_arm64_has_pmu(m.accel)) {
        printf("skip performance_counters: this host's KVM gives none\n");
        return;
    }
    START(pmu);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK(acknowledged(VMARM_PMU_PPI, 1));
    for (unsigned i = 0; i < MIN(atomic_load(&m.naccesses), 3u); i++)
        if (m.access[i].off == 0x10 || m.access[i].off == 0x18)
            cycles[m.access[i].off == 0x18] = m.access[i].val;
    CHECK(cycles[0] > 0 && cycles[1] > cycles[0]);
}

/* ---- doorbells ---- */

GUEST(doorbell, "device x19\n"
                "mov w20, #3\n"
                "str w20, [x19, #0x50]\n"
                "str w20, [x19, #0x50]\n"
                "mov w20, #4\n"
                "str w20, [x19, #0x50]\n"
                "mov w20, #3\n"
                "str w20, [x19, #0x54]\n"
                "off\n")

static void doorbells(void)
{
    const struct accel_ops *ops = m.accel->ops;
    uint64_t rung = 0;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    CHECK(fd >= 0);
    START(doorbell);
    CHECK_EQ(ops->doorbell_add(m.accel, fd, GPA(VMARM_MMIO + 0x50), 3), 0);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(read(fd, &rung, sizeof(rung)), sizeof(rung));
    CHECK_EQ(rung, 2);
    CHECK_EQ(atomic_load(&m.naccesses), 2);
    CHECK(m.access[0].off == 0x50 && m.access[0].val == 4);
    CHECK(m.access[1].off == 0x54 && m.access[1].val == 3);

    ops->doorbell_remove(m.accel, fd, GPA(VMARM_MMIO + 0x50), 3);
    START(doorbell);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK(read(fd, &rung, sizeof(rung)) < 0);
    CHECK_EQ(atomic_load(&m.naccesses), 4);
    close(fd);
}

/* ---- reset ---- */

/* Leaves everything on, an SPI active with another priority, an SGI pending, the timer about to fire. */
GUEST(mess, "mov x28, x0\n"
            "vectors 6f\n"
            "memory\n"
            "device x19\n"
            "gic 17\n"
            "imm x9, 0x08000000\n"
            "mov w10, #0x40\n"
            "mov x11, #0x431\n" /* GICD_IPRIORITYR of INTID 49 */
            "strb w10, [x9, x11]\n"
            "str xzr, [x19]\n"
            "1: wfi\n"
            "b 1b\n"
            "3: ack 21\n"
            "str w21, [x19, #8]\n"
            "mov x22, #100\n"
            "msr cntv_tval_el0, x22\n"
            "mov x22, #1\n"
            "msr cntv_ctl_el0, x22\n"
            "isb\n"
            "psci 0x84000009\n"
            "table 6, 3b, 3b\n")

/* Tells GICD_CTLR, and of INTID 49 the words of the enable, pending, active, priority and configuration registers;
 * then, with everything on again but the lines down, whether an interrupt comes in 50000 ticks. */
GUEST(tell, "mov x28, x0\n"
            "vectors 6f\n"
            "device x19\n"
            "imm x9, 0x08000000\n"
            "ldr w10, [x9]\n"
            "str w10, [x19, #0x10]\n"
            "ldr w10, [x9, #0x104]\n"
            "str w10, [x19, #0x14]\n"
            "ldr w10, [x9, #0x204]\n"
            "str w10, [x19, #0x18]\n"
            "ldr w10, [x9, #0x304]\n"
            "str w10, [x19, #0x1c]\n"
            "ldr w10, [x9, #0x430]\n"
            "str w10, [x19, #0x20]\n"
            "ldr w10, [x9, #0xc0c]\n"
            "str w10, [x19, #0x24]\n"
            "mrs x10, cntv_ctl_el0\n"
            "str w10, [x19, #0x28]\n"
            "gic 17\n"
            "mrs x10, cntvct_el0\n"
            "imm x11, 50000\n"
            "add x10, x10, x11\n"
            "1: mrs x11, cntvct_el0\n"
            "cmp x11, x10\n"
            "b.lo 1b\n"
            "off\n"
            "3: ack 21\n"
            "str w21, [x19, #8]\n"
            "off\n"
            "table 6, 3b, 3b\n")

static void reset_leaves_nothing(void)
{
    struct err e = {0};

    START(mess);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, 17, false, &line, &e), 0);
    m.on_access = drive_line;
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_RESET);
    CHECK(acknowledged(49, 1));
    m.on_access = NULL;
    START(tell);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK(acknowledged(0, 0));
    CHECK_EQ(atomic_load(&m.naccesses), 7);
    /* GICD_CTLR of a GICv3 has bits that are always set. */
    CHECK_EQ(m.access[0].val & 3, 0);
    for (unsigned i = 1; i < 7; i++)
        CHECK_EQ(m.access[i].val, 0);
}

/* ---- vCPUs among themselves ---- */

/* vCPU 0 starts vCPU 1, which waits for SGI 5 and answers with SGI 6. */
GUEST(sgi, "mov x28, x0\n"
           "vectors 6f\n"
           "memory\n"
           "device x19\n"
           "gic 16\n"
           "mov x1, #1\n"
           "adr x2, 2f\n"
           "mov x3, x28\n"
           "psci 0xc4000003\n"
           "1: wfi\n"
           "b 1b\n"
           "2: mov x28, x0\n"
           "vectors 6f\n"
           "memory\n"
           "device x19\n"
           "gic 16\n"
           "str xzr, [x19]\n"
           "mov x23, #0\n" /* vCPU 0 */
           "mov x24, #5\n"
           "bl 7f\n"
           "3: wfi\n"
           "b 3b\n"
           /* SGI X24 to vCPU X23. */
           "7: cmp x28, #3\n"
           "b.ne 8f\n"
           "mov x9, #1\n"
           "lsl x9, x9, x23\n"
           "orr x9, x9, x24, lsl #24\n"
           "msr S3_0_C12_C11_5, x9\n" /* ICC_SGI1R_EL1 */
           "isb\n"
           "ret\n"
           "8: mov x9, #0x10000\n"
           "lsl x9, x9, x23\n"
           "orr x9, x9, x24\n"
           "imm x10, 0x08000000\n"
           "str w9, [x10, #0xf00]\n" /* GICD_SGIR */
           "ret\n"
           "4: ack 21\n"
           "str w21, [x19, #8]\n"
           "eoi 21\n"
           "and x22, x21, #0xf\n"
           "cmp x22, #6\n"
           "b.eq 5f\n"
           "mov x23, #1\n"
           "mov x24, #6\n"
           "bl 7b\n"
           "eret\n"
           "5: off\n"
           "table 6, 4b, 4b\n")

static void vcpus_interrupt_each_other(void)
{
    static struct vmarm smp;

    CHECK(vmarm_create(&smp, 2, 0));
    CHECK(vmarm_load(&smp, guest_sgi, (size_t)(guest_sgi_end - guest_sgi), kvm_arm64_gic_version(smp.accel)));
    /* Whichever vCPU switches the machine off, both leave. */
    vmarm_run_all(&smp, false);
    CHECK(!atomic_load(&smp.late));
    CHECK_EQ(atomic_load(&smp.naccesses), 3);
    CHECK(smp.access[0].cpu == 1 && smp.access[0].off == 0);
    CHECK(smp.access[1].cpu == 0 && (smp.access[1].val & 0xf) == 5);
    CHECK(smp.access[2].cpu == 1 && (smp.access[2].val & 0xf) == 6);
    vmarm_destroy(&smp);
}

int main(void)
{
    const char *why = vmarm_unavailable();

    if (why) {
        printf("skip arm64_irq: %s\n", why);
        return 0;
    }
    if (!vmarm_create(&m, 1, 0)) {
        printf("FAIL arm64_irq: no machine\n");
        return 1;
    }
    printf("GICv%u\n", kvm_arm64_gic_version(m.accel));
    RUN(edges_are_counted);
    RUN(levels_last_until_lowered);
    RUN(virtual_timer);
    RUN(performance_counters);
    RUN(doorbells);
    RUN(reset_leaves_nothing);
    RUN(vcpus_interrupt_each_other);
    vmarm_destroy(&m);
    return check_done();
}
