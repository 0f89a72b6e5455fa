/*
 * What /proc tells of other processes and of signals, and what else the two ABIs or another emulator have different:
 * tagged addresses, wait statuses, MAP_32BIT, rseq, membarrier, clone3's flags, posix_spawn of what is not there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static char text[1 << 20];

static const char *error(long r)
{
    return r < 0 ? strerror(errno) : "ok";
}

static ssize_t slurp(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t r;

    if (fd < 0)
        return -1;
    while ((r = read(fd, text + n, sizeof(text) - n - 1)) > 0)
        n += (size_t)r;
    close(fd);
    text[n] = '\0';
    return (ssize_t)n;
}

static void another(char **argv)
{
    char exe[PATH_MAX], path[64], link[PATH_MAX];
    struct stat a, b;
    int go[2], status;

    if (!realpath(argv[0], exe) || pipe(go))
        return;
    pid_t pid = fork();
    if (!pid) {
        char c;
        prctl(PR_SET_NAME, "a name");
        _exit(read(go[0], &c, 1) == 1 ? 5 : 6);
    }
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    ssize_t n = readlink(path, link, sizeof(link));
    printf("exe %d", n == (ssize_t)strlen(exe) && !memcmp(link, exe, (size_t)n));
    printf(" %d", !stat(path, &a) && !stat(exe, &b) && a.st_ino == b.st_ino);
    int fd = open(path, O_RDONLY);
    printf(" %d\n", !fstat(fd, &a) && a.st_ino == b.st_ino);
    close(fd);
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    n = slurp(path);
    printf("maps %d emulator %d vdso %d stack %d\n", n > 0 && strstr(text, exe), strstr(text, "pipit-aarch64") != NULL,
           strstr(text, "[vdso]") != NULL, strstr(text, "[stack]") != NULL);
    /* The child has what this one had at the fork. */
    char *theirs = strdup(text);
    slurp("/proc/self/maps");
    unsigned lines = 0, missing = 0;
    for (char *line = strtok(theirs, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        *strchr(line, ' ') = '\0';
        missing += !strstr(text, line) && !strstr(line, "ffffffffff");
    }
    printf("lines %d missing %u\n", lines > 4, missing);
    free(theirs);
    snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
    printf("smaps %d emulator %d\n", slurp(path) > 1000, strstr(text, "pipit-aarch64") != NULL);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    slurp(path);
    printf("cmdline %d\n", !strcmp(text, argv[0]) && !strcmp(text + strlen(argv[0]) + 1, "one"));
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    while (slurp(path) > 0 && strcmp(text, "a name\n") != 0)
        usleep(1000);
    printf("comm %s", text);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    slurp(path);
    printf("stat %d\n", strstr(text, " (a name) ") != NULL);
    snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
    n = slurp(path);
    int same = 0;
    for (uint64_t *v = (uint64_t *)text; n > 0 && v[0]; v += 2)
        same += v[0] == AT_ENTRY && v[1] == getauxval(AT_ENTRY);
    printf("auxv %d\n", same);
    char from[] = "memory of both", to[sizeof(from)] = "";
    struct iovec local = {to, sizeof(to)}, remote = {from, sizeof(from)};
    printf("process_vm_readv %zd %s\n", process_vm_readv(pid, &local, 1, &remote, 1, 0), to);
    snprintf(path, sizeof(path), "/proc/%d/exe", getppid());
    printf("a host's %d\n", readlink(path, link, sizeof(link)) > 0);
    printf("nobody's %s\n", error(readlink("/proc/4194303/exe", link, sizeof(link))));
    if (write(go[1], "x", 1) != 1)
        return;
    waitpid(pid, &status, 0);
    printf("ended %d\n", WEXITSTATUS(status));
}

static void nothing(int sig)
{
    (void)sig;
}

static void print_field(const char *name)
{
    char *p = strstr(text, name);

    printf("%.*s\n", p ? (int)strcspn(p, "\n") : 4, p ? p : "none");
}

static void *masked(void *arg)
{
    char path[64];
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGRTMIN + 3);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)syscall(SYS_gettid));
    slurp(path);
    print_field("SigBlk:");
    slurp("/proc/thread-self/status");
    print_field("SigBlk:");
    return arg;
}

static void own_signals(void)
{
    pthread_t thread;
    sigset_t set;
    unsigned long blocked, ignored, caught;

    signal(SIGSEGV, nothing);
    signal(SIGUSR1, nothing);
    signal(SIGFPE, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    slurp("/proc/self/status");
    const char *const fields[] = {"Threads:", "SigPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:", "Seccomp:"};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        print_field(fields[i]);
    slurp("/proc/self/stat");
    char *p = strrchr(text, ')');
    for (int field = 2; p && field < 32; field++)
        p = strchr(p + 1, ' ');
    if (p && sscanf(p, "%lu %lu %lu", &blocked, &ignored, &caught) == 3)
        printf("stat %lx %lx %lx\n", blocked, ignored, caught);
    pthread_create(&thread, NULL, masked, NULL);
    pthread_join(thread, NULL);
    slurp("/proc/self/status");
    print_field("SigBlk:");
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
}

static void *sleeps(void *arg)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigaddset(&set, SIGHUP);
    sigsuspend(&set);
    return arg;
}

/* A child whose first thread reads, and whose second one waits under a mask of its own. */
static void others_signals(void)
{
    const char *const fields[] = {"SigBlk:", "SigIgn:", "SigCgt:"};
    char path[64], suspended[] = "SigBlk:\t0000000000000401";
    int go[2], tid[2], status;
    pthread_t thread;
    sigset_t set;
    pid_t second;

    if (pipe(go) || pipe(tid))
        return;
    pid_t pid = fork();
    if (!pid) {
        char c;
        close(go[1]);
        signal(SIGSEGV, nothing);
        signal(SIGUSR1, nothing);
        signal(SIGFPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGBUS);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_SETMASK, &set, NULL);
        pthread_create(&thread, NULL, sleeps, NULL);
        second = 0;
        for (int n = (int)getpid() + 1; !second && n < getpid() + 1000; n++) {
            snprintf(path, sizeof(path), "/proc/self/task/%d", n);
            second = access(path, F_OK) ? 0 : n;
        }
        _exit(write(tid[1], &second, sizeof(second)) == sizeof(second) && read(go[0], &c, 1) == 0 ? 5 : 6);
    }
    close(go[0]);
    if (read(tid[0], &second, sizeof(second)) != sizeof(second))
        return;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    slurp(path);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        print_field(fields[i]);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    slurp(path);
    char *p = strrchr(text, ')');
    unsigned long blocked, ignored, caught;
    for (int field = 2; p && field < 32; field++)
        p = strchr(p + 1, ' ');
    if (p && sscanf(p, "%lu %lu %lu", &blocked, &ignored, &caught) == 3)
        printf("stat %lx %lx %lx\n", blocked, ignored, caught);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, second);
    for (int i = 0; i < 5000 && (slurp(path) < 0 || !strstr(text, suspended)); i++)
        usleep(1000);
    print_field("SigBlk:");
    close(go[1]);
    waitpid(pid, &status, 0);
    printf("ended %d\n", WEXITSTATUS(status));
}

#ifdef __aarch64__
#define TAG(p) ((void *)((uintptr_t)(p) | (0x42ul << 56)))
#define tagged_control(set) prctl(PR_SET_TAGGED_ADDR_CTRL, set, 0, 0, 0)
#else /* as if there were no tags */
#define TAG(p) ((void *)(p))
#define tagged_control(set) 0
#endif

static void tags(void)
{
    static struct utsname u;
    char path[] = "/", *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct stat st;

#ifdef __aarch64__
    printf("untagged %s\n", error(uname(TAG(&u))));
    printf("invalid %s %s\n", error(prctl(PR_SET_TAGGED_ADDR_CTRL, 1, 1, 0, 0)), error(tagged_control(2)));
    printf("control %d\n", prctl(PR_GET_TAGGED_ADDR_CTRL, 0, 0, 0, 0));
#else
    errno = EFAULT;
    printf("untagged %s\n", error(-1));
    errno = EINVAL;
    printf("invalid %s %s\n", error(-1), error(-1));
    printf("control 0\n");
#endif
    /* Where something is already, tags were always ignored. */
    printf("mprotect %s madvise %s\n", error(mprotect(TAG(page), 4096, PROT_READ)),
           error(madvise(TAG(page), 4096, MADV_DONTNEED)));
    printf("enabled %d", tagged_control(1));
    printf(" %s", error(uname(TAG(&u))));
    printf(" %s", u.sysname);
    printf(" %s", error(stat(TAG(path), TAG(&st))));
    int fd = open(TAG(path), O_RDONLY | O_DIRECTORY);
    printf(" %s", error(fd));
    printf(" %s\n", error(write(1, TAG("tagged\n"), 7)));
    pid_t pid = fork();
    if (!pid)
        _exit(uname(TAG(&u)) ? 1 : 2);
    int status;
    waitpid(pid, TAG(&status), 0);
    printf("child %d\n", WEXITSTATUS(status));
    printf("munmap %s\n", error(munmap(TAG(page), 8192)));
    printf("disabled %d", tagged_control(0));
    printf(" %s\n", error(uname(&u)));
}

static void statuses(void)
{
    struct rlimit limit = {0, 0};
    int status;

    setrlimit(RLIMIT_CORE, &limit);
    for (int i = 0; i < 5; i++) {
        int sig = (int[]){SIGSEGV, SIGABRT, SIGTERM, SIGKILL, SIGQUIT}[i];
        pid_t pid = fork();
        if (!pid) {
            if (sig == SIGSEGV)
                *(volatile int *)8 = 0;
            raise(sig);
            _exit(0);
        }
        waitpid(pid, &status, 0);
        printf("signal %d core %d\n", WTERMSIG(status), WCOREDUMP(status) != 0);
    }
    posix_spawn_file_actions_t none;
    char *args[] = {"nothing", NULL};
    pid_t pid;
    posix_spawn_file_actions_init(&none);
    printf("posix_spawn %s", strerror(posix_spawn(&pid, "/nothing/here", &none, NULL, args, environ)));
    printf(", %s\n", strerror(posix_spawnp(&pid, "no-such-program", NULL, NULL, args, environ)));
}

static void rest(void)
{
    void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x40 /* MAP_32BIT is x86's */, -1, 0);
    printf("mmap %d\n", p != MAP_FAILED);
    printf("membarrier %s", error(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0)));
    printf(" %s", error(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0)));
    printf(" %s\n", error(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0)));
    /* Larger structures than are known, with zeros. */
    struct {
        struct open_how how;
        char more[600];
    } how = {.how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC}};
    printf("openat2 %s", error(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how))));
    how.more[500] = 1;
    printf(", %s", error(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how))));
    printf(", %s\n", error(syscall(SYS_openat2, AT_FDCWD, "/", &how, 5000)));
    struct epoll_event events[2] = {{.events = EPOLLIN, .data.u64 = 0x1122334455667788}};
    int ep = epoll_create1(0), pipes[2];
    if (pipe(pipes) || write(pipes[1], "x", 1) != 1)
        return;
    epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &events[0]);
    struct timespec ts = {1, 0};
    memset(events, 0, sizeof(events));
    printf("epoll_pwait2 %ld", syscall(441, ep, events, 2, &ts, NULL, 8));
    printf(" %llx\n", (unsigned long long)events[0].data.u64);
    int pidfd = -1, child_tid = 0, parent_tid = 0, status;
    struct clone_args args = {.flags = CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | CLONE_CLEAR_SIGHAND |
                                       CLONE_FS | CLONE_IO,
                              .pidfd = (uintptr_t)&pidfd,
                              .child_tid = (uintptr_t)&child_tid,
                              .parent_tid = (uintptr_t)&parent_tid,
                              .exit_signal = SIGCHLD};
    fflush(stdout);
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (!pid)
        _exit(child_tid == syscall(SYS_gettid) ? 9 : 10);
    waitpid(pid, &status, 0);
    printf("clone3 %d pidfd %d parent %d\n", WEXITSTATUS(status), pidfd >= 0, parent_tid == pid);
    args.flags = CLONE_THREAD;
    printf("clone3 %s", error(syscall(SYS_clone3, &args, sizeof(args))));
    args.flags = 1ull << 60;
    printf(", %s\n", error(syscall(SYS_clone3, &args, sizeof(args))));
#ifdef __aarch64__
    printf("rseq %s\n", error(syscall(SYS_rseq, text, 32, 0, 0x53053053)));
#else
    errno = ENOSYS;
    printf("rseq %s\n", error(-1));
#endif
}

int main(int argc, char **argv)
{
    (void)argc;
    setvbuf(stdout, NULL, _IONBF, 0);
    another(argv);
    own_signals();
    others_signals();
    tags();
    statuses();
    rest();
    return 0;
}
