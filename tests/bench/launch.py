#!/usr/bin/env python3
"""What a launch costs: tests/bench/launch.c bare, preloaded, and with launches that go nowhere, in turns.

dlaccel bench launch [--launches N] [--rounds N] [--pairs N] [--json [FILE]]
launch.py [--build FOLDER | --library LIBRARY --program LAUNCH] [--driver FOLDER] ...

"null" is the bound: the hook returns without submitting (DLACCEL_CUDA_NULL), so no batching could be
faster. Without a driver on this machine the simulated device of the build folder is taken. On a
simulated device only the counts mean anything, and only they are shown. Exit status 77: no device.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

SHAPES = ("chain", "equal", "streams", "rnn")
NO_DEVICE = 77
MODES = {"bare": None, "preloaded": {"DLACCEL": "1"}, "null": {"DLACCEL_CUDA_NULL": "1"}}
TIMES = ("issue_cpu_ns", "issue_wall_ns", "round_us")


def run(args, shape, settings):
    env = dict(os.environ, **(settings or {}))
    env.pop("LD_PRELOAD", None)
    if args.driver:
        env["LD_LIBRARY_PATH"] = args.driver
    if settings:
        env["LD_PRELOAD"] = os.path.abspath(args.library)
    return subprocess.run([args.program, shape, str(args.launches), str(args.rounds), str(args.warm)], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=args.timeout)


def once(args, shape, settings):
    p = run(args, shape, settings)
    if p.returncode:
        raise SystemExit(f"{shape}: exit status {p.returncode}\n{p.stderr.decode()}")
    return json.loads(p.stdout)


def median_of(runs):
    """The figures of one run, its times the medians of all; memory that differs from run to run is kept apart."""
    figures = dict(runs[-1], memory=sorted({r["memory"] for r in runs}))
    figures.update({t: statistics.median(r[t] for r in runs) for t in TIMES})
    return figures


def measure(args, shape):
    modes = dict(MODES, **({"graph": None} if shape == "chain" else {}))
    runs = {mode: [] for mode in modes}
    for _ in range(args.pairs):
        for mode, settings in modes.items():
            runs[mode].append(once(args, "graph" if mode == "graph" else shape, settings))
    row = {"shape": shape, **{mode: median_of(r) for mode, r in runs.items()}}
    row["same"] = row["bare"]["memory"] == row["preloaded"]["memory"] and len(row["bare"]["memory"]) == 1
    return row


def rows_of(args):
    return [measure(args, shape) for shape in SHAPES]


def is_simulated(rows):
    return rows[0]["bare"]["device"].startswith("Simulated")


def gain_of_graph(row):
    """How much of what a graph captured by hand saves is saved, or None where that saves nothing."""
    gain = row["bare"]["round_us"] - row["graph"]["round_us"]
    return (row["bare"]["round_us"] - row["preloaded"]["round_us"]) / gain if gain > 0 else None


def times(row):
    bare, ours, null = row["bare"], row["preloaded"], row["null"]
    text = f"; CPU a launch {bare['issue_cpu_ns']:.0f} -> {ours['issue_cpu_ns']:.0f} ns" \
           f" ({bare['issue_cpu_ns'] / max(ours['issue_cpu_ns'], 1):.1f}x, bound {null['issue_cpu_ns']:.0f})" \
           f"; round {bare['round_us']:.0f} -> {ours['round_us']:.0f} us (bound {null['round_us']:.0f})"
    if "graph" not in row:
        return text
    share = gain_of_graph(row)
    return text + f", captured by hand {row['graph']['round_us']:.0f} us" + \
        (f" ({100 * share:.0f}% of its gain)" if share is not None else "")


def show(rows, out=sys.stdout):
    print(f"{rows[0]['bare']['device']}, driver {rows[0]['bare']['driver']}", file=out)
    if is_simulated(rows):
        print("a simulated device: its times mean nothing and are not shown", file=out)
    for r in rows:
        print(f"{r['shape']:8} {r['bare']['launches']} launches: {r['preloaded']['submissions_last_round']} submissions "
              f"(bound {r['null']['submissions_last_round']}), memory {'same' if r['same'] else 'DIFFERENT'}"
              + ("" if is_simulated(rows) else times(r)), file=out)
    return 0 if all(r["same"] for r in rows) else 1


def find_device(args):
    """The driver on the loader's path, or the simulated one."""
    if run(args, "chain", None).returncode != NO_DEVICE or args.driver:
        return
    args.driver = os.path.join(args.build, "tests/sim/cuda")
    if not os.path.exists(os.path.join(args.driver, "libcuda.so.1")):
        print("no CUDA driver here, and no simulated one in the build folder")
        sys.exit(NO_DEVICE)


def arguments():
    root = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    p = argparse.ArgumentParser(prog="dlaccel bench launch", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.path.join(root, "build"), help="folder of the build")
    p.add_argument("--library", help="libdlaccel.so, if not that of the build")
    p.add_argument("--program", help="the built launch.c, if not that of the build")
    p.add_argument("--driver", help="folder of the libcuda.so.1 to use")
    p.add_argument("--launches", type=int, default=1000)
    p.add_argument("--rounds", type=int, default=100)
    p.add_argument("--warm", type=int, default=10)
    p.add_argument("--pairs", type=int, default=5, help="how many times each, in turns")
    p.add_argument("--timeout", type=float, default=120, help="seconds for one run")
    p.add_argument("--json", nargs="?", const="-", help="write the figures, to stdout if no file is named")
    args = p.parse_args()
    args.library = args.library or os.path.join(args.build, "shim/libdlaccel.so")
    args.program = args.program or os.path.join(args.build, "tests/cuda/launch")
    for path in (args.library, args.program):
        if not os.path.exists(path):
            p.error(f"{path} is not there: build with -Dtests=enabled -Dcuda=enabled")
    return args


def main():
    args = arguments()
    find_device(args)
    rows = rows_of(args)
    if args.json == "-":
        json.dump(rows, sys.stdout, indent=1)
        print()
        return show(rows, sys.stderr)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)
    return show(rows)


if __name__ == "__main__":
    sys.exit(main())
