#!/bin/bash
# Installs the Debian packages that a make target needs and that are missing: tools/deps.sh build|cross|run|test|check|bench.
# Debian 12 and 13. Asks nothing, and does nothing, not even ask the archive, when all are there.
set -euo pipefail

build='gcc libc6-dev make pkgconf libfdt-dev libseccomp-dev liburing-dev libslirp-dev zlib1g-dev libzstd-dev libext2fs-dev'
cross='gcc-aarch64-linux-gnu libc6-dev-arm64-cross make pkgconf'
run="$build cpio gzip xz-utils python3"
native='perl sqlite3 xz-utils zstd openssl'
test="$run $native clang libclang-rt-dev $cross qemu-user qemu-system-arm qemu-system-x86 qemu-utils
      acpica-tools device-tree-compiler iproute2 mmdebstrap mount procps strace gdb-multiarch e2fsprogs lz4 debootstrap arch-test
      dpkg-dev openssh-client genisoimage libarchive-tools util-linux dosfstools mtools fdisk passt"
check="$build git clang clang-format clang-tidy python3"
bench="$test"

case ${1:-build} in
build | cross | run | test | check | bench) want=${!1:-$build} ;;
*)
    echo "usage: tools/deps.sh [build|cross|run|test|check|bench]" >&2
    exit 2
    ;;
esac

# A package counts as there under another name that provides it (pkgconf for pkg-config, and the like).
missing=$(
    have=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Provides}\n' | sed -n 's/^ii  *//p' | tr -d ',' |
        sed 's/([^)]*)//g' | tr -s ' ' '\n' | sort -u)
    comm -23 <(tr -s ' \n' '\n' <<<"$want" | sort -u) <(printf '%s\n' "$have") | tr '\n' ' '
)
missing=${missing% }
[ -n "${missing# }" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "pipit needs these packages, and this user can't install them: $missing" >&2
        exit 1
    fi
    as_root='sudo'
    [ -t 0 ] || as_root='sudo -n'
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
        -o Dpkg::Use-Pty=0 "$@"
}

echo "installing: $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086
if ! apt install --no-install-recommends $missing >"$log" 2>&1; then
    # No package lists yet, or lists older than the archive.
    apt update >"$log" 2>&1 || true
    apt install --no-install-recommends $missing >"$log" 2>&1 || {
        cat "$log" >&2
        echo "could not install: $missing" >&2
        exit 1
    }
fi
