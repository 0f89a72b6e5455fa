/*
 * Tier 1: Advanced SIMD on integers, what takes several host instructions: rounding and inserting shifts, saturation,
 * absolute differences, sums of neighbours, products with one element.
 */
#include "jit/tier1/simd.h"

static const uint32_t t1_padd[4] = T1_PADD, t1_psub[4] = T1_PSUB;

/* Shifts of words, doublewords and quadwords by constants; `ext` 2 right, 4 arithmetic, 6 left. */
static void t1_shift_x(struct t1 *t, unsigned size, unsigned ext, int x, unsigned n)
{
    static const uint8_t op[4] = {0, 0x71, 0x72, 0x73};

    if (n)
        sse_shift(t->e, op[size], ext, x, n);
}

static void t1_copy_x(struct t1 *t, int to, int from)
{
    sse_rr(t->e, SSE_MOVAPS_LOAD, to, from);
}

/* x = 1 << n in each element. */
static void t1_bit_x(struct t1 *t, unsigned size, int x, unsigned n)
{
    sse_rr(t->e, SSE_PCMPEQD, x, x);
    t1_shift_x(t, size, 2, x, (8u << size) - 1);
    t1_shift_x(t, size, 6, x, n);
}

/* x = 0xff >> right << left in each byte; right >= left. */
static void t1_byte_mask(struct t1 *t, int x, unsigned right, unsigned left)
{
    sse_rr(t->e, SSE_PCMPEQD, x, x);
    t1_shift_x(t, 1, 2, x, 8 + right);
    t1_shift_x(t, 1, 6, x, left);
    sse_rr(t->e, SSE_PACKUSWB, x, x);
}

/* ---- shifts ---- */

/* The sum's carry would be shifted to above what is kept. */
static bool t1_rshrn(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_shift_size(insn), amount = (16u << size) - bits32(insn, 22, 16);

    t1_vload(t, XMM0, a64_rn(insn));
    t1_bit_x(t, size + 1, XMM1, amount - 1);
    sse_rr(t->e, t1_padd[size + 1], XMM0, XMM1);
    t1_shift_x(t, size + 1, 2, XMM0, amount);
    return t1_narrow(t, insn, size);
}

/* URSHR, SRSHR, URSRA, SRSRA: the last bit that goes is added, so that no sum has a carry. */
static bool t1_rshr(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_shift_size(insn), bits = 8u << size, amount = 2 * bits - bits32(insn, 22, 16);
    bool uns = insn >> 29 & 1, accumulate = insn >> 12 & 1;

    if (size == 0 || (size == 3 && !uns))
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    t1_shift_x(t, size, uns ? 2 : 4, XMM0, amount - 1);
    t1_copy_x(t, XMM1, XMM0);
    t1_shift_x(t, size, 6, XMM1, bits - 1);
    t1_shift_x(t, size, 2, XMM1, bits - 1);
    t1_shift_x(t, size, uns ? 2 : 4, XMM0, 1);
    sse_rr(t->e, t1_padd[size], XMM0, XMM1);
    if (accumulate)
        t1_vwith(t, t1_padd[size], XMM0, a64_rd(insn));
    return t1_vdone(t, insn);
}

/* SLI keeps the lowest bits of Vd, SRI the highest. */
static bool t1_shift_insert(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_shift_size(insn), bits = 8u << size, imm = bits32(insn, 22, 16);
    bool left = insn >> 12 & 1;
    unsigned amount = left ? imm - bits : 2 * bits - imm;

    if (size == 0)
        return false;
    t1_vload(t, XMM0, a64_rd(insn));
    t1_shift_x(t, size, left ? 6 : 2, XMM0, bits - amount);
    t1_shift_x(t, size, left ? 2 : 6, XMM0, bits - amount);
    t1_vload(t, XMM1, a64_rn(insn));
    t1_shift_x(t, size, left ? 6 : 2, XMM1, amount);
    sse_rr(t->e, SSE_POR, XMM0, XMM1);
    return t1_vdone(t, insn);
}

/* SHL and USHR of bytes, by words. */
bool t1_shift_bytes(struct t1 *t, uint32_t insn, bool left)
{
    unsigned imm = bits32(insn, 22, 16), amount = left ? imm - 8 : 16 - imm;

    t1_vload(t, XMM0, a64_rn(insn));
    t1_shift_x(t, 1, left ? 6 : 2, XMM0, amount);
    t1_byte_mask(t, XMM1, amount, left ? amount : 0);
    sse_rr(t->e, SSE_PAND, XMM0, XMM1);
    return t1_vdone(t, insn);
}

/* ---- saturation ---- */

/* Sets FPSR.QC unless XMM1 is all ones. */
static void t1_saturated(struct t1 *t)
{
    uint8_t *over;

    sse_rr(t->e, SSE_66(0xd7), RAX, XMM1); /* pmovmskb */
    x64_alu_ri(t->e, false, ALU_CMP, RAX, 0xffff);
    over = x64_jcc8_fwd(t->e, CC_E);
    x64_alu_mi(t->e, false, ALU_OR, x64_m(RBP, JIT_OFF(cpu.fpsr)), (int32_t)BIT32(27));
    x64_bind8(t->e, over);
}

static bool t1_disturbed(struct t1 *t)
{
    t->keep_flags = t->host_flags = false;
    return true;
}

/* UQADD, SQADD, UQSUB, SQSUB of bytes and halfwords: saturated where the sum that wraps is another. */
static bool t1_qaddsub(struct t1 *t, uint32_t insn)
{
    static const uint32_t ops[2][4] = {{SSE_66(0xec), SSE_66(0xed), SSE_66(0xdc), SSE_66(0xdd)},
                                       {SSE_66(0xe8), SSE_66(0xe9), SSE_66(0xd8), SSE_66(0xd9)}};
    static const uint32_t equal[2] = {SSE_66(0x74), SSE_66(0x75)};
    unsigned size = t1_size(insn);
    bool uns = insn >> 29 & 1, sub = insn >> 13 & 1;

    if (size > 1)
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    t1_vload(t, XMM2, a64_rm(insn));
    if (!t1_q(insn)) {
        sse_rr(t->e, SSE_MOVQ_LOAD, XMM0, XMM0);
        sse_rr(t->e, SSE_MOVQ_LOAD, XMM2, XMM2);
    }
    t1_copy_x(t, XMM1, XMM0);
    sse_rr(t->e, ops[sub][(uns ? 2 : 0) + size], XMM0, XMM2);
    sse_rr(t->e, sub ? t1_psub[size] : t1_padd[size], XMM1, XMM2);
    sse_rr(t->e, equal[size], XMM1, XMM0);
    t1_saturated(t);
    t1_vdone(t, insn);
    return t1_disturbed(t);
}

/* SQXTN, SQXTUN, UQXTN to bytes and halfwords: saturated where widening does not give the source. */
static bool t1_qxtn(struct t1 *t, uint32_t insn)
{
    static const uint32_t pack[2][2] = {{SSE_66(0x63), SSE_66(0x6b)}, {SSE_PACKUSWB, SSE_PACKUSDW}};
    static const uint32_t sx[2] = {SSE_66_38(0x20), SSE_66_38(0x23)}, zx[2] = {SSE_66_38(0x30), SSE_66_38(0x33)};
    static const uint32_t equal[2] = {SSE_66(0x75), SSE_66(0x76)}, minu[2] = {SSE_66_38(0x3a), SSE_66_38(0x3b)};
    unsigned size = t1_size(insn);
    bool u = insn >> 29 & 1, uqxtn = u && bits32(insn, 16, 12) == 0x14;

    if (size > 1)
        return false;
    t1_vload(t, XMM2, a64_rn(insn));
    t1_copy_x(t, XMM0, XMM2);
    if (uqxtn) {
        sse_rr(t->e, SSE_PCMPEQD, XMM1, XMM1);
        t1_shift_x(t, size + 1, 2, XMM1, 8u << size);
        sse_rr(t->e, minu[size], XMM0, XMM1);
    }
    sse_rr(t->e, pack[u][size], XMM0, XMM0);
    sse_rr(t->e, u ? zx[size] : sx[size], XMM1, XMM0);
    sse_rr(t->e, equal[size], XMM1, XMM2);
    t1_saturated(t);
    if (t1_q(insn)) {
        int x = t1_vin(t, a64_rd(insn), 16, XMM3);
        sse_rr(t->e, SSE_PUNPCKLQDQ, x, XMM0);
        t1_vput(t, a64_rd(insn), x, 16);
    } else {
        t1_vdone(t, insn);
    }
    return t1_disturbed(t);
}

/* ---- differences, sums of neighbours ---- */

/* XMM0 = the larger less the smaller of XMM0 and XMM1. */
static void t1_difference(struct t1 *t, unsigned size, bool uns)
{
    static const uint32_t max[2][3] = {{SSE_66_38(0x3c), SSE_66(0xee), SSE_66_38(0x3d)},
                                       {SSE_66(0xde), SSE_66_38(0x3e), SSE_66_38(0x3f)}};
    static const uint32_t min[2][3] = {{SSE_66_38(0x38), SSE_66(0xea), SSE_66_38(0x39)},
                                       {SSE_66(0xda), SSE_66_38(0x3a), SSE_66_38(0x3b)}};

    t1_copy_x(t, XMM2, XMM0);
    sse_rr(t->e, max[uns][size], XMM0, XMM1);
    sse_rr(t->e, min[uns][size], XMM2, XMM1);
    sse_rr(t->e, t1_psub[size], XMM0, XMM2);
}

/* UABD, SABD, UABA, SABA */
static bool t1_abd(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_size(insn);

    if (size == 3)
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    t1_vload(t, XMM1, a64_rm(insn));
    t1_difference(t, size, insn >> 29 & 1);
    if (insn >> 11 & 1)
        t1_vwith(t, t1_padd[size], XMM0, a64_rd(insn));
    return t1_vdone(t, insn);
}

/* UABDL, SABDL, UABAL, SABAL: a difference of quadwords has no host instruction. */
static bool t1_abdl(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_size(insn);

    if (size > 1)
        return false;
    t1_widen(t, insn, XMM0, a64_rn(insn));
    t1_widen(t, insn, XMM1, a64_rm(insn));
    t1_difference(t, size + 1, false); /* of widened operands, which are all in the signed range */
    if (!(insn >> 13 & 1))
        t1_vwith(t, t1_padd[size + 1], XMM0, a64_rd(insn));
    return t1_vdone(t, insn | BIT32(30));
}

/* UADDLP, SADDLP, UADALP, SADALP */
static bool t1_addlp(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_size(insn), bits = 8u << size;
    bool uns = insn >> 29 & 1;

    if (size == 2 && !uns)
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    if (size == 0) {
        sse_rr(t->e, SSE_PCMPEQD, XMM1, XMM1);
        sse_rr(t->e, SSE_66_38(0x1c), XMM1, XMM1); /* pabsb: ones */
        /* pmaddubsw: the first is unsigned */
        sse_rr(t->e, SSE_66_38(0x04), uns ? XMM0 : XMM1, uns ? XMM1 : XMM0);
        if (!uns)
            t1_copy_x(t, XMM0, XMM1);
    } else {
        t1_copy_x(t, XMM1, XMM0);
        t1_shift_x(t, size + 1, uns ? 2 : 4, XMM1, bits);
        t1_shift_x(t, size + 1, 6, XMM0, bits);
        t1_shift_x(t, size + 1, uns ? 2 : 4, XMM0, bits);
        sse_rr(t->e, t1_padd[size + 1], XMM0, XMM1);
    }
    if (insn >> 14 & 1)
        t1_vwith(t, t1_padd[size + 1], XMM0, a64_rd(insn));
    return t1_vdone(t, insn);
}

/* ---- products with one element ---- */

/* XMM1 = the element of Vm that by-element forms name, in all elements. XMM0 is lost. */
static void t1_element_x(struct t1 *t, uint32_t insn)
{
    unsigned h = insn >> 11 & 1, l = insn >> 21 & 1, m = bits32(insn, 20, 16), index;

    if (t1_size(insn) == 2) {
        t1_vwith(t, SSE_PSHUFD, XMM1, m);
        x64_u8(t->e, (uint8_t)((h << 1 | l) * 0x55));
        return;
    }
    index = h << 2 | l << 1 | m >> 4;
    x64_rm(t->e, false, X64_MOVZX16, RAX, x64_m(RBP, t1_v(t, m & 15).disp + (int32_t)index * 2));
    t1_spread(t, 1);
    t1_copy_x(t, XMM1, XMM0);
}

/* MUL, MLA, MLS */
static bool t1_mul_e(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_size(insn), opc = bits32(insn, 15, 12); /* 0 mla, 4 mls, 8 mul */

    t1_element_x(t, insn);
    t1_vload(t, XMM0, a64_rn(insn));
    sse_rr(t->e, size == 1 ? SSE_66(0xd5) : SSE_66_38(0x40), XMM0, XMM1);
    if (opc != 8) {
        t1_copy_x(t, XMM1, XMM0);
        t1_vload(t, XMM0, a64_rd(insn));
        sse_rr(t->e, opc ? t1_psub[size] : t1_padd[size], XMM0, XMM1);
    }
    return t1_vdone(t, insn);
}

/* SMULL, UMULL, SMLAL, UMLAL, SMLSL, UMLSL */
static bool t1_mull_e(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_size(insn), opc = bits32(insn, 15, 12); /* 2 mlal, 6 mlsl, 10 mull */
    bool uns = insn >> 29 & 1;

    t1_element_x(t, insn);
    t1_widen(t, insn, XMM0, a64_rn(insn));
    if (size == 1) {
        sse_rr(t->e, SSE_66_38(uns ? 0x33 : 0x23), XMM1, XMM1);
        sse_rr(t->e, SSE_66_38(0x40), XMM0, XMM1);
    } else {
        sse_rr(t->e, uns ? SSE_66(0xf4) : SSE_66_38(0x28), XMM0, XMM1);
    }
    if (opc != 10) {
        t1_copy_x(t, XMM1, XMM0);
        t1_vload(t, XMM0, a64_rd(insn));
        sse_rr(t->e, opc == 2 ? t1_padd[size + 1] : t1_psub[size + 1], XMM0, XMM1);
    }
    return t1_vdone(t, insn | BIT32(30));
}

/* ADD, SUB of a doubleword */
static bool t1_addsub_d(struct t1 *t, uint32_t insn)
{
    return t1_vbinary(t, insn & ~BIT32(30), insn >> 29 & 1 ? t1_psub[3] : t1_padd[3], a64_rn(insn), a64_rm(insn));
}

void t1_init_simd_more(void)
{
    t1_table[A64_rshrn_iv] = t1_rshrn;
    t1_table[A64_urshr_iv] = t1_table[A64_srshr_iv] = t1_table[A64_ursra_iv] = t1_table[A64_srsra_iv] = t1_rshr;
    t1_table[A64_sli_iv] = t1_table[A64_sri_iv] = t1_shift_insert;
    t1_table[A64_uqadd_v] = t1_table[A64_sqadd_v] = t1_table[A64_uqsub_v] = t1_table[A64_sqsub_v] = t1_qaddsub;
    t1_table[A64_sqxtn_v] = t1_table[A64_sqxtun_v] = t1_table[A64_uqxtn_v] = t1_qxtn;
    t1_table[A64_uabd_v] = t1_table[A64_sabd_v] = t1_table[A64_uaba_v] = t1_table[A64_saba_v] = t1_abd;
    t1_table[A64_uabdl_v] = t1_table[A64_sabdl_v] = t1_table[A64_uabal_v] = t1_table[A64_sabal_v] = t1_abdl;
    t1_table[A64_uaddlp_v] = t1_table[A64_saddlp_v] = t1_table[A64_uadalp_v] = t1_table[A64_sadalp_v] = t1_addlp;
    t1_table[A64_mul_e] = t1_table[A64_mla_e] = t1_table[A64_mls_e] = t1_mul_e;
    t1_table[A64_smull_e] = t1_table[A64_umull_e] = t1_table[A64_smlal_e] = t1_table[A64_umlal_e] = t1_mull_e;
    t1_table[A64_smlsl_e] = t1_table[A64_umlsl_e] = t1_mull_e;
    t1_table[A64_add_s] = t1_table[A64_sub_s] = t1_addsub_d;
}
