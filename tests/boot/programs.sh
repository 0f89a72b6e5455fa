#!/bin/bash
# limit: 600
# python3, perl, sqlite3, xz, zstd, openssl and gcc -O2 of a Debian arm64 disk, alone and all at once on 2 vCPUs, give
# byte for byte what the same programs give on the host; floating-point text what it gives under QEMU, and gcc's assembly
# what the cross compiler of the same version writes.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
export PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache}
. "$root/tools/launch.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$root/tests/rootfs.sh" || {
    echo 'FAIL rootfs: could not be made'
    exit 1
}

# What is expected: each program on the host, the two that depend on the architecture by their own reference.
tree=$PIPIT_CACHE/rootfs/tree
GCC=aarch64-linux-gnu-gcc sh "$root/tests/rootfs/work.sh" "$root/tests/rootfs" alone python perl sqlite xz zstd openssl gcc >"$tmp/want"
PYTHON="qemu-aarch64 -L $tree $(readlink -f "$tree/usr/bin/python3")" PYTHONHOME=/usr PYTHONDONTWRITEBYTECODE=1 \
    sh "$root/tests/rootfs/work.sh" "$root/tests/rootfs" alone float >>"$tmp/want"

cp --sparse=always "$PIPIT_CACHE/rootfs/disk.img" "$tmp/disk.img"
vm_command "$PIPIT_CACHE/guest/vmlinuz" "$PIPIT_CACHE/guest/initrd.img" 'console=ttyAMA0 quiet pipit.chroot=/programs/guest.sh' \
    "$tmp/disk.img" 2 1024
timeout -k 5 500 "${vm[@]}" </dev/null 2>&1 | tr -d '\r' | tee "$tmp/console"
status=${PIPESTATUS[0]}

bad=0
for mode in alone together; do
    sed -n "/^mode $mode\$/,/^mode /p" "$tmp/console" | grep '^work ' >"$tmp/$mode"
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
if [ "$status" = 0 ] && grep -q '^pipit-chroot: status 0' "$tmp/console"; then
    echo 'ok end'
else
    echo "FAIL end: exit status $status"
    bad=1
fi
# The guest unmounted its disk: the file system is whole.
if /sbin/e2fsck -fn "$tmp/disk.img" >"$tmp/fsck" 2>&1; then
    echo 'ok filesystem'
else
    cat "$tmp/fsck"
    echo 'FAIL filesystem: e2fsck complains'
    bad=1
fi
exit $bad
