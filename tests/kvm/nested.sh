# Sourced by tests that need a KVM which runs kernels: a Debian amd64 guest (tools/guest.sh amd64) on qemu-system-x86_64 with
# emulated SVM, with its own kvm modules loaded and busybox as its only program.
#
#   nested_begin NAME                  starts its initramfs, in build/nested/NAME
#   nested_add FILE DEST               puts a file into it
#   nested_add_program FILE DEST       and, with a program, the shared libraries that it needs
#   nested_run SCRIPT SECONDS DIR      boots it and runs SCRIPT (for busybox sh) there; what is in its /out goes to DIR,
#                                      its console to DIR/console. Fails if the script was not done in time.
#
# The folder comes out as an archive on a disk: what tests print is theirs alone. nrips=0: with the emulated next-RIP save,
# nested kernels have been seen to hang. No XSAVE: QEMU 7.2 does not intercept the nested guest's XSETBV, so that KVM does not
# learn what is in XCR0, puts its own value there at the next entry, and tells the size of that in CPUID.

nested_begin() {
    nested_cache=${PIPIT_CACHE:-$root/.cache}/guest-amd64
    nested_dir=$root/build/nested/$1
    nested_tree=$nested_dir/tree
    "$root/tools/guest.sh" amd64 || return
    rm -rf "$nested_tree"
    mkdir -p "$nested_tree"
    nested_add "$root/tests/kvm/outer_init" /init
    nested_seen=
    nested_add_module kvm_amd
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
    strip "$nested_tree$2"
    for lib in $(ldd "$1" | grep -o '/[^ ]*'); do
        [ -e "$nested_tree$lib" ] || nested_add "$lib" "$lib"
    done
}

nested_run() {
    local image=$nested_dir/initrd.img disk=$nested_dir/out.img out=$3
    printf '%s\n' "$1" >"$nested_tree/script"
    # A second archive, behind the guest's: its files replace those of the first.
    cp "$nested_cache/initrd.img" "$image"
    truncate -s %4 "$image"
    (cd "$nested_tree" && find . | cpio --quiet -o -H newc -R 0:0) >>"$image"
    rm -f "$disk"
    truncate -s 64M "$disk"
    rm -rf "$out"
    mkdir -p "$out"
    timeout -k 5 "$2" qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt,-xsave -smp 2 -m "${NESTED_MEMORY:-2048}" -nodefaults \
        -no-user-config -nographic -serial "file:$out/console" -no-reboot -kernel "$nested_cache/vmlinuz" -initrd "$image" \
        -append 'console=ttyS0 quiet mitigations=off' -drive "file=$disk,if=virtio,format=raw" </dev/null 2>"$nested_dir/qemu.err"
    tar -C "$out" -xf "$disk" 2>/dev/null && [ -e "$out/done" ] && return
    tail -n 20 "$out/console"
    grep -v "TCG doesn't support" "$nested_dir/qemu.err"
    return 1
}
