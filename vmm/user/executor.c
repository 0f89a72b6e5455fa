/* The JIT as user mode's executor, see executor.h. */
#include "vmm/user/executor.h"

#include <errno.h>
#include <linux/mman.h>

#include "jit/user.h"
#include "vmm/user/args.h"
#include "vmm/user/cpu.h"
#include "vmm/user/debug.h"
#include "vmm/user/log_code.h"
#include "vmm/user/options.h"
#include "vmm/user/perf_map.h"
#include "vmm/user/saved.h"
#include "vmm/user/space.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/thread.h"

static struct jit *jit;

static bool executable(void *opaque, uint64_t va)
{
    uint64_t lo, hi;

    (void)opaque;
    return user_space_exec_find(va, &lo, &hi);
}

static void fault(struct arm64_cpu *c, const struct jit_fault *f)
{
    user_cpu_access_fault(c, f);
}

static void debug(struct arm64_cpu *c, enum jit_debug why, uint64_t addr)
{
    const struct user_fault trap = {.sig = ABI_SIGTRAP, .code = ABI_TRAP_HWBKPT, .addr = addr};

    if (why == JIT_DEBUG_POINT)
        user_cpu_fault(c, &trap);
    else
        user_debug_hit(user_self(), why, addr);
}

static bool telling_again; /* in the child of a fork, whose files for perf are its own */

static void made(void *opaque, uint64_t pc, unsigned insns, const void *code, uint32_t size)
{
    (void)opaque;
    if (user_options.perf_map)
        user_perf_map_add(pc, code, size);
    if (user_options.jitdump)
        user_jitdump_add(pc, code, size);
    if (user_options.log_code && !telling_again)
        user_log_code(pc, insns);
}

static void tell_again(void)
{
    if (!user_options.perf_map && !user_options.jitdump)
        return;
    user_perf_map_forked();
    user_jitdump_forked();
    telling_again = true;
    jit_user_tell(jit);
    telling_again = false;
}

static const struct jit_user_ops ops = {
    .executable = executable,
    .fault = fault,
    .debug = debug,
    .sysreg_plain = user_cpu_sysreg_plain,
    .sysreg_const = user_cpu_sysreg_const,
    .saved = user_saved_find,
    .made = made,
};

/* Address space for code; it is used as code is made. Where it is scarce (RLIMIT_AS), less will do: the program is to
 * have as much again, and enough for its first libraries. */
#define CODE_MOST MIB(64)
#define CODE_LEAST MIB(1)
#define PROGRAM_LEAST MIB(4)

static int create(const struct jit_user_config *config, struct err *e)
{
    size_t size = MAX(config->code_size, PROGRAM_LEAST);
    void *room = sys_map(size, SYS_PAGE, PROT_NONE);
    int r;

    if (!room)
        return err_set(e, ENOMEM, "no room for the program: the address space is not enough");
    r = jit_user_create(&jit, config, e);
    sys_unmap(room, size);
    return r;
}

/* Nothing that comes after it can be trusted. */
static void mismatch(void *opaque, struct arm64_cpu *c, const struct jit_mismatch *m)
{
    (void)opaque;
    (void)c;
    sys_die(USER_STATUS_CANNOT_RUN,
            "the block of %u instructions at %016lx is translated wrongly, at %016lx first: %08x %s%s", m->ninsns,
            (unsigned long)m->pc, (unsigned long)(m->pc + m->insn * UINT64_C(4)), m->word, m->name, m->text);
}

int user_executor_init(struct err *e)
{
    struct jit_user_config config = {.tier = user_options.tier, .code_size = CODE_MOST, .ops = &ops};
    int r;

    user_cpu_ops_init();
    while ((r = create(&config, e)) == -ENOMEM && config.code_size / 4 >= CODE_LEAST)
        config.code_size /= 4;
    if (r == 0) {
        jit_lockstep(jit, mismatch, NULL);
        jit_seed(jit, user_options.jit_seed);
    }
    if (r == 0 && (user_options.nochain || user_options.log_exec || user_options.log_cpu))
        jit_trace(jit, user_options.log_exec || user_options.log_cpu ? user_log_entered : NULL, NULL,
                  user_options.nochain);
    return r;
}

int user_executor_thread_create(struct user_thread *t)
{
    return jit_user_vcpu_create(jit, &t->cpu);
}

void user_executor_thread_destroy(struct user_thread *t)
{
    jit_vcpu_destroy(t->cpu);
    t->cpu = NULL;
}

void user_executor_fork_begin(struct user_thread *t)
{
    jit_user_fork_begin(t->cpu);
}

int user_executor_fork_end(struct user_thread *t, bool child)
{
    int r = jit_user_fork_end(t->cpu, child);

    if (child && !r)
        tell_again();
    return r;
}

void user_executor_run(struct user_thread *t)
{
    jit_user_run(t->cpu);
}

void user_executor_step(struct user_thread *t)
{
    jit_user_step_one(t->cpu);
}

void user_executor_invalidate(uint64_t start, uint64_t len)
{
    if (jit)
        jit_user_invalidate(jit, start, len);
}

void user_executor_counts(uint64_t *made, uint64_t *taken)
{
    jit_saved_counts(jit, made, taken);
}

void user_executor_report(void)
{
    struct jit_counts n;
    uint64_t made, taken;

    user_executor_counts(&made, &taken);
    sys_print(2, "pipit-aarch64: blocks: %lu translated, %lu saved ones used\n", made, taken);
    if (user_options.tier == JIT_LOCKSTEP) {
        jit_counts(jit, &n);
        sys_print(2, "pipit-aarch64: lockstep: %lu blocks compared, %lu executed once\n", n.compared, n.once);
    }
}

void user_executor_save(struct jit_saved_writer *w, uint64_t lo, uint64_t hi, uint64_t offset)
{
    jit_saved_add_blocks(w, jit, lo, hi, offset);
}

int user_executor_break(uint64_t pc, unsigned kinds, bool set)
{
    return jit_user_break(jit, pc, kinds, set);
}

unsigned user_executor_break_kinds(uint64_t pc)
{
    return jit_user_break_kinds(jit, pc);
}

int user_executor_watch(uint64_t addr, uint64_t len, unsigned kinds, bool set)
{
    return jit_user_watch(jit, addr, len, kinds, set);
}

void user_executor_debug_end(void)
{
    jit_user_debug_end(jit);
}

void user_executor_step_next(struct user_thread *t, bool step)
{
    jit_user_step_next(t->cpu, step);
}

void user_executor_points(struct user_thread *t, const struct jit_watch *point, unsigned n)
{
    jit_user_points(t->cpu, point, n);
}

void user_executor_undebugged(struct user_thread *t)
{
    jit_user_undebugged(t->cpu);
}

bool user_executor_fault(struct user_thread *t, int sig, int code, uint64_t addr, uint64_t *greg)
{
    return t->cpu && jit_user_fault(t->cpu, sig, code, addr, greg);
}

void user_executor_fp_sync(struct arm64_cpu *c)
{
    jit_fpsr_sync(c);
}

void user_executor_fp_changed(struct arm64_cpu *c)
{
    jit_fpsr_changed(c);
    jit_fpcr_changed(c);
}
