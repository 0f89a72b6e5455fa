/*
 * Tier 1: scalar and vector floating point.
 *
 * Arithmetic runs on the host's SSE with all exceptions masked and FPCR's rounding mode in MXCSR; MXCSR's sticky
 * flags are FPSR's until somebody reads them. Where the architectures differ the result shows it: a NaN, or (for
 * operations that can round a tiny result up) exactly the smallest normal number, where Arm, which detects tininess
 * before rounding, may set UFC and x86 does not. Such instructions are done again by the interpreter. Flags that the
 * first attempt raised are a subset of the right ones.
 *
 * This holds with FPCR at its default but for the rounding mode (JIT_CTX_FPFAST); with any other bit set the
 * interpreter does all arithmetic.
 */
#include "jit/a64/simd_imm.h"
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

static struct x64_mem t1_v_hi(struct t1 *t, unsigned r)
{
    return t1_plus(t1_v(t, r), 8);
}

/* V registers that the instruction may read, as far as one mask goes for all forms. */
static uint32_t t1_sources(uint32_t insn)
{
    return BIT32(a64_rn(insn)) | BIT32(a64_rm(insn)) | BIT32(a64_ra(insn));
}

/* ---- scalar arithmetic ---- */

static bool t1_dbl(uint32_t insn)
{
    return insn >> 22 & 1;
}

static uint32_t t1_scalar(bool dbl, uint8_t op)
{
    return dbl ? SSE_SD(op) : SSE_SS(op);
}

static uint32_t t1_packed(bool dbl, uint8_t op)
{
    return dbl ? SSE_PD(op) : SSE_PS(op);
}

static unsigned t1_bytes(bool dbl)
{
    return dbl ? 8 : 4;
}

/* A scalar operand: what is above it in the register does not matter. */
static int t1_fin(struct t1 *t, bool dbl, unsigned v, int scratch)
{
    return t1_vin(t, v, t1_bytes(dbl), scratch);
}

/* Leaves for the interpreter where x is a NaN, or (tiny) the smallest normal; the instruction's end must be set in
 * the stub's `back`. XMM1 is lost. */
static struct t1_stub *t1_fcheck(struct t1 *t, bool dbl, bool tiny, int x)
{
    if (tiny) {
        /* Equal and unordered both set ZF. */
        t1_vconst(t, SSE_ANDPS, XMM1, x, dbl ? JIT_CONST_ABS64 : JIT_CONST_ABS32);
        sse_rm(t->e, t1_packed(dbl, SSE_UCOMIS), XMM1, t1_const(dbl ? JIT_CONST_MIN64 : JIT_CONST_MIN32));
        return t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_E));
    }
    sse_rr(t->e, t1_packed(dbl, SSE_UCOMIS), x, x);
    return t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_P));
}

/* The lowest bytes of x are the result in Vd. */
static void t1_fstore(struct t1 *t, unsigned d, int x, unsigned bytes, struct t1_stub *s)
{
    t1_vput(t, d, x, bytes);
    if (s)
        s->back = t->e->p;
}

static bool t1_fast(const struct t1 *t)
{
    return t->b->ctx & JIT_CTX_FPFAST;
}

static bool t1_farith(struct t1 *t, uint32_t insn, uint8_t op, bool tiny)
{
    bool dbl = t1_dbl(insn);
    int n, x;

    if (!t1_fast(t))
        return false;
    n = t1_fin(t, dbl, a64_rn(insn), XMM0);
    x = t1_vtry(t, a64_rd(insn), t1_sources(insn));
    t1_v3(t, t1_scalar(dbl, op), x, n, a64_rm(insn), t1_bytes(dbl));
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), t1_fcheck(t, dbl, tiny, x));
    return true;
}

static bool t1_fadd(struct t1 *t, uint32_t insn)
{
    return t1_farith(t, insn, 0x58, false);
}

static bool t1_fsub(struct t1 *t, uint32_t insn)
{
    return t1_farith(t, insn, 0x5c, false);
}

static bool t1_fmul(struct t1 *t, uint32_t insn)
{
    return t1_farith(t, insn, 0x59, true);
}

static bool t1_fdiv(struct t1 *t, uint32_t insn)
{
    return t1_farith(t, insn, 0x5e, true);
}

static bool t1_fnmul(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);
    struct t1_stub *s;
    int n, x;

    if (!t1_fast(t))
        return false;
    n = t1_fin(t, dbl, a64_rn(insn), XMM0);
    x = t1_vtry(t, a64_rd(insn), t1_sources(insn));
    t1_v3(t, t1_scalar(dbl, 0x59), x, n, a64_rm(insn), t1_bytes(dbl));
    s = t1_fcheck(t, dbl, true, x);
    sse_rm(t->e, SSE_XORPS, x, t1_const(dbl ? JIT_CONST_SIGN64_S : JIT_CONST_SIGN32_S));
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), s);
    return true;
}

/* One operand: the other one of the host's form is there so that nothing is waited for. */
static int t1_funary(struct t1 *t, uint32_t insn, bool dbl, uint32_t op)
{
    int n = t1_fin(t, dbl, a64_rn(insn), XMM0), x = t1_vtry(t, a64_rd(insn), t1_sources(insn));

    t1_v3(t, op, x, n, a64_rn(insn), t1_bytes(dbl));
    return x;
}

static bool t1_fsqrt(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);
    int x;

    if (!t1_fast(t))
        return false;
    x = t1_funary(t, insn, dbl, t1_scalar(dbl, 0x51));
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), t1_fcheck(t, dbl, false, x));
    return true;
}

/* FMADD a + n*m, FMSUB a - n*m, FNMADD -a - n*m, FNMSUB -a + n*m. */
static bool t1_fmadd(struct t1 *t, uint32_t insn)
{
    /* vfmadd231, vfnmadd231, vfnmsub231, vfmsub231 by o1:o0; 213 is 16 less */
    static const uint8_t ops[4] = {0xb9, 0xbd, 0xbf, 0xbb};
    uint8_t op = ops[(insn >> 21 & 1) << 1 | (insn >> 15 & 1)];
    bool dbl = t1_dbl(insn);
    int a, n, m, x;

    if (!t1_fast(t) || !t1_have.fma)
        return false;
    a = t1_fin(t, dbl, a64_ra(insn), XMM0);
    n = t1_fin(t, dbl, a64_rn(insn), XMM1);
    m = t1_fin(t, dbl, a64_rm(insn), XMM2);
    x = t1_vtry(t, a64_rd(insn), t1_sources(insn));
    if (x == n || x == m) {
        vex_rrr(t->e, dbl, SSE_66_38(op - 16), x, x == n ? m : n, a);
    } else {
        if (x != a)
            sse_rr(t->e, SSE_MOVAPS_LOAD, x, a);
        vex_rrr(t->e, dbl, SSE_66_38(op), x, n, m);
    }
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), t1_fcheck(t, dbl, true, x));
    return true;
}

/* FMAX and the like where the operands are ordered and different; equal ones may be zeroes of either sign. */
static bool t1_fminmax(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn), min = insn >> 12 & 1;
    struct t1_stub *s;
    int n, x;

    if (!t1_fast(t))
        return false;
    n = t1_fin(t, dbl, a64_rn(insn), XMM0);
    t1_vop(t, false, t1_packed(dbl, SSE_UCOMIS), n, a64_rm(insn), t1_bytes(dbl));
    s = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_E));
    x = t1_vout(t, a64_rd(insn));
    t1_v3(t, t1_scalar(dbl, min ? 0x5d : 0x5f), x, n, a64_rm(insn), t1_bytes(dbl));
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), s);
    return true;
}

/* ---- moves ---- */

static bool t1_fmov(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);

    t1_fstore(t, a64_rd(insn), t1_fin(t, dbl, a64_rn(insn), XMM0), t1_bytes(dbl), NULL);
    t->keep_flags = true;
    return true;
}

static bool t1_fabsneg(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn), neg = insn >> 16 & 1;
    int n = t1_fin(t, dbl, a64_rn(insn), XMM0), x = t1_vout(t, a64_rd(insn));

    if (neg)
        t1_vconst(t, SSE_XORPS, x, n, dbl ? JIT_CONST_SIGN64_S : JIT_CONST_SIGN32_S);
    else
        t1_vconst(t, SSE_ANDPS, x, n, dbl ? JIT_CONST_ABS64 : JIT_CONST_ABS32);
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), NULL);
    t->keep_flags = true;
    return true;
}

static bool t1_fmov_imm(struct t1 *t, uint32_t insn)
{
    int x = t1_vout(t, a64_rd(insn));

    x64_mov_imm(t->e, RAX, a64_fp_imm(a64_fp_fmt(insn), bits32(insn, 20, 13)));
    x64_rr(t->e, true, SSE_MOVD_LOAD, x, RAX);
    t1_vput(t, a64_rd(insn), x, 16);
    t->keep_flags = true;
    return true;
}

static bool t1_fmov_from_gpr(struct t1 *t, uint32_t insn)
{
    bool w = insn >> 31, hi = insn >> 19 & 1;
    unsigned d = a64_rd(insn);

    if (hi) {
        x64_store(t->e, true, t1_get(t, t1_zr(a64_rn(insn)), RAX), t1_v_hi(t, d));
        t1_vlost(t, d);
    } else {
        x64_rr(t->e, w, SSE_MOVD_LOAD, t1_vout(t, d), t1_get(t, t1_zr(a64_rn(insn)), RAX));
        t1_vput(t, d, t1_vout(t, d), 16);
    }
    t->keep_flags = true;
    return true;
}

static bool t1_fmov_to_gpr(struct t1 *t, uint32_t insn)
{
    bool w = insn >> 31, hi = insn >> 19 & 1;
    unsigned d = t1_zr(a64_rd(insn)), n = a64_rn(insn);
    int h = t1_dst(t, d, RAX);

    if (d != T1_ZR) {
        if (hi)
            x64_load(t->e, true, h, t1_v_hi(t, n));
        else
            x64_rr(t->e, w, SSE_MOVD_STORE, t1_vin(t, n, w ? 8 : 4, XMM0), h);
        t1_put(t, d, h);
    }
    t->keep_flags = true;
    return true;
}

static bool t1_fcsel(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);
    unsigned cond = bits32(insn, 15, 12), d = a64_rd(insn);
    int x;

    if (cond < 14) {
        enum x64_cc cc = t1_cond(t, cond);
        x64_rr(t->e, dbl, SSE_MOVD_STORE, t1_fin(t, dbl, a64_rm(insn), XMM0), RAX);
        x64_rr(t->e, dbl, SSE_MOVD_STORE, t1_fin(t, dbl, a64_rn(insn), XMM0), RDX);
        x64_rr(t->e, dbl, X64_OP(0, 0x0f, 0x40 | cc), RAX, RDX);
    } else {
        x64_rr(t->e, dbl, SSE_MOVD_STORE, t1_fin(t, dbl, a64_rn(insn), XMM0), RAX);
    }
    x = t1_vout(t, d);
    x64_rr(t->e, dbl, SSE_MOVD_LOAD, x, RAX);
    t1_vput(t, d, x, 16);
    t->keep_flags = true;
    return true;
}

/* ---- comparison ---- */

/* Flags of an ordered comparison from host flags: those of a subtraction of two bytes, greater less less. */
static void t1_fcmp_flags(struct t1 *t)
{
    x64_setcc(t->e, CC_A, RAX);
    x64_setcc(t->e, CC_B, RCX);
    x64_rr8(t->e, false, 0x38, RCX, RAX); /* cmp al, cl */
    t1_save_flags(t);
}

static bool t1_fcmp(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn), zero = insn >> 3 & 1, signal = insn >> 4 & 1;
    uint32_t op = t1_packed(dbl, signal ? SSE_COMIS : SSE_UCOMIS);
    struct t1_stub *s;
    int n;

    if (!t1_fast(t))
        return false;
    n = t1_fin(t, dbl, a64_rn(insn), XMM0);
    if (zero) {
        sse_rr(t->e, SSE_XORPS, XMM1, XMM1);
        sse_rr(t->e, op, n, XMM1);
    } else {
        t1_vop(t, false, op, n, a64_rm(insn), t1_bytes(dbl));
    }
    s = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_P));
    t1_fcmp_flags(t);
    s->back = t->e->p;
    s->flags = true;
    return true;
}

/* ---- conversion and rounding ---- */

static bool t1_fcvt(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn); /* of the source */
    int x;

    if (!t1_fast(t))
        return false;
    x = t1_funary(t, insn, dbl, t1_scalar(dbl, 0x5a));
    t1_fstore(t, a64_rd(insn), x, t1_bytes(!dbl), t1_fcheck(t, !dbl, dbl, x));
    return true;
}

/* Zeroes, and a converted integer in the lowest bytes: w is its width, m where it is, or NULL for RAX. */
static bool t1_from_int(struct t1 *t, uint32_t insn, bool w, const struct x64_mem *m)
{
    int x = t1_vout(t, a64_rd(insn));
    uint32_t op = t1_scalar(t1_dbl(insn), 0x2a);

    sse_rr(t->e, SSE_XORPS, x, x);
    if (m)
        x64_rm(t->e, w, op, x, *m);
    else
        x64_rr(t->e, w, op, x, RAX);
    t1_fstore(t, a64_rd(insn), x, 16, NULL);
    return true;
}

static bool t1_scvtf_g(struct t1 *t, uint32_t insn)
{
    if (!t1_fast(t))
        return false;
    t1_copy(t, insn >> 31, t1_zr(a64_rn(insn)), RAX);
    return t1_from_int(t, insn, insn >> 31, NULL);
}

static bool t1_ucvtf_g(struct t1 *t, uint32_t insn)
{
    if (insn >> 31 || !t1_fast(t))
        return false;
    t1_copy(t, false, t1_zr(a64_rn(insn)), RAX);
    return t1_from_int(t, insn, true, NULL);
}

/* SCVTF of a scalar in a V register. */
static bool t1_scvtf_s(struct t1 *t, uint32_t insn)
{
    struct x64_mem m = t1_v(t, a64_rn(insn));

    return t1_fast(t) && t1_from_int(t, insn, t1_dbl(insn), &m);
}

/* The host gives the most negative number for all it cannot convert. */
static bool t1_fcvtzs_g(struct t1 *t, uint32_t insn)
{
    bool w = insn >> 31;
    unsigned d = t1_zr(a64_rd(insn));
    struct t1_stub *s;

    if (!t1_fast(t))
        return false;
    t1_vop(t, w, t1_scalar(t1_dbl(insn), 0x2c), RAX, a64_rn(insn), t1_bytes(t1_dbl(insn)));
    x64_mov_imm(t->e, RCX, w ? BIT64(63) : BIT64(31));
    x64_alu_rr(t->e, w, ALU_CMP, RAX, RCX);
    s = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_E));
    t1_put(t, d, RAX);
    s->back = t->e->p;
    return true;
}

/* ROUNDSS/SD: imm bit 3 suppresses the inexact flag, bit 2 takes MXCSR's mode. */
static bool t1_frint(struct t1 *t, uint32_t insn, uint8_t imm)
{
    bool dbl = t1_dbl(insn);
    int x;

    if (!t1_fast(t))
        return false;
    x = t1_funary(t, insn, dbl, SSE_66_3A(dbl ? 0x0b : 0x0a));
    x64_u8(t->e, imm);
    t1_fstore(t, a64_rd(insn), x, t1_bytes(dbl), t1_fcheck(t, dbl, false, x));
    return true;
}

static bool t1_frintn(struct t1 *t, uint32_t insn)
{
    return t1_frint(t, insn, 8);
}

static bool t1_frintm(struct t1 *t, uint32_t insn)
{
    return t1_frint(t, insn, 9);
}

static bool t1_frintp(struct t1 *t, uint32_t insn)
{
    return t1_frint(t, insn, 10);
}

static bool t1_frintz(struct t1 *t, uint32_t insn)
{
    return t1_frint(t, insn, 11);
}

static bool t1_frintx(struct t1 *t, uint32_t insn)
{
    return t1_frint(t, insn, 4);
}

static bool t1_frinti(struct t1 *t, uint32_t insn)
{
    return t1_frint(t, insn, 12);
}

/* ---- vectors ---- */

static bool t1_q(uint32_t insn)
{
    return insn >> 30 & 1;
}

/* A vector operand; 64-bit ones with a zero upper half, so that nothing there raises a flag: those in `scratch`. */
static int t1_vfload(struct t1 *t, uint32_t insn, int scratch, unsigned v)
{
    if (t1_q(insn))
        return t1_vin(t, v, 16, scratch);
    t1_vop(t, false, SSE_MOVQ_LOAD, scratch, v, 8);
    return scratch;
}

/* Where to compute a result: a 64-bit one has its upper half cleared on the way. */
static int t1_vfout(struct t1 *t, uint32_t insn)
{
    return t1_q(insn) ? t1_vtry(t, a64_rd(insn), t1_sources(insn)) : XMM0;
}

/* As t1_fcheck, any lane. XMM3, XMM4 and RAX are lost. */
static struct t1_stub *t1_vfcheck(struct t1 *t, bool dbl, bool tiny, int x)
{
    uint32_t cmp = t1_packed(dbl, 0xc2);

    if (tiny && t1_have.avx) {
        t1_vconst(t, SSE_ANDPS, XMM3, x, dbl ? JIT_CONST_ABS64 : JIT_CONST_ABS32);
        vex_rrm(t->e, false, cmp, XMM3, XMM3, t1_const(dbl ? JIT_CONST_MIN64 : JIT_CONST_MIN32));
        x64_u8(t->e, 8); /* equal or unordered */
    } else {
        t1_vf3(t, cmp, XMM3, x, x);
        x64_u8(t->e, 3); /* unordered */
        if (tiny) {
            t1_vconst(t, SSE_ANDPS, XMM4, x, dbl ? JIT_CONST_ABS64 : JIT_CONST_ABS32);
            sse_rm(t->e, dbl ? SSE_66_38(0x29) : SSE_PCMPEQD, XMM4, t1_const(dbl ? JIT_CONST_MIN64 : JIT_CONST_MIN32));
            sse_rr(t->e, SSE_POR, XMM3, XMM4);
        }
    }
    sse_rr(t->e, SSE_PS(0x50), RAX, XMM3); /* movmskps */
    x64_test_rr(t->e, false, RAX, RAX);
    return t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_NE));
}

/* A 64-bit result: what the empty lanes gave (0 - 0 is -0 when rounding down) goes. */
static void t1_vfstore(struct t1 *t, uint32_t insn, int x, struct t1_stub *s)
{
    if (!t1_q(insn))
        sse_rr(t->e, SSE_MOVQ_LOAD, x, x);
    t1_fstore(t, a64_rd(insn), x, 16, s);
}

static bool t1_varith(struct t1 *t, uint32_t insn, uint8_t op, bool tiny)
{
    bool dbl = t1_dbl(insn);
    int n, m, x;

    if (!t1_fast(t))
        return false;
    n = t1_vfload(t, insn, XMM0, a64_rn(insn));
    m = t1_vfload(t, insn, XMM1, a64_rm(insn));
    x = t1_vfout(t, insn);
    t1_vf3(t, t1_packed(dbl, op), x, n, m);
    t1_vfstore(t, insn, x, t1_vfcheck(t, dbl, tiny, x));
    return true;
}

static bool t1_fadd_v(struct t1 *t, uint32_t insn)
{
    return t1_varith(t, insn, 0x58, false);
}

static bool t1_fsub_v(struct t1 *t, uint32_t insn)
{
    return t1_varith(t, insn, 0x5c, false);
}

static bool t1_fmul_v(struct t1 *t, uint32_t insn)
{
    return t1_varith(t, insn, 0x59, true);
}

/* The empty half of a 64-bit division would be 0/0. */
static bool t1_fdiv_v(struct t1 *t, uint32_t insn)
{
    return t1_q(insn) && t1_varith(t, insn, 0x5e, true);
}

/* XMM1 = the element of Vm that by-element forms name, in all lanes of the operation. */
static void t1_velement(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);
    unsigned h = insn >> 11 & 1, l = insn >> 21 & 1, m = bits32(insn, 20, 16);

    t1_vop(t, false, SSE_PSHUFD, XMM1, m, 16);
    x64_u8(t->e, dbl ? (h ? 0xee : 0x44) : (uint8_t)((h << 1 | l) * 0x55));
    if (!t1_q(insn))
        sse_rr(t->e, SSE_MOVQ_LOAD, XMM1, XMM1);
}

static bool t1_fmla(struct t1 *t, uint32_t insn, bool sub, bool element)
{
    bool dbl = t1_dbl(insn);
    int n, m = XMM1, d, x;

    if (!t1_fast(t) || !t1_have.fma)
        return false;
    if (element)
        t1_velement(t, insn);
    else
        m = t1_vfload(t, insn, XMM1, a64_rm(insn));
    n = t1_vfload(t, insn, XMM2, a64_rn(insn));
    d = t1_vfload(t, insn, XMM0, a64_rd(insn));
    x = t1_q(insn) ? t1_vtry(t, a64_rd(insn), UINT32_MAX) : XMM0;
    if (x != d)
        sse_rr(t->e, SSE_MOVAPS_LOAD, x, d);
    vex_rrr(t->e, dbl, SSE_66_38(sub ? 0xbc : 0xb8), x, n, m);
    t1_vfstore(t, insn, x, t1_vfcheck(t, dbl, true, x));
    return true;
}

static bool t1_fmla_v(struct t1 *t, uint32_t insn)
{
    return t1_fmla(t, insn, insn >> 23 & 1, false);
}

static bool t1_fmla_e(struct t1 *t, uint32_t insn)
{
    return t1_fmla(t, insn, insn >> 14 & 1, true);
}

static bool t1_fmul_e(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);
    int n, x;

    if (!t1_fast(t))
        return false;
    t1_velement(t, insn);
    n = t1_vfload(t, insn, XMM0, a64_rn(insn));
    x = t1_vfout(t, insn);
    t1_vf3(t, t1_packed(dbl, 0x59), x, n, XMM1);
    t1_vfstore(t, insn, x, t1_vfcheck(t, dbl, true, x));
    return true;
}

static bool t1_vfabsneg(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn), neg = insn >> 29 & 1;
    int n = t1_vfload(t, insn, XMM0, a64_rn(insn)), x = t1_vfout(t, insn);

    if (neg)
        t1_vconst(t, SSE_XORPS, x, n, dbl ? JIT_CONST_SIGN64 : JIT_CONST_SIGN32);
    else
        t1_vconst(t, SSE_ANDPS, x, n, dbl ? JIT_CONST_ABS64 : JIT_CONST_ABS32);
    t1_vfstore(t, insn, x, NULL);
    t->keep_flags = true;
    return true;
}

static bool t1_scvtf_v(struct t1 *t, uint32_t insn)
{
    int x;

    if (!t1_fast(t) || t1_dbl(insn))
        return false;
    x = t1_vfout(t, insn);
    sse_rr(t->e, SSE_PS(0x5b), x, t1_vfload(t, insn, XMM0, a64_rn(insn)));
    t1_vfstore(t, insn, x, NULL);
    return true;
}

/* FCMEQ is quiet, FCMGT and FCMGE signal for any NaN, as the host's EQ, LT and LE do. */
static bool t1_vfcmp(struct t1 *t, uint32_t insn, uint8_t pred, bool swap)
{
    bool dbl = t1_dbl(insn);
    int n, m, x;

    if (!t1_fast(t))
        return false;
    n = t1_vfload(t, insn, XMM0, swap ? a64_rm(insn) : a64_rn(insn));
    m = t1_vfload(t, insn, XMM1, swap ? a64_rn(insn) : a64_rm(insn));
    x = t1_vfout(t, insn);
    t1_vf3(t, t1_packed(dbl, 0xc2), x, n, m);
    x64_u8(t->e, pred);
    t1_vfstore(t, insn, x, NULL);
    return true;
}

static bool t1_fcmeq_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp(t, insn, 0, false);
}

static bool t1_fcmgt_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp(t, insn, 1, true);
}

static bool t1_fcmge_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp(t, insn, 2, true);
}

/* Comparison with zero, as above; XMM1 is the zero. */
static bool t1_vfcmp0(struct t1 *t, uint32_t insn, uint8_t pred, bool swap)
{
    bool dbl = t1_dbl(insn);
    int n, x;

    if (!t1_fast(t))
        return false;
    n = t1_vfload(t, insn, XMM2, a64_rn(insn));
    x = t1_vfout(t, insn);
    sse_rr(t->e, SSE_XORPS, XMM1, XMM1);
    t1_vf3(t, t1_packed(dbl, 0xc2), x, swap ? XMM1 : n, swap ? n : XMM1);
    x64_u8(t->e, pred);
    t1_vfstore(t, insn, x, NULL);
    return true;
}

static bool t1_fcmeq0_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp0(t, insn, 0, false);
}

static bool t1_fcmgt0_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp0(t, insn, 1, true);
}

static bool t1_fcmge0_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp0(t, insn, 2, true);
}

static bool t1_fcmlt0_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp0(t, insn, 1, false);
}

static bool t1_fcmle0_v(struct t1 *t, uint32_t insn)
{
    return t1_vfcmp0(t, insn, 2, false);
}

static bool t1_fsqrt_v(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);
    int n, x;

    if (!t1_fast(t))
        return false;
    n = t1_vfload(t, insn, XMM0, a64_rn(insn));
    x = t1_vfout(t, insn);
    sse_rr(t->e, t1_packed(dbl, 0x51), x, n);
    t1_vfstore(t, insn, x, t1_vfcheck(t, dbl, false, x));
    return true;
}

/* FRINTN, P, M, Z by o2 and o1; as t1_frint. */
static bool t1_frint_v(struct t1 *t, uint32_t insn)
{
    static const uint8_t mode[4] = {8, 9, 10, 11};
    bool dbl = t1_dbl(insn);
    int n, x;

    if (!t1_fast(t))
        return false;
    n = t1_vfload(t, insn, XMM0, a64_rn(insn));
    x = t1_vfout(t, insn);
    sse_rri(t->e, SSE_66_3A(dbl ? 0x09 : 0x08), x, n, mode[(insn >> 23 & 1) << 1 | (insn >> 12 & 1)]);
    t1_vfstore(t, insn, x, t1_vfcheck(t, dbl, false, x));
    return true;
}

/* Pairs of Vn, then of Vm: the even elements and the odd ones. */
static bool t1_faddp_v(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);

    if (!t1_fast(t))
        return false;
    t1_vget(t, XMM0, a64_rn(insn));
    if (t1_q(insn)) {
        t1_vget(t, XMM1, a64_rm(insn));
    } else {
        t1_vop(t, false, SSE_PUNPCKLQDQ, XMM0, a64_rm(insn), 16);
        sse_rr(t->e, SSE_XORPS, XMM1, XMM1);
    }
    sse_rr(t->e, SSE_MOVAPS_LOAD, XMM2, XMM0);
    if (dbl) {
        sse_rr(t->e, SSE_PUNPCKLQDQ, XMM0, XMM1);
        sse_rr(t->e, SSE_PUNPCKHQDQ, XMM2, XMM1);
    } else {
        sse_rri(t->e, SSE_PS(0xc6), XMM0, XMM1, 0x88); /* shufps */
        sse_rri(t->e, SSE_PS(0xc6), XMM2, XMM1, 0xdd);
    }
    sse_rr(t->e, t1_packed(dbl, 0x58), XMM0, XMM2);
    t1_vfstore(t, insn, XMM0, t1_vfcheck(t, dbl, false, XMM0));
    return true;
}

static bool t1_faddp_pair(struct t1 *t, uint32_t insn)
{
    bool dbl = t1_dbl(insn);

    if (!t1_fast(t))
        return false;
    t1_vget(t, XMM0, a64_rn(insn));
    sse_rri(t->e, SSE_PSHUFD, XMM2, XMM0, dbl ? 0xee : 0x55);
    sse_rr(t->e, t1_scalar(dbl, 0x58), XMM0, XMM2);
    t1_fstore(t, a64_rd(insn), XMM0, t1_bytes(dbl), t1_fcheck(t, dbl, false, XMM0));
    return true;
}

static void t1_init_fp_more(void)
{
    t1_table[A64_fcmeq0_v] = t1_fcmeq0_v;
    t1_table[A64_fcmgt0_v] = t1_fcmgt0_v;
    t1_table[A64_fcmge0_v] = t1_fcmge0_v;
    t1_table[A64_fcmlt0_v] = t1_fcmlt0_v;
    t1_table[A64_fcmle0_v] = t1_fcmle0_v;
    t1_table[A64_fsqrt_v] = t1_fsqrt_v;
    t1_table[A64_frintn_v] = t1_table[A64_frintm_v] = t1_table[A64_frintp_v] = t1_table[A64_frintz_v] = t1_frint_v;
    t1_table[A64_faddp_v] = t1_faddp_v;
    t1_table[A64_faddp_pair_s] = t1_faddp_pair;
}

void t1_init_fp(void)
{
    t1_init_fp_memory();
    t1_init_fp_more();
    t1_table[A64_fadd_s] = t1_fadd;
    t1_table[A64_fsub_s] = t1_fsub;
    t1_table[A64_fmul_s] = t1_fmul;
    t1_table[A64_fdiv_s] = t1_fdiv;
    t1_table[A64_fnmul_s] = t1_fnmul;
    t1_table[A64_fsqrt_s] = t1_fsqrt;
    t1_table[A64_fmadd_s] = t1_table[A64_fmsub_s] = t1_table[A64_fnmadd_s] = t1_table[A64_fnmsub_s] = t1_fmadd;
    t1_table[A64_fmax_s] = t1_table[A64_fmin_s] = t1_table[A64_fmaxnm_s] = t1_table[A64_fminnm_s] = t1_fminmax;
    t1_table[A64_fmov_s] = t1_fmov;
    t1_table[A64_fabs_s] = t1_table[A64_fneg_s] = t1_fabsneg;
    t1_table[A64_fmov_imm_s] = t1_fmov_imm;
    t1_table[A64_fmov_w2s] = t1_table[A64_fmov_x2d] = t1_table[A64_fmov_x2hi] = t1_fmov_from_gpr;
    t1_table[A64_fmov_s2w] = t1_table[A64_fmov_d2x] = t1_table[A64_fmov_hi2x] = t1_fmov_to_gpr;
    t1_table[A64_fcsel_s] = t1_fcsel;
    t1_table[A64_fcmp_s] = t1_table[A64_fcmpe_s] = t1_table[A64_fcmp0_s] = t1_table[A64_fcmpe0_s] = t1_fcmp;
    t1_table[A64_fcvt_s2d] = t1_table[A64_fcvt_d2s] = t1_fcvt;
    t1_table[A64_scvtf_g] = t1_scvtf_g;
    t1_table[A64_ucvtf_g] = t1_ucvtf_g;
    t1_table[A64_scvtf_s] = t1_scvtf_s;
    t1_table[A64_fcvtzs_g] = t1_fcvtzs_g;
    t1_table[A64_frintn_s] = t1_frintn;
    t1_table[A64_frintm_s] = t1_frintm;
    t1_table[A64_frintp_s] = t1_frintp;
    t1_table[A64_frintz_s] = t1_frintz;
    t1_table[A64_frintx_s] = t1_frintx;
    t1_table[A64_frinti_s] = t1_frinti;
    t1_table[A64_fadd_v] = t1_fadd_v;
    t1_table[A64_fsub_v] = t1_fsub_v;
    t1_table[A64_fmul_v] = t1_fmul_v;
    t1_table[A64_fdiv_v] = t1_fdiv_v;
    t1_table[A64_fmla_v] = t1_table[A64_fmls_v] = t1_fmla_v;
    t1_table[A64_fmla_e] = t1_table[A64_fmls_e] = t1_fmla_e;
    t1_table[A64_fmul_e] = t1_fmul_e;
    t1_table[A64_fabs_v] = t1_table[A64_fneg_v] = t1_vfabsneg;
    t1_table[A64_scvtf_v] = t1_scvtf_v;
    t1_table[A64_fcmeq_v] = t1_fcmeq_v;
    t1_table[A64_fcmgt_v] = t1_fcmgt_v;
    t1_table[A64_fcmge_v] = t1_fcmge_v;
}
