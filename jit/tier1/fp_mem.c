/* Tier 1: loads and stores of SIMD&FP registers. */
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

static unsigned t1_fp_shift(uint32_t insn)
{
    return insn >> 30 | (insn >> 23 & 1) << 2;
}

static void t1_vload_one(struct t1 *t, unsigned v, unsigned shift, struct x64_mem m)
{
    int x = t1_vout(t, v);

    if (shift >= 2) {
        sse_rm(t->e, shift == 4 ? SSE_MOVUPS_LOAD : shift == 3 ? SSE_MOVQ_LOAD : SSE_MOVSS_LOAD, x, m);
    } else {
        x64_rm(t->e, false, shift ? X64_MOVZX16 : X64_MOVZX8, RDX, m);
        sse_rr(t->e, SSE_MOVD_LOAD, x, RDX);
    }
    t1_vput(t, v, x, 16);
}

static void t1_vstore_one(struct t1 *t, unsigned v, unsigned shift, struct x64_mem m)
{
    static const uint32_t op[5] = {[2] = SSE_MOVD_STORE, [3] = SSE_MOVQ_STORE, [4] = SSE_MOVUPS_STORE};

    if (shift >= 2) {
        sse_rm(t->e, op[shift], t1_vin(t, v, 1u << shift, XMM0), m);
        return;
    }
    sse_rr(t->e, SSE_MOVD_STORE, t1_vin(t, v, 4, XMM0), RDX);
    if (shift == 1)
        x64_rm(t->e, false, X64_OP(0x66, 0, 0x89), RDX, m);
    else
        x64_rm_(t->e, false, 0x88, RDX, m, false);
}

static uint32_t t1_vinfo(unsigned shift, int v2)
{
    return shift | (v2 >= 0 ? JIT_MEM_PAIR : 0);
}

/* V registers v1 and, where it is not negative, v2 from or to 2^shift bytes each at m. RDX and XMM0 are lost. */
static void t1_vaccess(struct t1 *t, bool load, unsigned shift, unsigned v1, int v2, struct x64_mem m,
                       struct t1_stub *s)
{
    void (*one)(struct t1 *, unsigned, unsigned, struct x64_mem) = load ? t1_vload_one : t1_vstore_one;

    one(t, v1, shift, m);
    if (v2 >= 0)
        one(t, (unsigned)v2, shift, t1_plus(m, 1 << shift));
    s->r1 = (int16_t)v1;
    s->r2 = (int16_t)v2;
    s->back = t->e->p;
}

static enum t1_stub_kind t1_vkind(bool load)
{
    return load ? T1_STUB_VLOAD : T1_STUB_VSTORE;
}

static bool t1_vldst(struct t1 *t, uint32_t insn, bool load, int64_t off, bool pre, bool post)
{
    unsigned n = a64_rn(insn), shift = t1_fp_shift(insn);
    struct t1_stub *sp = t1_sp_check(t, n), *s;
    struct x64_mem m = t1_access(t, n, post ? 0 : off, 1u << shift, !load, t1_vinfo(shift, -1), t1_vkind(load), &s);

    t1_vaccess(t, load, shift, insn & 31, -1, m, s);
    if (pre || post)
        t1_writeback(t, n, off);
    if (sp)
        sp->back = t->e->p;
    t->keep_flags = true;
    return true;
}

static bool t1_vldst_uimm(struct t1 *t, uint32_t insn)
{
    return t1_vldst(t, insn, insn >> 22 & 1, (int64_t)bits32(insn, 21, 10) << t1_fp_shift(insn), false, false);
}

static bool t1_vldst_imm9(struct t1 *t, uint32_t insn)
{
    unsigned form = bits32(insn, 11, 10);
    return t1_vldst(t, insn, insn >> 22 & 1, sext64(bits32(insn, 20, 12), 9), form == 3, form == 1);
}

static bool t1_vldst_reg(struct t1 *t, uint32_t insn)
{
    unsigned shift = t1_fp_shift(insn);
    bool load = insn >> 22 & 1;
    struct t1_stub *sp = t1_sp_check(t, a64_rn(insn)), *s;
    struct x64_mem m;

    m = t1_access_reg(t, insn, shift, !load, t1_vinfo(shift, -1), t1_vkind(load), &s);
    t1_vaccess(t, load, shift, insn & 31, -1, m, s);
    if (sp)
        sp->back = t->e->p;
    t->keep_flags = true;
    return true;
}

static bool t1_vldr_lit(struct t1 *t, uint32_t insn)
{
    unsigned shift = 2 + (insn >> 30);
    struct t1_stub *s;
    struct x64_mem m;

    t1_mov_guest(t, RAX, t1_pc(t) + (uint64_t)(sext64(bits32(insn, 23, 5), 19) * 4));
    m = t1_access_rax(t, 1u << shift, false, t1_vinfo(shift, -1), T1_STUB_VLOAD, &s);
    t1_vaccess(t, true, shift, insn & 31, -1, m, s);
    t->keep_flags = true;
    return true;
}

static bool t1_vpair(struct t1 *t, uint32_t insn)
{
    unsigned shift = 2 + (insn >> 30), n = a64_rn(insn), form = bits32(insn, 24, 23);
    unsigned a = insn & 31, b = bits32(insn, 14, 10);
    bool load = insn >> 22 & 1;
    int64_t off = sext64(bits32(insn, 21, 15), 7) * (1 << shift);
    struct t1_stub *sp, *s;
    struct x64_mem m;

    if (load && a == b)
        return false;
    sp = t1_sp_check(t, n);
    m = t1_access(t, n, form == 1 ? 0 : off, 2u << shift, !load, t1_vinfo(shift, (int)b), t1_vkind(load), &s);
    t1_vaccess(t, load, shift, a, (int)b, m, s);
    if (form & 1)
        t1_writeback(t, n, off);
    if (sp)
        sp->back = t->e->p;
    t->keep_flags = true;
    return true;
}

/* The base register n of a structure access goes on, by m, which is another register, or 31: by all it accessed. */
static void t1_vpost(struct t1 *t, unsigned n, unsigned m, int64_t total)
{
    if (m == 31) {
        t1_writeback(t, n, total);
        return;
    }
    t1_copy(t, true, m, RAX);
    t1_alu(t, true, ALU_ADD, RAX, n);
    t1_put(t, n, RAX);
}

/* LD1, ST1 of one to four whole registers: consecutive memory. */
static bool t1_ld1(struct t1 *t, uint32_t insn)
{
    static const uint8_t count[16] = {[7] = 1, [10] = 2, [6] = 3, [2] = 4};
    unsigned regs = count[bits32(insn, 15, 12)], q = insn >> 30 & 1, n = a64_rn(insn), shift = q ? 4 : 3;
    unsigned m = a64_rm(insn);
    bool load = insn >> 22 & 1, post = insn >> 23 & 1;
    int64_t total = (int64_t)regs << shift;
    struct t1_stub *sp, *s;
    struct x64_mem at;

    if (post && m != 31 && m == n)
        return false;
    sp = t1_sp_check(t, n);
    t1_address(t, n, 0);
    at = t1_access_rax(t, (unsigned)total, !load, 0, T1_STUB_INTERP, &s);
    for (unsigned k = 0; k < regs; k++) {
        unsigned v = ((insn & 31) + k) & 31;
        if (load)
            t1_vload_one(t, v, shift, t1_plus(at, (int32_t)(k << shift)));
        else
            t1_vstore_one(t, v, shift, t1_plus(at, (int32_t)(k << shift)));
    }
    if (post)
        t1_vpost(t, n, m, total);
    s->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

static bool t1_ld1r(struct t1 *t, uint32_t insn)
{
    unsigned shift = bits32(insn, 11, 10), n = a64_rn(insn), d = insn & 31, q = insn >> 30 & 1, m = a64_rm(insn);
    int x = t1_vout(t, d);
    struct t1_stub *sp, *s;
    struct x64_mem at;

    if (insn >> 23 & 1 && m != 31)
        return false;
    sp = t1_sp_check(t, n);
    t1_address(t, n, 0);
    at = t1_access_rax(t, 1u << shift, false, 0, T1_STUB_INTERP, &s);
    if (shift >= 2) {
        sse_rm(t->e, shift == 3 ? SSE_MOVQ_LOAD : SSE_MOVSS_LOAD, x, at);
        sse_rri(t->e, SSE_PSHUFD, x, x, shift == 3 ? 0x44 : 0);
    } else {
        x64_rm(t->e, false, shift ? X64_MOVZX16 : X64_MOVZX8, RDX, at);
        x64_rr(t->e, false, X64_OP(0, 0, 0x69), RDX, RDX); /* imul */
        x64_u32(t->e, shift ? 0x10001 : 0x1010101);
        sse_rr(t->e, SSE_MOVD_LOAD, x, RDX);
        sse_rri(t->e, SSE_PSHUFD, x, x, 0);
    }
    if (!q)
        sse_rr(t->e, SSE_MOVQ_LOAD, x, x);
    t1_vput(t, d, x, 16);
    if (insn >> 23 & 1)
        t1_writeback(t, n, 1 << shift);
    s->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

/* LD1, ST1 of one lane; false where the encoding has none. */
static bool t1_lane(uint32_t insn, unsigned *shift, unsigned *index)
{
    unsigned q = insn >> 30 & 1, s = insn >> 12 & 1, size = bits32(insn, 11, 10);

    *shift = bits32(insn, 15, 14);
    *index = (q << 3 | s << 2 | size) >> *shift;
    if (*shift == 2 && size == 1 && !s) {
        *shift = 3;
        *index = q;
        return true;
    }
    return *shift < 3 && !(size & ((1u << *shift) - 1));
}

static bool t1_ld1_lane(struct t1 *t, uint32_t insn)
{
    static const uint32_t insert[4] = {SSE_66_3A(0x20), SSE_66(0xc4), SSE_66_3A(0x22), SSE_66_3A(0x22)};     /* pinsr */
    static const uint32_t extract[4] = {SSE_66_3A(0x14), SSE_66_3A(0x15), SSE_66_3A(0x16), SSE_66_3A(0x16)}; /* pextr */
    unsigned shift, index, n = a64_rn(insn), m = a64_rm(insn), d = insn & 31;
    bool load = insn >> 22 & 1, post = insn >> 23 & 1;
    struct t1_stub *sp, *s;
    struct x64_mem at;
    int x;

    if (!t1_lane(insn, &shift, &index) || (post && m != 31 && m == n))
        return false;
    sp = t1_sp_check(t, n);
    t1_address(t, n, 0);
    at = t1_access_rax(t, 1u << shift, !load, 0, T1_STUB_INTERP, &s);
    x = t1_vin(t, d, 16, XMM0);
    x64_rm(t->e, shift == 3, load ? insert[shift] : extract[shift], x, at);
    x64_u8(t->e, (uint8_t)index);
    if (load)
        t1_vput(t, d, x, 16);
    if (post)
        t1_vpost(t, n, m, 1 << shift);
    s->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

#define T1_CACHE(crm) (1u << 14 | 3u << 11 | 7u << 7 | (crm) << 3 | 1u) /* as bits 20:5 of the instruction have it */

/* DC CVAC, CVAU, CIVAC and IC IVAU at EL1: caches are coherent and writes to code are seen (CTR_EL0.IDC, DIC), and an
 * address that may be read raises no fault. */
static bool t1_cache_nop(struct t1 *t, uint32_t insn)
{
    struct t1_stub *s;

    if (!(t->b->ctx & JIT_CTX_EL1))
        return false;
    t1_copy(t, true, t1_zr(insn & 31), RAX);
    t1_access_rax(t, 1, false, 0, T1_STUB_INTERP, &s);
    s->back = t->e->p;
    return true;
}

/* SYS: cache maintenance by address, which is hot where memory is zeroed, and where a kernel patches itself. */
static bool t1_sys(struct t1 *t, uint32_t insn)
{
    struct t1_stub *s;
    struct x64_mem m;

    switch (bits32(insn, 20, 5)) {
    case T1_CACHE(5):
    case T1_CACHE(10):
    case T1_CACHE(11):
    case T1_CACHE(14): return t1_cache_nop(t, insn);
    case T1_CACHE(4): break;
    default: return false;
    }
    if (!(t->b->ctx & JIT_CTX_ZVA))
        return false;
    t1_copy(t, true, t1_zr(insn & 31), RAX);
    x64_alu_ri(t->e, true, ALU_AND, RAX, -JIT_ZVA_SIZE);
    m = t1_access_rax(t, JIT_ZVA_SIZE, true, 0, T1_STUB_INTERP, &s);
    sse_rr(t->e, SSE_XORPS, XMM0, XMM0);
    for (int32_t i = 0; i < JIT_ZVA_SIZE; i += 16)
        sse_rm(t->e, SSE_MOVUPS_STORE, XMM0, t1_plus(m, i));
    s->back = t->e->p;
    return true;
}

void t1_init_fp_memory(void)
{
    t1_table[A64_sys] = t1_sys;
    t1_table[A64_ldr_fp_lit] = t1_vldr_lit;
    t1_table[A64_str_fp_uimm] = t1_table[A64_ldr_fp_uimm] = t1_vldst_uimm;
    t1_table[A64_str_fp_unscaled] = t1_table[A64_str_fp_post] = t1_table[A64_str_fp_pre] = t1_vldst_imm9;
    t1_table[A64_ldr_fp_unscaled] = t1_table[A64_ldr_fp_post] = t1_table[A64_ldr_fp_pre] = t1_vldst_imm9;
    t1_table[A64_str_fp_reg] = t1_table[A64_ldr_fp_reg] = t1_vldst_reg;
    t1_table[A64_stp_fp_off] = t1_table[A64_stp_fp_pre] = t1_table[A64_stp_fp_post] = t1_table[A64_stnp_fp] = t1_vpair;
    t1_table[A64_ldp_fp_off] = t1_table[A64_ldp_fp_pre] = t1_table[A64_ldp_fp_post] = t1_table[A64_ldnp_fp] = t1_vpair;
    t1_table[A64_ld1x1] = t1_table[A64_ld1x2] = t1_table[A64_ld1x3] = t1_table[A64_ld1x4] = t1_ld1;
    t1_table[A64_ld1x1_post] = t1_table[A64_ld1x2_post] = t1_table[A64_ld1x3_post] = t1_table[A64_ld1x4_post] = t1_ld1;
    t1_table[A64_st1x1] = t1_table[A64_st1x2] = t1_table[A64_st1x3] = t1_table[A64_st1x4] = t1_ld1;
    t1_table[A64_st1x1_post] = t1_table[A64_st1x2_post] = t1_table[A64_st1x3_post] = t1_table[A64_st1x4_post] = t1_ld1;
    t1_table[A64_ld1r] = t1_table[A64_ld1r_post] = t1_ld1r;
    t1_table[A64_ld1_lane] = t1_table[A64_ld1_lane_post] = t1_ld1_lane;
    t1_table[A64_st1_lane] = t1_table[A64_st1_lane_post] = t1_ld1_lane;
}
