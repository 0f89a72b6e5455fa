#!/bin/bash
# make test: builds what is needed, runs every test, and ends with "N passed, N failed, N skipped".
#
#   tests/run.sh [WORD...]    only the tests whose name (as printed: unit/release/mem_test, boot/debian, ...) has a WORD
#
# tests/README.md says what a test is and how it reports. FUZZ_SECONDS (60) is how long each fuzz target runs.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PIPIT_ROOT=$root PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache}
export PIPIT=$root/build/release/pipit PIPIT_ASAN=$root/build/asan/pipit
# The user's own cache is left alone; tests of translations that are kept unset this.
export PIPIT_TRANSLATIONS=off
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}
logs=$root/build/test-logs
jobs=$(nproc)
fuzz_seconds=${FUZZ_SECONDS:-60}
words=("$@")
rm -rf "$logs"
mkdir -p "$logs"
: >"$logs/results"

wanted() {
    local w
    [ ${#words[@]} -gt 0 ] || return 0
    for w in "${words[@]}"; do
        [[ $1 != *$w* ]] || return 0
    done
    return 1
}

# Runs a test under a time limit; its result lines are counted, and a test that dies, runs out of time, says nothing or
# exits otherwise than it reports fails by that. report LOG-NAME LIMIT COMMAND...
report() {
    local name=$1 limit=$2 log=$logs/${1//\//-}.log start=$SECONDS status ok bad skipped why=
    shift 2
    wanted "$name" || return 0
    timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null
    status=$?
    ok=$(grep -cE '^ok +[^ ]' "$log")
    bad=$(grep -cE '^FAIL +[^ ]' "$log")
    skipped=$(grep -cE '^skip +[^ ]' "$log")
    if [ $status = 124 ] || [ $status = 137 ]; then
        why="not done within $limit s"
    elif [ $status != 0 ] && [ "$bad" = 0 ]; then
        why="ended with status $status"
    elif [ $status = 0 ] && [ "$bad" != 0 ]; then
        why="reports failures and exits 0"
    elif [ $((ok + bad + skipped)) = 0 ]; then
        why="reported nothing"
    fi
    if [ -n "$why" ]; then
        bad=$((bad + 1))
    fi
    # One write a test: two may run at once.
    {
        echo "$name: $ok passed, $bad failed, $skipped skipped ($((SECONDS - start)) s)"
        grep -E '^skip +' "$log" | sed 's/^/  /'
        if [ "$bad" != 0 ]; then
            grep -E -B6 '^FAIL +' "$log" | sed 's/^/  /'
            [ -z "$why" ] || { tail -n 30 "$log" && echo "FAIL $name: $why"; } | sed 's/^/  /'
        fi
    } >"$log.summary"
    cat "$log.summary"
    echo "$ok $bad $skipped" >>"$logs/results"
}

build() {
    local name=$1
    shift
    wanted "$name" || [ ${#words[@]} -gt 0 ] || return 0
    if make -s -j"$jobs" "$@" >"$logs/${name//\//-}.log" 2>&1; then
        echo "$name: ok"
        ! wanted "$name" || echo "1 0 0" >>"$logs/results"
    else
        tail -n 30 "$logs/${name//\//-}.log"
        echo "$name: FAILED"
        echo "0 1 0" >>"$logs/results"
    fi
}

# At most $jobs at once.
in_parallel() {
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    "$@" &
}

# The number of seconds a script asks for ("# limit: N"), or 300.
limit_of() {
    sed -n 's/^# limit: \([0-9]*\)$/\1/p' "$1" | head -n 1 | grep . || echo 300
}

# What tests must leave as they found it.
global_state() {
    ls /proc/sys/fs/binfmt_misc 2>/dev/null
    for f in kernel/core_pattern kernel/io_uring_disabled kernel/unprivileged_userns_clone net/ipv4/ping_group_range \
        net/ipv4/ip_forward vm/overcommit_memory vm/max_map_count vm/nr_hugepages; do
        [ ! -r "/proc/sys/$f" ] || echo "$f $(cat "/proc/sys/$f")"
    done
    ls /run/netns 2>/dev/null
    losetup -l 2>/dev/null
}

tests/host.sh
before=$(global_state)

build build/release MODE=release tests
build build/asan MODE=asan tests
build build/fuzz MODE=fuzz fuzz-build

for mode in release asan; do
    for t in build/$mode/tests/*/*_test; do
        [ ! -x "$t" ] || in_parallel report "$(basename "${t%/*}")/$mode/$(basename "$t")" 300 "$t"
    done
done
wait

for t in build/fuzz/tests/fuzz/*_fuzz; do
    name=$(basename "$t" _fuzz)
    [ ! -x "$t" ] || in_parallel report "fuzz/$name" $((fuzz_seconds + 60)) tests/fuzz.sh "$name" "$fuzz_seconds" "$logs/fuzz-$name"
done
wait

guest=1
if wanted boot || [ ${#words[@]} -gt 0 ]; then
    tools/guest.sh || guest=0
fi
[ $guest = 1 ] || { echo "0 1 0" >>"$logs/results" && echo 'FAIL guest: the packages could not be fetched'; }

for t in tests/*/*.sh tests/*/*_test.py; do
    [ -x "$t" ] || continue
    name=${t#tests/}
    report "${name%.*}" "$(limit_of "$t")" "$t"
done

after=$(global_state)
leftover=$(pgrep -f "^$root/build/[a-z]*/pipit" || true)
report global-state 10 bash -c 'if [ "$1" != "$2" ]; then diff <(echo "$1") <(echo "$2"); echo "FAIL global-state: changed"; exit 1; fi
    if [ -n "$3" ]; then echo "FAIL global-state: processes left: $3"; exit 1; fi
    echo "ok global-state"' - "$before" "$after" "$leftover"

awk '{ ok += $1; bad += $2; skipped += $3 }
    END { printf "%d passed, %d failed, %d skipped\n", ok, bad, skipped; exit bad != 0 || ok == 0 }' "$logs/results"
