#!/bin/bash
# arm64.sh EMULATOR COMMAND...: runs a command as root where the kernel starts arm64 programs by an emulator, pipit's or
# another: in user, mount and PID namespaces of the command's own with users and groups 0 to 65535, as a package manager
# needs them, and with a binfmt_misc of its own (Linux 6.7). Nothing of it is seen outside or stays. Needs root.
#
#   arm64.sh --can     is all this there? Otherwise says what is not, and exits with 1
set -euo pipefail

if [ "${1:-}" = inside ]; then
    emulator=$2
    shift 2
    mount -t proc proc /proc
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    printf ':arm64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:%s:POCF' \
        "$emulator" >/proc/sys/fs/binfmt_misc/register
    exec "$@"
fi

if [ "${1:-}" = --can ]; then
    [ "$(id -u)" = 0 ] || {
        echo 'only root can have other users in its namespace'
        exit 1
    }
    unshare --user --map-root-user --mount --pid --fork --kill-child bash -c \
        'mount -t proc proc /proc && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2>/dev/null || {
        echo 'no user namespaces, or this kernel has one binfmt_misc for all of them (before 6.7)'
        exit 1
    }
    exit 0
fi

# The namespace's maps are written from outside, while the process inside waits.
exec {go}<> <(:)
unshare --user bash -c 'read -r <&"$0" && exec setpriv --reuid 0 --regid 0 --clear-groups \
    unshare --mount --pid --fork --kill-child "$@"' $go "$0" inside "$@" &
child=$!
trap 'kill $child 2>/dev/null || true' EXIT
until [ "$(readlink /proc/$child/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do
    sleep 0.02
done
echo '0 0 65536' >/proc/$child/uid_map
echo '0 0 65536' >/proc/$child/gid_map
echo >&$go
wait $child
