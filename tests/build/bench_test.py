#!/usr/bin/env python3
"""What make bench says at its end: rows in, and a table, a JSON file and a drawing out (tools/bench/summary.py)."""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = os.environ.get("PIPIT_ROOT", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, f"{ROOT}/tools/bench")
import rows  # noqa: E402

results = []


def item(name, good, why=""):
    results.append(bool(good))
    print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)


def main():
    summary = f"{ROOT}/tools/bench/summary.py"
    with tempfile.TemporaryDirectory() as d:
        os.environ.pop("BENCH_ROWS", None)
        item("row-unasked", rows.row("nothing", 1, ratio=0.5) and not os.listdir(d), f"{os.listdir(d)}")
        os.environ["BENCH_ROWS"] = f"{d}/rows"
        said = [rows.row("boot <&>", 0.5, pipit=1.0, beside=4.0, unit="s", ratio=0.25),
                rows.row("programs", 4, ratio=5.5, against="native"),
                rows.row("two CPUs", 0.9, pipit=1.5, beside=1.8, unit="times", ratio=0.83, against="native", at_least=True),
                rows.row("memory", 40, pipit=36.0, beside=120.0, unit="MB", ratio=0.3, judged="value")]
        item("row-verdicts", said == [True, False, False, True], f"{said}")
        done = subprocess.run([sys.executable, summary, f"{d}/rows", f"{d}/json", "host=H, 2 CPUs", "peer=QEMU 10.0=a"],
                              capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        want = ["summary: host: H, 2 CPUs; peer: QEMU 10.0=a", None, None,
                "boot <&>  1 s       QEMU 4 s          0.25   at most 0.5    met",
                "programs  -         native -          5.5   at most 4      MISSED",
                "two CPUs  1.5 times  native 1.8 times  0.83   at least 0.9   MISSED",
                "memory    36 MB     QEMU 120 MB       0.3   at most 40 MB  met",
                f"2 of 4 limits met; written to {d}/json"]
        good = len(lines) == len(want) and all(w is None or w.split() == got.split() for w, got in zip(want, lines))
        item("table", done.returncode == 0 and good, done.stdout + done.stderr)
        with open(f"{d}/json", encoding="utf-8") as f:
            kept = json.load(f)
        item("json", len(kept["rows"]) == 4 and kept["conditions"] == {"host": "H, 2 CPUs", "peer": "QEMU 10.0=a"}, f"{kept}")
        subprocess.run([sys.executable, summary, "--draw", f"{d}/json", f"{d}/svg"], check=True)
        tree = xml.etree.ElementTree.parse(f"{d}/svg").getroot()
        texts = ["".join(t.itertext()) for t in tree.iter("{http://www.w3.org/2000/svg}text")]
        bars = [r.get("class") for r in tree.iter("{http://www.w3.org/2000/svg}rect")]
        wide = [float(r.get("width")) for r in tree.iter("{http://www.w3.org/2000/svg}rect")]
        good = bars == ["bar", "bar", "miss", "miss"] and "boot <&>" in texts and "0.25" in texts and os.path.getsize(f"{d}/svg") < 20000
        item("drawing", good and wide[0] < wide[1] and float(tree.get("viewBox").split()[2]) > max(wide), f"{bars} {wide} {texts}")
    # The one in README.
    drawn = f"{ROOT}/tools/bench/summary.svg"
    with open(f"{ROOT}/README.md", encoding="utf-8") as f:
        shown = "(tools/bench/summary.svg)" in f.read()
    bars = list(xml.etree.ElementTree.parse(drawn).getroot().iter("{http://www.w3.org/2000/svg}rect"))
    item("readme", shown and len(bars) >= 10 and os.path.getsize(drawn) < 20000, f"{shown}, {len(bars)} bars")
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
