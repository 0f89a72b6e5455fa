/*
 * vCPUs under an arm64 host's KVM: what the guest accesses reaches the bus as it was made, PSCI starts vCPUs and ends
 * runs, kicks end runs and none is lost, and accesses that cannot be made end in the guest's own abort handler.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "tests/check.h"
#include "tests/kvm/arm64_guest.h"
#include "tests/lib/vmarm.h"
#include "vmm/base/util.h"

static struct vmarm m;

static bool start(const uint8_t *begin, const uint8_t *end)
{
    return vmarm_load(&m, begin, (size_t)(end - begin), 0x1234);
}
#define START(name) CHECK(start(guest_##name, guest_##name##_end))

static bool accessed(unsigned i, bool write, uint64_t off, unsigned size, uint64_t val)
{
    const struct vmarm_access *a = &m.access[i];

    if (i < atomic_load(&m.naccesses) && a->write == write && a->off == off && a->size == size && a->val == val)
        return true;
    printf("  access %u of %u: %s of %u bytes at 0x%llx, 0x%llx\n", i, atomic_load(&m.naccesses),
           a->write ? "write" : "read", a->size, (unsigned long long)a->off, (unsigned long long)a->val);
    return false;
}

/* ---- flash ---- */

/* Reads the array, the status, what it has programmed, and what a function in the array gives. */
GUEST(flash, "device x1\n"
             "imm x10, 0x04000000\n"
             "ldr w2, [x10]\n"
             "str w2, [x1]\n"
             "mov w3, #0x70\n"
             "str w3, [x10]\n"
             "ldr w2, [x10]\n"
             "str w2, [x1]\n"
             "mov w3, #0x40\n"
             "str w3, [x10]\n"
             "imm x4, 0xff00ff00\n"
             "str w4, [x10]\n"
             "mov w3, #0xff\n"
             "str w3, [x10]\n"
             "ldr w2, [x10]\n"
             "str w2, [x1]\n"
             "add x5, x10, #0x1000\n"
             "blr x5\n"
             "str w0, [x1]\n"
             "off\n")

static void flash_answers_and_runs(void)
{
    static const uint32_t function[] = {0x52824680, 0xd65f03c0}; /* mov w0, #0x1234; ret */
    struct mem_rom *rom = &m.mem->rom[0];
    uint32_t mark = 0x12345678;

    START(flash);
    memcpy(rom->r.host, &mark, sizeof(mark));
    memcpy(rom->r.host + 0x1000, function, sizeof(function));
    __builtin___clear_cache((char *)rom->r.host + 0x1000, (char *)rom->r.host + 0x1000 + sizeof(function));
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(atomic_load(&m.naccesses), 4);
    CHECK(accessed(0, true, 0, 4, mark));
    CHECK(accessed(1, true, 0, 4, 0x00800080));
    CHECK(accessed(2, true, 0, 4, 0x12005600));
    CHECK(accessed(3, true, 0, 4, 0x1234));
    CHECK(atomic_load(&rom->direct));
}

/* ---- accesses ---- */

GUEST(mmio, "device x10\n"
            "imm x11, 0x1122334455667788\n"
            "strb w11, [x10, #1]\n"
            "strh w11, [x10, #2]\n"
            "str w11, [x10, #4]\n"
            "str x11, [x10, #8]\n"
            "ldrb w12, [x10, #16]\n"
            "ldrh w13, [x10, #18]\n"
            "ldr w14, [x10, #20]\n"
            "ldr x15, [x10, #24]\n"
            "str xzr, [x10, #40]\n"
            "off\n")

static void mmio_sizes_and_values(void)
{
    START(mmio);
    atomic_store(&m.answer, UINT64_C(0xa1b2c3d4e5f607f8));
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(atomic_load(&m.naccesses), 9);
    CHECK(accessed(0, true, 1, 1, 0x88));
    CHECK(accessed(1, true, 2, 2, 0x7788));
    CHECK(accessed(2, true, 4, 4, 0x55667788));
    CHECK(accessed(3, true, 8, 8, UINT64_C(0x1122334455667788)));
    for (unsigned i = 0; i < 4; i++)
        CHECK(accessed(4 + i, false, 0x10 + (i ? 1u << i : 0), 1u << i, UINT64_C(0xa1b2c3d4e5f607f8)));
    CHECK(accessed(8, true, 40, 8, 0));
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 12), 0xf8);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 13), 0x07f8);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 14), 0xe5f607f8);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 15), UINT64_C(0xa1b2c3d4e5f607f8));
}

/* What the handler finds goes to the device: ESR, FAR, and how far the program came. */
#define ABORTS(access)                                                                                                 \
    "vectors 2f\n"                                                                                                     \
    "device x1\n"                                                                                                      \
    "imm x2, 0x0b000000\n"                                                                                             \
    "memory\n" access "str x3, [x1]\n"                                                                                 \
    "off\n"                                                                                                            \
    "1: mrs x4, esr_el1\n"                                                                                             \
    "str x4, [x1, #8]\n"                                                                                               \
    "mrs x4, far_el1\n"                                                                                                \
    "str x4, [x1, #16]\n"                                                                                              \
    "mrs x4, elr_el1\n"                                                                                                \
    "add x4, x4, #4\n"                                                                                                 \
    "msr elr_el1, x4\n"                                                                                                \
    "eret\n"                                                                                                           \
    "table 2, 1b, 1b\n"

GUEST(unmapped, ABORTS("mov x3, #7\n"
                       "ldr x3, [x2]\n"
                       "str x3, [x2, #8]\n"))

/* A synchronous external abort (fault status 0x10) of a data access at EL1 (class 0x25). */
static bool external_abort(uint64_t esr)
{
    if (bits64(esr, 31, 26) == 0x25 && (esr & 0x3f) == 0x10)
        return true;
    printf("  ESR_EL1 is 0x%llx\n", (unsigned long long)esr);
    return false;
}

static void unmapped_accesses_abort(void)
{
    START(unmapped);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(atomic_load(&m.naccesses), 5);
    CHECK(external_abort(m.access[0].val));
    CHECK(accessed(1, true, 16, 8, 0x0b000000));
    CHECK(external_abort(m.access[2].val));
    CHECK(accessed(3, true, 16, 8, 0x0b000008));
    /* The load wrote no register. */
    CHECK(accessed(4, true, 0, 8, 7));
}

/* A pair: the processor does not say what was accessed how. */
GUEST(undescribed, ABORTS("mov x3, #7\n"
                          "stp x3, x3, [x1, #64]\n"
                          "ldp x3, x4, [x1, #64]\n"))

static void undescribed_accesses_abort(void)
{
    START(undescribed);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(atomic_load(&m.naccesses), 5);
    CHECK(external_abort(m.access[0].val));
    CHECK(accessed(1, true, 16, 8, VMARM_MMIO + 64));
    CHECK(external_abort(m.access[2].val));
    CHECK(accessed(4, true, 0, 8, 7));
}

/* ---- PSCI ---- */

GUEST(reset, "device x1\n"
             "str x0, [x1]\n"
             "psci 0x84000009\n")

static void reset_and_again(void)
{
    START(reset);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_RESET);
    CHECK(accessed(0, true, 0, 8, 0x1234));
    /* And again from the beginning. */
    START(reset);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_RESET);
    CHECK(accessed(0, true, 0, 8, 0x1234));
}

/* Each vCPU adds 1 to a word 100000 times and then 1 to the count of those that are done; vCPU 0 starts the others and
 * waits for them. */
GUEST(smp, "memory\n"
           "mov x19, x0\n" /* the number of vCPUs */
           "imm x20, 0x40100000\n"
           "mov x21, #1\n"
           "1: cmp x21, x19\n"
           "b.eq 2f\n"
           "mov x1, x21\n" /* affinity */
           "adr x2, 3f\n"
           "mov x3, x21\n" /* context */
           "psci 0xc4000003\n"
           "cbnz x0, 9f\n"
           "add x21, x21, #1\n"
           "b 1b\n"
           "2: bl 4f\n"
           "5: ldar w9, [x20]\n" /* all done? */
           "cmp w9, w19\n"
           "b.ne 5b\n"
           "off\n"
           "3: memory\n"
           "imm x20, 0x40100000\n"
           "device x1\n"
           "mrs x2, mpidr_el1\n"
           "and x2, x2, #0xff\n"
           "lsl x2, x2, #3\n"
           "str x0, [x1, x2]\n"
           "bl 4f\n"
           "psci 0x84000002\n" /* CPU_OFF */
           "4: add x3, x20, #64\n"
           "imm x4, 100000\n"
           "6: ldaxr x5, [x3]\n"
           "add x5, x5, #1\n"
           "stlxr w6, x5, [x3]\n"
           "cbnz w6, 6b\n"
           "subs x4, x4, #1\n"
           "b.ne 6b\n"
           "7: ldaxr w5, [x20]\n"
           "add w5, w5, #1\n"
           "stlxr w6, w5, [x20]\n"
           "cbnz w6, 7b\n"
           "ret\n"
           "9: device x1\n"
           "str x0, [x1, #0x100]\n"
           "off\n")

static void cpus_start_and_work_together(void)
{
    static struct vmarm smp;
    bool seen[VMARM_MAX_CPUS] = {false};

    CHECK(vmarm_create(&smp, VMARM_MAX_CPUS, 0));
    CHECK(vmarm_load(&smp, guest_smp, (size_t)(guest_smp_end - guest_smp), VMARM_MAX_CPUS));
    CHECK_EQ(vmarm_run_all(&smp, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(vmarm_peek(&smp, VMARM_DATA) & UINT32_MAX, VMARM_MAX_CPUS);
    CHECK_EQ(vmarm_peek(&smp, VMARM_DATA + 64), VMARM_MAX_CPUS * 100000);
    CHECK_EQ(atomic_load(&smp.naccesses), VMARM_MAX_CPUS - 1);
    for (unsigned i = 0; i < VMARM_MAX_CPUS - 1; i++) {
        unsigned cpu = smp.access[i].cpu;

        CHECK(cpu > 0 && cpu < VMARM_MAX_CPUS && !seen[cpu]);
        seen[cpu] = true;
        CHECK(smp.access[i].off == 8 * cpu && smp.access[i].val == cpu);
        CHECK_EQ(vmarm_reg(&smp, cpu, ARM64_REG_MPIDR) & UINT64_C(0xff00ffffff), cpu);
    }
    vmarm_destroy(&smp);
}

/* ---- kicks ---- */

GUEST(spin, "1: add x1, x1, #1\n"
            "b 1b\n")

static void *kick_later(void *opaque)
{
    usleep(20000);
    m.accel->ops->vcpu_kick(opaque);
    return NULL;
}

static void kicks_end_runs(void)
{
    uint64_t before;
    pthread_t t;

    START(spin);
    /* One that comes before the run is not lost. */
    m.accel->ops->vcpu_kick(m.vcpu[0]);
    CHECK_EQ(vmarm_run(&m, 0, true), VCPU_EXIT_KICK);
    before = vmarm_reg(&m, 0, ARM64_REG_X0 + 1);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(pthread_create(&t, NULL, kick_later, m.vcpu[0]), 0);
        CHECK_EQ(vmarm_run(&m, 0, true), VCPU_EXIT_KICK);
        pthread_join(t, NULL);
        CHECK(!atomic_load(&m.late));
    }
    CHECK(vmarm_reg(&m, 0, ARM64_REG_X0 + 1) > before);
}

GUEST(sleep, "1: wfi\n"
             "b 1b\n")

static void kicks_wake_sleepers(void)
{
    pthread_t t;

    START(sleep);
    CHECK_EQ(pthread_create(&t, NULL, kick_later, m.vcpu[0]), 0);
    CHECK_EQ(vmarm_run(&m, 0, true), VCPU_EXIT_KICK);
    pthread_join(t, NULL);
    CHECK(!atomic_load(&m.late));
}

/* ---- registers ---- */

GUEST(registers, "imm x9, (3 << 20)\n"
                 "msr cpacr_el1, x9\n" /* floating point is not trapped */
                 "isb\n"
                 "add x11, x11, #1\n"
                 "mov x12, sp\n"
                 "fmov x13, d5\n"
                 "mov x14, v5.d[1]\n"
                 "mrs x15, fpcr\n"
                 "mrs x16, fpsr\n"
                 "movi v7.16b, #0x5a\n"
                 "fmov d8, x11\n"
                 "off\n")

static void registers_by_number(void)
{
    const struct accel_ops *ops = m.accel->ops;
    uint64_t x11 = 41, sp = 0x4000ff00, vec[2] = {0x1111, 0x2222};
    uint32_t fpcr = 0x01000000, fpsr = 0x08000010; /* flush to zero; saturation, inexact */

    START(registers);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_X0 + 11, &x11, sizeof(x11)), 0);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_SP, &sp, sizeof(sp)), 0);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_V0 + 5, vec, sizeof(vec)), 0);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_FPCR, &fpcr, sizeof(fpcr)), 0);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_FPSR, &fpsr, sizeof(fpsr)), 0);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_PC), VMARM_CODE);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_PSTATE), 0x3c5);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 11), 42);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 12), sp);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 13), 0x1111);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 14), 0x2222);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 15), fpcr);
    CHECK_EQ(vmarm_reg(&m, 0, ARM64_REG_X0 + 16), fpsr);
    CHECK_EQ(ops->get_reg(m.vcpu[0], ARM64_REG_V0 + 7, vec, sizeof(vec)), 0);
    CHECK(vec[0] == UINT64_C(0x5a5a5a5a5a5a5a5a) && vec[1] == vec[0]);
    CHECK_EQ(ops->get_reg(m.vcpu[0], ARM64_REG_V0 + 8, vec, sizeof(vec)), 0);
    CHECK(vec[0] == 42 && vec[1] == 0);

    CHECK_EQ(ops->get_reg(m.vcpu[0], ARM64_NREGS, vec, 8), -ENOENT);
    CHECK_EQ(ops->get_reg(m.vcpu[0], ARM64_REG_X0, vec, 4), -EINVAL);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_V0, vec, 8), -EINVAL);
    CHECK_EQ(ops->set_reg(m.vcpu[0], ARM64_REG_MPIDR, vec, 8), -EINVAL);
}

/* ---- refusals ---- */

static int try_create(uint64_t ram, unsigned ncpus, unsigned gic_version, struct err *e)
{
    struct kvm_config cfg = {.ncpus = ncpus,
                             .gic_version = gic_version,
                             .gic_dist = GPA(VMARM_GICD),
                             .gic_redist = GPA(VMARM_GICR),
                             .gic_cpuif = GPA(VMARM_GICC),
                             .pmu_ppi = VMARM_PMU_PPI};
    struct accel *a = NULL;
    int r = mem_create(&cfg.mem);

    if (r == 0)
        r = mem_add_ram(cfg.mem, GPA(ram), MIB(1), NULL, e);
    if (r == 0 && (r = kvm_create(&a, &cfg, e)) == 0)
        a->ops->destroy(a);
    mem_destroy(cfg.mem);
    return r;
}

static void refusals(void)
{
    struct err e = {0};

    CHECK_EQ(try_create(VMARM_RAM, 1, 0, &e), 0);
    CHECK(try_create(UINT64_C(1) << 53, 1, 0, &e) < 0);
    CHECK_EQ(e.status, ERR_STATUS_MEMORY);
    printf("  %s\n", e.msg);
    CHECK(strstr(e.msg, "bits of address"));
    CHECK(try_create(VMARM_RAM, 100000, 0, &e) < 0);
    CHECK_EQ(e.status, ERR_STATUS_CPUS);
    printf("  %s\n", e.msg);
    if (try_create(VMARM_RAM, 1, 2, &e) < 0) {
        CHECK_EQ(e.status, ERR_STATUS_KVM_CAPABILITY);
        CHECK(strstr(e.msg, "GICv2"));
        printf("  %s\n", e.msg);
    }
}

int main(void)
{
    const char *why = vmarm_unavailable();

    if (why) {
        printf("skip arm64_run: %s\n", why);
        return 0;
    }
    if (!vmarm_create(&m, 1, 0)) {
        printf("FAIL arm64_run: no machine\n");
        return 1;
    }
    printf("GICv%u, %s performance counters\n", kvm_arm64_gic_version(m.accel),
           kvm_arm64_has_pmu(m.accel) ? "with" : "without");
    RUN(flash_answers_and_runs);
    RUN(mmio_sizes_and_values);
    RUN(unmapped_accesses_abort);
    RUN(undescribed_accesses_abort);
    RUN(reset_and_again);
    RUN(cpus_start_and_work_together);
    RUN(kicks_end_runs);
    RUN(kicks_wake_sleepers);
    RUN(registers_by_number);
    RUN(refusals);
    vmarm_destroy(&m);
    return check_done();
}
