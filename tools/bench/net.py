#!/usr/bin/env python3
"""The user network for tools/bench.sh: net.py PIPIT PEER CACHE FOLDER.

Two guests with one vCPU each, one of pipit and one of the peer, with the same kernel, virtio-net on mmio and a published
port (hostfwd). Through it, in turns: NET_MIB (256) to the guest and from it, and NET_CONNECTIONS (200) connections that are
opened, say 9 bytes, hear one and are closed, one after the other. NET_ROUNDS (5) says how often. Ratios are of throughput
(above 1: pipit is faster), with the CPU
time that it took the VMM's processes behind it, which a busy host changes less; limits that are missed are exit status 1.
"""

import os
import socket
import statistics
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, f"{ROOT}/tests/net")
import footprint  # noqa: E402
import rows  # noqa: E402
import vm  # noqa: E402

PIPIT, PEER, CACHE, FOLDER = (os.path.abspath(word) for word in sys.argv[1:5])
ROUNDS = int(os.environ.get("NET_ROUNDS", "5"))
SIZE = int(os.environ.get("NET_MIB", "256")) << 20
CONNECTIONS = int(os.environ.get("NET_CONNECTIONS", "200"))
LIMIT = 2.0


def command(binary, port):
    initrd, cmdline = f"{FOLDER}/net-initrd", "console=ttyAMA0 quiet"
    if os.path.basename(binary).startswith("qemu-system-"):
        return [binary, "-M", "virt", "-cpu", "cortex-a76", "-m", "512", "-kernel", f"{CACHE}/guest/vmlinuz", "-initrd", initrd,
                "-append", cmdline, "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot",
                "-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:{vm.SERVICE}", "-device", "virtio-net-device,netdev=n"]
    return [binary, "run", "--kernel", f"{CACHE}/guest/vmlinuz", "--initrd", initrd, "--cmdline", cmdline, "--memory", "512",
            "--publish", f"127.0.0.1:{port}:{vm.SERVICE}"]


def measured(way, guest, port):
    """(throughput, CPU seconds)."""
    begin = footprint.ticked(footprint.descendants(guest.child.pid))
    return way(port), footprint.ticked(footprint.descendants(guest.child.pid)) - begin


def dial(port, what, size):
    s = socket.create_connection(("127.0.0.1", port), timeout=120)
    s.sendall(what + struct.pack("<Q", size))
    return s


def to_guest(port):
    block = memoryview(bytes(1 << 20))
    begin = time.monotonic()
    with dial(port, b"D", SIZE) as s:
        for at in range(0, SIZE, len(block)):
            s.sendall(block[: min(len(block), SIZE - at)])
        if s.recv(1) != b"\0":
            sys.exit("net: the guest did not take it all")
    return SIZE / (1 << 20) / (time.monotonic() - begin)


def from_guest(port):
    block, seen = bytearray(1 << 20), 0
    begin = time.monotonic()
    with dial(port, b"S", SIZE) as s:
        while n := s.recv_into(block):
            seen += n
    if seen != SIZE:
        sys.exit(f"net: {seen} bytes of {SIZE} came")
    return SIZE / (1 << 20) / (time.monotonic() - begin)


def connections(port):
    begin = time.monotonic()
    for _ in range(CONNECTIONS):
        with dial(port, b"D", 0) as s:
            if s.recv(1) != b"\0":
                sys.exit("net: a connection without an answer")
    return CONNECTIONS / (time.monotonic() - begin)


def main():
    vm.CACHE = CACHE
    os.makedirs(FOLDER, exist_ok=True)
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", "-static", "-o", f"{FOLDER}/flow", f"{HERE}/net/flow.c"], check=True)
    vm.make_initrd(f"{FOLDER}/net-initrd", f"peer {vm.SERVICE}\n", f"{FOLDER}/flow")
    ports = {"ours": vm.free_port(), "peer": vm.free_port()}
    print(f"net: {SIZE >> 20} MiB and {CONNECTIONS} connections through a published port, 1 vCPU, {ROUNDS} rounds")
    missed = False
    vm.print = lambda *_, **__: None  # the guests' consoles
    with vm.Guest(command(PIPIT, ports["ours"])) as ours, vm.Guest(command(PEER, ports["peer"])) as peer:
        guests = {"ours": ours, "peer": peer}
        for guest in guests.values():
            if not guest.wait_line("flow: serving", 120):
                sys.exit("net: no guest\n" + "\n".join(guest.lines[-20:]))
        for name, unit, way, limit in (("to the guest", "MiB/s", to_guest, LIMIT), ("from the guest", "MiB/s", from_guest, LIMIT),
                                       ("connections", "/s", connections, None)):
            seen = []
            for i in range(ROUNDS + 1):  # the first is for the caches
                order = ("ours", "peer") if i % 2 else ("peer", "ours")
                seen.append({who: measured(way, guests[who], ports[who]) for who in order})
            mine, theirs = (statistics.median(s[who][0] for s in seen[1:]) for who in ("ours", "peer"))
            ratio = statistics.median(s["ours"][0] / s["peer"][0] for s in seen[1:])
            cpu = statistics.median(s["peer"][1] / max(s["ours"][1], 0.01) for s in seen[1:])
            verdict = "" if limit is None else f"  (at least {limit}: {'MISSED' if ratio < limit else 'ok'})"
            missed |= limit is not None and ratio < limit
            if limit is not None:  # as time, like the other rows
                rows.row(f"user network, {name}", 1 / limit, pipit=1024 / mine, beside=1024 / theirs, unit="s/GiB", ratio=1 / ratio)
            print(f"{name:<24} pipit {mine:8.1f} {unit:<5}  peer {theirs:8.1f} {unit:<5}  ratio {ratio:.2f}, of CPU time {cpu:.2f}{verdict}",
                  flush=True)
        for who, guest in guests.items():
            dial(ports[who], b"Q", 0).close()
            if guest.wait_end(30) != 0:
                sys.exit(f"net: {who}: no clean end")
    for name in ("flow", "net-initrd"):
        os.unlink(f"{FOLDER}/{name}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
