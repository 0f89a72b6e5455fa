/*
 * Hand-made code at the start of the cache: entry to and exit from generated code, and the calls out of it.
 *
 * At every call out all pinned registers go to struct arm64_cpu, because helpers may trap, and MXCSR is the host's
 * while C code runs.
 */
#include "jit/rt/rt.h"
#include "jit/x64/sse.h"

/* Arguments and results, the first callee-saved registers and the stack pointer: what compilers' code uses most. R14 is
 * tier 1's own: the TLB addend that accesses with one base share. */
const int8_t jit_pin[32] = {
    [0] = RBX, [1] = RSI, [2] = RDI, [3] = R8,   [4] = R9,   [5] = R10,  [6] = -1,  [7] = -1,
    [8] = -1,  [9] = -1,  [10] = -1, [11] = -1,  [12] = -1,  [13] = -1,  [14] = -1, [15] = -1,
    [16] = -1, [17] = -1, [18] = -1, [19] = R11, [20] = R12, [21] = R13, [22] = -1, [23] = -1,
    [24] = -1, [25] = -1, [26] = -1, [27] = -1,  [28] = -1,  [29] = -1,  [30] = -1, [31] = R15,
};

#define X64_LDMXCSR 2
#define X64_STMXCSR 3

static void jit_emit_mxcsr(struct x64_emit *e, unsigned op, int32_t off)
{
    x64_rm(e, false, X64_OP(0, 0x0f, 0xae), (int)op, x64_m(RBP, off));
}

static void jit_emit_pins(struct x64_emit *e, bool store)
{
    for (unsigned r = 0; r < 32; r++)
        if (jit_pin[r] >= 0)
            x64_rm(e, true, store ? 0x89 : 0x8b, jit_pin[r], x64_m(RBP, jit_off_x(r)));
}

static void jit_emit_spill(struct x64_emit *e)
{
    jit_emit_pins(e, true);
    jit_emit_mxcsr(e, X64_STMXCSR, JIT_OFF(mxcsr));
    jit_emit_mxcsr(e, X64_LDMXCSR, JIT_OFF(host_mxcsr));
}

static void jit_emit_reload(struct x64_emit *e)
{
    jit_emit_mxcsr(e, X64_LDMXCSR, JIT_OFF(mxcsr));
    jit_emit_pins(e, false);
}

static const uint8_t jit_saved[] = {RBX, RBP, R12, R13, R14, R15};

static const uint8_t *jit_emit_enter(struct x64_emit *e)
{
    const uint8_t *at = e->p;

    for (unsigned i = 0; i < sizeof(jit_saved); i++)
        x64_push(e, jit_saved[i]);
    x64_alu_ri(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, true, RBP, x64_m(RDI, JIT_RBP_BIAS));
    x64_mov_rr(e, true, RAX, RSI);
    jit_emit_mxcsr(e, X64_STMXCSR, JIT_OFF(host_mxcsr));
    jit_emit_reload(e);
    x64_rr(e, false, 0xff, 4, RAX); /* jmp rax */
    return at;
}

/* Leaves generated code with the state already in memory; RSP is as blocks have it. */
static const uint8_t *jit_emit_leave(struct x64_emit *e)
{
    const uint8_t *at = e->p;

    x64_alu_ri(e, true, ALU_ADD, RSP, 8);
    for (unsigned i = sizeof(jit_saved); i-- > 0;)
        x64_pop(e, jit_saved[i]);
    x64_u8(e, 0xc3);
    return at;
}

static void jit_emit_exit(struct x64_emit *e, enum jit_exit_reason why, const uint8_t *leave)
{
    jit_emit_spill(e);
    x64_mov_imm(e, RAX, why);
    x64_jmp_to(e, leave);
}

/* pc = page + header.pc + rax, with rcx the block's entry. */
static void jit_emit_pc(struct x64_emit *e)
{
    x64_alu_rm(e, true, ALU_ADD, RAX, x64_m(RCX, -(int32_t)sizeof(struct jit_block_header)));
    x64_alu_rm(e, true, ALU_ADD, RAX, x64_m(RBP, JIT_OFF(page)));
    x64_store(e, true, RAX, x64_m(RBP, JIT_OFF(cpu.pc)));
}

/* Calls helper(vcpu, rsi, rdx); a non-zero result leaves generated code, dropping the caller's return address. */
static void jit_emit_helper_call(struct x64_emit *e, enum jit_helper h, const uint8_t *leave)
{
    uint8_t *go_on;

    x64_alu_ri(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, true, RDI, x64_m(RBP, -JIT_RBP_BIAS));
    x64_call_mem(e, x64_m(RBP, JIT_OFF(helper) + (int32_t)h * 8));
    x64_alu_ri(e, true, ALU_ADD, RSP, 8);
    x64_test_rr(e, false, RAX, RAX);
    go_on = x64_jcc8_fwd(e, CC_E);
    x64_alu_ri(e, true, ALU_ADD, RSP, 8);
    x64_mov_imm(e, RAX, JIT_EXIT_TRAP);
    x64_jmp_to(e, leave);
    x64_bind8(e, go_on);
    jit_emit_reload(e);
}

static const uint8_t *jit_emit_mem(struct x64_emit *e, const uint8_t *leave)
{
    const uint8_t *at = e->p;

    jit_emit_spill(e);
    x64_mov_rr(e, true, RSI, RAX);
    x64_mov_rr(e, false, RAX, RDX);
    x64_shift_ri(e, false, SH_SHR, RAX, JIT_MEM_PC_SHIFT);
    x64_alu_ri(e, false, ALU_AND, RAX, JIT_MEM_PC_MASK);
    x64_shift_ri(e, false, SH_SHL, RAX, 2);
    jit_emit_pc(e);
    jit_emit_helper_call(e, JIT_HELPER_MEM, leave);
    x64_load(e, true, RAX, x64_m(RBP, JIT_OFF(slow)));
    x64_load(e, true, RCX, x64_m(RBP, JIT_OFF(slow) + 8));
    x64_u8(e, 0xc3);
    return at;
}

/* 2^shift bytes, or two times as many, at the host address in RDX: of loads to RAX and RCX, extended, and to slow[]. */
static void jit_emit_transfer(struct x64_emit *e, uint32_t form)
{
    static const uint32_t load[2][4] = {{X64_MOVZX8, X64_MOVZX16, 0x8b, 0x8b},
                                        {X64_MOVSX8, X64_MOVSX16, X64_MOVSXD, 0x8b}};
    static const uint8_t store[4] = {0x88, 0x89, 0x89, 0x89};
    unsigned shift = form & JIT_MEM_SIZE, sign = form & (JIT_MEM_SIGN | JIT_MEM_SIGN32) ? 1 : 0;

    for (unsigned k = 0; k < (form & JIT_MEM_PAIR ? 2u : 1u); k++) {
        struct x64_mem at = x64_m(RDX, (int32_t)(k << shift));
        int r = k ? RCX : RAX;

        if (shift == 4) {
            struct x64_mem slow = x64_m(RBP, JIT_OFF(slow) + (int32_t)k * 16);
            sse_rm(e, SSE_MOVUPS_LOAD, 0, form & JIT_MEM_STORE ? slow : at);
            sse_rm(e, SSE_MOVUPS_STORE, 0, form & JIT_MEM_STORE ? at : slow);
        } else if (form & JIT_MEM_STORE) {
            x64_load(e, shift == 3, RCX, x64_m(RBP, JIT_OFF(slow) + (int32_t)(k << shift)));
            x64_rm_(e, shift == 3, shift == 1 ? X64_OP(0x66, 0, 0x89) : store[shift], RCX, at, shift == 0);
        } else {
            x64_rm(e, shift == 3 || form & JIT_MEM_SIGN, load[sign][shift], r, at);
            x64_store(e, true, r, x64_m(RBP, JIT_OFF(slow) + (int32_t)k * 8));
        }
    }
}

/* As tier 1's own probes, but that all scratch registers are taken. */
static const uint8_t *jit_emit_alone(struct x64_emit *e, unsigned view, uint32_t form, const uint8_t *mem)
{
    int32_t tlb = JIT_OFF(tlb) + (int32_t)(view * sizeof(((struct jit_vcpu *)0)->tlb[0]));
    const uint8_t *at = e->p;
    uint8_t *missed;

    x64_push(e, RCX);
    x64_push(e, RDX);
    x64_mov_rr(e, false, RCX, RAX);
    x64_shift_ri(e, false, SH_SHR, RCX, 12 - 5);
    x64_alu_ri(e, false, ALU_AND, RCX, (int32_t)((JIT_TLB_SIZE - 1) << 5));
    x64_lea(e, true, RDX, x64_m(RAX, (form & JIT_MEM_PAIR ? 2 : 1) * (1 << (form & JIT_MEM_SIZE)) - 1));
    x64_alu_ri(e, true, ALU_AND, RDX, -4096);
    x64_alu_rm(e, true, ALU_CMP, RDX, x64_mx(RBP, RCX, 0, tlb + (form & JIT_MEM_STORE ? 8 : 0)));
    missed = x64_jcc_fwd(e, CC_NE);
    x64_load(e, true, RDX, x64_mx(RBP, RCX, 0, tlb + (int32_t)offsetof(struct jit_tlb_entry, addend)));
    x64_alu_rr(e, true, ALU_ADD, RDX, RAX);
    x64_alu_ri(e, true, ALU_ADD, RSP, 16);
    jit_emit_transfer(e, form);
    x64_alu_rr(e, false, ALU_XOR, RDX, RDX);
    x64_store(e, true, RDX, x64_m(RBP, JIT_OFF(share)));
    x64_u8(e, 0xc3);
    x64_bind(e, missed);
    x64_pop(e, RDX);
    x64_pop(e, RCX);
    x64_jmp_to(e, mem);
    return at;
}

/* Single registers and pairs; what is narrower than its register may be signed. */
static bool jit_form_exists(uint32_t form)
{
    unsigned shift = form & JIT_MEM_SIZE;
    bool sign = form & JIT_MEM_SIGN, sign32 = form & JIT_MEM_SIGN32, store = form & JIT_MEM_STORE;

    if (form & JIT_MEM_PAIR)
        return shift >= 2 && shift <= 4 && !sign32 && !(sign && (shift > 2 || store));
    return shift <= 4 && !(sign && (shift > 2 || store || sign32)) && !(sign32 && (shift > 1 || store));
}

static const uint8_t *jit_emit_insn(struct x64_emit *e, enum jit_helper h, const uint8_t *leave)
{
    const uint8_t *at = e->p;

    jit_emit_spill(e);
    jit_emit_pc(e);
    x64_mov_rr(e, false, RSI, RDX);
    jit_emit_helper_call(e, h, leave);
    x64_u8(e, 0xc3);
    return at;
}

/* A row of the interpreter that touches registers only: it can neither trap nor leave, and does its arithmetic on
 * integers, so MXCSR may stay. */
static const uint8_t *jit_emit_simd(struct x64_emit *e)
{
    const uint8_t *at = e->p;

    jit_emit_pins(e, true);
    x64_alu_ri(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, true, RDI, x64_m(RBP, -JIT_RBP_BIAS));
    x64_mov_rr(e, false, RSI, RDX);
    x64_load(e, true, RCX, x64_m(RBP, JIT_OFF(exec)));
    x64_call_mem(e, x64_mx(RCX, RAX, 3, 0));
    x64_alu_ri(e, true, ALU_ADD, RSP, 8);
    jit_emit_pins(e, false);
    x64_u8(e, 0xc3);
    return at;
}

/* To reg: what jit_jc_second changes an index by, 16 bytes an entry, for the tag in reg. */
static void jit_emit_jc_page(struct x64_emit *e, int reg, bool user)
{
    unsigned bits = user ? JIT_JC_USER_BITS : JIT_JC_BITS;

    _Static_assert(sizeof(struct jit_jc_entry) * JIT_JC_PAGE == 1 << 14, "a page's entries");
    x64_shift_ri(e, false, SH_SHR, reg, bits + 2 - 14);
    x64_alu_ri(e, false, ALU_AND, reg, (int32_t)(jit_jc_mask(user) << 4 & ~((1u << 14) - 1)));
}

/* Where the second place of the pc in RAX has it, it changes to its first, and what is there to that one's second, as
 * jit_jc_put has it. */
static const uint8_t *jit_emit_lookup(struct x64_emit *e, unsigned which, bool user, const uint8_t *miss)
{
    int32_t first = JIT_OFF(jc) + (int32_t)(which * sizeof(((struct jit_vcpu *)0)->jc[0]));
    int32_t second = first + (int32_t)((jit_jc_mask(user) + 1) * sizeof(struct jit_jc_entry));
    const uint8_t *at = e->p;

    x64_mov_rr(e, false, R14, RAX);
    x64_shift_ri(e, false, SH_SHL, R14, 2);
    x64_alu_ri(e, false, ALU_AND, R14, (int32_t)(jit_jc_mask(user) << 4));
    x64_mov_rr(e, false, RCX, RAX);
    jit_emit_jc_page(e, RCX, user);
    x64_alu_rr(e, false, ALU_XOR, RCX, R14);
    x64_mov_rr(e, true, RDX, RAX);
    if (!user)
        x64_alu_rm(e, true, ALU_XOR, RDX, x64_m(RBP, JIT_OFF(salt) + (int32_t)which * 8));
    x64_alu_rm(e, true, ALU_CMP, RDX, x64_mx(RBP, RCX, 0, second));
    x64_jcc_to(e, CC_NE, miss);
    x64_load(e, false, RDX, x64_mx(RBP, R14, 0, first));
    jit_emit_jc_page(e, RDX, user);
    x64_alu_rr(e, false, ALU_XOR, RDX, R14);
    sse_rm(e, SSE_MOVUPS_LOAD, 0, x64_mx(RBP, R14, 0, first));
    sse_rm(e, SSE_MOVUPS_LOAD, 1, x64_mx(RBP, RCX, 0, second));
    sse_rm(e, SSE_MOVUPS_STORE, 0, x64_mx(RBP, RDX, 0, second));
    sse_rm(e, SSE_MOVUPS_STORE, 1, x64_mx(RBP, R14, 0, first));
    x64_jmp_mem(e, x64_mx(RBP, R14, 0, first + 8));
    return at;
}

/* Fills j->thunk and sets code_start behind the thunks. The cache is large enough for them by far. */
void jit_thunks_emit(struct jit *j)
{
    struct x64_emit e = {.base = j->rw, .p = j->rw, .end = j->rw + j->size};
    struct jit_thunks *t = &j->thunk;
    const uint8_t *leave = jit_emit_leave(&e);

    t->enter = jit_emit_enter(&e);
    t->miss = e.p;
    x64_store(&e, true, RAX, x64_m(RBP, JIT_OFF(cpu.pc)));
    jit_emit_exit(&e, JIT_EXIT_LOOKUP, leave);
    for (unsigned i = 0; i < 2; i++)
        t->lookup[i] = jit_emit_lookup(&e, i, j->space->user, t->miss);
    t->pollpc = e.p;
    x64_store(&e, true, RAX, x64_m(RBP, JIT_OFF(cpu.pc)));
    jit_emit_exit(&e, JIT_EXIT_POLL, leave);
    t->poll = e.p;
    jit_emit_pc(&e);
    jit_emit_exit(&e, JIT_EXIT_POLL, leave);
    t->link = e.p;
    x64_store(&e, false, RAX, x64_m(RBP, JIT_OFF(link_exit)));
    x64_store(&e, true, RCX, x64_m(RBP, JIT_OFF(link_entry)));
    jit_emit_exit(&e, JIT_EXIT_LINK, leave);
    t->dead = e.p;
    x64_alu_rr(&e, false, ALU_XOR, RAX, RAX);
    jit_emit_pc(&e);
    jit_emit_exit(&e, JIT_EXIT_LOOKUP, leave);
    t->mem = jit_emit_mem(&e, leave);
    for (unsigned view = 0; view < JIT_VIEWS; view++)
        for (uint32_t form = 0; form <= JIT_MEM_FORM; form++)
            t->alone[view][form] = jit_form_exists(form) ? jit_emit_alone(&e, view, form, t->mem) : t->mem;
    t->interp = jit_emit_insn(&e, JIT_HELPER_INTERP, leave);
    t->simd = jit_emit_simd(&e);
    t->svc = jit_emit_insn(&e, JIT_HELPER_SVC, leave);
    t->fault = e.p;
    jit_emit_exit(&e, JIT_EXIT_FAULT, leave);
    j->code_start = (uint32_t)align_up((uint64_t)(e.p - j->rw), 64);
    j->code_next = j->code_start;
}
