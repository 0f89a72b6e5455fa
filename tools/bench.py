#!/usr/bin/env python3
"""Boots and programs for tools/bench.sh: bench.py PIPIT PEER CACHE [boot] [programs]

Each round runs both programs, in turns that swap who goes first; a ratio is taken within a round, so that a slow moment
of the host falls on both. Times are wall-clock: of a boot, the whole life of the process, from start to the exit that
follows the guest's poweroff; of a program, CPU time of the machine's processes from one line of the guest's to the next,
and, as "wall", what the guest's own clock says.
"""

import math
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ["python", "perl", "sqlite", "xz", "zstd", "gcc", "openssl"]
sys.path.insert(0, f"{ROOT}/tools/bench")
import footprint  # noqa: E402
import rows  # noqa: E402


def command(binary, cmdline, disk, cpus, memory, translations="off"):
    script = '. "$root/tools/launch.sh"; vm_command "$@"; printf "%s\\0" "${vm[@]}"'
    files = [f"{CACHE}/guest/vmlinuz", f"{CACHE}/guest/initrd.img"]
    out = subprocess.run(
        ["bash", "-c", script, "launch", *files, cmdline, disk, str(cpus), str(memory)],
        env={**os.environ, "PIPIT": binary, "root": ROOT},
        capture_output=True,
        check=True,
    )
    argv = out.stdout.decode().split("\0")[:-1]
    return argv + ([] if os.path.basename(binary).startswith("qemu-system-") else ["--translations", translations])


def cpu_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(binary, cmdline, disk="", cpus=1, memory=512, limit=900, translations="off"):
    """(seconds, output, seconds of CPU time); the guest must power off and the program exit with 0."""
    argv = command(binary, cmdline, disk, cpus, memory, translations)
    used = cpu_time()
    start = time.monotonic()
    done = subprocess.run(
        argv,
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
    return seconds, text, cpu_time() - used


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


def row(measure, limit, pairs, ratio):
    ours, peers = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    rows.row(measure, limit, pipit=ours, beside=peers, unit="s", ratio=ratio)


def native():
    """[(name, digest of the output, seconds of CPU time)] of the programs' work on this host."""
    found, rest = [], 0
    for name in ("none", *PROGRAMS):  # the name of none runs none: what the script does beside the program
        before = cpu_time()
        done = subprocess.run(["sh", f"{ROOT}/tests/rootfs/work.sh", f"{ROOT}/tests/rootfs", "alone", name],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=600, check=True, text=True,
                              env={**os.environ, "GCC": "aarch64-linux-gnu-gcc"})
        seconds = cpu_time() - before
        if name == "none":
            rest = seconds
        else:
            # In the guest the script runs once, and its beginning is the first program's.
            own = seconds if name == PROGRAMS[0] else max(seconds - rest, 0.001)
            found.append((name, re.search(rf"^work {name} (\S+) ", done.stdout, re.M).group(1), own))
    return found


def boot():
    count = int(os.environ.get("BOOTS", "7"))
    print(f"boot: Debian's kernel from start to poweroff at the first process, {count} rounds")
    cmdline = "console=ttyAMA0 pipit.run=init"
    with tempfile.TemporaryDirectory(dir=f"{ROOT}/build") as saved:
        run(PIPIT, cmdline, translations=saved)  # another boot, with another KASLR seed
        for cpus, warm, limit in ((1, False, 0.5), (1, True, 0.25), (2, False, 0.5)):
            how = "warm" if warm else "cold"
            both = rounds(count, lambda b, c=cpus, t=saved if warm else "off": run(b, cmdline, cpus=c, translations=t)[::2])
            for k, name in ((0, ""), (1, ", CPU")):
                pairs = [(ours[k], peers[k]) for ours, peers in both]
                ratio = line(f"boot, {cpus} vCPU, {how}{name}", pairs, "s")
                if k == 0 or cpus == 1:
                    row(f"boot to init, {how}, {cpus} vCPU{name}{' time' if k else ''}", limit, pairs, ratio)


def programs():
    count = int(os.environ.get("ROUNDS", "3"))
    host = {name: [] for name in PROGRAMS}
    print(f"programs: in a Debian arm64 disk on 2 vCPUs, CPU time, {count} rounds")
    times, walls, outputs = {}, {}, {}

    def measure(binary):
        with tempfile.TemporaryDirectory() as tmp:
            disk = f"{tmp}/disk.img"
            subprocess.run(["cp", "--sparse=always", f"{CACHE}/rootfs/disk.img", disk], check=True)
            argv = command(binary, "console=ttyAMA0 quiet pipit.chroot=/programs/guest.sh", disk, 2, 1024)
            status, text, marks = footprint.watched(argv, "mode |work |together ", 1800)
        if status or "reboot: Power down" not in text:
            sys.exit(f"{binary}: exit status {status}\n{text[-2000:]}")
        found, mode, before = {}, "", 0
        for said, now in marks:
            used, before = now - before, now
            if m := re.match(r"mode (\w+)$", said):
                mode = m.group(1)
            elif m := re.match(r"work (\w+) (\S+) (\d+)$", said):
                if mode == "alone":
                    found[m.group(1)] = used, int(m.group(3)) / 1000
                first = outputs.setdefault(m.group(1), m.group(2))
                if first != m.group(2) or m.group(2).startswith("failed"):
                    sys.exit(f"{binary}: {mode} {m.group(1)}: output {m.group(2)}, elsewhere {first}")
            elif m := re.match(r"together (\d+)$", said):
                # By the guest's clock: its power-off may follow before the host has looked.
                found["all at once"] = int(m.group(1)) / 1000, int(m.group(1)) / 1000
        if len(found) < 9:
            sys.exit(f"{binary}: only {sorted(found)} were run")
        if binary == PIPIT:
            for name, digest, seconds in native():
                if digest != outputs[name]:
                    sys.exit(f"natively {name}: output {digest}, elsewhere {outputs[name]}")
                host[name].append(seconds)
        return found

    for ours, peers in rounds(count, measure):
        for name in ours:
            times.setdefault(name, []).append((ours[name][0], peers[name][0]))
            walls.setdefault(name, []).append((ours[name][1], peers[name][1]))
    ratios, natives = [], []
    for name, pairs in times.items():
        ratio = line(name, pairs, "s")
        if name in PROGRAMS:
            ratios.append(ratio)
            natives.append(statistics.median(pair[0] / own for pair, own in zip(pairs, host[name])))
            wall = statistics.median(ours / peers for ours, peers in walls[name])
            print(f"{'':<22} native {statistics.median(host[name]):8.2f} s, {natives[-1]:.1f} times; wall {wall:.2f} of the peer's",
                  flush=True)
    of_peer, of_native = (math.exp(statistics.fmean(map(math.log, found))) for found in (ratios, natives))
    rows.row("programs in the guest, CPU time", 0.25, ratio=of_peer)
    rows.row("programs in the guest, CPU time", 4, ratio=of_native, against="native")
    print(f"geometric means without float and all at once: of the peer's {of_peer:.2f}, of native {of_native:.1f}")
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
