#!/bin/bash
# -strace beside strace(1): the same program's calls, line by line, addresses and process numbers aside.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

cat >calls.c <<'END'
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define CALL(name, ...) syscall(SYS_##name, __VA_ARGS__)
int main(void)
{
    char buf[100];
    struct stat st;
    struct timespec ts = {0, 1000}, left;
    unsigned long set = 1ul << (SIGUSR1 - 1) | 1ul << (SIGCHLD - 1), full = ~0ul << 2;
    struct iovec iov[2] = {{"one", 3}, {"three", 5}};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
    struct rlimit rl = {16384, 65536};
    struct pollfd pf = {.fd = -1, .events = POLLIN | POLLOUT};
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    int p[2], status;
    CALL(write, -1, "begin", 5);
    CALL(openat, AT_FDCWD, "/nowhere", O_RDONLY | O_CLOEXEC);
    CALL(openat, AT_FDCWD, "calls.c", O_RDWR | O_APPEND | O_NOFOLLOW);
    CALL(openat, AT_FDCWD, "made", O_WRONLY | O_CREAT | O_TRUNC, 0640);
    CALL(read, 3, buf, 20);
    CALL(write, 4, "a \"quoted\"\ttext\n\0012 that is longer than what is shown", 50);
    CALL(lseek, 3, 0, SEEK_END);
    CALL(newfstatat, AT_FDCWD, "/dev/null", &st, AT_SYMLINK_NOFOLLOW);
    CALL(fstat, 4, &st);
    CALL(close, 77);
    CALL(unlinkat, AT_FDCWD, "made", 0);
    CALL(mkdirat, AT_FDCWD, "/proc/no", 0755);
    CALL(faccessat, AT_FDCWD, "/bin/sh", R_OK | X_OK);
    CALL(readlinkat, AT_FDCWD, "/proc/self/nothing", buf, sizeof(buf));
    CALL(pipe2, p, O_CLOEXEC);
    CALL(fcntl, 4, F_GETFD);
    CALL(dup3, 3, 40, O_CLOEXEC);
    CALL(writev, p[1], iov, 2);
    CALL(readv, p[0], iov, 0);
    CALL(mmap, 0l, 4096l, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0l);
    CALL(munmap, 1l, 4096l);
    CALL(mprotect, 0x10000l, 4096l, PROT_READ | PROT_EXEC);
    CALL(rt_sigprocmask, SIG_BLOCK, &set, 0l, 8);
    CALL(rt_sigprocmask, SIG_SETMASK, &full, &set, 8);
    CALL(rt_sigprocmask, SIG_SETMASK, &set, 0l, 8);
    CALL(nanosleep, &ts, &left);
    CALL(clock_getres, CLOCK_MONOTONIC, &ts);
    CALL(prlimit64, 0, RLIMIT_STACK, 0l, 0l);
    CALL(prlimit64, 0, RLIMIT_CORE, &rl, 0l);
    CALL(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL(connect, -1, &in, sizeof(in));
    CALL(bind, -1, &un, sizeof(un));
    CALL(sendto, -1, "bytes", 5, MSG_NOSIGNAL, &in, sizeof(in));
    CALL(ppoll, &pf, 1, &ts, 0l, 8);
    CALL(epoll_create1, EPOLL_CLOEXEC);
    CALL(epoll_ctl, -1, EPOLL_CTL_ADD, 3, &ev);
    ev.data.u64 = 0x123;
    CALL(epoll_ctl, -1, EPOLL_CTL_MOD, 3, &ev);
    CALL(kill, -1, 99);
    CALL(wait4, -1, &status, WNOHANG, 0l);
    CALL(madvise, 0x10000l, 4096l, MADV_DONTNEED);
    CALL(write, -1, "end", 3);
    return 0;
}
END
gcc -O1 -w calls.c -o native && aarch64-linux-gnu-gcc -O1 -w -static calls.c -o guest || {
    echo 'FAIL strace: the program does not compile'
    exit 1
}
# Addresses become ADDR, runs of blanks one; wholly decoded structures (strace -v) are not asked for. strace before 6.11
# prints epoll's data twice, in decimal.
normal() {
    sed -n '/^write(-1, "begin"/,/^write(-1, "end"/p' "$1" |
        perl -pe 's/data=\{u32=\d+, u64=(\d+)\}/sprintf "data=%#x", $1/e' |
        sed -E 's/0x[0-9a-f]{5,}/ADDR/g; s/ +/ /g; s/\[[0-9]+, [0-9]+\]/[N, N]/'
}
strace -o native.log ./native >/dev/null 2>&1
"$pipit" -strace ./guest >/dev/null 2>guest.log
normal native.log >want
normal guest.log >got
[ "$(wc -l <want)" -ge 40 ] || {
    cat native.log
    echo "FAIL strace: strace(1) shows only $(wc -l <want) lines"
    exit 1
}
if diff want got; then
    echo "ok strace: $(wc -l <want) lines are the same"
else
    echo 'FAIL strace: lines differ'
    exit 1
fi
