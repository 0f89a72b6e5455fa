#!/usr/bin/env python3
# limit: 120
"""The cloud-init seed as others read it: blkid, isoinfo and bsdtar find its label and files, and Debian's kernel mounts it."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "net"))
import vm  # noqa: E402

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGnmGEohxDyiUrjt7XAjVp6AZJFnSfKEHmGTyzoLTEoL"
USER_DATA = b"#cloud-config\npackages: [hello]\n# \xc3\xa4 and a long line: " + b"x" * 5000 + b"\n"
NETWORK = b"version: 2\nethernets: {eth0: {dhcp4: true}}\n"

# Finds the disk by its label and prints the files; the whole disk goes out in hexadecimal.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
dmesg -n 3
while read -r m; do
    case $m in virtio*) insmod "/modules/$m.ko" 2>/dev/null ;; esac
done </modules/order
insmod /seed/cdrom.ko
insmod /seed/isofs.ko
echo "disks: $(ls /sys/block | tr '\\n' ' ')"
for b in $(ls /sys/block); do
    # Where ISO 9660 has its label; the guest's busybox lacks blkid.
    [ "$(dd if=/dev/$b bs=1 skip=32808 count=32 2>/dev/null | tr -d ' ')" != cidata ] || disk=/dev/$b
done
echo "found: $disk"
mount -t iso9660 -o ro "${disk:-/dev/none}" /mnt && for f in /mnt/*; do
    echo "file: ${f#/mnt/} $(stat -c '%a %u %s' $f) $(sha256sum <$f | cut -d' ' -f1)"
done
echo "meta: $(tr '\\n' '|' </mnt/meta-data)"
echo "write: $(dd if=/dev/zero of="${disk:-/dev/none}" bs=512 count=1 2>&1 | tr '\\n' ' ')"
echo begin
xxd -p "${disk:-/dev/null}"
echo end
poweroff -f
"""


def run(folder, *options, disks=()):
    line = [vm.PIPIT, "run", "--kernel", vm.KERNEL, "--initrd", f"{folder}/initrd", "--memory", "256M", "--net", "none",
            "--cmdline", "console=ttyAMA0 quiet", *options]
    for d in disks:
        line += ["--disk", d]
    p = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return p.returncode, p.stdout.decode("utf-8", "replace").replace("\r", ""), p.stderr.decode("utf-8", "replace")


def make_initrd(folder):
    tree = f"{vm.CACHE}/guest/tree"
    found = {}
    for path, _, files in os.walk(tree):
        for name in files:
            if name.split(".")[0] in ("isofs", "cdrom") and ".ko" in name:
                found[name.split(".")[0]] = os.path.join(path, name)
    if len(found) != 2 or not all(p.endswith(".ko") for p in found.values()):
        return f"the guest's kernel has no plain isofs and cdrom modules: {found}"
    files = [("init", 0o100755, INIT.encode()), ("seed", 0o040755, b"")]
    for name, path in found.items():
        with open(path, "rb") as f:
            files.append((f"seed/{name}.ko", 0o100644, f.read()))
    with open(f"{vm.CACHE}/guest/initrd.img", "rb") as f:
        base = f.read()
    with open(f"{folder}/initrd", "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4) + vm.cpio(files))
    return None


def tool(*argv):
    p = subprocess.run(argv, capture_output=True, check=False)
    return p.stdout


def read_back(image):
    """What Debian's own tools find in the image that the guest saw."""
    out = tool("/usr/sbin/blkid", "-p", "-o", "export", image).decode()
    vm.result("blkid", "LABEL=cidata\n" in out and "TYPE=iso9660\n" in out, out)
    for name, want in (("user-data", USER_DATA), ("network-config", NETWORK)):
        vm.result(f"isoinfo/{name}", tool("isoinfo", "-R", "-i", image, "-x", f"/{name}") == want, "other bytes")
        vm.result(f"bsdtar/{name}", tool("bsdtar", "-xOf", image, name) == want, "other bytes")
    out = tool("isoinfo", "-R", "-f", "-i", image).decode().split()
    vm.result("isoinfo/names", out == ["/meta-data", "/network-config", "/user-data"], f"{out}")


def main():
    if not os.path.exists(f"{vm.CACHE}/guest/initrd.img"):
        vm.skip("seed", "no guest: run tools/guest.sh")
        return 0
    with tempfile.TemporaryDirectory(prefix="pipit-seed-") as folder:
        why = make_initrd(folder)
        if why:
            vm.skip("seed", why)
            return 0
        for name, data in (("user", USER_DATA), ("net", NETWORK), ("key.pub", (KEY + " me@here\n").encode()), ("disk", bytes(1 << 20))):
            with open(f"{folder}/{name}", "wb") as f:
                f.write(data)
        status, out, err = run(folder, "--user-data", f"{folder}/user", "--network-config", f"{folder}/net", "--ssh-key",
                               f"{folder}/key.pub", "--hostname", "seeded", disks=[f"{folder}/disk,format=raw"])
        vm.result("boots", status == 0, f"status {status}, {err!r}, {out!r}")
        # Behind the user's own disk, which stays the first.
        vm.result("found-by-label", "found: /dev/vdb\n" in out, out)
        files = dict(re.findall(r"file: (\S+) (.*)", out))
        for name, data in (("user-data", USER_DATA), ("network-config", NETWORK)):
            want = f"400 0 {len(data)} " + hashlib.sha256(data).hexdigest()
            vm.result(f"guest/{name}", files.get(name) == want, f"{files}")
        vm.result("guest/names", sorted(files) == ["meta-data", "network-config", "user-data"], f"{files}")
        meta = re.search(r"meta: (.*)", out)
        want = rf'instance-id: pipit-[0-9a-f]{{16}}\|local-hostname: "seeded"\|public-keys:\|  - "{KEY} me@here"\|'
        vm.result("guest/meta-data", meta and re.fullmatch(want, meta[1]), f"{meta and meta[1]}")
        vm.result("read-only", re.search(r"write: .*(not permitted|[Rr]ead-only)", out), out[:600])
        image = re.search(r"\nbegin\n(.*?)end\n", out, re.S)
        with open(f"{folder}/seed.iso", "wb") as f:
            f.write(bytes.fromhex(re.sub(r"\s", "", image[1])) if image else b"")
        read_back(f"{folder}/seed.iso")

        status, out, _ = run(folder)
        vm.result("nothing-without-options", status == 0 and "disks: \n" in out and "found: \n" in out, out)
        with open(f"{folder}/key", "w", encoding="ascii") as f:
            f.write("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        status, out, err = run(folder, "--ssh-key", f"{folder}/key")
        vm.result("private-key-refused", status == 1 and not out and "private key" in err, f"{status} {err}")
        status, out, err = run(folder, "--hostname", "not_one")
        vm.result("hostname-refused", status == 2 and "--hostname not_one" in err, f"{status} {err}")
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
