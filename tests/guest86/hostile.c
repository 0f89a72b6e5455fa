/*
 * Accesses that no driver makes: ports and addresses of nothing, widths and alignments that devices do not have, across
 * the ends of devices and of RAM, string instructions. Each must end as the machine promises (all ones, or no effect),
 * and the machine must live on; or, with do=, end in a clear way: exec    runs code where there is no memory insn gives
 * KVM's emulator an instruction that it does not know
 *
 * Arguments: micro=1 (what the machine `micro` promises is checked); mem=BYTES; seed=NUMBER of the random accesses.
 */
#include "tests/guest86/guest.h"

#define NOTHING 0xd0100000ul /* no device, no RAM: behind micro's virtio slots */
#define VIRTIO_STATUS 0x70
#define ROUNDS 400

static int micro;
static u8 buffer[16384] NOINIT __attribute__((aligned(4096)));
static u64 rng_state;

static u32 rng(void)
{
    rng_state = rng_state * 6364136223846793005 + 1442695040888963407;
    return (u32)(rng_state >> 33);
}

/* What is checked only where it is promised. */
static void promise(const char *name, int good, u64 value)
{
    if (micro)
        check(name, good, "0x%lx", value);
    else
        info("%s: 0x%lx", name, value);
}

/* ---- ports ---- */
static void test_ports(void)
{
    static const u16 nothing[] = {0x60, 0x64, 0x70, 0x80, 0x2f8, 0x400, 0x5f0, 0x608, 0x620, 0xcf8, 0xcfc, 0xfff0};
    unsigned wrong = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(nothing); i++) {
        u16 p = nothing[i];

        outb(p, 0xfe);
        outw(p, 0xfefe);
        outl(p, 0xfefefefe);
        wrong += (inb(p) != 0xff) + (inw(p) != 0xffff) + (inl(p) != ~0u);
    }
    promise("port-nothing", !wrong, wrong);
}

/* Across the ends of devices, and at the end of the port space. What of it is a device's is not said. */
static void test_port_ends(void)
{
    static const u16 at[] = {PORT_UART - 3, PORT_UART - 1, PORT_UART + 5, PORT_UART + 7, 0x5fd, 0x5ff, 0x601,  0x602,
                             0x60d,         0x60f,         0x612,         0x613,         0x615, 0x617, 0xfffd, 0xffff};

    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        inw(at[i]);
        inl(at[i]);
    }
    outw(0xffff, 0xffff);
    outl(0xfffd, ~0u);
    outl(0x60d, 0);
    outw(PORT_UART - 1, 0x4141); /* a port's end and the transmitter's beginning: one of them, or nothing */
    print("\n");
    check("port-ends", 1, "%u places", (u32)ARRAY_SIZE(at));
}

/* Not where a register begins, or not with the bits that it wants. */
static void test_registers(void)
{
    if (!micro)
        return;
    outw(PORT_EXIT + 1, 7);
    outb(PORT_EXIT + 3, 7);
    outl(PORT_EXIT + 1, 7);
    outl(PORT_EXIT - 1, 7);
    outb(0x600, 0);
    outb(0x600, 5 << 2); /* no SLP_EN */
    outb(0x601, 0xff);
    outb(0x602, 0);
    check("registers", 1, "nothing ended");
}

static void ins(char width, u16 port, void *to, u64 n)
{
    if (width == 'b')
        asm volatile("rep insb" : "+D"(to), "+c"(n) : "d"(port) : "memory");
    else if (width == 'w')
        asm volatile("rep insw" : "+D"(to), "+c"(n) : "d"(port) : "memory");
    else
        asm volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

static void outs(char width, u16 port, const void *from, u64 n)
{
    if (width == 'b')
        asm volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
    else if (width == 'w')
        asm volatile("rep outsw" : "+S"(from), "+c"(n) : "d"(port) : "memory");
    else
        asm volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static u64 count_of(const u8 *p, u64 n, u8 value)
{
    u64 found = 0;

    while (n--)
        found += *p++ == value;
    return found;
}

static void test_string_ports(void)
{
    u64 ones, d;
    void *to = buffer + 4100;

    fill(buffer, 0, sizeof(buffer));
    ins('b', 0x70, buffer + 3, 5000);
    ins('w', 0x70, buffer + 6001, 501);
    ins('l', 0x70, buffer + 8190, 300);
    ones = count_of(buffer, 10000, 0xff);
    promise("rep-ins", ones == 5000 + 1002 + 1200, ones);
    check("rep-ins-ends",
          !buffer[2] && !buffer[5003] && !buffer[6000] && !buffer[7003] && !buffer[8189] && !buffer[9390],
          "nothing before or behind");
    outs('b', 0x80, buffer, 5000);
    outs('w', 0x80, buffer + 1, 500);
    outs('l', 0x80, buffer + 4093, 300);
    ins('b', PORT_UART + 7, buffer, 40);
    outs('b', PORT_UART + 7, "abc", 3);
    check("rep-scratch", inb(PORT_UART + 7) == 'c', "0x%x", inb(PORT_UART + 7));
    fill(buffer, 0, 8192);
    d = 100;
    asm volatile("std; rep insb; cld" : "+D"(to), "+c"(d) : "d"((u16)0x70) : "memory");
    check("rep-backwards", to == buffer + 4000 && !buffer[4000] && !buffer[4101], "0x%lx", (u64)to - (u64)buffer);
    promise("rep-backwards-bytes", count_of(buffer + 4001, 100, 0xff) == 100, count_of(buffer + 4001, 100, 0xff));
    outs('b', PORT_UART, "ok rep-outs\r\n", 13); /* no more than the FIFO takes */
}

/* ---- memory ---- */
static void movdqu_read(u64 a, u64 out[2])
{
    asm volatile("movdqu (%1), %%xmm0; movdqu %%xmm0, %0" : "=m"(*(u64(*)[2])out) : "r"(a) : "memory");
}

static void test_mmio(void)
{
    u64 wide[2] = {0, 0}, old, n = 0, a = NOTHING;
    unsigned wrong = 0;

    for (u64 off = 0; off < 9; off++) {
        wr8(a + off, 0);
        wr16(a + off, 0);
        wr32(a + off, 0);
        wr64(a + off, 0);
        wrong += (rd8(a + off) != 0xff) + (rd16(a + off) != 0xffff) + (rd32(a + off) != ~0u) + (rd64(a + off) != ~0ul);
    }
    for (u64 off = 0xff9; off < 0x1000; off++) /* across a page's end */
        wrong += (rd32(a + off) != ~0u) + (rd64(a + off) != ~0ul);
    promise("mmio-nothing", !wrong, wrong);
    movdqu_read(a + 3, wide);
    promise("mmio-wide", wide[0] == ~0ul && wide[1] == ~0ul, wide[0]);
    old = 5;
    asm volatile("lock xaddl %k0, (%1)" : "+r"(old) : "r"(a) : "memory");
    promise("mmio-locked", (u32)old == ~0u, old);
    asm volatile("xchgq %0, (%1)" : "+r"(n) : "r"(a) : "memory");
    promise("mmio-exchange", n == ~0ul, n);
    asm volatile("lock cmpxchgl %k1, (%2); lock incb (%2); addw $3, 1(%2); notq 5(%2); pushq (%2); popq %0"
                 : "=&r"(n)
                 : "r"(1ul), "r"(a), "a"(0)
                 : "memory", "cc");
    promise("mmio-push", n == ~0ul, n);
}

static void test_string_mmio(void)
{
    void *to = buffer + 7;
    const void *from = (void *)NOTHING;
    u64 n = 9000, ones;

    fill(buffer, 0, sizeof(buffer));
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    ones = count_of(buffer, sizeof(buffer), 0xff);
    promise("movs-from-mmio", ones == 9000 && !buffer[6] && !buffer[9007], ones);
    to = (void *)NOTHING;
    from = buffer;
    n = 600;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    to = (void *)(NOTHING + 0xffd);
    n = 100;
    asm volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(0) : "memory");
    to = (void *)NOTHING;
    from = (void *)(NOTHING + 0x1801);
    n = 100;
    asm volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    check("movs-to-mmio", (u64)to == NOTHING + 200 && n == 0, "0x%lx", (u64)to);
}

/* Half RAM, half nothing. */
static void test_ram_end(void)
{
    u64 mem = arg_number("mem", 0), top = mem <= 0xc0000000 ? mem : 0xc0000000, v, n = 64, ones;
    void *to = buffer;
    const void *from = (void *)(top - 16);

    if (!mem)
        return;
    wr64(top - 8, 0x1122334455667788);
    v = rd64(top - 4);
    promise("ram-end-read", v == 0xffffffff11223344, v);
    wr64(top - 4, 0xaabbccdd99887766);
    v = rd64(top - 8);
    check("ram-end-write", v == 0x9988776655667788, "0x%lx", v);
    v = rd16(top - 1);
    promise("ram-end-odd", v == 0xff99, v);
    promise("ram-behind", rd64(top) == ~0ul, rd64(top));
    fill(buffer, 0, 128);
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    ones = count_of(buffer + 16, 48, 0xff);
    promise("ram-end-movs", ones == 48 && rd64((u64)buffer + 8) == 0x9988776655667788, ones);
}

/* Random accesses to a device's registers; after a reset it is what it was. */
static void storm(const char *name, u64 base, u64 size)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        u64 a = base + rng() % (size + 8) - 4;
        u64 v = rng() % 3 ? rng() % 32 : (u64)rng() << 32 | rng();

        switch (rng() % 8) {
        case 0: rd8(a); break;
        case 1: rd16(a); break;
        case 2: rd32(a); break;
        case 3: rd64(a); break;
        case 4: wr8(a, (u8)v); break;
        case 5: wr16(a, (u16)v); break;
        case 6: wr32(a, (u32)v); break;
        default: wr64(a, v);
        }
    }
    info("%s: %u accesses around 0x%lx", name, (u32)ROUNDS, base);
}

static void test_devices(void)
{
    unsigned found = 0, same_after = 0;

    for (unsigned i = 0; i < acpi.devices; i++) {
        u64 base = acpi.device[i].addr;
        u32 id;

        if (!same(acpi.device[i].hid, "LNRO0005", 9))
            continue;
        id = rd32(base + 8);
        found++;
        storm("virtio", base, acpi.device[i].size);
        wr32(base + VIRTIO_STATUS, 0);
        same_after += rd32(base) == 0x74726976 && rd32(base + 8) == id && rd32(base + VIRTIO_STATUS) == 0;
    }
    check("storm-virtio", found == same_after, "%u devices, %u are what they were", found, same_after);
    storm("ioapic", acpi.ioapic + 0x20, 0xfe0);
    for (u32 reg = 0; reg < 0x10; reg++) {
        wr8(acpi.ioapic + 0x10, (u8)reg);
        wr16(acpi.ioapic, (u16)~reg);
        rd8(acpi.ioapic + 0x13);
    }
    ioapic_write(0xff, ~0u);
    rd64(acpi.lapic + 0xffc);
    rd8(acpi.lapic + 0x21);
    wr16(acpi.lapic + 0x3f2, 0xffff);
    check("storm-apics", lapic_read(LAPIC_VERSION) != 0 && ioapic_read(1) != ~0u, "versions 0x%x and 0x%x",
          lapic_read(LAPIC_VERSION), ioapic_read(1));
}

/* ---- exceptions instead of exits ---- */
static void test_faults(void)
{
    u64 msr_read, msr_write;

    trap_vector = 0;
    asm volatile("leaq 1f(%%rip), %%rax; movq %%rax, %0; rdmsr; 1:"
                 : "=m"(trap_resume)
                 : "c"(0x0badc0de)
                 : "rax", "rdx", "memory");
    msr_read = trap_vector;
    trap_resume = trap_vector = 0;
    asm volatile("leaq 1f(%%rip), %%rbx; movq %%rbx, %0; wrmsr; 1:"
                 : "=m"(trap_resume)
                 : "c"(0x0badc0de), "a"(1), "d"(0)
                 : "rbx", "memory");
    msr_write = trap_vector;
    trap_resume = 0;
    promise("msr-unknown", msr_read == 13 && msr_write == 13, msr_read << 8 | msr_write);
}

int main(void)
{
    int read = acpi_read();

    micro = arg_number("micro", 0) != 0;
    rng_state = arg_number("seed", 1);
    if (!check("acpi", read && acpi.ioapic, "tables"))
        return 1;
    if (arg_is("do", "exec")) {
        print("jumping\n");
        ((void (*)(void))NOTHING)();
    } else if (arg_is("do", "insn")) {
        print("storing\n");
        asm volatile("fxsave64 (%0)" ::"r"(NOTHING) : "memory");
    }
    lapic_init(0);
    test_ports();
    test_port_ends();
    test_registers();
    test_string_ports();
    test_mmio();
    test_string_mmio();
    test_ram_end();
    test_devices();
    test_faults();
    return 0;
}
