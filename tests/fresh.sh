#!/bin/bash
# Shows that two commands are enough on a machine with nothing installed: for each suite named (bookworm and trixie), a
# Debian of that suite with git and make and nothing else is made as a folder below .cache/fresh/, the commit that is
# checked out here is cloned into it, and `make run </dev/null`, `make check` and `make test` run there.
#
#   tests/fresh.sh [SUITE...]     TARGETS ("run check test") says which; KEEP=1 leaves the folder
#
# The commands run as root with that folder as their root file system (not by chroot, which would take user namespaces
# from them), in mount and PID namespaces of their own: however they end, no mount and no process stays behind. The kernel
# is the host's. What mmdebstrap made is kept, and unpacked anew for each time. The logs are
# .cache/fresh/SUITE-TARGET.log. Part of `make soak`.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${PIPIT_CACHE:-$root/.cache}/fresh
targets=${TARGETS:-run check test}
running=
# timeout passes the signal on, and after its grace kills the namespaces' first process, which ends them.
trap '[ -z "$running" ] || { kill "$running" && wait "$running"; }; exit 143' INT TERM HUP
declare -A limits=([run]=1800 [check]=3600 [test]=5400)
[ $# -gt 0 ] || set -- bookworm trixie
bad=0

if [ "$(id -u)" != 0 ] || ! unshare --mount --pid --fork true 2>/dev/null; then
    echo "skip fresh: needs root and namespaces"
    exit 0
fi
. "$root/tools/apt.sh"
mkdir -p "$cache"

# base SUITE: the host's mirrors, with the suite's name for the host's own release.
base() {
    local suite=$1 tar=$cache/$1.tar
    [ ! -s "$tar" ] || return 0
    # Keys are looked for where each release has them, not where the host's sources say.
    apt_sources | sed -E "/^Signed-By:.*debian-archive-keyring/d; /^Suites:/s/ ($apt_release|stable)/ $suite/" >"$cache/$suite.sources"
    mmdebstrap --quiet --variant=minbase --include=git,make,ca-certificates --format=tar "$suite" "$tar.new" \
        "$cache/$suite.sources" </dev/null || return
    mv "$tar.new" "$tar"
}

# inside TREE LIMIT COMMAND: with TREE as the root, in namespaces that end with it, with an environment of a first login.
inside() {
    exec timeout -k 10 "$2" unshare --mount --pid --fork --kill-child --propagation private bash -c '
        set -e
        mount --bind "$1" "$1"
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --rbind /sys "$1/sys"
        cd "$1"
        pivot_root . .
        umount -l .
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
            ${FUZZ_SECONDS:+"FUZZ_SECONDS=$FUZZ_SECONDS"} sh -c "cd / && $2"' - "$1" "$3" </dev/null
}

show() {
    local suite=$1 tree=$cache/$1.tree target log start status
    if ! base "$suite"; then
        echo "FAIL $suite-base: mmdebstrap made no tree"
        return 1
    fi
    rm -rf --one-file-system "$tree"
    mkdir -p "$tree"
    tar -C "$tree" -xf "$cache/$suite.tar" --exclude='./dev/*'
    rm -f "$tree/etc/resolv.conf"
    cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
    if ! git clone -q --no-hardlinks "$root" "$tree/srv/pipit"; then
        echo "FAIL $suite-clone"
        return 1
    fi
    (. "$tree/etc/os-release" && echo "$suite: $PRETTY_NAME, $(ls "$tree"/var/lib/dpkg/info/*.list | wc -l) packages," \
        "pipit $(git -C "$root" rev-parse --short HEAD)")
    for target in $targets; do
        log=$cache/$suite-$target.log start=$SECONDS
        inside "$tree" "${limits[$target]:-1800}" "cd /srv/pipit && make $target" >"$log" 2>&1 &
        running=$!
        wait $running
        status=$?
        running=
        # The command's own count must be there, besides its exit status.
        if [ $status = 0 ] && tail -n 1 "$log" | grep -qE '^[0-9]+ passed, 0 failed'; then
            echo "ok $suite-$target ($((SECONDS - start)) s): $(tail -n 1 "$log")"
        else
            grep -E -B4 '^ *FAIL ' "$log" | tail -n 40
            tail -n 5 "$log"
            echo "FAIL $suite-$target: exit status $status, see $log"
            bad=1
        fi
    done
    [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$tree"
}

for suite; do
    show "$suite" || bad=1
done
exit $bad
