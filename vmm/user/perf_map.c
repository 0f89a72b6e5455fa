/* The map for perf, see perf_map.h. No descriptor is kept open: all of them are the guest's. */
#include "vmm/user/perf_map.h"

#include <linux/fcntl.h>
#include <stdio.h>

#include "jit/perf.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

/* A child of vfork writes to its parent's, as its memory is the parent's. */
static char name[40];

void user_perf_map_add(uint64_t pc, const void *code, uint32_t size)
{
    bool first = !name[0];
    char line[JIT_PERF_LINE_MAX];
    long fd;

    /* The folder is everybody's: what somebody else has put there is not written to. */
    if (first) {
        snprintf(name, sizeof(name), "/tmp/perf-%ld.map", sys_call(__NR_getpid));
        sys_call(__NR_unlinkat, AT_FDCWD, name, 0);
    }
    fd = sys_call(__NR_openat, AT_FDCWD, name,
                  O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | (first ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0)
        return;
    sys_call(__NR_write, fd, line, jit_perf_line(line, pc, code, size));
    sys_call(__NR_close, fd);
}

void user_perf_map_forked(void)
{
    name[0] = '\0';
}
