/*
 * A process of the guest's for tests of the JIT in user mode: guest memory is the test program's own, SIGSEGV and
 * SIGBUS go to the JIT, and whatever leaves guest code is written down as an event and ends the run, unless the test's
 * own functions serve it.
 */
#ifndef PIPIT_TESTS_USER_ENV_H
#define PIPIT_TESTS_USER_ENV_H

#include "jit/user.h"

/* What ended a run, and what `a` and `b` say of it. */
enum user_env_kind {
    USER_ENV_NONE,
    USER_ENV_FAULT, /* `fault` */
    USER_ENV_CALL,  /* SVC, BRK, HLT; a: enum a64_call, b: the immediate */
    USER_ENV_UNDEF,
    USER_ENV_EXCEPTION, /* a: class, b: ISS */
    USER_ENV_SYSREG,    /* MRS, MSR or SYS; a: encoding */
    USER_ENV_PSTATE,    /* MSR immediate; a: op1 << 8 | op2, b: CRm */
    USER_ENV_DEBUG,     /* a: enum jit_debug; fault.addr: what it is about */
};

struct user_env_event {
    enum user_env_kind kind;
    uint32_t a, b;
    uint64_t pc; /* of the instruction */
    struct jit_fault fault;
};

/* A thread's side of it: what its run ended with. */
struct user_env_thread {
    struct arm64_cpu *cpu;
    struct jit *jit;
    struct user_env_event event;
};

struct user_env {
    /* Or NULL: everything is executable; no fault and no SVC is served. These return true when the run goes on; the
     * first at cpu.pc as they left it, the second behind the SVC. */
    bool (*executable)(uint64_t va);
    bool (*fault)(struct arm64_cpu *c, const struct jit_fault *f);
    bool (*svc)(struct arm64_cpu *c, uint32_t imm);
    bool (*saved)(uint64_t va, struct jit_saved_place *out); /* jit_user_ops.saved; NULL: nothing is */
    _Atomic unsigned signals;                                /* host signals that were a guest's fault */
};

extern struct user_env user_env;

/* Handlers and the calling thread's own stack for them; once a thread. */
void user_env_init(void);
struct jit *user_env_jit(enum jit_tier tier, size_t code_size);
/* A guest thread for the calling one, which may have several. NULL: no memory. */
struct user_env_thread *user_env_thread(struct jit *j);
void user_env_thread_end(struct user_env_thread *t);
/* Runs t from cpu.pc until an event. */
void user_env_run(struct user_env_thread *t);
/* For a handler: ends the run with this event. */
void user_env_stop(struct arm64_cpu *c, enum user_env_kind kind, uint32_t a, uint32_t b);

#endif
