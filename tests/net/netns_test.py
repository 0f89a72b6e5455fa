#!/usr/bin/env python3
# limit: 600
"""The user network in a network of the test's own: one namespace in which pipit runs, joined by a cable to another
with a name server and a host to talk to, over IPv4 and IPv6. Needs root. The namespaces have no names: they live as
long as the processes that hold them, and nothing of them is left.

Ping goes out through a ping socket where net.ipv4.ping_group_range (a setting of the namespace) holds the user's group,
and through a raw one where pipit is run by root; where neither is allowed, pipit says so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import vm

HOST4, HOST6 = "198.51.100.2", "2001:db8:1::2"
OWN4, OWN6 = "198.51.100.1", "2001:db8:1::1"
NAME = "host.pipit.test"
PORT = 7001
NOBODY = "65534"

SCRIPT = f"""
n=0
while ! ip -6 addr show dev eth0 | grep -q 'inet6 fec0:.*global' && [ $n -lt 10 ]; do sleep 1; n=$((n + 1)); done
# An address is tentative for a second; connections from it wait for nothing.
sleep 2
try ping-gateway ping -c 2 -W 5 10.0.2.2
try ping-host ping -c 3 -W 5 {HOST4}
try ping-gateway-ipv6 ping -6 -c 2 -W 5 fec0::2
try dns sh -c 'nslookup -type=a {NAME} 10.0.2.3 | grep -w {HOST4}'
try dns-ipv6-address sh -c 'nslookup -type=aaaa {NAME} 10.0.2.3 | grep -w {HOST6}'
try dns-over-ipv6 sh -c 'nslookup -type=a {NAME} fec0::3 | grep -w {HOST4}'
try dns-resolv-conf sh -c 'nslookup {NAME} | grep -w {HOST4}'
try no-such-name sh -c '! nslookup -type=a other.pipit.test 10.0.2.3'
try tcp-fetch peer fetch {HOST4} {PORT} 3000000 21
try tcp-push peer push {HOST4} {PORT} 3000000 22
try tcp-ipv6-fetch peer fetch {HOST6} {PORT} 3000000 23
try tcp-ipv6-push peer push {HOST6} {PORT} 3000000 24
"""

# What each of the script's lines needs to work.
ALWAYS = """dhcp ping-gateway ping-gateway-ipv6 dns dns-ipv6-address dns-over-ipv6 dns-resolv-conf no-such-name tcp-fetch
tcp-push tcp-ipv6-fetch tcp-ipv6-push""".split()


class Namespace:
    """A network and mount namespace, held by a sleeping process."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "900"])
        own = os.readlink("/proc/self/ns/net")
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            if self.holder.poll() is not None or time.monotonic() > end:
                raise OSError("unshare failed")
            time.sleep(0.01)

    def command(self, *argv):
        # A mount namespace is entered at its own root; --root and --wd go on to the holder's, which differs in a chroot.
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", "--root", "--wd", *argv]

    def run(self, *argv):
        subprocess.run(self.command(*argv), check=True)

    def close(self):
        self.holder.kill()
        self.holder.wait()


def join(a, b):
    """A cable between the two, with addresses."""
    a.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(b.holder.pid))
    for ns, v4, v6 in ((a, OWN4, OWN6), (b, HOST4, HOST6)):
        ns.run("ip", "link", "set", "lo", "up")
        ns.run("ip", "addr", "add", f"{v4}/24", "dev", "cable")
        ns.run("ip", "-6", "addr", "add", f"{v6}/64", "dev", "cable", "nodad")
        ns.run("ip", "link", "set", "cable", "up")


def boot(ns, folder, name, user, ping_range, expect_ping, *more):
    """One guest; its results under `name`."""
    ns.run("sh", "-c", f"echo '{ping_range}' > /proc/sys/net/ipv4/ping_group_range")
    argv = vm.command(f"{folder}/initrd", program=f"{folder}/{os.path.basename(vm.PIPIT)}")
    argv += more
    if user:
        argv = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", *argv]
    with vm.Guest(ns.command(*argv)) as guest:
        end = guest.wait_line("net-test: end", 150)
        for item in ALWAYS:
            good, text = guest.said(item)
            vm.result(f"{name}/{item}", good, text)
        good, text = guest.said("ping-host")
        vm.result(f"{name}/ping-host", good == expect_ping, f"{'allowed' if expect_ping else 'forbidden'}, but: {text}")
        told = any("ping_group_range" in line for line in guest.lines)
        if not vm.IS_QEMU:
            vm.result(f"{name}/says-so", told == (not expect_ping), "said" if told else "not a word of ping_group_range")
        vm.result(f"{name}/poweroff", end and guest.wait_end(30) == 0, "no clean end")


def main():
    why = vm.missing()
    if not why and os.geteuid() != 0:
        why = "needs root"
    if not why and not os.path.exists("/etc/resolv.conf"):
        why = "no /etc/resolv.conf to put another over"
    for tool in ("unshare", "nsenter", "setpriv", "ip"):
        if not why and not shutil.which(tool):
            why = f"no {tool}"
    if not why and subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode:
        why = "namespaces are not allowed here"
    if why:
        vm.skip("net-namespace", why)
        return 0
    processes, spaces = [], []
    # In /tmp, where another user can read it too.
    with tempfile.TemporaryDirectory(prefix="pipit-net-") as folder:
        os.chmod(folder, 0o755)
        peer, guest_peer = vm.compile_peer(folder)
        vm.make_initrd(f"{folder}/initrd", SCRIPT, guest_peer)
        shutil.copy(vm.PIPIT, folder)
        shutil.copy(f"{vm.CACHE}/guest/vmlinuz", folder)
        os.chmod(f"{folder}/vmlinuz", 0o644)
        vm.KERNEL = f"{folder}/vmlinuz"
        with open(f"{folder}/resolv.conf", "w", encoding="ascii") as f:
            f.write(f"nameserver {HOST4}\nnameserver {HOST6}\n")
        try:
            spaces = [Namespace(), Namespace()]
            ours, theirs = spaces
            join(ours, theirs)
            ours.run("mount", "--bind", f"{folder}/resolv.conf", "/etc/resolv.conf")
            dns = os.path.join(vm.HERE, "dns.py")
            for argv in ([sys.executable, dns, NAME, HOST4, HOST6], [peer, "serve", str(PORT)]):
                p = subprocess.Popen(theirs.command(*argv), stdout=subprocess.PIPE, text=True)
                processes.append(p)
                p.stdout.readline()  # it says when it is ready
            boot(ours, folder, "root", None, "1 0", True)
            boot(ours, folder, "user", NOBODY, "1 0", False)
            # With guestfwd the network's process has a root of its own, and a copy of resolv.conf there.
            forward = [] if vm.IS_QEMU else ["--net", "user,guestfwd=tcp::9-cmd:cat"]
            boot(ours, folder, "user-in-range", NOBODY, "0 2147483647", True, *forward)
        finally:
            for p in processes:
                p.kill()
                p.wait()
            for ns in spaces:
                ns.close()
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
