#!/bin/bash
# limit: 900
# Linux's own selftests (tools/testing/selftests in Debian's kernel source) as arm64 programs. Those of arm64 must
# pass, or skip themselves because the CPU model lacks what they are about. The others are compiled for this host, too,
# and each of their sub-tests must end as it does there, or be named below with a reason; one without sub-tests that fails
# there must fail here with the same words.
#
#   selftests.sh [--all] [NAME...]    --all: the slow ones, too (a step of tests/soak.sh)
#
# The source comes from the archive that this host's apt uses, with apt's signature checks, and is kept with the
# programs in .cache/selftests; nothing of it is ours.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
cache=${PIPIT_CACHE:-$root/.cache}
store=$cache/selftests
src=$store/source/tools/testing/selftests

# folder/name, and the sources beside name.c that it is made of; "-" before it: slow.
generic='
clone3/clone3
clone3/clone3_cap_checkpoint_restore
clone3/clone3_clear_sighand
clone3/clone3_set_tid
core/close_range_test
exec/execveat
exec/non-regular
exec/null-argv
exec/recursion-depth
futex/functional/futex_requeue
futex/functional/futex_requeue_pi
futex/functional/futex_requeue_pi_mismatched_ops
futex/functional/futex_requeue_pi_signal_restart
futex/functional/futex_wait
futex/functional/futex_wait_private_mapped_file
-futex/functional/futex_wait_uninitialized_heap
futex/functional/futex_wait_timeout
futex/functional/futex_wait_wouldblock
futex/functional/futex_waitv
capabilities/test_execve
core/unshare_test
-filesystems/epoll/epoll_wakeup_test
ipc/msgque
mqueue/mq_open_tests
-mqueue/mq_perf_tests
net/af_unix/unix_connect
net/reuseaddr_conflict
net/sk_bind_sendto_listen
net/sk_connect_zero_addr
net/socket
proc/read
ptrace/get_syscall_info
ptrace/peeksiginfo
ptrace/vmaccess
rseq/basic_test rseq.c
seccomp/seccomp_bpf
syscall_user_dispatch/sud_test
-timers/inconsistency-check
-timers/mqueue-lat
vm/memfd_secret
vm/mrelease_test
vm/thuge-gen
vm/virtual_address_range
kcmp/kcmp_test
landlock/base_test
landlock/fs_test
membarrier/membarrier_test_multi_thread
membarrier/membarrier_test_single_thread
memfd/memfd_test common.c
mincore/mincore_selftest
mount/nosymfollow-test
mount/unprivileged-remount-test
mount_setattr/mount_setattr_test
move_mount_set_group/move_mount_set_group_test
nsfs/owner
nsfs/pidns
openat2/openat2_test helpers.c
openat2/resolve_test helpers.c
pid_namespace/regression_enomem
pidfd/pidfd_fdinfo_test
pidfd/pidfd_getfd_test
pidfd/pidfd_open_test
-pidfd/pidfd_poll_test
pidfd/pidfd_setns_test
-pidfd/pidfd_test
pidfd/pidfd_wait
proc/fd-001-lookup
proc/fd-002-posix-eq
proc/fd-003-kthread
proc/proc-fsconfig-hidepid
proc/proc-loadavg-001
proc/proc-multiple-procfs
proc/proc-self-map-files-001
proc/proc-self-map-files-002
proc/proc-self-wchan
proc/proc-subset-pid
proc/proc-tid0
proc/proc-uptime-001
proc/proc-uptime-002
proc/self
proc/setns-dcache
proc/setns-sysvipc
proc/thread-self
rlimits/rlimits-per-userns
sigaltstack/sas
timens/clock_nanosleep
timens/exec
timens/futex
timens/procfs
timens/timens
timens/timer
timens/timerfd
-timers/nanosleep
-timers/nsleep-lat
-timers/posix_timers
-timers/set-timer-lat
-timers/threadtest
tmpfs/bug-link-o-tmpfile
vDSO/vdso_test_abi parse_vdso.c
vDSO/vdso_test_clock_getres
vDSO/vdso_test_correctness
vDSO/vdso_test_getcpu parse_vdso.c
vDSO/vdso_test_gettimeofday parse_vdso.c
vm/madv_populate vm_util.c
vm/map_fixed_noreplace
vm/map_populate
vm/mlock-random-test
vm/mlock2-tests
vm/mremap_dontunmap
-vm/mremap_test
vm/on-fault-limit
mm/madv_populate vm_util.c
mm/map_fixed_noreplace vm_util.c
mm/map_populate vm_util.c
mm/memfd_secret vm_util.c
mm/mlock2-tests vm_util.c
mm/mremap_dontunmap vm_util.c
-mm/mremap_test vm_util.c
mm/mseal_test vm_util.c
mm/on-fault-limit vm_util.c
cachestat/test_cachestat
'
arm64='
arm64/abi/hwcap
arm64/abi/syscall-abi syscall-abi-asm.S
arm64/abi/ptrace
arm64/abi/tpidr2
arm64/bti/btitest test.c signal.c start.S syscall.S system.c teststubs.S trampoline.S
arm64/bti/nobtitest test.c signal.c start.S syscall.S system.c teststubs.S trampoline.S
arm64/fp/fp-stress
arm64/fp/sve-ptrace
arm64/fp/za-ptrace
arm64/fp/sve-probe-vls rdvl.S
arm64/fp/vec-syscfg rdvl.S
arm64/mte/check_buffer_fill mte_common_util.c mte_helper.S
arm64/mte/check_child_memory mte_common_util.c mte_helper.S
arm64/mte/check_gcr_el1_cswitch mte_common_util.c mte_helper.S
arm64/mte/check_mmap_options mte_common_util.c mte_helper.S
arm64/mte/check_prctl mte_common_util.c mte_helper.S
arm64/mte/check_tags_inclusion mte_common_util.c mte_helper.S
arm64/mte/check_user_mem mte_common_util.c mte_helper.S
arm64/pauth/pac pac_corruptor.S helper.c
arm64/tags/tags_test
'

# What differs from the native run, and why: folder/name, the sub-test's number or words of its title (status: of a test
# without sub-tests), the reason.
differ='
capabilities/test_execve|*|set-user-id programs and capabilities of files have their effect through binfmt_misc alone (binfmt.sh)
rseq/basic_test|status|rseq is ENOSYS: a restartable sequence cannot be told from others in translated code
arm64/fp/fp-stress|KERNEL|how an arm64 kernel itself uses FP registers, by drivers that are not in kernels of other architectures
seccomp/seccomp_bpf|syscall_restart|a sleep that a tracer interrupts begins anew; there is no restart_syscall
syscall_user_dispatch/sud_test|*|arm64 has no system call user dispatch
vDSO/vdso_test_abi|16|no time() in the vDSO of arm64
vDSO/vdso_test_getcpu|status|no getcpu() in the vDSO of arm64
'

# expected TEST NUMBER TITLE: the reason, if the difference is one of those.
expected() {
    awk -F '|' -v test="$1" -v number="$2" -v title="${3-}" \
        '$1 == test && ($2 == number || $2 == "*" || (title != "" && index(title, $2))) { print $3; exit }' <<<"$differ"
}

# ---- source and programs ----

fetch() {
    local package arch
    . "$root/tools/apt.sh"
    rm -rf "$store/packages" "$store/source" "$store/libraries"
    mkdir -p "$store/packages" "$store/source" "$store/libraries"
    for arch in arm64 amd64; do
        apt_private "$cache/apt-$arch" "$arch"
        apt_get update || echo 'selftests: some package lists could not be read; going on with the others' >&2
        (cd "$store/packages" && apt_get download libcap-dev libcap-ng-dev libpopt-dev) || return 1
        [ $arch = amd64 ] || exec {apt_lock}>&-
    done
    package=$(apt_cache depends linux-source | sed -n 's/.*Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || {
        echo 'selftests: the archive has no linux-source' >&2
        return 1
    }
    (cd "$store/packages" && apt_get download "$package") || return 1
    exec {apt_lock}>&-
    for deb in "$store"/packages/*-dev*.deb; do
        dpkg-deb -x "$deb" "$store/libraries"
    done
    dpkg-deb --fsys-tarfile "$store"/packages/linux-source*.deb | tar xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc |
        tar x -C "$store/source" --strip-components=1 --wildcards '*/tools/testing/selftests/*' '*/tools/include/*' '*/tools/arch/arm64/*' &&
        rm -rf "$store/packages"
}

# compile ARCH FOLDER NAME SOURCE...: to $store/ARCH/FOLDER/NAME.
compile() {
    local arch=$1 dir=$2 name=$3 cc=gcc lib=x86_64-linux-gnu out dir_include=$src/$2/../include
    local flags=(-O0 -std=gnu99 -D_GNU_SOURCE -pthread -w -I"$src" -I. -I.. -I"$dir_include" -isystem "$store/libraries/usr/include")
    shift 3
    out=$store/$arch/$dir/$name
    mkdir -p "${out%/*}"
    [ "$arch" = native ] || cc=aarch64-linux-gnu-gcc lib=aarch64-linux-gnu
    local libs=(-L"$store/libraries/usr/lib/$lib" -lrt -lm -lcap -lcap-ng -lpopt)
    case $dir/$name in
    arm64/abi/tpidr2)
        flags=(-fno-asynchronous-unwind-tables -Os -w -nostdlib -static -include "$src/../../include/nolibc/nolibc.h" -ffreestanding)
        libs=(-lgcc)
        ;;
    arm64/bti/btitest) flags=(-mbranch-protection=standard -DBTI=1 -ffreestanding -w -nostdlib) libs=() ;;
    arm64/bti/nobtitest) flags=(-mbranch-protection=none -DBTI=0 -ffreestanding -w -nostdlib) libs=() ;;
    rseq/*) flags+=(-I"$src/../../include") ;;
    arm64/mte/*) flags+=(-march=armv8.5-a+memtag) ;;
    arm64/pauth/*) flags+=(-march=armv8.3-a) ;;
    capabilities/test_execve) (cd "$src/$dir" && $cc "${flags[@]}" -static validate_cap.c -o "${out%/*}/validate_cap" "${libs[@]}") || return ;;
    arm64/fp/fp-stress)
        (cd "$src/$dir" && $cc -nostdlib -static -w fpsimd-test.S asm-utils.S -o "${out%/*}/fpsimd-test") || return
        ;;
    esac
    # Those of futexes give their threads 10 ms to fall asleep, and 30 ms until they time out: too little on a busy host.
    if [[ $dir = futex/* ]]; then
        (cd "$src/$dir" && sed -E 's/^(#define (timeout_ns|WAKE_WAIT_US) +)(30000000|10000)$/\1(\3 * 30)/' "$1" |
            $cc "${flags[@]}" -static -x c - -o "$out" "${libs[@]}")
        return
    fi
    (cd "$src/$dir" && $cc "${flags[@]}" -static "$@" -o "$out" "${libs[@]}")
}

# compile_all: whatever of the lists this source has.
compile_all() {
    local line words dir name
    rm -rf "$store/arm64" "$store/native"
    while read -ra words; do
        [ ${#words[@]} -gt 0 ] || continue
        line=${words[0]#-} dir=${line%/*} name=${line##*/}
        case $dir in
        arm64/bti) [ -e "$src/$dir/test.c" ] || continue ;;
        *)
            [ -e "$src/$line.c" ] || continue
            words[0]=$name.c
            ;;
        esac
        [ "$dir" != arm64/bti ] || words=("${words[@]:1}")
        compile arm64 "$dir" "$name" "${words[@]}" || echo "selftests: $line does not compile for arm64"
        case $dir in
        arm64/*) ;;
        *) compile native "$dir" "$name" "${words[@]}" || echo "selftests: $line does not compile for this host" ;;
        esac
    done <<<"$generic$arm64"
    for line in "$src"/arm64/signal/testcases/*.c; do
        name=$(basename "$line" .c)
        [ "$name" = testcases ] || compile arm64 arm64/signal "$name" "testcases/$name.c" test_signals.c test_signals_utils.c \
            testcases/testcases.c signals.S sve_helpers.c || echo "selftests: signal/$name does not compile"
    done
} 2>&1

mkdir -p "$store"
exec 9>"$store.lock"
flock 9
[ -d "$store/libraries" ] || fetch || {
    echo 'FAIL source: could not be fetched'
    exit 1
}
stamp=$({ declare -f compile compile_all && echo "$generic$arm64" && aarch64-linux-gnu-gcc --version && gcc --version; } | sha256sum)
if [ "$(cat "$store/stamp" 2>/dev/null)" != "$stamp" ]; then
    compile_all >"$store/compile.log" 2>&1
    echo "$stamp" >"$store/stamp"
fi
grep '^selftests:' "$store/compile.log"
flock -u 9

# ---- running ----

tmp=$(mktemp -d)
mkdir "$tmp"/{a,n}
trap 'rm -rf "$tmp"' EXIT
apart=(unshare --mount --ipc --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || apart+=(--user --map-root-user)

# run OUTPUT PROGRAM EMULATOR...: in a folder of its own, as its makefile prepares it.
run() {
    local out=$1 program=$2 dir=$1.dir
    shift 2
    mkdir -p "$dir"
    cp "${program%/*}"/{fpsimd-test,validate_cap} "$dir" 2>/dev/null
    cp "$program" "$dir"
    (
        cd "$dir" || exit 1
        case ${program##*/} in
        execveat)
            mkdir subdir
            printf '#!/bin/sh\nexit $*\n' >script
            chmod +x script
            ln -s execveat execveat.symlink
            cp execveat execveat.denatured
            chmod -x execveat.denatured
            touch Makefile
            ;;
        esac
        set -- "$@" "./${program##*/}"
        [ "${program##*/}" != fp-stress ] || set -- "$@" -t 2
        timeout -s KILL "$limit" "${apart[@]}" "$@"
        echo $? >"$out.status"
    ) >"$out" 2>&1 </dev/null
    rm -rf "$dir"
}

# The results in TAP, sorted: the sub-test's number and its verdict.
results() {
    sed -nE 's/^(ok|not ok) +([0-9]+).*# *SKIP.*/\2 skip/ip; t; s/^(ok|not ok) +([0-9]+).*/\2 \1/p' "$1" | sort
}

# words FILE: all that it says, without numbers and our folders, and in no order, because they differ from run to run.
words() {
    sed -E 's#tmp\.[A-Za-z0-9]+/[an]#T#g; s/0x[0-9a-f]+|[0-9]+/N/g' "$1" | sort
}

# why FILE: the test's own words for skipping.
why() {
    grep -aiE 'skip|not support|not present|could not find|incompatible|require' "$1" | grep -avE '^# (Totals|Planned)|completed' |
        sed 's/^.*SKIP[: ]*//; s/^# *//' | grep . | tail -n 1 | tr -d '\r' | cut -c1-100
}

# title FILE NUMBER: what the sub-test is called.
title() {
    sed -nE "s/^(ok|not ok) +$2 +(- )?//p" "$1" | head -n 1 | cut -c1-60
}

# A test of arm64 alone.
judge_arm64() {
    local name=$1 a=$2 line=$3 got bad planned number reason
    got=$(cat "$a.status")
    bad=$(
        results "$a" | sed -n 's/ not ok$//p' | while read -r number; do
            reason=$(expected "$line" "$number" "$(title "$a" "$number")")
            if [ -n "$reason" ]; then
                echo "expected: $number ($(title "$a" "$number")): $reason" >>"$a.noted"
            else
                echo "$number ($(title "$a" "$number"));"
            fi
        done | head -n 3 | tr '\n' ' '
    )
    [ ! -s "$a.noted" ] || cat "$a.noted"
    planned=$(sed -nE 's/^1\.\.([0-9]+).*/\1/p' "$a" | head -n 1)
    if [ "$got" = 4 ] || { [ "$got" = 0 ] && results "$a" | grep -q skip && ! results "$a" | grep -qv skip; }; then
        echo "skip $name: it says: $(why "$a")"
    elif [ "$got" != 0 ] || [ -n "$bad" ]; then
        tail -n 15 "$a"
        echo "FAIL $name: status $got, not ok: $bad"
    elif [ -n "$planned" ] && [ "$planned" != "$(results "$a" | wc -l)" ]; then
        tail -n 15 "$a"
        echo "FAIL $name: $planned sub-tests planned, $(results "$a" | wc -l) reported"
    else
        echo "ok $name"
    fi
}

# The differences of a test from its native run that are not expected, a line each; those that are go to FILE.
differences() {
    local line=$1 a=$2 n=$3 noted=$4 number verdict there
    while read -r number verdict there; do
        reason=$(expected "$line" "$number" "$(title "$a" "$number")")
        if [ -n "$reason" ]; then
            echo "$number ($(title "$a" "$number")): $verdict, natively $there: $reason" >>"$noted"
        else
            echo "$number ($(title "$a" "$number")): $verdict, natively $there"
        fi
    done < <(join -a 1 -a 2 -e none -o 0,1.2,2.2 <(results "$a" | tr ' ' '\t' | sed 's/not\tok/not-ok/') \
        <(results "$n" | tr ' ' '\t' | sed 's/not\tok/not-ok/') | awk '$2 != $3')
}

judge() {
    local line=$1 name got want a=$tmp/a/${1//\//-} n=$tmp/n/${1//\//-} bad failed
    name=${line//\//-}
    run "$a" "$store/arm64/$line" "$pipit"
    if [[ $line = arm64/* ]]; then
        judge_arm64 "$name" "$a" "$line"
        return
    fi
    run "$n" "$store/native/$line"
    got=$(cat "$a.status") want=$(cat "$n.status")
    : >"$a.noted"
    bad=$(differences "$line" "$a" "$n" "$a.noted")
    failed=$(results "$n" | grep -c 'not ok')
    if [ "$got" != "$want" ] && [ ! -s "$a.noted" ] && ! results "$a" | grep -q .; then
        expected "$line" status >"$a.noted"
    fi
    sed 's/^/expected: /' "$a.noted"
    if [ -n "$bad" ] || { [ "$got" != "$want" ] && [ ! -s "$a.noted" ]; }; then
        diff "$n" "$a" | tail -n 15
        echo "FAIL $name: status $got, natively $want${bad:+; $(tr '\n' ';' <<<"$bad")}"
    elif [ "$want" = 4 ] || { results "$n" | grep -q skip && ! results "$n" | grep -qv skip; }; then
        echo "skip $name: it says, natively, too: $(why "$a")"
    elif [ "$want" = 0 ] || results "$n" | grep -q ' ok'; then
        [ "$failed" = 0 ] || echo "$failed sub-tests fail natively, too"
        echo "ok $name"
    elif cmp -s <(words "$n") <(words "$a"); then
        echo "skip $name: it fails on this host, too, with the same words: $(grep . "$n" | tail -n 1)"
    else
        diff "$n" "$a" | tail -n 15
        echo "FAIL $name: it fails on this host, too (status $want), but with other words"
    fi
}

all=0 limit=60
[ "${1:-}" != --all ] || { all=1 limit=300 && shift; }
{
    sed 's/ .*//' <<<"$generic$arm64"
    (cd "$src" && ls arm64/signal/testcases/*.c) | sed 's|testcases/||; s|\.c$||' | grep -v '/testcases$'
} >"$tmp/list"
while read -r line; do
    slow=0
    [[ $line != -* ]] || slow=1
    line=${line#-}
    [ -n "$line" ] && [ -x "$store/arm64/$line" ] || continue
    [ $# = 0 ] || [[ " $* " == *" ${line//\//-} "* ]] || [[ " $* " == *" ${line##*/} "* ]] || continue
    [ $slow -le $all ] || [ $# != 0 ] || continue
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
        wait -n
    done
    {
        judge "$line" >"$tmp/result-${line//\//-}"
        cat "$tmp/result-${line//\//-}"
    } &
done <"$tmp/list"
wait
! cat "$tmp"/result-* | grep -q '^FAIL'
