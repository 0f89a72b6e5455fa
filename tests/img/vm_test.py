#!/usr/bin/env python3
# limit: 200
"""qcow2 disks of guests: an overlay that is written to, snapshot=on, locks, backing files and guesses, kill -9 while the
guest writes. What the guest had synced, told by its hashes, must be in the image; qemu-img must find that sound. `vm_test.py kills` does the last alone, KILLS (10) times."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "net"))
import vm  # noqa: E402

MIB = 1 << 20
STEPS = 12
KILLS = int(os.environ.get("KILLS", "10"))

# Writes step after step of random bytes, synced, and says what the disk has acknowledged; then unmaps and reads back.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
exec </dev/console >/dev/console 2>&1
dmesg -n 3
while read -r m; do
    case $m in virtio*) insmod "/modules/$m.ko" 2>/dev/null ;; esac
done </modules/order
echo "backing $(dd if=/dev/vda bs=1M count=1 2>/dev/null | sha256sum | cut -d' ' -f1)"
i=0
while [ $i -lt $(sed 's/.*steps=//' /proc/cmdline) ]; do
    dd if=/dev/urandom of=/tmp/step bs=1M count=2 2>/dev/null
    dd if=/tmp/step of=/dev/vda bs=64k seek=$((32 + i * 32)) conv=fsync,notrunc 2>/dev/null &&
        echo "step $i kept $(sha256sum </tmp/step | cut -d' ' -f1)"
    i=$((i + 1))
done
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda of=/dev/null bs=1M 2>/dev/null && echo reads
sync
echo the end
poweroff -f
"""


def line(folder, disk, engine="auto"):
    return [vm.PIPIT, "run", "--kernel", vm.KERNEL, "--initrd", f"{folder}/initrd", "--memory", "256M", "--net", "none",
            "--cmdline", f"console=ttyAMA0 quiet steps={STEPS}", "--disk", disk, "--block-engine", engine]


def boot(folder, disk, engine="auto"):
    p = subprocess.run(line(folder, disk, engine), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")


def kept(out):
    words = [w.split() for w in out.splitlines()]
    return [(int(w[1]), w[3]) for w in words if len(w) == 4 and w[0] == "step" and len(w[3]) == 64]


def lost(folder, image, steps):
    """Steps that the image does not have, as QEMU reads it."""
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", image, f"{folder}/raw"], check=True)
    with open(f"{folder}/raw", "rb") as f:
        data = f.read()
    return [i for i, want in steps if hashlib.sha256(data[(2 + i * 2) * MIB:(4 + i * 2) * MIB]).hexdigest() != want]


def sound(image):
    return subprocess.run(["qemu-img", "check", "-q", "-U", image], capture_output=True, check=False).returncode in (0, 3)


def overlay(folder, name):
    path = f"{folder}/{name}"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", path], check=True)
    return path


def disks(folder, first):
    for engine in ("threads", "auto"):
        image = overlay(folder, "over.qcow2")
        status, out, err = boot(folder, f"{image},format=qcow2", engine)
        steps = kept(out)
        vm.result(f"{engine}/runs", status == 0 and "the end" in out and "reads" in out, f"status {status}, {err!r}, {out!r}")
        vm.result(f"{engine}/reads-compressed-backing", hashlib.sha256(first).hexdigest() in out, out)
        vm.result(f"{engine}/holds", len(steps) == STEPS and not lost(folder, image, steps) and sound(image), f"{steps}")

    with open(image, "rb") as f:
        before = f.read()
    status, out, _ = boot(folder, f"{image},snapshot=on")
    with open(image, "rb") as f:
        vm.result("snapshot/throws-away", status == 0 and len(kept(out)) == STEPS and f.read() == before, f"{status}")

    subprocess.run(["qemu-img", "rebase", "-u", "-b", "/etc/shadow", "-F", "raw", image], check=True)
    status, _, err = boot(folder, image)
    vm.result("foreign-backing-refused", status == 1 and "backing=on" in err, err)


def main():
    if not os.path.exists(f"{vm.CACHE}/guest/initrd.img"):
        vm.skip("qcow2-vm", "no guest: run tools/guest.sh")
        return 0
    only_kills = sys.argv[1:] == ["kills"]
    with tempfile.TemporaryDirectory(prefix="pipit-qcow2-") as folder:
        with open(f"{vm.CACHE}/guest/initrd.img", "rb") as f:
            base = f.read()
        with open(f"{folder}/initrd", "wb") as f:
            f.write(base + b"\0" * (-len(base) % 4) + vm.cpio([("init", 0o100755, INIT.encode())]))
        first = random.Random(1).randbytes(MIB)
        with open(f"{folder}/base.raw", "wb") as f:
            f.write(first)
            f.truncate(32 * MIB)
        subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", f"{folder}/base.raw", f"{folder}/base.qcow2"], check=True)

        if not only_kills:
            disks(folder, first)
        image = overlay(folder, "kill.qcow2")
        for n in range(KILLS):
            with open(f"{folder}/out", "wb") as o:
                p = subprocess.Popen(line(folder, image), stdin=subprocess.DEVNULL, stdout=o, stderr=o)
            # From the first step on, at random.
            end = time.monotonic() + 40
            while b"kept" not in open(f"{folder}/out", "rb").read() and time.monotonic() < end and p.poll() is None:
                time.sleep(0.02)
            if n == 0:
                q = subprocess.run(["qemu-io", "-f", "qcow2", "-c", "read 0 512", image], capture_output=True, check=False)
                vm.result("locked", q.returncode != 0 and b"lock" in q.stderr, f"{q}")
            time.sleep(random.random() * 0.6)
            p.send_signal(signal.SIGKILL)
            p.wait()
            with open(f"{folder}/out", encoding="utf-8", errors="replace") as o:
                steps = kept(o.read())
            time.sleep(0.3)
            vm.result(f"kill-{n}", steps and sound(image) and not lost(folder, image, steps), f"{steps}")
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
