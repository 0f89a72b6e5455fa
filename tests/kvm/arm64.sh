#!/bin/bash
# limit: 1300
# The arm64 machine by KVM, on a host that is none: the pipit that is built for arm64 in a Debian arm64 guest, whose kernel
# has /dev/kvm under QEMU's emulated EL2 (nested.sh). It is booted three times:
#
#   vhe     the outer kernel at EL2, GICv3, with SVE and pointer authentication
#   nvhe    the outer kernel at EL1 and KVM at EL2, GICv3
#   gic2    the same with a GICv2
#
# In each the programs tests/kvm/*_test run, and Debian's arm64 cloud kernel, unmodified, with 2 vCPUs finds disk, network,
# entropy and a virtio console and checks them: the disk's file is compared with what it says it read and wrote, and it
# speaks over TCP with a listener beside pipit. On the first two the same with 1 vCPU; what cannot be started is refused,
# each with its sentence and status; and the unit tests run that user-mode emulation cannot run (tests/cross/arm64.sh).
#
#   tests/kvm/arm64.sh [FLAVOUR...]
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
export PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache}
build=$root/build/release-aarch64-linux-gnu
nonce=$(head -c 16 /dev/urandom | sha256sum | head -c 32) word=$(head -c 16 /dev/urandom | sha256sum | head -c 32)
. "$here/nested.sh"
. "$here/boots.sh"
unit='sandbox_test net_user_test block_test virtio_blk_test'
bad=0
[ $# -gt 0 ] || set -- vhe nvhe gic2

# flavour NAME all|less SECONDS
flavour() {
    local name=$1 start=$SECONDS
    out=$root/build/nested/arm64.$name
    if ! nested_run "sh /outer_arm64 $nonce $word $2" "$3" "$out"; then
        echo "FAIL $name: the outer guest did not finish"
        bad=1
        return
    fi
    grep -o 'outer: .*' "$out/console"
    programs "$name" "$build"/tests/kvm/*_test
    if [ "$2" = all ]; then
        programs "$name" $unit
        checked check-1 1 'a00[0-9a-f]*\.virtio_mmio' "$name-"
        sed -E "s/^(ok|FAIL) /&$name-refuses-/" "$out/refusals"
        ! grep -q '^FAIL' "$out/refusals" || bad=1
    fi
    checked check-2 2 'a00[0-9a-f]*\.virtio_mmio' "$name-"
    echo "  $name took $((SECONDS - start)) s"
}

if ! "$root/tools/sysroot.sh" || ! make -s -C "$root" -j"$(nproc)" CROSS=aarch64-linux-gnu- tests; then
    echo 'FAIL build: no pipit for arm64'
    exit 1
fi
nested_begin arm64 arm64 || { echo 'FAIL outer: no arm64 guest' && exit 1; }
nested_add_program "$build/pipit" /bin/pipit
for t in "$build"/tests/kvm/*_test; do
    nested_add_program "$t" "/tests/${t##*/}"
done
for t in $unit; do
    nested_add_program "$build/tests/unit/$t" "/unit/$t"
done
nested_add "$nested_cache/vmlinuz" /guest/vmlinuz
nested_add "$nested_cache/initrd.img" /guest/initrd.img
nested_add "$here/outer_boots" /outer_boots
nested_add "$here/outer_arm64" /outer_arm64
for flavour; do
    case $flavour in
    vhe) flavour vhe all 500 ;;
    nvhe) NESTED_CPU=cortex-a57 flavour nvhe all 500 ;;
    gic2) NESTED_CPU=cortex-a57 NESTED_GIC=2 flavour gic2 less 300 ;;
    *) echo "FAIL $flavour: no such flavour" && bad=1 ;;
    esac
done
exit $bad
