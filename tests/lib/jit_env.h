/*
 * The JIT's surroundings in tests: RAM of the test's own, the way from guest addresses into it, and ops under which
 * whatever leaves guest code is written down as an event and ends the run.
 *
 * A test calls jit_env_init, replaces the ops that it wants to serve itself, and makes its vCPUs; jit_run then returns
 * with the vCPU's event filled in. Several JITs may share one environment, one after the other.
 */
#ifndef PIPIT_TESTS_JIT_ENV_H
#define PIPIT_TESTS_JIT_ENV_H

#include "jit/jit.h"

#define JIT_ENV_CPUS 4

/* What ended a run, and what `a` and `b` say of it. */
enum jit_env_kind {
    JIT_ENV_NONE,
    JIT_ENV_ABORT,     /* no translation, or not with this right; a: enum jit_env_access */
    JIT_ENV_ALIGN,     /* a data access that must be aligned; a: written */
    JIT_ENV_DEVICE,    /* an access to what is no RAM; a: bytes, 0 where they do not matter */
    JIT_ENV_PC_ALIGN,  /* far: the pc */
    JIT_ENV_SYSREG,    /* MRS, MSR or SYS; a: encoding */
    JIT_ENV_PSTATE,    /* MSR immediate; a: op1 << 8 | op2, b: CRm */
    JIT_ENV_UNDEF,     /* an UNDEFINED instruction */
    JIT_ENV_EXCEPTION, /* another class; a: class, b: ISS */
    JIT_ENV_CALL,      /* SVC, HVC, SMC, BRK, HLT; a: enum a64_call, b: the immediate */
    JIT_ENV_ERET,
};

enum jit_env_access { JIT_ENV_READ, JIT_ENV_WRITE, JIT_ENV_FETCH }; /* as struct jit_mem_ops numbers them */

struct jit_env_event {
    enum jit_env_kind kind;
    uint32_t a, b;
    uint64_t far, pc; /* pc: of the instruction */
};

#define JIT_ENV_PERM_ALL 0x3f /* every ARM64_PERM_* */

struct jit_env {
    uint8_t *ram;
    size_t ram_size;     /* bytes, whole pages of 4 KiB; their physical addresses begin at 0 */
    atomic_uchar *flags; /* MEM_PAGE_*, a byte a page */
    /*
     * Where guest address va lies: fills in x->pa, and changes the rest (a 4 KiB page with all rights, not global)
     * where that is to be otherwise. False: nowhere.
     */
    bool (*map)(const struct jit_env *env, uint64_t va, struct jit_xlat *x);
    struct a64_ops ops;
    struct jit_mem_ops mem;
    struct jit_env_event event[JIT_ENV_CPUS]; /* by vCPU number */
};

/* Zeroed RAM, and the ops. False: no memory. */
bool jit_env_init(struct jit_env *env, size_t ram_size,
                  bool (*map)(const struct jit_env *env, uint64_t va, struct jit_xlat *x));
void jit_env_free(struct jit_env *env);
/* A JIT in this environment; NULL after saying why not. code_size: bytes of code cache, 0 for the usual ones. */
struct jit *jit_env_jit(struct jit_env *env, enum jit_tier tier, size_t code_size);
/* vCPU number `index`, at EL0 with FP and SIMD permitted and every feature but LSE2 (which relaxes alignment); NULL: no
 * memory. */
struct arm64_cpu *jit_env_cpu(struct jit_env *env, struct jit *j, unsigned index);

/* For ops of the test's own: fills in the vCPU's event, and ends its run. */
void jit_env_stop(struct arm64_cpu *c, enum jit_env_kind kind, uint32_t a, uint32_t b, uint64_t far);

#endif
