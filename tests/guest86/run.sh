#!/bin/bash
# limit: 900
# Bare-metal x86-64 programs on pipit's machine `micro`: what each must print, and how each must end.
#
#   tests/guest86/run.sh [--nested|--peer] [WORD...]    only the cases whose name has a WORD
#
# They run by this host's KVM, be it hardware or a software KVM. Where there is none that can be used, or with --nested, they
# run by that of a Debian guest under the emulated SVM of qemu-system-x86_64 (tests/kvm/nested.sh). --peer runs those that
# QEMU's microvm can on that instead of pipit, by KVM or without: are the programs right?
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=$(realpath -m "${PIPIT:-$root/build/release/pipit}")
build=$root/build/guest86
. "$root/tests/kvm/nested.sh"
how=pipit
case ${1:-} in
--nested | --peer) how=${1#--} && shift ;;
esac
words=("$@")
failed=0 small=
asan=$(realpath -m "${PIPIT_ASAN:-$root/build/asan/pipit}")
mkdir -p "$build"

result() {
    echo "$@"
    [ "$1" != FAIL ] || failed=1
}

wanted() {
    local w
    [ ${#words[@]} -gt 0 ] || return 0
    for w in "${words[@]}"; do
        [[ $1 != *$w* ]] || return 0
    done
    return 1
}

# ---- programs ----
flags=(-std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pic -fno-asynchronous-unwind-tables
    -fcf-protection=none -mno-red-zone -mgeneral-regs-only -nostdlib -static -no-pie -Wl,-T,"$here/link.ld"
    -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -I"$root")
common=("$here"/{start.S,lib.c,acpi.c,apic.c})

# compile NAME [OUT FLAG...]
compile() {
    local name=$1 out=${2:-$1}
    gcc "${flags[@]}" "${@:3}" -o "$build/$out.elf" "${common[@]}" "$here/$name.c"
}

# The same program as a bzImage: bzimage.S around its flat file.
compile_bzimage() {
    local name=$1 end
    end=$(nm "$build/$name.elf" | awk '$3 == "memory_end" { print $1 }')
    objcopy -O binary -j .text -j .note.pvh -j .data "$build/$name.elf" "$build/$name.bin" &&
        gcc -c -DPAYLOAD="\"$build/$name.bin\"" -DINIT_SIZE="$((0x$end - 0x100000))" -o "$build/$name.bz.o" "$here/bzimage.S" &&
        objcopy -O binary -j .text "$build/$name.bz.o" "$build/$name.bz"
}

# A disk as a distribution's: the bzImage and the initrd in its ext4 root, by the links that the packages make.
root_disk() {
    local tree=$build/root.tree
    rm -rf "$tree" "$build/root.img"
    mkdir -p "$tree/boot" && cp "$build/boot.bz" "$tree/boot/vmlinuz-1-amd64" && cp "$build/initrd.bin" "$tree/boot/initrd.img-1-amd64" &&
        ln -s boot/vmlinuz-1-amd64 "$tree/vmlinuz" && ln -s boot/initrd.img-1-amd64 "$tree/initrd.img" &&
        PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext4 -d "$tree" "$build/root.img" 2M >"$build/root.log"
}

# FNV-1a, as the programs compute it.
sum() {
    python3 -c 'import sys
h = 0xcbf29ce484222325
for b in sys.stdin.buffer.read():
    h = (h ^ b) * 0x100000001b3 & (1 << 64) - 1
print(hex(h))'
}

# What virtio.c writes: 512 words made from the nonce.
written() {
    python3 -c 'import hashlib, struct, sys
n = int(sys.argv[1])
print(hashlib.sha256(b"".join(struct.pack("<Q", n * (2 * i + 1) & (1 << 64) - 1) for i in range(512))).hexdigest())' "$1"
}

# ---- cases ----
# add LABEL PROGRAM STATUS ARGUMENTS [OPTION...]: plans a run and says what it must give. Before it, set
#   need   names that must be reported ok;   may   names that may be skipped
#   text   how a line must begin;          word   end it with SIGTERM when it prints this
#   with   asan: the sanitizers' build, not nested; says   what standard error must have; disk   the nonce of what must be on the disk;   peer   what QEMU ends with, where that is not its exit device; no: it has no such thing
peer='' need='' may='' text='' says='' word='' disk='' with=''
labels=() plan=$build/plan
declare -A status_of=() need_of=() may_of=() text_of=() disk_of=() peer_of=() says_of=()
add() {
    local label=$1 program=$2 status=$3 arguments=$4 pipit_here
    shift 4
    if [[ -z $with || ($how = pipit && -n $asan) ]] && [[ -z $small || $label != *-hole ]] && wanted "$label" && { [ $how != peer ] || [ "$peer" != no ]; }; then
        labels+=("$label")
        status_of[$label]=$status need_of[$label]=$need may_of[$label]=$may text_of[$label]=$text disk_of[$label]=$disk
        says_of[$label]=$says peer_of[$label]=${peer:-$((status * 2 + 1 & 255))}
        if [ $how = peer ]; then
            plan_peer "$label" "$program" "$arguments" "$@"
        else
            [ -z "$with" ] && pipit_here=$command || pipit_here=$asan
            {
                printf 'one %q %q' "$label" "$word"
                printf ' %q' "$pipit_here" run --machine micro --kernel "$program" --cmdline "$arguments" --debug-device --stats "$@"
                echo
            } >>"$plan"
        fi
    fi
    need='' may='' text='' says='' word='' disk='' peer='' with=''
}

# pipit's options in QEMU's words. Its exit device makes 2n + 1 of a status n.
plan_peer() {
    local label=$1 program=$2 arguments=$3 memory=128M cpus=1
    local -a q=(-device virtio-rng-device) after=(-no-reboot)
    shift 3
    while [ $# -gt 0 ]; do
        case $1 in
        --no-reboot) shift && continue ;;
        --memory) memory=$2 ;;
        --cpus) cpus=$2 ;;
        --initrd) q+=(-initrd "$2") ;;
        --disk) q+=(-drive "file=$2,if=none,id=d,format=raw" -device virtio-blk-device,drive=d) ;;
        --net) [ "$2" = none ] || q+=(-netdev user,id=n -device virtio-net-device,netdev=n) ;;
        --console) q+=(-chardev "file,id=c,path=$build/console.out" -device virtio-serial-device,max_ports=1 -device virtconsole,chardev=c) ;;
        esac
        shift 2
    done
    [[ $arguments != *boots=* ]] || after=()
    {
        printf 'one %q %q' "$label" "$word"
        printf ' %q' qemu-system-x86_64 -M microvm,ioapic2=off "${peer_accel[@]}" -m "$memory" -smp "$cpus" -nodefaults -no-user-config \
            -nographic -serial stdio -device isa-debug-exit,iobase=0x614,iosize=4 -global virtio-mmio.force-legacy=false \
            "${after[@]}" "${q[@]}" -kernel "$program" -append "${arguments/micro=1/}"
        echo
    } >>"$plan"
}

cases() {
    local n nonce=$RANDOM$RANDOM now hostile
    local map='map-apart map-size map-low map-program map-hole map-top ram cmdline'
    local initrd='initrd-size initrd-place initrd-content'
    local acpi='rsdp acpi-tables acpi-places fadt fadt-reset fadt-sleep madt-cpus madt-this-cpu madt-apics aml
        dsdt-virtio dsdt-virtio-apart dsdt-uart'
    [ $how = peer ] || acpi+=' dsdt-virtio-places'
    local virtio='acpi identity blk blk-capacity blk-read blk-write blk-flush blk-again blk-id blk-refuse blk-batch blk-polled
        blk-interrupts blk-reset rng rng-bytes rng-interrupts rng-reset net net-mac net-arp net-interrupts console
        console-send console-interrupts console-reset'
    local seed handed="initrd=$(stat -c %s "$build/initrd.bin") sum=$(sum <"$build/initrd.bin") nonce=$nonce micro=1"

    need="entry-mode entry-cr4 entry-interrupts-off $map $initrd $acpi"
    add boot-pvh boot.elf 0 "mem=128M cpus=1 slots=2 $handed" --initrd initrd.bin --memory 128M --net none --disk disk.img
    need="entry-mode entry-cr4 entry-interrupts-off $map initrd $acpi"
    add boot-pvh-hole boot.elf 0 "mem=3328M cpus=4 slots=1 nonce=$nonce micro=1" --memory 3328M --cpus 4 --net none
    peer=no need="entry-mode entry-segments entry-interrupts-off $map $initrd $acpi"
    add boot-bzimage boot.bz 0 "mem=256M cpus=2 slots=2 $handed" --initrd initrd.bin --memory 256M --cpus 2 --net none --disk disk.img
    peer=no need="entry-mode entry-segments entry-interrupts-off $map $initrd $acpi"
    add boot-bzimage-hole boot.bz 0 "mem=3328M cpus=1 slots=1 $handed" --initrd initrd.bin --memory 3328M --net none
    peer=no need="entry-mode entry-segments entry-interrupts-off $map $initrd $acpi"
    says='boots root.img: /vmlinuz, /initrd.img, as /vmlinuz says'
    add boot-disk auto 0 "mem=128M cpus=1 slots=2 $handed" --memory 128M --net none --disk root.img
    peer=no need="entry-mode entry-segments entry-interrupts-off $map initrd $acpi"
    add boot-vmlinux boot64.elf 0 "mem=128M cpus=1 slots=1 nonce=$nonce micro=1" --memory 128M --net none

    seed=$(head -c 4096 "$build/seed.img" | sum)
    disk=$nonce need=$virtio
    add virtio virtio.elf 0 "nonce=$nonce sectors=2048 seed=$seed" --disk disk.img --net user --console virtio
    with=asan disk=$nonce need=$virtio
    add virtio-asan virtio.elf 0 "nonce=$nonce sectors=2048 seed=$seed" --disk disk.img --net user --console virtio

    need='acpi ioapic ioapic-reset uart-scratch uart-divisor uart-modem uart-transmit uart-transmit-again ioapic-mask ioapic-vector
        uart-receive tpr-holds tpr-releases priority nmi halt-pending halt-timer'
    add irq irq.elf 0 '' --net none
    now=$(date +%s)
    need='acpi tsc-monotonic timer-counts timer-one-shot timer-stop timer-periodic timer-masked'
    may='timer-deadline kvmclock'
    [ $how = peer ] || need+=" kvmclock kvmclock-page kvmclock-monotonic kvmclock-rate kvmclock-wall" may=timer-deadline
    add timer timer.elf 0 "now=$now" --net none
    for n in 2 4 8; do
        need='acpi smp-wait-for-sipi smp-start smp-ids smp-atomic smp-lock ipi-one ipi-all-but-self ipi-back ipi-nmi smp-restart'
        if [ $how = peer ]; then may=x2apic; else need+=' x2apic'; fi
        add smp-$n smp.elf 0 "cpus=$n" --cpus $n --net none
    done

    for n in 0 1 2 42 127 200 255; do
        add exit-$n exit.elf $n "do=status status=$n" --net none
    done
    add exit-low-byte exit.elf 44 'do=status status=300' --net none
    peer=no says='debug 0xc0ffee: '
    add mark exit.elf 0 'do=mark status=0xc0ffee' --net none
    peer=0 need='acpi sleep-type'
    add poweroff exit.elf 0 do=poweroff --net none
    peer=0 need=acpi text='boot 1'
    add reset-no-reboot exit.elf 3 'do=reset' --no-reboot --net none
    peer=0 need=acpi text='boot 1'
    add triple-fault-no-reboot exit.elf 3 'do=triple' --no-reboot --net none
    need=acpi text='boot 3'
    add reset exit.elf 13 'do=reset boots=3' --net none
    need=acpi text='boot 3'
    add triple-fault exit.elf 13 'do=triple boots=3' --net none
    peer=no need=acpi text='boot 3'
    add reset-cpu-max exit.elf 13 'do=reset boots=3' --cpu max --net none
    peer=0 need=acpi word='3 others halt'
    add halt-sigterm exit.elf 143 'do=halt cpus=4' --cpus 4 --net none
    peer=0 need=acpi word='spinning'
    add spin-sigterm exit.elf 143 'do=spin' --net none

    # QEMU's own serial port ends it by an assertion when it is read at its end, where KVM does not take that apart.
    [ "${peer_accel[1]}" = kvm ] || peer=no
    hostile='acpi port-ends rep-ins-ends rep-scratch rep-backwards rep-outs movs-to-mmio ram-end-write storm-virtio storm-apics'
    [ $how = peer ] || hostile+=' port-nothing registers rep-ins rep-backwards-bytes mmio-nothing mmio-wide mmio-locked
        mmio-exchange mmio-push movs-from-mmio ram-end-read ram-end-odd ram-behind ram-end-movs msr-unknown'
    need=$hostile
    add hostile hostile.elf 0 "mem=128M micro=1 seed=$nonce" --memory 128M --disk disk.img --net user
    with=asan need=$hostile
    add hostile-asan hostile.elf 0 "mem=128M micro=1 seed=$nonce" --memory 128M --disk disk.img --net user
    peer=no need=acpi text='jumping' says="KVM cannot emulate the guest's instruction"
    add hostile-exec hostile.elf 1 'do=exec' --net none
    peer=no need=acpi text='storing' says="KVM cannot emulate the guest's instruction"
    add hostile-insn hostile.elf 1 'do=insn' --net none
}

# ---- what came of it ----
judge() {
    local label=$1 out=$build/out/$1.out err=$build/out/$1.err status want=${status_of[$1]} name why='' missing='' skipped counted
    status=$(cat "$build/out/$label.status" 2>/dev/null || echo none)
    [ $how != peer ] || want=${peer_of[$label]}
    tr -d '\r' <"$out" >"$out.text"
    [ "$status" = "$want" ] || why="exit status $status, not $want"
    for name in ${need_of[$label]}; do
        grep -qE "^ok $name(:|\$)" "$out.text" || missing+=" $name"
    done
    [ -z "$missing" ] || why+=${why:+; }"not reported ok:$missing"
    [ -z "${text_of[$label]}" ] || grep -q "^${text_of[$label]}" "$out.text" || why+=${why:+; }"no '${text_of[$label]}'"
    [ -z "${says_of[$label]}" ] || grep -qF -e "${says_of[$label]}" "$err" || why+=${why:+; }"no '${says_of[$label]}' on standard error"
    # What leaves the guest as MMIO is the registers' accesses, and no doorbell.
    counted=$(sed -n 's/^info accesses \([0-9]*\), .*/\1/p' "$out.text")
    [ $how = peer ] || [ -z "$counted" ] || grep -q "exits: .*mmio $counted[, ]" "$err" ||
        why+=${why:+; }"not $counted MMIO exits, which are the accesses without doorbells"
    why+=$(sed -n 's/^FAIL /; /p' "$out.text" | tr -d '\n')
    skipped=$(sed -n 's/^skip \([^:]*\):.*/\1/p' "$out.text")
    for name in $skipped; do
        [[ " ${may_of[$label]} " == *" $name "* ]] || why+=${why:+; }"$name was skipped"
    done
    [ -z "${disk_of[$label]}" ] || [ "$(cat "$build/out/$label.disk")" = "$(written "${disk_of[$label]}")" ] ||
        why+=${why:+; }'the disk holds something else'
    if [ -n "$why" ]; then
        tail -n 20 "$out.text"
        tail -n 5 "$err"
        result FAIL "$label: $why"
    else
        result ok "$label (status $status, $(grep -c '^ok ' "$out.text") checks)"
        sed -n "s/^skip /  $label skipped /p" "$out.text"
    fi
}

kvm=$("$root/tests/host.sh" kvm)
peer_accel=(-accel tcg -cpu EPYC)
case $how-$kvm in
peer-hardware* | peer-software*) peer_accel=(-accel kvm -cpu host,-arch-capabilities) ;;
pipit-hardware* | pipit-software*) ;;
pipit-*) how=nested ;;
esac
case $how in
peer) echo "kvm: $kvm; QEMU's microvm with ${peer_accel[1]}" ;;
nested) echo "kvm: $kvm; ran by KVM in a Debian guest, under QEMU's emulated SVM" ;;
pipit) echo "kvm: $kvm; ran by it" ;;
esac

for program in boot virtio irq timer smp exit hostile; do
    compile $program || { result FAIL "$program: does not compile" && exit 1; }
done
compile boot boot64 -Wl,-e,entry_64 -DNO_PVH && compile_bzimage boot || { result FAIL 'boot: does not compile' && exit 1; }
head -c 100003 /dev/urandom >"$build/initrd.bin"
head -c 1M /dev/urandom >"$build/seed.img"
root_disk || { result FAIL 'root.img: cannot be made' && exit 1; }
rm -rf "$build/out" "$plan"
: >"$plan"
# The cases with more than 3 GiB of RAM, which is refused where the host has not as much, lazily populated or not.
if [ $how != nested ] && [ "$(awk '/^(MemTotal|SwapTotal)/ { n += $2 } END { print int(n / 1024) }' /proc/meminfo)" -lt 3400 ]; then
    result skip 'hole: this host has less than 3400 MiB of memory and swap'
    small=1
fi
[ $how != pipit ] || [ -x "$asan" ] || { result skip 'sanitizers: build/asan/pipit is not built' && asan=; }
command=$pipit
[ $how != nested ] || command=/bin/pipit
cases
if [ $how = nested ]; then
    nested_begin guest86
    nested_add_program "$pipit" /bin/pipit
    nested_add "$here/exec.sh" /guest86/exec.sh
    nested_add "$plan" /guest86/plan
    for f in "$build"/*.elf "$build"/*.bz "$build"/{initrd.bin,seed.img,root.img}; do
        nested_add "$f" "/guest86/${f##*/}"
    done
    NESTED_MEMORY=4096 # lazily populated
    nested_run 'cd /guest86 && sh exec.sh ./plan /out' 400 "$build/out" || { result FAIL 'nested: the outer guest did not finish' && exit 1; }
else
    (cd "$build" && sh "$here/exec.sh" "$plan" out)
fi
for label in "${labels[@]}"; do
    judge "$label"
done
exit $failed
