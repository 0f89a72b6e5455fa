/* Output, the command line, and how the program was started: see guest.h. */
#include <stdarg.h>

#include "tests/guest86/guest.h"

struct boot boot;
static unsigned failures;
char stacks[(MAX_CPUS + 1) * STACK_SIZE] NOINIT __attribute__((aligned(16)));

u64 len_of(const char *s)
{
    u64 n = 0;

    while (s[n])
        n++;
    return n;
}

int same(const void *a, const void *b, u64 n)
{
    const u8 *x = a, *y = b;

    while (n && *x == *y)
        n--, x++, y++;
    return n == 0;
}

void copy(void *to, const void *from, u64 n)
{
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

void fill(void *to, int c, u64 n)
{
    asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
}

/* The compiler may ask for these. */
void *memcpy(void *to, const void *from, u64 n)
{
    copy(to, from, n);
    return to;
}

void *memset(void *to, int c, u64 n)
{
    fill(to, c, n);
    return to;
}

/* ---- output ---- */
#define UART_FCR (PORT_UART + 2)
#define UART_LCR (PORT_UART + 3)
#define UART_LSR (PORT_UART + 5)
#define UART_LSR_THRE 0x20
#define UART_FIFO 16

/* An exit of the guest costs more than what it carries: the transmitter is asked once for each FIFO full. */
static void put(char c)
{
    static unsigned room, ready;

    if (!ready) {
        outb(UART_LCR, 3); /* 8 bits */
        outb(UART_FCR, 1); /* FIFOs on */
        ready = 1;
    }
    if (!room) {
        while (!(inb(UART_LSR) & UART_LSR_THRE))
            cpu_relax();
        room = UART_FIFO;
    }
    room--;
    outb(PORT_UART, (u8)c);
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

static void put_text(const char *s)
{
    while (*s)
        put(*s++);
}

static void vprint(const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        int is_long = 0, d;

        if (*fmt != '%') {
            put(*fmt);
            continue;
        }
        if (*++fmt == 'l') {
            is_long = 1;
            fmt++;
        }
        switch (*fmt) {
        case 'x': put_number(is_long ? va_arg(ap, u64) : va_arg(ap, u32), 16); break;
        case 'u': put_number(is_long ? va_arg(ap, u64) : va_arg(ap, u32), 10); break;
        case 'd':
            d = va_arg(ap, int);
            if (d < 0)
                put('-');
            put_number(d < 0 ? 0 - (u32)d : (u32)d, 10);
            break;
        case 'c': put((char)va_arg(ap, int)); break;
        case 's': put_text(va_arg(ap, const char *)); break;
        default: put(*fmt);
        }
    }
}

void print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprint(fmt, ap);
    va_end(ap);
}

static void line(const char *what, const char *name, const char *fmt, va_list ap)
{
    put_text(what);
    put_text(name);
    if (*name && *fmt)
        put_text(": ");
    vprint(fmt, ap);
    put('\n');
}

int check(const char *name, int good, const char *fmt, ...)
{
    va_list ap;

    if (!good)
        failures++;
    va_start(ap, fmt);
    line(good ? "ok " : "FAIL ", name, fmt, ap);
    va_end(ap);
    return good;
}

void skip(const char *name, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line("skip ", name, fmt, ap);
    va_end(ap);
}

void info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line("info ", "", fmt, ap);
    va_end(ap);
}

_Noreturn void guest_exit(u32 status)
{
    outl(PORT_EXIT, status);
    print("FAIL exit: the debug device did not end the machine\n");
    irq_off();
    for (;;)
        asm volatile("hlt");
}

/* ---- command line ---- */
const char *arg(const char *name)
{
    u64 n = len_of(name);
    const char *s = boot.cmdline;

    while (s && *s) {
        while (*s == ' ')
            s++;
        if (same(s, name, n) && s[n] == '=')
            return s + n + 1;
        while (*s && *s != ' ')
            s++;
    }
    return 0;
}

u64 arg_number(const char *name, u64 otherwise)
{
    const char *s = arg(name);
    u64 v = 0, base = 10;

    if (!s)
        return otherwise;
    if (s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
    }
    for (;; s++) {
        if (*s >= '0' && *s <= '9')
            v = v * base + (u64)(*s - '0');
        else if (base == 16 && *s >= 'a' && *s <= 'f')
            v = v * base + (u64)(*s - 'a') + 10;
        else
            break;
    }
    return *s == 'K' ? v << 10 : *s == 'M' ? v << 20 : *s == 'G' ? v << 30 : v;
}

int arg_is(const char *name, const char *value)
{
    const char *s = arg(name);
    u64 n = len_of(value);

    return s && same(s, value, n) && (s[n] == ' ' || !s[n]);
}

/* ---- boot protocols ---- */
#define PVH_MAGIC 0x336ec578
/* The Xen project's PVH boot protocol, version 1 (xen/include/public/arch-x86/hvm/start_info.h). */
struct pvh_start_info {
    u32 magic, version, flags, nr_modules;
    u64 modlist, cmdline, rsdp, memmap;
    u32 memmap_entries, reserved;
};
struct pvh_module {
    u64 addr, size, cmdline, reserved;
};
struct pvh_memmap {
    u64 addr, size;
    u32 type, reserved;
};

static void add_map(u64 addr, u64 size, u32 type)
{
    if (boot.nmap == ARRAY_SIZE(boot.map))
        return;
    boot.map[boot.nmap].addr = addr;
    boot.map[boot.nmap].size = size;
    boot.map[boot.nmap++].type = type;
}

static int read_pvh(void)
{
    const struct pvh_start_info *si = (void *)entry.info;
    const struct pvh_memmap *map = (void *)si->memmap;
    const struct pvh_module *module = (void *)si->modlist;

    if (si->magic != PVH_MAGIC || si->version < 1)
        return 0;
    boot.rsdp = si->rsdp;
    boot.cmdline = (const char *)si->cmdline;
    if (si->nr_modules) {
        boot.initrd = module[0].addr;
        boot.initrd_size = module[0].size;
    }
    for (u32 i = 0; i < si->memmap_entries; i++)
        add_map(map[i].addr, map[i].size, map[i].type);
    return 1;
}

/* Linux's Documentation/arch/x86/boot.rst and zero-page.rst: offsets into struct boot_params. */
#define ZP_ACPI_RSDP 0x070
#define ZP_EXT_RAMDISK_IMAGE 0x0c0
#define ZP_EXT_RAMDISK_SIZE 0x0c4
#define ZP_EXT_CMD_LINE 0x0c8
#define ZP_E820_ENTRIES 0x1e8
#define ZP_BOOT_FLAG 0x1fe
#define ZP_HEADER 0x202
#define ZP_TYPE_OF_LOADER 0x210
#define ZP_RAMDISK_IMAGE 0x218
#define ZP_RAMDISK_SIZE 0x21c
#define ZP_CMD_LINE 0x228
#define ZP_E820 0x2d0

static u64 zp_pair(u64 zp, u64 low, u64 high)
{
    return rd32(zp + low) | (u64)rd32(zp + high) << 32;
}

static int read_zero_page(void)
{
    u64 zp = entry.info;
    u64 e;

    if (rd16(zp + ZP_BOOT_FLAG) != 0xaa55 || rd32(zp + ZP_HEADER) != 0x53726448 /* HdrS */)
        return 0;
    boot.rsdp = rd64(zp + ZP_ACPI_RSDP);
    boot.cmdline = (const char *)zp_pair(zp, ZP_CMD_LINE, ZP_EXT_CMD_LINE);
    boot.initrd = zp_pair(zp, ZP_RAMDISK_IMAGE, ZP_EXT_RAMDISK_IMAGE);
    boot.initrd_size = zp_pair(zp, ZP_RAMDISK_SIZE, ZP_EXT_RAMDISK_SIZE);
    for (u32 i = 0; i < rd8(zp + ZP_E820_ENTRIES); i++) {
        e = zp + ZP_E820 + i * 20;
        add_map(rd64(e), rd64(e + 8), rd32(e + 16));
    }
    return rd8(zp + ZP_TYPE_OF_LOADER) != 0;
}

void guest_main(void)
{
    if (!(entry.how == ENTRY_PVH ? read_pvh() : read_zero_page())) {
        print("FAIL start: no %s at 0x%lx\n", entry.how == ENTRY_PVH ? "start_info" : "zero page", entry.info);
        guest_exit(1);
    }
    irq_init();
    main();
    print("end\n");
    guest_exit(failures != 0);
}

/* A program with one CPU has no other. */
__attribute__((weak)) void ap_main(u64 cpu)
{
    (void)cpu;
}
