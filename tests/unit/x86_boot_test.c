/* What lies in the micro machine's low memory: descriptors, page tables as a processor walks them, the memory map. */
#include "arch/x86/boot.h"

#include <errno.h>
#include <string.h>

#include "tests/check.h"
#include "vmm/base/util.h"

static struct mem *ram;

static uint64_t read64(uint64_t a)
{
    uint64_t v = 0;

    mem_read(ram, GPA(a), &v, sizeof(v));
    return v;
}

/* Intel SDM volume 3, 4.5: linear address to physical, or UINT64_MAX. */
static uint64_t walk(uint64_t la)
{
    uint64_t table = X86_BOOT_PML4;

    for (unsigned shift = 39; shift >= 21; shift -= 9) {
        uint64_t e = read64(table + (la >> shift & 511) * 8);

        if ((e & 3) != 3)
            return UINT64_MAX;
        if (e & 0x80) /* a large page; of 2 MiB, not of 1 GiB, and no reserved bit set */
            return shift == 21 && bits64(e, 20, 13) == 0 ? align_down(e, MIB(2)) + la % MIB(2) : UINT64_MAX;
        table = e & ~UINT64_C(0xfff);
    }
    return UINT64_MAX;
}

static void test_pages_map_4g_to_itself(void)
{
    uint8_t junk[0x6000];

    memset(junk, 0xff, sizeof(junk));
    CHECK_EQ(mem_write(ram, GPA(X86_BOOT_PML4), junk, sizeof(junk)), 0);
    CHECK_EQ(x86_boot_write_tables(ram), 0);
    for (uint64_t la = 0; la < GIB(4); la += MIB(1) + 12345)
        CHECK_EQ(walk(la), la);
    CHECK_EQ(walk(GIB(4) - 1), GIB(4) - 1);
    CHECK_EQ(walk(0xfee00000), 0xfee00000);
    CHECK_EQ(walk(GIB(4)), UINT64_MAX);
    CHECK_EQ(walk(GIB(512)), UINT64_MAX);
    CHECK_EQ(walk(UINT64_C(0xffffffff80000000)), UINT64_MAX);
}

static void test_descriptors(void)
{
    CHECK_EQ(x86_boot_write_tables(ram), 0);
    CHECK_EQ(read64(X86_BOOT_GDT), 0);
    for (unsigned sel = 8; sel <= 0x18; sel += 8) {
        uint64_t d = read64(X86_BOOT_GDT + sel);

        CHECK_EQ(d & 0xffff, 0xffff); /* limit */
        CHECK_EQ(bits64(d, 51, 48), 0xf);
        CHECK_EQ(bits64(d, 39, 16) | bits64(d, 63, 56), 0); /* base */
        CHECK_EQ(bits64(d, 47, 44), 9);                     /* present, DPL 0, code or data */
        CHECK_EQ(bits64(d, 55, 55), 1);                     /* pages */
        CHECK_EQ(bits64(d, 43, 40), sel == X86_BOOT_SEL_DATA ? 3 : 0xb);
        CHECK_EQ(bits64(d, 53, 53), sel == X86_BOOT_SEL_CODE64); /* L */
        CHECK_EQ(bits64(d, 54, 54), sel != X86_BOOT_SEL_CODE64); /* D */
    }
    CHECK_EQ(read64(X86_BOOT_GDT + X86_BOOT_SEL_TSS), 0x00008b0000000067);
    CHECK_EQ(read64(X86_BOOT_GDT + X86_BOOT_SEL_TSS + 8), 0);
}

static void test_memory_map(void)
{
    struct x86_boot_range r[X86_BOOT_MAX_RANGES];
    struct mem *m;
    struct err e;

    CHECK_EQ(x86_boot_memory_map(ram, r), 3);
    CHECK_EQ(r[0].addr, 0);
    CHECK_EQ(r[0].size, 0x9fc00);
    CHECK_EQ(r[0].type, X86_BOOT_RANGE_RAM);
    CHECK_EQ(r[1].addr, 0x9fc00);
    CHECK_EQ(r[1].addr + r[1].size, MIB(1));
    CHECK_EQ(r[1].type, X86_BOOT_RANGE_RESERVED);
    CHECK_EQ(r[2].addr, MIB(1));
    CHECK_EQ(r[2].addr + r[2].size, MIB(16));
    CHECK_EQ(r[2].type, X86_BOOT_RANGE_RAM);

    CHECK_EQ(mem_create(&m), 0);
    CHECK_EQ(mem_add_ram(m, GPA(0), X86_RAM_LOW_MAX, NULL, &e), 0);
    CHECK_EQ(mem_add_ram(m, GPA(X86_RAM_HIGH), GIB(5), NULL, &e), 0);
    CHECK_EQ(x86_boot_memory_map(m, r), 4);
    CHECK_EQ(r[2].addr + r[2].size, GIB(3));
    CHECK_EQ(r[3].addr, GIB(4));
    CHECK_EQ(r[3].size, GIB(5));
    CHECK_EQ(r[3].type, X86_BOOT_RANGE_RAM);
    mem_destroy(m);
}

/* RAM that ends below the tables is an error and no write. */
static void test_little_ram(void)
{
    struct x86_boot_range r[X86_BOOT_MAX_RANGES];
    struct mem *m;
    struct err e;

    CHECK_EQ(mem_create(&m), 0);
    CHECK_EQ(mem_add_ram(m, GPA(0), 0xe000, NULL, &e), 0);
    CHECK_EQ(x86_boot_write_tables(m), -EFAULT);
    CHECK_EQ(x86_boot_memory_map(m, r), 2);
    mem_destroy(m);
}

int main(void)
{
    struct err e;

    if (mem_create(&ram) < 0 || mem_add_ram(ram, GPA(0), MIB(16), NULL, &e) < 0) {
        printf("FAIL set-up\n");
        return 1;
    }
    RUN(test_pages_map_4g_to_itself);
    RUN(test_descriptors);
    RUN(test_memory_map);
    RUN(test_little_ram);
    mem_destroy(ram);
    return check_done();
}
