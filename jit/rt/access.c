/*
 * Recoverable accesses (access.h).
 *
 * The functions between jit_access_begin and jit_access_end keep RBX in R8 and the stack pointer as it was at the call,
 * so that the one way out of all of them, jit_access_failed, can stand in for the rest of any.
 */
#include "jit/rt/access.h"

#define FUNCTION(name, body)                                                                                           \
    ".p2align 4\n"                                                                                                     \
    ".type " #name ", @function\n" #name ":\n"                                                                         \
    "mov %rbx, %r8\n" body "xor %eax, %eax\n"                                                                          \
    "ret\n"                                                                                                            \
    ".size " #name ", . - " #name "\n"
/* rdi: guest, rsi: ours */
#define LOAD(size, reg) FUNCTION(jit_load##size, "mov (%rdi), " reg "\nmov " reg ", (%rsi)\n")
#define STORE(size, reg) FUNCTION(jit_store##size, "mov (%rsi), " reg "\nmov " reg ", (%rdi)\n")
/* rdi: guest, rsi: expected, rdx: desired */
#define CAS(size, expected, desired)                                                                                   \
    FUNCTION(jit_cas##size, "mov (%rsi), " expected "\nmov (%rdx), " desired "\nlock cmpxchg " desired                 \
                            ", (%rdi)\nmov " expected ", (%rsi)\n")

__asm__(".text\n"
        "jit_access_begin:\n" /* clang-format off */
        LOAD(1, "%al") LOAD(2, "%ax") LOAD(4, "%eax") LOAD(8, "%rax")
        FUNCTION(jit_load16, "movups (%rdi), %xmm0\nmovups %xmm0, (%rsi)\n")
        STORE(1, "%al") STORE(2, "%ax") STORE(4, "%eax") STORE(8, "%rax")
        FUNCTION(jit_store16, "movups (%rsi), %xmm0\nmovups %xmm0, (%rdi)\n")
        CAS(1, "%al", "%cl") CAS(2, "%ax", "%cx") CAS(4, "%eax", "%ecx") CAS(8, "%rax", "%rcx")
        FUNCTION(jit_cas16, "mov (%rsi), %rax\nmov (%rdx), %rbx\nmov 8(%rdx), %rcx\nmov 8(%rsi), %rdx\n"
                            "lock cmpxchg16b (%rdi)\nmov %rax, (%rsi)\nmov %rdx, 8(%rsi)\nmov %r8, %rbx\n")
        /* rdi: to, rsi: from, rdx: bytes. What is copied is mostly short: REP would take longer to begin. */
        FUNCTION(jit_copy, "sub $16, %rdx\njb 2f\n"
                           "1: mov (%rsi), %rax\nmov 8(%rsi), %rcx\nmov %rax, (%rdi)\nmov %rcx, 8(%rdi)\n"
                           "add $16, %rsi\nadd $16, %rdi\nsub $16, %rdx\njae 1b\n"
                           "2: add $12, %rdx\njnc 4f\n"
                           "3: mov (%rsi), %eax\nmov %eax, (%rdi)\nadd $4, %rsi\nadd $4, %rdi\nsub $4, %rdx\njae 3b\n"
                           "4: add $4, %rdx\njz 6f\n"
                           "5: mov (%rsi), %al\nmov %al, (%rdi)\ninc %rsi\ninc %rdi\ndec %rdx\njnz 5b\n6:\n")
        /* clang-format on */
        "jit_access_end:\n"
        ".type jit_access_failed, @function\n"
        "jit_access_failed:\n"
        "mov %r8, %rbx\n"
        "mov $1, %eax\n"
        "ret\n"
        ".size jit_access_failed, . - jit_access_failed\n");

#define HIDDEN __attribute__((visibility("hidden"))) extern
HIDDEN const char jit_access_begin[], jit_access_end[], jit_access_failed[];
HIDDEN bool jit_load1(uint64_t, void *), jit_load2(uint64_t, void *), jit_load4(uint64_t, void *);
HIDDEN bool jit_load8(uint64_t, void *), jit_load16(uint64_t, void *);
HIDDEN bool jit_store1(uint64_t, const void *), jit_store2(uint64_t, const void *), jit_store4(uint64_t, const void *);
HIDDEN bool jit_store8(uint64_t, const void *), jit_store16(uint64_t, const void *);
HIDDEN bool jit_cas1(uint64_t, void *, const void *), jit_cas2(uint64_t, void *, const void *);
HIDDEN bool jit_cas4(uint64_t, void *, const void *), jit_cas8(uint64_t, void *, const void *);
HIDDEN bool jit_cas16(uint64_t, void *, const void *), jit_copy(void *, const void *, size_t);

bool jit_access_load(uint64_t va, void *dst, unsigned size)
{
    switch (size) {
    case 1: return jit_load1(va, dst);
    case 2: return jit_load2(va, dst);
    case 4: return jit_load4(va, dst);
    case 8: return jit_load8(va, dst);
    default: return jit_load16(va, dst);
    }
}

bool jit_access_store(uint64_t va, const void *src, unsigned size)
{
    switch (size) {
    case 1: return jit_store1(va, src);
    case 2: return jit_store2(va, src);
    case 4: return jit_store4(va, src);
    case 8: return jit_store8(va, src);
    default: return jit_store16(va, src);
    }
}

bool jit_access_cas(uint64_t va, void *expected, const void *desired, unsigned size)
{
    switch (size) {
    case 1: return jit_cas1(va, expected, desired);
    case 2: return jit_cas2(va, expected, desired);
    case 4: return jit_cas4(va, expected, desired);
    case 8: return jit_cas8(va, expected, desired);
    default: return jit_cas16(va, expected, desired);
    }
}

bool jit_access_copy(void *dst, const void *src, size_t len)
{
    return jit_copy(dst, src, len);
}

uintptr_t jit_access_recover(uintptr_t ip)
{
    bool within = ip - (uintptr_t)jit_access_begin < (uintptr_t)(jit_access_end - jit_access_begin);
    return within ? (uintptr_t)jit_access_failed : 0;
}
