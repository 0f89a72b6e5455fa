#!/usr/bin/env python3
"""What the start of a short arm64 program costs: start.py PIPIT PEER FOLDER.

A static and a dynamic hello are compiled into FOLDER and started by pipit-aarch64 and by the peer in turns, after a first
round that fills caches: wall time from fork to the end, and CPU time. pipit runs without saved translations, with none
yet (an empty folder each time: what writing costs is in it), and with those of an earlier run. The limits that the
project holds itself to are for a start with saved ones, and printed beside it; a broken one is exit status 1.

START_ROUNDS (41) says how often.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time

PIPIT, PEER, FOLDER = (os.path.abspath(word) for word in sys.argv[1:4])
ROUNDS = int(os.environ.get("START_ROUNDS", "41"))
SYSROOT = "/usr/aarch64-linux-gnu"
LIMITS = {"static": 0.2, "dynamic": 0.25}
SOURCE = '#include <stdio.h>\nint main(void)\n{\n    puts("hello");\n    return 0;\n}\n'


def compile_one(name, compiler, *flags):
    source, out = f"{FOLDER}/hello.c", f"{FOLDER}/{name}"
    with open(source, "w", encoding="ascii") as f:
        f.write(SOURCE)
    subprocess.run([compiler, "-O2", *flags, "-o", out, source], check=True)
    return out


def life(command, translations):
    """(wall ms, CPU ms) of one process."""
    environment = dict(os.environ, PIPIT_TRANSLATIONS=translations)
    start = time.monotonic()
    child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    said = child.stdout.read()
    _, raw, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(raw)
    child.stdout.close()
    if said != b"hello\n" or child.returncode:
        sys.exit(f"{command[0]}: exit status {child.returncode}, {said!r}")
    return wall * 1000, (used.ru_utime + used.ru_stime) * 1000


def cold(command, folder):
    shutil.rmtree(folder, ignore_errors=True)
    return life(command, folder)


def row(kind, program, native):
    saved = f"{FOLDER}/translations"
    ours, theirs = [PIPIT, "-L", SYSROOT, program], [PEER, "-L", SYSROOT, program]
    runs = {
        "peer": lambda: life(theirs, "off"),
        "warm": lambda: life(ours, saved),
        "cold": lambda: cold(ours, f"{saved}-cold"),
        "off": lambda: life(ours, "off"),
        "native": lambda: life([native], "off"),
    }
    seen = {name: [] for name in runs}
    for i in range(ROUNDS + 1):
        for name, one in runs.items() if i % 2 else reversed(runs.items()):
            seen[name].append(one())
    missed = False
    for name, pairs in seen.items():
        wall, cpu = (statistics.median(p[k] for p in pairs[1:]) for k in (0, 1))
        ratio, cpu_ratio = (statistics.median(p[k] / q[k] for p, q in zip(pairs[1:], seen["peer"][1:])) for k in (0, 1))
        text = f"{kind:<8} {name:<7} {wall:7.2f} ms  CPU {cpu:6.2f} ms  to the peer {ratio:.3f}  CPU {cpu_ratio:.3f}"
        if name == "warm":
            missed = ratio > LIMITS[kind]
            text += f"  (limit {LIMITS[kind]}: {'MISSED' if missed else 'ok'})"
        print(text, flush=True)
    return missed


os.makedirs(FOLDER, exist_ok=True)
shutil.rmtree(f"{FOLDER}/translations", ignore_errors=True)
print(f"start of a program: {ROUNDS} rounds, medians")
BROKEN = [row(kind, compile_one(f"hello-{kind}", "aarch64-linux-gnu-gcc", *flags), compile_one(f"native-{kind}", "gcc", *flags))
          for kind, flags in (("static", ["-static"]), ("dynamic", []))]
sys.exit(any(BROKEN))
