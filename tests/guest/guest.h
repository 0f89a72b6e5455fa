/*
 * What the bare-metal test programs share: output on the PL011, PSCI, exceptions, page tables, the GIC.
 *
 * A program prints what the architecture determines and nothing else: the same lines must come out of every
 * implementation. guest_off() ends it. CPU 0 alone prints.
 */
#ifndef PIPIT_TESTS_GUEST_H
#define PIPIT_TESTS_GUEST_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define BIT(n) (1ul << (n))
#define PAGE 4096ul
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define mrs(reg)                                                                                                       \
    ({                                                                                                                 \
        u64 _v;                                                                                                        \
        asm volatile("mrs %0, " reg : "=r"(_v)::"memory");                                                             \
        _v;                                                                                                            \
    })
#define msr(reg, v) asm volatile("msr " reg ", %0" ::"r"((u64)(v)) : "memory")
#define isb() asm volatile("isb" ::: "memory")
#define dsb() asm volatile("dsb ish" ::: "memory")
#define dmb() asm volatile("dmb ish" ::: "memory")
#define CTR_IDC BIT(28)
#define CTR_DIC BIT(29)

static inline u32 mmio_r32(u64 a)
{
    u32 v;
    asm volatile("ldr %w0, [%1]" : "=r"(v) : "r"(a) : "memory");
    return v;
}
static inline void mmio_w32(u64 a, u32 v)
{
    asm volatile("str %w0, [%1]" ::"r"(v), "r"(a) : "memory");
}
static inline u64 ld64(u64 a)
{
    u64 v;
    asm volatile("ldr %0, [%1]" : "=r"(v) : "r"(a) : "memory");
    return v;
}
static inline void st64(u64 a, u64 v)
{
    asm volatile("str %0, [%1]" ::"r"(v), "r"(a) : "memory");
}

/* %x, %d (64-bit), %s, %c. */
void print(const char *fmt, ...);
_Noreturn void guest_off(void);
u64 psci(u64 fn, u64 a, u64 b, u64 c);
#define PSCI_CPU_ON 0xc4000003

/* ---- exceptions ---- */
struct frame {
    u64 x[31], sp_el0;
    u64 elr, spsr, esr, far;
    u64 vec; /* offset of the vector taken */
    u64 pst; /* DAIF, CurrentEL and SPSel in the handler */
    u64 pad[2];
};
/* Called for an exception that run() does not wait for: IRQs and such. Returns 0 where it is not expected either. */
extern int (*trap_hook)(struct frame *f);

struct run {
    u64 pc, spsr, sp_el0, x[4];
};
/* Enters r->pc with r->spsr by ERET; returns at the first synchronous exception, which run_frame then describes. */
void run(const struct run *r);
extern struct frame run_frame;

#define SPSR_EL0 0x3c0 /* DAIF masked */
#define SPSR_EL1T 0x3c4
#define SPSR_EL1H 0x3c5

/* Code that run() executes, at any EL: it lives in the pages of .user. Ends in SVC #0xffff. */
#define SNIPPET(name, body)                                                                                            \
    extern char name[];                                                                                                \
    asm(".pushsection .user,\"ax\"\n.balign 4\n" #name ":\n" body "\n\tsvc #0xffff\n.popsection")
extern char _start[], user_start[], user_end[];
#define RUN_DONE(f) (((f).esr & 0xfc00ffff) == 0x5400ffff)

/* ---- page tables: 4K granule, 48 bits ---- */
#define PTE_VALID BIT(0)
#define PTE_PAGE BIT(1) /* or table */
#define PTE_ATTR(n) ((u64)(n) << 2)
#define PTE_AP(n) ((u64)(n) << 6)
#define PTE_SH_INNER (3ul << 8)
#define PTE_AF BIT(10)
#define PTE_NG BIT(11)
#define PTE_PXN BIT(53)
#define PTE_UXN BIT(54)
#define PTE_NORMAL (PTE_VALID | PTE_AF | PTE_SH_INNER | PTE_ATTR(1))
#define PTE_DEVICE (PTE_VALID | PTE_AF | PTE_ATTR(0) | PTE_PXN | PTE_UXN)
#define PTE_ADDR 0x0000fffffffff000ul

#define SCTLR_BASE 0x30d00800ul /* RES1 of Armv8.0; SPAN is one of them */
#define SCTLR_M BIT(0)
#define SCTLR_A BIT(1)
#define SCTLR_C BIT(2)
#define SCTLR_SA BIT(3)
#define SCTLR_SA0 BIT(4)
#define SCTLR_UMA BIT(9)
#define SCTLR_I BIT(12)
#define SCTLR_DZE BIT(14)
#define SCTLR_UCT BIT(15)
#define SCTLR_NTWI BIT(16)
#define SCTLR_NTWE BIT(18)
#define SCTLR_WXN BIT(19)
#define SCTLR_SPAN BIT(23)
#define SCTLR_UCI BIT(26)
#define SCTLR_ON (SCTLR_BASE | SCTLR_M | SCTLR_C | SCTLR_I | SCTLR_SA | SCTLR_SA0)

/* T0SZ = T1SZ = 16, write-back, inner shareable, 40-bit physical, 16-bit ASIDs. */
#define TCR_T0SZ(n) ((u64)(n))
#define TCR_T1SZ(n) ((u64)(n) << 16)
#define TCR_BASE (0x3500ul | 0x3500ul << 16 | 2ul << 30 | 2ul << 32 | BIT(36))
#define TCR_ON (TCR_BASE | TCR_T0SZ(16) | TCR_T1SZ(16))
#define TCR_A1 BIT(22)
#define TCR_EPD1 BIT(23)
#define TCR_TBI0 BIT(37)

u64 *pt_new(void);
/* Puts the descriptor for va at `level` (0..3) under the level 0 table `root`, making tables on the way; returns its
 * place. Nothing is invalidated. */
u64 *pt_set(u64 *root, u64 va, int level, u64 desc);
/* A level 3 page. */
static inline u64 *pt_page(u64 *root, u64 va, u64 pa, u64 attr)
{
    return pt_set(root, va, 3, pa | attr | PTE_PAGE);
}
/* A table with devices and the first 64 MiB of RAM mapped flat, global, for EL1 only; code is read-only. */
u64 *pt_flat(void);
/* Turns translation on with ttbr0 = root (ASID 0); ttbr1 = root1. */
void mmu_on(u64 *root, u64 *root1);
static inline void tlbi_all(void)
{
    asm volatile("dsb ishst; tlbi vmalle1is; dsb ish; isb" ::: "memory");
}

/* ---- GIC ---- */
int gic_is_v3(void);
void gic_init(void);     /* distributor; CPU 0 */
void gic_cpu_init(void); /* this CPU's interface, priority mask open */
void gic_enable(unsigned intid, unsigned priority);
void gic_disable(unsigned intid);
void gic_set_pending(unsigned intid);
int gic_pending(unsigned intid);
unsigned gic_ack(void);
void gic_eoi(unsigned intid);
void gic_pmr(unsigned mask);
void gic_sgi(unsigned cpu, unsigned intid);

static inline unsigned cpu_id(void)
{
    return mrs("mpidr_el1") & 0xff;
}

int main(void);
void cpu_main(u64 cpu);

#endif
