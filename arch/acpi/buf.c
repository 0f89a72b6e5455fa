/* Bounded writing, checksums, table headers. */
#include "arch/acpi/buf.h"

#include "vmm/base/util.h"

#define HEADER_LENGTH 4
#define HEADER_CHECKSUM 9

/* Room for `len` bytes, or NULL. */
static uint8_t *acpi_reserve(struct acpi_buf *b, uint64_t len)
{
    uint8_t *p;

    if (b->overflow || !range_within(b->used, len, b->size)) {
        b->overflow = true;
        return NULL;
    }
    p = b->data + b->used;
    b->used += len;
    return p;
}

void acpi_put(struct acpi_buf *b, const void *src, uint64_t len)
{
    uint8_t *p = acpi_reserve(b, len);

    if (p && len)
        memcpy(p, src, len);
}

void acpi_put_zeroes(struct acpi_buf *b, uint64_t len)
{
    uint8_t *p = acpi_reserve(b, len);

    if (p)
        memset(p, 0, len);
}

void acpi_put_int(struct acpi_buf *b, uint64_t v, unsigned bytes)
{
    uint8_t le[8];

    le64_put(le, v);
    acpi_put(b, le, bytes);
}

void acpi_align(struct acpi_buf *b, uint64_t align)
{
    acpi_put_zeroes(b, align_up(b->used, align) - b->used);
}

void acpi_patch_int(struct acpi_buf *b, uint64_t at, uint64_t v, unsigned bytes)
{
    uint8_t le[8];

    le64_put(le, v);
    if (!b->overflow && range_within(at, bytes, b->used))
        memcpy(b->data + at, le, bytes);
}

void acpi_insert(struct acpi_buf *b, uint64_t at, const void *p, uint64_t len)
{
    uint64_t moved = b->used - at;

    if (!acpi_reserve(b, len))
        return;
    memmove(b->data + at + len, b->data + at, moved);
    memcpy(b->data + at, p, len);
}

void acpi_checksum(struct acpi_buf *b, uint64_t from, uint64_t len, uint64_t at)
{
    uint8_t sum = 0;

    if (b->overflow || !range_within(from, len, b->used))
        return;
    acpi_patch_int(b, at, 0, 1);
    for (uint64_t i = 0; i < len; i++)
        sum += b->data[from + i];
    acpi_patch_int(b, at, (uint8_t)-sum, 1);
}

uint64_t acpi_table_begin(struct acpi_buf *b, const char signature[4], uint8_t revision)
{
    uint64_t start;

    acpi_align(b, 16);
    start = b->used;
    acpi_put(b, signature, 4);
    acpi_put_zeroes(b, 4); /* length */
    acpi_put_int(b, revision, 1);
    acpi_put_zeroes(b, 1); /* checksum */
    acpi_put(b, "PIPIT ", 6);
    acpi_put(b, "PIPITVMM", 8);
    acpi_put_int(b, 1, 4);
    acpi_put(b, "PIPT", 4);
    acpi_put_int(b, 1, 4);
    return start;
}

void acpi_table_end(struct acpi_buf *b, uint64_t start)
{
    acpi_patch_int(b, start + HEADER_LENGTH, b->used - start, 4);
    acpi_checksum(b, start, b->used - start, start + HEADER_CHECKSUM);
}
