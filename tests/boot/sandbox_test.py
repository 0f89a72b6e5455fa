#!/usr/bin/env python3
# limit: 200
"""While a guest runs, every thread of pipit, and the process of its user network, is under a seccomp filter, may gain
no privileges, and has few descriptors; and when pipit is killed, that process goes too. With --sandbox off nothing is
filtered but the network's process is still there.
"""

import glob
import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "net"))
import vm  # noqa: E402


def status(path):
    with open(path + "/status", encoding="utf-8", errors="replace") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def threads(pid):
    """name of each of our threads -> its status; the kernel's io_uring workers are not ours."""
    out = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        s = status(task)
        if not s["Name"].startswith("iou-"):
            out[f"{s['Name']}-{os.path.basename(task)}"] = s
    return out


def children(pid):
    """Processes of any of pid's threads, but for those that have ended."""
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path, encoding="ascii") as f:
            found += [int(w) for w in f.read().split()]
    return found


def boot(folder, *options):
    argv = vm.command(f"{folder}/initrd") + ["--disk", f"{folder}/disk", *options]
    guest = vm.Guest(argv)
    return guest, guest.wait_line("net-test: here", 60)


def check_filtered(name, folder, *options):
    guest, up = boot(folder, *options)
    with guest:
        if not vm.result(f"{name}/boot", up, "the guest did not come up"):
            return
        pid = guest.child.pid
        bare = [n for n, s in threads(pid).items() if s["Seccomp"] != "2" or s["NoNewPrivs"] != "1"]
        count = len(threads(pid))
        vm.result(f"{name}/threads", not bare and count >= 4, f"{count} threads; without a filter: {bare}")
        nets = children(pid)
        vm.result(f"{name}/one-network-process", len(nets) == 1, f"{nets}")
        if len(nets) != 1:
            return
        net = status(f"/proc/{nets[0]}")
        vm.result(f"{name}/network-filter", net["Seccomp"] == "2" and net["NoNewPrivs"] == "1", f"Seccomp {net['Seccomp']}")
        # The raw socket for ping is all that is kept of root.
        vm.result(f"{name}/network-privileges", int(net["CapEff"], 16) & ~(1 << 13) == 0, f"CapEff {net['CapEff']}")
        links = sorted(os.readlink(p) for p in glob.glob(f"/proc/{nets[0]}/fd/*") if int(os.path.basename(p)) > 2)
        vm.result(f"{name}/network-descriptors", all(x.startswith("socket:") for x in links), f"{links}")
        guest.child.send_signal(signal.SIGKILL)
        guest.child.wait()
        end = time.monotonic() + 5
        while os.path.exists(f"/proc/{nets[0]}") and time.monotonic() < end:
            time.sleep(0.02)
        vm.result(f"{name}/network-dies-too", not os.path.exists(f"/proc/{nets[0]}"), "it lives on")


def main():
    why = vm.missing()
    if why:
        vm.skip("sandbox", why)
        return 0
    with tempfile.TemporaryDirectory(prefix="pipit-sandbox-") as folder:
        _, guest_peer = vm.compile_peer(folder)
        # Reads and writes, so that the pool's threads have worked.
        script = "dd if=/dev/vda of=/tmp/x bs=64k count=8; dd if=/tmp/x of=/dev/vda bs=64k conv=fsync; echo net-test: here; sleep 100\n"
        vm.make_initrd(f"{folder}/initrd", script, guest_peer)
        with open(f"{folder}/disk", "wb") as f:
            f.truncate(8 << 20)
        check_filtered("io", folder)
        check_filtered("pool", folder, "--block-engine", "threads")
        guest, up = boot(folder, "--sandbox", "off")
        with guest:
            on = [n for n, s in threads(guest.child.pid).items() if s["Seccomp"] != status("/proc/self")["Seccomp"]]
            vm.result("off/boot", up, "the guest did not come up")
            vm.result("off/threads", not on, f"filtered: {on}")
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
