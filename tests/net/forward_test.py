#!/usr/bin/env python3
# limit: 300
"""A restricted user network with addresses of its own: what goes nowhere, and what leads somewhere all the same.
guestfwd to commands, a Unix socket and TCP; published ranges, and a port on an IPv6 address of the host. What is left
behind afterwards: nothing, also when the machine is killed.
"""

import glob
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

import vm

NET = "192.168.76"
GUEST = f"{NET}.9"
MAC = "52:54:00:12:34:77"
SIZE = 3000000

SCRIPT = """
try address sh -c 'ip -4 addr show dev eth0 | grep -w {guest}'
try gateway-answers ping -c 1 -W 5 {net}.2
try host-is-closed sh -c '! peer fetch {net}.2 {port} 1000 1'
head -c 1000000 /dev/urandom >/tmp/data
try command sh -c 'nc {net}.100 1 </tmp/data >/tmp/back; cmp /tmp/data /tmp/back'
try command-each-its-own sh -c 'a=$(nc {net}.100 2 </dev/null); b=$(nc {net}.100 2 </dev/null); [ "$a" ] && [ "$b" ] && [ "$a" != "$b" ]'
try command-ends sh -c '[ "$(nc {net}.100 3 </dev/null)" = done ]'
try unix sh -c '[ "$(echo question | nc {net}.101 1)" = "the answer to question" ]'
try tcp-fetch peer fetch {net}.101 2 {size} 5
try tcp-push peer push {net}.101 2 {size} 6
try nobody-there sh -c '! nc {net}.101 3 </dev/null | grep .'
try still-serves sh -c '[ "$(echo again | nc {net}.101 1)" = "the answer to again" ]'
n=0
while ! ip -6 addr show dev eth0 | grep -q 'inet6 fec0:.*global' && [ $n -lt 10 ]; do sleep 1; n=$((n + 1)); done
sleep 2
peer serve {service1} &
peer serve {service3} &
peer serve {service}
"""
IN_GUEST = """address gateway-answers host-is-closed command command-each-its-own command-ends unix tcp-fetch tcp-push
nobody-there still-serves""".split()


def answer(listener):
    while True:
        try:
            s, _ = listener.accept()
        except OSError:
            return
        with s, s.makefile("rw") as f:
            f.write("the answer to " + f.readline())
            f.flush()


def folders():
    return {d for top in ("/tmp", os.environ.get("XDG_RUNTIME_DIR", "/tmp")) for d in glob.glob(f"{top}/pipit-guestfwd-*")}


def gone(what, seconds=10):
    """Waits until what() is empty."""
    end = time.monotonic() + seconds
    while what() and time.monotonic() < end:
        time.sleep(0.05)
    return not what()


def relays(mark):
    """Processes that have the folder's name in their command line: those of the machine and what it started."""
    out = []
    for p in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(p, "rb") as f:
                if mark.encode() in f.read() and int(p.split("/")[2]) != os.getpid():
                    out.append(p)
        except OSError:
            pass
    return out


def main():
    why = vm.missing()
    if why:
        vm.skip("net-forward", why)
        return 0
    before = folders()
    with tempfile.TemporaryDirectory(prefix="pipit-net-") as folder:
        peer, guest_peer = vm.compile_peer(folder)
        port, port6, dead, first = vm.free_port(), vm.free_port(), vm.free_port(), vm.free_range(3)
        vm.make_initrd(f"{folder}/initrd", SCRIPT.format(
            guest=GUEST, net=NET, port=port, size=SIZE, service=vm.SERVICE, service1=vm.SERVICE + 1,
            service3=vm.SERVICE + 2), guest_peer)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/socket")
        listener.listen()
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        server = subprocess.Popen([peer, "serve", str(port)], stdout=subprocess.PIPE, text=True)
        server.stdout.readline()
        forwards = [
            f"tcp:{NET}.100:1-cmd:cat",
            f"tcp:{NET}.100:2-cmd:echo $$ {folder}",
            f"tcp:{NET}.100:3-cmd:cat >/dev/null; echo done",
            f"tcp:{NET}.101:1-unix:{folder}/socket",
            f"tcp:{NET}.101:2-tcp:127.0.0.1:{port}",
            f"tcp:{NET}.101:3-tcp:localhost:{dead}",
        ]
        argv = vm.command(f"{folder}/initrd")
        argv += ["--mac", MAC, "--net", f"user,restrict=on,net={NET}.0/24,dhcpstart={GUEST},"
                 + ",".join("guestfwd=" + f for f in forwards)]
        argv += ["--publish", f"{first}-{first + 2}:{vm.SERVICE}-{vm.SERVICE + 2}"]
        argv += ["--publish", f"[::1]:{port6}:{vm.SERVICE}"]
        try:
            with vm.Guest(argv) as guest:
                up = guest.wait_line("peer: serving", 120)
                for name in IN_GUEST:
                    vm.result(name, *guest.said(name))
                if vm.result("guest-serves", up, "the guest did not come up"):
                    time.sleep(1)  # the other two
                    for i in range(3):
                        p = subprocess.run([peer, "fetch", "127.0.0.1", str(first + i), "1000000", str(i)],
                                           capture_output=True, text=True, timeout=60)
                        vm.result(f"range-{i}", p.returncode == 0, p.stdout + p.stderr)
                    p = subprocess.run([peer, "push", "::1", str(port6), "1000000", "9"], capture_output=True,
                                       text=True, timeout=60)
                    vm.result("ipv6-host-address", p.returncode == 0, p.stdout + p.stderr)
                vm.result("folder-while-it-runs", len(folders() - before) == 1, str(folders() - before))
                guest.child.kill()
                guest.wait_end(10)
            vm.result("killed-leaves-no-folder", gone(lambda: folders() - before), str(folders() - before))
            vm.result("killed-leaves-no-process", gone(lambda: relays(f"{folder}/initrd")), str(relays(folder)))
        finally:
            listener.close()
            server.terminate()
            server.wait()
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
