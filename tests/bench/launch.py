#!/usr/bin/env python3
"""What a launch costs: tests/bench/launch.c bare, preloaded, and with launches that go nowhere.

launch.py --library libdlaccel.so --program launch [--driver FOLDER] [--launches N] [--rounds N] [--json FILE]

"null" is the bound: the hook returns without submitting (DLACCEL_CUDA_NULL), so no batching could be
faster. On a simulated device only the counts mean anything, and only they are shown.
"""
import argparse
import json
import os
import subprocess
import sys

SHAPES = ("chain", "streams", "rnn")


def measure(args, shape, **settings):
    env = dict(os.environ, **settings)
    env.pop("LD_PRELOAD", None)
    if args.driver:
        env["LD_LIBRARY_PATH"] = args.driver
    if settings:
        env["LD_PRELOAD"] = os.path.abspath(args.library)
    p = subprocess.run([args.program, shape, str(args.launches), str(args.rounds), str(args.warm)],
                       env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    if p.returncode == 77:
        sys.exit(77)
    if p.returncode:
        raise SystemExit(f"{shape}: exit status {p.returncode}\n{p.stderr.decode()}")
    return json.loads(p.stdout)


def rows_of(args):
    rows = []
    for shape in SHAPES:
        bare = measure(args, shape)
        ours = measure(args, shape, DLACCEL="1")
        null = measure(args, shape, DLACCEL_CUDA_NULL="1")
        row = {"shape": shape, "bare": bare, "preloaded": ours, "null": null,
               "same": bare["memory"] == ours["memory"]}
        if shape == "chain":
            row["graph"] = measure(args, "graph")
        rows.append(row)
    return rows


def show(rows):
    device = rows[0]["bare"]["device"]
    simulated = device.startswith("Simulated")
    print(f"{device}, driver {rows[0]['bare']['driver']}")
    if simulated:
        print("a simulated device: its times mean nothing and are not shown")
    for r in rows:
        bare, ours, null = r["bare"], r["preloaded"], r["null"]
        line = f"{r['shape']:8} {bare['launches']} launches: " \
               f"{ours['submissions_last_round']} submissions, memory {'same' if r['same'] else 'DIFFERENT'}"
        if not simulated:
            line += f"; CPU a launch {bare['issue_cpu_ns']} -> {ours['issue_cpu_ns']} ns" \
                    f" ({bare['issue_cpu_ns'] / max(ours['issue_cpu_ns'], 1):.1f}x)" \
                    f"; round {bare['round_us']} -> {ours['round_us']} us, bound {null['round_us']} us"
        if "graph" in r and not simulated:
            gain = bare["round_us"] - r["graph"]["round_us"]
            line += f", captured by hand {r['graph']['round_us']} us"
            line += f" ({100 * (bare['round_us'] - ours['round_us']) / gain:.0f}% of its gain)" if gain > 0 else ""
        print(line)
    return 0 if all(r["same"] for r in rows) else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--library", required=True)
    p.add_argument("--program", required=True)
    p.add_argument("--driver", help="folder of the libcuda.so.1 to use")
    p.add_argument("--launches", type=int, default=1000)
    p.add_argument("--rounds", type=int, default=100)
    p.add_argument("--warm", type=int, default=10)
    p.add_argument("--json")
    args = p.parse_args()
    rows = rows_of(args)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)
    return show(rows)


if __name__ == "__main__":
    sys.exit(main())
