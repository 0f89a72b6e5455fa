/*
 * The writer of ACPI tables: bytes into a buffer of fixed size. What does not fit is not written and remembered, so
 * that tables read as lists of fields and the end asks once. Private to arch/acpi/ (and its tests).
 */
#ifndef PIPIT_ARCH_ACPI_BUF_H
#define PIPIT_ARCH_ACPI_BUF_H

#include <stdbool.h>
#include <stdint.h>

struct acpi_buf {
    uint8_t *data;
    uint64_t size, used;
    bool overflow;
};

void acpi_put(struct acpi_buf *b, const void *p, uint64_t len);
void acpi_put_zeroes(struct acpi_buf *b, uint64_t len);
/* Little-endian numbers of 1 to 8 bytes. */
void acpi_put_int(struct acpi_buf *b, uint64_t v, unsigned bytes);
void acpi_align(struct acpi_buf *b, uint64_t align);
/* Overwrites what was written at `at`; ignored where that is not inside. */
void acpi_patch_int(struct acpi_buf *b, uint64_t at, uint64_t v, unsigned bytes);
/* Moves what was written from `at` on up, and puts `len` bytes before it. */
void acpi_insert(struct acpi_buf *b, uint64_t at, const void *p, uint64_t len);
/* Sets the byte at `at` so that the sum of [from, from + len) is zero. */
void acpi_checksum(struct acpi_buf *b, uint64_t from, uint64_t len, uint64_t at);

/* A table: its header (5.2.6), and length and checksum at the end. begin returns where it starts. */
#define ACPI_HEADER_SIZE 36
uint64_t acpi_table_begin(struct acpi_buf *b, const char signature[4], uint8_t revision);
void acpi_table_end(struct acpi_buf *b, uint64_t start);

#endif
