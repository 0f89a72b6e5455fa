#!/usr/bin/env python3
"""Arm64 programs in user mode for tools/bench.sh: user.py PIPIT PEER (user | mmdebstrap)

The kernel starts the programs by one emulator or the other (tests/arm64.sh). Times are CPU time, user and system, of all
processes that a run takes; each round runs both emulators, in turns that swap who goes first, and a ratio is taken within
a round. What is printed, or made, must be the same everywhere.
"""

import hashlib
import math
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tools/bench")
import rows  # noqa: E402

PROGRAMS = ["python", "perl", "sqlite", "xz", "zstd", "gcc", "openssl"]


def cpu(argv, limit=3600, **env):
    """(seconds, output) of a command and all that it started; it must exit with 0."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        argv,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=limit,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        print(text[-2000:])
        sys.exit(f"{' '.join(argv)}: exit status {done.returncode}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, text


def work(emulator, name):
    """(seconds, digest of the output) of a program of tests/rootfs/work.sh; emulator None: the host's own."""
    if emulator:
        script = [f"{ROOT}/tests/arm64.sh", emulator, f"{ROOT}/tests/tree.sh", "/bin/sh", "/programs/work.sh", "/programs"]
        seconds, text = cpu([*script, "alone", name])
    else:
        script = ["sh", f"{ROOT}/tests/rootfs/work.sh", f"{ROOT}/tests/rootfs"]
        seconds, text = cpu([*script, "alone", name], GCC="aarch64-linux-gnu-gcc")
    found = re.search(rf"^work {name} (\S+) \d+$", text, re.M)
    if not found:
        sys.exit(f"{emulator}: {name} did not run: {text[-500:]}")
    return seconds, found.group(1)


def turns(count, measure):
    """[(pipit's, peer's)] of `count` rounds."""
    pairs = []
    for i in range(count):
        pair = [measure(who) for who in ((PIPIT, PEER), (PEER, PIPIT))[i % 2]]
        pairs.append(tuple(pair if i % 2 == 0 else pair[::-1]))
    return pairs


def line(name, pairs, more=""):
    ratio = statistics.median(a / b for a, b in pairs)
    ours, peers = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(f"{name:<12} pipit {ours:8.2f} s   peer {peers:8.2f} s   ratio {ratio:.2f}{more}", flush=True)
    return ratio


def user():
    count = int(os.environ.get("ROUNDS", "3"))
    print(f"user: Debian's arm64 programs in a chroot, CPU time, {count} rounds")
    ratios, natives = [], []
    # What the script does beside the program: the name of none runs none.
    rest = {who: statistics.median(work(who, "none")[0] for _ in range(count)) for who in (PIPIT, PEER, None)}
    for name in PROGRAMS:
        outputs = set()

        def measure(who, name=name, outputs=outputs):
            seconds, digest = work(who, name)
            outputs.add(digest)
            return max(seconds - rest[who], 0.001)

        pairs = turns(count, measure)
        native = statistics.median(measure(None) for _ in range(count))
        if len(outputs) != 1 or next(iter(outputs)).startswith("failed"):
            sys.exit(f"{name}: the output is not the same everywhere: {outputs}")
        ours = statistics.median(p[0] for p in pairs)
        ratios.append(line(name, pairs, f"   native {native:6.2f} s, {ours / native:.1f} times"))
        natives.append(ours / native)
    of_peer, of_native = (math.exp(statistics.fmean(map(math.log, found))) for found in (ratios, natives))
    rows.row("user mode: the same programs, CPU time", 0.25, ratio=of_peer)
    rows.row("user mode: the same programs, CPU time", 3, ratio=of_native, against="native")
    print(f"geometric means of the programs' ratios: of the peer's {of_peer:.2f}, of native {of_native:.1f}")
    print("outputs: the same everywhere")


def mmdebstrap():
    count = int(os.environ.get("BUILDS", "1"))
    print(f"mmdebstrap: --include=python3-minimal,gcc,perl-base,openssl,sqlite3 from a local archive, CPU time, {count} rounds")
    tars = set()

    def measure(who):
        with tempfile.TemporaryDirectory(dir=f"{ROOT}/build") as tmp:
            os.chmod(tmp, 0o755)
            seconds, _ = cpu([f"{ROOT}/tests/arm64.sh", who, f"{ROOT}/tests/mmdebstrap.sh", f"{tmp}/root.tar"])
            with open(f"{tmp}/root.tar", "rb") as tar:
                tars.add(hashlib.file_digest(tar, "sha256").hexdigest())
        return seconds

    pairs = turns(count, measure)
    ours, peers = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    rows.row("user mode: mmdebstrap, CPU time", 0.35, pipit=ours, beside=peers, unit="s", ratio=line("mmdebstrap", pairs))
    if len(tars) != 1:
        sys.exit("the tars are not the same")
    print("tars: the same, byte for byte")


PIPIT, PEER = sys.argv[1:3]
if __name__ == "__main__":
    {"user": user, "mmdebstrap": mmdebstrap}[sys.argv[3]]()
