/*
 * Claims are record locks: the kernel frees them with the process, forks do not inherit them, and anyone may ask who
 * holds one. A claim counts only while the lock's file is the one that its name leads to: between opening and locking,
 * whoever had the name may have removed it all.
 */
#include "vmm/service/life/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/util.h"

#define ENTRY_LOCK "lock"
#define ENTRY_INFO "info"
#define ENTRY_INFO_NEW "info.new"
#define ENTRY_CONTROL "control"
#define ENTRY_LOG "log"

#define CONNECT_SECONDS 5
#define CLAIM_TRIES 20 /* of 10 ms: someone may be clearing the entry away */

static const char *const entry_files[] = {ENTRY_INFO, ENTRY_INFO_NEW, ENTRY_CONTROL, ENTRY_LOG, ENTRY_LOCK};

static void entry_close(struct entry *n)
{
    int fds[] = {n->lock, n->dir, n->top};

    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    n->lock = n->dir = n->top = -1;
}

static bool same_file(int fd, int parent, const char *name)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && fstatat(parent, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

/* Who has the lock: 0, a process, or -1 for one that this process cannot see. */
static pid_t lock_holder(int fd)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_GETLK, &l) < 0 || l.l_type == F_UNLCK)
        return 0;
    return l.l_pid > 0 ? l.l_pid : -1;
}

/* 0, or -EAGAIN where someone has it or the entry goes away. */
static int try_claim(struct entry *n, struct err *e)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    n->dir = life_dir_at(n->top, n->name, true, "the run-time folder", e);
    if (n->dir < 0)
        return n->dir;
    n->lock = openat(n->dir, ENTRY_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (n->lock < 0 && errno == ENOENT)
        return -EAGAIN;
    if (n->lock < 0)
        return err_set(e, errno, "the entry of machine %s cannot be made: %s", n->name, strerror(errno));
    if (fcntl(n->lock, F_SETLK, &l) < 0)
        return errno == EACCES || errno == EAGAIN
                   ? -EAGAIN
                   : err_set(e, errno, "the entry of machine %s cannot be locked: %s", n->name, strerror(errno));
    return same_file(n->lock, n->dir, ENTRY_LOCK) && same_file(n->dir, n->top, n->name) ? 0 : -EAGAIN;
}

static int refuse_taken(const char *name, struct err *e)
{
    return err_set(e, EBUSY, "there is a machine %s running already (pipit ps); give this one another --name", name);
}

int entry_claim(struct entry *n, const char *name, struct err *e)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int r = life_name_check(name, e);

    *n = (struct entry){.top = -1, .dir = -1, .lock = -1};
    if (r < 0)
        return r;
    strcpy(n->name, name);
    n->top = life_runtime_dir(true, e);
    if (n->top < 0)
        return n->top;
    for (int i = 0; i < CLAIM_TRIES; i++) {
        r = try_claim(n, e);
        if (r == 0) {
            /* What a killed one left. */
            for (unsigned f = 0; f + 1 < ARRAY_SIZE(entry_files); f++)
                unlinkat(n->dir, entry_files[f], 0);
            return 0;
        }
        if (n->lock >= 0)
            close(n->lock);
        if (n->dir >= 0)
            close(n->dir);
        n->lock = n->dir = -1;
        if (r != -EAGAIN)
            break;
        nanosleep(&pause, NULL);
    }
    entry_close(n);
    return r == -EAGAIN ? refuse_taken(name, e) : r;
}

int entry_check_free(const char *name, struct err *e)
{
    struct entry_view v;
    int r = entry_look(&v, name, e);

    return r < 0 ? r : v.there && v.holder ? refuse_taken(name, e) : 0;
}

void entry_release(struct entry *n)
{
    if (n->lock < 0)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(entry_files); i++)
        unlinkat(n->dir, entry_files[i], 0);
    unlinkat(n->top, n->name, AT_REMOVEDIR);
    entry_close(n);
}

int entry_open_log(const struct entry *n, struct err *e)
{
    int fd = openat(n->dir, ENTRY_LOG, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

    return fd < 0 ? err_set(e, errno, "the log of machine %s cannot be made: %s", n->name, strerror(errno)) : fd;
}

int entry_write_info(const struct entry *n, const char *text, struct err *e)
{
    int fd = openat(n->dir, ENTRY_INFO_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    size_t len = strlen(text);
    bool good =
        fd >= 0 && write(fd, text, len) == (ssize_t)len && renameat(n->dir, ENTRY_INFO_NEW, n->dir, ENTRY_INFO) == 0;
    int r = good ? 0 : err_set(e, errno, "the entry of machine %s cannot be written: %s", n->name, strerror(errno));

    if (fd >= 0)
        close(fd);
    return r;
}

/* Reached through the open folder: names of any length, and nobody can put another folder in its place. */
static struct sockaddr_un control_address(int dir)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" ENTRY_CONTROL, dir);
    return a;
}

int entry_listen(const struct entry *n, struct err *e)
{
    struct sockaddr_un a = control_address(n->dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || fchmodat(n->dir, ENTRY_CONTROL, 0600, 0) < 0 ||
        listen(fd, 8) < 0) {
        int r = err_set(e, errno, "the control socket of machine %s cannot be made: %s", n->name, strerror(errno));

        if (fd >= 0)
            close(fd);
        return r;
    }
    return fd;
}

/* ---- from outside ---- */

/* The open folder of the entry; -ENOENT. */
static int open_entry(const char *name, struct err *e)
{
    int r = life_name_check(name, e), top;

    if (r < 0)
        return r;
    top = life_runtime_dir(false, e);
    if (top < 0)
        return top;
    r = life_dir_at(top, name, false, "the run-time folder", e);
    close(top);
    return r;
}

/* NUL-terminated; "" where it cannot be read. */
static void read_info(int dir, char *out)
{
    int fd = openat(dir, ENTRY_INFO, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, ENTRY_INFO_MAX - 1);

    out[MAX(n, 0)] = '\0';
    if (fd >= 0)
        close(fd);
}

int entry_look(struct entry_view *v, const char *name, struct err *e)
{
    int dir = open_entry(name, e), lock;

    memset(v, 0, sizeof(*v));
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    v->there = true;
    read_info(dir, v->info);
    lock = openat(dir, ENTRY_LOCK, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    v->holder = lock < 0 ? 0 : lock_holder(lock);
    if (lock >= 0)
        close(lock);
    close(dir);
    return 0;
}

const char *entry_info(const struct entry_view *v, const char *key, char *out, size_t size)
{
    size_t len = strlen(key);

    for (const char *p = v->info; *p;) {
        size_t n = strcspn(p, "\n");

        if (n > len && !strncmp(p, key, len) && p[len] == '=') {
            snprintf(out, size, "%.*s", (int)(n - len - 1), p + len + 1);
            return out;
        }
        p += n + (p[n] != '\0');
    }
    return NULL;
}

int entry_connect(const char *name, struct err *e)
{
    const struct timeval patience = {.tv_sec = CONNECT_SECONDS};
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct sockaddr_un a;
    int dir = open_entry(name, e), fd, r = 0;

    if (dir < 0)
        return dir == -ENOENT ? err_set(e, ENOENT, "there is no machine %s running (pipit ps)", name) : dir;
    a = control_address(dir);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        r = err_set(e, errno,
                    errno == ECONNREFUSED || errno == ENOENT ? "there is no machine %s running (pipit ps)"
                                                             : "machine %s cannot be reached: %s",
                    name, strerror(errno));
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != geteuid())
        r = err_set(e, EPERM, "the control socket of machine %s is another user's", name);
    close(dir);
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

int entry_kill(const char *name, struct err *e)
{
    int dir = open_entry(name, e), lock, pidfd, r = 0;
    pid_t pid;

    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    lock = openat(dir, ENTRY_LOCK, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    pid = lock < 0 ? 0 : lock_holder(lock);
    if (pid > 0) {
        /* The number may be another process's by now; one that still holds the lock is the right one. */
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd >= 0 && lock_holder(lock) == pid && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
            r = err_set(e, errno, "process %ld of machine %s cannot be killed: %s", (long)pid, name, strerror(errno));
        if (pidfd >= 0)
            close(pidfd);
    } else if (pid < 0) {
        r = err_set(e, ESRCH, "the process of machine %s cannot be seen from here", name);
    }
    if (lock >= 0)
        close(lock);
    close(dir);
    return r;
}
