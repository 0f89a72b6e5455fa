#!/usr/bin/env python3
"""One command from a cloud image to an ssh prompt: ssh.py IMAGE [OPTION...].

The image (tests/cloud/image.sh) is started in the background with a key, a name and a published port, and must let the
key in, with cloud-init content; then it is stopped and started again, which must find what it had; then removed. The
image itself stays as it was, byte for byte. Prints how long the first answer takes.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.environ.get("PIPIT_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PIPIT = os.environ.get("PIPIT", f"{ROOT}/build/release/pipit")
NAME = "cloud-test"
LIMIT = 300  # seconds until the answer
failed = []


def result(name, good, why=""):
    if not good:
        failed.append(name)
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pipit(*words, limit=120):
    return subprocess.run([PIPIT, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False)


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def start(image, folder, port):
    begin = time.monotonic()
    p = pipit("run", image, "--name", NAME, "--ssh-key", f"{folder}/key.pub", "--hostname", "pipit-guest", "--publish", f"{port}:22",
              "--memory", "1G", "--cpus", "2", "--console-log", f"{folder}/console", "--detach", *sys.argv[2:])
    return p, begin


def ssh(folder, port, command, limit=60):
    return subprocess.run(["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
                           "-o", "ConnectTimeout=5", "-i", f"{folder}/key", "-p", str(port), "debian@127.0.0.1", command],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False)


def answer(folder, port, begin):
    """Seconds until the guest lets the key in, or None."""
    while time.monotonic() - begin < LIMIT:
        try:
            if ssh(folder, port, "true", 30).returncode == 0:
                return time.monotonic() - begin
        except subprocess.TimeoutExpired:
            pass
        time.sleep(0.2)
    return None


def console(folder):
    try:
        with open(f"{folder}/console", encoding="utf-8", errors="replace") as f:
            return f.read()[-1500:]
    except OSError as e:
        return str(e)


def life(image, folder, port):
    before = digest(image)
    p, begin = start(image, folder, port)
    result("start", p.returncode == 0 and p.stdout.strip() == NAME, f"status {p.returncode}, {p.stdout!r} {p.stderr!r}")
    if p.returncode:
        return
    seconds = answer(folder, port, begin)
    result("answer", seconds, f"none in {LIMIT} s: {console(folder)!r}")
    if not seconds:
        return
    print(f"from start to the answer of ssh: {seconds:.1f} s", flush=True)
    said = ssh(folder, port, "cloud-init status --wait >/dev/null; cloud-init status; hostname; uname -m; df --output=size / | tail -1;"
               "sudo sh -c 'echo kept >/etc/kept; sync'", 200)
    words = said.stdout.split()
    result("cloud-init", said.returncode == 0 and words[:4] == ["status:", "done", "pipit-guest", "aarch64"], f"{said.stdout!r} {said.stderr!r}")
    listed = json.loads(pipit("ps", "--json").stdout)
    result("ps", any(m.get("name") == NAME and m.get("status") == "running" for m in listed), f"{listed}")
    p = pipit("ssh", NAME, "--", "-i", f"{folder}/key", "-l", "debian", "cat /etc/kept")
    result("pipit-ssh", p.stdout == "kept\n", f"status {p.returncode}, {p.stdout!r}, {p.stderr!r}")
    p = pipit("stop", NAME)
    result("stop", p.returncode == 0, f"status {p.returncode}, {p.stderr!r}")
    p, begin = start(image, folder, port)
    seconds = answer(folder, port, begin) if p.returncode == 0 else None
    result("start-again", seconds, f"status {p.returncode}, {p.stderr!r}, {console(folder)!r}")
    if seconds:
        said = ssh(folder, port, "cat /etc/kept")
        result("kept", said.stdout == "kept\n", f"{said.stdout!r} {said.stderr!r}")
    pipit("stop", NAME)
    p = pipit("rm", NAME)
    result("rm", p.returncode == 0 and NAME not in pipit("ps").stdout, f"status {p.returncode}, {p.stderr!r}")
    result("image-untouched", digest(image) == before, "its content has changed")


def main():
    image = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="pipit-cloud-") as folder:
        os.environ.update(XDG_STATE_HOME=f"{folder}/state", XDG_RUNTIME_DIR=folder)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key"], check=True)
        try:
            life(image, folder, free_port())
        finally:
            pipit("rm", "--force", NAME)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
