/* Seccomp: filters by number, by argument, in chains, over threads, fork and execve; strict mode; traps; calls that
 * another thread answers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __aarch64__
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH AUDIT_ARCH_X86_64
#endif
#define FIELD(name) offsetof(struct seccomp_data, name)
#define LOAD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(name))
#define RETURN(v) BPF_STMT(BPF_RET | BPF_K, v)
#define IF(v, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, 0, n)

static int install(struct sock_filter *f, unsigned n, unsigned flags)
{
    struct sock_fprog prog = {.len = (unsigned short)n, .filter = f};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}
#define INSTALL(f) install(f, sizeof(f) / sizeof((f)[0]), 0)

static const char *error(long r)
{
    return r < 0 ? strerror(errno) : "ok";
}

/* getppid fails with a number of ours, a wrong architecture ends the process. */
static struct sock_filter refuse[] = {
    LOAD(arch),
    IF(ARCH, 3),
    LOAD(nr),
    IF(SYS_getppid, 2),
    RETURN(SECCOMP_RET_ERRNO | 77),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    RETURN(SECCOMP_RET_ALLOW),
};

static void run(const char *name, int (*fn)(void))
{
    int status;

    fflush(stdout);
    pid_t pid = fork();
    if (!pid)
        _exit(fn());
    waitpid(pid, &status, 0);
    printf("%s: %s %d\n", name, WIFEXITED(status) ? "exit" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static int by_number(void)
{
    printf("install %d", INSTALL(refuse));
    printf(", getppid %ld", syscall(SYS_getppid));
    printf(" %d", errno);
    printf(", getpid %d, mode %d\n", getpid() > 0, prctl(PR_GET_SECCOMP));
    fflush(stdout);
    return 0;
}

static int by_argument(void)
{
    struct sock_filter f[] = {
        LOAD(nr),
        IF(SYS_dup, 3),
        LOAD(args[0]),
        IF(99, 1),
        RETURN(SECCOMP_RET_ERRNO | EXDEV),
        RETURN(SECCOMP_RET_ALLOW),
    };
    int r = INSTALL(f);
    long d = syscall(SYS_dup, 99);
    int code = errno;
    printf("install %d, dup 99 %ld %d, dup 0 %d\n", r, d, code == EXDEV, dup(0) >= 0);
    fflush(stdout);
    return 0;
}

static int chain(void)
{
    struct sock_filter softer[] = {LOAD(nr), IF(SYS_getppid, 1), RETURN(SECCOMP_RET_ERRNO | 55),
                                   RETURN(SECCOMP_RET_ALLOW)};
    struct sock_filter harder[] = {LOAD(nr), IF(SYS_getsid, 1), RETURN(SECCOMP_RET_KILL_PROCESS),
                                   RETURN(SECCOMP_RET_ALLOW)};
    printf("install %d", INSTALL(refuse));
    printf(" %d", INSTALL(softer));
    printf(" %d", INSTALL(harder));
    printf(", getppid %ld", syscall(SYS_getppid));
    printf(" %d\n", errno);
    fflush(stdout);
    syscall(SYS_getsid, 0);
    return 1;
}

static volatile int trapped_nr, trapped_arch, trapped_data;
static void on_trap(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    trapped_nr = info->si_syscall;
    trapped_arch = (int)info->si_arch;
    trapped_data = info->si_errno;
}

static int traps(void)
{
    struct sock_filter f[] = {LOAD(nr), IF(SYS_getppid, 1), RETURN(SECCOMP_RET_TRAP | 123), RETURN(SECCOMP_RET_ALLOW)};
    struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &sa, NULL);
    int r = INSTALL(f);
    syscall(SYS_getppid);
    printf("install %d, trapped %d %d %d\n", r, trapped_nr == SYS_getppid, trapped_arch == (int)ARCH, trapped_data);
    fflush(stdout);
    signal(SIGSYS, SIG_DFL);
    syscall(SYS_getppid);
    return 1;
}

static int kills(void)
{
    struct sock_filter f[] = {LOAD(nr), IF(SYS_getppid, 1), RETURN(SECCOMP_RET_KILL), RETURN(SECCOMP_RET_ALLOW)};
    signal(SIGSYS, SIG_IGN);
    INSTALL(f);
    syscall(SYS_getppid);
    return 1;
}

static void *ask(void *arg)
{
    (void)arg;
    long r = syscall(SYS_getppid);
    return (void *)(intptr_t)(r == -1 ? errno : 0);
}

static pthread_barrier_t both;
static void *wait_and_ask(void *arg)
{
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    return ask(arg);
}

static int threads(void)
{
    pthread_t old, new;
    void *a, *b;
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&old, NULL, wait_and_ask, NULL);
    pthread_barrier_wait(&both);
    int r = install(refuse, sizeof(refuse) / sizeof(refuse[0]), SECCOMP_FILTER_FLAG_TSYNC);
    pthread_barrier_wait(&both);
    pthread_create(&new, NULL, ask, NULL);
    pthread_join(old, &a);
    pthread_join(new, &b);
    printf("install %d, old thread %d, new thread %d\n", r, (int)(intptr_t)a, (int)(intptr_t)b);
    fflush(stdout);
    return 0;
}

static int strict(void)
{
    printf("strict %d\n", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    fflush(stdout);
    syscall(SYS_getppid);
    return 1;
}

static const char *self;
static int executing(void)
{
    INSTALL(refuse);
    execl(self, self, "child", NULL);
    return 1;
}

/* What the vDSO answers is no system call. */
static int clocks(void)
{
    struct sock_filter f[] = {LOAD(nr), IF(SYS_clock_gettime, 1), RETURN(SECCOMP_RET_KILL), RETURN(SECCOMP_RET_ALLOW)};
    struct timespec ts;
    INSTALL(f);
    return clock_gettime(CLOCK_MONOTONIC, &ts) ? 1 : 5;
}

/* ---- answers from elsewhere ---- */

static int listener;

static void answer(const char *what, struct seccomp_notif *n, struct seccomp_notif_resp *r)
{
    memset(n, 0, sizeof(*n));
    memset(r, 0, sizeof(*r));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, n))
        printf("receive: %s\n", strerror(errno));
    printf("%s: arch %d getppid %d mkdirat %d openat %d own %d valid %s\n", what, n->data.arch == ARCH,
           n->data.nr == SYS_getppid, n->data.nr == SYS_mkdirat, n->data.nr == SYS_openat, n->pid == (uint32_t)getpid(),
           error(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n->id)));
    r->id = n->id;
}

static void send_answer(struct seccomp_notif_resp *r)
{
    printf("sent %s\n", error(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, r)));
}

static void *answers(void *p)
{
    struct seccomp_notif n;
    struct seccomp_notif_resp r;

    answer("value", &n, &r);
    r.val = 4242;
    send_answer(&r);
    answer("error", &n, &r);
    printf("arguments %d %o\n", (int)n.data.args[0], (unsigned)n.data.args[2]);
    r.error = -EXDEV;
    send_answer(&r);
    answer("continue", &n, &r);
    r.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    send_answer(&r);
    answer("descriptor", &n, &r);
    printf("flags %d\n", (n.data.args[2] & O_DIRECTORY) != 0);
    struct seccomp_notif_addfd add = {.id = n.id, .srcfd = 0, .newfd = 77, .flags = SECCOMP_ADDFD_FLAG_SETFD};
    r.val = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    send_answer(&r);
    r.id = 1;
    send_answer(&r);
    return p;
}

static int notified(void)
{
    struct sock_filter f[] = {LOAD(nr),
                              IF(SYS_getppid, 1),
                              RETURN(SECCOMP_RET_USER_NOTIF),
                              IF(SYS_mkdirat, 1),
                              RETURN(SECCOMP_RET_USER_NOTIF),
                              IF(SYS_openat, 3),
                              LOAD(args[3]),
                              IF(0x1a5, 1),
                              RETURN(SECCOMP_RET_USER_NOTIF),
                              RETURN(SECCOMP_RET_ALLOW)};
    uint32_t action = SECCOMP_RET_USER_NOTIF;
    struct seccomp_notif_sizes sizes = {0};
    pthread_t t;

    printf("available %s\n", error(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action)));
    printf("sizes %s", error(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes)));
    printf(" %d %d %d\n", sizes.seccomp_notif >= 80, sizes.seccomp_notif_resp >= 24, sizes.seccomp_data == 64);
    listener = install(f, sizeof(f) / sizeof(f[0]), SECCOMP_FILTER_FLAG_NEW_LISTENER);
    printf("listener %d\n", listener > 2);
    printf("again %s\n", error(install(f, sizeof(f) / sizeof(f[0]), SECCOMP_FILTER_FLAG_NEW_LISTENER)));
    fflush(stdout);
    pthread_create(&t, NULL, answers, NULL);
    long parent = syscall(SYS_getppid);
    const char *first = error(syscall(SYS_mkdirat, 123, "x", 0700)),
               *second = error(syscall(SYS_mkdirat, AT_FDCWD, "/nothing/here", 0700));
    long fd = syscall(SYS_openat, AT_FDCWD, "/nothing/there", O_DIRECTORY, 0x1a5);
    pthread_join(t, NULL);
    printf("getppid %ld, mkdirat %s, %s, openat %ld %d\n", parent, first, second, fd, fcntl(77, F_GETFD) >= 0);
    close(listener);
    printf("nobody %s\n", error(syscall(SYS_getppid)));
    fflush(stdout);
    return 6;
}

static void refusals(void)
{
    struct sock_filter none[] = {RETURN(0)}, loop[] = {BPF_STMT(BPF_JMP | BPF_JA, 5), RETURN(0)},
                       packet[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RETURN(0)},
                       odd[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3), RETURN(0)}, endless[] = {LOAD(nr)},
                       zero[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RETURN(0)};
    uint32_t action = SECCOMP_RET_ERRNO, unknown = 0x12340000;
    struct sock_fprog bad = {.len = 1, .filter = (void *)8};
    printf("empty %s\n", error(install(none, 0, 0)));
    printf("jump out %s\n", error(INSTALL(loop)));
    printf("bytes %s\n", error(INSTALL(packet)));
    printf("odd %s\n", error(INSTALL(odd)));
    printf("no end %s\n", error(INSTALL(endless)));
    printf("division %s\n", error(INSTALL(zero)));
    printf("bad pointer %s\n", error(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 8)));
    printf("bad filter %s\n", error(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &bad)));
    printf("bad flags %s\n", error(install(none, 1, 0x8000)));
    printf("available %s", error(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action)));
    printf(" %s\n", error(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &unknown)));
    printf("operation %s\n", error(syscall(SYS_seccomp, 99, 0, NULL)));
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "child")) {
        long r = syscall(SYS_getppid);
        printf("after execve %ld %d\n", r, errno);
        fflush(stdout);
        return 8;
    }
    self = argv[0];
    run("by number", by_number);
    run("by argument", by_argument);
    run("chain", chain);
    run("traps", traps);
    run("kills", kills);
    run("threads", threads);
    run("strict", strict);
    run("executing", executing);
    run("clocks", clocks);
    run("notified", notified);
    refusals();
    return 0;
}
