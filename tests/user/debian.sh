#!/bin/bash
# limit: 600
# Debian's arm64 python3, perl, sqlite3, xz, zstd, openssl and gcc -O2 in a chroot, started by the kernel through
# binfmt_misc (in a user namespace of the test's own), alone and all at once: what they print is byte for byte what the
# same programs give on the host; floating-point text what it gives under QEMU, gcc's assembly the cross compiler's.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
export PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache} PIPIT_AARCH64=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
tree=$PIPIT_CACHE/rootfs/tree

if [ "${1:-}" = inside ]; then
    set -e
    mount -t proc proc /proc
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    "$PIPIT_AARCH64" --register
    exec "$root/tests/tree.sh" /bin/sh -c 'for mode in alone together; do
        echo "mode $mode"
        sh /programs/work.sh /programs $mode
    done
    uname -m'
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$root/tests/rootfs.sh" || {
    echo 'FAIL rootfs: could not be made'
    exit 1
}
GCC=aarch64-linux-gnu-gcc sh "$root/tests/rootfs/work.sh" "$root/tests/rootfs" alone python perl sqlite xz zstd openssl gcc >"$tmp/want"
PYTHON="qemu-aarch64 -L $tree $(readlink -f "$tree/usr/bin/python3")" PYTHONHOME=/usr PYTHONDONTWRITEBYTECODE=1 \
    sh "$root/tests/rootfs/work.sh" "$root/tests/rootfs" alone float >>"$tmp/want"
if ! unshare --user --map-root-user --mount --pid --fork --kill-child bash -c \
    'mount -t proc proc /proc && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2>/dev/null; then
    echo 'skip debian: no user namespaces, or this kernel has one binfmt_misc for all of them (before 6.7)'
    exit 0
fi
timeout -k 5 500 unshare --user --map-root-user --mount --pid --fork --kill-child "$0" inside </dev/null 2>&1 | tee "$tmp/got"
bad=0
for mode in alone together; do
    sed -n "/^mode $mode\$/,/^mode /p" "$tmp/got" | grep '^work ' >"$tmp/$mode"
    while read -r _ name want _; do
        got=$(awk -v n="$name" '$2 == n { print $3 }' "$tmp/$mode")
        if [ "$got" = "$want" ] && [ "${want#failed}" = "$want" ]; then
            echo "ok $mode-$name"
        else
            echo "FAIL $mode-$name: ${got:-nothing}, not $want"
            bad=1
        fi
    done <"$tmp/want"
done
if [ "$(tail -n 1 "$tmp/got")" = aarch64 ]; then
    echo 'ok end'
else
    echo 'FAIL end: the last program did not run'
    bad=1
fi
exit $bad
