#!/bin/sh
# The work that programs do in the Debian disk and, for comparison, on the host: work.sh FOLDER MODE [NAME...]
#
# FOLDER is where this lies (with its inputs), MODE `alone` (one after the other) or `together` (all at once). For each
# program it prints "work NAME SHA256-OF-OUTPUT MILLISECONDS". The output of each depends on nothing but the program.
# PYTHON, GCC and the like name other programs to run in their place.
set -u
here=$1 mode=$2
shift 2
[ $# -gt 0 ] || set -- python perl sqlite xz zstd openssl gcc float
export LC_ALL=C PYTHON="${PYTHON:-/usr/bin/python3}" PERL="${PERL:-/usr/bin/perl}" GCC="${GCC:-gcc}" here
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Text that compresses like text: numbers in words, the same everywhere.
numbers() {
    $PERL -e 'my $x = 1; for (1 .. $ARGV[0]) { $x = ($x * 1103515245 + 12345) % 2147483648; print $x >> 12, $_ % 9 ? " " : "\n"; }' "$1"
}

one() {
    case $1 in
    python) $PYTHON "$here/work.py" ;;
    float) $PYTHON "$here/float.py" ;;
    perl) $PERL "$here/work.pl" ;;
    sqlite) sqlite3 -batch :memory: <"$here/work.sql" ;;
    xz)
        xz -6 -T1 -c <"$tmp/numbers" >"$tmp/x.xz" && xz -dc "$tmp/x.xz" | cmp - "$tmp/numbers" && cat "$tmp/x.xz"
        ;;
    zstd)
        zstd -q -13 --single-thread -c <"$tmp/numbers" >"$tmp/x.zst" && zstd -qdc "$tmp/x.zst" | cmp - "$tmp/numbers" &&
            cat "$tmp/x.zst"
        ;;
    openssl)
        for i in 1 2 3 4 5 6 7 8; do
            cat "$tmp/numbers"
        done >"$tmp/plain"
        openssl dgst -sha256 -r <"$tmp/plain"
        openssl dgst -sha512 -r <"$tmp/plain"
        openssl dgst -sha3-256 -r <"$tmp/plain"
        half=00112233445566778899aabbccddeeff
        for c in aes-128-ctr:$half aes-256-cbc:$half$half chacha20:$half$half; do
            openssl enc "-${c%:*}" -K "${c#*:}" -iv 0f0e0d0c0b0a09080706050403020100 <"$tmp/plain" | openssl dgst -sha256 -r
        done
        openssl prime 170141183460469231731687303715884105727
        ;;
    gcc) $GCC -O2 -S -o - "$here/work_gcc.c" | grep -v '\.ident' ;;
    esac
}

timed() {
    start=$(date +%s%N)
    one "$1" >"$tmp/$1.out" 2>"$tmp/$1.err"
    status=$?
    end=$(date +%s%N)
    sum=$(sha256sum <"$tmp/$1.out" | cut -d' ' -f1)
    [ $status = 0 ] && [ -s "$tmp/$1.out" ] || sum="failed:$status:$(head -c 200 "$tmp/$1.err" | tr '\n ' '__')"
    echo "work $1 $sum $(((end - start) / 1000000))"
}

numbers 90000 >"$tmp/numbers"
if [ "$mode" = together ]; then
    start=$(date +%s%N)
    for name; do
        timed "$name" >"$tmp/$name.line" &
    done
    wait
    for name; do
        cat "$tmp/$name.line"
    done
    echo "together $((($(date +%s%N) - start) / 1000000))"
else
    for name; do
        timed "$name"
    done
fi
