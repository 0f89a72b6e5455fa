#!/usr/bin/env python3
"""What a microVM costs: micro.py PIPIT STUB STAY EXITS PEER...

STUB, STAY and EXITS are the three builds of stub.S. Rounds in turns, as in bench.py:

- from exec to the first byte of the guest, and the CPU time of the whole life of all processes, user and system, what
  the guest itself used included;
- memory: Pss of pipit's processes less guest RAM, from smaps, while the guest sits in HLT with its network attached;
- an exit: what pipit's own counters (--stats) say of the time between KVM_RUN's return and the next KVM_RUN.

Each peer is measured by itself; the rounds with a slow one are as many as fit in BUDGET seconds, 3 at least.
The limits that the project holds itself to are printed beside each; a broken one is exit status 1.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import footprint  # noqa: E402

PIPIT, STUB, STAY, EXITS = sys.argv[1:5]
PEERS = sys.argv[5:]
ROUNDS = int(os.environ.get("MICRO_ROUNDS", "31"))
BUDGET = 30
RAM = 128  # MiB
BROKEN = []


def limit(ok, text):
    if not ok:
        BROKEN.append(text)
    return "ok" if ok else "MISSED"


def pipit(kernel, net, *more):
    network = ["--net", "user"] if net else ["--net", "none"]
    return [PIPIT, "run", "--machine", "micro", "--kernel", kernel, "--cpus", "1", "--memory", f"{RAM}M",
            "--debug-device", *network, *more]


def qemu(peer, kernel, net):
    network = ["-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0"] if net else ["-nic", "none"]
    return [peer, "-M", "microvm", "-accel", "kvm", "-smp", "1", "-m", str(RAM), "-nodefaults", "-no-user-config",
            "-display", "none", "-serial", "stdio", "-no-reboot", "-device", "isa-debug-exit,iobase=0x501,iosize=4",
            *network, "-kernel", kernel]


def life(command, status):
    """(ms from exec to the guest's first byte, ms of CPU time until the end)."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = child.stdout.read(1)
    seen = time.monotonic() - start
    child.stdout.read()
    said = child.stderr.read().decode("utf-8", "replace")
    _, raw, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(raw)
    if first != b"!" or child.returncode != status:
        sys.exit(f"{command[0]}: exit status {child.returncode}, first byte {first!r}: {said}")
    return seen * 1000, (used.ru_utime + used.ru_stime) * 1000


def version(program):
    out = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return out.splitlines()[0]


def start_up(peer, net):
    pairs = []
    end = time.monotonic() + BUDGET
    while len(pairs) < 3 or (len(pairs) < ROUNDS + 1 and time.monotonic() < end):
        ours = lambda: life(pipit(STUB, net), 0)
        theirs = lambda: life(qemu(peer, STUB, net), 1)
        if len(pairs) % 2:
            pairs.append((ours(), theirs()))
        else:
            pairs.append((theirs(), ours())[::-1])
    pairs = pairs[1:]  # the first round fills caches
    ms, peer_ms = (statistics.median(p[k][0] for p in pairs) for k in (0, 1))
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    cpu, peer_cpu = (statistics.median(p[k][1] for p in pairs) for k in (0, 1))
    name = "with a network" if net else "without network"
    print(f"exec to guest, {name:<16} pipit {ms:6.2f} ms  peer {peer_ms:7.2f} ms  ratio {ratio:.3f} over {len(pairs)} "
          f"rounds (limit 0.25: {limit(ratio <= 0.25, f'exec to guest {name}')})", flush=True)
    print(f"CPU time, {name:<21} pipit {cpu:6.2f} ms  peer {peer_cpu:7.2f} ms "
          f"(limit 10 ms: {limit(cpu <= 10, f'CPU time {name}')})", flush=True)


def memory():
    child = subprocess.Popen(pipit(STAY, True), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        if child.stdout.read(1) != b"!":
            sys.exit("the guest that stays did not start")
        time.sleep(1)
        pids = footprint.descendants(child.pid)
        parts = [footprint.pss(p, RAM) for p in pids]
        total = sum(p[0] for p in parts)
        print(f"memory: {total} KiB Pss of {len(pids)} processes ({' + '.join(str(p[0]) for p in parts)}), guest RAM "
              f"({sum(p[1] for p in parts)} KiB) not counted (limit 5120: {limit(total <= 5120, 'memory')})", flush=True)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)
        child.stdout.close()


def exits():
    done = subprocess.run(pipit(EXITS, False, "--stats"), stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=120)
    said = done.stderr.decode("utf-8", "replace")
    m = re.search(r"(\d+) accesses served by devices in ([0-9]+) ns each", said)
    if done.returncode or not m:
        sys.exit(f"--stats: exit status {done.returncode}: {said}")
    print(f"MMIO exit to the device and back, our own code: {m[2]} ns each over {m[1]} exits "
          f"(limit 1000: {limit(float(m[2]) < 1000, 'MMIO exit')})", flush=True)


print(f"microVM: 1 vCPU, {RAM} MiB")
for one in PEERS:
    print(f"peer: {version(one)}")
    start_up(one, True)
    start_up(one, False)
memory()
exits()
sys.exit(f"missed: {', '.join(BROKEN)}" if BROKEN else 0)
