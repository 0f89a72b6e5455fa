#!/bin/bash
# Kills a writer of qcow2 images at random instants. What QEMU's qemu-img and pipit-img find must be sound (leaked
# clusters aside), and everything that was flushed must be there.
# The same while a snapshot is taken, gone back to, and deleted: the image then holds what it held before.
# CRASHES (12): how many of the first kind; SNAPSHOT_CRASHES (9): of the second.
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

# content IMAGE: what a guest would read.
content() {
    qemu-img convert -U -f qcow2 -O raw "$1" "$dir/raw" && sha256sum <"$dir/raw"
}

# Milliseconds that a command takes.
millis() {
    local start
    start=$(date +%s%N)
    "$@" >/dev/null || return 1
    echo $((($(date +%s%N) - start) / 1000000))
}

# Small clusters make the tables, and so the work of a snapshot, large. now: what is in it; then: what its snapshot has.
prepare_snapshots() {
    "$img" create -q -f qcow2 -o cluster_size=512 "$dir/full" 48M &&
        qemu-io -f qcow2 -c 'write -q -P 1 0 24M' "$dir/full" && then=$(content "$dir/full") &&
        "$img" snapshot -c old "$dir/full" && qemu-io -f qcow2 -c 'write -q -P 2 8M 24M' "$dir/full" &&
        now=$(content "$dir/full")
}

# sound_but_flags: what QEMU's check says of the image. Between a reference count and the flag that says whether it is one
# there is an instant in any order of the two, which QEMU calls an error. Then the image is marked dirty, and whoever
# opens it next to write mends both: after that there is nothing to find, no leaked cluster either.
sound_but_flags() {
    local said status opened
    said=$(qemu-img check -U -f qcow2 "$dir/image" 2>&1)
    status=$?
    case $status in 0 | 2 | 3) ;; *) echo "qemu-img check: status $status" && head -n 5 <<<"$said" && return 1 ;; esac
    if [ $status = 2 ] && grep -E '^ERROR' <<<"$said" | grep -vE '^ERROR OFLAG_COPIED ' | head -n 5 | grep .; then
        return 1
    fi
    for opened in pipit-img qemu-io; do
        [ $status = 2 ] || [ $opened = pipit-img ] || break
        cp "$dir/image" "$dir/mended"
        case $opened in
        pipit-img) "$img" resize -q "$dir/mended" 48M >"$dir/said" 2>&1 || return 1 ;;
        qemu-io) qemu-io -f qcow2 -c 'read -q 0 512' "$dir/mended" >"$dir/said" 2>&1 || return 1 ;;
        esac
        if ! said=$(qemu-img check -f qcow2 "$dir/mended" 2>&1); then
            echo "opened and closed by $opened: qemu-img check:" && head -n 5 <<<"$said"
            return 1
        fi
    done
}

# mid_snapshot ACTION: kills it somewhere on its way, and looks at what is left.
mid_snapshot() {
    local action=$1 name=old long pause pid is
    [ "$action" != -c ] || name=new
    cp "$dir/full" "$dir/image"
    long=$(millis "$img" snapshot "$action" $name "$dir/image") || return 1
    cp "$dir/full" "$dir/image"
    "$img" snapshot "$action" $name "$dir/image" 2>/dev/null &
    pid=$!
    pause=$((RANDOM % (long + 2)))
    sleep "$(printf '0.%03d' $pause)"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    sound_but_flags || { echo "$action, after $pause of $long ms: not sound" && return 1; }
    is=$(content "$dir/image")
    if [ "$is" != "$now" ] && ! { [ "$action" = -a ] && [ "$is" = "$then" ]; }; then
        echo "$action, after $pause of $long ms: other content than before"
        return 1
    fi
    # The old snapshot is whole as long as it is listed.
    if "$img" snapshot -l "$dir/image" | grep -qw old; then
        qemu-io -f qcow2 -c 'write -q -P 3 0 48M' "$dir/image" >"$dir/said" 2>&1 && "$img" snapshot -a old "$dir/image" && [ "$(content "$dir/image")" = "$then" ] && return
        echo "$action, after $pause of $long ms: the snapshot holds something else"
        return 1
    fi
    [ "$action" = -d ] || { echo "$action, after $pause of $long ms: the snapshot is gone" && return 1; }
}

prepare_snapshots || { echo 'FAIL crash-snapshot: no image' && exit 1; }
actions=(-c -a -d)
for n in $(seq "${SNAPSHOT_CRASHES:-9}"); do
    action=${actions[$((n % 3))]}
    if mid_snapshot "$action"; then
        echo "ok crash-snapshot-$n$action"
    else
        echo "FAIL crash-snapshot-$n$action: see above"
        failed=1
    fi
done
exit $failed
