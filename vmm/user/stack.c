/*
 * The guest's first stack, see stack.h. The order of the auxiliary vector is the kernel's (create_elf_tables), and so
 * is what it says of users, AT_SECURE and AT_RANDOM: the host made these for this very process.
 */
#include "vmm/user/stack.h"

#include <elf.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/abi.h"
#include "vmm/user/access.h"
#include "vmm/user/cpu.h"
#include "vmm/user/sys/sys.h"

uint64_t user_auxv_find(const uint64_t *auxv, uint64_t type, uint64_t missing)
{
    for (; auxv[0] != AT_NULL; auxv += 2) {
        if (auxv[0] == type)
            return auxv[1];
    }
    return missing;
}

static size_t count_of(const char **list)
{
    size_t n = 0;

    while (list[n])
        n++;
    return n;
}

/* Puts bytes on the stack, which may have reached its limit: *sp is then 0, and stays it. */
static uint64_t put(uint64_t *sp, const void *p, size_t n)
{
    if (*sp)
        *sp = user_copy_out(*sp - n, p, n) ? 0 : *sp - n;
    return *sp;
}

static uint64_t put_string(uint64_t *sp, const char *text)
{
    return put(sp, text, strlen(text) + 1);
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void make_contiguous(uint64_t *sp, const char **list, size_t n)
{
    bool already = true;

    for (size_t i = 0; i + 1 < n; i++)
        already = already && list[i] + strlen(list[i]) + 1 == list[i + 1];
    while (!already && n--)
        list[n] = (const char *)(uintptr_t)put_string(sp, list[n]);
}

#define AUXV_MAX 24

static size_t fill_auxv(const struct user_stack *s, uint64_t execfn, uint64_t platform, uint64_t random,
                        uint64_t auxv[][2])
{
    const struct user_program *p = s->program;
    const uint64_t *h = s->host_auxv;
    const uint64_t rows[][2] = {
        {AT_SYSINFO_EHDR, p->vdso},
        {AT_MINSIGSTKSZ, ABI_SIGFRAME_SIZE},
        {AT_HWCAP, user_hwcap(s->model)},
        {AT_PAGESZ, SYS_PAGE},
        {AT_CLKTCK, user_auxv_find(h, AT_CLKTCK, 100)},
        {AT_PHDR, p->phdr},
        {AT_PHENT, sizeof(Elf64_Phdr)},
        {AT_PHNUM, p->phnum},
        {AT_BASE, p->base},
        {AT_FLAGS, 0},
        {AT_ENTRY, p->entry},
        {AT_UID, user_auxv_find(h, AT_UID, 0)},
        {AT_EUID, user_auxv_find(h, AT_EUID, 0)},
        {AT_GID, user_auxv_find(h, AT_GID, 0)},
        {AT_EGID, user_auxv_find(h, AT_EGID, 0)},
        {AT_SECURE, user_auxv_find(h, AT_SECURE, 0)},
        {AT_RANDOM, random},
        {AT_HWCAP2, user_hwcap2(s->model)},
        {AT_EXECFN, execfn},
        {AT_PLATFORM, platform},
        {AT_NULL, 0},
    };

    _Static_assert(ARRAY_SIZE(rows) <= AUXV_MAX, "auxv");
    memcpy(auxv, rows, sizeof(rows));
    return ARRAY_SIZE(rows);
}

struct user_stack_layout user_stack_build(const struct user_stack *s)
{
    size_t argc = count_of(s->argv), envc = count_of(s->envp), n;
    uint64_t auxv[AUXV_MAX][2], sp = s->top, execfn, platform;
    uint64_t random = user_auxv_find(s->host_auxv, AT_RANDOM, 0);
    struct user_stack_layout l;

    execfn = put_string(&sp, s->execfn);
    platform = put_string(&sp, "aarch64");
    if (s->seeded) {
        uint64_t state = s->seed, bytes[2] = {next_random(&state), next_random(&state)};
        random = put(&sp, bytes, sizeof(bytes));
    }
    make_contiguous(&sp, s->envp, envc);
    make_contiguous(&sp, s->argv, argc);
    n = fill_auxv(s, execfn, platform, random, auxv);
    sp = align_down(sp, 16);
    if ((1 + argc + 1 + envc + 1) % 2)
        put(&sp, &(uint64_t){0}, sizeof(uint64_t));
    l.auxv = put(&sp, auxv, n * sizeof(auxv[0]));
    l.envp = put(&sp, s->envp, (envc + 1) * sizeof(uint64_t));
    l.argv = put(&sp, s->argv, (argc + 1) * sizeof(uint64_t));
    l.sp = put(&sp, &(uint64_t){argc}, sizeof(uint64_t));
    l.auxv_size = n * sizeof(auxv[0]);
    return l;
}
