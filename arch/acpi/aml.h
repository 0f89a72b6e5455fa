/*
 * ACPI Machine Language (ACPI 6.3, chapter 20), as much as a list of devices needs. Private to arch/acpi/ (and its
 * tests).
 */
#ifndef PIPIT_ARCH_ACPI_AML_H
#define PIPIT_ARCH_ACPI_AML_H

#include "arch/acpi/buf.h"

/* What has a package length opens with a begin, which returns what its aml_end takes. */
uint64_t aml_begin_scope(struct acpi_buf *b, const char name[4]);
uint64_t aml_begin_device(struct acpi_buf *b, const char name[4]);
uint64_t aml_begin_package(struct acpi_buf *b, uint8_t elements);
void aml_end(struct acpi_buf *b, uint64_t begun);
/* A serialized method of one argument. */
uint64_t aml_begin_method(struct acpi_buf *b, const char name[4]);
/* The same for a ResourceTemplate: resource descriptors go between. */
uint64_t aml_begin_resources(struct acpi_buf *b);
void aml_end_resources(struct acpi_buf *b, uint64_t begun);

/* Name (name, ...): the object follows. */
void aml_name(struct acpi_buf *b, const char name[4]);
void aml_int(struct acpi_buf *b, uint64_t v);
void aml_string(struct acpi_buf *b, const char *s);
/* Notify (name, v). */
void aml_notify(struct acpi_buf *b, const char name[4], uint8_t v);

/* Resource descriptors (6.4). */
void aml_io(struct acpi_buf *b, uint16_t base, uint8_t len);
void aml_memory(struct acpi_buf *b, uint64_t base, uint64_t len); /* read-write, fixed; not cacheable */
void aml_interrupt(struct acpi_buf *b, uint32_t gsi, bool level); /* active high, exclusive */

#endif
