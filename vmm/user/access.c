/* Access to the guest's memory: see access.h. */
#include "vmm/user/access.h"

#include <errno.h>

uint64_t user_access_landing(uint64_t pc)
{
    for (const struct user_extable_entry *e = __start_user_extable; e < __stop_user_extable; e++) {
        if ((uint64_t)(uintptr_t)&e->insn + (uint64_t)(int64_t)e->insn == pc)
            return (uint64_t)(uintptr_t)&e->landing + (uint64_t)(int64_t)e->landing;
    }
    return 0;
}

int user_get128(uint64_t va, void *out)
{
    register long bad __asm__("r11") = 0;

    __asm__ volatile("1: movdqu (%[p]), %%xmm0\n" USER_EXTABLE "movdqu %%xmm0, (%[out])\n"
                     : "+r"(bad)
                     : [p] "r"(va), [out] "r"(out)
                     : "memory", "xmm0");
    return (int)bad;
}

int user_put128(uint64_t va, const void *src)
{
    register long bad __asm__("r11") = 0;

    __asm__ volatile("movdqu (%[src]), %%xmm0\n"
                     "1: movdqu %%xmm0, (%[p])\n" USER_EXTABLE
                     : "+r"(bad)
                     : [p] "r"(va), [src] "r"(src)
                     : "memory", "xmm0");
    return (int)bad;
}

int user_cas128(uint64_t va, uint64_t expected[2], const uint64_t desired[2])
{
    register long bad __asm__("r11") = 0;

    __asm__ volatile("1: lock cmpxchg16b (%[p])\n" USER_EXTABLE
                     : "+r"(bad), "+a"(expected[0]), "+d"(expected[1])
                     : [p] "r"(va), "b"(desired[0]), "c"(desired[1])
                     : "memory", "cc");
    return (int)bad;
}

int user_copy_in(void *dst, uint64_t va, size_t len)
{
    register long bad __asm__("r11") = 0;

    __asm__ volatile("1: rep movsb\n" USER_EXTABLE : "+r"(bad), "+D"(dst), "+S"(va), "+c"(len) : : "memory");
    return (int)bad;
}

int user_copy_out(uint64_t va, const void *src, size_t len)
{
    register long bad __asm__("r11") = 0;

    __asm__ volatile("1: rep movsb\n" USER_EXTABLE : "+r"(bad), "+D"(va), "+S"(src), "+c"(len) : : "memory");
    return (int)bad;
}

int user_clear(uint64_t va, size_t len)
{
    register long bad __asm__("r11") = 0;

    __asm__ volatile("1: rep stosb\n" USER_EXTABLE : "+r"(bad), "+D"(va), "+c"(len) : "a"(0) : "memory");
    return (int)bad;
}

long user_copy_string(char *dst, uint64_t va, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (user_get8(va + i, (uint8_t *)&dst[i]))
            return -EFAULT;
        if (!dst[i])
            return (long)i;
    }
    return -ENAMETOOLONG;
}
