#!/usr/bin/env python3
"""Runs diff_fuzz over a range of seeds and shows from the counters that the paths were taken.

    net_fuzz.py --lib LIB --fuzzer DIFF_FUZZ [--expect net.blocks>=1 ...] -- step --seeds 0:60

A green fuzzer that never took a path proves nothing about it.
"""
import argparse
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from run_pair import check_expectations, isolate, read_stats  # noqa: E402


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lib", required=True)
    p.add_argument("--fuzzer", required=True)
    p.add_argument("--expect", action="append", default=[])
    p.add_argument("--env", action="append", default=[])
    p.add_argument("--show", action="store_true", help="print the counters")
    p.add_argument("args", nargs=argparse.REMAINDER)
    args = p.parse_args()
    rest = args.args[1:] if args.args[:1] == ["--"] else args.args
    fuzzer = os.path.abspath(args.fuzzer)
    isolate()
    with tempfile.TemporaryDirectory() as stats:
        env = dict(os.environ, DLACCEL_DIR=stats)
        env.setdefault("DLACCEL_NET_THRESHOLD", "1")
        env.update(item.split("=", 1) for item in args.env)
        rc = subprocess.run([fuzzer, *rest, "--preload", os.path.abspath(args.lib)], env=env,
                            check=False).returncode
        counters = read_stats(stats)
    if args.show:
        for name, value in sorted(counters.items()):
            print(f"{value:14} {name}")
    return 1 if check_expectations("counters", args.expect, counters) or rc else 0


if __name__ == "__main__":
    sys.exit(main())
