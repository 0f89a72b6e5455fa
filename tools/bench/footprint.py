"""What a machine's processes take of this host: memory, the guest's RAM left out, and CPU time."""

import os
import re
import subprocess
import threading


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


def used(pids):
    """Seconds of CPU time of the processes' threads so far; /proc/PID/stat knows ticks only."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total / 1e9


def ticked(pids):
    """The same with the threads that have ended, but no finer than the clock's ticks."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            words = f.read().rpartition(")")[2].split()
        total += int(words[11]) + int(words[12])
    return total / os.sysconf("SC_CLK_TCK")


def watched(argv, wanted, limit):
    """(exit status, output, [(line, seconds of CPU time so far)]) of a machine, for each line of its console that the pattern
    `wanted` matches: what was used between two is what the guest's work between them took, however busy this host is."""
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(limit, child.kill)
    timer.start()
    output, marks = [], []
    try:
        for raw in child.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            output.append(line)
            if re.match(wanted, line):
                marks.append((line, used(descendants(child.pid))))
        return child.wait(60), "\n".join(output), marks
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
