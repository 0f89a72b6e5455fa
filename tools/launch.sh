# Sourced by scripts that start a guest. vm_command KERNEL INITRD CMDLINE DISK CPUS MEMORY fills the array `vm` with
# the command for $PIPIT (default: the release build). A program whose name begins with qemu-system- gets QEMU's
# options, so that a peer can be put through the same scripts. VM_ARGS (an array) is added at the end.

PIPIT=${PIPIT:-$root/build/release/pipit}

vm_command() {
    local kernel=$1 initrd=$2 cmdline=$3 disk=$4 cpus=$5 memory=$6
    case ${PIPIT##*/} in
    qemu-system-*)
        vm=("$PIPIT" -M virt -cpu cortex-a76 -smp "$cpus" -m "$memory" -kernel "$kernel" -initrd "$initrd" -append "$cmdline"
            -nodefaults -nographic -serial mon:stdio -no-reboot -netdev user,id=net0 -device virtio-net-device,netdev=net0
            -device virtio-rng-device)
        [ -z "$disk" ] || vm+=(-drive "file=$disk,if=none,id=disk0,format=raw" -device virtio-blk-device,drive=disk0)
        ;;
    *)
        vm=("$PIPIT" run --kernel "$kernel" --initrd "$initrd" --cmdline "$cmdline" --cpus "$cpus" --memory "$memory")
        [ -z "$disk" ] || vm+=(--disk "$disk")
        ;;
    esac
    vm+=(${VM_ARGS[@]+"${VM_ARGS[@]}"})
}
