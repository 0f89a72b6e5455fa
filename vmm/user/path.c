/* Paths of the guest: see path.h. */
#include "vmm/user/path.h"

#include <errno.h>
#include <linux/fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/proc.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"

static const char *prefix;

void user_path_set_prefix(const char *p)
{
    prefix = p && *p && strcmp(p, "/") ? p : NULL;
}

const char *user_path_prefix(void)
{
    return prefix;
}

/* The root, and the folders that a tree has empty for the kernel to fill. */
static bool is_kernels(const char *path)
{
    static const char *const names[] = {"/", "/dev", "/proc", "/sys"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(path, names[i]))
            return true;
    return false;
}

const char *user_path_lookup(const char *path, char buf[USER_PATH_MAX])
{
    int n;

    if (!prefix || path[0] != '/' || is_kernels(path))
        return path;
    n = snprintf(buf, USER_PATH_MAX, "%s%s", prefix, path);
    if (n >= USER_PATH_MAX || sys_call(__NR_faccessat, AT_FDCWD, buf, 0))
        return path;
    return buf;
}

uint64_t user_path_argument(uint64_t va, char buf[USER_PATH_MAX])
{
    char path[USER_PATH_MAX], program[USER_PATH_MAX];
    uint64_t head;
    const char *exe;

    /* Most paths are not read here at all. */
    bool proc = !user_get64(va, &head) && (head & (BIT64(48) - 1)) == UINT64_C(0x2f636f72702f); /* "/proc/" */
    if ((!prefix && !proc) || user_copy_string(path, va, sizeof(path)) < 0)
        return va;
    exe = proc ? user_proc_exe(path, program) : NULL;
    if (exe == program)
        exe = memcpy(buf, program, strlen(program) + 1);
    if (exe)
        return (uint64_t)(uintptr_t)exe;
    return user_path_lookup(path, buf) == buf ? (uint64_t)(uintptr_t)buf : va;
}

/* readlink of /proc/PID/exe is the path itself. */
int64_t user_call_path_readlinkat(struct user_thread *t, const uint64_t a[6])
{
    char path[USER_PATH_MAX], program[USER_PATH_MAX];
    const char *exe;
    size_t n;

    if (user_copy_string(path, a[1], sizeof(path)) < 0 || !(exe = user_proc_exe(path, program)))
        return user_call_path1(t, a);
    if ((int)a[3] <= 0)
        return -EINVAL;
    n = MIN(strlen(exe), (size_t)(int)a[3]);
    return user_copy_out(a[2], exe, n) ? -EFAULT : (int64_t)n;
}

static int64_t with_path(struct user_thread *t, const uint64_t a[6], unsigned which)
{
    char buf[USER_PATH_MAX];
    uint64_t b[6];

    memcpy(b, a, sizeof(b));
    b[which] = user_path_argument(a[which], buf);
    return sys_gate(user_calls[(uint32_t)t->cpu->x[8]].host, b, &t->gate);
}

int64_t user_call_path0(struct user_thread *t, const uint64_t a[6])
{
    return with_path(t, a, 0);
}

int64_t user_call_path1(struct user_thread *t, const uint64_t a[6])
{
    return with_path(t, a, 1);
}
