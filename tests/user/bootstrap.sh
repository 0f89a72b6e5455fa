#!/bin/bash
# limit: 900
# arm64 root filesystems of Debian's packages: debootstrap --foreign, whose second stage runs in a chroot whose programs
# the kernel starts by pipit-aarch64 (tests/arm64.sh), with address randomisation on; apt-get install there, from a local
# archive, as the user _apt and under apt's own seccomp filter; what was installed works.
#
#   bootstrap.sh          the smallest variant, and openssl
#   bootstrap.sh --full    the standard variant, vim and gcc; and mmdebstrap with python3-minimal, gcc, perl-base,
#                          openssl and sqlite3, whose tar is byte for byte what it is under QEMU
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
export PIPIT_CACHE=${PIPIT_CACHE:-$root/.cache} PIPIT_AARCH64=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
bad=0

# check NAME COMMAND...: of one that fails the end of its output is shown.
check() {
    local name=$1 status
    shift
    "$@" >log 2>&1
    status=$?
    if [ $status = 0 ]; then
        echo "ok $name"
    else
        tail -n 40 log
        echo "FAIL $name: exit status $status"
        bad=1
    fi
    return $status
}

# ---- in the namespace: inside TREE SIZE ----

in_tree() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$tree" "$@"
}

apt() {
    in_tree apt-get -y -o APT::Sandbox::Seccomp=true -o Dpkg::Use-Pty=0 "$@"
}

# _apt's rights, as apt's own methods give up root's: with all checks that they cannot be had back.
sandboxed() {
    [ "$(in_tree /usr/lib/apt/apt-helper drop-privs -o APT::Sandbox::Verify=true -- /usr/bin/id -un)" = _apt ]
}

# The filter does filter: a call that it has no rule for, made in a method at work, ends that, and apt says by which.
filtered() {
    printf '%s\n' '#include <sys/syscall.h>' '#include <unistd.h>' \
        'int utimes(const char *f, const void *t) { (void)f, (void)t; return (int)syscall(SYS_swapoff, 0L); }' >swap.c
    aarch64-linux-gnu-gcc -O1 -shared -fPIC -o "$tree/usr/lib/swap.so" swap.c || return
    rm -rf "$tree"/var/lib/apt/lists/*_dists_*
    in_tree env LD_PRELOAD=/usr/lib/swap.so apt-get update -o APT::Sandbox::Seccomp=true >trapped 2>&1
    rm "$tree/usr/lib/swap.so"
    grep 'Seccomp prevented execution of syscall 0*225 on architecture arm64' trapped || {
        cat trapped
        return 1
    }
    apt update
}

# Each process has its image, libraries, stack and heap elsewhere.
randomised() {
    [ "$(cat /proc/sys/kernel/randomize_va_space)" = 2 ] || return
    for _ in 1 2 3; do
        in_tree grep -E '/ld-linux|\[stack\]|\[heap\]|/grep$' /proc/self/maps
    done | awk '!/rw-p/ { next } { sub(/-.*/, "", $1); n++; seen[$1] } END { for (i in seen) m++; print n, m; exit !(n >= 12 && m == n) }'
}

unbroken() {
    [ -z "$(in_tree dpkg --audit)" ] && ! in_tree dpkg-query -W -f '${db:Status-Status} ${Package}\n' | grep -v '^installed '
}

tls() {
    printf 'some text' | in_tree openssl dgst -sha256 -r >sum && [ "$(cut -c1-64 sum)" = "$(printf 'some text' | sha256sum | cut -c1-64)" ]
}

editor() {
    echo 'one two' >"$tree/srv/text"
    in_tree vim -es -u NONE -c 's/two/three/' -c wq /srv/text
    [ "$(cat "$tree/srv/text")" = 'one three' ]
}

compiler() {
    printf '%s\n' '#include <stdio.h>' 'int main(void) { return puts("compiled and run") < 0; }' >"$tree/srv/a.c"
    in_tree gcc -O2 -o /srv/a /srv/a.c && [ "$(in_tree /srv/a)" = 'compiled and run' ]
}

if [ "${1:-}" = inside ]; then
    tree=$2 size=$3
    cd "$tree/.." || exit 1
    # In a user namespace there is no mknod, as in an LXC container. The first stage has made the nodes.
    check second-stage in_tree env container=lxc /debootstrap/debootstrap --second-stage || {
        tail -n 40 "$tree/debootstrap/debootstrap.log"
        exit 1
    }
    check proc in_tree mount -t proc proc /proc
    mkdir -p "$tree/archive" "$tree/dev/pts"
    mount --bind "$PIPIT_CACHE/archive" "$tree/archive"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$tree/dev/pts"
    echo "deb [trusted=yes] copy:/archive $(sed -n 's/^Codename: //p' "$PIPIT_CACHE"/archive/dists/*/Release) main" \
        >"$tree/etc/apt/sources.list"
    check randomised randomised
    check update apt update
    check user sandboxed
    check seccomp filtered
    if [ "$size" = full ]; then
        check install apt install vim gcc
        check vim editor
        check gcc compiler
    else
        check install apt install --no-install-recommends openssl
        check openssl tls
    fi
    check status unbroken
    exit $bad
fi

# ---- outside ----

why=$("$root/tests/arm64.sh" --can) || {
    echo "skip bootstrap: $why"
    exit 0
}
size=small variant=minbase
[ "${1:-}" != --full ] || size=full variant=-
# Device nodes must work there, which /tmp may forbid.
mkdir -p "$root/build"
tmp=$(mktemp -d -p "$root/build" bootstrap.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp" || exit 1
check archive "$root/tests/archive.sh" || exit 1
suite=$(sed -n 's/^Codename: //p' "$PIPIT_CACHE"/archive/dists/*/Release)
check first-stage debootstrap --foreign --arch=arm64 --variant=$variant --no-check-gpg "$suite" "$tmp/tree" \
    "file://$PIPIT_CACHE/archive" || exit 1
"$root/tests/arm64.sh" "$PIPIT_AARCH64" "$here/bootstrap.sh" inside "$tmp/tree" $size </dev/null || bad=1
[ $size = full ] || exit $bad

rm -rf "$tmp/tree"
for who in pipit qemu; do
    emulator=$PIPIT_AARCH64
    [ $who = pipit ] || emulator=$(. "$root/tools/peer.sh" && peer_user)
    check mmdebstrap-$who "$root/tests/arm64.sh" "$emulator" "$root/tests/mmdebstrap.sh" "$tmp/$who.tar"
done
check tar cmp "$tmp/pipit.tar" "$tmp/qemu.tar"
exit $bad
