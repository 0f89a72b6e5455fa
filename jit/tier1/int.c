/* Tier 1: data processing on general registers. */
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

/* BMI2, in the VEX encoding; they leave flags alone. */
#define BMI_SHLX X64_OP(0x66, 0x38, 0xf7)
#define BMI_SHRX X64_OP(0xf2, 0x38, 0xf7)
#define BMI_SARX X64_OP(0xf3, 0x38, 0xf7)
#define BMI_MULX X64_OP(0xf2, 0x38, 0xf6) /* high, low, r/m by RDX */
#define BMI_RORX X64_OP(0xf2, 0x3a, 0xf0)

static bool t1_sf(uint32_t insn)
{
    return insn >> 31;
}

/* Flags of an x86 addition: CF is the carry, the other sense. */
static void t1_flags_add(struct t1 *t)
{
    bool all = t1_flags_need(t) == T1_NEED_ALL;

    if (all)
        x64_u8(t->e, 0xf5); /* cmc */
    t1_save_flags(t);
    t->host_add = !all;
}

/* Flags of a logical operation: C = 0, so CF = 1. */
static void t1_flags_logic(struct t1 *t)
{
    if (t1_flags_need(t) != T1_NEED_NONE)
        x64_u8(t->e, 0xf9); /* stc */
    t1_save_flags(t);
}

/* op reg, src1, Rm: Rm in its own register, or in memory; ZR in RCX. */
static void t1_bmi(struct t1 *t, bool w, uint32_t op, int reg, int src1, unsigned m)
{
    if (m == T1_ZR || t1_host(t, m) >= 0)
        vex_rrr(t->e, w, op, reg, src1, t1_get(t, m, RCX));
    else
        vex_rrm(t->e, w, op, reg, src1, t1_slot(m));
}

static bool t1_rorx_guest(struct t1 *t, bool w, int reg, unsigned m, unsigned amount)
{
    if (!t1_have.bmi2)
        return false;
    t1_bmi(t, w, BMI_RORX, reg, 0, m);
    x64_u8(t->e, (uint8_t)amount);
    return true;
}

bool t1_rorx(struct t1 *t, bool w, int dst, int src, unsigned amount)
{
    if (!t1_have.bmi2)
        return false;
    vex_rrr(t->e, w, BMI_RORX, dst, 0, src);
    x64_u8(t->e, (uint8_t)amount);
    return true;
}

/* ---- constants ---- */

/* d = an address, with an ADD to it that follows. */
static bool t1_mov_pc(struct t1 *t, unsigned d, uint64_t value)
{
    uint32_t next = t1_goes_on(t) ? t->insn[t->i + 1] : 0;
    int h;

    t->keep_flags = true;
    if (d == T1_ZR)
        return true;
    h = t1_dst(t, d, RAX);
    if ((next & 0xffc003ffu) == (0x91000000u | d << 5 | d)) {
        value += bits32(next, 21, 10);
        t->fused = t->i + 1;
    }
    t1_mov_guest(t, h, value);
    t1_put(t, d, h);
    return true;
}

static bool t1_adr(struct t1 *t, uint32_t insn)
{
    int64_t imm = sext64(bits32(insn, 23, 5) << 2 | bits32(insn, 30, 29), 21);
    return t1_mov_pc(t, t1_zr(a64_rd(insn)), t1_pc(t) + (uint64_t)imm);
}

static bool t1_adrp(struct t1 *t, uint32_t insn)
{
    int64_t imm = sext64(bits32(insn, 23, 5) << 2 | bits32(insn, 30, 29), 21);
    return t1_mov_pc(t, t1_zr(a64_rd(insn)), (t1_pc(t) & ~UINT64_C(0xfff)) + ((uint64_t)imm << 12));
}

static bool t1_mov_const(struct t1 *t, unsigned d, uint64_t v)
{
    int h = t1_dst(t, d, RAX);

    t->keep_flags = true;
    if (d == T1_ZR)
        return true;
    x64_mov_imm(t->e, h, v);
    t1_put(t, d, h);
    return true;
}

/* A constant with the parts of it that follow. */
static bool t1_mov_wide(struct t1 *t, uint32_t insn, uint64_t v)
{
    unsigned d = t1_zr(a64_rd(insn));

    for (unsigned k = t->i + 1; d != T1_ZR && k < t->n && !(t->labels >> k & 1); k++) {
        uint32_t next = t->insn[k];
        unsigned sh = bits32(next, 22, 21) * 16;

        if (t->row[k] != A64_movk || a64_rd(next) != d || t1_sf(next) != t1_sf(insn))
            break;
        v = (v & ~(UINT64_C(0xffff) << sh)) | (uint64_t)bits32(next, 20, 5) << sh;
        t->fused = k;
    }
    return t1_mov_const(t, d, v);
}

static bool t1_movz(struct t1 *t, uint32_t insn)
{
    return t1_mov_wide(t, insn, (uint64_t)bits32(insn, 20, 5) << bits32(insn, 22, 21) * 16);
}

static bool t1_movn(struct t1 *t, uint32_t insn)
{
    uint64_t v = ~((uint64_t)bits32(insn, 20, 5) << bits32(insn, 22, 21) * 16);
    return t1_mov_wide(t, insn, t1_sf(insn) ? v : (uint32_t)v);
}

static bool t1_movk(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn)), sh = bits32(insn, 22, 21) * 16;
    uint64_t imm = bits32(insn, 20, 5);
    bool w = t1_sf(insn);
    int h = t1_dst(t, d, RAX);

    if (t1_fused(t))
        return t->keep_flags = true;
    if (d == T1_ZR)
        return true;
    if (h == RAX)
        t1_copy(t, true, d, RAX);
    if (sh < 32 && !w) {
        x64_alu_ri(t->e, false, ALU_AND, h, (int32_t) ~(0xffffu << sh));
        x64_alu_ri(t->e, false, ALU_OR, h, (int32_t)(imm << sh));
    } else {
        x64_mov_imm(t->e, RCX, ~(UINT64_C(0xffff) << sh));
        x64_alu_rr(t->e, true, ALU_AND, h, RCX);
        x64_mov_imm(t->e, RCX, imm << sh);
        x64_alu_rr(t->e, true, ALU_OR, h, RCX);
    }
    t1_put(t, d, h);
    return true;
}

/* ---- add and subtract ---- */

/* d = n + host, flags as they were, where that takes one instruction. */
static bool t1_add(struct t1 *t, bool w, unsigned d, unsigned n, int host)
{
    int hd = t1_host(t, d), hn = t1_host(t, n);

    if (hd < 0 || hn < 0 || hd == hn)
        return false;
    x64_lea(t->e, w, hd, x64_mx(hn, host, 0, 0));
    t1_used(t, n);
    t1_wrote(t, d);
    return true;
}

/* d = n op RCX-or-register operand. `m`: guest register, or -1 for RCX. Flags go to host flags. */
static void t1_alu3(struct t1 *t, bool w, enum x64_alu op, unsigned d, unsigned n, int m)
{
    int hd = t1_dst(t, d, RAX);
    bool d_is_m = m >= 0 && (unsigned)m == d && d != n;

    if (d == T1_ZR || d_is_m || hd == RAX)
        hd = RAX;
    if (hd == RAX || d != n)
        t1_copy(t, w, n, hd);
    if (m < 0)
        x64_alu_rr(t->e, w, op, hd, RCX);
    else
        t1_alu(t, w, op, hd, (unsigned)m);
    if (d != T1_ZR) {
        if (t1_host(t, d) >= 0 && hd == RAX)
            x64_mov_rr(t->e, w, t1_host(t, d), RAX);
        else if (t1_host(t, d) < 0)
            x64_store(t->e, true, RAX, t1_slot(d));
        t1_wrote(t, d);
    }
}

static bool t1_addsub_imm(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sub = insn >> 30 & 1, flags = insn >> 29 & 1;
    uint32_t imm = bits32(insn, 21, 10) << (insn >> 22 & 1) * 12;
    unsigned n = a64_rn(insn), d = flags ? t1_zr(a64_rd(insn)) : a64_rd(insn);
    int hd = t1_dst(t, d, RAX), hn;

    if (t1_fused(t))
        return t->keep_flags = true;
    if (flags) {
        if (d == T1_ZR && sub && t1_host(t, n) >= 0) {
            x64_alu_ri(t->e, w, ALU_CMP, t1_host(t, n), (int32_t)imm);
        } else if (d == T1_ZR && sub) {
            x64_alu_mi(t->e, w, ALU_CMP, t1_slot(n), (int32_t)imm);
        } else {
            if (d == T1_ZR)
                hd = RAX;
            if (hd == RAX || d != n)
                t1_copy(t, w, n, hd);
            x64_alu_ri(t->e, w, sub ? ALU_SUB : ALU_ADD, hd, (int32_t)imm);
            if (d != T1_ZR && t1_host(t, d) < 0)
                x64_store(t->e, true, hd, t1_slot(d));
            t1_wrote(t, d);
        }
        if (sub)
            t1_save_flags(t);
        else
            t1_flags_add(t);
        return true;
    }
    if (d == n && w) {
        t1_writeback(t, d, sub ? -(int64_t)imm : (int64_t)imm);
        t->keep_flags = t1_host(t, d) >= 0;
        return true;
    }
    hn = t1_get(t, n, RAX);
    /* LEA leaves flags alone. */
    x64_lea(t->e, w, hd, x64_m(hn, sub ? -(int32_t)imm : (int32_t)imm));
    t1_put(t, d, hd);
    t->keep_flags = true;
    return true;
}

/* RCX = Rm shifted; false when the register can be used as it is. */
static bool t1_shifted(struct t1 *t, uint32_t insn, bool w)
{
    static const uint8_t op[4] = {SH_SHL, SH_SHR, SH_SAR, SH_ROR};
    unsigned amount = bits32(insn, 15, 10);

    if (!amount)
        return false;
    if (bits32(insn, 23, 22) == 3 && t1_rorx_guest(t, w, RCX, t1_zr(a64_rm(insn)), amount))
        return true;
    t1_copy(t, w, t1_zr(a64_rm(insn)), RCX);
    x64_shift_ri(t->e, w, op[bits32(insn, 23, 22)], RCX, amount);
    return true;
}

static bool t1_addsub_sreg(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sub = insn >> 30 & 1, flags = insn >> 29 & 1;
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn));
    unsigned amount = bits32(insn, 15, 10);

    if (!flags && d == T1_ZR)
        return t->keep_flags = true;
    if (t1_is_lea(insn)) {
        int hn = t1_get(t, n, RAX), hm = t1_get(t, m, RCX), hd = t1_dst(t, d, RAX);
        x64_lea(t->e, w, hd, x64_mx(hn, hm, amount, 0));
        t1_put(t, d, hd);
        t->keep_flags = true;
        return true;
    }
    if (t->host_flags && t1_is_shlx(insn)) {
        static const uint32_t op[3] = {BMI_SHLX, BMI_SHRX, BMI_SARX};
        int hn = t1_get(t, n, RAX), hd = t1_dst(t, d, RAX);
        x64_mov_imm(t->e, RDX, amount);
        t1_bmi(t, w, op[bits32(insn, 23, 22)], RCX, RDX, m);
        x64_lea(t->e, w, hd, x64_mx(hn, RCX, 0, 0));
        t1_put(t, d, hd);
        t->keep_flags = true;
        return true;
    }
    if (flags && sub && d == T1_ZR && !amount) {
        int hn = t1_get(t, n, RAX);
        t1_alu(t, w, ALU_CMP, hn, m);
    } else {
        bool rcx = t1_shifted(t, insn, w);
        if (!rcx || flags || sub || !t1_add(t, w, d, n, RCX))
            t1_alu3(t, w, sub ? ALU_SUB : ALU_ADD, d, n, rcx ? -1 : (int)m);
    }
    if (flags && sub)
        t1_save_flags(t);
    else if (flags)
        t1_flags_add(t);
    return true;
}

/* RCX = Rm extended and shifted (Arm ARM ExtendReg). */
static void t1_extend(struct t1 *t, unsigned m, unsigned option, unsigned shift)
{
    int h = t1_get(t, m, RCX);

    switch (option) {
    case 0: x64_rr8(t->e, false, X64_MOVZX8, RCX, h); break;
    case 1: x64_rr(t->e, false, X64_MOVZX16, RCX, h); break;
    case 2: x64_mov_rr(t->e, false, RCX, h); break;
    case 4: x64_rr8(t->e, true, X64_MOVSX8, RCX, h); break;
    case 5: x64_rr(t->e, true, X64_MOVSX16, RCX, h); break;
    case 6: x64_rr(t->e, true, X64_MOVSXD, RCX, h); break;
    default:
        if (h != RCX)
            x64_mov_rr(t->e, true, RCX, h);
        break;
    }
    if (shift)
        x64_shift_ri(t->e, true, SH_SHL, RCX, shift);
}

static bool t1_addsub_ereg(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sub = insn >> 30 & 1, flags = insn >> 29 & 1;
    unsigned d = flags ? t1_zr(a64_rd(insn)) : a64_rd(insn);

    t1_extend(t, t1_zr(a64_rm(insn)), bits32(insn, 15, 13), bits32(insn, 12, 10));
    if (flags || sub || !t1_add(t, w, d, a64_rn(insn), RCX))
        t1_alu3(t, w, sub ? ALU_SUB : ALU_ADD, d, a64_rn(insn), -1);
    if (flags && sub)
        t1_save_flags(t);
    else if (flags)
        t1_flags_add(t);
    return true;
}

static bool t1_adc(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sub = insn >> 30 & 1, flags = insn >> 29 & 1;
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn));

    t1_copy(t, w, m, RCX);
    t1_copy(t, w, n, RDX);
    if (!t->host_flags)
        t1_cond(t, 2); /* HS: CF is the carry then, in the one sense or the other */
    t1_carry(t, !sub);
    x64_alu_rr(t->e, w, sub ? ALU_SBB : ALU_ADC, RDX, RCX);
    if (flags && sub)
        t1_save_flags(t);
    else if (flags)
        t1_flags_add(t);
    if (d != T1_ZR)
        t1_put(t, d, RDX);
    return true;
}

/* ---- logic ---- */

static bool t1_logic_imm(struct t1 *t, uint32_t insn)
{
    static const uint8_t ops[4] = {ALU_AND, ALU_OR, ALU_XOR, ALU_AND};
    bool w = t1_sf(insn);
    unsigned opc = bits32(insn, 30, 29), n = t1_zr(a64_rn(insn));
    unsigned d = opc == 3 ? t1_zr(a64_rd(insn)) : a64_rd(insn);
    uint64_t imm, unused;

    a64_bitmask(insn >> 22 & 1, bits32(insn, 15, 10), bits32(insn, 21, 16), true, w ? 64 : 32, &imm, &unused);
    if (!w)
        imm = (uint32_t)imm;
    if (opc == 1 && n == T1_ZR)
        return t1_mov_const(t, d, imm);
    if (opc == 0 && imm == UINT32_MAX) {
        int hd = t1_dst(t, d, RAX);
        t1_copy(t, false, n, hd);
        t1_put(t, d, hd);
        return t->keep_flags = true;
    }
    if (w ? (int64_t)imm == (int32_t)imm : true) {
        int hd = d == T1_ZR ? RAX : t1_dst(t, d, RAX);
        if (opc == 3 && d == T1_ZR && t1_host(t, n) >= 0) {
            x64_test_ri(t->e, w, t1_host(t, n), (int32_t)imm);
        } else {
            if (hd == RAX || d != n)
                t1_copy(t, w, n, hd);
            x64_alu_ri(t->e, w, ops[opc], hd, (int32_t)imm);
            if (d != T1_ZR)
                t1_put(t, d, hd);
        }
    } else {
        x64_mov_imm(t->e, RCX, imm);
        t1_alu3(t, w, ops[opc], d, n, -1);
    }
    if (opc == 3)
        t1_flags_logic(t);
    return true;
}

static bool t1_logic_sreg(struct t1 *t, uint32_t insn)
{
    static const uint8_t ops[4] = {ALU_AND, ALU_OR, ALU_XOR, ALU_AND};
    bool w = t1_sf(insn), invert = insn >> 21 & 1, rcx;
    unsigned opc = bits32(insn, 30, 29), d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn));

    if (opc != 3 && d == T1_ZR)
        return t->keep_flags = true;
    /* MOV */
    if (t1_is_mov(insn)) {
        int h = t1_host(t, d);
        if (h >= 0) {
            t1_copy(t, w, m, h);
        } else {
            h = m != T1_ZR && t1_host(t, m) >= 0 && w ? t1_host(t, m) : RAX;
            if (h == RAX)
                t1_copy(t, w, m, RAX);
            x64_store(t->e, true, h, t1_slot(d));
        }
        t1_wrote(t, d);
        t->keep_flags = true;
        return true;
    }
    rcx = t1_shifted(t, insn, w);
    if (invert) {
        if (!rcx)
            t1_copy(t, w, m, RCX);
        x64_rr(t->e, w, 0xf7, 2, RCX); /* not */
        rcx = true;
    }
    /* TST x, x */
    if (opc == 3 && d == T1_ZR && !rcx && n == m) {
        int h = t1_get(t, n, RAX);
        x64_test_rr(t->e, w, h, h);
    } else {
        t1_alu3(t, w, ops[opc], d, n, rcx ? -1 : (int)m);
    }
    if (opc == 3)
        t1_flags_logic(t);
    return true;
}

/* ---- bit fields and shifts ---- */

/* UBFM and SBFM: the field goes up to the top, then down, to bit 0 (LSR, ASR, the extracts and extensions) or to
 * size - r (LSL, the inserts into zeroes). */
static bool t1_bfm_shift(struct t1 *t, uint32_t insn, bool sign)
{
    bool w = t1_sf(insn);
    unsigned r = bits32(insn, 21, 16), s = bits32(insn, 15, 10), size = w ? 64 : 32;
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), up = size - 1 - s, down;
    int hd = t1_dst(t, d, RAX);

    if (d == T1_ZR)
        return true;
    if (r == 0 && (s == 7 || s == 15 || s == 31)) {
        int hn = t1_get(t, n, RAX);
        if (s == 7)
            x64_rr8(t->e, sign && w, sign ? X64_MOVSX8 : X64_MOVZX8, hd, hn);
        else if (s == 15)
            x64_rr(t->e, sign && w, sign ? X64_MOVSX16 : X64_MOVZX16, hd, hn);
        else
            x64_rr(t->e, sign && w, sign && w ? X64_MOVSXD : 0x8b, hd, hn);
        t1_put(t, d, hd);
        t->keep_flags = true;
        return true;
    }
    if (r == 0 && !sign && s < 31) {
        if (hd == RAX || d != n)
            t1_copy(t, false, n, hd);
        x64_alu_ri(t->e, false, ALU_AND, hd, (int32_t)(UINT32_MAX >> (31 - s)));
        t1_put(t, d, hd);
        return true;
    }
    if (hd == RAX || d != n)
        t1_copy(t, w, n, hd);
    down = s >= r ? r + up : up - (size - r);
    if (up)
        x64_shift_ri(t->e, w, SH_SHL, hd, up);
    if (down)
        x64_shift_ri(t->e, w, sign ? SH_SAR : SH_SHR, hd, down);
    t1_put(t, d, hd);
    return true;
}

static bool t1_ubfm(struct t1 *t, uint32_t insn)
{
    return t1_bfm_shift(t, insn, false);
}

static bool t1_sbfm(struct t1 *t, uint32_t insn)
{
    return t1_bfm_shift(t, insn, true);
}

static bool t1_bfm(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn);
    unsigned r = bits32(insn, 21, 16), s = bits32(insn, 15, 10), size = w ? 64 : 32;
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), width, at;
    uint64_t mask;

    if (d == T1_ZR)
        return true;
    /* BFXIL: bits s..r of n to 0; BFI: bits s..0 of n to size - r. */
    width = s >= r ? s - r + 1 : s + 1;
    at = s >= r ? 0 : size - r;
    mask = (UINT64_MAX >> (64 - width)) << at;
    /* d ^ ((d ^ n) & mask) */
    t1_copy(t, w, n, RAX);
    if (s >= r && r)
        x64_shift_ri(t->e, w, SH_SHR, RAX, r);
    else if (at)
        x64_shift_ri(t->e, w, SH_SHL, RAX, at);
    t1_alu(t, w, ALU_XOR, RAX, d);
    if (!w || (int64_t)mask == (int32_t)mask) {
        x64_alu_ri(t->e, w, ALU_AND, RAX, (int32_t)mask);
    } else {
        x64_mov_imm(t->e, RCX, mask);
        x64_alu_rr(t->e, true, ALU_AND, RAX, RCX);
    }
    if (t1_host(t, d) >= 0) {
        x64_alu_rr(t->e, w, ALU_XOR, t1_host(t, d), RAX);
        t1_wrote(t, d);
    } else {
        t1_alu(t, w, ALU_XOR, RAX, d);
        t1_put(t, d, RAX);
    }
    return true;
}

static bool t1_extr(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn);
    unsigned d = t1_zr(a64_rd(insn)), lsb = bits32(insn, 15, 10);
    int hd = t1_dst(t, d, RAX);

    if (d == T1_ZR)
        return true;
    if (lsb && a64_rn(insn) == a64_rm(insn) && t1_rorx_guest(t, w, hd, t1_zr(a64_rm(insn)), lsb)) {
        t1_put(t, d, hd);
        return true;
    }
    t1_copy(t, w, t1_zr(a64_rm(insn)), RAX);
    if (lsb && a64_rn(insn) == a64_rm(insn)) {
        x64_shift_ri(t->e, w, SH_ROR, RAX, lsb); /* SHRD is slow on some hosts */
    } else if (lsb) {
        int hn = t1_get(t, t1_zr(a64_rn(insn)), RCX);
        x64_rr(t->e, w, X64_OP(0, 0x0f, 0xac), hn, RAX); /* shrd rax, n, lsb */
        x64_u8(t->e, (uint8_t)lsb);
    }
    t1_put(t, d, RAX);
    return true;
}

static bool t1_shiftv(struct t1 *t, uint32_t insn)
{
    static const uint8_t op[4] = {SH_SHL, SH_SHR, SH_SAR, SH_ROR};
    static const uint32_t bmi[3] = {BMI_SHLX, BMI_SHRX, BMI_SARX};
    bool w = t1_sf(insn);
    unsigned d = t1_zr(a64_rd(insn)), kind = bits32(insn, 11, 10);
    int hd = t1_dst(t, d, RAX);

    if (d == T1_ZR)
        return true;
    if (kind < 3 && t1_have.bmi2 && a64_rn(insn) != 31) {
        t1_bmi(t, w, bmi[kind], hd, t1_get(t, t1_zr(a64_rm(insn)), RCX), a64_rn(insn));
        t1_put(t, d, hd);
        return true;
    }
    t1_copy(t, false, t1_zr(a64_rm(insn)), RCX);
    t1_copy(t, w, t1_zr(a64_rn(insn)), RAX);
    x64_shift_cl(t->e, w, op[kind], RAX);
    t1_put(t, d, RAX);
    return true;
}

/* ---- multiply and divide ---- */

/* high:low = n * m, unsigned; flags stay. RDX and, for what is in no register, RCX are lost. */
static void t1_mulx(struct t1 *t, uint32_t insn, int high, int low)
{
    t1_copy(t, true, t1_zr(a64_rn(insn)), RDX);
    t1_bmi(t, true, BMI_MULX, high, low, t1_zr(a64_rm(insn)));
}

/* d = a + RAX, or a - RAX. */
static bool t1_accumulate(struct t1 *t, bool w, bool sub, unsigned d, unsigned a)
{
    if (sub) {
        t1_copy(t, w, a, RCX);
        x64_alu_rr(t->e, w, ALU_SUB, RCX, RAX);
        t1_put(t, d, RCX);
    } else if (!t1_add(t, w, d, a, RAX)) {
        if (a != T1_ZR)
            t1_alu(t, w, ALU_ADD, RAX, a);
        t1_put(t, d, RAX);
    }
    return true;
}

static void t1_imul(struct t1 *t, bool w, int host, unsigned m)
{
    if (m == T1_ZR || t1_host(t, m) >= 0)
        x64_rr(t->e, w, X64_IMUL, host, t1_get(t, m, RCX));
    else
        x64_rm(t->e, w, X64_IMUL, host, t1_slot(m));
    t1_used(t, m);
}

static bool t1_madd(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sub = insn >> 15 & 1;
    unsigned d = t1_zr(a64_rd(insn)), a = t1_zr(a64_ra(insn));
    unsigned n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn));
    int h = t1_host(t, d);

    if (t->host_flags && !sub && w && a == T1_ZR && t1_have.bmi2) {
        t->keep_flags = true;
        if (d != T1_ZR) {
            t1_mulx(t, insn, RDX, t1_dst(t, d, RAX));
            t1_put(t, d, t1_dst(t, d, RAX));
        }
        return true;
    }
    if (d == T1_ZR)
        return true;
    if (d == m) {
        m = n;
        n = d;
    }
    if (a == T1_ZR && !sub && h >= 0) {
        if (d != n)
            t1_copy(t, w, n, h);
        t1_imul(t, w, h, m);
        t1_wrote(t, d);
        return true;
    }
    t1_copy(t, w, n, RAX);
    t1_imul(t, w, RAX, m);
    return t1_accumulate(t, w, sub, d, a);
}

static bool t1_maddl(struct t1 *t, uint32_t insn)
{
    bool sub = insn >> 15 & 1, uns = insn >> 23 & 1;
    unsigned d = t1_zr(a64_rd(insn)), a = t1_zr(a64_ra(insn));
    int hn, hm;

    if (d == T1_ZR)
        return true;
    hn = t1_get(t, t1_zr(a64_rn(insn)), RAX);
    hm = t1_get(t, t1_zr(a64_rm(insn)), RCX);
    if (uns) {
        x64_mov_rr(t->e, false, RAX, hn);
        x64_mov_rr(t->e, false, RCX, hm);
    } else {
        x64_rr(t->e, true, X64_MOVSXD, RAX, hn);
        x64_rr(t->e, true, X64_MOVSXD, RCX, hm);
    }
    x64_rr(t->e, true, X64_IMUL, RAX, RCX);
    return t1_accumulate(t, true, sub, d, a);
}

static bool t1_mulh(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn));

    if (insn >> 23 & 1 && t1_have.bmi2) {
        t->keep_flags = true;
        if (d != T1_ZR) {
            t1_mulx(t, insn, t1_dst(t, d, RDX), RAX);
            t1_put(t, d, t1_dst(t, d, RDX));
        }
        return true;
    }
    if (d == T1_ZR)
        return true;
    t1_copy(t, true, t1_zr(a64_rn(insn)), RAX);
    x64_rr(t->e, true, 0xf7, insn >> 23 & 1 ? 4 : 5, t1_get(t, t1_zr(a64_rm(insn)), RCX)); /* mul, imul */
    t1_put(t, d, RDX);
    return true;
}

/* UDIV, SDIV: division by zero gives zero, the most negative number by -1 gives itself (Arm ARM C3.4.9). */
static bool t1_div(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sign = insn >> 10 & 1;
    unsigned d = t1_zr(a64_rd(insn));
    uint8_t *zero, *one = NULL, *done, *done2 = NULL;

    if (d == T1_ZR)
        return true;
    t1_copy(t, w, t1_zr(a64_rm(insn)), RCX);
    t1_copy(t, w, t1_zr(a64_rn(insn)), RAX);
    x64_test_rr(t->e, w, RCX, RCX);
    zero = x64_jcc8_fwd(t->e, CC_E);
    if (sign) {
        x64_alu_ri(t->e, w, ALU_CMP, RCX, -1);
        one = x64_jcc8_fwd(t->e, CC_E);
        if (w)
            x64_u8(t->e, 0x48);
        x64_u8(t->e, 0x99); /* cqo, cdq */
        x64_rr(t->e, w, 0xf7, 7, RCX);
        done = x64_jmp8_fwd(t->e);
        x64_bind8(t->e, one);
        x64_rr(t->e, w, 0xf7, 3, RAX); /* neg */
        done2 = x64_jmp8_fwd(t->e);
    } else {
        x64_alu_rr(t->e, false, ALU_XOR, RDX, RDX);
        x64_rr(t->e, w, 0xf7, 6, RCX);
        done = x64_jmp8_fwd(t->e);
    }
    x64_bind8(t->e, zero);
    x64_alu_rr(t->e, false, ALU_XOR, RAX, RAX);
    x64_bind8(t->e, done);
    if (sign)
        x64_bind8(t->e, done2);
    t1_put(t, d, RAX);
    return true;
}

/* ---- one source ---- */

static void t1_bswap(struct t1 *t, bool w, int r)
{
    x64_u8(t->e, (uint8_t)(0x40 | w << 3 | (r & 8) >> 3));
    x64_u8(t->e, 0x0f);
    x64_u8(t->e, (uint8_t)(0xc8 | (r & 7)));
}

static bool t1_rev(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn)), opc = bits32(insn, 11, 10);
    bool w = t1_sf(insn);

    if (d == T1_ZR)
        return true;
    t1_copy(t, w, t1_zr(a64_rn(insn)), RAX);
    t1_bswap(t, w, RAX);
    if (w && opc == 2)
        x64_shift_ri(t->e, true, SH_ROR, RAX, 32);
    t1_put(t, d, RAX);
    return true;
}

/* Swaps bits at distance `sh` under `mask` in RAX. */
static void t1_swap_step(struct t1 *t, bool w, uint64_t mask, unsigned sh)
{
    x64_mov_imm(t->e, RDX, w ? mask : (uint32_t)mask);
    x64_mov_rr(t->e, w, RCX, RAX);
    x64_shift_ri(t->e, w, SH_SHR, RAX, sh);
    x64_alu_rr(t->e, w, ALU_AND, RAX, RDX);
    x64_alu_rr(t->e, w, ALU_AND, RCX, RDX);
    x64_shift_ri(t->e, w, SH_SHL, RCX, sh);
    x64_alu_rr(t->e, w, ALU_OR, RAX, RCX);
}

static bool t1_rev16(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn));

    if (d == T1_ZR)
        return true;
    t1_copy(t, t1_sf(insn), t1_zr(a64_rn(insn)), RAX);
    t1_swap_step(t, t1_sf(insn), UINT64_C(0x00ff00ff00ff00ff), 8);
    t1_put(t, d, RAX);
    return true;
}

static bool t1_rbit(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn));
    bool w = t1_sf(insn);

    if (d == T1_ZR)
        return true;
    t1_copy(t, w, t1_zr(a64_rn(insn)), RAX);
    t1_bswap(t, w, RAX);
    t1_swap_step(t, w, UINT64_C(0x0f0f0f0f0f0f0f0f), 4);
    t1_swap_step(t, w, UINT64_C(0x3333333333333333), 2);
    t1_swap_step(t, w, UINT64_C(0x5555555555555555), 1);
    t1_put(t, d, RAX);
    return true;
}

/* CLZ by BSR, which every x86-64 has: BSR of (2x + 1) is the index plus one, also for zero. */
static void t1_clz_rax(struct t1 *t, bool w)
{
    x64_mov_imm(t->e, RCX, w ? 127 : 63);
    x64_rr(t->e, w, X64_BSR, RAX, RAX);
    x64_cmov(t->e, true, CC_E, RAX, RCX);
    x64_alu_ri(t->e, false, ALU_XOR, RAX, w ? 63 : 31);
}

static bool t1_clz(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn));

    if (d == T1_ZR)
        return true;
    t1_copy(t, t1_sf(insn), t1_zr(a64_rn(insn)), RAX);
    t1_clz_rax(t, t1_sf(insn));
    t1_put(t, d, RAX);
    return true;
}

static bool t1_cls(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn));
    bool w = t1_sf(insn);

    if (d == T1_ZR)
        return true;
    /* Leading bits that equal the sign: CLZ(x ^ x<<1 with the lowest bit set) */
    t1_copy(t, w, t1_zr(a64_rn(insn)), RAX);
    x64_mov_rr(t->e, w, RCX, RAX);
    x64_alu_rr(t->e, w, ALU_ADD, RCX, RCX);
    x64_alu_rr(t->e, w, ALU_XOR, RAX, RCX);
    x64_alu_ri(t->e, w, ALU_OR, RAX, 1);
    t1_clz_rax(t, w);
    t1_put(t, d, RAX);
    return true;
}

/* ---- conditional ---- */

static bool t1_csel(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), inv = insn >> 30 & 1, inc = insn >> 10 & 1;
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn));
    unsigned cond = bits32(insn, 15, 12);
    int hd = t1_dst(t, d, RAX);
    enum x64_cc cc;

    if (d == T1_ZR) {
        t->keep_flags = true;
        return true;
    }
    if (cond >= 14) {
        t1_copy(t, w, n, RAX);
        t1_put(t, d, RAX);
        t->keep_flags = true;
        return true;
    }
    cc = t1_cond(t, cond);
    if (n == T1_ZR && m == T1_ZR && inc && !inv) {
        /* CSET */
        x64_setcc(t->e, cc ^ 1, RAX);
        x64_rr8(t->e, false, X64_MOVZX8, hd, RAX);
    } else if (!inv && !inc && d == n && hd != RAX) {
        x64_cmov(t->e, w, cc ^ 1, hd, t1_get(t, m, RCX));
    } else {
        int other = d == n ? RAX : hd;
        /* NOT and LEA leave flags alone. */
        if (inc && !inv) {
            x64_lea(t->e, w, other, x64_m(t1_get(t, m, other), 1));
        } else {
            if (other == RAX || d != m)
                t1_copy(t, w, m, other);
            if (inv)
                x64_rr(t->e, w, 0xf7, 2, other);
            if (inc)
                x64_lea(t->e, w, other, x64_m(other, 1));
        }
        if (other != hd)
            x64_cmov(t->e, w, cc ^ 1, hd, other);
        else
            x64_cmov(t->e, w, cc, hd, t1_get(t, n, RCX));
    }
    t1_put(t, d, hd);
    t->keep_flags = true;
    return true;
}

static bool t1_ccmp(struct t1 *t, uint32_t insn)
{
    bool w = t1_sf(insn), sub = insn >> 30 & 1, imm = insn >> 11 & 1;
    unsigned n = t1_zr(a64_rn(insn)), m = a64_rm(insn), cond = bits32(insn, 15, 12), nzcv = insn & 15;
    uint8_t *skip = NULL, *done = NULL;
    int hn;
    uint32_t image = (nzcv & 8 ? ARM64_FLAG_N : 0) | (nzcv & 4 ? ARM64_FLAG_Z : 0) | (nzcv & 2 ? 0 : ARM64_FLAG_NOTC) |
                     (nzcv & 1 ? ARM64_FLAG_V : 0);

    if (cond < 14) {
        enum x64_cc cc = t1_cond(t, cond);
        skip = x64_jcc8_fwd(t->e, cc ^ 1);
    }
    if (sub) {
        hn = t1_get(t, n, RDX);
    } else {
        t1_copy(t, w, n, RDX);
        hn = RDX;
    }
    if (imm)
        x64_alu_ri(t->e, w, sub ? ALU_CMP : ALU_ADD, hn, (int32_t)m);
    else
        t1_alu(t, w, sub ? ALU_CMP : ALU_ADD, hn, t1_zr(m));
    if (!sub)
        x64_u8(t->e, 0xf5);
    if (skip) {
        done = x64_jmp8_fwd(t->e);
        x64_bind8(t->e, skip);
        x64_mov_imm(t->e, RAX, image);
        t1_host_flags(t);
        x64_bind8(t->e, done);
    }
    t1_save_flags(t);
    return true;
}

void t1_init_int(void)
{
    t1_table[A64_adr] = t1_adr;
    t1_table[A64_adrp] = t1_adrp;
    t1_table[A64_movz] = t1_movz;
    t1_table[A64_movn] = t1_movn;
    t1_table[A64_movk] = t1_movk;
    t1_table[A64_add_imm] = t1_table[A64_adds_imm] = t1_addsub_imm;
    t1_table[A64_sub_imm] = t1_table[A64_subs_imm] = t1_addsub_imm;
    t1_table[A64_add_sreg] = t1_table[A64_adds_sreg] = t1_addsub_sreg;
    t1_table[A64_sub_sreg] = t1_table[A64_subs_sreg] = t1_addsub_sreg;
    t1_table[A64_add_ereg] = t1_table[A64_adds_ereg] = t1_addsub_ereg;
    t1_table[A64_sub_ereg] = t1_table[A64_subs_ereg] = t1_addsub_ereg;
    t1_table[A64_adc] = t1_table[A64_adcs] = t1_table[A64_sbc] = t1_table[A64_sbcs] = t1_adc;
    t1_table[A64_and_imm] = t1_table[A64_orr_imm] = t1_table[A64_eor_imm] = t1_table[A64_ands_imm] = t1_logic_imm;
    t1_table[A64_and_sreg] = t1_table[A64_bic_sreg] = t1_table[A64_orr_sreg] = t1_table[A64_orn_sreg] = t1_logic_sreg;
    t1_table[A64_eor_sreg] = t1_table[A64_eon_sreg] = t1_table[A64_ands_sreg] = t1_table[A64_bics_sreg] = t1_logic_sreg;
    t1_table[A64_ubfm] = t1_ubfm;
    t1_table[A64_sbfm] = t1_sbfm;
    t1_table[A64_bfm] = t1_bfm;
    t1_table[A64_extr] = t1_extr;
    t1_table[A64_lslv] = t1_table[A64_lsrv] = t1_table[A64_asrv] = t1_table[A64_rorv] = t1_shiftv;
    t1_table[A64_madd] = t1_table[A64_msub] = t1_madd;
    t1_table[A64_smaddl] = t1_table[A64_smsubl] = t1_table[A64_umaddl] = t1_table[A64_umsubl] = t1_maddl;
    t1_table[A64_smulh] = t1_table[A64_umulh] = t1_mulh;
    t1_table[A64_udiv] = t1_table[A64_sdiv] = t1_div;
    t1_table[A64_rev_w] = t1_table[A64_rev32] = t1_table[A64_rev_x] = t1_rev;
    t1_table[A64_rev16] = t1_rev16;
    t1_table[A64_rbit] = t1_rbit;
    t1_table[A64_clz] = t1_clz;
    t1_table[A64_cls] = t1_cls;
    t1_table[A64_csel] = t1_table[A64_csinc] = t1_table[A64_csinv] = t1_table[A64_csneg] = t1_csel;
    t1_table[A64_ccmp_reg] = t1_table[A64_ccmp_imm] = t1_table[A64_ccmn_reg] = t1_table[A64_ccmn_imm] = t1_ccmp;
}
