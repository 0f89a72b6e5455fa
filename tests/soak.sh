#!/bin/bash
# make soak: the long tests, in steps that are bounded and resumable.
#
#   tests/soak.sh [STEP...]     the steps named, or all; `boots` means all whose name begins so (make soak STEPS="tsan fuzz")
#   tests/soak.sh --list        their names, and what became of each
#
#   boots-1, -2, -8   Debian's kernel to init, BOOTS (100) times in a row with so many vCPUs; none longer than 3 times
#                     the median
#   mixed             MIXED_SECONDS (3600) of programs, disk and network at once in machines of ten minutes each: the same
#                     output in every round, memory that does not grow (tests/mixed/run.py)
#   tsan              under the thread sanitizer: the unit tests, guests (programs at EL1 on both engines, hostile rings, the
#                     user network), the self-check, a boot with 8 vCPUs
#   selftests         those of Debian's kernel source in user mode, with the slow ones
#   bootstrap         arm64 root filesystems of whole size under pipit-aarch64, by debootstrap and apt, and by mmdebstrap
#                     beside QEMU
#   languages-NAME    programs of Debian's arm64 go, java, node, php, python, ruby and rust in user mode, RUNS (50) times each;
#                     ldconfig and apt-get update LOADS (1000) times
#   kills             a VM whose guest writes, killed at KILLS (100) random instants: no corruption, and all that was synced
#   crash             writers of qcow2 images killed 100 times, and 99 in the middle of a snapshot
#   transfer          TRANSFER_GIB (24) through a published port, half each way, byte-exact and never still for a minute; 1000
#                     connections at once
#   stress            user mode's programs with many threads, and those that write code, 100 times, three ways each
#   cloud-LAYOUT      a Debian cloud image, made of the distribution's packages, from one command to ssh: started, used,
#                     stopped, started again, removed; with plain, boot, bls and zboot layouts (tests/cloud/image.sh),
#                     and the plain one by Debian's UEFI firmware and GRUB
#   fresh-SUITE       make run, make check and make test in a Debian (bookworm, trixie) with nothing installed
#   fuzz-TARGET       a fuzz target for FUZZ_SECONDS (3600); JOBS (the number of cores) of them at once
#
# What a step showed is written down in .cache/soak/, and it is not run again for the same sources: after an
# interruption the same command goes on where it was, also inside the series of boots and the fuzzing. Progress is
# printed; at the end come the results of all steps, those not run among them, and a last line that counts.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PIPIT_ROOT=$root PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache} PIPIT=${PIPIT:-$root/build/release/pipit}
boots=${BOOTS:-100}
fuzz_seconds=${FUZZ_SECONDS:-3600}
mixed_seconds=${MIXED_SECONDS:-3600}
kills=${KILLS:-100}
transfer_gib=${TRANSFER_GIB:-24}
jobs=${JOBS:-$(nproc)}
slice=300       # seconds of fuzzing that an interruption may cost
mixed_slice=600 # of mixed load: fewer are too few rounds to see memory grow
key=$({ git ls-files -s && git diff HEAD; } 2>/dev/null | sha256sum | cut -c1-16)
state=$PIPIT_CACHE/soak/$key
. tools/launch.sh

steps=(boots-1 boots-2 boots-8 mixed tsan selftests bootstrap)
for t in $(tests/user/languages.sh --list); do
    steps+=("languages-$t")
done
steps+=(kills crash transfer stress cloud-plain cloud-boot cloud-bls cloud-zboot cloud-firmware fresh-bookworm fresh-trixie)
for t in tests/fuzz/*_fuzz.c; do
    t=${t##*/}
    steps+=("fuzz-${t%_fuzz.c}")
done

# enough STEP: has it done as much as is asked for? It may have passed with less.
enough() {
    case $1 in
    boots-*) [ "$(wc -l <"$state/$1.part")" -ge "$boots" ] ;;
    kills) [ "$(wc -l <"$state/$1.part")" -ge "$kills" ] ;;
    fuzz-*) [ "$(seconds_of "$1")" -ge "$fuzz_seconds" ] ;;
    mixed) [ "$(seconds_of "$1")" -ge "$mixed_seconds" ] ;;
    esac
}

# seconds_of STEP: those that are done.
seconds_of() {
    awk '{ s += $1 } END { print s + 0 }' "$state/$1.part"
}

# status_of STEP: what is written down.
status_of() {
    if [ -e "$state/$1.ok" ] && enough "$1"; then
        echo passed
    elif [ -e "$state/$1.bad" ]; then
        echo FAILED
    elif [ -e "$state/$1.skip" ]; then
        echo skipped
    elif [ -e "$state/$1.part" ]; then
        echo 'begun, not done'
    else
        echo 'not run'
    fi
}

if [ "${1:-}" = --list ]; then
    for s in "${steps[@]}"; do
        printf '%-18s %s\n' "$s" "$(status_of "$s")"
    done
    exit 0
fi

# names STEP WORD: does the word mean the step?
names() {
    [ "$1" = "$2" ] || [[ $1 = "$2"-* ]]
}

selected=()
for s in "${steps[@]}"; do
    for word; do
        ! names "$s" "$word" || { selected+=("$s") && break; }
    done
    [ $# -gt 0 ] || selected+=("$s")
done
for word; do
    for s in "${steps[@]}"; do
        ! names "$s" "$word" || continue 2
    done
    echo "soak: no step is named '$word'; there are: ${steps[*]}" >&2
    exit 2
done
mkdir -p "$state"
exec 3>&1 # progress; a step's own output is kept in its file

progress() {
    echo "soak: $(date +%T) $*" >&3
}

# ---- what the steps do ----

one_boot() {
    local start end
    vm_command "$PIPIT_CACHE/guest/vmlinuz" "$PIPIT_CACHE/guest/initrd.img" 'console=ttyAMA0 pipit.run=init' '' "$1" 512
    start=$(date +%s%N)
    timeout -k 5 300 "${vm[@]}" </dev/null >"$state/console-$1" 2>&1 || {
        tail -n 40 "$state/console-$1"
        return 1
    }
    end=$(date +%s%N)
    if ! grep -q "pipit-init: up after .*, $1 vCPU" "$state/console-$1"; then
        tail -n 40 "$state/console-$1"
        echo "not up with $1 vCPUs"
        return 1
    fi
    echo "boot $(((end - start) / 1000000)) ms"
}

# The times so far are kept, so that a run that was cut short goes on with the boots that are missing.
boot_series() {
    local cpus=$1 times=$state/boots-$1.part out
    touch "$times"
    for ((i = $(wc -l <"$times"); i < boots; i++)); do
        [ $((i % 10)) != 0 ] || progress "boots-$cpus: $i of $boots"
        out=$(one_boot "$cpus") || {
            echo "$out"
            return 1
        }
        awk '{ print $2 }' <<<"$out" >>"$times"
    done
    sort -n "$times" | awk -v cpus="$cpus" '{ t[NR] = $1 }
        END {
            m = t[int((NR + 1) / 2)]
            printf "%d boots with %d vCPUs: median %d ms, longest %d ms (%.2f times)\n", NR, cpus, m, t[NR], t[NR] / m
            exit t[NR] > 3 * m
        }'
}

# Machines that did their slice are kept in mind, so that a run that was cut short goes on with the next.
mixed() {
    local part=$state/mixed.part done_already n
    touch "$part"
    tests/rootfs.sh || return
    while :; do
        done_already=$(seconds_of mixed)
        [ "$done_already" -lt "$mixed_seconds" ] || break
        progress "mixed: $done_already of $mixed_seconds s"
        n=$((mixed_seconds - done_already))
        [ $n -le $mixed_slice ] || n=$mixed_slice
        python3 tests/mixed/run.py $n >"$state/mixed.out" 2>&1 || {
            cat "$state/mixed.out"
            return 1
        }
        echo "$n $(awk '/^ok mixed: / { print $3 }' "$state/mixed.out") $(sed -n 's/.*memory less guest RAM: //p' "$state/mixed.out")" >>"$part"
    done
    awk '{ s += $1; n += $2 } END { printf "%d s, %d rounds, every output the same\n", s, n }' "$part"
    cut -d' ' -f3- "$part"
}

# tsan_one NAME COMMAND...: counts in n and bad; of one that fails the output is kept.
tsan_one() {
    local name=$1 status
    shift
    progress "tsan: $name"
    timeout -k 10 900 "$@" >"$state/tsan.out" 2>&1 </dev/null
    status=$?
    if [ $status = 0 ]; then
        n=$((n + 1))
    else
        bad+=("$name")
        echo "$name: exit status $status"
        grep -vE '^ok ' "$state/tsan.out" | tail -n 120
    fi
}

tsan() {
    local t n=0 bad=()
    make -s -j"$jobs" MODE=tsan tests || return
    export TSAN_OPTIONS=halt_on_error=1 PIPIT=$root/build/tsan/pipit PIPIT_CHECK_SECONDS=600
    for t in build/tsan/tests/*/*_test; do
        tsan_one "${t#build/tsan/tests/}" "$t"
    done
    for t in hostile/rings_test.py guest/run.sh guest/interp.sh net/transfer_test.py; do
        tsan_one "$t" "tests/$t"
    done
    tsan_one self-check tools/run.sh
    progress 'tsan: a boot with 8 vCPUs'
    if one_boot 8; then n=$((n + 1)); else bad+=(boot); fi
    echo "$n passed, ${#bad[@]} failed${bad[*]:+: ${bad[*]}}"
    [ ${#bad[@]} = 0 ]
}

# What it found so far is where it starts from again; the seconds that are done are kept.
fuzz_one() {
    local name=$1 part=$state/fuzz-$1.part done_already n status
    touch "$part"
    while :; do
        done_already=$(seconds_of "fuzz-$name")
        [ "$done_already" -lt "$fuzz_seconds" ] || break
        progress "fuzz-$name: $done_already of $fuzz_seconds s"
        n=$((fuzz_seconds - done_already))
        [ $n -le $slice ] || n=$slice
        tests/fuzz.sh "$name" $n "$state/fuzz-$name" >"$state/fuzz-$name.out" 2>&1
        status=$?
        if [ $status != 0 ]; then
            tail -n 60 "$state/fuzz-$name.out"
            return $status
        fi
        echo "$n $(awk '/^stat::number_of_executed_units/ { print $2 }' "$state/fuzz-$name.out")" >>"$part"
    done
    awk '{ s += $1; n += $2 } END { printf "%d s, %d inputs, no finding\n", s, n }' "$part"
}

# In tens, so that an interruption costs no more.
kill_series() {
    local part=$state/kills.part n
    touch "$part"
    while n=$(wc -l <"$part") && [ "$n" -lt "$kills" ]; do
        progress "kills: $n of $kills"
        KILLS=10 tests/img/vm_test.py kills >"$state/kills.out" 2>&1 || {
            tail -n 40 "$state/kills.out"
            return 1
        }
        if grep '^skip ' "$state/kills.out"; then
            rm -f "$part"
            return
        fi
        grep '^ok kill-' "$state/kills.out" >>"$part"
    done
    echo "ok kills: $n"
}

stress() {
    local i
    for ((i = 0; i < 100; i++)); do
        [ $((i % 10)) != 0 ] || progress "stress: $i of 100"
        LIMIT=600 tests/user/programs.sh stress codegen threads signals sigreturn >"$state/stress.out" 2>&1 || {
            cat "$state/stress.out"
            return 1
        }
    done
    echo 'ok stress: 100 rounds'
}

cloud() {
    local why
    why=$(tests/arm64.sh --can) || {
        echo "skip cloud: $why"
        return 0
    }
    if [ "$1" = firmware ]; then
        tests/firmware.sh && bash tests/cloud/image.sh plain &&
            python3 tests/cloud/ssh.py "$PIPIT_CACHE/cloud/plain.qcow2" --firmware "$PIPIT_CACHE/firmware/AAVMF_CODE.fd"
        return
    fi
    bash tests/cloud/image.sh "$1" && python3 tests/cloud/ssh.py "$PIPIT_CACHE/cloud/$1.qcow2"
}

run_step() {
    case $1 in
    languages-*) RUNS=${RUNS:-50} LOADS=${LOADS:-1000} tests/user/languages.sh "${1#languages-}" ;;
    kills) kill_series ;;
    crash) CRASHES=100 SNAPSHOT_CRASHES=99 tests/img/crash.sh ;;
    transfer) PIPIT_TRANSFER_MIB=$((transfer_gib * 512)) PIPIT_CONNECTIONS=1000 python3 tests/net/transfer_test.py ;;
    stress) stress ;;
    boots-*) boot_series "${1#boots-}" ;;
    mixed) mixed ;;
    tsan) tsan ;;
    bootstrap) tests/user/bootstrap.sh --full ;;
    selftests) tests/user/selftests.sh --all ;;
    cloud-*) cloud "${1#cloud-}" ;;
    fresh-*) FUZZ_SECONDS=60 tests/fresh.sh "${1#fresh-}" ;;
    fuzz-*) fuzz_one "${1#fuzz-}" ;;
    esac
}

# Runs a step and writes down what became of it. One that only skips has not passed.
step() {
    local name=$1 start=$SECONDS end=bad
    rm -f "$state/$name".{ok,skip}
    progress "$name: begins"
    if run_step "$name" >"$state/$name.log" 2>&1; then
        end=ok
        ! grep -q '^skip ' "$state/$name.log" || grep -q '^ok ' "$state/$name.log" || end=skip
    fi
    mv "$state/$name.log" "$state/$name.$end"
    [ $end = bad ] || rm -f "$state/$name.bad"
    progress "$name: $(status_of "$name") ($((SECONDS - start)) s)"
}

# ---- all of them ----

summary() {
    local s ok=0 bad=0 left=()
    for s in "${steps[@]}"; do
        case $(status_of "$s") in
        passed)
            ok=$((ok + 1))
            echo "--- $s: passed" && tail -n 12 "$state/$s.ok"
            ;;
        FAILED)
            bad=$((bad + 1))
            echo "--- $s: FAILED" && tail -n 60 "$state/$s.bad"
            ;;
        skipped) left+=("$s (skipped: $(sed -n 's/^skip //p' "$state/$s.skip" | head -n 1))") ;;
        'begun, not done') left+=("$s (begun)") ;;
        *) left+=("$s") ;;
        esac
    done
    for s in "${left[@]}"; do
        echo "left undone: $s"
    done
    echo "$ok passed, $bad failed, ${#left[@]} not done"
    [ $bad = 0 ]
}

# end_tree PID: it and what it started, wherever that put itself.
end_tree() {
    local children
    children=$(pgrep -P "$1")
    kill "$1" 2>/dev/null
    for p in $children; do
        end_tree "$p"
    done
}

# Steps run in the background, so that this comes at once.
interrupted() {
    local p
    trap '' INT TERM
    for p in $(jobs -rp); do
        end_tree "$p"
    done
    wait
    progress 'interrupted'
    summary
    exit 130
}
trap interrupted INT TERM

make -s -j"$jobs" MODE=release all || exit 1
[[ " ${selected[*]}" != *" fuzz-"* ]] || make -s -j"$jobs" MODE=fuzz fuzz-build || exit 1
[[ " ${selected[*]}" != *" crash "* ]] || make -s MODE=release build/release/tests/img/qcow2_test || exit 1
[[ " ${selected[*]}" != *[\ ]@(boots-|mixed|tsan|kills|transfer)* ]] || tools/guest.sh || exit 1

# Those that measure or need all cores run alone.
at_once=1
for s in "${selected[@]}"; do
    [ "$(status_of "$s")" != passed ] || continue
    if [[ $s = fuzz-* && $at_once = 1 ]]; then
        wait
        at_once=$jobs
    fi
    while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do
        wait -n
    done
    step "$s" </dev/null &
done
wait
summary
