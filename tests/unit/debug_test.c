/* The debug devices: the line that a write prints and its times, the flood that is cut, exit statuses. */
#include "devices/debug.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/log.h"
#include "vmm/base/uptime.h"
#include "vmm/base/util.h"
#include "vmm/core/bus.h"

static struct bus *bus;
static int log_pipe[2];
static unsigned exits, last_status;

static void on_exit_status(void *opaque, unsigned status)
{
    (void)opaque;
    exits++;
    last_status = status;
}

/* What was logged, up to size - 1 bytes. */
static void take(char *buf, size_t size)
{
    size_t n = 0;
    ssize_t k;

    while (n < size - 1 && (k = read(log_pipe[0], buf + n, size - 1 - n)) > 0)
        n += (size_t)k;
    buf[n] = '\0';
}

static unsigned lines_of(const char *buf, const char *word)
{
    unsigned n = 0;

    for (const char *p = buf; (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

static double exec_ms, vcpu_ms, cpu_ms;
static unsigned value;

static bool line_parses(const char *line)
{
    int end = 0;

    return sscanf(line,
                  "pipit: debug 0x%x: %lf ms since exec, %lf ms since the first vCPU started, %lf ms of our CPU "
                  "time\n%n",
                  &value, &exec_ms, &vcpu_ms, &cpu_ms, &end) == 4 &&
           end == (int)strlen(line);
}

static void test_print(void)
{
    struct timespec nap = {0, 20000000};
    char buf[4096];
    double before;

    /* No vCPU was marked yet. */
    CHECK_EQ(bus_write(bus, 0, GPA(0x610), 4, 0xdeadbeef), 0);
    take(buf, sizeof(buf));
    CHECK(line_parses(buf));
    CHECK_EQ(value, 0xdeadbeef);
    CHECK(vcpu_ms == 0);
    CHECK(exec_ms > 0 && exec_ms < 60000);
    CHECK(cpu_ms > 0 && cpu_ms < 60000);
    before = exec_ms;
    uptime_mark_vcpu();
    nanosleep(&nap, NULL);
    uptime_mark_vcpu(); /* the first one counts */
    CHECK_EQ(bus_write(bus, 0, GPA(0x610), 2, 7), 0);
    take(buf, sizeof(buf));
    CHECK(line_parses(buf));
    CHECK_EQ(value, 7);
    CHECK(vcpu_ms >= 20 && vcpu_ms < 60000);
    CHECK(exec_ms >= before + 20 && exec_ms >= vcpu_ms);
    CHECK_EQ(exits, 0);
}

static void test_flood(void)
{
    static char buf[65536];
    struct timespec nap = {1, 100000000};

    for (unsigned i = 0; i < 50000; i++)
        CHECK_EQ(bus_write(bus, 0, GPA(0x610), 4, i), 0);
    take(buf, sizeof(buf));
    unsigned printed = lines_of(buf, "since exec");
    CHECK(printed >= 90 && printed <= 1000); /* 100 for each second that it took */
    nanosleep(&nap, NULL);
    CHECK_EQ(bus_write(bus, 0, GPA(0x610), 4, 0x5555), 0);
    take(buf, sizeof(buf));
    CHECK(strstr(buf, "more writes of the guest left out"));
    CHECK(strstr(buf, "debug 0x5555:"));
    CHECK_EQ(exits, 0);
}

static void test_exit(void)
{
    exits = 0;
    CHECK_EQ(bus_write(bus, 0, GPA(0x614), 4, 0x12a), 0);
    CHECK_EQ(exits, 1);
    CHECK_EQ(last_status, 0x2a);
    CHECK_EQ(bus_write(bus, 0, GPA(0x614), 1, 0), 0);
    CHECK_EQ(exits, 2);
    CHECK_EQ(last_status, 0);
    /* Other places do nothing. */
    for (unsigned off = 1; off < 8; off++)
        if (off != 4)
            CHECK_EQ(bus_write(bus, 0, GPA(0x610 + off), 1, 0xff), 0);
    CHECK_EQ(exits, 2);
}

static void test_reads(void)
{
    uint64_t v;

    for (unsigned off = 0; off < 8; off += 4) {
        CHECK_EQ(bus_read(bus, 0, GPA(0x610 + off), 4, &v), 0);
        CHECK_EQ(v, 0);
    }
}

static void test_isa_exit(void)
{
    struct debug_events ev = {.exit = on_exit_status};
    struct device *d;
    uint64_t v;

    CHECK_EQ(debug_create_isa_exit(&d, 2, &ev), 0);
    CHECK_EQ(bus_attach(bus, d, GPA(0x501)), 0);
    exits = 0;
    CHECK_EQ(bus_write(bus, 0, GPA(0x501), 1, 0), 0);
    CHECK_EQ(last_status, 1);
    CHECK_EQ(bus_write(bus, 0, GPA(0x502), 1, 0x10), 0);
    CHECK_EQ(last_status, 0x21);
    CHECK_EQ(bus_write(bus, 0, GPA(0x501), 2, 0xff), 0);
    CHECK_EQ(last_status, 0xff);
    CHECK_EQ(exits, 3);
    CHECK_EQ(bus_read(bus, 0, GPA(0x501), 1, &v), 0);
    CHECK_EQ(v, 0);
    CHECK(bus_write(bus, 0, GPA(0x503), 1, 0) < 0);
    CHECK(debug_create_isa_exit(&d, 0, &ev) < 0);
    CHECK(debug_create_isa_exit(&d, 9, &ev) < 0);
}

int main(void)
{
    struct debug_events ev = {.exit = on_exit_status};
    struct device *d;

    uptime_mark_exec();
    if (pipe2(log_pipe, O_NONBLOCK | O_CLOEXEC) < 0 || fcntl(log_pipe[1], F_SETPIPE_SZ, 1 << 16) < 0 ||
        bus_create(&bus) < 0 || debug_create(&d, &ev) < 0 || bus_attach(bus, d, GPA(0x610)) < 0)
        return 1;
    log_set_fd(log_pipe[1]);
    RUN(test_print);
    RUN(test_flood);
    RUN(test_exit);
    RUN(test_reads);
    RUN(test_isa_exit);
    bus_destroy(bus);
    return check_done();
}
