# Sourced by tests that need a KVM which runs kernels: a Debian guest (tools/guest.sh) in QEMU's system emulation, whose
# emulated processor can virtualize, with its own /dev/kvm and busybox as its only program.
#
#   nested_begin NAME [ARCH]           starts its initramfs, in build/nested/NAME; ARCH is amd64 (SVM) or arm64 (EL2)
#   nested_add FILE DEST               puts a file into it
#   nested_add_program FILE DEST       and, with a program, the shared libraries that it needs (tools/sysroot.sh's, for arm64)
#   nested_run SCRIPT SECONDS DIR      boots it and runs SCRIPT (for busybox sh) there; what is in its /out goes to DIR,
#                                      its console to DIR/console. Fails if the script was not done in time. Where the
#                                      emulated host itself stood still (a soft lockup in its kernel; or not even its first
#                                      process, which says so every five seconds, lives for a minute: the emulator spins,
#                                      whatever ran there), says so and boots once more, twice at the most.
#
# NESTED_CPU and NESTED_GIC (arm64) say another processor. The folder comes out as an archive on a disk: what tests print is
# theirs alone.
#
# amd64: nrips=0, since with the emulated next-RIP save nested kernels have been seen to hang. No XSAVE: QEMU 7.2 does not
# intercept the nested guest's XSETBV, so that KVM does not learn what is in XCR0, puts its own value there at the next
# entry, and tells the size of that in CPUID.

nested_begin() {
    nested_arch=${2:-amd64}
    nested_cache=${PIPIT_CACHE:-$root/.cache}/guest
    [ "$nested_arch" = arm64 ] || nested_cache+=-$nested_arch
    nested_dir=$root/build/nested/$1
    nested_tree=$nested_dir/tree
    "$root/tools/guest.sh" "$nested_arch" || return
    rm -rf "$nested_tree"
    mkdir -p "$nested_tree"
    nested_add "$root/tests/kvm/outer_init" /init
    nested_seen=
    # On arm64 it is built in.
    [ "$nested_arch" = arm64 ] || nested_add_module kvm_amd
}

# nested_add_module NAME: after those that it needs; the outer guest loads them in this order.
nested_add_module() {
    local name=${1//-/_} file dep
    [[ " $nested_seen " != *" $name "* ]] || return 0
    nested_seen+=" $name"
    file=$(find "$nested_cache/tree/" -name "${name//_/[-_]}.ko*" | head -n 1)
    [ -n "$file" ] || return 0 # built in
    nested_add "$file" "/kvm/$name.ko"
    for dep in $(tr '\0' '\n' <"$nested_tree/kvm/$name.ko" | grep -a '^depends=' | cut -d= -f2 | tr ',' ' '); do
        nested_add_module "$dep"
    done
    echo "$name" >>"$nested_tree/kvm/order"
}

# Modules are unpacked on the way.
nested_add() {
    local to=$nested_tree$2
    mkdir -p "${to%/*}"
    case $1 in
    *.ko.xz) xz -dc "$1" >"$to" ;;
    *.ko.zst) zstd -qdc "$1" >"$to" ;;
    *) cp -L "$1" "$to" ;;
    esac
}

nested_add_program() {
    local lib
    nested_add "$1" "$2"
    if [ "$nested_arch" = arm64 ]; then
        aarch64-linux-gnu-strip "$nested_tree$2"
        nested_add_libraries "$1"
        return
    fi
    strip "$nested_tree$2"
    for lib in $(ldd "$1" | grep -o '/[^ ]*'); do
        [ -e "$nested_tree$lib" ] || nested_add "$lib" "$lib"
    done
}

# The libraries that an arm64 file asks for, then those that they ask for.
nested_add_libraries() {
    local lib=${PIPIT_CACHE:-$root/.cache}/sysroot-arm64/usr/lib name
    for name in ld-linux-aarch64.so.1 $(readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        [ ! -e "$nested_tree/lib/$name" ] || continue
        nested_add "$(find "$lib" "$lib/aarch64-linux-gnu" -maxdepth 1 -name "$name" | head -n 1)" "/lib/$name"
        nested_add_libraries "$nested_tree/lib/$name"
    done
}

nested_emulator() {
    case $nested_arch in
    amd64)
        echo qemu-system-x86_64 -M pc -cpu "${NESTED_CPU:-EPYC,+svm,+npt,-xsave}"
        ;;
    arm64)
        echo qemu-system-aarch64 -M "virt,virtualization=on,gic-version=${NESTED_GIC:-3}" -cpu "${NESTED_CPU:-max,pauth-impdef=on,sve-max-vq=2}"
        ;;
    esac
}

nested_boot() {
    local image=$nested_dir/initrd.img disk=$nested_dir/out.img out=$3 serial=ttyS0
    [ "$nested_arch" = amd64 ] || serial=ttyAMA0
    printf '%s\n' "$1" >"$nested_tree/script"
    # A second archive, behind the guest's: its files replace those of the first.
    cp "$nested_cache/initrd.img" "$image"
    truncate -s %4 "$image"
    (cd "$nested_tree" && find . | cpio --quiet -o -H newc -R 0:0) >>"$image"
    rm -f "$disk"
    truncate -s 64M "$disk"
    rm -rf "$out"
    mkdir -p "$out"
    timeout -k 5 "$2" $(nested_emulator) -accel tcg,thread=multi -smp 2 -m "${NESTED_MEMORY:-2048}" -nodefaults -no-user-config \
        -nographic -serial "file:$out/console" -no-reboot -kernel "$nested_cache/vmlinuz" -initrd "$image" \
        -append "console=$serial quiet mitigations=off" -drive "file=$disk,if=virtio,format=raw" </dev/null 2>"$nested_dir/qemu.err" &
    nested_watch $! "$out/console"
    tar -C "$out" -xf "$disk" 2>/dev/null && [ -e "$out/done" ] && return
    grep -v '^outer lives' "$out/console" | tail -n 20
    grep -v "TCG doesn't support" "$nested_dir/qemu.err"
    return 1
}

# nested_watch PID CONSOLE: waits for the emulator; ends it when nothing is said for a minute, and sets nested_still then.
nested_watch() {
    local size seen=0 silent=0
    nested_still=
    while kill -0 "$1" 2>/dev/null; do
        sleep 1
        size=$(stat -c %s "$2" 2>/dev/null)
        [ "$size" = "$seen" ] && silent=$((silent + 1)) || silent=0
        seen=$size
        if [ $silent -ge 60 ]; then
            nested_still=1
            kill "$1"
            break
        fi
    done
    wait "$1"
}

nested_run() {
    for _ in 1 2; do
        nested_boot "$@" && return
        [ "$nested_still" ] || grep -q 'BUG: soft lockup' "$3/console" || return
        echo 'outer: the emulated host stood still; once more'
    done
    nested_boot "$@"
}
