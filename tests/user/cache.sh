#!/bin/bash
# limit: 300
# Saved translations: programs do the same with none, cold and warm ones, and whatever became of the images; nothing is
# written where it must not be. `-d translations` tells how many blocks were translated, and how many were saved ones.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
sysroot=/usr/aarch64-linux-gnu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
unset PIPIT_TRANSLATIONS XDG_CACHE_HOME XDG_RUNTIME_DIR
export HOME=$tmp/nowhere
bad=0

report() { # NAME WHY: empty is good
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        echo "FAIL $1: $2"
        bad=1
    fi
}

cat >hello.c <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
__attribute__((noinline, aligned(4096))) int value(void) { return 42; }
__attribute__((noinline, aligned(4096))) int main(int argc, char **argv)
{
    int v[200];
    long sum = 0;
    const char *how = argc > 1 ? argv[1] : "";
    for (int i = 0; i < 200; i++)
        v[i] = i * 7919 % 1009;
    if (!strcmp(how, "wait")) /* while what it had mapped is cut off */
        getchar();
    qsort(v, 200, sizeof(v[0]), compare);
    for (int i = 0; i < 200; i++)
        sum = sum * 31 + v[i];
    printf("%lx %d %lx\n", sum, value(), getauxval(AT_HWCAP));
    if (!strcmp(how, "fork")) {
        fflush(stdout);
        if (!fork()) {
            printf("child %.3f\n", atof("1.25") * value());
            exit(0);
        }
        wait(NULL);
    }
    if (!strcmp(how, "patch")) { /* its own private copy */
        unsigned *p = (unsigned *)(void *)value;
        mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
        for (int i = 0; i < 8; i++)
            if (p[i] == 0x52800540)
                p[i] = 0x52800560;
        __builtin___clear_cache((char *)p, (char *)p + 64);
        printf("patched %d\n", value());
    }
    if (!strcmp(how, "other")) { /* a file that is run here and written by way of there */
        int fd = open(argv[2], O_RDWR);
        unsigned *x = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        unsigned *w = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        int (*f)(void) = (int (*)(void))(void *)(x + 1024);
        printf("%d", f());
        w[1024] += 1 << 5;
        __builtin___clear_cache((char *)(x + 1024), (char *)(x + 1026));
        printf(" %d\n", f());
    }
    if (!strcmp(how, "chroot")) {
        printf("chroot %d\n", chroot(argv[2]) || chdir("/"));
        return 0;
    }
    return 3;
}
END
aarch64-linux-gnu-gcc -O1 -static hello.c -o hello && aarch64-linux-gnu-gcc -O1 hello.c -o dynamic || {
    echo 'FAIL cache: the programs do not compile'
    exit 1
}
python3 - <<'END'
import struct
# An ELF header and, in the second page, a function that returns 1.
open("code", "wb").write(open("hello", "rb").read(64).ljust(4096, b"\0") + struct.pack("<II", 0x52800020, 0xd65f03c0).ljust(4096, b"\0"))
END

# run FOLDER COMMAND...: its output and status into got, blocks translated into made, saved ones used into used.
run() {
    local folder=$1
    shift
    got=$(timeout 30 "$pipit" -translations "$folder" -d translations -L $sysroot "$@" 2>err </dev/null)
    got="$got status $?"
    read -r made used < <(sed -n 's/^pipit-aarch64: blocks: \([0-9]*\) translated, \([0-9]*\) saved.*/\1 \2/p' err | tail -n 1)
    grep -v '^pipit-aarch64: blocks' err >&2
    made=${made:-none} used=${used:-none}
}

# few N: is it what ld.so does otherwise where memory happens to lie otherwise?
few() { [ -n "$1" ] && [ "$1" -le 5 ]; }
few_in() { few "$(sed -n 's/.*blocks: \([0-9]*\) translated.*/\1/p' <<<"$1")"; }

# same FOLDER COMMAND...: what differs from a run without, in `why`.
same() {
    local folder=$1 want
    shift
    run off "$@"
    want=$got
    run "$folder" "$@"
    why=
    [ "$got" = "$want" ] || why="said '$got', not '$want'; "
}

for program in ./hello ./dynamic; do
    for how in '' fork patch; do
        name=${program#./}${how:+-$how}
        same "$tmp/of-$name" $program $how
        [ "$used" = 0 ] || why+="$used saved blocks before any; "
        report "cold-$name" "$why"
        same "$tmp/of-$name" $program $how
        # What a child alone ran may be too little to be worth writing.
        [ "$made" -le $((used / 16)) ] && [ "$used" -gt 150 ] || why+="$made blocks translated, $used used; "
        report "warm-$name" "$why"
    done
done
why=
for i in 1 2 3 4; do
    run "$tmp/code-images" ./hello other code
    [[ $got == *"$i $((i + 1)) status 3" ]] || why+="run $i said $got; "
done
report written-through-another-mapping "$why"
why=
for i in 1 2 3 4 5 6; do
    run "$tmp/of-dynamic" ./dynamic
    few "$made" && [ "$used" -gt 500 ] || why+="$made blocks translated, $used used; "
done
got=$(setarch -R "$pipit" -translations "$tmp/of-dynamic" -d translations -L $sysroot ./dynamic 2>&1)
few_in "$got" || why+="without randomisation: $got; "
report other-layouts "$why"
[ "$(stat -c %a of-dynamic-fork) $(stat -c %a of-dynamic-fork/* | sort -u)" = '700 600' ]
report modes "$([ $? = 0 ] || stat -c '%n %a' of-dynamic-fork of-dynamic-fork/*)"

# The program changes in place: size, first page, inode and folder of images stay.
cp hello changed
same "$tmp/of-hello" ./changed
[ "$made" = 0 ] || why+="$made blocks of a copy translated; "
report copy-of-the-program "$why"
python3 - <<'END'
data = bytearray(open("changed", "rb").read())
at = data.index(bytes.fromhex("40058052c0035fd6"))
assert at > 4096
data[at] = 0x60
open("changed", "r+b").write(data)
END
for i in 1 2; do
    same "$tmp/of-hello" ./changed
    [[ $got == *' 43 '* ]] || why+="said $got; "
    [ "$used" -gt 150 ] || why+="$used used; "
    report "changed-program-$i" "$why"
done

for model in max cortex-a57 cortex-a72; do
    want=$("$pipit" -translations off -cpu $model ./hello)
    got=$("$pipit" -translations "$tmp/models" -cpu $model ./hello; "$pipit" -translations "$tmp/models" -cpu $model ./hello)
    [ "$got" = "$want"$'\n'"$want" ]
    report "cpu-$model" "$([ $? = 0 ] || echo "said $got, not $want")"
done
[ "$(ls models | wc -l)" = 3 ]
report cpu-images "$([ $? = 0 ] || ls models)"

# ---- images that are not as they were ----
run "$tmp/whole" ./dynamic
run off ./dynamic
want=$got
# spoiled NAME FOLDER: the program must do the same; afterwards whole ones are there again.
spoiled() {
    run "$2" ./dynamic
    [ "$got" = "$want" ] || why+="$1: said '$got'; "
}
why=
for seed in $(seq 1 30); do
    rm -rf broken
    cp -r whole broken
    python3 - "$seed" <<'END'
import glob, random, sys
random.seed(int(sys.argv[1]))
for name in sorted(glob.glob("broken/*")):
    data = bytearray(open(name, "rb").read())
    # A few bytes, or all of a stretch; in every third round in the header and the table, too.
    for _ in range(random.choice((1, 5, 200))):
        at = random.randrange(len(data) if int(sys.argv[1]) % 3 else 2048)
        data[at:at + 8] = random.randbytes(len(data[at:at + 8]))
    open(name, "r+b").write(data)
END
    spoiled "seed $seed" "$tmp/broken"
done
report corrupted "$why"
why=
for size in 0 1 50 95 96 97 200 5000 50000 99999; do
    rm -rf broken
    cp -r whole broken
    truncate -s "<$size" broken/*
    spoiled "cut to $size" "$tmp/broken"
done
for f in broken/*; do
    head -c 100000 /dev/urandom >"$f"
done
spoiled garbage "$tmp/broken"
report truncated "$why"
rm -rf broken
cp -r whole broken
mkfifo go
"$pipit" -translations "$tmp/broken" -L $sysroot ./dynamic wait <go >out 2>&1 &
exec 3>go
sleep 0.3
truncate -s 0 broken/*
echo >&3
exec 3>&-
wait $!
status=$?
got="$(cat out) status $status"
[ "$got" = "$want" ]
report cut-while-mapped "$([ $? = 0 ] || echo "said $got, not $want")"

first=$(ls whole | head -n 1)
rm -rf broken
mkdir -m 700 broken
for f in whole/*; do
    ln -s "../$f" "broken/${f##*/}"
done
sum=$(cat whole/* | sha256sum)
why=
spoiled links "$tmp/broken"
[ "$used" = 0 ] || why+="$used blocks behind links used; "
[ "$sum" = "$(cat whole/* | sha256sum)" ] || why+="what links lead to was written; "
rm broken/*
mkfifo -m 600 "broken/$first"
mkdir "broken/$(ls whole | tail -n 1)"
spoiled fifo "$tmp/broken"
ln -s whole linked
spoiled 'linked folder' "$tmp/linked"
[ "$used" = 0 ] || why+="$used blocks of a linked folder used; "
report links "$why"

cp -r whole open
chmod 755 open
run "$tmp/open" ./dynamic
report open-folder "$([ "$used" = 0 ] || echo "$used blocks of a folder that others can enter used")"
chmod 700 open
chmod 644 open/*
run "$tmp/open" ./dynamic
report open-images "$([ "$used" = 0 ] || echo "$used blocks of images that others can read used")"

# ---- where ----
mkdir -p home/.cache run && chmod 700 run
run_by_default() {
    got=$("$pipit" -d translations -L $sysroot ./dynamic 2>&1)
}
HOME=$tmp/home run_by_default
report nothing-below-home "$(find home/.cache -mindepth 1)"
XDG_RUNTIME_DIR=$tmp/run HOME=$tmp/home run_by_default
XDG_RUNTIME_DIR=$tmp/run HOME=$tmp/home run_by_default
report runtime-folder "$(few_in "$got" && [ -n "$(ls run/pipit)" ] || echo "$got")"
chmod 755 run
XDG_RUNTIME_DIR=$tmp/run HOME=$tmp/home run_by_default
rm -rf run/pipit
XDG_RUNTIME_DIR=$tmp/run HOME=$tmp/home run_by_default
report open-runtime-folder "$([[ $got == *" 0 saved ones"* ]] && ! [ -e run/pipit ] || echo "$got")"
mkdir -m 700 home/.cache/pipit
HOME=$tmp/home run_by_default
HOME=$tmp/home run_by_default
report cache-folder "$(few_in "$got" || echo "$got")"
got=$(env -i "$pipit" -d translations -L $sysroot ./dynamic 2>&1)
report no-environment "$([[ $got == *" 0 saved ones"* ]] || echo "$got")"
got=$("$pipit" -translations some/where ./hello 2>&1)
report relative-path "$([[ $? = 1 && $got == *"path from the root"* ]] || echo "$got")"

ulimit_run() { # NAME LIMIT VALUE
    rm -rf limited
    got=$(
        ulimit "$2" "$3"
        "$pipit" -translations "$tmp/limited" -L $sysroot ./dynamic 2>&1
    )
    got="$got status $?"
    report "$1" "$([ "$got" = "$want" ] || echo "said $got, not $want")"
}
ulimit_run file-size -f 4
report file-size-images "$(find limited -type f 2>/dev/null)"
ulimit_run descriptors -n 5

rm -rf quiet
setpriv --no-new-privs "$pipit" -translations "$tmp/quiet" -L $sysroot ./dynamic >/dev/null
report no-new-privs-writes-nothing "$(find quiet -type f 2>/dev/null)"
got=$(setpriv --no-new-privs "$pipit" -translations "$tmp/whole" -d translations -L $sysroot ./dynamic 2>&1)
report no-new-privs-reads "$(few_in "$got" || echo "$got")"

# ---- chroots ----
if unshare --user --map-root-user true 2>/dev/null; then
    mkdir -p jail/root/.cache jail/bin jail/run/user/0
    cp "$pipit" hello jail/bin/
    before=$(find jail | sort)
    got=$(HOME=/root XDG_RUNTIME_DIR=/nowhere unshare --user --map-root-user chroot jail /bin/pipit-aarch64 /bin/hello)
    report chroot-gets-nothing "$([[ -n $got && $before == "$(find jail | sort)" ]] || find jail)"
    # The path of the images is there in the new root, too, and is another folder.
    mkdir -p "jail$tmp" && mkdir -m 700 "jail$tmp/inner" inner
    got=$(unshare --user --map-root-user "$pipit" -translations "$tmp/inner" ./hello chroot "$tmp/jail")
    report chroot-by-the-guest "$([[ $got == *'chroot 0' && -z $(ls "jail$tmp/inner") ]] || echo "$got: $(ls "jail$tmp/inner")")"
else
    echo 'skip chroot: no user namespaces'
fi

# ---- other users ----
if [ "$(id -u)" = 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups true 2>/dev/null; then
    chmod 755 "$tmp"
    as_other() {
        setpriv --reuid 65534 --regid 65534 --clear-groups "$@" 2>&1
    }
    cp "$pipit" other-pipit
    chmod 755 other-pipit
    cp -r whole foreign
    chown 65534 foreign/*
    run "$tmp/foreign" ./dynamic
    report foreign-images "$([ "$used" = 0 ] && [ "$got" = "$want" ] || echo "$used used: $got")"
    rm -rf foreign
    cp -r whole foreign
    chown 65534 foreign
    run "$tmp/foreign" ./dynamic
    report foreign-folder "$([ "$used" = 0 ] && [ "$got" = "$want" ] || echo "$used used: $got")"
    chown -R 65534 foreign
    got=$(as_other "$tmp/other-pipit" -translations "$tmp/foreign" -d translations -L $sysroot ./dynamic)
    report own-of-another "$([[ $got == *" "[0-7]" translated, "* ]] || echo "$got")"
    rm foreign/*
    chmod 500 foreign
    got=$(as_other "$tmp/other-pipit" -translations "$tmp/foreign" -d translations -L $sysroot ./dynamic)
    report read-only-folder "$([[ $got == *" 0 saved ones"* && -z $(ls foreign) ]] || echo "$got")"
    # A set-user-id emulator: its caller's folder counts for nothing, even where it is the program's user's.
    chmod 700 foreign
    chown 65534 other-pipit
    chmod 4755 other-pipit
    got=$("$tmp/other-pipit" -translations "$tmp/foreign" -L $sysroot ./dynamic)
    report set-user-id "$([[ -n $got && -z $(ls foreign) ]] || echo "$got: $(ls foreign)")"
else
    echo 'skip other-users: not root'
fi

# ---- many at once ----
why=
for i in $(seq 1 24); do
    "$pipit" -translations "$tmp/crowd" -L $sysroot ./dynamic $([ $((i % 3)) = 0 ] && echo fork) >crowd-$i 2>&1 &
done
wait
for i in $(seq 1 24); do
    [ "$(head -n 1 crowd-$i)" = "${want% status*}" ] || why+="$i: $(cat crowd-$i); "
done
run "$tmp/crowd" ./dynamic
[ "$made" -lt 8 ] || why+="$made blocks translated afterwards; "
[ -z "$(ls crowd | grep -v '^................\.a64$')" ] || why+="left: $(ls crowd); "
report many-at-once "$why"

# ---- room ----
mkdir -m 700 full
for name in 1 2 3; do
    truncate -s 21M full/000000000000000$name.a64
    chmod 600 full/000000000000000$name.a64
    touch -d "$name days ago" full/000000000000000$name.a64
done
truncate -s 1M full/0000000000000004.a64.77 full/0000000000000005.a64.78 full/unrelated
touch -d '1 day ago' full/0000000000000004.a64.77 full/unrelated
why=
run "$tmp/full" ./dynamic
[ "$(find full -name '*.a64*' -printf '%s\n' | awk '{ s += $1 } END { print s }')" -le $((64 << 20)) ] || why+='beyond the bound; '
[ -e full/0000000000000001.a64 ] && [ ! -e full/0000000000000003.a64 ] || why+='not the oldest one went; '
[ ! -e full/0000000000000004.a64.77 ] && [ -e full/0000000000000005.a64.78 ] || why+='unfinished ones; '
[ -e full/unrelated ] || why+='a file of somebody else went; '
run "$tmp/full" ./dynamic
[ "$made" = 0 ] || why+="$made blocks translated; "
report bound "${why:+$why$(ls -l full)}"
exit $bad
