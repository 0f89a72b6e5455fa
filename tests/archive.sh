#!/bin/bash
# Makes the package archive that arm64 root filesystems are built from without a network: .cache/archive, laid out as
# Debian's archives are, with the host's release in one suite (its updates among it) and what these need: a debootstrap
# of the standard variant, vim, gcc, python3, perl, openssl and sqlite3, with what they recommend.
#
# The packages are fetched once, with apt's signature checks (tools/apt.sh); the archive itself is not signed. What is
# there already is kept until the list or the host's release changes; remove the folder for newer packages.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
out=$cache/archive
wanted=(vim gcc python3-minimal perl-base openssl sqlite3)

mkdir -p "$cache"
exec 9>"$out.lock"
flock 9
. "$root/tools/apt.sh"
stamp=$({ cat "$0" && echo "$apt_release"; } | sha256sum | cut -d' ' -f1)
[ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

echo "archive: fetching what an arm64 Debian $apt_release with ${wanted[*]} is made of"
apt_private "$cache/apt-arm64" arm64
apt_get update || echo 'archive: some package lists could not be read; going on with the others' >&2
apt_get clean
# What debootstrap takes is not all that apt would, and the other way round; the archive has both.
apt_get install -y --download-only --no-install-recommends '?essential' '?priority(required)' '?priority(important)' \
    usr-is-merged "${wanted[@]}" >/dev/null
apt_get install -y --download-only --install-recommends apt "${wanted[@]}" >/dev/null

rm -rf "$out.new"
main=dists/$apt_release/main/binary-arm64
mkdir -p "$out.new/pool" "$out.new/$main"
mv "$apt_dir"/cache/archives/*.deb "$out.new/pool/"
cd "$out.new"
dpkg-scanpackages --arch arm64 pool 2>/dev/null >$main/Packages
gzip -9nk $main/Packages
cd "dists/$apt_release"
{
    printf '%s\n' 'Origin: pipit' 'Label: pipit' "Suite: $apt_release" "Codename: $apt_release" 'Architectures: arm64' \
        'Components: main' 'Date: Thu, 01 Jan 1970 00:00:00 UTC' 'SHA256:'
    for f in main/binary-arm64/Packages main/binary-arm64/Packages.gz; do
        echo " $(sha256sum <$f | cut -d' ' -f1) $(stat -c %s $f) $f"
    done
} >Release
echo "$stamp" >"$out.new/stamp"
rm -rf "$out"
mv "$out.new" "$out"
