/* Files and descriptors: flags, structures and calls that the two ABIs have different, and new ones that are the same.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

static char dir[] = "/tmp/pipit-files-XXXXXX";

static const char *error(long r)
{
    return r < 0 ? strerror(errno) : "ok";
}

static void opening(void)
{
    struct open_how how = {.flags = O_RDONLY | O_NOFOLLOW}, directory = {.flags = O_RDONLY | O_DIRECTORY};
    int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0640);

    printf("create %s\n", error(fd));
    if (write(fd, "0123456789", 10) != 10)
        printf("write %s\n", strerror(errno));
    close(fd);
    printf("again %s\n", error(open("file", O_RDWR | O_CREAT | O_EXCL, 0640)));
    printf("as directory %s\n", error(open("file", O_RDONLY | O_DIRECTORY)));
    if (symlink("file", "link"))
        printf("symlink %s\n", strerror(errno));
    printf("nofollow %s\n", error(open("link", O_RDONLY | O_NOFOLLOW)));
    printf("openat2 nofollow %s\n", error(syscall(SYS_openat2, AT_FDCWD, "link", &how, sizeof(how))));
    printf("openat2 directory %s\n",
           error(syscall(SYS_openat2, AT_FDCWD, ".", &directory, sizeof(directory)) < 0 ? -1 : 0));
    printf("openat2 size %s\n", error(syscall(SYS_openat2, AT_FDCWD, ".", &how, 8)));
    fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fl = fcntl(fd, F_GETFL);
    printf("getfl directory %d nofollow %d direct %d, cloexec %d\n", !!(fl & O_DIRECTORY), !!(fl & O_NOFOLLOW),
           !!(fl & O_DIRECT), fcntl(fd, F_GETFD) == FD_CLOEXEC);
    int tmp = openat(fd, ".", O_RDWR | O_TMPFILE, 0600);
    struct stat st;
    printf("tmpfile %s, links %d\n", error(tmp < 0 ? tmp : 0), fstat(tmp, &st) ? -1 : (int)st.st_nlink);
    fl = open("file", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOATIME);
    int flags = fcntl(fl, F_GETFL);
    printf("getfl %d %d %d %d\n", (flags & O_ACCMODE) == O_WRONLY, !!(flags & O_APPEND), !!(flags & O_NONBLOCK),
           !!(flags & O_NOATIME));
    printf("setfl %d", fcntl(fl, F_SETFL, O_APPEND));
    printf(", nonblock %d\n", !!(fcntl(fl, F_GETFL) & O_NONBLOCK));
    int p[2], r = pipe2(p, O_DIRECT | O_CLOEXEC);
    printf("packet pipe %d direct %d\n", r, !!(fcntl(p[0], F_GETFL) & O_DIRECT));
    if (write(p[1], "one", 3) != 3 || write(p[1], "two", 3) != 3)
        printf("write %s\n", strerror(errno));
    char buf[16];
    printf("packet %zd\n", read(p[0], buf, sizeof(buf)));
}

static void stats(void)
{
    struct stat st, l;
    struct statx sx;
    struct statfs fs;
    int r = chmod("file", 0604) | link("file", "second");
    struct timespec times[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789}, {.tv_sec = 1100000000, .tv_nsec = 987}};

    r |= utimensat(AT_FDCWD, "file", times, 0) | stat("file", &st) | lstat("link", &l);
    printf("stat %d mode %o links %d size %ld blocks %ld uid %d\n", r, st.st_mode, (int)st.st_nlink, (long)st.st_size,
           (long)st.st_blocks, (int)st.st_uid == (int)getuid());
    printf("times %ld.%09ld %ld.%09ld\n", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec,
           st.st_mtim.tv_nsec);
    printf("link mode %o size %ld\n", l.st_mode, (long)l.st_size);
    r = statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &sx);
    printf("statx %d same %d %d %d\n", r, sx.stx_ino == st.st_ino, sx.stx_size == (uint64_t)st.st_size,
           sx.stx_mode == st.st_mode);
    r = stat("/dev/null", &st);
    printf("null %d %lx %o\n", r, (unsigned long)st.st_rdev, st.st_mode);
    printf("statfs %d", statfs("/proc", &fs));
    printf(" %d\n", fs.f_type == 0x9fa0);
    printf("missing %s\n", error(stat("nowhere", &st)));
    printf("long name %s\n",
           error(stat("nameeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
                      "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
                      "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
                      "eeeeeeeeeeeeeeeeeeeeeeee",
                      &st)));
}

static void events(void)
{
    int ep = epoll_create1(EPOLL_CLOEXEC), p[2], ev = eventfd(3, EFD_NONBLOCK), r = pipe(p);
    struct epoll_event in = {.events = EPOLLIN, .data.u64 = UINT64_C(0x1122334455667788)}, out[8];

    r |= epoll_ctl(ep, EPOLL_CTL_ADD, ev, &in);
    in.data.u64 = 42;
    r |= epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &in);
    printf("epoll_ctl %d, again %s\n", r, error(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &in)));
    memset(out, 0xee, sizeof(out));
    int n = epoll_wait(ep, out, 8, 0);
    printf("ready %d: %x %llx\n", n, out[0].events, (unsigned long long)out[0].data.u64);
    if (write(p[1], "x", 1) != 1)
        printf("write %s\n", strerror(errno));
    n = epoll_wait(ep, out, 8, 1000);
    unsigned long long sum = 0;
    for (int i = 0; i < n; i++)
        sum += out[i].data.u64;
    printf("ready %d: %llx\n", n, sum);
    struct timespec ts = {.tv_nsec = 1000000};
    n = (int)syscall(SYS_epoll_pwait2, ep, out, 1, &ts, NULL, 0);
    printf("pwait2 %d\n", n);
    printf("delete %d\n", epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
    uint64_t v = 0;
    ssize_t got = read(ev, &v, 8);
    printf("eventfd %zd %llu, then %s\n", got, (unsigned long long)v, error(read(ev, &v, 8)));

    int tfd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec it = {.it_value.tv_nsec = 1000000};
    printf("timerfd %d", timerfd_settime(tfd, 0, &it, NULL));
    got = read(tfd, &v, 8);
    printf(" %zd %llu\n", got, (unsigned long long)v);
    int in_fd = inotify_init1(IN_NONBLOCK);
    printf("inotify %s", error(inotify_add_watch(in_fd, ".", IN_CREATE) < 0 ? -1 : 0));
    close(creat("watched", 0600));
    char buf[256];
    got = read(in_fd, buf, sizeof(buf));
    printf(" %d %s\n", got > 0, got > 0 ? ((struct inotify_event *)buf)->name : "-");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void moving(void)
{
    char buf[64] = {0};
    int from = open("file", O_RDWR), to = open("copy", O_RDWR | O_CREAT, 0600), p[2];
    off_t off = 2;
    loff_t in = 0, out = 4;
    struct iovec iov[2] = {{buf, 3}, {buf + 8, 20}}, w[2] = {{"abc", 3}, {"defg", 4}};

    printf("sendfile %zd", sendfile(to, from, &off, 4));
    printf(" at %ld\n", (long)off);
    printf("copy_file_range %zd\n", copy_file_range(from, &in, to, &out, 5, 0));
    printf("preadv %zd", preadv(to, iov, 2, 1));
    printf(" \"%s\" \"%s\"\n", buf, buf + 8);
    printf("pwritev2 %zd\n", pwritev2(to, w, 2, 100, 0));
    printf("size %ld\n", (long)lseek(to, 0, SEEK_END));
    printf("hole %d\n", (long)lseek(to, 0, SEEK_HOLE) <= 107);
    if (pipe(p))
        return;
    off = 0;
    printf("splice %zd\n", splice(from, &off, p[1], NULL, 6, 0));
    printf("tee none %s\n", error(tee(p[0], p[0], 1, 0)));
    memset(buf, 0, sizeof(buf));
    printf("read %zd", read(p[0], buf, sizeof(buf)));
    printf(" %s\n", buf);
    printf("fallocate %s\n", error(fallocate(to, FALLOC_FL_KEEP_SIZE, 0, 100000)));
    printf("setxattr %s", error(setxattr("copy", "user.test", "value", 5, 0)));
    memset(buf, 0, sizeof(buf));
    printf(" %zd", getxattr("copy", "user.test", buf, sizeof(buf)));
    printf(" %s\n", buf);
    printf("lock %s", error(flock(from, LOCK_EX | LOCK_NB)));
    printf(", other %s\n", error(flock(open("file", O_RDONLY), LOCK_EX | LOCK_NB)));
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 3};
    printf("record lock %d", fcntl(from, F_SETLK, &fl));
    printf(", ofd %s\n",
           error(fcntl(open("file", O_RDWR), F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_len = 2})));

    struct dirent *e;
    char *names[64];
    int n = 0;
    DIR *d = opendir(".");
    while ((e = readdir(d)) && n < 64)
        names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, (size_t)n, sizeof(names[0]), by_name);
    printf("files:");
    for (int i = 0; i < n; i++)
        printf(" %s", names[i]);
    printf("\n");
    printf("readlink %zd\n", readlink("link", buf, sizeof(buf)));
    printf("renameat2 %s\n", error(renameat2(AT_FDCWD, "copy", AT_FDCWD, "file", RENAME_NOREPLACE)));
    printf("close_range %d", close_range(50, 60, 0));
    printf(", dup3 %s\n", error(dup3(from, from, 0)));
    int m = memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    printf("memfd %d seals %d", ftruncate(m, 100), fcntl(m, F_ADD_SEALS, F_SEAL_SHRINK));
    printf(" %s\n", error(ftruncate(m, 50)));
}

static void handles(void)
{
    struct {
        struct file_handle h;
        char bytes[MAX_HANDLE_SZ];
    } h = {.h.handle_bytes = MAX_HANDLE_SZ};
    int mount_id, where = open(".", O_RDONLY | O_DIRECTORY);
    long r = name_to_handle_at(AT_FDCWD, "file", &h.h, &mount_id, 0);

    printf("name_to_handle_at %s\n", error(r));
    int fd = open_by_handle_at(where, &h.h, O_RDONLY | O_NOFOLLOW);
    printf("open_by_handle_at %s nofollow %d\n", error(fd < 0 ? -1 : 0),
           fd >= 0 && !!(fcntl(fd, F_GETFL) & O_NOFOLLOW));
    int s[2];
    char c = 0, control[64];
    printf("socketpair %d\n", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
    struct iovec iov = {"x", 1}, back = {&c, 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } cm = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&cm.head), &where, sizeof(int));
    struct msghdr out = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cm, .msg_controllen = sizeof(cm.room)};
    struct msghdr in = {.msg_iov = &back, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    printf("send descriptor %zd", sendmsg(s[0], &out, 0));
    printf(", receive %zd", recvmsg(s[1], &in, 0));
    printf(" %c type %d\n", c, CMSG_FIRSTHDR(&in)->cmsg_type == SCM_RIGHTS);
    printf("ioctl %d", ioctl(s[1], 0x541b /* FIONREAD */, &mount_id));
    printf(" %d\n", mount_id);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!mkdtemp(dir) || chdir(dir))
        return 1;
    opening();
    stats();
    events();
    moving();
    handles();
    for (const char *const *n = (const char *const[]){"file", "link", "second", "watched", "copy", NULL}; *n; n++)
        unlink(*n);
    printf("rmdir %s\n", error(chdir("/") | rmdir(dir)));
    return 0;
}
