/*
 * Between the parts of the loader: the bytes of a kernel, what they are, ELF. Private to loader/.
 */
#ifndef PIPIT_LOADER_KERNEL_H
#define PIPIT_LOADER_KERNEL_H

#include <elf.h>

#include "loader/loader.h"

/* Opens a path for reading, or a copy of the descriptor that was provided under that name. */
int file_open_path(const char *path, int flags);

/* The bytes being looked at, and what messages call them. */
struct kernel_src {
    const uint8_t *data;
    uint64_t size;
    const char *name;
    bool unpacked; /* as loader_file has it */
};

/* Reads a regular file to where `place` wants one of that size that begins so; false: it wants none, or the file could
 * not be read. That saves the largest file of a start a second place in memory. */
#define FILE_HEAD 64
typedef uint8_t *file_place_fn(void *opaque, const uint8_t *head, uint64_t size);
bool file_open_in_place(struct loader_file *f, const char *path, file_place_fn *place, void *opaque);

/* Reads the file at `path` and, where asked, peels compressed layers off it; what comes out is no larger than ram_size.
 * The bytes are the caller's, to be given to loader_file_close. */
int kernel_open(struct loader_file *f, const char *path, uint64_t ram_size, bool peel, struct err *e);

bool kernel_has(const struct kernel_src *s, uint64_t off, const void *bytes, uint64_t len);
/* Offset of the COFF header's "PE\0\0", or 0 where this is no PE file. */
uint64_t kernel_find_pe(const struct kernel_src *s);

void kernel_identify(struct loader_kind *out, const struct kernel_src *s);
/* Says what `s` is when it is no kernel for `want`; -ENOEXEC. */
int kernel_refuse(const struct kernel_src *s, const struct loader_kind *kind, enum loader_arch want, struct err *e);

/* Places the file in the highest page-aligned room of one of the windows, the first that has enough. */
struct initrd_window {
    uint64_t low, high; /* guest-physical, [low, high) */
};
int initrd_load(struct mem *m, const char *path, const struct initrd_window *w, unsigned n, uint64_t *addr,
                uint64_t *size, struct err *e);

#define ELF_MAX_PHDRS 128

/* An ELF64 file whose segments fit. */
struct elf_file {
    Elf64_Ehdr h;
    unsigned n; /* segments that occupy memory */
    Elf64_Phdr load[ELF_MAX_PHDRS];
    uint64_t low, high; /* guest-physical range that they span, [low, high) */
};

/* Checks headers and segments against the file and against RAM at [base, base + ram_size). The file was identified as
 * ELF. `hint` goes behind the sentence that says that it lies elsewhere. */
int elf_read(struct elf_file *f, const struct kernel_src *s, uint64_t base, uint64_t ram_size, const char *hint,
             struct err *e);
/* Copies the segments and clears their bss. */
int elf_write(const struct elf_file *f, const struct kernel_src *s, struct mem *m, struct err *e);
/* Where a virtual address lies, by the segments. */
bool elf_translate(const struct elf_file *f, uint64_t va, uint64_t *pa);
/* Is the address inside a segment? */
bool elf_holds(const struct elf_file *f, uint64_t pa);
/* The descriptor of the first note of that name and type; NULL where there is none. */
const uint8_t *elf_find_note(const struct elf_file *f, const struct kernel_src *s, const char *name, uint32_t type,
                             uint32_t *size);

/* Loads a bzImage below ram_end. Sets all of *out but the initrd's limit, which is the header's for RAM below 4 GiB. */
int bzimage_load(struct loader_x86 *out, struct mem *m, const struct kernel_src *s, uint64_t ram_end, struct err *e);

#endif
