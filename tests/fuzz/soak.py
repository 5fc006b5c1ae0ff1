#!/usr/bin/env python3
"""Checksummed random traffic of many shapes with ever new seeds, for as long as one likes.

    soak.py --fuzzer DIFF_FUZZ --lib LIB [--minutes N] [--seed FIRST]

Each turn runs one kind of the differential fuzzer (sizes, threads, waits, fork, exec, shutdown, kill) with
the library at both ends or at one, under settings that force its rarer ways.  A difference prints the command
that shows it again.  Not part of the suites, whose seeds are fixed.  Exit status: 0 no difference, 1 some.
"""
import argparse
import itertools
import os
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from test_settings import EVERY_PATH  # noqa: E402

KINDS = {  # arguments of diff_fuzz, seeds a turn
    "step": ([], 6),
    "stream": (["--mib", "6"], 3),
    "race": (["--rounds", "4000"], 4),
    "burst": (["--rounds", "300"], 2),
    "walk": (["--rounds", "1500", "--stride", "7"], 4),
}
SIDES = ("both", "both", "server", "client")
SETTINGS = ({}, {"DLACCEL_SPIN": "0"}, {"DLACCEL_BLOCK_ALWAYS": "1"}, {"DLACCEL_NET_RING": "64K"}, {"DLACCEL_CMA": "0"},
            {"DLACCEL_NET_MEMORY": "1M"})
TURN_SECONDS = 900


def turn(args, number, seed, kind, side, settings):
    """One run; the command if it found something, else None."""
    extra, seeds = KINDS[kind]
    argv = [args.fuzzer, kind, "--seeds", f"{seed}:{seed + seeds}", "--side", side, *extra, "--preload", args.lib]
    env = {**EVERY_PATH, **settings}
    command = " ".join([f"{k}={v}" for k, v in env.items()] + [shlex.join(argv)])
    try:
        done = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, errors="replace",
                              timeout=TURN_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"turn {number}: no end\n  {command}", flush=True)
        return command
    if done.returncode:
        print(f"turn {number}: status {done.returncode}\n{done.stdout}{done.stderr}  {command}", flush=True)
        return command
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fuzzer", required=True)
    p.add_argument("--lib", required=True)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--seed", type=int, default=int(time.time()) % 1000000 * 1000)
    args = p.parse_args()
    end, faults, seed, turns = time.monotonic() + 60 * args.minutes, [], args.seed, 0
    # Lengths without a common divisor with those of the others: in time every combination comes.
    shapes = zip(itertools.cycle(KINDS), itertools.cycle(SIDES + ("both", "server", "client")), itertools.cycle(SETTINGS + ({},) * 5))
    for kind, side, settings in shapes:
        found = turn(args, turns, seed, kind, side, settings)
        faults += [found] if found else []
        seed, turns = seed + KINDS[kind][1], turns + 1
        if time.monotonic() >= end:
            break
    print(f"{turns} turns, seeds {args.seed} to {seed - 1}, {len(faults)} with a difference")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
