#!/bin/bash
# limit: 300
# ptrace by Debian's arm64 strace and gdb, in a chroot that has nothing of the host's but the emulator: what strace
# prints of a program beside what -strace prints, strace -f of a shell and its children, and a gdb session with
# breakpoints, steps, a watchpoint, signals, threads and attaching. programs.sh ptrace has the calls themselves.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
export PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache} PIPIT_AARCH64=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
tree=$PIPIT_CACHE/tracers/tree

if [ "${1:-}" = inside ]; then
    set -e
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
    mount -t proc proc /mnt/root/proc
    mount -t tmpfs tmpfs /mnt/root/tmp
    touch /mnt/root/dev/null
    mount --bind /dev/null /mnt/root/dev/null
    cp "$PIPIT_AARCH64" "$2"/debugged "$here"/ptrace/* /mnt/root/tmp/
    exec 3>"$2/strace" 4>"$2/own" 5>"$2/follow" 6>"$2/gdb" 7>"$2/attach"
    export SHELL=/bin/sh HOME=/tmp LC_ALL=C
    guest() { chroot /mnt/root /tmp/pipit-aarch64 "$@"; }
    set +e
    guest /usr/bin/strace /bin/echo traced >/dev/null 2>&3
    guest -strace /bin/echo traced >/dev/null 2>&4
    guest /usr/bin/strace -f /bin/sh -c '/bin/true; (/bin/echo a; /bin/echo b) | /bin/cat; kill -USR1 $$' >/dev/null 2>&5
    echo "status $?" >&5
    guest /usr/bin/gdb -q -nx -batch -x /tmp/commands.gdb /tmp/debugged >&6 2>&1
    mkfifo "$2/in" "$2/out"
    guest /tmp/debugged wait <"$2/in" >"$2/out" &
    exec 8>"$2/in" 9<"$2/out"
    read -r _ <&9
    pid=$(pgrep -x debugged)
    guest /usr/bin/gdb -q -nx -batch -ex bt -ex 'print counter' -p "$pid" /tmp/debugged >&7 2>&1
    echo x >&8
    wait %1
    echo "status $?" >&7
    exit
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0
result() {
    local name=$1 ok=$2
    shift 2
    if [ "$ok" = 0 ]; then
        echo "ok $name"
    else
        echo "FAIL $name: $*"
        bad=1
    fi
}

"$root/tests/tracers.sh" || {
    echo 'FAIL tracers: could not be fetched'
    exit 1
}
aarch64-linux-gnu-gcc -g -O0 -pthread "$here/ptrace/debugged.c" -o "$tmp/debugged" || {
    echo 'FAIL debugged: does not compile'
    exit 1
}
if ! unshare --user --map-root-user --mount --pid --fork --kill-child mount -t proc proc /proc 2>/dev/null; then
    echo 'skip ptrace: no user namespaces'
    exit 0
fi
timeout -k 5 200 unshare --user --map-root-user --mount --pid --fork --kill-child "$0" inside "$tmp" </dev/null ||
    result session 1 "ended with $?"

# Names of the calls and whether they failed, in order; but ld.so's second pages of memory, which it needs or not, as the
# first ones happen to lie beside its own data.
calls() { sed -n -E -e '/^mmap\(NULL, 8192, .*MAP_ANONYMOUS/d' -e 's/^([a-z_0-9]+)\(.*= (-1 E[A-Z]+|\?|).*/\1 \2/p' "$1"; }
calls "$tmp/strace" >"$tmp/strace.calls"
calls "$tmp/own" >"$tmp/own.calls"
# -strace begins behind execve, and ends where the program closes what it prints to.
sed -i -e 1d -e '/^exit_group/d' "$tmp/strace.calls"
sed -i '$d' "$tmp/strace.calls"
if [ "$(wc -l <"$tmp/strace.calls")" -gt 20 ] && diff "$tmp/strace.calls" "$tmp/own.calls"; then
    result strace 0
else
    result strace 1 'not the calls that -strace shows'
fi

follow() {
    local name=$1 want=$2 got
    shift 2
    got=$(grep -cE "$@" "$tmp/follow")
    if [ "$got" = "$want" ]; then
        result "$name" 0
    else
        grep -E 'exec|attached|exited|killed|status' "$tmp/follow"
        result "$name" 1 "$got lines of \"$*\", not $want"
    fi
}
follow strace-execs 5 '(execve\(.*|execve resumed>.*)= 0$'
follow strace-children 4 'Process [0-9]+ attached'
follow strace-exits 4 '\+\+\+ exited with 0 \+\+\+'
follow strace-signal 1 '^--- SIGUSR1 \{si_signo=SIGUSR1, si_code=SI_USER, si_pid=[0-9]+, si_uid=0\} ---'
follow strace-killed 1 '^\+\+\+ killed by SIGUSR1 \+\+\+'
follow strace-vforks 2 'CLONE_VM\|CLONE_VFORK'
follow strace-status 1 '^status 138$'
follow strace-unknown 0 '\?\?\?|syscall_0x|NULL \?'

gdb() {
    local name=$1 file=$2
    shift 2
    grep -qE "$@" "$tmp/$file"
    result "$name" $? "\"$*\" not seen"
}
gdb gdb-main gdb '^Breakpoint 1, main '
gdb gdb-print gdb '^\$1 = 1.5'
gdb gdb-call gdb '^\$2 = 0'
gdb gdb-break-translated gdb 'Temporary breakpoint 2, work \(n=0\)'
gdb gdb-condition gdb '^Breakpoint 3, work \(n=2\)'
gdb gdb-bt gdb '^#1 .* in main '
gdb gdb-finish gdb '^Value returned is \$3 = 6'
gdb gdb-watch-hardware gdb '^Hardware watchpoint [0-9]+: counter$'
gdb gdb-watch gdb '^New value = 6'
gdb gdb-hbreak gdb '^Hardware assisted breakpoint [0-9]+ at .*debugged.c, line'
gdb gdb-hbreak-hit gdb '^Breakpoint [0-9]+, on_usr1 '
gdb gdb-rwatch gdb '^Hardware read watchpoint [0-9]+: handled$'
gdb gdb-rwatch-hit gdb '^Value = 10$'
gdb gdb-signal gdb 'received signal SIGUSR1'
gdb gdb-frame gdb '<signal handler called>'
gdb gdb-siginfo gdb '^\$4 = 5'
gdb gdb-thread gdb 'Thread 2 .* hit Breakpoint .*, thread '
gdb gdb-threads gdb '^\* 2 +Thread .*debugged'
gdb gdb-vector gdb '^\$7 = 12345'
gdb gdb-end gdb 'exited with code 07'
gdb gdb-result gdb '^counter 110 handled 10 1.5'
gdb gdb-attach attach '^#[0-9]+ .* in main '
gdb gdb-attach-print attach '^\$1 = 0'
gdb gdb-attach-goes-on attach '^status 0'
if [ $bad = 1 ]; then
    cat "$tmp/gdb" "$tmp/attach" "$tmp/follow"
fi
exit $bad
