#!/bin/bash
# limit: 120
# What the x86-64 machine cannot be started with: each ends in one sentence on standard error and an exit status of its own.
# /dev/kvm is taken away, closed, or replaced in mount namespaces of the test's own. Nothing here runs a guest: the last
# checks, of machines and kernels, need a KVM that may be opened, whatever it can run.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
cache=${PIPIT_CACHE:-$root/.cache}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir" || exit 1
bad=0

# says NAME STATUS TEXT COMMAND...: the command ends with STATUS, prints nothing on stdout and, on stderr, one line that
# begins as ours do and has TEXT.
says() {
    local name=$1 status=$2 text=$3 got
    shift 3
    timeout -k 5 20 "$@" >out 2>err </dev/null
    got=$?
    if [ "$got" = "$status" ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -q '^pipit: error: ' err && grep -qF -e "$text" err; then
        echo "ok $name: $(cat err)"
        return
    fi
    cat out err
    echo "FAIL $name: status $got; wanted $status and one line with \"$text\""
    bad=1
}

# A 64-bit kernel of one instruction, as ELF.
python3 - <<'P'
import struct
code = b"\xf4".ljust(64, b"\x90")
def elf(cls, machine):
    if cls == 2:
        head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, 0x100000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        ph = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, 0x100000, 0x100000, len(code), len(code), 0x1000)
    else:
        head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, machine, 1, 0x100000, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        ph = struct.pack("<IIIIIIII", 1, 0x1000, 0x100000, 0x100000, len(code), len(code), 7, 0x1000)
    return (head + ph).ljust(0x1000, b"\0") + code
open("vmlinux", "wb").write(elf(2, 62))
open("vmlinux-32", "wb").write(elf(1, 3))
open("vmlinux-arm64", "wb").write(elf(2, 183))

# A bzImage with (64) or without the 64-bit entry point, 64 KiB of it, and what its header says of its length.
def bzimage(flags, version=0x20f):
    setup = bytearray(1024)
    setup[0x1f1] = 1
    struct.pack_into("<I", setup, 0x1f4, 65536 // 16)
    struct.pack_into("<HH4sH", setup, 0x1fe, 0xaa55, 0x6aeb, b"HdrS", version)
    setup[0x211] = 1
    struct.pack_into("<I", setup, 0x214, 0x100000)
    struct.pack_into("<I", setup, 0x22c, 0x7fffffff)
    struct.pack_into("<IBBHI", setup, 0x230, 0x100000, 0, 20, flags, 2047)
    struct.pack_into("<QI", setup, 0x258, 0x100000, 0x100000)
    return bytes(setup) + b"\xf4" * 65536
whole = bzimage(1)
open("bzimage", "wb").write(whole)
open("bzimage-32", "wb").write(bzimage(0))
open("bzimage-old", "wb").write(bzimage(0, 0x20b))
for name, n in (("head", 0x230), ("setup", 800), ("payload", 30000), ("byte", len(whole) - 1)):
    open("cut-" + name, "wb").write(whole[:n])
open("image", "wb").write(struct.pack("<IIQQQQQQII", 0x14000000, 0, 0x80000, 0x1000, 0xa, 0, 0, 0, 0x644d5241, 0).ljust(4096, b"\0"))
P
chmod 644 ./*
run=("$pipit" run --machine micro --net none)

# ---- /dev/kvm ----
# ./in_dev SCRIPT COMMAND...: with a /dev of its own that has the usual nodes and no kvm; SCRIPT, as root, changes that before
# COMMAND runs. Without root that is so in a user namespace too.
cat >in_dev <<'S'
#!/bin/bash
namespace=()
[ "$(id -u)" = 0 ] || namespace=(--user --map-root-user)
exec unshare "${namespace[@]}" --mount --propagation private bash -c '
    set -e
    script=$1
    shift
    mkdir -p dev
    mount -t tmpfs none dev
    for n in null zero full random urandom tty; do
        : >dev/$n
        mount --bind /dev/$n dev/$n
    done
    mkdir dev/shm
    mount --rbind dev /dev
    eval "$script"
    exec "$@"' - "$@"
S
chmod 755 in_dev
if ./in_dev '' true 2>/dev/null; then
    says no-kvm 10 'there is no /dev/kvm' ./in_dev '' "${run[@]}" --kernel vmlinux
    says no-kvm-asked-for 10 'there is no /dev/kvm' ./in_dev '' "${run[@]}" --kernel vmlinux --accel kvm
    # What opens and is no KVM.
    says not-kvm 10 '/dev/kvm is not KVM' ./in_dev ': >/dev/kvm; mount --bind /dev/null /dev/kvm' "${run[@]}" --kernel vmlinux
    # A file that only its owner may open, and one for a group, by somebody else with no capability.
    nobody=(setpriv --bounding-set=-all --inh-caps=-all)
    [ "$(id -u)" != 0 ] || nobody+=(--reuid=65534 --regid=65534 --clear-groups)
    says closed-kvm 11 '/dev/kvm may not be opened by this user' ./in_dev ': >/dev/kvm; chmod 0 /dev/kvm' "${nobody[@]}" "${run[@]}" --kernel vmlinux
    if [ "$(id -u)" = 0 ]; then
        group=$(getent group | awk -F: '$3 > 0 && $3 < 65534 { print $1; exit }')
        says group-kvm 11 "only members of the group $group may" ./in_dev ": >/dev/kvm; chgrp $group /dev/kvm; chmod 660 /dev/kvm" \
            "${nobody[@]}" "${run[@]}" --kernel vmlinux
    else
        echo 'skip group-kvm: only root can give a file to another group'
    fi
else
    echo 'skip no-kvm: this user makes no mount namespaces'
fi

# ---- another accelerator ----
says no-jit 13 'the JIT cannot run this guest' "${run[@]}" --kernel vmlinux --accel jit

# ---- machines and kernels ----
kvm=$("$root/tests/host.sh" kvm)
case $kvm in
hardware* | software*)
    says memory-machine 15 'of memory' "${run[@]}" --kernel vmlinux --memory 1048576G
    says memory-host 15 'this host has' "${run[@]}" --kernel vmlinux \
        --memory "$(awk '/^(MemTotal|SwapTotal)/ { n += $2 } END { print int(n / 1048576) + 8 }' /proc/meminfo)G"
    says cpus-machine 14 'CPUs' "${run[@]}" --kernel vmlinux --cpus 100000
    says bzimage-32 16 '32-bit' "${run[@]}" --kernel bzimage-32
    says bzimage-old 1 'too old' "${run[@]}" --kernel bzimage-old
    says vmlinux-32 16 '32-bit' "${run[@]}" --kernel vmlinux-32
    for cut in head setup payload byte; do
        says truncated-$cut 17 "cut-$cut is truncated" "${run[@]}" --kernel cut-$cut
    done
    says arm64-image 18 'arm64' "${run[@]}" --kernel image
    says arm64-elf 18 'arm64' "${run[@]}" --kernel vmlinux-arm64
    # Debian's own.
    if "$root/tools/guest.sh" arm64 && "$root/tools/guest.sh" amd64; then
        says arm64-debian 18 'arm64' "${run[@]}" --kernel "$cache/guest/vmlinuz"
        head -c 5000000 "$cache/guest-amd64/vmlinuz" >debian-cut
        says truncated-debian 17 'debian-cut is truncated' "${run[@]}" --kernel debian-cut
        says memory-kernel 15 'vmlinuz' "${run[@]}" --kernel "$cache/guest-amd64/vmlinuz" --memory 16M
    else
        echo 'FAIL debian: the kernels could not be fetched'
        bad=1
    fi
    ;;
*) echo "skip machines-and-kernels: kvm: $kvm" ;;
esac
exit $bad
