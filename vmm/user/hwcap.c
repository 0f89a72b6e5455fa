/*
 * AT_HWCAP and AT_HWCAP2 (arch/arm64/include/uapi/asm/hwcap.h): one row a bit, with its name in /proc/cpuinfo and the
 * feature of the CPU model that it stands for. Rows are in the order of the bits.
 */
#include <stdio.h>

#include "vmm/user/cpu.h"

struct hwcap {
    uint8_t word, bit; /* word 1: AT_HWCAP, 2: AT_HWCAP2 */
    uint8_t feature;   /* enum arm64_feature */
    const char *name;
};

/* EVTSTRM and CPUID are of the kernel; DC CVADP needs FEAT_DPB2. */
static const struct hwcap caps[] = {
    {1, 0, ARM64_FEAT_FP, "fp"},
    {1, 1, ARM64_FEAT_ASIMD, "asimd"},
    {1, 2, ARM64_FEAT_BASE, "evtstrm"},
    {1, 3, ARM64_FEAT_AES, "aes"},
    {1, 4, ARM64_FEAT_PMULL, "pmull"},
    {1, 5, ARM64_FEAT_SHA1, "sha1"},
    {1, 6, ARM64_FEAT_SHA256, "sha2"},
    {1, 7, ARM64_FEAT_CRC32, "crc32"},
    {1, 8, ARM64_FEAT_LSE, "atomics"},
    {1, 9, ARM64_FEAT_FP16, "fphp"},
    {1, 10, ARM64_FEAT_FP16, "asimdhp"},
    {1, 11, ARM64_FEAT_BASE, "cpuid"},
    {1, 12, ARM64_FEAT_RDM, "asimdrdm"},
    {1, 13, ARM64_FEAT_JSCVT, "jscvt"},
    {1, 14, ARM64_FEAT_FCMA, "fcma"},
    {1, 15, ARM64_FEAT_LRCPC, "lrcpc"},
    {1, 16, ARM64_FEAT_DPB, "dcpop"},
    {1, 17, ARM64_FEAT_SHA3, "sha3"},
    {1, 20, ARM64_FEAT_DOTPROD, "asimddp"},
    {1, 21, ARM64_FEAT_SHA512, "sha512"},
    {1, 23, ARM64_FEAT_FHM, "asimdfhm"},
    {1, 24, ARM64_FEAT_DIT, "dit"},
    {1, 25, ARM64_FEAT_LSE2, "uscat"},
    {1, 26, ARM64_FEAT_LRCPC2, "ilrcpc"},
    {1, 27, ARM64_FEAT_FLAGM, "flagm"},
    {1, 28, ARM64_FEAT_SSBS, "ssbs"},
    {1, 29, ARM64_FEAT_SB, "sb"},
    {2, 0, ARM64_FEAT_DPB2, "dcpodp"},
    {2, 7, ARM64_FEAT_FLAGM2, "flagm2"},
    {2, 8, ARM64_FEAT_FRINTTS, "frint"},
    {2, 17, ARM64_FEAT_BTI, "bti"},
};

static bool has(const struct arm64_model *m, const struct hwcap *h)
{
    /* The bit promises the MSR to PSTATE.SSBS, which ID_AA64PFR1_EL1.SSBS 1 has not. */
    if (h->feature == ARM64_FEAT_SSBS && bits64(m->id_aa64pfr1, 7, 4) < 2)
        return false;
    return h->feature == ARM64_FEAT_BASE || (m->features & BIT64(h->feature));
}

static uint64_t word(const struct arm64_model *m, unsigned n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
        if (caps[i].word == n && has(m, &caps[i]))
            v |= BIT64(caps[i].bit);
    }
    return v;
}

uint64_t user_hwcap(const struct arm64_model *m)
{
    return word(m, 1);
}

uint64_t user_hwcap2(const struct arm64_model *m)
{
    return word(m, 2);
}

int user_hwcap_names(const struct arm64_model *m, char *buf, size_t size)
{
    int n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
        if (has(m, &caps[i]) && (size_t)n < size)
            n += snprintf(buf + n, size - (size_t)n, " %s", caps[i].name);
    }
    return n;
}
