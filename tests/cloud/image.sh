#!/bin/bash
# image.sh [LAYOUT]: makes a Debian arm64 cloud image as the distribution's own are made, of the distribution's packages:
# .cache/cloud/LAYOUT.qcow2, compressed.
#
#   plain   GPT: ext4 root as partition 1, ESP with GRUB as partition 15; /boot in the root (the default)
#   boot    GPT: ESP, ext4 /boot, ext4 root
#   bls     the same, its kernel told by a boot loader entry instead of GRUB's menu
#   zboot   as plain, the kernel packed as a zstd EFI zboot image, as other distributions have it
#
# The packages are installed by mmdebstrap under pipit-aarch64; their tree is kept (root.tar) until the list changes. No
# root file system of this host is mounted: mke2fs and mtools fill the partitions. Needs root and user namespaces.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
out=$cache/cloud
layout=${1:-plain}
pipit_aarch64=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
img=${PIPIT_IMG:-$root/build/release/pipit-img}
packages=systemd-sysv,udev,dbus,cloud-init,openssh-server,sudo,netplan.io,iproute2,linux-image-cloud-arm64,cloud-guest-utils
packages+=,locales,grub-efi-arm64-bin,grub-common,e2fsprogs,ca-certificates,less
PATH=$PATH:/sbin:/usr/sbin
case $layout in
plain | boot | bls | zboot) ;;
*) echo "image: no layout is named $layout (plain, boot, bls, zboot)" >&2 && exit 2 ;;
esac

mkdir -p "$out"
exec 9>"$out.lock"
flock 9
. "$root/tools/apt.sh"

if [ "$(cat "$out/packages" 2>/dev/null)" != "$apt_release $packages" ]; then
    echo "image: installing an arm64 Debian $apt_release with $packages"
    apt_sources | sed '/^Signed-By:.*debian-archive-keyring/d' >"$out/sources"
    TMPDIR=$out SOURCE_DATE_EPOCH=1700000000 "$root/tests/arm64.sh" "$pipit_aarch64" mmdebstrap --quiet --mode=root --arch=arm64 \
        --variant=apt --include="$packages" "$apt_release" "$out/root.tar" "$out/sources"
    echo "$apt_release $packages" >"$out/packages"
    rm -f "$out"/*.stamp
fi
stamp=$(cat "$0" "$out/packages" | sha256sum)
if [ -s "$out/$layout.qcow2" ] && [ "$(cat "$out/$layout.stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

tmp=$(mktemp -d "$out/make.XXXXXX")
trap 'rm -rf --one-file-system "$tmp"' EXIT
tree=$tmp/tree
mkdir "$tree"
tar -C "$tree" --numeric-owner -xpf "$out/root.tar" --exclude='./dev/*'

root_uuid=8f1c3c1e-5a0e-4b5e-9b50-0d2f7a9f1c11 boot_uuid=2b1c3c1e-5a0e-4b5e-9b50-0d2f7a9f1c22 esp_id=5D0E1A2B
root_part=c0a7de70-0000-4000-8000-000000000001 boot_part=c0a7de70-0000-4000-8000-000000000002
esp_part=c0a7de70-0000-4000-8000-00000000000f
version=$(basename "$tree"/boot/vmlinuz-*)
version=${version#vmlinuz-}
arguments="root=PARTUUID=$root_part ro console=tty0 console=ttyAMA0,115200 earlyprintk consoleblank=0"

# What the scripts that make the distribution's images do besides installing.
{
    echo "PARTUUID=$root_part / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1"
    [ "$layout" = plain ] || [ "$layout" = zboot ] || echo "UUID=$boot_uuid /boot ext4 defaults 0 2"
    echo "PARTUUID=$esp_part /boot/efi vfat defaults 0 0"
} >"$tree/etc/fstab"
mkdir -p "$tree/boot/efi" "$tree/boot/grub"
# cloud-init's own default is a locale that nothing has made.
echo 'locale: C.UTF-8' >"$tree/etc/cloud/cloud.cfg.d/01_locale.cfg"
rm -f "$tree"/etc/ssh/ssh_host_* "$tree/etc/machine-id" "$tree/etc/resolv.conf" "$tree/etc/hostname"
: >"$tree/etc/machine-id"
ln -s ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
[ -e "$tree/usr/lib/systemd/systemd-resolved" ] || { rm "$tree/etc/resolv.conf" && echo 'nameserver 10.0.2.3' >"$tree/etc/resolv.conf"; }

if [ "$layout" = zboot ]; then
    python3 - "$tree/boot/vmlinuz-$version" <<'END'
import struct
import subprocess
import sys

with open(sys.argv[1], "rb") as f:
    image = f.read()
data = subprocess.run(["zstd", "-qc", "-19"], input=image, capture_output=True, check=True).stdout
head = struct.pack("<2sH4sIIQ32sII", b"MZ", 0, b"zimg", 512, len(data), 0, b"zstd", 0, 64)
with open(sys.argv[1], "wb") as f:
    f.write((head + b"PE\0\0" + struct.pack("<H", 0xAA64)).ljust(512, b"\0") + data)
END
fi

# menu PREFIX UUID: what grub-mkconfig writes, for files below PREFIX of the file system UUID.
menu() {
    cat <<END
set default="0"
if [ x"\${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function load_video {
  insmod all_video
}
set timeout=0
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux \$menuentry_id_option 'gnulinux-simple-$root_uuid' {
	load_video
	insmod gzio
	insmod part_gpt
	insmod ext2
	search --no-floppy --fs-uuid --set=root $2
	echo	'Loading Linux $version ...'
	linux	$1/vmlinuz-$version $arguments
	echo	'Loading initial ramdisk ...'
	initrd	$1/initrd.img-$version
}
END
}

esp=$tmp/esp
mkdir -p "$esp/EFI/BOOT" "$esp/EFI/debian"
case $layout in
plain | zboot)
    menu /boot $root_uuid >"$tree/boot/grub/grub.cfg"
    printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' $root_uuid >"$esp/EFI/debian/grub.cfg"
    ;;
boot)
    menu '' $boot_uuid >"$tree/boot/grub/grub.cfg"
    printf 'search.fs_uuid %s root\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n' $boot_uuid >"$esp/EFI/debian/grub.cfg"
    ;;
bls)
    rmdir "$tree/boot/grub" 2>/dev/null || rm -rf "$tree/boot/grub"
    mkdir -p "$tree/boot/loader/entries"
    printf '%s\n' 'title Debian GNU/Linux' "version $version" "linux /vmlinuz-$version" "initrd /initrd.img-$version" \
        "options $arguments" >"$tree/boot/loader/entries/debian-$version.conf"
    ;;
esac
TMPDIR=$tmp "$root/tests/arm64.sh" "$pipit_aarch64" chroot "$tree" grub-mkimage -O arm64-efi -p /EFI/debian -o /tmp/grub.efi \
    part_gpt fat ext2 search search_fs_uuid configfile normal linux gzio echo test all_video
mv "$tree/tmp/grub.efi" "$esp/EFI/BOOT/BOOTAA64.EFI"

# filesystem TREE FILE MIB UUID
filesystem() {
    truncate -s "$3M" "$2"
    mke2fs -q -F -t ext4 -U "$4" -E lazy_itable_init=1 -d "$1" "$2"
}

truncate -s 124M "$tmp/esp.fs"
mkfs.vfat -i $esp_id "$tmp/esp.fs" >/dev/null
mcopy -s -i "$tmp/esp.fs" "$esp/EFI" ::
disk=$tmp/disk.raw
case $layout in
plain | zboot)
    filesystem "$tree" "$tmp/root.fs" 1900 $root_uuid
    truncate -s 2048M "$disk"
    sfdisk -q "$disk" <<END
label: gpt
15: start=1MiB, size=124MiB, type=uefi, uuid=$esp_part
1: start=125MiB, size=1900MiB, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, uuid=$root_part
END
    dd if="$tmp/esp.fs" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$tmp/root.fs" of="$disk" bs=1M seek=125 conv=notrunc,sparse status=none
    ;;
boot | bls)
    mv "$tree/boot" "$tmp/boot"
    mkdir -p "$tree/boot"
    filesystem "$tree" "$tmp/root.fs" 1500 $root_uuid
    filesystem "$tmp/boot" "$tmp/boot.fs" 300 $boot_uuid
    truncate -s 2048M "$disk"
    sfdisk -q "$disk" <<END
label: gpt
1: start=1MiB, size=124MiB, type=uefi, uuid=$esp_part
2: start=125MiB, size=300MiB, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, uuid=$boot_part
3: start=425MiB, size=1500MiB, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, uuid=$root_part
END
    dd if="$tmp/esp.fs" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$tmp/boot.fs" of="$disk" bs=1M seek=125 conv=notrunc,sparse status=none
    dd if="$tmp/root.fs" of="$disk" bs=1M seek=425 conv=notrunc,sparse status=none
    ;;
esac
"$img" convert -c -O qcow2 "$disk" "$tmp/disk.qcow2"
mv "$tmp/disk.qcow2" "$out/$layout.qcow2"
echo "$stamp" >"$out/$layout.stamp"
echo "image: $out/$layout.qcow2, $(du -h "$out/$layout.qcow2" | cut -f1), kernel $version"
