#!/usr/bin/env python3
"""A framework's program on the simulated device: the same output bare and preloaded, most launches in graphs.

program_same.py LIBRARY DRIVER_FOLDER PERCENT PROGRAM ARGUMENT PYTHON...: taken is the first Python with which
the program does not end with 77 (it is not installed); 77 where none is left. Of the launches that the driver
has to be told of, at least PERCENT must have gone in graphs, and the driver must have counted so many fewer.
"""
import os
import subprocess
import sys
import tempfile

from counted import counters

# Kernels of a millisecond, in virtual time: else the device would be idle as often as the machine has other work.
COSTS = "call:cuStreamQuery 0\nkernel 1000000\n"


def run(py, program, argument, stats, **env):
    p = subprocess.run([py, program, argument], stdout=subprocess.PIPE, timeout=250,
                       env={**os.environ, "SIMCUDA_STATS": stats, **env})
    return p.returncode, p.stdout.decode()


def told(stats):
    """How often the driver was told of launches."""
    with open(stats) as f:
        calls = [line.split() for line in f if line.startswith("call ")]
    return sum(int(c[2]) for c in calls if c[1] in ("cuLaunchKernel", "cuLaunchKernelEx", "cuGraphLaunch"))


def enough(seen, bare, ours, percent):
    share = 100 * seen.get("cuda.batched", 0) / max(1, seen.get("cuda.launches", 0))
    print(f"{share:.0f}% of {seen.get('cuda.launches', 0)} launches in graphs; the driver was told of them {bare} "
          f"times bare, {ours} times preloaded")
    return share >= percent and ours < bare and 100 - 100 * ours / bare >= percent / 2


def main():
    library, driver, percent, program, argument, *candidates = sys.argv[1:]
    with tempfile.TemporaryDirectory() as tmp:
        stats = [os.path.join(tmp, n) for n in ("bare.calls", "ours.calls")]
        os.environ.update(SIMCUDA_CLOCK="virtual", SIMCUDA_COST=os.path.join(tmp, "costs"))
        with open(os.environ["SIMCUDA_COST"], "w") as f:
            f.write(COSTS)
        for py in [*candidates, sys.executable]:
            if not os.path.exists(py):
                continue
            bare = run(py, program, argument, stats[0], LD_LIBRARY_PATH=driver, LD_PRELOAD="")
            if bare[0] != 77:
                break
        else:
            print("no Python here can run it")
            return 77
        ours = run(py, program, argument, stats[1], LD_LIBRARY_PATH=driver, LD_PRELOAD=library, DLACCEL_DIR=tmp,
                   DLACCEL_CUDA_WAIT="30s", DLACCEL_CUDA_ADAPT="0")
        seen, calls = counters(tmp), [told(s) if os.path.exists(s) else 0 for s in stats]
    print(bare[1], seen)
    if bare[0] or bare != ours:
        print(f"status {bare[0]} bare, {ours[0]} preloaded:", ours[1], sep="\n")
        return 1
    return not enough(seen, *calls, int(percent))


sys.exit(main())
