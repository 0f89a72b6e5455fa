/*
 * The interpreter as executor: one instruction after the other. A fetch checks that the guest may execute the page, by
 * the last range found (space.h), and faults as the hardware would.
 */
#include <errno.h>

#include "jit/interp/interp.h"
#include "vmm/user/access.h"
#include "vmm/user/cpu.h"
#include "vmm/user/executor.h"
#include "vmm/user/space.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/thread.h"

void user_executor_init(void)
{
    a64_decode_init();
}

int user_executor_thread_create(struct user_thread *t)
{
    t->cpu = sys_alloc(sizeof(*t->cpu));
    return t->cpu ? 0 : -ENOMEM;
}

void user_executor_thread_destroy(struct user_thread *t)
{
    sys_free(t->cpu);
    t->cpu = NULL;
}

void user_executor_forked(struct user_thread *t)
{
    (void)t;
}

/* Is the page of c->pc executable? Looks again where the last answer may be old. */
static bool may_fetch(struct user_thread *t, uint64_t pc)
{
    uint32_t epoch = atomic_load(&user_space_epoch);

    if (likely(pc - t->exec_lo < t->exec_hi - t->exec_lo && epoch == t->exec_epoch))
        return true;
    t->exec_epoch = epoch;
    if (user_space_exec_find(pc, &t->exec_lo, &t->exec_hi))
        return true;
    t->exec_lo = t->exec_hi = 0;
    return false;
}

static bool fetch(struct user_thread *t, uint32_t *insn)
{
    struct arm64_cpu *c = t->cpu;

    if (unlikely(c->pc & 3)) {
        user_cpu_fault(c, &(struct user_fault){ABI_SIGBUS, ABI_BUS_ADRALN, c->pc, USER_ESR_PC_ALIGN});
        return false;
    }
    if (unlikely(!may_fetch(t, c->pc))) {
        uint32_t word;
        /* Not executable, or not there at all: the access tells which. */
        if (c->pc < USER_TASK_SIZE && !user_get32(c->pc, &word))
            user_cpu_fault(c, &(struct user_fault){ABI_SIGSEGV, ABI_SEGV_ACCERR, c->pc, USER_ESR_FETCH_PERM});
        else
            user_cpu_fault(c, &(struct user_fault){ABI_SIGSEGV, ABI_SEGV_MAPERR, c->pc, USER_ESR_FETCH_MAP});
        return false;
    }
    if (unlikely(user_get32(c->pc, insn))) {
        user_cpu_access_fault(c, c->pc, USER_ACCESS_FETCH);
        return false;
    }
    return true;
}

void user_executor_run(struct user_thread *t)
{
    struct arm64_cpu *c = t->cpu;
    uint32_t insn;

    while (!t->event && !atomic_load_explicit(&c->exit_request, memory_order_relaxed)) {
        if (unlikely(c->pc >> 56))
            c->pc &= BIT64(56) - 1; /* TBI */
        if (fetch(t, &insn))
            a64_interp_step(c, insn);
    }
}

/* Nothing is kept of what was executed. */
void user_executor_invalidate(uint64_t start, uint64_t len)
{
    (void)start;
    (void)len;
}
