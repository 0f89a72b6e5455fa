"""Guests for the network tests: Debian's kernel, tools/guest.sh's initramfs, and on top of it tests/net/init, the peer
program and a script that init runs. $PIPIT is the program under test; a name that begins with qemu-system- gets QEMU's
options, so that the tests themselves can be tested.
"""

import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.environ.get("PIPIT_ROOT", os.path.dirname(os.path.dirname(HERE)))
CACHE = os.environ.get("PIPIT_CACHE", os.path.join(ROOT, ".cache"))
PIPIT = os.environ.get("PIPIT", os.path.join(ROOT, "build/release/pipit"))
IS_QEMU = os.path.basename(PIPIT).startswith("qemu-system-")
KERNEL = f"{CACHE}/guest/vmlinuz"
SERVICE = 7000  # the peer's port in the guest

results = []


def result(name, good, why=""):
    results.append(bool(good))
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)
    return good


def skip(name, why):
    print(f"skip {name}: {why}", flush=True)


def finish():
    return 0 if all(results) else 1


def compile_peer(folder):
    """The peer program for host and guest: (host path, guest path)."""
    source = os.path.join(HERE, "peer.c")
    flags = ["-O2", "-D_GNU_SOURCE", "-std=gnu11", "-Wall", "-Wextra", "-Werror", source, "-o"]
    subprocess.run(["gcc", *flags, f"{folder}/peer"], check=True)
    subprocess.run(["aarch64-linux-gnu-gcc", "-static", *flags, f"{folder}/peer-arm64"], check=True)
    return f"{folder}/peer", f"{folder}/peer-arm64"


def cpio(files):
    """An archive in the kernel's format ("newc") of (name, mode, bytes)."""
    out = bytearray()

    def pad():
        out.extend(b"\0" * (-len(out) % 4))

    for inode, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")]):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.extend(b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0")
        pad()
        out.extend(data)
        pad()
    return bytes(out)


def make_initrd(path, script, guest_peer, static=False):
    """The guest's initramfs, with our files in a second archive behind it: they replace those of the first. `static`:
    eth0 is up, and addresses are the script's."""
    with open(f"{CACHE}/guest/initrd.img", "rb") as f:
        base = f.read()
    with open(os.path.join(HERE, "init"), "rb") as f:
        init = f.read()
    with open(guest_peer, "rb") as f:
        peer = f.read()
    with open(path, "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4))
        files = [("init", 0o100755, init), ("script", 0o100644, script.encode()), ("bin/peer", 0o100755, peer)]
        f.write(cpio(files + [("static", 0o100644, b"")] * static))


def command(initrd, publish=(), cpus=2, memory=512, program=None):
    """The command line; publish is a list of (host port, guest port) on 127.0.0.1."""
    program = program or PIPIT
    cmdline = "console=ttyAMA0 quiet"
    if IS_QEMU:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{h}-:{g}" for h, g in publish)
        return [
            program, "-M", "virt", "-cpu", "cortex-a76", "-smp", str(cpus), "-m", str(memory), "-kernel", KERNEL,
            "-initrd", initrd, "-append", cmdline, "-nodefaults", "-nographic", "-serial", "mon:stdio", "-no-reboot",
            "-netdev", "user,id=net0" + forwards, "-device", "virtio-net-device,netdev=net0",
        ]
    out = [program, "run", "--kernel", KERNEL, "--initrd", initrd, "--cmdline", cmdline, "--cpus", str(cpus)]
    out += ["--memory", str(memory)]
    for host, guest in publish:
        out += ["--publish", f"127.0.0.1:{host}:{guest}"]
    return out


class Guest:
    """A running guest, whose console lines are echoed and can be waited for. Use as a context manager."""

    def __init__(self, argv):
        self.lines = []
        self.queue = queue.Queue()
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for raw in self.child.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            print("  |", line, flush=True)
            self.lines.append(line)
            self.queue.put(line)
        self.queue.put(None)

    def wait_line(self, text, seconds):
        """The first line from here on that has `text`, or None."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.queue.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                return None
            if line is None:
                self.queue.put(None)  # for whoever asks next
                return None
            if text in line:
                return line

    def wait_end(self, seconds):
        """The exit status, or None."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def said(self, name):
        """What init's `try NAME` said: (ok?, rest)."""
        for line in self.lines:
            _, mark, rest = line.partition(f"net-test: {name} ")
            if mark:
                word, _, more = rest.partition(" ")
                return word == "ok", more
        return False, "the guest said nothing"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.terminate()
            if self.wait_end(10) is None:
                self.child.kill()
                self.child.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def free_range(count):
    """Ports in a row that nobody had a moment ago."""
    while True:
        first = free_port()
        if first + count > 65535:
            continue
        held = []
        try:
            for p in range(first, first + count):
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", p))
            return first
        except OSError:
            pass
        finally:
            for s in held:
                s.close()


def missing():
    """Why the tests cannot run here, or None."""
    for tool in ("gcc", "aarch64-linux-gnu-gcc"):
        if not shutil.which(tool):
            return f"no {tool}"
    if not os.path.exists(f"{CACHE}/guest/initrd.img"):
        return "no guest: run tools/guest.sh"
    return None


def scratch():
    return tempfile.TemporaryDirectory(prefix="pipit-net-")
