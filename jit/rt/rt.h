/*
 * The JIT runtime's own structures: a vCPU with its soft TLB and jump cache, translated blocks, the code cache.
 *
 * Generated code addresses struct jit_vcpu through RBP, which points at cpu.x[16]; RSP and RBP never hold guest
 * addresses. Ten guest registers live in host registers (jit_pin), all others in memory. RAX, RCX, RDX and R14
 * are scratch. At every exit and in every helper that may trap, all state is in struct arm64_cpu.
 *
 * Code is written through one view of the cache and executed through another: no page is writable and executable.
 */
#ifndef PIPIT_JIT_RT_H
#define PIPIT_JIT_RT_H

#include <stdatomic.h>

#include "jit/a64/decode.h"
#include "jit/jit.h"
#include "jit/rt/host.h"
#include "jit/user.h"
#include "jit/x64/emit.h"

/* ---- soft TLB ---- */

/* Which rights a data access is checked with. Unprivileged accesses (LDTR) at EL1 use VIEW_EL0. */
enum jit_view { JIT_VIEW_EL0, JIT_VIEW_EL1, JIT_VIEW_EL1_PAN, JIT_VIEWS };

#define JIT_TLB_BITS 14 /* 64 MiB of guest-virtual space: in less, hot pages of real programs meet in one entry */
#define JIT_TLB_SIZE (1u << JIT_TLB_BITS)
#define JIT_TLB_ENTRIES (JIT_VIEWS * JIT_TLB_SIZE)
#define JIT_TLB_LOG 4096
#define JIT_TLB_NONE 1 /* a tag that no page address equals */

/*
 * One 4 KiB page of guest-virtual space. A tag is the page's address where that kind of access may go straight to
 * RAM, JIT_TLB_NONE otherwise. w is withheld from pages with translations; other vCPUs withdraw it (atomically).
 */
struct jit_tlb_entry {
    uint64_t r;
    _Atomic uint64_t w;
    uint64_t x;
    _Atomic uint64_t addend; /* host address minus guest-virtual address */
};

static inline unsigned jit_tlb_index(uint64_t va)
{
    return va >> 12 & (JIT_TLB_SIZE - 1);
}

/*
 * ---- jump cache: guest pc to code ----
 *
 * A pc's entry is probed inline; what another pc took it from is in a second place, where the thunk for look-ups probes
 * before it leaves generated code. Pages that meet in their first places have second ones of their own.
 */

#define JIT_JC_BITS 15      /* a compiler's code is tens of megabytes */
#define JIT_JC_USER_BITS 14 /* user mode: processes are short, and pay for each page that they touch */
#define JIT_JC_SIZE (1u << JIT_JC_BITS)

struct jit_jc_entry {
    uint64_t tag; /* pc ^ salt of the address space and context; JIT_JC_NONE */
    const uint8_t *code;
};

/* An odd pc may look like this one: the code of empty entries leaves for jit_find. User mode's empty tag is zero. */
#define JIT_JC_NONE UINT64_MAX

static inline unsigned jit_jc_mask(bool user)
{
    return (1u << (user ? JIT_JC_USER_BITS : JIT_JC_BITS)) - 1;
}

static inline unsigned jit_jc_index(uint64_t pc, bool user)
{
    return pc >> 2 & jit_jc_mask(user);
}

/* The second place of what was found in `first`, by its tag: bits of it that no salt changes. A page's are in a row. */
#define JIT_JC_PAGE (4096 / 4)
static inline unsigned jit_jc_second(unsigned first, uint64_t tag, bool user)
{
    unsigned bits = user ? JIT_JC_USER_BITS : JIT_JC_BITS;
    uint64_t page = (tag >> (bits + 2)) * JIT_JC_PAGE;

    return (1u << bits) + (first ^ (page & jit_jc_mask(user)));
}

/*
 * A salt stands for what a pc means: address space (ASID), EL and context key. Dropping an address space costs no
 * sweep: its salt is never used again. The salt is added to those bits of the tag that are the entry's index, so that
 * no other pc, however odd, can look like this one under another salt: guests branch to any 64-bit value.
 */
#define JIT_SALTS 256 /* remembered (ASID, context) pairs a vCPU */
#define JIT_SALT_SHIFT 2
#define JIT_SALT_MAX (JIT_JC_SIZE - 1)

struct jit_salt {
    uint32_t ctx;
    uint16_t asid;
    uint16_t id; /* 0: free */
};

/* ---- blocks ---- */

/* What code is specialised on, beside its address. */
#define JIT_CTX_EL1 0x1
#define JIT_CTX_SPSEL 0x2
#define JIT_CTX_PAN 0x4
#define JIT_CTX_FP 0x8       /* FP and SIMD are not trapped */
#define JIT_CTX_FPFAST 0x10  /* FPCR: no FZ, DN, AH, FZ16, traps; rounding mode is in MXCSR */
#define JIT_CTX_SPALIGN 0x20 /* SP alignment is checked */
#define JIT_CTX_UAO 0x40
#define JIT_CTX_ZVA 0x80   /* DC ZVA is not trapped */
#define JIT_CTX_USER 0x100 /* guest addresses are host addresses */
#define JIT_ZVA_SIZE 64    /* bytes; DCZID_EL0.BS = 4 */

/* Which of a vCPU's two: machines have one for each EL; user mode for what FPCR allows (zero where FP is fast). */
static inline unsigned jit_jc_of(uint32_t ctx)
{
    return ctx & JIT_CTX_USER ? !(ctx & JIT_CTX_FPFAST) : ctx & JIT_CTX_EL1;
}

#define JIT_BLOCK_MAX_INSNS 64
#define JIT_BLOCK_MAX_EXITS 12
#define JIT_BLOCK_MAX_RELOCS 1024 /* more than the stubs of the longest block have */
#define JIT_BLOCK_ROOM KIB(64)    /* more than the largest block takes */

/*
 * Relocations: all that in a block's code depends on where guest and host put things. With them a block can serve at
 * another guest address (of the same offset within its page) and another place in the cache; everything else goes
 * through RBP. A machine's blocks serve at all guest addresses at once: what depends on theirs is relative to the
 * page's, which is in struct jit_vcpu. So processes share the code of programs and libraries, wherever each has them.
 */
enum jit_reloc_kind {
    JIT_RELOC_GUEST_PC, /* user mode: 8-byte constant, a guest address that moves with the block's pc */
    JIT_RELOC_THUNK,    /* 4-byte displacement to a thunk at the start of the cache */
};

struct jit_reloc {
    uint16_t offset; /* of the field, from the block's entry */
    uint16_t kind;
};

struct jit_exit {
    uint16_t patch; /* offset of the jump's displacement from the entry */
    uint16_t stub;  /* offset of where it goes while it is not linked */
    int32_t target; /* instructions from the block's first one; the same page, but in user mode */
};

struct jit_block {
    /* What a look-up asks for: within one line of the host's cache. */
    uint64_t pc;         /* in machines the offset in its page */
    const uint8_t *host; /* guest code in RAM */
    uint32_t ctx;
    _Atomic uint32_t hash_next; /* block number, less than this one's; 0: none */
    atomic_bool dead;

    bool saved; /* an image has it, or was offered it */
    uint8_t nexits;
    uint8_t ninsns;
    uint32_t code;      /* entry, offset in the cache */
    uint16_t code_size; /* bytes */
    uint16_t dead_tail; /* offset from the entry of the code that leaves for the dispatcher */
    uint16_t loop;      /* of a second no-op as the one at the entry, where the block's own branches go; 0: none */
    uint16_t nrelocs;
    uint32_t reloc;        /* first of its records in struct jit's */
    uint32_t map;          /* of its bytes in struct jit's map */
    uint32_t words;        /* user mode: jit_saved_words of what it was made from; machines: its place in images */
    uint32_t page_next;    /* block number, 0: none */
    struct jit_exit *exit; /* in struct jit's */
};
_Static_assert(sizeof(struct jit_block) == 64, "what a look-up asks for lies within one line");

/* User mode: where a thread goes on that faulted in an instruction with guest state in vector registers. A block's lie
 * at the end of its code, in front of a byte that says how many they are. */
struct jit_landing {
    uint16_t insn, code; /* code: offset from the entry */
};

/* In front of each entry: */
struct jit_block_header {
    uint64_t pc; /* as the block's */
    uint32_t block;
    uint32_t magic;
};
#define JIT_ENTRY_ALIGN 16
#define JIT_DEAD_TAIL 12 /* bytes of code at dead_tail; where there is a loop, that for its head is behind them */
#define JIT_ENTRY_NOP 5  /* bytes at the entry, and at a loop's head, that a dead block's jump replaces */

/* Guest code pages, by host address. */
struct jit_page {
    const uint8_t *host;
    uint32_t blocks; /* first of page_next */
    uint32_t hash_next;
    atomic_uchar *flags; /* the space's own */
};

/* The instruction at p, as a whole: others may replace it meanwhile (Arm ARM B2.2.5). */
static inline uint32_t jit_insn(const uint8_t *p)
{
    return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
}

/* ---- vCPU ---- */

enum jit_exit_reason { JIT_EXIT_LOOKUP, JIT_EXIT_LINK, JIT_EXIT_POLL, JIT_EXIT_TRAP, JIT_EXIT_FAULT };

/* info word of jit_helper_mem */
#define JIT_MEM_SIZE 0x7 /* log2 of bytes, 0..4; with PAIR: of each element */
#define JIT_MEM_STORE 0x8
#define JIT_MEM_SIGN 0x10   /* sign-extend */
#define JIT_MEM_SIGN32 0x20 /* ... to 32 bits */
#define JIT_MEM_PAIR 0x40
#define JIT_MEM_FORM 0x7f
#define JIT_MEM_UNPRIV 0x80
#define JIT_MEM_ALIGNED 0x100
#define JIT_MEM_PC_SHIFT 16 /* instruction number in the block, 6 bits */
#define JIT_MEM_PC_MASK 0x3f
/* Tier 1's range of accesses that share an addend, in units of 8 bytes below and above the address; none above: no such
 * range. 7 bits each. */
#define JIT_MEM_BELOW_SHIFT 9
#define JIT_MEM_ABOVE_SHIFT 22
#define JIT_MEM_REACH_MASK 0x7f
#define JIT_SHARES 4 /* such ranges, at a time */

/* Thunk addresses, in the writable view: distances within one view are the same as in the other. */
struct jit_thunks {
    const uint8_t *enter;     /* int enter(struct jit_vcpu *, const uint8_t *code) */
    const uint8_t *lookup[2]; /* rax: guest pc, which is not in its first place of this jump cache */
    const uint8_t *miss;      /* rax: guest pc, which is in no jump cache */
    const uint8_t *link;      /* eax: exit number, rcx: block entry */
    const uint8_t *poll;      /* rax: pc offset from the block, rcx: block entry */
    const uint8_t *pollpc;    /* rax: guest pc */
    const uint8_t *dead;      /* rcx: block entry */
    const uint8_t *mem;       /* rax: va, edx: info, rcx: entry; value through slow[], of loads also in rax, rcx */
    const uint8_t *interp;    /* edx: instruction, eax: pc offset, rcx: entry */
    const uint8_t *simd;      /* edx: instruction, eax: row; one that touches registers only */
    const uint8_t *svc;       /* edx: immediate, eax: pc offset, rcx: entry */
    const uint8_t *fault;     /* a guest access failed; cpu.pc is set */
    /* As mem, for an access by the form in info's bits JIT_MEM_FORM that may be in the TLB by itself, where what shares
     * an addend with it is not: tries that first. share becomes zero. */
    const uint8_t *alone[JIT_VIEWS][JIT_MEM_FORM + 1];
};

/* C functions that thunks and code call through struct jit_vcpu, so that code holds no host addresses. */
enum jit_helper { JIT_HELPER_MEM, JIT_HELPER_INTERP, JIT_HELPER_SVC, JIT_HELPERS };

#define JIT_TLBI_QUEUE 64
#define JIT_RECHECK 16

#define JIT_DSB_TLBI 0x1    /* wait for another vCPU to do what TLB maintenance asked of it */
#define JIT_DSB_RECHECK 0x2 /* jit_cache_recheck */

/* 16-byte constants that vector code and CRC32 read. */
enum jit_const {
    JIT_CONST_ABS32, /* all but the sign, each lane */
    JIT_CONST_ABS64,
    JIT_CONST_SIGN32, /* the sign, each lane */
    JIT_CONST_SIGN64,
    JIT_CONST_SIGN32_S, /* the sign, lane 0 only */
    JIT_CONST_SIGN64_S,
    JIT_CONST_MIN32, /* the smallest normal number, each lane */
    JIT_CONST_MIN64,
    JIT_CONST_LOW8,  /* 0x00ff, each 16-bit lane */
    JIT_CONST_LOW16, /* 0x0000ffff, each 32-bit lane */
    JIT_CONST_X70,   /* 0x70, each byte: makes TBL indices of 16 and more negative for PSHUFB */
    JIT_CONST_REV64_8,
    JIT_CONST_REV64_16,
    JIT_CONST_REV32_8,
    JIT_CONST_REV32_16,
    JIT_CONST_REV16_8,
    JIT_CONST_NIBBLE,     /* 0x0f, each byte */
    JIT_CONST_POPCNT,     /* bits set in 0..15 */
    JIT_CONST_CRC32_X,    /* P's inverse to x^63, and P */
    JIT_CONST_CRC32_W,    /* the inverse to x^31, 32 bits up, and P */
    JIT_CONST_CRC32_BYTE, /* of each byte, and what follows */
    JIT_CONSTS = JIT_CONST_CRC32_BYTE + 64
};

struct jit_vcpu {
    struct arm64_cpu cpu; /* first: RBP is inside */

    uint64_t salt[2]; /* by EL, in tag position */
    uint32_t mxcsr;   /* of generated code */
    uint32_t host_mxcsr;
    uint32_t link_exit;
    uint32_t excl_slow;     /* load-exclusives go to the interpreter: translated pairs made no progress */
    bool excl_valid;        /* local monitor, of the interpreter's exclusives */
    uint64_t excl_value[2]; /* what a translated load-exclusive read */
    const uint8_t *link_entry;
    uint64_t page; /* machines: where the page of code that is executed is for the guest; user mode: zero */
    uint8_t slow[32] __attribute__((aligned(16))); /* values to and from slow paths */
    _Atomic bool remapped;           /* machines: translations changed, or blocks died, since the last ISB */
    _Atomic uint8_t dsb_work;        /* machines: JIT_DSB_*, what the next DSB has to do but to order accesses */
    uint64_t share;                  /* the addend of JIT_MEM_BELOW and above, or zero */
    uint64_t shares[JIT_SHARES - 1]; /* what of them is not in R14 */
    void *helper[JIT_HELPERS];
    const void *exec; /* a64_exec */
    arm64_vreg consts[JIT_CONSTS];

    /* Not addressed by generated code. */
    struct jit *jit;
    struct jit_vcpu *next;
    size_t size; /* of its memory */
    uint32_t ctx;
    enum jit_view view;
    _Atomic uint16_t asid;  /* the one that the TLB's non-global entries belong to */
    atomic_bool low_global; /* some entries of the lower half, or code, may be global: set before they are looked up */
    uint64_t ttbr1;
    uint64_t sctlr, tcr, mair; /* what the TLB was filled under */
    /* Entries that may have a write tag, by number: where others look that withdraw them. */
    _Atomic uint64_t writable[JIT_TLB_ENTRIES / 64];
    bool tlb_empty; /* nothing was put in since all entries were dropped */
    /* Entries of the lower half, by number, since they were last dropped: those are what a change of ASID drops. More
     * than JIT_TLB_LOG: all may be. */
    unsigned low_count;
    uint16_t low[JIT_TLB_LOG];
    bool high_ng;      /* some entry of the upper half is not global */
    bool strict_align; /* SCTLR.A: all accesses take the slow path */
    bool tbi[2];       /* top byte ignored, by VA bit 55 */
    /* Bloom bitmaps of 2 MiB and 1 GiB regions with entries that came from block mappings, by half: a TLBI by address
     * that lands there drops every entry of the half. */
    uint8_t large_2m[2][1024], large_1g[2][128];
    uint8_t exec_2m[1024], exec_1g[128]; /* the same for code; the jump cache outlives the TLB's entries */
    bool exec_el1_ng;                    /* EL1's code in the upper half depends on the ASID */
    bool exec_el0_global;                /* EL0's code in the lower half does not, somewhere */
    uint32_t attention;                  /* JIT_ATTN_*: what the run loop must do before guest code goes on */
    uint32_t step_iss;                   /* syndrome bits of the instruction that was stepped last */
    bool resync;                         /* ISB: go on with what memory has now */
    uint32_t kills;                      /* user mode: struct jit's, at the last ISB */
    bool in_region;                      /* an exclusive region: other vCPUs are stopped */
    unsigned excl_fails;                 /* store-exclusives in a row that found it clear */
    uint8_t excl_size;
    uint64_t excl_addr;
    uint8_t excl_data[16];  /* user mode: what the load-exclusive read */
    struct jit_fault fault; /* user mode: the last one; addr as the host gave it */
    bool fault_gp;          /* it was a general protection fault: the address may be tagged */
    bool stepping;          /* user mode: one instruction, for a debugger */
    bool undebugged;        /* user mode: breakpoints and watchpoints are not for this thread */
    unsigned npoints;       /* user mode: its debug registers */
    struct jit_watch point[JIT_POINTS];
    struct jit_salt salts[JIT_SALTS];
    uint32_t salt_next;
    uint8_t exec_pages[8192]; /* Bloom bitmap of pages with jump cache entries, by page number */

    _Atomic uint32_t in_guest; /* may touch guest memory and the code cache */
    _Atomic uint32_t jc_stale; /* the cache was emptied: jit_jc_clear before going on inside */
    /* With j->lock: pages, by number, that others have translated since the last DSB, and that some store of ours may
     * yet go to, or have gone to, without being noticed. More than JIT_RECHECK: any page may be one. */
    unsigned nrecheck;
    uint32_t recheck[JIT_RECHECK];
    struct jit_lock tlbi_lock;
    unsigned tlbi_count; /* JIT_TLBI_QUEUE + 1: everything */
    struct jit_tlbi_request tlbi[JIT_TLBI_QUEUE];
    _Atomic uint32_t tlbi_queued;  /* to be done before another address space is entered */
    _Atomic uint32_t tlbi_pending; /* to be done before guest code goes on */
    struct jit_stats *stats;       /* NULL: nobody wants to know */
    struct jit_lockstep *lockstep; /* JIT_LOCKSTEP: the last comparison */
    uint64_t random;               /* JIT_MIXED */

    /* Addressed by generated code again; last, because user mode has no TLB, and a part of the jump caches. */
    struct jit_jc_entry jc[2][2 * JIT_JC_SIZE];
    struct jit_tlb_entry tlb[JIT_VIEWS][JIT_TLB_SIZE];
};
#define JIT_VCPU_USER_SIZE (offsetof(struct jit_vcpu, jc[1]) + (sizeof(struct jit_jc_entry) << (JIT_JC_USER_BITS + 1)))

#define JIT_ATTN_WAIT 0x1   /* WFI */
#define JIT_ATTN_DSB 0x2    /* broadcast TLB maintenance must complete */
#define JIT_ATTN_REGION 0x4 /* a load-exclusive wants the other vCPUs stopped */
#define JIT_ATTN_FLUSH 0x8  /* the code cache is full */
#define JIT_ATTN_YIELD 0x10 /* YIELD: let others run */
#define JIT_ATTN_EVENT 0x20 /* WFE without an event */

#define JIT_RBP_BIAS 128 /* offsetof(struct jit_vcpu, cpu.x[16]) */

/* ---- JIT ---- */

/* User mode: instructions whose accesses had tagged addresses, and are translated with the tag removed. When the table
 * is full all are. */
#define JIT_MASKED 512
/* 2 MiB regions that hold guest code, a Bloom bitmap. */
#define JIT_CODE_REGIONS 4096
#define JIT_MAP_RATIO 8    /* bytes of code cache for one of the maps */
#define JIT_MAP_MAX KIB(1) /* more than a block's map takes */

/* User mode, for a debugger (debug.c). */
#define JIT_BREAKS 4096
#define JIT_WATCHES 64

/* Hash tables grow by a factor of four from the first size up to the last. */
#define JIT_HASH_BITS_FIRST 10 /* they grow by two bits at a time */
#define JIT_HASH_BITS 20
#define JIT_PAGE_HASH_BITS 16 /* for JIT_PAGES */
#define JIT_PAGES 49152       /* number 0 is unused */

#define JIT_IMAGE_PIECES 1024 /* more than an image has */

struct jit {
    enum jit_tier tier;
    const struct jit_space *space;
    const struct jit_mem_ops *mem;
    struct jit_vcpu *vcpus; /* all of them; changes only while none runs */
    _Atomic unsigned ncpus; /* changed with region_lock held, read at any time */
    atomic_bool rom_read;   /* some vCPU may hold a fast mapping of ROM */

    struct jit_lock lock; /* blocks, hash, pages, cache allocation, patches */
    struct jit_host_code host;
    uint8_t *rw, *rx; /* the cache, as in host */
    size_t size;
    uint32_t code_start, code_next;
    uint32_t code_ready; /* machines: whole pages below it were asked for */
    struct jit_thunks thunk;
    struct jit_block *block;
    uint32_t nblocks, max_blocks; /* block 0 is unused */
    struct jit_reloc *reloc;
    uint32_t nrelocs, max_relocs;
    struct jit_exit *exits;
    uint32_t nexits, max_exits;
    _Atomic uint32_t *hash; /* the first block of each bucket; machines look there without the lock */
    _Atomic unsigned hash_bits;
    unsigned max_hash_bits; /* for max_blocks */
    unsigned page_hash_bits;
    struct jit_page *page;
    uint32_t npages;
    uint32_t *page_hash;

    /* Exclusive regions: one vCPU runs, all others are outside. */
    struct jit_lock region_lock;           /* held by who has the region */
    _Atomic uint32_t region;               /* somebody has it, or waits for the others to leave */
    uint64_t flushes, regions;             /* so far */
    uint64_t made, made_insns, made_bytes; /* translated: blocks, their instructions, host code */
    bool stats;
    jit_made_fn *tell;
    void *tell_opaque;
    jit_entered_fn *entered; /* jit_trace */
    void *entered_opaque;
    bool unlinked;             /* each block goes back to the run loop */
    unsigned limit;            /* instructions that a block has at most; 0: as many as fit */
    jit_mismatch_fn *mismatch; /* jit_lockstep */
    void *mismatch_opaque;
    _Atomic uint64_t compared, once; /* JIT_LOCKSTEP: executions of blocks that were compared, or could not be */
    uint64_t seed;
    _Atomic uint32_t kills; /* blocks that died */

    /* User mode. */
    const struct jit_user_ops *user;
    int (*sysreg_plain)(uint32_t enc, unsigned el, bool write);
    _Atomic uint32_t changes; /* jit_user_invalidate was called: what was fetched before may be gone */
    /* User mode: for each guest instruction of a block the length of its hot code; see user.c. Machines: the guest
     * instructions that it was made from. */
    uint8_t *map;
    uint32_t nmap;
    uint64_t taken;                              /* blocks from saved translations */
    struct jit_saved_place saved;                /* of the block that is being made */
    struct jit_saved_image image;                /* machines: of all blocks */
    uint64_t image_piece[JIT_IMAGE_PIECES / 64]; /* which of its pieces are mapped; image_pieces: how many */
    unsigned image_pieces;
    bool saves;                  /* machines: there will be an image of this run */
    uint64_t masked[JIT_MASKED]; /* open addressing by pc; 0: free */
    unsigned nmasked;
    _Atomic uint64_t code_regions[JIT_CODE_REGIONS / 64];
    unsigned nbreaks, nwatches;
    uint64_t breaks[JIT_BREAKS]; /* sorted; an address with its kinds in the low bits */
    struct jit_watch watch[JIT_WATCHES];
};

/* ---- between the runtime's files ---- */

/* The vCPU, on whose thread this is, does something else now; what it did until now comes back. */
static inline enum jit_phase jit_phase(struct jit_vcpu *v, enum jit_phase next)
{
    struct jit_stats *s = v->stats;
    enum jit_phase was = JIT_PHASE_RUNTIME;

    if (unlikely(s)) {
        uint64_t now = __builtin_ia32_rdtsc();

        was = s->phase;
        s->ticks[was] += now - s->since;
        s->since = now;
        s->phase = next;
    }
    return was;
}

/* Tells of what is executed next. */
static inline void jit_enter(struct jit_vcpu *v)
{
    if (unlikely(v->jit->entered))
        v->jit->entered(v->jit->entered_opaque, &v->cpu);
}

/* stats.c: counts and times of a machine's vCPU. */
int jit_stats_begin(struct jit_vcpu *v); /* -ENOMEM */

/*
 * How guest addresses become host addresses, and what the code cache must do about it: tlb.c for machines.
 */
struct jit_space {
    bool user;
    /* Host address of the instruction at cpu.pc for the current context, with the pc in the form that blocks are known
     * by; NULL when an exception was taken instead. */
    const uint8_t *(*fetch)(struct jit_vcpu *v);
    /* Copies up to n instructions of one page; returns how many there were. */
    unsigned (*read)(const uint8_t *host, uint32_t *insn, unsigned n);
    /* Host address of va for a data access within its page as the context has it; zero where that is not plain memory,
     * or a fault, which may have changed the state. */
    uint64_t (*plain)(struct jit_vcpu *v, uint64_t va, bool write, unsigned flags);
    /* Recomputes ctx and what depends on it after system state changed. */
    void (*context_update)(struct jit_vcpu *v);
    void (*jc_insert)(struct jit_vcpu *v, uint64_t pc, const uint8_t *code);
    /* Forgets all code addresses; on the vCPU's thread. */
    void (*jc_clear)(struct jit_vcpu *v);
    /* v is about to make a block from the page; the last one of it died. With j->lock. */
    void (*page_add)(struct jit_vcpu *v, struct jit_page *p);
    void (*page_drop)(struct jit *j, struct jit_page *p);
};

/* Generated code is entered at cpu.pc. */
static inline void jit_enter_page(struct jit_vcpu *v)
{
    if (!v->jit->space->user)
        v->page = v->cpu.pc & ~UINT64_C(0xfff);
}

/* The code of empty entries of the jump cache: it leaves for jit_find. */
static inline const uint8_t *jit_jc_miss(const struct jit *j)
{
    return j->rx + (j->thunk.miss - j->rw);
}

/* Puts an entry in its first place, and what is there in that one's second. */
static inline void jit_jc_put(struct jit_jc_entry *jc, struct jit_jc_entry e, unsigned first, bool user)
{
    uint64_t old = jc[first].tag;

    if (old != e.tag && old != (user ? 0 : JIT_JC_NONE))
        jc[jit_jc_second(first, old, user)] = jc[first];
    jc[first] = e;
}

/* jump.c: the jump cache of a machine's vCPU */
void jit_jc_insert(struct jit_vcpu *v, uint64_t pc, const uint8_t *code); /* for the current context */
void jit_jc_clear(struct jit_vcpu *v);
/* The same for less: entries go with their salts. */
void jit_jc_forget(struct jit_vcpu *v);
/* Forgets the code of one page, under every salt. */
void jit_jc_drop_page(struct jit_vcpu *v, bool el1, uint64_t va);
/* Forgets what salts of one EL stand for, of one address space or of all. */
void jit_salts_drop(struct jit_vcpu *v, bool el1, bool any_asid, uint16_t asid);
/* Takes the salt of the current address space and context into use. */
void jit_salt_select(struct jit_vcpu *v);

/* Bloom bitmaps of `size` bytes, a power of two, over numbers of pages or regions. */
static inline bool jit_bloom_has(const uint8_t *map, size_t size, uint64_t n)
{
    return map[n >> 3 & (size - 1)] >> (n & 7) & 1;
}

static inline void jit_bloom_add(uint8_t *map, size_t size, uint64_t n)
{
    map[n >> 3 & (size - 1)] |= (uint8_t)(1u << (n & 7));
}

/* tlb.c */
extern const struct jit_space jit_machine_space;
void jit_context_update(struct jit_vcpu *v);
void jit_tlbi_apply(struct jit_vcpu *v); /* queued requests of this vCPU */
/* Host address of the instruction at pc for the current context; NULL when an abort was raised. */
const uint8_t *jit_fetch_ptr(struct jit_vcpu *v, uint64_t pc);
int jit_load(struct arm64_cpu *c, uint64_t va, unsigned size, void *dst, unsigned flags);
int jit_store(struct arm64_cpu *c, uint64_t va, unsigned size, const void *src, unsigned flags);
int jit_zero_block(struct arm64_cpu *c, uint64_t va);
/* Would one byte at va be readable or writable? A64_TRAPPED after the abort where not. */
int jit_check(struct arm64_cpu *c, uint64_t va, bool write, unsigned flags);
/* Host pointer for an atomic access with write permission: 0, or A64_TRAPPED. jit_written must follow the write. */
int jit_atomic_ptr(struct jit_vcpu *v, uint64_t va, unsigned size, unsigned flags, uint8_t **host,
                   atomic_uchar **pflags);
/* Drops translations of what was written, where there are any; flags: the page's, NULL where it can have none. */
void jit_written(struct jit_vcpu *v, const uint8_t *host, unsigned size, const atomic_uchar *flags);
void jit_tlbi_wait(struct jit_vcpu *v);
uint32_t jit_helper_mem(struct jit_vcpu *v, uint64_t va, uint32_t info);

/* cache.c */
/* `user`: the program forks. */
int jit_cache_init(struct jit *j, size_t size, bool user, struct err *e);
void jit_cache_free(struct jit *j);
/* Finds or translates the block at v->cpu.pc; NULL when an exception was taken instead (call again). */
const uint8_t *jit_find(struct jit_vcpu *v);
const uint8_t *jit_find_again(struct jit_vcpu *v);
/* Serves a JIT_EXIT_LINK: patches the jump and returns the code to go on with, or NULL as jit_find. */
const uint8_t *jit_link(struct jit_vcpu *v);
/*
 * Writes the code of block b as it must be to serve for guest address pc (equal to b->pc modulo 4096) at offset `at` of
 * the cache: b->code_size bytes, with no exit linked.
 */
void jit_block_relocate(const struct jit *j, const struct jit_block *b, uint64_t pc, uint32_t at, uint8_t *code);
/* Changes b's code, which is right for guest address `from` and offset `from_at`, to be so for others. */
void jit_block_move(const struct jit *j, const struct jit_block *b, uint64_t from, uint64_t pc, uint32_t from_at,
                    uint32_t at, uint8_t *code);
/* Blocks whose guest code is not what they were made from die (machines). */
void jit_cache_check(struct jit *j);
/* The same for the pages of v->recheck. */
void jit_cache_recheck(struct jit_vcpu *v);
/* Empties the cache; the caller is in a region. */
void jit_cache_flush(struct jit *j);
/* The same with j->lock held. */
void jit_cache_empty(struct jit *j);

/* tier1/translate.c: makes the tables; once, before the first translation. */
void jit_tier1_init(void);
/* Emits the block's code at e and its records behind j->nrelocs; false when the room did not
 * suffice. */
bool jit_tier1_translate(struct jit *j, struct jit_vcpu *v, struct jit_block *b, struct x64_emit *e);

/* consts.c */
void jit_consts_init(arm64_vreg c[JIT_CONSTS]);

/* thunk.c */
void jit_thunks_emit(struct jit *j);

/* helper.c */
uint32_t jit_helper_interp(struct jit_vcpu *v, uint32_t insn);

/* user.c */
/* Is the access of the instruction at pc to be translated with its tag removed? */
bool jit_user_masked(const struct jit *j, uint64_t pc);
uint32_t jit_helper_svc(struct jit_vcpu *v, uint32_t imm);

/* debug.c */
bool jit_debug_find(const struct jit *j, uint64_t pc);
bool jit_debug_access(struct jit_vcpu *v, uint64_t va, uint64_t size, unsigned kinds);
/* Is there a breakpoint at pc? */
static inline bool jit_debug_breaks(const struct jit *j, uint64_t pc)
{
    return unlikely(j->nbreaks) && jit_debug_find(j, pc);
}
/* The same for the instruction that a thread executes next: then the debugger was told. */
bool jit_debug_fetch(struct jit_vcpu *v, uint64_t pc);
static inline bool jit_debug_stops(struct jit_vcpu *v, uint64_t pc)
{
    return unlikely(v->jit->nbreaks | v->npoints) && jit_debug_fetch(v, pc);
}
/* Is the access watched? Then the debugger was told, and the instruction has no effect. */
static inline bool jit_debug_watched(struct jit_vcpu *v, uint64_t va, uint64_t size, unsigned kinds)
{
    return unlikely(v->jit->nwatches | v->npoints) && jit_debug_access(v, va, size, kinds);
}
/* Must the thread be interpreted, instruction by instruction? */
static inline bool jit_debug_interprets(const struct jit_vcpu *v)
{
    if (likely(!(v->jit->nwatches | v->npoints) && !v->undebugged))
        return false;
    return v->npoints || (v->undebugged ? v->jit->nbreaks : v->jit->nwatches);
}

/* jit.c */
/* The common parts of creation. */
int jit_new(struct jit **out, enum jit_tier tier, const struct jit_space *space, size_t code_size, struct err *e);
/* In zeroed memory of the host's; NULL where that is NULL. */
struct jit_vcpu *jit_vcpu_new(struct jit *j, void *memory, size_t size);

/* region.c */
void jit_go_inside(struct jit_vcpu *v);
/* Stops all other vCPUs outside of guest code; nests not. */
void jit_region_begin(struct jit_vcpu *v);
void jit_region_end(struct jit_vcpu *v);

/* The host registers that hold guest registers. */
#define JIT_PINS 10
extern const int8_t jit_pin[32]; /* host register by guest register, -1: in memory; [31] is SP */

static inline int32_t jit_off_x(unsigned r)
{
    return (int32_t)(r * 8) - JIT_RBP_BIAS;
}

#define JIT_OFF(field) ((int32_t)offsetof(struct jit_vcpu, field) - JIT_RBP_BIAS)

static inline struct jit_vcpu *jit_vcpu_of(struct arm64_cpu *c)
{
    return container_of(c, struct jit_vcpu, cpu);
}

#endif
