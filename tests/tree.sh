#!/bin/bash
# tree.sh COMMAND...: runs a command in the Debian arm64 tree of tests/rootfs.sh. The tree is shared by tests: what is
# written goes elsewhere. Runs as root of user and mount namespaces (tests/arm64.sh), and mounts there.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tree=${PIPIT_CACHE:-$root/.cache}/rootfs/tree
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
mount -t tmpfs tmpfs /mnt/root/tmp
touch /mnt/root/dev/null
mount --bind /dev/null /mnt/root/dev/null
exec chroot /mnt/root "$@"
