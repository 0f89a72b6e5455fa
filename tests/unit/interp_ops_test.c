/*
 * What the interpreter asks of struct a64_ops, and what it tells the run loop: rows that only EL1 has, and the flags of
 * accesses, which the differential tests cannot see. The ops here record their last call.
 */
#include <string.h>

#include "jit/interp/interp.h"
#include "tests/check.h"

#define PC UINT64_C(0xffff000000080000)
#define HANDLER UINT64_C(0xffff000000100200)

static struct arm64_cpu cpu;
static struct arm64_model model;

/* The last call of an op. */
static struct {
    const char *op;
    uint64_t va, value;
    unsigned size, flags;
    uint32_t a, b, c;
    uint64_t pc; /* cpu.pc at the call */
} last;
static unsigned calls;
static bool trap; /* the next op traps, as the architecture would: the PC is the handler's */

static int record(struct arm64_cpu *c, const char *op)
{
    last.op = op;
    last.pc = c->pc;
    calls++;
    if (!trap)
        return 0;
    c->pc = HANDLER;
    return A64_TRAPPED;
}

static void record_access(uint64_t va, unsigned size, unsigned flags)
{
    last.va = va;
    last.size = size;
    last.flags = flags;
}

static int op_load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    record_access(va, size, flags);
    memset(dst, 0x81, size);
    return record(c, "load");
}

static int op_store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags)
{
    record_access(va, size, flags);
    last.value = 0;
    memcpy(&last.value, src, size < 8 ? size : 8);
    return record(c, "store");
}

static int op_rmw(struct arm64_cpu *c, uint64_t va, unsigned size, enum a64_rmw op, uint64_t operand, uint64_t *old,
                  unsigned flags)
{
    record_access(va, size, flags);
    last.a = op;
    last.value = operand;
    *old = 0x55;
    return record(c, "rmw");
}

static int op_cas(struct arm64_cpu *c, uint64_t va, unsigned size, void *expected, const void *desired, unsigned flags)
{
    (void)expected;
    (void)desired;
    record_access(va, size, flags);
    return record(c, "cas");
}

static int op_load_excl(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags)
{
    record_access(va, size, flags);
    memset(dst, 0x81, size);
    return record(c, "load_excl");
}

static int op_store_excl(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, uint32_t *status,
                         unsigned flags)
{
    (void)src;
    record_access(va, size, flags);
    *status = 1;
    return record(c, "store_excl");
}

static void op_clear_excl(struct arm64_cpu *c)
{
    record(c, "clear_excl");
}

static int op_zero_block(struct arm64_cpu *c, uint64_t va)
{
    last.va = va;
    return record(c, "zero_block");
}

static void op_barrier(struct arm64_cpu *c, enum a64_barrier b)
{
    last.a = b;
    record(c, "barrier");
}

static int op_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    last.a = enc;
    last.b = rt;
    *val = 0x1234;
    return record(c, "sysreg_read");
}

static int op_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    last.a = enc;
    last.b = rt;
    last.value = val;
    return record(c, "sysreg_write");
}

static int op_pstate_write(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    last.a = op1;
    last.b = crm;
    last.c = op2;
    return record(c, "pstate_write");
}

static void op_undef(struct arm64_cpu *c)
{
    trap = true;
    record(c, "undef");
}

static void op_exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    (void)far;
    last.a = ec;
    last.b = iss;
    trap = true;
    record(c, "exception");
}

static int op_call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm16)
{
    last.a = kind;
    last.b = imm16;
    return record(c, "call");
}

static void op_eret(struct arm64_cpu *c)
{
    trap = true;
    record(c, "eret");
}

static int op_hint(struct arm64_cpu *c, enum a64_hint h)
{
    last.a = h;
    return record(c, "hint");
}

static int op_fp_access(struct arm64_cpu *c)
{
    return record(c, "fp_access");
}

static const struct a64_ops ops = {
    .load = op_load,
    .store = op_store,
    .rmw = op_rmw,
    .cas = op_cas,
    .load_excl = op_load_excl,
    .store_excl = op_store_excl,
    .clear_excl = op_clear_excl,
    .zero_block = op_zero_block,
    .barrier = op_barrier,
    .sysreg_read = op_sysreg_read,
    .sysreg_write = op_sysreg_write,
    .pstate_write = op_pstate_write,
    .undef = op_undef,
    .exception = op_exception,
    .call = op_call,
    .eret = op_eret,
    .hint = op_hint,
    .fp_access = op_fp_access,
};

/* A fresh CPU at `el` whose ops succeed; x[i] = 0x1000 * i. */
static void fresh(unsigned el)
{
    memset(&cpu, 0, sizeof(cpu));
    memset(&last, 0, sizeof(last));
    model.features = UINT64_MAX & ~BIT64(ARM64_FEAT_LSE2);
    cpu.ops = &ops;
    cpu.model = &model;
    cpu.el = (uint8_t)el;
    cpu.pc = PC;
    for (unsigned i = 0; i < 32; i++)
        cpu.x[i] = UINT64_C(0x1000) * i;
    cpu.flags = ARM64_FLAG_NOTC;
    calls = 0;
    trap = false;
}

static enum a64_next step(uint32_t insn)
{
    return a64_interp_step(&cpu, insn);
}

/* One call of `op` was made, with the PC of the instruction itself. */
static bool called(const char *op)
{
    return calls == 1 && last.op && !strcmp(last.op, op) && last.pc == PC;
}

static void calls_reach_the_kernel(void)
{
    static const struct {
        uint32_t insn, kind, imm;
    } c[] = {
        {0xd4000001 | 0x1234 << 5, A64_CALL_SVC, 0x1234}, {0xd4000002, A64_CALL_HVC, 0},
        {0xd4000003 | 0xffff << 5, A64_CALL_SMC, 0xffff}, {0xd4200000 | 800 << 5, A64_CALL_BRK, 800},
        {0xd4400000 | 0xf000 << 5, A64_CALL_HLT, 0xf000},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
        fresh(1);
        CHECK_EQ(step(c[i].insn), A64_LEAVE); /* served */
        CHECK(called("call"));
        CHECK_EQ(last.a, c[i].kind);
        CHECK_EQ(last.b, c[i].imm);
        CHECK_EQ(cpu.pc, PC + 4);
        fresh(1);
        trap = true;
        CHECK_EQ(step(c[i].insn), A64_JUMP); /* an exception */
        CHECK_EQ(cpu.pc, HANDLER);
    }
}

static void el0_may_not_use_what_is_el1s(void)
{
    static const uint32_t insns[] = {0xd4000002, 0xd4000003, 0xd69f03e0}; /* hvc, smc, eret */

    for (unsigned i = 0; i < ARRAY_SIZE(insns); i++) {
        fresh(0);
        CHECK_EQ(step(insns[i]), A64_JUMP);
        CHECK(called("undef"));
    }
    fresh(1);
    CHECK_EQ(step(0xd69f03e0), A64_LEAVE);
    CHECK(called("eret"));
    CHECK_EQ(cpu.pc, HANDLER);
}

static void unallocated_and_missing_features_are_undefined(void)
{
    fresh(1);
    CHECK_EQ(step(0xffffffff), A64_JUMP);
    CHECK(called("undef"));
    fresh(1);
    CHECK_EQ(step(0x00000007), A64_JUMP); /* udf */
    CHECK(called("undef"));
    fresh(1);
    model.features &= ~BIT64(ARM64_FEAT_LSE);
    CHECK_EQ(step(0xb8200041), A64_JUMP); /* ldadd w0, w1, [x2] */
    CHECK(called("undef"));
    fresh(1);
    CHECK_EQ(step(0xb8200041), A64_NEXT);
    CHECK(called("rmw"));
    CHECK_EQ(cpu.x[1], 0x55);
}

static void hints_and_barriers(void)
{
    static const struct {
        uint32_t insn, arg;
        const char *op;
        enum a64_next next;
    } h[] = {
        {0xd503203f, A64_HINT_YIELD, "hint", A64_LEAVE}, {0xd503205f, A64_HINT_WFE, "hint", A64_LEAVE},
        {0xd503207f, A64_HINT_WFI, "hint", A64_LEAVE},   {0xd503209f, A64_HINT_SEV, "hint", A64_NEXT},
        {0xd50320bf, A64_HINT_SEVL, "hint", A64_NEXT},   {0xd5033fbf, A64_DMB, "barrier", A64_NEXT},
        {0xd50339bf, A64_DMB_LD, "barrier", A64_NEXT},   {0xd5033abf, A64_DMB_ST, "barrier", A64_NEXT},
        {0xd5033f9f, A64_DSB, "barrier", A64_NEXT},      {0xd5033fdf, A64_ISB, "barrier", A64_NEXT},
        {0xd50330ff, A64_SB, "barrier", A64_NEXT},       {0xd5033f5f, 0, "clear_excl", A64_NEXT},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(h); i++) {
        fresh(1);
        CHECK_EQ(step(h[i].insn), h[i].next);
        CHECK(called(h[i].op));
        CHECK_EQ(last.a, h[i].arg);
        CHECK_EQ(cpu.pc, PC + 4);
    }
    fresh(0);
    CHECK_EQ(step(0xd503201f), A64_NEXT); /* nop */
    CHECK_EQ(step(0xd503233f), A64_NEXT); /* paciasp */
    CHECK_EQ(calls, 0);
    CHECK_EQ(cpu.pc, PC + 8);
}

static void pstate_fields(void)
{
    static const struct {
        uint32_t insn, op1, crm, op2;
        enum a64_next next;
    } m[] = {
        {0xd5034fdf, 3, 15, 6, A64_NEXT}, /* daifset */
        {0xd50342ff, 3, 2, 7, A64_LEAVE}, /* daifclr */
        {0xd50041bf, 0, 1, 5, A64_LEAVE}, /* spsel */
        {0xd500419f, 0, 1, 4, A64_LEAVE}, /* pan */
        {0xd500417f, 0, 1, 3, A64_LEAVE}, /* uao */
        {0xd503413f, 3, 1, 1, A64_NEXT},  /* ssbs */
        {0xd503415f, 3, 1, 2, A64_NEXT},  /* dit */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(m); i++) {
        fresh(1);
        CHECK_EQ(step(m[i].insn), m[i].next);
        CHECK(called("pstate_write"));
        CHECK_EQ(last.a, m[i].op1);
        CHECK_EQ(last.b, m[i].crm);
        CHECK_EQ(last.c, m[i].op2);
        CHECK_EQ(cpu.pc, PC + 4);
    }
}

#define ENC(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))

static void system_registers(void)
{
    fresh(1);
    CHECK_EQ(step(0xd5381003), A64_NEXT); /* mrs x3, sctlr_el1 */
    CHECK(called("sysreg_read"));
    CHECK_EQ(last.a, ENC(3, 0, 1, 0, 0));
    CHECK_EQ(last.b, 3);
    CHECK_EQ(cpu.x[3], 0x1234);
    fresh(1);
    CHECK_EQ(step(0xd5181003), A64_LEAVE); /* msr sctlr_el1, x3 */
    CHECK(called("sysreg_write"));
    CHECK_EQ(last.value, 0x3000);
    CHECK_EQ(cpu.pc, PC + 4);
    fresh(0);
    CHECK_EQ(step(0xd51bd043), A64_NEXT); /* msr tpidr_el0, x3 */
    CHECK_EQ(last.a, ENC(3, 3, 13, 0, 2));
    fresh(1);
    CHECK_EQ(step(0xd51b4223), A64_LEAVE); /* msr daif, x3 */
    fresh(1);
    CHECK_EQ(step(0xd508871f), A64_NEXT); /* tlbi vmalle1 */
    CHECK(called("sysreg_write"));
    CHECK_EQ(last.a, ENC(1, 0, 8, 7, 0));
    CHECK_EQ(last.value, 0); /* XZR, not SP */
    fresh(1);
    trap = true;
    CHECK_EQ(step(0xd5381003), A64_JUMP); /* a trapped read writes nothing */
    CHECK_EQ(cpu.x[3], 0x3000);
    CHECK_EQ(cpu.pc, HANDLER);
}

static void dc_zva_at_el0_needs_dze(void)
{
    fresh(1);
    CHECK_EQ(step(0xd50b7423), A64_NEXT);
    CHECK(called("zero_block"));
    CHECK_EQ(last.va, 0x3000);
    fresh(0);
    CHECK_EQ(step(0xd50b7423), A64_JUMP);
    CHECK(called("exception"));
    CHECK_EQ(last.a, 0x18);
    CHECK_EQ(last.b, 1u << 20 | 1u << 17 | 3u << 14 | 7u << 10 | 3u << 5 | 4u << 1);
    fresh(0);
    cpu.sys.sctlr_el1 = BIT64(14);
    CHECK_EQ(step(0xd50b7423), A64_NEXT);
    CHECK(called("zero_block"));
}

static void sp_alignment(void)
{
    static const uint32_t insns[] = {
        0xf94003e0, /* ldr x0, [sp] */
        0xa9bf07e0, /* stp x0, x1, [sp, #-16]! */
        0xb86163e0, /* ldumaxl w1, w0, [sp] */
        0xc85f7fe0, /* ldxr x0, [sp] */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(insns); i++) {
        for (unsigned el = 0; el < 2; el++) {
            fresh(el);
            cpu.x[31] = 0x8008;
            cpu.sys.sctlr_el1 = el ? BIT64(3) : BIT64(4);
            CHECK_EQ(step(insns[i]), A64_JUMP);
            CHECK(called("exception"));
            CHECK_EQ(last.a, 0x26);
            CHECK_EQ(cpu.x[31], 0x8008);
            fresh(el); /* the other EL's bit does not matter */
            cpu.x[31] = 0x8008;
            cpu.sys.sctlr_el1 = el ? BIT64(4) : BIT64(3);
            CHECK_EQ(step(insns[i]), A64_NEXT);
        }
    }
}

static void access_flags(void)
{
    static const struct {
        uint32_t insn;
        const char *op;
        unsigned size, flags;
    } a[] = {
        {0xf9400041, "load", 8, 0},                                                  /* ldr x1, [x2] */
        {0xf8400841, "load", 8, A64_MEM_UNPRIV},                                     /* ldtr x1, [x2] */
        {0x38000841, "store", 1, A64_MEM_UNPRIV},                                    /* sttrb w1, [x2] */
        {0xa9400c41, "load", 16, A64_MEM_PAIR},                                      /* ldp x1, x3, [x2] */
        {0x29000c41, "store", 8, A64_MEM_PAIR},                                      /* stp w1, w3, [x2] */
        {0x69400c41, "load", 8, A64_MEM_PAIR},                                       /* ldpsw x1, x3, [x2] */
        {0xc8dffc41, "load", 8, A64_MEM_ALIGNED | A64_MEM_ACQUIRE},                  /* ldar x1, [x2] */
        {0x089ffc41, "store", 1, A64_MEM_ALIGNED | A64_MEM_RELEASE},                 /* stlrb w1, [x2] */
        {0xb8bfc041, "load", 4, A64_MEM_ALIGNED | A64_MEM_ACQUIRE},                  /* ldapr w1, [x2] */
        {0xc85f7c41, "load_excl", 8, A64_MEM_ALIGNED},                               /* ldxr x1, [x2] */
        {0x885ffc41, "load_excl", 4, A64_MEM_ALIGNED | A64_MEM_ACQUIRE},             /* ldaxr w1, [x2] */
        {0xc87f0c41, "load_excl", 16, A64_MEM_ALIGNED},                              /* ldxp x1, x3, [x2] */
        {0xc804fc41, "store_excl", 8, A64_MEM_ALIGNED | A64_MEM_RELEASE},            /* stlxr w4, x1, [x2] */
        {0x88240c41, "store_excl", 8, A64_MEM_ALIGNED},                              /* stxp w4, w1, w3, [x2] */
        {0xc8e4fc41, "cas", 8, A64_MEM_ALIGNED | A64_MEM_ACQUIRE | A64_MEM_RELEASE}, /* casal x4, x1, [x2] */
        {0xf8e40041, "rmw", 8, A64_MEM_ALIGNED | A64_MEM_ACQUIRE | A64_MEM_RELEASE}, /* ldaddal x4, x1, [x2] */
        {0xb8640041, "rmw", 4, A64_MEM_ALIGNED | A64_MEM_RELEASE},                   /* ldaddl w4, w1, [x2] */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(a); i++) {
        fresh(1);
        CHECK_EQ(step(a[i].insn), A64_NEXT);
        CHECK(called(a[i].op));
        CHECK_EQ(last.va, 0x2000);
        CHECK_EQ(last.size, a[i].size);
        CHECK_EQ(last.flags, a[i].flags);
    }
}

/* FEAT_LSE2: ordered accesses need not be aligned within 16 bytes. */
static void lse2_relaxes_alignment(void)
{
    fresh(1);
    model.features |= BIT64(ARM64_FEAT_LSE2);
    cpu.x[2] = 0x2007;
    CHECK_EQ(step(0xc8dffc41), A64_NEXT); /* ldar x1, [x2]: bytes 7..14 */
    CHECK_EQ(last.flags, A64_MEM_ACQUIRE);
    cpu.x[2] = 0x2009;
    CHECK_EQ(step(0xc8dffc41), A64_NEXT); /* bytes 9..16 */
    CHECK_EQ(last.flags, A64_MEM_ACQUIRE | A64_MEM_ALIGNED);
}

/* A trapped access changes no register: neither target, status nor base. */
static void traps_leave_registers_alone(void)
{
    static const uint32_t insns[] = {
        0xf8408441, /* ldr x1, [x2], #8 */
        0xf81f8c41, /* str x1, [x2, #-8]! */
        0xa8c10c41, /* ldp x1, x3, [x2], #16 */
        0xa9bf0c41, /* stp x1, x3, [x2, #-16]! */
        0xc85f7c41, /* ldxr x1, [x2] */
        0xc8047c41, /* stxr w4, x1, [x2] */
        0xc8a47c41, /* cas x4, x1, [x2] */
        0xf8240041, /* ldadd x4, x1, [x2] */
        0x48247c46, /* casp x4, x5, x6, x7, [x2] */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(insns); i++) {
        fresh(1);
        trap = true;
        CHECK_EQ(step(insns[i]), A64_JUMP);
        CHECK_EQ(calls, 1);
        CHECK_EQ(cpu.pc, HANDLER);
        for (unsigned r = 0; r < 32; r++)
            CHECK_EQ(cpu.x[r], 0x1000 * r);
    }
}

static void simd_rows_ask_for_access_first(void)
{
    fresh(1);
    trap = true;
    CHECK_EQ(step(0x4e228420), A64_JUMP); /* add v0.16b, v1.16b, v2.16b */
    CHECK(called("fp_access"));
    CHECK_EQ(cpu.pc, HANDLER);
    fresh(1);
    CHECK_EQ(step(0x4e228420), A64_NEXT);
    CHECK_EQ(cpu.pc, PC + 4);
}

int main(void)
{
    RUN(calls_reach_the_kernel);
    RUN(el0_may_not_use_what_is_el1s);
    RUN(unallocated_and_missing_features_are_undefined);
    RUN(hints_and_barriers);
    RUN(pstate_fields);
    RUN(system_registers);
    RUN(dc_zva_at_el0_needs_dze);
    RUN(sp_alignment);
    RUN(access_flags);
    RUN(lse2_relaxes_alignment);
    RUN(traps_leave_registers_alone);
    RUN(simd_rows_ask_for_access_first);
    return check_done();
}
