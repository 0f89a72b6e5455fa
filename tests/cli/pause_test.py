#!/usr/bin/env python3
# limit: 200
"""Ctrl-A p on a terminal: nothing runs, and the guest's clock stands still, until the next one; on both machines.

Each guest says r, waits by its own clock, and says d. Without a pause that takes as long as the clock says; with one, as
much longer as the pause was.
"""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flat_guest import SYSTEM_OFF, call, kernel, li, put  # noqa: E402

ROOT = os.environ.get("PIPIT_ROOT", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PIPIT = os.environ.get("PIPIT", os.path.join(ROOT, "build/release/pipit"))
LIMIT = 60
PAUSE = 4
results = []


def item(name, good, why=""):
    results.append(bool(good))
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)


def arm64_words():
    """Four seconds of the JIT's virtual counter, which has 62.5 MHz."""
    mrs = [0xD53BE042]  # mrs x2, cntvct_el0
    code = put("r") + mrs + li(3, 4 * 62500000) + [0x8B030043]  # add x3, x2, x3
    code += mrs + [0xEB03005F, 0x54000003 | (-2 & 0x7FFFF) << 5]  # cmp x2, x3; b.lo mrs
    return code + put("d") + call(SYSTEM_OFF)


def x86_elf():
    """2^33 ticks of the TSC, some seconds. A PVH program, in 32-bit protected mode at 1 MiB and 64."""

    def out(port, value):  # mov dx, port; mov al, value; out dx, al
        return b"\x66\xba" + struct.pack("<HBBB", port, 0xB0, value, 0xEE)

    code = out(0x3F8, ord("r")) + b"\x0f\x31\x89\xc3\x89\xd1"  # rdtsc; mov ebx, eax; mov ecx, edx
    code += b"\x0f\x31\x29\xd8\x19\xca\x83\xfa\x02\x72\xf5"  # rdtsc; sub eax, ebx; sbb edx, ecx; cmp edx, 2; jb rdtsc
    code += out(0x3F8, ord("d")) + out(0x600, 5 << 2 | 0x20) + b"\xf4\xeb\xfd"
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x100040)
    image = note.ljust(0x40, b"\0") + code
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100040, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    for kind, flags, size in (1, 7, len(image)), (4, 4, len(note)):
        head += struct.pack("<IIQQQQQQ", kind, flags, 0x1000, 0x100000, 0x100000, size, size, 4)
    return head.ljust(0x1000, b"\0") + image


class Guest:
    """A machine on a terminal of its own; `got` is what it printed, `seen` how much of that was waited for."""

    def __init__(self, command):
        self.master, self.slave = pty.openpty()
        fcntl.fcntl(self.master, fcntl.F_SETFL, fcntl.fcntl(self.master, fcntl.F_GETFL) | os.O_NONBLOCK)
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave)
        self.timer = threading.Timer(2 * LIMIT, self.process.kill)
        self.timer.start()
        self.got, self.seen = b"", 0
        self.wait(b"r")

    def wait(self, text):
        deadline = time.monotonic() + LIMIT
        while text not in self.got[self.seen :] and time.monotonic() < deadline:
            try:
                self.got += os.read(self.master, 4096)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        if text in self.got[self.seen :]:
            self.seen = self.got.index(text, self.seen) + len(text)

    def pause(self):
        os.write(self.master, b"\x01p")
        self.wait(b"Ctrl-A p goes on")

    def go_on(self):
        os.write(self.master, b"\x01p")
        self.wait(b"going on")

    def cpu_time(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def finish(self, text):
        self.wait(text)
        self.process.wait()
        self.timer.cancel()
        os.close(self.slave)
        os.close(self.master)
        return self.process.returncode


def check(name, command, clock_stops):
    guest = Guest(command)
    start = time.monotonic()
    status = guest.finish(b"d")
    alone = time.monotonic() - start
    item(f"{name}-without", status == 0 and guest.got == b"rd" and alone > 1, f"status {status}, {alone:.1f} s, {guest.got!r}")

    guest = Guest(command)
    start = time.monotonic()
    guest.pause()
    before = guest.cpu_time()
    time.sleep(PAUSE)
    used = guest.cpu_time() - before
    guest.go_on()
    status = guest.finish(b"d")
    took = time.monotonic() - start
    good = status == 0 and guest.got.endswith(b"d") and took > PAUSE and used < PAUSE / 8
    if clock_stops:
        # Whatever part of the guest's wait was over when the pause began: the pause itself is not in it.
        good = good and took > PAUSE + alone * 0.8
    else:
        print(f"skip {name}-clock: on this host guests read the host's own TSC, which nobody stops")
    item(f"{name}-pause", good, f"status {status}, {alone:.1f} s without, {took:.1f} s with, {used:.2f} s of CPU time, {guest.got!r}")

    guest = Guest(command)
    guest.pause()
    guest.go_on()
    guest.pause()
    os.write(guest.master, b"\x01x")
    status = guest.finish(b"")
    item(f"{name}-ended-while-paused", status == 0, f"status {status}, {guest.got!r}")

    guest = Guest(command)
    guest.pause()
    guest.process.send_signal(signal.SIGTERM)
    status = guest.finish(b"")
    item(f"{name}-signal-while-paused", status == 143, f"status {status}, {guest.got!r}")


def main():
    options = ["--net", "none", "--memory", "64M", "--cpus", "2"]
    if os.uname().machine == "x86_64":
        with kernel(arm64_words()) as g:
            check("virt", [PIPIT, "run", "--kernel", g.name, "--kernel-format", "flat", "--accel", "jit", *options], True)
    else:
        print("skip virt: this pipit has no JIT")
    kvm = subprocess.run([ROOT + "/tests/host.sh", "kvm"], capture_output=True, text=True, check=False).stdout.strip()
    if os.uname().machine == "x86_64" and kvm.startswith(("hardware", "software")):
        with tempfile.NamedTemporaryFile(suffix=".elf") as f:
            f.write(x86_elf())
            f.flush()
            check("micro", [PIPIT, "run", "--kernel", f.name, *options], kvm.startswith("hardware"))
    else:
        print(f"skip micro: kvm: {kvm}")
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
