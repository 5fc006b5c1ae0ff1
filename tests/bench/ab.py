#!/usr/bin/env python3
"""Which of several libraries or settings is faster: netbench with each in turn, medians and ranges.

    tests/bench/ab.py [--mode oneway] [--rounds 7] [--seconds 0.5] SIZE[,SIZE...] CONFIGURATION...

A configuration is one argument of words: a library's path, settings as NAME=VALUE, `bare` for no library, `mode:pass` (or another
of netbench's) in place of --mode.  For example, before and after a change, and a setting:

    tests/bench/ab.py 65536,1048576 /tmp/before.so build/shim/libdlaccel.so "build/shim/libdlaccel.so DLACCEL_CMA=0" bare mode:pass

Turn by turn, since a shared machine changes its speed within seconds.  oneway, fresh, limit, pass: GB/s; ping-pong: us.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def configuration(words, mode):
    """(environment, netbench's mode)"""
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("DLACCEL")}
    for word in words.split():
        if word.startswith("mode:"):
            mode = word[5:]
        elif "=" in word:
            env.update([word.split("=", 1)])
        elif word != "bare":
            env["LD_PRELOAD"] = os.path.abspath(word)
            if not os.path.exists(word):
                raise SystemExit(f"{word}: no such library")
    return env, mode


def measure(args, size, words):
    env, mode = configuration(words, args.mode)
    done = subprocess.run([args.netbench, mode, size, str(args.seconds), "pin"], env=env, stdout=subprocess.PIPE, check=True)
    got = {k: v for line in done.stdout.splitlines() for k, v in json.loads(line).items()}
    return got["half_us"] or got["gb_s"] if "half_us" in got else got["gb_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes")
    parser.add_argument("configurations", nargs="+")
    parser.add_argument("--mode", default="oneway")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--netbench", default=str(ROOT / "build/tests/bench/netbench"))
    args = parser.parse_args()
    for size in args.sizes.split(","):
        found = {words: [] for words in args.configurations}
        for turn in range(args.rounds):
            for words in args.configurations[::1 if turn % 2 else -1]:
                found[words].append(measure(args, size, words))
        for words, figures in found.items():
            print(f"{size:>9} {statistics.median(figures):8.3f} ({min(figures):.3f} to {max(figures):.3f})  {words}", flush=True)


if __name__ == "__main__":
    main()
