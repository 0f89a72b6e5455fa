#!/bin/bash
# limit: 120
# With --console virtio the guest's console is a virtio one: the kernel, the first process and the user talk through it.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
pipit=${PIPIT:-$root/build/release/pipit}
guest=${PIPIT_CACHE:-$root/.cache}/guest
start=("$pipit" run --kernel "$guest/vmlinuz" --initrd "$guest/initrd.img" --memory 512M --net none --console virtio)
bad=0

out=$(timeout -k 5 60 "${start[@]}" --cmdline 'console=ttyAMA0 console=hvc0 pipit.run=init' 2>&1 </dev/null)
status=$?
if [ $status = 0 ] && grep -q 'pipit-init: up after .*, 1 vCPU' <<<"$out" && grep -q 'reboot: Power down' <<<"$out"; then
    echo 'ok virtio-console-output'
else
    tail -n 15 <<<"$out"
    echo "FAIL virtio-console-output: status $status"
    bad=1
fi

# The shell reads what is typed.
input=$(mktemp -u)
mkfifo "$input"
exec 8<>"$input"
rm -f "$input"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout -k 5 60 "${start[@]}" >"$log" 2>&1 <&8 &
child=$!
for _ in $(seq 300); do
    grep -q 'pipit:.*# ' "$log" && break
    kill -0 $child 2>/dev/null || break
    sleep 0.1
done
echo 'echo tty=$(tty) $((6 * 7)); poweroff' >&8
wait $child
status=$?
if [ $status = 0 ] && grep -q 'tty=/dev/hvc0 42' "$log"; then
    echo 'ok virtio-console-input'
else
    tail -n 15 "$log"
    echo "FAIL virtio-console-input: status $status"
    bad=1
fi
exit $bad
