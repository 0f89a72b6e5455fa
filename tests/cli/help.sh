#!/bin/bash
# limit: 60
# What tools and people ask before they start a machine: help, lists, versions. Status 0, on standard output.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# Hard links, as an installation makes them; across file systems copies.
for name in qemu-system-aarch64 qemu-system-x86_64; do
    ln "$pipit" "$dir/$name" 2>/dev/null || cp "$pipit" "$dir/$name"
done
qemu=$dir/qemu-system-aarch64 qemu86=$dir/qemu-system-x86_64
bad=0

# shows NAME REGEX COMMAND...
shows() {
    local name=$1 regex=$2 got
    shift 2
    timeout -k 5 20 "$@" >"$dir/out" 2>"$dir/err" </dev/null
    got=$?
    if [ $got = 0 ] && [ ! -s "$dir/err" ] && grep -qE -e "$regex" "$dir/out"; then
        echo "ok $name"
    else
        head -n 5 "$dir/out" "$dir/err"
        echo "FAIL $name: status $got, or something on standard error, or no $regex"
        bad=1
    fi
}

shows help 'pipit run' "$pipit" --help
shows help-word 'pipit run' "$pipit" help
shows help-run '--publish' "$pipit" help run
shows run-help '--publish' "$pipit" run --help
shows run-help-behind-options '--publish' "$pipit" run --kernel x -h
shows help-qemu '-netdev' "$pipit" help qemu
shows version '^pipit [0-9]+\.[0-9]+\.[0-9]+$' "$pipit" --version
shows features '^features: .*kvm .*jit.*user-network' "$pipit" --version
shows cpus '^ +cortex-a57$' "$pipit" run --cpu help
shows qemu-version '^QEMU emulator version [0-9]+\.[0-9]+\.[0-9]+ \(pipit' "$qemu" -version
shows qemu-version-dashes 'version ([0-9][.0-9]+)' "$qemu" --version
shows qemu-machines '^virt +' "$qemu" -M help
shows qemu-machines-long '^virt +' "$qemu" -machine help
shows qemu-cpus '^ +max$' "$qemu" -cpu help
shows qemu-accel '^tcg$' "$qemu" -M none -accel help
shows qemu86-version 'version ([0-9][.0-9]+)' "$qemu86" --version
shows qemu86-machines '^microvm +' "$qemu86" -M help
shows qemu86-cpus '^ +host$' "$qemu86" -cpu help
if [ "$(uname -m)" = x86_64 ]; then
    shows qemu86-accel '^kvm$' "$qemu86" -accel help
fi
shows qemu-netdev '^user$' "$qemu" -M none -netdev help
shows qemu-devices 'virtio-blk-pci' "$qemu" -device help
shows qemu-word 'virt' "$pipit" qemu -M help
shows qemu-help '-kernel' "$qemu" -h

# Every option of the help is known to the program, and stands in the man page.
man=$(sed 's/\\-/-/g' "$root/tools/pipit.1")
unknown= unwritten=
for option in $("$pipit" help run | grep -oE -- '(^|[ ,])--[a-z-]+' | tr -d ' ,' | sort -u); do
    said=$("$pipit" run "$option" 2>&1 </dev/null)
    [[ $said != *'is not known'* ]] || unknown+=" $option"
    [[ $man == *"$option"* ]] || unwritten+=" $option"
done
if [ -z "$unknown" ]; then
    echo 'ok documented-options'
else
    echo "FAIL documented-options: the program does not know$unknown"
    bad=1
fi
if [ -z "$unwritten" ]; then
    echo 'ok man-page-options'
else
    echo "FAIL man-page-options: it has no$unwritten"
    bad=1
fi

# Standard output that is full is not success.
if "$pipit" --help >/dev/full 2>/dev/null; then
    echo 'FAIL full-output: status 0'
    bad=1
else
    echo 'ok full-output'
fi
exit $bad
