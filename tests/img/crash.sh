#!/bin/bash
# Kills a writer of qcow2 images at random instants. What QEMU's qemu-img and pipit-img find must be sound (leaked
# clusters aside), and everything that was flushed must be there.
# CRASHES (12): how many.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
img=$root/build/release/pipit-img test=$root/build/release/tests/img/qcow2_test
base=/dev/shm
[ -w $base ] || base=/tmp
dir=$(mktemp -d $base/pipit-crash-XXXXXX)
trap 'rm -rf "$dir"' EXIT
failed=0
shapes=('' cluster_size=4k extended_l2=on compat=0.10 cluster_size=512 lazy_refcounts=on)

one() {
    local n=$1 shape=$2 pid pause
    rm -f "$dir"/image "$dir"/log
    "$img" create -q -f qcow2 ${shape:+-o "$shape"} "$dir/image" 48M || return 1
    "$test" crash "$dir/image" "$dir/log" "$n" &
    pid=$!
    pause=0.$(printf %03d $((RANDOM % 700 + 30)))
    sleep "$pause"
    kill -9 $pid
    wait $pid 2>/dev/null
    # The kernel takes the killed process's ring apart in the background.
    qemu-img check -q -U -f qcow2 "$dir/image" 2>/dev/null
    case $? in 0 | 3) ;; *)
        echo "after $pause s: qemu-img: $(qemu-img check -U -f qcow2 "$dir/image" 2>&1 | tail -3)"
        return 1
        ;;
    esac
    "$img" check -q -U -f qcow2 "$dir/image"
    case $? in 0 | 3) ;; *)
        echo "after $pause s: pipit-img finds it corrupt"
        return 1
        ;;
    esac
    "$test" verify "$dir/image" "$dir/log" || return 1
    # Leaks go, and it can be written to again.
    "$img" check -q -r leaks -f qcow2 "$dir/image" && qemu-img check -q -U -f qcow2 "$dir/image" 2>/dev/null || return 1
}

for n in $(seq "${CRASHES:-12}"); do
    shape=${shapes[$((n % ${#shapes[@]}))]}
    if one "$n" "$shape"; then
        echo "ok crash-$n-${shape:-default}"
    else
        echo "FAIL crash-$n-${shape:-default}: see above"
        failed=1
    fi
done
exit $failed
