/* Guest RAM: bounds by subtraction, page flags, invalidation. */
#include <errno.h>
#include <string.h>

#include "tests/check.h"
#include "vmm/base/util.h"
#include "vmm/core/mem.h"

#define BASE UINT64_C(0x40000000)

static struct mem *mem_with(uint64_t size)
{
    struct mem *m = NULL;
    struct err e;

    if (mem_create(&m) < 0 || mem_add_ram(m, GPA(BASE), size, NULL, &e) < 0)
        return NULL;
    return m;
}

static void accesses_stay_inside(void)
{
    struct mem *m = mem_with(MIB(1));
    uint64_t v = 0x1122334455667788, got = 0;

    CHECK(m);
    CHECK(mem_write(m, GPA(BASE + MIB(1) - 8), &v, 8) == 0);
    CHECK(mem_read(m, GPA(BASE + MIB(1) - 8), &got, 8) == 0);
    CHECK_EQ(got, v);
    CHECK(mem_write(m, GPA(BASE + MIB(1) - 7), &v, 8) == -EFAULT);
    CHECK(mem_read(m, GPA(BASE - 1), &got, 2) == -EFAULT);
    CHECK(mem_read(m, GPA(BASE), &got, UINT64_MAX) == -EFAULT);
    CHECK(mem_read(m, GPA(UINT64_MAX), &got, 8) == -EFAULT);
    CHECK(mem_read_ptr(m, GPA(BASE + 16), MIB(1)) == NULL);
    CHECK(mem_read_ptr(m, GPA(BASE), MIB(1)) != NULL);
    CHECK(mem_write_begin(m, GPA(0), 1) == NULL);
    CHECK_EQ(mem_ram_size(m), MIB(1));
    mem_destroy(m);
}

static void regions_are_checked(void)
{
    struct mem *m = mem_with(MIB(2));
    struct err e = {0};

    CHECK(m);
    CHECK(mem_add_ram(m, GPA(BASE + MIB(1)), MIB(4), NULL, &e) == -EEXIST);
    CHECK(mem_add_ram(m, GPA(BASE - MIB(1)), MIB(2), NULL, &e) == -EEXIST);
    CHECK(mem_add_ram(m, GPA(BASE - MIB(1)), MIB(64), NULL, &e) == -EEXIST);
    CHECK(mem_add_ram(m, GPA(BASE + MIB(2)), 100, NULL, &e) == -EINVAL);
    CHECK(mem_add_ram(m, GPA(BASE + MIB(2) + 1), 4096, NULL, &e) == -EINVAL);
    CHECK(mem_add_ram(m, GPA(UINT64_MAX - 4095), 8192, NULL, &e) == -EINVAL);
    CHECK(mem_add_ram(m, GPA(0), 0, NULL, &e) == -EINVAL);
    CHECK(mem_add_ram(m, GPA(GIB(8)), UINT64_C(1) << 60, NULL, &e) == -ENOMEM);
    CHECK(strstr(e.msg, "MiB of guest RAM"));
    CHECK_EQ(m->nregions, 1);
    CHECK(mem_add_ram(m, GPA(BASE + MIB(2)), MIB(2), &(struct mem_options){.shared = true, .huge = MEM_HUGE_MADVISE},
                      &e) == 0);
    CHECK(mem_read_ptr(m, GPA(BASE + MIB(2) - 1), 2) == NULL);
    CHECK(mem_write(m, GPA(BASE + MIB(3)), "x", 1) == 0);
    mem_destroy(m);
}

/* Runs either way: where the host has pages set aside, and where it has not. */
static void huge_pages_are_there_or_missed(void)
{
    const struct mem_options opt = {.huge = MEM_HUGE_HUGETLB};
    struct mem *m = NULL;
    struct err e = {0};
    int r;

    CHECK(mem_create(&m) == 0);
    CHECK(mem_add_ram(m, GPA(BASE), MIB(3), &opt, &e) == -EINVAL);
    CHECK(mem_add_ram(m, GPA(BASE + MIB(1)), MIB(2), &opt, &e) == -EINVAL);
    r = mem_add_ram(m, GPA(BASE), GIB(256), &opt, &e);
    CHECK(r == -ENOMEM && e.status == ERR_STATUS_MEMORY && strstr(e.msg, "huge pages"));
    CHECK_EQ(m->nregions, 0);
    r = mem_add_ram(m, GPA(BASE), MIB(2), &opt, &e);
    printf("  a huge page: %s\n", r == 0 ? "there" : e.msg);
    if (r == 0)
        CHECK(mem_write(m, GPA(BASE + MIB(2) - 1), "x", 1) == 0);
    else
        CHECK(r == -ENOMEM && e.status == ERR_STATUS_MEMORY && strstr(e.msg, "huge pages"));
    mem_destroy(m);
}

static struct {
    unsigned calls;
    uint64_t addr, len;
    char seen;
    const struct mem *m;
} inval;

static void on_invalidate(void *opaque, gpa_t a, uint64_t len)
{
    (void)opaque;
    inval.calls++;
    inval.addr = a.v;
    inval.len = len;
    inval.seen = *(const char *)mem_read_ptr(inval.m, a, 1);
}

static void writes_mark_pages_and_drop_code(void)
{
    struct mem *m = mem_with(MIB(1));
    atomic_uchar *flags;

    CHECK(m);
    flags = m->region[0].flags;
    inval.m = m;
    m->invalidate = on_invalidate;
    CHECK(mem_write(m, GPA(BASE + 4090), "0123456789", 10) == 0);
    CHECK_EQ(flags[0], MEM_PAGE_DIRTY);
    CHECK_EQ(flags[1], MEM_PAGE_DIRTY);
    CHECK_EQ(flags[2], 0);
    CHECK_EQ(inval.calls, 0);

    atomic_fetch_or(&flags[1], MEM_PAGE_CODE);
    CHECK(mem_write(m, GPA(BASE), "q", 1) == 0);
    CHECK_EQ(inval.calls, 0);
    CHECK(mem_write(m, GPA(BASE + 4090), "Q123456789", 10) == 0);
    CHECK_EQ(inval.calls, 1);
    CHECK_EQ(inval.addr, BASE + 4090);
    CHECK_EQ(inval.len, 10);
    CHECK_EQ(inval.seen, 'Q'); /* the bytes were there before */

    atomic_store(&flags[5], MEM_PAGE_CODE); /* not yet dirty */
    CHECK(mem_write(m, GPA(BASE + 5 * 4096), "Z", 1) == 0);
    CHECK_EQ(inval.calls, 2);
    CHECK_EQ(flags[5], MEM_PAGE_CODE | MEM_PAGE_DIRTY);

    mem_write_end(m, GPA(BASE), 0);
    CHECK_EQ(inval.calls, 2);
    mem_destroy(m);
}

static void big_ram_costs_nothing_until_used(void)
{
    struct mem *m = mem_with(GIB(64));

    CHECK(m);
    CHECK(mem_write(m, GPA(BASE + GIB(63)), "x", 1) == 0);
    CHECK_EQ(m->region[0].flags[GIB(63) >> 12], MEM_PAGE_DIRTY);
    CHECK_EQ((uintptr_t)m->region[0].host % MIB(2), 0);
    mem_destroy(m);
}

int main(void)
{
    RUN(accesses_stay_inside);
    RUN(regions_are_checked);
    RUN(huge_pages_are_there_or_missed);
    RUN(writes_mark_pages_and_drop_code);
    RUN(big_ram_costs_nothing_until_used);
    return check_done();
}
