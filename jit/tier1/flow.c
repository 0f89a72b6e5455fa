/* Tier 1: branches, conditions, exits, system instructions, and the cold code behind each block. */
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

/* ---- flags ---- */

static void t1_store_flags(struct t1 *t)
{
    x64_u8(t->e, 0x9f); /* lahf */
    x64_setcc(t->e, CC_O, RAX);
    x64_rm(t->e, false, X64_OP(0x66, 0, 0x89), RAX, x64_m(RBP, JIT_OFF(cpu.flags)));
}

void t1_flags_out(struct t1 *t)
{
    if (!t->flags_only)
        return;
    t1_carry(t, false);
    t1_store_flags(t);
    t->flags_only = false;
}

void t1_save_flags(struct t1 *t)
{
    enum t1_need need = t1_flags_need(t);

    if (need == T1_NEED_ALL) {
        t1_store_flags(t);
        t->flags_r14 = t1_flags_cross(t);
        if (t->flags_r14)
            x64_mov_rr(t->e, false, R14, RAX);
    } else {
        t->flags_r14 = false;
    }
    t->flags_only = need == T1_NEED_TURN;
    t->host_flags = t->keep_flags = true;
    t->host_add = false;
}

void t1_carry(struct t1 *t, bool add)
{
    if (t->host_add != add)
        x64_u8(t->e, 0xf5); /* cmc */
    t->host_add = add;
}

void t1_host_flags(struct t1 *t)
{
    x64_u8(t->e, 0x04); /* add al, 127: overflows when al is 1 */
    x64_u8(t->e, 0x7f);
    x64_u8(t->e, 0x9e); /* sahf */
}

void t1_load_flags(struct t1 *t)
{
    x64_rm(t->e, false, X64_MOVZX16, RAX, x64_m(RBP, JIT_OFF(cpu.flags)));
    t1_host_flags(t);
    t->host_add = false;
}

/* A condition of one flag, EQ to VC, from memory: that flag goes to CF, no others anywhere. */
static enum x64_cc t1_cond_bit(struct t1 *t, unsigned cond)
{
    static const uint16_t flag[4] = {ARM64_FLAG_Z, ARM64_FLAG_NOTC, ARM64_FLAG_N, ARM64_FLAG_V};
    bool inverse = (cond & 1) ^ (flag[cond >> 1] == ARM64_FLAG_NOTC);

    if (!t->flags_r14)
        x64_rm(t->e, false, X64_MOVZX16, RAX, x64_m(RBP, JIT_OFF(cpu.flags)));
    x64_rr(t->e, false, X64_OP(0, 0x0f, 0xba), 4, t->flags_r14 ? R14 : RAX); /* bt */
    x64_u8(t->e, (uint8_t)__builtin_ctz(flag[cond >> 1]));
    t->host_add = false;
    return inverse ? CC_AE : CC_B;
}

enum x64_cc t1_cond(struct t1 *t, unsigned cond)
{
    static const uint8_t cc[14] = {CC_E,  CC_NE, CC_AE, CC_B,  CC_S, CC_NS, CC_O,
                                   CC_NO, CC_A,  CC_BE, CC_GE, CC_L, CC_G,  CC_LE};

    if (!t->host_flags && cond < 8 && (t->flags_r14 || !t1_flags_again(t)))
        return t1_cond_bit(t, cond);
    if (!t->host_flags) {
        t1_load_flags(t);
        t->host_flags = true;
    }
    if (cond >> 1 == 1 || cond >> 1 == 4) /* HS, LO, HI, LS */
        t1_carry(t, false);
    return cc[cond];
}

/* ---- exits ---- */

/* May a jump be linked to the target's block? Beyond the page a machine's address may come to mean other code. */
static bool t1_near(const struct t1 *t, uint64_t target)
{
    return (t1_user(t) || (target ^ t->b->pc) >> 12 == 0) && t->b->nexits < JIT_BLOCK_MAX_EXITS;
}

static void t1_lea_entry(struct t1 *t)
{
    x64_rip(t->e, true, 0x8d, RCX, t->e->base);
}

/* Aligns so that the four bytes `ahead` bytes from here are aligned: they are patched while others run. */
static void t1_align_patch(struct t1 *t, unsigned ahead)
{
    static const uint8_t nop[4][3] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
    unsigned pad = (4 - ((unsigned)(uintptr_t)t->e->p + ahead)) & 3;

    for (unsigned i = 0; i < pad; i++)
        x64_u8(t->e, nop[pad][i]);
}

/* Is the target no further than the current instruction? */
static bool t1_back_to(const struct t1 *t, uint64_t target)
{
    return (int64_t)(target - t1_pc(t)) <= 0;
}

/* Makes the exit record for the displacement that ends at `after`, and its stub. */
static void t1_link(struct t1 *t, uint64_t target, uint8_t *after)
{
    struct jit_block *b = t->b;
    struct t1_stub *s = t1_stub(t, T1_STUB_EXIT, after);

    s->info = b->nexits;
    s->target = (int64_t)target;
    s->v.dirty = 0; /* who comes here has stored them */
    b->exit[b->nexits++] = (struct jit_exit){.patch = (uint16_t)(after - 4 - t->e->base),
                                             .target = (int32_t)((int64_t)(target - b->pc) / 4)};
}

static struct t1_stub *t1_poll(struct t1 *t, uint64_t target)
{
    struct t1_stub *s;

    x64_alu_mi(t->e, false, ALU_CMP, x64_m(RBP, JIT_OFF(cpu.exit_request)), 0);
    s = t1_stub(t, T1_STUB_POLL, x64_jcc_fwd(t->e, CC_NE));
    s->target = (int64_t)target;
    return s;
}

/* Host flags as the instruction before the turn has set them. RCX is lost. */
static void t1_set_again(struct t1 *t)
{
    unsigned last = t->turn - 1, i = t->i, fused = t->fused, d = t1_zr(a64_rd(t->insn[last]));
    uint32_t insn = t->insn[last];
    bool add = t->row[last] == A64_adds_imm, w = insn >> 31;
    int32_t imm;

    if (d == T1_ZR) {
        t->i = last;
        t->fused = 0;
        t1_table[t->row[last]](t, insn);
        t->i = i;
        t->fused = fused;
        return;
    }
    /* A counter: from what it was before. */
    imm = (int32_t)bits32(insn, 21, 10) << (insn >> 22 & 1) * 12;
    x64_lea(t->e, w, RCX, x64_m(t1_get(t, d, RCX), add ? -imm : imm));
    x64_alu_ri(t->e, w, add ? ALU_ADD : ALU_CMP, RCX, imm);
    t->host_add = add;
    t->host_flags = true;
}

/* A poll on the way to the loop's next turn, with host flags for it behind. */
static void t1_poll_turn(struct t1 *t)
{
    t1_poll(t, t->b->pc)->again = t->flags_only;
    if (t->flags_only)
        t1_set_again(t);
    else
        t1_load_flags(t);
    t1_carry(t, false);
}

static int32_t t1_jc(const struct t1 *t)
{
    return JIT_OFF(jc) + (int32_t)(jit_jc_of(t->b->ctx) * sizeof(t->v->jc[0]));
}

static void t1_poll_pc(struct t1 *t)
{
    x64_alu_mi(t->e, false, ALU_CMP, x64_m(RBP, JIT_OFF(cpu.exit_request)), 0);
    t1_jcc_thunk(t, CC_NE, t->j->thunk.pollpc);
}

/* To RAX, in machines in the page that struct jit_vcpu has. */
static void t1_jump_cached(struct t1 *t)
{
    bool user = t1_user(t), el1 = t->b->ctx & JIT_CTX_EL1;
    int tag = user ? RAX : RDX;
    int32_t jc = t1_jc(t);

    _Static_assert(sizeof(struct jit_jc_entry) == 4 << 2, "the address scales the index");
    x64_mov_rr(t->e, false, RCX, RAX);
    x64_alu_ri(t->e, false, ALU_AND, RCX, (int32_t)(jit_jc_mask(user) << 2));
    if (!user) {
        x64_mov_rr(t->e, true, RDX, RAX);
        x64_alu_rm(t->e, true, ALU_XOR, RDX, x64_m(RBP, JIT_OFF(salt) + el1 * 8));
    }
    x64_alu_rm(t->e, true, ALU_CMP, tag, x64_mx(RBP, RCX, 2, jc));
    t1_jcc_thunk(t, CC_NE, t->j->thunk.lookup[jit_jc_of(t->b->ctx)]);
    x64_jmp_mem(t->e, x64_mx(RBP, RCX, 2, jc + 8));
}

/* To another page: the jump cache says whether the address still means the same code. */
static void t1_exit_cross(struct t1 *t, uint64_t target)
{
    uint64_t page = target & ~UINT64_C(0xfff);

    t1_leave(t);
    if (t1_user(t)) {
        t1_mov_guest(t, RAX, target);
        t1_exit_indirect(t);
        return;
    }
    t1_mov_guest(t, RAX, page);
    x64_store(t->e, true, RAX, x64_m(RBP, JIT_OFF(page)));
    if (target > page)
        x64_alu_ri(t->e, true, ALU_ADD, RAX, (int32_t)(target - page));
    if (t1_back_to(t, target))
        t1_poll_pc(t);
    t1_jump_cached(t);
}

void t1_exit(struct t1 *t, uint64_t target)
{
    if (t1_is_label(t, target)) {
        t1_jump(t, target, x64_jmp_fwd(t->e));
        return;
    }
    if (!t1_near(t, target)) {
        t1_exit_cross(t, target);
        return;
    }
    if (target == t->b->pc && t->carry)
        t1_poll_turn(t);
    else if (t1_back_to(t, target))
        t1_poll(t, target);
    if (target == t->b->pc) {
        t->loops = true;
        if (t->planned) {
            t1_back(t);
            return;
        }
    }
    t1_leave(t);
    t1_align_patch(t, 1);
    t1_link(t, target, x64_jmp_fwd(t->e));
}

void t1_exit_indirect(struct t1 *t)
{
    t1_leave(t);
    t1_poll_pc(t);
    if (!t1_user(t)) {
        x64_mov_rr(t->e, true, RDX, RAX);
        x64_alu_ri(t->e, true, ALU_AND, RDX, -4096);
        x64_store(t->e, true, RDX, x64_m(RBP, JIT_OFF(page)));
    }
    t1_jump_cached(t);
}

/* ---- branches ---- */

static uint64_t t1_target(const struct t1 *t, uint32_t insn, unsigned hi, unsigned lo)
{
    return t1_pc(t) + (uint64_t)(sext64(bits32(insn, hi, lo), hi - lo + 1) * 4);
}

/* Leaves for `target` when cc holds in host flags. */
static void t1_branch_cc(struct t1 *t, enum x64_cc cc, uint64_t target)
{
    t->lost |= t->flags_only && !t->host_flags;
    if (t1_is_label(t, target)) {
        t1_jump(t, target, x64_jcc_fwd(t->e, cc));
    } else if (t1_near(t, target) && !t1_back_to(t, target)) {
        if (t->vreg.now.dirty || t->greg.count || t->flags_only) {
            t1_stub(t, T1_STUB_LEAVE, x64_jcc_fwd(t->e, cc))->target = (int64_t)target;
            return;
        }
        t1_align_patch(t, 2);
        t1_link(t, target, x64_jcc_fwd(t->e, cc));
    } else if (t1_near(t, target)) {
        uint8_t *over = x64_jcc_fwd(t->e, cc ^ 1);
        struct t1_vstate v = t->vreg.now;
        const int8_t *pin = t->pin;
        bool only = t->flags_only, add = t->host_add;

        t1_exit(t, target);
        t->vreg.now = v; /* of those who do not take this way */
        t->pin = pin;
        t->flags_only = only;
        t->host_add = add;
        x64_bind(t->e, over);
        t1_flags_out(t);
    } else {
        struct t1_stub *s = t1_stub(t, T1_STUB_CROSS, x64_jcc_fwd(t->e, cc));
        s->target = (int64_t)target;
    }
}

static bool t1_b(struct t1 *t, uint32_t insn)
{
    t1_exit(t, t1_target(t, insn, 25, 0));
    t->ended = true;
    return true;
}

static void t1_set_lr(struct t1 *t)
{
    t1_mov_guest(t, RDX, t1_pc(t) + 4);
    t1_put(t, 30, RDX);
}

static bool t1_bl(struct t1 *t, uint32_t insn)
{
    t1_set_lr(t);
    t1_exit(t, t1_target(t, insn, 25, 0));
    t->ended = true;
    return true;
}

static bool t1_b_cond(struct t1 *t, uint32_t insn)
{
    unsigned cond = insn & 15;
    uint64_t target = t1_target(t, insn, 23, 5);

    if (cond >= 14) {
        t1_exit(t, target);
        t->ended = true;
        return true;
    }
    enum x64_cc cc = t1_cond(t, cond);
    /* On the way through, a forward branch leaves host flags as they are. */
    t1_branch_cc(t, cc, target);
    t->keep_flags = true;
    return true;
}

static bool t1_cbz(struct t1 *t, uint32_t insn)
{
    unsigned g = t1_zr(insn & 31);
    bool w = insn >> 31;

    if (t1_host(t, g) >= 0)
        x64_test_rr(t->e, w, t1_host(t, g), t1_host(t, g));
    else if (g == T1_ZR)
        x64_alu_rr(t->e, false, ALU_XOR, RAX, RAX);
    else
        x64_alu_mi(t->e, w, ALU_CMP, t1_slot(g), 0);
    t->host_flags = false;
    t1_branch_cc(t, insn >> 24 & 1 ? CC_NE : CC_E, t1_target(t, insn, 23, 5));
    return true;
}

static bool t1_tbz(struct t1 *t, uint32_t insn)
{
    unsigned g = t1_zr(insn & 31), bit = (insn >> 31) << 5 | bits32(insn, 23, 19);
    bool nz = insn >> 24 & 1;
    int h = t1_get(t, g, RAX);

    t->host_flags = false;
    if (bit < 31) {
        x64_test_ri(t->e, false, h, (int32_t)BIT32(bit));
        t1_branch_cc(t, nz ? CC_NE : CC_E, t1_target(t, insn, 18, 5));
    } else {
        x64_rr(t->e, true, X64_OP(0, 0x0f, 0xba), 4, h); /* bt */
        x64_u8(t->e, (uint8_t)bit);
        t1_branch_cc(t, nz ? CC_B : CC_AE, t1_target(t, insn, 18, 5));
    }
    return true;
}

static bool t1_br(struct t1 *t, uint32_t insn)
{
    t1_copy(t, true, t1_zr(a64_rn(insn)), RAX);
    if (bits32(insn, 22, 21) == 1)
        t1_set_lr(t); /* BLR */
    t1_exit_indirect(t);
    t->ended = true;
    return true;
}

/* ---- system ---- */

static bool t1_nop(struct t1 *t, uint32_t insn)
{
    (void)insn;
    t->keep_flags = true;
    return true;
}

static void t1_full_barrier(struct t1 *t)
{
    x64_u8(t->e, 0xf0); /* lock or dword [rsp - 8], 0: cheaper than MFENCE */
    x64_alu_mi(t->e, false, ALU_OR, x64_m(RSP, -8), 0);
}

/* Loads are in order with loads and stores with stores on x86; only a full barrier keeps stores before loads. */
static bool t1_dmb(struct t1 *t, uint32_t insn)
{
    unsigned types = bits32(insn, 9, 8);

    if (types != 1 && types != 2) {
        t1_full_barrier(t);
    } else {
        t->keep_flags = true;
    }
    return true;
}

/* The interpreter's where the flag at `off` says that there is something to wait for, or to look for again. */
static bool t1_unless(struct t1 *t, int32_t off)
{
    struct t1_stub *s;

    x64_rm_(t->e, false, 0x80, ALU_CMP, x64_m(RBP, off), true);
    x64_u8(t->e, 0);
    s = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_NE));
    s->back = t->e->p;
    return true;
}

static bool t1_dsb(struct t1 *t, uint32_t insn)
{
    (void)insn;
    if (t1_user(t))
        return false;
    t1_full_barrier(t);
    return t1_unless(t, JIT_OFF(dsb_work));
}

static bool t1_isb(struct t1 *t, uint32_t insn)
{
    (void)insn;
    return !t1_user(t) && t1_unless(t, JIT_OFF(remapped));
}

static uint32_t t1_sysreg(uint32_t insn)
{
    return bits32(insn, 20, 5);
}

static bool t1_sysreg_const(const struct t1 *t, uint32_t enc, uint64_t *value)
{
    if (t1_user(t))
        return t->j->user->sysreg_const(&t->v->cpu, enc, value);
    return t->j->mem->sysreg_const && t->j->mem->sysreg_const(&t->v->cpu, enc, value);
}

/* ---- DAIF at EL1, where masking interrupts is part of every lock ---- */

#define T1_DAIF (3u << 14 | 3u << 11 | 4u << 7 | 2u << 3 | 1u) /* as t1_sysreg gives it */

static bool t1_daif_read(struct t1 *t, unsigned d)
{
    if (d != T1_ZR) {
        int h = t1_dst(t, d, RAX);
        x64_load(t->e, false, h, x64_m(RBP, JIT_OFF(cpu.daif)));
        t1_put(t, d, h);
    }
    t->keep_flags = true;
    return true;
}

/* Unmasking is the interpreter's where an interrupt waits, or where `other` jumps from. */
static struct t1_stub *t1_no_interrupt(struct t1 *t, uint8_t *other)
{
    struct t1_stub *s;

    x64_alu_mi(t->e, false, ALU_CMP, x64_m(RBP, JIT_OFF(cpu.irq_lines)), 0);
    s = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_NE));
    s->from2 = other;
    return s;
}

/* A change of PSTATE.D may begin software step: the interpreter's. */
static bool t1_daif_write(struct t1 *t, unsigned g)
{
    struct t1_stub *s;

    t1_copy(t, false, g, RAX);
    x64_alu_ri(t->e, false, ALU_AND, RAX, PSTATE_DAIF);
    x64_load(t->e, false, RCX, x64_m(RBP, JIT_OFF(cpu.daif)));
    x64_alu_rr(t->e, false, ALU_XOR, RCX, RAX);
    x64_test_ri(t->e, false, RCX, PSTATE_D);
    s = t1_no_interrupt(t, x64_jcc_fwd(t->e, CC_NE));
    x64_store(t->e, false, RAX, x64_m(RBP, JIT_OFF(cpu.daif)));
    s->back = t->e->p;
    return true;
}

static bool t1_daifclr(struct t1 *t, uint32_t insn)
{
    uint32_t mask = bits32(insn, 11, 8) << 6;
    struct t1_stub *s;

    if (!(t->b->ctx & JIT_CTX_EL1) || (mask & PSTATE_D))
        return false;
    s = t1_no_interrupt(t, NULL);
    x64_alu_mi(t->e, false, ALU_AND, x64_m(RBP, JIT_OFF(cpu.daif)), (int32_t)~mask);
    s->back = t->e->p;
    return true;
}

static bool t1_mrs(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(insn & 31);
    int off = t->j->sysreg_plain(t1_sysreg(insn), t->b->ctx & JIT_CTX_EL1 ? 1 : 0, false);
    uint64_t value;

    if (t1_sysreg_const(t, t1_sysreg(insn), &value)) {
        if (d != T1_ZR) {
            x64_mov_imm(t->e, t1_dst(t, d, RAX), value);
            t1_put(t, d, t1_dst(t, d, RAX));
        }
        t->keep_flags = true;
        return true;
    }
    if (t1_sysreg(insn) == T1_DAIF && (t->b->ctx & JIT_CTX_EL1))
        return t1_daif_read(t, d);
    if (off < 0 || ((t->b->ctx & JIT_CTX_EL1) && !(t->b->ctx & JIT_CTX_SPSEL)))
        return false;
    if (d != T1_ZR) {
        int h = t1_dst(t, d, RAX);
        x64_load(t->e, true, h, x64_m(RBP, off - JIT_RBP_BIAS));
        t1_put(t, d, h);
    }
    t->keep_flags = true;
    return true;
}

static bool t1_msr(struct t1 *t, uint32_t insn)
{
    int off = t->j->sysreg_plain(t1_sysreg(insn), t->b->ctx & JIT_CTX_EL1 ? 1 : 0, true);

    if (t1_sysreg(insn) == T1_DAIF && (t->b->ctx & JIT_CTX_EL1))
        return t1_daif_write(t, t1_zr(insn & 31));
    if (off < 0 || ((t->b->ctx & JIT_CTX_EL1) && !(t->b->ctx & JIT_CTX_SPSEL)))
        return false;
    x64_store(t->e, true, t1_get(t, t1_zr(insn & 31), RAX), x64_m(RBP, off - JIT_RBP_BIAS));
    t->keep_flags = true;
    return true;
}

static bool t1_daifset(struct t1 *t, uint32_t insn)
{
    if (!(t->b->ctx & JIT_CTX_EL1))
        return false;
    x64_alu_mi(t->e, false, ALU_OR, x64_m(RBP, JIT_OFF(cpu.daif)), (int32_t)(bits32(insn, 11, 8) << 6));
    return true;
}

/* User mode: a call that mostly comes back. */
static bool t1_svc(struct t1 *t, uint32_t insn)
{
    if (!t1_user(t))
        return false;
    t1_leave(t);
    x64_mov_imm(t->e, RDX, bits32(insn, 20, 5));
    x64_mov_imm(t->e, RAX, t->i * 4);
    t1_lea_entry(t);
    t1_call_thunk(t, t->j->thunk.svc);
    t1_vforget(t);
    t1_exit(t, t1_pc(t) + 4);
    t->ended = true;
    return true;
}

/* ---- cold code ---- */

void t1_interp(struct t1 *t, uint32_t insn)
{
    x64_mov_imm(t->e, RDX, insn);
    x64_mov_imm(t->e, RAX, t->i * 4);
    t1_lea_entry(t);
    t1_call_thunk(t, t->j->thunk.interp);
}

struct t1_stub *t1_sp_check(struct t1 *t, unsigned n)
{
    struct t1_stub *s;

    if (n != T1_SP || t->sp_aligned || !(t->b->ctx & JIT_CTX_SPALIGN))
        return NULL;
    if (t1_host(t, T1_SP) >= 0)
        x64_test_ri(t->e, false, t1_host(t, T1_SP), 15);
    else
        x64_test_mi8(t->e, t1_slot(T1_SP), 15);
    t1_used(t, T1_SP);
    t->host_flags = false;
    s = t1_stub(t, T1_STUB_INTERP, x64_jcc_fwd(t->e, CC_NE));
    t->sp_aligned = true;
    return s;
}

static void t1_stub_mem(struct t1 *t, const struct t1_stub *s)
{
    if (s->address)
        t1_address(t, s->base, s->offset);
    x64_mov_imm(t->e, RDX, s->info);
    t1_lea_entry(t);
    t1_call_thunk(t, s->alone ? t->j->thunk.alone[t1_view(t, s->info)][s->info & JIT_MEM_FORM] : t->j->thunk.mem);
    t1_genter(t);
    if (s->info >> JIT_MEM_ABOVE_SHIFT) {
        x64_load(t->e, true, s->share ? RDX : R14, x64_m(RBP, JIT_OFF(share)));
        if (s->share)
            x64_store(t->e, true, RDX, t1_share_slot(s->share));
    }
}

/* Back from C code to where the fast path goes on. */
static void t1_stub_back(struct t1 *t, const struct t1_stub *s)
{
    if (t->vreg.routine)
        x64_call_to(t->e, t->vreg.routine);
    if (s->flags)
        t1_load_flags(t);
    if (s->flags_r14)
        x64_rm(t->e, false, X64_MOVZX16, R14, x64_m(RBP, JIT_OFF(cpu.flags)));
    x64_jmp_to(t->e, s->back);
}

/* Where the thread goes on that faulted in instruction t->i: what user.c looks for is behind the block. */
static void t1_stub_fault(struct t1 *t)
{
    t->landing[t->nlandings++] =
        (struct jit_landing){.insn = (uint16_t)t->i, .code = (uint16_t)(t->place - t->e->base)};
    t1_jmp_thunk(t, t->j->thunk.fault);
}

static void t1_stub_load(struct t1 *t, const struct t1_stub *s)
{
    t1_stub_mem(t, s);
    if (s->together)
        sse_rm(t->e, SSE_MOVUPS_LOAD, XMM0, x64_m(RBP, JIT_OFF(slow)));
    else if (s->r1 != RAX)
        x64_mov_rr(t->e, true, s->r1, RAX);
    if (!s->together && s->r2 >= 0)
        x64_mov_rr(t->e, true, s->r2, RCX);
    t1_stub_back(t, s);
}

static void t1_stub_store(struct t1 *t, const struct t1_stub *s)
{
    int32_t second = (s->info & JIT_MEM_SIZE) == 2 ? 4 : 8;

    t1_copy(t, true, (unsigned)s->r1, RDX);
    x64_store(t->e, true, RDX, x64_m(RBP, JIT_OFF(slow)));
    if (s->r2 >= 0) {
        t1_copy(t, true, (unsigned)s->r2, RDX);
        x64_store(t->e, true, RDX, x64_m(RBP, JIT_OFF(slow) + second));
    }
    t1_stub_mem(t, s);
    t1_stub_back(t, s);
}

/* V registers: `slow` is copied by way of general registers, 16 bytes each. */
static void t1_stub_vector(struct t1 *t, const struct t1_stub *s)
{
    unsigned size = 1u << (s->info & JIT_MEM_SIZE);
    bool load = s->kind == T1_STUB_VLOAD;

    for (unsigned pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            t1_stub_mem(t, s);
            if (!load)
                break;
        }
        for (unsigned k = 0; k < (s->r2 >= 0 ? 2u : 1u) && (load ? pass == 1 : pass == 0); k++) {
            int32_t v = JIT_OFF(cpu.v) + (k ? s->r2 : s->r1) * 16;
            /* Pairs of 4 bytes are widened to 8 on loads, and packed on stores. */
            int32_t b = JIT_OFF(slow) + (int32_t)(k * (load && size == 4 ? 8 : size));
            if (load) {
                x64_load(t->e, size >= 8, RAX, x64_m(RBP, b));
                x64_store(t->e, true, RAX, x64_m(RBP, v));
                if (size == 16)
                    x64_load(t->e, true, RAX, x64_m(RBP, b + 8));
                else
                    x64_mov_imm(t->e, RAX, 0);
                x64_store(t->e, true, RAX, x64_m(RBP, v + 8));
            } else {
                x64_load(t->e, true, RDX, x64_m(RBP, v));
                x64_store(t->e, true, RDX, x64_m(RBP, b));
                if (size == 16) {
                    x64_load(t->e, true, RDX, x64_m(RBP, v + 8));
                    x64_store(t->e, true, RDX, x64_m(RBP, b + 8));
                }
            }
        }
    }
    t1_stub_back(t, s);
}

static void t1_emit_stub(struct t1 *t, struct t1_stub *s)
{
    t->i = s->index;
    t->place = t->e->p;
    t->vreg.now = s->v;
    t->pin = s->pin;
    if (s->from)
        x64_bind(t->e, s->from);
    if (s->from2)
        x64_bind(t->e, s->from2);
    t->flags_only = s->flags_only;
    t->host_add = false;
    if (s->again)
        t1_set_again(t);
    t1_flags_out(t);
    if (s->kind != T1_STUB_EDGE)
        t1_leave(t);
    switch (s->kind) {
    case T1_STUB_LOAD: t1_stub_load(t, s); break;
    case T1_STUB_STORE: t1_stub_store(t, s); break;
    case T1_STUB_VLOAD:
    case T1_STUB_VSTORE: t1_stub_vector(t, s); break;
    case T1_STUB_INTERP:
        t1_interp(t, t->insn[s->index]);
        t1_genter(t);
        t1_stub_back(t, s);
        break;
    case T1_STUB_EXIT:
        t->b->exit[s->info].stub = (uint16_t)(t->e->p - t->e->base);
        x64_mov_imm(t->e, RAX, s->info);
        t1_lea_entry(t);
        t1_jmp_thunk(t, t->j->thunk.link);
        break;
    case T1_STUB_POLL:
        x64_mov_imm(t->e, RAX, (uint64_t)s->target - t->b->pc);
        t1_lea_entry(t);
        t1_jmp_thunk(t, t->j->thunk.poll);
        break;
    case T1_STUB_CROSS: t1_exit_cross(t, (uint64_t)s->target); break;
    case T1_STUB_LEAVE: t1_exit(t, (uint64_t)s->target); break;
    case T1_STUB_EDGE: t1_edge(t, s); break;
    case T1_STUB_FAULT: t1_stub_fault(t); break;
    }
}

void t1_emit_stubs(struct t1 *t)
{
    t1_vroutine(t);
    t1_groutines(t);
    for (unsigned k = 0; k < t->nstubs; k++)
        t1_emit_stub(t, &t->stub[k]);
    t->b->dead_tail = (uint16_t)(t->e->p - t->e->base);
    t1_lea_entry(t);
    t1_jmp_thunk(t, t->j->thunk.dead);
    if (t->b->loop) {
        t->vreg.now = t->vreg.head;
        t1_within(t);
        t->flags_only = t->carry;
        t->host_add = false;
        t1_flags_out(t);
        t1_leave(t);
        t1_lea_entry(t);
        t1_jmp_thunk(t, t->j->thunk.dead);
    }
    if (!t1_user(t))
        return;
    for (unsigned k = 0; k < t->nlandings * sizeof(t->landing[0]); k++)
        x64_u8(t->e, ((const uint8_t *)t->landing)[k]);
    x64_u8(t->e, (uint8_t)t->nlandings);
}

void t1_init_flow(void)
{
    t1_table[A64_b] = t1_b;
    t1_table[A64_bl] = t1_bl;
    t1_table[A64_b_cond] = t1_b_cond;
    t1_table[A64_cbz] = t1_table[A64_cbnz] = t1_cbz;
    t1_table[A64_tbz] = t1_table[A64_tbnz] = t1_tbz;
    t1_table[A64_br] = t1_table[A64_blr] = t1_table[A64_ret] = t1_br;
    t1_table[A64_hint] = t1_nop;
    t1_table[A64_dmb] = t1_dmb;
    t1_table[A64_dsb] = t1_dsb;
    t1_table[A64_isb] = t1_isb;
    t1_table[A64_svc] = t1_svc;
    t1_table[A64_mrs] = t1_mrs;
    t1_table[A64_msr_reg] = t1_msr;
    t1_table[A64_msr_daifset] = t1_daifset;
    t1_table[A64_msr_daifclr] = t1_daifclr;
}
