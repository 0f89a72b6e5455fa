/*
 * What an ELF file for arm64 says about how it is to be loaded, checked: files are hostile. Pure functions on bytes;
 * sentences begin with `name`.
 */
#ifndef PIPIT_USER_ELF_H
#define PIPIT_USER_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

/* The kernel's own limits (binfmt_elf.c): program headers fit 64 KiB, the interpreter's name a path. */
#define ELF_HEADERS_MAX (65536 / sizeof(Elf64_Phdr))
#define ELF_INTERP_MAX 4096

struct elf_layout {
    bool fixed;                      /* ET_EXEC: addresses are absolute */
    uint64_t lo, hi;                 /* all segments, page aligned, before any bias */
    uint64_t align;                  /* of the bias: the largest p_align that is a power of two, at least a page */
    uint64_t entry;                  /* before bias */
    uint64_t phdr;                   /* where the program headers are in memory, before bias; 0: in no segment */
    uint64_t interp_off, interp_len; /* PT_INTERP: the name with its NUL; len 0: none */
    bool stack_exec;                 /* PT_GNU_STACK asks for an executable stack */
};

/* The ELF header: 0, -ENOEXEC with a sentence. */
int elf_check_header(const Elf64_Ehdr *eh, size_t len, const char *name, struct err *e);
/* All of them, `n` as the header says. 0, -ENOEXEC or -EINVAL with a sentence. */
int elf_check_segments(const Elf64_Ehdr *eh, const Elf64_Phdr *ph, unsigned n, uint64_t task_size, const char *name,
                       struct elf_layout *out, struct err *e);

/* "x86-64" and the like, for a machine number. */
const char *elf_machine_name(unsigned machine);

#endif
