/* The PL031: the host's time, an offset by LR, the match interrupt. */
#include "devices/pl031.h"

#include <time.h>

#include "tests/check.h"
#include "vmm/base/util.h"

#define DR 0x00
#define MR 0x04
#define LR 0x08
#define CR 0x0c
#define IMSC 0x10
#define RIS 0x14
#define MIS 0x18
#define ICR 0x1c

static struct device *dev;
static struct loop *loop;
static bool irq;

static void on_irq(void *opaque, unsigned num, bool level)
{
    (void)opaque;
    (void)num;
    irq = level;
    if (level)
        loop_stop(loop);
}

static uint32_t get(uint64_t off)
{
    return (uint32_t)dev->desc->ops->read(dev, 0, off, 4);
}

static void put(uint64_t off, uint32_t v)
{
    dev->desc->ops->write(dev, 0, off, 4, v);
}

/* Not before `a` and not after `b`, which may differ by the test's own duration. */
static bool between(uint32_t v, uint32_t a, uint32_t b)
{
    return v - a <= b - a;
}

static void test_identity(void)
{
    static const uint8_t id[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(get(0xfe0 + 4 * i), id[i]);
    CHECK_EQ(get(CR), 1);
}

static void test_tells_the_hosts_time(void)
{
    uint32_t a = (uint32_t)time(NULL), v = get(DR);
    CHECK(between(v, a - 1, (uint32_t)time(NULL) + 1));
}

static void test_can_be_set(void)
{
    put(LR, 1000000);
    CHECK(between(get(DR), 1000000, 1000010));
    CHECK_EQ(get(LR), 1000000);
    put(LR, UINT32_MAX);
    CHECK(between(get(DR), UINT32_MAX, 10));
    dev->desc->ops->reset(dev);
    CHECK(between(get(DR), UINT32_MAX, 10)); /* a battery keeps it */
    put(LR, (uint32_t)time(NULL));
}

static void test_match_interrupts(void)
{
    put(IMSC, 1);
    CHECK(!irq);
    put(MR, get(DR) + 1);
    loop_run(loop); /* until the line rises */
    CHECK(irq);
    CHECK_EQ(get(RIS), 1);
    CHECK_EQ(get(MIS), 1);
    put(IMSC, 0);
    CHECK(!irq);
    CHECK_EQ(get(MIS), 0);
    put(ICR, 1);
    CHECK_EQ(get(RIS), 0);
}

static void stop(void *opaque)
{
    (void)opaque;
    loop_stop(loop);
}

/* A match that comes while the machine is paused is there when it goes on. */
static void test_match_while_paused(void)
{
    struct loop_timer *t;
    struct timespec now;

    put(IMSC, 1);
    dev->desc->ops->pause(dev);
    put(MR, get(DR) + 1);
    CHECK(loop_timer_add(loop, &t, stop, NULL) == 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    loop_timer_set(t, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 1500000000);
    loop_run(loop);
    loop_timer_remove(t);
    CHECK(!irq && get(RIS) == 0);
    dev->desc->ops->resume(dev);
    CHECK(irq && get(RIS) == 1);
    put(IMSC, 0);
    put(ICR, 1);
}

static void give_up(void *opaque)
{
    (void)opaque;
    loop_stop(loop);
}

int main(void)
{
    struct loop_timer *t;
    struct timespec now;

    if (loop_create(&loop, NULL) < 0 || pl031_create(&dev, loop) < 0 || loop_timer_add(loop, &t, give_up, NULL) < 0)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &now);
    loop_timer_set(t, ((uint64_t)now.tv_sec + 20) * UINT64_C(1000000000));
    dev->irq = (struct irq_line){.set = on_irq};
    RUN(test_identity);
    RUN(test_tells_the_hosts_time);
    RUN(test_can_be_set);
    RUN(test_match_interrupts);
    RUN(test_match_while_paused);
    dev->desc->ops->destroy(dev);
    loop_timer_remove(t);
    loop_destroy(loop);
    return check_done();
}
