/* Descriptors of our own, see own_fd.h, and the guest's system calls that could meet one. */
#include "vmm/user/own_fd.h"

#include <errno.h>
#include <linux/fcntl.h>
#include <linux/resource.h>

#include "vmm/base/util.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/syscall.h"

/* Above what programs use, and below what makes the kernel's table of them large. */
#define PLACE_MOST 4096ul

static int *slot[USER_OWN_FDS];
static unsigned used; /* slots that have been in use: most processes have none */

bool user_own_fd_is(uint32_t fd)
{
    for (unsigned i = 0; i < used; i++) {
        if (slot[i] && (uint32_t)*slot[i] == fd)
            return true;
    }
    return false;
}

/* A copy with a high number; -errno. */
static long copy_high(int fd)
{
    struct rlimit limit = {.rlim_cur = PLACE_MOST};
    long r, least;

    sys_call(__NR_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    least = (long)MIN(limit.rlim_cur, PLACE_MOST) - 2L * USER_OWN_FDS;
    r = sys_call(__NR_fcntl, fd, F_DUPFD_CLOEXEC, MAX(least, 3L));
    return sys_is_err(r) ? sys_call(__NR_fcntl, fd, F_DUPFD_CLOEXEC, 3) : r;
}

int user_own_fd_add(int *fd)
{
    unsigned i = 0;
    long high;

    while (i < used && slot[i])
        i++;
    if (i == USER_OWN_FDS)
        return -EMFILE;
    high = copy_high(*fd);
    if (sys_is_err(high))
        return (int)high;
    sys_call(__NR_close, *fd);
    *fd = (int)high;
    slot[i] = fd;
    used = MAX(used, i + 1);
    return 0;
}

void user_own_fd_close(int *fd)
{
    for (unsigned i = 0; i < used; i++) {
        if (slot[i] == fd)
            slot[i] = NULL;
    }
    if (*fd >= 0)
        sys_call(__NR_close, *fd);
    *fd = -1;
}

/* ---- system calls ---- */

int64_t user_call_file_close(struct user_thread *t, const uint64_t a[6])
{
    if (unlikely(used) && user_own_fd_is((uint32_t)a[0]))
        return -EBADF;
    return user_host_call(t, __NR_close, a[0]);
}

int64_t user_call_file_close_range(struct user_thread *t, const uint64_t a[6])
{
    uint32_t first = (uint32_t)a[0], last = (uint32_t)a[1];

    /* Piece by piece around ours, from the lowest. */
    while (used && first <= last) {
        uint32_t next = UINT32_MAX;
        for (unsigned i = 0; i < used; i++) {
            if (slot[i] && (uint32_t)*slot[i] >= first)
                next = MIN(next, (uint32_t)*slot[i]);
        }
        if (next > last)
            break;
        if (next > first) {
            int64_t r = user_host_call(t, __NR_close_range, first, next - 1, a[2]);
            if (r)
                return r;
        }
        if (next == last)
            return 0;
        first = next + 1;
    }
    return user_host_call(t, __NR_close_range, first, last, a[2]);
}

int64_t user_call_file_dup3(struct user_thread *t, const uint64_t a[6])
{
    if (unlikely(used) && !t->vfork) { /* such a child has a table of its own */
        if (user_own_fd_is((uint32_t)a[0]))
            return -EBADF;
        for (unsigned i = 0; i < used; i++) {
            if (!slot[i] || (uint32_t)*slot[i] != (uint32_t)a[1])
                continue;
            /* The guest wants the number: ours moves on. */
            long r = sys_call(__NR_fcntl, *slot[i], F_DUPFD_CLOEXEC, *slot[i] + 1);
            if (sys_is_err(r))
                return -EBADF;
            sys_call(__NR_close, *slot[i]);
            *slot[i] = (int)r;
        }
    }
    return user_host_call(t, __NR_dup3, a[0], a[1], a[2]);
}
