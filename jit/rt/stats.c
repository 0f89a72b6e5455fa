/* Counts and times of a machine's vCPUs (jit.h). Who asks for none pays a test where generated code comes back; what
 * generated code calls is counted by other functions in the place of its own. */
#include <errno.h>

#include "jit/a64/decode.h"
#include "jit/rt/rt.h"

_Static_assert(A64_ROW_COUNT <= JIT_STATS_ROWS, "rows");
_Static_assert(JIT_EXIT_FAULT + 1 == JIT_STATS_EXITS, "exits");
_Static_assert(JIT_BLOCK_MAX_INSNS < 1 << JIT_STATS_SIZES, "sizes");

static uint32_t jit_stats_mem(struct jit_vcpu *v, uint64_t va, uint32_t info)
{
    enum jit_phase was = jit_phase(v, JIT_PHASE_HELPER);
    uint32_t leave = jit_helper_mem(v, va, info);

    v->stats->calls[JIT_CALL_MEM]++;
    jit_phase(v, was);
    return leave;
}

static uint32_t jit_stats_interp(struct jit_vcpu *v, uint32_t insn)
{
    enum jit_phase was = jit_phase(v, JIT_PHASE_HELPER);
    uint32_t leave = jit_helper_interp(v, insn);

    v->stats->calls[JIT_CALL_INTERP]++;
    v->stats->rows[a64_decode(insn)]++;
    jit_phase(v, was);
    return leave;
}

int jit_stats_begin(struct jit_vcpu *v)
{
    v->stats = jit_host_map(sizeof(*v->stats));
    if (!v->stats)
        return -ENOMEM;
    v->stats->phase = JIT_PHASE_RUNTIME;
    v->helper[JIT_HELPER_MEM] = (void *)(uintptr_t)jit_stats_mem;
    v->helper[JIT_HELPER_INTERP] = (void *)(uintptr_t)jit_stats_interp;
    return 0;
}

const struct jit_stats *jit_vcpu_stats(const struct arm64_cpu *c)
{
    return container_of(c, struct jit_vcpu, cpu)->stats;
}

const char *jit_row_name(unsigned row)
{
    return row < A64_ROW_COUNT ? a64_rows[row].name : NULL;
}
