#!/usr/bin/env python3
# limit: 120
"""A terminal is as it was found however pipit ends: by itself, by its user, by a signal, by a fault of its own on any
thread. And without a terminal, with any of the three standard descriptors closed or stuck, it runs and ends as well.

The guests are flat binaries of a few words, at 0x40080000.
"""

import fcntl
import glob
import os
import pty
import resource
import signal
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flat_guest import OFF, SLEEP, SPIN, UART, kernel, li, put, store_byte  # noqa: E402

ROOT = os.environ.get("PIPIT_ROOT", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PIPIT = os.environ.get("PIPIT", os.path.join(ROOT, "build/release/pipit"))
LIMIT = 20
results = []


def item(name, good, why=""):
    results.append(bool(good))
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)


def flood(count):
    """Prints `count` (a multiple of 65536) characters."""
    return li(5, UART) + li(4, 0x41) + li(3, count) + store_byte(4, 5) + [
        0xF1000463,  # subs x3, x3, #1
        0x54FFFFC1,  # b.ne back two
    ]


class Kernel:
    def __init__(self, words):
        self.words = words

    def __enter__(self):
        self.file = kernel(self.words)
        return [PIPIT, "run", "--kernel", self.file.name, "--kernel-format", "flat", "--net", "none", "--memory", "64M",
                "--accel", "jit"]

    def __exit__(self, *_):
        self.file.close()


# --- on a terminal ---
def read_until(fd, text):
    got = b""
    deadline = time.monotonic() + LIMIT
    while text not in got and time.monotonic() < deadline:
        try:
            got += os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            break
    return got


def thread_of(pid, name):
    """The thread of that name, or the process."""
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(task + "/comm", encoding="ascii") as f:
            if f.read().strip() == name:
                return int(os.path.basename(task))
    return None


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def check_terminal(name, words, how, want, options=(), thread=None):
    """`how`: keys to type, with what the terminal must then show, a signal, or None to wait; `thread`: whom the signal
    is for."""
    with Kernel(words) as command:
        master, slave = pty.openpty()
        fcntl.fcntl(master, fcntl.F_SETFL, fcntl.fcntl(master, fcntl.F_GETFL) | os.O_NONBLOCK)
        before = termios.tcgetattr(slave)
        p = subprocess.Popen([*command, *options], stdin=slave, stdout=slave, stderr=slave, preexec_fn=no_core)
        timer = threading.Timer(LIMIT, p.kill)
        timer.start()
        ready = raw = True
        if how is not None:
            ready = b"ready" in read_until(master, b"ready")
            raw = not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
        if isinstance(how, list):
            for keys, answer in how:
                os.write(master, keys)
                ready = ready and answer in read_until(master, answer)
        elif thread:
            tid = thread_of(p.pid, thread)
            ready = ready and tid is not None
            # tgkill: os.kill of a thread's number signals the process, whose first thread would take it.
            if tid is not None:
                libc_tgkill(p.pid, tid, how)
        elif how is not None:
            p.send_signal(how)
        p.wait()
        timer.cancel()
        restored = termios.tcgetattr(slave) == before
        os.close(slave)
        os.close(master)
    good = ready and raw and restored and p.returncode == want
    item(name, good, f"ready {ready}, raw {raw}, restored {restored}, status {p.returncode}, not {want}")


def libc_tgkill(pid, tid, sig):
    import ctypes

    ctypes.CDLL(None).syscall(ctypes.c_long(234), ctypes.c_long(pid), ctypes.c_long(tid), ctypes.c_long(sig))


def check_terminals():
    ready = put("ready")
    check_terminal("tty-normal-end", ready + OFF, None, 0)
    check_terminal("tty-ctrl-a-x", ready + SLEEP, [(b"\x01h", b"Ctrl-A x"), (b"\x01x", b"")], 0)
    check_terminal("tty-SIGTERM", ready + SPIN, signal.SIGTERM, 143)
    check_terminal("tty-SIGINT", ready + SLEEP, signal.SIGINT, 130)
    check_terminal("tty-SIGHUP", ready + SLEEP, signal.SIGHUP, 129)
    check_terminal("tty-no-such-disk", ready + SLEEP, None, 1, ("--disk", "/nonexistent/disk"))
    for sig in signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGQUIT, signal.SIGTRAP:
        check_terminal(f"tty-{sig.name}", ready + SLEEP, sig, -sig)
    for thread in "vcpu0", "vcpu1", "loop":
        for sig in signal.SIGSEGV, signal.SIGABRT, signal.SIGSYS:
            check_terminal(f"tty-{sig.name}-of-{thread}", ready + SPIN, sig, -sig, ("--cpus", "2"), thread)
    check_terminal("tty-SIGSEGV-sandbox-off", ready + SPIN, signal.SIGSEGV, -signal.SIGSEGV, ("--sandbox", "off"), "vcpu0")


# --- without one ---
def check_without(name, redirect, words=None, want=0, output=None):
    """A guest that prints and powers off, started by a shell with `redirect` on the command."""
    with Kernel(words or put("hello\n") + OFF) as command:
        line = 'exec "$@" ' + redirect
        try:
            p = subprocess.run(["setsid", "-w", "sh", "-c", line, "-", *command], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
            status, out, err = p.returncode, p.stdout, p.stderr
        except subprocess.TimeoutExpired as e:
            status, out, err = None, e.stdout or b"", e.stderr or b""
    item(name, status == want and (output is None or out == output), f"status {status}, {out[-80:]!r}, {err!r}")


def check_pipes():
    """Nobody reads the pipe; or its reader has gone."""
    for name, words in ("few", put("hello\n") + OFF), ("many", flood(0x40000) + OFF):
        with Kernel(words) as command:
            r, w = os.pipe()
            os.close(r)
            p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=w, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
            os.close(w)
        good = p.returncode == 0 and b"standard output is gone" in p.stderr and p.stderr.count(b"\n") == 1
        item(f"stdout-broken-pipe-{name}", good, f"status {p.returncode}, {p.stderr!r}")
    # A full pipe: what does not fit is lost, and said; the end comes all the same.
    with Kernel(put("hello\n") + OFF) as command:
        r, w = os.pipe()
        os.set_blocking(w, False)
        try:
            while True:
                os.write(w, bytes(4096))
        except BlockingIOError:
            pass
        os.set_blocking(w, True)
        start = time.monotonic()
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=w, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
        took = time.monotonic() - start
        os.close(r)
        os.close(w)
    item("stdout-full-pipe", p.returncode == 0 and took < 10 and b"lost" in p.stderr,
         f"status {p.returncode} after {took:.1f} s, {p.stderr!r}")


def main():
    check_terminals()
    check_without("no-tty", "", output=b"hello\n")
    check_without("stdin-null", "</dev/null", output=b"hello\n")
    check_without("stdin-closed", "<&-", output=b"hello\n")
    check_without("stdout-closed", ">&-")
    check_without("stderr-closed", "2>&-", output=b"hello\n")
    check_without("all-closed", "<&- >&- 2>&-")
    check_without("stdin-folder", "</", output=b"hello\n")
    check_without("stdin-write-only", "0>/dev/null", output=b"hello\n")
    check_without("stdout-full-device", ">/dev/full")
    check_pipes()
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
