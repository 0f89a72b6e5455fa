#!/usr/bin/env python3
"""qcow2 beside QEMU's qemu-img: random sequences of writes, snapshots, resizes, backing files and conversions.

After each step both programs must find the image sound and read the same from it as from a raw file that went through
the same. `interop.py [SEED...]`.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

ROOT = os.environ.get("PIPIT_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODE = os.environ.get("PIPIT_IMG_MODE", "release")
IMG = f"{ROOT}/build/{MODE}/pipit-img"
LOAD = f"{ROOT}/build/{MODE}/tests/img/qcow2_test"
SHAPES = [
    "", "cluster_size=512", "cluster_size=4k", "cluster_size=2M", "compat=0.10", "extended_l2=on",
    "extended_l2=on,cluster_size=16k", "refcount_bits=1", "refcount_bits=2,cluster_size=1k", "refcount_bits=64",
    "refcount_bits=8,cluster_size=8k", "lazy_refcounts=on", "compression_type=zstd",
    "compression_type=zstd,cluster_size=32k,extended_l2=on",
]


class Failed(Exception):
    pass


def run(*args, ok=(0,), **kw):
    r = subprocess.run(args, capture_output=True, text=True, timeout=120, **kw)
    if r.returncode not in ok:
        raise Failed(f"{' '.join(args)}: status {r.returncode}: {(r.stderr or r.stdout).strip()[-300:]}")
    return r


def same(image, model):
    run("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", image, model)
    run(IMG, "compare", "--backing=on", "-q", "-f", "qcow2", "-F", "raw", image, model)


def sound(image):
    for tool in ("qemu-img", IMG):
        run(tool, "check", "-q", "-f", "qcow2", image)


def qemu_io(image, rng, size):
    """A few requests by QEMU, and the same on the model."""
    args, changes = [], []
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(0, size // 4096) * 4096
        n = min(rng.choice((512, 4096, 5120, 70000 // 512 * 512, 300 * 1024)), size - at)
        kind, value = rng.choice(("write", "write", "zero", "unmap")), rng.randrange(1, 256)
        if kind == "write":
            args += ["-c", f"write -q -P {value} {at} {n}"]
            changes.append((at, bytes([value]) * n))
        else:
            args += ["-c", f"write -q -z {'-u ' if kind == 'unmap' else ''}{at} {n}"]
            changes.append((at, bytes(n)))
    if args:
        run("qemu-io", "-f", "qcow2", *args, image)
        with open(image + ".model", "r+b") as f:
            for at, data in changes:
                f.seek(at)
                f.write(data)


def sequence(folder, seed):
    rng = random.Random(seed)
    image, model = f"{folder}/image", f"{folder}/image.model"
    shape = SHAPES[seed % len(SHAPES)]
    size = rng.randrange(1, 12) * (1 << 20) + rng.randrange(0, 8) * 4096
    backing = rng.random() < 0.4
    options = ["-o", shape] if shape else []
    if backing:
        length = max(size + rng.choice((0, 0, -65536 * 4, 65536 * 4)), 65536)
        with open(f"{folder}/base", "wb") as f:
            f.write(rng.randbytes(length // 2).ljust(length, b"\0"))
        options += ["-b", f"{folder}/base", "-F", "raw"]
    run(rng.choice(("qemu-img", IMG)), "create", "-q", "-f", "qcow2", *options, image, str(size))
    if backing:
        shutil.copyfile(f"{folder}/base", model)
        os.truncate(model, size)
    else:
        with open(model, "wb") as f:
            f.truncate(size)
    snapshots, log = {}, [f"create {shape} {size} backing={backing}"]
    for step in range(10):
        what = rng.choice(("load", "load", "load", "qemu", "snapshot", "apply", "delete", "grow", "shrink", "convert"))
        tool = rng.choice(("qemu-img", IMG))
        log.append(what)
        try:
            if what == "load":
                run(LOAD, "load", image, str(seed * 100 + step), str(rng.randrange(20, 300)))
            elif what == "qemu":
                qemu_io(image, rng, size)
            elif what == "snapshot" and not shape.startswith(("refcount_bits=1", "refcount_bits=2")) and len(snapshots) < 2:
                name = f"s{step}"
                run(tool, "snapshot", "-c", name, image)
                shutil.copyfile(model, f"{folder}/{name}")
                snapshots[name] = size
            elif what == "apply" and snapshots:
                name = rng.choice(list(snapshots))
                if snapshots[name] == size:
                    run(tool, "snapshot", "-a", name, image)
                    shutil.copyfile(f"{folder}/{name}", model)
            elif what == "delete" and snapshots:
                name = rng.choice(list(snapshots))
                run(tool, "snapshot", "-d", name, image)
                del snapshots[name]
            elif what == "grow" and not (snapshots and "0.10" in shape):
                size += rng.randrange(1, 300) * 4096
                run(tool, "resize", "-q", "-f", "qcow2", *(["--backing=on"] if tool == IMG else []), image, str(size))
                os.truncate(model, size)
            elif what == "shrink" and not snapshots and size > 1 << 20:
                size -= rng.randrange(1, 100) * 4096
                run(tool, "resize", "-q", "--shrink", "-f", "qcow2", *(["--backing=on"] if tool == IMG else []), image,
                    str(size))
                os.truncate(model, size)
            elif what == "convert":
                compressed = ["-c"] if rng.random() < 0.5 else []
                common = ["convert", *compressed, "-f", "qcow2", "-O", "qcow2", *(["-o", shape] if shape else [])]
                out = f"{folder}/converted"
                run(tool, *common, *(["--backing=on"] if tool == IMG else []), image, out)
                sound(out)
                same(out, model)
                if not snapshots:
                    os.replace(out, image)
            sound(image)
            same(image, model)
            for name in snapshots:
                for t in ("qemu-img", IMG):
                    run(t, "convert", "-f", "qcow2", *(["--backing=on"] if t == IMG else []), "-l", name, "-O", "raw", image,
                        f"{folder}/out")
                    # QEMU gives the snapshot the size that the disk has now.
                    os.truncate(f"{folder}/out", os.path.getsize(f"{folder}/{name}"))
                    if subprocess.run(["cmp", "-s", f"{folder}/out", f"{folder}/{name}"], check=False).returncode:
                        raise Failed(f"snapshot {name} reads otherwise by {t}")
        except Failed as e:
            keep = f"/tmp/qcow2-interop-{seed}"
            shutil.copyfile(image, keep)
            raise Failed(f"seed {seed}, step {step} ({'; '.join(log)}; tool {tool}): {e} (image kept as {keep})") from e


def keys(folder):
    """JSON of info, check and map: the same keys and, where they do not depend on placement, values."""
    image = f"{folder}/k"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "8M")
    run("qemu-io", "-f", "qcow2", "-c", "write -q 1M 200k", image)
    run("qemu-img", "snapshot", "-c", "one", image)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", image + "2")
    for args in (["info", image], ["info", "--backing-chain", image + "2"], ["check", image], ["map", image + "2"],
                 ["measure", "-O", "qcow2", image], ["measure", "-O", "raw", image]):
        a, b = (json.loads(run(t, args[0], "--output=json", *args[1:]).stdout) for t in ("qemu-img", IMG))
        if args[0] == "map":
            # Bytes behind the data in its last cluster may be called zeroes by the file system.
            a, b = ([{k: r[k] for k in ("depth", "present")} for r in x] for x in (a, b))
            a = [r for i, r in enumerate(a) if i == 0 or a[i - 1] != r]
            b = [r for i, r in enumerate(b) if i == 0 or b[i - 1] != r]
        for x in (a, b):
            for image_info in x if isinstance(x, list) else [x]:
                image_info.pop("children", None)  # newer versions
        if a != b:
            raise Failed(f"{args}: {b} is not {a}")


def rebase_and_commit(folder):
    rng = random.Random(5)
    for name in ("a", "b"):
        with open(f"{folder}/{name}.raw", "wb") as f:
            f.write(rng.randbytes(1 << 20) + bytes(1 << 20) + rng.randbytes(1 << 20))
    image = f"{folder}/over"
    run(IMG, "create", "-q", "-f", "qcow2", "-b", "a.raw", "-F", "raw", image)
    shutil.copyfile(f"{folder}/a.raw", image + ".model")
    run(LOAD, "load", image, "7", "60")
    same(image, image + ".model")
    run(IMG, "rebase", "-b", "b.raw", "-F", "raw", image)
    sound(image)
    same(image, image + ".model")
    run(IMG, "commit", "-q", image)
    sound(image)
    same(image, image + ".model")
    if subprocess.run(["cmp", "-s", f"{folder}/b.raw", image + ".model"], check=False).returncode:
        raise Failed("commit left the backing file otherwise")
    run(IMG, "rebase", "-b", "", image)
    os.unlink(f"{folder}/b.raw")
    same(image, image + ".model")


def cmp(a, b, why):
    if subprocess.run(["cmp", "-s", a, b], check=False).returncode:
        raise Failed(why)


def sample(path):
    """Data, a hole, a little data, an odd end: 6 MiB and a sector."""
    rng = random.Random(11)
    with open(path, "wb") as f:
        f.write(rng.randbytes(2 << 20))
        f.seek(4 << 20)
        f.write(rng.randbytes(5000))
        f.truncate((6 << 20) + 512)


def convert_options(_):
    """Cache modes (on a disk: tmpfs may know no direct I/O), -m, -W, -S, -n --target-is-zero, -B."""
    with tempfile.TemporaryDirectory(dir=f"{ROOT}/build") as folder:
        raw, image, back = (f"{folder}/{n}" for n in ("raw", "image", "back"))
        sample(raw)
        for mode in ("none", "writeback", "writethrough", "directsync", "unsafe"):
            cache = ["-t", mode, "-T", mode]
            for shape in ("cluster_size=512", "cluster_size=64k", "extended_l2=on"):
                for more in (["-m", "3", "-W"], ["-S", "64k"], ["-c"]):
                    run(IMG, "convert", *cache, *more, "-O", "qcow2", "-o", shape, raw, image)
                    sound(image)
                    same(image, raw)
                run(IMG, "convert", *cache, image, back)
                cmp(raw, back, f"convert {mode} {shape}: the raw copy differs")
        run(IMG, "convert", "-S", "0", image, back)
        cmp(raw, back, "-S 0: the copy differs")
        if os.stat(back).st_blocks * 512 < os.path.getsize(raw):
            raise Failed("-S 0: the copy has holes")
        with open(back, "wb") as f:
            f.truncate(os.path.getsize(raw))
        run(IMG, "convert", "-n", "--target-is-zero", image, back)
        cmp(raw, back, "-n --target-is-zero: the copy differs")
        if os.stat(back).st_blocks * 512 > 3 << 20:
            raise Failed("-n --target-is-zero: zeroes were written")
        run(IMG, "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", image)
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 1M 100k", "-c", "write -q -z 300k 64k", image)
        run(IMG, "convert", "--backing=on", "-O", "qcow2", "-B", raw, "-F", "raw", image, back)
        sound(back)
        run("qemu-img", "compare", "-q", image, back)
        if os.path.getsize(back) > 1 << 20:
            raise Failed("-B: what the backing file has was copied")


def preallocation(folder):
    """Images that have their room from the start: sound, all zeroes, mapped and as large as they should be."""
    image, raw = f"{folder}/image", f"{folder}/raw"
    size = (5 << 20) + 512
    for shape in ("cluster_size=512", "cluster_size=64k", "extended_l2=on", "refcount_bits=1,cluster_size=4k", "compat=0.10"):
        for how in ("metadata", "falloc", "full"):
            run(IMG, "create", "-q", "-f", "qcow2", "-o", f"{shape},preallocation={how}", image, str(size))
            with open(raw, "wb") as f:
                f.truncate(size)
            sound(image)
            same(image, raw)
            for tool in ("qemu-img", IMG):
                rows = json.loads(run(tool, "map", "--output=json", image).stdout)
                if any("offset" not in r for r in rows):
                    raise Failed(f"{shape} {how}: {tool} finds clusters that are not mapped: {rows}")
            room = os.stat(image).st_blocks * 512
            if (room >= size) != (how != "metadata"):
                raise Failed(f"{shape} {how}: the file takes {room} bytes")
            run(LOAD, "load", image, "3", "100")
            run(IMG, "resize", "-q", f"--preallocation={how}", image, "+3M")
            with open(image + ".model", "ab") as f:
                f.truncate(size + (3 << 20))
            sound(image)
            same(image, image + ".model")
            os.unlink(image + ".model")
    for how in ("falloc", "full"):
        run(IMG, "create", "-q", "-o", f"preallocation={how}", raw, str(size))
        run(IMG, "resize", "-q", "-f", "raw", f"--preallocation={how}", raw, "+1M")
        if os.stat(raw).st_blocks * 512 < size + (1 << 20) or os.path.getsize(raw) != size + (1 << 20):
            raise Failed(f"raw {how}: {os.stat(raw)}")
    run(IMG, "create", "-q", "-o", "preallocation=metadata", raw, "1M", ok=(1,))
    run(IMG, "create", "-q", "-o", "preallocation=some", raw, "1M", ok=(1,))
    run(IMG, "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", "-o", "preallocation=full", raw, ok=(1,))


def dd(folder):
    """As dd of coreutils, rounded up to sectors."""
    raw, image, ours, theirs = (f"{folder}/{n}" for n in ("raw", "image", "ours", "theirs"))
    sample(raw)
    run(IMG, "convert", "-O", "qcow2", raw, image)
    for words in (["bs=1M", "count=2", "skip=1"], ["bs=700", "count=3", "skip=2"], ["skip=12000"], ["bs=3M"], ["count=0"],
                  ["bs=4M", "skip=1", "count=9"]):
        run("dd", *words, f"if={raw}", f"of={theirs}", "status=none")
        os.truncate(theirs, (os.path.getsize(theirs) + 511) // 512 * 512)
        for source in (raw, image):
            run(IMG, "dd", *words, f"if={source}", f"of={ours}")
            cmp(ours, theirs, f"dd {words} differs")
    run(IMG, "dd", "-O", "qcow2", "bs=1M", f"if={raw}", f"of={ours}")
    same(ours, raw)
    for words in (["bs=0"], ["bs=x"], ["skip=-1"], ["seek=1"], ["nothing"]):
        run(IMG, "dd", *words, f"if={raw}", f"of={ours}", ok=(1,))
    run(IMG, "dd", f"of={ours}", ok=(1,))


def bench(folder):
    """What bench writes is where it says, and it ends."""
    raw, image = f"{folder}/raw", f"{folder}/image"
    run(IMG, "create", "-q", "-f", "qcow2", image, "4M")
    with open(raw, "wb") as f:
        f.write(bytes(65536) + bytes([77]) * (1 << 20))
        f.truncate(4 << 20)
    engines = ["threads"]
    if subprocess.run([IMG, "bench", "-q", "-i", "io_uring", "-c", "1", image], capture_output=True, check=False).returncode:
        print("  skip bench with io_uring: this host gives none", flush=True)
    else:
        engines.append("io_uring")
    for engine in engines:
        for more in ([], ["--flush-interval=40"], ["--flush-interval=40", "--no-drain"]):
            run(IMG, "bench", "-i", engine, "-w", "--pattern=77", "-c", "256", "-d", "32", "-o", "64k", *more, image)
            sound(image)
            same(image, raw)
        said = run(IMG, "bench", "-i", engine, "--random", "-c", "5000", image).stdout
        if "Run completed in " not in said or "at random" not in said:
            raise Failed(f"bench said {said!r}")
    for words in (["-c", "0"], ["-d", "x"], ["-s", "100"], ["-o", "4M"], ["-t", "some"], ["-i", "native"], ["--random", "-S", "4k"],
                  ["--flush-interval=1"]):
        run(IMG, "bench", *words, image, ok=(1,))


def main():
    failed = 0
    tests = [("keys", keys), ("rebase-commit", rebase_and_commit), ("convert-options", convert_options), ("preallocation", preallocation),
             ("dd", dd), ("bench", bench)]
    for seed in [int(a) for a in sys.argv[1:]] or range(2 * len(SHAPES)):
        tests.append((f"sequence-{seed}", lambda folder, s=seed: sequence(folder, s)))
    for name, fn in tests:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
            try:
                fn(folder)
                print(f"ok {name}", flush=True)
            except (Failed, subprocess.TimeoutExpired) as e:
                print(f"FAIL {name}: {e}", flush=True)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
