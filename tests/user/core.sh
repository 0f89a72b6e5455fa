#!/bin/bash
# Core files of guests, read by gdb-multiarch: the signal, backtraces of all threads, variables, memory; and when there
# is none. The end itself is the guest's signal in any case, and its parent sees whether there was one.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
bad=0

check() {
    local name=$1 pattern=$2 text=$3
    if grep -qE -- "$pattern" <<<"$text"; then
        echo "ok $name"
    else
        echo "$text"
        echo "FAIL $name: no line of /$pattern/"
        bad=1
    fi
}

cat >crash.c <<'END'
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
static char *volatile text;
static int depth(int n, const char *way)
{
    volatile double local = n + 0.25;
    if (n)
        return depth(n - 1, way) + (int)local;
    if (!strcmp(way, "abort"))
        abort();
    if (!strcmp(way, "fault"))
        *(volatile int *)0x1230 = 1;
    if (!strcmp(way, "undefined"))
        __builtin_trap();
    if (!strcmp(way, "quit"))
        kill(getpid(), SIGQUIT);
    if (!strcmp(way, "term"))
        kill(getpid(), SIGTERM);
    return 0;
}
static void *other(void *arg)
{
    for (;;)
        pause();
    return arg;
}
int main(int argc, char **argv)
{
    pthread_t t;
    if (argc > 2)
        prctl(PR_SET_DUMPABLE, 0);
    text = strdup("words on the heap");
    pthread_create(&t, NULL, other, NULL);
    usleep(20000);
    return depth(3, argv[1]);
}
END
aarch64-linux-gnu-gcc -g -O0 -w -static crash.c -o crash && aarch64-linux-gnu-gcc -g -O0 -w crash.c -o crash-dynamic || {
    echo 'FAIL core: the program does not compile'
    exit 1
}

# Where this host puts core files decides where ours go; a program that takes them gets none of ours.
find_core() {
    find . -name 'core*' -newer "$1" | head -n 1
}
case $(cat /proc/sys/kernel/core_pattern) in
/*)
    echo "skip core: kernel.core_pattern names a folder of the host's"
    exit 0
    ;;
esac

run() {
    touch stamp
    sleep 0.02
    (
        ulimit -c "$1"
        shift
        exec "$@"
    ) >out 2>&1
    status=$?
    core=$(find_core stamp)
}

for way in abort:134 fault:139 undefined:133 quit:131; do
    rm -f core*
    run unlimited "$pipit" ./crash ${way%:*}
    check status-${way%:*} "^${way#*:}$" "$status"
    [ -n "$core" ] || {
        echo "FAIL file-${way%:*}: there is no core file"
        bad=1
        continue
    }
    out=$(timeout 60 gdb-multiarch -q -batch -nx -ex bt -ex 'frame function main' -ex 'print text' -ex 'frame function depth' \
        -ex 'print local' -ex 'print n' -ex 'print $_siginfo.si_signo' -ex 'thread apply all bt' ./crash "$core" 2>&1)
    check backtrace-${way%:*} '#[0-9]+ .*main \(argc=2' "$out"
    check frames-${way%:*} 'depth \(n=3' "$out"
    check local-${way%:*} '= 0.25' "$out"
    check heap-${way%:*} 'words on the heap' "$out"
    check signal-${way%:*} "= $((${way#*:} - 128))\$" "$out"
    check threads-${way%:*} 'in other \(arg' "$out"
done
rm -f core*
run unlimited "$pipit" -L /usr/aarch64-linux-gnu ./crash-dynamic fault
out=$(timeout 60 gdb-multiarch -q -batch -nx -ex 'set sysroot /usr/aarch64-linux-gnu' -ex bt -ex 'info sharedlibrary' ./crash-dynamic "$core" 2>&1)
check dynamic-backtrace 'main \(argc=2' "$out"
check dynamic-library 'libc.so.6' "$out"

# The wait status, to a parent of the host's and to a guest, is that of the same program on this host.
cat >parent.c <<'END'
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct rlimit limit;
    siginfo_t si;
    int status;
    pid_t pid = fork();
    if (!pid) {
        getrlimit(RLIMIT_CORE, &limit);
        limit.rlim_cur = strtoul(argv[1], NULL, 0);
        setrlimit(RLIMIT_CORE, &limit);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (waitid(P_PID, pid, &si, WEXITED | WNOWAIT) || waitpid(pid, &status, 0) != pid)
        return 1;
    printf("signal %d dumped %d code %d status %d\n", WTERMSIG(status), !!WCOREDUMP(status), si.si_code, si.si_status);
    return argc > 99;
}
END
gcc -w -pthread crash.c -o crash-native && gcc -w parent.c -o parent-native &&
    aarch64-linux-gnu-gcc -w -static parent.c -o parent || exit 1
mkdir run
cp "$pipit" ./pipit-aarch64
chmod 1777 run
chmod 755 . pipit-aarch64
cd run || exit 1
ulimit -S -c unlimited
same() {
    local name=$1 limit=$2 out want
    shift 2
    want=$("${as[@]}" ../parent-native "$limit" ../crash-native "$@")
    rm -f core*
    for parent in '../parent-native' '../pipit-aarch64 ../parent'; do
        [ "$parent" = ../parent-native ] || name=$name-guest
        # shellcheck disable=SC2086 # two words
        out=$("${as[@]}" $parent "$limit" ../pipit-aarch64 ../crash "$@")
        check "$name" "^$want\$" "$out"
        [ "$want" = "${want#*dumped 1}" ] || check "$name-core" "^core" "$(ls)"
        rm -f core*
    done
}
case $(cat /proc/sys/kernel/core_pattern) in
*[/\|@]*) echo 'skip wait-status: kernel.core_pattern is not a name in the working directory' ;;
*)
    as=()
    same dumped -1 abort
    same dumped-fault -1 fault
    same dumped-page 4096 quit
    same not-dumped 0 abort
    same not-dumped-term -1 term
    same not-dumpable -1 abort undumpable
    as=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all)
    if "${as[@]}" unshare -U true 2>/dev/null; then
        same dumped-user -1 abort
    else
        echo 'skip dumped-user: this host has no user namespaces for users'
    fi
    ;;
esac
cd ..

rm -f core*
run 0 "$pipit" ./crash fault
check none-status '^139$' "$status"
check none '^none$' "${core:-none}"
run unlimited "$pipit" ./crash term
check term-status '^143$' "$status"
check term-none '^none$' "${core:-none}"
run unlimited "$pipit" ./crash fault undumpable
check undumpable-none '^none$' "${core:-none}"
run 64 "$pipit" ./crash fault
check cut-status '^139$' "$status"
check cut "^[0-9]{1,5}$" "$(stat -c %s "${core:-/dev/null}")"
exit $bad
