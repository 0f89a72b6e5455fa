#!/bin/bash
# limit: 600
# Runs every program of tests/user/programs as an arm64 program, static and dynamic, and compares what it prints and how
# it ends with the same source compiled for this host, or, where the program's first lines say "reference: NAME.expect",
# with that file; translated, in the interpreter alone, in both by turns at random (TIER_SEED, default: the day), and in
# both block by block, where they must agree. programs.sh [NAME...] runs these only. LIMIT: the seconds that a run may
# take (60).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
sysroot=/usr/aarch64-linux-gnu
seed=${TIER_SEED:-$(date +%Y%m%d)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0

# The status goes into the output, so that both are compared at once.
run() {
    local out=$1
    shift
    timeout -k 5 "${LIMIT:-60}" "$@" >"$out" 2>&1 </dev/null
    echo "status $?" >>"$out"
}

compare() {
    local name=$1 want=$2 got=$3
    if cmp -s "$want" "$got"; then
        echo "ok $name"
    else
        diff "$want" "$got" | head -n 40
        echo "FAIL $name: not the output of the reference"
        bad=1
    fi
}

cd "$tmp" || exit 1
for src in "$here"/programs/*.c; do
    name=$(basename "$src" .c)
    [ $# = 0 ] || [[ " $* " == *" $name "* ]] || continue
    flags=(-O1 -Wall -Werror -pthread)
    if ! gcc "${flags[@]}" "$src" -o native ||
        ! aarch64-linux-gnu-gcc "${flags[@]}" -static "$src" -o "$name" ||
        ! aarch64-linux-gnu-gcc "${flags[@]}" "$src" -o dynamic; then
        echo "FAIL $name: does not compile"
        bad=1
        continue
    fi
    if [ -e "${src%.c}.expect" ]; then
        cp "${src%.c}.expect" want
    else
        mkdir -p native.d && mv native "native.d/$name"
        run want "native.d/$name" one 'two words' ''
    fi
    run got "$pipit" "./$name" one 'two words' ''
    compare "$name" want got
    for tier in interp "mixed=$seed" lockstep; do
        run got "$pipit" -jit "$tier" "./$name" one 'two words' ''
        compare "$name-$tier" want got
    done
    mv dynamic "$name"
    run got "$pipit" -L "$sysroot" "./$name" one 'two words' ''
    compare "$name-dynamic" want got
done
exit $bad
