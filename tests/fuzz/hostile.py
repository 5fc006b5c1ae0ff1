#!/usr/bin/env python3
"""Starts a victim, an honest peer and an attacker for each seed, and judges.

    hostile.py --lib LIB --program HOSTILE --seeds A:B

The victim connects or accepts; the attacker scribbles over shared memory or gets the rendezvous
wrong. The victim must end by itself and well, with its honest connection unharmed.
"""
import argparse
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from run_pair import check_expectations, isolate, read_stats  # noqa: E402
from test_settings import EVERY_PATH  # noqa: E402

SECONDS = 40


class Round:
    def __init__(self, args, seed, stats):
        self.program, self.lib, self.seed, self.stats = args.program, args.lib, seed, stats
        kinds = args.kinds.split(",")
        self.kind = kinds[seed % len(kinds)]
        # The memory is the accepting end's.
        self.victim_role = "client" if self.kind == "memory" else ("server", "client")[seed // len(kinds) % 2]
        self.children = {}

    def start(self, name, *argv, preload=True):
        env = {**os.environ, **EVERY_PATH, "DLACCEL_NET_RING": "256K"}
        if self.kind == "freeze":
            env["DLACCEL_BLOCK_ALWAYS"] = "1"
        if preload:
            env.update(LD_PRELOAD=self.lib, DLACCEL_DIR=self.stats)
        child = subprocess.Popen([self.program, *argv], env=env, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 start_new_session=True)
        self.children[name] = child
        return child

    def start_all(self):
        seed = str(self.seed)
        if self.victim_role == "server":
            port = self.start("victim", "victim", "server").stdout.readline().strip()
            self.start("honest", "honest", port)
            self.start("attacker", "attack", "connect", seed, self.kind, port, preload=False)
            return
        honest = self.start("honest", "honest", "0").stdout.readline().strip()
        attacker = self.start("attacker", "attack", "accept", seed, self.kind, "0",
                              preload=False).stdout.readline().strip()
        self.start("victim", "victim", "client", honest, attacker)

    def finish(self, name):
        child = self.children[name]
        try:
            out, _ = child.communicate(timeout=SECONDS)
            return child.returncode, out
        except subprocess.TimeoutExpired:
            child.kill()
            return None, child.communicate()[0]

    def run(self):
        self.start_all()
        results = {name: self.finish(name) for name in ("attacker", "honest", "victim")}
        problems = []
        if results["attacker"] != (-9, "attacker: done\n"):
            problems.append(f"attacker: {results['attacker']}")
        if results["honest"] != (0, "honest: unharmed\n"):
            problems.append(f"honest: {results['honest']}")
        if results["victim"] != (0, "victim: ended well, honest rounds many\n"):
            problems.append(f"victim: {results['victim']}")
        for problem in problems:
            print(f"seed {self.seed} ({self.kind}, victim is {self.victim_role}): {problem}")
        return problems


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lib", required=True)
    p.add_argument("--program", required=True)
    p.add_argument("--seeds", default="0:12")
    p.add_argument("--kinds", default="scribble,hello,scribble,freeze")
    p.add_argument("--expect", action="append", default=[])
    p.add_argument("--show", action="store_true", help="print the counters")
    args = p.parse_args()
    args.lib, args.program = os.path.abspath(args.lib), os.path.abspath(args.program)
    first, last = (int(n) for n in args.seeds.split(":"))
    isolate()
    bad = 0
    with tempfile.TemporaryDirectory() as stats:
        for seed in range(first, last):
            bad += bool(Round(args, seed, stats).run())
        counters = read_stats(stats)
    print(f"{last - first} seeds, {bad} failed")
    if args.show:
        print(counters)
    return 1 if bad or check_expectations("counters", args.expect, counters) else 0


if __name__ == "__main__":
    sys.exit(main())
