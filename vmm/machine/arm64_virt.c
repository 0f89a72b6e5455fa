/*
 * The virt board: its map, its devices, and what lies in its RAM when the first CPU starts.
 *
 * Flash and the configuration device are there where there is firmware. It starts at 0, finds the device tree at the
 * start of RAM, and a kernel that was named in the configuration device.
 *
 * RAM: the kernel where its format wants it, the device tree 2 MiB-aligned below the end of RAM (arm64 Linux maps it
 * by one 2 MiB block), the initrd right below that. An ELF program finds the tree at the start of RAM instead, where
 * programs for this board look when nobody hands them its address. x0 holds the address in all cases.
 */
#include "vmm/machine/arm64_virt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arch/arm64/regs.h"
#include "devices/debug.h"
#include "devices/pl011.h"
#include "devices/pl031.h"
#include "loader/loader.h"
#include "vmm/base/util.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine/accel_jit.h"
#include "vmm/machine/devices.h"
#include "vmm/machine/firmware.h"
#include "vmm/machine/machine.h"

const struct virt_map virt_map[VIRT_RANGES] = {
    [VIRT_FLASH] = {0x00000000, 0x08000000}, /* two banks of 64 MiB: firmware, its variables */
    [VIRT_GIC_DIST] = {0x08000000, 0x00010000},
    [VIRT_GIC_CPUIF] = {0x08010000, 0x00010000},  /* GICv2 */
    [VIRT_GIC_ITS] = {0x08080000, 0x00020000},    /* reserved: message-signalled interrupts */
    [VIRT_GIC_REDIST] = {0x080a0000, 0x00f60000}, /* GICv3: 0x20000 a vCPU */
    [VIRT_UART] = {0x09000000, 0x00001000},
    [VIRT_RTC] = {0x09010000, 0x00001000},
    [VIRT_FW_CFG] = {0x09020000, 0x00000018}, /* firmware configuration */
    [VIRT_GPIO] = {0x09030000, 0x00001000},   /* reserved: power button */
    [VIRT_DEBUG] = {0x090f0000, 0x00000008},  /* ours; QEMU has nothing there */
    [VIRT_VIRTIO] = {0x0a000000, VIRT_SLOTS *VIRT_VIRTIO_STRIDE},
    [VIRT_PLATFORM] = {0x0c000000, 0x02000000}, /* reserved: platform bus */
    [VIRT_PCI_MMIO] = {0x10000000, 0x2eff0000}, /* reserved: PCI, 32-bit window */
    [VIRT_PCI_PIO] = {0x3eff0000, 0x00010000},  /* reserved: PCI I/O ports */
    [VIRT_PCI_ECAM] = {0x3f000000, 0x01000000}, /* reserved: PCI configuration, 16 buses */
    [VIRT_RAM] = {0x40000000, VIRT_MEMORY_MAX},
    [VIRT_HIGH_REDIST] = {0x4000000000, 0x04000000},     /* reserved: redistributors of more vCPUs */
    [VIRT_HIGH_PCI_ECAM] = {0x4010000000, 0x10000000},   /* reserved: PCI configuration, 256 buses */
    [VIRT_HIGH_PCI_MMIO] = {0x8000000000, 0x8000000000}, /* reserved: PCI, 64-bit window */
};

#define VIRT_GICR_STRIDE 0x20000
#define VIRT_DTB_ALIGN MIB(2)
/* Kernel and initrd must share a window of 32 GiB (arm64 booting document). */
#define VIRT_INITRD_WINDOW GIB(32)

/* ---- processors and interrupts ---- */

/* Eight targets in a GICv2's registers; as many redistributors of a GICv3 as there is room for. */
static unsigned virt_max_cpus(const struct vm_config *c)
{
    return c->gic_version == 2 ? 8 : (unsigned)(virt_map[VIRT_GIC_REDIST].size / VIRT_GICR_STRIDE);
}

static int virt_create_jit(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    const struct accel_jit_config jit = {
        .ncpus = c->cpus,
        .model = arm64_model_find(c->cpu),
        .tier = c->tier,
        .seed = c->tier_seed,
        .stats = c->jit_stats,
        .trace_exec = c->trace_exec,
        .trace_cpu = c->trace_cpu,
        .trace_unlinked = c->trace_unlinked,
        .perf_map = c->perf_map,
        .jitdump = c->jitdump,
        .saved =
            (c->tier == VM_TIER_1 || c->tier == VM_TIER_MIXED) && !c->trace_exec && !c->trace_cpu && !c->trace_unlinked,
        .translations = c->translations,
        .mem = m->mem,
        .bus = m->bus,
        .clock = &m->clock,
        .loop = m->loop,
        .gic_version = c->gic_version,
        .gic_nspis = VIRT_NSPIS,
        .gic_dist = GPA(virt_map[VIRT_GIC_DIST].base),
        .gic_redist = GPA(virt_map[c->gic_version == 3 ? VIRT_GIC_REDIST : VIRT_GIC_CPUIF].base),
        .ppi_timer_virt = VIRT_PPI_TIMER_VIRT,
        .ppi_timer_phys = VIRT_PPI_TIMER_PHYS,
    };

    m->gic_version = c->gic_version;
    return accel_jit_create(&m->accel, &jit, e);
}

#if defined(__aarch64__)
static int virt_create_kvm(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    const struct kvm_config kvm = {
        .ncpus = c->cpus,
        .mem = m->mem,
        .bus = m->bus,
        .cpu = !strcmp(c->cpu, "max") ? KVM_CPU_MAX : KVM_CPU_HOST,
        .stats = c->stats,
        .gic_version = c->gic_version,
        .gic_dist = GPA(virt_map[VIRT_GIC_DIST].base),
        .gic_redist = GPA(virt_map[VIRT_GIC_REDIST].base),
        .gic_cpuif = GPA(virt_map[VIRT_GIC_CPUIF].base),
        .pmu_ppi = VIRT_PPI_PMU,
    };
    int r = kvm_create(&m->accel, &kvm, e);

    if (r < 0)
        return r;
    m->gic_version = kvm_arm64_gic_version(m->accel);
    m->has_pmu = kvm_arm64_has_pmu(m->accel);
    return 0;
}
#else
/* config_validate lets no other host come here. */
static int virt_create_kvm(struct machine *m, struct err *e)
{
    (void)m;
    return err_set_status(e, ERR_STATUS_ACCEL_ARCH, ENOTSUP, "KVM runs arm64 guests on arm64 hosts only");
}
#endif

static int virt_create_accel(struct machine *m, struct err *e)
{
    return m->cfg->accel == VM_ACCEL_KVM ? virt_create_kvm(m, e) : virt_create_jit(m, e);
}

/* ---- devices ---- */

/* An edge needs one write of KVM and no lowering (irqfd); the JIT's GIC likes levels as well. */
static bool virt_virtio_edge(const struct vm_config *c)
{
    return c->accel == VM_ACCEL_KVM;
}

static int virt_attach(struct machine *m, struct device *d, enum virt_range range, unsigned spi, struct err *e)
{
    const struct device_place at = {.bus = m->bus, .base = virt_map[range].base, .irq = spi};

    return devices_attach(m, d, &at, e);
}

/* The list of what the board has; the accelerator brings the GIC. */
static int virt_attach_devices(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct device *d;
    int r;

    r = pl011_create(&d, devices_serial(m));
    if (r < 0)
        return err_set(e, -r, "the PL011 cannot be made: %s", strerror(-r));
    r = virt_attach(m, d, VIRT_UART, VIRT_SPI_UART, e);
    if (r < 0)
        return r;

    r = pl031_create(&d, m->loop);
    if (r < 0)
        return err_set(e, -r, "the PL031 cannot be made: %s", strerror(-r));
    r = virt_attach(m, d, VIRT_RTC, VIRT_SPI_RTC, e);
    if (r < 0)
        return r;

    if (m->firmware) {
        for (unsigned i = 0; i < FIRMWARE_BANKS && c->firmware.used; i++) {
            const struct device_place at = {
                .bus = m->bus, .base = virt_map[VIRT_FLASH].base + i * CFI_FLASH_SIZE, .irq = DEVICE_NO_IRQ};

            r = firmware_create_bank(&d, m->firmware, i, e);
            if (r < 0 || (r = devices_attach(m, d, &at, e)) < 0)
                return r;
        }
        r = firmware_create_config(&d, m->firmware, m, e);
        if (r < 0 || (r = virt_attach(m, d, VIRT_FW_CFG, DEVICE_NO_IRQ, e)) < 0)
            return r;
    }

    if (c->debug_device) {
        const struct debug_events ev = {.exit = m->events.on_exit, .opaque = m->events.opaque};

        r = debug_create(&d, &ev);
        if (r < 0)
            return err_set(e, -r, "the debug device cannot be made: %s", strerror(-r));
        r = virt_attach(m, d, VIRT_DEBUG, DEVICE_NO_IRQ, e);
        if (r < 0)
            return r;
    }

    for (unsigned i = 0; i < c->ndevices; i++) {
        unsigned slot = (unsigned)c->device[i].slot;
        const struct device_place at = {.bus = m->bus,
                                        .base = virt_map[VIRT_VIRTIO].base + (uint64_t)slot * VIRT_VIRTIO_STRIDE,
                                        .irq = VIRT_SPI_VIRTIO + slot,
                                        .edge = virt_virtio_edge(c)};

        r = devices_attach_virtio(m, &c->device[i], &at, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- device tree ---- */

/* Slots in order of address, so that the guest counts its disks in the order of the command line. */
static unsigned virt_fdt_slots(const struct vm_config *c, struct loader_fdt_mmio *out)
{
    unsigned n = 0;

    for (int slot = 0; slot < VIRT_SLOTS; slot++)
        for (unsigned i = 0; i < c->ndevices; i++)
            if (c->device[i].slot == slot)
                out[n++] = (struct loader_fdt_mmio){
                    .compatible = "virtio,mmio",
                    .base = virt_map[VIRT_VIRTIO].base + (uint64_t)slot * VIRT_VIRTIO_STRIDE,
                    .size = VIRT_VIRTIO_STRIDE,
                    .spi = VIRT_SPI_VIRTIO + (unsigned)slot,
                    .edge = virt_virtio_edge(c),
                };
    return n;
}

static void virt_cpu_compatible(const struct vm_config *c, char *out, size_t size)
{
    /* Linux knows the parts by name; these are none. */
    if (!strcmp(c->cpu, "max") || !strcmp(c->cpu, "host"))
        snprintf(out, size, "arm,armv8");
    else
        snprintf(out, size, "arm,%s", c->cpu);
}

/* The number that the vCPU has; without an accelerator, that which both would give it. */
static int virt_mpidr(const struct machine *m, unsigned i, uint64_t *out, struct err *e)
{
    int r;

    *out = (uint64_t)(i / 16) << 8 | i % 16;
    if (!m->accel)
        return 0;
    r = m->accel->ops->get_reg(m->vcpu[i], ARM64_REG_MPIDR, out, sizeof(*out));
    return r < 0 ? err_set(e, -r, "vCPU %u has no number: %s", i, strerror(-r)) : 0;
}

/* Is there a configuration device? */
static bool virt_has_fw_cfg(const struct vm_config *c)
{
    return c->firmware.used || c->nfw_cfg;
}

/* (Re)makes m->boot.dtb. */
static int virt_build_dtb(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct loader_fdt_mmio slots[VIRT_SLOTS];
    uint64_t *mpidr, size;
    char compatible[64];
    void *blob;
    /* Without an accelerator, as when the tree is only dumped, what would be asked of it. */
    unsigned gic = m->gic_version ? m->gic_version : c->gic_version == 2 ? 2 : 3;
    struct loader_fdt_config f = {
        .ncpus = c->cpus,
        .cpu_compatible = compatible,
        .ram_base = virt_map[VIRT_RAM].base,
        .ram_size = c->memory,
        .cmdline = c->firmware.used ? "" : c->cmdline,
        .initrd_addr = m->boot.initrd.addr,
        .initrd_size = m->boot.initrd.size,
        .gic_version = gic,
        .gic_dist_base = virt_map[VIRT_GIC_DIST].base,
        .gic_dist_size = virt_map[VIRT_GIC_DIST].size,
        .uart_base = virt_map[VIRT_UART].base,
        .uart_spi = VIRT_SPI_UART,
        .rtc_base = virt_map[VIRT_RTC].base,
        .rtc_spi = VIRT_SPI_RTC,
        .pmu_intid = m->has_pmu ? VIRT_PPI_PMU : 0,
        .debug_base = c->debug_device ? virt_map[VIRT_DEBUG].base : 0,
        .virtio = slots,
    };
    int r = 0;

    if (c->firmware.used) {
        f.flash_base = virt_map[VIRT_FLASH].base;
        f.flash_size = CFI_FLASH_SIZE;
    }
    if (virt_has_fw_cfg(c)) {
        f.fw_cfg_base = virt_map[VIRT_FW_CFG].base;
        f.fw_cfg_size = virt_map[VIRT_FW_CFG].size;
    }
    if (gic == 3) {
        f.gic_redist_base = virt_map[VIRT_GIC_REDIST].base;
        f.gic_redist_size = (uint64_t)VIRT_GICR_STRIDE * c->cpus;
    } else {
        f.gic_redist_base = virt_map[VIRT_GIC_CPUIF].base;
        f.gic_redist_size = virt_map[VIRT_GIC_CPUIF].size;
    }
    virt_cpu_compatible(c, compatible, sizeof(compatible));
    f.nvirtio = virt_fdt_slots(c, slots);
    if (c->dtb_randomness && getrandom(f.rng_seed, sizeof(f.rng_seed), 0) != (ssize_t)sizeof(f.rng_seed))
        return err_set(e, errno, "the host gives no random numbers: %s", strerror(errno));
    mpidr = calloc(c->cpus, sizeof(*mpidr));
    if (!mpidr)
        return err_set(e, ENOMEM, "out of memory");
    for (unsigned i = 0; i < c->cpus && r == 0; i++)
        r = virt_mpidr(m, i, &mpidr[i], e);
    f.mpidr = mpidr;

    if (r == 0)
        r = loader_fdt_build(&f, &blob, &size, e);
    free(mpidr);
    if (r < 0)
        return r;
    if (size > VIRT_DTB_ALIGN) {
        free(blob);
        return err_set(e, EFBIG, "the device tree has %llu bytes; 2 MiB are the most", (unsigned long long)size);
    }
    free(m->boot.dtb);
    m->boot.dtb = blob;
    m->boot.dtb_size = size;
    return 0;
}

/* ---- RAM ---- */

static int virt_add_ram(struct machine *m, const struct mem_options *opt, struct err *e)
{
    struct mem_rom *rom;
    int r = mem_add_ram(m->mem, GPA(virt_map[VIRT_RAM].base), m->cfg->memory, opt, e);

    for (unsigned i = 0; i < FIRMWARE_BANKS && m->cfg->firmware.used && r == 0; i++)
        r = mem_add_rom(m->mem, GPA(virt_map[VIRT_FLASH].base + i * CFI_FLASH_SIZE), CFI_FLASH_SIZE, &rom, e);
    return r;
}

/* Chooses the device tree's place beside a kernel at [low, high). */
static int virt_place_dtb(struct machine *m, const struct loader_kernel *k, struct err *e)
{
    uint64_t ram = virt_map[VIRT_RAM].base, end = ram + m->cfg->memory;
    uint64_t top = align_down(MIN(end, ram + VIRT_INITRD_WINDOW), VIRT_DTB_ALIGN) - VIRT_DTB_ALIGN;

    if (k && k->format == LOADER_ELF && k->low >= ram + VIRT_DTB_ALIGN)
        m->boot.dtb_addr = ram;
    else if (!k || k->high <= top || k->low >= top + VIRT_DTB_ALIGN)
        m->boot.dtb_addr = top;
    else if (k->low >= ram + VIRT_DTB_ALIGN)
        m->boot.dtb_addr = ram;
    else
        return err_set(e, ENOMEM, "%s leaves no room for the device tree in %llu MiB of memory", m->cfg->kernel,
                       (unsigned long long)(m->cfg->memory >> 20));
    return 0;
}

static int virt_load_initrd(struct machine *m, const struct loader_kernel *k, struct err *e)
{
    uint64_t ram = virt_map[VIRT_RAM].base;
    uint64_t high = m->boot.dtb_addr > ram ? m->boot.dtb_addr : ram + MIN(m->cfg->memory, VIRT_INITRD_WINDOW);
    uint64_t low = align_up(k->high, MEM_PAGE_SIZE);

    /* An ELF program may lie anywhere; use the larger of the two sides. */
    if (low > high || k->low - ram > high - low) {
        low = m->boot.dtb_addr > ram ? ram : ram + VIRT_DTB_ALIGN;
        high = align_down(MIN(k->low, high), MEM_PAGE_SIZE);
    }
    int r =
        loader_initrd_load(m->mem, m->cfg->initrd, GPA(low), GPA(high), &m->boot.initrd.addr, &m->boot.initrd.size, e);
    m->boot.initrd.file_size = m->boot.initrd.size;
    return r;
}

static int virt_write_dtb(struct machine *m, struct err *e)
{
    int r = mem_write(m->mem, GPA(m->boot.dtb_addr), m->boot.dtb, m->boot.dtb_size);

    return r < 0 ? err_set(e, -r, "the device tree does not fit in memory") : 0;
}

static int virt_load_kernel(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct loader_kernel k;
    int r;

    if (c->kernel) {
        r = loader_kernel_load(&k, m->mem, c->kernel, GPA(virt_map[VIRT_RAM].base), c->memory, c->kernel_flat, e);
        if (r < 0)
            return r;
        m->boot.entry.pc = k.entry;
        m->boot.kernel = (struct machine_image){.addr = k.low, .size = k.high - k.low, .file_size = k.file_size};
    }
    r = virt_place_dtb(m, c->kernel ? &k : NULL, e);
    if (r < 0)
        return r;
    return c->initrd ? virt_load_initrd(m, &k, e) : 0;
}

static int virt_load(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    int r = 0;

    if (virt_has_fw_cfg(c) && !c->dump_dtb)
        r = firmware_load(&m->firmware, m, virt_map[VIRT_VIRTIO].base, VIRT_VIRTIO_STRIDE, e);
    if (r == 0 && !c->firmware.used)
        r = virt_load_kernel(m, e);
    if (r < 0)
        return r;
    if (c->firmware.used) {
        m->boot.entry.pc = virt_map[VIRT_FLASH].base;
        m->boot.dtb_addr = virt_map[VIRT_RAM].base;
    }
    m->boot.entry.arg = m->boot.dtb_addr;
    m->boot.entry.mode = VCPU_MODE_ARM64;
    r = virt_build_dtb(m, e);
    return r < 0 ? r : virt_write_dtb(m, e);
}

/* With fresh seeds. */
static int virt_reload(struct machine *m, struct err *e)
{
    int r = virt_build_dtb(m, e);

    return r < 0 ? r : virt_write_dtb(m, e);
}

const struct board_ops virt_board = {
    .name = "virt",
    .arch = VM_ARCH_ARM64,
    .serial = "ttyAMA0",
    .nslots = VIRT_SLOTS,
    .cmdline_max = 2047, /* COMMAND_LINE_SIZE of arm64 Linux, less the NUL */
    .memory_min = MIB(64),
    .memory_max = VIRT_MEMORY_MAX,
    .max_cpus = virt_max_cpus,
    .add_ram = virt_add_ram,
    .load = virt_load,
    .create_accel = virt_create_accel,
    .attach_devices = virt_attach_devices,
    .reload = virt_reload,
};
