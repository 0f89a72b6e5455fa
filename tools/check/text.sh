#!/bin/bash
# Checks what no compiler sees: no names of package hosts or of one machine's folders, no file past a thousand lines,
# no trailing blanks, no tabs in C, no notes to do later, a README.md in each top-level folder.
set -uo pipefail
bad=0
complain() {
    [ -z "$1" ] || {
        printf '%s: %s\n' "$2" "$1" >&2
        bad=1
    }
}

mapfile -t files < <(git ls-files -co --exclude-standard | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
mapfile -t texts < <(printf '%s\n' "${files[@]}" | grep -v -e '/corpus/' -e '^LICENSE$')
mapfile -t sources < <(printf '%s\n' "${texts[@]}" | grep -E '\.[chS]$|\.def$')

complain "$(grep -nIE '(deb|security|snapshot|ftp[.a-z]*)[.]debian[.]org|registry[.]npmjs|pypi[.]org|proxy[.]golang' "${texts[@]}")" \
    'names a package host'
complain "$(grep -nIE '(^|[^a-zA-Z0-9_.$}/-])/(work|root|home)/' "${texts[@]}")" "names a folder of one machine"
complain "$(grep -nIE '[ 	]+$' "${texts[@]}")" 'blanks at the end of a line'
complain "$(grep -nIP '\t' "${sources[@]}")" 'tab in a source'
complain "$(grep -nIwE 'T[O]DO|F[I]XME|X[X]X' "${texts[@]}")" 'a note to do later'
for f in "${sources[@]}"; do
    lines=$(wc -l <"$f")
    # Tables with one row an instruction are as long as the architecture.
    case $f in *.def) continue ;; esac
    [ "$lines" -le 1000 ] || complain "$lines lines; split it" "$f"
done
for d in $(printf '%s\n' "${files[@]}" | grep / | cut -d/ -f1 | sort -u | grep -v '^\.'); do
    [ -f "$d/README.md" ] || complain 'has no README.md' "$d"
done
exit $bad
