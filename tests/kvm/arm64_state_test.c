/* State under an arm64 host's KVM: the dirty log, save and load, pauses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arch/arm64/regs.h"
#include "tests/check.h"
#include "tests/kvm/arm64_guest.h"
#include "tests/lib/vmarm.h"
#include "vmm/base/util.h"

static struct vmarm m, other;

static bool start(struct vmarm *vm, const uint8_t *begin, const uint8_t *end)
{
    vm->on_access = NULL;
    return vmarm_load(vm, begin, (size_t)(end - begin), kvm_arm64_gic_version(vm->accel));
}
#define START(name) CHECK(start(&m, guest_##name, guest_##name##_end))

static void kick(struct vmarm *vm, const struct vmarm_access *a)
{
    vm->accel->ops->vcpu_kick(vm->vcpu[a->cpu]);
}

/* The stream of a machine that does not run, from its beginning. */
static int save(struct vmarm *vm)
{
    int fd = memfd_create("state", MFD_CLOEXEC);
    struct state_writer *w;

    if (fd < 0 || state_writer_open(&w, fd) < 0)
        return -1;
    vm->accel->ops->save(vm->accel, w);
    for (unsigned i = 0; i < vm->ncpus; i++)
        vm->accel->ops->vcpu_save(vm->vcpu[i], w);
    if (state_writer_finish(w) < 0)
        return -1;
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int load(struct vmarm *vm, int fd)
{
    struct state_reader *r;
    int ret, end;

    lseek(fd, 0, SEEK_SET);
    ret = state_reader_open(&r, fd);
    if (ret < 0)
        return ret;
    ret = vm->accel->ops->load(vm->accel, r);
    for (unsigned i = 0; i < vm->ncpus && ret == 0; i++)
        ret = vm->accel->ops->vcpu_load(vm->vcpu[i], r);
    end = state_reader_finish(r);
    return ret < 0 ? ret : end;
}

/* ---- dirty log ---- */

GUEST(dirty, "imm x1, 0x40200000\n"
             "imm x2, 0x40250123\n"
             "imm x3, 0x403fffff\n"
             "imm x4, 0x402a0ffc\n"
             "imm x5, 0x402c0000\n"
             "memory\n"
             "strb w1, [x1]\n"
             "strb w1, [x2]\n"
             "strb w1, [x3]\n"
             "str x1, [x4]\n"
             "ldr x6, [x5]\n"
             "off\n")

static const unsigned written[] = {0x200, 0x250, 0x2a0, 0x2a1, 0x3ff};

static bool is_written(unsigned page)
{
    for (unsigned i = 0; i < ARRAY_SIZE(written); i++)
        if (written[i] == page)
            return true;
    return false;
}

/* What the guest reads may be mapped writable with what it writes, page by page; nothing else is touched. */
static bool may_be_dirty(unsigned page)
{
    return page == 0x2c0 || page == 0 || page == (VMARM_CODE - VMARM_RAM) / MEM_PAGE_SIZE;
}

static void clear_dirty(void)
{
    for (unsigned i = 0; i < VMARM_RAM_SIZE / MEM_PAGE_SIZE; i++)
        atomic_fetch_and(&m.mem->region[0].flags[i], (unsigned char)~MEM_PAGE_DIRTY);
}

/* Are those pages dirty that should be, and no others? `all`: those of `written`; otherwise none. */
static bool dirty_pages(bool all)
{
    bool good = true;

    for (unsigned i = 0; i < VMARM_RAM_SIZE / MEM_PAGE_SIZE; i++) {
        bool dirty = atomic_load(&m.mem->region[0].flags[i]) & MEM_PAGE_DIRTY;

        if (dirty == (all && is_written(i)) || may_be_dirty(i))
            continue;
        printf("  page 0x%x is %s\n", i, dirty ? "dirty" : "clean");
        good = false;
    }
    return good;
}

static void dirty_log(void)
{
    const struct accel_ops *ops = m.accel->ops;

    CHECK(ops->caps & ACCEL_CAP_DIRTY_LOG);
    /* With the pages in the guest's hands before the log is on, and then again. */
    START(dirty);
    CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
    CHECK_EQ(ops->dirty_log(m.accel, true), 0);
    for (unsigned i = 0; i < 2; i++) {
        START(dirty);
        CHECK_EQ(ops->dirty_sync(m.accel), 0);
        clear_dirty();
        CHECK_EQ(vmarm_run(&m, 0, false), VCPU_EXIT_POWEROFF);
        CHECK_EQ(ops->dirty_sync(m.accel), 0);
        CHECK(dirty_pages(true));
    }
    clear_dirty();
    CHECK_EQ(ops->dirty_sync(m.accel), 0);
    CHECK(dirty_pages(false));
    CHECK_EQ(ops->dirty_log(m.accel, false), 0);
    CHECK(ops->dirty_sync(m.accel) < 0);
}

/* ---- save and load ---- */

/*
 * vCPU 0 fills registers of all kinds, has the timer armed for later, an SPI pending that it does not take, and vCPU 1
 * running; then it is stopped at the device. What it says after that (what it still finds) must be right in whichever
 * machine it goes on: offset 0x10 the sum of the vector registers, 0x18 of the general ones, 0x20 of system registers,
 * 0x28 what vCPU 1 left, 8 the INTID.
 */
GUEST(state,
      "mov x28, x0\n"
      "vectors 6f\n"
      "memory\n"
      "device x19\n"
      "imm x20, 0x40100000\n"
      "gic 17\n"
      "msr daifset, #2\n"
      "mov x1, #1\n"
      "adr x2, 3f\n"
      "mov x3, #77\n"
      "psci 0xc4000003\n"
      "cbnz x0, 4f\n"
      "1: ldar x1, [x20]\n" /* until vCPU 1 runs */
      "cbz x1, 1b\n"
      "imm x9, (3 << 20)\n"
      "msr cpacr_el1, x9\n"
      "isb\n"
      ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, "
      "28, 29, 30, 31\n"
      "mov x9, #(0x100 + \\n)\n"
      "dup v\\n\\().2d, x9\n"
      ".endr\n"
      ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 29, 30\n"
      "mov x\\n, #(0x1000 + \\n)\n"
      ".endr\n"
      "mov x9, #0x111\n"
      "msr tpidr_el0, x9\n"
      "mov x9, #0x222\n"
      "msr tpidrro_el0, x9\n"
      "mov x9, #0x333\n"
      "msr tpidr_el1, x9\n"
      "mov x9, #0x444\n"
      "msr contextidr_el1, x9\n"
      "mov x9, #0x555\n"
      "msr sp_el0, x9\n"
      "imm x9, 0x100000000000\n" /* hours away */
      "msr cntv_cval_el0, x9\n"
      "mov x9, #1\n"
      "msr cntv_ctl_el0, x9\n"
      "isb\n"
      "str xzr, [x19]\n" /* here it is stopped */
      "mov x9, #0\n"
      ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 29, 30\n"
      "add x9, x9, x\\n\n"
      ".endr\n"
      "str x9, [x19, #0x18]\n"
      "mov x9, #0\n"
      ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, "
      "28, 29, 30, 31\n"
      "mov x1, v\\n\\().d[0]\n"
      "mov x2, v\\n\\().d[1]\n"
      "add x9, x9, x1\n"
      "add x9, x9, x2, lsl #16\n"
      ".endr\n"
      "str x9, [x19, #0x10]\n"
      "mrs x9, tpidr_el0\n"
      "mrs x1, tpidrro_el0\n"
      "add x9, x9, x1\n"
      "mrs x1, tpidr_el1\n"
      "add x9, x9, x1\n"
      "mrs x1, contextidr_el1\n"
      "add x9, x9, x1\n"
      "mrs x1, sp_el0\n"
      "add x9, x9, x1\n"
      "mrs x1, cntv_cval_el0\n"
      "add x9, x9, x1\n"
      "mrs x1, cntv_ctl_el0\n"
      "add x9, x9, x1\n"
      "str x9, [x19, #0x20]\n"
      "mov x1, #1\n"
      "add x2, x20, #64\n"
      "stlr x1, [x2]\n"
      "add x2, x20, #128\n"
      "2: ldar x1, [x2]\n"
      "cbz x1, 2b\n"
      "str x1, [x19, #0x28]\n"
      "msr daifclr, #2\n"
      "isb\n"
      "str xzr, [x19, #0x30]\n" /* no interrupt was pending */
      "off\n"
      "3: memory\n"
      "imm x20, 0x40100000\n"
      "mov x21, x0\n"
      "mov x1, #1\n"
      "stlr x1, [x20]\n"
      "add x2, x20, #64\n"
      "5: ldar x1, [x2]\n"
      "cbz x1, 5b\n"
      "add x2, x20, #128\n"
      "stlr x21, [x2]\n"
      "psci 0x84000002\n" /* CPU_OFF */
      "4: ack 21\n"
      "str w21, [x19, #8]\n"
      "off\n"
      "table 6, 4b, 4b\n")

static struct irq_line line;

static void stop(struct vmarm *vm, const struct vmarm_access *a)
{
    if (a->off != 0)
        return;
    irq_set(&line, true);
    kick(vm, a);
}

/* What the device heard after the stop. */
static bool heard(struct vmarm *vm)
{
    const uint64_t general =
        0x1000 * 19 + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 10 + 11 + 12 + 13 + 14 + 15 + 16 + 17 + 18 + 29 + 30;
    const uint64_t vector = (0x100 * 32 + 31 * 16) * UINT64_C(0x10001);
    /* The timer's control has ENABLE and not ISTATUS. */
    const uint64_t system = 0x111 + 0x222 + 0x333 + 0x444 + 0x555 + UINT64_C(0x100000000000) + 1;
    const struct {
        uint64_t off, val;
    } want[] = {{0x18, general}, {0x10, vector}, {0x20, system}, {0x28, 77}, {8, 49}};
    unsigned n = MIN(atomic_load(&vm->naccesses), (unsigned)VMARM_MAX_ACCESSES);

    for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
        const struct vmarm_access *a = &vm->access[n - ARRAY_SIZE(want) + i];

        if (n >= ARRAY_SIZE(want) && a->off == want[i].off && a->val == want[i].val)
            continue;
        printf("  access %u of %u: 0x%llx at 0x%llx\n", i, n, (unsigned long long)a->val, (unsigned long long)a->off);
        return false;
    }
    return true;
}

static bool same_streams(int a, int b)
{
    off_t size = lseek(a, 0, SEEK_END), size_b = lseek(b, 0, SEEK_END);
    uint8_t *pa = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, a, 0);
    uint8_t *pb = mmap(NULL, (size_t)size_b, PROT_READ, MAP_SHARED, b, 0);
    bool same = size == size_b && pa != MAP_FAILED && pb != MAP_FAILED;

    printf("  %lld bytes\n", (long long)size);
    for (off_t i = 0; same && i < size; i++)
        if (pa[i] != pb[i]) {
            printf("  byte %lld differs: %02x, %02x\n", (long long)i, pa[i], pb[i]);
            same = false;
        }
    return same;
}

/* Stops `m` in the middle of the program; -1, or its stream. */
static int stopped(void)
{
    struct err e = {0};

    if (!start(&m, guest_state, guest_state_end) || m.accel->ops->irq_line(m.accel, 17, false, &line, &e) < 0)
        return -1;
    memset(mem_write_begin(m.mem, GPA(VMARM_DATA), MEM_PAGE_SIZE), 0, MEM_PAGE_SIZE);
    mem_write_end(m.mem, GPA(VMARM_DATA), MEM_PAGE_SIZE);
    irq_set(&line, false);
    m.on_access = stop;
    if (vmarm_run_all(&m, true) != VCPU_EXIT_KICK || atomic_load(&m.late))
        return -1;
    m.accel->ops->pause(m.accel);
    return save(&m);
}

static bool make_other(void)
{
    return vmarm_create(&other, m.ncpus, kvm_arm64_gic_version(m.accel)) &&
           mem_write(other.mem, GPA(VMARM_RAM), mem_read_ptr(m.mem, GPA(VMARM_RAM), VMARM_RAM_SIZE), VMARM_RAM_SIZE) ==
               0;
}

static void another_machine_goes_on(void)
{
    struct err e = {0};
    int fd = stopped(), again;

    CHECK(fd >= 0);
    CHECK(make_other());
    other.accel->ops->pause(other.accel);
    CHECK_EQ(load(&other, fd), 0);
    again = save(&other);
    CHECK(same_streams(fd, again));
    close(fd);
    close(again);
    /* A GICv2's lines are for the devices to drive again. */
    CHECK_EQ(other.accel->ops->irq_line(other.accel, 17, false, &line, &e), 0);
    if (kvm_arm64_gic_version(other.accel) == 2)
        irq_set(&line, true);
    other.accel->ops->resume(other.accel);
    CHECK_EQ(vmarm_run_all(&other, false), VCPU_EXIT_POWEROFF);
    CHECK(!atomic_load(&other.late));
    CHECK(heard(&other));
    vmarm_destroy(&other);

    m.accel->ops->resume(m.accel);
    CHECK_EQ(vmarm_run_all(&m, false), VCPU_EXIT_POWEROFF);
    CHECK(heard(&m));
    CHECK_EQ(m.accel->ops->irq_line(m.accel, 17, false, &line, &e), 0);
    irq_set(&line, false);
}

/* Every stream that is cut short, and some that are damaged, are refused; then the whole one is taken. */
static void streams_that_are_not_ours(void)
{
    int fd = stopped(), cut = memfd_create("cut", MFD_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    uint8_t *whole;

    CHECK(fd >= 0 && cut >= 0 && size > 0);
    whole = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(whole != MAP_FAILED);
    CHECK(make_other());
    for (off_t n = 0; n < size; n += 1 + size / 40) {
        CHECK_EQ(ftruncate(cut, 0), 0);
        CHECK_EQ(pwrite(cut, whole, (size_t)n, 0), n);
        CHECK(load(&other, cut) < 0);
    }
    /* The first section's name, and the GIC's version. */
    for (unsigned i = 0; i < 2; i++) {
        off_t at = i == 0 ? 8 + 2 : 8 + 2 + 9 + 4 + 8 + 8 + 8;

        CHECK_EQ(pwrite(cut, whole, (size_t)size, 0), size);
        CHECK_EQ(pwrite(cut, "\x07", 1, at), 1);
        CHECK_EQ(load(&other, cut), -EINVAL);
    }
    CHECK_EQ(load(&other, fd), 0);
    munmap(whole, (size_t)size);
    close(cut);
    close(fd);
    vmarm_destroy(&other);
    m.accel->ops->resume(m.accel);
    irq_set(&line, false);
}

/* ---- pauses ---- */

GUEST(clock, "device x19\n"
             "1: mrs x9, cntvct_el0\n"
             "str x9, [x19]\n"
             "b 1b\n")

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t counter_frequency(void)
{
    uint64_t hz;

    __asm__("mrs %0, cntfrq_el0" : "=r"(hz));
    return hz;
}

static void time_stands_still_in_a_pause(void)
{
    const double pause = 0.3;
    double before, after, guest;

    START(clock);
    m.on_access = kick;
    before = now();
    CHECK_EQ(vmarm_run(&m, 0, true), VCPU_EXIT_KICK);
    m.accel->ops->pause(m.accel);
    usleep((useconds_t)(pause * 1e6));
    m.accel->ops->resume(m.accel);
    CHECK_EQ(vmarm_run(&m, 0, true), VCPU_EXIT_KICK);
    after = now();
    CHECK_EQ(atomic_load(&m.naccesses), 2);
    guest = (double)(m.access[1].val - m.access[0].val) / (double)counter_frequency();
    printf("  %.3f s passed, %.3f s of them in the guest\n", after - before, guest);
    CHECK(guest >= 0 && guest < after - before - 0.9 * pause);
}

int main(void)
{
    const char *why = vmarm_unavailable();

    if (why) {
        printf("skip arm64_state: %s\n", why);
        return 0;
    }
    if (!vmarm_create(&m, 2, 0)) {
        printf("FAIL arm64_state: no machine\n");
        return 1;
    }
    RUN(dirty_log);
    RUN(another_machine_goes_on);
    RUN(streams_that_are_not_ours);
    RUN(time_stands_still_in_a_pause);
    vmarm_destroy(&m);
    return check_done();
}
