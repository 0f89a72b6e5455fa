#!/bin/bash
# How programs are found, refused and named: each refusal is one sentence and the shell's usual status.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
sysroot=/usr/aarch64-linux-gnu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
bad=0

# expect NAME STATUS PATTERN COMMAND...: the status, and output of exactly one line that matches.
expect() {
    local name=$1 status=$2 pattern=$3 out got
    shift 3
    out=$(timeout 20 "$@" 2>&1 </dev/null)
    got=$?
    if [ $got = "$status" ] && [ "$(wc -l <<<"$out")" = 1 ] && grep -qE -- "$pattern" <<<"$out"; then
        echo "ok $name"
    else
        echo "$out"
        echo "FAIL $name: status $got, not $status with one line of /$pattern/"
        bad=1
    fi
}

cat >hello.c <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    const char *v = getenv("V");
    printf("%d %s %s\n", argc, argv[0], v ? v : "-");
    return 3;
}
END
aarch64-linux-gnu-gcc -O1 -static hello.c -o hello && aarch64-linux-gnu-gcc -O1 hello.c -o hello-dynamic &&
    aarch64-linux-gnu-gcc -O1 -static-pie hello.c -o hello-pie && aarch64-linux-gnu-gcc -O1 -no-pie hello.c -o hello-nopie &&
    gcc -O1 hello.c -o native && aarch64-linux-gnu-gcc -c hello.c -o hello.o || {
    echo 'FAIL start: the programs do not compile'
    exit 1
}

expect static 3 '^1 \./hello -$' "$pipit" ./hello
expect static-pie 3 '^1 \./hello-pie -$' "$pipit" ./hello-pie
expect dynamic 3 '^2 \./hello-dynamic -$' "$pipit" -L $sysroot ./hello-dynamic x
expect dynamic-no-pie 3 '^1 \./hello-nopie -$' "$pipit" -L $sysroot ./hello-nopie
expect argv0 3 '^1 other -$' "$pipit" -0 other ./hello
expect set-variable 3 '^1 \./hello 1=2$' "$pipit" -E V=1=2 ./hello
expect unset-variable 3 '^1 \./hello -$' env V=x "$pipit" -U V ./hello
expect environment 3 '^1 \./hello b$' env QEMU_SET_ENV=A=a,V=b "$pipit" ./hello
expect prefix-variable 3 '^1 \./hello-dynamic -$' env QEMU_LD_PREFIX=$sysroot "$pipit" ./hello-dynamic
expect no-randomisation 3 '^1 \./hello-dynamic -$' setarch -R "$pipit" -L $sysroot ./hello-dynamic

cat >uname.c <<'END'
#include <stdio.h>
#include <sys/utsname.h>
int main(void)
{
    struct utsname u;
    uname(&u);
    printf("%s %s\n", u.release, u.machine);
    return 0;
}
END
aarch64-linux-gnu-gcc -O1 -static uname.c -o uname
expect release 0 '^5\.4\.0-other aarch64$' "$pipit" -r 5.4.0-other ./uname
expect release-variable 0 '^5\.4\.1 aarch64$' env QEMU_UNAME=5.4.1 "$pipit" ./uname
expect release-host 0 "^$(uname -r) aarch64\$" "$pipit" ./uname

echo 'not a program' >text
head -c 40 hello >cut-header
head -c 5000 hello >cut-segment
: >empty
chmod +x text cut-header cut-segment empty
cp hello no-exec && chmod -x no-exec
printf '\x02' | dd of=hello-dynamic bs=1 seek=16 conv=notrunc status=none && cp hello-dynamic et-exec
aarch64-linux-gnu-gcc -O1 hello.c -o hello-dynamic
cp hello big-endian && printf '\x02' | dd of=big-endian bs=1 seek=5 conv=notrunc status=none
cp hello no-headers && printf '\x00\x00' | dd of=no-headers bs=1 seek=56 conv=notrunc status=none
cp hello many-headers && printf '\xff\xff' | dd of=many-headers bs=1 seek=56 conv=notrunc status=none

expect missing 127 'nowhere: No such file' "$pipit" ./nowhere
expect directory 126 'is a directory, not a program' "$pipit" .
expect text 126 'text is not an ELF program' "$pipit" ./text
expect empty 126 'empty is not an ELF program' "$pipit" ./empty
expect other-architecture 126 'native is a program for x86-64, not for arm64' "$pipit" ./native
expect object-file 126 'hello.o is an object file' bash -c 'chmod +x hello.o && exec "$0" ./hello.o' "$pipit"
expect cut-header 126 'cut-header is cut off' "$pipit" ./cut-header
expect cut-segment 126 'cut-segment is cut off' "$pipit" ./cut-segment
expect big-endian 126 'big-endian program' "$pipit" ./big-endian
expect no-headers 126 'has 0 program headers' "$pipit" ./no-headers
expect many-headers 126 'program headers' "$pipit" ./many-headers
expect not-executable 126 'no-exec may not be executed: Permission denied' "$pipit" ./no-exec
expect no-interpreter 127 'needs the interpreter /lib/ld-linux-aarch64.so.1, which is not there; -L' "$pipit" -L /nowhere ./hello-dynamic
expect no-program 1 'no program is named' "$pipit"
expect unknown-option 1 'there is no option "-nothing"' "$pipit" -nothing ./hello
expect unknown-cpu 1 'no CPU model "z80"' "$pipit" -cpu z80 ./hello
expect option-argument 1 'option -L wants an argument' "$pipit" -L
expect version 0 '^pipit-aarch64 version [0-9.]+$' "$pipit" -version
expect version-as-qemu 0 '^qemu-aarch64 version 10\.0\.0 \(pipit [0-9.]+\)$' bash -c 'exec -a /usr/bin/qemu-aarch64-static "$0" -version' "$pipit"
expect stack-size 3 '^1 \./hello -$' "$pipit" -s 256K ./hello
expect stack-size-word 1 'option -s wants a number|-s wants a number, not "1x"' "$pipit" -s 1x ./hello
expect jit 1 'there are "tier1", "interp", "lockstep" and "mixed' "$pipit" -jit 5 ./hello
expect page-size 1 'pages are those of the host' "$pipit" -p 64K ./hello
expect base 1 'the base is 0' "$pipit" -B 0x1000 ./hello
expect reserved 1 '-R 4G: .* none are reserved' "$pipit" -R 4G ./hello
expect reserved-nothing 3 '^1 \./hello -$' "$pipit" -R 0 ./hello
expect plugin 1 '-plugin x.so: ' "$pipit" -plugin x.so ./hello
expect trace 1 '-trace x: .*-strace' env QEMU_TRACE=x "$pipit" ./hello
expect dfilter 1 '-dfilter wants ranges like .*, not "0..x"' "$pipit" -dfilter 0..x ./hello
expect log-item 1 '-d strace,unimp: there is no "unimp"' "$pipit" -d strace,unimp ./hello
expect one-instruction 3 '^1 \./hello -$' "$pipit" -one-insn-per-tb ./hello
if "$pipit" -d help | grep -q '^strace .*system calls'; then
    echo 'ok log-items'
else
    echo 'FAIL log-items: -d help does not list them'
    bad=1
fi
# The path of the translator's blocks, none of them linked, is part of the interpreter's path of instructions; with links it
# is shorter. -dfilter takes the blocks that it names; the registers have the program counter that was announced.
"$pipit" -seed 1 -d exec,nochain -D blocks ./hello >/dev/null
"$pipit" -seed 1 -d exec -D linked ./hello >/dev/null
"$pipit" -seed 1 -d exec -jit interp -D instructions ./hello >/dev/null
if perl -e 'open B, "blocks"; open I, "instructions"; @b = <B>; $n = 0; while (<I>) { $n++ if $n < @b && $_ eq $b[$n] }
        exit !(@b > 500 && $n == @b && !grep !/^Trace 0: [0-9a-f]{16}$/, @b)' &&
    [ "$(wc -l <linked)" -lt "$(($(wc -l <blocks) / 2))" ]; then
    echo "ok log-exec: $(wc -l <blocks) blocks, $(wc -l <instructions) instructions"
else
    echo "FAIL log-exec: $(wc -l <blocks) blocks, $(wc -l <linked) linked, $(wc -l <instructions) instructions"
    bad=1
fi
first=$(sed -n '1s/.* //p' blocks)
"$pipit" -d exec,cpu,nochain -dfilter "0x$first+4" -D cpu ./hello >/dev/null
if [ "$(grep -c ^Trace cpu)" = 1 ] && grep -q "^PC =$first X00=0000000000000000 " cpu && grep -qE '^SP =0*[1-9a-f][0-9a-f]* PSTATE=[0-9a-f]{8} .* EL0t$' cpu; then
    echo 'ok log-cpu'
else
    echo "FAIL log-cpu: $(head -n 12 cpu)"
    bad=1
fi
# The map has each block of the program's code once, and the bytes that it names do not overlap.
setsid sh -c 'echo $$ >pid; exec "$0" -perfmap ./hello' "$pipit" >/dev/null
map=/tmp/perf-$(cat pid).map
if [ "$(wc -l <"$map")" -ge 100 ] && ! grep -qvE '^[0-9a-f]+ [0-9a-f]+ arm64:[0-9a-f]+$' "$map" &&
    perl -ne '($a, $n) = map hex, split; die "overlap\n" if $a < $end; $end = $a + $n' "$map"; then
    echo "ok perf-map: $(wc -l <"$map") blocks"
else
    echo "FAIL perf-map: $(wc -l <"$map") lines"
    bad=1
fi
rm -f "$map"
# The code that -d in_asm shows is what objdump shows at the same addresses; a hint has a name in the newer of the two.
"$pipit" -d in_asm -D asm ./hello >/dev/null
aarch64-linux-gnu-objdump -d hello | sed -n -E 's/^ +([0-9a-f]+):\t([0-9a-f]{8}) \t([a-z0-9.]+).*/\1 \2 \3/p' | sort >objdump.text
sed -n -E 's/^0x0+([0-9a-f]+):  ([0-9a-f]{8})  ([a-z0-9.]+).*/\1 \2 \3/p' asm | grep -vE ' (\.inst|hint)$' | sort -u >asm.text
if [ "$(wc -l <asm.text)" -ge 500 ] && [ "$(comm -23 asm.text objdump.text | wc -l)" = 0 ]; then
    echo "ok in-asm: $(wc -l <asm.text) instructions"
else
    comm -23 asm.text objdump.text | head -n 5
    echo "FAIL in-asm: $(wc -l <asm.text) instructions"
    bad=1
fi
entry=$(aarch64-linux-gnu-readelf -h hello | sed -n 's/.*Entry point address: *//p')
for range in "$entry..$entry" "$entry+1" "1..2,${entry#0x}-1"; do
    if [ "$("$pipit" -d in_asm -dfilter "$range" ./hello 2>&1 >/dev/null | grep -c ^IN:)" = 1 ]; then
        echo "ok dfilter-$range"
    else
        echo "FAIL dfilter-$range: not one block"
        bad=1
    fi
done
# The dump and the map have the same blocks; a forked child has files of its own, with all that was translated before.
cat >fork.c <<'END'
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    pid_t pid = fork();
    if (pid)
        wait(NULL);
    return pid ? 0 : 1;
}
END
aarch64-linux-gnu-gcc -O1 -static fork.c -o fork && "$pipit" -perfmap -jitdump ./fork
if python3 - <<'END'; then
import glob, os, struct
dumps = glob.glob("jit-*.dump")
assert len(dumps) == 2, dumps
for name in dumps:
    data, pid = open(name, "rb").read(), int(name[4:-5])
    magic, version, size, machine, _, owner, _, flags = struct.unpack_from("<6IQQ", data)
    assert (magic, version, size, machine, owner, flags) == (0x4A695444, 1, 40, 62, pid, 0)
    at, blocks = size, set()
    while at < len(data):
        kind, total, _, owner, _, vma, addr, length, index = struct.unpack_from("<IIQIIQQQQ", data, at)
        text, code = data[at + 56 : at + total].split(b"\0", 1)
        assert kind == 0 and owner == pid and vma == addr and len(code) == length and index == len(blocks)
        blocks.add((addr, length, text.decode()))
        at += total
    lines = [line.split() for line in open(f"/tmp/perf-{pid}.map")]
    os.unlink(f"/tmp/perf-{pid}.map")
    assert len(blocks) > 100 and blocks == {(int(a, 16), int(n, 16), t) for a, n, t in lines}
END
    echo 'ok jitdump'
else
    echo 'FAIL jitdump'
    bad=1
fi
expect log-file 0 '^exit_group\(3\) += \?$' bash -c '"$0" -strace -D log ./hello >out; tail -n 1 log' "$pipit"
cat >random.c <<'END'
#include <stdio.h>
#include <sys/auxv.h>
int main(void)
{
    unsigned long *p = (unsigned long *)getauxval(25);
    printf("%lx%lx\n", p[0], p[1]);
    return 0;
}
END
aarch64-linux-gnu-gcc -O1 -static random.c -o random
if [ "$("$pipit" -seed 7 ./random)" = "$("$pipit" -seed 7 ./random)" ] && [ "$("$pipit" -seed 7 ./random)" != "$("$pipit" -seed 8 ./random)" ] &&
    [ "$("$pipit" ./random)" != "$("$pipit" ./random)" ]; then
    echo 'ok seed'
else
    echo 'FAIL seed: AT_RANDOM is not made from it'
    bad=1
fi
expect persistent-alone 1 'goes with -register' "$pipit" -persistent ./hello
expect small-address-space 126 'address space or memory is not enough' bash -c 'ulimit -v 2500 && exec "$0" ./hello' "$pipit"
# From what the kernel can just begin on: one sentence, and from some size on, a program that runs.
sweep() {
    local name=$1 size out got runs=0
    shift
    for size in 2000 2500 2800 3000 3500 4200 6000 8000 9000 9500 10000 11000 12000 13000 14000 15000 17000 18000 20000 \
        25000 33000 41000 49000 50000 57000 75000 100000 130000 165000 200000 250000 300000; do
        out=$(ulimit -v "$size" && exec "$pipit" "$@" 2>&1 </dev/null)
        got=$?
        if [ $got = 3 ] && [[ $out == '1 ./hello'* ]]; then
            runs=$((runs + 1))
        elif [ $got != 126 ] || [ $runs != 0 ] || [[ $out != pipit-aarch64:* || $out == *$'\n'* ]]; then
            echo "FAIL $name: status $got with $size KiB: $out"
            bad=1
            return
        fi
    done
    [ $runs -ge 15 ] && echo "ok $name" && return
    echo "FAIL $name: runs with $runs of the sizes"
    bad=1
}
sweep address-space ./hello
sweep address-space-pie ./hello-pie
sweep address-space-dynamic -L $sysroot ./hello-dynamic
expect small-stack 126 'the stack is too small' setarch -R env -i prlimit --stack=20480 "$pipit" ./hello $(seq 1100)
expect large-stack 3 '^1 \./hello -$' bash -c 'ulimit -s unlimited && exec "$0" ./hello' "$pipit"
expect no-descriptor 126 'hello cannot be opened: Too many open files' bash -c 'ulimit -n 3 && exec "$0" ./hello' "$pipit"
expect one-descriptor 3 '^1 \./hello -$' bash -c 'ulimit -n 4 && exec "$0" ./hello' "$pipit"
expect little-data 126 'no room' bash -c 'ulimit -d 4000 && exec "$0" ./hello' "$pipit"
expect many-arguments 3 '^100001 \./hello -$' bash -c 'exec "$0" ./hello $(seq 100000 199999)' "$pipit"
expect no-environment 3 '^1 \./hello -$' env -i "$pipit" ./hello
# A sandbox that answers EPERM to calls that it does not know, as older ones of containers do: here faccessat2.
cat >older.py <<'END'
import ctypes, os, struct, sys
code = b"".join(struct.pack("<HBBI", *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, 439), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)))
buf = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(buf))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
END
expect older-sandbox 3 '^1 \./hello-dynamic -$' python3 older.py "$pipit" -L $sysroot ./hello-dynamic
expect closed-input 3 '^1 \./hello -$' bash -c 'exec "$0" ./hello <&- 2>&-' "$pipit"
expect signals-ignored 3 '^1 \./hello -$' bash -c 'trap "" CHLD PIPE SEGV BUS FPE ILL TRAP SYS USR1; exec "$0" ./hello' "$pipit"
expect signals-blocked 3 '^1 \./hello -$' python3 -c 'import os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])' "$pipit" ./hello
exit $bad
