#!/bin/bash
# Gets Debian's UEFI firmware for arm64 virtual machines: .cache/firmware/AAVMF_CODE.fd, AAVMF_VARS.fd and QEMU_EFI.fd, of
# the package qemu-efi-aarch64, with apt's signature checks (tools/apt.sh). What is there already is kept: remove the
# folder for a newer package.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
out=$cache/firmware

mkdir -p "$cache"
exec 9>"$out.lock"
flock 9
[ ! -s "$out/QEMU_EFI.fd" ] || exit 0

. "$root/tools/apt.sh"
echo 'firmware: fetching qemu-efi-aarch64'
apt_private "$cache/apt-arm64" arm64
apt_get update || echo 'firmware: some package lists could not be read; going on with the others' >&2
rm -rf "$out"
mkdir -p "$out/tree"
(cd "$out" && apt_get download qemu-efi-aarch64)
dpkg-deb -x "$out"/*.deb "$out/tree"
# Mostly zeroes: what is none of them takes two MiB.
cp --sparse=always "$out"/tree/usr/share/AAVMF/AAVMF_CODE.fd "$out"/tree/usr/share/AAVMF/AAVMF_VARS.fd "$out"
cp "$out/tree/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" "$out/QEMU_EFI.new"
rm -rf "$out/tree" "$out"/*.deb
mv "$out/QEMU_EFI.new" "$out/QEMU_EFI.fd"
