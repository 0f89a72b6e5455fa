#!/bin/bash
# clang-tidy (.clang-tidy) over every C file, on all cores. A file that passed is remembered by the hash of its
# preprocessed text, the checks and the tool's version, and not read again until one of them changes. V=1 shows how
# the analyzer came to what it says.
set -euo pipefail
cache=${PIPIT_CACHE:-$PWD/.cache}/tidy
mkdir -p "$cache"
# The analyzer explores each function less far than it would by itself: a third of the time, for the same findings.
eval "flags=($(make -s CC=clang print-cflags) -Xclang -analyzer-config -Xclang max-nodes=50000)"
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
make -s list-sources | tr ' ' '\n' | grep . | xargs -P "$(nproc)" -n 1 "$0" one
