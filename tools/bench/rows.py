"""Rows of make bench's summary. A script says here what it measured; the row goes behind the file that BENCH_ROWS names, a
line of JSON each, for summary.py. Without BENCH_ROWS there is no summary, and nothing is written."""

import json
import os


def row(measure, limit, *, pipit=None, beside=None, unit="", ratio=None, against="QEMU", judged="ratio", at_least=False):
    """What was measured of pipit and of who is beside it (`against`), in `unit`, where that can be said in one number; the
    ratio is the measure's own (a median of ratios, say). `limit` is for the ratio, or, judged="value", for pipit's number;
    True when it is kept."""
    value = ratio if judged == "ratio" else pipit
    met = value >= limit if at_least else value <= limit
    line = {"measure": measure, "pipit": pipit, "beside": beside, "unit": unit, "ratio": ratio, "against": against,
            "judged": judged, "at_least": at_least, "limit": limit, "met": met}
    if os.environ.get("BENCH_ROWS"):
        with open(os.environ["BENCH_ROWS"], "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
    return met
