#!/usr/bin/env python3
"""From exec to the answer of ssh for tools/bench.sh: ssh.py PIPIT PEER CACHE FOLDER.

A Debian cloud image (tests/cloud/image.sh) with the same key, name, memory (1 GiB), 2 vCPUs, virtio on mmio and a published port,
its writes thrown away, in turns: `pipit run IMAGE`, which takes the kernel from the image, and the peer, which is given that
kernel, initrd and command line. The clock runs until sshd lets the key in. SSH_ROUNDS (3) says how often. Beside the
wall clock stands the CPU time that was used until then, and what systemd says the guest's time was made of.
"""

import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import footprint
import rows

PIPIT, PEER, CACHE = (os.path.abspath(word) for word in sys.argv[1:4])
FOLDER = os.path.abspath(sys.argv[4])
ROUNDS = int(os.environ.get("SSH_ROUNDS", "3"))
IMAGE = f"{CACHE}/cloud/plain.qcow2"
LIMIT = 0.4
PATIENCE = 1200  # seconds


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def extract(folder):
    """The image's kernel and initrd, and the command line of its boot menu."""
    raw = f"{folder}/raw"
    run(f"{os.path.dirname(PIPIT)}/pipit-img", "convert", "-O", "raw", IMAGE, raw)
    parts = json.loads(run("sfdisk", "--json", raw))["partitiontable"]["partitions"]
    start = next(p["start"] for p in parts if p["node"].endswith("raw1")) * 512

    def dump(path, name):
        subprocess.run(["debugfs", "-R", f"dump {path} {folder}/{name}", f"{raw}?offset={start}"], capture_output=True, check=True)

    dump("/boot/grub/grub.cfg", "menu")
    with open(f"{folder}/menu", encoding="utf-8") as f:
        menu = f.read()
    kernel, cmdline = re.search(r"^\s*linux\s+(\S+)\s+(.*)$", menu, re.M).groups()
    dump(kernel, "kernel")
    dump(re.search(r"^\s*initrd\s+(\S+)", menu, re.M)[1], "initrd")
    os.unlink(raw)
    return cmdline


def seed(folder):
    """cloud-init's files, and a disk of them for the peer."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key")
    with open(f"{folder}/key.pub", encoding="utf-8") as f:
        key = f.read()
    with open(f"{folder}/user-data", "w", encoding="utf-8") as f:
        f.write(f"#cloud-config\nssh_authorized_keys:\n  - {key}")
    with open(f"{folder}/meta-data", "w", encoding="utf-8") as f:
        f.write("instance-id: bench\nlocal-hostname: bench\n")
    run("mformat", "-C", "-i", f"{folder}/seed", "-T", "2880", "-h", "2", "-s", "36", "-v", "CIDATA", "::")
    run("mcopy", "-i", f"{folder}/seed", f"{folder}/user-data", f"{folder}/meta-data", "::")


def command(binary, folder, port, cmdline):
    if os.path.basename(binary).startswith("qemu-system-"):
        return [binary, "-M", "virt", "-cpu", "cortex-a76", "-smp", "2", "-m", "1024", "-kernel", f"{folder}/kernel", "-initrd",
                f"{folder}/initrd", "-append", cmdline, "-nodefaults", "-nographic", "-serial", f"file:{folder}/console",
                "-drive", f"file={IMAGE},format=qcow2,if=none,id=d,snapshot=on,aio=io_uring", "-device", "virtio-blk-device,drive=d",
                "-drive", f"file={folder}/seed,format=raw,if=none,id=s,readonly=on", "-device", "virtio-blk-device,drive=s",
                "-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-device,netdev=n",
                "-device", "virtio-rng-device"]
    return [binary, "run", f"{IMAGE},snapshot=on", "--memory", "1G", "--cpus", "2", "--publish", f"{port}:22",
            "--user-data", f"{folder}/user-data", "--meta-data", f"{folder}/meta-data", "--console-log", f"{folder}/console"]


def ssh(folder, port, words):
    return subprocess.run(["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
                           "-o", "ConnectTimeout=20", "-i", f"{folder}/key", "-p", str(port), "debian@127.0.0.1", words],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)


def greets(port):
    """Does a server of ssh speak?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
            return s.recv(4) == b"SSH-"
    except OSError:
        return False


def once(binary, folder, cmdline, last):
    """(seconds, seconds of CPU, systemd's words of the last round)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(f"{folder}/out", "wb") as out:
        begin = time.monotonic()
        p = subprocess.Popen(command(binary, folder, port, cmdline), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        while time.monotonic() - begin < PATIENCE and p.poll() is None:
            if greets(port) and ssh(folder, port, "true").returncode == 0:
                wall, cpu = time.monotonic() - begin, footprint.ticked(footprint.descendants(p.pid))
                said = ssh(folder, port, "cloud-init status --wait >/dev/null; systemd-analyze time").stdout if last else ""
                said = said.partition("\n")[0]
                return wall, cpu, said.removeprefix("Startup finished in ")
            time.sleep(0.1)
        with open(f"{folder}/out", encoding="utf-8", errors="replace") as out:
            sys.exit(f"ssh: {binary}: no answer, {out.read()[-2000:]}")
    finally:
        if p.poll() is None:
            p.terminate()
            p.wait()


def main():
    for tool in ("sfdisk", "debugfs", "mformat", "mcopy", "ssh", "ssh-keygen"):
        if not shutil.which(tool):
            print(f"ssh: skipped, no {tool}")
            return 0
    os.makedirs(FOLDER, exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        cmdline = extract(folder)
        seed(folder)
        print(f"ssh: {os.path.basename(IMAGE)}, 2 vCPUs, 1 GiB, {ROUNDS} rounds")
        seen = []
        for i in range(ROUNDS):
            order = ("ours", "peer") if i % 2 else ("peer", "ours")
            seen.append({who: once(PIPIT if who == "ours" else PEER, folder, cmdline, i == ROUNDS - 1) for who in order})
        for k, name in ((0, "exec to ssh answer"), (1, "  CPU time until then")):
            ours, peers = (statistics.median(s[who][k] for s in seen) for who in ("ours", "peer"))
            ratio = statistics.median(s["ours"][k] / s["peer"][k] for s in seen)
            met = k or rows.row("a cloud image from exec to ssh answer", LIMIT, pipit=ours, beside=peers, unit="s", ratio=ratio)
            verdict = "" if k else f"  (at most {LIMIT}: {'ok' if met else 'MISSED'})"
            missed = not met if k == 0 else missed
            print(f"{name:<24} pipit {ours:7.2f} s   peer {peers:7.2f} s   ratio {ratio:.2f}{verdict}", flush=True)
        for who in ("ours", "peer"):
            print(f"  {'pipit' if who == 'ours' else 'peer'}: {seen[-1][who][2]}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
