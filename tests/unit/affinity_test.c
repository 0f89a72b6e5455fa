/* Lists of host CPUs: taskset's notation, order, refusals, and threads that run where they were told to. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/machine/affinity.h"

static struct err e;

static bool is(const char *text, unsigned n, const uint16_t *want)
{
    struct affinity a;
    bool same;

    if (affinity_parse(&a, "--pin", text, &e) < 0) {
        printf("  %s: %s\n", text, e.msg);
        return false;
    }
    same = a.n == n && !memcmp(a.cpu, want, n * sizeof(*want));
    affinity_free(&a);
    return same;
}

static void lists(void)
{
    CHECK(is("0", 1, (uint16_t[]){0}));
    CHECK(is("3,1,2", 3, (uint16_t[]){3, 1, 2}));
    CHECK(is("4-6", 3, (uint16_t[]){4, 5, 6}));
    CHECK(is("0-6:3,1", 4, (uint16_t[]){0, 3, 6, 1}));
    CHECK(is("5-5", 1, (uint16_t[]){5}));
    CHECK(is("0-1:8191", 1, (uint16_t[]){0}));
    CHECK(is("8191", 1, (uint16_t[]){8191}));
}

static void refusals(void)
{
    static const char *const bad[] = {"",    ",",    "1,",    ",1",      "a",    "-1",  "1-",        "2-1",    "1-2:0",
                                      "1:2", "1-2:", "0x1",   " 1",      "1 ",   "1;2", "8192",      "0-8192", "1--2",
                                      "1.0", "+1",   "1-2-3", "1-2:1:1", "1,,2", "all", "4294967296"};
    struct affinity a;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        e = (struct err){0};
        if (affinity_parse(&a, "--pin", bad[i], &e) != -EINVAL)
            printf("  taken: \"%s\"\n", bad[i]);
        CHECK(e.code == EINVAL && strstr(e.msg, "is not a list of host CPUs") && !a.cpu && !a.n);
    }
    CHECK(affinity_parse(&a, "--pin", "1-3,2", &e) == -EINVAL && strstr(e.msg, "names host CPU 2 twice"));
}

static void whole_range(void)
{
    struct affinity a;

    CHECK(affinity_parse(&a, "--pin", "0-8191", &e) == 0);
    CHECK(a.n == 8192 && a.cpu[8191] == 8191);
    CHECK(affinity_check(&a, "--pin", &e) == -EINVAL && strstr(e.msg, "is not there, or this process may not run"));
    affinity_free(&a);
    CHECK(affinity_check(&a, "--pin", &e) == 0); /* an empty list asks for nothing */
}

static int count_allowed(void *opaque, unsigned *only)
{
    cpu_set_t set;
    int n;

    (void)opaque;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    n = CPU_COUNT(&set);
    for (unsigned i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            *only = i;
    return n;
}

static struct {
    int n;
    unsigned cpu;
} seen;

static void *look(void *opaque)
{
    seen.n = count_allowed(opaque, &seen.cpu);
    return NULL;
}

/* On the last CPU of those that this process may use, alone and as part of a list of all. */
static void threads_run_there(void)
{
    struct affinity a;
    pthread_attr_t attr;
    pthread_t t;
    char text[16];
    unsigned last = 0;
    int allowed = count_allowed(NULL, &last);

    snprintf(text, sizeof(text), "%u", last);
    CHECK(affinity_parse(&a, "--pin", text, &e) == 0 && affinity_check(&a, "--pin", &e) == 0);
    pthread_attr_init(&attr);
    CHECK(affinity_pin(&a, 0, &attr) == 0);
    CHECK(pthread_create(&t, &attr, look, NULL) == 0 && pthread_join(t, NULL) == 0);
    CHECK(seen.n == 1 && seen.cpu == last);
    CHECK(affinity_pin_all(&a, &attr) == 0);
    CHECK(pthread_create(&t, &attr, look, NULL) == 0 && pthread_join(t, NULL) == 0);
    CHECK(seen.n == 1 && seen.cpu == last);
    affinity_free(&a);
    pthread_attr_destroy(&attr);
    printf("  pinned to CPU %u of %d\n", last, allowed);
}

int main(void)
{
    RUN(lists);
    RUN(refusals);
    RUN(whole_range);
    RUN(threads_run_there);
    return check_done();
}
