/*
 * Kernels for the virt board: arm64 Image, ELF, flat binaries.
 *
 * arm64 Image: Linux, Documentation/arch/arm64/booting.rst. The header's fields are hints about memory only; what is
 * copied is the file's own bytes. Because the header's image_size includes zeroed memory, it cannot tell a truncated
 * file; the PE section table that EFI kernels carry can, so that is consulted where there is one.
 */
#include <errno.h>
#include <inttypes.h>

#include "loader/kernel.h"
#include "loader/unpack.h"
#include "vmm/base/util.h"

#define IMAGE_TEXT_OFFSET 8
#define IMAGE_SIZE 16
#define IMAGE_FLAGS 24
#define IMAGE_FLAG_BE BIT64(0)
#define IMAGE_FLAG_PAGE(f) bits64(f, 2, 1)
/* Before Linux 3.17 image_size was zero and text_offset not reliable. */
#define IMAGE_OLD_TEXT_OFFSET UINT64_C(0x80000)
#define IMAGE_BASE_ALIGN MIB(2)

#define PE_COFF_SIZE 24
#define PE_SECTION_SIZE 40

/* ---- arm64 Image ---- */

struct image_room {
    struct mem *mem;
    uint64_t base, size;
};

/* Does the file hold all that its PE sections claim? */
static int image_check_sections(const struct kernel_src *s, struct err *e)
{
    uint64_t pe = kernel_find_pe(s), table, end = 0;
    unsigned n;

    if (!pe)
        return 0;
    n = le16_get(s->data + pe + 6);
    table = pe + PE_COFF_SIZE + le16_get(s->data + pe + 20);
    if (!range_within(table, (uint64_t)n * PE_SECTION_SIZE, s->size))
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is truncated or damaged: it ends inside its PE header", s->name);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *sec = s->data + table + (uint64_t)i * PE_SECTION_SIZE;
        end = MAX(end, (uint64_t)le32_get(sec + 16) + le32_get(sec + 20));
    }
    if (end > s->size)
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is truncated: its header speaks of %" PRIu64 " bytes, there are %" PRIu64, s->name,
                              end, s->size);
    return 0;
}

static int image_check_flags(const struct kernel_src *s, uint64_t flags, struct err *e)
{
    if (flags & IMAGE_FLAG_BE)
        return err_set(e, ENOEXEC, "%s is a big-endian arm64 kernel; only little-endian ones run here", s->name);
    /* 0 says nothing (old kernels), 1 is 4K. */
    if (IMAGE_FLAG_PAGE(flags) >= 2)
        return err_set(e, ENOEXEC, "%s is an arm64 kernel built for %s pages; the CPU offers 4K pages only", s->name,
                       IMAGE_FLAG_PAGE(flags) == 2 ? "16K" : "64K");
    return 0;
}

static int image_load(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                      uint64_t ram_size, struct err *e)
{
    uint64_t text_offset = le64_get(s->data + IMAGE_TEXT_OFFSET);
    uint64_t image_size = le64_get(s->data + IMAGE_SIZE);
    uint64_t flags = le64_get(s->data + IMAGE_FLAGS);
    int r;

    if (image_size == 0) {
        text_offset = IMAGE_OLD_TEXT_OFFSET;
        flags = 0;
    }
    r = image_check_flags(s, flags, e);
    if (r < 0)
        return r;
    r = image_check_sections(s, e);
    if (r < 0)
        return r;
    if (text_offset >= IMAGE_BASE_ALIGN)
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is damaged: its text offset 0x%" PRIx64 " is 2 MiB or more", s->name, text_offset);
    image_size = MAX(image_size, s->size);
    if (!range_within(text_offset, image_size, ram_size))
        return err_set_status(e, ERR_STATUS_MEMORY, EFBIG,
                              "%s needs %" PRIu64 " MiB of RAM for itself, and the guest has %" PRIu64, s->name,
                              (image_size >> 20) + 1, ram_size >> 20);
    if (mem_read_ptr(m, GPA(base + text_offset), s->size) == s->data) {
        mem_write_end(m, GPA(base + text_offset), s->size);
    } else {
        r = mem_write(m, GPA(base + text_offset), s->data, s->size);
        if (r < 0)
            return err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, s->name, base + text_offset);
    }
    *out = (struct loader_kernel){
        .format = LOADER_ARM64_IMAGE,
        .entry = base + text_offset,
        .low = base + text_offset,
        .high = base + text_offset + image_size,
        .file_size = s->unpacked ? 0 : s->size,
    };
    return 0;
}

/* Where an Image goes that begins so; NULL where it is none, or anything is odd: image_load says what. */
static uint8_t *image_place(void *opaque, const uint8_t *head, uint64_t size)
{
    const struct image_room *room = opaque;
    const struct kernel_src s = {.data = head, .size = FILE_HEAD};
    uint64_t text_offset = le64_get(head + IMAGE_TEXT_OFFSET), image_size = le64_get(head + IMAGE_SIZE);
    struct loader_kind kind;

    kernel_identify(&kind, &s);
    if (kind.format != LOADER_ARM64_IMAGE || unpack_probe(head, FILE_HEAD) != UNPACK_NONE || image_size == 0 ||
        text_offset >= IMAGE_BASE_ALIGN || !range_within(text_offset, MAX(image_size, size), room->size))
        return NULL;
    return mem_write_begin(room->mem, GPA(room->base + text_offset), size);
}

/* ---- ELF ---- */

static int image_load_elf(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                          uint64_t ram_size, struct err *e)
{
    struct elf_file f;
    int r = elf_read(&f, s, base, ram_size, " (for a vmlinux, use arch/arm64/boot/Image instead)", e);

    if (r < 0)
        return r;
    *out = (struct loader_kernel){.format = LOADER_ELF, .low = f.low, .high = f.high};
    /* The entry point is a virtual address. */
    if (!elf_translate(&f, f.h.e_entry, &out->entry) || out->entry % 4 != 0)
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is damaged: its entry point 0x%" PRIx64 " is in none of its ELF segments", s->name,
                              (uint64_t)f.h.e_entry);
    return elf_write(&f, s, m, e);
}

/* ---- flat binary ---- */

static int flat_load(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                     uint64_t ram_size, struct err *e)
{
    int r;

    if (!range_within(LOADER_FLAT_OFFSET, s->size, ram_size))
        return err_set_status(e, ERR_STATUS_MEMORY, EFBIG, "%s is larger than the guest's RAM", s->name);
    base += LOADER_FLAT_OFFSET;
    r = mem_write(m, GPA(base), s->data, s->size);
    if (r < 0)
        return err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, s->name, base);
    *out = (struct loader_kernel){
        .format = LOADER_FLAT, .entry = base, .low = base, .high = base + s->size, .file_size = s->size};
    return 0;
}

/* ---- either ---- */

static int kernel_place(struct loader_kernel *out, struct mem *m, const struct kernel_src *s, uint64_t base,
                        uint64_t ram_size, struct err *e)
{
    struct loader_kind kind;

    kernel_identify(&kind, s);
    if (kind.arch == LOADER_ARCH_ARM64 && kind.format == LOADER_ARM64_IMAGE)
        return image_load(out, m, s, base, ram_size, e);
    if (kind.arch == LOADER_ARCH_ARM64 && kind.format == LOADER_ELF)
        return image_load_elf(out, m, s, base, ram_size, e);
    return kernel_refuse(s, &kind, LOADER_ARCH_ARM64, e);
}

int loader_kernel_load(struct loader_kernel *out, struct mem *m, const char *path, gpa_t ram_base, uint64_t ram_size,
                       bool flat, struct err *e)
{
    struct loader_file f;
    struct kernel_src src;
    struct image_room room = {m, ram_base.v, ram_size};
    int r = !flat && file_open_in_place(&f, path, image_place, &room) ? 0 : kernel_open(&f, path, ram_size, !flat, e);

    if (r < 0)
        return r;
    src = (struct kernel_src){f.data, f.size, path, f.unpacked};
    r = flat ? flat_load(out, m, &src, ram_base.v, ram_size, e) : kernel_place(out, m, &src, ram_base.v, ram_size, e);
    loader_file_close(&f);
    return r;
}
