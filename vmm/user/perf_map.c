/* The map for perf, see perf_map.h. No descriptor is kept open: all of them are the guest's. */
#include "vmm/user/perf_map.h"

#include <linux/fcntl.h>
#include <stdio.h>

#include "vmm/user/options.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

static long of; /* the process whose map was begun */

void user_perf_map_add(void *opaque, uint64_t pc, const void *code, uint32_t size)
{
    long pid, fd;
    char name[40], line[80];
    int n;

    (void)opaque;
    if (!user_options.perf_map)
        return;
    pid = sys_call(__NR_getpid);
    snprintf(name, sizeof(name), "/tmp/perf-%ld.map", pid);
    /* The folder is everybody's: what somebody else has put there is not written to. */
    if (pid != of)
        sys_call(__NR_unlinkat, AT_FDCWD, name, 0);
    fd = sys_call(__NR_openat, AT_FDCWD, name,
                  O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | (pid != of ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0)
        return;
    of = pid;
    n = snprintf(line, sizeof(line), "%lx %x arm64:%lx\n", (unsigned long)(uintptr_t)code, size, (unsigned long)pc);
    sys_call(__NR_write, fd, line, n);
    sys_call(__NR_close, fd);
}
