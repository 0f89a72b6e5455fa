/*
 * Access to the guest's memory from C. The guest's addresses are the host's, so an access is one host instruction; one
 * that faults is listed in the table `user_extable`, and the signal handler goes on behind it with R11 set to 1
 * (host_signal.c).
 *
 * All functions return 0, or USER_FAULT when the access faulted.
 */
#ifndef PIPIT_USER_ACCESS_H
#define PIPIT_USER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USER_FAULT 1

/* The end of the guest's address space, exclusive: what the host gives to programs. */
#define USER_TASK_SIZE UINT64_C(0x7ffffffff000)

/* An address without its tag, which is a sign extension of bit 55. */
static inline uint64_t user_untagged(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 8) >> 8);
}

/* Where a faulting instruction is and where to go on, both relative to the entry's own fields. */
struct user_extable_entry {
    int32_t insn, landing;
};
extern const struct user_extable_entry __start_user_extable[] __attribute__((visibility("hidden")));
extern const struct user_extable_entry __stop_user_extable[] __attribute__((visibility("hidden")));

/* The landing of the access at host address `pc`, or 0. */
uint64_t user_access_landing(uint64_t pc);

#define USER_EXTABLE                                                                                                   \
    ".pushsection user_extable, \"a\"\n"                                                                               \
    ".balign 4\n"                                                                                                      \
    ".long 1b - .\n"                                                                                                   \
    ".long 2f - .\n"                                                                                                   \
    ".popsection\n"                                                                                                    \
    "2:\n"

#define USER_ACCESSOR(bits, type, constraint)                                                                          \
    static inline int user_get##bits(uint64_t va, type *out)                                                           \
    {                                                                                                                  \
        register long bad __asm__("r11") = 0;                                                                          \
        type v = 0;                                                                                                    \
        __asm__ volatile("1: mov (%[p]), %[v]\n" USER_EXTABLE                                                          \
                         : "+r"(bad), [v] "+" constraint(v)                                                            \
                         : [p] "r"(va)                                                                                 \
                         : "memory");                                                                                  \
        *out = v;                                                                                                      \
        return (int)bad;                                                                                               \
    }                                                                                                                  \
    static inline int user_put##bits(uint64_t va, type v)                                                              \
    {                                                                                                                  \
        register long bad __asm__("r11") = 0;                                                                          \
        __asm__ volatile("1: mov %[v], (%[p])\n" USER_EXTABLE                                                          \
                         : "+r"(bad)                                                                                   \
                         : [v] constraint(v), [p] "r"(va)                                                              \
                         : "memory");                                                                                  \
        return (int)bad;                                                                                               \
    }                                                                                                                  \
    /* *expected is replaced by what was there; it was swapped where that is the same. */                              \
    static inline int user_cas##bits(uint64_t va, type *expected, type desired)                                        \
    {                                                                                                                  \
        register long bad __asm__("r11") = 0;                                                                          \
        __asm__ volatile("1: lock cmpxchg %[new], (%[p])\n" USER_EXTABLE                                               \
                         : "+r"(bad), "+a"(*expected)                                                                  \
                         : [new] constraint(desired), [p] "r"(va)                                                      \
                         : "memory", "cc");                                                                            \
        return (int)bad;                                                                                               \
    }
USER_ACCESSOR(8, uint8_t, "q")
USER_ACCESSOR(16, uint16_t, "r")
USER_ACCESSOR(32, uint32_t, "r")
USER_ACCESSOR(64, uint64_t, "r")
#undef USER_ACCESSOR

/* 16 bytes; cas128 wants them aligned. */
int user_get128(uint64_t va, void *out);
int user_put128(uint64_t va, const void *src);
int user_cas128(uint64_t va, uint64_t expected[2], const uint64_t desired[2]);

/* Any number of bytes; what came before a fault has been copied. */
int user_copy_in(void *dst, uint64_t va, size_t len);
int user_copy_out(uint64_t va, const void *src, size_t len);
int user_clear(uint64_t va, size_t len);

/* The string at va with its NUL. Its length; -EFAULT; -ENAMETOOLONG where it does not fit. */
long user_copy_string(char *dst, uint64_t va, size_t size);

#endif
