/*
 * Tier 1: Advanced SIMD on integers, and AES. What SSE4.2 has no short sequence for is left to the interpreter.
 *
 * 64-bit forms (Q = 0) compute on whole registers and clear the upper half at the end.
 */
#include "jit/tier1/simd.h"
#include "jit/a64/simd_imm.h"

bool t1_vbinary(struct t1 *t, uint32_t insn, uint32_t op, unsigned n, unsigned m)
{
    int hn = t1_vin(t, n, 16, XMM0), x = t1_q(insn) ? t1_vout(t, a64_rd(insn)) : XMM0;

    t1_v3(t, op, x, hn, m, 16);
    if (!t1_q(insn))
        sse_rr(t->e, SSE_MOVQ_LOAD, x, x);
    t1_vput(t, a64_rd(insn), x, 16);
    t->keep_flags = true;
    return true;
}

static void t1_ones(struct t1 *t, int xmm)
{
    sse_rr(t->e, SSE_PCMPEQD, xmm, xmm);
}

static void t1_invert(struct t1 *t)
{
    t1_ones(t, XMM1);
    sse_rr(t->e, SSE_PXOR, XMM0, XMM1);
}

/* ---- three registers of the same type ---- */

enum { T1_SWAP = 1, T1_NOT = 2, T1_ACC = 4, T1_DEC = 8 };

/* XMM0 = Vn op Vm for operations that are one instruction; 0 in the table: no such instruction. */
static bool t1_three(struct t1 *t, uint32_t insn, const uint32_t op[4], unsigned how)
{
    static const uint32_t add[4] = T1_PADD;
    static const uint32_t sub[4] = T1_PSUB;
    unsigned size = t1_size(insn);

    if (!op[size])
        return false;
    if (!how)
        return t1_vbinary(t, insn, op[size], a64_rn(insn), a64_rm(insn));
    t1_vload(t, XMM0, how & T1_SWAP ? a64_rm(insn) : a64_rn(insn));
    t1_vwith(t, op[size], XMM0, how & T1_SWAP ? a64_rn(insn) : a64_rm(insn));
    if (how & T1_NOT)
        t1_invert(t);
    if (how & (T1_ACC | T1_DEC)) {
        sse_rr(t->e, SSE_MOVAPS_LOAD, XMM1, XMM0);
        t1_vload(t, XMM0, a64_rd(insn));
        sse_rr(t->e, how & T1_ACC ? add[size] : sub[size], XMM0, XMM1);
    }
    return t1_vdone(t, insn);
}

#define T1_THREE(name, how, b, h, s, d)                                                                                \
    static bool name(struct t1 *t, uint32_t insn)                                                                      \
    {                                                                                                                  \
        static const uint32_t op[4] = {b, h, s, d};                                                                    \
        return t1_three(t, insn, op, how);                                                                             \
    }
T1_THREE(t1_add_v, 0, SSE_66(0xfc), SSE_66(0xfd), SSE_66(0xfe), SSE_66(0xd4))
T1_THREE(t1_sub_v, 0, SSE_66(0xf8), SSE_66(0xf9), SSE_66(0xfa), SSE_66(0xfb))
T1_THREE(t1_mul_v, 0, 0, SSE_66(0xd5), SSE_66_38(0x40), 0)
T1_THREE(t1_mla_v, T1_ACC, 0, SSE_66(0xd5), SSE_66_38(0x40), 0)
T1_THREE(t1_mls_v, T1_DEC, 0, SSE_66(0xd5), SSE_66_38(0x40), 0)
T1_THREE(t1_cmeq_v, 0, SSE_66(0x74), SSE_66(0x75), SSE_66(0x76), SSE_66_38(0x29))
T1_THREE(t1_cmgt_v, 0, SSE_66(0x64), SSE_66(0x65), SSE_66(0x66), SSE_66_38(0x37))
T1_THREE(t1_cmge_v, T1_SWAP | T1_NOT, SSE_66(0x64), SSE_66(0x65), SSE_66(0x66), SSE_66_38(0x37))
T1_THREE(t1_smax_v, 0, SSE_66_38(0x3c), SSE_66(0xee), SSE_66_38(0x3d), 0)
T1_THREE(t1_smin_v, 0, SSE_66_38(0x38), SSE_66(0xea), SSE_66_38(0x39), 0)
T1_THREE(t1_umax_v, 0, SSE_66(0xde), SSE_66_38(0x3e), SSE_66_38(0x3f), 0)
T1_THREE(t1_umin_v, 0, SSE_66(0xda), SSE_66_38(0x3a), SSE_66_38(0x3b), 0)
T1_THREE(t1_urhadd_v, 0, SSE_66(0xe0), SSE_66(0xe3), 0, 0)

static const uint32_t t1_cmeq_op[4] = {SSE_66(0x74), SSE_66(0x75), SSE_66(0x76), SSE_66_38(0x29)};
static const uint32_t t1_umax_op[4] = {SSE_66(0xde), SSE_66_38(0x3e), SSE_66_38(0x3f), 0};

/* n >= m unsigned: max(n, m) == n; n > m: not (m >= n). */
static bool t1_cmhs(struct t1 *t, uint32_t insn, unsigned n, unsigned m, bool invert)
{
    unsigned size = t1_size(insn);

    if (size == 3)
        return false;
    t1_vload(t, XMM0, n);
    t1_vwith(t, t1_umax_op[size], XMM0, m);
    t1_vwith(t, t1_cmeq_op[size], XMM0, n);
    if (invert)
        t1_invert(t);
    return t1_vdone(t, insn);
}

static bool t1_cmhs_v(struct t1 *t, uint32_t insn)
{
    return t1_cmhs(t, insn, a64_rn(insn), a64_rm(insn), false);
}

static bool t1_cmhi_v(struct t1 *t, uint32_t insn)
{
    return t1_cmhs(t, insn, a64_rm(insn), a64_rn(insn), true);
}

static bool t1_cmtst_v(struct t1 *t, uint32_t insn)
{
    t1_vload(t, XMM0, a64_rn(insn));
    t1_vwith(t, SSE_PAND, XMM0, a64_rm(insn));
    sse_rr(t->e, SSE_PXOR, XMM1, XMM1);
    sse_rr(t->e, t1_cmeq_op[t1_size(insn)], XMM0, XMM1);
    t1_invert(t);
    return t1_vdone(t, insn);
}

/* Comparison with zero. */
static bool t1_cmzero(struct t1 *t, uint32_t insn, bool gt, bool swap, bool invert)
{
    static const uint32_t cmgt[4] = {SSE_66(0x64), SSE_66(0x65), SSE_66(0x66), SSE_66_38(0x37)};
    const uint32_t *op = gt ? cmgt : t1_cmeq_op;
    unsigned size = t1_size(insn);

    if (swap) {
        sse_rr(t->e, SSE_PXOR, XMM0, XMM0);
        t1_vwith(t, op[size], XMM0, a64_rn(insn));
    } else {
        sse_rr(t->e, SSE_PXOR, XMM1, XMM1);
        t1_vload(t, XMM0, a64_rn(insn));
        sse_rr(t->e, op[size], XMM0, XMM1);
    }
    if (invert)
        t1_invert(t);
    return t1_vdone(t, insn);
}

static bool t1_cmeq0_v(struct t1 *t, uint32_t insn)
{
    return t1_cmzero(t, insn, false, false, false);
}

static bool t1_cmgt0_v(struct t1 *t, uint32_t insn)
{
    return t1_cmzero(t, insn, true, false, false);
}

static bool t1_cmlt0_v(struct t1 *t, uint32_t insn)
{
    return t1_cmzero(t, insn, true, true, false);
}

static bool t1_cmge0_v(struct t1 *t, uint32_t insn)
{
    return t1_cmzero(t, insn, true, true, true);
}

static bool t1_cmle0_v(struct t1 *t, uint32_t insn)
{
    return t1_cmzero(t, insn, true, false, true);
}

/* ---- logic ---- */

static bool t1_logic_v(struct t1 *t, uint32_t insn)
{
    /* by U:size: and bic orr orn, eor bsl bit bif */
    unsigned opc = (insn >> 29 & 1) << 2 | t1_size(insn), n = a64_rn(insn), m = a64_rm(insn), d = a64_rd(insn);

    switch (opc) {
    case 0: return t1_vbinary(t, insn, SSE_PAND, n, m);
    case 1: return t1_vbinary(t, insn, SSE_PANDN, m, n);
    case 2:
        if (n != m)
            return t1_vbinary(t, insn, SSE_POR, n, m);
        t1_vload(t, XMM0, n);
        break;
    case 4: return t1_vbinary(t, insn, SSE_PXOR, n, m);
    case 3:
        t1_ones(t, XMM0);
        t1_vwith(t, SSE_PXOR, XMM0, m);
        t1_vwith(t, SSE_POR, XMM0, n);
        break;
    default: {
        /* base ^ ((base ^ other) & mask), or with the mask inverted for BIF:
         * BSL m ^ ((m ^ n) & d); BIT d ^ ((d ^ n) & m); BIF d ^ ((d ^ n) & ~m) */
        unsigned base = opc == 5 ? m : d, mask = opc == 5 ? d : m;
        t1_vload(t, XMM0, base);
        t1_vwith(t, SSE_PXOR, XMM0, n);
        if (opc == 7) {
            t1_vload(t, XMM1, mask);
            sse_rr(t->e, SSE_PANDN, XMM1, XMM0);
            sse_rr(t->e, SSE_MOVAPS_LOAD, XMM0, XMM1);
        } else {
            t1_vwith(t, SSE_PAND, XMM0, mask);
        }
        t1_vwith(t, SSE_PXOR, XMM0, base);
        break;
    }
    }
    return t1_vdone(t, insn);
}

/* ---- immediates ---- */

static bool t1_movi(struct t1 *t, uint32_t insn)
{
    uint64_t v = a64_simd_imm(insn);
    int x = t1_vout(t, a64_rd(insn));

    if (v) {
        x64_mov_imm(t->e, RAX, v);
        x64_rr(t->e, true, SSE_MOVD_LOAD, x, RAX);
        if (t1_q(insn))
            sse_rr(t->e, SSE_PUNPCKLQDQ, x, x);
    } else {
        sse_rr(t->e, SSE_PXOR, x, x);
    }
    t1_vput(t, a64_rd(insn), x, 16);
    t->keep_flags = true;
    return true;
}

/* ORR and BIC with an immediate. */
static bool t1_orr_imm_v(struct t1 *t, uint32_t insn)
{
    bool bic = insn >> 29 & 1;
    uint64_t v = a64_simd_imm(insn);
    int32_t d = t1_v(t, a64_rd(insn)).disp;

    x64_mov_imm(t->e, RAX, v);
    x64_alu_mr(t->e, true, bic ? ALU_AND : ALU_OR, x64_m(RBP, d), RAX);
    if (t1_q(insn))
        x64_alu_mr(t->e, true, bic ? ALU_AND : ALU_OR, x64_m(RBP, d + 8), RAX);
    else
        x64_store_imm(t->e, true, x64_m(RBP, d + 8), 0);
    t1_vlost(t, a64_rd(insn));
    return true;
}

/* ---- elements ---- */

/* imm5 of the copy group: log2 of the element's bytes and its index. */
static unsigned t1_element(uint32_t insn, unsigned *index)
{
    unsigned imm5 = bits32(insn, 20, 16), shift = (unsigned)__builtin_ctz(imm5 | 16);
    *index = imm5 >> (shift + 1);
    return shift;
}

static struct x64_mem t1_v_element(struct t1 *t, unsigned v, unsigned index, unsigned shift)
{
    return x64_m(RBP, t1_v(t, v).disp + (int32_t)(index << shift));
}

static const uint32_t t1_zx_load[4] = {X64_MOVZX8, X64_MOVZX16, 0x8b, 0x8b};

static bool t1_umov(struct t1 *t, uint32_t insn)
{
    unsigned index, shift = t1_element(insn, &index), d = t1_zr(a64_rd(insn));
    int h = t1_dst(t, d, RAX);

    if (d != T1_ZR) {
        if (index == 0 && shift >= 2)
            x64_rr(t->e, shift == 3, SSE_MOVD_STORE, t1_vin(t, a64_rn(insn), 1u << shift, XMM0), h);
        else
            x64_rm(t->e, shift == 3, t1_zx_load[shift], h, t1_v_element(t, a64_rn(insn), index, shift));
        t1_put(t, d, h);
    }
    t->keep_flags = true;
    return true;
}

static bool t1_smov(struct t1 *t, uint32_t insn)
{
    static const uint32_t op[3] = {X64_MOVSX8, X64_MOVSX16, X64_MOVSXD};
    unsigned index, shift = t1_element(insn, &index), d = t1_zr(a64_rd(insn));
    int h = t1_dst(t, d, RAX);

    if (d != T1_ZR) {
        x64_rm(t->e, t1_q(insn), op[shift], h, t1_v_element(t, a64_rn(insn), index, shift));
        t1_put(t, d, h);
    }
    t->keep_flags = true;
    return true;
}

/* An element of Vd from general register h. */
static bool t1_insert(struct t1 *t, unsigned d, unsigned index, unsigned shift, int h)
{
    static const uint32_t op[4] = {SSE_66_3A(0x20), SSE_66(0xc4), SSE_66_3A(0x22), SSE_66_3A(0x22)}; /* pinsr */
    int x = t1_vin(t, d, 16, XMM0);

    x64_rr(t->e, shift == 3, op[shift], x, h);
    x64_u8(t->e, (uint8_t)index);
    t1_vput(t, d, x, 16);
    t->keep_flags = true;
    return true;
}

static bool t1_ins_gen(struct t1 *t, uint32_t insn)
{
    unsigned index, shift = t1_element(insn, &index);

    return t1_insert(t, a64_rd(insn), index, shift, t1_get(t, t1_zr(a64_rn(insn)), RAX));
}

static bool t1_ins_elem(struct t1 *t, uint32_t insn)
{
    unsigned index, shift = t1_element(insn, &index), from = bits32(insn, 14, 11) >> shift;

    x64_rm(t->e, shift == 3, t1_zx_load[shift], RAX, t1_v_element(t, a64_rn(insn), from, shift));
    return t1_insert(t, a64_rd(insn), index, shift, RAX);
}

void t1_spread(struct t1 *t, unsigned shift)
{
    x64_rr(t->e, shift == 3, SSE_MOVD_LOAD, XMM0, RAX);
    if (shift == 3) {
        sse_rr(t->e, SSE_PUNPCKLQDQ, XMM0, XMM0);
        return;
    }
    if (shift == 0)
        sse_rr(t->e, SSE_66(0x60), XMM0, XMM0); /* punpcklbw */
    if (shift <= 1)
        sse_rr(t->e, SSE_66(0x61), XMM0, XMM0); /* punpcklwd */
    sse_rri(t->e, SSE_PSHUFD, XMM0, XMM0, 0);
}

static bool t1_dup_gen(struct t1 *t, uint32_t insn)
{
    unsigned index, shift = t1_element(insn, &index);

    t1_copy(t, true, t1_zr(a64_rn(insn)), RAX);
    t1_spread(t, shift);
    return t1_vdone(t, insn);
}

static bool t1_dup_elem_v(struct t1 *t, uint32_t insn)
{
    unsigned index, shift = t1_element(insn, &index);

    if (shift >= 2) {
        t1_vwith(t, SSE_PSHUFD, XMM0, a64_rn(insn));
        x64_u8(t->e, shift == 3 ? (index ? 0xee : 0x44) : (uint8_t)(index * 0x55));
    } else {
        x64_rm(t->e, false, t1_zx_load[shift], RAX, t1_v_element(t, a64_rn(insn), index, shift));
        t1_spread(t, shift);
    }
    return t1_vdone(t, insn);
}

static bool t1_dup_elem_s(struct t1 *t, uint32_t insn)
{
    unsigned index, shift = t1_element(insn, &index);
    int32_t d = t1_v(t, a64_rd(insn)).disp;

    x64_rm(t->e, shift == 3, t1_zx_load[shift], RAX, t1_v_element(t, a64_rn(insn), index, shift));
    x64_store(t->e, true, RAX, x64_m(RBP, d));
    x64_store_imm(t->e, true, x64_m(RBP, d + 8), 0);
    t1_vlost(t, a64_rd(insn));
    t->keep_flags = true;
    return true;
}

/* ---- permutation ---- */

static bool t1_zip(struct t1 *t, uint32_t insn)
{
    static const uint32_t lo[4] = {SSE_66(0x60), SSE_66(0x61), SSE_66(0x62), SSE_66(0x6c)};
    static const uint32_t hi[4] = {SSE_66(0x68), SSE_66(0x69), SSE_66(0x6a), SSE_66(0x6d)};
    bool second = insn >> 14 & 1;
    unsigned size = t1_size(insn);

    t1_vload(t, XMM0, a64_rn(insn));
    if (t1_q(insn)) {
        t1_vwith(t, second ? hi[size] : lo[size], XMM0, a64_rm(insn));
    } else {
        t1_vwith(t, lo[size], XMM0, a64_rm(insn));
        if (second)
            sse_shift(t->e, 0x73, 3, XMM0, 8); /* psrldq */
    }
    return t1_vdone(t, insn);
}

/* XMM0, XMM1 = the two operands as one string of elements; 64-bit operands are joined, and XMM1 is zero. */
static void t1_concat(struct t1 *t, uint32_t insn)
{
    t1_vload(t, XMM0, a64_rn(insn));
    if (t1_q(insn)) {
        t1_vload(t, XMM1, a64_rm(insn));
    } else {
        t1_vwith(t, SSE_PUNPCKLQDQ, XMM0, a64_rm(insn));
        sse_rr(t->e, SSE_PXOR, XMM1, XMM1);
    }
}

/* XMM0 = even (or odd) elements of XMM0:XMM1. */
static void t1_deinterleave(struct t1 *t, unsigned size, bool odd)
{
    struct x64_emit *e = t->e;

    switch (size) {
    case 0:
        for (int r = XMM0; r <= XMM1; r++) {
            if (odd)
                sse_shift(e, 0x71, 2, r, 8);
            else
                sse_rm(e, SSE_PAND, r, t1_const(JIT_CONST_LOW8));
        }
        sse_rr(e, SSE_PACKUSWB, XMM0, XMM1);
        break;
    case 1:
        for (int r = XMM0; r <= XMM1; r++) {
            if (odd)
                sse_shift(e, 0x72, 2, r, 16);
            else
                sse_rm(e, SSE_PAND, r, t1_const(JIT_CONST_LOW16));
        }
        sse_rr(e, SSE_PACKUSDW, XMM0, XMM1);
        break;
    case 2: sse_rri(e, SSE_PS(0xc6), XMM0, XMM1, odd ? 0xdd : 0x88); break; /* shufps */
    default: sse_rr(e, odd ? SSE_PUNPCKHQDQ : SSE_PUNPCKLQDQ, XMM0, XMM1); break;
    }
}

static bool t1_uzp(struct t1 *t, uint32_t insn)
{
    t1_concat(t, insn);
    t1_deinterleave(t, t1_size(insn), insn >> 14 & 1);
    return t1_vdone(t, insn);
}

/* TRN: even (odd) elements of n in even places, of m in odd places. */
static bool t1_trn(struct t1 *t, uint32_t insn)
{
    static const uint8_t shift_op[3] = {0x71, 0x72, 0x73};
    bool second = insn >> 14 & 1;
    unsigned size = t1_size(insn), bits = 8u << size;

    t1_vload(t, XMM0, a64_rn(insn));
    if (size == 3) {
        t1_vwith(t, second ? SSE_PUNPCKHQDQ : SSE_PUNPCKLQDQ, XMM0, a64_rm(insn));
        return t1_vdone(t, insn);
    }
    t1_vload(t, XMM1, a64_rm(insn));
    if (second) {
        sse_shift(t->e, shift_op[size], 2, XMM0, bits);
        sse_shift(t->e, shift_op[size], 2, XMM1, bits);
        sse_shift(t->e, shift_op[size], 6, XMM1, bits);
    } else {
        sse_shift(t->e, shift_op[size], 6, XMM0, bits);
        sse_shift(t->e, shift_op[size], 2, XMM0, bits);
        sse_shift(t->e, shift_op[size], 6, XMM1, bits);
    }
    sse_rr(t->e, SSE_POR, XMM0, XMM1);
    return t1_vdone(t, insn);
}

static bool t1_ext(struct t1 *t, uint32_t insn)
{
    unsigned index = bits32(insn, 14, 11);

    if (t1_q(insn)) {
        t1_vload(t, XMM0, a64_rm(insn));
        t1_vwith(t, SSE_66_3A(0x0f), XMM0, a64_rn(insn)); /* palignr */
        x64_u8(t->e, (uint8_t)index);
    } else {
        t1_vload(t, XMM0, a64_rn(insn));
        t1_vwith(t, SSE_PUNPCKLQDQ, XMM0, a64_rm(insn));
        sse_shift(t->e, 0x73, 3, XMM0, index);
    }
    return t1_vdone(t, insn);
}

/* TBL with one table register: indices of 16 and more give zero. */
static bool t1_tbl(struct t1 *t, uint32_t insn)
{
    if (bits32(insn, 14, 13))
        return false;
    t1_vload(t, XMM1, a64_rm(insn));
    sse_rm(t->e, SSE_66(0xdc), XMM1, t1_const(JIT_CONST_X70)); /* paddusb */
    t1_vload(t, XMM0, a64_rn(insn));
    sse_rr(t->e, SSE_PSHUFB, XMM0, XMM1);
    return t1_vdone(t, insn);
}

static bool t1_rev_v(struct t1 *t, uint32_t insn)
{
    unsigned size = t1_size(insn), group = insn >> 12 & 1 ? 16 : insn >> 29 & 1 ? 32 : 64;
    enum jit_const k;

    t1_vload(t, XMM0, a64_rn(insn));
    if (group == 64 && size == 2) {
        sse_rri(t->e, SSE_PSHUFD, XMM0, XMM0, 0xb1);
        return t1_vdone(t, insn);
    }
    if (group == 64)
        k = size ? JIT_CONST_REV64_16 : JIT_CONST_REV64_8;
    else if (group == 32)
        k = size ? JIT_CONST_REV32_16 : JIT_CONST_REV32_8;
    else
        k = JIT_CONST_REV16_8;
    sse_rm(t->e, SSE_PSHUFB, XMM0, t1_const(k));
    return t1_vdone(t, insn);
}

/* ---- pairwise ---- */

static bool t1_pairwise(struct t1 *t, uint32_t insn, const uint32_t op[4])
{
    unsigned size = t1_size(insn);

    if (!op[size])
        return false;
    t1_concat(t, insn);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM2, XMM0);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM3, XMM1);
    t1_deinterleave(t, size, false);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM4, XMM0);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM0, XMM2);
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM1, XMM3);
    t1_deinterleave(t, size, true);
    sse_rr(t->e, op[size], XMM0, XMM4);
    return t1_vdone(t, insn);
}

#define T1_PAIRWISE(name, b, h, s, d)                                                                                  \
    static bool name(struct t1 *t, uint32_t insn)                                                                      \
    {                                                                                                                  \
        static const uint32_t op[4] = {b, h, s, d};                                                                    \
        return t1_pairwise(t, insn, op);                                                                               \
    }
T1_PAIRWISE(t1_addp_v, SSE_66(0xfc), SSE_66(0xfd), SSE_66(0xfe), SSE_66(0xd4))
T1_PAIRWISE(t1_umaxp_v, SSE_66(0xde), SSE_66_38(0x3e), SSE_66_38(0x3f), 0)
T1_PAIRWISE(t1_uminp_v, SSE_66(0xda), SSE_66_38(0x3a), SSE_66_38(0x3b), 0)
T1_PAIRWISE(t1_smaxp_v, SSE_66_38(0x3c), SSE_66(0xee), SSE_66_38(0x3d), 0)
T1_PAIRWISE(t1_sminp_v, SSE_66_38(0x38), SSE_66(0xea), SSE_66_38(0x39), 0)

static bool t1_addp_pair(struct t1 *t, uint32_t insn)
{
    int32_t d = t1_v(t, a64_rd(insn)).disp, n = t1_v(t, a64_rn(insn)).disp;

    x64_load(t->e, true, RAX, x64_m(RBP, n));
    x64_alu_rm(t->e, true, ALU_ADD, RAX, x64_m(RBP, n + 8));
    x64_store(t->e, true, RAX, x64_m(RBP, d));
    x64_store_imm(t->e, true, x64_m(RBP, d + 8), 0);
    t1_vlost(t, a64_rd(insn));
    return true;
}

/* ---- across lanes ---- */

/* Folds XMM0's upper parts onto its lowest element with `op`. */
static void t1_fold(struct t1 *t, bool q, unsigned size, uint32_t op)
{
    for (unsigned bytes = q ? 8 : 4; bytes >= 1u << size; bytes /= 2) {
        sse_rr(t->e, SSE_MOVAPS_LOAD, XMM1, XMM0);
        sse_shift(t->e, 0x73, 3, XMM1, bytes);
        sse_rr(t->e, op, XMM0, XMM1);
    }
}

/* The lowest element of XMM0 is the result, all else zero. */
static bool t1_lane0(struct t1 *t, uint32_t insn, unsigned size)
{
    int x = t1_vout(t, a64_rd(insn));

    sse_rr(t->e, SSE_MOVD_STORE, XMM0, RAX);
    if (size < 2)
        x64_rr(t->e, false, size ? X64_MOVZX16 : X64_MOVZX8, RAX, RAX);
    sse_rr(t->e, SSE_MOVD_LOAD, x, RAX);
    t1_vput(t, a64_rd(insn), x, 16);
    t->keep_flags = true;
    return true;
}

static bool t1_across(struct t1 *t, uint32_t insn, const uint32_t op[4])
{
    unsigned size = t1_size(insn);

    t1_vload(t, XMM0, a64_rn(insn));
    t1_fold(t, t1_q(insn), size, op[size]);
    return t1_lane0(t, insn, size);
}

#define T1_ACROSS(name, b, h, s)                                                                                       \
    static bool name(struct t1 *t, uint32_t insn)                                                                      \
    {                                                                                                                  \
        static const uint32_t op[4] = {b, h, s, 0};                                                                    \
        return t1_across(t, insn, op);                                                                                 \
    }
T1_ACROSS(t1_addv, SSE_66(0xfc), SSE_66(0xfd), SSE_66(0xfe))
T1_ACROSS(t1_umaxv, SSE_66(0xde), SSE_66_38(0x3e), SSE_66_38(0x3f))
T1_ACROSS(t1_uminv, SSE_66(0xda), SSE_66_38(0x3a), SSE_66_38(0x3b))
T1_ACROSS(t1_smaxv, SSE_66_38(0x3c), SSE_66(0xee), SSE_66_38(0x3d))
T1_ACROSS(t1_sminv, SSE_66_38(0x38), SSE_66(0xea), SSE_66_38(0x39))

/* Bytes: the sum of absolute differences from zero. */
static bool t1_uaddlv(struct t1 *t, uint32_t insn)
{
    if (t1_size(insn))
        return false;
    t1_vwith(t, t1_q(insn) ? SSE_MOVAPS_LOAD : SSE_MOVQ_LOAD, XMM0, a64_rn(insn));
    sse_rr(t->e, SSE_PXOR, XMM1, XMM1);
    sse_rr(t->e, SSE_66(0xf6), XMM0, XMM1); /* psadbw */
    sse_rri(t->e, SSE_PSHUFD, XMM1, XMM0, 0xee);
    sse_rr(t->e, SSE_66(0xfe), XMM0, XMM1);
    return t1_lane0(t, insn, 2);
}

/* ---- shifts ---- */

static bool t1_shift_v(struct t1 *t, uint32_t insn, unsigned ext, bool scalar)
{
    static const uint8_t op[4] = {0, 0x71, 0x72, 0x73};
    unsigned size = t1_shift_size(insn), bits = 8u << size, imm = bits32(insn, 22, 16);
    unsigned amount = ext == 6 ? imm - bits : 2 * bits - imm;

    if (size == 0 && ext != 4)
        return t1_shift_bytes(t, insn, ext == 6);
    if (size == 0 || (size == 3 && ext == 4))
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    sse_shift(t->e, op[size], ext, XMM0, amount);
    return t1_vdone(t, scalar ? insn & ~BIT32(30) : insn);
}

static bool t1_shl_v(struct t1 *t, uint32_t insn)
{
    return t1_shift_v(t, insn, 6, false);
}

static bool t1_ushr_v(struct t1 *t, uint32_t insn)
{
    return t1_shift_v(t, insn, 2, false);
}

static bool t1_sshr_v(struct t1 *t, uint32_t insn)
{
    return t1_shift_v(t, insn, 4, false);
}

static bool t1_shl_s(struct t1 *t, uint32_t insn)
{
    return t1_shift_v(t, insn, 6, true);
}

static bool t1_ushr_s(struct t1 *t, uint32_t insn)
{
    return t1_shift_v(t, insn, 2, true);
}

/* USRA, SSRA */
static bool t1_sra_v(struct t1 *t, uint32_t insn)
{
    static const uint8_t op[4] = {0, 0x71, 0x72, 0x73};
    static const uint32_t add[4] = {0, SSE_66(0xfd), SSE_66(0xfe), SSE_66(0xd4)};
    unsigned size = t1_shift_size(insn), amount = (16u << size) - bits32(insn, 22, 16);
    bool uns = insn >> 29 & 1;

    if (size == 0 || (size == 3 && !uns))
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    sse_shift(t->e, op[size], uns ? 2 : 4, XMM0, amount);
    t1_vwith(t, add[size], XMM0, a64_rd(insn));
    return t1_vdone(t, insn);
}

/* SSHLL, USHLL (and SXTL, UXTL): widen, then shift. */
static bool t1_shll(struct t1 *t, uint32_t insn)
{
    static const uint8_t sx[3] = {0x20, 0x23, 0x25}, zx[3] = {0x30, 0x33, 0x35}, op[3] = {0x71, 0x72, 0x73};
    unsigned size = t1_shift_size(insn), amount = bits32(insn, 22, 16) - (8u << size);
    bool uns = insn >> 29 & 1;

    t1_vhalf(t, SSE_66_38(uns ? zx[size] : sx[size]), XMM0, a64_rn(insn), t1_q(insn));
    if (amount)
        sse_shift(t->e, op[size], 6, XMM0, amount);
    return t1_vdone(t, insn | BIT32(30));
}

bool t1_narrow(struct t1 *t, uint32_t insn, unsigned size)
{
    int x;

    if (size == 0) {
        sse_rm(t->e, SSE_PAND, XMM0, t1_const(JIT_CONST_LOW8));
        sse_rr(t->e, SSE_PACKUSWB, XMM0, XMM0);
    } else if (size == 1) {
        sse_rm(t->e, SSE_PAND, XMM0, t1_const(JIT_CONST_LOW16));
        sse_rr(t->e, SSE_PACKUSDW, XMM0, XMM0);
    } else {
        sse_rri(t->e, SSE_PSHUFD, XMM0, XMM0, 0x08);
    }
    if (!t1_q(insn))
        return t1_vdone(t, insn);
    x = t1_vin(t, a64_rd(insn), 16, XMM1);
    sse_rr(t->e, SSE_PUNPCKLQDQ, x, XMM0);
    t1_vput(t, a64_rd(insn), x, 16);
    t->keep_flags = true;
    return true;
}

static bool t1_xtn(struct t1 *t, uint32_t insn)
{
    t1_vload(t, XMM0, a64_rn(insn));
    return t1_narrow(t, insn, t1_size(insn));
}

static bool t1_shrn(struct t1 *t, uint32_t insn)
{
    static const uint8_t op[3] = {0x71, 0x72, 0x73};
    unsigned size = t1_shift_size(insn);

    t1_vload(t, XMM0, a64_rn(insn));
    sse_shift(t->e, op[size], 2, XMM0, (16u << size) - bits32(insn, 22, 16));
    return t1_narrow(t, insn, size);
}

/* ---- widening arithmetic ---- */

void t1_widen(struct t1 *t, uint32_t insn, int xmm, unsigned v)
{
    static const uint8_t sx[3] = {0x20, 0x23, 0x25}, zx[3] = {0x30, 0x33, 0x35};
    bool uns = insn >> 29 & 1;
    unsigned size = t1_size(insn);

    t1_vhalf(t, SSE_66_38(uns ? zx[size] : sx[size]), xmm, v, t1_q(insn));
}

/* UADDL, USUBL, SADDL, SSUBL and the W forms, whose first operand is wide. */
static bool t1_addl(struct t1 *t, uint32_t insn)
{
    static const uint32_t add[3] = {SSE_66(0xfd), SSE_66(0xfe), SSE_66(0xd4)};
    static const uint32_t sub[3] = {SSE_66(0xf9), SSE_66(0xfa), SSE_66(0xfb)};
    unsigned size = t1_size(insn);
    bool wide = insn >> 12 & 1, minus = insn >> 13 & 1;

    if (wide)
        t1_vload(t, XMM0, a64_rn(insn));
    else
        t1_widen(t, insn, XMM0, a64_rn(insn));
    t1_widen(t, insn, XMM1, a64_rm(insn));
    sse_rr(t->e, minus ? sub[size] : add[size], XMM0, XMM1);
    return t1_vdone(t, insn | BIT32(30));
}

/* UMULL, SMULL, and the accumulating UMLAL, SMLAL, UMLSL, SMLSL. */
static bool t1_mull(struct t1 *t, uint32_t insn)
{
    static const uint32_t add[3] = {SSE_66(0xfd), SSE_66(0xfe), SSE_66(0xd4)};
    static const uint32_t sub[3] = {SSE_66(0xf9), SSE_66(0xfa), SSE_66(0xfb)};
    static const uint32_t mul[2] = {SSE_66(0xd5), SSE_66_38(0x40)};
    unsigned size = t1_size(insn), opc = bits32(insn, 15, 12); /* 8 mlal, 10 mlsl, 12 mull */
    bool uns = insn >> 29 & 1;

    t1_widen(t, insn, XMM0, a64_rn(insn));
    t1_widen(t, insn, XMM1, a64_rm(insn));
    if (size == 2)
        sse_rr(t->e, uns ? SSE_66(0xf4) : SSE_66_38(0x28), XMM0, XMM1); /* pmuludq, pmuldq */
    else
        sse_rr(t->e, mul[size], XMM0, XMM1);
    if (opc != 12) {
        sse_rr(t->e, SSE_MOVAPS_LOAD, XMM1, XMM0);
        t1_vload(t, XMM0, a64_rd(insn));
        sse_rr(t->e, opc == 8 ? add[size] : sub[size], XMM0, XMM1);
    }
    return t1_vdone(t, insn | BIT32(30));
}

/* ---- one register ---- */

static bool t1_not_v(struct t1 *t, uint32_t insn)
{
    t1_vload(t, XMM0, a64_rn(insn));
    t1_invert(t);
    return t1_vdone(t, insn);
}

static bool t1_neg_v(struct t1 *t, uint32_t insn)
{
    static const uint32_t sub[4] = T1_PSUB;

    sse_rr(t->e, SSE_PXOR, XMM0, XMM0);
    t1_vwith(t, sub[t1_size(insn)], XMM0, a64_rn(insn));
    return t1_vdone(t, insn);
}

static bool t1_abs_v(struct t1 *t, uint32_t insn)
{
    if (t1_size(insn) == 3)
        return false;
    t1_vwith(t, SSE_66_38(0x1c + t1_size(insn)), XMM0, a64_rn(insn));
    return t1_vdone(t, insn);
}

static bool t1_cnt_v(struct t1 *t, uint32_t insn)
{
    t1_vload(t, XMM1, a64_rn(insn));
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM2, XMM1);
    sse_shift(t->e, 0x71, 2, XMM2, 4);
    sse_rm(t->e, SSE_PAND, XMM1, t1_const(JIT_CONST_NIBBLE));
    sse_rm(t->e, SSE_PAND, XMM2, t1_const(JIT_CONST_NIBBLE));
    sse_rm(t->e, SSE_MOVAPS_LOAD, XMM0, t1_const(JIT_CONST_POPCNT));
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM3, XMM0);
    sse_rr(t->e, SSE_PSHUFB, XMM0, XMM1);
    sse_rr(t->e, SSE_PSHUFB, XMM3, XMM2);
    sse_rr(t->e, SSE_66(0xfc), XMM0, XMM3);
    return t1_vdone(t, insn);
}

/* ---- AES, PMULL ---- */

/* Are columns of the result mixed next? Then the two are one whole round of the host. */
static bool t1_aes_pair(const struct t1 *t, uint32_t insn)
{
    unsigned d = a64_rd(insn);

    return t1_goes_on(t) && t->row[t->i + 1] == (insn >> 12 & 1 ? A64_aesimc : A64_aesmc) &&
           a64_rd(t->insn[t->i + 1]) == d && a64_rn(t->insn[t->i + 1]) == d;
}

/* AESE, AESD: add the round key, then substitute and shift rows: the host's last round with a zero key. */
static bool t1_aes(struct t1 *t, uint32_t insn)
{
    bool dec = insn >> 12 & 1;

    if (!t1_have.aes)
        return false;
    t1_vload(t, XMM0, a64_rd(insn));
    t1_vwith(t, SSE_PXOR, XMM0, a64_rn(insn));
    sse_rr(t->e, SSE_PXOR, XMM1, XMM1);
    if (t1_aes_pair(t, insn)) {
        t->fused = t->i + 1;
        sse_rr(t->e, SSE_66_38(dec ? 0xde : 0xdc), XMM0, XMM1);
    } else {
        sse_rr(t->e, SSE_66_38(dec ? 0xdf : 0xdd), XMM0, XMM1);
    }
    return t1_vdone(t, insn | BIT32(30));
}

/* AESMC: a whole round undoes what an inverse last round did, and mixes columns. */
static bool t1_aesmc(struct t1 *t, uint32_t insn)
{
    if (!t1_have.aes)
        return false;
    if (t1_fused(t))
        return t->keep_flags = true;
    t1_vload(t, XMM0, a64_rn(insn));
    if (insn >> 12 & 1) {
        sse_rr(t->e, SSE_66_38(0xdb), XMM0, XMM0); /* aesimc */
    } else {
        sse_rr(t->e, SSE_PXOR, XMM1, XMM1);
        sse_rr(t->e, SSE_66_38(0xdf), XMM0, XMM1);
        sse_rr(t->e, SSE_66_38(0xdc), XMM0, XMM1);
    }
    return t1_vdone(t, insn | BIT32(30));
}

static bool t1_pmull_d(struct t1 *t, uint32_t insn)
{
    if (!t1_have.pclmul)
        return false;
    t1_vload(t, XMM0, a64_rn(insn));
    t1_vwith(t, SSE_66_3A(0x44), XMM0, a64_rm(insn));
    x64_u8(t->e, t1_q(insn) ? 0x11 : 0);
    return t1_vdone(t, insn | BIT32(30));
}

static void t1_init_simd_arith(void)
{
    t1_table[A64_add_v] = t1_add_v;
    t1_table[A64_sub_v] = t1_sub_v;
    t1_table[A64_mul_v] = t1_mul_v;
    t1_table[A64_mla_v] = t1_mla_v;
    t1_table[A64_mls_v] = t1_mls_v;
    t1_table[A64_cmeq_v] = t1_cmeq_v;
    t1_table[A64_cmgt_v] = t1_cmgt_v;
    t1_table[A64_cmge_v] = t1_cmge_v;
    t1_table[A64_cmhs_v] = t1_cmhs_v;
    t1_table[A64_cmhi_v] = t1_cmhi_v;
    t1_table[A64_cmtst_v] = t1_cmtst_v;
    t1_table[A64_cmeq0_v] = t1_cmeq0_v;
    t1_table[A64_cmgt0_v] = t1_cmgt0_v;
    t1_table[A64_cmge0_v] = t1_cmge0_v;
    t1_table[A64_cmlt0_v] = t1_cmlt0_v;
    t1_table[A64_cmle0_v] = t1_cmle0_v;
    t1_table[A64_smax_v] = t1_smax_v;
    t1_table[A64_smin_v] = t1_smin_v;
    t1_table[A64_umax_v] = t1_umax_v;
    t1_table[A64_umin_v] = t1_umin_v;
    t1_table[A64_urhadd_v] = t1_urhadd_v;
    t1_table[A64_and_v] = t1_table[A64_bic_v] = t1_table[A64_orr_v] = t1_table[A64_orn_v] = t1_logic_v;
    t1_table[A64_eor_v] = t1_table[A64_bsl_v] = t1_table[A64_bit_v] = t1_table[A64_bif_v] = t1_logic_v;
    t1_table[A64_addp_v] = t1_addp_v;
    t1_table[A64_umaxp_v] = t1_umaxp_v;
    t1_table[A64_uminp_v] = t1_uminp_v;
    t1_table[A64_smaxp_v] = t1_smaxp_v;
    t1_table[A64_sminp_v] = t1_sminp_v;
    t1_table[A64_addp_pair_s] = t1_addp_pair;
    t1_table[A64_addv] = t1_addv;
    t1_table[A64_umaxv] = t1_umaxv;
    t1_table[A64_uminv] = t1_uminv;
    t1_table[A64_smaxv] = t1_smaxv;
    t1_table[A64_sminv] = t1_sminv;
    t1_table[A64_uaddlv] = t1_uaddlv;
    t1_table[A64_not_v] = t1_not_v;
    t1_table[A64_neg_v] = t1_neg_v;
    t1_table[A64_abs_v] = t1_abs_v;
    t1_table[A64_cnt_v] = t1_cnt_v;
    t1_table[A64_saddl_v] = t1_table[A64_uaddl_v] = t1_table[A64_ssubl_v] = t1_table[A64_usubl_v] = t1_addl;
    t1_table[A64_saddw_v] = t1_table[A64_uaddw_v] = t1_table[A64_ssubw_v] = t1_table[A64_usubw_v] = t1_addl;
    t1_table[A64_smull_v] = t1_table[A64_umull_v] = t1_mull;
    t1_table[A64_smlal_v] = t1_table[A64_umlal_v] = t1_table[A64_smlsl_v] = t1_table[A64_umlsl_v] = t1_mull;
}

void t1_init_simd(void)
{
    t1_init_simd_arith();
    t1_init_simd_more();
    t1_table[A64_movi_w] = t1_table[A64_movi_h] = t1_table[A64_movi_msl] = t1_movi;
    t1_table[A64_movi_b] = t1_table[A64_movi_d] = t1_table[A64_fmov_imm_vs] = t1_table[A64_fmov_imm_vd] = t1_movi;
    t1_table[A64_mvni_w] = t1_table[A64_mvni_h] = t1_table[A64_mvni_msl] = t1_movi;
    t1_table[A64_orr_imm_w] = t1_table[A64_orr_imm_h] = t1_orr_imm_v;
    t1_table[A64_bic_imm_w] = t1_table[A64_bic_imm_h] = t1_orr_imm_v;
    t1_table[A64_umov] = t1_umov;
    t1_table[A64_smov] = t1_smov;
    t1_table[A64_ins_gen] = t1_ins_gen;
    t1_table[A64_ins_elem] = t1_ins_elem;
    t1_table[A64_dup_gen] = t1_dup_gen;
    t1_table[A64_dup_elem_v] = t1_dup_elem_v;
    t1_table[A64_dup_elem_s] = t1_dup_elem_s;
    t1_table[A64_zip1] = t1_table[A64_zip2] = t1_zip;
    t1_table[A64_uzp1] = t1_table[A64_uzp2] = t1_uzp;
    t1_table[A64_trn1] = t1_table[A64_trn2] = t1_trn;
    t1_table[A64_ext] = t1_ext;
    t1_table[A64_tbl] = t1_tbl;
    t1_table[A64_rev64_v] = t1_table[A64_rev32_v] = t1_table[A64_rev16_v] = t1_rev_v;
    t1_table[A64_shl_iv] = t1_shl_v;
    t1_table[A64_ushr_iv] = t1_ushr_v;
    t1_table[A64_sshr_iv] = t1_sshr_v;
    t1_table[A64_shl_is] = t1_shl_s;
    t1_table[A64_ushr_is] = t1_ushr_s;
    t1_table[A64_usra_iv] = t1_table[A64_ssra_iv] = t1_sra_v;
    t1_table[A64_sshll_iv] = t1_table[A64_ushll_iv] = t1_shll;
    t1_table[A64_xtn_v] = t1_xtn;
    t1_table[A64_shrn_iv] = t1_shrn;
    t1_table[A64_aese] = t1_table[A64_aesd] = t1_aes;
    t1_table[A64_aesmc] = t1_table[A64_aesimc] = t1_aesmc;
    t1_table[A64_pmull_d] = t1_pmull_d;
}
