#!/bin/bash
# limit: 400
# Debian's arm64 kernel boots to the first process with 1, 2 and 8 vCPUs, sees as many, and powers off by itself.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
cache=${PIPIT_CACHE:-$root/.cache}
. "$root/tools/launch.sh"
bad=0
for cpus in 1 2 8; do
    vm_command "$cache/guest/vmlinuz" "$cache/guest/initrd.img" 'console=ttyAMA0 pipit.run=init' '' $cpus 512
    start=$(date +%s.%N)
    out=$(timeout -k 5 120 "${vm[@]}" </dev/null 2>&1)
    status=$?
    took=$(echo "$(date +%s.%N) $start" | awk '{ printf "%.2f", $1 - $2 }')
    if [ $status = 0 ] && grep -q "pipit-init: up after .*, $cpus vCPU" <<<"$out" && grep -q 'reboot: Power down' <<<"$out"; then
        echo "ok boot-$cpus-vcpu"
        echo "  $cpus vCPUs: $took s"
    else
        tail -n 15 <<<"$out"
        echo "FAIL boot-$cpus-vcpu: exit status $status after $took s"
        bad=1
    fi
done
exit $bad
