/*
 * The JIT as an accelerator: vCPUs that wait for CPU_ON, what vcpu_run leaves for, the dirty log, state that goes from
 * one machine to another.
 *
 * The guest maps its RAM as cached memory, so that the JIT's fast paths are what runs, and then counts in a word of its
 * own page; at each turn it says the count to a device, which ends the turn by a kick.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel_jit_int.h"

#define RAM UINT64_C(0x40000000)
#define RAM_SIZE MIB(4)
#define CODE (RAM + 0x10000)
#define DATA (RAM + 0x100000) /* of vCPU 0; vCPU 1 has the one 64 KiB higher */
#define DEVICE UINT64_C(0x09000000)
#define NCPUS 2

/* X0: where vCPU 1 starts, or 0. */
static const uint32_t guest[] = {
    0xd2a0060a, /* mov x10, #0x300000 */
    0xd518104a, /* msr cpacr_el1, x10 */
    0xd29fe00a, /* mov x10, #0xff00 */
    0xd518a20a, /* msr mair_el1, x10 */
    0xd280a32a, /* mov x10, #0x519 */
    0xf2a0100a, /* movk x10, #0x80, lsl #16 */
    0xb274054a, /* orr x10, x10, #0x3000 */
    0xd518204a, /* msr tcr_el1, x10 */
    0xd2a8000a, /* mov x10, #0x40000000 */
    0xd518200a, /* msr ttbr0_el1, x10 */
    0xd5033b9f, /* dsb ish */
    0xd5033fdf, /* isb */
    0xd538100a, /* mrs x10, sctlr_el1 */
    0xb240014a, /* orr x10, x10, #0x1 */
    0xb27e014a, /* orr x10, x10, #0x4 */
    0xb274014a, /* orr x10, x10, #0x1000 */
    0xd518100a, /* msr sctlr_el1, x10 */
    0xd5033fdf, /* isb */
    0xb4000100, /* cbz x0, 68  */
    0xaa0003e9, /* mov x9, x0 */
    0xd2800060, /* mov x0, #0x3 */
    0xf2b88000, /* movk x0, #0xc400, lsl #16 */
    0xd2800021, /* mov x1, #0x1 */
    0xaa0903e2, /* mov x2, x9 */
    0xd2800003, /* mov x3, #0x0 */
    0xd4000002, /* hvc #0x0 */
    0xd2a12004, /* mov x4, #0x9000000 */
    0xd2a80202, /* mov x2, #0x40100000 */
    0xd53800a5, /* mrs x5, mpidr_el1 */
    0x92401ca5, /* and x5, x5, #0xff */
    0x8b050c84, /* add x4, x4, x5, lsl #3 */
    0x8b054042, /* add x2, x2, x5, lsl #16 */
    0xd2800001, /* mov x1, #0x0 */
    0x1e6e1000, /* fmov d0, #1.000000000000000000e+00 */
    0x1e6e1001, /* fmov d1, #1.000000000000000000e+00 */
    0xf9400041, /* ldr x1, [x2] */
    0x91000421, /* add x1, x1, #0x1 */
    0xf9000041, /* str x1, [x2] */
    0x1e612800, /* fadd d0, d0, d1 */
    0xb9000081, /* str w1, [x4] */
    0x17fffffb, /* b 8c  */
};

static struct {
    struct mem *mem;
    struct bus *bus;
    struct clock clock;
    struct loop *loop;
    struct accel *accel;
    struct vcpu *vcpu[NCPUS];
    uint32_t said[NCPUS];
} m;

static struct err e;

/* ---- the machine ---- */

static uint64_t dev_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    (void)d, (void)cpu, (void)off, (void)size;
    return 0;
}

static void dev_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    (void)d, (void)size;
    if (off == 8 * cpu)
        m.said[cpu] = (uint32_t)val;
    m.accel->ops->vcpu_kick(m.vcpu[cpu]);
}

static void dev_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
}

static const struct device_ops dev_ops = {.read = dev_read, .write = dev_write, .destroy = dev_destroy};
static const struct device_desc dev_desc = {
    .name = "test", .size = 0x1000, .min_access = 4, .max_access = 4, .ops = &dev_ops};
static struct device dev;

static bool machine_make(const char *model)
{
    static const uint64_t table[2] = {0x401, RAM | 0x705}; /* a device's GiB, and one of cached memory, accessed */
    struct accel_jit_config c = {
        .ncpus = NCPUS,
        .model = arm64_model_find(model),
        .clock = &m.clock,
        .gic_version = 3,
        .gic_nspis = 64,
        .gic_dist = GPA(0x08000000),
        .gic_redist = GPA(0x080a0000),
        .ppi_timer_virt = 27,
        .ppi_timer_phys = 30,
    };

    memset(&m, 0, sizeof(m));
    clock_init(&m.clock);
    device_init(&dev, &dev_desc);
    if (mem_create(&m.mem) < 0 || mem_add_ram(m.mem, GPA(RAM), RAM_SIZE, NULL, &e) < 0 || bus_create(&m.bus) < 0 ||
        bus_attach(m.bus, &dev, GPA(DEVICE)) < 0 || loop_create(&m.loop, &e) < 0)
        return false;
    c.mem = m.mem;
    c.bus = m.bus;
    c.loop = m.loop;
    if (accel_jit_create(&m.accel, &c, &e) < 0)
        return false;
    for (unsigned i = 0; i < NCPUS; i++)
        if (m.accel->ops->vcpu_create(m.accel, i, &m.vcpu[i], &e) < 0)
            return false;
    return m.accel->ops->complete(m.accel, &e) == 0 && mem_write(m.mem, GPA(RAM), table, sizeof(table)) == 0 &&
           mem_write(m.mem, GPA(CODE), guest, sizeof(guest)) == 0;
}

static void machine_end(void)
{
    bus_destroy(m.bus);
    for (unsigned i = 0; i < NCPUS; i++)
        m.accel->ops->vcpu_destroy(m.vcpu[i]);
    m.accel->ops->destroy(m.accel);
    mem_destroy(m.mem);
    loop_destroy(m.loop);
}

static bool start(uint64_t second)
{
    const struct vcpu_entry entry = {.pc = CODE, .arg = second, .mode = VCPU_MODE_ARM64};

    return m.accel->ops->vcpu_set_entry(m.vcpu[0], &entry, &e) == 0;
}

static enum vcpu_exit run(unsigned cpu)
{
    return m.accel->ops->vcpu_run(m.vcpu[cpu]);
}

static uint64_t reg(unsigned cpu, unsigned number)
{
    uint64_t v = 0;

    m.accel->ops->get_reg(m.vcpu[cpu], number, &v, sizeof(v));
    return v;
}

/* ---- running ---- */

static void turns_end_by_kicks(void)
{
    CHECK(machine_make("max") && start(0));
    for (uint32_t i = 1; i <= 100; i++) {
        CHECK_EQ(run(0), VCPU_EXIT_KICK);
        CHECK_EQ(m.said[0], i);
    }
    CHECK_EQ(reg(0, ARM64_REG_X0 + 1), 100);
    CHECK_EQ(accel_jit_vcpu_of(m.vcpu[0])->count[ACCEL_JIT_MMIO_WRITE], 100);
    CHECK_EQ(accel_jit_vcpu_of(m.vcpu[0])->count[ACCEL_JIT_KICK], 100);
    machine_end();
}

static void a_kick_that_comes_first_counts(void)
{
    CHECK(machine_make("max") && start(0));
    m.accel->ops->vcpu_kick(m.vcpu[0]);
    CHECK_EQ(run(0), VCPU_EXIT_KICK);
    CHECK_EQ(m.said[0], 0);
    CHECK_EQ(run(0), VCPU_EXIT_KICK);
    CHECK_EQ(m.said[0], 1);
    machine_end();
}

/* It waits inside vcpu_run; only a kick brings it out, and CPU_ON in. */
static void vcpus_wait_for_cpu_on(void)
{
    CHECK(machine_make("max") && start(CODE));
    m.accel->ops->vcpu_kick(m.vcpu[1]);
    CHECK_EQ(run(1), VCPU_EXIT_KICK);
    CHECK_EQ(m.said[1], 0);
    CHECK_EQ(run(0), VCPU_EXIT_KICK); /* which starts vCPU 1 */
    for (uint32_t i = 1; i <= 10; i++) {
        CHECK_EQ(run(1), VCPU_EXIT_KICK);
        CHECK_EQ(m.said[1], i);
    }
    CHECK_EQ(m.said[0], 1);
    /* Power-on: off again. */
    CHECK(m.accel->ops->reset(m.accel, &e) == 0);
    for (unsigned i = 0; i < NCPUS; i++)
        CHECK(m.accel->ops->vcpu_reset(m.vcpu[i], &e) == 0);
    m.accel->ops->vcpu_kick(m.vcpu[1]);
    CHECK_EQ(run(1), VCPU_EXIT_KICK);
    CHECK_EQ(m.said[1], 10);
    machine_end();
}

static void power_off_and_reset_end_a_run(void)
{
    static const struct {
        uint32_t function;
        enum vcpu_exit exit;
    } call[] = {{0x84000008, VCPU_EXIT_POWEROFF}, {0x84000009, VCPU_EXIT_RESET}, {0x84000012, VCPU_EXIT_RESET}};
    static const uint32_t code[] = {0xd4000002}; /* hvc #0 */

    for (unsigned i = 0; i < ARRAY_SIZE(call); i++) {
        CHECK(machine_make("max") && start(call[i].function));
        CHECK(mem_write(m.mem, GPA(CODE), code, sizeof(code)) == 0);
        CHECK_EQ(run(0), call[i].exit);
        m.accel->ops->vcpu_kick(m.vcpu[0]);
        CHECK_EQ(run(0), VCPU_EXIT_KICK); /* told once */
        machine_end();
    }
}

/* ---- the dirty log ---- */

static bool is_dirty(uint64_t addr)
{
    return atomic_load(&m.mem->region[0].flags[(addr - RAM) >> MEM_PAGE_BITS]) & MEM_PAGE_DIRTY;
}

static unsigned take_dirty(void)
{
    unsigned n = 0;

    for (uint64_t i = 0; i < RAM_SIZE >> MEM_PAGE_BITS; i++)
        n += (atomic_fetch_and(&m.mem->region[0].flags[i], (unsigned char)~MEM_PAGE_DIRTY) & MEM_PAGE_DIRTY) != 0;
    return n;
}

static void dirty_log_is_what_was_written(void)
{
    const struct accel_ops *ops;
    uint64_t other = DATA + 0x5000;

    CHECK(machine_make("max") && start(0));
    ops = m.accel->ops;
    CHECK(ops->caps & ACCEL_CAP_DIRTY_LOG);
    CHECK(ops->dirty_log(m.accel, true) == 0);
    CHECK_EQ(run(0), VCPU_EXIT_KICK);
    CHECK(ops->dirty_sync(m.accel) == 0);
    CHECK(is_dirty(DATA) && !is_dirty(other));
    take_dirty();
    /* Written by a path that was fast before. */
    CHECK_EQ(run(0), VCPU_EXIT_KICK);
    CHECK_EQ(run(0), VCPU_EXIT_KICK);
    CHECK(is_dirty(DATA));
    CHECK(ops->dirty_sync(m.accel) == 0);
    CHECK_EQ(take_dirty(), 1);
    CHECK(ops->dirty_sync(m.accel) == 0);
    CHECK_EQ(take_dirty(), 0);
    CHECK(ops->set_reg(m.vcpu[0], ARM64_REG_X0 + 2, &other, sizeof(other)) == 0);
    CHECK_EQ(run(0), VCPU_EXIT_KICK);
    CHECK(is_dirty(other) && !is_dirty(DATA));
    CHECK(ops->dirty_log(m.accel, false) == 0);
    machine_end();
}

/* ---- state ---- */

static uint8_t ram[RAM_SIZE];

static int save(void)
{
    int fd = memfd_create("state", MFD_CLOEXEC);
    struct state_writer *w;

    if (fd < 0 || state_writer_open(&w, fd) < 0)
        return -1;
    for (unsigned i = 0; i < NCPUS; i++)
        m.accel->ops->vcpu_save(m.vcpu[i], w);
    m.accel->ops->save(m.accel, w);
    if (state_writer_finish(w) < 0 || mem_read(m.mem, GPA(RAM), ram, RAM_SIZE) < 0)
        return -1;
    return fd;
}

static int load(int fd)
{
    struct state_reader *r;
    int ret;

    lseek(fd, 0, SEEK_SET);
    ret = state_reader_open(&r, fd);
    if (ret < 0)
        return ret;
    for (unsigned i = 0; i < NCPUS && ret == 0; i++)
        ret = m.accel->ops->vcpu_load(m.vcpu[i], r);
    if (ret == 0)
        ret = m.accel->ops->load(m.accel, r);
    if (state_reader_finish(r) < 0 && ret == 0)
        ret = -EINVAL;
    return ret < 0 ? ret : mem_write(m.mem, GPA(RAM), ram, RAM_SIZE);
}

static bool both_turn(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        for (unsigned cpu = 0; cpu < NCPUS; cpu++)
            if (run(cpu) != VCPU_EXIT_KICK)
                return false;
    return true;
}

/* D0 counts with the turns. */
static uint64_t d0(unsigned cpu)
{
    uint64_t v[2] = {0};

    m.accel->ops->get_reg(m.vcpu[cpu], ARM64_REG_V0, v, sizeof(v));
    return v[0];
}

static void state_goes_on_elsewhere(void)
{
    uint64_t want[NCPUS];
    int fd;

    CHECK(machine_make("max") && start(CODE));
    CHECK(m.accel->ops->caps & ACCEL_CAP_STATE);
    CHECK(both_turn(5));
    fd = save();
    CHECK(fd >= 0);
    CHECK(both_turn(7));
    CHECK(m.said[0] == 12 && m.said[1] == 12);
    for (unsigned i = 0; i < NCPUS; i++)
        want[i] = d0(i);
    /* In the same machine, whose fast paths lead to the same pages; then in one that has run nothing. */
    for (unsigned round = 0; round < 2; round++) {
        CHECK_EQ(load(fd), 0);
        CHECK(reg(0, ARM64_REG_X0 + 1) == 5 && reg(1, ARM64_REG_X0 + 1) == 5);
        CHECK(both_turn(7));
        CHECK(m.said[0] == 12 && m.said[1] == 12);
        CHECK(d0(0) == want[0] && d0(1) == want[1]);
        machine_end();
        CHECK(machine_make("max"));
    }
    machine_end();
    close(fd);
}

/* vCPU 1 was off: it is so again where it had been started since. */
static void power_states_are_state(void)
{
    int fd;

    CHECK(machine_make("max") && start(CODE));
    fd = save();
    CHECK(fd >= 0);
    CHECK(both_turn(3));
    CHECK_EQ(load(fd), 0);
    m.accel->ops->vcpu_kick(m.vcpu[1]);
    CHECK_EQ(run(1), VCPU_EXIT_KICK);
    CHECK_EQ(m.said[1], 3);
    CHECK(both_turn(1));
    CHECK_EQ(m.said[1], 1);
    machine_end();
    close(fd);
}

static void other_streams_are_refused(void)
{
    int fd;

    CHECK(machine_make("max") && start(0));
    fd = save();
    CHECK(fd >= 0);
    machine_end();
    CHECK(machine_make("cortex-a57"));
    CHECK_EQ(load(fd), -EINVAL);
    machine_end();
    CHECK(machine_make("max"));
    CHECK(ftruncate(fd, 300) == 0);
    CHECK(load(fd) < 0);
    machine_end();
    close(fd);
}

int main(void)
{
    RUN(turns_end_by_kicks);
    RUN(a_kick_that_comes_first_counts);
    RUN(vcpus_wait_for_cpu_on);
    RUN(power_off_and_reset_end_a_run);
    RUN(dirty_log_is_what_was_written);
    RUN(state_goes_on_elsewhere);
    RUN(power_states_are_state);
    RUN(other_streams_are_refused);
    return check_done();
}
