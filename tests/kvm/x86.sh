#!/bin/bash
# limit: 600
# The x86-64 machine by a KVM that runs kernels, whatever this host has: pipit in a Debian guest with /dev/kvm under QEMU's
# emulated SVM (nested.sh). There
#
#   the programs tests/kvm/*_test run;
#   Debian's amd64 cloud kernel, unmodified, finds disk, network, entropy and console through ACPI and checks them: the
#   disk's file is compared with what it says it read and wrote, and it speaks over TCP with a listener beside pipit;
#   the same kernel boots to its first process with the 16550 alone, and powers off.
#
# On the inner command line only nokaslr is for the test's sake: the emulation is slow. One vCPU: a kernel with more is more
# than it carries; tests/guest86 shows several.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
out=$root/build/nested/x86.out
nonce=$(head -c 16 /dev/urandom | sha256sum | head -c 32) word=$(head -c 16 /dev/urandom | sha256sum | head -c 32)
. "$here/nested.sh"
bad=0

# item NAME CONDITION... -- WHY
item() {
    local name=$1 good
    shift
    local -a condition=()
    while [ "$1" != -- ]; do
        condition+=("$1")
        shift
    done
    if "${condition[@]}"; then
        echo "ok $name"
    else
        echo "FAIL $name: $2"
        bad=1
    fi
}

read_out() {
    cat "$out/$1" 2>/dev/null || echo nothing
}

told() {
    sed -n "s/^pipit-check: $1 //p" "$out/check.text" | head -n 1
}

# boot NAME: how a run went: its end, and for whoever reads the log, its times and exits.
boot() {
    local name=$1 start end
    tr -d '\r' <"$out/$name.out" >"$out/$name.text"
    [ "$(read_out "$name.status")" = 0 ] || tail -n 30 "$out/$name.text" "$out/$name.err"
    item "$name-poweroff" [ "$(read_out "$name.status")" = 0 ] -- "exit status $(read_out "$name.status")"
    read -r start init end <"$out/$name.time"
    item "$name-init" [ -n "$end" ] -- 'the first process said nothing'
    awk -v name="$name" -v start="$start" -v init="$init" -v end="$end" -v vcpu="$(sed -n 's/.*stats: \(.*\) ms from exec.*/\1/p' "$out/$name.err")" \
        'BEGIN { printf "  %s: kernel entry to init %.1f s, exec to exit %.1f s\n", name, init - start - vcpu / 1000, end - start }'
    sed 's/^/  /' "$out/$name.err"
}

start=$SECONDS
nested_begin x86 || { echo 'FAIL outer: no amd64 guest' && exit 1; }
nested_add_program "$pipit" /bin/pipit
for t in "$root"/build/release/tests/kvm/*_test; do
    [ ! -x "$t" ] || nested_add_program "$t" "/tests/${t##*/}"
done
nested_add "$nested_cache/vmlinuz" /guest/vmlinuz
nested_add "$nested_cache/initrd.img" /guest/initrd.img
nested_add "$here/outer_x86" /outer_x86
nested_run "sh /outer_x86 $nonce $word" 400 "$out" || { echo 'FAIL outer: it did not finish' && exit 1; }
grep -o 'outer: .*' "$out/console"

for t in "$root"/build/release/tests/kvm/*_test; do
    name=${t##*/}
    sed 's/^\(ok\|FAIL\|skip\) /  &/' "$out/$name.test"
    item "nested-$name" grep -qx 'status 0' "$out/$name.test" -- "$(tail -n 1 "$out/$name.test")"
done

boot check
item disk-read [ "$(read_out heard)" = "$nonce $(read_out seed)" ] -- "the listener heard $(read_out heard)"
item disk-write [ "$(told disk)" = "ok: $(read_out wrote)" ] -- "$(told disk)"
item disk-write-again [ "$(read_out again)" = "$(read_out wrote.head)" ] -- 'the second write is not in the file'
item entropy [ "$(told entropy)" = ok ] -- "$(told entropy)"
item dhcp grep -q '^ok: 10\.0\.2\.' <(told dhcp) -- "$(told dhcp)"
item tcp [ "$(told tcp)" = "ok: $word" ] -- "$(told tcp)"
item virtio-console grep -q '^ok:.* hvc0' <(told console) -- "consoles $(told console)"
item found-by-acpi grep -qE '^ok:( LNRO0005:0[0-3]){4} *$' <(told devices) -- "$(told devices)"
boot init
[ ! -e "$out/init-aloud.out" ] || tail -n 60 "$out/init-aloud.out"
echo "  all of it took $((SECONDS - start)) s"
exit $bad
