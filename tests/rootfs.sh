#!/bin/bash
# Makes the disk that programs are compared on: .cache/rootfs/disk.img, an ext4 file system with Debian arm64 of the
# host's release, and python3, perl, sqlite3, xz, zstd, openssl and gcc in it.
#
# None of the packages' scripts is run; what they would have done for these programs is little, and done here. The
# programs' work (tests/rootfs/) is in the disk's /programs. What is there already is kept until the list or the work changes.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
out=$cache/rootfs
packages=base-files,bash,coreutils,dash,findutils,grep,sed,python3-minimal,libpython3-stdlib,perl,sqlite3,xz-utils,zstd,openssl,gcc,libc6-dev,diffutils

mkdir -p "$out"
exec 9>"$cache/rootfs.lock"
flock 9

if [ "$(cat "$out/packages" 2>/dev/null)" != "$packages" ]; then
    . "$root/tools/apt.sh"
    apt_extract "$out/tree.tar" "$packages"
    echo "$packages" >"$out/packages"
    rm -f "$out/stamp"
fi

stamp=$(cat "$0" "$root"/tests/rootfs/* "$out/packages" | sha256sum)
if [ ! -s "$out/disk.img" ] || [ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ]; then
    tree=$out/tree
    rm -rf "$tree" "$out/disk.img"
    mkdir -p "$tree"
    tar -C "$tree" --no-same-owner -xf "$out/tree.tar"
    mkdir -p "$tree"/{dev,proc,sys,tmp,run,programs}
    [ -e "$tree/bin/sh" ] || ln -s dash "$tree/bin/sh"
    cp "$root"/tests/rootfs/* "$tree/programs/"
    truncate -s 2G "$out/disk.new"
    /sbin/mke2fs -q -F -t ext4 -L pipit-rootfs -E root_owner=0:0,lazy_itable_init=1 -d "$tree" "$out/disk.new"
    mv "$out/disk.new" "$out/disk.img"
    echo "$stamp" >"$out/stamp"
fi
