#!/usr/bin/env python3
# limit: 240
"""Networks on the host's own interfaces: taps (several queues, with and without offloads, made by pipit, opened by
others, removed under a running guest, full while it is paused), bridges joined directly and by QEMU's helper, and what
is refused. In network and mount namespaces of the test's own, which end with it. Needs root.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import vm
from netns_test import NOBODY, Namespace

HELPER = "/usr/lib/qemu/qemu-bridge-helper"
PORT = 7001
LEN = 10_000_000
LONG, SHORT = 6000, 1600  # bytes of a frame in the middle: more with offloads, less without

TRANSFERS = f"""
ip addr add 10.77.0.2/24 dev eth0
echo "net-test: queues $(ls /sys/class/net/eth0/queues | grep -c rx-)"
try ping ping -c 2 -W 5 10.77.0.1
try push peer push 10.77.0.1 {PORT} {LEN} 5
try fetch peer fetch 10.77.0.1 {PORT} {LEN} 6
for i in 1 2 3 4; do
    peer push 10.77.0.1 {PORT} 2000000 1$i >/tmp/p$i 2>&1 &
    peer fetch 10.77.0.1 {PORT} 2000000 2$i >/tmp/f$i 2>&1 &
done
wait
try at-once sh -c 'test $(cat /tmp/p? /tmp/f? | grep -c "2000000 of 2000000 bytes right") = 8'
"""

REMOVED = """
ip addr add 10.77.0.2/24 dev eth0
try ping ping -c 2 -W 5 10.77.0.1
echo "net-test: remove it"
n=0
while ping -c 1 -W 1 10.77.0.1 >/dev/null && [ $n -lt 30 ]; do n=$((n + 1)); done
try lives true
"""

SERVER = f"""
ip addr add 10.77.0.2/24 dev eth0
peer serve {PORT} >/tmp/serve &
until grep -q serving /tmp/serve; do sleep 0.1; done
echo "net-test: serving"
wait $!
"""

CLIENT = f"""
ip addr add 10.77.0.3/24 dev eth0
try ping ping -c 2 -W 5 10.77.0.2
try push peer push 10.77.0.2 {PORT} {LEN} 7
try fetch peer fetch 10.77.0.2 {PORT} {LEN} 8
peer quit 10.77.0.2 {PORT}
"""

# Opens a tap inside the namespace and becomes the command behind it; FDS stands for its descriptors.
OPENER = """
import fcntl, os, struct, subprocess, sys
name, queues, argv = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
fds = []
for _ in range(queues):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    flags = 0x0002 | 0x1000 | 0x4000 | (0x0100 if queues > 1 else 0)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))
    os.set_inheritable(fd, True)
    fds.append(str(fd))
subprocess.run(["ip", "addr", "add", "10.77.0.1/24", "dev", name], check=True)
subprocess.run(["ip", "link", "set", name, "up"], check=True)
os.execv(argv[0], [a.replace("FDS", ":".join(fds)) for a in argv])
"""


PAUSED = """
ip addr add 10.77.0.2/24 dev eth0
ping -c 1 -W 5 10.77.0.1 >/dev/null
echo "net-test: up"
sleep 2
try ping ping -c 2 -W 5 10.77.0.1
"""

# A second of datagrams, as many as go.
FLOOD = """
import socket, time
s, n, end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, time.monotonic() + 1
while time.monotonic() < end:
    s.sendto(bytes(1000), ("10.77.0.2", 9))
    n += 1
print(n)
"""


class Place:
    """A namespace with a program, a kernel and initrds that another user can read, and /dev/net/tun as on most hosts."""

    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.folder = folder
        self.peer, self.guest_peer = vm.compile_peer(folder)
        shutil.copy(vm.PIPIT, folder)
        shutil.copy(f"{vm.CACHE}/guest/vmlinuz", folder)
        os.chmod(f"{folder}/vmlinuz", 0o644)
        vm.KERNEL = f"{folder}/vmlinuz"
        self.pipit = f"{folder}/{os.path.basename(vm.PIPIT)}"
        self.processes = []
        self.ns = Namespace()
        self.ns.run("ip", "link", "set", "lo", "up")
        self.ns.run("mount", "-t", "sysfs", "sys", "/sys")
        if os.stat("/dev/net/tun").st_mode & 0o666 != 0o666:
            os.mknod(f"{folder}/tun", 0o600 | 0o20000, os.makedev(10, 200))
            os.chmod(f"{folder}/tun", 0o666)
            self.ns.run("mount", "--bind", f"{folder}/tun", "/dev/net/tun")

    def spawn(self, *argv):
        p = subprocess.Popen(self.ns.command(*argv), stdout=subprocess.PIPE, text=True)
        self.processes.append(p)
        p.stdout.readline()  # it says when it is ready

    def argv(self, script, net, cpus=1, user=None, static=True):
        name = f"{self.folder}/initrd-{len(os.listdir(self.folder))}"
        vm.make_initrd(name, script, self.guest_peer, static)
        out = vm.command(name, cpus=cpus, memory=256, program=self.pipit)
        for n in net:
            out += ["--net", n]
        return as_user(user, out)

    def statistics(self, name):
        """Mean lengths of the frames from and to the guest on an interface."""
        script = f"cd /sys/class/net/{name}/statistics && cat rx_bytes rx_packets tx_bytes tx_packets"
        out = subprocess.run(self.ns.command("sh", "-c", script), check=True, capture_output=True, text=True).stdout
        a, b, c, d = map(int, out.split())
        return a / max(b, 1), c / max(d, 1)

    def there(self, name):
        return subprocess.run(self.ns.command("ip", "link", "show", name), capture_output=True).returncode == 0

    def wait_for(self, name):
        end = time.monotonic() + 30
        while not self.there(name) and time.monotonic() < end:
            time.sleep(0.05)

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
        self.ns.close()


def as_user(user, argv):
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", *argv] if user else argv


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        times = f.read().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def report(guest, name, items):
    for item in items:
        vm.result(f"{name}/{item}", *guest.said(item))


def ended(guest, name, seconds=60):
    end = guest.wait_line("net-test: end", seconds)
    vm.result(f"{name}/poweroff", end and guest.wait_end(30) == 0, "no clean end")


def lengths(place, name, dev, good):
    got = place.statistics(dev)
    vm.result(f"{name}/frame-lengths", good(got[0]) and good(got[1]), "mean lengths %.0f and %.0f" % got)


def own_tap_with_queues(place):
    """A tap made for a user, who runs the guest; two queues; offloads."""
    ns = place.ns
    ns.run("ip", "tuntap", "add", "dev", "vm0", "mode", "tap", "multi_queue", "user", NOBODY)
    ns.run("ip", "addr", "add", "10.77.0.1/24", "dev", "vm0")
    ns.run("ip", "link", "set", "vm0", "up")
    argv = place.argv(TRANSFERS, ["tap=vm0,queues=2"], cpus=2, user=NOBODY)
    with vm.Guest(ns.command(*argv)) as guest:
        ended(guest, "queues")
        report(guest, "queues", ("ping", "push", "fetch", "at-once"))
        vm.result("queues/count", "net-test: queues 2" in guest.lines, "the guest has not two")
        lengths(place, "queues", "vm0", lambda n: n > LONG)
    vm.result("queues/tap-stays", place.there("vm0"), "the tap of the user's is gone")
    ns.run("ip", "link", "del", "vm0")


def made_without_offloads(place):
    """One that pipit makes, which ends with it."""
    argv = place.argv(TRANSFERS, ["tap=vm1,offload=off,mac=52:54:00:aa:bb:01"])
    with vm.Guest(place.ns.command(*argv)) as guest:
        place.wait_for("vm1")
        place.ns.run("ip", "addr", "add", "10.77.0.1/24", "dev", "vm1")
        guest.wait_line("net-test: fetch", 60)
        lengths(place, "whole-frames", "vm1", lambda n: n < SHORT)
        neighbours = subprocess.run(place.ns.command("ip", "neigh"), capture_output=True, text=True).stdout
        vm.result("whole-frames/mac", "52:54:00:aa:bb:01" in neighbours, neighbours)
        ended(guest, "whole-frames")
        report(guest, "whole-frames", ("ping", "push", "fetch", "at-once"))
    vm.result("whole-frames/tap-goes", not place.there("vm1"), "it is still there")


def paused(place):
    """A machine that takes nothing costs nothing, whatever arrives; and goes on afterwards."""
    ns, runtime = place.ns, f"{place.folder}/runtime"
    ns.run("ip", "tuntap", "add", "dev", "vm3", "mode", "tap")
    ns.run("ip", "addr", "add", "10.77.0.1/24", "dev", "vm3")
    ns.run("ip", "link", "set", "vm3", "up")
    os.mkdir(runtime, 0o700)
    env = ["env", f"XDG_RUNTIME_DIR={runtime}"]
    argv = [*env, *place.argv(PAUSED, ["tap=vm3"]), "--name", "paused"]
    with vm.Guest(ns.command("sh", "-c", 'echo "pid $$"; exec "$@"', "sh", *argv)) as guest:
        pid = int(guest.wait_line("pid ", 10).split()[1])
        guest.wait_line("net-test: up", 60)
        subprocess.run(ns.command(*env, place.pipit, "pause", "paused"), check=True)
        before = cpu_seconds(pid)
        sent = subprocess.check_output(ns.command(sys.executable, "-c", FLOOD), text=True).strip()
        used = cpu_seconds(pid) - before
        vm.result("paused/idle", used < 0.2, f"{used:.2f} s of CPU time for {sent} frames in 1 s")
        subprocess.run(ns.command(*env, place.pipit, "resume", "paused"), check=True)
        ended(guest, "paused")
        report(guest, "paused", ("ping",))
    ns.run("ip", "link", "del", "vm3")


def opened_by_others(place):
    """Descriptors; and the interface goes while the guest runs."""
    argv = place.argv(REMOVED, ["fd=FDS"])
    with vm.Guest(place.ns.command(sys.executable, "-c", OPENER, "vm2", "2", *argv)) as guest:
        if guest.wait_line("net-test: remove it", 60):
            place.ns.run("ip", "link", "del", "vm2")
        ended(guest, "descriptors")
        report(guest, "descriptors", ("ping", "lives"))
        told = [line for line in guest.lines if "vm2 is no longer there" in line]
        vm.result("descriptors/removed", len(told) == 1, f"said {len(told)} times")


def install_helper(place):
    """A set-user-id helper, with a configuration of its own that allows br0 to everybody; None, or why not."""
    if not os.path.exists(HELPER):
        return f"no {HELPER}"
    shutil.copy(HELPER, f"{place.folder}/helper")
    os.chown(f"{place.folder}/helper", 0, 0)
    os.chmod(f"{place.folder}/helper", 0o4755)
    if os.statvfs(place.folder).f_flag & os.ST_NOSUID:
        return f"{place.folder} is on a file system without set-user-id programs"
    # /etc of the namespace: the host's, but for qemu/bridge.conf.
    real, new = f"{place.folder}/etc-of-host", f"{place.folder}/etc"
    os.mkdir(real)
    os.makedirs(f"{new}/qemu")
    for name in os.listdir("/etc"):
        if name != "qemu":
            os.symlink(f"{real}/{name}", f"{new}/{name}")
    with open(f"{new}/qemu/bridge.conf", "w", encoding="ascii") as f:
        f.write("allow br0\n")
    place.ns.run("mount", "--bind", "/etc", real)
    place.ns.run("mount", "--bind", new, "/etc")
    return None


def two_on_a_bridge(place):
    """One guest joins as root, one as a user through the helper; both have the same MTU as their bridge."""
    ns = place.ns
    ns.run("ip", "link", "add", "br0", "type", "bridge")
    ns.run("ip", "link", "set", "br0", "mtu", "4000", "up")
    why = install_helper(place)
    if why:
        vm.skip("bridge-helper", why)
    server = place.argv(SERVER + "ip link show eth0\n", ["bridge=br0,mac=52:54:00:aa:bb:02"])
    net = "bridge=br0,mac=52:54:00:aa:bb:03" + ("" if why else f",helper={place.folder}/helper")
    client = place.argv(CLIENT, [net], user=None if why else NOBODY)
    with vm.Guest(ns.command(*server)) as a:
        a.wait_line("net-test: serving", 60)
        with vm.Guest(ns.command(*client)) as b:
            ended(b, "bridge/client")
            report(b, "bridge/client", ("ping", "push", "fetch"))
            if b.wait_end(0) is None:
                return
        ended(a, "bridge/server")
        vm.result("bridge/mtu", any("mtu 4000" in line for line in a.lines), "the guest has another MTU than its bridge")
    left = subprocess.run(ns.command("ip", "-br", "link"), capture_output=True, text=True, check=True).stdout
    vm.result("bridge/taps-go", "tap" not in left, left)
    if not why:
        helped = f"helper={place.folder}/helper"
        refused(place, "bridge-not-there", [f"bridge=br1,{helped}"], "there is no bridge br1", NOBODY)
        ns.run("ip", "link", "add", "br1", "type", "bridge")
        refused(place, "bridge-not-allowed", [f"bridge=br1,{helped}"], "access denied", NOBODY)
        ns.run("ip", "link", "del", "br1")
        os.chmod(f"{place.folder}/helper", 0o755)
        refused(place, "helper-without-rights", [f"bridge=br0,{helped}"], "not set-user-id", NOBODY)


def refused(place, name, net, text, user=None, opener=(), more=()):
    """pipit ends with status 1 and a sentence, before it starts anything."""
    argv = [*place.argv("", net, user=user), *more]
    p = subprocess.run(place.ns.command(*opener, *argv), capture_output=True, text=True, timeout=60)
    said = [line for line in p.stderr.splitlines() if line.startswith("pipit: error: ") or "error" in line]
    good = p.returncode == 1 and len(said) == 1 and text in said[0]
    vm.result(f"refused/{name}", good, f"status {p.returncode}: {p.stderr.strip()}")


def refusals(place):
    ns = place.ns
    ns.run("ip", "tuntap", "add", "dev", "plain", "mode", "tap")
    ns.run("ip", "tuntap", "add", "dev", "roots", "mode", "tap", "user", "0")
    ns.run("ip", "tuntap", "add", "dev", "routed", "mode", "tun")
    ns.run("ip", "link", "add", "other", "type", "bridge")
    refused(place, "no-tap-no-right", ["tap=vm9"], "there is no interface vm9, and making one", NOBODY)
    refused(place, "another-users", ["tap=roots"], "interface roots is another user's", NOBODY)
    refused(place, "no-tap", ["tap=other"], "interface other is not a tap")
    refused(place, "tun", ["tap=routed"], "interface routed is not a tap")
    refused(place, "one-queue-only", ["tap=plain,queues=2"], "or not one with several queues")
    refused(place, "busy", ["tap=vm8"], "interface vm8 is in use", opener=(sys.executable, "-c", OPENER, "vm8", "1"))
    refused(place, "descriptor-closed", ["fd=77"], "descriptor 77 is not open")
    with_null = ("sh", "-c", 'exec 9</dev/null; exec "$@"', "sh")
    refused(place, "descriptor-no-tap", ["fd=9"], "descriptor 9 is not a tap", opener=with_null)
    refused(place, "no-bridge", ["bridge=br9"], "there is no bridge br9")
    refused(place, "not-a-bridge", ["bridge=plain"], "interface plain is not a bridge")
    left = subprocess.run(ns.command("ip", "-br", "link"), capture_output=True, text=True, check=True).stdout
    vm.result("refused/nothing-left", not any(line.startswith("tap") for line in left.splitlines()), left)


def missing():
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("unshare", "nsenter", "setpriv", "ip"):
        if not shutil.which(tool):
            return f"no {tool}"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    if os.stat("/dev/net/tun").st_mode & 0o666 != 0o666 and os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NODEV:
        return "/dev/net/tun is root's, and /tmp takes no other"
    probe = "ip tuntap add dev t0 mode tap && ip link add b0 type bridge"
    if subprocess.run(["unshare", "--net", "--mount", "sh", "-c", probe], capture_output=True).returncode:
        return "namespaces, taps or bridges are not allowed here"
    return None


def main():
    why = vm.missing() or missing()
    if why:
        vm.skip("net-tap", why)
        return 0
    # In /tmp, where another user can read it too.
    with tempfile.TemporaryDirectory(prefix="pipit-tap-") as folder:
        place = Place(folder)
        try:
            place.spawn(place.peer, "serve", str(PORT))
            for part in (own_tap_with_queues, made_without_offloads, paused, opened_by_others, two_on_a_bridge, refusals):
                part(place)
        finally:
            place.close()
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
