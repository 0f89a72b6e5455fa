/* Finds two functions in the host's vDSO by name (vdso(7)), see clock.h. */
#include "vmm/user/clock.h"

#include <elf.h>
#include <linux/time.h>
#include <string.h>

#include "vmm/user/sys/call.h"

static long (*vdso_gettime)(int clock, void *ts);
static long (*vdso_gettimeofday)(void *tv, void *tz);

struct image {
    const uint8_t *base; /* address 0 of the image's own numbers */
    const Elf64_Sym *symbols;
    const char *names;
    uint64_t count;
};

/* The host made this image, so its contents are trusted. Without DT_HASH the string table ends the symbols. */
static void find_tables(struct image *m, const Elf64_Dyn *d)
{
    const uint32_t *hash = NULL;

    for (; d->d_tag != DT_NULL; d++) {
        const uint8_t *p = m->base + d->d_un.d_ptr;
        if (d->d_tag == DT_SYMTAB)
            m->symbols = (const Elf64_Sym *)p;
        else if (d->d_tag == DT_STRTAB)
            m->names = (const char *)p;
        else if (d->d_tag == DT_HASH)
            hash = (const uint32_t *)p;
    }
    if (!m->symbols || !m->names)
        m->count = 0;
    else if (hash)
        m->count = hash[1];
    else if ((const char *)m->symbols < m->names)
        m->count = (uint64_t)(m->names - (const char *)m->symbols) / sizeof(Elf64_Sym);
}

static const void *lookup(const struct image *m, const char *name)
{
    for (uint64_t i = 0; m->symbols && m->names && i < m->count; i++) {
        if (m->symbols[i].st_shndx && !strcmp(m->names + m->symbols[i].st_name, name))
            return m->base + m->symbols[i].st_value;
    }
    return NULL;
}

void user_clock_init(uint64_t vdso)
{
    const Elf64_Ehdr *eh = (const Elf64_Ehdr *)(uintptr_t)vdso;
    struct image m = {0};
    const Elf64_Dyn *dynamic = NULL;
    const void *fn;

    if (!vdso)
        return;
    const Elf64_Phdr *ph = (const Elf64_Phdr *)((const uint8_t *)eh + eh->e_phoff);
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type == PT_LOAD && !m.base)
            m.base = (const uint8_t *)eh + ph[i].p_offset - ph[i].p_vaddr;
        else if (ph[i].p_type == PT_DYNAMIC)
            dynamic = (const Elf64_Dyn *)((const uint8_t *)eh + ph[i].p_offset);
    }
    if (!m.base || !dynamic)
        return;
    find_tables(&m, dynamic);
    fn = lookup(&m, "__vdso_clock_gettime");
    memcpy(&vdso_gettime, &fn, sizeof(fn));
    fn = lookup(&m, "__vdso_gettimeofday");
    memcpy(&vdso_gettimeofday, &fn, sizeof(fn));
}

long user_clock_gettime(int clock, int64_t ts[2])
{
    return vdso_gettime ? vdso_gettime(clock, ts) : sys_call(__NR_clock_gettime, clock, ts);
}

long user_clock_gettimeofday(int64_t tv[2], int32_t tz[2])
{
    return vdso_gettimeofday ? vdso_gettimeofday(tv, tz) : sys_call(__NR_gettimeofday, tv, tz);
}

uint64_t user_clock_counter(void)
{
    int64_t ts[2] = {0};

    user_clock_gettime(CLOCK_MONOTONIC, ts);
    return (uint64_t)ts[0] * 1000000000u + (uint64_t)ts[1];
}
