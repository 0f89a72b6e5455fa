/* The DSDT: the namespace. Private to arch/acpi/. */
#ifndef PIPIT_ARCH_ACPI_DSDT_H
#define PIPIT_ARCH_ACPI_DSDT_H

#include "arch/acpi/acpi.h"
#include "arch/acpi/buf.h"

/* Returns where the table starts. */
uint64_t acpi_put_dsdt(struct acpi_buf *b, const struct acpi_config *c);

#endif
