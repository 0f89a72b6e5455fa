#!/bin/bash
# --register and --unregister, and programs that the kernel starts: in a user namespace of the test's own, whose
# binfmt_misc is its own (Linux 6.7); flags F, OCF, OPF and POCF; a chroot that has nothing of the host's; the names that
# programs see; set-user-id and AT_SECURE; another emulator's entry.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
export PIPIT_AARCH64=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}

if [ "${1:-}" != inside ]; then
    unshare --user --map-root-user --mount --pid --fork --kill-child bash -c \
        'mount -t proc proc /proc && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2>/dev/null || {
        echo 'skip binfmt: no user namespaces, or this kernel has one binfmt_misc for all of them (before 6.7)'
        exit 0
    }
    [ "$(id -u)" = 0 ] || exec unshare --user --map-root-user --mount --pid --fork --kill-child "$0" inside
    # Root can have other users in the namespace, too.
    go=$(mktemp -d)
    trap 'rm -rf "$go"' EXIT
    mkfifo "$go/fifo"
    unshare --user bash -c 'read -r <"$0" && exec setpriv --reuid 0 --regid 0 --clear-groups \
        unshare --mount --pid --fork --kill-child "$1" inside' "$go/fifo" "$0" &
    until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do
        sleep 0.05
    done
    echo '0 0 65536' >/proc/$!/uid_map
    echo '0 0 65536' >/proc/$!/gid_map
    echo >"$go/fifo"
    wait $!
    exit
fi

mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
tmp=/mnt
cd $tmp || exit 1
misc=/proc/sys/fs/binfmt_misc
pipit=$PIPIT_AARCH64
bad=0

check() {
    local name=$1 want=$2 got=$3
    if [ "$want" = "$got" ]; then
        echo "ok $name"
    else
        printf 'want: %s\ngot:  %s\n' "$want" "$got"
        echo "FAIL $name: not as it should be"
        bad=1
    fi
}

cat >hello.c <<'END'
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char exe[256] = "", comm[32] = "";
    if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
        strcpy(exe, "-");
    prctl(PR_GET_NAME, comm);
    printf("%d %s %s exe %s comm %s execfn %s secure %ld\n", argc, argv[0], argc > 1 ? argv[1] : "-", exe, comm,
           (char *)getauxval(AT_EXECFN), getauxval(AT_SECURE));
    fflush(stdout);
    if (argc > 2 && !strcmp(argv[1], "again"))
        execl("/proc/self/exe", "renamed", argv[2], NULL);
    return 3;
}
END
aarch64-linux-gnu-gcc -O1 -static hello.c -o hello || {
    echo 'FAIL binfmt: the program does not compile'
    exit 1
}

# Without it being mounted, and twice: the second replaces the first.
out=$("$pipit" --register 2>&1 && "$pipit" --register 2>&1)
check register $'arm64 programs are now run by pipit-aarch64\narm64 programs are now run by pipit-aarch64' "$out"
check flags 'flags: POCF' "$(grep flags $misc/pipit-aarch64)"
out=$(./hello x; echo $?)
check path $'2 ./hello x exe /mnt/hello comm hello execfn ./hello secure 0\n3' "$out"
out=$(bash -c 'exec -a "another name" ./hello')
check argv0 '1 another name - exe /mnt/hello comm hello execfn /mnt/hello secure 0' "$out"
out=$(PATH=$PATH:/mnt hello)
check search '1 hello - exe /mnt/hello comm hello execfn /mnt/hello secure 0' "$out"
out=$(./hello again y)
check self $'3 ./hello again exe /mnt/hello comm hello execfn ./hello secure 0\n2 renamed y exe /mnt/hello comm hello execfn /mnt/hello secure 0' "$out"

# The entry is of a file that was opened then: a folder that has nothing but the program is enough.
mkdir -p jail/bin && cp hello jail/bin/
out=$(chroot jail /bin/hello in)
check chroot '2 /bin/hello in exe /bin/hello comm hello execfn /bin/hello secure 0' "$out"
mkdir jail/proc && mount -t proc proc jail/proc
out=$(chroot jail /bin/hello again z)
check chroot-proc $'3 /bin/hello again exe /bin/hello comm hello execfn /bin/hello secure 0\n2 renamed z exe /bin/hello comm hello execfn /bin/hello secure 0' "$out"

# Variables count, but not for a program that runs as somebody else.
out=$(QEMU_ARGV0=variable ./hello)
check variable '1 variable - exe /mnt/hello comm hello execfn ./hello secure 0' "$out"
if [ "$(wc -l </proc/self/uid_map)" = 1 ] && grep -q 65536 /proc/self/uid_map; then
    cp hello secure && chmod 4755 secure && chmod 755 .
    out=$(QEMU_ARGV0=variable QEMU_STRACE=1 setpriv --reuid 1000 --regid 1000 --clear-groups ./secure 2>&1)
    check set-user-id '1 ./secure - exe /mnt/secure comm secure execfn ./secure secure 1' "$out"
else
    echo 'skip set-user-id: only root can have a second user in its namespace'
fi

# The other flags. Without P a program gets its path as argv[0].
for flags in F OCF OPF POCF; do
    echo -1 >$misc/pipit-aarch64 2>/dev/null
    printf ':pipit-aarch64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:%s:%s' "$pipit" $flags >$misc/register
    name=/mnt/hello
    [[ $flags != *P* ]] || name=called
    out=$(bash -c 'exec -a called ./hello w'; echo $?; chroot jail /bin/hello)
    check flags-$flags "2 $name w exe /mnt/hello comm hello execfn /mnt/hello secure 0"$'\n3\n'"1 /bin/hello - exe /bin/hello comm hello execfn /bin/hello secure 0" "$out"
done

# Another emulator's entry stays, is named, and serves again afterwards.
"$pipit" --unregister >/dev/null
sed 's/.*/#!\/bin\/sh\necho other emulator/' <<<x >other && chmod +x other
printf ':other:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:%s:' "$tmp/other" >$misc/register
out=$("$pipit" --register; ./hello | head -n 1; "$pipit" --unregister; ./hello)
check other $'arm64 programs are now run by pipit-aarch64\nother is registered for arm64 programs, too: it serves again after --unregister\n1 ./hello - exe /mnt/hello comm hello execfn ./hello secure 0\narm64 programs are not run by pipit-aarch64 any more\nother is registered for arm64 programs, too: it serves from now on\nother emulator' "$out"
out=$("$pipit" --unregister 2>&1; echo $?)
check twice $'pipit-aarch64: pipit-aarch64 is not registered\n126' "$out"
umount $misc
mount -o ro,bind $misc $misc 2>/dev/null
out=$(setpriv --bounding-set -all --inh-caps -all "$pipit" --register 2>&1; echo $?)
check no-right 126 "${out##*$'\n'}"
exit $bad
