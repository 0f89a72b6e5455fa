/*
 * ELF64 kernels: segments go to their physical addresses. Every number of the headers is checked by subtraction,
 * against the file and against RAM, before anything is written.
 */
#include <errno.h>
#include <inttypes.h>

#include "loader/kernel.h"
#include "vmm/base/util.h"

/* Notes are a few hundred bytes; a file that says otherwise is not searched for ever. */
#define ELF_NOTES_MAX MIB(1)

static int elf_check_header(const struct kernel_src *s, Elf64_Ehdr *h, struct err *e)
{
    if (s->size < sizeof(*h))
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is truncated: it ends inside its ELF header",
                              s->name);
    memcpy(h, s->data, sizeof(*h));
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return err_set(e, ENOEXEC, "%s is an ELF file that is not linked (an object or core file)", s->name);
    if (h->e_phnum == 0 || h->e_phnum > ELF_MAX_PHDRS || h->e_phentsize != sizeof(Elf64_Phdr))
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is damaged: it has %u ELF program headers of %u bytes", s->name, h->e_phnum,
                              h->e_phentsize);
    if (!range_within(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), s->size))
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is truncated or damaged: its ELF program headers lie outside of it", s->name);
    return 0;
}

static void elf_get_phdr(const struct elf_file *f, const struct kernel_src *s, unsigned i, Elf64_Phdr *p)
{
    memcpy(p, s->data + f->h.e_phoff + i * sizeof(*p), sizeof(*p));
}

/* Reads the PT_LOAD headers that occupy memory into f->load; checks each against file and RAM. */
static int elf_read_segments(struct elf_file *f, const struct kernel_src *s, uint64_t base, uint64_t ram_size,
                             const char *hint, struct err *e)
{
    for (unsigned i = 0; i < f->h.e_phnum; i++) {
        Elf64_Phdr *p = &f->load[f->n];

        elf_get_phdr(f, s, i, p);
        if (p->p_type != PT_LOAD || p->p_memsz == 0)
            continue;
        if (p->p_filesz > p->p_memsz || !range_within(p->p_offset, p->p_filesz, s->size))
            return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                                  "%s is truncated or damaged: ELF segment %u lies outside of it", s->name, i);
        if (p->p_paddr < base || !range_within(p->p_paddr - base, p->p_memsz, ram_size))
            return err_set_status(e, ERR_STATUS_MEMORY, EFBIG,
                                  "%s has an ELF segment at physical address 0x%" PRIx64 " of %" PRIu64
                                  " bytes, outside of the guest's RAM from 0x%" PRIx64 " to 0x%" PRIx64 "%s",
                                  s->name, p->p_paddr, p->p_memsz, base, base + ram_size, p->p_paddr >> 48 ? hint : "");
        for (unsigned k = 0; k < f->n; k++)
            if (p->p_paddr < f->load[k].p_paddr + f->load[k].p_memsz && f->load[k].p_paddr < p->p_paddr + p->p_memsz)
                return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is damaged: its ELF segments overlap",
                                      s->name);
        f->low = MIN(f->low, p->p_paddr);
        f->high = MAX(f->high, p->p_paddr + p->p_memsz);
        f->n++;
    }
    return f->n ? 0 : err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s has no ELF segment to load", s->name);
}

int elf_read(struct elf_file *f, const struct kernel_src *s, uint64_t base, uint64_t ram_size, const char *hint,
             struct err *e)
{
    int r = elf_check_header(s, &f->h, e);

    f->n = 0;
    f->low = UINT64_MAX;
    f->high = 0;
    return r < 0 ? r : elf_read_segments(f, s, base, ram_size, hint, e);
}

int elf_write(const struct elf_file *f, const struct kernel_src *s, struct mem *m, struct err *e)
{
    for (unsigned i = 0; i < f->n; i++) {
        const Elf64_Phdr *p = &f->load[i];
        uint8_t *dst = mem_write_begin(m, GPA(p->p_paddr), p->p_memsz);

        if (!dst)
            return err_set(e, EFAULT, "%s: the guest has no RAM at 0x%" PRIx64, s->name, (uint64_t)p->p_paddr);
        memcpy(dst, s->data + p->p_offset, p->p_filesz);
        /* RAM may hold what ran before a reset. */
        memset(dst + p->p_filesz, 0, p->p_memsz - p->p_filesz);
        mem_write_end(m, GPA(p->p_paddr), p->p_memsz);
    }
    return 0;
}

bool elf_translate(const struct elf_file *f, uint64_t va, uint64_t *pa)
{
    for (unsigned i = 0; i < f->n; i++) {
        const Elf64_Phdr *p = &f->load[i];

        if (va >= p->p_vaddr && va - p->p_vaddr < p->p_memsz) {
            *pa = va - p->p_vaddr + p->p_paddr;
            return true;
        }
    }
    return false;
}

bool elf_holds(const struct elf_file *f, uint64_t pa)
{
    for (unsigned i = 0; i < f->n; i++)
        if (pa >= f->load[i].p_paddr && pa - f->load[i].p_paddr < f->load[i].p_memsz)
            return true;
    return false;
}

/* Searches one note segment (System V ABI, "Note Section"; fields are aligned to 4 bytes, or 8 where p_align says). */
static const uint8_t *elf_search_notes(const uint8_t *notes, uint64_t len, uint64_t align, const char *name,
                                       uint32_t type, uint32_t *size)
{
    uint64_t off = 0, name_len = strlen(name) + 1;

    while (off < len && len - off >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        uint64_t desc;

        memcpy(&n, notes + off, sizeof(n));
        /* Sums of 32-bit numbers and an offset below ELF_NOTES_MAX: nothing wraps. */
        desc = align_up(off + sizeof(n) + n.n_namesz, align);
        if (!range_within(desc, n.n_descsz, len))
            return NULL;
        if (n.n_type == type && n.n_namesz == name_len && memcmp(notes + off + sizeof(n), name, name_len) == 0) {
            *size = n.n_descsz;
            return notes + desc;
        }
        off = align_up(desc + n.n_descsz, align);
    }
    return NULL;
}

const uint8_t *elf_find_note(const struct elf_file *f, const struct kernel_src *s, const char *name, uint32_t type,
                             uint32_t *size)
{
    for (unsigned i = 0; i < f->h.e_phnum; i++) {
        const uint8_t *found;
        Elf64_Phdr p;

        elf_get_phdr(f, s, i, &p);
        if (p.p_type != PT_NOTE || !range_within(p.p_offset, p.p_filesz, s->size))
            continue;
        found = elf_search_notes(s->data + p.p_offset, MIN(p.p_filesz, ELF_NOTES_MAX), p.p_align == 8 ? 8 : 4, name,
                                 type, size);
        if (found)
            return found;
    }
    return NULL;
}
