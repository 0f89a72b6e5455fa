/*
 * What the bare-metal x86-64 programs share: output, how the machine was described to them, interrupts, time.
 *
 * A program runs in long mode with equal virtual and physical addresses, on the bootstrap processor, with interrupts
 * off. It prints one line a check on the 16550 (`ok NAME: ...`, `FAIL NAME: ...`, `skip NAME: why`) and `info` lines
 * for whoever reads them, and ends with 0, or 1 after a FAIL, through the debug device. Nothing about the machine is
 * built in but the 16550 and the debug device's port: addresses come from ACPI, what the runner knows (sizes, sums,
 * what is to be done) from `name=value` words of the command line.
 */
#ifndef PIPIT_TESTS_GUEST86_H
#define PIPIT_TESTS_GUEST86_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ul << (n))
#define PAGE 4096ul
#define GIB BIT(30)
#define STACK_SIZE 16384 /* start.S */
#define MAX_CPUS 16
/* Memory that nobody clears. */
#define NOINIT __attribute__((section(".noinit,\"aw\",@nobits#")))

#define PORT_UART 0x3f8
#define PORT_MARK 0x610
#define PORT_EXIT 0x614

/* ---- instructions ---- */
#define PORT_IO(suffix, type, reg)                                                                                     \
    static inline type in##suffix(u16 port)                                                                            \
    {                                                                                                                  \
        type v;                                                                                                        \
        asm volatile("in" #suffix " %1, %" reg "0" : "=a"(v) : "Nd"(port) : "memory");                                 \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void out##suffix(u16 port, type v)                                                                   \
    {                                                                                                                  \
        asm volatile("out" #suffix " %" reg "0, %1" ::"a"(v), "Nd"(port) : "memory");                                  \
    }
PORT_IO(b, u8, "b")
PORT_IO(w, u16, "w")
PORT_IO(l, u32, "k")

/* One access of exactly this width each, whatever the compiler knows of `a`. */
#define MEM_IO(bits, suffix, reg)                                                                                      \
    static inline u##bits rd##bits(u64 a)                                                                              \
    {                                                                                                                  \
        u##bits v;                                                                                                     \
        asm volatile("mov" suffix " (%1), %0" : "=r"(v) : "r"(a) : "memory");                                          \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void wr##bits(u64 a, u##bits v)                                                                      \
    {                                                                                                                  \
        asm volatile("mov" suffix " %0, (%1)" ::"r"(v), "r"(a) : "memory");                                            \
    }
MEM_IO(8, "b", "b")
MEM_IO(16, "w", "w")
MEM_IO(32, "l", "k")
MEM_IO(64, "q", "q")

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
    asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
    u32 lo, hi;
    asm volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (u64)hi << 32 | lo;
}
struct cpuid {
    u32 eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(sub));
    return r;
}
static inline void cpu_relax(void)
{
    asm volatile("pause" ::: "memory");
}
static inline void irq_on(void)
{
    asm volatile("sti" ::: "memory");
}
static inline void irq_off(void)
{
    asm volatile("cli" ::: "memory");
}

/* ---- words and output ---- */
u64 len_of(const char *s);
int same(const void *a, const void *b, u64 n);
void copy(void *to, const void *from, u64 n);
void fill(void *to, int c, u64 n);
/* %s %c %d %u %x %lu %lx */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Each prints a whole line. check() returns `good`. */
int check(const char *name, int good, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void skip(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void guest_exit(u32 status);

/* ---- how the program was started ---- */
/* start.S: the registers at the entry, in the order in which it stores them. */
struct entry {
    u64 how, info, cr0, cr4, flags, efer, cs, ds, es, ss;
};
#define ENTRY_PVH 1
#define ENTRY_64 2
extern struct entry entry;
extern char image_start[], image_end[], memory_end[];

#define MAP_USABLE 1
struct boot {
    u64 rsdp; /* 0: not told */
    const char *cmdline;
    u64 initrd, initrd_size;
    unsigned nmap;
    struct {
        u64 addr, size;
        u32 type;
    } map[64];
};
extern struct boot boot;
/* The value of `name=` on the command line: NULL, or up to the next blank. As a number: decimal, 0x..., with K, M, G.
 */
const char *arg(const char *name);
u64 arg_number(const char *name, u64 otherwise);
/* Whether the word `name=value` is there. */
int arg_is(const char *name, const char *value);

/* ---- ACPI ---- */
struct acpi_table {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem[6], oem_table[8];
    u32 oem_revision;
    char creator[4];
    u32 creator_revision;
} __attribute__((packed));
/* A device of the DSDT: its hardware ID as text, and its first memory range, port range and interrupt. */
struct acpi_device {
    char name[5], hid[9];
    u64 addr, size;
    u32 port, ports;
    int gsi;  /* -1: none */
    int edge; /* rather than level */
};
struct acpi {
    u8 *rsdp;
    unsigned tables;     /* in the XSDT, and the DSDT */
    unsigned bad_sums;   /* of those and the RSDP */
    unsigned bad_places; /* tables outside the map's RAM, or inside what it calls usable */
    struct acpi_table *fadt, *madt, *dsdt;
    unsigned cpus;
    u32 apic_id[MAX_CPUS];
    u64 lapic, ioapic;
    u32 ioapic_gsi;
    unsigned devices;
    struct acpi_device device[64];
    int s5;       /* the sleep type of \_S5, or -1 */
    u64 aml_stop; /* offset into the DSDT of what could not be read, or 0 */
    u32 aml_code;
};
extern struct acpi acpi;
/* Finds and reads everything; whether that worked. */
int acpi_read(void);
/* FADT, ACPI 6.5 table 5.9 */
#define FADT_FLAGS 112
#define FADT_FLAGS_RESET_REG BIT(10)
#define FADT_FLAGS_HW_REDUCED BIT(20)
#define FADT_RESET_REG 116
#define FADT_RESET_VALUE 128
#define FADT_X_DSDT 140
#define FADT_SLEEP_CONTROL 244
#define FADT_SLEEP_STATUS 256
#define SLEEP_CONTROL_SLP_EN 0x20
/* A byte write through the generic address structure at `gas`: memory or port; -1: neither. */
int acpi_write_gas(const u8 *gas, u8 value);

/* ---- interrupts ---- */
struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error, rip, cs, flags, rsp, ss;
};
/* Called with interrupts off; sends no EOI. */
typedef void irq_handler(struct frame *f);
/* The IDT on this CPU. */
void irq_init(void);
void irq_set_handler(u8 vector, irq_handler *h);
/* If the next exception is expected: set to where it continues. */
extern u64 trap_resume;
extern u64 trap_vector; /* what came */

#define LAPIC_ID 0x20
#define LAPIC_VERSION 0x30
#define LAPIC_TPR 0x80
#define LAPIC_EOI 0xb0
#define LAPIC_SVR 0xf0
#define LAPIC_ISR 0x100
#define LAPIC_TMR 0x180
#define LAPIC_IRR 0x200
#define LAPIC_ICR 0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_TIMER 0x320
#define LAPIC_TIMER_COUNT 0x380
#define LAPIC_TIMER_CURRENT 0x390
#define LAPIC_TIMER_DIVIDE 0x3e0
#define LAPIC_DIVIDE_1 0xb
#define LAPIC_MASKED BIT(16)
#define LAPIC_PERIODIC BIT(17)
#define LAPIC_DEADLINE BIT(18)
#define ICR_INIT 0x4500
#define ICR_STARTUP 0x4600
#define ICR_ALL_BUT_SELF 0xc0000
#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
/* This CPU's local APIC, spurious vector 0xff: through memory, or with x2APIC, which CPUID must have. */
void lapic_init(int x2apic);
u32 lapic_read(u32 reg);
void lapic_write(u32 reg, u32 v);
u32 lapic_id(void);
static inline void lapic_eoi(void)
{
    lapic_write(LAPIC_EOI, 0);
}
void lapic_send(u32 apic_id, u32 command);

/* A redirection entry: vector, and these. */
#define IOAPIC_LEVEL BIT(15)
#define IOAPIC_MASKED BIT(16)
#define IOAPIC_ACTIVE_LOW BIT(13)
u32 ioapic_read(u32 reg);
void ioapic_write(u32 reg, u32 v);
void ioapic_route(u32 gsi, u64 entry);

/* ---- time, from the TSC, whose rate the local APIC's timer tells (lapic_init must have been called) ---- */
u64 tsc_per_ms(void);
/* Until *word >= value; 0 after `ms`. Interrupts are let in meanwhile; it spins. */
int wait_for(volatile u64 *word, u64 value, u64 ms);

int main(void);
/* Application processors, numbered from 1 in the order in which they arrive; start.S's trampoline. */
void ap_main(u64 cpu);
extern char trampoline[], trampoline_end[], stacks[];
extern volatile u32 cpus_started;

#endif
