#!/bin/sh
# What the guest runs in the Debian disk: every program alone and then all at once; the argument says another mode only.
[ $# -gt 0 ] && [ -n "$1" ] || set -- alone,together
for mode in $(echo "$1" | tr , ' '); do
    echo "mode $mode"
    sh /programs/work.sh /programs "$mode"
done
