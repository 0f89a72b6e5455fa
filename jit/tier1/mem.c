/*
 * Tier 1: loads and stores.
 *
 * Fast path: the TLB entry is found from the first byte's page and its tag is compared with the last byte's page, so
 * an access that crosses a page misses. On a hit address + addend is the host address.
 *
 * Accesses in a block often share a base register (stack frames, structures). The first of them probes for the whole
 * range that it and those behind it cover, and keeps the addend, in R14 or in memory; the others only test that. Where
 * the probe fails the slow path of the first access finds the addend, or gives zero where the range is more than one
 * page of RAM.
 * That a mapping goes away meanwhile is no matter: TLB maintenance by others waits until this vCPU polls, and by
 * ourselves it is the interpreter's, behind which nothing is shared.
 *
 * In user mode the guest's address is the host's, and all this is not there: an access is the access.
 */
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

#define T1_SHARE_NEAR 32 /* so far from its base an access is looked for in the base's own TLB entry */

/* ---- probes ---- */

enum jit_view t1_view(const struct t1 *t, uint32_t info)
{
    bool el1 = t->b->ctx & JIT_CTX_EL1, uao = t->b->ctx & JIT_CTX_UAO;
    return info & JIT_MEM_UNPRIV && el1 && !uao ? JIT_VIEW_EL0 : t->v->view;
}

/* User mode: m itself, but where a tagged address was seen. RAX is lost then. */
static struct x64_mem t1_direct(struct t1 *t, struct x64_mem m)
{
    t->accessed = true;
    if (likely(!jit_user_masked(t->j, t1_pc(t))))
        return m;
    x64_lea(t->e, true, RAX, m);
    x64_shift_ri(t->e, true, SH_SHL, RAX, 8);
    x64_shift_ri(t->e, true, SH_SAR, RAX, 8);
    t->host_flags = false;
    return x64_m(RAX, 0);
}

/* Probes for [base + lo, base + hi), base a host register; the addend goes to `addend`. RCX and RDX are lost. */
static struct t1_stub *t1_probe(struct t1 *t, int base, int64_t lo, int64_t hi, bool write, uint32_t info,
                                enum t1_stub_kind kind, int addend)
{
    struct x64_emit *e = t->e;
    int32_t tlb = JIT_OFF(tlb) + (int32_t)(t1_view(t, info) * sizeof(t->v->tlb[0]));
    struct t1_stub *s;

    _Static_assert(sizeof(struct jit_tlb_entry) == 32, "the index is scaled by shifts");
    t->host_flags = false;
    /* A little above its base the first byte is in the base's page, too, where the last byte is. */
    if (lo < 0 || lo > T1_SHARE_NEAR) {
        x64_lea(e, false, RCX, x64_m(base, (int32_t)lo));
        x64_shift_ri(e, false, SH_SHR, RCX, 12 - 5);
    } else if (!t1_rorx(t, false, RCX, base, 12 - 5)) {
        x64_mov_rr(e, false, RCX, base);
        x64_shift_ri(e, false, SH_SHR, RCX, 12 - 5);
    }
    x64_alu_ri(e, false, ALU_AND, RCX, (int32_t)((JIT_TLB_SIZE - 1) << 5));
    x64_lea(e, true, RDX, x64_m(base, (int32_t)hi - 1));
    x64_alu_ri(e, true, ALU_AND, RDX, -4096);
    x64_alu_rm(e, true, ALU_CMP, RDX, x64_mx(RBP, RCX, 0, tlb + (write ? 8 : 0)));
    s = t1_stub(t, kind, x64_jcc_fwd(e, CC_NE));
    s->info = info | t->i << JIT_MEM_PC_SHIFT | (write ? JIT_MEM_STORE : 0);
    x64_load(e, true, addend, x64_mx(RBP, RCX, 0, tlb + (int32_t)offsetof(struct jit_tlb_entry, addend)));
    return s;
}

struct x64_mem t1_access_rax(struct t1 *t, unsigned bytes, bool write, uint32_t info, enum t1_stub_kind kind,
                             struct t1_stub **s)
{
    bool aligned = info & JIT_MEM_ALIGNED && bytes > 1;
    uint8_t *misaligned = NULL;

    if (aligned) {
        x64_test_ri(t->e, false, RAX, (int32_t)bytes - 1);
        misaligned = x64_jcc_fwd(t->e, CC_NE);
        t->host_flags = false;
    }
    if (t1_user(t)) {
        *s = aligned ? t1_stub(t, T1_STUB_INTERP, misaligned) : &t->unused;
        return t1_direct(t, x64_m(RAX, 0));
    }
    *s = t1_probe(t, RAX, 0, bytes, write, info, kind, RCX);
    (*s)->from2 = misaligned;
    return x64_mx(RAX, RCX, 0, 0);
}

struct x64_mem t1_access(struct t1 *t, unsigned n, int64_t off, unsigned bytes, bool write, uint32_t info,
                         enum t1_stub_kind kind, struct t1_stub **s)
{
    int64_t lo = off, hi = off + bytes;
    int base = t1_get(t, n, RAX), addend = RCX;
    bool unpriv = info & JIT_MEM_UNPRIV;
    unsigned k;

    if (t1_user(t)) {
        *s = &t->unused;
        return t1_direct(t, x64_m(base, (int32_t)off));
    }
    k = unpriv ? JIT_SHARES : t1_shared(t, n, lo, hi, write);
    if (k < JIT_SHARES) {
        if (k)
            x64_load(t->e, true, RCX, t1_share_slot(k));
        else
            addend = R14;
        x64_test_rr(t->e, true, addend, addend);
        t->host_flags = false;
        *s = t1_stub(t, kind, x64_jcc_fwd(t->e, CC_E));
        (*s)->info = info | t->i << JIT_MEM_PC_SHIFT | (write ? JIT_MEM_STORE : 0);
    } else if (!unpriv && t1_look_ahead(t, n, write, &lo, &hi)) {
        k = t1_share_for(t, n);
        if (!k) {
            addend = R14;
            t->flags_r14 = false;
        }
        *s = t1_probe(t, base, lo, hi, write, info, kind, addend);
        if (k)
            x64_store(t->e, true, RCX, t1_share_slot(k));
        t->share[k] = (struct t1_share){.valid = true, .write = write, .base = n, .lo = lo, .hi = hi};
        (*s)->share = (uint8_t)k;
        (*s)->info |= (uint32_t)(off - lo + 7) / 8 << JIT_MEM_BELOW_SHIFT | (uint32_t)(hi - off + 7) / 8
                                                                                << JIT_MEM_ABOVE_SHIFT;
    } else {
        *s = t1_probe(t, base, lo, hi, write, info, kind, addend);
    }
    (*s)->alone = true;
    (*s)->address = true;
    (*s)->base = (uint8_t)n;
    (*s)->offset = (int32_t)off;
    return x64_mx(base, addend, 0, (int32_t)off);
}

void t1_address(struct t1 *t, unsigned n, int64_t off)
{
    int h = t1_get(t, n, RAX);

    if (h != RAX || off)
        x64_lea(t->e, true, RAX, x64_m(h, (int32_t)off));
}

void t1_writeback(struct t1 *t, unsigned n, int64_t off)
{
    int h = t1_host(t, n);

    if (h >= 0) {
        x64_lea(t->e, true, h, x64_m(h, (int32_t)off));
    } else {
        x64_alu_mi(t->e, true, ALU_ADD, t1_slot(n), (int32_t)off);
        t->host_flags = false;
    }
    t1_moved(t, n, off);
}

/* Base plus extended register, in registers that last until RAX and RCX are written. */
static struct x64_mem t1_operand_reg(struct t1 *t, uint32_t insn, unsigned shift)
{
    unsigned n = a64_rn(insn), m = t1_zr(a64_rm(insn)), option = bits32(insn, 15, 13);
    unsigned amount = insn >> 12 & 1 ? shift : 0;
    int hm = t1_get(t, m, RCX), hn;

    if (option == 2) {
        x64_mov_rr(t->e, false, RCX, hm);
        hm = RCX;
    } else if (option == 6) {
        x64_rr(t->e, true, X64_MOVSXD, RCX, hm);
        hm = RCX;
    }
    if (amount > 3) {
        if (hm != RCX)
            x64_mov_rr(t->e, true, RCX, hm);
        x64_shift_ri(t->e, true, SH_SHL, RCX, amount);
        t->host_flags = false;
        hm = RCX;
        amount = 0;
    }
    hn = t1_get(t, n, RAX);
    return x64_mx(hn, hm, amount, 0);
}

struct x64_mem t1_access_reg(struct t1 *t, uint32_t insn, unsigned shift, bool write, uint32_t info,
                             enum t1_stub_kind kind, struct t1_stub **s)
{
    struct x64_mem m = t1_operand_reg(t, insn, shift);

    if (t1_user(t)) {
        *s = &t->unused;
        return t1_direct(t, m);
    }
    x64_lea(t->e, true, RAX, m);
    return t1_access_rax(t, 1u << shift, write, info, kind, s);
}

/* ---- single registers ---- */

enum t1_sign { T1_ZERO, T1_SIGN64, T1_SIGN32 };

static uint32_t t1_load_info(unsigned shift, enum t1_sign sign, uint32_t flags)
{
    return shift | flags | (sign == T1_SIGN64 ? JIT_MEM_SIGN : sign == T1_SIGN32 ? JIT_MEM_SIGN32 : 0);
}

/* Loads 2^shift bytes at m into general register d. */
static void t1_load_gpr(struct t1 *t, unsigned d, unsigned shift, enum t1_sign sign, struct x64_mem m,
                        struct t1_stub *s)
{
    static const uint32_t zero[4] = {X64_MOVZX8, X64_MOVZX16, 0x8b, 0x8b};
    static const uint32_t sext[3] = {X64_MOVSX8, X64_MOVSX16, X64_MOVSXD};
    int h = d == T1_ZR ? RAX : t1_dst(t, d, RAX);

    if (sign == T1_ZERO)
        x64_rm(t->e, shift == 3, zero[shift], h, m);
    else
        x64_rm(t->e, sign == T1_SIGN64, sext[shift], h, m);
    s->r1 = (int16_t)h;
    s->r2 = -1;
    s->back = t->e->p;
    t1_put(t, d, h);
}

static void t1_store_value(struct t1 *t, unsigned g, unsigned shift, struct x64_mem m)
{
    static const uint32_t op[4] = {0x88, 0x89, 0x89, 0x89};
    int h = t1_get(t, g, RDX);

    if (shift == 1)
        x64_rm(t->e, false, X64_OP(0x66, 0, 0x89), h, m);
    else
        x64_rm_(t->e, shift == 3, op[shift], h, m, shift == 0);
}

static void t1_store_gpr(struct t1 *t, unsigned g, unsigned shift, bool release, struct x64_mem m, struct t1_stub *s)
{
    if (release) {
        /* XCHG: a store that later loads do not pass, as STLR must before LDAR. */
        t1_copy(t, true, g, RDX);
        if (shift == 1)
            x64_rm(t->e, false, X64_OP(0x66, 0, 0x87), RDX, m);
        else
            x64_rm_(t->e, shift == 3, shift ? 0x87 : 0x86, RDX, m, shift == 0);
    } else {
        t1_store_value(t, g, shift, m);
    }
    s->r1 = (int16_t)g;
    s->r2 = -1;
    s->back = t->e->p;
}

enum t1_mode { T1_OFF, T1_PRE, T1_POST };

/* A load or store of one register with an immediate offset. */
static bool t1_ldst_imm(struct t1 *t, uint32_t insn, bool load, unsigned shift, enum t1_sign sign, int64_t off,
                        enum t1_mode mode, uint32_t flags)
{
    unsigned n = a64_rn(insn), g = t1_zr(insn & 31);
    struct t1_stub *sp, *s;
    struct x64_mem m;

    if (mode != T1_OFF && g == n)
        return false;
    sp = t1_sp_check(t, n);
    m = t1_access(t, n, mode == T1_POST ? 0 : off, 1u << shift, !load, t1_load_info(shift, sign, flags),
                  load ? T1_STUB_LOAD : T1_STUB_STORE, &s);
    if (load)
        t1_load_gpr(t, g, shift, sign, m, s);
    else
        t1_store_gpr(t, g, shift, false, m, s);
    if (mode != T1_OFF)
        t1_writeback(t, n, off);
    if (sp)
        sp->back = t->e->p;
    t->keep_flags = true;
    return true;
}

static enum t1_sign t1_ldrs_sign(uint32_t insn)
{
    return insn >> 22 & 1 ? T1_SIGN32 : T1_SIGN64;
}

#define T1_IMM9(insn) sext64(bits32(insn, 20, 12), 9)
#define T1_SIZE(insn) ((insn) >> 30)

static bool t1_ldr_uimm(struct t1 *t, uint32_t insn)
{
    unsigned sh = T1_SIZE(insn);
    return t1_ldst_imm(t, insn, true, sh, T1_ZERO, (int64_t)bits32(insn, 21, 10) << sh, T1_OFF, 0);
}

static bool t1_str_uimm(struct t1 *t, uint32_t insn)
{
    unsigned sh = T1_SIZE(insn);
    return t1_ldst_imm(t, insn, false, sh, T1_ZERO, (int64_t)bits32(insn, 21, 10) << sh, T1_OFF, 0);
}

static bool t1_ldrs_uimm(struct t1 *t, uint32_t insn)
{
    unsigned sh = T1_SIZE(insn);
    enum t1_sign sign = sh == 2 ? T1_SIGN64 : t1_ldrs_sign(insn);
    return t1_ldst_imm(t, insn, true, sh, sign, (int64_t)bits32(insn, 21, 10) << sh, T1_OFF, 0);
}

/* Unscaled, unprivileged, pre- and post-indexed forms differ in bits 11..10. */
static bool t1_imm9(struct t1 *t, uint32_t insn, bool load, enum t1_sign sign)
{
    static const uint8_t mode[4] = {T1_OFF, T1_POST, T1_OFF, T1_PRE};
    unsigned form = bits32(insn, 11, 10);
    return t1_ldst_imm(t, insn, load, T1_SIZE(insn), sign, T1_IMM9(insn), mode[form], form == 2 ? JIT_MEM_UNPRIV : 0);
}

static bool t1_ldr_imm9(struct t1 *t, uint32_t insn)
{
    return t1_imm9(t, insn, true, T1_ZERO);
}

static bool t1_str_imm9(struct t1 *t, uint32_t insn)
{
    return t1_imm9(t, insn, false, T1_ZERO);
}

static bool t1_ldrs_imm9(struct t1 *t, uint32_t insn)
{
    return t1_imm9(t, insn, true, T1_SIZE(insn) == 2 ? T1_SIGN64 : t1_ldrs_sign(insn));
}

static bool t1_reg(struct t1 *t, uint32_t insn, bool load, enum t1_sign sign)
{
    unsigned sh = T1_SIZE(insn), g = t1_zr(insn & 31);
    struct t1_stub *sp = t1_sp_check(t, a64_rn(insn)), *s;
    struct x64_mem m;

    m = t1_access_reg(t, insn, sh, !load, t1_load_info(sh, sign, 0), load ? T1_STUB_LOAD : T1_STUB_STORE, &s);
    if (load)
        t1_load_gpr(t, g, sh, sign, m, s);
    else
        t1_store_gpr(t, g, sh, false, m, s);
    if (sp)
        sp->back = t->e->p;
    t->keep_flags = true;
    return true;
}

static bool t1_ldr_reg(struct t1 *t, uint32_t insn)
{
    return t1_reg(t, insn, true, T1_ZERO);
}

static bool t1_str_reg(struct t1 *t, uint32_t insn)
{
    return t1_reg(t, insn, false, T1_ZERO);
}

static bool t1_ldrs_reg(struct t1 *t, uint32_t insn)
{
    return t1_reg(t, insn, true, T1_SIZE(insn) == 2 ? T1_SIGN64 : t1_ldrs_sign(insn));
}

static bool t1_ldr_lit(struct t1 *t, uint32_t insn)
{
    int64_t off = sext64(bits32(insn, 23, 5), 19) * 4;
    bool sw = insn >> 31;
    unsigned shift = sw ? 2 : 2 + (insn >> 30 & 1);
    enum t1_sign sign = sw ? T1_SIGN64 : T1_ZERO;
    struct t1_stub *s;
    struct x64_mem m;

    t1_mov_guest(t, RAX, t1_pc(t) + (uint64_t)off);
    m = t1_access_rax(t, 1u << shift, false, t1_load_info(shift, sign, 0), T1_STUB_LOAD, &s);
    t1_load_gpr(t, t1_zr(insn & 31), shift, sign, m, s);
    t->keep_flags = true;
    return true;
}

static bool t1_prfm(struct t1 *t, uint32_t insn)
{
    (void)insn;
    t->keep_flags = true;
    return true;
}

/* ---- pairs ---- */

/*
 * What is copied from one place to another by two registers that are in memory, beside each other, goes 16 bytes at
 * once. Other pairs do not: the host does not forward two stores to one load, and pairs are often loaded that were
 * stored one by one a moment ago.
 */
static bool t1_pair(struct t1 *t, uint32_t insn, enum t1_mode mode)
{
    bool load = insn >> 22 & 1, sw = (insn >> 30) == 1;
    unsigned shift = insn >> 31 ? 3 : 2, n = a64_rn(insn);
    unsigned a = t1_zr(insn & 31), b = t1_zr(bits32(insn, 14, 10));
    int64_t off = sext64(bits32(insn, 21, 15), 7) * (1 << shift);
    bool together =
        shift == 3 && b == a + 1 && b < T1_SP && t1_host(t, a) < 0 && t1_host(t, b) < 0 && t1_pair_copied(t, a, load);
    struct t1_stub *sp, *s;
    struct x64_mem m;

    if ((mode != T1_OFF && (a == n || b == n)) || (load && a == b))
        return false;
    sp = t1_sp_check(t, n);
    m = t1_access(t, n, mode == T1_POST ? 0 : off, 2u << shift, !load, shift | JIT_MEM_PAIR | (sw ? JIT_MEM_SIGN : 0),
                  load ? T1_STUB_LOAD : T1_STUB_STORE, &s);
    if (load && together) {
        sse_rm(t->e, SSE_MOVUPS_LOAD, XMM0, m);
        s->together = true;
        s->back = t->e->p;
        sse_rm(t->e, SSE_MOVUPS_STORE, XMM0, t1_slot(a));
        t1_wrote(t, a);
        t1_wrote(t, b);
    } else if (load) {
        int h1 = a == T1_ZR ? RDX : t1_dst(t, a, RDX), h2 = b == T1_ZR ? RAX : t1_dst(t, b, RAX);
        uint32_t op = sw ? X64_MOVSXD : 0x8b;
        /* A first destination that is the base itself is loaded last. With a tagged address that is in RAX. */
        bool second_first = h1 == t1_host(t, n);
        if (second_first && h2 == m.base)
            h2 = RDX;
        if (second_first)
            x64_rm(t->e, shift == 3 || sw, op, h2, t1_plus(m, 1 << shift));
        x64_rm(t->e, shift == 3 || sw, op, h1, m);
        if (!second_first)
            x64_rm(t->e, shift == 3 || sw, op, h2, t1_plus(m, 1 << shift));
        s->r1 = (int16_t)h1;
        s->r2 = (int16_t)h2;
        s->back = t->e->p;
        t1_put(t, a, h1);
        t1_put(t, b, h2);
    } else {
        if (together) {
            sse_rm(t->e, SSE_MOVUPS_LOAD, XMM0, t1_slot(a));
            sse_rm(t->e, SSE_MOVUPS_STORE, XMM0, m);
        } else {
            t1_store_value(t, a, shift, m);
            t1_store_value(t, b, shift, t1_plus(m, 1 << shift));
        }
        s->r1 = (int16_t)a;
        s->r2 = (int16_t)b;
        s->back = t->e->p;
    }
    if (mode != T1_OFF)
        t1_writeback(t, n, off);
    if (sp)
        sp->back = t->e->p;
    t->keep_flags = true;
    return true;
}

static bool t1_pair_off(struct t1 *t, uint32_t insn)
{
    return t1_pair(t, insn, T1_OFF);
}

static bool t1_pair_pre(struct t1 *t, uint32_t insn)
{
    return t1_pair(t, insn, T1_PRE);
}

static bool t1_pair_post(struct t1 *t, uint32_t insn)
{
    return t1_pair(t, insn, T1_POST);
}

/* ---- acquire and release ---- */

/* LSE2 relaxes the alignment of ordered accesses to any place within 16 bytes: left to the interpreter. */
static bool t1_lse2(const struct t1 *t)
{
    return t->v->cpu.model->features & BIT64(ARM64_FEAT_LSE2);
}

/* x86 loads are acquires, XCHG a release; both must be aligned, as the architecture without LSE2 demands. */
static bool t1_ordered(struct t1 *t, uint32_t insn, bool load)
{
    unsigned sh = T1_SIZE(insn), g = t1_zr(insn & 31);
    struct t1_stub *sp, *s;
    struct x64_mem m;

    if (t1_lse2(t))
        return false;
    sp = t1_sp_check(t, a64_rn(insn));
    t1_address(t, a64_rn(insn), 0);
    m = t1_access_rax(t, 1u << sh, !load, sh | JIT_MEM_ALIGNED, load ? T1_STUB_LOAD : T1_STUB_STORE, &s);
    if (load)
        t1_load_gpr(t, g, sh, T1_ZERO, m, s);
    else
        t1_store_gpr(t, g, sh, true, m, s);
    if (sp)
        sp->back = t->e->p;
    return true;
}

static bool t1_ldar(struct t1 *t, uint32_t insn)
{
    return t1_ordered(t, insn, true);
}

static bool t1_stlr(struct t1 *t, uint32_t insn)
{
    return t1_ordered(t, insn, false);
}

/* ---- LSE ---- */

/* RAX is the host address of an aligned atomic access of 2^shift bytes that passed its probe; else the interpreter. */
static struct t1_stub *t1_atomic_probe(struct t1 *t, unsigned n, unsigned shift)
{
    struct t1_stub *s;
    struct x64_mem m;

    t1_address(t, n, 0);
    m = t1_access_rax(t, 1u << shift, true, shift | JIT_MEM_ALIGNED, T1_STUB_INTERP, &s);
    if (m.index >= 0)
        x64_alu_rr(t->e, true, ALU_ADD, m.base, m.index);
    return s;
}

static void t1_lock_op(struct t1 *t, unsigned shift, uint32_t op8, uint32_t op, int reg, int base)
{
    /* The lock prefix comes before REX; a mandatory 66 prefix may follow it. */
    x64_u8(t->e, 0xf0);
    if (shift == 1)
        x64_rm(t->e, false, op | 0x660000, reg, x64_m(base, 0));
    else
        x64_rm_(t->e, shift == 3, shift ? op : op8, reg, x64_m(base, 0), shift == 0);
}

/* Zero-extends a result of 2^shift bytes in `h` and puts it in d. */
static void t1_put_sized(struct t1 *t, unsigned d, int h, unsigned shift)
{
    if (d == T1_ZR)
        return;
    if (shift == 0)
        x64_rr8(t->e, false, X64_MOVZX8, h, h);
    else if (shift == 1)
        x64_rr(t->e, false, X64_MOVZX16, h, h);
    else if (shift == 2)
        x64_mov_rr(t->e, false, h, h);
    t1_put(t, d, h);
}

/* LDADD, SWP: one locked instruction. */
static bool t1_lse_xadd(struct t1 *t, uint32_t insn)
{
    bool swap = insn >> 15 & 1;
    unsigned shift = T1_SIZE(insn), n = a64_rn(insn), d = t1_zr(insn & 31), s = t1_zr(a64_rm(insn));
    struct t1_stub *sp = t1_sp_check(t, n), *st = t1_atomic_probe(t, n, shift);

    t1_copy(t, true, s, RDX);
    if (swap)
        t1_lock_op(t, shift, 0x86, 0x87, RDX, RAX);
    else
        t1_lock_op(t, shift, X64_OP(0, 0x0f, 0xc0), X64_OP(0, 0x0f, 0xc1), RDX, RAX);
    t1_put_sized(t, d, RDX, shift);
    st->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

/* LDCLR, LDEOR, LDSET with the old value to d: host address RAX, until CMPXCHG finds what it was computed from. */
static void t1_lse_logic_loop(struct t1 *t, enum x64_alu op, bool clear, unsigned shift, unsigned s, unsigned d)
{
    static const uint32_t load[4] = {X64_MOVZX8, X64_MOVZX16, 0x8b, 0x8b};
    const uint8_t *again;

    x64_mov_rr(t->e, true, RCX, RAX);
    x64_rm(t->e, shift == 3, load[shift], RAX, x64_m(RCX, 0));
    again = t->e->p;
    x64_mov_rr(t->e, true, RDX, RAX);
    /* a & ~b is ~(~a | b): the operand may be in memory. */
    if (clear)
        x64_rr(t->e, true, 0xf7, 2, RDX);
    t1_alu(t, true, clear ? ALU_OR : op, RDX, s);
    if (clear)
        x64_rr(t->e, true, 0xf7, 2, RDX);
    t1_lock_op(t, shift, X64_OP(0, 0x0f, 0xb0), X64_OP(0, 0x0f, 0xb1), RDX, RCX);
    x64_jcc_to(t->e, CC_NE, again);
    t1_put_sized(t, d, RAX, shift);
}

/* LDCLR, LDEOR, LDSET; where the old value is not wanted a locked AND, XOR, OR. */
static bool t1_lse_logic(struct t1 *t, uint32_t insn)
{
    unsigned shift = T1_SIZE(insn), n = a64_rn(insn), d = t1_zr(insn & 31), s = t1_zr(a64_rm(insn));
    unsigned opc = bits32(insn, 14, 12);
    enum x64_alu op = opc == 1 ? ALU_AND : opc == 2 ? ALU_XOR : ALU_OR;
    struct t1_stub *sp, *st;

    sp = t1_sp_check(t, n);
    st = t1_atomic_probe(t, n, shift);
    if (d == T1_ZR) {
        t1_copy(t, true, s, RDX);
        if (opc == 1)
            x64_rr(t->e, true, 0xf7, 2, RDX);
        t1_lock_op(t, shift, (uint32_t)op * 8, (uint32_t)op * 8 + 1, RDX, RAX);
    } else {
        t1_lse_logic_loop(t, op, opc == 1, shift, s, d);
    }
    st->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

/* CAS: the comparand is in RAX for CMPXCHG, so the address moves to RCX. */
static bool t1_lse_cas(struct t1 *t, uint32_t insn)
{
    unsigned shift = T1_SIZE(insn), n = a64_rn(insn), d = t1_zr(insn & 31), s = t1_zr(a64_rm(insn));
    struct t1_stub *sp = t1_sp_check(t, n), *st = t1_atomic_probe(t, n, shift);

    x64_mov_rr(t->e, true, RCX, RAX);
    t1_copy(t, true, s, RAX);
    t1_copy(t, true, d, RDX);
    t1_lock_op(t, shift, X64_OP(0, 0x0f, 0xb0), X64_OP(0, 0x0f, 0xb1), RDX, RCX);
    t1_put_sized(t, s, RAX, shift);
    st->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

/* CASP of 64-bit registers: CMPXCHG16B compares RDX:RAX and stores RCX:RBX, and RBX is X0's. In user mode it may fault,
 * and then no guest register may be in use. */
static bool t1_lse_casp(struct t1 *t, uint32_t insn)
{
    unsigned n = a64_rn(insn), d = insn & 31, s = a64_rm(insn);
    struct x64_mem saved = x64_m(RBP, JIT_OFF(slow));
    struct t1_stub *sp, *st;

    if (!(insn >> 30 & 1) || t1_user(t))
        return false;
    sp = t1_sp_check(t, n);
    st = t1_atomic_probe(t, n, 4);
    t->share[0].valid = false;
    x64_mov_rr(t->e, true, R14, RAX);
    x64_store(t->e, true, RBX, saved);
    t1_copy(t, true, t1_zr(s), RAX);
    t1_copy(t, true, t1_zr(s + 1), RDX);
    t1_copy(t, true, t1_zr(d + 1), RCX);
    t1_copy(t, true, t1_zr(d), RBX);
    x64_u8(t->e, 0xf0);
    x64_rm(t->e, true, X64_OP(0, 0x0f, 0xc7), 1, x64_m(R14, 0));
    x64_load(t->e, true, RBX, saved);
    t1_put(t, t1_zr(s), RAX);
    t1_put(t, t1_zr(s + 1), RDX);
    st->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

/* ---- exclusives ---- */

#define T1_EXCL_REACH 16 /* instructions between the two halves of a pair */

/* Arithmetic on registers and conditional branches: what a pair may have between its halves. */
static bool t1_excl_harmless(unsigned row)
{
    switch (row) {
    case A64_b_cond:
    case A64_cbz:
    case A64_cbnz:
    case A64_tbz:
    case A64_tbnz: return true;
    default: return (row >= A64_adr && row <= A64_extr) || (row >= A64_and_sreg && row <= A64_umulh);
    }
}

/* The store-exclusive that pairs with the load-exclusive at t->i, on the way straight ahead; 0: none. */
static unsigned t1_excl_pair(const struct t1 *t, uint32_t load)
{
    bool two = t->row[t->i] == A64_ldxp;
    unsigned n = a64_rn(load);

    if ((load & 31) == n || (two && (a64_ra(load) == n || a64_ra(load) == (load & 31))))
        return 0;
    for (unsigned k = t->i + 1; k < t->n && k <= t->i + T1_EXCL_REACH; k++) {
        uint32_t insn = t->insn[k];

        if (t->row[k] == (two ? A64_stxp : A64_stxr) && !(t->labels >> k & 1)) {
            unsigned s = a64_rm(insn);
            bool same = T1_SIZE(insn) == T1_SIZE(load) && a64_rn(insn) == n;
            return same && s != (insn & 31) && s != n && !(two && s == a64_ra(insn)) ? k : 0;
        }
        /* A branch has no destination register: what looks like one costs a chance, no more. */
        if (t->labels >> k & 1 || !t1_excl_harmless(t->row[k]) || (insn & 31) == n)
            return 0;
    }
    return 0;
}

/* Is the load-exclusive at t->i there to be told of a change, by the event that WFE waits for? */
static bool t1_excl_waits(const struct t1 *t)
{
    unsigned k = t->i + 1;

    while (k < t->n && k <= t->i + T1_EXCL_REACH && t1_excl_harmless(t->row[k]))
        k++;
    return k < t->n && t->row[k] == A64_wfe;
}

/* The common part of load-exclusives that pair with a store: 2^shift bytes at RAX, unless the interpreter is to do it.
 */
static struct x64_mem t1_excl_access(struct t1 *t, unsigned n, unsigned bytes, uint32_t info, struct t1_stub **slow,
                                     struct t1_stub **s)
{
    x64_alu_mi(t->e, false, ALU_CMP, x64_m(RBP, JIT_OFF(excl_slow)), 0);
    *slow = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_NE));
    t1_address(t, n, 0);
    return t1_access_rax(t, bytes, false, info | JIT_MEM_ALIGNED, T1_STUB_LOAD, s);
}

/*
 * With only arithmetic up to its store-exclusive, the pair is a compare-and-swap (see rt/helper.c). One that waits is a
 * plain load: WFE may end for no reason at all, and the monitor is as if it had been lost at once.
 */
static bool t1_ldxr(struct t1 *t, uint32_t insn)
{
    unsigned end = t1_excl_pair(t, insn), sh = T1_SIZE(insn), d = t1_zr(insn & 31);
    struct t1_stub *sp, *s, *slow;
    struct x64_mem m;

    if (!end && t1_excl_waits(t) && !t1_lse2(t)) {
        x64_rm_(t->e, false, 0xc6, 0, x64_m(RBP, JIT_OFF(excl_valid)), true);
        x64_u8(t->e, 0);
        return t1_ordered(t, insn, true);
    }
    if (!end || t1_lse2(t))
        return false;
    sp = t1_sp_check(t, a64_rn(insn));
    m = t1_excl_access(t, a64_rn(insn), 1u << sh, sh, &slow, &s);
    x64_rm(t->e, sh == 3, sh == 0 ? X64_MOVZX8 : sh == 1 ? X64_MOVZX16 : 0x8b, RAX, m);
    s->r1 = RAX;
    s->r2 = -1;
    s->back = t->e->p;
    x64_store(t->e, true, RAX, x64_m(RBP, JIT_OFF(excl_value)));
    t1_put(t, d, RAX);
    slow->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    t->excl_end = end;
    return true;
}

/* The two halves need not be read at once: what is torn does not compare equal. */
static bool t1_ldxp(struct t1 *t, uint32_t insn)
{
    unsigned end = t1_excl_pair(t, insn), sh = T1_SIZE(insn);
    struct t1_stub *sp, *s, *slow;
    struct x64_mem m;

    /* In user mode the store may fault, and then no guest register may be in use: CMPXCHG16B takes X0's. */
    if (!end || t1_lse2(t) || (t1_user(t) && sh == 3))
        return false;
    sp = t1_sp_check(t, a64_rn(insn));
    m = t1_excl_access(t, a64_rn(insn), 2u << sh, sh | JIT_MEM_PAIR, &slow, &s);
    x64_load(t->e, sh == 3, RDX, t1_plus(m, 1 << sh));
    x64_load(t->e, sh == 3, RAX, m);
    s->r1 = RAX;
    s->r2 = RDX;
    s->back = t->e->p;
    x64_store(t->e, sh == 3, RAX, x64_m(RBP, JIT_OFF(excl_value)));
    x64_store(t->e, sh == 3, RDX, x64_m(RBP, JIT_OFF(excl_value) + (1 << sh)));
    t1_put(t, t1_zr(insn & 31), RAX);
    t1_put(t, t1_zr(a64_ra(insn)), RDX);
    slow->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    t->excl_end = end;
    return true;
}

/* Compares 2^shift bytes at host address RAX with what was read and stores RDX: ZF is set where it did. */
static void t1_excl_swap(struct t1 *t, unsigned shift)
{
    x64_mov_rr(t->e, true, RCX, RAX);
    x64_load(t->e, true, RAX, x64_m(RBP, JIT_OFF(excl_value)));
    t1_lock_op(t, shift, X64_OP(0, 0x0f, 0xb0), X64_OP(0, 0x0f, 0xb1), RDX, RCX);
}

/* The same for 16 bytes, and general registers lo and hi. CMPXCHG16B wants the new value in RBX and RCX. */
static void t1_excl_swap16(struct t1 *t, unsigned lo, unsigned hi)
{
    struct x64_mem saved = x64_m(RBP, JIT_OFF(slow));

    t->share[0].valid = false;
    x64_mov_rr(t->e, true, R14, RAX);
    x64_store(t->e, true, RBX, saved);
    t1_copy(t, true, hi, RCX);
    t1_copy(t, true, lo, RBX);
    x64_load(t->e, true, RAX, x64_m(RBP, JIT_OFF(excl_value)));
    x64_load(t->e, true, RDX, x64_m(RBP, JIT_OFF(excl_value) + 8));
    x64_u8(t->e, 0xf0);
    x64_rm(t->e, true, X64_OP(0, 0x0f, 0xc7), 1, x64_m(R14, 0));
    x64_load(t->e, true, RBX, saved);
}

/* STXR and STXP that pair with a translated load; in between nothing but arithmetic has been. */
static bool t1_stx(struct t1 *t, uint32_t insn, bool two)
{
    unsigned sh = T1_SIZE(insn) + two, n = a64_rn(insn), s = t1_zr(a64_rm(insn));
    unsigned lo = t1_zr(insn & 31), hi = t1_zr(a64_ra(insn));
    struct t1_stub *sp, *st;

    if (!t->excl_end || t->excl_end != t->i)
        return false;
    t->excl_end = 0;
    sp = t1_sp_check(t, n);
    st = t1_atomic_probe(t, n, sh);
    if (sh == 4) {
        t1_excl_swap16(t, lo, hi);
    } else {
        if (two) {
            t1_copy(t, true, hi, RCX);
            x64_shift_ri(t->e, true, SH_SHL, RCX, 32);
            t1_copy(t, false, lo, RDX);
            x64_alu_rr(t->e, true, ALU_OR, RDX, RCX);
        } else {
            t1_copy(t, true, lo, RDX);
        }
        t1_excl_swap(t, sh);
    }
    x64_setcc(t->e, CC_NE, RAX);
    x64_rr8(t->e, false, X64_MOVZX8, RAX, RAX);
    t1_put(t, s, RAX);
    st->back = t->e->p;
    if (sp)
        sp->back = t->e->p;
    return true;
}

static bool t1_stxr(struct t1 *t, uint32_t insn)
{
    return t1_stx(t, insn, false);
}

static bool t1_stxp(struct t1 *t, uint32_t insn)
{
    return t1_stx(t, insn, true);
}

void t1_init_mem(void)
{
    t1_table[A64_ldr_uimm] = t1_ldr_uimm;
    t1_table[A64_str_uimm] = t1_str_uimm;
    t1_table[A64_ldrs_uimm] = t1_table[A64_ldrsw_uimm] = t1_ldrs_uimm;
    t1_table[A64_ldr_unscaled] = t1_table[A64_ldr_post] = t1_table[A64_ldr_pre] = t1_table[A64_ldr_unpriv] =
        t1_ldr_imm9;
    t1_table[A64_str_unscaled] = t1_table[A64_str_post] = t1_table[A64_str_pre] = t1_table[A64_str_unpriv] =
        t1_str_imm9;
    t1_table[A64_ldrs_unscaled] = t1_table[A64_ldrs_post] = t1_table[A64_ldrs_pre] = t1_ldrs_imm9;
    t1_table[A64_ldrs_unpriv] = t1_table[A64_ldrsw_unpriv] = t1_ldrs_imm9;
    t1_table[A64_ldrsw_unscaled] = t1_table[A64_ldrsw_post] = t1_table[A64_ldrsw_pre] = t1_ldrs_imm9;
    t1_table[A64_ldr_reg] = t1_ldr_reg;
    t1_table[A64_str_reg] = t1_str_reg;
    t1_table[A64_ldrs_reg] = t1_table[A64_ldrsw_reg] = t1_ldrs_reg;
    t1_table[A64_ldr_lit] = t1_table[A64_ldrsw_lit] = t1_ldr_lit;
    t1_table[A64_prfm_lit] = t1_table[A64_prfm_unscaled] = t1_prfm;
    t1_table[A64_prfm_reg] = t1_table[A64_prfm_uimm] = t1_prfm;
    t1_table[A64_ldp_off] = t1_table[A64_stp_off] = t1_table[A64_ldpsw_off] = t1_pair_off;
    t1_table[A64_ldnp] = t1_table[A64_stnp] = t1_pair_off;
    t1_table[A64_ldp_pre] = t1_table[A64_stp_pre] = t1_table[A64_ldpsw_pre] = t1_pair_pre;
    t1_table[A64_ldp_post] = t1_table[A64_stp_post] = t1_table[A64_ldpsw_post] = t1_pair_post;
    t1_table[A64_ldar] = t1_table[A64_ldlar] = t1_table[A64_ldapr] = t1_ldar;
    t1_table[A64_stlr] = t1_table[A64_stllr] = t1_stlr;
    t1_table[A64_ldadd] = t1_table[A64_swp] = t1_lse_xadd;
    t1_table[A64_ldclr] = t1_table[A64_ldeor] = t1_table[A64_ldset] = t1_lse_logic;
    t1_table[A64_cas] = t1_lse_cas;
    t1_table[A64_casp] = t1_lse_casp;
    t1_table[A64_ldxr] = t1_ldxr;
    t1_table[A64_ldxp] = t1_ldxp;
    t1_table[A64_stxr] = t1_stxr;
    t1_table[A64_stxp] = t1_stxp;
}
