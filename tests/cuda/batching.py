#!/usr/bin/env python3
"""Windows on the simulated device, in virtual time: kernels of a millisecond, launches of microseconds.

batching.py LIBRARY DRIVER_FOLDER LAUNCH [SHAPE...]
A window of 1,000 launches must be at most ten submissions after three repetitions, as the driver counts
them, and at no time may a window cost more submissions than it has operations. The memory must be what it
is bare, and the GPU must be through no later: streams that ran beside one another still do.
"""
import json
import os
import subprocess
import sys
import tempfile

LIBRARY, DRIVER, LAUNCH = sys.argv[1:4]
COSTS = "call:cuStreamQuery 0\nkernel 1000000\n"
SUBMIT = ("cuLaunchKernel", "cuGraphLaunch", "cuMemsetD32Async", "cuMemcpyDtoDAsync_v2", "cuEventRecord",
          "cuStreamWaitEvent")
# shape: launches, and at most so many submissions in these repetitions (the first is 1)
LIMITS = {"chain": (1000, {1: 1000, 2: 1000, 3: 1000, 4: 10, 5: 10, 7: 10}),
          "marked": (1000, {1: 1010, 4: 10, 6: 10}),
          "rnn": (1000, {4: 10, 6: 10}),
          # Sixteen forks and joins: besides the graphs, each stream waits before and after them.
          "streams": (1024, {1: 1232, 4: 30, 6: 30}),
          "overlap": (1000, {1: 1004, 6: 60, 7: 60})}


def run(shape, launches, repetitions, preload, tmp, adapt):
    stats = os.path.join(tmp, "stats")
    env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, SIMCUDA_CLOCK="virtual", SIMCUDA_STATS=stats,
               SIMCUDA_COST=os.path.join(tmp, "costs"), DLACCEL_CUDA_WAIT="30s", DLACCEL_CUDA_ADAPT=adapt)
    env.pop("LD_PRELOAD", None)
    if preload:
        env["LD_PRELOAD"] = LIBRARY
    out = subprocess.run([LAUNCH, shape, str(launches), "0", str(repetitions)], env=env, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
    lines = [line.split() for line in open(stats)]
    sent = sum(int(n) for kind, name, n, *_ in (l for l in lines if l[0] == "call") if name in SUBMIT)
    return {"memory": json.loads(out)["memory"], "sent": sent,
            "span": max(int(l[3]) for l in lines if l[0] == "span")}


def check(shape, launches, repetition, limit, tmp):
    """What one more repetition costs is the difference of two runs."""
    before = run(shape, launches, repetition - 1, True, tmp, "0")
    ours, bare = (run(shape, launches, repetition, p, tmp, "0") for p in (True, False))
    return compare(f"{shape}, repetition {repetition}", ours, bare, ours["sent"] - before["sent"], limit)


def adapting(shape, launches, repetitions, tmp):
    """How long a graph takes to launch here is true time: any may be given up, but none may cost more than bare."""
    ours, bare = (run(shape, launches, repetitions, p, tmp, "1") for p in (True, False))
    return compare(f"{shape}, {repetitions} repetitions, adapting", ours, bare, ours["sent"], bare["sent"])


def compare(what, ours, bare, sent, limit):
    late = ours["span"] / bare["span"]
    print(f"{what}: {sent} submissions (at most {limit}), {late:.3f} of the time bare")
    bad = not 0 < sent <= limit or late > 1.03
    if bare["memory"] != ours["memory"]:
        print(f"{what}: memory {ours['memory']}, bare {bare['memory']}")
        bad = True
    return bad


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        with open(os.path.join(tmp, "costs"), "w") as f:
            f.write(COSTS)
        for shape in sys.argv[4:] or LIMITS:
            launches, limits = LIMITS[shape]
            for repetition, limit in limits.items():
                bad += check(shape, launches, repetition, limit, tmp)
            bad += adapting(shape, launches, repetition, tmp)
    return bad != 0


sys.exit(main())
