#!/bin/bash
# limit: 120
# Command lines that must end in one clear sentence on standard error, the right status, and nothing left behind.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
dir=$(mktemp -d)
holder=
trap '[ -z "$holder" ] || kill "$holder" 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
ln -s "$pipit" qemu-system-aarch64
bad=0

# says NAME STATUS TEXT COMMAND...: the command ends with STATUS, prints nothing on stdout and, on stderr, one line that
# has TEXT.
says() {
    local name=$1 status=$2 text=$3 got
    shift 3
    timeout -k 5 20 "$@" >out 2>err </dev/null
    got=$?
    if [ "$got" != "$status" ]; then
        cat out err
        echo "FAIL $name: status $got, not $status"
    elif [ -s out ] || [ "$(wc -l <err)" != 1 ]; then
        cat out err
        echo "FAIL $name: not one line on standard error"
    elif ! grep -qF -e "$text" err; then
        cat err
        echo "FAIL $name: its sentence has no \"$text\""
    else
        echo "ok $name"
        return
    fi
    bad=1
}

# An arm64 kernel of one instruction, a branch to itself.
image() {
    python3 - "$1" <<'P'
import struct, sys
head = struct.pack("<IIQQQQQQII", 0x14000000, 0, 0x80000, 0x1000, 0xa, 0, 0, 0, 0x644d5241, 0)
open(sys.argv[1], "wb").write(head.ljust(0x1000, b"\0"))
P
}
image Image
head -c 1M /dev/urandom >garbage
head -c 20 Image >short
truncate -s 1M disk.img
printf 'QFI\373\0\0\0\3' >qcow2.img
truncate -s 1M qcow2.img
mkdir folder
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

says no-command 2 '"frob" is no command' "$pipit" frob
says near-command 2 'did you mean run' "$pipit" rum
says unknown-option 2 '--kernal is not known; did you mean --kernel' "$pipit" run --kernal x
says bad-memory 2 '--memory much' "$pipit" run --kernel Image --memory much
says bad-cpu 2 'CPU model z80' "$pipit" run --kernel Image --cpu z80
says bad-pin 2 '--pin x is not a list of host CPUs' "$pipit" run --kernel Image --pin x
says far-pin 2 '--pin: host CPU 8191 is not there' "$pipit" run --kernel Image --pin 8191
says pin-count 2 '2 host CPUs to pin 1 vCPUs' "$pipit" run --kernel Image --pin 0,1
if [ "$(uname -m)" = x86_64 ]; then
    says kvm-other-arch 13 'KVM cannot run this guest: it is for arm64, and this host is x86-64' "$pipit" run --kernel Image --accel kvm
    says qemu-kvm-other-arch 1 'KVM cannot run this guest' ./qemu-system-aarch64 -M virt -kernel Image -enable-kvm
else
    says no-jit 13 'the JIT is not in this pipit' "$pipit" run --kernel Image --accel jit
fi
says no-kernel 2 'no kernel' "$pipit" run
says named-machine 1 'pipit[vm1]: error: ' "$pipit" run --kernel nothing-there --name vm1
says missing-kernel 1 'nothing-there' "$pipit" run --kernel nothing-there
says folder-kernel 1 'folder' "$pipit" run --kernel folder
says garbage-kernel 17 'garbage' "$pipit" run --kernel garbage
says truncated-kernel 17 'short' "$pipit" run --kernel short
says missing-initrd 1 'no-initrd' "$pipit" run --kernel Image --initrd no-initrd
says missing-disk 1 'no-disk' "$pipit" run --kernel Image --disk no-disk
says folder-disk 1 'folder' "$pipit" run --kernel Image --disk folder
says qcow2-disk 1 'its cluster size of' "$pipit" run --kernel Image --disk qcow2.img
says disk-twice 1 'disk.img' "$pipit" run --kernel Image --disk disk.img --disk disk.img
says unwritable-log 1 'no-folder/log' "$pipit" run --kernel Image --log no-folder/log
says unwritable-dtb 1 'no-folder/dtb' "$pipit" run --kernel Image --dump-dtb no-folder/dtb
says unwritable-pidfile 1 'no-folder/pid' "$pipit" run --kernel Image --net none --pidfile no-folder/pid
huge=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)
says no-huge-pages 15 'huge pages' "$pipit" run --kernel Image --memory $((huge * 2 + 64)) --huge-pages hugetlb
says too-many-cpus 14 '9 CPUs' "$pipit" run --kernel Image --cpus 9
says too-much-memory 15 'machine virt has room for 261120 MiB' "$pipit" run --kernel Image --memory 256G
says qemu-too-many-cpus 1 '9 CPUs' "$pipit" qemu -kernel Image -smp 9
says qemu-board 1 'machine raspi3b is not supported' ./qemu-system-aarch64 -M raspi3b -kernel Image
says qemu-option 1 'option -xyz is not supported' ./qemu-system-aarch64 -M virt -xyz
says qemu-kernel 1 'no kernel' ./qemu-system-aarch64 -M virt
says qemu-word 1 'addr' "$pipit" qemu -kernel Image -device virtio-rng-pci,addr=3
says huge-memory 15 'this host has' "$pipit" run --kernel Image --memory 255G

if [[ $("$pipit" --version) == *+user-network* ]]; then
    python3 -c '
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()
open("bound", "w").close()
time.sleep(60)' "$free" &
    holder=$!
    for _ in $(seq 100); do
        [ ! -e bound ] || break
        sleep 0.1
    done
    says port-in-use 1 "$free" "$pipit" run --kernel Image --publish "127.0.0.1:$free:22"
else
    echo 'skip port-in-use: this build has no user network'
fi

rm -f bound
if [ "$(ls | xargs)" = 'Image disk.img err folder garbage out qcow2.img qemu-system-aarch64 short' ]; then
    echo 'ok nothing-left-behind'
else
    ls -l
    echo 'FAIL nothing-left-behind: the folder has other files'
    bad=1
fi
exit $bad
