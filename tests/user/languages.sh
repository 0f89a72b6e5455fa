#!/bin/bash
# limit: 900
# Debian's arm64 go, java, node, ruby, php, python and rust in a chroot, started by the kernel through binfmt_misc (in a
# user namespace of the test's own), with address randomisation as the host has it: each program of tests/languages is
# compiled there and run several times, and prints what it prints on any machine; ldconfig and apt-get update, too.
#
#   languages.sh [NAME...]    those named, or all; RUNS: how often each program is run (5), LOADS: ldconfig and apt (20)
#   languages.sh --list       their names
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
export PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache} PIPIT_AARCH64=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
export RUNS=${RUNS:-5} LOADS=${LOADS:-20}
out=$PIPIT_CACHE/languages
packages=base-files,bash,coreutils,dash,grep,sed,golang-go,nodejs,default-jdk-headless,ruby,php-cli,rustc,python3,gcc,libc6-dev,libc-bin,apt,debian-archive-keyring
all=(go java node php python ruby rust ldconfig apt)

if [ "${1:-}" = --list ]; then
    printf '%s\n' "${all[@]}"
    exit 0
fi

# one NAME COMMAND...: within a minute or two; what it prints is as expected?
one() {
    local name=$1 want=$root/tests/languages/$1.expect
    shift
    timeout -k 5 "${LIMIT:-120}" "$@" >/tmp/got 2>/tmp/err </dev/null || {
        echo "exit status $?, after '$(tail -n 1 /tmp/got)': $(tail -n 12 /tmp/err | tr '\n' ' ')"
        return 1
    }
    [ ! -e "$want" ] || cmp -s /tmp/got "$want" || {
        echo "not as expected: $(diff "$want" /tmp/got | head -n 4 | tr '\n' ' ')"
        return 1
    }
}

language() {
    local name=$1 runs=$RUNS i why
    case $name in
    go | java | rust)
        why=$(LIMIT=300 one "$name-build" chroot /mnt/root /bin/sh /programs/run.sh build "$name") || {
            echo "FAIL $name: not compiled: $why"
            return 1
        }
        ;;
    ldconfig | apt) runs=$LOADS ;;
    esac
    for ((i = 1; i <= runs; i++)); do
        why=$(one "$name" chroot /mnt/root /bin/sh /programs/run.sh run "$name") || {
            echo "FAIL $name: run $i of $runs: $why"
            return 1
        }
    done
    echo "ok $name: $runs runs"
}

if [ "${1:-}" = inside ]; then
    shift
    set -e
    mount -t proc proc /proc
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    "$PIPIT_AARCH64" --register
    # The tree is shared by tests: what is written goes elsewhere.
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o "lowerdir=$out/tree,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
    cd /mnt/root
    mkdir -p programs dev/shm
    cp "$root"/tests/languages/* programs/
    mount -t proc proc proc
    mount -t tmpfs tmpfs tmp
    mount -t tmpfs tmpfs dev/shm
    for f in null zero full random urandom; do
        touch dev/$f
        mount --bind /dev/$f dev/$f
    done
    mount -t tmpfs tmpfs /tmp
    echo "randomisation: $(cat /proc/sys/kernel/randomize_va_space)"
    bad=0
    for name; do
        start=$SECONDS
        language "$name" || bad=1
        echo "$name took $((SECONDS - start)) s"
    done
    exit $bad
fi

# The tree: unpacked without running anything of it.
make_tree() {
    mkdir -p "$out"
    exec 9>"$out/lock"
    flock 9
    [ "$(cat "$out/packages" 2>/dev/null)" != "$packages" ] || return 0
    rm -rf "$out/tree" "$out/packages"
    . "$root/tools/apt.sh"
    apt_extract "$out/tree.tar" "$packages" || return
    mkdir "$out/tree"
    tar -C "$out/tree" --no-same-owner -xf "$out/tree.tar" || return
    rm "$out/tree.tar"
    rm -rf "$out/tree/usr/share/doc" "$out/tree/usr/share/man"
    [ -e "$out/tree/bin/sh" ] || ln -s dash "$out/tree/bin/sh"
    echo "$packages" >"$out/packages"
}

if ! unshare --user --map-root-user --mount --pid --fork --kill-child bash -c \
    'mount -t proc proc /proc && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2>/dev/null; then
    echo 'skip languages: no user namespaces, or this kernel has one binfmt_misc for all of them (before 6.7)'
    exit 0
fi
make_tree || {
    echo 'FAIL tree: could not be made'
    exit 1
}
exec 9>&-
[ $# -gt 0 ] || set -- "${all[@]}"
exec unshare --user --map-root-user --mount --pid --fork --kill-child "$here/$(basename "$0")" inside "$@" </dev/null 2>&1
