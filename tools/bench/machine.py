#!/usr/bin/env python3
"""What a machine costs beside its programs, for tools/bench.sh: machine.py PIPIT PEER CACHE FOLDER

- fork and exec of /bin/true in the guest, beside the peer;
- jobs on two vCPUs: how much sooner they end than on one, beside how much sooner they do on this host (xz with two
  threads; two compilations at once);
- memory: Pss of all processes of a machine less the guest's RAM, when Debian's kernel has booted to a shell;
- what a guest that idles there takes of a host CPU.

Rounds in turns, as in bench.py. Of fork and exec the medians count; of jobs on two CPUs the shortest times, since whatever
else this host does makes them longer, and more so on two. MACHINE_ROUNDS (3) says how often, IDLE_SECONDS (20) how long
an idle guest is looked at.
"""

import os
import random
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, f"{ROOT}/tests/net"]
import footprint  # noqa: E402
import rows  # noqa: E402
import vm  # noqa: E402

PIPIT, PEER, CACHE, FOLDER = (os.path.abspath(word) for word in sys.argv[1:5])
ROUNDS = int(os.environ.get("MACHINE_ROUNDS", "3"))
IDLE = int(os.environ.get("IDLE_SECONDS", "20"))
RAM = 512  # MiB
FORKS = 200  # as jobs.sh has them
SCALES = (1.3, 2.1)  # what the host itself must gain by two CPUs, for a guest's gain to say anything
NAMES = ("forkexec", "xz1", "xz2", "gcc1", "gcc2")


def prepare():
    """The jobs' files in FOLDER/jobs, for the host, and in an initramfs, for guests."""
    jobs = f"{FOLDER}/jobs"
    os.makedirs(jobs, exist_ok=True)
    source = f"{HERE}/machine/forkexec.c"
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", "-static", "-o", f"{FOLDER}/forkexec-arm64", source], check=True)
    subprocess.run(["gcc", "-O2", "-static", "-o", f"{jobs}/forkexec", source], check=True)
    numbers = random.Random(1)  # text of numbers in words, the same everywhere
    with open(f"{jobs}/text", "w", encoding="ascii") as f:
        f.write(" ".join(str(numbers.randrange(1 << 20)) for _ in range(500000)))
    with open(f"{CACHE}/guest/initrd.img", "rb") as f:
        base = f.read()
    files = []
    for name, path in (("forkexec", f"{FOLDER}/forkexec-arm64"), ("init", f"{HERE}/machine/init"),
                       ("jobs.sh", f"{HERE}/machine/jobs.sh"), ("text", f"{jobs}/text")):
        with open(path, "rb") as f:
            files.append((name, 0o100755, f.read()))
    with open(f"{FOLDER}/machine-initrd", "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4) + vm.cpio(files))


def command(binary, initrd, cpus, disk=False):
    kernel, line = f"{CACHE}/guest/vmlinuz", "console=ttyAMA0 quiet"
    if os.path.basename(binary).startswith("qemu-system-"):
        image = ["-drive", f"file={CACHE}/rootfs/disk.img,if=none,id=d,format=raw,readonly=on", "-device",
                 "virtio-blk-device,drive=d"]
        return [binary, "-M", "virt", "-cpu", "cortex-a76", "-smp", str(cpus), "-m", str(RAM), "-kernel", kernel, "-initrd",
                initrd, "-append", line, "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-netdev",
                "user,id=n", "-device", "virtio-net-device,netdev=n", "-device", "virtio-rng-device", *(image if disk else [])]
    return [binary, "run", "--kernel", kernel, "--initrd", initrd, "--cmdline", line, "--cpus", str(cpus), "--memory", str(RAM),
            "--translations", "off", *(["--disk", f"{CACHE}/rootfs/disk.img,ro"] if disk else [])]


def jobs(who):
    """{name: ns} of the jobs in a guest of that program, with its CPU time for one fork and exec as "cpu", or, for None, on
    the host."""
    cpu = 0
    if who:
        argv = command(who, f"{FOLDER}/machine-initrd", 2, True)
        status, text, marks = footprint.watched(argv, "begin$|time forkexec ", 900)
        cpu = (marks[1][1] - marks[0][1]) / FORKS * 1e9 if len(marks) == 2 else 0
    else:
        argv = ["sh", f"{HERE}/machine/jobs.sh", f"{FOLDER}/jobs", f"{ROOT}/tests/rootfs"]
        env = {**os.environ, "GCC": "aarch64-linux-gnu-gcc"}
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False, env=env)
        status, text = done.returncode, done.stdout + done.stderr
    seen = {m[1]: int(m[2]) for m in re.finditer(r"^time (\w+) (\d+)$", text, re.M)}
    if status or "jobs done" not in text or set(seen) != set(NAMES):
        sys.exit(f"{argv[0]}: exit status {status}\n{text[-1500:]}")
    return seen | {"cpu": cpu}


def all_jobs():
    prepare()
    print(f"machine: 2 vCPUs, {RAM} MiB, {ROUNDS} rounds")
    turns = [PIPIT, PEER, None]
    seen = []
    for i in range(ROUNDS):
        seen.append({who: jobs(who) for who in (turns if i % 2 == 0 else reversed(turns))})
    ours, peers, native = (statistics.median(s[who]["forkexec"] for s in seen) / 1e6 for who in turns)
    ratio = statistics.median(s[PIPIT]["forkexec"] / s[PEER]["forkexec"] for s in seen)
    print(f"{'fork and exec':<22} pipit {ours:9.2f} ms   peer {peers:9.2f} ms   native {native:.2f} ms   ratio {ratio:.2f}")
    ours, peers = (statistics.median(s[who]["cpu"] for s in seen) / 1e6 for who in (PIPIT, PEER))
    ratio = statistics.median(s[PIPIT]["cpu"] / s[PEER]["cpu"] for s in seen)
    rows.row("fork and exec of /bin/true in the guest, CPU time", 0.25, pipit=ours, beside=peers, unit="ms", ratio=ratio)
    print(f"{'fork and exec, CPU':<22} pipit {ours:9.2f} ms   peer {peers:9.2f} ms   ratio {ratio:.2f}", flush=True)
    for job, name in (("xz", "xz -T2"), ("gcc", "two gcc at once")):
        ours, peers, native = (min(s[who][f"{job}1"] for s in seen) / min(s[who][f"{job}2"] for s in seen) for who in turns)
        ratio = ours / native
        shown = f"{name:<22} pipit {ours:6.2f} times   peer {peers:6.2f} times   native {native:.2f} times"
        if not SCALES[0] <= native <= SCALES[1]:
            print(f"{shown}   not judged: this host had no two CPUs to itself", flush=True)
            continue
        rows.row(f"2 vCPUs: how much sooner {'two gcc end' if job == 'gcc' else 'xz -T2 ends'}", 0.9, pipit=ours, beside=native,
                 unit="times", ratio=ratio, against="native", at_least=True)
        print(f"{shown}   to native {ratio:.2f}", flush=True)


def resting(binary):
    """(MiB of Pss, percent of a CPU) of a guest that sits at its prompt."""
    argv = command(binary, f"{CACHE}/guest/initrd.img", 1)
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        text, end = b"", time.monotonic() + 120
        os.set_blocking(child.stdout.fileno(), False)
        while b"pipit:/#" not in text:
            if time.monotonic() > end or child.poll() is not None:
                sys.exit(f"{binary}: no prompt\n{text[-1000:].decode('utf-8', 'replace')}")
            time.sleep(0.1)
            text += child.stdout.read() or b""
        time.sleep(8)  # the guest's network comes up
        pids = footprint.descendants(child.pid)
        before, start = footprint.used(pids), time.monotonic()
        time.sleep(IDLE)
        percent = 100 * (footprint.used(pids) - before) / (time.monotonic() - start)
        return sum(footprint.pss(pid, RAM)[0] for pid in pids) / 1024, percent
    finally:
        child.terminate()
        child.wait(20)
        child.stdin.close()
        child.stdout.close()


def rest():
    ours, peers = resting(PIPIT), resting(PEER)
    for k, name, unit, limit in ((0, "memory beside guest RAM (Pss), after boot", "MiB", 40),
                                 (1, "an idle guest, of a host CPU", "%", 1)):
        met = rows.row(name, limit, pipit=ours[k], beside=peers[k], unit=unit, ratio=ours[k] / peers[k], judged="value")
        print(f"{name}: pipit {ours[k]:.2f} {unit}   peer {peers[k]:.2f} {unit}   (limit {limit} {unit}: {'kept' if met else 'missed'})",
              flush=True)


if __name__ == "__main__":
    all_jobs()
    rest()
    for unneeded in ("machine-initrd", "forkexec-arm64", "jobs/text", "jobs/forkexec"):
        os.unlink(f"{FOLDER}/{unneeded}")
