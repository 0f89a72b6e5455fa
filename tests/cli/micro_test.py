#!/usr/bin/env python3
# limit: 200
"""How the x86-64 machine starts, ends, resets and reports, with PVH guests of a few instructions, which any KVM runs.

The guests are written here byte by byte; they start at 1 MiB in 32-bit protected mode with flat segments.
"""

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.environ.get("PIPIT_ROOT", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PIPIT = os.environ.get("PIPIT", os.path.join(ROOT, "build/release/pipit"))
LIMIT = 20

UART, DEBUG, POWER = 0x3F8, 0x610, 0x600
BASE = 0x100000


# --- an assembler for what is needed here ---
def out8(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"  # mov dx; mov al; out dx, al


def out32(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb8" + struct.pack("<I", value) + b"\xef"


def put(text):
    return b"".join(out8(UART, c) for c in text.encode())


HALT = b"\xf4\xeb\xfd"  # hlt; jmp back
SPIN = b"\xeb\xfe"
EXIT = DEBUG + 4
POWEROFF = out8(POWER, 5 << 2 | 0x20) + HALT
RESET = out8(POWER + 2, 1) + HALT
TRIPLE = b"\x0f\x0b"  # ud2, without an interrupt descriptor table

# Counts its starts at 32 MiB, destroys its own first byte, and goes down in the given way twice.
def three_boots(how):
    count = struct.pack("<I", 0x2000000)
    body = put("boot;") + b"\xff\x05" + count  # inc dword [count]
    body += b"\xc6\x05" + struct.pack("<I", BASE + 0x40) + b"\xf4"  # mov byte [start], hlt
    body += b"\x83\x3d" + count + b"\x03"  # cmp dword [count], 3
    return body + b"\x73" + bytes([len(how)]) + how + POWEROFF  # jae over


def elf(code):
    """An ELF64 program with a PVH note (type 18, 32-bit entry)."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", BASE + 0x40)
    image = note.ljust(0x40, b"\0") + code
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + 0x40, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, BASE, BASE, len(image), len(image), 0x1000)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 0x1000, BASE, BASE, len(note), len(note), 4)
    return (head + load + notes).ljust(0x1000, b"\0") + image


# --- running ---
results = []


def item(name, good, why=""):
    results.append(bool(good))
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)


def guest(code):
    f = tempfile.NamedTemporaryFile(prefix="pipit-guest-", suffix=".elf")
    f.write(elf(code))
    f.flush()
    return f


def run_command(kernel, *options):
    return [PIPIT, "run", "--kernel", kernel, "--net", "none", "--memory", "64M", *options]


def run(command):
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as e:
        return None, e.stdout or b"", e.stderr or b""
    return p.returncode, p.stdout, p.stderr


def ends(name, code, status, output, *options):
    with guest(code) as g:
        got, out, err = run(run_command(g.name, *options))
    item(name, got == status and out == output.encode() and not err, f"status {got}, {out!r}, {err!r}")


def check_ends():
    ends("poweroff", POWEROFF, 0, "")
    ends("output", put("hello\n") + POWEROFF, 0, "hello\n")
    ends("named", POWEROFF, 0, "", "--machine", "micro", "--accel", "kvm", "--cpu", "max")
    ends("kvm-before-jit", POWEROFF, 0, "", "--accel", "jit:kvm")  # the JIT cannot; nobody takes over from KVM
    ends("virtio-console", put("x") + POWEROFF, 0, "x", "--console", "virtio")
    for how, code in ("reset", RESET), ("triple-fault", TRIPLE):
        ends(f"{how}-no-reboot", code, 3, "", "--no-reboot")
        ends(f"{how}-in-place", three_boots(code), 0, "boot;boot;boot;")
    ends("reset-in-place-4-cpus", three_boots(RESET), 0, "boot;boot;boot;", "--cpus", "4")
    ends("two-ram-regions", three_boots(RESET), 0, "boot;boot;boot;", "--memory", "5G")
    for status in 0, 42, 255:
        ends(f"guest-status-{status}", out32(EXIT, status) + SPIN, status, "", "--debug-device", "--cpus", "2")
    ends("no-debug-device", out32(EXIT, 42) + POWEROFF, 0, "")  # a port that nobody has
    with guest(out32(DEBUG, 0x2A) + POWEROFF) as g:
        status, _, err = run(run_command(g.name, "--debug-device"))
        mark = rb"^pipit: debug 0x2a: [0-9.]+ ms since exec, [0-9.]+ ms since the first vCPU started, [0-9.]+ ms of our CPU time\n$"
        item("debug-mark", status == 0 and re.match(mark, err), f"status {status}, {err!r}")


def check_stats():
    with guest(put("x") + POWEROFF) as g:
        status, _, err = run(run_command(g.name, "--stats"))
        want = rb"pipit: stats: [0-9.]+ ms from exec to the first vCPU's start.*\n(.*\n)*pipit: kvm: [0-9]+ exits: port 2\b"
        item("stats", status == 0 and re.match(want, err), f"status {status}, {err!r}")


def check_fifo():
    """A kernel that comes through a FIFO is not looked into, and loaded where the machine is named."""
    with tempfile.TemporaryDirectory() as d:
        path = d + "/fifo"
        os.mkfifo(path)

        def feed():
            with open(path, "wb") as f:
                f.write(elf(put("fifo") + POWEROFF))

        threading.Thread(target=feed, daemon=True).start()
        status, out, err = run(run_command(path, "--machine", "micro"))
        item("fifo", status == 0 and out == b"fifo", f"status {status}, {err!r}")


def check_qemu():
    with tempfile.TemporaryDirectory() as d:
        qemu = d + "/qemu-system-x86_64"
        os.symlink(os.path.abspath(PIPIT), qemu)
        base = [qemu, "-M", "microvm", "-enable-kvm", "-cpu", "host", "-m", "64", "-nodefaults", "-no-reboot"]
        for name, code, options, want in (
            ("qemu-poweroff", POWEROFF, (), 0),
            ("qemu-no-reboot", TRIPLE, (), 0),
            ("qemu-exit-0", out8(0xF4, 0) + SPIN, ("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"), 1),
            ("qemu-exit-16", out32(0xF4, 16) + SPIN, ("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"), 33),
            ("qemu-exit-default", out8(0x501, 3) + SPIN, ("-device", "isa-debug-exit"), 7),
        ):
            with guest(code) as g:
                status, _, err = run([*base, "-kernel", g.name, *options])
            item(name, status == want and not err, f"status {status}, {err!r}")
        with guest(put("serial") + POWEROFF) as g:
            status, out, err = run([*base, "-serial", "stdio", "-kernel", g.name])
            item("qemu-serial", status == 0 and out == b"serial" and not err, f"status {status}, {out!r}, {err!r}")
            status, out, err = run([PIPIT, "qemu", "-nographic", "-kernel", g.name])  # the kernel is for microvm
            item("qemu-by-kernel", status == 0 and out == b"serial" and not err, f"status {status}, {out!r}, {err!r}")


def check_signals():
    for name, code in ("spin", SPIN), ("halt", HALT):
        for sig in signal.SIGTERM, signal.SIGINT:
            with guest(put(".") + code) as g:
                command = run_command(g.name, "--cpus", "3")
                p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                timer = threading.Timer(LIMIT, p.kill)
                timer.start()
                ready = p.stdout.read(1) == b"."
                start = time.monotonic()
                p.send_signal(sig)
                p.wait()
                took = time.monotonic() - start
                timer.cancel()
                err = p.stderr.read()
                good = ready and p.returncode == 128 + sig and took < 5 and not err
                item(f"{name}-{sig.name}", good, f"status {p.returncode} after {took:.1f} s, {err!r}")


def main():
    kvm = subprocess.run([ROOT + "/tests/host.sh", "kvm"], capture_output=True, text=True, check=False).stdout.strip()
    if os.uname().machine != "x86_64" or not kvm.startswith(("hardware", "software")):
        print(f"skip micro: kvm: {kvm}")
        return 0
    print(f"kvm: {kvm}")
    check_ends()
    check_stats()
    check_fifo()
    check_qemu()
    check_signals()
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
