#!/usr/bin/env python3
"""From how many launches on a loop of one kernel gains by its graphs, on the simulated device by its cost model.

loops.py LIBRARY DRIVER_FOLDER LAUNCH: by hand, tests no promise. A loop is a window after 64 launches (profiler/repeat.h);
its graphs are made the first time, so one that comes back gains earlier than one that does not. Kernels are shorter
than a launch, the device counts as busy, and nothing adapts: what is compared is when the device is through.
"""
import os
import subprocess
import sys
import tempfile

from counted import calls

LIBRARY, DRIVER, LAUNCH = sys.argv[1:4]
COSTS = "call:cuStreamQuery 0\nkernel 1000\n"
LENGTHS = (32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 640, 768, 896, 1024)


def through(length, times, preload):
    """Microseconds of virtual time, and the entries of the driver that were called."""
    with tempfile.TemporaryDirectory() as tmp:
        stats, costs = (os.path.join(tmp, name) for name in ("stats", "costs"))
        with open(costs, "w") as f:
            f.write(COSTS)
        env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, SIMCUDA_STATS=stats, SIMCUDA_CLOCK="virtual", SIMCUDA_COST=costs,
                   LD_PRELOAD=LIBRARY if preload else "", DLACCEL_CUDA_WAIT="30s", DLACCEL_CUDA_ADAPT="0")
        subprocess.run([LAUNCH, "equal", str(length), "0", str(times)], env=env, check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(stats) as f:
            return max(int(line.split()[3]) for line in f if line.startswith("span ")) / 1000, calls(stats)


def main():
    for times in (1, 8):
        gains = None
        for length in LENGTHS:
            (bare, _), (ours, called) = through(length, times, False), through(length, times, True)
            gains = None if ours > bare else gains or length
            print(f"{length:5} launches, {times} times: {bare:6.0f} us bare, {ours:6.0f} us preloaded; told of "
                  f"{called.get('cuLaunchKernel', 0)} launches and {called.get('cuGraphLaunch', 0)} graphs, "
                  f"{called.get('cuGraphInstantiateWithFlags', 0)} of them made", flush=True)
        print(f"a loop that comes {times} times gains from {gains} launches on")


main()
