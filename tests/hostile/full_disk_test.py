#!/usr/bin/env python3
# limit: 200
"""The host's file system fills up, or its file-size limit is reached, in the middle of a guest's writes. The guest gets
I/O errors; what it had synced before, told here by its hashes, is in the host's file; the machine goes on and powers
off with status 0. With werror=enospc the machine pauses instead, as often as it has to, until pipit resume finds room.
With both block engines.

The small file system is a tmpfs in a mount namespace of the test's own.
"""

import contextlib
import ctypes
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "net"))
import vm  # noqa: E402

MIB = 1 << 20
ROOM = 24 * MIB  # of the tmpfs
TAIL = 96 * MIB  # of the disk, from where the guest writes
FAR = 1024 * MIB  # where that is with a file-size limit: pipit's own memory files must fit below it
STEP = 2 * MIB
BALLAST = 32 * MIB  # what is removed when there is to be room

# Writes step after step, each its own random bytes, synced, and says which steps the disk has acknowledged.
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
base=$(sed 's/.*base=//' /proc/cmdline)
i=0
failed=0
while [ $i -lt 20 ] && [ $failed -lt 3 ]; do
    dd if=/dev/urandom of=/tmp/step bs=1M count=2 2>/dev/null
    if dd if=/tmp/step of=/dev/vda bs=1M count=2 seek=$((base + i * 2)) conv=fsync,notrunc 2>/tmp/why; then
        echo "step $i kept $(sha256sum </tmp/step | cut -d' ' -f1)"
    else
        echo "step $i failed: $(tr '\\n' ' ' </tmp/why)"
        failed=$((failed + 1))
    fi
    i=$((i + 1))
done
echo "errors: $(dmesg | grep -c 'I/O error')"
# What is there can still be read, and written over.
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda of=/dev/null bs=1M count=96 skip=$base 2>/dev/null && echo reads
dd if=/dev/urandom of=/tmp/step bs=1M count=1 2>/dev/null
dd if=/tmp/step of=/dev/vda bs=1M count=1 seek=$base conv=fsync,notrunc 2>/dev/null &&
    echo "over $(sha256sum </tmp/step | cut -d' ' -f1)"
sync
echo the end
poweroff -f
"""


def initrd(path):
    with open(f"{vm.CACHE}/guest/initrd.img", "rb") as f:
        base = f.read()
    with open(path, "wb") as f:
        f.write(base + b"\0" * (-len(base) % 4) + vm.cpio([("init", 0o100755, INIT.encode())]))


def check(name, folder, engine, base=0, before=None):
    disk = f"{folder}/disk"
    with open(disk, "wb") as f:
        f.truncate(base + TAIL)
    cmdline = f"console=ttyAMA0 quiet base={base // MIB}"
    line = [vm.PIPIT, "run", "--kernel", vm.KERNEL, "--initrd", folder + "/../initrd", "--cmdline", cmdline,
            "--memory", "256M", "--net", "none", "--disk", disk, "--block-engine", engine]
    try:
        p = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=50, preexec_fn=before, check=False)
        status, out, err = p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr
    except subprocess.TimeoutExpired as e:
        status, out, err = None, (e.stdout or b"").decode("utf-8", "replace"), e.stderr
    print("".join(f"  | {line}\n" for line in out.splitlines()), end="")
    words = [line.split() for line in out.splitlines()]
    kept = [(int(w[1]), w[3]) for w in words if len(w) == 4 and w[0] == "step" and w[2] == "kept"]
    failed = [w for w in words if len(w) > 3 and w[0] == "step" and w[2] == "failed:"]
    errors = [int(w[1]) for w in words if w[:1] == ["errors:"]]
    over = [w[1] for w in words if w[:1] == ["over"] and len(w) == 2]
    vm.result(f"{name}/lives", status == 0 and "the end" in out, f"status {status}, {err!r}")
    vm.result(f"{name}/guest-sees-errors", len(failed) == 3 and errors and errors[0] > 0, f"{failed}, {errors}")
    vm.result(f"{name}/goes-on", over and ["reads"] in words, "no reads or writes after the errors")
    lost = []
    with open(disk, "rb") as f:
        for i, want in kept:
            data = f.read(STEP) if f.seek(base + i * STEP) >= 0 else b""
            # The first step's first half was written over at the end.
            if i == 0:
                lost += [] if over and hashlib.sha256(data[:MIB]).hexdigest() == over[0] else ["over"]
            elif hashlib.sha256(data).hexdigest() != want:
                lost.append(i)
    vm.result(f"{name}/nothing-synced-is-lost", len(kept) >= 3 and not lost, f"{len(kept)} kept, lost: {lost}")
    os.unlink(disk)


def wait_for(path, text, count, seconds=60):
    """Until the file has the text so many times."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(path, "rb") as f:
            if f.read().count(text) >= count:
                return True
        time.sleep(0.05)
    return False


def check_stop(name, folder, engine, form):
    """werror=enospc: the machine waits for room, and its guest never hears of it."""
    disk, ballast, top = f"{folder}/disk", f"{folder}/ballast", os.path.dirname(folder)
    env = {**os.environ, "XDG_RUNTIME_DIR": top, "XDG_STATE_HOME": top}
    with open(ballast, "wb") as f:
        f.write(bytes(BALLAST))
    subprocess.run([f"{os.path.dirname(vm.PIPIT)}/pipit-img", "create", "-q", "-f", form, disk, str(TAIL)], check=True)
    machine = f"full-{os.getpid()}"
    line = [vm.PIPIT, "run", "--kernel", vm.KERNEL, "--initrd", f"{top}/initrd", "--cmdline", "console=ttyAMA0 quiet base=0",
            "--memory", "256M", "--net", "none", "--name", machine, "--disk", f"{disk},format={form},werror=enospc",
            "--block-engine", engine]
    with open(f"{top}/out", "wb") as out, open(f"{top}/err", "wb") as err:
        p = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env)
    try:
        paused = b"the machine is paused, and tries again"
        vm.result(f"{name}/pauses", wait_for(f"{top}/err", paused, 1), open(f"{top}/err").read())
        with open(f"{top}/out", "rb") as f:
            before = f.read().count(b" kept ")
        # Nothing has changed: it comes back to where it was.
        again = subprocess.run([vm.PIPIT, "resume", machine], capture_output=True, env=env, timeout=20, check=False)
        vm.result(f"{name}/pauses-again", again.returncode == 0 and wait_for(f"{top}/err", paused, 2), f"{again}")
        os.unlink(ballast)
        again = subprocess.run([vm.PIPIT, "resume", machine], capture_output=True, env=env, timeout=20, check=False)
        try:
            status = p.wait(60)
        except subprocess.TimeoutExpired:
            status = None
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    with open(f"{top}/out", encoding="utf-8", errors="replace") as f:
        words = [w.split() for w in f.read().splitlines()]
    kept = [(int(w[1]), w[3]) for w in words if len(w) == 4 and w[0] == "step" and w[2] == "kept"]
    errors = [int(w[1]) for w in words if w[:1] == ["errors:"]]
    vm.result(f"{name}/goes-on", status == 0 and before < 20 and len(kept) == 20 and errors == [0],
              f"status {status}, {before} steps before, {len(kept)} in all, errors {errors}")
    subprocess.run([f"{os.path.dirname(vm.PIPIT)}/pipit-img", "convert", "-O", "raw", disk, f"{top}/raw"], check=True)
    with open(f"{top}/raw", "rb") as f:
        data = f.read()
    lost = [i for i, want in kept if i and hashlib.sha256(data[i * STEP:(i + 1) * STEP]).hexdigest() != want]
    vm.result(f"{name}/nothing-synced-is-lost", not lost, f"{lost}")
    os.unlink(disk)
    os.unlink(f"{top}/raw")


def engines():
    """io_uring is refused in some containers."""
    probe = ctypes.CDLL(None, use_errno=True)
    fd = probe.syscall(425, 1, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
        yield "io_uring"
    else:
        vm.skip("io_uring", "this host does not allow it")
    yield "threads"


def limit_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (FAR + ROOM, FAR + ROOM))


@contextlib.contextmanager
def small(folder, room):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "small", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def main():
    if not os.path.exists(f"{vm.CACHE}/guest/initrd.img"):
        vm.skip("full-disk", "no guest: run tools/guest.sh")
        return 0
    with tempfile.TemporaryDirectory(prefix="pipit-full-") as folder:
        initrd(folder + "/initrd")
        os.mkdir(folder + "/small")
        os.mkdir(folder + "/large")
        for engine in engines():
            check(f"size-limit-{engine}", folder + "/large", engine, FAR, limit_size)
            if os.environ.get("PIPIT_SMALL_FS"):
                with small(folder + "/small", ROOM):
                    check(f"full-{engine}", folder + "/small", engine)
                form = "qcow2" if engine == "io_uring" else "raw"
                with small(folder + "/small", ROOM + BALLAST):
                    check_stop(f"stop-{form}-{engine}", folder + "/small", engine, form)
    return vm.finish()


if __name__ == "__main__":
    # Once more, in a mount namespace of our own, where that is allowed.
    again = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if not os.environ.get("PIPIT_SMALL_FS") and shutil.which("unshare"):
        if subprocess.run([*again, "true"], capture_output=True, check=False).returncode == 0:
            os.environ["PIPIT_SMALL_FS"] = "1"
            os.execvp("unshare", [*again, sys.executable, os.path.abspath(__file__)])
        vm.skip("full", "no mount namespaces here")
    sys.exit(main())
