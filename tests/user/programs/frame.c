/*
 * The arm64 signal frame: what a handler sees of the interrupted state, that what it changes is taken over, and the
 * exceptions of this architecture. There is nothing like it natively; frame.expect is what the kernel's sources say.
 */
#define _GNU_SOURCE
#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifdef __aarch64__
#define FPSIMD 0x46508001u
#define ESR 0x45535201u

struct head {
    uint32_t magic, size;
};

static struct {
    int sig, code, frames, depth;
    uint64_t addr, fault, pc, x19, esr, v8, sp_aligned, record_fp, room;
    uint32_t fpcr;
} seen;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    mcontext_t *m = &uc->uc_mcontext;
    uint8_t *p = (uint8_t *)m->__reserved;
    void *stack[32];
    uint64_t *fp = __builtin_frame_address(0);

    memset(&seen, 0, sizeof(seen));
    seen.sig = sig;
    seen.code = info->si_code;
    seen.addr = (uint64_t)info->si_addr;
    seen.fault = m->fault_address;
    seen.pc = m->pc;
    seen.x19 = m->regs[19];
    for (struct head *h; (h = (struct head *)p)->magic; p += h->size) {
        seen.frames++;
        if (h->magic == ESR)
            memcpy(&seen.esr, p + 8, 8);
        if (h->magic == FPSIMD) {
            memcpy(&seen.fpcr, p + 12, 4);
            memcpy(&seen.v8, p + 16 + 8 * 16, 8);
            double changed = 2.5;
            if (sig != SIGUSR1)
                memcpy(p + 16 + 9 * 16, &changed, 8);
        }
    }
    seen.sp_aligned = !((uint64_t)info & 15);
    /* The handler's caller, by the frame pointer, is the record above the frame: the interrupted X29. */
    seen.record_fp = ((uint64_t *)fp[0])[0] == m->regs[29];
    seen.depth = backtrace(stack, 32);
    seen.room = (uint64_t)(fp[0] - (uint64_t)info) < getauxval(AT_MINSIGSTKSZ);
    if (sig != SIGUSR1) {
        m->regs[20] = 0x1234;
        m->pc += 4;
    }
}

/* Runs one instruction with X19 and D8 set; X20 and D9 come from the handler. */
#define TRY(name, text, x0)                                                                                            \
    do {                                                                                                               \
        register uint64_t r0 __asm__("x0") = (uint64_t)(x0);                                                           \
        register uint64_t r19 __asm__("x19") = 0x1919;                                                                 \
        register uint64_t r20 __asm__("x20") = 0;                                                                      \
        register double d8 __asm__("d8") = 8.5;                                                                        \
        register double d9 __asm__("d9") = 0;                                                                          \
        uint64_t at;                                                                                                   \
        __asm__ volatile("adr %[at], 1f\n1: " text                                                                     \
                         : [at] "=&r"(at), "+r"(r0), "+r"(r20), "+w"(d9)                                               \
                         : "r"(r19), "w"(d8)                                                                           \
                         : "memory", "x1", "x2", "cc");                                                                \
        print(name, at, (uint64_t)(x0), r20, d9);                                                                      \
    } while (0)

static void print(const char *name, uint64_t at, uint64_t x0, uint64_t x20, double d9)
{
    double v8;

    memcpy(&v8, &seen.v8, 8);
    printf("%s: signal %d code %d, pc %d, addr %s, fault %s, esr %#lx, records %d, x19 %#lx d8 %g; x20 %#lx d9 %g; "
           "aligned %d record %d unwound %d size %d\n",
           name, seen.sig, seen.code, seen.pc == at,
           seen.addr == at   ? "pc"
           : seen.addr == x0 ? "x0"
                             : "other",
           seen.fault == x0   ? "x0"
           : seen.fault == 0  ? "0"
           : seen.fault == at ? "pc"
                              : "other",
           (unsigned long)seen.esr, seen.frames, (unsigned long)seen.x19, v8, (unsigned long)x20, d9,
           (int)seen.sp_aligned, (int)seen.record_fp, seen.depth > 2, (int)seen.room);
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    munmap(page + 4096, 4096);
    for (int i = 0; i < 5; i++)
        sigaction((int[]){SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGUSR1}[i], &sa, NULL);
    TRY("breakpoint", "brk #1", 0);
    TRY("undefined", ".inst 0x00000000", 0);
    TRY("load of nothing", "ldr x1, [x0]", page + 4096);
    TRY("store to nothing", "str x1, [x0]", page + 4096);
    TRY("store to read-only", "stp x1, x2, [x0]", page + 16);
    TRY("unaligned exclusive", "ldxr x1, [x0]", page + 4);
    TRY("system register", "mrs x1, sctlr_el1", 0);
    TRY("tagged address", "ldr x1, [x0]", (uint64_t)(page + 4096) | UINT64_C(0x55) << 56);
    raise(SIGUSR1);
    printf("sent: signal %d, records %d\n", seen.sig, seen.frames);
    return 0;
}
#else
int main(void)
{
    return 0;
}
#endif
