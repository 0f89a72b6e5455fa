#!/usr/bin/env python3
"""Checks who includes what: the table below is the include rules of README.md, one row a folder.

The longest folder that a file lies in decides. Includes in quotes are written from the top of the tree and must exist.
"""

import os
import re
import subprocess
import sys

BASE, CORE = "vmm/base/", "vmm/core/"
JIT = [BASE, "vmm/core/page.h", "vmm/core/vcpu.h", "arch/arm64/cpu.h", "jit/ops.h", "jit/jit.h", "jit/perf.h", "jit/trace.h", "jit/user.h"]
ROOMS = ["vmm/", "devices/", "virtio/", "jit/", "loader/", "arch/"]

# folder: what its files may include beside the folder's own
RULES = {
    "vmm/base/": [],
    "vmm/core/": [BASE],
    # How the architecture and the JIT reach each other: the ops that one fills in and the other calls.
    "arch/": [BASE, CORE, "jit/ops.h"],
    "devices/": [BASE, CORE],
    "loader/": [BASE, CORE, "devices/block/", "arch/x86/boot.h"],
    "virtio/": [BASE, CORE, "devices/"],
    "vmm/kvm/": [BASE, CORE, "arch/"],
    # jit.h and ops.h are the JIT's seams; the rooms inside see only what is below them.
    "jit/": JIT,
    "jit/a64/": JIT,
    "jit/interp/": JIT + ["jit/a64/decode.h", "jit/a64/simd_imm.h", "jit/a64/insn_base.def", "jit/a64/insn_simd.def"],
    "jit/x64/": JIT,
    "jit/tier1/": JIT + ["jit/a64/", "jit/x64/", "jit/rt/"],
    "jit/rt/": JIT + ["jit/"],
    "vmm/img/": [BASE, CORE, "devices/block/"],
    "vmm/machine/": ROOMS,
    "vmm/service/": ROOMS,
    "vmm/user/": ROOMS,
    "tools/": ROOMS,
    "tests/": ROOMS,
}


def rule_for(path):
    folders = [f for f in RULES if path.startswith(f)]
    return max(folders, key=len) if folders else None


def allowed(path, include):
    folder = rule_for(path)
    if folder == "jit/":  # the seams themselves, not the rooms behind them
        own = include.startswith("jit/") and include.count("/") == 1
    else:
        own = include.startswith(folder)
    return own or any(include.startswith(a) for a in RULES[folder])


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
    bad = seen = 0
    for path in listed.stdout.split():
        if not path.endswith((".c", ".h", ".def", ".inc", ".S")) or not os.path.exists(path):
            continue
        if rule_for(path) is None:
            print(f"{path}: lies in no folder that has include rules")
            bad += 1
            continue
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not m:
                    continue
                seen += 1
                include = m.group(1)
                if not os.path.exists(include):
                    print(f"{path}:{number}: \"{include}\" is not a path from the top of the tree")
                    bad += 1
                elif not allowed(path, include):
                    print(f"{path}:{number}: {rule_for(path)} may not include \"{include}\"")
                    bad += 1
    if seen == 0:
        print("no include was seen")
        bad += 1
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
