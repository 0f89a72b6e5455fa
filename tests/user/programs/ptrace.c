/*
 * ptrace of a child by its parent: what stops there are, in which order and with what in them. Registers are read and
 * written through the few functions that differ between the two architectures.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static long trace(long request, pid_t pid, uintptr_t addr, uintptr_t data)
{
    return syscall(SYS_ptrace, request, pid, addr, data);
}

/* ---- the two architectures ---- */

#ifdef __aarch64__
struct regs {
    uint64_t x[31], sp, pc, pstate;
};
#define FIELD_PC pc
#define FIELD_RESULT x[0]
#define BREAK_BYTES "\x00\x00\x20\xd4"
#define BREAK_SIZE 4
#define BREAK_BACK 0
#else
struct regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp,
        ss, fs_base, gs_base, ds, es, fs, gs;
};
#define FIELD_PC rip
#define FIELD_RESULT rax
#define BREAK_BYTES "\xcc"
#define BREAK_SIZE 1
#define BREAK_BACK 1
#endif

static struct regs get_regs(pid_t pid)
{
    struct regs r = {0};
    struct iovec v = {&r, sizeof(r)};

    if (trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, (uintptr_t)&v) || v.iov_len != sizeof(r))
        printf("GETREGSET: %s\n", strerror(errno));
    return r;
}

static void set_regs(pid_t pid, struct regs *r)
{
    struct iovec v = {r, sizeof(*r)};

    if (trace(PTRACE_SETREGSET, pid, NT_PRSTATUS, (uintptr_t)&v))
        printf("SETREGSET: %s\n", strerror(errno));
}

static void set_call(pid_t pid, long nr)
{
#ifdef __aarch64__
    int n = (int)nr;
    struct iovec v = {&n, sizeof(n)};
    if (trace(PTRACE_SETREGSET, pid, 0x404, (uintptr_t)&v))
        printf("NT_ARM_SYSTEM_CALL: %s\n", strerror(errno));
#else
    struct regs r = get_regs(pid);
    r.orig_rax = (uint64_t)nr;
    set_regs(pid, &r);
#endif
}

static void set_result(pid_t pid, long value)
{
    struct regs r = get_regs(pid);
    r.FIELD_RESULT = (uint64_t)value;
    set_regs(pid, &r);
}

/* ---- waiting ---- */

static const char *event_name(int event)
{
    static const char *const name[] = {"none", "fork", "vfork", "clone", "exec", "vfork-done", "exit", "seccomp"};
    return event == PTRACE_EVENT_STOP ? "stop" : event < 8 ? name[event] : "?";
}

/* What the next wait for `pid` says, in words. */
static int next(const char *what, pid_t pid)
{
    int status = 0;
    pid_t r = waitpid(pid, &status, __WALL);

    printf("%s: ", what);
    if (r != pid)
        printf("wait %s\n", strerror(errno));
    else if (WIFEXITED(status))
        printf("exit %d\n", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        printf("killed by %d\n", WTERMSIG(status));
    else if (WIFSTOPPED(status))
        printf("stop %d event %s\n", WSTOPSIG(status), event_name(status >> 16));
    else
        printf("status %x\n", status);
    return status;
}

/* Until it waits in a call; two seconds at the most. */
static void until_asleep(pid_t pid)
{
    char path[64], state = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    for (int i = 0; i < 2000 && state != 'S'; i++) {
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%*d %*s %c", &state) != 1)
            state = 0;
        if (f)
            fclose(f);
        usleep(1000);
    }
}

static pid_t start(void (*child)(void))
{
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (!pid) {
        if (trace(PTRACE_TRACEME, 0, 0, 0))
            _exit(100);
        kill(getpid(), SIGSTOP);
        child();
        _exit(0);
    }
    return pid;
}

/* ---- system calls ---- */

static void child_calls(void)
{
    long a = syscall(SYS_getppid), b;
    syscall(SYS_close, -1);
    b = syscall(SYS_getuid);
    syscall(SYS_exit_group, (a == getpid()) + 2 * (b == 77));
}

static void put_call(pid_t pid)
{
    struct ptrace_syscall_info i = {0};
    static const struct {
        uint64_t nr;
        const char *name;
    } names[] = {{SYS_getppid, "getppid"}, {SYS_close, "close"}, {SYS_getuid, "getuid"},
                 {SYS_getpid, "getpid"},   {SYS_kill, "kill"},   {SYS_exit_group, "exit_group"}};
    long n = trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(i), (uintptr_t)&i);

    if (i.op == PTRACE_SYSCALL_INFO_ENTRY) {
        const char *name = "?";
        for (unsigned k = 0; k < sizeof(names) / sizeof(names[0]); k++)
            name = names[k].nr == i.entry.nr ? names[k].name : name;
        printf("  %ld entry %s", n, name);
        if (!strcmp(name, "close") || !strcmp(name, "exit_group"))
            printf("(%d)", (int)i.entry.args[0]);
        printf("\n");
    } else if (i.op == PTRACE_SYSCALL_INFO_EXIT) {
        if (i.exit.rval == pid)
            printf("  %ld exit own %d\n", n, i.exit.is_error);
        else
            printf("  %ld exit %ld %d\n", n, (long)i.exit.rval, i.exit.is_error);
    } else {
        printf("  %ld op %d\n", n, i.op);
    }
}

static void test_calls(void)
{
    pid_t pid = start(child_calls);
    uint64_t message;
    siginfo_t info;

    next("calls", pid);
    put_call(pid);
    trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
    for (int i = 0; i < 14; i++) {
        struct ptrace_syscall_info s = {0};
        if (trace(PTRACE_SYSCALL, pid, 0, 0))
            break;
        int status = next("calls", pid);
        if (!WIFSTOPPED(status))
            break;
        if (i != 5) /* what is shown of a call that was skipped differs */
            put_call(pid);
        trace(PTRACE_GETEVENTMSG, pid, 0, (uintptr_t)&message);
        trace(PTRACE_GETSIGINFO, pid, 0, (uintptr_t)&info);
        printf("  message %d signo %d code %x own %d\n", (int)message, info.si_signo, info.si_code, info.si_pid == pid);
        trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(s), (uintptr_t)&s);
        if (s.op == PTRACE_SYSCALL_INFO_ENTRY && s.entry.nr == SYS_getppid)
            set_call(pid, SYS_getpid);
        if (s.op == PTRACE_SYSCALL_INFO_ENTRY && s.entry.nr == SYS_getuid)
            set_call(pid, -1);
        if (s.op == PTRACE_SYSCALL_INFO_EXIT && i == 5)
            set_result(pid, 77);
    }
}

/* ---- breakpoints and steps ---- */

extern char step_begin[], step_end[];
void ten_nops(void);
__asm__(".text\n.globl ten_nops, step_begin, step_end\n.type ten_nops, %function\nten_nops:\nstep_begin:\n"
        "nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nstep_end:\nnop\nret\n");

static volatile int calls;
__attribute__((noinline)) static int called(int n)
{
    calls += n;
    return calls;
}

static void child_break(void)
{
    for (int i = 0; i < 200; i++) {
        called(1);
        ten_nops();
    }
    kill(getpid(), SIGUSR1);
    for (int i = 0; i < 3; i++) {
        called(1);
        ten_nops();
    }
    _exit(calls & 0x7f);
}

static void poke(pid_t pid, const char *at, const void *bytes, size_t n, void *old)
{
    long word = 0;

    trace(PTRACE_PEEKTEXT, pid, (uintptr_t)at, (uintptr_t)&word);
    if (old)
        memcpy(old, &word, n);
    memcpy(&word, bytes, n);
    if (trace(PTRACE_POKETEXT, pid, (uintptr_t)at, (uintptr_t)word))
        printf("POKETEXT: %s\n", strerror(errno));
}

static void test_break(void)
{
    pid_t pid = start(child_break);
    char old[8];
    int value = 0, status;
    long word = 0;
    siginfo_t info;

    next("break", pid);
    trace(PTRACE_CONT, pid, 0, 0);
    next("break", pid);
    poke(pid, step_begin, BREAK_BYTES, BREAK_SIZE, old);
    for (int hit = 0; hit < 3; hit++) {
        trace(PTRACE_CONT, pid, 0, 0);
        status = next("break", pid);
        if (!WIFSTOPPED(status))
            return;
        struct regs r = get_regs(pid);
        trace(PTRACE_PEEKDATA, pid, (uintptr_t)&calls, (uintptr_t)&word);
        printf("  at it %d, calls %d\n", r.FIELD_PC - BREAK_BACK == (uintptr_t)step_begin, (int)word);
        r.FIELD_PC = (uintptr_t)step_begin;
        set_regs(pid, &r);
        poke(pid, step_begin, old, BREAK_SIZE, NULL);
        int steps = 0;
        while (steps < 100 && get_regs(pid).FIELD_PC != (uintptr_t)step_end) {
            trace(PTRACE_SINGLESTEP, pid, 0, 0);
            waitpid(pid, &status, 0);
            steps++;
        }
        trace(PTRACE_GETSIGINFO, pid, 0, (uintptr_t)&info);
        printf("  steps %d, signo %d code %d at %d\n", steps, info.si_signo, info.si_code,
               info.si_addr == (void *)step_end);
        if (hit < 2)
            poke(pid, step_begin, BREAK_BYTES, BREAK_SIZE, NULL);
    }
    trace(PTRACE_PEEKDATA, pid, (uintptr_t)&calls & ~(uintptr_t)7, (uintptr_t)&word);
    value = 100;
    memcpy((char *)&word + ((uintptr_t)&calls & 7), &value, sizeof(value));
    trace(PTRACE_POKEDATA, pid, (uintptr_t)&calls & ~(uintptr_t)7, (uintptr_t)word);
    trace(PTRACE_CONT, pid, 0, 0);
    next("break", pid);
}

/* ---- signals ---- */

static volatile int got, got_value;
static void on_signal(int sig, siginfo_t *info, void *uc)
{
    (void)uc;
    got = sig;
    got_value = info->si_value.sival_int;
}

static void catch_signal(int sig, unsigned flags)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = (int)(SA_SIGINFO | flags)};
    sigaction(sig, &sa, NULL);
}

static void child_signals(void)
{
    sigset_t set;

    catch_signal(SIGUSR1, 0);
    catch_signal(SIGUSR2, 0);
    catch_signal(SIGRTMIN, 0);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42});
    printf("  handler: %d value %d\n", got - SIGRTMIN, got_value);
    kill(getpid(), SIGUSR1); /* becomes SIGUSR2 */
    printf("  handler: %d\n", got);
    got = 0;
    kill(getpid(), SIGUSR1); /* is dropped */
    printf("  handler: %d\n", got);
    kill(getpid(), SIGCHLD); /* ignored, and seen */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 7});
    kill(getpid(), SIGRTMIN);
    printf("  pending still: %d\n", got - SIGRTMIN);
    fflush(stdout);
    kill(getpid(), SIGUSR2); /* stepped into */
    *(volatile int *)8 = 1;
}

static void test_signals(void)
{
    pid_t pid = start(child_signals);
    siginfo_t info;
    uint64_t mask = 0;

    next("signals", pid);
    trace(PTRACE_CONT, pid, 0, 0);
    next("signals queue", pid);
    trace(PTRACE_GETSIGINFO, pid, 0, (uintptr_t)&info);
    printf("  signo %d code %d value %d own %d\n", info.si_signo - SIGRTMIN, info.si_code, info.si_value.sival_int,
           info.si_pid == pid);
    info.si_value.sival_int = 43;
    trace(PTRACE_SETSIGINFO, pid, 0, (uintptr_t)&info);
    trace(PTRACE_CONT, pid, 0, (uintptr_t)SIGRTMIN);
    next("signals change", pid);
    trace(PTRACE_CONT, pid, 0, SIGUSR2);
    next("signals drop", pid);
    trace(PTRACE_CONT, pid, 0, 0);
    next("signals ignored", pid);
    trace(PTRACE_CONT, pid, 0, SIGCHLD);
    next("signals blocked", pid);
    trace(PTRACE_GETSIGMASK, pid, sizeof(mask), (uintptr_t)&mask);
    struct ptrace_peeksiginfo_args args = {.nr = 4};
    siginfo_t peeked[4];
    long n = trace(PTRACE_PEEKSIGINFO, pid, (uintptr_t)&args, (uintptr_t)peeked);
    args.flags = PTRACE_PEEKSIGINFO_SHARED;
    long m = trace(PTRACE_PEEKSIGINFO, pid, (uintptr_t)&args, (uintptr_t)peeked);
    printf("  mask %lx private %ld shared %ld value %d\n", (long)mask, n, m,
           m == 1 ? peeked[0].si_value.sival_int : -1);
    trace(PTRACE_CONT, pid, 0, (uintptr_t)SIGRTMIN);
    next("signals stepped", pid);
    trace(PTRACE_SINGLESTEP, pid, 0, SIGUSR2);
    next("signals stepped", pid);
    printf("  in the handler %d\n", get_regs(pid).FIELD_PC == (uintptr_t)on_signal);
    trace(PTRACE_CONT, pid, 0, 0);
    next("signals fault", pid);
    trace(PTRACE_GETSIGINFO, pid, 0, (uintptr_t)&info);
    printf("  signo %d code %d addr %p\n", info.si_signo, info.si_code, info.si_addr);
    trace(PTRACE_CONT, pid, 0, SIGSEGV);
    next("signals fault", pid);
}

/* ---- events ---- */

static void *idle(void *p)
{
    return p;
}

static void child_events(void)
{
    pthread_t t;
    int status;
    pid_t pid = fork();

    if (!pid)
        _exit(5);
    waitpid(pid, &status, 0);
    pid = vfork();
    if (!pid)
        _exit(6);
    waitpid(pid, &status, 0);
    pthread_create(&t, NULL, idle, NULL);
    pthread_join(t, NULL);
    execl("/proc/self/exe", "self", "exec", NULL);
}

static pid_t message_of(pid_t pid)
{
    uint64_t m = 0;

    trace(PTRACE_GETEVENTMSG, pid, 0, (uintptr_t)&m);
    return (pid_t)m;
}

/* A child that was attached with its parent. */
static void run_child(pid_t pid, bool expect_exit)
{
    int status = next("  child", pid);

    while (WIFSTOPPED(status)) {
        trace(PTRACE_CONT, pid, 0, 0);
        if (!expect_exit)
            return;
        status = next("  child", pid);
    }
}

static void test_events(bool seize)
{
    pid_t pid, child;
    const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                         PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT;
    int status;

    if (seize) {
        fflush(stdout);
        pid = fork();
        if (!pid) {
            kill(getpid(), SIGSTOP);
            child_events();
            _exit(0);
        }
        waitpid(pid, &status, WUNTRACED);
        printf("seize %ld\n", trace(PTRACE_SEIZE, pid, 0, (uintptr_t)options));
        next("seized", pid);
        kill(pid, SIGCONT);
        trace(PTRACE_CONT, pid, 0, 0);
        for (int i = 0; i < 3; i++) {
            status = next("seized", pid);
            if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGCONT && !(status >> 16))
                break;
            trace(PTRACE_CONT, pid, 0, 0);
        }
        trace(PTRACE_CONT, pid, 0, SIGCONT);
    } else {
        pid = start(child_events);
        next("events", pid);
        printf("options %ld\n", trace(PTRACE_SETOPTIONS, pid, 0, (uintptr_t)options));
        trace(PTRACE_CONT, pid, 0, 0);
    }
    for (int i = 0; i < 30; i++) {
        status = next("events", pid);
        if (!WIFSTOPPED(status))
            break;
        int event = status >> 16;
        if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
            child = message_of(pid);
            if (event == PTRACE_EVENT_CLONE)
                trace(PTRACE_CONT, pid, 0, 0); /* it joins */
            run_child(child, true);
            if (event == PTRACE_EVENT_CLONE)
                continue;
        } else if (event == PTRACE_EVENT_EXIT) {
            printf("  message %x\n", (unsigned)message_of(pid));
        } else if (event == PTRACE_EVENT_EXEC) {
            printf("  former %d\n", message_of(pid) == pid);
        }
        trace(PTRACE_CONT, pid, 0, event || WSTOPSIG(status) == SIGTRAP ? 0 : (uintptr_t)WSTOPSIG(status));
    }
}

static void child_exec(void)
{
    execl("/proc/self/exe", "self", "exec", NULL);
}

/* Without PTRACE_O_TRACEEXEC it is a SIGTRAP. */
static void test_exec(void)
{
    pid_t pid = start(child_exec);
    siginfo_t info;
    struct regs zero = {0}, r;

    next("exec", pid);
    trace(PTRACE_CONT, pid, 0, 0);
    next("exec", pid);
    trace(PTRACE_GETSIGINFO, pid, 0, (uintptr_t)&info);
    r = get_regs(pid);
    printf("  code %d own %d result %d\n", info.si_code, info.si_pid == pid, r.FIELD_RESULT == zero.FIELD_RESULT);
    trace(PTRACE_CONT, pid, 0, 0);
    next("exec", pid);
}

/* ---- attaching to what runs ---- */

static volatile unsigned long turns[2];
static volatile int stop_turning;
static unsigned long shared;

static void add_shared(void)
{
#ifdef __aarch64__
    unsigned long v;
    unsigned status;
    __asm__ volatile("1: ldxr %0, [%2]\n add %0, %0, #1\n stxr %w1, %0, [%2]\n cbnz %w1, 1b\n"
                     : "=&r"(v), "=&r"(status)
                     : "r"(&shared)
                     : "memory");
#else
    __atomic_fetch_add(&shared, 1, __ATOMIC_SEQ_CST);
#endif
}

static void *turn(void *p)
{
    volatile unsigned long *n = p;

    while (!stop_turning) {
        add_shared();
        ++*n;
    }
    return NULL;
}

static void *turn_named(void *p)
{
    pid_t *tid = p;
    tid[0] = (pid_t)syscall(SYS_gettid);
    return turn((void *)&turns[tid[1]]);
}

static unsigned long peek_turns(pid_t pid, int i)
{
    unsigned long v = 0;
    struct iovec to = {&v, sizeof(v)}, from = {(void *)&turns[i], sizeof(v)};

    process_vm_readv(pid, &to, 1, &from, 1, 0);
    return v;
}

static bool moves(pid_t pid, int i)
{
    unsigned long before = peek_turns(pid, i);

    for (int n = 0; n < 400; n++) {
        usleep(5000);
        if (peek_turns(pid, i) > before + 100)
            return true;
    }
    return false;
}

static int tracer_of(pid_t pid)
{
    char path[64], line[256];
    int who = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        sscanf(line, "TracerPid: %d", &who);
    if (f)
        fclose(f);
    return who;
}

static void test_attach(bool seize)
{
    int to_child[2], from_child[2];
    char c;
    pid_t pid, tid[3];

    if (pipe(to_child) || pipe(from_child))
        return;
    fflush(stdout);
    pid = fork();
    if (!pid) {
        pthread_t a, b;
        pid_t one[2] = {0, 0}, two[2] = {0, 1};
        pthread_create(&a, NULL, turn_named, one);
        pthread_create(&b, NULL, turn_named, two);
        while (!((volatile pid_t *)one)[0] || !((volatile pid_t *)two)[0])
            usleep(1000);
        pid_t all[3] = {getpid(), one[0], two[0]};
        if (write(from_child[1], all, sizeof(all)) != sizeof(all))
            _exit(1);
        ssize_t n = read(to_child[0], &c, 1); /* is stopped here, and must not be told */
        int e = errno;
        stop_turning = 1;
        pthread_join(a, NULL);
        pthread_join(b, NULL);
        _exit(n == 1 && shared == turns[0] + turns[1] ? 42 : n < 0 ? e : 99);
    }
    if (read(from_child[0], tid, sizeof(tid)) != sizeof(tid))
        return;
    for (int i = 0; i < 3; i++) {
        if (trace(seize ? PTRACE_SEIZE : PTRACE_ATTACH, tid[i], 0, 0))
            printf("attach: %s\n", strerror(errno));
        if (seize && trace(PTRACE_INTERRUPT, tid[i], 0, 0))
            printf("interrupt: %s\n", strerror(errno));
    }
    printf("again %d\n", trace(PTRACE_ATTACH, tid[0], 0, 0) ? errno : 0);
    for (int i = 0; i < 3; i++)
        next("attach", tid[i]);
    printf("  tracer %d\n", tracer_of(pid) == getpid());
    unsigned long before = peek_turns(pid, 0) + peek_turns(pid, 1);
    usleep(20000);
    printf("  stand still %d\n", peek_turns(pid, 0) + peek_turns(pid, 1) == before);
    for (int i = 0; i < 3; i++)
        printf("  pc %d\n", get_regs(tid[i]).FIELD_PC != 0);
    /* One is held, the other goes on. */
    trace(PTRACE_CONT, tid[2], 0, 0);
    printf("  the other moves %d\n", moves(pid, 1));
    printf("  running: %d\n", trace(PTRACE_CONT, tid[2], 0, 0) ? errno : 0);
    trace(PTRACE_CONT, tid[0], 0, 0);
    trace(PTRACE_CONT, tid[1], 0, 0);
    printf("  all move %d\n", moves(pid, 0) && moves(pid, 1));
    if (seize) {
        kill(pid, SIGSTOP);
        /* One of them takes the signal, and then all stop. */
        int seen = 0, stops = 0;
        while (stops < 3) {
            int status;
            pid_t r = waitpid(-1, &status, __WALL);
            if (r < 0 || !WIFSTOPPED(status))
                break;
            if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGSTOP) {
                stops++;
                if (trace(PTRACE_LISTEN, r, 0, 0))
                    printf("listen: %s\n", strerror(errno));
            } else {
                seen += WSTOPSIG(status) == SIGSTOP;
                trace(PTRACE_CONT, r, 0, (uintptr_t)WSTOPSIG(status));
            }
        }
        printf("  group stop: signals %d stops %d\n", seen, stops);
        before = peek_turns(pid, 0);
        usleep(10000);
        printf("  stopped %d\n", peek_turns(pid, 0) == before);
        kill(pid, SIGCONT);
        int woken = 0, cont = 0;
        while (woken < 3 || !cont) {
            int status;
            pid_t r = waitpid(-1, &status, __WALL);
            if (r < 0 || !WIFSTOPPED(status))
                break;
            if (status >> 16 == PTRACE_EVENT_STOP)
                woken++;
            else
                cont += WSTOPSIG(status) == SIGCONT;
            trace(PTRACE_CONT, r, 0, status >> 16 ? 0 : (uintptr_t)WSTOPSIG(status));
        }
        printf("  woken %d cont %d\n", woken, cont);
        printf("  moves %d\n", moves(pid, 0));
        for (int i = 0; i < 3; i++)
            trace(PTRACE_INTERRUPT, tid[i], 0, 0);
        for (int i = 0; i < 3; i++)
            next("interrupted", tid[i]);
    } else {
        for (int i = 0; i < 3; i++)
            syscall(SYS_tgkill, pid, tid[i], SIGSTOP);
        for (int i = 0; i < 3; i++)
            next("stopped", tid[i]);
    }
    for (int i = 0; i < 3; i++)
        if (trace(PTRACE_DETACH, tid[i], 0, 0))
            printf("detach: %s\n", strerror(errno));
    printf("  moves %d tracer %d\n", moves(pid, 0), tracer_of(pid));
    if (write(to_child[1], "x", 1) != 1)
        return;
    next("attach", pid);
    close(to_child[0]);
    close(to_child[1]);
    close(from_child[0]);
    close(from_child[1]);
}

/* ---- interrupted calls ---- */

static void child_restarts(void)
{
    struct timespec ts = {0, 300000000};
    sigset_t none;

    sigemptyset(&none);
    catch_signal(SIGUSR1, SA_RESTART);
    int r = nanosleep(&ts, NULL); /* dropped signal: sleeps on */
    printf("  sleep %d\n", r);
    r = sigsuspend(&none); /* first a dropped signal, then a real one */
    printf("  suspend %d %d\n", r, errno == EINTR);
    fflush(stdout);
}

static void test_restarts(void)
{
    pid_t pid = start(child_restarts);

    next("restarts", pid);
    trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
    trace(PTRACE_CONT, pid, 0, 0);
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            usleep(600000); /* the sleep is over */
        until_asleep(pid);
        kill(pid, SIGUSR1);
        next("restarts", pid);
        trace(PTRACE_CONT, pid, 0, i == 2 ? SIGUSR1 : 0);
    }
    next("restarts", pid);
}

/* The kernel's codes for calls that are to be made again. */
static void child_codes(void)
{
    char c;
    int p[2];
    sigset_t none;

    sigemptyset(&none);
    catch_signal(SIGUSR1, SA_RESTART);
    if (!pipe(p))
        syscall(SYS_read, p[0], &c, 1);
    sigsuspend(&none);
}

static void test_codes(void)
{
    pid_t pid = start(child_codes);
    struct ptrace_syscall_info s;
    int read_stops = 0;

    next("codes", pid);
    trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    while (read_stops < 3) {
        int status;
        trace(PTRACE_SYSCALL, pid, 0, 0);
        if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
            return;
        memset(&s, 0, sizeof(s));
        trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(s), (uintptr_t)&s);
        if (s.op != PTRACE_SYSCALL_INFO_ENTRY || s.entry.nr != SYS_read)
            continue;
        trace(PTRACE_SYSCALL, pid, 0, 0);
        until_asleep(pid);
        kill(pid, SIGUSR1);
        next("codes exit", pid);
        put_call(pid);
        trace(PTRACE_SYSCALL, pid, 0, 0);
        next("codes signal", pid);
        read_stops++;
    }
    kill(pid, SIGKILL);
    next("codes", pid);
}

/* ---- seccomp, errors, exits ---- */

static void child_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 5),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {4, code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
    long a = syscall(SYS_getppid), b = syscall(SYS_getppid);
    _exit((a == getpid()) + 2 * (b == 55));
}

static void test_filter(void)
{
    pid_t pid = start(child_filter);

    next("filter", pid);
    trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP);
    trace(PTRACE_CONT, pid, 0, 0);
    next("filter", pid);
    printf("  message %d\n", message_of(pid));
    put_call(pid);
    set_call(pid, SYS_getpid);
    trace(PTRACE_CONT, pid, 0, 0);
    next("filter", pid);
    set_call(pid, -1);
    set_result(pid, 55);
    trace(PTRACE_CONT, pid, 0, 0);
    next("filter", pid);
}

static void child_wait(void)
{
    for (;;)
        pause();
}

static long error(long r)
{
    return r ? errno : 0;
}

static void test_errors(void)
{
    pid_t pid = start(child_wait);
    char buf[64];
    struct iovec v = {buf, sizeof(buf)};
    siginfo_t info = {0};

    printf("not ours: %ld %ld\n", error(trace(PTRACE_CONT, getpid(), 0, 0)),
           error(trace(PTRACE_ATTACH, getpid(), 0, 0)));
    printf("waitid %d", waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT));
    printf(" pid %d code %d status %d\n", info.si_pid == pid, info.si_code, info.si_status);
    waitid(P_PID, (id_t)pid, &info, WSTOPPED);
    printf("waitid pid %d code %d status %d\n", info.si_pid == pid, info.si_code, info.si_status);
    printf("regset %ld\n", error(trace(PTRACE_GETREGSET, pid, 0x12345, (uintptr_t)&v)));
    v.iov_len = 16;
    printf("part %ld", error(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, (uintptr_t)&v)));
    printf(" %d\n", (int)v.iov_len);
    printf("options %ld\n", error(trace(PTRACE_SETOPTIONS, pid, 0, 0x80000000)));
    printf("signal %ld\n", error(trace(PTRACE_CONT, pid, 0, 1000)));
    printf("mask %ld\n", error(trace(PTRACE_GETSIGMASK, pid, 4, (uintptr_t)buf)));
    printf("interrupt %ld listen %ld\n", error(trace(PTRACE_INTERRUPT, pid, 0, 0)),
           error(trace(PTRACE_LISTEN, pid, 0, 0)));
    printf("peek %ld\n", error(trace(PTRACE_PEEKDATA, pid, 16, (uintptr_t)buf)));
    trace(PTRACE_CONT, pid, 0, 0);
    printf("running %ld\n", error(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, (uintptr_t)&v)));
    kill(pid, SIGKILL);
    next("errors", pid);
}

/* A tracer that ends: with PTRACE_O_EXITKILL its tracee ends, too, else it goes on. */
static void test_exitkill(bool with)
{
    int p[2];
    char c = '-';

    if (pipe(p))
        return;
    fflush(stdout);
    pid_t tracer = fork();
    if (!tracer) {
        pid_t pid = fork();
        if (!pid) {
            trace(PTRACE_TRACEME, 0, 0, 0);
            kill(getpid(), SIGUSR2); /* stops here; dropped by nobody */
            _exit(write(p[1], "!", 1) != 1);
        }
        close(p[1]);
        waitpid(pid, NULL, 0);
        if (with)
            trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL);
        else
            trace(PTRACE_DETACH, pid, 0, 0);
        _exit(0);
    }
    close(p[1]);
    waitpid(tracer, NULL, 0);
    ssize_t n = read(p[0], &c, 1);
    printf("exitkill %d: %zd %c\n", with, n, c);
    close(p[0]);
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "exec"))
        return 9;
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_calls();
    test_break();
    test_signals();
    test_events(false);
    test_events(true);
    test_exec();
    test_attach(true);
    test_attach(false);
    test_restarts();
    test_codes();
    test_filter();
    test_errors();
    test_exitkill(true);
    test_exitkill(false);
    return 0;
}
