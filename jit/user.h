/*
 * The JIT's face to user mode: AArch64 programs in a process of the host, where guest addresses are host addresses.
 *
 * A guest thread is a host thread with a struct arm64_cpu of its own; all threads that share an address space share a
 * struct jit. A guest access is a host instruction at the guest's address, so it faults as a host access does: the
 * program's handler of SIGSEGV and SIGBUS asks jit_user_fault, and the guest's fault comes out of jit_user_run as an
 * operation, with all state as it was before the instruction. Guest code is only read: its pages need no PROT_EXEC on
 * the host.
 *
 * Tagged addresses (TBI) work: an access with one faults, is done again by the interpreter, and its place is then
 * translated with the tag removed.
 */
#ifndef PIPIT_JIT_USER_H
#define PIPIT_JIT_USER_H

#include "jit/jit.h"
#include "jit/saved.h"

/* An access to memory that failed. */
struct jit_fault {
    uint64_t addr; /* as the guest gave it, with its tag */
    int signo;     /* SIGSEGV or SIGBUS, and its si_code */
    int code;
    bool write; /* ESR_EL1.WnR */
    bool fetch; /* of an instruction, at cpu.pc */
};

/* What a debugger is told of, before the instruction at cpu.pc has done anything (JIT_DEBUG_STEP: behind the one that
 * was stepped). JIT_DEBUG_POINT: one of the thread's own. */
enum jit_debug { JIT_DEBUG_BREAK, JIT_DEBUG_READ, JIT_DEBUG_WRITE, JIT_DEBUG_STEP, JIT_DEBUG_POINT };

struct jit_user_ops {
    /* Does the guest have PROT_EXEC for the 4 KiB page at va? */
    bool (*executable)(void *opaque, uint64_t va);
    /* Takes the fault: afterwards the state is that of a signal handler, or exit_request has ARM64_EXIT_KICK. */
    void (*fault)(struct arm64_cpu *c, const struct jit_fault *f);
    /* A breakpoint, a watched access at `addr`, or the end of a step: afterwards exit_request has ARM64_EXIT_KICK. */
    void (*debug)(struct arm64_cpu *c, enum jit_debug why, uint64_t addr);
    /* System registers (encoded as in ops.h) that are plain fields of struct arm64_cpu: their offset, or -1. */
    int (*sysreg_plain)(uint32_t enc, unsigned el, bool write);
    /* Those that never change: true with the value. */
    bool (*sysreg_const)(struct arm64_cpu *c, uint32_t enc, uint64_t *value);
    /* Where saved translations for the address are; false: nowhere. NULL: none are used, or made. */
    bool (*saved)(void *opaque, uint64_t va, struct jit_saved_place *out);
    jit_made_fn *made; /* NULL: nobody wants to know */
    void *opaque;
};

struct jit_user_config {
    enum jit_tier tier;
    size_t code_size; /* bytes of code cache; 0: default */
    const struct jit_user_ops *ops;
};

int jit_user_create(struct jit **out, const struct jit_user_config *cfg, struct err *e);

/* The state of a new thread, zeroed but for what every EL0 has; -ENOMEM. jit_vcpu_destroy ends it, on a thread that is
 * not running it. The caller binds c->ops and c->model before the first run. */
int jit_user_vcpu_create(struct jit *j, struct arm64_cpu **out);

/* Runs until exit_request has ARM64_EXIT_KICK, which is consumed. On the guest thread's host thread. */
void jit_user_run(struct arm64_cpu *c);

/* One instruction by the interpreter; its system call is served, its fault reported, as in jit_user_run. */
void jit_user_step_one(struct arm64_cpu *c);

/* The memory half of struct a64_ops, and barriers and exclusives. */
void jit_user_fill_ops(struct a64_ops *ops);

/* Around whatever may block in an operation that jit_user_run calls (a system call, most of all): other threads must
 * not wait for this one meanwhile. The state is whole and may be changed. */
void jit_user_outside(struct arm64_cpu *c);
void jit_user_inside(struct arm64_cpu *c);

/*
 * In the handler of SIGSEGV and SIGBUS, with the host's registers in the order of struct sigcontext (greg[] of a
 * ucontext): true where the signal came from a guest access. The registers were then changed so that returning from
 * the handler is all that remains to be done. False: it is not the guest's.
 */
bool jit_user_fault(struct arm64_cpu *c, int signo, int code, uint64_t addr, uint64_t *greg);

/*
 * What the guest may execute at [addr, addr+len) changed: munmap, mprotect, mremap, MADV_DONTNEED, IC IVAU, a write by
 * the kernel. After the change, and before another thread can map the same addresses again. From any thread.
 */
void jit_user_invalidate(struct jit *j, uint64_t addr, uint64_t len);

/* Calls the operation `made` for each block that there is. */
void jit_user_tell(struct jit *j);
/*
 * For a debugger. Breakpoints are no part of guest memory: blocks end before them, and where one is the next
 * instruction the operation `debug` is called instead. While anything is watched all guest code is interpreted. Changes
 * are made while no thread runs guest code, but those that are jit_user_undebugged.
 */
/* `kinds`: the debugger's own, 1, 2 or 3; a breakpoint is there while it has any. -ENOSPC. */
int jit_user_break(struct jit *j, uint64_t pc, unsigned kinds, bool set);
unsigned jit_user_break_kinds(const struct jit *j, uint64_t pc);
/* `kind`: JIT_DEBUG_READ, JIT_DEBUG_WRITE, or both (their bits). -ENOSPC. */
#define JIT_WATCH(why) (1u << (why))
struct jit_watch {
    uint64_t addr, len;
    unsigned kinds; /* JIT_WATCH() */
};
int jit_user_watch(struct jit *j, uint64_t addr, uint64_t len, unsigned kinds, bool set);
void jit_user_debug_end(struct jit *j); /* neither of both any more */
/* The next run executes one instruction (of an exclusive pair: all up to its store), and calls `debug`. */
void jit_user_step_next(struct arm64_cpu *c, bool step);
/* The thread meets neither breakpoints nor watchpoints. */
void jit_user_undebugged(struct arm64_cpu *c);

/* Debug registers: breakpoints (JIT_DEBUG_BREAK) and watchpoints of one thread, instead of those that it had. Other
 * threads may run guest code; this one does not, and is interpreted afterwards while it has any. */
#define JIT_POINTS 16u
void jit_user_points(struct arm64_cpu *c, const struct jit_watch *point, unsigned n);

/* Around fork (clone without CLONE_VM), in the thread that forks, outside: the child has this thread alone. The second
 * one in parent and child; -errno in a child that cannot run. */
void jit_user_fork_begin(struct arm64_cpu *c);
int jit_user_fork_end(struct arm64_cpu *c, bool child);

#endif
