/* Virtual time: pause, resume, set, conversion to host time. */
#include <time.h>

#include "tests/check.h"
#include "vmm/core/clock.h"

#define MS UINT64_C(1000000)
#define HOUR (UINT64_C(3600) * 1000 * MS)

static uint64_t host_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void starts_at_zero_and_runs(void)
{
    struct clock c;
    uint64_t a, b;

    clock_init(&c);
    a = clock_now(&c);
    CHECK(a < 1000 * MS);
    sleep_ms(5);
    b = clock_now(&c);
    CHECK(b - a >= 5 * MS);
}

static void stands_still_while_paused(void)
{
    struct clock c;
    uint64_t a, b;

    clock_init(&c);
    clock_pause(&c);
    a = clock_now(&c);
    sleep_ms(20);
    CHECK_EQ(clock_now(&c), a);
    CHECK_EQ(clock_to_host(&c, a + 1), UINT64_MAX);
    clock_pause(&c); /* again: no effect */
    CHECK_EQ(clock_now(&c), a);
    clock_resume(&c);
    clock_resume(&c);
    b = clock_now(&c);
    CHECK(b >= a && b - a < 20 * MS);
}

static void set_ahead_of_the_host(void)
{
    struct clock c;
    uint64_t now, host;

    clock_init(&c);
    clock_set(&c, 10000 * HOUR);
    now = clock_now(&c);
    CHECK(now >= 10000 * HOUR && now < 10001 * HOUR);
    host = host_now();
    CHECK(clock_to_host(&c, now + HOUR) >= host + HOUR - 1000 * MS);
    CHECK(clock_to_host(&c, now + HOUR) <= host_now() + HOUR);
    CHECK(clock_to_host(&c, 0) >= host && clock_to_host(&c, 0) <= host_now());
    CHECK(clock_to_host(&c, UINT64_MAX) > UINT64_MAX / 2); /* far ahead, whatever the offset */
    clock_pause(&c);
    clock_set(&c, 5);
    CHECK_EQ(clock_now(&c), 5);
    clock_resume(&c);
    CHECK(clock_now(&c) < HOUR);
}

int main(void)
{
    RUN(starts_at_zero_and_runs);
    RUN(stands_still_while_paused);
    RUN(set_ahead_of_the_host);
    return check_done();
}
