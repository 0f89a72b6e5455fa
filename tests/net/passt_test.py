#!/usr/bin/env python3
# limit: 180
"""passt: started by pipit with published ports, and ended with it, by a user too; joined at its socket by QEMU's options
and lost under a running guest; what is refused. In two network namespaces of the test's own, joined by a cable. Needs
root.

Each direction is tested by a fetch: Debian 12's passt forwards no end of a connection whose other half has ended.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import vm
from netns_test import HOST4, NOBODY, Namespace, join
from tap_test import Place, as_user, ended, missing, refused, report

# passt leads its gateway's address to the host itself: it is not that of anybody else.
GATEWAY4, GATEWAY6 = "198.51.100.254", "2001:db8:1::fe"
PORT, PUBLISHED = 7001, 7100
LEN = 10_000_000

STARTED = f"""
try mtu sh -c 'ip link show eth0 | grep "mtu 1500"'
try fetch peer fetch {HOST4} {PORT} {LEN} 6
ip link set eth0 mtu 65520
try fetch-long peer fetch {HOST4} {PORT} {LEN} 8
peer serve {vm.SERVICE} >/tmp/serve &
until grep -q serving /tmp/serve; do sleep 0.1; done
echo "net-test: serving"
wait $!
"""

LOST = f"""
try fetch peer fetch {HOST4} {PORT} {LEN} 9
echo "net-test: end it"
n=0
while grep -q 1 /sys/class/net/eth0/carrier && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
try no-carrier grep 0 /sys/class/net/eth0/carrier
"""


def processes(ns, name):
    """Processes of that name in the namespace."""
    net = os.readlink(f"/proc/{ns.holder.pid}/ns/net")
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                if f.read().strip().startswith(name) and os.readlink(f"/proc/{pid}/ns/net") == net:
                    found.append(int(pid))
        except OSError:
            pass
    return found


def gone(ns, seconds=10):
    end = time.monotonic() + seconds
    while processes(ns, "passt") and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(ns, "passt")


def started(place, name, user):
    """A passt of pipit's own, with a port that leads to the guest."""
    argv = place.argv(STARTED, ["passt"], user=None, static=False) + ["--publish", f"{PUBLISHED}:{vm.SERVICE}"]
    with vm.Guest(place.ns.command(*as_user(user, argv))) as guest:
        guest.wait_line("net-test: serving", 90)
        p = subprocess.run(place.ns.command(place.peer, "fetch", "127.0.0.1", str(PUBLISHED), str(LEN), "32"),
                           capture_output=True, text=True, timeout=60)
        vm.result(f"{name}/published", p.returncode == 0, p.stdout + p.stderr)
        subprocess.run(place.ns.command(place.peer, "quit", "127.0.0.1", str(PUBLISHED)), timeout=60)
        ended(guest, name)
        report(guest, name, ("dhcp", "mtu", "fetch", "fetch-long"))
    vm.result(f"{name}/passt-ends", gone(place.ns), "passt is still there")


def killed(place):
    """passt ends even where pipit has no time to say so."""
    argv = place.argv("echo net-test: up\nsleep 60\n", ["passt"])
    with vm.Guest(place.ns.command("sh", "-c", 'echo "pid $$"; exec "$@"', "sh", *argv)) as guest:
        pid = int(guest.wait_line("pid ", 10).split()[1])
        vm.result("killed/boots", guest.wait_line("net-test: up", 60) and processes(place.ns, "passt"), "no passt")
        os.kill(pid, 9)
    vm.result("killed/passt-ends", gone(place.ns), "passt is still there")


def joined(place):
    """One that somebody else has started, by the options of QEMU's users; then it ends."""
    path = f"{place.folder}/passt.socket"
    passt = subprocess.Popen(place.ns.command("passt", "--foreground", "--quiet", "--socket", path, "--runas", "0:0"))
    place.processes.append(passt)
    end = time.monotonic() + 10
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.02)
    initrd = f"{place.folder}/initrd-joined"
    vm.make_initrd(initrd, LOST, place.guest_peer)
    argv = [place.pipit, "qemu", "-M", "virt", "-kernel", vm.KERNEL, "-initrd", initrd, "-append", "console=ttyAMA0 quiet"]
    argv += ["-nographic", "-netdev", f"stream,id=n0,addr.type=unix,addr.path={path},server=off"]
    argv += ["-device", "virtio-net-pci,netdev=n0"]
    with vm.Guest(place.ns.command(*argv)) as guest:
        if guest.wait_line("net-test: end it", 60):
            for pid in processes(place.ns, "passt"):
                os.kill(pid, 15)
        ended(guest, "joined")
        report(guest, "joined", ("dhcp", "fetch", "no-carrier"))
        told = [line for line in guest.lines if "has ended: the guest's network is silent" in line]
        vm.result("joined/lost", len(told) == 1, f"said {len(told)} times")


def refusals(place):
    refused(place, "no-socket", [f"passt,socket={place.folder}/nothing"], "nothing answers at the socket")
    refused(place, "no-passt", ["passt"], "there is no program passt", opener=("/usr/bin/env", "PATH=/nowhere"))
    taken = ["--publish", f"{PORT + 1}:22"]
    place.spawn(place.peer, "serve", str(PORT + 1))
    refused(place, "port-taken", ["passt"], "passt ended with status 1: ", more=taken)
    vm.result("refused/nothing-left", gone(place.ns), "passt is still there")


def main():
    why = vm.missing() or missing() or (None if shutil.which("passt") else "no passt")
    if why:
        vm.skip("net-passt", why)
        return 0
    # In /tmp, where another user can read it too.
    with tempfile.TemporaryDirectory(prefix="pipit-passt-") as folder:
        place, outside = Place(folder), Namespace()
        try:
            join(place.ns, outside)
            place.ns.run("ip", "route", "add", "default", "via", GATEWAY4)
            place.ns.run("ip", "-6", "route", "add", "default", "via", GATEWAY6)
            p = subprocess.Popen(outside.command(place.peer, "serve", str(PORT)), stdout=subprocess.PIPE, text=True)
            place.processes.append(p)
            p.stdout.readline()
            started(place, "started", None)
            started(place, "by-a-user", NOBODY)
            killed(place)
            joined(place)
            refusals(place)
        finally:
            place.close()
            outside.close()
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
