#!/usr/bin/env python3
# limit: 60
"""A guest whose virtio-blk rings are nonsense gets DEVICE_NEEDS_RESET; the machine lives, and after a reset the device
serves a good request. The guest is a flat program at 0x40080000 that drives the virtio-mmio registers by itself.
"""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flat_guest import OFF, UART, kernel, ldr, li, store, store_byte  # noqa: E402

ROOT = os.environ.get("PIPIT_ROOT", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PIPIT = os.environ.get("PIPIT", os.path.join(ROOT, "build/release/pipit"))

MMIO = 0x0A000000
DESC, AVAIL, USED, HEADER, DATA, STATUS = (0x41000000 + i * 0x1000 for i in range(6))
NEXT, WRITE = 1, 2
POLLS = 0x800000


def device(offset, value):  # the device's registers are at x10
    return li(2, value) + store(2, 10, offset)


def memory(addr, *words):
    code = []
    for i, w in enumerate(words):
        code += li(1, addr + 4 * i) + li(2, w) + store(2, 1)
    return code


def descriptor(index, addr, length, flags, following, high=0):
    return memory(DESC + 16 * index, addr, high, length, flags | following << 16)


def wait(load, bit, yes, no):
    """Until the bit is set in what `load` puts into w1; prints `yes`, or `no` after many tries."""
    back = -(len(load) + 2) & 0x7FFFF
    return (
        li(3, POLLS) + load
        + [0x37000000 | bit << 19 | 6 << 5 | 1]  # tbnz w1, #bit, to li(4, yes)
        + [0xF1000463, 0x54000001 | back << 5]  # subs x3, x3, #1; b.ne load
        + li(4, ord(no)) + [0x14000003] + li(4, ord(yes)) + li(5, UART) + store_byte(4, 5)
    )


def start(avail=AVAIL):
    """Resets the device, clears the rings and sets queue 0 up."""
    code = memory(AVAIL, 0, 0) + memory(USED, 0) + memory(HEADER, 0, 0, 0, 0)
    for value in 0, 1, 3:
        code += device(0x70, value)
    code += device(0x24, 1) + device(0x20, 1) + device(0x24, 0) + device(0x20, 0) + device(0x70, 11)
    code += device(0x30, 0) + device(0x38, 8)
    for offset, addr in (0x80, DESC), (0x90, avail), (0xA0, USED):
        code += device(offset, addr) + device(offset + 4, 0)
    return code + device(0x44, 1) + device(0x70, 15)


def offer(head=0, index=1):
    return memory(AVAIL, index << 16, head) + device(0x50, 0)


def chain(data=DATA, length=512, high=0, last_next=0, last_flags=WRITE):
    return (
        descriptor(0, HEADER, 16, NEXT, 1)
        + descriptor(1, data, length, NEXT | WRITE, 2, high)
        + descriptor(2, STATUS, 1, last_flags, last_next)
    )


def good():
    used = li(1, USED) + ldr(1, 1)  # its index is the upper half
    return start() + chain() + offer() + wait(used, 16, "k", "-")


STATE = ldr(1, 10, 0x70)


def bad(*parts):
    return sum(parts, []) + wait(STATE, 6, "R", "n")


CASES = {
    "avail-outside-memory": bad(start(0xF0000000), chain(), offer()),
    "head-out-of-range": bad(start(), chain(), offer(head=9)),
    "loop": bad(start(), chain(last_flags=NEXT | WRITE, last_next=1), offer()),
    "next-out-of-range": bad(start(), chain(last_flags=NEXT | WRITE, last_next=200), offer()),
    "index-jumps": bad(start(), chain(), offer(index=1000)),
    "address-wraps": bad(start(), chain(data=0xFFFFFF00, high=0xFFFFFFFF), offer()),
    "too-long": bad(start(), chain(length=0xFFFFFFFF), offer()),
}


def main():
    find = li(10, MMIO) + ldr(1, 10, 8) + [  # the device's kind
        0x7100083F,  # cmp w1, #2
        0x54000060,  # b.eq over two
        0x9108014A,  # add x10, x10, #0x200
        0x17FFFFFC,  # b back four
    ]
    code = find + good()
    for case in CASES.values():
        code += case + good()
    failed = False
    with tempfile.TemporaryDirectory(prefix="pipit-rings-") as d, kernel(code + OFF) as guest:
        with open(d + "/disk", "wb") as f:
            f.truncate(1 << 20)
        for engine in "auto", "threads":
            line = [PIPIT, "run", "--kernel", guest.name, "--kernel-format", "flat", "--net", "none", "--memory", "64M",
                    "--disk", d + "/disk", "--block-engine", engine]
            try:
                p = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=25, check=False)
                status, out, err = p.returncode, p.stdout.decode(), p.stderr.decode()
            except subprocess.TimeoutExpired as e:
                status, out, err = None, (e.stdout or b"").decode(), (e.stderr or b"").decode()
            print(f"  {engine}: status {status}, {out!r}\n  " + err.replace("\n", "\n  "))
            for i, name in enumerate(["good", *CASES]):
                got = out[0:1] if i == 0 else out[2 * i - 1 : 2 * i + 1]
                ok = got == ("k" if i == 0 else "Rk") and status == 0
                failed |= not ok
                print(f"ok {engine}-{name}" if ok else f"FAIL {engine}-{name}: status {status}, said {got!r}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
