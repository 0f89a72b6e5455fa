/* Debug registers by ptrace: NT_ARM_HW_BREAK and NT_ARM_HW_WATCH as an arm64 kernel has them. reference: points.expect
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SET_BREAK 0x402
#define SET_WATCH 0x403
#define CTRL(bytes, type) ((bytes) << 5 | (type) << 3 | 2u << 1 | 1)

static volatile uint64_t data[4];

__attribute__((noinline)) static void target(uint64_t v)
{
    data[1] = v;
    __asm__ volatile("" : : : "memory");
}

struct points {
    uint32_t info, pad;
    struct {
        uint64_t addr;
        uint32_t ctrl, pad;
    } reg[16];
};

static int set(pid_t pid, long type, uint64_t addr, uint32_t ctrl, unsigned slot)
{
    struct points p = {0};
    struct iovec v = {&p, sizeof(p)};

    if (ptrace(PTRACE_GETREGSET, pid, type, &v))
        return errno;
    p.reg[slot].addr = addr;
    p.reg[slot].ctrl = ctrl;
    v.iov_len = 8 + 16 * (slot + 1);
    return ptrace(PTRACE_SETREGSET, pid, type, &v) ? errno : 0;
}

static void go(pid_t pid, int request, const char *what)
{
    siginfo_t info = {0};
    int s = 0;

    ptrace(request, pid, 0, 0);
    waitpid(pid, &s, 0);
    if (WIFEXITED(s)) {
        printf("%s: exit %d\n", what, WEXITSTATUS(s));
        return;
    }
    ptrace(PTRACE_GETSIGINFO, pid, 0, &info);
    printf("%s: signal %d code %d%s%s%s\n", what, WSTOPSIG(s), info.si_code,
           info.si_addr == (void *)&data[1] ? " at data[1]" : "", info.si_addr == (void *)&data[2] ? " at data[2]" : "",
           info.si_addr == (void *)target ? " at target" : "");
    printf("  data[1] %ld\n", ptrace(PTRACE_PEEKDATA, pid, &data[1], 0));
}

static pid_t start(void)
{
    pid_t pid = fork();
    int s;

    if (!pid) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        target(5);
        data[2] = data[1] + 1;
        if (!fork()) {
            target(6); /* a child has none */
            _exit(3);
        }
        wait(&s);
        target(7);
        _exit(data[2] == 6 && WEXITSTATUS(s) == 3 ? 0 : 1);
    }
    waitpid(pid, &s, 0);
    return pid;
}

int main(void)
{
    pid_t pid = start();
    struct points p = {0};
    struct iovec v = {&p, sizeof(p)};
    uint64_t at = (uint64_t)(uintptr_t)&data[1];

    setvbuf(stdout, NULL, _IONBF, 0);
    for (long type = SET_BREAK; type <= SET_WATCH; type++) {
        v.iov_len = sizeof(p);
        ptrace(PTRACE_GETREGSET, pid, type, &v);
        printf("%lx: length %zu arch %u slots %d\n", type, v.iov_len, p.info >> 8 & 0xff, (p.info & 0xff) >= 2);
    }
    printf("wrong type %d %d, no bytes %d, two runs %d, kernel's %d, too many %d\n",
           set(pid, SET_BREAK, at, CTRL(0xfu, 2u), 0), set(pid, SET_WATCH, at, CTRL(0xfu, 0u), 0),
           set(pid, SET_WATCH, at, CTRL(0u, 2u), 0), set(pid, SET_WATCH, at, CTRL(5u, 2u), 0),
           set(pid, SET_WATCH, UINT64_C(1) << 63, CTRL(1u, 2u), 0), set(pid, SET_WATCH, at, CTRL(1u, 2u), 15));
    printf("write %d\n", set(pid, SET_WATCH, at, CTRL(0xffu, 2u), 0));
    go(pid, PTRACE_CONT, "watched");
    go(pid, PTRACE_CONT, "again");
    printf("off %d\n", set(pid, SET_WATCH, at, CTRL(0xffu, 2u) & ~1u, 0));
    go(pid, PTRACE_SINGLESTEP, "step");
    printf("break %d, read %d\n", set(pid, SET_BREAK, (uint64_t)(uintptr_t)target, CTRL(0xfu, 0u), 1),
           set(pid, SET_WATCH, at + 8, CTRL(1u, 3u), 1));
    go(pid, PTRACE_CONT, "second");
    set(pid, SET_WATCH, 0, 0, 1);
    go(pid, PTRACE_CONT, "third"); /* the grandchild's end */
    go(pid, PTRACE_CONT, "fourth");
    set(pid, SET_BREAK, 0, 0, 1);
    go(pid, PTRACE_CONT, "end");
    pid = start();
    printf("left %d\n", set(pid, SET_WATCH, at, CTRL(0xffu, 2u), 0));
    ptrace(PTRACE_DETACH, pid, 0, 0);
    int s;
    waitpid(pid, &s, 0);
    printf("status %x\n", s);
    return 0;
}
