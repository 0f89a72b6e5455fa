#!/usr/bin/env python3
# limit: 200
"""How a machine starts, ends, resets and treats its terminal, with guests of a few instructions.

The guests are flat binaries, written here word by word; they start at 0x40080000 with the MMU off.
"""

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from flat_guest import SLEEP, SPIN, SYSTEM_OFF, SYSTEM_RESET, UART, call, kernel, ldr, li, put, store, store_byte  # noqa: E402

ROOT = os.environ.get("PIPIT_ROOT", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PIPIT = os.environ.get("PIPIT", os.path.join(ROOT, "build/release/pipit"))
LIMIT = 20

DEBUG = 0x090F0000
CPU_OFF, CPU_ON, AFFINITY_INFO = 0x84000002, 0xC4000003, 0xC4000004


# --- more of an assembler ---
def branch(cond, words):  # b.cond over so many words
    return [0x54000000 | (words + 1) << 5 | {"eq": 0, "ne": 1, "ge": 10}[cond]]


def cmp_reg(a, b):
    return [0x6B00001F | b << 16 | a << 5]


def cmp_imm(a, imm):
    return [0x7100001F | imm << 10 | a << 5]


# The device tree's address is in x0, and its magic number is there.
CHECK_DTB = ldr(1, 0) + li(2, 0xEDFE0DD0) + cmp_reg(1, 2) + branch("eq", 3) + call(SYSTEM_RESET) + call(SYSTEM_OFF)

# Counts its starts at 32 MiB into RAM, destroys its own first instruction, and resets twice.
THREE_BOOTS = (
    li(1, 0x42000000)
    + ldr(2, 1)
    + [0x11000400 | 2 << 5 | 2]  # add w2, w2, #1
    + store(2, 1)
    + put("boot;")
    + li(3, 0x40080000)
    + store(31, 3)
    + cmp_imm(2, 3)
    + branch("ge", 3)
    + call(SYSTEM_RESET)
    + call(SYSTEM_OFF)
)


def two_cpus():
    """CPU 0 starts CPU 1 three times over; CPU 1 says so and switches itself off; then CPU 0 ends the machine."""
    second = 0x40080400
    code = li(6, 3)
    again = len(code)
    code += li(1, 1) + li(2, second) + li(3, 0x77) + call(CPU_ON)
    code += cmp_imm(0, 0) + branch("eq", 3) + call(SYSTEM_RESET)
    wait = len(code)
    code += li(1, 1) + li(2, 0) + call(AFFINITY_INFO) + cmp_imm(0, 1)
    code += [0x54000001 | ((wait - len(code)) & 0x7FFFF) << 5]  # b.ne wait
    code += [0x71000400 | 6 << 5 | 6]  # subs w6, w6, #1
    code += [0x54000001 | ((again - len(code)) & 0x7FFFF) << 5]  # b.ne again
    code += call(SYSTEM_OFF)
    code += [0] * (0x100 - len(code))
    # x0 is the context number.
    return code + cmp_imm(0, 0x77) + branch("eq", 3) + call(SYSTEM_RESET) + put("on;") + call(CPU_OFF) + SPIN


# --- running ---
results = []


def item(name, good, why=""):
    results.append(good)
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)


def elf(words):
    """The same as an ELF program at the flat binary's address, for QEMU's command line."""
    code = struct.pack(f"<{len(words)}I", *words)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x40080000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, 0x40080000, 0x40080000, len(code), len(code), 0x1000)
    f = tempfile.NamedTemporaryFile(prefix="pipit-guest-", suffix=".elf")
    f.write((head + segment).ljust(0x1000, b"\0") + code)
    f.flush()
    return f


def run_command(kernel, *options):
    return [PIPIT, "run", "--kernel", kernel, "--kernel-format", "flat", "--net", "none", "--memory", "64M",
            "--accel", "jit", *options]


def run(command):
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as e:
        return None, e.stdout or b"", e.stderr or b""
    return p.returncode, p.stdout, p.stderr


def ends(name, words, status, output, *options):
    with kernel(words) as g:
        got, out, err = run(run_command(g.name, *options))
    item(name, got == status and out == output.encode(), f"status {got}, {out!r}, {err!r}")


def check_ends():
    ends("poweroff", call(SYSTEM_OFF), 0, "")
    ends("output", put("hello\n") + call(SYSTEM_OFF), 0, "hello\n")
    ends("device-tree-in-x0", CHECK_DTB, 0, "", "--no-reboot")
    ends("reset-no-reboot", call(SYSTEM_RESET), 3, "", "--no-reboot")
    ends("reset-in-place", THREE_BOOTS, 0, "boot;boot;boot;")
    ends("reset-in-place-8-cpus", THREE_BOOTS, 0, "boot;boot;boot;", "--cpus", "8")
    ends("reset-in-place-interp", THREE_BOOTS, 0, "boot;boot;boot;", "--jit", "interp")
    for gic in "2", "3":
        ends(f"cpu-on-off-gic{gic}", two_cpus(), 0, "on;on;on;", "--cpus", "2", "--gic", gic, "--no-reboot")
    ends("sandbox-off", put("x") + call(SYSTEM_OFF), 0, "x", "--sandbox", "off")
    with elf(call(SYSTEM_RESET)) as g:
        status, _, err = run([PIPIT, "qemu", "-M", "virt", "-m", "64", "-nodefaults", "-kernel", g.name, "-no-reboot"])
        item("qemu-reset-no-reboot", status == 0 and not err, f"status {status}, {err!r}")
    with elf(put("elf") + call(SYSTEM_OFF)) as g, tempfile.TemporaryDirectory() as d:
        line = [PIPIT, "qemu", "-M", "virt", "-m", "64", "-nodefaults", "-kernel", g.name, "-serial", f"file:{d}/out"]
        status, _, err = run(line)
        with open(f"{d}/out", "rb") as f:
            wrote = f.read()
        item("qemu-serial-file", status == 0 and wrote == b"elf", f"status {status}, {err!r}, file {wrote!r}")


def start_until_output(command):
    """Starts a guest that prints one dot when it runs."""
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    timer = threading.Timer(LIMIT, p.kill)
    timer.start()
    ready = p.stdout.read(1) == b"."
    return p, timer, ready


def check_images():
    """What a reset starts from: the kernel's file, which must be what it was, or a copy of what came through a FIFO."""
    with tempfile.TemporaryDirectory() as d, kernel(THREE_BOOTS) as g:
        os.mkfifo(f"{d}/fifo")
        p = subprocess.Popen(run_command(f"{d}/fifo"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with open(g.name, "rb") as f, open(f"{d}/fifo", "wb") as fifo:
            fifo.write(f.read())
        out, err = p.communicate(timeout=LIMIT)
        item("reset-fifo", p.returncode == 0 and out == b"boot;boot;boot;", f"status {p.returncode}, {out!r}, {err!r}")
    # Waits for a byte from its serial line (PL011, UARTFR.RXFE), and resets.
    waits = put(".") + li(5, UART) + ldr(1, 5, 0x18) + [0x37200000 | 0x3FFF << 5 | 1] + call(SYSTEM_RESET)
    for name, change in (("changed", b"\0\0\0\0"), ("cut", None)):
        with kernel(waits) as g:
            p = subprocess.Popen(run_command(g.name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            ready = p.stdout.read(1) == b"."
            with open(g.name, "rb+") as f:
                if change:
                    f.write(change)
                else:
                    f.truncate(8)
            out, err = p.communicate(b"x", timeout=LIMIT)
            want = f"{g.name} has changed since the machine was started; it cannot start again with it\n"
            good = ready and p.returncode == 1 and out == b"" and err.decode().endswith(want)
            item(f"reset-{name}", good, f"status {p.returncode}, {out!r}, {err!r}")


def check_debug_device():
    """Marks and exit statuses, from either of two vCPUs; without the option there is nothing at the address."""
    for status in 0, 1, 42, 255:
        ends(f"guest-status-{status}", li(5, DEBUG + 4) + li(4, status) + store(4, 5) + SPIN, status, "", "--debug-device")
    with kernel(li(5, DEBUG) + li(4, 0x2A) + store(4, 5) + call(SYSTEM_OFF)) as g:
        status, _, err = run(run_command(g.name, "--debug-device"))
        mark = rb"^pipit: debug 0x2a: [0-9.]+ ms since exec, [0-9.]+ ms since the first vCPU started, [0-9.]+ ms of our CPU time\n$"
        item("debug-mark", status == 0 and re.match(mark, err), f"status {status}, {err!r}")
    # An access to nothing is an external abort, whose vector at 0x200 is in the flash that is not there: it aborts again
    # and again, and the write after it is never made.
    with kernel(put(".") + li(5, DEBUG + 4) + li(4, 42) + store(4, 5) + call(SYSTEM_OFF)) as g:
        p, timer, ready = start_until_output(run_command(g.name))
        time.sleep(0.5)
        alive = p.poll() is None
        p.terminate()
        p.wait()
        timer.cancel()
        item("no-debug-device", ready and alive and p.returncode == 143, f"status {p.returncode}, alive {alive}")


def check_messages():
    """Which accelerator runs is said once, where it is not the one that was to."""
    if os.uname().machine != "x86_64":
        print("skip accel-note: KVM runs arm64 guests on this host")
        return
    note = b"pipit: KVM cannot run this guest: it is for arm64, and this host is x86-64; the JIT does\n"
    for name, options, want in (("auto", ("--accel", "auto"), note), ("order", ("--accel", "kvm:jit"), note), ("jit", (), b""),
                                ("quiet", ("--accel", "auto", "-q"), b""), ("tier", ("--accel", "auto", "--jit", "tier1"), b"")):
        with kernel(call(SYSTEM_OFF)) as g:
            status, _, err = run(run_command(g.name, *options))
        item(f"accel-note-{name}", status == 0 and err == want, f"status {status}, {err!r}")


def check_stats():
    with kernel(put("x") + call(SYSTEM_OFF)) as g:
        status, _, err = run(run_command(g.name, "--stats"))
        want = (rb"^pipit: stats: [0-9.]+ ms from exec to the first vCPU's start, [0-9.]+ s from there to the end\n"
                rb"pipit: stats: [0-9.]+ s of CPU time, the guest's included\n"
                rb"pipit: jit: device reads 0, device writes 1, calls 1, waits 0, interrupts 0, kicks 0, stops of all vCPUs 0\n"
                rb"pipit: jit: [1-9][0-9]* blocks translated, of [1-9][0-9]* instructions, into [0-9]+ KiB of code, which was full 0 times; "
                rb"0 saved ones used\n$")
        item("stats", status == 0 and re.match(want, err), f"status {status}, {err!r}")


def check_jit_stats():
    """Times that add up, and counts of what these guests do."""
    for tier in "tier1", "interp":
        with kernel(THREE_BOOTS) as g:
            status, _, err = run(run_command(g.name, "--jit-stats", "--jit", tier))
        text = err.decode()
        part = re.search(r"vCPU 0: ([0-9.]+) s: ([0-9.]+)% in generated code, ([0-9.]+)% in helpers and the interpreter, "
                         r"([0-9.]+)% translating, ([0-9.]+)% waiting, ([0-9.]+)% in the rest of the runtime\n", text)
        exits = re.search(r"exits of generated code: (\d+) look-ups, (\d+) links, \d+ polls, (\d+) traps, 0 faults\n", text)
        calls = re.search(r"calls of generated code: (\d+) slow accesses to memory, (\d+) interpreted instructions\n", text)
        blocks = re.search(r"blocks looked up: (\d+) found, (\d+) translated, ", text)
        sizes = re.search(r"their instructions: 1: (\d+), 2-3: (\d+), 4-7: (\d+), 8-15: (\d+), 16-31: (\d+), 32-63: (\d+), 64: (\d+)\n", text)
        good = status == 0 and all((part, exits, calls, blocks, sizes))
        good = good and abs(sum(map(float, part.groups()[1:])) - 100) < 1 and sum(map(int, sizes.groups())) == int(blocks[2])
        made = re.search(r"(\d+) blocks translated", text)
        good = good and made and made[1] == blocks[2]
        if good and tier == "tier1":
            # 15 bytes to the serial line and as many writes to RAM, three calls; the first write to a page is slow.
            good = int(calls[1]) >= 15 and int(calls[2]) == 3 and int(blocks[2]) > 0 and "interpreted most: hvc 3\n" in text
        elif good:
            good = exits.groups() == ("0", "0", "0") and blocks.groups()[:2] == ("0", "0") and float(part[3]) > 0
        item(f"jit-stats-{tier}", good, f"status {status}, {text!r}")


def check_jit_log():
    """The translator's blocks are on the interpreter's path; registers; QEMU's option; what is refused."""
    path = {}
    for tier, words in ("tier1", "exec,nochain"), ("interp", "exec"):
        with kernel(THREE_BOOTS) as g:
            status, out, err = run(run_command(g.name, "--jit", tier, "--jit-log", words))
        path[tier] = re.findall(r"^pipit: jit: Trace 0: ([0-9a-f]{16})$", err.decode(), re.M) if status == 0 else []
        item(f"jit-log-{tier}", status == 0 and out == b"boot;boot;boot;" and len(path[tier]) == err.count(b"\n"), f"{err!r}")
    rest = iter(path["interp"])
    along = all(pc in rest for pc in path["tier1"])  # each behind the one before
    good = along and path["tier1"].count("0000000040080000") == 3 and 0 < len(path["tier1"]) < len(path["interp"])
    item("jit-log-path", good, f"{path}")
    with elf(li(3, 0x1234) + call(SYSTEM_OFF)) as g:
        qemu = [PIPIT, "qemu", "-M", "virt", "-m", "64", "-nodefaults", "-kernel", g.name, "-d", "cpu,nochain"]
        status, _, err = run(qemu)
        item("qemu-d", status == 0 and b"jit: PC =0000000040080000 X00=" in err and re.search(rb"\npipit: jit: SP =[0-9a-f]{16} PSTATE=[0-9a-f]{8} ---- EL1h\n", err),
             f"status {status}, {err!r}")
        status, _, err = run([*qemu[:-1], "exec,unimp"])
    item("qemu-d-unknown", status == 1 and b'-d exec,unimp: there is no "unimp"; there are exec, cpu and nochain' in err, f"{status} {err!r}")


def check_jitdump():
    """A record for each block that --stats counts, with code of the size that it names, in the current folder."""
    with kernel(put("x") + call(SYSTEM_OFF)) as g, tempfile.TemporaryDirectory() as d:
        command = [os.path.abspath(PIPIT), *run_command(g.name, "--stats", "--jitdump")[1:]]
        p = subprocess.Popen(command, cwd=d, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        err = p.communicate(timeout=LIMIT)[1]
        with open(f"{d}/jit-{p.pid}.dump", "rb") as f:
            data = f.read()
        head = struct.unpack_from("<IIIIIIQQ", data)
        at, names, whole = head[2], [], head[:4] == (0x4A695444, 1, 40, 62) and head[5] == p.pid
        while whole and at < len(data):
            kind, size, _, pid, _, _, _, code, index = struct.unpack_from("<IIQIIQQQQ", data, at)
            name = data[at + 56:].split(b"\0")[0]
            whole = kind == 0 and pid == p.pid and index == len(names) and size == 56 + len(name) + 1 + code
            names.append(name.decode())
            at += size
        blocks = re.search(rb"jit: ([0-9]+) blocks translated", err)
        good = whole and at == len(data) and blocks and int(blocks[1]) == len(names) and names[0] == "arm64:40080000"
        item("jitdump", p.returncode == 0 and good, f"status {p.returncode}, {err!r}, {head}, {names}")
        command[-1:] = ["--perfmap", "--jitdump"]
        p = subprocess.run(command, cwd="/proc", stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False)
        item("jitdump-nowhere", p.returncode == 1 and re.match(rb"pipit: error: jit-\d+.dump cannot be written: ", p.stderr), f"{p.stderr!r}")


def check_perf_map():
    """A line for each block that --stats counts, none on another's bytes."""
    with kernel(put("x") + call(SYSTEM_OFF)) as g:
        command = run_command(g.name, "--stats", "--perfmap")
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        err = p.communicate(timeout=LIMIT)[1]
        path = f"/tmp/perf-{p.pid}.map"
        with open(path, encoding="ascii") as f:
            lines = [line.split() for line in f]
        os.unlink(path)
        blocks = re.search(rb"jit: ([0-9]+) blocks translated", err)
        spans = sorted((int(at, 16), int(size, 16)) for at, size, _ in lines)
        apart = all(a + n <= b for (a, n), (b, _) in zip(spans, spans[1:]))
        names = all(re.match("arm64:[0-9a-f]+$", name) for _, _, name in lines)
        item("perf-map", p.returncode == 0 and blocks and int(blocks[1]) == len(lines) and apart and names, f"{err!r} {lines}")
    with elf(call(SYSTEM_OFF)) as g:
        qemu = [PIPIT, "qemu", "-M", "virt", "-m", "64", "-nodefaults", "-kernel", g.name, "-perfmap"]
        q = subprocess.Popen(qemu, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        status = q.wait(timeout=LIMIT)
        size = os.path.getsize(f"/tmp/perf-{q.pid}.map")
        os.unlink(f"/tmp/perf-{q.pid}.map")
        item("qemu-perf-map", status == 0 and size > 0, f"status {status}, {size} bytes")


def allowed_cpus(pid):
    """By thread name, what /proc says."""
    cpus = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            fields = dict(line.split(":\t", 1) for line in f if ":\t" in line)
        cpus[fields["Name"].strip()] = fields["Cpus_allowed_list"].strip()
    return cpus


def check_pinning():
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        print("skip pinning: this host has one CPU for us")
        return
    first, last = mine[0], mine[-1]
    with kernel(put(".") + SLEEP) as g:
        command = run_command(g.name, "--cpus", "2", "--pin", f"{last},{first}", "--pin-loop", str(last))
        p, timer, ready = start_until_output(command)
        want = {"vcpu0": str(last), "vcpu1": str(first), "loop": str(last)}
        # The guest may print before vCPU 1's thread is there.
        deadline = time.monotonic() + LIMIT / 2
        while not want.items() <= (got := allowed_cpus(p.pid)).items() and time.monotonic() < deadline:
            time.sleep(0.02)
        p.terminate()
        p.wait()
        timer.cancel()
    item("pinning", ready and want.items() <= got.items(), f"{got}")


def check_idle():
    """A guest that does nothing but wait, in WFI or in a loop of WFE, costs the host little."""
    for name, wait in ("wfi", SLEEP), ("wfe", [0xD503205F, 0x17FFFFFF]):
        with kernel(put(".") + wait) as g:
            p, timer, ready = start_until_output(run_command(g.name))
            before, start = cpu_seconds(p.pid), time.monotonic()
            time.sleep(1.5)
            share = (cpu_seconds(p.pid) - before) / (time.monotonic() - start)
            p.terminate()
            p.wait()
            timer.cancel()
        item(f"idle-{name}", ready and share < 0.5, f"{share:.2f} of a CPU")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_huge_pages():
    """With pages set aside for the time of the test."""
    knob = "/proc/sys/vm/nr_hugepages"
    with open(knob, encoding="ascii") as f:
        before = int(f.read())
    try:
        with open(knob, "w", encoding="ascii") as f:
            f.write(str(before + 32))
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as f:
            free = int(f.read())
    except OSError as e:
        print(f"skip huge-pages: none can be set aside: {e.strerror}")
        return
    try:
        if free < 32:
            print(f"skip huge-pages: {free} could be set aside, 32 are needed")
            return
        with kernel(put(".") + SLEEP) as g:
            p, timer, ready = start_until_output(run_command(g.name, "--huge-pages", "hugetlb"))
            with open(f"/proc/{p.pid}/smaps", encoding="ascii") as f:
                used = sum(int(line.split()[1]) for line in f if line.startswith("Private_Hugetlb:"))
            p.terminate()
            p.wait()
            timer.cancel()
        item("huge-pages", ready and p.returncode == 143 and used >= 2048, f"status {p.returncode}, {used} KiB of them in use")
    finally:
        with open(knob, "w", encoding="ascii") as f:
            f.write(str(before))


def check_signals():
    for name, code in ("spin", SPIN), ("sleep", SLEEP):
        for sig in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
            with kernel(put(".") + code) as g, tempfile.TemporaryDirectory() as d:
                pidfile = d + "/pid"
                p, timer, ready = start_until_output(run_command(g.name, "--cpus", "2", "--pidfile", pidfile))
                with open(pidfile, encoding="ascii") as f:
                    named = int(f.read()) == p.pid
                start = time.monotonic()
                p.send_signal(sig)
                p.wait()
                took = time.monotonic() - start
                timer.cancel()
                err = p.stderr.read()
                good = ready and named and p.returncode == 128 + sig and took < 5 and not os.listdir(d) and not err
                item(f"{name}-{sig.name}", good, f"status {p.returncode} after {took:.1f} s, {err!r}")
    with elf(put(".") + SPIN) as g:
        line = [PIPIT, "qemu", "-M", "virt", "-m", "64", "-nodefaults", "-serial", "stdio", "-kernel", g.name]
        p, timer, ready = start_until_output(line)
        p.terminate()
        p.wait()
        timer.cancel()
        item("qemu-SIGTERM", ready and p.returncode == 0, f"status {p.returncode}")


def check_stalled_output():
    """A guest that floods a pipe which nobody reads is still ended by a signal."""
    flood = li(5, UART) + li(4, 0x41) + store_byte(4, 5) + [0x17FFFFFF]
    with kernel(put(".") + flood) as g:
        p, timer, ready = start_until_output(run_command(g.name))
        time.sleep(1)
        start = time.monotonic()
        p.terminate()
        p.wait()
        took = time.monotonic() - start
        timer.cancel()
        item("stalled-output", ready and p.returncode == 143 and took < 10, f"status {p.returncode} after {took:.1f} s")


def check_dtb():
    with tempfile.TemporaryDirectory() as d:
        status, _, err = run([PIPIT, "run", "--dump-dtb", d + "/x.dtb", "--cpus", "3", "--disk", d + "/none.img"])
        blob = b""
        if status == 0:
            with open(d + "/x.dtb", "rb") as f:
                blob = f.read()
        size = struct.unpack(">I", blob[4:8])[0] if len(blob) >= 8 else 0
        good = blob[:4] == b"\xd0\x0d\xfe\xed" and size == len(blob)
        good = good and all(w in blob for w in (b"pl011@9000000", b"cpu@2", b"virtio_mmio@a000000", b"console=ttyAMA0"))
        item("dump-dtb", status == 0 and good and os.listdir(d) == ["x.dtb"], f"status {status}, {len(blob)} bytes, {err!r}")


def main():
    check_ends()
    check_images()
    check_debug_device()
    check_messages()
    check_stats()
    check_perf_map()
    check_jit_stats()
    check_jit_log()
    check_jitdump()
    check_pinning()
    check_idle()
    check_huge_pages()
    check_signals()
    check_stalled_output()
    check_dtb()
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
