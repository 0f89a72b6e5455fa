#!/bin/sh
# Runs the cases that run.sh has planned, here or in a guest that has little more than busybox: exec.sh PLAN OUT, in the
# folder of the programs. The plan is a list of
#
#   one LABEL WORD COMMAND...
#
# With a WORD the command is ended with SIGTERM as soon as it has printed that; otherwise it ends by itself. OUT/LABEL.out
# and .err get what it printed, .status its exit status (KILLED: not within 60 s), .disk the sum of what it wrote.
out=$2

one() {
    label=$1 word=$2
    shift 2
    cp seed.img disk.img
    (
        sh -c 'echo $$ >"$0"; exec "$@"' "$out/$label.pid" "$@" </dev/null >"$out/$label.out" 2>"$out/$label.err"
        echo $? >"$out/$label.status"
    ) &
    n=0
    until [ -s "$out/$label.status" ]; do
        if [ -n "$word" ] && grep -q "$word" "$out/$label.out"; then
            kill -TERM "$(cat "$out/$label.pid")"
            word=
        fi
        if [ $n = 600 ]; then
            kill -KILL "$(cat "$out/$label.pid")"
            wait
            echo KILLED >"$out/$label.status"
        fi
        sleep 0.1
        n=$((n + 1))
    done
    wait
    dd if=disk.img bs=4096 skip=8 count=1 2>/dev/null | sha256sum | cut -d' ' -f1 >"$out/$label.disk"
}

mkdir -p "$out"
. "$1"
