#!/usr/bin/env python3
"""Windows on the simulated device, in virtual time: kernels of a millisecond, launches of microseconds.

batching.py LIBRARY DRIVER_FOLDER LAUNCH
A window of 1,000 launches must be at most ten submissions after three repetitions, and at no time
may a window cost more submissions than it has launches. The memory must be what it is bare.
"""
import json
import os
import subprocess
import sys
import tempfile

LIBRARY, DRIVER, LAUNCH = sys.argv[1:4]
COSTS = "call:cuStreamQuery 0\nkernel 1000000\n"
LIMITS = {"chain": {0: 1000, 1: 1000, 2: 1000, 3: 10, 4: 10, 6: 10},
          "rnn": {3: 500, 5: 500},
          "streams": {3: 1200}}


def run(shape, warm, preload, costs):
    env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, SIMCUDA_CLOCK="virtual", SIMCUDA_COST=costs,
               DLACCEL_CUDA_WAIT="30s", DLACCEL_CUDA_ADAPT="0")
    env.pop("LD_PRELOAD", None)
    if preload:
        env["LD_PRELOAD"] = LIBRARY
    out = subprocess.run([LAUNCH, shape, "1000", "1", str(warm)], env=env, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
    return json.loads(out)


def main():
    bad = 0
    with tempfile.NamedTemporaryFile("w") as costs:
        costs.write(COSTS)
        costs.flush()
        for shape, limits in LIMITS.items():
            for warm, limit in limits.items():
                bare, ours = (run(shape, warm, p, costs.name) for p in (False, True))
                sent = ours["submissions_last_round"]
                print(f"{shape}, repetition {warm + 1}: {sent} submissions (at most {limit})")
                bad += not 0 < sent <= limit
                if bare["memory"] != ours["memory"]:
                    print(f"{shape}: memory {ours['memory']}, bare {bare['memory']}")
                    bad += 1
    return bad != 0


sys.exit(main())
