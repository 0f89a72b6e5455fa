#!/bin/bash
# limit: 1000
# The x86-64 machine by a KVM that runs kernels, whatever this host has: pipit in a Debian guest with /dev/kvm under QEMU's
# emulated SVM (nested.sh). There
#
#   the programs tests/kvm/*_test run;
#   Debian's amd64 cloud kernel, unmodified, finds disk, network, entropy and console through ACPI and checks them: the
#   disk's file is compared with what it says it read and wrote, and it speaks over TCP with a listener beside pipit;
#   a detached machine's guest gets the press of the power button that `pipit stop` is;
#   the same kernel boots with 2 vCPUs, and by its PVH entry when it is taken out of its bzImage; both power off.
#
# Nothing on the inner command lines is for the test's sake but `quiet`: each character on the 16550 leaves the guest twice.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
out=$root/build/nested/x86.out
nonce=$(head -c 16 /dev/urandom | sha256sum | head -c 32) word=$(head -c 16 /dev/urandom | sha256sum | head -c 32)
. "$here/nested.sh"
. "$here/boots.sh"
bad=0

# vmlinux BZIMAGE: the ELF file in it (Documentation/arch/x86/boot.rst, payload_offset). lz4 ends with a complaint: behind the
# stream is its length.
vmlinux() {
    python3 - "$1" <<'P'
import struct, subprocess, sys
data = open(sys.argv[1], "rb").read()
offset, length = struct.unpack_from("<II", data, 0x248)
begin = ((data[0x1F1] or 4) + 1) * 512 + offset
payload = data[begin : begin + length]
tools = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz"}
tool = [t for magic, t in tools.items() if payload.startswith(magic)]
elf = subprocess.run([*tool, "-dc"], input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout if tool else b""
sys.stdout.buffer.write(elf)
sys.exit(not elf.startswith(b"\x7fELF"))
P
}

# button_initrd FILE: the guest's initramfs, whose first process tells of the power button, and powers off.
button_initrd() {
    local tree=$nested_dir/button m
    rm -rf "$tree"
    mkdir -p "$tree"
    for m in evdev button; do
        nested_tree=$tree nested_add "$(find "$nested_cache/tree/" -name "$m.ko*" | head -n 1)" "/$m.ko" || return
    done
    install -m 755 "$here/button_init" "$tree/init"
    cp "$nested_cache/initrd.img" "$1"
    truncate -s %4 "$1"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) >>"$1"
}

start=$SECONDS
nested_begin x86 || { echo 'FAIL outer: no amd64 guest' && exit 1; }
nested_add_program "$pipit" /bin/pipit
for t in "$root"/build/release/tests/kvm/*_test; do
    [ ! -x "$t" ] || nested_add_program "$t" "/tests/${t##*/}"
done
nested_add "$nested_cache/vmlinuz" /guest/vmlinuz
if vmlinux "$nested_cache/vmlinuz" >"$nested_dir/vmlinux"; then
    nested_add "$nested_dir/vmlinux" /guest/vmlinux
else
    rm -f "$nested_dir/vmlinux"
    echo "FAIL vmlinux-taken-out: the bzImage's payload is none that lz4, zstd, gzip and xz know"
    bad=1
fi
nested_add "$nested_cache/initrd.img" /guest/initrd.img
button_initrd "$nested_dir/button.img" && nested_add "$nested_dir/button.img" /guest/button.img
nested_add "$here/outer_boots" /outer_boots
nested_add "$here/outer_x86" /outer_x86
nested_run "sh /outer_x86 $nonce $word" 400 "$out" || { echo 'FAIL outer: it did not finish' && exit 1; }
grep -o 'outer: .*' "$out/console"

programs nested "$root"/build/release/tests/kvm/*_test
item button-stop [ "$(read_out button.status)" = 0 ] -- "exit status $(read_out button.status), $(read_out button.err)"
item button-pressed grep -q 'button: pressed' "$out/button.out" -- "the guest said $(tail -n 3 "$out/button.out")"
item button-said grep -q 'power button is pressed' "$out/button.err" -- "$(read_out button.err)"
checked check 1 'LNRO0005:0[0-3]'
boot smp 2
boot vmlinux 1
[ ! -e "$out/aloud.out" ] || tail -n 60 "$out/aloud.out"
echo "  all of it took $((SECONDS - start)) s"
exit $bad
