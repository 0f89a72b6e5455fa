/*
 * Tier 1: one quick pass from decoded guest instructions to x86-64 code.
 *
 * A block is straight-line guest code within one page; conditional branches leave it on their taken side and it goes
 * on behind them. A loop with vector registers may have branches ahead in it: see loop.c. Each row has a translator or
 * falls back to the interpreter for that one instruction. What is rare (TLB misses, polls, links not made yet) is
 * emitted behind the block's hot part.
 *
 * Guest registers are numbered 0..30, T1_SP and T1_ZR. RAX, RCX and RDX are scratch within one instruction. Host
 * flags hold guest flags (in the sense of an x86 subtraction: CF = NOT C) right behind an instruction that sets them
 * and as long as nothing disturbs them; memory has them too, but where flags.c says that nobody looks there. What
 * disturbs them within a translator that says keep_flags must clear host_flags, and flags.c must know of it.
 *
 * In user mode a host instruction that accesses guest memory may fault. Guest state, but for the registers that a load
 * fills, must be as before the guest instruction at the last such access of each.
 */
#ifndef PIPIT_JIT_TIER1_T1_H
#define PIPIT_JIT_TIER1_T1_H

#include "jit/rt/rt.h"

#define T1_SP 31
#define T1_ZR 32

#define T1_MAX_STUBS 256

enum t1_stub_kind {
    T1_STUB_LOAD,   /* slow memory access; results to d1 (and d2) */
    T1_STUB_STORE,  /* slow memory access; values from s1 (and s2) */
    T1_STUB_INTERP, /* the whole instruction by the interpreter, then on behind it */
    T1_STUB_EXIT,   /* direct exit of a taken branch, same page, not linked yet */
    T1_STUB_POLL,   /* interrupt poll hit on the way to a block-relative target */
    T1_STUB_CROSS,  /* direct exit to another page */
    T1_STUB_VLOAD,  /* slow vector load: 1 or 2 V registers */
    T1_STUB_VSTORE,
    T1_STUB_LEAVE, /* a branch taken out of the block with V registers to store */
    T1_STUB_EDGE,  /* a branch to a label within the block, where V registers must be held otherwise: loop.c */
    T1_STUB_FAULT, /* user mode: an access failed with V registers to store */
};

/* How V registers are held at some place. */
struct t1_vstate {
    uint32_t dirty;    /* memory does not have them: they are in host registers, with zeroes above the valid bytes */
    uint8_t valid[32]; /* bytes that are in the host register */
};

struct t1_stub {
    enum t1_stub_kind kind;
    uint8_t *from; /* behind the jump's displacement; NULL: none */
    uint8_t *from2;
    uint8_t *back;   /* where the fast path goes on; filled for those that return */
    uint32_t info;   /* JIT_MEM_* or exit number */
    int16_t r1, r2;  /* host registers (loads), guest registers (stores), V registers */
    bool flags;      /* host flags are the guest's where it goes back to */
    bool flags_r14;  /* R14 has them there */
    bool flags_only; /* memory does not have the flags: host flags are they, as a subtraction leaves them */
    bool again;      /* ... or were, until the loop's poll */
    bool address;    /* the address is not in RAX yet: it is base + offset */
    bool together;   /* loads: both are loaded to XMM0 */
    bool alone;      /* what shares an addend with others: may go by a probe of its own where that was not to be had */
    uint8_t base, share; /* share: whose addend it is */
    int32_t offset;
    int64_t target; /* exits: guest address */
    uint16_t index; /* instruction number */
    struct t1_vstate v;
    const int8_t *pin;
};

/* A branch to a label ahead, which is not there yet. */
struct t1_jump {
    uint8_t *from;
    unsigned label; /* instruction number */
    struct t1_vstate v;
};

/* V registers in host registers: see vreg.c. */
#define T1_XMM_FIRST 6
#define T1_XMM_COUNT 10u

struct t1_vregs {
    unsigned next;              /* host registers given away */
    uint8_t host[32];           /* by V register; 0: none */
    struct t1_vstate now, head; /* head: the loop's */
    uint8_t need[32];           /* bytes that were read before a write */
    uint16_t uses[32];
    uint32_t written;
    const uint8_t *routine;
};

/* General registers that a loop has in host registers of its own: see greg.c. */
struct t1_gregs {
    unsigned count;
    uint8_t guest[JIT_PINS + 1], host[JIT_PINS + 1]; /* guest register guest[k] is in host[k] */
    int8_t away[JIT_PINS + 1];                       /* whose that is elsewhere, -1: nobody's */
    int8_t pin[32];                                  /* as jit_pin, within the loop */
    uint16_t uses[T1_ZR + 1];
    const uint8_t *leave, *enter; /* routines for slow paths */
};

struct t1 {
    struct jit *j;
    struct jit_vcpu *v;
    struct jit_block *b;
    struct x64_emit *e;
    unsigned i;      /* the current one */
    bool host_flags; /* host flags are the guest's */
    bool host_add;   /* ... but CF is C, as an x86 addition leaves it */
    bool flags_only; /* ... and memory does not have them */
    bool flags_r14;  /* R14 has the flags as memory has them: nobody waits for a store then */
    bool keep_flags; /* the current translator left them so */
    bool sp_aligned; /* SP is known to be aligned */
    bool ended;      /* the block was left for good */
    /* Accesses that follow with the same base share the first one's TLB probe: the addend for [lo, hi) around guest
     * register `base`, or zero where the probe failed, is in R14 or, of all but the first, in struct jit_vcpu. */
    struct t1_share {
        bool valid, write;
        unsigned base;
        int64_t lo, hi;
    } share[JIT_SHARES];
    struct t1_stub unused; /* stands for the slow path of accesses that have none */
    unsigned excl_end;     /* instruction number of the store-exclusive that pairs with a translated load; 0: none */
    unsigned fused;        /* the last instruction that one before it has done, all or most of it; 0: none */
    unsigned nstubs;
    bool planned; /* vreg and greg are from a plan: the block is a loop */
    struct t1_vregs vreg;
    struct t1_gregs greg;
    const int8_t *pin; /* host registers of guest registers at this place: jit_pin, or the loop's */
    bool loops;        /* a branch to the block's own start was translated */
    bool lost;         /* host flags were not the guest's where only they were to be */
    bool accessed;     /* user mode: the current instruction accesses memory */
    unsigned njumps, nlandings;
    const uint8_t *place; /* of the stub that is being emitted */
    /* From here on nothing is cleared for the second translation of a loop. */
    unsigned n;      /* instructions */
    uint64_t labels; /* those that the block's own branches ahead lead to */
    unsigned turn;   /* the last one that branches to the block's start; none: beyond n */
    bool carry;      /* a plan: where the loop's turns begin host flags are the guest's, and memory may not have them */
    /* Not cleared for each block: what is behind the counts is not looked at. */
    uint32_t insn[JIT_BLOCK_MAX_INSNS];
    uint16_t row[JIT_BLOCK_MAX_INSNS];
    struct t1_stub stub[T1_MAX_STUBS];
    struct t1_jump jump[JIT_BLOCK_MAX_INSNS];
    struct jit_landing landing[JIT_BLOCK_MAX_INSNS];
};

/* Translates instruction t->i; false: not handled, use the interpreter. */
typedef bool (*t1_fn)(struct t1 *t, uint32_t insn);

/* In machines relative to the page, as all guest addresses here. */
static inline uint64_t t1_pc(const struct t1 *t)
{
    return t->b->pc + t->i * 4;
}

/* Has an instruction before done this one's work, or most of it? */
static inline bool t1_fused(const struct t1 *t)
{
    return t->i && t->i <= t->fused;
}

/* Is there an instruction behind the current one that is come to from there only? */
static inline bool t1_goes_on(const struct t1 *t)
{
    return t->i + 1 < t->n && !(t->labels >> (t->i + 1) & 1);
}

/* Guest addresses are host addresses. */
static inline bool t1_user(const struct t1 *t)
{
    return t->b->ctx & JIT_CTX_USER;
}

static inline unsigned t1_zr(unsigned r)
{
    return r == 31 ? T1_ZR : r;
}

/* The host register that holds guest register g here, -1: none. */
static inline int t1_host(const struct t1 *t, unsigned g)
{
    return g == T1_ZR ? -1 : t->pin[g];
}

/* Guest register g is read or written: what a loop does counts. */
static inline void t1_used(struct t1 *t, unsigned g)
{
    if (t->i <= t->turn)
        t->greg.uses[g]++;
}

static inline struct x64_mem t1_slot(unsigned g)
{
    return x64_m(RBP, jit_off_x(g));
}

/* Guest register g in a host register: its own, or `scratch` loaded with it. Flags stay. */
static inline int t1_get(struct t1 *t, unsigned g, int scratch)
{
    int h = t1_host(t, g);
    t1_used(t, g);
    if (h >= 0)
        return h;
    if (g == T1_ZR)
        x64_mov_imm(t->e, scratch, 0);
    else
        x64_load(t->e, true, scratch, t1_slot(g));
    return scratch;
}

/* A copy of guest register g in `dst`. */
static inline void t1_copy(struct t1 *t, bool w, unsigned g, int dst)
{
    int h = t1_host(t, g);
    t1_used(t, g);
    if (h >= 0)
        x64_mov_rr(t->e, w, dst, h);
    else if (g == T1_ZR)
        x64_mov_imm(t->e, dst, 0);
    else
        x64_load(t->e, w, dst, t1_slot(g));
}

/* Where to compute the new value of g: its own register or `scratch`; t1_put finishes. */
static inline int t1_dst(const struct t1 *t, unsigned g, int scratch)
{
    int h = t1_host(t, g);
    return h >= 0 ? h : scratch;
}

/* Guest register g gets a new value that nothing is known of. */
static inline void t1_wrote(struct t1 *t, unsigned g)
{
    t1_used(t, g);
    if (g == T1_SP)
        t->sp_aligned = false;
    for (unsigned k = 0; k < JIT_SHARES; k++)
        if (g == t->share[k].base)
            t->share[k].valid = false;
}

/* C code ran, or who comes here knows of nothing. */
static inline void t1_share_none(struct t1 *t)
{
    for (unsigned k = 0; k < JIT_SHARES; k++)
        t->share[k].valid = false;
}

/* Guest register g moves by a constant: what is known of it moves along. */
static inline void t1_moved(struct t1 *t, unsigned g, int64_t by)
{
    t1_used(t, g);
    if (g == T1_SP && (by & 15))
        t->sp_aligned = false;
    for (unsigned k = 0; k < JIT_SHARES; k++) {
        if (g == t->share[k].base) {
            t->share[k].lo -= by;
            t->share[k].hi -= by;
        }
    }
}

static inline void t1_put(struct t1 *t, unsigned g, int host)
{
    int h = t1_host(t, g);
    t1_wrote(t, g);
    if (g == T1_ZR)
        return;
    if (h < 0)
        x64_store(t->e, true, host, t1_slot(g));
    else if (h != host)
        x64_mov_rr(t->e, true, h, host);
}

/* host = host op guest register. */
static inline void t1_alu(struct t1 *t, bool w, enum x64_alu op, int host, unsigned g)
{
    int h = t1_host(t, g);
    t1_used(t, g);
    if (h >= 0)
        x64_alu_rr(t->e, w, op, host, h);
    else if (g == T1_ZR)
        x64_alu_ri(t->e, w, op, host, 0);
    else
        x64_alu_rm(t->e, w, op, host, t1_slot(g));
}

static inline struct t1_stub *t1_stub(struct t1 *t, enum t1_stub_kind kind, uint8_t *from)
{
    if (t->nstubs == T1_MAX_STUBS) {
        t->e->overflow = true;
        t->nstubs = 0;
    }
    struct t1_stub *s = &t->stub[t->nstubs++];
    *s = (struct t1_stub){.kind = kind,
                          .from = from,
                          .index = (uint16_t)t->i,
                          .flags_r14 = t->flags_r14,
                          .flags_only = t->flags_only,
                          .v = t->vreg.now,
                          .pin = t->pin};
    return s;
}

/* ---- what depends on places: always through these, which leave a record ---- */
static inline void t1_reloc(struct t1 *t, enum jit_reloc_kind kind, const uint8_t *field)
{
    struct jit_block *b = t->b;

    if (b->nrelocs == JIT_BLOCK_MAX_RELOCS) {
        t->e->overflow = true;
        return;
    }
    t->j->reloc[b->reloc + b->nrelocs++] =
        (struct jit_reloc){.offset = (uint16_t)(field - t->e->base), .kind = (uint16_t)kind};
}

/* A guest address that is a fixed distance from the block. Flags stay; RCX is lost where that is far away. */
static inline void t1_mov_guest(struct t1 *t, int host, uint64_t va)
{
    if (t1_user(t)) {
        t1_reloc(t, JIT_RELOC_GUEST_PC, x64_mov_imm64(t->e, host, va));
        return;
    }
    x64_load(t->e, true, host, x64_m(RBP, JIT_OFF(page)));
    if ((int64_t)va == (int32_t)va) {
        x64_lea(t->e, true, host, x64_m(host, (int32_t)va));
    } else {
        x64_mov_imm(t->e, RCX, va);
        x64_lea(t->e, true, host, x64_mx(host, RCX, 0, 0));
    }
}

static inline void t1_call_thunk(struct t1 *t, const uint8_t *thunk)
{
    x64_call_to(t->e, thunk);
    t1_reloc(t, JIT_RELOC_THUNK, t->e->p - 4);
}

static inline void t1_jmp_thunk(struct t1 *t, const uint8_t *thunk)
{
    x64_jmp_to(t->e, thunk);
    t1_reloc(t, JIT_RELOC_THUNK, t->e->p - 4);
}

static inline void t1_jcc_thunk(struct t1 *t, enum x64_cc cc, const uint8_t *thunk)
{
    x64_jcc_to(t->e, cc, thunk);
    t1_reloc(t, JIT_RELOC_THUNK, t->e->p - 4);
}

/* ---- flags.c ---- */
enum t1_need {
    T1_NEED_NONE,
    T1_NEED_HOST, /* by those that take them from host flags */
    T1_NEED_TURN, /* by them and, for the loop's next turn, from there */
    T1_NEED_ALL,  /* in memory, too */
};
/* Who looks at the flags that the current instruction sets? */
enum t1_need t1_flags_need(const struct t1 *t);
/* Are the flags that the current one sets read behind an access, one of them, and may R14 have them until then? */
bool t1_flags_cross(const struct t1 *t);
/* Does R14 have them still where the current instruction is translated? */
bool t1_flags_stay(const struct t1 *t);
/* Does one of the next instructions read the flags that the current one reads? */
bool t1_flags_again(const struct t1 *t);
/* Can the turns of the loop leave flags to each other in host flags? Makes that plan. */
bool t1_flags_plan(struct t1 *t);
bool t1_is_mov(uint32_t insn);  /* ORR that is a move between registers */
bool t1_is_lea(uint32_t insn);  /* ADD of registers, the second times 1, 2, 4 or 8 */
bool t1_is_shlx(uint32_t insn); /* ADD of registers, the second shifted, on a host that does so without flags */

/* ---- int.c ---- */
/* dst = src rotated right, host registers; flags stay. False: this host has no such instruction. */
bool t1_rorx(struct t1 *t, bool w, int dst, int src, unsigned amount);
/* ---- crc.c ---- */
bool t1_crc_keeps_flags(uint32_t insn); /* CRC32 or CRC32C on this host */
/* ---- flow.c ---- */
void t1_host_flags(struct t1 *t);      /* from an image as memory has it, in EAX */
void t1_carry(struct t1 *t, bool add); /* host flags are the guest's: makes CF C, or NOT C */
/* Gives the x86 condition for an A64 one (not AL, NV). Host flags are the guest's then where host_flags says so. */
enum x64_cc t1_cond(struct t1 *t, unsigned cond);
/* Host flags are the guest's (sub sense): stores them, where that is needed. RAX is lost. */
void t1_save_flags(struct t1 *t);
void t1_load_flags(struct t1 *t); /* host flags from memory; RAX is lost */
void t1_flags_out(struct t1 *t);  /* stores flags that only host flags are; they stay, RAX is lost */
/* Leaves for a guest address, unconditionally. */
void t1_exit(struct t1 *t, uint64_t target);
void t1_exit_indirect(struct t1 *t); /* to RAX */
void t1_interp(struct t1 *t, uint32_t insn);
void t1_emit_stubs(struct t1 *t);
/* SP alignment check where n is the stack pointer; the instruction's end must call t1_sp_check_end with the result. */
struct t1_stub *t1_sp_check(struct t1 *t, unsigned n);

/* ---- share.c ---- */
/* How far do accesses behind the current one reach around base n? True where there are any. t1_wrote and t1_moved keep
 * what is shared right. */
bool t1_look_ahead(const struct t1 *t, unsigned n, bool write, int64_t *lo, int64_t *hi);
/* The share that has [base n + lo, + hi), or none: JIT_SHARES. */
unsigned t1_shared(const struct t1 *t, unsigned n, int64_t lo, int64_t hi, bool write);
/* Which share base n is to have: its own, or one that nobody needs, or the last one. */
unsigned t1_share_for(const struct t1 *t, unsigned n);
/* The current instruction loads or stores registers a and a + 1. Does another one store what it has loaded, or has it
 * loaded what this one stores, be it in a loop's next turn, and nothing has written them between? */
bool t1_pair_copied(const struct t1 *t, unsigned a, bool load);
/* ---- mem.c ---- */
/*
 * Makes [Rn + off, + bytes) accessible: returns the host memory operand of the access, whose registers last until RCX
 * and RAX are written; *s is the stub of the slow path, of which r1, r2 and back remain to be filled.
 */
struct x64_mem t1_access(struct t1 *t, unsigned n, int64_t off, unsigned bytes, bool write, uint32_t info,
                         enum t1_stub_kind kind, struct t1_stub **s);
/* The same for register-offset forms of an access of 2^shift bytes. */
struct x64_mem t1_access_reg(struct t1 *t, uint32_t insn, unsigned shift, bool write, uint32_t info,
                             enum t1_stub_kind kind, struct t1_stub **s);
/* The same for an address in RAX. */
struct x64_mem t1_access_rax(struct t1 *t, unsigned bytes, bool write, uint32_t info, enum t1_stub_kind kind,
                             struct t1_stub **s);
static inline struct x64_mem t1_plus(struct x64_mem m, int32_t off)
{
    m.disp += off;
    return m;
}
/* RAX = base + offset. */
void t1_address(struct t1 *t, unsigned n, int64_t off);
enum jit_view t1_view(const struct t1 *t, uint32_t info);
/* Rn += off after the access. */
void t1_writeback(struct t1 *t, unsigned n, int64_t off);

extern t1_fn t1_table[A64_ROW_COUNT];
/* What the host's processor has beyond SSE4.2: read once, because CPUID leaves a virtual machine. */
extern struct t1_host_features {
    bool avx, fma, aes, pclmul, sha, bmi2;
} t1_have;
void t1_init_int(void);
void t1_init_mem(void);
void t1_init_flow(void);
void t1_init_fp(void);
void t1_init_fp_memory(void);
void t1_init_simd(void);
void t1_init_sha(void);
void t1_init_crc(void);

/* The no-op that a dead block's jump replaces. */
static inline void t1_entry_nop(struct x64_emit *e)
{
    static const uint8_t nop5[JIT_ENTRY_NOP] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

    for (unsigned i = 0; i < sizeof(nop5); i++)
        x64_u8(e, nop5[i]);
}

/* Where the addend of a share is that is not in R14. */
static inline struct x64_mem t1_share_slot(unsigned k)
{
    return x64_m(RBP, JIT_OFF(shares) + (int32_t)(k - 1) * 8);
}

static inline struct x64_mem t1_const(enum jit_const k)
{
    return x64_m(RBP, JIT_OFF(consts) + (int32_t)k * 16);
}

/* ---- vreg.c: XMM0 to XMM5 are scratch ---- */
struct x64_mem t1_v(struct t1 *t, unsigned r); /* V register r in memory, where it is from here on */
/* A host register, not to be changed, with at least the lowest `bytes` (4, 8, 16) of V register v: its own or
 * `scratch`.
 */
int t1_vin(struct t1 *t, unsigned v, unsigned bytes, int scratch);
void t1_vget(struct t1 *t, int x, unsigned v); /* a copy of v in x */
/* x op= Vv, of which `bytes` are read; w: REX.W. */
void t1_vop(struct t1 *t, bool w, uint32_t op, int x, unsigned v, unsigned bytes);
/* x = op of one half of Vv, as PMOVZX. */
void t1_vhalf(struct t1 *t, uint32_t op, int x, unsigned v, bool upper);
/* x = n op m, all of them host registers; XMM5 is lost. */
void t1_vf3(struct t1 *t, uint32_t op, int x, int n, int m);
/* x = n op Vv. x may be any of them; XMM5 is lost. */
void t1_v3(struct t1 *t, uint32_t op, int x, int n, unsigned v, unsigned bytes);
void t1_vconst(struct t1 *t, uint32_t op, int x, int n, enum jit_const k); /* x = n op k */
/* Where to compute the new value of v: its own register or XMM0; t1_vput finishes, with the lowest `bytes` of x and
 * zeroes above. XMM0 is lost. */
int t1_vout(struct t1 *t, unsigned v);
/* The same for a result that may be wrong, so that the interpreter does the instruction again: the sources (a mask of V
 * registers) stay as they are until t1_vput. */
int t1_vtry(struct t1 *t, unsigned v, uint32_t sources);
void t1_vput(struct t1 *t, unsigned v, int x, unsigned bytes);
void t1_vlost(struct t1 *t, unsigned v); /* v was written in memory */
void t1_vforget(struct t1 *t);           /* C code ran */
void t1_vspill(struct t1 *t);            /* memory has all; only V registers' host registers are lost, not flags */
/* From how V registers are held now to `to`, which must have nothing dirty that is not so now or wholly valid. */
void t1_vconvert(struct t1 *t, const struct t1_vstate *to);
bool t1_vplan(struct t1 *t);
void t1_vhead(struct t1 *t); /* host registers get what they are to have at the loop's head */
void t1_vroutine(struct t1 *t);

/* ---- greg.c ---- */
bool t1_gplan(struct t1 *t);
/* What follows is come to from within the loop, where there is one. */
static inline void t1_within(struct t1 *t)
{
    t->pin = t->greg.count ? t->greg.pin : jit_pin;
}
void t1_ghead(struct t1 *t);  /* before the loop's head: its own registers instead of what all blocks expect */
void t1_gleave(struct t1 *t); /* general registers are where all blocks expect them; host flags and RAX stay */
void t1_genter(struct t1 *t); /* ... where the loop has them, again */
void t1_groutines(struct t1 *t);

/* Guest state is where all blocks expect it: V registers in memory, general ones as jit_pin says. Flags and RAX stay.
 */
static inline void t1_leave(struct t1 *t)
{
    t->lost |= t->flags_only;
    t1_vspill(t);
    t1_gleave(t);
}
/* ---- loop.c ---- */
/* Finds out whether the block, of which the words up to max are there, is a loop, and how far it goes: t->n, labels,
 * turn; rows from t->n on are filled. */
void t1_loop(struct t1 *t, unsigned max);
bool t1_turns(const struct t1 *t, unsigned i); /* does instruction i branch to the block's start? */
bool t1_plan(struct t1 *t); /* makes the plan of the second translation from what the first saw; false: not worth it */
void t1_head(struct t1 *t);
void t1_back(struct t1 *t);
bool t1_is_label(const struct t1 *t, uint64_t target); /* of a branch at t->i */
void t1_jump(struct t1 *t, uint64_t target, uint8_t *from);
void t1_label(struct t1 *t); /* the current instruction is one */
void t1_edge(struct t1 *t, const struct t1_stub *s);
/* ---- translate.c ---- */
void t1_decode_one(struct t1 *t, unsigned i);
bool t1_ends(unsigned row);

#endif
