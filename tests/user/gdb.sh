#!/bin/bash
# The gdb stub of user mode, with gdb-multiarch: breakpoints, watchpoints, steps, backtraces, registers, threads, signals,
# forks, execve, interrupts, detaching, killing, by TCP and by a socket of the file system. And that programs go on right.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
bad=0

cat >prog.c <<'END_OF_PROGRAM'
#include <arm_neon.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
volatile int counter, watched = 1;
struct { char before[3]; volatile short middle; char after; } __attribute__((packed)) odd;
volatile unsigned long ends[4];
__attribute__((noinline)) void handler(int sig)
{
    counter += sig;
}
volatile int value;
static void told(int sig, siginfo_t *info, void *context)
{
    value = info->si_value.sival_int;
}
__attribute__((noinline)) int work(int n)
{
    counter += n;
    watched = n * 2;
    return counter;
}
__attribute__((noinline)) void vectors(void)
{
    static const unsigned words[4] = {1, 2, 3, 0x80000000};
    __asm__ volatile("ldr q7, [%0]\nfmov d9, #2.5\nnop\n.globl here\nhere: nop" : : "r"(words) : "v7", "v9");
}
static void *other(void *arg)
{
    for (;;)
        pause();
    return arg;
}
static void *busy(void *arg)
{
    for (;;)
        __atomic_fetch_add((int *)&counter, 1, __ATOMIC_SEQ_CST);
    return arg;
}
static void make(void *(*fn)(void *), int n)
{
    pthread_t t;
    while (n--)
        pthread_create(&t, NULL, fn, NULL);
}
int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "plain";
    int s, n;
    signal(SIGUSR1, handler);
    work(3);
    if (!strcmp(mode, "signal"))
        raise(SIGUSR1);
    if (!strcmp(mode, "siginfo")) {
        struct sigaction sa = {.sa_sigaction = told, .sa_flags = SA_SIGINFO};
        sigaction(SIGUSR2, &sa, NULL);
        sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 77});
        printf("value %d\n", value);
    }
    if (!strcmp(mode, "vectors"))
        vectors();
    if (!strcmp(mode, "odd")) {
        odd.middle = 5;
        __builtin_memset((void *)ends, 1, sizeof(ends));
        __asm__ volatile("stp %0, %0, [%1, #8]" : : "r"(7L), "r"(ends) : "memory");
    }
    if (!strcmp(mode, "threads")) {
        make(other, 3);
        usleep(20000);
    }
    if (!strcmp(mode, "busy") || !strcmp(mode, "loop")) {
        make(busy, mode[0] == 'b' ? 2 : 0);
        while (watched)
            counter++;
    }
    if (!strcmp(mode, "wait")) {
        n = read(0, &s, 4);
        printf("read %d\n", n);
    }
    if (!strcmp(mode, "fork") && !fork()) {
        work(9);
        _exit(5);
    }
    if (!strcmp(mode, "vfork") && !vfork()) {
        work(9);
        _exit(6);
    }
    if (strstr(mode, "fork")) {
        wait(&s);
        printf("child %d\n", WEXITSTATUS(s));
    }
    if (!strcmp(mode, "exec"))
        execl(argv[0], argv[0], "again", NULL);
    if (!strcmp(mode, "fault"))
        *(volatile int *)0x123450 = 1;
    if (!strcmp(mode, "term"))
        kill(getpid(), SIGTERM);
    if (!strcmp(mode, "ends")) {
        make(busy, 1);
        syscall(SYS_exit, 3);
    }
    if (!strcmp(mode, "close")) {
        struct rlimit l;
        getrlimit(RLIMIT_NOFILE, &l);
        int open = 0;
        for (n = 3; n < 5000; n++)
            close(n);
        for (n = 3; n < 5000; n++)
            open += !close(n);
        syscall(SYS_close_range, 3, ~0u, 0);
        for (n = 3; n < 5000 && n < (int)l.rlim_cur; n++)
            open += dup2(2, n) != n;
        printf("left %d\n", open);
        watched = 5;
    }
    fflush(stdout);
    work(7);
    return 42;
}
END_OF_PROGRAM
aarch64-linux-gnu-gcc -g -O1 -static -pthread prog.c -o prog && aarch64-linux-gnu-gcc -g -O1 -pthread prog.c -o dynamic || {
    echo 'FAIL gdb: the program does not compile'
    exit 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# session MODE [-ex COMMAND]...: the program in this mode, under gdb with these commands; both outputs in `out`, the
# program's status in `status`. PROGRAM, PLACE (and AT, gdb's name of it) and OPTIONS can be others.
PROGRAM=./prog PLACE=./socket AT=./socket OPTIONS=()
session() {
    local mode=$1 i server
    shift
    rm -f socket
    timeout -k 2 40 "$pipit" "${OPTIONS[@]}" -g "$PLACE" "$PROGRAM" $mode >program.out 2>&1 <&9 &
    server=$!
    if [ "$AT" = ./socket ]; then
        for ((i = 0; i < 200; i++)); do
            [ -S socket ] && break
            sleep 0.02
        done
    else
        sleep 0.3
    fi
    timeout -k 2 30 gdb-multiarch -q -batch -nx -iex 'set sysroot target:' -ex 'set confirm off' -ex 'set pagination off' \
        -ex 'handle SIGUSR1 nostop noprint pass' -ex "target remote $AT" "$@" $PROGRAM >gdb.out 2>&1 </dev/null 9<&-
    wait $server 2>/dev/null
    status=$?
    out=$(cat gdb.out program.out)
}

# check NAME PATTERN...: each matches in a line of the last session, in any order. A pattern =N is its status.
check() {
    local name=$1 pattern
    shift
    for pattern; do
        if [[ $pattern = =* ]]; then
            [ "=$status" = "$pattern" ] && continue
        else
            grep -qE -- "$pattern" <<<"$out" && continue
        fi
        echo "$out"
        echo "FAIL $name: status $status, no line of /$pattern/"
        bad=1
        return
    done
    echo "ok $name"
}
# gdb's own Ctrl-C, so many seconds from now.
interrupt() {
    echo "shell (sleep $1; kill -INT \$PPID) &"
}
mkfifo input
exec 9<>input

session plain -ex 'break main' -ex c -ex bt -ex next -ex next -ex step -ex step -ex 'print n' -ex finish -ex delete -ex c
check breakpoint-and-steps '^Breakpoint 1, main \(argc=2' '^#0 +main' 'work \(n=' '^\$1 = 3$' 'Value returned is \$2 = 3' \
    'exited with code 052' '=42'
session signal -ex 'break handler' -ex c -ex bt -ex c
check signal-frame '^#0 +handler \(sig=10\)' '^#1 +<signal handler called>' 'main \(argc=' '=42'
session signal -ex 'handle SIGUSR1 stop print' -ex c -ex 'print $_siginfo.si_signo' -ex stepi -ex 'info symbol $pc' -ex c
check signal-stop 'received signal SIGUSR1' '^\$1 = 10$' '^handler in section' '=42'
session signal -ex 'handle SIGUSR1 stop nopass' -ex 'break handler' -ex c -ex 'signal 0'
check signal-dropped 'received signal SIGUSR1' 'exited with code 052'
session siginfo -ex c -ex 'print $_siginfo._sifields._rt.si_sigval.sival_int = 1234' -ex c
check signal-info-written 'received signal SIGUSR2' '^value 1234$' '=42'
session plain -ex 'monitor help' -ex 'monitor version' -ex 'monitor translations' -ex 'break work' -ex c -ex 'monitor forget' \
    -ex 'monitor nothing' -ex delete -ex c
check monitor '^forget +drop all' '^pipit-aarch64 [0-9.]+, process [0-9]+, translated$' '^blocks: [0-9]+ translated' 'translated anew' \
    'no such command' '=42'
session plain -ex 'break work' -ex c -ex 'monitor exit'
check monitor-exit '=137'
session plain -ex 'break main' -ex c -ex 'watch watched' -ex c -ex c -ex c
check watchpoint 'Hardware watchpoint 2: watched' '^Old value = 1$' '^New value = 6$' '^New value = 14$' '=42'
session plain -ex 'break work' -ex c -ex delete -ex 'rwatch counter' -ex c -ex 'x/i $pc' -ex delete -ex 'awatch counter' -ex c -ex c
check read-watchpoint 'Hardware read watchpoint 2: counter' '^Value = 0$' '<work\+[0-9]+>:' '^New value = 3$'
session odd -ex 'break main' -ex c -ex 'watch odd.middle' -ex 'watch ends[2]' -ex c -ex c -ex c -ex c
check watchpoint-sizes '^New value = 5$' '^Old value = 0$' '^New value = 72340172838076673$' '^New value = 7$' '=42'
session vectors -ex 'break here' -ex c -ex 'print $v7.s.u' -ex 'print $d9' -ex 'set var $v7.s.u[1] = 77' -ex 'print $v7.d.u[0]' \
    -ex 'print $fpcr' -ex 'print/x $tpidr != 0' -ex 'print $TPIDRRO_EL0' -ex 'info registers MIDR_EL1' -ex 'info registers cpsr' -ex c
check vector-registers '^\$1 = \{1, 2, 3, 2147483648\}' '^\$2 = \{f = 2.5,' '^\$3 = 330712481793$' '^\$4 = 0$' '^\$5 = 0x1$' '^\$6 = 0$' \
    '^MIDR_EL1 +0x' '^cpsr .*\[ EL=0 ' '=42'
session threads -ex 'break work if n == 7' -ex c -ex 'info threads' -ex 'thread apply all bt 6' -ex 'set scheduler-locking on' \
    -ex 'print work(1)' -ex next -ex c
check threads '^\* +[0-9]+ +Thread [0-9.]+ \(prog\) work' '^  4 +Thread .* (pause|__syscall_cancel)' '^#[0-9].* in pause \(' 'in other \(arg=' '^\$1 = 4$' '=42'
session busy -ex 'set var watched = 1' -ex 'tbreak work' -ex c -ex "$(interrupt 1)" -ex c -ex 'info threads' \
    -ex 'print counter > 100' -ex 'set var watched = 0' -ex c
check interrupt-threads 'received signal SIGINT' '^  3 +Thread' '^\$1 = 1$' '=42'
session loop -ex "$(interrupt 1)" -ex c -ex 'print watched' -ex 'watch watched' -ex stepi -ex stepi -ex delete -ex 'set var watched = 0' -ex c
check interrupt '^Program received signal SIGINT' '^\$1 = 6$' '=42'
{ sleep 3; printf abcd; } >&9 &
session wait -ex "$(interrupt 1)" -ex c -ex bt -ex 'print work(1)' -ex c
check interrupt-in-call 'received signal SIGINT' '^#[1-3] .* in main \(' '^\$1 = 4$' '^read 4$' '=42'
{ sleep 3; printf abcd; } >&9 &
session wait -ex "$(interrupt 1)" -ex c -ex detach
check detach-in-call 'received signal SIGINT' 'detached' '^read 4$' '=42'
session ends -ex 'tbreak syscall' -ex c -ex 'set scheduler-locking on' -ex c -ex 'info threads' -ex 'thread 2' -ex 'set scheduler-locking off' \
    -ex "$(interrupt 1)" -ex c -ex 'print counter > 100' -ex kill
check first-thread-ends 'No unwaited-for children left' 'received signal SIGINT' 'in busy|busy \(arg' '^\$1 = 1$' '=137'
session plain -ex 'break work' -ex c -ex detach
check detach 'Detaching|detached' '=42'
session plain -ex 'break work' -ex c -ex 'shell kill -9 $PPID'
check lost '=42'
session plain -ex 'break work' -ex c -ex kill
check kill 'killed' '=137'
session fork -ex 'catch fork' -ex 'break work if n == 9' -ex c -ex c
check fork-parent 'Catchpoint 1 \(forked process' 'Detaching after fork from child' '^child 5$' 'exited with code 052' '=42'
session fork -ex 'set follow-fork-mode child' -ex 'break work if n == 9' -ex c -ex bt -ex c
check fork-child 'hit Breakpoint 1, work \(n=' 'exited with code 05\]' '^child 5$' '=42'
session fork -ex 'set detach-on-fork off' -ex 'set follow-fork-mode child' -ex 'break work if n == 9' -ex c -ex 'info inferiors' \
    -ex 'inferior 1' -ex 'print $pc != 0' -ex 'inferior 2' -ex c -ex 'inferior 1' -ex c
check fork-both '^  1 +process' '^\* 2 +process' 'hit Breakpoint 1.*, work' '^\$1 = 1' 'Inferior 2 .* exited with code 05' 'exited with code 052' '=42'
session vfork -ex 'break work if n == 9' -ex c
check vfork 'exited with code 052' '^child 6$' '=42'
session exec -ex 'catch exec' -ex c -ex 'break work if n == 7' -ex c -ex 'info symbol $pc' -ex delete -ex c
check exec 'is executing new program' "Catchpoint 1 \(exec'd" '^Breakpoint 2, work' '=42'
session fault -ex c -ex 'print $_siginfo._sifields._sigfault.si_addr' -ex bt -ex c
check fault 'received signal SIGSEGV' '^\$1 = \(void \*\) 0x123450' '^#0 .*main \(argc=' 'terminated with signal SIGSEGV' '=139'
session term -ex c -ex c
check term 'received signal SIGTERM' 'terminated with signal SIGTERM' '=143'
session close -ex 'tbreak work' -ex c -ex 'tbreak work' -ex c -ex 'print watched' -ex c
check descriptors '^left 0$' '^\$1 = 5$' '=42'
session plain -ex 'info proc mappings' -ex 'info auxv' -ex 'break work' -ex c -ex 'x/2i $pc' -ex 'set var counter = 70' -ex delete -ex 'print work(1)' -ex c
check process '^ *0x0*400000 .*r-xp.*/prog *$' '\[stack\]' 'AT_ENTRY +Entry' '^\$1 = 71$' '=42'
PROGRAM=./dynamic OPTIONS=(-L /usr/aarch64-linux-gnu)
session plain -ex 'break work' -ex c -ex 'info sharedlibrary' -ex bt -ex delete -ex c
check dynamic '^Breakpoint 1, work' '/lib/libc.so.6' '^#1 .*main \(argc=' '=42'
PROGRAM=./prog OPTIONS=(-jit interp)
session signal -ex 'break handler' -ex c -ex bt -ex 'watch counter' -ex c -ex delete -ex c
check interpreter '^#0 +handler \(sig=10\)' '^New value = 13$' '=42'
OPTIONS=() PLACE=$(free_port)
AT=127.0.0.1:$PLACE
# Others than the user and root are turned away; then comes the right one.
if [ "$(id -u)" = 0 ]; then
    "$pipit" -g "$PLACE" ./prog 2>turned-away &
    pid=$!
    sleep 0.3
    got=$(python3 -c 'import encodings.idna, os, socket, sys
os.setuid(65534)
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
s.settimeout(5)
try:
    s.sendall(b"$?#3f")
    print(len(s.recv(100)))
except ConnectionError:
    print(0)' "$PLACE")
    out=$(timeout 20 gdb-multiarch -q -batch -nx -ex "target remote $AT" -ex c ./prog 2>&1)
    wait $pid
    status=$?
    out+=$'\n'"others got $got"
    check other-users '^others got 0$' 'exited with code 052' '=42'
    # A set-user-id program has no debugger, whoever asks.
    cp "$pipit" secure && chmod 4755 secure && chmod 755 .
    cat >drop.py <<'END_OF_DROP'
import os, sys
os.setgid(65534)
os.setuid(65534)
os.environ["QEMU_GDB"] = "/proc/nowhere"
os.execv(sys.argv[1], sys.argv[1:])
END_OF_DROP
    out=$(timeout 10 python3 drop.py ./secure -g ./secure.socket ./prog 2>&1)
    status=$?
    if findmnt -no OPTIONS -T . | grep -q nosuid; then
        echo 'skip set-user-id: temporary files cannot be so'
    else
        check set-user-id '=42'
    fi
else
    echo 'skip other-users: not root'
fi
session plain -ex 'break main' -ex c -ex c
check tcp '^Breakpoint 1, main' '=42'
PLACE=./%d.socket AT=gone
"$pipit" -g ./%d.socket ./prog &
pid=$!
for ((i = 0; i < 100; i++)); do
    [ -S $pid.socket ] && break
    sleep 0.02
done
mode=$(stat -c %a $pid.socket)
out=$(timeout 20 gdb-multiarch -q -batch -nx -ex "target remote ./$pid.socket" -ex c ./prog 2>&1)
wait $pid
status=$?
out+=$'\n'"mode $mode, $(ls ./*.socket 2>/dev/null | wc -l) left"
check socket-name 'exited with code 052' '^mode 600, 0 left$' '=42'
exit $bad
