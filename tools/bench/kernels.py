#!/usr/bin/env python3
"""Small programs of our own in user mode for tools/bench.sh: kernels.py PIPIT PEER FOLDER

The kernels of tools/bench/kernels/ are compiled into FOLDER, for arm64 and for the host, both with -O2. Each round runs
each of them under pipit-aarch64, under the peer and natively, in turns that swap who goes first, and ratios are taken
within a round. Times are what a kernel takes of the processor, translation included, as it says itself. pipit and the
peer must give the same values; so must the host, but for floating point whose multiplications and additions the arm64
compiler fuses.

KERNEL_ROUNDS (3) says how often; KERNELS names some of them.
"""

import math
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rows  # noqa: E402

PIPIT, PEER, FOLDER = (os.path.abspath(word) for word in sys.argv[1:4])
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernels")
ROUNDS = int(os.environ.get("KERNEL_ROUNDS", "3"))
FUSED = {"nbody", "mandelbrot"}

# Kernels with their amounts of work; limits of the geometric means: against the peer, against native (None: no limit).
GROUPS = {
    "integer": (
        {"sieve": 200, "hash": 300, "crc": 150, "sha256": 80000, "chase": 2000, "memcpy": 2000},
        0.40,
        1.8,
    ),
    "control": ({"interpreter": 100, "fib": 200, "indirect": 40000, "qsort": 40}, 0.12, None),
    "FP and NEON": ({"nbody": 200000, "mandelbrot": 30, "matmul": 300, "blur": 600}, 0.08, 2.5),
}


def program(name, compiler):
    out = f"{FOLDER}/{name}-{compiler}"
    sources = [f"{SOURCES}/main.c", f"{SOURCES}/{name}.c"]
    flags = ["-std=gnu11", "-O2", "-static", "-I", os.path.dirname(os.path.dirname(os.path.dirname(SOURCES)))]
    subprocess.run([compiler, *flags, "-o", out, *sources, "-lm"], check=True)
    return out


def run(command, work):
    """(value, ns)"""
    done = subprocess.run([*command, str(work)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=120, check=True)
    value, ns = done.stdout.split()
    return value, int(ns)


def kernel(name, work):
    """Prints the kernel's row; its medians of the ratios to the peer and to native."""
    guest, host = program(name, "aarch64-linux-gnu-gcc"), program(name, "gcc")
    turns = [[PIPIT, guest], [PEER, guest], [host]]
    times = []
    for i in range(ROUNDS):
        order = range(3) if i % 2 == 0 else range(2, -1, -1)
        results = {k: run(turns[k], work) for k in order}
        values = [results[k][0] for k in range(3)]
        if values[0] != values[1] or (name not in FUSED and values[0] != values[2]):
            sys.exit(f"{name}: the value is not the same everywhere: {values}")
        times.append([results[k][1] for k in range(3)])
    peer = statistics.median(t[0] / t[1] for t in times)
    native = statistics.median(t[0] / t[2] for t in times)
    medians = [statistics.median(t[k] for t in times) / 1e6 for k in range(3)]
    shown = "   ".join(f"{who} {ms:7.1f} ms" for who, ms in zip(("pipit", "peer", "native"), medians))
    print(f"{name:<12} {shown}   of the peer's {peer:5.2f}   of native {native:5.2f}", flush=True)
    return peer, native


def judged(group, what, ratios, limit):
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    if limit is None:
        return f"{what} {mean:.2f}"
    rows.row(f"own kernels: {group}", limit, ratio=mean, against="native" if "native" in what else "QEMU")
    return f"{what} {mean:.2f} (limit {limit}: {'kept' if mean <= limit else 'missed'})"


def main():
    os.makedirs(FOLDER, exist_ok=True)
    only = os.environ.get("KERNELS", "").split()
    print(f"kernels: CPU time, {ROUNDS} rounds")
    for group, (kernels, of_peer, of_native) in GROUPS.items():
        found = [kernel(name, work) for name, work in kernels.items() if not only or name in only]
        if found:
            peer = judged(group, "of the peer's", [r[0] for r in found], of_peer)
            native = judged(group, "of native", [r[1] for r in found], of_native)
            print(f"{group}: geometric means: {peer}, {native}", flush=True)


if __name__ == "__main__":
    main()
