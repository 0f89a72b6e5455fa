/* The generic timer: register semantics, the line's level, expiry on the loop, save and load. */
#include <pthread.h>
#include <unistd.h>

#include "arch/arm64/arm64.h"
#include "tests/check.h"

#define CTL 1
#define CVAL 2
#define TVAL 0
#define FAR_AWAY (UINT64_C(1) << 40)
#define TICKS_PER_MS 62500

static struct arm64_cpu cpu;
static struct clock clk;
static struct loop *loop;
static struct arm64_timer *timer;
static pthread_t thread;
static _Atomic int level[2];
static _Atomic unsigned changes;

static void on_line(void *opaque, unsigned num, bool l)
{
    (void)opaque;
    level[num] = l;
    changes++;
}

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

static bool setup(void)
{
    struct err e;
    struct irq_line v = {.set = on_line, .num = ARM64_TIMER_VIRT}, p = {.set = on_line, .num = ARM64_TIMER_PHYS};

    clock_init(&clk);
    arm64_cpu_init(&cpu, arm64_model_find("max"), 0);
    level[0] = level[1] = 0;
    changes = 0;
    if (loop_create(&loop, &e))
        return false;
    if (arm64_timer_create(&timer, &cpu, &clk, loop, v, p))
        return false;
    return pthread_create(&thread, NULL, run_loop, loop) == 0;
}

static void teardown(void)
{
    loop_stop(loop);
    pthread_join(thread, NULL);
    arm64_timer_destroy(timer);
    loop_destroy(loop);
}

/* Waits until a line has the level, at most two seconds. */
static bool wait_level(unsigned n, int want)
{
    for (unsigned i = 0; i < 2000 && level[n] != want; i++)
        usleep(1000);
    return level[n] == want;
}

static void test_count(void)
{
    uint64_t val, c = arm64_timer_count(timer);

    CHECK(c <= clock_now(&clk) / 16);
    CHECK(c + 62500000 > clock_now(&clk) / 16);
    CHECK_EQ(arm64_sysreg_read(&cpu, SYSREG_ENC(3, 3, 14, 0, 2), 0, &val), 0);
    CHECK(val >= c);
}

static void test_level(void)
{
    uint64_t now = arm64_timer_count(timer);

    arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, now);
    CHECK_EQ(level[0], 0); /* not enabled */
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CTL), 0);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CTL, 1);
    CHECK_EQ(level[0], 1);
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CTL), 5);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CTL, 3); /* masked: status stays, line drops */
    CHECK_EQ(level[0], 0);
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CTL), 7);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CTL, 1);
    CHECK_EQ(level[0], 1);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, now + FAR_AWAY); /* rewriting CVAL lowers it */
    CHECK_EQ(level[0], 0);
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CTL), 1);
    CHECK_EQ(level[1], 0);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, UINT64_MAX); /* no virtual time reaches this */
    CHECK_EQ(level[0], 0);
    arm64_timer_reset(timer);
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CTL), 0);
}

static void test_tval(void)
{
    uint64_t now = arm64_timer_count(timer);

    arm64_timer_write(timer, ARM64_TIMER_PHYS, TVAL, 0x10000000);
    uint64_t cval = arm64_timer_read(timer, ARM64_TIMER_PHYS, CVAL);
    CHECK(cval >= now + 0x10000000);
    CHECK(cval < now + 0x10000000 + 62500000);
    CHECK(arm64_timer_read(timer, ARM64_TIMER_PHYS, TVAL) <= 0x10000000);
    arm64_timer_write(timer, ARM64_TIMER_PHYS, TVAL, 0xffffffff); /* one tick ago */
    arm64_timer_write(timer, ARM64_TIMER_PHYS, CTL, 1);
    CHECK_EQ(level[1], 1);
    CHECK((int32_t)arm64_timer_read(timer, ARM64_TIMER_PHYS, TVAL) < 0);
    arm64_timer_reset(timer);
    CHECK_EQ(level[1], 0);
}

static void test_expiry(void)
{
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        arm64_timer_write(timer, i, CVAL, arm64_timer_count(timer) + 20 * TICKS_PER_MS);
        arm64_timer_write(timer, i, CTL, 1);
    }
    CHECK(wait_level(0, 1));
    CHECK(wait_level(1, 1));
    for (unsigned i = 0; i < ARM64_TIMER_COUNT; i++) {
        CHECK(arm64_timer_count(timer) >= arm64_timer_read(timer, i, CVAL));
        CHECK_EQ(arm64_timer_read(timer, i, CTL), 5);
    }
    arm64_timer_reset(timer);
}

/* A deadline that moves on while the host timer stays armed for the first: one rise, and not before its time. */
static void test_moved_deadline(void)
{
    unsigned before;
    uint64_t now = arm64_timer_count(timer);

    arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, now + 1000 * TICKS_PER_MS);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CTL, 1);
    before = changes;
    for (unsigned i = 1; i <= 50; i++)
        arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, now + i * TICKS_PER_MS);
    CHECK(wait_level(0, 1));
    CHECK(arm64_timer_count(timer) >= now + 50 * TICKS_PER_MS);
    /* A slow machine may see the line rise and fall while the loop above runs. */
    CHECK((changes - before) % 2 == 1);
    arm64_timer_reset(timer);
}

static void test_pause(void)
{
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, arm64_timer_count(timer) + 20 * TICKS_PER_MS);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CTL, 1);
    clock_pause(&clk);
    if (level[0]) { /* paused too late: nothing to see */
        clock_resume(&clk);
        arm64_timer_reset(timer);
        return;
    }
    usleep(60000);
    CHECK_EQ(level[0], 0);
    clock_resume(&clk);
    arm64_timer_resync(timer);
    CHECK(wait_level(0, 1));
    arm64_timer_reset(timer);
}

static void test_save(void)
{
    FILE *f = tmpfile();
    struct state_writer *w = NULL;
    struct state_reader *r = NULL;
    struct arm64_cpu was;

    CHECK(f);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CVAL, FAR_AWAY);
    arm64_timer_write(timer, ARM64_TIMER_VIRT, CTL, 1);
    arm64_timer_write(timer, ARM64_TIMER_PHYS, CVAL, 1);
    cpu.x[3] = 0x1234;
    cpu.x[31] = 0x8000;
    cpu.sys.sp_el0 = 0x4000;
    cpu.v[7].d[1] = 0x5678;
    cpu.sys.ttbr1_el1 = 0x9abc;
    arm64_set_nzcv(&cpu, PSTATE_C);
    was = cpu;
    CHECK_EQ(state_writer_open(&w, fileno(f)), 0);
    arm64_cpu_save(&cpu, w);
    CHECK_EQ(state_writer_finish(w), 0);
    arm64_cpu_reset(&cpu);
    arm64_timer_reset(timer);
    lseek(fileno(f), 0, SEEK_SET);
    CHECK_EQ(state_reader_open(&r, fileno(f)), 0);
    CHECK_EQ(arm64_cpu_load(&cpu, r), 0);
    CHECK_EQ(state_reader_finish(r), 0);
    fclose(f);
    CHECK(!memcmp(cpu.x, was.x, sizeof(cpu.x)));
    CHECK(!memcmp(cpu.v, was.v, sizeof(cpu.v)));
    CHECK(!memcmp(&cpu.sys, &was.sys, sizeof(cpu.sys)));
    CHECK_EQ(arm64_pstate(&cpu), arm64_pstate(&was));
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CVAL), FAR_AWAY);
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_VIRT, CTL), 1);
    CHECK_EQ(arm64_timer_read(timer, ARM64_TIMER_PHYS, CVAL), 1);
    CHECK_EQ(level[1], 0);
}

int main(void)
{
    if (!setup()) {
        printf("FAIL setup\n");
        return 1;
    }
    RUN(test_count);
    RUN(test_level);
    RUN(test_tval);
    RUN(test_expiry);
    RUN(test_moved_deadline);
    RUN(test_pause);
    RUN(test_save);
    teardown();
    return check_done();
}
