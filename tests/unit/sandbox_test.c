/*
 * The seccomp filters: for each role a child process enters it, and makes calls that it needs, and must live, or one
 * that it must not make, and must die by SIGSYS after a line that names the role and the call.
 */
#include "vmm/service/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"
#include "vmm/base/util.h"

/* The sanitizers' runtimes need some of what is forbidden otherwise; those cases are left out where CHECK_SANITIZED. */
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#else
static int __lsan_do_recoverable_leak_check(void)
{
    return 0;
}
#endif

/* What is open before the filter, as in the real program. */
static struct {
    int event, timer, epoll, file, inet, local;
    uid_t uid;
} fds;

struct outcome {
    int status; /* of wait */
    char text[512];
};

/* Runs `fn` in a child under `role`; fn's result is the exit code. Its stderr is kept. */
static struct outcome run_under(enum sandbox_role role, int (*fn)(void))
{
    struct outcome o = {.status = -1};
    int p[2];
    pid_t pid;
    size_t n = 0;

    fflush(NULL);
    if (pipe(p) < 0)
        return o;
    pid = fork();
    if (pid == 0) {
        struct err e = {0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(20);
        dup2(p[1], 2);
        close(p[0]);
        close(p[1]);
        if (sandbox_enter(role, &e)) {
            fprintf(stderr, "%s", e.msg);
            _exit(99);
        }
        _exit(fn());
    }
    close(p[1]);
    while (n < sizeof(o.text) - 1) {
        ssize_t r = read(p[0], o.text + n, sizeof(o.text) - 1 - n);
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    close(p[0]);
    if (pid > 0)
        waitpid(pid, &o.status, 0);
    return o;
}

static bool lives(enum sandbox_role role, int (*fn)(void))
{
    struct outcome o = run_under(role, fn);

    if (WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0)
        return true;
    printf("  status 0x%x, said: %s\n", (unsigned)o.status, o.text);
    return false;
}

static bool dies(enum sandbox_role role, int (*fn)(void), const char *role_name, const char *call)
{
    struct outcome o = run_under(role, fn);
    char want[64];

    snprintf(want, sizeof(want), "(%s)", call);
    if (WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGSYS && strstr(o.text, role_name) && strstr(o.text, want))
        return true;
    printf("  %s: status 0x%x, said: %s\n", call, (unsigned)o.status, o.text);
    return false;
}

/* --- calls ----------------------------------------------------------------------------------------------------------
 */

#define NEED(cond)                                                                                                     \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            dprintf(2, "not true: %s (%s)", #cond, strerror(errno));                                                   \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

static void on_usr1(int sig)
{
    (void)sig;
}

static int common_calls(void)
{
    struct timespec ts = {.tv_nsec = 1000};
    uint64_t one = 1;
    char *p;
    void *m;

    for (size_t size = 16; size < (8u << 20); size *= 4) { /* brk, mmap, mremap, munmap */
        char *more;
        p = malloc(size);
        more = p ? realloc(p, size * 2) : NULL;
        if (!more) {
            free(p);
            return 1;
        }
        p = more;
        memset(p, 1, size * 2);
        free(p);
    }
    m = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(m != MAP_FAILED);
    NEED(mprotect(m, 4096, PROT_READ | PROT_WRITE) == 0);
    NEED(madvise(m, 8192, MADV_DONTNEED) == 0);
    NEED(munmap(m, 8192) == 0);
    NEED(nanosleep(&ts, NULL) == 0);
    NEED(write(fds.event, &one, sizeof(one)) == sizeof(one));
    NEED(read(fds.event, &one, sizeof(one)) == sizeof(one));
    signal(SIGUSR1, on_usr1);
    NEED(raise(SIGUSR1) == 0);
    NEED(dprintf(2, " ") == 1);
    prctl(PR_SET_NAME, "test");
    return 0;
}

static int vcpu_calls(void)
{
    struct itimerspec its = {.it_value.tv_sec = 100};

    NEED(timerfd_settime(fds.timer, 0, &its, NULL) == 0);
    return common_calls();
}

static int disk_calls(void)
{
    char b[16] = {0};

    NEED(pwrite(fds.file, b, sizeof(b), 4096) == sizeof(b));
    NEED(pread(fds.file, b, sizeof(b), 4096) == sizeof(b));
    NEED(fdatasync(fds.file) == 0);
    NEED(fallocate(fds.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0 || errno == EOPNOTSUPP);
    return common_calls();
}

static int loop_calls(void)
{
    struct epoll_event ev = {.events = EPOLLIN};
    struct termios t;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    char b[8];

    NEED(epoll_ctl(fds.epoll, EPOLL_CTL_ADD, fds.timer, &ev) == 0 || errno == EEXIST);
    NEED(epoll_wait(fds.epoll, &ev, 1, 0) == 0);
    NEED(tcgetattr(fds.event, &t) < 0 && errno == ENOTTY);
    NEED(recv(fds.inet, b, sizeof(b), MSG_DONTWAIT) < 0 && errno == EAGAIN);
    NEED(fcntl(fds.inet, F_GETFL) >= 0);
    NEED(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    NEED(accept4(fds.local, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) < 0 && errno == EAGAIN);
    NEED(getsockopt(fds.local, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == fds.uid);
    NEED(close(fds.inet) == 0);
    return vcpu_calls() || disk_calls();
}

static int net_calls(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), t = socket(AF_INET, SOCK_STREAM, 0), n = 0, on = 1;
    FILE *f = fopen("/etc/hostname", "r");

    NEED(s >= 0 && t >= 0);
    NEED(bind(s, (struct sockaddr *)&a, sizeof(a)) == 0);
    NEED(getsockname(s, (struct sockaddr *)&a, &len) == 0);
    NEED(sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof(a)) == 1);
    NEED(ioctl(s, FIONREAD, &n) == 0 && n == 1);
    NEED(setsockopt(t, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    a.sin_port = 0;
    NEED(bind(t, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(t, 1) == 0);
    NEED(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EAFNOSUPPORT);
    if (f)
        fclose(f);
    return common_calls();
}

static int main_calls(void)
{
    struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    NEED(unlink("/nonexistent/file") < 0);
    NEED(fcntl(-1, F_OFD_SETLK, &fl) < 0 && errno == EBADF);
    return loop_calls();
}

/* What the leak check does at the program's end; it hangs for ever when its tracing thread makes a forbidden call. */
static int check_leaks(void)
{
    return __lsan_do_recoverable_leak_check();
}

static int call_thread(void)
{
    /* What pthread_create asks for; it never gets a thread, so the stack does not matter. */
    return (int)syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0);
}

static int call_seccomp(void)
{
    return (int)syscall(SYS_seccomp, 0, 0, 0);
}

static int call_exec(void)
{
    char *argv[] = {"true", NULL};
    execv("/bin/true", argv);
    return 1;
}

static int call_open_write(void)
{
    return open("/dev/null", O_WRONLY) < 0;
}

static int call_create(void)
{
    return open("/tmp/pipit-sandbox-test", O_RDONLY | O_CREAT, 0600) < 0;
}

static int call_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0;
}

static int call_getsockopt(void)
{
    int v;
    socklen_t len = sizeof(v);
    return getsockopt(fds.local, SOL_SOCKET, SO_TYPE, &v, &len) < 0;
}

static int call_packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0) < 0;
}

static int call_raw_tcp(void)
{
    return socket(AF_INET, SOCK_RAW, IPPROTO_TCP) < 0;
}

static int call_mprotect_exec(void)
{
    void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return m == MAP_FAILED || mprotect(m, 4096, PROT_READ | PROT_EXEC) < 0;
}

static int call_mmap_exec(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int call_mmap_file(void)
{
    return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fds.file, 0) == MAP_FAILED;
}

static int call_pread(void)
{
    char c;
    return pread(fds.file, &c, 1, 0) < 0;
}

static int call_tgkill_init(void)
{
    return syscall(SYS_tgkill, 1, 1, 0) < 0;
}

static int call_kill_init(void)
{
    return kill(1, 0) < 0;
}

static int call_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0) < 0;
}

static int call_fork(void)
{
    return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int call_ioctl_push_input(void)
{
    char c = 'x';
    return ioctl(0, TIOCSTI, &c) < 0;
}

/* What a fatal signal's handler needs; fails where standard input is no terminal, but is allowed. */
static int terminal_calls(void)
{
    struct termios t;

    memset(&t, 0, sizeof(t));
    ioctl(STDIN_FILENO, TCGETS, &t);
    ioctl(STDIN_FILENO, TCSETS, NULL);
    return 0;
}

static int call_other_terminal(void)
{
    return ioctl(STDERR_FILENO, TCSETS, NULL);
}

/* Requests of KVM are let through by number; no descriptor here understands them. */
static int kvm_run_calls(void)
{
    NEED(ioctl(fds.event, KVM_RUN, 0) < 0 && errno == ENOTTY);
    NEED(ioctl(fds.event, KVM_IRQ_LINE, NULL) < 0 && errno == ENOTTY);
    return 0;
}

static int kvm_reset_calls(void)
{
    NEED(ioctl(fds.event, KVM_IRQ_LINE, NULL) < 0 && errno == ENOTTY);
    NEED(ioctl(fds.event, KVM_IRQFD, NULL) < 0 && errno == ENOTTY);
    NEED(ioctl(fds.event, KVM_SET_MP_STATE, NULL) < 0 && errno == ENOTTY);
    return 0;
}

static int call_kvm_memory(void)
{
    return ioctl(fds.event, KVM_SET_USER_MEMORY_REGION, NULL) < 0;
}

static int call_kvm_run(void)
{
    return ioctl(fds.event, KVM_RUN, 0) < 0;
}

static int call_exec_blocked(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    return call_exec();
}

/* --- tests ----------------------------------------------------------------------------------------------------------
 */

static void needed_calls_pass(void)
{
    CHECK(lives(SANDBOX_VCPU, vcpu_calls));
    CHECK(lives(SANDBOX_LOOP, loop_calls));
    CHECK(lives(SANDBOX_WORKER, disk_calls));
    CHECK(lives(SANDBOX_NET, net_calls));
    CHECK(lives(SANDBOX_MAIN, main_calls));
    CHECK(lives(SANDBOX_MAIN, check_leaks));
    CHECK(lives(SANDBOX_VCPU, terminal_calls));
    CHECK(lives(SANDBOX_WORKER, terminal_calls));
    CHECK(lives(SANDBOX_VCPU, kvm_run_calls));
    CHECK(lives(SANDBOX_LOOP, kvm_reset_calls));
}

static const enum sandbox_role every[] = {SANDBOX_VCPU, SANDBOX_LOOP, SANDBOX_WORKER, SANDBOX_NET, SANDBOX_MAIN};
static const char *const names[] = {"vCPU", "loop", "worker", "network", "main"};

static void no_role_runs_programs_or_writes_files(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(every); i++) {
        CHECK(dies(every[i], call_exec, names[i], "execve"));
        CHECK(dies(every[i], call_open_write, names[i], "openat"));
        CHECK(dies(every[i], call_create, names[i], "openat"));
        CHECK(dies(every[i], call_mprotect_exec, names[i], "mprotect"));
        CHECK(dies(every[i], call_mmap_exec, names[i], "mmap"));
        CHECK(CHECK_SANITIZED || dies(every[i], call_mmap_file, names[i], "mmap"));
        CHECK(dies(every[i], call_packet_socket, names[i], "socket"));
        CHECK(dies(every[i], call_kill_init, names[i], "kill"));
        CHECK(CHECK_SANITIZED || dies(every[i], call_ptrace, names[i], "ptrace"));
        CHECK(CHECK_SANITIZED || dies(every[i], call_fork, names[i], "clone"));
        CHECK(CHECK_SANITIZED || dies(every[i], call_thread, names[i], "clone"));
        CHECK(dies(every[i], call_seccomp, names[i], "seccomp"));
    }
}

static void roles_differ(void)
{
    CHECK(dies(SANDBOX_VCPU, call_socket, "vCPU", "socket"));
    CHECK(dies(SANDBOX_LOOP, call_socket, "loop", "socket"));
    CHECK(dies(SANDBOX_LOOP, call_getsockopt, "loop", "getsockopt"));
    CHECK(dies(SANDBOX_WORKER, call_socket, "worker", "socket"));
    CHECK(dies(SANDBOX_VCPU, call_pread, "vCPU", "pread64"));
    CHECK(dies(SANDBOX_NET, call_pread, "network", "pread64"));
    CHECK(dies(SANDBOX_NET, call_raw_tcp, "network", "socket"));
    CHECK(dies(SANDBOX_LOOP, call_ioctl_push_input, "loop", "ioctl"));
    CHECK(dies(SANDBOX_VCPU, call_other_terminal, "vCPU", "ioctl"));
    CHECK(dies(SANDBOX_NET, call_other_terminal, "network", "ioctl"));
    CHECK(dies(SANDBOX_VCPU, call_tgkill_init, "vCPU", "tgkill"));
    CHECK(dies(SANDBOX_VCPU, call_kvm_memory, "vCPU", "ioctl"));
    CHECK(dies(SANDBOX_LOOP, call_kvm_memory, "loop", "ioctl"));
    CHECK(dies(SANDBOX_LOOP, call_kvm_run, "loop", "ioctl"));
    CHECK(dies(SANDBOX_WORKER, call_kvm_run, "worker", "ioctl"));
    CHECK(dies(SANDBOX_NET, call_kvm_run, "network", "ioctl"));
}

/* A thread that blocks all signals dies too, if without the line. */
static void blocked_signals_do_not_help(void)
{
    struct outcome o = run_under(SANDBOX_VCPU, call_exec_blocked);

    CHECK(WIFSIGNALED(o.status));
    CHECK_EQ(WTERMSIG(o.status), SIGSYS);
}

/* A thread that takes and frees much memory after it has entered its role. */
static void *use_memory(void *arg)
{
    enum { PIECES = 4000, BYTES = 4000 };
    static void *piece[PIECES];
    struct err e = {0};

    (void)arg;
    if (sandbox_enter(SANDBOX_LOOP, &e) < 0)
        _exit(99);
    for (unsigned i = 0; i < PIECES; i++)
        piece[i] = malloc(BYTES);
    for (unsigned i = PIECES; i-- > 1;)
        free(piece[i]);
    _exit(piece[0] ? 0 : 98);
}

static void memory_is_given_back_without_a_call(void)
{
    int status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        pthread_t t;

        alarm(20);
        sandbox_prepare();
        if (pthread_create(&t, NULL, use_memory, NULL) == 0)
            pthread_join(t, NULL);
        _exit(97);
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
}

static int switch_flash(void)
{
    NEED(ioctl(fds.event, KVM_SET_USER_MEMORY_REGION, NULL) < 0 && errno == ENOTTY);
    return 0;
}

static int call_pwrite(void)
{
    return pwrite(fds.file, "x", 1, 0) != 1;
}

static void flash_is_written_where_it_is(void)
{
    CHECK(dies(SANDBOX_VCPU, call_pwrite, "vCPU", "pwrite64"));
    sandbox_allow_flash();
    CHECK(lives(SANDBOX_VCPU, call_pwrite));
    CHECK(lives(SANDBOX_VCPU, switch_flash));
    CHECK(dies(SANDBOX_VCPU, call_open_write, "vCPU", "openat"));
}

static void off_means_off(void)
{
    sandbox_disable();
    CHECK(lives(SANDBOX_VCPU, call_open_write));
}

int main(void)
{
    FILE *tmp = tmpfile();

    fds.event = eventfd(0, 0);
    fds.timer = timerfd_create(CLOCK_MONOTONIC, 0);
    fds.epoll = epoll_create1(0);
    fds.file = tmp ? fileno(tmp) : -1;
    fds.inet = socket(AF_INET, SOCK_DGRAM, 0);
    fds.uid = geteuid();
    /* Without a name of one's own: the kernel gives one. */
    fds.local = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fds.local, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)) < 0 || listen(fds.local, 1) < 0)
        return 1;
    RUN(needed_calls_pass);
    RUN(no_role_runs_programs_or_writes_files);
    RUN(roles_differ);
    RUN(blocked_signals_do_not_help);
    RUN(memory_is_given_back_without_a_call);
    RUN(flash_is_written_where_it_is);
    RUN(off_means_off);
    return check_done();
}
