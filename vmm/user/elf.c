/* Checks of ELF headers: see elf.h. */
#include "vmm/user/elf.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/util.h"

#define PAGE 4096

const char *elf_machine_name(unsigned machine)
{
    switch (machine) {
    case EM_386: return "32-bit x86";
    case EM_X86_64: return "x86-64";
    case EM_ARM: return "32-bit Arm";
    case EM_AARCH64: return "arm64";
    case EM_RISCV: return "RISC-V";
    case EM_PPC64: return "PowerPC";
    case EM_S390: return "s390";
    default: return "another architecture";
    }
}

int elf_check_header(const Elf64_Ehdr *eh, size_t len, const char *name, struct err *e)
{
    if (len < SELFMAG || memcmp(eh->e_ident, ELFMAG, SELFMAG))
        return err_set(e, ENOEXEC, "%s is not an ELF program", name);
    if (len < sizeof(*eh))
        return err_set(e, ENOEXEC, "%s is cut off within its ELF header", name);
    if (eh->e_machine != EM_AARCH64)
        return err_set(e, ENOEXEC, "%s is a program for %s, not for arm64", name, elf_machine_name(eh->e_machine));
    if (eh->e_ident[EI_CLASS] != ELFCLASS64)
        return err_set(e, ENOEXEC, "%s is not a 64-bit program", name);
    if (eh->e_ident[EI_DATA] != ELFDATA2LSB)
        return err_set(e, ENOEXEC, "%s is a big-endian program", name);
    if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
        return err_set(e, ENOEXEC, "%s is %s, not a program", name,
                       eh->e_type == ET_REL    ? "an object file"
                       : eh->e_type == ET_CORE ? "a core file"
                                               : "an ELF file");
    if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum == 0 || eh->e_phnum > ELF_HEADERS_MAX)
        return err_set(e, ENOEXEC, "%s has %u program headers of %u bytes, which cannot be", name, eh->e_phnum,
                       eh->e_phentsize);
    return 0;
}

/* One loadable segment; widens [lo, hi). */
static int check_load(const Elf64_Phdr *p, uint64_t task_size, const char *name, struct elf_layout *out, struct err *e)
{
    if (p->p_filesz > p->p_memsz)
        return err_set(e, EINVAL, "%s has a segment that is larger in the file than in memory", name);
    if (p->p_vaddr >= task_size || p->p_memsz > task_size - p->p_vaddr)
        return err_set(e, EINVAL, "%s has a segment at %#lx that does not fit the address space", name,
                       (unsigned long)p->p_vaddr);
    if (p->p_filesz && ((p->p_vaddr ^ p->p_offset) & (PAGE - 1)))
        return err_set(e, EINVAL, "%s has a segment whose offset and address do not match in a page", name);
    if (p->p_offset > INT64_MAX - p->p_filesz)
        return err_set(e, EINVAL, "%s has a segment at an offset that no file has", name);
    if (!p->p_memsz)
        return 0;
    out->lo = MIN(out->lo, align_down(p->p_vaddr, PAGE));
    out->hi = MAX(out->hi, align_up(p->p_vaddr + p->p_memsz, PAGE));
    if (is_pow2(p->p_align) && p->p_align > out->align && p->p_align < task_size)
        out->align = p->p_align;
    return 0;
}

int elf_check_segments(const Elf64_Ehdr *eh, const Elf64_Phdr *ph, unsigned n, uint64_t task_size, const char *name,
                       struct elf_layout *out, struct err *e)
{
    int r;

    *out = (struct elf_layout){.fixed = eh->e_type == ET_EXEC, .lo = UINT64_MAX, .align = PAGE, .entry = eh->e_entry};
    for (unsigned i = 0; i < n; i++) {
        const Elf64_Phdr *p = &ph[i];
        switch (p->p_type) {
        case PT_LOAD:
            r = check_load(p, task_size, name, out, e);
            if (r)
                return r;
            if (!out->phdr && range_within(eh->e_phoff - p->p_offset, n * sizeof(*p), p->p_filesz))
                out->phdr = eh->e_phoff - p->p_offset + p->p_vaddr;
            break;
        case PT_INTERP:
            if (out->interp_len)
                break; /* the first one counts */
            if (p->p_filesz < 2 || p->p_filesz > ELF_INTERP_MAX || p->p_offset > INT64_MAX - p->p_filesz)
                return err_set(e, ENOEXEC, "%s names an interpreter of %lu bytes, which cannot be", name,
                               (unsigned long)p->p_filesz);
            out->interp_off = p->p_offset;
            out->interp_len = p->p_filesz;
            break;
        case PT_GNU_STACK: out->stack_exec = p->p_flags & PF_X; break;
        default: break;
        }
    }
    if (out->hi == 0)
        return err_set(e, ENOEXEC, "%s has no segment to load", name);
    return 0;
}
