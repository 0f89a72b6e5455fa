/*
 * Tier 1 against user-mode emulation, every row of EL0, each case run by the JIT as a machine would run it.
 *
 * Only the pages that windows lie in are mapped, so an access that leaves the window at the area's start or end faults
 * here and there alike. Elsewhere in those pages it would go unnoticed, and is looked for: those bytes have a pattern
 * that must outlast each case, and reading it instead of the window's random contents makes the case differ.
 *
 * Accesses must also go the way that they go in machines: inline, with nothing but each page's first one in the slow
 * path. Only the window across two pages is there to take it.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "jit/rt/rt.h"
#include "tests/lib/diff.h"
#include "tests/lib/jit_env.h"

#define PAGE 4096u
#define CODE_PAGES 64u /* more than an image has */
#define RAM_SIZE ((CODE_PAGES + 4) * PAGE)
#define HALF (DIFF_MEM_SIZE / 2)
#define PATTERN 0xa5
#define CASE_LIMIT 10u /* seconds, for a case that came to be a loop */

/* The pages of the windows, in RAM behind the code. No two neighbours are neighbours in RAM too. */
#define ACROSS_PAGE (DIFF_MEM_ACROSS & ~UINT64_C(0xfff))
static const uint64_t data_pages[] = {ACROSS_PAGE + PAGE, DIFF_MEM_LOW, ACROSS_PAGE, DIFF_MEM_HIGH & ~UINT64_C(0xfff)};

static struct jit_env env;
static struct jit *jit;
static struct arm64_cpu *cpu;
static unsigned slow_within, slow_across, runs;

static bool map(const struct jit_env *e, uint64_t va, struct jit_xlat *x)
{
    (void)e;
    if (va - DIFF_CODE < CODE_PAGES * PAGE) {
        x->pa = va - DIFF_CODE;
        x->perm = ARM64_PERM_R0 | ARM64_PERM_X0;
        return true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(data_pages); i++) {
        if (va - data_pages[i] < PAGE) {
            x->pa = (CODE_PAGES + i) * PAGE + (va & (PAGE - 1));
            x->perm = ARM64_PERM_R0 | ARM64_PERM_W0;
            return true;
        }
    }
    return false;
}

/* ---- registers of EL0 ---- */

static int op_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    (void)rt;
    jit_fpsr_sync(c);
    if (diff_sysreg_read(c, enc, val))
        return 0;
    jit_env_stop(c, JIT_ENV_SYSREG, enc, 0, 0);
    return A64_TRAPPED;
}

static int op_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)rt;
    jit_fpsr_sync(c);
    if (diff_sysreg_write(c, enc, val)) {
        jit_fpcr_changed(c);
        return 0;
    }
    jit_env_stop(c, JIT_ENV_SYSREG, enc, 0, 0);
    return A64_TRAPPED;
}

/* ---- what way accesses go ---- */

static uint32_t slow_access(struct jit_vcpu *v, uint64_t va, uint32_t info)
{
    if (va - ACROSS_PAGE < 2 * PAGE)
        slow_across++;
    else if (va - DIFF_AREA < DIFF_AREA_SIZE)
        slow_within++;
    return jit_helper_mem(v, va, info);
}

/* ---- cases ---- */

static void new_code(const uint8_t *code, size_t size)
{
    memcpy(env.ram, code, MIN(size, CODE_PAGES * PAGE));
    jit_invalidate(jit, env.ram, CODE_PAGES * PAGE);
}

static void copy_registers(struct arm64_cpu *to, const struct arm64_cpu *from)
{
    memcpy(to->x, from->x, sizeof(to->x));
    memcpy(to->v, from->v, sizeof(to->v));
    to->pc = from->pc;
    to->flags = from->flags;
    to->fpcr = from->fpcr;
    to->fpsr = from->fpsr;
}

/* The signal that Linux would deliver; none for a case that nothing ended. */
static uint32_t signal_of(const struct jit_env_event *event)
{
    switch (event->kind) {
    case JIT_ENV_NONE: return 0;
    case JIT_ENV_ABORT: return DIFF_SIG_SEGV;
    case JIT_ENV_ALIGN:
    case JIT_ENV_PC_ALIGN:
    case JIT_ENV_EXCEPTION: return DIFF_SIG_BUS; /* EXCEPTION: SP alignment, the only one here */
    case JIT_ENV_CALL: return event->a == A64_CALL_BRK ? DIFF_SIG_TRAP : DIFF_SIG_ILL;
    default: return DIFF_SIG_ILL;
    }
}

/* Each half of the window, which lies in one page, in RAM. */
static uint8_t *half_in_ram(uint64_t window, unsigned half)
{
    struct jit_xlat x;

    return map(&env, window + half * HALF, &x) ? env.ram + x.pa : NULL;
}

/* Is the pattern whole, around a window's place that holds the pattern again? Mends it. */
static bool pattern_whole(void)
{
    static uint8_t want[sizeof(data_pages) / sizeof(data_pages[0]) * PAGE];
    uint8_t *data = env.ram + CODE_PAGES * PAGE;

    memset(want, PATTERN, sizeof(want));
    if (!memcmp(data, want, sizeof(want)))
        return true;
    memcpy(data, want, sizeof(want));
    return false;
}

static void on_alarm(int sig)
{
    (void)sig;
    atomic_fetch_or(&cpu->exit_request, ARM64_EXIT_KICK);
}

static void run(struct diff_env *e)
{
    copy_registers(cpu, &e->cpu);
    cpu->sys.sctlr_el1 = e->cpu.sys.sctlr_el1;
    cpu->model = e->cpu.model;
    jit_fpsr_changed(cpu);
    cpu->ops->clear_excl(cpu);
    memset(&env.event, 0, sizeof(env.event));
    for (unsigned i = 0; i < 2; i++)
        memcpy(half_in_ram(e->window, i), e->mem + i * HALF, HALF);
    alarm(CASE_LIMIT);
    jit_run(cpu);
    alarm(0);
    runs++;
    jit_fpsr_sync(cpu);
    copy_registers(&e->cpu, cpu);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(e->mem + i * HALF, half_in_ram(e->window, i), HALF);
        memset(half_in_ram(e->window, i), PATTERN, HALF);
    }
    diff_stop(e, pattern_whole() ? signal_of(&env.event[0]) : DIFF_SIG_SEGV);
}

/* Each page's entry in the TLB is filled by a slow access; no other access within a page is one. */
static bool report_slow(void)
{
    bool ok = slow_within <= 2;

    printf("accesses in the slow path: %u within a page, %u where the window goes across two\n", slow_within,
           slow_across);
    printf(ok ? "ok   tier1_fast_path\n" : "FAIL tier1_fast_path: see above\n");
    return ok;
}

int main(int argc, char **argv)
{
    static const struct diff_config cfg = {
        .name = "tier1_against_peer",
        .run = run,
        .new_code = new_code,
        .against_peer = true,
        .cases = 300,
    };
    int status;

    if (!jit_env_init(&env, RAM_SIZE, map))
        return 1;
    env.ops.sysreg_read = op_sysreg_read;
    env.ops.sysreg_write = op_sysreg_write;
    pattern_whole();
    jit = jit_env_jit(&env, JIT_TIER1, 0);
    cpu = jit ? jit_env_cpu(&env, jit, 0) : NULL;
    if (!cpu)
        return 1;
    jit_vcpu_of(cpu)->helper[JIT_HELPER_MEM] = (void *)(uintptr_t)slow_access;
    signal(SIGALRM, on_alarm);
    status = diff_main(argc, argv, &cfg);
    if (runs && !report_slow())
        status = 1;
    jit_vcpu_destroy(cpu);
    jit_destroy(jit);
    jit_env_free(&env);
    return status;
}
