#!/usr/bin/env python3
# limit: 200
"""The life of machines: started in the background, listed, attached to, stopped, killed, removed; names that are taken or
bad; folders and clients that are hostile; QEMU's -daemonize. Two programs of a few instructions stand in for guests where
Linux is not needed."""

import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "net"))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import vm  # noqa: E402
from flat_guest import SLEEP, UART, kernel, ldr, li, put, store  # noqa: E402

result = vm.result
LIMIT = 60


class Place:
    """A run-time and a state folder for one test, and all machines in them at its end."""

    def __init__(self, folder):
        self.folder = folder
        self.run_dir, self.state = f"{folder}/run", f"{folder}/state"
        os.mkdir(self.run_dir, 0o700)
        self.env = {**os.environ, "XDG_RUNTIME_DIR": self.run_dir, "XDG_STATE_HOME": self.state}

    def pipit(self, *words, **kw):
        kw = {"stdin": subprocess.DEVNULL, **kw}
        p = subprocess.run([vm.PIPIT, *words], capture_output=True, timeout=LIMIT, check=False, env=self.env, text=True, **kw)
        return p.returncode, p.stdout, p.stderr

    def start(self, name, guest, *more):
        return self.pipit("run", "--kernel", guest, "--kernel-format", "flat", "--memory", "64M", "--net", "none", "--name", name,
                          "--detach", *more)

    def ps(self):
        status, out, err = self.pipit("ps", "--json")
        if status:
            print("  ps:", err)
        return {m["name"]: m for m in json.loads(out)}

    def entry(self, name):
        return f"{self.run_dir}/pipit/{name}"

    def socket(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(LIMIT)
        end = time.monotonic() + LIMIT
        while True:
            try:
                s.connect(f"{self.entry(name)}/control")
                return s
            except BlockingIOError:  # those before it have not been let in yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.002)

    def end(self):
        for m in self.ps().values():
            if m["status"] == "running":
                os.kill(m["pid"], signal.SIGKILL)


def wait_until(what, seconds=LIMIT):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid):
    """Soon: the name is free a little before the process has ended."""
    return wait_until(lambda: not alive(pid))


def detached(p, guest):
    """Start, what can be seen, names that are taken, killing, and starting again."""
    status, out, err = p.start("one", guest["idle"], "--pidfile", f"{p.folder}/pid", "--console-log", f"{p.folder}/con")
    m = p.ps().get("one", {})
    result("detach/prints-name", (status, out, err) == (0, "one\n", ""), f"{status} {out!r} {err!r}")
    result("ps/running", m.get("status") == "running" and m.get("memory") == 64 << 20 and alive(m.get("pid", 0)), f"{m}")
    with open(f"{p.folder}/pid", encoding="ascii") as f:
        result("pidfile", f.read() == f"{m.get('pid')}\n", f"{m}")
    status, out, _ = p.pipit("ps")
    result("ps/table", status == 0 and re.search(rf"\none +running +{m['pid']} ", out), out)
    result("console-log", wait_until(lambda: open(f"{p.folder}/con", "rb").read() == b"hello"), "no hello")
    modes = [stat.S_IMODE(os.stat(x).st_mode) for x in (p.entry("one"), p.entry("one") + "/control", f"{p.folder}/con")]
    result("modes", modes == [0o700, 0o600, 0o600], f"{[oct(x) for x in modes]}")

    status, _, err = p.start("one", guest["idle"])
    result("name-taken", status == 1 and "machine one running already" in err, f"{status} {err}")
    status, _, err = p.pipit("rm", "one")
    result("rm/running-refused", status == 1 and "is running" in err and alive(m["pid"]), err)

    os.kill(m["pid"], signal.SIGKILL)
    gone(m["pid"])
    result("killed/crashed", p.ps().get("one", {}).get("status") == "crashed", f"{p.ps()}")
    status, _, err = p.pipit("console", "one")
    result("killed/console", status == 1 and "no machine one running" in err, err)
    status, _, err = p.pipit("stop", "one")
    result("killed/stop", status == 1 and "no machine one running" in err, err)
    status, out, err = p.start("one", guest["idle"])
    again = p.ps().get("one", {})
    result("killed/starts-again", status == 0 and again.get("status") == "running" and again["pid"] != m["pid"], f"{out} {err}")
    status, _, err = p.pipit("rm", "--force", "one")
    result("rm/force", status == 0 and gone(again["pid"]) and not p.ps() and not os.path.exists(p.entry("one")), err)
    status, _, err = p.pipit("rm", "one")
    result("rm/nothing", status == 1 and "there is no machine one" in err, err)

    status, out, err = p.start("killed", guest["idle"])
    os.kill(p.ps()["killed"]["pid"], signal.SIGKILL)
    wait_until(lambda: p.ps()["killed"]["status"] == "crashed")
    status, _, err = p.pipit("rm", "killed")
    result("rm/crashed", status == 0 and not p.ps(), err)


def terminal(p, guest):
    """A console on a terminal: raw while it lasts, keys behind Ctrl-A, and a machine that goes on; also a crash of the client."""
    p.start("tty", guest["echo"])
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    for name, leave in (("ctrl-a-x", lambda c: os.write(master, b"\x01x")), ("sigterm", lambda c: c.terminate())):
        child = subprocess.Popen([vm.PIPIT, "console", "tty"], stdin=slave, stdout=slave, stderr=slave, env=p.env)
        seen = b""
        while b"hello" not in seen:
            seen += os.read(master, 1000)
        raw = termios.tcgetattr(slave)
        os.write(master, f"\x01\x01 {name}".encode())
        while f"\x01 {name}".encode() not in seen:
            seen += os.read(master, 1000)
        leave(child)
        status = child.wait(LIMIT)
        good = status in (0, -signal.SIGTERM) and not raw[3] & termios.ECHO and termios.tcgetattr(slave) == before
        result(f"terminal/{name}", good and p.ps()["tty"]["status"] == "running", f"{status} {seen}")
    os.close(slave)
    os.close(master)
    status, _, err = p.pipit("rm", "--force", "tty")
    result("terminal/rm", status == 0 and not p.ps(), err)


def refusals(p, guest):
    """What fails is said by the command that asked, with its status."""
    for name in ("a/b", "..", "-x", "a b", "x" * 64, "\u00e4"):
        status, _, err = p.pipit("run", "--kernel", guest["idle"], "--kernel-format", "flat", f"--name={name}", "--detach")
        result(f"bad-name/{name[:3]}", status == 2 and "a name begins with" in err, f"{status} {err}")
    status, out, err = p.start("late", "/nowhere")
    result("detach/fails", status == 1 and not out and "/nowhere" in err and not p.ps(), f"{status} {out} {err}")
    status, out, err = p.start("late", guest["idle"], "--log", "/nowhere/log")
    result("detach/log-fails", status == 1 and "log file" in err, f"{status} {err}")
    status, out, err = p.start("late", guest["idle"], "--disk", "/nowhere")
    result("detach/disk-fails", status == 1 and "/nowhere" in err and not os.path.exists(p.entry("late")), f"{status} {err}")
    for words in (["stop"], ["stop", "a", "--timeout", "x"], ["rm"], ["console"], ["ps", "x"], ["ssh"], ["ssh", "a", "b"]):
        status, _, err = p.pipit(*words)
        result(f"usage/{'-'.join(words)}", status == 2 and "usage: pipit" in err, f"{status} {err}")
    status, _, err = p.pipit("stop", "../x")
    result("stop/bad-name", status == 1 and "a name begins with" in err, f"{status} {err}")


def hostile_folders(p, guest):
    os.mkdir(f"{p.folder}/else", 0o700)
    os.symlink(f"{p.folder}/else", f"{p.run_dir}/pipit")
    status, _, err = p.start("x", guest["idle"])
    result("folder/link", status == 1 and "is no folder" in err and not os.listdir(f"{p.folder}/else"), f"{status} {err}")
    os.unlink(f"{p.run_dir}/pipit")
    os.mkdir(f"{p.run_dir}/pipit")
    os.chmod(f"{p.run_dir}/pipit", 0o755)
    status, _, err = p.start("x", guest["idle"])
    result("folder/open", status == 1 and "other users" in err and not os.listdir(f"{p.run_dir}/pipit"), f"{status} {err}")
    os.chmod(f"{p.run_dir}/pipit", 0o700)
    os.symlink(f"{p.folder}/else", p.entry("x"))
    status, _, err = p.start("x", guest["idle"])
    result("folder/entry-link", status == 1 and "is no folder" in err and not os.listdir(f"{p.folder}/else"), f"{status} {err}")
    os.unlink(p.entry("x"))
    os.mkdir(p.entry("x"), 0o700)
    os.symlink(f"{p.folder}/victim", p.entry("x") + "/lock")
    status, _, err = p.start("x", guest["idle"])
    result("folder/lock-link", status == 1 and not os.path.exists(f"{p.folder}/victim"), f"{status} {err}")
    os.unlink(p.entry("x") + "/lock")
    if os.geteuid() == 0:
        os.chown(f"{p.run_dir}/pipit", 12345, 12345)
        status, _, err = p.start("x", guest["idle"])
        result("folder/foreign", status == 1 and "another user" in err, f"{status} {err}")
        os.chown(f"{p.run_dir}/pipit", 0, 0)


def hostile_clients(p, guest):
    """Garbage, silence, floods and clients that do not read: the machine lives, and serves the next."""
    p.start("busy", guest["echo"])
    pid = p.ps()["busy"]["pid"]
    for data, says in ((b"x" * 4000, b"too long"), (b"nonsense\n", b"no command"), (b"\0\xff\n", b"no command"), (b"\n", b"no command")):
        with p.socket("busy") as s:
            s.sendall(data)
            result(f"client/{says.decode()}-{len(data)}", says in s.recv(100), "another answer")
    silent = [p.socket("busy") for _ in range(40)]
    with p.socket("busy") as s:
        s.sendall(b"console\n")
        result("client/behind-silent-ones", s.recv(9) == b"ok types\n", "no answer")
    for s in silent:
        s.close()
    # One that types without reading what comes back, beside a reader.
    lazy, reader = p.socket("busy"), p.socket("busy")
    lazy.sendall(b"console\n")
    lazy.recv(9)
    reader.sendall(b"console\n")
    result("client/one-types", reader.recv(9) == b"ok reads\n", "not told")
    reader.sendall(b"R" * 50)
    lazy.setblocking(False)
    sent, end = 0, time.monotonic() + 20
    while sent < 60000 and time.monotonic() < end:
        try:
            sent += lazy.send(b"w" * 4096)
        except BlockingIOError:
            time.sleep(0.002)
    got = b""
    while len(got) < sent and time.monotonic() < end:
        got = (got + reader.recv(65536)).removeprefix(b"hello")
    result("client/lazy-one", len(got) == sent and set(got) == {ord("w")} and alive(pid), f"{len(got)} of {sent}, {set(got)}")
    # The reader is the oldest now.
    lazy.close()
    time.sleep(0.2)
    reader.sendall(b"T\xff\xffU")
    got = b""
    while b"U" not in got and len(got) < 100:
        got += reader.recv(100)
    result("client/next-one-types", got == b"T\xffU", f"{got}")
    reader.close()
    status, _, err = p.pipit("stop", "busy", "--timeout", "1")
    result("stop/insists", status == 0 and "has not powered off" in err and gone(pid) and not p.ps(), f"{status} {err}")


def daemonize(p, _):
    """QEMU's words for the same."""
    if not os.path.exists(vm.KERNEL):
        vm.skip("daemonize", "no guest: run tools/guest.sh")
        return
    words = ["qemu", "-M", "virt", "-kernel", vm.KERNEL, "-m", "128", "-nodefaults", "-display", "none", "-daemonize", "-name", "a b",
             "-pidfile", f"{p.folder}/qpid", "-serial", f"file:{p.folder}/qcon", "-D", f"{p.folder}/qlog"]
    q = subprocess.run([vm.PIPIT, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False, env=p.env)
    good = q.returncode == 0 and os.path.exists(f"{p.folder}/qpid")
    result("daemonize", good and not q.stdout and not p.ps(), f"{q}")
    if not good:
        return
    with open(f"{p.folder}/qpid", encoding="ascii") as f:
        pid = int(f.read())
    result("daemonize/runs", alive(pid), f"{pid}")
    os.kill(pid, signal.SIGTERM)
    result("daemonize/ends", gone(pid) and not os.path.exists(f"{p.folder}/qpid"), "still there")


def paused(p, console):
    """A paused machine does not answer; one that goes on does."""
    status, _, err = p.pipit("pause", "deb")
    time.sleep(0.5)
    console.stdin.write(b"echo late $((6 * 8)) hours\n")
    console.stdin.flush()
    ready, seen = select.select([console.stdout], [], [], 1)[0], b""
    if ready:
        seen = os.read(console.stdout.fileno(), 4096)
    result("pause", status == 0 and b"late 48" not in seen, f"{status} {err!r} {seen}")
    status, _, err = p.pipit("resume", "deb")
    while b"late 48 hours" not in seen:
        data = os.read(console.stdout.fileno(), 4096)
        if not data:
            break
        seen += data
    result("resume", status == 0 and b"late 48 hours" in seen, f"{status} {err!r} {seen}")
    status, _, err = p.pipit("pause", "nobody")
    result("pause/nothing", status == 1 and "no machine nobody running" in err, err)


def linux(p, _):
    """Debian's kernel: a console that is typed at, and a stop that the guest obeys."""
    if not os.path.exists(f"{vm.CACHE}/guest/initrd.img"):
        vm.skip("linux", "no guest: run tools/guest.sh")
        return
    port = vm.free_range(3) + 2
    status, out, err = p.pipit("run", "--kernel", vm.KERNEL, "--initrd", f"{vm.CACHE}/guest/initrd.img", "--memory", "256M",
                               "--publish", f"{port - 2}-{port}:20-22", "--detach", "--name", "deb", "--console-log", f"{p.folder}/deb.con")
    result("linux/starts", status == 0 and out == "deb\n", f"{status} {err}")
    m = p.ps()["deb"]
    result("linux/ps", (m.get("ssh_port"), m.get("ssh_address"), m["kernel"]) == (port, "127.0.0.1", vm.KERNEL), f"{m}")
    with open(f"{p.folder}/bin-ssh", "w", encoding="ascii") as f:
        f.write('#!/bin/sh\necho "$@"\n')
    os.chmod(f"{p.folder}/bin-ssh", 0o755)
    os.mkdir(f"{p.folder}/bin")
    os.rename(f"{p.folder}/bin-ssh", f"{p.folder}/bin/ssh")
    p.env["PATH"] = f"{p.folder}/bin:{p.env['PATH']}"
    status, out, err = p.pipit("ssh", "debian@deb", "--", "uname", "-m")
    result("ssh", status == 0 and out.startswith(f"-p {port} -o HostKeyAlias=pipit-deb") and out.endswith("-l debian 127.0.0.1 uname -m\n"),
           f"{status} {out} {err}")
    child = subprocess.Popen([vm.PIPIT, "console", "deb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=p.env)
    result("linux/boots", wait_until(lambda: b":/# " in open(f"{p.folder}/deb.con", "rb").read()), "no prompt")
    child.stdin.write(b"cat /sys/class/net/eth0/address; echo six $((6 * 7)) times\n")
    child.stdin.flush()
    seen = b""
    while b"six 42 times" not in seen:
        data = os.read(child.stdout.fileno(), 4096)
        if not data:
            break
        seen += data
    result("console/typed", b"six 42 times" in seen, f"{seen}")
    mac = re.search(rb"52:54:00:(\S+)", seen)
    result("mac-by-name", mac and mac[1] != b"12:34:56", f"{seen}")
    paused(p, child)
    status, _, err = p.pipit("stop", "deb")
    result("stop/sysrq", status == 0 and "services are not stopped" in err and "ending the machine" not in err, f"{status} {err}")
    rest = child.communicate(timeout=LIMIT)[0]
    result("console/told-of-end", b"Power down" in rest and b"the machine has ended" in rest, f"{rest}")
    with open(f"{p.folder}/deb.con", "rb") as f:
        text = f.read()
    result("stop/order", 0 < text.find(b"Emergency Sync") < text.find(b"Emergency Remount") < text.find(b"Power Off"), f"{text[-400:]}")
    result("stop/gone", not p.ps() and not os.path.exists(p.entry("deb")), f"{p.ps()}")


def stopped(p, _):
    """A machine that left a disk is listed, and removed with it."""
    os.makedirs(f"{p.state}/pipit/old", 0o700)
    os.chmod(f"{p.state}/pipit", 0o700)
    with open(f"{p.state}/pipit/old/image", "w", encoding="ascii") as f:
        f.write("/images/debian.qcow2\nqcow2\n1\n2\n")
    m = p.ps().get("old", {})
    result("ps/stopped", (m.get("status"), m.get("image")) == ("stopped", "/images/debian.qcow2"), f"{m}")
    status, _, err = p.pipit("rm", "old")
    result("rm/stopped", status == 0 and not p.ps() and not os.path.exists(f"{p.state}/pipit/old"), err)


def main():
    with tempfile.TemporaryDirectory(prefix="pipit-life-") as top:
        # Both say hello; then one sleeps, and one gives back what it is sent.
        echo = li(0, UART) + ldr(1, 0, 24) + [0x3727FFE1] + ldr(2, 0) + store(2, 0) + [0x17FFFFFC]  # tbnz w1, #4, ldr; b ldr
        files = {"idle": kernel(put("hello") + SLEEP), "echo": kernel(put("hello") + echo)}
        guest = {name: f.name for name, f in files.items()}
        for test in (detached, terminal, refusals, hostile_folders, hostile_clients, daemonize, linux, stopped):
            folder = f"{top}/{test.__name__}"
            os.mkdir(folder)
            p = Place(folder)
            try:
                test(p, guest)
            finally:
                p.end()
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
