#!/usr/bin/env python3
# limit: 900
"""Through a published port: 1 GiB to the guest and 1 GiB from it, byte-exact; the same from the guest's side in small;
200 connections at once, and 1000 in turn. PIPIT_TRANSFER_MIB (1024) is the size, PIPIT_CONNECTIONS (200) how many at once.
A stream that stands still for a minute has failed.
"""

import os
import subprocess
import sys

import conns
import vm

SIZE = int(os.environ.get("PIPIT_TRANSFER_MIB", "1024")) << 20
CONNECTIONS = int(os.environ.get("PIPIT_CONNECTIONS", "200"))
IN_TURN = 1000
SMALL = 20000  # what curl would fetch


def run(argv, limit):
    try:
        p = subprocess.run(argv, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return False, f"not done within {limit} s"
    text = (p.stdout + p.stderr).strip()
    return p.returncode == 0, text or f"exit status {p.returncode}"


def main():
    why = vm.missing()
    if why:
        vm.skip("net-transfer", why)
        return 0
    with vm.scratch() as folder:
        peer, guest_peer = vm.compile_peer(folder)
        out_port, in_port = vm.free_port(), vm.free_port()
        script = (
            f"try outward-fetch peer fetch 10.0.2.2 {out_port} {SMALL} 11\n"
            f"try outward-push peer push 10.0.2.2 {out_port} 30000000 12\n"
            f"peer serve {vm.SERVICE}\n"
        )
        vm.make_initrd(f"{folder}/initrd", script, guest_peer)
        server = subprocess.Popen([peer, "serve", str(out_port)], stdout=subprocess.DEVNULL)
        try:
            with vm.Guest(vm.command(f"{folder}/initrd", [(in_port, vm.SERVICE)])) as guest:
                if not vm.result("guest-serves", guest.wait_line("peer: serving", 120), "the guest did not come up"):
                    return vm.finish()
                for name in ("dhcp", "outward-fetch", "outward-push"):
                    vm.result(name, *guest.said(name))

                def inward(name, *words, limit=60):
                    good, text = run([peer, *map(str, words)], limit)
                    print(f"  {name}: {text}")
                    vm.result(name, good, text)

                inward("small-to-guest", "push", "127.0.0.1", in_port, SMALL, 1)
                inward("small-from-guest", "fetch", "127.0.0.1", in_port, SMALL, 2)
                good, text = conns.check("127.0.0.1", in_port, CONNECTIONS)
                print(f"  {CONNECTIONS}-connections: {text}")
                vm.result(f"{CONNECTIONS}-connections", good, text)
                good, text = conns.in_turn("127.0.0.1", in_port, IN_TURN)
                print(f"  {IN_TURN}-in-turn: {text}")
                vm.result(f"{IN_TURN}-in-turn", good, text)
                patience = 300 * max(1, SIZE >> 30)  # peer notices when nothing moves
                inward("bulk-to-guest", "push", "127.0.0.1", in_port, SIZE, 3, limit=patience)
                inward("bulk-from-guest", "fetch", "127.0.0.1", in_port, SIZE, 4, limit=patience)
                inward("quit", "quit", "127.0.0.1", in_port)
                status = guest.wait_end(30)
                vm.result("poweroff", status == 0, f"exit status {status}")
        finally:
            server.terminate()
            server.wait()
    return vm.finish()


if __name__ == "__main__":
    sys.exit(main())
