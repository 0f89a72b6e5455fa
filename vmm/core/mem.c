/*
 * Guest RAM: anonymous mappings with a guard on either side, and one byte of flags a page beside them.
 *
 * The race between a device that writes a page and a vCPU that translates code from it: the translator sets
 * MEM_PAGE_CODE and then reads the instructions; the device writes the bytes and then reads the flags. Both put a full
 * barrier between their two steps, so at least one sees the other: either the translator read the new bytes, or
 * mem_write_end sees the flag and drops the translation.
 */
#include "vmm/core/mem.h"

#include <errno.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/util.h"

#define MEM_GUARD KIB(64)
#define MEM_HUGE_ALIGN MIB(2)

int mem_create(struct mem **out)
{
    struct mem *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    *out = m;
    return 0;
}

static uint64_t mem_flags_size(uint64_t ram_size)
{
    return align_up(ram_size >> MEM_PAGE_BITS, MEM_PAGE_SIZE);
}

static void mem_unmap(struct mem_region *r)
{
    munmap(r->host - MEM_GUARD, r->size + 2 * MEM_GUARD);
    munmap(r->flags, mem_flags_size(r->size));
}

void mem_destroy(struct mem *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->nregions; i++)
        mem_unmap(&m->region[i]);
    for (unsigned i = 0; i < m->nroms; i++)
        mem_unmap(&m->rom[i].r);
    free(m);
}

/* Reserves size bytes between two guards, aligned for huge pages; nothing is accessible yet. */
static uint8_t *mem_reserve(uint64_t size)
{
    uint64_t total = size + 2 * MEM_GUARD + MEM_HUGE_ALIGN;
    uint64_t start, host, end;
    void *p;

    if (total < size)
        return NULL;
    p = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    start = (uint64_t)(uintptr_t)p;
    host = align_up(start + MEM_GUARD, MEM_HUGE_ALIGN);
    end = host + size + MEM_GUARD;
    if (host - MEM_GUARD > start)
        munmap(p, host - MEM_GUARD - start);
    if (start + total > end)
        munmap((void *)(uintptr_t)end, start + total - end);
    return (uint8_t *)(uintptr_t)host;
}

/* Makes the reserved range RAM. */
static int mem_back(uint8_t *host, uint64_t size, const struct mem_options *opt)
{
    bool hugetlb = opt->huge == MEM_HUGE_HUGETLB;
    int fd, r = 0;

    if (!opt->shared && !hugetlb)
        return mprotect(host, size, PROT_READ | PROT_WRITE) < 0 ? -errno : 0;
    if (!opt->shared) /* without MAP_NORESERVE: what is not there now would be a SIGBUS later */
        return mmap(host, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0) == MAP_FAILED
                   ? -errno
                   : 0;
    fd = memfd_create("pipit-ram", MFD_CLOEXEC | (hugetlb ? MFD_HUGETLB | MFD_HUGE_2MB : 0u));
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 ||
        mmap(host, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | (hugetlb ? 0 : MAP_NORESERVE), fd, 0) ==
            MAP_FAILED)
        r = -errno;
    close(fd);
    return r;
}

/* Huge pages of 2 MiB that nobody has; -1 where the host has no such pages. */
static long mem_huge_free(void)
{
    FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    long n = -1;

    if (!f)
        return -1;
    if (fscanf(f, "%ld", &n) != 1)
        n = -1;
    fclose(f);
    return n;
}

static int mem_no_huge(uint64_t size, struct err *e)
{
    unsigned long long pages = size / MEM_HUGE_ALIGN;
    long have = mem_huge_free();

    if (have < 0)
        return err_set_status(e, ERR_STATUS_MEMORY, ENOMEM, "this host has no huge pages of 2 MiB");
    return err_set_status(e, ERR_STATUS_MEMORY, ENOMEM,
                          "%llu MiB of guest RAM in huge pages: %llu of 2 MiB are needed, and %ld of this host's are "
                          "free (sysctl vm.nr_hugepages sets how many there are)",
                          (unsigned long long)(size >> 20), pages, have);
}

/* Is there room in the guest's addresses? */
static int mem_check_place(const struct mem *m, gpa_t base, uint64_t size, uint64_t unit, const char *what,
                           struct err *e)
{
    if (size == 0 || size % unit || base.v % unit || base.v + (size - 1) < base.v)
        return err_set(e, EINVAL, "%s of %llu bytes at 0x%llx is not made of whole pages", what,
                       (unsigned long long)size, (unsigned long long)base.v);
    for (unsigned i = 0; i < m->nregions + m->nroms; i++) {
        bool ram = i < m->nregions;
        const struct mem_region *o = ram ? &m->region[i] : &m->rom[i - m->nregions].r;

        if (base.v - o->base.v < o->size || o->base.v - base.v < size)
            return err_set(e, EEXIST, "%s at 0x%llx overlaps %s at 0x%llx", what, (unsigned long long)base.v,
                           ram ? "RAM" : "ROM", (unsigned long long)o->base.v);
    }
    return 0;
}

/* Maps a region and its flags. */
static int mem_map(struct mem_region *r, gpa_t base, uint64_t size, const struct mem_options *opt, struct err *e)
{
    void *flags;
    int ret;

    r->host = mem_reserve(size);
    if (!r->host)
        goto no_memory;
    ret = mem_back(r->host, size, opt);
    if (ret < 0)
        goto unmap_host;
    flags =
        mmap(NULL, mem_flags_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (flags == MAP_FAILED)
        goto unmap_host;
    /* A hint: hosts without transparent huge pages refuse it. */
    if (opt->huge == MEM_HUGE_MADVISE)
        madvise(r->host, size, MADV_HUGEPAGE);
    r->flags = flags;
    r->base = base;
    r->size = size;
    return 0;

unmap_host:
    munmap(r->host - MEM_GUARD, size + 2 * MEM_GUARD);
no_memory:
    *r = (struct mem_region){0};
    if (opt->huge == MEM_HUGE_HUGETLB)
        return mem_no_huge(size, e);
    return err_set_status(e, ERR_STATUS_MEMORY, ENOMEM, "the host cannot give %llu MiB of guest RAM",
                          (unsigned long long)(size >> 20));
}

int mem_add_ram(struct mem *m, gpa_t base, uint64_t size, const struct mem_options *opt, struct err *e)
{
    static const struct mem_options plain;
    int r;

    if (!opt)
        opt = &plain;
    if (m->nregions == MEM_MAX_REGIONS)
        return err_set(e, ENOSPC, "more than %d RAM regions", MEM_MAX_REGIONS);
    r = mem_check_place(m, base, size, opt->huge == MEM_HUGE_HUGETLB ? MEM_HUGE_ALIGN : MEM_PAGE_SIZE, "RAM", e);
    if (r == 0)
        r = mem_map(&m->region[m->nregions], base, size, opt, e);
    m->nregions += r == 0;
    return r;
}

int mem_add_rom(struct mem *m, gpa_t base, uint64_t size, struct mem_rom **out, struct err *e)
{
    static const struct mem_options plain;
    struct mem_rom *rom = &m->rom[m->nroms];
    int r;

    if (m->nroms == MEM_MAX_ROMS)
        return err_set(e, ENOSPC, "more than %d ROM regions", MEM_MAX_ROMS);
    r = mem_check_place(m, base, size, MEM_PAGE_SIZE, "ROM", e);
    if (r < 0 || (r = mem_map(&rom->r, base, size, &plain, e)) < 0)
        return r;
    for (uint64_t i = 0; i < size >> MEM_PAGE_BITS; i++)
        atomic_init(&rom->r.flags[i], MEM_PAGE_ROM);
    atomic_init(&rom->direct, true);
    m->nroms++;
    *out = rom;
    return 0;
}

void mem_rom_set_direct(struct mem *m, struct mem_rom *rom, bool on)
{
    if (atomic_exchange(&rom->direct, on) != on && m->rom_switched)
        m->rom_switched(m->rom_opaque, rom);
}

const void *mem_read_ptr(const struct mem *m, gpa_t a, uint64_t len)
{
    const struct mem_region *r = mem_find(m, a, len);

    return r ? r->host + (a.v - r->base.v) : NULL;
}

int mem_read(const struct mem *m, gpa_t a, void *dst, uint64_t len)
{
    const void *p = mem_read_ptr(m, a, len);

    if (!p)
        return -EFAULT;
    memcpy(dst, p, len);
    return 0;
}

void *mem_write_begin(struct mem *m, gpa_t a, uint64_t len)
{
    const struct mem_region *r = mem_find(m, a, len);

    return r ? r->host + (a.v - r->base.v) : NULL;
}

/* Bytes at [a, a+len) of a region were written by somebody else than a guest. */
static void mem_changed(struct mem *m, const struct mem_region *r, gpa_t a, uint64_t len)
{
    uint64_t page, last;
    bool code = false;

    /* See the head of this file: the bytes are visible before the flags are read. */
    atomic_thread_fence(memory_order_seq_cst);
    page = (a.v - r->base.v) >> MEM_PAGE_BITS;
    last = (a.v - r->base.v + len - 1) >> MEM_PAGE_BITS;
    for (; page <= last; page++) {
        unsigned char f = atomic_load_explicit(&r->flags[page], memory_order_relaxed);

        if (!(f & MEM_PAGE_DIRTY))
            f = atomic_fetch_or_explicit(&r->flags[page], MEM_PAGE_DIRTY, memory_order_relaxed);
        code |= f & MEM_PAGE_CODE;
    }
    if (code && m->invalidate)
        m->invalidate(m->invalidate_opaque, a, len);
}

void mem_write_end(struct mem *m, gpa_t a, uint64_t len)
{
    const struct mem_region *r = mem_find(m, a, len);

    if (r && len)
        mem_changed(m, r, a, len);
}

void mem_rom_changed(struct mem *m, struct mem_rom *rom, uint64_t off, uint64_t len)
{
    if (len)
        mem_changed(m, &rom->r, GPA(rom->r.base.v + off), len);
}

int mem_write(struct mem *m, gpa_t a, const void *src, uint64_t len)
{
    void *p = mem_write_begin(m, a, len);

    if (!p)
        return -EFAULT;
    memcpy(p, src, len);
    mem_write_end(m, a, len);
    return 0;
}

uint64_t mem_ram_size(const struct mem *m)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < m->nregions; i++)
        n += m->region[i].size;
    return n;
}
