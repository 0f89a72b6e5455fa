/*
 * A guest of the JIT that runs from flash, with the MMU on and the flash mapped as cached memory: what it reads after
 * its commands is the chip's answer, and what it runs after it has programmed it is what it has programmed.
 */
#include <string.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "devices/cfi_flash.h"
#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel_jit_int.h"

#define RAM UINT64_C(0x40000000)
#define CODE UINT64_C(0x10000) /* in flash */
#define DATA UINT64_C(0x200000)
#define DEVICE UINT64_C(0x80000000)

/* Says to the device what comes out of each step; the last word that it says is 0. */
static const uint32_t guest[] = {
    0xd29fe00a, /* mov x10, #0xff00  */
    0xd518a20a, /* msr mair_el1, x10 */
    0xd280a32a, /* mov x10, #0x519  */
    0xf2a0100a, /* movk x10, #0x80, lsl #16 */
    0xb274054a, /* orr x10, x10, #0x3000 */
    0xd518204a, /* msr tcr_el1, x10 */
    0xd2a8000a, /* mov x10, #0x40000000  */
    0xd518200a, /* msr ttbr0_el1, x10 */
    0xd5033b9f, /* dsb ish */
    0xd5033fdf, /* isb */
    0xd538100a, /* mrs x10, sctlr_el1 */
    0xb240014a, /* orr x10, x10, #0x1 */
    0xb27e014a, /* orr x10, x10, #0x4 */
    0xb274014a, /* orr x10, x10, #0x1000 */
    0xd518100a, /* msr sctlr_el1, x10 */
    0xd5033fdf, /* isb */
    0xd2b00009, /* mov x9, #0x80000000  */
    0xd2a00404, /* mov x4, #0x200000  */
    0xb9400081, /* ldr w1, [x4]: the array */
    0xb9000121, /* str w1, [x9] */
    0x52800e02, /* mov w2, #0x70  */
    0xb9000082, /* str w2, [x4] */
    0x14000001, /* b 5c */
    0xb9400081, /* ldr w1, [x4]: the status */
    0xb9000121, /* str w1, [x9] */
    0x52801fe2, /* mov w2, #0xff  */
    0xb9000082, /* str w2, [x4] */
    0xb9400081, /* ldr w1, [x4]: the array again */
    0xb9000121, /* str w1, [x9] */
    0x94000017, /* bl d0: what the function gives */
    0xb9000120, /* str w0, [x9] */
    0x100002a5, /* adr x5, d0 */
    0x52800802, /* mov w2, #0x40  */
    0xb90000a2, /* str w2, [x5] */
    0x52800002, /* mov w2, #0x0  */
    0x72aa5002, /* movk w2, #0x5280, lsl #16 */
    0xb90000a2, /* str w2, [x5]: its instruction loses bits */
    0x52801fe2, /* mov w2, #0xff  */
    0xb90000a2, /* str w2, [x5] */
    0x9400000d, /* bl d0: what it gives now */
    0xb9000120, /* str w0, [x9] */
    0x52800402, /* mov w2, #0x20  */
    0xb9000082, /* str w2, [x4] */
    0x52801a02, /* mov w2, #0xd0  */
    0xb9000082, /* str w2, [x4] */
    0x52801fe2, /* mov w2, #0xff  */
    0xb9000082, /* str w2, [x4] */
    0xb9400081, /* ldr w1, [x4]: erased */
    0xb9000121, /* str w1, [x9] */
    0xb900013f, /* str wzr, [x9] */
    0x14000000, /* b c8 */
    0xd503201f, /* nop */
    0x52824680, /* mov w0, #0x1234  */
    0xd65f03c0, /* ret */
};

static struct vcpu *vcpu;
static uint32_t said[16];
static unsigned nsaid;

static uint64_t dev_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    (void)d, (void)cpu, (void)off, (void)size;
    return 0;
}

static void dev_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    (void)d, (void)cpu, (void)off, (void)size;
    if (nsaid < ARRAY_SIZE(said))
        said[nsaid++] = (uint32_t)val;
    if (!val && nsaid > 5)
        vcpu->accel->ops->vcpu_kick(vcpu);
}

static void dev_destroy(struct device *d)
{
    pthread_mutex_destroy(&d->lock);
}

static const struct device_ops dev_ops = {.read = dev_read, .write = dev_write, .destroy = dev_destroy};
static const struct device_desc dev_desc = {
    .name = "test", .size = 0x1000, .min_access = 4, .max_access = 4, .ops = &dev_ops};

static void run_from_flash(bool interp)
{
    /* Cached memory, accessed: flash and RAM; and a device. */
    static const uint64_t table[3] = {0x705, RAM | 0x705, DEVICE | 0x401};
    const struct vcpu_entry entry = {.pc = CODE, .mode = VCPU_MODE_ARM64};
    struct cfi_flash_config flash = {.fd = -1};
    struct accel_jit_config c = {
        .ncpus = 1,
        .model = arm64_model_find("max"),
        .tier = interp ? VM_TIER_INTERP : VM_TIER_1,
        .gic_version = 3,
        .gic_nspis = 64,
        .gic_dist = GPA(0x08000000),
        .gic_redist = GPA(0x080a0000),
        .ppi_timer_virt = 27,
        .ppi_timer_phys = 30,
    };
    struct clock clock;
    struct accel *accel;
    struct device dev, *bank;
    uint32_t mark = 0x11223344;
    struct err e;

    nsaid = 0;
    clock_init(&clock);
    device_init(&dev, &dev_desc);
    CHECK_EQ(mem_create(&c.mem), 0);
    CHECK_EQ(mem_add_ram(c.mem, GPA(RAM), MIB(4), NULL, &e), 0);
    CHECK_EQ(mem_add_rom(c.mem, GPA(0), CFI_FLASH_SIZE, &flash.rom, &e), 0);
    CHECK_EQ(bus_create(&c.bus), 0);
    CHECK_EQ(loop_create(&c.loop, &e), 0);
    c.clock = &clock;
    flash.mem = c.mem;
    CHECK_EQ(cfi_flash_create(&bank, &flash), 0);
    CHECK_EQ(bus_attach(c.bus, bank, GPA(0)), 0);
    CHECK_EQ(bus_attach(c.bus, &dev, GPA(DEVICE)), 0);
    memcpy(flash.rom->r.host + CODE, guest, sizeof(guest));
    memcpy(flash.rom->r.host + DATA, &mark, sizeof(mark));
    CHECK_EQ(mem_write(c.mem, GPA(RAM), table, sizeof(table)), 0);

    CHECK_EQ(accel_jit_create(&accel, &c, &e), 0);
    CHECK_EQ(accel->ops->vcpu_create(accel, 0, &vcpu, &e), 0);
    CHECK_EQ(accel->ops->complete(accel, &e), 0);
    CHECK_EQ(accel->ops->vcpu_set_entry(vcpu, &entry, &e), 0);
    CHECK_EQ(accel->ops->vcpu_run(vcpu), VCPU_EXIT_KICK);
    CHECK_EQ(nsaid, 7);
    CHECK_EQ(said[0], mark);
    CHECK_EQ(said[1], 0x00800080);
    CHECK_EQ(said[2], mark);
    CHECK_EQ(said[3], 0x1234);
    CHECK_EQ(said[4], 0);
    CHECK_EQ(said[5], 0xffffffff);

    bus_destroy(c.bus);
    accel->ops->vcpu_destroy(vcpu);
    accel->ops->destroy(accel);
    mem_destroy(c.mem);
    loop_destroy(c.loop);
}

static void interpreted(void)
{
    run_from_flash(true);
}

static void translated(void)
{
    run_from_flash(false);
}

int main(void)
{
    alarm(30);
    RUN(interpreted);
    RUN(translated);
    return check_done();
}
