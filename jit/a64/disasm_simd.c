/*
 * Operands and aliases of FP and SIMD instructions that templates cannot say by themselves. Most rows have an element
 * size (log2 of bytes), found by element_size(); from it and Q follow the arrangements of the operands.
 *
 *   vX  vector of the row's lanes     WX  of lanes twice as wide, 128 bits     PX  of lanes twice as wide
 *   BX  vector of bytes               sX  scalar of the row's size              SX  scalar twice as wide
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jit/a64/disasm.h"
#include "jit/a64/simd_imm.h"
#include "vmm/base/util.h"

static unsigned q(const struct a64_dis *d)
{
    return d->insn >> 30 & 1;
}

/* Shifts say it in immh, halves in the row's suffix, others in field z: both bits, or one for single and double. */
static unsigned element_size(const struct a64_dis *d)
{
    const char *suffix = strrchr(d->row->name, '_');
    unsigned width, z = (unsigned)a64_dis_field(d, "z", 1, &width);
    if (suffix && suffix[1] == 'i')
        return a64_simd_shift_size(d->insn);
    if (suffix && suffix[strlen(suffix) - 1] == 'h')
        return 1;
    return width == 1 ? 2 + z : z;
}

static void put_vector(struct a64_dis *d, unsigned reg, unsigned size, bool full)
{
    a64_dis_put(d, "v%u.%u%c", reg & 31, (full ? 16u : 8u) >> size, "bhsdq"[size]);
}

static void put_scalar(struct a64_dis *d, unsigned reg, unsigned size)
{
    a64_dis_put(d, "%c%u", "bhsdq"[size], reg & 31);
}

#define OPERAND(name, text)                                                                                            \
    static void put_##name(struct a64_dis *d)                                                                          \
    {                                                                                                                  \
        text;                                                                                                          \
    }

OPERAND(vd, put_vector(d, a64_rd(d->insn), element_size(d), q(d)))
OPERAND(vn, put_vector(d, a64_rn(d->insn), element_size(d), q(d)))
OPERAND(vm, put_vector(d, a64_rm(d->insn), element_size(d), q(d)))
OPERAND(Wd, put_vector(d, a64_rd(d->insn), element_size(d) + 1, true))
OPERAND(Wn, put_vector(d, a64_rn(d->insn), element_size(d) + 1, true))
OPERAND(Wm, put_vector(d, a64_rm(d->insn), element_size(d) + 1, true))
OPERAND(Pd, put_vector(d, a64_rd(d->insn), element_size(d) + 1, q(d)))
OPERAND(Bd, put_vector(d, a64_rd(d->insn), 0, q(d)))
OPERAND(Bn, put_vector(d, a64_rn(d->insn), 0, q(d)))
OPERAND(Bm, put_vector(d, a64_rm(d->insn), 0, q(d)))
OPERAND(sd, put_scalar(d, a64_rd(d->insn), element_size(d)))
OPERAND(sn, put_scalar(d, a64_rn(d->insn), element_size(d)))
OPERAND(sm, put_scalar(d, a64_rm(d->insn), element_size(d)))
OPERAND(sa, put_scalar(d, a64_ra(d->insn), element_size(d)))
OPERAND(Sd, put_scalar(d, a64_rd(d->insn), element_size(d) + 1))
OPERAND(Sn, put_scalar(d, a64_rn(d->insn), element_size(d) + 1))

/* FCVTL and FCVTN: the narrow side's lanes are half of field z's. */
OPERAND(narrow_d, put_vector(d, a64_rd(d->insn), element_size(d) - 1, q(d)))
OPERAND(narrow_n, put_vector(d, a64_rn(d->insn), element_size(d) - 1, q(d)))
OPERAND(full_d, put_vector(d, a64_rd(d->insn), element_size(d), true))
OPERAND(full_n, put_vector(d, a64_rn(d->insn), element_size(d), true))

/* FMLAL: single lanes, and as many halves. */
OPERAND(half_n, a64_dis_put(d, "v%u.%uh", a64_rn(d->insn), q(d) ? 4 : 2))
OPERAND(half_m, a64_dis_put(d, "v%u.%uh", a64_rm(d->insn), q(d) ? 4 : 2))

/* General registers of conversions, by field x. */
OPERAND(gd, a64_dis_gpr(d, a64_rd(d->insn), d->insn >> 31, false))
OPERAND(gn, a64_dis_gpr(d, a64_rn(d->insn), d->insn >> 31, false))

/* ---- elements ---- */

static void put_element(struct a64_dis *d, unsigned size)
{
    a64_dis_put(d, "v%u.%c[%u]", a64_simd_elem_reg(d->insn, size), "bhsd"[size], a64_simd_elem_index(d->insn, size));
}

OPERAND(em, put_element(d, element_size(d)))
OPERAND(em_half, put_element(d, 1))
OPERAND(em_dot, a64_dis_put(d, "v%u.4b[%u]", a64_rm(d->insn), a64_simd_elem_index(d->insn, 2)))
/* FCMLA counts pairs: index H:L of halves, H of singles; Vm has five bits. */
OPERAND(em_complex, a64_dis_put(d, "v%u.%c[%u]", a64_rm(d->insn), "bhsd"[element_size(d)],
                                element_size(d) == 1 ? (d->insn >> 10 & 2) | (d->insn >> 21 & 1) : d->insn >> 11 & 1))

static unsigned imm5_size(const struct a64_dis *d)
{
    return d->insn >> 16 & 15 ? a64_simd_imm5_size(d->insn) : 0;
}

static void put_imm5(struct a64_dis *d, unsigned reg, unsigned index)
{
    a64_dis_put(d, "v%u.%c[%u]", reg, "bhsd"[imm5_size(d)], index);
}

OPERAND(imm5_vd, put_vector(d, a64_rd(d->insn), imm5_size(d), q(d)))
OPERAND(imm5_sd, put_scalar(d, a64_rd(d->insn), imm5_size(d)))
OPERAND(imm5_d, put_imm5(d, a64_rd(d->insn), (d->insn >> 16 & 31) >> (imm5_size(d) + 1)))
OPERAND(imm5_n, put_imm5(d, a64_rn(d->insn), (d->insn >> 16 & 31) >> (imm5_size(d) + 1)))
OPERAND(imm5_n2, put_imm5(d, a64_rn(d->insn), (d->insn >> 11 & 15) >> imm5_size(d)))
OPERAND(imm5_gn, a64_dis_gpr(d, a64_rn(d->insn), imm5_size(d) == 3, false))
OPERAND(imm5_gd, a64_dis_gpr(d, a64_rd(d->insn), q(d), false))

/* UMOV of words and double words is called MOV. */
static bool umov_is_mov(const struct a64_dis *d)
{
    return imm5_size(d) >= 2;
}

/* ---- immediates ---- */

/* As "%.18e" prints it. User mode has no printf of numbers that are not whole, and all of these are multiples of
 * 1/128, that is of 78125 * 10^-7. */
static void put_double(struct a64_dis *d, unsigned imm8)
{
    static const char zeros[] = "000000000000000000";
    unsigned exponent = (imm8 >> 4 & 7) ^ 4; /* biased by 3, VFPExpandImm (Arm ARM) */
    char digits[16];
    int n = snprintf(digits, sizeof(digits), "%u", (((imm8 & 15) + 16u) << exponent) * 78125u);
    int power = n - 1 - 7;

    a64_dis_put(d, "#%s%c.%s%s", imm8 & 128 ? "-" : "", digits[0], digits + 1, zeros + n - 1);
    a64_dis_put(d, "e%c%02d", power < 0 ? '-' : '+', power < 0 ? -power : power);
}

static unsigned modified_imm8(const struct a64_dis *d)
{
    return (d->insn >> 16 & 7) << 5 | (d->insn >> 5 & 31);
}

OPERAND(fpimm, put_double(d, d->insn >> 13 & 255))
OPERAND(fpimm8, put_double(d, modified_imm8(d)))
OPERAND(imm64, a64_dis_put(d, "#0x%" PRIx64, a64_simd_imm(d->insn)))

/* #imm8 with its shift: cmode 0xx 32-bit, 10x 16-bit, 110x shifting ones in. */
static void put_imm8(struct a64_dis *d)
{
    unsigned cmode = d->insn >> 12 & 15;
    unsigned shift = cmode < 8    ? (cmode >> 1) * 8
                     : cmode < 12 ? (cmode >> 1 & 1) * 8
                     : cmode < 14 ? 8 + (cmode & 1) * 8
                                  : 0;
    a64_dis_put(d, "#0x%x", modified_imm8(d));
    if (shift)
        a64_dis_put(d, ", %s #%u", cmode < 12 ? "lsl" : "msl", shift);
}

OPERAND(shr, a64_dis_put(d, "#%u", a64_simd_shift_right(d->insn)))
OPERAND(shl, a64_dis_put(d, "#%u", a64_simd_shift_left(d->insn)))
OPERAND(width, a64_dis_put(d, "#%u", 8u << element_size(d)))

static bool shift_is_zero(const struct a64_dis *d)
{
    return a64_simd_shift_left(d->insn) == 0;
}

/* ---- loads and stores ---- */

static unsigned access_size(const struct a64_dis *d)
{
    return d->insn >> 23 & 1 ? 4 : d->insn >> 30;
}

OPERAND(ft, put_scalar(d, a64_rd(d->insn), access_size(d)))
OPERAND(pair_t, put_scalar(d, a64_rd(d->insn), MIN(2 + (d->insn >> 30), 4u)))
OPERAND(pair_u, put_scalar(d, a64_ra(d->insn), MIN(2 + (d->insn >> 30), 4u)))

static void put_uimm(struct a64_dis *d)
{
    unsigned v = bits32(d->insn, 21, 10) << access_size(d);
    if (v)
        a64_dis_put(d, ", #%u", v);
}

/* {v1.8b}, {v1.8b, v2.8b}, {v1.8b-v3.8b}: binutils joins three and more. `what` is ".8b" or ".b". */
static void put_list(struct a64_dis *d, unsigned first, unsigned count, const char *what)
{
    unsigned last = (first + count - 1) & 31;
    if (count == 1)
        a64_dis_put(d, "{v%u%s}", first, what);
    else if (count > 2 && last > first)
        a64_dis_put(d, "{v%u%s-v%u%s}", first, what, last, what);
    else
        for (unsigned i = 0; i < count; i++)
            a64_dis_put(d, "%sv%u%s%s", i ? ", " : "{", (first + i) & 31, what, i + 1 == count ? "}" : "");
}

static void put_table(struct a64_dis *d)
{
    put_list(d, a64_rn(d->insn), (d->insn >> 13 & 3) + 1, ".16b");
}

/* The row's name says how many registers: ldN.., ldNxM. */
static unsigned structure_count(const struct a64_dis *d)
{
    const char *n = d->row->name;
    return (unsigned)((n[3] == 'x' ? n[4] : n[2]) - '0');
}

static void put_structures(struct a64_dis *d)
{
    unsigned size = element_size(d);
    char what[8] = {'.', "8421"[size], "bhsd"[size]};
    if (q(d)) {
        static const char full[4][4] = {".16", ".8", ".4", ".2"};
        size_t n = strlen(full[size]);
        memcpy(what, full[size], n);
        what[n] = "bhsd"[size];
    }
    put_list(d, a64_rd(d->insn), structure_count(d), what);
}

static unsigned lane_size(const struct a64_dis *d)
{
    unsigned size = d->insn >> 14 & 3;
    return size == 2 && (d->insn >> 10 & 1) ? 3 : size & 3;
}

static void put_lane(struct a64_dis *d)
{
    const char what[3] = {'.', "bhsd"[lane_size(d)], 0};
    put_list(d, a64_rd(d->insn), structure_count(d), what);
    a64_dis_put(d, "[%u]", (q(d) << 3 | (d->insn >> 10 & 7)) >> lane_size(d));
}

/* Post-index by a register, or by `bytes` where that is 31. */
static void put_post(struct a64_dis *d, unsigned bytes)
{
    if (a64_rm(d->insn) == 31)
        a64_dis_put(d, "#%u", bytes);
    else
        a64_dis_gpr(d, a64_rm(d->insn), true, false);
}

OPERAND(post_multi, put_post(d, structure_count(d) * (q(d) ? 16 : 8)))
OPERAND(post_lane, put_post(d, structure_count(d) << lane_size(d)))
OPERAND(post_rep, put_post(d, structure_count(d) << element_size(d)))

/* ---- tables ---- */

#define FN(name)                                                                                                       \
    {                                                                                                                  \
#name, put_##name                                                                                              \
    }

const struct a64_dis_fn a64_dis_simd_fns[] = {
    FN(vd),       FN(vn),         FN(vm),        FN(Wd),         FN(Wn),       FN(Wm),      FN(Pd),     FN(Bd),
    FN(Bn),       FN(Bm),         FN(sd),        FN(sn),         FN(sm),       FN(sa),      FN(Sd),     FN(Sn),
    FN(narrow_d), FN(narrow_n),   FN(full_d),    FN(full_n),     FN(half_n),   FN(half_m),  FN(gd),     FN(gn),
    FN(em),       FN(em_half),    FN(em_dot),    FN(em_complex), FN(imm5_vd),  FN(imm5_sd), FN(imm5_d), FN(imm5_n),
    FN(imm5_n2),  FN(imm5_gn),    FN(imm5_gd),   FN(fpimm),      FN(fpimm8),   FN(imm64),   FN(imm8),   FN(shr),
    FN(shl),      FN(width),      FN(ft),        FN(pair_t),     FN(pair_u),   FN(uimm),    FN(table),  FN(structures),
    FN(lane),     FN(post_multi), FN(post_lane), FN(post_rep),   {NULL, NULL},
};

const struct a64_dis_pred a64_dis_simd_preds[] = {
    {"umov_is_mov", umov_is_mov},
    {"shift_is_zero", shift_is_zero},
    {NULL, NULL},
};
