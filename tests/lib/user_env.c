/* A process of the guest's, for tests: see user_env.h. */
#include "tests/lib/user_env.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

struct user_env user_env;

static _Thread_local struct user_env_thread *current;

/* ---- host signals ---- */

static void on_signal(int signo, siginfo_t *si, void *uc)
{
    uint64_t *greg = (uint64_t *)(void *)((ucontext_t *)uc)->uc_mcontext.gregs;

    if (current && jit_user_fault(current->cpu, signo, si->si_code, (uint64_t)(uintptr_t)si->si_addr, greg)) {
        atomic_fetch_add(&user_env.signals, 1);
        return;
    }
    /* Not the guest's: end as without a handler, when the instruction is executed again. */
    static const char text[] = "a fault that is not the guest's\n";
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    signal(signo, SIG_DFL);
}

void user_env_init(void)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const size_t size = 65536;
    stack_t ss = {.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                  .ss_size = size};

    if (ss.ss_sp == MAP_FAILED || sigaltstack(&ss, NULL) || sigaction(SIGSEGV, &sa, NULL) ||
        sigaction(SIGBUS, &sa, NULL)) {
        printf("cannot set up signals\n");
        exit(1);
    }
}

/* ---- events ---- */

void user_env_stop(struct arm64_cpu *c, enum user_env_kind kind, uint32_t a, uint32_t b)
{
    current->event = (struct user_env_event){.kind = kind, .a = a, .b = b, .pc = c->pc};
    atomic_fetch_or(&c->exit_request, ARM64_EXIT_KICK);
}

static bool op_executable(void *opaque, uint64_t va)
{
    (void)opaque;
    return !user_env.executable || user_env.executable(va);
}

static bool op_saved(void *opaque, uint64_t va, struct jit_saved_place *out)
{
    (void)opaque;
    return user_env.saved && user_env.saved(va, out);
}

static void op_fault(struct arm64_cpu *c, const struct jit_fault *f)
{
    if (user_env.fault && user_env.fault(c, f))
        return;
    user_env_stop(c, USER_ENV_FAULT, 0, 0);
    current->event.fault = *f;
}

static int op_sysreg_plain(uint32_t enc, unsigned el, bool write)
{
    (void)el;
    (void)write;
    return enc == (3u << 14 | 3u << 11 | 13u << 7 | 2u) ? (int)offsetof(struct arm64_cpu, sys.tpidr_el0) : -1;
}

static bool op_sysreg_const(struct arm64_cpu *c, uint32_t enc, uint64_t *value)
{
    (void)c;
    *value = 4;
    return enc == (3u << 14 | 3u << 11 | 7u); /* DCZID_EL0 */
}

static int op_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    (void)rt;
    if (op_sysreg_const(c, enc, val))
        return 0;
    if (op_sysreg_plain(enc, 0, false) >= 0) {
        *val = c->sys.tpidr_el0;
        return 0;
    }
    user_env_stop(c, USER_ENV_SYSREG, enc, 0);
    return A64_TRAPPED;
}

/* FPCR and IC IVAU are served as a process has them. */
static int op_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)rt;
    if (op_sysreg_plain(enc, 0, true) >= 0) {
        c->sys.tpidr_el0 = val;
    } else if (enc == (3u << 14 | 3u << 11 | 4u << 7 | 4u << 3)) {
        c->fpcr = (uint32_t)val;
        jit_fpcr_changed(c);
    } else if (enc == (1u << 14 | 3u << 11 | 7u << 7 | 5u << 3 | 1u)) {
        jit_user_invalidate(current->jit, val & ~UINT64_C(63), 64);
    } else {
        user_env_stop(c, USER_ENV_SYSREG, enc, 1);
        return A64_TRAPPED;
    }
    return 0;
}

static int op_pstate(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    user_env_stop(c, USER_ENV_PSTATE, op1 << 8 | op2, crm);
    return A64_TRAPPED;
}

static void op_undef(struct arm64_cpu *c)
{
    user_env_stop(c, USER_ENV_UNDEF, 0, 0);
}

static void op_exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    (void)far;
    user_env_stop(c, USER_ENV_EXCEPTION, ec, iss);
}

static int op_call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm)
{
    if (kind == A64_CALL_SVC && user_env.svc && user_env.svc(c, imm))
        return 0;
    user_env_stop(c, USER_ENV_CALL, kind, imm);
    return A64_TRAPPED;
}

static int op_hint(struct arm64_cpu *c, enum a64_hint h)
{
    return jit_hint(c, h);
}

static int op_fp_access(struct arm64_cpu *c)
{
    (void)c;
    return 0;
}

static struct a64_ops ops = {
    .sysreg_read = op_sysreg_read,
    .sysreg_write = op_sysreg_write,
    .pstate_write = op_pstate,
    .undef = op_undef,
    .exception = op_exception,
    .call = op_call,
    .hint = op_hint,
    .fp_access = op_fp_access,
};

static void op_debug(struct arm64_cpu *c, enum jit_debug why, uint64_t addr)
{
    user_env_stop(c, USER_ENV_DEBUG, why, 0);
    current->event.fault.addr = addr;
}

static const struct jit_user_ops user_ops = {
    .executable = op_executable,
    .fault = op_fault,
    .debug = op_debug,
    .sysreg_plain = op_sysreg_plain,
    .sysreg_const = op_sysreg_const,
    .saved = op_saved,
};

static const struct arm64_model model = {.name = "test", .features = UINT64_MAX & ~BIT64(ARM64_FEAT_LSE2)};

/* ---- threads ---- */

struct jit *user_env_jit(enum jit_tier tier, size_t code_size)
{
    struct jit_user_config cfg = {.tier = tier, .code_size = code_size, .ops = &user_ops};
    struct jit *j;
    struct err e;

    jit_user_fill_ops(&ops);
    if (!jit_user_create(&j, &cfg, &e))
        return j;
    printf("cannot make a JIT: %s\n", e.msg);
    return NULL;
}

struct user_env_thread *user_env_thread(struct jit *j)
{
    struct user_env_thread *t = calloc(1, sizeof(*t));

    if (!t || jit_user_vcpu_create(j, &t->cpu)) {
        free(t);
        return NULL;
    }
    t->jit = j;
    t->cpu->ops = &ops;
    t->cpu->model = &model;
    return t;
}

void user_env_thread_end(struct user_env_thread *t)
{
    jit_vcpu_destroy(t->cpu);
    free(t);
}

void user_env_run(struct user_env_thread *t)
{
    current = t;
    t->event = (struct user_env_event){.kind = USER_ENV_NONE};
    jit_user_run(t->cpu);
    current = NULL;
}
