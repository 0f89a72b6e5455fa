#!/bin/bash
# make bench: pipit beside QEMU's system emulators on the same files, one after the other in turn, so that both see the
# same weather. Prints each median and the median of the ratios (below 1: pipit is faster).
#
#   tools/bench.sh [boot] [programs] [micro]     BOOTS (7), ROUNDS (3) and MICRO_ROUNDS (31) say how often
#
# The peer is the host's, or the one in the distribution's backports where that is newer: fetched through an apt state
# of our own and unpacked below .cache/, not installed. QEMU_SYSTEM and QEMU_SYSTEM_X86 name others.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
cache=${PIPIT_CACHE:-$root/.cache}
PIPIT=${PIPIT:-$root/build/release/pipit}
pipit=$PIPIT

major() {
    "$1" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p'
}

# backports PROGRAM PACKAGE: unpacks the backports' PACKAGE with the libraries that the host has not, and leaves a
# starter for it at $cache/peer/PROGRAM.
backports() {
    local program=$1 package=$2 peer=$cache/peer deb tree
    tree=$peer/$package
    [ ! -x "$peer/$program" ] || return 0
    (
        . tools/apt.sh
        apt_private "$cache/apt-peer" "$(dpkg --print-architecture)" -backports
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
    ) || return 1
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
    if [ "$(major "$own")" -lt 10 ] && backports "$@" >&2 && [ -n "$(major "$cache/peer/$1")" ]; then
        own=$cache/peer/$1
    fi
    echo "$own"
}

# The guests of the micro benchmark: one source.
stubs() {
    local out=$root/build/bench name flags
    mkdir -p "$out"
    while read -r name flags; do
        # shellcheck disable=SC2086
        gcc -m64 -nostdlib -static -no-pie -Wl,-N -Wl,-Ttext=0x100000 -Wl,-e,start -Wl,--build-id=none -Wl,--no-warn-rwx-segments $flags \
            -o "$out/$name.elf" tools/bench/stub.S
    done <<E
stub
stay -DSTAY
exits -DEXITS=20000 -DEXITS_AT=0xd0000000
E
}

kvm_makes_vms() {
    python3 -c 'import fcntl; fcntl.ioctl(open("/dev/kvm", "rb+", buffering=0), 0xAE01, 0)' 2>/dev/null
}

what=("$@")
[ ${#what[@]} -gt 0 ] || what=(boot programs micro)
for w in "${what[@]}"; do
    case $w in
    boot | programs | micro) ;;
    *) echo "no such benchmark: $w (boot, programs, micro)" >&2 && exit 2 ;;
    esac
done
make -s -j"$(nproc)" MODE=release all
echo "pipit: $("$pipit" --version | head -n 1)"
status=0
for w in "${what[@]}"; do
    case $w in
    boot | programs)
        peer=${QEMU_SYSTEM:-$(newest qemu-system-aarch64 qemu-system-arm)}
        echo "peer: $("$peer" --version | head -n 1)"
        tools/guest.sh
        [ "$w" = boot ] || tests/rootfs.sh
        python3 tools/bench.py "$pipit" "$peer" "$cache" "$w" || status=1
        ;;
    micro)
        if [ "$(uname -m)" != x86_64 ] || ! kvm_makes_vms; then
            echo "micro: skipped, this host has no KVM for x86-64 guests that this user may use"
            continue
        fi
        # The host's own as well as a newer one: which of them starts faster depends on the KVM.
        peers=(${QEMU_SYSTEM_X86:-$(printf '%s\n' "$(command -v qemu-system-x86_64)" "$(newest qemu-system-x86_64 qemu-system-x86)" | uniq)})
        tests/host.sh | grep '^kvm: '
        stubs
        python3 tools/bench/micro.py "$pipit" build/bench/{stub,stay,exits}.elf "${peers[@]}" || status=1
        ;;
    esac
done
exit $status
