#!/bin/bash
# mmdebstrap.sh TAR: makes an arm64 root filesystem with a compiler and interpreters out of the local archive
# (tests/archive.sh), as its one tar. Runs where arm64 programs are started by the kernel (tests/arm64.sh). The times of
# files are fixed, so that what two emulators make can be compared.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
archive=${PIPIT_CACHE:-$root/.cache}/archive
suite=$(sed -n 's/^Codename: //p' "$archive"/dists/*/Release)
export SOURCE_DATE_EPOCH=1700000000
TMPDIR=$(dirname "$1")
export TMPDIR
exec mmdebstrap --mode=root --arch=arm64 --include=python3-minimal,gcc,perl-base,openssl,sqlite3 "$suite" "$1" \
    "deb [trusted=yes] copy://$archive $suite main"
