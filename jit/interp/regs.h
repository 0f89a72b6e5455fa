/*
 * What all rows of the interpreter share: register access with the two meanings of number 31, flags, and the address of
 * loads and stores.
 */
#ifndef PIPIT_JIT_INTERP_REGS_H
#define PIPIT_JIT_INTERP_REGS_H

#include "jit/a64/decode.h"
#include "jit/interp/interp.h"

#define A64_EXEC(row) enum a64_next a64_exec_##row(struct arm64_cpu *c, uint32_t insn)

/* Register r as a source; 31 is the zero register. */
static inline uint64_t a64_x(const struct arm64_cpu *c, unsigned r)
{
    return r == 31 ? 0 : c->x[r];
}

static inline uint32_t a64_w(const struct arm64_cpu *c, unsigned r)
{
    return (uint32_t)a64_x(c, r);
}

/* Writes register r; 31 discards. */
static inline void a64_set_x(struct arm64_cpu *c, unsigned r, uint64_t v)
{
    if (r != 31)
        c->x[r] = v;
}

static inline void a64_set_w(struct arm64_cpu *c, unsigned r, uint32_t v)
{
    a64_set_x(c, r, v);
}

/* W or X by the sf bit. Here 31 is the zero register; where it means SP, c->x[r] itself is the place. */
static inline bool a64_sf(uint32_t insn)
{
    return insn >> 31;
}

static inline void a64_set_r(struct arm64_cpu *c, uint32_t insn, unsigned r, uint64_t v)
{
    a64_set_x(c, r, a64_sf(insn) ? v : (uint32_t)v);
}

static inline void a64_set_flags(struct arm64_cpu *c, bool n, bool z, bool cf, bool v)
{
    c->flags = (uint16_t)((n ? ARM64_FLAG_N : 0) | (z ? ARM64_FLAG_Z : 0) | (cf ? 0 : ARM64_FLAG_NOTC) |
                          (v ? ARM64_FLAG_V : 0));
}

/* ConditionHolds (Arm ARM J1). */
static inline bool a64_cond(const struct arm64_cpu *c, unsigned cond)
{
    bool n = c->flags & ARM64_FLAG_N, z = c->flags & ARM64_FLAG_Z, cf = !(c->flags & ARM64_FLAG_NOTC),
         v = c->flags & ARM64_FLAG_V, r;

    switch (cond >> 1) {
    case 0: r = z; break;
    case 1: r = cf; break;
    case 2: r = n; break;
    case 3: r = v; break;
    case 4: r = cf && !z; break;
    case 5: r = n == v; break;
    case 6: r = n == v && !z; break;
    default: return true;
    }
    return r != (cond & 1);
}

/* ExtendReg: `option` as in the encoding, then shifted left by 0..4. */
static inline uint64_t a64_extend(uint64_t v, unsigned option, unsigned shift)
{
    switch (option) {
    case 0: v = (uint8_t)v; break;
    case 1: v = (uint16_t)v; break;
    case 2: v = (uint32_t)v; break;
    case 4: v = (uint64_t)sext64(v, 8); break;
    case 5: v = (uint64_t)sext64(v, 16); break;
    case 6: v = (uint64_t)sext64(v, 32); break;
    default: break;
    }
    return v << shift;
}

/* Signed imm9 at bit 12 (unscaled, post- and pre-indexed) and imm7 at bit 15 (pairs, unscaled here). */
static inline int64_t a64_imm9(uint32_t insn)
{
    return sext64(insn >> 12, 9);
}

static inline int64_t a64_imm7(uint32_t insn)
{
    return sext64(insn >> 15, 7);
}

/* The address of a register-offset access of 1 << scale bytes, relative to the base. */
static inline uint64_t a64_reg_offset(const struct arm64_cpu *c, uint32_t insn, unsigned scale)
{
    return a64_extend(a64_x(c, a64_rm(insn)), insn >> 13 & 7, insn & BIT32(12) ? scale : 0);
}

/*
 * The base register of a load or store: *va is its value. With SP as base, checks its alignment where SCTLR_EL1.SA or
 * SA0 asks for that (Arm ARM D1.8.2); returns A64_TRAPPED after raising the fault.
 */
int a64_base(struct arm64_cpu *c, uint32_t insn, uint64_t *va);

/*
 * A64_MEM_ALIGNED, or 0 where FEAT_LSE2 allows an atomic, exclusive or ordered access at va although it is not
 * naturally aligned: all of it within one 16-byte quantity.
 */
unsigned a64_ordered_align(const struct arm64_cpu *c, uint64_t va, unsigned size);

#endif
