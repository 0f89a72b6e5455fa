#!/usr/bin/env python3
"""The end of make bench: summary.py ROWS JSON [CONDITION...] prints the rows that the benchmarks have written (rows.py) as one
table, and writes them with the conditions, NAME=VALUE each, to JSON. summary.py --draw JSON SVG draws what was written.

A ratio is pipit's number divided by the other's; below 1 is less time or memory. Limits are those that the project holds
itself to. A missed one is said, and is no error: the scripts' own exit statuses tell those from things that went wrong.
"""

import json
import sys
from html import escape

COLUMNS = ("measure", "pipit", "beside it", "ratio", "limit", "")


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def cells(row):
    unit = f" {row['unit']}" if row["unit"] else ""
    if row["judged"] == "ratio":
        limit = f"{'at least' if row['at_least'] else 'at most'} {row['limit']:g}"
    else:
        limit = f"at most {row['limit']:g}{unit}"
    return (row["measure"], number(row["pipit"]) + (unit if row["pipit"] is not None else ""),
            f"{row['against']} " + number(row["beside"]) + (unit if row["beside"] is not None else ""),
            number(row["ratio"]), limit, "met" if row["met"] else "MISSED")


def table(found):
    lines = [COLUMNS, *map(cells, found)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(COLUMNS))]
    for i, line in enumerate(lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
        if i == 0:
            print("  ".join("-" * width for width in widths))


# ---- the drawing ----

LEFT, WIDTH, HEIGHT, STEP = 330, 360, 12, 22
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 } .note { fill: #57606a; font-size: 11px }
.bar { fill: #2f7fd0 } .miss { fill: #c8762c } .limit { stroke: #24292f; stroke-width: 2 } .one { stroke: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #d6dde5 } .note { fill: #9aa4af } .bar { fill: #58a6ff } .miss { fill: #e0954a }
.limit { stroke: #d6dde5 } .one { stroke: #6e7681 }
}
"""


def bars(found, title, top, end):
    """The SVG of a group of rows, whose scale ends at `end`, and the height behind them."""
    out = [f'<text class="head" x="8" y="{top}">{escape(title)}</text>']
    scale, y = WIDTH / end, top + 10
    for row in found:
        length = min(row["ratio"], end) * scale
        out.append(f'<text x="{LEFT - 8}" y="{y + 10}" text-anchor="end">{escape(row["measure"])}</text>')
        out.append(f'<rect class="{"bar" if row["met"] else "miss"}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{HEIGHT}" rx="1"/>')
        if row["judged"] == "ratio":
            at = LEFT + row["limit"] * scale
            out.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 2}" y2="{y + HEIGHT + 2}"/>')
        out.append(f'<text x="{LEFT + max(length, row["limit"] * scale if row["judged"] == "ratio" else 0) + 8:.1f}" y="{y + 10}">'
                   f'{number(row["ratio"])}</text>')
        y += STEP
    one = LEFT + scale
    out.insert(1, f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{top + 4}" y2="{y - 4}" stroke-dasharray="3 3"/>')
    return out, y + 24


def draw(source, target):
    with open(source, encoding="utf-8") as f:
        said = json.load(f)
    groups = (("Of QEMU's time, memory or load (dashed: QEMU; less is better)", "QEMU", False),
              ("Of native time (dashed: native; less is better)", "native", False),
              ("Of native scaling on two CPUs (dashed: native; more is better)", "native", True))
    out, top = [], 24
    for title, against, at_least in groups:
        found = [row for row in said["rows"] if row["against"] == against and row["at_least"] == at_least]
        if found:
            end = max(1.0, *(max(row["ratio"], row["limit"] if row["judged"] == "ratio" else 0) for row in found)) * 1.02
            more, top = bars(found, title, top, end)
            out += more
    notes = ["A bar is pipit's part; a mark, what the project holds itself to; another colour, that it is missed.",
             "; ".join(f"{name}: {value}" for name, value in said["conditions"].items())]
    for note in notes:
        out.append(f'<text class="note" x="8" y="{top}">{escape(note)}</text>')
        top += 16
    with open(target, "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 60} {top}" role="img" '
                f'aria-label="pipit beside QEMU and native">\n<style>{STYLE}</style>\n' + "\n".join(out) + "\n</svg>\n")


def main():
    if sys.argv[1] == "--draw":
        draw(*sys.argv[2:4])
        return
    with open(sys.argv[1], encoding="utf-8") as f:
        found = [json.loads(line) for line in f]
    conditions = dict(word.split("=", 1) for word in sys.argv[3:])
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump({"conditions": conditions, "rows": found}, f, indent=1)
        f.write("\n")
    print("summary: " + "; ".join(f"{name}: {value}" for name, value in conditions.items()))
    table(found)
    print(f"{sum(row['met'] for row in found)} of {len(found)} limits met; written to {sys.argv[2]}")


if __name__ == "__main__":
    main()
