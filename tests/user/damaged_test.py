#!/usr/bin/env python3
# limit: 120
"""Damaged programs beside the kernel: the same file as x86-64 code, run by the host itself, and as arm64 code.

Where the kernel runs one, so does pipit-aarch64. Where it does not, there is one sentence and 126 or 127, or, where the
kernel has begun the program, the signal. DIFFERENT lists what is refused on purpose though the kernel takes it.
"""

import os
import platform
import signal
import struct
import subprocess
import sys
import tempfile

ROOT = os.environ.get("PIPIT_ROOT", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PIPIT = os.environ.get("PIPIT_AARCH64", os.path.join(ROOT, "build/release/pipit-aarch64"))
LIMIT = 20
STATUS = 3

X86, ARM = 62, 183
EXIT = {
    X86: bytes.fromhex("b83c000000bf030000000f05"),  # mov eax, 60; mov edi, 3; syscall
    ARM: struct.pack("<3I", 0xD2800BA8, 0xD2800060, 0xD4000001),  # mov x8, #93; mov x0, #3; svc #0
}
BASE = 0x400000
START = 0x800  # offset of the code, and of the entry from the first segment
TEXT = 0x1000  # offset of strings
LOAD, INTERP, STACK, PROPERTY, OTHER = 1, 3, 0x6474E551, 0x6474E553, 0x60000000
R, RW, RX = 4, 6, 5
NATIVE = b"\x7fELF\x02\x01\x01" + bytes(9)


def seg(kind=LOAD, flags=RX, off=0, va=BASE, size=0x1000, mem=None, align=0x1000):
    mem = size if mem is None else mem
    return struct.pack("<IIQQQQQQ", kind, flags, off, va, va, size, mem, align)


def more(va=BASE + 0x1000, off=0x1000, flags=RW, **k):
    """A second segment behind the one with the code."""
    return [seg(), seg(va=va, off=off, flags=flags, **k)]


def pie(*others, **k):
    return {"segs": [seg(va=0, **k), *others], "kind": 3, "entry": START}


def interp(name, size=None, off=TEXT, segs=None):
    size = len(name) if size is None else size
    return {"segs": [seg(INTERP, R, off, 0, size), *(segs or [seg()])], "text": name}


def program(machine, segs, kind=2, entry=BASE + START, phoff=64, count=None, phentsize=56, size=0x3000, text=b"", ident=NATIVE):
    data = bytearray(size)
    count = len(segs) if count is None else count
    data[:64] = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, kind, machine, 1, entry, phoff, 0, 0, 64, phentsize, count, 64, 0, 0
    )
    table = b"".join(segs)
    if phoff and phoff + len(table) <= size:
        data[phoff : phoff + len(table)] = table
    data[TEXT : TEXT + len(text)] = text
    data[START : START + 12] = EXIT[machine]
    return bytes(data)


MANY = {"size": 0x20000, "phoff": 0x8000}
CASES = {
    "whole": {"segs": [seg()]},
    "whole-pie": pie(),
    "overlapping": {"segs": [seg(), seg()]},
    "overlapping-bss": {"segs": [seg(mem=0x3000), seg(va=BASE + 0x1000, off=0x1000, flags=RW)]},
    "overlapping-part": {"segs": [seg(size=0x2000), seg(va=BASE + 0x1000, off=0x1000, flags=RW)]},
    "descending": {"segs": [seg(va=BASE + 0x2000, off=0x1000, flags=RW), seg()]},
    "descending-pie": {"segs": [seg(va=0x2000, off=0x1000, flags=RW), seg(va=0)], "kind": 3, "entry": START},
    "larger-in-file": {"segs": more(mem=0x10)},
    "align-3": {"segs": [seg(align=3)]},
    "align-0": {"segs": [seg(align=0)]},
    "align-2^62": {"segs": [seg(align=1 << 62)]},
    "align-3-pie": pie(align=3),
    "align-2M-pie": pie(align=1 << 21),
    "align-2^46-pie": pie(align=1 << 46),
    "align-2^63-pie": pie(align=1 << 63),
    "no-headers": {"segs": [seg()], "count": 0},
    "65535-headers": {"segs": [seg()], "count": 65535},
    "1170-headers": {"segs": [seg()] + [seg(OTHER)] * 1169, **MANY},
    "1171-headers": {"segs": [seg()] + [seg(OTHER)] * 1170, **MANY},
    "header-size": {"segs": [seg()], "phentsize": 64},
    "headers-beyond-end": {"segs": [seg()], "phoff": 0x100000},
    "headers-at-2^64": {"segs": [seg()], "phoff": 0xFFFFFFFFFFFFFF00},
    "headers-at-0": {"segs": [seg()], "phoff": 0},
    "entry-outside": {"segs": [seg()], "entry": 0x900000},
    "entry-in-kernel": {"segs": [seg()], "entry": 0xFFFFFFFFFF000000},
    "entry-0": {"segs": [seg()], "entry": 0},
    "entry-not-executable": {"segs": [seg(flags=R)]},
    "segment-at-2^64": {"segs": more(va=0xFFFFFFFFFFFF0000)},
    "segment-at-2^47": {"segs": more(va=0x7FFFFFFFF000)},
    "memory-2^63": {"segs": more(mem=1 << 63)},
    "memory-2^46": {"segs": more(mem=1 << 46)},
    "memory-2^46-pie": pie(seg(va=0x1000, off=0x1000, mem=1 << 46, flags=RW)),
    "memory-2^64": {"segs": more(mem=(1 << 64) - 1)},
    "odd-offset": {"segs": more(va=BASE + 0x1010)},
    "odd-offset-bss": {"segs": more(va=BASE + 0x1010, size=0, mem=0x1000)},
    "odd-offset-empty": {"segs": more(va=BASE + 0x1010, size=0)},
    "offset-beyond-end": {"segs": more(off=0x100000)},
    "offset-2^64": {"segs": more(off=0xFFFFFFFFFFFFF000)},
    "size-beyond-end": {"segs": more(size=0x10000)},
    "write-only": {"segs": more(flags=2)},
    "no-access": {"segs": more(flags=0)},
    "bss-read-only": {"segs": more(size=0x10, mem=0x3000, flags=R)},
    "nothing-to-load": {"segs": [seg(4)]},
    "empty-segment": {"segs": [seg(size=0)]},
    "no-type": {"segs": [seg()], "kind": 0},
    "unknown-type": {"segs": [seg()], "kind": 0xFFFF},
    "other-system": {"segs": [seg()], "ident": b"\x7fELF\x02\x01\x01\x09" + bytes(8)},
    "version-0": {"segs": [seg()], "ident": b"\x7fELF\x02\x01\x00" + bytes(9)},
    "32-bit": {"segs": [seg()], "ident": b"\x7fELF\x01\x01\x01" + bytes(9)},
    "big-endian": {"segs": [seg()], "ident": b"\x7fELF\x02\x02\x01" + bytes(9)},
    "stack-executable": {"segs": [seg(), seg(STACK, 7, size=0)]},
    "property-beyond-end": {"segs": [seg(), seg(PROPERTY, R, 0x100000, size=0x100000)]},
    "interpreter": interp(b"./good\0"),
    "interpreter-of-itself": interp(b"./self\0"),
    "interpreter-twice": interp(b"./good\0", segs=[seg(INTERP, R, 0x100000, 0, 9), seg()]),
    "interpreter-missing": interp(b"/no/such/interpreter\0"),
    "interpreter-empty": interp(b"", 0),
    "interpreter-1": interp(b"\0"),
    "interpreter-nameless": interp(b"\0\0"),
    "interpreter-unended": interp(b"/no/such"),
    "interpreter-5000": interp(b"/" + b"a" * 4998 + b"\0"),
    "interpreter-4096": interp(b"/" + b"a" * 4094 + b"\0"),
    "interpreter-300": interp(b"/" + b"a" * 298 + b"\0"),
    "interpreter-beyond-end": interp(b"", 10, 0x100000),
    "interpreter-at-2^64": interp(b"", 10, 0xFFFFFFFFFFFFFFF0),
    "interpreter-folder": interp(b"/tmp\0"),
    "interpreter-device": interp(b"/dev/null\0"),
    "interpreter-fifo": interp(b"./fifo\0"),
    "interpreter-text": interp(b"./text\0"),
    "interpreter-cut": interp(b"./cut\0"),
    "interpreter-foreign": interp(b"./foreign\0"),
    "interpreter-not-executable": interp(b"./readable\0"),
}
DIFFERENT = {"offset-beyond-end", "size-beyond-end", "32-bit", "big-endian"}


def write(name, data, mode=0o755):
    with open(name, "wb") as f:
        f.write(data)
    os.chmod(name, mode)


def surround(machine):
    """What interpreters are named."""
    good = program(machine, **pie())
    write("good", good)
    write("cut", good[:100])
    write("text", b"#!/bin/sh\n")
    write("readable", good, 0o644)
    write("foreign", program(X86 + ARM - machine, **pie()))
    write("self", program(machine, **{**interp(b"./self\0", segs=[seg(va=0)]), "kind": 3, "entry": START}))


def run(command):
    try:
        r = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, check=False
        )
    except OSError:
        return None, ""
    except subprocess.TimeoutExpired:
        return "no end", ""
    return r.returncode, r.stdout.decode(errors="replace")


def judge(name, native, status, text):
    """What is wrong, or None."""
    refused = status in (126, 127) and text.count("\n") == 1 and text.startswith("pipit-aarch64: ")
    if name in DIFFERENT:
        return None if native == STATUS and refused else "not refused in a sentence, or the kernel refuses it, too"
    if native == STATUS:
        return None if status == STATUS else "the kernel runs it"
    if refused or (native == status == -signal.SIGSEGV):
        return None
    return f"the kernel: {native}"


def main():
    if platform.machine() != "x86_64":
        print("skip damaged: the reference is code for x86-64")
        return 0
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.mkfifo("fifo")
        for name, case in CASES.items():
            surround(X86)
            write("native", program(X86, **case))
            native = run(["./native"])[0]
            surround(ARM)
            write("damaged", program(ARM, **case))
            status, text = run([PIPIT, "./damaged"])
            wrong = judge(name, native, status, text)
            if wrong:
                bad = 1
                print(f"FAIL {name}: {status} {text!r}: {wrong}")
            else:
                print(f"ok {name}")
        os.chdir("/")
    return bad


sys.exit(main())
