/* The device tree is read back with libfdt, as a kernel would. */
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "loader/loader.h"
#include "tests/check.h"
#include "vmm/base/util.h"

static const uint64_t mpidr[] = {0x80000000, 0x80000001, 0x80000002};
static const struct loader_fdt_mmio virtio[] = {
    {"virtio,mmio", 0x0a000000, 0x200, 16, true},
    {"virtio,mmio", 0x0a000200, 0x200, 17, false},
};

static struct loader_fdt_config config(unsigned gic)
{
    return (struct loader_fdt_config){
        .ncpus = ARRAY_SIZE(mpidr),
        .mpidr = mpidr,
        .cpu_compatible = "arm,cortex-a72",
        .ram_base = GIB(1),
        .ram_size = GIB(5),
        .cmdline = "console=ttyAMA0 quiet",
        .initrd_addr = 0x148000000,
        .initrd_size = 0x1234,
        .gic_version = gic,
        .gic_dist_base = 0x08000000,
        .gic_dist_size = 0x10000,
        .gic_redist_base = gic == 3 ? 0x080a0000 : 0x08010000,
        .gic_redist_size = gic == 3 ? 0xf60000 : 0x10000,
        .uart_base = 0x09000000,
        .uart_spi = 1,
        .rtc_base = 0x09010000,
        .rtc_spi = 2,
        .virtio = virtio,
        .nvirtio = ARRAY_SIZE(virtio),
        .rng_seed = {1, 2, 3, 4, 5, 6, 7, 8},
    };
}

static struct err err;
static void *blob;
static uint64_t blob_size;

/* Is property `name` of the node at `path` exactly these bytes? */
static bool is(const char *path, const char *name, const void *want, int len)
{
    int got, node = fdt_path_offset(blob, path);
    const void *p = node < 0 ? NULL : fdt_getprop(blob, node, name, &got);

    if (p && got == len && memcmp(p, want, (size_t)len) == 0)
        return true;
    printf("  %s:%s differs\n", path, name);
    return false;
}

static bool is_str(const char *path, const char *name, const char *want)
{
    return is(path, name, want, (int)strlen(want) + 1);
}

static bool is_cells(const char *path, const char *name, const uint32_t *v, unsigned n)
{
    fdt32_t be[16];

    for (unsigned i = 0; i < n; i++)
        be[i] = cpu_to_fdt32(v[i]);
    return is(path, name, be, (int)(n * 4));
}
#define IS_CELLS(path, name, ...)                                                                                      \
    is_cells(path, name, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4)

static bool has(const char *path, const char *name)
{
    int node = fdt_path_offset(blob, path);
    return node >= 0 && fdt_getprop(blob, node, name, NULL);
}

static int build(const struct loader_fdt_config *c)
{
    free(blob);
    blob = NULL;
    return loader_fdt_build(c, &blob, &blob_size, &err);
}

static void test_v3(void)
{
    struct loader_fdt_config c = config(3);

    CHECK_EQ(build(&c), 0);
    CHECK_EQ(fdt_check_header(blob), 0);
    CHECK_EQ(fdt_totalsize(blob), blob_size);
    CHECK(is_str("/", "compatible", "linux,dummy-virt"));
    CHECK(IS_CELLS("/", "#address-cells", 2));
    CHECK(IS_CELLS("/", "#size-cells", 2));
    CHECK(is_str("/chosen", "bootargs", "console=ttyAMA0 quiet"));
    CHECK(is_str("/chosen", "stdout-path", "/pl011@9000000"));
    CHECK(is_str("/aliases", "serial0", "/pl011@9000000"));
    CHECK(IS_CELLS("/chosen", "linux,initrd-start", 1, 0x48000000));
    CHECK(IS_CELLS("/chosen", "linux,initrd-end", 1, 0x48001234));
    CHECK(is("/chosen", "rng-seed", c.rng_seed, 56));
    CHECK(IS_CELLS("/chosen", "kaslr-seed", 0, 8));
    CHECK(is("/psci", "compatible", "arm,psci-1.0\0arm,psci-0.2", 26));
    CHECK(is_str("/psci", "method", "hvc"));
    CHECK(IS_CELLS("/cpus/cpu@2", "reg", 2));
    CHECK(is_str("/cpus/cpu@2", "compatible", "arm,cortex-a72"));
    CHECK(is_str("/cpus/cpu@0", "enable-method", "psci"));
    CHECK(IS_CELLS("/timer", "interrupts", 1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4));
    CHECK(has("/timer", "always-on"));
    CHECK(is_str("/intc@8000000", "compatible", "arm,gic-v3"));
    CHECK(IS_CELLS("/intc@8000000", "reg", 0, 0x08000000, 0, 0x10000, 0, 0x080a0000, 0, 0xf60000));
    CHECK(IS_CELLS("/intc@8000000", "#interrupt-cells", 3));
    CHECK_EQ(fdt_get_phandle(blob, fdt_path_offset(blob, "/intc@8000000")), 1);
    CHECK(IS_CELLS("/", "interrupt-parent", 1));
    CHECK(is("/pl011@9000000", "compatible", "arm,pl011\0arm,primecell", 24));
    CHECK(IS_CELLS("/pl011@9000000", "interrupts", 0, 1, 4));
    CHECK(IS_CELLS("/pl031@9010000", "interrupts", 0, 2, 4));
    CHECK(IS_CELLS("/virtio_mmio@a000000", "interrupts", 0, 16, 1));
    CHECK(IS_CELLS("/virtio_mmio@a000200", "interrupts", 0, 17, 4));
    CHECK(IS_CELLS("/virtio_mmio@a000200", "reg", 0, 0x0a000200, 0, 0x200));
    CHECK(has("/virtio_mmio@a000200", "dma-coherent"));
    CHECK(IS_CELLS("/memory@40000000", "reg", 0, 0x40000000, 1, 0x40000000));
    CHECK(is_str("/memory@40000000", "device_type", "memory"));
}

static void test_v2(void)
{
    struct loader_fdt_config c = config(2);

    c.psci_smc = true;
    CHECK_EQ(build(&c), 0);
    CHECK(is_str("/intc@8000000", "compatible", "arm,cortex-a15-gic"));
    CHECK(IS_CELLS("/intc@8000000", "reg", 0, 0x08000000, 0, 0x10000, 0, 0x08010000, 0, 0x10000));
    CHECK(!has("/intc@8000000", "#redistributor-regions"));
    CHECK(IS_CELLS("/timer", "interrupts", 1, 13, 0x704, 1, 14, 0x704, 1, 11, 0x704, 1, 10, 0x704));
    CHECK(is_str("/psci", "method", "smc"));
}

/* What is not asked for is not there. */
static void test_left_out(void)
{
    struct loader_fdt_config c = config(3);

    c.cmdline = NULL;
    c.initrd_size = 0;
    c.nvirtio = 0;
    memset(c.rng_seed, 0, sizeof(c.rng_seed));
    c.stdout_path = "/virtio_mmio@a000000";
    CHECK_EQ(build(&c), 0);
    CHECK(!has("/chosen", "bootargs"));
    CHECK(!has("/chosen", "linux,initrd-start"));
    CHECK(!has("/chosen", "rng-seed"));
    CHECK(!has("/chosen", "kaslr-seed"));
    CHECK(is_str("/chosen", "stdout-path", "/virtio_mmio@a000000"));
    CHECK(fdt_path_offset(blob, "/virtio_mmio@a000000") < 0);
}

static void test_debug(void)
{
    struct loader_fdt_config c = config(3);
    const uint32_t reg[] = {0, 0x090f0000, 0, 8};

    CHECK_EQ(build(&c), 0);
    CHECK(fdt_path_offset(blob, "/debug@90f0000") < 0);
    c.debug_base = 0x090f0000;
    CHECK_EQ(build(&c), 0);
    CHECK(is_str("/debug@90f0000", "compatible", "pipit,debug"));
    CHECK(is_cells("/debug@90f0000", "reg", reg, 4));
}

static void test_firmware(void)
{
    struct loader_fdt_config c = config(3);

    CHECK_EQ(build(&c), 0);
    CHECK(fdt_path_offset(blob, "/flash@0") < 0 && fdt_path_offset(blob, "/fw-cfg@9020000") < 0);
    c.flash_size = MIB(64);
    c.fw_cfg_base = 0x09020000;
    c.fw_cfg_size = 0x18;
    CHECK_EQ(build(&c), 0);
    CHECK(is_str("/flash@0", "compatible", "cfi-flash"));
    CHECK(IS_CELLS("/flash@0", "reg", 0, 0, 0, 0x4000000, 0, 0x4000000, 0, 0x4000000));
    CHECK(IS_CELLS("/flash@0", "bank-width", 4));
    CHECK(is_str("/fw-cfg@9020000", "compatible", "qemu,fw-cfg-mmio"));
    CHECK(IS_CELLS("/fw-cfg@9020000", "reg", 0, 0x09020000, 0, 0x18));
}

static void test_wide_mpidr(void)
{
    static const uint64_t wide[] = {0x80000000, UINT64_C(0x0100000300) | BIT64(31)};
    struct loader_fdt_config c = config(3);

    c.ncpus = 2;
    c.mpidr = wide;
    CHECK_EQ(build(&c), 0);
    CHECK(IS_CELLS("/cpus", "#address-cells", 2));
    CHECK(IS_CELLS("/cpus/cpu@0", "reg", 0, 0));
    CHECK(IS_CELLS("/cpus/cpu@100000300", "reg", 1, 0x300));
}

static void test_errors(void)
{
    struct loader_fdt_config c = config(3);
    char *huge = malloc(MIB(1));

    memset(huge, 'x', MIB(1) - 1);
    huge[MIB(1) - 1] = 0;
    c.cmdline = huge;
    CHECK_EQ(build(&c), -ENOSPC);
    CHECK(strstr(err.msg, "command line is too long"));
    huge[KIB(255)] = 0;
    CHECK_EQ(build(&c), -ENOSPC);
    huge[KIB(200)] = 0;
    CHECK_EQ(build(&c), 0);
    free(huge);
    c = config(3);
    c.gic_version = 4;
    CHECK_EQ(build(&c), -EINVAL);
    c = config(3);
    c.ncpus = 0;
    CHECK_EQ(build(&c), -EINVAL);
}

int main(void)
{
    RUN(test_v3);
    RUN(test_v2);
    RUN(test_left_out);
    RUN(test_debug);
    RUN(test_firmware);
    RUN(test_wide_mpidr);
    RUN(test_errors);
    free(blob);
    return check_done();
}
