/*
 * jit-PID.dump, see perf_map.h. perf finds the file by its name, in the record of its mapping: a page of it is mapped
 * executable, as the specification asks. No descriptor is kept open: all of them are the guest's.
 */
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/time.h>
#include <linux/uio.h>
#include <stdio.h>
#include <string.h>

#include "jit/perf.h"
#include "vmm/user/clock.h"
#include "vmm/user/path.h"
#include "vmm/user/perf_map.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

static char name[USER_PATH_MAX + 32]; /* "": none yet */
static uint32_t pid;
static uint64_t count;
static void *mark; /* the page of it */

/* `perf record -k mono`: the clock that it must be told to use. */
static uint64_t now(void)
{
    int64_t ts[2];

    user_clock_gettime(CLOCK_MONOTONIC, ts);
    return (uint64_t)ts[0] * 1000000000 + (uint64_t)ts[1];
}

static long begin(void)
{
    long n = sys_call(__NR_getcwd, name, USER_PATH_MAX), fd;
    struct jit_dump_header h;
    size_t len = n > 0 ? (size_t)n - 1 : 0;

    pid = (uint32_t)sys_call(__NR_getpid);
    snprintf(name + len, sizeof(name) - len, "/jit-%u.dump", pid);
    sys_call(__NR_unlinkat, AT_FDCWD, name, 0);
    fd = sys_call(__NR_openat, AT_FDCWD, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return fd;
    jit_dump_begin(&h, pid, now());
    sys_call(__NR_write, fd, &h, sizeof(h));
    if (!mark)
        mark = sys_map(SYS_PAGE, SYS_PAGE, PROT_NONE);
    if (mark)
        sys_call(__NR_mmap, mark, SYS_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
    return fd;
}

void user_jitdump_add(uint64_t pc, const void *code, uint32_t size)
{
    struct jit_dump_load r = {.timestamp = now(), .code_index = count++};
    long fd =
        name[0] ? sys_call(__NR_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0) : begin();

    if (fd < 0)
        return;
    r.pid = pid;
    r.tid = (uint32_t)sys_call(__NR_gettid);
    struct iovec part[] = {{&r, jit_dump_add(&r, pc, code, size)}, {(void *)(uintptr_t)code, size}};
    sys_call(__NR_writev, fd, part, 2);
    sys_call(__NR_close, fd);
}

void user_jitdump_forked(void)
{
    name[0] = '\0';
    count = 0;
}
