# Sourced by scripts that compare with QEMU: newest PROGRAM PACKAGE prints where its newest PROGRAM is, peer_user the
# same of its static user-mode emulator for arm64.
#
# That is the host's, or the one in the distribution's backports where the host's is older than 10: fetched through an
# apt state of our own (tools/apt.sh) and unpacked below .cache/peer/, not installed.
peer_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
peer_cache=${PIPIT_CACHE:-$peer_root/.cache}

major() {
    "$1" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p'
}

# peer_unpack PACKAGE: the backports' PACKAGE, with what it needs that the host has not, in $peer_cache/peer/PACKAGE.
peer_unpack() {
    local package=$1 tree=$peer_cache/peer/$1 deb
    [ ! -e "$tree/complete" ] || return 0
    (
        . "$peer_root/tools/apt.sh"
        apt_private "$peer_cache/apt-peer" "$(dpkg --print-architecture)" -backports
        # What the host has installed need not be fetched.
        cp /var/lib/dpkg/status "$apt_dir/status"
        apt_get update 2>/dev/null || true
        apt_cache policy "$package" | grep -- -backports >/dev/null || exit 1
        apt_get clean
        apt_get install -y --download-only --no-install-recommends -t "$apt_release-backports" "$package"
        mkdir -p "$tree"
        for deb in "$apt_dir"/cache/archives/*.deb; do
            dpkg-deb -x "$deb" "$tree"
        done
        touch "$tree/complete"
    )
}

# backports PROGRAM PACKAGE: leaves a starter for the backports' program at $peer_cache/peer/PROGRAM.
backports() {
    local program=$1 package=$2 peer=$peer_cache/peer tree
    tree=$peer/$package
    [ ! -x "$peer/$program" ] || return 0
    peer_unpack "$package" || return 1
    cat >"$peer/$program" <<EOF
#!/bin/sh
t=$tree
l=\$t/usr/lib/x86_64-linux-gnu
LD_LIBRARY_PATH=\$l:\$t/lib/x86_64-linux-gnu QEMU_MODULE_DIR=\$l/qemu exec \$t/usr/bin/$program -L \$t/usr/share/qemu \\
    -L \$t/usr/share/seabios "\$@"
EOF
    chmod +x "$peer/$program"
}

# newest PROGRAM PACKAGE: prints the peer's path.
newest() {
    local own
    own=$(command -v "$1" || true)
    if [ "$(major "$own")" -lt 10 ] && backports "$@" >&2 && [ -n "$(major "$peer_cache/peer/$1")" ]; then
        own=$peer_cache/peer/$1
    fi
    echo "$own"
}

# A static program: it is started in chroots, too.
peer_user() {
    local p
    for p in qemu-aarch64-static qemu-aarch64; do
        p=$(command -v $p) || continue
        if [ "$(major "$p")" -ge 10 ] && ! readelf -l "$p" | grep -q INTERP; then
            echo "$p"
            return
        fi
    done
    peer_unpack qemu-user-static >&2 && echo "$peer_cache/peer/qemu-user-static/usr/bin/qemu-aarch64-static"
}
