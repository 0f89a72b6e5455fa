/* System registers: identification against features, access rights, traps, masks, TLBI operands, plain fields. */
#include "arch/arm64/arm64.h"
#include "arch/arm64/gic.h"
#include "jit/ops.h"
#include "tests/check.h"

#define ENC(a, b, c, d, e) ((uint32_t)SYSREG_ENC(a, b, c, d, e))
#define SCTLR ENC(3, 0, 1, 0, 0)
#define FPCR ENC(3, 3, 4, 4, 0)
#define FPSR ENC(3, 3, 4, 4, 1)
#define TPIDR_EL0 ENC(3, 3, 13, 0, 2)
#define UNDEFINED ((uint64_t)BIT32(25))

static struct arm64_cpu cpu;
static struct arm64_tlbi tlbi;
static unsigned tlbis, contexts, fpcrs, syncs, pushes, zeroed, iclen;
static uint64_t icva;
static int check_result;
static bool check_write;

static void on_tlbi(struct arm64_cpu *c, const struct arm64_tlbi *op)
{
    (void)c;
    tlbi = *op;
    tlbis++;
}

static void on_context(struct arm64_cpu *c)
{
    (void)c;
    contexts++;
}

static void on_icache(struct arm64_cpu *c, uint64_t va, uint64_t len)
{
    (void)c;
    icva = va;
    iclen = (unsigned)len;
}

static int on_dcache(struct arm64_cpu *c, uint64_t va, bool write)
{
    (void)c;
    (void)va;
    check_write = write;
    return check_result;
}

static void on_fpcr(struct arm64_cpu *c)
{
    (void)c;
    fpcrs++;
}

static void on_fpsr_sync(struct arm64_cpu *c)
{
    c->fpsr |= 0x10;
    syncs++;
}

static void on_fpsr_changed(struct arm64_cpu *c)
{
    (void)c;
    pushes++;
}

static int zero_block(struct arm64_cpu *c, uint64_t va)
{
    (void)c;
    (void)va;
    zeroed++;
    return 0;
}

static const struct arm64_hooks hooks = {
    .tlbi = on_tlbi,
    .context_changed = on_context,
    .icache_invalidate = on_icache,
    .dcache_check = on_dcache,
    .fpcr_changed = on_fpcr,
    .fpsr_sync = on_fpsr_sync,
    .fpsr_changed = on_fpsr_changed,
};
static const struct a64_ops ops = {.zero_block = zero_block};

static void setup(const char *model)
{
    arm64_set_hooks(&hooks);
    arm64_cpu_init(&cpu, arm64_model_find(model), 0);
    cpu.ops = &ops;
    tlbis = contexts = fpcrs = syncs = pushes = zeroed = 0;
    check_result = 0;
}

static void to_el0(void)
{
    arm64_set_el_sp(&cpu, 0, 0);
    cpu.sys.esr_el1 = 0;
}

static bool reads(uint32_t enc, uint64_t want)
{
    uint64_t val = ~want;
    return arm64_sysreg_read(&cpu, enc, 3, &val) == 0 && val == want;
}

/* The syndrome that a read leaves; 0 where it did not trap. Comes back to the EL it was made from. */
static uint64_t read_traps(uint32_t enc)
{
    struct arm64_cpu was = cpu;
    uint64_t val, esr = 0;

    if (arm64_sysreg_read(&cpu, enc, 3, &val))
        esr = cpu.sys.esr_el1;
    cpu = was;
    return esr;
}

static uint64_t write_traps(uint32_t enc, uint64_t val)
{
    struct arm64_cpu was = cpu;
    uint64_t esr = 0;

    if (arm64_sysreg_write(&cpu, enc, 3, val)) {
        esr = cpu.sys.esr_el1;
        cpu = was;
    }
    return esr;
}

static uint64_t trap(uint32_t enc, bool read)
{
    return 0x18u << 26 | BIT32(25) | bits32(enc, 15, 14) << 20 | bits32(enc, 2, 0) << 17 | bits32(enc, 13, 11) << 14 |
           bits32(enc, 10, 7) << 10 | 3 << 5 | bits32(enc, 6, 3) << 1 | (read ? 1 : 0);
}

struct id_field {
    enum arm64_feature feature;
    uint8_t crm, op2, lo, min;
};

/* A feature is there exactly if its ID field is at least `min`. */
static const struct id_field id_fields[] = {
    {ARM64_FEAT_AES, 6, 0, 4, 1},      {ARM64_FEAT_PMULL, 6, 0, 4, 2},   {ARM64_FEAT_SHA1, 6, 0, 8, 1},
    {ARM64_FEAT_SHA256, 6, 0, 12, 1},  {ARM64_FEAT_SHA512, 6, 0, 12, 2}, {ARM64_FEAT_CRC32, 6, 0, 16, 1},
    {ARM64_FEAT_LSE, 6, 0, 20, 2},     {ARM64_FEAT_RDM, 6, 0, 28, 1},    {ARM64_FEAT_SHA3, 6, 0, 32, 1},
    {ARM64_FEAT_DOTPROD, 6, 0, 44, 1}, {ARM64_FEAT_FHM, 6, 0, 48, 1},    {ARM64_FEAT_FLAGM, 6, 0, 52, 1},
    {ARM64_FEAT_FLAGM2, 6, 0, 52, 2},  {ARM64_FEAT_TLBIOS, 6, 0, 56, 1}, {ARM64_FEAT_TLBIRANGE, 6, 0, 56, 2},
    {ARM64_FEAT_DPB, 6, 1, 0, 1},      {ARM64_FEAT_DPB2, 6, 1, 0, 2},    {ARM64_FEAT_JSCVT, 6, 1, 12, 1},
    {ARM64_FEAT_FCMA, 6, 1, 16, 1},    {ARM64_FEAT_LRCPC, 6, 1, 20, 1},  {ARM64_FEAT_LRCPC2, 6, 1, 20, 2},
    {ARM64_FEAT_FRINTTS, 6, 1, 32, 1}, {ARM64_FEAT_SB, 6, 1, 36, 1},     {ARM64_FEAT_FP16, 4, 0, 16, 1},
    {ARM64_FEAT_FP16, 4, 0, 20, 1},    {ARM64_FEAT_DIT, 4, 0, 48, 1},    {ARM64_FEAT_BTI, 4, 1, 0, 1},
    {ARM64_FEAT_SSBS, 4, 1, 4, 1},     {ARM64_FEAT_PAN, 7, 1, 20, 1},    {ARM64_FEAT_PAN2, 7, 1, 20, 2},
    {ARM64_FEAT_UAO, 7, 2, 4, 1},      {ARM64_FEAT_LSE2, 7, 2, 32, 1},
};

static void test_features_agree(void)
{
    for (unsigned m = 0; arm64_model_name(m); m++) {
        setup(arm64_model_name(m));
        for (unsigned i = 0; i < ARRAY_SIZE(id_fields); i++) {
            const struct id_field *f = &id_fields[i];
            uint64_t id = 0;
            CHECK_EQ(arm64_sysreg_read(&cpu, ENC(3, 0, 0, f->crm, f->op2), 0, &id), 0);
            bool has = bits64(id, f->lo + 3u, f->lo) >= f->min;
            if (has != arm64_has(&cpu, f->feature))
                printf("  %s: feature %u\n", arm64_model_name(m), f->feature);
            CHECK(has == arm64_has(&cpu, f->feature));
        }
        CHECK(arm64_has(&cpu, ARM64_FEAT_BASE) && arm64_has(&cpu, ARM64_FEAT_FP) && arm64_has(&cpu, ARM64_FEAT_ASIMD));
    }
}

static void test_id_space(void)
{
    uint64_t val;

    for (unsigned m = 0; arm64_model_name(m); m++) {
        setup(arm64_model_name(m));
        CHECK_EQ(arm64_model_find(arm64_model_name(m)), cpu.model);
        for (unsigned crm = 1; crm <= 7; crm++) {
            for (unsigned op2 = 0; op2 < 8; op2++) {
                CHECK_EQ(arm64_sysreg_read(&cpu, ENC(3, 0, 0, crm, op2), 0, &val), 0);
                CHECK(crm > 3 || val == 0); /* AArch32 */
                CHECK_EQ(write_traps(ENC(3, 0, 0, crm, op2), 0), UNDEFINED);
            }
        }
        CHECK_EQ(arm64_sysreg_read(&cpu, ENC(3, 0, 0, 4, 0), 0, &val), 0);
        CHECK_EQ(val & 0xffff, 0x11);     /* EL0 and EL1 in AArch64, no EL2, no EL3 */
        CHECK_EQ(bits64(val, 31, 24), 0); /* no GIC attached, no RAS */
        CHECK_EQ(bits64(val, 35, 32), 0); /* no SVE */
        CHECK_EQ(arm64_sysreg_read(&cpu, ENC(3, 0, 0, 7, 0), 0, &val), 0);
        CHECK_EQ(bits64(val, 31, 20), 0x0f0); /* 4K granule only */
        CHECK_EQ(bits64(val, 7, 4), 2);       /* 16-bit ASIDs */
        CHECK(reads(ENC(3, 3, 0, 0, 1), 0xb444c004));
        CHECK(reads(ENC(3, 3, 0, 0, 7), 4));
        CHECK_EQ(read_traps(ENC(3, 0, 0, 0, 1)), UNDEFINED);
        CHECK_EQ(read_traps(ENC(3, 3, 9, 12, 0)), UNDEFINED); /* PMCR_EL0 */
    }
    CHECK(!arm64_model_find("cortex-a99"));
    setup("max");
    CHECK(reads(ENC(3, 0, 0, 0, 5), 0x80000000));
}

static void test_gic_field(void)
{
    struct arm64_cpu *list[1] = {&cpu};
    struct gic *g = NULL;

    for (unsigned v = 2; v <= 3; v++) {
        struct gic_config cfg = {.version = v, .ncpus = 1, .nspis = 32, .cpus = list};
        uint64_t val = 0;
        setup("max");
        CHECK_EQ(gic_create(&g, &cfg), 0);
        arm64_sysreg_read(&cpu, ENC(3, 0, 0, 4, 0), 0, &val);
        CHECK_EQ(bits64(val, 27, 24), v == 3);
        CHECK_EQ(read_traps(ENC(3, 0, 12, 12, 5)), v == 3 ? 0 : UNDEFINED);
        gic_destroy(g);
    }
}

static void test_storage(void)
{
    setup("max");
    CHECK_EQ(write_traps(ENC(3, 0, 12, 0, 0), UINT64_C(0xffff000012345fff)), 0);
    CHECK(reads(ENC(3, 0, 12, 0, 0), UINT64_C(0xffff000012345800))); /* VBAR */
    CHECK_EQ(write_traps(ENC(3, 0, 5, 2, 0), 0x92000047), 0);
    CHECK_EQ(cpu.sys.esr_el1, 0x92000047);
    CHECK_EQ(write_traps(ENC(3, 0, 1, 0, 1), UINT64_MAX), 0);
    CHECK(reads(ENC(3, 0, 1, 0, 1), 0)); /* ACTLR */
    CHECK_EQ(write_traps(ENC(3, 2, 0, 0, 0), UINT64_MAX), 0);
    CHECK(reads(ENC(3, 2, 0, 0, 0), 0xf)); /* CSSELR */
    CHECK(reads(ENC(3, 1, 0, 0, 0), 0));   /* CCSIDR of a cache that is not there */
    CHECK_EQ(write_traps(ENC(3, 2, 0, 0, 0), 2), 0);
    CHECK(reads(ENC(3, 1, 0, 0, 0), 0x70ffe03a));
    CHECK(reads(ENC(3, 3, 14, 0, 0), 62500000));
}

static void test_context(void)
{
    setup("max");
    CHECK_EQ(write_traps(ENC(3, 0, 2, 0, 0), 0x1000), 0);
    CHECK_EQ(contexts, 1);
    CHECK_EQ(write_traps(ENC(3, 0, 2, 0, 0), 0x1000), 0); /* nothing new */
    CHECK_EQ(contexts, 1);
    CHECK_EQ(write_traps(SCTLR, UINT64_MAX), 0);
    CHECK_EQ(contexts, 2);
    /* No big-endian data, no 16-bit IT; RES1 as it is */
    CHECK(reads(SCTLR, 0x34dddb9f | BIT64(44)));
    CHECK_EQ(write_traps(SCTLR, 0), 0);
    CHECK(reads(SCTLR, 0x30400980));
    setup("cortex-a57");
    CHECK_EQ(write_traps(SCTLR, 0), 0);
    CHECK(reads(SCTLR, 0x30d00980)); /* SPAN, TSCXT are RES1 there */
}

static void test_rights(void)
{
    setup("max");
    CHECK_EQ(write_traps(ENC(3, 0, 0, 0, 0), 0), UNDEFINED); /* MIDR is read-only */
    CHECK_EQ(read_traps(ENC(2, 0, 1, 0, 4)), UNDEFINED);     /* OSLAR is write-only */
    CHECK_EQ(read_traps(ENC(3, 4, 1, 0, 0)), UNDEFINED);     /* SCTLR_EL2 */
    CHECK_EQ(read_traps(ENC(3, 0, 15, 0, 0)), UNDEFINED);    /* IMPLEMENTATION DEFINED */
    CHECK_EQ(read_traps(0x10000 | ENC(3, 0, 0, 0, 0)), UNDEFINED);
    to_el0();
    CHECK_EQ(read_traps(ENC(3, 0, 0, 0, 0)), UNDEFINED);
    CHECK_EQ(read_traps(SCTLR), UNDEFINED);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 7, 0), 0), UNDEFINED);
    CHECK_EQ(write_traps(ENC(3, 3, 13, 0, 3), 0), UNDEFINED); /* TPIDRRO */
    CHECK_EQ(write_traps(TPIDR_EL0, 0x77), 0);
    CHECK(reads(TPIDR_EL0, 0x77));
    CHECK(reads(ENC(3, 3, 13, 0, 3), 0));
}

struct el0_trap {
    uint32_t enc;
    bool read;
    bool cntkctl;
    unsigned bit;
};

static void test_el0_traps(void)
{
    static const struct el0_trap traps[] = {
        {ENC(3, 3, 0, 0, 1), true, false, 15},  /* CTR: UCT */
        {ENC(3, 3, 4, 2, 1), true, false, 9},   /* DAIF: UMA */
        {ENC(3, 3, 4, 2, 1), false, false, 9},  /* DAIF */
        {ENC(1, 3, 7, 4, 1), false, false, 14}, /* DC ZVA: DZE */
        {ENC(1, 3, 7, 5, 1), false, false, 26}, /* IC IVAU: UCI */
        {ENC(1, 3, 7, 10, 1), false, false, 26}, {ENC(1, 3, 7, 11, 1), false, false, 26},
        {ENC(1, 3, 7, 12, 1), false, false, 26}, {ENC(1, 3, 7, 13, 1), false, false, 26},
        {ENC(1, 3, 7, 14, 1), false, false, 26}, {ENC(3, 3, 14, 0, 0), true, true, 0}, /* CNTFRQ: either */
        {ENC(3, 3, 14, 0, 0), true, true, 1},    {ENC(3, 3, 14, 0, 1), true, true, 0},
        {ENC(3, 3, 14, 0, 2), true, true, 1},    {ENC(3, 3, 14, 3, 1), true, true, 8},
        {ENC(3, 3, 14, 3, 2), false, true, 8},   {ENC(3, 3, 14, 2, 1), true, true, 9},
        {ENC(3, 3, 14, 2, 0), false, true, 9},
    };

    setup("max");
    to_el0();
    for (unsigned i = 0; i < ARRAY_SIZE(traps); i++) {
        const struct el0_trap *t = &traps[i];
        uint64_t *reg = t->cntkctl ? &cpu.sys.cntkctl_el1 : &cpu.sys.sctlr_el1;
        *reg = 0;
        CHECK_EQ(t->read ? read_traps(t->enc) : write_traps(t->enc, 0), trap(t->enc, t->read));
        *reg = BIT64(t->bit);
        CHECK_EQ(t->read ? read_traps(t->enc) : write_traps(t->enc, 0), 0);
        *reg = 0;
    }
    CHECK(reads(ENC(3, 3, 0, 0, 7), 0x14)); /* DCZID.DZP while DZE is 0 */
}

static void test_pstate(void)
{
    setup("max");
    CHECK(reads(ENC(3, 0, 4, 2, 2), 4)); /* CurrentEL */
    CHECK(reads(ENC(3, 0, 4, 2, 0), 1)); /* SPSel */
    CHECK_EQ(write_traps(ENC(3, 3, 4, 2, 0), UINT64_C(0xa0000000)), 0);
    CHECK(reads(ENC(3, 3, 4, 2, 0), UINT64_C(0xa0000000)));
    CHECK_EQ(write_traps(ENC(3, 3, 4, 2, 1), PSTATE_I | 0xf), 0);
    CHECK_EQ(cpu.daif, PSTATE_I);
    CHECK_EQ(write_traps(ENC(3, 0, 4, 2, 3), UINT64_MAX), 0);
    CHECK(reads(ENC(3, 0, 4, 2, 3), PSTATE_PAN));
    CHECK_EQ(write_traps(ENC(3, 0, 4, 2, 4), UINT64_MAX), 0);
    CHECK_EQ(write_traps(ENC(3, 3, 4, 2, 5), UINT64_MAX), 0);
    CHECK_EQ(write_traps(ENC(3, 3, 4, 2, 6), UINT64_MAX), 0);
    CHECK_EQ(cpu.pstate_misc, PSTATE_PAN | PSTATE_UAO | PSTATE_DIT | PSTATE_SSBS);
    CHECK_EQ(write_traps(ENC(3, 0, 4, 1, 0), 0x1234), 0); /* SP_EL0 */
    CHECK(reads(ENC(3, 0, 4, 1, 0), 0x1234));
    CHECK_EQ(write_traps(ENC(3, 0, 4, 2, 0), 0), 0);
    CHECK_EQ(cpu.x[31], 0x1234);
    CHECK_EQ(read_traps(ENC(3, 0, 4, 1, 0)), UNDEFINED); /* while it is SP */
    atomic_store(&cpu.irq_lines, ARM64_LINE_IRQ);
    CHECK(reads(ENC(3, 0, 12, 1, 0), 0x80));
    setup("cortex-a57");
    CHECK_EQ(read_traps(ENC(3, 0, 4, 2, 3)), UNDEFINED);
    CHECK_EQ(read_traps(ENC(3, 3, 4, 2, 5)), UNDEFINED);
    CHECK_EQ(write_traps(ENC(1, 0, 7, 9, 0), 0), UNDEFINED);  /* AT S1E1RP */
    CHECK_EQ(write_traps(ENC(1, 0, 8, 1, 0), 0), UNDEFINED);  /* TLBI VMALLE1OS */
    CHECK_EQ(write_traps(ENC(1, 0, 8, 2, 1), 0), UNDEFINED);  /* TLBI RVAE1IS */
    CHECK_EQ(write_traps(ENC(1, 3, 7, 12, 1), 0), UNDEFINED); /* DC CVAP */
    CHECK_EQ(read_traps(ENC(3, 3, 13, 0, 7)), UNDEFINED);     /* SCXTNUM_EL0 */
}

static void test_fp(void)
{
    setup("max");
    CHECK_EQ(read_traps(FPCR), 0x7u << 26 | BIT32(25) | 0x1e00000);
    CHECK_EQ(write_traps(FPSR, 0), 0x7u << 26 | BIT32(25) | 0x1e00000);
    cpu.sys.cpacr_el1 = 3 << 20;
    CHECK_EQ(write_traps(FPCR, UINT64_MAX), 0);
    CHECK(reads(FPCR, 0x07c80000));
    CHECK_EQ(fpcrs, 1);
    CHECK_EQ(write_traps(FPSR, UINT64_C(0xffffffffffffffef)), 0);
    CHECK_EQ(cpu.fpsr, 0x0800008f);
    CHECK_EQ(pushes, 1);
    CHECK(reads(FPSR, 0x0800009f)); /* the hook has brought IXC */
    CHECK_EQ(syncs, 1);
    setup("cortex-a57");
    cpu.sys.cpacr_el1 = 3 << 20;
    CHECK_EQ(write_traps(FPCR, UINT64_MAX), 0);
    CHECK(reads(FPCR, 0x07c00000)); /* no FZ16 */
}

static void test_debug(void)
{
    setup("max");
    CHECK(reads(ENC(2, 0, 1, 1, 4), 0xa)); /* locked at reset */
    CHECK_EQ(write_traps(ENC(2, 0, 1, 0, 4), 0), 0);
    CHECK(reads(ENC(2, 0, 1, 1, 4), 8));
    CHECK_EQ(write_traps(ENC(2, 0, 0, 5, 4), 0x1234), 0); /* DBGBVR5 */
    CHECK(reads(ENC(2, 0, 0, 5, 4), 0x1234));
    CHECK_EQ(cpu.sys.dbgbvr[5], 0x1234);
    CHECK_EQ(write_traps(ENC(2, 0, 0, 6, 4), 0), UNDEFINED);
    CHECK_EQ(write_traps(ENC(2, 0, 0, 3, 7), 5), 0); /* DBGWCR3 */
    CHECK_EQ(cpu.sys.dbgwcr[3], 5);
    CHECK_EQ(read_traps(ENC(2, 0, 0, 4, 7)), UNDEFINED);
    CHECK_EQ(write_traps(ENC(2, 0, 0, 2, 2), UINT64_MAX), 0); /* MDSCR */
    CHECK(cpu.sys.mdscr_el1 & 1);
    CHECK_EQ(write_traps(ENC(2, 0, 7, 8, 6), 0x3), 0);
    CHECK_EQ(write_traps(ENC(2, 0, 7, 9, 6), 0x1), 0);
    CHECK(reads(ENC(2, 0, 7, 9, 6), 2));
}

static void test_cache_ops(void)
{
    setup("max");
    CHECK_EQ(write_traps(ENC(1, 3, 7, 4, 1), 0x1000), 0);
    CHECK_EQ(zeroed, 1);
    CHECK_EQ(write_traps(ENC(1, 3, 7, 5, 1), 0x12345), 0);
    CHECK_EQ(icva, 0x12340);
    CHECK_EQ(iclen, 64);
    CHECK_EQ(write_traps(ENC(1, 0, 7, 1, 0), 0), 0);
    CHECK_EQ(iclen, 0);
    CHECK_EQ(write_traps(ENC(1, 0, 7, 6, 1), 0), 0); /* DC IVAC */
    CHECK(check_write);
    CHECK_EQ(write_traps(ENC(1, 3, 7, 14, 1), 0), 0); /* DC CIVAC */
    CHECK(!check_write);
    CHECK_EQ(write_traps(ENC(1, 0, 7, 6, 2), 0), 0); /* DC ISW */
    check_result = A64_TRAPPED;
    cpu.sys.esr_el1 = 0x99;
    CHECK_EQ(write_traps(ENC(1, 3, 7, 11, 1), 0), 0x99);
    CHECK_EQ(read_traps(ENC(1, 3, 7, 11, 1)), UNDEFINED); /* SYSL */
}

static void test_tlbi(void)
{
    setup("max");
    cpu.sys.tcr_el1 = BIT64(36);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 7, 0), 0), 0);
    CHECK_EQ(tlbi.kind, ARM64_TLBI_ALL);
    CHECK(!tlbi.broadcast);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 3, 2), UINT64_C(0x1234) << 48), 0);
    CHECK_EQ(tlbi.kind, ARM64_TLBI_ASID);
    CHECK(tlbi.broadcast);
    CHECK_EQ(tlbi.asid, 0x1234);
    /* a level hint in [47:44] is no part of the address */
    CHECK_EQ(write_traps(ENC(1, 0, 8, 3, 1), UINT64_C(0x1234) << 48 | UINT64_C(7) << 44 | 0x12345), 0);
    CHECK_EQ(tlbi.kind, ARM64_TLBI_VA);
    CHECK_EQ(tlbi.va, 0x12345000);
}

static void test_tlbi_va(void)
{
    setup("max");
    cpu.sys.tcr_el1 = BIT64(36);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 1, 7), UINT64_C(0xffff0012345)), 0); /* VAALE1OS, VA[55:12] */
    CHECK_EQ(tlbi.kind, ARM64_TLBI_VAA);
    CHECK(tlbi.broadcast);
    CHECK_EQ(tlbi.va, UINT64_C(0xffffff0012345000));
    CHECK_EQ(tlbi.pages, 1);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 7, 5), UINT64_C(0x56) << 48 | 0x12345), 0);
    CHECK_EQ(tlbi.kind, ARM64_TLBI_VA);
    CHECK_EQ(tlbi.va, 0x12345000);
    CHECK_EQ(tlbi.asid, 0x56);
    cpu.sys.tcr_el1 = 0; /* 8-bit ASIDs */
    CHECK_EQ(write_traps(ENC(1, 0, 8, 7, 1), UINT64_C(0x1256) << 48), 0);
    CHECK_EQ(tlbi.asid, 0x56);
}

static void test_tlbi_range(void)
{
    uint64_t op = UINT64_C(0x42) << 48 | UINT64_C(1) << 46 | UINT64_C(1) << 44 | UINT64_C(2) << 39;

    setup("max");
    CHECK_EQ(write_traps(ENC(1, 0, 8, 2, 1), op | UINT64_C(0x1f00001000)), 0); /* RVAE1IS */
    CHECK_EQ(tlbis, 1);
    CHECK_EQ(tlbi.kind, ARM64_TLBI_VA);
    CHECK(tlbi.broadcast);
    CHECK_EQ(tlbi.asid, 0x42);
    CHECK_EQ(tlbi.va, UINT64_C(0xfffff00001000000));
    CHECK_EQ(tlbi.pages, 3 << 6);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 6, 7), op | 0x1000), 0); /* RVAALE1 */
    CHECK_EQ(tlbi.kind, ARM64_TLBI_VAA);
    CHECK(!tlbi.broadcast);
    CHECK_EQ(tlbi.va, 0x1000000);
    CHECK_EQ(write_traps(ENC(1, 0, 8, 6, 7), op ^ UINT64_C(3) << 46), 0); /* a 16K granule: none of ours */
    CHECK_EQ(tlbis, 2);
}

static void test_plain(void)
{
    CHECK_EQ(arm64_sysreg_plain(TPIDR_EL0, 0, true), offsetof(struct arm64_cpu, sys.tpidr_el0));
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 3, 13, 0, 3), 0, false), offsetof(struct arm64_cpu, sys.tpidrro_el0));
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 3, 13, 0, 3), 0, true), -1);
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 0, 4, 1, 0), 1, true), offsetof(struct arm64_cpu, sys.sp_el0));
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 0, 4, 1, 0), 0, false), -1);
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 0, 4, 0, 1), 1, true), offsetof(struct arm64_cpu, sys.elr_el1));
    CHECK_EQ(arm64_sysreg_plain(SCTLR, 1, false), offsetof(struct arm64_cpu, sys.sctlr_el1));
    CHECK_EQ(arm64_sysreg_plain(SCTLR, 1, true), -1);
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 0, 12, 0, 0), 1, true), -1); /* VBAR has RES0 bits */
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 0, 12, 0, 0), 1, false), offsetof(struct arm64_cpu, sys.vbar_el1));
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 3, 14, 0, 0), 0, false), -1); /* CNTFRQ traps */
    CHECK_EQ(arm64_sysreg_plain(ENC(3, 3, 14, 0, 2), 1, false), -1);
    CHECK_EQ(arm64_sysreg_plain(0x10000, 1, false), -1);
    CHECK_EQ(arm64_sysreg_plain(0, 1, false), -1);
}

static void test_const(void)
{
    const uint32_t ctr = ENC(3, 3, 0, 0, 1), dczid = ENC(3, 3, 0, 0, 7);
    const uint8_t el = cpu.el;
    uint64_t v;

    cpu.el = 1;
    CHECK(arm64_sysreg_const(&cpu, ctr, &v));
    CHECK_EQ(v, cpu.model->ctr | BIT64(28) | BIT64(29)); /* IDC, DIC */
    CHECK(arm64_sysreg_const(&cpu, dczid, &v));
    CHECK_EQ(v, cpu.model->dczid);
    CHECK(!arm64_sysreg_const(&cpu, TPIDR_EL0, &v));
    cpu.el = 0;
    CHECK(!arm64_sysreg_const(&cpu, ctr, &v)); /* SCTLR.UCT */
    CHECK(arm64_sysreg_const(&cpu, dczid, &v));
    cpu.el = el;
}

/* Every encoding, at both ELs, reads and writes: nothing crashes, and traps are one of the known kinds. */
static void test_all_encodings(void)
{
    static const uint8_t classes[] = {0x00, 0x07, 0x18, 0x25};

    for (unsigned el = 0; el <= 1; el++) {
        for (uint32_t enc = 0; enc <= 0xffff; enc++) {
            setup("max");
            if (el == 0)
                to_el0();
            uint64_t val;
            bool known = true, trapped = arm64_sysreg_read(&cpu, enc, 0, &val) != 0;
            for (unsigned w = 0; w < 2; w++) {
                if (trapped) {
                    known = false;
                    for (unsigned i = 0; i < ARRAY_SIZE(classes); i++)
                        known |= cpu.sys.esr_el1 >> 26 == classes[i];
                }
                CHECK(known);
                setup("max");
                if (el == 0)
                    to_el0();
                trapped = w == 0 && arm64_sysreg_write(&cpu, enc, 0, UINT64_MAX) != 0;
            }
        }
    }
}

int main(void)
{
    RUN(test_features_agree);
    RUN(test_id_space);
    RUN(test_gic_field);
    RUN(test_storage);
    RUN(test_context);
    RUN(test_rights);
    RUN(test_el0_traps);
    RUN(test_pstate);
    RUN(test_fp);
    RUN(test_debug);
    RUN(test_cache_ops);
    RUN(test_tlbi);
    RUN(test_tlbi_va);
    RUN(test_tlbi_range);
    RUN(test_plain);
    RUN(test_const);
    RUN(test_all_encodings);
    return check_done();
}
