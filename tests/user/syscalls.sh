#!/bin/bash
# The table of system calls (vmm/user/syscalls.def): names each with its class; its numbers are those of the two
# architectures' headers; none of the headers' calls is missing; and the answer to each, called with arguments that
# cannot be, is "not implemented" only where this host says so itself, or where the table says that arm64 has it not.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${PIPIT_ROOT:-$(cd "$here/../.." && pwd)}
pipit=${PIPIT_AARCH64:-$root/build/release/pipit-aarch64}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
bad=0

# number host-number name class
sed -n 's/^CALL(\([0-9]*\), \([0-9]*\), \([a-z0-9_]*\), \([A-Z]*\),.*/\1 \2 \3 \4/p' "$root/vmm/user/syscalls.def" >table
[ "$(grep -c '^CALL' "$root/vmm/user/syscalls.def")" = "$(wc -l <table)" ] || {
    echo 'FAIL rows: not every row of the table can be read'
    exit 1
}

# name number, as the compiler's headers have them; the bounds of the list are not calls.
numbers() {
    { echo '#include <asm/unistd.h>' && sed 's/.* .* \(.*\) .*/@\1 __NR_\1/' table; } | "$1" -E -P -x c - |
        sed -n 's/^@\([a-z0-9_]*\) \([0-9]*\)$/\1 \2/p' | sort
}
numbers aarch64-linux-gnu-gcc >arm64
numbers gcc >host
awk '{ print $3, $1 }' table | sort >ours-arm64
awk '{ print $3, $2 }' table | sort >ours-host
for which in arm64 host; do
    if [ "$(wc -l <$which)" -lt 290 ]; then
        echo "FAIL numbers-$which: the headers tell only $(wc -l <$which)"
        bad=1
    elif comm -23 $which ours-$which | grep .; then
        echo "FAIL numbers-$which: these are otherwise in the table"
        bad=1
    else
        echo "ok numbers-$which: $(wc -l <$which) compared, $(($(wc -l <table) - $(wc -l <$which))) newer than the headers"
    fi
done
missing=$(echo '#include <asm/unistd.h>' | aarch64-linux-gnu-gcc -E -dM -x c - | sed -n 's/^#define __NR_\([a-z0-9_]*\) .*/\1/p' |
    grep -vxE 'syscalls|arch_specific_syscall' | grep -vxFf <(awk '{ print $3 }' table))
if [ -n "$missing" ]; then
    echo "FAIL complete: the table lacks" $missing
    bad=1
else
    echo 'ok complete'
fi

# Those that end or hang up the caller are left out here; the other tests make them all.
{
    cat <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static const struct { const char *name; int arm64, host; } calls[] = {
END
    grep -vE ' (exit|exit_group|rt_sigreturn|vhangup|reboot|ptrace|restart_syscall) ' table |
        sed 's/\(.*\) \(.*\) \(.*\) .*/{"\3", \1, \2},/'
    cat <<'END'
};
int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        pid_t pid = fork();
        int status;
        if (!pid) {
            setsid();
            alarm(5);
#ifdef __aarch64__
            long nr = calls[i].arm64;
#else
            long nr = calls[i].host;
#endif
            long r = syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L);
            _exit(r == -1 && errno == ENOSYS);
        }
        waitpid(pid, &status, 0);
        printf("%s %s\n", calls[i].name, WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "ENOSYS" : "there");
    }
    return 0;
}
END
} >calls.c
gcc -O1 calls.c -o native && aarch64-linux-gnu-gcc -O1 -static calls.c -o guest || exit 1
timeout 100 ./native >want 2>/dev/null
timeout 200 "$pipit" ./guest >got 2>/dev/null
[ "$(wc -l <got)" = "$(wc -l <want)" ] || {
    echo "FAIL answers: only $(wc -l <got) of $(wc -l <want) calls were answered"
    bad=1
}
while read -r nr _ name class; do
    native=$(sed -n "s/^$name //p" want) ours=$(sed -n "s/^$name //p" got)
    if [ "$class" != NONE ] && [ "$ours" = ENOSYS ] && [ "$native" != ENOSYS ]; then
        echo "FAIL $name: $class, and not implemented although the host has it"
        bad=1
    elif [ "$class" = NONE ] && [ "$ours" = there ]; then
        echo "FAIL $name: answered, although the table says that it is not there"
        bad=1
    else
        echo "ok $name: $nr, $class${ours:+, $ours}"
    fi
done <table
exit $bad
