#!/bin/bash
# make run: builds pipit, gets Debian's arm64 kernel, and boots it. On a terminal it is a shell with a scratch disk and
# the user network; without one the guest checks its devices, and each item is reported.
# CPUS, MEMORY (MiB) and PIPIT (another binary, qemu-system-aarch64 too) may be set.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}
. "$root/tools/launch.sh"

[ "$PIPIT" != "$root/build/release/pipit" ] || make -s -C "$root" -j"$(nproc)" MODE=release all
"$root/tools/guest.sh"

if [ -t 0 ] && [ -t 1 ]; then
    disk=$cache/run-disk.img
    [ -e "$disk" ] || truncate -s 1G "$disk"
    vm_command "$cache/guest/vmlinuz" "$cache/guest/initrd.img" console=ttyAMA0 "$disk" "${CPUS:-2}" "${MEMORY:-1024}"
    exec "${vm[@]}"
fi
vm_command "$cache/guest/vmlinuz" "$cache/guest/initrd.img" 'console=ttyAMA0 pipit.check=@CHECK@' @DISK@ "${CPUS:-2}" "${MEMORY:-1024}"
exec python3 "$root/tools/selfcheck.py" "${vm[@]}"
