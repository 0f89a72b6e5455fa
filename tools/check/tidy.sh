#!/bin/bash
# clang-tidy (.clang-tidy) over every C file, on all cores. A file that passed is remembered by the hash of its
# preprocessed text, the checks and the tool's version, and not read again until one of them changes. V=1 shows how
# the analyzer came to what it says. Files that only the build for arm64 hosts has, and those of user mode, are read as
# their builds compile them.
set -euo pipefail
cache=${PIPIT_CACHE:-$PWD/.cache}/tidy
mkdir -p "$cache"
make="make -s CC=clang ${TIDY_CROSS:+CROSS=$TIDY_CROSS}"
# The analyzer explores each function less far than it would by itself: a third of the time, for the same findings.
eval "flags=($($make "print-${TIDY_KIND:-}cflags") -Xclang -analyzer-config -Xclang max-nodes=50000)"
version=$(clang-tidy --version | grep -i 'version' | head -n 1)

if [ "${1:-}" = one ]; then
    key=$({ clang "${flags[@]}" -E "$2" && cat .clang-tidy && echo "$version ${flags[*]}"; } | sha256sum | cut -d' ' -f1)
    [ ! -e "$cache/$key" ] || exit 0
    # What a test program has not freed or closed goes with it, and a failed call shows in the next check.
    checks=
    [[ $2 != tests/* ]] || checks=-clang-analyzer-unix.Malloc,-clang-analyzer-unix.Stream,-clang-analyzer-unix.StdCLibraryFunctions
    if out=$(clang-tidy --quiet ${checks:+"--checks=$checks"} "$2" -- "${flags[@]}" 2>/dev/null) && ! grep -qE '(warning|error):' <<<"$out"; then
        : >"$cache/$key"
        exit 0
    fi
    if [ -n "${V:-}" ]; then printf '%s\n' "$out"; else grep -E '(warning|error):' <<<"$out"; fi
    exit 1
fi
# Passes that nothing has asked for in a month are forgotten.
find "$cache" -type f -mtime +30 -delete
$make generated
list() {
    make -s "${@:-list-sources}" | tr ' ' '\n' | grep . | LC_ALL=C sort
}
bad=0
list list-user-sources | TIDY_KIND=user- xargs -r -P "$(nproc)" -n 1 "$0" one || bad=1
list | xargs -P "$(nproc)" -n 1 "$0" one || bad=1
tools/sysroot.sh
export TIDY_CROSS=aarch64-linux-gnu-
LC_ALL=C comm -13 <(list) <(list CROSS=$TIDY_CROSS list-sources) | xargs -r -P "$(nproc)" -n 1 "$0" one || bad=1
exit $bad
