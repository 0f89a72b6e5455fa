/*
 * Open flags that arm64 and x86-64 number differently (O_DIRECTORY, O_NOFOLLOW, O_DIRECT, O_LARGEFILE), wherever the
 * kernel takes or shows them: in each call that makes a descriptor, in fcntl, and in /proc/self/fdinfo.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* libc has 0 for it. */
#ifdef __aarch64__
#define LARGE 0400000
#else
#define LARGE 0100000
#endif
#define DIFFERENT (O_DIRECTORY | O_NOFOLLOW | O_DIRECT | LARGE)

static char dir[] = "/tmp/pipit-flags-XXXXXX";

static void print(const char *what, unsigned long flags)
{
    printf("  %s:%s%s%s%s, others %lo\n", what, flags & O_DIRECTORY ? " directory" : "",
           flags & O_NOFOLLOW ? " nofollow" : "", flags & O_DIRECT ? " direct" : "", flags & LARGE ? " large" : "",
           flags & ~(unsigned long)DIFFERENT);
}

static void print_fdinfo(const char *what, int from, const char *path)
{
    char text[1024] = "", *line;
    int fd = openat(from, path, O_RDONLY);

    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || !(line = strstr(text, "flags:")))
        printf("  %s: %s\n", what, strerror(errno));
    else
        print(what, strtoul(line + 6, NULL, 8));
    close(fd);
}

/* Takes the descriptor over. */
static void show(const char *what, long fd)
{
    char path[64];
    int folder;

    printf("%s %s\n", what, fd < 0 ? strerror(errno) : "ok");
    if (fd < 0)
        return;
    print("fcntl", (unsigned long)fcntl((int)fd, F_GETFL));
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%ld", fd);
    print_fdinfo("fdinfo", AT_FDCWD, path);
    folder = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof(path), "%ld", fd);
    print_fdinfo("fdinfo by its folder", folder, path);
    close(folder);
    close((int)fd);
}

static void opened(void)
{
    struct open_how how = {.flags = O_RDONLY | O_NOFOLLOW | O_DIRECTORY};
    struct {
        struct file_handle h;
        char room[MAX_HANDLE_SZ];
    } handle = {.h.handle_bytes = MAX_HANDLE_SZ};
    int mount, folder = open(".", O_RDONLY | O_DIRECTORY);

    show("directory", open(".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    show("file", open("file", O_RDWR | O_APPEND));
    show("large", open("file", O_RDONLY | LARGE));
    show("direct", open("file", O_RDONLY | O_DIRECT | O_SYNC));
    show("temporary", open(".", O_TMPFILE | O_RDWR, 0600));
    show("path", open("link", O_PATH | O_NOFOLLOW));
    show("path of a directory", open(".", O_PATH | O_DIRECTORY));
    show("not followed", open("link", O_RDONLY | O_NOFOLLOW));
    show("openat2", syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how)));
    how.flags = O_RDONLY | O_DIRECT;
    show("openat2 direct", syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
    how.flags |= UINT64_C(1) << 32;
    show("openat2 unknown", syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
    if (name_to_handle_at(AT_FDCWD, "file", &handle.h, &mount, 0))
        printf("handle: %s\n", strerror(errno));
    show("handle", open_by_handle_at(folder, &handle.h, O_RDONLY | O_NOFOLLOW));
    show("handle direct", open_by_handle_at(folder, &handle.h, O_RDONLY | O_DIRECT));
    show("handle as directory", open_by_handle_at(folder, &handle.h, O_RDONLY | O_DIRECTORY));
    show("tree", syscall(SYS_open_tree, AT_FDCWD, ".", 1 | O_CLOEXEC));
    close(folder);
}

static void set(void)
{
    int fd = open("file", O_RDONLY);

    printf("set %d\n", fcntl(fd, F_SETFL, O_DIRECT | O_NONBLOCK));
    print("set", (unsigned long)fcntl(fd, F_GETFL));
    printf("clear %d\n", fcntl(fd, F_SETFL, O_DIRECTORY | O_NOFOLLOW));
    print("clear", (unsigned long)fcntl(fd, F_GETFL));
    close(fd);
}

/* What is opened neither by a name nor by a handle; and flags that are none there. */
static void made(void)
{
    int p[2], q[2], slave;
    char *peer;

    printf("pipe %d\n", pipe2(p, O_DIRECT | O_NONBLOCK | O_CLOEXEC));
    show("reading end", p[0]);
    show("writing end", p[1]);
    printf("pipe %d", pipe2(q, O_DIRECTORY));
    printf(" %d", pipe2(q, O_NOFOLLOW));
    printf(" %d\n", pipe2(q, LARGE));
    show("queue", syscall(SYS_mq_open, "pipit-flags", O_CREAT | O_RDWR | O_NONBLOCK | O_DIRECTORY, 0600, NULL));
    show("queue", syscall(SYS_mq_open, "pipit-flags", O_RDONLY | O_CLOEXEC));
    printf("unlink %ld\n", syscall(SYS_mq_unlink, "pipit-flags"));
    show("memfd", memfd_create("name", MFD_CLOEXEC));
    show("secret", syscall(SYS_memfd_secret, O_CLOEXEC));
    show("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
    show("userfaultfd direct", syscall(SYS_userfaultfd, O_DIRECT));
    show("userfaultfd directory", syscall(SYS_userfaultfd, O_DIRECTORY));
    show("epoll", epoll_create1(O_DIRECTORY));
    show("eventfd", eventfd(0, O_DIRECT));
    show("timerfd", timerfd_create(CLOCK_MONOTONIC, O_NONBLOCK));
    show("timerfd direct", timerfd_create(CLOCK_MONOTONIC, O_DIRECT));
    show("inotify", inotify_init1(IN_NONBLOCK));
    show("inotify directory", inotify_init1(O_DIRECTORY));
    show("signalfd", signalfd(-1, &(sigset_t){0}, O_NOFOLLOW));
    show("pidfd", syscall(SYS_pidfd_open, getpid(), O_NONBLOCK));
    show("pidfd directory", syscall(SYS_pidfd_open, getpid(), O_DIRECTORY));
    show("socket", socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    show("socket directory", socket(AF_UNIX, SOCK_STREAM | O_DIRECTORY, 0));
    show("dup3", syscall(SYS_dup3, 1, 99, O_DIRECT));
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    peer = master < 0 || unlockpt(master) ? NULL : "";
    slave = peer ? ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NOFOLLOW) : -1;
    show("terminal's peer", slave);
    show("terminal", master);
}

static void watched(void)
{
    struct fanotify_event_metadata event[4];
    static const unsigned flags[] = {O_RDONLY | LARGE | O_NOATIME | O_CLOEXEC, O_RDONLY | LARGE | O_DIRECT,
                                     O_RDONLY | LARGE | O_NOFOLLOW, O_RDONLY | LARGE | O_DIRECTORY};

    for (int i = 0; i < 4; i++) {
        int fan = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, flags[i]);
        printf("fanotify %s\n", fan < 0 ? strerror(errno) : "ok");
        if (fan < 0)
            continue;
        printf("mark %d\n", fanotify_mark(fan, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "file"));
        close(open("file", O_RDONLY));
        if (read(fan, event, sizeof(event)) > 0)
            show("event", event[0].fd);
        show("group", fan);
    }
}

static void sent(void)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } out = {.head = {.cmsg_len = CMSG_LEN(2 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}}, in;
    char c = 'x';
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &out, .msg_controllen = sizeof(out.room)};
    int s[2], fds[2] = {open(".", O_RDONLY | O_DIRECTORY), open("file", O_RDONLY | O_DIRECT)};

    memcpy(CMSG_DATA(&out.head), fds, sizeof(fds));
    printf("pair %d", socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    printf(", send %zd", sendmsg(s[0], &m, 0));
    m.msg_control = &in;
    printf(", receive %zd\n", recvmsg(s[1], &m, 0));
    memcpy(fds, CMSG_DATA(&in.head), sizeof(fds));
    show("received directory", fds[0]);
    show("received file", fds[1]);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    int fd = open("file", O_CREAT | O_WRONLY, 0600);
    if (fd < 0 || close(fd) || symlink("file", "link"))
        return 1;
    opened();
    set();
    made();
    watched();
    sent();
    unlink("file");
    unlink("link");
    printf("rmdir %d\n", chdir("/") | rmdir(dir));
    return 0;
}
