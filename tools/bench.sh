#!/bin/bash
# make bench: pipit beside QEMU's emulators on the same files, one after the other in turn, so that both see the
# same weather. Prints each median and the median of the ratios (below 1: pipit is faster).
#
#   tools/bench.sh [boot] [programs] [machine] [start] [kernels] [user] [mmdebstrap] [disk] [net] [ssh] [micro]
#
# At the end comes a table of what the project holds itself to (bench/summary.py), which is also in build/bench/summary.json;
# tools/bench/summary.py --draw build/bench/summary.json tools/bench/summary.svg draws it.
#
# BOOTS (7), ROUNDS (3), MACHINE_ROUNDS (3), BUILDS (1), START_ROUNDS (41), KERNEL_ROUNDS (3), DISK_ROUNDS (5),
# NET_ROUNDS (5), SSH_ROUNDS (3) and MICRO_ROUNDS (31) say how often. The peer is
# the host's, or the one in the distribution's backports where that is newer (tools/peer.sh). QEMU_SYSTEM, QEMU_USER and
# QEMU_SYSTEM_X86 name others.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
cache=${PIPIT_CACHE:-$root/.cache}
PIPIT=${PIPIT:-$root/build/release/pipit}
pipit=$PIPIT

. tools/peer.sh

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
[ ${#what[@]} -gt 0 ] || what=(boot programs machine start kernels user mmdebstrap disk net ssh micro)
for w in "${what[@]}"; do
    case $w in
    boot | programs | machine | start | kernels | user | mmdebstrap | disk | net | ssh | micro) ;;
    *) echo "no such benchmark: $w (boot, programs, machine, start, kernels, user, mmdebstrap, disk, net, ssh, micro)" >&2 && exit 2 ;;
    esac
done
make -s -j"$(nproc)" MODE=release all
echo "pipit: $("$pipit" --version | head -n 1)"
mkdir -p build/bench
export BENCH_ROWS=$root/build/bench/rows
: >"$BENCH_ROWS"
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
    machine)
        peer=${QEMU_SYSTEM:-$(newest qemu-system-aarch64 qemu-system-arm)}
        echo "peer: $("$peer" --version | head -n 1)"
        tools/guest.sh
        tests/rootfs.sh
        python3 tools/bench/machine.py "$pipit" "$peer" "$cache" build/bench || status=1
        ;;
    start | kernels)
        peer=${QEMU_USER:-$(peer_user)}
        echo "peer: $("$peer" --version | head -n 1)"
        python3 "tools/bench/$w.py" build/release/pipit-aarch64 "$peer" build/bench || status=1
        ;;
    user | mmdebstrap)
        if ! why=$(tests/arm64.sh --can); then
            echo "$w: skipped, $why"
            continue
        fi
        peer=${QEMU_USER:-$(peer_user)}
        echo "peer: $("$peer" --version | head -n 1)"
        if [ "$w" = user ]; then tests/rootfs.sh; else tests/archive.sh; fi
        python3 tools/bench/user.py "$root/build/release/pipit-aarch64" "$peer" "$w" || status=1
        ;;
    disk | net)
        peer=${QEMU_SYSTEM:-$(newest qemu-system-aarch64 qemu-system-arm)}
        echo "peer: $("$peer" --version | head -n 1)"
        tools/guest.sh
        python3 "tools/bench/$w.py" "$pipit" "$peer" "$cache" build/bench || status=1
        ;;
    ssh)
        # The image is made in a chroot.
        if [ ! -s "$cache/cloud/plain.qcow2" ] && ! why=$(tests/arm64.sh --can); then
            echo "ssh: skipped, $why"
            continue
        fi
        peer=${QEMU_SYSTEM:-$(newest qemu-system-aarch64 qemu-system-arm)}
        echo "peer: $("$peer" --version | head -n 1)"
        [ -s "$cache/cloud/plain.qcow2" ] || tests/cloud/image.sh plain
        PATH=$PATH:/sbin:/usr/sbin python3 tools/bench/ssh.py "$pipit" "$peer" "$cache" build/bench || status=1
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
if [ -s "$BENCH_ROWS" ]; then
    cpu=$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)
    python3 tools/bench/summary.py "$BENCH_ROWS" build/bench/summary.json "host=${cpu:-$(uname -m)}, $(nproc) CPUs" \
        "peer=$("${peer:-false}" --version 2>/dev/null | sed -n '1s/.*version /QEMU /p')" || status=1
fi
exit $status
