#!/bin/bash
# make bench: pipit beside qemu-system-aarch64 on the same files, one after the other in turn, so that both see the same
# weather. Prints each median and the median of the ratios (below 1: pipit is faster).
#
#   tools/bench.sh [boot] [programs]     BOOTS (7) and ROUNDS (3) say how often
#
# The peer is the host's qemu-system-aarch64, or the one in the distribution's backports where that is newer: fetched
# through an apt state of our own and unpacked below .cache/, not installed. QEMU_SYSTEM names another.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
cache=${PIPIT_CACHE:-$root/.cache}
PIPIT=${PIPIT:-$root/build/release/pipit}
pipit=$PIPIT

major() {
    "$1" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p'
}

# Unpacks the backports' qemu-system-arm with the libraries that the host has not, and leaves a starter for it.
peer_from_backports() {
    local peer=$cache/peer deb
    [ ! -x "$peer/qemu-system-aarch64" ] || return 0
    (
        . tools/apt.sh
        apt_private "$cache/apt-peer" "$(dpkg --print-architecture)" -backports
        # What the host has installed need not be fetched.
        cp /var/lib/dpkg/status "$apt_dir/status"
        apt_get update 2>/dev/null || true
        apt_cache policy qemu-system-arm | grep -- -backports >/dev/null || exit 1
        apt_get install -y --download-only --no-install-recommends -t "$apt_release-backports" qemu-system-arm
        mkdir -p "$peer/tree"
        for deb in "$apt_dir"/cache/archives/*.deb; do
            dpkg-deb -x "$deb" "$peer/tree"
        done
    ) || return 1
    cat >"$peer/qemu-system-aarch64" <<EOF
#!/bin/sh
t=$peer/tree
LD_LIBRARY_PATH=\$t/usr/lib/x86_64-linux-gnu:\$t/lib/x86_64-linux-gnu QEMU_MODULE_DIR=\$t/usr/lib/x86_64-linux-gnu/qemu \\
    exec \$t/usr/bin/qemu-system-aarch64 -L \$t/usr/share/qemu "\$@"
EOF
    chmod +x "$peer/qemu-system-aarch64"
}

peer=${QEMU_SYSTEM:-$(command -v qemu-system-aarch64 || true)}
if [ -z "${QEMU_SYSTEM:-}" ] && [ "$(major "$peer")" -lt 10 ] && peer_from_backports &&
    [ -n "$(major "$cache/peer/qemu-system-aarch64")" ]; then
    peer=$cache/peer/qemu-system-aarch64
fi

make -s -j"$(nproc)" MODE=release all
tools/guest.sh
tests/rootfs.sh
echo "pipit: $("$pipit" --version | head -n 1)"
echo "peer: $("$peer" --version | head -n 1)"
exec python3 tools/bench.py "$pipit" "$peer" "$cache" "$@"
