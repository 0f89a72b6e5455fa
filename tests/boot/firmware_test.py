#!/usr/bin/env python3
# limit: 240
"""UEFI firmware: Debian's EDK2 for arm64 boots a UEFI program and Debian's kernel from a disk, keeps its variables over
resets and from one start to the next, and takes a kernel that is named. With what is refused."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "net"), os.path.join(HERE, "..", "img")]
import vm  # noqa: E402
from boot_test import disk, fat  # noqa: E402

FIRMWARE = f"{vm.CACHE}/firmware"
ESP = "C12A7328-F81F-11D2-BA4B-00C04FC93EC9"
BANK = 64 << 20
MIB = 1 << 20


def efi_program(folder):
    """tests/boot/efi_count.c as a PE32+ image of one section, which is only read and executed."""
    base = 0x1000
    subprocess.run(["aarch64-linux-gnu-gcc", "-Os", "-ffreestanding", "-fpie", "-fvisibility=hidden", "-fno-stack-protector", "-fno-builtin",
                    "-mgeneral-regs-only", "-nostdlib", "-static", f"-Wl,-Ttext={base:#x},--build-id=none,-e,efi_main", "-Wall", "-Wextra",
                    "-Werror", f"{HERE}/efi_count.c", "-o", f"{folder}/efi.elf"], check=True)
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", "-j", ".text*", "-j", ".rodata*", f"{folder}/efi.elf", f"{folder}/efi.bin"], check=True)
    with open(f"{folder}/efi.bin", "rb") as f, open(f"{folder}/efi.elf", "rb") as elf:
        code = f.read()
        entry = struct.unpack_from("<Q", elf.read(64), 24)[0]
    code += b"\0" * (-len(code) % base)
    section = struct.pack("<8sIIIIIIHHI", b".text", len(code), base, len(code), base, 0, 0, 0, 0, 0x60000020)
    coff = struct.pack("<HHIIIHH", 0xaa64, 1, 0, 0, 0, 240, 0x0206)
    optional = struct.pack("<HBBIIIII", 0x20b, 0, 0, len(code), 0, 0, entry, base)
    optional += struct.pack("<QIIHHHHHHIIIIHHQQQQII", 0, base, base, 0, 0, 0, 0, 0, 0, 0, base + len(code), base, 0, 10, 0, 0, 0, 0, 0, 0, 16)
    optional += b"\0" * (16 * 8)
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + coff + optional + section
    return head.ljust(base, b"\0") + code


def run(*words, limit=40, env=None):
    begin = time.monotonic()
    try:
        p = subprocess.run([vm.PIPIT, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False, env=env)
        status, out = p.returncode, p.stdout + p.stderr
    except subprocess.TimeoutExpired as e:
        status, out = "late", (e.stdout or b"") + (e.stderr or b"")
    text = re.sub(r"\x1b\[[0-9;=]*[A-Za-z]", "", out.decode(errors="replace"))
    return status, text, time.monotonic() - begin


def starts(text):
    return re.findall(r"pipit-efi: start (.)", text)


BASE = ["run", "--accel", "jit", "--net", "none", "--memory", "256M"]


def variables(folder, image):
    code, store = f"{FIRMWARE}/AAVMF_CODE.fd", f"{folder}/vars.fd"
    base = [*BASE, "--disk", image, "--firmware"]
    status, text, took = run(*base, f"{code},vars={store}")
    vm.result("program-from-disk", status == 0 and starts(text) == ["1", "2"], f"status {status} after {took:.1f} s, {text[-1500:]!r}")
    st = os.stat(store)
    vm.result("store-is-padded", st.st_size == BANK and st.st_blocks * 512 < 4 * MIB and st.st_mode & 0o777 == 0o600,
              f"{st.st_size} bytes, {st.st_blocks} blocks, mode {st.st_mode:o}")
    # Kept for the next start, in QEMU's words.
    status, text, took = run("qemu", "-M", "virt", "-m", "256", "-nographic", "-nic", "none", "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
                             "-drive", f"if=pflash,format=raw,file={store}", "-drive", f"if=none,id=d,format=raw,file={image}",
                             "-device", "virtio-blk-device,drive=d,bootindex=1", "-no-reboot")
    vm.result("pflash-drives", status == 0 and starts(text) == ["3"], f"status {status} after {took:.1f} s, {text[-1500:]!r}")
    status, text, took = run("qemu", "-M", "virt,gic-version=3", "-m", "256", "-nographic", "-nic", "none", "-bios", f"{FIRMWARE}/QEMU_EFI.fd",
                             image)
    vm.result("bios", status == 0 and starts(text) == ["1", "2"], f"status {status} after {took:.1f} s, {text[-1500:]!r}")


def named(folder, image):
    env = {**os.environ, "XDG_STATE_HOME": f"{folder}/state", "XDG_RUNTIME_DIR": folder}
    words = [*BASE, "--disk", image, "--firmware", f"{FIRMWARE}/QEMU_EFI.fd", "--name", "efi"]
    for want in (["1", "2"], ["3", "4"]):
        status, text, _ = run(*words, env=env)
        vm.result(f"named-{want[0]}", status == 0 and starts(text) == want, f"status {status}, {text[-1500:]!r}")
    status, text, _ = run("ps", env=env)
    vm.result("named-ps", status == 0 and re.search(r"^efi +stopped", text, re.M), f"status {status}, {text!r}")
    status, text, _ = run("rm", "efi", env=env)
    vm.result("named-rm", status == 0 and not os.path.exists(f"{folder}/state/pipit/efi"), f"status {status}, {text!r}")


def kernels(folder):
    kernel, initrd, words = vm.KERNEL, f"{vm.CACHE}/guest/initrd.img", "console=ttyAMA0 pipit.run=init"
    up = "pipit-init: up after"
    status, text, took = run(*BASE, "--firmware", f"{FIRMWARE}/AAVMF_CODE.fd", "--kernel", kernel, "--initrd", initrd, "--cmdline", words, "--cpus", "2")
    vm.result("named-kernel", status == 0 and up in text and "EFI stub: " in text, f"status {status} after {took:.1f} s, {text[-1500:]!r}")
    with open(kernel, "rb") as f, open(initrd, "rb") as g:
        files = {"vmlinuz.efi": f.read(), "initrd.img": g.read(), "startup.nsh": f"vmlinuz.efi initrd=\\initrd.img {words}\r\n"}
    image = disk(f"{folder}/kernel.raw", "gpt", [(1, ESP, fat(folder, "kernel", files, bits=32, size=48 * MIB))])
    status, text, took = run(*BASE, "--firmware", f"{FIRMWARE}/AAVMF_CODE.fd", "--disk", image)
    vm.result("kernel-from-disk", status == 0 and up in text and "EFI stub: " in text, f"status {status} after {took:.1f} s, {text[-1500:]!r}")


SHOW_FILES = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
insmod /qemu_fw_cfg.ko
for f in text file; do
    echo "opt/$f is $(cat /sys/firmware/qemu_fw_cfg/by_name/opt/$f/raw)."
done
poweroff -f
"""


def named_files(folder):
    """Linux's driver reads what the user has in the configuration device, without firmware too."""
    modules = subprocess.run(["find", f"{vm.CACHE}/guest/tree", "-name", "qemu_fw_cfg.ko"], capture_output=True, text=True, check=True).stdout.split()
    if not modules:
        vm.skip("fw_cfg-files", "the guest's kernel has no plain module qemu_fw_cfg")
        return
    with open(modules[0], "rb") as f, open(f"{vm.CACHE}/guest/initrd.img", "rb") as g:
        module, base = f.read(), g.read()
    with open(f"{folder}/initrd", "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4) + vm.cpio([("init", 0o100755, SHOW_FILES.encode()), ("qemu_fw_cfg.ko", 0o100644, module)]))
    with open(f"{folder}/text", "w", encoding="ascii") as f:
        f.write("what a file has")
    status, text, _ = run("qemu", "-M", "virt", "-m", "256", "-nographic", "-nic", "none", "-kernel", vm.KERNEL, "-initrd", f"{folder}/initrd",
                          "-append", "console=ttyAMA0 quiet", "-fw_cfg", "name=opt/text,string=some words", "-fw_cfg", f"opt/file,file={folder}/text")
    vm.result("fw_cfg-files", status == 0 and "opt/text is some words." in text and "opt/file is what a file has." in text,
              f"status {status}, {text[-1500:]!r}")


def refused(name, want, *words, status=1):
    got, text, _ = run(*BASE, *words, limit=30)
    vm.result(name, got == status and want in text, f"status {got}, {text!r}")


def refusals(folder):
    code = f"{FIRMWARE}/QEMU_EFI.fd"
    with open(f"{folder}/large.fd", "wb") as f:
        f.truncate(BANK + 1)
    with open(f"{folder}/image.fd", "wb") as f:
        f.write(b"QFI\xfb" + b"\0" * 512)
    refused("no-firmware", "cannot be opened: No such file", "--firmware", f"{folder}/none.fd")
    refused("no-firmware-of-that-name", "neither a file here nor in a folder", "--firmware", "none.fd", status=2)
    refused("firmware-too-large", "the flash that it is for has 64 MiB", "--firmware", f"{folder}/large.fd")
    refused("firmware-is-qcow2", "flash is raw", "--firmware", f"{folder}/image.fd")
    refused("firmware-is-a-folder", "no regular file", "--firmware", folder)
    refused("store-too-large", "the flash that it is for has 64 MiB", "--firmware", f"{code},vars={folder}/large.fd")
    refused("store-nowhere", "cannot be opened: No such file", "--firmware", f"{code},vars={folder}/none/vars.fd")
    refused("store-is-a-device", "no regular file", "--firmware", f"{code},vars=/dev/null")
    refused("firmware-for-x86", "has no flash", "--machine", "micro", "--firmware", code, status=2)
    refused("cmdline-alone", "without a kernel", "--firmware", code, "--cmdline", "quiet", status=2)
    if os.geteuid():
        os.chmod(f"{folder}/image.fd", 0)
        refused("firmware-unreadable", "Permission denied", "--firmware", f"{folder}/image.fd")
    else:
        vm.skip("firmware-unreadable", "root reads every file")
    with open(f"{folder}/busy.fd", "w+b") as f:
        f.truncate(MIB)
        # As QEMU locks what it writes: struct flock, byte 100 for reading and 101 for writing, and what it allows 100 on.
        fcntl.fcntl(f, 37, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 1 << 20, 0))
        refused("store-in-use", "busy.fd", "--firmware", f"{code},vars={folder}/busy.fd")


def main():
    subprocess.run([f"{vm.ROOT}/tests/firmware.sh"], check=True)
    with tempfile.TemporaryDirectory(prefix="pipit-firmware-") as folder:
        refusals(folder)
        image = disk(f"{folder}/esp.raw", "gpt", [(1, ESP, fat(folder, "esp", {"EFI/BOOT/BOOTAA64.EFI": efi_program(folder)}))])
        variables(folder, image)
        named(folder, image)
        kernels(folder)
        named_files(folder)
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
