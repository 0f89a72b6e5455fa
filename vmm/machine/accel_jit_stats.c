/* --jit-stats: what the JIT's vCPUs did (jit/jit.h), in sentences. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/machine/accel_jit_int.h"

#define ROWS_SHOWN 8

/* Where a vCPU's time went; seconds by how far the time-stamp counter has come since the JIT was made. */
static void report_time(unsigned cpu, const struct jit_stats *s, double second)
{
    double all = 0, part[JIT_PHASES];

    for (unsigned i = 0; i < JIT_PHASES; i++)
        all += (double)s->ticks[i];
    for (unsigned i = 0; i < JIT_PHASES; i++)
        part[i] = all > 0 ? 100 * (double)s->ticks[i] / all : 0;
    log_info("jit",
             "vCPU %u: %.3f s: %.1f%% in generated code, %.1f%% in helpers and the interpreter, %.1f%% translating, "
             "%.1f%% waiting, %.1f%% in the rest of the runtime",
             cpu, all / second, part[JIT_PHASE_CODE], part[JIT_PHASE_HELPER], part[JIT_PHASE_TRANSLATE],
             part[JIT_PHASE_WAIT], part[JIT_PHASE_RUNTIME]);
}

/* Adds b's numbers to a's. */
static void stats_add(struct jit_stats *a, const struct jit_stats *b)
{
    for (unsigned i = 0; i < JIT_STATS_EXITS; i++)
        a->exits[i] += b->exits[i];
    for (unsigned i = 0; i < JIT_STATS_SIZES; i++)
        a->size[i] += b->size[i];
    for (unsigned i = 0; i < JIT_CALLS; i++)
        a->calls[i] += b->calls[i];
    for (unsigned i = 0; i < JIT_STATS_ROWS; i++)
        a->rows[i] += b->rows[i];
    a->found += b->found;
    a->made += b->made;
}

/* The instructions that most of the interpreter's calls were for. */
static void report_rows(struct jit_stats *s)
{
    char text[ROWS_SHOWN * 48] = "";
    size_t n = 0;

    for (unsigned k = 0; k < ROWS_SHOWN; k++) {
        unsigned most = 0;

        for (unsigned i = 1; i < JIT_STATS_ROWS; i++)
            if (s->rows[i] > s->rows[most])
                most = i;
        if (!s->rows[most] || n >= sizeof(text))
            break;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %" PRIu64, k ? ", " : "", jit_row_name(most),
                              s->rows[most]);
        s->rows[most] = 0;
    }
    if (n)
        log_info("jit", "interpreted most: %s", text);
}

void accel_jit_report_stats(const struct accel_jit *a)
{
    double second = (double)(__builtin_ia32_rdtsc() - a->ticks_began) * 1e9 / (double)(accel_jit_now() - a->began);
    struct jit_stats *sum = calloc(1, sizeof(*sum));
    struct jit_counts n;

    if (!sum)
        return;
    for (unsigned i = 0; i < a->cfg.ncpus; i++) {
        const struct jit_stats *s = jit_vcpu_stats(a->vcpu[i]->cpu);

        report_time(i, s, second);
        stats_add(sum, s);
    }
    jit_counts(a->jit, &n);
    log_info("jit",
             "exits of generated code: %" PRIu64 " look-ups, %" PRIu64 " links, %" PRIu64 " polls, %" PRIu64
             " traps, %" PRIu64 " faults",
             sum->exits[0], sum->exits[1], sum->exits[2], sum->exits[3], sum->exits[4]);
    log_info("jit",
             "calls of generated code: %" PRIu64 " slow accesses to memory, %" PRIu64 " interpreted instructions",
             sum->calls[JIT_CALL_MEM], sum->calls[JIT_CALL_INTERP]);
    report_rows(sum);
    log_info("jit",
             "blocks looked up: %" PRIu64 " found, %" PRIu64 " translated, %.1f instructions and %.0f bytes each",
             sum->found, sum->made, n.blocks ? (double)n.insns / (double)n.blocks : 0.,
             n.blocks ? (double)n.bytes / (double)n.blocks : 0.);
    log_info("jit",
             "their instructions: 1: %" PRIu64 ", 2-3: %" PRIu64 ", 4-7: %" PRIu64 ", 8-15: %" PRIu64
             ", 16-31: %" PRIu64 ", 32-63: %" PRIu64 ", 64: %" PRIu64,
             sum->size[0], sum->size[1], sum->size[2], sum->size[3], sum->size[4], sum->size[5], sum->size[6]);
    free(sum);
}
