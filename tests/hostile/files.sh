#!/bin/bash
# limit: 120
# Kernels, initramfs files and disks that are cut, garbage, missing, unreadable or in use; ports in use: pipit says in
# one line which file or port and what is wrong, and ends with the status of that cause, or runs on and ends with 0 where
# that is what real hardware would do.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
kernel=${PIPIT_CACHE:-$root/.cache}/guest/vmlinuz
dir=$(mktemp -d)
holders=()
trap 'for h in "${holders[@]}"; do kill "$h" 2>/dev/null; wait "$h" 2>/dev/null; done; rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir" || exit 1
bad=0

fail() {
    head -c 2000 out err
    echo "FAIL $1"
    bad=1
}

memory=15 damaged=17 other=18 # enum err_status

# [status=N] says NAME TEXT COMMAND...: status N or 1, nothing on stdout, one line on stderr, which has TEXT.
says() {
    local name=$1 text=$2 want=${status:-1} got
    shift 2
    timeout -k 5 20 "$@" >out 2>err </dev/null
    got=$?
    if [ $got != "$want" ] || [ -s out ] || [ "$(wc -l <err)" != 1 ] || ! grep -qF -e "$text" err; then
        fail "$name: status $got, or not one line with \"$text\""
    else
        echo "ok $name"
    fi
}

# lives NAME SECONDS TEXT COMMAND...: has TEXT (a regular expression) on the console, and still runs after SECONDS, or
# powered off or reset before.
lives() {
    local name=$1 seconds=$2 text=$3 got
    shift 3
    timeout -k 5 "$seconds" "$@" >out 2>err </dev/null
    got=$?
    if { [ $got = 124 ] || [ $got = 0 ] || [ $got = 3 ]; } && grep -aqE "$text" out; then
        echo "ok $name"
    else
        fail "$name: status $got, or no \"$text\""
    fi
}

# A flat program that prints "." and powers off, and an Image of one instruction, a branch to itself.
python3 - <<'P'
import gzip, struct
off = [0xD2800005, 0xF2A12005, 0xD28005C4, 0x390000A4, 0xD2800100, 0xF2B08000, 0xD4000002]
open("off", "wb").write(struct.pack("<7I", *off))
head = struct.pack("<IIQQQQQQII", 0x14000000, 0, 0x80000, 0x1000, 0xa, 0, 0, 0, 0x644d5241, 0)
image = head.ljust(0x1000, b"\0")
open("Image", "wb").write(image)
open("Image.gz", "wb").write(gzip.compress(image + bytes(range(256)) * 400))
P
run=("$pipit" run --net none --memory 64M)
off=("${run[@]}" --kernel off --kernel-format flat)

# --- kernels ---
cut() { # NAME FILE LENGTH...
    local name=$1 file=$2 n
    shift 2
    for n in "$@"; do
        head -c "$n" "$file" >cut-kernel
        [ "$n" = 0 ] && local status=1 || local status=$damaged
        says "kernel-$name-cut-at-$n" cut-kernel "${run[@]}" --kernel cut-kernel
    done
}
cut image Image 0 1 20 63
cut gzip Image.gz 2 20 64 100 $(($(stat -c %s Image.gz) / 2)) $(($(stat -c %s Image.gz) - 4))
if [ -s "$kernel" ]; then
    size=$(stat -c %s "$kernel")
    run=("$pipit" run --net none --memory 256M)
    cut debian "$kernel" 20 63 100 4096 $((size / 2))
    # The same kernel as gzip and, where the tool is there, as an EFI zboot file.
    gzip -1 <"$kernel" >deb.gz
    size=$(stat -c %s deb.gz)
    cut debian-gzip deb.gz 20 64 100 4096 $((size / 2)) $((size - 1))
    python3 - <<'P'
import struct
data = open("deb.gz", "rb").read()
head = bytearray(4096)
head[0:2] = b"MZ"
head[4:8] = b"zimg"
struct.pack_into("<II", head, 8, 4096, len(data))
head[24:29] = b"gzip\0"
struct.pack_into("<I", head, 60, 64)
head[64:68] = b"PE\0\0"
open("zboot", "wb").write(head + data)
P
    size=$(stat -c %s zboot)
    cut zboot zboot 20 64 100 4096 $((size / 2)) $((size - 1))
fi
run=("$pipit" run --net none --memory 64M)
for seed in 1 2 3; do
    head -c 300000 /dev/urandom >random-kernel
    status=$damaged says "kernel-random-$seed" random-kernel "${run[@]}" --kernel random-kernel
    { printf '\037\213\010' && cat random-kernel; } >random-gzip
    status=$damaged says "kernel-random-gzip-$seed" random-gzip "${run[@]}" --kernel random-gzip
    { printf '\050\265\057\375' && cat random-kernel; } >random-zstd
    status=$damaged says "kernel-random-zstd-$seed" random-zstd "${run[@]}" --kernel random-zstd
    { printf '\177ELF\002\001\001' && cat random-kernel; } >random-elf
    status=$other says "kernel-random-elf-$seed" random-elf "${run[@]}" --kernel random-elf
    # Any bytes are a flat program; what it does is the guest's affair.
    timeout -k 5 2 "${run[@]}" --kernel random-kernel --kernel-format flat >out 2>err </dev/null
    case $? in
    0 | 3 | 124 | 143) echo "ok kernel-random-flat-$seed" ;;
    *) fail "kernel-random-flat-$seed: status $?" ;;
    esac
done
says kernel-is-a-device /dev/zero "${run[@]}" --kernel /dev/zero
mkfifo fifo
waits() { # NAME COMMAND...: waits for the FIFO's other end, and a signal ends that
    local name=$1
    shift
    timeout -k 5 1 "$@" >out 2>err </dev/null
    [ $? = 124 ] && echo "ok $name" || fail "$name: SIGTERM did not end it"
}
waits kernel-fifo-without-a-writer "${run[@]}" --kernel fifo
cat off >fifo &
holders+=($!)
lives kernel-fifo 10 '^\.' "${run[@]}" --kernel fifo --kernel-format flat
truncate -s 40G huge
says kernel-huge huge "${run[@]}" --kernel huge --kernel-format flat

# --- initrd ---
: >empty
head -c 2M /dev/urandom >random-initrd
says initrd-folder "$dir" "${off[@]}" --initrd "$dir"
status=$memory says initrd-huge huge "${off[@]}" --initrd huge
waits initrd-fifo-without-a-writer "${off[@]}" --initrd fifo
says initrd-device /dev/zero "${off[@]}" --initrd /dev/zero
says initrd-empty "empty is empty" "${off[@]}" --initrd empty
if [ -s "$kernel" ]; then
    # Linux unpacks what it can, says so, and has no root file system.
    lives initrd-random 25 'Initramfs unpacking failed|rootfs image is not initramfs|Kernel panic' \
        "$pipit" run --net none --memory 256M --kernel "$kernel" --initrd random-initrd --no-reboot \
        --cmdline 'console=ttyAMA0 panic=-1'
fi

# --- disks ---
mkdir folder
truncate -s 1M disk
truncate -s 1000 odd
says disk-missing no-such-disk "${off[@]}" --disk no-such-disk
says disk-folder folder "${off[@]}" --disk folder
says disk-fifo fifo "${off[@]}" --disk fifo
says disk-device /dev/zero "${off[@]}" --disk /dev/zero
says disk-path-through-a-file disk/x "${off[@]}" --disk disk/x
ln -s loop loop
says disk-link-loop loop "${off[@]}" --disk loop
says disk-empty 'empty' "${off[@]}" --disk empty
timeout -k 5 20 "${off[@]}" --disk odd >out 2>err </dev/null
if [ $? = 0 ] && ! grep -q odd err; then
    echo 'ok disk-odd-size'
else
    fail 'disk-odd-size: not a silent run'
fi
if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$pipit"; then
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    truncate -s 1M locked read-only
    chmod 0 locked
    chmod 444 read-only
    chmod 644 off disk Image
    says disk-unreadable locked "${nobody[@]}" "${off[@]}" --disk locked
    says disk-unreadable-ro locked "${nobody[@]}" "${off[@]}" --disk locked,ro
    says disk-read-only-opened-rw 'read-only for writing' "${nobody[@]}" "${off[@]}" --disk read-only
    lives disk-read-only-opened-ro 20 '^\.' "${nobody[@]}" "${off[@]}" --disk read-only,ro
    says kernel-unreadable locked "${nobody[@]}" "${run[@]}" --kernel locked
    says initrd-unreadable locked "${nobody[@]}" "${off[@]}" --initrd locked
else
    echo 'skip unreadable files: needs root, and a build that nobody can reach'
fi

# --- two at once ---
hold() { # COMMAND...: until it prints its dot
    "$@" >held 2>held-err </dev/null &
    holders+=($!)
    for _ in $(seq 100); do
        [ ! -s held ] || return 0
        sleep 0.05
    done
    echo "  the holder does not run: $(cat held-err)"
}
python3 -c 'import struct; open("stay", "wb").write(open("off", "rb").read()[:16] + struct.pack("<2I", 0xD503207F, 0x17FFFFFF))'
stay=("${run[@]}" --kernel stay --kernel-format flat)
hold "${stay[@]}" --disk disk
writer=$!
says disk-second-writer 'disk disk is in use' "${off[@]}" --disk disk
says disk-reader-beside-a-writer 'disk disk is in use' "${off[@]}" --disk disk,ro
truncate -s 1M shared
hold "${stay[@]}" --disk shared,ro
lives disk-two-readers 20 '^\.' "${off[@]}" --disk shared,ro
says disk-writer-beside-a-reader 'disk shared is in use' "${off[@]}" --disk shared
kill -KILL "$writer"
wait "$writer" 2>/dev/null
holders=("${holders[@]:2}") # those that have ended
lives disk-free-after-SIGKILL 20 '^\.' "${off[@]}" --disk disk

# --- ports ---
if [[ $("$pipit" --version) == *+user-network* ]]; then
    python3 -c '
import socket, time
t, u = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
t.bind(("127.0.0.1", 0))
t.listen()
u.bind(("127.0.0.1", 0))
with open("ports.new", "w") as f:
    f.write(f"{t.getsockname()[1]} {u.getsockname()[1]}\n")
import os
os.rename("ports.new", "ports")
time.sleep(100)' &
    holders+=($!)
    for _ in $(seq 100); do
        [ ! -s ports ] || break
        sleep 0.05
    done
    read -r tcp udp <ports
    net=("$pipit" run --memory 64M --kernel off --kernel-format flat)
    says port-in-use-tcp "TCP port $tcp on 127.0.0.1 is in use" "${net[@]}" -p "$tcp:22"
    says port-in-use-udp "UDP port $udp on 127.0.0.1 is in use" "${net[@]}" -p "$udp:53/udp"
    says port-in-use-any "TCP port $tcp on 0.0.0.0 is in use" "${net[@]}" -p "0.0.0.0:$tcp:22"
    free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    says port-twice "$free" "${net[@]}" -p "$free:22" -p "$free:23"
    says port-strange-address '192.0.2.1 is not an address of this host' "${net[@]}" -p "192.0.2.1:$free:22"
    for text in 'x:22' '0:22' '65536:22' '22' '22:' ':22' '127.0.0.256:1:2' '1:2/sctp' '-1:2' '99999999999999999999:1' '1:0'; do
        timeout -k 5 20 "${net[@]}" -p="$text" >out 2>err </dev/null
        got=$?
        if { [ $got = 1 ] || [ $got = 2 ]; } && [ "$(wc -l <err)" = 1 ] && [ ! -s out ]; then
            echo "ok port-nonsense $text"
        else
            fail "port-nonsense $text: status $got"
        fi
    done
else
    echo 'skip ports: this build has no user network'
fi
exit $bad
