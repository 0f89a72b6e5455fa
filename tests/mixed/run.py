#!/usr/bin/env python3
"""An hour's mixed load, a slice at a time: run.py SECONDS. A step of tests/soak.sh, which says how many.

A machine with two vCPUs works off rounds (guest.sh) for so many seconds. Every digest must be the first round's and, where
this host can tell, the right one; the disk's file system must be whole in the end. After each round the memory of the
machine's processes less guest RAM is looked at: what it is in the last quarter of the rounds may not be more than GROWTH
above the second quarter (the first one fills caches), and never more than MOST.
"""

import hashlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [f"{ROOT}/tools/bench", f"{ROOT}/tests/net"]
import footprint  # noqa: E402
import vm  # noqa: E402

RAM = 1024  # MiB
GROWTH = 1.1
MOST = 320 << 10  # KiB: a full code cache of 128 MiB, its tables, and what the rest of pipit takes
FETCHED = bytes(i * i * 7 >> 5 & 255 for i in range(1 << 16)) * 128


def serve(listener):
    """Sends FETCHED to whoever comes, until the listener is closed."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            try:
                client.sendall(FETCHED)
            except OSError:
                pass  # the guest will say what it has read


def initrd(path):
    with open(f"{vm.CACHE}/guest/initrd.img", "rb") as f:
        base = f.read()
    files = []
    for name in ("init", "guest.sh", "fetch.py"):
        with open(f"{HERE}/{name}", "rb") as f:
            files.append((name, 0o100755, f.read()))
    with open(path, "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4) + vm.cpio(files))


def load(seconds, folder, port):
    """(rounds' Pss in KiB, {name: digests}, what is wrong) of a machine's life."""
    line = f"console=ttyAMA0 quiet mixed={seconds},{port}"
    argv = [vm.PIPIT, "run", "--kernel", vm.KERNEL, "--initrd", f"{folder}/initrd", "--cmdline", line, "--cpus", "2",
            "--memory", f"{RAM}M", "--disk", f"{folder}/disk.img"]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(seconds + 900, child.kill)
    timer.start()
    memory, seen, tail = [], {}, []
    try:
        for raw in child.stdout:
            text = raw.decode("utf-8", "replace").rstrip()
            tail = [*tail[-30:], text]
            if m := re.match(r"work (\w+) (\S+) \d+$", text):
                seen.setdefault(m[1], []).append(m[2])
            elif m := re.match(r"round after (\d+) s$", text):
                memory.append(sum(footprint.pss(pid, RAM)[0] for pid in footprint.descendants(child.pid)))
                print(f"round {len(memory)} after {m[1]} s: {memory[-1]} KiB", flush=True)
        status = child.wait(60)
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
    wrong = [] if status == 0 and "mixed done" in tail else [f"exit status {status}: " + "\n".join(tail)]
    return memory, seen, wrong


def judge(memory, seen):
    wrong = []
    for name, digests in seen.items():
        if len(set(digests)) != 1 or digests[0].startswith("failed"):
            wrong.append(f"{name}: not always the same: {digests}")
        if len(digests) != len(memory):
            wrong.append(f"{name}: {len(digests)} results in {len(memory)} rounds")
    if seen.get("network", [""])[0] != hashlib.sha256(FETCHED).hexdigest():
        wrong.append(f"network: {seen.get('network')}")
    if len(seen) < 10:
        wrong.append(f"only {sorted(seen)}")
    quarter = len(memory) // 4
    if memory and max(memory) > MOST:
        wrong.append(f"memory: {max(memory)} KiB at most, more than {MOST}")
    if not quarter:
        wrong.append(f"{len(memory)} rounds are too few to tell whether memory grows")
    else:
        early, late = statistics.median(memory[quarter:2 * quarter]), statistics.median(memory[-quarter:])
        print(f"{len(memory)} rounds; memory less guest RAM: {early:.0f} KiB in the second quarter, {late:.0f} KiB in the last")
        if late > GROWTH * early:
            wrong.append("memory has grown")
    return wrong


def main():
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        initrd(f"{folder}/initrd")
        subprocess.run(["cp", "--sparse=always", f"{vm.CACHE}/rootfs/disk.img", f"{folder}/disk.img"], check=True)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        memory, seen, wrong = load(int(sys.argv[1]), folder, listener.getsockname()[1])
        wrong += judge(memory, seen)
        check = subprocess.run(["/sbin/e2fsck", "-fn", f"{folder}/disk.img"], capture_output=True, text=True, check=False)
        if check.returncode:
            wrong.append("file system: " + check.stdout)
    for what in wrong:
        print(f"FAIL mixed: {what}")
    if not wrong:
        print(f"ok mixed: {len(memory)} rounds, {len(seen)} digests each")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
