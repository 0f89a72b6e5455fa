#!/bin/sh
# guest.sh SECONDS PORT: rounds of mixed load until so many seconds are over: the programs of tests/rootfs all at once, a
# file written and read again from the disk, and one from the host's port. Each thing is one line, "work NAME DIGEST ...".
set -u
read -r begun _ </proc/uptime
mkdir -p /mixed
while :; do
    sh /programs/work.sh /programs together
    head -c 16000000 /dev/urandom >/mixed/noise
    want=$(sha256sum </mixed/noise)
    sync
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(sha256sum </mixed/noise)" = "$want" ] && echo 'work disk same 0' || echo 'work disk failed 0'
    rm -f /mixed/noise
    echo "work network $(python3 /tmp/fetch.py "$2") 0"
    read -r now _ </proc/uptime
    echo "round after $((${now%.*} - ${begun%.*})) s"
    [ $((${now%.*} - ${begun%.*})) -lt "$1" ] || break
done
echo 'mixed done'
