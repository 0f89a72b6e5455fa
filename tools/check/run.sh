#!/bin/bash
# make check: formatting, include rules, texts, static analysis. Prints one line a check and, last, a count.
set -uo pipefail
cd "$(dirname "$0")/../.."
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() {
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        echo "ok $name ($((SECONDS - start)) s)"
        passed=$((passed + 1))
    else
        cat "$log"
        echo "FAIL $name"
        failed=$((failed + 1))
    fi
}

format() {
    git ls-files -co --exclude-standard '*.c' '*.h' | while read -r f; do [ ! -f "$f" ] || echo "$f"; done |
        xargs clang-format --dry-run -Werror
}

# Versions of clang-format differ in small things; Debian 12's is the one that decides.
if clang-format --version | grep -q 'version 14\.'; then
    check format format
else
    echo "skip format: $(clang-format --version) is not version 14"
    skipped=1
fi
check includes tools/check/includes.py
check texts tools/check/text.sh
check shell bash -c 'git ls-files -co --exclude-standard "*.sh" .ci/run | xargs -n 1 bash -n'
check python bash -c 'git ls-files -co --exclude-standard "*.py" | xargs -n 1 python3 -c "import ast, sys; ast.parse(open(sys.argv[1]).read())"'
check tidy tools/check/tidy.sh
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
