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

from counted import busy_device

LIBRARY, DRIVER, LAUNCH = sys.argv[1:4]
SUBMIT = ("cuLaunchKernel", "cuGraphLaunch", "cuMemsetD32Async", "cuMemcpyDtoDAsync_v2", "cuEventRecord",
          "cuStreamWaitEvent")
TRIES = 6
# shape: launches, and at most so many submissions in these repetitions (the first is 1)
LIMITS = {"chain": (1000, {1: 1000, 2: 1000, 3: 1000, 4: 10, 5: 10, 7: 10}),
          "marked": (1000, {1: 1010, 4: 10, 6: 10}),
          "rnn": (1000, {4: 10, 6: 10}),
          # One kernel, nothing else: no step to find, and the shortest window there is.
          "equal": (1000, {1: 1000, 2: 10, 4: 10, 7: 10}),
          # Sixteen forks and joins: besides the graphs, each stream waits before and after them.
          "streams": (1024, {1: 1232, 4: 30, 6: 30}),
          # A graph of it would be 22 calls instead of 18.
          "relay": (2, {201: 18}),
          "overlap": (1000, {1: 1004, 6: 60, 7: 60})}


def run(shape, launches, repetitions, preload, tmp, adapt):
    stats = os.path.join(tmp, "stats")
    env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, SIMCUDA_STATS=stats, DLACCEL_CUDA_WAIT="30s",
               DLACCEL_CUDA_ADAPT=adapt, **busy_device(tmp))
    env.pop("LD_PRELOAD", None)
    if preload:
        env["LD_PRELOAD"] = LIBRARY
    out = subprocess.run([LAUNCH, shape, str(launches), "0", str(repetitions)], env=env, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
    lines = [line.split() for line in open(stats)]
    sent = sum(int(n) for kind, name, n, *_ in (l for l in lines if l[0] == "call") if name in SUBMIT)
    return {"memory": json.loads(out)["memory"], "sent": sent,
            "span": max(int(l[3]) for l in lines if l[0] == "span")}


def check(shape, launches, repetition, limit, tmp, adapt):
    """What one more repetition costs is the difference of two runs. Whether it is too much; what else is wrong."""
    before = run(shape, launches, repetition - 1, True, tmp, adapt)
    ours, bare = (run(shape, launches, repetition, p, tmp, adapt) for p in (True, False))
    sent = ours["sent"] - before["sent"]
    late = ours["span"] / bare["span"]
    print(f"{shape}, repetition {repetition}, adapt {adapt}: {sent} submissions (at most {limit}), "
          f"{late:.3f} of the time bare")
    wrong = late > 1.03 or ours["sent"] > bare["sent"]
    if bare["memory"] != ours["memory"]:
        print(f"{shape}: memory {ours['memory']}, bare {bare['memory']}")
        wrong = True
    return not 0 < sent <= limit, wrong


def adapting(*args):
    """How long a graph takes to launch here is true time: the runs of a difference may have given up different ones."""
    for _ in range(TRIES):
        dear, wrong = check(*args, "1")
        if wrong or not dear:
            break
    return dear or wrong


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        for shape in sys.argv[4:] or LIMITS:
            launches, limits = LIMITS[shape]
            for repetition, limit in limits.items():
                bad += any(check(shape, launches, repetition, limit, tmp, "0"))
            bad += adapting(shape, launches, repetition, 5 * limit, tmp)
    return bad != 0


sys.exit(main())
