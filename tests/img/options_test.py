#!/usr/bin/env python3
"""pipit-img as qemu-img beside QEMU's, option by option: the same command lines on the same files must end with the
same status and leave and say the same: wrong options and odd files as well as right ones."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.environ.get("PIPIT_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMG = f"{ROOT}/build/{os.environ.get('PIPIT_IMG_MODE', 'release')}/pipit-img"

# What each command line finds in its folder.
FILES = """
truncate -s 1000000 odd.raw; printf hello | dd of=odd.raw conv=notrunc status=none
head -c 1000003 /dev/urandom >tail.raw; : >empty; head -c 6M /dev/zero >base.raw
printf data | dd of=base.raw conv=notrunc seek=1 bs=1M status=none
qemu-img create -q -f qcow2 a.qcow2 10M; qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -P 2 5M 64k' a.qcow2
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 ov.qcow2
qemu-io -c 'write -q -P 3 2M 64k' -c 'write -q -z 0 64k' ov.qcow2
qemu-img create -q -f qcow2 -b ov.qcow2 -F qcow2 ov2.qcow2 12M; qemu-io -c 'write -q -P 4 3M 64k' ov2.qcow2
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 short.qcow2 4M
qemu-img create -q -f qcow2 -b short.qcow2 -F qcow2 long.qcow2 12M; qemu-io -c 'write -q -P 9 1M 64k' long.qcow2
cp a.qcow2 s.qcow2; qemu-img snapshot -c one s.qcow2; qemu-io -c 'write -q -P 5 0 64k' s.qcow2
qemu-img snapshot -c two s.qcow2; qemu-io -c 'write -q -P 6 0 64k' s.qcow2
qemu-img convert -c -O qcow2 base.raw c.qcow2; qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 10M
"""

# Both end with the same status and print the same. `same A B`: the images show the same.
SAME = """
qemu-img compare -s a.qcow2 a.qcow2
qemu-img compare -s ov.qcow2 ov2.qcow2
qemu-img compare -s a.qcow2 s.qcow2
qemu-img compare -s base.raw c.qcow2
qemu-img compare ov.qcow2 ov2.qcow2
qemu-img compare -T none a.qcow2 a.qcow2
qemu-img compare -q a.qcow2 ov.qcow2
qemu-img compare a.qcow2 missing
qemu-img compare --image-opts driver=qcow2,file.filename=a.qcow2 driver=qcow2,file.filename=s.qcow2
qemu-img map a.qcow2
qemu-img map ov2.qcow2
qemu-img map -s 1M -l 5M ov2.qcow2
qemu-img map --start-offset=64k --max-length=64k a.qcow2
qemu-img map -s 50M a.qcow2
qemu-img map c.qcow2 >out
qemu-img measure -O qcow2 -l one s.qcow2
qemu-img measure -O qcow2 -l snapshot.name=two s.qcow2
qemu-img measure -O qcow2 -l nosuch s.qcow2
qemu-img measure -O qcow2 -o preallocation=full --size 10M
qemu-img measure -O qcow2 --image-opts driver=qcow2,file.filename=a.qcow2
qemu-img measure -O qcow2 tail.raw
qemu-img create -f qcow2 -F qcow2 -b a.qcow2 a.qcow2; qemu-img compare a.qcow2 s.qcow2
qemu-img convert -O qcow2 -o backing_file=x,backing_fmt=qcow2 a.qcow2 x
qemu-img create -f qcow2 -o help x >out; ls x
qemu-img create -f qcow2 -o '?' x >out
qemu-img convert -O qcow2 -o help a.qcow2 x >out; ls x
qemu-img convert tail.raw x; stat -c %s x; cmp tail.raw x
qemu-img convert -O qcow2 tail.raw x; qemu-img convert x y; stat -c %s y; cmp tail.raw y; qemu-img compare x tail.raw
qemu-img convert -O qcow2 -c tail.raw x; same tail.raw x
qemu-img convert -T none tail.raw x; same tail.raw x
qemu-img dd if=tail.raw of=x bs=1000 skip=999; stat -c %s x
qemu-img create -q -f qcow2 -F raw -b tail.raw x; same tail.raw x; qemu-img commit -q x; same tail.raw x
qemu-img resize -q -f raw tail.raw +1M; stat -c %s tail.raw
qemu-img convert -O qcow2 empty x; qemu-img convert x y; stat -c %s y
qemu-img resize -q -f raw empty 1M; stat -c %s empty
qemu-img convert -l one s.qcow2 x; same x a.qcow2
qemu-img convert -l snapshot.id=2 s.qcow2 x; same x a.qcow2
qemu-img convert -l snapshot.id=2,snapshot.name=two s.qcow2 x; same x a.qcow2
qemu-img convert -l nosuch s.qcow2 x
qemu-img convert -r 100M -O qcow2 a.qcow2 x; same x a.qcow2
qemu-img convert -r fast -O qcow2 a.qcow2 x
qemu-img convert --image-opts driver=qcow2,file.driver=file,file.filename=a.qcow2 x; same x a.qcow2
qemu-img convert --image-opts driver=file,filename=a.qcow2 x; cmp x a.qcow2
qemu-img convert --image-opts file.filename=a.qcow2 x; same x a.qcow2
qemu-img convert --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2 x
qemu-img convert --image-opts driver=qcow2,file.filename=a.qcow2,nonsense=1 x
qemu-img resize -q --image-opts driver=qcow2,file.filename=a.qcow2 30M; same a.qcow2 s.qcow2
qemu-img check -q -T none a.qcow2
qemu-img check -q --image-opts driver=qcow2,file.filename=a.qcow2
qemu-img rebase -t none -T none -F qcow2 -b a.qcow2 ov2.qcow2; same ov2.qcow2 a.qcow2; qemu-img check -q ov2.qcow2
qemu-img commit -t none ov.qcow2; qemu-img map ov.qcow2 | cut -c 1-32
qemu-img commit -q -r 100M ov.qcow2; same a.qcow2 ov.qcow2
qemu-img commit -b a.qcow2 ov2.qcow2; qemu-img map ov.qcow2 | cut -c 1-32; qemu-img check -q ov.qcow2; same ov2.qcow2 a.qcow2
qemu-img commit -b ./a.qcow2 ov2.qcow2; same ov2.qcow2 a.qcow2
qemu-img commit -b ov.qcow2 ov2.qcow2; qemu-img map ov2.qcow2; same ov2.qcow2 ov.qcow2
qemu-img commit -b s.qcow2 ov2.qcow2; qemu-img check -q s.qcow2
qemu-img commit -b a.qcow2 long.qcow2; same a.qcow2 long.qcow2; qemu-img check -q a.qcow2
qemu-img commit a.qcow2
qemu-img snapshot -l base.raw
qemu-img snapshot -c x base.raw
qemu-img snapshot --image-opts -d one driver=qcow2,file.filename=s.qcow2; qemu-img check -q s.qcow2
qemu-img amend -o compat=1.1 old.qcow2; qemu-img info old.qcow2 | grep compat; qemu-img check -q old.qcow2
qemu-img amend -f qcow2 -o lazy_refcounts=on a.qcow2; qemu-img info a.qcow2 | grep lazy; same a.qcow2 s.qcow2
qemu-img amend -o size=20M a.qcow2; qemu-img info a.qcow2 | grep virtual
qemu-img amend -o cluster_size=4k a.qcow2
qemu-img amend -o backing_file=s.qcow2 a.qcow2
qemu-img amend -o nonsense=1 a.qcow2
qemu-img amend -o size=20M base.raw
qemu-img amend a.qcow2
""".strip().splitlines()

# What pipit-img does not do: a sentence with this in it, status 1, and nothing made.
REFUSED = {
    # QEMU's makes an endless chain of this one.
    'd=$PWD; cd /; qemu-img create -f qcow2 -F qcow2 -b a.qcow2 "$d/a.qcow2"': "own backing file",
    "qemu-img convert --bitmaps -O qcow2 a.qcow2 x": "--bitmaps",
    "qemu-img convert --image-opts driver=raw,file.filename=a.qcow2,offset=1M x": '"offset" is not supported',
    "qemu-img convert --image-opts driver=qcow2,file.driver=nbd,file.filename=a.qcow2 x": "file.driver=nbd",
    "qemu-img info --object secret,id=x,data=y a.qcow2": "--object is not supported",
    "qemu-img amend -o compat=0.10 a.qcow2": "convert -o compat=0.10",
}


def run(line, folder, ours):
    env = dict(os.environ, LC_ALL="C", TZ="UTC")
    if ours:
        env["PATH"] = f"{folder}.bin:{env['PATH']}"
    shell = 'same() { /usr/bin/env PATH="$plain" qemu-img compare -U "$1" "$2"; }\n' + line
    env["plain"] = os.environ["PATH"]
    return subprocess.run(["bash", "-c", shell], cwd=folder, env=env, capture_output=True, text=True, timeout=60,
                          errors="replace", check=False)


def fresh(folder, template):
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", "--sparse=always", template, folder], check=True)


def differs(theirs, ours):
    if theirs.returncode != ours.returncode:
        return f"status {ours.returncode}, QEMU's {theirs.returncode}: {ours.stderr.strip()[:200]}"
    if theirs.stdout != ours.stdout:
        return f"says {ours.stdout!r}, QEMU's {theirs.stdout!r}"
    if ours.returncode and theirs.stderr and not ours.stderr:
        return "fails without a word"
    return None


def keys(value, path=""):
    """All paths of keys in a JSON value."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for k, v in value.items():
            found |= keys(v, f"{path}.{k}")
    for v in value if isinstance(value, list) else []:
        found |= keys(v, f"{path}[]")
    return found


def json_keys(folder):
    """What we print as JSON is what QEMU's prints: no other keys, and the same values."""
    for line in ("info", "info --backing-chain", "map", "measure -O qcow2", "check"):
        for image in ("a.qcow2", "ov2.qcow2", "s.qcow2", "c.qcow2", "old.qcow2", "tail.raw"):
            if line == "check" and image == "tail.raw":
                continue
            said = [json.loads(run(f"qemu-img {line} --output=json {image}", folder, ours).stdout) for ours in (0, 1)]
            more = keys(said[1]) - keys(said[0])
            if more:
                return f"{line} {image}: {sorted(more)}"
    return None


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("skip options: no qemu-img (package qemu-utils)")
        return 0
    failed = []
    with tempfile.TemporaryDirectory(prefix="pipit-options-") as top:
        template, folder = f"{top}/template", f"{top}/work"
        os.mkdir(template)
        os.mkdir(f"{folder}.bin")
        os.symlink(IMG, f"{folder}.bin/qemu-img")
        subprocess.run(["bash", "-ec", FILES], cwd=template, check=True)
        for line in SAME:
            said = []
            for ours in (False, True):
                fresh(folder, template)
                said.append(run(line, folder, ours))
            why = differs(*said)
            if why:
                failed.append(f"{line}: {why}")
        fresh(folder, template)
        for line, words in REFUSED.items():
            r = run(line, folder, True)
            if r.returncode != 1 or words not in r.stderr or os.path.exists(f"{folder}/x"):
                failed.append(f"{line}: status {r.returncode}: {r.stderr.strip()[:200]}")
        if "Supported formats: raw qcow2\n" not in run("qemu-img --help", folder, True).stdout:
            failed.append("--help does not list the formats, as scripts expect it")
        why = json_keys(folder)
        if why:
            failed.append(f"JSON keys that QEMU's does not have: {why}")
    for line in failed:
        print(f"FAIL options: {line}")
    if not failed:
        print(f"ok options-{len(SAME) + len(REFUSED)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
