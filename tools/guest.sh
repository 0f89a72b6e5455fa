#!/bin/bash
# Gets Debian's cloud kernel and makes an initramfs for it: .cache/guest/vmlinuz and initrd.img for arm64,
# .cache/guest-amd64/ for amd64. The kernel package's files, all modules among them, are beside them in tree/.
#
#   tools/guest.sh [arm64|amd64]
#
# The packages (linux-image-cloud-ARCH and busybox-static) come from the archives that this host's apt uses, through
# a package state of our own, with apt's signature checks; the host's dpkg is not involved and root is not needed.
# What is there already is kept: remove .cache/ for newer packages. PIPIT_CACHE names another place for it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
arch=${1:-arm64}
case $arch in
arm64) out=$cache/guest ;;
amd64) out=$cache/guest-amd64 ;;
*)
    echo 'usage: tools/guest.sh [arm64|amd64]' >&2
    exit 2
    ;;
esac

# Modules that the initramfs loads, in this order, each after those it needs. One that the kernel has built in, or that
# this kernel does not know, is passed over: the self-check tells whether a device works.
modules='virtio_mmio virtio_pci virtio_blk virtio_net virtio_console virtio-rng crc32c_generic ext4 af_packet ipv6'

fetch() {
    local kernel
    . "$root/tools/apt.sh"
    apt_private "$cache/apt-$arch" "$arch"
    apt_get update || echo 'guest: some package lists could not be read; going on with the others' >&2
    kernel=$(apt_cache depends "linux-image-cloud-$arch" | sed -n "s/.*Depends: \(linux-image-.*-cloud-$arch\)\$/\1/p" | head -n 1)
    [ -n "$kernel" ] || {
        echo "guest: the archive has no linux-image-cloud-$arch" >&2
        return 1
    }
    echo "guest: fetching $kernel and busybox-static ($arch)"
    rm -rf "$out/packages" "$out/tree"
    mkdir -p "$out/packages" "$out/tree"
    (cd "$out/packages" && apt_get download "$kernel" busybox-static)
    for deb in "$out"/packages/*.deb; do
        dpkg-deb -x "$deb" "$out/tree"
    done
    cp "$out"/tree/boot/vmlinuz-* "$out/vmlinuz.new"
    rm -rf "$out/packages"
    mv "$out/vmlinuz.new" "$out/vmlinuz"
}

# Unpacks module file $1 to $2.
unpack_module() {
    case $1 in
    *.ko) cp "$1" "$2" ;;
    *.ko.xz) xz -dc "$1" >"$2" ;;
    *.ko.zst) zstd -qdc "$1" >"$2" ;;
    *.ko.gz) gzip -dc "$1" >"$2" ;;
    esac
}

# Adds module $1 and, before it, what its .modinfo says it depends on, to the initramfs and its load order.
declare -A seen=()
add_module() {
    local name=${1//-/_} file dep
    [ -z "${seen[$name]:-}" ] || return 0
    seen[$name]=1
    file=$(grep -E "/${name//_/[-_]}\.ko(\.[a-z]+)?$" "$out/modules.list" | head -n 1) || return 0
    unpack_module "$file" "$tree/modules/$name.ko"
    for dep in $(tr '\0' '\n' <"$tree/modules/$name.ko" | grep -a '^depends=' | cut -d= -f2 | tr ',' ' '); do
        add_module "$dep"
    done
    echo "$name" >>"$tree/modules/order"
}

initramfs() {
    local busybox tree=$out/initramfs
    busybox=$(find "$out/tree" -name busybox -type f -path '*bin/*' | head -n 1)
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,dev,etc,mnt,modules,proc,run,sys,tmp}
    cp "$busybox" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    install -m 755 "$root/tools/guest/init" "$tree/init"
    install -m 755 "$root/tools/guest/dhcp" "$tree/etc/dhcp"
    find "$out/tree" -name '*.ko*' -type f >"$out/modules.list"
    for m in $modules; do
        add_module "$m"
    done
    # The same packages and scripts give the same bytes.
    find "$tree" -exec touch -h -d @0 {} +
    (cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -9n >"$out/initrd.new"
    mv "$out/initrd.new" "$out/initrd.img"
    rm -rf "$tree"
}

mkdir -p "$out"
exec 9>"$out.lock"
flock 9
[ -s "$out/vmlinuz" ] || fetch
stamp=$(cat "$0" "$root"/tools/guest/* "$out/vmlinuz" | sha256sum)
if [ ! -s "$out/initrd.img" ] || [ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ]; then
    initramfs
    echo "$stamp" >"$out/stamp"
fi
