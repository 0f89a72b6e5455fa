/*
 * PSCI 1.1 (Arm DEN0022) and the part of the SMC Calling Convention (DEN0028) that finds it.
 *
 * A vCPU is OFF, ON_PENDING while another one's CPU_ON prepares it, ON, or STOPPING: it has called CPU_OFF but its
 * thread has not parked yet, so nobody else may touch its registers. `lock` guards the states; the mutex also orders
 * the new register values before the started thread's first look at psci_cpu_is_on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "arch/arm64/internal.h"
#include "jit/ops.h"

enum power { OFF, ON_PENDING, ON, STOPPING };

struct psci {
    pthread_mutex_t lock;
    struct psci_ops ops;
    unsigned ncpus;
    struct arm64_cpu **cpus;
    enum power state[];
};

/* Function identifiers, without the bit that selects the 64-bit convention. */
#define FN_64 BIT32(30)
#define FN_SMCCC_VERSION 0x80000000u
#define FN_SMCCC_ARCH_FEATURES 0x80000001u
#define FN_PSCI_VERSION 0x84000000u
#define FN_CPU_SUSPEND 0x84000001u
#define FN_CPU_OFF 0x84000002u
#define FN_CPU_ON 0x84000003u
#define FN_AFFINITY_INFO 0x84000004u
#define FN_MIGRATE_INFO_TYPE 0x84000006u
#define FN_SYSTEM_OFF 0x84000008u
#define FN_SYSTEM_RESET 0x84000009u
#define FN_PSCI_FEATURES 0x8400000au
#define FN_SYSTEM_RESET2 0x84000012u

#define SUCCESS 0
#define NOT_SUPPORTED (-1)
#define INVALID_PARAMETERS (-2)
#define ALREADY_ON (-4)
#define ERR_ON_PENDING (-5)
#define INVALID_ADDRESS (-9)

#define PSCI_VERSION_1_1 0x10001
#define SMCCC_VERSION_1_1 0x10001
#define MIGRATE_NOT_NEEDED 2 /* there is no Trusted OS */
#define AFFINITY_ON 0
#define AFFINITY_OFF 1
#define AFFINITY_ON_PENDING 2

#define MPIDR_AFF UINT64_C(0xff00ffffff)

/* The vCPU with this affinity; ncpus: none, or bits are set that an affinity has not. */
static unsigned find_cpu(const struct psci *p, uint64_t mpidr)
{
    unsigned i = 0;

    while (i < p->ncpus && (p->cpus[i]->mpidr & MPIDR_AFF) != mpidr)
        i++;
    return i;
}

static int64_t cpu_on(struct psci *p, uint64_t mpidr, uint64_t entry, uint64_t context)
{
    unsigned i = find_cpu(p, mpidr);
    int64_t ret = SUCCESS;

    if (i == p->ncpus)
        return INVALID_PARAMETERS;
    if (entry & 3)
        return INVALID_ADDRESS;
    pthread_mutex_lock(&p->lock);
    switch (p->state[i]) {
    case OFF: p->state[i] = ON_PENDING; break;
    case ON_PENDING: ret = ERR_ON_PENDING; break;
    default: ret = ALREADY_ON; break;
    }
    pthread_mutex_unlock(&p->lock);
    if (ret)
        return ret;

    struct arm64_cpu *c = p->cpus[i];
    arm64_cpu_reset(c);
    c->pc = entry;
    c->x[0] = context;
    arm64_hook_context(c);
    pthread_mutex_lock(&p->lock);
    p->state[i] = ON;
    pthread_mutex_unlock(&p->lock);
    p->ops.cpu_on(p->ops.opaque, i);
    return SUCCESS;
}

static void cpu_off(struct psci *p, struct arm64_cpu *c)
{
    pthread_mutex_lock(&p->lock);
    p->state[c->index] = STOPPING;
    pthread_mutex_unlock(&p->lock);
}

/* AFFINITY_INFO at a level: on where any vCPU of that affinity is. */
static int64_t affinity_info(struct psci *p, uint64_t target, uint64_t level)
{
    static const uint64_t masks[4] = {UINT64_C(0xff00ffffff), UINT64_C(0xff00ffff00), UINT64_C(0xff00ff0000),
                                      UINT64_C(0xff00000000)};
    int64_t ret = INVALID_PARAMETERS;

    if (level > 3 || (target & ~MPIDR_AFF))
        return INVALID_PARAMETERS;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->ncpus; i++) {
        if ((p->cpus[i]->mpidr ^ target) & masks[level])
            continue;
        int64_t state = p->state[i] == OFF          ? AFFINITY_OFF
                        : p->state[i] == ON_PENDING ? AFFINITY_ON_PENDING
                                                    : AFFINITY_ON;
        if (ret == INVALID_PARAMETERS || state == AFFINITY_ON || (state == AFFINITY_ON_PENDING && ret == AFFINITY_OFF))
            ret = state;
    }
    pthread_mutex_unlock(&p->lock);
    return ret;
}

static int64_t features(uint32_t fn)
{
    switch (fn & ~FN_64) {
    case FN_CPU_SUSPEND:
    case FN_CPU_ON:
    case FN_AFFINITY_INFO:
    case FN_SYSTEM_RESET2: return SUCCESS;
    default: break;
    }
    switch (fn) {
    case FN_SMCCC_VERSION:
    case FN_PSCI_VERSION:
    case FN_CPU_OFF:
    case FN_MIGRATE_INFO_TYPE:
    case FN_SYSTEM_OFF:
    case FN_SYSTEM_RESET:
    case FN_PSCI_FEATURES: return SUCCESS;
    default: return NOT_SUPPORTED;
    }
}

/* Any power state is entered as standby, which is what a lighter state than asked for looks like (5.4.2). */
static int64_t cpu_suspend(struct arm64_cpu *c)
{
    if (c->ops && c->ops->hint)
        c->ops->hint(c, A64_HINT_WFI);
    return SUCCESS;
}

/* SYSTEM_RESET2: type 0 is an architectural warm reset, types from bit 31 on are a vendor's. */
static int64_t system_reset2(struct psci *p, struct arm64_cpu *c, uint64_t type)
{
    if (type != 0)
        return type & BIT64(31) ? NOT_SUPPORTED : INVALID_PARAMETERS;
    p->ops.system_reset(p->ops.opaque, c->index);
    return SUCCESS;
}

void psci_call(struct psci *p, struct arm64_cpu *c)
{
    uint32_t fn = (uint32_t)c->x[0];
    uint64_t mask = fn & FN_64 ? UINT64_MAX : UINT32_MAX;
    uint64_t a1 = c->x[1] & mask, a2 = c->x[2] & mask, a3 = c->x[3] & mask;
    int64_t ret = NOT_SUPPORTED;

    switch (fn) {
    case FN_SMCCC_VERSION: ret = SMCCC_VERSION_1_1; break;
    case FN_SMCCC_ARCH_FEATURES:
        ret = (uint32_t)a1 == FN_SMCCC_VERSION || (uint32_t)a1 == FN_SMCCC_ARCH_FEATURES ? SUCCESS : NOT_SUPPORTED;
        break;
    case FN_PSCI_VERSION: ret = PSCI_VERSION_1_1; break;
    case FN_CPU_SUSPEND:
    case FN_CPU_SUSPEND | FN_64: ret = cpu_suspend(c); break;
    case FN_CPU_OFF: cpu_off(p, c); goto leave;
    case FN_CPU_ON:
    case FN_CPU_ON | FN_64: ret = cpu_on(p, a1, a2, a3); break;
    case FN_AFFINITY_INFO:
    case FN_AFFINITY_INFO | FN_64: ret = affinity_info(p, a1, a2); break;
    case FN_MIGRATE_INFO_TYPE: ret = MIGRATE_NOT_NEEDED; break;
    case FN_SYSTEM_OFF: p->ops.system_off(p->ops.opaque, c->index); goto leave;
    case FN_SYSTEM_RESET: p->ops.system_reset(p->ops.opaque, c->index); goto leave;
    case FN_PSCI_FEATURES: ret = features((uint32_t)a1); break;
    case FN_SYSTEM_RESET2:
    case FN_SYSTEM_RESET2 | FN_64:
        ret = system_reset2(p, c, (uint32_t)a1);
        if (ret == SUCCESS)
            goto leave;
        break;
    default: break;
    }
    c->x[0] = (uint64_t)ret;
    return;

leave:
    /* These do not return to the caller: its next instructions may be a panic. */
    atomic_fetch_or(&c->exit_request, ARM64_EXIT_KICK);
}

bool psci_cpu_is_on(struct psci *p, unsigned index)
{
    pthread_mutex_lock(&p->lock);
    bool on = p->state[index] == ON;
    pthread_mutex_unlock(&p->lock);
    return on;
}

void psci_cpu_parked(struct psci *p, unsigned index)
{
    pthread_mutex_lock(&p->lock);
    if (p->state[index] == STOPPING)
        p->state[index] = OFF;
    pthread_mutex_unlock(&p->lock);
}

void psci_reset(struct psci *p)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->ncpus; i++)
        p->state[i] = i == 0 ? ON : OFF;
    pthread_mutex_unlock(&p->lock);
}

#define SECTION "psci"
#define SECTION_VERSION 1

void psci_save(struct psci *p, struct state_writer *w)
{
    pthread_mutex_lock(&p->lock);
    state_begin(w, SECTION, SECTION_VERSION);
    state_put_u32(w, p->ncpus);
    /* One that has called CPU_OFF has no more to say. */
    for (unsigned i = 0; i < p->ncpus; i++)
        state_put_u8(w, p->state[i] == ON);
    state_end(w);
    pthread_mutex_unlock(&p->lock);
}

int psci_load(struct psci *p, struct state_reader *r)
{
    uint32_t version;
    int ret = state_enter(r, SECTION, &version);

    if (ret)
        return ret;
    if (version != SECTION_VERSION || state_get_u32(r) != p->ncpus)
        return -EINVAL;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->ncpus; i++)
        p->state[i] = state_get_u8(r) ? ON : OFF;
    pthread_mutex_unlock(&p->lock);
    return state_leave(r);
}

int psci_create(struct psci **out, struct arm64_cpu **cpus, unsigned ncpus, const struct psci_ops *ops)
{
    struct psci *p = calloc(1, sizeof(*p) + ncpus * sizeof(p->state[0]));

    if (!p)
        return -ENOMEM;
    p->cpus = calloc(ncpus, sizeof(*p->cpus));
    if (!p->cpus) {
        free(p);
        return -ENOMEM;
    }
    memcpy(p->cpus, cpus, ncpus * sizeof(*cpus));
    p->ncpus = ncpus;
    p->ops = *ops;
    pthread_mutex_init(&p->lock, NULL);
    for (unsigned i = 0; i < ncpus; i++)
        cpus[i]->psci = p;
    psci_reset(p);
    *out = p;
    return 0;
}

void psci_destroy(struct psci *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->ncpus; i++)
        p->cpus[i]->psci = NULL;
    pthread_mutex_destroy(&p->lock);
    free(p->cpus);
    free(p);
}
