/*
 * The virt board's device tree, written front to back with libfdt's sequential functions.
 *
 * Node and property names follow the bindings in Linux's Documentation/devicetree/bindings (arm/cpus.yaml, psci.yaml,
 * arm,arch_timer.yaml, pmu.yaml, arm,gic.yaml, arm,gic-v3.yaml, arm,pl011.yaml, arm,pl031.yaml, virtio/mmio.yaml) and
 * the devicetree specification 0.4 (chosen, memory, aliases). EDK2's ArmVirtQemu and U-Boot's qemu_arm64 look for the
 * same.
 *
 * libfdt's errors are sticky here: struct fdt_out remembers the first one, so that nodes read as lists of properties.
 */
#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/loader.h"
#include "vmm/base/util.h"

/* Linux refuses a tree of more than 2 MiB; ours is about 10 KiB. */
#define FDT_OUT_SIZE KIB(256)

#define FDT_PHANDLE_GIC 1
#define FDT_PHANDLE_CLOCK 2

/* Interrupt specifiers of both GIC bindings: type, number, flags. */
#define FDT_IRQ_SPI 0
#define FDT_IRQ_PPI 1
#define FDT_IRQ_EDGE_RISING 1
#define FDT_IRQ_LEVEL_HIGH 4
/* GICv2: the flags of a PPI carry a mask of CPUs. */
#define FDT_IRQ_PPI_CPU_SHIFT 8

/* PPI 0's INTID. */
#define FDT_PPI_INTID 16

/* PPI numbers (INTID - 16) of the architected timers, in the binding's order. */
#define FDT_PPI_TIMER_PHYS_SECURE 13
#define FDT_PPI_TIMER_PHYS 14
#define FDT_PPI_TIMER_VIRT 11
#define FDT_PPI_TIMER_HYP 10

#define FDT_CLOCK_HZ 24000000 /* what a PL011 divides; no line speed is simulated */

struct fdt_out {
    void *buf;
    int err; /* first libfdt error, 0 for none */
};

static void fdt_out_check(struct fdt_out *o, int r)
{
    if (!o->err && r < 0)
        o->err = r;
}

static void fdt_node(struct fdt_out *o, const char *name)
{
    fdt_out_check(o, fdt_begin_node(o->buf, name));
}

/* A node with a unit address. */
static void fdt_node_at(struct fdt_out *o, const char *name, uint64_t addr)
{
    char full[64];

    snprintf(full, sizeof(full), "%s@%" PRIx64, name, addr);
    fdt_node(o, full);
}

static void fdt_end(struct fdt_out *o)
{
    fdt_out_check(o, fdt_end_node(o->buf));
}

static void fdt_bytes(struct fdt_out *o, const char *name, const void *p, size_t len)
{
    if (len > FDT_OUT_SIZE)
        fdt_out_check(o, -FDT_ERR_NOSPACE);
    else
        fdt_out_check(o, fdt_property(o->buf, name, p, (int)len));
}

static void fdt_flag(struct fdt_out *o, const char *name)
{
    fdt_bytes(o, name, NULL, 0);
}

static void fdt_str(struct fdt_out *o, const char *name, const char *s)
{
    fdt_bytes(o, name, s, strlen(s) + 1);
}

/* A literal with NULs between its strings. */
#define fdt_strlist(o, name, lit) fdt_bytes(o, name, lit, sizeof(lit))

static void fdt_u32(struct fdt_out *o, const char *name, uint32_t v)
{
    fdt_out_check(o, fdt_property_u32(o->buf, name, v));
}

static void fdt_u64(struct fdt_out *o, const char *name, uint64_t v)
{
    fdt_out_check(o, fdt_property_u64(o->buf, name, v));
}

#define FDT_MAX_CELLS 16

static void fdt_cells_put(struct fdt_out *o, const char *name, const uint32_t *v, unsigned n)
{
    fdt32_t be[FDT_MAX_CELLS];

    for (unsigned i = 0; i < n; i++)
        be[i] = cpu_to_fdt32(v[i]);
    fdt_bytes(o, name, be, n * sizeof(be[0]));
}

#define fdt_cells(o, name, ...)                                                                                        \
    do {                                                                                                               \
        const uint32_t _v[] = {__VA_ARGS__};                                                                           \
        _Static_assert(ARRAY_SIZE(_v) <= FDT_MAX_CELLS, "too many cells");                                             \
        fdt_cells_put(o, name, _v, ARRAY_SIZE(_v));                                                                    \
    } while (0)

#define FDT_CELLS64(v) (uint32_t)((v) >> 32), (uint32_t)(v)

static void fdt_reg(struct fdt_out *o, uint64_t base, uint64_t size)
{
    fdt_cells(o, "reg", FDT_CELLS64(base), FDT_CELLS64(size));
}

static void fdt_spi(struct fdt_out *o, unsigned spi, bool edge)
{
    fdt_cells(o, "interrupts", FDT_IRQ_SPI, spi, edge ? FDT_IRQ_EDGE_RISING : FDT_IRQ_LEVEL_HIGH);
}

static bool fdt_all_zero(const uint64_t *v, unsigned n)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < n; i++)
        any |= v[i];
    return any == 0;
}

static void fdt_put_chosen(struct fdt_out *o, const struct loader_fdt_config *c, const char *uart_path)
{
    fdt_node(o, "chosen");
    fdt_str(o, "stdout-path", c->stdout_path ? c->stdout_path : uart_path);
    if (c->cmdline && *c->cmdline)
        fdt_str(o, "bootargs", c->cmdline);
    if (c->initrd_size) {
        fdt_u64(o, "linux,initrd-start", c->initrd_addr);
        fdt_u64(o, "linux,initrd-end", c->initrd_addr + c->initrd_size);
    }
    if (!fdt_all_zero(c->rng_seed, 7))
        fdt_bytes(o, "rng-seed", c->rng_seed, 7 * sizeof(c->rng_seed[0]));
    if (c->rng_seed[7])
        fdt_u64(o, "kaslr-seed", c->rng_seed[7]);
    fdt_end(o);
}

static void fdt_put_cpus(struct fdt_out *o, const struct loader_fdt_config *c)
{
    /* reg holds MPIDR's affinity fields; Aff3 needs a second cell. */
    bool wide = false;

    for (unsigned i = 0; i < c->ncpus; i++)
        wide |= bits64(c->mpidr[i], 39, 32) != 0;
    fdt_node(o, "cpus");
    fdt_u32(o, "#address-cells", wide ? 2 : 1);
    fdt_u32(o, "#size-cells", 0);
    for (unsigned i = 0; i < c->ncpus; i++) {
        uint64_t aff = c->mpidr[i] & UINT64_C(0xff00ffffff);
        fdt_node_at(o, "cpu", aff);
        fdt_str(o, "device_type", "cpu");
        fdt_str(o, "compatible", c->cpu_compatible);
        if (wide)
            fdt_u64(o, "reg", aff);
        else
            fdt_u32(o, "reg", (uint32_t)aff);
        fdt_str(o, "enable-method", "psci");
        fdt_end(o);
    }
    fdt_end(o);
}

static void fdt_put_psci(struct fdt_out *o, const struct loader_fdt_config *c)
{
    fdt_node(o, "psci");
    fdt_strlist(o, "compatible", "arm,psci-1.0\0arm,psci-0.2");
    fdt_str(o, "method", c->psci_smc ? "smc" : "hvc");
    fdt_end(o);
}

static uint32_t fdt_ppi_flags(const struct loader_fdt_config *c)
{
    uint32_t flags = FDT_IRQ_LEVEL_HIGH;

    if (c->gic_version == 2)
        flags |= (BIT32(MIN(c->ncpus, 8u)) - 1) << FDT_IRQ_PPI_CPU_SHIFT;
    return flags;
}

static void fdt_put_timer(struct fdt_out *o, const struct loader_fdt_config *c)
{
    uint32_t flags = fdt_ppi_flags(c);

    fdt_node(o, "timer");
    fdt_strlist(o, "compatible", "arm,armv8-timer\0arm,armv7-timer");
    fdt_cells(o, "interrupts", FDT_IRQ_PPI, FDT_PPI_TIMER_PHYS_SECURE, flags, FDT_IRQ_PPI, FDT_PPI_TIMER_PHYS, flags,
              FDT_IRQ_PPI, FDT_PPI_TIMER_VIRT, flags, FDT_IRQ_PPI, FDT_PPI_TIMER_HYP, flags);
    fdt_flag(o, "always-on");
    fdt_end(o);
}

static void fdt_put_pmu(struct fdt_out *o, const struct loader_fdt_config *c)
{
    if (!c->pmu_intid)
        return;
    fdt_node(o, "pmu");
    fdt_str(o, "compatible", "arm,armv8-pmuv3");
    fdt_cells(o, "interrupts", FDT_IRQ_PPI, c->pmu_intid - FDT_PPI_INTID, fdt_ppi_flags(c));
    fdt_end(o);
}

static void fdt_put_gic(struct fdt_out *o, const struct loader_fdt_config *c)
{
    fdt_node_at(o, "intc", c->gic_dist_base);
    fdt_str(o, "compatible", c->gic_version == 3 ? "arm,gic-v3" : "arm,cortex-a15-gic");
    fdt_flag(o, "interrupt-controller");
    fdt_u32(o, "#interrupt-cells", 3);
    fdt_cells(o, "reg", FDT_CELLS64(c->gic_dist_base), FDT_CELLS64(c->gic_dist_size), FDT_CELLS64(c->gic_redist_base),
              FDT_CELLS64(c->gic_redist_size));
    if (c->gic_version == 3)
        fdt_u32(o, "#redistributor-regions", 1);
    fdt_u32(o, "#address-cells", 2);
    fdt_u32(o, "#size-cells", 2);
    fdt_flag(o, "ranges");
    fdt_u32(o, "phandle", FDT_PHANDLE_GIC);
    fdt_end(o);
}

static void fdt_put_clock(struct fdt_out *o)
{
    fdt_node(o, "apb-pclk");
    fdt_str(o, "compatible", "fixed-clock");
    fdt_u32(o, "#clock-cells", 0);
    fdt_u32(o, "clock-frequency", FDT_CLOCK_HZ);
    fdt_str(o, "clock-output-names", "clk24mhz");
    fdt_u32(o, "phandle", FDT_PHANDLE_CLOCK);
    fdt_end(o);
}

static void fdt_put_uart(struct fdt_out *o, const struct loader_fdt_config *c)
{
    fdt_node_at(o, "pl011", c->uart_base);
    fdt_strlist(o, "compatible", "arm,pl011\0arm,primecell");
    fdt_reg(o, c->uart_base, KIB(4));
    fdt_spi(o, c->uart_spi, false);
    fdt_cells(o, "clocks", FDT_PHANDLE_CLOCK, FDT_PHANDLE_CLOCK);
    fdt_strlist(o, "clock-names", "uartclk\0apb_pclk");
    fdt_end(o);
}

static void fdt_put_rtc(struct fdt_out *o, const struct loader_fdt_config *c)
{
    fdt_node_at(o, "pl031", c->rtc_base);
    fdt_strlist(o, "compatible", "arm,pl031\0arm,primecell");
    fdt_reg(o, c->rtc_base, KIB(4));
    fdt_spi(o, c->rtc_spi, false);
    fdt_cells(o, "clocks", FDT_PHANDLE_CLOCK);
    fdt_str(o, "clock-names", "apb_pclk");
    fdt_end(o);
}

static void fdt_put_debug(struct fdt_out *o, const struct loader_fdt_config *c)
{
    if (!c->debug_base)
        return;
    fdt_node_at(o, "debug", c->debug_base);
    fdt_str(o, "compatible", "pipit,debug");
    fdt_reg(o, c->debug_base, 8);
    fdt_end(o);
}

static void fdt_put_flash(struct fdt_out *o, const struct loader_fdt_config *c)
{
    uint64_t second = c->flash_base + c->flash_size;

    if (!c->flash_size)
        return;
    fdt_node_at(o, "flash", c->flash_base);
    fdt_str(o, "compatible", "cfi-flash");
    fdt_cells(o, "reg", FDT_CELLS64(c->flash_base), FDT_CELLS64(c->flash_size), FDT_CELLS64(second),
              FDT_CELLS64(c->flash_size));
    fdt_u32(o, "bank-width", 4);
    fdt_end(o);
}

static void fdt_put_fw_cfg(struct fdt_out *o, const struct loader_fdt_config *c)
{
    if (!c->fw_cfg_size)
        return;
    fdt_node_at(o, "fw-cfg", c->fw_cfg_base);
    fdt_str(o, "compatible", "qemu,fw-cfg-mmio");
    fdt_reg(o, c->fw_cfg_base, c->fw_cfg_size);
    fdt_flag(o, "dma-coherent");
    fdt_end(o);
}

static void fdt_put_virtio(struct fdt_out *o, const struct loader_fdt_mmio *d)
{
    fdt_node_at(o, "virtio_mmio", d->base);
    fdt_str(o, "compatible", d->compatible);
    fdt_reg(o, d->base, d->size);
    fdt_spi(o, d->spi, d->edge);
    fdt_flag(o, "dma-coherent");
    fdt_end(o);
}

static void fdt_put_memory(struct fdt_out *o, const struct loader_fdt_config *c)
{
    fdt_node_at(o, "memory", c->ram_base);
    fdt_str(o, "device_type", "memory");
    fdt_reg(o, c->ram_base, c->ram_size);
    fdt_end(o);
}

static void fdt_put_root(struct fdt_out *o, const struct loader_fdt_config *c)
{
    char uart_path[64];

    snprintf(uart_path, sizeof(uart_path), "/pl011@%" PRIx64, c->uart_base);
    fdt_node(o, "");
    fdt_str(o, "model", "linux,dummy-virt");
    fdt_str(o, "compatible", "linux,dummy-virt");
    fdt_u32(o, "#address-cells", 2);
    fdt_u32(o, "#size-cells", 2);
    fdt_u32(o, "interrupt-parent", FDT_PHANDLE_GIC);
    fdt_put_chosen(o, c, uart_path);
    fdt_node(o, "aliases");
    fdt_str(o, "serial0", uart_path);
    fdt_end(o);
    fdt_put_psci(o, c);
    fdt_put_cpus(o, c);
    fdt_put_timer(o, c);
    fdt_put_pmu(o, c);
    fdt_put_clock(o);
    fdt_put_gic(o, c);
    fdt_put_uart(o, c);
    fdt_put_rtc(o, c);
    fdt_put_flash(o, c);
    fdt_put_fw_cfg(o, c);
    fdt_put_debug(o, c);
    for (unsigned i = 0; i < c->nvirtio; i++)
        fdt_put_virtio(o, &c->virtio[i]);
    fdt_put_memory(o, c);
    fdt_end(o);
}

int loader_fdt_build(const struct loader_fdt_config *cfg, void **blob, uint64_t *size, struct err *e)
{
    struct fdt_out o = {0};
    void *p;

    if (cfg->ncpus == 0 || (cfg->gic_version != 2 && cfg->gic_version != 3))
        return err_set(e, EINVAL, "no device tree can describe %u CPUs with GICv%u", cfg->ncpus, cfg->gic_version);
    o.buf = calloc(1, FDT_OUT_SIZE);
    if (!o.buf)
        return err_set(e, ENOMEM, "not enough memory for the device tree");
    fdt_out_check(&o, fdt_create(o.buf, FDT_OUT_SIZE));
    fdt_out_check(&o, fdt_finish_reservemap(o.buf));
    fdt_put_root(&o, cfg);
    fdt_out_check(&o, fdt_finish(o.buf));
    if (o.err) {
        free(o.buf);
        if (o.err == -FDT_ERR_NOSPACE)
            return err_set(e, ENOSPC, "the kernel command line is too long for a device tree of %d KiB",
                           (int)(FDT_OUT_SIZE >> 10));
        return err_set(e, EINVAL, "the device tree cannot be built: %s", fdt_strerror(o.err));
    }
    *size = fdt_totalsize(o.buf);
    p = realloc(o.buf, *size);
    *blob = p ? p : o.buf;
    return 0;
}
