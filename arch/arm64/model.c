/*
 * CPU models: identification registers and the features they stand for.
 *
 * The named cores carry the values of their technical reference manuals, less what this machine has not: AArch32, EL2,
 * EL3, big-endian data, 16K and 64K granules, hardware management of the access flag, RAS, PMU, SPE, trace. All models
 * report CTR_EL0.IDC (data caches need no cleaning for instruction fetch). DIC (no IC either) is the machine's to add:
 * in user mode IC IVAU is how the JIT learns of new code.
 */
#include "arch/arm64/arm64.h"

#define F(n) BIT64(ARM64_FEAT_##n)
#define FIELD(v, lo) ((uint64_t)(v) << (lo))

/* ID_AA64PFR0: EL0 and EL1 in AArch64 only. The GIC field is added where a GICv3 is there. */
#define PFR0_EL (FIELD(1, 0) | FIELD(1, 4))
#define PFR0_FP16 (FIELD(1, 16) | FIELD(1, 20))
/* ID_AA64DFR0: Debugv8, 6 breakpoints (2 with context), 4 watchpoints. */
#define DFR0 (FIELD(6, 0) | FIELD(5, 12) | FIELD(3, 20) | FIELD(1, 28))
/* ID_AA64MMFR0: 16-bit ASIDs, no 64K granule (field 0xf), no 16K granule (field 0). */
#define MMFR0(parange) (FIELD(parange, 0) | FIELD(2, 4) | FIELD(0xf, 24))
/* CTR_EL0: 64-byte lines, PIPT, IDC. */
#define CTR UINT64_C(0x9444c004)
#define DCZID 4 /* 64 bytes */
/* ID_AA64ISAR0 up to ARMv8.0 with cryptography: AES and PMULL, SHA1, SHA256, CRC32. */
#define ISAR0_V80 UINT64_C(0x11120)
#define ISAR0_V82 (ISAR0_V80 | FIELD(2, 20) | FIELD(1, 28) | FIELD(1, 44)) /* LSE, RDM, DotProd */

#define FEAT_V80 (F(BASE) | F(FP) | F(ASIMD) | F(CRC32) | F(AES) | F(PMULL) | F(SHA1) | F(SHA256))
#define FEAT_V82                                                                                                       \
    (FEAT_V80 | F(LSE) | F(RDM) | F(DOTPROD) | F(FP16) | F(LRCPC) | F(DPB) | F(PAN) | F(PAN2) | F(UAO) | F(SSBS))
#define FEAT_MAX                                                                                                       \
    (FEAT_V82 | F(SHA512) | F(SHA3) | F(FHM) | F(JSCVT) | F(FCMA) | F(LRCPC2) | F(FLAGM) | F(FLAGM2) | F(FRINTTS) |    \
     F(DIT) | F(SB) | F(DPB2) | F(TLBIOS) | F(TLBIRANGE))

static const struct arm64_model models[] = {
    {
        .name = "cortex-a57",
        .features = FEAT_V80,
        .midr = 0x411fd073, /* r1p3 */
        .ctr = CTR,
        .dczid = DCZID,
        .clidr = 0x0a200023,
        .ccsidr = {0x701fe00a, 0x201fe012, 0x70ffe07a}, /* 32K data, 48K instruction, 2M unified */
        .id_aa64pfr0 = PFR0_EL,
        .id_aa64isar0 = ISAR0_V80,
        .id_aa64mmfr0 = MMFR0(4),
        .id_aa64dfr0 = DFR0,
    },
    {
        .name = "cortex-a72",
        .features = FEAT_V80,
        .midr = 0x410fd083, /* r0p3 */
        .ctr = CTR,
        .dczid = DCZID,
        .clidr = 0x0a200023,
        .ccsidr = {0x701fe00a, 0x201fe012, 0x707fe07a}, /* 32K, 48K, 1M */
        .id_aa64pfr0 = PFR0_EL,
        .id_aa64isar0 = ISAR0_V80,
        .id_aa64mmfr0 = MMFR0(4),
        .id_aa64dfr0 = DFR0,
    },
    {
        .name = "cortex-a76",
        .features = FEAT_V82,
        .midr = 0x414fd0b1, /* r4p1 */
        .ctr = CTR,
        .dczid = DCZID,
        .clidr = 0x82000023,
        .ccsidr = {0x701fe01a, 0x201fe01a, 0x707fe03a},                   /* 64K, 64K, 512K */
        .id_aa64pfr0 = PFR0_EL | PFR0_FP16 | FIELD(1, 56) | FIELD(1, 60), /* CSV2, CSV3 */
        .id_aa64pfr1 = FIELD(1, 4),                                       /* PSTATE.SSBS without its MSR */
        .id_aa64isar0 = ISAR0_V82,
        .id_aa64isar1 = FIELD(1, 0) | FIELD(1, 20), /* DPB, LRCPC */
        .id_aa64mmfr0 = MMFR0(2),
        .id_aa64mmfr1 = FIELD(2, 12) | FIELD(2, 20), /* HPDS2, PAN2 */
        .id_aa64mmfr2 = FIELD(1, 0) | FIELD(1, 4),   /* CnP, UAO */
        .id_aa64dfr0 = DFR0,
    },
    {
        .name = "neoverse-n1",
        .features = FEAT_V82,
        .midr = 0x414fd0c1, /* r4p1 */
        .ctr = CTR,
        .dczid = DCZID,
        .clidr = 0x82000023,
        .ccsidr = {0x701fe01a, 0x201fe01a, 0x70ffe03a}, /* 64K, 64K, 1M */
        .id_aa64pfr0 = PFR0_EL | PFR0_FP16 | FIELD(1, 56) | FIELD(1, 60),
        .id_aa64pfr1 = FIELD(2, 4),
        .id_aa64isar0 = ISAR0_V82,
        .id_aa64isar1 = FIELD(1, 0) | FIELD(1, 20),
        .id_aa64mmfr0 = MMFR0(5),
        .id_aa64mmfr1 = FIELD(2, 12) | FIELD(2, 20),
        .id_aa64mmfr2 = FIELD(1, 0) | FIELD(1, 4),
        .id_aa64dfr0 = DFR0,
    },
    {
        /* Implementer 0 is for software. CSV2 level 3, CSV3 and E0PD spare kernels their costliest mitigations. */
        .name = "max",
        .features = FEAT_MAX,
        .midr = 0x000f0a10,
        .ctr = CTR,
        .dczid = DCZID,
        .clidr = 0x82000023,
        .ccsidr = {0x701fe01a, 0x201fe01a, 0x70ffe03a},
        .id_aa64pfr0 = PFR0_EL | PFR0_FP16 | FIELD(1, 48) | FIELD(3, 56) | FIELD(1, 60), /* DIT, CSV2, CSV3 */
        .id_aa64pfr1 = FIELD(2, 4),
        /* SHA512 in the SHA2 field, SHA3, FHM, FLAGM2, TLBIOS and TLBIRANGE */
        .id_aa64isar0 = ISAR0_V82 + FIELD(1, 12) + FIELD(1, 32) + FIELD(1, 48) + FIELD(2, 52) + FIELD(2, 56),
        /* DPB2, JSCVT, FCMA, LRCPC2, FRINTTS, SB */
        .id_aa64isar1 = FIELD(2, 0) | FIELD(1, 12) | FIELD(1, 16) | FIELD(2, 20) | FIELD(1, 32) | FIELD(1, 36),
        .id_aa64mmfr0 = MMFR0(5),
        .id_aa64mmfr1 = FIELD(2, 12) | FIELD(2, 20),
        .id_aa64mmfr2 = FIELD(1, 0) | FIELD(1, 4) | FIELD(1, 48) | FIELD(1, 60), /* CnP, UAO, TTL, E0PD */
        .id_aa64dfr0 = DFR0,
    },
};

const struct arm64_model *arm64_model_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        if (!strcmp(models[i].name, name))
            return &models[i];
    }
    return NULL;
}

const char *arm64_model_name(unsigned i)
{
    return i < ARRAY_SIZE(models) ? models[i].name : NULL;
}
