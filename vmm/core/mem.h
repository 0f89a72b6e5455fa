/*
 * Guest-physical memory: RAM regions and the only accessors to them.
 *
 * RAM is anonymous, lazily populated. Each 4 KiB page of RAM has one byte of flags. Every write that is not the
 * guest's own (device DMA, loaders, debugger) goes through mem_write/mem_write_begin..end, which mark pages dirty and
 * drop translations made from them before the write is announced to the guest.
 *
 * ROM is what guests read and execute like RAM, and only a device on the bus writes: flash. While its device answers
 * reads with something else (a status), the ROM is not "direct", and all accesses are the device's. No device's DMA
 * goes there: of the accessors only mem_find_direct knows ROM.
 *
 * Regions are added before the first vCPU runs and never change afterwards, so look-ups take no lock.
 */
#ifndef PIPIT_CORE_MEM_H
#define PIPIT_CORE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/page.h"

/* A guest-physical address. A type of its own, so that it cannot be mixed with a host pointer or a guest VA. */
typedef struct {
    uint64_t v;
} gpa_t;
#define GPA(x) ((gpa_t){(x)})

#define MEM_PAGE_BITS 12
#define MEM_PAGE_SIZE (UINT64_C(1) << MEM_PAGE_BITS)

struct mem_region {
    gpa_t base;
    uint64_t size; /* bytes, a multiple of MEM_PAGE_SIZE */
    uint8_t *host;
    atomic_uchar *flags; /* one byte a page */
};

struct mem_rom {
    struct mem_region r;
    atomic_bool direct;
};

#define MEM_MAX_REGIONS 8
#define MEM_MAX_ROMS 2

struct mem {
    unsigned nregions, nroms;
    struct mem_region region[MEM_MAX_REGIONS];
    struct mem_rom rom[MEM_MAX_ROMS];
    /* Drops translations from [a, a+len); called only for pages with MEM_PAGE_CODE. NULL when there is no JIT. */
    void (*invalidate)(void *opaque, gpa_t a, uint64_t len);
    void *invalidate_opaque;
    /* The accelerator takes note of a change of rom->direct; on any thread, with the ROM's device locked. May be NULL.
     */
    void (*rom_switched)(void *opaque, const struct mem_rom *rom);
    void *rom_opaque;
};

enum mem_huge {
    MEM_HUGE_OFF,     /* as the host likes */
    MEM_HUGE_MADVISE, /* transparent, where the host can */
    MEM_HUGE_HUGETLB, /* 2 MiB pages that the host has set aside (vm.nr_hugepages), reserved at once */
};

struct mem_options {
    enum mem_huge huge;
    bool shared; /* memfd instead of anonymous memory */
};

int mem_create(struct mem **out);
void mem_destroy(struct mem *m);
/* Adds RAM at `base`; both multiples of MEM_PAGE_SIZE, or of 2 MiB with MEM_HUGE_HUGETLB. -ENOMEM when the host cannot
 * reserve it, -EEXIST on overlap. */
int mem_add_ram(struct mem *m, gpa_t base, uint64_t size, const struct mem_options *opt, struct err *e);

/* Adds direct ROM of zeroes at `base`, with mem_add_ram's rules and errors. */
int mem_add_rom(struct mem *m, gpa_t base, uint64_t size, struct mem_rom **out, struct err *e);
/* For the ROM's device, locked: whether guests see its bytes, and that those at [off, off+len) have changed. */
void mem_rom_set_direct(struct mem *m, struct mem_rom *rom, bool on);
void mem_rom_changed(struct mem *m, struct mem_rom *rom, uint64_t off, uint64_t len);

/* The region of RAM that holds all of [a, a+len), or NULL. */
static inline const struct mem_region *mem_find(const struct mem *m, gpa_t a, uint64_t len)
{
    for (unsigned i = 0; i < m->nregions; i++) {
        const struct mem_region *r = &m->region[i];
        uint64_t off = a.v - r->base.v;
        if (a.v >= r->base.v && off < r->size && len <= r->size - off)
            return r;
    }
    return NULL;
}

/* The same for what guests read without a device: RAM and direct ROM. */
static inline const struct mem_region *mem_find_direct(const struct mem *m, gpa_t a, uint64_t len)
{
    const struct mem_region *r = mem_find(m, a, len);

    for (unsigned i = 0; !r && i < m->nroms; i++) {
        const struct mem_rom *rom = &m->rom[i];
        uint64_t off = a.v - rom->r.base.v;
        if (off < rom->r.size && len <= rom->r.size - off && atomic_load_explicit(&rom->direct, memory_order_acquire))
            r = &rom->r;
    }
    return r;
}

/* Host address of [a, a+len) for reading, or NULL where that is not all RAM of one region. The guest may change the
 * bytes at any time: copy first, then validate the copy. */
const void *mem_read_ptr(const struct mem *m, gpa_t a, uint64_t len);
/* Copies out of or into guest RAM; -EFAULT where the range is not all RAM of one region (nothing is copied then). */
int mem_read(const struct mem *m, gpa_t a, void *dst, uint64_t len);
int mem_write(struct mem *m, gpa_t a, const void *src, uint64_t len);

/*
 * Host address of [a, a+len) for a write by a device, or NULL. mem_write_end must follow when the bytes are there and
 * before the guest is told (used index, interrupt). len may be 0 bytes shorter at the end than at the beginning.
 */
void *mem_write_begin(struct mem *m, gpa_t a, uint64_t len);
void mem_write_end(struct mem *m, gpa_t a, uint64_t len);

/* Bytes of RAM in all regions. */
uint64_t mem_ram_size(const struct mem *m);

#endif
