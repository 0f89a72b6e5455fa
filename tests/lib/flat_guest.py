"""Guests of a few instructions: flat binaries at 0x40080000 of the machine `virt`, put together word by word.

A piece of code is a list of instruction words; pieces are added up. `kernel(words)` is a temporary file with them.
"""

import struct
import tempfile

BASE = 0x40080000
UART = 0x09000000  # PL011
SYSTEM_OFF, SYSTEM_RESET = 0x84000008, 0x84000009  # PSCI


def li(reg, value):
    """A number of 32 bits into x<reg>."""
    return [0xD2800000 | (value & 0xFFFF) << 5 | reg, 0xF2A00000 | (value >> 16 & 0xFFFF) << 5 | reg]


def ldr(rt, rn, offset=0):
    return [0xB9400000 | offset // 4 << 10 | rn << 5 | rt]  # ldr w<rt>, [x<rn>, #offset]


def store(rt, rn, offset=0):
    return [0xB9000000 | offset // 4 << 10 | rn << 5 | rt]


def store_byte(rt, rn):
    return [0x39000000 | rn << 5 | rt]


def call(function):
    return li(0, function) + [0xD4000002]  # hvc #0


def put(text):
    """Prints it; x4 and x5 are lost."""
    code = li(5, UART)
    for c in text.encode():
        code += li(4, c) + store_byte(4, 5)
    return code


OFF = call(SYSTEM_OFF)
SPIN = [0x14000000]  # b .
SLEEP = [0xD503207F, 0x17FFFFFF]  # wfi; b back


def kernel(words):
    f = tempfile.NamedTemporaryFile(prefix="pipit-guest-", suffix=".bin")
    f.write(struct.pack(f"<{len(words)}I", *words))
    f.flush()
    return f
