#!/bin/bash
# Gets what a build for another architecture compiles and links against, and what its programs run with under user-mode
# emulation: the C library and pipit's libraries, headers and shared objects, as Debian's packages of that architecture
# have them, unpacked into .cache/sysroot-ARCH.
#
#   tools/sysroot.sh [arm64]
#
# The packages come as in tools/guest.sh: from the archives that this host's apt uses, with apt's signature checks,
# without the host's dpkg and without root. What is there already is kept, until this script asks for other packages or
# the host's release is another; remove the folder for newer ones. PIPIT_CACHE names another place for .cache/.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
arch=${1:-arm64}
case $arch in
arm64) triplet=aarch64-linux-gnu ;;
*)
    echo 'usage: tools/sysroot.sh [arm64]' >&2
    exit 2
    ;;
esac
out=$cache/sysroot-$arch
dev='libc6-dev linux-libc-dev libfdt-dev libseccomp-dev liburing-dev libslirp-dev zlib1g-dev libzstd-dev libext2fs-dev'

# The shared libraries that packages $@ need, themselves and in turn, and no program beside them.
libraries() {
    apt_cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
        grep -xE '(lib|zlib1g).*' | grep -vE -- '-(dev|bin|data|common|perl)$' | sort -u
}

# apt unpacks nothing that it cannot install; /lib is a link into /usr before the first package comes, as in any Debian,
# and a link to an absolute path would leave the sysroot.
unpack() {
    local tree=$1 deb link to
    mkdir -p "$tree/usr/lib"
    ln -s usr/lib "$tree/lib"
    for deb in "$tree"/packages/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -C "$tree" -x --no-same-owner --keep-directory-symlink --exclude=./usr/share
    done
    find "$tree" -type l -lname '/*' | while read -r link; do
        to=$(readlink "$link")
        ln -sfnr "$tree$to" "$link"
    done
    rm -rf "$tree/packages"
}

fetch() {
    local tree=$out.new run
    . "$root/tools/apt.sh"
    apt_private "$cache/apt-$arch" "$arch"
    apt_get update || echo 'sysroot: some package lists could not be read; going on with the others' >&2
    # shellcheck disable=SC2086
    run=$(apt_cache depends --important $dev | sed -n 's/^ *|\{0,1\}Depends: //p' | grep -xE '(lib|zlib1g)[^<>]*' |
        grep -vE -- '-(dev|bin)$' | sort -u)
    # shellcheck disable=SC2086
    run=$(libraries $run)
    echo "sysroot: fetching" $dev $run "($arch)"
    rm -rf "$tree"
    mkdir -p "$tree/packages"
    # shellcheck disable=SC2086
    (cd "$tree/packages" && apt_get download $dev $run)
    unpack "$tree"
    [ -e "$tree/usr/lib/$triplet/libc.so.6" ] || {
        echo "sysroot: the packages hold no C library for $triplet" >&2
        return 1
    }
    echo "$stamp" >"$tree/stamp"
    rm -rf "$out"
    mv "$tree" "$out"
}

mkdir -p "$cache"
exec 9>"$out.lock"
flock 9
stamp=$({ cat "$0" && . /etc/os-release && echo "${VERSION_CODENAME:-}"; } | sha256sum | cut -d' ' -f1)
[ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ] || fetch
