#!/usr/bin/env python3
"""Disks for tools/bench.sh: disk.py PIPIT PEER CACHE FOLDER.

In a guest, with one vCPU: requests on a raw and a qcow2 disk, beside the peer (which uses io_uring, too), in turns. On the
host alone: pipit-img bench, random reads of 4 KiB from qcow2 against raw, and against the peer's qemu-img where there is
one. Images are in /dev/shm where it has room, else in the page cache: what the host's own disk does is not measured. Ratios are of
throughput (above 1: pipit is faster); limits that are missed are exit status 1. DISK_ROUNDS (5) says how often.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, f"{ROOT}/tests/net")
import rows  # noqa: E402
import vm  # noqa: E402

PIPIT, PEER, CACHE, FOLDER = (os.path.abspath(word) for word in sys.argv[1:5])
ROUNDS = int(os.environ.get("DISK_ROUNDS", "5"))
SIZE = 256 << 20
IMAGES = None  # the images' folder
GUEST_LIMIT, HOST_LIMIT = 1.5, 0.8


def prepare():
    source = f"{HERE}/disk/disk.c"
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", "-static", "-pthread", "-o", f"{FOLDER}/disk", source], check=True)
    with open(f"{CACHE}/guest/initrd.img", "rb") as f:
        base = f.read()
    files = []
    for name, path in (("disk", f"{FOLDER}/disk"), ("init", f"{HERE}/disk/init")):
        with open(path, "rb") as f:
            files.append((name, 0o100755, f.read()))
    with open(f"{FOLDER}/disk-initrd", "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4) + vm.cpio(files))
    with open(f"{IMAGES}/disk.raw", "wb") as f:
        for _ in range(SIZE >> 20):
            f.write(os.urandom(1 << 20))
    image = [f"{os.path.dirname(PIPIT)}/pipit-img", "convert", "-O", "qcow2", f"{IMAGES}/disk.raw", f"{IMAGES}/disk.qcow2"]
    subprocess.run(image, check=True)


def command(binary, image):
    files = ["-kernel", f"{CACHE}/guest/vmlinuz", "-initrd", f"{FOLDER}/disk-initrd", "-append", "console=ttyAMA0 quiet"]
    if os.path.basename(binary).startswith("qemu-system-"):
        return [binary, "-M", "virt", "-cpu", "cortex-a76", "-m", "512", *files, "-nodefaults", "-nographic", "-serial", "stdio",
                "-no-reboot", "-drive", f"file={IMAGES}/disk.{image},if=none,id=d,format={image},aio=io_uring", "-device",
                "virtio-blk-device,drive=d"]
    files = [word.replace("-kernel", "--kernel").replace("-initrd", "--initrd").replace("-append", "--cmdline")
             if word.startswith("-") else word for word in files]
    return [binary, "run", *files, "--memory", "512", "--net", "none", "--disk", f"{IMAGES}/disk.{image},format={image}"]


def guest(binary, image):
    """{pattern: bytes a second}"""
    done = subprocess.run(command(binary, image), stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    text = done.stdout.decode("utf-8", "replace").replace("\r", "")
    seen = {m[1]: int(m[2]) * int(m[3]) * 1e9 / int(m[4]) for m in re.finditer(r"^disk (.+): (\d+) (\d+) (\d+)$", text, re.M)}
    if done.returncode or "disk done" not in text or len(seen) < 4:
        sys.exit(f"{binary}: exit status {done.returncode}\n{text[-1500:]}{done.stderr.decode('utf-8', 'replace')[-500:]}")
    return seen


def host(*words):
    """Requests a second of random reads."""
    out = subprocess.run([*words[:1], "bench", "-c", "100000", "-d", "32", *words[1:]], capture_output=True, text=True, check=True).stdout
    return 100000 / float(re.search(r"completed in ([0-9.]+) seconds", out)[1])


def turns(ways):
    """[{name: outcome}] of all rounds but the first, which fills caches."""
    seen = []
    for i in range(ROUNDS + 1):
        names = list(ways) if i % 2 else list(reversed(ways))
        one = {name: ways[name]() for name in names}
        if i:
            seen.append(one)
    return seen


def said(name, ratio, limit, text):
    missed = limit is not None and ratio < limit
    verdict = "" if limit is None else f"  (at least {limit}: {'MISSED' if missed else 'ok'})"
    print(f"{name:<24} {text}  ratio {ratio:.2f}{verdict}", flush=True)
    return missed


def in_memory():
    """Where files are in memory only, or None."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return None
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and room.f_bavail * room.f_frsize > 4 * SIZE else None


def main():
    global IMAGES
    os.makedirs(FOLDER, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pipit-bench-", dir=in_memory() or FOLDER) as IMAGES:
        return measure()


def measure():
    prepare()
    missed = False
    print(f"disk: {SIZE >> 20} MiB in memory, 1 vCPU, {ROUNDS} rounds")
    for image in ("raw", "qcow2"):
        seen = turns({"ours": lambda f=image: guest(PIPIT, f), "peer": lambda f=image: guest(PEER, f)})
        for name in seen[0]["ours"]:
            ours, peers = (statistics.median(s[k][name] for s in seen) / (1 << 20) for k in ("ours", "peer"))
            ratio = statistics.median(s["ours"][name] / s["peer"][name] for s in seen)
            rows.row(f"disk in a guest, {image}, {name}", round(1 / GUEST_LIMIT, 2), pipit=1024 / ours, beside=1024 / peers, unit="s/GiB",
                     ratio=1 / ratio)  # as time, like the other rows
            missed |= said(f"{image} {name}", ratio, GUEST_LIMIT, f"pipit {ours:8.1f} MiB/s   peer {peers:8.1f} MiB/s")
    img = f"{os.path.dirname(PIPIT)}/pipit-img"
    seen = turns({f: lambda f=f: host(img, "-f", f, "--random", f"{IMAGES}/disk.{f}") for f in ("raw", "qcow2")})
    raw, qcow2 = (statistics.median(s[f] for s in seen) for f in ("raw", "qcow2"))
    ratio = statistics.median(s["qcow2"] / s["raw"] for s in seen)
    missed |= said("host qcow2 to raw 4k", ratio, HOST_LIMIT, f"qcow2 {qcow2:8.0f} /s      raw  {raw:8.0f} /s   ")
    theirs = os.path.join(os.path.dirname(PEER), "qemu-img")
    if os.access(theirs, os.X_OK):
        # It has no random places: a step that jumps about is as near as it comes.
        step = str((1 << 20) + 4096)
        seen = turns({"ours": lambda: host(img, "-f", "qcow2", "-S", step, f"{IMAGES}/disk.qcow2"),
                      "peer": lambda: host(theirs, "-f", "qcow2", "-i", "io_uring", "-S", step, f"{IMAGES}/disk.qcow2")})
        ours, peers = (statistics.median(s[k] for s in seen) for k in ("ours", "peer"))
        said("host qcow2 steps 4k", statistics.median(s["ours"] / s["peer"] for s in seen), None,
             f"pipit {ours:8.0f} /s      peer {peers:8.0f} /s   ")
    os.unlink(f"{FOLDER}/disk-initrd")
    return missed


if __name__ == "__main__":
    sys.exit(main())
