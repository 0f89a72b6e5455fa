#!/bin/bash
# The ACPI tables through ACPICA's compiler: each table is disassembled, compiled again without an error or warning, and
# must come out with the bytes that it had. What the disassembly says of each device is looked at, too.
set -uo pipefail
root=${PIPIT_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0

fail() {
    echo "FAIL $1"
    bad=1
}

"$root/build/release/tests/acpi/acpi_test" "$dir" || {
    echo 'FAIL iasl: no tables to look at'
    exit 1
}
cd "$dir" || exit 1

# The compiler leaves its own name and version in the header of what it makes: from byte 28, and so in the checksum.
same() {
    cmp <(head -c 9 "$1") <(head -c 9 "$2") && cmp -i 36 "$1" "$2"
}

for table in *.aml; do
    name=${table%.aml}
    if ! iasl -d "$table" >"$name.log" 2>&1; then
        cat "$name.log"
        fail "$name: not disassembled"
        continue
    fi
    # -oa: constants stay as they are; -va would hide remarks too.
    if ! iasl -oa -we -p "$name-again" "$name.dsl" >"$name.log" 2>&1 || grep -qE '[1-9][0-9]* (Errors|Warnings)' "$name.log"; then
        cat "$name.log"
        fail "$name: does not compile again"
    elif ! same "$table" "$name-again.aml"; then
        fail "$name: comes out with other bytes"
    else
        echo "ok $name"
    fi
done

says() { # NAME FILE TEXT
    if tr -s ' \n' ' ' <"$2" | grep -qF -e "$3"; then
        echo "ok $1"
    else
        fail "$1: $2 does not say \"$3\""
    fi
}
strip() { sed 's: */[/*].*[*]/::; s: *//.*::' "$1" >"$1.plain"; }
strip small-dsdt.dsl
strip large-dsdt.dsl
says power-off small-dsdt.dsl.plain 'Name (_S5, Package (0x04) { 0x05, 0x05, Zero, Zero })'
says uart small-dsdt.dsl.plain 'Device (COM1) { Name (_HID, "PNP0501") Name (_UID, Zero) Name (_CRS, ResourceTemplate () { IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08, ) Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000004, } }) }'
says virtio small-dsdt.dsl.plain 'Device (VR03) { Name (_HID, "LNRO0005") Name (_UID, 0x03) Name (_CCA, One) Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadWrite, 0xD0003000, 0x00000200, ) Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000008, } }) }'
says button small-dsdt.dsl.plain 'Device (PWRB) { Name (_HID, "PNP0C0C") Name (_UID, Zero) }'
says button-event small-dsdt.dsl.plain 'Device (GED0) { Name (_HID, "ACPI0013") Name (_UID, Zero) Name (_CRS, ResourceTemplate () { Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000003, } }) Method (_EVT, 1, Serialized) { Notify (PWRB, 0x80) } }'
says debug small-dsdt.dsl.plain 'Device (DBG0) { Name (_HID, "PIPT0001")'
says cpu large-dsdt.dsl.plain 'Device (C12B) { Name (_HID, "ACPI0007") Name (_UID, 0x012B) }'
says above-4g large-dsdt.dsl.plain 'QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0x0000000000000000, 0x0000004000000000, 0x00000040000001FF, 0x0000000000000000, 0x0000000000000200,'
says hw-reduced small-facp.dsl 'Hardware Reduced (V5) : 1'
says no-8042 small-facp.dsl '8042 Present on ports 60/64 (V2) : 0'
says x2apic large-apic.dsl 'Processor x2Apic ID : 0000012B'
exit $bad
