/*
 * CPUID policy. It starts from what KVM supports on this host and
 *  - hides what the machine has no part for, and what few guests want and costs them something (a table of bits);
 *  - adds what KVM provides beside the list: the TSC deadline timer, and being a guest;
 *  - replaces the host's topology by the machine's. Linux believes leaf 0xb, then 4 and 0x80000008, so all must agree.
 *
 * APIC IDs are the vCPUs' numbers: one package, one thread a core.
 */
#include "arch/x86/cpuid.h"

#include <errno.h>

#include "vmm/base/util.h"

#define LEAF1_ECX_VMX BIT32(5)
#define LEAF1_ECX_PCID BIT32(17)
#define LEAF1_ECX_TSC_DEADLINE BIT32(24)
#define LEAF1_ECX_XSAVE BIT32(26)
#define LEAF1_ECX_OSXSAVE BIT32(27)
#define LEAF1_ECX_HYPERVISOR BIT32(31)
#define LEAF1_EDX_HTT BIT32(28)
#define LEAF7_EBX_SGX BIT32(2)
#define LEAF7_EBX_INVPCID BIT32(10)
#define LEAF7_EBX_MPX BIT32(14)
#define LEAF7_EBX_PT BIT32(25)
#define LEAF7_ECX_OSPKE BIT32(4)
#define LEAF7_ECX_SGX_LC BIT32(30)
#define LEAF7_EDX_AMX (BIT32(22) | BIT32(24) | BIT32(25)) /* BF16, TILE, INT8 */
#define LEAF7_1_EAX_AMX_FP16 BIT32(21)
#define LEAF7_1_EDX_AMX_COMPLEX BIT32(8)
#define XCR0_MPX (BIT32(3) | BIT32(4))
#define XCR0_AMX (BIT32(17) | BIT32(18)) /* XTILECFG, XTILEDATA: neither without the other */
#define XSAVE_LEGACY_SIZE 576            /* x87, SSE and the header */
#define EXT1_ECX_CMP_LEGACY BIT32(1)
#define EXT1_ECX_SVM BIT32(2)
#define EXT1_ECX_SKINIT BIT32(12)
#define EXT1_ECX_TOPOEXT BIT32(22)

enum { EAX, EBX, ECX, EDX };

/* When something is hidden. */
enum {
    WITH_HOST = 1, /* from cpu host */
    WITH_MAX = 2,  /* from cpu max */
    ALWAYS = WITH_HOST | WITH_MAX,
    WITHOUT_AMX = 4, /* where its state cannot be had */
};

/* Bits that the guest does not see. */
static const struct {
    uint32_t leaf, index;
    uint8_t reg;
    uint8_t when;
    uint32_t bits;
} cpuid_hidden[] = {
    /* Set by the guest's own control registers: KVM shows them when they are. */
    {1, 0, ECX, ALWAYS, LEAF1_ECX_OSXSAVE},
    {7, 0, ECX, ALWAYS, LEAF7_ECX_OSPKE},
    /* Enclaves want memory of a kind that the machine does not have. */
    {7, 0, EBX, ALWAYS, LEAF7_EBX_SGX},
    {7, 0, ECX, ALWAYS, LEAF7_ECX_SGX_LC},
    /* Nested virtualization. */
    {1, 0, ECX, WITH_HOST, LEAF1_ECX_VMX},
    {0x80000001, 0, ECX, WITH_HOST, EXT1_ECX_SVM | EXT1_ECX_SKINIT},
    /* Gone from Linux and compilers; processor trace is the host's. */
    {7, 0, EBX, WITH_HOST, LEAF7_EBX_MPX | LEAF7_EBX_PT},
    {0xd, 0, EAX, WITH_HOST, XCR0_MPX},
    /* KVM gives tiles to processes that have asked Linux for them (Documentation/arch/x86/xstate.rst); pipit does not.
     * Their instructions it lists for all, and before Linux 6.4 half of their state, which no guest can switch on. */
    {7, 0, EDX, WITHOUT_AMX, LEAF7_EDX_AMX},
    {7, 1, EAX, WITHOUT_AMX, LEAF7_1_EAX_AMX_FP16},
    {7, 1, EDX, WITHOUT_AMX, LEAF7_1_EDX_AMX_COMPLEX},
    {0xd, 0, EAX, WITHOUT_AMX, XCR0_AMX},
};

/* Leaves that read as zeroes: the parts of features that are hidden, and topologies that are the host's. */
static const struct {
    uint32_t leaf;
    uint8_t when;
} cpuid_cleared[] = {
    {0x12, ALWAYS},          /* SGX */
    {0x80000026, ALWAYS},    /* topology with several kinds of cores */
    {0x8000001f, ALWAYS},    /* memory encryption: a guest that finds it reads MSRs that only such guests have */
    {0x14, WITH_HOST},       /* processor trace */
    {0x8000000a, WITH_HOST}, /* SVM */
    {0x1d, WITHOUT_AMX},     /* tiles */
    {0x1e, WITHOUT_AMX},     /* their multiplication */
};

struct x86_cpuid *x86_cpuid_find(struct x86_cpuid *e, unsigned n, uint32_t leaf, uint32_t index)
{
    for (unsigned i = 0; i < n; i++)
        if (e[i].leaf == leaf && (!e[i].indexed || e[i].index == index))
            return &e[i];
    return NULL;
}

static uint32_t *cpuid_reg(struct x86_cpuid *c, unsigned reg)
{
    switch (reg) {
    case EAX: return &c->eax;
    case EBX: return &c->ebx;
    case ECX: return &c->ecx;
    default: return &c->edx;
    }
}

static void cpuid_zero(struct x86_cpuid *c)
{
    c->eax = c->ebx = c->ecx = c->edx = 0;
}

static bool cpuid_is_amd(struct x86_cpuid *e, unsigned n)
{
    const struct x86_cpuid *c = x86_cpuid_find(e, n, 0, 0);

    /* "AuthenticAMD", "HygonGenuine" */
    return c && (c->ebx == 0x68747541 || c->ebx == 0x6f677948);
}

/* Bits of an APIC ID that number `ncpus` cores. */
static unsigned cpuid_id_bits(unsigned ncpus)
{
    unsigned bits = 0;

    while ((1u << bits) < ncpus)
        bits++;
    return bits;
}

static unsigned cpuid_when(struct x86_cpuid *e, unsigned n, bool max)
{
    const struct x86_cpuid *xcr0 = x86_cpuid_find(e, n, 0xd, 0);
    bool amx = xcr0 && (xcr0->eax & XCR0_AMX) == XCR0_AMX;

    return (max ? WITH_MAX : WITH_HOST) | (amx ? 0 : WITHOUT_AMX);
}

static void cpuid_hide(struct x86_cpuid *e, unsigned n, unsigned when)
{
    for (unsigned i = 0; i < ARRAY_SIZE(cpuid_hidden); i++) {
        struct x86_cpuid *c = x86_cpuid_find(e, n, cpuid_hidden[i].leaf, cpuid_hidden[i].index);

        if (c && (cpuid_hidden[i].when & when))
            *cpuid_reg(c, cpuid_hidden[i].reg) &= ~cpuid_hidden[i].bits;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cpuid_cleared); i++)
        for (unsigned k = 0; k < n && (cpuid_cleared[i].when & when); k++)
            if (e[k].leaf == cpuid_cleared[i].leaf)
                cpuid_zero(&e[k]);
}

/* Leaf 0xd when components have gone from XCR0: their sub-leaves, and how large the area is with all that are left.
 * How large it is with those that the guest has enabled, KVM computes. */
static void cpuid_shrink_xsave(struct x86_cpuid *e, unsigned n, struct x86_cpuid *xcr0)
{
    const struct x86_cpuid *xss = x86_cpuid_find(e, n, 0xd, 1);
    uint32_t area = XSAVE_LEGACY_SIZE;

    for (unsigned i = 0; i < n; i++) {
        if (e[i].leaf != 0xd || e[i].index < 2 || e[i].index > 31)
            continue;
        if (xcr0->eax & BIT32(e[i].index))
            area = MAX(area, e[i].ebx + e[i].eax);
        else if (!xss || !(xss->ecx & BIT32(e[i].index)))
            cpuid_zero(&e[i]);
    }
    xcr0->ecx = area;
}

/* What is of no use without something else that is not there. */
static void cpuid_settle(struct x86_cpuid *e, unsigned n)
{
    struct x86_cpuid *one = x86_cpuid_find(e, n, 1, 0), *seven = x86_cpuid_find(e, n, 7, 0);

    if (one && seven && !(one->ecx & LEAF1_ECX_PCID))
        seven->ebx &= ~LEAF7_EBX_INVPCID;
    for (unsigned k = 0; k < n && one && !(one->ecx & LEAF1_ECX_XSAVE); k++)
        if (e[k].leaf == 0xd)
            cpuid_zero(&e[k]);
}

static void cpuid_leaf_1(struct x86_cpuid *c, const struct x86_cpuid_config *cfg)
{
    c->ecx |= LEAF1_ECX_HYPERVISOR | (cfg->tsc_deadline ? LEAF1_ECX_TSC_DEADLINE : 0);
    c->ebx = (c->ebx & 0xffff) | MIN(cfg->ncpus, 255u) << 16;
    if (cfg->ncpus > 1)
        c->edx |= LEAF1_EDX_HTT;
    else
        c->edx &= ~LEAF1_EDX_HTT;
}

/* Leaf 4 and its AMD equivalent: the first two levels are a core's own, what lies behind them is the package's. */
static void cpuid_cache(struct x86_cpuid *c, unsigned share, unsigned cores)
{
    unsigned level = bits32(c->eax, 7, 5);

    if (bits32(c->eax, 4, 0) == 0) /* no cache */
        return;
    c->eax &= 0x3fff;
    if (level > 2)
        c->eax |= MIN(share, 0xfffu) << 14;
    c->eax |= MIN(cores, 0x3fu) << 26;
}

static void cpuid_caches(struct x86_cpuid *e, unsigned n, const struct x86_cpuid_config *cfg)
{
    unsigned ids = (1u << cpuid_id_bits(cfg->ncpus)) - 1;

    for (unsigned i = 0; i < n; i++) {
        if (e[i].leaf == 4)
            cpuid_cache(&e[i], ids, ids);
        else if (e[i].leaf == 0x8000001d)
            cpuid_cache(&e[i], cfg->ncpus - 1, 0);
    }
}

/* Leaves 0xb and 0x1f: a level of threads, of which a core has one, and a level of cores. */
static int cpuid_add_topology(struct x86_cpuid *e, unsigned n, unsigned cap, uint32_t leaf,
                              const struct x86_cpuid_config *cfg)
{
    enum { LEVEL_NONE, LEVEL_THREAD, LEVEL_CORE };

    if (cap - n < 3)
        return -ENOSPC;
    e[n++] =
        (struct x86_cpuid){.leaf = leaf, .index = 0, .indexed = true, .eax = 0, .ebx = 1, .ecx = LEVEL_THREAD << 8};
    e[n++] = (struct x86_cpuid){.leaf = leaf,
                                .index = 1,
                                .indexed = true,
                                .eax = cpuid_id_bits(cfg->ncpus),
                                .ebx = cfg->ncpus,
                                .ecx = LEVEL_CORE << 8 | 1};
    e[n++] = (struct x86_cpuid){.leaf = leaf, .index = 2, .indexed = true, .ecx = LEVEL_NONE << 8 | 2};
    return (int)n;
}

static int cpuid_topology(struct x86_cpuid *e, unsigned n, unsigned cap, const struct x86_cpuid_config *cfg)
{
    const struct x86_cpuid *zero = x86_cpuid_find(e, n, 0, 0);
    uint32_t most = zero ? zero->eax : 0;
    unsigned kept = 0;
    int r;

    for (unsigned i = 0; i < n; i++)
        if (e[i].leaf != 0xb && e[i].leaf != 0x1f)
            e[kept++] = e[i];
    r = (int)kept;
    if (most >= 0xb)
        r = cpuid_add_topology(e, (unsigned)r, cap, 0xb, cfg);
    if (most >= 0x1f && r >= 0)
        r = cpuid_add_topology(e, (unsigned)r, cap, 0x1f, cfg);
    return r;
}

static void cpuid_amd_topology(struct x86_cpuid *e, unsigned n, const struct x86_cpuid_config *cfg)
{
    struct x86_cpuid *c = x86_cpuid_find(e, n, 0x80000001, 0);

    if (c)
        c->ecx = (c->ecx & ~EXT1_ECX_CMP_LEGACY) | (cfg->ncpus > 1 ? EXT1_ECX_CMP_LEGACY : 0);
    c = x86_cpuid_find(e, n, 0x80000008, 0);
    if (c)
        c->ecx = (c->ecx & ~UINT32_C(0xf0ff)) | cpuid_id_bits(cfg->ncpus) << 12 | MIN(cfg->ncpus - 1, 255u);
    c = x86_cpuid_find(e, n, 0x8000001e, 0);
    if (c)
        cpuid_zero(c);
}

int x86_cpuid_build(struct x86_cpuid *e, unsigned n, unsigned cap, const struct x86_cpuid_config *cfg)
{
    struct x86_cpuid *one = x86_cpuid_find(e, n, 1, 0), *xcr0 = x86_cpuid_find(e, n, 0xd, 0);
    uint32_t components = xcr0 ? xcr0->eax : 0;
    bool amd = cpuid_is_amd(e, n);

    cpuid_hide(e, n, cpuid_when(e, n, cfg->max));
    if (xcr0 && xcr0->eax != components)
        cpuid_shrink_xsave(e, n, xcr0);
    cpuid_settle(e, n);
    if (one)
        cpuid_leaf_1(one, cfg);
    cpuid_caches(e, n, cfg);
    if (amd)
        cpuid_amd_topology(e, n, cfg);
    return cpuid_topology(e, n, cap, cfg);
}

void x86_cpuid_set_cpu(struct x86_cpuid *e, unsigned n, unsigned cpu)
{
    const struct x86_cpuid *ext = x86_cpuid_find(e, n, 0x80000001, 0);
    bool topoext = ext && (ext->ecx & EXT1_ECX_TOPOEXT) && cpuid_is_amd(e, n);

    for (unsigned i = 0; i < n; i++) {
        struct x86_cpuid *c = &e[i];

        switch (c->leaf) {
        case 1: c->ebx = (c->ebx & 0xffffff) | cpu << 24; break;
        case 0xb:
        case 0x1f: c->edx = cpu; break;
        case 0x8000001e:
            if (topoext) { /* APIC ID; core; node 0 of 1 */
                c->eax = cpu;
                c->ebx = cpu & 0xff;
            }
            break;
        default: break;
        }
    }
}
