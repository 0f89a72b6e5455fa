/* Signals: who gets which, with what, on which stack, under which mask, and what becomes of the interrupted call. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int got, got_code, got_value;
static void *volatile got_addr;
static volatile uintptr_t got_stack;
static sigset_t mask_inside;
static sigjmp_buf back;

static void note(int sig, siginfo_t *info, void *context)
{
    (void)context;
    got = sig;
    got_code = info->si_code;
    got_addr = info->si_addr;
    got_value = info->si_value.sival_int;
    got_stack = (uintptr_t)__builtin_frame_address(0);
    sigprocmask(SIG_BLOCK, NULL, &mask_inside);
}

static void jump(int sig, siginfo_t *info, void *context)
{
    note(sig, info, context);
    siglongjmp(back, 1);
}

static void on(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGUSR2);
    sigaction(sig, &sa, NULL);
}

static int blocked(const sigset_t *s, int sig)
{
    return sigismember(s, sig);
}

static void raising(void)
{
    sigset_t now;

    on(SIGUSR1, note, 0);
    got = 0;
    raise(SIGUSR1);
    printf("raise %d code %d\n", got == SIGUSR1, got_code == SI_TKILL);
    printf("inside: itself %d, sa_mask %d, other %d\n", blocked(&mask_inside, SIGUSR1), blocked(&mask_inside, SIGUSR2),
           blocked(&mask_inside, SIGHUP));
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("after: %d %d\n", blocked(&now, SIGUSR1), blocked(&now, SIGUSR2));
    on(SIGUSR1, note, SA_NODEFER);
    kill(getpid(), SIGUSR1);
    printf("nodefer %d code %d\n", blocked(&mask_inside, SIGUSR1), got_code == SI_USER);
    on(SIGUSR1, note, SA_RESETHAND);
    raise(SIGUSR1);
    struct sigaction sa;
    sigaction(SIGUSR1, NULL, &sa);
    printf("resethand %d\n", sa.sa_handler == SIG_DFL);
}

static void faults(void)
{
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char name[] = "/tmp/pipit-signals-XXXXXX";
    int fd = mkstemp(name);

    on(SIGSEGV, jump, 0);
    on(SIGBUS, jump, 0);
    got = 0;
    if (!sigsetjmp(back, 1))
        *(volatile char *)(page + 123) = 1;
    printf("write to read-only: %d code %d at %ld\n", got, got_code, (long)((char *)got_addr - page));
    if (!sigsetjmp(back, 1))
        printf("%d\n", *(volatile int *)16);
    printf("read of nothing: %d code %d at %ld\n", got, got_code, (long)got_addr);
    munmap(page, 4096);
    if (!sigsetjmp(back, 1))
        ((void (*)(void))page)();
    printf("call of nothing: %d code %d at %ld\n", got, got_code, (long)((char *)got_addr - page));
    char *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!sigsetjmp(back, 1))
        ((void (*)(void))data)();
    printf("call of data: %d code %d at %ld\n", got, got_code, (long)((char *)got_addr - data));
    unlink(name);
    char *file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (!sigsetjmp(back, 1))
        printf("%d\n", *(volatile char *)(file + 5));
    printf("beyond the file: %d code %d at %ld\n", got, got_code, (long)((char *)got_addr - file));
    close(fd);
    munmap(data, 4096);
    ssize_t n = write(1, data, 5);
    printf("bad buffer: %zd %d\n", n, errno == EFAULT);
}

static void stacks(void)
{
    size_t size = 65536;
    char *mem = malloc(size);
    stack_t ss = {.ss_sp = mem, .ss_size = size}, old, tiny = {.ss_sp = mem, .ss_size = 100};
    int r;

    r = sigaltstack(NULL, &old);
    printf("no stack yet %d %d\n", r, old.ss_flags == SS_DISABLE);
    r = sigaltstack(&tiny, NULL);
    printf("too small %d %d\n", r, errno == ENOMEM);
    printf("set %d\n", sigaltstack(&ss, NULL));
    on(SIGUSR1, note, SA_ONSTACK);
    raise(SIGUSR1);
    printf("on it %d\n", got_stack > (uintptr_t)mem && got_stack < (uintptr_t)mem + size);
    on(SIGUSR1, note, 0);
    raise(SIGUSR1);
    printf("not on it %d\n", got_stack > (uintptr_t)mem && got_stack < (uintptr_t)mem + size);
    sigaltstack(NULL, &old);
    printf("same %d flags %d\n", old.ss_sp == mem && old.ss_size == size, old.ss_flags);
    ss.ss_flags = SS_DISABLE;
    sigaltstack(&ss, NULL);
    free(mem);
}

static void after(int ms)
{
    struct itimerval it = {.it_value = {.tv_usec = ms * 1000}};

    setitimer(ITIMER_REAL, &it, NULL);
}

static void interrupting(void)
{
    int p[2];
    char c = 0;
    struct timespec long_time = {.tv_sec = 5}, left;

    if (pipe(p))
        return;
    on(SIGALRM, note, 0);
    after(20);
    got = 0;
    ssize_t n = read(p[0], &c, 1);
    printf("read without restart: %zd %d, handler %d\n", n, n < 0 && errno == EINTR, got == SIGALRM);

    on(SIGALRM, note, SA_RESTART);
    pid_t child = fork();
    if (!child) {
        usleep(60000);
        if (write(p[1], "x", 1) != 1)
            _exit(1);
        _exit(0);
    }
    after(20);
    got = 0;
    n = read(p[0], &c, 1);
    printf("read with restart: %zd %c, handler %d\n", n, c, got == SIGALRM);
    waitpid(child, NULL, 0);

    after(20);
    int r = nanosleep(&long_time, &left);
    printf("nanosleep %d %d left %d\n", r, errno == EINTR, left.tv_sec >= 4);
    after(20);
    struct pollfd pf = {.fd = p[0], .events = POLLIN};
    r = poll(&pf, 1, 5000);
    printf("poll %d %d\n", r, errno == EINTR);
    close(p[0]);
    close(p[1]);
}

static void waiting(void)
{
    sigset_t set, none, old, now;
    siginfo_t info;
    struct timespec ts = {.tv_nsec = 10000000};
    struct signalfd_siginfo si;

    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    on(SIGUSR1, note, 0);
    sigprocmask(SIG_BLOCK, &set, &old);
    got = 0;
    raise(SIGUSR1);
    sigpending(&now);
    printf("blocked: handler %d, pending %d\n", got, blocked(&now, SIGUSR1));
    int r = sigsuspend(&none);
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("sigsuspend %d %d, handler %d, blocked again %d\n", r, errno == EINTR, got == SIGUSR1,
           blocked(&now, SIGUSR1));
    union sigval v = {.sival_int = 77};
    sigqueue(getpid(), SIGUSR1, v);
    r = sigwaitinfo(&set, &info);
    printf("sigwaitinfo %d value %d\n", r == SIGUSR1, info.si_value.sival_int);
    r = sigtimedwait(&set, &info, &ts);
    printf("sigtimedwait %d %d\n", r, errno == EAGAIN);

    raise(SIGUSR1);
    got = 0;
    r = ppoll(NULL, 0, &(struct timespec){.tv_sec = 5}, &none);
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("ppoll %d %d, handler %d, blocked again %d\n", r, errno == EINTR, got == SIGUSR1, blocked(&now, SIGUSR1));
    raise(SIGUSR1);
    got = 0;
    r = pselect(0, NULL, NULL, NULL, &(struct timespec){.tv_sec = 5}, &none);
    printf("pselect %d %d, handler %d\n", r, errno == EINTR, got == SIGUSR1);

    int fd = signalfd(-1, &set, 0);
    raise(SIGUSR1);
    ssize_t n = read(fd, &si, sizeof(si));
    printf("signalfd %d %d\n", n == (ssize_t)sizeof(si), (int)si.ssi_signo == SIGUSR1);
    close(fd);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static volatile int order[8], count;
static void queued(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (count < 8)
        order[count++] = (sig - SIGRTMIN) * 100 + info->si_value.sival_int;
}

static void queueing(void)
{
    sigset_t set, old;

    sigemptyset(&set);
    for (int i = 0; i < 3; i++) {
        on(SIGRTMIN + i, queued, 0);
        sigaddset(&set, SIGRTMIN + i);
    }
    sigprocmask(SIG_BLOCK, &set, &old);
    for (int i = 0; i < 6; i++)
        sigqueue(getpid(), SIGRTMIN + 2 - i % 3, (union sigval){.sival_int = i});
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("queue:");
    for (int i = 0; i < count; i++)
        printf(" %d", order[i]);
    printf("\n");
}

static volatile unsigned ticks;
static void tick(int sig)
{
    (void)sig;
    ticks++;
}

/* Signals that land anywhere in a computation change nothing of it. */
static void storm(void)
{
    struct itimerval it = {{.tv_usec = 500}, {.tv_usec = 500}}, off = {0};
    uint64_t a = 1, b = 2;
    double f = 1;

    signal(SIGALRM, tick);
    setitimer(ITIMER_REAL, &it, NULL);
    for (int i = 0; i < 300000 || ticks < 20; i++) {
        if (i < 300000) {
            a = a * 6364136223846793005u + 1442695040888963407u;
            b ^= a >> 17 | a << 47;
            f = f * 0.75 + (double)(a >> 40) / 3.0;
        }
    }
    setitimer(ITIMER_REAL, &off, NULL);
    printf("storm %016llx %016llx %.17g\n", (unsigned long long)a, (unsigned long long)b, f);
}

static void endings(void)
{
    const int ends[] = {SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGUSR2, SIGRTMIN + 3, SIGBUS, SIGFPE, SIGILL};
    int status;

    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        pid_t pid = fork();
        if (!pid) {
            signal(ends[i], SIG_DFL);
            raise(ends[i]);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        printf("end %d: %d\n", ends[i], WIFSIGNALED(status) ? WTERMSIG(status) : -1);
    }
    pid_t pid = fork();
    if (!pid) { /* a fault whose signal is ignored, or blocked, ends the process */
        signal(SIGSEGV, SIG_IGN);
        raise(SIGSEGV);
        printf("ignored where it was sent\n");
        fflush(stdout);
        *(volatile int *)16 = 1;
        _exit(1);
    }
    waitpid(pid, &status, 0);
    printf("ignored fault: %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
    pid = fork();
    if (!pid) {
        raise(SIGSTOP);
        _exit(5);
    }
    waitpid(pid, &status, WUNTRACED);
    printf("stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status) == SIGSTOP);
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0);
    printf("went on %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void sent_fault(int sig, siginfo_t *info, void *context)
{
    (void)context;
    got = sig;
    got_code = info->si_code;
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    raising();
    on(SIGSEGV, sent_fault, 0);
    kill(getpid(), SIGSEGV);
    printf("sent SIGSEGV: %d code %d\n", got, got_code);
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigprocmask(SIG_BLOCK, &set, NULL);
    got = 0;
    raise(SIGSEGV);
    sigpending(&pending);
    printf("blocked SIGSEGV: %d, pending %d\n", got, blocked(&pending, SIGSEGV));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("then %d\n", got);
    stacks();
    interrupting();
    waiting();
    queueing();
    storm();
    endings();
    faults();
    return 0;
}
