/*
 * "Core dumped" in the wait status (core.h). Only the kernel sets that bit, and only where it has written a core file:
 * so it gets to write the first page of one, into a file system in memory that nobody else has, and that ends with the
 * working directory of this process.
 *
 * A mount needs CAP_SYS_ADMIN. Who has it not has it in a user namespace: a child in one makes the mount and leaves its
 * descriptor in the table that both have.
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <stdio.h>
#include <string.h>

#include "vmm/user/core.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

/* A new tmpfs that is mounted nowhere: a descriptor of its root, or -errno. */
static long private_folder(void)
{
    long fs = sys_call(__NR_fsopen, "tmpfs", FSOPEN_CLOEXEC), r;

    if (fs < 0)
        return fs;
    r = sys_call(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (!r)
        r = sys_call(__NR_fsmount, fs, FSMOUNT_CLOEXEC, 0);
    sys_call(__NR_close, fs);
    return r;
}

static bool write_file(const char *path, const char *text)
{
    long fd = sys_call(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0), r;

    if (fd < 0)
        return false;
    r = sys_call(__NR_write, fd, text, strlen(text));
    sys_call(__NR_close, fd);
    return r > 0;
}

/* In the child: its file system must know this user and group, or nobody could make a file there. */
static void make_folder(long place, uint32_t uid, uint32_t gid)
{
    char users[32], groups[32];
    long fd = -1;

    snprintf(users, sizeof(users), "%u %u 1", uid, uid);
    snprintf(groups, sizeof(groups), "%u %u 1", gid, gid);
    if (write_file("/proc/self/uid_map", users) && write_file("/proc/self/setgroups", "deny") &&
        write_file("/proc/self/gid_map", groups))
        fd = private_folder();
    if (fd >= 0)
        sys_call(__NR_dup3, fd, place, O_CLOEXEC);
    sys_call(__NR_close, fd);
    sys_call(__NR_exit_group, 0);
}

/* The descriptor; where it is not of a folder, none was made. */
static long folder_of_namespace(void)
{
    uint32_t uid = (uint32_t)sys_call(__NR_geteuid), gid = (uint32_t)sys_call(__NR_getegid);
    long place = sys_call(__NR_eventfd2, 0, O_CLOEXEC), pid;

    if (place < 0)
        return place;
    /* Without an exit signal, and unseen by tracers: the guest has no such child. */
    pid = sys_call(__NR_clone, CLONE_FILES | CLONE_VFORK | CLONE_NEWUSER | CLONE_NEWNS | CLONE_UNTRACED, 0, 0, 0, 0);
    if (!pid)
        make_folder(place, uid, gid);
    if (pid > 0)
        sys_call(__NR_wait4, pid, NULL, __WALL, NULL);
    return place;
}

bool user_core_status(void)
{
    long fd = private_folder();

    if (fd < 0)
        fd = folder_of_namespace();
    /* Others may share the working directory with us. */
    return fd >= 0 && !sys_call(__NR_unshare, CLONE_FS) && !sys_call(__NR_fchdir, fd);
}
