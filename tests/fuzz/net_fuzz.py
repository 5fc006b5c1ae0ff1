#!/usr/bin/env python3
"""Runs diff_fuzz over a range of seeds and shows from the counters that the paths were taken.

    net_fuzz.py --lib LIB --fuzzer DIFF_FUZZ [--expect net.blocks>=1 ...] -- step --seeds 0:60

A green fuzzer that never took a path proves nothing about it. With --kinds (step only) every kind of call
that the fuzzer knows must stand in the seeds' logs as well.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from run_pair import check_expectations, isolate, read_stats  # noqa: E402
from test_settings import EVERY_PATH  # noqa: E402


HERE = os.path.dirname(os.path.abspath(__file__))
# What the arguments of a logged command must have been in some seed.
SHAPES = {
    "ep_wait": [rf"ep_wait \d+ {kind} " for kind in range(5)],  # enum ep_wait_kind, the system call and poll among them
    "ep_ctl": [rf"ep_ctl \d+ \d+ -?\d+ {events} " for events in (1, 4, 5, 1 - 2**31, 5 - 2**31, 2**30 + 1)],
    "exec": [rf"exec \d+ {kind} " for kind in (0, 1, 2, 16, 17, 18)],  # enum exec_kind, with and without the library
    "dup": [rf"dup \d+ \d+ {kind} " for kind in range(5)],
    "close": [rf"close \d+ {kind} " for kind in range(3)],
    "shutdown": [rf"shutdown \d+ {how} " for how in range(3)],
    "signal": [rf"signal \d+ {restart} " for restart in range(2)],
    "setopt": [r"setopt h\d+ SO_OOBINLINE 1"],
    "connect": ["v6 1", "nonblock 1", r"sndbuf [1-9]"],
}


def names_in(path, pattern):
    with open(os.path.join(HERE, path)) as f:
        return re.findall(r'"(\w+)"|\bX\((\w+)\)', re.search(pattern, f.read(), re.S)[0])


def kinds():
    """{what it is: the pattern that shows it}"""
    found = {}
    for _, op in names_in("step.h", r"#define STEP_OPS.*?\n\n"):
        if op not in ("name", "asleep"):  # a question of the fuzzer to itself is not logged
            found[op] = rf"^ *\d+ \w+ {op} "
    for op, table in (("send", "send_names"), ("recv", "recv_names"), ("wait", "wait_names")):
        for name, _ in names_in("calls.c", table + r"\[.*?;"):
            found[f"{op} {name}"] = rf" {op} h\d+ {name} "
    for op, shapes in SHAPES.items():
        found.update({f"{op}: {shape}": shape for shape in shapes})
    return found


def missing_kinds(log):
    missing = [name for name, pattern in kinds().items() if not re.search(pattern, log, re.M)]
    for name in missing:
        print(f"no seed had {name}")
    return missing


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lib", required=True)
    p.add_argument("--fuzzer", required=True)
    p.add_argument("--expect", action="append", default=[])
    p.add_argument("--env", action="append", default=[])
    p.add_argument("--show", action="store_true", help="print the counters")
    p.add_argument("--kinds", action="store_true", help="every kind of call must have been made")
    p.add_argument("args", nargs=argparse.REMAINDER)
    args = p.parse_args()
    rest = args.args[1:] if args.args[:1] == ["--"] else args.args
    fuzzer = os.path.abspath(args.fuzzer)
    isolate()
    with tempfile.TemporaryDirectory() as stats:
        env = {**EVERY_PATH, **os.environ, "DLACCEL_DIR": stats}
        env.update(item.split("=", 1) for item in args.env)
        command = [fuzzer, *rest, "--preload", os.path.abspath(args.lib), *(["--show", "1"] if args.kinds else [])]
        done = subprocess.run(command, env=env, check=False, text=True, errors="replace",
                              stdout=subprocess.PIPE if args.kinds else None)
        counters = read_stats(stats)
    rc = done.returncode
    if args.kinds:
        print("\n".join(line for line in done.stdout.splitlines() if rc or re.match(r"\d+ seeds", line)))
        rc = rc or len(missing_kinds(done.stdout))
    if args.show:
        for name, value in sorted(counters.items()):
            print(f"{value:14} {name}")
    return 1 if check_expectations("counters", args.expect, counters) or rc else 0


if __name__ == "__main__":
    sys.exit(main())
