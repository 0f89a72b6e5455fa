#!/bin/bash
# limit: 600
# Linux's own selftests (tools/testing/selftests in Debian's kernel source) as arm64 programs. Those of arm64 must
# pass, or skip themselves because the CPU model lacks what they are about. The others are compiled for this host, too:
# what fails there counts for nothing, everything else must be as it is there.
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
ipc/msgque
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
arm64/abi/tpidr2
arm64/bti/btitest test.c signal.c start.S syscall.S system.c teststubs.S trampoline.S
arm64/bti/nobtitest test.c signal.c start.S syscall.S system.c teststubs.S trampoline.S
arm64/fp/fp-stress
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

# ---- source and programs ----

fetch() {
    local package arch
    . "$root/tools/apt.sh"
    rm -rf "$store/packages" "$store/source" "$store/libcap"
    mkdir -p "$store/packages" "$store/source" "$store/libcap"
    for arch in arm64 amd64; do
        apt_private "$cache/apt-$arch" "$arch"
        apt_get update || echo 'selftests: some package lists could not be read; going on with the others' >&2
        (cd "$store/packages" && apt_get download libcap-dev) || return 1
        [ $arch = amd64 ] || exec {apt_lock}>&-
    done
    package=$(apt_cache depends linux-source | sed -n 's/.*Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || {
        echo 'selftests: the archive has no linux-source' >&2
        return 1
    }
    (cd "$store/packages" && apt_get download "$package") || return 1
    exec {apt_lock}>&-
    for deb in "$store"/packages/libcap-dev*.deb; do
        dpkg-deb -x "$deb" "$store/libcap"
    done
    dpkg-deb --fsys-tarfile "$store"/packages/linux-source*.deb | tar xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc |
        tar x -C "$store/source" --strip-components=1 --wildcards '*/tools/testing/selftests/*' '*/tools/include/*' '*/tools/arch/arm64/*' &&
        rm -rf "$store/packages"
}

# compile ARCH FOLDER NAME SOURCE...: to $store/ARCH/FOLDER/NAME.
compile() {
    local arch=$1 dir=$2 name=$3 cc=gcc lib=x86_64-linux-gnu out dir_include=$src/$2/../include
    local flags=(-O0 -std=gnu99 -D_GNU_SOURCE -pthread -w -I"$src" -I. -I.. -I"$dir_include" -isystem "$store/libcap/usr/include")
    shift 3
    out=$store/$arch/$dir/$name
    mkdir -p "${out%/*}"
    [ "$arch" = native ] || cc=aarch64-linux-gnu-gcc lib=aarch64-linux-gnu
    local libs=(-L"$store/libcap/usr/lib/$lib" -lrt -lm -lcap)
    case $dir/$name in
    arm64/abi/tpidr2)
        flags=(-fno-asynchronous-unwind-tables -Os -w -nostdlib -static -include "$src/../../include/nolibc/nolibc.h" -ffreestanding)
        libs=(-lgcc)
        ;;
    arm64/bti/btitest) flags=(-mbranch-protection=standard -DBTI=1 -ffreestanding -w -nostdlib) libs=() ;;
    arm64/bti/nobtitest) flags=(-mbranch-protection=none -DBTI=0 -ffreestanding -w -nostdlib) libs=() ;;
    arm64/mte/*) flags+=(-march=armv8.5-a+memtag) ;;
    arm64/pauth/*) flags+=(-march=armv8.3-a) ;;
    arm64/fp/fp-stress)
        (cd "$src/$dir" && $cc -nostdlib -static -w fpsimd-test.S asm-utils.S -o "${out%/*}/fpsimd-test") || return
        ;;
    esac
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
[ -d "$src" ] || fetch || {
    echo 'FAIL source: could not be fetched'
    exit 1
}
stamp=$(cat "$0" <(aarch64-linux-gnu-gcc --version) <(gcc --version) | sha256sum)
if [ "$(cat "$store/stamp" 2>/dev/null)" != "$stamp" ]; then
    compile_all >"$store/compile.log" 2>&1
    echo "$stamp" >"$store/stamp"
fi
grep '^selftests:' "$store/compile.log"
flock -u 9

# ---- running ----

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
apart=(unshare --mount --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || apart+=(--user --map-root-user)

# run OUTPUT PROGRAM EMULATOR...: in a folder of its own, as its makefile prepares it.
run() {
    local out=$1 program=$2 dir=$1.dir
    shift 2
    mkdir -p "$dir"
    cp "${program%/*}"/fpsimd-test "$dir" 2>/dev/null
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
        [ "${program##*/}" != fp-stress ] || set -- "$@" "./${program##*/}" -t 2
        [ "${program##*/}" = fp-stress ] || set -- "$@" "./${program##*/}"
        exec timeout -k 5 "$limit" "${apart[@]}" "$@"
    ) >"$out" 2>&1 </dev/null
    echo $? >"$out.status"
    rm -rf "$dir"
}

# The results in TAP, without what differs from run to run.
results() {
    sed -nE 's/^(ok|not ok) +([0-9]+).*# *SKIP.*/skip \2/ip; t; s/^(ok|not ok) +([0-9]+).*/\1 \2/p' "$1"
}

# why FILE: the test's own words for skipping.
why() {
    grep -aiE 'skip|not support|not present|could not find|incompatible|require' "$1" | grep -avE '^# (Totals|Planned)|completed' |
        sed 's/^.*SKIP[: ]*//; s/^# *//' | grep . | tail -n 1 | tr -d '\r' | cut -c1-100
}

judge() {
    local line=$1 name got want a=$tmp/${1//\//-}.arm64 n=$tmp/${1//\//-}.native bad
    name=${line//\//-}
    run "$a" "$store/arm64/$line" "$pipit"
    got=$(cat "$a.status")
    if [[ $line = arm64/* ]]; then
        if [ "$got" = 4 ] || { [ "$got" = 0 ] && [ "$(results "$a" | grep -cv '^skip')" = 0 ] && results "$a" | grep -q '^skip'; }; then
            echo "skip $name: it says: $(why "$a")"
        elif [ "$got" = 0 ] && ! grep -aq '^not ok' "$a"; then
            echo "ok $name"
        else
            tail -n 15 "$a"
            echo "FAIL $name: status $got, not ok: $(grep -a '^not ok' "$a" | cut -c1-80 | head -n 3 | tr '\n' ';')"
        fi
        return
    fi
    run "$n" "$store/native/$line"
    want=$(cat "$n.status")
    bad=$(comm -23 <(results "$a" | sort) <(results "$n" | sort) | grep '^not ok' | tr '\n' ';')
    if [ "$got" = 0 ] && [ -z "$bad" ]; then
        echo "ok $name"
    elif [ "$got" = 4 ]; then
        echo "skip $name: it says: $(why "$a")"
    elif [ "$got" = "$want" ] && [ -z "$bad" ]; then
        echo "skip $name: it fails on this host, too: status $want"
    else
        diff "$n" "$a" | tail -n 15
        echo "FAIL $name: status $got, natively $want${bad:+; beside those that fail natively, $bad}"
    fi
}

all=0 limit=20
[ "${1:-}" != --all ] || { all=1 limit=100 && shift; }
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
        # Those of futexes allow their threads 30 ms: on a busy host the best of three.
        for _ in 1 2; do
            [[ $line != futex/* ]] || ! grep -q '^FAIL' "$tmp/result-${line//\//-}" || judge "$line" >"$tmp/result-${line//\//-}"
        done
        cat "$tmp/result-${line//\//-}"
    } &
done <"$tmp/list"
wait
! cat "$tmp"/result-* | grep -q '^FAIL'
