/*
 * The JIT's face to its users: a machine (vmm/machine/accel_jit.c) or user mode. Guest code is AArch64, the host
 * x86-64.
 */
#ifndef PIPIT_JIT_JIT_H
#define PIPIT_JIT_JIT_H

#include <stddef.h>

#include "arch/arm64/cpu.h"
#include "jit/ops.h"
#include "jit/saved.h"
#include "vmm/base/err.h"

struct jit;
struct jit_vcpu;

/* JIT_LOCKSTEP: both, block by block, and compared (jit_lockstep); JIT_MIXED: now this, now that, at random. */
enum jit_tier { JIT_INTERP, JIT_TIER1, JIT_LOCKSTEP, JIT_MIXED };

/* Where a machine's memory comes from. Views of one translation; perm is ARM64_PERM_*. */
struct jit_xlat {
    uint64_t pa;
    uint8_t page_bits;
    uint8_t perm;
    bool ng;
    bool device;
    uint16_t asid;
};

struct jit_mem_ops {
    /* 0, or A64_TRAPPED after the abort was raised. acc: 0 read, 1 write, 2 fetch; el: what it is checked as. */
    int (*translate)(struct arm64_cpu *c, uint64_t va, unsigned acc, unsigned el, struct jit_xlat *out);
    void (*align_fault)(struct arm64_cpu *c, uint64_t va, bool write);
    /* Host address of the 4 KiB RAM page at pa and its flags byte (vmm/core/mem.h), or NULL: device memory. */
    uint8_t *(*ram_page)(void *opaque, uint64_t pa, atomic_uchar **flags);
    atomic_uchar *(*page_flags)(void *opaque, const uint8_t *host);
    /* 0, or A64_TRAPPED after an external abort was raised. */
    int (*mmio_read)(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t *val);
    int (*mmio_write)(struct arm64_cpu *c, uint64_t va, uint64_t pa, unsigned size, uint64_t val);
    /* Raise an external abort: a fetch from device memory; an atomic or exclusive access to device memory. */
    void (*fetch_abort)(struct arm64_cpu *c, uint64_t va);
    void (*atomic_fault)(struct arm64_cpu *c, uint64_t va);
    /* PC alignment fault for c->pc. */
    void (*pc_align_fault)(struct arm64_cpu *c);
    /* Takes a deliverable interrupt, if any. */
    bool (*take_interrupt)(struct arm64_cpu *c);
    /* Parks the vCPU in WFI until an interrupt line or exit_request is set. */
    void (*wait)(struct arm64_cpu *c);
    /* A pause in WFE: until one of these or c->event is set, but never for long. */
    void (*wait_event)(struct arm64_cpu *c);
    /* c->event of this vCPU was set by another one. */
    void (*wake)(struct arm64_cpu *c);
    int (*sysreg_plain)(uint32_t enc, unsigned el, bool write);
    /* True for a register that c may read now, and whose value changes with nothing but what blocks are keyed by. */
    bool (*sysreg_const)(struct arm64_cpu *c, uint32_t enc, uint64_t *value);
    void *opaque;
};

/* The block of `insns` of the guest's instructions from pc on is now these bytes of host code. With a lock held:
 * nothing of the JIT may be called. */
typedef void jit_made_fn(void *opaque, uint64_t pc, unsigned insns, const void *code, uint32_t size);

struct jit_config {
    enum jit_tier tier;
    size_t code_size; /* bytes of code cache; 0: default */
    bool stats;       /* jit_vcpu_stats */
    const struct jit_mem_ops *mem;
    jit_made_fn *made; /* NULL: nobody wants to know */
    void *opaque;      /* its own */
};

/* What TLB maintenance drops; pages are 4 KiB from va. */
enum jit_flush { JIT_FLUSH_ALL, JIT_FLUSH_ASID, JIT_FLUSH_VA, JIT_FLUSH_VAA };
struct jit_tlbi_request {
    uint8_t kind; /* enum jit_flush */
    uint16_t asid;
    uint64_t va, pages;
};

/*
 * The vCPU is about to execute the block, or with the interpreter alone the instruction, at c->pc. On its thread, with
 * its whole state. Blocks that are linked, or found by generated code, are entered without a word, unless they are
 * `unlinked`: then all come by the run loop. Before the first run.
 */
typedef void jit_entered_fn(void *opaque, const struct arm64_cpu *c);
void jit_trace(struct jit *j, jit_entered_fn *entered, void *opaque, bool unlinked);

/* A block whose translation and interpretation do not agree. */
struct jit_mismatch {
    uint64_t pc;     /* the block's */
    unsigned ninsns; /* it has */
    unsigned insn;   /* number of the first one that is translated wrongly: without it both agree */
    uint32_t word;   /* that one, and as text */
    char name[64];
    char text[4096]; /* a line for each register that differs: what the translation makes of it, and what is right */
};

/* JIT_LOCKSTEP: on the vCPU's thread, which goes on with what the interpreter says. Before the first run. */
typedef void jit_mismatch_fn(void *opaque, struct arm64_cpu *c, const struct jit_mismatch *m);
void jit_lockstep(struct jit *j, jit_mismatch_fn *tell, void *opaque);

/* JIT_MIXED: another seed is another run. Before vCPUs are made. */
void jit_seed(struct jit *j, uint64_t seed);

int jit_create(struct jit **out, const struct jit_config *cfg, struct err *e);
void jit_destroy(struct jit *j);

/* Saved translations that may be used, and whether the run's are to be saved. Before any vCPU runs. */
void jit_use_saved(struct jit *j, const struct jit_saved_image *image, bool saves);

/* The vCPU's state; owned by the JIT. -ENOMEM. The caller initialises it and binds c->ops before the first run. */
int jit_vcpu_create(struct jit *j, unsigned index, struct arm64_cpu **out);
void jit_vcpu_destroy(struct arm64_cpu *c);

/* The state was reset: forgets what the vCPU was about to do. While it does not run. */
void jit_reset(struct arm64_cpu *c);

/* Runs until exit_request has ARM64_EXIT_KICK, which is consumed. On the vCPU's thread. */
void jit_run(struct arm64_cpu *c);

/* The memory half of struct a64_ops for machines, and barriers, exclusives and hints. */
void jit_fill_ops(struct a64_ops *ops);
/* WFI and WFE: the vCPU waits when it next leaves generated code. */
int jit_hint(struct arm64_cpu *c, enum a64_hint h);

/* For arch/arm64's hooks, on the vCPU's thread. */
void jit_context_changed(struct arm64_cpu *c);
void jit_tlbi(struct arm64_cpu *c, const struct jit_tlbi_request *r, bool broadcast);
/* Drops translations of code that has changed, however that came about. */
void jit_recheck(struct arm64_cpu *c);
void jit_fpsr_sync(struct arm64_cpu *c);
void jit_fpsr_changed(struct arm64_cpu *c); /* FPSR was written as a whole */
void jit_fpcr_changed(struct arm64_cpu *c);

/* So far; when no vCPU runs. */
struct jit_counts {
    uint64_t blocks, insns, bytes; /* translated: blocks, the guest's instructions, host code */
    uint64_t taken;                /* blocks from saved translations */
    uint64_t flushes;              /* the code cache was full, and emptied */
    uint64_t compared, once;       /* JIT_LOCKSTEP: blocks that were executed twice and compared, or not */
    uint64_t stops;                /* a vCPU has stopped all others, for an exclusive or to empty the code cache */
};
void jit_counts(const struct jit *j, struct jit_counts *out);

/* What a vCPU does with its time: generated code; what that calls, or the interpreter; making code; WFI and WFE; and
 * all else: look-ups, links, interrupts, TLB maintenance. */
enum jit_phase { JIT_PHASE_CODE, JIT_PHASE_HELPER, JIT_PHASE_TRANSLATE, JIT_PHASE_WAIT, JIT_PHASE_RUNTIME, JIT_PHASES };
enum jit_call { JIT_CALL_MEM, JIT_CALL_INTERP, JIT_CALLS };

#define JIT_STATS_SIZES 7 /* by the logarithm of a block's instructions */
#define JIT_STATS_EXITS 5
#define JIT_STATS_ROWS 1024

struct jit_stats {
    uint64_t ticks[JIT_PHASES]; /* of the time-stamp counter */
    uint64_t since;
    enum jit_phase phase;
    uint64_t exits[JIT_STATS_EXITS]; /* generated code came back: look-up, link, poll, trap, fault */
    uint64_t found, made;            /* blocks that were looked up */
    uint64_t size[JIT_STATS_SIZES];  /* of those that were made */
    uint64_t calls[JIT_CALLS];       /* by generated code */
    uint64_t rows[JIT_STATS_ROWS];   /* of these, the interpreter's, by enum a64_row */
};

/* NULL where jit_config.stats did not ask. While the vCPU does not run. */
const struct jit_stats *jit_vcpu_stats(const struct arm64_cpu *c);
/* The name of an instruction's row, for those who print `rows`; NULL behind the last one. */
const char *jit_row_name(unsigned row);

/* The vCPU's state was loaded, and what its addresses mean: forgets what was made of the former ones. While it does not
 * run. */
void jit_loaded(struct arm64_cpu *c);

/* Some ROM (MEM_PAGE_ROM) is device memory from here on: ram_page says so. On the vCPU's thread; what the current
 * instruction has begun to access may go on. */
void jit_drop_rom(struct arm64_cpu *c);

/* Takes fast write access to RAM from all vCPUs, so that the next write to a page marks it dirty. While none runs. */
void jit_write_protect(struct jit *j);

/* Where va is in RAM, if the vCPU's soft TLB knows that it may be read now; NULL: ask the tables. On its thread. */
const uint8_t *jit_readable(struct arm64_cpu *c, uint64_t va);
/* Guest RAM at [host, host+len) was or will be changed by somebody else; from any thread. */
void jit_invalidate(struct jit *j, const uint8_t *host, uint64_t len);

#endif
