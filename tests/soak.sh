#!/bin/bash
# make soak: the long tests, bounded and resumable. Each step that is done is written down in .cache/soak/ with what it
# showed, and not run again for the same sources: after an interruption, `make soak` goes on where it was. At the end all
# results are printed; the last line counts.
#
#   boots: Debian's kernel to init, BOOTS (100) times in a row with 1, 2 and 8 vCPUs; none longer than 3 times the median
#   fuzz:  each target for FUZZ_SECONDS (3600)
#   tsan:  the unit tests under the thread sanitizer, and a boot with 2 vCPUs
#   fresh: make run, make check and make test in a Debian 12 and a Debian 13 with nothing installed
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PIPIT_ROOT=$root PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache} PIPIT=${PIPIT:-$root/build/release/pipit}
boots=${BOOTS:-100}
fuzz_seconds=${FUZZ_SECONDS:-3600}
key=$(git ls-files -s 2>/dev/null | sha256sum | cut -c1-16)
state=$PIPIT_CACHE/soak/$key
mkdir -p "$state"
. tools/launch.sh

make -s -j"$(nproc)" MODE=release all && make -s -j"$(nproc)" MODE=fuzz fuzz-build || exit 1
tools/guest.sh || exit 1

# step NAME COMMAND...: runs it unless it is written down as done; its output is kept, a failure is not "done".
step() {
    local name=$1
    shift
    [ ! -e "$state/$name.ok" ] || return 0
    echo "soak: $name"
    if "$@" >"$state/$name.log" 2>&1; then
        mv "$state/$name.log" "$state/$name.ok"
        rm -f "$state/$name.bad"
    else
        mv "$state/$name.log" "$state/$name.bad"
    fi
}

one_boot() {
    local start end
    vm_command "$PIPIT_CACHE/guest/vmlinuz" "$PIPIT_CACHE/guest/initrd.img" 'console=ttyAMA0 pipit.run=init' '' "$1" 512
    start=$(date +%s%N)
    timeout -k 5 300 "${vm[@]}" </dev/null >"$state/console" 2>&1 || {
        tail -n 40 "$state/console"
        return 1
    }
    end=$(date +%s%N)
    grep -q "pipit-init: up after .*, $1 vCPU" "$state/console" && echo "boot $(((end - start) / 1000000)) ms"
}

# The times so far are kept, so that a run that was cut short goes on with the boots that are missing.
boot_series() {
    local cpus=$1 times=$state/boots-$1.times done_already
    touch "$times"
    done_already=$(wc -l <"$times")
    for ((i = done_already; i < boots; i++)); do
        one_boot "$cpus" >"$state/boot.out" || {
            cat "$state/boot.out"
            return 1
        }
        awk '{ print $2 }' "$state/boot.out" >>"$times"
    done
    sort -n "$times" | awk -v cpus="$cpus" '{ t[NR] = $1 }
        END {
            m = t[int((NR + 1) / 2)]
            printf "%d boots with %d vCPUs: median %d ms, longest %d ms (%.2f times)\n", NR, cpus, m, t[NR], t[NR] / m
            exit t[NR] > 3 * m
        }'
}

fuzz_one() {
    tests/fuzz.sh "$1" "$fuzz_seconds" "$state/fuzz-$1" >"$state/fuzz-$1.out" 2>&1
    local status=$?
    grep -E '^(ok|FAIL)|^stat::(number_of_executed|average_exec)' "$state/fuzz-$1.out"
    return $status
}

tsan() {
    local t
    make -s -j"$(nproc)" MODE=tsan tests || return
    for t in build/tsan/tests/*/*_test; do
        TSAN_OPTIONS=halt_on_error=1 timeout 600 "$t" || return
    done
    PIPIT=$root/build/tsan/pipit TSAN_OPTIONS=halt_on_error=1 one_boot 2
}

for cpus in 1 2 8; do
    step "boots-$cpus" boot_series $cpus
done
step tsan tsan
for suite in bookworm trixie; do
    FUZZ_SECONDS=60 step "fresh-$suite" tests/fresh.sh "$suite"
done
targets=()
for t in build/fuzz/tests/fuzz/*_fuzz; do
    [ ! -x "$t" ] || targets+=("$(basename "$t" _fuzz)")
done
for name in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
        wait -n
    done
    step "fuzz-$name" fuzz_one "$name" &
done
wait

for f in "$state"/*.ok "$state"/*.bad; do
    [ -e "$f" ] || continue
    name=$(basename "$f")
    echo "--- ${name%.*}: $([ "${f##*.}" = ok ] && echo ok || echo FAILED)"
    tail -n 12 "$f"
done
ok=$(find "$state" -maxdepth 1 -name '*.ok' | wc -l)
bad=$(find "$state" -maxdepth 1 -name '*.bad' | wc -l)
echo "$ok passed, $bad failed"
[ "$bad" = 0 ]
