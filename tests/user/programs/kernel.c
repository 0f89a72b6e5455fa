/*
 * Rooms of the kernel that another emulator of user programs refuses, used for something: faults that a thread serves,
 * secret and sealed memory, keys, maps of BPF, mounts without a place, robust lists, futexes waited for together,
 * memory of other processes, netfilter; and structures that are passed on as they are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *error(long r)
{
    return r < 0 ? strerror(errno) : "ok";
}

/* ---- memory ---- */

static void *serve(void *arg)
{
    int fd = *(int *)arg;
    char *page = aligned_alloc(4096, 4096);
    struct uffd_msg m;

    for (int i = 0; i < 3; i++) {
        if (read(fd, &m, sizeof(m)) != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
            return "no fault";
        memset(page, 'a' + i, 4096);
        struct uffdio_copy copy = {
            .dst = m.arg.pagefault.address & ~UINT64_C(4095), .src = (uintptr_t)page, .len = 4096};
        if (ioctl(fd, UFFDIO_COPY, &copy))
            return "no copy";
    }
    return "served";
}

/* A load, a store, and the kernel's own access on behalf of write(2). */
static void faults(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), p[2];
    struct uffdio_api api = {.api = UFFD_API};
    char *at = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), c = 0;
    struct uffdio_register reg = {.range = {(uintptr_t)at, 3 * 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    pthread_t t;
    void *said;

    printf("userfaultfd %s", error(ioctl(fd, UFFDIO_API, &api)));
    if (ioctl(fd, UFFDIO_REGISTER, &reg)) {
        printf(" %s\n", strerror(errno));
        return;
    }
    pthread_create(&t, NULL, serve, &fd);
    printf(" %c", ((volatile char *)at)[5]);
    ((volatile char *)at)[4096] = 'x';
    printf(" %c%c", at[4096], at[4097]);
    if (pipe(p) || write(p[1], at + 8192, 1) != 1 || read(p[0], &c, 1) != 1)
        printf(" %s", strerror(errno));
    pthread_join(t, &said);
    printf(" %c %s\n", c, (char *)said);
    close(fd);
}

static void memory(void)
{
    int secret = (int)syscall(SYS_memfd_secret, 0), p[2];
    char *s = secret < 0 || ftruncate(secret, 4096) ? MAP_FAILED
                                                    : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);

    printf("secret %d", s != MAP_FAILED);
    if (s != MAP_FAILED) {
        strcpy(s, "hidden");
        printf(" %s, outside %s", s, pipe(p) ? "" : error(vmsplice(p[1], &(struct iovec){s, 6}, 1, SPLICE_F_GIFT)));
    }
    char *sealed = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("\nseal %s", error(syscall(462, sealed, 4096, 0)));
    printf(", protect %s", error(mprotect(sealed, 4096, PROT_READ)));
    printf(", unmap %s", error(munmap(sealed, 8192)));
    printf(", move %s", error(mremap(sealed, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0));
    printf(", behind it %s\n", error(munmap(sealed + 4096, 4096)));
    unsigned long nodes[16] = {1};
    int mode = -1;
    printf("policy %s", error(syscall(SYS_set_mempolicy, MPOL_BIND, nodes, 64)));
    printf(" %s", error(syscall(SYS_get_mempolicy, &mode, nodes, 1024, NULL, 0)));
    printf(" %d nodes %lx", mode, nodes[0]);
    printf(" %s\n", error(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0)));
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(page, "before");
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        while (strncmp(page, "after", 5) != 0)
            usleep(1000);
        _exit(4);
    }
    struct iovec mine = {"after", 6}, theirs = {page, 6};
    printf("written %zd", process_vm_writev(pid, &mine, 1, &theirs, 1, 0));
    int status, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    printf(", advised %ld", syscall(SYS_process_madvise, pidfd, &theirs, 1, MADV_PAGEOUT, 0));
    waitpid(pid, &status, 0);
    printf(", ended %d\n", WEXITSTATUS(status));
    char name[] = "/tmp/pipit-kernel-XXXXXX", text[8192] = "";
    int fd = mkstemp(name);
    unlink(name);
    struct {
        uint64_t off, len;
    } range = {0, 8192};
    uint64_t stat[5] = {0};
    printf("cachestat %zd", write(fd, text, sizeof(text)));
    printf(" %s", error(syscall(451, fd, &range, stat, 0)));
    printf(" %d\n", (int)stat[0]);
    close(fd);
}

/* ---- locks and waiting ---- */

static struct robust {
    struct robust_list_head head;
    struct robust_list entry;
    uint32_t futex;
} robust;

/* Raw, as libc has a list of its own for the thread: it is set once more behind libc's back. */
static void *dies(void *arg)
{
    robust.head.list.next = &robust.entry;
    robust.head.futex_offset = offsetof(struct robust, futex) - offsetof(struct robust, entry);
    robust.entry.next = &robust.head.list;
    robust.futex = (uint32_t)syscall(SYS_gettid);
    return syscall(SYS_set_robust_list, &robust, sizeof(robust.head)) ? NULL : arg;
}

static _Atomic uint32_t words[2] = {1, 2};

static void *waker(void *arg)
{
    while (!syscall(SYS_futex, &words[1], FUTEX_WAKE, 1, NULL, NULL, 0))
        usleep(1000);
    return arg;
}

static void locks(void)
{
    pthread_t t;
    void *said;
    struct futex_waitv w[2] = {{.val = 1, .uaddr = (uintptr_t)&words[0], .flags = FUTEX_32},
                               {.val = 2, .uaddr = (uintptr_t)&words[1], .flags = FUTEX_32}};

    pthread_create(&t, NULL, dies, "");
    pthread_join(t, &said);
    /* The list is looked through when the thread ends, which is before the word that join waits for. */
    printf("robust list %d, owner died %d\n", said != NULL, robust.futex == FUTEX_OWNER_DIED);
    printf("robust list's size %s\n", error(syscall(SYS_set_robust_list, &robust, 8)));
    pthread_create(&t, NULL, waker, NULL);
    printf("woken %ld\n", syscall(449, w, 2, 0, NULL, CLOCK_MONOTONIC));
    pthread_join(t, NULL);
}

static _Atomic int caught;

static void on_signal(int sig)
{
    caught = sig;
}

static void waits(void)
{
    aio_context_t ctx = 0;
    struct io_event ev;
    struct epoll_event event;
    uint64_t mask = 0;
    struct {
        uint64_t mask, size;
    } pair = {(uintptr_t)&mask, 8};
    struct timespec ts = {5, 0}, soon = {0, 1000000};
    struct itimerval timer = {.it_value.tv_usec = 10000};
    sigset_t all, none;
    int ep = epoll_create1(0);

    signal(SIGALRM, on_signal);
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &all, NULL);
    printf("aio %s", error(syscall(SYS_io_setup, 2, &ctx)));
    setitimer(ITIMER_REAL, &timer, NULL);
    printf(", wait %s", error(syscall(SYS_io_pgetevents, ctx, 1, 1, &ev, &ts, &pair)));
    printf(" caught %d\n", caught);
    caught = 0;
    setitimer(ITIMER_REAL, &timer, NULL);
    printf("epoll_pwait2 %s", error(syscall(441, ep, &event, 1, &ts, &mask, sizeof(mask))));
    printf(" caught %d", caught);
    printf(", %ld\n", syscall(441, ep, &event, 1, &soon, NULL, sizeof(mask)));
    sigprocmask(SIG_SETMASK, &none, NULL);
    int ev_fd = eventfd(0, 0), list[1] = {0};
    struct iocb read_it = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)ev_fd, .aio_buf = 1, .aio_data = 8};
    struct iocb *lists[1] = {&read_it};
    printf("aio poll %ld", syscall(SYS_io_submit, ctx, 1, lists));
    printf(" %zd", write(ev_fd, &(uint64_t){1}, 8));
    printf(" %ld", syscall(SYS_io_getevents, ctx, 1, 1, &ev, &ts));
    printf(" data %d result %d %d\n", (int)ev.data, (int)ev.res, list[0]);
    syscall(SYS_io_destroy, ctx);
    close(ep);
    close(ev_fd);
}

/* ---- keys, maps, counters ---- */

static void keys(void)
{
    char text[32] = "";
    long ring = syscall(SYS_keyctl, 1 /* JOIN_SESSION_KEYRING */, NULL);
    long key = syscall(SYS_add_key, "user", "pipit", "a secret", 8, -3);

    printf("keyring %d key %d", ring > 0, key > 0);
    printf(" read %ld %s", syscall(SYS_keyctl, 11, key, text, sizeof(text)), text);
    printf(" found %d", syscall(SYS_keyctl, 10, -3, "user", "pipit", 0) == key);
    printf(" revoked %s", error(syscall(SYS_keyctl, 3, key)));
    printf(", then %s\n", error(syscall(SYS_keyctl, 11, key, text, sizeof(text))));
}

static void maps(void)
{
    uint64_t value = 77, back = 0;
    uint32_t key = 2;
    union {
        char room[128];
        struct {
            uint32_t type, key, value, most;
        } make;
        struct {
            uint32_t fd;
            uint64_t key, value, flags;
        } element;
    } attr = {.make = {2 /* array */, 4, 8, 4}};
    int fd = (int)syscall(SYS_bpf, 0, &attr, sizeof(attr));

    printf("bpf %s", error(fd < 0 ? -1 : 0));
    memset(&attr, 0, sizeof(attr));
    attr.element.fd = (uint32_t)fd;
    attr.element.key = (uintptr_t)&key;
    attr.element.value = (uintptr_t)&value;
    printf(" %s", error(syscall(SYS_bpf, 2, &attr, sizeof(attr))));
    attr.element.value = (uintptr_t)&back;
    printf(" %s", error(syscall(SYS_bpf, 1, &attr, sizeof(attr))));
    printf(" %d\n", (int)back);
    struct perf_event_attr pe = {.type = PERF_TYPE_SOFTWARE,
                                 .size = sizeof(pe),
                                 .config = PERF_COUNT_SW_PAGE_FAULTS,
                                 .exclude_kernel = 1,
                                 .disabled = 1};
    int counter = (int)syscall(SYS_perf_event_open, &pe, 0, -1, -1, 0);
    char *page = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("perf %s", error(ioctl(counter, PERF_EVENT_IOC_ENABLE, 0)));
    for (int i = 0; i < 16; i++)
        ((volatile char *)page)[i * 4096] = 1;
    ioctl(counter, PERF_EVENT_IOC_DISABLE, 0);
    printf(" %zd", read(counter, &value, sizeof(value)));
    printf(" %d\n", value > 0);
}

/* ---- clone, whose last two arguments the two ABIs have in another order ---- */

/* With a thread pointer that libc knows nothing of: nothing of libc's is called. */
static int first_word(void *arg)
{
    long word;

#ifdef __aarch64__
    __asm__ volatile("mrs %0, tpidr_el0\n\tldr %0, [%0]" : "=r"(word));
#else
    __asm__ volatile("mov %%fs:0, %0" : "=r"(word));
#endif
    *(long *)arg = word;
    return 3;
}

static void cloning(void)
{
    static long stack[4096], tls[512] = {0x1234}, word;
    pid_t parent = 0, child = 0;
    int status;
    pid_t pid =
        clone(first_word, stack + 4096, CLONE_VM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD,
              &word, &parent, tls, &child);

    waitpid(pid, &status, 0);
    printf("clone %d, told parent %d child %d, word %lx\n", WEXITSTATUS(status), parent == pid, child == pid, word);
}

/* ---- mounts and networks, in namespaces of a child's ---- */

static void mounts(void)
{
    int fs = (int)syscall(SYS_fsopen, "tmpfs", 1);
    struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};

    /* Nothing of this is to be seen outside. */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
        printf("private: %s\n", strerror(errno));
        return;
    }
    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0751", 0);
    printf("make %s", error(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)));
    int mnt = (int)syscall(SYS_fsmount, fs, 1, 0);
    int fd = openat(mnt, "file", O_CREAT | O_WRONLY, 0600);
    struct stat st = {0};
    printf(", mount %s, mode %o", error(mnt), fstat(mnt, &st) ? 0 : st.st_mode);
    printf(", file %s", error(fd));
    close(fd);
    printf(", read only %s", error(syscall(SYS_mount_setattr, mnt, "", AT_EMPTY_PATH, &ro, sizeof(ro))));
    printf(", file %s", error(openat(mnt, "other", O_CREAT | O_WRONLY, 0600)));
    printf(", place %s", error(syscall(SYS_move_mount, mnt, "", AT_FDCWD, "/mnt", 4)));
    printf(", there %s\n", error(open("/mnt/file", O_RDONLY)));
}

static void networks(void)
{
    int nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), on = 1, size = 0;
    struct {
        struct nlmsghdr h;
        struct nfgenmsg g;
    } ask = {.h = {.nlmsg_len = sizeof(ask),
                   .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | 16 /* GETGEN */,
                   .nlmsg_flags = NLM_F_REQUEST,
                   .nlmsg_seq = 5}};
    char back[4096];
    socklen_t len = sizeof(size);

    printf("netfilter %zd", send(nl, &ask, sizeof(ask), 0));
    printf(" %d", recv(nl, back, sizeof(back), 0) > 0);
    printf(" answers %u\n", ((struct nlmsghdr *)back)->nlmsg_seq);
    int s = socket(AF_INET, SOCK_STREAM, 0), p[2];
    struct tcp_info info;
    struct linger linger = {1, 7}, got = {0, 0};
    printf("option %s", error(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))));
    printf(" %s", error(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &size, &len)));
    printf(" %d", size);
    printf(" %s", error(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger))));
    len = sizeof(got);
    printf(" %s", error(getsockopt(s, SOL_SOCKET, SO_LINGER, &got, &len)));
    printf(" %d", got.l_linger);
    len = sizeof(info);
    printf(" %s", error(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &len)));
    printf(" state %d", info.tcpi_state);
    printf(", unknown %s\n", error(setsockopt(s, SOL_SOCKET, 9999, &on, sizeof(on))));
    struct ucred {
        pid_t pid;
        uid_t uid;
        gid_t gid;
    } cred = {0};
    len = sizeof(cred);
    printf("peer %d", socketpair(AF_UNIX, SOCK_STREAM, 0, p) | getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &cred, &len));
    printf(" %d\n", cred.pid == getpid() && cred.uid == getuid());
    printf("unknown ioctl %s\n", error(ioctl(p[0], 0xdead0001, &on)));
}

static void apart(const char *name, int flags, void (*fn)(void))
{
    int status;

    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        if (unshare(flags))
            printf("%s: %s\n", name, strerror(errno));
        else
            fn();
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    printf("%s ended %d\n", name, status);
}

static void semaphores(void)
{
    struct seminfo info = {0};
    struct semid_ds ds = {0};
    int id = semget(IPC_PRIVATE, 2, 0600), most = semctl(0, 0, SEM_INFO, &info), found = 0;

    for (int i = 0; i <= most; i++) {
        for (int way = 0; way < 2; way++)
            found += semctl(i, 0, way ? 20 /* SEM_STAT_ANY */ : SEM_STAT, &ds) == id && ds.sem_nsems == 2;
    }
    printf("semaphores found %d\n", found);
    semctl(id, 0, IPC_RMID);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    faults();
    memory();
    locks();
    waits();
    keys();
    maps();
    semaphores();
    cloning();
    apart("mounts", CLONE_NEWNS, mounts);
    apart("networks", CLONE_NEWNET, networks);
    return 0;
}
