#!/usr/bin/env python3
"""Boots and programs for tools/bench.sh: bench.py PIPIT PEER CACHE [boot] [programs]

Each round runs both programs, in turns that swap who goes first; a ratio is taken within a round, so that a slow moment
of the host falls on both. Times are wall-clock: of a boot, the whole life of the process, from start to the exit that
follows the guest's poweroff; of a program, what the guest's own clock says.
"""

import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command(binary, cmdline, disk, cpus, memory):
    script = '. "$root/tools/launch.sh"; vm_command "$@"; printf "%s\\0" "${vm[@]}"'
    files = [f"{CACHE}/guest/vmlinuz", f"{CACHE}/guest/initrd.img"]
    out = subprocess.run(
        ["bash", "-c", script, "launch", *files, cmdline, disk, str(cpus), str(memory)],
        env={**os.environ, "PIPIT": binary, "root": ROOT},
        capture_output=True,
        check=True,
    )
    return out.stdout.decode().split("\0")[:-1]


def run(binary, cmdline, disk="", cpus=1, memory=512, limit=900):
    """(seconds, output); the guest must power off and the program exit with 0."""
    start = time.monotonic()
    done = subprocess.run(
        command(binary, cmdline, disk, cpus, memory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=limit,
        check=False,
    )
    seconds = time.monotonic() - start
    text = done.stdout.decode("utf-8", "replace").replace("\r", "")
    if done.returncode != 0 or "reboot: Power down" not in text:
        print(text[-2000:])
        sys.exit(f"{binary}: exit status {done.returncode}")
    return seconds, text


def rounds(count, measure):
    """[(pipit's, peer's)] of `count` rounds."""
    pairs = []
    for i in range(count):
        if i % 2:
            peer = measure(PEER)
            pairs.append((measure(PIPIT), peer))
        else:
            ours = measure(PIPIT)
            pairs.append((ours, measure(PEER)))
    return pairs


def line(name, pairs, unit):
    ratio = statistics.median(a / b for a, b in pairs)
    ours, peers = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(f"{name:<22} pipit {ours:9.2f} {unit}   peer {peers:9.2f} {unit}   ratio {ratio:.2f}", flush=True)
    return ratio


def boot():
    count = int(os.environ.get("BOOTS", "7"))
    print(f"boot: Debian's kernel from start to poweroff at the first process, {count} rounds")
    for cpus in (1, 2):
        cmdline = "console=ttyAMA0 pipit.run=init"
        line(f"boot, {cpus} vCPU", rounds(count, lambda b: run(b, cmdline, cpus=cpus)[0]), "s")


def programs():
    count = int(os.environ.get("ROUNDS", "3"))
    print(f"programs: in a Debian arm64 disk on 2 vCPUs, {count} rounds")
    times, outputs = {}, {}

    def measure(binary):
        with tempfile.TemporaryDirectory() as tmp:
            disk = f"{tmp}/disk.img"
            subprocess.run(["cp", "--sparse=always", f"{CACHE}/rootfs/disk.img", disk], check=True)
            _, text = run(binary, "console=ttyAMA0 quiet pipit.chroot=/programs/guest.sh", disk, cpus=2, memory=1024)
        found, mode = {}, ""
        for said in text.splitlines():
            if m := re.match(r"mode (\w+)$", said):
                mode = m.group(1)
            elif m := re.match(r"work (\w+) (\S+) (\d+)$", said):
                if mode == "alone":
                    found[m.group(1)] = int(m.group(3))
                before = outputs.setdefault(m.group(1), m.group(2))
                if before != m.group(2) or m.group(2).startswith("failed"):
                    sys.exit(f"{binary}: {mode} {m.group(1)}: output {m.group(2)}, elsewhere {before}")
            elif m := re.match(r"together (\d+)$", said):
                found["all at once"] = int(m.group(1))
        if len(found) < 9:
            sys.exit(f"{binary}: only {sorted(found)} were run")
        return found

    for ours, peers in rounds(count, measure):
        for name, ms in ours.items():
            times.setdefault(name, []).append((ms / 1000, peers[name] / 1000))
    ratios = [line(name, pairs, "s") for name, pairs in times.items() if name != "all at once"]
    line("all at once", times["all at once"], "s")
    print(f"geometric mean of the programs' ratios: {math.exp(statistics.fmean(map(math.log, ratios))):.2f}")
    print("outputs: the same everywhere")


PIPIT, PEER, CACHE = sys.argv[1:4]
if __name__ == "__main__":
    what = sys.argv[4:] or ["boot", "programs"]
    if unknown := set(what) - {"boot", "programs"}:
        sys.exit(f"no such benchmark: {', '.join(unknown)} (boot, programs)")
    if "boot" in what:
        boot()
    if "programs" in what:
        programs()
