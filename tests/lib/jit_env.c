/* The JIT's surroundings in tests: see jit_env.h. */
#include "tests/lib/jit_env.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096u

static struct jit_env *env_of(const struct arm64_cpu *c)
{
    return c->machine;
}

void jit_env_stop(struct arm64_cpu *c, enum jit_env_kind kind, uint32_t a, uint32_t b, uint64_t far)
{
    struct jit_env_event *event = &env_of(c)->event[c->index];

    event->kind = kind;
    event->a = a;
    event->b = b;
    event->far = far;
    event->pc = c->pc;
    atomic_fetch_or(&c->exit_request, ARM64_EXIT_KICK);
}

/* ---- memory ---- */

static int op_translate(struct arm64_cpu *c, uint64_t va, unsigned acc, unsigned el, struct jit_xlat *x)
{
    static const uint8_t right[3][2] = {
        {ARM64_PERM_R0, ARM64_PERM_R1}, {ARM64_PERM_W0, ARM64_PERM_W1}, {ARM64_PERM_X0, ARM64_PERM_X1}};
    const struct jit_env *env = env_of(c);

    *x = (struct jit_xlat){.page_bits = 12, .perm = JIT_ENV_PERM_ALL, .ng = true};
    if (env->map(env, va, x) && (x->perm & right[acc][el]))
        return 0;
    jit_env_stop(c, JIT_ENV_ABORT, acc, 0, va);
    return A64_TRAPPED;
}

static void op_align(struct arm64_cpu *c, uint64_t va, bool write)
{
    jit_env_stop(c, JIT_ENV_ALIGN, write, 0, va);
}

static uint8_t *op_ram_page(void *opaque, uint64_t pa, atomic_uchar **flags)
{
    const struct jit_env *env = opaque;

    if (pa >= env->ram_size)
        return NULL;
    *flags = &env->flags[pa / PAGE];
    return env->ram + pa;
}

static atomic_uchar *op_page_flags(void *opaque, const uint8_t *host)
{
    const struct jit_env *env = opaque;
    return &env->flags[(size_t)(host - env->ram) / PAGE];
}

static int op_mmio_read(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t *val)
{
    (void)pa;
    (void)val;
    jit_env_stop(c, JIT_ENV_DEVICE, size, 0, va);
    return A64_TRAPPED;
}

static int op_mmio_write(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t val)
{
    (void)val;
    return op_mmio_read(c, va, pa, size, NULL);
}

static void op_device_fault(struct arm64_cpu *c, uint64_t va)
{
    jit_env_stop(c, JIT_ENV_DEVICE, 0, 0, va);
}

static void op_pc_align(struct arm64_cpu *c)
{
    jit_env_stop(c, JIT_ENV_PC_ALIGN, 0, 0, c->pc);
}

static bool op_interrupt(struct arm64_cpu *c)
{
    (void)c;
    return false;
}

static void op_wait(struct arm64_cpu *c)
{
    (void)c;
}

static void op_wait_event(struct arm64_cpu *c)
{
    (void)c;
    sched_yield();
}

static int op_plain(uint32_t enc, unsigned el, bool write)
{
    (void)enc;
    (void)el;
    (void)write;
    return -1;
}

/* ---- instructions ---- */

static int op_sysreg_read(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t *val)
{
    (void)rt;
    (void)val;
    jit_env_stop(c, JIT_ENV_SYSREG, enc, 0, 0);
    return A64_TRAPPED;
}

static int op_sysreg_write(struct arm64_cpu *c, uint32_t enc, unsigned rt, uint64_t val)
{
    (void)val;
    return op_sysreg_read(c, enc, rt, NULL);
}

static int op_pstate(struct arm64_cpu *c, unsigned op1, unsigned crm, unsigned op2)
{
    jit_env_stop(c, JIT_ENV_PSTATE, op1 << 8 | op2, crm, 0);
    return A64_TRAPPED;
}

static void op_undef(struct arm64_cpu *c)
{
    jit_env_stop(c, JIT_ENV_UNDEF, 0, 0, 0);
}

static void op_exception(struct arm64_cpu *c, uint32_t ec, uint32_t iss, uint64_t far)
{
    jit_env_stop(c, JIT_ENV_EXCEPTION, ec, iss, far);
}

static int op_call(struct arm64_cpu *c, enum a64_call kind, uint32_t imm)
{
    jit_env_stop(c, JIT_ENV_CALL, kind, imm, 0);
    return A64_TRAPPED;
}

static void op_eret(struct arm64_cpu *c)
{
    jit_env_stop(c, JIT_ENV_ERET, 0, 0, 0);
}

static int op_hint(struct arm64_cpu *c, enum a64_hint h)
{
    (void)c;
    (void)h;
    return 0;
}

static int op_fp_access(struct arm64_cpu *c)
{
    (void)c;
    return 0;
}

static const struct jit_mem_ops mem_ops = {
    .translate = op_translate,
    .align_fault = op_align,
    .ram_page = op_ram_page,
    .page_flags = op_page_flags,
    .mmio_read = op_mmio_read,
    .mmio_write = op_mmio_write,
    .fetch_abort = op_device_fault,
    .atomic_fault = op_device_fault,
    .pc_align_fault = op_pc_align,
    .take_interrupt = op_interrupt,
    .wait = op_wait,
    .wait_event = op_wait_event,
    .wake = op_wait,
    .sysreg_plain = op_plain,
};

static const struct a64_ops insn_ops = {
    .sysreg_read = op_sysreg_read,
    .sysreg_write = op_sysreg_write,
    .pstate_write = op_pstate,
    .undef = op_undef,
    .exception = op_exception,
    .call = op_call,
    .eret = op_eret,
    .hint = op_hint,
    .fp_access = op_fp_access,
};

/* ---- making it ---- */

bool jit_env_init(struct jit_env *env, size_t ram_size,
                  bool (*map)(const struct jit_env *env, uint64_t va, struct jit_xlat *x))
{
    memset(env, 0, sizeof(*env));
    env->ram_size = ram_size;
    env->map = map;
    env->ops = insn_ops;
    jit_fill_ops(&env->ops);
    env->mem = mem_ops;
    env->mem.opaque = env;
    env->ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    env->flags = calloc(ram_size / PAGE, sizeof(env->flags[0]));
    if (env->ram != MAP_FAILED && env->flags)
        return true;
    jit_env_free(env);
    return false;
}

void jit_env_free(struct jit_env *env)
{
    if (env->ram != MAP_FAILED)
        munmap(env->ram, env->ram_size);
    free(env->flags);
}

struct jit *jit_env_jit(struct jit_env *env, enum jit_tier tier, size_t code_size)
{
    struct jit_config cfg = {.tier = tier, .mem = &env->mem, .code_size = code_size};
    struct jit *j;
    struct err e;

    if (!jit_create(&j, &cfg, &e))
        return j;
    printf("cannot make a JIT: %s\n", e.msg);
    return NULL;
}

struct arm64_cpu *jit_env_cpu(struct jit_env *env, struct jit *j, unsigned index)
{
    static const struct arm64_model model = {.name = "test", .features = ~BIT64(ARM64_FEAT_LSE2)};
    struct arm64_cpu *c;

    if (jit_vcpu_create(j, index, &c))
        return NULL;
    c->ops = &env->ops;
    c->model = &model;
    c->machine = env;
    c->index = index;
    c->sys.cpacr_el1 = 3u << 20;
    return c;
}
