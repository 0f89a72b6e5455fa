# Sourced by x86.sh and arm64.sh: judges what the outer guest left in the folder $out (outer_boots). Sets `bad` on a failure.

# item NAME CONDITION... -- WHY
item() {
    local name=$1
    shift
    local -a condition=()
    while [ "$1" != -- ]; do
        condition+=("$1")
        shift
    done
    if "${condition[@]}"; then
        echo "ok $name"
    else
        echo "FAIL $name: $2"
        bad=1
    fi
}

read_out() {
    cat "$out/$1" 2>/dev/null || echo nothing
}

# told NAME WHAT: the line of that boot's self-check.
told() {
    sed -n "s/^pipit-check: $2 //p" "$out/$1.text" | head -n 1
}

# programs PREFIX FILE...: what each test program said, and its status.
programs() {
    local prefix=$1 name
    shift
    for name; do
        name=${name##*/}
        sed -E "s/^(ok|FAIL) /  &/; s/^skip /skip $prefix-/" "$out/$name.test"
        item "$prefix-$name" grep -qx 'status 0' "$out/$name.test" -- "$(tail -n 1 "$out/$name.test")"
    done
}

# boot NAME CPUS [PREFIX]: how a run went: its end, and for whoever reads the log, its times and exits.
boot() {
    local name=$1 cpus=$2 label=${3:-}$1 start init end
    tr -d '\r' <"$out/$name.out" >"$out/$name.text"
    [ "$(read_out "$name.status")" = 0 ] || tail -n 30 "$out/$name.text" "$out/$name.err"
    item "$label-poweroff" [ "$(read_out "$name.status")" = 0 ] -- "exit status $(read_out "$name.status")"
    item "$label-init" grep -q "^pipit-init: up after .*, $cpus vCPU\$" "$out/$name.text" -- \
        "the first process said: $(grep '^pipit-init' "$out/$name.text")"
    read -r start init end <"$out/$name.time"
    [ -n "$end" ] || return
    awk -v name="$label" -v start="$start" -v init="$init" -v end="$end" -v vcpu="$(sed -n 's/.*stats: \(.*\) ms from exec.*/\1/p' "$out/$name.err")" \
        'BEGIN { printf "  %s: kernel entry to init %.1f s, exec to exit %.1f s\n", name, init - start - vcpu / 1000, end - start }'
    sed 's/^/  /' "$out/$name.err"
}

# checked NAME CPUS DEVICES [PREFIX]: a run of the self-check; DEVICES is the pattern of the four virtio devices' names.
checked() {
    local name=$1 devices=$3 label=${4:-}$1
    boot "$name" "$2" "${4:-}"
    item "$label-disk-read" [ "$(read_out "$name.heard")" = "$nonce $(read_out "$name.seed")" ] -- "the listener heard $(read_out "$name.heard")"
    item "$label-disk-write" [ "$(told "$name" disk)" = "ok: $(read_out "$name.wrote")" ] -- "$(told "$name" disk)"
    item "$label-disk-write-again" [ "$(read_out "$name.again")" = "$(read_out "$name.head")" ] -- 'the second write is not in the file'
    item "$label-entropy" [ "$(told "$name" entropy)" = ok ] -- "$(told "$name" entropy)"
    item "$label-dhcp" grep -q '^ok: 10\.0\.2\.' <(told "$name" dhcp) -- "$(told "$name" dhcp)"
    item "$label-tcp" [ "$(told "$name" tcp)" = "ok: $word" ] -- "$(told "$name" tcp)"
    item "$label-virtio-console" grep -q '^ok:.* hvc0' <(told "$name" console) -- "consoles $(told "$name" console)"
    item "$label-devices" grep -qE "^ok:( $devices){4} *\$" <(told "$name" devices) -- "$(told "$name" devices)"
}
