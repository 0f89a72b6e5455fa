#!/usr/bin/env python3
"""conns.py ADDRESS PORT COUNT [BYTES]: COUNT connections to a peer's echo service, all open at once.

Each is opened and must answer before any goes on; then all send BYTES (default 64 KiB) of their own random data at
the same time, read it back, compare, and close. Exits 0 if every connection got exactly its own bytes and an end.
"""

import asyncio
import os
import socket
import struct
import sys
import time

LIMIT = 120  # seconds for everything


async def open_one(address, port):
    reader, writer = await asyncio.open_connection(address, port)
    hello = os.urandom(16)
    writer.write(struct.pack("<5sc2xQQ", b"pipit", b"E", 0, 0) + hello)
    await writer.drain()
    if await reader.readexactly(len(hello)) != hello:
        raise ValueError("another connection's greeting")
    return reader, writer


async def talk(connection, size):
    reader, writer = connection
    data = os.urandom(size)

    async def send():
        for at in range(0, size, 8192):
            writer.write(data[at : at + 8192])
            await writer.drain()
        writer.write_eof()

    _, back = await asyncio.gather(send(), reader.read(-1))
    writer.close()
    if back != data:
        raise ValueError(f"{len(back)} bytes of {size} came back, or others")


async def run(address, port, count, size):
    """(how many were open at once, how many were right, the errors)."""
    opened = await asyncio.gather(*(open_one(address, port) for _ in range(count)), return_exceptions=True)
    good = [c for c in opened if isinstance(c, tuple)]
    done = await asyncio.gather(*(talk(c, size) for c in good), return_exceptions=True)
    errors = [e for e in [*opened, *done] if isinstance(e, BaseException)]
    return len(good), len(good) - sum(isinstance(d, BaseException) for d in done), errors


def check(address, port, count, size=65536):
    start = time.monotonic()

    async def bounded():
        return await asyncio.wait_for(run(address, port, count, size), LIMIT)

    try:
        opened, right, errors = asyncio.run(bounded())
    except asyncio.TimeoutError:
        return False, f"not done within {LIMIT} s"
    what = f"{opened} of {count} open at once, {right} exact, {time.monotonic() - start:.1f} s"
    return right == count, what + "".join(f"; {type(e).__name__}: {e}" for e in errors[:3])


def in_turn(address, port, count):
    """Connections opened, used and closed one after the other; each must end with an end."""
    start = time.monotonic()
    for i in range(count):
        try:
            with socket.create_connection((address, port), timeout=30) as s:
                hello = os.urandom(16)
                s.sendall(struct.pack("<5sc2xQQ", b"pipit", b"E", 0, 0) + hello)
                s.shutdown(socket.SHUT_WR)
                back = b"".join(iter(lambda s=s: s.recv(64), b""))
        except OSError as e:
            return False, f"the {i + 1}th: {type(e).__name__}: {e}"
        if back != hello:
            return False, f"the {i + 1}th got {back!r} for {hello!r}"
    return True, f"{count} in {time.monotonic() - start:.1f} s"


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    ok, text = check(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 65536)
    print(text)
    sys.exit(0 if ok else 1)
