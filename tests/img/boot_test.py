#!/usr/bin/env python3
# limit: 200
"""The kernel from a disk image: images laid out as distributions do it, made without root. Most carry a stub for a
kernel, and what pipit says that it takes, with the device tree that it writes, is compared; one boots Debian's."""

import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "net"))
import vm  # noqa: E402

MIB = 1 << 20
os.environ["PATH"] += ":/sbin:/usr/sbin"
ROOT_UUID = "8f1c3c1e-5a0e-4b5e-9b50-0d2f7a9f1c11"
BOOT_UUID = "2b1c3c1e-5a0e-4b5e-9b50-0d2f7a9f1c22"


def kernel(marker):
    """An arm64 Image that does nothing; `marker` tells several apart."""
    size = 4096 + 16 * marker
    head = struct.pack("<IIQQQQQQ4sI", 0x14000000, 0, 0, size, 2, 0, 0, 0, b"ARM\x64", 0)
    return head + bytes([marker]) * (size - len(head))


def zboot(payload, compression):
    data = gzip.compress(payload) if compression == "gzip" else subprocess.run(
        ["zstd", "-qc"], input=payload, capture_output=True, check=True).stdout
    head = struct.pack("<2sH4sIIQ32sII", b"MZ", 0, b"zimg", 512, len(data), 0, compression.encode(), 0, 64)
    return (head + b"PE\0\0" + struct.pack("<H", 0xaa64)).ljust(512, b"\0") + data


def write_tree(folder, files):
    for path, data in files.items():
        full = os.path.join(folder, path.lstrip("/"))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if isinstance(data, tuple):
            os.symlink(data[0], full)
        elif data is None:
            os.makedirs(full, exist_ok=True)
        else:
            with open(full, "wb") as f:
                f.write(data if isinstance(data, bytes) else data.encode())


def ext4(folder, name, files, uuid=ROOT_UUID, size=16 * MIB, options=()):
    tree = f"{folder}/{name}.tree"
    os.makedirs(tree)
    write_tree(tree, files)
    path = f"{folder}/{name}.ext4"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-U", uuid, "-L", name[:16], *options, "-d", tree, path, f"{size // 1024}k"],
                   check=True, capture_output=True)
    with open(path, "rb") as f:
        return f.read()


def fat(folder, name, files, bits=16, size=8 * MIB):
    path = f"{folder}/{name}.fat"
    with open(path, "wb") as f:
        f.truncate(size)
    subprocess.run(["mkfs.vfat", "-F", str(bits), "-s", "2" if bits == 12 else "1", "-i", "1234ABCD", "-n", "ESP", path], check=True, stdout=subprocess.DEVNULL)
    tree = f"{folder}/{name}.tree"
    os.makedirs(tree)
    write_tree(tree, files)
    for top in sorted(os.listdir(tree)):
        subprocess.run(["mcopy", "-s", "-i", path, f"{tree}/{top}", "::"], check=True)
    with open(path, "rb") as f:
        return f.read()


def disk(path, label, parts):
    """parts: (number, type, contents), laid out in order from 1 MiB; a number above 4 in an MBR is logical."""
    at, lines, places = MIB, [f"label: {label}"], []
    if label == "dos":
        lines.append("label-id: 0x1a2b3c4d")
    for number, kind, data in parts:
        if data is None:  # an extended partition, up to the end
            lines.append(f"{number} : start={at // 512}, type={kind}")
            continue
        at += MIB if label == "dos" and number > 4 else 0
        uuid = f", uuid={ROOT_UUID[:-2]}{number:02}" if label == "gpt" else ""
        lines.append(f"{number} : start={at // 512}, size={len(data) // 512}, type={kind}{uuid}")
        places.append((at, data))
        at += (len(data) + MIB - 1) // MIB * MIB
    with open(path, "wb") as f:
        for place, data in places:
            f.seek(place)
            f.write(data)
        f.truncate(at + MIB)
    subprocess.run(["sfdisk", "-q", path], input="\n".join(lines).encode() + b"\n", check=True, capture_output=True)
    return path


class Found:
    def __init__(self, image, *options):
        dtb = f"{image.split(',')[0]}.dtb"
        p = subprocess.run([vm.PIPIT, "run", "--kernel", "auto", "--disk", image, "--dump-dtb", dtb, "--net", "none", "--accel", "jit", *options],
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        self.status, self.err = p.returncode, p.stderr.decode()
        self.args, self.initrd = "", 0
        if self.status == 0:
            text = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", dtb], capture_output=True, check=True).stdout.decode()
            self.args = re.search(r'bootargs = "(.*)";', text)[1]
            ends = [re.search(rf"linux,initrd-{w} = <([^>]*)>", text) for w in ("start", "end")]
            if all(ends):
                lo, hi = [int("".join(f"{int(w, 16):08x}" for w in m[1].split()), 16) for m in ends]
                self.initrd = hi - lo

    def __str__(self):
        return f"status {self.status}, {self.err!r}, bootargs {self.args!r}, initrd {self.initrd}"


def expect(name, found, words=(), args=None, initrd=None, status=0):
    ok = found.status == status and all(w in found.err for w in words)
    ok = ok and (args is None or found.args == args) and (initrd is None or found.initrd == initrd)
    vm.result(name, ok, str(found))


# As grub-mkconfig writes it on Debian 12, less what sets up fonts and screens.
GRUB_CFG = r"""
### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%(default)s"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi

export menuentry_id_option

if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  save_env saved_entry
  set prev_saved_entry=
  save_env prev_saved_entry
  set boot_once=true
fi

function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
  fi
}
if [ x$feature_default_font_path = xy ] ; then
   font=unicode
else
insmod part_gpt
    font="/usr/share/grub/unicode.pf2"
fi
if loadfont $font ; then
  set gfxmode=auto
  load_video
fi
terminal_output gfxterm
for i in 1 2 3; do
  linux /nowhere-$i
done
### END ###
function gfxmode {
	set gfxpayload="${1}"
}
set linux_gfx_mode=
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux --class os $menuentry_id_option 'gnulinux-simple' {
	load_video
	gfxmode $linux_gfx_mode
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd9,gpt1 --hint='hd9,gpt1'  %(uuid)s
	else
	  search --no-floppy --fs-uuid --set=root %(uuid)s
	fi
	echo	'Loading Linux 6.1.0-2 ...'
	linux	%(boot)s/vmlinuz-6.1.0-2 root=PARTUUID=%(partuuid)s ro  console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 "with=a word"
	echo	'Loading initial ramdisk ...'
	initrd	%(boot)s/initrd.img-6.1.0-2
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-2' $menuentry_id_option 'gnulinux-6.1.0-2-advanced' {
		search --no-floppy --fs-uuid --set=root %(uuid)s
		linux	%(boot)s/vmlinuz-6.1.0-2 root=PARTUUID=%(partuuid)s ro advanced=2
		initrd	%(boot)s/initrd.img-6.1.0-2
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-1' --class debian $menuentry_id_option 'gnulinux-6.1.0-1-advanced' {
		search --no-floppy --fs-uuid --set=root %(uuid)s
		linux	%(boot)s/vmlinuz-6.1.0-1 root=PARTUUID=%(partuuid)s ro advanced=1
		initrd	%(boot)s/initrd.img-6.1.0-1
	}
}
if [ "$grub_platform" = "efi" ]; then
	menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
		fwsetup
	}
fi
"""
STUB = """search.fs_uuid %s root%s
set prefix=($root)'%s'
configfile $prefix/grub.cfg
"""


def grub_cfg(default="0", boot="/boot", uuid=ROOT_UUID):
    return GRUB_CFG % {"default": default, "boot": boot, "uuid": uuid, "partuuid": ROOT_UUID}


def two_kernels(boot="/boot", wrap=lambda k: k):
    return {f"{boot}/vmlinuz-6.1.0-1": wrap(kernel(1)), f"{boot}/initrd.img-6.1.0-1": b"1" * 5000,
            f"{boot}/vmlinuz-6.1.0-2": wrap(kernel(2)), f"{boot}/initrd.img-6.1.0-2": b"2" * 6000}


DEBIAN_ARGS = f"BOOT_IMAGE=/boot/vmlinuz-6.1.0-2 root=PARTUUID={ROOT_UUID} ro console=tty0 console=ttyS0,115200 " \
    "earlyprintk=ttyS0,115200 with=a word console=ttyAMA0"
NEWER = ["/vmlinuz-6.1.0-2, ", "/initrd.img-6.1.0-2, as \"Debian GNU/Linux\" of ", "with console=ttyAMA0"]


def debian(folder, name, default="0", env="", wrap=lambda k: k):
    """As Debian's cloud images: p1 root, p14 of nothing, p15 ESP."""
    files = two_kernels(wrap=wrap)
    files.update({"/boot/grub/grub.cfg": grub_cfg(default), "/etc": None, "/usr": None})
    if env:
        files["/boot/grub/grubenv"] = ("# GRUB Environment Block\n" + env).ljust(1024, "#")
    esp = {"/EFI/debian/grub.cfg": STUB % (ROOT_UUID, " hd0,gpt1", "/boot/grub"), "/EFI/BOOT/BOOTAA64.EFI": b"MZ"}
    return disk(f"{folder}/{name}.raw", "gpt", [(15, "uefi", fat(folder, f"{name}-esp", esp)),
                                                (14, "21686148-6449-6E6F-744E-656564454649", bytes(MIB)),
                                                (1, "linux", ext4(folder, f"{name}-root", files))])


def test_grub(folder):
    image = debian(folder, "debian")
    expect("debian", Found(image), NEWER + ["/boot/grub/grub.cfg on partition 1"], DEBIAN_ARGS, 6000)
    expect("console-that-fits", Found(debian(folder, "serial", wrap=gzip.compress), "--cmdline", "console=ttyS0 mine"),
           ["/vmlinuz-6.1.0-2"], "console=ttyS0 mine", 6000)
    old = ["/vmlinuz-6.1.0-1, ", "6.1.0-1\" of"]
    expect("default/submenu-by-id", Found(debian(folder, "by-id", "gnulinux-advanced>gnulinux-6.1.0-1-advanced")), old, initrd=5000)
    expect("default/submenu-by-number", Found(debian(folder, "by-number", "1>1")), old)
    env = "saved_entry=1>gnulinux-6.1.0-1-advanced\nnext_entry=0\n"
    expect("default/saved", Found(debian(folder, "saved", "${saved_entry}", env)), old)
    expect("default/firmware-entry", Found(debian(folder, "fw", "uefi-firmware")), NEWER)
    for compression in ("gzip", "zstd"):
        zimage = debian(folder, f"zboot-{compression}", wrap=lambda k, c=compression: zboot(k, c))
        expect(f"zboot-{compression}", Found(zimage), NEWER, DEBIAN_ARGS)
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", image, f"{folder}/debian.qcow2"], check=True)
    expect("qcow2-compressed", Found(f"{folder}/debian.qcow2"), NEWER, DEBIAN_ARGS, 6000)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "debian.qcow2", "-F", "qcow2", f"{folder}/over.qcow2"],
                   check=True)
    expect("qcow2-overlay", Found(f"{folder}/over.qcow2"), NEWER, DEBIAN_ARGS, 6000)
    with open(image, "r+b") as f:
        f.seek(512 + 20)
        f.write(b"\xff\xff")
    expect("gpt-backup", Found(image), NEWER + ["backup at its end was read"], DEBIAN_ARGS)


def test_separate_boot(folder):
    boot = two_kernels("")
    boot["/grub/grub.cfg"] = grub_cfg(boot="", uuid=BOOT_UUID)
    esp = {"/EFI/ubuntu/grub.cfg": STUB % (BOOT_UUID, "", "/grub")}
    root = {"/etc": None, "/usr": None, "/boot": None, "/vmlinuz": ("boot/vmlinuz",)}
    image = disk(f"{folder}/separate.raw", "gpt", [
        (1, "linux", ext4(folder, "sep-root", root)), (15, "uefi", fat(folder, "sep-esp", esp, 32, 40 * MIB)),
        (16, "linux", ext4(folder, "sep-boot", boot, BOOT_UUID))])
    expect("separate-boot", Found(image), ["/grub/grub.cfg on partition 16"], DEBIAN_ARGS.replace("/boot/", "/"), 6000)
    image = disk(f"{folder}/logical.raw", "dos", [
        (1, "83", ext4(folder, "log-root", root)), (2, "5", None), (5, "83", ext4(folder, "log-other", {"/x": b"x"}, ROOT_UUID)),
        (6, "83", ext4(folder, "log-boot", boot, BOOT_UUID))])
    expect("mbr-logical", Found(image), ["/grub/grub.cfg on partition 6"], DEBIAN_ARGS.replace("/boot/", "/"), 6000)


def entry(kernel_version, version="", **more):
    lines = {"title": f"Fedora Linux ({kernel_version})", "version": version or kernel_version, "linux": f"/vmlinuz-{kernel_version}",
             "initrd": f"/initramfs-{kernel_version}.img $tuned_initrd", "options": "$kernelopts quiet", **more}
    return "# made for a test\n" + "".join(f"{k.replace('_', '-')}\t{v}\n" for k, v in lines.items())


def bls_files(versions, **more):
    files = {}
    for i, v in enumerate(versions):
        files[f"/vmlinuz-{v}"] = zboot(kernel(i), "gzip")
        files[f"/initramfs-{v}.img"] = b"i" * (1000 + i)
        files[f"/loader/entries/abc-{v}.conf"] = entry(v, **more)
    return files


def test_bls(folder):
    # Fedora: GRUB reads the entries, root elsewhere (btrfs).
    files = bls_files(["6.9.9-1", "6.10.2-1"])
    files["/grub2/grubenv"] = "# GRUB Environment Block\nkernelopts=root=UUID=x ro console=ttyAMA0,115200\nsaved_entry=abc-6.10.2-1\n".ljust(1024, "#")
    files["/grub2/grub.cfg"] = "load_env -f ${prefix}/grubenv\nset default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n"
    esp = {"/EFI/fedora/grub.cfg": f"search --no-floppy --root-dev-only --fs-uuid --set=dev {BOOT_UUID}\n"
           "set prefix=($dev)/grub2\nexport $prefix\nset root=$dev\nconfigfile $prefix/grub.cfg\n"}
    btrfs = bytearray(MIB)
    btrfs[0x10040:0x10048] = b"_BHRfS_M"
    parts = [(1, "uefi", fat(folder, "fed-esp", esp, 12, 2 * MIB)), (2, "linux", None), (3, "linux", bytes(btrfs))]
    parts[1] = (2, "linux", ext4(folder, "fed-boot", files, BOOT_UUID))
    expect("bls/grub", Found(disk(f"{folder}/fedora.raw", "gpt", parts)), ["/vmlinuz-6.10.2-1, ", "partition 2"],
           "root=UUID=x ro console=ttyAMA0,115200 quiet", 1001)
    # systemd-boot on the ESP: version order, tries, a default by pattern.
    for name, conf, want in (("order", "timeout 3\n", "6.10.2-1"), ("default", "default abc-6.9*\n", "6.9.9-1")):
        files = bls_files(["6.10.2-1", "6.9.9-1"], sort_key="fedora", options="root=/dev/vda2 console=hvc0")
        files["/loader/entries/abc-7.0+0-3.conf"] = entry("6.9.9-1", version="7.0", sort_key="fedora")
        files["/loader/entries/uki.conf"] = "title a unified image\nefi /EFI/Linux/x.efi\n"
        files.update({"/loader/loader.conf": conf, "/EFI/systemd/systemd-bootaa64.efi": b"MZ"})
        image = disk(f"{folder}/sd-{name}.raw", "gpt", [(1, "uefi", fat(folder, f"sd-{name}", files))])
        expect(f"bls/{name}", Found(image), [f"/vmlinuz-{want}, "], "root=/dev/vda2 console=hvc0 console=ttyAMA0")


EXTLINUX = """DEFAULT menu.c32
PROMPT 0
MENU TITLE Alpine/Linux Boot Menu
LABEL lts
  LINUX vmlinuz-lts
LABEL virt
  MENU DEFAULT
  MENU LABEL Linux virt
  LINUX vmlinuz-virt
  INITRD initramfs-virt,second.img
  FDTDIR dtbs-virt
  APPEND root=UUID=x modules=ext4 console=ttyAMA0
"""


def test_others(folder):
    files = {"/boot/extlinux.conf": EXTLINUX, "/boot/vmlinuz-virt": kernel(3), "/boot/initramfs-virt": b"i" * 1001,
             "/boot/second.img": b"j" * 500}
    image = disk(f"{folder}/alpine.raw", "dos", [(1, "83", ext4(folder, "alpine", files))])
    expect("extlinux", Found(image), ["/boot/vmlinuz-virt, /boot/initramfs-virt /boot/second.img", "Linux virt"],
           "root=UUID=x modules=ext4 console=ttyAMA0", 1504)
    # Links, absolute and relative, as Debian's kernel packages leave them; a long way round stays in the image.
    files = {**two_kernels(), "/vmlinuz": ("/lib/../boot/../../../boot/current",), "/boot/current": ("vmlinuz-6.1.0-1",),
             "/initrd.img": ("boot/initrd.img-6.1.0-1",), "/etc": None, "/usr": None, "/lib": None}
    path = f"{folder}/whole.raw"
    with open(path, "wb") as f:
        f.write(ext4(folder, "whole", files))
    expect("whole-disk-links", Found(path), ["boots ", ": /vmlinuz, /initrd.img, as /vmlinuz says"],
           "root=/dev/vda rw console=ttyAMA0", 5000)
    del files["/vmlinuz"], files["/boot/current"]
    files.update({"/boot/vmlinuz-6.1.0-10": kernel(4), "/boot/vmlinuz-6.1.0-10.old": b"old", "/boot/grub/grub.cfg": "if [ x"})
    image = disk(f"{folder}/newest.raw", "dos", [(3, "83", ext4(folder, "newest", files))])
    expect("newest", Found(image), ["/boot/vmlinuz-6.1.0-10, as"], "root=PARTUUID=1a2b3c4d-03 rw console=ttyAMA0", 0)
    # Names that only the short or the long form of FAT has.
    files = {"/vmlinuz": kernel(5), "/initrd.img": b"long" * 3}
    image = f"{folder}/fat.raw"
    with open(image, "wb") as f:
        f.write(fat(folder, "fat", files, 32, 40 * MIB))
    expect("whole-disk-fat", Found(image), [": /vmlinuz, /initrd.img"], initrd=12)
    # An x86 kernel makes it the other machine, which this dump then refuses by name.
    bz = bytearray(8192)
    bz[0x1f1] = 1
    bz[0x1fe:0x208] = b"\x55\xaa\xeb\x66HdrS\x0d\x02"
    bz[0x236] = 1
    with open(f"{folder}/amd64.raw", "wb") as f:
        f.write(ext4(folder, "amd64", {"/boot/vmlinuz-6.1.0-2-amd64": bytes(bz)}))
    found = Found(f"{folder}/amd64.raw")
    expect("bzimage-means-micro", found, ["micro"], status=2)


def test_refusals(folder):
    loops = "function f { f; }\nf\nsource /boot/grub/grub.cfg\nset a=xxxxxxxxxxxxxxxx\n" + "set a=$a$a$a$a$a$a$a$a\n" * 30
    files = {"/boot/grub/grub.cfg": loops, "/vmlinuz": ("/initrd.img",), "/initrd.img": ("vmlinuz",), "/etc": None}
    data = ext4(folder, "nothing", files)
    image = disk(f"{folder}/nothing.raw", "gpt", [(1, "linux", data), (2, "linux", bytes(MIB))])
    expect("nothing", Found(image), ["no kernel was found", "grub.cfg", "partition 1: no kernel", "partition 2: nothing known",
                                     "--firmware auto"], status=1)
    with open(f"{folder}/empty.raw", "wb") as f:
        f.truncate(MIB)
    expect("empty", Found(f"{folder}/empty.raw"), ["no kernel was found", "no partition table"], status=1)
    with open(f"{folder}/packed.raw", "wb") as f:
        f.write(lzma.compress(bytes(MIB)).ljust(MIB, b"\0"))
    expect("packed", Found(f"{folder}/packed.raw"), ["packed (xz)", "unpack it first"], status=1)
    for magic, at, name in ((b"KDMV", 0, "VMDK"), (b"vhdxfile", 0, "VHDX"), (b"\x7f\x10\xda\xbe", 0x40, "VDI")):
        with open(f"{folder}/foreign.raw", "wb") as f:
            f.write((bytes(at) + magic).ljust(MIB, b"\0"))
        expect(f"foreign/{name}", Found(f"{folder}/foreign.raw"), [f"is a {name} image"], status=1)
        expect(f"foreign/{name}-as-raw", Found(f"{folder}/foreign.raw,format=raw"), ["no kernel was found"], status=1)
    same = ext4(folder, "same", {"/boot/vmlinuz-1": kernel(1), "/boot/initrd.img-1": b"initrd"})
    image = disk(f"{folder}/same.raw", "gpt", [(1, "linux", same)])
    qemu = [os.path.join(folder, "qemu-system-aarch64"), "-M", "virt", "-nographic", "-net", "none", "-no-reboot",
            "-drive", f"file={image},format=raw,if=virtio,snapshot=on"]
    shutil.copy(vm.PIPIT, qemu[0])
    p = subprocess.Popen(qemu, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    first = p.stderr.readline()
    p.kill()
    p.wait()
    vm.result("qemu-takes-the-disk's-kernel", f"boots {image}: /boot/vmlinuz-1" in first, first)
    p = subprocess.run([*qemu[:-1], f"file={folder}/empty.raw,format=raw"], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=60, check=False)
    vm.result("qemu-no-kernel", p.returncode == 1 and "-bios FILE" in p.stderr and "--firmware" not in p.stderr, p.stderr)
    huge = {"/boot/vmlinuz-1": kernel(1), "/boot/initrd.img-1": b""}
    tree = ext4(folder, "huge", huge)
    with open(f"{folder}/huge.raw", "wb") as f:
        f.write(tree)
    subprocess.run(["debugfs", "-w", "-R", "sif /boot/initrd.img-1 size 0x40000000000", f"{folder}/huge.raw"], check=True,
                   capture_output=True)
    expect("huge-file", Found(f"{folder}/huge.raw"), ["larger than the guest's memory"], status=15)
    p = subprocess.run([vm.PIPIT, "run", "--kernel", "auto"], capture_output=True, timeout=20, check=False)
    vm.result("auto-without-disk", p.returncode == 2 and b"--disk" in p.stderr, p.stderr)
    # Not unmounted: it is read, and said.
    subprocess.run(["debugfs", "-w", "-R", "feature needs_recovery", f"{folder}/whole.raw"], check=True, capture_output=True)
    expect("unclean", Found(f"{folder}/whole.raw"), ["journal", "/vmlinuz"])
    # What is locked for writing is not looked into.
    with open(f"{folder}/amd64.raw", "r+b"):
        holder = subprocess.Popen([sys.executable, "-c", "import fcntl,struct,sys\n"
                                   f"f=open({folder + '/amd64.raw'!r},'r+b')\n"
                                   "for b in (100,101,103,200,201,203):fcntl.fcntl(f,37,struct.pack('hhqqi',0,0,b,1,0))\n"
                                   "print('ok',flush=True);sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        expect("locked", Found(f"{folder}/amd64.raw"), ["amd64.raw", "in use"], status=1)
        holder.stdin.close()
        holder.wait()


def test_crc(folder):
    """A table whose contents do not match its CRC is not believed: neither header, both damaged."""
    image = disk(f"{folder}/crc.raw", "gpt", [(1, "linux", ext4(folder, "crc", two_kernels()))])
    expect("gpt-sound", Found(image), ["/boot/vmlinuz-6.1.0-2"])
    with open(image, "r+b") as f:
        f.seek(1024 + 40)
        f.write(b"\x01")  # the first entry's last sector, so that only the table's CRC tells
        f.seek(-512, 2)
        header = f.read(92)
        crc = zlib.crc32(header[:16] + b"\0\0\0\0" + header[20:92])
        assert struct.unpack("<I", header[16:20])[0] == crc
        f.seek(-512 + 16, 2)
        f.write(b"\0\0\0\0")
    expect("gpt-both-damaged", Found(image), ["no kernel was found"], status=1)


def test_hostile(folder):
    """Chains that bite their tails end, and soon."""
    ebr = bytearray(512)
    ebr[446:478] = struct.pack("<BBBBBBBBIIBBBBBBBBII", 0, 0, 0, 0, 0x83, 0, 0, 0, 1, 4, 0, 0, 0, 0, 5, 0, 0, 0, 8, 8)
    ebr[510:] = b"\x55\xaa"
    mbr = bytearray(512)
    mbr[446:462] = struct.pack("<BBBBBBBBII", 0, 0, 0, 0, 5, 0, 0, 0, 8, 2000)
    mbr[510:] = b"\x55\xaa"
    with open(f"{folder}/mbr-loop.raw", "wb") as f:
        f.write(mbr)
        for sector in range(8, 2008, 8):
            f.seek(sector * 512)
            f.write(ebr)
        f.truncate(MIB + 4096)
    expect("hostile/mbr-loop", Found(f"{folder}/mbr-loop.raw"), ["no kernel was found", "partition 7: nothing known"], status=1)
    data = bytearray(fat(folder, "fat-loop", {"/EFI/x/grub.cfg": "linux /vmlinuz", "/vmlinuz": kernel(1)}, 32, 40 * MIB))
    reserved, table, root = struct.unpack_from("<H", data, 14)[0], struct.unpack_from("<I", data, 36)[0], 2
    struct.pack_into("<I", data, reserved * 512 + 4 * root, root)
    start = (reserved + 2 * table) * 512
    data[start:start + 512] = b"\xe5" * 512
    with open(f"{folder}/fat-loop.raw", "wb") as f:
        f.write(data)
    expect("hostile/fat-loop", Found(f"{folder}/fat-loop.raw"), ["no kernel was found"], status=1)


def test_boot(folder):
    """Debian's kernel, from the image to a root file system of busybox on the same image."""
    guest = f"{vm.CACHE}/guest"
    if not os.path.exists(f"{guest}/initrd.img"):
        vm.skip("boots", "no guest: run tools/guest.sh")
        return
    init = ("#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n/bin/busybox mount -t proc proc /proc\n"
            "exec </dev/console >/dev/console 2>&1\necho \"booted from the image: $(/bin/busybox cat /proc/cmdline)\"\n"
            "echo x >>/starts\necho \"start $(/bin/busybox wc -l </starts)\"\n"
            "/bin/busybox mount -o remount,ro /\n/bin/busybox poweroff -f\n")
    with open(f"{guest}/initrd.img", "rb") as f:
        base = f.read()
    switch = ("#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t devtmpfs dev /dev\n"
              "while read -r m; do insmod /modules/$m.ko 2>/dev/null; done </modules/order\n"
              "for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda1 ] && break; sleep 0.2; done\nmkdir -p /root\n"
              "mount -t ext4 /dev/vda1 /root && exec switch_root /root /init\npoweroff -f\n")
    archive = base + b"\0" * (-len(base) % 4) + vm.cpio([("init", 0o100755, switch.encode())])
    with open(f"{guest}/vmlinuz", "rb") as f:
        image_kernel = f.read()
    tree = f"{folder}/boot.tree"
    write_tree(tree, {"/boot/vmlinuz-6.1.0-2": image_kernel, "/boot/initrd.img-6.1.0-2": archive, "/boot/grub/grub.cfg": grub_cfg(),
                      "/init": init, "/dev": None, "/proc": None})
    os.makedirs(f"{tree}/bin")
    busybox = next(p for p in (f"{guest}/tree/bin/busybox", f"{guest}/tree/usr/bin/busybox") if os.path.exists(p))
    subprocess.run(["cp", busybox, f"{tree}/bin/busybox"], check=True)
    os.chmod(f"{tree}/init", 0o755)
    path = f"{folder}/boot.ext4"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT_UUID, "-d", tree, path, "160m"], check=True,
                   capture_output=True)
    with open(path, "rb") as f:
        image = disk(f"{folder}/boot.raw", "gpt", [(1, "linux", f.read())])
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", image, f"{folder}/boot.qcow2"], check=True)
    p = subprocess.run([vm.PIPIT, "run", "--disk", f"{folder}/boot.qcow2,snapshot=on", "--net", "none", "--memory", "512M"],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)
    out = p.stdout.decode("utf-8", "replace")
    vm.result("boots", p.returncode == 0 and "start 1" in out and f"booted from the image: {DEBIAN_ARGS}" in out.replace("\r", ""),
              f"status {p.returncode}, {p.stderr!r}, {out[-2000:]}")

    test_image(folder, f"{folder}/boot.qcow2")


def test_image(folder, image):
    """IMAGE is never written; what its guests write is there again under the same name."""
    with open(image, "rb") as f:
        before = f.read()
    env = {**os.environ, "XDG_STATE_HOME": f"{folder}/state", "XDG_RUNTIME_DIR": f"{folder}/run"}
    os.mkdir(f"{folder}/run", 0o700)

    def run(*words):
        p = subprocess.run([vm.PIPIT, "run", "--net", "none", "--memory", "512M", *words], stdin=subprocess.DEVNULL, env=env,
                           capture_output=True, timeout=100, check=False)
        return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")

    for name, words, want in (("image/first", [image], "start 1"), ("image/again", [image], "start 2"),
                              ("image/other-name", [image, "--name", "other"], "start 1"),
                              ("image/snapshot", [f"{image},snapshot=on"], "start 1")):
        status, out, err = run(*words)
        vm.result(name, status == 0 and want in out, f"status {status}, {err!r}, {out[-1000:]}")
    kept = sorted(os.listdir(f"{folder}/state/pipit"))
    with open(image, "rb") as f:
        vm.result("image/unchanged", f.read() == before and kept == ["boot", "other"], kept)
    for name, words in (("image/failed-keeps-nothing", ["--name", "failed"]), ("image/failed-keeps-what-was", [])):
        status, _, err = run(image, *words, "--user-data", f"{folder}/missing")
        vm.result(name, status == 1 and "missing" in err and sorted(os.listdir(f"{folder}/state/pipit")) == kept, err)
    with subprocess.Popen([vm.PIPIT, "run", image, "--net", "none", "--memory", "512M"], stdin=subprocess.DEVNULL, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        p.stdout.read(1)
        status, _, err = run(image)
        vm.result("image/runs-already", status == 1 and "machine boot running already" in err, f"status {status}, {err!r}")
        p.kill()
    os.rename(image, f"{folder}/elsewhere.qcow2")
    status, _, err = run(f"{folder}/elsewhere.qcow2", "--name", "boot")
    vm.result("image/another-under-its-name", status == 1 and "was made from" in err, f"status {status}, {err!r}")
    status, _, err = run(f"{folder}/empty.raw")
    vm.result("image/without-kernel-keeps-nothing", status == 1 and sorted(os.listdir(f"{folder}/state/pipit")) == kept, err)
    status, _, err = run(f"{vm.CACHE}/guest/vmlinuz")
    vm.result("image/kernel-is-none", status == 2 and "--kernel" in err, f"status {status}, {err!r}")


def main():
    version = subprocess.run([vm.PIPIT, "--version"], capture_output=True, check=True).stdout
    if b"+kernel-from-ext4" not in version:
        vm.skip("boot-from-image", "this pipit was built without libext2fs")
        return 0
    with tempfile.TemporaryDirectory(prefix="pipit-boot-", dir="/var/tmp") as folder:
        for test in (test_grub, test_separate_boot, test_bls, test_others, test_crc, test_refusals, test_hostile, test_boot):
            test(folder)
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
