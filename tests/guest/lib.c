/* See guest.h. */
#include <stdarg.h>

#include "tests/guest/guest.h"

/* ---- output ---- */
#define UART 0x09000000ul
#define UART_DR 0x00
#define UART_FR 0x18
#define UART_LCRH 0x2c
#define UART_CR 0x30
#define UART_FR_TXFF BIT(5)

static void put(char c)
{
    static int ready;

    if (!ready) {
        mmio_w32(UART + UART_LCRH, 0x70); /* 8 bits, FIFO */
        mmio_w32(UART + UART_CR, 0x301);
        ready = 1;
    }
    while (mmio_r32(UART + UART_FR) & UART_FR_TXFF)
        ;
    mmio_w32(UART + UART_DR, (u8)c);
}

static void put_number(u64 v, unsigned base)
{
    char buf[24];
    int n = 0;

    do {
        buf[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    while (n)
        put(buf[--n]);
}

void print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(*fmt);
            continue;
        }
        switch (*++fmt) {
        case 'x': put_number(va_arg(ap, u64), 16); break;
        case 'd': put_number(va_arg(ap, u64), 10); break;
        case 'c': put((char)va_arg(ap, int)); break;
        case 's':
            for (const char *s = va_arg(ap, const char *); *s; s++)
                put(*s);
            break;
        }
    }
    va_end(ap);
}

u64 psci(u64 fn, u64 a, u64 b, u64 c)
{
    register u64 x0 asm("x0") = fn, x1 asm("x1") = a, x2 asm("x2") = b, x3 asm("x3") = c;
    asm volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return x0;
}

void guest_off(void)
{
    psci(0x84000008, 0, 0, 0);
    for (;;)
        asm volatile("wfi");
}

/* For programs with one CPU. */
__attribute__((weak)) void cpu_main(u64 cpu)
{
    (void)cpu;
}

/* gcc makes calls of these. */
void *memset(void *d, int c, u64 n)
{
    u8 *p = d;
    while (n--)
        *(volatile u8 *)p++ = (u8)c;
    return d;
}
void *memcpy(void *d, const void *s, u64 n)
{
    u8 *p = d;
    const u8 *q = s;
    while (n--)
        *(volatile u8 *)p++ = *q++;
    return d;
}

/* ---- exceptions ---- */
int (*trap_hook)(struct frame *f);
struct frame run_frame;
static int running;
extern char run_return[];
void run_enter(const struct run *r);
void guest_trap(struct frame *f);

void guest_trap(struct frame *f)
{
    if (running && (f->vec & 0x180) == 0) {
        running = 0;
        run_frame = *f;
        f->elr = (u64)run_return;
        f->spsr = SPSR_EL1H;
        return;
    }
    if (trap_hook && trap_hook(f))
        return;
    print("unexpected exception: vec %x esr %x far %x elr %x spsr %x\n", f->vec, f->esr, f->far, f->elr, f->spsr);
    guest_off();
}

void run(const struct run *r)
{
    running = 1;
    run_enter(r);
}

/* ---- page tables ---- */
static u64 pool[96][512] __attribute__((aligned(4096)));
static unsigned pool_used;

u64 *pt_new(void)
{
    if (pool_used == ARRAY_SIZE(pool)) {
        print("out of page tables\n");
        guest_off();
    }
    return pool[pool_used++];
}

u64 *pt_set(u64 *root, u64 va, int level, u64 desc)
{
    u64 *t = root;

    for (int l = 0; l < level; l++) {
        u64 *e = &t[va >> (39 - 9 * l) & 511];
        if (!(*e & PTE_VALID))
            *e = (u64)pt_new() | PTE_VALID | PTE_PAGE;
        t = (u64 *)(*e & PTE_ADDR);
    }
    t = &t[va >> (39 - 9 * level) & 511];
    *(volatile u64 *)t = desc;
    dsb();
    return t;
}

u64 *pt_flat(void)
{
    u64 *root = pt_new();

    pt_set(root, 0, 1, PTE_DEVICE);
    for (u64 a = 0x40000000; a < 0x40200000; a += PAGE) {
        int text = a >= (u64)_start && a < (u64)user_end;
        pt_page(root, a, a, PTE_NORMAL | PTE_UXN | (text ? PTE_AP(2) : PTE_PXN));
    }
    for (u64 a = 0x40200000; a < 0x44000000; a += 0x200000)
        pt_set(root, a, 2, a | PTE_NORMAL | PTE_UXN | PTE_PXN);
    return root;
}

void mmu_on(u64 *root, u64 *root1)
{
    dsb();
    msr("mair_el1", 0xff00);
    msr("tcr_el1", TCR_ON);
    msr("ttbr0_el1", root);
    msr("ttbr1_el1", root1);
    isb();
    asm volatile("tlbi vmalle1; dsb nsh; isb" ::: "memory");
    msr("sctlr_el1", SCTLR_ON);
    isb();
}

/* ---- GIC ---- */
#define GICD 0x08000000ul
#define GICC 0x08010000ul
#define GICR 0x080a0000ul /* one frame pair of 128 KiB a CPU */
#define GICD_CTLR 0x000
#define GICD_IGROUPR 0x080
#define GICD_ISENABLER 0x100
#define GICD_ICENABLER 0x180
#define GICD_ISPENDR 0x200
#define GICD_IPRIORITYR 0x400
#define GICD_ITARGETSR 0x800
#define GICD_SGIR 0xf00
#define GICD_IROUTER 0x6000
#define GICR_WAKER 0x014
#define GICR_SGI 0x10000

int gic_is_v3(void)
{
    return mrs("id_aa64pfr0_el1") >> 24 & 15;
}

/* Registers of SGIs and PPIs are in the redistributor on v3, banked in the distributor on v2. */
static u64 gic_base(unsigned intid)
{
    return intid < 32 && gic_is_v3() ? GICR + cpu_id() * 0x20000 + GICR_SGI : GICD;
}

void gic_init(void)
{
    mmio_w32(GICD + GICD_CTLR, 0);
    if (gic_is_v3()) {
        mmio_w32(GICD + GICD_CTLR, 0x10); /* affinity routing */
        mmio_w32(GICD + GICD_CTLR, 0x12); /* group 1 */
    } else {
        mmio_w32(GICD + GICD_CTLR, 1);
    }
}

void gic_cpu_init(void)
{
    if (gic_is_v3()) {
        u64 r = GICR + cpu_id() * 0x20000;
        mmio_w32(r + GICR_WAKER, mmio_r32(r + GICR_WAKER) & ~2u);
        while (mmio_r32(r + GICR_WAKER) & 4)
            ;
        mmio_w32(r + GICR_SGI + GICD_IGROUPR, 0xffffffff);
        msr("S3_0_C12_C12_5", mrs("S3_0_C12_C12_5") | 1); /* ICC_SRE_EL1 */
        isb();
        msr("S3_0_C12_C12_3", 0); /* ICC_BPR1_EL1 */
        msr("S3_0_C12_C12_7", 1); /* ICC_IGRPEN1_EL1 */
    } else {
        mmio_w32(GICC + 0x08, 0);
        mmio_w32(GICC + 0x00, 1);
    }
    gic_pmr(0xff);
}

void gic_enable(unsigned intid, unsigned priority)
{
    u64 b = gic_base(intid);
    u64 pa = b + GICD_IPRIORITYR + intid / 4 * 4;
    unsigned sh = intid % 4 * 8;

    mmio_w32(pa, (mmio_r32(pa) & ~(0xffu << sh)) | priority << sh);
    if (intid >= 32) {
        if (gic_is_v3()) {
            u32 g = mmio_r32(b + GICD_IGROUPR + intid / 32 * 4);
            mmio_w32(b + GICD_IGROUPR + intid / 32 * 4, g | 1u << intid % 32);
            mmio_w32(b + GICD_IROUTER + intid * 8, 0);
            mmio_w32(b + GICD_IROUTER + intid * 8 + 4, 0);
        } else {
            pa = b + GICD_ITARGETSR + intid / 4 * 4;
            mmio_w32(pa, (mmio_r32(pa) & ~(0xffu << sh)) | 1u << sh);
        }
    }
    mmio_w32(b + GICD_ISENABLER + intid / 32 * 4, 1u << intid % 32);
}

void gic_disable(unsigned intid)
{
    mmio_w32(gic_base(intid) + GICD_ICENABLER + intid / 32 * 4, 1u << intid % 32);
}

void gic_set_pending(unsigned intid)
{
    mmio_w32(gic_base(intid) + GICD_ISPENDR + intid / 32 * 4, 1u << intid % 32);
}

int gic_pending(unsigned intid)
{
    return mmio_r32(gic_base(intid) + GICD_ISPENDR + intid / 32 * 4) >> intid % 32 & 1;
}

unsigned gic_ack(void)
{
    if (gic_is_v3()) {
        unsigned v = mrs("S3_0_C12_C12_0"); /* ICC_IAR1_EL1 */
        asm volatile("dsb sy" ::: "memory");
        return v;
    }
    return mmio_r32(GICC + 0x0c);
}

void gic_eoi(unsigned intid)
{
    if (gic_is_v3()) {
        msr("S3_0_C12_C12_1", intid); /* ICC_EOIR1_EL1 */
        isb();
    } else {
        mmio_w32(GICC + 0x10, intid);
    }
}

void gic_pmr(unsigned mask)
{
    if (gic_is_v3()) {
        msr("S3_0_C4_C6_0", mask); /* ICC_PMR_EL1 */
        isb();
    } else {
        mmio_w32(GICC + 0x04, mask);
    }
}

void gic_sgi(unsigned cpu, unsigned intid)
{
    dsb();
    if (gic_is_v3()) {
        msr("S3_0_C12_C11_5", (u64)intid << 24 | 1ul << cpu); /* ICC_SGI1R_EL1 */
        isb();
    } else {
        mmio_w32(GICD + GICD_SGIR, 1u << (16 + cpu) | intid);
    }
}
