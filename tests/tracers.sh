#!/bin/bash
# Makes .cache/tracers/tree: Debian arm64 of the host's release with strace and gdb, and dash to have something traced.
# As tests/rootfs.sh does, mmdebstrap unpacks the packages and runs none of their scripts. What is there already is kept
# until the list changes.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
out=$cache/tracers
packages=base-files,dash,coreutils,strace,gdb,libpython3-stdlib,libc6

mkdir -p "$out"
exec 9>"$cache/tracers.lock"
flock 9

[ "$(cat "$out/packages" 2>/dev/null)" != "$packages" ] || exit 0
. "$root/tools/apt.sh"
echo "tracers: fetching Debian $apt_release arm64 with $packages"
mode=unshare
! [ "$(id -u)" = 0 ] || mode=root
apt_sources >"$out/host.sources"
mmdebstrap --quiet --mode=$mode --architectures=arm64 --variant=extract --skip=check/qemu,output/dev \
    --include="$packages" --format=tar "$apt_release" "$out/tree.tar.new" "$out/host.sources" </dev/null >"$out/log" 2>&1 || {
    cat "$out/log" >&2
    exit 1
}
rm -rf "$out/tree.new" "$out/tree"
mkdir -p "$out/tree.new"
tar -C "$out/tree.new" --no-same-owner -xf "$out/tree.tar.new"
rm -f "$out/tree.tar.new"
mkdir -p "$out/tree.new"/{dev,proc,sys,tmp,run,mnt}
[ -e "$out/tree.new/bin/sh" ] || ln -s dash "$out/tree.new/bin/sh"
mv "$out/tree.new" "$out/tree"
echo "$packages" >"$out/packages"
