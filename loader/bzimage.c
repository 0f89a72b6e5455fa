/*
 * bzImage: Linux for x86 by its 64-bit boot protocol (Documentation/arch/x86/boot.rst). The file is a setup part of
 * real-mode code, which nobody runs here, with the setup header in it, and then the kernel's own decompressor with the
 * compressed kernel inside; that part is placed where the kernel prefers to run, and entered 0x200 bytes in. From there
 * it needs init_size bytes.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/x86/boot.h"
#include "loader/kernel.h"
#include "vmm/base/util.h"

#define SETUP_HEADER 0x1f1 /* in the file as in boot_params */
#define SETUP_SECTS 0x1f1
#define SETUP_SYSSIZE 0x1f4
#define SETUP_BOOT_FLAG 0x1fe
#define SETUP_JUMP_LENGTH 0x201 /* the header ends that far behind the next byte */
#define SETUP_VERSION 0x206
#define SETUP_LOADFLAGS 0x211
#define SETUP_INITRD_ADDR_MAX 0x22c
#define SETUP_KERNEL_ALIGNMENT 0x230
#define SETUP_RELOCATABLE 0x234
#define SETUP_XLOADFLAGS 0x236
#define SETUP_CMDLINE_SIZE 0x238
#define SETUP_PAYLOAD_OFFSET 0x248
#define SETUP_PAYLOAD_LENGTH 0x24c
#define SETUP_PREF_ADDRESS 0x258
#define SETUP_INIT_SIZE 0x260
#define SETUP_HEADER_END_MIN 0x264 /* what follows belongs to later versions */

#define SETUP_BOOT_FLAG_MAGIC 0xaa55
#define SETUP_VERSION_MIN 0x20c /* the first with xloadflags: Linux 3.8 */
#define SETUP_SECTS_DEFAULT 4   /* what 0 means */
#define SETUP_LOADED_HIGH 0x01
#define SETUP_XLF_KERNEL_64 0x01
#define SETUP_XLF_ABOVE_4G 0x02

#define BZIMAGE_SECTOR 512
#define BZIMAGE_PARAGRAPH 16
#define BZIMAGE_ENTRY_64 0x200

/* The header's fields that are used, copied once. */
struct bzimage {
    uint64_t kernel_off, kernel_size; /* in the file */
    uint64_t pref_address, init_size, alignment;
    bool relocatable, above_4g;
    uint32_t initrd_addr_max, cmdline_size;
};

static int bzimage_damaged(const struct kernel_src *s, const char *what, struct err *e)
{
    return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is damaged: its setup header %s", s->name, what);
}

/* Reads the header; the file was identified by its magic, and holds at least that. */
static int bzimage_read(struct bzimage *b, const struct kernel_src *s, struct err *e)
{
    const uint8_t *d = s->data;
    uint64_t payload_off, payload_size;
    uint16_t version;

    if (s->size < SETUP_HEADER_END_MIN)
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL, "%s is truncated: it ends inside its setup header",
                              s->name);
    version = le16_get(d + SETUP_VERSION);
    if (le16_get(d + SETUP_BOOT_FLAG) != SETUP_BOOT_FLAG_MAGIC)
        return bzimage_damaged(s, "has no boot flag", e);
    if (version < SETUP_VERSION_MIN || !(d[SETUP_LOADFLAGS] & SETUP_LOADED_HIGH))
        return err_set(e, ENOEXEC, "%s is too old: it has boot protocol %u.%02u, and 2.12 (Linux 3.8) is needed",
                       s->name, version >> 8, version & 0xff);
    if (SETUP_JUMP_LENGTH + 1 + d[SETUP_JUMP_LENGTH] < SETUP_HEADER_END_MIN)
        return bzimage_damaged(s, "is too short", e);
    b->kernel_off = ((d[SETUP_SECTS] ? d[SETUP_SECTS] : SETUP_SECTS_DEFAULT) + 1) * BZIMAGE_SECTOR;
    b->kernel_size = (uint64_t)le32_get(d + SETUP_SYSSIZE) * BZIMAGE_PARAGRAPH;
    if (!range_within(b->kernel_off, b->kernel_size, s->size))
        return err_set_status(e, ERR_STATUS_KERNEL_DAMAGED, EINVAL,
                              "%s is truncated: its header speaks of %" PRIu64 " bytes, there are %" PRIu64, s->name,
                              b->kernel_off + b->kernel_size, s->size);
    payload_off = le32_get(d + SETUP_PAYLOAD_OFFSET);
    payload_size = le32_get(d + SETUP_PAYLOAD_LENGTH);
    if (b->kernel_size <= BZIMAGE_ENTRY_64 || !range_within(payload_off, payload_size, b->kernel_size))
        return bzimage_damaged(s, "tells of a payload outside of it", e);
    b->pref_address = le64_get(d + SETUP_PREF_ADDRESS);
    b->init_size = MAX((uint64_t)le32_get(d + SETUP_INIT_SIZE), b->kernel_size);
    b->alignment = le32_get(d + SETUP_KERNEL_ALIGNMENT);
    b->relocatable = d[SETUP_RELOCATABLE];
    b->above_4g = le16_get(d + SETUP_XLOADFLAGS) & SETUP_XLF_ABOVE_4G;
    b->initrd_addr_max = le32_get(d + SETUP_INITRD_ADDR_MAX);
    b->cmdline_size = le32_get(d + SETUP_CMDLINE_SIZE);
    if (b->relocatable && (!is_pow2(b->alignment) || b->alignment > GIB(1)))
        return bzimage_damaged(s, "asks for an alignment that is none", e);
    return 0;
}

/* Where the kernel goes. A kernel loaded below the address that it prefers only moves itself there, so there is no use
 * in trying lower ones. */
static int bzimage_place(const struct bzimage *b, const struct kernel_src *s, uint64_t ram_end, uint64_t *at,
                         struct err *e)
{
    *at = b->pref_address;
    if (*at < X86_BOOT_KERNEL_MIN) {
        if (!b->relocatable)
            return bzimage_damaged(s, "wants the kernel in the first MiB", e);
        *at = align_up(X86_BOOT_KERNEL_MIN, b->alignment);
    }
    if (!range_within(*at, b->init_size, ram_end))
        return err_set_status(e, ERR_STATUS_MEMORY, EFBIG,
                              "%s needs RAM from %" PRIu64 " to %" PRIu64 " MiB to start, and the guest has %" PRIu64
                              " MiB below 4 GiB",
                              s->name, *at >> 20, (*at >> 20) + (b->init_size >> 20) + 1, ram_end >> 20);
    return 0;
}

int bzimage_load(struct loader_x86 *out, struct mem *m, const struct kernel_src *s, uint64_t ram_end, struct err *e)
{
    struct bzimage b = {0};
    uint64_t at, header_end;
    int r = bzimage_read(&b, s, e);

    if (r < 0)
        return r;
    r = bzimage_place(&b, s, ram_end, &at, e);
    if (r < 0)
        return r;
    r = mem_write(m, GPA(at), s->data + b.kernel_off, b.kernel_size);
    if (r < 0)
        return err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, s->name, at);
    *out = (struct loader_x86){
        .format = LOADER_BZIMAGE,
        .entry = {.pc = at + BZIMAGE_ENTRY_64, .arg = X86_BOOT_ZERO_PAGE, .mode = VCPU_MODE_X86_LONG},
        .low = at,
        .high = at + b.init_size,
        .image_size = b.kernel_size,
        .initrd_end = b.above_4g ? UINT64_MAX : (uint64_t)b.initrd_addr_max + 1,
        .cmdline_max = MIN(b.cmdline_size, (uint32_t)X86_BOOT_CMDLINE_SIZE - 1),
    };
    header_end = MIN((uint64_t)SETUP_JUMP_LENGTH + 1 + s->data[SETUP_JUMP_LENGTH],
                     (uint64_t)SETUP_HEADER + LOADER_X86_HEADER_SIZE);
    memcpy(out->setup_header, s->data + SETUP_HEADER, MIN(header_end, s->size) - SETUP_HEADER);
    return 0;
}
