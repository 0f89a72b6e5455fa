#!/bin/bash
# limit: 600
# The build for arm64 hosts, made here: it is whole, it leaves the JIT out and says so, it names what is missing; and
# every unit test of it passes under user-mode emulation, but those that need what the emulation has not.
set -uo pipefail
cd "${PIPIT_ROOT:-$(dirname "$0")/../..}" || exit 1
export PIPIT_CACHE=${PIPIT_CACHE:-$PWD/.cache}
cross=CROSS=aarch64-linux-gnu-
build=build/release-aarch64-linux-gnu
sysroot=$PIPIT_CACHE/sysroot-arm64
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0

# Why a test program is not run here.
seccomp='user-mode emulation has no seccomp (tests/kvm/arm64.sh runs it under an arm64 kernel)'
declare -A cannot=(
    [unit/sandbox_test]=$seccomp
    [unit/net_user_test]=$seccomp
)

item() {
    local name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        echo "ok $name"
    else
        tail -n 20 "$tmp/log" | sed 's/^/  /'
        echo "FAIL $name"
        bad=1
    fi
}

emulate() {
    timeout -k 5 120 qemu-aarch64 -L "$sysroot" "$@"
}

# The program is for arm64, finds its libraries in the sysroot, and has all features but one.
features() {
    readelf -h $build/pipit >"$tmp/elf" || return
    grep -q 'Machine: *AArch64' "$tmp/elf" || return
    emulate $build/pipit --version >"$tmp/version" || return
    cat "$tmp/version"
    grep -q -e ' -jit (needs an x86-64 host) .*+user-network +gzip-kernels +zstd-kernels' "$tmp/version"
}

refuses_jit() {
    ! emulate $build/pipit run --accel jit --kernel /dev/null 2>"$tmp/err" || return 1
    cat "$tmp/err"
    grep -q 'the JIT is not in this pipit: it makes x86-64 code, and this host is arm64' "$tmp/err"
}

# Without the sysroot make fetches nothing and says what does.
names_missing() {
    ! make -s $cross SYSROOT="$tmp/none" all >"$tmp/out" 2>&1 || return 1
    cat "$tmp/out"
    grep -q "cannot be built without: libfdt libseccomp liburing. .make deps $cross. gets them" "$tmp/out"
}

if ! tools/sysroot.sh; then
    echo 'FAIL sysroot: the packages could not be fetched'
    exit 1
fi
item gcc make -s -j"$(nproc)" $cross tests
item clang make -s -j"$(nproc)" CC=clang $cross all
item features features
item refuses-jit refuses_jit
item names-missing names_missing
for t in $(make -s $cross list-tests); do
    name=${t#"$build/tests/"}
    if [[ $name = kvm/* ]]; then
        echo "skip $name: user-mode emulation has no KVM (tests/kvm/arm64.sh runs it under an arm64 kernel)"
    elif [ -n "${cannot[$name]:-}" ]; then
        echo "skip $name: ${cannot[$name]}"
    else
        item "$name" emulate "$t"
    fi
done
exit $bad
