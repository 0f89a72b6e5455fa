"""What a machine's processes take of this host's memory, its guest's RAM left out."""

import os
import re


def descendants(pid):
    """The process and all that it started."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            for child in f.read().split():
                found += descendants(int(child))
    return found


def pss(pid, ram):
    """(KiB of Pss outside guest RAM, KiB of guest RAM that is there) of one process; the guest has `ram` MiB, in one piece."""
    other = guest = size = 0
    with open(f"/proc/{pid}/smaps", encoding="ascii") as f:
        for text in f:
            if m := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", text):
                size = int(m[2], 16) - int(m[1], 16) if m[3].startswith("rw") else 0
            elif m := re.match(r"Pss:\s+(\d+) kB", text):
                if size == ram << 20:
                    guest += int(m[1])
                else:
                    other += int(m[1])
    return other, guest
