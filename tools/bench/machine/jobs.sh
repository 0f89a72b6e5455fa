#!/bin/sh
# jobs.sh FOLDER PROGRAMS: in the guest and, for comparison, on the host. FOLDER has forkexec and text, PROGRAMS the source
# that gcc compiles. "time NAME NANOSECONDS" for each job; one that fails says so. Jobs whose names end in 1 do one after
# the other what those in 2 do on two CPUs at once.
set -u
export LC_ALL=C GCC="${GCC:-gcc}" TMPDIR="$1"
cd "$1" || exit
programs=$2

compile() {
    $GCC -O2 -S -o "$1.s" "$programs/work_gcc.c"
}

job() {
    case $1 in
    xz1) xz -3 -T1 --block-size=262144 -c text >xz.out ;;
    xz2) xz -3 -T2 --block-size=262144 -c text >xz.out ;;
    gcc1) compile a && compile b ;;
    gcc2)
        compile a &
        compile b && wait $!
        ;;
    esac
}

# What they read comes from the page cache.
compile a && head -c 100000 text | xz -3 -c >xz.out || exit
echo begin
echo "time forkexec $(./forkexec 200 /bin/true)"
for name in xz1 xz2 gcc1 gcc2; do
    start=$(date +%s%N)
    if job $name; then
        echo "time $name $(($(date +%s%N) - start))"
    else
        echo "failed $name"
    fi
done
xz -dc xz.out | cmp - text && cmp a.s b.s && echo 'jobs done'
rm -f xz.out a.s b.s
