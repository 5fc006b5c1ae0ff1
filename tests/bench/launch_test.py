#!/usr/bin/env python3
"""`dlaccel bench launch` on the simulated device, in virtual time: its counts are right, its times are not shown.

launch_test.py DLACCEL
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cuda"))
from counted import busy_device  # noqa: E402

# Most submissions of a round: graphs, and for several streams the waits before and after them.
MOST = {"chain": 10, "equal": 10, "streams": 100, "rnn": 10}


def bench(tmp, *more):
    env = dict(os.environ, DLACCEL_CUDA_WAIT="30s", DLACCEL_CUDA_ADAPT="0", **busy_device(tmp))
    command = [sys.argv[1], "bench", "launch", "--rounds", "2", "--warm", "4", "--pairs", "1", *more]
    return subprocess.run(command, env=env, check=True, timeout=250, stdout=subprocess.PIPE).stdout.decode()


def wrong(row):
    """What is not so of a shape."""
    shape, sent = row["shape"], {m: row[m]["submissions_last_round"] for m in ("bare", "preloaded", "null")}
    if not row["same"]:
        yield "memory differs"
    if sent["bare"]:
        yield "something was submitted bare"
    if not 0 < sent["preloaded"] <= MOST[shape]:
        yield f"{sent['preloaded']} submissions preloaded, not 1 to {MOST[shape]}"
    if row["null"]["memory"] == row["bare"]["memory"]:
        yield "with launches that go nowhere the memory is the same"
    if shape in ("chain", "equal") and sent["null"]:
        yield f"{sent['null']} submissions where the hook returns without submitting"


def main():
    with tempfile.TemporaryDirectory() as tmp:
        rows = json.loads(bench(tmp, "--json"))
        text = bench(tmp)
    print(text)
    bad = [f"{row['shape']}: {what}" for row in rows for what in wrong(row)]
    if {row["shape"] for row in rows} != set(MOST):
        bad.append("not the shapes that there are")
    if "graph" not in rows[0]:
        bad.append("no graph captured by hand beside the chain")
    if any(unit in text for unit in (" ns", " us")) or "mean nothing" not in text:
        bad.append("times of a simulated device are shown")
    print(*bad, sep="\n")
    return bad != []


sys.exit(main())
