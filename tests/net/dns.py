#!/usr/bin/env python3
"""dns.py NAME IPV4 IPV6: a name server on UDP port 53 of all addresses, which knows one name. Prints "dns: ready"."""

import ipaddress
import socket
import struct
import sys


def answer(query, name, records):
    """The answer to one query (RFC 1035, 4.1), or None for what is none."""
    if len(query) < 17 or query[2] & 0x80:
        return None
    labels, at = [], 12
    while at < len(query) and query[at]:
        size = query[at]
        if size > 63 or at + size >= len(query):
            return None
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += size + 1
    if at + 5 > len(query):
        return None
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    question = query[12 : at + 5]
    known = ".".join(labels) == name
    data = records.get(kind) if known else None
    # Answer, authoritative, recursion available; NXDOMAIN for other names.
    head = query[:2] + struct.pack(">HHHHH", 0x8580 if known else 0x8583, 1, 1 if data else 0, 0, 0)
    body = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data if data else b""
    return head + question + body


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    records = {1: ipaddress.IPv4Address(sys.argv[2]).packed, 28: ipaddress.IPv6Address(sys.argv[3]).packed}
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", 53))
    print("dns: ready", flush=True)
    while True:
        query, peer = server.recvfrom(1500)
        reply = answer(query, sys.argv[1], records)
        if reply:
            server.sendto(reply, peer)


if __name__ == "__main__":
    main()
