#!/bin/bash
# limit: 600
# Machines' saved translations: boots of Debian's kernel do the same with none, cold and warm ones, and whatever became
# of the image. `--stats` tells how many blocks were translated, and how many were saved ones.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
cache=${PIPIT_CACHE:-$root/.cache}
pipit=${PIPIT:-$root/build/release/pipit}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset PIPIT_TRANSLATIONS XDG_CACHE_HOME
export HOME=$tmp/home
mkdir "$HOME"
bad=0
"$root/tools/guest.sh" arm64 >"$tmp/log" 2>&1 || {
    cat "$tmp/log"
    echo 'FAIL cache: no guest'
    exit 1
}

report() { # NAME WHY: empty is good
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        echo "FAIL $1: $2"
        bad=1
    fi
}

boot() { # OPTION...
    timeout 60 "$pipit" run --kernel "$cache/guest/vmlinuz" --initrd "$cache/guest/initrd.img" \
        --cmdline 'console=ttyAMA0 quiet pipit.run=init' --memory 256M --net none --stats "$@" </dev/null 2>&1
}

# run FOLDER OPTION...: blocks translated into made, saved ones used into used, what went wrong into why.
run() {
    local folder=$1 status
    shift
    boot --translations "$folder" "$@" >"$tmp/out"
    status=$?
    read -r made used < <(sed -n 's/^pipit: jit: \([0-9]*\) blocks translated.*; \([0-9]*\) saved.*/\1 \2/p' "$tmp/out")
    made=${made:-none} used=${used:-none}
    why=
    [ $status = 0 ] && grep -aq 'reboot: Power down' "$tmp/out" || why="status $status: $(tail -n 5 "$tmp/out"); "
}

warm() { # of cold code nearly none
    [ "$made" -lt $((used / 8)) ] && [ "$used" -gt 10000 ] || why+="$made translated, $used used; "
}

cold() {
    [ "$used" = 0 ] && [ "$made" -gt 10000 ] || why+="$made translated, $used used; "
}

run off
cold
report off "$why"
run "$tmp/of"
cold
report cold "$why"
run "$tmp/of"
warm
report warm "$why"
[ "$(stat -c %a "$tmp/of") $(stat -c %a "$tmp"/of/*)" = '700 600' ] && [[ $(ls "$tmp/of") =~ ^[0-9a-f]{16}\.vm$ ]]
report modes "$([ $? = 0 ] || ls -la "$tmp/of")"
run "$tmp/of" --cpus 2
warm
report vcpus-2 "$why"
run "$tmp/of" --cpus 8
report vcpus-8 "$why"
run "$tmp/of" --cpu cortex-a57
cold
[ "$(ls "$tmp/of" | wc -l)" = 2 ] || why+="$(ls "$tmp/of")"
report other-cpu "$why"
rm -rf "$tmp/of"
run "$tmp/of"

# ---- two at once, and what they leave ----
boot --translations "$tmp/both" >"$tmp/one" &
boot --translations "$tmp/both" >"$tmp/two"
wait $!
why=
for f in one two; do
    grep -aq 'reboot: Power down' "$tmp/$f" || why+="$(tail -n 3 "$tmp/$f")"
done
[ "$(ls "$tmp/both" | wc -l)" = 1 ] || why+="left: $(ls "$tmp/both")"
report two-at-once "$why"
run "$tmp/both"
warm
report after-two "$why"
boot --translations "$tmp/both" >"$tmp/one" &
two=$!
run "$tmp/both"
warm
wait $two
grep -aq 'reboot: Power down' "$tmp/one" || why+="$(tail -n 3 "$tmp/one")"
report two-warm "$why"

# ---- images that are not as they were ----
why_all=
for seed in 1 2 3; do
    rm -rf "$tmp/broken"
    cp -r "$tmp/of" "$tmp/broken"
    python3 - "$seed" "$tmp"/broken/* <<'END2'
import random, sys
random.seed(int(sys.argv[1]))
data = bytearray(open(sys.argv[2], "rb").read())
for _ in range((20, 5000, 100000)[int(sys.argv[1]) - 1]):
    # Of all of it, and of the table, whose numbers lead anywhere then.
    at = random.randrange(len(data) - 8 if random.random() < 0.7 else 1 << 18)
    at += 96 if at < 96 else 0
    data[at:at + 4] = random.randbytes(4)
open(sys.argv[2], "r+b").write(data)
END2
    run "$tmp/broken"
    [ -z "$why" ] && [ "$used" -gt 0 ] || why_all+="seed $seed: $why$used used; "
done
report damaged "$why_all"
# Another build: a byte of the key; the checksum is behind it.
rm -rf "$tmp/broken"
cp -r "$tmp/of" "$tmp/broken"
printf '\377' | dd of="$(echo "$tmp"/broken/*)" bs=1 seek=10 conv=notrunc status=none
run "$tmp/broken"
cold
report other-version "$why"
run "$tmp/broken"
warm
report and-new-again "$why"
rm -rf "$tmp/broken"
cp -r "$tmp/of" "$tmp/broken"
truncate -s 3000000 "$tmp"/broken/*
run "$tmp/broken"
cold
report truncated "$why"
rm -rf "$tmp/broken"
cp -r "$tmp/of" "$tmp/broken"
boot --translations "$tmp/broken" >"$tmp/one" &
sleep 0.3
truncate -s 8192 "$tmp"/broken/*.vm
wait $!
grep -aq 'reboot: Power down' "$tmp/one"
report cut-while-mapped "$([ $? = 0 ] || tail -n 5 "$tmp/one")"

# ---- folders and files that are not ours ----
mkdir -m 700 "$tmp/linked"
for f in "$tmp"/of/*; do
    ln -s "$f" "$tmp/linked/${f##*/}"
done
run "$tmp/linked"
cold
report linked-image "$why"
cp -r "$tmp/of" "$tmp/readable"
chmod 644 "$tmp"/readable/*
run "$tmp/readable"
cold
report readable-image "$why"
if [ "$(id -u)" = 0 ]; then
    cp -r "$tmp/of" "$tmp/foreign"
    chown 65534 "$tmp"/foreign/*
    run "$tmp/foreign"
    cold
    report foreign-image "$why"
    chown 65534 "$tmp/foreign"
    run "$tmp/foreign"
    [[ $made = none && $(cat "$tmp/out") == *'closed to others'* ]]
    report foreign-folder "$([ $? = 0 ] || tail -n 3 "$tmp/out")"
    chown 65534 "$HOME"
    boot >"$tmp/out"
    report nothing-in-others-homes "$(find "$HOME" -mindepth 1)"
    chown 0 "$HOME"
else
    echo 'skip foreign: not root'
fi
ln -s of "$tmp/link"
run "$tmp/link"
report linked-folder "$([ "$made" = none ] || echo 'it was used')"
boot >"$tmp/out"
[ "$(stat -c %a "$HOME/.cache/pipit" 2>&1) $(ls "$HOME/.cache/pipit" | wc -l)" = '700 1' ]
report default-folder "$([ $? = 0 ] || find "$HOME" -ls)"

# ---- room ----
mkdir -m 700 "$tmp/full"
for name in 1 2 3; do
    truncate -s 60M "$tmp/full/000000000000000$name.vm"
    chmod 600 "$tmp/full/000000000000000$name.vm"
    touch -d "$name days ago" "$tmp/full/000000000000000$name.vm"
done
touch "$tmp/full/0000000000000004.vm.77" "$tmp/full/unrelated"
run "$tmp/full"
[ -e "$tmp/full/0000000000000002.vm" ] && [ ! -e "$tmp/full/0000000000000003.vm" ] || why+='not the oldest one went; '
[ ! -e "$tmp/full/0000000000000004.vm.77" ] && [ -e "$tmp/full/unrelated" ] || why+='unfinished ones, or others; '
report bound "${why:+$why$(ls -l "$tmp/full")}"

# ---- code that changes, beside the peer ----
for i in cold warm; do
    PIPIT_OPTIONS="--translations $tmp/bare" "$root/tests/guest/run.sh" smc mmu smp >"$tmp/out" 2>&1
    report "bare-metal-$i" "$(grep '^FAIL' "$tmp/out")"
done
exit $bad
