/*
 * The virt board: its map, its devices, and what lies in its RAM when the first CPU starts.
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
#include <sys/mman.h>
#include <sys/random.h>

#include "devices/pl011.h"
#include "devices/pl031.h"
#include "loader/loader.h"
#include "virtio/virtio.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/machine.h"

const struct virt_map virt_map[VIRT_RANGES] = {
    [VIRT_FLASH] = {0x00000000, 0x08000000}, /* two banks of 64 MiB: firmware, its variables (reserved) */
    [VIRT_GIC_DIST] = {0x08000000, 0x00010000},
    [VIRT_GIC_CPUIF] = {0x08010000, 0x00010000},  /* GICv2 */
    [VIRT_GIC_ITS] = {0x08080000, 0x00020000},    /* reserved: message-signalled interrupts */
    [VIRT_GIC_REDIST] = {0x080a0000, 0x00f60000}, /* GICv3: 0x20000 a vCPU */
    [VIRT_UART] = {0x09000000, 0x00001000},
    [VIRT_RTC] = {0x09010000, 0x00001000},
    [VIRT_FW_CFG] = {0x09020000, 0x00000018}, /* reserved: firmware configuration */
    [VIRT_GPIO] = {0x09030000, 0x00001000},   /* reserved: power button */
    [VIRT_VIRTIO] = {0x0a000000, VM_MAX_SLOTS *VIRT_VIRTIO_STRIDE},
    [VIRT_PLATFORM] = {0x0c000000, 0x02000000}, /* reserved: platform bus */
    [VIRT_PCI_MMIO] = {0x10000000, 0x2eff0000}, /* reserved: PCI, 32-bit window */
    [VIRT_PCI_PIO] = {0x3eff0000, 0x00010000},  /* reserved: PCI I/O ports */
    [VIRT_PCI_ECAM] = {0x3f000000, 0x01000000}, /* reserved: PCI configuration, 16 buses */
    [VIRT_RAM] = {0x40000000, VM_MEMORY_MAX},
    [VIRT_HIGH_REDIST] = {0x4000000000, 0x04000000},     /* reserved: redistributors of more vCPUs */
    [VIRT_HIGH_PCI_ECAM] = {0x4010000000, 0x10000000},   /* reserved: PCI configuration, 256 buses */
    [VIRT_HIGH_PCI_MMIO] = {0x8000000000, 0x8000000000}, /* reserved: PCI, 64-bit window */
};

#define VIRT_GICR_STRIDE 0x20000
#define VIRT_DTB_ALIGN MIB(2)
/* Kernel and initrd must share a window of 32 GiB (arm64 booting document). */
#define VIRT_INITRD_WINDOW GIB(32)

/* ---- devices ---- */

/* Connects the interrupt and attaches; takes `d` in any case. */
static int virt_attach(struct machine *m, struct device *d, uint64_t base, unsigned spi, struct err *e)
{
    int r;

    d->irq = gic_spi_line(m->gic, spi);
    r = bus_attach(m->bus, d, GPA(base));
    if (r < 0) {
        err_set(e, -r, "device %s cannot be attached at 0x%llx: %s", d->desc->name, (unsigned long long)base,
                strerror(-r));
        d->desc->ops->destroy(d);
    }
    return r;
}

/* The virtio device of one entry of the config. */
static int virt_create_virtio(struct machine *m, const struct vm_device *v, struct virtio_device **out)
{
    const struct vm_config *c = m->cfg;

    switch (v->kind) {
    case VM_DEVICE_BLK: return virtio_blk_create(out, m->disk[v->index], c->disk[v->index].serial);
    case VM_DEVICE_NET: return virtio_net_create(out, m->net[v->index], c->net[v->index].mac);
    case VM_DEVICE_CONSOLE: return virtio_console_create(out, m->chardev[v->index]);
    case VM_DEVICE_RNG: return virtio_rng_create(out);
    }
    return -EINVAL;
}

static int virt_attach_virtio(struct machine *m, const struct vm_device *v, struct err *e)
{
    static const char *const what[] = {[VM_DEVICE_BLK] = "disk",
                                       [VM_DEVICE_NET] = "network device",
                                       [VM_DEVICE_CONSOLE] = "console",
                                       [VM_DEVICE_RNG] = "entropy device"};
    struct virtio_device *vdev;
    struct device *d;
    int r;

    r = virt_create_virtio(m, v, &vdev);
    if (r == 0)
        r = virtio_mmio_create(&d, vdev, m->mem, m->loop);
    if (r < 0)
        return err_set(e, -r, "the virtio %s in slot %d cannot be made: %s", what[v->kind], v->slot, strerror(-r));
    return virt_attach(m, d, virt_map[VIRT_VIRTIO].base + (uint64_t)v->slot * VIRT_VIRTIO_STRIDE,
                       VIRT_SPI_VIRTIO + (unsigned)v->slot, e);
}

/* The list of what the board has. */
int virt_attach_devices(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct device *d;
    int r;

    r = gic_attach(m->gic, m->bus, GPA(virt_map[VIRT_GIC_DIST].base),
                   GPA(virt_map[c->gic_version == 3 ? VIRT_GIC_REDIST : VIRT_GIC_CPUIF].base));
    if (r < 0)
        return err_set(e, -r, "the interrupt controller cannot be attached: %s", strerror(-r));

    r = pl011_create(&d, c->serial >= 0 ? m->chardev[c->serial] : m->nowhere);
    if (r < 0)
        return err_set(e, -r, "the PL011 cannot be made: %s", strerror(-r));
    r = virt_attach(m, d, virt_map[VIRT_UART].base, VIRT_SPI_UART, e);
    if (r < 0)
        return r;

    r = pl031_create(&d, m->loop);
    if (r < 0)
        return err_set(e, -r, "the PL031 cannot be made: %s", strerror(-r));
    r = virt_attach(m, d, virt_map[VIRT_RTC].base, VIRT_SPI_RTC, e);
    if (r < 0)
        return r;

    for (unsigned i = 0; i < c->ndevices; i++) {
        r = virt_attach_virtio(m, &c->device[i], e);
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

    for (int slot = 0; slot < VM_MAX_SLOTS; slot++)
        for (unsigned i = 0; i < c->ndevices; i++)
            if (c->device[i].slot == slot)
                out[n++] = (struct loader_fdt_mmio){
                    .compatible = "virtio,mmio",
                    .base = virt_map[VIRT_VIRTIO].base + (uint64_t)slot * VIRT_VIRTIO_STRIDE,
                    .size = VIRT_VIRTIO_STRIDE,
                    .spi = VIRT_SPI_VIRTIO + (unsigned)slot,
                };
    return n;
}

static void virt_cpu_compatible(const struct vm_config *c, char *out, size_t size)
{
    /* Linux knows the parts by name; "max" is no part. */
    if (!strcmp(c->cpu, "max"))
        snprintf(out, size, "arm,armv8");
    else
        snprintf(out, size, "arm,%s", c->cpu);
}

/* (Re)makes m->boot.dtb. */
static int virt_build_dtb(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct loader_fdt_mmio slots[VM_MAX_SLOTS];
    uint64_t mpidr[VM_MAX_CPUS], size;
    char compatible[64];
    void *blob;
    struct loader_fdt_config f = {
        .ncpus = c->cpus,
        .mpidr = mpidr,
        .cpu_compatible = compatible,
        .ram_base = virt_map[VIRT_RAM].base,
        .ram_size = c->memory,
        .cmdline = c->cmdline,
        .initrd_addr = m->boot.initrd.addr,
        .initrd_size = m->boot.initrd.size,
        .gic_version = c->gic_version,
        .gic_dist_base = virt_map[VIRT_GIC_DIST].base,
        .gic_dist_size = virt_map[VIRT_GIC_DIST].size,
        .uart_base = virt_map[VIRT_UART].base,
        .uart_spi = VIRT_SPI_UART,
        .rtc_base = virt_map[VIRT_RTC].base,
        .rtc_spi = VIRT_SPI_RTC,
        .virtio = slots,
    };
    int r;

    if (c->gic_version == 3) {
        f.gic_redist_base = virt_map[VIRT_GIC_REDIST].base;
        f.gic_redist_size = (uint64_t)VIRT_GICR_STRIDE * c->cpus;
    } else {
        f.gic_redist_base = virt_map[VIRT_GIC_CPUIF].base;
        f.gic_redist_size = virt_map[VIRT_GIC_CPUIF].size;
    }
    /* As arm64_cpu_init numbers them. */
    for (unsigned i = 0; i < c->cpus; i++)
        mpidr[i] = (uint64_t)(i / 16) << 8 | i % 16;
    virt_cpu_compatible(c, compatible, sizeof(compatible));
    f.nvirtio = virt_fdt_slots(c, slots);
    if (c->dtb_randomness && getrandom(f.rng_seed, sizeof(f.rng_seed), 0) != (ssize_t)sizeof(f.rng_seed))
        return err_set(e, errno, "the host gives no random numbers: %s", strerror(errno));

    r = loader_fdt_build(&f, &blob, &size, e);
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
    return loader_initrd_load(m->mem, m->cfg->initrd, GPA(low), GPA(high), &m->boot.initrd.addr, &m->boot.initrd.size,
                              e);
}

static int virt_write_dtb(struct machine *m, struct err *e)
{
    int r = mem_write(m->mem, GPA(m->boot.dtb_addr), m->boot.dtb, m->boot.dtb_size);

    return r < 0 ? err_set(e, -r, "the device tree does not fit in memory") : 0;
}

int virt_load(struct machine *m, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct loader_kernel k;
    int r;

    if (c->kernel) {
        r = loader_kernel_load(&k, m->mem, c->kernel, GPA(virt_map[VIRT_RAM].base), c->memory, c->kernel_flat, e);
        if (r < 0)
            return r;
        m->boot.entry = k.entry;
        m->boot.kernel = (struct machine_image){.addr = k.low, .size = k.high - k.low};
    }
    r = virt_place_dtb(m, c->kernel ? &k : NULL, e);
    if (r < 0)
        return r;
    if (c->initrd) {
        r = virt_load_initrd(m, &k, e);
        if (r < 0)
            return r;
    }
    r = virt_build_dtb(m, e);
    return r < 0 ? r : virt_write_dtb(m, e);
}

/* ---- reset ---- */

static bool page_is_zero(const uint8_t *p)
{
    return p[0] == 0 && !memcmp(p, p + 1, MEM_PAGE_SIZE - 1);
}

static int virt_keep(struct machine *m, struct machine_image *img, struct err *e)
{
    const uint8_t *ram;
    void *copy;

    if (!img->size)
        return 0;
    ram = mem_read_ptr(m->mem, GPA(img->addr), img->size);
    if (!ram)
        return err_set(e, EFAULT, "%s is not in memory", m->cfg->kernel);
    copy = mmap(NULL, img->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy == MAP_FAILED)
        return err_set(e, ENOMEM, "no memory to keep %llu bytes for a reset", (unsigned long long)img->size);
    img->copy = copy;
    /* Pages of zeroes (bss) stay unpopulated in the copy. */
    for (uint64_t off = 0; off < img->size; off += MEM_PAGE_SIZE) {
        uint64_t n = MIN(img->size - off, MEM_PAGE_SIZE);

        if (n < MEM_PAGE_SIZE || !page_is_zero(ram + off))
            memcpy(img->copy + off, ram + off, n);
    }
    return 0;
}

int virt_keep_images(struct machine *m, struct err *e)
{
    int r = virt_keep(m, &m->boot.kernel, e);

    return r < 0 ? r : virt_keep(m, &m->boot.initrd, e);
}

int virt_reload(struct machine *m, struct err *e)
{
    const struct machine_image *img[] = {&m->boot.kernel, &m->boot.initrd};
    int r;

    for (unsigned i = 0; i < ARRAY_SIZE(img); i++) {
        if (!img[i]->size)
            continue;
        r = img[i]->copy ? mem_write(m->mem, GPA(img[i]->addr), img[i]->copy, img[i]->size) : -EINVAL;
        if (r < 0)
            return err_set(e, -r, "the kernel cannot be loaded again");
    }
    r = virt_build_dtb(m, e);
    return r < 0 ? r : virt_write_dtb(m, e);
}
