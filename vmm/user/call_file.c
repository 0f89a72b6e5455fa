/*
 * Files: what the two ABIs have different. Four open flags have other values, `stat` another layout, and two old
 * structures other widths.
 */
#include <asm/ioctls.h>
#include <asm/stat.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/ioctl.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <linux/sem.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/open_flags.h"
#include "vmm/user/path.h"
#include "vmm/user/proc.h"
#include "vmm/user/proc_text.h"
#include "vmm/user/seccomp.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"

/* ---- open flags ---- */

struct flag_pair {
    uint32_t guest, host;
};
static const struct flag_pair open_flags[] = {
    {ABI_O_DIRECTORY, O_DIRECTORY},
    {ABI_O_NOFOLLOW, O_NOFOLLOW},
    {ABI_O_DIRECT, O_DIRECT},
    {ABI_O_LARGEFILE, O_LARGEFILE},
};

uint64_t user_open_flags_to_host(uint64_t guest)
{
    uint64_t host = guest & ~(uint64_t)(ABI_O_DIRECTORY | ABI_O_NOFOLLOW | ABI_O_DIRECT | ABI_O_LARGEFILE);

    for (size_t i = 0; i < ARRAY_SIZE(open_flags); i++)
        host |= guest & open_flags[i].guest ? open_flags[i].host : 0;
    return host;
}

uint64_t user_open_flags_to_guest(uint64_t host)
{
    uint64_t guest = host & ~(uint64_t)(O_DIRECTORY | O_NOFOLLOW | O_DIRECT | O_LARGEFILE);

    for (size_t i = 0; i < ARRAY_SIZE(open_flags); i++)
        guest |= host & open_flags[i].host ? open_flags[i].guest : 0;
    return guest;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Makes `path` absolute, from where `dir` leads. */
static bool make_absolute(int dir, char *path, size_t room)
{
    char link[32], text[128];
    long n;

    snprintf(link, sizeof(link), dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
    n = sys_call(__NR_readlinkat, AT_FDCWD, link, text, sizeof(text));
    if (n <= 0 || (size_t)n >= sizeof(text))
        return false;
    text[n] = '\0';
    n = snprintf(text + n, sizeof(text) - (size_t)n, "/%s", path) + n;
    if ((size_t)n >= sizeof(text))
        return false;
    /* The root's name ends with a slash already. */
    return (size_t)snprintf(path, room, "%s", text + (text[1] == '/')) < room;
}

/* Files of /proc that are made for the guest, also by way of a directory. */
static int open_proc(uint64_t dir, uint64_t va, uint64_t flags)
{
    char text[128], *path = text;
    uint32_t head;

    if (user_get32(va, &head) ||
        ((head & 0xff) == '/' && (head & 0xffff) != 0x2f2f && head != 0x6f72702f /* "/pro" */) ||
        user_copy_string(text, va, sizeof(text)) < 0)
        return USER_PROC_OTHER;
    while (path[0] == '/' && path[1] == '/')
        path++;
    if (path[0] != '/' && (!user_proc_may_be(last_part(path)) || !make_absolute((int)dir, text, sizeof(text))))
        return USER_PROC_OTHER;
    return user_proc_open(path, flags);
}

int64_t user_call_file_openat(struct user_thread *t, const uint64_t a[6])
{
    char buf[USER_PATH_MAX];
    uint64_t flags = user_open_flags_to_host((uint32_t)a[2]);
    int fd = open_proc(a[0], a[1], flags);

    if (fd != USER_PROC_OTHER)
        return fd;
    return user_host_call(t, __NR_openat, a[0], user_path_argument(a[1], buf), flags, a[3]);
}

/* The structure is read once; what is behind the part we know must be zero. */
int64_t user_call_file_openat2(struct user_thread *t, const uint64_t a[6])
{
    struct open_how h;
    char buf[USER_PATH_MAX];
    uint8_t extra;

    if (a[3] < sizeof(h))
        return -EINVAL;
    if (a[3] > SYS_PAGE)
        return -E2BIG;
    if (user_copy_in(&h, a[2], sizeof(h)))
        return -EFAULT;
    for (uint64_t i = sizeof(h); i < a[3]; i++) {
        if (user_get8(a[2] + i, &extra))
            return -EFAULT;
        if (extra)
            return -E2BIG;
    }
    h.flags = user_open_flags_to_host(h.flags);
    int fd = h.resolve ? USER_PROC_OTHER : open_proc(a[0], a[1], h.flags);
    if (fd != USER_PROC_OTHER)
        return fd;
    return user_host_call(t, __NR_openat2, a[0], h.resolve ? a[1] : user_path_argument(a[1], buf), &h, sizeof(h));
}

int64_t user_call_file_open_by_handle_at(struct user_thread *t, const uint64_t a[6])
{
    return user_host_call(t, __NR_open_by_handle_at, a[0], a[1], user_open_flags_to_host((uint32_t)a[2]));
}

int64_t user_call_file_mq_open(struct user_thread *t, const uint64_t a[6])
{
    return user_host_call(t, __NR_mq_open, a[0], user_open_flags_to_host((uint32_t)a[1]), a[2], a[3]);
}

int64_t user_call_file_pipe2(struct user_thread *t, const uint64_t a[6])
{
    return user_host_call(t, __NR_pipe2, a[0], user_open_flags_to_host((uint32_t)a[1]));
}

int64_t user_call_file_fanotify_init(struct user_thread *t, const uint64_t a[6])
{
    return user_host_call(t, __NR_fanotify_init, a[0], user_open_flags_to_host((uint32_t)a[1]));
}

int64_t user_call_file_fcntl(struct user_thread *t, const uint64_t a[6])
{
    int64_t r;

    switch ((uint32_t)a[1]) {
    case F_SETFL: return user_host_call(t, __NR_fcntl, a[0], a[1], user_open_flags_to_host((uint32_t)a[2]));
    case F_GETFL:
        r = user_host_call(t, __NR_fcntl, a[0], a[1]);
        return r < 0 ? r : (int64_t)user_open_flags_to_guest((uint64_t)r);
    default: return user_host_call(t, __NR_fcntl, a[0], a[1], a[2]);
    }
}

/* ---- stat ---- */

static int64_t put_stat(uint64_t va, const struct stat *s)
{
    struct abi_stat g = {
        .dev = s->st_dev,
        .ino = s->st_ino,
        .mode = s->st_mode,
        .nlink = (uint32_t)s->st_nlink,
        .uid = s->st_uid,
        .gid = s->st_gid,
        .rdev = s->st_rdev,
        .size = s->st_size,
        .blksize = (int32_t)s->st_blksize,
        .blocks = s->st_blocks,
        .atime = (int64_t)s->st_atime,
        .atime_nsec = s->st_atime_nsec,
        .mtime = (int64_t)s->st_mtime,
        .mtime_nsec = s->st_mtime_nsec,
        .ctime = (int64_t)s->st_ctime,
        .ctime_nsec = s->st_ctime_nsec,
    };
    return user_copy_out(va, &g, sizeof(g)) ? -EFAULT : 0;
}

int64_t user_call_file_newfstatat(struct user_thread *t, const uint64_t a[6])
{
    char buf[USER_PATH_MAX];
    struct stat s;
    int64_t r = user_host_call(t, __NR_newfstatat, a[0], user_path_argument(a[1], buf), &s, a[3]);

    return r ? r : put_stat(a[2], &s);
}

int64_t user_call_file_fstat(struct user_thread *t, const uint64_t a[6])
{
    struct stat s;
    int64_t r = user_host_call(t, __NR_fstat, a[0], &s);

    return r ? r : put_stat(a[1], &s);
}

/* ---- old structures ---- */

static int64_t loop_set_status(struct user_thread *t, const uint64_t a[6])
{
    struct abi_loop_info g;
    struct loop_info h = {0};

    if (user_copy_in(&g, a[2], sizeof(g)))
        return -EFAULT;
    h.lo_number = g.number;
    h.lo_device = g.device;
    h.lo_inode = g.inode;
    h.lo_rdevice = g.rdevice;
    h.lo_offset = g.offset;
    h.lo_encrypt_type = g.encrypt_type;
    h.lo_encrypt_key_size = g.encrypt_key_size;
    h.lo_flags = g.flags;
    memcpy(h.lo_name, g.name, sizeof(h.lo_name));
    memcpy(h.lo_encrypt_key, g.encrypt_key, sizeof(h.lo_encrypt_key));
    memcpy(h.lo_init, g.init, sizeof(h.lo_init));
    memcpy(h.reserved, g.reserved, sizeof(h.reserved));
    return user_host_call(t, __NR_ioctl, a[0], LOOP_SET_STATUS, &h);
}

static int64_t loop_get_status(struct user_thread *t, const uint64_t a[6])
{
    struct loop_info h;
    int64_t r = user_host_call(t, __NR_ioctl, a[0], LOOP_GET_STATUS, &h);

    if (r)
        return r;
    struct abi_loop_info g = {
        .number = h.lo_number,
        .device = (uint32_t)h.lo_device,
        .inode = h.lo_inode,
        .rdevice = (uint32_t)h.lo_rdevice,
        .offset = h.lo_offset,
        .encrypt_type = h.lo_encrypt_type,
        .encrypt_key_size = h.lo_encrypt_key_size,
        .flags = h.lo_flags,
    };
    memcpy(g.name, h.lo_name, sizeof(g.name));
    memcpy(g.encrypt_key, h.lo_encrypt_key, sizeof(g.encrypt_key));
    memcpy(g.init, h.lo_init, sizeof(g.init));
    memcpy(g.reserved, h.reserved, sizeof(g.reserved));
    return user_copy_out(a[2], &g, sizeof(g)) ? -EFAULT : 0;
}

int64_t user_call_file_ioctl(struct user_thread *t, const uint64_t a[6])
{
    switch ((uint32_t)a[1]) {
    case TIOCGPTPEER: return user_host_call(t, __NR_ioctl, a[0], a[1], user_open_flags_to_host((uint32_t)a[2]));
    case LOOP_SET_STATUS: return loop_set_status(t, a);
    case SECCOMP_IOCTL_NOTIF_RECV: return user_seccomp_receive(t, a);
    case LOOP_GET_STATUS: return loop_get_status(t, a);
    default: return user_host_call(t, __NR_ioctl, a[0], a[1], a[2]);
    }
}

/* semid_ds has a spare word behind each time on x86-64. */
int64_t user_call_file_semctl(struct user_thread *t, const uint64_t a[6])
{
    int cmd = (int)a[2];
    struct abi_semid_ds g = {0};
    struct semid64_ds h = {0};
    int64_t r;

    _Static_assert(sizeof(h.sem_perm) == sizeof(g.perm), "ipc64_perm");
    if (cmd == IPC_SET) {
        if (user_copy_in(&g, a[3], sizeof(g)))
            return -EFAULT;
        memcpy(&h.sem_perm, g.perm, sizeof(g.perm));
        return user_host_call(t, __NR_semctl, a[0], a[1], a[2], &h);
    }
    if (cmd != IPC_STAT && cmd != SEM_STAT && cmd != SEM_STAT_ANY)
        return user_host_call(t, __NR_semctl, a[0], a[1], a[2], a[3]);
    r = user_host_call(t, __NR_semctl, a[0], a[1], a[2], &h);
    if (r < 0)
        return r;
    memcpy(g.perm, &h.sem_perm, sizeof(g.perm));
    g.otime = (int64_t)h.sem_otime;
    g.ctime = (int64_t)h.sem_ctime;
    g.nsems = h.sem_nsems;
    return user_copy_out(a[3], &g, sizeof(g)) ? -EFAULT : r;
}
