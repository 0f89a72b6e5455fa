/*
 * The registers of an AArch64 CPU as GDB numbers them, and the target description that says so (GDB manual, "Target
 * Descriptions"): features org.gnu.gdb.aarch64.core, .fpu and .tls, and one of our own for system registers, which are
 * only read.
 */
#ifndef PIPIT_GDBSTUB_A64_H
#define PIPIT_GDBSTUB_A64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/arm64/cpu.h"

enum a64_gdb_reg {
    A64_GDB_X0 = 0,
    A64_GDB_X29 = 29,
    A64_GDB_SP = 31,
    A64_GDB_PC,
    A64_GDB_CPSR,
    A64_GDB_V0,
    A64_GDB_FPSR = A64_GDB_V0 + 32,
    A64_GDB_FPCR,
    A64_GDB_TPIDR,
    A64_GDB_SYSTEM, /* the first of the system registers; those before make up the packets g and G */
};
#define A64_GDB_REG_MAX 16 /* bytes of the largest */

struct a64_gdb_sysreg {
    const char *name;
    uint32_t enc; /* as in jit/ops.h */
};

struct a64_gdb {
    uint32_t cpsr_write, fpcr_write, fpsr_write; /* the bits of each that may be written */
    const struct a64_gdb_sysreg *system;
    unsigned nsystem;
    /* The value of one; false: it cannot be read. */
    bool (*read_system)(struct arm64_cpu *c, uint32_t enc, uint64_t *value);
};

/* Bytes of register n; 0: there is none. */
size_t a64_gdb_size(const struct a64_gdb *g, unsigned n);
/* c->fpsr must be up to date before, and is to be looked at again after a write, as c->fpcr. Little-endian. false:
 * there is none, or it cannot be read or written. */
bool a64_gdb_read(const struct a64_gdb *g, struct arm64_cpu *c, unsigned n, uint8_t value[A64_GDB_REG_MAX]);
bool a64_gdb_write(const struct a64_gdb *g, struct arm64_cpu *c, unsigned n, const uint8_t value[A64_GDB_REG_MAX]);

/* Writes target.xml; returns its length, or 0 where `size` is too small. */
#define A64_GDB_XML_MAX KIB(16)
size_t a64_gdb_xml(const struct a64_gdb *g, char *text, size_t size);

#endif
