#!/usr/bin/env python3
"""Boots the guest of tools/guest.sh in its self-check mode and judges what it says.

selfcheck.py COMMAND... runs COMMAND with @CHECK@ replaced by PORT:NONCE of a listener on loopback, and @DISK@ by the
path of a scratch disk. Nothing that the guest prints is believed where the host can see for itself: the disk's hash
is compared with the file, and the word that comes back over TCP is on no command line.

Prints what the guest printed, then `ok NAME` or `FAIL NAME: why` for each item and a count; exits 0 if all are ok.
PIPIT_CHECK_SECONDS (default 180) bounds the run.
"""

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time

KIB = 1024
SEED = 1024 * KIB  # the part of the disk that the host fills
WROTE = (32 * 64 * KIB, 48 * 64 * KIB)  # where the guest writes, and how much (tools/guest/init)
AGAIN = (20001 * 512, 7 * 512)  # the beginning of the same bytes once more


def listen(nonce, word, heard):
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(20)
                try:
                    line = peer.makefile("rb").readline(4096).decode("ascii", "replace").split()
                    if line and line[0] == nonce:
                        heard.append(line[1] if len(line) > 1 else "")
                        peer.sendall(word.encode() + b"\n")
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def run(command, limit):
    """Runs the command, echoes its output, and returns (lines, status, seconds); status None if it had to be ended."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    overdue = threading.Event()

    def end():
        overdue.set()
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()

    timer = threading.Timer(limit, end)
    timer.start()
    lines = []
    for raw in child.stdout:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        print(line, flush=True)
        lines.append(line)
    status = child.wait()
    timer.cancel()
    return lines, None if overdue.is_set() else status, time.monotonic() - start


def main():
    nonce, word, heard = secrets.token_hex(16), secrets.token_hex(16), []
    limit = float(os.environ.get("PIPIT_CHECK_SECONDS", "180"))
    port = listen(nonce, word, heard)
    with tempfile.NamedTemporaryFile(prefix="pipit-check-") as disk:
        seed = os.urandom(SEED)
        disk.write(seed)
        disk.truncate(64 * 1024 * KIB)
        disk.flush()
        command = [a.replace("@CHECK@", f"{port}:{nonce}").replace("@DISK@", disk.name) for a in sys.argv[1:]]
        try:
            lines, status, seconds = run(command, limit)
        except OSError as e:
            print(f"FAIL start: {command[0]}: {e.strerror}\n0 passed, 1 failed")
            return 1

        def on_disk(place):
            disk.seek(place[0])
            return disk.read(place[1])

        wrote, again = on_disk(WROTE), on_disk(AGAIN)

    said = {}
    for line in lines:
        if line.startswith("pipit-check: "):
            name, _, rest = line[len("pipit-check: "):].partition(" ")
            said[name] = rest
    results = []

    def item(name, good, why):
        results.append(good)
        print(f"ok {name}" if good else f"FAIL {name}: {why}")

    def told(name):
        return said.get(name, "the guest said nothing")

    item("uname", told("uname").startswith("ok: Linux") and told("uname").endswith("aarch64"), told("uname"))
    item("disk-read", heard[:1] == [hashlib.sha256(seed).hexdigest()], f"the guest's hash of the seed: {heard[:1]}")
    item("disk-write", told("disk") == "ok: " + hashlib.sha256(wrote).hexdigest() and any(wrote), told("disk"))
    item("disk-write-again", again == wrote[: AGAIN[1]] and any(again), "the second write is not in the file")
    item("entropy", told("entropy") == "ok", told("entropy"))
    item("dhcp", told("dhcp").startswith("ok: 10.0.2."), told("dhcp"))
    item("tcp", told("tcp") == "ok: " + word, told("tcp"))
    item("poweroff", status == 0, f"no end within {limit:.0f} s" if status is None else f"exit status {status}")
    failed = results.count(False)
    print(f"the guest ran for {seconds:.1f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
