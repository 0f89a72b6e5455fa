#!/bin/bash
# limit: 900
# Bare-metal programs at EL1, run by pipit; what they print must equal, line by line, what the peer (QEMU's system
# emulator) gives for the same program, CPU and interrupt controller, or NAME.expect where the peer is known to differ
# from the architecture.
#
#   tests/guest/run.sh [--peer] [PROGRAM...]    --peer checks the .expect files and programs on the peer alone
#
# PIPIT_OPTIONS: more options of pipit run (--jit interp). ROWS_SEED (default: the day) and ROWS_CASES (1500) are for rows.c.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
build=$root/build/guest
peer_only=
[ "${1:-}" != --peer ] || { peer_only=1 && shift; }
only=("$@")
failed=0
mkdir -p "$build"

result() {
    echo "$@"
    [ "$1" != FAIL ] || failed=1
}

wanted() {
    local w
    [ ${#only[@]} -gt 0 ] || return 0
    for w in "${only[@]}"; do
        [ "$w" != "$1" ] || return 0
    done
    return 1
}

# compile NAME OUT [FLAG...]
compile() {
    local name=$1 out=$2
    shift 2
    aarch64-linux-gnu-gcc -march=armv8-a -ffreestanding -fno-stack-protector -fno-pic -mstrict-align \
        -mno-outline-atomics -O2 -Wall -Wextra -Werror -nostdlib -static -no-pie -Wl,-T,"$here/link.ld" \
        -Wl,--build-id=none -Wl,--no-warn-rwx-segments -I"$root" "$@" -o "$out" "$here/start.S" "$here/lib.c" "$here/$name.c"
}

run_peer() { # ELF GIC CPU CPUS
    timeout -k 5 120 qemu-system-aarch64 -M "virt,gic-version=$2" -cpu "$3" -smp "$4" -m 128 -nographic -nic none -kernel "$1" \
        </dev/null 2>"$build/peer.err"
}

run_pipit() {
    timeout -k 5 120 "$pipit" run ${PIPIT_OPTIONS:-} --kernel "$1" --gic "$2" --cpu "$3" --cpus "$4" --memory 128M --net none </dev/null 2>"$build/pipit.err"
}

# check LABEL ELF GIC CPU CPUS [EXPECT]: the first differing line is shown.
check() {
    local label=$1 elf=$2 want=$build/$1.want got=$build/$1.got status=0
    shift
    if [ $# -ge 5 ]; then
        cp "$5" "$want"
    else
        run_peer "$@" | tr -d '\r' >"$want"
        if [ "$(tail -n 1 "$want")" != end ]; then
            tail -n 3 "$want" "$build/peer.err"
            result FAIL "$label: the peer did not finish"
            return
        fi
    fi
    if [ -n "$peer_only" ]; then
        result ok "$label (peer: $(wc -l <"$want") lines)"
        return
    fi
    run_pipit "$@" >"$got.raw" || status=$?
    tr -d '\r' <"$got.raw" >"$got"
    if cmp -s "$want" "$got" && [ $status = 0 ]; then
        result ok "$label ($(wc -l <"$want") lines)"
        return
    fi
    # Expected lines begin with <, pipit's with >.
    diff "$want" "$got" | head -n "${DIFF_LINES:-20}"
    tail -n 5 "$build/pipit.err"
    result FAIL "$label: $(diff "$want" "$got" | grep -c '^[<>]') lines differ, exit status $status ($elf)"
}

# program NAME: compiles it; then check each "GIC CPU CPUS" on stdin.
program() {
    local name=$1 gic cpu cpus
    wanted "$name" || return 0
    compile "$name" "$build/$name.elf" || { result FAIL "$name: does not compile" && return; }
    while read -r gic cpu cpus; do
        if [ -e "$here/$name.expect" ]; then
            check "$name-gic$gic-$cpu-$cpus" "$build/$name.elf" "$gic" "$cpu" "$cpus" "$here/$name.expect"
        else
            check "$name-gic$gic-$cpu-$cpus" "$build/$name.elf" "$gic" "$cpu" "$cpus"
        fi
    done
}

# rows CPU SEED: generated cases.
rows() {
    local cpu=$1 seed=$2 dir=$build/rows-$1
    wanted rows || return 0
    mkdir -p "$dir"
    if ! python3 "$here/rows_gen.py" "$cpu" "$seed" "${ROWS_CASES:-1500}" "$root/jit/a64/insn_base.def" "$dir/rows.inc"; then
        result FAIL "rows-$cpu: a row has no case"
        return
    fi
    compile rows "$dir/rows.elf" "-DROWS_INC=\"$dir/rows.inc\"" || { result FAIL "rows-$cpu: does not compile" && return; }
    check "rows-$cpu-seed$seed" "$dir/rows.elf" 3 "$cpu" 1
}

program ids <<E
2 cortex-a57 1
3 cortex-a72 1
3 cortex-a76 1
3 neoverse-n1 1
E
program except <<E
2 cortex-a72 1
3 cortex-a76 1
E
program priority <<E
2 cortex-a72 1
E
program mmu <<E
2 cortex-a72 1
3 cortex-a76 1
3 max 1
E
program smc <<E
2 cortex-a72 1
E
program gic <<E
2 cortex-a72 1
3 max 1
E
program smp <<E
2 cortex-a72 1
2 cortex-a72 2
3 cortex-a76 4
3 max 8
E
program order <<E
2 cortex-a72 2
E
program aba <<E
3 cortex-a76 2
2 cortex-a72 4
E
seed=${ROWS_SEED:-$(date +%Y%m%d)}
rows cortex-a72 "$seed"
rows cortex-a76 "$((seed + 1))"
exit $failed
