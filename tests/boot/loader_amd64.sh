#!/bin/bash
# Debian's amd64 cloud kernel, whole and cut, in the x86 loader under the sanitizers. Nothing is booted.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/guest.sh amd64
if out=$(build/asan/tests/unit/loader_x86_test "${PIPIT_CACHE:-$PWD/.cache}/guest-amd64/vmlinuz" 2>&1); then
    printf '%s\n' "$out" | grep '^  '
    echo 'ok loader_amd64'
else
    printf '%s\n' "$out"
    echo "FAIL loader_amd64: the kernel is not loaded as it should be"
    exit 1
fi
