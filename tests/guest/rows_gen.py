#!/usr/bin/env python3
"""Writes the cases of rows.c: random instructions of every row of the decode table that differs by exception level.

rows_gen.py CPU SEED CASES INSN_BASE.DEF OUT.inc

A case is a few instructions that end in SVC #0xffff, random X0..X3, and the level to run it at. Values are kept to the
bits that the architecture defines for a register. Prints how many rows are covered; fails when one is not.
"""
import random
import re
import sys

cpu, seed, cases, table, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
rng = random.Random(seed)
MASK64 = (1 << 64) - 1
NOT_EL1 = {"rmif", "setf8", "setf16", "cfinv", "xaflag", "axflag"}


def rows():
    found, section = {}, ""
    for line in open(table):
        m = re.match(r"/\* ---- (\w+)", line)
        if m:
            section = m[1]
        m = re.match(r'INSN\w*\((\w+), "([01A-Za-z]{32})"', line)
        if not m:
            continue
        name, bits = m.groups()
        if name in NOT_EL1 or not (section in ("exceptions", "system") or name == "eret" or name.endswith("_unpriv")):
            continue
        mask = int("".join("1" if c in "01" else "0" for c in bits), 2)
        value = int("".join("1" if c == "1" else "0" for c in bits), 2)
        found[name] = (mask, value)
    return found


def rand64():
    """Small, large, sparse, and plain random numbers."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randrange(256)
    if kind == 1:
        return MASK64 - rng.randrange(256)
    if kind == 2:
        return 1 << rng.randrange(64)
    return rng.getrandbits(64)


def enc(op0, op1, crn, crm, op2):
    return (op0 & 1) << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5


def mrs(rt, reg):
    return 0xD5300000 | enc(*reg) | rt


def msr(rt, reg):
    return 0xD5100000 | enc(*reg) | rt


def sys_(rt, op1, crn, crm, op2):
    return 0xD5080000 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt


ISB = 0xD5033FDF
ELR, SPSR, NZCV = (3, 0, 4, 0, 1), (3, 0, 4, 0, 0), (3, 3, 4, 2, 0)
# Registers that are stored, and the bits that may be tried with the MMU off and interrupts masked.
STORED = {
    "ttbr0_el1": ((3, 0, 2, 0, 0), 0xFFFF0000FFFFF000),
    "ttbr1_el1": ((3, 0, 2, 0, 1), 0xFFFF0000FFFFF000),
    "tcr_el1": ((3, 0, 2, 0, 2), 0x773FFF3FBF),
    "mair_el1": ((3, 0, 10, 2, 0), MASK64),
    "vbar_el1": ((3, 0, 12, 0, 0), MASK64 & ~0x7FF),
    "elr_el1": (ELR, MASK64),
    "spsr_el1": (SPSR, 0xF00003C5),
    "esr_el1": ((3, 0, 5, 2, 0), 0xFFFFFFFF),
    "far_el1": ((3, 0, 6, 0, 0), MASK64),
    "par_el1": ((3, 0, 7, 4, 0), 0xFF00FFFFFFFFF001),
    "contextidr_el1": ((3, 0, 13, 0, 1), 0xFFFFFFFF),
    "tpidr_el1": ((3, 0, 13, 0, 4), MASK64),
    "tpidr_el0": ((3, 3, 13, 0, 2), MASK64),
    "tpidrro_el0": ((3, 3, 13, 0, 3), MASK64),
    "sp_el0": ((3, 0, 4, 1, 0), MASK64),
    "cpacr_el1": ((3, 0, 1, 0, 2), 0x300000),
    "cntkctl_el1": ((3, 0, 14, 1, 0), 0x3FF),
    "cntv_cval_el0": ((3, 3, 14, 3, 2), MASK64),
    "cntp_cval_el0": ((3, 3, 14, 2, 2), MASK64),
    "csselr_el1": ((3, 2, 0, 0, 0), 3),
    "mdscr_el1": ((2, 0, 0, 2, 2), 0xB000),
    "dbgbvr0_el1": ((2, 0, 0, 0, 4), 0x0000FFFFFFFFFFFC),
    "dbgbvr5_el1": ((2, 0, 0, 5, 4), 0x0000FFFFFFFFFFFC),
    "dbgwvr0_el1": ((2, 0, 0, 0, 6), 0x0000FFFFFFFFFFF8),
    "dbgwvr3_el1": ((2, 0, 0, 3, 6), 0x0000FFFFFFFFFFF8),
    "fpcr": ((3, 3, 4, 4, 0), 0x07C00000),
    "fpsr": ((3, 3, 4, 4, 1), 0x0800009F),
    "nzcv": (NZCV, 0xF0000000),
    "daif": ((3, 3, 4, 2, 1), 0x3C0),
}
TLBI = [(0, 8, m, o) for m in (3, 7) for o in (0, 1, 2, 3, 5, 7)]
DC_VA = [(0, 7, 6, 1), (3, 7, 10, 1), (3, 7, 11, 1), (3, 7, 14, 1), (3, 7, 4, 1)]
DC_SW = [(0, 7, 6, 2), (0, 7, 10, 2), (0, 7, 14, 2)]
IC_ALL = [(0, 7, 1, 0), (0, 7, 5, 0)]
AT = [(0, 7, 8, o) for o in range(4)]
DATA, SIZE = "(u64)data", 2048


def stored():
    name = rng.choice(list(STORED))
    reg, mask = STORED[name]
    v = rand64() & mask
    # Old value, write, read back, put the old one back.
    return name, [mrs(9, reg), msr(0, reg), ISB, mrs(1, reg), msr(9, reg), ISB], [v, 0, 0, 0], "k"


def not_for_el0():
    """op1 0 is EL1's: undefined at EL0, reads and writes."""
    reg = (3, 0, rng.randrange(16), rng.randrange(16), rng.randrange(8))
    if reg[2] == 0:  # identification: later architectures trap instead
        reg = (3, 0, rng.randrange(1, 16), *reg[3:])
    return "el0", [(mrs if rng.random() < 0.5 else msr)(rng.randrange(4), reg)], [rand64() for _ in range(4)], "u"


def not_for_el1():
    """op1 4..6 is EL2's and EL3's: there are none."""
    reg = (3, rng.choice([4, 6]), rng.randrange(16), rng.randrange(16), rng.randrange(8))
    return "el23", [(mrs if rng.random() < 0.5 else msr)(rng.randrange(4), reg)], [rand64() for _ in range(4)], rng.choice("uk")


def sys_case():
    kind = rng.randrange(6)
    if kind == 0:
        return "tlbi", [sys_(0, *rng.choice(TLBI))], [rand64(), 0, 0, 0], rng.choice("ukk")
    if kind == 1:
        op = rng.choice(DC_VA)
        at = rng.randrange(SIZE)
        return "dc", [sys_(0, *op)], [f"{DATA} + {at}", 0, 0, 0], "k" if op[0] == 0 else rng.choice("uk")
    if kind == 2:
        return "dc sw", [sys_(0, *rng.choice(DC_SW))], [rng.randrange(8) << 6, 0, 0, 0], rng.choice("uk")
    if kind == 3:
        return "ic", [sys_(31, *rng.choice(IC_ALL))], [0, 0, 0, 0], rng.choice("uk")
    if kind == 4:
        return "sys el2", [sys_(0, rng.choice([4, 6]), rng.choice([7, 8]), rng.randrange(16), rng.randrange(8))], [
            rand64(), 0, 0, 0], rng.choice("uk")
    return "at", [sys_(0, *rng.choice(AT))], [rand64(), 0, 0, 0], "u"


def sysl():
    return "sysl", [0xD5280000 | rng.choice([0, 3, 4]) << 16 | rng.choice([7, 8]) << 12 | rng.randrange(0x1000) & 0xFE0
                    ], [1, 2, 3, 4], rng.choice("uk")


def pstate():
    """MSR (immediate), and what MRS then shows. SP_EL0 and SP_EL1 change places with SPSel."""
    imm, k = rng.randrange(16), rng.randrange(6)
    pan, uao, ssbs, dit = (3, 0, 4, 2, 3), (3, 0, 4, 2, 4), (3, 3, 4, 2, 6), (3, 3, 4, 2, 5)
    if k == 0:
        op = rng.choice([0xD50340DF, 0xD50340FF])
        return "daif", [op | imm << 8, mrs(1, (3, 3, 4, 2, 1)), 0xD5034FDF], [0] * 4, rng.choice("kt")
    if k == 1:
        return "spsel", [0xD50040BF | (imm & 1) << 8, mrs(1, (3, 0, 4, 2, 0)), 0xD50041BF], [0] * 4, rng.choice("ut")
    if k == 2:
        return "pan", [0xD500409F | (imm & 1) << 8, mrs(1, pan), 0xD500409F], [0] * 4, rng.choice("uk")
    if k == 3:
        return "uao", [0xD500407F | (imm & 1) << 8, mrs(1, uao), 0xD500407F], [0] * 4, rng.choice("uk")
    if k == 4 and cpu == "cortex-a72":
        return "ssbs", [0xD503403F | (imm & 1) << 8, mrs(1, ssbs), 0xD503403F], [0] * 4, rng.choice("uk")
    return "dit", [0xD503405F | (imm & 1) << 8, mrs(1, dit), 0xD503405F], [0] * 4, rng.choice("uk")


def eret():
    # AArch64 modes only: EL0t, EL1t, EL1h, EL2, EL3 and reserved ones.
    spsr = rng.getrandbits(4) << 28 | 0x3C0 | rng.choice([0, 4, 5, 1, 2, 3, 6, 8, 9, 12, 13])
    if rng.random() < 0.1:
        spsr |= 1 << 20
    # To the instruction after the ERET.
    return "eret", [0x10000002 | 4 << 5, msr(2, ELR), msr(0, SPSR), 0xD69F03E0, mrs(1, NZCV)], [spsr, 0, 0, 0], rng.choice(
        "kt")


def call():
    imm, k = rng.getrandbits(16), rng.randrange(6)
    if k == 0:
        return "svc", [0xD4000001 | imm << 5], [0] * 4, rng.choice("ukt")
    if k == 1:
        return "brk", [0xD4200000 | imm << 5], [0] * 4, rng.choice("ukt")
    if k == 2:
        return "hlt", [0xD4400000 | imm << 5], [0] * 4, rng.choice("ukt")
    if k == 3:
        return "udf", [imm], [0] * 4, rng.choice("ukt")
    if k == 4:
        return "hvc", [0xD4000002 | imm << 5], [0] * 4, "u"
    return "smc", [0xD4000003 | imm << 5], [0] * 4, "u"


def hint():
    k = rng.randrange(8)
    words = [
        0xD503201F | rng.choice([0, 1, 4, 5, 6, 7] + list(range(40, 128))) << 5,
        0xD503203F, 0xD503209F, 0xD50320BF,
        0xD503305F | rng.randrange(16) << 8,
        0xD503309F | rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13, 14, 15]) << 8,
        0xD50330BF | rng.choice([1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15]) << 8,
        0xD50330DF | rng.randrange(16) << 8,
    ]
    return "hint", [words[k]], [rand64() for _ in range(4)], rng.choice("uk")


def wait():
    # With an event there, WFE does not wait. WFI is trapped (SCTLR_EL1.nTWI is 0); gic.c waits in earnest.
    if rng.random() < 0.5:
        return "wfe", [0xD50320BF, 0xD503205F], [0] * 4, "k"
    return "wfi", [0xD503207F], [0] * 4, "u"


def sb():
    return "sb", [0xD50330FF], [0] * 4, rng.choice("uk")


GENERATORS = [(stored, 30), (not_for_el0, 8), (not_for_el1, 8), (sys_case, 14), (sysl, 2), (pstate, 12), (eret, 10),
              (call, 8), (hint, 6), (wait, 2)]
if cpu == "cortex-a72":  # others may have SB
    GENERATORS.append((sb, 1))


def unpriv():
    """LDTR and STTR at EL1, on pages that EL0 may write, read, and not touch; offsets cross pages and sizes."""
    size, op = rng.randrange(4), rng.choice(["str", "ldr", "ldrs"])
    opc = {"str": 0, "ldr": 1, "ldrs": rng.choice([2, 3])}[op]
    if op == "ldrs" and (size == 3 or (size == 2 and opc == 3)):
        size, opc = rng.randrange(2), opc
    imm = rng.randrange(-256, 256)
    page = rng.choice(["PAGE_RW0", "PAGE_RW0", "PAGE_RO0", "PAGE_RW1", "PAGE_NONE"])
    off = rng.choice([rng.randrange(0, 4096 - 8), rng.randrange(4088, 4096)])
    word = size << 30 | 0x38000800 | opc << 22 | (imm & 0x1FF) << 12 | 0 << 5 | 1
    return op + "t", [word], [f"{page} + {off} - ({imm})", rand64(), 0, 0], rng.choice("kkku")


def main():
    table_rows, hit, code, entries, n = rows(), set(), [], [], 0

    def emit(case, phase):
        nonlocal n
        name, words, x, mode = case
        for w in words:
            for row, (mask, value) in table_rows.items():
                if w & mask == value:
                    hit.add(row)
        code.append(words)
        args = ", ".join(v if isinstance(v, str) else f"{v:#x}ul" for v in x)
        entries.append(f'    {{"{name}", \'{mode}\', {phase}, {n}, {{{args}}}}},')
        n += len(words) + 1

    makers = [g for g, weight in GENERATORS for _ in range(weight)]
    for g, _ in GENERATORS:
        for _ in range(12):
            emit(g(), 0)
    for _ in range(cases):
        emit(rng.choice(makers)(), 0)
    for _ in range(max(40, cases // 4)):
        emit(unpriv(), 1)
    skip = set() if cpu == "cortex-a72" else {"sb", "msr_ssbs"}
    with open(out, "w") as f:
        f.write('asm(".pushsection .user,\\"ax\\"\\n.global rows_code\\nrows_code:\\n"\n')
        for words in code:
            f.write('    ".inst ' + ", ".join(f"{w:#010x}" for w in words) + '\\n svc #0xffff\\n"\n')
        f.write('    ".popsection");\nstatic const struct row rows[] = {\n')
        f.write("\n".join(entries) + "\n};\n")
    missing = set(table_rows) - hit - skip
    print(f"rows: {len(hit)} of {len(table_rows)} covered, {len(entries)} cases")
    if missing:
        print("rows without a case: " + " ".join(sorted(missing)))
        sys.exit(1)


main()
