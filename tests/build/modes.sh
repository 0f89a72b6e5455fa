#!/bin/bash
# limit: 900
# The build itself: clang builds it too; the core builds with libfdt, libseccomp and liburing alone and says what it
# lacks; a touched header rebuilds what includes it and nothing else; install puts things where it is told.
set -uo pipefail
cd "${PIPIT_ROOT:-$(dirname "$0")/../..}" || exit 1
bad=0
jobs=-j$(nproc)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

item() {
    local name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        echo "ok $name"
    else
        tail -n 20 "$tmp/log"
        echo "FAIL $name"
        bad=1
    fi
}

core=build/release-without-slirp-zlib-zstd-ext2fs
core_alone() {
    make -s "$jobs" WITHOUT='slirp zlib zstd ext2fs' tests || return
    # Linked against none of them; it says so, and refuses by name what needs them.
    ldd $core/pipit >"$tmp/ldd" || return
    ! grep -E 'libslirp|libz\.|libzstd|libext2fs' "$tmp/ldd" || return
    $core/pipit --version >"$tmp/version" || return
    cat "$tmp/version"
    for lib in libslirp zlib libzstd libext2fs; do
        grep -e "-[a-z0-9-]* ($lib)" "$tmp/version" || return
    done
    head -c 65536 /dev/zero | gzip >"$tmp/kernel.gz"
    refuses_run libslirp --kernel "$tmp/kernel.gz" --publish 2222:22 && refuses_run zlib --kernel "$tmp/kernel.gz" || return
    truncate -s 4M "$tmp/ext4.img" && /sbin/mke2fs -q -F -t ext4 "$tmp/ext4.img" && refuses_run libext2fs --disk "$tmp/ext4.img"
}

refuses_run() {
    local word=$1
    shift
    ! timeout 20 $core/pipit run "$@" >"$tmp/refusal" 2>&1 || return 1
    cat "$tmp/refusal"
    grep -q "$word" "$tmp/refusal"
}

core_tests() {
    local t
    for t in $core/tests/unit/*_test; do
        timeout 120 "$t" || return
    done
}

incremental() {
    make -s "$jobs" all || return
    make "$jobs" all >"$tmp/idle" || return
    ! grep -E '^ +(CC|LD|AR)' "$tmp/idle" || return
    touch -r loader/loader.h "$tmp/stamp"
    touch loader/loader.h
    make "$jobs" all >"$tmp/touched"
    local status=$?
    touch -r "$tmp/stamp" loader/loader.h
    cat "$tmp/touched"
    [ $status = 0 ] && grep -q 'CC .*loader/' "$tmp/touched" && ! grep -q 'CC .*vmm/base/' "$tmp/touched"
}

install_in() {
    make -s "$jobs" install DESTDIR="$tmp/dest" PREFIX=/usr || return
    [ "$tmp/dest/usr/bin/pipit-img" -ef "$tmp/dest/usr/bin/qemu-img" ] || return
    "$tmp/dest/usr/bin/qemu-img" --help >/dev/null || return
    [ -x "$tmp/dest/usr/bin/pipit" ] && [ -f "$tmp/dest/usr/share/man/man1/pipit.1" ] || return
    local arch
    for arch in aarch64 x86_64; do
        [ "$tmp/dest/usr/bin/pipit" -ef "$tmp/dest/usr/bin/qemu-system-$arch" ] || return
        "$tmp/dest/usr/bin/qemu-system-$arch" -version || return
    done
    "$tmp/dest/usr/bin/pipit" --version
}

refuses() {
    ! make -s WITHOUT=nonsense all 2>"$tmp/err" && grep -q nonsense "$tmp/err" &&
        ! make -s MODE=nonsense all 2>"$tmp/err" && grep -q nonsense "$tmp/err"
}

hardened() {
    readelf -dlW build/release/pipit >"$tmp/elf" || return
    grep -q 'BIND_NOW\|Flags:.*NOW' "$tmp/elf" && grep -q GNU_RELRO "$tmp/elf" && ! grep 'GNU_STACK.*RWE' "$tmp/elf"
}

item clang make -s "$jobs" CC=clang tests
item core-alone core_alone
item core-alone-tests core_tests
item incremental incremental
item install install_in
item refuses-unknown refuses
item hardened hardened
item help make help
exit $bad
